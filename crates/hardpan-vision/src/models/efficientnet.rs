//! EfficientNet-Lite0: Tan and Le, <https://arxiv.org/abs/1905.11946>, without squeeze and excitation and with ReLU6.
//!
//! Keys are those of the PyTorch port whose weights are in use. As in TensorFlow, padding keeps `ceil(size / stride)` and puts the odd
//! zero after; batch norm has eps 1e-3.

use super::blocks::{Activation, classifier};
use super::{ModelOptions, Parts, Stages};
use hardpan_engine::{Tensor, functional as f};
use hardpan_nn::{
    AdaptiveAvgPool2d, BatchNorm2d, Dropout, Flatten, Forward, Module, Param, init::Init,
};

/// Repeats, kernel, stride, expansion, output channels: table 1 of the paper.
const ROWS: &[(usize, usize, usize, usize, usize)] = &[
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
];

fn norm(channels: usize) -> BatchNorm2d {
    BatchNorm2d::new(channels).eps(1e-3).momentum(0.01)
}

/// The network, cut before its pooling.
pub(super) fn parts(o: &ModelOptions) -> Parts {
    let act = o.activation.unwrap_or(Activation::Relu6);
    let mut body = Stages::new()
        .with("_conv_stem", SamePadded::new(o.channels, 32, 3, 2, 1))
        .with("_bn0", norm(32))
        .with("_act0", act);
    let (mut inputs, mut place) = (32, 0);
    let mut split = 0;
    for &(repeats, kernel, stride, expansion, outputs) in ROWS {
        for i in 0..repeats {
            if place == 5 {
                split = body.len();
            }
            let stride = if i == 0 { stride } else { 1 };
            let block = MbConv::new(inputs, outputs, kernel, stride, expansion, act);
            body.push(format!("_blocks.{place}"), block);
            inputs = outputs;
            place += 1;
        }
    }
    let features = 1280;
    let body = body
        .with("_conv_head", SamePadded::new(inputs, features, 1, 1, 1))
        .with("_bn1", norm(features))
        .with("_act1", act);
    let head = Stages::new()
        .with("_avg_pooling", AdaptiveAvgPool2d::new(1))
        .with("_flatten", Flatten::new())
        .with("_dropout", Dropout::new(o.dropout.unwrap_or(0.2)))
        .with("_fc", classifier(features, o.classes));
    Parts { body, head, features, split }
}

/// A convolution without bias whose output has `ceil(size / stride)` rows and columns, the odd row of padding last: TensorFlow's `SAME`.
#[derive(Module)]
pub struct SamePadded {
    /// `[out, in / groups, k, k]`
    pub weight: Param,
    kernel: usize,
    stride: usize,
    groups: usize,
}

impl SamePadded {
    fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        groups: usize,
    ) -> SamePadded {
        let weight = Init::default().tensor(&[outputs, inputs / groups, kernel, kernel]);
        SamePadded { weight: Param::new(weight), kernel, stride, groups }
    }
}

/// The input with so many rows and columns of zeros in all, the odd ones after it.
fn padded(x: &Tensor, rows: usize, columns: usize) -> Tensor {
    let around = |n: usize| (n / 2, n - n / 2);
    x.pad_zeros(&[(0, 0), (0, 0), around(rows), around(columns)])
}

impl Forward for SamePadded {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let (k, s) = (self.kernel, self.stride);
        let missing = |n: usize| ((n.div_ceil(s) - 1) * s + k).saturating_sub(n);
        let (h, w) = (missing(x.size(2)), missing(x.size(3)));
        let mut options =
            f::ConvOptions { stride: s.into(), groups: self.groups, ..f::ConvOptions::default() };
        if h % 2 == 0 && w % 2 == 0 {
            options.padding = [h / 2, w / 2].into();
            return f::conv2d(x, &self.weight.value(), None, options);
        }
        if h % 2 == 1 && w % 2 == 1 && self.groups > 1 {
            // A kernel with a row and a column of zeros before it reads as much on both sides. For one channel at a time that costs less
            // than a copy of the input with its padding.
            options.padding = [h / 2 + 1, w / 2 + 1].into();
            let weight = self.weight.value().pad_zeros(&[(0, 0), (0, 0), (1, 0), (1, 0)]);
            return f::conv2d(x, &weight, None, options);
        }
        f::conv2d(&padded(x, h, w), &self.weight.value(), None, options)
    }
}

