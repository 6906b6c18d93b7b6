//! Metrics of single-label classification that follow from the confusion matrix.

use super::Metric;
use hardpan_engine::{DType, Tensor};

/// How often each class was taken for each other: all that accuracy, precision, recall, F, Jaccard, kappa and Matthews need.
///
/// ```
/// use hardpan_learn::metric::{Average, ConfusionMatrix};
/// // Of five cats four were seen; of three dogs two.
/// let matrix = ConfusionMatrix::new(2, vec![4.0, 1.0, 1.0, 2.0]);
/// assert_eq!((matrix.accuracy(), matrix.support(0), matrix.predicted(0)), (0.75, 5.0, 5.0));
/// assert_eq!(matrix.recall(Average::Class(0)), 0.8);
/// assert!((matrix.f_beta(1.0, Average::Macro) - (0.8 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Vec<f64>,
}

/// How the values of several classes become one.
///
/// ```
/// use hardpan_learn::metric::{Average, ConfusionMatrix};
/// // Ten items of class 0, of which nine are seen; two of class 1, of which one is.
/// let matrix = ConfusionMatrix::new(2, vec![9.0, 1.0, 1.0, 1.0]);
/// assert_eq!(matrix.recall(Average::Class(1)), 0.5);
/// assert_eq!(matrix.recall(Average::Macro), (0.9 + 0.5) / 2.0);
/// assert_eq!(matrix.recall(Average::Micro), 10.0 / 12.0);
/// assert!((matrix.recall(Average::Weighted) - 10.0 / 12.0).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// That of this class (1 for two classes, no and yes).
    Class(usize),
    /// The plain mean over the classes that occur, in targets or in predictions.
    Macro,
    /// Of all items together.
    Micro,
    /// The mean weighted by how many items each class has.
    Weighted,
    /// That of each item's own set of labels, then the plain mean over items. Meant for several labels an item; with one it is the accuracy.
    Samples,
}

