//! Elements chosen by truth values.

use super::{At, Places, take_along};
use crate::dev::with_device;
use crate::dtype::DType;
use crate::node::Tensor;
use crate::op::ScanOp;
use crate::shape::{Dims, broadcast};
use crate::tensor::arguments::Operand;
use crate::tensor::math::select;
use std::panic::Location;

#[track_caller]
fn common_shape(op: &str, x: &Tensor, mask: &Tensor) -> Dims {
    broadcast(x.shape(), mask.shape()).unwrap_or_else(|| {
        panic!("{op}: mask of shape {:?} does not broadcast with {:?}", mask.shape(), x.shape())
    })
}

/// Row-major positions where a mask holds; the values are read.
#[track_caller]
pub(super) fn positions(mask: &Tensor) -> Vec<i64> {
    let host = mask.prim_cast(DType::Bool, Location::caller()).to_host();
    host.bytes().iter().enumerate().filter(|(_, b)| **b != 0).map(|(i, _)| i as i64).collect()
}

/// One vector of coordinates for each dimension of `shape`.
pub(super) fn coordinates(flat: &[i64], shape: &[usize], like: &Tensor) -> Vec<Tensor> {
    let mut rest = flat.to_vec();
    let mut out: Vec<Tensor> = Vec::with_capacity(shape.len());
    for n in shape.iter().rev() {
        let n = *n as i64;
        let own: Vec<i64> = rest.iter().map(|i| i % n).collect();
        rest.iter_mut().for_each(|i| *i /= n);
        out.push(with_device(like.device(), || Tensor::from_slice(&own, [own.len()])));
    }
    out.reverse();
    out
}

impl Tensor {
    /// `value` (a number, or a tensor of rank 0) where `mask` holds, else `self`; both broadcast. The dtype stays that of `self`.
    ///
    /// Counterpart: `torch.masked_fill`.
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: impl Operand) -> Tensor {
        let at = Location::caller();
        let value = value.tensor_like(self, at);
        assert_eq!(
            value.numel(),
            1,
            "masked_fill: one value is needed, got shape {:?}; see where_",
            value.shape()
        );
        common_shape("masked_fill", self, mask);
        let value = value.prim_reshape(&[], at).prim_cast(self.dtype(), at);
        select(mask, &value, self, at)
    }

    /// The elements where `mask` holds, as a vector in row-major order; both broadcast. The mask is read, since the result's size
    /// depends on it. Counterpart: `torch.masked_select`.
    #[track_caller]
    pub fn masked_select(&self, mask: &Tensor) -> Tensor {
        let at = Location::caller();
        let shape = common_shape("masked_select", self, mask);
        let x = self.broadcast_at(&shape, at).prim_reshape(&[crate::shape::numel(&shape)], at);
        let rows = positions(&mask.prim_cast(DType::Bool, at).broadcast_at(&shape, at));
        let index = with_device(self.device(), || Tensor::from_slice(&rows, [rows.len()]));
        take_along(&x, 0, &Places { index, checked: true }, at)
    }

    /// The elements of `source` in order at the places where `mask` holds, else `self`. `mask` broadcasts with `self`;
    /// `source` needs at least as many elements as the mask has true ones.
    ///
    /// Counterpart: `torch.masked_scatter`.
    #[track_caller]
    pub fn masked_scatter(&self, mask: &Tensor, source: &Tensor) -> Tensor {
        let at = Location::caller();
        let shape = common_shape("masked_scatter", self, mask);
        let n = crate::shape::numel(&shape);
        let x = self.broadcast_at(&shape, at);
        let mask = mask.prim_cast(DType::Bool, at).broadcast_at(&shape, at);
        if source.numel() == 0 || n == 0 {
            let wanted = if n == 0 { 0 } else { positions(&mask).len() };
            assert_eq!(wanted, 0, "masked_scatter: {wanted} places but no values");
            return x;
        }
        let flat = mask.prim_reshape(&[n], at).prim_cast(DType::I64, at);
        // The place of each true element among the true ones; 0 for the others, whose value is not used.
        let order = flat.prim_scan(ScanOp::Sum, 0, at) * &flat - &flat;
        let source = source.prim_cast(self.dtype(), at).prim_reshape(&[source.numel()], at);
        let values = source.prim_take(&order, at).prim_reshape(&shape, at);
        select(&mask, &values, &x, at)
    }

    /// Coordinates of the elements that are not zero: `[count, rank]`, i64, in row-major order. The values are read.
    ///
    /// Counterpart: `torch.nonzero`.
    #[track_caller]
    pub fn nonzero(&self) -> Tensor {
        let rows = positions(self);
        if self.rank() == 0 {
            return with_device(self.device(), || Tensor::zeros_dtype([rows.len(), 0], DType::I64));
        }
        let columns = coordinates(&rows, self.shape(), self);
        Tensor::stack(&columns, 1)
    }

    /// As [`Tensor::nonzero`], one vector for each dimension (one for rank 0). Counterpart: `torch.where(condition)`,
    /// `torch.nonzero(as_tuple=True)`.
    #[track_caller]
    pub fn nonzero_tuple(&self) -> Vec<Tensor> {
        let x = self.atleast_1d();
        coordinates(&positions(&x), x.shape(), &x)
    }

    /// As [`Tensor::nonzero`]. Counterpart: `torch.argwhere`.
    #[track_caller]
    pub fn argwhere(&self) -> Tensor {
        self.nonzero()
    }
}

/// A mask over the leading dimensions of `x`, with sizes of 1 for the others.
#[track_caller]
pub(super) fn leading_mask(op: &str, mask: &Tensor, x: &Tensor, at: At) -> Tensor {
    let k = mask.rank();
    assert!(
        k <= x.rank() && mask.shape() == &x.shape()[..k],
        "{op}: mask of shape {:?} does not match the leading dimensions of {:?}",
        mask.shape(),
        x.shape()
    );
    let mut shape = mask.0.shape.clone();
    shape.resize(x.rank(), 1);
    mask.prim_cast(DType::Bool, at).prim_reshape(&shape, at)
}
