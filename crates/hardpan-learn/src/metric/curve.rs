//! Metrics of how well scores rank: they need all scores at once, so those are kept until the value is asked for.

use super::confusion::ratio;
use super::{Average, Metric, RunningMean};
use hardpan_engine::{DType, Tensor, functional as f};

/// How scores and truths of columns become one number.
type OfColumns = fn(&[f64], &[bool]) -> Option<f64>;

/// What the columns of scores are made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scores {
    /// The share of class 1 among two, or one logit.
    Binary,
    /// Softmax over classes; each class against the rest.
    Classes,
    /// Sigmoids of labels.
    Labels,
}

/// A metric of ranked scores. Made by the functions of this module. Nothing where a value is not defined, as that of a class without items.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Average, Metric, roc_auc_multi};
/// let mut auc = roc_auc_multi().average(Average::Micro);
/// let pred = Tensor::from_vec(vec![2f32, -1.0, 0.5, 1.0], [2, 2]);
/// auc.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0, 1], [2, 2]), 2);
/// assert_eq!(auc.value(), Some(1.0));
/// ```
pub struct RankMetric {
    name: &'static str,
    scores: Scores,
    of: OfColumns,
    average: Average,
    kept: Vec<(Tensor, Tensor)>,
}

impl RankMetric {
    /// How the values of classes or labels become one: the plain mean (the default), weighted by how many items each has, one class alone,
    /// all scores and answers as one list ([`Average::Micro`]), or item by item ([`Average::Samples`]). Counterpart: scikit-learn's `average`.
    #[must_use]
    pub fn average(mut self, average: Average) -> RankMetric {
        self.average = average;
        self
    }
}

impl Metric<Tensor, Tensor> for RankMetric {
    fn name(&self) -> &str {
        self.name
    }
    fn reset(&mut self) {
        self.kept.clear();
    }
    fn accumulate(&mut self, pred: &Tensor, y: &Tensor, _: usize) {
        let (pred, y) = (pred.detach(), y.detach().to_dtype(DType::I64));
        let pair = match self.scores {
            Scores::Binary => {
                let p = positive(&pred).reshape([-1, 1]);
                (p, y.reshape([-1, 1]))
            }
            Scores::Classes => {
                let n = pred.size(-1);
                let p = f::softmax(&pred, -1).reshape([-1, n as isize]);
                (p, y.reshape([-1, 1]).eq(Tensor::iota(n)).to_dtype(DType::I64))
            }
            Scores::Labels => {
                let n = pred.size(-1) as isize;
                (pred.reshape([-1, n]), y.reshape([-1, n]))
            }
        };
        self.kept.push(pair);
    }
    fn value(&self) -> Option<f64> {
        let columns = self.kept.first()?.0.size(1);
        let (mut scores, mut truths) = (Vec::new(), Vec::new());
        for (s, t) in &self.kept {
            scores.extend(s.to_dtype(DType::F64).to_vec::<f64>());
            truths.extend(t.to_vec::<i64>().into_iter().map(|t| t != 0));
        }
        let mean =
            |values: Option<Vec<f64>>| values.map(|v| v.iter().sum::<f64>() / v.len() as f64);
        let column = |c: usize| {
            let s: Vec<f64> = scores.iter().skip(c).step_by(columns).copied().collect();
            let t: Vec<bool> = truths.iter().skip(c).step_by(columns).copied().collect();
            (s, t)
        };
        let of_column = |c: usize| {
            let (s, t) = column(c);
            (self.of)(&s, &t)
        };
        match self.average {
            Average::Class(c) => (c < columns).then(|| of_column(c)).flatten(),
            Average::Macro => mean((0..columns).map(of_column).collect()),
            Average::Micro => (self.of)(&scores, &truths),
            Average::Weighted => {
                let (mut sum, mut support) = (0.0, 0.0);
                for c in 0..columns {
                    let (s, t) = column(c);
                    let items = t.iter().filter(|t| **t).count() as f64;
                    sum += items * (self.of)(&s, &t)?;
                    support += items;
                }
                Some(ratio(sum, support))
            }
            Average::Samples => {
                let rows = scores.chunks(columns).zip(truths.chunks(columns));
                mean(rows.map(|(s, t)| (self.of)(s, t)).collect())
            }
        }
    }
}

