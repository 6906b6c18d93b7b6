//! Random changes: what they keep, that fast and plain ways agree, and that all that lies on a picture moves with it.

use hardpan_engine::Tensor;
use hardpan_learn::data::Draw;
use hardpan_learn::data::block::{Block, Category, ItemTransform};
use hardpan_vision::augment::{AugTransforms, Drawn, Lighting, RandAugment, TrivialAugment};
use hardpan_vision::data::{BoxBlock, PointBlock};
use hardpan_vision::image::{Filter, Image, Mask, Padding};
use hardpan_vision::plane::crop::*;
use hardpan_vision::plane::{Boxes, Homography, Points, Spatial};
use proptest::prelude::*;

/// Smooth in both directions, so that half a pixel makes little difference.
fn smooth(w: usize, h: usize, channels: usize) -> Image {
    let mut pixels = Vec::new();
    for y in 0..h {
        for x in 0..w {
            for c in 0..channels {
                let v = (x as f32 / w as f32 * 4.0 + c as f32).sin()
                    + (y as f32 / h as f32 * 3.0).cos();
                pixels.push((127.0 + 60.0 * v) as u8);
            }
        }
    }
    Image::new(w, h, channels, pixels)
}

fn draws(n: usize) -> impl Iterator<Item = Draw> {
    (0..n).map(|i| Draw::new(11, 0, i))
}

#[test]
fn homographies_compose_invert_and_fit_points() {
    let a = Homography::affine([0.9, 0.2, 3.0], [-0.1, 1.1, -2.0]);
    let b = Homography([[1.0, 0.1, 0.0], [0.05, 0.9, 0.2], [0.01, -0.02, 1.0]]);
    let (x, y) = b.apply(0.3, 0.7);
    let (x, y) = a.apply(x, y);
    let (u, v) = a.after(&b).apply(0.3, 0.7);
    assert!((x - u).abs() < 1e-12 && (y - v).abs() < 1e-12);
    let (u, v) = a.after(&b).inverse().unwrap().apply(x, y);
    assert!((u - 0.3).abs() < 1e-9 && (v - 0.7).abs() < 1e-9);
    let from = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]];
    let to = [[0.1, 0.2], [1.3, -0.1], [0.0, 0.8], [0.9, 1.2]];
    let fitted = Homography::from_points(from, to).unwrap();
    for ([x, y], [u, v]) in from.into_iter().zip(to) {
        let (a, b) = fitted.apply(x, y);
        assert!((a - u).abs() < 1e-9 && (b - v).abs() < 1e-9);
    }
    assert!(Homography::from_points([[0.0, 0.0]; 4], to).is_none());
}

#[test]
fn warping_by_whole_pixels_is_cropping_and_turning() {
    let image = smooth(9, 7, 3);
    for padding in [Padding::Zeros, Padding::Border, Padding::Reflection] {
        let shift = Homography::scale_shift(1.0, 1.0, 2.0, -3.0);
        assert_eq!(image.warp(&shift, 9, 7, padding), image.crop_pad(2, -3, 9, 7, padding));
    }
    let mirror = Homography::affine([-1.0, 0.0, 9.0], [0.0, 1.0, 0.0]);
    assert_eq!(image.warp(&mirror, 9, 7, Padding::Zeros), image.flip_horizontal());
    assert_eq!(image.warp(&Homography::IDENTITY, 9, 7, Padding::Zeros), image);
    let mask = image.clone().with_channels(1);
    let mask = Mask::new(9, 7, mask.into_pixels());
    assert_eq!(mask.warp(&mirror, 9, 7, Padding::Zeros), mask.flip_horizontal());
}

