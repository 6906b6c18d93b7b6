//! Elementwise functions composed of primitives: logistic, logarithms to other bases, interpolation, safe products.

use super::arguments::{Operand, promote_ranked};
use super::math::{binary_as, select};
use crate::dtype::{DType, Scalar};
use crate::node::Tensor;
use crate::op::BinaryOp;
use std::f64::consts::{LN_2, LN_10, PI};
use std::panic::Location;

type At = &'static Location<'static>;

/// As a float, half types as `f32`: what functions of several steps compute in before they round once to the result's dtype.
#[track_caller]
pub(crate) fn wide(x: &Tensor) -> Tensor {
    x.to_dtype(wide_dtype(x.dtype()))
}

pub(crate) fn wide_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Both operands in their common dtype.
#[track_caller]
pub(crate) fn promoted(a: &Tensor, other: &impl Operand, at: At) -> (Tensor, Tensor) {
    let b = other.tensor_like(a, at);
    let dtype = promote_ranked((a.dtype(), a.rank()), (b.dtype(), b.rank()));
    (a.prim_cast(dtype, at), b.prim_cast(dtype, at))
}

/// Both operands in their common float dtype (`f32` for integers).
#[track_caller]
pub(crate) fn promoted_float(a: &Tensor, other: &impl Operand, at: At) -> (Tensor, Tensor) {
    let b = float_operand(a, other, at);
    let dtype = promote_ranked((a.dtype(), a.rank()), (b.dtype(), b.rank())).to_float();
    (a.prim_cast(dtype, at), b.prim_cast(dtype, at))
}

/// The other side of an operation whose result is a float. A number goes straight to that dtype: by way of `u8`, -3 would
/// become 253.
#[track_caller]
pub(crate) fn float_operand(a: &Tensor, other: &impl Operand, at: At) -> Tensor {
    match other.as_scalar() {
        Some(s) if !a.dtype().is_float() => {
            crate::dev::with_device(a.device(), || Tensor::constant(s, a.dtype().to_float(), at))
        }
        _ => other.tensor_like(a, at),
    }
}

impl Tensor {
    /// `x * x`. Counterpart: `torch.square`.
    #[track_caller]
    pub fn square(&self) -> Tensor {
        self.pow(2)
    }

    /// `1 / sqrt(x)`. Integers become `f32`. Counterpart: `torch.rsqrt`.
    #[track_caller]
    pub fn rsqrt(&self) -> Tensor {
        wide(self).sqrt().reciprocal().to_dtype(self.dtype().to_float())
    }

    /// The logistic function `1 / (1 + e^-x)`. Integers become `f32`. Counterpart: `torch.sigmoid`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// assert_eq!(Tensor::zeros([1]).sigmoid().item::<f32>(), 0.5);
    /// ```
    #[track_caller]
    pub fn sigmoid(&self) -> Tensor {
        crate::functional::sigmoid(&self.to_dtype(self.dtype().to_float()))
    }

    /// 2 to the power of each element. Counterpart: `torch.exp2`.
    #[track_caller]
    pub fn exp2(&self) -> Tensor {
        let at = Location::caller();
        let x = self.prim_cast(self.dtype().to_float(), at);
        let two = Scalar::Float(2.0).tensor_like(&x, at);
        binary_as(BinaryOp::Pow, &two, &x, x.dtype(), at)
    }

    /// Logarithm to base 2. Counterpart: `torch.log2`.
    #[track_caller]
    pub fn log2(&self) -> Tensor {
        (wide(self).log() * (1.0 / LN_2)).to_dtype(self.dtype().to_float())
    }

    /// Logarithm to base 10. Counterpart: `torch.log10`.
    #[track_caller]
    pub fn log10(&self) -> Tensor {
        (wide(self).log() * (1.0 / LN_10)).to_dtype(self.dtype().to_float())
    }

    /// `sin(pi x) / (pi x)`, 1 at 0. Counterpart: `torch.sinc`.
    #[track_caller]
    pub fn sinc(&self) -> Tensor {
        let x = wide(self) * PI;
        let zero = x.eq(0.0);
        let safe = x.ones_like().where_(&zero, &x);
        x.ones_like().where_(&zero, safe.sin() / &safe).to_dtype(self.dtype().to_float())
    }

