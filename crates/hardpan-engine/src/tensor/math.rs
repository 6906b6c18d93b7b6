//! Elementwise arithmetic: operators, the functions of one and two elements that are primitives, casts, `where`.

use super::arguments::{Operand, promote_ranked};
use super::elementwise::float_operand;
use crate::dtype::{DType, Scalar};
use crate::node::Tensor;
use crate::op::{BinaryOp, Op, UnaryOp};
use crate::shape::broadcast;
use std::panic::Location;

type At = &'static Location<'static>;

#[cold]
#[track_caller]
fn shapes_differ(op: &str, a: &Tensor, b: &Tensor) -> ! {
    let hint = if a.numel() == b.numel() {
        "; same number of elements: did you mean .reshape(), or .t() on one side?"
    } else {
        "; sizes must be equal or 1, aligned at the last dimension: .unsqueeze(dim) adds a dimension of size 1"
    };
    panic!("{op}: shapes {:?} and {:?} do not broadcast together{hint}", a.shape(), b.shape())
}

/// Both operands expanded to their common shape. Rank-0 constants stay as they are.
#[track_caller]
pub(crate) fn broadcast_pair(op: &str, a: &Tensor, b: &Tensor, at: At) -> (Tensor, Tensor) {
    if a.shape() == b.shape() {
        return (a.clone(), b.clone());
    }
    let a_const = matches!(a.0.op, Op::Const(_));
    let b_const = matches!(b.0.op, Op::Const(_));
    if a_const || b_const {
        return (a.clone(), b.clone());
    }
    let Some(shape) = broadcast(a.shape(), b.shape()) else { shapes_differ(op, a, b) };
    (a.broadcast_at(&shape, at), b.broadcast_at(&shape, at))
}

#[track_caller]
pub(crate) fn binary(op: BinaryOp, a: &Tensor, b: &Tensor, at: At) -> Tensor {
    let dtype = promote_ranked((a.dtype(), a.rank()), (b.dtype(), b.rank()));
    binary_as(op, a, b, dtype, at)
}

#[track_caller]
pub(crate) fn binary_as(op: BinaryOp, a: &Tensor, b: &Tensor, dtype: DType, at: At) -> Tensor {
    let a = a.prim_cast(dtype, at);
    let b = b.prim_cast(dtype, at);
    if let (Op::Const(x), Op::Const(y)) = (&a.0.op, &b.0.op) {
        let out = if op.is_comparison() { DType::Bool } else { dtype };
        let value = if dtype.is_float() {
            Scalar::Float(crate::scalar::binary_f64(op, x.as_f64(), y.as_f64()))
        } else {
            Scalar::Int(crate::scalar::binary_i64(op, x.as_i64(), y.as_i64()))
        };
        return Tensor::constant(value, out, at);
    }
    let (a, b) = broadcast_pair(op.name(), &a, &b, at);
    Tensor::prim_binary(op, &a, &b, at)
}

impl Tensor {
    pub(crate) fn unary(&self, op: UnaryOp, at: At) -> Tensor {
        if let Op::Const(x) = self.0.op
            && self.dtype().is_float()
        {
            return Tensor::constant(
                Scalar::Float(crate::scalar::unary_f64(op, x.as_f64())),
                self.dtype(),
                at,
            );
        }
        self.prim_unary(op, at)
    }

    /// The same values as another dtype: floats to integers cut the fraction, anything to bool is `!= 0`.
    ///
    /// Counterpart: `Tensor.to(dtype)`.
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Tensor {
        self.prim_cast(dtype, Location::caller())
    }

    /// `self` where `condition` holds, else `other`. All three broadcast.
    ///
    /// Counterpart: `torch.where(condition, self, other)`.
    #[track_caller]
    pub fn where_(&self, condition: &Tensor, other: impl Operand) -> Tensor {
        let at = Location::caller();
        let other = other.tensor_like(self, at);
        select(condition, self, &other, at)
    }
}

