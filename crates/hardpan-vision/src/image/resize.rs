//! Other sizes, by `fast_image_resize`.

use super::Image;
use fast_image_resize::images::{CroppedImage, Image as Target, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

/// How new pixels are made of old ones. When shrinking, all filters but the nearest are stretched so that every old pixel
/// counts ("antialias", as Pillow always does).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The nearest old pixel.
    Nearest,
    /// A triangle (Pillow's `BILINEAR`).
    #[default]
    Bilinear,
    /// Catmull-Rom's cubic with a = -1/2 (Pillow's `BICUBIC`).
    Bicubic,
    /// Lanczos with three lobes.
    Lanczos,
}

/// What is seen beyond the edge of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Zeros: black, or class 0 of a mask.
    Zeros,
    /// The outermost pixels again and again.
    Border,
    /// The mirror image, edge pixels not repeated (as numpy's `reflect`; a picture of one pixel repeats it).
    #[default]
    Reflection,
}

impl Padding {
    /// Which pixel of a line of `n` is seen at place `i`; `None`: none.
    pub(crate) fn source(self, i: i64, n: i64) -> Option<i64> {
        if (0..n).contains(&i) {
            return Some(i);
        }
        match self {
            Padding::Zeros => None,
            Padding::Border => Some(i.clamp(0, n - 1)),
            Padding::Reflection if n == 1 => Some(0),
            Padding::Reflection => {
                let period = 2 * (n - 1);
                let i = i.rem_euclid(period);
                Some(if i < n { i } else { period - i })
            }
        }
    }

    pub(crate) const fn fill(self) -> u8 {
        0
    }
}

/// A part of a picture, in pixels from its upper left corner; edges may lie inside pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CropBox {
    /// From the left edge.
    pub left: f64,
    /// From the upper edge.
    pub top: f64,
    /// Width of the part.
    pub width: f64,
    /// Height of the part.
    pub height: f64,
}

impl CropBox {
    /// All of it.
    pub fn whole(width: usize, height: usize) -> CropBox {
        CropBox { left: 0.0, top: 0.0, width: width as f64, height: height as f64 }
    }

    #[track_caller]
    pub(super) fn check(&self, width: usize, height: usize, to_width: usize, to_height: usize) {
        let inside = self.left >= 0.0
            && self.top >= 0.0
            && self.left + self.width <= width as f64 + 1e-6
            && self.top + self.height <= height as f64 + 1e-6;
        assert!(
            inside && self.width > 0.0 && self.height > 0.0 && to_width * to_height > 0,
            "resize: part {self:?} of {width}x{height} pixels to {to_width}x{to_height}"
        );
    }
}

thread_local! {
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

impl Image {
    /// In another size.
    ///
    /// # Panics
    /// If the new size has no pixels.
    #[must_use]
    #[track_caller]
    pub fn resize(&self, width: usize, height: usize, filter: Filter) -> Image {
        self.resize_part(CropBox::whole(self.width(), self.height()), width, height, filter)
    }

    /// The part in `part` as `width` by `height` pixels: cutting out and resizing in one go. Pixels outside of the part do
    /// not count. Counterpart: Pillow's `crop` and then `resize`.
    ///
    /// # Panics
    /// If there are no pixels, or the part reaches beyond the picture.
    #[must_use]
    #[track_caller]
    pub fn resize_part(&self, part: CropBox, width: usize, height: usize, filter: Filter) -> Image {
        part.check(self.width(), self.height(), width, height);
        if part == CropBox::whole(self.width(), self.height())
            && (width, height) == (self.width(), self.height())
        {
            return self.clone();
        }
        let kind = if self.channels() == 1 { PixelType::U8 } else { PixelType::U8x3 };
        let (w, h) = (self.width() as u32, self.height() as u32);
        let source = ImageRef::new(w, h, self.pixels(), kind).expect("as many bytes as pixels");
        let mut target = Target::new(width as u32, height as u32, kind);
        let algorithm = match filter {
            Filter::Nearest => ResizeAlg::Nearest,
            Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
            Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
            Filter::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
        };
        // The filter sees the part's own pixels only; what is beyond must not bleed in.
        let (left, top) = (part.left.floor(), part.top.floor());
        let right = (part.left + part.width).ceil().min(self.width() as f64);
        let bottom = (part.top + part.height).ceil().min(self.height() as f64);
        let (w, h) = ((right - left) as u32, (bottom - top) as u32);
        let view = CroppedImage::new(&source, left as u32, top as u32, w, h).expect("inside");
        let (x, y) = (part.left - left, part.top - top);
        let (w, h) = (part.width.min(f64::from(w) - x), part.height.min(f64::from(h) - y));
        let options = ResizeOptions::new().resize_alg(algorithm).use_alpha(false).crop(x, y, w, h);
        RESIZER
            .with(|r| r.borrow_mut().resize(&view, &mut target, &options))
            .expect("the part is inside and the kinds of pixels are equal");
        Image::new(width, height, self.channels(), target.into_vec())
    }
}
