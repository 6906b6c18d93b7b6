//! Convolutions of bf16 without conversion, on processors that multiply pairs of bf16 fast.
//!
//! A pair is a 32-bit element that holds two values of bf16, and the kernel for pairs multiplies two pairs and adds both products
//! to an f32 sum (see [`bf16_dots`](crate::dev::cpu::isa::bf16_dots)). Which two values make a pair is free as long as both
//! operands agree: here they are two channels that are summed over (forward and input gradient) or two images (weight gradient).
//! So the operands are first rewritten with every two such planes zipped into one, and then the f32 code runs on half as many
//! channels or images, with other microkernels.
use super::forward::Weights;
use super::plan::Plan;
use super::{ConvDone, ConvShape, depthwise, forward, pointwise, weight, winograd};
use crate::dev::Mem;
use crate::dev::cpu::gemm::kernel::Kernels;
use crate::dev::cpu::isa::{Isa, isa};
use crate::dev::cpu::pool::{SharedMut, parallel_for};
use half::bf16;
use std::cell::Cell;

/// Values that a task zips.
const ZIP: usize = 64 << 10;

/// Which of the three computations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairMode {
    /// `y` from `x` and `w`.
    Forward,
    /// `dx` from `g` and `w`.
    InputGrad,
    /// `dw` from `x` and `g`.
    WeightGrad,
}

/// A convolution of bf16 operands with an f32 result, prepared for pairs.
#[derive(Clone, Copy, Debug)]
pub struct PairConv<'a> {
    shape: &'a ConvShape,
    mode: PairMode,
}

/// `[outer][count][len]`, of which every two of `count` are zipped.
#[derive(Clone, Copy)]
struct Planes {
    outer: usize,
    count: usize,
    len: usize,
}

impl Planes {
    fn pairs(self) -> usize {
        self.outer * self.count.div_ceil(2) * self.len
    }
}

