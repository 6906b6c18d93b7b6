//! Single elements, each with an index of its own.

use super::{At, Places, ScatterReduce, guarded, places, reduce_along, scatter_along, take_along};
use crate::dev::with_device;
use crate::node::Tensor;
use crate::op::ScatterOp;
use crate::shape::{axis_of, strides_of};
use crate::tensor::arguments::Operand;
use smallvec::SmallVec;
use std::panic::Location;

/// Positions in the flattened `x` of the elements that `index` names along `axis`.
fn flat_places(x: &Tensor, axis: usize, p: &Places, at: At) -> Places {
    let strides = strides_of(x.shape());
    let shape = p.index.shape();
    let rank = shape.len();
    let mut linear = match strides[axis] {
        1 => p.index.clone(),
        s => &p.index * s,
    };
    with_device(x.device(), || {
        for d in (0..rank).filter(|d| *d != axis && shape[*d] > 1) {
            let mut own: SmallVec<[usize; 6]> = SmallVec::from_elem(1, rank);
            own[d] = shape[d];
            let along = Tensor::iota(shape[d]).prim_reshape(&own, at) * strides[d];
            linear = &linear + along;
        }
        let plain = rank == 1;
        let index = if plain { linear } else { guarded(linear, p, x.shape()[axis], at) };
        Places { index, checked: p.checked }
    })
}

/// `x` and `index` with at least one dimension, checked against each other, and the flat positions.
#[track_caller]
fn prepare(
    op: &str,
    x: &Tensor,
    dim: isize,
    index: &Tensor,
    wrap: bool,
    at: At,
) -> (Tensor, Places) {
    let axis = axis_of(op, dim, x.rank());
    let full = |t: &Tensor| if t.rank() == 0 { t.prim_reshape(&[1], at) } else { t.clone() };
    let (x1, index1) = (full(x), full(index));
    let fits = x1.rank() == index1.rank()
        && (0..x1.rank()).all(|d| d == axis || index1.shape()[d] <= x1.shape()[d]);
    assert!(
        fits || index.numel() == 0,
        "{op} along {axis}: indices of shape {:?} for a tensor of shape {:?}; they need as many dimensions, and no larger size \
         except along {axis}",
        index.shape(),
        x.shape()
    );
    if index.numel() == 0 {
        let empty = index.prim_cast(crate::DType::I64, at).prim_reshape(&[0], at);
        return (x1, Places { index: empty, checked: true });
    }
    let p = places(op, &index1, x1.shape()[axis], wrap, at);
    let p = flat_places(&x1, axis, &p, at);
    (x1, p)
}

/// The part of `source` that stands over `index`, flattened, in the dtype of `x`.
#[track_caller]
fn sources(op: &str, x: &Tensor, index: &Tensor, source: &Tensor, at: At) -> Tensor {
    let source = source.prim_cast(x.dtype(), at);
    let n = index.numel();
    if n == 0 {
        return source.prim_reshape(&[source.numel()], at).narrow(0, 0, 0);
    }
    let (a, b) = (source.atleast_1d(), index.atleast_1d());
    let fits = a.rank() == b.rank() && (0..a.rank()).all(|d| b.shape()[d] <= a.shape()[d]);
    assert!(
        fits,
        "{op}: indices of shape {:?} need a source at least as large in every dimension, got {:?}",
        index.shape(),
        source.shape()
    );
    let whole: SmallVec<[(usize, isize); 6]> = SmallVec::from_elem((0, 1), a.rank());
    a.prim_slice(&whole, b.shape(), at).prim_reshape(&[n], at)
}

impl Tensor {
    fn flat(&self, at: At) -> Tensor {
        self.prim_reshape(&[self.numel()], at)
    }

    /// For each element of `index` the element of `self` at that index along `dim` and at the same place elsewhere:
    /// for `dim = 1`, `out[i, j] = self[i, index[i, j]]`. The result has the shape of `index`.
    ///
    /// Counterpart: `torch.gather`.
    ///
    /// # Panics
    /// When shapes do not fit or an index is out of range.
    #[track_caller]
    pub fn gather(&self, dim: isize, index: &Tensor) -> Tensor {
        let at = Location::caller();
        self.gather_at("gather", dim, index, false, at)
    }

    #[track_caller]
    fn gather_at(&self, op: &str, dim: isize, index: &Tensor, wrap: bool, at: At) -> Tensor {
        let (x, p) = prepare(op, self, dim, index, wrap, at);
        take_along(&x.flat(at), 0, &p, at).prim_reshape(index.shape(), at)
    }

