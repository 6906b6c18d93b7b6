//! Losses for rare classes and for overlaps: focal and Dice.

use super::{as_places, by_class};
use crate::{Buffer, Forward, Module};
use hardpan_engine::functional::{self as f, Reduction};
use hardpan_engine::{DType, Tensor};

fn reduce(x: Tensor, reduction: Reduction) -> Tensor {
    match reduction {
        Reduction::None => x,
        Reduction::Mean => x.mean(..),
        Reduction::Sum => x.sum(..),
    }
}

/// Cross entropy that counts easy items less: `(1 - p)^gamma` times the cross entropy, `p` being the probability of the right class (as the
/// weighted cross entropy gives it). Logits `[N, C, ..]` or `[C]`, classes (i64) `[N, ..]`.
/// Counterpart: fastai's `FocalLoss`; Lin et al., <https://arxiv.org/abs/1708.02002>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{FocalLoss, Forward};
/// let pair = (Tensor::zeros([4, 2]), Tensor::from_vec(vec![0i64, 1, 1, 0], [4]));
/// let loss = FocalLoss::new(2.0).forward(&pair);
/// assert!((loss.item::<f32>() - 0.25 * 2f32.ln()).abs() < 1e-6);
/// ```
#[derive(Module)]
pub struct FocalLoss {
    gamma: f64,
    weight: Option<Buffer>,
    #[module(skip)]
    reduction: Reduction,
    pub(super) dim: isize,
}

impl FocalLoss {
    /// With this power (fastai's default is 2); the mean, all classes alike.
    pub fn new(gamma: f64) -> FocalLoss {
        FocalLoss { gamma, weight: None, reduction: Reduction::Mean, dim: 1 }
    }

    /// A factor for each class `[C]`.
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> FocalLoss {
        self.weight = Some(Buffer::new(weight));
        self
    }

    /// The dimension of classes; negative counts from the end, so -1 takes `[B, T, C]` and targets `[B, T]`. Default 1, as in PyTorch.
    /// Counterpart: `axis` of fastai's losses.
    #[must_use]
    pub fn dim(mut self, dim: isize) -> FocalLoss {
        self.dim = dim;
        self
    }

    /// Mean, sum, or neither. Default: the mean.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> FocalLoss {
        self.reduction = reduction;
        self
    }
}

impl Forward<(Tensor, Tensor)> for FocalLoss {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (x, y): &(Tensor, Tensor)) -> Tensor {
        let weight = self.weight.as_ref().map(Buffer::value);
        let options = f::CrossEntropyOptions {
            weight: weight.as_ref(),
            reduction: Reduction::None,
            ..Default::default()
        };
        let (flat, target) = by_class("FocalLoss", x, y, self.dim);
        let loss = f::cross_entropy_with(&flat, &target, options);
        let loss = as_places(loss, x, self.dim, Reduction::None);
        let miss = 1.0f64 - (-&loss).exp();
        reduce(miss.pow(self.gamma) * loss, self.reduction)
    }
}

/// Focal loss of labels: `alpha_t (1 - p_t)^gamma` times the binary cross entropy of logits and targets of one shape, `p_t` being the
/// probability of what is true, `alpha_t` alpha for yes and 1 - alpha for no. Lin et al., <https://arxiv.org/abs/1708.02002>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{BinaryFocalLoss, Forward};
/// let loss = BinaryFocalLoss::new(2.0);
/// let pair = (Tensor::zeros([3]), Tensor::ones([3]));
/// assert!((loss.forward(&pair).item::<f32>() - 0.25 * 2f32.ln()).abs() < 1e-6);
/// ```
#[derive(Module, Clone, Debug)]
pub struct BinaryFocalLoss {
    gamma: f64,
    alpha: Option<f64>,
    #[module(skip)]
    reduction: Reduction,
}

impl BinaryFocalLoss {
    /// With this power (the paper's is 2) and without alpha; the mean.
    pub fn new(gamma: f64) -> BinaryFocalLoss {
        BinaryFocalLoss { gamma, alpha: None, reduction: Reduction::Mean }
    }

