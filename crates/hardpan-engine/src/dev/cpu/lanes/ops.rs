//! The vector loops of the primitives, and the element-by-element path for the rest.
use super::{F1, F2, F3, Map1, Map2, map1, map2_sv, map2_vs, map2_vv, math};
use crate::dev::cpu::isa::Isa;
use crate::dtype::{DType, Lane};
use crate::op::{BinaryOp, UnaryOp};
use crate::scalar;
use half::{bf16, f16};

macro_rules! ops1 {
    ($($name:ident : $a:ty => $r:ty, $heavy:literal, |$x:ident| $e:expr;)*) => {$(
        struct $name;
        impl Map1 for $name {
            type A = $a;
            type R = $r;
            const HEAVY: bool = $heavy;
            #[inline(always)]
            fn f($x: $a) -> $r { $e }
        }
    )*};
}
ops1! {
    NegF: f32 => f32, false, |x| -x;
    AbsF: f32 => f32, false, |x| x.abs();
    SqrtF: f32 => f32, true, |x| x.sqrt();
    RecipF: f32 => f32, true, |x| 1.0 / x;
    FloorF: f32 => f32, true, |x| x.floor();
    RoundF: f32 => f32, true, |x| x.round_ties_even();
    NotF: f32 => f32, false, |x| (x == 0.0) as i32 as f32;
    ExpF: f32 => f32, true, |x| math::exp(x);
    LogF: f32 => f32, true, |x| math::log(x);
    TanhF: f32 => f32, true, |x| math::tanh(x);
    ErfF: f32 => f32, true, |x| math::erf(x);
    Expm1F: f32 => f32, true, |x| math::expm1(x);
    Log1pF: f32 => f32, true, |x| math::log1p(x);
    NegD: f64 => f64, false, |x| -x;
    AbsD: f64 => f64, false, |x| x.abs();
    SqrtD: f64 => f64, true, |x| x.sqrt();
    RecipD: f64 => f64, true, |x| 1.0 / x;
    FloorD: f64 => f64, true, |x| x.floor();
    RoundD: f64 => f64, true, |x| x.round_ties_even();
    NotD: f64 => f64, false, |x| (x == 0.0) as i64 as f64;
    NegI: i32 => i32, false, |x| x.wrapping_neg();
    AbsI: i32 => i32, false, |x| x.wrapping_abs();
    NotI: i32 => i32, false, |x| (x == 0) as i32;
    NegL: i64 => i64, false, |x| x.wrapping_neg();
    AbsL: i64 => i64, false, |x| x.wrapping_abs();
    NotL: i64 => i64, false, |x| (x == 0) as i64;
}
struct SinF;
impl Map1 for SinF {
    type A = f32;
    type R = f32;
    const HEAVY: bool = true;
    const HAS_RARE: bool = true;
    #[inline(always)]
    fn f(x: f32) -> f32 {
        math::sin_near(x)
    }
    #[inline(always)]
    fn is_rare(x: f32) -> bool {
        x.abs() > math::TRIG_LIMIT
    }
    fn rare(x: f32) -> f32 {
        libm::sin(x as f64) as f32
    }
}
struct CosF;
impl Map1 for CosF {
    type A = f32;
    type R = f32;
    const HEAVY: bool = true;
    const HAS_RARE: bool = true;
    #[inline(always)]
    fn f(x: f32) -> f32 {
        math::cos_near(x)
    }
    #[inline(always)]
    fn is_rare(x: f32) -> bool {
        x.abs() > math::TRIG_LIMIT
    }
    fn rare(x: f32) -> f32 {
        libm::cos(x as f64) as f32
    }
}

