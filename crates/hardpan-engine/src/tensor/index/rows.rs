//! Whole slices along one dimension, chosen by a vector of indices.

use super::{At, Places, ScatterReduce, places, reduce_along, scatter_along, take_along};
use crate::dtype::DType;
use crate::node::Tensor;
use crate::op::ScatterOp;
use crate::shape::{Dims, axis_of};
use crate::tensor::arguments::Operand;
use crate::tensor::math::select;
use smallvec::SmallVec;
use std::panic::Location;

/// `self` with at least one dimension, the axis, and the indices as a vector.
#[track_caller]
fn prepare(op: &str, x: &Tensor, dim: isize, index: &Tensor, at: At) -> (Tensor, usize, Places) {
    let axis = axis_of(op, dim, x.rank());
    assert!(
        index.rank() <= 1,
        "{op}: indices must be a vector, got shape {:?}; see gather and i()",
        index.shape()
    );
    let x = if x.rank() == 0 { x.prim_reshape(&[1], at) } else { x.clone() };
    let index = index.prim_reshape(&[index.numel()], at);
    let p = places(op, &index, x.shape()[axis], false, at);
    (x, axis, p)
}

/// The source in the dtype of `x`, checked to have one slice for each index.
#[track_caller]
fn slices(op: &str, x: &Tensor, axis: usize, p: &Places, source: &Tensor, at: At) -> Tensor {
    let mut want = x.0.shape.clone();
    want[axis] = p.index.numel();
    let fits = source.shape() == want.as_slice()
        || (source.rank() == 0 && source.numel() == crate::shape::numel(&want));
    assert!(
        fits,
        "{op}: {} indices along dimension {axis} of {:?} need a source of shape {:?}, got {:?}",
        p.index.numel(),
        x.shape(),
        want.as_slice(),
        source.shape()
    );
    source.prim_cast(x.dtype(), at).prim_reshape(&want, at)
}

impl Tensor {
    /// The slices of `dim` at the given indices (integers, `[k]`): that dimension gets size `k`.
    ///
    /// Counterpart: `torch.index_select`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let table = Tensor::iota(6).reshape([3, 2]);
    /// let rows = table.index_select(0, &Tensor::from_slice(&[2i64, 0], [2]));
    /// assert_eq!(rows.to_vec::<i64>(), vec![4, 5, 0, 1]);
    /// ```
    ///
    /// # Panics
    /// When an index is out of range (when the values are not known yet: as soon as they are).
    #[track_caller]
    pub fn index_select(&self, dim: isize, index: &Tensor) -> Tensor {
        let at = Location::caller();
        let (x, axis, p) = prepare("index_select", self, dim, index, at);
        let out = take_along(&x, axis, &p, at);
        if self.rank() == 0 && p.index.numel() == 1 { out.prim_reshape(&[], at) } else { out }
    }

    /// `self` with `alpha * source` added to the slices of `dim` at the given indices; equal indices add up, in order.
    ///
    /// Counterpart: `torch.index_add`.
    #[track_caller]
    pub fn index_add(
        &self,
        dim: isize,
        index: &Tensor,
        source: &Tensor,
        alpha: impl Operand,
    ) -> Tensor {
        let at = Location::caller();
        let (x, axis, p) = prepare("index_add", self, dim, index, at);
        let mut source = slices("index_add", &x, axis, &p, source, at);
        if alpha.as_scalar().is_none_or(|a| a.as_f64() != 1.0) {
            source = (source * alpha).prim_cast(x.dtype(), at);
        }
        scatter_along(ScatterOp::Add, &x, axis, &p, &source, at).prim_reshape(self.shape(), at)
    }

    /// `self` with the slices of `dim` at the given indices replaced; of equal indices the last wins.
    ///
    /// Counterpart: `torch.index_copy`.
    #[track_caller]
    pub fn index_copy(&self, dim: isize, index: &Tensor, source: &Tensor) -> Tensor {
        let at = Location::caller();
        let (x, axis, p) = prepare("index_copy", self, dim, index, at);
        let source = slices("index_copy", &x, axis, &p, source, at);
        scatter_along(ScatterOp::Set, &x, axis, &p, &source, at).prim_reshape(self.shape(), at)
    }

    /// `self` with the slices of `dim` at the given indices set to one value (a number or a tensor of rank 0).
    ///
    /// Counterpart: `torch.index_fill`.
    #[track_caller]
    pub fn index_fill(&self, dim: isize, index: &Tensor, value: impl Operand) -> Tensor {
        let at = Location::caller();
        let (x, axis, p) = prepare("index_fill", self, dim, index, at);
        let value = value.tensor_like(&x, at);
        assert_eq!(value.numel(), 1, "index_fill: one value is needed, got {:?}", value.shape());
        // Not a scatter of many copies of the value: its gradient would count an index as often as it occurs.
        let (none, all) = crate::dev::with_device(x.device(), || {
            let flag = |n: usize, v: bool| Tensor::full_dtype([n], v, DType::Bool);
            (flag(x.shape()[axis], false), flag(p.index.numel(), true))
        });
        let filled = scatter_along(ScatterOp::Set, &none, 0, &p, &all, at);
        let mut shape: Dims = SmallVec::from_elem(1, x.rank());
        shape[axis] = x.shape()[axis];
        let value = value.prim_reshape(&[], at).prim_cast(x.dtype(), at);
        select(&filled.prim_reshape(&shape, at), &value, &x, at).prim_reshape(self.shape(), at)
    }