/// `a` where `condition` holds, else `b`, with broadcasting and promotion.
#[track_caller]
pub(crate) fn select(condition: &Tensor, a: &Tensor, b: &Tensor, at: At) -> Tensor {
    let dtype = promote_ranked((a.dtype(), a.rank()), (b.dtype(), b.rank()));
    let (a, b) = (a.prim_cast(dtype, at), b.prim_cast(dtype, at));
    let cond = condition.prim_cast(DType::Bool, at);
    let Some(shape) = broadcast(a.shape(), b.shape()) else { shapes_differ("where", &a, &b) };
    let Some(shape) = broadcast(&shape, cond.shape()) else {
        shapes_differ("where", &cond, if a.rank() > b.rank() { &a } else { &b })
    };
    let fit = |t: Tensor| {
        if matches!(t.0.op, Op::Const(_)) { t } else { t.broadcast_at(&shape, at) }
    };
    let (cond, a, b) = (fit(cond), fit(a), fit(b));
    if cond.rank() < shape.len() && a.rank() < shape.len() && b.rank() < shape.len() {
        return Tensor::prim_where(&cond, &a, &b, at).broadcast_at(&shape, at);
    }
    Tensor::prim_where(&cond, &a, &b, at)
}

macro_rules! unary_methods {
    ($($(#[$doc:meta])* $name:ident => $op:ident),* $(,)?) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self) -> Tensor {
                let at = Location::caller();
                self.prim_cast(self.dtype().to_float(), at).unary(UnaryOp::$op, at)
            }
        )*}
    };
}

unary_methods! {
    /// `e^x`, elementwise. Integers become `f32`. Counterpart: `torch.exp`.
    exp => Exp,
    /// Natural logarithm. Integers become `f32`. Counterpart: `torch.log`.
    log => Log,
    /// Square root. Counterpart: `torch.sqrt`.
    sqrt => Sqrt,
    /// `1 / x`. Counterpart: `torch.reciprocal`.
    reciprocal => Recip,
    /// Sine of radians. Counterpart: `torch.sin`.
    sin => Sin,
    /// Cosine of radians. Counterpart: `torch.cos`.
    cos => Cos,
    /// Hyperbolic tangent. Counterpart: `torch.tanh`.
    tanh => Tanh,
    /// Error function. Counterpart: `torch.erf`.
    erf => Erf,
    /// `e^x - 1`, accurate near 0. Counterpart: `torch.expm1`.
    expm1 => Expm1,
    /// `ln(1 + x)`, accurate near 0. Counterpart: `torch.log1p`.
    log1p => Log1p,
    /// Tangent. Counterpart: `torch.tan`.
    tan => Tan,
    /// Inverse sine. Counterpart: `torch.asin`.
    asin => Asin,
    /// Inverse cosine. Counterpart: `torch.acos`.
    acos => Acos,
    /// Inverse tangent. Counterpart: `torch.atan`.
    atan => Atan,
    /// Hyperbolic sine. Counterpart: `torch.sinh`.
    sinh => Sinh,
    /// Hyperbolic cosine. Counterpart: `torch.cosh`.
    cosh => Cosh,
    /// Inverse hyperbolic sine. Counterpart: `torch.asinh`.
    asinh => Asinh,
    /// Inverse hyperbolic cosine. Counterpart: `torch.acosh`.
    acosh => Acosh,
    /// Inverse hyperbolic tangent. Counterpart: `torch.atanh`.
    atanh => Atanh,
    /// Complementary error function. Counterpart: `torch.erfc`.
    erfc => Erfc,
    /// Inverse error function. Counterpart: `torch.erfinv`.
    erfinv => Erfinv,
    /// Logarithm of the absolute gamma function. Counterpart: `torch.lgamma`.
    lgamma => Lgamma,
    /// Derivative of [`Tensor::lgamma`]. Counterpart: `torch.digamma`.
    digamma => Digamma,
    /// Second derivative of [`Tensor::lgamma`]: `torch.polygamma(1, x)`.
    trigamma => Trigamma,
    /// Modified Bessel function of order 0. Counterpart: `torch.special.i0`.
    i0 => I0,
    /// Modified Bessel function of order 1. Counterpart: `torch.special.i1`.
    i1 => I1,
    /// Inverse normal distribution function. Counterpart: `torch.special.ndtri`.
    ndtri => Ndtri,
    /// Logarithm of the normal distribution function. Counterpart: `torch.special.log_ndtr`.
    log_ndtr => LogNdtr,
    /// Scaled complementary error function. Counterpart: `torch.special.erfcx`.
    erfcx => Erfcx,
}

