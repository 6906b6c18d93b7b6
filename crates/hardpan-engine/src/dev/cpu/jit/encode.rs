//! A small assembler: the vector instructions that fused programs need, and the few scalar ones around them.
//!
//! A vector instruction is a prefix, an opcode, a ModRM byte that names a register and a second register or an address, then the
//! address's displacement and sometimes an immediate byte. The prefix says which opcode table (`map`), which of its variants
//! (`pp`), the upper bits of the register numbers (inverted), a third register (`vvvv`) and the vector length. Its two forms are
//! in [`evex`] (AVX-512) and [`vex`] (AVX2): the rest of most instructions is the same. [`vector`] has the instructions by what
//! they do, and hides that AVX2 has neither mask registers nor operands that repeat one element.
//!
//! Constants go into a pool behind the code and are addressed relative to the instruction pointer.

mod evex;
mod vector;
mod vex;

use crate::dev::cpu::isa::Isa;

/// How wide the vector registers are, and with that which instructions there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// 256 bits: AVX2, 16 registers.
    Ymm,
    /// 512 bits: AVX-512, 32 registers and those for masks.
    Zmm,
}

impl Width {
    /// That of an instruction set, where there is code for it.
    pub fn of(isa: Isa) -> Option<Width> {
        match isa {
            Isa::Avx2 => Some(Width::Ymm),
            Isa::Avx512 => Some(Width::Zmm),
            Isa::Scalar | Isa::Neon => None,
        }
    }

    /// Elements of four bytes in a register.
    pub fn lanes(self) -> usize {
        match self {
            Width::Ymm => 8,
            Width::Zmm => 16,
        }
    }
}

/// A vector register: 0 to 15, of AVX-512 to 31.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Z(pub u8);

/// Which lanes an instruction concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mask {
    /// Every one.
    All,
    /// Those of a mask register, 1 to 7 (AVX-512).
    K(u8),
    /// Those whose bits are all set in a vector register, those of the others being 0 (AVX2).
    Lanes(Z),
}
/// No mask: every lane.
pub const ALL: Mask = Mask::All;

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
    /// A constant by its bits, which go to the pool.
    Const(u32),
    /// What lies in the pool from this element on.
    Pool(usize),
}

impl Mem {
    /// The upper bits of the index's and the base's number.
    fn high_bits(self) -> (u8, u8) {
        match self {
            Mem::At { base, index, .. } => (index.map_or(0, |i| i.0 >> 3), base.0 >> 3),
            Mem::Const(_) | Mem::Pool(_) => (0, 0),
        }
    }
}

/// The last operand of a vector instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Src {
    /// A register.
    Reg(Z),
    /// A register's width of memory.
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
// map: 1 is 0F, 2 is 0F38, 3 is 0F3A. pp: 0 is none, 1 is 66, 2 is F3. Both instruction sets have them unless it says otherwise.
instructions! {
    ADD = 1 0 0x58; MUL = 1 0 0x59; SUB = 1 0 0x5c; MIN = 1 0 0x5d; DIV = 1 0 0x5e; MAX = 1 0 0x5f;
    SQRT = 1 0 0x51; AND = 1 0 0x54; XOR = 1 0 0x57;
    // dst = dst * third + second, second * dst + third, second * third + dst.
    FMA132 = 2 1 0x98; FMA213 = 2 1 0xa8; FMA231 = 2 1 0xb8;
    INT_TO_F = 1 0 0x5b; F_TO_INT = 1 1 0x5b;
    ADD_I = 1 1 0xfe; SUB_I = 1 1 0xfa; MUL_I = 2 1 0x40; MAX_I = 2 1 0x3d; MIN_I = 2 1 0x39;
    ABS_I = 2 1 0x1e; AND_I = 1 1 0xdb; OR_I = 1 1 0xeb; XOR_I = 1 1 0xef;
    LOAD = 1 0 0x10; STORE = 1 0 0x11; MOVE = 1 0 0x28; STORE_ONE = 1 2 0x11; STREAM = 1 0 0x2b;
    REPEAT = 2 1 0x18;
    // With an immediate byte.
    COMPARE = 1 0 0xc2; ROUND = 3 1 0x08; PERMUTE = 3 1 0x04; SHIFT = 1 1 0x72;
    // AVX-512: p * 2^floor(n), and the mask of the lanes where both operands share a bit.
    SCALE = 2 1 0x2c; TEST = 2 1 0x27;
    BLEND = 2 1 0x65; COMPARE_I = 3 1 0x1f; TERNARY = 3 1 0x25; SHUFFLE_QUARTERS = 3 1 0x23;
    // AVX2.
    EQUAL_I = 1 1 0x76; GREATER_I = 1 1 0x66; CHOOSE = 3 1 0x4a; LOAD_LANES = 2 1 0x2c;
    STORE_LANES = 2 1 0x2e; SHUFFLE_HALVES = 3 1 0x06; FROM_GENERAL = 1 1 0x6e; REPEAT_I = 2 1 0x58;
}

