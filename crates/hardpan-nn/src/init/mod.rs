//! Initial values of weights.
//!
//! Linear layers and convolutions here start with [`Init::KaimingNormal`] and zero biases: with it a signal keeps its size through many
//! layers of ReLUs. PyTorch's default shrinks it (Kaiming uniform with `a = sqrt(5)`, a leftover of 2014); it can be asked for by name,
//! [`Init::PyTorch`]. All draws come from the generator that `hardpan_engine::manual_seed` seeds.
//!
//! ```
//! use hardpan_nn::init::{Init, fan_in_and_fan_out};
//! assert_eq!(fan_in_and_fan_out(&[8, 3, 5, 5]), (75, 200));
//! let w = Init::KaimingNormal.tensor(&[512, 256]);
//! let v = w.to_vec::<f32>();
//! let std = (v.iter().map(|x| x * x).sum::<f32>() / v.len() as f32).sqrt();
//! assert!((std - (2.0f32 / 256.0).sqrt()).abs() < 0.002);
//! ```

mod lsuv;

pub use lsuv::{Lsuv, LsuvLayer, lsuv};

use crate::{Module, Param};
use hardpan_engine::Tensor;

/// A way to fill a new weight.
///
/// ```
/// use hardpan_nn::init::Init;
/// let std = |init: Init| {
///     let w = init.tensor(&[256, 512]);
///     (&w * &w).mean(..).sqrt().item::<f32>()
/// };
/// assert!((std(Init::KaimingNormal) - (2f32 / 512.0).sqrt()).abs() < 0.001);
/// assert!((std(Init::PyTorch) - (1f32 / 512.0 / 3.0).sqrt()).abs() < 0.001);
/// assert_eq!(std(Init::Constant(2.0)), 2.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// Normal with standard deviation `sqrt(2 / fan_in)`: He et al., <https://arxiv.org/abs/1502.01852>. The default.
    #[default]
    KaimingNormal,
    /// Uniform with the standard deviation of [`Init::KaimingNormal`].
    KaimingUniform,
    /// What `torch.nn` does by default in linear and convolution layers: uniform within `1 / sqrt(fan_in)`, biases too.
    PyTorch,
    /// Normal with standard deviation `gain sqrt(2 / (fan_in + fan_out))`: Glorot and Bengio 2010.
    XavierNormal(f64),
    /// Uniform with the standard deviation of [`Init::XavierNormal`].
    XavierUniform(f64),
    /// Normal.
    Normal {
        /// Its mean.
        mean: f64,
        /// Its standard deviation.
        std: f64,
    },
    /// Normal, with values beyond two standard deviations drawn in again by the inverse distribution function.
    TruncatedNormal {
        /// Its standard deviation before the tails are cut.
        std: f64,
    },
    /// Uniform from the first number up to the second.
    Uniform(f64, f64),
    /// One value everywhere.
    Constant(f64),
    /// Rows (or columns, whichever are fewer) orthonormal, times the gain: Saxe et al., <https://arxiv.org/abs/1312.6120>.
    Orthogonal(f64),
    /// Convolutions whose input is kept as it is, channel by channel; an identity matrix for linear layers.
    Dirac,
}

impl Init {
    /// A weight `[out, in, window..]` filled this way, f32.
    #[track_caller]
    pub fn tensor(self, shape: &[usize]) -> Tensor {
        let fan = || fan_in_and_fan_out(shape);
        match self {
            Init::KaimingNormal => normal(shape, 0.0, gain(Nonlinearity::ReLU) / root(fan().0)),
            Init::KaimingUniform => spread(shape, gain(Nonlinearity::ReLU) / root(fan().0)),
            Init::PyTorch => {
                let bound = 1.0 / root(fan().0);
                uniform(shape, -bound, bound)
            }
            Init::XavierNormal(gain) => {
                let (i, o) = fan();
                normal(shape, 0.0, gain * (2.0 / (i + o).max(1) as f64).sqrt())
            }
            Init::XavierUniform(gain) => {
                let (i, o) = fan();
                spread(shape, gain * (2.0 / (i + o).max(1) as f64).sqrt())
            }
            Init::Normal { mean, std } => normal(shape, mean, std),
            Init::TruncatedNormal { std } => truncated_normal(shape, std),
            Init::Uniform(low, high) => uniform(shape, low, high),
            Init::Constant(value) => Tensor::zeros(shape) + value,
            Init::Orthogonal(gain) => orthogonal(shape, gain),
            Init::Dirac => dirac(shape),
        }
    }

