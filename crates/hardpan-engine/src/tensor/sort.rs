//! Order: sorting, selection by rank, search in sorted lists, distinct elements.

use crate::dtype::DType;
use crate::node::Tensor;
use crate::shape::axis_of;
use std::panic::Location;

/// How a quantile between two elements is found. Counterpart: the `interpolation` of `torch.quantile`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Interpolation {
    /// On the line between them.
    #[default]
    Linear,
    /// The lower one.
    Lower,
    /// The higher one.
    Higher,
    /// Half way.
    Midpoint,
    /// The nearer one.
    Nearest,
}

impl Tensor {
    /// Positions (i64) that put elements along `dim` in order; equal ones keep theirs, NaN counts as largest. Counterpart:
    /// `torch.argsort(stable=True)`.
    #[track_caller]
    pub fn argsort(&self, dim: isize, descending: bool) -> Tensor {
        let at = Location::caller();
        let axis = axis_of("argsort", dim, self.rank());
        if self.rank() == 0 {
            return self.zeros_like().to_dtype(DType::I64);
        }
        self.detach().prim_argsort(axis, descending, at)
    }

    /// Elements along `dim` in order, and where they were (i64). Stable. Counterpart: `torch.sort`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let (values, indices) = Tensor::from_slice(&[3.0f32, 1.0, 2.0], [3]).sort(0, false);
    /// assert_eq!(values.to_vec::<f32>(), vec![1.0, 2.0, 3.0]);
    /// assert_eq!(indices.to_vec::<i64>(), vec![1, 2, 0]);
    /// ```
    #[track_caller]
    pub fn sort(&self, dim: isize, descending: bool) -> (Tensor, Tensor) {
        let at = Location::caller();
        let axis = axis_of("sort", dim, self.rank());
        let index = self.argsort(dim, descending);
        (self.along(axis, &index, at), index)
    }

    /// The `k` largest (or smallest) elements along `dim` in order, and their positions. Counterpart: `torch.topk`.
    #[track_caller]
    pub fn topk(&self, k: usize, dim: isize, largest: bool) -> (Tensor, Tensor) {
        let at = Location::caller();
        let axis = axis_of("topk", dim, self.rank());
        if self.rank() == 0 {
            assert!(k <= 1, "topk: k = {k} of a single element");
            let (v, i) = self.sort(0, largest);
            return if k == 1 {
                (v, i)
            } else {
                (v.reshape([1]).narrow(0, 0, 0), i.reshape([1]).narrow(0, 0, 0))
            };
        }
        assert!(
            k <= self.shape()[axis],
            "topk: k = {k} is more than the size of dimension {axis} of shape {:?}",
            self.shape()
        );
        let index = self.argsort(dim, largest).narrow(axis as isize, 0, k);
        (self.along(axis, &index, at), index)
    }

    /// The `k`-th smallest element (from 1) along `dim`, which disappears, and its position. Counterpart: `torch.kthvalue`.
    #[track_caller]
    pub fn kthvalue(&self, k: usize, dim: isize) -> (Tensor, Tensor) {
        let at = Location::caller();
        let axis = axis_of("kthvalue", dim, self.rank());
        if self.rank() == 0 {
            assert_eq!(k, 1, "kthvalue: k = {k} of a single element");
            return (self.clone(), self.zeros_like().to_dtype(DType::I64));
        }
        assert!(
            (1..=self.shape()[axis]).contains(&k),
            "kthvalue: k = {k} is outside 1..={} of shape {:?}",
            self.shape()[axis],
            self.shape()
        );
        let index = self.argsort(dim, false).narrow(axis as isize, k - 1, 1);
        let values = self.along(axis, &index, at);
        (values.drop_axes(&[axis], at), index.drop_axes(&[axis], at))
    }

    /// The middle element in order along `dim` (the lower of two; NaN if there is one), and its position. Counterpart:
    /// `torch.median(x, dim)`.
    #[track_caller]
    pub fn median_dim(&self, dim: isize) -> (Tensor, Tensor) {
        self.middle(dim, false)
    }

    /// As [`Tensor::median_dim`] without NaN. Counterpart: `torch.nanmedian(x, dim)`.
    #[track_caller]
    pub fn nanmedian_dim(&self, dim: isize) -> (Tensor, Tensor) {
        self.middle(dim, true)
    }

    #[track_caller]
    fn middle(&self, dim: isize, skip_nan: bool) -> (Tensor, Tensor) {
        let at = Location::caller();
        let axis = axis_of("median", dim, self.rank());
        if self.rank() == 0 {
            return (self.clone(), self.zeros_like().to_dtype(DType::I64));
        }
        let n = self.shape()[axis];
        assert!(n > 0, "median: dimension {axis} of shape {:?} is empty", self.shape());
        let order = self.argsort(dim, false);
        let rank = if self.dtype().is_float() {
            // NaN comes last in order: the first one is at the position of their complement's count.
            let good = self.detach().isnan().logical_not().count_nonzero_keepdim(axis);
            let middle = (&good - 1).clamp_min(0).bitwise_right_shift(1);
            if skip_nan {
                middle
            } else {
                middle.full_like((n as i64 - 1) / 2).where_(&good.eq(n), good)
            }
        } else {
            let mut shape = self.0.shape.clone();
            shape[axis] = 1;
            Tensor::full(&shape, (n as i64 - 1) / 2)
        };
        let index = order.along(axis, &rank, at);
        let values = self.along(axis, &index, at);
        (values.drop_axes(&[axis], at), index.drop_axes(&[axis], at))
    }

