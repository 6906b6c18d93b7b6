//! The instructions of each elementwise operation, equal bit for bit to the vector loops in [`lanes`](crate::dev::cpu::lanes).
//!
//! The elementary functions are those of [`lanes::math`](crate::dev::cpu::lanes::math), step by step; see there for where the
//! polynomials come from. `2^n * p` may be one instruction: wherever the two-step product there is used, its first step is exact.

use super::encode::*;
use super::registers::{Full, Registers};
use super::task::Task;
use crate::dtype::{DType, Lane};
use crate::op::{BinaryOp, ReduceOp, UnaryOp};

impl Task {
    /// A comparison, whose result can stay a mask.
    pub fn comparison(self) -> Option<(Op, u8)> {
        let Task::Binary(op, lane) = self else { return None };
        Some(match (op, lane) {
            (BinaryOp::Lt, Lane::F32) => (Op::COMPARE, LT),
            (BinaryOp::Le, Lane::F32) => (Op::COMPARE, LE),
            (BinaryOp::Eq, Lane::F32) => (Op::COMPARE, EQ),
            (BinaryOp::Lt, Lane::I32) => (Op::COMPARE_I, LT_I),
            (BinaryOp::Le, Lane::I32) => (Op::COMPARE_I, LE_I),
            (BinaryOp::Eq, Lane::I32) => (Op::COMPARE_I, EQ_I),
            _ => return None,
        })
    }
}

