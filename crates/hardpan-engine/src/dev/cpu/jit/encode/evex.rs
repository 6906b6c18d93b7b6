//! AVX-512's form of an instruction: a prefix of four bytes that can also name a mask register, and say that a memory operand is
//! one element repeated in every lane. The Intel manual, volume 2, section 2.7, has the layout.
use super::{Assembler, G, Op, RAX, Src};

impl Assembler {
    /// Any vector instruction. `reg` is usually the destination, `v` the first source (0 where there is none). Of the mask: its
    /// number (0 for none), and whether the other lanes become 0.
    pub(super) fn evex(
        &mut self,
        op: Op,
        reg: u8,
        v: u8,
        rm: Src,
        (mask, zero): (u8, bool),
        imm: Option<u8>,
    ) {
        let rm = self.held_or(rm);
        let bit = |x: u8, n: u8| (x >> n) & 1;
        let (x, b, repeat) = match rm {
            Src::Reg(z) => (bit(z.0, 4), bit(z.0, 3), 0),
            Src::Vector(m) | Src::Each(m) => {
                let (x, b) = m.high_bits();
                (x, b, matches!(rm, Src::Each(_)) as u8)
            }
        };
        // Loads that repeat, and stores of one element, have the repetition in their meaning.
        let repeat = if op.code == Op::REPEAT.code && op.map == 2 { 0 } else { repeat };
        let not = |x: u8| x ^ 1;
        self.code.push(0x62);
        self.code.push(
            not(bit(reg, 3)) << 7 | not(x) << 6 | not(b) << 5 | not(bit(reg, 4)) << 4 | op.map,
        );
        self.code.push((!v & 15) << 3 | 4 | op.pp);
        self.code.push((zero as u8) << 7 | 0b10 << 5 | repeat << 4 | not(bit(v, 4)) << 3 | mask);
        self.code.push(op.code);
        match rm {
            Src::Reg(z) => self.code.push(0xc0 | (reg & 7) << 3 | z.0 & 7),
            Src::Vector(m) | Src::Each(m) => self.address(reg, m, imm.is_some() as usize),
        }
        self.code.extend(imm);
    }

    /// Mask register `k`: the first `count` lanes (all from 16 on), through rax. `count` is below 256.
    pub(super) fn first_of_mask(&mut self, k: u8, count: G) {
        self.mov_imm(RAX, u32::MAX);
        // bzhi eax, eax, count: clears the bits from `count` on.
        self.code.extend([0xc4, 0xe2, (!count.0 & 15) << 3, 0xf5, 0xc0]);
        self.set_mask(k);
    }

    /// kmovw k, eax
    pub(super) fn set_mask(&mut self, k: u8) {
        self.code.extend([0xc5, 0xf8, 0x92, 0xc0 | k << 3]);
    }
}
