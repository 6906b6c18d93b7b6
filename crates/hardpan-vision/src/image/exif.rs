//! Which side of a photo is up.

use super::Image;

/// The orientation (1 to 8) that a block of EXIF (TIFF structure, with or without the `Exif\0\0` before it) gives; 1 (upright) if
/// there is none or it makes no sense.
pub(super) fn orientation(raw: &[u8]) -> u8 {
    let raw = raw.strip_prefix(b"Exif\0\0").unwrap_or(raw);
    let Ok(exif) = ::exif::Reader::new().read_raw(raw.to_vec()) else { return 1 };
    let field = exif.get_field(::exif::Tag::Orientation, ::exif::In::PRIMARY);
    match field.and_then(|f| f.value.get_uint(0)) {
        Some(v @ 1..=8) => v as u8,
        _ => 1,
    }
}

/// The picture turned and mirrored as its orientation asks. Source: Exif 2.3, tag 0x0112.
pub(super) fn upright(image: Image, orientation: u8) -> Image {
    match orientation {
        2 => image.flip_horizontal(),
        3 => image.flip_horizontal().flip_vertical(),
        4 => image.flip_vertical(),
        5 => image.transpose(),
        6 => image.transpose().flip_horizontal(),
        7 => image.transpose().flip_horizontal().flip_vertical(),
        8 => image.transpose().flip_vertical(),
        _ => image,
    }
}
