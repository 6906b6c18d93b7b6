//! Metrics of multi-label classification: any number of labels for each item, each a yes or no.

use super::confusion::ratio;
use super::{Average, Metric};
use hardpan_engine::{DType, Tensor, functional as f};

/// Counts of one label.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{LabelCounts, Metric, MultiLabelMetric};
/// // The share of what was given that should not have been, over all labels.
/// let mut metric = MultiLabelMetric::new("false_discovery", |labels: &[LabelCounts]| {
///     let wrong: f64 = labels.iter().map(|l| l.false_positive).sum();
///     wrong / labels.iter().map(|l| l.true_positive + l.false_positive).sum::<f64>()
/// });
/// // Logits of two items with two labels: given are the first of one, both of the other.
/// let pred = Tensor::from_vec(vec![2f32, -1.0, 3.0, 1.0], [2, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0, 1], [2, 2]), 2);
/// assert!((metric.value().unwrap() - 1.0 / 3.0).abs() < 1e-9);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LabelCounts {
    /// Yes, and taken for it.
    pub true_positive: f64,
    /// No, but taken for yes.
    pub false_positive: f64,
    /// Yes, but taken for no.
    pub false_negative: f64,
    /// No, and taken for it.
    pub true_negative: f64,
}

impl LabelCounts {
    fn plus(self, o: LabelCounts) -> LabelCounts {
        LabelCounts {
            true_positive: self.true_positive + o.true_positive,
            false_positive: self.false_positive + o.false_positive,
            false_negative: self.false_negative + o.false_negative,
            true_negative: self.true_negative + o.true_negative,
        }
    }

    fn total(self) -> f64 {
        self.true_positive + self.false_positive + self.false_negative + self.true_negative
    }

    fn precision(self) -> f64 {
        ratio(self.true_positive, self.true_positive + self.false_positive)
    }

    fn recall(self) -> f64 {
        ratio(self.true_positive, self.true_positive + self.false_negative)
    }

    fn f_beta(self, beta: f64) -> f64 {
        let b = beta * beta;
        let tp = (1.0 + b) * self.true_positive;
        ratio(tp, tp + b * self.false_negative + self.false_positive)
    }

    fn jaccard(self) -> f64 {
        ratio(self.true_positive, self.true_positive + self.false_positive + self.false_negative)
    }

    fn matthews(self) -> f64 {
        let LabelCounts {
            true_positive: tp,
            false_positive: fp,
            false_negative: fneg,
            true_negative: tn,
        } = self;
        let under = ((tp + fp) * (tp + fneg) * (tn + fp) * (tn + fneg)).sqrt();
        ratio(tp * tn - fp * fneg, under)
    }
}

/// From the counts of each label.
type Value = Box<dyn Fn(&[LabelCounts]) -> f64 + Send>;

/// A metric that is a function of the [`LabelCounts`] over all batches: logits `[N, L]` (or probabilities, see
/// [`probabilities`](MultiLabelMetric::probabilities)) and targets of zeros and ones.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{LabelCounts, Metric, MultiLabelMetric};
/// let mut metric = MultiLabelMetric::new("missed", |labels: &[LabelCounts]| labels.iter().map(|l| l.false_negative).sum());
/// // Logits of two items with two labels: given are the first of one, both of the other.
/// let pred = Tensor::from_vec(vec![2f32, -1.0, 3.0, 1.0], [2, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0, 1], [2, 2]), 2);
/// assert!((metric.value().unwrap() - 0.0).abs() < 1e-9);
/// ```
pub struct MultiLabelMetric {
    name: String,
    threshold: f64,
    sigmoid: bool,
    by_item: bool,
    value: Value,
    /// `[4, L]`: one for all batches, or one of `[4, N]` for each if counts are by item.
    counts: Vec<Tensor>,
}

impl MultiLabelMetric {
    /// This function of the counts of each label, with the threshold 0.5 on the sigmoid of what the model gives.
    pub fn new(
        name: impl Into<String>,
        value: impl Fn(&[LabelCounts]) -> f64 + Send + 'static,
    ) -> MultiLabelMetric {
        MultiLabelMetric {
            name: name.into(),
            threshold: 0.5,
            sigmoid: true,
            by_item: false,
            value: Box::new(value),
            counts: Vec::new(),
        }
    }

