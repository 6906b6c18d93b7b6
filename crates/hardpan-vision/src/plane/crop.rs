//! Item transforms that bring pictures to a size: [`Resize`] (crop, pad or squish), [`RandomResizedCrop`], [`RandomCrop`],
//! [`CropPad`], [`RatioResize`]; and [`Flip`] and [`Dihedral`] for items. Names and defaults are fastai's.
//!
//! Each works on whatever is [`Spatial`], input and target alike, with the same random numbers for both.

use super::Spatial;
use crate::image::{CropBox, Filter, Padding};
use hardpan_learn::data::Draw;
use hardpan_learn::data::block::{BoxError, ItemTransform};
use serde::{Deserialize, Serialize};

/// Width and height.
pub type Size = (usize, usize);

/// How a picture of other proportions is brought to a size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeMethod {
    /// The largest part of the right proportions: in the middle for validation, anywhere in training.
    #[default]
    Crop,
    /// All of it, with something beside it.
    Pad,
    /// All of it, stretched.
    Squish,
}

/// The size of the picture of an item.
pub(crate) fn size_of<X: Spatial, Y: Spatial>(x: &X, y: &Y) -> Result<Size, BoxError> {
    match (x.size(), y.size()) {
        // One pixel stands for a mask that is not known.
        (Some(a), Some(b)) if a != b && b != (1, 1) => Err(format!(
            "the picture has {}x{} pixels but its target lies on {}x{}",
            a.0, a.1, b.0, b.1
        )
        .into()),
        (Some(size), _) | (None, Some(size)) => Ok(size),
        (None, None) => Err("there is no picture in the item".into()),
    }
}

/// All of an item's picture, in another size.
fn resize_all<S: Spatial>(item: S, width: usize, height: usize, filter: Filter) -> S {
    match item.size() {
        Some((w, h)) => item.take_part(CropBox::whole(w, h), width, height, filter),
        None => item,
    }
}

fn always<T>(_: &T) -> bool {
    true
}

fn never<T>(_: &T) -> bool {
    false
}

macro_rules! item_transform {
    ($t:ty, random: $random:expr, |$s:ident, $x:ident, $y:ident, $draw:ident| $body:expr) => {
        impl<X: Spatial, Y: Spatial> ItemTransform<X, Y> for $t {
            fn name(&self) -> String {
                format!("{self:?}")
            }
            fn is_random(&self) -> bool {
                $random(self)
            }
            fn apply(&self, $x: X, $y: Y, $draw: &mut Draw) -> Result<(X, Y), BoxError> {
                let $s = self;
                $body
            }
        }
    };
}

/// Resizes to one size. Counterpart: fastai's `Resize`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resize {
    /// Width and height.
    pub size: Size,
    /// What to do with other proportions; default: crop.
    pub method: ResizeMethod,
    /// What is beside a padded picture; default: its reflection.
    pub padding: Padding,
    /// Default: bilinear, with antialiasing.
    pub filter: Filter,
}

/// Places that a picture may have with its padding before it is made smaller; more are made fewer first.
const LARGEST_PADDED: f64 = (1u64 << 26) as f64;

impl Resize {
    /// To this width and height, by cropping.
    pub fn new(width: usize, height: usize) -> Resize {
        Resize {
            size: (width, height),
            method: ResizeMethod::Crop,
            padding: Padding::Reflection,
            filter: Filter::Bilinear,
        }
    }

    /// By another method.
    #[must_use]
    pub fn method(self, method: ResizeMethod) -> Resize {
        Resize { method, ..self }
    }

    /// Resizes with the part chosen by (x, y) from 0 to 1: 0.5 is the middle.
    pub(crate) fn at<S: Spatial>(&self, item: S, at: (f64, f64)) -> S {
        let Some((w, h)) = item.size() else { return item };
        let (tw, th) = self.size;
        let part = self.part((w, h), at);
        if self.method == ResizeMethod::Pad {
            let (pw, ph) = (part.width as usize, part.height as usize);
            // A thin line of a picture would become a huge square.
            let excess = (pw as f64 * ph as f64 / LARGEST_PADDED).sqrt();
            if excess > 1.0 && w.max(h) > tw.max(th) {
                let shrunk = |n: usize| ((n as f64 / excess) as usize).max(1);
                let smaller =
                    item.take_part(CropBox::whole(w, h), shrunk(w), shrunk(h), self.filter);
                return self.at(smaller, at);
            }
            let padded = item.window(part.left as i64, part.top as i64, pw, ph, self.padding);
            return padded.take_part(CropBox::whole(pw, ph), tw, th, self.filter);
        }
        item.take_part(part, tw, th, self.filter)
    }

