//! The loops around the steps: which registers hold addresses and counters, and when a value is in a register.
//!
//! A phase becomes one function. It gets the table of where each value is in memory, and computes in its loops what the
//! interpreter would have computed one block at a time. Values that only these steps read never leave the registers.
//!
//! Three nests of loops cover the interpreter's layouts. *Line*: a vector (16 positions, of AVX2 8) at a time along a block; folds
//! go on from the accumulators in memory. *Rows*: whole rows, each in one or more passes, with what the row needs between them.
//! *Columns*: one or more vectors of neighbouring rows at a time, the reduced index inside.
//!
//! Where folds need it, 64 positions make a turn of the loop, so that element `i` meets accumulator `i % 64` as in
//! [`lanes::fold`](crate::dev::cpu::lanes::fold).
//!
//! Where registers do not suffice, most often the 16 of AVX2, the code is made once more, *sparing*: accumulators and row values
//! stay in memory, and full values go there when something else needs their register.
//! Registers that a loop leaves free hold constants of its steps.

mod accumulators;
mod body;
mod sparing;

use super::encode::*;
use super::functions::Emit;
pub use super::registers::Full;
use super::registers::Registers;
use crate::dev::cpu::lanes::GROUP;
use crate::dev::cpu::vm::{Action, Extent, Step, Val, Value};
use accumulators::Accumulators;
use smallvec::SmallVec;
use std::ops::Range;

/// How the loops enumerate positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nest {
    /// A run of positions; folds continue in memory.
    Line,
    /// Whole rows of `k` positions, stored one after the other.
    Rows { k: usize },
    /// Strips of neighbouring rows. `whole`: all of the reduced index at once; else folds continue in memory.
    Columns { whole: bool },
}

/// What to generate code for.
pub struct Job<'a> {
    pub width: Width,
    pub nest: Nest,
    pub values: &'a [Value],
    pub steps: &'a [Step],
    /// By step: its pass.
    pub passes: &'a [usize],
    /// By value: something else reads it.
    pub kept: &'a [bool],
    /// By value: its address is in the table; else it is at its place in the workspace.
    pub in_table: &'a [bool],
    /// Byte offset of the accumulators in the workspace, and bytes of each.
    pub folds: (usize, usize),
    /// By value: written past the caches, at addresses that are multiples of 64 bytes. Empty for none.
    pub stream: &'a [bool],
    /// By value: the table has the address of one row, which is the same for all ([`Nest::Rows`]), or of the block's first of the
    /// elements that each row has one of ([`Nest::Columns`]).
    pub repeated: &'a [bool],
}

// What the function is called with, see `Entry`.
const TABLE: G = RDI;
const WORKSPACE: G = RSI;
const UNIFORMS: G = RDX;
/// Line: positions left. Rows: bytes before this row. Columns: bytes of a row of the strip.
const COUNT: G = RCX;
const ROWS: G = R8;
/// Bytes before this row's element in row values.
const ROW_AT: G = R9;
/// Bytes before this position in full values.
const FULL_AT: G = R10;
/// Where a loop ends. Columns: bytes before this row's element in what has one for each.
const LIMIT: G = R11;
/// Registers for addresses out of the table; the rest is read again at each use.
const POINTERS: [G; 6] = [RBX, RBP, R12, R13, R14, R15];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Memory,
    Register(Z),
    Mask(Mask),
}

struct Loops<'a> {
    job: &'a Job<'a>,
    /// What can be in memory is.
    sparing: bool,
    e: Emit,
    pointers: Vec<Option<G>>,
    /// By value: what it repeats.
    alias: Vec<Val>,
    place: Vec<Where>,
    /// Row values stay in their register until the last step that reads them.
    resident: Vec<bool>,
    last_use: Vec<usize>,
    /// Reads still to come in the body at hand.
    uses: Vec<usize>,
    /// Columns: how many vectors make the strip at hand.
    across: usize,
    /// Which vector of a turn or strip the body computes, and in which lanes.
    part: usize,
    mask: Mask,
    /// Those of the pass at hand, by slot.
    accumulators: Vec<(usize, Accumulators)>,
}

/// Machine code for the steps, or `Full` when they need more registers than there are.
pub fn generate(job: &Job) -> Result<Vec<u8>, Full> {
    generate_by(job, false).or_else(|Full| generate_by(job, true))
}

