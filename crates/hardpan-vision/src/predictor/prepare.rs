//! [`InputSpec`]: from pictures to the tensor that a model takes.

use super::checked;
use crate::data::{ImagePipeline, SMALL, Stats};
use crate::digits::grey::Grey;
use crate::image::{CropBox, Image, ImageError};
use crate::plane::crop::ResizeMethod;
use hardpan_engine::{Tensor, functional as f};
use hardpan_learn::file::{Header, ImageInput};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How pictures become inputs; kept in the header of a model's file.
///
/// It holds the [`ImagePipeline`] that the validation pictures of the training went through, and nothing else is done to the pictures
/// of a saved model, so both see the same bits.
///
/// ```
/// use hardpan_vision::data::ImagePipeline;
/// use hardpan_vision::image::Image;
/// use hardpan_vision::plane::crop::ResizeMethod;
/// use hardpan_vision::predictor::InputSpec;
/// let pipeline = ImagePipeline { method: ResizeMethod::Pad, ..ImagePipeline::new(32, 24, 3) };
/// let input = InputSpec::new(pipeline);
/// assert_eq!(input.tensor(&[Image::filled(50, 70, &[9, 8, 7])]).shape(), [1, 3, 24, 32]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct InputSpec {
    /// From a picture to the input.
    pub pipeline: ImagePipeline,
    /// Whether pictures are drawn or scanned digits: turned white on black first, their ink centred, as MNIST was made. Default: no.
    pub digit: bool,
    /// Which views [`tta`](super::Predictor::tta) takes.
    pub tta: Tta,
}

/// Views of a picture for test-time augmentation, besides the picture itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tta {
    /// Mirrored, enlarged by a tenth, and both.
    #[default]
    FlipZoom,
    /// Mirrored; and the picture and its mirror image moved by a pixel along one diagonal, both ways: for small pictures, which lose by
    /// being enlarged. After Jordan 2024, <https://arxiv.org/abs/2404.00498>.
    FlipShift,
    /// Moved by a pixel in each of four directions, for what may not be mirrored.
    Shift,
    /// None.
    None,
}

/// As it is in files. Those of the first versions had `image` and `fit` in place of `pipeline` and `digit`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Stored {
    pipeline: Option<ImagePipeline>,
    digit: bool,
    tta: Tta,
    image: Option<ImageInput>,
    fit: String,
}

impl TryFrom<Stored> for InputSpec {
    type Error = String;
    fn try_from(s: Stored) -> Result<InputSpec, String> {
        let Stored { pipeline, digit, tta, image, fit } = s;
        let (pipeline, digit) = match (pipeline, image) {
            (Some(pipeline), _) => (pipeline, digit),
            (None, Some(image)) => match fit.as_str() {
                "" | "crop" => (pipeline_of(&image, ResizeMethod::Crop)?, false),
                "squish" => (pipeline_of(&image, ResizeMethod::Squish)?, false),
                "digit" => (pipeline_of(&image, ResizeMethod::Squish)?, true),
                other => return Err(format!("they are fitted by `{other}`, which is unknown")),
            },
            (None, None) => return Err("there is no pipeline".into()),
        };
        pipeline.check().map_err(|e| e.to_string())?;
        if digit && pipeline.channels != 1 {
            return Err(format!(
                "digits are grey, but its network takes {} channels",
                pipeline.channels
            ));
        }
        Ok(InputSpec { pipeline, digit, tta })
    }
}

/// A pipeline for inputs of which only size and normalization are known.
fn pipeline_of(image: &ImageInput, method: ResizeMethod) -> Result<ImagePipeline, String> {
    checked(image)?;
    let f32s = |v: &[f64]| v.iter().map(|&v| v as f32).collect();
    Ok(ImagePipeline {
        method,
        stats: Stats { mean: f32s(&image.mean), std: f32s(&image.std) },
        ..ImagePipeline::new(image.width, image.height, image.channels)
    })
}

impl InputSpec {
    /// By this pipeline. Views for [`tta`](super::Predictor::tta) are mirrored and enlarged; mirrored and moved by a pixel where the
    /// shorter side has up to 64 pixels; only moved for grey pictures, which may be letters.
    pub fn new(pipeline: ImagePipeline) -> InputSpec {
        let tta = match pipeline.channels {
            1 => Tta::Shift,
            _ if pipeline.width.min(pipeline.height) <= SMALL => Tta::FlipShift,
            _ => Tta::FlipZoom,
        };
        InputSpec { pipeline, digit: false, tta }
    }

    /// Channels, size and normalization alone.
    pub fn image(&self) -> ImageInput {
        let p = &self.pipeline;
        let f64s = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect();
        ImageInput {
            channels: p.channels,
            height: p.height,
            width: p.width,
            mean: f64s(&p.stats.mean),
            std: f64s(&p.stats.std),
        }
    }

    /// What the header of a file says.
    pub(super) fn of_header(header: &Header) -> Result<InputSpec, String> {
        let Some(image) = &header.input else {
            return Err("it does not say what pictures its network takes".into());
        };
        checked(image)?;
        if !header.pipeline.is_null() {
            let spec: InputSpec = serde_json::from_value(header.pipeline.clone())
                .map_err(|e| format!("the way it prepares pictures: {e}"))?;
            checked(&spec.image())?;
            return Ok(spec);
        }
        // Files from before there was a pipeline are of digits.
        let digit = image.channels == 1 && (image.height, image.width) == (28, 28);
        let tta = if digit { Tta::Shift } else { Tta::FlipZoom };
        Ok(InputSpec { pipeline: pipeline_of(image, ResizeMethod::Squish)?, digit, tta })
    }

