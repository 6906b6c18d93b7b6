//! What a prediction means under a loss: probabilities, and a decision.

use super::*;
use crate::AdaptiveLogSoftmaxWithLoss;
use hardpan_engine::{functional as f, shape::axis_of};

/// What a model's output means under the loss it is trained with. Counterpart: `activation` and `decodes` of fastai's losses.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{BCEWithLogitsLoss, CrossEntropyLoss, Decode};
/// let logits = Tensor::from_vec(vec![0.0f32, 2.0, 1.0], [1, 3]);
/// let p = CrossEntropyLoss::new().activation(&logits);
/// assert!((p.sum(..).item::<f32>() - 1.0).abs() < 1e-6);
/// assert_eq!(CrossEntropyLoss::new().decodes(&p).to_vec::<i64>(), [1]);
/// let p = BCEWithLogitsLoss::new().activation(&logits);
/// assert_eq!(BCEWithLogitsLoss::new().decodes(&p).to_vec::<bool>(), [false, true, true]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what predictions mean",
    note = "a loss of yours whose predictions stand for themselves: `impl Decode for {Self} {{}}`"
)]
pub trait Decode {
    /// What the model gives, as it is to be shown: probabilities of classes or labels, or the numbers themselves.
    fn activation(&self, pred: &Tensor) -> Tensor {
        pred.clone()
    }

    /// The decision that follows from an [`activation`](Decode::activation): classes (i64), labels (bool), or the numbers themselves.
    fn decodes(&self, pred: &Tensor) -> Tensor {
        pred.clone()
    }
}

/// The dimension of classes where a loss has them in `dim`; the only one of `[C]`.
#[track_caller]
pub(super) fn class_dim(what: &str, pred: &Tensor, dim: isize) -> isize {
    if pred.rank() <= 1 { 0 } else { axis_of(what, dim, pred.rank()) as isize }
}

/// Losses of classes: softmax and the likeliest.
macro_rules! classes {
    ($($name:ident),*) => {$(
        impl Decode for $name {
            #[track_caller]
            fn activation(&self, pred: &Tensor) -> Tensor {
                f::softmax(pred, class_dim(stringify!($name), pred, self.dim))
            }
            #[track_caller]
            fn decodes(&self, pred: &Tensor) -> Tensor {
                pred.argmax(class_dim(stringify!($name), pred, self.dim))
            }
        }
    )*};
}
classes!(CrossEntropyLoss, FocalLoss, DiceLoss);

/// Scores of `[N, C]` or `[C]`: softmax and the likeliest.
impl Decode for MultiMarginLoss {
    fn activation(&self, pred: &Tensor) -> Tensor {
        f::softmax(pred, -1)
    }
    fn decodes(&self, pred: &Tensor) -> Tensor {
        pred.argmax(-1)
    }
}

impl Decode for NLLLoss {
    fn activation(&self, pred: &Tensor) -> Tensor {
        pred.exp()
    }
    #[track_caller]
    fn decodes(&self, pred: &Tensor) -> Tensor {
        pred.argmax(class_dim("NLLLoss", pred, self.dim))
    }
}

/// Losses of labels whose logits go through a sigmoid: given where more likely than not.
macro_rules! labels {
    ($($name:ident),*) => {$(
        impl Decode for $name {
            fn activation(&self, pred: &Tensor) -> Tensor {
                f::sigmoid(pred)
            }
            fn decodes(&self, pred: &Tensor) -> Tensor {
                pred.gt(0.5)
            }
        }
    )*};
}
labels!(BCEWithLogitsLoss, BinaryFocalLoss, MultiLabelSoftMarginLoss);

impl Decode for BCELoss {
    fn decodes(&self, pred: &Tensor) -> Tensor {
        pred.gt(0.5)
    }
}

