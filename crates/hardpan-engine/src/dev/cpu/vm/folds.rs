//! Steps that fold: rows and columns at once, in chunks, and from the results of segments.
use super::exec::Strip;
use super::machine::{Block, Machine};
use super::walk::Span;
use super::{Action, Extent, Layout, Step};
use crate::dev::cpu::lanes::{convert, fold};
use smallvec::SmallVec;
use std::ops::Range;

// What makes the unsafe code sound is said in `machine`: registers and accumulators are as large as the blocks that `lower`
// planned.
impl Machine<'_> {
    /// All steps of a straight program.
    pub(super) fn straight_steps(&mut self, block: &Block) {
        let p = self.launch.program;
        let (n, rows) = match p.layout {
            Layout::Flat | Layout::Tiles => (block.full.count, 1),
            Layout::Rows => (0, block.row.count),
            Layout::Cols => (block.row.count, p.k),
        };
        self.phases(&p.before, n, rows, 0, |m, step| m.straight_step(step, block));
    }

    /// Runs steps phase by phase: by generated code where there is some, else one by one.
    fn phases(
        &mut self,
        steps: &[Step],
        n: usize,
        rows: usize,
        first_row: usize,
        mut one: impl FnMut(&mut Self, &Step),
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Some(code) = self.launch.code {
            let p = self.launch.program;
            let aligned = |v: usize| (self.at[v] as usize).is_multiple_of(64);
            let stream = self.launch.stream
                && p.full_stores.iter().all(|s| s.direct.is_none() || aligned(s.value));
            for (i, phase) in p.phases.iter().enumerate() {
                if let Some(run) = code.entry(i, stream) {
                    let (table, uniforms) = (self.at.as_ptr(), self.launch.uniforms.as_ptr());
                    // SAFETY: the code does what the steps would do, with the same registers and addresses: see the note above.
                    unsafe { run(table, self.base, uniforms.cast(), n, rows, first_row) };
                    continue;
                }
                for step in &steps[phase.steps.clone()] {
                    one(self, step);
                }
            }
            return;
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (n, rows, first_row);
        for step in steps {
            one(self, step);
        }
    }

    /// A step of a straight program.
    pub(super) fn straight_step(&mut self, step: &Step, block: &Block) {
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

    pub(super) fn count(&self, step: &Step, block: &Block) -> usize {
        match self.program().values[step.out].extent {
            Extent::Full => block.full.count,
            _ => block.row.count,
        }
    }

    /// The two halves of a column accumulator.
    pub(super) fn halves(&self, slot: usize) -> (*mut u8, *mut u8) {
        let first = self.accumulator(slot);
        // SAFETY: inside the accumulator.
        (first, unsafe { first.add(self.program().fold_bytes / 2) })
    }

    pub(super) fn arg_columns(&self, slot: usize) -> (*mut u8, *mut i64) {
        let (values, indices) = self.halves(slot);
        (values, indices.cast())
    }

    pub(super) fn start_arg(&self, slot: usize, c: usize) {
        if self.program().layout == Layout::Cols {
            let (_, indices) = self.arg_columns(slot);
            for j in 0..c {
                // SAFETY: the accumulator holds an index per row of the strip.
                unsafe { indices.add(j).write(-1) };
            }
        }
    }

    /// Folds `k * c` elements in the order of [`fold`]: runs, segments, pairs of segments.
    pub(super) unsafe fn fold_cols_at_once(
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

    /// The positions in `range` of rows `first..first + rows`, of a program that folds nothing.
    pub(super) fn pieces(&mut self, first: usize, rows: usize, range: Range<usize>) {
        let p = self.launch.program;
        let row = Span { head: &[], start: first, count: rows, inner: 0 };
        let rows_block = Block { full: row, row, whole: false, segment: 1, first_row: 0 };
        for step in &p.before {
            self.step(step, &rows_block, rows);
        }
        for r in 0..rows {
            for from in range.clone().step_by(p.block) {
                let n = p.block.min(range.end - from);
                let start = (first + r) * p.k + from;
                let block = Block {
                    full: Span { head: &[], start, count: n, inner: 0 },
                    row: Span { head: &[], start: first + r, count: 1, inner: 0 },
                    whole: false,
                    segment: n,
                    first_row: r,
                };
                self.place_direct(&block);
                self.phases(&p.chunk, n, 1, r, |m, step| m.step(step, &block, n));
                self.full_stores(&block);
            }
        }
    }

    /// Rows `first..first + rows`, one segment of each.
    pub(super) fn chunked_rows(&mut self, first: usize, rows: usize, segment: usize) {
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
                self.phases(&p.chunk, n, 1, r, |m, step| match &step.action {
                    // SAFETY: see the note above.
                    Action::Fold(f, a, slot) => unsafe {
                        (f.more)(m.accumulator(*slot), m.at[*a], n);
                    },
                    // SAFETY: see the note above.
                    Action::ArgFold(f, a, slot) => unsafe {
                        (f.more)(m.accumulator(*slot), m.at[*a], n, k);
                    },
                    _ => m.step(step, &block, n),
                });
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
    pub(super) fn chunked_cols(&mut self, strip: &Strip, segment: usize) {
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
            self.phases(&p.chunk, c, n, 0, |m, step| match &step.action {
                // SAFETY: see the note above.
                Action::Fold(f, a, slot) => unsafe {
                    (f.cols)(m.halves(*slot).0, m.at[*a], n, c);
                },
                // SAFETY: see the note above.
                Action::ArgFold(f, a, slot) => unsafe {
                    let (values, indices) = m.arg_columns(*slot);
                    (f.cols)(values, indices, m.at[*a], (n, c), k);
                },
                _ => m.step(step, &block, n * c),
            });
            if (k + n - from).is_multiple_of(fold::COL_RUN) || k + n == to {
                for step in &p.chunk {
                    let Action::Fold(f, _, slot) = &step.action else { continue };
                    let (run, total) = self.halves(*slot);
                    // SAFETY: both halves hold the strip's rows.
                    unsafe {
                        (f.both)(total, total, run, c);
                        convert::fill(f.size, run, (&raw const f.start).cast::<u8>(), c);
                    }
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
    pub(super) fn after_partials(&mut self, block: &Block, first: usize) {
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
}
