//! Folds composed of the primitive ones: products, tests of all and any, counts, logarithms of sums, folds that skip NaN.

use super::arguments::Axes;
use super::elementwise::wide;
use crate::dtype::DType;
use crate::node::Tensor;
use crate::op::ReduceOp;
use crate::shape::Dims;
use std::panic::Location;

type At = &'static Location<'static>;

/// For every method `name` that takes resolved axes: `name(dims)`, which drops the dimensions, and `name_keepdim(dims)`.
macro_rules! folds {
    ($($(#[$doc:meta])* $name:ident, $keep:ident => $f:path;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self, dims: impl Axes) -> Tensor {
                let axes = dims.axes(stringify!($name), self.rank());
                let at = Location::caller();
                $f(self, &axes, at).drop_axes(&axes, at)
            }
            #[doc = concat!("As [`Tensor::", stringify!($name), "`], keeping the dimensions with size 1.")]
            #[track_caller]
            pub fn $keep(&self, dims: impl Axes) -> Tensor {
                let axes = dims.axes(stringify!($name), self.rank());
                $f(self, &axes, Location::caller())
            }
        )*}
    };
}
pub(crate) use folds;

folds! {
    /// Product over `dims`; integers and bool give i64. Counterpart: `torch.prod`.
    prod, prod_keepdim => prod;
    /// True where every element over `dims` is not zero (`u8` stays `u8`). Counterpart: `torch.all`.
    all, all_keepdim => all;
    /// True where some element over `dims` is not zero (`u8` stays `u8`). Counterpart: `torch.any`.
    any, any_keepdim => any;
    /// Number of elements over `dims` that are not zero, i64. Counterpart: `torch.count_nonzero`.
    count_nonzero, count_nonzero_keepdim => count_nonzero;
    /// Sum over `dims` without NaN. Counterpart: `torch.nansum`.
    nansum, nansum_keepdim => nansum;
    /// Mean over `dims` without NaN; NaN where nothing is left. Counterpart: `torch.nanmean`.
    nanmean, nanmean_keepdim => nanmean;
    /// `ln(sum(e^x))` over `dims`, without overflow on the way. Counterpart: `torch.logsumexp`.
    logsumexp, logsumexp_keepdim => logsumexp;
}

fn prod(x: &Tensor, axes: &[usize], at: At) -> Tensor {
    let x = if x.dtype().is_float() { x.clone() } else { x.prim_cast(DType::I64, at) };
    x.prim_reduce(ReduceOp::Prod, axes, at)
}

/// 1 where all are true, as i32.
fn all_true(x: &Tensor, axes: &[usize], at: At) -> Tensor {
    x.prim_cast(DType::Bool, at).prim_cast(DType::I32, at).prim_reduce(ReduceOp::Prod, axes, at)
}

fn truth(x: &Tensor) -> DType {
    if x.dtype() == DType::U8 { DType::U8 } else { DType::Bool }
}

fn all(x: &Tensor, axes: &[usize], at: At) -> Tensor {
    all_true(x, axes, at).prim_cast(truth(x), at)
}

fn any(x: &Tensor, axes: &[usize], at: At) -> Tensor {
    let none = all_true(&x.logical_not(), axes, at).prim_cast(DType::Bool, at);
    none.logical_not().prim_cast(truth(x), at)
}

fn count_nonzero(x: &Tensor, axes: &[usize], at: At) -> Tensor {
    let hits = x.prim_cast(DType::Bool, at).prim_cast(DType::I64, at);
    hits.prim_reduce(ReduceOp::Sum, axes, at)
}

fn nansum(x: &Tensor, axes: &[usize], at: At) -> Tensor {
    if !x.dtype().is_float() {
        return x.sum_at(axes, true, at);
    }
    x.zeros_like().where_(&x.isnan(), x).prim_reduce(ReduceOp::Sum, axes, at)
}

fn nanmean(x: &Tensor, axes: &[usize], at: At) -> Tensor {
    if !x.dtype().is_float() {
        return x.mean_at(axes, true, at);
    }
    let count = count_nonzero(&x.isnan().logical_not(), axes, at);
    let x32 = wide(x);
    (nansum(&x32, axes, at) / count.prim_cast(x32.dtype(), at)).prim_cast(x.dtype(), at)
}

fn logsumexp(x: &Tensor, axes: &[usize], at: At) -> Tensor {
    let dtype = x.dtype().to_float();
    let x = wide(x);
    let mut shape = Dims::from_slice(x.shape());
    for a in axes {
        shape[*a] = 1;
    }
    if axes.iter().any(|a| x.shape()[*a] == 0) {
        return Tensor::full_dtype(&shape, f64::NEG_INFINITY, dtype);
    }
    // Any shift gives the same result and gradient, so it takes no part in differentiation.
    let m = x.detach().prim_reduce(ReduceOp::Max, axes, at);
    let m = m.zeros_like().where_(&m.isinf(), &m);
    let total = (x - &m).exp().prim_reduce(ReduceOp::Sum, axes, at);
    (total.log() + m).prim_cast(dtype, at)
}
