//! The instructions of each elementwise operation, equal bit for bit to the vector loops in [`lanes`](crate::dev::cpu::lanes).
//!
//! The elementary functions are those of [`lanes::math`](crate::dev::cpu::lanes::math), step by step; see there for where the
//! polynomials come from. `2^n * p` is one instruction here: wherever the two-step product there is used, its first step is exact.

use super::encode::*;
use super::registers::{Full, Registers};
use super::task::Task;
use crate::dtype::{DType, Lane};
use crate::op::{BinaryOp, ReduceOp, UnaryOp};

impl Task {
    /// A comparison, whose result can stay in a mask register.
    pub fn comparison(self) -> Option<(Op, u8)> {
        let Task::Binary(op, lane) = self else { return None };
        Some(match (op, lane) {
            (BinaryOp::Lt, Lane::F32) => (Op::COMPARE, LT),
            (BinaryOp::Le, Lane::F32) => (Op::COMPARE, LE),
            (BinaryOp::Eq, Lane::F32) => (Op::COMPARE, EQ),
            (BinaryOp::Lt, Lane::I32) => (Op::COMPARE_I, 1),
            (BinaryOp::Le, Lane::I32) => (Op::COMPARE_I, 2),
            (BinaryOp::Eq, Lane::I32) => (Op::COMPARE_I, 0),
            _ => return None,
        })
    }
}

const SIGN: u32 = 0x8000_0000;
/// Adding it leaves the nearest whole number in the low bits of a float.
const MAGIC: f32 = 12_582_912.0;
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;
/// Masks that hold for a few instructions.
pub const SCRATCH: K = K(2);

/// Instructions for operations on whole registers. Results come in new registers; operands stay.
pub struct Emit {
    pub asm: Assembler,
    pub free: Registers,
}

type R = Result<Z, Full>;

impl Emit {
    fn constant(&mut self, x: f32) -> R {
        let z = self.free.take()?;
        self.asm.load(ALL, z, each(x));
        Ok(z)
    }

    fn copy(&mut self, a: Z) -> R {
        let z = self.free.take()?;
        self.asm.load(ALL, z, Src::Reg(a));
        Ok(z)
    }

    fn give(&mut self, registers: &[Z]) {
        registers.iter().for_each(|z| self.free.give(*z));
    }

    /// 1 in the lanes of the mask, else 0.
    pub fn mask_to_int(&mut self, mask: K) -> R {
        let z = self.free.take()?;
        self.asm.load(mask, z, bits(1));
        Ok(z)
    }

    pub fn unary(&mut self, op: UnaryOp, lane: Lane, a: Z) -> R {
        match (op, lane) {
            (UnaryOp::Exp, _) => return self.exp(a),
            (UnaryOp::Log, _) => return self.log(a),
            (UnaryOp::Tanh, _) => return self.tanh(a),
            (UnaryOp::Erf, _) => return self.erf(a),
            _ => {}
        }
        let z = self.free.take()?;
        let (asm, a_) = (&mut self.asm, Src::Reg(a));
        match (op, lane) {
            (UnaryOp::Neg, Lane::F32) => asm.op(Op::XOR, z, a, bits(SIGN)),
            (UnaryOp::Abs, Lane::F32) => asm.op(Op::AND, z, a, bits(!SIGN)),
            (UnaryOp::Sqrt, _) => asm.op1(Op::SQRT, z, a_),
            (UnaryOp::Recip, _) => {
                asm.load(ALL, z, each(1.0));
                asm.op(Op::DIV, z, z, a_);
            }
            (UnaryOp::Floor, _) => asm.op1_imm(Op::ROUND, z, a_, 9),
            (UnaryOp::Round, _) => asm.op1_imm(Op::ROUND, z, a_, 8),
            (UnaryOp::Not, Lane::F32) => {
                asm.compare(Op::COMPARE, SCRATCH, ALL, a, each(0.0), EQ);
                asm.load(SCRATCH, z, each(1.0));
            }
            (UnaryOp::Neg, _) => {
                asm.load(ALL, z, bits(0));
                asm.op(Op::SUB_I, z, z, a_);
            }
            (UnaryOp::Abs, _) => asm.op1(Op::ABS_I, z, a_),
            (UnaryOp::Not, _) => {
                asm.compare(Op::COMPARE_I, SCRATCH, ALL, a, bits(0), EQ);
                asm.load(SCRATCH, z, bits(1));
            }
            _ => unreachable!("not a known task"),
        }
        Ok(z)
    }

