//! Which vector registers are free.
use super::encode::Z;

/// More values are alive at once than there are registers; the interpreter runs the program instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// The free ones of the 32 vector registers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Registers(u32);

impl Default for Registers {
    fn default() -> Self {
        Registers(u32::MAX)
    }
}

impl Registers {
    pub fn take(&mut self) -> Result<Z, Full> {
        if self.0 == 0 {
            return Err(Full);
        }
        let lowest = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Ok(Z(lowest as u8))
    }

    pub fn give(&mut self, z: Z) {
        debug_assert!(self.0 >> z.0 & 1 == 0, "register {} is free already", z.0);
        self.0 |= 1 << z.0;
    }
}
