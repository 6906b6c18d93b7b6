//! The fourteen changes that [`TrivialAugment`](super::TrivialAugment) and [`RandAugment`](super::RandAugment) draw from, as
//! Pillow makes them.

use crate::image::{Image, Padding};
use crate::plane::{Homography, Spatial};
use hardpan_learn::data::Draw;

/// How far the strongest changes of [`TrivialAugment`](super::TrivialAugment) or [`RandAugment`](super::RandAugment) go.
pub(super) struct Reach {
    /// Pixels moved aside for a pixel up.
    pub shear: f64,
    /// Pixels to the side, and up or down.
    pub shift: (f64, f64),
    /// Degrees.
    pub turn: f64,
    /// Brightness, saturation, contrast, sharpness: the distance from 1.
    pub light: f64,
    /// Bits taken away.
    pub bits: f64,
}

/// Number of kinds of changes.
pub(super) const KINDS: usize = 14;

/// What was drawn.
pub(super) enum Change {
    Nothing,
    /// From new places to old ones, in pixels.
    Place(Homography),
    Brightness(f32),
    Colour(f32),
    Contrast(f32),
    Sharpness(f32),
    Posterize(u8),
    Solarize(u8),
    AutoContrast,
    Equalize,
}

impl Change {
    /// One of the [`KINDS`] of changes for a picture of this size; `level` from 0 to 1 is its strength, its sign is drawn.
    pub fn draw(
        kind: usize,
        level: f64,
        reach: &Reach,
        (w, h): (usize, usize),
        draw: &mut Draw,
    ) -> Change {
        let signed =
            |draw: &mut Draw, most: f64| level * most * if draw.chance(0.5) { -1.0 } else { 1.0 };
        let (cx, cy) = (w as f64 / 2.0, h as f64 / 2.0);
        let about_centre = |m: Homography| {
            let there = Homography::scale_shift(1.0, 1.0, -cx, -cy);
            Homography::scale_shift(1.0, 1.0, cx, cy).after(&m).after(&there)
        };
        match kind {
            0 => Change::Nothing,
            1 => Change::Place(about_centre(Homography::affine(
                [1.0, signed(draw, reach.shear), 0.0],
                [0.0, 1.0, 0.0],
            ))),
            2 => Change::Place(about_centre(Homography::affine(
                [1.0, 0.0, 0.0],
                [signed(draw, reach.shear), 1.0, 0.0],
            ))),
            3 => Change::Place(Homography::scale_shift(1.0, 1.0, signed(draw, reach.shift.0), 0.0)),
            4 => Change::Place(Homography::scale_shift(1.0, 1.0, 0.0, signed(draw, reach.shift.1))),
            5 => {
                let (sin, cos) = signed(draw, reach.turn).to_radians().sin_cos();
                Change::Place(about_centre(Homography::affine([cos, sin, 0.0], [-sin, cos, 0.0])))
            }
            6 => Change::Brightness(1.0 + signed(draw, reach.light) as f32),
            7 => Change::Colour(1.0 + signed(draw, reach.light) as f32),
            8 => Change::Contrast(1.0 + signed(draw, reach.light) as f32),
            9 => Change::Sharpness(1.0 + signed(draw, reach.light) as f32),
            10 => Change::Posterize((8.0 - level * reach.bits).round() as u8),
            11 => Change::Solarize((255.0 * (1.0 - level)).round() as u8),
            12 => Change::AutoContrast,
            _ => Change::Equalize,
        }
    }

    /// Makes the change; what is seen beyond the edges is `padding`.
    pub fn apply<X: Spatial, Y: Spatial>(
        &self,
        x: X,
        y: Y,
        (w, h): (usize, usize),
        padding: Padding,
    ) -> (X, Y) {
        if let Change::Place(map) = self {
            return (x.map_places(map, w, h, padding), y.map_places(map, w, h, padding));
        }
        let mut f = |image| recolour(image, self);
        (x.recolour(&mut f), y.recolour(&mut f))
    }
}

fn blend(from: f32, to: u8, share: f32) -> u8 {
    (from + (f32::from(to) - from) * share).round().clamp(0.0, 255.0) as u8
}

