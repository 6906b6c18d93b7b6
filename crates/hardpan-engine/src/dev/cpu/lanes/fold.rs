//! Folds of rows and columns in a fixed order.
//!
//! The order depends on the length alone, so a fold gives the same bits in every kernel, block position and thread count:
//! - along a row: up to 16 elements one after the other; else element `i` goes to accumulator `i % 64`, and the accumulators
//!   are joined as a tree; rows beyond [`ROW_SEGMENT`] are cut into segments whose results are joined pairwise;
//! - down a column: runs of [`COL_RUN`] one after the other, the runs of a [`COL_SEGMENT`] one after the other, segments
//!   pairwise.
use super::ops::*;
use super::{F2, GROUP, Map2, Number, map2_vv, stamp};
use crate::dev::cpu::isa::Isa;
use crate::dtype::Lane;
use crate::op::ReduceOp;

/// Elements of a row folded without a break.
pub const ROW_SEGMENT: usize = 32_768;
/// Rows of a column folded by one task.
pub const COL_SEGMENT: usize = 256;
/// Rows of a column in one accumulator.
pub const COL_RUN: usize = 64;
/// Up to this length a row is folded one after the other.
pub const SHORT: usize = 16;

/// A fold's function with its neutral start.
pub trait FoldOp: Map2<R = <Self as Map2>::A> {
    /// Leaves every element as it is.
    const START: Self::A;
}
macro_rules! starts {
    ($($name:ident $start:expr;)*) => {$( impl FoldOp for $name { const START: Self::A = $start; } )*};
}
starts! {
    AddF 0.0; MulF 1.0; MaxF f32::NEG_INFINITY; MinF f32::INFINITY;
    AddD 0.0; MulD 1.0; MaxD f64::NEG_INFINITY; MinD f64::INFINITY;
    AddI 0; MulI 1; MaxI i32::MIN; MinI i32::MAX;
    AddL 0; MulL 1; MaxL i64::MIN; MinL i64::MAX;
}

#[inline(always)]
unsafe fn more_body<O: FoldOp>(acc: *mut u8, src: *const u8, n: usize) {
    // SAFETY: the caller gives 64 accumulators and n elements.
    unsafe {
        let at = acc.cast::<[O::A; GROUP]>();
        let src = src.cast::<O::A>();
        let mut acc = at.read_unaligned();
        let mut i = 0;
        while i + GROUP <= n {
            let x = src.add(i).cast::<[O::A; GROUP]>().read_unaligned();
            for j in 0..GROUP {
                acc[j] = O::f(acc[j], x[j]);
            }
            i += GROUP;
        }
        for j in 0..n - i {
            acc[j] = O::f(acc[j], src.add(i + j).read_unaligned());
        }
        at.write_unaligned(acc);
    }
}
stamp!(
    /// `(accumulators, src, n)`: folds n further elements of a row, which start at a multiple of 64.
    more<O: FoldOp> = more_body(acc: *mut u8, src: *const u8, n: usize)
);

#[inline(always)]
fn tree<O: FoldOp>(mut acc: [O::A; GROUP]) -> O::A {
    let mut width = GROUP / 2;
    while width > 0 {
        for j in 0..width {
            acc[j] = O::f(acc[j], acc[j + width]);
        }
        width /= 2;
    }
    acc[0]
}

#[inline(always)]
unsafe fn finish_body<O: FoldOp>(dst: *mut u8, acc: *const u8, _n: usize) {
    // SAFETY: the caller gives 64 accumulators and room for one result.
    unsafe {
        dst.cast::<O::A>().write_unaligned(tree::<O>(acc.cast::<[O::A; GROUP]>().read_unaligned()))
    }
}
stamp!(
    /// `(dst, accumulators, _)`: the tree.
    finish<O: FoldOp> = finish_body(dst: *mut u8, acc: *const u8, n: usize)
);

