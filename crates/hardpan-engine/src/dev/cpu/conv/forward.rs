//! Forward and input gradient, as [`Plan`]s.
//!
//! A task takes some images, one group and a range of rows. It copies the window of its images that
//! it reads, then computes each phase in one of two ways:
//!
//! - *along channels*: vectors hold output channels. A tile is a few pixels by a few vectors; weights
//!   come packed by channel, pixels are broadcast straight from the window. Pixels near the border,
//!   for which some taps read padding, are computed apart without those taps (`skip`).
//! - *along pixels*, when there are few output channels: vectors hold neighbouring pixels. The window
//!   is split by stride so that the pixels a tap reads lie side by side; rows run on across the
//!   window's border, and what is computed there is dropped.
//!
//! Either way a tile goes to a small buffer first, and from there to its place in the result. Phases
//! that interleave are gathered in a staging buffer before.
use super::plan::{Phase, Plan};
use super::skip::{Class, Skips};
use super::window::{Copy, Images, Source, Window, Zip, offset_u32};
use super::{ConvDone, ConvTile};
use crate::dev::Mem;
use crate::dev::cpu::gemm::kernel::{Kernels, SegmentArgs, TapArgs};
use crate::dev::cpu::gemm::pack::{PACK_SLACK, pack_rows};
use crate::dev::cpu::gemm::scratch::Scratch;
use crate::dev::cpu::gemm::transpose::transpose;
use crate::dev::cpu::isa::{Isa, isa};
use crate::dev::cpu::pool::{SharedMut, parallel_for, threads};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// Pixels computed before the buffer is written out.
const CHUNK_PIXELS: usize = 512;
/// Channels computed before the buffer is written out.
const CHUNK_CHANNELS: usize = 64;
/// The longest run of products summed in registers when vectors hold channels.
const DEPTH: usize = 160;
/// Floats of image that a task should work on: a quarter of a 1 MB second-level cache.
const WINDOW_FLOATS: usize = 64 << 10;
/// More than this is never copied at a time unless one image is larger.
const WINDOW_FLOATS_MAX: usize = 1 << 20;
/// Weights (of a group) from which tasks rather share out the channels than work on few pixels each: 1 MB.
const LARGE_WEIGHTS: usize = 256 << 10;
/// Fewer products than this for a result are few.
const SHALLOW: usize = 48;
/// With fewer operations for each thread than this the caller does all.
const TASK_FLOPS: f64 = 300e3;
/// A thread gets several tasks where each is worth this many operations.
const TASK_FLOPS_WANTED: f64 = 1e6;

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

/// What the kernel of a convolution is read from.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    /// The memory that the weights lie in: there they stay packed for the next time.
    pub memory: Option<&'a Mem>,
    /// What was done to the weights before: kept forms of weights that were changed in different ways must not be taken for each other.
    pub form: &'static str,
    /// The weights, asked for once, if they are to be packed.
    pub data: &'a dyn Fn() -> &'a [f32],
}

/// Packed weights: kept beside the memory of the weights, or lent for one convolution.
pub(super) enum Packed {
    Kept(Arc<Mem>),
    Lent(Scratch),
}

impl Packed {
    pub fn as_ptr(&self) -> *const f32 {
        match self {
            Packed::Kept(block) => block.handle() as *const f32,
            Packed::Lent(scratch) => scratch.as_ptr(),
        }
    }
}

