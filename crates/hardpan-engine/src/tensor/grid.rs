//! Products of vectors: grids, pairs, combinations.

use crate::dev::with_device;
use crate::node::Tensor;
use crate::shape::Dims;
use std::borrow::Borrow;
use std::panic::Location;

/// The order of the first two dimensions of [`Tensor::meshgrid`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GridIndexing {
    /// Matrix order: result `[n0, n1, ..]` (PyTorch's default, `"ij"`).
    #[default]
    Ij,
    /// Plot order: result `[n1, n0, ..]` (`"xy"`).
    Xy,
}

impl Tensor {
    /// One coordinate tensor for each vector, all of the shape of the grid they span. Numbers count as vectors of one element.
    ///
    /// Counterpart: `torch.meshgrid`.
    ///
    /// ```
    /// use hardpan_engine::{GridIndexing, Tensor};
    /// let (rows, columns) = (Tensor::iota(2), Tensor::iota(3));
    /// let grid = Tensor::meshgrid(&[rows, columns], GridIndexing::Ij);
    /// assert_eq!(grid[1].to_vec::<i64>(), vec![0, 1, 2, 0, 1, 2]);
    /// ```
    #[track_caller]
    pub fn meshgrid(tensors: &[impl Borrow<Tensor>], indexing: GridIndexing) -> Vec<Tensor> {
        let at = Location::caller();
        assert!(!tensors.is_empty(), "meshgrid: the list of tensors is empty");
        let n = tensors.len();
        let swap = indexing == GridIndexing::Xy && n >= 2;
        let place = |i: usize| match i {
            0 if swap => 1,
            1 if swap => 0,
            i => i,
        };
        let mut shape = Dims::from_elem(1, n);
        for (i, t) in tensors.iter().enumerate() {
            let t = t.borrow();
            assert!(
                t.rank() <= 1,
                "meshgrid: expected vectors, got shape {:?} at position {i}",
                t.shape()
            );
            assert_eq!(
                t.dtype(),
                tensors[0].borrow().dtype(),
                "meshgrid: all tensors must have the same dtype"
            );
            shape[place(i)] = t.numel();
        }
        tensors
            .iter()
            .enumerate()
            .map(|(i, t)| {
                let mut own = Dims::from_elem(1, n);
                own[place(i)] = t.borrow().numel();
                t.borrow().prim_reshape(&own, at).prim_expand(&shape, at)
            })
            .collect()
    }

    /// All rows `[a_i, b_j, ..]`: `[n, number of vectors]`; one vector stays as it is. Counterpart: `torch.cartesian_prod`.
    #[track_caller]
    pub fn cartesian_prod(tensors: &[impl Borrow<Tensor>]) -> Tensor {
        for t in tensors {
            let shape = t.borrow().shape();
            assert_eq!(shape.len(), 1, "cartesian_prod: expected vectors, got shape {shape:?}");
        }
        if let [one] = tensors {
            return one.borrow().clone();
        }
        let grids = Tensor::meshgrid(tensors, GridIndexing::Ij);
        Tensor::stack(&grids, -1).reshape([-1, tensors.len() as isize])
    }

    /// All choices of `r` elements of a vector in order, as rows `[count, r]`; with `repeats` an element may be chosen again.
    ///
    /// Counterpart: `torch.combinations(r, with_replacement)`.
    #[track_caller]
    pub fn combinations(&self, r: usize, repeats: bool) -> Tensor {
        assert_eq!(self.rank(), 1, "combinations: expected a vector, got shape {:?}", self.shape());
        if r == 0 {
            return self.narrow(0, 0, 0);
        }
        let n = self.numel();
        let mut rows: Vec<i64> = Vec::new();
        let mut pick: Vec<usize> = if repeats { vec![0; r] } else { (0..r).collect() };
        // The largest index that position `i` may take.
        let last = |i: usize| if repeats { n as isize - 1 } else { n as isize - (r - i) as isize };
        let mut alive = last(0) >= 0;
        while alive {
            rows.extend(pick.iter().map(|p| *p as i64));
            alive = false;
            for i in (0..r).rev() {
                if (pick[i] as isize) < last(i) {
                    pick[i] += 1;
                    for j in i + 1..r {
                        pick[j] = if repeats { pick[i] } else { pick[j - 1] + 1 };
                    }
                    alive = true;
                    break;
                }
            }
        }
        let index = with_device(self.device(), || Tensor::from_slice(&rows, [rows.len()]));
        self.index_select(0, &index).reshape([rows.len() / r, r])
    }
}
