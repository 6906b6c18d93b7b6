//! AVX2's form of an instruction: a prefix of three bytes. The Intel manual, volume 2, section 2.3, has the layout.
//!
//! There are no mask registers, so that comparisons set all bits of a lane, and a choice reads them from a vector register. No
//! operand is one element repeated: constants are in the pool once for every lane, and from elsewhere [`SPARE`] gets the copies.
use super::{Assembler, G, LE_I, LT_I, Mask, Mem, Op, Src, Z};

/// Holds what lives within one of the assembler's instructions.
pub(super) const SPARE: Z = Z(15);

impl Assembler {
    /// Any vector instruction. `reg` is usually the destination, `v` the first source (0 where there is none).
    pub(super) fn vex(&mut self, op: Op, reg: u8, v: u8, rm: Src, imm: Option<u8>) {
        let rm = match self.held_or(rm) {
            // It repeats by itself.
            Src::Each(m @ Mem::At { .. }) if op.code == Op::REPEAT.code && op.map == 2 => {
                Src::Vector(m)
            }
            Src::Each(m) => self.repeated(m),
            rm => rm,
        };
        self.vex_of(1, op, reg, v, rm, imm);
    }

    /// With the bit that says how long vectors are.
    fn vex_of(&mut self, long: u8, op: Op, reg: u8, v: u8, rm: Src, imm: Option<u8>) {
        let (x, b) = match rm {
            Src::Reg(z) => (0, z.0 >> 3),
            Src::Vector(m) | Src::Each(m) => m.high_bits(),
        };
        let not = |x: u8| x ^ 1;
        self.code.extend([
            0xc4,
            not(reg >> 3) << 7 | not(x) << 6 | not(b) << 5 | op.map,
            (!v & 15) << 3 | long << 2 | op.pp,
            op.code,
        ]);
        match rm {
            Src::Reg(z) => self.code.push(0xc0 | (reg & 7) << 3 | z.0 & 7),
            Src::Vector(m) | Src::Each(m) => self.address(reg, m, imm.is_some() as usize),
        }
        self.code.extend(imm);
    }

    /// One element in every lane, as an operand.
    fn repeated(&mut self, m: Mem) -> Src {
        match m {
            Mem::Const(bits) => Src::Vector(Mem::Pool(self.pooled(&[bits; 8]))),
            _ => {
                self.vex(Op::REPEAT, SPARE.0, 0, Src::Vector(m), None);
                Src::Reg(SPARE)
            }
        }
    }

    /// `dst = lanes ? b : a`
    pub(super) fn choose(&mut self, lanes: Z, dst: Z, a: Z, b: Src) {
        self.vex(Op::CHOOSE, dst.0, a.0, b, Some(lanes.0 << 4));
    }

    /// All bits of the lanes (among those of `within`) where `a` and `b` compare so.
    pub(super) fn compare_lanes(
        &mut self,
        op: Op,
        dst: Z,
        within: Mask,
        a: Z,
        b: Src,
        predicate: u8,
    ) {
        if op.code == Op::COMPARE.code {
            self.vex(op, dst.0, a.0, b, Some(predicate));
        } else {
            self.compare_integers(dst, a, b, predicate);
        }
        if let Mask::Lanes(z) = within {
            self.vex(Op::AND, dst.0, dst.0, Src::Reg(z), None);
        }
    }

    fn compare_integers(&mut self, dst: Z, a: Z, b: Src, predicate: u8) {
        match predicate {
            LT_I => {
                let b = match b {
                    Src::Reg(b) => b,
                    _ => {
                        self.load(Mask::All, SPARE, b);
                        SPARE
                    }
                };
                self.vex(Op::GREATER_I, dst.0, b.0, Src::Reg(a), None);
            }
            LE_I => {
                self.vex(Op::GREATER_I, dst.0, a.0, b, None);
                self.zero_lanes(dst, dst);
            }
            _ => self.vex(Op::EQUAL_I, dst.0, a.0, b, None),
        }
    }

    /// All bits of the lanes where `a` is 0.
    pub(super) fn zero_lanes(&mut self, dst: Z, a: Z) {
        self.vex(Op::EQUAL_I, dst.0, a.0, Src::Each(Mem::Const(0)), None);
    }

    /// All bits of the first `count` lanes (of all from 8 on).
    pub(super) fn first_of_lanes(&mut self, dst: Z, count: G) {
        let numbers = Mem::Pool(self.pooled(&std::array::from_fn::<u32, 8, _>(|i| i as u32)));
        self.vex_of(0, Op::FROM_GENERAL, dst.0, 0, Src::Reg(Z(count.0)), None);
        self.vex(Op::REPEAT_I, dst.0, 0, Src::Reg(dst), None);
        self.vex(Op::GREATER_I, dst.0, dst.0, Src::Vector(numbers), None);
    }

    /// The same for a count known beforehand.
    pub(super) fn first_of_lanes_known(&mut self, dst: Z, count: usize) {
        let bits = std::array::from_fn::<u32, 8, _>(|i| if i < count { u32::MAX } else { 0 });
        let bits = Mem::Pool(self.pooled(&bits));
        self.vex(Op::LOAD, dst.0, 0, Src::Vector(bits), None);
    }
}
