//! Operands, and how a block of one becomes a panel that a microkernel streams through.
//!
//! A *panel* holds some lanes (rows of A or columns of B) over a range of k, laid out `[k][lanes]`,
//! so the kernel reads it front to back. Packing also turns half floats into f32.
#[cfg(target_arch = "x86_64")]
use super::transpose::Avx2Square;
#[cfg(target_arch = "aarch64")]
use super::transpose::NeonSquare;
use super::transpose::Square;
use super::{Batch, Element, Operand};
use crate::dev::cpu::isa::Isa;

/// Floats that a pack routine may write past the end of its panel, if the panel is narrower than
/// eight lanes.
pub(crate) const PACK_SLACK: usize = 16;

/// One operand seen as lanes by k.
pub(crate) struct Source<'a, T> {
    data: &'a [T],
    base: usize,
    batch: Batch<'a>,
    lane_step: usize,
    k_step: usize,
}

/// What the driver asks of an operand, whatever its element type.
pub(crate) trait Panels: Sync {
    /// Writes lanes `lane..lane + lanes` over `k..k + depth` to `panel`, laid out `[depth][width]`.
    /// Lanes `lanes..width` are padding: what they hold says nothing, and what is computed from it is
    /// dropped.
    ///
    /// # Safety
    /// `panel` must hold `depth * width + PACK_SLACK` floats, the range must exist in the operand
    /// (see [`Operand::assert_covers`]), and `isa` must be available.
    unsafe fn pack(&self, isa: Isa, at: PanelRange, panel: *mut f32, width: usize);

    /// Where the lanes already lie side by side: the address of `(lane, k)` and the step of k.
    fn in_place(&self, batch: usize, lane: usize, k: usize) -> Option<(*const f32, usize)>;

    /// Where k already lies contiguous: the address of `(lane, k = 0)` and the step of lanes.
    fn along_k(&self, batch: usize, lane: usize) -> Option<(*const f32, usize)>;
}

/// A block of an operand.
#[derive(Clone, Copy)]
pub(crate) struct PanelRange {
    pub batch: usize,
    pub lane: usize,
    pub lanes: usize,
    pub k: usize,
    pub depth: usize,
}

impl<'a, T: Element> Source<'a, T> {
    /// A's rows as lanes.
    pub fn rows(a: &Operand<'a, T>) -> Self {
        let (lane_step, k_step) = (a.row_stride, a.col_stride);
        Self { data: a.data, base: a.base, batch: a.batch, lane_step, k_step }
    }

    /// B's columns as lanes.
    pub fn columns(b: &Operand<'a, T>) -> Self {
        let (lane_step, k_step) = (b.col_stride, b.row_stride);
        Self { data: b.data, base: b.base, batch: b.batch, lane_step, k_step }
    }

    fn start(&self, batch: usize, lane: usize, k: usize) -> *const T {
        let index = self.base + self.batch.offset(batch) + lane * self.lane_step + k * self.k_step;
        // The driver checked the whole operand's range against `data`.
        self.data.as_ptr().wrapping_add(index)
    }

    fn as_f32(&self, batch: usize, lane: usize, k: usize) -> Option<*const f32> {
        T::IS_F32.then(|| self.start(batch, lane, k).cast())
    }
}

impl<T: Element> Panels for Source<'_, T> {
    unsafe fn pack(&self, isa: Isa, at: PanelRange, panel: *mut f32, width: usize) {
        let from = self.start(at.batch, at.lane, at.k);
        let job =
            Job { lanes: at.lanes, depth: at.depth, width, lane: self.lane_step, k: self.k_step };
        // SAFETY: forwarded; each entry runs only where its instruction set is available.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => pack_avx512(from, panel, job),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => pack_avx2(from, panel, job),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => pack_neon(from, panel, job),
                _ => pack_body(from, panel, job),
            }
        }
    }

    fn in_place(&self, batch: usize, lane: usize, k: usize) -> Option<(*const f32, usize)> {
        if self.lane_step != 1 {
            return None;
        }
        self.as_f32(batch, lane, k).map(|start| (start, self.k_step))
    }

    fn along_k(&self, batch: usize, lane: usize) -> Option<(*const f32, usize)> {
        if self.k_step != 1 {
            return None;
        }
        self.as_f32(batch, lane, 0).map(|start| (start, self.lane_step))
    }
}

/// Sizes and steps of one packing.
#[derive(Clone, Copy)]
struct Job {
    lanes: usize,
    depth: usize,
    width: usize,
    /// Elements between lanes of the operand.
    lane: usize,
    /// Elements between successive k of the operand.
    k: usize,
}

/// # Safety
/// As for [`Panels::pack`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn pack_avx512<T: Element>(from: *const T, panel: *mut f32, job: Job) {
    // SAFETY: forwarded.
    unsafe { pack_squares::<T, Avx2Square, 8>(from, panel, job) }
}

/// # Safety
/// As for [`Panels::pack`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn pack_avx2<T: Element>(from: *const T, panel: *mut f32, job: Job) {
    // SAFETY: forwarded.
    unsafe { pack_squares::<T, Avx2Square, 8>(from, panel, job) }
}

/// # Safety
/// As for [`Panels::pack`].
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn pack_neon<T: Element>(from: *const T, panel: *mut f32, job: Job) {
    // SAFETY: forwarded.
    unsafe { pack_squares::<T, NeonSquare, 4>(from, panel, job) }
}

/// # Safety
/// As for [`Panels::pack`], inside a function compiled for the instruction set of `S`.
#[inline(always)]
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
unsafe fn pack_squares<T: Element, S: Square<N>, const N: usize>(
    from: *const T,
    panel: *mut f32,
    job: Job,
) {
    // SAFETY: forwarded.
    unsafe {
        if job.k == 1 && job.lane != 1 {
            transpose_lanes::<T, S, N>(from, panel, job);
        } else {
            pack_body(from, panel, job)
        }
    }
}

