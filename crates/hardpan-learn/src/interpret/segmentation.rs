//! [`SegmentationInterpretation`].

use super::{labels, largest};
use crate::metric::{Average, ConfusionMatrix};
use hardpan_engine::Tensor;
use hardpan_plot::{Figure, figures};

/// What a model said of pictures whose every pixel has a class.
///
/// ```
/// use hardpan_learn::interpret::SegmentationInterpretation;
/// let mut seen = SegmentationInterpretation::new(["road", "sky"], Some(255));
/// // One picture of four pixels, the last of which counts nowhere.
/// seen.add_picture([0, 0, 1, 1], [0, 1, 1, 255]);
/// assert_eq!(seen.confusion_matrix(), [1, 0, 1, 1]);
/// assert_eq!(seen.iou(), [("road", Some(0.5)), ("sky", Some(0.5))]);
/// ```
#[derive(Clone, Debug)]
pub struct SegmentationInterpretation {
    classes: Vec<String>,
    /// `[actual, predicted]` row by row, in pixels.
    counts: Vec<u64>,
    /// For each picture: pixels that are right, pixels that count.
    pictures: Vec<(u64, u64)>,
    ignore: Option<i64>,
}

impl SegmentationInterpretation {
    /// For these classes; pixels labelled `ignore` (such as CamVid's void) count nowhere. Add batches with
    /// [`add`](SegmentationInterpretation::add): all predictions at once would not fit in memory.
    pub fn new<S: Into<String>>(
        classes: impl IntoIterator<Item = S>,
        ignore: Option<i64>,
    ) -> SegmentationInterpretation {
        let classes: Vec<String> = classes.into_iter().map(Into::into).collect();
        let counts = vec![0; classes.len() * classes.len()];
        SegmentationInterpretation { classes, counts, pictures: Vec::new(), ignore }
    }

    /// Adds a batch: logits `[N, classes, ...]` and labels `[N, ...]`, such as `[N, C, H, W]` and `[N, H, W]`.
    ///
    /// # Panics
    /// If the shapes do not fit, or a label is neither below the number of classes nor ignored.
    #[track_caller]
    pub fn add(&mut self, logits: &Tensor, targets: &Tensor) {
        let c = self.classes.len();
        let fits = logits.rank() >= 2
            && logits.rank() == targets.rank() + 1
            && logits.shape()[1] == c
            && logits.shape()[0] == targets.shape()[0]
            && logits.shape()[2..] == targets.shape()[1..];
        assert!(
            fits,
            "interpret: logits of shape {:?} and targets of shape {:?} for {c} classes; expected [N, {c}, H, W] and [N, H, W]",
            logits.shape(),
            targets.shape()
        );
        let predicted = labels(&logits.detach().argmax(1));
        let actual = labels(targets);
        let each = targets.numel() / targets.shape()[0].max(1);
        for (p, a) in predicted.chunks(each.max(1)).zip(actual.chunks(each.max(1))) {
            self.add_picture(p.iter().copied(), a.iter().copied());
        }
    }

    /// Adds one picture: the class that each pixel was taken for, and its label.
    ///
    /// # Panics
    /// If a label is neither below the number of classes nor ignored, or a class is not below it.
    #[track_caller]
    pub fn add_picture(
        &mut self,
        predicted: impl IntoIterator<Item = i64>,
        actual: impl IntoIterator<Item = i64>,
    ) {
        let c = self.classes.len();
        let (mut right, mut all) = (0, 0);
        for (p, a) in predicted.into_iter().zip(actual) {
            if Some(a) == self.ignore {
                continue;
            }
            assert!(
                (0..c as i64).contains(&a),
                "interpret: label {a} of {c} classes; is it one to be ignored?"
            );
            self.counts[a as usize * c + p as usize] += 1;
            right += u64::from(a == p);
            all += 1;
        }
        self.pictures.push((right, all));
    }

    /// Pixels of each class that were taken for which: `[actual, predicted]` row by row.
    pub fn confusion_matrix(&self) -> &[u64] {
        &self.counts
    }

    /// The same with all that follows from it: recalls, kappa, Matthews' correlation and so on.
    pub fn matrix(&self) -> ConfusionMatrix {
        let counts = self.counts.iter().map(|&n| n as f64);
        ConfusionMatrix::new(self.classes.len(), counts.collect())
    }

    /// Pixels of class `k` that were taken for it, all pixels of the class, and all that were taken for it.
    pub fn sums(&self, k: usize) -> (u64, u64, u64) {
        let c = self.classes.len();
        let actual = (0..c).map(|j| self.counts[k * c + j]).sum();
        let taken = (0..c).map(|j| self.counts[j * c + k]).sum();
        (self.counts[k * c + k], actual, taken)
    }

    /// Share of pixels that are right.
    pub fn pixel_accuracy(&self) -> f64 {
        let matrix = self.matrix();
        if matrix.total() > 0.0 { matrix.accuracy() } else { f64::NAN }
    }

    /// Intersection over union of each class; `None` for one that is neither there nor predicted.
    pub fn iou(&self) -> Vec<(&str, Option<f64>)> {
        self.of_each(|matrix, class| matrix.jaccard(class))
    }

    fn of_each(
        &self,
        value: impl Fn(&ConfusionMatrix, Average) -> f64,
    ) -> Vec<(&str, Option<f64>)> {
        let matrix = self.matrix();
        let known = |k: usize| matrix.support(k) + matrix.predicted(k) > 0.0;
        let one = |k: usize| known(k).then(|| value(&matrix, Average::Class(k)));
        self.classes.iter().enumerate().map(|(k, name)| (name.as_str(), one(k))).collect()
    }

    /// Mean of the intersections over unions of the classes that are there or predicted.
    pub fn mean_iou(&self) -> f64 {
        let known: Vec<f64> = self.iou().into_iter().filter_map(|c| c.1).collect();
        known.iter().sum::<f64>() / known.len() as f64
    }

    /// Dice coefficient (F1) of each class; `None` for one that is neither there nor predicted.
    pub fn dice(&self) -> Vec<(&str, Option<f64>)> {
        self.of_each(|matrix, class| matrix.f_beta(1.0, class))
    }

    /// Number and share of wrong pixels of the `k` worst pictures. Where no pixel counts, none is wrong.
    pub fn worst(&self, k: usize) -> Vec<(usize, f64)> {
        let wrong: Vec<f64> =
            self.pictures.iter().map(|&(r, n)| (n - r) as f64 / n.max(1) as f64).collect();
        largest(&wrong, k).into_iter().map(|i| (i, wrong[i])).collect()
    }

    /// Intersection over union of each class as bars.
    pub fn plot_iou(&self) -> Figure {
        let bars = self.iou().into_iter().map(|(c, v)| (c, v.unwrap_or(0.0)));
        figures::bars("Intersection over union", bars)
    }

    /// A picture of the confusion matrix as shares of each row.
    pub fn plot_confusion_matrix(&self) -> Figure {
        let counts: Vec<usize> = self.counts.iter().map(|&n| n as usize).collect();
        figures::confusion_matrix(&self.classes, &counts, true)
    }
}
