//! Metrics of predicted numbers.

use super::Metric;
use hardpan_engine::{DType, Tensor};

/// Means and summed products of deviations of predictions, targets and their difference over all batches, kept on the device in f64
/// and merged as in Chan, Golub and LeVeque 1979, which loses no digits where sums of squares do.
#[derive(Default)]
struct Moments {
    n: f64,
    /// Means of prediction, target, target - prediction.
    means: Option<[Tensor; 3]>,
    /// Summed squares of the deviations of those, then summed products of those of prediction and target.
    sums: Option<[Tensor; 4]>,
}

/// A metric of predictions and targets that are linear statistics of second order. Made by the functions of this module.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, MomentMetric, pearson_corrcoef, r2_score};
/// let mut metrics: Vec<MomentMetric> = vec![r2_score(), pearson_corrcoef()];
/// let (pred, y) = (Tensor::from_vec(vec![1f32, 2.0, 4.0], [3]), Tensor::from_vec(vec![1f32, 2.0, 3.0], [3]));
/// metrics.iter_mut().for_each(|m| m.accumulate(&pred, &y, 3));
/// let values: Vec<f64> = metrics.iter().filter_map(Metric::value).collect();
/// assert!((values[0] - 0.5).abs() < 1e-6 && values[1] > 0.98, "{values:?}");
/// ```
pub struct MomentMetric {
    name: &'static str,
    moments: Moments,
    value: fn(&Statistics) -> f64,
}

/// What a [`MomentMetric`] is a function of.
struct Statistics {
    n: f64,
    mean_error: f64,
    /// Summed squares of deviations from the mean: predictions, targets, errors; and products of the first two.
    pp: f64,
    yy: f64,
    ee: f64,
    py: f64,
}

fn flat(t: &Tensor) -> Tensor {
    t.detach().to_dtype(DType::F64).flatten(0, -1)
}

impl Metric<Tensor, Tensor> for MomentMetric {
    fn name(&self) -> &str {
        self.name
    }
    fn reset(&mut self) {
        self.moments = Moments::default();
    }
    fn accumulate(&mut self, pred: &Tensor, y: &Tensor, _: usize) {
        let (p, y) = (flat(pred), flat(y));
        let e = &y - &p;
        let k = p.numel() as f64;
        if k == 0.0 {
            return;
        }
        let means = [p.mean(..), y.mean(..), e.mean(..)];
        let away = [&p - &means[0], &y - &means[1], &e - &means[2]];
        let sums = [
            (&away[0] * &away[0]).sum(..),
            (&away[1] * &away[1]).sum(..),
            (&away[2] * &away[2]).sum(..),
            (&away[0] * &away[1]).sum(..),
        ];
        let m = &mut self.moments;
        let (Some(old), Some(old_sums)) = (m.means.take(), m.sums.take()) else {
            *m = Moments { n: k, means: Some(means), sums: Some(sums) };
            return;
        };
        let total = m.n + k;
        let apart: Vec<Tensor> = means.iter().zip(&old).map(|(a, b)| a - b).collect();
        let weight = m.n * k / total;
        let merged =
            |i: usize, a: usize, b: usize| &old_sums[i] + &sums[i] + &apart[a] * &apart[b] * weight;
        m.sums = Some([merged(0, 0, 0), merged(1, 1, 1), merged(2, 2, 2), merged(3, 0, 1)]);
        m.means = Some(std::array::from_fn(|i| &old[i] + &apart[i] * (k / total)));
        m.n = total;
    }
    fn value(&self) -> Option<f64> {
        let m = &self.moments;
        let (means, sums) = (m.means.as_ref()?, m.sums.as_ref()?);
        Some((self.value)(&Statistics {
            n: m.n,
            mean_error: means[2].item::<f64>(),
            pp: sums[0].item::<f64>(),
            yy: sums[1].item::<f64>(),
            ee: sums[2].item::<f64>(),
            py: sums[3].item::<f64>(),
        }))
    }
}

/// The share of `total` that is not `left`, where nothing left is all, and something left of nothing is none.
pub(crate) fn explained(left: f64, total: f64) -> f64 {
    match (left, total) {
        (0.0, _) => 1.0,
        (_, 0.0) => 0.0,
        _ => 1.0 - left / total,
    }
}

fn of(name: &'static str, value: fn(&Statistics) -> f64) -> MomentMetric {
    MomentMetric { name, moments: Moments::default(), value }
}

