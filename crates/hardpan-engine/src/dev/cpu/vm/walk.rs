//! How a block of positions reaches memory: affine addresses as runs of equal steps.
//!
//! A block is a range of positions of a row-major enumeration of some dimensions. A [`Walk`] holds one or more affine
//! functions (an address and its guards) over those dimensions, merged where neighbours are contiguous for all of them, and
//! visits a block as runs along the innermost dimension.
use crate::kernel::{Affine, Guard};
use smallvec::SmallVec;

type Steps = SmallVec<[isize; 4]>;

/// One affine function over the walked dimensions, in two parts.
#[derive(Clone, Debug)]
struct Line {
    base: isize,
    /// Factors of the block's fixed indices.
    head: Steps,
    /// Factors of the walked dimensions, outermost first.
    body: Steps,
}

/// An address with its guards over merged dimensions.
#[derive(Clone, Debug)]
pub struct Walk {
    sizes: SmallVec<[usize; 4]>,
    lines: SmallVec<[Line; 1]>,
    /// Bound of each guard (`lines[1..]`).
    bounds: SmallVec<[isize; 2]>,
}

/// Which part of the enumeration a block covers.
#[derive(Clone, Copy)]
pub struct Span<'a> {
    /// Values of the fixed indices.
    pub head: &'a [usize],
    /// Position of the first element within the walked dimensions.
    pub start: usize,
    /// Number of elements.
    pub count: usize,
    /// When not 0: the size of the innermost walked dimension for this block.
    pub inner: usize,
}

/// A run of positions: element `i` (of `len`) is at `offset + i * step`.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Element offset of the first.
    pub offset: isize,
    /// Elements between neighbours.
    pub step: isize,
    /// Where in the block the run starts.
    pub at: usize,
    /// Its length.
    pub len: usize,
    /// The part that all guards allow.
    pub inside: (usize, usize),
}

/// Positions `i` in `0..n` with `0 <= at + i * step < size`.
fn allowed(at: isize, step: isize, size: isize, n: usize) -> (usize, usize) {
    let last = at + step * (n as isize - 1);
    if at >= 0 && at < size && last >= 0 && last < size {
        return (0, n);
    }
    if step == 0 {
        return (0, 0);
    }
    // Ceiling division for a positive divisor.
    let up = |a: isize, b: isize| -(-a).div_euclid(b);
    let (lo, hi) = if step > 0 {
        (up(-at, step), up(size - at, step))
    } else {
        ((at - size).div_euclid(-step) + 1, at.div_euclid(-step) + 1)
    };
    let hi = hi.clamp(0, n as isize) as usize;
    let lo = lo.clamp(0, n as isize) as usize;
    (lo.min(hi), hi)
}

impl Walk {
    /// The functions `at` and `guards` over `body` dimensions (indices into `dims`, outermost first), the `head` dimensions
    /// being fixed for a block. With `keep_inner` the innermost dimension is not merged, since its size varies.
    pub fn new(
        at: &Affine,
        guards: &[Guard],
        dims: &[usize],
        head: &[usize],
        body: &[usize],
        keep_inner: bool,
    ) -> Walk {
        let affines: SmallVec<[&Affine; 3]> =
            std::iter::once(at).chain(guards.iter().map(|g| &g.at)).collect();
        let mut lines: SmallVec<[Line; 1]> = affines
            .iter()
            .map(|a| Line {
                base: a.base,
                head: head.iter().map(|d| a.coef[*d]).collect(),
                body: Steps::new(),
            })
            .collect();
        let mut sizes: SmallVec<[usize; 4]> = SmallVec::new();
        for (position, &d) in body.iter().enumerate() {
            let fixed = keep_inner && position + 1 == body.len();
            if dims[d] == 1 && !fixed {
                continue;
            }
            let mergeable = !fixed
                && !sizes.is_empty()
                && lines
                    .iter()
                    .zip(&affines)
                    .all(|(l, a)| *l.body.last().unwrap() == a.coef[d] * dims[d] as isize);
            if mergeable {
                *sizes.last_mut().unwrap() *= dims[d];
            } else {
                sizes.push(dims[d]);
            }
            for (l, a) in lines.iter_mut().zip(&affines) {
                if mergeable {
                    *l.body.last_mut().unwrap() = a.coef[d];
                } else {
                    l.body.push(a.coef[d]);
                }
            }
        }
        Walk { sizes, lines, bounds: guards.iter().map(|g| g.size).collect() }
    }

