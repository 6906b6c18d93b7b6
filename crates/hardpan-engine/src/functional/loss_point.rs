//! Losses between a value and its target, element by element: squares, absolutes, and negative log likelihoods.

use super::{Reduction, Tensor, at_least_through, number, pick, widen};
use std::f64::consts::PI;

#[track_caller]
fn difference(x: &Tensor, target: &Tensor) -> Tensor {
    widen(x) - widen(target)
}

/// `(x - target)^2`; shapes broadcast. Counterpart: `torch.nn.functional.mse_loss`.
///
/// ```
/// use hardpan_engine::{Tensor, functional as f, functional::Reduction};
/// let x = Tensor::from_slice(&[1.0f32, 2.0], [2]);
/// assert_eq!(f::mse_loss(&x, &Tensor::zeros([2]), Reduction::Mean).item::<f32>(), 2.5);
/// ```
#[track_caller]
pub fn mse_loss(x: &Tensor, target: &Tensor, reduction: Reduction) -> Tensor {
    let d = difference(x, target);
    reduction.apply(&d * &d, crate::result_type(x, target).to_float())
}

/// `|x - target|`; shapes broadcast. Counterpart: `torch.nn.functional.l1_loss`.
#[track_caller]
pub fn l1_loss(x: &Tensor, target: &Tensor, reduction: Reduction) -> Tensor {
    reduction.apply(difference(x, target).abs(), crate::result_type(x, target).to_float())
}

/// Squared near the target, absolute beyond `beta` (PyTorch's default is 1). Counterpart:
/// `torch.nn.functional.smooth_l1_loss`.
///
/// # Panics
/// When `beta` is negative.
#[track_caller]
pub fn smooth_l1_loss(x: &Tensor, target: &Tensor, reduction: Reduction, beta: f64) -> Tensor {
    assert!(beta >= 0.0, "smooth_l1_loss: beta must not be negative, got {beta}");
    if beta == 0.0 {
        return l1_loss(x, target, reduction);
    }
    let d = difference(x, target);
    let a = d.abs();
    let loss = pick(&a.lt(beta), &d * &d * (0.5 / beta), &(&a - 0.5 * beta));
    reduction.apply(loss, crate::result_type(x, target).to_float())
}

/// `d^2 / 2` up to a distance of `delta` (PyTorch's default is 1), linear beyond. Counterpart:
/// `torch.nn.functional.huber_loss`.
///
/// # Panics
/// When `delta` is not positive.
#[track_caller]
pub fn huber_loss(x: &Tensor, target: &Tensor, reduction: Reduction, delta: f64) -> Tensor {
    assert!(delta > 0.0, "huber_loss: delta must be positive, got {delta}");
    let d = difference(x, target);
    let a = d.abs();
    let loss = pick(&a.le(delta), &d * &d * 0.5, &((&a - 0.5 * delta) * delta));
    reduction.apply(loss, crate::result_type(x, target).to_float())
}

/// How [`kl_div`] turns elements into its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KlReduction {
    /// As other losses; `Mean` is the mean over all elements, which is not the divergence.
    Elements(Reduction),
    /// The sum divided by the size of dimension 0: the mean divergence.
    BatchMean,
}

impl From<Reduction> for KlReduction {
    fn from(r: Reduction) -> KlReduction {
        KlReduction::Elements(r)
    }
}

/// Kullback-Leibler divergence `t (ln t - x)`, where `x` are log probabilities and `target` probabilities, or their logarithms
/// with `log_target`. Counterpart: `torch.nn.functional.kl_div`.
#[track_caller]
pub fn kl_div(
    x: &Tensor,
    target: &Tensor,
    reduction: impl Into<KlReduction>,
    log_target: bool,
) -> Tensor {
    let dtype = crate::result_type(x, target).to_float();
    let batch = if x.rank() > 0 { x.shape()[0] } else { 1 };
    let (x, t) = (widen(x), widen(target));
    let loss = if log_target {
        t.exp() * (&t - &x)
    } else {
        let zero = t.eq(0.0);
        let log = pick(&zero, 1.0, &t).log();
        pick(&zero, 0.0, &(&t * log)) - &t * &x
    };
    match reduction.into() {
        KlReduction::Elements(r) => r.apply(loss, dtype),
        KlReduction::BatchMean => (loss.sum(..) / batch as f64).to_dtype(dtype),
    }
}

/// Options of [`gaussian_nll_loss`].
#[derive(Clone, Copy, Debug)]
pub struct GaussianNllOptions {
    /// Add the constant `ln(2 pi) / 2`. Default false.
    pub full: bool,
    /// Variances count as at least this. Default 1e-6.
    pub eps: f64,
    /// Default: mean.
    pub reduction: Reduction,
}

impl Default for GaussianNllOptions {
    fn default() -> Self {
        GaussianNllOptions { full: false, eps: 1e-6, reduction: Reduction::Mean }
    }
}

/// Negative log likelihood of `target` under normal distributions with means `x` and variances `var`:
/// `(ln var + (x - target)^2 / var) / 2`.
///
/// `var` has the shape of `x`, or lacks the last dimension, or has size 1 there. Counterpart:
/// `torch.nn.functional.gaussian_nll_loss`.
#[track_caller]
pub fn gaussian_nll_loss(
    x: &Tensor,
    target: &Tensor,
    var: &Tensor,
    options: GaussianNllOptions,
) -> Tensor {
    let o = options;
    let dtype = crate::result_type(x, target).promote(var.dtype()).to_float();
    let lacks_last = x.rank() > 0 && var.shape() == &x.shape()[..x.rank() - 1];
    let var = if var.shape() != x.shape() && lacks_last { var.unsqueeze(-1) } else { var.clone() };
    let var = at_least_through(&widen(&var), o.eps);
    let d = difference(x, target);
    let mut loss = (var.log() + &d * &d / &var) * 0.5;
    if o.full {
        loss += 0.5 * (2.0 * PI).ln();
    }
    o.reduction.apply(loss, dtype)
}

/// Options of [`poisson_nll_loss`].
#[derive(Clone, Copy, Debug)]
pub struct PoissonNllOptions {
    /// The input is the logarithm of the rate. Default true.
    pub log_input: bool,
    /// Add Stirling's approximation of `ln target!`. Default false.
    pub full: bool,
    /// Added to the rate before its logarithm when `log_input` is off. Default 1e-8.
    pub eps: f64,
    /// Default: mean.
    pub reduction: Reduction,
}

impl Default for PoissonNllOptions {
    fn default() -> Self {
        PoissonNllOptions { log_input: true, full: false, eps: 1e-8, reduction: Reduction::Mean }
    }
}

/// Negative log likelihood of counts `target` under Poisson distributions: `e^x - target * x`, or `x - target * ln x` without
/// `log_input`. Counterpart: `torch.nn.functional.poisson_nll_loss`.
#[track_caller]
pub fn poisson_nll_loss(x: &Tensor, target: &Tensor, options: PoissonNllOptions) -> Tensor {
    let o = options;
    let dtype = crate::result_type(x, target).to_float();
    let (x, t) = (widen(x), widen(target));
    let mut loss = if o.log_input { x.exp() - &t * &x } else { &x - &t * (&x + o.eps).log() };
    if o.full {
        let small = t.le(1.0);
        let t = pick(&small, 1.0, &t);
        let stirling = &t * t.log() - &t + (&t * (2.0 * PI)).log() * 0.5;
        loss += pick(&small, number(&t, 0.0), &stirling);
    }
    o.reduction.apply(loss, dtype)
}
