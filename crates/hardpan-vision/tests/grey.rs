//! Pictures: every kind of PNG, resizing, and digits as MNIST shows them.

use hardpan_vision::digits::grey::{Grey, GreyError};
use png::{BitDepth, ColorType};
use proptest::prelude::*;
use std::io::Cursor;

fn encode(
    w: u32,
    h: u32,
    color: ColorType,
    depth: BitDepth,
    data: &[u8],
    palette: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut e = png::Encoder::new(&mut out, w, h);
    e.set_color(color);
    e.set_depth(depth);
    if !palette.is_empty() {
        e.set_palette(palette.to_vec());
    }
    e.write_header().unwrap().write_image_data(data).unwrap();
    out
}

fn decode(png: &[u8]) -> Result<Grey, GreyError> {
    Grey::decode_png(Cursor::new(png), "digit.png")
}

fn close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3), "{a:?} is not {b:?}");
}

#[test]
fn every_colour_type_and_depth() {
    use BitDepth::*;
    use ColorType::*;
    let pixels = |w, color, depth, data: &[u8], palette: &[u8]| {
        decode(&encode(w, 1, color, depth, data, palette)).unwrap().pixels
    };
    close(&pixels(4, Grayscale, One, &[0b0110_0000], &[]), &[0., 1., 1., 0.]);
    close(&pixels(4, Grayscale, Two, &[0b00_01_10_11], &[]), &[0., 1. / 3., 2. / 3., 1.]);
    close(&pixels(2, Grayscale, Four, &[0x0f], &[]), &[0., 1.]);
    close(&pixels(2, Grayscale, Eight, &[51, 255], &[]), &[0.2, 1.]);
    close(&pixels(2, Grayscale, Sixteen, &[0x80, 0, 0, 1], &[]), &[0.5, 1. / 65535.]);
    close(&pixels(2, Rgb, Eight, &[255, 0, 0, 0, 255, 0], &[]), &[0.299, 0.587]);
    close(&pixels(1, Rgb, Sixteen, &[0, 0, 0, 0, 255, 255], &[]), &[0.114]);
    close(&pixels(2, Indexed, One, &[0b0100_0000], &[0, 0, 0, 255, 255, 255]), &[0., 1.]);
    // Black ink on a transparent ground is laid on white, white ink on black; opaque pictures stay.
    close(&pixels(2, GrayscaleAlpha, Eight, &[0, 255, 0, 0], &[]), &[0., 1.]);
    close(&pixels(2, GrayscaleAlpha, Eight, &[255, 255, 0, 0], &[]), &[1., 0.]);
    close(&pixels(2, Rgba, Eight, &[255, 255, 255, 255, 0, 0, 0, 255], &[]), &[1., 0.]);
    close(&pixels(1, Rgba, Eight, &[0, 0, 0, 51], &[]), &[0.8]);
}

#[test]
fn wrong_files_say_so() {
    let good = encode(28, 28, ColorType::Grayscale, BitDepth::Eight, &[7; 784], &[]);
    for n in 0..good.len() - 12 {
        // The last chunk, IEND, says nothing that is needed.
        assert!(matches!(decode(&good[..n]), Err(GreyError::Png { .. })), "{n} bytes");
    }
    let e = decode(b"GIF89a............").unwrap_err().to_string();
    assert!(e.starts_with("digit.png: not a readable PNG picture: "), "{e}");
    let e = Grey::read_png("no/such.png").unwrap_err().to_string();
    assert!(e.starts_with("no/such.png: cannot read it: "), "{e}");
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Grey::read_png(dir.path()), Err(GreyError::Io { .. })));
}

#[test]
fn a_picture_of_absurd_size_is_refused() {
    let mut png = encode(1, 1, ColorType::Grayscale, BitDepth::Eight, &[0], &[]);
    // Width and height in IHDR, whose checksum then has to be right too.
    png[16..24].copy_from_slice(&[0, 0x0f, 0xff, 0xff, 0, 0x0f, 0xff, 0xff]);
    let sum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&sum.to_be_bytes());
    let e = decode(&png).unwrap_err();
    assert!(matches!(e, GreyError::TooLarge { width: 0xfffff, height: 0xfffff, .. }), "{e}");
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, &b| {
        (0..8).fold(crc ^ b as u32, |c, _| (c >> 1) ^ (0xedb8_8320 & (c & 1).wrapping_neg()))
    })
}