    /// True when there are guards.
    pub fn is_guarded(&self) -> bool {
        !self.bounds.is_empty()
    }

    /// True when positions are neighbours in memory.
    pub fn is_contiguous(&self) -> bool {
        !self.is_guarded() && self.lines[0].body[..] == [1]
    }

    fn base(&self, line: &Line, head: &[usize]) -> isize {
        line.base + line.head.iter().zip(head).map(|(c, i)| c * *i as isize).sum::<isize>()
    }

    /// The address of an unguarded block that is one run: `(offset, step)`.
    #[inline]
    pub fn single(&self, span: Span) -> Option<(isize, isize)> {
        if self.is_guarded() {
            return None;
        }
        let line = &self.lines[0];
        let base = self.base(line, span.head);
        match self.sizes.len() {
            0 => Some((base, 0)),
            1 => Some((base + span.start as isize * line.body[0], line.body[0])),
            rank => {
                let last = rank - 1;
                let inner = if span.inner != 0 { span.inner } else { self.sizes[last] };
                let (mut rest, at) = (span.start / inner, span.start % inner);
                if at + span.count > inner {
                    return None;
                }
                let mut offset = base + at as isize * line.body[last];
                for d in (0..last).rev() {
                    offset += (rest % self.sizes[d]) as isize * line.body[d];
                    rest /= self.sizes[d];
                }
                Some((offset, line.body[last]))
            }
        }
    }

    /// For a block of an unguarded walk over two dimensions that is contiguous along the outer one alone: elements between
    /// neighbours along the inner one, and how many of those the block spans.
    pub fn transposed(&self, span: Span) -> Option<(isize, usize)> {
        match self.lines[0].body[..] {
            [1, step] if !self.is_guarded() && step > 1 => {
                let inner = if span.inner != 0 { span.inner } else { self.sizes[1] };
                (span.start.is_multiple_of(inner) && span.count.is_multiple_of(inner))
                    .then_some((step, inner))
            }
            _ => None,
        }
    }

    /// Visits the runs of a block of an unguarded walk in order: `(offset, position in the
    /// block, length, step)`.
    #[inline]
    pub fn plain_runs(&self, span: Span, mut visit: impl FnMut(isize, usize, usize, isize)) {
        let rank = self.sizes.len();
        let line = &self.lines[0];
        let base = self.base(line, span.head);
        if rank < 2 {
            let step = line.body.first().copied().unwrap_or(0);
            visit(base + span.start as isize * step, 0, span.count, step);
            return;
        }
        if rank > 8 {
            self.runs(span, |r| visit(r.offset, r.at, r.len, r.step));
            return;
        }
        let last = rank - 1;
        let inner = if span.inner != 0 { span.inner } else { self.sizes[last] };
        let mut index = [0usize; 8];
        let (mut rest, mut first) = (span.start / inner, span.start % inner);
        let mut outer = base;
        for d in (0..last).rev() {
            // The outermost index runs on: its size does not matter.
            index[d] = if d == 0 { rest } else { rest % self.sizes[d] };
            rest /= self.sizes[d];
            outer += index[d] as isize * line.body[d];
        }
        let step = line.body[last];
        let mut at = 0;
        loop {
            let len = (inner - first).min(span.count - at);
            visit(outer + first as isize * step, at, len, step);
            at += len;
            if at == span.count {
                return;
            }
            first = 0;
            let mut d = last;
            loop {
                d -= 1;
                index[d] += 1;
                outer += line.body[d];
                if d == 0 || index[d] < self.sizes[d] {
                    break;
                }
                outer -= line.body[d] * index[d] as isize;
                index[d] = 0;
            }
        }
    }

