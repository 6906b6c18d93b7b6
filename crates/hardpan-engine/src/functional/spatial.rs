//! Arguments that are one number for all spatial dimensions or one for each, and sliding windows over them.

use super::{Tensor, beside, number, pick};
use crate::shape::Dims;
use smallvec::SmallVec;
use std::panic::Location;

/// One number for every spatial dimension, or one for each: `2.into()`, `[2, 1].into()`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spatial(SmallVec<[usize; 3]>);

impl Spatial {
    /// One value for each of `n` dimensions.
    #[track_caller]
    pub fn fit(&self, op: &str, what: &str, n: usize) -> SmallVec<[usize; 3]> {
        match self.0.len() {
            1 => SmallVec::from_elem(self.0[0], n),
            m if m == n => self.0.clone(),
            _ => {
                panic!("{op}: {what} {:?} should be one number or {n} of them", self.0.as_slice())
            }
        }
    }
}

impl From<usize> for Spatial {
    fn from(n: usize) -> Spatial {
        Spatial(SmallVec::from_elem(n, 1))
    }
}
impl From<i32> for Spatial {
    fn from(n: i32) -> Spatial {
        Spatial::from(usize::try_from(n).expect("a spatial argument must not be negative"))
    }
}
impl<const N: usize> From<[usize; N]> for Spatial {
    fn from(n: [usize; N]) -> Spatial {
        Spatial(SmallVec::from_slice(&n))
    }
}
impl From<&[usize]> for Spatial {
    fn from(n: &[usize]) -> Spatial {
        Spatial(SmallVec::from_slice(n))
    }
}
impl From<Vec<usize>> for Spatial {
    fn from(n: Vec<usize>) -> Spatial {
        Spatial(SmallVec::from_vec(n))
    }
}
impl From<(usize, usize)> for Spatial {
    fn from(n: (usize, usize)) -> Spatial {
        Spatial::from([n.0, n.1])
    }
}
impl From<(usize, usize, usize)> for Spatial {
    fn from(n: (usize, usize, usize)) -> Spatial {
        Spatial::from([n.0, n.1, n.2])
    }
}

/// Zeros around the input of a convolution.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Padding {
    /// So many before and after.
    Around(Spatial),
    /// As many as keep the size (stride 1 only); an odd one goes after.
    Same,
    /// None.
    #[default]
    Valid,
}

impl<T: Into<Spatial>> From<T> for Padding {
    fn from(n: T) -> Padding {
        Padding::Around(n.into())
    }
}

/// A window that slides along one dimension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Padding before (and, for the output size, after).
    pub padding: usize,
    /// Size of the input.
    pub size: usize,
    /// Number of positions.
    pub out: usize,
}

impl Window {
    /// The window over `size` elements with PyTorch's output size; with `ceil` a last window may start inside and reach out.
    #[track_caller]
    pub fn new(
        op: &str,
        size: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        dilation: usize,
        ceil: bool,
    ) -> Window {
        assert!(
            kernel > 0 && stride > 0 && dilation > 0,
            "{op}: kernel {kernel}, stride {stride} and dilation {dilation} must be at least 1"
        );
        let extent = dilation * (kernel - 1) + 1;
        let padded = size + 2 * padding;
        let rest = if ceil { stride - 1 } else { 0 };
        assert!(
            padded + rest >= extent,
            "{op}: a kernel of extent {extent} does not fit into size {size} with padding {padding}"
        );
        let mut out = (padded + rest - extent) / stride + 1;
        if ceil && (out - 1) * stride >= size + padding {
            out -= 1;
        }
        Window { kernel, stride, dilation, padding, size, out }
    }

    /// Elements from the first to the last that one window touches.
    pub fn extent(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }
}

/// The windows of `x` over its last dimensions: `[lead.., size..]` gives `[lead.., out.., kernel..]`, all views. Elements
/// outside are `fill`.
pub(crate) fn windows(x: &Tensor, geometry: &[Window], fill: f64) -> Tensor {
    let at = Location::caller();
    let first = x.rank() - geometry.len();
    let mut pads: SmallVec<[(isize, isize); 6]> = SmallVec::from_elem((0, 0), x.rank());
    for (i, w) in geometry.iter().enumerate() {
        let needed = (w.out.max(1) - 1) * w.stride + w.extent();
        pads[first + i] = (w.padding as isize, needed as isize - (w.size + w.padding) as isize);
    }
    let mut t = surround(x, &pads, fill);
    if geometry.iter().all(|w| w.kernel == w.stride && w.dilation == 1) {
        // Windows that tile: one reshape for all.
        let mut shape = Dims::from_slice(&x.shape()[..first]);
        let mut order: Dims = (0..first).collect();
        for (i, w) in geometry.iter().enumerate() {
            shape.extend([w.out, w.kernel]);
            order.push(first + 2 * i);
        }
        order.extend((0..geometry.len()).map(|i| first + 2 * i + 1));
        return t.prim_reshape(&shape, at).prim_permute(&order, at);
    }
    for (i, w) in geometry.iter().enumerate() {
        let axis = first + i;
        if w.kernel == w.stride && w.dilation == 1 {
            let mut shape = t.0.shape.clone();
            shape[axis] = w.out;
            shape.insert(axis + 1, w.kernel);
            let mut order: Dims = (0..shape.len()).filter(|d| *d != axis + 1).collect();
            order.push(axis + 1);
            t = t.prim_reshape(&shape, at).prim_permute(&order, at);
        } else {
            t = t.prim_unfold(axis, w.extent(), w.stride, at);
            if w.dilation > 1 {
                let mut region: SmallVec<[(usize, isize); 6]> =
                    SmallVec::from_elem((0, 1), t.rank());
                let mut shape = t.0.shape.clone();
                *region.last_mut().expect("has a dimension") = (0, w.dilation as isize);
                *shape.last_mut().expect("has a dimension") = w.kernel;
                t = t.prim_slice(&region, &shape, at);
            }
        }
    }
    t
}

