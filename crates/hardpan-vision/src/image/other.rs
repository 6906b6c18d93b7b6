//! GIF, BMP, WebP and TIFF, by `image`.

use super::decode::{Decoded, damaged, flatten};
use super::{DecodeOptions, Format, Image, ImageError, exif};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;

pub(super) fn decode(
    bytes: &[u8],
    format: Format,
    options: &DecodeOptions,
) -> Result<Decoded, ImageError> {
    let fail = |e: image::ImageError| match e {
        image::ImageError::IoError(_) => damaged(format.name(), "it ends too early"),
        e => damaged(format.name(), e.to_string()),
    };
    let kind = match format {
        Format::Gif => ImageFormat::Gif,
        Format::Bmp => ImageFormat::Bmp,
        Format::WebP => ImageFormat::WebP,
        _ => ImageFormat::Tiff,
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), kind);
    let mut limits = Limits::default();
    limits.max_alloc = Some(1 << 30);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(fail)?;
    let (w, h) = decoder.dimensions();
    options.check_size(w.into(), h.into())?;
    if w == 0 || h == 0 {
        return Err(damaged(format.name(), "it has no pixels"));
    }
    let exif = decoder.exif_metadata().ok().flatten();
    let orientation = exif.map_or(1, |raw| exif::orientation(&raw));
    let picture = DynamicImage::from_decoder(decoder).map_err(fail)?;
    let (channels, pixels) = match picture.color() {
        image::ColorType::L8 | image::ColorType::L16 => (1, picture.into_luma8().into_raw()),
        image::ColorType::La8 | image::ColorType::La16 => {
            (1, flatten(&picture.into_luma_alpha8(), 1, options.background))
        }
        color if color.has_alpha() => (3, flatten(&picture.into_rgba8(), 3, options.background)),
        _ => (3, picture.into_rgb8().into_raw()),
    };
    let image = Image::new(w as usize, h as usize, channels, pixels);
    Ok(Decoded { image: grey_if_grey(image, format), orientation })
}

/// GIF and BMP have no grey kind: a picture whose every colour is grey was grey.
fn grey_if_grey(image: Image, format: Format) -> Image {
    let grey = |p: &[u8; 3]| p[0] == p[1] && p[1] == p[2];
    let is_grey = matches!(format, Format::Gif | Format::Bmp) && image.channels() == 3;
    if is_grey && image.pixels().as_chunks::<3>().0.iter().all(grey) {
        return image.with_channels(1);
    }
    image
}
