//! Metrics: what people want to know, summed up over the batches of a validation without reading any of them.
//!
//! A [`Metric`] keeps its sums as tensors that are computed along with the batch, and reads them once, at the end. Each batch
//! counts by its number of items, so a small last batch weighs what it should. Counterpart: fastai's `AvgMetric`,
//! `AccumMetric`.
//!
//! What is a mean over items is a function wrapped in [`Mean`] ([`accuracy`], [`mse`], ...). What follows from counts is a
//! [`ConfusionMetric`] ([`f1_score`], [`dice`], ...) or a [`MultiLabelMetric`], what follows from moments a [`MomentMetric`]
//! ([`r2_score`], ...); only what needs all predictions at once, a [`RankMetric`] ([`roc_auc`], ...), keeps them. Names and definitions are
//! scikit-learn's and fastai's.

mod confusion;
mod curve;
mod multilabel;
mod regression;
mod text;
mod value;

pub use confusion::*;
pub use curve::*;
pub use multilabel::*;
pub use regression::*;
pub use text::*;
pub use value::{LossMetric, LossPart, ValueMetric};

use hardpan_engine::{DType, Tensor};

/// Which values are better.
///
/// ```
/// use hardpan_learn::metric::Better;
/// assert!(Better::Lower.is_better(0.3, 0.4, 0.0));
/// assert!(!Better::Higher.is_better(0.93, 0.9, 0.05)); // not by more than that
/// assert!(Better::Higher.is_better(0.1, Better::Higher.worst(), 0.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Losses and errors.
    Lower,
    /// Accuracies.
    Higher,
}

impl Better {
    /// What is usual for this name: lower for losses and errors (`valid_loss`, `error_rate`, `mse`, `rmse`, `mae`, `msle`, `exp_rmspe`,
    /// `perplexity`, ...), higher for the rest. fastai's `TrackerCallback` knows `loss` and `error` only.
    ///
    /// ```
    /// use hardpan_learn::metric::Better;
    /// assert_eq!(Better::of("valid_loss"), Better::Lower);
    /// assert_eq!(Better::of("rmse"), Better::Lower);
    /// assert_eq!(Better::of("accuracy"), Better::Higher);
    /// ```
    pub fn of(name: &str) -> Better {
        const LOWER: [&str; 10] =
            ["mse", "rmse", "mae", "msle", "mape", "rmspe", "perplexity", "brier", "wer", "cer"];
        let name = name.to_lowercase();
        let falls = |word: &str| LOWER.contains(&word);
        match name.contains("loss") || name.contains("error") || name.split('_').any(falls) {
            true => Better::Lower,
            false => Better::Higher,
        }
    }

    /// Whether `new` is better than `old` by more than `delta`.
    pub fn is_better(self, new: f64, old: f64, delta: f64) -> bool {
        match self {
            Better::Lower => new < old - delta,
            Better::Higher => new > old + delta,
        }
    }

    /// Worse than every value.
    pub fn worst(self) -> f64 {
        match self {
            Better::Lower => f64::INFINITY,
            Better::Higher => f64::NEG_INFINITY,
        }
    }
}

/// Something measured over all batches of a validation: `P` is what the model gives, `Y` the targets.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::Metric;
///
/// /// The largest error of all.
/// #[derive(Default)]
/// struct MaxError(Option<Tensor>);
///
/// impl Metric<Tensor, Tensor> for MaxError {
///     fn name(&self) -> &str {
///         "max_error"
///     }
///     fn reset(&mut self) {
///         self.0 = None;
///     }
///     fn accumulate(&mut self, pred: &Tensor, y: &Tensor, _: usize) {
///         let worst = (pred.detach() - y).abs().amax(..);
///         self.0 = Some(match self.0.take() {
///             Some(before) => before.maximum(worst),
///             None => worst,
///         });
///     }
///     fn value(&self) -> Option<f64> {
///         self.0.as_ref().map(|t| f64::from(t.item::<f32>()))
///     }
/// }
///
/// let mut metric = MaxError::default();
/// metric.accumulate(&Tensor::full([3], 2.0f32), &Tensor::zeros([3]), 3);
/// metric.accumulate(&Tensor::full([3], 1.0f32), &Tensor::zeros([3]), 3);
/// assert_eq!(metric.value(), Some(2.0));
/// ```
pub trait Metric<P, Y>: Send {
    /// The column's name.
    fn name(&self) -> &str;

