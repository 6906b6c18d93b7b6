//! The weights' gradient: at each of the 36 points `sum over tiles of input[tile, c] * gradient[tile, o]`, which is then transformed.
//!
//! Blocks of tiles are transformed and added to the sums, in one of two ways. Where the sums are small, the batch is cut into chunks
//! with sums of their own, which are added in the end, so that a thread finds all that it needs in its second-level cache. Where
//! they are large there is one set of sums, and all threads share each block. The shape alone decides what chunks and blocks are, so
//! the bits do not depend on the number of threads.
use super::{Block, Blocks, LINE, Rows, Tiling, channel_step, point_step};
use crate::dev::cpu::conv::ConvShape;
use crate::dev::cpu::conv::plan::Plan;
use crate::dev::cpu::conv::window::Images;
use crate::dev::cpu::gemm::kernel::{Kernels, TileArgs};
use crate::dev::cpu::gemm::scratch::Scratch;
use crate::dev::cpu::gemm::transpose::transpose;
use crate::dev::cpu::gemm::winograd::{
    Grid, POINTS, SIDE, TILE, TransformArgs, TransformFn, WHOLE,
};
use crate::dev::cpu::isa::{Isa, isa};
use crate::dev::cpu::pool::{SharedMut, parallel_for, threads};
use std::ops::Range;

/// Sums of so many floats are small: half of a second-level cache of 1 MB, or little more.
const SMALL_SUMS: usize = 160 << 10;
/// Floats of points of a block beside small sums,
const SMALL_BLOCK: usize = 160 << 10;
/// and beside large ones: 8 MB, about a third-level cache's share.
const LARGE_BLOCK: usize = 2 << 20;
/// A block has more tiles than this where there are as many, whatever the size of their points.
const TILES_MIN: usize = 24;
const LARGE_TILES_MIN: usize = 96;
/// The most chunks, and the tiles that make one worth its sums.
const CHUNKS: usize = 16;
const CHUNK_TILES: usize = 256;
/// The longest run of tiles summed in registers.
const DEPTH: usize = 192;
/// From here on sums are rather shared out by channels, from input to result, if there is one block: 2 MB.
const SUMS_BY_CHANNELS: usize = 512 << 10;
/// With fewer operations than this the caller does all.
const PARALLEL_FLOPS: f64 = 2e6;

/// One side of the products: images, as the tiles read them.
struct Operand<'a> {
    images: Images<'a>,
    /// Pixels that a tile reads along each axis, and where the first tile starts.
    reads: usize,
    low: [isize; 2],
    transform: TransformFn,
}

/// Points of an operand's tiles in memory, `[point][tile][channel]`.
#[derive(Clone, Copy)]
struct Points {
    start: *mut f32,
    /// Floats between tiles, and between points.
    step: usize,
    point_step: usize,
}

// SAFETY: tasks read them, or write the tiles that are theirs.
unsafe impl Sync for Points {}

impl Points {
    fn floats(tiles: usize, channels: usize) -> usize {
        POINTS * point_step(tiles, channel_step(channels))
    }

    /// In memory of that many floats.
    fn new(start: *mut f32, tiles: usize, channels: usize) -> Points {
        let step = channel_step(channels);
        Points { start, step, point_step: point_step(tiles, step) }
    }
}

/// Sums in memory, `[point][channel][result channel]`.
#[derive(Clone, Copy)]
struct Sums {
    start: *mut f32,
    /// Floats between channels, and between points.
    step: usize,
    point_step: usize,
}

// SAFETY: tasks write the points or channels that are theirs.
unsafe impl Sync for Sums {}

impl Sums {
    fn floats(channels: usize, outputs: usize) -> usize {
        POINTS * point_step(channels, channel_step(outputs))
    }

    /// In memory of that many floats.
    fn new(start: *mut f32, channels: usize, outputs: usize) -> Sums {
        let step = channel_step(outputs);
        Sums { start, step, point_step: point_step(channels, step) }
    }

