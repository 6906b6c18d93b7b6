//! `x[...]` and `x[...] = value`, with PyTorch's rules.
//!
//! Integers, ranges, new axes and the ellipsis make a view first. Index tensors then broadcast together; the dimensions they give
//! stand where the first indexed dimension was if all indexed dimensions are neighbours, else in front.

use super::item::{Item, Subscript, resolve};
use super::masked::{coordinates, leading_mask, positions};
use super::{At, Places, joined, places, scatter_along, take_along};
use crate::dev::with_device;
use crate::dtype::{DType, Scalar};
use crate::node::Tensor;
use crate::op::ScatterOp;
use crate::shape::{Dims, broadcast, numel, strides_of};
use crate::tensor::arguments::Operand;
use crate::tensor::math::select;
use smallvec::SmallVec;
use std::panic::Location;

/// A subscript taken apart for one shape.
struct Parts {
    /// Start and step for each source dimension; integers keep size 1.
    region: SmallVec<[(usize, isize); 6]>,
    /// Sizes of that region.
    sizes: Dims,
    /// Without the dimensions of integers, with the new axes.
    view: Dims,
    /// Dimension of `view` and its index.
    indices: Vec<(usize, Tensor)>,
}

fn is_mask(t: &Tensor) -> bool {
    matches!(t.dtype(), DType::Bool | DType::U8)
}

#[track_caller]
fn take_apart(op: &str, x: &Tensor, items: Vec<Item>) -> Parts {
    let rank = x.rank();
    let used: usize = items
        .iter()
        .map(|i| match i {
            Item::At(_) | Item::Range { .. } | Item::List(_) => 1,
            Item::Tensor(t) if is_mask(t) => t.rank(),
            Item::Tensor(_) => 1,
            Item::Dots | Item::New => 0,
        })
        .sum();
    assert!(used <= rank, "{op}: {used} indices for a tensor of shape {:?}", x.shape());
    let dots = items.iter().filter(|i| matches!(i, Item::Dots)).count();
    assert!(dots <= 1, "{op}: at most one ellipsis (DOTS) may stand in a subscript");
    let mut parts = Parts {
        region: SmallVec::from_elem((0, 1), rank),
        sizes: Dims::from_slice(x.shape()),
        view: Dims::new(),
        indices: Vec::new(),
    };
    let mut d = 0;
    let rest = rank - used;
    // Beside other index tensors one of rank 0 counts as an integer: it does not decide where their dimensions go.
    let vectors = items.iter().any(|i| match i {
        Item::Tensor(t) => t.rank() > 0 || is_mask(t),
        Item::List(_) => true,
        _ => false,
    });
    for item in items {
        let item = match item {
            Item::Tensor(t) if vectors && t.rank() == 0 && t.dtype().is_int() && !is_mask(&t) => {
                Item::At(t.item::<i64>() as isize)
            }
            other => other,
        };
        match item {
            Item::At(i) => {
                let n = x.shape()[d] as isize;
                assert!(
                    (-n..n).contains(&i),
                    "{op}: index {i} is out of range for dimension {d} of shape {:?}",
                    x.shape()
                );
                parts.region[d].0 = i.rem_euclid(n) as usize;
                parts.sizes[d] = 1;
                d += 1;
            }
            Item::Range { start, stop, step } => {
                let (first, length) = resolve(start, stop, step.max(1), x.shape()[d]);
                parts.region[d] = (first, step.max(1) as isize);
                parts.sizes[d] = length;
                parts.view.push(length);
                d += 1;
            }
            Item::Dots => {
                parts.view.extend_from_slice(&x.shape()[d..d + rest]);
                d += rest;
            }
            Item::New => parts.view.push(1),
            Item::Tensor(t) if is_mask(&t) => {
                let k = t.rank();
                assert!(
                    t.shape() == &x.shape()[d..d + k],
                    "{op}: mask of shape {:?} for dimensions {d}..{} of shape {:?}",
                    t.shape(),
                    d + k,
                    x.shape()
                );
                let found = positions(&t);
                if k == 0 {
                    // A truth value is a new dimension of size 0 or 1.
                    let index =
                        with_device(x.device(), || Tensor::from_slice(&found, [found.len()]));
                    parts.indices.push((parts.view.len(), index));
                    parts.view.push(1);
                }
                for (j, index) in coordinates(&found, t.shape(), x).into_iter().enumerate() {
                    parts.indices.push((parts.view.len(), index));
                    parts.view.push(x.shape()[d + j]);
                }
                d += k;
            }
            Item::Tensor(index) => {
                parts.indices.push((parts.view.len(), index));
                parts.view.push(x.shape()[d]);
                d += 1;
            }
            Item::List(list) => {
                let index = with_device(x.device(), || Tensor::from_slice(&list, [list.len()]));
                parts.indices.push((parts.view.len(), index));
                parts.view.push(x.shape()[d]);
                d += 1;
            }
        }
    }
    parts.view.extend_from_slice(&x.shape()[d..]);
    parts
}

