//! Depthwise convolutions: every channel has a kernel of its own, and there is no sum over channels.
//!
//! Vectors hold channels here too. As many channels as a register has lanes are turned from `[channel][point]` into
//! `[point][channel]`, computed, and turned back; both turns happen in cache. Then a result point takes one product for each tap
//! that reads inside the image, whatever stride, dilation and image size are, and the gradient of a weight is a sum over points
//! of two such vectors.
use super::forward::{first_points, rows_written};
use super::plan::{Phase, Plan};
use super::skip::{Class, Skips};
use super::{ConvDone, ConvShape, ConvTile};
use crate::dev::cpu::gemm::kernel::Kernels;

use crate::dev::cpu::gemm::points::{GRAD_TAPS_MAX, PointGradArgs, PointTapArgs};
use crate::dev::cpu::gemm::scratch::Scratch;
use crate::dev::cpu::gemm::transpose::transpose;
use crate::dev::cpu::isa::{Isa, isa};
use crate::dev::cpu::pool::{SharedMut, parallel_for, threads};
use std::ops::Range;

/// Floats that a task turns at a time: a first-level cache.
const FLOATS: usize = 8 << 10;
/// A task should be worth at least this many operations.
const TASK_FLOPS: f64 = 300e3;
/// Chunks that the batch of a weight gradient is summed in.
const CHUNKS: usize = 8;

/// Whether every group has a single channel on both sides.
pub(super) fn fits(shape: &ConvShape) -> bool {
    shape.groups > 1 && shape.in_group() == 1 && shape.out_group() == 1
}

/// Forward or input gradient.
pub(super) fn run(
    plan: &Plan,
    from: &[f32],
    w: &[f32],
    to: SharedMut<'_, f32>,
    done: Option<ConvDone<'_>>,
) {
    let points = plan.to_dims.iter().product::<usize>();
    let channels = plan.groups;
    if plan.batch * channels * points == 0 {
        return;
    }
    let isa = isa();
    let lanes = Kernels::of(isa).lanes;
    let axis = plan.to_dims.iter().position(|dim| *dim > 1).unwrap_or(2);
    let rows = plan.to_dims[axis].div_ceil(plan.out_step[axis]);
    let floats = (points + plan.from_dims.iter().product::<usize>()) * lanes;
    // Neighbouring parts turn some rows twice: keep those few.
    let twice = (plan.kernel[axis] - 1).div_ceil(plan.out_step[axis]);
    let row_parts = floats.div_ceil(FLOATS).min(rows / (3 * twice).max(1)).max(1);
    let blocks = channels.div_ceil(lanes);
    let taps = plan.kernel.iter().product::<usize>();
    let weights = by_lane(w, channels, taps, lanes);
    let parts: Vec<Part> = (0..row_parts)
        .map(|part| {
            Part::new(plan, axis, part * rows / row_parts..(part + 1) * rows / row_parts, lanes)
        })
        .collect();
    let runner = Runner { plan, isa, from, to: to.as_ptr(), weights: &weights, taps, done };
    let task = |task: usize| {
        let (block, part) = (task / row_parts, task % row_parts);
        runner.block(block / blocks, block % blocks, &parts[part]);
    };
    let tasks = plan.batch * blocks * row_parts;
    share_out(tasks, plan.flops, task);
}

/// Runs tasks, several at a time if each is small.
fn share_out(tasks: usize, flops: f64, task: impl Fn(usize) + Sync) {
    if threads() <= 1 || flops < 2.0 * TASK_FLOPS {
        return (0..tasks).for_each(task);
    }
    let bundles = tasks.min((flops / TASK_FLOPS) as usize).min(threads() * 8);
    parallel_for(bundles, |bundle| {
        (bundle * tasks / bundles..(bundle + 1) * tasks / bundles).for_each(&task);
    });
}

/// `[channel][tap]` as `[block][tap][lane]`.
fn by_lane(w: &[f32], channels: usize, taps: usize, lanes: usize) -> Vec<f32> {
    let mut out = vec![0.0; channels.div_ceil(lanes) * taps * lanes];
    for channel in 0..channels {
        for tap in 0..taps {
            out[(channel / lanes * taps + tap) * lanes + channel % lanes] = w[channel * taps + tap];
        }
    }
    out
}

