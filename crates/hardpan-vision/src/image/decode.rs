//! From bytes to an [`Image`]: which decoder, and what all of them share.

use super::{Image, ImageError, Origin, exif, jpeg, png};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Images with more pixels are refused unless [`DecodeOptions::max_pixels`] says otherwise: 178,956,970, as Pillow's limit
/// for decompression bombs.
pub const MAX_PIXELS: u64 = 178_956_970;

/// A kind of image file, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// JPEG, baseline or progressive.
    Jpeg,
    /// PNG.
    Png,
    /// GIF.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// WebP.
    WebP,
    /// TIFF.
    Tiff,
}

impl Format {
    /// The format of these bytes, if it is a known one.
    pub fn of(bytes: &[u8]) -> Option<Format> {
        match bytes {
            [0xFF, 0xD8, 0xFF, ..] => Some(Format::Jpeg),
            [0x89, b'P', b'N', b'G', ..] => Some(Format::Png),
            [b'G', b'I', b'F', b'8', ..] => Some(Format::Gif),
            [b'B', b'M', ..] => Some(Format::Bmp),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Format::WebP),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some(Format::Tiff),
            _ => None,
        }
    }

    /// `JPEG`, `PNG`, ...
    pub const fn name(self) -> &'static str {
        match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::Gif => "GIF",
            Format::Bmp => "BMP",
            Format::WebP => "WebP",
            Format::Tiff => "TIFF",
        }
    }
}

/// How image files are read. The defaults are those of [`Image::open`].
#[derive(Clone, Debug, PartialEq)]
pub struct DecodeOptions {
    /// 1 or 3 channels whatever the file has; `None` (default): one if the file is grey, else three.
    pub channels: Option<usize>,
    /// Turn the picture as EXIF says (default: yes).
    pub upright: bool,
    /// The most pixels; default [`MAX_PIXELS`].
    pub max_pixels: u64,
    /// What transparent pictures are laid on; default white.
    pub background: [u8; 3],
}

impl Default for DecodeOptions {
    fn default() -> Self {
        DecodeOptions {
            channels: None,
            upright: true,
            max_pixels: MAX_PIXELS,
            background: [255; 3],
        }
    }
}

/// What a decoder gives: the picture as stored, and its EXIF orientation (1 to 8).
pub(super) struct Decoded {
    pub image: Image,
    pub orientation: u8,
}

impl DecodeOptions {
    /// Reads a file.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Image, ImageError> {
        let path = path.as_ref();
        self.decode(&read(path)?).map_err(|e| e.in_file(path))
    }

    /// Reads from bytes.
    ///
    /// # Errors
    /// As [`Image::decode`].
    pub fn decode(&self, bytes: &[u8]) -> Result<Image, ImageError> {
        let format = Format::of(bytes).ok_or_else(|| unknown(bytes))?;
        // Decoders are other people's code: should one panic on bytes that nobody thought of, it is an error of the file.
        let decoded = catch_unwind(AssertUnwindSafe(|| match format {
            Format::Jpeg => jpeg::decode(bytes, self),
            Format::Png => png::decode(bytes, self),
            #[cfg(feature = "image-formats")]
            other => super::other::decode(bytes, other, self),
            #[cfg(not(feature = "image-formats"))]
            other => Err(ImageError::Unknown {
                origin: Origin::Memory,
                reason: format!("{} needs the feature `image-formats`", other.name()),
            }),
        }))
        .unwrap_or_else(|_| Err(damaged(format.name(), "its decoder gave up")))?;
        let mut image = decoded.image;
        if self.upright {
            image = exif::upright(image, decoded.orientation);
        }
        Ok(match self.channels {
            Some(c) => image.with_channels(c),
            None => image,
        })
    }

    /// Width, height and channels of an image, upright as it would be read, from the head of the file alone where the format
    /// allows it (JPEG and PNG).
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn probe(&self, path: impl AsRef<Path>) -> Result<(usize, usize, usize), ImageError> {
        let path = path.as_ref();
        let bytes = read(path)?;
        let probed = catch_unwind(AssertUnwindSafe(|| match Format::of(&bytes) {
            Some(Format::Jpeg) => jpeg::probe(&bytes, self),
            Some(Format::Png) => png::probe(&bytes, self),
            _ => self.decode(&bytes).map(|i| (i.width(), i.height(), i.channels(), 1)),
        }))
        .unwrap_or_else(|_| Err(unknown(&bytes)))
        .map_err(|e| e.in_file(path))?;
        let (w, h, c, orientation) = probed;
        let turned = self.upright && orientation >= 5;
        let (w, h) = if turned { (h, w) } else { (w, h) };
        Ok((w, h, self.channels.unwrap_or(c)))
    }

    pub(super) fn check_size(&self, width: u64, height: u64) -> Result<(), ImageError> {
        if width.saturating_mul(height) > self.max_pixels {
            let limit = self.max_pixels;
            return Err(ImageError::TooLarge { origin: Origin::Memory, width, height, limit });
        }
        Ok(())
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    std::fs::read(path).map_err(|source| ImageError::Io { path: path.to_owned(), source })
}

fn unknown(bytes: &[u8]) -> ImageError {
    let reason = match bytes {
        [] => "it is empty".to_owned(),
        [b'<', ..] => "it begins with `<`, as a web page or SVG does".to_owned(),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => {
            "it is a film or an AVIF or HEIC picture, which are not supported; convert it to JPEG or PNG".to_owned()
        }
        _ => {
            let head: Vec<String> = bytes.iter().take(4).map(|b| format!("{b:02x}")).collect();
            format!("it begins with the bytes {}", head.join(" "))
        }
    };
    ImageError::Unknown { origin: Origin::Memory, reason }
}

pub(super) fn damaged(format: &'static str, reason: impl Into<String>) -> ImageError {
    ImageError::Damaged { origin: Origin::Memory, format, reason: reason.into() }
}

/// Lays pixels with alpha on the background: `channels` of colour, then alpha, each a byte.
pub(super) fn flatten(pixels: &[u8], channels: usize, background: [u8; 3]) -> Vec<u8> {
    let mut out = Vec::with_capacity(pixels.len() / (channels + 1) * channels);
    let paper = match channels {
        1 => [super::luminance(background); 3],
        _ => background,
    };
    for p in pixels.chunks_exact(channels + 1) {
        let alpha = u32::from(p[channels]);
        for k in 0..channels {
            let mixed = u32::from(p[k]) * alpha + u32::from(paper[k]) * (255 - alpha);
            out.push(((mixed + 127) / 255) as u8);
        }
    }
    out
}
