//! Work that memory bounds: elementwise chains, copies, reductions, random numbers, row kernels.

use crate::Workload;
use crate::contraction::{gradients, random};
use crate::measure::{Bench, Rate};
use hardpan_engine::functional::{
    EmbeddingOptions, cross_entropy, dropout, embedding, gelu, layer_norm, softmax,
};
use hardpan_engine::{DType, Tensor};

const GROUP: &str = "memory-bound";
const ROWS: usize = 4096;
const COLUMNS: usize = 1024;

pub(crate) fn add(all: &mut Vec<Workload>) {
    let mut push = |name: &str, about: &str, work: fn(&mut Bench<'_>)| {
        all.push(Workload::new(GROUP, name, about, work));
    };
    push("gelu_chain_16M", "gelu(x * a + b) + c", gelu_chain);
    push("gelu_chain_16M_fwdbwd", "gelu(x * a + b) + c, and its gradient", gelu_chain_both);
    push("copy_16M", "a copy into memory that is there", |b| map(b, 8, copy));
    push("clone_16M", "a copy into memory of its own", |b| map(b, 8, copy));
    push("sum_16M", "the sum of all", |b| map(b, 4, |x| x.sum(..)));
    push("add_16M", "x + y", |b| with_other(b, |x, y| x + y));
    push("add_out_16M", "y += x", add_out);
    push("exp_16M", "exp(x)", |b| map(b, 8, |x| x.exp()));
    push("sum_dim0_4096x4096", "the sum of each column", |b| square(b, 4, |x| x.sum(0)));
    push("transpose_4096", "a matrix turned over in memory", |b| {
        square(b, 8, |x| x.t().contiguous())
    });
    push("randn_16M", "normal random numbers", randn);
    push("dropout_16M", "dropout of a tenth", |b| map(b, 8, |x| dropout(x, 0.1, true)));
    push("embedding_16k_rows_384", "16,384 rows of 384 from a table of 10,000", rows_of_table);
    push("softmax_4096x1024_fwd", "softmax of rows", |b| rows(b, 8, |x| softmax(x, -1)));
    push("layernorm_4096x1024_fwd", "layer norm of rows", layer_norm_forward);
    push("softmax_4096x1024_fwdbwd", "softmax of rows, and its gradient", softmax_both);
    push("layernorm_4096x1024_fwdbwd", "layer norm of rows, and all gradients", layer_norm_both);
    push("cross_entropy_4096x1024_fwdbwd", "cross entropy of rows, and its gradient", entropy_both);
}

fn vector(b: &Bench<'_>) -> Tensor {
    random(&[b.size(16 << 20, 1000)], DType::F32)
}

fn map(b: &mut Bench<'_>, bytes: usize, f: impl Fn(&Tensor) -> Tensor) {
    let x = vector(b);
    b.infer("f32", Rate::giga((bytes * x.numel()) as f64, "GB/s"), || f(&x));
}

/// A new shape, and memory of its own.
fn copy(x: &Tensor) -> Tensor {
    x.reshape([2, x.numel() / 2]).contiguous()
}

fn with_other(b: &mut Bench<'_>, f: impl Fn(&Tensor, &Tensor) -> Tensor) {
    let (x, y) = (vector(b), vector(b));
    b.infer("f32", Rate::giga(12.0 * x.numel() as f64, "GB/s"), || f(&x, &y));
}

fn add_out(b: &mut Bench<'_>) {
    let (x, y) = (vector(b), vector(b));
    let mut sum = Some(y);
    // Nobody else holds the old sum, so the new one takes its memory.
    b.time("f32", Rate::giga(12.0 * x.numel() as f64, "GB/s"), 0.0, || {
        let old = sum.take().expect("put back below");
        let new = &old + &x;
        drop(old);
        sum = Some(new.eval().clone());
    });
}

fn square(b: &mut Bench<'_>, bytes: usize, f: impl Fn(&Tensor) -> Tensor) {
    let n = b.size(4096, 33);
    let x = random(&[n, n], DType::F32);
    b.infer("f32", Rate::giga((bytes * n * n) as f64, "GB/s"), || f(&x));
}

