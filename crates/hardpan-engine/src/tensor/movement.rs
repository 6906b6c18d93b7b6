//! Views: the same elements in another shape or order. No data moves until a kernel reads them.

use super::arguments::{IntoSizes, shape_of};
use crate::node::Tensor;
use crate::shape::{Dims, axis_of, broadcast, numel};
use smallvec::SmallVec;
use std::panic::Location;

type At = &'static Location<'static>;

impl Tensor {
    /// Expanded to `shape` by the broadcasting rules; the caller has checked that it fits.
    pub(crate) fn broadcast_at(&self, shape: &[usize], at: At) -> Tensor {
        if self.shape() == shape {
            return self.clone();
        }
        let missing = shape.len() - self.rank();
        let mut full: Dims = SmallVec::from_elem(1, missing);
        full.extend_from_slice(self.shape());
        self.prim_reshape(&full, at).prim_expand(shape, at)
    }

    /// The same elements in row-major order with other sizes; one size may be -1.
    ///
    /// Counterpart: `torch.reshape`.
    ///
    /// # Panics
    /// When the number of elements does not fit.
    #[track_caller]
    pub fn reshape(&self, shape: impl IntoSizes) -> Tensor {
        let at = Location::caller();
        let sizes = shape.sizes();
        let free = sizes.iter().filter(|d| **d == -1).count();
        assert!(free <= 1, "reshape: only one size may be -1, got {:?}", sizes.as_slice());
        assert!(
            sizes.iter().all(|d| *d >= -1),
            "reshape: sizes must not be negative (except one -1), got {:?}",
            sizes.as_slice()
        );
        let known: usize = sizes.iter().filter(|d| **d >= 0).map(|d| *d as usize).product();
        let n = self.numel();
        let fits = if free == 1 { known != 0 && n.is_multiple_of(known) } else { known == n };
        assert!(
            fits,
            "reshape: {:?} ({n} elements) does not fit into {:?}{}",
            self.shape(),
            sizes.as_slice(),
            if free == 0 { format!(" ({known} elements)") } else { String::new() }
        );
        let shape: Dims =
            sizes.iter().map(|d| if *d == -1 { n / known } else { *d as usize }).collect();
        self.prim_reshape(&shape, at)
    }

    /// Dimensions reordered: output dimension `d` is input dimension `dims[d]`. Counterpart: `torch.permute`.
    #[track_caller]
    pub fn permute(&self, dims: impl IntoSizes) -> Tensor {
        let at = Location::caller();
        let dims = dims.sizes();
        assert_eq!(
            dims.len(),
            self.rank(),
            "permute: {:?} must name each dimension of shape {:?} once",
            dims.as_slice(),
            self.shape()
        );
        let axes: Dims = dims.iter().map(|d| axis_of("permute", *d, self.rank())).collect();
        let mut seen: SmallVec<[bool; 6]> = SmallVec::from_elem(false, self.rank());
        for a in &axes {
            assert!(!seen[*a], "permute: dimension {a} appears twice in {:?}", dims.as_slice());
            seen[*a] = true;
        }
        self.prim_permute(&axes, at)
    }

    /// Two dimensions swapped. Counterpart: `torch.transpose`.
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Tensor {
        let at = Location::caller();
        let (a, b) = (axis_of("transpose", a, self.rank()), axis_of("transpose", b, self.rank()));
        if self.rank() == 0 {
            return self.clone();
        }
        let mut axes: Dims = (0..self.rank()).collect();
        axes.swap(a, b);
        self.prim_permute(&axes, at)
    }

    /// A matrix transposed (vectors and numbers stay as they are). Counterpart: `torch.t`.
    #[track_caller]
    pub fn t(&self) -> Tensor {
        assert!(
            self.rank() <= 2,
            "t: expected at most 2 dimensions, got shape {:?}; use transpose(a, b) or mt()",
            self.shape()
        );
        if self.rank() < 2 { self.clone() } else { self.transpose(0, 1) }
    }

