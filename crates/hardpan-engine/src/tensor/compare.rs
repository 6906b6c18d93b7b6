//! Tests of elements and of whole tensors.

use super::arguments::Operand;
use super::elementwise::promoted;
use crate::dtype::DType;
use crate::node::Tensor;
use crate::op::BinaryOp;
use std::panic::Location;

impl Tensor {
    /// True where NaN. Counterpart: `torch.isnan`.
    #[track_caller]
    pub fn isnan(&self) -> Tensor {
        if !self.dtype().is_float() {
            return self.zeros_like().to_dtype(DType::Bool);
        }
        self.ne(self)
    }

    /// True where plus or minus infinity. Counterpart: `torch.isinf`.
    #[track_caller]
    pub fn isinf(&self) -> Tensor {
        if !self.dtype().is_float() {
            return self.zeros_like().to_dtype(DType::Bool);
        }
        self.abs().eq(f64::INFINITY)
    }

    /// True where neither infinite nor NaN. Counterpart: `torch.isfinite`.
    #[track_caller]
    pub fn isfinite(&self) -> Tensor {
        if !self.dtype().is_float() {
            return self.ones_like().to_dtype(DType::Bool);
        }
        self.abs().lt(f64::INFINITY)
    }

    /// True where plus infinity. Counterpart: `torch.isposinf`.
    #[track_caller]
    pub fn isposinf(&self) -> Tensor {
        if !self.dtype().is_float() {
            return self.zeros_like().to_dtype(DType::Bool);
        }
        self.eq(f64::INFINITY)
    }

    /// True where minus infinity. Counterpart: `torch.isneginf`.
    #[track_caller]
    pub fn isneginf(&self) -> Tensor {
        if !self.dtype().is_float() {
            return self.zeros_like().to_dtype(DType::Bool);
        }
        self.eq(f64::NEG_INFINITY)
    }

    /// True where `|self - other| <= atol + rtol |other|`; NaN equals NaN only with `equal_nan`.
    ///
    /// PyTorch's defaults are `rtol` 1e-5, `atol` 1e-8. Counterpart: `torch.isclose`.
    #[track_caller]
    pub fn isclose(&self, other: impl Operand, rtol: f64, atol: f64, equal_nan: bool) -> Tensor {
        let (a, b) = promoted(self, &other, Location::caller());
        let mut close = a.eq(&b);
        if equal_nan {
            close = close.logical_or(a.isnan().logical_and(b.isnan()));
        }
        if rtol == 0.0 && atol == 0.0 {
            return close;
        }
        let (x, y) = (a.to_dtype(DType::F64), b.to_dtype(DType::F64));
        let allowed = (&y * rtol).abs() + atol;
        let distance = (x - y).abs();
        close.logical_or(distance.isfinite().logical_and(distance.le(allowed)))
    }

    /// True when [`Tensor::isclose`] holds everywhere. Reads the result. Counterpart: `torch.allclose`.
    #[track_caller]
    pub fn allclose(&self, other: &Tensor, rtol: f64, atol: f64, equal_nan: bool) -> bool {
        self.isclose(other, rtol, atol, equal_nan).all(..).item::<bool>()
    }

    /// True when shapes and all elements are equal. Reads the result. Counterpart: `torch.equal`.
    #[track_caller]
    pub fn equal(&self, other: &Tensor) -> bool {
        self.shape() == other.shape() && self.eq(other).all(..).item::<bool>()
    }

    /// The larger of two, or the number where the other is NaN; equal ones share the gradient. Counterpart: `torch.fmax`.
    #[track_caller]
    pub fn fmax(&self, other: impl Operand) -> Tensor {
        let (a, b) = promoted(self, &other, Location::caller());
        skip_nan(&a, &b, &a.maximum(&b))
    }

    /// The smaller of two, or the number where the other is NaN; equal ones share the gradient. Counterpart: `torch.fmin`.
    #[track_caller]
    pub fn fmin(&self, other: impl Operand) -> Tensor {
        let (a, b) = promoted(self, &other, Location::caller());
        skip_nan(&a, &b, &a.minimum(&b))
    }
}

/// The other operand where one is NaN, else `out`.
#[track_caller]
fn skip_nan(a: &Tensor, b: &Tensor, out: &Tensor) -> Tensor {
    if !a.dtype().is_float() {
        return out.clone();
    }
    a.where_(&b.isnan(), b.where_(&a.isnan(), out))
}

macro_rules! logical {
    ($($(#[$doc:meta])* $name:ident => $op:ident),* $(,)?) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self, other: impl Operand) -> Tensor {
                let at = Location::caller();
                let other = other.tensor_like(self, at);
                super::math::binary_as(
                    BinaryOp::$op,
                    &self.prim_cast(DType::Bool, at),
                    &other.prim_cast(DType::Bool, at),
                    DType::Bool,
                    at,
                )
            }
        )*}
    };
}

logical! {
    /// True where both are not zero. Counterpart: `torch.logical_and`.
    logical_and => And,
    /// True where either is not zero. Counterpart: `torch.logical_or`.
    logical_or => Or,
    /// True where exactly one is not zero. Counterpart: `torch.logical_xor`.
    logical_xor => Xor,
}
