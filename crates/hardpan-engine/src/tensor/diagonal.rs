//! Diagonals: read, made, replaced; triangles; blocks along a diagonal.
//!
//! In the flattened last two dimensions `[n * m]` a diagonal is every `m + 1`-th element, so reading one is a slice with a step and
//! writing one an update with a step.

use crate::dtype::{DType, Scalar};
use crate::node::Tensor;
use crate::shape::{Dims, axis_of, numel};
use smallvec::SmallVec;
use std::borrow::Borrow;
use std::panic::Location;

type At = &'static Location<'static>;

/// A diagonal in the flattened plane `[n, m]`: where it starts, its step, its length.
struct Line {
    start: usize,
    step: isize,
    length: usize,
}

fn line(n: usize, m: usize, offset: isize) -> Line {
    let row = (-offset).max(0) as usize;
    let column = offset.max(0) as usize;
    let length = n.saturating_sub(row).min(m.saturating_sub(column));
    Line { start: if length == 0 { 0 } else { row * m + column }, step: m as isize + 1, length }
}

impl Tensor {
    /// The two dimensions last and merged: `[.., n * m]`, with the order of axes that was used.
    #[track_caller]
    fn plane(&self, op: &str, dim1: isize, dim2: isize, at: At) -> (Tensor, Dims, usize, usize) {
        assert!(self.rank() >= 2, "{op}: needs at least 2 dimensions, got {:?}", self.shape());
        let (a, b) = (axis_of(op, dim1, self.rank()), axis_of(op, dim2, self.rank()));
        assert!(a != b, "{op}: the two dimensions are the same, {dim1} and {dim2}");
        let mut axes: Dims = (0..self.rank()).filter(|d| *d != a && *d != b).collect();
        let mut shape: Dims = axes.iter().map(|d| self.shape()[*d]).collect();
        axes.extend([a, b]);
        let (n, m) = (self.shape()[a], self.shape()[b]);
        shape.push(n * m);
        (self.prim_permute(&axes, at).prim_reshape(&shape, at), axes, n, m)
    }

    /// The diagonal of the plane of two dimensions, as a new last dimension: elements `[i, i + offset]`.
    ///
    /// Counterpart: `torch.diagonal(offset, dim1, dim2)`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let x = Tensor::zeros([2, 3, 5]);
    /// assert_eq!(x.diagonal(0, -2, -1).shape(), &[2, 3]);
    /// assert_eq!(x.diagonal(4, 1, 2).shape(), &[2, 1]);
    /// ```
    #[track_caller]
    pub fn diagonal(&self, offset: isize, dim1: isize, dim2: isize) -> Tensor {
        let at = Location::caller();
        let (flat, _, n, m) = self.plane("diagonal", dim1, dim2, at);
        let l = line(n, m, offset);
        let d = flat.rank() - 1;
        let mut region: SmallVec<[(usize, isize); 6]> = SmallVec::from_elem((0, 1), flat.rank());
        region[d] = (l.start, l.step);
        let mut shape = flat.0.shape.clone();
        shape[d] = l.length;
        flat.prim_slice(&region, &shape, at)
    }

    /// `self` with the diagonal replaced by `values` (the shape that [`Tensor::diagonal`] gives).
    ///
    /// Counterpart: `torch.diagonal_scatter`.
    #[track_caller]
    pub fn diagonal_scatter(
        &self,
        values: &Tensor,
        offset: isize,
        dim1: isize,
        dim2: isize,
    ) -> Tensor {
        let at = Location::caller();
        let (flat, axes, n, m) = self.plane("diagonal_scatter", dim1, dim2, at);
        let l = line(n, m, offset);
        let d = flat.rank() - 1;
        let mut want = flat.0.shape.clone();
        want[d] = l.length;
        assert_eq!(
            values.shape(),
            want.as_slice(),
            "diagonal_scatter: values of the wrong shape for a diagonal of {:?}",
            self.shape()
        );
        let mut region: SmallVec<[(usize, isize); 6]> = SmallVec::from_elem((0, 1), flat.rank());
        region[d] = (l.start, l.step);
        let out = Tensor::prim_update(&flat, &region, &values.prim_cast(self.dtype(), at), at);
        let moved: Dims = axes.iter().map(|a| self.shape()[*a]).collect();
        let mut inverse = axes.clone();
        for (i, a) in axes.iter().enumerate() {
            inverse[*a] = i;
        }
        out.prim_reshape(&moved, at).prim_permute(&inverse, at)
    }

