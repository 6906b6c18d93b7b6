//! Activation functions: elementwise curves, gated units, softmax and its relatives.

use super::{Tensor, beside, in_compute_dtype, number, pick, widen};
use crate::shape::axis_of;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// `max(x, 0)`; the gradient at 0 is 0. Any dtype. Counterpart: `torch.nn.functional.relu`.
#[track_caller]
pub fn relu(x: &Tensor) -> Tensor {
    pick(&x.le(0), 0, x)
}

/// `min(max(x, 0), 6)`. Counterpart: `torch.nn.functional.relu6`.
#[track_caller]
pub fn relu6(x: &Tensor) -> Tensor {
    hardtanh(x, 0.0, 6.0)
}

/// `x` where positive, else `slope * x` (PyTorch's default slope is 0.01). Counterpart: `torch.nn.functional.leaky_relu`.
#[track_caller]
pub fn leaky_relu(x: &Tensor, slope: f64) -> Tensor {
    pick(&x.gt(0), x, &(x * slope))
}

/// As [`leaky_relu`] with a learned slope: `weight` has one element, or one for each channel (dimension 1 of `x`).
///
/// Counterpart: `torch.nn.functional.prelu`.
///
/// # Panics
/// When the number of slopes is neither 1 nor the number of channels.
#[track_caller]
pub fn prelu(x: &Tensor, weight: &Tensor) -> Tensor {
    let channels = if x.rank() >= 2 { x.shape()[1] } else { 1 };
    assert!(
        weight.numel() == 1 || weight.numel() == channels,
        "prelu: {} slopes for an input of shape {:?}; expected 1 or {channels}",
        weight.numel(),
        x.shape()
    );
    let mut shape = vec![1; x.rank()];
    if weight.numel() > 1 {
        shape[1] = channels;
    }
    let slope = weight.reshape(&shape[..]);
    pick(&x.gt(0), x, &(slope * x))
}

/// Randomized leaky rectifier: in training the slope of each element is drawn from `lower..upper`, else it is their mean
/// (PyTorch's defaults are 1/8 and 1/3). Counterpart: `torch.nn.functional.rrelu`.
#[track_caller]
pub fn rrelu(x: &Tensor, lower: f64, upper: f64, training: bool) -> Tensor {
    if !training {
        return leaky_relu(x, (lower + upper) / 2.0);
    }
    let draw = beside(x, || Tensor::rand(x.shape()));
    let slope = (draw * (upper - lower) + lower).to_dtype(x.dtype());
    pick(&x.gt(0), x, &(slope * x))
}

/// `x` where positive, else `alpha * (e^x - 1)` (PyTorch's default alpha is 1). Counterpart: `torch.nn.functional.elu`.
#[track_caller]
pub fn elu(x: &Tensor, alpha: f64) -> Tensor {
    elu_scaled(x, alpha, 1.0, 1.0)
}

/// Scaled exponential unit with the constants of Klambauer et al. 2017. Counterpart: `torch.nn.functional.selu`.
#[track_caller]
pub fn selu(x: &Tensor) -> Tensor {
    elu_scaled(x, 1.673_263_242_354_377_2, 1.050_700_987_355_480_5, 1.0)
}

/// `max(x, 0) + min(0, alpha * (e^(x / alpha) - 1))`. Counterpart: `torch.nn.functional.celu`.
#[track_caller]
pub fn celu(x: &Tensor, alpha: f64) -> Tensor {
    elu_scaled(x, alpha, 1.0, 1.0 / alpha)
}

#[track_caller]
fn elu_scaled(x: &Tensor, alpha: f64, scale: f64, input_scale: f64) -> Tensor {
    in_compute_dtype(x, |x| {
        let positive = x.gt(0);
        let negative = pick(&positive, 0, x);
        pick(&positive, x * scale, &((negative * input_scale).expm1() * (alpha * scale)))
    })
}

/// `x * P(X <= x)` for a standard normal `X`. Counterpart: `torch.nn.functional.gelu`.
#[track_caller]
pub fn gelu(x: &Tensor) -> Tensor {
    in_compute_dtype(x, |x| x * 0.5 * ((x * FRAC_1_SQRT_2).erf() + 1.0))
}

/// [`gelu`] by its approximation with `tanh`. Counterpart: `gelu(approximate="tanh")`.
#[track_caller]
pub fn gelu_tanh(x: &Tensor) -> Tensor {
    in_compute_dtype(x, |x| {
        let inner = (x + x * x * x * 0.044715) * (2.0 / PI).sqrt();
        x * 0.5 * (inner.tanh() + 1.0)
    })
}