const SIGN: u32 = 0x8000_0000;
/// Adding it leaves the nearest whole number in the low bits of a float.
const MAGIC: f32 = 12_582_912.0;
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;

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

    /// The mask of a comparison, to be given back.
    pub fn compare(&mut self, (op, predicate): (Op, u8), a: Z, b: Src) -> Result<Mask, Full> {
        let mask = self.free.take_mask()?;
        self.asm.compare(op, mask, ALL, a, b, predicate);
        Ok(mask)
    }

    /// Mask of the lanes that are not 0, to be given back.
    pub fn not_zero(&mut self, a: Z) -> Result<Mask, Full> {
        let mask = self.free.take_mask()?;
        self.asm.not_zero(mask, a);
        Ok(mask)
    }

    /// `one` in the lanes of the mask, else 0. The mask is given back.
    fn mask_to(&mut self, one: Src, mask: Mask) -> R {
        let z = self.free.take()?;
        self.asm.load(mask, z, one);
        self.free.give_mask(mask);
        Ok(z)
    }

    /// `z = x` in the lanes where `a` and `b` compare so.
    fn load_if(&mut self, predicate: u8, a: Z, b: Src, z: Z, x: Src) -> Result<(), Full> {
        let mask = self.compare((Op::COMPARE, predicate), a, b)?;
        self.asm.load_where(mask, z, x);
        self.free.give_mask(mask);
        Ok(())
    }

    pub fn unary(&mut self, op: UnaryOp, lane: Lane, a: Z) -> R {
        match (op, lane) {
            (UnaryOp::Exp, _) => return self.exp(a),
            (UnaryOp::Log, _) => return self.log(a),
            (UnaryOp::Tanh, _) => return self.tanh(a),
            (UnaryOp::Erf, _) => return self.erf(a),
            (UnaryOp::Not, Lane::F32) => {
                let mask = self.compare((Op::COMPARE, EQ), a, each(0.0))?;
                return self.mask_to(each(1.0), mask);
            }
            (UnaryOp::Not, _) => {
                let mask = self.compare((Op::COMPARE_I, EQ_I), a, bits(0))?;
                return self.mask_to(bits(1), mask);
            }
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
            (UnaryOp::Neg, _) => {
                asm.load(ALL, z, bits(0));
                asm.op(Op::SUB_I, z, z, a_);
            }
            (UnaryOp::Abs, _) => asm.op1(Op::ABS_I, z, a_),
            _ => unreachable!("not a known task"),
        }
        Ok(z)
    }

    pub fn binary(&mut self, op: BinaryOp, lane: Lane, a: Z, b: Src) -> R {
        if let Some(comparison) = Task::Binary(op, lane).comparison() {
            let mask = self.compare(comparison, a, b)?;
            return self.mask_to(bits(1), mask);
        }
        let z = self.free.take()?;
        let asm = &mut self.asm;
        use BinaryOp as B;
        match (op, lane) {
            (B::Max | B::Min, Lane::F32) => {
                let op = if op == B::Max { Op::MAX } else { Op::MIN };
                asm.op(op, z, a, b);
                // Where a is NaN the instruction gives b.
                self.load_if(UNORDERED, a, Src::Reg(a), z, Src::Reg(a))?;
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
    pub fn fold(
        &mut self,
        op: ReduceOp,
        lane: Lane,
        acc: Z,
        x: Src,
        mask: Mask,
    ) -> Result<(), Full> {
        let instruction = match (op, lane) {
            (ReduceOp::Max | ReduceOp::Min, Lane::F32) => {
                // A NaN stays.
                let ordered = self.free.take_mask()?;
                self.asm.compare(Op::COMPARE, ordered, mask, acc, Src::Reg(acc), ORDERED);
                let op = if op == ReduceOp::Max { Op::MAX } else { Op::MIN };
                self.asm.op_where(op, ordered, acc, acc, x);
                self.free.give_mask(ordered);
                return Ok(());
            }
            (ReduceOp::Sum, Lane::F32) => Op::ADD,
            (ReduceOp::Prod, Lane::F32) => Op::MUL,
            (ReduceOp::Sum, _) => Op::ADD_I,
            (ReduceOp::Prod, _) => Op::MUL_I,
            (ReduceOp::Max, _) => Op::MAX_I,
            (ReduceOp::Min, _) => Op::MIN_I,
            _ => unreachable!("not a known task"),
        };
        self.asm.op_where(instruction, mask, acc, acc, x);
        Ok(())
    }

    /// Joins accumulators as the tree of [`lanes::fold`](crate::dev::cpu::lanes::fold) does; the result is in every lane of the
    /// first, the others are given back.
    pub fn tree(&mut self, op: ReduceOp, lane: Lane, mut list: &[Z]) -> R {
        while let [.., _, _] = list {
            let (first, second) = list.split_at(list.len() / 2);
            for (a, b) in first.iter().zip(second) {
                self.fold(op, lane, *a, Src::Reg(*b), ALL)?;
                self.free.give(*b);
            }
            list = first;
        }
        let (a, b) = (list[0], self.free.take()?);
        // Halves of the register, and so on: what lies above comes down to where it joins.
        let mut by = self.asm.width.lanes() / 2;
        while by > 0 {
            self.asm.bring_down(b, a, by);
            self.fold(op, lane, a, Src::Reg(b), ALL)?;
            by /= 2;
        }
        self.free.give(b);
        self.asm.repeat_first(a, a);
        Ok(a)
    }

    pub fn cast(&mut self, from: DType, to: DType, a: Z) -> R {
        let a_ = Src::Reg(a);
        match to {
            DType::Bool if from.lane() == Lane::F32 => {
                let mask = self.compare((Op::COMPARE, NOT_EQ), a, each(0.0))?;
                self.mask_to(bits(1), mask)
            }
            DType::Bool => {
                let mask = self.not_zero(a)?;
                self.mask_to(bits(1), mask)
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
                let nan = self.compare((Op::COMPARE, UNORDERED), a, a_)?;
                self.asm.op_where(Op::OR_I, nan, z, a, bits(0x0040_0000));
                self.free.give_mask(nan);
                self.asm.op(Op::AND_I, z, z, bits(0xffff_0000));
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

    /// `(n, q)` of `exp_parts`, n as a float; r takes the place of x.
    fn exp_parts(&mut self, x: Z) -> Result<(Z, Z), Full> {
        let n = self.constant(std::f32::consts::LOG2_E)?;
        self.asm.op(Op::FMA213, n, x, each(MAGIC));
        self.asm.op(Op::SUB, n, n, each(MAGIC));
        self.asm.op(Op::FMA231, x, n, each(-LN2_HI));
        self.asm.op(Op::FMA231, x, n, each(-LN2_LO));
        let q = self.poly(x, &[0.5, 0.166_665_12, 0.041_666_187, 0.008_369_599, 0.001_395_172])?;
        Ok((n, q))
    }

    /// `e^x` for `x` within 104 of 0, in the place of x. With `normal`, the result is neither too large nor too small for a normal
    /// number.
    fn exp_of(&mut self, x: Z, normal: bool) -> Result<(), Full> {
        let (n, q) = self.exp_parts(x)?;
        let square = self.free.take()?;
        self.asm.op(Op::MUL, square, x, Src::Reg(x));
        self.asm.op(Op::FMA231, x, square, Src::Reg(q));
        self.asm.op(Op::ADD, x, x, each(1.0));
        self.asm.scale(x, n, normal);
        self.give(&[n, q, square]);
        Ok(())
    }

    fn exp(&mut self, x: Z) -> R {
        let low = self.constant(89.0)?;
        self.asm.op(Op::MIN, low, low, Src::Reg(x));
        let clamped = self.constant(-104.0)?;
        self.asm.op(Op::MAX, clamped, clamped, Src::Reg(low));
        self.free.give(low);
        self.exp_of(clamped, false)?;
        Ok(clamped)
    }

    fn log(&mut self, x: Z) -> R {
        // Subnormal numbers are scaled up.
        let small = self.compare((Op::COMPARE, LT), x, each(f32::MIN_POSITIVE))?;
        let y = self.copy(x)?;
        self.asm.op_where(Op::MUL, small, y, y, each(8_388_608.0));
        let shift = self.mask_to(each(-23.0), small)?;
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
        self.load_if(EQ, x, each(f32::INFINITY), e, each(f32::INFINITY))?;
        self.load_if(EQ, x, each(0.0), e, each(f32::NEG_INFINITY))?;
        self.load_if(NOT_GE, x, each(0.0), e, each(f32::NAN))?;
        Ok(e)
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
        let e = self.constant(10.0)?;
        self.asm.op(Op::MIN, e, e, Src::Reg(a));
        self.asm.op(Op::ADD, e, e, Src::Reg(e));
        self.exp_of(e, true)?;
        self.asm.op(Op::ADD, e, e, each(1.0));
        let c = self.constant(2.0)?;
        self.asm.op(Op::DIV, e, c, Src::Reg(e));
        self.asm.load(ALL, c, each(1.0));
        self.asm.op(Op::SUB, e, c, Src::Reg(e));
        self.asm.copy_sign(e, x);
        self.load_if(LT, a, each(0.625), e, Src::Reg(z))?;
        // Zero keeps its sign; NaN is neither above 0 nor below.
        let other = self.compare((Op::COMPARE, GT), a, each(0.0))?;
        self.asm.blend(other, e, x, Src::Reg(e));
        self.free.give_mask(other);
        self.give(&[a, z, c]);
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
        let far = self.poly(
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
        self.exp_of(far, true)?;
        self.asm.load(ALL, z, each(1.0));
        self.asm.op(Op::SUB, far, z, Src::Reg(far));
        self.asm.copy_sign(far, x);
        self.load_if(LT, a, each(1.0), far, Src::Reg(near))?;
        self.load_if(UNORDERED, x, Src::Reg(x), far, Src::Reg(x))?;
        self.give(&[a, z, near]);
        Ok(far)
    }
}
