//! Forward pass and input gradient, as [`Plan`]s.
//!
//! A task takes a block of tiles and some panels of result channels: it transforms what the tiles read, multiplies each of the 36
//! points with the transformed weights of the panels, transforms the products to pixels, and turns those to the order of images.
use super::{Block, Blocks, Rows, Tiling, channel_step, point_step};
use crate::dev::cpu::conv::forward::Weights;
use crate::dev::cpu::conv::plan::Plan;
use crate::dev::cpu::conv::window::Images;
use crate::dev::cpu::conv::{ConvDone, ConvTile};
use crate::dev::cpu::gemm::kernel::{Kernels, SegmentArgs};
use crate::dev::cpu::gemm::pack::{PACK_SLACK, pack_rows};
use crate::dev::cpu::gemm::scratch::Scratch;
use crate::dev::cpu::gemm::transpose::transpose;
use crate::dev::cpu::gemm::winograd::{Grid, POINTS, SIDE, TILE, TransformArgs, WHOLE};
use crate::dev::cpu::isa::{Isa, isa};
use crate::dev::cpu::pool::{SharedMut, parallel_for, threads};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

/// Floats of points, before and after the products, that a block should have: a little more than a second-level cache of 1 MB.
const BLOCK_FLOATS: usize = 320 << 10;
/// So many tiles make it worth to read the weights again, whatever their size.
const TILES_MIN: usize = 48;
/// A block of fewer tiles than this wastes too much of the kernels' rows.
const TILES_LEAST: usize = 12;
/// The longest run of products summed in registers.
const DEPTH: usize = 160;
/// With fewer operations for each thread than this the caller does all.
const TASK_FLOPS: f64 = 300e3;
/// Source channels whose weights are packed at a time.
const PACK_CHANNELS: usize = 16;
/// More weights than this are packed in parallel.
const PARALLEL_PACK: usize = 16 << 10;
/// The table of a single segment.
static ZERO: [u32; 1] = [0];
/// At least the rows of every row kernel.
const TILE_ROWS_MAX: usize = 16;

/// Result channels side by side in the packed weights.
#[derive(Clone, Copy)]
struct Panel {
    channel: usize,
    channels: usize,
    width: usize,
}

struct Runner<'a> {
    plan: &'a Plan,
    tiling: Tiling,
    isa: Isa,
    kernels: &'static Kernels,
    from: Images<'a>,
    to: *mut f32,
    done: Option<ConvDone<'a>>,
    blocks: Blocks,
    parallel: bool,
    panels: Vec<Panel>,
    /// Packed weights, `[point][panel][source channel][width]`.
    weights: *const f32,
    /// Floats between points of the packed weights.
    weight_step: usize,
}

// SAFETY: tasks write disjoint parts of the result; the packed weights are only read.
unsafe impl Sync for Runner<'_> {}

/// As [`crate::dev::cpu::conv::forward::run`], for plans that [`super::fits`] says yes to.
pub(in super::super) fn run(
    plan: &Plan,
    kernels: &'static Kernels,
    from: &[f32],
    w: Weights<'_>,
    to: SharedMut<'_, f32>,
    done: Option<ConvDone<'_>>,
) {
    let tiling = Tiling::of(plan).expect("asked before");
    let parallel = threads() > 1 && plan.flops >= 2.0 * TASK_FLOPS;
    let blocks = blocks(plan, &tiling, if parallel { 2 * threads() } else { 1 });
    let panels = panels(plan.to_group, kernels, blocks.tiles(&tiling));
    let padded = panels.iter().map(|panel| panel.width).sum::<usize>();
    let weight_step = channel_step(plan.from_group * padded);
    let mut runner = Runner {
        plan,
        tiling,
        isa: isa(),
        kernels,
        from: Images { data: from, channels: plan.from_group, dims: plan.from_dims },
        to: to.as_ptr(),
        done,
        blocks,
        parallel,
        panels,
        weights: std::ptr::null(),
        weight_step,
    };
    let packed = w.packed(runner.packing(w.form), POINTS * weight_step, |w, packed| {
        runner.pack_weights(w, packed);
    });
    runner.weights = packed.as_ptr();
    runner.run();
}

