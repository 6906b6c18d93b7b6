//! Pictures as bytes: reading every common file format, resizing, cropping, padding, writing.
//!
//! An [`Image`] has 8 bits per channel, one channel (grey) or three (RGB), rows from top to bottom, channels side by side
//! (`[height, width, channels]`). [`Image::open`] looks at the bytes, not at the name of the file; it turns the picture upright
//! as EXIF says, lays what is transparent on white, reduces 16 bits to 8 and makes RGB of CMYK and palettes. A [`Mask`] has a
//! class per pixel instead. Nothing here panics on foreign bytes: every failure is an [`ImageError`] that names the file.
//!
//! ```no_run
//! use hardpan_vision::image::{Filter, Image};
//! let photo = Image::open("cat.jpg")?;
//! let small = photo.resize(224, 224, Filter::Bilinear);
//! small.save_png("cat-224.png")?;
//! let x = small.to_tensor(); // [3, 224, 224], 0 to 1
//! # Ok::<(), hardpan_vision::image::ImageError>(())
//! ```

mod decode;
mod edit;
mod error;
mod exif;
mod jpeg;
mod mask;
#[cfg(feature = "image-formats")]
mod other;
mod png;
mod resize;

pub use decode::{DecodeOptions, Format, MAX_PIXELS};
pub use error::{ImageError, Origin};
pub use mask::Mask;
pub use resize::{CropBox, Filter, Padding};

use hardpan_engine::Tensor;
use std::path::Path;

/// A picture: `[height, width, channels]` bytes. See the [module](self).
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Vec<u8>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}x{}x{})", self.width, self.height, self.channels)
    }
}

impl Image {
    /// A picture of `height` rows of `width` pixels with 1 or 3 channels.
    ///
    /// # Panics
    /// If there are not `height * width * channels` bytes, no pixels, or another number of channels.
    #[track_caller]
    pub fn new(width: usize, height: usize, channels: usize, pixels: Vec<u8>) -> Image {
        assert!(channels == 1 || channels == 3, "Image: 1 or 3 channels, not {channels}");
        assert!(width * height > 0, "Image: {width}x{height} has no pixels");
        assert!(
            pixels.len() == width * height * channels,
            "Image: {width}x{height} pixels with {channels} channels are {} bytes, not {}",
            width * height * channels,
            pixels.len()
        );
        Image { width, height, channels, pixels }
    }

    /// A picture of one colour (as many bytes as there are channels).
    ///
    /// # Panics
    /// As [`Image::new`].
    #[track_caller]
    pub fn filled(width: usize, height: usize, colour: &[u8]) -> Image {
        Image::new(width, height, colour.len(), colour.repeat(width * height))
    }

    /// Reads an image file of any known format: JPEG, PNG, and with the feature `image-formats` GIF (first frame), BMP, WebP and
    /// TIFF. One channel if the file is grey, else three.
    ///
    /// # Errors
    /// If the file cannot be read, is no image, is damaged or cut short, or has more than [`MAX_PIXELS`] pixels. The error
    /// names the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Image, ImageError> {
        DecodeOptions::default().open(path)
    }

    /// Reads an image from bytes; as [`Image::open`] otherwise.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn decode(bytes: &[u8]) -> Result<Image, ImageError> {
        DecodeOptions::default().decode(bytes)
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// 1 (grey) or 3 (RGB).
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The bytes, `[height, width, channels]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes, to change them.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The bytes alone.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// The channels of the pixel in column `x` of row `y`.
    ///
    /// # Panics
    /// If there is no such pixel.
    #[track_caller]
    pub fn pixel(&self, x: usize, y: usize) -> &[u8] {
        assert!(x < self.width && y < self.height, "pixel ({x}, {y}) of {self:?}");
        &self.pixels[(y * self.width + x) * self.channels..][..self.channels]
    }

    /// With this number of channels: grey becomes RGB by repetition, RGB becomes grey by luminance (Rec. 601, as Pillow's `L`).
    ///
    /// # Panics
    /// If it is neither 1 nor 3.
    #[must_use]
    #[track_caller]
    pub fn with_channels(self, channels: usize) -> Image {
        match (self.channels, channels) {
            (a, b) if a == b => self,
            (1, 3) => {
                let pixels = self.pixels.iter().flat_map(|&p| [p; 3]).collect();
                Image { channels: 3, pixels, ..self }
            }
            (3, 1) => {
                let pixels = self.pixels.as_chunks().0.iter().map(|&p| luminance(p)).collect();
                Image { channels: 1, pixels, ..self }
            }
            _ => panic!("with_channels: 1 or 3 channels, not {channels}"),
        }
    }

    /// `[channels, height, width]` bytes: the order of tensors, appended to `out`.
    pub fn append_planes(&self, out: &mut Vec<u8>) {
        match self.channels {
            1 => out.extend_from_slice(&self.pixels),
            _ => {
                let n = self.width * self.height;
                let start = out.len();
                out.resize(start + 3 * n, 0);
                let (r, rest) = out[start..].split_at_mut(n);
                let (g, b) = rest.split_at_mut(n);
                let rgb = self.pixels.as_chunks::<3>().0;
                for (((p, r), g), b) in rgb.iter().zip(r).zip(g).zip(b) {
                    (*r, *g, *b) = (p[0], p[1], p[2]);
                }
            }
        }
    }

    /// A tensor `[C, H, W]` of f32 from 0 to 1. Counterpart: `torchvision.transforms.ToTensor`.
    pub fn to_tensor(&self) -> Tensor {
        let mut planes = Vec::new();
        self.append_planes(&mut planes);
        let values: Vec<f32> = planes.iter().map(|&p| f32::from(p) / 255.0).collect();
        Tensor::from_slice(&values, [self.channels, self.height, self.width])
    }

    /// The picture of a tensor `[C, H, W]` or `[H, W]` with values from 0 to 1 (what is beyond is clipped; bytes are taken
    /// as they are).
    ///
    /// # Panics
    /// If the shape is another, or there are neither 1 nor 3 channels.
    #[track_caller]
    pub fn from_tensor(x: &Tensor) -> Image {
        let x = if x.rank() == 2 { x.unsqueeze(0) } else { x.clone() };
        let &[c, h, w] = x.shape() else {
            panic!("Image::from_tensor: expected [C, H, W] or [H, W], got {:?}", x.shape())
        };
        let bytes = x.dtype() == hardpan_engine::DType::U8;
        let scale = if bytes { 1.0 } else { 255.0 };
        let values = x.to_vec::<f32>();
        let n = h * w;
        let mut pixels = Vec::with_capacity(c * n);
        for i in 0..n {
            for k in 0..c {
                pixels.push((values[k * n + i] * scale).round().clamp(0.0, 255.0) as u8);
            }
        }
        Image::new(w, h, c, pixels)
    }
}

/// Rec. 601 in whole numbers, with Pillow's rounding.
fn luminance(rgb: [u8; 3]) -> u8 {
    let [r, g, b] = rgb.map(u32::from);
    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
}
