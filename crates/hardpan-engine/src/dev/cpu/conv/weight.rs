//! The weight gradient.
//!
//! `dw[o, c, k] = sum over images n and output points p of g[n, o, p] * x[n, c, p * stride + e_k]`
//!
//! With many output channels per group, vectors hold output channels: a tile's rows are (channel,
//! tap) pairs, broadcast from the window of `x`; `g` is packed `[point][o]`; the sum runs over
//! points. So the tables of the forward pass change places: rows are taps, products are pixels. With
//! few, vectors hold the points of a row, and each element is a dot product of images.
//!
//! The batch is cut into a number of chunks that depends on the shape alone, summed apart and then
//! added in order; where the gradient is large there are few or one, and tasks also take ranges of
//! input channels, which changes no sum. So the bits do not depend on the number of threads.
//!
//! With one tap, `x` and `g` can change places: the one with fewer channels is packed.
use super::ConvShape;
use super::plan::forward_axes;
use super::window::{Images, Source, Window, offset_u32};
use crate::dev::cpu::gemm::kernel::{DOT_MAX, ImageDotArgs, Kernels, RowArgs};
use crate::dev::cpu::gemm::pack::{PACK_SLACK, pack_rows};
use crate::dev::cpu::gemm::scratch::Scratch;
use crate::dev::cpu::gemm::transpose::transpose;
use crate::dev::cpu::isa::{Isa, isa};
use crate::dev::cpu::pool::{SharedMut, parallel_for, threads};
use std::ops::Range;

/// Chunks that the batch is summed in.
const CHUNKS: usize = 16;
/// Above this many gradient elements there are fewer chunks, and a group's channels are shared out too.
const LARGE: usize = 64 << 10;
/// Above this many there is one chunk.
const HUGE: usize = 1 << 20;
/// Output points that one pass sums: with 64 channels of `g`, a 64 KB block.
const POINTS: usize = 256;
/// A task should be worth at least this many operations.
const TASK_FLOPS: f64 = 1e6;
/// At least the rows of every row kernel.
const TILE_ROWS_MAX: usize = 16;

struct Runner<'a> {
    shape: &'a ConvShape,
    isa: Isa,
    kernels: &'static Kernels,
    x: &'a [f32],
    g: &'a [f32],
    /// Widths in registers of the panels of output channels; empty when vectors hold points.
    panels: Vec<usize>,
    /// Floats of sums for each (channel, tap): the width of all panels, or the output channels.
    padded: usize,
    taps: usize,
    out_points: usize,
    /// The axis whose range is cut when one image has too many points.
    axis: usize,
}

/// The part of the sum that a task adds at a time.
struct Block {
    images: Range<usize>,
    group: usize,
    /// Input channels of the group.
    channels: Range<usize>,
    /// Range along `Runner::axis`.
    rows: Range<usize>,
    /// Whether something was added before.
    accumulate: bool,
}

