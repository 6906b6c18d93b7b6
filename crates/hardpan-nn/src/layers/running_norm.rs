//! Batch normalization by running statistics, for small batches.

use crate::{Buffer, Forward, Mode, Module, Param, hooked};
use hardpan_engine::{DType, Tensor, no_grad};

/// Batch normalization that uses smoothed statistics in training too, so that it works with batches of two.
///
/// Sums, sums of squares and counts are averaged (`1 - (1 - momentum) / sqrt(N - 1)` of a new batch), mean and variance follow from
/// them; the first 20 items have a variance of at least 0.01. Gradients flow through the new batch's share. Evaluated before it saw a
/// batch, it passes `x` on as a batch norm does (mean 0, variance 1); the course's gives NaN.
/// `x: [N, C, ..]` of any rank. Keys: `weight`, `bias`, `sums`, `sqrs` (all `[C]`), `count`, `batch` (rank 0).
/// Counterpart: `RunningBatchNorm` of the fast.ai course, 07_batchnorm.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, RunningBatchNorm};
/// let y = RunningBatchNorm::new(3).forward(&Tensor::randn([2, 3, 8, 8]));
/// assert_eq!(y.shape(), &[2, 3, 8, 8]);
/// ```
#[derive(Module)]
#[module(role = BatchNorm)]
pub struct RunningBatchNorm {
    /// `[C]`, ones at first.
    pub weight: Param,
    /// `[C]`, zeros at first.
    pub bias: Param,
    /// `[C]`: averaged sums over a batch.
    pub sums: Buffer,
    /// `[C]`: averaged sums of squares.
    pub sqrs: Buffer,
    /// Averaged number of values summed.
    pub count: Buffer,
    /// Items seen in training (i64).
    pub batch: Buffer,
    /// Whether the statistics move.
    pub training: Mode,
    eps: f64,
    momentum: f64,
}

impl RunningBatchNorm {
    /// Of so many channels: momentum 0.1, eps 1e-5.
    pub fn new(features: usize) -> RunningBatchNorm {
        RunningBatchNorm {
            weight: Param::new(Tensor::ones([features])),
            bias: Param::new(Tensor::zeros([features])),
            sums: Buffer::new(Tensor::zeros([features])),
            sqrs: Buffer::new(Tensor::zeros([features])),
            count: Buffer::new(Tensor::scalar(0f32)),
            batch: Buffer::new(Tensor::scalar(0i64)),
            training: Mode::new(),
            eps: 1e-5,
            momentum: 0.1,
        }
    }

    /// Added to the variance. Default 1e-5.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> RunningBatchNorm {
        self.eps = eps;
        self
    }

    /// Share of a new batch of two. Default 0.1.
    #[must_use]
    pub fn momentum(mut self, momentum: f64) -> RunningBatchNorm {
        self.momentum = momentum;
        self
    }

    /// Mean and variance, in training with the new batch's share, which gradients flow through.
    fn statistics(&self, x: &Tensor) -> (Tensor, Tensor) {
        let (mut sums, mut sqrs) = (self.sums.value(), self.sqrs.value());
        let (mut count, mut batch) = (self.count.value(), self.batch.value());
        if self.training.is_training() {
            let n = x.size(0);
            let share = 1.0 - (1.0 - self.momentum) / ((n.max(2) - 1) as f64).sqrt();
            let axes: Vec<usize> = (0..x.rank()).filter(|d| *d != 1).collect();
            // Sums of many values in 16 bits would overflow.
            let x = x.to_dtype(sums.dtype());
            let lerp = |old: &Tensor, new: Tensor| old * (1.0 - share) + new * share;
            sums = lerp(&sums, x.sum(axes.clone()));
            sqrs = lerp(&sqrs, (&x * &x).sum(axes));
            let values = (x.numel() / x.size(1).max(1)) as f64;
            count = &count * (1.0 - share) + values * share;
            batch += n as i64;
            no_grad(|| {
                self.sums.set(sums.detach());
                self.sqrs.set(sqrs.detach());
                self.count.set(count.clone());
                self.batch.set(batch.clone());
            });
        }
        let seen = count.gt(0.0);
        if !self.training.is_training() {
            count = count.where_(&seen, 1.0);
        }
        let means = &sums / &count;
        let least = batch.lt(20i64).to_dtype(means.dtype()) * 0.01;
        let mut variance = (&sqrs / &count - &means * &means).maximum(least);
        if !self.training.is_training() {
            variance = variance.where_(&seen, 1.0);
        }
        (means, variance)
    }
}

impl Forward for RunningBatchNorm {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let features = self.weight.numel();
            assert!(
                x.rank() >= 2 && x.shape()[1] == features,
                "RunningBatchNorm({features}): expected [N, C, ..], got shape {:?}",
                x.shape()
            );
            let (means, variance) = self.statistics(x);
            let mut shape = vec![1; x.rank()];
            shape[1] = features;
            let factor = self.weight.value() / (variance + self.eps).sqrt();
            let offset = self.bias.value() - means * &factor;
            let (factor, offset) = (factor.reshape(shape.clone()), offset.reshape(shape));
            let cast = |t: Tensor, dtype: DType| t.to_dtype(dtype);
            x * cast(factor, x.dtype()) + cast(offset, x.dtype())
        })
    }
}