    pub fn binary(&mut self, op: BinaryOp, lane: Lane, a: Z, b: Src) -> R {
        if let Some((compare, predicate)) = Task::Binary(op, lane).comparison() {
            self.asm.compare(compare, SCRATCH, ALL, a, b, predicate);
            return self.mask_to_int(SCRATCH);
        }
        let z = self.free.take()?;
        let asm = &mut self.asm;
        use BinaryOp as B;
        match (op, lane) {
            (B::Max | B::Min, Lane::F32) => {
                let op = if op == B::Max { Op::MAX } else { Op::MIN };
                asm.op(op, z, a, b);
                // Where a is NaN the instruction gives b.
                asm.compare(Op::COMPARE, SCRATCH, ALL, a, Src::Reg(a), UNORDERED);
                asm.load_where(SCRATCH, z, Src::Reg(a));
            }
            _ => {
                let op = match (op, lane) {
                    (B::Add, Lane::F32) => Op::ADD,
                    (B::Sub, Lane::F32) => Op::SUB,
                    (B::Mul, Lane::F32) => Op::MUL,
                    (B::Div, Lane::F32) => Op::DIV,
                    (B::Add, _) => Op::ADD_I,
                    (B::Sub, _) => Op::SUB_I,
                    (B::Mul, _) => Op::MUL_I,
                    (B::Max, _) => Op::MAX_I,
                    (B::Min, _) => Op::MIN_I,
                    (B::And, _) => Op::AND_I,
                    (B::Or, _) => Op::OR_I,
                    (B::Xor, _) => Op::XOR_I,
                    _ => unreachable!("not a known task"),
                };
                asm.op(op, z, a, b);
            }
        }
        Ok(z)
    }

    /// Folds `x` onto the accumulator, in the lanes of the mask.
    pub fn fold(&mut self, op: ReduceOp, lane: Lane, acc: Z, x: Src, mask: K) {
        let asm = &mut self.asm;
        let instruction = match (op, lane) {
            (ReduceOp::Max | ReduceOp::Min, Lane::F32) => {
                // A NaN stays.
                asm.compare(Op::COMPARE, SCRATCH, mask, acc, Src::Reg(acc), ORDERED);
                let op = if op == ReduceOp::Max { Op::MAX } else { Op::MIN };
                asm.op_where(op, SCRATCH, acc, acc, x);
                return;
            }
            (ReduceOp::Sum, Lane::F32) => Op::ADD,
            (ReduceOp::Prod, Lane::F32) => Op::MUL,
            (ReduceOp::Sum, _) => Op::ADD_I,
            (ReduceOp::Prod, _) => Op::MUL_I,
            (ReduceOp::Max, _) => Op::MAX_I,
            (ReduceOp::Min, _) => Op::MIN_I,
            _ => unreachable!("not a known task"),
        };
        asm.op_where(instruction, mask, acc, acc, x);
    }

    /// Joins four accumulators as the tree of [`lanes::fold`](crate::dev::cpu::lanes::fold) does; the result is in every lane of
    /// the first.
    pub fn tree(&mut self, op: ReduceOp, lane: Lane, acc: [Z; 4]) {
        let [a, b, c, d] = acc;
        self.fold(op, lane, a, Src::Reg(c), ALL);
        self.fold(op, lane, b, Src::Reg(d), ALL);
        self.fold(op, lane, a, Src::Reg(b), ALL);
        // Halves, quarters, pairs, neighbours: what lies above comes down to where it joins.
        for (first, shuffle, how) in [
            (Some(a), Op::SHUFFLE_QUARTERS, 0b1110),
            (Some(a), Op::SHUFFLE_QUARTERS, 0b01),
            (None, Op::PERMUTE, 0b1110),
            (None, Op::PERMUTE, 0b01),
        ] {
            match first {
                Some(first) => self.asm.op_imm(shuffle, b, first, Src::Reg(a), how),
                None => self.asm.op1_imm(shuffle, b, Src::Reg(a), how),
            }
            self.fold(op, lane, a, Src::Reg(b), ALL);
        }
        self.asm.repeat_first(a, a);
    }

    pub fn cast(&mut self, from: DType, to: DType, a: Z) -> R {
        let a_ = Src::Reg(a);
        match to {
            DType::Bool if from.lane() == Lane::F32 => {
                self.asm.compare(Op::COMPARE, SCRATCH, ALL, a, each(0.0), NOT_EQ);
                self.mask_to_int(SCRATCH)
            }
            DType::Bool => {
                self.asm.test(SCRATCH, a, a_);
                self.mask_to_int(SCRATCH)
            }
            DType::F32 => {
                let z = self.free.take()?;
                self.asm.op1(Op::INT_TO_F, z, a_);
                Ok(z)
            }
            _ => {
                // bf16: to the nearest, ties to even, by adding just under half of the last kept bit.
                let z = self.free.take()?;
                let asm = &mut self.asm;
                asm.shift(2, z, a, 16);
                asm.op(Op::AND_I, z, z, bits(1));
                asm.op(Op::ADD_I, z, z, bits(0x7fff));
                asm.op(Op::ADD_I, z, z, a_);
                asm.compare(Op::COMPARE, SCRATCH, ALL, a, a_, UNORDERED);
                asm.op_where(Op::OR_I, SCRATCH, z, a, bits(0x0040_0000));
                asm.op(Op::AND_I, z, z, bits(0xffff_0000));
                Ok(z)
            }
        }
    }

