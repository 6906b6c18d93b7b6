//! Microkernels: a small tile of C held in registers while k runs.
//!
//! Each kernel is written once over [`Simd`] with const-generic tile sizes (`MR` rows by `NV`
//! registers of columns) and instantiated per instruction set. Every element of C has exactly one
//! accumulator and takes its products in the order of k, so the tile that an element falls into never
//! changes its bits.
use super::points::{
    GRAD_TAPS_MAX, PointGradArgs, PointGradFn, PointTapArgs, PointTapFn, point_grad, point_taps,
};
use super::simd::{ScalarLanes, Simd};
use super::winograd::{
    Input, Output, Spread, TransformArgs, Transforms, Weight, WeightGrad, transform,
};
use crate::dev::cpu::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::dev::cpu::isa::bf16_dots;

/// What one call of a tile kernel works on: `C[r, c] (+)= sum over k of A[r, k] * B[k, c]`.
pub(crate) struct TileArgs {
    /// Products per element.
    pub k: usize,
    /// `A[r, k]` is at `a + k * a_step + r`.
    pub a: *const f32,
    /// Elements between successive k of A.
    pub a_step: usize,
    /// `B[k, c]` is at `b + k * b_step + c`; whole registers are read, so a partial last register
    /// must still be readable.
    pub b: *const f32,
    /// Elements between successive k of B.
    pub b_step: usize,
    /// `C[r, c]` is at `c + r * c_step + c`.
    pub c: *mut f32,
    /// Elements between rows of C.
    pub c_step: usize,
    /// Columns of C that exist, at most `NV * LANES`.
    pub columns: usize,
    /// Whether to add to C rather than overwrite it.
    pub accumulate: bool,
}

/// As [`TileArgs`], with B read through a table: `B[k, c]` is at `b + b_offsets[k] + c`.
pub(crate) struct TapArgs {
    /// Products per element.
    pub k: usize,
    /// `A[r, k]` is at `a + k * a_step + r`.
    pub a: *const f32,
    /// Elements between successive k of A.
    pub a_step: usize,
    /// See the struct.
    pub b: *const f32,
    /// One offset in elements for each k.
    pub b_offsets: *const u32,
    /// `C[r, c]` is at `c + r * c_step + c`; whole registers are written.
    pub c: *mut f32,
    /// Elements between rows of C.
    pub c_step: usize,
    /// Whether to add to C rather than overwrite it.
    pub accumulate: bool,
}

/// As [`TileArgs`], with A read through two tables: `A[r, k]` is at `a + rows[r] + a_offsets[k]`.
pub(crate) struct RowArgs {
    /// Products per element.
    pub k: usize,
    /// See the struct.
    pub a: *const f32,
    /// One offset in elements for each of the `MR` rows.
    pub rows: *const u32,
    /// One offset in elements for each k.
    pub a_offsets: *const u32,
    /// `B[k, c]` is at `b + k * b_step + c`.
    pub b: *const f32,
    /// Elements between successive k of B.
    pub b_step: usize,
    /// `C[r, c]` is at `c + r * c_step + c`; whole registers are written.
    pub c: *mut f32,
    /// Elements between rows of C.
    pub c_step: usize,
    /// Whether to add to C rather than overwrite it.
    pub accumulate: bool,
}

/// As [`RowArgs`], with k in segments of even steps, and the rows of C anywhere: `A[r, s, i]` is at
/// `a + rows[r] + a_offsets[s] + i * a_step`.
pub(crate) struct SegmentArgs {
    /// Segments, maybe none.
    pub segments: usize,
    /// Products of each segment.
    pub run: usize,
    /// See the struct.
    pub a: *const f32,
    /// One offset in elements for each of the `MR` rows.
    pub rows: *const u32,
    /// One offset in elements for each segment.
    pub a_offsets: *const u32,
    /// See the struct.
    pub a_step: usize,
    /// `B[s, i, c]` is at `b + b_numbers[s] * b_step + i * NV * LANES + c`.
    pub b: *const f32,
    /// See `b`.
    pub b_numbers: *const u32,
    /// See `b`.
    pub b_step: usize,
    /// `C[r, c]` is at `c + c_rows[r] + c`; whole registers are written.
    pub c: *mut f32,
    /// One offset in elements for each of the `MR` rows.
    pub c_rows: *const u32,
    /// Whether to add to C rather than overwrite it.
    pub accumulate: bool,
}

