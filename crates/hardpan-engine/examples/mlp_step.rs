//! One training step of a small network, written with the engine alone: forward, cross entropy, backward, SGD with momentum.
//!
//! `cargo run --release -p hardpan-engine --example mlp_step [BATCH] [HIDDEN]` prints microseconds a step (median and smallest of many);
//! with `HARDPAN_TRACE=1` also the table of kernels.

use hardpan_engine::{DType, Tensor, flush_all, manual_seed, no_grad, plan_stats, trace};
use std::time::Instant;

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<usize>().expect("a number"));
    let batch = args.next().unwrap_or(64);
    let hidden = args.next().unwrap_or(50);
    manual_seed(1);
    let x = Tensor::randn([batch, 784]).eval().clone();
    let y = (Tensor::rand([batch, 1]) * 10.0f32).to_dtype(DType::I64).eval().clone();
    let init = |i: usize, o: usize| Tensor::randn([o, i]) * (2.0 / i as f64).sqrt();
    let mut params: Vec<Tensor> =
        vec![init(784, hidden), Tensor::zeros([hidden]), init(hidden, 10), Tensor::zeros([10])];
    let mut momentum: Vec<Tensor> = params.iter().map(Tensor::zeros_like).collect();
    flush_all();
    for m in &momentum {
        m.eval();
    }
    let classes = Tensor::iota(10).eval().clone();
    let mut step = |lr: f64| -> Tensor {
        let leaves: Vec<Tensor> = params.iter().map(Tensor::requires_grad).collect();
        let h = (x.matmul(&leaves[0].t()) + &leaves[1]).maximum(0.0);
        let z = h.matmul(&leaves[2].t()) + &leaves[3];
        let shifted = &z - z.amax_keepdim(-1).detach();
        let log_p = &shifted - shifted.exp().sum_keepdim(-1).log();
        let hit = y.eq(&classes).to_dtype(DType::F32);
        let loss = -(log_p * hit).sum(..) / batch as f64;
        loss.backward();
        no_grad(|| {
            for (k, leaf) in leaves.iter().enumerate() {
                momentum[k] = &momentum[k] * 0.9 + leaf.grad().expect("reached");
                params[k] = &params[k] - &momentum[k] * lr;
            }
        });
        drop((leaves, h, z, shifted));
        flush_all();
        loss
    };
    let first = step(0.01).item::<f32>();
    for _ in 0..200 {
        step(0.01);
    }
    let before = plan_stats();
    let mut samples: Vec<f64> = (0..1000)
        .map(|k| {
            let start = Instant::now();
            step(0.01 / (1.0 + k as f64));
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    let after = plan_stats();
    samples.sort_by(f64::total_cmp);
    let last = step(0.0).item::<f32>();
    println!(
        "{batch} x 784-{hidden}-10: median {:.1} us, min {:.1} us a step; {} kernels; loss {first:.3} -> {last:.3}; plan misses {}",
        samples[500],
        samples[0],
        (after.kernels - before.kernels) / 1000,
        after.misses - before.misses
    );
    if trace::enabled() {
        print!("{}", trace::report());
    }
}