    /// `c[0] + x * (c[1] + x * (...))`
    fn poly(&mut self, x: Z, c: &[f32]) -> R {
        let (last, rest) = c.split_last().expect("a polynomial has coefficients");
        let z = self.constant(*last)?;
        for c in rest.iter().rev() {
            self.asm.op(Op::FMA213, z, x, each(*c));
        }
        Ok(z)
    }

    /// `(n, r, q)` of `exp_parts`, n as a float.
    fn exp_parts(&mut self, x: Z) -> Result<(Z, Z, Z), Full> {
        let n = self.constant(std::f32::consts::LOG2_E)?;
        self.asm.op(Op::FMA213, n, x, each(MAGIC));
        self.asm.op(Op::SUB, n, n, each(MAGIC));
        let high = self.constant(-LN2_HI)?;
        self.asm.op(Op::FMA213, high, n, Src::Reg(x));
        let r = self.constant(-LN2_LO)?;
        self.asm.op(Op::FMA213, r, n, Src::Reg(high));
        self.free.give(high);
        let q = self.poly(r, &[0.5, 0.166_665_12, 0.041_666_187, 0.008_369_599, 0.001_395_172])?;
        Ok((n, r, q))
    }

    /// `e^x` where the result is neither too large nor too small for a float.
    fn exp_mid(&mut self, x: Z) -> R {
        let (n, r, q) = self.exp_parts(x)?;
        let p = self.free.take()?;
        self.asm.op(Op::MUL, p, r, Src::Reg(r));
        self.asm.op(Op::FMA213, p, q, Src::Reg(r));
        self.asm.op(Op::ADD, p, p, each(1.0));
        self.asm.op(Op::SCALE, p, p, Src::Reg(n));
        self.give(&[n, r, q]);
        Ok(p)
    }

    fn exp(&mut self, x: Z) -> R {
        let low = self.constant(89.0)?;
        self.asm.op(Op::MIN, low, low, Src::Reg(x));
        let clamped = self.constant(-104.0)?;
        self.asm.op(Op::MAX, clamped, clamped, Src::Reg(low));
        self.free.give(low);
        let z = self.exp_mid(clamped)?;
        self.free.give(clamped);
        Ok(z)
    }

    fn log(&mut self, x: Z) -> R {
        // Subnormal numbers are scaled up.
        self.asm.compare(Op::COMPARE, SCRATCH, ALL, x, each(f32::MIN_POSITIVE), LT);
        let y = self.copy(x)?;
        self.asm.op_where(Op::MUL, SCRATCH, y, y, each(8_388_608.0));
        let shift = self.free.take()?;
        self.asm.load(SCRATCH, shift, each(-23.0));
        let (e, f) = (self.free.take()?, self.free.take()?);
        self.asm.op(Op::SUB_I, f, y, bits(0x3f35_04f3));
        self.asm.shift(4, f, f, 23);
        self.asm.op1(Op::INT_TO_F, e, Src::Reg(f));
        self.asm.op(Op::ADD, e, e, Src::Reg(shift));
        self.asm.shift(6, f, f, 23);
        self.asm.op(Op::SUB_I, f, y, Src::Reg(f));
        self.asm.op(Op::SUB, f, f, each(1.0));
        self.give(&[y, shift]);
        let p = self.poly(
            f,
            &[
                0.333_333_1,
                -0.249_999_87,
                0.200_022_25,
                -0.166_692_51,
                0.142_186_78,
                -0.123_843_47,
                0.118_728_45,
                -0.117_897_74,
                0.069_156_03,
            ],
        )?;
        let (square, low) = (self.free.take()?, self.free.take()?);
        self.asm.op(Op::MUL, square, f, Src::Reg(f));
        self.asm.op(Op::MUL, low, e, each(LN2_LO));
        let cube = self.free.take()?;
        self.asm.op(Op::MUL, cube, f, Src::Reg(square));
        self.asm.op(Op::FMA213, cube, p, Src::Reg(low));
        self.asm.op(Op::FMA132, square, cube, each(-0.5));
        self.asm.op(Op::ADD, f, f, Src::Reg(square));
        self.asm.op(Op::FMA132, e, f, each(LN2_HI));
        self.give(&[p, square, low, cube, f]);
        self.asm.compare(Op::COMPARE, SCRATCH, ALL, x, each(f32::INFINITY), EQ);
        self.asm.load_where(SCRATCH, e, each(f32::INFINITY));
        self.asm.compare(Op::COMPARE, SCRATCH, ALL, x, each(0.0), EQ);
        self.asm.load_where(SCRATCH, e, each(f32::NEG_INFINITY));
        self.asm.compare(Op::COMPARE, SCRATCH, ALL, x, each(0.0), NOT_GE);
        self.asm.load_where(SCRATCH, e, each(f32::NAN));
        Ok(e)
    }