/// Blocks of tiles, if possible `wanted` or more.
fn blocks(plan: &Plan, tiling: &Tiling, wanted: usize) -> Blocks {
    let tiles = (BLOCK_FLOATS / (POINTS * (plan.from_group + plan.to_group))).max(TILES_MIN);
    let blocks = tiling.blocks(tiles);
    if blocks.count(tiling) >= wanted {
        return blocks;
    }
    // Every block reads all weights.
    tiling.blocks(tiles.min(tiling.total().div_ceil(wanted).max(TILES_LEAST)))
}

/// Cuts the result channels into panels that a kernel takes whole, as wide as wastes few of its rows on blocks of `tiles` tiles.
fn panels(channels: usize, kernels: &Kernels, tiles: usize) -> Vec<Panel> {
    // Wide kernels have fewer rows, and read a little less for each product.
    let cost = |registers: usize| {
        let (_, rows) = (kernels.segments)(registers);
        tiles.next_multiple_of(rows) as f64 * (1.0 + 0.15 / registers as f64)
    };
    let widths = (0..=kernels.row_registers.ilog2()).rev().map(|bit| 1 << bit);
    let widest = widths.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(1);
    let (mut panels, mut channel) = (Vec::new(), 0);
    while channel < channels {
        let left = channels - channel;
        let registers = kernels.row_panel(left.div_ceil(kernels.lanes)).min(widest);
        let width = kernels.lanes * registers;
        panels.push(Panel { channel, channels: width.min(left), width });
        channel += width;
    }
    panels
}