/// A score that grows with the probability of yes: the second of two logits over the first, or the only one.
fn positive(pred: &Tensor) -> Tensor {
    if pred.rank() > 1 && pred.size(-1) == 2 {
        f::sigmoid(&(pred.select(-1, 1) - pred.select(-1, 0)))
    } else {
        f::sigmoid(pred)
    }
}

/// Indices from the highest score down.
fn descending(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order
}

/// Area under the receiver operating characteristic: the chance that a yes is scored above a no, a tie counting half. `None` if
/// one of them does not occur.
///
/// ```
/// use hardpan_learn::metric::roc_auc_of;
/// // Of four pairs of a yes and a no, three have the yes first.
/// let auc = roc_auc_of(&[0.9, 0.6, 0.7, 0.1], &[true, true, false, false]);
/// assert_eq!(auc, Some(0.75));
/// assert_eq!(roc_auc_of(&[0.9], &[true]), None);
/// ```
pub fn roc_auc_of(scores: &[f64], truths: &[bool]) -> Option<f64> {
    let yes = truths.iter().filter(|t| **t).count() as f64;
    let no = truths.len() as f64 - yes;
    let (mut area, mut above) = (0.0, 0.0);
    let order = descending(scores);
    for tie in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let hits = tie.iter().filter(|i| truths[**i]).count() as f64;
        let misses = tie.len() as f64 - hits;
        area += misses * (above + hits / 2.0);
        above += hits;
    }
    (yes > 0.0 && no > 0.0).then(|| area / (yes * no))
}

/// Average precision: the precision at each threshold, weighed by the recall it adds. 0 if there is no yes.
///
/// ```
/// use hardpan_learn::metric::average_precision_of;
/// // The first yes is found at a precision of 1, the second at 2/3.
/// let ap = average_precision_of(&[0.9, 0.7, 0.6], &[true, false, true]).unwrap();
/// assert!((ap - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
/// ```
pub fn average_precision_of(scores: &[f64], truths: &[bool]) -> Option<f64> {
    let yes = truths.iter().filter(|t| **t).count() as f64;
    let (mut sum, mut hits, mut seen) = (0.0, 0.0, 0.0);
    let order = descending(scores);
    for tie in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let more = tie.iter().filter(|i| truths[**i]).count() as f64;
        seen += tie.len() as f64;
        hits += more;
        sum += more / yes.max(1.0) * hits / seen;
    }
    (!truths.is_empty()).then_some(sum)
}

fn rank(name: &'static str, scores: Scores, of: OfColumns) -> RankMetric {
    RankMetric { name, scores, of, average: Average::Macro, kept: Vec::new() }
}

/// Area under the ROC curve of two classes (logits `[N, 2]`, or one logit `[N]`). Counterpart: fastai's `RocAucBinary`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, roc_auc_binary};
/// let mut metric = roc_auc_binary();
/// // One logit an item.
/// let pred = Tensor::from_vec(vec![2f32, -1.0, 0.5], [3]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0], [3]), 3);
/// assert!((metric.value().unwrap() - 1.0).abs() < 1e-6);
/// ```
pub fn roc_auc_binary() -> RankMetric {
    rank("roc_auc_score", Scores::Binary, roc_auc_of)
}

/// Mean over classes of the area under the ROC curve of each against the rest, from logits `[N, C]`. Counterpart: fastai's `RocAuc`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, roc_auc};
/// let mut metric = roc_auc();
/// // Three items in three classes, each scored highest where it belongs.
/// let pred = Tensor::eye(3, 3);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 2], [3]), 3);
/// assert!((metric.value().unwrap() - 1.0).abs() < 1e-6);
/// ```
pub fn roc_auc() -> RankMetric {
    rank("roc_auc_score", Scores::Classes, roc_auc_of)
}