/// More channels, a convolution for each, fewer channels; the input is added where the shape allows.
#[derive(Module)]
pub struct MbConv {
    #[module(name = "_expand_conv")]
    expand: Option<SamePadded>,
    #[module(name = "_bn0")]
    norm0: Option<BatchNorm2d>,
    #[module(name = "_depthwise_conv")]
    depthwise: SamePadded,
    #[module(name = "_bn1")]
    norm1: BatchNorm2d,
    #[module(name = "_project_conv")]
    project: SamePadded,
    #[module(name = "_bn2")]
    norm2: BatchNorm2d,
    act: Activation,
    shortcut: bool,
}

impl MbConv {
    fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        expansion: usize,
        act: Activation,
    ) -> MbConv {
        let wide = inputs * expansion;
        MbConv {
            expand: (expansion > 1).then(|| SamePadded::new(inputs, wide, 1, 1, 1)),
            norm0: (expansion > 1).then(|| norm(wide)),
            depthwise: SamePadded::new(wide, wide, kernel, stride, wide),
            norm1: norm(wide),
            project: SamePadded::new(wide, outputs, 1, 1, 1),
            norm2: norm(outputs),
            act,
            shortcut: stride == 1 && inputs == outputs,
        }
    }
}

impl Forward for MbConv {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = match (&self.expand, &self.norm0) {
            (Some(expand), Some(norm)) => self.act.forward(&norm.forward(&expand.forward(x))),
            _ => x.clone(),
        };
        let y = self.act.forward(&self.norm1.forward(&self.depthwise.forward(&y)));
        let y = self.norm2.forward(&self.project.forward(&y));
        if self.shortcut { y + x } else { y }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hardpan_engine::manual_seed;

    /// Values and gradients are those of a plain convolution over the padded input, whatever sizes come together.
    #[test]
    fn padding_is_tensorflows() {
        manual_seed(3);
        for (kernel, stride, groups) in [(3, 2, 6), (5, 2, 6), (3, 1, 6), (5, 1, 1), (3, 2, 1)] {
            for size in [(8, 8), (7, 7), (8, 7), (5, 12)] {
                let conv = SamePadded::new(6, 6, kernel, stride, groups);
                let x = Tensor::randn([2, 6, size.0, size.1]).requires_grad();
                let y = conv.forward(&x);
                let out = |n: usize| n.div_ceil(stride);
                assert_eq!(y.shape(), [2, 6, out(size.0), out(size.1)]);
                let missing = |n: usize| ((out(n) - 1) * stride + kernel).saturating_sub(n);
                let options =
                    f::ConvOptions { stride: stride.into(), groups, ..f::ConvOptions::default() };
                let padded = padded(&x, missing(size.0), missing(size.1));
                let plain = f::conv2d(&padded, &conv.weight.value(), None, options);
                let g = Tensor::randn(y.shape());
                let grads = |y: &Tensor| {
                    let inputs = [&x, &conv.weight.value()];
                    hardpan_engine::grad(&(y * &g).sum(..), &inputs)
                };
                let close = |a: &Tensor, b: &Tensor| {
                    let most = (a - b).abs().amax(..).item::<f32>();
                    assert!(most < 1e-4, "{kernel} {stride} {groups} {size:?}: {most}");
                };
                close(&y, &plain);
                for (a, b) in grads(&y).iter().zip(grads(&plain).iter()) {
                    close(a, b);
                }
            }
        }
    }
}