impl ConfusionMatrix {
    /// From counts in rows of the true class and columns of the predicted one.
    ///
    /// # Panics
    /// If there are not `classes * classes` of them.
    #[track_caller]
    pub fn new(classes: usize, counts: Vec<f64>) -> ConfusionMatrix {
        assert_eq!(
            counts.len(),
            classes * classes,
            "ConfusionMatrix: one count for each pair of classes"
        );
        ConfusionMatrix { classes, counts }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Items of the class `truth` taken for `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> f64 {
        self.counts[truth * self.classes + predicted]
    }

    /// Number of items.
    pub fn total(&self) -> f64 {
        self.counts.iter().sum()
    }

    /// Items of this class.
    pub fn support(&self, class: usize) -> f64 {
        (0..self.classes).map(|p| self.count(class, p)).sum()
    }

    /// Items taken for this class.
    pub fn predicted(&self, class: usize) -> f64 {
        (0..self.classes).map(|t| self.count(t, class)).sum()
    }

    fn right(&self) -> f64 {
        (0..self.classes).map(|c| self.count(c, c)).sum()
    }

    /// Share of items on the diagonal.
    pub fn accuracy(&self) -> f64 {
        ratio(self.right(), self.total())
    }

    /// Mean of the recalls of the classes that have items.
    pub fn balanced_accuracy(&self) -> f64 {
        let recalls: Vec<f64> = (0..self.classes)
            .filter(|c| self.support(*c) > 0.0)
            .map(|c| self.count(c, c) / self.support(c))
            .collect();
        ratio(recalls.iter().sum(), recalls.len() as f64)
    }

    /// Averages `value(true positives, predicted, support)` over classes. Nothing over nothing counts as 0, as in scikit-learn.
    fn averaged(&self, average: Average, value: impl Fn(f64, f64, f64) -> f64) -> f64 {
        let of = |c: usize| value(self.count(c, c), self.predicted(c), self.support(c));
        match average {
            Average::Class(c) => of(c),
            Average::Micro => value(self.right(), self.total(), self.total()),
            Average::Macro => {
                let present: Vec<usize> = (0..self.classes)
                    .filter(|c| self.support(*c) + self.predicted(*c) > 0.0)
                    .collect();
                ratio(present.iter().map(|c| of(*c)).sum(), present.len() as f64)
            }
            Average::Weighted => {
                let sum = (0..self.classes).map(|c| of(c) * self.support(c)).sum();
                ratio(sum, self.total())
            }
            // A set of one label is met whole or not at all.
            Average::Samples => ratio(self.right(), self.total()),
        }
    }

    /// Of those taken for a class, the share that is of it.
    pub fn precision(&self, average: Average) -> f64 {
        self.averaged(average, |tp, predicted, _| ratio(tp, predicted))
    }

    /// Of those of a class, the share taken for it.
    pub fn recall(&self, average: Average) -> f64 {
        self.averaged(average, |tp, _, support| ratio(tp, support))
    }

    /// `(1 + beta^2) precision recall / (beta^2 precision + recall)`.
    pub fn f_beta(&self, beta: f64, average: Average) -> f64 {
        let b = beta * beta;
        self.averaged(average, |tp, predicted, support| {
            ratio((1.0 + b) * tp, predicted + b * support)
        })
    }

    /// Of those that are or are taken for a class, the share that is both.
    pub fn jaccard(&self, average: Average) -> f64 {
        self.averaged(average, |tp, predicted, support| ratio(tp, predicted + support - tp))
    }

    /// Agreement beyond chance: 1 - observed / expected disagreement, where a disagreement of `d` classes weighs `d^power`
    /// (0: all the same, 1: linear, 2: quadratic).
    pub fn cohen_kappa(&self, power: u32) -> f64 {
        let n = self.total();
        let weight = |i: usize, j: usize| match (i == j, power) {
            (true, _) => 0.0,
            (false, 0) => 1.0,
            (false, p) => (i.abs_diff(j) as f64).powi(p as i32),
        };
        let (mut observed, mut expected) = (0.0, 0.0);
        for i in 0..self.classes {
            for j in 0..self.classes {
                observed += weight(i, j) * self.count(i, j);
                expected += weight(i, j) * self.support(i) * self.predicted(j) / n;
            }
        }
        1.0 - observed / expected
    }

    /// Matthews' correlation coefficient, for any number of classes: Gorodkin 2004. 0 where undefined.
    pub fn matthews(&self) -> f64 {
        let n = self.total();
        let sum = |f: &dyn Fn(usize) -> f64| (0..self.classes).map(f).sum::<f64>();
        let both = sum(&|c| self.support(c) * self.predicted(c));
        let truths = n * n - sum(&|c| self.support(c).powi(2));
        let predictions = n * n - sum(&|c| self.predicted(c).powi(2));
        ratio(self.right() * n - both, (truths * predictions).sqrt())
    }
}

/// `a / b`, 0 for nothing over nothing.
pub(super) fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

/// A metric that is a function of the [`ConfusionMatrix`] over all batches. Made by the functions of this module.
///
/// Takes logits or probabilities with one dimension of classes, the last unless [`axis`](ConfusionMetric::axis) says otherwise, and whole
/// numbers of the shape without it.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Average, Metric, f1_score};
/// let mut f1 = f1_score(Average::Class(1));
/// let pred = Tensor::from_vec(vec![0.2f32, 0.8, 0.9, 0.1, 0.4, 0.6], [3, 2]);
/// f1.accumulate(&pred, &Tensor::from_vec(vec![1i64, 0, 0], [3]), 3);
/// assert!((f1.value().unwrap() - 2.0 / 3.0).abs() < 1e-12);
/// ```
pub struct ConfusionMetric {
    name: String,
    axis: isize,
    ignore: Option<i64>,
    value: Box<dyn Fn(&ConfusionMatrix) -> f64 + Send>,
    counts: Option<Tensor>,
}

impl ConfusionMetric {
    /// This function of the matrix.
    pub fn new(
        name: impl Into<String>,
        value: impl Fn(&ConfusionMatrix) -> f64 + Send + 'static,
    ) -> ConfusionMetric {
        ConfusionMetric {
            name: name.into(),
            axis: -1,
            ignore: None,
            value: Box::new(value),
            counts: None,
        }
    }

    /// The dimension of the classes. Default: the last; 1 for segmentation, `[N, C, H, W]`.
    #[must_use]
    pub fn axis(mut self, axis: isize) -> ConfusionMetric {
        self.axis = axis;
        self
    }

    /// A label that does not count: the void of a segmentation.
    #[must_use]
    pub fn ignore(mut self, label: i64) -> ConfusionMetric {
        self.ignore = Some(label);
        self
    }

    /// With another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> ConfusionMetric {
        self.name = name.into();
        self
    }

    /// The counts so far. Reads.
    pub fn matrix(&self) -> Option<ConfusionMatrix> {
        let counts = self.counts.as_ref()?;
        Some(ConfusionMatrix::new(counts.size(0), counts.to_vec::<f64>()))
    }
}

/// Labels as rows with a one at the label, `[n, classes]`.
fn one_hot(labels: &Tensor, classes: usize) -> Tensor {
    labels.reshape([-1, 1]).eq(Tensor::iota(classes)).to_dtype(DType::F32)
}

impl Metric<Tensor, Tensor> for ConfusionMetric {
    fn name(&self) -> &str {
        &self.name
    }
    fn reset(&mut self) {
        self.counts = None;
    }
    fn accumulate(&mut self, pred: &Tensor, y: &Tensor, _: usize) {
        let classes = pred.size(self.axis);
        let y = y.detach().to_dtype(DType::I64);
        let mut truth = one_hot(&y, classes);
        if let Some(label) = self.ignore {
            truth *= y.ne(label).reshape([-1, 1]).to_dtype(DType::F32);
        }
        let guess = one_hot(&pred.detach().argmax(self.axis), classes);
        // Sums of ones, exact in f32 up to 2^24 items a batch; over batches in f64.
        let counts = truth.t().matmul(&guess).to_dtype(DType::F64);
        self.counts = Some(match self.counts.take() {
            Some(old) => old + counts,
            None => counts,
        });
    }
    fn value(&self) -> Option<f64> {
        self.matrix().map(|m| (self.value)(&m))
    }
}

/// Counterpart: fastai's `Precision`, scikit-learn's `precision_score`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Average, Metric, precision_score};
/// let mut metric = precision_score(Average::Macro);
/// // Logits of three items in two classes: taken for 0, 1 and 0.
/// let pred = Tensor::from_vec(vec![0.9f32, 0.1, 0.2, 0.8, 0.6, 0.4], [3, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 1], [3]), 3);
/// assert!((metric.value().unwrap() - (0.5 + 1.0) / 2.0).abs() < 1e-9);
/// ```
pub fn precision_score(average: Average) -> ConfusionMetric {
    ConfusionMetric::new("precision_score", move |m| m.precision(average))
}

/// Counterpart: fastai's `Recall`, scikit-learn's `recall_score`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Average, Metric, recall_score};
/// let mut metric = recall_score(Average::Macro);
/// // Logits of three items in two classes: taken for 0, 1 and 0.
/// let pred = Tensor::from_vec(vec![0.9f32, 0.1, 0.2, 0.8, 0.6, 0.4], [3, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 1], [3]), 3);
/// assert!((metric.value().unwrap() - (1.0 + 0.5) / 2.0).abs() < 1e-9);
/// ```
pub fn recall_score(average: Average) -> ConfusionMetric {
    ConfusionMetric::new("recall_score", move |m| m.recall(average))
}

/// Counterpart: fastai's `F1Score`, scikit-learn's `f1_score`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Average, Metric, f1_score};
/// let mut metric = f1_score(Average::Class(1));
/// // Logits of three items in two classes: taken for 0, 1 and 0.
/// let pred = Tensor::from_vec(vec![0.9f32, 0.1, 0.2, 0.8, 0.6, 0.4], [3, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 1], [3]), 3);
/// assert!((metric.value().unwrap() - 2.0 / 3.0).abs() < 1e-9);
/// ```
pub fn f1_score(average: Average) -> ConfusionMetric {
    ConfusionMetric::new("f1_score", move |m| m.f_beta(1.0, average))
}

/// Counterpart: fastai's `FBeta`, scikit-learn's `fbeta_score`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Average, Metric, fbeta_score};
/// let mut metric = fbeta_score(2.0, Average::Class(1));
/// // Logits of three items in two classes: taken for 0, 1 and 0.
/// let pred = Tensor::from_vec(vec![0.9f32, 0.1, 0.2, 0.8, 0.6, 0.4], [3, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 1], [3]), 3);
/// assert!((metric.value().unwrap() - 5.0 / 9.0).abs() < 1e-9);
/// ```
pub fn fbeta_score(beta: f64, average: Average) -> ConfusionMetric {
    ConfusionMetric::new("fbeta_score", move |m| m.f_beta(beta, average))
}

/// Counterpart: fastai's `Jaccard`, scikit-learn's `jaccard_score`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Average, Metric, jaccard_score};
/// let mut metric = jaccard_score(Average::Class(1));
/// // Logits of three items in two classes: taken for 0, 1 and 0.
/// let pred = Tensor::from_vec(vec![0.9f32, 0.1, 0.2, 0.8, 0.6, 0.4], [3, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 1], [3]), 3);
/// assert!((metric.value().unwrap() - 0.5).abs() < 1e-9);
/// ```
pub fn jaccard_score(average: Average) -> ConfusionMetric {
    ConfusionMetric::new("jaccard_score", move |m| m.jaccard(average))
}

/// Counterpart: fastai's `BalancedAccuracy`, scikit-learn's `balanced_accuracy_score`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, balanced_accuracy};
/// let mut metric = balanced_accuracy();
/// // Logits of three items in two classes: taken for 0, 1 and 0.
/// let pred = Tensor::from_vec(vec![0.9f32, 0.1, 0.2, 0.8, 0.6, 0.4], [3, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 1], [3]), 3);
/// assert!((metric.value().unwrap() - (1.0 + 0.5) / 2.0).abs() < 1e-9);
/// ```
pub fn balanced_accuracy() -> ConfusionMetric {
    ConfusionMetric::new("balanced_accuracy_score", ConfusionMatrix::balanced_accuracy)
}

/// Counterpart: fastai's `CohenKappa`, scikit-learn's `cohen_kappa_score` (`power` 1 and 2: its linear and quadratic weights).
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, cohen_kappa};
/// let mut metric = cohen_kappa(0);
/// // Logits of three items in two classes: taken for 0, 1 and 0.
/// let pred = Tensor::from_vec(vec![0.9f32, 0.1, 0.2, 0.8, 0.6, 0.4], [3, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 1], [3]), 3);
/// assert!((metric.value().unwrap() - 0.4).abs() < 1e-9);
/// ```
pub fn cohen_kappa(power: u32) -> ConfusionMetric {
    ConfusionMetric::new("cohen_kappa_score", move |m| m.cohen_kappa(power))
}