    /// Visits the runs of a block in order.
    pub fn runs(&self, span: Span, mut visit: impl FnMut(Run)) {
        let rank = self.sizes.len();
        let mut sizes: SmallVec<[usize; 6]> = self.sizes.iter().copied().collect();
        if span.inner != 0 && rank > 0 {
            sizes[rank - 1] = span.inner;
        }
        // Where each line is with the innermost index at 0.
        let mut bases: SmallVec<[isize; 8]> =
            self.lines.iter().map(|l| self.base(l, span.head)).collect();
        let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, rank);
        let mut rest = span.start;
        for d in (1..rank).rev() {
            index[d] = rest % sizes[d];
            rest /= sizes[d];
        }
        if rank > 0 {
            index[0] = rest;
        }
        for (b, l) in bases.iter_mut().zip(&self.lines) {
            for d in 0..rank.saturating_sub(1) {
                *b += index[d] as isize * l.body[d];
            }
        }
        let mut at = 0;
        while at < span.count {
            let (first, len) = match rank {
                0 => (0, span.count),
                _ => (index[rank - 1], (span.count - at).min(sizes[rank - 1] - index[rank - 1])),
            };
            let step = |l: &Line| if rank == 0 { 0 } else { l.body[rank - 1] };
            let mut inside = (0, len);
            for g in 0..self.bounds.len() {
                let s = step(&self.lines[g + 1]);
                let (lo, hi) = allowed(bases[g + 1] + first as isize * s, s, self.bounds[g], len);
                inside = (inside.0.max(lo), inside.1.min(hi));
            }
            inside.0 = inside.0.min(inside.1);
            let s = step(&self.lines[0]);
            visit(Run { offset: bases[0] + first as isize * s, step: s, at, len, inside });
            at += len;
            if rank == 0 {
                break;
            }
            index[rank - 1] = 0;
            for d in (0..rank - 1).rev() {
                index[d] += 1;
                for (b, l) in bases.iter_mut().zip(&self.lines) {
                    *b += l.body[d];
                }
                if index[d] < sizes[d] || d == 0 {
                    break;
                }
                for (b, l) in bases.iter_mut().zip(&self.lines) {
                    *b -= l.body[d] * sizes[d] as isize;
                }
                index[d] = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_clip_runs() {
        for at in -7..7isize {
            for step in -3..=3isize {
                for size in 1..6isize {
                    for n in 1..9usize {
                        let ok = |i: usize| (0..size).contains(&(at + step * i as isize));
                        let (lo, hi) = allowed(at, step, size, n);
                        for i in 0..n {
                            assert_eq!((lo..hi).contains(&i), ok(i), "{at} {step} {size} {n} {i}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_walk_visits_every_address_in_order() {
        let dims = [3, 4, 5];
        let at = Affine { coef: SmallVec::from_slice(&[20, 5, 1]), base: 2 };
        let odd = Affine { coef: SmallVec::from_slice(&[1, -7, 3]), base: 40 };
        for a in [&at, &odd] {
            let walk = Walk::new(a, &[], &dims, &[], &[0, 1, 2], false);
            for start in 0..60 {
                let mut got = Vec::new();
                let count = (60 - start).min(17);
                walk.runs(Span { head: &[], start, count, inner: 0 }, |r| {
                    assert_eq!(r.at, got.len());
                    got.extend((0..r.len).map(|i| r.offset + i as isize * r.step));
                });
                let mut plain = Vec::new();
                let span = Span { head: &[], start, count, inner: 0 };
                walk.plain_runs(span, |offset, at, len, step| {
                    assert_eq!(at, plain.len());
                    plain.extend((0..len).map(|i| offset + i as isize * step));
                });
                assert_eq!(plain, got);
                let want: Vec<isize> =
                    (start..start + count).map(|p| a.at(&[p / 20, p / 5 % 4, p % 5])).collect();
                assert_eq!(got, want);
            }
        }
    }
}
