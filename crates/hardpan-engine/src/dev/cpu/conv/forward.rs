//! Forward and input gradient, as [`Plan`]s.
//!
//! A task takes some images, one group and a range of rows. It copies the window of its images that
//! it reads, then computes each phase in one of two ways:
//!
//! - *along channels*: vectors hold output channels. A tile is a few pixels by a few vectors; weights
//!   come packed by channel, pixels are broadcast straight from the window.
//! - *along pixels*, when there are few output channels: vectors hold neighbouring pixels. The window
//!   is split by stride so that the pixels a tap reads lie side by side; rows run on across the
//!   window's border, and what is computed there is dropped.
//!
//! Either way a tile goes to a small buffer first, and from there to its place in the result. Phases
//! that interleave are gathered in a staging buffer before.
use super::plan::{Phase, Plan};
use super::window::{Copy, Images, Source, TABLE_SLACK, Window, Zip, offset_u32};
use super::{ConvDone, ConvTile};
use crate::dev::cpu::gemm::kernel::{Kernels, RowArgs, TapArgs};
use crate::dev::cpu::gemm::pack::{PACK_SLACK, pack_rows, transpose};
use crate::dev::cpu::gemm::scratch::Scratch;
use crate::dev::cpu::isa::{Isa, isa};
use crate::dev::cpu::pool::{SharedMut, parallel_for, threads};
use std::ops::Range;

/// Pixels computed before the buffer is written out; a multiple of every row kernel's rows.
const CHUNK_PIXELS: usize = TABLE_SLACK;
/// Channels computed before the buffer is written out.
const CHUNK_CHANNELS: usize = 128;
/// The longest run of products summed in registers when vectors hold channels.
const DEPTH: usize = 160;
/// Floats of image that a task should work on: a quarter of a 1 MB second-level cache.
const WINDOW_FLOATS: usize = 64 << 10;
/// A task should be worth at least this many operations.
const TASK_FLOPS: f64 = 300e3;

/// More weights than this are packed in parallel.
const PARALLEL_PACK: usize = 64 << 10;

/// A panel of output channels, packed side by side.
#[derive(Clone, Copy)]
struct Panel {
    channel: usize,
    channels: usize,
    width: usize,
    /// Widths of the panels before.
    at: usize,
}

struct Runner<'a> {
    plan: &'a Plan,
    isa: Isa,
    kernels: &'static Kernels,
    from: &'a [f32],
    to: *mut f32,
    done: Option<ConvDone<'a>>,
    along_channels: bool,
    panels: Vec<Panel>,
    /// Packed weights, `[phase][group][panel][source channel][tap][width]`.
    weights: *const f32,
    /// Where each phase's weights start.
    phase_weights: Vec<usize>,
    /// Width of all panels.
    padded: usize,
    /// The axis whose range tasks share: the first with more than one result point.
    axis: usize,
}

// SAFETY: tasks write disjoint parts of the result; the packed weights are only read.
unsafe impl Sync for Runner<'_> {}

pub(super) fn run(
    plan: &Plan,
    from: &[f32],
    w: &[f32],
    to: SharedMut<'_, f32>,
    done: Option<ConvDone<'_>>,
) {
    let points = plan.to_dims.iter().product::<usize>();
    if plan.batch * plan.groups * plan.to_group * points == 0 {
        return;
    }
    let isa = isa();
    let kernels = Kernels::of(isa);
    let along_channels = along_channels(plan, kernels.lanes);
    let panels = panels(plan.to_group, kernels, along_channels);
    let padded = panels.iter().map(|panel| panel.width).sum::<usize>();
    let mut phase_weights = Vec::with_capacity(plan.phases.len());
    let mut floats = 0;
    for phase in &plan.phases {
        phase_weights.push(floats);
        floats += plan.groups * plan.from_group * phase.taps() * padded;
    }
    let mut weights = Scratch::take(floats + PACK_SLACK);
    let runner = Runner {
        plan,
        isa,
        kernels,
        from,
        to: to.as_ptr(),
        done,
        along_channels,
        panels,
        weights: weights.as_mut_ptr(),
        phase_weights,
        padded,
        axis: plan.to_dims.iter().position(|dim| *dim > 1).unwrap_or(2),
    };
    runner.pack_weights(w, SharedMut::new(weights.as_mut_slice()));
    runner.run();
}