    /// Reads a picture as validation did, in its own size.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Image, ImageError> {
        self.pipeline.decode_options().open(path)
    }

    /// Pictures as `[N, C, H, W]`, normalized.
    pub fn tensor(&self, images: &[Image]) -> Tensor {
        let p = &self.pipeline;
        if images.is_empty() {
            return Tensor::zeros([0, p.channels, p.height, p.width]);
        }
        if !self.digit {
            let fitted: Vec<Image> = images.iter().map(|i| self.fitted(i)).collect();
            return p.batch(&fitted);
        }
        let values = images.iter().flat_map(|i| digit(i, p.width, p.height).pixels).collect();
        let x = Tensor::from_vec(values, [images.len(), 1, p.height, p.width]);
        (x - f64::from(p.stats.mean[0])) / f64::from(p.stats.std[0])
    }

    /// The picture with the model's channels and size.
    pub fn fitted(&self, image: &Image) -> Image {
        self.pipeline.prepare(image.clone())
    }

    /// The part of a picture of this size that the model sees, in shares of the picture: 0, 0, 1, 1 is all of it. A padded picture is
    /// smaller than what is seen. `None` for digits, whose ink is moved.
    pub fn seen(&self, width: usize, height: usize) -> Option<CropBox> {
        if self.digit {
            return None;
        }
        let (w, h) = (width as f64, height as f64);
        let part = self.pipeline.seen(width, height);
        Some(CropBox {
            left: part.left / w,
            top: part.top / h,
            width: part.width / w,
            height: part.height / h,
        })
    }

    /// Other views of inputs `[N, C, H, W]`.
    pub(super) fn views(&self, x: &Tensor) -> Vec<Tensor> {
        match self.tta {
            Tta::None => Vec::new(),
            Tta::FlipZoom => {
                let (h, w) = (x.size(2), x.size(3));
                let (ch, cw) = ((h * 10).div_ceil(11), (w * 10).div_ceil(11));
                let middle = x.narrow(2, (h - ch) / 2, ch).narrow(3, (w - cw) / 2, cw);
                let zoomed = f::interpolate(
                    &middle,
                    f::InterpolateOptions {
                        size: Some(vec![h, w]),
                        mode: f::InterpolateMode::Linear,
                        ..Default::default()
                    },
                );
                vec![x.flip(-1), zoomed.flip(-1), zoomed]
            }
            Tta::FlipShift => {
                let (upper, lower) = (moved(x, 0, 0), moved(x, 2, 2));
                vec![x.flip(-1), upper.flip(-1), lower.flip(-1), upper, lower]
            }
            Tta::Shift => [(0, 1), (2, 1), (1, 0), (1, 2)].map(|(t, l)| moved(x, t, l)).to_vec(),
        }
    }
}

/// `x: [N, C, H, W]` behind a window that starts so far below and right of a border of one pixel: at (1, 1) it is `x`.
fn moved(x: &Tensor, top: usize, left: usize) -> Tensor {
    let (h, w) = (x.size(2), x.size(3));
    let wide = f::pad(x, &[1, 1, 1, 1], f::PadMode::Replicate);
    wide.narrow(2, top, h).narrow(3, left, w)
}

/// The picture as an MNIST digit.
fn digit(image: &Image, width: usize, height: usize) -> Grey {
    let image = image.clone().with_channels(1);
    let pixels = image.pixels().iter().map(|&p| f32::from(p) / 255.0).collect();
    let grey = Grey::new(image.width(), image.height(), pixels);
    let grey = if grey.is_dark_on_light() { grey.invert() } else { grey };
    if (width, height) == (28, 28) { grey.bright_to_digit() } else { grey.resize(width, height) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_are_mirrored_and_moved() {
        let x = Tensor::arange(0.0, 2.0 * 3.0 * 5.0, 1.0).reshape([1, 2, 3, 5]);
        assert_eq!(moved(&x, 1, 1).to_vec::<f32>(), x.to_vec::<f32>());
        // Down and to the right; the border repeats the edge.
        let first_rows = moved(&x, 0, 0).narrow(1, 0, 1).narrow(2, 0, 2);
        let expected = [0., 0., 1., 2., 3., 0., 0., 1., 2., 3.];
        assert_eq!(first_rows.to_vec::<f32>(), expected);

        let spec = |side, channels| InputSpec::new(ImagePipeline::new(side, side, channels));
        assert_eq!(
            [spec(32, 3), spec(96, 3), spec(32, 1)].map(|s| s.tta),
            [Tta::FlipShift, Tta::FlipZoom, Tta::Shift]
        );
        let views = spec(32, 3).views(&x);
        assert_eq!(views.len(), 5);
        assert_eq!(views[0].flip(-1).to_vec::<f32>(), x.to_vec::<f32>());
        assert_eq!(views[1].to_vec::<f32>(), views[3].flip(-1).to_vec::<f32>());
        assert_eq!(views[4].to_vec::<f32>(), moved(&x, 2, 2).to_vec::<f32>());
    }
}
