//! Activations as modules. The functions themselves are in `hardpan_engine::functional`.

use crate::{Forward, Mode, Module, Param, hooked};
use hardpan_engine::{Tensor, functional as f};

macro_rules! plain_activations {
    ($($(#[$doc:meta])* $name:ident = $f:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Clone, Copy, Debug, Default)]
        pub struct $name;

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    $f(x)
                })
            }
        }
    )*};
}

plain_activations! {
    /// `max(x, 0)`. Counterpart: `torch.nn.ReLU`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, ReLU};
    /// let y = ReLU.forward(&Tensor::from_slice(&[-1f32, 2.0], [2]));
    /// assert_eq!(y.to_vec::<f32>(), [0.0, 2.0]);
    /// ```
    ReLU = f::relu;
    /// `min(max(x, 0), 6)`. Counterpart: `torch.nn.ReLU6`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, ReLU6};
    /// let y = ReLU6.forward(&Tensor::from_slice(&[-1f32, 3.0, 9.0], [3]));
    /// assert_eq!(y.to_vec::<f32>(), [0.0, 3.0, 6.0]);
    /// ```
    ReLU6 = f::relu6;
    /// `x` times the normal distribution function of `x`. Counterpart: `torch.nn.GELU`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, GELU};
    /// let y = GELU.forward(&Tensor::from_slice(&[1f32], [1]));
    /// assert!((y.to_vec::<f32>()[0] - 0.8413).abs() < 1e-4);
    /// ```
    GELU = f::gelu;
    /// The approximation of GELU by tanh. Counterpart: `torch.nn.GELU(approximate="tanh")`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, GELUTanh};
    /// let y = GELUTanh.forward(&Tensor::from_slice(&[1f32], [1]));
    /// assert!((y.to_vec::<f32>()[0] - 0.8412).abs() < 1e-4);
    /// ```
    GELUTanh = f::gelu_tanh;
    /// `x sigmoid(x)`, also called swish. Counterpart: `torch.nn.SiLU`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, SiLU};
    /// let y = SiLU.forward(&Tensor::from_slice(&[1f32], [1]));
    /// assert!((y.to_vec::<f32>()[0] - 0.7311).abs() < 1e-4);
    /// ```
    SiLU = f::silu;
    /// `x tanh(softplus(x))`. Counterpart: `torch.nn.Mish`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Mish};
    /// let y = Mish.forward(&Tensor::from_slice(&[1f32], [1]));
    /// assert!((y.to_vec::<f32>()[0] - 0.8651).abs() < 1e-4);
    /// ```
    Mish = f::mish;
    /// `1 / (1 + e^-x)`. Counterpart: `torch.nn.Sigmoid`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Sigmoid};
    /// let y = Sigmoid.forward(&Tensor::from_slice(&[0f32], [1]));
    /// assert_eq!(y.to_vec::<f32>(), [0.5]);
    /// ```
    Sigmoid = f::sigmoid;
    /// Hyperbolic tangent. Counterpart: `torch.nn.Tanh`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Tanh};
    /// let y = Tanh.forward(&Tensor::from_slice(&[1f32], [1]));
    /// assert!((y.to_vec::<f32>()[0] - 0.7616).abs() < 1e-4);
    /// ```
    Tanh = Tensor::tanh;
    /// Scaled exponential unit. Counterpart: `torch.nn.SELU`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, SELU};
    /// let y = SELU.forward(&Tensor::from_slice(&[-1f32], [1]));
    /// assert!((y.to_vec::<f32>()[0] + 1.1113).abs() < 1e-4);
    /// ```
    SELU = f::selu;
    /// `ln(sigmoid(x))`. Counterpart: `torch.nn.LogSigmoid`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, LogSigmoid};
    /// let y = LogSigmoid.forward(&Tensor::from_slice(&[0f32], [1]));
    /// assert!((y.to_vec::<f32>()[0] + 0.6931).abs() < 1e-4);
    /// ```
    LogSigmoid = f::logsigmoid;
    /// `x / (1 + |x|)`. Counterpart: `torch.nn.Softsign`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Softsign};
    /// let y = Softsign.forward(&Tensor::from_slice(&[1f32, -3.0], [2]));
    /// assert_eq!(y.to_vec::<f32>(), [0.5, -0.75]);
    /// ```
    Softsign = f::softsign;
    /// `x - tanh(x)`. Counterpart: `torch.nn.Tanhshrink`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Tanhshrink};
    /// let y = Tanhshrink.forward(&Tensor::from_slice(&[1f32], [1]));
    /// assert!((y.to_vec::<f32>()[0] - 0.2384).abs() < 1e-4);
    /// ```
    Tanhshrink = f::tanhshrink;
    /// `x relu6(x + 3) / 6`. Counterpart: `torch.nn.Hardswish`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Hardswish};
    /// let y = Hardswish.forward(&Tensor::from_slice(&[-3f32, 3.0], [2]));
    /// assert_eq!(y.to_vec::<f32>(), [0.0, 3.0]);
    /// ```
    Hardswish = f::hardswish;
    /// `relu6(x + 3) / 6`. Counterpart: `torch.nn.Hardsigmoid`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Hardsigmoid};
    /// let y = Hardsigmoid.forward(&Tensor::from_slice(&[-3f32, 0.0, 3.0], [3]));
    /// assert_eq!(y.to_vec::<f32>(), [0.0, 0.5, 1.0]);
    /// ```
    Hardsigmoid = f::hardsigmoid;
    /// Softmax over the channels of `[N, C, H, W]` or `[C, H, W]`. Counterpart: `torch.nn.Softmax2d`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Softmax2d};
    /// let y = Softmax2d.forward(&Tensor::ones([1, 4, 2, 2]));
    /// assert_eq!(y.to_vec::<f32>(), [0.25; 16]);
    /// ```
    Softmax2d = |x: &Tensor| f::softmax(x, -3);
}

