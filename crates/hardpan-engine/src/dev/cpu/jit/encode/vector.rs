//! Vector instructions by what they do, for either width.
use super::vex::SPARE;
use super::{ALL, Assembler, G, Mask, Mem, Op, RAX, Src, Width, Z, bits};

const SIGN: u32 = 0x8000_0000;

impl Assembler {
    /// An instruction on all lanes.
    fn vector(&mut self, op: Op, reg: u8, v: u8, rm: Src, imm: Option<u8>) {
        match self.width {
            Width::Ymm => self.vex(op, reg, v, rm, imm),
            Width::Zmm => self.evex(op, reg, v, rm, (0, false), imm),
        }
    }

    /// `dst = op(a, b)`
    pub fn op(&mut self, op: Op, dst: Z, a: Z, b: Src) {
        self.vector(op, dst.0, a.0, b, None);
    }

    /// `dst = op(a, b)` in the lanes of the mask; the others stay.
    pub fn op_where(&mut self, op: Op, mask: Mask, dst: Z, a: Z, b: Src) {
        match mask {
            Mask::All => self.op(op, dst, a, b),
            Mask::K(k) => self.evex(op, dst.0, a.0, b, (k, false), None),
            Mask::Lanes(lanes) => {
                self.op(op, SPARE, a, b);
                self.choose(lanes, dst, dst, Src::Reg(SPARE));
            }
        }
    }

    /// `dst = op(a)`
    pub fn op1(&mut self, op: Op, dst: Z, a: Src) {
        self.vector(op, dst.0, 0, a, None);
    }

    /// `dst = op(a)` with an immediate.
    pub fn op1_imm(&mut self, op: Op, dst: Z, a: Src, imm: u8) {
        self.vector(op, dst.0, 0, a, Some(imm));
    }

    /// Mask of the lanes (among those of `within`) where `a` and `b` compare so.
    pub fn compare(&mut self, op: Op, dst: Mask, within: Mask, a: Z, b: Src, predicate: u8) {
        let within_k = if let Mask::K(k) = within { k } else { 0 };
        match dst {
            Mask::All => unreachable!("the result needs a register"),
            Mask::K(k) => self.evex(op, k, a.0, b, (within_k, false), Some(predicate)),
            Mask::Lanes(dst) => self.compare_lanes(op, dst, within, a, b, predicate),
        }
    }

    /// Mask of the lanes where `a` is not 0.
    pub fn not_zero(&mut self, dst: Mask, a: Z) {
        match dst {
            Mask::All => unreachable!("the result needs a register"),
            Mask::K(k) => self.evex(Op::TEST, k, a.0, Src::Reg(a), (0, false), None),
            Mask::Lanes(dst) => {
                self.zero_lanes(dst, a);
                self.zero_lanes(dst, dst);
            }
        }
    }

    /// `dst = mask ? b : a`, lane by lane.
    pub fn blend(&mut self, mask: Mask, dst: Z, a: Z, b: Src) {
        match mask {
            Mask::All => self.load(ALL, dst, b),
            Mask::K(k) => self.evex(Op::BLEND, dst.0, a.0, b, (k, false), None),
            Mask::Lanes(lanes) => self.choose(lanes, dst, a, b),
        }
    }

    /// Shifts each 32-bit lane: `kind` is 2 for right, 4 for right with sign, 6 for left.
    pub fn shift(&mut self, kind: u8, dst: Z, a: Z, by: u8) {
        self.vector(Op::SHIFT, kind, dst.0, Src::Reg(a), Some(by));
    }

    /// A load (or a move between registers); lanes outside the mask become 0 and their memory is not touched.
    pub fn load(&mut self, mask: Mask, dst: Z, src: Src) {
        match (mask, src) {
            (Mask::All, _) => self.vector(self.loading(src), dst.0, 0, src, None),
            (Mask::K(k), _) => self.evex(self.loading(src), dst.0, 0, src, (k, true), None),
            (Mask::Lanes(lanes), Src::Vector(_)) => {
                self.vex(Op::LOAD_LANES, dst.0, lanes.0, src, None);
            }
            (Mask::Lanes(lanes), _) => self.op(Op::AND, dst, lanes, src),
        }
    }

    /// Moves a register or a repeated element in the lanes of the mask; the others stay.
    pub fn load_where(&mut self, mask: Mask, dst: Z, src: Src) {
        match mask {
            Mask::All => self.load(ALL, dst, src),
            Mask::K(k) => self.evex(self.loading(src), dst.0, 0, src, (k, false), None),
            Mask::Lanes(lanes) => self.choose(lanes, dst, dst, src),
        }
    }

    fn loading(&self, src: Src) -> Op {
        match (self.held_or(src), self.width) {
            (Src::Reg(_), _) => Op::MOVE,
            (Src::Vector(_), _) => Op::LOAD,
            // The pool has it in every lane.
            (Src::Each(Mem::Const(_)), Width::Ymm) => Op::LOAD,
            (Src::Each(_), _) => Op::REPEAT,
        }
    }

    /// Loads a constant that will be read from this register, until [`forget`](Self::forget).
    pub fn hold(&mut self, dst: Z, constant: u32) {
        self.load(ALL, dst, bits(constant));
        self.held.push((constant, dst));
    }

