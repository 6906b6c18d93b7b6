//! Normalisation: layer, root mean square, batch, group, instance, local response, and unit vectors.

use super::spatial::{Window, windows};
use super::{DType, Tensor, at_least, compute_dtype, widen};
use crate::shape::{Dims, numel};

/// `(x - mean) / sqrt(variance + eps)` over `axes`, and the statistics (axes kept with size 1), in the computing dtype.
fn standardise(x: &Tensor, axes: &Dims, eps: f64) -> (Tensor, Tensor, Tensor) {
    let mean = x.mean_keepdim(axes);
    let centred = x - &mean;
    let var = if mean.0.requires_grad {
        // The mean of squares around any fixed point less the square of its distance from the mean: here that distance is zero,
        // but the gradient reaches the mean through it, not through a sum over `centred` whose value is known to be zero. So
        // both sums of the backward pass, over the gradient and over the gradient times `centred`, take one pass over memory.
        let fixed = mean.detach();
        let (around, off) = (x - &fixed, &mean - &fixed);
        (&around * &around).mean_keepdim(axes) - &off * &off
    } else {
        (&centred * &centred).mean_keepdim(axes)
    };
    let y = centred * (&var + eps).sqrt().reciprocal();
    (y, mean, var)
}

/// `y * weight + bias`, each with one value for each entry of dimension 1.
fn per_channel(y: Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Tensor {
    let mut shape = vec![1; y.rank()];
    if y.rank() > 1 {
        shape[1] = y.shape()[1];
    } else if y.rank() == 1 {
        shape[0] = y.shape()[0];
    }
    let mut y = y;
    if let Some(w) = weight {
        y *= widen(w).reshape(&shape[..]);
    }
    if let Some(b) = bias {
        y += widen(b).reshape(&shape[..]);
    }
    y
}

#[track_caller]
fn check_channels(op: &str, x: &Tensor, parts: &[(&str, Option<&Tensor>)]) {
    let channels = if x.rank() > 1 { x.shape()[1] } else { x.numel() };
    for (what, t) in parts {
        if let Some(t) = t {
            assert!(
                t.numel() == channels,
                "{op}: {what} {:?} for an input {:?} with {channels} channels",
                t.shape(),
                x.shape()
            );
        }
    }
}

/// The last dimensions of `x`, which must be `normalized_shape`.
#[track_caller]
fn last_axes(
    op: &str,
    x: &Tensor,
    normalized_shape: &[usize],
    parts: [Option<&Tensor>; 2],
) -> Dims {
    let n = normalized_shape.len();
    assert!(
        n > 0 && x.rank() >= n && &x.shape()[x.rank() - n..] == normalized_shape,
        "{op}: input {:?} does not end in the normalized shape {normalized_shape:?}",
        x.shape()
    );
    for t in parts.into_iter().flatten() {
        assert!(
            t.shape() == normalized_shape,
            "{op}: weight or bias {:?} for a normalized shape {normalized_shape:?}",
            t.shape()
        );
    }
    (x.rank() - n..x.rank()).collect()
}

/// Layer normalisation (Ba et al. 2016): mean 0 and variance 1 over the last dimensions, which are `normalized_shape`, then
/// `* weight + bias` of that shape. PyTorch's default for `eps` is 1e-5.
///
/// Counterpart: `torch.nn.functional.layer_norm`.
#[track_caller]
pub fn layer_norm(
    x: &Tensor,
    normalized_shape: &[usize],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Tensor {
    let axes = last_axes("layer_norm", x, normalized_shape, [weight, bias]);
    let (mut y, _, _) = standardise(&widen(x), &axes, eps);
    if let Some(w) = weight {
        y *= widen(w);
    }
    if let Some(b) = bias {
        y += widen(b);
    }
    y.to_dtype(x.dtype().to_float())
}

/// Root mean square normalisation (Zhang and Sennrich 2019): `x / sqrt(mean(x^2) + eps) * weight` over the last dimensions.
///
/// Without `eps` it is the machine epsilon of the dtype computed in. Counterpart: `torch.nn.functional.rms_norm`.
#[track_caller]
pub fn rms_norm(
    x: &Tensor,
    normalized_shape: &[usize],
    weight: Option<&Tensor>,
    eps: Option<f64>,
) -> Tensor {
    let axes = last_axes("rms_norm", x, normalized_shape, [weight, None]);
    let epsilon = match compute_dtype(x.dtype()) {
        DType::F64 => f64::EPSILON,
        _ => f32::EPSILON as f64,
    };
    let wide = widen(x);
    let square = (&wide * &wide).mean_keepdim(&axes);
    let mut y = wide * (square + eps.unwrap_or(epsilon)).sqrt().reciprocal();
    if let Some(w) = weight {
        y *= widen(w);
    }
    y.to_dtype(x.dtype().to_float())
}

/// Arguments of [`batch_norm`] and [`instance_norm`].
#[derive(Clone)]
pub struct BatchNormOptions<'a> {
    /// Running means by channel.
    pub running_mean: Option<&'a Tensor>,
    /// Running variances by channel.
    pub running_var: Option<&'a Tensor>,
    /// Factors by channel.
    pub weight: Option<&'a Tensor>,
    /// Summands by channel.
    pub bias: Option<&'a Tensor>,
    /// Use (and track) the statistics of the batch. Default false for batch norm; instance norm calls it `use_input_stats`.
    pub training: bool,
    /// Share of the new statistics in the running ones. Default 0.1.
    pub momentum: f64,
    /// Added to the variance. Default 1e-5.
    pub eps: f64,
}

impl Default for BatchNormOptions<'_> {
    fn default() -> Self {
        BatchNormOptions {
            running_mean: None,
            running_var: None,
            weight: None,
            bias: None,
            training: false,
            momentum: 0.1,
            eps: 1e-5,
        }
    }
}