/// Another name of [`SiLU`], fastai's.
pub use SiLU as Swish;

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident($($(#[$pdoc:meta])* $p:ident: $t:ty = $default:expr),*) = |$s:ident, $x:ident| $e:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Clone, Debug)]
        pub struct $name {
            $(
                $(#[$pdoc])*
                pub $p: $t,
            )*
        }

        impl $name {
            /// With these settings.
            pub fn new($($p: $t),*) -> $name {
                $name { $($p),* }
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($p: $default),* }
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, $x: &Tensor) -> Tensor {
                hooked!(self, $x => {
                    let $s = self;
                    $e
                })
            }
        }
    )*};
}

activations! {
    /// `x` where positive, else `slope x`. Default slope 0.01. Counterpart: `torch.nn.LeakyReLU`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, LeakyReLU};
    /// let y = LeakyReLU::new(0.5).forward(&Tensor::from_slice(&[-1f32, 2.0], [2]));
    /// assert_eq!(y.to_vec::<f32>(), [-0.5, 2.0]);
    /// ```
    LeakyReLU(
        /// Factor of what is negative. Default 0.01.
        slope: f64 = 0.01
    ) = |s, x| f::leaky_relu(x, s.slope);
    /// `x` where positive, else `alpha (e^x - 1)`. Default alpha 1. Counterpart: `torch.nn.ELU`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{ELU, Forward};
    /// let y = ELU::default().forward(&Tensor::from_slice(&[-1f32], [1]));
    /// assert!((y.to_vec::<f32>()[0] + 0.6321).abs() < 1e-4);
    /// ```
    ELU(
        /// Minus the limit on the negative side. Default 1.
        alpha: f64 = 1.0
    ) = |s, x| f::elu(x, s.alpha);
    /// `max(x, 0) + min(0, alpha (e^(x / alpha) - 1))`. Default alpha 1. Counterpart: `torch.nn.CELU`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{CELU, Forward};
    /// let y = CELU::new(2.0).forward(&Tensor::from_slice(&[-2f32], [1]));
    /// assert!((y.to_vec::<f32>()[0] + 1.2642).abs() < 1e-4);
    /// ```
    CELU(
        /// Minus the limit on the negative side. Default 1.
        alpha: f64 = 1.0
    ) = |s, x| f::celu(x, s.alpha);
    /// `ln(1 + e^(beta x)) / beta`, and `x` where `beta x > threshold`. Defaults 1 and 20. Counterpart: `torch.nn.Softplus`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Softplus};
    /// let y = Softplus::default().forward(&Tensor::from_slice(&[0f32], [1]));
    /// assert!((y.to_vec::<f32>()[0] - 0.6931).abs() < 1e-4);
    /// ```
    Softplus(
        /// How sharp the bend is. Default 1.
        beta: f64 = 1.0,
        /// `beta x` beyond which the result is `x`. Default 20.
        threshold: f64 = 20.0
    ) = |s, x| f::softplus(x, s.beta, s.threshold);
    /// `x` cut to `low..=high`. Defaults -1 and 1. Counterpart: `torch.nn.Hardtanh`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Hardtanh};
    /// let y = Hardtanh::default().forward(&Tensor::from_slice(&[-2f32, 0.5, 2.0], [3]));
    /// assert_eq!(y.to_vec::<f32>(), [-1.0, 0.5, 1.0]);
    /// ```
    Hardtanh(
        /// The least value. Default -1.
        low: f64 = -1.0,
        /// The largest value. Default 1.
        high: f64 = 1.0
    ) = |s, x| f::hardtanh(x, s.low, s.high);
    /// 0 within `lambda` of 0, else `x`. Default 0.5. Counterpart: `torch.nn.Hardshrink`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Hardshrink};
    /// let y = Hardshrink::default().forward(&Tensor::from_slice(&[-0.25f32, 0.75], [2]));
    /// assert_eq!(y.to_vec::<f32>(), [0.0, 0.75]);
    /// ```
    Hardshrink(
        /// Sizes up to this become 0. Default 0.5.
        lambda: f64 = 0.5
    ) = |s, x| f::hardshrink(x, s.lambda);
    /// `x` moved toward 0 by `lambda` and not past it. Default 0.5. Counterpart: `torch.nn.Softshrink`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Softshrink};
    /// let y = Softshrink::default().forward(&Tensor::from_slice(&[-0.25f32, 0.75], [2]));
    /// assert_eq!(y.to_vec::<f32>(), [0.0, 0.25]);
    /// ```
    Softshrink(
        /// How far values move toward 0. Default 0.5.
        lambda: f64 = 0.5
    ) = |s, x| f::softshrink(x, s.lambda);
    /// `x` where above `threshold`, else `value`. Counterpart: `torch.nn.Threshold`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Threshold};
    /// let y = Threshold::new(1.0, -5.0).forward(&Tensor::from_slice(&[0.5f32, 2.0], [2]));
    /// assert_eq!(y.to_vec::<f32>(), [-5.0, 2.0]);
    /// ```
    Threshold(
        /// What must be exceeded. Default 0.
        threshold: f64 = 0.0,
        /// What takes the place of the rest. Default 0.
        value: f64 = 0.0
    ) = |s, x| f::threshold(x, s.threshold, s.value);
    /// The first half of dimension `dim` times the sigmoid of the second. Default: the last. Counterpart: `torch.nn.GLU`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, GLU};
    /// let y = GLU::default().forward(&Tensor::from_slice(&[1f32, 2.0, 0.0, 0.0], [4]));
    /// assert_eq!(y.to_vec::<f32>(), [0.5, 1.0]);
    /// ```
    GLU(
        /// The dimension that is halved; negative counts from the end. Default -1.
        dim: isize = -1
    ) = |s, x| f::glu(x, s.dim);
    /// Softmax along `dim`. Default: the last. Counterpart: `torch.nn.Softmax`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Softmax};
    /// let y = Softmax::default().forward(&Tensor::zeros([2, 4]));
    /// assert_eq!(y.to_vec::<f32>(), [0.25; 8]);
    /// ```
    Softmax(
        /// The dimension that sums to 1; negative counts from the end. Default -1.
        dim: isize = -1
    ) = |s, x| f::softmax(x, s.dim);
    /// Softmax of `-x` along `dim`. Default: the last. Counterpart: `torch.nn.Softmin`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, Softmin};
    /// let y = Softmin::default().forward(&Tensor::from_slice(&[1f32, 3.0], [2]));
    /// assert!((y.to_vec::<f32>()[0] - 0.8808).abs() < 1e-4); // the smallest is the likeliest
    /// ```
    Softmin(
        /// The dimension that sums to 1; negative counts from the end. Default -1.
        dim: isize = -1
    ) = |s, x| f::softmin(x, s.dim);
    /// Logarithm of softmax along `dim`. Default: the last. Counterpart: `torch.nn.LogSoftmax`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, LogSoftmax};
    /// let y = LogSoftmax::new(0).forward(&Tensor::zeros([2, 3]));
    /// assert!((y + 2f32.ln()).abs().amax(..).item::<f32>() < 1e-6);
    /// ```
    LogSoftmax(
        /// The dimension that sums to 1; negative counts from the end. Default -1.
        dim: isize = -1
    ) = |s, x| f::log_softmax(x, s.dim);
}