    /// The registers of [`hold`](Self::hold), which hold nothing from now on.
    pub fn forget(&mut self) -> Vec<Z> {
        self.held.drain(..).map(|(_, z)| z).collect()
    }

    /// The operand, from a register where it is a constant that one holds.
    pub(super) fn held_or(&self, src: Src) -> Src {
        match src {
            Src::Each(Mem::Const(bits)) => {
                self.held.iter().find(|(b, _)| *b == bits).map_or(src, |(_, z)| Src::Reg(*z))
            }
            _ => src,
        }
    }

    /// The first lane in every lane.
    pub fn repeat_first(&mut self, dst: Z, src: Z) {
        self.op1(Op::REPEAT, dst, Src::Reg(src));
    }

    /// The first lanes of `dst` become those of `src` from lane `by` on: half the register's, a quarter, and so on down to 1.
    pub fn bring_down(&mut self, dst: Z, src: Z, by: usize) {
        let from = Src::Reg(src);
        match (by, self.width) {
            (8, _) => self.vector(Op::SHUFFLE_QUARTERS, dst.0, src.0, from, Some(0b1110)),
            (4, Width::Zmm) => self.vector(Op::SHUFFLE_QUARTERS, dst.0, src.0, from, Some(0b01)),
            (4, Width::Ymm) => self.vector(Op::SHUFFLE_HALVES, dst.0, src.0, from, Some(0b01)),
            (2, _) => self.op1_imm(Op::PERMUTE, dst, from, 0b1110),
            (1, _) => self.op1_imm(Op::PERMUTE, dst, from, 0b01),
            _ => unreachable!("registers have 8 or 16 lanes"),
        }
    }

    /// Absolute value of `size` with the sign of `sign`.
    pub fn copy_sign(&mut self, size: Z, sign: Z) {
        match self.width {
            // Bit by bit: third operand ? second : first.
            Width::Zmm => self.vector(Op::TERNARY, size.0, sign.0, bits(SIGN), Some(0xd8)),
            Width::Ymm => {
                self.op(Op::AND, SPARE, sign, bits(SIGN));
                self.op(Op::AND, size, size, bits(!SIGN));
                self.op(Op::OR_I, size, size, Src::Reg(SPARE));
            }
        }
    }

    /// `p = p * 2^n` for `p` in 0.5..=2 and whole `n` within 254 of 0, which is lost. With `normal`, the result is a normal number,
    /// or nobody reads it.
    pub fn scale(&mut self, p: Z, n: Z, normal: bool) {
        if self.width == Width::Zmm {
            self.op(Op::SCALE, p, p, Src::Reg(n));
            return;
        }
        self.op1(Op::F_TO_INT, n, Src::Reg(n));
        if normal {
            // Onto the exponent.
            self.shift(6, n, n, 23);
            self.op(Op::ADD_I, p, p, Src::Reg(n));
            return;
        }
        // In two steps, as `lanes::math::scale`; the first one's result is normal. Of NaN, the n of the conversion leaves it.
        self.shift(4, SPARE, n, 1);
        self.op(Op::SUB_I, n, n, Src::Reg(SPARE));
        self.shift(6, SPARE, SPARE, 23);
        self.op(Op::ADD_I, p, p, Src::Reg(SPARE));
        self.op(Op::ADD_I, n, n, bits(127));
        self.shift(6, n, n, 23);
        self.op(Op::MUL, p, p, Src::Reg(n));
    }

    /// Writes the lanes of the mask.
    pub fn store(&mut self, mask: Mask, dst: Mem, src: Z) {
        let to = Src::Vector(dst);
        match mask {
            Mask::All => self.vector(Op::STORE, src.0, 0, to, None),
            Mask::K(k) => self.evex(Op::STORE, src.0, 0, to, (k, false), None),
            Mask::Lanes(lanes) => self.vex(Op::STORE_LANES, src.0, lanes.0, to, None),
        }
    }

    /// Writes all lanes past the caches; the address is a multiple of a register's size.
    pub fn stream(&mut self, dst: Mem, src: Z) {
        self.vector(Op::STREAM, src.0, 0, Src::Vector(dst), None);
    }

    /// Writes the first lane.
    pub fn store_one(&mut self, dst: Mem, src: Z) {
        self.vector(Op::STORE_ONE, src.0, 0, Src::Vector(dst), None);
    }

    /// Mask of the first `count` lanes, all if there are no more. May use rax; `count` is below 256.
    pub fn first_lanes(&mut self, mask: Mask, count: G) {
        match mask {
            Mask::All => unreachable!("the result needs a register"),
            Mask::K(k) => self.first_of_mask(k, count),
            Mask::Lanes(z) => self.first_of_lanes(z, count),
        }
    }

    /// The same for a count known beforehand, below the number of lanes.
    pub fn first_lanes_of(&mut self, mask: Mask, count: usize) {
        match mask {
            Mask::All => unreachable!("the result needs a register"),
            Mask::K(k) => {
                self.mov_imm(RAX, (1u32 << count) - 1);
                self.set_mask(k);
            }
            Mask::Lanes(z) => self.first_of_lanes_known(z, count),
        }
    }
}
