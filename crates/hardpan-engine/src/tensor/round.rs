//! Rounding, division with rounding, signs and bounds.

use super::arguments::Operand;
use super::elementwise::{promoted, promoted_float, wide};
use super::math::binary_as;
use crate::dtype::{DType, Scalar};
use crate::node::Tensor;
use crate::op::{BinaryOp, ReduceOp, UnaryOp};
use crate::scalar::reduce_start_int;
use std::panic::Location;

/// Both operands in their common dtype. A bound that is a whole number outside the range of `x` becomes the end of that range
/// (it limits the same elements) instead of wrapping around.
#[track_caller]
fn promoted_bound(
    x: &Tensor,
    bound: &impl Operand,
    at: &'static Location<'static>,
) -> (Tensor, Tensor) {
    match bound.as_scalar() {
        Some(Scalar::Int(i)) if x.dtype().is_int() => {
            let low = reduce_start_int(ReduceOp::Max, x.dtype());
            let high = reduce_start_int(ReduceOp::Min, x.dtype());
            promoted(x, &Scalar::Int(i.clamp(low, high)), at)
        }
        _ => promoted(x, bound, at),
    }
}

impl Tensor {
    /// Largest whole number not above; integers stay. Counterpart: `torch.floor`.
    #[track_caller]
    pub fn floor(&self) -> Tensor {
        if !self.dtype().is_float() {
            return self.clone();
        }
        self.unary(UnaryOp::Floor, Location::caller())
    }

    /// Smallest whole number not below; integers stay. Counterpart: `torch.ceil`.
    #[track_caller]
    pub fn ceil(&self) -> Tensor {
        if !self.dtype().is_float() {
            return self.clone();
        }
        -(-self).floor()
    }

    /// Nearest whole number, ties to even; integers stay. Counterpart: `torch.round`.
    #[track_caller]
    pub fn round(&self) -> Tensor {
        if !self.dtype().is_float() {
            return self.clone();
        }
        self.unary(UnaryOp::Round, Location::caller())
    }

    /// Rounded to `decimals` places after the point (negative: before it). Counterpart: `torch.round(decimals=..)`.
    #[track_caller]
    pub fn round_decimals(&self, decimals: i32) -> Tensor {
        if decimals == 0 || !self.dtype().is_float() {
            return self.round();
        }
        let x = wide(self);
        let scale = 10f64.powi(decimals.abs());
        let out =
            if decimals > 0 { (x * scale).round() / scale } else { (x / scale).round() * scale };
        out.to_dtype(self.dtype())
    }

    /// The whole part, toward zero; integers stay. Counterpart: `torch.trunc`.
    #[track_caller]
    pub fn trunc(&self) -> Tensor {
        if !self.dtype().is_float() {
            return self.clone();
        }
        self.ceil().where_(&self.lt(0.0), self.floor())
    }

    /// The part after the point, with the sign of the element. Counterpart: `torch.frac`.
    #[track_caller]
    pub fn frac(&self) -> Tensor {
        self - self.trunc()
    }

    /// `self / other` rounded toward negative infinity; integers stay integers.
    ///
    /// Counterparts: `torch.floor_divide`, `torch.div(rounding_mode="floor")`. Division of integers by zero gives 0.
    #[track_caller]
    pub fn floor_divide(&self, other: impl Operand) -> Tensor {
        let at = Location::caller();
        let (a, b) = promoted(self, &other, at);
        let dtype = a.dtype();
        if !dtype.is_float() {
            let q = binary_as(BinaryOp::Div, &a, &b, dtype, at);
            let r = a.fmod(&b);
            let lower = r.ne(0).logical_and(r.lt(0).ne(b.lt(0)));
            return (&q - 1).where_(&lower, &q).to_dtype(dtype);
        }
        let (a, b) = (wide(&a), wide(&b));
        let r = a.fmod(&b);
        let q = (&a - &r) / &b;
        let lower = r.ne(0.0).logical_and(r.lt(0.0).ne(b.lt(0.0)));
        let q = (&q - 1.0).where_(&lower, &q);
        // The quotient is whole but for rounding: the nearest whole number is meant.
        let f = q.floor();
        let f = (&f + 1.0).where_(&(&q - &f).gt(0.5), &f);
        let plain = &a / &b;
        let f = plain.zeros_like().copysign(&plain).where_(&q.eq(0.0), &f);
        plain.detach().where_(&b.eq(0.0), f).to_dtype(dtype)
    }

