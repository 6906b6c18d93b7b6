//! Matrix products: packed, blocked, parallel, and the same bits on any number of threads.
//!
//! [`gemm`] multiplies batches of f32, f16 or bf16 matrices with f32 sums, [`gemm_generic`] those of
//! f64, i32 and i64. Operands are [`Operand`]s: a slice with any strides, so transposes and
//! broadcasts (stride 0) are never copied first. The result is written row-major, batch after batch.
//!
//! How data moves: `driver` cuts C into blocks, one task each; a block packs panels of A and B
//! (`pack`) into thread-local buffers and hands them to a microkernel (`kernel`, written over
//! `simd`), which keeps a tile of C in registers. A hook is told about each region of C as soon as
//! its values are final, while they are still in cache: that is where a bias or an activation goes.
//!
//! Where [`bf16_dots`](super::isa::bf16_dots) says so, products of two bf16 operands run on pairs of bf16 (`pairs`) instead of
//! converting.
//!
//! The order of additions for an element depends only on the shape and the strides, so results do
//! not depend on the number of threads. They do depend on the instruction set.
//!
//! The blocking follows Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"
//! (ACM TOMS 2008), with one panel of A in the first-level cache and a block of B in the second.
//!
//! ```
//! use hardpan_engine::dev::cpu::gemm::{GemmShape, Operand, gemm};
//! use hardpan_engine::dev::cpu::pool::SharedMut;
//! let a = [1.0, 2.0, 3.0, 4.0]; // [2, 2]
//! let b = [1.0, 1.0, 0.0, 1.0];
//! let mut c = [0.0; 4];
//! let shape = GemmShape { batch: 1, m: 2, n: 2, k: 2 };
//! let (a, b) = (Operand::row_major(&a, 2, 2), Operand::row_major(&b, 2, 2));
//! gemm(shape, a, b, SharedMut::new(&mut c), false, None);
//! assert_eq!(c, [1.0, 3.0, 3.0, 7.0]);
//! ```
mod driver;
mod generic;
pub(crate) mod kernel;
pub(crate) mod pack;
mod pairs;
mod peak;
pub(crate) mod points;
pub(crate) mod scratch;
pub(crate) mod simd;
#[cfg(test)]
mod tests;
pub(crate) mod transpose;
pub(crate) mod winograd;

use super::isa::isa;
use super::pool::SharedMut;
pub use generic::{Number, gemm_generic};
use kernel::Kernels;
use pairs::PairSource;
pub use peak::measured_peak_gflops;

/// Sizes of a batch of products `[m, k] @ [k, n] = [m, n]`; any of them may be 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GemmShape {
    /// Number of products.
    pub batch: usize,
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A and rows of B.
    pub k: usize,
}

impl GemmShape {
    /// Multiplications and additions together.
    pub fn flops(&self) -> f64 {
        2.0 * self.batch as f64 * self.m as f64 * self.n as f64 * self.k as f64
    }
}

/// Where each matrix of a batch starts, in elements after the operand's base.
#[derive(Clone, Copy, Debug)]
pub enum Batch<'a> {
    /// Matrix i starts at `i * stride`; 0 repeats one matrix.
    Stride(usize),
    /// Matrix i starts at `table[i]`.
    Offsets(&'a [usize]),
}

impl Batch<'_> {
    #[inline]
    fn offset(&self, index: usize) -> usize {
        match self {
            Batch::Stride(stride) => index * stride,
            Batch::Offsets(table) => table[index],
        }
    }
}

/// A batch of matrices inside a slice: element `(i, row, col)` is
/// `data[base + batch(i) + row * row_stride + col * col_stride]`. Strides may be 0.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a, T> {
    /// The memory.
    pub data: &'a [T],
    /// Index of the first element.
    pub base: usize,
    /// Where each matrix starts.
    pub batch: Batch<'a>,
    /// Elements between rows.
    pub row_stride: usize,
    /// Elements between columns.
    pub col_stride: usize,
}

impl<'a, T> Operand<'a, T> {
    /// Contiguous `[batch, rows, cols]`.
    pub fn row_major(data: &'a [T], rows: usize, cols: usize) -> Self {
        let batch = Batch::Stride(rows * cols);
        Self { data, base: 0, batch, row_stride: cols, col_stride: 1 }
    }