/// # Safety
/// As for [`Panels::pack`].
#[inline(always)]
unsafe fn pack_body<T: Element>(from: *const T, panel: *mut f32, job: Job) {
    // SAFETY: the caller's ranges exist in the operand and in the panel.
    unsafe {
        zero_padded(panel, job);
        if job.lane == 1 {
            // A constant length lets the compiler copy whole registers.
            match job.lanes {
                32 => copy_lanes::<T, 32>(from, panel, job),
                64 => copy_lanes::<T, 64>(from, panel, job),
                16 => copy_lanes::<T, 16>(from, panel, job),
                14 => copy_lanes::<T, 14>(from, panel, job),
                13 => copy_lanes::<T, 13>(from, panel, job),
                12 => copy_lanes::<T, 12>(from, panel, job),
                11 => copy_lanes::<T, 11>(from, panel, job),
                10 => copy_lanes::<T, 10>(from, panel, job),
                9 => copy_lanes::<T, 9>(from, panel, job),
                8 => copy_lanes::<T, 8>(from, panel, job),
                6 => copy_lanes::<T, 6>(from, panel, job),
                4 => copy_lanes::<T, 4>(from, panel, job),
                lanes => {
                    for k in 0..job.depth {
                        let (from, to) = (from.add(k * job.k), panel.add(k * job.width));
                        for lane in 0..lanes {
                            *to.add(lane) = (*from.add(lane)).to_f32();
                        }
                    }
                }
            }
        } else {
            for lane in 0..job.lanes {
                let from = from.add(lane * job.lane);
                for k in 0..job.depth {
                    *panel.add(k * job.width + lane) = (*from.add(k * job.k)).to_f32();
                }
            }
        }
    }
}

/// # Safety
/// As for [`Panels::pack`], with `job.lane == 1` and `job.lanes == N`.
#[inline(always)]
unsafe fn copy_lanes<T: Element, const N: usize>(from: *const T, panel: *mut f32, job: Job) {
    // SAFETY: the caller's ranges exist in the operand and in the panel.
    unsafe {
        for k in 0..job.depth {
            let lanes = from.add(k * job.k).cast::<[T; N]>().read_unaligned();
            let lanes: [f32; N] = std::array::from_fn(|lane| lanes[lane].to_f32());
            panel.add(k * job.width).cast::<[f32; N]>().write_unaligned(lanes);
        }
    }
}

/// Clears a panel that has padding, in one go, so that stale floats are not computed with.
///
/// # Safety
/// As for [`Panels::pack`].
#[inline(always)]
unsafe fn zero_padded(panel: *mut f32, job: Job) {
    if job.lanes < job.width {
        // SAFETY: the whole panel.
        unsafe { panel.write_bytes(0, job.depth * job.width) };
    }
}

/// Packs lanes that lie contiguous along k, a square of `N` by `N` at a time.
///
/// # Safety
/// As for [`Panels::pack`], with `job.k == 1`, inside a function compiled for the instruction set of `S`.
#[inline(always)]
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
unsafe fn transpose_lanes<T: Element, S: Square<N>, const N: usize>(
    from: *const T,
    panel: *mut f32,
    job: Job,
) {
    let Job { lanes, depth, width, lane: step, .. } = job;
    let blocks = depth / N * N;
    // SAFETY: loads stay in the operand: row numbers are clamped to existing lanes, and only whole
    // groups of N k are read. Stores stay in the panel and its slack, see below.
    unsafe {
        zero_padded(panel, job);
        let load = |row: *const T| {
            if T::IS_F32 {
                return S::load(row.cast());
            }
            // The conversion of N halves becomes vector code.
            let halves: [T; N] = row.cast::<[T; N]>().read_unaligned();
            let floats = halves.map(Element::to_f32);
            S::load(floats.as_ptr())
        };
        // N lanes are stored even where fewer exist. What spills over lies in padding, in the
        // next k's lanes, which are stored later, or in the slack. The last block may overlap the one
        // before it, and writes the same values there.
        let mut lane = 0;
        loop {
            let at = lane.min(lanes.saturating_sub(N));
            let rows: [*const T; N] =
                std::array::from_fn(|r| from.add((at + r).min(lanes - 1) * step));
            for k in (0..blocks).step_by(N) {
                let out = S::transpose(rows.map(|row| load(row.add(k))));
                for (i, v) in out.into_iter().enumerate() {
                    S::store(panel.add((k + i) * width + at), v);
                }
            }
            lane += N;
            if lane >= lanes {
                break;
            }
        }
        for k in blocks..depth {
            for lane in 0..lanes {
                *panel.add(k * width + lane) = (*from.add(lane * step + k)).to_f32();
            }
        }
    }
}

/// Packs `lanes` rows of `depth` floats, `row_step` apart and each contiguous, as one panel: the
/// layout and slack of [`Panels::pack`].
///
/// # Safety
/// The rows must exist, the panel have room, and `isa` be available.
pub(crate) unsafe fn pack_rows(
    isa: Isa,
    from: *const f32,
    row_step: usize,
    lanes: usize,
    depth: usize,
    panel: *mut f32,
    width: usize,
) {
    let job = Job { lanes, depth, width, lane: row_step, k: 1 };
    // SAFETY: forwarded.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => pack_avx512(from, panel, job),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => pack_avx2(from, panel, job),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => pack_neon(from, panel, job),
            _ => pack_body(from, panel, job),
        }
    }
}
