//! 3x3 convolutions of stride 1 by tiles: Winograd's F(4x4, 3x3), which takes a quarter of the products.
//!
//! The part of an image that a block of tiles reads is turned to `[pixel][channel]` ([`Rows::gather`]).
//! Then every step has vectors along channels: tiles are transformed to 36 points ([`super::super::gemm::winograd`]), each point is a
//! small matrix product of tiles and channels, and what comes out is transformed to pixels. `forward` has the forward pass and the
//! input gradient, `weight` the weights' gradient.
//!
//! Rounding errors are a few times those of the plain sum (root mean square 1e-6 of the result for 256 channels). A value that is not
//! finite reaches all results of the tiles that read it. [`pays`] decides by the shape alone; `HARDPAN_CONV=direct` (default `auto`) turns it off.
mod forward;
mod weight;

use super::ConvShape;
use super::plan::Plan;
use super::window::Images;
use crate::dev::cpu::gemm::transpose::transpose;
use crate::dev::cpu::gemm::winograd::{Grid, POINTS, SIDE, TILE};
use crate::dev::cpu::isa::Isa;
pub(super) use forward::run;
use std::ops::Range;
use std::sync::OnceLock;
pub(super) use weight::run as weight_grad;

/// Floats of a cache line.
const LINE: usize = 16;

/// Which way convolutions go that could go either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// What is faster.
    Faster,
    /// Never by tiles.
    Direct,
    /// By tiles wherever possible.
    #[cfg(test)]
    Tiles,
}

#[cfg(test)]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Choice>> = const { std::cell::Cell::new(None) };
}

/// Runs `f` with the choice made for this thread.
#[cfg(test)]
pub(super) fn with_choice<R>(choice: Choice, f: impl FnOnce() -> R) -> R {
    let before = CHOSEN.replace(Some(choice));
    let result = f();
    CHOSEN.set(before);
    result
}

fn choice() -> Choice {
    static OF_PROCESS: OnceLock<Choice> = OnceLock::new();
    #[cfg(test)]
    if let Some(choice) = CHOSEN.get() {
        return choice;
    }
    *OF_PROCESS.get_or_init(|| match std::env::var("HARDPAN_CONV").as_deref().map(str::trim) {
        Ok("direct") => Choice::Direct,
        Ok("auto" | "") | Err(_) => Choice::Faster,
        Ok(other) => panic!("HARDPAN_CONV: expected `auto` or `direct`, got `{other}`"),
    })
}

/// How tiles lie over a result and what they read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tiling {
    batch: usize,
    /// Rows and columns read.
    from: [usize; 2],
    /// Rows and columns of the result.
    to: [usize; 2],
    /// Where the first tap of the first result reads.
    low: [isize; 2],
    /// Tiles along each axis.
    tiles: [usize; 2],
}

impl Tiling {
    /// The tiling of a convolution of one group, kernel 3x3 and steps of 1.
    fn of(plan: &Plan) -> Option<Tiling> {
        let [phase] = &plan.phases[..] else { return None };
        let [depth, ..] = &phase.axes;
        let flat = plan.from_dims[0] == 1 && depth.count == 1 && depth.taps[..] == [(0, 0)];
        if plan.groups != 1 || plan.step != [1; 3] || plan.out_step != [1; 3] || !flat {
            return None;
        }
        let low = |axis: usize| {
            let mut reads: Vec<isize> = phase.axes[axis].taps.iter().map(|tap| tap.0).collect();
            reads.sort_unstable();
            let low = *reads.first()?;
            (reads == [low, low + 1, low + 2]).then_some(low)
        };
        let to = [plan.to_dims[1], plan.to_dims[2]];
        Some(Tiling {
            batch: plan.batch,
            from: [plan.from_dims[1], plan.from_dims[2]],
            to,
            low: [low(1)?, low(2)?],
            tiles: to.map(|len| len.div_ceil(TILE)),
        })
    }

