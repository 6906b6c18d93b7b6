//! Kernels and times of training steps through `functional`: pooling, norms, losses. Run with `HARDPAN_TRACE=2` to see plans.

use hardpan_engine::functional::{self as f, *};
use hardpan_engine::{Tensor, grad};
use std::time::Instant;

fn measure(name: &str, f: impl Fn() -> Vec<Tensor>) {
    let once = || {
        let out = f();
        hardpan_engine::flush_all();
        for t in &out {
            t.eval();
        }
    };
    once();
    let mut times: Vec<f64> = (0..9)
        .map(|_| {
            let t = Instant::now();
            once();
            t.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:32} {:9.3} ms (median), {:9.3} ms (best)", times[4], times[0]);
}

fn step(x: &Tensor, y: Tensor) -> Vec<Tensor> {
    let g = grad(&y.sum(..), &[x]).remove(0);
    vec![y, g]
}

fn main() {
    let only = std::env::args().nth(1).unwrap_or_default();
    let run = |name: &str, f: &dyn Fn() -> Vec<Tensor>| {
        if name.contains(&only) {
            println!("--- {name}");
            measure(name, f);
        }
    };
    let x = Tensor::randn([64, 32, 28, 28]).eval().clone().requires_grad();
    run("relu + max_pool2d 2", &|| step(&x, f::max_pool2d(&f::relu(&x), 2, Default::default())));
    run("max_pool2d 3 stride 2 padding 1", &|| {
        let options =
            MaxPoolOptions { stride: Some(2.into()), padding: 1.into(), ..Default::default() };
        step(&x, f::max_pool2d(&x, 3, options))
    });
    run("avg_pool2d 2", &|| step(&x, f::avg_pool2d(&x, 2, Default::default())));
    run("adaptive_avg_pool2d 1", &|| step(&x, f::adaptive_avg_pool2d(&x, 1)));
    let (w, b) = (Tensor::ones([32]).requires_grad(), Tensor::zeros([32]).requires_grad());
    let (mean, var) = (Tensor::zeros([32]), Tensor::ones([32]));
    run("batch_norm", &|| {
        let options = BatchNormOptions {
            weight: Some(&w),
            bias: Some(&b),
            running_mean: Some(&mean),
            running_var: Some(&var),
            training: true,
            ..Default::default()
        };
        let y = f::batch_norm(&x, options);
        let z = f::relu(&y.output);
        let mut g = grad(&(&z * &z).sum(..), &[&x, &w, &b]);
        g.extend([z, y.running_mean.unwrap(), y.running_var.unwrap()]);
        g
    });
    let logits = Tensor::randn([512, 1000]).eval().clone().requires_grad();
    let target = (Tensor::rand([512]) * 1000.0).to_dtype(hardpan_engine::DType::I64);
    target.eval();
    run("cross_entropy", &|| step(&logits, f::cross_entropy(&logits, &target)));
    let h = Tensor::randn([64, 128, 256]).eval().clone().requires_grad();
    let (lw, lb) = (Tensor::ones([256]).requires_grad(), Tensor::zeros([256]).requires_grad());
    run("layer_norm", &|| {
        let y = f::layer_norm(&h, &[256], Some(&lw), Some(&lb), 1e-5);
        let mut g = grad(&(&y * &y).sum(..), &[&h, &lw, &lb]);
        g.push(y);
        g
    });
    run("gelu + dropout", &|| step(&h, f::dropout(&f::gelu(&h), 0.1, true)));
    let q = Tensor::randn([8, 8, 128, 32]).eval().clone().requires_grad();
    run("attention", &|| {
        let options = AttentionOptions { is_causal: true, ..Default::default() };
        step(&q, f::scaled_dot_product_attention(&q, &q, &q, options))
    });
}
