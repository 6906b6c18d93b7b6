//! A small assembler: the AVX-512 instructions that fused programs need, and the few scalar ones around them.
//!
//! A vector instruction is a four-byte EVEX prefix, an opcode, a ModRM byte that names a register and a second register or an
//! address, then the address's displacement and sometimes an immediate byte. The prefix says which opcode table (`map`), which of
//! its variants (`pp`, `w`), the upper bits of the register numbers (inverted), a third register (`vvvv`), the vector length, a
//! mask register and whether a memory operand is one element repeated. The Intel manual, volume 2, section 2.7, has the layout.
//!
//! Constants go into a pool behind the code and are addressed relative to the instruction pointer.

/// A 512-bit register, 0 to 31.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Z(pub u8);

/// A mask register, 0 to 7; [`ALL`] stands for no mask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct K(pub u8);
/// No mask: every lane.
pub const ALL: K = K(0);

/// A general register, in the processor's numbering.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct G(pub u8);
pub const RAX: G = G(0);
pub const RCX: G = G(1);
pub const RDX: G = G(2);
pub const RBX: G = G(3);
pub const RBP: G = G(5);
pub const RSI: G = G(6);
pub const RDI: G = G(7);
pub const R8: G = G(8);
pub const R9: G = G(9);
pub const R10: G = G(10);
pub const R11: G = G(11);
pub const R12: G = G(12);
pub const R13: G = G(13);
pub const R14: G = G(14);
pub const R15: G = G(15);

/// An address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mem {
    /// `base + index + disp`
    At { base: G, index: Option<G>, disp: i32 },
    /// A constant of the pool, by its bits.
    Const(u32),
}

/// The last operand of a vector instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Src {
    /// A register.
    Reg(Z),
    /// 64 bytes of memory.
    Vector(Mem),
    /// Four bytes of memory, repeated in every lane.
    Each(Mem),
}

/// The constant `x` in every lane.
pub fn each(x: f32) -> Src {
    Src::Each(Mem::Const(x.to_bits()))
}

/// The bits in every lane.
pub fn bits(x: u32) -> Src {
    Src::Each(Mem::Const(x))
}

/// Which vector instruction: opcode table, variant, opcode.
#[derive(Clone, Copy)]
pub struct Op {
    map: u8,
    pp: u8,
    code: u8,
}

macro_rules! instructions {
    ($($name:ident = $map:literal $pp:literal $code:literal;)*) => {
        impl Op { $(pub const $name: Op = Op { map: $map, pp: $pp, code: $code };)* }
    };
}
// map: 1 is 0F, 2 is 0F38, 3 is 0F3A. pp: 0 is none, 1 is 66, 2 is F3.
instructions! {
    ADD = 1 0 0x58; MUL = 1 0 0x59; SUB = 1 0 0x5c; MIN = 1 0 0x5d; DIV = 1 0 0x5e; MAX = 1 0 0x5f;
    SQRT = 1 0 0x51; AND = 1 0 0x54; XOR = 1 0 0x57;
    // dst = dst * third + second, and second * dst + third.
    FMA132 = 2 1 0x98; FMA213 = 2 1 0xa8;
    // p * 2^floor(n)
    SCALE = 2 1 0x2c; BLEND = 2 1 0x65; INT_TO_F = 1 0 0x5b;
    ADD_I = 1 1 0xfe; SUB_I = 1 1 0xfa; MUL_I = 2 1 0x40; MAX_I = 2 1 0x3d; MIN_I = 2 1 0x39;
    ABS_I = 2 1 0x1e; AND_I = 1 1 0xdb; OR_I = 1 1 0xeb; XOR_I = 1 1 0xef;
    LOAD = 1 0 0x10; STORE = 1 0 0x11; MOVE = 1 0 0x28; STORE_ONE = 1 2 0x11; STREAM = 1 0 0x2b;
    REPEAT = 2 1 0x18;
    // With an immediate byte.
    COMPARE = 1 0 0xc2; COMPARE_I = 3 1 0x1f; ROUND = 3 1 0x08; TERNARY = 3 1 0x25;
    SHUFFLE_QUARTERS = 3 1 0x23; PERMUTE = 3 1 0x04; SHIFT = 1 1 0x72;
    // Mask of the lanes where both operands share a bit.
    TEST = 2 1 0x27;
}