/// Counterpart: fastai's `MatthewsCorrCoef`, scikit-learn's `matthews_corrcoef`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, matthews_corrcoef};
/// let mut metric = matthews_corrcoef();
/// // Logits of three items in two classes: taken for 0, 1 and 0.
/// let pred = Tensor::from_vec(vec![0.9f32, 0.1, 0.2, 0.8, 0.6, 0.4], [3, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 1], [3]), 3);
/// assert!((metric.value().unwrap() - 0.5).abs() < 1e-9);
/// ```
pub fn matthews_corrcoef() -> ConfusionMetric {
    ConfusionMetric::new("matthews_corrcoef", ConfusionMatrix::matthews)
}

/// Share of wrong labels. Counterpart: fastai's `HammingLoss`, scikit-learn's `hamming_loss`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, hamming_loss};
/// let mut metric = hamming_loss();
/// // Logits of three items in two classes: taken for 0, 1 and 0.
/// let pred = Tensor::from_vec(vec![0.9f32, 0.1, 0.2, 0.8, 0.6, 0.4], [3, 2]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 1], [3]), 3);
/// assert!((metric.value().unwrap() - 1.0 / 3.0).abs() < 1e-9);
/// ```
pub fn hamming_loss() -> ConfusionMetric {
    ConfusionMetric::new("hamming_loss", |m| 1.0 - m.accuracy())
}