#[test]
fn bytes_and_tensors_agree() {
    let side = 24;
    let images: Vec<Image> = (0..12).map(|i| smooth(side, side, 3).dihedral(i % 8)).collect();
    let settings = AugTransforms::default()
        .rotate(30.0)
        .saturation(0.3)
        .hue(0.1)
        .flip_vertical()
        .lighting(0.4);
    let drawn: Vec<Drawn> = draws(12).map(|mut d| settings.draw((side, side), &mut d)).collect();
    assert!(drawn.iter().any(|d| d.dihedral > 0) && drawn.iter().any(|d| d.light.hue != 0.0));
    let fast: Vec<f32> = images
        .iter()
        .zip(&drawn)
        .flat_map(|(i, d)| d.apply(i.clone()).to_tensor().to_vec::<f32>())
        .collect();
    let x: Vec<Tensor> = images.iter().map(|i| i.to_tensor().unsqueeze(0)).collect();
    let plain = Drawn::apply_batch(&Tensor::cat(&x, 0), &drawn).to_vec::<f32>();
    let worst = fast.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // A byte is rounded after moving, after the light, and after the hue; strong light multiplies what was rounded.
    assert!(worst < 6.0 / 255.0, "differs by {}", worst * 255.0);

    let masks: Vec<Mask> = images
        .iter()
        .map(|i| {
            Mask::new(
                side,
                side,
                i.clone().with_channels(1).pixels().iter().map(|p| p / 40).collect(),
            )
        })
        .collect();
    let fast: Vec<i64> = masks
        .iter()
        .zip(&drawn)
        .flat_map(|(m, d)| d.apply(m.clone()).to_tensor().to_vec::<i64>())
        .collect();
    let y: Vec<Tensor> = masks.iter().map(|m| m.to_tensor().unsqueeze(0)).collect();
    let plain = Drawn::apply_masks(&Tensor::cat(&y, 0), &drawn).to_vec::<i64>();
    let different = fast.iter().zip(&plain).filter(|(a, b)| a != b).count();
    // Ties between two pixels may fall either way.
    assert!(different * 500 < fast.len(), "{different} of {}", fast.len());
}

#[test]
fn light_follows_the_definition() {
    let image = Image::new(2, 1, 3, vec![10, 128, 250, 0, 255, 60]);
    let light = Lighting { brightness: 0.3, contrast: 1.2, ..Default::default() };
    let logit = |v: f64| {
        let v = v.clamp(1e-7, 1.0 - 1e-7);
        (v / (1.0 - v)).ln()
    };
    for (&p, &q) in image.pixels().iter().zip(light.apply(image.clone()).pixels()) {
        let x = (logit(f64::from(p) / 255.0) + 0.3) * 1.2;
        assert_eq!(q, (255.0 / (1.0 + (-x).exp())).round() as u8);
    }
    assert_eq!(Lighting::default().apply(image.clone()), image);
    // A third of the circle turns red to green and leaves grey.
    let red = Image::new(2, 1, 3, vec![200, 0, 0, 90, 90, 90]);
    let turned = Lighting { hue: 1.0 / 3.0, ..Default::default() }.apply(red);
    assert_eq!(turned.pixels(), [0, 200, 0, 90, 90, 90]);
}

/// A picture with one bright dot, a mask that marks it, a point and a box on it.
fn dotted(w: usize, h: usize, x: usize, y: usize) -> (Image, Mask, Points, Boxes) {
    let mut image = Image::filled(w, h, &[0, 0, 0]);
    let mut mask = Mask::new(w, h, vec![0; w * h]);
    for dy in 0..3 {
        for dx in 0..3 {
            let at = (y + dy) * w + x + dx;
            image.pixels_mut()[at * 3..at * 3 + 3].fill(255);
            mask.pixels_mut()[at] = 1;
        }
    }
    let (l, t) = (x as f32, y as f32);
    let points = Points { width: w, height: h, points: vec![[l + 1.5, t + 1.5]] };
    let boxes =
        Boxes { width: w, height: h, boxes: vec![[l, t, l + 3.0, t + 3.0]], labels: vec![2] };
    (image, mask, points, boxes)
}

fn centre(weights: impl Iterator<Item = f32>, w: usize) -> Option<(f32, f32)> {
    let (mut sx, mut sy, mut s) = (0.0, 0.0, 0.0);
    for (i, v) in weights.enumerate() {
        sx += v * ((i % w) as f32 + 0.5);
        sy += v * ((i / w) as f32 + 0.5);
        s += v;
    }
    (s > 0.0).then(|| (sx / s, sy / s))
}