    /// The last dimension placed on a diagonal of new square planes at `dim1`, `dim2` of the result, zeros elsewhere.
    ///
    /// Counterpart: `torch.diag_embed`.
    #[track_caller]
    pub fn diag_embed(&self, offset: isize, dim1: isize, dim2: isize) -> Tensor {
        let at = Location::caller();
        assert!(self.rank() >= 1, "diag_embed: needs at least 1 dimension, got a tensor of rank 0");
        let rank = self.rank() + 1;
        let (a, b) = (axis_of("diag_embed", dim1, rank), axis_of("diag_embed", dim2, rank));
        assert!(a != b, "diag_embed: the two dimensions are the same, {dim1} and {dim2}");
        let length = self.shape()[self.rank() - 1];
        let n = length + offset.unsigned_abs();
        let lead = &self.shape()[..self.rank() - 1];
        let mut shape = Dims::from_slice(lead);
        shape.push(n * n);
        let l = line(n, n, offset);
        let mut region: SmallVec<[(usize, isize); 6]> = SmallVec::from_elem((0, 1), shape.len());
        region[lead.len()] = (l.start, l.step);
        let zeros = crate::dev::with_device(self.device(), || {
            Tensor::full_at(&shape, Scalar::Int(0), self.dtype(), at)
        });
        let flat = Tensor::prim_update(&zeros, &region, self, at);
        let mut square = Dims::from_slice(lead);
        square.extend([n, n]);
        let full = flat.prim_reshape(&square, at);
        // An offset's sign is meant for (dim1, dim2) in that order.
        full.movedim([rank as isize - 2, rank as isize - 1], [a as isize, b as isize])
    }

    /// A vector becomes the diagonal of a square matrix; a matrix gives its diagonal. Counterpart: `torch.diag`.
    #[track_caller]
    pub fn diag(&self, offset: isize) -> Tensor {
        match self.rank() {
            1 => self.diag_embed(offset, 0, 1),
            2 => self.diagonal(offset, 0, 1),
            _ => panic!("diag: expected a vector or a matrix, got shape {:?}", self.shape()),
        }
    }

    /// All elements on the diagonal of a square matrix. Counterpart: `torch.diagflat`.
    #[track_caller]
    pub fn diagflat(&self, offset: isize) -> Tensor {
        self.ravel().diag_embed(offset, 0, 1)
    }

    /// The lower triangle of the last two dimensions: elements `[i, j]` with `j - i <= diagonal`; zeros elsewhere.
    ///
    /// Counterpart: `torch.tril`.
    #[track_caller]
    pub fn tril(&self, diagonal: isize) -> Tensor {
        self.triangle("tril", diagonal, true, Location::caller())
    }

    /// The upper triangle of the last two dimensions: elements `[i, j]` with `j - i >= diagonal`; zeros elsewhere.
    ///
    /// Counterpart: `torch.triu`.
    #[track_caller]
    pub fn triu(&self, diagonal: isize) -> Tensor {
        self.triangle("triu", diagonal, false, Location::caller())
    }

    #[track_caller]
    fn triangle(&self, op: &str, diagonal: isize, lower: bool, at: At) -> Tensor {
        assert!(self.rank() >= 2, "{op}: needs at least 2 dimensions, got {:?}", self.shape());
        let (n, m) = (self.shape()[self.rank() - 2], self.shape()[self.rank() - 1]);
        crate::dev::with_device(self.device(), || {
            let edge = Tensor::iota(n).prim_reshape(&[n, 1], at) + diagonal;
            let column = Tensor::iota(m);
            let keep = if lower { column.le(&edge) } else { column.ge(&edge) };
            let zero = Tensor::constant(Scalar::Int(0), self.dtype(), at);
            super::math::select(&keep, self, &zero, at)
        })
    }

    /// Matrices placed along the diagonal of one large matrix, zeros elsewhere; numbers and vectors count as `[1, n]`.
    ///
    /// Counterpart: `torch.block_diag`.
    #[track_caller]
    pub fn block_diag(tensors: &[impl Borrow<Tensor>]) -> Tensor {
        let at = Location::caller();
        let dtype = tensors
            .iter()
            .map(|t| t.borrow().dtype())
            .reduce(|a, b| a.promote(b))
            .unwrap_or(DType::F32);
        let blocks: Vec<Tensor> = tensors
            .iter()
            .map(|t| {
                let t = t.borrow();
                assert!(
                    t.rank() <= 2,
                    "block_diag: expected at most 2 dimensions, got shape {:?}",
                    t.shape()
                );
                t.atleast_2d().prim_cast(dtype, at)
            })
            .collect();
        if blocks.is_empty() {
            return Tensor::zeros([1, 0]);
        }
        let width: usize = blocks.iter().map(|b| b.shape()[1]).sum();
        let mut left = 0;
        let rows: Vec<Tensor> = blocks
            .iter()
            .map(|b| {
                let right = width - left - b.shape()[1];
                let row = if numel(b.shape()) == 0 {
                    crate::dev::with_device(b.device(), || {
                        Tensor::full_at(&[b.shape()[0], width], Scalar::Int(0), dtype, at)
                    })
                } else {
                    b.prim_pad(&[(0, 0), (left, right)], at)
                };
                left += b.shape()[1];
                row
            })
            .collect();
        Tensor::cat(&rows, 0)
    }
}
