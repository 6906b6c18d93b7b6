//! Arrays on the host: bytes with a dtype and a shape, as files and custom operations see them.

use crate::dtype::{DType, Element, Scalar};
use crate::shape::{Dims, numel};
use half::{bf16, f16};

/// A contiguous row-major array in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostArray {
    dtype: DType,
    shape: Dims,
    bytes: Vec<u8>,
}

impl HostArray {
    /// An array of `data` in row-major order.
    ///
    /// # Panics
    /// When the number of elements is not the product of `shape`.
    #[track_caller]
    pub fn new<T: Element>(data: &[T], shape: &[usize]) -> HostArray {
        assert_eq!(
            data.len(),
            numel(shape),
            "HostArray: {} elements for shape {shape:?}",
            data.len()
        );
        // SAFETY: an Element has no padding and any of its bytes may be read; the length is that of the slice.
        let bytes = unsafe {
            std::slice::from_raw_parts(data.as_ptr().cast::<u8>(), std::mem::size_of_val(data))
        };
        HostArray { dtype: T::DTYPE, shape: Dims::from_slice(shape), bytes: bytes.to_vec() }
    }

    /// From raw little-endian bytes; `None` when their number does not fit.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: Vec<u8>) -> Option<HostArray> {
        let want = shape.iter().try_fold(dtype.size(), |n, d| n.checked_mul(*d))?;
        (bytes.len() == want).then(|| HostArray { dtype, shape: Dims::from_slice(shape), bytes })
    }

    /// An array of zeros.
    pub fn zeros(dtype: DType, shape: &[usize]) -> HostArray {
        HostArray {
            dtype,
            shape: Dims::from_slice(shape),
            bytes: vec![0; numel(shape) * dtype.size()],
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// The sizes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        numel(&self.shape)
    }
    /// True when there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The raw bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All elements converted to `T` (floats to integers cut the fraction).
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        macro_rules! read {
            ($t:ty, $get:ident, $make:ident) => {
                self.bytes
                    .chunks_exact(size_of::<$t>())
                    .map(|c| T::$make(<$t>::from_le_bytes(c.try_into().unwrap()).$get()))
                    .collect()
            };
        }
        match self.dtype {
            DType::Bool => self.bytes.iter().map(|b| T::from_i64((*b != 0) as i64)).collect(),
            DType::U8 => read!(u8, to_i64, from_i64),
            DType::I8 => read!(i8, to_i64, from_i64),
            DType::I16 => read!(i16, to_i64, from_i64),
            DType::I32 => read!(i32, to_i64, from_i64),
            DType::I64 => read!(i64, to_i64, from_i64),
            DType::U32 => read!(u32, to_i64, from_i64),
            DType::F16 => self
                .bytes
                .chunks_exact(2)
                .map(|c| T::from_f64(f16::from_le_bytes([c[0], c[1]]).to_f64()))
                .collect(),
            DType::BF16 => self
                .bytes
                .chunks_exact(2)
                .map(|c| T::from_f64(bf16::from_le_bytes([c[0], c[1]]).to_f64()))
                .collect(),
            DType::F32 => read!(f32, to_f64, from_f64),
            DType::F64 => read!(f64, to_f64, from_f64),
        }
    }

    /// Element `i` in row-major order.
    pub fn get(&self, i: usize) -> Scalar {
        let s = self.dtype.size();
        let c = &self.bytes[i * s..(i + 1) * s];
        match self.dtype {
            DType::Bool => Scalar::Bool(c[0] != 0),
            DType::U8 => Scalar::Int(c[0] as i64),
            DType::I8 => Scalar::Int(c[0] as i8 as i64),
            DType::I16 => Scalar::Int(i16::from_le_bytes([c[0], c[1]]) as i64),
            DType::I32 => Scalar::Int(i32::from_le_bytes(c.try_into().unwrap()) as i64),
            DType::U32 => Scalar::Int(u32::from_le_bytes(c.try_into().unwrap()) as i64),
            DType::I64 => Scalar::Int(i64::from_le_bytes(c.try_into().unwrap())),
            DType::F16 => Scalar::Float(f16::from_le_bytes([c[0], c[1]]).to_f64()),
            DType::BF16 => Scalar::Float(bf16::from_le_bytes([c[0], c[1]]).to_f64()),
            DType::F32 => Scalar::Float(f32::from_le_bytes(c.try_into().unwrap()) as f64),
            DType::F64 => Scalar::Float(f64::from_le_bytes(c.try_into().unwrap())),
        }
    }

    /// Writes element `i`, converting to the array's dtype.
    pub fn set(&mut self, i: usize, value: Scalar) {
        let s = self.dtype.size();
        let c = &mut self.bytes[i * s..(i + 1) * s];
        match self.dtype {
            DType::Bool => c[0] = (value.as_f64() != 0.0) as u8,
            DType::U8 => c[0] = value.as_i64() as u8,
            DType::I8 => c[0] = value.as_i64() as i8 as u8,
            DType::I16 => c.copy_from_slice(&(value.as_i64() as i16).to_le_bytes()),
            DType::I32 => c.copy_from_slice(&(value.as_i64() as i32).to_le_bytes()),
            DType::U32 => c.copy_from_slice(&(value.as_i64() as u32).to_le_bytes()),
            DType::I64 => c.copy_from_slice(&value.as_i64().to_le_bytes()),
            DType::F16 => {
                c.copy_from_slice(&<f16 as Element>::from_f64(value.as_f64()).to_le_bytes())
            }
            DType::BF16 => {
                c.copy_from_slice(&<bf16 as Element>::from_f64(value.as_f64()).to_le_bytes())
            }
            DType::F32 => c.copy_from_slice(&(value.as_f64() as f32).to_le_bytes()),
            DType::F64 => c.copy_from_slice(&value.as_f64().to_le_bytes()),
        }
    }
}