/// Dot products of rows that lie contiguous along k: `C[r, c] (+)= A[r] . B[c]`.
pub(crate) struct DotArgs {
    /// Length of the rows.
    pub k: usize,
    /// Row r of A starts at `a + r * a_step`.
    pub a: *const f32,
    /// Elements between rows of A.
    pub a_step: usize,
    /// Row c of B starts at `b + c * b_step`.
    pub b: *const f32,
    /// Elements between rows of B.
    pub b_step: usize,
    /// `C[r, c]` is at `c + r * c_step + c`.
    pub c: *mut f32,
    /// Elements between rows of C.
    pub c_step: usize,
    /// Whether to add to C rather than overwrite it.
    pub accumulate: bool,
}

/// Dot products of images: `C[r, c] (+)= sum over images, rows y and columns x of
/// A_r[image, y, x] * B_c[image, y, x]`.
pub(crate) struct ImageDotArgs {
    /// Images summed over.
    pub images: usize,
    /// Rows of each image.
    pub height: usize,
    /// Columns of each image.
    pub width: usize,
    /// `A_r[image, y, x]` is at `a + image * a_image_step + r * a_step + y * width + x`.
    pub a: *const f32,
    /// See `a`.
    pub a_image_step: usize,
    /// See `a`.
    pub a_step: usize,
    /// `B_c[image, y, x]` is at `b + image * b_image_step + b_offsets[c] + b_rows[y] + x`.
    pub b: *const f32,
    /// See `b`.
    pub b_image_step: usize,
    /// See `b`.
    pub b_offsets: *const u32,
    /// See `b`.
    pub b_rows: *const u32,
    /// `C[r, c]` is at `c + r * c_step + c`.
    pub c: *mut f32,
    /// Elements between rows of C.
    pub c_step: usize,
    /// Whether to add to C rather than overwrite it.
    pub accumulate: bool,
}

pub(crate) type TileFn = unsafe fn(&TileArgs);
pub(crate) type TapFn = unsafe fn(&TapArgs);
pub(crate) type RowFn = unsafe fn(&RowArgs);
pub(crate) type SegmentFn = unsafe fn(&SegmentArgs);
pub(crate) type DotFn = unsafe fn(&DotArgs);
pub(crate) type ImageDotFn = unsafe fn(&ImageDotArgs);

/// The most rows and columns of a [`DotFn`] or [`ImageDotFn`].
pub(crate) const DOT_MAX: usize = 4;

/// # Safety
/// The instruction set of `S` is present, the caller is compiled for it, and the pointers cover what
/// [`TileArgs`] says.
#[inline(always)]
unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(t: &TileArgs) {
    // SAFETY: the contract above.
    unsafe {
        for r in 0..MR {
            S::prefetch_write(t.c.add(r * t.c_step));
        }
        let mut acc = [[S::zero(); NV]; MR];
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.k {
            let mut bv = [S::zero(); NV];
            for (v, lanes) in bv.iter_mut().enumerate() {
                *lanes = S::load(b.add(v * S::LANES));
            }
            S::fma_outer(a, bv, &mut acc);
            a = a.wrapping_add(t.a_step);
            b = b.wrapping_add(t.b_step);
        }
        if t.columns == NV * S::LANES {
            for (r, row) in acc.iter().enumerate() {
                let c = t.c.add(r * t.c_step);
                for (v, sum) in row.iter().enumerate() {
                    let c = c.add(v * S::LANES);
                    S::store(c, if t.accumulate { S::add(S::load(c), *sum) } else { *sum });
                }
            }
        } else {
            for (r, row) in acc.iter().enumerate() {
                let c = t.c.add(r * t.c_step);
                for (v, sum) in row.iter().enumerate() {
                    let count = t.columns.saturating_sub(v * S::LANES).min(S::LANES);
                    let c = c.wrapping_add(v * S::LANES);
                    let sum =
                        if t.accumulate { S::add(S::load_partial(c, count), *sum) } else { *sum };
                    S::store_partial(c, sum, count);
                }
            }
        }
    }
}

