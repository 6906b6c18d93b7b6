//! Residual networks on small colour pictures: fastai's xresnet18 and torchvision's resnet50.

use crate::Workload;
use crate::contraction::random;
use crate::measure::{Bench, Rate};
use crate::mlp::labels;
use hardpan_engine::functional::{cross_entropy, relu};
use hardpan_engine::{DType, Tensor};
use hardpan_nn::{
    AdaptiveAvgPool2d, AvgPool2d, BatchNorm2d, Compiled, Conv2d, Flatten, Forward, Identity, Layer,
    Linear, MaxPool2d, Module, ReLU, Sequential, seq,
};

/// What goes around a block is added to what comes out of it.
#[derive(Module)]
struct Residual {
    body: Sequential,
    skip: Box<dyn Layer>,
}

impl Forward for Residual {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        relu(&(self.body.forward(x) + self.skip.forward(x)))
    }
}

/// A convolution without bias that keeps the size (but for the stride), and batch norm.
fn conv_norm(net: Sequential, ni: usize, nf: usize, kernel: usize, stride: usize) -> Sequential {
    let conv = Conv2d::new(ni, nf, kernel).stride(stride).padding(kernel / 2).bias(false);
    net.append(conv).append(BatchNorm2d::new(nf))
}

/// Bag of tricks for image classification, <https://arxiv.org/abs/1812.01187>: three small convolutions at the start, and pooling
/// before the 1 x 1 convolution of a strided skip. Counterpart: fastai's `xresnet18`.
pub(crate) fn xresnet18(classes: usize) -> Sequential {
    let mut net = Sequential::new();
    for (ni, nf, stride) in [(3, 32, 2), (32, 32, 1), (32, 64, 1)] {
        net = conv_norm(net, ni, nf, 3, stride).append(ReLU);
    }
    net = net.append(MaxPool2d::new(3).stride(2).padding(1));
    let mut ni = 64;
    for (stage, nf) in [64, 128, 256, 512].into_iter().enumerate() {
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let body = conv_norm(Sequential::new(), ni, nf, 3, stride).append(ReLU);
            let skip: Box<dyn Layer> = if stride == 1 {
                Box::new(Identity)
            } else {
                Box::new(conv_norm(seq![AvgPool2d::new(2).ceil_mode(true)], ni, nf, 1, 1))
            };
            net = net.append(Residual { body: conv_norm(body, nf, nf, 3, 1), skip });
            ni = nf;
        }
    }
    net.append(AdaptiveAvgPool2d::new(1)).append(Flatten::new()).append(Linear::new(512, classes))
}

/// He et al., <https://arxiv.org/abs/1512.03385>, with the stride in the middle convolution. Counterpart: torchvision's `resnet50`.
pub(crate) fn resnet50(classes: usize) -> Sequential {
    let mut net = conv_norm(Sequential::new(), 3, 64, 7, 2)
        .append(ReLU)
        .append(MaxPool2d::new(3).stride(2).padding(1));
    let mut ni = 64;
    for (stage, (width, blocks)) in [(64, 3), (128, 4), (256, 6), (512, 3)].into_iter().enumerate()
    {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let nf = width * 4;
            let body = conv_norm(Sequential::new(), ni, width, 1, 1).append(ReLU);
            let body = conv_norm(body, width, width, 3, stride).append(ReLU);
            let skip: Box<dyn Layer> = if block > 0 {
                Box::new(Identity)
            } else {
                Box::new(conv_norm(Sequential::new(), ni, nf, 1, stride))
            };
            net = net.append(Residual { body: conv_norm(body, width, nf, 1, 1), skip });
            ni = nf;
        }
    }
    net.append(AdaptiveAvgPool2d::new(1)).append(Flatten::new()).append(Linear::new(ni, classes))
}

pub(crate) fn add(all: &mut Vec<Workload>) {
    type Make = fn(usize) -> Sequential;
    let nets: [(&str, Make); 2] = [("xresnet18", xresnet18), ("resnet50", resnet50)];
    for (name, make) in nets {
        for px in [64, 128] {
            let about = format!("training {name}, {px} x {px} pixels, batch 32");
            all.push(Workload::new(
                "residual",
                format!("{name}_{px}px_b32_train"),
                about,
                move |b| {
                    train(b, make, px);
                },
            ));
        }
    }
    for (name, make) in nets {
        for px in [64, 128] {
            for bs in [32, 1] {
                let about = format!("{name}, {px} x {px} pixels, batch {bs}, without gradients");
                all.push(Workload::new(
                    "residual",
                    format!("{name}_{px}px_b{bs}_infer"),
                    about,
                    move |b| {
                        infer(b, make, px, bs);
                    },
                ));
            }
        }
    }
}

fn train(b: &mut Bench<'_>, make: fn(usize) -> Sequential, px: usize) {
    let (bs, px) = (b.size(32, 2), b.size(px, 32));
    for variant in ["f32+sgd", "bf16+sgd"] {
        if !b.wants(variant) {
            continue;
        }
        let model = make(10);
        let (x, y) = (random(&[bs, 3, px, px], DType::F32), labels(bs, 10));
        b.train(variant, Rate::of(bs, "images/s"), &model, || {
            cross_entropy(&model.forward(&x), &y)
        });
    }
}

fn infer(b: &mut Bench<'_>, make: fn(usize) -> Sequential, px: usize, bs: usize) {
    let (bs, px) = (b.size(bs, 1), b.size(px, 32));
    for (variant, dtype) in [("f32", DType::F32), ("bf16", DType::BF16)] {
        if !b.wants(variant) {
            continue;
        }
        let model = make(10);
        model.eval();
        model.to_dtype(dtype);
        let x = random(&[bs, 3, px, px], dtype);
        let compiled = Compiled::new(model);
        let variant = format!("{variant}+compiled");
        b.infer(&variant, Rate::of(bs, "images/s"), || compiled.forward(&x));
    }
}
