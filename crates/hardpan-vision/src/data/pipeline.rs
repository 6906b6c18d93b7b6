//! [`ImagePipeline`]: from a picture of any size to what a model takes.

use super::Stats;
use crate::image::{CropBox, DecodeOptions, Filter, Image, ImageError, Padding};
use crate::plane::Spatial;
use crate::plane::crop::{Resize, ResizeMethod};
use hardpan_engine::Tensor;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a saved model must know to turn a picture into its input exactly as validation did: the same bytes, the same bits.
///
/// ```no_run
/// # use hardpan_vision::data::ImagePipeline;
/// let pipeline = ImagePipeline::new(224, 224, 3);
/// let x = pipeline.batch(&[pipeline.open("cat.jpg")?]); // [1, 3, 224, 224]
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImagePipeline {
    /// Pixels in a row of the input.
    pub width: usize,
    /// Rows of the input.
    pub height: usize,
    /// 1 or 3.
    pub channels: usize,
    /// What to do with other proportions; default: crop the middle.
    #[serde(default)]
    pub method: ResizeMethod,
    /// What is beside a padded picture; default: its reflection.
    #[serde(default)]
    pub padding: Padding,
    /// Default: bilinear, with antialiasing.
    #[serde(default)]
    pub filter: Filter,
    /// How much larger than the input the picture is made before its middle is cut out, as a share of the input's size: 1/7 is
    /// torchvision's "256, then 224". Default 0.
    #[serde(default)]
    pub margin: f64,
    /// Mean and standard deviation of each channel, of values from 0 to 1.
    pub stats: Stats,
}

/// Why a pipeline of a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the image pipeline is not usable: {0}")]
pub struct PipelineError(String);

impl ImagePipeline {
    /// To this size, by cropping the middle, normalized as ImageNet.
    ///
    /// # Panics
    /// If there are no pixels, or neither 1 nor 3 channels.
    #[track_caller]
    pub fn new(width: usize, height: usize, channels: usize) -> ImagePipeline {
        let pipeline = ImagePipeline {
            width,
            height,
            channels,
            method: ResizeMethod::Crop,
            padding: Padding::Reflection,
            filter: Filter::Bilinear,
            margin: 0.0,
            stats: Stats::imagenet(channels),
        };
        if let Err(e) = pipeline.check() {
            panic!("ImagePipeline::new: {e}");
        }
        pipeline
    }

    /// Whether it makes sense: to be asked of one that was read from a file.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(&self) -> Result<(), PipelineError> {
        let (w, h, c) = (self.width, self.height, self.channels);
        let numbers = self.stats.mean.iter().chain(&self.stats.std);
        let problem = if w == 0 || h == 0 || w > 1 << 16 || h > 1 << 16 {
            format!("a size of {w}x{h}")
        } else if c != 1 && c != 3 {
            format!("{c} channels")
        } else if self.stats.mean.len() != c || self.stats.std.len() != c {
            format!("{c} channels, but statistics {:?}", self.stats)
        } else if !numbers.clone().all(|v| v.is_finite()) || self.stats.std.contains(&0.0) {
            format!("statistics {:?}", self.stats)
        } else if !(0.0..10.0).contains(&self.margin) {
            format!("a margin of {}", self.margin)
        } else {
            return Ok(());
        };
        Err(PipelineError(problem))
    }

    /// How files are read for it.
    pub fn decode_options(&self) -> DecodeOptions {
        DecodeOptions { channels: Some(self.channels), ..Default::default() }
    }

    /// Reads a file and brings it to size.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Image, ImageError> {
        Ok(self.prepare(self.decode_options().open(path)?))
    }

    /// Reads an image from bytes and brings it to size.
    ///
    /// # Errors
    /// As [`Image::decode`].
    pub fn decode(&self, bytes: &[u8]) -> Result<Image, ImageError> {
        Ok(self.prepare(self.decode_options().decode(bytes)?))
    }

    /// A picture of the input's size and channels. One that has them already is not changed, unless there is a margin.
    #[must_use]
    pub fn prepare(&self, image: Image) -> Image {
        self.place(image.with_channels(self.channels))
    }

    /// The same for anything that lies on a picture: a mask, points, boxes.
    #[must_use]
    pub fn place<S: Spatial>(&self, item: S) -> S {
        let Some((w, h)) = item.size() else { return item };
        if let Some(part) = self.middle(w, h) {
            return item.take_part(part, self.width, self.height, self.filter);
        }
        if (w, h) == (self.width, self.height) {
            return item;
        }
        self.resize().at(item, (0.5, 0.5))
    }

    /// The part of a picture of this size that [`place`](ImagePipeline::place) brings to the size of the input. It reaches beyond a
    /// picture that is padded.
    pub fn seen(&self, width: usize, height: usize) -> CropBox {
        let middle = self.middle(width, height);
        middle.unwrap_or_else(|| self.resize().part((width, height), (0.5, 0.5)))
    }

    fn resize(&self) -> Resize {
        Resize {
            size: (self.width, self.height),
            method: self.method,
            padding: self.padding,
            filter: self.filter,
        }
    }

    /// With a margin: the middle of the picture, whose edges of this width are never seen.
    fn middle(&self, w: usize, h: usize) -> Option<CropBox> {
        if self.margin <= 0.0 || self.method == ResizeMethod::Pad {
            return None;
        }
        let share = 1.0 / (1.0 + self.margin);
        let (scale_x, scale_y) = (w as f64 / self.width as f64, h as f64 / self.height as f64);
        let (sx, sy) = match self.method {
            ResizeMethod::Squish => (scale_x, scale_y),
            _ => (scale_x.min(scale_y), scale_x.min(scale_y)),
        };
        let (pw, ph) = (self.width as f64 * sx * share, self.height as f64 * sy * share);
        let (left, top) = ((w as f64 - pw) / 2.0, (h as f64 - ph) / 2.0);
        Some(CropBox { left, top, width: pw, height: ph })
    }

    /// Prepared pictures as a normalized batch `[N, C, H, W]`. Others are prepared first.
    ///
    /// # Panics
    /// If there are none.
    #[track_caller]
    pub fn batch(&self, images: &[Image]) -> Tensor {
        assert!(!images.is_empty(), "ImagePipeline::batch: no pictures");
        let mut bytes = Vec::with_capacity(images.len() * self.channels * self.width * self.height);
        for image in images {
            let fits = (image.width(), image.height(), image.channels())
                == (self.width, self.height, self.channels);
            if fits {
                image.append_planes(&mut bytes);
            } else {
                self.prepare(image.clone()).append_planes(&mut bytes);
            }
        }
        let shape = [images.len(), self.channels, self.height, self.width];
        self.stats.normalize(&Tensor::from_slice(&bytes, shape))
    }

    /// The pictures of a normalized batch again. What was clipped or rounded is lost.
    pub fn images(&self, x: &Tensor) -> Vec<Image> {
        let x = self.stats.denormalize(x) / 255.0;
        (0..x.shape()[0]).map(|i| Image::from_tensor(&x.select(0, i as isize))).collect()
    }
}
