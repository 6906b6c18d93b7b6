//! Running a lowered program.
use super::walk::{Run, Span, Walk};
use super::{Access, Action, Extent, Fn1, Fn2, Layout, Program, Step, StoreStep, Val};
use crate::dev::cpu::lanes::{convert, fold, ops};
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
    program: &'a Program,
    buffers: Buffers<'a>,
    /// The values of extent One.
    uniforms: SmallVec<[u64; 16]>,
    /// Bit per full store: computed in place.
    direct: u64,
}
// SAFETY: the pointers are to buffers that outlive the launch; tasks write disjoint parts of the outputs and of the partials,
// and read of shared memory only what no task writes (or, in a donated buffer, what they write themselves).
unsafe impl Sync for Launch<'_> {}

/// The results of segments: one 16-byte slot per accumulator, row and segment.
#[derive(Clone, Copy)]
struct Partials {
    memory: *mut u8,
    segments: usize,
}
// SAFETY: each task writes the slots of its own rows and segments; they are read when all tasks are done.
unsafe impl Sync for Partials {}

impl Partials {
    const NONE: Partials = Partials { memory: std::ptr::null_mut(), segments: 1 };
}

/// Per-thread scratch memory: registers and the table of where each value is.
#[derive(Default)]
struct Workspace {
    memory: Vec<Line>,
    at: Vec<*mut u8>,
    cached: Vec<(usize, usize)>,
}
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

thread_local! {
    static WORKSPACE: RefCell<Workspace> = RefCell::default();
}

/// The block at hand.
struct Block<'a> {
    /// Positions of full values.
    full: Span<'a>,
    /// Positions of row values.
    row: Span<'a>,
    /// Strips across the whole dimension use the merged addresses.
    whole: bool,
    /// Elements that share a row operand's element (rows), or strip width (columns).
    segment: usize,
    /// Rows layout: the block's first row within the row registers.
    first_row: usize,
}

struct Machine<'a> {
    launch: &'a Launch<'a>,
    at: &'a mut [*mut u8],
    /// By value: which part of a periodic load its register holds (phase and count).
    cached: &'a mut [(usize, usize)],
    base: *mut u8,
    partials: Partials,
}

const LINE: usize = 64;

impl<'a> Launch<'a> {
    /// Computes what is the same everywhere.
    pub fn new(program: &'a Program, buffers: Buffers<'a>) -> Launch<'a> {
        let mut launch = Launch {
            program,
            buffers,
            uniforms: SmallVec::from_elem(0, program.uniform_bytes / 8),
            direct: 0,
        };
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

    fn source(&self, source: Source) -> *const u8 {
        match source {
            Source::Input(i) => self.buffers.inputs[i],
            Source::Result => self.buffers.result,
        }
    }

    fn arg_bits(&self, arg: usize) -> u64 {
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
                    for step in &p.before {
                        m.step(step, &block, n);
                    }
                    m.full_stores(&block);
                    done += n;
                }
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
                    for step in &p.before {
                        m.step(step, &block, n);
                    }
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
                for step in &p.before {
                    m.straight_step(step, &block);
                }
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
                    let (rest, segment) = (piece / segments, piece % segments);
                    let first = rest % strips * p.block_rows;
                    let strip = Strip {
                        program: p,
                        outer: rest / strips,
                        first,
                        width: p.block_rows.min(p.cols - first),
                    };
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
                for step in &p.before {
                    m.straight_step(step, &block);
                }
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
struct Strip<'a> {
    program: &'a Program,
    outer: usize,
    first: usize,
    width: usize,
}

impl Strip<'_> {
    /// The fixed indices: the other kept dimensions, then the first row.
    fn head(&self) -> SmallVec<[usize; 6]> {
        let mut head = outer_index(&self.program.outer, self.outer);
        head.push(self.first);
        head
    }

    fn block<'h>(&self, head: &'h [usize], from: usize, to: usize, cols: usize) -> Block<'h> {
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

impl Access {
    fn pick(&self, whole: bool) -> &Walk {
        match &self.whole {
            Some(w) if whole => w,
            _ => &self.walk,
        }
    }
}