    /// Starts anew.
    fn reset(&mut self);

    /// Adds a batch of `items` items. Should not read tensors: that would stop the machine for each batch.
    fn accumulate(&mut self, pred: &P, y: &Y, items: usize);

    /// The value over all batches since the start; `None` if there were none. Reads.
    fn value(&self) -> Option<f64>;
}

/// The mean over items of a function of the batch. Counterpart: fastai's `AvgMetric`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::Mean;
/// let mae = Mean::new("mae", |pred: &Tensor, y: &Tensor| (pred - y).abs().mean(..));
/// ```
pub struct Mean<F> {
    name: String,
    f: F,
    sum: RunningMean,
    then: fn(f64) -> f64,
}

impl<F> Mean<F> {
    /// The mean of `f`, which gives one number (a tensor of one element) for a batch: its own mean.
    pub fn new<P, Y>(name: impl Into<String>, f: F) -> Mean<F>
    where
        F: Fn(&P, &Y) -> Tensor + Send,
    {
        Mean { name: name.into(), f, sum: RunningMean::default(), then: |x| x }
    }

    /// With this done to the mean over everything, such as a square root.
    #[must_use]
    pub fn then(mut self, then: fn(f64) -> f64) -> Mean<F> {
        self.then = then;
        self
    }
}

impl<P, Y, F: Fn(&P, &Y) -> Tensor + Send> Metric<P, Y> for Mean<F> {
    fn name(&self) -> &str {
        &self.name
    }
    fn reset(&mut self) {
        self.sum = RunningMean::default();
    }
    fn accumulate(&mut self, pred: &P, y: &Y, items: usize) {
        self.sum.add(&(self.f)(pred, y), items);
    }
    fn value(&self) -> Option<f64> {
        self.sum.value().map(self.then)
    }
}

/// A mean of batch means, each weighed by its items, kept on the device.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::RunningMean;
/// let mut mean = RunningMean::default();
/// mean.add(&Tensor::scalar(1f32), 30);
/// mean.add(&Tensor::scalar(5f32), 10); // a last batch that is smaller
/// assert_eq!(mean.value(), Some(2.0));
/// ```
#[derive(Clone, Default)]
pub struct RunningMean {
    total: Option<Tensor>,
    items: usize,
}

impl RunningMean {
    /// Adds the mean over `items` items.
    pub fn add(&mut self, mean: &Tensor, items: usize) {
        // In f64: sums of many f32 would lose digits.
        let part = mean.detach().reshape(&[] as &[usize]).to_dtype(DType::F64) * items as f64;
        self.total = Some(match self.total.take() {
            Some(total) => total + part,
            None => part,
        });
        self.items += items;
    }

    /// The mean, if there is anything. Reads.
    pub fn value(&self) -> Option<f64> {
        let total = self.total.as_ref()?;
        (self.items > 0).then(|| total.item::<f64>() / self.items as f64)
    }
}

/// Share of rows whose largest output is at the label. `pred: [N, C]` or `[.., C]`, labels whole numbers of the shape before
/// `C`; f32.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::accuracy;
/// let pred = Tensor::from_vec(vec![0.9f32, 0.1, 0.2, 0.8, 0.6, 0.4], [3, 2]);
/// let y = Tensor::from_vec(vec![0i64, 1, 1], [3]);
/// assert!((accuracy(&pred, &y).item::<f32>() - 2.0 / 3.0).abs() < 1e-6);
/// ```
pub fn accuracy(pred: &Tensor, y: &Tensor) -> Tensor {
    let hit = pred.detach().argmax(-1).eq(y.to_dtype(DType::I64));
    hit.to_dtype(DType::F32).mean(..)
}

/// Share of rows whose largest output is not at the label: 1 - [`accuracy`].
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::error_rate;
/// let pred = Tensor::from_vec(vec![0.9f32, 0.1, 0.2, 0.8, 0.6, 0.4], [3, 2]);
/// let y = Tensor::from_vec(vec![0i64, 1, 1], [3]);
/// assert!((error_rate(&pred, &y).item::<f32>() - 1.0 / 3.0).abs() < 1e-6);
/// ```
pub fn error_rate(pred: &Tensor, y: &Tensor) -> Tensor {
    1.0f32 - accuracy(pred, y)
}