    /// The same memory with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self { row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// Panics unless every element of a batch of `[rows, cols]` matrices lies inside the slice.
    #[track_caller]
    fn assert_covers(&self, name: &str, batch: usize, rows: usize, cols: usize) {
        if batch == 0 || rows == 0 || cols == 0 {
            return;
        }
        let last_start = match self.batch {
            Batch::Stride(stride) => (batch - 1).checked_mul(stride),
            Batch::Offsets(table) => {
                assert!(
                    table.len() >= batch,
                    "gemm: {name} has {} batch offsets, expected {batch}",
                    table.len()
                );
                table[..batch].iter().copied().max()
            }
        };
        let last = last_start.and_then(|start| {
            let row = (rows - 1).checked_mul(self.row_stride)?;
            let col = (cols - 1).checked_mul(self.col_stride)?;
            self.base.checked_add(start)?.checked_add(row)?.checked_add(col)
        });
        assert!(
            last.is_some_and(|last| last < self.data.len()),
            "gemm: {name} of {batch} x [{rows}, {cols}] with strides ({}, {}) reaches past its {} \
             elements",
            self.row_stride,
            self.col_stride,
            self.data.len()
        );
    }
}

/// A region of C whose values are final: rows `row0..row0 + rows` and columns `col0..col0 + cols` of
/// one matrix of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Which matrix.
    pub batch: usize,
    /// First row.
    pub row0: usize,
    /// Number of rows.
    pub rows: usize,
    /// First column.
    pub col0: usize,
    /// Number of columns.
    pub cols: usize,
}

/// Called by the computing thread, exactly once for each region of the result, when its values are
/// final. It may read and write that region (through a [`SharedMut::share`] of the result).
pub type Done<'a> = &'a (dyn Fn(Tile) + Sync);

/// Element types that [`gemm`] reads: f32, f16 and bf16.
pub trait Element: Copy + Send + Sync + 'static + sealed::Sealed {
    #[doc(hidden)]
    const IS_F32: bool;
    #[doc(hidden)]
    const IS_BF16: bool;
    /// The same value in f32, exactly.
    fn to_f32(self) -> f32;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
}

impl Element for f32 {
    const IS_F32: bool = true;
    const IS_BF16: bool = false;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Element for half::bf16 {
    const IS_F32: bool = false;
    const IS_BF16: bool = true;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Element for half::f16 {
    const IS_F32: bool = false;
    const IS_BF16: bool = false;
    // Written without branches, calls or tables so that loops over it become vector code.
    #[inline(always)]
    fn to_f32(self) -> f32 {
        let bits = u32::from(self.to_bits());
        // Moving exponent and mantissa into place leaves the exponent 112 too small; the product by
        // 2^112 repairs that and normalizes subnormals on the way.
        let finite = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((112 + 127) << 23);
        // Exponent 31 means infinity or NaN, for which the f32 exponent is all ones.
        let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(finite.to_bits() | special | (bits & 0x8000) << 16)
    }
}

/// `C (+)= A @ B` for each matrix of a batch, with f32 sums.
///
/// `c` holds `[batch, m, n]` row-major; it is overwritten, or added to when `accumulate` is set.
/// `k == 0` gives zeros. `done` is told of every region of C once its values are final.
///
/// # Panics
/// When an operand or `c` is too short for `shape`.
#[track_caller]
pub fn gemm<A: Element, B: Element>(
    shape: GemmShape,
    a: Operand<'_, A>,
    b: Operand<'_, B>,
    c: SharedMut<'_, f32>,
    accumulate: bool,
    done: Option<Done<'_>>,
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
    if let (Some(kernels), Some(a), Some(b)) =
        (Kernels::of_pairs(), PairSource::rows(&a, m, k), PairSource::columns(&b, n, k))
    {
        let shape = GemmShape { k: k.div_ceil(2), ..shape };
        return driver::run(shape, kernels, &a, &b, c, accumulate, done);
    }
    let (a, b) = (pack::Source::rows(&a), pack::Source::columns(&b));
    driver::run(shape, Kernels::of(isa()), &a, &b, c, accumulate, done);
}
