//! [`ClassificationInterpretation`].

use super::{ClassReport, ClassRow, labels, largest, log_softmax, numbers};
use crate::data::DataLoader;
use crate::learner::{FitError, Learner};
use crate::metric::ConfusionMatrix;
use hardpan_engine::Tensor;
use hardpan_nn::{Forward, Module};
use hardpan_plot::{Figure, Picture, figures};
use serde::{Deserialize, Serialize};

/// What a model said of items that belong to one class each. Counterpart: fastai's `ClassificationInterpretation`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::interpret::ClassificationInterpretation;
/// use hardpan_learn::metric::Average;
/// let logits = Tensor::from_slice(&[2f32, 0., 0., 3., 1., 0.], [3, 2]);
/// let labels = Tensor::from_slice(&[0i64, 1, 1], [3]);
/// let seen = ClassificationInterpretation::new(&logits, &labels, ["cat", "dog"]);
/// assert_eq!(seen.most_confused(1), [("dog", "cat", 1)]);
/// assert_eq!(seen.matrix().recall(Average::Class(1)), 0.5);
/// ```
#[derive(Clone, Debug)]
pub struct ClassificationInterpretation {
    classes: Vec<String>,
    actual: Vec<usize>,
    predicted: Vec<usize>,
    /// Row by row.
    probabilities: Vec<f64>,
    losses: Vec<f64>,
}

/// An item the model was wrong about, or not sure enough.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::interpret::ClassificationInterpretation;
/// let logits = Tensor::from_slice(&[2f32, 0., 0., 3., 1., 0.], [3, 2]);
/// let labels = Tensor::from_slice(&[0i64, 1, 1], [3]);
/// let seen = ClassificationInterpretation::new(&logits, &labels, ["cat", "dog"]);
/// let worst = &seen.top_losses(1)[0];
/// assert_eq!((worst.item, worst.actual, worst.predicted), (2, 1, 0)); // a dog taken for a cat
/// assert!((worst.loss + worst.probability.ln()).abs() < 1e-9);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopLoss {
    /// Its number in the data.
    pub item: usize,
    /// Its cross entropy.
    pub loss: f64,
    /// Its class.
    pub actual: usize,
    /// The class it was taken for.
    pub predicted: usize,
    /// Probability of the class it was taken for.
    pub confidence: f64,
    /// Probability of its class.
    pub probability: f64,
}

/// How far confidence is deserved.
///
/// ```
/// use hardpan_learn::interpret::ClassificationInterpretation;
/// # use hardpan_engine::Tensor;
/// // Four times sure by 0.8, and right three times.
/// let probabilities = Tensor::from_slice(&[0.8f32, 0.2], [1, 2]).expand([4, 2]);
/// let seen =
///     ClassificationInterpretation::from_probabilities(&probabilities, &[0, 0, 0, 1], ["a", "b"]);
/// let calibration = seen.calibration(10);
/// assert!((calibration.error - 0.05).abs() < 1e-6);
/// assert_eq!(calibration.bins.iter().map(|b| b.2).max(), Some(4));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// For each of the equal parts of 0 to 1: mean confidence, share that was right, number of predictions. 0, 0, 0 where there were
    /// none.
    pub bins: Vec<(f64, f64, usize)>,
    /// Mean distance of confidence and share right, each bin weighed by its predictions: the expected calibration error (Naeini and others
    /// 2015).
    pub error: f64,
}

impl Calibration {
    /// A picture.
    pub fn plot(&self) -> Figure {
        figures::calibration(&self.bins, self.error)
    }
}

impl ClassificationInterpretation {
    /// From logits `[N, classes]`, labels `[N]` (integers) and names.
    ///
    /// # Panics
    /// If the shapes do not fit, or a label is not below the number of classes.
    #[track_caller]
    pub fn new<S: Into<String>>(
        logits: &Tensor,
        targets: &Tensor,
        classes: impl IntoIterator<Item = S>,
    ) -> ClassificationInterpretation {
        let classes: Vec<String> = classes.into_iter().map(Into::into).collect();
        let (n, c) = (targets.numel(), classes.len());
        assert!(
            *logits.shape() == [n, c],
            "interpret: logits of shape {:?} for {n} targets and {c} classes; expected [{n}, {c}]",
            logits.shape()
        );
        let logs = numbers(logits).chunks(c.max(1)).map(log_softmax).collect();
        ClassificationInterpretation::build(classes, logs, labels(targets))
    }