    /// The part of a picture of this size that [`at`](Resize::at) takes; a padded one reaches beyond the picture.
    pub(crate) fn part(&self, (w, h): Size, at: (f64, f64)) -> CropBox {
        if self.method == ResizeMethod::Squish {
            return CropBox::whole(w, h);
        }
        let (tw, th) = self.size;
        let (sx, sy) = (w as f64 / tw as f64, h as f64 / th as f64);
        let pads = self.method == ResizeMethod::Pad;
        let scale = if pads { sx.max(sy) } else { sx.min(sy) };
        let part = |t: usize| ((scale * t as f64) as usize).max(1);
        let (pw, ph) = (part(tw), part(th));
        let place = |share: f64, n: usize, p: usize| (share * (n as f64 - p as f64)).trunc();
        let (left, top) = (place(at.0, w, pw), place(at.1, h, ph));
        let (pw, ph) = if pads { (pw, ph) } else { (pw.min(w), ph.min(h)) };
        CropBox { left, top, width: pw as f64, height: ph as f64 }
    }
}

item_transform!(Resize, random: self_is_random, |s, x, y, draw| {
    let at = match draw.is_valid() || !self_is_random(s) {
        true => (0.5, 0.5),
        false => (draw.uniform(), draw.uniform()),
    };
    Ok((s.at(x, at), s.at(y, at)))
});

fn self_is_random(resize: &Resize) -> bool {
    resize.method != ResizeMethod::Squish
}

/// A part of random size and proportions, resized; for validation all of it, resized to a little more than the size, and the middle of
/// that. Counterpart: fastai's `RandomResizedCrop`. Source: Szegedy et al. 2015.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomResizedCrop {
    /// Width and height.
    pub size: Size,
    /// Least and largest part of the picture's area; default 0.08 to 1.
    pub scale: (f64, f64),
    /// Least and largest width over height of the part; default 3/4 to 4/3.
    pub ratio: (f64, f64),
    /// For validation the edges that are cut off, over the size; default 0.14.
    pub margin: f64,
    /// Default: bilinear.
    pub filter: Filter,
}

impl RandomResizedCrop {
    /// To this width and height.
    pub fn new(width: usize, height: usize) -> RandomResizedCrop {
        RandomResizedCrop {
            size: (width, height),
            scale: (0.08, 1.0),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
            margin: 0.14,
            filter: Filter::Bilinear,
        }
    }

    /// With parts of at least this share of the area.
    #[must_use]
    pub fn min_scale(mut self, scale: f64) -> RandomResizedCrop {
        self.scale.0 = scale;
        self
    }

    /// The part of a picture of this size: a random one, or after ten misses the middle.
    pub(crate) fn part(&self, (w, h): Size, draw: &mut Draw) -> CropBox {
        let (wf, hf) = (w as f64, h as f64);
        for _ in 0..10 {
            let area = draw.between(self.scale.0, self.scale.1) * wf * hf;
            let ratio = draw.between(self.ratio.0.ln(), self.ratio.1.ln()).exp();
            let pw = ((area * ratio).sqrt().round() as usize).max(1);
            let ph = ((area / ratio).sqrt().round() as usize).max(1);
            if pw <= w && ph <= h {
                let (left, top) = (draw.below(w - pw + 1), draw.below(h - ph + 1));
                return CropBox {
                    left: left as f64,
                    top: top as f64,
                    width: pw as f64,
                    height: ph as f64,
                };
            }
        }
        let (pw, ph) = match wf / hf {
            r if r < self.ratio.0 => (w, ((wf / self.ratio.0) as usize).max(1)),
            r if r > self.ratio.1 => (((hf * self.ratio.1) as usize).max(1), h),
            _ => (w, h),
        };
        CropBox {
            left: ((w - pw) / 2) as f64,
            top: ((h - ph) / 2) as f64,
            width: pw as f64,
            height: ph as f64,
        }
    }
}

