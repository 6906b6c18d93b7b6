//! Reading, changing and writing pictures.

use hardpan_vision::image::{CropBox, DecodeOptions, Filter, Image, ImageError, Mask, Padding};

/// A smooth picture with an edge in it, the same on every machine.
fn picture(w: usize, h: usize, channels: usize) -> Image {
    let mut pixels = Vec::new();
    for y in 0..h {
        for x in 0..w {
            for c in 0..channels {
                let edge = if x > w / 2 { 90 } else { 0 };
                pixels.push(((x * 3 + y * 5 + c * 40) % 120 + edge) as u8);
            }
        }
    }
    Image::new(w, h, channels, pixels)
}

#[test]
fn png_round_trip_is_exact() {
    for (w, h, c) in [(1, 1, 1), (7, 5, 3), (33, 2, 1), (64, 48, 3)] {
        let image = picture(w, h, c);
        assert_eq!(Image::decode(&image.encode_png()).unwrap(), image);
    }
}

#[test]
fn turning_and_mirroring() {
    let image = Image::new(3, 2, 1, vec![1, 2, 3, 4, 5, 6]);
    assert_eq!(image.flip_horizontal().pixels(), [3, 2, 1, 6, 5, 4]);
    assert_eq!(image.flip_vertical().pixels(), [4, 5, 6, 1, 2, 3]);
    assert_eq!(image.transpose().pixels(), [1, 4, 2, 5, 3, 6]);
    let all: std::collections::HashSet<Vec<u8>> =
        (0..8).map(|k| image.dihedral(k).into_pixels()).collect();
    assert_eq!(all.len(), 8, "eight different pictures");
    let colour = picture(4, 3, 3);
    assert_eq!(colour.flip_horizontal().pixel(0, 1), colour.pixel(3, 1));
    assert_eq!(colour.transpose().pixel(2, 1), colour.pixel(1, 2));
}

#[test]
fn a_window_may_reach_beyond_the_picture() {
    let image = Image::new(3, 1, 1, vec![10, 20, 30]);
    let see = |left, width, padding| image.crop_pad(left, 0, width, 1, padding).into_pixels();
    assert_eq!(see(1, 2, Padding::Zeros), [20, 30]);
    assert_eq!(see(-2, 7, Padding::Zeros), [0, 0, 10, 20, 30, 0, 0]);
    assert_eq!(see(-2, 7, Padding::Border), [10, 10, 10, 20, 30, 30, 30]);
    assert_eq!(see(-4, 11, Padding::Reflection), [10, 20, 30, 20, 10, 20, 30, 20, 10, 20, 30]);
    assert_eq!(see(5, 2, Padding::Border), [30, 30]);
    assert_eq!(see(-5, 2, Padding::Zeros), [0, 0]);
    assert_eq!(see(-5, 2, Padding::Reflection), [20, 10]);
}

#[test]
fn every_window_agrees_with_its_definition() {
    let image = picture(5, 4, 3);
    for padding in [Padding::Zeros, Padding::Border, Padding::Reflection] {
        for (left, top) in [(-9, -7), (-3, 2), (0, 0), (2, -1), (4, 3), (6, 9)] {
            let out = image.crop_pad(left, top, 7, 6, padding);
            for y in 0..6 {
                for x in 0..7 {
                    let reflect = |i: i64, n: i64| {
                        let i = i.rem_euclid(2 * (n - 1));
                        i.min(2 * (n - 1) - i)
                    };
                    let (sx, sy) = (left + x as i64, top + y as i64);
                    let inside = (0..5).contains(&sx) && (0..4).contains(&sy);
                    let expected: &[u8] = match padding {
                        Padding::Zeros if !inside => &[0, 0, 0],
                        Padding::Reflection => {
                            image.pixel(reflect(sx, 5) as usize, reflect(sy, 4) as usize)
                        }
                        _ => image.pixel(sx.clamp(0, 4) as usize, sy.clamp(0, 3) as usize),
                    };
                    assert_eq!(out.pixel(x, y), expected, "{padding:?} ({left}, {top}) at {x} {y}");
                }
            }
        }
    }
}

#[test]
fn resizing_keeps_a_plain_colour_and_the_mean() {
    let plain = Image::filled(37, 23, &[200, 100, 50]);
    for filter in [Filter::Nearest, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
        assert_eq!(plain.resize(11, 19, filter), Image::filled(11, 19, &[200, 100, 50]));
    }
    // A checkerboard of single pixels becomes grey, not black and white: every old pixel counts.
    let board =
        Image::new(64, 64, 1, (0..64 * 64).map(|i| ((i + i / 64) % 2 * 255) as u8).collect());
    let small = board.resize(8, 8, Filter::Bilinear);
    assert!(small.pixels().iter().all(|&p| (118..=138).contains(&p)), "{:?}", small.pixels());
    // A part: only what is inside counts.
    let halves = Image::new(4, 1, 1, vec![0, 0, 255, 255]);
    let right = CropBox { left: 2.0, top: 0.0, width: 2.0, height: 1.0 };
    assert_eq!(halves.resize_part(right, 5, 3, Filter::Bilinear), Image::filled(5, 3, &[255]));
}

#[test]
fn a_mask_keeps_its_classes() {
    let mask = Mask::new(4, 2, vec![0, 1, 11, 3, 4, 5, 6, 7]);
    assert_eq!(mask.resize(8, 4).resize(4, 2), mask);
    assert_eq!(mask.to_tensor().to_vec::<i64>(), [0, 1, 11, 3, 4, 5, 6, 7]);
    assert_eq!(Mask::decode(&mask.to_image().encode_png()).unwrap(), mask);
}

#[test]
fn tensors_and_back() {
    let image = picture(6, 5, 3);
    let x = image.to_tensor();
    assert_eq!(x.shape(), [3, 5, 6]);
    let at = |c: usize, y: usize, x: usize| (c * 5 + y) * 6 + x;
    assert_eq!(x.to_vec::<f32>()[at(2, 3, 4)], f32::from(image.pixel(4, 3)[2]) / 255.0);
    assert_eq!(Image::from_tensor(&x), image);
}

#[test]
fn foreign_and_broken_files_are_errors_that_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let png = picture(20, 20, 3).encode_png();
    let cut = write("cut.jpg", &png[..png.len() / 2]);
    let text = write("text.png", b"<html>not found</html>");
    let empty = write("empty.jpeg", b"");
    for (path, word) in [(&cut, "damaged PNG"), (&text, "web page"), (&empty, "empty")] {
        let message = Image::open(path).unwrap_err().to_string();
        assert!(message.contains(path.to_str().unwrap()) && message.contains(word), "{message}");
    }
    let missing = Image::open(dir.path().join("none.png")).unwrap_err();
    assert!(matches!(missing, ImageError::Io { .. }), "{missing}");
    let options = DecodeOptions { max_pixels: 399, ..Default::default() };
    assert!(matches!(options.decode(&png), Err(ImageError::TooLarge { width: 20, .. })));
}
