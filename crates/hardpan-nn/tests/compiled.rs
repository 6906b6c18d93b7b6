//! A compiled model gives the bits of the model, whatever happens to the model meanwhile.

use hardpan_engine::{DType, Tensor, autocast, manual_seed};
use hardpan_nn::optim::{Recipe, SGD};
use hardpan_nn::*;

fn bits(t: &Tensor) -> Vec<u32> {
    t.to_vec::<f32>().into_iter().map(f32::to_bits).collect()
}

fn net() -> Sequential {
    manual_seed(3);
    let net = seq![
        Conv2d::new(1, 8, 3).padding(1),
        BatchNorm2d::new(8),
        ReLU,
        Dropout::new(0.5),
        AdaptiveAvgPool2d::new(1),
        Flatten::new(),
        Linear::new(8, 3)
    ];
    // Running statistics that are not those of the start.
    net.forward(&Tensor::randn([4, 1, 6, 6])).eval();
    net.eval();
    net
}

#[test]
fn it_follows_shapes_parameters_and_modes() {
    let compiled = Compiled::new(net());
    let same = |x: &Tensor| {
        assert_eq!(bits(&compiled.forward(x)), bits(&compiled.model().forward(x)));
    };
    let x = |n: usize| Tensor::randn([n, 1, 6, 6]).eval().clone();
    for n in [1, 5, 1, 5, 1] {
        same(&x(n));
    }
    assert_eq!(compiled.recordings(), 2);
    // A new value of a parameter, and of a buffer, is seen.
    let mut opt = SGD::new(0.1).build(compiled.model());
    compiled.model().forward(&x(2)).sum(..).backward();
    opt.step();
    same(&x(1));
    assert_eq!(compiled.recordings(), 1);
    compiled.model().buffers()[0].set(Tensor::full([8], 0.25));
    same(&x(1));
    // In training mode dropout draws and the norm counts: nothing is replayed.
    let before = compiled.forward(&x(4));
    compiled.model().train();
    let input = x(4);
    assert_ne!(bits(&compiled.forward(&input)), bits(&compiled.forward(&input)));
    compiled.model().eval();
    assert_eq!(compiled.forward(&x(4)).shape(), before.shape());
    same(&x(4));
    // Under autocast products are computed in another dtype.
    let input = x(1);
    autocast(DType::BF16, || same(&input));
    same(&input);
    // Few shapes are kept.
    (1..20).for_each(|n| same(&x(n)));
    assert_eq!(compiled.recordings(), 8);
}

/// Reads a value on the way.
#[derive(Module)]
struct Peeks;

impl Forward for Peeks {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        if x.sum(..).item::<f32>() > 0.0 { x * 2.0 } else { x * 3.0 }
    }
}

#[test]
fn what_cannot_be_replayed_runs() {
    let compiled = Compiled::new(Peeks);
    assert_eq!(compiled.forward(&Tensor::ones([1])).item::<f32>(), 2.0);
    assert_eq!(compiled.forward(&-Tensor::ones([1])).item::<f32>(), -3.0);
    assert_eq!(compiled.recordings(), 0);
}