/// Some rows of the result, and all that has to be computed for them; the same for every image and channel.
struct Part {
    /// First and number of points that are read, in a plane of the source.
    read: (usize, usize),
    /// First and number of points that are written, in a plane of the result.
    written: (usize, usize),
    runs: Vec<Run>,
    /// Offset from a point, and place of the weights, of each tap of each class.
    taps: Vec<(isize, usize)>,
}

/// Points in a row that share their taps.
struct Run {
    points: usize,
    /// Where the first point is read (on top of the taps' offsets) and written, and the steps to the next.
    from: isize,
    from_step: usize,
    to: usize,
    to_step: usize,
    taps: Range<usize>,
}

impl Part {
    /// The points `q` in `rows` along `axis`, for `lanes` channels.
    fn new(plan: &Plan, axis: usize, rows: Range<usize>, lanes: usize) -> Part {
        // The rest of a plane is read whole; and all of it, where there are points before the axis (a result may have fewer).
        let inner = plan.from_dims[axis + 1..].iter().product::<usize>();
        let outer = plan.from_dims[..axis].iter().product::<usize>();
        let (low, high) =
            if outer == 1 { rows_read(plan, axis, &rows) } else { (0, plan.from_dims[axis]) };
        let mut part = Part {
            read: (low * inner, outer * (high - low) * inner),
            written: rows_written(plan, axis, &rows),
            runs: Vec::new(),
            taps: Vec::new(),
        };
        for (phase, start) in plan.phases.iter().zip(first_points(plan)) {
            part.add_phase(plan, axis, &rows, lanes, phase, start);
        }
        part
    }

    fn add_phase(
        &mut self,
        plan: &Plan,
        axis: usize,
        rows: &Range<usize>,
        lanes: usize,
        phase: &Phase,
        start: [usize; 3],
    ) {
        let mut counts = [0, 1, 2].map(|axis: usize| phase.axes[axis].count);
        counts[axis] = rows.end.min(counts[axis]) - rows.start.min(counts[axis]);
        let mut shift = [0; 3];
        shift[axis] = (rows.start * plan.step[axis]) as isize;
        // Tap numbers of the kernel, and where each reads relative to a point.
        let (mut numbers, mut offsets) = (Vec::new(), Vec::new());
        phase.for_each_tap(plan.kernel, |e, tap| {
            numbers.push(tap);
            offsets.push(signed_flat(plan.from_dims, std::array::from_fn(|d| e[d] + shift[d])));
        });
        let from_steps = [0, plan.step[1] * plan.from_dims[2], plan.step[2]];
        let to_steps = [0, plan.out_step[1] * plan.to_dims[2], plan.out_step[2]];
        for class in Skips::all().classes(plan, phase, counts, shift, &vec![0; numbers.len()]) {
            let [zs, ys, xs] = &class.span;
            if xs.is_empty() || ys.is_empty() {
                continue;
            }
            let first_tap = self.taps.len();
            self.taps.extend(
                class
                    .numbers
                    .iter()
                    .map(|t| (offsets[*t as usize] * lanes as isize, numbers[*t as usize] * lanes)),
            );
            // Runs of points along the longer axis.
            let (along, across) = if xs.len() < ys.len() { (1, xs) } else { (2, ys) };
            for z in zs.clone() {
                for at in across.clone() {
                    let first = if along == 1 { [z, ys.start, at] } else { [z, at, xs.start] };
                    let mut to: [usize; 3] =
                        std::array::from_fn(|d| first[d] * plan.out_step[d] + start[d]);
                    to[axis] += rows.start * plan.out_step[axis];
                    let from = std::array::from_fn(|d| first[d] * plan.step[d]);
                    self.runs.push(Run {
                        points: class.span[along].len(),
                        from: (flat(plan.from_dims, from) as isize - self.read.0 as isize)
                            * lanes as isize,
                        from_step: from_steps[along] * lanes,
                        to: (flat(plan.to_dims, to) - self.written.0) * lanes,
                        to_step: to_steps[along] * lanes,
                        taps: first_tap..self.taps.len(),
                    });
                }
            }
        }
    }
}

