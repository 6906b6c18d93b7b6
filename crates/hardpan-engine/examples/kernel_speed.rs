//! Speed of the matrix-product and convolution kernels on this machine.
//!
//! `cargo run --release -p hardpan-engine --example kernel_speed [filter]` prints, for each shape and
//! 1 and 2 threads, the best and the median rate and the best as a share of the measured
//! fused-multiply-add peak of as many threads. On a busy machine trust the best of the runs.
use half::bf16;
use hardpan_engine::dev::cpu::conv::{
    ConvShape, PairConv, PairMode, conv_forward, conv_input_grad, conv_weight_grad,
};
use hardpan_engine::dev::cpu::gemm::{
    Batch, GemmShape, Operand, gemm, gemm_generic, measured_peak_gflops,
};
use hardpan_engine::dev::cpu::isa::isa;
use hardpan_engine::dev::cpu::pool::{SharedMut, parallel_for, set_threads, threads};
use std::time::Instant;

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let most = threads();
    let peak = measured_peak_gflops();
    println!("{}, {most} threads, peak of one: {peak:.1} GFLOP/s", isa());
    println!(
        "{:<34} {:>3} {:>10} {:>10} {:>8} {:>6}",
        "kernel", "T", "best us", "median us", "GFLOP/s", "peak"
    );
    let bench = Bench { filter, peak, most };
    for tasks in [2, 16] {
        bench.run(&format!("pool of {tasks} empty tasks"), 0.0, || parallel_for(tasks, |_| {}));
    }
    gemms(&bench);
    generics(&bench);
    convs(&bench);
}

struct Bench {
    filter: String,
    peak: f64,
    most: usize,
}

impl Bench {
    fn run(&self, name: &str, flops: f64, mut f: impl FnMut()) {
        if !name.contains(&self.filter) {
            return;
        }
        let mut counts = vec![1, self.most.min(2)];
        counts.dedup();
        for count in counts {
            set_threads(count);
            f();
            let start = Instant::now();
            f();
            let reps = (0.06 / start.elapsed().as_secs_f64()).clamp(5.0, 5000.0) as usize;
            let mut times: Vec<f64> = (0..reps)
                .map(|_| {
                    let start = Instant::now();
                    f();
                    start.elapsed().as_secs_f64()
                })
                .collect();
            times.sort_by(f64::total_cmp);
            let (best, median) = (times[0], times[reps / 2]);
            let rate = flops / best / 1e9;
            println!(
                "{name:<34} {count:>3} {:>10.1} {:>10.1} {rate:>8.1} {:>5.0}%",
                best * 1e6,
                median * 1e6,
                100.0 * rate / (self.peak * count as f64)
            );
        }
    }
}

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 1000) as f32 * 0.001 - 0.5).collect()
}