    /// From probabilities `[N, classes]`, as the softmax of logits gives them, and labels.
    ///
    /// # Panics
    /// If the shapes do not fit, or a label is not below the number of classes.
    #[track_caller]
    pub fn from_probabilities<S: Into<String>>(
        probabilities: &Tensor,
        targets: &[usize],
        classes: impl IntoIterator<Item = S>,
    ) -> ClassificationInterpretation {
        let classes: Vec<String> = classes.into_iter().map(Into::into).collect();
        let (n, c) = (targets.len(), classes.len());
        assert!(
            *probabilities.shape() == [n, c],
            "interpret: probabilities of shape {:?} for {n} targets and {c} classes; expected [{n}, {c}]",
            probabilities.shape()
        );
        // What rounds to 0 has a loss all the same, as large as f32 can tell.
        let log = |p: &f64| p.max(f64::from(f32::MIN_POSITIVE)).ln();
        let values = numbers(probabilities);
        let logs = values.chunks(c.max(1)).map(|row| row.iter().map(log).collect()).collect();
        let targets = targets.iter().map(|&y| i64::try_from(y).unwrap_or(i64::MAX)).collect();
        ClassificationInterpretation::build(classes, logs, targets)
    }

    #[track_caller]
    fn build(
        classes: Vec<String>,
        logs: Vec<Vec<f64>>,
        targets: Vec<i64>,
    ) -> ClassificationInterpretation {
        let c = classes.len();
        let check = |y: i64| match usize::try_from(y) {
            Ok(y) if y < c => y,
            _ => panic!("interpret: label {y} of {c} classes (0 to {})", c.saturating_sub(1)),
        };
        let actual: Vec<usize> = targets.into_iter().map(check).collect();
        let best =
            |row: &Vec<f64>| (0..c).fold(0, |best, j| if row[j] > row[best] { j } else { best });
        ClassificationInterpretation {
            predicted: logs.iter().map(best).collect(),
            losses: logs.iter().zip(&actual).map(|(row, &y)| -row[y]).collect(),
            probabilities: logs.iter().flatten().map(|l| l.exp()).collect(),
            actual,
            classes,
        }
    }

    /// What `learn`'s model says of everything in `loader`. Items are numbered in the order of the loader, so it should not shuffle.
    ///
    /// # Errors
    /// If data cannot be read.
    ///
    /// # Panics
    /// As [`new`](ClassificationInterpretation::new).
    #[track_caller]
    pub fn of<M, X, S: Into<String>>(
        learn: &Learner<M, X, Tensor>,
        loader: &DataLoader<X, Tensor>,
        classes: impl IntoIterator<Item = S>,
    ) -> Result<ClassificationInterpretation, FitError>
    where
        M: Module + Forward<X, Output = Tensor>,
        X: 'static,
    {
        let (logits, targets) = learn.get_preds(loader)?;
        Ok(ClassificationInterpretation::new(&logits, &targets, classes))
    }

    /// Names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Class of each item.
    pub fn actual(&self) -> &[usize] {
        &self.actual
    }

    /// The class each item was taken for.
    pub fn predicted(&self) -> &[usize] {
        &self.predicted
    }

    /// Cross entropy of each item.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// Probabilities of the classes for an item.
    ///
    /// # Panics
    /// If there are not so many items.
    #[track_caller]
    pub fn probabilities(&self, item: usize) -> &[f64] {
        let c = self.classes.len();
        &self.probabilities[item * c..(item + 1) * c]
    }

    /// Share of items that are right; not a number if there are none.
    pub fn accuracy(&self) -> f64 {
        let right = self.actual.iter().zip(&self.predicted).filter(|(a, p)| a == p).count();
        right as f64 / self.actual.len() as f64
    }

    /// How often each class was taken for which: `[actual, predicted]` row by row.
    pub fn confusion_matrix(&self) -> Vec<usize> {
        let c = self.classes.len();
        let mut counts = vec![0; c * c];
        self.actual.iter().zip(&self.predicted).for_each(|(&a, &p)| counts[a * c + p] += 1);
        counts
    }

