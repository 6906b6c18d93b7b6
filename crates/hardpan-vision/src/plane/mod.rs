//! Things that lie on the plane of a picture, and how they move together: pictures, masks, points, boxes.
//!
//! [`Spatial`] is what they share: cutting, padding, turning, resizing, and a general [`Homography`]. Transforms are written once
//! against it, so that a mask, a point or a box always follows its picture; a label stays as it is. [`crop`] has the transforms
//! that choose a part of a picture and bring it to a size.
//!
//! Coordinates are in pixels from the upper left corner of the picture; the centre of the first pixel is at (0.5, 0.5).

pub mod crop;
mod homography;
mod marks;
mod warp;

pub use homography::Homography;
pub use marks::{Boxes, Points};

use crate::image::{CropBox, Filter, Image, Mask, Padding};
use hardpan_learn::data::block::{Category, MultiCategory, Values};

/// Something on the plane of a picture, or something that has no place there (all methods leave it as it is then).
pub trait Spatial: Sized {
    /// Width and height of the picture that it lies on; `None`: it has no place.
    fn size(&self) -> Option<(usize, usize)> {
        None
    }

    /// The part in `part`, as `width` by `height` pixels.
    #[must_use]
    fn take_part(self, part: CropBox, width: usize, height: usize, filter: Filter) -> Self {
        let _ = (part, width, height, filter);
        self
    }

    /// A window, which may reach beyond the picture.
    #[must_use]
    fn window(self, left: i64, top: i64, width: usize, height: usize, padding: Padding) -> Self {
        let _ = (left, top, width, height, padding);
        self
    }

    /// One of the eight turns and reflections; see [`Image::dihedral`].
    #[must_use]
    fn turn(self, k: usize) -> Self {
        let _ = k;
        self
    }

    /// A new picture of `width` by `height` pixels whose place `p` shows the place `map(p)` of the old one.
    #[must_use]
    fn map_places(self, map: &Homography, width: usize, height: usize, padding: Padding) -> Self {
        let _ = (map, width, height, padding);
        self
    }

    /// Other colours; only pictures have any.
    #[must_use]
    fn recolour(self, f: &mut dyn FnMut(Image) -> Image) -> Self {
        let _ = f;
        self
    }
}

impl Spatial for Category {}
impl Spatial for MultiCategory {}
impl Spatial for Values {}
impl Spatial for () {}

impl Spatial for Image {
    fn size(&self) -> Option<(usize, usize)> {
        Some((self.width(), self.height()))
    }
    fn take_part(self, part: CropBox, width: usize, height: usize, filter: Filter) -> Self {
        Image::resize_part(&self, part, width, height, filter)
    }
    fn window(self, left: i64, top: i64, width: usize, height: usize, padding: Padding) -> Self {
        if (left, top, width, height) == (0, 0, self.width(), self.height()) {
            return self;
        }
        Image::crop_pad(&self, left, top, width, height, padding)
    }
    fn turn(self, k: usize) -> Self {
        if k == 0 { self } else { Image::dihedral(&self, k) }
    }
    fn map_places(self, map: &Homography, width: usize, height: usize, padding: Padding) -> Self {
        Image::warp(&self, map, width, height, padding)
    }
    fn recolour(self, f: &mut dyn FnMut(Image) -> Image) -> Self {
        f(self)
    }
}

impl Spatial for Mask {
    fn size(&self) -> Option<(usize, usize)> {
        Some((self.width(), self.height()))
    }
    fn take_part(self, part: CropBox, width: usize, height: usize, _filter: Filter) -> Self {
        Mask::resize_part(&self, part, width, height)
    }
    fn window(self, left: i64, top: i64, width: usize, height: usize, padding: Padding) -> Self {
        Mask::crop_pad(&self, left, top, width, height, padding)
    }
    fn turn(self, k: usize) -> Self {
        if k == 0 { self } else { Mask::dihedral(&self, k) }
    }
    fn map_places(self, map: &Homography, width: usize, height: usize, padding: Padding) -> Self {
        Mask::warp(&self, map, width, height, padding)
    }
}

impl<A: Spatial, B: Spatial> Spatial for (A, B) {
    fn size(&self) -> Option<(usize, usize)> {
        self.0.size().or_else(|| self.1.size())
    }
    fn take_part(self, part: CropBox, width: usize, height: usize, filter: Filter) -> Self {
        let a = self.0.take_part(part, width, height, filter);
        (a, self.1.take_part(part, width, height, filter))
    }
    fn window(self, left: i64, top: i64, width: usize, height: usize, padding: Padding) -> Self {
        let a = self.0.window(left, top, width, height, padding);
        (a, self.1.window(left, top, width, height, padding))
    }
    fn turn(self, k: usize) -> Self {
        (self.0.turn(k), self.1.turn(k))
    }
    fn map_places(self, map: &Homography, width: usize, height: usize, padding: Padding) -> Self {
        let a = self.0.map_places(map, width, height, padding);
        (a, self.1.map_places(map, width, height, padding))
    }
    fn recolour(self, f: &mut dyn FnMut(Image) -> Image) -> Self {
        let a = self.0.recolour(f);
        (a, self.1.recolour(f))
    }
}
