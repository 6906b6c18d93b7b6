//! Window functions of signal processing. `symmetric` windows are for filters, the others (one sample of a longer symmetric
//! window left out) for spectra.

use crate::dtype::DType;
use crate::node::Tensor;
use std::f64::consts::PI;

impl Tensor {
    /// A sum of cosines with the given weights and alternating signs. Counterpart: `torch.signal.windows.general_cosine`.
    #[track_caller]
    pub fn cosine_window(n: usize, weights: &[f64], symmetric: bool, dtype: DType) -> Tensor {
        let period = if symmetric { n.saturating_sub(1) } else { n } as f64;
        let value = |i: usize| {
            let terms = weights.iter().enumerate().map(|(k, w)| {
                let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
                sign * w * libm::cos(2.0 * PI * (k * i) as f64 / period)
            });
            if n == 1 { 1.0 } else { terms.sum() }
        };
        let values: Vec<f64> = (0..n).map(value).collect();
        Tensor::from_slice(&values, [n]).to_dtype(dtype)
    }

    /// Counterpart: `torch.signal.windows.hann`.
    #[track_caller]
    pub fn hann_window(n: usize, symmetric: bool, dtype: DType) -> Tensor {
        Tensor::cosine_window(n, &[0.5, 0.5], symmetric, dtype)
    }

    /// Counterpart: `torch.signal.windows.hamming`.
    #[track_caller]
    pub fn hamming_window(n: usize, symmetric: bool, dtype: DType) -> Tensor {
        Tensor::cosine_window(n, &[0.54, 0.46], symmetric, dtype)
    }

    /// Counterpart: `torch.signal.windows.blackman`.
    #[track_caller]
    pub fn blackman_window(n: usize, symmetric: bool, dtype: DType) -> Tensor {
        Tensor::cosine_window(n, &[0.42, 0.5, 0.08], symmetric, dtype)
    }

    /// A bell of standard deviation `std` samples. Counterpart: `torch.signal.windows.gaussian`.
    #[track_caller]
    pub fn gaussian_window(n: usize, std: f64, symmetric: bool, dtype: DType) -> Tensor {
        let middle = if symmetric { n.saturating_sub(1) } else { n } as f64 / 2.0;
        let value = |i: usize| {
            let z = (i as f64 - middle) / std;
            if n == 1 { 1.0 } else { libm::exp(-0.5 * z * z) }
        };
        let values: Vec<f64> = (0..n).map(value).collect();
        Tensor::from_slice(&values, [n]).to_dtype(dtype)
    }
}
