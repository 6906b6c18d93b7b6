//! Distinct elements. The number of results depends on the data, so these read it.

use crate::host::HostArray;
use crate::node::Tensor;
use crate::shape::axis_of;
use std::cmp::Ordering;

/// What [`Tensor::unique`] and [`Tensor::unique_consecutive`] find.
pub struct Unique {
    /// The distinct elements (or slices).
    pub values: Tensor,
    /// For each element of the input (or slice), the position in `values`; i64.
    pub inverse: Tensor,
    /// How often each occurs; i64.
    pub counts: Tensor,
}

impl Tensor {
    /// Distinct elements in ascending order, or with `dim` distinct slices of that dimension in lexicographic order.
    /// Counterpart: `torch.unique`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let u = Tensor::from_slice(&[3i64, 1, 3], [3]).unique(None);
    /// assert_eq!(u.values.to_vec::<i64>(), vec![1, 3]);
    /// assert_eq!(u.inverse.to_vec::<i64>(), vec![1, 0, 1]);
    /// assert_eq!(u.counts.to_vec::<i64>(), vec![1, 2]);
    /// ```
    #[track_caller]
    pub fn unique(&self, dim: Option<isize>) -> Unique {
        self.distinct(dim, true)
    }

    /// As [`Tensor::unique`] for runs of equal neighbours, in their order. Counterpart: `torch.unique_consecutive`.
    #[track_caller]
    pub fn unique_consecutive(&self, dim: Option<isize>) -> Unique {
        self.distinct(dim, false)
    }

    #[track_caller]
    fn distinct(&self, dim: Option<isize>, sort: bool) -> Unique {
        // One row for each thing compared.
        let axis = dim.map(|d| axis_of("unique", d, self.rank()));
        let rows = match axis {
            Some(a) if self.rank() > 0 => self.detach().movedim(a as isize, 0),
            _ => self.detach().reshape([self.numel()]),
        };
        let host = rows.to_host();
        let count = rows.shape()[0];
        let size = rows.numel().checked_div(count).unwrap_or(0);
        let order = |a: usize, b: usize| compare(&host, a * size, b * size, size);
        let mut places: Vec<usize> = (0..count).collect();
        if sort {
            places.sort_by(|a, b| order(*a, *b));
        }
        let mut first: Vec<i64> = Vec::new();
        let mut counts: Vec<i64> = Vec::new();
        let mut inverse = vec![0i64; count];
        for (i, p) in places.iter().enumerate() {
            if i == 0 || order(places[i - 1], *p) != Ordering::Equal || has_nan(&host, *p, size) {
                first.push(*p as i64);
                counts.push(0);
            }
            inverse[*p] = first.len() as i64 - 1;
            *counts.last_mut().expect("pushed") += 1;
        }
        let n = first.len();
        let picked = if count == 0 {
            rows
        } else {
            rows.prim_take(&Tensor::from_slice(&first, [n]), std::panic::Location::caller())
        };
        let values = match axis {
            Some(a) if self.rank() > 0 => picked.movedim(0, a as isize),
            _ => picked,
        };
        let inverse = Tensor::from_slice(&inverse, [count]);
        let inverse = if axis.is_none() { inverse.reshape(self.shape()) } else { inverse };
        Unique { values, inverse, counts: Tensor::from_slice(&counts, [n]) }
    }
}

fn compare(host: &HostArray, a: usize, b: usize, n: usize) -> Ordering {
    for i in 0..n {
        let (x, y) = (host.get(a + i), host.get(b + i));
        let order = if host.dtype().is_float() {
            let (x, y) = (x.as_f64(), y.as_f64());
            // NaN after everything.
            x.partial_cmp(&y).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()))
        } else {
            x.as_i64().cmp(&y.as_i64())
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

fn has_nan(host: &HostArray, row: usize, n: usize) -> bool {
    host.dtype().is_float() && (0..n).any(|i| host.get(row * n + i).as_f64().is_nan())
}