    fn per_image(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    fn total(&self) -> usize {
        self.batch * self.per_image()
    }

    /// Blocks of at most about `tiles` tiles, image after image, of even size.
    fn blocks(&self, tiles: usize) -> Blocks {
        let at_once = tiles / self.per_image().max(1);
        if at_once > 0 {
            let images = self.batch.div_ceil(self.batch.div_ceil(at_once).max(1)).max(1);
            return Blocks { images, rows: self.tiles[0] };
        }
        let rows = (tiles / self.tiles[1]).max(1);
        Blocks { images: 1, rows: self.tiles[0].div_ceil(self.tiles[0].div_ceil(rows)) }
    }
}

/// Rows of an image, some channels of them, as tiles read them.
struct Rows<'a> {
    images: &'a Images<'a>,
    channels: Range<usize>,
    /// Pixels that a tile reads along each axis.
    reads: usize,
    /// Where the first tile of an image reads.
    low: [isize; 2],
    /// Rows of tiles.
    tiles: Range<usize>,
}

impl Rows<'_> {
    /// The image's rows that the tiles read.
    fn rows(&self) -> Range<usize> {
        let height = self.images.dims[1] as isize;
        let at = |tile: usize, more: usize| {
            (self.low[0] + (tile * TILE + more) as isize).clamp(0, height) as usize
        };
        let start = at(self.tiles.start, 0);
        start..at(self.tiles.end - 1, self.reads).max(start)
    }

    /// Floats that [`gather`](Rows::gather) writes with `step` floats between pixels.
    fn floats(&self, step: usize) -> usize {
        self.rows().len() * self.images.dims[2] * step
    }

    /// Turns the rows of an image to `[row][column][channel]`, with `step` floats between pixels. Channels are filled up with zeros to
    /// a whole line.
    ///
    /// # Safety
    /// `to` holds [`floats`](Rows::floats), `step` is at least the channels rounded up to whole lines, and `isa` is available.
    unsafe fn gather(&self, isa: Isa, image: usize, to: *mut f32, step: usize) {
        let [_, height, width] = self.images.dims;
        let (channels, rows) = (self.channels.len(), self.rows());
        let pixels = rows.len() * width;
        if pixels == 0 {
            return;
        }
        let plane = image * self.images.channels + self.channels.start;
        let from = self.images.data[plane * height * width + rows.start * width..].as_ptr();
        let padding = channels.next_multiple_of(LINE) - channels;
        // SAFETY: each channel has these rows; the caller's promise.
        unsafe {
            transpose(isa, from, height * width, channels, pixels, to, step);
            if padding > 0 {
                (0..pixels).for_each(|p| to.add(p * step + channels).write_bytes(0, padding));
            }
        }
    }

    /// What the tile in row `y` (of all tiles) and column `x` reads from gathered `pixels`, and which of it is there.
    fn tile(
        &self,
        [y, x]: [usize; 2],
        pixels: *mut f32,
        step: usize,
    ) -> (Grid<*const f32>, [Range<usize>; 2]) {
        let [_, height, width] = self.images.dims;
        let start = [y, x].map(|at| at * TILE);
        let low: [isize; 2] = std::array::from_fn(|axis| self.low[axis] + start[axis] as isize);
        let there = std::array::from_fn(|axis| {
            let len = [height, width][axis] as isize;
            let inside = |at: isize| at.clamp(0, self.reads as isize) as usize;
            inside(-low[axis])..inside(len - low[axis])
        });
        let row = low[0] - self.rows().start as isize;
        let at = (row * width as isize + low[1]) * step as isize;
        (Grid::new(pixels.wrapping_offset(at).cast_const(), [width * step, step]), there)
    }
}

/// How a [`Tiling`] is cut: some whole images, or some rows of tiles of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocks {
    images: usize,
    rows: usize,
}

/// Tiles that are worked on together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    images: Range<usize>,
    rows: Range<usize>,
}

impl Blocks {
    fn count(&self, tiling: &Tiling) -> usize {
        tiling.batch.div_ceil(self.images) * self.row_blocks(tiling)
    }

    fn row_blocks(&self, tiling: &Tiling) -> usize {
        tiling.tiles[0].div_ceil(self.rows)
    }

