//! ResNets as torchvision has them: He et al., <https://arxiv.org/abs/1512.03385>, with the stride on the 3x3 convolution.

use super::blocks::{Activation, classifier, conv};
use super::{ModelOptions, Parts, Stages};
use hardpan_engine::Tensor;
use hardpan_nn::{
    AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Forward, MaxPool2d, Module, Sequential, seq,
};

/// Names with blocks per layer, and whether blocks have a bottleneck.
pub(super) const VARIANTS: &[(&str, [usize; 4], bool)] = &[
    ("resnet18", [2, 2, 2, 2], false),
    ("resnet34", [3, 4, 6, 3], false),
    ("resnet50", [3, 4, 6, 3], true),
    ("resnet101", [3, 4, 23, 3], true),
    ("resnet152", [3, 8, 36, 3], true),
];

/// The network, cut before its pooling.
pub(super) fn parts(layers: [usize; 4], bottleneck: bool, o: &ModelOptions) -> Parts {
    let act = o.activation.unwrap_or_default();
    let mut body = Stages::new()
        .with("conv1", Conv2d::new(o.channels, 64, 7).stride(2).padding(3).bias(false))
        .with("bn1", BatchNorm2d::new(64))
        .with("relu", act)
        .with("maxpool", MaxPool2d::new(3).stride(2).padding(1));
    let mut inputs = 64;
    let mut split = 0;
    for (i, blocks) in layers.into_iter().enumerate() {
        let width = 64 << i;
        if i == 2 {
            // fastai's `_resnet_split`: the first two layers, the last two, the head.
            split = body.len();
        }
        for block in 0..blocks {
            let stride = if block == 0 && i > 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", i + 1);
            if bottleneck {
                body.push(name, Bottleneck::new(inputs, width, stride, act));
                inputs = 4 * width;
            } else {
                body.push(name, BasicBlock::new(inputs, width, stride, act));
                inputs = width;
            }
        }
    }
    let head = Stages::new()
        .with("avgpool", AdaptiveAvgPool2d::new(1))
        .with("flatten", Flatten::new())
        .with("fc", classifier(inputs, o.classes));
    Parts { body, head, features: inputs, split }
}

/// The shortcut of a block that changes size or channels.
fn downsample(inputs: usize, outputs: usize, stride: usize) -> Option<Sequential> {
    (stride != 1 || inputs != outputs)
        .then(|| seq![conv(inputs, outputs, 1, stride), BatchNorm2d::new(outputs)])
}

/// Two 3x3 convolutions with a shortcut.
#[derive(Module)]
pub struct BasicBlock {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    downsample: Option<Sequential>,
    act: Activation,
}

impl BasicBlock {
    fn new(inputs: usize, width: usize, stride: usize, act: Activation) -> BasicBlock {
        BasicBlock {
            conv1: conv(inputs, width, 3, stride),
            bn1: BatchNorm2d::new(width),
            conv2: conv(width, width, 3, 1),
            bn2: BatchNorm2d::new(width),
            downsample: downsample(inputs, width, stride),
            act,
        }
    }
}

impl Forward for BasicBlock {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.act.forward(&self.bn1.forward(&self.conv1.forward(x)));
        let y = self.bn2.forward(&self.conv2.forward(&y));
        let shortcut = self.downsample.as_ref().map_or_else(|| x.clone(), |d| d.forward(x));
        self.act.forward(&(y + shortcut))
    }
}

/// A 3x3 convolution between two of 1x1, with a shortcut; four times wider outside.
#[derive(Module)]
pub struct Bottleneck {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    conv3: Conv2d,
    bn3: BatchNorm2d,
    downsample: Option<Sequential>,
    act: Activation,
}

impl Bottleneck {
    fn new(inputs: usize, width: usize, stride: usize, act: Activation) -> Bottleneck {
        let outputs = 4 * width;
        Bottleneck {
            conv1: conv(inputs, width, 1, 1),
            bn1: BatchNorm2d::new(width),
            conv2: conv(width, width, 3, stride),
            bn2: BatchNorm2d::new(width),
            conv3: conv(width, outputs, 1, 1),
            bn3: BatchNorm2d::new(outputs),
            downsample: downsample(inputs, outputs, stride),
            act,
        }
    }
}

impl Forward for Bottleneck {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.act.forward(&self.bn1.forward(&self.conv1.forward(x)));
        let y = self.act.forward(&self.bn2.forward(&self.conv2.forward(&y)));
        let y = self.bn3.forward(&self.conv3.forward(&y));
        let shortcut = self.downsample.as_ref().map_or_else(|| x.clone(), |d| d.forward(x));
        self.act.forward(&(y + shortcut))
    }
}
