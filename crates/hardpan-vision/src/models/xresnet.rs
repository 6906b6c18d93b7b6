//! The xresnet family: residual networks with the bag of tricks of He et al., <https://arxiv.org/abs/1812.01187>.
//!
//! Three small convolutions at the start in place of one large one, average pooling before the shortcut's convolution, batch norm
//! weights of zero at the end of each block. Keys are those of `fastai.vision.models.xresnet`.

use super::blocks::{Activation, conv, conv_norm, zero_norm};
use super::{ModelOptions, Parts, Stages};
use hardpan_engine::{Tensor, functional as f};
use hardpan_nn::{
    AdaptiveAvgPool2d, AvgPool2d, BatchNorm2d, Conv2d, Dropout, Flatten, Forward, Linear,
    MaxPool2d, Module, Sequential, seq,
};

/// How the blocks of one member of the family are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Two or three convolutions.
    Plain,
    /// Wider inside, with squeeze and excitation.
    Se,
    /// Grouped convolutions, with squeeze and excitation or without.
    Next { se: bool },
}

/// One member of the family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variant {
    pub expansion: usize,
    pub layers: &'static [usize],
    pub block: Block,
}

const G18: &[usize] = &[2, 2, 2, 2];
const G34: &[usize] = &[3, 4, 6, 3];
const G101: &[usize] = &[3, 4, 23, 3];
const G152: &[usize] = &[3, 8, 36, 3];
const DEEP18: &[usize] = &[2, 2, 2, 2, 1, 1];
const DEEP34: &[usize] = &[3, 4, 6, 3, 1, 1];
const DEEPER18: &[usize] = &[2, 2, 1, 1, 1, 1, 1, 1];
const DEEPER34: &[usize] = &[3, 4, 6, 3, 1, 1, 1, 1];
const NEXT_DEEPER34: &[usize] = &[3, 4, 4, 2, 2, 1, 1, 1];

/// Every member with its name.
pub(super) const VARIANTS: &[(&str, usize, &[usize], Block)] = {
    use Block::{Next, Plain, Se};
    const SE_NEXT: Block = Next { se: true };
    const NEXT: Block = Next { se: false };
    &[
        ("xresnet18", 1, G18, Plain),
        ("xresnet34", 1, G34, Plain),
        ("xresnet50", 4, G34, Plain),
        ("xresnet101", 4, G101, Plain),
        ("xresnet152", 4, G152, Plain),
        ("xresnet18_deep", 1, DEEP18, Plain),
        ("xresnet34_deep", 1, DEEP34, Plain),
        ("xresnet50_deep", 4, DEEP34, Plain),
        ("xresnet18_deeper", 1, DEEPER18, Plain),
        ("xresnet34_deeper", 1, DEEPER34, Plain),
        ("xresnet50_deeper", 4, DEEPER34, Plain),
        ("xse_resnet18", 1, G18, Se),
        ("xse_resnet34", 1, G34, Se),
        ("xse_resnet50", 4, G34, Se),
        ("xse_resnet101", 4, G101, Se),
        ("xse_resnet152", 4, G152, Se),
        ("xresnext18", 1, G18, NEXT),
        ("xresnext34", 1, G34, NEXT),
        ("xresnext50", 4, G34, NEXT),
        ("xresnext101", 4, G101, NEXT),
        ("xse_resnext18", 1, G18, SE_NEXT),
        ("xse_resnext34", 1, G34, SE_NEXT),
        ("xse_resnext50", 4, G34, SE_NEXT),
        ("xse_resnext101", 4, G101, SE_NEXT),
        ("xse_resnext18_deep", 1, DEEP18, SE_NEXT),
        ("xse_resnext34_deep", 1, DEEP34, SE_NEXT),
        ("xse_resnext50_deep", 4, DEEP34, SE_NEXT),
        ("xse_resnext18_deeper", 1, DEEPER18, SE_NEXT),
        ("xse_resnext34_deeper", 1, NEXT_DEEPER34, SE_NEXT),
        ("xse_resnext50_deeper", 4, NEXT_DEEPER34, SE_NEXT),
    ]
};

/// The member of this name.
pub(super) fn variant(name: &str) -> Option<Variant> {
    let (_, expansion, layers, block) = VARIANTS.iter().find(|v| v.0 == name)?;
    Some(Variant { expansion: *expansion, layers, block: *block })
}