#[test]
fn masks_points_and_boxes_follow_their_picture() {
    let settings = AugTransforms::default().rotate(25.0).lighting(0.0).padding(Padding::Zeros);
    type OfAll = dyn ItemTransform<(Image, Mask), (Points, Boxes)>;
    let transforms: Vec<Box<OfAll>> = vec![
        Box::new(settings),
        Box::new(Resize::new(40, 30)),
        Box::new(Resize::new(40, 30).method(ResizeMethod::Pad)),
        Box::new(Resize::new(31, 57).method(ResizeMethod::Squish)),
        Box::new(RandomResizedCrop::new(48, 48).min_scale(0.5)),
        Box::new(RandomCrop::new(50, 36).pad(4)),
        Box::new(CropPad::new(70, 40)),
        Box::new(RatioResize::new(90)),
        Box::new(Flip { p: 1.0 }),
        Box::new(Dihedral { p: 1.0 }),
    ];
    for tfm in &transforms {
        let mut seen = 0;
        for mut draw in draws(20) {
            let (image, mask, points, boxes) = dotted(64, 48, 30, 22);
            let ((image, mask), (points, boxes)) =
                tfm.apply((image, mask), (points, boxes), &mut draw).unwrap();
            let name = tfm.name();
            let size = image.size();
            assert!(mask.size() == size && points.size() == size && boxes.size() == size, "{name}");
            let w = image.width();
            let bright = image.pixels().chunks(3).map(|p| f32::from(p[0]));
            let (Some((x, y)), [[px, py]]) = (centre(bright, w), &points.points[..]) else {
                continue;
            };
            let inside = |v: f32, n: usize| v > 3.0 && v < n as f32 - 3.0;
            if !inside(*px, w) || !inside(*py, image.height()) {
                continue;
            }
            seen += 1;
            assert!(
                (x - px).abs() < 0.4 && (y - py).abs() < 0.4,
                "{name}: ({x}, {y}) and ({px}, {py})"
            );
            let (mx, my) = centre(mask.pixels().iter().map(|&p| f32::from(p)), w).unwrap();
            assert!((mx - px).abs() < 0.9 && (my - py).abs() < 0.9, "{name}: mask ({mx}, {my})");
            let [l, t, r, b] = boxes.boxes[0];
            assert!(((l + r) / 2.0 - px).abs() < 0.6 && ((t + b) / 2.0 - py).abs() < 0.6, "{name}");
            assert_eq!(boxes.labels, [2]);
        }
        assert!(seen >= 10, "{}: only {seen} dots stayed inside", tfm.name());
    }
}

#[test]
fn sizes_are_met_for_every_shape_of_picture() {
    let transforms: Vec<Box<dyn ItemTransform<Image, Category>>> = vec![
        Box::new(Resize::new(32, 24)),
        Box::new(Resize::new(32, 24).method(ResizeMethod::Pad)),
        Box::new(Resize::new(32, 24).method(ResizeMethod::Squish)),
        Box::new(RandomResizedCrop::new(32, 24)),
        Box::new(RandomCrop::new(32, 24)),
        Box::new(CropPad::new(32, 24)),
    ];
    for (w, h) in [(1, 1), (1, 300), (300, 1), (2, 3), (31, 25), (32, 24), (640, 480), (24, 32)] {
        for tfm in &transforms {
            for mut draw in draws(4).chain(draws(1).map(Draw::validation)) {
                let (out, label) =
                    tfm.apply(Image::filled(w, h, &[9]), Category(3), &mut draw).unwrap();
                assert_eq!(
                    (out.size(), label),
                    (Some((32, 24)), Category(3)),
                    "{} {w}x{h}",
                    tfm.name()
                );
            }
        }
    }
}