/// The vector loop of a function, where there is one.
pub fn unary(isa: Isa, op: UnaryOp, lane: Lane) -> Option<F1> {
    use UnaryOp::*;
    Some(match (lane, op) {
        (Lane::F32, Neg) => map1::<NegF>(isa),
        (Lane::F32, Abs) => map1::<AbsF>(isa),
        (Lane::F32, Sqrt) => map1::<SqrtF>(isa),
        (Lane::F32, Recip) => map1::<RecipF>(isa),
        (Lane::F32, Floor) => map1::<FloorF>(isa),
        (Lane::F32, Round) => map1::<RoundF>(isa),
        (Lane::F32, Not) => map1::<NotF>(isa),
        (Lane::F32, Exp) => map1::<ExpF>(isa),
        (Lane::F32, Log) => map1::<LogF>(isa),
        (Lane::F32, Sin) => map1::<SinF>(isa),
        (Lane::F32, Cos) => map1::<CosF>(isa),
        (Lane::F32, Tanh) => map1::<TanhF>(isa),
        (Lane::F32, Erf) => map1::<ErfF>(isa),
        (Lane::F32, Expm1) => map1::<Expm1F>(isa),
        (Lane::F32, Log1p) => map1::<Log1pF>(isa),
        (Lane::F64, Neg) => map1::<NegD>(isa),
        (Lane::F64, Abs) => map1::<AbsD>(isa),
        (Lane::F64, Sqrt) => map1::<SqrtD>(isa),
        (Lane::F64, Recip) => map1::<RecipD>(isa),
        (Lane::F64, Floor) => map1::<FloorD>(isa),
        (Lane::F64, Round) => map1::<RoundD>(isa),
        (Lane::F64, Not) => map1::<NotD>(isa),
        (Lane::I32, Neg) => map1::<NegI>(isa),
        (Lane::I32, Abs) => map1::<AbsI>(isa),
        (Lane::I32, Not) => map1::<NotI>(isa),
        (Lane::I64, Neg) => map1::<NegL>(isa),
        (Lane::I64, Abs) => map1::<AbsL>(isa),
        (Lane::I64, Not) => map1::<NotL>(isa),
        _ => return None,
    })
}

macro_rules! ops2 {
    ($($name:ident : $a:ty => $r:ty, |$x:ident, $y:ident| $e:expr;)*) => {$(
        pub struct $name;
        impl Map2 for $name {
            type A = $a;
            type R = $r;
            #[inline(always)]
            fn f($x: $a, $y: $a) -> $r { $e }
        }
    )*};
}
macro_rules! max64 {
    ($a:ident $op:tt $b:ident) => {{
        let m = if $a $op $b { $a } else { $b };
        if $a.is_nan() { $a } else { m }
    }};
}
ops2! {
    AddF: f32 => f32, |a, b| a + b;
    SubF: f32 => f32, |a, b| a - b;
    MulF: f32 => f32, |a, b| a * b;
    DivF: f32 => f32, |a, b| a / b;
    MaxF: f32 => f32, |a, b| math::max(a, b);
    MinF: f32 => f32, |a, b| math::min(a, b);
    LtF: f32 => i32, |a, b| (a < b) as i32;
    LeF: f32 => i32, |a, b| (a <= b) as i32;
    EqF: f32 => i32, |a, b| (a == b) as i32;
    AddD: f64 => f64, |a, b| a + b;
    SubD: f64 => f64, |a, b| a - b;
    MulD: f64 => f64, |a, b| a * b;
    DivD: f64 => f64, |a, b| a / b;
    MaxD: f64 => f64, |a, b| max64!(a > b);
    MinD: f64 => f64, |a, b| max64!(a < b);
    LtD: f64 => i32, |a, b| (a < b) as i32;
    LeD: f64 => i32, |a, b| (a <= b) as i32;
    EqD: f64 => i32, |a, b| (a == b) as i32;
    AddI: i32 => i32, |a, b| a.wrapping_add(b);
    SubI: i32 => i32, |a, b| a.wrapping_sub(b);
    MulI: i32 => i32, |a, b| a.wrapping_mul(b);
    MaxI: i32 => i32, |a, b| a.max(b);
    MinI: i32 => i32, |a, b| a.min(b);
    LtI: i32 => i32, |a, b| (a < b) as i32;
    LeI: i32 => i32, |a, b| (a <= b) as i32;
    EqI: i32 => i32, |a, b| (a == b) as i32;
    AndI: i32 => i32, |a, b| a & b;
    OrI: i32 => i32, |a, b| a | b;
    XorI: i32 => i32, |a, b| a ^ b;
    AddL: i64 => i64, |a, b| a.wrapping_add(b);
    SubL: i64 => i64, |a, b| a.wrapping_sub(b);
    MulL: i64 => i64, |a, b| a.wrapping_mul(b);
    MaxL: i64 => i64, |a, b| a.max(b);
    MinL: i64 => i64, |a, b| a.min(b);
    LtL: i64 => i32, |a, b| (a < b) as i32;
    LeL: i64 => i32, |a, b| (a <= b) as i32;
    EqL: i64 => i32, |a, b| (a == b) as i32;
    AndL: i64 => i64, |a, b| a & b;
    OrL: i64 => i64, |a, b| a | b;
    XorL: i64 => i64, |a, b| a ^ b;
}

