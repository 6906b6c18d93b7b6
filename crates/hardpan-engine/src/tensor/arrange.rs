//! Dimensions renamed, moved, repeated and rolled: what `movement` does not do with one primitive.

use super::arguments::{IntoSizes, shape_of};
use crate::node::Tensor;
use crate::shape::{Dims, axis_of, broadcast};
use smallvec::SmallVec;
use std::borrow::Borrow;
use std::panic::Location;

impl Tensor {
    /// All dimensions in reverse order. Counterpart: `Tensor.T`.
    #[track_caller]
    pub fn reverse_dims(&self) -> Tensor {
        let axes: Dims = (0..self.rank()).rev().collect();
        self.prim_permute(&axes, Location::caller())
    }

    /// Dimensions moved: what was at `from[i]` ends at `to[i]`, the others keep their order. Counterpart: `torch.movedim`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let images = Tensor::zeros([8, 28, 28, 3]);
    /// assert_eq!(images.movedim(-1, 1).shape(), &[8, 3, 28, 28]);
    /// ```
    ///
    /// # Panics
    /// When the lists differ in length, or name a dimension twice or out of range.
    #[track_caller]
    pub fn movedim(&self, from: impl DimList, to: impl DimList) -> Tensor {
        let at = Location::caller();
        let all = || (0..self.rank() as isize).collect();
        let (from, to) = (from.list().unwrap_or_else(all), to.list().unwrap_or_else(all));
        assert_eq!(
            from.len(),
            to.len(),
            "movedim: {} source dimensions but {} destinations",
            from.len(),
            to.len()
        );
        if self.rank() == 0 {
            return self.clone();
        }
        let rank = self.rank();
        let resolve = |dims: &[isize]| -> Dims {
            let mut out = Dims::new();
            for d in dims {
                let a = axis_of("movedim", *d, rank);
                assert!(!out.contains(&a), "movedim: dimension {d} appears twice in {dims:?}");
                out.push(a);
            }
            out
        };
        let (from, to) = (resolve(&from), resolve(&to));
        let mut order: SmallVec<[Option<usize>; 6]> = SmallVec::from_elem(None, rank);
        for (f, t) in from.iter().zip(&to) {
            order[*t] = Some(*f);
        }
        let mut rest = (0..rank).filter(|d| !from.contains(d));
        let axes: Dims =
            order.into_iter().map(|o| o.unwrap_or_else(|| rest.next().expect("counted"))).collect();
        self.prim_permute(&axes, at)
    }

    /// Two dimensions swapped, as [`Tensor::transpose`]. Counterpart: `torch.swapaxes`.
    #[track_caller]
    pub fn swapaxes(&self, a: isize, b: isize) -> Tensor {
        self.transpose(a, b)
    }

    /// A tensor of rank 0 becomes `[1]`. Counterpart: `torch.atleast_1d`.
    #[track_caller]
    pub fn atleast_1d(&self) -> Tensor {
        if self.rank() == 0 { self.prim_reshape(&[1], Location::caller()) } else { self.clone() }
    }

    /// `[]` becomes `[1, 1]` and `[n]` becomes `[1, n]`. Counterpart: `torch.atleast_2d`.
    #[track_caller]
    pub fn atleast_2d(&self) -> Tensor {
        match self.rank() {
            0 | 1 => self.prim_reshape(&[1, self.numel()], Location::caller()),
            _ => self.clone(),
        }
    }

    /// `[]` becomes `[1, 1, 1]`, `[n]` `[1, n, 1]`, `[n, m]` `[n, m, 1]`. Counterpart: `torch.atleast_3d`.
    #[track_caller]
    pub fn atleast_3d(&self) -> Tensor {
        let at = Location::caller();
        match self.rank() {
            0 | 1 => self.prim_reshape(&[1, self.numel(), 1], at),
            2 => self.prim_reshape(&[self.shape()[0], self.shape()[1], 1], at),
            _ => self.clone(),
        }
    }

