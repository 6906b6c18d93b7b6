//! Single matrix products and convolutions.

use crate::Workload;
use crate::measure::{Bench, Rate};
use hardpan_engine::functional::{ConvOptions, conv2d};
use hardpan_engine::{DType, Tensor, no_grad};

const PRECISIONS: [(&str, DType); 2] = [("f32", DType::F32), ("bf16", DType::BF16)];

pub(crate) fn add(all: &mut Vec<Workload>) {
    for n in [64, 256, 1024, 2048] {
        let about = format!("product of two {n} x {n} matrices");
        all.push(Workload::new("matmul", format!("matmul_{n}"), about, move |b| {
            matmul(b, n, n, n);
        }));
    }
    for (m, k, n) in [(64, 784, 50), (512, 784, 512), (4096, 384, 1536)] {
        let about = format!("[{m}, {k}] @ [{k}, {n}]");
        all.push(Workload::new("matmul", format!("matmul_{m}x{k}x{n}"), about, move |b| {
            matmul(b, m, k, n);
        }));
    }
    let convs = [
        (
            "conv_b64_1x28_8_k5s2",
            Conv { batch: 64, inputs: 1, size: 28, outputs: 8, kernel: 5, stride: 2 },
        ),
        (
            "conv_b32_64x32_64_k3",
            Conv { batch: 32, inputs: 64, size: 32, outputs: 64, kernel: 3, stride: 1 },
        ),
        (
            "conv_b32_256x8_256_k3",
            Conv { batch: 32, inputs: 256, size: 8, outputs: 256, kernel: 3, stride: 1 },
        ),
    ];
    for (name, c) in convs {
        let about = format!(
            "{} x {} x {} pixels, batch {}, to {} channels, kernel {}, stride {}",
            c.inputs, c.size, c.size, c.batch, c.outputs, c.kernel, c.stride
        );
        all.push(Workload::new("conv", format!("{name}_fwd"), about.clone(), move |b| {
            c.forward(b)
        }));
        let about = about + ", and both gradients";
        all.push(Workload::new("conv", format!("{name}_fwdbwd"), about, move |b| c.both(b)));
    }
}

/// Random numbers, there already.
pub(crate) fn random(shape: &[usize], dtype: DType) -> Tensor {
    Tensor::randn(shape).to_dtype(dtype).eval().clone()
}

fn matmul(b: &mut Bench<'_>, m: usize, k: usize, n: usize) {
    let (m, k, n) = (b.size(m, 3), b.size(k, 4), b.size(n, 5));
    for (variant, dtype) in PRECISIONS {
        let (x, y) = (random(&[m, k], dtype), random(&[k, n], dtype));
        b.infer(variant, Rate::giga(2.0 * (m * k * n) as f64, "GFLOP/s"), || x.matmul(&y));
    }
}

#[derive(Clone, Copy)]
struct Conv {
    batch: usize,
    inputs: usize,
    size: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
}

impl Conv {
    fn scaled(self, b: &Bench<'_>) -> Conv {
        Conv { batch: b.size(self.batch, 2), size: b.size(self.size, 7), ..self }
    }

    /// Multiplications and additions of one of the three maps.
    fn flops(self) -> f64 {
        let out = (self.size + 2 * (self.kernel / 2) - self.kernel) / self.stride + 1;
        let window = self.inputs * self.kernel * self.kernel;
        2.0 * (self.batch * self.outputs * out * out * window) as f64
    }

    fn data(self, dtype: DType) -> (Tensor, Tensor) {
        let x = random(&[self.batch, self.inputs, self.size, self.size], dtype);
        (x, random(&[self.outputs, self.inputs, self.kernel, self.kernel], dtype))
    }

    fn apply(self, x: &Tensor, w: &Tensor) -> Tensor {
        let options = ConvOptions {
            stride: self.stride.into(),
            padding: (self.kernel / 2).into(),
            ..Default::default()
        };
        conv2d(x, w, None, options)
    }

    fn forward(self, b: &mut Bench<'_>) {
        let c = self.scaled(b);
        for (variant, dtype) in PRECISIONS {
            let (x, w) = c.data(dtype);
            b.infer(variant, Rate::giga(c.flops(), "GFLOP/s"), || c.apply(&x, &w));
        }
    }

    /// Pictures (one channel) get no gradient.
    fn both(self, b: &mut Bench<'_>) {
        let c = self.scaled(b);
        let maps = if c.inputs > 1 { 3.0 } else { 2.0 };
        for (variant, dtype) in PRECISIONS {
            let (x, w) = c.data(dtype);
            let grad = random(no_grad(|| c.apply(&x, &w)).shape(), dtype);
            let (x, w) = (if c.inputs > 1 { x.requires_grad() } else { x }, w.requires_grad());
            b.time(variant, Rate::giga(c.flops() * maps, "GFLOP/s"), 0.0, || {
                gradients(&c.apply(&x, &w), &grad, &[&x, &w]);
            });
        }
    }
}

/// The value of `y` and the gradients of its inputs, computed and dropped.
pub(crate) fn gradients(y: &Tensor, grad: &Tensor, inputs: &[&Tensor]) {
    y.backward_with(grad);
    hardpan_engine::flush_all();
    for x in inputs {
        x.zero_grad();
    }
}