/// The Dice coefficient of class 1 over all pixels of `[N, C, H, W]`: `2 both / (truth + prediction)`. Counterpart: fastai's `Dice`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, dice};
/// let mut metric = dice();
/// // One picture of three pixels in two classes: taken for 0, 1 and 0.
/// let pred = Tensor::from_vec(vec![0.9f32, 0.2, 0.6, 0.1, 0.8, 0.4], [1, 2, 1, 3]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 1], [1, 1, 3]), 1);
/// assert!((metric.value().unwrap() - 2.0 / 3.0).abs() < 1e-9);
/// ```
pub fn dice() -> ConfusionMetric {
    ConfusionMetric::new("dice", |m| m.f_beta(1.0, Average::Class(1))).axis(1)
}

/// The mean of the Dice coefficients of the classes that occur. Counterpart: fastai's `DiceMulti`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, dice_multi};
/// let mut metric = dice_multi();
/// // One picture of three pixels in two classes: taken for 0, 1 and 0.
/// let pred = Tensor::from_vec(vec![0.9f32, 0.2, 0.6, 0.1, 0.8, 0.4], [1, 2, 1, 3]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 1], [1, 1, 3]), 1);
/// assert!((metric.value().unwrap() - 2.0 / 3.0).abs() < 1e-9);
/// ```
pub fn dice_multi() -> ConfusionMetric {
    ConfusionMetric::new("dice_multi", |m| m.f_beta(1.0, Average::Macro)).axis(1)
}

