//! Forward and backward of an LSTM and of a GRU on random numbers, one direction and both.
//!
//! `cargo run --release -p hardpan-nn --example recurrent_step` prints milliseconds (median and smallest of many).

use hardpan_engine::{Tensor, flush_all, manual_seed, no_grad};
use hardpan_nn::{Forward, GRU, LSTM, Module};
use std::time::Instant;

const INPUT: usize = 128;
const HIDDEN: usize = 256;

fn time(name: &str, model: &dyn Module, forward: impl Fn(&Tensor) -> Tensor, steps: usize) {
    let x = Tensor::randn([steps, 32, INPUT]).eval().clone();
    let step = |learn: bool| {
        let start = Instant::now();
        if learn {
            forward(&x).square().mean(..).backward();
            flush_all();
            model.zero_grad();
        } else {
            no_grad(|| forward(&x).eval().clone());
        }
        start.elapsed().as_secs_f64() * 1e3
    };
    for learn in [false, true] {
        let mut ms: Vec<f64> = (0..25).map(|_| step(learn)).skip(5).collect();
        ms.sort_by(f64::total_cmp);
        let what = if learn { "forward and backward" } else { "forward" };
        println!(
            "{name:22} {steps:3} steps, {what:20}: median {:7.2} ms, min {:7.2} ms",
            ms[10], ms[0]
        );
    }
}

fn main() {
    manual_seed(1);
    for steps in [35, 70] {
        let lstm = LSTM::new(INPUT, HIDDEN);
        time("LSTM", &lstm, |x| lstm.forward(x).0, steps);
        let lstm = LSTM::new(INPUT, HIDDEN).bidirectional(true).layers(2);
        time("LSTM, 2 layers, both", &lstm, |x| lstm.forward(x).0, steps);
        let gru = GRU::new(INPUT, HIDDEN);
        time("GRU", &gru, |x| gru.forward(x).0, steps);
    }
}