/// The view with all indexed dimensions merged into one, and the places in it.
struct Block {
    /// The order of the view's dimensions that brings the indexed ones together.
    order: Dims,
    /// `[lead.., merged, inner..]`
    shape: Dims,
    axis: usize,
    places: Places,
}

#[track_caller]
fn block(op: &str, view: &[usize], indices: &[(usize, Tensor)], at: At) -> Block {
    let mut shape = Dims::new();
    for (_, i) in indices {
        shape = broadcast(&shape, i.shape()).unwrap_or_else(|| {
            let all: Vec<&[usize]> = indices.iter().map(|(_, i)| i.shape()).collect();
            panic!("{op}: index tensors do not broadcast together: shapes {all:?}")
        });
    }
    let dims: Dims = indices.iter().map(|(d, _)| *d).collect();
    let neighbours = dims.windows(2).all(|w| w[1] == w[0] + 1);
    let (lead, inner): (Dims, Dims) = if neighbours {
        ((0..dims[0]).collect(), (dims[dims.len() - 1] + 1..view.len()).collect())
    } else {
        (Dims::new(), (0..view.len()).filter(|d| !dims.contains(d)).collect())
    };
    let order = joined(&lead, &dims, &inner);
    let sizes = |axes: &[usize]| -> Dims { axes.iter().map(|d| view[*d]).collect() };
    let indexed = sizes(&dims);
    let strides = strides_of(&indexed);
    let mut linear: Option<Places> = None;
    for (j, (_, index)) in indices.iter().enumerate() {
        let mut p = places(op, index, indexed[j], true, at);
        if indices.len() > 1 {
            let scaled = if strides[j] == 1 { p.index.clone() } else { &p.index * strides[j] };
            // Wrong indices must stay wrong after the sum: a large negative number.
            p.index = if p.checked {
                scaled
            } else {
                let far = Tensor::constant(Scalar::Int(i64::MIN / 16), DType::I64, at);
                let bad = p.index.lt(0) + p.index.ge(indexed[j]);
                select(&bad, &far, &scaled, at)
            };
        }
        linear = Some(match linear {
            None => p,
            Some(l) => Places { index: l.index + &p.index, checked: l.checked && p.checked },
        });
    }
    let mut places = linear.expect("at least one index");
    places.index = places.index.broadcast_at(&shape, at);
    Block {
        order,
        shape: joined(&sizes(&lead), &[numel(&indexed)], &sizes(&inner)),
        axis: lead.len(),
        places,
    }
}

fn inverse(order: &[usize]) -> Dims {
    let mut out = Dims::from_slice(order);
    for (i, o) in order.iter().enumerate() {
        out[*o] = i;
    }
    out
}

impl Tensor {
    /// The elements that a subscript names, by the rules of PyTorch's `x[...]`.
    ///
    /// A subscript is one entry or a tuple of entries: an integer (negative counts from the end), a range (`1..3`, `..-1`, `..`,
    /// with [`every`](crate::every) for a step), [`NEW`](crate::NEW) for a new dimension, [`DOTS`](crate::DOTS) for all dimensions
    /// not named, an index tensor or a list of integers, or a bool mask. Ranges are cut to the size, as in Python.
    ///
    /// ```
    /// use hardpan_engine::{DOTS, NEW, Tensor, every};
    /// let x = Tensor::iota(24).reshape([2, 3, 4]);
    /// assert_eq!(x.i(1).shape(), &[3, 4]);
    /// assert_eq!(x.i((.., 0..2, NEW, -1)).shape(), &[2, 2, 1]);
    /// assert_eq!(x.i((DOTS, every(.., 2))).shape(), &[2, 3, 2]);
    /// assert_eq!(x.i((.., [2, 0])).shape(), &[2, 2, 4]);
    /// let idx = Tensor::from_slice(&[1i64, 0, 1], [3]);
    /// assert_eq!(x.i((&idx, .., &idx)).shape(), &[3, 3]);
    /// let big = x.gt(20);
    /// assert_eq!(x.i(&big).to_vec::<i64>(), vec![21, 22, 23]);
    /// ```
    ///
    /// # Panics
    /// When there are too many entries, an integer is out of range, a mask's shape does not match, or index tensors do not
    /// broadcast together. Index tensors whose values are not known yet are checked when they are.
    #[track_caller]
    pub fn i(&self, subscript: impl Subscript) -> Tensor {
        let at = Location::caller();
        let parts = take_apart("i", self, subscript.items());
        let view = self.prim_slice(&parts.region, &parts.sizes, at).prim_reshape(&parts.view, at);
        if parts.indices.is_empty() {
            return view;
        }
        let b = block("i", &parts.view, &parts.indices, at);
        let x = view.prim_permute(&b.order, at).prim_reshape(&b.shape, at);
        take_along(&x, b.axis, &b.places, at)
    }