/// `1 / (1 + e^-x)`. Counterpart: `torch.sigmoid`.
#[track_caller]
pub fn sigmoid(x: &Tensor) -> Tensor {
    in_compute_dtype(x, |x| ((-super::at_least(x, sigmoid_limit(x))).exp() + 1.0).reciprocal())
}

/// Below this e^-x overflows, and the gradient of the sigmoid would be 0 * inf.
fn sigmoid_limit(x: &Tensor) -> f64 {
    if x.dtype() == crate::DType::F64 { -700.0 } else { -87.0 }
}

/// `x * sigmoid(x)`, also called swish. Counterpart: `torch.nn.functional.silu`.
#[track_caller]
pub fn silu(x: &Tensor) -> Tensor {
    in_compute_dtype(x, |x| {
        // The sigmoid stops falling here, and what is left of it would show beside a large x.
        let limit = sigmoid_limit(x);
        x * pick(&x.lt(limit), 0, &sigmoid(x))
    })
}

/// `x * tanh(softplus(x))`. Counterpart: `torch.nn.functional.mish`.
#[track_caller]
pub fn mish(x: &Tensor) -> Tensor {
    in_compute_dtype(x, |x| x * softplus(x, 1.0, 20.0).tanh())
}

/// `x * relu6(x + 3) / 6`. Counterpart: `torch.nn.functional.hardswish`.
#[track_caller]
pub fn hardswish(x: &Tensor) -> Tensor {
    in_compute_dtype(x, |x| {
        let middle = x * (x + 3.0) * (1.0 / 6.0);
        // x * 0 and not 0, which has the sign of x and is NaN for -inf, as the formula has it.
        pick(&x.le(-3.0), x * 0.0, &pick(&x.lt(3.0), &middle, x))
    })
}

/// `relu6(x + 3) / 6`. Counterpart: `torch.nn.functional.hardsigmoid`.
#[track_caller]
pub fn hardsigmoid(x: &Tensor) -> Tensor {
    in_compute_dtype(x, |x| {
        let middle = x * (1.0 / 6.0) + 0.5;
        pick(&x.le(-3.0), 0, &pick(&x.ge(3.0), 1, &middle))
    })
}

/// `x` cut to `low..=high` (PyTorch's defaults are -1 and 1); the gradient at the ends is 0.
/// Counterpart: `torch.nn.functional.hardtanh`.
#[track_caller]
pub fn hardtanh(x: &Tensor, low: f64, high: f64) -> Tensor {
    let (low, high) = (number(x, low), number(x, high));
    pick(&x.le(&low), &low, &pick(&x.ge(&high), &high, x))
}

/// 0 within `lambda` of 0, else `x` (PyTorch's default is 0.5). Counterpart: `torch.nn.functional.hardshrink`.
#[track_caller]
pub fn hardshrink(x: &Tensor, lambda: f64) -> Tensor {
    pick(&x.abs().le(lambda), 0, x)
}

/// `x` moved toward 0 by `lambda` and not past it (PyTorch's default is 0.5). Counterpart:
/// `torch.nn.functional.softshrink`.
#[track_caller]
pub fn softshrink(x: &Tensor, lambda: f64) -> Tensor {
    let below = pick(&x.lt(-lambda), x + lambda, &(x * 0.0));
    pick(&x.gt(lambda), x - lambda, &below)
}

/// `x - tanh(x)`. Counterpart: `torch.nn.functional.tanhshrink`.
#[track_caller]
pub fn tanhshrink(x: &Tensor) -> Tensor {
    in_compute_dtype(x, |x| x - x.tanh())
}

/// `x / (1 + |x|)`. Counterpart: `torch.nn.functional.softsign`.
#[track_caller]
pub fn softsign(x: &Tensor) -> Tensor {
    in_compute_dtype(x, |x| x / (x.abs() + 1.0))
}

/// `ln(1 + e^(beta x)) / beta`, and `x` itself where `beta x > threshold` (PyTorch's defaults are 1 and 20).
/// Counterpart: `torch.nn.functional.softplus`.
#[track_caller]
pub fn softplus(x: &Tensor, beta: f64, threshold: f64) -> Tensor {
    in_compute_dtype(x, |x| {
        let scaled = if beta == 1.0 { x.clone() } else { x * beta };
        let linear = scaled.gt(threshold);
        let curve = pick(&linear, 0, &scaled).exp().log1p();
        pick(&linear, x, &if beta == 1.0 { curve } else { curve / beta })
    })
}

/// `ln(sigmoid(x))`. Counterpart: `torch.nn.functional.logsigmoid`.
#[track_caller]
pub fn logsigmoid(x: &Tensor) -> Tensor {
    in_compute_dtype(x, |x| x.minimum(0.0) - (-x.abs()).exp().log1p())
}

