//! What one operation on hardly any data costs.

use crate::Workload;
use crate::contraction::random;
use crate::measure::Bench;
use hardpan_engine::{DType, Tensor, no_grad};
use hardpan_nn::{Forward, Linear};

/// Operations in a chain.
const CHAIN: usize = 100;

pub(crate) fn add(all: &mut Vec<Workload>) {
    let mut push = |name: &str, about: &str, work: fn(&mut Bench<'_>)| {
        all.push(Workload::new("overhead", name, about, work));
    };
    push("op_overhead_add", "a chain of additions of one element", |b| {
        let (x, y) = (one(), one());
        chain(b, || fold(&x, |z| z + &y));
    });
    push("op_overhead_mul_fwdbwd", "a chain of products of one element, and its gradient", |b| {
        let (x, y) = (one().requires_grad(), one());
        b.latency("f32", CHAIN, || {
            let z = fold(&x, |z| z * &y);
            z.backward();
            hardpan_engine::flush_all();
            x.zero_grad();
        });
    });
    push("op_overhead_linear10_module", "a chain of Linear(10, 10)", |b| {
        let (layer, x) = (Linear::new(10, 10), random(&[1, 10], DType::F32));
        chain(b, || fold(&x, |z| layer.forward(z)));
    });
    push("op_overhead_mm8", "products of two 8 x 8 matrices", |b| {
        let a = random(&[8, 8], DType::F32);
        b.latency("f32", CHAIN, || {
            no_grad(|| {
                // All are wanted, so all are computed.
                let all: Vec<Tensor> = (0..CHAIN).map(|_| a.matmul(&a)).collect();
                hardpan_engine::flush_all();
                drop(all);
            });
        });
    });
}

fn one() -> Tensor {
    Tensor::ones([1]).eval().clone()
}

fn fold(x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Tensor {
    (0..CHAIN).fold(x.clone(), |z, _| f(&z))
}

fn chain(b: &mut Bench<'_>, f: impl Fn() -> Tensor) {
    b.latency("f32", CHAIN, || no_grad(|| drop(f().eval().clone())));
}
