//! Products over named dimensions: `einsum` and `tensordot`.
//!
//! Each dimension of each operand has a label. Operands are contracted two at a time, the pair that shrinks the data most first; a
//! pair becomes one (batched) matrix product of permuted views, or a fused multiplication where there is nothing to sum
//! over or only one row and column.

use super::arguments::IntoSizes;
use super::math::binary_as;
use crate::node::Tensor;
use crate::op::{BinaryOp, ReduceOp};
use crate::shape::{Dims, axis_of, numel};
use smallvec::SmallVec;
use std::borrow::Borrow;
use std::panic::Location;

type At = &'static Location<'static>;

/// A letter, or a number above all letters for a dimension of the ellipsis.
type Label = u32;
type Labels = SmallVec<[Label; 6]>;

/// Dimension `k` of an ellipsis (counted from its right end) has the label `DOTS + k`.
const DOTS: Label = 0x20_0000;

#[derive(Clone)]
struct Named {
    t: Tensor,
    labels: Labels,
}

impl Named {
    fn position(&self, l: Label) -> Option<usize> {
        self.labels.iter().position(|x| *x == l)
    }

    fn size(&self, l: Label) -> usize {
        self.position(l).map_or(1, |p| self.t.shape()[p])
    }

    /// The dimensions in the order of `groups`, each group merged into one; labels that are missing have size 1.
    fn grouped(&self, lead: &[Label], groups: &[&[Label]], at: At) -> Tensor {
        let mut axes = Dims::new();
        let mut shape = Dims::new();
        for l in lead {
            axes.extend(self.position(*l));
            shape.push(self.size(*l));
        }
        for g in groups {
            axes.extend(g.iter().filter_map(|l| self.position(*l)));
            shape.push(g.iter().map(|l| self.size(*l)).product());
        }
        debug_assert_eq!(axes.len(), self.labels.len());
        self.t.prim_permute(&axes, at).prim_reshape(&shape, at)
    }

    /// Summed over every label that `keep` does not hold.
    fn sum_all_but(self, keep: &dyn Fn(Label) -> bool, at: At) -> Named {
        let axes: Dims = (0..self.labels.len()).filter(|i| !keep(self.labels[*i])).collect();
        if axes.is_empty() {
            return self;
        }
        let t = self.t.reduce_at(ReduceOp::Sum, &axes, false, at);
        Named { t, labels: self.labels.into_iter().filter(|l| keep(*l)).collect() }
    }
}

/// The product of two operands, summed over all labels that `keep` does not hold. Equal labels have equal sizes.
fn contract(a: Named, b: Named, keep: &dyn Fn(Label) -> bool, at: At) -> Named {
    let a = {
        let other = b.labels.clone();
        a.sum_all_but(&|l| keep(l) || other.contains(&l), at)
    };
    let b = {
        let other = a.labels.clone();
        b.sum_all_but(&|l| keep(l) || other.contains(&l), at)
    };
    let pick = |from: &Labels, f: &dyn Fn(Label) -> bool| -> Labels {
        from.iter().copied().filter(|l| f(*l)).collect()
    };
    let in_a = |l: Label| a.labels.contains(&l);
    let in_b = |l: Label| b.labels.contains(&l);
    let batch = pick(&a.labels, &|l| in_b(l) && keep(l));
    let summed = pick(&a.labels, &|l| in_b(l) && !keep(l));
    let rows = pick(&a.labels, &|l| !in_b(l));
    let columns = pick(&b.labels, &|l| !in_a(l));
    let mut labels = batch.clone();
    labels.extend_from_slice(&rows);
    labels.extend_from_slice(&columns);
    let size = |l: &Label| a.size(*l).max(b.size(*l));
    let shape: Dims =
        labels.iter().map(|l| if in_a(*l) { a.size(*l) } else { b.size(*l) }).collect();
    let total: usize = summed.iter().map(size).product();
    let vector = rows.is_empty() || columns.is_empty();
    let elementwise = summed.is_empty()
        || (rows.is_empty() && columns.is_empty())
        || (vector && !batch.is_empty())
        || numel(&shape) == 0
        || total == 0;
    if elementwise {
        // [batch.., rows, columns, summed], one side with size 1 where it has no such label.
        let x = a.grouped(&batch, &[&rows, &[], &summed], at);
        let y = b.grouped(&batch, &[&[], &columns, &summed], at);
        let product = binary_as(BinaryOp::Mul, &x, &y, x.dtype(), at);
        let last = product.rank() - 1;
        let t = if summed.is_empty() {
            product
        } else {
            product.reduce_at(ReduceOp::Sum, &[last], false, at)
        };
        return Named { t: t.prim_reshape(&shape, at), labels };
    }
    let x = a.grouped(&batch, &[&rows, &summed], at);
    let y = b.grouped(&batch, &[&summed, &columns], at);
    Named { t: Tensor::prim_dot(&x, &y, at).prim_reshape(&shape, at), labels }
}