/// The three operand forms of a loop over two operands.
#[derive(Clone, Copy)]
pub struct Forms2 {
    /// Vector and vector.
    pub vv: F2,
    /// Vector and one element.
    pub vs: F2,
    /// One element and vector.
    pub sv: F2,
}

fn forms<O: Map2>(isa: Isa) -> Forms2 {
    Forms2 { vv: map2_vv::<O>(isa), vs: map2_vs::<O>(isa), sv: map2_sv::<O>(isa) }
}

/// The vector loops of a function of two operands, where there are any.
pub fn binary(isa: Isa, op: BinaryOp, lane: Lane) -> Option<Forms2> {
    use BinaryOp::*;
    Some(match (lane, op) {
        (Lane::F32, Add) => forms::<AddF>(isa),
        (Lane::F32, Sub) => forms::<SubF>(isa),
        (Lane::F32, Mul) => forms::<MulF>(isa),
        (Lane::F32, Div) => forms::<DivF>(isa),
        (Lane::F32, Max) => forms::<MaxF>(isa),
        (Lane::F32, Min) => forms::<MinF>(isa),
        (Lane::F32, Lt) => forms::<LtF>(isa),
        (Lane::F32, Le) => forms::<LeF>(isa),
        (Lane::F32, Eq) => forms::<EqF>(isa),
        (Lane::F64, Add) => forms::<AddD>(isa),
        (Lane::F64, Sub) => forms::<SubD>(isa),
        (Lane::F64, Mul) => forms::<MulD>(isa),
        (Lane::F64, Div) => forms::<DivD>(isa),
        (Lane::F64, Max) => forms::<MaxD>(isa),
        (Lane::F64, Min) => forms::<MinD>(isa),
        (Lane::F64, Lt) => forms::<LtD>(isa),
        (Lane::F64, Le) => forms::<LeD>(isa),
        (Lane::F64, Eq) => forms::<EqD>(isa),
        (Lane::I32, Add) => forms::<AddI>(isa),
        (Lane::I32, Sub) => forms::<SubI>(isa),
        (Lane::I32, Mul) => forms::<MulI>(isa),
        (Lane::I32, Max) => forms::<MaxI>(isa),
        (Lane::I32, Min) => forms::<MinI>(isa),
        (Lane::I32, Lt) => forms::<LtI>(isa),
        (Lane::I32, Le) => forms::<LeI>(isa),
        (Lane::I32, Eq) => forms::<EqI>(isa),
        (Lane::I32, And) => forms::<AndI>(isa),
        (Lane::I32, Or) => forms::<OrI>(isa),
        (Lane::I32, Xor) => forms::<XorI>(isa),
        (Lane::I64, Add) => forms::<AddL>(isa),
        (Lane::I64, Sub) => forms::<SubL>(isa),
        (Lane::I64, Mul) => forms::<MulL>(isa),
        (Lane::I64, Max) => forms::<MaxL>(isa),
        (Lane::I64, Min) => forms::<MinL>(isa),
        (Lane::I64, Lt) => forms::<LtL>(isa),
        (Lane::I64, Le) => forms::<LeL>(isa),
        (Lane::I64, Eq) => forms::<EqL>(isa),
        (Lane::I64, And) => forms::<AndL>(isa),
        (Lane::I64, Or) => forms::<OrL>(isa),
        (Lane::I64, Xor) => forms::<XorL>(isa),
        _ => return None,
    })
}

/// `c ? a : b` for elements of 4 or 8 bytes: forms vv, vs, sv, ss.
pub fn select(isa: Isa, bytes: usize) -> [F3; 4] {
    use super::{select_ss, select_sv, select_vs, select_vv};
    if bytes == 4 {
        [select_vv::<u32>(isa), select_vs::<u32>(isa), select_sv::<u32>(isa), select_ss::<u32>(isa)]
    } else {
        [select_vv::<i64>(isa), select_vs::<i64>(isa), select_sv::<i64>(isa), select_ss::<i64>(isa)]
    }
}