pub(super) fn run(
    shape: &ConvShape,
    kernels: &'static Kernels,
    x: &[f32],
    g: &[f32],
    dw: SharedMut<'_, f32>,
) {
    let taps = shape.kernel.iter().product::<usize>();
    let out_points = shape.out_dims.iter().product::<usize>();
    let (in_group, out_group) = (shape.in_group(), shape.out_group());
    if shape.weight_len() == 0 {
        return;
    }
    if shape.batch * out_points == 0 {
        // SAFETY: nothing else runs.
        unsafe { dw.slice(0, shape.weight_len()) }.fill(0.0);
        return;
    }
    if shape.kernel == [1; 3] && out_group > in_group && pixel_for_pixel(shape) {
        return swapped(shape, kernels, x, g, dw);
    }
    let isa = isa();
    // Lanes that work: channels of the padded panels, against points of the padded rows.
    let used = |count: usize| count as f64 / count.next_multiple_of(kernels.lanes) as f64;
    let along_points = used(out_group) < 0.8 * used(shape.out_dims[2]);
    let panels = if along_points { Vec::new() } else { panels(out_group, kernels) };
    let padded =
        if along_points { out_group } else { panels.iter().sum::<usize>() * kernels.lanes };
    let axis = shape.out_dims.iter().position(|dim| *dim > 1).unwrap_or(2);
    let runner = Runner { shape, isa, kernels, x, g, panels, padded, taps, out_points, axis };

    let gradient = in_group * taps * out_group;
    let most_chunks = if gradient <= LARGE {
        CHUNKS
    } else if gradient <= HUGE {
        CHUNKS / 4
    } else {
        1
    };
    let group_flops = shape.flops() / shape.groups as f64;
    let wanted = if shape.groups >= CHUNKS { group_flops } else { shape.flops() } / TASK_FLOPS;
    let chunks = most_chunks.min(shape.batch).min(wanted as usize).max(1);
    // Every part packs all of `g`, so no more of them than the threads need. They change no sum.
    let channels_at_once = if most_chunks < CHUNKS && !along_points {
        let parts = (4 * threads()).div_ceil(chunks * shape.groups);
        in_group.div_ceil(parts.min(in_group))
    } else {
        in_group
    };
    let channel_parts = in_group.div_ceil(channels_at_once);

    // Sums, [chunk][group][channel, tap][o], or [chunk][group][o][channel, tap] along points.
    let group_rows = in_group * taps;
    let chunk_len = shape.groups * group_rows * padded;
    let mut sums = Scratch::take(chunks * chunk_len);
    let sums = SharedMut::new(sums.as_mut_slice());
    let tasks_per_chunk = shape.groups * channel_parts;
    let task = |task: usize| {
        let (chunk, rest) = (task / tasks_per_chunk, task % tasks_per_chunk);
        let (group, part) = (rest / channel_parts, rest % channel_parts);
        let first = part * channels_at_once;
        let channels = first..in_group.min(first + channels_at_once);
        let start = ((chunk * shape.groups + group) * in_group + channels.start) * taps * padded;
        // SAFETY: each task has its own rows.
        let sums = unsafe { sums.slice(start, channels.len() * taps * padded) };
        let images = chunk * shape.batch / chunks..(chunk + 1) * shape.batch / chunks;
        runner.task(images, group, channels, sums);
    };
    if shape.flops() < 2.0 * TASK_FLOPS {
        (0..chunks * tasks_per_chunk).for_each(task);
    } else {
        parallel_for(chunks * tasks_per_chunk, task);
    }

    // Add the chunks in order, and turn [channel, tap][o] into [o][channel, tap].
    let rows_at_once = (LARGE / 4 / padded).clamp(8, group_rows.max(8));
    let row_parts = group_rows.div_ceil(rows_at_once);
    let finish = |task: usize| {
        let (group, part) = (task / row_parts, task % row_parts);
        let rows = part * rows_at_once..group_rows.min((part + 1) * rows_at_once);
        let start = group * group_rows * padded;
        let (at, len) = (start + rows.start * padded, rows.len() * padded);
        // SAFETY: each task has its own sums, in each chunk.
        let total = unsafe { sums.slice(at, len) };
        for chunk in 1..chunks {
            // SAFETY: as above.
            let more = unsafe { sums.slice(chunk * chunk_len + at, len) };
            for (total, value) in total.iter_mut().zip(more) {
                *total += *value;
            }
        }
        let to = dw.as_ptr().wrapping_add(group * out_group * group_rows);
        if along_points {
            // Here `total` is simply a run of the group's elements.
            // SAFETY: the group's gradient holds them, and the task has them to itself.
            unsafe {
                let to = to.add(rows.start * padded);
                std::ptr::copy_nonoverlapping(total.as_ptr(), to, len);
            }
        } else {
            let to = to.wrapping_add(rows.start);
            // SAFETY: these rows of the gradient belong to this task.
            unsafe {
                transpose(isa, total.as_ptr(), padded, rows.len(), out_group, to, group_rows);
            }
        }
    };
    if chunks * chunk_len > LARGE {
        parallel_for(shape.groups * row_parts, finish);
    } else {
        (0..shape.groups * row_parts).for_each(finish);
    }
}

/// Whether output point p reads input point p.
fn pixel_for_pixel(shape: &ConvShape) -> bool {
    shape.stride == [1; 3] && shape.padding_lo == [0; 3] && shape.in_dims == shape.out_dims
}

