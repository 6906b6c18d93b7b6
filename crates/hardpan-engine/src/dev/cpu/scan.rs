//! Running folds along an axis.
use super::element::{Stored, with_stored};
use super::pool::parallel_for;
use crate::dtype::DType;
use crate::op::ScanOp;

/// `[outer, len, inner]` along `len`.
///
/// # Safety
/// Both sides hold that many elements of `dtype`; equal or disjoint.
pub unsafe fn scan(
    op: ScanOp,
    x: *const u8,
    out: *mut u8,
    (outer, len, inner): (usize, usize, usize),
    dtype: DType,
) {
    let (x, out) = (x as usize, out as usize);
    if outer * len * inner == 0 {
        return;
    }
    let per_task = (16_384 / (len * inner)).max(1);
    parallel_for(outer.div_ceil(per_task), |t| {
        for o in t * per_task..((t + 1) * per_task).min(outer) {
            let at = o * len * inner * dtype.size();
            // SAFETY: each task has its own outer indices.
            unsafe {
                with_stored!(dtype, T => run::<T>(op, (x + at) as *const T, (out + at) as *mut T, len, inner));
            }
        }
    });
}

/// The sum in f64 of floats gives each prefix one rounding; whole numbers wrap.
unsafe fn run<T: Stored>(op: ScanOp, x: *const T, out: *mut T, len: usize, inner: usize) {
    for j in 0..inner {
        let mut real = f64::NAN;
        let mut whole = 0i64;
        for i in 0..len {
            let p = i * inner + j;
            // SAFETY: inside the block of len * inner elements.
            unsafe {
                let value = x.add(p).read();
                if T::FLOAT {
                    let v = value.real();
                    real = if i == 0 { v } else { step_real(op, real, v) };
                    out.add(p).write(T::from_real(real));
                } else {
                    let v = value.whole();
                    whole = if i == 0 { v } else { step_whole(op, whole, v) };
                    out.add(p).write(T::from_whole(whole));
                }
            }
        }
    }
}

fn step_real(op: ScanOp, a: f64, b: f64) -> f64 {
    match op {
        ScanOp::Sum => a + b,
        ScanOp::Prod => a * b,
        ScanOp::Max => {
            if a.is_nan() || a > b {
                a
            } else {
                b
            }
        }
        ScanOp::Min => {
            if a.is_nan() || a < b {
                a
            } else {
                b
            }
        }
        ScanOp::LogSumExp => {
            if a.is_nan() || b.is_nan() {
                return f64::NAN;
            }
            let (hi, lo) = if a > b { (a, b) } else { (b, a) };
            // Equal infinities have no difference.
            if hi.is_infinite() { hi } else { hi + libm::log1p(libm::exp(lo - hi)) }
        }
    }
}

fn step_whole(op: ScanOp, a: i64, b: i64) -> i64 {
    match op {
        ScanOp::Sum => a.wrapping_add(b),
        ScanOp::Prod => a.wrapping_mul(b),
        ScanOp::Max => a.max(b),
        ScanOp::Min => a.min(b),
        ScanOp::LogSumExp => step_real(op, a as f64, b as f64) as i64,
    }
}
