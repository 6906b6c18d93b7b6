//! Rows become columns, a square of floats in registers at a time.
use crate::dev::cpu::isa::Isa;

/// A square of `N` by `N` floats, each row a register.
///
/// # Safety
/// Every method must run only where the instruction set has been detected, inside a function compiled for it. Pointers cover `N`
/// floats, with no alignment asked.
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
pub(super) trait Square<const N: usize> {
    /// The register.
    type V: Copy;
    /// Reads a row.
    unsafe fn load(p: *const f32) -> Self::V;
    /// Writes a row.
    unsafe fn store(p: *mut f32, v: Self::V);
    /// Takes rows and returns columns.
    unsafe fn transpose(r: [Self::V; N]) -> [Self::V; N];
}

/// Eight by eight, with AVX.
#[cfg(target_arch = "x86_64")]
pub(super) struct Avx2Square;

// SAFETY (all blocks): the trait's contract.
#[cfg(target_arch = "x86_64")]
impl Square<8> for Avx2Square {
    type V = std::arch::x86_64::__m256;
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: see the impl.
        unsafe { std::arch::x86_64::_mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: see the impl.
        unsafe { std::arch::x86_64::_mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn transpose(r: [Self::V; 8]) -> [Self::V; 8] {
        use std::arch::x86_64::*;
        // SAFETY: see the impl.
        unsafe {
            let a = [
                _mm256_unpacklo_ps(r[0], r[1]),
                _mm256_unpackhi_ps(r[0], r[1]),
                _mm256_unpacklo_ps(r[2], r[3]),
                _mm256_unpackhi_ps(r[2], r[3]),
                _mm256_unpacklo_ps(r[4], r[5]),
                _mm256_unpackhi_ps(r[4], r[5]),
                _mm256_unpacklo_ps(r[6], r[7]),
                _mm256_unpackhi_ps(r[6], r[7]),
            ];
            let b = [
                _mm256_shuffle_ps::<0x44>(a[0], a[2]),
                _mm256_shuffle_ps::<0xee>(a[0], a[2]),
                _mm256_shuffle_ps::<0x44>(a[1], a[3]),
                _mm256_shuffle_ps::<0xee>(a[1], a[3]),
                _mm256_shuffle_ps::<0x44>(a[4], a[6]),
                _mm256_shuffle_ps::<0xee>(a[4], a[6]),
                _mm256_shuffle_ps::<0x44>(a[5], a[7]),
                _mm256_shuffle_ps::<0xee>(a[5], a[7]),
            ];
            [
                _mm256_permute2f128_ps::<0x20>(b[0], b[4]),
                _mm256_permute2f128_ps::<0x20>(b[1], b[5]),
                _mm256_permute2f128_ps::<0x20>(b[2], b[6]),
                _mm256_permute2f128_ps::<0x20>(b[3], b[7]),
                _mm256_permute2f128_ps::<0x31>(b[0], b[4]),
                _mm256_permute2f128_ps::<0x31>(b[1], b[5]),
                _mm256_permute2f128_ps::<0x31>(b[2], b[6]),
                _mm256_permute2f128_ps::<0x31>(b[3], b[7]),
            ]
        }
    }
}

/// Four by four.
#[cfg(target_arch = "aarch64")]
pub(super) struct NeonSquare;

// SAFETY (all blocks): the trait's contract.
#[cfg(target_arch = "aarch64")]
#[allow(unused_unsafe)] // NEON is always there on AArch64, so the compiler finds some of these blocks needless.
impl Square<4> for NeonSquare {
    type V = std::arch::aarch64::float32x4_t;
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: see the impl.
        unsafe { std::arch::aarch64::vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: see the impl.
        unsafe { std::arch::aarch64::vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn transpose(r: [Self::V; 4]) -> [Self::V; 4] {
        use std::arch::aarch64::*;
        // SAFETY: see the impl.
        unsafe {
            // Rows 0 and 2, and 1 and 3, take turns; then those two do.
            let (even, odd) = (
                [vzip1q_f32(r[0], r[2]), vzip2q_f32(r[0], r[2])],
                [vzip1q_f32(r[1], r[3]), vzip2q_f32(r[1], r[3])],
            );
            [
                vzip1q_f32(even[0], odd[0]),
                vzip2q_f32(even[0], odd[0]),
                vzip1q_f32(even[1], odd[1]),
                vzip2q_f32(even[1], odd[1]),
            ]
        }
    }
}

/// `to[col * to_step + row] = from[row * from_step + col]` and nothing else.
///
/// # Safety
/// Both blocks must exist, not overlap, and `isa` be available.
pub(crate) unsafe fn transpose(
    isa: Isa,
    from: *const f32,
    from_step: usize,
    rows: usize,
    cols: usize,
    to: *mut f32,
    to_step: usize,
) {
    // SAFETY: forwarded.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::Avx512 if rows >= 4 && cols >= 8 => {
                return transpose_avx2(from, from_step, rows, cols, to, to_step);
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon if rows >= 4 && cols >= 4 => {
                return transpose_neon(from, from_step, rows, cols, to, to_step);
            }
            _ => {}
        }
        for col in 0..cols {
            for row in 0..rows {
                *to.add(col * to_step + row) = *from.add(row * from_step + col);
            }
        }
    }
}

/// # Safety
/// As [`transpose`], with at least 4 rows and 8 columns.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn transpose_avx2(
    from: *const f32,
    from_step: usize,
    rows: usize,
    cols: usize,
    to: *mut f32,
    to_step: usize,
) {
    use std::arch::x86_64::*;
    // Blocks of eight or four rows by eight columns.
    let height = if rows >= 8 { 8 } else { 4 };
    let block = |row: usize, col: usize| {
        // SAFETY: the block lies inside both.
        unsafe {
            let (from, to) = (from.add(row * from_step + col), to.add(col * to_step + row));
            if height == 8 {
                let rows = std::array::from_fn(|r| _mm256_loadu_ps(from.add(r * from_step)));
                for (c, v) in Avx2Square::transpose(rows).into_iter().enumerate() {
                    _mm256_storeu_ps(to.add(c * to_step), v);
                }
            } else {
                let r: [__m256; 4] =
                    std::array::from_fn(|r| _mm256_loadu_ps(from.add(r * from_step)));
                let low = (_mm256_unpacklo_ps(r[0], r[1]), _mm256_unpacklo_ps(r[2], r[3]));
                let high = (_mm256_unpackhi_ps(r[0], r[1]), _mm256_unpackhi_ps(r[2], r[3]));
                // Each holds a column and the one four further.
                let out = [
                    _mm256_shuffle_ps::<0x44>(low.0, low.1),
                    _mm256_shuffle_ps::<0xee>(low.0, low.1),
                    _mm256_shuffle_ps::<0x44>(high.0, high.1),
                    _mm256_shuffle_ps::<0xee>(high.0, high.1),
                ];
                for (c, v) in out.into_iter().enumerate() {
                    _mm_storeu_ps(to.add(c * to_step), _mm256_castps256_ps128(v));
                    _mm_storeu_ps(to.add((c + 4) * to_step), _mm256_extractf128_ps::<1>(v));
                }
            }
        }
    };
    blocks(from_step, to_step, (rows, height), (cols, 8), block);
}

/// # Safety
/// As [`transpose`], with at least 4 rows and 4 columns.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn transpose_neon(
    from: *const f32,
    from_step: usize,
    rows: usize,
    cols: usize,
    to: *mut f32,
    to_step: usize,
) {
    let block = |row: usize, col: usize| {
        // SAFETY: the block lies inside both.
        unsafe {
            let (from, to) = (from.add(row * from_step + col), to.add(col * to_step + row));
            let rows = std::array::from_fn(|r| NeonSquare::load(from.add(r * from_step)));
            for (c, v) in NeonSquare::transpose(rows).into_iter().enumerate() {
                NeonSquare::store(to.add(c * to_step), v);
            }
        }
    };
    blocks(from_step, to_step, (rows, 4), (cols, 4), block);
}

