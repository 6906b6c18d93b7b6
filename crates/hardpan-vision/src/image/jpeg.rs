//! JPEG, by `zune-jpeg`.

use super::decode::{Decoded, damaged};
use super::{DecodeOptions, Image, ImageError, exif};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

const NAME: &str = "JPEG";

fn decoder<'a>(
    bytes: &'a [u8],
    options: &DecodeOptions,
) -> Result<JpegDecoder<ZCursor<&'a [u8]>>, ImageError> {
    let settings = DecoderOptions::default().set_max_width(65_535).set_max_height(65_535);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), settings);
    decoder.decode_headers().map_err(|e| damaged(NAME, format!("{e:?}")))?;
    let (w, h) = decoder.dimensions().ok_or_else(|| damaged(NAME, "it has no size"))?;
    options.check_size(w as u64, h as u64)?;
    if w * h == 0 {
        return Err(damaged(NAME, "it has no pixels"));
    }
    Ok(decoder)
}

fn is_grey(decoder: &JpegDecoder<ZCursor<&[u8]>>) -> bool {
    decoder.input_colorspace() == Some(ColorSpace::Luma)
}

fn orientation(decoder: &JpegDecoder<ZCursor<&[u8]>>) -> u8 {
    decoder.exif().map_or(1, |raw| exif::orientation(raw))
}

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, ImageError> {
    let mut decoder = decoder(bytes, options)?;
    // The decoder fills what is missing with grey; a picture that is half there is worse than an error.
    if !is_complete(bytes) {
        return Err(damaged(NAME, "it ends too early"));
    }
    let (w, h) = decoder.dimensions().expect("read above");
    let (channels, space) =
        if is_grey(&decoder) { (1, ColorSpace::Luma) } else { (3, ColorSpace::RGB) };
    decoder.set_options(decoder.options().jpeg_set_out_colorspace(space));
    let pixels = decoder.decode().map_err(|e| damaged(NAME, format!("{e:?}")))?;
    if pixels.len() != w * h * channels {
        return Err(damaged(NAME, "its colours are of an unknown kind"));
    }
    let orientation = orientation(&decoder);
    Ok(Decoded { image: Image::new(w, h, channels, pixels), orientation })
}

/// Width, height, channels, orientation.
pub(super) fn probe(
    bytes: &[u8],
    options: &DecodeOptions,
) -> Result<(usize, usize, usize, u8), ImageError> {
    let decoder = decoder(bytes, options)?;
    let (w, h) = decoder.dimensions().expect("read above");
    Ok((w, h, if is_grey(&decoder) { 1 } else { 3 }, orientation(&decoder)))
}

/// Whether the picture's data is followed by an end marker. Segments before the first scan are skipped by their lengths, since a
/// thumbnail in one of them has an end marker of its own; inside scans the two bytes cannot occur otherwise.
fn is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    while at + 4 <= bytes.len() {
        if bytes[at] != 0xFF {
            at += 1;
            continue;
        }
        match bytes[at + 1] {
            0xFF => at += 1,
            0xDA => return bytes[at..].windows(2).rev().any(|w| w == [0xFF, 0xD9]),
            0x00 | 0x01 | 0xD0..=0xD8 => at += 2,
            _ => at += 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])),
        }
    }
    false
}
