//! Points and boxes on a picture.

use super::{Homography, Spatial};
use crate::image::{CropBox, Filter, Padding};

/// Points on a picture, in pixels from its upper left corner. Counterpart: fastai's `TensorPoint`.
#[derive(Clone, Debug, PartialEq)]
pub struct Points {
    /// Width of the picture.
    pub width: usize,
    /// Height of the picture.
    pub height: usize,
    /// The points (x, y).
    pub points: Vec<[f32; 2]>,
}

/// Boxes on a picture with their classes. Counterpart: fastai's `LabeledBBox`.
#[derive(Clone, Debug, PartialEq)]
pub struct Boxes {
    /// Width of the picture.
    pub width: usize,
    /// Height of the picture.
    pub height: usize,
    /// (left, top, right, bottom) in pixels from the upper left corner.
    pub boxes: Vec<[f32; 4]>,
    /// Class of each box.
    pub labels: Vec<usize>,
}

fn dihedral_point([x, y]: [f32; 2], (w, h): (f32, f32), k: usize) -> [f32; 2] {
    let x = if [1, 3, 4, 7].contains(&k) { w - x } else { x };
    let y = if [2, 4, 5, 7].contains(&k) { h - y } else { y };
    if [3, 5, 6, 7].contains(&k) { [y, x] } else { [x, y] }
}

/// The places that a part of `from` shows, in the new picture.
fn resized(part: CropBox, width: usize, height: usize) -> impl Fn([f32; 2]) -> [f32; 2] {
    let (sx, sy) = (width as f64 / part.width, height as f64 / part.height);
    move |[x, y]| {
        [((f64::from(x) - part.left) * sx) as f32, ((f64::from(y) - part.top) * sy) as f32]
    }
}

impl Points {
    fn moved(mut self, width: usize, height: usize, f: impl Fn([f32; 2]) -> [f32; 2]) -> Points {
        self.points.iter_mut().for_each(|p| *p = f(*p));
        Points { width, height, ..self }
    }
}

impl Boxes {
    /// The smallest upright boxes around the moved corners, clipped to the new picture; boxes that are gone keep no room.
    fn moved(self, width: usize, height: usize, f: impl Fn([f32; 2]) -> [f32; 2]) -> Boxes {
        let (w, h) = (width as f32, height as f32);
        let mut out = Boxes { width, height, boxes: Vec::new(), labels: Vec::new() };
        for ([l, t, r, b], label) in self.boxes.into_iter().zip(self.labels) {
            let corners = [[l, t], [r, t], [l, b], [r, b]].map(&f);
            let low = |i: usize, n: f32| corners.iter().map(|c| c[i]).fold(n, f32::min).max(0.0);
            let high = |i: usize, n: f32| corners.iter().map(|c| c[i]).fold(0.0, f32::max).min(n);
            let moved = [low(0, w), low(1, h), high(0, w), high(1, h)];
            if moved[2] - moved[0] > 0.0 && moved[3] - moved[1] > 0.0 {
                out.boxes.push(moved);
                out.labels.push(label);
            }
        }
        out
    }
}

fn through(map: &Homography) -> impl Fn([f32; 2]) -> [f32; 2] + use<> {
    // The map goes from new places to old ones.
    let back = map.inverse().unwrap_or(Homography::IDENTITY);
    move |[x, y]| {
        let (x, y) = back.apply(f64::from(x), f64::from(y));
        [x as f32, y as f32]
    }
}

macro_rules! spatial {
    ($t:ty) => {
        impl Spatial for $t {
            fn size(&self) -> Option<(usize, usize)> {
                Some((self.width, self.height))
            }
            fn take_part(self, part: CropBox, width: usize, height: usize, _: Filter) -> Self {
                self.moved(width, height, resized(part, width, height))
            }
            fn window(self, left: i64, top: i64, width: usize, height: usize, _: Padding) -> Self {
                let (l, t) = (left as f32, top as f32);
                self.moved(width, height, |[x, y]| [x - l, y - t])
            }
            fn turn(self, k: usize) -> Self {
                let (w, h) = (self.width, self.height);
                let (width, height) = if [3, 5, 6, 7].contains(&k) { (h, w) } else { (w, h) };
                self.moved(width, height, |p| dihedral_point(p, (w as f32, h as f32), k))
            }
            fn map_places(self, map: &Homography, width: usize, height: usize, _: Padding) -> Self {
                self.moved(width, height, through(map))
            }
        }
    };
}

spatial!(Points);
spatial!(Boxes);