    /// `self` with the slices of `source` folded into those of `dim` at the given indices. Without `include_self` the old
    /// values at those indices do not take part.
    ///
    /// Counterpart: `torch.index_reduce`.
    #[track_caller]
    pub fn index_reduce(
        &self,
        dim: isize,
        index: &Tensor,
        source: &Tensor,
        how: ScatterReduce,
        include_self: bool,
    ) -> Tensor {
        let at = Location::caller();
        let (x, axis, p) = prepare("index_reduce", self, dim, index, at);
        let source = slices("index_reduce", &x, axis, &p, source, at);
        reduce_along(how, include_self, &x, axis, &p, &source, at).prim_reshape(self.shape(), at)
    }

    /// `self` with the slice at index `i` of `dim` replaced. Counterpart: `torch.select_scatter`.
    #[track_caller]
    pub fn select_scatter(&self, source: &Tensor, dim: isize, i: isize) -> Tensor {
        let at = Location::caller();
        let axis = axis_of("select_scatter", dim, self.rank());
        assert!(self.rank() > 0, "select_scatter: a tensor of rank 0 has no dimensions");
        let n = self.shape()[axis] as isize;
        assert!(
            (-n..n).contains(&i),
            "select_scatter: index {i} is out of range for dimension {axis} of shape {:?}",
            self.shape()
        );
        let mut want = self.0.shape.clone();
        want.remove(axis);
        assert_eq!(
            source.shape(),
            want.as_slice(),
            "select_scatter: source of the wrong shape for dimension {axis} of {:?}",
            self.shape()
        );
        want.insert(axis, 1);
        let mut region: smallvec::SmallVec<[(usize, isize); 6]> =
            smallvec::SmallVec::from_elem((0, 1), self.rank());
        region[axis].0 = i.rem_euclid(n) as usize;
        let source = source.prim_cast(self.dtype(), at).prim_reshape(&want, at);
        Tensor::prim_update(self, &region, &source, at)
    }

    /// Elements `start, start + step, ..` before `end` of a dimension. Negative numbers count from the end; what lies outside is
    /// cut off; `None` is the start or the end. Counterpart: `x[..., start:end:step]`.
    #[track_caller]
    pub fn slice(
        &self,
        dim: isize,
        start: Option<isize>,
        end: Option<isize>,
        step: usize,
    ) -> Tensor {
        let at = Location::caller();
        let (axis, first, length) = self.span("slice", dim, start, end, step);
        let mut region: smallvec::SmallVec<[(usize, isize); 6]> =
            smallvec::SmallVec::from_elem((0, 1), self.rank());
        region[axis] = (first, step as isize);
        let mut shape = self.0.shape.clone();
        shape[axis] = length;
        self.prim_slice(&region, &shape, at)
    }

    /// `self` with the elements that [`Tensor::slice`] reads replaced. Counterpart: `torch.slice_scatter`.
    #[track_caller]
    pub fn slice_scatter(
        &self,
        source: &Tensor,
        dim: isize,
        start: Option<isize>,
        end: Option<isize>,
        step: usize,
    ) -> Tensor {
        let at = Location::caller();
        let (axis, first, length) = self.span("slice_scatter", dim, start, end, step);
        let mut want = self.0.shape.clone();
        want[axis] = length;
        assert_eq!(
            source.shape(),
            want.as_slice(),
            "slice_scatter: source of the wrong shape for dimension {axis} of {:?}",
            self.shape()
        );
        let mut region: smallvec::SmallVec<[(usize, isize); 6]> =
            smallvec::SmallVec::from_elem((0, 1), self.rank());
        region[axis] = (first, step as isize);
        Tensor::prim_update(self, &region, &source.prim_cast(self.dtype(), at), at)
    }

    #[track_caller]
    fn span(
        &self,
        op: &str,
        dim: isize,
        start: Option<isize>,
        end: Option<isize>,
        step: usize,
    ) -> (usize, usize, usize) {
        let axis = axis_of(op, dim, self.rank());
        assert!(self.rank() > 0, "{op}: a tensor of rank 0 cannot be sliced");
        assert!(step > 0, "{op}: the step must be at least 1");
        let (first, length) = super::item::resolve(start, end, step, self.shape()[axis]);
        (axis, first, length)
    }
}