    /// Absolute value of `size` with the sign of `sign`.
    fn copy_sign(&mut self, size: Z, sign: Z) {
        // Bit by bit: third operand ? second : first.
        self.asm.op_imm(Op::TERNARY, size, sign, bits(SIGN), 0xd8);
    }

    fn tanh(&mut self, x: Z) -> R {
        let (a, z) = (self.free.take()?, self.free.take()?);
        self.asm.op(Op::AND, a, x, bits(!SIGN));
        self.asm.op(Op::MUL, z, x, Src::Reg(x));
        let p = self.poly(
            z,
            &[
                -0.333_333_3,
                0.133_332_1,
                -0.053_947_207,
                0.021_702_98,
                -0.008_182_703_5,
                0.002_147_561_2,
            ],
        )?;
        self.asm.op(Op::MUL, z, x, Src::Reg(z));
        self.asm.op(Op::FMA213, z, p, Src::Reg(x));
        self.free.give(p);
        let capped = self.constant(10.0)?;
        self.asm.op(Op::MIN, capped, capped, Src::Reg(a));
        self.asm.op(Op::ADD, capped, capped, Src::Reg(capped));
        let e = self.exp_mid(capped)?;
        self.asm.op(Op::ADD, e, e, each(1.0));
        self.asm.load(ALL, capped, each(2.0));
        self.asm.op(Op::DIV, e, capped, Src::Reg(e));
        self.asm.load(ALL, capped, each(1.0));
        self.asm.op(Op::SUB, e, capped, Src::Reg(e));
        self.copy_sign(e, x);
        self.asm.compare(Op::COMPARE, SCRATCH, ALL, a, each(0.625), LT);
        self.asm.load_where(SCRATCH, e, Src::Reg(z));
        // Zero keeps its sign; NaN is neither above 0 nor below.
        self.asm.compare(Op::COMPARE, SCRATCH, ALL, a, each(0.0), GT);
        self.asm.blend(SCRATCH, e, x, Src::Reg(e));
        self.give(&[a, z, capped]);
        Ok(e)
    }

    fn erf(&mut self, x: Z) -> R {
        let (a, z) = (self.free.take()?, self.free.take()?);
        self.asm.op(Op::AND, a, x, bits(!SIGN));
        self.asm.op(Op::MUL, z, x, Src::Reg(x));
        let near = self.poly(
            z,
            &[
                0.128_379_17,
                -0.376_126_38,
                0.112_837_83,
                -0.026_865_445,
                0.005_221_075,
                -8.484_712e-4,
                1.127_054_6e-4,
                -9.680_14e-6,
            ],
        )?;
        self.asm.op(Op::FMA213, near, x, Src::Reg(x));
        self.asm.load(ALL, z, each(4.05));
        self.asm.op(Op::MIN, z, z, Src::Reg(a));
        let q = self.poly(
            z,
            &[
                1.884_682_6e-4,
                -1.129_580_3,
                -0.633_216_4,
                -0.108_422_1,
                0.025_210_341,
                -0.004_205_285,
                4.414_727_2e-4,
                -2.169_761_9e-5,
            ],
        )?;
        let far = self.exp_mid(q)?;
        self.asm.load(ALL, z, each(1.0));
        self.asm.op(Op::SUB, far, z, Src::Reg(far));
        self.copy_sign(far, x);
        self.asm.compare(Op::COMPARE, SCRATCH, ALL, a, each(1.0), LT);
        self.asm.load_where(SCRATCH, far, Src::Reg(near));
        self.asm.compare(Op::COMPARE, SCRATCH, ALL, x, Src::Reg(x), UNORDERED);
        self.asm.load_where(SCRATCH, far, Src::Reg(x));
        self.give(&[a, z, near, q]);
        Ok(far)
    }
}