fn generate_by(job: &Job, sparing: bool) -> Result<Vec<u8>, Full> {
    let n = job.values.len();
    let mut alias: Vec<Val> = (0..n).collect();
    for s in job.steps {
        if let Action::Expand(a) = s.action {
            alias[s.out] = alias[a];
        }
    }
    let mut last_use = vec![0; n];
    for (i, s) in job.steps.iter().enumerate() {
        for a in s.operands() {
            last_use[alias[a]] = i;
        }
    }
    let mut l = Loops {
        job,
        sparing,
        e: Emit { asm: Assembler::new(job.width), free: Registers::new(job.width) },
        pointers: vec![None; n],
        alias,
        place: vec![Where::Memory; n],
        resident: vec![false; n],
        last_use,
        uses: vec![0; n],
        across: 1,
        part: 0,
        mask: ALL,
        accumulators: Vec::new(),
    };
    let saved = l.enter();
    match job.nest {
        Nest::Line => l.line()?,
        Nest::Rows { k } => l.rows(k)?,
        Nest::Columns { .. } => l.columns()?,
    }
    if !job.stream.is_empty() {
        l.e.asm.fence();
    }
    for g in saved.iter().rev() {
        l.e.asm.pop(*g);
    }
    l.e.asm.ret();
    Ok(l.e.asm.finish())
}

