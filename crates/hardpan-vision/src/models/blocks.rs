//! Parts that several architectures share.

use hardpan_engine::{Tensor, functional as f};
use hardpan_nn::init::Init;
use hardpan_nn::{
    AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Forward, Linear, Module, Param, Sequential, seq,
};
use serde::{Deserialize, Serialize};

/// A nonlinearity by name, as a layer.
#[derive(Module, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`
    #[default]
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x tanh(softplus(x))`
    Mish,
    /// `x sigmoid(x)`
    Silu,
    /// `x` times the normal distribution function of `x`
    Gelu,
    /// `x relu6(x + 3) / 6`
    Hardswish,
}

impl Forward for Activation {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Activation::Relu => f::relu(x),
            Activation::Relu6 => f::relu6(x),
            Activation::Mish => f::mish(x),
            Activation::Silu => f::silu(x),
            Activation::Gelu => f::gelu(x),
            Activation::Hardswish => f::hardswish(x),
        }
    }
}

/// A convolution without bias that keeps the size (before its stride): odd kernels only.
pub(crate) fn conv(inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Conv2d {
    Conv2d::new(inputs, outputs, kernel).stride(stride).padding(kernel / 2).bias(false)
}

/// Batch norm whose weight starts at zero, so that a residual block starts as the identity.
pub(crate) fn zero_norm(channels: usize) -> BatchNorm2d {
    let norm = BatchNorm2d::new(channels);
    if let Some(weight) = &norm.weight {
        weight.set(Tensor::zeros([channels]));
    }
    norm
}

/// Convolution, batch norm, activation (if any). Keys `0.weight`, `1.*`.
pub(crate) fn conv_norm(
    conv: Conv2d,
    norm: BatchNorm2d,
    activation: Option<Activation>,
) -> Sequential {
    let layers = seq![conv, norm];
    match activation {
        Some(a) => layers.append(a),
        None => layers,
    }
}

/// Scales each channel by a factor found from the means of all: squeeze and excitation as torchvision writes it.
/// Keys `fc1.*`, `fc2.*`. Hu et al., <https://arxiv.org/abs/1709.01507>.
#[derive(Module)]
pub struct SqueezeExcitation {
    fc1: Conv2d,
    fc2: Conv2d,
    pool: AdaptiveAvgPool2d,
}

impl SqueezeExcitation {
    /// Of so many channels, squeezed to `squeezed`. The factor is a hard sigmoid, as in MobileNetV3.
    pub fn new(channels: usize, squeezed: usize) -> SqueezeExcitation {
        SqueezeExcitation {
            fc1: Conv2d::new(channels, squeezed, 1),
            fc2: Conv2d::new(squeezed, channels, 1),
            pool: AdaptiveAvgPool2d::new(1),
        }
    }
}

impl Forward for SqueezeExcitation {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let s = f::relu(&self.fc1.forward(&self.pool.forward(x)));
        x * f::hardsigmoid(&self.fc2.forward(&s))
    }
}

/// Layer norm over the channels of `[N, C, H, W]`. Keys `weight [C]`, `bias [C]`. Counterpart: torchvision's `LayerNorm2d`.
#[derive(Module)]
#[module(role = Norm)]
pub struct LayerNorm2d {
    /// `[C]`, ones at first.
    pub weight: Param,
    /// `[C]`, zeros at first.
    pub bias: Param,
    eps: f64,
}

impl LayerNorm2d {
    /// Of so many channels; eps 1e-6.
    pub fn new(channels: usize) -> LayerNorm2d {
        LayerNorm2d {
            weight: Param::new(Tensor::ones([channels])),
            bias: Param::new(Tensor::zeros([channels])),
            eps: 1e-6,
        }
    }
}

impl Forward for LayerNorm2d {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let (w, b) = (self.weight.value(), self.bias.value());
        let c = w.numel();
        let y = x.permute([0, 2, 3, 1]);
        f::layer_norm(&y, &[c], Some(&w), Some(&b), self.eps).permute([0, 3, 1, 2])
    }
}

/// Means and maxima of each channel side by side: `[N, C, H, W]` to `[N, 2 C, 1, 1]`, maxima first.
/// Counterpart: fastai's `AdaptiveConcatPool2d`.
#[derive(Module, Clone, Copy, Debug, Default)]
pub struct ConcatPool2d;

impl Forward for ConcatPool2d {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let (max, mean) = (x.amax_keepdim([2, 3]), x.mean_keepdim([2, 3]));
        Tensor::cat(&[max, mean], 1)
    }
}

/// A linear layer for `classes` outputs that starts as torchvision's do: uniform within `1 / sqrt(inputs)`.
pub(crate) fn classifier(inputs: usize, classes: usize) -> Linear {
    Linear::new(inputs, classes).init(Init::PyTorch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maxima_come_before_means() {
        let x = Tensor::from_slice(&[1f32, 2., 3., 6., 0., 0., 0., 4.], [1, 2, 2, 2]);
        let y = ConcatPool2d.forward(&x);
        assert_eq!((y.shape(), y.to_vec::<f32>()), (&[1, 4, 1, 1][..], vec![6., 4., 3., 1.]));
    }
}