/// Predicates of [`Op::COMPARE_I`].
pub const EQ_I: u8 = 0;
pub const LT_I: u8 = 1;
pub const LE_I: u8 = 2;

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

/// How far code had come.
#[derive(Clone, Copy)]
pub struct Mark {
    code: usize,
    pool_uses: usize,
    jumps: usize,
}

/// Code under construction.
pub struct Assembler {
    pub width: Width,
    code: Vec<u8>,
    pool: Vec<u32>,
    /// Where a displacement to the pool stands, where its instruction ends, which element.
    pool_uses: Vec<(usize, usize, usize)>,
    /// Constants that are in every lane of a register.
    held: Vec<(u32, Z)>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    pub fn new(width: Width) -> Assembler {
        let (code, pool, pool_uses) = (Vec::new(), Vec::new(), Vec::new());
        let (held, labels, jumps) = (Vec::new(), Vec::new(), Vec::new());
        Assembler { width, code, pool, pool_uses, held, labels, jumps }
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
            Mem::Const(_) | Mem::Pool(_) => {
                let number = match m {
                    Mem::Const(bits) => self.pooled(&[bits]),
                    Mem::Pool(number) => number,
                    Mem::At { .. } => unreachable!("matched above"),
                };
                self.code.push(0x05 | reg);
                let at = self.code.len();
                self.code.extend([0; 4]);
                self.pool_uses.push((at, at + 4 + after, number));
            }
        }
    }

    /// Where the pool has these elements. All constants of a function are equally long.
    fn pooled(&mut self, elements: &[u32]) -> usize {
        let n = elements.len();
        let number = self.pool.chunks(n).position(|c| c == elements).unwrap_or_else(|| {
            self.pool.extend(elements);
            self.pool.len() / n - 1
        });
        number * n
    }

    /// Streamed writes become visible before later ones.
    pub fn fence(&mut self) {
        self.code.extend([0x0f, 0xae, 0xf8]);
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

    /// The state of the code, to [`rewind`](Self::rewind) to. No label is made or bound in between.
    pub fn mark(&self) -> Mark {
        Mark { code: self.code.len(), pool_uses: self.pool_uses.len(), jumps: self.jumps.len() }
    }

    /// The constants that were used since, those used most often first.
    pub fn constants_since(&self, mark: Mark) -> Vec<u32> {
        let mut counts: Vec<(u32, usize)> = Vec::new();
        for (_, _, number) in &self.pool_uses[mark.pool_uses..] {
            let bits = self.pool[*number];
            match counts.iter_mut().find(|(b, _)| *b == bits) {
                Some((_, n)) => *n += 1,
                None => counts.push((bits, 1)),
            }
        }
        counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        counts.into_iter().map(|(bits, _)| bits).collect()
    }

    /// Forgets what was written since. Its constants stay in the pool.
    pub fn rewind(&mut self, to: Mark) {
        self.code.truncate(to.code);
        self.pool_uses.truncate(to.pool_uses);
        self.jumps.truncate(to.jumps);
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
