//! Fully connected networks on flat digits.

use crate::Workload;
use crate::contraction::random;
use crate::measure::Rate;
use hardpan_engine::functional::cross_entropy;
use hardpan_engine::{DType, Tensor};
use hardpan_nn::{Compiled, Forward, Linear, Module, ReLU, Sequential};

const NETS: [(&str, &[usize]); 2] = [("mlp_50", &[784, 50, 10]), ("mlp_512", &[784, 512, 512, 10])];

/// Linear layers of these sizes with ReLU between them.
pub(crate) fn mlp(sizes: &[usize]) -> Sequential {
    let last = sizes.len() - 2;
    sizes.windows(2).enumerate().fold(Sequential::new(), |net, (i, s)| {
        let net = net.append(Linear::new(s[0], s[1]));
        if i < last { net.append(ReLU) } else { net }
    })
}

/// Class numbers below `classes`.
pub(crate) fn labels(count: usize, classes: usize) -> Tensor {
    Tensor::randint(0, classes as i64, [count]).eval().clone()
}

pub(crate) fn add(all: &mut Vec<Workload>) {
    for (name, sizes) in NETS {
        for bs in [64, 512] {
            let about = format!("training {sizes:?}, batch {bs}");
            all.push(Workload::new("mlp", format!("{name}_b{bs}"), about, move |b| {
                let bs = b.size(bs, 3);
                for variant in ["f32+sgd", "f32+adam", "bf16+adam"] {
                    let model = mlp(sizes);
                    let (x, y) = (random(&[bs, 784], DType::F32), labels(bs, 10));
                    b.train(variant, Rate::of(bs, "samples/s"), &model, || {
                        cross_entropy(&model.forward(&x), &y)
                    });
                }
            }));
        }
        let about = format!("one item through {sizes:?}");
        all.push(Workload::new("mlp", format!("{name}_infer_b1"), about, move |b| {
            let (model, x) = (mlp(sizes), random(&[1, 784], DType::F32));
            model.eval();
            let compiled = Compiled::new(model);
            b.infer("f32+compiled", Rate::of(1, "samples/s"), || compiled.forward(&x));
        }));
    }
}