    /// A copy of `self` after `x[...] = value`: the elements that the subscript names (see [`Tensor::i`]) replaced by `value`, a number
    /// or a tensor that broadcasts to their shape. Gradients flow to `self` elsewhere and to `value`. Where an index is named
    /// twice the last wins.
    ///
    /// Counterpart: `Tensor.__setitem__`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let x = Tensor::zeros([2, 3]).set_at((.., 1), 5.0);
    /// assert_eq!(x.to_vec::<f32>(), vec![0.0, 5.0, 0.0, 0.0, 5.0, 0.0]);
    /// ```
    #[track_caller]
    pub fn set_at(&self, subscript: impl Subscript, value: impl Operand) -> Tensor {
        let at = Location::caller();
        let value = value.tensor_like(self, at);
        self.replace("set_at", subscript.items(), &value, ScatterOp::Set, at)
    }

    /// A copy of `self` with `value` added to the elements that the subscript names; an index that is named twice is added to
    /// twice. Counterpart: `Tensor.index_put(accumulate=True)`.
    #[track_caller]
    pub fn add_at(&self, subscript: impl Subscript, value: impl Operand) -> Tensor {
        let at = Location::caller();
        let value = value.tensor_like(self, at);
        self.replace("add_at", subscript.items(), &value, ScatterOp::Add, at)
    }

    /// `self` with `value` written (or added, with `accumulate`) where the index tensors or masks point, one for each leading
    /// dimension. Counterpart: `torch.index_put`.
    #[track_caller]
    pub fn index_put(
        &self,
        indices: &[impl std::borrow::Borrow<Tensor>],
        value: impl Operand,
        accumulate: bool,
    ) -> Tensor {
        let at = Location::caller();
        let items = indices.iter().map(|i| Item::Tensor(i.borrow().clone())).collect();
        let value = value.tensor_like(self, at);
        let op = if accumulate { ScatterOp::Add } else { ScatterOp::Set };
        self.replace("index_put", items, &value, op, at)
    }

    #[track_caller]
    fn replace(
        &self,
        op: &str,
        items: Vec<Item>,
        value: &Tensor,
        how: ScatterOp,
        at: At,
    ) -> Tensor {
        let value = value.prim_cast(self.dtype(), at);
        if let [Item::Tensor(mask)] = items.as_slice()
            && is_mask(mask)
            && mask.rank() > 0
            && value.numel() == 1
            && how == ScatterOp::Set
        {
            // One value at all places of a mask needs no positions.
            let mask = leading_mask(op, mask, self, at);
            return select(&mask, &value.prim_reshape(&[], at), self, at);
        }
        let parts = take_apart(op, self, items);
        let view = self.prim_slice(&parts.region, &parts.sizes, at);
        let fit = |want: &[usize]| -> Tensor {
            // Leading sizes of 1 that are too many are dropped, as in PyTorch.
            let surplus = value.rank().saturating_sub(want.len());
            let lead_ones = value.shape()[..surplus].iter().all(|n| *n == 1);
            let v = if surplus > 0 && lead_ones {
                value.prim_reshape(&value.shape()[surplus..], at)
            } else {
                value.clone()
            };
            let fits = broadcast(v.shape(), want).is_some_and(|s| s.as_slice() == want);
            assert!(
                fits,
                "{op}: a value of shape {:?} does not fit the selected part of shape {want:?}",
                value.shape()
            );
            v.broadcast_at(want, at)
        };
        let new = if parts.indices.is_empty() {
            let v = fit(&parts.view).prim_reshape(&parts.sizes, at);
            if how == ScatterOp::Add { &view + v } else { v }
        } else {
            let b = block(op, &parts.view, &parts.indices, at);
            let x = view.prim_reshape(&parts.view, at).prim_permute(&b.order, at);
            let want = joined(&b.shape[..b.axis], b.places.index.shape(), &b.shape[b.axis + 1..]);
            let v = fit(&want);
            scatter_along(how, &x.prim_reshape(&b.shape, at), b.axis, &b.places, &v, at)
                .prim_reshape(x.shape(), at)
                .prim_permute(&inverse(&b.order), at)
                .prim_reshape(&parts.sizes, at)
        };
        let whole = new.shape() == self.shape() && parts.region.iter().all(|r| *r == (0, 1));
        if whole { new } else { Tensor::prim_update(self, &parts.region, &new, at) }
    }
}