#[test]
fn validation_is_never_random() {
    let image = smooth(40, 30, 3);
    let transforms: Vec<Box<dyn ItemTransform<Image, Category>>> = vec![
        Box::new(Resize::new(20, 20)),
        Box::new(RandomResizedCrop::new(20, 20)),
        Box::new(RandomCrop::new(20, 20).pad(3)),
        Box::new(AugTransforms::default().erase(1.0)),
        Box::new(TrivialAugment::default()),
        Box::new(RandAugment::default()),
        Box::new(Flip { p: 1.0 }),
    ];
    for tfm in &transforms {
        let outs: Vec<Image> = draws(5)
            .map(|d| tfm.apply(image.clone(), Category(0), &mut d.validation()).unwrap().0)
            .collect();
        assert!(outs.windows(2).all(|w| w[0] == w[1]), "{}", tfm.name());
        // In training it is, and the same numbers give the same picture.
        let again = |i| tfm.apply(image.clone(), Category(0), &mut Draw::new(11, 0, i)).unwrap().0;
        assert!((0..20).any(|i| again(i) != outs[0]), "{}", tfm.name());
        assert!((0..20).all(|i| again(i) == again(i)), "{}", tfm.name());
    }
}

#[test]
fn erasing_makes_noise_in_a_rectangle() {
    let plain = Image::filled(40, 40, &[128, 128, 128]);
    let settings = AugTransforms::none().erase(1.0).erase_area(0.2, 0.2, 1);
    let drawn = settings.draw((40, 40), &mut Draw::new(1, 0, 0));
    let e = drawn.erased[0];
    let changed = drawn.apply(plain.clone());
    let differ = |x: usize, y: usize| changed.pixel(x, y) != plain.pixel(x, y);
    let inside = |x: usize, y: usize| {
        (e.left..e.left + e.width).contains(&x) && (e.top..e.top + e.height).contains(&y)
    };
    let mut count = 0;
    for y in 0..40 {
        for x in 0..40 {
            assert!(!differ(x, y) || inside(x, y));
            count += usize::from(differ(x, y));
        }
    }
    assert!(count > 200, "about a fifth of 1600: {count}");
}

#[test]
fn trivial_augment_does_many_things_to_any_picture() {
    let tfm = TrivialAugment::default();
    let image = smooth(30, 20, 3);
    let outs: std::collections::HashSet<Vec<u8>> = draws(100)
        .map(|mut d| tfm.apply(image.clone(), Category(0), &mut d).unwrap().0.into_pixels())
        .collect();
    // Three of its fourteen changes have no strength, and weak ones change no byte.
    assert!(outs.len() > 45, "{}", outs.len());
    for (w, h, c) in [(1, 1, 3), (2, 1, 1), (5, 5, 1)] {
        for mut d in draws(60) {
            let (out, ()) = tfm.apply(Image::filled(w, h, &vec![77; c]), (), &mut d).unwrap();
            assert_eq!(out.size(), Some((w, h)));
        }
    }
}

#[test]
fn rand_augment_is_as_strong_as_said() {
    let image = smooth(30, 20, 3);
    // How far the bytes are from the old ones, on average.
    let distance = |tfm: &RandAugment| {
        let of = |mut d: Draw| {
            let (out, _) = tfm.apply(image.clone(), Category(0), &mut d).unwrap();
            let pairs = out.pixels().iter().zip(image.pixels());
            pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / 1800.0
        };
        draws(200).map(of).sum::<f64>() / 200.0
    };
    let [weak, usual, strong] = [1, 9, 28].map(|m| distance(&RandAugment::new(2, m)));
    assert!(weak < usual && usual < strong, "{weak} {usual} {strong}");
    assert!(distance(&RandAugment::new(4, 9)) > usual && distance(&RandAugment::new(0, 9)) == 0.0);
    // A mask goes where its picture goes.
    let tfm = RandAugment::new(2, 20);
    let left = |x: usize| u8::from(x < 15);
    let halves = Image::new(30, 20, 1, (0..600).map(|i| left(i % 30) * 255).collect());
    let mask = Mask::new(30, 20, (0..600).map(|i| left(i % 30)).collect());
    let moved = draws(60)
        .map(|mut d| tfm.apply(halves.clone(), mask.clone(), &mut d).unwrap().1)
        .filter(|m| *m != mask)
        .count();
    assert!(moved > 20, "{moved} of 60 masks moved");
    for (w, h, c) in [(1, 1, 3), (2, 1, 1), (5, 5, 1)] {
        for mut d in draws(60) {
            let (out, ()) = tfm.apply(Image::filled(w, h, &vec![77; c]), (), &mut d).unwrap();
            assert_eq!(out.size(), Some((w, h)));
        }
    }
}