    /// `ln(x / (1 - x))`, with `x` first clamped to `[eps, 1 - eps]` when given. Counterpart: `torch.logit`.
    #[track_caller]
    pub fn logit(&self, eps: Option<f64>) -> Tensor {
        let x = wide(self);
        let x = match eps {
            Some(e) => {
                // The lower bound has the first word, should they cross.
                let high = x.full_like(1.0 - e).where_(&x.gt(1.0 - e), &x);
                x.full_like(e).where_(&x.lt(e), high)
            }
            None => x,
        };
        (&x / (1.0 - &x)).log().to_dtype(self.dtype().to_float())
    }

    /// `x ln(y)`, 0 where `x` is 0 (unless `y` is NaN). Counterpart: `torch.xlogy`.
    #[track_caller]
    pub fn xlogy(&self, other: impl Operand) -> Tensor {
        let (x, y) = promoted_float(self, &other, Location::caller());
        let dtype = x.dtype();
        let (x, y) = (wide(&x), wide(&y));
        let flat = x.eq(0.0).logical_and(y.le(0.0).logical_or(y.eq(f64::INFINITY)));
        let safe = y.ones_like().where_(&flat, &y);
        (x * safe.log()).to_dtype(dtype)
    }

    /// `x ln(1 + y)`, 0 where `x` is 0 (unless `y` is NaN). Counterpart: `torch.special.xlog1py`.
    #[track_caller]
    pub fn xlog1py(&self, other: impl Operand) -> Tensor {
        let (x, y) = promoted_float(self, &other, Location::caller());
        let dtype = x.dtype();
        let (x, y) = (wide(&x), wide(&y));
        let flat = x.eq(0.0).logical_and(y.le(-1.0).logical_or(y.eq(f64::INFINITY)));
        let safe = y.zeros_like().where_(&flat, &y);
        (x * safe.log1p()).to_dtype(dtype)
    }

    /// Angle of the point (`other`, `self`) in (-pi, pi]. Counterpart: `torch.atan2`.
    #[track_caller]
    pub fn atan2(&self, other: impl Operand) -> Tensor {
        let at = Location::caller();
        let (a, b) = promoted_float(self, &other, at);
        binary_as(BinaryOp::Atan2, &a, &b, a.dtype(), at)
    }

    /// `sqrt(a^2 + b^2)` without overflow on the way. Counterpart: `torch.hypot`.
    #[track_caller]
    pub fn hypot(&self, other: impl Operand) -> Tensor {
        let (a, b) = promoted(self, &other, Location::caller());
        let dtype = a.dtype();
        let (a, b) = (wide(&a), wide(&b));
        // Any positive scale gives the same result and gradient, so it takes no part in differentiation.
        let m = a.detach().abs().maximum(b.detach().abs());
        let usable = m.gt(0.0).logical_and(m.lt(f64::INFINITY));
        let m = m.where_(&usable, 1.0);
        let (p, q) = (&a / &m, &b / &m);
        let length = m * (&p * &p + &q * &q).sqrt();
        // An infinite side makes the length infinite, even beside NaN.
        length.where_(&a.isinf().logical_or(b.isinf()).logical_not(), f64::INFINITY).to_dtype(dtype)
    }

    /// `ln(e^a + e^b)`. Counterpart: `torch.logaddexp`.
    #[track_caller]
    pub fn logaddexp(&self, other: impl Operand) -> Tensor {
        let (a, b) = promoted(self, &other, Location::caller());
        let (x, y) = (wide(&a), wide(&b));
        let m = finite_max(&x, &y);
        (((x - &m).exp() + (y - &m).exp()).log() + m).to_dtype(a.dtype())
    }

    /// `log2(2^a + 2^b)`. Counterpart: `torch.logaddexp2`.
    #[track_caller]
    pub fn logaddexp2(&self, other: impl Operand) -> Tensor {
        let (a, b) = promoted(self, &other, Location::caller());
        let (x, y) = (wide(&a), wide(&b));
        let m = finite_max(&x, &y);
        (((x - &m).exp2() + (y - &m).exp2()).log2() + m).to_dtype(a.dtype())
    }

    /// `self + weight (end - self)`. Counterpart: `torch.lerp`.
    #[track_caller]
    pub fn lerp(&self, end: &Tensor, weight: impl Operand) -> Tensor {
        let (a, b) = promoted(self, &end, Location::caller());
        let dtype = a.dtype();
        let (a, b) = (wide(&a), wide(&b));
        let w = wide(&weight.tensor_like(&a, Location::caller()));
        let d = &b - &a;
        // The form that is exact at the nearer end.
        (&a + &w * &d).where_(&w.abs().lt(0.5), &b - (1.0 - &w) * &d).to_dtype(dtype)
    }