item_transform!(RandomResizedCrop, random: always, |s, x, y, draw| {
    let ((w, h), (tw, th)) = (size_of(&x, &y)?, s.size);
    if draw.is_valid() {
        let extra = ((tw.max(th) as f64 * s.margin / 8.0).ceil() * 8.0) as usize;
        let (fw, fh, cut) = (tw + extra, th + extra, (extra / 2) as i64);
        let x = resize_all(x, fw, fh, s.filter).window(cut, cut, tw, th, Padding::Zeros);
        let y = resize_all(y, fw, fh, s.filter).window(cut, cut, tw, th, Padding::Zeros);
        return Ok((x, y));
    }
    let part = s.part((w, h), draw);
    Ok((x.take_part(part, tw, th, s.filter), y.take_part(part, tw, th, s.filter)))
});

/// A window at a random place (the middle for validation), after `pad` pixels were added on every side; what is too small is padded
/// to the size. Counterpart: fastai's `RandomCrop`, and with `pad` torchvision's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomCrop {
    /// Width and height.
    pub size: Size,
    /// Pixels added on each side in training; default 0.
    pub pad: usize,
    /// What is seen beyond the picture; default: its reflection.
    pub padding: Padding,
}

impl RandomCrop {
    /// To this width and height.
    pub fn new(width: usize, height: usize) -> RandomCrop {
        RandomCrop { size: (width, height), pad: 0, padding: Padding::Reflection }
    }

    /// With this many pixels added on each side in training.
    #[must_use]
    pub fn pad(self, pad: usize) -> RandomCrop {
        RandomCrop { pad, ..self }
    }
}

item_transform!(RandomCrop, random: always, |s, x, y, draw| {
    let ((w, h), (tw, th)) = (size_of(&x, &y)?, s.size);
    let pad = s.pad as i64;
    let mut place = |n: usize, t: usize| {
        let room = n as i64 - t as i64;
        if draw.is_valid() {
            return room.div_euclid(2);
        }
        let (low, high) = (room.min(0) - pad, room.max(0) + pad);
        low + draw.below((high - low + 1) as usize) as i64
    };
    let (left, top) = (place(w, tw), place(h, th));
    let x = x.window(left, top, tw, th, s.padding);
    Ok((x, y.window(left, top, tw, th, s.padding)))
});

/// The middle, or all with padding around it. Counterpart: fastai's `CropPad`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CropPad {
    /// Width and height.
    pub size: Size,
    /// What is seen beyond the picture; default: nothing (zeros).
    pub padding: Padding,
}

impl CropPad {
    /// To this width and height.
    pub fn new(width: usize, height: usize) -> CropPad {
        CropPad { size: (width, height), padding: Padding::Zeros }
    }
}

item_transform!(CropPad, random: never, |s, x, y, draw| {
    let _ = draw;
    let ((w, h), (tw, th)) = (size_of(&x, &y)?, s.size);
    let place = |n: usize, t: usize| (n as i64 - t as i64).div_euclid(2);
    let (left, top) = (place(w, tw), place(h, th));
    let x = x.window(left, top, tw, th, s.padding);
    Ok((x, y.window(left, top, tw, th, s.padding)))
});

/// Resizes so that the longer side has so many pixels and the proportions stay. Counterpart: fastai's `RatioResize`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioResize {
    /// Pixels of the longer side.
    pub longest: usize,
    /// Default: bilinear.
    pub filter: Filter,
}

impl RatioResize {
    /// To this many pixels of the longer side.
    pub fn new(longest: usize) -> RatioResize {
        RatioResize { longest, filter: Filter::Bilinear }
    }
}

item_transform!(RatioResize, random: never, |s, x, y, draw| {
    let _ = draw;
    let (w, h) = size_of(&x, &y)?;
    let scale = s.longest as f64 / w.max(h) as f64;
    let to = |n: usize| ((n as f64 * scale) as usize).max(1);
    let (tw, th) = (to(w), to(h));
    Ok((resize_all(x, tw, th, s.filter), resize_all(y, tw, th, s.filter)))
});