    /// `self / other` rounded toward zero; integers stay integers. Counterpart: `torch.div(rounding_mode="trunc")`.
    #[track_caller]
    pub fn trunc_divide(&self, other: impl Operand) -> Tensor {
        let at = Location::caller();
        let (a, b) = promoted(self, &other, at);
        let dtype = a.dtype();
        if !dtype.is_float() {
            return binary_as(BinaryOp::Div, &a, &b, dtype, at);
        }
        (wide(&a) / wide(&b)).trunc().to_dtype(dtype)
    }

    /// What is left of `self` after [`Tensor::floor_divide`]: has the sign of `other`. Counterpart: `torch.remainder`.
    #[track_caller]
    pub fn remainder(&self, other: impl Operand) -> Tensor {
        let at = Location::caller();
        let (a, b) = promoted(self, &other, at);
        let r = a.fmod(&b);
        let shift = r.ne(0).logical_and(r.lt(0).ne(b.lt(0)));
        (&r + &b).where_(&shift, &r)
    }

    /// -1, 0 or 1; 0 for NaN. Bool stays. Counterpart: `torch.sign` (and `torch.sgn` for real numbers).
    #[track_caller]
    pub fn sign(&self) -> Tensor {
        if self.dtype() == DType::Bool {
            return self.clone();
        }
        let up = self.gt(0).to_dtype(self.dtype());
        let down = self.lt(0).to_dtype(self.dtype());
        let sign = up - down;
        if !self.dtype().is_float() {
            return sign;
        }
        // Zeros come by way of `floor`, which carries a gradient of zero: the result stays part of the graph.
        self.floor().where_(&self.eq(0), sign)
    }

    /// True where the sign bit is set (also for -0.0). Counterpart: `torch.signbit`.
    #[track_caller]
    pub fn signbit(&self) -> Tensor {
        if !self.dtype().is_float() {
            return if self.dtype() == DType::Bool { self.zeros_like() } else { self.lt(0) };
        }
        let x = self.detach();
        x.lt(0.0).logical_or(x.eq(0.0).logical_and(x.reciprocal().lt(0.0)))
    }

    /// The magnitude of `self` with the sign of `other`. Counterpart: `torch.copysign`.
    #[track_caller]
    pub fn copysign(&self, other: impl Operand) -> Tensor {
        let (a, b) = promoted_float(self, &other, Location::caller());
        let size = a.abs();
        (-&size).where_(&b.signbit(), &size)
    }

    /// 0 for negative elements, 1 for positive ones, `values` at 0. Counterpart: `torch.heaviside`.
    #[track_caller]
    pub fn heaviside(&self, values: impl Operand) -> Tensor {
        let (x, v) = promoted(self, &values, Location::caller());
        v.where_(&x.eq(0), x.gt(0).to_dtype(x.dtype()))
    }

    /// NaN and infinities replaced: NaN by `nan`, the others by the largest and smallest finite number of the dtype unless
    /// given. Counterpart: `torch.nan_to_num`.
    #[track_caller]
    pub fn nan_to_num(&self, nan: f64, posinf: Option<f64>, neginf: Option<f64>) -> Tensor {
        let largest = match self.dtype() {
            DType::F16 => 65504.0,
            DType::BF16 => half::bf16::MAX.to_f64(),
            DType::F32 => f32::MAX as f64,
            DType::F64 => f64::MAX,
            _ => return self.clone(),
        };
        let x = self;
        let high = x.full_like(posinf.unwrap_or(largest)).where_(&x.eq(f64::INFINITY), x);
        let low = x.full_like(neginf.unwrap_or(-largest)).where_(&x.eq(f64::NEG_INFINITY), high);
        x.full_like(nan).where_(&x.isnan(), low)
    }

