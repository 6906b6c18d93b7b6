//! The inside of a loop: the steps of a pass on one vector of positions, and when a value is in a register.
use super::{COUNT, FULL_AT, LIMIT, Loops, Nest, ROW_AT, TABLE, UNIFORMS, WORKSPACE, Where};
use crate::dev::cpu::jit::Task;
use crate::dev::cpu::jit::encode::*;
use crate::dev::cpu::jit::registers::Full;
use crate::dev::cpu::vm::{Action, Extent, Step, Val};
use std::ops::Range;

impl Loops<'_> {
    /// The steps of a pass once, on one vector of positions.
    pub(super) fn body(
        &mut self,
        range: &Range<usize>,
        part: usize,
        mask: Mask,
    ) -> Result<(), Full> {
        let before = self.e.free;
        (self.part, self.mask) = (part, mask);
        let steps = &self.job.steps[range.clone()];
        for s in steps {
            if matches!(s.action, Action::Expand(_)) && !self.job.kept[s.out] {
                continue;
            }
            for a in s.operands() {
                self.uses[self.alias[a]] += 1;
            }
        }
        for (i, s) in steps.iter().enumerate() {
            if matches!(s.action, Action::Expand(_)) && !self.job.kept[s.out] {
                continue;
            }
            if self.sparing {
                self.step_sparing(steps, i)?;
            } else {
                self.step(steps, s)?;
            }
        }
        debug_assert!(self.e.free.same_as(&before), "a body leaves no value behind");
        Ok(())
    }

    /// One step of a body.
    pub(super) fn step(&mut self, steps: &[Step], s: &Step) -> Result<(), Full> {
        if matches!(s.action, Action::Fold(..)) {
            return self.fold(s);
        }
        if self.stays_mask(steps, s) {
            let [a, b] = s.operands()[..] else { unreachable!("comparisons have two") };
            let comparison = s.task.comparison().expect("checked");
            let (x, y) = (self.register(a)?, self.source(b)?);
            self.place[s.out] = Where::Mask(self.e.compare(comparison, x, y)?);
            self.done(a);
            self.done(b);
            return Ok(());
        }
        let z = self.compute(s)?;
        if self.job.kept[s.out] {
            let to = self.address(s.out);
            if self.mask == ALL && self.job.stream.get(s.out) == Some(&true) {
                self.e.asm.stream(to, z);
            } else {
                self.e.asm.store(self.mask, to, z);
            }
        }
        if self.uses[s.out] > 0 {
            self.place[s.out] = Where::Register(z);
        } else {
            self.e.free.give(z);
        }
        Ok(())
    }

    /// True for a comparison that only selections of this body read, as their condition.
    fn stays_mask(&self, steps: &[Step], s: &Step) -> bool {
        self.e.free.can_hold_mask()
            && s.task.comparison().is_some()
            && !self.job.kept[s.out]
            && self.uses[s.out] > 0
            && steps.iter().all(|u| match u.action {
                Action::Select(_, _, a, b) => self.alias[a] != s.out && self.alias[b] != s.out,
                _ => u.operands().iter().all(|a| self.alias[*a] != s.out),
            })
    }

    /// The result of a step in a new register; its operands count as read.
    pub(super) fn compute(&mut self, s: &Step) -> Result<Z, Full> {
        let operands = s.operands();
        let z = match (s.task, &operands[..]) {
            (Task::Unary(op, lane), &[a]) => {
                let a = self.register(a)?;
                self.e.unary(op, lane, a)?
            }
            (Task::Binary(op, lane), &[a, b]) => {
                let (a, b) = (self.register(a)?, self.source(b)?);
                self.e.binary(op, lane, a, b)?
            }
            (Task::Cast(from, to), &[a]) => {
                let a = self.register(a)?;
                self.e.cast(from, to, a)?
            }
            (Task::Select, &[c, a, b]) => {
                let no = self.register(b)?;
                let (mask, held) = match self.place[self.alias[c]] {
                    Where::Mask(mask) => (mask, true),
                    _ => {
                        let c = self.register(c)?;
                        (self.e.not_zero(c)?, false)
                    }
                };
                let yes = self.source(a)?;
                let z = self.e.free.take()?;
                self.e.asm.blend(mask, z, no, yes);
                if !held {
                    self.e.free.give_mask(mask);
                }
                z
            }
            (Task::Expand, &[a]) => {
                let a = self.source(a)?;
                let z = self.e.free.take()?;
                self.e.asm.load(ALL, z, a);
                z
            }
            _ => unreachable!("arranged as a known task"),
        };
        operands.iter().for_each(|a| self.done(*a));
        Ok(z)
    }

    /// Where a value is in memory, at the position at hand.
    pub(super) fn address(&mut self, v: Val) -> Mem {
        let value = &self.job.values[v];
        let part = self.part * self.bytes();
        let (index, part) = match value.extent {
            Extent::One => {
                return Mem::At { base: UNIFORMS, index: None, disp: value.place as i32 };
            }
            Extent::Row if self.repeats(v) => (ROW_AT, 0),
            Extent::Row => (ROW_AT, part),
            Extent::Full if self.each_row(v) => (LIMIT, 0),
            Extent::Full => (FULL_AT, part),
        };
        if !self.job.in_table[v] {
            let disp = (value.place + part) as i32;
            return Mem::At { base: WORKSPACE, index: Some(index), disp };
        }
        let base = self.pointers[v].unwrap_or_else(|| {
            self.e.asm.read(RAX, TABLE, v as i32 * 8);
            if self.job.repeated[v] && matches!(self.job.nest, Nest::Rows { .. }) {
                self.e.asm.sub(RAX, COUNT);
            }
            RAX
        });
        Mem::At { base, index: Some(index), disp: part as i32 }
    }

    /// True when memory holds one element for all positions of a vector.
    pub(super) fn repeats(&self, v: Val) -> bool {
        match self.job.values[v].extent {
            Extent::One => true,
            Extent::Row => !matches!(self.job.nest, Nest::Columns { .. }),
            Extent::Full => self.each_row(v),
        }
    }

    /// True for one element for each row of a strip.
    fn each_row(&self, v: Val) -> bool {
        self.job.repeated[v] && matches!(self.job.nest, Nest::Columns { .. })
    }

    /// An operand in a register.
    pub(super) fn register(&mut self, v: Val) -> Result<Z, Full> {
        let v = self.alias[v];
        match self.place[v] {
            Where::Register(z) => Ok(z),
            Where::Mask(_) => unreachable!("only conditions stay masks"),
            Where::Memory => {
                let z = self.e.free.take()?;
                let at = self.address(v);
                if self.repeats(v) {
                    self.e.asm.load(ALL, z, Src::Each(at));
                } else {
                    self.e.asm.load(self.mask, z, Src::Vector(at));
                }
                self.place[v] = Where::Register(z);
                Ok(z)
            }
        }
    }

    /// An operand as the last one of an instruction.
    pub(super) fn source(&mut self, v: Val) -> Result<Src, Full> {
        let a = self.alias[v];
        if self.place[a] == Where::Memory && self.uses[a] == 1 {
            if self.repeats(a) {
                return Ok(Src::Each(self.address(a)));
            }
            if self.mask == ALL {
                return Ok(Src::Vector(self.address(a)));
            }
        }
        Ok(Src::Reg(self.register(v)?))
    }

    /// Counts a read; after the last one the register is free.
    pub(super) fn done(&mut self, v: Val) {
        let v = self.alias[v];
        self.uses[v] -= 1;
        if self.uses[v] > 0 || self.resident[v] {
            return;
        }
        match self.place[v] {
            Where::Register(z) => self.e.free.give(z),
            Where::Mask(mask) => self.e.free.give_mask(mask),
            Where::Memory => {}
        }
        self.place[v] = Where::Memory;
    }
}
