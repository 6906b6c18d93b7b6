//! Tensors from data, constants, ranges and random numbers.

use super::arguments::{IntoSizes, shape_of};
use crate::dev::{Buffer, default_device};
use crate::dtype::{DType, Element, Scalar};
use crate::host::HostArray;
use crate::node::{Sources, Tensor};
use crate::op::{BinaryOp, Distribution, Op};
use crate::random;
use crate::shape::{Dims, numel};
use smallvec::smallvec;
use std::panic::Location;

type At = &'static Location<'static>;

fn bytes_of<T: Element>(data: &[T]) -> &[u8] {
    // SAFETY: an Element is plain data without padding; the length is that of the slice in bytes.
    unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), std::mem::size_of_val(data)) }
}

impl Tensor {
    /// A tensor of `data` in row-major order. The dtype is that of the elements.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let t = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]);
    /// assert_eq!(t.shape(), &[2, 3]);
    /// ```
    ///
    /// # Panics
    /// When the number of elements is not the product of `shape`.
    #[track_caller]
    pub fn from_slice<T: Element>(data: &[T], shape: impl IntoSizes) -> Tensor {
        let at = Location::caller();
        let shape = shape_of("from_slice", &shape);
        assert_eq!(
            data.len(),
            numel(&shape),
            "from_slice: {} elements do not fill shape {:?}",
            data.len(),
            shape
        );
        Tensor::from_buffer(Buffer::upload(default_device(), bytes_of(data)), T::DTYPE, shape, at)
    }

    /// As [`Tensor::from_slice`], from a vector.
    #[track_caller]
    pub fn from_vec<T: Element>(data: Vec<T>, shape: impl IntoSizes) -> Tensor {
        Tensor::from_slice(&data, shape)
    }