// The methods below move blocks between registers and memory. What makes their unsafe code sound is the same throughout:
// `lower` gave every value a register of at least the block's elements, addresses come from kernel descriptions whose ranges
// the planner keeps inside the buffers, and loops accept operands that are their destination.
impl Machine<'_> {
    fn program(&self) -> &Program {
        self.launch.program
    }

    fn accumulator(&self, slot: usize) -> *mut u8 {
        let p = self.program();
        // SAFETY: inside the workspace.
        unsafe { self.base.add(p.fold_at + slot * p.fold_bytes) }
    }

    fn partial(&self, slot: usize, row: usize, segment: usize) -> *mut u8 {
        let p = self.program();
        let index = (slot * p.rows + row) * self.partials.segments + segment;
        // SAFETY: inside the partials, which hold folds * rows * segments slots of 16 bytes.
        unsafe { self.partials.memory.add(index * 16) }
    }

    /// Points values that may be computed in place to their output.
    fn place_direct(&mut self, block: &Block) {
        let p = self.launch.program;
        for (i, s) in p.full_stores.iter().enumerate() {
            if s.direct.is_none() || i >= 64 || self.launch.direct >> i & 1 == 0 {
                continue;
            }
            let value = &p.values[s.value];
            self.at[s.value] = match s.access.pick(block.whole).single(block.full) {
                Some((offset, step)) if step == 1 || block.full.count == 1 => {
                    // SAFETY: the offset lies inside the output.
                    unsafe {
                        self.launch.buffers.outputs[s.output].offset(offset * value.size as isize)
                    }
                }
                // SAFETY: inside the workspace.
                _ => unsafe { self.base.add(value.place) },
            };
        }
    }

    fn full_stores(&mut self, block: &Block) {
        let p = self.launch.program;
        for (i, s) in p.full_stores.iter().enumerate() {
            if s.direct.is_some() && i < 64 && self.launch.direct >> i & 1 == 1 {
                // SAFETY: inside the workspace.
                let register = unsafe { self.base.add(p.values[s.value].place) };
                if self.at[s.value] != register {
                    continue;
                }
            }
            self.store(s, block.full, block.whole, self.at[s.value]);
        }
    }

    fn row_stores(&mut self, block: &Block) {
        let p = self.launch.program;
        for s in &p.row_stores {
            self.store(s, block.row, false, self.at[s.value]);
        }
    }

    fn store(&self, s: &StoreStep, span: Span, whole: bool, src: *mut u8) {
        let p = self.program();
        let out = self.launch.buffers.outputs[s.output];
        let size = s.dtype.size();
        let walk = s.access.pick(whole);
        // SAFETY: see the note above; the spare room holds a block.
        unsafe {
            if let Some((offset, step)) = walk.single(span)
                && (step == 1 || span.count == 1)
            {
                let dst = out.offset(offset * size as isize);
                match s.convert {
                    Some(f) => f(dst, src, span.count),
                    None => std::ptr::copy(src, dst, span.count * size),
                }
                return;
            }
            let packed = match s.convert {
                Some(f) => {
                    let spare = self.base.add(p.spare_at);
                    f(spare, src, span.count);
                    spare
                }
                None => src,
            };
            match walk.steps() {
                Some((1, step)) if p.layout == Layout::Tiles && step != 1 => {
                    let offset = walk.single(Span { count: 1, ..span }).expect("one").0;
                    let dst = out.offset(offset * size as isize);
                    let (rows, cols) = (span.count / span.inner, span.inner);
                    convert::transpose(size, dst, step, packed, cols as isize, cols, rows);
                }
                _ => walk.plain_runs(span, |offset, at, len, step| {
                    let dst = out.offset(offset * size as isize);
                    let src = packed.add(at * size);
                    if step == 1 {
                        std::ptr::copy(src, dst, len * size);
                    } else {
                        convert::scatter(size, dst, step, src, len);
                    }
                }),
            }
        }
    }

    /// A step of a straight program with reductions.
    fn straight_step(&mut self, step: &Step, block: &Block) {
        let p = self.launch.program;
        let k = block.full.count / block.row.count;
        match &step.action {
            Action::Fold(f, a, slot) => {
                let (dst, src) = (self.at[step.out], self.at[*a]);
                // SAFETY: see the note above.
                unsafe {
                    if p.layout == Layout::Rows {
                        (f.rows)(dst, src, block.row.count, k);
                    } else {
                        self.fold_cols_at_once(f, dst, src, k, block.segment, *slot);
                    }
                }
            }
            Action::ArgFold(f, a, slot) => {
                let (dst, src) = (self.at[step.out], self.at[*a]);
                self.start_arg(*slot, block.segment);
                // SAFETY: see the note above.
                unsafe {
                    if p.layout == Layout::Rows {
                        for r in 0..block.row.count {
                            let mut best = [u64::MAX; 2];
                            let best = best.as_mut_ptr().cast::<u8>();
                            (f.more)(best, src.add(r * k * f.size), k, 0);
                            (f.join)(dst.add(r * 8), best, 1);
                        }
                    } else {
                        let (values, indices) = self.arg_columns(*slot);
                        (f.cols)(values, indices, src, (k, block.segment), 0);
                        std::ptr::copy_nonoverlapping(indices.cast::<u8>(), dst, block.segment * 8);
                    }
                }
            }
            _ => self.step(step, block, self.count(step, block)),
        }
    }

    fn count(&self, step: &Step, block: &Block) -> usize {
        match self.program().values[step.out].extent {
            Extent::Full => block.full.count,
            _ => block.row.count,
        }
    }

    /// The two halves of a column accumulator.
    fn halves(&self, slot: usize) -> (*mut u8, *mut u8) {
        let first = self.accumulator(slot);
        // SAFETY: inside the accumulator.
        (first, unsafe { first.add(self.program().fold_bytes / 2) })
    }

    fn arg_columns(&self, slot: usize) -> (*mut u8, *mut i64) {
        let (values, indices) = self.halves(slot);
        (values, indices.cast())
    }

    fn start_arg(&self, slot: usize, c: usize) {
        if self.program().layout == Layout::Cols {
            let (_, indices) = self.arg_columns(slot);
            for j in 0..c {
                // SAFETY: the accumulator holds an index per row of the strip.
                unsafe { indices.add(j).write(-1) };
            }
        }
    }

    /// Folds `k * c` elements in the order of [`fold`]: runs, segments, pairs of segments.
    unsafe fn fold_cols_at_once(
        &self,
        f: &fold::Fold,
        dst: *mut u8,
        src: *const u8,
        k: usize,
        c: usize,
        slot: usize,
    ) {
        let (run, total) = self.halves(slot);
        let p = self.program();
        let segments = k.div_ceil(fold::COL_SEGMENT);
        let start = (&raw const f.start).cast::<u8>();
        // SAFETY: see the note above; the segments' results have room behind the accumulators.
        unsafe {
            let results = self.base.add(p.fold_at + p.folds * p.fold_bytes);
            for s in 0..segments {
                convert::fill(f.size, total, start, c);
                let end = k.min((s + 1) * fold::COL_SEGMENT);
                let mut i = s * fold::COL_SEGMENT;
                while i < end {
                    let n = fold::COL_RUN.min(end - i);
                    convert::fill(f.size, run, start, c);
                    (f.cols)(run, src.add(i * c * f.size), n, c);
                    (f.both)(total, total, run, c);
                    i += n;
                }
                if segments > 1 {
                    let at = results.add(s * f.size);
                    convert::scatter(f.size, at, segments as isize, total, c);
                }
            }
            if segments == 1 {
                std::ptr::copy_nonoverlapping(total, dst, c * f.size);
            } else {
                for j in 0..c {
                    let at = results.add(j * segments * f.size);
                    (f.join)(dst.add(j * f.size), at, segments);
                }
            }
        }
    }

    /// Rows `first..first + rows`, one segment of each.
    fn chunked_rows(&mut self, first: usize, rows: usize, segment: usize) {
        let p = self.launch.program;
        let row = Span { head: &[], start: first, count: rows, inner: 0 };
        let rows_block = Block { full: row, row, whole: false, segment: 1, first_row: 0 };
        for step in &p.before {
            self.step(step, &rows_block, rows);
        }
        let from = segment * fold::ROW_SEGMENT;
        let to = p.k.min(from + fold::ROW_SEGMENT);
        for r in 0..rows {
            for step in &p.chunk {
                match &step.action {
                    Action::Fold(f, _, slot) => {
                        let start = (&raw const f.start).cast::<u8>();
                        // SAFETY: 64 accumulators.
                        unsafe { convert::fill(f.size, self.accumulator(*slot), start, 64) };
                    }
                    Action::ArgFold(_, _, slot) => {
                        // SAFETY: one `Best`, whose index -1 says that it is empty.
                        unsafe { self.accumulator(*slot).cast::<[u64; 2]>().write([u64::MAX; 2]) };
                    }
                    _ => {}
                }
            }
            let mut k = from;
            while k < to {
                let n = p.block.min(to - k);
                let block = Block {
                    full: Span { head: &[], start: (first + r) * p.k + k, count: n, inner: 0 },
                    row: Span { head: &[], start: first + r, count: 1, inner: 0 },
                    whole: false,
                    segment: n,
                    first_row: r,
                };
                self.place_direct(&block);
                for step in &p.chunk {
                    match &step.action {
                        // SAFETY: see the note above.
                        Action::Fold(f, a, slot) => unsafe {
                            (f.more)(self.accumulator(*slot), self.at[*a], n);
                        },
                        // SAFETY: see the note above.
                        Action::ArgFold(f, a, slot) => unsafe {
                            (f.more)(self.accumulator(*slot), self.at[*a], n, k);
                        },
                        _ => self.step(step, &block, n),
                    }
                }
                self.full_stores(&block);
                k += n;
            }
            for step in &p.chunk {
                // SAFETY: see the note above; the row register holds the group's rows.
                unsafe {
                    match &step.action {
                        Action::Fold(f, _, slot) => {
                            let dst = if self.partials.segments > 1 {
                                self.partial(*slot, first + r, segment)
                            } else {
                                self.at[step.out].add(r * f.size)
                            };
                            (f.finish)(dst, self.accumulator(*slot), 64);
                        }
                        Action::ArgFold(f, _, slot) => {
                            let best = self.accumulator(*slot);
                            if self.partials.segments > 1 {
                                let dst = self.partial(*slot, first + r, segment);
                                std::ptr::copy_nonoverlapping(best, dst, 16);
                            } else {
                                (f.join)(self.at[step.out].add(r * 8), best, 1);
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        if self.partials.segments == 1 {
            for step in &p.after {
                self.step(step, &rows_block, rows);
            }
            self.row_stores(&rows_block);
        }
    }

    /// One segment of a strip of columns.
    fn chunked_cols(&mut self, strip: &Strip, segment: usize) {
        let p = self.launch.program;
        let c = strip.width;
        let head = strip.head();
        let rows_block = strip.block(&head, 0, 0, p.cols);
        for step in &p.before {
            self.step(step, &rows_block, c);
        }
        for step in &p.chunk {
            match &step.action {
                Action::Fold(f, _, slot) => {
                    let start = (&raw const f.start).cast::<u8>();
                    let (run, total) = self.halves(*slot);
                    // SAFETY: both halves hold the strip's rows.
                    unsafe {
                        convert::fill(f.size, run, start, c);
                        convert::fill(f.size, total, start, c);
                    }
                }
                Action::ArgFold(_, _, slot) => self.start_arg(*slot, c),
                _ => {}
            }
        }
        let from = segment * fold::COL_SEGMENT;
        let to = p.k.min(from + fold::COL_SEGMENT);
        let mut k = from;
        while k < to {
            // Chunks are powers of two up to a run, so none crosses the end of a run.
            let n = p.block.min(to - k);
            let block = strip.block(&head, k, k + n, p.cols);
            self.place_direct(&block);
            for step in &p.chunk {
                match &step.action {
                    // SAFETY: see the note above.
                    Action::Fold(f, a, slot) => unsafe {
                        let (run, total) = self.halves(*slot);
                        (f.cols)(run, self.at[*a], n, c);
                        if (k + n - from).is_multiple_of(fold::COL_RUN) || k + n == to {
                            (f.both)(total, total, run, c);
                            convert::fill(f.size, run, (&raw const f.start).cast::<u8>(), c);
                        }
                    },
                    // SAFETY: see the note above.
                    Action::ArgFold(f, a, slot) => unsafe {
                        let (values, indices) = self.arg_columns(*slot);
                        (f.cols)(values, indices, self.at[*a], (n, c), k);
                    },
                    _ => self.step(step, &block, n * c),
                }
            }
            self.full_stores(&block);
            k += n;
        }
        let many = self.partials.segments > 1;
        let first = strip.outer * p.cols + strip.first;
        for step in &p.chunk {
            // SAFETY: see the note above.
            unsafe {
                match &step.action {
                    Action::Fold(f, _, slot) => {
                        let (_, total) = self.halves(*slot);
                        if !many {
                            std::ptr::copy_nonoverlapping(total, self.at[step.out], c * f.size);
                            continue;
                        }
                        for j in 0..c {
                            let dst = self.partial(*slot, first + j, segment);
                            std::ptr::copy_nonoverlapping(total.add(j * f.size), dst, f.size);
                        }
                    }
                    Action::ArgFold(f, _, slot) => {
                        let (values, indices) = self.arg_columns(*slot);
                        if !many {
                            let dst = self.at[step.out];
                            std::ptr::copy_nonoverlapping(indices.cast::<u8>(), dst, c * 8);
                            continue;
                        }
                        for j in 0..c {
                            let dst = self.partial(*slot, first + j, segment);
                            std::ptr::copy_nonoverlapping(values.add(j * f.size), dst, f.size);
                            dst.add(8).cast::<i64>().write(indices.add(j).read());
                        }
                    }
                    _ => {}
                }
            }
        }
        if !many {
            for step in &p.after {
                self.step(step, &rows_block, c);
            }
            self.row_stores(&rows_block);
        }
    }

    /// Joins the segments of a block's rows, which start at row `first`, and runs the row steps.
    fn after_partials(&mut self, block: &Block, first: usize) {
        let p = self.launch.program;
        let (rows, segments) = (block.row.count, self.partials.segments);
        for step in &p.before {
            self.step(step, block, rows);
        }
        for step in &p.chunk {
            // SAFETY: see the note above; every segment has left its result.
            unsafe {
                match &step.action {
                    Action::Fold(f, _, slot) => {
                        let mut packed: SmallVec<[u64; 64]> = SmallVec::from_elem(0, segments);
                        for r in 0..rows {
                            let packed = packed.as_mut_ptr().cast::<u8>();
                            let src = self.partial(*slot, first + r, 0);
                            convert::gather(f.size, packed, src, (16 / f.size) as isize, segments);
                            (f.join)(self.at[step.out].add(r * f.size), packed, segments);
                        }
                    }
                    Action::ArgFold(f, _, slot) => {
                        for r in 0..rows {
                            let src = self.partial(*slot, first + r, 0);
                            (f.join)(self.at[step.out].add(r * 8), src, segments);
                        }
                    }
                    _ => {}
                }
            }
        }
        for step in &p.after {
            self.step(step, block, rows);
        }
        self.row_stores(block);
    }

    /// Runs a step that folds nothing, over `n` elements of its extent.
    fn step(&mut self, step: &Step, block: &Block, n: usize) {
        let p = self.launch.program;
        let out = &p.values[step.out];
        let span = if out.extent == Extent::Full { block.full } else { block.row };
        let dst = self.at[step.out];
        // SAFETY: see the note above.
        unsafe {
            match &step.action {
                Action::Map1(f, a, then) => {
                    let a = self.at[*a];
                    match f {
                        Fn1::Fast(f) => f(dst, a, n),
                        Fn1::Slow(op, dtype) => ops::slow_unary(*op, *dtype, dst, a, n),
                        Fn1::Copy => std::ptr::copy(a, dst, n * out.size),
                    }
                    if let Some(then) = then {
                        then(dst, dst, n);
                    }
                }
                Action::Map2(f, a, b, then) => {
                    self.map2(f, step.out, *a, *b, block, n);
                    if let Some(then) = then {
                        then(dst, dst, n);
                    }
                }
                Action::Select(f, c, a, b) => self.select(f, step.out, [*c, *a, *b], block, n),
                Action::Load { source, dtype, convert, period, in_place, access } => {
                    if *period > 0 {
                        let key = (span.start % period, n);
                        if self.cached[step.out] == key {
                            return;
                        }
                        self.cached[step.out] = key;
                    }
                    let src = self.launch.source(*source);
                    let size = dtype.size();
                    let walk = access.pick(block.whole && out.extent == Extent::Full);
                    if let Some((offset, s)) = walk.single(span) {
                        let src = src.offset(offset * size as isize);
                        if s == 1 || n == 1 {
                            match convert {
                                None if *in_place && out.extent != Extent::One => {
                                    self.at[step.out] = src.cast_mut();
                                }
                                None => std::ptr::copy(src, self.home(step.out), n * size),
                                Some(f) => f(dst, src, n),
                            }
                            return;
                        }
                    }
                    let dst = self.home(step.out);
                    if walk.is_guarded() {
                        walk.runs(span, |run| load_run(dst, src, run, size, out.size, *convert));
                        return;
                    }
                    // Elements of a narrow type are gathered at the end of the register and widened from there.
                    let packed = dst.add((out.size - size) * n);
                    match walk.steps() {
                        Some((1, step)) if p.layout == Layout::Tiles && step != 1 => {
                            let offset = walk.single(Span { count: 1, ..span }).expect("one").0;
                            let src = src.offset(offset * size as isize);
                            let (rows, cols) = (n / span.inner, span.inner);
                            convert::transpose(size, packed, cols as isize, src, step, rows, cols);
                        }
                        _ => walk.plain_runs(span, |offset, at, len, step| {
                            let src = src.offset(offset * size as isize);
                            let dst = packed.add(at * size);
                            match step {
                                1 => std::ptr::copy_nonoverlapping(src, dst, len * size),
                                0 => convert::fill(size, dst, src, len),
                                _ => convert::gather(size, dst, src, step, len),
                            }
                        }),
                    }
                    if let Some(f) = convert {
                        f(dst, packed, n);
                    }
                }
                Action::Expand(a) => self.expand(*a, step.out, block, n),
                Action::Index(access) => {
                    let dst = dst.cast::<i64>();
                    access.pick(block.whole).runs(span, |run| {
                        for i in 0..run.len {
                            dst.add(run.at + i).write((run.offset + i as isize * run.step) as i64);
                        }
                    });
                }
                Action::Inside(access) => {
                    let dst = dst.cast::<i32>();
                    access.pick(block.whole).runs(span, |run| {
                        for i in 0..run.len {
                            let yes = i >= run.inside.0 && i < run.inside.1;
                            dst.add(run.at + i).write(yes as i32);
                        }
                    });
                }
                Action::Random { draw, seed, offset, access } => {
                    let seed = self.launch.arg_bits(*seed);
                    let offset = self.launch.arg_bits(*offset);
                    access.pick(block.whole).runs(span, |run| {
                        let first = offset.wrapping_add(run.offset as i64 as u64);
                        if run.step == 1 && first.checked_add(run.len as u64).is_some() {
                            (draw.run)(dst.add(run.at * out.size), seed, first, run.len);
                            return;
                        }
                        for i in 0..run.len {
                            let index = first.wrapping_add((i as isize * run.step) as i64 as u64);
                            (draw.one)(dst, run.at + i, seed, index);
                        }
                    });
                }
                Action::Scalar { arg, dtype } => {
                    let bits = super::lower::lane_bits(self.launch.buffers.args[*arg], *dtype);
                    dst.cast::<u64>().write(bits);
                }
                Action::Const(bits) => dst.cast::<u64>().write(*bits),
                Action::Fold(..) | Action::ArgFold(..) => {
                    unreachable!("folds have their own paths")
                }
            }
        }
    }

    /// The value's own register.
    fn home(&mut self, v: Val) -> *mut u8 {
        let value = &self.launch.program.values[v];
        if value.extent != Extent::One {
            // SAFETY: inside the workspace.
            self.at[v] = unsafe { self.base.add(value.place) };
        }
        self.at[v]
    }

    /// How operand `v` of a step of `extent` is read: its start, and per part (a row, or a row of the strip) the bytes to
    /// advance; and whether it is one element.
    fn part(&self, v: Val, extent: Extent, block: &Block) -> (*mut u8, usize, bool) {
        let value = &self.launch.program.values[v];
        let at = self.at[v];
        if value.extent == Extent::One {
            (at, 0, true)
        } else if value.extent == extent {
            (at, block.segment * value.size, false)
        } else if self.launch.program.layout == Layout::Cols {
            (at, 0, false)
        } else {
            // SAFETY: the row register holds the rows of the group.
            (unsafe { at.add(block.first_row * value.size) }, value.size, true)
        }
    }

    unsafe fn map2(&mut self, f: &Fn2, out: Val, a: Val, b: Val, block: &Block, n: usize) {
        let values = &self.launch.program.values;
        let extent = values[out].extent;
        let mixed = |v: Val| extent == Extent::Full && values[v].extent == Extent::Row;
        let (pa, step_a, one_a) = self.part(a, extent, block);
        let (pb, step_b, one_b) = self.part(b, extent, block);
        let dst = self.at[out];
        // SAFETY: as the caller of `step`.
        let call = |dst: *mut u8, a: *const u8, b: *const u8, n: usize| unsafe {
            match f {
                Fn2::Fast(f) => match (one_a, one_b) {
                    (false, true) => (f.vs)(dst, a, b, n),
                    (true, false) => (f.sv)(dst, a, b, n),
                    _ => (f.vv)(dst, a, b, n),
                },
                Fn2::Slow(op, dtype) => ops::slow_binary(
                    *op,
                    *dtype,
                    dst,
                    (a, !one_a as usize),
                    (b, !one_b as usize),
                    n,
                ),
            }
        };
        if !mixed(a) && !mixed(b) {
            call(dst, pa, pb, n);
            return;
        }
        let step_out = block.segment * values[out].size;
        for part in 0..n / block.segment {
            // SAFETY: within the registers.
            unsafe {
                call(
                    dst.add(part * step_out),
                    pa.add(part * step_a),
                    pb.add(part * step_b),
                    block.segment,
                );
            }
        }
    }

    unsafe fn select(
        &mut self,
        f: &[crate::dev::cpu::lanes::F3; 4],
        out: Val,
        [c, a, b]: [Val; 3],
        block: &Block,
        n: usize,
    ) {
        let values = &self.launch.program.values;
        let extent = values[out].extent;
        let mixed = |v: Val| extent == Extent::Full && values[v].extent == Extent::Row;
        let (pc, step_c, _) = self.part(c, extent, block);
        let (pa, step_a, one_a) = self.part(a, extent, block);
        let (pb, step_b, one_b) = self.part(b, extent, block);
        let dst = self.at[out];
        let f = f[one_a as usize * 2 + one_b as usize];
        // SAFETY: as the caller of `step`.
        unsafe {
            if !mixed(a) && !mixed(b) {
                f(dst, pc, pa, pb, n);
                return;
            }
            let step_out = block.segment * values[out].size;
            for part in 0..n / block.segment {
                f(
                    dst.add(part * step_out),
                    pc.add(part * step_c),
                    pa.add(part * step_a),
                    pb.add(part * step_b),
                    block.segment,
                );
            }
        }
    }

    unsafe fn expand(&mut self, a: Val, out: Val, block: &Block, n: usize) {
        let p = self.launch.program;
        let (src, dst, size) = (self.at[a], self.at[out], p.values[out].size);
        // SAFETY: as the caller of `step`.
        unsafe {
            if p.values[a].extent == Extent::One {
                convert::fill(size, dst, src, n);
                return;
            }
            let segment = block.segment;
            for part in 0..n / segment {
                let to = dst.add(part * segment * size);
                if p.layout == Layout::Cols {
                    std::ptr::copy_nonoverlapping(src, to, segment * size);
                } else {
                    convert::fill(size, to, src.add((block.first_row + part) * size), segment);
                }
            }
        }
    }
}

/// Loads one run into a register.
unsafe fn load_run(
    dst: *mut u8,
    src: *const u8,
    run: Run,
    size: usize,
    lane: usize,
    f: Option<crate::dev::cpu::lanes::F1>,
) {
    // SAFETY: the addresses inside the guards are valid; the register holds the block.
    unsafe {
        let dst = dst.add(run.at * lane);
        let (from, to) = run.inside;
        if from > 0 {
            std::ptr::write_bytes(dst, 0, from * lane);
        }
        if to < run.len {
            std::ptr::write_bytes(dst.add(to * lane), 0, (run.len - to) * lane);
        }
        if from >= to {
            return;
        }
        let n = to - from;
        let dst = dst.add(from * lane);
        let src = src.offset((run.offset + from as isize * run.step) * size as isize);
        match (run.step, f) {
            (1, None) => std::ptr::copy(src, dst, n * size),
            (1, Some(f)) => f(dst, src, n),
            (0, None) => convert::fill(size, dst, src, n),
            (0, Some(f)) => {
                let mut one = [0u64; 1];
                f(one.as_mut_ptr().cast(), src, 1);
                convert::fill(lane, dst, one.as_ptr().cast(), n);
            }
            (step, None) => convert::gather(size, dst, src, step, n),
            (step, Some(f)) => {
                let mut packed = [0u64; 64];
                let mut i = 0;
                while i < n {
                    let m = (n - i).min(64);
                    let src = src.offset(i as isize * step * size as isize);
                    convert::gather(size, packed.as_mut_ptr().cast(), src, step, m);
                    f(dst.add(i * lane), packed.as_ptr().cast(), m);
                    i += m;
                }
            }
        }
    }
}
