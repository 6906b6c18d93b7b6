//! Operands of bf16 as pairs of successive k, for kernels that multiply bf16 as it is.
//!
//! A pair is 32 bits, the first k in the low half. So for the driver and the kernels a pair is an element like an f32, and there
//! are half as many along k. Where k is odd, the last pair ends in a zero.
use super::pack::{PanelRange, Panels};
use super::{Batch, Element, Operand};
use crate::dev::cpu::isa::Isa;

/// One operand of bf16, seen as lanes by pairs.
pub(super) struct PairSource<'a> {
    data: &'a [u16],
    base: usize,
    batch: Batch<'a>,
    lane_step: usize,
    k_step: usize,
    /// Values (not pairs) along k.
    k: usize,
}

impl<'a> PairSource<'a> {
    /// A's rows as lanes; `None` unless A holds bf16.
    pub fn rows<T: Element>(a: &Operand<'a, T>, lanes: usize, k: usize) -> Option<Self> {
        PairSource::new(a, lanes, a.row_stride, a.col_stride, k)
    }

    /// B's columns as lanes; `None` unless B holds bf16.
    pub fn columns<T: Element>(b: &Operand<'a, T>, lanes: usize, k: usize) -> Option<Self> {
        PairSource::new(b, lanes, b.col_stride, b.row_stride, k)
    }

    fn new<T: Element>(
        o: &Operand<'a, T>,
        lanes: usize,
        lane: usize,
        k_step: usize,
        k: usize,
    ) -> Option<Self> {
        T::IS_BF16.then(|| PairSource {
            // SAFETY: the elements are bf16, which is a transparent u16.
            data: unsafe { std::slice::from_raw_parts(o.data.as_ptr().cast(), o.data.len()) },
            base: o.base,
            batch: o.batch,
            // A single lane never steps; 0 keeps it readable in place.
            lane_step: if lanes == 1 { 0 } else { lane },
            k_step,
            k,
        })
    }

    fn start(&self, batch: usize, lane: usize, pair: usize) -> *const u16 {
        let k = 2 * pair * self.k_step;
        let index = self.base + self.batch.offset(batch) + lane * self.lane_step + k;
        // The whole operand's range was checked against `data`.
        self.data.as_ptr().wrapping_add(index)
    }
}

impl Panels for PairSource<'_> {
    unsafe fn pack(&self, isa: Isa, at: PanelRange, panel: *mut f32, width: usize) {
        let from = self.start(at.batch, at.lane, at.k);
        let job = PairJob {
            lanes: at.lanes,
            steps: (2 * at.depth).min(self.k - 2 * at.k),
            width,
            lane: self.lane_step,
            k: self.k_step,
        };
        // SAFETY: forwarded; the entry runs only where its instruction set is available.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => pack_avx512(from, panel.cast(), job),
                _ => pack_body(from, panel.cast(), job),
            }
        }
    }

    /// Lanes side by side still have to be paired along k.
    fn in_place(&self, _: usize, _: usize, _: usize) -> Option<(*const f32, usize)> {
        None
    }

    fn along_k(&self, batch: usize, lane: usize) -> Option<(*const f32, usize)> {
        // Steps between lanes are counted in pairs.
        let fits = self.k_step == 1 && self.k.is_multiple_of(2) && self.lane_step.is_multiple_of(2);
        fits.then(|| (self.start(batch, lane, 0).cast(), self.lane_step / 2))
    }
}

/// Sizes and steps of one packing.
#[derive(Clone, Copy)]
struct PairJob {
    lanes: usize,
    /// Values along k.
    steps: usize,
    /// Pairs between successive pairs of k in the panel.
    width: usize,
    /// Values between lanes of the operand.
    lane: usize,
    /// Values between successive k of the operand.
    k: usize,
}

/// The definition.
///
/// # Safety
/// As for [`Panels::pack`].
unsafe fn pack_body(from: *const u16, panel: *mut u32, job: PairJob) {
    // SAFETY: the caller's ranges exist in the operand and in the panel.
    unsafe {
        for pair in 0..job.steps.div_ceil(2) {
            for lane in 0..job.width {
                let value = |k: usize| {
                    let exists = lane < job.lanes && k < job.steps;
                    if exists { u32::from(*from.add(lane * job.lane + k * job.k)) } else { 0 }
                };
                *panel.add(pair * job.width + lane) = value(2 * pair) | value(2 * pair + 1) << 16;
            }
        }
    }
}

/// # Safety
/// As for [`Panels::pack`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn pack_avx512(from: *const u16, panel: *mut u32, job: PairJob) {
    // SAFETY: forwarded.
    unsafe {
        if job.lane == 1 {
            zip_lanes(from, panel, job);
        } else if job.k == 1 {
            transpose_pairs(from, panel, job);
        } else {
            pack_body(from, panel, job);
        }
    }
}