/// One row of up to a segment.
#[inline(always)]
unsafe fn segment<O: FoldOp>(src: *const O::A, n: usize) -> O::A {
    // SAFETY: the caller gives n elements.
    unsafe {
        if n <= SHORT {
            let mut out = O::START;
            for i in 0..n {
                out = O::f(out, src.add(i).read_unaligned());
            }
            return out;
        }
        let mut acc = [O::START; GROUP];
        more_body::<O>(acc.as_mut_ptr().cast(), src.cast(), n);
        tree::<O>(acc)
    }
}

unsafe fn segments<O: FoldOp>(src: *const O::A, n: usize, from: usize, to: usize) -> O::A {
    // SAFETY: the caller gives n elements; segment numbers stay inside.
    unsafe {
        if to - from == 1 {
            let start = from * ROW_SEGMENT;
            return segment::<O>(src.add(start), ROW_SEGMENT.min(n - start));
        }
        let middle = from + (to - from) / 2;
        O::f(segments::<O>(src, n, from, middle), segments::<O>(src, n, middle, to))
    }
}

#[inline(always)]
unsafe fn rows_body<O: FoldOp>(dst: *mut u8, src: *const u8, rows: usize, k: usize) {
    let (dst, src) = (dst.cast::<O::A>(), src.cast::<O::A>());
    // SAFETY: the caller gives rows * k elements and room for rows results.
    unsafe {
        for r in 0..rows {
            let row = src.add(r * k);
            let out = if k <= ROW_SEGMENT {
                segment::<O>(row, k)
            } else {
                segments::<O>(row, k, 0, k.div_ceil(ROW_SEGMENT))
            };
            dst.add(r).write_unaligned(out);
        }
    }
}
stamp!(
    /// `(dst, src, rows, k)`: folds whole rows.
    rows<O: FoldOp> = rows_body(dst: *mut u8, src: *const u8, rows: usize, k: usize)
);

#[inline(always)]
unsafe fn cols_body<O: FoldOp>(acc: *mut u8, src: *const u8, k: usize, c: usize) {
    let (acc, src) = (acc.cast::<O::A>(), src.cast::<O::A>());
    // SAFETY: the caller gives k * c elements and c accumulators.
    unsafe {
        let mut j = 0;
        while j + GROUP <= c {
            let at = acc.add(j).cast::<[O::A; GROUP]>();
            let mut sum = at.read_unaligned();
            for i in 0..k {
                let x = src.add(i * c + j).cast::<[O::A; GROUP]>().read_unaligned();
                for l in 0..GROUP {
                    sum[l] = O::f(sum[l], x[l]);
                }
            }
            at.write_unaligned(sum);
            j += GROUP;
        }
        while j + 8 <= c {
            let at = acc.add(j).cast::<[O::A; 8]>();
            let mut sum = at.read_unaligned();
            for i in 0..k {
                let x = src.add(i * c + j).cast::<[O::A; 8]>().read_unaligned();
                for l in 0..8 {
                    sum[l] = O::f(sum[l], x[l]);
                }
            }
            at.write_unaligned(sum);
            j += 8;
        }
        while j < c {
            let mut sum = acc.add(j).read_unaligned();
            for i in 0..k {
                sum = O::f(sum, src.add(i * c + j).read_unaligned());
            }
            acc.add(j).write_unaligned(sum);
            j += 1;
        }
    }
}
stamp!(
    /// `(accumulators, src, k, c)`: folds k rows of c elements onto c accumulators, in order.
    cols<O: FoldOp> = cols_body(acc: *mut u8, src: *const u8, k: usize, c: usize)
);

unsafe fn pairwise<O: FoldOp>(src: *const O::A, from: usize, to: usize) -> O::A {
    // SAFETY: the caller gives elements from..to.
    unsafe {
        if to - from == 1 {
            return src.add(from).read_unaligned();
        }
        let middle = from + (to - from) / 2;
        O::f(pairwise::<O>(src, from, middle), pairwise::<O>(src, middle, to))
    }
}
unsafe fn join_body<O: FoldOp>(dst: *mut u8, src: *const u8, n: usize) {
    // SAFETY: the caller gives n >= 1 elements and room for one.
    unsafe { dst.cast::<O::A>().write_unaligned(pairwise::<O>(src.cast(), 0, n)) }
}

