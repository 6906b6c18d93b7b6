//! One tensor into several, and several into one.

use super::arguments::IntoSizes;
use crate::node::Tensor;
use crate::shape::axis_of;
use std::borrow::Borrow;
use std::panic::Location;

/// Where a tensor is cut: made from a number of parts, or from a list of positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cuts {
    /// So many pieces of equal size, or nearly.
    Parts(usize),
    /// Before each of these positions; negative ones count from the end.
    Before(Vec<isize>),
}

macro_rules! cuts {
    ($($t:ty),*) => {$(
        impl From<$t> for Cuts {
            #[track_caller]
            fn from(n: $t) -> Cuts {
                Cuts::Parts(usize::try_from(n).expect("a number of parts is not negative"))
            }
        }
        impl<const N: usize> From<[$t; N]> for Cuts {
            fn from(list: [$t; N]) -> Cuts { Cuts::Before(list.iter().map(|p| *p as isize).collect()) }
        }
        impl From<&[$t]> for Cuts {
            fn from(list: &[$t]) -> Cuts { Cuts::Before(list.iter().map(|p| *p as isize).collect()) }
        }
        impl From<Vec<$t>> for Cuts {
            fn from(list: Vec<$t>) -> Cuts { Cuts::Before(list.iter().map(|p| *p as isize).collect()) }
        }
    )*};
}
cuts!(i32, i64, isize, usize);

impl Tensor {
    /// Pieces of `size` along `dim`; the last may be smaller. Counterpart: `torch.split` with a number.
    #[track_caller]
    pub fn split(&self, size: usize, dim: isize) -> Vec<Tensor> {
        let d = axis_of("split", dim, self.rank());
        assert!(self.rank() > 0, "split: a tensor of rank 0 cannot be split");
        let n = self.shape()[d];
        assert!(size > 0 || n == 0, "split: size 0 along a dimension of size {n}");
        if n == 0 {
            return vec![self.clone()];
        }
        (0..n)
            .step_by(size)
            .map(|start| self.narrow(d as isize, start, size.min(n - start)))
            .collect()
    }

    /// Pieces of the given sizes along `dim`, which must add up. Counterpart: `torch.split` with a list.
    #[track_caller]
    pub fn split_sizes(&self, sizes: impl IntoSizes, dim: isize) -> Vec<Tensor> {
        let d = axis_of("split_sizes", dim, self.rank());
        assert!(self.rank() > 0, "split_sizes: a tensor of rank 0 cannot be split");
        let sizes = super::arguments::shape_of("split_sizes", &sizes);
        let total: usize = sizes.iter().sum();
        assert_eq!(
            total,
            self.shape()[d],
            "split_sizes: {:?} adds up to {total}, but dimension {d} of shape {:?} has {}",
            sizes.as_slice(),
            self.shape(),
            self.shape()[d]
        );
        let mut start = 0;
        sizes
            .iter()
            .map(|n| {
                start += n;
                self.narrow(d as isize, start - n, *n)
            })
            .collect()
    }

    /// At most `chunks` pieces of equal size along `dim`; the last may be smaller. Counterpart: `torch.chunk`.
    #[track_caller]
    pub fn chunk(&self, chunks: usize, dim: isize) -> Vec<Tensor> {
        let d = axis_of("chunk", dim, self.rank());
        assert!(chunks > 0, "chunk: the number of chunks must be at least 1");
        assert!(self.rank() > 0, "chunk: a tensor of rank 0 cannot be split");
        let n = self.shape()[d];
        if n == 0 {
            return vec![self.clone(); chunks];
        }
        self.split(n.div_ceil(chunks), d as isize)
    }

    /// Cut along `dim` into exactly so many pieces (sizes differ by at most one), or at the given positions (negative ones count
    /// from the end). Counterpart: `torch.tensor_split`.
    #[track_caller]
    pub fn tensor_split(&self, cuts: impl Into<Cuts>, dim: isize) -> Vec<Tensor> {
        let d = axis_of("tensor_split", dim, self.rank());
        assert!(self.rank() > 0, "tensor_split: a tensor of rank 0 cannot be split");
        let n = self.shape()[d];
        let part = |from: usize, to: usize| self.narrow(d as isize, from, to.saturating_sub(from));
        match cuts.into() {
            Cuts::Parts(parts) => {
                assert!(parts > 0, "tensor_split: the number of parts must be at least 1");
                let (size, extra) = (n / parts, n % parts);
                let edge = |i: usize| i * size + i.min(extra);
                (0..parts).map(|i| part(edge(i), edge(i + 1))).collect()
            }
            Cuts::Before(positions) => {
                let clamp = |p: isize| {
                    let p = if p < 0 { p + n as isize } else { p };
                    p.clamp(0, n as isize) as usize
                };
                let mut edges: Vec<usize> = vec![0];
                edges.extend(positions.iter().map(|p| clamp(*p)));
                edges.push(n);
                edges.windows(2).map(|w| part(w[0], w[1])).collect()
            }
        }
    }