    /// The inverse of [`Tensor::gather`]: `self` with `source` (a tensor at least as large as `index`, or a number) written at the
    /// indices along `dim`; where indices meet the last wins.
    ///
    /// Counterpart: `torch.scatter`.
    #[track_caller]
    pub fn scatter(&self, dim: isize, index: &Tensor, source: impl Operand) -> Tensor {
        let at = Location::caller();
        let source = spread(&source, self, index, at);
        let (x, p) = prepare("scatter", self, dim, index, false, at);
        let source = sources("scatter", self, index, &source, at);
        scatter_along(ScatterOp::Set, &x.flat(at), 0, &p, &source, at)
            .prim_reshape(self.shape(), at)
    }

    /// As [`Tensor::scatter`], adding; where indices meet all are added. Counterpart: `torch.scatter_add`.
    #[track_caller]
    pub fn scatter_add(&self, dim: isize, index: &Tensor, source: impl Operand) -> Tensor {
        let at = Location::caller();
        let source = spread(&source, self, index, at);
        let (x, p) = prepare("scatter_add", self, dim, index, false, at);
        let source = sources("scatter_add", self, index, &source, at);
        scatter_along(ScatterOp::Add, &x.flat(at), 0, &p, &source, at)
            .prim_reshape(self.shape(), at)
    }

    /// As [`Tensor::scatter`], folding all values that meet at one place. Without `include_self` the old value there does not take
    /// part.
    ///
    /// Counterpart: `torch.scatter_reduce`.
    #[track_caller]
    pub fn scatter_reduce(
        &self,
        dim: isize,
        index: &Tensor,
        source: impl Operand,
        how: ScatterReduce,
        include_self: bool,
    ) -> Tensor {
        let at = Location::caller();
        let source = spread(&source, self, index, at);
        let (x, p) = prepare("scatter_reduce", self, dim, index, false, at);
        let source = sources("scatter_reduce", self, index, &source, at);
        reduce_along(how, include_self, &x.flat(at), 0, &p, &source, at)
            .prim_reshape(self.shape(), at)
    }

    /// The elements at the given places of the flattened tensor; negative ones count from the end. Counterpart: `torch.take`.
    #[track_caller]
    pub fn take(&self, index: &Tensor) -> Tensor {
        let at = Location::caller();
        let p = places("take", index, self.numel(), true, at);
        take_along(&self.flat(at), 0, &p, at)
    }

    /// `self` with `source` written (or added, with `accumulate`) at places of the flattened tensor. Counterpart: `torch.put`.
    #[track_caller]
    pub fn put(&self, index: &Tensor, source: &Tensor, accumulate: bool) -> Tensor {
        let at = Location::caller();
        assert_eq!(
            index.numel(),
            source.numel(),
            "put: {} indices but {} values",
            index.numel(),
            source.numel()
        );
        let p = places("put", &index.flat(at), self.numel(), true, at);
        let op = if accumulate { ScatterOp::Add } else { ScatterOp::Set };
        let source = source.prim_cast(self.dtype(), at).flat(at);
        scatter_along(op, &self.flat(at), 0, &p, &source, at).prim_reshape(self.shape(), at)
    }

    /// [`Tensor::gather`] with `self` and `index` broadcast against each other in the other dimensions: takes what `argsort` and
    /// its like give. Negative indices count from the end. Counterpart: `torch.take_along_dim`.
    #[track_caller]
    pub fn take_along_dim(&self, index: &Tensor, dim: isize) -> Tensor {
        let at = Location::caller();
        assert_eq!(
            self.rank(),
            index.rank(),
            "take_along_dim: shapes {:?} and {:?} need as many dimensions",
            self.shape(),
            index.shape()
        );
        let axis = axis_of("take_along_dim", dim, self.rank());
        if self.rank() == 0 {
            return self.gather_at("take_along_dim", dim, index, true, at);
        }
        let (mut a, mut b) = (self.0.shape.clone(), index.0.shape.clone());
        (a[axis], b[axis]) = (1, 1);
        let Some(mut common) = crate::shape::broadcast(&a, &b) else {
            panic!(
                "take_along_dim: shapes {:?} and {:?} do not broadcast outside dimension {axis}",
                self.shape(),
                index.shape()
            )
        };
        common[axis] = self.shape()[axis];
        let x = self.broadcast_at(&common, at);
        common[axis] = index.shape()[axis];
        x.gather_at("take_along_dim", dim, &index.broadcast_at(&common, at), true, at)
    }
}

/// A number becomes a tensor of the index's shape.
fn spread(source: &impl Operand, x: &Tensor, index: &Tensor, at: At) -> Tensor {
    let t = source.tensor_like(x, at);
    if source.as_scalar().is_some() {
        t.prim_cast(x.dtype(), at).broadcast_at(index.shape(), at)
    } else {
        t
    }
}
