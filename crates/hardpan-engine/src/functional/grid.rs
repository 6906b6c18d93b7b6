//! Sampling images at given places (spatial transformers, Jaderberg et al. 2015).

use super::{DType, Tensor, beside, floor, number, pick, resize, widen};
use crate::op::UnaryOp;
use crate::shape::Dims;
use std::panic::Location;

/// How [`grid_sample`] finds a value between the given ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GridSampleMode {
    /// Linear in each dimension.
    #[default]
    Bilinear,
    /// The nearest element (ties to even).
    Nearest,
    /// Cubic convolution with a = -3/4 in each dimension.
    Bicubic,
}

/// What [`grid_sample`] finds outside the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GridPadding {
    /// Zeros.
    #[default]
    Zeros,
    /// The nearest edge.
    Border,
    /// The mirror image.
    Reflection,
}

/// Values of `x: [N, C, H, W]` at the places of `grid: [N, oh, ow, 2]` (x, y; -1 and 1 are the edges): `[N, C, oh, ow]`.
/// Likewise `[N, C, D, H, W]` at `[N, od, oh, ow, 3]` (x, y, z). With `align_corners` -1 and 1 are the centres of the corner
/// elements. Counterpart: `torch.nn.functional.grid_sample`.
///
/// # Panics
/// When shapes do not fit.
#[track_caller]
pub fn grid_sample(
    x: &Tensor,
    grid: &Tensor,
    mode: GridSampleMode,
    padding: GridPadding,
    align_corners: bool,
) -> Tensor {
    let n = x.rank().saturating_sub(2);
    assert!(
        (n == 2 || n == 3)
            && grid.rank() == x.rank()
            && grid.size(-1) == n
            && grid.shape()[0] == x.shape()[0],
        "grid_sample: expected [N, C, H, W] with [N, h, w, 2], or [N, C, D, H, W] with [N, d, h, w, 3]; got {:?} with {:?}",
        x.shape(),
        grid.shape()
    );
    let s = Sampler::new(x, n, padding, align_corners);
    let grid = widen(grid).to_dtype(s.rows.dtype());
    // Coordinates in elements, slowest dimension first; the grid has the fastest first.
    let places: Vec<Tensor> =
        (0..n).map(|d| s.unnormalise(&grid.select(-1, (n - 1 - d) as isize), s.sizes[d])).collect();
    let y = match mode {
        GridSampleMode::Nearest => {
            let whole: Vec<Tensor> = (0..n)
                .map(|d| {
                    let p = s.bound(&places[d].detach(), s.sizes[d]);
                    p.unary(UnaryOp::Round, p.0.at)
                })
                .collect();
            s.values(&whole)
        }
        GridSampleMode::Bilinear => {
            let places: Vec<Tensor> = (0..n).map(|d| s.bound(&places[d], s.sizes[d])).collect();
            let low: Vec<Tensor> = places.iter().map(|p| floor(&p.detach())).collect();
            let rest: Vec<Tensor> = (0..n).map(|d| &places[d] - &low[d]).collect();
            let mut total: Option<Tensor> = None;
            for corner in 0..1usize << n {
                let mut weight: Option<Tensor> = None;
                let mut whole = Vec::new();
                for d in 0..n {
                    let upper = corner >> d & 1 == 1;
                    let w = if upper { rest[d].clone() } else { 1.0 - &rest[d] };
                    whole.push(if upper { &low[d] + 1.0 } else { low[d].clone() });
                    weight = Some(match weight {
                        Some(v) => v * w,
                        None => w,
                    });
                }
                let weight = weight.expect("has dimensions").unsqueeze(-1);
                let part = s.values(&whole) * weight;
                total = Some(match total {
                    Some(t) => t + part,
                    None => part,
                });
            }
            total.expect("has corners")
        }
        GridSampleMode::Bicubic => {
            let low: Vec<Tensor> = places.iter().map(|p| floor(&p.detach())).collect();
            let weights: Vec<[Tensor; 4]> =
                (0..n).map(|d| cubic_weights(&(&places[d] - &low[d]))).collect();
            let taps: Vec<[Tensor; 4]> = (0..n)
                .map(|d| {
                    std::array::from_fn(|i| s.bound(&(&low[d] + (i as f64 - 1.0)), s.sizes[d]))
                })
                .collect();
            let mut total: Option<Tensor> = None;
            for tap in 0..1usize << (2 * n) {
                // Two bits for each dimension, the fastest one last.
                let at = |d: usize| tap >> (2 * (n - 1 - d)) & 3;
                let whole: Vec<Tensor> = (0..n).map(|d| taps[d][at(d)].clone()).collect();
                let weight = (1..n)
                    .fold(weights[0][at(0)].clone(), |w, d| w * &weights[d][at(d)])
                    .unsqueeze(-1);
                let part = s.values(&whole) * weight;
                total = Some(match total {
                    Some(t) => t + part,
                    None => part,
                });
            }
            total.expect("has taps")
        }
    };
    // [N, out.., C] to [N, C, out..]
    let mut order: Dims = Dims::from_slice(&[0, n + 1]);
    order.extend(1..=n);
    y.permute(&order).to_dtype(x.dtype().to_float())
}

