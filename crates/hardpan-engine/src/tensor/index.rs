//! Reading and writing elements by position.
//!
//! - `item`: what stands between the brackets of `x[...]`; `subscript`: [`Tensor::i`] and [`Tensor::set_at`]
//! - `rows`: whole rows along a dimension (`index_select`, `index_add`, ...)
//! - `element`: single elements (`gather`, `scatter`, `take`, `put`); `masked`: by truth values
//!
//! Everything becomes one of two primitives on rows, take and scatter, with an index that is computed in the same kernel. Moving
//! whole rows costs one index each; only `gather` and `scatter` have an index for each element.

mod element;
pub mod item;
mod masked;
mod rows;
mod subscript;

use crate::dev::{DeviceId, with_device};
use crate::dtype::{DType, Scalar};
use crate::node::Tensor;
use crate::op::ScatterOp;
use crate::shape::{Dims, numel};
use std::panic::Location;

type At = &'static Location<'static>;

/// How values that meet at one place are combined by [`Tensor::scatter_reduce`] and [`Tensor::index_reduce`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScatterReduce {
    /// Added.
    Sum,
    /// Multiplied.
    Prod,
    /// Added and divided by their number (integers: rounded down).
    Mean,
    /// The largest.
    Amax,
    /// The smallest.
    Amin,
}

impl ScatterReduce {
    /// By PyTorch's name: `sum`, `prod`, `mean`, `amax`, `amin`.
    pub fn from_name(name: &str) -> Option<ScatterReduce> {
        Some(match name {
            "sum" => ScatterReduce::Sum,
            "prod" => ScatterReduce::Prod,
            "mean" => ScatterReduce::Mean,
            "amax" => ScatterReduce::Amax,
            "amin" => ScatterReduce::Amin,
            _ => return None,
        })
    }
}

/// Indices into `n` places as i64, and whether all are known to be in range.
#[derive(Clone)]
struct Places {
    index: Tensor,
    checked: bool,
}

/// Indices of at most this many elements whose values are there already are checked at once, at the user's line.
const CHECK_NOW: usize = 4096;

/// The values, if they are there already (so that nothing has to be run for them) and few enough to be looked at now.
fn known(index: &Tensor) -> Option<Vec<i64>> {
    let now = index.is_realised()
        && index.dtype() == DType::I64
        && index.device() == DeviceId::CPU
        && index.numel() <= CHECK_NOW;
    now.then(|| index.to_vec::<i64>())
}

/// Panics at the user's line if one of the values that are [`known`] is outside `0..n`.
#[track_caller]
pub(crate) fn check_known(op: &str, what: &str, index: &Tensor, n: usize, except: Option<i64>) {
    for (i, v) in known(index).into_iter().flatten().enumerate() {
        assert!(
            (0..n as i64).contains(&v) || Some(v) == except,
            "{op}: {what} {v} (element {i} of shape {:?}) is out of range: there are {n}, numbered from 0",
            index.shape()
        );
    }
}

/// `wrap`: negative indices count from the end.
#[track_caller]
fn places(op: &str, index: &Tensor, n: usize, wrap: bool, at: At) -> Places {
    assert!(
        index.dtype().is_int(),
        "{op}: indices must be integers, got {}{}",
        index.dtype(),
        if index.dtype() == DType::Bool {
            "; a mask belongs into masked_select or i()"
        } else {
            ""
        }
    );
    let index = index.prim_cast(DType::I64, at);
    let mut wrap = wrap;
    let mut checked = false;
    if let Some(values) = known(&index) {
        let low = if wrap { -(n as i64) } else { 0 };
        for (i, v) in values.iter().enumerate() {
            assert!(
                (low..n as i64).contains(v),
                "{op}: index {v} (element {i} of the indices) is out of range for a dimension of size {n}"
            );
        }
        wrap &= values.iter().any(|v| *v < 0);
        checked = true;
    }
    let index = if wrap { (&index + n).where_(&index.lt(0), &index) } else { index };
    Places { index, checked }
}

/// `linear` where `index` lies in `0..n`, else an index that the kernel reports: arithmetic must not move a wrong index
/// to a valid place.
fn guarded(linear: Tensor, p: &Places, n: usize, at: At) -> Tensor {
    if p.checked {
        return linear;
    }
    let below = p.index.lt(0);
    let above = p.index.ge(n);
    let wrong = Tensor::constant(Scalar::Int(-1), DType::I64, at);
    let linear = super::math::select(&below, &wrong, &linear, at);
    super::math::select(&above, &wrong, &linear, at)
}

