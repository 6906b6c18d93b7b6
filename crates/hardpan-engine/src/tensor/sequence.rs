//! Evenly spaced numbers, index lists of triangles, windows.

use super::arguments::{IntoSizes, shape_of};
use crate::dtype::{DType, Scalar};
use crate::node::Tensor;
use std::panic::Location;

impl Tensor {
    /// As [`Tensor::arange`] with a dtype; the number of elements follows from the given numbers. Counterpart:
    /// `torch.arange(dtype=..)`.
    #[track_caller]
    pub fn arange_dtype(
        start: impl Into<Scalar>,
        end: impl Into<Scalar>,
        step: impl Into<Scalar>,
        dtype: DType,
    ) -> Tensor {
        let (start, end, step) = (start.into(), end.into(), step.into());
        let whole = [start, end, step].iter().all(|s| !matches!(s, Scalar::Float(_)));
        if whole {
            return Tensor::arange(start, end, step).to_dtype(dtype);
        }
        let (mut s, e, mut d) = (start.as_f64(), end.as_f64(), step.as_f64());
        assert!(d != 0.0, "arange: step must not be 0");
        assert!(
            (e - s) * d >= 0.0,
            "arange: from {s} to {e} with step {d}: the step leads away from the end"
        );
        let n = ((e - s) / d).ceil() as usize;
        if !dtype.is_float() {
            // How many there are is counted before the fractions go.
            (s, d) = (s.trunc(), d.trunc());
        }
        let values: Vec<f64> = (0..n).map(|i| s + i as f64 * d).collect();
        Tensor::from_slice(&values, [n]).to_dtype(dtype)
    }

    /// As [`Tensor::linspace`] with a dtype; whole numbers cut the fraction. Counterpart: `torch.linspace(dtype=..)`.
    #[track_caller]
    pub fn linspace_dtype(start: f64, end: f64, n: usize, dtype: DType) -> Tensor {
        Tensor::from_slice(&spaced(start, end, n, dtype), [n]).to_dtype(dtype)
    }

    /// `base` to the power of `n` evenly spaced exponents from `start` to `end` inclusive. Counterpart: `torch.logspace`.
    #[track_caller]
    pub fn logspace(start: f64, end: f64, n: usize, base: f64, dtype: DType) -> Tensor {
        let values: Vec<f64> =
            spaced(start, end, n, DType::F64).iter().map(|e| libm::pow(base, *e)).collect();
        Tensor::from_slice(&values, [n]).to_dtype(dtype)
    }

    /// Row and column numbers (`[2, n]`, i64) of the lower triangle of a matrix, up to the `offset`-th diagonal. Counterpart:
    /// `torch.tril_indices`.
    #[track_caller]
    pub fn tril_indices(rows: usize, columns: usize, offset: isize) -> Tensor {
        triangle(rows, columns, |r, c| c - r <= offset)
    }

    /// Row and column numbers (`[2, n]`, i64) of the upper triangle of a matrix, from the `offset`-th diagonal. Counterpart:
    /// `torch.triu_indices`.
    #[track_caller]
    pub fn triu_indices(rows: usize, columns: usize, offset: isize) -> Tensor {
        triangle(rows, columns, |r, c| c - r >= offset)
    }

    /// Every element `value`, with the dtype (unless given) and device of `self`. Counterpart: `Tensor.new_full`.
    #[track_caller]
    pub fn new_full(
        &self,
        shape: impl IntoSizes,
        value: impl Into<Scalar>,
        dtype: Option<DType>,
    ) -> Tensor {
        let at = Location::caller();
        let shape = shape_of("new_full", &shape);
        crate::dev::with_device(self.device(), || {
            Tensor::full_at(&shape, value.into(), dtype.unwrap_or(self.dtype()), at)
        })
    }

    /// The Vandermonde matrix of the last dimension: powers 0 to `n - 1`. Counterpart: `torch.linalg.vander`.
    #[track_caller]
    pub fn vander(&self, n: usize) -> Tensor {
        let x = if self.dtype().is_float() { self.clone() } else { self.to_dtype(DType::I64) };
        let column = x.unsqueeze(-1);
        let mut shape = x.shape().to_vec();
        shape.push(1);
        let mut parts = vec![column.ones_like()];
        if n > 1 {
            shape[x.rank()] = n - 1;
            parts.push(column.broadcast_to(&shape));
        }
        if n == 0 {
            return parts[0].narrow(-1, 0, 0);
        }
        Tensor::cat(&parts, -1).cumprod(-1)
    }
}

fn spaced(start: f64, end: f64, n: usize, dtype: DType) -> Vec<f64> {
    // Whole-number results count in whole-number ends.
    let (start, end) = if dtype.is_float() { (start, end) } else { (start.trunc(), end.trunc()) };
    let step = if n > 1 { (end - start) / (n - 1) as f64 } else { 0.0 };
    (0..n)
        .map(|i| {
            if n == 1 {
                start
            } else if i < n / 2 {
                start + i as f64 * step
            } else {
                end - (n - 1 - i) as f64 * step
            }
        })
        .collect()
}

#[track_caller]
fn triangle(rows: usize, columns: usize, inside: impl Fn(isize, isize) -> bool) -> Tensor {
    let mut places: [Vec<i64>; 2] = Default::default();
    for r in 0..rows {
        for c in 0..columns {
            if inside(r as isize, c as isize) {
                places[0].push(r as i64);
                places[1].push(c as i64);
            }
        }
    }
    let n = places[0].len();
    Tensor::from_slice(&places.concat(), [2, n])
}
