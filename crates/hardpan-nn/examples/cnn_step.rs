//! One training step of the course's convolutional network on random digits: forward, cross entropy, backward, SGD.
//!
//! `cargo run --release -p hardpan-nn --example cnn_step [BATCH]` prints milliseconds a step (median and smallest of many) and images
//! a second; with `HARDPAN_TRACE=1` also the table of kernels.

use hardpan_engine::{
    DType, Tensor, functional, manual_seed, peak_bytes, plan_stats, reset_peak_bytes, trace,
};
use hardpan_nn::optim::{Recipe, SGD};
use hardpan_nn::{
    AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Forward, Linear, Module, ReLU, seq,
};
use std::time::Instant;

fn main() {
    let batch: usize = std::env::args().nth(1).map_or(64, |a| a.parse().expect("a batch size"));
    manual_seed(1);
    let model = seq![
        Conv2d::new(1, 8, 5).stride(2).padding(2).bias(false),
        ReLU,
        BatchNorm2d::new(8),
        Conv2d::new(8, 16, 3).stride(2).padding(1).bias(false),
        ReLU,
        BatchNorm2d::new(16),
        Conv2d::new(16, 32, 3).stride(2).padding(1).bias(false),
        ReLU,
        BatchNorm2d::new(32),
        Conv2d::new(32, 64, 3).stride(2).padding(1).bias(false),
        ReLU,
        BatchNorm2d::new(64),
        AdaptiveAvgPool2d::new(1),
        Flatten::default(),
        Linear::new(64, 10),
    ];
    let x = Tensor::randn([batch, 1, 28, 28]).eval().clone();
    let y = (Tensor::rand([batch]) * 10.0f32).to_dtype(DType::I64).eval().clone();
    let mut opt = SGD::new(0.05).momentum(0.9).build(model.parameters());
    let mut step = || -> Tensor {
        opt.zero_grad();
        let loss = functional::cross_entropy(&model.forward(&x), &y);
        loss.backward();
        opt.step();
        loss
    };
    let first = step().item::<f32>();
    for _ in 0..30 {
        step();
    }
    trace::reset();
    reset_peak_bytes();
    let before = plan_stats();
    let mut samples: Vec<f64> = (0..200)
        .map(|_| {
            let start = Instant::now();
            step();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    let after = plan_stats();
    samples.sort_by(f64::total_cmp);
    let last = step().item::<f32>();
    println!(
        "course CNN, batch {batch}: median {:.2} ms, min {:.2} ms a step, {:.0} images/s; {} kernels; loss {first:.3} -> {last:.4}; \
         plan misses {}; peak {:.1} MB",
        samples[100],
        samples[0],
        batch as f64 / samples[100] * 1e3,
        (after.kernels - before.kernels) / 200,
        after.misses - before.misses,
        peak_bytes() as f64 / 1e6
    );
    if trace::enabled() {
        print!("{}", trace::report());
    }
}
