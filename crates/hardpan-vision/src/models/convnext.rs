//! ConvNeXt as torchvision has it: Liu et al., <https://arxiv.org/abs/2201.03545>.

use super::blocks::{Activation, LayerNorm2d};
use super::{ModelOptions, Parts, Stages};
use hardpan_engine::Tensor;
use hardpan_nn::{
    AdaptiveAvgPool2d, Conv2d, Flatten, Forward, LayerNorm, Linear, Module, Param, Sequential,
    StochasticDepth, init::Init, seq,
};

const START: Init = Init::TruncatedNormal { std: 0.02 };

/// ConvNeXt-Tiny, cut before its pooling.
pub(super) fn tiny(o: &ModelOptions) -> Parts {
    let (depths, widths) = ([3, 3, 9, 3], [96, 192, 384, 768]);
    let act = o.activation.unwrap_or(Activation::Gelu);
    let total: usize = depths.iter().sum();
    let stem = Conv2d::new(o.channels, widths[0], 4).stride(4).init(START);
    let mut body = Stages::new().with("features.0", seq![stem, LayerNorm2d::new(widths[0])]);
    let (mut done, mut split) = (0, 0);
    for (i, (&depth, &width)) in depths.iter().zip(&widths).enumerate() {
        if i == 2 {
            split = body.len();
        }
        let mut layer = Sequential::new();
        for _ in 0..depth {
            // Deeper blocks are left out more often, up to one in ten.
            let p = 0.1 * done as f64 / (total - 1) as f64;
            layer = layer.append(CnBlock::new(width, p, act));
            done += 1;
        }
        body.push(format!("features.{}", 2 * i + 1), layer);
        if let Some(&wider) = widths.get(i + 1) {
            let down = Conv2d::new(width, wider, 2).stride(2).init(START);
            body.push(format!("features.{}", 2 * i + 2), seq![LayerNorm2d::new(width), down]);
        }
    }
    let features = widths[3];
    let head = Stages::new()
        .with("avgpool", AdaptiveAvgPool2d::new(1))
        .with("classifier.0", LayerNorm2d::new(features))
        .with("classifier.1", Flatten::new())
        .with("classifier.2", Linear::new(features, o.classes).init(START));
    Parts { body, head, features, split }
}

/// A 7x7 convolution for each channel, then a perceptron over the channels of each place; what comes out is scaled and added to the input.
#[derive(Module)]
pub struct CnBlock {
    /// `[C, 1, 1]`, 1e-6 at first.
    layer_scale: Param,
    block: Inner,
    depth: StochasticDepth,
}

#[derive(Module)]
struct Inner {
    #[module(name = "0")]
    depthwise: Conv2d,
    #[module(name = "2")]
    norm: LayerNorm,
    #[module(name = "3")]
    up: Linear,
    act: Activation,
    #[module(name = "5")]
    down: Linear,
}

impl CnBlock {
    fn new(width: usize, p: f64, act: Activation) -> CnBlock {
        CnBlock {
            layer_scale: Param::new(Tensor::zeros([width, 1, 1]) + 1e-6),
            block: Inner {
                depthwise: Conv2d::new(width, width, 7).padding(3).groups(width).init(START),
                norm: LayerNorm::new([width]).eps(1e-6),
                up: Linear::new(width, 4 * width).init(START),
                act,
                down: Linear::new(4 * width, width).init(START),
            },
            depth: StochasticDepth::new(p),
        }
    }
}

impl Forward for CnBlock {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let b = &self.block;
        let y = b.norm.forward(&b.depthwise.forward(x).permute([0, 2, 3, 1]));
        let y = b.down.forward(&b.act.forward(&b.up.forward(&y))).permute([0, 3, 1, 2]);
        x + self.depth.forward(&(y * self.layer_scale.value()))
    }
}