    /// The bias `[out]` that goes with a weight of `fan_in` inputs: zero, except in [`Init::PyTorch`].
    pub fn bias(self, out: usize, fan_in: usize) -> Tensor {
        match self {
            Init::PyTorch => {
                let bound = 1.0 / root(fan_in);
                uniform(&[out], -bound, bound)
            }
            _ => Tensor::zeros([out]),
        }
    }

    /// Fills a parameter anew, keeping its dtype.
    #[track_caller]
    pub fn fill(self, param: &Param) {
        param.set(self.tensor(&param.shape()).to_dtype(param.dtype()));
    }

    /// Fills `weight` and `bias` of every linear and convolution layer of a model, as told by their [role](Module::role).
    /// Counterpart: fastai's `apply_init`.
    ///
    /// ```
    /// use hardpan_nn::init::Init;
    /// use hardpan_nn::{BatchNorm1d, Linear, Module, seq};
    /// let model = seq![Linear::new(4, 2), BatchNorm1d::new(2)];
    /// Init::Constant(0.5).apply(&model);
    /// let state = model.state_dict();
    /// assert_eq!(state.get("0.weight").unwrap().to_vec::<f32>(), [0.5; 8]);
    /// assert_eq!(state.get("1.weight").unwrap().to_vec::<f32>(), [1.0; 2]);
    /// ```
    pub fn apply(self, model: &dyn Module) {
        model.for_each_module(&mut |_, m| {
            if !m.role().is_linear_or_conv() {
                return;
            }
            let own = m.named_parameters();
            let Some((_, weight)) = own.iter().find(|(n, _)| n == "weight") else { return };
            self.fill(weight);
            if let Some((_, bias)) = own.iter().find(|(n, _)| n == "bias") {
                let fan_in = fan_in_and_fan_out(&weight.shape()).0;
                bias.set(self.bias(bias.numel(), fan_in).to_dtype(bias.dtype()));
            }
        });
    }
}

fn root(fan: usize) -> f64 {
    (fan.max(1) as f64).sqrt()
}

/// How many inputs one output sees, and how many outputs one input: of a weight `[out, in, window..]`.
/// Counterpart: `torch.nn.init._calculate_fan_in_and_fan_out`.
///
/// ```
/// use hardpan_nn::init::fan_in_and_fan_out;
/// assert_eq!(fan_in_and_fan_out(&[8, 3, 5, 5]), (3 * 25, 8 * 25));
/// ```
///
/// # Panics
/// If there are fewer than two dimensions.
#[track_caller]
pub fn fan_in_and_fan_out(shape: &[usize]) -> (usize, usize) {
    assert!(
        shape.len() >= 2,
        "fan in and fan out are those of a weight [out, in, ..], got shape {shape:?}"
    );
    let window: usize = shape[2..].iter().product();
    (shape[1] * window, shape[0] * window)
}

/// What follows a layer, for [`gain`].
///
/// ```
/// use hardpan_nn::init::{Nonlinearity, gain};
/// assert_eq!(gain(Nonlinearity::LeakyReLU(1.0)), gain(Nonlinearity::Linear));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nonlinearity {
    /// Nothing, or a convolution.
    Linear,
    /// Sigmoid.
    Sigmoid,
    /// Tanh.
    Tanh,
    /// ReLU.
    ReLU,
    /// ReLU with this slope on the negative side.
    LeakyReLU(f64),
    /// SELU.
    SELU,
}