    fn at_channel(self, channel: usize) -> Sums {
        Sums { start: self.start.wrapping_add(channel * self.step), ..self }
    }
}

struct Runner<'a> {
    tiling: Tiling,
    isa: Isa,
    kernels: &'static Kernels,
    x: Operand<'a>,
    g: Operand<'a>,
    from: usize,
    to: usize,
    /// Rows of a kernel's tile.
    rows: usize,
    parallel: bool,
}

/// As [`crate::dev::cpu::conv::weight::run`], for shapes that [`super::weight_grad_fits`] says yes to.
pub(in super::super) fn run(
    shape: &ConvShape,
    kernels: &'static Kernels,
    x: &[f32],
    g: &[f32],
    dw: SharedMut<'_, f32>,
) {
    let tiling = Tiling::of(&Plan::forward(shape)).expect("asked before");
    let (from, to) = (shape.in_channels, shape.out_channels);
    let operand = |data, channels, dims, reads, low, transform| Operand {
        images: Images { data, channels, dims },
        reads,
        low,
        transform,
    };
    let transforms = &kernels.transforms;
    let runner = Runner {
        tiling,
        isa: isa(),
        kernels,
        x: operand(x, from, shape.in_dims, SIDE, tiling.low, transforms.input),
        g: operand(g, to, shape.out_dims, TILE, [0; 2], transforms.spread),
        from,
        to,
        rows: from.div_ceil(from.div_ceil(kernels.rows_max)),
        parallel: shape.flops() >= PARALLEL_FLOPS,
    };
    if Sums::floats(from, to) <= SMALL_SUMS {
        runner.in_chunks(&dw);
    } else {
        runner.together(&dw);
    }
}

