//! [`Mask`]: a class for each pixel.

use super::decode::read;
use super::{CropBox, DecodeOptions, Format, Image, ImageError, png};
use hardpan_engine::Tensor;
use std::path::Path;

/// A class number for each pixel: `[height, width]` bytes. Counterpart: fastai's `PILMask`.
#[derive(Clone, PartialEq, Eq)]
pub struct Mask {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({}x{})", self.width, self.height)
    }
}

impl Mask {
    /// A mask of `height` rows of `width` classes.
    ///
    /// # Panics
    /// If there are not `height * width` bytes, or no pixels.
    #[track_caller]
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Mask {
        assert!(
            width * height > 0 && pixels.len() == width * height,
            "Mask: {width}x{height} pixels are {} bytes, not {}",
            width * height,
            pixels.len()
        );
        Mask { width, height, pixels }
    }

    /// Reads a mask: the stored values of a grey or palette PNG as they are (a palette gives its indices, not its colours),
    /// the grey of any other image.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Mask, ImageError> {
        let path = path.as_ref();
        Mask::decode(&read(path)?).map_err(|e| e.in_file(path))
    }

    /// Reads a mask from bytes; as [`Mask::open`] otherwise.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn decode(bytes: &[u8]) -> Result<Mask, ImageError> {
        let options = DecodeOptions { channels: Some(1), ..Default::default() };
        if Format::of(bytes) == Some(Format::Png)
            && let Some((w, h, values)) = png::decode_values(bytes, &options)?
        {
            return Ok(Mask::new(w, h, values));
        }
        let grey = options.decode(bytes)?;
        Ok(Mask::new(grey.width(), grey.height(), grey.into_pixels()))
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The classes, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The classes, to change them.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The part in `part` as `width` by `height` pixels, each the class of the nearest old pixel.
    ///
    /// # Panics
    /// If there are no pixels, or the part reaches beyond the mask.
    #[must_use]
    #[track_caller]
    pub fn resize_part(&self, part: CropBox, width: usize, height: usize) -> Mask {
        part.check(self.width, self.height, width, height);
        let place = |i: usize, start: f64, size: f64, n: usize, last: usize| {
            ((start + (i as f64 + 0.5) * size / n as f64) as usize).min(last)
        };
        let columns: Vec<usize> =
            (0..width).map(|x| place(x, part.left, part.width, width, self.width - 1)).collect();
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            let y = place(y, part.top, part.height, height, self.height - 1);
            let row = &self.pixels[y * self.width..][..self.width];
            pixels.extend(columns.iter().map(|&x| row[x]));
        }
        Mask::new(width, height, pixels)
    }

    /// In another size, each pixel the class of the nearest old one.
    ///
    /// # Panics
    /// If the new size has no pixels.
    #[must_use]
    #[track_caller]
    pub fn resize(&self, width: usize, height: usize) -> Mask {
        self.resize_part(CropBox::whole(self.width, self.height), width, height)
    }

    /// A tensor `[H, W]` of i64.
    pub fn to_tensor(&self) -> Tensor {
        let values: Vec<i64> = self.pixels.iter().map(|&p| i64::from(p)).collect();
        Tensor::from_slice(&values, [self.height, self.width])
    }

    /// As a grey picture of its numbers.
    pub fn to_image(&self) -> Image {
        Image::new(self.width, self.height, 1, self.pixels.clone())
    }
}