    /// Sizes of 1 stretched to `shape`; new leading dimensions are allowed, -1 keeps a size. Counterpart: `torch.expand`.
    #[track_caller]
    pub fn expand(&self, shape: impl IntoSizes) -> Tensor {
        let at = Location::caller();
        let sizes = shape.sizes();
        let lead = sizes.len().checked_sub(self.rank()).unwrap_or_else(|| {
            panic!(
                "expand: {:?} has fewer dimensions than shape {:?}",
                sizes.as_slice(),
                self.shape()
            )
        });
        let target: Dims = sizes
            .iter()
            .enumerate()
            .map(|(i, d)| match (*d, i.checked_sub(lead)) {
                (-1, Some(j)) => self.shape()[j],
                (d, _) => usize::try_from(d).unwrap_or_else(|_| {
                    panic!("expand: size {d} is not allowed for a new dimension")
                }),
            })
            .collect();
        match broadcast(self.shape(), &target) {
            Some(s) if s == target => self.broadcast_at(&target, at),
            _ => panic!(
                "expand: shape {:?} does not stretch to {:?}; only sizes of 1 can be stretched",
                self.shape(),
                target.as_slice()
            ),
        }
    }

    /// Expanded to exactly `shape`. Counterpart: `torch.broadcast_to`.
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl IntoSizes) -> Tensor {
        self.expand(shape)
    }

    /// A dimension of size 1 inserted before `dim` (negative counts from the end of the result). Counterpart:
    /// `torch.unsqueeze`.
    #[track_caller]
    pub fn unsqueeze(&self, dim: isize) -> Tensor {
        let at = Location::caller();
        let d = axis_of("unsqueeze", dim, self.rank() + 1);
        let mut shape = self.0.shape.clone();
        shape.insert(d, 1);
        self.prim_reshape(&shape, at)
    }

    /// The given dimensions removed where their size is 1: one, several, or `..` for all. Others stay as they are.
    ///
    /// Counterpart: `torch.squeeze`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let x = Tensor::ones([1, 3, 1]);
    /// assert_eq!(x.squeeze(0).shape(), &[3, 1]);
    /// assert_eq!(x.squeeze(..).shape(), &[3]);
    /// ```
    #[track_caller]
    pub fn squeeze(&self, dims: impl super::arguments::Axes) -> Tensor {
        let at = Location::caller();
        let axes = dims.axes("squeeze", self.rank());
        let ones: Dims = axes.into_iter().filter(|a| self.shape()[*a] == 1).collect();
        self.drop_axes(&ones, at)
    }

    /// Dimensions `start..=end` merged into one. Counterpart: `torch.flatten`.
    #[track_caller]
    pub fn flatten(&self, start: isize, end: isize) -> Tensor {
        let at = Location::caller();
        if self.rank() == 0 {
            return self.prim_reshape(&[1], at);
        }
        let s = axis_of("flatten", start, self.rank());
        let e = axis_of("flatten", end, self.rank());
        assert!(s <= e, "flatten: start {start} comes after end {end}");
        let mut shape = Dims::from_slice(&self.shape()[..s]);
        shape.push(numel(&self.shape()[s..=e]));
        shape.extend_from_slice(&self.shape()[e + 1..]);
        self.prim_reshape(&shape, at)
    }

    /// Elements `start..start + length` of a dimension. Counterpart: `torch.narrow`.
    #[track_caller]
    pub fn narrow(&self, dim: isize, start: usize, length: usize) -> Tensor {
        let at = Location::caller();
        let d = axis_of("narrow", dim, self.rank());
        assert!(
            start + length <= self.shape()[d],
            "narrow: {start}..{} is outside dimension {d} of shape {:?}",
            start + length,
            self.shape()
        );
        let mut region: SmallVec<[(usize, isize); 6]> = SmallVec::from_elem((0, 1), self.rank());
        region[d].0 = start;
        let mut shape = self.0.shape.clone();
        shape[d] = length;
        self.prim_slice(&region, &shape, at)
    }

    /// Index `i` of a dimension, which is removed; negative counts from the end. Counterpart: `torch.select`.
    #[track_caller]
    pub fn select(&self, dim: isize, i: isize) -> Tensor {
        let d = axis_of("select", dim, self.rank());
        assert!(self.rank() > 0, "select: a tensor of rank 0 has no dimensions");
        let n = self.shape()[d] as isize;
        assert!(
            (-n..n).contains(&i),
            "select: index {i} is out of range for dimension {d} of shape {:?}",
            self.shape()
        );
        let start = if i < 0 { i + n } else { i } as usize;
        self.narrow(d as isize, start, 1).squeeze(d as isize)
    }

    /// The order of elements along the given dimensions reversed. Counterpart: `torch.flip`.
    #[track_caller]
    pub fn flip(&self, dims: impl super::arguments::Axes) -> Tensor {
        let at = Location::caller();
        let axes = dims.axes("flip", self.rank());
        let mut region: SmallVec<[(usize, isize); 6]> = SmallVec::from_elem((0, 1), self.rank());
        for a in axes {
            region[a] = (self.shape()[a].saturating_sub(1), -1);
        }
        self.prim_slice(&region, self.shape(), at)
    }

    /// Windows of `size` elements at every `step` along `dim`, as a new last dimension. Counterpart: `Tensor.unfold`.
    #[track_caller]
    pub fn unfold(&self, dim: isize, size: usize, step: usize) -> Tensor {
        let at = Location::caller();
        if self.rank() == 0 {
            assert!(size <= 1, "unfold: window {size} is larger than a tensor of rank 0");
            return self.prim_reshape(&[1], at).narrow(0, 0, size);
        }
        let d = axis_of("unfold", dim, self.rank());
        assert!(step > 0, "unfold: step must be at least 1");
        assert!(
            size <= self.shape()[d],
            "unfold: window {size} is larger than dimension {d} of shape {:?}",
            self.shape()
        );
        self.prim_unfold(d, size, step, at)
    }

    /// Zeros around: `(before, after)` for every dimension. See `pad` for PyTorch's argument order and other modes.
    #[track_caller]
    pub fn pad_zeros(&self, pads: &[(usize, usize)]) -> Tensor {
        assert_eq!(
            pads.len(),
            self.rank(),
            "pad_zeros: one pair for each dimension of {:?}",
            self.shape()
        );
        self.prim_pad(pads, Location::caller())
    }

    /// Sizes as given, reordered in memory only when needed. Counterpart: `torch.Tensor.view` (never fails here).
    #[track_caller]
    pub fn view(&self, shape: impl IntoSizes) -> Tensor {
        self.reshape(shape)
    }

    /// Tensors joined along a dimension; dtypes are promoted. Counterpart: `torch.cat`.
    ///
    /// # Panics
    /// When the list is empty or other sizes differ. A 1-d tensor of size 0 is skipped, as in PyTorch.
    #[track_caller]
    pub fn cat(tensors: &[impl std::borrow::Borrow<Tensor>], dim: isize) -> Tensor {
        let at = Location::caller();
        assert!(!tensors.is_empty(), "cat: the list of tensors is empty");
        let dtype = tensors
            .iter()
            .map(|t| t.borrow().dtype())
            .reduce(|a, b| a.promote(b))
            .expect("not empty");
        let parts: Vec<Tensor> = tensors
            .iter()
            .map(|t| t.borrow().prim_cast(dtype, at))
            .filter(|t| t.shape() != [0])
            .collect();
        let Some(first) = parts.first() else { return tensors[0].borrow().prim_cast(dtype, at) };
        let d = axis_of("cat", dim, first.rank());
        for (i, p) in parts.iter().enumerate() {
            let fits = p.rank() == first.rank()
                && p.rank() > 0
                && (0..p.rank()).all(|k| k == d || p.shape()[k] == first.shape()[k]);
            assert!(
                fits,
                "cat along {d}: tensor {i} has shape {:?}, the first {:?}; all other sizes must agree",
                p.shape(),
                first.shape()
            );
        }
        let parts: Vec<Tensor> = parts.into_iter().filter(|p| p.shape()[d] > 0).collect();
        match parts.len() {
            0 => tensors[0].borrow().prim_cast(dtype, at),
            1 => parts.into_iter().next().expect("one"),
            _ => Tensor::prim_cat(&parts, d, at),
        }
    }

    /// Tensors of one shape joined along a new dimension. Counterpart: `torch.stack`.
    #[track_caller]
    pub fn stack(tensors: &[impl std::borrow::Borrow<Tensor>], dim: isize) -> Tensor {
        let at = Location::caller();
        assert!(!tensors.is_empty(), "stack: the list of tensors is empty");
        let first = shape_of("stack", &tensors[0].borrow().0.shape);
        let d = axis_of("stack", dim, first.len() + 1);
        let mut parts: Vec<Tensor> = Vec::with_capacity(tensors.len());
        for (i, t) in tensors.iter().enumerate() {
            let t = t.borrow();
            assert!(
                t.shape() == first.as_slice(),
                "stack: all shapes must be equal, but tensor {i} has {:?} and the first {:?}; cat joins along a dimension that is there",
                t.shape(),
                first.as_slice()
            );
            let mut s = t.0.shape.clone();
            s.insert(d, 1);
            parts.push(t.prim_reshape(&s, at));
        }
        Tensor::cat(&parts, d as isize)
    }
}