/// `(dst or accumulators, src, rows, columns)`
pub type FoldFn = unsafe fn(*mut u8, *const u8, usize, usize);

/// The loops of a value fold.
#[derive(Clone, Copy)]
pub struct Fold {
    /// Bytes of a lane element.
    pub size: usize,
    /// Bits of the neutral start, in the low bytes.
    pub start: u64,
    /// `(64 accumulators, src, n)`
    pub more: unsafe fn(*mut u8, *const u8, usize),
    /// `(dst, 64 accumulators, _)`
    pub finish: unsafe fn(*mut u8, *const u8, usize),
    /// `(dst, src, rows, k)`
    pub rows: FoldFn,
    /// `(c accumulators, src, k, c)`
    pub cols: FoldFn,
    /// Folds two vectors: `(dst, a, b, n)`.
    pub both: F2,
    /// `(dst, src, n)`: joins the results of n segments.
    pub join: unsafe fn(*mut u8, *const u8, usize),
}

trait Bits {
    fn bits(self) -> u64;
}
impl Bits for f32 {
    fn bits(self) -> u64 {
        self.to_bits() as u64
    }
}
impl Bits for f64 {
    fn bits(self) -> u64 {
        self.to_bits()
    }
}
impl Bits for i32 {
    fn bits(self) -> u64 {
        self as u32 as u64
    }
}
impl Bits for i64 {
    fn bits(self) -> u64 {
        self as u64
    }
}

fn of<O: FoldOp>(isa: Isa) -> Fold
where
    O::A: Bits,
{
    Fold {
        size: size_of::<O::A>(),
        start: O::START.bits(),
        more: more::<O>(isa),
        finish: finish::<O>(isa),
        rows: rows::<O>(isa),
        cols: cols::<O>(isa),
        both: map2_vv::<O>(isa),
        join: join_body::<O>,
    }
}

/// The loops of a fold that gives a value.
pub fn fold(isa: Isa, op: ReduceOp, lane: Lane) -> Fold {
    use ReduceOp::*;
    match (lane, op) {
        (Lane::F32, Sum) => of::<AddF>(isa),
        (Lane::F32, Prod) => of::<MulF>(isa),
        (Lane::F32, Max) => of::<MaxF>(isa),
        (Lane::F32, Min) => of::<MinF>(isa),
        (Lane::F64, Sum) => of::<AddD>(isa),
        (Lane::F64, Prod) => of::<MulD>(isa),
        (Lane::F64, Max) => of::<MaxD>(isa),
        (Lane::F64, Min) => of::<MinD>(isa),
        (Lane::I32, Sum) => of::<AddI>(isa),
        (Lane::I32, Prod) => of::<MulI>(isa),
        (Lane::I32, Max) => of::<MaxI>(isa),
        (Lane::I32, Min) => of::<MinI>(isa),
        (Lane::I64, Sum) => of::<AddL>(isa),
        (Lane::I64, Prod) => of::<MulL>(isa),
        (Lane::I64, Max) => of::<MaxL>(isa),
        (Lane::I64, Min) => of::<MinL>(isa),
        (_, ArgMax | ArgMin) => unreachable!("arg folds have loops of their own"),
    }
}

/// A lane element as the arg folds compare it.
pub trait Ordered: Number + PartialOrd {
    /// True for NaN.
    fn nan(self) -> bool;
}
impl Ordered for f32 {
    #[inline(always)]
    fn nan(self) -> bool {
        self.is_nan()
    }
}
impl Ordered for f64 {
    #[inline(always)]
    fn nan(self) -> bool {
        self.is_nan()
    }
}
impl Ordered for i32 {
    #[inline(always)]
    fn nan(self) -> bool {
        false
    }
}
impl Ordered for i64 {
    #[inline(always)]
    fn nan(self) -> bool {
        false
    }
}

