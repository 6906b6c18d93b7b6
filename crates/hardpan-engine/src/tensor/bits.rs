//! Bits of integers and of bool.

use super::arguments::Operand;
use super::elementwise::promoted;
use super::math::binary_as;
use crate::dtype::DType;
use crate::node::Tensor;
use crate::op::BinaryOp;
use std::panic::Location;

macro_rules! bitwise {
    ($($(#[$doc:meta])* $name:ident => $op:ident),* $(,)?) => {
        impl Tensor {$(
            $(#[$doc])*
            ///
            /// # Panics
            /// When an operand is a float.
            #[track_caller]
            pub fn $name(&self, other: impl Operand) -> Tensor {
                let at = Location::caller();
                let (a, b) = promoted(self, &other, at);
                assert!(
                    !a.dtype().is_float(),
                    concat!(stringify!($name), ": expected integers or bool, got {}"),
                    a.dtype()
                );
                binary_as(BinaryOp::$op, &a, &b, a.dtype(), at)
            }
        )*}
    };
}

bitwise! {
    /// Bits set in both. Counterpart: `torch.bitwise_and`.
    bitwise_and => And,
    /// Bits set in either. Counterpart: `torch.bitwise_or`.
    bitwise_or => Or,
    /// Bits set in exactly one. Counterpart: `torch.bitwise_xor`.
    bitwise_xor => Xor,
    /// Bits moved up by `other` places. Counterpart: `torch.bitwise_left_shift`.
    bitwise_left_shift => Shl,
    /// Bits moved down by `other` places, keeping the sign. Counterpart: `torch.bitwise_right_shift`.
    bitwise_right_shift => Shr,
}

impl Tensor {
    /// Every bit flipped; for bool, the logical not. Counterpart: `torch.bitwise_not`.
    ///
    /// # Panics
    /// For floats.
    #[track_caller]
    pub fn bitwise_not(&self) -> Tensor {
        if self.dtype() == DType::Bool { self.logical_not() } else { self.bitwise_xor(-1) }
    }

    /// Greatest common divisor, never negative. Counterpart: `torch.gcd`.
    ///
    /// # Panics
    /// For floats.
    #[track_caller]
    pub fn gcd(&self, other: impl Operand) -> Tensor {
        let (a, b) = promoted(self, &other, Location::caller());
        assert!(a.dtype().is_int(), "gcd: expected integers, got {}", a.dtype());
        // Euclid on all elements at once. Two steps at least halve the numbers, so 92 steps serve 64 bits; the usual case
        // ends far earlier, which is worth a look at the data after every few.
        let (mut a, mut b) = (a.abs(), b.abs());
        for _ in 0..12 {
            for _ in 0..8 {
                let r = a.fmod(&b).where_(&b.ne(0), 0);
                a = b.where_(&b.ne(0), &a);
                b = r;
            }
            if !b.ne(0).any(..).item::<bool>() {
                break;
            }
        }
        a
    }

    /// Least common multiple, never negative. Counterpart: `torch.lcm`.
    #[track_caller]
    pub fn lcm(&self, other: impl Operand) -> Tensor {
        let (a, b) = promoted(self, &other, Location::caller());
        let g = a.gcd(&b);
        let safe = g.where_(&g.ne(0), 1);
        let dtype = a.dtype();
        (binary_as(BinaryOp::Div, &a, &safe, dtype, Location::caller()) * b).abs()
    }
}