    /// Elements below `min` become `min`. Counterpart: `torch.clamp_min`, `torch.clamp(min=..)`.
    ///
    /// Where the two are equal, a bound that is a number takes the gradient (nothing of it reaches `self`); with a tensor they
    /// share it, as in [`Tensor::maximum`].
    #[track_caller]
    pub fn clamp_min(&self, min: impl Operand) -> Tensor {
        let at = Location::caller();
        let (x, m) = promoted_bound(self, &min, at);
        match min.as_scalar() {
            Some(s) if s.as_f64().is_nan() => &x + &m,
            Some(_) => m.where_(&x.le(&m), &x),
            None => x.maximum(&m),
        }
    }

    /// Elements above `max` become `max`; gradients as with [`Tensor::clamp_min`]. Counterpart: `torch.clamp_max`,
    /// `torch.clamp(max=..)`.
    #[track_caller]
    pub fn clamp_max(&self, max: impl Operand) -> Tensor {
        let at = Location::caller();
        let (x, m) = promoted_bound(self, &max, at);
        match max.as_scalar() {
            Some(s) if s.as_f64().is_nan() => &x + &m,
            Some(_) => m.where_(&x.ge(&m), &x),
            None => x.minimum(&m),
        }
    }

    /// Elements limited to `[min, max]`; `max` wins where `min > max`. Counterpart: `torch.clamp`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let x = Tensor::from_slice(&[-2.0f32, 0.5, 3.0], [3]);
    /// assert_eq!(x.clamp(0.0, 1.0).to_vec::<f32>(), vec![0.0, 0.5, 1.0]);
    /// ```
    #[track_caller]
    pub fn clamp(&self, min: impl Operand, max: impl Operand) -> Tensor {
        self.clamp_min(min).clamp_max(max)
    }

    /// The fraction in `[0.5, 1)` and the exponent (i32) with `x = fraction * 2^exponent`. Counterpart: `torch.frexp`.
    #[track_caller]
    pub fn frexp(&self) -> (Tensor, Tensor) {
        let x = self.detach().to_dtype(DType::F64);
        let usable = x.ne(0.0).logical_and(x.abs().lt(f64::INFINITY));
        let size = x.abs().where_(&usable, 1.0);
        // The logarithm may be one off near powers of two: put it right by looking at the fraction.
        let e = size.log2().floor() + 1.0;
        let f = &size * (-&e).exp2();
        let e = (&e + 1.0).where_(&f.ge(1.0), (&e - 1.0).where_(&f.lt(0.5), &e));
        let e = e.where_(&usable, 0.0);
        let scale = (-&e).exp2();
        let mantissa = (self.to_dtype(DType::F64) * scale).to_dtype(self.dtype());
        (mantissa, e.to_dtype(DType::I32))
    }

    /// `self * 2^other`. Counterpart: `torch.ldexp`.
    #[track_caller]
    pub fn ldexp(&self, other: &Tensor) -> Tensor {
        let (x, e) = promoted_float(self, &other, Location::caller());
        x * e.exp2()
    }

    /// The next representable number of `self` toward `other`. Counterpart: `torch.nextafter`.
    #[track_caller]
    pub fn nextafter(&self, other: impl Operand) -> Tensor {
        let at = Location::caller();
        let (a, b) = promoted(self, &other, at);
        binary_as(BinaryOp::NextAfter, &a, &b, a.dtype(), at)
    }

    /// `self` limited from above and below where given, the form with optional bounds.
    #[track_caller]
    pub fn clamp_options(&self, min: Option<Scalar>, max: Option<Scalar>) -> Tensor {
        let x = match min {
            Some(m) => self.clamp_min(m),
            None => self.clone(),
        };
        match max {
            Some(m) => x.clamp_max(m),
            None => x,
        }
    }
}
