//! Elements as they are stored, for the kernels that go element by element.
use crate::dtype::Element;
use half::{bf16, f16};

/// A storage type that can be read as a real or a whole number.
pub trait Stored: Copy + Send + Sync + 'static {
    /// Real rather than whole.
    const FLOAT: bool;
    /// As f64.
    fn real(self) -> f64;
    /// As i64.
    fn whole(self) -> i64;
    /// Rounded to nearest.
    fn from_real(x: f64) -> Self;
    /// Wrapped.
    fn from_whole(x: i64) -> Self;
}

macro_rules! stored {
    ($($t:ty: $float:literal),*) => {$(
        impl Stored for $t {
            const FLOAT: bool = $float;
            fn real(self) -> f64 { self.to_f64() }
            fn whole(self) -> i64 { self.to_i64() }
            fn from_real(x: f64) -> Self { <$t as Element>::from_f64(x) }
            fn from_whole(x: i64) -> Self { <$t as Element>::from_i64(x) }
        }
    )*};
}
stored!(u8: false, i8: false, i16: false, i32: false, i64: false, u32: false, f32: true, f64: true, f16: true, bf16: true);

/// A stored truth value: a byte, any of whose bits may be set.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Truth(u8);
impl Stored for Truth {
    const FLOAT: bool = false;
    fn real(self) -> f64 {
        (self.0 != 0) as u8 as f64
    }
    fn whole(self) -> i64 {
        (self.0 != 0) as i64
    }
    fn from_real(x: f64) -> Self {
        Truth((x != 0.0) as u8)
    }
    fn from_whole(x: i64) -> Self {
        Truth((x != 0) as u8)
    }
}

/// Evaluates an expression with `$T` naming the storage type of `$dtype`.
macro_rules! with_stored {
    ($dtype:expr, $T:ident => $e:expr) => {
        match $dtype {
            $crate::dtype::DType::Bool => {
                type $T = $crate::dev::cpu::element::Truth;
                $e
            }
            $crate::dtype::DType::U8 => {
                type $T = u8;
                $e
            }
            $crate::dtype::DType::I8 => {
                type $T = i8;
                $e
            }
            $crate::dtype::DType::I16 => {
                type $T = i16;
                $e
            }
            $crate::dtype::DType::I32 => {
                type $T = i32;
                $e
            }
            $crate::dtype::DType::I64 => {
                type $T = i64;
                $e
            }
            $crate::dtype::DType::U32 => {
                type $T = u32;
                $e
            }
            $crate::dtype::DType::F16 => {
                type $T = ::half::f16;
                $e
            }
            $crate::dtype::DType::BF16 => {
                type $T = ::half::bf16;
                $e
            }
            $crate::dtype::DType::F32 => {
                type $T = f32;
                $e
            }
            $crate::dtype::DType::F64 => {
                type $T = f64;
                $e
            }
        }
    };
}
pub(crate) use with_stored;