/// Rows `[lead.., n, inner..]` flattened to `[lead * n, inner..]` with the index of every taken row, `[lead, index..]`.
fn row_numbers(shape: &[usize], axis: usize, p: &Places, at: At) -> Tensor {
    let outer = numel(&shape[..axis]);
    let n = shape[axis];
    if outer == 1 {
        return p.index.clone();
    }
    let k = p.index.numel();
    with_device(p.index.device(), || {
        let flat = Places { index: p.index.prim_reshape(&[1, k], at), checked: p.checked };
        let first = Tensor::iota(outer).prim_reshape(&[outer, 1], at) * n;
        guarded(first + &flat.index, &flat, n, at)
    })
}

fn joined(a: &[usize], b: &[usize], c: &[usize]) -> Dims {
    let mut out = Dims::from_slice(a);
    out.extend_from_slice(b);
    out.extend_from_slice(c);
    out
}

/// `x: [lead.., n, inner..]` and an index of shape `B` give `[lead.., B.., inner..]`.
fn take_along(x: &Tensor, axis: usize, p: &Places, at: At) -> Tensor {
    let (lead, n, inner) = (&x.shape()[..axis], x.shape()[axis], &x.shape()[axis + 1..]);
    let out = joined(lead, p.index.shape(), inner);
    if numel(&out) == 0 {
        return x.prim_reshape(&[x.numel()], at).narrow(0, 0, 0).prim_reshape(&out, at);
    }
    let rows = joined(&[numel(lead) * n], &[], inner);
    x.prim_reshape(&rows, at)
        .prim_take(&row_numbers(x.shape(), axis, p, at), at)
        .prim_reshape(&out, at)
}

/// `x: [lead.., n, inner..]` with rows of `source: [lead.., B.., inner..]` brought to the places.
fn scatter_along(
    op: ScatterOp,
    x: &Tensor,
    axis: usize,
    p: &Places,
    source: &Tensor,
    at: At,
) -> Tensor {
    if source.numel() == 0 {
        return x.clone();
    }
    let (lead, n, inner) = (&x.shape()[..axis], x.shape()[axis], &x.shape()[axis + 1..]);
    let rows = joined(&[numel(lead) * n], &[], inner);
    let index = row_numbers(x.shape(), axis, p, at);
    let source = source.prim_reshape(&joined(index.shape(), &[], inner), at);
    Tensor::prim_scatter(op, &x.prim_reshape(&rows, at), &index, &source, at)
        .prim_reshape(x.shape(), at)
}

/// `x` with `source` folded in at the places; see [`ScatterReduce`].
fn reduce_along(
    how: ScatterReduce,
    include_self: bool,
    x: &Tensor,
    axis: usize,
    p: &Places,
    source: &Tensor,
    at: At,
) -> Tensor {
    let start = |low: f64, int: i64| {
        if x.dtype().is_float() { Scalar::Float(low) } else { Scalar::Int(int) }
    };
    let (low, high) = integer_range(x.dtype());
    let (op, neutral) = match how {
        ScatterReduce::Sum | ScatterReduce::Mean => (ScatterOp::Add, Scalar::Int(0)),
        ScatterReduce::Prod => (ScatterOp::Mul, Scalar::Int(1)),
        ScatterReduce::Amax => (ScatterOp::Max, start(f64::NEG_INFINITY, low)),
        ScatterReduce::Amin => (ScatterOp::Min, start(f64::INFINITY, high)),
    };
    let base = if include_self {
        x.clone()
    } else {
        scatter_along(ScatterOp::Set, x, axis, p, &source.filled(neutral, at), at)
    };
    let out = scatter_along(op, &base, axis, p, source, at);
    if how != ScatterReduce::Mean {
        return out;
    }
    let zeros = x.filled(Scalar::Int(0), at);
    let met =
        scatter_along(ScatterOp::Add, &zeros, axis, p, &source.filled(Scalar::Int(1), at), at);
    let count = if include_self { met + 1 } else { met.maximum(1) };
    if x.dtype().is_float() {
        return out / count;
    }
    // Rounded down: one less where the truncated quotient left a negative remainder.
    let quotient = super::math::binary_as(crate::op::BinaryOp::Div, &out, &count, x.dtype(), at);
    let below = out.fmod(&count).lt(0).prim_cast(x.dtype(), at);
    quotient - below
}

/// Smallest and largest value of an integer type (bool: 0 and 1).
fn integer_range(dtype: DType) -> (i64, i64) {
    match dtype {
        DType::Bool => (0, 1),
        DType::U8 => (0, u8::MAX as i64),
        DType::I8 => (i8::MIN as i64, i8::MAX as i64),
        DType::I16 => (i16::MIN as i64, i16::MAX as i64),
        DType::I32 => (i32::MIN as i64, i32::MAX as i64),
        DType::U32 => (0, u32::MAX as i64),
        _ => (i64::MIN, i64::MAX),
    }
}