/// Whether more lanes do useful work with vectors along channels than along pixels.
fn along_channels(plan: &Plan, lanes: usize) -> bool {
    let share = |used: usize, of: usize| used as f64 / of.next_multiple_of(lanes).max(1) as f64;
    let channels = share(plan.to_group, plan.to_group);
    let phase = &plan.phases[0];
    let mut run = 1;
    for (axis, step) in phase.axes.iter().zip(plan.step) {
        let (low, high) = axis
            .taps
            .iter()
            .fold((isize::MAX, isize::MIN), |(low, high), (e, _)| (low.min(*e), high.max(*e)));
        let border = high.saturating_sub(low).max(0) as usize / step;
        run = (run - 1) * (axis.count + border) + axis.count.max(1);
    }
    let points = phase.axes.iter().map(|axis| axis.count).product();
    channels >= 0.9 * share(points, run)
}

/// Cuts the channels of a group into panels that a kernel takes whole.
fn panels(channels: usize, kernels: &Kernels, along_channels: bool) -> Vec<Panel> {
    let mut panels = Vec::new();
    let (mut channel, mut at) = (0, 0);
    let even = channels.div_ceil(channels.div_ceil(kernels.rows_max));
    while channel < channels {
        let left = channels - channel;
        let width = if along_channels {
            kernels.lanes * kernels.row_panel(left.div_ceil(kernels.lanes))
        } else {
            even.min(left)
        };
        panels.push(Panel { channel, channels: width.min(left), width, at });
        channel += width;
        at += width;
    }
    panels
}

/// What a task computes of one phase.
struct Part<'a> {
    phase: &'a Phase,
    index: usize,
    /// Result points along each axis.
    counts: [usize; 3],
    /// Where the first of them starts to read, on top of the taps' own offsets.
    shift: [isize; 3],
}

impl Part<'_> {
    fn points(&self) -> usize {
        self.counts.iter().product()
    }
}