/// What [`batch_norm`] gives: tensors never change, so new running statistics come back beside the output.
#[derive(Clone)]
pub struct BatchNormOutput {
    /// Normalised input.
    pub output: Tensor,
    /// The running mean after this batch, if one was given in training.
    pub running_mean: Option<Tensor>,
    /// The running variance (with Bessel's correction) after this batch, if one was given in training.
    pub running_var: Option<Tensor>,
}

/// `old` moved toward `new` by `momentum`, without history.
fn track(old: Option<&Tensor>, new: &Tensor, momentum: f64) -> Option<Tensor> {
    old.map(|old| {
        let new = new.detach().reshape(old.shape());
        (widen(&old.detach()) * (1.0 - momentum) + new * momentum).to_dtype(old.dtype())
    })
}

/// Batch normalisation (Ioffe and Szegedy 2015) over all dimensions but the channels: `x: [N, C, ..]`.
///
/// In training the batch's own statistics are used and new running ones returned; otherwise the running ones are used.
/// Counterpart: `torch.nn.functional.batch_norm`.
///
/// # Panics
/// Without running statistics outside training, or when a size does not fit the channels.
#[track_caller]
pub fn batch_norm(x: &Tensor, options: BatchNormOptions<'_>) -> BatchNormOutput {
    let o = options;
    check_channels(
        "batch_norm",
        x,
        &[
            ("weight", o.weight),
            ("bias", o.bias),
            ("running_mean", o.running_mean),
            ("running_var", o.running_var),
        ],
    );
    let dtype = x.dtype().to_float();
    let axes: Dims = (0..x.rank()).filter(|d| *d != 1).collect();
    if !o.training {
        let (Some(mean), Some(var)) = (o.running_mean, o.running_var) else {
            panic!("batch_norm: running_mean and running_var are needed outside training")
        };
        let output = with_statistics(x, mean, var, &o);
        return BatchNormOutput {
            output: output.to_dtype(dtype),
            running_mean: None,
            running_var: None,
        };
    }
    if x.numel() == 0 {
        return BatchNormOutput {
            output: per_channel(widen(x) * 1.0, o.weight, o.bias).to_dtype(dtype),
            running_mean: o.running_mean.cloned(),
            running_var: o.running_var.cloned(),
        };
    }
    let (y, mean, var) = standardise(&widen(x), &axes, o.eps);
    let n = x.numel() / mean.numel().max(1);
    let unbiased = &var * (n as f64 / (n as f64 - 1.0));
    BatchNormOutput {
        output: per_channel(y, o.weight, o.bias).to_dtype(dtype),
        running_mean: track(o.running_mean, &mean, o.momentum),
        running_var: track(o.running_var, &unbiased, o.momentum),
    }
}

/// Normalised with given statistics: one factor and one summand by channel.
fn with_statistics(x: &Tensor, mean: &Tensor, var: &Tensor, o: &BatchNormOptions<'_>) -> Tensor {
    let x = widen(x);
    let scale = (widen(var) + o.eps).sqrt().reciprocal();
    let channels = if x.rank() > 1 { 1 } else { 0 };
    let shape: Vec<usize> =
        (0..x.rank()).map(|d| if d == channels { x.shape()[d] } else { 1 }).collect();
    let y = (&x - widen(mean).reshape(&shape[..])) * scale.reshape(&shape[..]);
    per_channel(y, o.weight, o.bias)
}

