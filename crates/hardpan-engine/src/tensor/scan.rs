//! Running folds along one dimension.

use crate::dtype::DType;
use crate::node::Tensor;
use crate::op::ScanOp;
use crate::shape::axis_of;
use std::panic::Location;

impl Tensor {
    #[track_caller]
    fn scan(&self, op: ScanOp, dim: isize) -> Tensor {
        let at = Location::caller();
        let axis = axis_of(op.name(), dim, self.rank());
        if self.rank() == 0 {
            return self.clone();
        }
        self.prim_scan(op, axis, at)
    }

    fn whole(&self) -> Tensor {
        if self.dtype().is_float() { self.clone() } else { self.to_dtype(DType::I64) }
    }

    /// Running sum along `dim`; integers and bool give i64. Counterpart: `torch.cumsum`.
    #[track_caller]
    pub fn cumsum(&self, dim: isize) -> Tensor {
        self.whole().scan(ScanOp::Sum, dim)
    }

    /// Running product along `dim`; integers and bool give i64. Counterpart: `torch.cumprod`.
    #[track_caller]
    pub fn cumprod(&self, dim: isize) -> Tensor {
        self.whole().scan(ScanOp::Prod, dim)
    }

    /// Running `ln(sum(e^x))` along `dim`. Counterpart: `torch.logcumsumexp`.
    #[track_caller]
    pub fn logcumsumexp(&self, dim: isize) -> Tensor {
        self.to_dtype(self.dtype().to_float()).scan(ScanOp::LogSumExp, dim)
    }

    /// Running maximum along `dim`, and the position (i64) of each, the last of equals. Counterpart: `torch.cummax`.
    #[track_caller]
    pub fn cummax(&self, dim: isize) -> (Tensor, Tensor) {
        self.running(ScanOp::Max, dim)
    }

    /// Running minimum along `dim`, and the position (i64) of each, the last of equals. Counterpart: `torch.cummin`.
    #[track_caller]
    pub fn cummin(&self, dim: isize) -> (Tensor, Tensor) {
        self.running(ScanOp::Min, dim)
    }

    #[track_caller]
    fn running(&self, op: ScanOp, dim: isize) -> (Tensor, Tensor) {
        let at = Location::caller();
        let axis = axis_of(op.name(), dim, self.rank());
        if self.rank() == 0 {
            return (self.clone(), self.zeros_like().to_dtype(DType::I64));
        }
        // A position counts where the element equals the running value; the largest so far is the last of them.
        let x = self.detach();
        let best = x.prim_scan(op, axis, at);
        let mut hit = x.eq(&best);
        if x.dtype().is_float() {
            hit = hit.logical_or(x.isnan());
        }
        let mut shape = vec![1usize; self.rank()];
        shape[axis] = self.shape()[axis];
        let place = Tensor::iota(shape[axis]).reshape(&shape).broadcast_at(self.shape(), at);
        let index = place.where_(&hit, 0).prim_scan(ScanOp::Max, axis, at);
        (self.along(axis, &index, at), index)
    }
}