#[test]
#[should_panic(expected = "a magnitude of 31; at most 30")]
fn rand_augment_has_a_strongest_magnitude() {
    let _ = RandAugment::new(2, 31);
}

#[test]
fn the_middle_is_cropped_as_pillow_does() {
    // 8x4 to 2x2: the middle 4x4, each new pixel over two old ones.
    let image = Image::new(8, 4, 1, (0..32).map(|i| (i % 8 * 10) as u8).collect());
    let resize: &dyn ItemTransform<Image, ()> =
        &Resize { filter: Filter::Bilinear, ..Resize::new(2, 2) };
    let (out, ()) = resize.apply(image, (), &mut Draw::new(0, 0, 0).validation()).unwrap();
    // Columns 2 to 5 are 20, 30, 40, 50; the triangle filter over two weighs 3 : 3 : 1 next to the edge.
    let expected = [(20.0 * 3.0 + 30.0 * 3.0 + 40.0) / 7.0, (30.0 + 40.0 * 3.0 + 50.0 * 3.0) / 7.0];
    for (i, p) in out.pixels().iter().enumerate() {
        assert!((f64::from(*p) - expected[i % 2]).abs() <= 0.51, "{:?} {expected:?}", out.pixels());
    }
}

/// What PyTorch gives with fastai 2.8's functions (`find_coeffs`, `apply_perspective`, its matrices) for the same numbers: mirrored, turned by 20 degrees, zoomed by 1.2 at (0.3, 0.6), warped by
/// (0.15, -0.1), reflected at the edges; then brightness 0.6, contrast 1.3, saturation 0.8, hue 0.95 of the unmoved picture.
#[test]
fn numbers_are_those_of_fastai() {
    #[rustfmt::skip]
    const PLACE: [f32; 48] = [0.52227, 0.51902, 0.52726, 0.2907, 0.3078, 0.38207, 0.65656, 0.45558, 0.50793, 0.52199, 0.06131, 0.48041, 0.43497, 0.52238, 0.53085, 0.85433, 0.70014, 0.64218, 0.40357, 0.44669, 0.5138, 0.75943, 0.69658, 0.58452, 0.39718, 0.19449, 0.57975, 0.59817, 0.64764, 0.49295, 0.34483, 0.38276, 0.51339, 0.54984, 0.55405, 0.4014, 0.25523, 0.31131, 0.32641, 0.49564, 0.37081, 0.53756, 0.2203, 0.20487, 0.35223, 0.42344, 0.6421, 0.46804];
    #[rustfmt::skip]
    const LIGHT: [f32; 24] = [0.0, 0.39054, 0.8419, 0.17722, 0.5426, 0.91733, 0.17047, 0.66952, 0.79777, 0.19846, 0.70083, 0.96486, 0.34739, 0.80294, 0.01498, 0.48868, 0.59805, 0.00934, 0.5245, 0.86565, 0.13345, 0.65522, 0.83331, 0.27804];
    #[rustfmt::skip]
    const HUE: [f32; 24] = [0.0, 0.39054, 0.8419, 0.17722, 0.5426, 0.91733, 0.01498, 0.66952, 0.79777, 0.0841, 0.60562, 0.96486, 0.22465, 0.72431, 0.10499, 0.37123, 0.35872, 0.00934, 0.5245, 0.62936, 0.13345, 0.65522, 0.83331, 0.27804];
    let (w, h) = (8, 6);
    let value = |c: usize, y: usize, x: usize| ((x * 37 + y * 59 + c * 83) % 101) as f32 / 101.0;
    let values: Vec<f32> = (0..3 * h * w).map(|i| value(i / (h * w), i / w % h, i % w)).collect();
    let x = Tensor::from_slice(&values, [1, 3, h, w]);
    let close = |got: Vec<f32>, expected: &[f32], what: &str| {
        let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-4 && got.len() == expected.len(), "{what}: off by {worst}");
    };
    let mut drawn = AugTransforms::none().draw((w, h), &mut Draw::new(0, 0, 0));
    let mirror = Homography::scale_shift(-1.0, 1.0, 0.0, 0.0);
    drawn.map = Homography::perspective(0.15, -0.1)
        .after(&mirror)
        .after(&Homography::rotation(20.0, (w, h)))
        .after(&Homography::zoom(1.2, 0.3, 0.6));
    let moved = Drawn::apply_batch(&x, &[drawn.clone()]);
    close(moved.narrow(1, 0, 1).to_vec(), &PLACE, "place");

    drawn.map = Homography::IDENTITY;
    drawn.light =
        Lighting { brightness: (0.6f64 / 0.4).ln(), contrast: 1.3, saturation: 0.8, hue: 0.0 };
    let row = |drawn: &Drawn| {
        Drawn::apply_batch(&x, std::slice::from_ref(drawn)).narrow(2, 0, 1).to_vec::<f32>()
    };
    // The first pixel has a channel of exactly 0, whose logit is a matter of clamping: fastai's numbers here are of changes made one by
    // one, each clamped anew; here they are one.
    let but_first = |v: &[f32]| -> Vec<f32> {
        v.iter().enumerate().filter(|(i, _)| i % 8 != 0).map(|(_, v)| *v).collect()
    };
    close(but_first(&row(&drawn)), &but_first(&LIGHT), "light");
    drawn.light.hue = 0.95;
    close(but_first(&row(&drawn)), &but_first(&HUE), "hue");
}