/// An equation with the ellipses resolved for given ranks.
struct Equation {
    inputs: Vec<Labels>,
    output: Labels,
}

#[track_caller]
fn subscripts(equation: &str, text: &str) -> (Vec<Label>, Option<usize>) {
    let mut labels = Vec::new();
    let mut dots = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...").or_else(|| rest.strip_prefix('…')) {
            assert!(dots.is_none(), "einsum {equation:?}: two ellipses in {text:?}");
            dots = Some(labels.len());
            rest = after;
            continue;
        }
        if c.is_ascii_alphabetic() {
            labels.push(c as Label);
        } else {
            assert!(
                c.is_whitespace(),
                "einsum {equation:?}: {c:?} is not a label; labels are single letters, operands are separated by ',', and \
                 '->' stands before the result"
            );
        }
        rest = &rest[c.len_utf8()..];
    }
    (labels, dots)
}

#[track_caller]
fn parse(equation: &str, operands: &[Tensor]) -> Equation {
    let (left, right) = match equation.split_once("->") {
        Some((l, r)) => (l, Some(r)),
        None => (equation, None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    assert_eq!(
        terms.len(),
        operands.len(),
        "einsum {equation:?}: names {} operands, but {} are given",
        terms.len(),
        operands.len()
    );
    let dotted = |k: usize| (0..k).rev().map(|i| DOTS + i as Label);
    let mut widest = 0;
    let mut inputs: Vec<Labels> = Vec::new();
    for (i, (term, t)) in terms.iter().zip(operands).enumerate() {
        let (named, dots) = subscripts(equation, term);
        let hidden = t.rank().checked_sub(named.len());
        let fits = if dots.is_some() { hidden.is_some() } else { hidden == Some(0) };
        assert!(
            fits,
            "einsum {equation:?}: operand {i} has shape {:?} ({} dimensions), but {:?} names {}",
            t.shape(),
            t.rank(),
            term.trim(),
            named.len()
        );
        let mut labels: Labels = named.iter().copied().collect();
        if let Some(p) = dots {
            let hidden = hidden.expect("checked");
            widest = widest.max(hidden);
            labels.insert_many(p, dotted(hidden));
        }
        inputs.push(labels);
    }
    let output = match right {
        Some(r) => {
            let (named, dots) = subscripts(equation, r);
            let mut out: Labels = named.iter().copied().collect();
            for (i, l) in named.iter().enumerate() {
                let c = char::from_u32(*l).unwrap_or('?');
                assert!(
                    !named[..i].contains(l),
                    "einsum {equation:?}: label '{c}' appears twice in the result"
                );
                assert!(
                    inputs.iter().any(|s| s.contains(l)),
                    "einsum {equation:?}: label '{c}' of the result is in no operand"
                );
            }
            if let Some(p) = dots {
                out.insert_many(p, dotted(widest));
            }
            out
        }
        None => {
            // Without '->': the ellipsis, then every label that appears once, in order of the alphabet.
            let mut once: Vec<Label> = inputs.iter().flatten().copied().collect();
            once.sort_unstable();
            let single = |l: &Label| once.iter().filter(|x| *x == l).count() == 1;
            let mut out: Labels = dotted(widest).collect();
            out.extend(once.iter().copied().filter(|l| *l < DOTS && single(l)));
            out
        }
    };
    Equation { inputs, output }
}

/// Repeated labels become one dimension: the diagonal.
#[track_caller]
fn unique(equation: &str, operand: usize, mut n: Named) -> Named {
    'again: loop {
        for i in 0..n.labels.len() {
            for j in i + 1..n.labels.len() {
                if n.labels[i] != n.labels[j] {
                    continue;
                }
                let (x, y) = (n.t.shape()[i], n.t.shape()[j]);
                assert_eq!(
                    x,
                    y,
                    "einsum {equation:?}: label '{}' stands for sizes {x} and {y} of operand {operand} with shape {:?}",
                    char::from_u32(n.labels[i]).unwrap_or('?'),
                    n.t.shape()
                );
                let label = n.labels[i];
                n.t = n.t.diagonal(0, i as isize, j as isize);
                n.labels.remove(j);
                n.labels.remove(i);
                n.labels.push(label);
                continue 'again;
            }
        }
        return n;
    }
}

fn cost(a: &Named, b: &Named, keep: &dyn Fn(Label) -> bool) -> (f64, f64) {
    let mut all: Labels = a.labels.clone();
    all.extend(b.labels.iter().copied().filter(|l| !a.labels.contains(l)));
    let product = |l: &mut dyn Iterator<Item = Label>| -> f64 {
        l.map(|l| a.size(l).max(b.size(l)) as f64).product()
    };
    let flops = product(&mut all.iter().copied());
    let result = product(&mut all.iter().copied().filter(|l| keep(*l)));
    (result - a.t.numel() as f64 - b.t.numel() as f64, flops)
}

impl Tensor {
    /// Sums of products in Einstein's notation: dimensions are named by letters, equal letters are multiplied together, letters that
    /// are not in the result are summed over.
    ///
    /// Without `->` the result has the letters that appear once, in order of the alphabet. A letter that appears twice in one operand
    /// takes its diagonal. `...` stands for any dimensions and broadcasts, and so do sizes of 1. Dtypes are promoted.
    /// Counterpart: `torch.einsum`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let (q, k) = (Tensor::ones([8, 4, 10, 16]), Tensor::ones([8, 4, 12, 16]));
    /// assert_eq!(Tensor::einsum("bhqd,bhkd->bhqk", &[&q, &k]).shape(), &[8, 4, 10, 12]);
    /// let m = Tensor::iota(9).reshape([3, 3]);
    /// assert_eq!(Tensor::einsum("ii->i", &[&m]).to_vec::<i64>(), vec![0, 4, 8]);
    /// assert_eq!(Tensor::einsum("...ij->...ji", &[&m]).to_vec::<i64>()[1], 3);
    /// ```
    ///
    /// # Panics
    /// When the equation does not parse, names another number of operands or dimensions, or gives one letter different sizes.
    #[track_caller]
    pub fn einsum(equation: &str, operands: &[impl Borrow<Tensor>]) -> Tensor {
        let at = Location::caller();
        assert!(!operands.is_empty(), "einsum {equation:?}: the list of operands is empty");
        let dtype = operands
            .iter()
            .map(|t| t.borrow().dtype())
            .reduce(|a, b| a.promote(b))
            .expect("not empty");
        let tensors: Vec<Tensor> =
            operands.iter().map(|t| t.borrow().prim_cast(dtype, at)).collect();
        let eq = parse(equation, &tensors);
        let mut list: Vec<Named> = Vec::new();
        for (i, (t, labels)) in tensors.iter().zip(&eq.inputs).enumerate() {
            list.push(unique(equation, i, Named { t: t.clone(), labels: labels.clone() }));
        }
        // The size of each label; a 1 stretches.
        let mut sizes: Vec<(Label, usize, usize)> = Vec::new();
        for (i, n) in list.iter().enumerate() {
            for (l, s) in n.labels.iter().zip(n.t.shape()) {
                match sizes.iter_mut().find(|x| x.0 == *l) {
                    None => sizes.push((*l, *s, i)),
                    Some(x) if x.1 == 1 => (x.1, x.2) = (*s, i),
                    Some(x) => {
                        let name = char::from_u32(*l).filter(|_| *l < DOTS);
                        let what = name
                            .map_or("a dimension of ...".to_string(), |c| format!("label '{c}'"));
                        assert!(
                            *s == 1 || *s == x.1,
                            "einsum {equation:?}: {what} has size {} in operand {} (shape {:?}) but {s} in operand {i} (shape {:?})",
                            x.1,
                            x.2,
                            tensors[x.2].shape(),
                            tensors[i].shape()
                        );
                    }
                }
            }
        }
        for n in &mut list {
            let stretched: Dims = (0..n.labels.len())
                .filter(|d| {
                    let full = sizes.iter().find(|x| x.0 == n.labels[*d]).map_or(1, |x| x.1);
                    n.t.shape()[*d] == 1 && full != 1
                })
                .collect();
            n.t = n.t.drop_axes(&stretched, at);
            let mut d = 0;
            n.labels.retain(|_| {
                d += 1;
                !stretched.contains(&(d - 1))
            });
        }
        while list.len() > 1 {
            let (mut best, mut pair) = ((f64::INFINITY, f64::INFINITY), (0, 1));
            let wanted = |list: &[Named], i: usize, j: usize, l: Label| {
                eq.output.contains(&l)
                    || list
                        .iter()
                        .enumerate()
                        .any(|(k, n)| k != i && k != j && n.labels.contains(&l))
            };
            for i in 0..list.len() {
                for j in i + 1..list.len() {
                    let c = cost(&list[i], &list[j], &|l| wanted(&list, i, j, l));
                    if c < best {
                        (best, pair) = (c, (i, j));
                    }
                }
            }
            let (i, j) = pair;
            let kept: Labels =
                sizes.iter().map(|x| x.0).filter(|l| wanted(&list, i, j, *l)).collect();
            let b = list.remove(j);
            let a = list.remove(i);
            // The operand with the last label of the result on the right: then the result needs no permutation.
            let last = eq.output.last();
            let swap = last.is_some_and(|l| a.labels.contains(l) && !b.labels.contains(l));
            let (a, b) = if swap { (b, a) } else { (a, b) };
            list.push(contract(a, b, &|l| kept.contains(&l), at));
        }
        let one = list.remove(0).sum_all_but(&|l| eq.output.contains(&l), at);
        let shape: Dims = eq.output.iter().map(|l| one.size(*l)).collect();
        let axes: Dims = eq.output.iter().filter_map(|l| one.position(*l)).collect();
        one.t.prim_permute(&axes, at).prim_reshape(&shape, at)
    }

    /// The product of `self` and `other` summed over pairs of dimensions: `dims` is a number `n` (the last `n` of `self` with the
    /// first `n` of `other`) or two lists. The result has the other dimensions of `self`, then those of `other`.
    ///
    /// Counterpart: `torch.tensordot`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let (a, b) = (Tensor::ones([3, 4, 5]), Tensor::ones([5, 3, 2]));
    /// assert_eq!(a.tensordot(&b, ([0, 2], [1, 0])).shape(), &[4, 2]);
    /// assert_eq!(a.tensordot(&b, 1).shape(), &[3, 4, 3, 2]);
    /// ```
    #[track_caller]
    pub fn tensordot(&self, other: &Tensor, dims: impl PairedDims) -> Tensor {
        let at = Location::caller();
        let dtype = self.dtype().promote(other.dtype());
        let (left, right) = dims.pairs(self.rank());
        assert_eq!(
            left.len(),
            right.len(),
            "tensordot: {} dimensions on the left, {} on the right",
            left.len(),
            right.len()
        );
        let resolve = |dims: &[isize], t: &Tensor| -> Dims {
            let mut out = Dims::new();
            for d in dims {
                let a = axis_of("tensordot", *d, t.rank());
                assert!(!out.contains(&a), "tensordot: dimension {d} appears twice in {dims:?}");
                out.push(a);
            }
            out
        };
        let (left, right) = (resolve(&left, self), resolve(&right, other));
        let mut a = self.prim_cast(dtype, at);
        let mut b = other.prim_cast(dtype, at);
        for (l, r) in left.iter().zip(&right) {
            let (x, y) = (self.shape()[*l], other.shape()[*r]);
            assert!(
                x == y || x == 1 || y == 1,
                "tensordot: dimension {l} of {:?} has size {x}, dimension {r} of {:?} has size {y}",
                self.shape(),
                other.shape()
            );
            // A size of 1 stretches: the other side can be summed alone.
            if x == 1 && y != 1 {
                b = b.reduce_at(ReduceOp::Sum, &[*r], true, at);
            }
            if y == 1 && x != 1 {
                a = a.reduce_at(ReduceOp::Sum, &[*l], true, at);
            }
        }
        let names: Labels = (0..a.rank() as Label).collect();
        let second: Labels = (0..b.rank())
            .map(|d| match right.iter().position(|r| *r == d) {
                Some(p) => left[p] as Label,
                None => (a.rank() + d) as Label,
            })
            .collect();
        let mut kept: Labels =
            (0..a.rank()).filter(|d| !left.contains(d)).map(|d| d as Label).collect();
        kept.extend(second.iter().copied().filter(|l| *l >= a.rank() as Label));
        let a = Named { t: a, labels: names };
        let b = Named { t: b, labels: second };
        contract(a, b, &|l| kept.contains(&l), at).t
    }
}

/// The dimensions [`Tensor::tensordot`] sums over: a number, or a pair of lists.
pub trait PairedDims {
    /// The dimensions of the left and of the right operand.
    fn pairs(&self, left_rank: usize) -> (SmallVec<[isize; 6]>, SmallVec<[isize; 6]>);
}
impl PairedDims for usize {
    #[track_caller]
    fn pairs(&self, left_rank: usize) -> (SmallVec<[isize; 6]>, SmallVec<[isize; 6]>) {
        assert!(*self <= left_rank, "tensordot: {self} dimensions of a tensor of rank {left_rank}");
        let n = *self as isize;
        ((left_rank as isize - n..left_rank as isize).collect(), (0..n).collect())
    }
}
impl PairedDims for i32 {
    #[track_caller]
    fn pairs(&self, left_rank: usize) -> (SmallVec<[isize; 6]>, SmallVec<[isize; 6]>) {
        usize::try_from(*self).expect("tensordot: a number of dimensions").pairs(left_rank)
    }
}
impl<A: IntoSizes, B: IntoSizes> PairedDims for (A, B) {
    fn pairs(&self, _left_rank: usize) -> (SmallVec<[isize; 6]>, SmallVec<[isize; 6]>) {
        (self.0.sizes(), self.1.sizes())
    }
}
