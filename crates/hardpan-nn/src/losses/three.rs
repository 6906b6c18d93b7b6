//! Losses of three tensors: as a learner calls them, and with a distance of one's own.

use super::{CosineEmbeddingLoss, GaussianNLLLoss, MarginRankingLoss, TripletMarginLoss};
use crate::{Forward, Module};
use hardpan_engine::Tensor;
use hardpan_engine::functional::{self as f, Reduction};

/// Losses of three tensors as a learner calls them: with what the model gives, and the target.
macro_rules! as_prediction_and_target {
    ($($(#[$doc:meta])* $name:ident<$($any:ident)?>: $p:ty, $y:ty = |$pred:pat_param, $target:pat_param| $three:expr;)*) => {$(
        $(#[$doc])*
        impl<$($any)?> Forward<($p, $y)> for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, ($pred, $target): &($p, $y)) -> Tensor {
                Forward::<(Tensor, Tensor, Tensor)>::forward(self, &$three)
            }
        }
    )*};
}

as_prediction_and_target! {
    /// A prediction `(x1, x2)` and the target.
    MarginRankingLoss<>: (Tensor, Tensor), Tensor = |(a, b), y| (a.clone(), b.clone(), y.clone());
    /// A prediction `(x1, x2)` and the target.
    CosineEmbeddingLoss<>: (Tensor, Tensor), Tensor = |(a, b), y| (a.clone(), b.clone(), y.clone());
    /// A prediction `(mean, variance)` and the target.
    GaussianNLLLoss<>: (Tensor, Tensor), Tensor = |(mean, var), y| (mean.clone(), y.clone(), var.clone());
    /// A prediction `(anchor, positive, negative)`, which needs no target: any will do, and is not looked at.
    TripletMarginLoss<Y>: (Tensor, Tensor, Tensor), Y = |three, _| three.clone();
    /// A prediction `(anchor, positive, negative)`, which needs no target: any will do, and is not looked at.
    TripletMarginWithDistanceLoss<Y>: (Tensor, Tensor, Tensor), Y = |three, _| three.clone();
}

/// Of two tensors of rows.
type Distance = Box<dyn Fn(&Tensor, &Tensor) -> Tensor + Send + Sync>;

/// As [`TripletMarginLoss`] with any distance. Counterpart: `torch.nn.TripletMarginWithDistanceLoss`.
/// Takes `(anchor, positive, negative)`, whose distances are `[N]`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, TripletMarginWithDistanceLoss};
/// let loss = TripletMarginWithDistanceLoss::new(|a, b| (a - b).abs().sum(1)).margin(4.0);
/// let pair = (Tensor::from_slice(&[0f32], [1, 1]), Tensor::from_slice(&[1f32], [1, 1]), Tensor::from_slice(&[3f32], [1, 1]));
/// assert!((loss.forward(&pair).item::<f32>() - 2.0).abs() < 1e-6);
/// ```
#[derive(Module)]
pub struct TripletMarginWithDistanceLoss {
    #[module(skip)]
    reduction: Reduction,
    distance: Distance,
    margin: f64,
    swap: bool,
}
reduction!(TripletMarginWithDistanceLoss);

impl TripletMarginWithDistanceLoss {
    /// With this distance of rows; margin 1.
    pub fn new(
        distance: impl Fn(&Tensor, &Tensor) -> Tensor + Send + Sync + 'static,
    ) -> TripletMarginWithDistanceLoss {
        TripletMarginWithDistanceLoss {
            reduction: Reduction::Mean,
            distance: Box::new(distance),
            margin: 1.0,
            swap: false,
        }
    }

    /// How much farther the negative should be. Default 1.
    #[must_use]
    pub fn margin(mut self, margin: f64) -> TripletMarginWithDistanceLoss {
        self.margin = margin;
        self
    }

    /// Whether the negative may be compared with the positive instead. Default no.
    #[must_use]
    pub fn swap(mut self, swap: bool) -> TripletMarginWithDistanceLoss {
        self.swap = swap;
        self
    }
}

impl Default for TripletMarginWithDistanceLoss {
    /// With the Euclidean distance.
    fn default() -> TripletMarginWithDistanceLoss {
        TripletMarginWithDistanceLoss::new(|a, b| f::pairwise_distance(a, b, 2.0, 1e-6, false))
    }
}

impl Forward<(Tensor, Tensor, Tensor)> for TripletMarginWithDistanceLoss {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (a, p, n): &(Tensor, Tensor, Tensor)) -> Tensor {
        f::triplet_margin_with_distance_loss(
            a,
            p,
            n,
            &self.distance,
            self.margin,
            self.swap,
            self.reduction,
        )
    }
}