/// Calls `block` with the first row and column of blocks of the given height and width, so that all rows and columns are covered.
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
#[inline(always)]
fn blocks(
    from_step: usize,
    to_step: usize,
    (rows, height): (usize, usize),
    (cols, width): (usize, usize),
    block: impl Fn(usize, usize),
) {
    // The last block of each direction may overlap the one before and writes the same values again.
    let starts =
        |len: usize, block: usize| (0..len).step_by(block).map(move |at| at.min(len - block));
    // Along the side whose lines lie farther apart, so that each line is done with before it leaves the cache: lines a power
    // of two apart share a few places there.
    if to_step > from_step {
        for col in starts(cols, width) {
            for row in starts(rows, height) {
                block(row, col);
            }
        }
    } else {
        for row in starts(rows, height) {
            for col in starts(cols, width) {
                block(row, col);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::cpu::isa::available;

    #[test]
    fn transposes_write_their_block_and_nothing_else() {
        for rows in 0..20 {
            for cols in 0..20 {
                let (from_step, to_step) = (cols + 3, rows + 2);
                let from: Vec<f32> = (0..rows * from_step + 1).map(|v| v as f32).collect();
                for isa in available() {
                    let mut to = vec![-1.0; cols * to_step + 1];
                    let start = to.as_mut_ptr();
                    // SAFETY: both blocks exist.
                    unsafe { transpose(isa, from.as_ptr(), from_step, rows, cols, start, to_step) };
                    for (at, value) in to.iter().enumerate() {
                        let (col, row) = (at / to_step, at % to_step);
                        let inside = col < cols && row < rows;
                        let expected = if inside { (row * from_step + col) as f32 } else { -1.0 };
                        assert_eq!(*value, expected, "{rows} x {cols} {isa}");
                    }
                }
            }
        }
    }
}