/// 1 - squared error / variance of the targets. Counterpart: fastai's `R2Score`, scikit-learn's `r2_score` of all numbers together.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, r2_score};
/// let mut metric = r2_score();
/// let (pred, y) = (Tensor::from_vec(vec![1f32, 2.0, 4.0], [3]), Tensor::from_vec(vec![1f32, 2.0, 3.0], [3]));
/// metric.accumulate(&pred, &y, 3);
/// assert!((metric.value().unwrap() - 0.5).abs() < 1e-6);
/// ```
pub fn r2_score() -> MomentMetric {
    of("r2_score", |s| {
        let squares = s.ee + s.n * s.mean_error * s.mean_error;
        explained(squares, s.yy)
    })
}

/// 1 - variance of the error / variance of the targets. Counterpart: fastai's `ExplainedVariance`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, explained_variance};
/// let mut metric = explained_variance();
/// let (pred, y) = (Tensor::from_vec(vec![2f32, 3.0, 4.0], [3]), Tensor::from_vec(vec![1f32, 2.0, 3.0], [3]));
/// metric.accumulate(&pred, &y, 3);
/// assert!((metric.value().unwrap() - 1.0).abs() < 1e-6);
/// ```
pub fn explained_variance() -> MomentMetric {
    of("explained_variance_score", |s| explained(s.ee, s.yy))
}

/// The linear correlation of predictions and targets. Counterpart: fastai's `PearsonCorrCoef`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, pearson_corrcoef};
/// let mut metric = pearson_corrcoef();
/// let (pred, y) = (Tensor::from_vec(vec![3f32, 5.0, 7.0], [3]), Tensor::from_vec(vec![1f32, 2.0, 3.0], [3]));
/// metric.accumulate(&pred, &y, 3);
/// assert!((metric.value().unwrap() - 1.0).abs() < 1e-6);
/// ```
pub fn pearson_corrcoef() -> MomentMetric {
    of("pearsonr", |s| s.py / (s.pp * s.yy).sqrt())
}

/// The correlation of the ranks of predictions and targets, ties having the mean of their ranks. Keeps all of them until the value is asked
/// for. Counterpart: fastai's `SpearmanCorrCoef`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, SpearmanCorrCoef};
/// let mut metric = SpearmanCorrCoef::default();
/// let y = Tensor::from_vec(vec![1f32, 2.0, 3.0], [3]);
/// metric.accumulate(&Tensor::from_vec(vec![9f32, 5.0, 1.0], [3]), &y, 3);
/// assert!((metric.value().unwrap() + 1.0).abs() < 1e-6); // in the opposite order
/// ```
#[derive(Default)]
pub struct SpearmanCorrCoef {
    kept: Vec<(Tensor, Tensor)>,
}

/// See [`SpearmanCorrCoef`].
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, spearman_corrcoef};
/// let mut metric = spearman_corrcoef();
/// let (pred, y) = (Tensor::from_vec(vec![1f32, 10.0, 100.0], [3]), Tensor::from_vec(vec![1f32, 2.0, 3.0], [3]));
/// metric.accumulate(&pred, &y, 3);
/// assert!((metric.value().unwrap() - 1.0).abs() < 1e-6);
/// ```
pub fn spearman_corrcoef() -> SpearmanCorrCoef {
    SpearmanCorrCoef::default()
}

/// Ranks from 1, ties having the mean of theirs.
fn ranks(x: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|a, b| x[*a].total_cmp(&x[*b]));
    let mut out = vec![0.0; x.len()];
    let mut before = 0;
    for tie in order.chunk_by(|a, b| x[*a] == x[*b]) {
        let mean = before as f64 + (tie.len() as f64 + 1.0) / 2.0;
        tie.iter().for_each(|i| out[*i] = mean);
        before += tie.len();
    }
    out
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(x, y)| f(x - ma, y - mb)).sum()
    };
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

impl Metric<Tensor, Tensor> for SpearmanCorrCoef {
    fn name(&self) -> &str {
        "spearmanr"
    }
    fn reset(&mut self) {
        self.kept.clear();
    }
    fn accumulate(&mut self, pred: &Tensor, y: &Tensor, _: usize) {
        self.kept.push((flat(pred), flat(y)));
    }
    fn value(&self) -> Option<f64> {
        let (mut p, mut y) = (Vec::new(), Vec::new());
        for (a, b) in &self.kept {
            p.extend(a.to_vec::<f64>());
            y.extend(b.to_vec::<f64>());
        }
        (!p.is_empty()).then(|| correlation(&ranks(&p), &ranks(&y)))
    }
}
