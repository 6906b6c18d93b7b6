//! What PyTorch calls `torch.nn.functional`: activations, convolutions, pooling, normalisation, losses and the rest, as plain
//! functions of tensors.
//!
//! Everything here is composed of the primitives of [`crate::op`], so gradients of any order come for free and the planner
//! fuses the parts. One file a family; functions with many arguments take an options struct with a `Default` that is
//! PyTorch's. Half precision inputs are computed in `f32` and rounded once at the end.
//!
//! ```
//! use hardpan_engine::{Tensor, functional as f};
//! let logits = Tensor::from_slice(&[2.0f32, 0.0, 0.0, 3.0], [2, 2]).requires_grad();
//! let target = Tensor::from_slice(&[0i64, 1], [2]);
//! let loss = f::cross_entropy(&logits, &target);
//! loss.backward();
//! assert!((loss.item::<f32>() - 0.08776).abs() < 1e-4);
//! ```

mod activation;
mod attention;
mod conv;
mod ctc;
mod distance;
mod dropout;
mod embedding;
mod fold;
mod grid;
mod init;
mod loss;
mod loss_margin;
mod loss_point;
mod norm;
mod pad;
mod pool;
mod pool_adaptive;
mod pool_fractional;
mod pool_window;
mod recurrent;
mod resize;
mod shuffle;
mod spatial;

pub use activation::*;
pub use attention::*;
pub use conv::*;
pub use ctc::*;
pub use distance::*;
pub use dropout::*;
pub use embedding::*;
pub use fold::*;
pub use grid::*;
pub use init::*;
pub use loss::*;
pub use loss_margin::*;
pub use loss_point::*;
pub use norm::*;
pub use pad::*;
pub use pool::*;
pub use pool_adaptive::*;
pub use pool_fractional::*;
pub use recurrent::*;
pub use resize::*;
pub use shuffle::*;
pub use spatial::{Padding, Spatial};

use crate::dtype::{DType, Scalar};
use crate::node::Tensor;
use crate::op::{BinaryOp, UnaryOp};
use crate::tensor::arguments::Operand;
use crate::tensor::math::{binary_as, select};
use smallvec::SmallVec;
use std::panic::Location;

/// The dtype a composed formula is computed in: floats as they are, half types and integers as `f32`.
fn compute_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

/// `x` in the dtype formulas are computed in.
fn widen(x: &Tensor) -> Tensor {
    x.prim_cast(compute_dtype(x.dtype()), x.0.at)
}

/// Applies `f` in the computing dtype and rounds once to the float dtype of `x`.
fn in_compute_dtype(x: &Tensor, f: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
    f(&widen(x)).to_dtype(x.dtype().to_float())
}

/// Runs `f` with new tensors made on the device of `x`.
fn beside<R>(x: &Tensor, f: impl FnOnce() -> R) -> R {
    crate::dev::with_device(x.device(), f)
}

/// `a` (a tensor, or a number in the dtype of `b`) where `condition` holds, else `b`.
#[track_caller]
fn pick(condition: &Tensor, a: impl Operand, b: &Tensor) -> Tensor {
    let at = Location::caller();
    select(condition, &a.tensor_like(b, at), b, at)
}

/// A rank-0 constant in the dtype of `like`.
#[track_caller]
fn number(like: &Tensor, value: impl Into<Scalar>) -> Tensor {
    let at = Location::caller();
    beside(like, || Tensor::constant(value.into(), like.dtype(), at))
}

/// Integer division of i64 tensors, toward zero.
#[track_caller]
fn int_div(a: &Tensor, b: usize) -> Tensor {
    let at = Location::caller();
    let b = beside(a, || Tensor::constant(Scalar::Int(b as i64), DType::I64, at));
    binary_as(BinaryOp::Div, a, &b, DType::I64, at)
}

/// `x`, but at least `low`; the gradient passes where `x >= low` (PyTorch's `clamp_min`).
#[track_caller]
fn at_least(x: &Tensor, low: f64) -> Tensor {
    pick(&x.lt(low), low, x)
}

/// `x`, but at least `low`, with the gradient passing everywhere as if nothing had been cut.
#[track_caller]
fn at_least_through(x: &Tensor, low: f64) -> Tensor {
    pick(&x.lt(low), (x - x.detach()) + low, x)
}

/// The value of `value` with the gradient of `carrier`: both of one shape and dtype.
fn value_with_gradient_of(value: &Tensor, carrier: &Tensor) -> Tensor {
    if !carrier.is_requires_grad() {
        return value.detach();
    }
    let zero = carrier - carrier.detach();
    // Infinite carriers would give NaN here; their gradient is meaningless anyway.
    let zero = pick(&zero.eq(&zero), &zero, &number(&zero, 0.0));
    zero + value.detach()
}

fn floor(x: &Tensor) -> Tensor {
    x.unary(UnaryOp::Floor, x.0.at)
}

/// `0..n` as i64 along `axis` of `rank` dimensions, on the device of `like`.
fn iota_along(like: &Tensor, n: usize, axis: usize, rank: usize) -> Tensor {
    let mut shape: SmallVec<[usize; 6]> = SmallVec::from_elem(1, rank);
    shape[axis] = n;
    beside(like, || Tensor::iota(n)).reshape(&shape[..])
}

/// How a loss turns elements into its result. Counterpart: the `reduction` argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reduction {
    /// One value for each element.
    None,
    /// The mean of all elements.
    #[default]
    Mean,
    /// The sum of all elements.
    Sum,
}

impl Reduction {
    /// `none`, `mean` or `sum`.
    pub fn from_name(name: &str) -> Option<Reduction> {
        Some(match name {
            "none" => Reduction::None,
            "mean" => Reduction::Mean,
            "sum" => Reduction::Sum,
            _ => return None,
        })
    }

    /// Reduces `loss` and rounds to `dtype`.
    fn apply(self, loss: Tensor, dtype: DType) -> Tensor {
        match self {
            Reduction::None => loss,
            Reduction::Mean => loss.mean(..),
            Reduction::Sum => loss.sum(..),
        }
        .to_dtype(dtype)
    }
}