/// Mean over labels of the area under the ROC curve, from logits `[N, L]`. Counterpart: fastai's `RocAucMulti`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, roc_auc_multi};
/// let mut metric = roc_auc_multi();
/// // Two items with two labels each.
/// let pred = Tensor::from_vec(vec![2f32, -1.0, 0.5, 1.0], [2, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0, 1], [2, 2]), 2);
/// assert!((metric.value().unwrap() - 1.0).abs() < 1e-6);
/// ```
pub fn roc_auc_multi() -> RankMetric {
    rank("roc_auc_score", Scores::Labels, roc_auc_of)
}

/// Average precision of two classes. Counterpart: fastai's `APScoreBinary`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, average_precision_binary};
/// let mut metric = average_precision_binary();
/// // One logit an item.
/// let pred = Tensor::from_vec(vec![2f32, -1.0, 0.5], [3]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0], [3]), 3);
/// assert!((metric.value().unwrap() - 1.0).abs() < 1e-6);
/// ```
pub fn average_precision_binary() -> RankMetric {
    rank("average_precision_score", Scores::Binary, average_precision_of)
}

/// Mean over labels of the average precision. Counterpart: fastai's `APScoreMulti`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, average_precision_multi};
/// let mut metric = average_precision_multi();
/// // Two items with two labels each.
/// let pred = Tensor::from_vec(vec![2f32, -1.0, 0.5, 1.0], [2, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0, 1], [2, 2]), 2);
/// assert!((metric.value().unwrap() - 1.0).abs() < 1e-6);
/// ```
pub fn average_precision_multi() -> RankMetric {
    rank("average_precision_score", Scores::Labels, average_precision_of)
}

/// Mean of `(p - y)^2` for probabilities: of class 1 ([`brier_score`]) or of all labels ([`brier_score_multi`]).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, brier_score};
/// let mut metric = brier_score();
/// // Sure, and wrong once in two.
/// let pred = Tensor::from_vec(vec![100f32, 100.0], [2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0], [2]), 2);
/// assert!((metric.value().unwrap() - 0.5).abs() < 1e-6);
/// ```
pub struct BrierScore {
    labels: bool,
    sum: RunningMean,
}

/// Mean squared difference of the probability of class 1 (logits `[N, 2]`, or one logit `[N]`) and the truth. Counterpart: fastai's `BrierScore`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, brier_score};
/// let mut metric = brier_score();
/// // The probability of yes is a half for both.
/// let pred = Tensor::zeros([2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0], [2]), 2);
/// assert!((metric.value().unwrap() - 0.25).abs() < 1e-6);
/// ```
pub fn brier_score() -> BrierScore {
    BrierScore { labels: false, sum: RunningMean::default() }
}

/// As [`brier_score`] over all labels, from logits `[N, L]`. Counterpart: fastai's `BrierScoreMulti`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, brier_score_multi};
/// let mut metric = brier_score_multi();
/// let pred = Tensor::zeros([2, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0, 1], [2, 2]), 2);
/// assert!((metric.value().unwrap() - 0.25).abs() < 1e-6);
/// ```
pub fn brier_score_multi() -> BrierScore {
    BrierScore { labels: true, sum: RunningMean::default() }
}

impl Metric<Tensor, Tensor> for BrierScore {
    fn name(&self) -> &str {
        "brier_score"
    }
    fn reset(&mut self) {
        self.sum = RunningMean::default();
    }
    fn accumulate(&mut self, pred: &Tensor, y: &Tensor, items: usize) {
        let pred = pred.detach();
        let p = if self.labels { f::sigmoid(&pred) } else { positive(&pred) };
        let d = p.flatten(0, -1) - y.detach().to_dtype(p.dtype()).flatten(0, -1);
        self.sum.add(&(&d * &d).mean(..), items);
    }
    fn value(&self) -> Option<f64> {
        self.sum.value()
    }
}