/// # Safety
/// As for `tile`, with [`TapArgs`].
#[inline(always)]
unsafe fn taps<S: Simd, const MR: usize, const NV: usize>(t: &TapArgs) {
    // SAFETY: the contract above.
    unsafe {
        let mut acc = [[S::zero(); NV]; MR];
        let mut a = t.a;
        for k in 0..t.k {
            let b = t.b.add(*t.b_offsets.add(k) as usize);
            let mut bv = [S::zero(); NV];
            for (v, lanes) in bv.iter_mut().enumerate() {
                *lanes = S::load(b.add(v * S::LANES));
            }
            S::fma_outer(a, bv, &mut acc);
            a = a.wrapping_add(t.a_step);
        }
        finish::<S, MR, NV>(&acc, t.c, t.c_step, t.accumulate);
    }
}

/// # Safety
/// As for `tile`, with [`RowArgs`].
#[inline(always)]
unsafe fn rows<S: Simd, const MR: usize, const NV: usize>(t: &RowArgs) {
    // SAFETY: the contract above.
    unsafe {
        let mut acc = [[S::zero(); NV]; MR];
        let starts: [*const f32; MR] = std::array::from_fn(|r| t.a.add(*t.rows.add(r) as usize));
        let mut b = t.b;
        for k in 0..t.k {
            let offset = *t.a_offsets.add(k) as usize;
            let mut bv = [S::zero(); NV];
            for (v, lanes) in bv.iter_mut().enumerate() {
                *lanes = S::load(b.add(v * S::LANES));
            }
            for (row, start) in acc.iter_mut().zip(starts) {
                let av = S::splat(start.add(offset));
                for (sum, lanes) in row.iter_mut().zip(bv) {
                    *sum = S::fma(av, lanes, *sum);
                }
            }
            b = b.wrapping_add(t.b_step);
        }
        finish::<S, MR, NV>(&acc, t.c, t.c_step, t.accumulate);
    }
}

/// # Safety
/// As for `tile`, with [`SegmentArgs`].
#[inline(always)]
unsafe fn segments<S: Simd, const MR: usize, const NV: usize>(t: &SegmentArgs) {
    // SAFETY: the contract above.
    unsafe {
        let mut acc = [[S::zero(); NV]; MR];
        let starts: [*const f32; MR] = std::array::from_fn(|r| t.a.add(*t.rows.add(r) as usize));
        for s in 0..t.segments {
            let mut offset = *t.a_offsets.add(s) as usize;
            let mut b = t.b.add(*t.b_numbers.add(s) as usize * t.b_step);
            for _ in 0..t.run {
                let mut bv = [S::zero(); NV];
                for (v, lanes) in bv.iter_mut().enumerate() {
                    *lanes = S::load(b.add(v * S::LANES));
                }
                for (row, start) in acc.iter_mut().zip(starts) {
                    let av = S::splat(start.add(offset));
                    for (sum, lanes) in row.iter_mut().zip(bv) {
                        *sum = S::fma(av, lanes, *sum);
                    }
                }
                offset += t.a_step;
                b = b.add(NV * S::LANES);
            }
        }
        for (r, row) in acc.iter().enumerate() {
            let c = t.c.add(*t.c_rows.add(r) as usize);
            for (v, sum) in row.iter().enumerate() {
                let c = c.add(v * S::LANES);
                S::store(c, if t.accumulate { S::add(S::load(c), *sum) } else { *sum });
            }
        }
    }
}

/// Writes a full tile of accumulators.
///
/// # Safety
/// `c` covers `MR` rows of `NV` registers.
#[inline(always)]
unsafe fn finish<S: Simd, const MR: usize, const NV: usize>(
    acc: &[[S::V; NV]; MR],
    c: *mut f32,
    c_step: usize,
    accumulate: bool,
) {
    // SAFETY: the contract above.
    unsafe {
        for (r, row) in acc.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                let c = c.add(r * c_step + v * S::LANES);
                S::store(c, if accumulate { S::add(S::load(c), *sum) } else { *sum });
            }
        }
    }
}

