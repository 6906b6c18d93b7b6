//! One thread's registers, and the steps between them and memory.
use super::exec::Launch;
use super::walk::{Run, Span, Walk};
use super::{Access, Action, Extent, Fn1, Fn2, Layout, Program, Repeats, Step, StoreStep, Val};
use crate::dev::cpu::lanes::{F1, F3, convert, ops};

/// The results of segments: one 16-byte slot per accumulator, row and segment.
#[derive(Clone, Copy)]
pub(super) struct Partials {
    pub(super) memory: *mut u8,
    pub(super) segments: usize,
}
// SAFETY: each task writes the slots of its own rows and segments; they are read when all tasks are done.
unsafe impl Sync for Partials {}

impl Partials {
    pub(super) const NONE: Partials = Partials { memory: std::ptr::null_mut(), segments: 1 };
}

/// Per-thread scratch memory: registers and the table of where each value is.
#[derive(Default)]
pub(super) struct Workspace {
    pub(super) memory: Vec<Line>,
    pub(super) at: Vec<*mut u8>,
    pub(super) cached: Vec<(usize, usize)>,
}
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u8; 64]);

/// The block at hand.
pub(super) struct Block<'a> {
    /// Positions of full values.
    pub(super) full: Span<'a>,
    /// Positions of row values.
    pub(super) row: Span<'a>,
    /// Strips across the whole dimension use the merged addresses.
    pub(super) whole: bool,
    /// Elements that share a row operand's element (rows), or strip width (columns).
    pub(super) segment: usize,
    /// Rows layout: the block's first row within the row registers.
    pub(super) first_row: usize,
}

pub(super) struct Machine<'a> {
    pub(super) launch: &'a Launch<'a>,
    pub(super) at: &'a mut [*mut u8],
    /// By value: which part of a periodic load its register holds (phase and count).
    pub(super) cached: &'a mut [(usize, usize)],
    pub(super) base: *mut u8,
    pub(super) partials: Partials,
}

pub(super) const LINE: usize = 64;

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
    pub(super) fn program(&self) -> &Program {
        self.launch.program
    }

    pub(super) fn accumulator(&self, slot: usize) -> *mut u8 {
        let p = self.program();
        // SAFETY: inside the workspace.
        unsafe { self.base.add(p.fold_at + slot * p.fold_bytes) }
    }

    pub(super) fn partial(&self, slot: usize, row: usize, segment: usize) -> *mut u8 {
        let p = self.program();
        let index = (slot * p.rows + row) * self.partials.segments + segment;
        // SAFETY: inside the partials, which hold folds * rows * segments slots of 16 bytes.
        unsafe { self.partials.memory.add(index * 16) }
    }

    /// Points values that may be computed in place to their output.
    pub(super) fn place_direct(&mut self, block: &Block) {
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

    pub(super) fn full_stores(&mut self, block: &Block) {
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

    pub(super) fn row_stores(&mut self, block: &Block) {
        let p = self.launch.program;
        for s in &p.row_stores {
            self.store(s, block.row, false, self.at[s.value]);
        }
    }

    pub(super) fn store(&self, s: &StoreStep, span: Span, whole: bool, src: *mut u8) {
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
            match walk.transposed(span) {
                Some((step, cols)) if matches!(p.layout, Layout::Tiles | Layout::Cols) => {
                    let offset = walk.single(Span { count: 1, ..span }).expect("one").0;
                    let dst = out.offset(offset * size as isize);
                    let rows = span.count / cols;
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

    /// Runs a step that folds nothing, over `n` elements of its extent.
    pub(super) fn step(&mut self, step: &Step, block: &Block, n: usize) {
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
                Action::Load { source, dtype, convert, period, in_place, repeats, access } => {
                    let src = self.launch.source(*source);
                    let size = dtype.size();
                    if let Some(repeats) = repeats
                        && self.launch.code.is_some_and(|c| c.reads_repeated(step.out))
                    {
                        let offset = match repeats {
                            Repeats::Row(offset) => *offset,
                            Repeats::Element(walk) => {
                                let start = span.start / block.segment;
                                let at = Span { start, count: 1, inner: 0, ..span };
                                walk.single(at).expect("contiguous").0
                            }
                        };
                        self.at[step.out] = src.offset(offset * size as isize).cast_mut();
                        return;
                    }
                    if self.holds(step.out, *period, span, n) {
                        return;
                    }
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
                    match walk.transposed(span) {
                        Some((step, cols)) if matches!(p.layout, Layout::Tiles | Layout::Cols) => {
                            let offset = walk.single(Span { count: 1, ..span }).expect("one").0;
                            let src = src.offset(offset * size as isize);
                            let rows = n / cols;
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
                Action::Index(access, period) => {
                    if self.holds(step.out, *period, span, n) {
                        return;
                    }
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

    /// True when a value that repeats with the period is in its register from an earlier block; else it will be from now on.
    fn holds(&mut self, v: Val, period: usize, span: Span, n: usize) -> bool {
        if period == 0 {
            return false;
        }
        let key = (span.start % period, n);
        std::mem::replace(&mut self.cached[v], key) == key
    }

    /// The value's own register.
    pub(super) fn home(&mut self, v: Val) -> *mut u8 {
        let value = &self.launch.program.values[v];
        if value.extent != Extent::One {
            // SAFETY: inside the workspace.
            self.at[v] = unsafe { self.base.add(value.place) };
        }
        self.at[v]
    }

    /// How operand `v` of a step of `extent` is read: its start, and per part (a row, or a row of the strip) the bytes to
    /// advance; and whether it is one element.
    pub(super) fn part(&self, v: Val, extent: Extent, block: &Block) -> (*mut u8, usize, bool) {
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

    pub(super) unsafe fn map2(
        &mut self,
        f: &Fn2,
        out: Val,
        a: Val,
        b: Val,
        block: &Block,
        n: usize,
    ) {
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

    pub(super) unsafe fn select(
        &mut self,
        f: &[F3; 4],
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

    pub(super) unsafe fn expand(&mut self, a: Val, out: Val, block: &Block, n: usize) {
        let p = self.launch.program;
        let (src, dst, size) = (self.at[a], self.at[out], p.values[out].size);
        // SAFETY: as the caller of `step`.
        unsafe {
            if p.values[a].extent == Extent::One {
                convert::fill(size, dst, src, n);
                return;
            }
            let segment = block.segment;
            if p.layout != Layout::Cols {
                let src = src.add(block.first_row * size);
                convert::repeat(size, dst, src, n / segment, segment);
                return;
            }
            for part in 0..n / segment {
                let to = dst.add(part * segment * size);
                std::ptr::copy_nonoverlapping(src, to, segment * size);
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
    f: Option<F1>,
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
