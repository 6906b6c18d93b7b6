//! The course's convolutional network on digits.

use crate::Workload;
use crate::contraction::random;
use crate::measure::Rate;
use crate::mlp::labels;
use hardpan_engine::DType;
use hardpan_engine::functional::cross_entropy;
use hardpan_nn::{
    AdaptiveAvgPool2d, BatchNorm2d, Compiled, Conv2d, Flatten, Forward, Linear, Module, ReLU,
    Sequential,
};

/// Four convolutions of stride 2 with ReLU and batch norm, then the mean of each channel and a linear layer.
pub(crate) fn course_cnn() -> Sequential {
    let channels = [1, 8, 16, 32, 64];
    channels
        .windows(2)
        .enumerate()
        .fold(Sequential::new(), |net, (i, c)| {
            let kernel = if i == 0 { 5 } else { 3 };
            let conv = Conv2d::new(c[0], c[1], kernel).stride(2).padding(kernel / 2).bias(false);
            net.append(conv).append(ReLU).append(BatchNorm2d::new(c[1]))
        })
        .append(AdaptiveAvgPool2d::new(1))
        .append(Flatten::new())
        .append(Linear::new(64, 10))
}

pub(crate) fn add(all: &mut Vec<Workload>) {
    for bs in [64, 512] {
        let about = format!("training the course's network, batch {bs}");
        all.push(Workload::new("cnn", format!("cnn_b{bs}"), about, move |b| {
            let bs = b.size(bs, 3);
            for variant in ["f32+sgd", "f32+adam", "bf16+sgd"] {
                let model = course_cnn();
                let (x, y) = (random(&[bs, 1, 28, 28], DType::F32), labels(bs, 10));
                b.train(variant, Rate::of(bs, "images/s"), &model, || {
                    cross_entropy(&model.forward(&x), &y)
                });
            }
        }));
    }
    for bs in [1, 64] {
        let about = format!("{bs} images through the course's network");
        all.push(Workload::new("cnn", format!("cnn_infer_b{bs}"), about, move |b| {
            let bs = b.size(bs, 2);
            let (model, x) = (course_cnn(), random(&[bs, 1, 28, 28], DType::F32));
            model.eval();
            let compiled = Compiled::new(model);
            b.infer("f32+compiled", Rate::of(bs, "images/s"), || compiled.forward(&x));
        }));
    }
}