/// Losses of numbers, which stand for themselves: values, or places in a space whose distances were trained.
macro_rules! numbers {
    ($($name:ident),*) => {$(
        impl Decode for $name {}
    )*};
}
numbers!(
    MSELoss,
    L1Loss,
    SmoothL1Loss,
    HuberLoss,
    GaussianNLLLoss,
    MarginRankingLoss,
    MultiLabelMarginLoss,
    TripletMarginLoss,
    TripletMarginWithDistanceLoss
);

impl Decode for PoissonNLLLoss {
    fn activation(&self, pred: &Tensor) -> Tensor {
        if self.log_input { pred.exp() } else { pred.clone() }
    }
}

/// Log-probabilities; a distribution is no decision, so it stands for itself.
impl Decode for KLDivLoss {
    fn activation(&self, pred: &Tensor) -> Tensor {
        pred.exp()
    }
}

/// Only the direction of an embedding (in the last dimension) counts: it is given the length 1, so that dot products are cosines.
impl Decode for CosineEmbeddingLoss {
    fn activation(&self, pred: &Tensor) -> Tensor {
        if pred.rank() == 0 { pred.clone() } else { f::normalize(pred, 2.0, -1, 1e-8) }
    }
}

/// 1 and -1 as the targets have it, in the dtype of the prediction.
fn signs(yes: &Tensor, like: &Tensor) -> Tensor {
    like.ones_like().where_(yes, -1.0)
}

/// Logits of the two targets 1 and -1: the probability of 1, and the likelier target.
impl Decode for SoftMarginLoss {
    fn activation(&self, pred: &Tensor) -> Tensor {
        f::sigmoid(pred)
    }
    fn decodes(&self, pred: &Tensor) -> Tensor {
        signs(&pred.gt(0.5), pred)
    }
}

/// Distances: alike (1) up to half the margin, where both targets lose as much, and else different (-1).
impl Decode for HingeEmbeddingLoss {
    fn decodes(&self, pred: &Tensor) -> Tensor {
        signs(&pred.le(self.margin / 2.0), pred)
    }
}

/// Log-probabilities `[T, N, C]` or `[T, C]`: probabilities; and the labels of the likeliest path, repetitions and blanks left out, as
/// i64 `[N, L]` (or `[L]`), filled up with -1 to the longest. Reads the prediction.
impl Decode for CTCLoss {
    fn activation(&self, pred: &Tensor) -> Tensor {
        pred.exp()
    }
    #[track_caller]
    fn decodes(&self, pred: &Tensor) -> Tensor {
        assert!(
            pred.rank() == 2 || pred.rank() == 3,
            "CTCLoss::decodes: [T, N, C] or [T, C] was expected, got shape {:?}",
            pred.shape()
        );
        let (steps, blank) = (pred.size(0), self.options.blank as i64);
        let items = if pred.rank() == 3 { pred.size(1) } else { 1 };
        let best = pred.detach().argmax(-1).to_vec::<i64>();
        let paths: Vec<Vec<i64>> = (0..items)
            .map(|n| {
                let path = (0..steps).map(|t| best[t * items + n]);
                let before = std::iter::once(blank).chain(path.clone());
                before.zip(path).filter(|(a, b)| a != b && *b != blank).map(|(_, b)| b).collect()
            })
            .collect();
        let longest = paths.iter().map(Vec::len).max().unwrap_or(0);
        let filled: Vec<i64> = paths
            .into_iter()
            .flat_map(|mut p| {
                p.resize(longest, -1);
                p
            })
            .collect();
        if pred.rank() == 2 {
            return Tensor::from_vec(filled, [longest]);
        }
        Tensor::from_vec(filled, [items, longest])
    }
}

/// Of features: the probabilities of all classes, and the likeliest.
impl Decode for AdaptiveLogSoftmaxWithLoss {
    fn activation(&self, features: &Tensor) -> Tensor {
        self.log_prob(features).exp()
    }
    fn decodes(&self, probabilities: &Tensor) -> Tensor {
        probabilities.argmax(-1)
    }
}
