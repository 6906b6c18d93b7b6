//! Running a lowered program: which blocks there are and how they are spread over threads.
//!
//! Tasks are fixed by the sizes alone, and each gets a [`Machine`] that runs the steps.
use super::machine::{Block, LINE, Line, Machine, Partials, Workspace};
use super::walk::Span;
use super::{Extent, Layout, Program};
use crate::dev::cpu::jit::Code;
use crate::dev::cpu::lanes::fold;
use crate::dev::cpu::pool::parallel_for;
use crate::dtype::Scalar;
use crate::kernel::Source;
use smallvec::SmallVec;
use std::cell::RefCell;

/// The memory of one launch. Buffers are bare pointers, since an output may be the memory of an input.
pub struct Buffers<'a> {
    /// Input buffers.
    pub inputs: &'a [*const u8],
    /// Output buffers.
    pub outputs: &'a [*mut u8],
    /// The contraction's result (epilogues).
    pub result: *const u8,
    /// Scalar arguments.
    pub args: &'a [Scalar],
}

/// A launch in progress, shared by the threads that run it.
pub struct Launch<'a> {
    pub(super) program: &'a Program,
    pub(super) buffers: Buffers<'a>,
    /// The values of extent One.
    pub(super) uniforms: SmallVec<[u64; 12]>,
    /// Bit per full store: computed in place.
    pub(super) direct: u64,
    /// Generated code, if there is any by now.
    pub(super) code: Option<&'a Code>,
    /// Outputs computed in place may be written past the caches, where they are aligned.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(super) stream: bool,
}
// SAFETY: the pointers are to buffers that outlive the launch; tasks write disjoint parts of the outputs and of the partials,
// and read of shared memory only what no task writes (or, in a donated buffer, what they write themselves).
unsafe impl Sync for Launch<'_> {}

thread_local! {
    static WORKSPACE: RefCell<Workspace> = RefCell::default();
}