    /// The counts that the function gets are those of each item over its labels, rather than of each label over all items.
    #[must_use]
    pub fn by_item(mut self) -> MultiLabelMetric {
        self.by_item = true;
        self
    }

    /// The probability above which a label counts as given. Default 0.5.
    #[must_use]
    pub fn threshold(mut self, threshold: f64) -> MultiLabelMetric {
        self.threshold = threshold;
        self
    }

    /// The model gives probabilities rather than logits.
    #[must_use]
    pub fn probabilities(mut self) -> MultiLabelMetric {
        self.sigmoid = false;
        self
    }

    /// With another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> MultiLabelMetric {
        self.name = name.into();
        self
    }
}

impl Metric<Tensor, Tensor> for MultiLabelMetric {
    fn name(&self) -> &str {
        &self.name
    }
    fn reset(&mut self) {
        self.counts.clear();
    }
    fn accumulate(&mut self, pred: &Tensor, y: &Tensor, _: usize) {
        let pred = pred.detach();
        let labels = pred.size(-1);
        let p = if self.sigmoid { f::sigmoid(&pred) } else { pred };
        let guess = p.gt(self.threshold).reshape([-1, labels as isize]);
        let truth = y.detach().to_dtype(DType::F32).gt(0.5).reshape([-1, labels as isize]);
        let over = if self.by_item { 1 } else { 0 };
        let count = |both: Tensor| both.to_dtype(DType::F32).sum(over).to_dtype(DType::F64);
        let (not_guess, not_truth) = (guess.logical_not(), truth.logical_not());
        let counts = Tensor::stack(
            &[
                count(guess.logical_and(&truth)),
                count(guess.logical_and(&not_truth)),
                count(not_guess.logical_and(&truth)),
                count(not_guess.logical_and(&not_truth)),
            ],
            0,
        );
        match self.counts.pop() {
            Some(old) if !self.by_item => self.counts.push(old + counts),
            old => self.counts.extend(old.into_iter().chain([counts])),
        }
    }
    fn value(&self) -> Option<f64> {
        if self.counts.is_empty() {
            return None;
        }
        let counts = Tensor::cat(&self.counts, 1);
        let (labels, v) = (counts.size(1), counts.to_vec::<f64>());
        let list: Vec<LabelCounts> = (0..labels)
            .map(|l| LabelCounts {
                true_positive: v[l],
                false_positive: v[labels + l],
                false_negative: v[2 * labels + l],
                true_negative: v[3 * labels + l],
            })
            .collect();
        Some((self.value)(&list))
    }
}

/// A metric whose value for one label (or one item) is averaged.
fn averaging(
    name: &str,
    average: Average,
    value: impl Fn(LabelCounts) -> f64 + Send + 'static,
) -> MultiLabelMetric {
    let metric = MultiLabelMetric::new(name, move |l| averaged(l, average, &value));
    if average == Average::Samples { metric.by_item() } else { metric }
}

fn averaged(list: &[LabelCounts], average: Average, value: impl Fn(LabelCounts) -> f64) -> f64 {
    match average {
        Average::Class(label) => value(list[label]),
        Average::Micro => value(all(list)),
        // The list is of items then.
        Average::Macro | Average::Samples => {
            ratio(list.iter().map(|c| value(*c)).sum(), list.len() as f64)
        }
        Average::Weighted => {
            let support = |c: &LabelCounts| c.true_positive + c.false_negative;
            let sum = list.iter().map(|c| value(*c) * support(c)).sum();
            ratio(sum, list.iter().map(support).sum())
        }
    }
}

/// All labels as one.
fn all(list: &[LabelCounts]) -> LabelCounts {
    list.iter().fold(LabelCounts::default(), |a, b| a.plus(*b))
}

/// Share of labels that are right. Counterpart: fastai's `accuracy_multi`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, accuracy_multi};
/// let mut metric = accuracy_multi();
/// // Logits of two items with two labels: given are the first of one, both of the other.
/// let pred = Tensor::from_vec(vec![2f32, -1.0, 3.0, 1.0], [2, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0, 1], [2, 2]), 2);
/// assert!((metric.value().unwrap() - 0.75).abs() < 1e-9);
/// ```
pub fn accuracy_multi() -> MultiLabelMetric {
    MultiLabelMetric::new("accuracy_multi", |l| {
        let c = all(l);
        ratio(c.true_positive + c.true_negative, c.total())
    })
}