/// The gradient of a kernel of one tap, as the transpose of that with `x` and `g` exchanged.
fn swapped(
    shape: &ConvShape,
    kernels: &'static Kernels,
    x: &[f32],
    g: &[f32],
    dw: SharedMut<'_, f32>,
) {
    let (from, to) = (shape.in_group(), shape.out_group());
    let other =
        ConvShape { in_channels: shape.out_channels, out_channels: shape.in_channels, ..*shape };
    let mut turned = Scratch::take(shape.weight_len());
    let turned = turned.as_mut_ptr();
    // SAFETY: the buffer holds the gradient, and only this call reaches it.
    run(&other, kernels, g, x, unsafe { SharedMut::from_raw(turned, shape.weight_len()) });
    for group in 0..shape.groups {
        let at = group * from * to;
        // SAFETY: both hold a `from` by `to` matrix for each group, and nothing else runs.
        unsafe {
            transpose(isa(), turned.add(at), to, from, to, dw.as_ptr().add(at), from);
        }
    }
}

/// Registers in each panel of output channels.
fn panels(channels: usize, kernels: &Kernels) -> Vec<usize> {
    let mut left = channels.div_ceil(kernels.lanes);
    let mut panels = Vec::new();
    while left > 0 {
        let registers = kernels.row_panel(left);
        panels.push(registers);
        left -= registers;
    }
    panels
}

