//! [`InputSpec`]: from pictures to the tensor that a model takes.

use super::checked;
use crate::image::{CropBox, Filter, Image};
use hardpan_engine::{Tensor, functional as f};
use hardpan_learn::data::grey::Grey;
use hardpan_learn::file::{Header, ImageInput};
use serde::{Deserialize, Serialize};

/// How pictures become inputs; kept in the header of a model's file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InputSpec {
    /// Channels, size, mean and standard deviation.
    pub image: ImageInput,
    /// How a picture gets that size.
    pub fit: Fit,
    /// Which views [`tta`](super::Predictor::tta) takes.
    pub tta: Tta,
}

/// How a picture of another size is made to fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// The largest middle part of the right shape, resized. fastai's `Resize` in validation.
    #[default]
    Crop,
    /// All of it, squeezed.
    Squish,
    /// A drawn or scanned digit: turned white on black, its ink centred, as MNIST was made.
    Digit,
}

/// Views of a picture for test-time augmentation, besides the picture itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tta {
    /// Mirrored, enlarged by a tenth, and both.
    #[default]
    FlipZoom,
    /// Moved by a pixel in each of four directions, for what may not be mirrored.
    Shift,
    /// None.
    None,
}

impl InputSpec {
    /// What the header of a file says.
    pub(super) fn of_header(header: &Header) -> Result<InputSpec, String> {
        let Some(image) = header.input.clone() else {
            return Err("it does not say what pictures its network takes".into());
        };
        checked(&image)?;
        if !header.pipeline.is_null() {
            let spec: InputSpec = serde_json::from_value(header.pipeline.clone())
                .map_err(|e| format!("the way it prepares pictures: {e}"))?;
            checked(&spec.image)?;
            return Ok(spec);
        }
        // Files from before there was a pipeline are of digits.
        let digits = image.channels == 1 && (image.height, image.width) == (28, 28);
        let (fit, tta) =
            if digits { (Fit::Digit, Tta::Shift) } else { (Fit::Squish, Tta::FlipZoom) };
        Ok(InputSpec { image, fit, tta })
    }

    /// Pictures as `[N, C, H, W]`, normalized.
    pub fn tensor(&self, images: &[Image]) -> Tensor {
        let ImageInput { channels: c, height: h, width: w, mean, std } = &self.image;
        let mut values: Vec<f32> = Vec::with_capacity(images.len() * c * h * w);
        let mut planes = Vec::new();
        for image in images {
            if self.fit == Fit::Digit && *c == 1 {
                values.extend(digit(image, *w, *h).pixels);
                continue;
            }
            planes.clear();
            self.fitted(image).append_planes(&mut planes);
            values.extend(planes.iter().map(|&p| f32::from(p) / 255.0));
        }
        let x = Tensor::from_vec(values, [images.len(), *c, *h, *w]);
        let per_channel = |v: &[f64]| {
            let v: Vec<f32> = v.iter().map(|x| *x as f32).collect();
            Tensor::from_vec(v, [1, *c, 1, 1])
        };
        (x - per_channel(mean)) / per_channel(std)
    }

    /// The picture with the model's channels and size.
    pub fn fitted(&self, image: &Image) -> Image {
        let ImageInput { channels, height, width, .. } = self.image;
        let image = image.clone().with_channels(channels);
        if (image.width(), image.height()) == (width, height) {
            return image;
        }
        match self.fit {
            Fit::Crop => {
                let (iw, ih) = (image.width() as f64, image.height() as f64);
                let scale = (iw / width as f64).min(ih / height as f64);
                let (cw, ch) = (width as f64 * scale, height as f64 * scale);
                let part =
                    CropBox { left: (iw - cw) / 2.0, top: (ih - ch) / 2.0, width: cw, height: ch };
                image.resize_part(part, width, height, Filter::Bilinear)
            }
            Fit::Squish | Fit::Digit => image.resize(width, height, Filter::Bilinear),
        }
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
            Tta::Shift => {
                let (h, w) = (x.size(2), x.size(3));
                let wide = f::pad(x, &[1, 1, 1, 1], f::PadMode::Replicate);
                let at = |top: usize, left: usize| wide.narrow(2, top, h).narrow(3, left, w);
                vec![at(0, 1), at(2, 1), at(1, 0), at(1, 2)]
            }
        }
    }
}

/// The picture as an MNIST digit.
fn digit(image: &Image, width: usize, height: usize) -> Grey {
    let image = image.clone().with_channels(1);
    let pixels = image.pixels().iter().map(|&p| f32::from(p) / 255.0).collect();
    let grey = Grey::new(image.width(), image.height(), pixels);
    let grey = if grey.is_dark_on_light() { grey.invert() } else { grey };
    if (width, height) == (28, 28) { grey.bright_to_digit() } else { grey.resize(width, height) }
}