/// `x` where above `threshold`, else `value`. Counterpart: `torch.nn.functional.threshold`.
#[track_caller]
pub fn threshold(x: &Tensor, threshold: f64, value: f64) -> Tensor {
    pick(&x.le(number(x, threshold)), number(x, value), x)
}

/// Gated linear unit: the first half of dimension `dim` times the sigmoid of the second. Counterpart:
/// `torch.nn.functional.glu`.
///
/// # Panics
/// When the size of `dim` is odd.
#[track_caller]
pub fn glu(x: &Tensor, dim: isize) -> Tensor {
    let n = x.size(dim);
    assert!(n.is_multiple_of(2), "glu: dimension {dim} of shape {:?} is odd", x.shape());
    in_compute_dtype(x, |x| x.narrow(dim, 0, n / 2) * sigmoid(&x.narrow(dim, n / 2, n / 2)))
}

/// `e^x` divided by its sum along `dim`. Counterpart: `torch.softmax`.
#[track_caller]
pub fn softmax(x: &Tensor, dim: isize) -> Tensor {
    axis_of("softmax", dim, x.rank());
    if x.numel() == 0 {
        return x.to_dtype(x.dtype().to_float());
    }
    in_compute_dtype(x, |x| {
        let e = (x - x.amax_keepdim(dim).detach()).exp();
        // The sum is at least 1, so its reciprocal is as good as a division for each element, and several times as fast.
        &e * e.sum_keepdim(dim).reciprocal()
    })
}

/// The logarithm of [`softmax`]. Counterpart: `torch.log_softmax`.
#[track_caller]
pub fn log_softmax(x: &Tensor, dim: isize) -> Tensor {
    axis_of("log_softmax", dim, x.rank());
    if x.numel() == 0 {
        return x.to_dtype(x.dtype().to_float());
    }
    in_compute_dtype(x, |x| {
        let z = x - x.amax_keepdim(dim).detach();
        &z - z.exp().sum_keepdim(dim).log()
    })
}

/// [`softmax`] of `-x`. Counterpart: `torch.nn.functional.softmin`.
#[track_caller]
pub fn softmin(x: &Tensor, dim: isize) -> Tensor {
    softmax(&-x, dim)
}

/// A sample from the Gumbel-softmax distribution (Jang et al. 2016) with temperature `tau`. With `hard` the result is one-hot,
/// with the gradient of the soft sample. Counterpart: `torch.nn.functional.gumbel_softmax`.
#[track_caller]
pub fn gumbel_softmax(logits: &Tensor, tau: f64, hard: bool, dim: isize) -> Tensor {
    let uniform = beside(logits, || Tensor::rand(logits.shape()));
    // In (0, 1): zero would give an infinite sample.
    let noise = -(-(uniform + 0.5f64.powi(25)).log()).log();
    let soft = softmax(&((widen(logits) + noise) / tau), dim).to_dtype(logits.dtype());
    if !hard {
        return soft;
    }
    let axis = axis_of("gumbel_softmax", dim, soft.rank());
    let best = soft.argmax(dim).unsqueeze(axis as isize);
    let classes = super::iota_along(&soft, soft.shape()[axis], axis, soft.rank());
    let one_hot = classes.eq(&best).to_dtype(soft.dtype());
    super::value_with_gradient_of(&one_hot, &soft)
}

impl Tensor {
    /// [`relu`] as a method.
    #[track_caller]
    pub fn relu(&self) -> Tensor {
        relu(self)
    }
    /// [`gelu`] as a method (the exact one).
    #[track_caller]
    pub fn gelu(&self) -> Tensor {
        gelu(self)
    }
    /// [`silu`] as a method.
    #[track_caller]
    pub fn silu(&self) -> Tensor {
        silu(self)
    }
    /// [`leaky_relu`] as a method.
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Tensor {
        leaky_relu(self, slope)
    }
    /// [`elu`] as a method.
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Tensor {
        elu(self, alpha)
    }
    /// [`softplus`] as a method, with beta 1 and threshold 20.
    #[track_caller]
    pub fn softplus(&self) -> Tensor {
        softplus(self, 1.0, 20.0)
    }
    /// [`softmax`] along `dim` as a method.
    #[track_caller]
    pub fn softmax(&self, dim: isize) -> Tensor {
        softmax(self, dim)
    }
    /// [`log_softmax`] along `dim` as a method.
    #[track_caller]
    pub fn log_softmax(&self, dim: isize) -> Tensor {
        log_softmax(self, dim)
    }
}