/// Predicates of [`Op::COMPARE`]; those with "not" hold for NaN.
pub const EQ: u8 = 0x00;
pub const UNORDERED: u8 = 0x03;
pub const NOT_EQ: u8 = 0x04;
pub const ORDERED: u8 = 0x07;
pub const LT: u8 = 0x11;
pub const LE: u8 = 0x12;
pub const NOT_GE: u8 = 0x19;
pub const GT: u8 = 0x1e;

/// Conditions of a jump.
#[derive(Clone, Copy)]
pub enum When {
    Below = 2,
    Zero = 4,
    NotZero = 5,
    NotAbove = 6,
}

/// A place in the code that jumps lead to.
#[derive(Clone, Copy)]
pub struct Label(usize);

/// Code under construction.
#[derive(Default)]
pub struct Assembler {
    code: Vec<u8>,
    pool: Vec<u32>,
    /// Where a displacement to the pool stands, where its instruction ends, which constant.
    pool_uses: Vec<(usize, usize, usize)>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// Any vector instruction. `reg` is usually the destination, `v` the first source (0 where there is none).
    fn evex(&mut self, op: Op, reg: u8, v: u8, rm: Src, (mask, zero): (K, bool), imm: Option<u8>) {
        let bit = |x: u8, n: u8| (x >> n) & 1;
        let (x, b, repeat) = match rm {
            Src::Reg(z) => (bit(z.0, 4), bit(z.0, 3), 0),
            Src::Vector(m) | Src::Each(m) => {
                let (x, b) = match m {
                    Mem::At { base, index, .. } => {
                        (index.map_or(0, |i| bit(i.0, 3)), bit(base.0, 3))
                    }
                    Mem::Const(_) => (0, 0),
                };
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
        self.code.push((zero as u8) << 7 | 0b10 << 5 | repeat << 4 | not(bit(v, 4)) << 3 | mask.0);
        self.code.push(op.code);
        match rm {
            Src::Reg(z) => self.code.push(0xc0 | (reg & 7) << 3 | z.0 & 7),
            Src::Vector(m) | Src::Each(m) => self.address(reg, m, imm.is_some() as usize),
        }
        self.code.extend(imm);
    }

    /// ModRM, SIB and displacement of an address. `after` bytes of the instruction follow.
    fn address(&mut self, reg: u8, m: Mem, after: usize) {
        let reg = (reg & 7) << 3;
        match m {
            Mem::At { base, index, disp } => {
                // A base of rbp or r13 always has a displacement.
                let short = disp == 0 && base.0 & 7 != 5;
                self.code.push(if short { 0x04 } else { 0x84 } | reg);
                self.code.push(index.map_or(4, |i| i.0 & 7) << 3 | base.0 & 7);
                if !short {
                    self.code.extend(disp.to_le_bytes());
                }
            }
            Mem::Const(bits) => {
                let number = self.pool.iter().position(|c| *c == bits).unwrap_or_else(|| {
                    self.pool.push(bits);
                    self.pool.len() - 1
                });
                self.code.push(0x05 | reg);
                let at = self.code.len();
                self.code.extend([0; 4]);
                self.pool_uses.push((at, at + 4 + after, number));
            }
        }
    }

    /// `dst = op(a, b)`
    pub fn op(&mut self, op: Op, dst: Z, a: Z, b: Src) {
        self.evex(op, dst.0, a.0, b, (ALL, false), None);
    }

    /// `dst = op(a, b)` in the lanes of the mask; the others stay.
    pub fn op_where(&mut self, op: Op, mask: K, dst: Z, a: Z, b: Src) {
        self.evex(op, dst.0, a.0, b, (mask, false), None);
    }

    /// `dst = op(a)`
    pub fn op1(&mut self, op: Op, dst: Z, a: Src) {
        self.evex(op, dst.0, 0, a, (ALL, false), None);
    }

    /// `dst = op(a, b)` with an immediate.
    pub fn op_imm(&mut self, op: Op, dst: Z, a: Z, b: Src, imm: u8) {
        self.evex(op, dst.0, a.0, b, (ALL, false), Some(imm));
    }

    /// `dst = op(a)` with an immediate.
    pub fn op1_imm(&mut self, op: Op, dst: Z, a: Src, imm: u8) {
        self.evex(op, dst.0, 0, a, (ALL, false), Some(imm));
    }

    /// Mask of the lanes (among those of `within`) where `a` and `b` compare so.
    pub fn compare(&mut self, op: Op, dst: K, within: K, a: Z, b: Src, predicate: u8) {
        self.evex(op, dst.0, a.0, b, (within, false), Some(predicate));
    }

    /// Mask of the lanes where `a & b` is not 0.
    pub fn test(&mut self, dst: K, a: Z, b: Src) {
        self.evex(Op::TEST, dst.0, a.0, b, (ALL, false), None);
    }

    /// `dst = mask ? b : a`, lane by lane.
    pub fn blend(&mut self, mask: K, dst: Z, a: Z, b: Src) {
        self.evex(Op::BLEND, dst.0, a.0, b, (mask, false), None);
    }

    /// Shifts each 32-bit lane: `kind` is 2 for right, 4 for right with sign, 6 for left.
    pub fn shift(&mut self, kind: u8, dst: Z, a: Z, by: u8) {
        self.evex(Op::SHIFT, kind, dst.0, Src::Reg(a), (ALL, false), Some(by));
    }

    /// A load (or a move between registers); lanes outside the mask become 0 and their memory is not touched.
    pub fn load(&mut self, mask: K, dst: Z, src: Src) {
        let zero = mask != ALL;
        match src {
            Src::Reg(_) => self.evex(Op::MOVE, dst.0, 0, src, (mask, zero), None),
            Src::Vector(_) => self.evex(Op::LOAD, dst.0, 0, src, (mask, zero), None),
            Src::Each(_) => self.evex(Op::REPEAT, dst.0, 0, src, (mask, zero), None),
        }
    }

    /// Moves in the lanes of the mask; the others stay.
    pub fn load_where(&mut self, mask: K, dst: Z, src: Src) {
        let op = match src {
            Src::Reg(_) => Op::MOVE,
            Src::Vector(_) => Op::LOAD,
            Src::Each(_) => Op::REPEAT,
        };
        self.evex(op, dst.0, 0, src, (mask, false), None);
    }

    /// The first lane in every lane.
    pub fn repeat_first(&mut self, dst: Z, src: Z) {
        self.evex(Op::REPEAT, dst.0, 0, Src::Reg(src), (ALL, false), None);
    }

    /// Writes the lanes of the mask.
    pub fn store(&mut self, mask: K, dst: Mem, src: Z) {
        self.evex(Op::STORE, src.0, 0, Src::Vector(dst), (mask, false), None);
    }

    /// Writes all lanes past the caches; the address is a multiple of 64.
    pub fn stream(&mut self, dst: Mem, src: Z) {
        self.evex(Op::STREAM, src.0, 0, Src::Vector(dst), (ALL, false), None);
    }

    /// Streamed writes become visible before later ones.
    pub fn fence(&mut self) {
        self.code.extend([0x0f, 0xae, 0xf8]);
    }

    /// Writes the first lane.
    pub fn store_one(&mut self, dst: Mem, src: Z) {
        self.evex(Op::STORE_ONE, src.0, 0, Src::Vector(dst), (ALL, false), None);
    }

    /// A 64-bit scalar instruction on two registers, `rm` being the one that most of them write.
    fn scalar(&mut self, opcode: u8, reg: u8, rm: G) {
        self.code.push(0x48 | (reg >> 3) << 2 | rm.0 >> 3);
        self.code.push(opcode);
        self.code.push(0xc0 | (reg & 7) << 3 | rm.0 & 7);
    }

    pub fn mov(&mut self, dst: G, src: G) {
        self.scalar(0x89, src.0, dst);
    }

    pub fn add(&mut self, dst: G, src: G) {
        self.scalar(0x01, src.0, dst);
    }

    pub fn sub(&mut self, dst: G, src: G) {
        self.scalar(0x29, src.0, dst);
    }

    pub fn cmp(&mut self, a: G, b: G) {
        self.scalar(0x39, b.0, a);
    }

    pub fn add_imm(&mut self, dst: G, imm: i32) {
        self.scalar(0x81, 0, dst);
        self.code.extend(imm.to_le_bytes());
    }

    pub fn and_imm(&mut self, dst: G, imm: i32) {
        self.scalar(0x81, 4, dst);
        self.code.extend(imm.to_le_bytes());
    }

    /// Subtracts; sets the flags.
    pub fn sub_imm(&mut self, dst: G, imm: i32) {
        self.scalar(0x81, 5, dst);
        self.code.extend(imm.to_le_bytes());
    }

    /// Shifts left.
    pub fn shl(&mut self, dst: G, by: u8) {
        self.scalar(0xc1, 4, dst);
        self.code.push(by);
    }

    /// Shifts right; sets the flags.
    pub fn shr(&mut self, dst: G, by: u8) {
        self.scalar(0xc1, 5, dst);
        self.code.push(by);
    }

    pub fn mov_imm(&mut self, dst: G, imm: u32) {
        if dst.0 >= 8 {
            self.code.push(0x41);
        }
        self.code.push(0xb8 | dst.0 & 7);
        self.code.extend(imm.to_le_bytes());
    }

    /// `dst = *(base + disp)`, 64 bits.
    pub fn read(&mut self, dst: G, base: G, disp: i32) {
        self.code.push(0x48 | (dst.0 >> 3) << 2 | base.0 >> 3);
        self.code.push(0x8b);
        self.address(dst.0, Mem::At { base, index: None, disp }, 0);
    }

    pub fn push(&mut self, g: G) {
        if g.0 >= 8 {
            self.code.push(0x41);
        }
        self.code.push(0x50 | g.0 & 7);
    }

    pub fn pop(&mut self, g: G) {
        if g.0 >= 8 {
            self.code.push(0x41);
        }
        self.code.push(0x58 | g.0 & 7);
    }

    /// Mask of the first `count` lanes (all from 16 on), through rax. `count` is below 256.
    pub fn first_lanes(&mut self, mask: K, count: G) {
        self.mov_imm(RAX, u32::MAX);
        // bzhi eax, eax, count: clears the bits from `count` on.
        self.code.extend([0xc4, 0xe2, (!count.0 & 15) << 3, 0xf5, 0xc0]);
        self.set_mask(mask);
    }

    /// Mask of the first `count` lanes, known beforehand, through rax.
    pub fn first_lanes_of(&mut self, mask: K, count: usize) {
        self.mov_imm(RAX, (1u32 << count) - 1);
        self.set_mask(mask);
    }

    /// kmovw mask, eax
    fn set_mask(&mut self, mask: K) {
        self.code.extend([0xc5, 0xf8, 0x92, 0xc0 | mask.0 << 3]);
    }

    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    pub fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.code.len());
    }

