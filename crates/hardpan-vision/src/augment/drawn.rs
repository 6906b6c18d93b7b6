//! [`AugTransforms`], the settings, and [`Drawn`], what came out for one item.

use super::Lighting;
use super::light::logit;
use crate::data::Stats;
use crate::image::{Image, Padding};
use crate::plane::crop::size_of;
use crate::plane::{Homography, Spatial};
use hardpan_learn::data::Draw;
use hardpan_learn::data::block::{BoxError, ItemTransform};

/// fastai's `aug_transforms`, with its defaults to the digit: mirrored half of the time, turned by up to 10 degrees, zoomed by up to 1.1,
/// perspective of up to 0.2, brightness and contrast of up to 0.2, each of these with probability 0.75, beyond the edge the
/// reflection. Saturation, hue and erasing are off until asked for.
///
/// ```
/// use hardpan_vision::augment::AugTransforms;
/// let strong = AugTransforms::default().rotate(30.0).saturation(0.2).erase(0.5);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AugTransforms {
    flip: f64,
    vertical: bool,
    rotate: f64,
    zoom: (f64, f64),
    warp: f64,
    p_affine: f64,
    lighting: f64,
    saturation: f64,
    hue: f64,
    p_lighting: f64,
    erase: f64,
    erase_area: (f64, f64),
    erase_ratio: f64,
    erase_count: usize,
    noise: Stats,
    padding: Padding,
    align_corners: bool,
}

impl Default for AugTransforms {
    fn default() -> Self {
        AugTransforms {
            flip: 0.5,
            vertical: false,
            rotate: 10.0,
            zoom: (1.0, 1.1),
            warp: 0.2,
            p_affine: 0.75,
            lighting: 0.2,
            saturation: 0.0,
            hue: 0.0,
            p_lighting: 0.75,
            erase: 0.0,
            erase_area: (0.0, 0.3),
            erase_ratio: 0.3,
            erase_count: 1,
            noise: Stats::imagenet(3),
            padding: Padding::Reflection,
            align_corners: true,
        }
    }
}

impl AugTransforms {
    /// Nothing changes until asked for.
    pub fn none() -> AugTransforms {
        AugTransforms {
            flip: 0.0,
            rotate: 0.0,
            zoom: (1.0, 1.0),
            warp: 0.0,
            lighting: 0.0,
            ..Default::default()
        }
    }

    /// All strengths (turning, light, perspective) times this; fastai's `mult`.
    #[must_use]
    pub fn times(mut self, factor: f64) -> Self {
        self.rotate *= factor;
        self.warp *= factor;
        self.lighting *= factor;
        self
    }

    /// Mirrored with this probability.
    #[must_use]
    pub fn flip(mut self, p: f64) -> Self {
        self.flip = p;
        self
    }

    /// With the probability of mirroring, one of the eight turns and reflections instead; fastai's `flip_vert`.
    #[must_use]
    pub fn flip_vertical(mut self) -> Self {
        self.vertical = true;
        self
    }

    /// Turned by up to so many degrees.
    #[must_use]
    pub fn rotate(mut self, degrees: f64) -> Self {
        self.rotate = degrees;
        self
    }

    /// Zoomed into, at a random place, by a factor between these.
    #[must_use]
    pub fn zoom(mut self, least: f64, most: f64) -> Self {
        self.zoom = (least, most);
        self
    }

    /// Seen from aside, by up to so much.
    #[must_use]
    pub fn warp(mut self, magnitude: f64) -> Self {
        self.warp = magnitude;
        self
    }

    /// Probability of each of turning, zooming and perspective.
    #[must_use]
    pub fn p_affine(mut self, p: f64) -> Self {
        self.p_affine = p;
        self
    }

    /// Brightness and contrast by up to so much.
    #[must_use]
    pub fn lighting(mut self, most: f64) -> Self {
        self.lighting = most;
        self
    }

    /// Saturation by up to so much.
    #[must_use]
    pub fn saturation(mut self, most: f64) -> Self {
        self.saturation = most;
        self
    }

    /// Hue by up to so much (fastai's `Hue(max_hue=0.1)`).
    #[must_use]
    pub fn hue(mut self, most: f64) -> Self {
        self.hue = most;
        self
    }

    /// Probability of each change of light.
    #[must_use]
    pub fn p_lighting(mut self, p: f64) -> Self {
        self.p_lighting = p;
        self
    }

    /// With this probability a rectangle becomes noise; fastai's `RandomErasing`. Source: Zhong et al. 2017.
    #[must_use]
    pub fn erase(mut self, p: f64) -> Self {
        self.erase = p;
        self
    }

    /// Least and largest share of the area that is erased (default 0 to 0.3), in up to so many rectangles (default 1).
    #[must_use]
    pub fn erase_area(mut self, least: f64, most: f64, count: usize) -> Self {
        self.erase_area = (least, most);
        self.erase_count = count.max(1);
        self
    }

    /// What is seen beyond the edge.
    #[must_use]
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// Noise of these statistics, so that it is standard normal once normalized.
    #[must_use]
    pub fn fill(mut self, stats: &Stats) -> Self {
        self.noise = stats.clone();
        self
    }

