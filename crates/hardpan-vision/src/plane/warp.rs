//! Resampling a picture by a [`Homography`].

use super::Homography;
use crate::image::{Image, Mask, Padding};

/// Along one axis: the place, brought inside.
#[inline(always)]
fn inside(p: f32, n: usize, padding: Padding) -> f32 {
    let last = n as f32 - 1.0;
    match padding {
        Padding::Reflection if !(0.0..=last).contains(&p) => {
            if n == 1 {
                return 0.0;
            }
            let q = p.abs() % (2.0 * last);
            if q > last { 2.0 * last - q } else { q }
        }
        Padding::Border => p.clamp(0.0, last),
        _ => p,
    }
}

/// For each new pixel, row by row, the place in the old picture in pixel numbers (the centre of the first is 0).
fn for_each_place(
    map: &Homography,
    width: usize,
    height: usize,
    mut f: impl FnMut(usize, f32, f32),
) {
    let m = &map.0;
    let affine = m[2][0] == 0.0 && m[2][1] == 0.0;
    for y in 0..height {
        let at = |row: &[f64; 3]| row[0] * 0.5 + row[1] * (y as f64 + 0.5) + row[2];
        let (x0, y0, w0) = (at(&m[0]), at(&m[1]), at(&m[2]));
        if affine {
            let (x0, y0) = ((x0 / w0 - 0.5) as f32, (y0 / w0 - 0.5) as f32);
            let (dx, dy) = ((m[0][0] / w0) as f32, (m[1][0] / w0) as f32);
            for x in 0..width {
                f(y * width + x, x0 + dx * x as f32, y0 + dy * x as f32);
            }
        } else {
            let (x0, y0, w0) = (x0 as f32, y0 as f32, w0 as f32);
            let (dx, dy, dw) = (m[0][0] as f32, m[1][0] as f32, m[2][0] as f32);
            for x in 0..width {
                let x_ = x as f32;
                let w = 1.0 / (w0 + dw * x_);
                f(y * width + x, (x0 + dx * x_) * w - 0.5, (y0 + dy * x_) * w - 0.5);
            }
        }
    }
}

/// The four pixels around each place, mixed.
fn bilinear<const C: usize>(
    pixels: &[[u8; C]],
    (w, h): (usize, usize),
    map: &Homography,
    (width, height): (usize, usize),
    padding: Padding,
) -> Vec<u8> {
    let mut out = vec![[0u8; C]; width * height];
    let zeros = padding == Padding::Zeros;
    for_each_place(map, width, height, |i, x, y| {
        let (x, y) = (inside(x, w, padding), inside(y, h, padding));
        // A place far beyond the horizon, or none at all.
        if !(x > -1.0 && y > -1.0 && x < w as f32 && y < h as f32) {
            if !zeros {
                out[i] = pixels[0];
            }
            return;
        }
        let (fx, fy) = (x.floor(), y.floor());
        let (ax, ay) = (x - fx, y - fy);
        let (x0, y0) = (fx as isize, fy as isize);
        let get = |x: isize, y: isize| -> [f32; C] {
            if zeros && (x < 0 || y < 0 || x >= w as isize || y >= h as isize) {
                return [0.0; C];
            }
            let (x, y) = (x.clamp(0, w as isize - 1), y.clamp(0, h as isize - 1));
            pixels[y as usize * w + x as usize].map(f32::from)
        };
        let quad = if x0 >= 0 && y0 >= 0 && x0 + 1 < w as isize && y0 + 1 < h as isize {
            let at = y0 as usize * w + x0 as usize;
            let two = |at: usize| [pixels[at].map(f32::from), pixels[at + 1].map(f32::from)];
            [two(at), two(at + w)]
        } else {
            [[get(x0, y0), get(x0 + 1, y0)], [get(x0, y0 + 1), get(x0 + 1, y0 + 1)]]
        };
        for c in 0..C {
            let top = quad[0][0][c] + ax * (quad[0][1][c] - quad[0][0][c]);
            let low = quad[1][0][c] + ax * (quad[1][1][c] - quad[1][0][c]);
            out[i][c] = (top + ay * (low - top) + 0.5) as u8;
        }
    });
    out.into_flattened()
}

impl Image {
    /// A new picture of `width` by `height` pixels whose place `p` shows the place `map(p)` of this one, mixed of the four pixels
    /// around it. Counterpart: `grid_sample(mode="bilinear")`.
    ///
    /// # Panics
    /// If the new picture has no pixels.
    #[must_use]
    #[track_caller]
    pub fn warp(&self, map: &Homography, width: usize, height: usize, padding: Padding) -> Image {
        assert!(width * height > 0, "warp: to {width}x{height}: a picture needs a pixel");
        let (from, to) = ((self.width(), self.height()), (width, height));
        let pixels = match self.channels() {
            1 => bilinear::<1>(self.pixels().as_chunks().0, from, map, to, padding),
            _ => bilinear::<3>(self.pixels().as_chunks().0, from, map, to, padding),
        };
        Image::new(width, height, self.channels(), pixels)
    }
}

impl Mask {
    /// A new mask whose place `p` has the class at the place `map(p)` of this one. Counterpart: `grid_sample(mode="nearest")`.
    ///
    /// # Panics
    /// If the new mask has no pixels.
    #[must_use]
    #[track_caller]
    pub fn warp(&self, map: &Homography, width: usize, height: usize, padding: Padding) -> Mask {
        assert!(width * height > 0, "warp: to {width}x{height}: a mask needs a pixel");
        let (w, h) = (self.width(), self.height());
        let mut out = vec![0u8; width * height];
        for_each_place(map, width, height, |i, x, y| {
            let (x, y) =
                (inside(x, w, padding).round_ties_even(), inside(y, h, padding).round_ties_even());
            if x >= 0.0 && y >= 0.0 && x < w as f32 && y < h as f32 {
                out[i] = self.pixels()[y as usize * w + x as usize];
            }
        });
        Mask::new(width, height, out)
    }
}
