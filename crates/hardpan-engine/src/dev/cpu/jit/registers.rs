//! Which registers for vectors and masks are free.
use super::encode::{Mask, Width, Z};

/// More values are alive at once than there are registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// The free registers: a bit for each.
#[derive(Clone, Copy)]
pub struct Registers {
    vectors: u32,
    /// Those that were free all the time since [`Registers::watch`].
    untouched: u32,
    /// Mask registers, where there are any; else masks are in vector registers.
    masks: Option<u8>,
}

impl Registers {
    pub fn new(width: Width) -> Registers {
        match width {
            // The assembler keeps the last one.
            Width::Ymm => Registers { vectors: 0x7fff, untouched: 0, masks: None },
            // Number 0 stands for no mask.
            Width::Zmm => Registers { vectors: u32::MAX, untouched: 0, masks: Some(0xfe) },
        }
    }

    pub fn take(&mut self) -> Result<Z, Full> {
        if self.vectors == 0 {
            return Err(Full);
        }
        let lowest = self.vectors.trailing_zeros();
        self.vectors &= self.vectors - 1;
        self.untouched &= self.vectors;
        Ok(Z(lowest as u8))
    }

    /// Begins to count the registers that are taken.
    pub fn watch(&mut self) {
        self.untouched = self.vectors;
    }

    /// How many more could have been taken since then, at the time when fewest were free. (The lowest one is always taken first.)
    pub fn never_taken(&self) -> usize {
        self.untouched.count_ones() as usize
    }

    /// True when the same ones are free.
    pub fn same_as(&self, other: &Registers) -> bool {
        (self.vectors, self.masks) == (other.vectors, other.masks)
    }

    pub fn give(&mut self, z: Z) {
        debug_assert!(self.vectors >> z.0 & 1 == 0, "register {} is free already", z.0);
        self.vectors |= 1 << z.0;
    }

    pub fn take_mask(&mut self) -> Result<Mask, Full> {
        match &mut self.masks {
            None => Ok(Mask::Lanes(self.take()?)),
            Some(0) => Err(Full),
            Some(masks) => {
                let lowest = masks.trailing_zeros();
                *masks &= *masks - 1;
                Ok(Mask::K(lowest as u8))
            }
        }
    }

    pub fn give_mask(&mut self, mask: Mask) {
        match mask {
            Mask::All => {}
            Mask::Lanes(z) => self.give(z),
            Mask::K(k) => self.masks = self.masks.map(|masks| masks | 1 << k),
        }
    }

    /// True where masks have registers of their own.
    pub fn has_masks(&self) -> bool {
        self.masks.is_some()
    }

    /// True when a mask can be held for long: another one, for a few instructions, is left then.
    pub fn can_hold_mask(&self) -> bool {
        self.masks.is_none_or(|masks| masks.count_ones() > 1)
    }
}