macro_rules! same_type_unary {
    ($($(#[$doc:meta])* $name:ident => $op:ident),* $(,)?) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self) -> Tensor {
                self.unary(UnaryOp::$op, Location::caller())
            }
        )*}
    };
}

same_type_unary! {
    /// `-x`. Counterpart: `torch.neg`.
    neg => Neg,
    /// `|x|`. Counterpart: `torch.abs`.
    abs => Abs,
}

macro_rules! binary_methods {
    ($($(#[$doc:meta])* $name:ident => $op:ident),* $(,)?) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self, other: impl Operand) -> Tensor {
                let at = Location::caller();
                binary(BinaryOp::$op, self, &other.tensor_like(self, at), at)
            }
        )*}
    };
}

binary_methods! {
    /// Larger of two elements; NaN if either is NaN. Counterpart: `torch.maximum`.
    maximum => Max,
    /// Smaller of two elements; NaN if either is NaN. Counterpart: `torch.minimum`.
    minimum => Min,
    /// `self < other` as bool. Counterpart: `torch.lt`.
    lt => Lt,
    /// `self <= other` as bool. Counterpart: `torch.le`.
    le => Le,
    /// `self == other` as bool, elementwise. Counterpart: `torch.eq`.
    eq => Eq,
    /// Remainder with the sign of `self`. Counterpart: `torch.fmod`.
    fmod => Rem,
}

impl Tensor {
    /// `self > other` as bool. Counterpart: `torch.gt`.
    #[track_caller]
    pub fn gt(&self, other: impl Operand) -> Tensor {
        let at = Location::caller();
        binary(BinaryOp::Lt, &other.tensor_like(self, at), self, at)
    }

    /// `self >= other` as bool. Counterpart: `torch.ge`.
    #[track_caller]
    pub fn ge(&self, other: impl Operand) -> Tensor {
        let at = Location::caller();
        binary(BinaryOp::Le, &other.tensor_like(self, at), self, at)
    }

    /// `self != other` as bool. Counterpart: `torch.ne`.
    #[track_caller]
    pub fn ne(&self, other: impl Operand) -> Tensor {
        let at = Location::caller();
        binary(BinaryOp::Eq, self, &other.tensor_like(self, at), at).logical_not()
    }

    /// True where zero. Counterpart: `torch.logical_not`.
    #[track_caller]
    pub fn logical_not(&self) -> Tensor {
        let at = Location::caller();
        self.prim_cast(DType::Bool, at).unary(UnaryOp::Not, at)
    }

    /// `self / other`; integers become `f32`. Counterpart: `torch.div`.
    #[track_caller]
    pub fn div(&self, other: impl Operand) -> Tensor {
        let at = Location::caller();
        divide(self, &float_operand(self, &other, at), at)
    }

    /// `self` to the power `other`. Small constant powers become multiplications. Counterpart: `torch.pow`.
    ///
    /// # Panics
    /// When integers are raised to a negative number.
    #[track_caller]
    pub fn pow(&self, other: impl Operand) -> Tensor {
        let at = Location::caller();
        let exponent = other.tensor_like(self, at);
        if let Some(value) = other.as_scalar() {
            let base = self.prim_cast(exponent.dtype(), at);
            let e = value.as_f64();
            if e == 2.0 {
                return Tensor::prim_binary(BinaryOp::Mul, &base, &base, at);
            }
            if e == 1.0 {
                return base;
            }
            assert!(
                base.dtype().is_float() || e >= 0.0,
                "pow: {} to the negative power {e}; make it a float first: .to_dtype(DType::F32)",
                base.dtype()
            );
            if base.dtype().is_float() {
                if e == 0.5 {
                    return base.unary(UnaryOp::Sqrt, at);
                }
                if e == -1.0 {
                    return base.unary(UnaryOp::Recip, at);
                }
                if e == 3.0 {
                    let square = Tensor::prim_binary(BinaryOp::Mul, &base, &base, at);
                    return Tensor::prim_binary(BinaryOp::Mul, &square, &base, at);
                }
            }
        }
        binary(BinaryOp::Pow, self, &exponent, at)
    }
}