/// Share of labels that are wrong. Counterpart: fastai's `HammingLossMulti`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, hamming_loss_multi};
/// let mut metric = hamming_loss_multi();
/// // Logits of two items with two labels: given are the first of one, both of the other.
/// let pred = Tensor::from_vec(vec![2f32, -1.0, 3.0, 1.0], [2, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0, 1], [2, 2]), 2);
/// assert!((metric.value().unwrap() - 0.25).abs() < 1e-9);
/// ```
pub fn hamming_loss_multi() -> MultiLabelMetric {
    MultiLabelMetric::new("hamming_loss", |l| {
        let c = all(l);
        ratio(c.false_positive + c.false_negative, c.total())
    })
}

/// Counterpart: fastai's `PrecisionMulti`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Average, Metric, precision_multi};
/// let mut metric = precision_multi(Average::Micro);
/// // Logits of two items with two labels: given are the first of one, both of the other.
/// let pred = Tensor::from_vec(vec![2f32, -1.0, 3.0, 1.0], [2, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0, 1], [2, 2]), 2);
/// assert!((metric.value().unwrap() - 2.0 / 3.0).abs() < 1e-9);
/// ```
pub fn precision_multi(average: Average) -> MultiLabelMetric {
    averaging("precision_score", average, LabelCounts::precision)
}

/// Counterpart: fastai's `RecallMulti`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Average, Metric, recall_multi};
/// let mut metric = recall_multi(Average::Micro);
/// // Logits of two items with two labels: given are the first of one, both of the other.
/// let pred = Tensor::from_vec(vec![2f32, -1.0, 3.0, 1.0], [2, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0, 1], [2, 2]), 2);
/// assert!((metric.value().unwrap() - 1.0).abs() < 1e-9);
/// ```
pub fn recall_multi(average: Average) -> MultiLabelMetric {
    averaging("recall_score", average, LabelCounts::recall)
}

/// Counterpart: fastai's `F1ScoreMulti`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Average, Metric, f1_multi};
/// let mut metric = f1_multi(Average::Micro);
/// // Logits of two items with two labels: given are the first of one, both of the other.
/// let pred = Tensor::from_vec(vec![2f32, -1.0, 3.0, 1.0], [2, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0, 1], [2, 2]), 2);
/// assert!((metric.value().unwrap() - 0.8).abs() < 1e-9);
/// ```
pub fn f1_multi(average: Average) -> MultiLabelMetric {
    averaging("f1_score", average, |c| c.f_beta(1.0))
}

/// Counterpart: fastai's `FBetaMulti`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Average, Metric, fbeta_multi};
/// let mut metric = fbeta_multi(2.0, Average::Micro);
/// // Logits of two items with two labels: given are the first of one, both of the other.
/// let pred = Tensor::from_vec(vec![2f32, -1.0, 3.0, 1.0], [2, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0, 1], [2, 2]), 2);
/// assert!((metric.value().unwrap() - 10.0 / 11.0).abs() < 1e-9);
/// ```
pub fn fbeta_multi(beta: f64, average: Average) -> MultiLabelMetric {
    averaging("fbeta_score", average, move |c| c.f_beta(beta))
}

/// Counterpart: fastai's `JaccardMulti`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Average, Metric, jaccard_multi};
/// let mut metric = jaccard_multi(Average::Micro);
/// // Logits of two items with two labels: given are the first of one, both of the other.
/// let pred = Tensor::from_vec(vec![2f32, -1.0, 3.0, 1.0], [2, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0, 1], [2, 2]), 2);
/// assert!((metric.value().unwrap() - 2.0 / 3.0).abs() < 1e-9);
/// ```
pub fn jaccard_multi(average: Average) -> MultiLabelMetric {
    averaging("jaccard_score", average, LabelCounts::jaccard)
}

/// Matthews' coefficient of all labels as one. Counterpart: fastai's `MatthewsCorrCoefMulti`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, matthews_corrcoef_multi};
/// let mut metric = matthews_corrcoef_multi();
/// let pred = Tensor::from_vec(vec![2f32, -1.0, -3.0, 1.0], [2, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0, 1], [2, 2]), 2);
/// assert!((metric.value().unwrap() - 1.0).abs() < 1e-9); // all right
/// ```
pub fn matthews_corrcoef_multi() -> MultiLabelMetric {
    MultiLabelMetric::new("matthews_corrcoef", |l| all(l).matthews())
}