fn chain(x: &Tensor, [a, b, c]: &[Tensor; 3]) -> Tensor {
    gelu(&(x * a + b)) + c
}

fn numbers() -> [Tensor; 3] {
    [(); 3].map(|()| random(&[1], DType::F32))
}

fn gelu_chain(b: &mut Bench<'_>) {
    let (x, n) = (vector(b), numbers());
    b.infer("f32", Rate::giga(8.0 * x.numel() as f64, "GB/s"), || chain(&x, &n));
}

fn gelu_chain_both(b: &mut Bench<'_>) {
    let (x, n) = (vector(b).requires_grad(), numbers());
    let grad = Tensor::ones(x.shape()).eval().clone();
    b.time("f32", Rate::giga(20.0 * x.numel() as f64, "GB/s"), 0.0, || {
        gradients(&chain(&x, &n), &grad, &[&x]);
    });
}

fn randn(b: &mut Bench<'_>) {
    let n = b.size(16 << 20, 1000);
    let rate = Rate { items: n as f64 * 1e-6, unit: "Msample/s" };
    b.infer("f32", rate, || Tensor::randn([n]));
}

fn rows_of_table(b: &mut Bench<'_>) {
    let (count, table, width) = (b.size(64 * 256, 50), b.size(10_000, 20), b.size(384, 5));
    let index = Tensor::randint(0, table as i64, [count]).eval().clone();
    let weight = random(&[table, width], DType::F32);
    b.infer("f32", Rate::giga((8 * count * width) as f64, "GB/s"), || {
        embedding(&index, &weight, EmbeddingOptions::default())
    });
}

fn matrix(b: &Bench<'_>) -> Tensor {
    random(&[b.size(ROWS, 7), b.size(COLUMNS, 20)], DType::F32)
}

fn rows(b: &mut Bench<'_>, bytes: usize, f: impl Fn(&Tensor) -> Tensor) {
    let x = matrix(b);
    b.infer("f32", Rate::giga((bytes * x.numel()) as f64, "GB/s"), || f(&x));
}

fn normalized(x: &Tensor, w: &Tensor, bias: &Tensor) -> Tensor {
    layer_norm(x, w.shape(), Some(w), Some(bias), 1e-5)
}

fn scale_and_shift(x: &Tensor) -> (Tensor, Tensor) {
    let n = [x.size(-1)];
    (Tensor::ones(n).eval().clone(), Tensor::zeros(n).eval().clone())
}

fn layer_norm_forward(b: &mut Bench<'_>) {
    let x = matrix(b);
    let (w, bias) = scale_and_shift(&x);
    b.infer("f32", Rate::giga(8.0 * x.numel() as f64, "GB/s"), || normalized(&x, &w, &bias));
}

fn softmax_both(b: &mut Bench<'_>) {
    let x = matrix(b).requires_grad();
    let grad = random(x.shape(), DType::F32);
    b.time("f32", Rate::giga(20.0 * x.numel() as f64, "GB/s"), 0.0, || {
        gradients(&softmax(&x, -1), &grad, &[&x]);
    });
}

fn layer_norm_both(b: &mut Bench<'_>) {
    let x = matrix(b).requires_grad();
    let (w, bias) = scale_and_shift(&x);
    let (w, bias) = (w.requires_grad(), bias.requires_grad());
    let grad = random(x.shape(), DType::F32);
    b.time("f32", Rate::giga(20.0 * x.numel() as f64, "GB/s"), 0.0, || {
        gradients(&normalized(&x, &w, &bias), &grad, &[&x, &w, &bias]);
    });
}

fn entropy_both(b: &mut Bench<'_>) {
    let x = matrix(b).requires_grad();
    let target = Tensor::randint(0, x.size(-1) as i64, [x.size(0)]).eval().clone();
    b.time("f32", Rate::giga(8.0 * x.numel() as f64, "GB/s"), 0.0, || {
        let loss = cross_entropy(&x, &target);
        loss.backward();
        hardpan_engine::flush_all();
        x.zero_grad();
    });
}