/// The most extreme element so far: its value and index; index -1 before the first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Best<T> {
    value: T,
    index: i64,
}

/// An element type with a direction.
pub trait Extreme {
    /// The lane element.
    type T: Ordered;
    /// Looks for the largest.
    const MAX: bool;
}
struct Most<T>(std::marker::PhantomData<T>);
struct Least<T>(std::marker::PhantomData<T>);
impl<T: Ordered> Extreme for Most<T> {
    type T = T;
    const MAX: bool = true;
}
impl<T: Ordered> Extreme for Least<T> {
    type T = T;
    const MAX: bool = false;
}

/// True when `x` displaces `best`: more extreme, or the first NaN.
#[inline(always)]
fn beats<E: Extreme>(x: E::T, best: E::T) -> bool {
    (if E::MAX { x > best } else { x < best }) | (x.nan() & !best.nan())
}

#[inline(always)]
fn better<E: Extreme>(a: E::T, b: E::T) -> E::T {
    if beats::<E>(b, a) { b } else { a }
}

#[inline(always)]
unsafe fn arg_more<E: Extreme>(best: *mut u8, src: *const u8, n: usize, first: usize) {
    if n == 0 {
        return;
    }
    // SAFETY: the caller gives one `Best<T>` and n elements.
    unsafe {
        let src = src.cast::<E::T>();
        let mut top = best.cast::<Best<E::T>>().read();
        if top.index < 0 {
            top = Best { value: src.read_unaligned(), index: first as i64 };
        }
        let groups = n / GROUP;
        if groups > 0 {
            // The extreme of all groups first, by vectors; then, if it is news, where it is.
            let mut acc = src.cast::<[E::T; GROUP]>().read_unaligned();
            for g in 1..groups {
                let x = src.add(g * GROUP).cast::<[E::T; GROUP]>().read_unaligned();
                for j in 0..GROUP {
                    acc[j] = better::<E>(acc[j], x[j]);
                }
            }
            let mut width = GROUP / 2;
            while width > 0 {
                for j in 0..width {
                    acc[j] = better::<E>(acc[j], acc[j + width]);
                }
                width /= 2;
            }
            let m = acc[0];
            if beats::<E>(m, top.value) {
                for g in 0..groups {
                    let x = src.add(g * GROUP).cast::<[E::T; GROUP]>().read_unaligned();
                    let mut any = 0u32;
                    for v in x {
                        any |= (v == m || (v.nan() & m.nan())) as u32;
                    }
                    if any != 0 {
                        let j = x.iter().position(|v| *v == m || (v.nan() & m.nan()));
                        let j = j.expect("the extreme is one of the elements");
                        top = Best { value: m, index: (first + g * GROUP + j) as i64 };
                        break;
                    }
                }
            }
        }
        for i in groups * GROUP..n {
            let v = src.add(i).read_unaligned();
            let b = beats::<E>(v, top.value);
            top.value = if b { v } else { top.value };
            top.index = if b { (first + i) as i64 } else { top.index };
        }
        best.cast::<Best<E::T>>().write(top);
    }
}
stamp!(
    /// `(Best, src, n, index of the first)`
    arg_rows<E: Extreme> = arg_more(best: *mut u8, src: *const u8, n: usize, first: usize)
);

