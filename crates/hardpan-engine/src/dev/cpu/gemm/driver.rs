//! From one product to tasks, blocks, panels and tiles.
use super::kernel::{DOT_MAX, DotArgs, Kernels, TileArgs};
use super::pack::{PACK_SLACK, PanelRange, Panels};
use super::scratch::Scratch;
use super::{Done, GemmShape, Tile};
use crate::dev::cpu::isa::{Isa, isa};
use crate::dev::cpu::pool::{SharedMut, parallel_for, threads};
use std::ops::Range;

/// The longest run of k that is summed in registers before C is written.
const DEPTH_MAX: usize = 384;
/// Columns of B packed at once: with `DEPTH_MAX`, about 1 MB, the size of a second-level cache.
const COLUMNS_MAX: usize = 768;
/// A task should be worth at least this many operations, or starting it costs more than it saves.
const TASK_FLOPS: f64 = 300e3;
/// Tasks of more than this many operations are split further, so that a late thread costs little.
const SPLIT_FLOPS: f64 = 8e6;
/// The hook is called once a region has at least this many elements: 16 KB, half of a first-level
/// cache.
const HOOK_ELEMENTS: usize = 4096;

struct Product<'a> {
    shape: GemmShape,
    isa: Isa,
    kernels: &'static Kernels,
    a: &'a dyn Panels,
    b: &'a dyn Panels,
    c: *mut f32,
    accumulate: bool,
    done: Option<Done<'a>>,
    /// Rows of a full tile.
    tile_rows: usize,
    /// Columns of a full tile.
    tile_cols: usize,
    /// k steps summed at a time.
    depth: usize,
}

// SAFETY: tasks write disjoint parts of `c`, and the rest is shared reading.
unsafe impl Sync for Product<'_> {}

/// Runs a product whose operands and sizes have been checked; `batch`, `m` and `n` are not 0. An element of an operand is
/// whatever `kernels` multiply.
pub(super) fn run(
    shape: GemmShape,
    kernels: &'static Kernels,
    a: &dyn Panels,
    b: &dyn Panels,
    c: SharedMut<'_, f32>,
    accumulate: bool,
    done: Option<Done<'_>>,
) {
    let isa = isa();
    // Even panels: 64 rows are 5 x 13, not 4 x 14 and 8.
    let panels = shape.m.div_ceil(kernels.rows_max);
    let tile_rows = shape.m.div_ceil(panels);
    let tile_cols = kernels.registers(tile_rows) * kernels.lanes;
    let depth = match shape.k.div_ceil(DEPTH_MAX) {
        0 | 1 => shape.k,
        blocks => shape.k.div_ceil(blocks).next_multiple_of(8),
    };
    let product = Product {
        shape,
        isa,
        kernels,
        a,
        b,
        c: c.as_ptr(),
        accumulate,
        done,
        tile_rows,
        tile_cols,
        depth,
    };
    product.run();
}