/// The weights of the four elements around a distance `t` from the second.
fn cubic_weights(t: &Tensor) -> [Tensor; 4] {
    const A: f64 = resize::CUBIC;
    let near = |d: &Tensor| (d * (A + 2.0) - (A + 3.0)) * d * d + 1.0;
    let far = |d: &Tensor| ((d * A - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A;
    let back = 1.0 - t;
    [far(&(t + 1.0)), near(t), near(&back), far(&(&back + 1.0))]
}

struct Sampler {
    /// The image by pixels: `[N * H * W, C]`.
    rows: Tensor,
    sizes: Vec<usize>,
    batch: usize,
    padding: GridPadding,
    align_corners: bool,
}

impl Sampler {
    fn new(x: &Tensor, n: usize, padding: GridPadding, align_corners: bool) -> Sampler {
        let mut order: Dims = Dims::from_slice(&[0]);
        order.extend(2..n + 2);
        order.push(1);
        let sizes = x.shape()[2..].to_vec();
        let pixels: usize = sizes.iter().product();
        let rows = widen(x).permute(&order).reshape([x.shape()[0] * pixels, x.shape()[1]]);
        Sampler { rows, sizes, batch: x.shape()[0], padding, align_corners }
    }

    /// -1..1 to elements.
    fn unnormalise(&self, g: &Tensor, size: usize) -> Tensor {
        let size = size as f64;
        if self.align_corners {
            (g + 1.0) * ((size - 1.0) / 2.0)
        } else {
            ((g + 1.0) * size - 1.0) * 0.5
        }
    }

    /// Places outside brought to where their value comes from.
    fn bound(&self, p: &Tensor, size: usize) -> Tensor {
        let last = size as f64 - 1.0;
        let clip =
            |p: &Tensor| pick(&p.le(0.0), number(p, 0.0), &pick(&p.ge(last), number(p, last), p));
        match self.padding {
            GridPadding::Zeros => p.clone(),
            GridPadding::Border => clip(p),
            GridPadding::Reflection => {
                let (low, span) =
                    if self.align_corners { (0.0, last) } else { (-0.5, size as f64) };
                if span == 0.0 {
                    return p * 0.0;
                }
                let distance = (p - low).abs();
                let extra = distance.fmod(span);
                let flips = floor(&(distance.detach() / span));
                let odd = flips.fmod(2.0).eq(1.0);
                clip(&(pick(&odd, span - &extra, &extra) + low))
            }
        }
    }

    /// Values at whole places `[N, out..]`: `[N, out.., C]`; zeros outside.
    fn values(&self, whole: &[Tensor]) -> Tensor {
        let at = Location::caller();
        let mut index: Option<Tensor> = None;
        let mut inside: Option<Tensor> = None;
        for (p, size) in whole.iter().zip(&self.sizes) {
            let last = *size as f64 - 1.0;
            let p = p.detach();
            let ok = p.ge(0.0) * p.le(last);
            let safe = pick(&ok, &p, &number(&p, 0.0)).to_dtype(DType::I64);
            index = Some(match index {
                Some(i) => i * *size as i64 + safe,
                None => safe,
            });
            inside = Some(match inside {
                Some(i) => i * ok,
                None => ok,
            });
        }
        let (index, inside) = (index.expect("has dimensions"), inside.expect("has dimensions"));
        let pixels: usize = self.sizes.iter().product();
        let batch = super::iota_along(&index, self.batch, 0, index.rank()) * pixels as i64;
        let values = self.rows.prim_take(&(index + batch), at);
        pick(&inside.logical_not().unsqueeze(-1), number(&values, 0.0), &values)
    }
}

/// The grid for [`grid_sample`] that an affine map makes: `theta: [N, 2, 3]` and `size = [N, C, H, W]` give `[N, H, W, 2]`;
/// `[N, 3, 4]` and `[N, C, D, H, W]` give `[N, D, H, W, 3]`. Counterpart: `torch.nn.functional.affine_grid`.
///
/// # Panics
/// When shapes do not fit.
#[track_caller]
pub fn affine_grid(theta: &Tensor, size: &[usize], align_corners: bool) -> Tensor {
    let n = size.len().saturating_sub(2);
    assert!(
        (n == 2 || n == 3) && theta.shape() == [size[0], n, n + 1],
        "affine_grid: expected theta [N, 2, 3] with [N, C, H, W] or [N, 3, 4] with [N, C, D, H, W]; got {:?} with {size:?}",
        theta.shape()
    );
    let spatial = &size[2..];
    let pixels: usize = spatial.iter().product();
    let line = |size: usize| -> Vec<f64> {
        (0..size)
            .map(|i| match (size, align_corners) {
                (1, true) => 0.0,
                (_, true) => -1.0 + 2.0 * i as f64 / (size as f64 - 1.0),
                _ => (2.0 * i as f64 + 1.0) / size as f64 - 1.0,
            })
            .collect()
    };
    let lines: Vec<Vec<f64>> = spatial.iter().map(|s| line(*s)).collect();
    let mut base = Vec::with_capacity(pixels * (n + 1));
    for p in 0..pixels {
        // Fastest dimension first: x, y, z, 1.
        let mut rest = p;
        for d in (0..n).rev() {
            base.push(lines[d][rest % spatial[d]]);
            rest /= spatial[d];
        }
        base.push(1.0);
    }
    let base = beside(theta, || Tensor::from_slice(&base, [pixels, n + 1]));
    let wide = widen(theta);
    let grid = base.to_dtype(wide.dtype()).matmul(&wide.mt());
    let mut shape = Dims::from_slice(&[size[0]]);
    shape.extend_from_slice(spatial);
    shape.push(n);
    grid.reshape(&shape).to_dtype(theta.dtype())
}
