//! Element types, host scalars and PyTorch's promotion rules.

use half::{bf16, f16};
use std::fmt;

/// The element type of a tensor.
///
/// Half types (`F16`, `BF16`) are storage types: kernels compute on them in `f32` and round once when storing.
/// Counterpart: `torch.dtype`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 8-bit integer.
    I8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer: the default for whole numbers and indices.
    I64,
    /// Unsigned 32-bit integer.
    U32,
    /// IEEE half precision.
    F16,
    /// bfloat16: the upper half of an `f32`.
    BF16,
    /// Single precision: the default for real numbers.
    F32,
    /// Double precision: for gradient checks.
    F64,
}

/// The type that a kernel computes in for a given storage type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lane {
    /// bool, u8, i8, i16, i32.
    I32,
    /// i64, u32.
    I64,
    /// f16, bf16, f32.
    F32,
    /// f64.
    F64,
}

impl DType {
    /// Every element type, narrowest kinds first.
    pub const ALL: [DType; 11] = [
        DType::Bool,
        DType::U8,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U32,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
    ];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 | DType::I8 => 1,
            DType::I16 | DType::F16 | DType::BF16 => 2,
            DType::I32 | DType::U32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// The lower-case name, as printed and as written in files: `f32`, `i64`, `bool`, ...
    pub const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::I8 => "i8",
            DType::I16 => "i16",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::U32 => "u32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
        }
    }

    /// True for `f16`, `bf16`, `f32`, `f64`: the types that can carry a gradient.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }

    /// True for the integers (not for bool).
    pub const fn is_int(self) -> bool {
        !self.is_float() && !matches!(self, DType::Bool)
    }

    /// The type kernels compute in.
    pub const fn lane(self) -> Lane {
        match self {
            DType::Bool | DType::U8 | DType::I8 | DType::I16 | DType::I32 => Lane::I32,
            DType::I64 | DType::U32 => Lane::I64,
            DType::F16 | DType::BF16 | DType::F32 => Lane::F32,
            DType::F64 => Lane::F64,
        }
    }

    /// The type that holds the result of combining two tensors, as PyTorch promotes.
    ///
    /// ```
    /// use hardpan_engine::DType;
    /// assert_eq!(DType::I64.promote(DType::F16), DType::F16);
    /// assert_eq!(DType::F16.promote(DType::BF16), DType::F32);
    /// assert_eq!(DType::U8.promote(DType::I8), DType::I16);
    /// ```
    pub fn promote(self, other: DType) -> DType {
        use DType::*;
        if self == other {
            return self;
        }
        let (low, high) = if self < other { (self, other) } else { (other, self) };
        match (low, high) {
            (F16, BF16) => F32,
            (_, h) if h.is_float() => h,
            (Bool, h) => h,
            (U8, I8) => I16,
            (_, U32) if low == U8 => U32,
            (_, U32) => I64,
            (_, h) => h,
        }
    }

    /// The type that holds a tensor of this type combined with a bare host scalar of kind `scalar`:
    /// a scalar widens the kind (bool < integer < float), never the precision.
    pub fn promote_scalar(self, scalar: DType) -> DType {
        if scalar.is_float() && !self.is_float() {
            DType::F32
        } else if scalar.is_int() && self == DType::Bool {
            DType::I64
        } else {
            self
        }
    }

    /// The float type for results of float-only functions: itself, or `f32` for integers and bool.
    pub fn to_float(self) -> DType {
        if self.is_float() { self } else { DType::F32 }
    }

    /// The type whose name is `name` (`f32` or PyTorch's `float32`, ...).
    pub fn from_name(name: &str) -> Option<DType> {
        let torch = match name {
            "float16" | "half" => Some(DType::F16),
            "bfloat16" => Some(DType::BF16),
            "float32" | "float" => Some(DType::F32),
            "float64" | "double" => Some(DType::F64),
            "uint8" => Some(DType::U8),
            "int8" => Some(DType::I8),
            "int16" | "short" => Some(DType::I16),
            "int32" | "int" => Some(DType::I32),
            "int64" | "long" => Some(DType::I64),
            "uint32" => Some(DType::U32),
            _ => None,
        };
        torch.or_else(|| DType::ALL.into_iter().find(|d| d.name() == name))
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A host number on its way into a tensor. Converts from every Rust number and `bool`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
}

impl Scalar {
    /// The kind, as the default type that holds it: `bool`, `i64`, or `f32`.
    pub fn dtype(self) -> DType {
        match self {
            Scalar::Bool(_) => DType::Bool,
            Scalar::Int(_) => DType::I64,
            Scalar::Float(_) => DType::F32,
        }
    }

    /// As a real number.
    pub fn as_f64(self) -> f64 {
        match self {
            Scalar::Bool(b) => b as u8 as f64,
            Scalar::Int(i) => i as f64,
            Scalar::Float(f) => f,
        }
    }

    /// As a whole number; a fraction is cut off.
    pub fn as_i64(self) -> i64 {
        match self {
            Scalar::Bool(b) => b as i64,
            Scalar::Int(i) => i,
            Scalar::Float(f) => f as i64,
        }
    }