#[inline(always)]
unsafe fn arg_cols_body<E: Extreme>(
    best: *mut u8,
    index: *mut i64,
    src: *const u8,
    shape: (usize, usize),
    first: usize,
) {
    let (best, src, (k, c)) = (best.cast::<E::T>(), src.cast::<E::T>(), shape);
    // SAFETY: the caller gives k * c elements, c best values and c indices.
    unsafe {
        for i in 0..k {
            let row = src.add(i * c);
            let number = (first + i) as i64;
            if i == 0 && c > 0 && index.read() < 0 {
                for j in 0..c {
                    best.add(j).write_unaligned(row.add(j).read_unaligned());
                    index.add(j).write(number);
                }
                continue;
            }
            let mut j = 0;
            while j + GROUP <= c {
                let x = row.add(j).cast::<[E::T; GROUP]>().read_unaligned();
                let old = best.add(j).cast::<[E::T; GROUP]>().read_unaligned();
                let mut any = 0u32;
                for l in 0..GROUP {
                    any |= beats::<E>(x[l], old[l]) as u32;
                }
                if any != 0 {
                    let mut at = index.add(j).cast::<[i64; GROUP]>().read();
                    let mut new = old;
                    for l in 0..GROUP {
                        let b = beats::<E>(x[l], old[l]);
                        new[l] = if b { x[l] } else { old[l] };
                        at[l] = if b { number } else { at[l] };
                    }
                    best.add(j).cast::<[E::T; GROUP]>().write_unaligned(new);
                    index.add(j).cast::<[i64; GROUP]>().write(at);
                }
                j += GROUP;
            }
            while j < c {
                let x = row.add(j).read_unaligned();
                if beats::<E>(x, best.add(j).read_unaligned()) {
                    best.add(j).write_unaligned(x);
                    index.add(j).write(number);
                }
                j += 1;
            }
        }
    }
}
stamp!(
    /// `(best values, indices, src, (k, c), index of the first row)`
    arg_cols<E: Extreme> = arg_cols_body(
        best: *mut u8, index: *mut i64, src: *const u8, shape: (usize, usize), first: usize)
);

unsafe fn arg_join<E: Extreme>(dst: *mut u8, src: *const u8, n: usize) {
    // SAFETY: the caller gives n >= 1 `Best<T>` and room for an index.
    unsafe {
        let src = src.cast::<Best<E::T>>();
        let mut top = src.read();
        for i in 1..n {
            let other = src.add(i).read();
            if beats::<E>(other.value, top.value) {
                top = other;
            }
        }
        dst.cast::<i64>().write_unaligned(top.index);
    }
}

/// The loops of a fold that gives an index.
#[derive(Clone, Copy)]
pub struct ArgFold {
    /// Bytes of an operand's lane element.
    pub size: usize,
    /// `(Best, src, n, index of the first)`
    pub more: unsafe fn(*mut u8, *const u8, usize, usize),
    /// `(best values, indices, src, (k, c), index of the first row)`
    pub cols: unsafe fn(*mut u8, *mut i64, *const u8, (usize, usize), usize),
    /// `(dst i64, Best of each segment, n)`
    pub join: unsafe fn(*mut u8, *const u8, usize),
}

fn arg_of<E: Extreme>(isa: Isa) -> ArgFold {
    ArgFold {
        size: size_of::<E::T>(),
        more: arg_rows::<E>(isa),
        cols: arg_cols::<E>(isa),
        join: arg_join::<E>,
    }
}

/// The loops of a fold that gives an index, for operands of that lane.
pub fn arg_fold(isa: Isa, op: ReduceOp, lane: Lane) -> ArgFold {
    match (lane, op == ReduceOp::ArgMax) {
        (Lane::F32, true) => arg_of::<Most<f32>>(isa),
        (Lane::F32, false) => arg_of::<Least<f32>>(isa),
        (Lane::F64, true) => arg_of::<Most<f64>>(isa),
        (Lane::F64, false) => arg_of::<Least<f64>>(isa),
        (Lane::I32, true) => arg_of::<Most<i32>>(isa),
        (Lane::I32, false) => arg_of::<Least<i32>>(isa),
        (Lane::I64, true) => arg_of::<Most<i64>>(isa),
        (Lane::I64, false) => arg_of::<Least<i64>>(isa),
    }
}
