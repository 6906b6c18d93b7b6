//! Which registers for vectors and masks are free.
use super::encode::{Mask, Width, Z};

/// More values are alive at once than there are registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// The free registers: a bit for each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    vectors: u32,
    /// Mask registers, where there are any; else masks are in vector registers.
    masks: Option<u8>,
}

impl Registers {
    pub fn new(width: Width) -> Registers {
        match width {
            // The assembler keeps the last one.
            Width::Ymm => Registers { vectors: 0x7fff, masks: None },
            // Number 0 stands for no mask.
            Width::Zmm => Registers { vectors: u32::MAX, masks: Some(0xfe) },
        }
    }

    pub fn take(&mut self) -> Result<Z, Full> {
        if self.vectors == 0 {
            return Err(Full);
        }
        let lowest = self.vectors.trailing_zeros();
        self.vectors &= self.vectors - 1;
        Ok(Z(lowest as u8))
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