/// Mean of squared differences.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::mse;
/// let (pred, y) = (Tensor::from_vec(vec![1f32, 4.0], [2]), Tensor::from_vec(vec![2f32, 2.0], [2]));
/// assert_eq!(mse(&pred, &y).item::<f32>(), 2.5);
/// ```
pub fn mse(pred: &Tensor, y: &Tensor) -> Tensor {
    let d = pred - y;
    (&d * &d).mean(..)
}

/// Mean of absolute differences.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::mae;
/// let (pred, y) = (Tensor::from_vec(vec![1f32, 4.0], [2]), Tensor::from_vec(vec![2f32, 2.0], [2]));
/// assert_eq!(mae(&pred, &y).item::<f32>(), 1.5);
/// ```
pub fn mae(pred: &Tensor, y: &Tensor) -> Tensor {
    (pred - y).abs().mean(..)
}

/// Mean of squared differences of `ln(1 + x)`. Counterpart: fastai's `msle`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::msle;
/// // ln(1 + 0) and ln(1 + (e - 1)) are 1 apart.
/// let (pred, y) = (Tensor::zeros([1]), Tensor::full([1], 1f32.exp() - 1.0));
/// assert!((msle(&pred, &y).item::<f32>() - 1.0).abs() < 1e-6);
/// ```
pub fn msle(pred: &Tensor, y: &Tensor) -> Tensor {
    mse(&pred.log1p(), &y.log1p())
}

/// A [`Mean`] of a plain function of predictions and targets.
///
/// ```
/// use hardpan_learn::metric::{Metric, TensorMean, exp_rmspe, rmse};
/// let metrics: Vec<TensorMean> = vec![rmse(), exp_rmspe()];
/// let names: Vec<&str> = metrics.iter().map(Metric::name).collect();
/// assert_eq!(names, ["rmse", "exp_rmspe"]);
/// ```
pub type TensorMean = Mean<fn(&Tensor, &Tensor) -> Tensor>;

/// Root of the mean of squared differences, over all batches. Counterpart: fastai's `rmse`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, rmse};
/// let mut metric = rmse();
/// let y = Tensor::from_vec(vec![2f32, 2.0], [2]);
/// metric.accumulate(&Tensor::from_vec(vec![1f32, 2.0], [2]), &y, 2);
/// metric.accumulate(&Tensor::from_vec(vec![2f32, 5.0], [2]), &y, 2);
/// // The root of the mean over both batches: (1 + 0 + 0 + 9) / 4.
/// assert!((metric.value().unwrap() - 2.5f64.sqrt()).abs() < 1e-6);
/// ```
pub fn rmse() -> TensorMean {
    Mean::new("rmse", mse as fn(&Tensor, &Tensor) -> Tensor).then(f64::sqrt)
}

/// Root of the mean squared share by which `e^pred` misses `e^y`: for predictions of logarithms. Counterpart: fastai's `exp_rmspe`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, exp_rmspe};
/// let mut metric = exp_rmspe();
/// // Logarithms of prices: 110 said, 100 paid.
/// metric.accumulate(&Tensor::full([1], 110f32.ln()), &Tensor::full([1], 100f32.ln()), 1);
/// assert!((metric.value().unwrap() - 0.1).abs() < 1e-5);
/// ```
pub fn exp_rmspe() -> TensorMean {
    fn missed(pred: &Tensor, y: &Tensor) -> Tensor {
        let y = y.exp();
        let share = (&y - pred.exp()) / y;
        (&share * &share).mean(..)
    }
    Mean::new("exp_rmspe", missed as fn(&Tensor, &Tensor) -> Tensor).then(f64::sqrt)
}

/// Share of rows whose label is among the `k` largest outputs, as a metric. Counterpart: fastai's `top_k_accuracy` (k 5).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, top_k_accuracy};
/// let mut metric = top_k_accuracy(2);
/// let pred = Tensor::from_vec(vec![3f32, 2.0, 1.0, 3.0, 2.0, 1.0], [2, 3]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 2], [2]), 2);
/// assert_eq!(metric.value(), Some(0.5));
/// ```
pub fn top_k_accuracy(k: usize) -> Mean<impl Fn(&Tensor, &Tensor) -> Tensor + Send> {
    Mean::new(format!("top_{k}_accuracy"), move |pred: &Tensor, y: &Tensor| {
        let best = pred.detach().topk(k.min(pred.size(-1)), -1, true).1;
        let hit = best.eq(y.to_dtype(DType::I64).unsqueeze(-1)).to_dtype(DType::F32).sum(-1);
        hit.to_dtype(DType::F32).mean(..)
    })
}
