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

    /// Differences of neighbours along `dim`, `n` times. Bool gives the exclusive or. Counterpart: `torch.diff` (concatenate
    /// `prepend` and `append` with [`Tensor::cat`] first).
    #[track_caller]
    pub fn diff(&self, n: usize, dim: isize) -> Tensor {
        let axis = axis_of("diff", dim, self.rank()) as isize;
        assert!(self.rank() > 0, "diff: needs at least one dimension");
        let mut x = self.clone();
        for _ in 0..n {
            let size = x.size(axis);
            if size == 0 {
                break;
            }
            let (high, low) = (x.narrow(axis, 1, size - 1), x.narrow(axis, 0, size - 1));
            x = if x.dtype() == DType::Bool { high.logical_xor(&low) } else { high - low };
        }
        x
    }

    /// Areas of the trapezoids between neighbours along `dim`, with positions `x` (broadcast) or distance `dx`.
    #[track_caller]
    fn trapezoids(&self, x: Option<&Tensor>, dx: f64, dim: isize) -> Tensor {
        let axis = axis_of("trapezoid", dim, self.rank()) as isize;
        let n = self.size(axis);
        let sums = if n == 0 {
            self.clone()
        } else {
            self.narrow(axis, 0, n - 1) + self.narrow(axis, 1, n - 1)
        };
        match x {
            None => sums * (dx * 0.5),
            Some(x) => {
                // One-dimensional positions lie along `dim`.
                let x = if x.rank() == 1 && self.rank() > 1 {
                    let mut shape = vec![1usize; self.rank()];
                    shape[axis as usize] = x.numel();
                    x.reshape(&shape)
                } else {
                    x.clone()
                };
                let d = x.diff(1, axis - self.rank() as isize);
                d * sums * 0.5
            }
        }
    }

    /// Integral by the trapezoidal rule along `dim`: with positions `x`, or equal distances `dx`. Counterpart:
    /// `torch.trapezoid`.
    #[track_caller]
    pub fn trapezoid(&self, x: Option<&Tensor>, dx: f64, dim: isize) -> Tensor {
        let back = axis_of("trapezoid", dim, self.rank()) as isize - self.rank() as isize;
        let areas = self.trapezoids(x, dx, dim);
        areas.to_dtype(areas.dtype().to_float()).sum(back)
    }

    /// Running integral by the trapezoidal rule along `dim`. Counterpart: `torch.cumulative_trapezoid`.
    #[track_caller]
    pub fn cumulative_trapezoid(&self, x: Option<&Tensor>, dx: f64, dim: isize) -> Tensor {
        let back =
            axis_of("cumulative_trapezoid", dim, self.rank()) as isize - self.rank() as isize;
        self.trapezoids(x, dx, dim).cumsum(back)
    }
}