/// The factor by which a nonlinearity shrinks a signal, to be made up for. Counterpart: `torch.nn.init.calculate_gain`.
///
/// ```
/// use hardpan_nn::init::{Nonlinearity, gain};
/// assert_eq!((gain(Nonlinearity::ReLU), gain(Nonlinearity::Tanh)), (2f64.sqrt(), 5.0 / 3.0));
/// ```
pub fn gain(nonlinearity: Nonlinearity) -> f64 {
    match nonlinearity {
        Nonlinearity::Linear | Nonlinearity::Sigmoid => 1.0,
        Nonlinearity::Tanh => 5.0 / 3.0,
        Nonlinearity::ReLU => std::f64::consts::SQRT_2,
        Nonlinearity::LeakyReLU(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
        Nonlinearity::SELU => 0.75,
    }
}

/// Which number of connections to keep the size of: that of the signal or of its gradient.
///
/// ```
/// use hardpan_nn::init::{Fan, Nonlinearity, kaiming_normal};
/// let std = |fan: Fan| {
///     let w = kaiming_normal(&[64, 1024], fan, Nonlinearity::Linear);
///     (&w * &w).mean(..).sqrt().item::<f32>()
/// };
/// assert!((std(Fan::In) - 1.0 / 32.0).abs() < 0.005 && (std(Fan::Out) - 1.0 / 8.0).abs() < 0.005);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fan {
    /// Inputs: the signal on its way forward.
    #[default]
    In,
    /// Outputs: the gradient on its way back.
    Out,
}

/// Normal with standard deviation `gain / sqrt(fan)`. Counterpart: `torch.nn.init.kaiming_normal_`.
///
/// ```
/// use hardpan_nn::init::{Fan, Nonlinearity, kaiming_normal};
/// let w = kaiming_normal(&[256, 512], Fan::In, Nonlinearity::ReLU);
/// assert!(((&w * &w).mean(..).sqrt().item::<f32>() - (2f32 / 512.0).sqrt()).abs() < 0.005);
/// ```
#[track_caller]
pub fn kaiming_normal(shape: &[usize], fan: Fan, nonlinearity: Nonlinearity) -> Tensor {
    normal(shape, 0.0, gain(nonlinearity) / root(pick(shape, fan)))
}

/// Uniform with standard deviation `gain / sqrt(fan)`. Counterpart: `torch.nn.init.kaiming_uniform_`.
///
/// ```
/// use hardpan_nn::init::{Fan, Nonlinearity, kaiming_uniform};
/// let w = kaiming_uniform(&[256, 512], Fan::Out, Nonlinearity::Linear);
/// assert!(((&w * &w).mean(..).sqrt().item::<f32>() - (1f32 / 256.0).sqrt()).abs() < 0.005);
/// ```
#[track_caller]
pub fn kaiming_uniform(shape: &[usize], fan: Fan, nonlinearity: Nonlinearity) -> Tensor {
    spread(shape, gain(nonlinearity) / root(pick(shape, fan)))
}

/// Normal with standard deviation `gain sqrt(2 / (fan_in + fan_out))`. Counterpart: `torch.nn.init.xavier_normal_`.
///
/// ```
/// use hardpan_nn::init::xavier_normal;
/// let w = xavier_normal(&[256, 512], 1.0);
/// assert!(((&w * &w).mean(..).sqrt().item::<f32>() - (2f32 / 768.0).sqrt()).abs() < 0.005);
/// ```
#[track_caller]
pub fn xavier_normal(shape: &[usize], gain: f64) -> Tensor {
    Init::XavierNormal(gain).tensor(shape)
}

/// Uniform with the standard deviation of [`xavier_normal`]. Counterpart: `torch.nn.init.xavier_uniform_`.
///
/// ```
/// use hardpan_nn::init::{Nonlinearity, gain, xavier_uniform};
/// let weight = xavier_uniform(&[50, 100], gain(Nonlinearity::Tanh));
/// let bound = 5.0 / 3.0 * (6.0f32 / 150.0).sqrt();
/// assert!(weight.to_vec::<f32>().iter().all(|w| w.abs() <= bound));
/// ```
#[track_caller]
pub fn xavier_uniform(shape: &[usize], gain: f64) -> Tensor {
    Init::XavierUniform(gain).tensor(shape)
}

#[track_caller]
fn pick(shape: &[usize], fan: Fan) -> usize {
    let (i, o) = fan_in_and_fan_out(shape);
    if fan == Fan::In { i } else { o }
}