    /// The factor of yes (0.25 in the paper). Default: none, which is 1 for both.
    #[must_use]
    pub fn alpha(mut self, alpha: f64) -> BinaryFocalLoss {
        self.alpha = Some(alpha);
        self
    }

    /// Mean, sum, or neither. Default: the mean.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> BinaryFocalLoss {
        self.reduction = reduction;
        self
    }
}

impl Forward<(Tensor, Tensor)> for BinaryFocalLoss {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (x, y): &(Tensor, Tensor)) -> Tensor {
        let y = &y.to_dtype(x.dtype());
        let options = f::BceOptions { weight: None, reduction: Reduction::None, pos_weight: None };
        let loss = f::binary_cross_entropy_with_logits(x, y, options);
        let p = f::sigmoid(x);
        let miss = &p + y - &p * y * 2.0;
        let mut out = miss.pow(self.gamma) * loss;
        if let Some(alpha) = self.alpha {
            out *= y * (2.0 * alpha - 1.0) + (1.0 - alpha);
        }
        reduce(out, self.reduction)
    }
}

/// 1 - the Dice coefficient of softmax and truth, for each item and class over all pixels; summed. Logits `[N, C, ..]`, classes (i64)
/// `[N, ..]`. Counterpart: fastai's `DiceLoss`; Milletari et al., <https://arxiv.org/abs/1606.04797>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{DiceLoss, Forward};
/// let sure = Tensor::from_slice(&[20f32, -20.0, -20.0, 20.0], [1, 2, 2]); // two classes of two pixels
/// let loss = |classes: &[i64]| DiceLoss::new().forward(&(sure.clone(), Tensor::from_slice(classes, [1, 2])));
/// assert!(loss(&[0, 1]).item::<f32>() < 1e-5);
/// assert!((loss(&[1, 0]).item::<f32>() - 2.0).abs() < 1e-5); // 1 for each class
/// ```
#[derive(Module, Clone, Debug)]
pub struct DiceLoss {
    pub(super) dim: isize,
    smooth: f64,
    square: bool,
    #[module(skip)]
    reduction: Reduction,
}

impl Default for DiceLoss {
    fn default() -> DiceLoss {
        DiceLoss { dim: 1, smooth: 1e-6, square: false, reduction: Reduction::Sum }
    }
}

impl DiceLoss {
    /// fastai's: the sum, smoothed by 1e-6, classes in dimension 1.
    pub fn new() -> DiceLoss {
        DiceLoss::default()
    }

    /// The dimension of classes; negative counts from the end. Default 1.
    #[must_use]
    pub fn dim(mut self, dim: isize) -> DiceLoss {
        self.dim = dim;
        self
    }

    /// Added above and below the line. Default 1e-6.
    #[must_use]
    pub fn smooth(mut self, smooth: f64) -> DiceLoss {
        self.smooth = smooth;
        self
    }

    /// Whether probabilities count squared below the line. Default no.
    #[must_use]
    pub fn square_in_union(mut self, square: bool) -> DiceLoss {
        self.square = square;
        self
    }

    /// Mean, sum, or neither. Default: the sum.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> DiceLoss {
        self.reduction = reduction;
        self
    }
}

impl Forward<(Tensor, Tensor)> for DiceLoss {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (x, y): &(Tensor, Tensor)) -> Tensor {
        assert!(
            x.rank() >= 2 && y.rank() + 1 == x.rank(),
            "DiceLoss: logits [N, C, ..] and classes [N, ..] were expected, got shapes {:?} and {:?}",
            x.shape(),
            y.shape()
        );
        let x = &x.movedim(self.dim, 1);
        let p = f::softmax(x, 1);
        let mut classes = vec![1; x.rank()];
        classes[1] = x.size(1);
        let hot = y.to_dtype(DType::I64).unsqueeze(1).eq(Tensor::iota(x.size(1)).reshape(classes));
        let hot = hot.to_dtype(x.dtype());
        let over = |t: Tensor| if t.rank() > 2 { t.flatten(2, -1).sum(2) } else { t };
        let both = over(&p * &hot);
        let union = over(if self.square { &p * &p + &hot } else { &p + &hot });
        reduce(1.0f64 - (both * 2.0 + self.smooth) / (union + self.smooth), self.reduction)
    }
}