/// # Safety
/// As for `tile`, with [`DotArgs`].
#[inline(always)]
unsafe fn dots<S: Simd, const MR: usize, const NC: usize>(t: &DotArgs) {
    // SAFETY: the contract above; the tail reads only what is left of each row.
    unsafe {
        let mut acc = [[S::zero(); NC]; MR];
        let mut k = 0;
        while k + S::LANES <= t.k {
            let bv: [S::V; NC] = std::array::from_fn(|c| S::load(t.b.add(c * t.b_step + k)));
            for (r, row) in acc.iter_mut().enumerate() {
                let av = S::load(t.a.add(r * t.a_step + k));
                for (sum, lanes) in row.iter_mut().zip(bv) {
                    *sum = S::fma(av, lanes, *sum);
                }
            }
            k += S::LANES;
        }
        if k < t.k {
            let left = t.k - k;
            let bv: [S::V; NC] =
                std::array::from_fn(|c| S::load_partial(t.b.add(c * t.b_step + k), left));
            for (r, row) in acc.iter_mut().enumerate() {
                let av = S::load_partial(t.a.add(r * t.a_step + k), left);
                for (sum, lanes) in row.iter_mut().zip(bv) {
                    *sum = S::fma(av, lanes, *sum);
                }
            }
        }
        for (r, row) in acc.iter().enumerate() {
            for (column, sum) in row.iter().enumerate() {
                let c = t.c.add(r * t.c_step + column);
                *c = S::sum(*sum) + if t.accumulate { *c } else { 0.0 };
            }
        }
    }
}

/// # Safety
/// As for `tile`, with [`ImageDotArgs`].
#[inline(always)]
unsafe fn image_dots<S: Simd, const MR: usize, const NC: usize>(t: &ImageDotArgs) {
    // SAFETY: the contract above; the tail reads only what is left of each row.
    unsafe {
        let mut acc = [[S::zero(); NC]; MR];
        let offsets: [usize; NC] = std::array::from_fn(|c| *t.b_offsets.add(c) as usize);
        for image in 0..t.images {
            let (a, b) = (t.a.add(image * t.a_image_step), t.b.add(image * t.b_image_step));
            for y in 0..t.height {
                let (a, b) = (a.add(y * t.width), b.add(*t.b_rows.add(y) as usize));
                let mut x = 0;
                while x + S::LANES <= t.width {
                    let bv: [S::V; NC] = std::array::from_fn(|c| S::load(b.add(offsets[c] + x)));
                    for (r, row) in acc.iter_mut().enumerate() {
                        let av = S::load(a.add(r * t.a_step + x));
                        for (sum, lanes) in row.iter_mut().zip(bv) {
                            *sum = S::fma(av, lanes, *sum);
                        }
                    }
                    x += S::LANES;
                }
                if x < t.width {
                    let left = t.width - x;
                    let bv: [S::V; NC] =
                        std::array::from_fn(|c| S::load_partial(b.add(offsets[c] + x), left));
                    for (r, row) in acc.iter_mut().enumerate() {
                        let av = S::load_partial(a.add(r * t.a_step + x), left);
                        for (sum, lanes) in row.iter_mut().zip(bv) {
                            *sum = S::fma(av, lanes, *sum);
                        }
                    }
                }
            }
        }
        for (r, row) in acc.iter().enumerate() {
            for (column, sum) in row.iter().enumerate() {
                let c = t.c.add(r * t.c_step + column);
                *c = S::sum(*sum) + if t.accumulate { *c } else { 0.0 };
            }
        }
    }
}

/// A register loop of nothing but fused multiply-adds; returns a value so that it is kept.
///
/// # Safety
/// As for `tile`.
#[inline(always)]
unsafe fn spin_fma<S: Simd, const CHAINS: usize>(rounds: usize) -> f32 {
    let (scale, shift) = (0.999_f32, 0.001_f32);
    // SAFETY: the pointers are to live locals.
    unsafe {
        let (scale, shift) = (S::splat(&scale), S::splat(&shift));
        let mut acc = [shift; CHAINS];
        for _ in 0..rounds {
            for sum in &mut acc {
                *sum = S::fma(scale, shift, *sum);
            }
        }
        let mut total = S::zero();
        for sum in acc {
            total = S::add(total, sum);
        }
        S::sum(total)
    }
}

/// Chains in [`Kernels::spin_fma`]: enough to hide the latency of two units, or of the four that some AArch64 processors have.
pub(crate) const SPIN_CHAINS: usize = if cfg!(target_arch = "aarch64") { 24 } else { 12 };