/// Normal, f32. Counterpart: `torch.nn.init.normal_`.
///
/// ```
/// use hardpan_nn::init::normal;
/// let x = normal(&[10_000], 3.0, 0.1);
/// assert!((x.mean(..).item::<f32>() - 3.0).abs() < 0.01);
/// ```
pub fn normal(shape: &[usize], mean: f64, std: f64) -> Tensor {
    let x = Tensor::randn(shape) * std;
    if mean == 0.0 { x } else { x + mean }
}

/// Uniform in `low..high`, f32. Counterpart: `torch.nn.init.uniform_`.
///
/// ```
/// use hardpan_nn::init::uniform;
/// let x = uniform(&[1000], -2.0, 4.0);
/// assert!(x.amin(..).item::<f32>() >= -2.0 && x.amax(..).item::<f32>() < 4.0);
/// ```
pub fn uniform(shape: &[usize], low: f64, high: f64) -> Tensor {
    Tensor::rand(shape) * (high - low) + low
}

/// Uniform around zero with this standard deviation.
fn spread(shape: &[usize], std: f64) -> Tensor {
    let bound = 3f64.sqrt() * std;
    uniform(shape, -bound, bound)
}

/// Normal within two standard deviations, f32. Counterpart: `torch.nn.init.trunc_normal_` with `a = -2 std, b = 2 std`.
///
/// ```
/// use hardpan_nn::init::truncated_normal;
/// let x = truncated_normal(&[10_000], 0.02);
/// assert!(x.abs().amax(..).item::<f32>() <= 0.04);
/// ```
pub fn truncated_normal(shape: &[usize], std: f64) -> Tensor {
    // The distribution function at -2 and 2; uniform numbers between them go through its inverse.
    let low = 0.022_750_131_948_179_2;
    let u = uniform(shape, low, 1.0 - low);
    u.ndtri().maximum(-2.0).minimum(2.0) * std
}

/// Orthonormal rows or columns, whichever are fewer, times `gain`, f32. Dimensions after the first count as columns.
/// Counterpart: `torch.nn.init.orthogonal_`.
///
/// ```
/// use hardpan_nn::init::{eye, orthogonal};
/// let w = orthogonal(&[3, 5], 2.0);
/// let products = w.matmul(&w.t()); // rows of length 2, at right angles
/// assert!((products - eye(3, 3) * 4.0).abs().amax(..).item::<f32>() < 1e-5);
/// ```
#[track_caller]
pub fn orthogonal(shape: &[usize], gain: f64) -> Tensor {
    assert!(shape.len() >= 2, "orthogonal: needs at least 2 dimensions, got {shape:?}");
    let (rows, cols) = (shape[0], shape[1..].iter().product::<usize>());
    let (n, len) = (rows.min(cols), rows.max(cols));
    let mut v: Vec<f64> =
        Tensor::randn([n, len]).to_vec::<f32>().iter().map(|x| *x as f64).collect();
    // Gram-Schmidt, twice over each vector for accuracy.
    for i in 0..n {
        let (done, rest) = v.split_at_mut(i * len);
        let x = &mut rest[..len];
        for _ in 0..2 {
            for y in done.chunks_exact(len) {
                let dot: f64 = x.iter().zip(y).map(|(a, b)| a * b).sum();
                x.iter_mut().zip(y).for_each(|(a, b)| *a -= dot * b);
            }
        }
        let norm = x.iter().map(|a| a * a).sum::<f64>().sqrt();
        x.iter_mut().for_each(|a| *a /= norm);
    }
    let v: Vec<f32> = v.iter().map(|x| (x * gain) as f32).collect();
    let t = Tensor::from_vec(v, [n, len]);
    if rows <= cols { t.reshape(shape) } else { t.t().reshape(shape) }
}

