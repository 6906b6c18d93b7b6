//! Flipping, turning, cutting and padding, for pictures and masks alike.

use super::{Image, Mask, Padding};

/// Pixels in rows, of `K` bytes each or of any number: what [`Image`] and [`Mask`] share.
struct Raster<'a> {
    width: usize,
    height: usize,
    /// Bytes of a pixel.
    size: usize,
    pixels: &'a [u8],
}

impl Raster<'_> {
    fn flip_horizontal(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.pixels.len());
        for row in self.pixels.chunks_exact(self.width * self.size) {
            match self.size {
                1 => out.extend(row.iter().rev()),
                _ => row.as_chunks::<3>().0.iter().rev().for_each(|p| out.extend_from_slice(p)),
            }
        }
        out
    }

    fn flip_vertical(&self) -> Vec<u8> {
        self.pixels.chunks_exact(self.width * self.size).rev().flatten().copied().collect()
    }

    fn transpose(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.pixels.len());
        for x in 0..self.width {
            for y in 0..self.height {
                out.extend_from_slice(
                    &self.pixels[(y * self.width + x) * self.size..][..self.size],
                );
            }
        }
        out
    }

    /// The part from `(left, top)` on; what lies outside is made up by `padding`.
    fn window(
        &self,
        left: i64,
        top: i64,
        width: usize,
        height: usize,
        padding: Padding,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(width * height * self.size);
        let (w, h, k) = (self.width as i64, self.height as i64, self.size);
        let (l, r) = (left, left + width as i64);
        for y in top..top + height as i64 {
            let Some(y) = padding.source(y, h) else {
                out.resize(out.len() + width * k, padding.fill());
                continue;
            };
            let row = &self.pixels[y as usize * self.width * k..][..self.width * k];
            let side = |out: &mut Vec<u8>, x: i64| match padding.source(x, w) {
                Some(x) => out.extend_from_slice(&row[x as usize * k..][..k]),
                None => out.resize(out.len() + k, padding.fill()),
            };
            let (a, b) = (l.max(0), r.min(w));
            if a >= b {
                (l..r).for_each(|x| side(&mut out, x));
                continue;
            }
            (l..a).for_each(|x| side(&mut out, x));
            out.extend_from_slice(&row[a as usize * k..b as usize * k]);
            (b..r).for_each(|x| side(&mut out, x));
        }
        out
    }
}

macro_rules! edits {
    ($t:ty, $what:literal, |$s:ident| $size:expr, |$w:ident, $h:ident, $p:ident| $make:expr) => {
        impl $t {
            fn raster(&self) -> Raster<'_> {
                let $s = self;
                Raster { width: self.width(), height: self.height(), size: $size, pixels: self.pixels() }
            }

            fn remade(&self, $w: usize, $h: usize, $p: Vec<u8>) -> $t {
                let $s = self;
                $make
            }

            #[doc = concat!("The ", $what, " as a mirror shows it: left and right change places.")]
            #[must_use]
            pub fn flip_horizontal(&self) -> $t {
                self.remade(self.width(), self.height(), self.raster().flip_horizontal())
            }

            #[doc = concat!("The ", $what, " upside down: top and bottom change places.")]
            #[must_use]
            pub fn flip_vertical(&self) -> $t {
                self.remade(self.width(), self.height(), self.raster().flip_vertical())
            }

            #[doc = concat!("The ", $what, " with rows and columns exchanged.")]
            #[must_use]
            pub fn transpose(&self) -> $t {
                self.remade(self.height(), self.width(), self.raster().transpose())
            }

            #[doc = concat!("One of the eight ways to turn and mirror the ", $what, " by right angles, numbered as fastai numbers them")]
            /// (0 leaves it; 1, 3, 4, 7 mirror left and right; 2, 4, 5, 7 mirror top and bottom; 3, 5, 6, 7 then transpose).
            ///
            /// # Panics
            /// If `k` is above 7.
            #[must_use]
            #[track_caller]
            pub fn dihedral(&self, k: usize) -> $t {
                assert!(k < 8, "dihedral: 0 to 7, not {k}");
                let mut out = self.clone();
                if [1, 3, 4, 7].contains(&k) {
                    out = out.flip_horizontal();
                }
                if [2, 4, 5, 7].contains(&k) {
                    out = out.flip_vertical();
                }
                if [3, 5, 6, 7].contains(&k) {
                    out = out.transpose();
                }
                out
            }

            #[doc = concat!("A window on the ", $what, ": `width` by `height` pixels from `(left, top)` on, which may reach beyond it on every")]
            /// side; `padding` says what is seen there. Counterpart: fastai's `crop_pad`.
            ///
            /// # Panics
            /// If the window has no pixels.
            #[must_use]
            #[track_caller]
            pub fn crop_pad(&self, left: i64, top: i64, width: usize, height: usize, padding: Padding) -> $t {
                assert!(width * height > 0, "crop_pad: a window of {width}x{height} has no pixels");
                if (left, top, width, height) == (0, 0, self.width(), self.height()) {
                    return self.clone();
                }
                let pixels = self.raster().window(left, top, width, height, padding);
                self.remade(width, height, pixels)
            }
        }
    };
}

edits!(Image, "picture", |s| s.channels(), |w, h, p| Image::new(w, h, s.channels(), p));
edits!(Mask, "mask", |_s| 1, |w, h, p| {
    let _ = _s;
    Mask::new(w, h, p)
});