    /// A tensor of rank 0. Counterpart: `torch.tensor(3.5)`.
    #[track_caller]
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor::from_slice(&[value], &[] as &[usize])
    }

    /// From a host array.
    #[track_caller]
    pub fn from_host(array: &HostArray) -> Tensor {
        Tensor::from_buffer(
            Buffer::upload(default_device(), array.bytes()),
            array.dtype(),
            Dims::from_slice(array.shape()),
            Location::caller(),
        )
    }

    pub(crate) fn full_at(shape: &[usize], value: Scalar, dtype: DType, at: At) -> Tensor {
        Tensor::constant(value, dtype, at).broadcast_at(shape, at)
    }

    /// Every element `value`; dtype by the value's kind (bool, i64 or f32). Counterpart: `torch.full`.
    #[track_caller]
    pub fn full(shape: impl IntoSizes, value: impl Into<Scalar>) -> Tensor {
        let value = value.into();
        Tensor::full_at(&shape_of("full", &shape), value, value.dtype(), Location::caller())
    }

    /// As [`Tensor::full`] with a dtype.
    #[track_caller]
    pub fn full_dtype(shape: impl IntoSizes, value: impl Into<Scalar>, dtype: DType) -> Tensor {
        Tensor::full_at(&shape_of("full", &shape), value.into(), dtype, Location::caller())
    }

    /// Zeros, `f32`. Counterpart: `torch.zeros`.
    #[track_caller]
    pub fn zeros(shape: impl IntoSizes) -> Tensor {
        Tensor::full_dtype(shape, 0.0, DType::F32)
    }

    /// Zeros of a dtype.
    #[track_caller]
    pub fn zeros_dtype(shape: impl IntoSizes, dtype: DType) -> Tensor {
        Tensor::full_dtype(shape, 0.0, dtype)
    }

    /// Ones, `f32`. Counterpart: `torch.ones`.
    #[track_caller]
    pub fn ones(shape: impl IntoSizes) -> Tensor {
        Tensor::full_dtype(shape, 1.0, DType::F32)
    }

    /// Every element `value`, with the shape, dtype and device of `self`. Counterpart: `torch.full_like`.
    #[track_caller]
    pub fn full_like(&self, value: impl Into<Scalar>) -> Tensor {
        self.filled(value.into(), Location::caller())
    }

    pub(crate) fn filled(&self, value: Scalar, at: At) -> Tensor {
        crate::dev::with_device(self.device(), || {
            Tensor::full_at(self.shape(), value, self.dtype(), at)
        })
    }

    /// Zeros like `self`. Counterpart: `torch.zeros_like`.
    #[track_caller]
    pub fn zeros_like(&self) -> Tensor {
        self.filled(Scalar::Int(0), Location::caller())
    }

    /// Ones like `self`. Counterpart: `torch.ones_like`.
    #[track_caller]
    pub fn ones_like(&self) -> Tensor {
        self.filled(Scalar::Int(1), Location::caller())
    }

    /// `0, 1, .., n - 1` as i64.
    #[track_caller]
    pub fn iota(n: usize) -> Tensor {
        Tensor::new(Op::Iota, DType::I64, smallvec![n], Sources::new(), Location::caller())
    }

    /// `start, start + step, ..` up to but without `end`. i64 when all three are whole numbers, else f32.
    ///
    /// Counterpart: `torch.arange`.
    ///
    /// # Panics
    /// When `step` is zero or leads away from `end`.
    #[track_caller]
    pub fn arange(
        start: impl Into<Scalar>,
        end: impl Into<Scalar>,
        step: impl Into<Scalar>,
    ) -> Tensor {
        let at = Location::caller();
        let (start, end, step) = (start.into(), end.into(), step.into());
        let whole = [start, end, step].iter().all(|s| !matches!(s, Scalar::Float(_)));
        let (s, e, d) = (start.as_f64(), end.as_f64(), step.as_f64());
        assert!(d != 0.0, "arange: step must not be 0");
        assert!(
            (e - s) * d >= 0.0,
            "arange: from {s} to {e} with step {d}: the step leads away from the end"
        );
        let n = ((e - s) / d).ceil() as usize;
        if whole {
            let index = Tensor::iota(n);
            let scaled = super::math::binary(
                BinaryOp::Mul,
                &index,
                &Tensor::constant(step, DType::I64, at),
                at,
            );
            return super::math::binary(
                BinaryOp::Add,
                &scaled,
                &Tensor::constant(start, DType::I64, at),
                at,
            );
        }
        let values: Vec<f32> = (0..n).map(|i| (s + i as f64 * d) as f32).collect();
        Tensor::from_slice(&values, [n])
    }

    /// `n` values evenly spaced from `start` to `end` inclusive, f32. Counterpart: `torch.linspace`.
    #[track_caller]
    pub fn linspace(start: f64, end: f64, n: usize) -> Tensor {
        let step = if n > 1 { (end - start) / (n - 1) as f64 } else { 0.0 };
        let values: Vec<f32> = (0..n)
            .map(|i| {
                let v = if i < n / 2 {
                    start + i as f64 * step
                } else {
                    end - (n - 1 - i) as f64 * step
                };
                if n == 1 { start as f32 } else { v as f32 }
            })
            .collect();
        Tensor::from_slice(&values, [n])
    }

    /// The identity matrix with `n` rows and `m` columns, f32. Counterpart: `torch.eye`.
    #[track_caller]
    pub fn eye(n: usize, m: usize) -> Tensor {
        let rows = Tensor::iota(n).reshape([n, 1]);
        rows.eq(Tensor::iota(m)).to_dtype(DType::F32)
    }

    /// Draws from the global generator at the caller's device.
    pub(crate) fn random_at(shape: &[usize], dist: Distribution, at: At) -> Tensor {
        let n = numel(shape);
        let (seed, offset) = random::advance(n as u64);
        let dtype = if dist == Distribution::Bits { DType::I64 } else { DType::F32 };
        let flat = Tensor::new(
            Op::Random(dist, seed, offset),
            dtype,
            Dims::from_slice(shape),
            Sources::new(),
            at,
        );
        debug_assert_eq!(flat.numel(), n);
        flat
    }

    /// Uniform in [0, 1), f32, from the generator that [`crate::manual_seed`] seeds. Counterpart: `torch.rand`.
    #[track_caller]
    pub fn rand(shape: impl IntoSizes) -> Tensor {
        Tensor::random_at(&shape_of("rand", &shape), Distribution::Uniform, Location::caller())
    }

    /// Standard normal, f32. Counterpart: `torch.randn`.
    #[track_caller]
    pub fn randn(shape: impl IntoSizes) -> Tensor {
        Tensor::random_at(&shape_of("randn", &shape), Distribution::Normal, Location::caller())
    }
}