    /// Expanded to the shape of `other`. Counterpart: `Tensor.expand_as`.
    #[track_caller]
    pub fn expand_as(&self, other: &Tensor) -> Tensor {
        self.expand(&other.0.shape)
    }

    /// Reshaped to the shape of `other`. Counterpart: `Tensor.reshape_as`.
    #[track_caller]
    pub fn reshape_as(&self, other: &Tensor) -> Tensor {
        self.reshape(&other.0.shape)
    }

    /// As [`Tensor::reshape_as`]. Counterpart: `Tensor.view_as`.
    #[track_caller]
    pub fn view_as(&self, other: &Tensor) -> Tensor {
        self.reshape(&other.0.shape)
    }

    /// All elements in one dimension. Counterpart: `torch.ravel`.
    #[track_caller]
    pub fn ravel(&self) -> Tensor {
        self.prim_reshape(&[self.numel()], Location::caller())
    }

    /// All tensors expanded to their common shape. Counterpart: `torch.broadcast_tensors`.
    #[track_caller]
    pub fn broadcast_tensors(tensors: &[impl Borrow<Tensor>]) -> Vec<Tensor> {
        let at = Location::caller();
        let shapes: Vec<&[usize]> = tensors.iter().map(|t| t.borrow().shape()).collect();
        let shape = broadcast_shapes(&shapes);
        tensors.iter().map(|t| t.borrow().broadcast_at(&shape, at)).collect()
    }

    /// Dimension `dim` split into several of the given sizes; one size may be -1. Counterpart: `torch.unflatten`.
    #[track_caller]
    pub fn unflatten(&self, dim: isize, sizes: impl IntoSizes) -> Tensor {
        let at = Location::caller();
        let d = axis_of("unflatten", dim, self.rank());
        assert!(self.rank() > 0, "unflatten: a tensor of rank 0 has no dimension to split");
        let sizes = sizes.sizes();
        let n = self.shape()[d];
        let known: usize = sizes.iter().filter(|s| **s >= 0).map(|s| *s as usize).product();
        let free = sizes.iter().filter(|s| **s < 0).count();
        let fits = match free {
            0 => known == n,
            1 => known > 0 && n.is_multiple_of(known),
            _ => false,
        };
        assert!(
            fits && sizes.iter().all(|s| *s >= -1) && !sizes.is_empty(),
            "unflatten: dimension {d} of shape {:?} has size {n}, which does not split into {:?}",
            self.shape(),
            sizes.as_slice()
        );
        let mut shape = Dims::from_slice(&self.shape()[..d]);
        shape.extend(sizes.iter().map(|s| if *s < 0 { n / known } else { *s as usize }));
        shape.extend_from_slice(&self.shape()[d + 1..]);
        self.prim_reshape(&shape, at)
    }

    /// The columns (dimension 1) in reverse order. Counterpart: `torch.fliplr`.
    #[track_caller]
    pub fn fliplr(&self) -> Tensor {
        assert!(self.rank() >= 2, "fliplr: needs at least 2 dimensions, got {:?}", self.shape());
        self.flip(1)
    }

    /// The rows (dimension 0) in reverse order. Counterpart: `torch.flipud`.
    #[track_caller]
    pub fn flipud(&self) -> Tensor {
        assert!(self.rank() >= 1, "flipud: needs at least 1 dimension, got a tensor of rank 0");
        self.flip(0)
    }

    /// Turned by `quarters` times 90 degrees in the plane from `dims[0]` toward `dims[1]`. Counterpart: `torch.rot90`.
    #[track_caller]
    pub fn rot90(&self, quarters: isize, dims: [isize; 2]) -> Tensor {
        let (a, b) =
            (axis_of("rot90", dims[0], self.rank()), axis_of("rot90", dims[1], self.rank()));
        assert!(
            self.rank() >= 2 && a != b,
            "rot90: needs two different dimensions, got {dims:?} for shape {:?}",
            self.shape()
        );
        let (a, b) = (a as isize, b as isize);
        match quarters.rem_euclid(4) {
            1 => self.flip(b).transpose(a, b),
            2 => self.flip([a, b]),
            3 => self.flip(a).transpose(a, b),
            _ => self.clone(),
        }
    }