/// First and one past the last source point along `axis` that the points `q` in `rows` read.
fn rows_read(plan: &Plan, axis: usize, rows: &Range<usize>) -> (usize, usize) {
    let (mut low, mut high) = (isize::MAX, isize::MIN);
    for phase in &plan.phases {
        let taps = &phase.axes[axis];
        let rows = rows.start.min(taps.count)..rows.end.min(taps.count);
        if rows.is_empty() {
            continue;
        }
        for (e, _) in &taps.taps {
            low = low.min((rows.start * plan.step[axis]) as isize + e);
            high = high.max(((rows.end - 1) * plan.step[axis]) as isize + e + 1);
        }
    }
    let dim = plan.from_dims[axis] as isize;
    let low = low.clamp(0, dim);
    (low as usize, high.clamp(low, dim) as usize)
}

struct Runner<'a> {
    plan: &'a Plan,
    isa: Isa,
    from: &'a [f32],
    to: *mut f32,
    /// `[block][tap][lane]`.
    weights: &'a [f32],
    taps: usize,
    done: Option<ConvDone<'a>>,
}

// SAFETY: tasks write disjoint parts of the result.
unsafe impl Sync for Runner<'_> {}

impl Runner<'_> {
    /// Computes one block of channels of an image.
    fn block(&self, image: usize, block: usize, part: &Part) {
        let kernels = Kernels::of(self.isa);
        let lanes = kernels.lanes;
        let channel0 = block * lanes;
        let channels = lanes.min(self.plan.groups - channel0);
        let plane = image * self.plan.groups + channel0;
        let (first, count) = part.read;
        let from_points = self.plan.from_dims.iter().product::<usize>();
        let mut source = Scratch::take(count * lanes);
        if channels < lanes {
            source.as_mut_slice()[..count * lanes].fill(0.0);
        }
        let source = source.as_mut_ptr();
        if count > 0 {
            let from = self.from[plane * from_points + first..].as_ptr();
            // SAFETY: `channels` planes with `count` points from `first` exist; the buffer holds them.
            unsafe { transpose(self.isa, from, from_points, channels, count, source, lanes) };
        }
        let to_points = self.plan.to_dims.iter().product::<usize>();
        let (pixel0, pixels) = part.written;
        let mut result = Scratch::take(pixels * lanes);
        let result = result.as_mut_ptr();
        let w = self.weights[block * self.taps * lanes..].as_ptr();
        for run in &part.runs {
            let args = PointTapArgs {
                points: run.points,
                from: source.wrapping_offset(run.from),
                from_step: run.from_step,
                taps: &part.taps[run.taps.clone()],
                w,
                to: result.wrapping_add(run.to),
                to_step: run.to_step,
            };
            // SAFETY: the class's taps read inside the image for its points, and what they read was turned; the points lie in
            // the buffer.
            unsafe { (kernels.point_taps)(&args) };
        }
        let to = self.to.wrapping_add(plane * to_points + pixel0);
        // SAFETY: the buffer holds these points; they belong to this task.
        unsafe { transpose(self.isa, result, lanes, pixels, channels, to, to_points) };
        if let Some(done) = self.done {
            done(ConvTile { image0: image, images: 1, channel0, channels, pixel0, pixels });
        }
    }
}

fn flat(dims: [usize; 3], at: [usize; 3]) -> usize {
    (at[0] * dims[1] + at[1]) * dims[2] + at[2]
}

fn signed_flat(dims: [usize; 3], at: [isize; 3]) -> isize {
    (at[0] * dims[1] as isize + at[1]) * dims[2] as isize + at[2]
}

