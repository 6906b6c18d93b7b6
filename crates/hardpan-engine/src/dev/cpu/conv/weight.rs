//! The weight gradient.
//!
//! `dw[o, c, k] = sum over images n and output points p of g[n, o, p] * x[n, c, p * stride + e_k]`
//!
//! The tile's rows are (channel, tap) pairs, broadcast from the window of `x`; its vectors are output
//! channels of `g`, packed `[point][o]`; the sum runs over points. So the tables of the forward pass
//! change places: rows are taps, products are pixels.
//!
//! Where the gradient is small the batch is cut into a fixed number of chunks, summed apart and then
//! added in order; where it is large, tasks take ranges of input channels instead. Both cuts depend
//! on the shape alone, so the bits do not depend on the number of threads.
use super::ConvShape;
use super::plan::forward_axes;
use super::window::{Images, Window, offset_u32};
use crate::dev::cpu::gemm::kernel::{Kernels, RowArgs};
use crate::dev::cpu::gemm::pack::{PACK_SLACK, pack_rows};
use crate::dev::cpu::gemm::scratch::Scratch;
use crate::dev::cpu::isa::{Isa, isa};
use crate::dev::cpu::pool::{SharedMut, parallel_for};
use std::ops::Range;

/// Chunks that the batch is summed in.
const CHUNKS: usize = 16;
/// Above this many gradient elements a group's channels are shared out instead of the batch.
const LARGE: usize = 64 << 10;
/// Output points that one pass sums: with 64 channels of `g`, a 64 KB block.
const POINTS: usize = 256;
/// A task should be worth at least this many operations.
const TASK_FLOPS: f64 = 1e6;

struct Runner<'a> {
    shape: &'a ConvShape,
    isa: Isa,
    kernels: &'static Kernels,
    x: &'a [f32],
    g: &'a [f32],
    /// Widths in registers of the panels of output channels.
    panels: Vec<usize>,
    /// Width of all panels in floats.
    padded: usize,
    taps: usize,
    out_points: usize,
    /// The axis whose range is cut when one image has too many points.
    axis: usize,
}

pub(super) fn run(shape: &ConvShape, x: &[f32], g: &[f32], dw: SharedMut<'_, f32>) {
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
    let isa = isa();
    let kernels = Kernels::of(isa);
    let mut registers = out_group.div_ceil(kernels.lanes);
    let mut panels = Vec::new();
    while registers > 0 {
        let width = [4, 2, 1].into_iter().find(|width| *width <= registers).unwrap_or(1);
        panels.push(width);
        registers -= width;
    }
    let padded = panels.iter().sum::<usize>() * kernels.lanes;
    let axis = shape.out_dims.iter().position(|dim| *dim > 1).unwrap_or(2);
    let runner = Runner { shape, isa, kernels, x, g, panels, padded, taps, out_points, axis };

    let large = in_group * taps * out_group > LARGE;
    let chunks = if large {
        1
    } else {
        CHUNKS.min(shape.batch).min((shape.flops() / TASK_FLOPS) as usize).max(1)
    };
    let channels_at_once = if large { (in_group / CHUNKS).max(1) } else { in_group };
    let channel_parts = in_group.div_ceil(channels_at_once);

    // Partial sums, [chunk][group][channel, tap][o].
    let group_rows = in_group * taps;
    let mut sums = Scratch::take(chunks * shape.groups * group_rows * padded);
    let sums = SharedMut::new(sums.as_mut_slice());
    parallel_for(chunks * shape.groups * channel_parts, |task| {
        let (chunk, rest) =
            (task / (shape.groups * channel_parts), task % (shape.groups * channel_parts));
        let (group, part) = (rest / channel_parts, rest % channel_parts);
        let first = part * channels_at_once;
        let channels = first..in_group.min(first + channels_at_once);
        let start = ((chunk * shape.groups + group) * in_group + channels.start) * taps * padded;
        // SAFETY: each task has its own rows.
        let sums = unsafe { sums.slice(start, channels.len() * taps * padded) };
        let images = chunk * shape.batch / chunks..(chunk + 1) * shape.batch / chunks;
        runner.task(images, group, channels, sums);
    });

    // Add the chunks in order, and turn [channel, tap][o] into [o][channel, tap].
    let outputs_at_once = 16.min(out_group);
    let output_parts = out_group.div_ceil(outputs_at_once);
    let finish = |task: usize| {
        let (group, part) = (task / output_parts, task % output_parts);
        let outputs = part * outputs_at_once..out_group.min((part + 1) * outputs_at_once);
        let start = (group * out_group + outputs.start) * group_rows;
        // SAFETY: each task has its own outputs; the sums are only read now.
        let (dw, sums) = unsafe {
            (dw.slice(start, outputs.len() * group_rows), sums.slice(0, sums.len()) as &[f32])
        };
        for row in 0..group_rows {
            let mut total = [0.0f32; 16];
            for chunk in 0..chunks {
                let at = ((chunk * shape.groups + group) * group_rows + row) * padded;
                let part = &sums[at + outputs.start..at + outputs.end];
                for (total, value) in total.iter_mut().zip(part) {
                    *total += value;
                }
            }
            for (o, total) in total[..outputs.len()].iter().enumerate() {
                dw[o * group_rows + row] = *total;
            }
        }
    };
    if chunks * shape.weight_len() > LARGE {
        parallel_for(shape.groups * output_parts, finish);
    } else {
        (0..shape.groups * output_parts).for_each(finish);
    }
}

