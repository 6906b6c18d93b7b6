//! Attention between the places of an image.

use super::conv::Conv1d;
use super::conv::Conv2d;
use super::parametrize::SpectralNorm;
use crate::{Forward, Module, Param, hooked};
use hardpan_engine::{Tensor, functional as f};

fn zero() -> Param {
    Param::new(Tensor::zeros([1]))
}

fn pointwise(inputs: usize, outputs: usize) -> SpectralNorm<Conv1d> {
    SpectralNorm::new(Conv1d::new(inputs, outputs, 1).bias(false))
}

fn pointwise2d(inputs: usize, outputs: usize) -> SpectralNorm<Conv2d> {
    SpectralNorm::new(Conv2d::new(inputs, outputs, 1).bias(false))
}

#[track_caller]
fn channels(what: &str, x: &Tensor, n: usize) {
    assert!(
        x.rank() >= 3 && x.size(1) == n,
        "{what}({n}): expected [N, {n}, ..], got shape {:?}",
        x.shape()
    );
}

/// Every place of `x: [N, C, ..]` looks at every other, with queries and keys of an eighth of the channels; what it finds is added `gamma`
/// times (0 at first). Keys: `query.*`, `key.*`, `value.*`, `gamma [1]`.
/// Counterpart: fastai's `SelfAttention`; Zhang et al., <https://arxiv.org/abs/1805.08318>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, SelfAttention};
/// let layer = SelfAttention::new(16);
/// let x = Tensor::randn([1, 16, 4, 4]);
/// assert_eq!(layer.forward(&x).to_vec::<f32>(), x.to_vec::<f32>()); // gamma is 0 at first
/// ```
#[derive(Module)]
pub struct SelfAttention {
    query: SpectralNorm<Conv1d>,
    key: SpectralNorm<Conv1d>,
    value: SpectralNorm<Conv1d>,
    /// How much of what is found is added.
    pub gamma: Param,
    n: usize,
}

impl SelfAttention {
    /// Of so many channels.
    #[track_caller]
    pub fn new(n: usize) -> SelfAttention {
        let few = (n / 8).max(1);
        SelfAttention {
            query: pointwise(n, few),
            key: pointwise(n, few),
            value: pointwise(n, n),
            gamma: zero(),
            n,
        }
    }
}

impl Forward for SelfAttention {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            channels("SelfAttention", x, self.n);
            let flat = x.flatten(2, -1);
            let (q, k) = (self.query.forward(&flat), self.key.forward(&flat));
            // [N, from, to], normalized over what is looked at.
            let weights = f::softmax(&q.mt().matmul(&k), 1);
            let found = self.value.forward(&flat).matmul(&weights);
            (found * self.gamma.value() + flat).reshape(x.shape())
        })
    }
}

/// As [`SelfAttention`] of images `[N, C, H, W]`, looking at places pooled by two. Keys: `theta.*`, `phi.*`, `g.*`, `o.*`, `gamma [1]`.
/// Counterpart: fastai's `PooledSelfAttention2d`, after BigGAN.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, PooledSelfAttention2d};
/// let layer = PooledSelfAttention2d::new(16);
/// assert_eq!(layer.forward(&Tensor::randn([2, 16, 8, 8])).shape(), [2, 16, 8, 8]);
/// ```
#[derive(Module)]
pub struct PooledSelfAttention2d {
    theta: SpectralNorm<Conv2d>,
    phi: SpectralNorm<Conv2d>,
    g: SpectralNorm<Conv2d>,
    o: SpectralNorm<Conv2d>,
    /// How much of what is found is added.
    pub gamma: Param,
    n: usize,
}

impl PooledSelfAttention2d {
    /// Of so many channels, an even number.
    #[track_caller]
    pub fn new(n: usize) -> PooledSelfAttention2d {
        let (few, half) = ((n / 8).max(1), (n / 2).max(1));
        PooledSelfAttention2d {
            theta: pointwise2d(n, few),
            phi: pointwise2d(n, few),
            g: pointwise2d(n, half),
            o: pointwise2d(half, n),
            gamma: zero(),
            n,
        }
    }
}

impl Forward for PooledSelfAttention2d {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            channels("PooledSelfAttention2d", x, self.n);
            let pooled = |t: Tensor| f::max_pool2d(&t, 2, f::MaxPoolOptions::default()).flatten(2, -1);
            let q = self.theta.forward(x).flatten(2, -1);
            let (k, v) = (pooled(self.phi.forward(x)), pooled(self.g.forward(x)));
            let weights = f::softmax(&q.mt().matmul(&k), -1);
            let found = v.matmul(&weights.mt());
            let shape = [x.size(0), found.size(1), x.size(2), x.size(3)];
            self.o.forward(&found.reshape(shape)) * self.gamma.value() + x
        })
    }
}

/// Attention without softmax: `gamma (x x^T) conv(x) + x` for `x: [N, C, ..]`. Keys: `conv.*`, `gamma [1]`.
/// Counterpart: fastai's `SimpleSelfAttention`, after Doria.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, SimpleSelfAttention};
/// let layer = SimpleSelfAttention::new(16).symmetric(true);
/// assert_eq!(layer.forward(&Tensor::randn([2, 16, 8, 8])).shape(), [2, 16, 8, 8]);
/// ```
#[derive(Module)]
pub struct SimpleSelfAttention {
    conv: SpectralNorm<Conv1d>,
    /// How much of what is found is added.
    pub gamma: Param,
    n: usize,
    symmetric: bool,
}

impl SimpleSelfAttention {
    /// Of so many channels.
    #[track_caller]
    pub fn new(n: usize) -> SimpleSelfAttention {
        SimpleSelfAttention { conv: pointwise(n, n), gamma: zero(), n, symmetric: false }
    }

    /// Uses the mean of the weight and its transpose. Default no.
    #[must_use]
    pub fn symmetric(mut self, symmetric: bool) -> SimpleSelfAttention {
        self.symmetric = symmetric;
        self
    }
}

impl Forward for SimpleSelfAttention {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            channels("SimpleSelfAttention", x, self.n);
            let flat = x.flatten(2, -1);
            let convolved = if self.symmetric {
                let w = self.conv.weight().squeeze(-1);
                ((&w + w.t()) * 0.5).matmul(&flat)
            } else {
                self.conv.forward(&flat)
            };
            let found = flat.matmul(&flat.mt()).matmul(&convolved);
            (found * self.gamma.value() + &flat).reshape(x.shape())
        })
    }
}