    /// The value as a tensor of type `dtype` would hold it.
    pub fn cast(self, dtype: DType) -> Scalar {
        // NaN and numbers out of range give the smallest number of the type computed in, as processors and PyTorch do.
        let whole = match (self, dtype) {
            (Scalar::Float(f), DType::I64 | DType::U32) => {
                if f.abs() < 9223372036854775808.0 {
                    f as i64
                } else {
                    i64::MIN
                }
            }
            (Scalar::Float(f), _) => {
                if f.abs() < 2147483648.0 {
                    f as i64
                } else {
                    i32::MIN as i64
                }
            }
            _ => self.as_i64(),
        };
        match dtype {
            DType::Bool => Scalar::Bool(self.as_f64() != 0.0),
            DType::F64 => Scalar::Float(self.as_f64()),
            DType::F32 => Scalar::Float(self.as_f64() as f32 as f64),
            DType::F16 => Scalar::Float(<f16 as Element>::from_f64(self.as_f64()).to_f64()),
            DType::BF16 => Scalar::Float(<bf16 as Element>::from_f64(self.as_f64()).to_f64()),
            DType::I64 => Scalar::Int(whole),
            DType::I32 => Scalar::Int(whole as i32 as i64),
            DType::I16 => Scalar::Int(whole as i16 as i64),
            DType::I8 => Scalar::Int(whole as i8 as i64),
            DType::U8 => Scalar::Int(whole as u8 as i64),
            DType::U32 => Scalar::Int(whole as u32 as i64),
        }
    }
}

macro_rules! scalar_from {
    ($variant:ident: $($t:ty),*) => {$(
        impl From<$t> for Scalar {
            fn from(x: $t) -> Scalar { Scalar::$variant(x as _) }
        }
    )*};
}
scalar_from!(Int: i8, i16, i32, i64, u8, u16, u32, u64, usize, isize);
scalar_from!(Float: f32, f64);
impl From<bool> for Scalar {
    fn from(x: bool) -> Scalar {
        Scalar::Bool(x)
    }
}

/// A Rust type that tensors can be made from and read into.
pub trait Element: Copy + Send + Sync + 'static + fmt::Debug + PartialEq {
    /// The tensor type with the same layout.
    const DTYPE: DType;
    /// From a real number, rounding to nearest; integers wrap.
    fn from_f64(x: f64) -> Self;
    /// From a whole number; narrow integers wrap.
    fn from_i64(x: i64) -> Self;
    /// As a real number.
    fn to_f64(self) -> f64;
    /// As a whole number; a fraction is cut off.
    fn to_i64(self) -> i64;
}

macro_rules! element {
    ($($t:ty => $d:ident),*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            fn from_f64(x: f64) -> Self { Scalar::Float(x).cast(DType::$d).as_f64() as $t }
            fn from_i64(x: i64) -> Self { x as $t }
            fn to_f64(self) -> f64 { self as f64 }
            fn to_i64(self) -> i64 { self as i64 }
        }
    )*};
}
element!(u8 => U8, i8 => I8, i16 => I16, i32 => I32, u32 => U32, f32 => F32);
impl Element for i64 {
    const DTYPE: DType = DType::I64;
    fn from_f64(x: f64) -> Self {
        x as i64
    }
    fn from_i64(x: i64) -> Self {
        x
    }
    fn to_f64(self) -> f64 {
        self as f64
    }
    fn to_i64(self) -> i64 {
        self
    }
}
impl Element for f64 {
    const DTYPE: DType = DType::F64;
    fn from_f64(x: f64) -> Self {
        x
    }
    fn from_i64(x: i64) -> Self {
        x as f64
    }
    fn to_f64(self) -> f64 {
        self
    }
    fn to_i64(self) -> i64 {
        self as i64
    }
}
impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn from_f64(x: f64) -> Self {
        x != 0.0
    }
    fn from_i64(x: i64) -> Self {
        x != 0
    }
    fn to_f64(self) -> f64 {
        self as u8 as f64
    }
    fn to_i64(self) -> i64 {
        self as i64
    }
}
macro_rules! element_half {
    ($($t:ty => $d:ident),*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            // By way of f32, as PyTorch does. The crate's own `from_f64` rounds once on some processors and twice on others.
            fn from_f64(x: f64) -> Self { <$t>::from_f32(x as f32) }
            fn from_i64(x: i64) -> Self { <Self as Element>::from_f64(x as f64) }
            fn to_f64(self) -> f64 { <$t>::to_f64(self) }
            fn to_i64(self) -> i64 { <$t>::to_f64(self) as i64 }
        }
    )*};
}
element_half!(f16 => F16, bf16 => BF16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promotion_is_symmetric_and_idempotent() {
        for a in DType::ALL {
            for b in DType::ALL {
                let c = a.promote(b);
                assert_eq!(c, b.promote(a));
                assert_eq!(c.promote(a), c, "{a} {b}");
            }
        }
    }

    #[test]
    fn names_round_trip() {
        for d in DType::ALL {
            assert_eq!(DType::from_name(d.name()), Some(d));
        }
        assert_eq!(DType::from_name("float32"), Some(DType::F32));
    }

    #[test]
    fn halves_of_f64_are_rounded_by_way_of_f32() {
        // Above the middle of two halves by less than f32 holds: it becomes the middle, and that the even half.
        let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(<f16 as Element>::from_f64(x), f16::ONE);
        let x = 1.0 + 2f64.powi(-8) + 2f64.powi(-40);
        assert_eq!(<bf16 as Element>::from_f64(x), bf16::ONE);
        // By as much as f32 holds.
        let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-22);
        assert_eq!(<f16 as Element>::from_f64(x).to_f64(), 1.0 + 2f64.powi(-10));
        let x = 1.0 + 2f64.powi(-8) + 2f64.powi(-22);
        assert_eq!(<bf16 as Element>::from_f64(x).to_f64(), 1.0 + 2f64.powi(-7));
    }
}