impl Runner<'_> {
    /// Tells ways of packing apart: all that [`Runner::pack_weights`] goes by.
    fn packing(&self, form: &str) -> u64 {
        let mut hash = DefaultHasher::new();
        ("winograd", form).hash(&mut hash);
        let plan = self.plan;
        let sizes = [plan.from_group, plan.to_group, plan.weight_to, plan.weight_from];
        (std::ptr::from_ref(self.kernels) as usize, sizes, self.taps()).hash(&mut hash);
        self.panels.iter().for_each(|panel| panel.width.hash(&mut hash));
        hash.finish()
    }

    /// Number of the kernel's tap for each place that results read, in order.
    fn taps(&self) -> [usize; 9] {
        let [_, rows, columns] = &self.plan.phases[0].axes;
        let sorted = |taps: &[(isize, usize)]| {
            let mut taps = taps.to_vec();
            taps.sort_unstable();
            taps
        };
        let (rows, columns) = (sorted(&rows.taps), sorted(&columns.taps));
        std::array::from_fn(|at| rows[at / 3].1 * 3 + columns[at % 3].1)
    }

    /// Transforms all weights to `packed`, the memory that `self.weights` reads later.
    fn pack_weights(&self, w: &[f32], packed: SharedMut<'_, f32>) {
        let from = self.plan.from_group;
        let parts = from.div_ceil(PACK_CHANNELS);
        let taps = self.taps();
        let task = |task: usize| {
            let panel = &self.panels[task / parts];
            let first = task % parts * PACK_CHANNELS;
            self.pack_panel(w, &packed, &taps, panel, first..from.min(first + PACK_CHANNELS));
        };
        let tasks = self.panels.len() * parts;
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
        taps: &[usize; 9],
        panel: &Panel,
        channels: Range<usize>,
    ) {
        let Plan { from_group, weight_to, weight_from, .. } = *self.plan;
        let width = panel.width;
        let mut rows = Scratch::take(channels.len() * 9 * width + PACK_SLACK);
        let rows = rows.as_mut_ptr();
        let mut ordered = Scratch::take(9 * width);
        let ordered = ordered.as_mut_ptr();
        let start = panel.channel * weight_to + channels.start * weight_from;
        // SAFETY: `w` holds 9 weights of each of these channels, the buffers what is packed; each task has its own part of
        // `packed`, which was checked to hold 36 points of all panels.
        unsafe {
            let from = w.as_ptr().add(start);
            if weight_from == 9 {
                // Channels read and taps lie in order.
                let depth = channels.len() * 9;
                pack_rows(self.isa, from, weight_to, panel.channels, depth, rows, width);
            } else {
                for read in 0..channels.len() {
                    let (from, to) = (from.add(read * weight_from), rows.add(read * 9 * width));
                    pack_rows(self.isa, from, weight_to, panel.channels, 9, to, width);
                }
            }
            for (read, channel) in channels.enumerate() {
                for (at, tap) in taps.iter().enumerate() {
                    let row = rows.add((read * 9 + tap) * width);
                    ordered.add(at * width).copy_from_nonoverlapping(row, width);
                }
                let at = panel.channel * from_group + channel * width;
                let args = TransformArgs {
                    channels: width,
                    from: Grid::new(ordered.cast_const(), [3 * width, width]),
                    there: WHOLE,
                    to: Grid::new(
                        packed.as_ptr().add(at),
                        [SIDE * self.weight_step, self.weight_step],
                    ),
                    keep: [SIDE; 2],
                };
                (self.kernels.transforms.weight)(&args);
            }
        }
    }

    fn run(&self) {
        let (tiling, blocks) = (&self.tiling, &self.blocks);
        // Every part of the channels transforms the tiles again.
        let parts = match self.parallel {
            true => threads().div_ceil(blocks.count(tiling)).clamp(1, self.panels.len()),
            false => 1,
        };
        let task = |task: usize| {
            let block = blocks.get(tiling, task / parts);
            let (part, panels) = (task % parts, self.panels.len());
            self.task(block, &self.panels[part * panels / parts..(part + 1) * panels / parts]);
        };
        let tasks = blocks.count(tiling) * parts;
        if self.parallel {
            parallel_for(tasks, task);
        } else {
            (0..tasks).for_each(task);
        }
    }

    /// Computes the channels of `panels` for the tiles of `block`.
    fn task(&self, block: Block, panels: &[Panel]) {
        let tiling = &self.tiling;
        let (from, most) = (self.plan.from_group, self.blocks.tiles(tiling));
        let width = panels.iter().map(|panel| panel.width).sum::<usize>();
        let (read_step, write_step) = (channel_step(from), channel_step(width));
        let points_read = point_step(most, read_step);
        // A row more than there are tiles: what a kernel computes past the last tile goes there.
        let points_written = point_step(most + 1, write_step);
        let mut read = Scratch::take(POINTS * points_read);
        let read = read.as_mut_ptr();
        self.transform_inputs(&block, read, read_step, points_read);

        let mut written = Scratch::take(POINTS * points_written);
        let written = written.as_mut_ptr();
        let tiles = block.tiles(tiling);
        let rows = |step: usize, spare: usize| -> Vec<u32> {
            let rest = std::iter::repeat_n(spare, TILE_ROWS_MAX);
            (0..tiles).chain(rest).map(|tile| (tile * step) as u32).collect()
        };
        let (read_rows, write_rows) = (rows(read_step, tiles - 1), rows(write_step, most));
        let depth = from.div_ceil(from.div_ceil(DEPTH));
        for point in 0..POINTS {
            let (a, c) = (read.wrapping_add(point * points_read), point * points_written);
            for panel in panels {
                let (kernel, rows) = (self.kernels.segments)(panel.width / self.kernels.lanes);
                let b = point * self.weight_step + panel.channel * from;
                let c = written.wrapping_add(c + panel.channel - panels[0].channel);
                for channel in (0..from).step_by(depth) {
                    for row in (0..tiles).step_by(rows) {
                        let args = SegmentArgs {
                            segments: 1,
                            run: depth.min(from - channel),
                            a: a.wrapping_add(channel),
                            rows: read_rows[row..].as_ptr(),
                            a_offsets: ZERO.as_ptr(),
                            a_step: 1,
                            b: self.weights.wrapping_add(b + channel * panel.width),
                            b_numbers: ZERO.as_ptr(),
                            b_step: 0,
                            c,
                            c_rows: write_rows[row..].as_ptr(),
                            accumulate: channel > 0,
                        };
                        // SAFETY: the buffers hold the block's tiles, a row to spare, and the panel's columns; the lists run on
                        // past the last tile for a whole kernel.
                        unsafe { kernel(&args) };
                    }
                }
            }
        }
        self.write(&block, panels, written, write_step, points_written);
    }

    fn transform_inputs(&self, block: &Block, to: *mut f32, step: usize, point_step: usize) {
        let tiling = &self.tiling;
        let rows = Rows {
            images: &self.from,
            channels: 0..self.from.channels,
            reads: SIDE,
            low: tiling.low,
            tiles: block.rows.clone(),
        };
        let mut pixels = Scratch::take(rows.floats(step));
        let pixels = pixels.as_mut_ptr();
        let mut tile = to;
        for image in block.images.clone() {
            // SAFETY: the buffer holds the rows; there is space for the points of all tiles.
            unsafe {
                rows.gather(self.isa, image, pixels, step);
                for y in block.rows.clone() {
                    for x in 0..tiling.tiles[1] {
                        let (from, there) = rows.tile([y, x], pixels, step);
                        let args = TransformArgs {
                            channels: self.from.channels,
                            from,
                            there,
                            to: Grid::new(tile, [SIDE * point_step, point_step]),
                            keep: [SIDE; 2],
                        };
                        (self.kernels.transforms.input)(&args);
                        tile = tile.add(step);
                    }
                }
            }
        }
    }

    /// Transforms products to pixels and writes them to the result.
    fn write(
        &self,
        block: &Block,
        panels: &[Panel],
        products: *mut f32,
        step: usize,
        point_step: usize,
    ) {
        let tiling = &self.tiling;
        let [height, width] = tiling.to;
        let first_row = block.rows.start * TILE;
        let rows = (block.rows.end * TILE).min(height) - first_row;
        let (channel0, channels) =
            (panels[0].channel, panels.iter().map(|panel| panel.channels).sum::<usize>());
        let points = height * width;
        let mut pixels = Scratch::take(rows * width * step);
        let pixels = pixels.as_mut_ptr();
        let mut tile = 0;
        for image in block.images.clone() {
            for y in (0..rows).step_by(TILE) {
                for x in (0..width).step_by(TILE) {
                    let args = TransformArgs {
                        channels,
                        from: Grid::new(
                            products.wrapping_add(tile * step).cast_const(),
                            [SIDE * point_step, point_step],
                        ),
                        there: WHOLE,
                        to: Grid::new(
                            pixels.wrapping_add((y * width + x) * step),
                            [width * step, step],
                        ),
                        keep: [rows - y, width - x],
                    };
                    // SAFETY: the products of all tiles are there, and the buffer holds the pixels kept.
                    unsafe { (self.kernels.transforms.output)(&args) };
                    tile += 1;
                }
            }
            let plane = image * self.plan.to_group + channel0;
            let to = self.to.wrapping_add(plane * points + first_row * width);
            // SAFETY: the buffer holds these pixels; their place in the result belongs to this task.
            unsafe { transpose(self.isa, pixels, step, rows * width, channels, to, points) };
        }
        if let Some(done) = self.done {
            done(ConvTile {
                image0: block.images.start,
                images: block.images.len(),
                channel0,
                channels,
                pixel0: first_row * width,
                pixels: rows * width,
            });
        }
    }
}