/// ReLU with a leak, shifted down and cut off above: `min(leaky_relu(x, leak) - sub, max)`, so that activations keep a mean near 0.
/// Counterpart: `GeneralRelu` of the fast.ai course.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, GeneralRelu};
/// let y = GeneralRelu::new().leak(0.5).sub(0.5).max(6.0).forward(&Tensor::from_slice(&[-1f32, 1.0, 9.0], [3]));
/// assert_eq!(y.to_vec::<f32>(), [-1.0, 0.5, 6.0]);
/// ```
#[derive(Module, Clone, Debug, Default)]
pub struct GeneralRelu {
    leak: f64,
    sub: f64,
    max: Option<f64>,
}

impl GeneralRelu {
    /// A plain ReLU.
    pub fn new() -> GeneralRelu {
        GeneralRelu::default()
    }
    /// Slope on the negative side. Default 0.
    #[must_use]
    pub fn leak(mut self, leak: f64) -> GeneralRelu {
        self.leak = leak;
        self
    }
    /// What is taken off. Default 0.
    #[must_use]
    #[allow(clippy::should_implement_trait, reason = "the course's name")]
    pub fn sub(mut self, sub: f64) -> GeneralRelu {
        self.sub = sub;
        self
    }
    /// The largest value. Default none.
    #[must_use]
    pub fn max(mut self, max: f64) -> GeneralRelu {
        self.max = Some(max);
        self
    }
}