fn gemms(bench: &Bench) {
    // (name, batch, m, k, n, A transposed, B transposed)
    let shapes = [
        ("64^3", 1, 64, 64, 64, false, false),
        ("128^3", 1, 128, 128, 128, false, false),
        ("256^3", 1, 256, 256, 256, false, false),
        ("512^3", 1, 512, 512, 512, false, false),
        ("1024^3", 1, 1024, 1024, 1024, false, false),
        ("2048^3", 1, 2048, 2048, 2048, false, false),
        ("64x784x50", 1, 64, 784, 50, false, false),
        ("64x784x50 B^T", 1, 64, 784, 50, false, true),
        ("64x50x10", 1, 64, 50, 10, false, false),
        ("64x50x10 B^T", 1, 64, 50, 10, false, true),
        ("784x64x50 A^T", 1, 784, 64, 50, true, false),
        ("50x64x784 A^T", 1, 50, 64, 784, true, false),
        ("50x64x10 A^T", 1, 50, 64, 10, true, false),
        ("64x10x50 B^T", 1, 64, 10, 50, false, true),
        ("64x10x50", 1, 64, 10, 50, false, false),
        ("64x512x512 B^T", 1, 64, 512, 512, false, true),
        ("64x512x512", 1, 64, 512, 512, false, false),
        ("512x64x512 A^T", 1, 512, 64, 512, true, false),
        ("128x512x512 B^T", 1, 128, 512, 512, false, true),
        ("128x512x512", 1, 128, 512, 512, false, false),
        ("256x512x512 B^T", 1, 256, 512, 512, false, true),
        ("512^3 B^T", 1, 512, 512, 512, false, true),
        ("512x784x512", 1, 512, 784, 512, false, false),
        ("512x784x512 B^T", 1, 512, 784, 512, false, true),
        ("4096x384x1536", 1, 4096, 384, 1536, false, false),
        ("4096x384x1536 B^T", 1, 4096, 384, 1536, false, true),
        ("1536x4096x384 A^T", 1, 1536, 4096, 384, true, false),
        ("96x(256x64x256)", 96, 256, 64, 256, false, false),
        ("96x(256x64x256) B^T", 96, 256, 64, 256, false, true),
        ("96x(256x256x64)", 96, 256, 256, 64, false, false),
        ("96x(256x256x64) A^T", 96, 256, 256, 64, true, false),
        ("gemv 1x1024x1024", 1, 1, 1024, 1024, false, false),
        ("gemv 1x1024x1024 B^T", 1, 1, 1024, 1024, false, true),
        ("gemv 1024x1024x1", 1, 1024, 1024, 1, false, false),
        ("4x1024x1024", 1, 4, 1024, 1024, false, false),
        ("4x1024x1024 B^T", 1, 4, 1024, 1024, false, true),
        ("8x1024x1024 B^T", 1, 8, 1024, 1024, false, true),
        ("16x512x4096 B^T", 1, 16, 512, 4096, false, true),
    ];
    for (name, batch, m, k, n, at, bt) in shapes {
        let (a, b) = (values(batch * m * k), values(batch * k * n));
        let mut c = vec![0.0; batch * m * n];
        let shape = GemmShape { batch, m, n, k };
        let (am, bm) = (matrix(&a, m, k, at), matrix(&b, k, n, bt));
        bench.run(&format!("gemm {name}"), shape.flops(), || {
            gemm(shape, am, bm, SharedMut::new(&mut c), false, None);
        });
        let half = |v: &[f32]| v.iter().map(|v| bf16::from_f32(*v)).collect::<Vec<_>>();
        let (a, b) = (half(&a), half(&b));
        let (a, b) = (matrix(&a, m, k, at), matrix(&b, k, n, bt));
        bench.run(&format!("bgemm {name}"), shape.flops(), || {
            gemm(shape, a, b, SharedMut::new(&mut c), false, None);
        });
    }
}

fn matrix<T>(data: &[T], rows: usize, cols: usize, transposed: bool) -> Operand<'_, T> {
    Operand {
        data,
        base: 0,
        batch: Batch::Stride(rows * cols),
        row_stride: if transposed { 1 } else { cols },
        col_stride: if transposed { rows } else { 1 },
    }
}

fn generics(bench: &Bench) {
    for size in [64, 256, 512] {
        let shape = GemmShape { batch: 1, m: size, n: size, k: size };
        let (a, b) = (vec![0.5f64; size * size], vec![0.25f64; size * size]);
        let mut c = vec![0.0; size * size];
        let (a, b) = (Operand::row_major(&a, size, size), Operand::row_major(&b, size, size));
        bench.run(&format!("gemm f64 {size}^3"), shape.flops(), || {
            gemm_generic(shape, a, b, SharedMut::new(&mut c), false);
        });
    }
}

