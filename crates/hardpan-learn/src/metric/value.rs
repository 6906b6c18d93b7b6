//! What is measured elsewhere: [`ValueMetric`], [`LossMetric`].

use super::{Metric, RunningMean};
use crate::lock::lock;
use hardpan_engine::Tensor;
use std::sync::{Arc, Mutex};

/// A column whose value is worked out somewhere else, by a callback as a rule. Counterpart: fastai's `ValueMetric`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, ValueMetric};
/// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
/// use std::sync::Arc;
/// let steps = Arc::new(AtomicUsize::new(0));
/// let column = {
///     let steps = steps.clone();
///     ValueMetric::new("steps", move || Some(steps.load(Relaxed) as f64))
/// };
/// steps.store(7, Relaxed);
/// assert_eq!(Metric::<Tensor, Tensor>::value(&column), Some(7.0));
/// ```
pub struct ValueMetric {
    name: String,
    value: Box<dyn Fn() -> Option<f64> + Send>,
}

impl ValueMetric {
    /// The column's name, and what is asked for its value at the end of each validation.
    pub fn new(
        name: impl Into<String>,
        value: impl Fn() -> Option<f64> + Send + 'static,
    ) -> ValueMetric {
        ValueMetric { name: name.into(), value: Box::new(value) }
    }
}

impl<P, Y> Metric<P, Y> for ValueMetric {
    fn name(&self) -> &str {
        &self.name
    }
    fn reset(&mut self) {}
    fn accumulate(&mut self, _: &P, _: &Y, _: usize) {}
    fn value(&self) -> Option<f64> {
        (self.value)()
    }
}

/// A part of the loss as a column: its mean over the items. Counterpart: fastai's `LossMetric`, which finds the part by the name of
/// an attribute of the loss.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{LossMetric, Metric};
/// let (size, column) = LossMetric::new("size_loss");
/// // A loss of two parts, one of which gets a column.
/// let loss = move |pred: &Tensor, y: &Tensor| {
///     let miss = (pred - y).abs().mean(..);
///     let size = size.keep((pred * pred).mean(..) * 0.1);
///     miss + size
/// };
/// let mut column: Box<dyn Metric<Tensor, Tensor>> = Box::new(column);
/// let (pred, y) = (Tensor::full([4], 2.0f32), Tensor::zeros([4]));
/// assert!((loss(&pred, &y).item::<f32>() - 2.4).abs() < 1e-6);
/// column.accumulate(&pred, &y, 4);
/// assert!((column.value().unwrap() - 0.4).abs() < 1e-6);
/// ```
pub struct LossMetric {
    name: String,
    part: LossPart,
    mean: RunningMean,
}

/// Where a loss leaves a part of it for a [`LossMetric`].
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{LossMetric, LossPart, Metric};
/// let (part, mut column): (LossPart, LossMetric) = LossMetric::new("penalty");
/// let same = part.keep(Tensor::scalar(0.5f32));
/// assert_eq!(same.item::<f32>(), 0.5); // as it was, for the loss
/// Metric::<Tensor, Tensor>::accumulate(&mut column, &same, &same, 4);
/// assert_eq!(Metric::<Tensor, Tensor>::value(&column), Some(0.5));
/// ```
#[derive(Clone, Default)]
pub struct LossPart(Arc<Mutex<Option<Tensor>>>);

impl LossPart {
    /// Remembers one part of the present batch's loss, a mean over its items (one number), and gives it back.
    pub fn keep(&self, part: Tensor) -> Tensor {
        *lock(&self.0) = Some(part.detach());
        part
    }
}

impl LossMetric {
    /// Where the loss is to leave the part, and the column.
    pub fn new(name: impl Into<String>) -> (LossPart, LossMetric) {
        let part = LossPart::default();
        (part.clone(), LossMetric { name: name.into(), part, mean: RunningMean::default() })
    }
}

impl<P, Y> Metric<P, Y> for LossMetric {
    fn name(&self) -> &str {
        &self.name
    }
    fn reset(&mut self) {
        self.mean = RunningMean::default();
    }
    fn accumulate(&mut self, _: &P, _: &Y, items: usize) {
        if let Some(part) = lock(&self.part.0).take() {
            self.mean.add(&part, items);
        }
    }
    fn value(&self) -> Option<f64> {
        self.mean.value()
    }
}