/// A function without a vector loop, one element at a time through [`scalar`]. The lane type is that of `dtype`.
///
/// # Safety
/// `n` elements on both sides, disjoint or equal.
pub unsafe fn slow_unary(op: UnaryOp, dtype: DType, dst: *mut u8, a: *const u8, n: usize) {
    macro_rules! run {
        ($t:ty, |$x:ident| $e:expr) => {{
            let (dst, a) = (dst.cast::<$t>(), a.cast::<$t>());
            for i in 0..n {
                // SAFETY: within the n elements promised.
                unsafe {
                    let $x = a.add(i).read_unaligned();
                    dst.add(i).write_unaligned($e);
                }
            }
        }};
    }
    match dtype.lane() {
        Lane::F32 => run!(f32, |x| scalar::unary_f64(op, x as f64) as f32),
        Lane::F64 => run!(f64, |x| scalar::unary_f64(op, x)),
        Lane::I32 => run!(i32, |x| scalar::unary_i64(op, x as i64) as i32),
        Lane::I64 => run!(i64, |x| scalar::unary_i64(op, x)),
    }
}

/// Next value in the type's own steps.
fn next_after(dtype: DType, a: f32, b: f32) -> f32 {
    macro_rules! half_step {
        ($t:ty) => {{
            let (x, y) = (<$t>::from_f32(a), <$t>::from_f32(b));
            if x.is_nan() || y.is_nan() {
                f32::NAN
            } else if x == y {
                y.to_f32()
            } else if x.to_f32() == 0.0 {
                let tiny = <$t>::from_bits(1).to_f32();
                if y.to_f32() > 0.0 { tiny } else { -tiny }
            } else {
                let up = (x < y) == (x.to_f32() > 0.0);
                <$t>::from_bits(if up { x.to_bits() + 1 } else { x.to_bits() - 1 }).to_f32()
            }
        }};
    }
    match dtype {
        DType::F16 => half_step!(f16),
        DType::BF16 => half_step!(bf16),
        _ => math::next_after(a, b),
    }
}

/// A function of two operands without a vector loop; `sa` and `sb` are 1, or 0 for a single element.
///
/// # Safety
/// `n` elements (one where the step is 0); dst disjoint from or equal to each vector source. Comparisons write i32.
pub unsafe fn slow_binary(
    op: BinaryOp,
    dtype: DType,
    dst: *mut u8,
    (a, sa): (*const u8, usize),
    (b, sb): (*const u8, usize),
    n: usize,
) {
    macro_rules! run {
        ($t:ty, |$x:ident, $y:ident| $e:expr) => {{
            let (dst, a, b) = (dst.cast::<$t>(), a.cast::<$t>(), b.cast::<$t>());
            for i in 0..n {
                // SAFETY: within the n elements promised.
                unsafe {
                    let ($x, $y) = (a.add(i * sa).read_unaligned(), b.add(i * sb).read_unaligned());
                    dst.add(i).write_unaligned($e);
                }
            }
        }};
    }
    debug_assert!(!op.is_comparison());
    match (dtype.lane(), op) {
        (Lane::F32, BinaryOp::Pow) if sb == 0 => {
            // SAFETY: one element.
            let exponent = unsafe { b.cast::<f32>().read_unaligned() };
            // The usual exponents, in f64 and rounded once like the rest.
            match exponent {
                1.0 => run!(f32, |x, _e| x),
                2.0 => run!(f32, |x, _e| x * x),
                3.0 => run!(f32, |x, _e| {
                    let x = x as f64;
                    (x * x * x) as f32
                }),
                -1.0 => run!(f32, |x, _e| 1.0 / x),
                -2.0 => run!(f32, |x, _e| {
                    let x = x as f64;
                    (1.0 / (x * x)) as f32
                }),
                // The power of -0 is +0 and that of -infinity +infinity, unlike their roots.
                0.5 => {
                    run!(f32, |x, _e| if x == f32::NEG_INFINITY { -x } else { (x + 0.0).sqrt() })
                }
                -0.5 => run!(f32, |x, _e| if x == f32::NEG_INFINITY {
                    0.0
                } else {
                    (1.0 / ((x + 0.0) as f64).sqrt()) as f32
                }),
                _ => run!(f32, |x, e| scalar::binary_f64(op, x as f64, e as f64) as f32),
            }
        }
        (Lane::F32, BinaryOp::NextAfter) => run!(f32, |x, y| next_after(dtype, x, y)),
        (Lane::F32, _) => run!(f32, |x, y| scalar::binary_f64(op, x as f64, y as f64) as f32),
        (Lane::F64, _) => run!(f64, |x, y| scalar::binary_f64(op, x, y)),
        (Lane::I32, _) => run!(i32, |x, y| scalar::binary_i64(op, x as i64, y as i64) as i32),
        (Lane::I64, _) => run!(i64, |x, y| scalar::binary_i64(op, x, y)),
    }
}