/// Looks each byte up in a table of its channel.
fn look_up(mut image: Image, tables: &[[u8; 256]]) -> Image {
    let c = image.channels();
    for (i, p) in image.pixels_mut().iter_mut().enumerate() {
        *p = tables[i % c][*p as usize];
    }
    image
}

fn histograms(image: &Image) -> Vec<[usize; 256]> {
    let c = image.channels();
    let mut out = vec![[0usize; 256]; c];
    for (i, &p) in image.pixels().iter().enumerate() {
        out[i % c][p as usize] += 1;
    }
    out
}

fn table(f: impl Fn(u8) -> u8) -> [u8; 256] {
    std::array::from_fn(|v| f(v as u8))
}

fn recolour(image: Image, change: &Change) -> Image {
    let c = image.channels();
    let same = |t: [u8; 256]| vec![t; c];
    match change {
        Change::Nothing | Change::Place(_) => image,
        Change::Brightness(s) => look_up(image, &same(table(|v| blend(0.0, v, *s)))),
        Change::Contrast(s) => {
            let grey = image.clone().with_channels(1);
            let sum: u64 = grey.pixels().iter().map(|&p| u64::from(p)).sum();
            let mean = sum as f32 / grey.pixels().len() as f32;
            look_up(image, &same(table(|v| blend(mean, v, *s))))
        }
        Change::Colour(s) => {
            let grey = image.clone().with_channels(1).into_pixels();
            let mut image = image;
            for (p, g) in image.pixels_mut().chunks_mut(c).zip(grey) {
                p.iter_mut().for_each(|v| *v = blend(f32::from(g), *v, *s));
            }
            image
        }
        Change::Sharpness(s) => sharpen(image, *s),
        Change::Posterize(bits) => {
            let mask = !((1u16 << (8 - bits.min(&8))) - 1) as u8;
            look_up(image, &same(table(|v| v & mask)))
        }
        Change::Solarize(from) => {
            look_up(image, &same(table(|v| if v >= *from { 255 - v } else { v })))
        }
        Change::AutoContrast => {
            let stretch = |h: &[usize; 256]| {
                let low = h.iter().position(|&n| n > 0).unwrap_or(0) as f32;
                let high = h.iter().rposition(|&n| n > 0).unwrap_or(255) as f32;
                table(|v| match high > low {
                    true => ((f32::from(v) - low) * 255.0 / (high - low)).clamp(0.0, 255.0) as u8,
                    false => v,
                })
            };
            let tables: Vec<_> = histograms(&image).iter().map(stretch).collect();
            look_up(image, &tables)
        }
        Change::Equalize => {
            let tables: Vec<_> = histograms(&image).iter().map(equalized).collect();
            look_up(image, &tables)
        }
    }
}

/// Pillow's `ImageOps.equalize` for one channel.
fn equalized(h: &[usize; 256]) -> [u8; 256] {
    let total: usize = h.iter().sum();
    let last = h.iter().rposition(|&n| n > 0).map_or(0, |i| h[i]);
    let step = (total - last) / 255;
    if step == 0 {
        return table(|v| v);
    }
    let mut sum = step / 2;
    let mut out = [0u8; 256];
    for (v, n) in out.iter_mut().zip(h) {
        *v = (sum / step).min(255) as u8;
        sum += n;
    }
    out
}

/// Away from (above 1) or towards a smoothed picture; edges stay. Counterpart: Pillow's `ImageEnhance.Sharpness`.
fn sharpen(image: Image, share: f32) -> Image {
    let (w, h, c) = (image.width(), image.height(), image.channels());
    let old = image.clone();
    let mut image = image;
    let at = |x: usize, y: usize, k: usize| f32::from(old.pixels()[(y * w + x) * c + k]);
    for y in 1..h.saturating_sub(1) {
        for x in 1..w.saturating_sub(1) {
            for k in 0..c {
                let around: f32 = (y - 1..=y + 1)
                    .flat_map(|y| (x - 1..=x + 1).map(move |x| (x, y)))
                    .map(|(x, y)| at(x, y, k))
                    .sum();
                let smooth = (around + 4.0 * at(x, y, k)) / 13.0;
                image.pixels_mut()[(y * w + x) * c + k] =
                    blend(smooth.round(), at(x, y, k) as u8, share);
            }
        }
    }
    image
}