/// Makes large pictures smaller once and for all, so that random transforms work on (and a cache keeps) less: the shorter side becomes at
/// most `shortest` pixels. Leaves validation items alone. Counterpart: the first step of fastai's presizing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Presize {
    /// The most pixels of the shorter side.
    pub shortest: usize,
    /// Default: bilinear.
    pub filter: Filter,
}

impl Presize {
    /// To at most this many pixels of the shorter side.
    pub fn new(shortest: usize) -> Presize {
        Presize { shortest, filter: Filter::Bilinear }
    }
}

item_transform!(Presize, random: never, |s, x, y, draw| {
    let (w, h) = size_of(&x, &y)?;
    let scale = s.shortest as f64 / w.min(h) as f64;
    if draw.is_valid() || scale >= 1.0 {
        return Ok((x, y));
    }
    let to = |n: usize| ((n as f64 * scale).round() as usize).max(1);
    let (tw, th) = (to(w), to(h));
    Ok((resize_all(x, tw, th, s.filter), resize_all(y, tw, th, s.filter)))
});

/// Mirrors left and right with a probability, in training. Counterpart: fastai's `FlipItem`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flip {
    /// Default 0.5.
    pub p: f64,
}

impl Default for Flip {
    fn default() -> Self {
        Flip { p: 0.5 }
    }
}

item_transform!(Flip, random: always, |s, x, y, draw| {
    if draw.is_valid() || !draw.chance(s.p) {
        return Ok((x, y));
    }
    Ok((x.turn(1), y.turn(1)))
});

/// Mirrors left and right in every second epoch, in training, a random half of the items in the odd ones: each is seen both ways equally
/// often, which [`Flip`] leaves to chance. Source: Jordan 2024, <https://arxiv.org/abs/2404.00498>, section 3.6.
///
/// ```
/// use hardpan_learn::data::Draw;
/// use hardpan_learn::data::block::ItemTransform;
/// use hardpan_vision::image::Image;
/// use hardpan_vision::plane::crop::FlipInTurns;
/// let picture = Image::new(2, 1, 1, vec![1, 2]);
/// let mut seen: Vec<Vec<u8>> = (0..2)
///     .map(|epoch| {
///         let mut draw = Draw::new(42, epoch, 7);
///         let (x, _) = FlipInTurns.apply(picture.clone(), picture.clone(), &mut draw).unwrap();
///         x.pixels().to_vec()
///     })
///     .collect();
/// seen.sort();
/// assert_eq!(seen, [[1, 2], [2, 1]]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlipInTurns;

item_transform!(FlipInTurns, random: always, |_s, x, y, draw| {
    if draw.is_valid() || !draw.in_turns() {
        return Ok((x, y));
    }
    Ok((x.turn(1), y.turn(1)))
});

/// One of the eight turns and reflections, in training, with a probability. For pictures that have no up and down.
/// Counterpart: fastai's `DihedralItem`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dihedral {
    /// Default 1: each of the eight is equally likely.
    pub p: f64,
}

impl Default for Dihedral {
    fn default() -> Self {
        Dihedral { p: 1.0 }
    }
}

item_transform!(Dihedral, random: always, |s, x, y, draw| {
    if draw.is_valid() || !draw.chance(s.p) {
        return Ok((x, y));
    }
    let k = draw.below(8);
    Ok((x.turn(k), y.turn(k)))
});

/// Leaves validation items alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainOnly<T>(pub T);

impl<X: Spatial, Y: Spatial, T: ItemTransform<X, Y>> ItemTransform<X, Y> for TrainOnly<T> {
    fn name(&self) -> String {
        self.0.name()
    }
    fn is_random(&self) -> bool {
        self.0.is_random()
    }
    fn apply(&self, x: X, y: Y, draw: &mut Draw) -> Result<(X, Y), BoxError> {
        if draw.is_valid() { Ok((x, y)) } else { self.0.apply(x, y, draw) }
    }
}