/// Normal with this mean and deviation, within `low..=high`, f32. Counterpart: `torch.nn.init.trunc_normal_`.
///
/// ```
/// use hardpan_nn::init::truncated_normal_within;
/// let x = truncated_normal_within(&[1000], 0.5, 2.0, 0.0, 1.0);
/// assert!(x.amin(..).item::<f32>() >= 0.0 && x.amax(..).item::<f32>() <= 1.0);
/// ```
///
/// # Panics
/// If there is no probability between the bounds.
#[track_caller]
pub fn truncated_normal_within(
    shape: &[usize],
    mean: f64,
    std: f64,
    low: f64,
    high: f64,
) -> Tensor {
    // Uniform numbers between the distribution function at the bounds go through its inverse.
    let at = |x: f64| {
        let t = Tensor::scalar(-(x - mean) / (std * std::f64::consts::SQRT_2));
        0.5 * t.erfc().item::<f64>()
    };
    let (from, to) = (at(low), at(high));
    assert!(
        low < high && std > 0.0 && to > from,
        "truncated_normal_within: nothing of a normal distribution with mean {mean} and deviation {std} is in {low}..={high}"
    );
    let x = uniform(shape, from, to).ndtri() * std + mean;
    x.maximum(low).minimum(high)
}

/// Ones on the diagonal of a matrix, f32. Counterpart: `torch.nn.init.eye_`.
///
/// ```
/// use hardpan_nn::init::eye;
/// assert_eq!(eye(2, 3).to_vec::<f32>(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
/// ```
pub fn eye(rows: usize, columns: usize) -> Tensor {
    let (i, j) = (Tensor::iota(rows).unsqueeze(1), Tensor::iota(columns));
    i.eq(j).to_dtype(hardpan_engine::DType::F32)
}

/// A matrix of normal numbers in whose columns this share of rows, drawn anew for each, is zero, f32.
/// Counterpart: `torch.nn.init.sparse_`; Martens 2010.
///
/// ```
/// use hardpan_nn::init::sparse;
/// let w = sparse(10, 4, 0.3, 0.01);
/// let zeros = w.select(1, 0).to_vec::<f32>().iter().filter(|v| **v == 0.0).count();
/// assert_eq!(zeros, 3);
/// ```
///
/// # Panics
/// If `sparsity` is not in 0..=1.
#[track_caller]
pub fn sparse(rows: usize, columns: usize, sparsity: f64, std: f64) -> Tensor {
    assert!((0.0..=1.0).contains(&sparsity), "sparse: the share {sparsity} is not in 0..=1");
    let zeros = (sparsity * rows as f64).ceil() as usize;
    // The ranks of random numbers are a random order of the rows.
    let rank = Tensor::rand([columns, rows]).argsort(-1, false).argsort(-1, false).t();
    normal(&[rows, columns], 0.0, std) * rank.ge(zeros as i64).to_dtype(hardpan_engine::DType::F32)
}

/// A convolution `[out, in, window..]` that passes channel `i` of its input on as channel `i`. Counterpart: `torch.nn.init.dirac_`.
///
/// ```
/// use hardpan_nn::init::dirac;
/// assert_eq!(dirac(&[2, 2, 3]).to_vec::<f32>(), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
/// ```
#[track_caller]
pub fn dirac(shape: &[usize]) -> Tensor {
    dirac_groups(shape, 1)
}

/// As [`dirac`], each of so many groups of outputs passing on the first inputs. Counterpart: `torch.nn.init.dirac_(groups=..)`.
///
/// ```
/// use hardpan_nn::init::dirac_groups;
/// assert_eq!(dirac_groups(&[2, 1, 3], 2).to_vec::<f32>(), [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
/// ```
///
/// # Panics
/// If the outputs do not divide into the groups.
#[track_caller]
pub fn dirac_groups(shape: &[usize], groups: usize) -> Tensor {
    assert!(
        shape.len() >= 2 && groups > 0 && shape[0].is_multiple_of(groups),
        "dirac: needs at least 2 dimensions and outputs that divide into {groups} groups, got {shape:?}"
    );
    let window: usize = shape[2..].iter().product();
    let middle = shape[2..].iter().fold(0, |at, n| at * n + n / 2);
    let mut v = vec![0f32; shape.iter().product()];
    let each = shape[0] / groups;
    for (group, c) in (0..groups).flat_map(|g| (0..each.min(shape[1])).map(move |c| (g, c))) {
        v[((group * each + c) * shape[1] + c) * window + middle] = 1.0;
    }
    Tensor::from_vec(v, shape)
}