impl Product<'_> {
    fn run(&self) {
        let GemmShape { batch, m, n, .. } = self.shape;
        let flops = self.shape.flops();
        let threads = threads();
        if threads <= 1 || flops < 2.0 * TASK_FLOPS {
            for index in 0..batch {
                self.block(index, 0..m, 0..n);
            }
            return;
        }
        let wanted = ((flops / SPLIT_FLOPS) as usize)
            .max(threads)
            .min((flops / TASK_FLOPS) as usize)
            .min(threads * 4);
        if batch >= wanted {
            parallel_for(wanted, |task| {
                for index in task * batch / wanted..(task + 1) * batch / wanted {
                    self.block(index, 0..m, 0..n);
                }
            });
            return;
        }
        let (row_parts, col_parts) = self.grid(wanted.div_ceil(batch));
        let parts = row_parts * col_parts;
        parallel_for(batch * parts, |task| {
            let (index, part) = (task / parts, task % parts);
            let rows = share(m, self.tile_rows, part / col_parts, row_parts);
            let cols = share(n, self.tile_cols, part % col_parts, col_parts);
            self.block(index, rows, cols);
        });
    }

    /// How many parts to cut rows and columns into for about `wanted` tasks, so that as little as
    /// possible is packed twice: each row part packs all its B, each column part all its A.
    fn grid(&self, wanted: usize) -> (usize, usize) {
        let row_panels = self.shape.m.div_ceil(self.tile_rows);
        let col_panels = self.shape.n.div_ceil(self.tile_cols);
        (1..=wanted.min(row_panels))
            .map(|rows| (rows, wanted.div_ceil(rows).min(col_panels)))
            .min_by_key(|&(rows, cols)| {
                let missing = wanted.saturating_sub(rows * cols);
                (missing, rows * self.shape.n + cols * self.shape.m)
            })
            .unwrap_or((1, 1))
    }

    fn c(&self, index: usize, row: usize, col: usize) -> *mut f32 {
        let GemmShape { m, n, .. } = self.shape;
        // In bounds: `run` was given a C of batch x m x n.
        self.c.wrapping_add((index * m + row) * n + col)
    }

    fn finished(&self, batch: usize, rows: Range<usize>, cols: Range<usize>) {
        if let Some(done) = self.done {
            let (row0, col0) = (rows.start, cols.start);
            done(Tile { batch, row0, rows: rows.len(), col0, cols: cols.len() });
        }
    }

    /// Computes one block of C, over all of k.
    fn block(&self, index: usize, rows: Range<usize>, cols: Range<usize>) {
        if rows.is_empty() || cols.is_empty() {
            return;
        }
        if self.shape.k == 0 {
            if !self.accumulate {
                for row in rows.clone() {
                    // SAFETY: this row segment is inside C and belongs to this task.
                    unsafe { self.c(index, row, cols.start).write_bytes(0, cols.len()) };
                }
            }
            return self.finished(index, rows, cols);
        }
        if self.few_dots(index, &rows, &cols) {
            return;
        }
        self.packed(index, rows, cols);
    }

    /// Products with at most a few rows or columns whose operands both lie contiguous along k: plain
    /// dot products, nothing packed. Returns whether it did the work.
    fn few_dots(&self, index: usize, rows: &Range<usize>, cols: &Range<usize>) -> bool {
        let GemmShape { m, n, k, .. } = self.shape;
        if m.min(n) > DOT_MAX || k < 2 * self.kernels.lanes {
            return false;
        }
        let (Some((_, a_step)), Some((_, b_step))) =
            (self.a.along_k(index, 0), self.b.along_k(index, 0))
        else {
            return false;
        };
        // Streams that are a power of two apart fall into the same few lines of a cache: not too many.
        let cols_at_once = if m > 2 { 2 } else { DOT_MAX };
        for row0 in rows.clone().step_by(DOT_MAX) {
            let height = DOT_MAX.min(rows.end - row0);
            for col0 in cols.clone().step_by(cols_at_once) {
                let width = cols_at_once.min(cols.end - col0);
                let (Some((a, _)), Some((b, _))) =
                    (self.a.along_k(index, row0), self.b.along_k(index, col0))
                else {
                    unreachable!("both operands lie contiguous along k")
                };
                let c = self.c(index, row0, col0);
                let args =
                    DotArgs { k, a, a_step, b, b_step, c, c_step: n, accumulate: self.accumulate };
                // SAFETY: the rows exist in the checked operands, the tile in C, and it is ours.
                unsafe { (self.kernels.dot)(height, width)(&args) };
            }
        }
        self.finished(index, rows.clone(), cols.clone());
        true
    }

    /// The general path.
    fn packed(&self, index: usize, rows: Range<usize>, cols: Range<usize>) {
        let GemmShape { k, .. } = self.shape;
        let row_panels = rows.len().div_ceil(self.tile_rows);
        // Even blocks of whole panels.
        let width = cols.len().div_ceil(cols.len().div_ceil(COLUMNS_MAX));
        let width = width.next_multiple_of(self.tile_cols);
        let col_panels = cols.len().div_ceil(self.tile_cols);
        // Lanes that lie side by side already are read where they are when few tiles come back to
        // them; otherwise packing pays for itself.
        let b_in_place = row_panels <= 1 && self.b.in_place(index, 0, 0).is_some();
        let a_in_place = col_panels <= 2 && self.a.in_place(index, 0, 0).is_some();
        let mut a_panel = Scratch::take(self.depth * self.tile_rows + PACK_SLACK);
        let mut b_block = Scratch::take(self.depth * width + PACK_SLACK);
        let (a_panel, b_block) = (a_panel.as_mut_ptr(), b_block.as_mut_ptr());

        for col0 in cols.clone().step_by(width) {
            let block_cols = col0..cols.end.min(col0 + width);
            for k0 in (0..k).step_by(self.depth) {
                let depth = self.depth.min(k - k0);
                let accumulate = self.accumulate || k0 > 0;
                let last = k0 + depth == k;
                // Full panels in place need no packing; a partial one is padded to whole registers.
                for (panel, lane) in block_cols.clone().step_by(self.tile_cols).enumerate() {
                    let lanes = self.tile_cols.min(block_cols.end - lane);
                    if b_in_place && lanes == self.tile_cols {
                        continue;
                    }
                    let at = PanelRange { batch: index, lane, lanes, k: k0, depth };
                    let to = b_block.wrapping_add(panel * self.tile_cols * depth);
                    let width = lanes.next_multiple_of(self.kernels.lanes);
                    // SAFETY: the block has room for every panel of these columns.
                    unsafe { self.b.pack(self.isa, at, to, width) };
                }
                let mut unreported = rows.start;
                for row0 in rows.clone().step_by(self.tile_rows) {
                    let height = self.tile_rows.min(rows.end - row0);
                    let (a, a_step) = match self.a.in_place(index, row0, k0) {
                        Some(place) if a_in_place => place,
                        _ => {
                            let at = PanelRange {
                                batch: index,
                                lane: row0,
                                lanes: height,
                                k: k0,
                                depth,
                            };
                            // SAFETY: the buffer holds a full panel.
                            unsafe { self.a.pack(self.isa, at, a_panel, height) };
                            (a_panel.cast_const(), height)
                        }
                    };
                    for (panel, col) in block_cols.clone().step_by(self.tile_cols).enumerate() {
                        let columns = self.tile_cols.min(block_cols.end - col);
                        let padded = columns.next_multiple_of(self.kernels.lanes);
                        let (b, b_step) = match self.b.in_place(index, col, k0) {
                            Some(place) if b_in_place && columns == self.tile_cols => place,
                            _ => {
                                let packed = b_block.wrapping_add(panel * self.tile_cols * depth);
                                (packed.cast_const(), padded)
                            }
                        };
                        let args = TileArgs {
                            k: depth,
                            a,
                            a_step,
                            b,
                            b_step,
                            c: self.c(index, row0, col),
                            c_step: self.shape.n,
                            columns,
                            accumulate,
                        };
                        // SAFETY: panels were packed above or lie in the checked operands, and the
                        // tile lies in this task's block of C.
                        unsafe { (self.kernels.tile)(height, padded / self.kernels.lanes)(&args) };
                    }
                    let end = row0 + height;
                    if last
                        && ((end - unreported) * block_cols.len() >= HOOK_ELEMENTS
                            || end == rows.end)
                    {
                        self.finished(index, unreported..end, block_cols.clone());
                        unreported = end;
                    }
                }
            }
        }
    }
}

/// The `part`-th of `parts` ranges of whole panels that make up `0..len`.
fn share(len: usize, panel: usize, part: usize, parts: usize) -> Range<usize> {
    let panels = len.div_ceil(panel);
    let edge = |part: usize| (part * panels / parts * panel).min(len);
    edge(part)..edge(part + 1)
}
