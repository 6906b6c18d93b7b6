//! Speed of fused kernels on the CPU, as time per launch and as memory traffic against a plain copy.
//!
//! `cargo run --release -p hardpan-engine --example fused_speed [filter]`

use hardpan_engine::dev::cpu::pool;
use hardpan_engine::dev::{DeviceId, Mem, device};
use hardpan_engine::kernel::*;
use hardpan_engine::op::{BinaryOp, Distribution, ReduceOp, UnaryOp};
use hardpan_engine::{DType, Scalar};
use smallvec::SmallVec;
use std::time::Instant;

/// A program under construction over `dims`, the last `dims.len() - kept` of which are reduced.
struct Build {
    f: Fused,
    inputs: Vec<(DType, usize)>,
    outputs: Vec<(DType, usize)>,
}

impl Build {
    fn new(dims: &[usize], kept: usize) -> Build {
        let f = Fused { dims: SmallVec::from_slice(dims), kept, ..Fused::default() };
        Build { f, inputs: vec![], outputs: vec![] }
    }
    fn push(&mut self, instr: Instr, dtype: DType, level: Level) -> V {
        self.f.values.push(Value { instr, dtype, level });
        self.f.values.len() - 1
    }
    fn affine(coef: &[isize]) -> Affine {
        Affine { coef: SmallVec::from_slice(coef), base: 0 }
    }
    fn load(&mut self, coef: &[isize], dtype: DType) -> V {
        let at = Self::affine(coef);
        let n = at.range(&self.f.dims).1 as usize + 1;
        self.inputs.push((dtype, n));
        let level = if coef[self.f.kept..].iter().any(|c| *c != 0) || self.f.kept == coef.len() {
            Level::Full
        } else {
            Level::Row
        };
        self.f.loads.push(Load {
            source: Source::Input(self.inputs.len() - 1),
            dtype,
            at,
            guards: vec![],
        });
        self.push(Instr::Load(self.f.loads.len() - 1), dtype, level)
    }
    fn un(&mut self, op: UnaryOp, a: V) -> V {
        let Value { dtype, level, .. } = self.f.values[a];
        self.push(Instr::Unary(op, a), dtype, level)
    }
    fn bin(&mut self, op: BinaryOp, a: V, b: V) -> V {
        let dtype = if op.is_comparison() { DType::Bool } else { self.f.values[a].dtype };
        let level = self.f.values[a].level.max(self.f.values[b].level);
        self.push(Instr::Binary(op, a, b), dtype, level)
    }
    fn scalar(&mut self, i: usize) -> V {
        self.push(Instr::Scalar(i), DType::F32, Level::Uniform)
    }
    fn reduce(&mut self, op: ReduceOp, a: V) -> V {
        let dtype = if op.is_arg() { DType::I64 } else { self.f.values[a].dtype };
        self.push(Instr::Reduce(op, a), dtype, Level::Row)
    }
    fn store(&mut self, value: V, coef: &[isize]) {
        let Value { dtype, level, .. } = self.f.values[value];
        let at = Self::affine(coef);
        self.outputs.push((dtype, at.range(&self.f.dims).1 as usize + 1));
        let output = self.outputs.len() - 1;
        self.f.stores.push(Store { output, dtype, value, level: level.max(Level::Row), at });
    }
    fn run(self, name: &str, filter: &str) {
        if !name.contains(filter) {
            return;
        }
        let bytes: usize = self.inputs.iter().chain(&self.outputs).map(|(d, n)| d.size() * n).sum();
        let cpu = device(DeviceId::CPU);
        let args = [Scalar::Float(0.7), Scalar::Int(12345), Scalar::Int(0), Scalar::Float(1e-5)];
        let mems = |list: &[(DType, usize)]| -> Vec<Mem> {
            list.iter()
                .map(|(d, n)| {
                    let m = Mem::alloc(DeviceId::CPU, n * d.size()).unwrap();
                    let fill: Vec<u8> = (0..n * d.size() / 4 + 1)
                        .flat_map(|i| ((i % 1001) as f32 / 500.0 - 1.0).to_le_bytes())
                        .collect();
                    cpu.upload(&m, &fill[..n * d.size()]);
                    m
                })
                .collect()
        };
        let (ins, outs) = (mems(&self.inputs), mems(&self.outputs));
        let kernel =
            Kernel { body: Body::Fused(self.f), inputs: self.inputs, outputs: self.outputs };
        let before = Instant::now();
        let program = cpu.compile(&kernel).unwrap();
        let compile = before.elapsed().as_secs_f64();
        let (i, o): (Vec<&Mem>, Vec<&Mem>) = (ins.iter().collect(), outs.iter().collect());
        let time = |threads: usize| {
            pool::set_threads(threads);
            let mut best = f64::MAX;
            let started = Instant::now();
            let mut inner = 1;
            while started.elapsed().as_secs_f64() < 0.15 {
                let t = Instant::now();
                for _ in 0..inner {
                    cpu.launch(&*program, &i, &o, &args).unwrap();
                }
                let t = t.elapsed().as_secs_f64() / inner as f64;
                best = best.min(t);
                inner = ((2e-4 / t) as usize).clamp(1, 1000);
            }
            best
        };
        let (one, two) = (time(1), time(2));
        println!(
            "{name:36} {:9.2} us {:6.1} GB/s | 2 threads {:9.2} us {:6.1} GB/s | compile {:5.1} us",
            one * 1e6,
            bytes as f64 / one / 1e9,
            two * 1e6,
            bytes as f64 / two / 1e9,
            compile * 1e6
        );
    }
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let f32 = DType::F32;
    for n in [16 << 10, 256 << 10, 4 << 20] {
        let mut b = Build::new(&[n], 1);
        let x = b.load(&[1], f32);
        b.store(x, &[1]);
        b.run(&format!("copy {n}"), &filter);
        let mut b = Build::new(&[n], 1);
        let (x, y) = (b.load(&[1], f32), b.load(&[1], f32));
        let z = b.bin(BinaryOp::Add, x, y);
        b.store(z, &[1]);
        b.run(&format!("add {n}"), &filter);
        // gelu(x) = x * 0.5 * (1 + erf(x / sqrt 2))
        let mut b = Build::new(&[n], 1);
        let x = b.load(&[1], f32);
        let s = b.scalar(0);
        let a = b.bin(BinaryOp::Mul, x, s);
        let e = b.un(UnaryOp::Erf, a);
        let e = b.bin(BinaryOp::Add, e, s);
        let h = b.bin(BinaryOp::Mul, x, s);
        let g = b.bin(BinaryOp::Mul, h, e);
        b.store(g, &[1]);
        b.run(&format!("gelu erf {n}"), &filter);
        // Ten steps of the tanh form by exp.
        let mut b = Build::new(&[n], 1);
        let x = b.load(&[1], f32);
        let s = b.scalar(0);
        let c = b.bin(BinaryOp::Mul, x, x);
        let c = b.bin(BinaryOp::Mul, c, x);
        let c = b.bin(BinaryOp::Mul, c, s);
        let c = b.bin(BinaryOp::Add, c, x);
        let c = b.bin(BinaryOp::Mul, c, s);
        let c = b.un(UnaryOp::Exp, c);
        let c = b.bin(BinaryOp::Add, c, s);
        let c = b.un(UnaryOp::Recip, c);
        let c = b.bin(BinaryOp::Mul, x, c);
        b.store(c, &[1]);
        b.run(&format!("gelu tanh by exp {n}"), &filter);
    }
    for (r, k) in [(4096usize, 1024usize), (256, 1024), (64, 10), (4096, 10), (32768, 64)] {
        let at = [k as isize, 1];
        let mut b = Build::new(&[r, k], 1);
        let x = b.load(&at, f32);
        let m = b.reduce(ReduceOp::Max, x);
        let d = b.bin(BinaryOp::Sub, x, m);
        let e = b.un(UnaryOp::Exp, d);
        let s = b.reduce(ReduceOp::Sum, e);
        let s = b.un(UnaryOp::Recip, s);
        let p = b.bin(BinaryOp::Mul, e, s);
        b.store(p, &at);
        b.run(&format!("softmax {r}x{k}"), &filter);
        let mut b = Build::new(&[r, k], 1);
        let x = b.load(&at, f32);
        let (w, bias) = (b.load(&[0, 1], f32), b.load(&[0, 1], f32));
        let (inv, eps) = (b.scalar(0), b.scalar(3));
        let s = b.reduce(ReduceOp::Sum, x);
        let mean = b.bin(BinaryOp::Mul, s, inv);
        let d = b.bin(BinaryOp::Sub, x, mean);
        let q = b.bin(BinaryOp::Mul, d, d);
        let v = b.reduce(ReduceOp::Sum, q);
        let v = b.bin(BinaryOp::Mul, v, inv);
        let v = b.bin(BinaryOp::Add, v, eps);
        let v = b.un(UnaryOp::Sqrt, v);
        let v = b.un(UnaryOp::Recip, v);
        let y = b.bin(BinaryOp::Mul, d, v);
        let y = b.bin(BinaryOp::Mul, y, w);
        let y = b.bin(BinaryOp::Add, y, bias);
        b.store(y, &at);
        b.run(&format!("layernorm {r}x{k}"), &filter);
        for (op, name) in [(ReduceOp::Sum, "sum"), (ReduceOp::ArgMax, "argmax")] {
            let mut b = Build::new(&[r, k], 1);
            let x = b.load(&at, f32);
            let s = b.reduce(op, x);
            b.store(s, &[1, 0]);
            b.run(&format!("row {name} {r}x{k}"), &filter);
            let mut b = Build::new(&[k, r], 1);
            let x = b.load(&[1, k as isize], f32);
            let s = b.reduce(op, x);
            b.store(s, &[1, 0]);
            b.run(&format!("column {name} {r}x{k}"), &filter);
        }
        let mut b = Build::new(&[r, k], 2);
        let x = b.load(&[1, r as isize], f32);
        b.store(x, &at);
        b.run(&format!("transpose {r}x{k}"), &filter);
        let mut b = Build::new(&[r, k], 2);
        let (x, y, z) = (b.load(&at, f32), b.load(&[0, 1], f32), b.load(&[1, 0], f32));
        let s = b.bin(BinaryOp::Add, x, y);
        let s = b.bin(BinaryOp::Mul, s, z);
        b.store(s, &at);
        b.run(&format!("row and column broadcast {r}x{k}"), &filter);
        let mut b = Build::new(&[r, k], 0);
        let x = b.load(&at, f32);
        let s = b.reduce(ReduceOp::Sum, x);
        b.store(s, &[0, 0]);
        b.run(&format!("full sum {r}x{k}"), &filter);
    }
    // Batch statistics of [32, 64, 28, 28]: sum and sum of squares per channel.
    let mut b = Build::new(&[64, 32, 784], 1);
    let x = b.load(&[784, 64 * 784, 1], f32);
    let q = b.bin(BinaryOp::Mul, x, x);
    let (s, t) = (b.reduce(ReduceOp::Sum, x), b.reduce(ReduceOp::Sum, q));
    b.store(s, &[1, 0, 0]);
    b.store(t, &[1, 0, 0]);
    b.run("batchnorm statistics", &filter);
    let mut b = Build::new(&[32, 64, 784], 3);
    let x = b.load(&[64 * 784, 784, 1], f32);
    let (w, c) = (b.load(&[0, 1, 0], f32), b.load(&[0, 1, 0], f32));
    let y = b.bin(BinaryOp::Mul, x, w);
    let y = b.bin(BinaryOp::Add, y, c);
    b.store(y, &[64 * 784, 784, 1]);
    b.run("batchnorm apply", &filter);
    for dist in [Distribution::Uniform, Distribution::Normal] {
        let n = 256 << 10;
        let mut b = Build::new(&[n], 1);
        let at = Build::affine(&[1]);
        let r = b.push(Instr::Random { dist, seed: 1, offset: 2, at }, f32, Level::Full);
        b.store(r, &[1]);
        b.run(dist.name(), &filter);
    }
    for (op, name) in [
        (UnaryOp::Exp, "exp"),
        (UnaryOp::Log, "log"),
        (UnaryOp::Tanh, "tanh"),
        (UnaryOp::Erf, "erf"),
        (UnaryOp::Sin, "sin"),
        (UnaryOp::Log1p, "log1p"),
        (UnaryOp::Expm1, "expm1"),
        (UnaryOp::Sqrt, "sqrt"),
        (UnaryOp::Atan, "atan"),
    ] {
        let n = 16 << 10;
        let mut b = Build::new(&[n], 1);
        let x = b.load(&[1], f32);
        let y = b.un(op, x);
        b.store(y, &[1]);
        b.run(&format!("unary {name} {n}"), &filter);
    }
    for dtype in [DType::F16, DType::BF16, DType::U8, DType::I64] {
        let n = 256 << 10;
        let mut b = Build::new(&[n], 1);
        let x = b.load(&[1], dtype);
        let y = b.push(Instr::Cast(x), f32, Level::Full);
        b.store(y, &[1]);
        b.run(&format!("cast {dtype} to f32"), &filter);
        let mut b = Build::new(&[n], 1);
        let x = b.load(&[1], f32);
        let y = b.push(Instr::Cast(x), dtype, Level::Full);
        b.store(y, &[1]);
        b.run(&format!("cast f32 to {dtype}"), &filter);
    }
    // Adam on one parameter: three outputs, about a dozen steps.
    let n = 256 << 10;
    let mut b = Build::new(&[n], 1);
    let (p, g, m, v) = (b.load(&[1], f32), b.load(&[1], f32), b.load(&[1], f32), b.load(&[1], f32));
    let (s, eps) = (b.scalar(0), b.scalar(3));
    let m1 = b.bin(BinaryOp::Mul, m, s);
    let g1 = b.bin(BinaryOp::Mul, g, s);
    let m = b.bin(BinaryOp::Add, m1, g1);
    let v1 = b.bin(BinaryOp::Mul, v, s);
    let g2 = b.bin(BinaryOp::Mul, g, g);
    let g2 = b.bin(BinaryOp::Mul, g2, s);
    let v = b.bin(BinaryOp::Add, v1, g2);
    let d = b.un(UnaryOp::Sqrt, v);
    let d = b.bin(BinaryOp::Add, d, eps);
    let u = b.bin(BinaryOp::Div, m, d);
    let u = b.bin(BinaryOp::Mul, u, s);
    let p = b.bin(BinaryOp::Sub, p, u);
    b.store(m, &[1]);
    b.store(v, &[1]);
    b.store(p, &[1]);
    b.run("adam", &filter);
    for n in [1, 16, 64, 1000] {
        let mut b = Build::new(&[n], 1);
        let (mut x, y) = (b.load(&[1], f32), b.load(&[1], f32));
        let s = b.scalar(0);
        for i in 0..5 {
            x = b.bin(BinaryOp::Mul, x, if i % 2 == 0 { y } else { s });
            x = b.bin(BinaryOp::Add, x, y);
        }
        b.store(x, &[1]);
        b.run(&format!("tiny: 10 steps on {n}"), &filter);
    }
}
