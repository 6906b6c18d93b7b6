//! Every kind of file, and files that are not what they claim.

use hardpan_vision::image::{DecodeOptions, Format, Image, Mask};
use std::path::{Path, PathBuf};

fn pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures")
}

/// 16x12: red grows to the right, green downwards, blue falls with both.
fn expected(x: usize, y: usize) -> [f32; 3] {
    [x as f32 * 15.0, y as f32 * 20.0, 255.0 - x as f32 * 8.0 - y as f32 * 8.0]
}

fn worst(image: &Image, of: impl Fn(usize, usize) -> Vec<f32>) -> f32 {
    let mut worst = 0f32;
    for y in 0..image.height() {
        for x in 0..image.width() {
            for (p, e) in image.pixel(x, y).iter().zip(of(x, y)) {
                worst = worst.max((f32::from(*p) - e).abs());
            }
        }
    }
    worst
}

fn grey(x: usize, y: usize) -> Vec<f32> {
    let [r, g, b] = expected(x, y);
    vec![0.299 * r + 0.587 * g + 0.114 * b]
}

#[test]
fn every_format_shows_the_same_picture() {
    // The most that a byte may be off: nothing where nothing is lost.
    let colour = [
        ("rgb.jpg", 6.0),
        ("progressive.jpg", 6.0),
        ("subsampled.jpg", 25.0),
        ("cmyk.jpg", 12.0),
        ("rgb.png", 0.0),
        ("rgb.gif", 40.0),
        ("rgb.bmp", 0.0),
        ("rgb.tiff", 0.0),
        ("lzw.tiff", 0.0),
        ("cmyk.tiff", 3.0),
        ("lossless.webp", 0.0),
        ("lossy.webp", 25.0),
        ("palette.png", 60.0),
    ];
    for (name, most) in colour {
        let image = Image::open(pictures().join(name)).unwrap();
        assert_eq!((image.width(), image.height(), image.channels()), (16, 12, 3), "{name}");
        let worst = worst(&image, |x, y| expected(x, y).to_vec());
        assert!(worst <= most, "{name}: off by {worst}");
        let probed = DecodeOptions::default().probe(pictures().join(name)).unwrap();
        assert_eq!(probed, (16, 12, 3), "{name}");
    }
    for (name, most) in
        [("grey.jpg", 4.0), ("grey.gif", 1.0), ("grey.bmp", 1.0), ("sixteen.png", 1.0)]
    {
        let image = Image::open(pictures().join(name)).unwrap();
        assert_eq!((image.width(), image.height(), image.channels()), (16, 12, 1), "{name}");
        let worst = worst(&image, grey);
        assert!(worst <= most, "{name}: off by {worst}");
    }
    let bits = Image::open(pictures().join("bits.png")).unwrap();
    assert!(bits.pixels().iter().all(|p| [0, 255].contains(p)) && bits.channels() == 1);
}

#[test]
fn transparent_pictures_are_laid_on_white() {
    let image = Image::open(pictures().join("alpha.png")).unwrap();
    let on_white =
        |x, y| expected(x, y).iter().map(|v| (v * 128.0 + 255.0 * 127.0) / 255.0).collect();
    assert!(worst(&image, on_white) <= 0.51);
    let black = DecodeOptions { background: [0; 3], ..Default::default() };
    let image = black.open(pictures().join("alpha.png")).unwrap();
    assert!(
        worst(&image, |x, y| expected(x, y).iter().map(|v| v * 128.0 / 255.0).collect()) <= 0.51
    );
    assert_eq!(Image::open(pictures().join("grey_alpha.png")).unwrap().channels(), 1);
}

#[test]
fn photos_are_turned_upright() {
    let stored = Image::open(pictures().join("rgb.jpg")).unwrap();
    let upright = [
        (3, stored.flip_horizontal().flip_vertical()),
        (6, stored.transpose().flip_horizontal()),
        (8, stored.transpose().flip_vertical()),
    ];
    for (o, expected) in upright {
        let path = pictures().join(format!("turned{o}.jpg"));
        assert_eq!(Image::open(&path).unwrap(), expected, "orientation {o}");
        let size = DecodeOptions::default().probe(&path).unwrap();
        assert_eq!((size.0, size.1), (expected.width(), expected.height()));
        let as_stored = DecodeOptions { upright: false, ..Default::default() };
        assert_eq!(as_stored.open(&path).unwrap(), stored);
    }
}

#[test]
fn masks_keep_the_numbers_of_a_palette() {
    let mask = Mask::open(pictures().join("mask.png")).unwrap();
    for y in 0..12 {
        for x in 0..16 {
            assert_eq!(usize::from(mask.pixels()[y * 16 + x]), x / 4 + y / 6 * 4);
        }
    }
}

fn files() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(pictures())
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(p).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn cut_files_are_errors_and_never_panics() {
    for (name, bytes) in files() {
        // Every cut of the head, and some of the rest.
        let cuts = (0..bytes.len()).filter(|n| *n < 64 || n % 7 == 0 || n + 8 > bytes.len());
        for n in cuts {
            let result = Image::decode(&bytes[..n]);
            let _ = Mask::decode(&bytes[..n]);
            // Formats with an end mark, and those that say how long they are, cannot lose half unnoticed.
            if n < bytes.len() / 2 && Format::of(&bytes) != Some(Format::Tiff) {
                assert!(result.is_err(), "{name} cut to {n} of {}", bytes.len());
            }
        }
        if matches!(Format::of(&bytes), Some(Format::Jpeg | Format::Png)) {
            let cut = &bytes[..bytes.len() - 2];
            assert!(Image::decode(cut).is_err(), "{name} without its last two bytes");
        }
    }
}

#[test]
fn changed_bytes_never_panic() {
    let options = DecodeOptions { max_pixels: 1 << 16, ..Default::default() };
    let mut state = 7u64;
    let mut random = |n: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for (name, bytes) in files() {
        for _ in 0..150 {
            let mut changed = bytes.clone();
            for _ in 0..1 + random(4) {
                let at = random(changed.len());
                changed[at] = match random(3) {
                    0 => changed[at] ^ (1 << random(8)),
                    1 => random(256) as u8,
                    _ => [0, 255][random(2)],
                };
            }
            if let Ok(image) = options.decode(&changed) {
                assert!(image.width() * image.height() <= 1 << 16, "{name}");
            }
        }
    }
}
