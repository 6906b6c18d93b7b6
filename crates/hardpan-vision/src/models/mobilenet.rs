//! MobileNetV3 as torchvision has it: Howard et al., <https://arxiv.org/abs/1905.02244>.

use super::blocks::{Activation, SqueezeExcitation, classifier, conv, conv_norm};
use super::{ModelOptions, Parts, Stages};
use Activation::{Hardswish, Relu};
use hardpan_engine::Tensor;
use hardpan_nn::{AdaptiveAvgPool2d, BatchNorm2d, Dropout, Flatten, Forward, Module, Sequential};

/// Kernel, expanded channels, output channels, squeeze and excitation, activation, stride.
type Row = (usize, usize, usize, bool, Activation, usize);

/// Table 1 of the paper.
const LARGE: &[Row] = &[
    (3, 16, 16, false, Relu, 1),
    (3, 64, 24, false, Relu, 2),
    (3, 72, 24, false, Relu, 1),
    (5, 72, 40, true, Relu, 2),
    (5, 120, 40, true, Relu, 1),
    (5, 120, 40, true, Relu, 1),
    (3, 240, 80, false, Hardswish, 2),
    (3, 200, 80, false, Hardswish, 1),
    (3, 184, 80, false, Hardswish, 1),
    (3, 184, 80, false, Hardswish, 1),
    (3, 480, 112, true, Hardswish, 1),
    (3, 672, 112, true, Hardswish, 1),
    (5, 672, 160, true, Hardswish, 2),
    (5, 960, 160, true, Hardswish, 1),
    (5, 960, 160, true, Hardswish, 1),
];

/// Table 2 of the paper.
const SMALL: &[Row] = &[
    (3, 16, 16, true, Relu, 2),
    (3, 72, 24, false, Relu, 2),
    (3, 88, 24, false, Relu, 1),
    (5, 96, 40, true, Hardswish, 2),
    (5, 240, 40, true, Hardswish, 1),
    (5, 240, 40, true, Hardswish, 1),
    (5, 120, 48, true, Hardswish, 1),
    (5, 144, 48, true, Hardswish, 1),
    (5, 288, 96, true, Hardswish, 2),
    (5, 576, 96, true, Hardswish, 1),
    (5, 576, 96, true, Hardswish, 1),
];

/// Names with their tables and the width of the classifier's hidden layer.
pub(super) const VARIANTS: &[(&str, &[Row], usize)] =
    &[("mobilenet_v3_small", SMALL, 1024), ("mobilenet_v3_large", LARGE, 1280)];

fn norm(channels: usize) -> BatchNorm2d {
    BatchNorm2d::new(channels).eps(1e-3).momentum(0.01)
}

/// The network, cut before its pooling.
pub(super) fn parts(rows: &[Row], hidden: usize, o: &ModelOptions) -> Parts {
    let act = o.activation.unwrap_or(Hardswish);
    let mut body = Stages::new();
    let mut place = 0;
    let mut next = || {
        place += 1;
        format!("features.{}", place - 1)
    };
    body.push(next(), conv_norm(conv(o.channels, 16, 3, 2), norm(16), Some(act)));
    let mut inputs = 16;
    for row in rows {
        body.push(next(), InvertedResidual::new(inputs, row));
        inputs = row.2;
    }
    let features = 6 * inputs;
    body.push(next(), conv_norm(conv(inputs, features, 1, 1), norm(features), Some(act)));
    let split = body.len() / 2;
    let head = Stages::new()
        .with("avgpool", AdaptiveAvgPool2d::new(1))
        .with("flatten", Flatten::new())
        .with("classifier.0", classifier(features, hidden))
        .with("classifier.1", act)
        .with("classifier.2", Dropout::new(o.dropout.unwrap_or(0.2)))
        .with("classifier.3", classifier(hidden, o.classes));
    Parts { body, head, features, split }
}

/// More channels, a convolution for each, fewer channels; the input is added where the shape allows.
#[derive(Module)]
pub struct InvertedResidual {
    block: Sequential,
    shortcut: bool,
}

impl InvertedResidual {
    fn new(inputs: usize, &(kernel, expanded, outputs, se, act, stride): &Row) -> InvertedResidual {
        let mut block = Sequential::new();
        if expanded != inputs {
            let expand = conv(inputs, expanded, 1, 1);
            block = block.append(conv_norm(expand, norm(expanded), Some(act)));
        }
        let depthwise = conv(expanded, expanded, kernel, stride).groups(expanded);
        block = block.append(conv_norm(depthwise, norm(expanded), Some(act)));
        if se {
            block = block.append(SqueezeExcitation::new(expanded, divisible(expanded / 4)));
        }
        block = block.append(conv_norm(conv(expanded, outputs, 1, 1), norm(outputs), None));
        InvertedResidual { block, shortcut: stride == 1 && inputs == outputs }
    }
}

/// The multiple of 8 nearest to `n`, but no less than nine tenths of it.
fn divisible(n: usize) -> usize {
    let near = ((n + 4) / 8 * 8).max(8);
    if near * 10 < n * 9 { near + 8 } else { near }
}

impl Forward for InvertedResidual {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.block.forward(x);
        if self.shortcut { y + x } else { y }
    }
}
