//! [`ClassReport`]: precision, recall and F1 of each class.

use crate::metric::{Average, ConfusionMatrix};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Precision, recall and F1 of each class and their means. Shown as scikit-learn's `classification_report` (whose definitions these
/// are; what would be divided by zero is 0).
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::interpret::ClassificationInterpretation;
/// let logits = Tensor::from_slice(&[2f32, 0., 0., 3., 1., 0.], [3, 2]);
/// let labels = Tensor::from_slice(&[0i64, 1, 1], [3]);
/// let report = ClassificationInterpretation::new(&logits, &labels, ["cat", "dog"]).report();
/// // Of two dogs one was seen; of two animals taken for cats one was one.
/// assert_eq!((report.rows[1].recall, report.rows[0].precision), (0.5, 0.5));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// One row a class.
    pub rows: Vec<ClassRow>,
    /// Share of items that are right. `None` where items have several labels.
    pub accuracy: Option<f64>,
    /// From the sums over all classes; only where items have several labels (else all three are the accuracy).
    pub micro: Option<ClassRow>,
    /// Mean over classes.
    pub macro_average: ClassRow,
    /// Mean over classes, each weighed by its support.
    pub weighted_average: ClassRow,
}

/// A row of a [`ClassReport`].
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::interpret::ClassificationInterpretation;
/// let logits = Tensor::from_slice(&[2f32, 0., 0., 3., 1., 0.], [3, 2]);
/// let labels = Tensor::from_slice(&[0i64, 1, 1], [3]);
/// let report = ClassificationInterpretation::new(&logits, &labels, ["cat", "dog"]).report();
/// let dog = &report.rows[1];
/// assert_eq!((dog.name.as_str(), dog.support), ("dog", 2));
/// assert_eq!((dog.precision, dog.recall), (1.0, 0.5));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassRow {
    /// The class.
    pub name: String,
    /// Of those taken for it, the share that is.
    pub precision: f64,
    /// Of those that are, the share taken for it.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Number of items that are.
    pub support: usize,
}

impl ClassRow {
    /// From counts: right ones, wrongly taken for it, and missed.
    pub(super) fn of(name: &str, hit: usize, wrong: usize, missed: usize) -> ClassRow {
        // Rightly left out ones enter none of the three.
        let counts = [0, wrong, missed, hit].map(|n| n as f64);
        ClassRow::of_class(name, &ConfusionMatrix::new(2, counts.to_vec()), 1)
    }

    /// That of a class of a confusion matrix.
    pub(super) fn of_class(name: &str, counts: &ConfusionMatrix, class: usize) -> ClassRow {
        let one = Average::Class(class);
        ClassRow {
            name: name.to_owned(),
            precision: counts.precision(one),
            recall: counts.recall(one),
            f1: counts.f_beta(1.0, one),
            support: counts.support(class) as usize,
        }
    }
}

impl ClassReport {
    pub(super) fn new(
        rows: Vec<ClassRow>,
        accuracy: Option<f64>,
        micro: Option<ClassRow>,
    ) -> ClassReport {
        let support: usize = rows.iter().map(|r| r.support).sum();
        let mean = |name: &str, weight: &dyn Fn(&ClassRow) -> f64| {
            let total: f64 = rows.iter().map(weight).sum();
            let of = |value: fn(&ClassRow) -> f64| match total {
                0.0 => 0.0,
                total => rows.iter().map(|r| value(r) * weight(r)).sum::<f64>() / total,
            };
            ClassRow {
                name: name.to_owned(),
                precision: of(|r| r.precision),
                recall: of(|r| r.recall),
                f1: of(|r| r.f1),
                support,
            }
        };
        ClassReport {
            macro_average: mean("macro avg", &|_| 1.0),
            weighted_average: mean("weighted avg", &|r| r.support as f64),
            rows,
            accuracy,
            micro,
        }
    }
}

impl fmt::Display for ClassReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let means = [&self.macro_average, &self.weighted_average];
        let names = self.rows.iter().map(|r| r.name.chars().count()).max().unwrap_or(0).max(12);
        writeln!(f, "{:>names$}  precision    recall  f1-score   support\n", "")?;
        let row = |f: &mut fmt::Formatter<'_>, r: &ClassRow| {
            writeln!(
                f,
                "{:>names$}  {:>9.3} {:>9.3} {:>9.3} {:>9}",
                r.name, r.precision, r.recall, r.f1, r.support
            )
        };
        self.rows.iter().try_for_each(|r| row(f, r))?;
        writeln!(f)?;
        if let Some(accuracy) = self.accuracy {
            let n = self.macro_average.support;
            writeln!(f, "{:>names$}  {:>29.3} {n:>9}", "accuracy", accuracy)?;
        }
        self.micro.iter().chain(means).try_for_each(|r| row(f, r))
    }
}
