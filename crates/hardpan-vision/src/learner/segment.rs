//! Segmentation: a class for every pixel.

use super::{LearnerError, VisionOptions, vision_model};
use crate::unet::{DynamicUnet, UnetOptions};
use hardpan_engine::{DType, Tensor, functional as f};
use hardpan_learn::data::DataLoaders;
use hardpan_learn::learner::Learner;
use hardpan_learn::metric::Metric;

/// Settings of [`unet_learner`].
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentOptions {
    /// Number of classes without the void one.
    pub classes: usize,
    /// Channels of the pictures. Default 3.
    pub channels: usize,
    /// Rows and columns of the pictures.
    pub size: (usize, usize),
    /// The label of pixels that do not count. Default none.
    pub void: Option<i64>,
    /// Weights of the encoder: see [`VisionOptions::pretrained`].
    pub pretrained: Option<String>,
    /// The decoder.
    pub unet: UnetOptions,
}

impl SegmentOptions {
    /// The defaults for so many classes and pictures of this height and width.
    pub fn new(classes: usize, size: (usize, usize)) -> SegmentOptions {
        SegmentOptions {
            classes,
            channels: 3,
            size,
            void: None,
            pretrained: None,
            unet: UnetOptions::default(),
        }
    }
}

/// A learner for masks: `x: [N, C, H, W]`, `y: [N, H, W]` labels. It measures pixel accuracy and the mean overlap of regions; with
/// pretrained weights its encoder is frozen at first. Counterpart: fastai's `unet_learner`.
///
/// # Errors
/// If there is no such architecture, or its weights cannot be read or do not fit.
pub fn unet_learner(
    loaders: DataLoaders<Tensor, Tensor>,
    arch: &str,
    options: &SegmentOptions,
) -> Result<Learner<DynamicUnet>, LearnerError> {
    let o = VisionOptions {
        channels: options.channels,
        image_size: options.size.0,
        pretrained: options.pretrained.clone(),
        ..VisionOptions::new(1000)
    };
    let (model, report) = vision_model(arch, &o)?;
    let unet =
        DynamicUnet::new(model, options.channels, options.classes, options.size, &options.unet);
    let void = options.void.unwrap_or(-100);
    let loss = move |pred: &Tensor, y: &Tensor| {
        let options = f::CrossEntropyOptions { ignore_index: void, ..Default::default() };
        f::cross_entropy_with(pred, y, options)
    };
    let mut learn = Learner::new(loaders, unet, loss)
        .groups(DynamicUnet::groups)
        .metric(PixelAccuracy::new(options.void))
        .metric(RegionOverlap::iou(options.classes, options.void))
        .metric(RegionOverlap::dice(options.classes, options.void));
    if report.is_some() {
        learn.freeze();
    }
    Ok(learn)
}

/// 1 where a label counts, f32.
fn counted(y: &Tensor, void: Option<i64>) -> Tensor {
    match void {
        Some(v) => y.ne(v).to_dtype(DType::F32),
        None => y.to_dtype(DType::F32).ones_like(),
    }
}

/// Share of the pixels that count whose largest output is at the label. `pred: [N, C, ..]`, `y: [N, ..]`.
/// Counterpart: the course's `acc_camvid`, but over all pixels of the validation, not the mean over batches.
pub struct PixelAccuracy {
    void: Option<i64>,
    right_and_all: Option<Tensor>,
}

impl PixelAccuracy {
    /// Without the pixels of this label.
    pub fn new(void: Option<i64>) -> PixelAccuracy {
        PixelAccuracy { void, right_and_all: None }
    }
}

/// `sum + part`.
fn add(sum: &mut Option<Tensor>, part: Tensor) {
    let part = part.detach().to_dtype(DType::F64);
    *sum = Some(match sum.take() {
        Some(sum) => sum + part,
        None => part,
    });
}