/// Intersection over union of class 1 over all pixels of `[N, C, H, W]`. Counterpart: fastai's `JaccardCoeff`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, jaccard_coeff};
/// let mut metric = jaccard_coeff();
/// // One picture of three pixels in two classes: taken for 0, 1 and 0.
/// let pred = Tensor::from_vec(vec![0.9f32, 0.2, 0.6, 0.1, 0.8, 0.4], [1, 2, 1, 3]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 1], [1, 1, 3]), 1);
/// assert!((metric.value().unwrap() - 0.5).abs() < 1e-9);
/// ```
pub fn jaccard_coeff() -> ConfusionMetric {
    ConfusionMetric::new("jaccard_coeff", |m| m.jaccard(Average::Class(1))).axis(1)
}

/// The mean intersection over union of the classes that occur, "mIoU". Counterpart: fastai's `JaccardCoeffMulti`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, jaccard_coeff_multi};
/// let mut metric = jaccard_coeff_multi();
/// // One picture of three pixels in two classes: taken for 0, 1 and 0.
/// let pred = Tensor::from_vec(vec![0.9f32, 0.2, 0.6, 0.1, 0.8, 0.4], [1, 2, 1, 3]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 1], [1, 1, 3]), 1);
/// assert!((metric.value().unwrap() - 0.5).abs() < 1e-9);
/// ```
pub fn jaccard_coeff_multi() -> ConfusionMetric {
    ConfusionMetric::new("jaccard_coeff_multi", |m| m.jaccard(Average::Macro)).axis(1)
}

/// Accuracy over the pixels that are not background in truth. Counterpart: fastai's `foreground_acc`, weighed by pixels rather than by batches.
///
/// ```
/// # use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, foreground_acc};
/// let mut metric = foreground_acc(0);
/// // One picture of three pixels in two classes: taken for 0, 1 and 0.
/// let pred = Tensor::from_vec(vec![0.9f32, 0.2, 0.6, 0.1, 0.8, 0.4], [1, 2, 1, 3]);
/// metric.accumulate(&pred, &Tensor::from_vec(vec![0i64, 1, 1], [1, 1, 3]), 1);
/// assert!((metric.value().unwrap() - 0.5).abs() < 1e-9);
/// ```
pub fn foreground_acc(background: usize) -> ConfusionMetric {
    ConfusionMetric::new("foreground_acc", move |m| {
        let classes = || (0..m.classes()).filter(|c| *c != background);
        ratio(classes().map(|c| m.count(c, c)).sum(), classes().map(|c| m.support(c)).sum())
    })
    .axis(1)
}
