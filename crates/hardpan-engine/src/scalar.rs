//! The meaning of every primitive on one element: the definition that all devices are tested against.
//!
//! Floats are computed in f64 and rounded once by the caller, integers in i64 and wrapped by the caller, so these are slow and
//! accurate. The CPU's lanes use them directly for the functions that are too rare for a vector version.

use crate::dtype::DType;
use crate::op::{BinaryOp, ReduceOp, UnaryOp};
use crate::special;

/// `op(x)` for real numbers.
pub fn unary_f64(op: UnaryOp, x: f64) -> f64 {
    match op {
        UnaryOp::Neg => -x,
        UnaryOp::Abs => x.abs(),
        UnaryOp::Exp => libm::exp(x),
        UnaryOp::Log => libm::log(x),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Recip => 1.0 / x,
        UnaryOp::Sin => libm::sin(x),
        UnaryOp::Cos => libm::cos(x),
        UnaryOp::Tanh => libm::tanh(x),
        UnaryOp::Erf => libm::erf(x),
        UnaryOp::Floor => x.floor(),
        UnaryOp::Round => x.round_ties_even(),
        UnaryOp::Not => (x == 0.0) as u8 as f64,
        UnaryOp::Expm1 => libm::expm1(x),
        UnaryOp::Log1p => libm::log1p(x),
        UnaryOp::Tan => libm::tan(x),
        UnaryOp::Asin => libm::asin(x),
        UnaryOp::Acos => libm::acos(x),
        UnaryOp::Atan => libm::atan(x),
        UnaryOp::Sinh => libm::sinh(x),
        UnaryOp::Cosh => libm::cosh(x),
        UnaryOp::Asinh => libm::asinh(x),
        UnaryOp::Acosh => libm::acosh(x),
        UnaryOp::Atanh => libm::atanh(x),
        UnaryOp::Erfc => libm::erfc(x),
        UnaryOp::Erfinv => special::erfinv(x),
        UnaryOp::Lgamma => libm::lgamma(x),
        UnaryOp::Digamma => special::digamma(x),
        UnaryOp::Trigamma => special::trigamma(x),
        UnaryOp::I0 => special::i0(x),
        UnaryOp::I1 => special::i1(x),
        UnaryOp::Ndtri => special::ndtri(x),
        UnaryOp::LogNdtr => special::log_ndtr(x),
        UnaryOp::Erfcx => special::erfcx(x),
    }
}

/// `op(x)` for whole numbers; functions without a whole-number meaning go through f64.
pub fn unary_i64(op: UnaryOp, x: i64) -> i64 {
    match op {
        UnaryOp::Neg => x.wrapping_neg(),
        UnaryOp::Abs => x.wrapping_abs(),
        UnaryOp::Floor | UnaryOp::Round => x,
        UnaryOp::Not => (x == 0) as i64,
        _ => unary_f64(op, x as f64) as i64,
    }
}

/// `op(a, b)` for real numbers; comparisons give 0 or 1.
pub fn binary_f64(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Rem => a % b,
        BinaryOp::Max => {
            if a > b || a.is_nan() {
                a
            } else {
                b
            }
        }
        BinaryOp::Min => {
            if a < b || a.is_nan() {
                a
            } else {
                b
            }
        }
        BinaryOp::Pow => libm::pow(a, b),
        BinaryOp::Atan2 => libm::atan2(a, b),
        BinaryOp::Lt => (a < b) as u8 as f64,
        BinaryOp::Le => (a <= b) as u8 as f64,
        BinaryOp::Eq => (a == b) as u8 as f64,
        BinaryOp::NextAfter => libm::nextafter(a, b),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Xor | BinaryOp::Shl | BinaryOp::Shr => {
            binary_i64(op, a as i64, b as i64) as f64
        }
    }
}

/// `op(a, b)` for whole numbers, wrapping; division by zero gives 0.
pub fn binary_i64(op: BinaryOp, a: i64, b: i64) -> i64 {
    match op {
        BinaryOp::Add => a.wrapping_add(b),
        BinaryOp::Sub => a.wrapping_sub(b),
        BinaryOp::Mul => a.wrapping_mul(b),
        BinaryOp::Div => {
            if b == 0 {
                0
            } else {
                a.wrapping_div(b)
            }
        }
        BinaryOp::Rem => {
            if b == 0 {
                0
            } else {
                a.wrapping_rem(b)
            }
        }
        BinaryOp::Max => a.max(b),
        BinaryOp::Min => a.min(b),
        BinaryOp::Pow => int_pow(a, b),
        BinaryOp::Atan2 | BinaryOp::NextAfter => binary_f64(op, a as f64, b as f64) as i64,
        BinaryOp::Lt => (a < b) as i64,
        BinaryOp::Le => (a <= b) as i64,
        BinaryOp::Eq => (a == b) as i64,
        BinaryOp::And => a & b,
        BinaryOp::Or => a | b,
        BinaryOp::Xor => a ^ b,
        BinaryOp::Shl => {
            if (0..64).contains(&b) {
                a << b
            } else {
                0
            }
        }
        // Past the last bit only the sign is left; PyTorch takes a negative count for one past it.
        BinaryOp::Shr => {
            if (0..64).contains(&b) {
                a >> b
            } else {
                a >> 63
            }
        }
    }
}

/// Wrapping power; negative exponents give 0 except for bases 1 and -1, as in NumPy's C rules.
fn int_pow(a: i64, b: i64) -> i64 {
    if b < 0 {
        return match a {
            1 => 1,
            -1 => {
                if b % 2 == 0 {
                    1
                } else {
                    -1
                }
            }
            _ => 0,
        };
    }
    let (mut base, mut e, mut out) = (a, b, 1i64);
    while e > 0 {
        if e & 1 == 1 {
            out = out.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        e >>= 1;
    }
    out
}

/// The neutral start of a fold over real numbers (arg variants are handled by the caller).
pub fn reduce_start_f64(op: ReduceOp) -> f64 {
    match op {
        ReduceOp::Sum => 0.0,
        ReduceOp::Prod => 1.0,
        ReduceOp::Max | ReduceOp::ArgMax => f64::NEG_INFINITY,
        ReduceOp::Min | ReduceOp::ArgMin => f64::INFINITY,
    }
}

/// The neutral start of a fold over whole numbers of a type: its smallest for a maximum, its largest for a minimum.
pub fn reduce_start_int(op: ReduceOp, dtype: DType) -> i64 {
    let (low, high) = match dtype {
        DType::Bool => (0, 1),
        DType::U8 => (0, u8::MAX as i64),
        DType::I8 => (i8::MIN as i64, i8::MAX as i64),
        DType::I16 => (i16::MIN as i64, i16::MAX as i64),
        DType::I32 => (i32::MIN as i64, i32::MAX as i64),
        DType::U32 => (0, u32::MAX as i64),
        _ => (i64::MIN, i64::MAX),
    };
    match op {
        ReduceOp::Sum => 0,
        ReduceOp::Prod => 1,
        ReduceOp::Max | ReduceOp::ArgMax => low,
        ReduceOp::Min | ReduceOp::ArgMin => high,
    }
}

/// The two-argument function of a fold.
pub fn reduce_binary(op: ReduceOp) -> BinaryOp {
    match op {
        ReduceOp::Sum => BinaryOp::Add,
        ReduceOp::Prod => BinaryOp::Mul,
        ReduceOp::Max | ReduceOp::ArgMax => BinaryOp::Max,
        ReduceOp::Min | ReduceOp::ArgMin => BinaryOp::Min,
    }
}