impl Runner<'_> {
    fn each(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        if self.parallel { parallel_for(tasks, task) } else { (0..tasks).for_each(task) }
    }

    /// Blocks of about so many floats of points.
    fn blocks(&self, floats: usize, least: usize) -> Blocks {
        self.tiling.blocks((floats / (POINTS * (self.from + self.to))).max(least))
    }

    fn in_chunks(&self, dw: &SharedMut<'_, f32>) {
        let (tiling, from, to) = (&self.tiling, self.from, self.to);
        let blocks = self.blocks(SMALL_BLOCK, TILES_MIN);
        let (count, most) = (blocks.count(tiling), blocks.tiles(tiling));
        let chunks = (tiling.total() / CHUNK_TILES).clamp(1, CHUNKS).min(count);
        // Each part of the channels transforms the gradients again.
        let parts = if self.parallel { threads().div_ceil(chunks) } else { 1 };
        let at_once = from.div_ceil(parts).next_multiple_of(LINE);
        let parts = from.div_ceil(at_once);
        let chunk_floats = Sums::floats(from, to);
        let mut sums = Scratch::take(chunks * chunk_floats);
        let sums = SharedMut::new(sums.as_mut_slice());
        let sums_of =
            |chunk: usize| Sums::new(sums.as_ptr().wrapping_add(chunk * chunk_floats), from, to);
        self.each(chunks * parts, |task| {
            let (chunk, part) = (task / parts, task % parts);
            let channels = part * at_once..from.min((part + 1) * at_once);
            let x_floats = Points::floats(most, channels.len());
            let mut points = Scratch::take(x_floats + Points::floats(most, to));
            let x = Points::new(points.as_mut_ptr(), most, channels.len());
            let g = Points::new(points.as_mut_ptr().wrapping_add(x_floats), most, to);
            let sums = sums_of(chunk).at_channel(channels.start);
            let first = chunk * count / chunks;
            for index in first..(chunk + 1) * count / chunks {
                let block = blocks.get(tiling, index);
                self.transform(&self.x, &block, channels.clone(), x);
                self.transform(&self.g, &block, 0..to, g);
                let tiles = block.tiles(tiling);
                for point in 0..POINTS {
                    self.products(point, x, g, tiles, 0..channels.len(), sums, index > first);
                }
            }
        });
        self.each(from.div_ceil(LINE), |part| {
            let channels = part * LINE..from.min((part + 1) * LINE);
            let total = sums_of(0).at_channel(channels.start);
            let len = channels.len() * total.step;
            for chunk in 1..chunks {
                let more = sums_of(chunk).at_channel(channels.start);
                for point in 0..POINTS {
                    // SAFETY: these channels' sums, which belong to this task.
                    let (total, more) = unsafe {
                        (
                            std::slice::from_raw_parts_mut(
                                total.start.add(point * total.point_step),
                                len,
                            ),
                            std::slice::from_raw_parts(
                                more.start.add(point * more.point_step).cast_const(),
                                len,
                            ),
                        )
                    };
                    for (total, more) in total.iter_mut().zip(more) {
                        *total += *more;
                    }
                }
            }
            self.finish(channels, total, dw);
        });
    }

    fn together(&self, dw: &SharedMut<'_, f32>) {
        let (tiling, from, to) = (&self.tiling, self.from, self.to);
        let blocks = self.blocks(LARGE_BLOCK, LARGE_TILES_MIN);
        let (count, most) = (blocks.count(tiling), blocks.tiles(tiling));
        let x_floats = Points::floats(most, from);
        let mut points = Scratch::take(x_floats + Points::floats(most, to));
        let x = Points::new(points.as_mut_ptr(), most, from);
        let g = Points::new(points.as_mut_ptr().wrapping_add(x_floats), most, to);
        let floats = Sums::floats(from, to);
        let by_channels = count == 1 && floats >= SUMS_BY_CHANNELS;
        let mut sums = Scratch::take(if by_channels { 0 } else { floats });
        let sums = Sums::new(sums.as_mut_ptr(), from, to);
        for index in 0..count {
            let block = blocks.get(tiling, index);
            let tiles = block.tiles(tiling);
            self.transform_together(&block, x, g);
            if by_channels {
                let at_once = 2 * self.rows;
                self.each(from.div_ceil(at_once), |part| {
                    let channels = part * at_once..from.min((part + 1) * at_once);
                    let mut sums = Scratch::take(Sums::floats(channels.len(), to));
                    let sums = Sums::new(sums.as_mut_ptr(), channels.len(), to);
                    for point in 0..POINTS {
                        self.products(point, x, g, tiles, channels.clone(), sums, false);
                    }
                    self.finish(channels, sums, dw);
                });
                return;
            }
            let parts = threads().div_ceil(CHUNKS).min(from.div_ceil(self.rows));
            let at_once = from.div_ceil(parts).next_multiple_of(self.rows);
            self.each(POINTS * parts, |task| {
                let (point, part) = (task / parts, task % parts);
                let channels = (part * at_once).min(from)..from.min((part + 1) * at_once);
                let sums = sums.at_channel(channels.start);
                self.products(point, x, g, tiles, channels, sums, index > 0);
            });
        }
        self.each(from.div_ceil(LINE), |part| {
            let channels = part * LINE..from.min((part + 1) * LINE);
            self.finish(channels.clone(), sums.at_channel(channels.start), dw);
        });
    }

    /// Transforms both operands of a block, all threads together.
    fn transform_together(&self, block: &Block, x: Points, g: Points) {
        let width = self.tiling.tiles[1];
        // Whole images, or single rows of tiles of a large one.
        let images = block.images.len() > 1;
        self.each(if images { block.images.len() } else { block.rows.len() }, |unit| {
            let unit = if images {
                let image = block.images.start + unit;
                Block { images: image..image + 1, rows: block.rows.clone() }
            } else {
                let row = block.rows.start + unit;
                Block { images: block.images.clone(), rows: row..row + 1 }
            };
            let before = (unit.images.start - block.images.start) * block.rows.len()
                + unit.rows.start
                - block.rows.start;
            for (operand, to, channels) in [(&self.x, x, self.from), (&self.g, g, self.to)] {
                let start = to.start.wrapping_add(before * width * to.step);
                self.transform(operand, &unit, 0..channels, Points { start, ..to });
            }
        });
    }

    /// Transforms what the tiles of a block read from some channels.
    fn transform(&self, operand: &Operand<'_>, block: &Block, channels: Range<usize>, to: Points) {
        let rows = Rows {
            images: &operand.images,
            channels,
            reads: operand.reads,
            low: operand.low,
            tiles: block.rows.clone(),
        };
        let mut pixels = Scratch::take(rows.floats(to.step));
        let pixels = pixels.as_mut_ptr();
        let mut tile = to.start;
        for image in block.images.clone() {
            // SAFETY: the buffer holds the rows; the points of these tiles belong to this task.
            unsafe {
                rows.gather(self.isa, image, pixels, to.step);
                for y in block.rows.clone() {
                    for x in 0..self.tiling.tiles[1] {
                        let (from, there) = rows.tile([y, x], pixels, to.step);
                        let args = TransformArgs {
                            channels: rows.channels.len(),
                            from,
                            there,
                            to: Grid::new(tile, [SIDE * to.point_step, to.point_step]),
                            keep: [SIDE; 2],
                        };
                        (operand.transform)(&args);
                        tile = tile.add(to.step);
                    }
                }
            }
        }
    }

    /// Sums the products of a point over `tiles` tiles, for some of the channels of `x`, the first of which is that of `sums`.
    fn products(
        &self,
        point: usize,
        x: Points,
        g: Points,
        tiles: usize,
        channels: Range<usize>,
        sums: Sums,
        accumulate: bool,
    ) {
        let start = |points: Points| points.start.wrapping_add(point * points.point_step);
        let (x_start, g_start) = (start(x), start(g));
        let to = sums.start.wrapping_add(point * sums.point_step);
        let (lanes, outputs) = (self.kernels.lanes, self.to);
        let registers = self.kernels.registers(self.rows);
        for tile in (0..tiles).step_by(DEPTH) {
            let k = DEPTH.min(tiles - tile);
            for output in (0..outputs).step_by(registers * lanes) {
                let registers = (outputs - output).div_ceil(lanes).min(registers);
                for channel in channels.clone().step_by(self.rows) {
                    let rows = self.rows.min(channels.end - channel);
                    let row = channel - channels.start;
                    let args = TileArgs {
                        k,
                        a: x_start.wrapping_add(tile * x.step + channel),
                        a_step: x.step,
                        b: g_start.wrapping_add(tile * g.step + output),
                        b_step: g.step,
                        c: to.wrapping_add(row * sums.step + output),
                        c_step: sums.step,
                        columns: registers * lanes,
                        accumulate: accumulate || tile > 0,
                    };
                    // SAFETY: points of `tiles` tiles are there, with channels up to a whole line; the sums have as many columns.
                    unsafe { (self.kernels.tile)(rows, registers)(&args) };
                }
            }
        }
    }

    /// Transforms the sums of `channels`, which start at `sums`, and writes their gradients.
    fn finish(&self, channels: Range<usize>, sums: Sums, dw: &SharedMut<'_, f32>) {
        let (width, count) = (sums.step, channels.len());
        let mut rows = Scratch::take(count * 9 * width);
        let rows = rows.as_mut_ptr();
        for channel in 0..count {
            let from = sums.at_channel(channel).start.cast_const();
            let args = TransformArgs {
                channels: self.to,
                from: Grid::new(from, [SIDE * sums.point_step, sums.point_step]),
                there: WHOLE,
                to: Grid::new(rows.wrapping_add(channel * 9 * width), [3 * width, width]),
                keep: [3; 2],
            };
            // SAFETY: the sums of these channels are there, and the buffer holds 9 rows for each.
            unsafe { (self.kernels.transforms.weight_grad)(&args) };
        }
        let to = dw.as_ptr().wrapping_add(channels.start * 9);
        // SAFETY: these columns of the gradient belong to this task.
        unsafe { transpose(self.isa, rows, width, count * 9, self.to, to, self.from * 9) };
    }
}