    /// What happens to an item whose picture has this width and height.
    pub fn draw(&self, size: (usize, usize), draw: &mut Draw) -> Drawn {
        let mut dihedral = 0;
        if draw.chance(self.flip) {
            dihedral = if self.vertical { draw.below(8) } else { 1 };
        }
        let mut map = Homography::IDENTITY;
        // As fastai: each of the two draws its own chance.
        let mut warp =
            || if draw.chance(self.p_affine) { draw.between(-self.warp, self.warp) } else { 0.0 };
        let warps = if self.warp > 0.0 { (warp(), warp()) } else { (0.0, 0.0) };
        if warps != (0.0, 0.0) {
            map = Homography::perspective(warps.0, warps.1);
        }
        if self.rotate > 0.0 && draw.chance(self.p_affine) {
            let degrees = draw.between(-self.rotate, self.rotate);
            map = map.after(&Homography::rotation(degrees, size));
        }
        if self.zoom != (1.0, 1.0) && draw.chance(self.p_affine) {
            let by = draw.between(self.zoom.0, self.zoom.1);
            map = map.after(&Homography::zoom(by, draw.uniform(), draw.uniform()));
        }
        let mut light = Lighting::default();
        if self.lighting > 0.0 {
            let m = self.lighting;
            if draw.chance(self.p_lighting) {
                light.brightness = logit(draw.between(0.5 * (1.0 - m), 0.5 * (1.0 + m)));
            }
            if draw.chance(self.p_lighting) {
                light.contrast = around_one(draw, m);
            }
        }
        if self.saturation > 0.0 && draw.chance(self.p_lighting) {
            light.saturation = around_one(draw, self.saturation);
        }
        if self.hue > 0.0 && draw.chance(self.p_lighting) {
            light.hue = around_one(draw, self.hue) - 1.0;
        }
        let erased = if self.erase > 0.0 && draw.chance(self.erase) {
            self.erasures(size, draw)
        } else {
            Vec::new()
        };
        Drawn { dihedral, map, light, erased, noise: draw.bits(), settings: self.clone() }
    }

    fn erasures(&self, (w, h): (usize, usize), draw: &mut Draw) -> Vec<Erased> {
        let count = 1 + draw.below(self.erase_count);
        let area = (w * h) as f64 / count as f64;
        let log = self.erase_ratio.ln();
        let mut out = Vec::new();
        for _ in 0..count {
            let part = draw.between(self.erase_area.0, self.erase_area.1) * area;
            let ratio = draw.between(log, -log).exp();
            let mut slice = |a: f64, n: usize| {
                let length = (a.sqrt().round() as usize).min(n);
                (draw.below(n - length + 1), length)
            };
            let (top, height) = slice(part * ratio, h);
            let (left, width) = slice(part / ratio, w);
            out.push(Erased { left, top, width, height });
        }
        out
    }
}

/// Log-uniform between 1 - most and its inverse.
fn around_one(draw: &mut Draw, most: f64) -> f64 {
    let log = (1.0 - most).ln();
    draw.between(log, -log).exp()
}

/// A rectangle of noise, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// From the left edge.
    pub left: usize,
    /// From the upper edge.
    pub top: usize,
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

/// What happens to one item.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// One of the eight turns and reflections; first.
    pub dihedral: usize,
    /// In coordinates from -1 to 1, from places of the new picture to places of the (turned) old one.
    pub map: Homography,
    /// The light.
    pub light: Lighting,
    /// What is erased; last.
    pub erased: Vec<Erased>,
    /// Seed of the noise there.
    pub noise: u64,
    settings: AugTransforms,
}

impl Drawn {
    pub(super) fn align_corners(&self) -> bool {
        self.settings.align_corners
    }

    pub(super) fn padding(&self) -> Padding {
        self.settings.padding
    }

    /// The item after all of it.
    #[must_use]
    pub fn apply<S: Spatial>(&self, item: S) -> S {
        let Some(size) = item.size() else { return item };
        let mut item = item.turn(self.dihedral);
        let size = if [3, 5, 6, 7].contains(&self.dihedral) { (size.1, size.0) } else { size };
        if self.map != Homography::IDENTITY {
            let map = self.map.to_pixels(size, size, self.settings.align_corners);
            item = item.map_places(&map, size.0, size.1, self.settings.padding);
        }
        item.recolour(&mut |image| self.erase(self.light.apply(image)))
    }

    fn erase(&self, mut image: Image) -> Image {
        let (w, c) = (image.width(), image.channels());
        let mut noise = Draw::new(self.noise, 0, 0);
        for e in &self.erased {
            for y in e.top..e.top + e.height {
                let row = &mut image.pixels_mut()[(y * w + e.left) * c..][..e.width * c];
                for (i, p) in row.iter_mut().enumerate() {
                    let stats = &self.settings.noise;
                    let (mean, std) = (stats.mean[i % c], stats.std[i % c]);
                    let v = f64::from(mean) + f64::from(std) * noise.normal();
                    *p = (v * 255.0).round().clamp(0.0, 255.0) as u8;
                }
            }
        }
        image
    }
}

impl<X: Spatial, Y: Spatial> ItemTransform<X, Y> for AugTransforms {
    fn name(&self) -> String {
        format!(
            "AugTransforms(flip {}, rotate {}, zoom {} to {}, warp {}, lighting {}, saturation {}, hue {}, erase {})",
            self.flip,
            self.rotate,
            self.zoom.0,
            self.zoom.1,
            self.warp,
            self.lighting,
            self.saturation,
            self.hue,
            self.erase
        )
    }
    fn apply(&self, x: X, y: Y, draw: &mut Draw) -> Result<(X, Y), BoxError> {
        if draw.is_valid() {
            return Ok((x, y));
        }
        let drawn = self.draw(size_of(&x, &y)?, draw);
        Ok((drawn.apply(x), drawn.apply(y)))
    }
}
