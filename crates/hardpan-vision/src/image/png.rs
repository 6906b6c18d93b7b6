//! PNG, by `png`: all colour types and bit depths, interlaced or not; and writing it.

use super::decode::{Decoded, damaged, flatten};
use super::{DecodeOptions, Image, ImageError, exif};
use png::{BitDepth, ColorType, Transformations};
use std::io::Cursor;
use std::path::Path;

const NAME: &str = "PNG";

type Reader<'a> = png::Reader<Cursor<&'a [u8]>>;

fn reader<'a>(
    bytes: &'a [u8],
    options: &DecodeOptions,
    transform: Transformations,
) -> Result<Reader<'a>, ImageError> {
    let limits = png::Limits { bytes: 1 << 30 };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(transform);
    let info = decoder.read_header_info().map_err(fail)?;
    options.check_size(info.width.into(), info.height.into())?;
    decoder.read_info().map_err(fail)
}

fn fail(e: png::DecodingError) -> ImageError {
    match e {
        png::DecodingError::IoError(_) => damaged(NAME, "it ends too early"),
        e => damaged(NAME, e.to_string()),
    }
}

/// The picture's bytes as the reader's transformations leave them.
fn frame(reader: &mut Reader<'_>) -> Result<Vec<u8>, ImageError> {
    let size = reader.output_buffer_size().ok_or_else(|| damaged(NAME, "it is too large"))?;
    let mut raw = vec![0; size];
    reader.next_frame(&mut raw).map_err(fail)?;
    // What comes after the picture is read too, so that a file that was cut is found out.
    reader.finish().map_err(fail)?;
    Ok(raw)
}

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, ImageError> {
    // Palettes become colours, few bits become 8, a transparent colour becomes an alpha channel.
    let mut reader = reader(bytes, options, Transformations::EXPAND)?;
    let (w, h) = (reader.info().width as usize, reader.info().height as usize);
    let (color, depth) = reader.output_color_type();
    let mut raw = frame(&mut reader)?;
    if depth == BitDepth::Sixteen {
        let to_8 =
            |b: &[u8; 2]| ((u32::from(u16::from_be_bytes(*b)) * 255 + 32_767) / 65_535) as u8;
        raw = raw.as_chunks().0.iter().map(to_8).collect();
    }
    let (channels, pixels) = match color {
        ColorType::Grayscale => (1, raw),
        ColorType::GrayscaleAlpha => (1, flatten(&raw, 1, options.background)),
        ColorType::Rgba => (3, flatten(&raw, 3, options.background)),
        _ => (3, raw),
    };
    let exif = reader.info().exif_metadata.as_ref();
    let orientation = exif.map_or(1, |raw| exif::orientation(raw));
    Ok(Decoded { image: Image::new(w, h, channels, pixels), orientation })
}

/// Width, height, channels, orientation (as far as it stands before the picture).
pub(super) fn probe(
    bytes: &[u8],
    options: &DecodeOptions,
) -> Result<(usize, usize, usize, u8), ImageError> {
    let reader = reader(bytes, options, Transformations::EXPAND)?;
    let info = reader.info();
    let grey = matches!(info.color_type, ColorType::Grayscale | ColorType::GrayscaleAlpha);
    let orientation = info.exif_metadata.as_ref().map_or(1, |raw| exif::orientation(raw));
    Ok((info.width as usize, info.height as usize, if grey { 1 } else { 3 }, orientation))
}

/// The stored values of a grey or palette picture, not scaled and not looked up: what a mask needs. Width, height, values.
pub(super) fn decode_values(
    bytes: &[u8],
    options: &DecodeOptions,
) -> Result<Option<(usize, usize, Vec<u8>)>, ImageError> {
    let mut reader = reader(bytes, options, Transformations::IDENTITY)?;
    let (w, h) = (reader.info().width as usize, reader.info().height as usize);
    let (color, depth) = reader.output_color_type();
    if !matches!(color, ColorType::Grayscale | ColorType::Indexed) || depth == BitDepth::Sixteen {
        return Ok(None);
    }
    let raw = frame(&mut reader)?;
    let bits = depth as usize;
    let row_bytes = (w * bits).div_ceil(8);
    let mut values = Vec::with_capacity(w * h);
    for row in raw.chunks_exact(row_bytes).take(h) {
        let value = |x: usize| {
            let bit = x * bits;
            row[bit / 8] >> (8 - bits - bit % 8) & (0xFF >> (8 - bits)) as u8
        };
        values.extend((0..w).map(value));
    }
    Ok(Some((w, h, values)))
}

impl Image {
    /// The picture as a PNG file in memory.
    pub fn encode_png(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let color = if self.channels() == 1 { ColorType::Grayscale } else { ColorType::Rgb };
        let mut encoder = png::Encoder::new(&mut out, self.width() as u32, self.height() as u32);
        encoder.set_color(color);
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header().expect("the size fits and memory does not fail");
        writer.write_image_data(self.pixels()).expect("there are as many bytes as the size says");
        writer.finish().expect("memory does not fail");
        out
    }

    /// Writes the picture as a PNG file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<(), ImageError> {
        let path = path.as_ref();
        std::fs::write(path, self.encode_png())
            .map_err(|source| ImageError::Io { path: path.to_owned(), source })
    }
}