impl Weights<'_> {
    /// The weights as `pack` writes them to `floats` floats, kept under `key` if they can be.
    pub fn packed(
        &self,
        key: u64,
        floats: usize,
        pack: impl Fn(&[f32], SharedMut<'_, f32>),
    ) -> Packed {
        let kept = self.memory.and_then(|memory| {
            memory.derived().get(key, || {
                let block = Mem::alloc(memory.device(), floats * size_of::<f32>()).ok()?;
                // SAFETY: the block is that large, aligned to 64, and nobody else's.
                let packed = unsafe { SharedMut::from_raw(block.handle() as *mut f32, floats) };
                pack((self.data)(), packed);
                Some(block)
            })
        });
        kept.map_or_else(
            || {
                let mut scratch = Scratch::take(floats);
                pack((self.data)(), SharedMut::new(scratch.as_mut_slice()));
                Packed::Lent(scratch)
            },
            Packed::Kept,
        )
    }
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
    /// Packed weights, `[phase][group][panel][block of source channels][tap][channel][width]`.
    weights: *const f32,
    /// Source channels of a block, and which border taps are left out, for each phase.
    blocks: Vec<usize>,
    skips: Vec<Skips>,
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
    kernels: &'static Kernels,
    from: &[f32],
    w: Weights<'_>,
    to: SharedMut<'_, f32>,
    done: Option<ConvDone<'_>>,
) {
    let points = plan.to_dims.iter().product::<usize>();
    if plan.batch * plan.groups * plan.to_group * points == 0 {
        return;
    }
    let isa = isa();
    let along_channels = along_channels(plan, kernels.lanes);
    let panels = panels(plan.to_group, kernels, along_channels);
    let padded = panels.iter().map(|panel| panel.width).sum::<usize>();
    let mut phase_weights = Vec::with_capacity(plan.phases.len());
    let mut floats = 0;
    for phase in &plan.phases {
        phase_weights.push(floats);
        floats += plan.groups * plan.from_group * phase.taps() * padded;
    }
    let block = |phase: &Phase| {
        let most = (DEPTH / phase.taps().max(1)).clamp(1, plan.from_group.max(1));
        plan.from_group.div_ceil(plan.from_group.div_ceil(most).max(1)).max(1)
    };
    let skips = |phase: &Phase| {
        if along_channels {
            let (_, rows) = (kernels.segments)(panels[0].width / kernels.lanes);
            Skips::choose(plan, phase, rows, CHUNK_PIXELS)
        } else {
            Skips::none()
        }
    };
    let (blocks, skips) =
        (plan.phases.iter().map(block).collect(), plan.phases.iter().map(skips).collect());
    let mut runner = Runner {
        plan,
        isa,
        kernels,
        from,
        to: to.as_ptr(),
        done,
        along_channels,
        panels,
        weights: std::ptr::null(),
        phase_weights,
        blocks,
        skips,
        padded,
        axis: plan.to_dims.iter().position(|dim| *dim > 1).unwrap_or(2),
    };
    let floats = floats + PACK_SLACK;
    let packed =
        w.packed(runner.packing(w.form), floats, |w, packed| runner.pack_weights(w, packed));
    runner.weights = packed.as_ptr();
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
    // Few products for each result leave the transposition of what vectors along channels compute to be felt.
    let shallow = plan.from_group * phase.taps() < SHALLOW;
    channels >= if shallow { 1.1 } else { 0.9 } * share(points, run)
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
    /// Tells ways of packing apart: all that [`Runner::pack_weights`] goes by.
    fn packing(&self, form: &str) -> u64 {
        let mut hash = DefaultHasher::new();
        form.hash(&mut hash);
        let plan = self.plan;
        let sizes = [plan.groups, plan.from_group, plan.weight_to, plan.weight_from, self.padded];
        (std::ptr::from_ref(self.kernels) as usize, sizes, plan.kernel).hash(&mut hash);
        self.blocks.hash(&mut hash);
        self.panels.iter().for_each(|p| (p.channel, p.channels, p.width).hash(&mut hash));
        for phase in &plan.phases {
            phase.for_each_tap(plan.kernel, |_, tap| hash.write_usize(tap));
            hash.write_u8(1);
        }
        hash.finish()
    }

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
        let (start, block) = (self.phase_weights[phase], self.blocks[phase]);
        let phase = &self.plan.phases[phase];
        let mut taps = Vec::with_capacity(phase.taps());
        phase.for_each_tap(kernel, |_, tap| taps.push(tap));
        let depth = from_group * taps.len();
        let Panel { channel, channels, width, at } = *panel;
        let group_weights = groups_weights(self.plan);
        let w = &w[group * group_weights..][..group_weights];
        let start = start + (group * self.padded + at) * depth;
        // SAFETY: each task has its own panel.
        let panel = unsafe { packed.slice(start, depth * width) };
        // All taps of a block of channels, [channel][tap][width], of which the phase's are then put in order.
        let all = kernel.iter().product::<usize>();
        let mut rows = Scratch::take(block * all * width + PACK_SLACK);
        let rows = rows.as_mut_ptr();
        for (first, to) in (0..from_group)
            .step_by(block)
            .zip(panel.chunks_mut((block * taps.len() * width).max(1)))
        {
            let count = block.min(from_group - first);
            let from = w[channel * weight_to + first * weight_from..].as_ptr();
            // SAFETY: the rows exist in `w`: for each written channel, `all` weights of each read channel. A narrow panel
            // may write past its end, where the next channel's is written later, or where the slack is.
            unsafe {
                if weight_from == all {
                    // Channels read and taps lie in order.
                    pack_rows(self.isa, from, weight_to, channels, count * all, rows, width);
                } else {
                    for read in 0..count {
                        let (from, to) =
                            (from.add(read * weight_from), rows.add(read * all * width));
                        pack_rows(self.isa, from, weight_to, channels, all, to, width);
                    }
                }
            }
            for (at, to) in to.chunks_exact_mut(width).enumerate() {
                let row = at % count * all + taps[at / count];
                // SAFETY: the buffer holds `count * all` rows.
                to.copy_from_slice(unsafe {
                    std::slice::from_raw_parts(rows.add(row * width).cast_const(), width)
                });
            }
        }
    }

    fn run(&self) {
        let plan = self.plan;
        let rows = plan.to_dims[self.axis].div_ceil(plan.out_step[self.axis]);
        let floats = plan.from_group * plan.from_dims.iter().product::<usize>();
        let points = plan.to_dims.iter().product::<usize>();
        let mut row_parts = floats.div_ceil(WINDOW_FLOATS).clamp(1, rows);
        // Enough pixels that reading the weights once for them costs little.
        let for_weights = (CHUNK_PIXELS / points).min(WINDOW_FLOATS_MAX / floats.max(1));
        let mut images = (WINDOW_FLOATS / floats.max(1)).max(for_weights).clamp(1, plan.batch);
        images = plan.batch.div_ceil(plan.batch.div_ceil(images));
        if images > 1 {
            row_parts = 1;
        }
        let mut channel_parts = 1;
        let blocks = |images: usize| plan.batch.div_ceil(images) * plan.groups;
        let threads = threads();
        let parallel = threads > 1 && plan.flops >= 2.0 * TASK_FLOPS;
        if parallel {
            let wanted = (plan.flops / TASK_FLOPS_WANTED) as usize;
            let wanted = wanted.clamp(threads, threads * 4);
            if blocks(images) * row_parts < wanted {
                // Few pixels are quickly copied, and rows of a few results are slow to write.
                let few_pixels = plan.batch * points <= CHUNK_PIXELS;
                if self.along_channels && (few_pixels || groups_weights(plan) >= LARGE_WEIGHTS) {
                    // Each part copies the images again: where there are many, one for each thread is enough.
                    let parts = if few_pixels { wanted } else { threads };
                    channel_parts =
                        parts.div_ceil(blocks(images) * row_parts).min(self.panels.len());
                }
                if channel_parts == 1 {
                    let parts = wanted.div_ceil(plan.groups * row_parts);
                    images = images.min(plan.batch.div_ceil(parts)).max(1);
                }
            }
            let tasks = blocks(images) * row_parts * channel_parts;
            if tasks < wanted && channel_parts == 1 {
                row_parts = (row_parts * wanted.div_ceil(tasks)).clamp(1, rows);
            }
        }
        let parts = plan.groups * row_parts * channel_parts;
        let task = |task: usize| {
            let (block, rest) = (task / parts, task % parts);
            let (group, rest) =
                (rest / (row_parts * channel_parts), rest % (row_parts * channel_parts));
            let (part, channel_part) = (rest / channel_parts, rest % channel_parts);
            let first = block * images;
            let panels = self.panels.len();
            self.task(
                first..plan.batch.min(first + images),
                group,
                part * rows / row_parts..(part + 1) * rows / row_parts,
                &self.panels[channel_part * panels / channel_parts
                    ..(channel_part + 1) * panels / channel_parts],
            );
        };
        let tasks = plan.batch.div_ceil(images) * parts;
        if parallel {
            parallel_for(tasks, task);
        } else {
            (0..tasks).for_each(task);
        }
    }

    /// Computes the channels in `panels` of `group` of `images` for the points `q` in `rows` along `self.axis`.
    fn task(&self, images: Range<usize>, group: usize, rows: Range<usize>, panels: &[Panel]) {
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

        let (pixel0, pixels) = rows_written(plan, self.axis, &rows);
        let points = plan.to_dims.iter().product::<usize>();
        let channels = panels.iter().map(|panel| panel.channels).sum::<usize>();
        let channel0 = group * plan.to_group + panels[0].channel;
        let first_plane = images.start * plan.groups * plan.to_group + channel0;
        let result = Planes {
            start: self.to.wrapping_add(first_plane * points + pixel0),
            image_step: plan.groups * plan.to_group * points,
            channel_step: points,
        };
        if let [part] = &parts[..] {
            self.part(part, &source, images.len(), group, panels, &result);
        } else {
            let mut starts = Vec::with_capacity(parts.len());
            let mut total = 0;
            for part in &parts {
                starts.push(total);
                total += part.points();
            }
            let mut staging = Scratch::take(images.len() * channels * total);
            let staging = Planes {
                start: staging.as_mut_ptr(),
                image_step: channels * total,
                channel_step: total,
            };
            for (part, start) in parts.iter().zip(&starts) {
                let staging = Planes { start: staging.start.wrapping_add(*start), ..staging };
                self.part(part, &source, images.len(), group, panels, &staging);
            }
            self.interleave(&parts, &starts, images.len(), channels, &rows, &staging, &result);
        }
        if let Some(done) = self.done {
            done(ConvTile {
                image0: images.start,
                images: images.len(),
                channel0,
                channels,
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

    /// Where each tap of a part starts to read in the window.
    fn tap_offsets(&self, part: &Part<'_>, source: &Source) -> Vec<u32> {
        let mut taps = Vec::with_capacity(part.phase.taps());
        part.phase.for_each_tap(self.plan.kernel, |e, _| {
            taps.push(offset_u32(source.window.offset(std::array::from_fn(|axis| {
                (e[axis] + part.shift[axis] - source.window.start[axis]) as usize
            }))));
        });
        taps
    }

    fn weights(&self, part: &Part<'_>, group: usize, panel: &Panel) -> *const f32 {
        let depth = self.plan.from_group * part.phase.taps();
        let at = self.phase_weights[part.index] + (group * self.padded + panel.at) * depth;
        self.weights.wrapping_add(at)
    }

    fn part(
        &self,
        part: &Part<'_>,
        source: &Source,
        images: usize,
        group: usize,
        panels: &[Panel],
        to: &Planes,
    ) {
        if part.points() == 0 {
            return;
        }
        if part.phase.taps() == 0 || self.plan.from_group == 0 {
            for image in 0..images {
                for channel in 0..panels.iter().map(|panel| panel.channels).sum() {
                    // SAFETY: these points belong to this task.
                    unsafe { to.at(image, channel).write_bytes(0, part.points()) };
                }
            }
        } else if self.along_channels {
            self.part_along_channels(part, source, images, group, panels, to);
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
        panels: &[Panel],
        to: &Planes,
    ) {
        let plan = self.plan;
        let taps = self.tap_offsets(part, source);
        let mut classes =
            self.skips[part.index].classes(plan, part.phase, part.counts, part.shift, &taps);
        let points = part.points();
        let total = images * points;
        // Whole images, or whole rows.
        let unit = [points, part.counts[2], 1].into_iter().find(|unit| *unit <= CHUNK_PIXELS);
        let chunk = CHUNK_PIXELS / unit.unwrap_or(1) * unit.unwrap_or(1);
        let block = self.blocks[part.index];

        let first_channel = panels[0].channel;
        let width = panels.iter().map(|panel| panel.width).sum::<usize>();
        let buffer_width = CHUNK_CHANNELS.max(panels[0].width).min(width);
        // A row more than there are pixels: what tiles compute past the last pixel goes there.
        let mut buffer = Scratch::take((chunk + 1) * buffer_width);
        let buffer = buffer.as_mut_ptr();
        let panels_at_once = (CHUNK_CHANNELS / panels[0].width).max(1);
        for first in (0..total).step_by(chunk) {
            let count = chunk.min(total - first);
            self.list_pixels(&mut classes, part, source, first..first + count, buffer_width, chunk);
            for panels in panels.chunks(panels_at_once) {
                for channel in (0..plan.from_group).step_by(block) {
                    let run = block.min(plan.from_group - channel);
                    for panel in panels {
                        let (kernel, rows) =
                            (self.kernels.segments)(panel.width / self.kernels.lanes);
                        let at = channel * taps.len() * panel.width;
                        let b = self.weights(part, group, panel).wrapping_add(at);
                        let column = panel.at - panels[0].at;
                        for class in &classes {
                            for row in (0..class.pixels).step_by(rows) {
                                let args = SegmentArgs {
                                    segments: class.offsets.len(),
                                    run,
                                    a: source.start.wrapping_add(channel * source.channel_step),
                                    rows: class.rows[row..].as_ptr(),
                                    a_offsets: class.offsets.as_ptr(),
                                    a_step: source.channel_step,
                                    b,
                                    b_numbers: class.numbers.as_ptr(),
                                    b_step: run * panel.width,
                                    c: buffer.wrapping_add(column),
                                    c_rows: class.to_rows[row..].as_ptr(),
                                    accumulate: channel > 0,
                                };
                                // SAFETY: pixel plus tap lies in the window's copy for every pixel
                                // and tap of the class; the lists run on past the last pixel for a
                                // tile, and the buffer holds the chunk and a row more.
                                unsafe { kernel(&args) };
                            }
                        }
                    }
                }
                // From [pixel][channel] to [channel][pixel], image by image.
                let channel = panels[0].channel - first_channel;
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

    /// Lists for each class where its pixels of a chunk are read and written.
    fn list_pixels(
        &self,
        classes: &mut [Class],
        part: &Part<'_>,
        source: &Source,
        pixels: Range<usize>,
        buffer_width: usize,
        spare_row: usize,
    ) {
        for class in classes.iter_mut() {
            class.rows.clear();
            class.to_rows.clear();
        }
        let [_, height, width] = part.counts;
        let [step_z, step_y, step_x] = self.plan.step;
        let points = part.points();
        let mut pixel = pixels.start;
        while pixel < pixels.end {
            // The rest of a row of points.
            let (image, point) = (pixel / points, pixel % points);
            let (z, y, x) = (point / (height * width), point / width % height, point % width);
            let run = (width - x).min(pixels.end - pixel);
            let read =
                image * source.image_step + source.window.offset([z * step_z, y * step_y, 0]);
            offset_u32(read + width * step_x);
            for class in classes.iter_mut() {
                let [zs, ys, xs] = &class.span;
                if !zs.contains(&z) || !ys.contains(&y) {
                    continue;
                }
                let xs = xs.start.max(x)..xs.end.min(x + run);
                class.rows.extend(xs.clone().map(|x| (read + x * step_x) as u32));
                let to = |at| ((pixel - pixels.start + at - x) * buffer_width) as u32;
                class.to_rows.extend(xs.map(to));
            }
            pixel += run;
        }
        for class in classes.iter_mut() {
            class.finish((spare_row * buffer_width) as u32);
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
        // In the order of the packed weights.
        let offsets = self.tap_offsets(part, source);
        let (block, mut taps) = (self.blocks[part.index], Vec::new());
        for first in (0..plan.from_group).step_by(block) {
            for offset in &offsets {
                let channels = first..plan.from_group.min(first + block);
                taps.extend(channels.map(|c| offset_u32(c * source.channel_step) + offset));
            }
        }
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
        channels: usize,
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
            for channel in 0..channels {
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

/// The first pixel, and the number of pixels, of the points `q` in `rows` of all phases: a run, since all axes before `axis`
/// have one point.
pub(super) fn rows_written(plan: &Plan, axis: usize, rows: &Range<usize>) -> (usize, usize) {
    let inner = plan.to_dims[axis + 1..].iter().product::<usize>();
    let out_rows =
        rows.start * plan.out_step[axis]..(rows.end * plan.out_step[axis]).min(plan.to_dims[axis]);
    (out_rows.start * inner, out_rows.len() * inner)
}

/// The first point of each phase.
pub(super) fn first_points(plan: &Plan) -> impl Iterator<Item = [usize; 3]> {
    let [depth, height, width] =
        std::array::from_fn(|axis| plan.out_step[axis].min(plan.to_dims[axis]));
    (0..depth).flat_map(move |z| (0..height).flat_map(move |y| (0..width).map(move |x| [z, y, x])))
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