/// `x` with `(before, after)` elements of value `fill` around each dimension; negative numbers cut.
#[track_caller]
pub(crate) fn surround(x: &Tensor, pads: &[(isize, isize)], fill: f64) -> Tensor {
    let at = Location::caller();
    let mut region: SmallVec<[(usize, isize); 6]> = SmallVec::new();
    let mut kept = Dims::new();
    let mut grow: SmallVec<[(usize, usize); 6]> = SmallVec::new();
    for (d, (lo, hi)) in pads.iter().enumerate() {
        let size = x.shape()[d] as isize;
        let total = size + lo + hi;
        assert!(
            total >= 0,
            "pad: dimension {d} of shape {:?} would get the negative size {total}",
            x.shape()
        );
        let (start, end) = ((-lo).max(0).min(size), (size + hi.min(&0)).max(0));
        let left = (end - start).max(0);
        region.push((start as usize, 1));
        kept.push(left as usize);
        let before = lo.max(&0).min(&(total - left)).unsigned_abs();
        grow.push((before, (total - left) as usize - before));
    }
    let cut = if kept.iter().zip(x.shape()).all(|(a, b)| a == b) {
        x.clone()
    } else {
        x.prim_slice(&region, &kept, at)
    };
    if grow.iter().all(|g| *g == (0, 0)) {
        return cut;
    }
    let padded = cut.prim_pad(&grow, at);
    if fill == 0.0 {
        return padded;
    }
    let inside = beside(x, || Tensor::full_dtype(cut.shape(), true, crate::DType::Bool));
    let outside = inside.prim_pad(&grow, at).logical_not();
    pick(&outside, number(x, fill), &padded)
}

/// Checks that `x` has `n` spatial dimensions after `[N, C]` or `[C]`.
#[track_caller]
pub(crate) fn check_rank(op: &str, x: &Tensor, n: usize) {
    assert!(
        x.rank() == n + 1 || x.rank() == n + 2,
        "{op}: expected [N, C, {}] or the same without N, got shape {:?}",
        ["L", "H, W", "D, H, W"][n - 1],
        x.shape()
    );
}

/// `x` at the given indices along an axis. Few straight runs are views joined; anything else gathers.
pub(crate) fn index_along(x: &Tensor, axis: usize, index: &[usize]) -> Tensor {
    let at = Location::caller();
    let runs = straight_runs(index);
    if runs.len() <= 4 && !index.is_empty() {
        let parts: Vec<Tensor> = runs
            .into_iter()
            .map(|(start, step, len)| {
                let mut region: SmallVec<[(usize, isize); 6]> =
                    SmallVec::from_elem((0, 1), x.rank());
                let mut shape = x.0.shape.clone();
                if step == 0 {
                    region[axis].0 = start;
                    shape[axis] = 1;
                    let one = x.prim_slice(&region, &shape, at);
                    shape[axis] = len;
                    return one.prim_expand(&shape, at);
                }
                region[axis] = (start, step);
                shape[axis] = len;
                x.prim_slice(&region, &shape, at)
            })
            .collect();
        return if parts.len() == 1 {
            parts.into_iter().next().expect("one")
        } else {
            Tensor::prim_cat(&parts, axis, at)
        };
    }
    let rows: Vec<i64> = index.iter().map(|i| *i as i64).collect();
    let rows = beside(x, || Tensor::from_slice(&rows, [rows.len()]));
    let mut order: Dims = Dims::from_slice(&[axis]);
    order.extend((0..x.rank()).filter(|d| *d != axis));
    let mut back: Dims = (1..x.rank()).collect();
    back.insert(axis, 0);
    x.prim_permute(&order, at).prim_take(&rows, at).prim_permute(&back, at)
}

/// Splits a list of indices into `(start, step, length)` with steps of -1, 0 and 1 (any step if one run covers all).
fn straight_runs(index: &[usize]) -> Vec<(usize, isize, usize)> {
    let step = |i: usize| index[i + 1] as isize - index[i] as isize;
    let n = index.len();
    if n > 1 && (1..n - 1).all(|i| step(i) == step(0)) {
        return vec![(index[0], step(0), n)];
    }
    let mut runs = Vec::new();
    let mut i = 0;
    while i < n {
        let mut len = 1;
        let mut s = 1;
        if i + 1 < n && step(i).abs() <= 1 {
            s = step(i);
            while i + len < n && step(i + len - 1) == s {
                len += 1;
            }
        }
        runs.push((index[i], s, len));
        i += len;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_a_reflection() {
        assert_eq!(straight_runs(&[2, 1, 0, 1, 2, 3, 2]), [(2, -1, 3), (1, 1, 3), (2, 1, 1)]);
        assert_eq!(straight_runs(&[0, 2, 4]), [(0, 2, 3)]);
        assert_eq!(straight_runs(&[5]), [(5, 1, 1)]);
    }

    #[test]
    fn output_sizes() {
        let w = |size, k, s, p, ceil| Window::new("t", size, k, s, p, 1, ceil).out;
        assert_eq!(w(9, 6, 3, 2, true), 4);
        assert_eq!(w(7, 3, 2, 1, false), 4);
        // The third window would start in the padding after the input.
        assert_eq!(w(3, 3, 3, 1, true), 2);
        assert_eq!(w(2, 1, 2, 0, true), 1);
    }
}
