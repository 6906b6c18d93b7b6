//! What tensor methods accept: shapes, axes, and operands that are tensors or plain numbers.

use crate::dtype::{DType, Scalar};
use crate::node::Tensor;
use crate::shape::{Dims, axis_of};
use std::panic::Location;

/// A list of sizes: arrays, slices and vectors of any integer type; `-1` (once, in `reshape` and `expand`) means
/// "what fits" or "as it is".
pub trait IntoSizes {
    /// The sizes, negative ones kept.
    fn sizes(&self) -> smallvec::SmallVec<[isize; 6]>;
}

/// Axes to work on: one integer (negative counts from the end), an array or slice of them, or `..` for all.
pub trait Axes {
    /// Resolved, ascending, distinct. Panics at the caller's line when out of range or repeated.
    fn axes(&self, op: &str, rank: usize) -> Dims;
}

#[track_caller]
fn resolve_axes(op: &str, rank: usize, dims: impl Iterator<Item = isize>) -> Dims {
    let mut out = Dims::new();
    for d in dims {
        let a = axis_of(op, d, rank);
        assert!(!out.contains(&a), "{op}: dimension {d} appears more than once");
        if rank > 0 {
            out.push(a);
        }
    }
    out.sort_unstable();
    out
}

impl Axes for std::ops::RangeFull {
    fn axes(&self, _op: &str, rank: usize) -> Dims {
        (0..rank).collect()
    }
}

macro_rules! integer_arguments {
    ($($t:ty),*) => {$(
        impl IntoSizes for [$t] {
            fn sizes(&self) -> smallvec::SmallVec<[isize; 6]> { self.iter().map(|d| *d as isize).collect() }
        }
        impl<const N: usize> IntoSizes for [$t; N] {
            fn sizes(&self) -> smallvec::SmallVec<[isize; 6]> { self.iter().map(|d| *d as isize).collect() }
        }
        impl IntoSizes for Vec<$t> {
            fn sizes(&self) -> smallvec::SmallVec<[isize; 6]> { self.iter().map(|d| *d as isize).collect() }
        }
        impl Axes for $t {
            #[track_caller]
            fn axes(&self, op: &str, rank: usize) -> Dims { resolve_axes(op, rank, std::iter::once(*self as isize)) }
        }
        impl Axes for [$t] {
            #[track_caller]
            fn axes(&self, op: &str, rank: usize) -> Dims { resolve_axes(op, rank, self.iter().map(|d| *d as isize)) }
        }
        impl<const N: usize> Axes for [$t; N] {
            #[track_caller]
            fn axes(&self, op: &str, rank: usize) -> Dims { resolve_axes(op, rank, self.iter().map(|d| *d as isize)) }
        }
        impl Axes for Vec<$t> {
            #[track_caller]
            fn axes(&self, op: &str, rank: usize) -> Dims { resolve_axes(op, rank, self.iter().map(|d| *d as isize)) }
        }
    )*};
}
integer_arguments!(i32, i64, isize, usize);

impl IntoSizes for Dims {
    fn sizes(&self) -> smallvec::SmallVec<[isize; 6]> {
        self.iter().map(|d| *d as isize).collect()
    }
}
impl<T: IntoSizes + ?Sized> IntoSizes for &T {
    fn sizes(&self) -> smallvec::SmallVec<[isize; 6]> {
        (**self).sizes()
    }
}
impl Axes for Dims {
    #[track_caller]
    fn axes(&self, op: &str, rank: usize) -> Dims {
        resolve_axes(op, rank, self.iter().map(|d| *d as isize))
    }
}
impl<T: Axes + ?Sized> Axes for &T {
    #[track_caller]
    fn axes(&self, op: &str, rank: usize) -> Dims {
        (**self).axes(op, rank)
    }
}

/// Sizes that must all be given (no -1).
#[track_caller]
pub(crate) fn shape_of(op: &str, sizes: &(impl IntoSizes + ?Sized)) -> Dims {
    sizes
        .sizes()
        .iter()
        .map(|d| {
            usize::try_from(*d)
                .unwrap_or_else(|_| panic!("{op}: sizes must not be negative, got {d}"))
        })
        .collect()
}

/// The other side of a binary operation: a tensor (by value or reference) or a plain number.
///
/// A number takes the tensor's dtype unless its kind is higher (a float with an integer tensor gives `f32`), as in PyTorch.
pub trait Operand {
    /// The tensor, or a rank-0 constant of the dtype that promotion beside `like` asks for.
    fn tensor_like(&self, like: &Tensor, at: &'static Location<'static>) -> Tensor;
    /// The bare number, if it is one.
    fn as_scalar(&self) -> Option<Scalar> {
        None
    }
}

impl Operand for Tensor {
    fn tensor_like(&self, _like: &Tensor, _at: &'static Location<'static>) -> Tensor {
        self.clone()
    }
}
impl Operand for &Tensor {
    fn tensor_like(&self, _like: &Tensor, _at: &'static Location<'static>) -> Tensor {
        (*self).clone()
    }
}
impl Operand for Scalar {
    fn tensor_like(&self, like: &Tensor, at: &'static Location<'static>) -> Tensor {
        let dtype = like.dtype().promote_scalar(self.dtype());
        crate::dev::with_device(like.device(), || Tensor::constant(*self, dtype, at))
    }
    fn as_scalar(&self) -> Option<Scalar> {
        Some(*self)
    }
}
macro_rules! operand_number {
    ($($t:ty),*) => {$(
        impl Operand for $t {
            fn tensor_like(&self, like: &Tensor, at: &'static Location<'static>) -> Tensor {
                Scalar::from(*self).tensor_like(like, at)
            }
            fn as_scalar(&self) -> Option<Scalar> { Some(Scalar::from(*self)) }
        }
    )*};
}
operand_number!(bool, i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, f32, f64);

/// The dtype two operands are combined in. Rank-0 tensors do not widen the precision of a tensor of the same kind.
///
/// Counterpart: `torch.result_type`.
pub fn result_type(a: &Tensor, b: &Tensor) -> DType {
    promote_ranked((a.dtype(), a.rank()), (b.dtype(), b.rank()))
}

pub(crate) fn promote_ranked(a: (DType, usize), b: (DType, usize)) -> DType {
    fn kind(d: DType) -> u8 {
        if d.is_float() {
            2
        } else if d == DType::Bool {
            0
        } else {
            1
        }
    }
    let (x, y) = (a.0, b.0);
    if (a.1 == 0) == (b.1 == 0) {
        return x.promote(y);
    }
    let (ranked, scalar) = if a.1 > 0 { (x, y) } else { (y, x) };
    if kind(scalar) > kind(ranked) { scalar } else { ranked }
}
