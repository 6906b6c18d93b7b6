//! The speed limit that products are measured against.
use super::kernel::{Kernels, SPIN_CHAINS};
use crate::dev::cpu::isa::isa;
use std::time::Instant;

/// The best rate of one thread at fused multiply-adds on registers alone, in GFLOP/s, measured for a
/// few milliseconds with the current instruction set. What a benchmark divides by.
#[doc(hidden)]
pub fn measured_peak_gflops() -> f64 {
    let kernels = Kernels::of(isa());
    let rounds = 20_000;
    let flops = (2 * kernels.lanes * SPIN_CHAINS * rounds) as f64;
    (0..30)
        .map(|_| {
            let start = Instant::now();
            // SAFETY: `isa()` is available.
            std::hint::black_box(unsafe { (kernels.spin_fma)(std::hint::black_box(rounds)) });
            flops / start.elapsed().as_secs_f64() / 1e9
        })
        .fold(0.0, f64::max)
}