    /// The same with all that follows from it: F scores, kappa, Matthews' correlation and so on.
    pub fn matrix(&self) -> ConfusionMatrix {
        let counts = self.confusion_matrix().into_iter().map(|n| n as f64);
        ConfusionMatrix::new(self.classes.len(), counts.collect())
    }

    /// Which class was taken for which other at least `min` times, and how often: most often first. Counterpart: fastai's
    /// `most_confused`.
    pub fn most_confused(&self, min: usize) -> Vec<(&str, &str, usize)> {
        let c = self.classes.len();
        let counts = self.confusion_matrix();
        let mut out: Vec<(usize, usize, usize)> = (0..c * c)
            .map(|i| (i / c, i % c, counts[i]))
            .filter(|&(a, p, n)| a != p && n >= min.max(1))
            .collect();
        out.sort_by_key(|t| std::cmp::Reverse(t.2));
        out.into_iter()
            .map(|(a, p, n)| (self.classes[a].as_str(), self.classes[p].as_str(), n))
            .collect()
    }

    /// Precision, recall and F1 of each class.
    pub fn report(&self) -> ClassReport {
        let matrix = self.matrix();
        let names = self.classes.iter().enumerate();
        let rows = names.map(|(k, name)| ClassRow::of_class(name, &matrix, k)).collect();
        let accuracy = (!self.actual.is_empty()).then(|| self.accuracy());
        ClassReport::new(rows, accuracy, None)
    }

    /// The `k` items of the largest losses. Counterpart: fastai's `top_losses`.
    pub fn top_losses(&self, k: usize) -> Vec<TopLoss> {
        let one = |item: usize| {
            let (actual, predicted) = (self.actual[item], self.predicted[item]);
            let row = self.probabilities(item);
            TopLoss {
                item,
                loss: self.losses[item],
                actual,
                predicted,
                confidence: row[predicted],
                probability: row[actual],
            }
        };
        largest(&self.losses, k).into_iter().map(one).collect()
    }

    /// How far its confidence is deserved, in `bins` equal parts.
    ///
    /// # Panics
    /// If `bins` is 0.
    #[track_caller]
    pub fn calibration(&self, bins: usize) -> Calibration {
        assert!(bins > 0, "calibration: no bins");
        let mut sums = vec![(0.0, 0usize, 0usize); bins];
        for (item, (a, &p)) in self.actual.iter().zip(&self.predicted).enumerate() {
            let confidence = self.probabilities(item)[p];
            let bin = &mut sums[((confidence * bins as f64) as usize).min(bins - 1)];
            bin.0 += confidence;
            bin.1 += usize::from(*a == p);
            bin.2 += 1;
        }
        let total = self.actual.len().max(1) as f64;
        let error = sums.iter().map(|b| (b.0 - b.1 as f64).abs() / total).sum();
        let mean = |&(confidence, right, n): &(f64, usize, usize)| match n {
            0 => (0.0, 0.0, 0),
            n => (confidence / n as f64, right as f64 / n as f64, n),
        };
        Calibration { bins: sums.iter().map(mean).collect(), error }
    }

    /// A picture of the confusion matrix, as counts or as shares of each row.
    pub fn plot_confusion_matrix(&self, normalize: bool) -> Figure {
        figures::confusion_matrix(&self.classes, &self.confusion_matrix(), normalize)
    }

    /// Pictures of the `k` items of the largest losses; `picture` makes one for an item's number. Counterpart: fastai's
    /// `plot_top_losses`.
    pub fn plot_top_losses(&self, k: usize, picture: impl Fn(usize) -> Picture) -> Figure {
        let cell = |t: TopLoss| {
            let (actual, predicted) = (&self.classes[t.actual], &self.classes[t.predicted]);
            let title = format!(
                "{actual}, taken for {predicted}\nloss {:.2}, sure {:.2}",
                t.loss, t.confidence
            );
            (picture(t.item), title, t.actual == t.predicted)
        };
        figures::results("Largest losses", self.top_losses(k).into_iter().map(cell))
    }
}