/// Padded to a square it would be 12 GB.
#[test]
fn a_thin_line_is_padded_in_little_memory() {
    let line = Image::new(65_000, 1, 3, vec![200; 65_000 * 3]);
    let resize = Resize { padding: Padding::Zeros, ..Resize::new(24, 24) };
    let resize = resize.method(ResizeMethod::Pad);
    let (out, _) = resize.apply(line, Category(0), &mut Draw::new(1, 0, 0)).unwrap();
    assert_eq!((out.width(), out.height()), (24, 24));
    let brightest = out.pixels().iter().max();
    assert!(brightest < Some(&20), "next to nothing is left of it: {brightest:?}");
}

/// Draws of all kinds for square pictures of `side` pixels.
fn square_draws(side: usize, n: usize) -> Vec<Drawn> {
    let settings = AugTransforms::default()
        .rotate(40.0)
        .zoom(0.8, 1.4)
        .flip_vertical()
        .flip(0.8)
        .lighting(0.0)
        .padding(Padding::Zeros);
    draws(n).map(|mut d| settings.draw((side, side), &mut d)).collect()
}

/// A dot drawn into a picture, and a point and a box on it, in a batch of tensors: they go to the same place.
#[test]
fn points_and_boxes_of_a_batch_follow_its_pictures() {
    let (side, n) = (48, 40);
    let drawn = square_draws(side, n);
    let all: Vec<_> =
        (0..n).map(|i| dotted(side, side, 12 + i * 7 % 22, 12 + i * 5 % 22)).collect();
    let x: Vec<Tensor> = all.iter().map(|a| a.0.to_tensor().unsqueeze(0)).collect();
    let moved = Drawn::apply_batch(&Tensor::cat(&x, 0), &drawn);
    let pictures = moved.narrow(1, 0, 1).to_vec::<f32>();
    let points = PointBlock.collate(all.iter().map(|a| a.2.clone()).collect()).unwrap();
    let points = Drawn::apply_points(&points, &drawn, (side, side)).to_vec::<f32>();
    let boxes = BoxBlock::new().collate(all.iter().map(|a| a.3.clone()).collect()).unwrap();
    let boxes = Drawn::apply_boxes(&boxes, &drawn, (side, side)).boxes.to_vec::<f32>();
    let pixels = |v: f32| (v + 1.0) * side as f32 / 2.0;
    let mut seen = 0;
    for i in 0..n {
        let (px, py) = (pixels(points[2 * i]), pixels(points[2 * i + 1]));
        let inside = |v: f32| v > 3.0 && v < side as f32 - 3.0;
        if !inside(px) || !inside(py) {
            continue;
        }
        seen += 1;
        let picture = pictures[i * side * side..][..side * side].iter().copied();
        let (x, y) = centre(picture, side).unwrap();
        let message = format!("{i}: dot ({x}, {y}), point ({px}, {py}) by {:?}", drawn[i]);
        assert!((x - px).abs() < 0.15 && (y - py).abs() < 0.15, "{message}");
        let b: Vec<f32> = boxes[4 * i..][..4].iter().map(|&v| pixels(v)).collect();
        let middle = ((b[0] + b[2]) / 2.0, (b[1] + b[3]) / 2.0);
        assert!((middle.0 - px).abs() < 0.6 && (middle.1 - py).abs() < 0.6, "{message}: {b:?}");
    }
    assert!(seen >= 25, "only {seen} dots stayed inside");
}