impl Forward for GeneralRelu {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let mut y = if self.leak == 0.0 { f::relu(x) } else { f::leaky_relu(x, self.leak) };
            if self.sub != 0.0 {
                y -= self.sub;
            }
            match self.max {
                Some(max) => y.minimum(max),
                None => y,
            }
        })
    }
}

/// As [`LeakyReLU`] with learned slopes, one or one for each channel. Key: `weight [n]`. Counterpart: `torch.nn.PReLU`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, PReLU};
/// let y = PReLU::new(1).forward(&Tensor::from_slice(&[-4f32, 2.0], [2]));
/// assert_eq!(y.to_vec::<f32>(), [-1.0, 2.0]);
/// ```
#[derive(Module)]
pub struct PReLU {
    /// `[n]`, 0.25 at first.
    pub weight: Param,
}

impl PReLU {
    /// With `n` slopes: 1, or the number of channels.
    pub fn new(n: usize) -> PReLU {
        PReLU { weight: Param::new(Tensor::zeros([n]) + 0.25) }
    }
}

impl Forward for PReLU {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            f::prelu(x, &self.weight.value())
        })
    }
}

/// Leaky ReLU whose slopes are drawn from `lower..upper` in training, and are their mean in evaluation. Counterpart: `torch.nn.RReLU`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Module, RReLU};
/// let layer = RReLU::new(0.25, 0.75);
/// layer.eval();
/// let y = layer.forward(&Tensor::from_slice(&[-2f32, 4.0], [2]));
/// assert_eq!(y.to_vec::<f32>(), [-1.0, 4.0]);
/// ```
#[derive(Module)]
pub struct RReLU {
    lower: f64,
    upper: f64,
    /// Whether slopes are drawn.
    pub training: Mode,
}

impl RReLU {
    /// With slopes between these (PyTorch's defaults are 1/8 and 1/3).
    pub fn new(lower: f64, upper: f64) -> RReLU {
        RReLU { lower, upper, training: Mode::new() }
    }
}

impl Forward for RReLU {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            f::rrelu(x, self.lower, self.upper, self.training.is_training())
        })
    }
}
