//! Cross entropy of a linear layer's outputs, a few rows at a time.

use super::{CrossEntropyLoss, Decode};
use crate::{Buffer, Forward, Linear, Module, Param, hooked};
use hardpan_engine::functional::{self as f, Reduction};
use hardpan_engine::{Tensor, checkpoint};

/// A linear layer and the cross entropy of its outputs in one: for models of language, whose logits of all words are by far the largest
/// tensor. With [`chunk`](LinearCrossEntropyLoss::chunk) only so many rows of logits are in memory at a time; they are computed again in
/// the backward pass.
///
/// Takes features `[N, in]` and classes (i64) `[N]`, or probabilities `[N, C]`. Keys: `linear.weight [C, in]`, `linear.bias [C]`.
/// Counterpart: `torch.nn.LinearCrossEntropyLoss` (without its `out_features`).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{CrossEntropyLoss, Forward, LinearCrossEntropyLoss};
/// let (x, y) = (Tensor::ones([6, 4]), Tensor::from_vec(vec![0i64, 1, 2, 0, 1, 2], [6]));
/// let loss = LinearCrossEntropyLoss::new(4, 3).chunk(2);
/// let whole = CrossEntropyLoss::new().forward(&(loss.linear.forward(&x), y.clone()));
/// assert!((loss.forward(&(x, y)) - whole).abs().item::<f32>() < 1e-6);
/// ```
#[derive(Module)]
pub struct LinearCrossEntropyLoss {
    /// From features to classes.
    pub linear: Linear,
    #[module(flatten)]
    loss: CrossEntropyLoss,
    chunk: usize,
}

impl LinearCrossEntropyLoss {
    /// From `in_features` to `classes`; no bias, the mean, all rows at once.
    pub fn new(in_features: usize, classes: usize) -> LinearCrossEntropyLoss {
        LinearCrossEntropyLoss {
            linear: Linear::new(in_features, classes).bias(false),
            loss: CrossEntropyLoss::new(),
            chunk: 0,
        }
    }

    /// With a bias or without. Default: without.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> LinearCrossEntropyLoss {
        self.linear = self.linear.bias(bias);
        self
    }

    /// With these settings of the loss: weights, ignored class, smoothing, reduction.
    #[must_use]
    pub fn loss(mut self, loss: CrossEntropyLoss) -> LinearCrossEntropyLoss {
        self.loss = loss;
        self
    }

    /// Rows whose logits are in memory at a time; 0 for all. Default 0. In chunks the loss can be differentiated once only.
    #[must_use]
    pub fn chunk(mut self, rows: usize) -> LinearCrossEntropyLoss {
        self.chunk = rows;
        self
    }

    /// The loss of some rows, from tensors alone.
    fn part(&self, x: &Tensor, y: &Tensor, reduction: Reduction) -> Tensor {
        let mut inputs = vec![x.clone(), y.clone(), self.linear.weight.value()];
        inputs.extend(self.linear.bias.as_ref().map(Param::value));
        let class_weight = self.loss.weight.as_ref().map(Buffer::value);
        let (ignore_index, label_smoothing) = (self.loss.ignore_index, self.loss.label_smoothing);
        let run = move |t: &[Tensor]| {
            let weight = class_weight.as_ref();
            let options =
                f::CrossEntropyOptions { weight, ignore_index, reduction, label_smoothing };
            f::cross_entropy_with(&f::linear(&t[0], &t[2], t.get(3)), &t[1], options)
        };
        checkpoint(run, &inputs.iter().collect::<Vec<_>>())
    }

    /// What the sum of the losses is divided by for their mean.
    fn count(&self, y: &Tensor) -> Tensor {
        if y.rank() > 1 {
            return Tensor::scalar(y.size(0) as f32);
        }
        let counts = y.ne(self.loss.ignore_index);
        match &self.loss.weight {
            None => counts.sum(..),
            Some(weight) => {
                let each = weight.value().index_select(0, &y.where_(&counts, 0));
                each.where_(&counts, 0.0).sum(..)
            }
        }
    }
}

impl Forward<(Tensor, Tensor)> for LinearCrossEntropyLoss {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &(Tensor, Tensor)) -> Tensor {
        hooked!(self, x => {
            let (x, y) = x;
            assert!(
                x.rank() == 2 && x.size(-1) == self.linear.in_features() && y.rank() > 0 && y.size(0) == x.size(0),
                "LinearCrossEntropyLoss: features [N, {}] and targets [N] or [N, C] were expected, got {:?} and {:?}",
                self.linear.in_features(),
                x.shape(),
                y.shape()
            );
            let rows = x.size(0);
            if self.chunk == 0 || rows <= self.chunk {
                return self.loss.forward(&(self.linear.forward(x), y.clone()));
            }
            let whole = self.loss.reduction;
            let reduction = if whole == Reduction::None { whole } else { Reduction::Sum };
            let parts: Vec<Tensor> = (0..rows)
                .step_by(self.chunk)
                .map(|from| {
                    let n = self.chunk.min(rows - from);
                    self.part(&x.narrow(0, from, n), &y.narrow(0, from, n), reduction)
                })
                .collect();
            match whole {
                Reduction::None => Tensor::cat(&parts, 0),
                Reduction::Sum => Tensor::stack(&parts, 0).sum(..),
                Reduction::Mean => {
                    let sum = Tensor::stack(&parts, 0).sum(..);
                    let count = self.count(y).to_dtype(sum.dtype());
                    sum / count
                }
            }
        })
    }
}

/// Of features: the probabilities of the classes, and the likeliest.
impl Decode for LinearCrossEntropyLoss {
    fn activation(&self, features: &Tensor) -> Tensor {
        self.loss.activation(&self.linear.forward(features))
    }
    fn decodes(&self, probabilities: &Tensor) -> Tensor {
        self.loss.decodes(probabilities)
    }
}