    fn get(&self, tiling: &Tiling, index: usize) -> Block {
        let (image, row) = (index / self.row_blocks(tiling), index % self.row_blocks(tiling));
        let (image, row) = (image * self.images, row * self.rows);
        Block {
            images: image..tiling.batch.min(image + self.images),
            rows: row..tiling.tiles[0].min(row + self.rows),
        }
    }

    /// The most tiles that a block has.
    fn tiles(&self, tiling: &Tiling) -> usize {
        self.images * self.rows * tiling.tiles[1]
    }
}

impl Block {
    fn tiles(&self, tiling: &Tiling) -> usize {
        self.images.len() * self.rows.len() * tiling.tiles[1]
    }
}

/// Floats between pixels or tiles of so many channels: whole lines, of which an odd number where there are many, so that pixels do
/// not fall into the same sets of a cache.
fn channel_step(channels: usize) -> usize {
    let lines = channels.div_ceil(LINE);
    LINE * if lines > 4 { lines | 1 } else { lines }
}

/// Floats between points of so many tiles that lie `step` apart, likewise.
fn point_step(tiles: usize, step: usize) -> usize {
    channel_step(tiles * step)
}

/// Whether a forward pass or input gradient is computed by tiles.
pub(super) fn fits(plan: &Plan, lanes: usize) -> bool {
    let Some(tiling) = Tiling::of(plan) else { return false };
    allowed(&tiling, plan.from_group, plan.to_group, lanes, MARGIN)
}

/// Whether a weights' gradient is computed by tiles.
pub(super) fn weight_grad_fits(shape: &ConvShape, lanes: usize) -> bool {
    let Some(tiling) = Tiling::of(&Plan::forward(shape)) else { return false };
    allowed(&tiling, shape.in_channels, shape.out_channels, lanes, MARGIN)
}

/// Whether images of bf16 are better turned to f32 and convolved by tiles than multiplied in pairs, at twice the rate of f32.
pub(super) fn beats_pairs(plan: &Plan, lanes: usize) -> bool {
    let Some(tiling) = Tiling::of(plan) else { return false };
    allowed(&tiling, plan.from_group, plan.to_group, lanes, MARGIN / 2.0)
}

fn allowed(tiling: &Tiling, from: usize, to: usize, lanes: usize, share: f64) -> bool {
    if from * to * tiling.total() == 0 {
        return false;
    }
    match choice() {
        Choice::Faster => pays(tiling, from, to, lanes, share),
        Choice::Direct => false,
        #[cfg(test)]
        Choice::Tiles => true,
    }
}

/// Whether tiles take less than a share of the time of the plain sum, by counting what is done to whole registers.
fn pays(tiling: &Tiling, from: usize, to: usize, lanes: usize, share: f64) -> bool {
    // Products with what is not padding.
    let inside = |axis: usize| {
        let reads = |point: usize| {
            let low = point as isize + tiling.low[axis];
            (low..low + 3).filter(|at| (0..tiling.from[axis] as isize).contains(at)).count()
        };
        (0..tiling.to[axis]).map(reads).sum::<usize>()
    };
    let (from, registers) = (from as f64, to.div_ceil(lanes) as f64);
    let direct = (tiling.batch * inside(0) * inside(1)) as f64 * from * registers;
    let tiles = tiling.total() as f64;
    let points = POINTS as f64;
    let products = tiles * points * from * registers;
    // Reading, transforming and writing the 36 points of a register of channels, and those of the weights.
    let transforms = points * TRANSFORM * tiles * (from / lanes as f64 + registers);
    let weights = points * WEIGHTS * from * registers;
    products + transforms + weights < share * direct
}

/// What transforming a point costs, in products of registers; likewise for the weights, which come from afar.
const TRANSFORM: f64 = 5.0;
const WEIGHTS: f64 = 8.0;
/// Tiles are used where they should take less than this share of the time.
const MARGIN: f64 = 0.85;

const _: () = assert!(SIDE == TILE + 2);