    /// The middle of all elements; equal ones share the gradient evenly. Counterpart: `torch.median(x)`.
    #[track_caller]
    pub fn median(&self) -> Tensor {
        self.middle_of_all(false)
    }

    /// The middle of all elements that are not NaN. Counterpart: `torch.nanmedian(x)`.
    #[track_caller]
    pub fn nanmedian(&self) -> Tensor {
        self.middle_of_all(true)
    }

    #[track_caller]
    fn middle_of_all(&self, skip_nan: bool) -> Tensor {
        if self.numel() == 0 && self.dtype().is_float() {
            return Tensor::full_dtype([0usize; 0], f64::NAN, self.dtype());
        }
        let flat = self.reshape([self.numel()]);
        let value = flat.detach().middle(0, skip_nan).0;
        if !self.dtype().is_float() {
            return value;
        }
        let hit = flat.detach().eq(&value);
        let hit = hit.logical_or(flat.detach().isnan().logical_and(value.isnan()));
        // All hits are equal, and the largest of equals shares its gradient evenly.
        flat.where_(&hit, f64::NEG_INFINITY).amax(..)
    }

    /// The most frequent element along `dim`, which disappears (the smallest of equals), and the position of its last
    /// occurrence. Reads the data. Counterpart: `torch.mode`.
    #[track_caller]
    pub fn mode(&self, dim: isize) -> (Tensor, Tensor) {
        let at = Location::caller();
        let axis = axis_of("mode", dim, self.rank());
        if self.rank() == 0 {
            return (self.clone(), self.zeros_like().to_dtype(DType::I64));
        }
        assert!(self.shape()[axis] > 0, "mode: dimension {axis} of {:?} is empty", self.shape());
        let n = self.shape()[axis];
        // Length of the run of equals that ends at each position of the sorted list; its first maximum is the mode.
        let (sorted, order) = self.detach().sort(dim, false);
        let mut shape = vec![1usize; self.rank()];
        shape[axis] = n;
        let place = Tensor::iota(n).reshape(&shape);
        let a = axis as isize;
        let starts = Tensor::cat(
            &[
                sorted.narrow(a, 0, 1).ones_like().to_dtype(DType::Bool),
                sorted.narrow(a, 1, n - 1).ne(sorted.narrow(a, 0, n - 1)),
            ],
            a,
        );
        let start = place.where_(&starts, 0).cummax(a).0;
        let run = place - start;
        let best = run.arg_reduce(crate::op::ReduceOp::ArgMax, a, true, at);
        let index = order.along(axis, &best, at);
        let values = self.along(axis, &index, at);
        (values.drop_axes(&[axis], at), index.drop_axes(&[axis], at))
    }

