//! Small residual networks for small pictures (about 28 to 64 pixels).
//!
//! After Page, "How to train your ResNet" (<https://myrtle.ai/learn/how-to-train-your-resnet/>): full resolution at the start, a pool
//! in place of each stride, two residual blocks. A picture of 32x32 is seen as 4x4 places at the end.

use super::blocks::{Activation, ConcatPool2d, conv, conv_norm};
use super::{ModelOptions, Parts, Stages};
use hardpan_engine::Tensor;
use hardpan_nn::{
    BatchNorm2d, Dropout, Flatten, Forward, Linear, MaxPool2d, Module, Sequential, seq,
};

/// Names with the number of channels after the first convolution; it doubles with each halving of the size.
pub(super) const VARIANTS: &[(&str, usize)] =
    &[("resnet9_tiny", 16), ("resnet9_small", 32), ("resnet9", 64)];

/// The network, cut before its pooling.
pub(super) fn parts(width: usize, o: &ModelOptions) -> Parts {
    let act = o.activation.unwrap_or_default();
    let block = |i, o| conv_norm(conv(i, o, 3, 1), BatchNorm2d::new(o), Some(act));
    let down = |i, o| block(i, o).append(MaxPool2d::new(2).ceil_mode(true));
    let w = width;
    let body = Stages::new()
        .with("prep", block(o.channels, w))
        .with("layer1", down(w, 2 * w))
        .with("residual1", Residual::new(2 * w, act))
        .with("layer2", down(2 * w, 4 * w))
        .with("layer3", down(4 * w, 8 * w))
        .with("residual3", Residual::new(8 * w, act));
    let head = Stages::new()
        .with("pool", ConcatPool2d)
        .with("flatten", Flatten::new())
        .with("dropout", Dropout::new(o.dropout.unwrap_or(0.0)))
        .with("fc", Linear::new(16 * w, o.classes));
    Parts { body, head, features: 8 * w, split: 3 }
}

/// Two convolutions whose result is added to their input.
#[derive(Module)]
pub struct Residual {
    path: Sequential,
}

impl Residual {
    fn new(width: usize, act: Activation) -> Residual {
        let block = || conv_norm(conv(width, width, 3, 1), BatchNorm2d::new(width), Some(act));
        Residual { path: seq![block(), block()] }
    }
}

impl Forward for Residual {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x + self.path.forward(x)
    }
}