    /// `self + value * a * b`. Counterpart: `torch.addcmul`.
    #[track_caller]
    pub fn addcmul(&self, a: &Tensor, b: &Tensor, value: impl Into<Scalar>) -> Tensor {
        let product = a * b;
        self.add_scaled(&product, value)
    }

    /// `self + value * a / b`. Counterpart: `torch.addcdiv`.
    #[track_caller]
    pub fn addcdiv(&self, a: &Tensor, b: &Tensor, value: impl Into<Scalar>) -> Tensor {
        let quotient = a / b;
        self.add_scaled(&quotient, value)
    }

    /// `self + alpha * other`. Counterpart: `torch.add(other, alpha=alpha)`.
    #[track_caller]
    pub fn add_scaled(&self, other: impl Operand, alpha: impl Into<Scalar>) -> Tensor {
        let (a, b) = promoted(self, &other, Location::caller());
        a + scaled(b, alpha.into())
    }

    /// `self - alpha * other`. Counterpart: `torch.sub(other, alpha=alpha)`.
    #[track_caller]
    pub fn sub_scaled(&self, other: impl Operand, alpha: impl Into<Scalar>) -> Tensor {
        let (a, b) = promoted(self, &other, Location::caller());
        a - scaled(b, alpha.into())
    }

    /// `other - alpha * self`. Counterpart: `torch.rsub`.
    #[track_caller]
    pub fn rsub(&self, other: impl Operand, alpha: impl Into<Scalar>) -> Tensor {
        let (a, b) = promoted(self, &other, Location::caller());
        b - scaled(a, alpha.into())
    }

    /// `self` to the power `other` in `f64`. Counterpart: `torch.float_power`.
    #[track_caller]
    pub fn float_power(&self, other: impl Operand) -> Tensor {
        let at = Location::caller();
        let x = self.prim_cast(DType::F64, at);
        if let Some(e) = other.as_scalar() {
            return x.pow(e);
        }
        let e = other.tensor_like(self, at).prim_cast(DType::F64, at);
        x.pow(&e)
    }

    /// Degrees to radians. Counterpart: `torch.deg2rad`.
    #[track_caller]
    pub fn deg2rad(&self) -> Tensor {
        self * (PI / 180.0)
    }

    /// Radians to degrees. Counterpart: `torch.rad2deg`.
    #[track_caller]
    pub fn rad2deg(&self) -> Tensor {
        self * (180.0 / PI)
    }

    /// Every element `value` (a number or a tensor of rank 0), with the shape and dtype of `self`. Counterpart: `torch.fill`.
    #[track_caller]
    pub fn fill(&self, value: impl Operand) -> Tensor {
        let at = Location::caller();
        if let Some(v) = value.as_scalar() {
            return self.filled(v, at);
        }
        let v = value.tensor_like(self, at);
        assert_eq!(v.rank(), 0, "fill: the value must have rank 0, got shape {:?}", v.shape());
        v.prim_cast(self.dtype(), at).broadcast_at(self.shape(), at)
    }

    /// `a` where `condition` holds, else `b`; either may be a number. Counterpart: `torch.where`.
    ///
    /// [`Tensor::where_`] is the same with the first choice as receiver.
    #[track_caller]
    pub fn choose(condition: &Tensor, a: impl Operand, b: impl Operand) -> Tensor {
        let at = Location::caller();
        let (x, y) = match (a.as_scalar(), b.as_scalar()) {
            (Some(p), Some(q)) => {
                let dtype = p.dtype().promote(q.dtype());
                (Tensor::constant(p, dtype, at), Tensor::constant(q, dtype, at))
            }
            (Some(p), None) => {
                let y = b.tensor_like(condition, at);
                (p.tensor_like(&y, at), y)
            }
            _ => {
                let x = a.tensor_like(condition, at);
                let y = b.tensor_like(&x, at);
                (x, y)
            }
        };
        select(condition, &x, &y, at)
    }
}

/// The larger of two, 0 where infinite, outside of differentiation: a shift that keeps exponentials in range.
#[track_caller]
fn finite_max(x: &Tensor, y: &Tensor) -> Tensor {
    let m = x.detach().maximum(y.detach());
    let infinite = m.abs().eq(f64::INFINITY);
    m.zeros_like().where_(&infinite, &m)
}

#[track_caller]
fn scaled(x: Tensor, alpha: Scalar) -> Tensor {
    if alpha.as_f64() == 1.0 {
        return x;
    }
    // The factor takes the tensor's dtype, whatever its kind.
    let alpha = alpha.cast(x.dtype());
    x * alpha
}