/// Packs lanes that lie side by side: rows of k zip into rows of pairs.
///
/// # Safety
/// As for [`Panels::pack`], with `job.lane == 1`, inside a function compiled for AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn zip_lanes(from: *const u16, panel: *mut u32, job: PairJob) {
    use std::arch::x86_64::*;
    let mask = |count: usize| ((1u32 << count.min(16)) - 1) as __mmask16;
    // SAFETY: masked lanes are neither read nor written; the others exist.
    unsafe {
        for pair in 0..job.steps.div_ceil(2) {
            let (low, to) = (from.add(2 * pair * job.k), panel.add(pair * job.width));
            let has_high = 2 * pair + 1 < job.steps;
            for lane in (0..job.width).step_by(16) {
                let some = mask(job.lanes.saturating_sub(lane));
                let read = |row: *const u16, some| {
                    _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(
                        some,
                        row.wrapping_add(lane).cast(),
                    ))
                };
                let a = read(low, some);
                let b = read(low.wrapping_add(job.k), if has_high { some } else { 0 });
                let pairs = _mm512_or_si512(a, _mm512_slli_epi32::<16>(b));
                _mm512_mask_storeu_epi32(to.add(lane).cast(), mask(job.width - lane), pairs);
            }
        }
    }
}

/// Packs lanes that lie contiguous along k, eight lanes by eight pairs.
///
/// # Safety
/// As for [`Panels::pack`], with `job.k == 1`, inside a function compiled for AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn transpose_pairs(from: *const u16, panel: *mut u32, job: PairJob) {
    use super::transpose::{Avx2Square, Square};
    use std::arch::x86_64::*;
    let PairJob { lanes, steps, width, lane: step, .. } = job;
    let blocks = steps / 16 * 8;
    // SAFETY: loads stay in the operand: row numbers are clamped to existing lanes, and only whole
    // groups of sixteen k are read. Stores stay in the panel and its slack: eight lanes are stored
    // even where fewer exist, and what spills over lies in padding, in lanes that are stored later,
    // or in the slack.
    unsafe {
        if lanes < width {
            panel.write_bytes(0, steps.div_ceil(2) * width);
        }
        let mut lane = 0;
        loop {
            let at = lane.min(lanes.saturating_sub(8));
            let rows: [*const u16; 8] =
                std::array::from_fn(|r| from.add((at + r).min(lanes - 1) * step));
            for pair in (0..blocks).step_by(8) {
                let out = Avx2Square::transpose(
                    rows.map(|row| _mm256_loadu_ps(row.add(2 * pair).cast())),
                );
                for (i, v) in out.into_iter().enumerate() {
                    _mm256_storeu_ps(panel.add((pair + i) * width + at).cast(), v);
                }
            }
            lane += 8;
            if lane >= lanes {
                break;
            }
        }
        for pair in blocks..steps.div_ceil(2) {
            for lane in 0..lanes {
                let row = from.add(lane * step + 2 * pair);
                let high = if 2 * pair + 1 < steps { u32::from(*row.add(1)) } else { 0 };
                *panel.add(pair * width + lane) = u32::from(*row) | high << 16;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::dev::cpu::gemm::tests::{fractions, product};
    use crate::dev::cpu::gemm::{GemmShape, Operand, gemm};
    use crate::dev::cpu::isa::{has_bf16_dots, with_bf16_dots};
    use crate::dev::cpu::pool::{SharedMut, set_threads};
    use half::bf16;
    use proptest::prelude::*;

    fn halves(len: usize, seed: u64, whole: bool) -> Vec<bf16> {
        let scale = if whole { 4.0 } else { 1.0 };
        let value = |v: f32| if whole { (v * scale).round() } else { v };
        fractions(len, seed).into_iter().map(|v| bf16::from_f32(value(v))).collect()
    }

    fn turned<T>(data: &[T], rows: usize, cols: usize, turn: bool) -> Operand<'_, T> {
        if turn {
            Operand::row_major(data, cols, rows).transposed()
        } else {
            Operand::row_major(data, rows, cols)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn pairs_equal_the_definition_and_do_not_depend_on_threads(
            batch in 1usize..3, m in 1usize..70, n in 1usize..90, k in 0usize..180, deep in any::<bool>(),
            turns in any::<(bool, bool)>(),
        ) {
            if !has_bf16_dots() {
                return Ok(());
            }
            let k = if deep { k + 760 } else { k };
            let shape = GemmShape { batch, m, n, k };
            for whole in [true, false] {
                let (a, b) = (halves(batch * m * k, 1, whole), halves(batch * k * n, 2, whole));
                let (a, b) = (turned(&a, m, k, turns.0), turned(&b, k, n, turns.1));
                let expected = product(shape, &a, &b);
                let run = |dots, threads| {
                    set_threads(threads);
                    let mut c = vec![f32::NAN; batch * m * n];
                    with_bf16_dots(dots, || gemm(shape, a, b, SharedMut::new(&mut c), false, None));
                    c
                };
                let pairs = run(true, 1);
                if whole {
                    // Every order of summing is exact.
                    prop_assert!(pairs.iter().zip(&expected).all(|(v, e)| f64::from(*v) == *e));
                    prop_assert_eq!(&run(false, 2), &pairs);
                }
                for (value, expected) in pairs.iter().zip(&expected) {
                    let close = (f64::from(*value) - expected).abs() <= 1e-5 * (k as f64).sqrt().max(1.0);
                    prop_assert!(close, "{} {}", value, expected);
                }
                let same = run(true, 3).iter().zip(&pairs).all(|(a, b)| a.to_bits() == b.to_bits());
                prop_assert!(same);
            }
        }
    }
}