    /// Elements moved along the given dimensions by the given shifts; those pushed out at one end enter at the other.
    ///
    /// With `..` for `dims` the tensor is rolled as one row of all its elements. Counterpart: `torch.roll`.
    ///
    /// # Panics
    /// When there is not one shift for each dimension.
    #[track_caller]
    pub fn roll(&self, shifts: impl DimList, dims: impl DimList) -> Tensor {
        let shifts = shifts.list().expect("roll: shifts are numbers");
        let Some(dims) = dims.list() else {
            assert_eq!(shifts.len(), 1, "roll: one shift when all dimensions are rolled as one");
            return self.ravel().roll_one(shifts[0], 0).reshape(&self.0.shape);
        };
        assert_eq!(
            shifts.len(),
            dims.len(),
            "roll: {} shifts for {} dimensions",
            shifts.len(),
            dims.len()
        );
        let mut out = self.clone();
        for (s, d) in shifts.iter().zip(&dims) {
            out = out.roll_one(*s, axis_of("roll", *d, self.rank()));
        }
        out
    }

    #[track_caller]
    fn roll_one(&self, shift: isize, axis: usize) -> Tensor {
        if self.numel() == 0 || self.rank() == 0 {
            return self.clone();
        }
        let n = self.shape()[axis];
        let s = shift.rem_euclid(n as isize) as usize;
        if s == 0 {
            return self.clone();
        }
        let d = axis as isize;
        Tensor::cat(&[self.narrow(d, n - s, s), self.narrow(d, 0, n - s)], d)
    }

    /// The whole tensor repeated `times[d]` times along each dimension; more entries than dimensions add leading ones.
    ///
    /// Counterpart: `Tensor.repeat`.
    #[track_caller]
    pub fn repeat(&self, times: impl IntoSizes) -> Tensor {
        let times = shape_of("repeat", &times);
        assert!(
            times.len() >= self.rank(),
            "repeat: {:?} has fewer entries than shape {:?} has dimensions; see tile",
            times.as_slice(),
            self.shape()
        );
        self.tiled(&times, Location::caller())
    }

    /// As [`Tensor::repeat`], with ones put before a list that is too short. Counterpart: `torch.tile`.
    #[track_caller]
    pub fn tile(&self, times: impl IntoSizes) -> Tensor {
        let times = shape_of("tile", &times);
        let mut full: Dims = SmallVec::from_elem(1, self.rank().saturating_sub(times.len()));
        full.extend_from_slice(&times);
        self.tiled(&full, Location::caller())
    }

    fn tiled(&self, times: &[usize], at: &'static Location<'static>) -> Tensor {
        let lead = times.len() - self.rank();
        let (mut split, mut wide, mut out) = (Dims::new(), Dims::new(), Dims::new());
        for (i, t) in times.iter().enumerate() {
            let n = if i < lead { 1 } else { self.shape()[i - lead] };
            split.extend([1, n]);
            wide.extend([*t, n]);
            out.push(t * n);
        }
        self.prim_reshape(&split, at).prim_expand(&wide, at).prim_reshape(&out, at)
    }

    /// Each element along `dim` repeated `times` times in a row. Counterpart: `torch.repeat_interleave` with a number; for the
    /// form without `dim` flatten first.
    #[track_caller]
    pub fn repeat_interleave(&self, times: usize, dim: isize) -> Tensor {
        let at = Location::caller();
        let x = self.atleast_1d();
        let d = axis_of("repeat_interleave", dim, x.rank());
        let mut split = x.0.shape.clone();
        split.insert(d + 1, 1);
        let mut wide = split.clone();
        wide[d + 1] = times;
        let mut out = x.0.shape.clone();
        out[d] *= times;
        x.prim_reshape(&split, at).prim_expand(&wide, at).prim_reshape(&out, at)
    }

