//! The few vector operations that the f32 microkernels need, once per instruction set.
//!
//! A microkernel is written once over [`Simd`] and instantiated inside a `#[target_feature]` function
//! for each instruction set; every method here is `#[inline(always)]`, so the intrinsics end up in
//! that function and compile to single instructions.

/// A vector of f32 lanes.
///
/// # Safety
/// Every method must run only where the instruction set has been detected, inside a function
/// compiled for it. Methods that take pointers read or write exactly the lanes they name.
pub(crate) trait Simd {
    /// The vector register.
    type V: Copy;
    /// f32 lanes in a register.
    const LANES: usize;
    /// All lanes 0.
    unsafe fn zero() -> Self::V;
    /// All lanes `*p`.
    unsafe fn splat(p: *const f32) -> Self::V;
    /// Lanes `p[0..LANES]`, no alignment asked.
    unsafe fn load(p: *const f32) -> Self::V;
    /// Lanes `p[0..count]`, the rest 0; nothing beyond is touched.
    unsafe fn load_partial(p: *const f32, count: usize) -> Self::V;
    /// Writes all lanes to `p`.
    unsafe fn store(p: *mut f32, v: Self::V);
    /// Writes lanes `0..count` to `p`; nothing beyond is touched.
    unsafe fn store_partial(p: *mut f32, v: Self::V, count: usize);
    /// `a * b + c`, rounded once where the instruction set has fused multiply-add.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// The lanes of even numbers of `a` then `b`, and those of odd numbers.
    unsafe fn unzip(a: Self::V, b: Self::V) -> (Self::V, Self::V);
    /// `a[0], b[0], a[1], b[1], ...`, as two vectors: the inverse of `unzip`.
    unsafe fn zip(a: Self::V, b: Self::V) -> (Self::V, Self::V);
    /// `acc[r][v] += a[r] * b[v]`, each as [`Simd::fma`]: the step of a tile whose `MR` factors lie side by side.
    #[inline(always)]
    unsafe fn fma_outer<const MR: usize, const NV: usize>(
        a: *const f32,
        b: [Self::V; NV],
        acc: &mut [[Self::V; NV]; MR],
    ) {
        for (r, row) in acc.iter_mut().enumerate() {
            // SAFETY: the caller gives MR readable elements and runs where the instruction set exists.
            let a = unsafe { Self::splat(a.add(r)) };
            for (sum, lanes) in row.iter_mut().zip(b) {
                // SAFETY: as above.
                *sum = unsafe { Self::fma(a, lanes, *sum) };
            }
        }
    }
    /// Asks for the cache line of `p` for writing; may do nothing.
    unsafe fn prefetch_write(p: *const f32);
    /// The sum of all lanes, halves first, always in the same order.
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        let mut lanes = [0.0f32; 16];
        // SAFETY: LANES is at most 16; the caller runs where the instruction set exists.
        unsafe { Self::store(lanes.as_mut_ptr(), v) };
        let mut width = Self::LANES;
        while width > 1 {
            width /= 2;
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
        }
        lanes[0]
    }
}

/// Plain Rust: four lanes, multiply and add rounded separately.
pub(crate) struct ScalarLanes;

