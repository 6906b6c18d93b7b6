//! What a prediction means under a loss: probabilities, and a decision.

use super::*;
use hardpan_engine::functional as f;

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

/// The dimension of classes: of `[N, C, ..]` or `[C]`.
pub(super) fn class_dim(pred: &Tensor) -> isize {
    if pred.rank() <= 1 { 0 } else { 1 }
}

/// Losses of classes: softmax and the likeliest.
macro_rules! classes {
    ($($name:ident),*) => {$(
        impl Decode for $name {
            fn activation(&self, pred: &Tensor) -> Tensor {
                f::softmax(pred, class_dim(pred))
            }
            fn decodes(&self, pred: &Tensor) -> Tensor {
                pred.argmax(class_dim(pred))
            }
        }
    )*};
}
classes!(CrossEntropyLoss, FocalLoss, MultiMarginLoss);

impl Decode for NLLLoss {
    fn activation(&self, pred: &Tensor) -> Tensor {
        pred.exp()
    }
    fn decodes(&self, pred: &Tensor) -> Tensor {
        pred.argmax(class_dim(pred))
    }
}

impl Decode for DiceLoss {
    fn activation(&self, pred: &Tensor) -> Tensor {
        f::softmax(pred, self.axis)
    }
    fn decodes(&self, pred: &Tensor) -> Tensor {
        pred.argmax(self.axis)
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

/// Losses of numbers, which stand for themselves.
macro_rules! numbers {
    ($($name:ident),*) => {$(
        impl Decode for $name {}
    )*};
}
numbers!(MSELoss, L1Loss, SmoothL1Loss, HuberLoss, GaussianNLLLoss);

impl Decode for PoissonNLLLoss {
    fn activation(&self, pred: &Tensor) -> Tensor {
        if self.log_input { pred.exp() } else { pred.clone() }
    }
}