#[track_caller]
pub(crate) fn divide(a: &Tensor, b: &Tensor, at: At) -> Tensor {
    let dtype = promote_ranked((a.dtype(), a.rank()), (b.dtype(), b.rank())).to_float();
    binary_as(BinaryOp::Div, a, b, dtype, at)
}

#[track_caller]
fn add(a: &Tensor, b: &Tensor, at: At) -> Tensor {
    let dtype = promote_ranked((a.dtype(), a.rank()), (b.dtype(), b.rank()));
    let op = if dtype == DType::Bool { BinaryOp::Or } else { BinaryOp::Add };
    binary_as(op, a, b, dtype, at)
}

#[track_caller]
fn sub(a: &Tensor, b: &Tensor, at: At) -> Tensor {
    assert!(
        a.dtype() != DType::Bool || b.dtype() != DType::Bool,
        "sub: bools have no difference; logical_xor(..) is where they differ, logical_not() turns one, to_dtype(..) makes numbers of them"
    );
    binary(BinaryOp::Sub, a, b, at)
}

#[track_caller]
fn mul(a: &Tensor, b: &Tensor, at: At) -> Tensor {
    let dtype = promote_ranked((a.dtype(), a.rank()), (b.dtype(), b.rank()));
    let op = if dtype == DType::Bool { BinaryOp::And } else { BinaryOp::Mul };
    binary_as(op, a, b, dtype, at)
}

#[track_caller]
fn operand(beside: &Tensor, other: &impl Operand, at: At) -> Tensor {
    other.tensor_like(beside, at)
}

macro_rules! operator {
    ($trait:ident, $method:ident, $f:ident, $operand:ident) => {
        impl<O: Operand> std::ops::$trait<O> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: O) -> Tensor {
                let at = Location::caller();
                $f(self, &$operand(self, &other, at), at)
            }
        }
        impl<O: Operand> std::ops::$trait<O> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: O) -> Tensor {
                let at = Location::caller();
                $f(&self, &$operand(&self, &other, at), at)
            }
        }
        operator!(@number $trait, $method, $f, $operand: f32, f64, i32, i64, u8, usize);
    };
    (@number $trait:ident, $method:ident, $f:ident, $operand:ident: $($t:ty),*) => {$(
        impl std::ops::$trait<&Tensor> for $t {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                let at = Location::caller();
                $f(&$operand(other, &self, at), other, at)
            }
        }
        impl std::ops::$trait<Tensor> for $t {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                let at = Location::caller();
                $f(&$operand(&other, &self, at), &other, at)
            }
        }
    )*};
}
operator!(Add, add, add, operand);
operator!(Sub, sub, sub, operand);
operator!(Mul, mul, mul, operand);
operator!(Div, div, divide, float_operand);

impl std::ops::Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        assert!(
            self.dtype() != DType::Bool,
            "neg: a bool has no sign; logical_not() turns it, to_dtype(..) makes it a number"
        );
        Tensor::neg(self)
    }
}
impl std::ops::Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        -&self
    }
}

macro_rules! assign_operator {
    ($trait:ident, $method:ident, $f:ident, $operand:ident) => {
        impl<O: Operand> std::ops::$trait<O> for Tensor {
            #[track_caller]
            fn $method(&mut self, other: O) {
                let at = Location::caller();
                *self = $f(self, &$operand(self, &other, at), at);
            }
        }
    };
}
assign_operator!(AddAssign, add_assign, add, operand);
assign_operator!(SubAssign, sub_assign, sub, operand);
assign_operator!(MulAssign, mul_assign, mul, operand);
assign_operator!(DivAssign, div_assign, divide, float_operand);