/// The network, cut before its pooling.
pub(super) fn parts(v: Variant, o: &ModelOptions) -> Parts {
    let act = o.activation.unwrap_or_default();
    let mut body = Stages::new();
    let mut name = 0..;
    let mut next = || name.next().unwrap_or(0).to_string();
    let sizes = [o.channels, 32, 32, 64];
    for i in 0..3 {
        let stride = if i == 0 { 2 } else { 1 };
        let conv = conv(sizes[i], sizes[i + 1], 3, stride);
        body.push(next(), conv_norm(conv, BatchNorm2d::new(sizes[i + 1]), Some(act)));
    }
    body.push(next(), MaxPool2d::new(3).stride(2).padding(1));
    let mut inputs = 64 / v.expansion;
    for (i, &blocks) in v.layers.iter().enumerate() {
        let width = [64, 128, 256, 512].get(i).copied().unwrap_or(256);
        let mut layer = Sequential::new();
        for block in 0..blocks {
            let stride = if block == 0 && i > 0 { 2 } else { 1 };
            layer = layer.append(ResBlock::new(v.expansion, inputs, width, stride, v.block, act));
            inputs = width;
        }
        body.push(next(), layer);
    }
    let features = inputs * v.expansion;
    let head = Stages::new()
        .with(next(), AdaptiveAvgPool2d::new(1))
        .with(next(), Flatten::new())
        .with(next(), Dropout::new(o.dropout.unwrap_or(0.0)))
        .with(next(), Linear::new(features, o.classes));
    // fastai's `_xresnet_split`: the three convolutions of the start, the rest, the head.
    Parts { body, head, features, split: 3 }
}

/// A residual block: what its convolutions give is added to its input. Counterpart: fastai's `ResBlock`.
#[derive(Module)]
pub struct ResBlock {
    convpath: Sequential,
    idpath: Sequential,
    act: Activation,
}

impl ResBlock {
    pub(super) fn new(
        expansion: usize,
        inputs: usize,
        width: usize,
        stride: usize,
        block: Block,
        act: Activation,
    ) -> ResBlock {
        // The widths of the inner convolutions, the groups of the strided one, and the squeeze.
        let (nh1, nh2, groups, reduction) = match block {
            Block::Plain => (width, width, 1, 0),
            Block::Se => (width * 2, width * expansion, 1, 16),
            Block::Next { se } => {
                let inner = (width * 4 / 64) * 32;
                (inner, inner, 32, if se { 16 } else { 0 })
            }
        };
        let (ni, nf) = (inputs * expansion, width * expansion);
        let norm = BatchNorm2d::new;
        let mut convpath = if expansion == 1 {
            seq![
                conv_norm(conv(ni, nh2, 3, stride).groups(groups), norm(nh2), Some(act)),
                conv_norm(conv(nh2, nf, 3, 1), zero_norm(nf), None),
            ]
        } else {
            seq![
                conv_norm(conv(ni, nh1, 1, 1), norm(nh1), Some(act)),
                conv_norm(conv(nh1, nh2, 3, stride).groups(groups), norm(nh2), Some(act)),
                conv_norm(conv(nh2, nf, 1, 1), zero_norm(nf), None),
            ]
        };
        if reduction > 0 {
            convpath = convpath.append(SeModule::new(nf, reduction, act));
        }
        let mut idpath = Sequential::new();
        if stride != 1 {
            idpath = idpath.append(AvgPool2d::new(stride).ceil_mode(true));
        }
        if ni != nf {
            idpath = idpath.append(conv_norm(conv(ni, nf, 1, 1), norm(nf), None));
        }
        ResBlock { convpath, idpath, act }
    }
}

impl Forward for ResBlock {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.act.forward(&(self.convpath.forward(x) + self.idpath.forward(x)))
    }
}

/// Squeeze and excitation as fastai's `SEModule`, with its keys `layers.1.0.*` and `layers.2.0.*`.
#[derive(Module)]
struct SeModule {
    layers: (AdaptiveAvgPool2d, Sequential, Sequential),
    act: Activation,
}

impl SeModule {
    fn new(channels: usize, reduction: usize, act: Activation) -> SeModule {
        let squeezed = (channels / reduction).div_ceil(8) * 8;
        let down = seq![Conv2d::new(channels, squeezed, 1)];
        let up = seq![Conv2d::new(squeezed, channels, 1)];
        SeModule { layers: (AdaptiveAvgPool2d::new(1), down, up), act }
    }
}

impl Forward for SeModule {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let (pool, down, up) = &self.layers;
        let s = self.act.forward(&down.forward(&pool.forward(x)));
        x * f::sigmoid(&up.forward(&s))
    }
}