impl<'a> PairConv<'a> {
    /// The convolution of `shape`, or `None` where pairs are not the way to compute it: on other processors, for depthwise
    /// convolutions, which have nothing to sum but taps, and where tiles of f32 are faster still.
    pub fn new(shape: &'a ConvShape, mode: PairMode) -> Option<PairConv<'a>> {
        let kernels = Kernels::of_pairs()?;
        let plan = match mode {
            PairMode::InputGrad => Plan::input_grad(shape),
            PairMode::Forward | PairMode::WeightGrad => Plan::forward(shape),
        };
        let better = depthwise::fits(shape) || winograd::beats_pairs(&plan, kernels.lanes);
        (!better).then_some(PairConv { shape, mode })
    }

    fn is_product(&self) -> bool {
        match self.mode {
            PairMode::Forward => pointwise::forward_fits(self.shape),
            PairMode::InputGrad => pointwise::input_grad_fits(self.shape),
            PairMode::WeightGrad => false,
        }
    }

    fn planes(&self) -> [Planes; 2] {
        let shape = self.shape;
        let taps = shape.kernel.iter().product::<usize>();
        let in_points = shape.in_dims.iter().product::<usize>();
        let out_points = shape.out_dims.iter().product::<usize>();
        let (from, to) = (shape.in_group(), shape.out_group());
        let planes = |outer, count, len| Planes { outer, count, len };
        match self.mode {
            PairMode::Forward => [
                planes(shape.batch * shape.groups, from, in_points),
                planes(shape.out_channels, from, taps),
            ],
            PairMode::InputGrad => [
                planes(shape.batch * shape.groups, to, out_points),
                planes(shape.groups, to, from * taps),
            ],
            PairMode::WeightGrad => [
                planes(1, shape.batch, shape.in_channels * in_points),
                planes(1, shape.batch, shape.out_channels * out_points),
            ],
        }
    }

    /// Elements of working memory that [`PairConv::run`] needs for each operand.
    pub fn working(&self) -> [usize; 2] {
        if self.is_product() { [0; 2] } else { self.planes().map(Planes::pairs) }
    }

    /// Computes the result. The operands are those of the mode, in order (`x, w`, `g, w` or `x, g`); `done` is told of every
    /// region of `to` once it is final, for the weight gradient only when there is one. `memory` is what `w` lies in, beside which
    /// it may be kept packed.
    ///
    /// # Panics
    /// When a slice is shorter than the shape or [`PairConv::working`] says.
    #[track_caller]
    pub fn run(
        &self,
        a: &[bf16],
        b: &[bf16],
        memory: Option<&Mem>,
        working: [&mut [u32]; 2],
        to: SharedMut<'_, f32>,
        done: Option<ConvDone<'_>>,
    ) {
        let shape = self.shape;
        match self.mode {
            PairMode::Forward => shape.assert_valid(a.len(), b.len(), to.len()),
            PairMode::InputGrad => shape.assert_valid(to.len(), b.len(), a.len()),
            PairMode::WeightGrad => shape.assert_valid(a.len(), to.len(), b.len()),
        }
        if self.is_product() {
            return match self.mode {
                PairMode::Forward => pointwise::forward(shape, a, b, to, done),
                _ => pointwise::input_grad(shape, a, b, to, done),
            };
        }
        let kernels = Kernels::of_pairs().expect("checked when this was made");
        let [plane_a, plane_b] = self.planes();
        let [work_a, work_b] = working;
        zip_planes(a, plane_a, work_a);
        let a = as_floats(work_a);
        let work_b = Cell::new(Some(work_b));
        let b = || {
            let work_b = work_b.take().expect("the operand is asked for once");
            zip_planes(b, plane_b, work_b);
            as_floats(work_b)
        };
        let form = match self.mode {
            PairMode::Forward => "pairs of channels read",
            _ => "pairs of channels written",
        };
        let w = Weights { memory, form, data: &b };
        let half = |channels: usize| channels.div_ceil(2) * shape.groups;
        match self.mode {
            PairMode::Forward => {
                let shape = ConvShape { in_channels: half(shape.in_group()), ..*shape };
                forward::run(&Plan::forward(&shape), kernels, a, w, to, done);
            }
            PairMode::InputGrad => {
                let shape = ConvShape { out_channels: half(shape.out_group()), ..*shape };
                forward::run(&Plan::input_grad(&shape), kernels, a, w, to, done);
            }
            PairMode::WeightGrad => {
                let shape = ConvShape { batch: shape.batch.div_ceil(2), ..*shape };
                weight::run(&shape, kernels, a, b(), to);
            }
        }
    }
}

/// The pairs as the kernels take them: any 32 bits.
fn as_floats(pairs: &[u32]) -> &[f32] {
    // SAFETY: same size and alignment, and every bit pattern is an f32.
    unsafe { std::slice::from_raw_parts(pairs.as_ptr().cast(), pairs.len()) }
}

/// Zips every two planes of `from` into one of `to`; a last single one pairs with zeros.
fn zip_planes(from: &[bf16], planes: Planes, to: &mut [u32]) {
    let Planes { outer, count, len } = planes;
    assert!(
        to.len() >= planes.pairs(),
        "conv: {} elements of working memory, expected {}",
        to.len(),
        planes.pairs()
    );
    if planes.pairs() == 0 {
        return;
    }
    let isa = isa();
    let pairs = count.div_ceil(2);
    let to = SharedMut::new(to);
    // Long planes in parts, short ones several at a time.
    let parts = len.div_ceil(ZIP);
    let at_once = (ZIP / len).clamp(1, outer * pairs);
    let tasks = (outer * pairs).div_ceil(at_once);
    parallel_for(tasks * parts, |task| {
        let (first, part) = (task / parts * at_once, task % parts);
        let range = part * len / parts..(part + 1) * len / parts;
        let planes = first..(first + at_once).min(outer * pairs);
        if parts == 1 && count.is_multiple_of(2) {
            // All of it lies in order.
            let from = &from[2 * planes.start * len..2 * planes.end * len];
            // SAFETY: each task has its own planes.
            let to = unsafe { to.slice(planes.start * len, planes.len() * len) };
            return zip_on(isa, from, len, to);
        }
        for plane in planes {
            let (o, pair) = (plane / pairs, plane % pairs);
            let start = (o * count + 2 * pair) * len;
            let low = &from[start + range.start..start + range.end];
            // SAFETY: each task has its own planes, or its part of one.
            let to = unsafe { to.slice(plane * len + range.start, range.len()) };
            if 2 * pair + 1 < count {
                let high = &from[start + len + range.start..start + len + range.end];
                zip(low, high, to);
            } else {
                to.iter_mut().zip(low).for_each(|(to, v)| *to = v.to_bits().into());
            }
        }
    });
}

fn zip_on(isa: Isa, from: &[bf16], len: usize, to: &mut [u32]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction set is available.
        Isa::Avx512 => unsafe { zip_avx512(from, len, to) },
        _ => zip_even(from, len, to),
    }
}

/// # Safety
/// AVX-512 is available.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn zip_avx512(from: &[bf16], len: usize, to: &mut [u32]) {
    zip_even(from, len, to);
}

/// Zips planes of `len` that lie in order, an even number of them.
#[inline(always)]
fn zip_even(from: &[bf16], len: usize, to: &mut [u32]) {
    match len {
        // The usual kernels and small images; a length that is known makes short loops fast.
        1 => zip_short::<1>(from, to),
        4 => zip_short::<4>(from, to),
        9 => zip_short::<9>(from, to),
        16 => zip_short::<16>(from, to),
        25 => zip_short::<25>(from, to),
        49 => zip_short::<49>(from, to),
        _ => {
            for (from, to) in from.chunks_exact(2 * len).zip(to.chunks_exact_mut(len)) {
                zip(&from[..len], &from[len..], to);
            }
        }
    }
}

#[inline(always)]
fn zip_short<const LEN: usize>(from: &[bf16], to: &mut [u32]) {
    for (from, to) in from.chunks_exact(2 * LEN).zip(to.chunks_exact_mut(LEN)) {
        for at in 0..LEN {
            to[at] = u32::from(from[at].to_bits()) | u32::from(from[LEN + at].to_bits()) << 16;
        }
    }
}

#[inline(always)]
fn zip(low: &[bf16], high: &[bf16], to: &mut [u32]) {
    for ((to, low), high) in to.iter_mut().zip(low).zip(high) {
        *to = u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16;
    }
}