/// The microkernels of one instruction set.
pub(crate) struct Kernels {
    /// f32 lanes of a register.
    pub lanes: usize,
    /// The most rows of a tile.
    pub rows_max: usize,
    /// The tile kernel of the given rows (1 to `rows_max`) and registers of columns
    /// (1 to [`Kernels::registers`] of those rows).
    pub tile: fn(usize, usize) -> TileFn,
    /// The tap kernel of the given rows and registers, as for `tile`.
    pub taps: fn(usize, usize) -> TapFn,
    /// The row kernel of the given registers of columns (a power of two up to `row_registers`) and
    /// the rows that it takes.
    pub rows: fn(usize) -> (RowFn, usize),
    /// The segment kernel, as for `rows`.
    pub segments: fn(usize) -> (SegmentFn, usize),
    /// The most registers of columns of a row kernel.
    pub row_registers: usize,
    /// The dot kernel of the given rows and columns (1 to [`DOT_MAX`]).
    pub dot: fn(usize, usize) -> DotFn,
    /// The image dot kernel of the given rows and columns (1 to [`DOT_MAX`]).
    pub image_dot: fn(usize, usize) -> ImageDotFn,
    /// Points of depthwise convolutions.
    pub point_taps: PointTapFn,
    /// Their weights' gradient for the given number of taps (1 to [`GRAD_TAPS_MAX`]).
    pub point_grad: fn(usize) -> PointGradFn,
    /// The transforms of 3x3 convolutions by tiles.
    pub transforms: Transforms,
    /// Runs [`SPIN_CHAINS`] fused multiply-adds of a whole register, the given number of times.
    pub spin_fma: unsafe fn(usize) -> f32,
    registers: fn(usize) -> usize,
}

impl Kernels {
    /// The registers of columns that a full tile of `rows` rows has.
    pub fn registers(&self, rows: usize) -> usize {
        (self.registers)(rows)
    }

    /// The registers of the next panel of row kernels, of those that are left to do (at least 1).
    pub fn row_panel(&self, left: usize) -> usize {
        self.row_registers.min(1 << left.ilog2())
    }

    /// The kernels for `isa`, which must be available.
    pub fn of(isa: Isa) -> &'static Kernels {
        match isa {
            Isa::Scalar => &scalar::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &avx512::KERNELS,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => &neon::KERNELS,
            #[allow(unreachable_patterns)]
            _ => panic!("no {isa} kernels in this build"),
        }
    }
}

impl Kernels {
    /// The kernels whose operands are pairs of bf16 (see [`super::simd::Avx512PairLanes`]), where they are the faster way to
    /// multiply bf16.
    pub fn of_pairs() -> Option<&'static Kernels> {
        #[cfg(target_arch = "x86_64")]
        if bf16_dots() {
            return Some(&avx512_pairs::KERNELS);
        }
        None
    }
}

/// The instance of `$entry` for sizes of 1 to [`DOT_MAX`].
macro_rules! by_size {
    ($entry:ident, $kind:ty, $rows:expr, $columns:expr) => {{
        const TABLE: [[$kind; 4]; 4] = [
            [$entry::<1, 1>, $entry::<1, 2>, $entry::<1, 3>, $entry::<1, 4>],
            [$entry::<2, 1>, $entry::<2, 2>, $entry::<2, 3>, $entry::<2, 4>],
            [$entry::<3, 1>, $entry::<3, 2>, $entry::<3, 3>, $entry::<3, 4>],
            [$entry::<4, 1>, $entry::<4, 2>, $entry::<4, 3>, $entry::<4, 4>],
        ];
        TABLE[$rows - 1][$columns - 1]
    }};
}

