//! What an operation costs before any arithmetic: building a node, finding the plan in the cache, dropping it.
//!
//! `cargo run --release -p hardpan-engine --example graph_overhead` times chains and trees of operations on one element, on the
//! CPU and on a device that does nothing. Numbers are nanoseconds an operation, the smallest of many repetitions and the median.

use hardpan_engine::dev::{Device, DeviceError, Mem, Program, register_device};
use hardpan_engine::kernel::Kernel;
use hardpan_engine::{DeviceId, Scalar, Tensor, flush_all, no_grad, with_device};
use std::sync::Arc;
use std::time::Instant;

struct Nothing;

struct Empty;
impl Program for Empty {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Device for Nothing {
    fn name(&self) -> String {
        "nothing".into()
    }
    fn alloc(&self, _: usize) -> Result<usize, DeviceError> {
        Ok(1)
    }
    fn free(&self, _: usize, _: usize) {}
    fn upload(&self, _: &Mem, _: &[u8]) {}
    fn download(&self, _: &Mem, _: &mut [u8]) {}
    fn compile(&self, _: &Kernel) -> Result<Arc<dyn Program>, DeviceError> {
        Ok(Arc::new(Empty))
    }
    fn launch(
        &self,
        _: &dyn Program,
        _: &[&Mem],
        _: &[&Mem],
        _: &[Scalar],
    ) -> Result<(), DeviceError> {
        Ok(())
    }
    fn sync(&self) {}
}

fn time(name: &str, device: &str, ops: usize, mut work: impl FnMut()) {
    for _ in 0..50 {
        work();
    }
    let mut samples: Vec<f64> = (0..400)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e9 / ops as f64
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    println!(
        "{name:<34} {device:<8} min {:>7.0} ns/op   median {:>7.0} ns/op",
        samples[0], samples[200]
    );
}

fn main() {
    let nothing = register_device(Box::new(Nothing));
    for (name, id) in [("nothing", nothing), ("cpu", DeviceId::CPU)] {
        with_device(id, || {
            let x = Tensor::from_slice(&[1.0f32], [1]);
            let y = Tensor::from_slice(&[2.0f32], [1]);
            no_grad(|| {
                time("add, chain of 100", name, 100, || {
                    let mut z = x.clone();
                    for _ in 0..100 {
                        z += &y;
                    }
                    z.eval();
                });
                time("add a number, chain of 100", name, 100, || {
                    let mut z = x.clone();
                    for _ in 0..100 {
                        z += 1.0f32;
                    }
                    z.eval();
                });
                time("one add, evaluated", name, 1, || {
                    (&x + &y).eval();
                });
            });
            let w = x.requires_grad();
            time("mul forward and backward, 50", name, 50, || {
                let mut z = w.clone();
                for _ in 0..50 {
                    z = &z * &y;
                }
                z.backward();
                flush_all();
                w.zero_grad();
            });
        });
    }
}