/// The gradient of the weights, `dw[c, k]`. The batch is summed in a number of chunks that depends on the shape alone.
pub(super) fn weight_grad(shape: &ConvShape, x: &[f32], g: &[f32], dw: SharedMut<'_, f32>) {
    let isa = isa();
    let kernels = Kernels::of(isa);
    let lanes = kernels.lanes;
    let plan = Plan::forward(shape);
    let phase = &plan.phases[0];
    let channels = shape.groups;
    let taps = shape.kernel.iter().product::<usize>();
    let blocks = channels.div_ceil(lanes);
    let in_points = shape.in_dims.iter().product::<usize>();
    let out_points = shape.out_dims.iter().product::<usize>();
    // Where each tap reads relative to a point.
    let mut offsets = Vec::with_capacity(taps);
    phase.for_each_tap(plan.kernel, |e, _| {
        offsets.push(signed_flat(plan.from_dims, e) * lanes as isize);
    });
    let classes =
        Skips::all().classes(&plan, phase, shape.out_dims, [0; 3], &vec![0; offsets.len()]);
    let mut runs = Vec::new();
    for class in &classes {
        add_grad_runs(&plan, class, &offsets, lanes, &mut runs);
    }
    let chunks = CHUNKS.min(shape.batch).max(1);
    let mut sums = vec![0.0; chunks * blocks * taps * lanes];
    let shared = SharedMut::new(&mut sums);
    let task = |task: usize| {
        let (chunk, block) = (task / blocks, task % blocks);
        let channel0 = block * lanes;
        let count = lanes.min(channels - channel0);
        // SAFETY: each task has its own sums.
        let sums = unsafe { shared.slice(task * taps * lanes, taps * lanes) };
        let mut xs = Scratch::take(in_points * lanes);
        let mut gs = Scratch::take(out_points * lanes);
        if count < lanes {
            xs.as_mut_slice()[..in_points * lanes].fill(0.0);
            gs.as_mut_slice()[..out_points * lanes].fill(0.0);
        }
        let (xs, gs) = (xs.as_mut_ptr(), gs.as_mut_ptr());
        for image in chunk * shape.batch / chunks..(chunk + 1) * shape.batch / chunks {
            let plane = image * channels + channel0;
            let (x, g) = (x[plane * in_points..].as_ptr(), g[plane * out_points..].as_ptr());
            // SAFETY: `count` planes exist from there; the buffers hold one of each lane.
            unsafe {
                transpose(isa, x, in_points, count, in_points, xs, lanes);
                transpose(isa, g, out_points, count, out_points, gs, lanes);
            }
            for run in &runs {
                let args = PointGradArgs {
                    rows: run.rows,
                    points: run.points,
                    x: xs.wrapping_add(run.x),
                    x_row: run.x_row,
                    x_step: plan.step[2] * lanes,
                    g: gs.wrapping_add(run.g),
                    g_row: plan.to_dims[2] * lanes,
                    taps: &run.taps,
                    sums: sums.as_mut_ptr(),
                };
                // SAFETY: the class's taps read inside the image for its points; there are sums for every tap.
                unsafe { (kernels.point_grad)(run.taps.len())(&args) };
            }
        }
    };
    share_out(chunks * blocks, shape.flops(), task);
    for channel in 0..channels {
        for tap in 0..taps {
            let at = (channel / lanes * taps + tap) * lanes + channel % lanes;
            let parts = (0..chunks).map(|chunk| sums[chunk * blocks * taps * lanes + at]);
            // SAFETY: nothing else runs, and the gradient holds every channel and tap.
            unsafe { dw.as_ptr().add(channel * taps + tap).write(parts.sum()) };
        }
    }
}

/// Rows of points that share their taps, or some of them: what one call of the gradient's kernel sums.
struct GradRun {
    rows: usize,
    points: usize,
    /// Where the first point is read (on top of the taps' offsets), and the step to the next row.
    x: usize,
    x_row: usize,
    /// Where its gradient is.
    g: usize,
    /// Offset from a point, and place of the sums, of each tap.
    taps: Vec<(isize, usize)>,
}

fn add_grad_runs(
    plan: &Plan,
    class: &Class,
    offsets: &[isize],
    lanes: usize,
    runs: &mut Vec<GradRun>,
) {
    let [zs, ys, xs] = &class.span;
    if xs.is_empty() || ys.is_empty() || class.numbers.is_empty() {
        return;
    }
    let at_once = class.numbers.len().div_ceil(class.numbers.len().div_ceil(GRAD_TAPS_MAX));
    for numbers in class.numbers.chunks(at_once) {
        for z in zs.clone() {
            let from = [z * plan.step[0], ys.start * plan.step[1], xs.start * plan.step[2]];
            runs.push(GradRun {
                rows: ys.len(),
                points: xs.len(),
                x: flat(plan.from_dims, from) * lanes,
                x_row: plan.step[1] * plan.from_dims[2] * lanes,
                g: flat(plan.to_dims, [z, ys.start, xs.start]) * lanes,
                taps: numbers.iter().map(|t| (offsets[*t as usize], *t as usize * lanes)).collect(),
            });
        }
    }
}