proptest! {
    /// Points and boxes go where those of items go, to rounding; boxes that are gone are background.
    #[test]
    fn batches_and_items_move_points_and_boxes_alike(
        width in 5usize..70, height in 5usize..70, seed in 0u64..1000,
        places in prop::collection::vec((0.0f32..1.0, 0.0f32..1.0, 0.02f32..0.4), 1..4),
    ) {
        let size = (width, height);
        let settings = AugTransforms::default().rotate(60.0).zoom(0.7, 2.5).flip(0.6);
        let settings = if width == height { settings.flip_vertical() } else { settings };
        let drawn: Vec<Drawn> =
            (0..3).map(|i| settings.draw(size, &mut Draw::new(seed, 0, i))).collect();
        let (w, h) = (width as f32, height as f32);
        let points = Points { width, height, points: places.iter().map(|p| [p.0 * w, p.1 * h]).collect() };
        let corners = |p: &(f32, f32, f32)| {
            let (l, t) = (p.0 * 0.9 * w, p.1 * 0.9 * h);
            [l, t, (l + p.2 * w).min(w), (t + p.2 * h).min(h)]
        };
        let boxes = Boxes {
            width,
            height,
            boxes: places.iter().map(corners).collect(),
            labels: (1..=places.len()).collect(),
        };
        let batch = PointBlock.collate(vec![points.clone(); 3]).unwrap();
        let batch = Drawn::apply_points(&batch, &drawn, size);
        let items = drawn.iter().map(|d| d.apply(points.clone())).collect();
        let items = PointBlock.collate(items).unwrap();
        let pairs = batch.to_vec::<f32>().into_iter().zip(items.to_vec::<f32>());
        for (a, b) in pairs {
            prop_assert!((a - b).abs() < 1e-3 * (1.0 + b.abs()), "{a} and {b}");
        }

        let batch = BoxBlock::new().collate(vec![boxes.clone(); 3]).unwrap();
        let batch = Drawn::apply_boxes(&batch, &drawn, size);
        let found = BoxBlock::new().decode(&batch);
        for (d, found) in drawn.iter().zip(found) {
            let item = d.apply(boxes.clone());
            let by_label = |b: &Boxes, scale: (f32, f32)| {
                let scaled = |(b, l): (&[f32; 4], &usize)| {
                    (*l, [b[0] * scale.0, b[1] * scale.1, b[2] * scale.0, b[3] * scale.1])
                };
                b.boxes.iter().zip(&b.labels).map(scaled).collect::<std::collections::BTreeMap<_, _>>()
            };
            // Those of the batch are on a picture of 2x2.
            let (found, item) = (by_label(&found, (w / 2.0, h / 2.0)), by_label(&item, (1.0, 1.0)));
            let thin = |b: &[f32; 4]| b[2] - b[0] < 0.05 || b[3] - b[1] < 0.05;
            for label in 1..=places.len() {
                match (found.get(&label), item.get(&label)) {
                    (Some(a), Some(b)) => {
                        let far = a.iter().zip(b).any(|(a, b)| (a - b).abs() > 0.05);
                        prop_assert!(!far, "{label}: {a:?} and {b:?}");
                    }
                    // Rounding decides about slivers.
                    (a, b) => prop_assert!(a.or(b).is_none_or(thin), "{label}: {a:?} and {b:?}"),
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "apply_points: expected [N, points, 2]")]
fn points_have_two_coordinates() {
    let _ = Drawn::apply_points(&Tensor::zeros([1, 3]), &square_draws(8, 1), (8, 8));
}