impl Simd for ScalarLanes {
    type V = [f32; 4];
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn zero() -> Self::V {
        [0.0; 4]
    }
    #[inline(always)]
    unsafe fn splat(p: *const f32) -> Self::V {
        // SAFETY: the caller gives a readable `p`.
        [unsafe { *p }; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: the caller gives four readable elements.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_partial(p: *const f32, count: usize) -> Self::V {
        // SAFETY: only the first `count` elements are read, which the caller gives.
        std::array::from_fn(|lane| if lane < count { unsafe { *p.add(lane) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: the caller gives four writable elements.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_partial(p: *mut f32, v: Self::V, count: usize) {
        for (lane, value) in v.into_iter().enumerate().take(count) {
            // SAFETY: the caller gives `count` writable elements.
            unsafe { *p.add(lane) = value }
        }
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }
    #[inline(always)]
    unsafe fn unzip(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
        ([a[0], a[2], b[0], b[2]], [a[1], a[3], b[1], b[3]])
    }
    #[inline(always)]
    unsafe fn zip(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
        ([a[0], b[0], a[1], b[1]], [a[2], b[2], a[3], b[3]])
    }
    #[inline(always)]
    unsafe fn prefetch_write(_: *const f32) {}
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2Lanes, Avx512Lanes, Avx512PairLanes};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// Eight lanes of AVX2 and FMA.
    pub(crate) struct Avx2Lanes;

    /// A mask with the sign bit set in the first `count` of eight lanes.
    #[inline(always)]
    unsafe fn mask8(count: usize) -> __m256i {
        static LADDER: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        debug_assert!(count <= 8);
        // SAFETY: `8 - count` is in 0..=8, so eight elements follow it in the ladder.
        unsafe { _mm256_loadu_si256(LADDER.as_ptr().add(8 - count).cast()) }
    }

    // SAFETY (all blocks of both impls): the trait's contract is that the caller runs where the
    // instruction set exists and that the pointers cover the lanes named; the intrinsics ask no more.
    impl Simd for Avx2Lanes {
        type V = __m256;
        const LANES: usize = 8;
        #[inline(always)]
        unsafe fn zero() -> Self::V {
            // SAFETY: see the impl.
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(p: *const f32) -> Self::V {
            // SAFETY: see the impl.
            unsafe { _mm256_set1_ps(*p) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self::V {
            // SAFETY: see the impl.
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn load_partial(p: *const f32, count: usize) -> Self::V {
            // SAFETY: see the impl; masked lanes are not read.
            unsafe { _mm256_maskload_ps(p, mask8(count)) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: Self::V) {
            // SAFETY: see the impl.
            unsafe { _mm256_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn store_partial(p: *mut f32, v: Self::V, count: usize) {
            // SAFETY: see the impl; masked lanes are not written.
            unsafe { _mm256_maskstore_ps(p, mask8(count), v) }
        }
        #[inline(always)]
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            // SAFETY: see the impl.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: see the impl.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn unzip(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
            // SAFETY: see the impl.
            unsafe {
                let even = _mm256_castps_pd(_mm256_shuffle_ps::<0x88>(a, b));
                let odd = _mm256_castps_pd(_mm256_shuffle_ps::<0xdd>(a, b));
                (
                    _mm256_castpd_ps(_mm256_permute4x64_pd::<0xd8>(even)),
                    _mm256_castpd_ps(_mm256_permute4x64_pd::<0xd8>(odd)),
                )
            }
        }
        #[inline(always)]
        unsafe fn zip(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
            // SAFETY: see the impl.
            unsafe {
                let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                (
                    _mm256_permute2f128_ps::<0x20>(low, high),
                    _mm256_permute2f128_ps::<0x31>(low, high),
                )
            }
        }
        #[inline(always)]
        unsafe fn prefetch_write(p: *const f32) {
            // SAFETY: a prefetch never faults.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(p.cast()) }
        }
    }

    /// Sixteen lanes of AVX-512.
    pub(crate) struct Avx512Lanes;

    #[inline(always)]
    fn mask16(count: usize) -> __mmask16 {
        debug_assert!(count <= 16);
        ((1u32 << count) - 1) as __mmask16
    }

    impl Simd for Avx512Lanes {
        type V = __m512;
        const LANES: usize = 16;
        #[inline(always)]
        unsafe fn zero() -> Self::V {
            // SAFETY: see the impl above.
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(p: *const f32) -> Self::V {
            // SAFETY: see the impl above.
            unsafe { _mm512_set1_ps(*p) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self::V {
            // SAFETY: see the impl above.
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn load_partial(p: *const f32, count: usize) -> Self::V {
            // SAFETY: see the impl above; masked lanes are not read.
            unsafe { _mm512_maskz_loadu_ps(mask16(count), p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: Self::V) {
            // SAFETY: see the impl above.
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn store_partial(p: *mut f32, v: Self::V, count: usize) {
            // SAFETY: see the impl above; masked lanes are not written.
            unsafe { _mm512_mask_storeu_ps(p, mask16(count), v) }
        }
        #[inline(always)]
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            // SAFETY: see the impl above.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: see the impl above.
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn unzip(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
            // SAFETY: see the impl above.
            unsafe {
                let step =
                    _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
                let odd = _mm512_or_si512(step, _mm512_set1_epi32(1));
                (_mm512_permutex2var_ps(a, step, b), _mm512_permutex2var_ps(a, odd, b))
            }
        }
        #[inline(always)]
        unsafe fn zip(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
            // SAFETY: see the impl above.
            unsafe {
                let low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
                let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
                (_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b))
            }
        }
        #[inline(always)]
        unsafe fn prefetch_write(p: *const f32) {
            // SAFETY: a prefetch never faults.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(p.cast()) }
        }
    }

    /// Sixteen f32 sums, whose factors are pairs of bf16: a 32-bit element of an operand holds the values of two successive k,
    /// the first in its low half. `fma` adds both products. Needs AVX512_BF16; subnormals count as 0.
    pub(crate) struct Avx512PairLanes;

    impl Simd for Avx512PairLanes {
        type V = __m512;
        const LANES: usize = 16;
        #[inline(always)]
        unsafe fn zero() -> Self::V {
            // SAFETY: see the impl above.
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(p: *const f32) -> Self::V {
            // SAFETY: see the impl above. A pair may start at any even address.
            unsafe { _mm512_castsi512_ps(_mm512_set1_epi32(p.cast::<i32>().read_unaligned())) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self::V {
            // SAFETY: see the impl above.
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn load_partial(p: *const f32, count: usize) -> Self::V {
            // SAFETY: see the impl above.
            unsafe { Avx512Lanes::load_partial(p, count) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: Self::V) {
            // SAFETY: see the impl above.
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn store_partial(p: *mut f32, v: Self::V, count: usize) {
            // SAFETY: see the impl above.
            unsafe { Avx512Lanes::store_partial(p, v, count) }
        }
        #[inline(always)]
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            // SAFETY: see the impl above; both types are 512 plain bits.
            unsafe {
                _mm512_dpbf16_ps(
                    c,
                    std::mem::transmute::<__m512, __m512bh>(a),
                    std::mem::transmute::<__m512, __m512bh>(b),
                )
            }
        }
        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: see the impl above.
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn unzip(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
            // SAFETY: see the impl above.
            unsafe { Avx512Lanes::unzip(a, b) }
        }
        #[inline(always)]
        unsafe fn zip(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
            // SAFETY: see the impl above.
            unsafe { Avx512Lanes::zip(a, b) }
        }
        #[inline(always)]
        unsafe fn prefetch_write(p: *const f32) {
            // SAFETY: a prefetch never faults.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(p.cast()) }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::NeonLanes;

// NEON is always there on AArch64, so the compiler finds some of these blocks needless.
#[cfg(target_arch = "aarch64")]
#[allow(unused_unsafe)]
mod neon {
    use super::Simd;
    use std::arch::aarch64::*;

    /// Four lanes of NEON.
    pub(crate) struct NeonLanes;

    // SAFETY (all blocks): the trait's contract; the partial forms touch only the lanes named.
    impl Simd for NeonLanes {
        type V = float32x4_t;
        const LANES: usize = 4;
        #[inline(always)]
        unsafe fn zero() -> Self::V {
            // SAFETY: see the impl.
            unsafe { vdupq_n_f32(0.0) }
        }
        #[inline(always)]
        unsafe fn splat(p: *const f32) -> Self::V {
            // SAFETY: see the impl.
            unsafe { vld1q_dup_f32(p) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self::V {
            // SAFETY: see the impl.
            unsafe { vld1q_f32(p) }
        }
        #[inline(always)]
        unsafe fn load_partial(p: *const f32, count: usize) -> Self::V {
            debug_assert!(count <= 4);
            // SAFETY: see the impl.
            unsafe {
                match count {
                    0 => Self::zero(),
                    1 => vld1q_lane_f32::<0>(p, Self::zero()),
                    2 => vcombine_f32(vld1_f32(p), vdup_n_f32(0.0)),
                    3 => {
                        let two = vcombine_f32(vld1_f32(p), vdup_n_f32(0.0));
                        vld1q_lane_f32::<2>(p.add(2), two)
                    }
                    _ => vld1q_f32(p),
                }
            }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: Self::V) {
            // SAFETY: see the impl.
            unsafe { vst1q_f32(p, v) }
        }
        #[inline(always)]
        unsafe fn store_partial(p: *mut f32, v: Self::V, count: usize) {
            debug_assert!(count <= 4);
            // SAFETY: see the impl.
            unsafe {
                match count {
                    0 => {}
                    1 => vst1q_lane_f32::<0>(p, v),
                    2 => vst1_f32(p, vget_low_f32(v)),
                    3 => {
                        vst1_f32(p, vget_low_f32(v));
                        vst1q_lane_f32::<2>(p.add(2), v);
                    }
                    _ => vst1q_f32(p, v),
                }
            }
        }
        #[inline(always)]
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            // SAFETY: see the impl.
            unsafe { vfmaq_f32(c, a, b) }
        }
        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: see the impl.
            unsafe { vaddq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn unzip(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
            // SAFETY: see the impl.
            unsafe { (vuzp1q_f32(a, b), vuzp2q_f32(a, b)) }
        }
        #[inline(always)]
        unsafe fn zip(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
            // SAFETY: see the impl.
            unsafe { (vzip1q_f32(a, b), vzip2q_f32(a, b)) }
        }
        // A product may take its factor from any lane of a register, so one load brings four rows.
        #[inline(always)]
        unsafe fn fma_outer<const MR: usize, const NV: usize>(
            a: *const f32,
            b: [Self::V; NV],
            acc: &mut [[Self::V; NV]; MR],
        ) {
            let mut r = 0;
            // SAFETY: see the impl; the loads cover rows below MR only.
            unsafe {
                while r + 4 <= MR {
                    let four = vld1q_f32(a.add(r));
                    for v in 0..NV {
                        acc[r][v] = vfmaq_laneq_f32::<0>(acc[r][v], b[v], four);
                        acc[r + 1][v] = vfmaq_laneq_f32::<1>(acc[r + 1][v], b[v], four);
                        acc[r + 2][v] = vfmaq_laneq_f32::<2>(acc[r + 2][v], b[v], four);
                        acc[r + 3][v] = vfmaq_laneq_f32::<3>(acc[r + 3][v], b[v], four);
                    }
                    r += 4;
                }
                if r + 2 <= MR {
                    let two = vld1_f32(a.add(r));
                    for v in 0..NV {
                        acc[r][v] = vfmaq_lane_f32::<0>(acc[r][v], b[v], two);
                        acc[r + 1][v] = vfmaq_lane_f32::<1>(acc[r + 1][v], b[v], two);
                    }
                    r += 2;
                }
                if r < MR {
                    let one = Self::splat(a.add(r));
                    for v in 0..NV {
                        acc[r][v] = Self::fma(one, b[v], acc[r][v]);
                    }
                }
            }
        }
        #[inline(always)]
        unsafe fn prefetch_write(_: *const f32) {}
    }
}
