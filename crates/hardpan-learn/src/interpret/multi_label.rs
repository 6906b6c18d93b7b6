//! [`MultiLabelInterpretation`].

use super::{ClassReport, ClassRow, largest, numbers};
use hardpan_engine::Tensor;
use hardpan_plot::{Figure, figures};

/// What a model said of items that have any number of labels.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::interpret::MultiLabelInterpretation;
/// // Two pictures, two labels: the logits, and what is there.
/// let logits = Tensor::from_slice(&[2f32, -1., 3., 1.], [2, 2]);
/// let targets = Tensor::from_slice(&[1f32, 1., 1., 1.], [2, 2]);
/// let seen = MultiLabelInterpretation::new(&logits, &targets, ["sea", "sky"], 0.5);
/// assert_eq!((seen.accuracy(), seen.exact_match()), (0.75, 0.5));
/// assert_eq!(seen.counts()[1], [1, 0, 1, 0]); // the sky: seen once, missed once
/// assert_eq!(seen.item(0).0, ["sea", "sky"]); // what is there
/// ```
#[derive(Clone, Debug)]
pub struct MultiLabelInterpretation {
    classes: Vec<String>,
    /// Row by row.
    actual: Vec<bool>,
    probabilities: Vec<f64>,
    losses: Vec<f64>,
    threshold: f64,
}

impl MultiLabelInterpretation {
    /// From logits `[N, classes]` and targets of the same shape, 1 for each label an item has and 0 otherwise. A label is given where its
    /// probability (the sigmoid of its logit) is above `threshold`, usually 0.5.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn new<S: Into<String>>(
        logits: &Tensor,
        targets: &Tensor,
        classes: impl IntoIterator<Item = S>,
        threshold: f64,
    ) -> MultiLabelInterpretation {
        let classes: Vec<String> = classes.into_iter().map(Into::into).collect();
        let c = classes.len();
        let fits =
            logits.rank() == 2 && logits.shape()[1] == c && logits.shape() == targets.shape();
        assert!(
            fits,
            "interpret: logits of shape {:?} and targets of shape {:?} for {c} classes; expected [N, {c}] for both",
            logits.shape(),
            targets.shape()
        );
        let values = numbers(logits);
        let actual: Vec<bool> = numbers(targets).into_iter().map(|v| v > 0.5).collect();
        // ln(1 + e^z) - z y, without overflow.
        let loss = |(z, y): (&f64, &bool)| {
            z.max(0.0) - if *y { *z } else { 0.0 } + (-z.abs()).exp().ln_1p()
        };
        let each: Vec<f64> = values.iter().zip(&actual).map(loss).collect();
        MultiLabelInterpretation {
            losses: each.chunks(c.max(1)).map(|r| r.iter().sum::<f64>() / c as f64).collect(),
            probabilities: values.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect(),
            actual,
            classes,
            threshold,
        }
    }

    /// Names of the labels.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.losses.len()
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.losses.is_empty()
    }

    fn given(&self, i: usize) -> bool {
        self.probabilities[i] > self.threshold
    }

    /// For each label: right ones, wrongly given, missed, rightly not given.
    pub fn counts(&self) -> Vec<[usize; 4]> {
        let c = self.classes.len();
        let mut out = vec![[0; 4]; c];
        for i in 0..self.actual.len() {
            let kind = match (self.actual[i], self.given(i)) {
                (true, true) => 0,
                (false, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
            };
            out[i % c][kind] += 1;
        }
        out
    }

    /// Share of all decisions (each label of each item) that are right. Counterpart: fastai's `accuracy_multi`.
    pub fn accuracy(&self) -> f64 {
        let right = (0..self.actual.len()).filter(|&i| self.actual[i] == self.given(i)).count();
        right as f64 / self.actual.len() as f64
    }

    /// Share of items whose labels are all right.
    pub fn exact_match(&self) -> f64 {
        let c = self.classes.len();
        let right =
            |item: &usize| (item * c..(item + 1) * c).all(|i| self.actual[i] == self.given(i));
        (0..self.len()).filter(right).count() as f64 / self.len() as f64
    }

    /// Precision, recall and F1 of each label.
    pub fn report(&self) -> ClassReport {
        let counts = self.counts();
        let rows = counts
            .iter()
            .zip(&self.classes)
            .map(|(n, c)| ClassRow::of(c, n[0], n[1], n[2]))
            .collect();
        let sum = |k: usize| counts.iter().map(|n| n[k]).sum();
        ClassReport::new(rows, None, Some(ClassRow::of("micro avg", sum(0), sum(1), sum(2))))
    }

    /// Number and loss (the mean over labels) of the `k` items of the largest losses.
    pub fn top_losses(&self, k: usize) -> Vec<(usize, f64)> {
        largest(&self.losses, k).into_iter().map(|i| (i, self.losses[i])).collect()
    }

    /// The labels an item has, and those it was given with their probabilities.
    ///
    /// # Panics
    /// If there are not so many items.
    #[track_caller]
    pub fn item(&self, item: usize) -> (Vec<&str>, Vec<(&str, f64)>) {
        assert!(item < self.len(), "item {item} of {}", self.len());
        let c = self.classes.len();
        let at = |j: usize| item * c + j;
        let name = |j: usize| self.classes[j].as_str();
        let has = (0..c).filter(|&j| self.actual[at(j)]).map(name).collect();
        let given = (0..c)
            .filter(|&j| self.given(at(j)))
            .map(|j| (name(j), self.probabilities[at(j)]))
            .collect();
        (has, given)
    }

    /// F1 of each label as bars.
    pub fn plot_f1(&self) -> Figure {
        figures::bars("F1 of each label", self.report().rows.into_iter().map(|r| (r.name, r.f1)))
    }
}
