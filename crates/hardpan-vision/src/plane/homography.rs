//! [`Homography`]: maps of the plane that keep straight lines straight. Turning, zooming, shifting, shearing and perspective are
//! all of this kind, and so is any chain of them: that is why a whole augmentation costs one resampling.

/// A map of the plane by a 3x3 matrix: `(x, y)` goes to `(X / W, Y / W)` with `(X, Y, W) = matrix * (x, y, 1)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Homography(pub [[f64; 3]; 3]);

impl Homography {
    /// Leaves everything where it is.
    pub const IDENTITY: Homography =
        Homography([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);

    /// By the first two rows of the matrix.
    pub const fn affine(x: [f64; 3], y: [f64; 3]) -> Homography {
        Homography([x, y, [0.0, 0.0, 1.0]])
    }

    /// Shifted by (x, y) after scaling each axis.
    pub const fn scale_shift(sx: f64, sy: f64, x: f64, y: f64) -> Homography {
        Homography::affine([sx, 0.0, x], [0.0, sy, y])
    }

    /// In coordinates from -1 to 1: turned by so many degrees about the middle of a picture of this width and height.
    /// Counterpart: fastai's `rotate_mat`.
    #[must_use]
    pub fn rotation(degrees: f64, size: (usize, usize)) -> Homography {
        let (w, h) = (size.0 as f64, size.1 as f64);
        let (sin, cos) = degrees.to_radians().sin_cos();
        Homography::affine([cos, sin * h / w, 0.0], [-sin * w / h, cos, 0.0])
    }

    /// In coordinates from -1 to 1: into a part of the picture that is smaller by this factor; `x` and `y` from 0 to 1 say which.
    /// Counterpart: fastai's `zoom_mat`.
    #[must_use]
    pub fn zoom(by: f64, x: f64, y: f64) -> Homography {
        let s = 1.0 / by;
        Homography::scale_shift(s, s, (1.0 - s) * (2.0 * x - 1.0), (1.0 - s) * (2.0 * y - 1.0))
    }

    /// In coordinates from -1 to 1: the picture seen from aside, its corners moved by `x` and `y`. Counterpart: fastai's `Warp`.
    #[must_use]
    pub fn perspective(x: f64, y: f64) -> Homography {
        let corners = [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]];
        let moved =
            [[-1.0 - y, -1.0 - x], [-1.0 + y, 1.0 + x], [1.0 + y, -1.0 + x], [1.0 - y, 1.0 - x]];
        Homography::from_points(moved, corners).unwrap_or(Homography::IDENTITY)
    }

    /// Where a place goes.
    pub fn apply(&self, x: f64, y: f64) -> (f64, f64) {
        let m = &self.0;
        let row = |r: &[f64; 3]| r[0] * x + r[1] * y + r[2];
        let w = row(&m[2]);
        (row(&m[0]) / w, row(&m[1]) / w)
    }

    /// First `first`, then this one.
    #[must_use]
    pub fn after(&self, first: &Homography) -> Homography {
        let mut out = [[0.0; 3]; 3];
        for (i, row) in out.iter_mut().enumerate() {
            for (j, v) in row.iter_mut().enumerate() {
                *v = (0..3).map(|k| self.0[i][k] * first.0[k][j]).sum();
            }
        }
        Homography(out)
    }

    /// The way back; `None` if the map flattens the plane.
    pub fn inverse(&self) -> Option<Homography> {
        let m = &self.0;
        let minor = |r: usize, c: usize| {
            let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
            m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
        };
        let determinant: f64 = (0..3).map(|c| m[0][c] * minor(0, c)).sum();
        if determinant.abs() < 1e-12 {
            return None;
        }
        let mut out = [[0.0; 3]; 3];
        for (i, row) in out.iter_mut().enumerate() {
            for (j, v) in row.iter_mut().enumerate() {
                *v = minor(j, i) / determinant;
            }
        }
        Some(Homography(out))
    }

    /// The one that takes four places to four others; `None` if three of them lie on a line.
    pub fn from_points(from: [[f64; 2]; 4], to: [[f64; 2]; 4]) -> Option<Homography> {
        let mut rows = Vec::with_capacity(8);
        for ([x, y], [u, v]) in from.into_iter().zip(to) {
            rows.push([x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, u]);
            rows.push([0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, v]);
        }
        let s = solve(rows)?;
        Some(Homography([[s[0], s[1], s[2]], [s[3], s[4], s[5]], [s[6], s[7], 1.0]]))
    }

    /// Of a map between coordinates from -1 to 1, as `grid_sample` has them, the map between pixels (see the
    /// [module](super) on coordinates) of an `out` picture and an `input` one, both (width, height). `align_corners`: -1 and 1 are the
    /// centres of the outermost pixels, else their outer edges.
    #[must_use]
    pub fn to_pixels(
        &self,
        out: (usize, usize),
        input: (usize, usize),
        align_corners: bool,
    ) -> Homography {
        // Along one axis: normalized = pixels * scale + shift.
        let line = |n: usize| match align_corners && n > 1 {
            true => (2.0 / (n as f64 - 1.0), -1.0 - 1.0 / (n as f64 - 1.0)),
            false => (2.0 / n as f64, -1.0),
        };
        let ((ox, oxs), (oy, oys)) = (line(out.0), line(out.1));
        let ((ix, ixs), (iy, iys)) = (line(input.0), line(input.1));
        let normalize = Homography::scale_shift(ox, oy, oxs, oys);
        let back = Homography::scale_shift(1.0 / ix, 1.0 / iy, -ixs / ix, -iys / iy);
        back.after(self).after(&normalize)
    }
}

/// Gauss and Jordan, with the largest pivot of each column.
fn solve(mut a: Vec<[f64; 9]>) -> Option<[f64; 8]> {
    for c in 0..8 {
        let pivot = (c..8).max_by(|&i, &j| a[i][c].abs().total_cmp(&a[j][c].abs()))?;
        if a[pivot][c].abs() < 1e-12 {
            return None;
        }
        a.swap(c, pivot);
        for r in 0..8 {
            if r != c {
                let f = a[r][c] / a[c][c];
                for k in c..9 {
                    a[r][k] -= f * a[c][k];
                }
            }
        }
    }
    let mut out = [0.0; 8];
    for (c, v) in out.iter_mut().enumerate() {
        *v = a[c][8] / a[c][c];
    }
    Some(out)
}