fn convs(bench: &Bench) {
    // (batch, from, to, size, kernel, stride, groups)
    let layers = [
        (64, 1, 8, 28, 5, 2, 1),
        (64, 8, 16, 14, 3, 2, 1),
        (64, 16, 32, 7, 3, 2, 1),
        (64, 32, 64, 4, 3, 2, 1),
        (512, 1, 8, 28, 5, 2, 1),
        (512, 8, 16, 14, 3, 2, 1),
        (32, 64, 64, 32, 3, 1, 1),
        (32, 128, 128, 16, 3, 1, 1),
        (32, 256, 256, 8, 3, 1, 1),
        (32, 512, 512, 4, 3, 1, 1),
        (16, 512, 512, 7, 3, 1, 1),
        (4, 3, 64, 224, 7, 2, 1),
        (4, 256, 64, 56, 1, 1, 1),
        (32, 3, 32, 64, 3, 2, 1),
        (32, 32, 64, 32, 3, 1, 1),
        (32, 64, 64, 16, 3, 1, 1),
        (32, 64, 128, 16, 3, 2, 1),
        (32, 64, 256, 16, 1, 1, 1),
        (32, 256, 64, 16, 1, 1, 1),
        (32, 128, 512, 8, 1, 1, 1),
        (32, 1024, 256, 4, 1, 1, 1),
        (32, 512, 2048, 2, 1, 1, 1),
        (32, 512, 512, 2, 3, 1, 1),
        (128, 24, 64, 31, 3, 1, 1),
        (128, 64, 256, 15, 3, 1, 1),
        (128, 256, 256, 7, 3, 1, 1),
        (32, 256, 512, 8, 3, 2, 1),
        (32, 256, 512, 16, 1, 2, 1),
        (32, 3, 32, 128, 3, 2, 1),
        (32, 32, 32, 64, 3, 1, 1),
        (32, 64, 64, 32, 1, 1, 1),
        (16, 64, 64, 28, 3, 1, 64),
        (16, 128, 128, 28, 3, 1, 32),
        (16, 96, 96, 56, 7, 1, 96),
        (16, 144, 144, 28, 3, 2, 144),
        (16, 512, 512, 7, 3, 1, 512),
    ];
    for (batch, from, to, size, kernel, stride, groups) in layers {
        let padding = kernel / 2;
        let out = (size + 2 * padding - kernel) / stride + 1;
        let shape = ConvShape {
            batch,
            groups,
            in_channels: from,
            out_channels: to,
            in_dims: [1, size, size],
            out_dims: [1, out, out],
            kernel: [1, kernel, kernel],
            stride: [1, stride, stride],
            padding_lo: [0, padding, padding],
            dilation: [1; 3],
        };
        let mut x = values(shape.input_len());
        let mut w = values(shape.weight_len());
        let mut y = values(shape.output_len());
        let name = format!("{batch}x{from}>{to} {size}^2 k{kernel} s{stride} g{groups}");
        bench.run(&format!("conv fwd {name}"), shape.flops(), || {
            conv_forward(&shape, &x, &w, SharedMut::new(&mut y), None);
        });
        bench.run(&format!("conv dx  {name}"), shape.flops(), || {
            conv_input_grad(&shape, &y, &w, SharedMut::new(&mut x), None);
        });
        let x = values(shape.input_len());
        bench.run(&format!("conv dw  {name}"), shape.flops(), || {
            conv_weight_grad(&shape, &x, &y, SharedMut::new(&mut w));
        });
        let half = |v: &[f32]| v.iter().map(|v| bf16::from_f32(*v)).collect::<Vec<_>>();
        let (xh, wh, gh) = (half(&x), half(&w), half(&y));
        let (mut x, mut w) = (x, w);
        for (kind, mode, a, b, to) in [
            ("fwd", PairMode::Forward, &xh, &wh, &mut y),
            ("dx ", PairMode::InputGrad, &gh, &wh, &mut x),
            ("dw ", PairMode::WeightGrad, &xh, &gh, &mut w),
        ] {
            let Some(conv) = PairConv::new(&shape, mode) else { continue };
            let [mut wa, mut wb] = conv.working().map(|len| vec![0u32; len]);
            bench.run(&format!("bconv {kind} {name}"), shape.flops(), || {
                conv.run(a, b, None, [&mut wa, &mut wb], SharedMut::new(to), None);
            });
        }
    }
}