    #[track_caller]
    fn split_at_dim(
        &self,
        op: &str,
        cuts: impl Into<Cuts>,
        dim: usize,
        least: usize,
    ) -> Vec<Tensor> {
        assert!(
            self.rank() >= least,
            "{op}: needs at least {least} dimensions, got shape {:?}",
            self.shape()
        );
        let cuts = cuts.into();
        if let Cuts::Parts(parts) = cuts {
            assert!(
                parts > 0 && self.shape()[dim].is_multiple_of(parts),
                "{op}: dimension {dim} of shape {:?} does not divide into {parts} equal parts",
                self.shape()
            );
        }
        self.tensor_split(cuts, dim as isize)
    }

    /// Cut along dimension 1 (0 for vectors) into equal parts or at positions. Counterpart: `torch.hsplit`.
    #[track_caller]
    pub fn hsplit(&self, cuts: impl Into<Cuts>) -> Vec<Tensor> {
        let dim = if self.rank() == 1 { 0 } else { 1 };
        self.split_at_dim("hsplit", cuts, dim, 1)
    }

    /// Cut along dimension 0 into equal parts or at positions. Counterpart: `torch.vsplit`.
    #[track_caller]
    pub fn vsplit(&self, cuts: impl Into<Cuts>) -> Vec<Tensor> {
        self.split_at_dim("vsplit", cuts, 0, 2)
    }

    /// Cut along dimension 2 into equal parts or at positions. Counterpart: `torch.dsplit`.
    #[track_caller]
    pub fn dsplit(&self, cuts: impl Into<Cuts>) -> Vec<Tensor> {
        self.split_at_dim("dsplit", cuts, 2, 3)
    }

    /// One tensor for each index along `dim`, which disappears. Counterpart: `torch.unbind`.
    #[track_caller]
    pub fn unbind(&self, dim: isize) -> Vec<Tensor> {
        let d = axis_of("unbind", dim, self.rank());
        assert!(self.rank() > 0, "unbind: a tensor of rank 0 cannot be split");
        (0..self.shape()[d]).map(|i| self.select(d as isize, i as isize)).collect()
    }

    /// As [`Tensor::cat`]. Counterpart: `torch.concat`.
    #[track_caller]
    pub fn concat(tensors: &[impl Borrow<Tensor>], dim: isize) -> Tensor {
        Tensor::cat(tensors, dim)
    }

    /// Joined along dimension 1 (0 for vectors). Counterpart: `torch.hstack`.
    #[track_caller]
    pub fn hstack(tensors: &[impl Borrow<Tensor>]) -> Tensor {
        assert!(!tensors.is_empty(), "hstack: the list of tensors is empty");
        let parts: Vec<Tensor> = tensors.iter().map(|t| t.borrow().atleast_1d()).collect();
        let dim = if parts[0].rank() == 1 { 0 } else { 1 };
        Tensor::cat(&parts, dim)
    }

    /// Joined along dimension 0; vectors are rows. Counterpart: `torch.vstack`.
    #[track_caller]
    pub fn vstack(tensors: &[impl Borrow<Tensor>]) -> Tensor {
        assert!(!tensors.is_empty(), "vstack: the list of tensors is empty");
        let parts: Vec<Tensor> = tensors.iter().map(|t| t.borrow().atleast_2d()).collect();
        Tensor::cat(&parts, 0)
    }

    /// Joined along dimension 2, after [`Tensor::atleast_3d`]. Counterpart: `torch.dstack`.
    #[track_caller]
    pub fn dstack(tensors: &[impl Borrow<Tensor>]) -> Tensor {
        assert!(!tensors.is_empty(), "dstack: the list of tensors is empty");
        let parts: Vec<Tensor> = tensors.iter().map(|t| t.borrow().atleast_3d()).collect();
        Tensor::cat(&parts, 2)
    }

    /// Joined along dimension 1; numbers and vectors are columns. Counterpart: `torch.column_stack`.
    #[track_caller]
    pub fn column_stack(tensors: &[impl Borrow<Tensor>]) -> Tensor {
        let at = Location::caller();
        assert!(!tensors.is_empty(), "column_stack: the list of tensors is empty");
        let column = |t: &Tensor| {
            if t.rank() <= 1 { t.prim_reshape(&[t.numel(), 1], at) } else { t.clone() }
        };
        let parts: Vec<Tensor> = tensors.iter().map(|t| column(t.borrow())).collect();
        Tensor::cat(&parts, 1)
    }
}