    /// A label here, at a multiple of 32 bytes: the start of a loop.
    pub fn loop_start(&mut self) -> Label {
        while !self.code.len().is_multiple_of(32) {
            self.code.push(0x90);
        }
        let label = self.label();
        self.bind(label);
        label
    }

    pub fn jump_if(&mut self, when: When, to: Label) {
        self.code.extend([0x0f, 0x80 | when as u8]);
        self.jumps.push((self.code.len(), to));
        self.code.extend([0; 4]);
    }

    pub fn jump(&mut self, to: Label) {
        self.code.push(0xe9);
        self.jumps.push((self.code.len(), to));
        self.code.extend([0; 4]);
    }

    /// Returns to the caller, with the upper halves of the vector registers clean as the calling convention asks.
    pub fn ret(&mut self) {
        self.code.extend([0xc5, 0xf8, 0x77, 0xc3]);
    }

    /// The finished code, position-independent, its constants behind it.
    pub fn finish(mut self) -> Vec<u8> {
        while !self.code.len().is_multiple_of(64) {
            self.code.push(0xcc);
        }
        let pool = self.code.len();
        for c in &self.pool {
            self.code.extend(c.to_le_bytes());
        }
        let mut patch = |at: usize, value: i64| {
            let value = i32::try_from(value).expect("kernels are far smaller than 2 GiB");
            self.code[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        for (at, end, number) in &self.pool_uses {
            patch(*at, (pool + number * 4) as i64 - *end as i64);
        }
        for (at, label) in &self.jumps {
            let to = self.labels[label.0].expect("every label is bound");
            patch(*at, to as i64 - (*at + 4) as i64);
        }
        self.code
    }
}
