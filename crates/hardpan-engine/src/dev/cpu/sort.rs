//! Stable sorting indices.
use super::element::{Stored, with_stored};
use super::pool::parallel_for;
use crate::dtype::DType;
use std::cmp::Ordering;

/// Indices that sort `[outer, len, inner]` along `len`; NaN is largest.
///
/// # Safety
/// `x` holds that many elements of `dtype` and `out` as many i64; disjoint.
pub unsafe fn argsort(
    descending: bool,
    x: *const u8,
    out: *mut i64,
    (outer, len, inner): (usize, usize, usize),
    dtype: DType,
) {
    let (x, out) = (x as usize, out as usize);
    if outer * len * inner == 0 {
        return;
    }
    let lines = outer * inner;
    let per_task = (4_096 / len).max(1);
    parallel_for(lines.div_ceil(per_task), |t| {
        for line in t * per_task..((t + 1) * per_task).min(lines) {
            let first = line / inner * len * inner + line % inner;
            // SAFETY: each line belongs to one task.
            unsafe {
                with_stored!(dtype, T => {
                    sort_line((x as *const T).add(first), (out as *mut i64).add(first), len, inner, descending)
                });
            }
        }
    });
}

/// Reals in an order where NaN is largest and the zeros are equal; whole numbers exactly.
fn compare<T: Stored>(a: T, b: T) -> Ordering {
    if T::FLOAT {
        let (a, b) = (a.real(), b.real());
        a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    } else {
        a.whole().cmp(&b.whole())
    }
}

unsafe fn sort_line<T: Stored>(
    x: *const T,
    out: *mut i64,
    len: usize,
    step: usize,
    descending: bool,
) {
    // SAFETY: the caller gives len elements at that step on both sides.
    unsafe {
        let mut keyed: Vec<(T, usize)> = (0..len).map(|i| (x.add(i * step).read(), i)).collect();
        if descending {
            keyed.sort_by(|a, b| compare(b.0, a.0));
        } else {
            keyed.sort_by(|a, b| compare(a.0, b.0));
        }
        for (i, (_, from)) in keyed.iter().enumerate() {
            out.add(i * step).write(*from as i64);
        }
    }
}
