//! Where folds add up: 64 accumulators for each along a row, one for each row of a strip.
use super::{Full, Loops, Nest, ROW_AT, WORKSPACE};
use crate::dev::cpu::jit::Task;
use crate::dev::cpu::jit::encode::*;
use crate::dev::cpu::lanes::GROUP;
use crate::dev::cpu::vm::{Action, Step};
use smallvec::SmallVec;
use std::ops::Range;

/// The accumulators of a fold while its loop runs.
pub(super) enum Accumulators {
    /// A vector for each of a turn or strip.
    Registers(SmallVec<[Z; 8]>),
    /// At their place in the workspace.
    Memory,
}

impl Loops<'_> {
    /// True where folds go on from what is in memory, and leave it there.
    fn continues(&self) -> bool {
        matches!(self.job.nest, Nest::Line | Nest::Columns { whole: false })
    }

    fn place_of(&self, slot: usize, part: usize) -> Mem {
        let (at, bytes) = self.job.folds;
        let columns = matches!(self.job.nest, Nest::Columns { .. });
        let disp = (at + slot * bytes + part * self.bytes()) as i32;
        Mem::At { base: WORKSPACE, index: columns.then_some(ROW_AT), disp }
    }

    /// Vectors of accumulators of each fold, and the lanes that count.
    fn vectors(&self) -> (usize, Mask) {
        match self.job.nest {
            Nest::Columns { .. } => (self.across, self.mask),
            _ => (GROUP / self.lanes(), ALL),
        }
    }

    pub(super) fn begin_folds(&mut self, steps: &Range<usize>) -> Result<(), Full> {
        let (vectors, mask) = self.vectors();
        for s in &self.job.steps[steps.clone()] {
            let Action::Fold(f, _, slot) = &s.action else { continue };
            let start = bits(f.start as u32);
            let list = if !self.sparing {
                let mut list = SmallVec::new();
                for part in 0..vectors {
                    let z = self.e.free.take()?;
                    if self.continues() {
                        self.e.asm.load(mask, z, Src::Vector(self.place_of(*slot, part)));
                    } else {
                        self.e.asm.load(ALL, z, start);
                    }
                    list.push(z);
                }
                Accumulators::Registers(list)
            } else {
                if !self.continues() {
                    let z = self.e.free.take()?;
                    self.e.asm.load(ALL, z, start);
                    for part in 0..vectors {
                        self.e.asm.store(mask, self.place_of(*slot, part), z);
                    }
                    self.e.free.give(z);
                }
                Accumulators::Memory
            };
            self.accumulators.push((*slot, list));
        }
        Ok(())
    }

    /// Folds an operand onto its accumulator of the part at hand.
    pub(super) fn fold(&mut self, s: &Step) -> Result<(), Full> {
        let (Action::Fold(_, a, slot), Task::Fold(op, lane)) = (&s.action, s.task) else {
            unreachable!("it folds")
        };
        let x = self.source(*a)?;
        let (part, (_, within)) = (self.part, self.vectors());
        let list = self.accumulators.iter().find(|(s, _)| s == slot);
        match &list.expect("begun before the loop").1 {
            Accumulators::Registers(list) => {
                self.e.fold(op, lane, list[part], x, self.mask)?;
            }
            Accumulators::Memory => {
                let (z, at) = (self.e.free.take()?, self.place_of(*slot, part));
                self.e.asm.load(within, z, Src::Vector(at));
                self.e.fold(op, lane, z, x, self.mask)?;
                self.e.asm.store(within, at, z);
                self.e.free.give(z);
            }
        }
        self.done(*a);
        Ok(())
    }

    pub(super) fn end_folds(&mut self, steps: &Range<usize>) -> Result<(), Full> {
        let (vectors, mask) = self.vectors();
        let folds = std::mem::take(&mut self.accumulators);
        let steps =
            self.job.steps[steps.clone()].iter().filter(|s| matches!(s.action, Action::Fold(..)));
        for (s, (slot, list)) in steps.zip(folds) {
            match (&list, self.continues()) {
                (Accumulators::Memory, true) => continue,
                (Accumulators::Registers(list), true) => {
                    for (part, z) in list.iter().enumerate() {
                        self.e.asm.store(mask, self.place_of(slot, part), *z);
                        self.e.free.give(*z);
                    }
                    continue;
                }
                _ => {}
            }
            let list = match list {
                Accumulators::Registers(list) => list,
                Accumulators::Memory => {
                    let mut list = SmallVec::new();
                    for part in 0..vectors {
                        let z = self.e.free.take()?;
                        self.e.asm.load(mask, z, Src::Vector(self.place_of(slot, part)));
                        list.push(z);
                    }
                    list
                }
            };
            let Task::Fold(op, lane) = s.task else { unreachable!("folds alone are here") };
            let result = if vectors > 1 { self.e.tree(op, lane, &list)? } else { list[0] };
            self.row_result(s.out, result);
        }
        Ok(())
    }
}