impl Metric<Tensor, Tensor> for PixelAccuracy {
    fn name(&self) -> &str {
        "pixel_accuracy"
    }
    fn reset(&mut self) {
        self.right_and_all = None;
    }
    fn accumulate(&mut self, pred: &Tensor, y: &Tensor, _: usize) {
        let counts = counted(y, self.void);
        let hit = pred.detach().argmax(1).eq(y).to_dtype(DType::F32) * &counts;
        // Counts of one batch are whole numbers below 2^24, so f32 is exact.
        add(&mut self.right_and_all, Tensor::stack(&[hit.sum(..), counts.sum(..)], 0));
    }
    fn value(&self) -> Option<f64> {
        let v = self.right_and_all.as_ref()?.to_vec::<f64>();
        (v[1] > 0.0).then(|| v[0] / v[1])
    }
}

/// How much predicted and true regions overlap, averaged over the classes that occur: intersection over union, or Dice.
/// Counterparts: fastai's `JaccardCoeffMulti` and `DiceMulti`.
pub struct RegionOverlap {
    name: &'static str,
    dice: bool,
    classes: usize,
    void: Option<i64>,
    /// `[3, classes]`: pixels in both, predicted, true.
    sums: Option<Tensor>,
}

impl RegionOverlap {
    /// Intersection over union; without the pixels of the label `void`.
    pub fn iou(classes: usize, void: Option<i64>) -> RegionOverlap {
        RegionOverlap { name: "iou", dice: false, classes, void, sums: None }
    }

    /// Twice the intersection over the sum of both.
    pub fn dice(classes: usize, void: Option<i64>) -> RegionOverlap {
        RegionOverlap { name: "dice", dice: true, ..RegionOverlap::iou(classes, void) }
    }
}

impl Metric<Tensor, Tensor> for RegionOverlap {
    fn name(&self) -> &str {
        self.name
    }
    fn reset(&mut self) {
        self.sums = None;
    }
    fn accumulate(&mut self, pred: &Tensor, y: &Tensor, _: usize) {
        let n = y.numel();
        let counts = counted(y, self.void).reshape([n, 1]);
        let classes = Tensor::iota(self.classes).reshape([1, self.classes]);
        let of =
            |labels: &Tensor| labels.reshape([n, 1]).eq(&classes).to_dtype(DType::F32) * &counts;
        let (p, t) = (of(&pred.detach().argmax(1)), of(y));
        let parts = [(&p * &t).sum(0), p.sum(0), t.sum(0)];
        add(&mut self.sums, Tensor::stack(&parts, 0));
    }
    fn value(&self) -> Option<f64> {
        let v = self.sums.as_ref()?.to_vec::<f64>();
        let at = |row: usize, c: usize| v[row * self.classes + c];
        let (mut total, mut seen) = (0.0, 0);
        for c in 0..self.classes {
            let (both, p, t) = (at(0, c), at(1, c), at(2, c));
            if p + t > 0.0 {
                total += if self.dice { 2.0 * both / (p + t) } else { both / (p + t - both) };
                seen += 1;
            }
        }
        (seen > 0).then(|| total / f64::from(seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three of the five pixels that count are right.
    #[test]
    fn void_pixels_do_not_count() {
        let scores = |labels: &[i64]| {
            let y = Tensor::from_slice(labels, [1, 2, 3]);
            let classes = Tensor::iota(3).reshape([1, 3, 1, 1]);
            y.unsqueeze(1).eq(&classes).to_dtype(DType::F32)
        };
        let pred = scores(&[0, 1, 1, 2, 0, 0]);
        let y = Tensor::from_slice(&[0i64, 1, 0, 2, 9, 1], [1, 2, 3]);
        let mut m = PixelAccuracy::new(Some(9));
        m.accumulate(&pred, &y, 1);
        assert!((m.value().unwrap() - 0.6).abs() < 1e-12);
        // Class 0: 1 in both, 2 predicted, 2 true; class 1: 1, 2, 2; class 2: 1, 1, 1.
        let mut iou = RegionOverlap::iou(3, Some(9));
        let mut dice = RegionOverlap::dice(3, Some(9));
        iou.accumulate(&pred, &y, 1);
        dice.accumulate(&pred, &y, 1);
        assert!((iou.value().unwrap() - (1.0 / 3.0 + 1.0 / 3.0 + 1.0) / 3.0).abs() < 1e-12);
        assert!((dice.value().unwrap() - (0.5 + 0.5 + 1.0) / 3.0).abs() < 1e-12);
        m.reset();
        assert_eq!(m.value(), None);
    }
}