    /// Quantiles `q` (rank 0 or 1, in [0, 1]) along `dim`, or of all elements. The dimensions of `q` come first. NaN if there
    /// is one (`skip_nan` leaves them out). Counterparts: `torch.quantile`, `torch.nanquantile`.
    #[track_caller]
    pub fn quantile(
        &self,
        q: &Tensor,
        dim: Option<isize>,
        keepdim: bool,
        interpolation: Interpolation,
        skip_nan: bool,
    ) -> Tensor {
        let at = Location::caller();
        assert!(
            self.dtype().is_float() && q.rank() <= 1,
            "quantile: expected floats and q of rank 0 or 1"
        );
        let x = match dim {
            Some(_) => self.clone(),
            None => self.reshape([self.numel()]),
        };
        let rank = x.rank();
        let axis = axis_of("quantile", dim.unwrap_or(0), rank);
        let x = if rank == 0 { x.reshape([1]) } else { x };
        // The dimension goes last: one row for each result.
        let rows = x.transpose(axis as isize, -1);
        let n = rows.size(-1);
        assert!(n > 0, "quantile: no elements along dimension {axis} of shape {:?}", self.shape());
        let sorted = rows.sort(-1, false).0;
        let good = sorted.detach().isnan().logical_not().count_nonzero_keepdim(-1);
        let count = q.numel();
        let q1 = q.reshape([count]).to_dtype(DType::F64);
        let mut shape: Vec<usize> = sorted.shape().to_vec();
        let last = shape.len() - 1;
        shape[last] = count;
        let top = (&good - 1).clamp_min(0).to_dtype(DType::F64);
        let place = (q1 * top).broadcast_to(&shape);
        let place = match interpolation {
            Interpolation::Lower => place.detach().floor(),
            Interpolation::Higher => place.detach().ceil(),
            Interpolation::Nearest => place.detach().round(),
            _ => place,
        };
        let (below, above) = (place.detach().floor(), place.detach().ceil());
        let low = sorted.along(last, &below.to_dtype(DType::I64), at);
        let high = sorted.along(last, &above.to_dtype(DType::I64), at);
        let out = match interpolation {
            Interpolation::Linear | Interpolation::Midpoint => {
                let weight = if interpolation == Interpolation::Midpoint {
                    place.full_like(0.5)
                } else {
                    &place - &below
                };
                let weight = weight.to_dtype(self.dtype());
                let same = above.eq(&below);
                low.where_(&same, low.lerp(&high, &weight))
            }
            _ => low,
        };
        let bad = if skip_nan { good.eq(0) } else { good.ne(n) };
        let out = out.full_like(f64::NAN).where_(&bad, &out);
        // [rows.., q] with the row dimensions in their old order, q first.
        let out = if rank == 0 { out } else { out.transpose(axis as isize, -1) };
        let out = if rank == 0 {
            out.reshape([count])
        } else {
            let mut order: Vec<usize> = (0..out.rank()).filter(|d| *d != axis).collect();
            order.insert(0, axis);
            out.permute(&order)
        };
        let mut shape: Vec<usize> = Vec::new();
        if q.rank() == 1 {
            shape.push(count);
        }
        let kept = if dim.is_none() { vec![1; self.rank()] } else { self.shape().to_vec() };
        for (d, s) in kept.iter().enumerate() {
            if dim.is_none() || d == axis {
                if keepdim {
                    shape.push(1);
                }
            } else {
                shape.push(*s);
            }
        }
        out.reshape(&shape)
    }

    /// Where each value would be inserted into ascending rows of `self` to keep their order: before equal elements, or after
    /// them with `right`. `self` has rank 1, or the leading dimensions of `values`. i64. Counterparts: `torch.searchsorted`,
    /// `torch.bucketize` (with `self` the boundaries).
    #[track_caller]
    pub fn searchsorted(&self, values: &Tensor, right: bool) -> Tensor {
        self.searchsorted_by(values, right, None)
    }

    /// As [`Tensor::searchsorted`] for rows that `sorter` (positions, i64) puts in order.
    #[track_caller]
    pub fn searchsorted_by(&self, values: &Tensor, right: bool, sorter: Option<&Tensor>) -> Tensor {
        let at = Location::caller();
        let dtype = super::arguments::result_type(self, values);
        let (rows, values) = (self.detach().to_dtype(dtype), values.detach().to_dtype(dtype));
        let n = rows.size(-1);
        let rows = match sorter {
            Some(s) => rows.along(rows.rank() - 1, s, at),
            None => rows,
        };
        // One row for all values, or one row for each row of values.
        let shape = values.0.shape.clone();
        let (rows, flat) = if rows.rank() == 1 {
            (rows, values.reshape([values.numel()]))
        } else {
            assert_eq!(
                rows.shape()[..rows.rank() - 1],
                values.shape()[..values.rank().max(1) - 1],
                "searchsorted: leading sizes of {:?} and {:?} differ",
                rows.shape(),
                values.shape()
            );
            (rows, values.clone())
        };
        let axis = flat.rank() - 1;
        // `low` elements are known to come before the value; steps of falling powers of two find the rest.
        let mut low = flat.zeros_like().to_dtype(DType::I64);
        let mut step = if n == 0 { 0 } else { 1usize << n.ilog2() };
        while step > 0 {
            let next = &low + step;
            let probe = rows.along(axis, &(&next - 1).clamp_max(n - 1), at);
            let before =
                if right { precedes(&flat, &probe).logical_not() } else { precedes(&probe, &flat) };
            low = next.where_(&before.logical_and(next.le(n)), &low);
            step /= 2;
        }
        low.reshape(&shape)
    }

    /// True where an element of `self` occurs in `set`. Counterpart: `torch.isin`.
    #[track_caller]
    pub fn isin(&self, set: &Tensor) -> Tensor {
        let n = set.numel();
        if n == 0 {
            return self.zeros_like().to_dtype(DType::Bool);
        }
        let dtype = super::arguments::result_type(self, set);
        let x = self.detach().to_dtype(dtype);
        let set = set.detach().to_dtype(dtype).reshape([n]);
        if n <= 32 {
            return x.unsqueeze(-1).eq(&set).any(-1);
        }
        let sorted = set.sort(0, false).0;
        let place = sorted.searchsorted(&x, false).clamp_max(n - 1);
        sorted.prim_take(&place, Location::caller()).eq(&x)
    }
}

/// `a < b` with NaN as the largest of all.
fn precedes(a: &Tensor, b: &Tensor) -> Tensor {
    let less = a.lt(b);
    if !a.dtype().is_float() {
        return less;
    }
    less.logical_or(b.isnan().logical_and(a.isnan().logical_not()))
}