impl<'a> Launch<'a> {
    /// Computes what is the same everywhere.
    pub fn new(program: &'a Program, buffers: Buffers<'a>) -> Launch<'a> {
        let mut launch = Launch {
            program,
            buffers,
            uniforms: SmallVec::from_elem(0, program.uniform_bytes / 8),
            direct: 0,
            code: program.code.get(program),
            stream: false,
        };
        if launch.code.is_some_and(Code::can_stream) {
            let Buffers { inputs, outputs, .. } = &launch.buffers;
            launch.stream = outputs.iter().all(|o| !inputs.contains(&o.cast_const()));
        }
        for (i, s) in program.full_stores.iter().enumerate().take(64) {
            if let Some(conflicts) = &s.direct {
                let out = launch.buffers.outputs[s.output];
                let clash = conflicts.iter().any(|c| launch.source(*c) == out.cast_const());
                launch.direct |= (!clash as u64) << i;
            }
        }
        launch.run_once();
        launch
    }

    pub(super) fn source(&self, source: Source) -> *const u8 {
        match source {
            Source::Input(i) => self.buffers.inputs[i],
            Source::Result => self.buffers.result,
        }
    }

    pub(super) fn arg_bits(&self, arg: usize) -> u64 {
        self.buffers.args[arg].as_i64() as u64
    }

    fn run_once(&mut self) {
        let program = self.program;
        if program.once.is_empty() {
            return;
        }
        let mut area = std::mem::take(&mut self.uniforms);
        let base = area.as_mut_ptr().cast::<u8>();
        // SAFETY: every place of a uniform value lies inside the area.
        let at: SmallVec<[*mut u8; 32]> = program
            .values
            .iter()
            .map(|v| if v.extent == Extent::One { unsafe { base.add(v.place) } } else { base })
            .collect();
        let mut at = at;
        {
            let mut machine = Machine {
                launch: self,
                at: &mut at,
                cached: &mut [],
                base,
                partials: Partials::NONE,
            };
            let one = Span { head: &[], start: 0, count: 1, inner: 0 };
            let block = Block { full: one, row: one, whole: false, segment: 1, first_row: 0 };
            for step in &program.once {
                machine.step(step, &block, 1);
            }
        }
        self.uniforms = area;
    }

    /// Runs the whole program.
    pub fn run(&self) {
        let p = self.program;
        if p.rows == 0 {
            return;
        }
        // About 20 microseconds of work for a task, a whole number of blocks.
        let grain = |cost: usize, block: usize| (100_000 / cost.max(1) / block).max(1);
        match p.layout {
            Layout::Flat => {
                let block = grain(p.cost, p.block) * p.block;
                parallel_for(p.rows.div_ceil(block), |t| {
                    let start = t * block;
                    self.flat(start, 1, 0, block.min(p.rows - start));
                });
            }
            Layout::Tiles => self.tiles(),
            Layout::Rows if p.straight => {
                let rows = grain(p.cost * p.k, p.block_rows) * p.block_rows;
                parallel_for(p.rows.div_ceil(rows), |t| {
                    let start = t * rows;
                    self.straight_rows(start, rows.min(p.rows - start));
                });
            }
            Layout::Rows => self.chunked_rows(),
            Layout::Cols => self.columns(),
        }
    }

    /// Runs a flat program on `rows` runs of `count` positions, the first at `start`, `stride` apart.
    pub fn flat(&self, start: usize, rows: usize, stride: usize, count: usize) {
        let p = self.program;
        self.with_machine(|m| {
            for row in 0..rows {
                let start = start + row * stride;
                let mut done = 0;
                while done < count {
                    let n = p.block.min(count - done);
                    let span = Span { head: &[], start: start + done, count: n, inner: 0 };
                    let block =
                        Block { full: span, row: span, whole: false, segment: n, first_row: 0 };
                    m.place_direct(&block);
                    m.straight_steps(&block);
                    m.full_stores(&block);
                    done += n;
                }
            }
        });
    }

    /// Whether the program was lowered for [`By::Pieces`](super::lower::By::Pieces).
    pub fn by_pieces(&self) -> bool {
        self.program.layout == Layout::Rows
    }

    /// Runs a program lowered for [`By::Pieces`](super::lower::By::Pieces) on `count` positions from `from` on of each of `rows` rows.
    pub fn pieces(&self, first: usize, rows: usize, from: usize, count: usize) {
        let group = self.program.block_rows;
        self.with_machine(|m| {
            for done in (0..rows).step_by(group) {
                m.pieces(first + done, group.min(rows - done), from..from + count);
            }
        });
    }

    fn tiles(&self) {
        let p = self.program;
        let (down, across) = (p.tile_rows.div_ceil(p.block), p.cols.div_ceil(p.block_rows));
        let tiles = p.outer.iter().product::<usize>() * down * across;
        let per_task = (100_000 / (p.cost * p.block * p.block_rows)).max(1);
        parallel_for(tiles.div_ceil(per_task), |t| {
            self.with_machine(|m| {
                for tile in t * per_task..((t + 1) * per_task).min(tiles) {
                    // Down first: neighbours share lines of what is contiguous that way.
                    let (rest, row) = (tile / down, tile % down * p.block);
                    let col = rest % across * p.block_rows;
                    let mut head = outer_index(&p.outer, rest / across);
                    head.push(row);
                    head.push(col);
                    let (rows, cols) =
                        (p.block.min(p.tile_rows - row), p.block_rows.min(p.cols - col));
                    let n = rows * cols;
                    let span = Span { head: &head, start: 0, count: n, inner: cols };
                    let block =
                        Block { full: span, row: span, whole: false, segment: n, first_row: 0 };
                    m.place_direct(&block);
                    m.straight_steps(&block);
                    m.full_stores(&block);
                }
            });
        });
    }

    fn straight_rows(&self, start: usize, count: usize) {
        let p = self.program;
        self.with_machine(|m| {
            let mut done = 0;
            while done < count {
                let rows = p.block_rows.min(count - done);
                let first = start + done;
                let block = Block {
                    full: Span { head: &[], start: first * p.k, count: rows * p.k, inner: 0 },
                    row: Span { head: &[], start: first, count: rows, inner: 0 },
                    whole: false,
                    segment: p.k,
                    first_row: 0,
                };
                m.place_direct(&block);
                m.straight_steps(&block);
                m.full_stores(&block);
                m.row_stores(&block);
                done += rows;
            }
        });
    }

    fn chunked_rows(&self) {
        let p = self.program;
        let segments = p.k.div_ceil(fold::ROW_SEGMENT);
        let mut memory = self.partials(segments);
        let partials = Partials { memory: memory.as_mut_ptr().cast(), segments };
        let group = if segments > 1 { 1 } else { p.block_rows };
        let per_task = (100_000 / (p.cost * p.k * group / segments).max(1)).max(1);
        let pieces = p.rows.div_ceil(group) * segments;
        parallel_for(pieces.div_ceil(per_task), |t| {
            self.with_machine(|m| {
                m.partials = partials;
                for piece in t * per_task..((t + 1) * per_task).min(pieces) {
                    let (g, segment) = (piece / segments, piece % segments);
                    let first = g * group;
                    m.chunked_rows(first, group.min(p.rows - first), segment);
                }
            });
        });
        if segments > 1 {
            self.finish_partials(partials);
        }
    }

    /// Memory for the results of segments, when there is more than one.
    fn partials(&self, segments: usize) -> Vec<[u64; 2]> {
        let p = self.program;
        if segments > 1 { vec![[0u64; 2]; p.folds * p.rows * segments] } else { Vec::new() }
    }

    /// The second phase: joins segments and runs what follows the reductions.
    fn finish_partials(&self, partials: Partials) {
        let p = self.program;
        if p.layout == Layout::Rows {
            let group = p.block_rows.min(64);
            parallel_for(p.rows.div_ceil(group), |t| {
                let first = t * group;
                let rows = group.min(p.rows - first);
                let row = Span { head: &[], start: first, count: rows, inner: 0 };
                let block = Block { full: row, row, whole: false, segment: 1, first_row: 0 };
                self.with_machine(|m| {
                    m.partials = partials;
                    m.after_partials(&block, first);
                });
            });
        } else {
            self.each_strip(1, |m, strip, _| {
                let head = strip.head();
                let block = strip.block(&head, 0, 0, p.cols);
                m.partials = partials;
                m.after_partials(&block, strip.outer * p.cols + strip.first);
            });
        }
    }

    /// Calls `f` for every strip of columns and segment, in parallel.
    fn each_strip(&self, segments: usize, f: impl Fn(&mut Machine, &Strip, usize) + Sync) {
        let p = self.program;
        let strips = p.cols.div_ceil(p.block_rows);
        let outer = p.rows / p.cols;
        let pieces = outer * strips * segments;
        let work = p.cost * p.k.div_ceil(segments) * p.block_rows;
        let per_task = (100_000 / work.max(1)).max(1);
        parallel_for(pieces.div_ceil(per_task), |t| {
            self.with_machine(|m| {
                for piece in t * per_task..((t + 1) * per_task).min(pieces) {
                    // Neighbours in memory one after the other, so that a thread's share is one piece of it.
                    let (rest, strip) = (piece / strips, piece % strips);
                    let (outer, segment) = (rest / segments, rest % segments);
                    let first = strip * p.block_rows;
                    let strip =
                        Strip { program: p, outer, first, width: p.block_rows.min(p.cols - first) };
                    f(m, &strip, segment);
                }
            });
        });
    }

    fn columns(&self) {
        let p = self.program;
        if p.straight {
            self.each_strip(1, |m, strip, _| {
                let head = strip.head();
                let block = strip.block(&head, 0, p.k, p.cols);
                m.place_direct(&block);
                m.straight_steps(&block);
                m.full_stores(&block);
                m.row_stores(&block);
            });
            return;
        }
        let segments = p.k.div_ceil(fold::COL_SEGMENT);
        let mut memory = self.partials(segments);
        let partials = Partials { memory: memory.as_mut_ptr().cast(), segments };
        self.each_strip(segments, |m, strip, segment| {
            m.partials = partials;
            m.chunked_cols(strip, segment);
        });
        if segments > 1 {
            self.finish_partials(partials);
        }
    }

    fn with_machine<R>(&self, f: impl FnOnce(&mut Machine) -> R) -> R {
        WORKSPACE.with(|w| {
            let mut fresh = Workspace::default();
            // A custom operation inside a launch could start another one on this thread.
            let mut held = w.try_borrow_mut();
            let w = held.as_deref_mut().unwrap_or(&mut fresh);
            let lines = self.program.workspace.div_ceil(LINE);
            if w.memory.len() < lines {
                w.memory.resize(lines, Line([0; LINE]));
            }
            let base = w.memory.as_mut_ptr().cast::<u8>();
            let uniforms = self.uniforms.as_ptr().cast::<u8>().cast_mut();
            w.at.clear();
            // SAFETY: places lie inside the workspace and the uniform area.
            w.at.extend(self.program.values.iter().map(|v| unsafe {
                if v.extent == Extent::One { uniforms.add(v.place) } else { base.add(v.place) }
            }));
            w.cached.clear();
            w.cached.resize(self.program.values.len(), (0, 0));
            let partials = Partials::NONE;
            f(&mut Machine { launch: self, at: &mut w.at, cached: &mut w.cached, base, partials })
        })
    }
}

