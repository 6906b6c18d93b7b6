//! Where in a sequence a token is: added (sinusoids, learned) or turned (rotary).

use crate::init::Init;
use crate::{Buffer, Forward, Module, Param, hooked};
use hardpan_engine::Tensor;

/// Angles `t / base^(2 i / size)`, `[length, size / 2]`, computed in f64.
fn angles(length: usize, size: usize, base: f64) -> Vec<f64> {
    let half = size / 2;
    (0..length * half)
        .map(|k| {
            let (t, i) = (k / half, k % half);
            t as f64 / base.powf(2.0 * i as f64 / size as f64)
        })
        .collect()
}

#[track_caller]
fn check(what: &str, x: &Tensor, length: usize, size: usize) {
    assert!(
        x.rank() >= 2 && x.size(-1) == size && x.size(-2) <= length,
        "{what}({length}, {size}): expected [.., T, {size}] with T up to {length}, got shape {:?}",
        x.shape()
    );
}

/// Adds sines and cosines of growing wave lengths: `x: [.., T, size]`; feature `2 i` is a sine and `2 i + 1` the cosine of
/// `t / 10000^(2 i / size)`. No parameters. Vaswani et al., <https://arxiv.org/abs/1706.03762>, section 3.5.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, SinusoidalPositions};
/// let y = SinusoidalPositions::new(100, 4).forward(&Tensor::zeros([1, 2, 4]));
/// assert_eq!(y.to_vec::<f32>(), [0.0, 1.0, 0.0, 1.0, 1f32.sin(), 1f32.cos(), 0.01f32.sin(), 0.01f32.cos()]);
/// ```
#[derive(Module)]
pub struct SinusoidalPositions {
    /// `[length, size]`
    table: Buffer,
}

impl SinusoidalPositions {
    /// For sequences up to this length of so many features, an even number.
    #[track_caller]
    pub fn new(length: usize, size: usize) -> SinusoidalPositions {
        assert!(size.is_multiple_of(2), "SinusoidalPositions: {size} features are not even");
        let v: Vec<f32> = angles(length, size, 10_000.0)
            .into_iter()
            .flat_map(|a| [a.sin() as f32, a.cos() as f32])
            .collect();
        SinusoidalPositions { table: Buffer::transient(Tensor::from_vec(v, [length, size])) }
    }
}

impl Forward for SinusoidalPositions {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let table = self.table.value();
            check("SinusoidalPositions", x, table.size(0), table.size(1));
            x + table.narrow(0, 0, x.size(-2)).to_dtype(x.dtype())
        })
    }
}

/// Adds a trained vector for each position: `x: [.., T, size]`. Key: `weight [length, size]`, normal with deviation 0.02 at first.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, LearnedPositions, Module};
/// let positions = LearnedPositions::new(100, 16);
/// assert_eq!(positions.forward(&Tensor::zeros([2, 7, 16])).shape(), [2, 7, 16]);
/// assert_eq!(positions.num_parameters(), 1600);
/// ```
#[derive(Module)]
pub struct LearnedPositions {
    /// `[length, size]`
    pub weight: Param,
}

impl LearnedPositions {
    /// For sequences up to this length of so many features.
    pub fn new(length: usize, size: usize) -> LearnedPositions {
        let weight = Init::Normal { mean: 0.0, std: 0.02 }.tensor(&[length, size]);
        LearnedPositions { weight: Param::new(weight) }
    }
}

impl Forward for LearnedPositions {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let table = self.weight.value();
            check("LearnedPositions", x, table.size(0), table.size(1));
            x + table.narrow(0, 0, x.size(-2))
        })
    }
}

/// Turns pairs of features by angles that grow with the position, so that products of queries and keys depend on their distance only:
/// `x: [.., T, size]`, applied to queries and keys of each head. Su et al., <https://arxiv.org/abs/2104.09864>.
///
/// Feature `i` goes with feature `i + size / 2`, as in GPT-NeoX and Llama, or with its neighbour as in the paper
/// ([`interleaved`](RotaryPositions::interleaved)). No parameters.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, RotaryPositions};
/// let rotary = RotaryPositions::new(64, 8);
/// let (q, k) = (Tensor::ones([1, 64, 8]), Tensor::ones([1, 64, 8]));
/// let scores = rotary.forward(&q).matmul(&rotary.forward(&k).mt()).to_vec::<f32>();
/// // Query 10 meets key 7 as query 40 meets key 37.
/// assert!((scores[10 * 64 + 7] - scores[40 * 64 + 37]).abs() < 1e-4);
/// ```
#[derive(Module)]
pub struct RotaryPositions {
    /// `[length, size / 2]`
    cos: Buffer,
    /// `[length, size / 2]`
    sin: Buffer,
    interleaved: bool,
}

impl RotaryPositions {
    /// For sequences up to this length and so many features of a head, an even number; base 10000.
    #[track_caller]
    pub fn new(length: usize, size: usize) -> RotaryPositions {
        RotaryPositions::with_base(length, size, 10_000.0)
    }

    /// With another base: a larger one turns more slowly, for longer contexts.
    #[track_caller]
    pub fn with_base(length: usize, size: usize, base: f64) -> RotaryPositions {
        assert!(size.is_multiple_of(2), "RotaryPositions: {size} features are not even");
        let angles = angles(length, size, base);
        let table = |f: fn(f64) -> f64| {
            let v: Vec<f32> = angles.iter().map(|a| f(*a) as f32).collect();
            Buffer::transient(Tensor::from_vec(v, [length, size / 2]))
        };
        RotaryPositions { cos: table(f64::cos), sin: table(f64::sin), interleaved: false }
    }

    /// Pairs of neighbours. Default: pairs of halves.
    #[must_use]
    pub fn interleaved(mut self, interleaved: bool) -> RotaryPositions {
        self.interleaved = interleaved;
        self
    }

    /// As `forward`, the first position being `start`: for generation with kept keys.
    #[track_caller]
    pub fn at(&self, x: &Tensor, start: usize) -> Tensor {
        let (cos, sin) = (self.cos.value(), self.sin.value());
        let (length, half) = (cos.size(0), cos.size(1));
        assert!(
            x.rank() >= 2 && x.size(-1) == 2 * half && start + x.size(-2) <= length,
            "RotaryPositions({length}, {}): positions {start}.. of shape {:?} do not fit",
            2 * half,
            x.shape()
        );
        let table = |t: Tensor| t.narrow(0, start, x.size(-2)).to_dtype(x.dtype());
        let (cos, sin) = (table(cos), table(sin));
        let (a, b) = if self.interleaved {
            let mut pairs: Vec<usize> = x.shape().to_vec();
            pairs.splice(x.rank() - 1.., [half, 2]);
            let x = x.reshape(pairs);
            (x.select(-1, 0), x.select(-1, 1))
        } else {
            (x.narrow(-1, 0, half), x.narrow(-1, half, half))
        };
        let turned = [&a * &cos - &b * &sin, &b * &cos + &a * &sin];
        if self.interleaved {
            Tensor::stack(&turned, -1).reshape(x.shape())
        } else {
            Tensor::cat(&turned, -1)
        }
    }
}

impl Forward for RotaryPositions {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => self.at(x, 0))
    }
}
