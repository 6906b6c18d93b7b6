//! Making room in a body that needs more registers than there are: full values go to memory, and are read again where they are
//! needed.
use super::{Full, Loops, Where};
use crate::dev::cpu::jit::encode::Mask;
use crate::dev::cpu::vm::{Extent, Step, Val};

impl Loops<'_> {
    /// A step of a body. If registers run out, it is undone, the value needed last moves to memory, and the step comes again.
    pub(super) fn step_sparing(&mut self, steps: &[Step], i: usize) -> Result<(), Full> {
        loop {
            let code = self.e.asm.mark();
            let (free, place, uses) = (self.e.free, self.place.clone(), self.uses.clone());
            if self.step(steps, &steps[i]).is_ok() {
                return Ok(());
            }
            self.e.asm.rewind(code);
            (self.e.free, self.place, self.uses) = (free, place, uses);
            self.evict(steps, i)?;
        }
    }

    /// Frees the register of the value that no step reads for the longest time from step `i` on, but one that this step reads.
    fn evict(&mut self, steps: &[Step], i: usize) -> Result<(), Full> {
        let next_use = |l: &Self, v: Val| {
            steps[i..].iter().position(|s| s.operands().iter().any(|a| l.alias[*a] == v))
        };
        let movable = |l: &Self, v: Val| match l.place[v] {
            Where::Register(_) => !l.resident[v],
            Where::Mask(mask) => matches!(mask, Mask::Lanes(_)),
            Where::Memory => false,
        };
        let v = (0..self.place.len())
            .filter(|v| movable(self, *v) && next_use(self, *v) != Some(0))
            .max_by_key(|v| next_use(self, *v))
            .ok_or(Full)?;
        let (Where::Register(z) | Where::Mask(Mask::Lanes(z))) = self.place[v] else {
            unreachable!("it was movable")
        };
        // A mask is not 0 where it holds, as a condition in memory. What was not made here is in memory already.
        let made_here = steps[..i].iter().any(|s| s.out == v);
        if made_here && !self.job.kept[v] {
            debug_assert!(self.job.values[v].extent == Extent::Full);
            let to = self.address(v);
            self.e.asm.store(self.mask, to, z);
        }
        self.e.free.give(z);
        self.place[v] = Where::Memory;
        Ok(())
    }
}
