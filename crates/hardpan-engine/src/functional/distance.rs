//! Norms and distances between vectors.

use super::{Tensor, at_least_through, beside, in_compute_dtype, pick, widen};
use crate::shape::{Dims, axis_of};

/// The `p`-norm of `x` over `axes`, kept with size 1; the gradient of a norm of 0 is 0.
pub(super) fn norm_keepdim(x: &Tensor, p: f64, axes: &Dims) -> Tensor {
    if p == 0.0 {
        return x.ne(0.0).to_dtype(x.dtype()).sum_keepdim(axes);
    }
    if p == 1.0 {
        return x.abs().sum_keepdim(axes);
    }
    if p == f64::INFINITY {
        return x.abs().amax_keepdim(axes);
    }
    if p == f64::NEG_INFINITY {
        return x.abs().amin_keepdim(axes);
    }
    if p == 2.0 {
        let square = (x * x).sum_keepdim(axes);
        let zero = square.eq(0.0);
        return pick(&zero, 0.0, &pick(&zero, 1.0, &square).sqrt());
    }
    let size = x.abs();
    let zero = size.eq(0.0);
    let at_zero = if p > 0.0 { 0.0 } else { f64::INFINITY };
    let powers = pick(&zero, at_zero, &pick(&zero, 1.0, &size).pow(p)).sum_keepdim(axes);
    let edge = powers.eq(at_zero);
    pick(&edge, 0.0, &pick(&edge, 1.0, &powers).pow(1.0 / p))
}

/// The `p`-norm of `x1 - x2 + eps` along the last dimension (PyTorch's defaults: p 2, eps 1e-6).
///
/// Counterpart: `torch.nn.functional.pairwise_distance`.
#[track_caller]
pub fn pairwise_distance(x1: &Tensor, x2: &Tensor, p: f64, eps: f64, keepdim: bool) -> Tensor {
    let d = x1 - x2;
    in_compute_dtype(&d, |d| {
        let axes: Dims =
            if d.rank() == 0 { Dims::new() } else { Dims::from_slice(&[d.rank() - 1]) };
        let norm = norm_keepdim(&(d + eps), p, &axes);
        if keepdim || d.rank() == 0 { norm } else { norm.squeeze(-1) }
    })
}

/// The cosine of the angle between `x1` and `x2` along `dim`; each length counts as at least `eps` (PyTorch's defaults: dim 1,
/// eps 1e-8). Shapes broadcast.
///
/// Counterpart: `torch.nn.functional.cosine_similarity`.
#[track_caller]
pub fn cosine_similarity(x1: &Tensor, x2: &Tensor, dim: isize, eps: f64) -> Tensor {
    let dtype = crate::result_type(x1, x2).to_float();
    let shape = crate::shape::broadcast(x1.shape(), x2.shape()).unwrap_or_else(|| {
        panic!(
            "cosine_similarity: shapes {:?} and {:?} do not broadcast together",
            x1.shape(),
            x2.shape()
        )
    });
    let axis = axis_of("cosine_similarity", dim, shape.len());
    let axes: Dims = if shape.is_empty() { Dims::new() } else { Dims::from_slice(&[axis]) };
    let unit = |x: &Tensor| {
        let x = widen(&x.to_dtype(dtype)).broadcast_to(&shape);
        let length = at_least_through(&norm_keepdim(&x, 2.0, &axes), eps);
        x / length
    };
    (unit(x1) * unit(x2)).sum(&axes).to_dtype(dtype)
}

/// Distances between all pairs of rows of `x: [n, d]`: `[n (n - 1) / 2]` (PyTorch's default p is 2).
///
/// Counterpart: `torch.nn.functional.pdist`.
#[track_caller]
pub fn pdist(x: &Tensor, p: f64) -> Tensor {
    assert!(x.rank() == 2, "pdist: expected [n, d], got shape {:?}", x.shape());
    let n = x.shape()[0];
    let pairs = (0..n as i64).flat_map(|i| (i + 1..n as i64).map(move |j| (i, j)));
    let (left, right): (Vec<i64>, Vec<i64>) = pairs.unzip();
    if left.is_empty() {
        return (x.sum(..) * 0.0).broadcast_to([1]).narrow(0, 0, 0);
    }
    let rows = |index: Vec<i64>| {
        let index = beside(x, || Tensor::from_slice(&index, [index.len()]));
        x.prim_take(&index, x.0.at)
    };
    let d = rows(left) - rows(right);
    in_compute_dtype(&d, |d| norm_keepdim(d, p, &Dims::from_slice(&[1])).squeeze(-1))
}