/// Neighbouring rows along the last kept dimension.
pub(super) struct Strip<'a> {
    pub(super) program: &'a Program,
    pub(super) outer: usize,
    pub(super) first: usize,
    pub(super) width: usize,
}

impl Strip<'_> {
    /// The fixed indices: the other kept dimensions, then the first row.
    pub(super) fn head(&self) -> SmallVec<[usize; 6]> {
        let mut head = outer_index(&self.program.outer, self.outer);
        head.push(self.first);
        head
    }

    pub(super) fn block<'h>(
        &self,
        head: &'h [usize],
        from: usize,
        to: usize,
        cols: usize,
    ) -> Block<'h> {
        let c = self.width;
        let whole = c == cols;
        Block {
            full: Span {
                head,
                start: from * c,
                count: (to - from) * c,
                inner: if whole { 0 } else { c },
            },
            row: Span { head, start: 0, count: c, inner: c },
            whole,
            segment: c,
            first_row: 0,
        }
    }
}

/// Row-major position `flat` as indices.
fn outer_index(sizes: &[usize], mut flat: usize) -> SmallVec<[usize; 6]> {
    let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, sizes.len());
    for (i, size) in index.iter_mut().zip(sizes).rev() {
        *i = flat % size;
        flat /= size;
    }
    index
}
