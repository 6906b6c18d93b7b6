//! Products of f64 and integers: short, blocked, left to the compiler to vectorize.
use super::{GemmShape, Operand};
#[cfg(target_arch = "x86_64")]
use crate::dev::cpu::isa::Isa;
use crate::dev::cpu::isa::isa;
use crate::dev::cpu::pool::{SharedMut, parallel_for};

/// Element types of [`gemm_generic`] and of the reference convolutions. Integers wrap around.
pub trait Number: Copy + Send + Sync + PartialEq + std::fmt::Debug + 'static {
    /// The additive identity.
    const ZERO: Self;
    /// `self + a * b`, wrapping for integers, rounded twice for floats.
    fn add_product(self, a: Self, b: Self) -> Self;
}

macro_rules! float_number {
    ($($t:ty)*) => {$(
        impl Number for $t {
            const ZERO: Self = 0.0;
            #[inline(always)]
            fn add_product(self, a: Self, b: Self) -> Self {
                self + a * b
            }
        }
    )*};
}
macro_rules! integer_number {
    ($($t:ty)*) => {$(
        impl Number for $t {
            const ZERO: Self = 0;
            #[inline(always)]
            fn add_product(self, a: Self, b: Self) -> Self {
                self.wrapping_add(a.wrapping_mul(b))
            }
        }
    )*};
}
float_number!(f32 f64);
integer_number!(u8 i32 u32 i64);

/// Columns and k steps of B that are copied at a time.
const COLUMNS: usize = 128;
const DEPTH: usize = 64;
/// k steps that one pass over a row of C takes.
const STEPS: usize = 8;

/// `C (+)= A @ B` for each matrix of a batch in the arithmetic of `T`: f64, i32, i64 (which wrap) and
/// the other [`Number`]s. `c` holds `[batch, m, n]` row-major. Every element takes its products in
/// the order of k.
///
/// # Panics
/// When an operand or `c` is too short for `shape`.
#[track_caller]
pub fn gemm_generic<T: Number>(
    shape: GemmShape,
    a: Operand<'_, T>,
    b: Operand<'_, T>,
    c: SharedMut<'_, T>,
    accumulate: bool,
) {
    let GemmShape { batch, m, n, k } = shape;
    a.assert_covers("A", batch, m, k);
    b.assert_covers("B", batch, k, n);
    assert!(
        c.len() >= batch * m * n,
        "gemm: C holds {} elements, expected {batch} x [{m}, {n}]",
        c.len()
    );
    if batch * m * n == 0 {
        return;
    }
    let isa = isa();
    // A task is some rows of one matrix: enough to be worth copying B for.
    let rows_per_task = (200_000 / (n * k.max(1))).max(32).min(m);
    let tasks_per_matrix = m.div_ceil(rows_per_task);
    parallel_for(batch * tasks_per_matrix, |task| {
        let (index, part) = (task / tasks_per_matrix, task % tasks_per_matrix);
        let row0 = part * rows_per_task;
        let rows = rows_per_task.min(m - row0);
        // SAFETY: each task has its own rows of C.
        let c = unsafe { c.slice((index * m + row0) * n, rows * n) };
        if !accumulate {
            c.fill(T::ZERO);
        }
        match isa {
            // SAFETY: the instruction set in use is available.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { rows_avx512(&a, &b, index, row0, k, n, c) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { rows_avx2(&a, &b, index, row0, k, n, c) },
            _ => rows_body(&a, &b, index, row0, k, n, c),
        }
    });
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn rows_avx512<T: Number>(
    a: &Operand<'_, T>,
    b: &Operand<'_, T>,
    index: usize,
    row0: usize,
    k: usize,
    n: usize,
    c: &mut [T],
) {
    rows_body(a, b, index, row0, k, n, c)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn rows_avx2<T: Number>(
    a: &Operand<'_, T>,
    b: &Operand<'_, T>,
    index: usize,
    row0: usize,
    k: usize,
    n: usize,
    c: &mut [T],
) {
    rows_body(a, b, index, row0, k, n, c)
}

/// Adds the products for the rows of C in `c`, which start at row `row0` of matrix `index`.
#[inline(always)]
fn rows_body<T: Number>(
    a: &Operand<'_, T>,
    b: &Operand<'_, T>,
    index: usize,
    row0: usize,
    k: usize,
    n: usize,
    c: &mut [T],
) {
    let a_start = a.base + a.batch.offset(index) + row0 * a.row_stride;
    let b_start = b.base + b.batch.offset(index);
    let mut block = [[T::ZERO; COLUMNS]; DEPTH];
    for col0 in (0..n).step_by(COLUMNS) {
        let cols = COLUMNS.min(n - col0);
        for k0 in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - k0);
            for (step, row) in block[..depth].iter_mut().enumerate() {
                let start = b_start + (k0 + step) * b.row_stride + col0 * b.col_stride;
                if b.col_stride == 1 {
                    row[..cols].copy_from_slice(&b.data[start..start + cols]);
                } else {
                    for (col, value) in row[..cols].iter_mut().enumerate() {
                        *value = b.data[start + col * b.col_stride];
                    }
                }
            }
            for (row, c) in c.chunks_exact_mut(n).enumerate() {
                let c = &mut c[col0..col0 + cols];
                let a_start = a_start + row * a.row_stride + k0 * a.col_stride;
                let a = |step: usize| a.data[a_start + step * a.col_stride];
                let whole = depth / STEPS * STEPS;
                for step in (0..whole).step_by(STEPS) {
                    let rows = std::array::from_fn(|i| &block[step + i]);
                    add_rows::<T, STEPS>(c, rows, std::array::from_fn(|i| a(step + i)));
                }
                for (step, row) in block.iter().enumerate().take(depth).skip(whole) {
                    add_rows::<T, 1>(c, [row], [a(step)]);
                }
            }
        }
    }
}

/// `c += a[0] * b[0] + a[1] * b[1] + ...`, in that order.
#[inline(always)]
fn add_rows<T: Number, const N: usize>(c: &mut [T], b: [&[T; COLUMNS]; N], a: [T; N]) {
    let b: [&[T]; N] = b.map(|row| &row[..c.len()]);
    for (col, c) in c.iter_mut().enumerate() {
        let mut sum = *c;
        for (b, a) in b.iter().zip(a) {
            sum = sum.add_product(a, b[col]);
        }
        *c = sum;
    }
}