proptest! {
    #[test]
    fn noise_is_never_more_than_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes).is_err());
    }

    /// Damage anywhere in a right file: an error or a picture, no panic.
    #[test]
    fn damage_is_never_more_than_an_error(
        at in prop::collection::vec((8usize..120, any::<u8>()), 1..6),
    ) {
        let data: Vec<u8> = (0..=255).collect();
        let mut png = encode(16, 16, ColorType::Grayscale, BitDepth::Eight, &data, &[]);
        for (i, b) in at {
            let i = i % png.len();
            png[i] = b;
        }
        let _ = decode(&png).map(|p| p.to_digit());
    }

    /// Resizing keeps a flat picture flat, stays within the range, and to the same size changes nothing.
    #[test]
    fn resizing(w in 1usize..40, h in 1usize..40, w2 in 1usize..40, h2 in 1usize..40, seed in any::<u32>()) {
        let flat = Grey::new(w, h, vec![0.25; w * h]).resize(w2, h2);
        prop_assert!(flat.pixels.iter().all(|p| (p - 0.25).abs() < 1e-5));
        let noise = (0..w * h).map(|i| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / 16_777_216.0);
        let picture = Grey::new(w, h, noise.collect());
        let other = picture.resize(w2, h2);
        prop_assert_eq!(other.pixels.len(), w2 * h2);
        prop_assert!(other.pixels.iter().all(|p| (-1e-5..1.0 + 1e-5).contains(p)));
        close(&picture.resize(w, h).pixels, &picture.pixels);
    }
}

#[test]
fn shrinking_averages_all_it_covers() {
    // A checkerboard of single pixels would come out as stripes or one colour without antialiasing.
    let board = Grey::new(64, 64, (0..64 * 64).map(|i| ((i % 64 + i / 64) % 2) as f32).collect());
    let small = board.resize(8, 8);
    let inner = (1..7).flat_map(|y| &small.pixels[y * 8 + 1..y * 8 + 7]);
    assert!(inner.into_iter().all(|p| (p - 0.5).abs() < 0.02), "{small:?}");
}

/// A vertical bar of ink: `[x0, x1) x [y0, y1)` on a picture of `w` x `h`.
fn bar(w: usize, h: usize, x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> Grey {
    let pixels = (0..w * h).map(|i| (x.contains(&(i % w)) && y.contains(&(i / w))) as u8 as f32);
    Grey::new(w, h, pixels.collect())
}

#[test]
fn a_digit_anywhere_comes_to_the_middle() {
    // A "1" in the corner of a large page: 20 high after scaling, 4 wide, centred.
    let one = bar(300, 200, 10..30, 20..120).to_digit();
    assert_eq!((one.width, one.height), (28, 28));
    let expected = bar(28, 28, 12..16, 4..24);
    for (i, (a, b)) in one.pixels.iter().zip(&expected.pixels).enumerate() {
        assert!((a - b).abs() < 0.1, "pixel ({}, {}): {a}, expected {b}", i % 28, i / 28);
    }
    // Written with a pen on grey paper, it comes out the same.
    let mut page = bar(300, 200, 10..30, 20..120);
    page.pixels.iter_mut().for_each(|p| *p = 0.8 - 0.6 * *p);
    assert!(page.is_dark_on_light());
    close(&page.to_digit().pixels, &one.pixels);
}

#[test]
fn what_is_28_by_28_stays() {
    let digit = bar(28, 28, 3..9, 2..20);
    assert_eq!(digit.to_digit(), digit);
    close(&digit.clone().invert().to_digit().pixels, &digit.pixels);
}

#[test]
fn an_empty_page_is_black() {
    for value in [0.0, 0.5, 1.0] {
        let page = Grey::new(100, 50, vec![value; 5000]).to_digit();
        assert_eq!(page.pixels, vec![0.0; 784]);
    }
    assert_eq!(Grey::new(0, 0, vec![]).to_digit().pixels, vec![0.0; 784]);
}

#[test]
fn extreme_shapes_do_not_fail() {
    assert!(bar(2000, 3, 1..1999, 1..2).to_digit().pixels.iter().any(|&p| p > 0.5));
    assert!(bar(1, 2000, 0..1, 500..600).to_digit().pixels.len() == 784);
    assert_eq!(bar(1, 1, 0..1, 0..1).to_digit().pixels.len(), 784);
}