impl Runner<'_> {
    /// Packs all weights to `packed`, the memory that `self.weights` reads later.
    fn pack_weights(&self, w: &[f32], packed: SharedMut<'_, f32>) {
        let panels = self.panels.len();
        let groups = self.plan.groups;
        let task = |task: usize| {
            let (phase, rest) = (task / (groups * panels), task % (groups * panels));
            self.pack_panel(w, &packed, phase, rest / panels, &self.panels[rest % panels]);
        };
        let tasks = self.plan.phases.len() * groups * panels;
        if w.len() > PARALLEL_PACK {
            parallel_for(tasks, task);
        } else {
            (0..tasks).for_each(task);
        }
    }

    fn pack_panel(
        &self,
        w: &[f32],
        packed: &SharedMut<'_, f32>,
        phase: usize,
        group: usize,
        panel: &Panel,
    ) {
        let Plan { from_group, weight_to, weight_from, kernel, .. } = *self.plan;
        let start = self.phase_weights[phase];
        let phase = &self.plan.phases[phase];
        let mut taps = Vec::with_capacity(phase.taps());
        phase.for_each_tap(kernel, |_, tap| taps.push(tap));
        let depth = from_group * taps.len();
        let Panel { channel, channels, width, at } = *panel;
        let group_weights = groups_weights(self.plan);
        let w = &w[group * group_weights..][..group_weights];
        let start = start + (group * self.padded + at) * depth;
        if taps.len() == weight_from {
            // Channels read and taps lie in order: rows along k.
            let from = w[channel * weight_to..].as_ptr();
            // SAFETY: each task has its own panel, and `channels` rows of `depth` exist. Packing a
            // narrow panel may write past its end, where another task's starts, so that goes through
            // a buffer.
            unsafe {
                let to = packed.slice(start, depth * width);
                if width >= 8 {
                    let to = to.as_mut_ptr();
                    pack_rows(self.isa, from, weight_to, channels, depth, to, width);
                } else {
                    let mut rows = Scratch::take(depth * width + PACK_SLACK);
                    let rows_start = rows.as_mut_ptr();
                    pack_rows(self.isa, from, weight_to, channels, depth, rows_start, width);
                    to.copy_from_slice(&rows.as_mut_slice()[..depth * width]);
                }
            }
            return;
        }
        // SAFETY: each task has its own panel.
        let panel = unsafe { packed.slice(start, depth * width) };
        for (from, rows) in panel.chunks_exact_mut(taps.len().max(1) * width).enumerate() {
            for lane in 0..width {
                let at = (channel + lane) * weight_to + from * weight_from;
                for (row, tap) in taps.iter().enumerate() {
                    rows[row * width + lane] = if lane < channels { w[at + tap] } else { 0.0 };
                }
            }
        }
    }

    fn run(&self) {
        let plan = self.plan;
        let rows = plan.to_dims[self.axis].div_ceil(plan.out_step[self.axis]);
        let floats = plan.from_group * plan.from_dims.iter().product::<usize>();
        let mut row_parts = floats.div_ceil(WINDOW_FLOATS).clamp(1, rows);
        let mut images = (WINDOW_FLOATS / floats.max(1)).clamp(1, plan.batch);
        let tasks =
            |images: usize, row_parts: usize| plan.batch.div_ceil(images) * plan.groups * row_parts;
        let threads = threads();
        let parallel = threads > 1 && plan.flops >= 2.0 * TASK_FLOPS;
        if parallel {
            let wanted = (threads * 4).min((plan.flops / TASK_FLOPS) as usize);
            if tasks(images, row_parts) < wanted {
                let blocks = wanted.div_ceil(plan.groups * row_parts);
                images = images.min(plan.batch.div_ceil(blocks)).max(1);
            }
            if tasks(images, row_parts) < wanted {
                row_parts = (row_parts * wanted.div_ceil(tasks(images, row_parts))).clamp(1, rows);
            }
        }
        let task = |task: usize| {
            let (block, rest) =
                (task / (plan.groups * row_parts), task % (plan.groups * row_parts));
            let (group, part) = (rest / row_parts, rest % row_parts);
            let first = block * images;
            self.task(
                first..plan.batch.min(first + images),
                group,
                part * rows / row_parts..(part + 1) * rows / row_parts,
            );
        };
        let tasks = tasks(images, row_parts);
        if parallel {
            parallel_for(tasks, task);
        } else {
            (0..tasks).for_each(task);
        }
    }

    /// Computes all channels of `group` of `images` for the points `q` in `rows` along `self.axis`.
    fn task(&self, images: Range<usize>, group: usize, rows: Range<usize>) {
        let plan = self.plan;
        let parts: Vec<Part<'_>> = plan
            .phases
            .iter()
            .enumerate()
            .map(|(index, phase)| {
                let mut counts = [0, 1, 2].map(|axis: usize| phase.axes[axis].count);
                let count = counts[self.axis];
                counts[self.axis] = rows.end.min(count) - rows.start.min(count);
                let mut shift = [0; 3];
                shift[self.axis] = (rows.start * plan.step[self.axis]) as isize;
                Part { phase, index, counts, shift }
            })
            .collect();
        let window = self.window(&parts);
        // Vectors along pixels run past the last point.
        let slack = if self.along_channels { 0 } else { 4 * self.kernels.lanes };
        let first = group * plan.from_group;
        let images_read = Images {
            data: self.from,
            channels: plan.groups * plan.from_group,
            dims: plan.from_dims,
        };
        let channels = first..first + plan.from_group;
        let source = images_read.read(self.isa, images.clone(), channels, window, slack);

        // The result: a run of pixels, since all axes before `self.axis` have one point.
        let inner = plan.to_dims[self.axis + 1..].iter().product::<usize>();
        let out_rows = rows.start * plan.out_step[self.axis]
            ..(rows.end * plan.out_step[self.axis]).min(plan.to_dims[self.axis]);
        let (pixel0, pixels) = (out_rows.start * inner, out_rows.len() * inner);
        let points = plan.to_dims.iter().product::<usize>();
        let channel0 = group * plan.to_group;
        let first_plane = images.start * plan.groups * plan.to_group + channel0;
        let result = Planes {
            start: self.to.wrapping_add(first_plane * points + pixel0),
            image_step: plan.groups * plan.to_group * points,
            channel_step: points,
        };
        if let [part] = &parts[..] {
            self.part(part, &source, images.len(), group, &result);
        } else {
            let mut starts = Vec::with_capacity(parts.len());
            let mut total = 0;
            for part in &parts {
                starts.push(total);
                total += part.points();
            }
            let mut staging = Scratch::take(images.len() * plan.to_group * total);
            let staging = Planes {
                start: staging.as_mut_ptr(),
                image_step: plan.to_group * total,
                channel_step: total,
            };
            for (part, start) in parts.iter().zip(&starts) {
                let staging = Planes { start: staging.start.wrapping_add(*start), ..staging };
                self.part(part, &source, images.len(), group, &staging);
            }
            self.interleave(&parts, &starts, images.len(), &rows, &staging, &result);
        }
        if let Some(done) = self.done {
            done(ConvTile {
                image0: images.start,
                images: images.len(),
                channel0,
                channels: plan.to_group,
                pixel0,
                pixels,
            });
        }
    }

    /// The box that all parts together read; empty if they read nothing.
    fn window(&self, parts: &[Part<'_>]) -> Window {
        let mut low = [isize::MAX; 3];
        let mut high = [isize::MIN; 3];
        for part in parts.iter().filter(|part| part.points() > 0 && part.phase.taps() > 0) {
            for axis in 0..3 {
                let reach = ((part.counts[axis] - 1) * self.plan.step[axis]) as isize;
                for (e, _) in &part.phase.axes[axis].taps {
                    low[axis] = low[axis].min(part.shift[axis] + e);
                    high[axis] = high[axis].max(part.shift[axis] + e + reach);
                }
            }
        }
        let split = if self.along_channels { [1; 3] } else { self.plan.step };
        if low[0] == isize::MAX {
            return Window::new([0; 3], [0; 3], split);
        }
        Window::new(low, std::array::from_fn(|axis| (high[axis] - low[axis] + 1) as usize), split)
    }

    /// Offsets into the window of each product's input, `[source channel][tap]`.
    fn tap_table(&self, part: &Part<'_>, source: &Source) -> Vec<u32> {
        let mut taps = Vec::with_capacity(part.phase.taps());
        part.phase.for_each_tap(self.plan.kernel, |e, _| {
            taps.push(source.window.offset(std::array::from_fn(|axis| {
                (e[axis] + part.shift[axis] - source.window.start[axis]) as usize
            })));
        });
        let channels = 0..self.plan.from_group;
        let table = |channel| taps.iter().map(move |tap| channel * source.channel_step + tap);
        channels.flat_map(table).map(offset_u32).collect()
    }

    fn weights(&self, part: &Part<'_>, group: usize, panel: &Panel) -> *const f32 {
        let depth = self.plan.from_group * part.phase.taps();
        let at = self.phase_weights[part.index] + (group * self.padded + panel.at) * depth;
        self.weights.wrapping_add(at)
    }

    fn part(&self, part: &Part<'_>, source: &Source, images: usize, group: usize, to: &Planes) {
        if part.points() == 0 {
            return;
        }
        if part.phase.taps() == 0 || self.plan.from_group == 0 {
            for image in 0..images {
                for channel in 0..self.plan.to_group {
                    // SAFETY: these points belong to this task.
                    unsafe { to.at(image, channel).write_bytes(0, part.points()) };
                }
            }
        } else if self.along_channels {
            self.part_along_channels(part, source, images, group, to);
        } else {
            self.part_along_pixels(part, source, images, group, to);
        }
    }

    fn part_along_channels(
        &self,
        part: &Part<'_>,
        source: &Source,
        images: usize,
        group: usize,
        to: &Planes,
    ) {
        let plan = self.plan;
        let taps = self.tap_table(part, source);
        let depth = taps.len();
        // Runs of even length.
        let run_depth = depth.div_ceil(depth.div_ceil(DEPTH));
        let points = part.points();
        let mut pixels = source.pixel_table(part.counts, plan.step, images);
        // Row kernels always take full tiles; the rows past the end repeat the last pixel.
        let total = pixels.len();
        pixels.resize(total.next_multiple_of(CHUNK_PIXELS), pixels[total - 1]);

        let buffer_width = CHUNK_CHANNELS.min(self.padded);
        let mut buffer = Scratch::take(CHUNK_PIXELS * buffer_width);
        let buffer = buffer.as_mut_ptr();
        let panels_at_once = (CHUNK_CHANNELS / self.panels[0].width).max(1);
        for first in (0..total).step_by(CHUNK_PIXELS) {
            let count = CHUNK_PIXELS.min(total - first);
            for panels in self.panels.chunks(panels_at_once) {
                for k0 in (0..depth).step_by(run_depth) {
                    for panel in panels {
                        let (kernel, rows) = (self.kernels.rows)(panel.width / self.kernels.lanes);
                        let b = self.weights(part, group, panel).wrapping_add(k0 * panel.width);
                        let column = panel.at - panels[0].at;
                        for row in (0..count).step_by(rows) {
                            let args = RowArgs {
                                k: run_depth.min(depth - k0),
                                a: source.start,
                                rows: pixels[first + row..].as_ptr(),
                                a_offsets: taps[k0..].as_ptr(),
                                b,
                                b_step: panel.width,
                                c: buffer.wrapping_add(row * buffer_width + column),
                                c_step: buffer_width,
                                accumulate: k0 > 0,
                            };
                            // SAFETY: pixel plus tap lies in the window's copy for every pixel and
                            // tap of this part; the table and the buffer hold whole chunks.
                            unsafe { kernel(&args) };
                        }
                    }
                }
                // From [pixel][channel] to [channel][pixel], image by image.
                let channel = panels[0].channel;
                let channels = panels.iter().map(|panel| panel.channels).sum();
                let mut pixel = first;
                while pixel < first + count {
                    let (image, point) = (pixel / points, pixel % points);
                    let run = (points - point).min(first + count - pixel);
                    let from = buffer.wrapping_add((pixel - first) * buffer_width);
                    let to_start = to.at(image, channel).wrapping_add(point);
                    // SAFETY: `run` rows lie in the buffer; the points belong to this task.
                    unsafe {
                        transpose(
                            self.isa,
                            from,
                            buffer_width,
                            run,
                            channels,
                            to_start,
                            to.channel_step,
                        );
                    }
                    pixel += run;
                }
            }
        }
    }

    fn part_along_pixels(
        &self,
        part: &Part<'_>,
        source: &Source,
        images: usize,
        group: usize,
        to: &Planes,
    ) {
        let plan = self.plan;
        let lanes = self.kernels.lanes;
        let taps = self.tap_table(part, source);
        let [depth, height, width] = part.counts;
        let [_, plane_height, plane_width] = source.window.plane;
        // Points of the window from the first result point to the last, borders between included.
        let run = ((depth - 1) * plane_height + height - 1) * plane_width + width;
        let registers = self.kernels.registers(self.panels[0].width);
        let tile = registers * lanes;
        let row_step = run.next_multiple_of(tile);
        let mut buffer = Scratch::take(plan.to_group * row_step);
        let buffer = buffer.as_mut_ptr();
        for image in 0..images {
            let start = source.start.wrapping_add(image * source.image_step);
            for point in (0..run).step_by(tile) {
                let registers = (run - point).div_ceil(lanes).min(registers);
                for panel in &self.panels {
                    let args = TapArgs {
                        k: taps.len(),
                        a: self.weights(part, group, panel),
                        a_step: panel.width,
                        b: start.wrapping_add(point),
                        b_offsets: taps.as_ptr(),
                        c: buffer.wrapping_add(panel.channel * row_step + point),
                        c_step: row_step,
                        accumulate: false,
                    };
                    // SAFETY: each tap of the points below `run` lies in the window's copy, and the
                    // rest of the last register in the slack behind it.
                    unsafe { (self.kernels.taps)(panel.width, registers)(&args) };
                }
            }
            for channel in 0..plan.to_group {
                for z in 0..depth {
                    let from = channel * row_step + z * plane_height * plane_width;
                    let copy = Copy {
                        rows: height,
                        width,
                        from: (buffer.wrapping_add(from).cast_const(), plane_width),
                        to: (to.at(image, channel).wrapping_add(z * height * width), width),
                    };
                    // SAFETY: inside the buffer; the points belong to this task.
                    unsafe { copy.run(self.isa) };
                }
            }
        }
    }

    /// Writes the phases in `staging` to their points of the result.
    fn interleave(
        &self,
        parts: &[Part<'_>],
        starts: &[usize],
        images: usize,
        rows: &Range<usize>,
        staging: &Planes,
        result: &Planes,
    ) {
        let plan = self.plan;
        // Sizes of the part of a plane that this task writes, which starts at a first phase.
        let mut dims = plan.to_dims;
        dims[self.axis] = (rows.end * plan.out_step[self.axis]).min(dims[self.axis])
            - rows.start * plan.out_step[self.axis];
        let [_, height, width] = dims;
        let [step_z, step_y, step_x] = plan.out_step;
        let phases: [usize; 3] =
            std::array::from_fn(|axis| plan.out_step[axis].min(plan.to_dims[axis]));
        for image in 0..images {
            for channel in 0..plan.to_group {
                let from = staging.at(image, channel).cast_const();
                let to = result.at(image, channel);
                for row_phase in 0..phases[0] * phases[1] {
                    let (z, y) = (row_phase / phases[1], row_phase % phases[1]);
                    let index = row_phase * phases[2];
                    let [depth, rows, _] = parts[index].counts;
                    for q in 0..depth {
                        let to = to.wrapping_add(((q * step_z + z) * height + y) * width);
                        // First float and row step of the points of column phase `x`.
                        let column = |x: usize| {
                            let [_, rows, row] = parts[index + x].counts;
                            (from.wrapping_add(starts[index + x] + q * rows * row), row)
                        };
                        if step_x == 2 && phases[2] == 2 {
                            let (even, odd) = (column(0), column(1));
                            let to = (to, step_y * width);
                            // SAFETY: the phases together have each column of these rows once; the
                            // rows belong to this task.
                            unsafe { Zip { rows, width, even, odd, to }.run(self.isa) };
                            continue;
                        }
                        for x in 0..phases[2] {
                            let (from, row) = column(x);
                            for y in 0..rows {
                                for p in 0..row {
                                    // SAFETY: as above.
                                    unsafe {
                                        *to.add(y * step_y * width + p * step_x + x) =
                                            *from.add(y * row + p);
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Channel planes of some images in memory.
struct Planes {
    start: *mut f32,
    image_step: usize,
    channel_step: usize,
}

impl Planes {
    fn at(&self, image: usize, channel: usize) -> *mut f32 {
        self.start.wrapping_add(image * self.image_step + channel * self.channel_step)
    }
}

fn groups_weights(plan: &Plan) -> usize {
    plan.from_group * plan.to_group * plan.kernel.iter().product::<usize>()
}