/// One module per instruction set: entry points with its target features, and their tables.
macro_rules! kernels {
    ($name:ident, $lanes:ty, $(#[$feature:meta])?, rows $rows_max:literal,
     registers |$r:ident| $registers:expr,
     tiles [$(($mr:literal, $nv:literal))*],
     row_kernels [$(($rk:literal, $rv:literal))*]) => {
        mod $name {
            use super::*;
            #[allow(unused_imports)] // One of these per module.
            use crate::dev::cpu::gemm::simd::*;
            // SAFETY (all entries): callers come through `Kernels::of`, which is asked only for an
            // available instruction set, and keep the contract of the kernel named.
            $(#[$feature])?
            unsafe fn tile_entry<const MR: usize, const NV: usize>(t: &TileArgs) {
                // SAFETY: see above.
                unsafe { tile::<$lanes, MR, NV>(t) }
            }
            $(#[$feature])?
            unsafe fn tap_entry<const MR: usize, const NV: usize>(t: &TapArgs) {
                // SAFETY: see above.
                unsafe { taps::<$lanes, MR, NV>(t) }
            }
            $(#[$feature])?
            unsafe fn row_entry<const MR: usize, const NV: usize>(t: &RowArgs) {
                // SAFETY: see above.
                unsafe { rows::<$lanes, MR, NV>(t) }
            }
            $(#[$feature])?
            unsafe fn segment_entry<const MR: usize, const NV: usize>(t: &SegmentArgs) {
                // SAFETY: see above.
                unsafe { segments::<$lanes, MR, NV>(t) }
            }
            $(#[$feature])?
            unsafe fn dot_entry<const MR: usize, const NC: usize>(t: &DotArgs) {
                // SAFETY: see above.
                unsafe { dots::<$lanes, MR, NC>(t) }
            }
            $(#[$feature])?
            unsafe fn image_dot_entry<const MR: usize, const NC: usize>(t: &ImageDotArgs) {
                // SAFETY: see above.
                unsafe { image_dots::<$lanes, MR, NC>(t) }
            }
            $(#[$feature])?
            unsafe fn point_tap_entry(t: &PointTapArgs) {
                // SAFETY: see above.
                unsafe { point_taps::<$lanes>(t) }
            }
            $(#[$feature])?
            unsafe fn point_grad_entry<const T: usize>(t: &PointGradArgs) {
                // SAFETY: see above.
                unsafe { point_grad::<$lanes, T>(t) }
            }
            fn find_point_grad(taps: usize) -> PointGradFn {
                const TABLE: [PointGradFn; GRAD_TAPS_MAX] = [
                    point_grad_entry::<1>,
                    point_grad_entry::<2>,
                    point_grad_entry::<3>,
                    point_grad_entry::<4>,
                    point_grad_entry::<5>,
                    point_grad_entry::<6>,
                    point_grad_entry::<7>,
                    point_grad_entry::<8>,
                    point_grad_entry::<9>,
                    point_grad_entry::<10>,
                ];
                TABLE[taps - 1]
            }
            $(#[$feature])?
            unsafe fn input_entry(t: &TransformArgs) {
                // SAFETY: see above.
                unsafe { transform::<$lanes, Input, 6, 6>(t) }
            }
            $(#[$feature])?
            unsafe fn output_entry(t: &TransformArgs) {
                // SAFETY: see above.
                unsafe { transform::<$lanes, Output, 6, 4>(t) }
            }
            $(#[$feature])?
            unsafe fn spread_entry(t: &TransformArgs) {
                // SAFETY: see above.
                unsafe { transform::<$lanes, Spread, 4, 6>(t) }
            }
            $(#[$feature])?
            unsafe fn weight_entry(t: &TransformArgs) {
                // SAFETY: see above.
                unsafe { transform::<$lanes, Weight, 3, 6>(t) }
            }
            $(#[$feature])?
            unsafe fn weight_grad_entry(t: &TransformArgs) {
                // SAFETY: see above.
                unsafe { transform::<$lanes, WeightGrad, 6, 3>(t) }
            }
            $(#[$feature])?
            unsafe fn spin_entry(rounds: usize) -> f32 {
                // SAFETY: see above.
                unsafe { spin_fma::<$lanes, SPIN_CHAINS>(rounds) }
            }
            fn find_tile(rows: usize, registers: usize) -> TileFn {
                match (rows, registers) {
                    $(($mr, $nv) => tile_entry::<$mr, $nv>,)*
                    _ => panic!("no tile kernel of {rows} rows by {registers} registers"),
                }
            }
            fn find_taps(rows: usize, registers: usize) -> TapFn {
                match (rows, registers) {
                    $(($mr, $nv) => tap_entry::<$mr, $nv>,)*
                    _ => panic!("no tap kernel of {rows} rows by {registers} registers"),
                }
            }
            fn find_rows(registers: usize) -> (RowFn, usize) {
                match registers {
                    $($rv => (row_entry::<$rk, $rv> as RowFn, $rk),)*
                    _ => panic!("no row kernel of {registers} registers"),
                }
            }
            fn find_segments(registers: usize) -> (SegmentFn, usize) {
                match registers {
                    $($rv => (segment_entry::<$rk, $rv> as SegmentFn, $rk),)*
                    _ => panic!("no segment kernel of {registers} registers"),
                }
            }
            fn find_dot(rows: usize, columns: usize) -> DotFn {
                by_size!(dot_entry, DotFn, rows, columns)
            }
            fn find_image_dot(rows: usize, columns: usize) -> ImageDotFn {
                by_size!(image_dot_entry, ImageDotFn, rows, columns)
            }
            pub(super) static KERNELS: Kernels = Kernels {
                lanes: <$lanes as Simd>::LANES,
                rows_max: $rows_max,
                tile: find_tile,
                taps: find_taps,
                rows: find_rows,
                segments: find_segments,
                row_registers: {
                    let mut most = 0;
                    $(if $rv > most { most = $rv })*
                    most
                },
                dot: find_dot,
                image_dot: find_image_dot,
                point_taps: point_tap_entry,
                point_grad: find_point_grad,
                transforms: Transforms {
                    input: input_entry,
                    output: output_entry,
                    spread: spread_entry,
                    weight: weight_entry,
                    weight_grad: weight_grad_entry,
                },
                spin_fma: spin_entry,
                registers: |$r| $registers,
            };
        }
    };
}

kernels!(scalar, ScalarLanes, , rows 4, registers |_rows| 2,
    tiles [(1,1)(2,1)(3,1)(4,1)(1,2)(2,2)(3,2)(4,2)],
    row_kernels [(6,1)(4,2)]);

// 14 x 2 registers fill 28 of the 32 registers; up to 6 rows leave room for 4 registers of columns.
#[cfg(target_arch = "x86_64")]
kernels!(avx512, Avx512Lanes, #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")],
    rows 14, registers |rows| if rows <= 6 { 4 } else { 2 },
    tiles [(1,1)(2,1)(3,1)(4,1)(5,1)(6,1)(7,1)(8,1)(9,1)(10,1)(11,1)(12,1)(13,1)(14,1)
           (1,2)(2,2)(3,2)(4,2)(5,2)(6,2)(7,2)(8,2)(9,2)(10,2)(11,2)(12,2)(13,2)(14,2)
           (1,3)(2,3)(3,3)(4,3)(5,3)(6,3)(1,4)(2,4)(3,4)(4,4)(5,4)(6,4)],
    row_kernels [(12,1)(8,2)(6,4)]);

// As above; an element of an operand is a pair of bf16.
#[cfg(target_arch = "x86_64")]
kernels!(avx512_pairs, Avx512PairLanes,
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")],
    rows 14, registers |rows| if rows <= 6 { 4 } else { 2 },
    tiles [(1,1)(2,1)(3,1)(4,1)(5,1)(6,1)(7,1)(8,1)(9,1)(10,1)(11,1)(12,1)(13,1)(14,1)
           (1,2)(2,2)(3,2)(4,2)(5,2)(6,2)(7,2)(8,2)(9,2)(10,2)(11,2)(12,2)(13,2)(14,2)
           (1,3)(2,3)(3,3)(4,3)(5,3)(6,3)(1,4)(2,4)(3,4)(4,4)(5,4)(6,4)],
    row_kernels [(12,1)(8,2)(6,4)]);

// 6 x 2 registers fill 12 of the 16 registers.
#[cfg(target_arch = "x86_64")]
kernels!(avx2, Avx2Lanes, #[target_feature(enable = "avx2,fma")],
    rows 6, registers |rows| match rows { 1 | 2 => 4, 3 => 3, _ => 2 },
    tiles [(1,1)(2,1)(3,1)(4,1)(5,1)(6,1)(1,2)(2,2)(3,2)(4,2)(5,2)(6,2)
           (1,3)(2,3)(3,3)(1,4)(2,4)],
    row_kernels [(8,1)(6,2)]);

// 8 x 3 registers fill 24 of the 32 registers.
#[cfg(target_arch = "aarch64")]
kernels!(neon, NeonLanes, #[target_feature(enable = "neon")],
    rows 8, registers |_rows| 3,
    tiles [(1,1)(2,1)(3,1)(4,1)(5,1)(6,1)(7,1)(8,1)(1,2)(2,2)(3,2)(4,2)(5,2)(6,2)(7,2)(8,2)
           (1,3)(2,3)(3,3)(4,3)(5,3)(6,3)(7,3)(8,3)],
    row_kernels [(12,1)(8,2)(6,4)]);