/// Group normalisation (Wu and He 2018): channels in `groups` groups, each normalised by item. `x: [N, C, ..]`; PyTorch's
/// default for `eps` is 1e-5.
///
/// Counterpart: `torch.nn.functional.group_norm`.
///
/// # Panics
/// When the channels do not divide by `groups`.
#[track_caller]
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Tensor {
    assert!(
        x.rank() >= 2 && groups > 0 && x.shape()[1].is_multiple_of(groups),
        "group_norm: the channels of {:?} ([N, C, ..]) do not divide into {groups} groups",
        x.shape()
    );
    check_channels("group_norm", x, &[("weight", weight), ("bias", bias)]);
    let (n, c) = (x.shape()[0], x.shape()[1]);
    let rest = numel(&x.shape()[2..]);
    let grouped = widen(x).reshape([n, groups, c / groups * rest]);
    let (y, _, _) = standardise(&grouped, &Dims::from_slice(&[2]), eps);
    per_channel(y.reshape(x.shape()), weight, bias).to_dtype(x.dtype().to_float())
}

/// Instance normalisation (Ulyanov et al. 2016): each channel of each item by itself. `x: [N, C, ..]`.
///
/// With `training` (PyTorch's `use_input_stats`) the item's statistics are used and the running ones follow their mean over
/// the batch; else the running ones are used. Counterpart: `torch.nn.functional.instance_norm`.
///
/// # Panics
/// Without running statistics when `training` is off.
#[track_caller]
pub fn instance_norm(x: &Tensor, options: BatchNormOptions<'_>) -> BatchNormOutput {
    assert!(x.rank() >= 3, "instance_norm: expected [N, C, ..], got shape {:?}", x.shape());
    if !options.training {
        return batch_norm(x, options);
    }
    let o = options;
    check_channels("instance_norm", x, &[("weight", o.weight), ("bias", o.bias)]);
    let axes: Dims = (2..x.rank()).collect();
    let (y, mean, var) = standardise(&widen(x), &axes, o.eps);
    let n = numel(&x.shape()[2..]) as f64;
    let unbiased = &var * (n / (n - 1.0));
    let batch: Dims = (0..x.rank()).filter(|d| *d != 1).collect();
    BatchNormOutput {
        output: per_channel(y, o.weight, o.bias).to_dtype(x.dtype().to_float()),
        running_mean: track(o.running_mean, &mean.mean(&batch), o.momentum),
        running_var: track(o.running_var, &unbiased.mean(&batch), o.momentum),
    }
}

/// Each element divided by `(k + alpha * mean of squares over size neighbouring channels)^beta`. `x: [N, C, ..]`; PyTorch's
/// defaults are alpha 1e-4, beta 0.75, k 1.
///
/// Counterpart: `torch.nn.functional.local_response_norm`.
#[track_caller]
pub fn local_response_norm(x: &Tensor, size: usize, alpha: f64, beta: f64, k: f64) -> Tensor {
    assert!(
        x.rank() >= 3 && size > 0,
        "local_response_norm: expected [N, C, ..] and a size of at least 1, got {:?} and {size}",
        x.shape()
    );
    super::in_compute_dtype(x, |x| {
        let channels_last = (x * x).transpose(1, -1);
        let c = x.shape()[1];
        let window =
            Window { kernel: size, stride: 1, dilation: 1, padding: size / 2, size: c, out: c };
        let total = windows(&channels_last, &[window], 0.0).sum(-1).transpose(1, -1);
        let divisor = total * (alpha / size as f64) + k;
        x / divisor.pow(beta)
    })
}

/// `x` divided by its `p`-norm along `dim`, which counts as at least `eps` (PyTorch's defaults: p 2, dim 1, eps 1e-12).
///
/// Counterpart: `torch.nn.functional.normalize`.
#[track_caller]
pub fn normalize(x: &Tensor, p: f64, dim: isize, eps: f64) -> Tensor {
    super::in_compute_dtype(x, |x| {
        let axis = crate::shape::axis_of("normalize", dim, x.rank());
        let axes: Dims = if x.rank() == 0 { Dims::new() } else { Dims::from_slice(&[axis]) };
        x / at_least(&super::distance::norm_keepdim(x, p, &axes), eps)
    })
}