    /// Element `i` along `dim` repeated `times[i]` times (`times`: integers, `[n]` or `[1]`). The result's size depends on the
    /// values, so they are read. Counterpart: `torch.repeat_interleave` with a tensor.
    ///
    /// # Panics
    /// When the number of counts does not fit or one is negative.
    #[track_caller]
    pub fn repeat_interleave_by(&self, times: &Tensor, dim: isize) -> Tensor {
        let x = self.atleast_1d();
        let d = axis_of("repeat_interleave_by", dim, x.rank());
        let counts = times.to_vec::<i64>();
        let n = x.shape()[d];
        assert!(
            times.rank() <= 1 && (counts.len() == n || counts.len() == 1),
            "repeat_interleave_by: counts of shape {:?} for dimension {d} of shape {:?}",
            times.shape(),
            x.shape()
        );
        let mut rows: Vec<i64> = Vec::new();
        for i in 0..n {
            let c = counts[if counts.len() == 1 { 0 } else { i }];
            let c = usize::try_from(c).unwrap_or_else(|_| {
                panic!("repeat_interleave_by: counts must not be negative, got {c} at {i}")
            });
            rows.extend(std::iter::repeat_n(i as i64, c));
        }
        let index = crate::dev::with_device(x.device(), || Tensor::from_slice(&rows, [rows.len()]));
        x.index_select(dim, &index)
    }

    /// Summed down to `shape`, the reverse of broadcasting: leading dimensions that are missing there are summed away, and
    /// dimensions of size 1 there are summed to 1. Counterpart: `Tensor.sum_to_size`.
    ///
    /// # Panics
    /// When `shape` does not broadcast to the shape of `self`.
    #[track_caller]
    pub fn sum_to_size(&self, shape: impl IntoSizes) -> Tensor {
        let at = Location::caller();
        let shape = shape_of("sum_to_size", &shape);
        let fits = broadcast(&shape, self.shape()).is_some_and(|s| s.as_slice() == self.shape());
        assert!(
            fits,
            "sum_to_size: shape {:?} is not what {:?} was broadcast from",
            self.shape(),
            shape.as_slice()
        );
        let lead = self.rank() - shape.len();
        let axes: Dims = (0..self.rank())
            .filter(|d| *d < lead || (shape[*d - lead] == 1 && self.shape()[*d] != 1))
            .collect();
        if axes.is_empty() {
            return self.clone();
        }
        self.sum_at(&axes, true, at).prim_reshape(&shape, at)
    }
}

/// Integers in the order given: one, a list, or `..` for "all" (see where it is used). Unlike [`crate::Axes`] they are neither
/// sorted nor checked to be distinct.
pub trait DimList {
    /// The list, or `None` for `..`.
    fn list(&self) -> Option<SmallVec<[isize; 6]>>;
}
impl DimList for std::ops::RangeFull {
    fn list(&self) -> Option<SmallVec<[isize; 6]>> {
        None
    }
}
impl<T: IntoSizes> DimList for T {
    fn list(&self) -> Option<SmallVec<[isize; 6]>> {
        Some(self.sizes())
    }
}
macro_rules! dim_list_integer {
    ($($t:ty),*) => {$(
        impl DimList for $t {
            fn list(&self) -> Option<SmallVec<[isize; 6]>> {
                Some(SmallVec::from_slice(&[*self as isize]))
            }
        }
    )*};
}
dim_list_integer!(i32, i64, isize, usize);

/// The shape that all the given shapes broadcast to. Counterpart: `torch.broadcast_shapes`.
///
/// ```
/// use hardpan_engine::broadcast_shapes;
/// assert_eq!(broadcast_shapes(&[&[10, 1, 5], &[10, 1], &[]]).as_slice(), &[10, 10, 5]);
/// ```
///
/// # Panics
/// When they do not fit together.
#[track_caller]
pub fn broadcast_shapes(shapes: &[&[usize]]) -> Dims {
    let mut out = Dims::new();
    for s in shapes {
        out = broadcast(&out, s).unwrap_or_else(|| {
            panic!(
                "broadcast_shapes: {s:?} does not broadcast with {:?} (all: {shapes:?})",
                &out[..]
            )
        });
    }
    out
}
