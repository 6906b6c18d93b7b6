//! [`RegressionInterpretation`].

use super::{largest, numbers};
use crate::metric::explained;
use hardpan_engine::Tensor;
use hardpan_plot::{Axes, Color, Figure, Series, palette};

/// What a model said of items with numbers as targets.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::interpret::RegressionInterpretation;
/// let (said, is) = (Tensor::from_slice(&[1f32, 2., 5.], [3]), Tensor::from_slice(&[1f32, 2., 3.], [3]));
/// let seen = RegressionInterpretation::new(&said, &is);
/// assert_eq!(seen.top_losses(1), [(2, 4.0)]); // item 2, squared error 4
/// assert_eq!(seen.r2(), 1.0 - 4.0 / 2.0);
/// ```
#[derive(Clone, Debug)]
pub struct RegressionInterpretation {
    predicted: Vec<f64>,
    actual: Vec<f64>,
    /// Numbers of an item.
    width: usize,
}

impl RegressionInterpretation {
    /// From predictions and targets of the same shape, `[N]` or `[N, ...]`.
    ///
    /// # Panics
    /// If the shapes differ: `[N, 1]` against `[N]` would be broadcast to something else in a loss too.
    #[track_caller]
    pub fn new(predictions: &Tensor, targets: &Tensor) -> RegressionInterpretation {
        assert!(
            predictions.rank() > 0 && predictions.shape() == targets.shape(),
            "interpret: predictions of shape {:?} and targets of shape {:?}; expected the same, with a first dimension of items",
            predictions.shape(),
            targets.shape()
        );
        let width = predictions.shape()[1..].iter().product::<usize>().max(1);
        RegressionInterpretation {
            predicted: numbers(predictions),
            actual: numbers(targets),
            width,
        }
    }

    fn errors(&self) -> impl Iterator<Item = f64> {
        self.predicted.iter().zip(&self.actual).map(|(p, a)| p - a)
    }

    /// Mean of absolute errors.
    pub fn mae(&self) -> f64 {
        self.errors().map(f64::abs).sum::<f64>() / self.actual.len() as f64
    }

    /// Root of the mean of squared errors.
    pub fn rmse(&self) -> f64 {
        (self.errors().map(|e| e * e).sum::<f64>() / self.actual.len() as f64).sqrt()
    }

    /// Mean error: above 0 if predictions are too high.
    pub fn bias(&self) -> f64 {
        self.errors().sum::<f64>() / self.actual.len() as f64
    }

    /// Share of the targets' variance that is explained: 1 is perfect, 0 as good as their mean. As scikit-learn's `r2_score` over all
    /// numbers as one list.
    pub fn r2(&self) -> f64 {
        let mean = self.actual.iter().sum::<f64>() / self.actual.len() as f64;
        let total: f64 = self.actual.iter().map(|a| (a - mean).powi(2)).sum();
        let left: f64 = self.errors().map(|e| e * e).sum();
        explained(left, total)
    }

    /// Number and mean squared error of the `k` items that are furthest off.
    pub fn top_losses(&self, k: usize) -> Vec<(usize, f64)> {
        let squares: Vec<f64> = self.errors().map(|e| e * e).collect();
        let losses: Vec<f64> =
            squares.chunks(self.width).map(|r| r.iter().sum::<f64>() / self.width as f64).collect();
        largest(&losses, k).into_iter().map(|i| (i, losses[i])).collect()
    }

    /// Predictions against targets, and how the errors are spread.
    pub fn plot(&self) -> Figure {
        let pairs: Vec<(f64, f64)> =
            self.actual.iter().copied().zip(self.predicted.iter().copied()).collect();
        let finite = self.actual.iter().copied().filter(|v| v.is_finite());
        let (low, high) =
            finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        let step = pairs.len().div_ceil(3000).max(1);
        let scatter = Axes::new("Predicted against actual")
            .x_label("actual")
            .y_label("predicted")
            .size(400.0, 360.0)
            .with(
                Series::line([(low, low), (high, high)])
                    .color(Color::SOFT)
                    .dashed()
                    .width(1.5)
                    .label("perfect"),
            )
            .with(
                Series::points(pairs.into_iter().step_by(step))
                    .color(palette(0).alpha(0.4))
                    .width(2.5),
            );
        let errors: Vec<f64> = self.errors().collect();
        let spread = Axes::new("Errors")
            .x_label("predicted − actual")
            .y_label("items")
            .size(400.0, 360.0)
            .with(Series::histogram(&errors, 40));
        Figure::new("Regression").columns(2).with(scatter).with(spread)
    }
}
