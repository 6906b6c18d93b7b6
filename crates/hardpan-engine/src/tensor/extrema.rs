//! Largest and smallest elements together with where they are.

use super::arguments::Axes;
use crate::dtype::DType;
use crate::node::Tensor;
use crate::op::ReduceOp;
use crate::shape::{Dims, axis_of};
use std::panic::Location;

impl Tensor {
    /// Elements of `self` at positions `index` (i64, not negative) along `axis`; all other sizes of the two agree.
    pub(crate) fn along(
        &self,
        axis: usize,
        index: &Tensor,
        at: &'static Location<'static>,
    ) -> Tensor {
        if self.rank() == 0 {
            return self.broadcast_at(index.shape(), at);
        }
        let shape = self.shape();
        let n = shape[axis];
        let inner: usize = shape[axis + 1..].iter().product();
        let outer: usize = shape[..axis].iter().product();
        let count = index.shape()[axis];
        let flat = self.prim_reshape(&[self.numel()], at);
        let index3 = index.prim_reshape(&[outer, count, inner], at);
        let mut place = index3;
        if inner > 1 {
            place = place * inner + Tensor::iota(inner);
        }
        if outer > 1 {
            place += Tensor::iota(outer).reshape([outer, 1, 1]) * (n * inner);
        }
        flat.prim_take(&place.prim_reshape(index.shape(), at), at)
    }

    /// Largest element over all dimensions; ties share the gradient evenly. Counterpart: `torch.max(x)`.
    #[track_caller]
    pub fn max(&self) -> Tensor {
        self.amax(..)
    }

    /// Smallest element over all dimensions. Counterpart: `torch.min(x)`.
    #[track_caller]
    pub fn min(&self) -> Tensor {
        self.amin(..)
    }

    /// Largest elements along `dim`, which disappears, and their positions (i64, the first of equals). The gradient goes to
    /// that position alone. Counterpart: `torch.max(x, dim)`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let x = Tensor::from_slice(&[1.0f32, 5.0, 2.0, 4.0, 3.0, 0.0], [2, 3]);
    /// let (values, indices) = x.max_dim(1);
    /// assert_eq!(values.to_vec::<f32>(), vec![5.0, 4.0]);
    /// assert_eq!(indices.to_vec::<i64>(), vec![1, 0]);
    /// ```
    #[track_caller]
    pub fn max_dim(&self, dim: isize) -> (Tensor, Tensor) {
        self.extreme(ReduceOp::ArgMax, dim)
    }

    /// Smallest elements along `dim` and their positions. Counterpart: `torch.min(x, dim)`.
    #[track_caller]
    pub fn min_dim(&self, dim: isize) -> (Tensor, Tensor) {
        self.extreme(ReduceOp::ArgMin, dim)
    }

    #[track_caller]
    fn extreme(&self, op: ReduceOp, dim: isize) -> (Tensor, Tensor) {
        let at = Location::caller();
        let axis = axis_of(op.name(), dim, self.rank());
        if self.rank() == 0 {
            return (self.clone(), self.zeros_like().to_dtype(DType::I64));
        }
        let index = self.detach().arg_reduce(op, dim, true, at);
        let values = self.along(axis, &index, at);
        (values.drop_axes(&[axis], at), index.drop_axes(&[axis], at))
    }

    /// Smallest and largest element over `dims`. Counterpart: `torch.aminmax`.
    #[track_caller]
    pub fn aminmax(&self, dims: impl Axes + Copy) -> (Tensor, Tensor) {
        (self.amin(dims), self.amax(dims))
    }

    /// Row-major position (i64) of the first largest element of the whole tensor. Counterpart: `torch.argmax(x)`.
    #[track_caller]
    pub fn argmax_all(&self) -> Tensor {
        self.arg_all(ReduceOp::ArgMax)
    }

    /// Row-major position (i64) of the first smallest element of the whole tensor. Counterpart: `torch.argmin(x)`.
    #[track_caller]
    pub fn argmin_all(&self) -> Tensor {
        self.arg_all(ReduceOp::ArgMin)
    }

    #[track_caller]
    fn arg_all(&self, op: ReduceOp) -> Tensor {
        let at = Location::caller();
        assert!(
            self.numel() > 0,
            "{}: shape {:?} has no elements to compare",
            op.name(),
            self.shape()
        );
        let flat = self.prim_reshape(&Dims::from_slice(&[self.numel()]), at);
        flat.arg_reduce(op, 0, false, at)
    }
}