impl Runner<'_> {
    /// Sums over `images` the rows of `channels` of `group`.
    fn task(&self, images: Range<usize>, group: usize, channels: Range<usize>, sums: &mut [f32]) {
        let shape = self.shape;
        // Whole images while they are small, ranges of rows of one image when it is large.
        let images_at_once = (POINTS / self.out_points).clamp(1, images.len().max(1));
        let rows = shape.out_dims[self.axis];
        let row_points = self.out_points / rows;
        let rows_at_once = (2 * POINTS / row_points).clamp(1, rows);
        let mut fresh = true;
        for image in images.clone().step_by(images_at_once) {
            let block = image..images.end.min(image + images_at_once);
            for row in (0..rows).step_by(rows_at_once) {
                let part = row..rows.min(row + rows_at_once);
                self.block(block.clone(), group, channels.clone(), part, sums, !fresh);
                fresh = false;
            }
        }
        if fresh {
            sums.fill(0.0);
        }
    }

    /// Adds the points `rows` (along `self.axis`) of `images`.
    fn block(
        &self,
        images: Range<usize>,
        group: usize,
        channels: Range<usize>,
        rows: Range<usize>,
        sums: &mut [f32],
        accumulate: bool,
    ) {
        let shape = self.shape;
        let (in_group, out_group) = (shape.in_group(), shape.out_group());
        let axes = forward_axes(shape);
        let mut counts = shape.out_dims;
        counts[self.axis] = rows.len();
        let mut start: [isize; 3] = std::array::from_fn(|axis| axes[axis].taps[0].0);
        start[self.axis] += (rows.start * shape.stride[self.axis]) as isize;
        let len = std::array::from_fn(|axis| {
            (counts[axis] - 1) * shape.stride[axis]
                + (shape.kernel[axis] - 1) * shape.dilation[axis]
                + 1
        });
        let window = Window::new(start, len, [1; 3]);
        let first = group * in_group;
        let x = Images { data: self.x, channels: shape.in_channels, dims: shape.in_dims };
        let read = first + channels.start..first + channels.end;
        let source = x.read(self.isa, images.clone(), read, window, 0);

        let points = counts.iter().product::<usize>();
        let depth = images.len() * points;
        let point_start = rows.start * (self.out_points / shape.out_dims[self.axis]);
        let mut packed = Scratch::take(depth * self.padded + PACK_SLACK);
        let packed = packed.as_mut_ptr();
        let mut output = 0;
        let mut at = 0;
        for registers in &self.panels {
            let width = registers * self.kernels.lanes;
            let outputs = width.min(out_group - output);
            for (i, image) in images.clone().enumerate() {
                let plane = image * shape.out_channels + group * out_group + output;
                let from = self.g[plane * self.out_points + point_start..].as_ptr();
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

        let pixels = source.pixel_table(counts, shape.stride, images.len());
        let mut taps = Vec::with_capacity(channels.len() * self.taps + 16);
        for channel in 0..channels.len() {
            for z in 0..shape.kernel[0] {
                for y in 0..shape.kernel[1] {
                    for x in 0..shape.kernel[2] {
                        let at = [z, y, x];
                        let at = std::array::from_fn(|axis| at[axis] * shape.dilation[axis]);
                        taps.push(offset_u32(
                            channel * source.channel_step + source.window.offset(at),
                        ));
                    }
                }
            }
        }
        let total = taps.len();
        // The kernel takes full tiles: rows past the end repeat the last one, into a spare buffer.
        taps.resize(total + 16, taps[total - 1]);
        let mut spare = Scratch::take(16 * 4 * self.kernels.lanes);
        let mut at = 0;
        for registers in &self.panels {
            let width = registers * self.kernels.lanes;
            let (kernel, tile_rows) = (self.kernels.rows)(*registers);
            let b = packed.wrapping_add(at * depth).cast_const();
            for row in (0..total).step_by(tile_rows) {
                let full = row + tile_rows <= total;
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
                    accumulate,
                };
                // SAFETY: tap plus pixel lies in the window's copy for all of them; a full tile lies
                // in `sums`, a partial one goes through the spare buffer.
                unsafe {
                    if full {
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
                            *to = if accumulate { *to + sum } else { sum };
                        }
                    }
                }
            }
            at += width;
        }
    }
}
