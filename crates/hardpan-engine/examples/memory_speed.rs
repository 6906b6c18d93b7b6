//! Memory-bound work through the tensor API: elementwise chains, sums, random numbers, softmax, norms, losses, optimizer sweeps.
//!
//! `cargo run --release -p hardpan-engine --example memory_speed [FILTER]` prints one line a workload: median and best GB/s (or million
//! samples a second for random numbers), counted as the memory that the work must move. `HARDPAN_TRACE=1` adds the table of kernels.

use hardpan_engine::functional::{self as f, BatchNormOptions, EmbeddingOptions};
use hardpan_engine::{DType, Tensor, flush_all, grad, grad_with, no_grad};
use std::time::Instant;

/// Runs the work for about half a second after a warm-up; `units` are what one call moves.
fn measure(name: &str, filter: &str, units: f64, what: &str, work: &dyn Fn() -> Vec<Tensor>) {
    if !name.contains(filter) {
        return;
    }
    let once = || {
        let out = work();
        flush_all();
        out.iter().for_each(|t| {
            t.eval();
        });
    };
    for _ in 0..3 {
        once();
    }
    let mut times = Vec::new();
    let begun = Instant::now();
    while times.len() < 5 || begun.elapsed().as_secs_f64() < 0.4 {
        let start = Instant::now();
        once();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let rate = |t: f64| units / t / if what == "GB/s" { 1e9 } else { 1e6 };
    let (median, best) = (times[times.len() / 2], times[0]);
    println!(
        "{name:34} {:8.2} {what} (best {:.2}) {:9.3} ms",
        rate(median),
        rate(best),
        median * 1e3
    );
}

fn ready(t: Tensor) -> Tensor {
    t.eval();
    t
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let run = |name: &str, bytes: usize, work: &dyn Fn() -> Vec<Tensor>| {
        measure(name, &filter, bytes as f64, "GB/s", work);
    };
    const N: usize = 16 << 20;
    {
        let x = ready(Tensor::randn([N]));
        let y = ready(Tensor::randn([N]));
        let one = || ready(Tensor::randn([1]));
        let (a, b, c) = (one(), one(), one());
        let chain = |x: &Tensor| f::gelu(&(x * &a + &b)) + &c;
        run("gelu_chain_16M", 8 * N, &|| vec![chain(&x)]);
        let g = ready(Tensor::ones([N]));
        let xr = x.requires_grad();
        run("gelu_chain_16M_fwdbwd", 20 * N, &|| {
            let y = chain(&xr);
            let mut out = grad_with(&[&y], &[&g], &[&xr]);
            out.push(y);
            out
        });
        run("neg_16M", 8 * N, &|| vec![-&x]);
        run("sum_16M", 4 * N, &|| vec![x.sum(..)]);
        run("add_16M", 12 * N, &|| vec![&x + &y]);
        run("exp_16M", 8 * N, &|| vec![x.exp()]);
        let square = ready(x.reshape([4096, 4096]));
        run("sum_dim0_4096x4096", 4 * N, &|| vec![square.sum(0)]);
        run("transpose_4096", 8 * N, &|| vec![square.t().contiguous()]);
        measure("randn_16M", &filter, N as f64, "Ms/s", &|| vec![Tensor::randn([N])]);
        run("dropout_16M", 8 * N, &|| vec![f::dropout(&x, 0.1, true)]);
        run("cast_bf16_16M", 6 * N, &|| vec![x.to_dtype(DType::BF16)]);
        let half = ready(x.to_dtype(DType::BF16));
        run("cast_f32_from_bf16_16M", 6 * N, &|| vec![half.to_dtype(DType::F32)]);
    }
    {
        let index = ready((Tensor::rand([64 * 256]) * 10_000.0f32).to_dtype(DType::I64));
        let table = ready(Tensor::randn([10_000, 384]));
        run("embedding_16k_rows_384", 8 * 64 * 256 * 384, &|| {
            vec![f::embedding(&index, &table, EmbeddingOptions::default())]
        });
    }
    for (r, c) in [(4096usize, 1024usize), (4096, 10)] {
        let n = r * c;
        let x = ready(Tensor::randn([r, c]));
        let g = ready(Tensor::randn([r, c]));
        let w = ready(Tensor::ones([c])).requires_grad();
        let b = ready(Tensor::zeros([c])).requires_grad();
        let target = ready((Tensor::rand([r]) * c as f64).to_dtype(DType::I64));
        let xr = x.requires_grad();
        let norm = |x: &Tensor| f::layer_norm(x, &[c], Some(&w), Some(&b), 1e-5);
        run(&format!("softmax_{r}x{c}_fwd"), 8 * n, &|| no_grad(|| vec![f::softmax(&x, -1)]));
        run(&format!("layernorm_{r}x{c}_fwd"), 8 * n, &|| no_grad(|| vec![norm(&x)]));
        run(&format!("softmax_{r}x{c}_fwdbwd"), 20 * n, &|| {
            let y = f::softmax(&xr, -1);
            let mut out = grad_with(&[&y], &[&g], &[&xr]);
            out.push(y);
            out
        });
        run(&format!("layernorm_{r}x{c}_fwdbwd"), 20 * n, &|| {
            let y = norm(&xr);
            let mut out = grad_with(&[&y], &[&g], &[&xr, &w, &b]);
            out.push(y);
            out
        });
        run(&format!("cross_entropy_{r}x{c}_fwdbwd"), 8 * n, &|| {
            let loss = f::cross_entropy(&xr, &target);
            let mut out = grad(&loss, &[&xr]);
            out.push(loss);
            out
        });
    }
    for shape in [[64usize, 8, 14, 14], [32, 64, 32, 32], [32, 256, 8, 8]] {
        let n: usize = shape.iter().product();
        let x = ready(Tensor::randn(shape)).requires_grad();
        let g = ready(Tensor::randn(shape));
        let c = shape[1];
        let (w, b) = (Tensor::ones([c]).requires_grad(), Tensor::zeros([c]).requires_grad());
        let (mean, var) = (ready(Tensor::zeros([c])), ready(Tensor::ones([c])));
        let name = format!("batchnorm_{}x{c}x{}x{}", shape[0], shape[2], shape[3]);
        let forward = || {
            f::batch_norm(
                &x,
                BatchNormOptions {
                    weight: Some(&w),
                    bias: Some(&b),
                    running_mean: Some(&mean),
                    running_var: Some(&var),
                    training: true,
                    ..Default::default()
                },
            )
        };
        run(&format!("{name}_fwd"), 8 * n, &|| {
            no_grad(|| {
                let y = forward();
                vec![y.output, y.running_mean.unwrap(), y.running_var.unwrap()]
            })
        });
        run(&format!("{name}_fwdbwd"), 20 * n, &|| {
            let y = forward();
            let mut out = grad_with(&[&y.output], &[&g], &[&x, &w, &b]);
            out.extend([y.output, y.running_mean.unwrap(), y.running_var.unwrap()]);
            out
        });
    }
    // An optimizer step over the parameters of a small residual network: many arrays, one sweep.
    let sizes: Vec<usize> = (0..60).map(|i| [64, 64 * 64 * 9, 128 * 128 * 9, 128][i % 4]).collect();
    let n: usize = sizes.iter().sum();
    let new = || -> Vec<Tensor> { sizes.iter().map(|n| ready(Tensor::rand([*n]))).collect() };
    let (p, g) = (new(), new());
    let lr = 1e-3f64;
    {
        let m = std::cell::RefCell::new(new());
        let p = std::cell::RefCell::new(p.clone());
        run("sgd_momentum_60_arrays", 20 * n, &|| {
            let (mut p, mut m) = (p.borrow_mut(), m.borrow_mut());
            for i in 0..sizes.len() {
                m[i] = &m[i] * 0.9 + &g[i];
                p[i] = &p[i] - &m[i] * lr;
            }
            vec![]
        });
    }
    let (m, v) = (std::cell::RefCell::new(new()), std::cell::RefCell::new(new()));
    let p = std::cell::RefCell::new(p);
    run("adam_60_arrays", 28 * n, &|| {
        let (mut p, mut m, mut v) = (p.borrow_mut(), m.borrow_mut(), v.borrow_mut());
        for i in 0..sizes.len() {
            m[i] = &m[i] * 0.9 + &g[i] * 0.1;
            v[i] = &v[i] * 0.99 + &g[i] * &g[i] * 0.01;
            p[i] = &p[i] - &m[i] * lr / (v[i].sqrt() + 1e-8);
        }
        vec![]
    });
}
