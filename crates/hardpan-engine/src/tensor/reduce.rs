//! Folds over dimensions: sum, mean, max and their relatives.

use super::arguments::Axes;
use crate::dtype::DType;
use crate::node::Tensor;
use crate::op::ReduceOp;
use crate::shape::{Dims, axis_of};
use std::panic::Location;

type At = &'static Location<'static>;

impl Tensor {
    /// A fold; `keepdim` keeps reduced dimensions with size 1.
    #[track_caller]
    pub(crate) fn reduce_at(&self, op: ReduceOp, axes: &[usize], keepdim: bool, at: At) -> Tensor {
        let out = self.prim_reduce(op, axes, at);
        if keepdim { out } else { out.drop_axes(axes, at) }
    }

    /// Removes the given axes, which have size 1.
    pub(crate) fn drop_axes(&self, axes: &[usize], at: At) -> Tensor {
        let shape: Dims =
            (0..self.rank()).filter(|d| !axes.contains(d)).map(|d| self.shape()[d]).collect();
        self.prim_reshape(&shape, at)
    }

    /// Sum over `dims` (one, several, or `..` for all), which disappear. Integers and bool give i64.
    ///
    /// Counterpart: `torch.sum`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let x = Tensor::ones([2, 3]);
    /// assert_eq!(x.sum(..).item::<f32>(), 6.0);
    /// assert_eq!(x.sum(-1).shape(), &[2]);
    /// assert_eq!(x.sum_keepdim([0]).shape(), &[1, 3]);
    /// ```
    #[track_caller]
    pub fn sum(&self, dims: impl Axes) -> Tensor {
        self.sum_at(&dims.axes("sum", self.rank()), false, Location::caller())
    }

    /// As [`Tensor::sum`], keeping the dimensions with size 1.
    #[track_caller]
    pub fn sum_keepdim(&self, dims: impl Axes) -> Tensor {
        self.sum_at(&dims.axes("sum", self.rank()), true, Location::caller())
    }

    pub(crate) fn sum_at(&self, axes: &[usize], keepdim: bool, at: At) -> Tensor {
        let x = if self.dtype().is_float() { self.clone() } else { self.prim_cast(DType::I64, at) };
        x.reduce_at(ReduceOp::Sum, axes, keepdim, at)
    }

    /// Mean over `dims`. Counterpart: `torch.mean` (integers become f32 here instead of an error).
    #[track_caller]
    pub fn mean(&self, dims: impl Axes) -> Tensor {
        self.mean_at(&dims.axes("mean", self.rank()), false, Location::caller())
    }

    /// As [`Tensor::mean`], keeping the dimensions with size 1.
    #[track_caller]
    pub fn mean_keepdim(&self, dims: impl Axes) -> Tensor {
        self.mean_at(&dims.axes("mean", self.rank()), true, Location::caller())
    }

    pub(crate) fn mean_at(&self, axes: &[usize], keepdim: bool, at: At) -> Tensor {
        let n: usize = axes.iter().map(|a| self.shape()[*a]).product();
        let x = self.prim_cast(self.dtype().to_float(), at);
        let total = x.reduce_at(ReduceOp::Sum, axes, keepdim, at);
        super::math::divide(
            &total,
            &crate::dev::with_device(self.device(), || {
                Tensor::constant(crate::Scalar::Float(n as f64), x.dtype(), at)
            }),
            at,
        )
    }

    /// Largest element over `dims`; ties share the gradient evenly. Counterpart: `torch.amax`.
    #[track_caller]
    pub fn amax(&self, dims: impl Axes) -> Tensor {
        self.checked_reduce(
            ReduceOp::Max,
            &dims.axes("amax", self.rank()),
            false,
            Location::caller(),
        )
    }

    /// As [`Tensor::amax`], keeping the dimensions with size 1.
    #[track_caller]
    pub fn amax_keepdim(&self, dims: impl Axes) -> Tensor {
        self.checked_reduce(
            ReduceOp::Max,
            &dims.axes("amax", self.rank()),
            true,
            Location::caller(),
        )
    }

    /// Smallest element over `dims`. Counterpart: `torch.amin`.
    #[track_caller]
    pub fn amin(&self, dims: impl Axes) -> Tensor {
        self.checked_reduce(
            ReduceOp::Min,
            &dims.axes("amin", self.rank()),
            false,
            Location::caller(),
        )
    }

    /// As [`Tensor::amin`], keeping the dimensions with size 1.
    #[track_caller]
    pub fn amin_keepdim(&self, dims: impl Axes) -> Tensor {
        self.checked_reduce(
            ReduceOp::Min,
            &dims.axes("amin", self.rank()),
            true,
            Location::caller(),
        )
    }

    #[track_caller]
    fn checked_reduce(&self, op: ReduceOp, axes: &[usize], keepdim: bool, at: At) -> Tensor {
        assert!(
            axes.iter().all(|a| self.shape()[*a] > 0),
            "{}: shape {:?} has no elements to reduce over {axes:?}",
            op.name(),
            self.shape()
        );
        self.reduce_at(op, axes, keepdim, at)
    }

    /// Index (i64) of the first largest element along `dim`, which disappears. Counterpart: `torch.argmax`.
    #[track_caller]
    pub fn argmax(&self, dim: isize) -> Tensor {
        self.arg_reduce(ReduceOp::ArgMax, dim, false, Location::caller())
    }

    /// Index (i64) of the first smallest element along `dim`. Counterpart: `torch.argmin`.
    #[track_caller]
    pub fn argmin(&self, dim: isize) -> Tensor {
        self.arg_reduce(ReduceOp::ArgMin, dim, false, Location::caller())
    }

    #[track_caller]
    pub(crate) fn arg_reduce(&self, op: ReduceOp, dim: isize, keepdim: bool, at: At) -> Tensor {
        let a = axis_of(op.name(), dim, self.rank());
        if self.rank() == 0 {
            return self.prim_reduce(op, &[], at);
        }
        self.checked_reduce(op, &[a], keepdim, at)
    }
}