impl Runner<'_> {
    /// Sums over `images` the rows of `channels` of `group`.
    fn task(&self, images: Range<usize>, group: usize, channels: Range<usize>, sums: &mut [f32]) {
        let shape = self.shape;
        if images.is_empty() {
            return sums.fill(0.0);
        }
        // Whole images while they are small, ranges of rows of one image when it is large.
        let points = if self.panels.is_empty() { 8 * POINTS } else { POINTS };
        let images_at_once = (points / self.out_points).clamp(1, images.len());
        let rows = shape.out_dims[self.axis];
        let row_points = self.out_points / rows;
        let rows_at_once = (2 * points / row_points).clamp(1, rows);
        let mut accumulate = false;
        for image in images.clone().step_by(images_at_once) {
            for row in (0..rows).step_by(rows_at_once) {
                let block = Block {
                    images: image..images.end.min(image + images_at_once),
                    group,
                    channels: channels.clone(),
                    rows: row..rows.min(row + rows_at_once),
                    accumulate,
                };
                self.block(&block, sums);
                accumulate = true;
            }
        }
    }

    fn block(&self, block: &Block, sums: &mut [f32]) {
        let shape = self.shape;
        let axes = forward_axes(shape);
        let mut counts = shape.out_dims;
        counts[self.axis] = block.rows.len();
        let mut start: [isize; 3] = std::array::from_fn(|axis| axes[axis].taps[0].0);
        start[self.axis] += (block.rows.start * shape.stride[self.axis]) as isize;
        let len = std::array::from_fn(|axis| {
            (counts[axis] - 1) * shape.stride[axis]
                + (shape.kernel[axis] - 1) * shape.dilation[axis]
                + 1
        });
        // Vectors along points need the points of a tap side by side.
        let split = if self.panels.is_empty() { shape.stride } else { [1; 3] };
        let first = block.group * shape.in_group();
        let x = Images { data: self.x, channels: shape.in_channels, dims: shape.in_dims };
        let channels = first + block.channels.start..first + block.channels.end;
        let window = Window::new(start, len, split);
        let source = x.read(self.isa, block.images.clone(), channels, window, 0);

        // Offsets of each (channel, tap).
        let mut taps = Vec::with_capacity(block.channels.len() * self.taps + TILE_ROWS_MAX);
        for channel in 0..block.channels.len() {
            for z in 0..shape.kernel[0] {
                for y in 0..shape.kernel[1] {
                    for x in 0..shape.kernel[2] {
                        let at = [z, y, x];
                        let at = std::array::from_fn(|axis| at[axis] * shape.dilation[axis]);
                        let at = source.window.offset(at);
                        taps.push(offset_u32(channel * source.channel_step + at));
                    }
                }
            }
        }
        if self.panels.is_empty() {
            self.block_along_points(block, counts, &source, &taps, sums);
        } else {
            self.block_along_channels(block, counts, &source, taps, sums);
        }
    }

    /// Where the block's points start in an output plane.
    fn first_point(&self, block: &Block) -> usize {
        block.rows.start * (self.out_points / self.shape.out_dims[self.axis])
    }

    fn block_along_points(
        &self,
        block: &Block,
        counts: [usize; 3],
        source: &Source,
        taps: &[u32],
        sums: &mut [f32],
    ) {
        let shape = self.shape;
        let out_group = shape.out_group();
        let mut rows = Vec::with_capacity(counts[0] * counts[1]);
        for z in 0..counts[0] {
            for y in 0..counts[1] {
                let at = [z * shape.stride[0], y * shape.stride[1], 0];
                rows.push(offset_u32(source.window.offset(at)));
            }
        }
        let plane = block.images.start * shape.out_channels + block.group * out_group;
        let first = self.first_point(block);
        for output in (0..out_group).step_by(DOT_MAX) {
            let outputs = DOT_MAX.min(out_group - output);
            for tap in (0..taps.len()).step_by(DOT_MAX) {
                let width = DOT_MAX.min(taps.len() - tap);
                let args = ImageDotArgs {
                    images: block.images.len(),
                    height: rows.len(),
                    width: counts[2],
                    a: self.g[(plane + output) * self.out_points + first..].as_ptr(),
                    a_image_step: shape.out_channels * self.out_points,
                    a_step: self.out_points,
                    b: source.start,
                    b_image_step: source.image_step,
                    b_offsets: taps[tap..].as_ptr(),
                    b_rows: rows.as_ptr(),
                    c: sums[output * taps.len() + tap..].as_mut_ptr(),
                    c_step: taps.len(),
                    accumulate: block.accumulate,
                };
                // SAFETY: rows of `g` and, for each tap, of the window exist in full; the elements
                // lie in `sums`.
                unsafe { (self.kernels.image_dot)(outputs, width)(&args) };
            }
        }
    }

    fn block_along_channels(
        &self,
        block: &Block,
        counts: [usize; 3],
        source: &Source,
        mut taps: Vec<u32>,
        sums: &mut [f32],
    ) {
        let shape = self.shape;
        let out_group = shape.out_group();
        let points = counts.iter().product::<usize>();
        let depth = block.images.len() * points;
        let mut packed = Scratch::take(depth * self.padded + PACK_SLACK);
        let packed = packed.as_mut_ptr();
        let (mut output, mut at) = (0, 0);
        for registers in &self.panels {
            let width = registers * self.kernels.lanes;
            let outputs = width.min(out_group - output);
            for (i, image) in block.images.clone().enumerate() {
                let plane = image * shape.out_channels + block.group * out_group + output;
                let from = self.g[plane * self.out_points + self.first_point(block)..].as_ptr();
                let to = packed.wrapping_add(at * depth + i * points * width);
                // SAFETY: `outputs` planes with `points` points from there exist; the buffer holds
                // every panel.
                unsafe {
                    pack_rows(self.isa, from, self.out_points, outputs, points, to, width);
                }
            }
            output += width;
            at += width;
        }

        let pixels = source.pixel_table(counts, shape.stride, block.images.len());
        // The kernel takes full tiles: rows past the end repeat the last one, into a spare buffer.
        let total = taps.len();
        taps.resize(total + TILE_ROWS_MAX, taps[total - 1]);
        let mut spare = Scratch::take(TILE_ROWS_MAX * 4 * self.kernels.lanes);
        let mut at = 0;
        for registers in &self.panels {
            let width = registers * self.kernels.lanes;
            let (kernel, tile_rows) = (self.kernels.rows)(*registers);
            debug_assert!(tile_rows <= TILE_ROWS_MAX);
            let b = packed.wrapping_add(at * depth).cast_const();
            for row in (0..total).step_by(tile_rows) {
                let c = sums[row * self.padded + at..].as_mut_ptr();
                let mut args = RowArgs {
                    k: depth,
                    a: source.start,
                    rows: taps[row..].as_ptr(),
                    a_offsets: pixels.as_ptr(),
                    b,
                    b_step: width,
                    c,
                    c_step: self.padded,
                    accumulate: block.accumulate,
                };
                // SAFETY: tap plus pixel lies in the window for all of them; a full tile lies in
                // `sums`, a partial one goes through the spare buffer.
                unsafe {
                    if row + tile_rows <= total {
                        kernel(&args);
                        continue;
                    }
                    args.c = spare.as_mut_ptr();
                    args.c_step = width;
                    args.accumulate = false;
                    kernel(&args);
                    for r in 0..total - row {
                        for lane in 0..width {
                            let sum = *args.c.add(r * width + lane);
                            let to = c.add(r * self.padded + lane);
                            *to = if block.accumulate { *to + sum } else { sum };
                        }
                    }
                }
            }
            at += width;
        }
    }
}