impl Loops<'_> {
    /// Saves registers and loads addresses; which registers were saved.
    fn enter(&mut self) -> SmallVec<[G; 6]> {
        let job = self.job;
        let mut wanted: SmallVec<[Val; 16]> = SmallVec::new();
        for s in job.steps {
            for v in s.operands().into_iter().map(|a| self.alias[a]).chain([s.out]) {
                if job.in_table[v] && !wanted.contains(&v) {
                    wanted.push(v);
                }
            }
        }
        // Those of a row need their address adjusted where it has no register.
        wanted.sort_by_key(|v| !job.repeated[*v]);
        let mut saved = SmallVec::new();
        for (v, g) in wanted.into_iter().zip(POINTERS) {
            self.e.asm.push(g);
            self.e.asm.read(g, TABLE, v as i32 * 8);
            self.pointers[v] = Some(g);
            saved.push(g);
        }
        self.e.asm.shl(ROW_AT, 2);
        saved
    }

    /// Steps of a pass: those before its loop, and those in it.
    fn pass(&self, pass: usize) -> (Range<usize>, Range<usize>) {
        let of = |p: &usize| *p == pass;
        let begin = self.job.passes.iter().position(of).unwrap_or(self.job.steps.len());
        let end = self.job.passes.iter().rposition(of).map_or(begin, |e| e + 1);
        let in_loop = |s: &Step| {
            matches!(s.action, Action::Fold(..)) || self.job.values[s.out].extent == Extent::Full
        };
        let middle = (begin..end).find(|i| in_loop(&self.job.steps[*i])).unwrap_or(end);
        (begin..middle, middle..end)
    }

    fn passes(&self) -> usize {
        self.job.passes.iter().max().map_or(0, |p| p + 1)
    }

    fn folds(&self, range: Range<usize>) -> usize {
        self.job.steps[range].iter().filter(|s| matches!(s.action, Action::Fold(..))).count()
    }

    /// Positions in a vector.
    fn lanes(&self) -> usize {
        self.job.width.lanes()
    }

    /// The same in bytes.
    fn bytes(&self) -> usize {
        4 * self.lanes()
    }

    /// How many vectors make a turn of a loop over these steps.
    fn parts(&self, steps: &Range<usize>) -> usize {
        if self.folds(steps.clone()) > 0 { GROUP / self.lanes() } else { 1 }
    }

    fn line(&mut self) -> Result<(), Full> {
        debug_assert!(self.passes() <= 1);
        let (_, steps) = self.pass(0);
        let parts = self.parts(&steps);
        let turn = self.lanes() * parts;
        self.begin_folds(&steps)?;
        let (tail, done) = (self.e.asm.label(), self.e.asm.label());
        let asm = &mut self.e.asm;
        asm.mov_imm(FULL_AT, 0);
        asm.mov(LIMIT, COUNT);
        asm.and_imm(LIMIT, -(turn as i32));
        asm.shl(LIMIT, 2);
        asm.jump_if(When::Zero, tail);
        self.turns(&steps, parts, true)?;
        self.e.asm.bind(tail);
        self.e.asm.and_imm(COUNT, turn as i32 - 1);
        self.e.asm.jump_if(When::Zero, done);
        for part in 0..parts {
            let tail = self.e.free.take_mask()?;
            self.e.asm.first_lanes(tail, COUNT);
            self.body(&steps, part, tail)?;
            self.e.free.give_mask(tail);
            if part + 1 < parts {
                self.e.asm.sub_imm(COUNT, self.lanes() as i32);
                self.e.asm.jump_if(When::NotAbove, done);
            }
        }
        self.e.asm.bind(done);
        self.end_folds(&steps)
    }

    /// The loop over whole turns, from `FULL_AT` up to `LIMIT`. If there are `many`, constants are worth a register.
    fn turns(&mut self, steps: &Range<usize>, parts: usize, many: bool) -> Result<(), Full> {
        if many {
            self.hold_constants(steps)?;
        }
        let start = self.e.asm.loop_start();
        for part in 0..parts {
            self.body(steps, part, ALL)?;
        }
        self.e.asm.add_imm(FULL_AT, (self.bytes() * parts) as i32);
        self.e.asm.cmp(FULL_AT, LIMIT);
        self.e.asm.jump_if(When::Below, start);
        for z in self.e.asm.forget() {
            self.e.free.give(z);
        }
        Ok(())
    }

    /// Loads constants into the registers that these steps leave free.
    fn hold_constants(&mut self, steps: &Range<usize>) -> Result<(), Full> {
        // For a trial.
        let mark = self.e.asm.mark();
        self.e.free.watch();
        self.body(steps, 0, ALL)?;
        let constants = self.e.asm.constants_since(mark);
        self.e.asm.rewind(mark);
        for constant in constants.into_iter().take(self.e.free.never_taken()) {
            let z = self.e.free.take()?;
            self.e.asm.hold(z, constant);
        }
        Ok(())
    }

    fn rows(&mut self, k: usize) -> Result<(), Full> {
        // Where masks have registers of their own, that of the last positions is made once.
        let held = match k % self.lanes() {
            0 => None,
            _ if !self.e.free.has_masks() => None,
            rest => Some(self.first_lanes_of(rest)?),
        };
        self.e.asm.mov_imm(COUNT, 0);
        let next_row = self.e.asm.loop_start();
        for pass in 0..self.passes() {
            let (before, steps) = self.pass(pass);
            self.row_steps(before)?;
            if steps.is_empty() {
                continue;
            }
            let (parts, lanes) = (self.parts(&steps), self.lanes());
            self.begin_folds(&steps)?;
            let whole = k / (lanes * parts) * (lanes * parts);
            self.e.asm.mov(FULL_AT, COUNT);
            if whole > 0 {
                self.e.asm.mov(LIMIT, COUNT);
                self.e.asm.add_imm(LIMIT, whole as i32 * 4);
                self.turns(&steps, parts, whole >= 8 * lanes)?;
            }
            for (part, at) in (whole..k).step_by(lanes).enumerate() {
                match (k - at, held) {
                    (left, _) if left >= lanes => self.body(&steps, part, ALL)?,
                    (_, Some(tail)) => self.body(&steps, part, tail)?,
                    (left, None) => {
                        let tail = self.first_lanes_of(left)?;
                        self.body(&steps, part, tail)?;
                        self.e.free.give_mask(tail);
                    }
                }
            }
            self.end_folds(&steps)?;
            self.release_rows(steps.end);
        }
        // Full values are addressed from the first row on: what is the same for all rows is moved back.
        for v in 0..self.pointers.len() {
            if let (Some(g), true) = (self.pointers[v], self.job.repeated[v]) {
                self.e.asm.sub_imm(g, k as i32 * 4);
            }
        }
        self.e.asm.add_imm(COUNT, k as i32 * 4);
        self.e.asm.add_imm(ROW_AT, 4);
        self.e.asm.sub_imm(ROWS, 1);
        self.e.asm.jump_if(When::NotZero, next_row);
        Ok(())
    }

    fn first_lanes_of(&mut self, count: usize) -> Result<Mask, Full> {
        let mask = self.e.free.take_mask()?;
        self.e.asm.first_lanes_of(mask, count);
        Ok(mask)
    }

    fn columns(&mut self) -> Result<(), Full> {
        let done = self.e.asm.label();
        self.e.asm.shl(COUNT, 2);
        self.e.asm.shl(ROWS, 2);
        let across = self.across();
        if across > 1 {
            self.strips(across)?;
        }
        self.strips(1)?;
        // LIMIT: what is left.
        self.e.asm.shr(LIMIT, 2);
        self.e.asm.jump_if(When::Zero, done);
        let mask = self.e.free.take_mask()?;
        self.e.asm.first_lanes(mask, LIMIT);
        self.strip(1, mask)?;
        self.e.free.give_mask(mask);
        self.e.asm.bind(done);
        Ok(())
    }

    /// How many vectors of neighbouring rows go down together where all they leave behind is in memory: long runs of it.
    fn across(&self) -> usize {
        let folds = self.folds(0..self.job.steps.len());
        match self.job.nest {
            Nest::Columns { whole: false } if folds > 0 => {
                // Accumulators take half the registers at most: as many as there are lanes.
                (self.lanes() / folds).clamp(1, GROUP / self.lanes())
            }
            _ => 1,
        }
    }

    /// Strips of that many vectors while there are rows for one.
    fn strips(&mut self, across: usize) -> Result<(), Full> {
        let rest = self.e.asm.label();
        let bytes = (across * self.bytes()) as i32;
        let next = self.e.asm.loop_start();
        let asm = &mut self.e.asm;
        asm.mov(LIMIT, COUNT);
        asm.sub(LIMIT, ROW_AT);
        asm.sub_imm(LIMIT, bytes);
        asm.jump_if(When::Below, rest);
        self.strip(across, ALL)?;
        self.e.asm.add_imm(ROW_AT, bytes);
        self.e.asm.jump(next);
        self.e.asm.bind(rest);
        self.e.asm.add_imm(LIMIT, bytes);
        Ok(())
    }

    /// All passes over some vectors of neighbouring rows.
    fn strip(&mut self, across: usize, mask: Mask) -> Result<(), Full> {
        self.across = across;
        for pass in 0..self.passes() {
            let (before, steps) = self.pass(pass);
            debug_assert!(before.is_empty() || across == 1, "row values are of one vector");
            self.mask = mask;
            self.row_steps(before)?;
            if steps.is_empty() {
                continue;
            }
            self.begin_folds(&steps)?;
            self.e.asm.mov(FULL_AT, ROW_AT);
            self.e.asm.mov_imm(LIMIT, 0);
            let start = self.e.asm.loop_start();
            for part in 0..across {
                self.body(&steps, part, mask)?;
            }
            self.e.asm.add(FULL_AT, COUNT);
            self.e.asm.add_imm(LIMIT, 4);
            self.e.asm.cmp(LIMIT, ROWS);
            self.e.asm.jump_if(When::Below, start);
            self.mask = mask;
            self.end_folds(&steps)?;
            self.release_rows(steps.end);
        }
        Ok(())
    }

    /// Takes the register of a finished row value, and writes it out if others read it.
    fn row_result(&mut self, v: Val, z: Z) {
        if self.sparing {
            self.place[v] = Where::Memory;
            self.e.free.give(z);
        } else {
            self.place[v] = Where::Register(z);
            self.resident[v] = true;
        }
        if self.job.kept[v] || self.sparing {
            let to = self.address(v);
            match self.job.nest {
                Nest::Columns { .. } => self.e.asm.store(self.mask, to, z),
                _ => self.e.asm.store_one(to, z),
            }
        }
    }

    fn row_steps(&mut self, range: Range<usize>) -> Result<(), Full> {
        for i in range {
            let s = &self.job.steps[i];
            if matches!(s.action, Action::Expand(_)) && !self.job.kept[s.out] {
                continue;
            }
            for a in s.operands() {
                self.uses[self.alias[a]] += 1;
            }
            self.part = 0;
            let z = self.compute(s)?;
            self.row_result(s.out, z);
            self.release_rows(i + 1);
        }
        Ok(())
    }

    /// Gives back row values that no step from `position` on reads.
    fn release_rows(&mut self, position: usize) {
        for v in 0..self.place.len() {
            if self.resident[v]
                && self.last_use[v] < position
                && let Where::Register(z) = self.place[v]
            {
                self.e.free.give(z);
                self.place[v] = Where::Memory;
                self.resident[v] = false;
            }
        }
    }
}
