//! The reference device: every kernel, one element at a time, straight from its description.
//!
//! Slow on purpose and free of cleverness. Tests run the same graphs here and on the CPU device and compare; it also proves that a
//! device can be added without touching the graph. Floats are computed in f64 and rounded to the value's dtype after every
//! operation.

mod attention;

use super::{Device, DeviceError, Mem, Program};
use crate::dtype::{DType, Scalar};
use crate::host::HostArray;
use crate::kernel::{
    Affine, Body, ConvKernel, DotKernel, Fused, Guard, Instr, Kernel, Level, Source, WindowKernel,
};
use crate::op::{BinaryOp, ConvMode, Distribution, ReduceOp, ScanOp, ScatterOp, WindowOp};
use crate::{philox, scalar};
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// See the module's text. Register one with [`super::register_device`].
#[derive(Default)]
pub struct ReferenceDevice {
    memory: Mutex<(usize, HashMap<usize, Vec<u8>>)>,
}

struct Compiled(Kernel);

impl Program for Compiled {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl ReferenceDevice {
    /// A device with no memory in use.
    pub fn new() -> ReferenceDevice {
        ReferenceDevice::default()
    }

    fn read(&self, mem: &Mem, dtype: DType, n: usize) -> HostArray {
        let memory = self.memory.lock().unwrap();
        let bytes = memory.1[&mem.handle()][..n * dtype.size()].to_vec();
        HostArray::from_bytes(dtype, &[n], bytes).expect("sizes agree")
    }
}

impl Device for ReferenceDevice {
    fn name(&self) -> String {
        "reference".into()
    }
    fn alloc(&self, bytes: usize) -> Result<usize, DeviceError> {
        let mut memory = self.memory.lock().unwrap();
        memory.0 += 1;
        let handle = memory.0;
        // A pattern that is a NaN in every float type shows reads of what was never written.
        memory.1.insert(handle, vec![0xff; bytes]);
        Ok(handle)
    }
    fn free(&self, handle: usize, _bytes: usize) {
        self.memory.lock().unwrap().1.remove(&handle);
    }
    fn upload(&self, dst: &Mem, src: &[u8]) {
        self.memory.lock().unwrap().1.get_mut(&dst.handle()).expect("live")[..src.len()]
            .copy_from_slice(src);
    }
    fn download(&self, src: &Mem, dst: &mut [u8]) {
        let n = dst.len();
        dst.copy_from_slice(&self.memory.lock().unwrap().1[&src.handle()][..n]);
    }
    fn compile(&self, kernel: &Kernel) -> Result<Arc<dyn Program>, DeviceError> {
        Ok(Arc::new(Compiled(kernel.clone())))
    }
    fn launch(
        &self,
        program: &dyn Program,
        inputs: &[&Mem],
        outputs: &[&Mem],
        args: &[Scalar],
    ) -> Result<(), DeviceError> {
        let kernel = &program.as_any().downcast_ref::<Compiled>().expect("own program").0;
        let ins: Vec<HostArray> =
            inputs.iter().zip(&kernel.inputs).map(|(m, (t, n))| self.read(m, *t, *n)).collect();
        let mut outs: Vec<HostArray> =
            outputs.iter().zip(&kernel.outputs).map(|(m, (t, n))| self.read(m, *t, *n)).collect();
        run(&kernel.body, &ins, &mut outs, args)?;
        for (m, o) in outputs.iter().zip(&outs) {
            self.upload(m, o.bytes());
        }
        Ok(())
    }
    fn sync(&self) {}
}

/// What [`WindowKernel`] means.
fn window(k: &WindowKernel, ins: &[HostArray], out: &mut HostArray) {
    let p = &k.params;
    let (image, windows) = (p.size[0] * p.size[1], p.out[0] * p.out[1]);
    if k.op == WindowOp::Back {
        (0..k.planes * image).for_each(|i| out.set(i, Scalar::Float(0.0)));
    }
    for plane in 0..k.planes {
        for w in 0..windows {
            let corner = [w / p.out[1] * p.stride[0], w % p.out[1] * p.stride[1]];
            // The element at a place of the window, if there is one.
            let element = |place: usize| {
                let [y, x] = [place / p.kernel[1] + corner[0], place % p.kernel[1] + corner[1]];
                let (y, x) = (y.checked_sub(p.padding[0])?, x.checked_sub(p.padding[1])?);
                (y < p.size[0] && x < p.size[1]).then_some(plane * image + y * p.size[1] + x)
            };
            let to = plane * windows + w;
            if k.op == WindowOp::Back {
                let Some(at) = element(ins[1].get(to).as_i64() as usize) else { continue };
                out.set(at, binary(BinaryOp::Add, out.get(at), ins[0].get(to), k.dtype));
                continue;
            }
            if k.op == WindowOp::Take {
                let none = Scalar::Float(f64::NEG_INFINITY);
                let at = element(ins[1].get(to).as_i64() as usize);
                out.set(to, at.map_or(none, |at| ins[0].get(at)));
                continue;
            }
            let (mut best, mut place) = (f64::NEG_INFINITY, None);
            for number in 0..p.kernel[0] * p.kernel[1] {
                let Some(at) = element(number) else { continue };
                let v = ins[0].get(at).as_f64();
                if place.is_none() || v > best || (v.is_nan() && !best.is_nan()) {
                    (best, place) = (v, Some(number));
                }
            }
            out.set(
                to,
                match k.op {
                    WindowOp::Max => Scalar::Float(best),
                    _ => Scalar::Int(place.unwrap_or(0) as i64),
                },
            );
        }
    }
}

/// Runs a kernel on host arrays: the meaning of every [`Body`].
pub fn run(
    body: &Body,
    ins: &[HostArray],
    outs: &mut [HostArray],
    args: &[Scalar],
) -> Result<(), DeviceError> {
    match body {
        Body::Fused(f) => fused(f, ins, outs, args, None),
        Body::Dot(d, epilogue) => {
            let result = dot(d, ins);
            finish(epilogue.as_ref(), result, ins, outs, args);
        }
        Body::Conv(c, epilogue) => {
            let result = conv(c, &ins[c.inputs[0]], &ins[c.inputs[1]]);
            finish(epilogue.as_ref(), result, ins, outs, args);
        }
        Body::Attention(a) => attention::attention(a, ins, &mut outs[0], args),
        Body::Take { rows, inner, count, .. } => {
            for i in 0..*count {
                let r = row_index(&ins[1], i, *rows)?;
                for k in 0..*inner {
                    outs[0].set(i * inner + k, ins[0].get(r * inner + k));
                }
            }
        }
        Body::Scatter { op, rows, inner, count, dtype } => {
            outs[0] = ins[0].clone();
            for i in 0..*count {
                let r = row_index(&ins[1], i, *rows)?;
                for k in 0..*inner {
                    let old = outs[0].get(r * inner + k);
                    let new = ins[2].get(i * inner + k);
                    let op = match op {
                        ScatterOp::Add => BinaryOp::Add,
                        ScatterOp::Mul => BinaryOp::Mul,
                        ScatterOp::Max => BinaryOp::Max,
                        ScatterOp::Min => BinaryOp::Min,
                        ScatterOp::Set => {
                            outs[0].set(r * inner + k, new);
                            continue;
                        }
                    };
                    outs[0].set(r * inner + k, binary(op, old, new, *dtype));
                }
            }
        }
        Body::Window(w) => window(w, ins, &mut outs[0]),
        Body::Scan { op, outer, len, inner, dtype } => {
            for o in 0..*outer {
                for k in 0..*inner {
                    let at = |i: usize| (o * len + i) * inner + k;
                    let mut acc = ins[0].get(at(0));
                    for i in 0..*len {
                        if i > 0 {
                            let x = ins[0].get(at(i));
                            acc = match op {
                                ScanOp::Sum => binary(BinaryOp::Add, acc, x, wide(*dtype)),
                                ScanOp::Prod => binary(BinaryOp::Mul, acc, x, wide(*dtype)),
                                ScanOp::Max => binary(BinaryOp::Max, acc, x, *dtype),
                                ScanOp::Min => binary(BinaryOp::Min, acc, x, *dtype),
                                ScanOp::LogSumExp => {
                                    let (a, b) = (acc.as_f64(), x.as_f64());
                                    let m = a.max(b);
                                    Scalar::Float(if m.is_infinite() || a.is_nan() || b.is_nan() {
                                        if a.is_nan() || b.is_nan() { f64::NAN } else { m }
                                    } else {
                                        m + libm::log(libm::exp(a - m) + libm::exp(b - m))
                                    })
                                }
                            };
                        }
                        outs[0].set(at(i), acc);
                    }
                }
            }
        }
        Body::ArgSort { descending, outer, len, inner, .. } => {
            for o in 0..*outer {
                for k in 0..*inner {
                    let mut order: Vec<usize> = (0..*len).collect();
                    let key = |i: usize| ins[0].get((o * len + i) * inner + k);
                    order.sort_by(|a, b| {
                        let c = compare(key(*a), key(*b));
                        if *descending { c.reverse() } else { c }
                    });
                    for (i, from) in order.into_iter().enumerate() {
                        outs[0].set((o * len + i) * inner + k, Scalar::Int(from as i64));
                    }
                }
            }
        }
        Body::Copy { bytes } => {
            if *bytes > 0 {
                outs[0] = ins[0].clone();
            }
        }
        Body::Custom { op, inputs } => {
            let shaped: Vec<HostArray> = ins
                .iter()
                .zip(inputs)
                .map(|(a, (t, s))| {
                    HostArray::from_bytes(*t, s, a.bytes().to_vec()).expect("sizes agree")
                })
                .collect();
            let result = op.run(&shaped);
            outs[0] =
                HostArray::from_bytes(result.dtype(), &[result.len()], result.bytes().to_vec())
                    .expect("sizes agree");
        }
    }
    Ok(())
}

fn compare(a: Scalar, b: Scalar) -> std::cmp::Ordering {
    match (a, b) {
        (Scalar::Int(x), Scalar::Int(y)) => x.cmp(&y),
        _ => {
            let (x, y) = (a.as_f64(), b.as_f64());
            x.partial_cmp(&y).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()))
        }
    }
}

fn row_index(index: &HostArray, i: usize, rows: usize) -> Result<usize, DeviceError> {
    let r = index.get(i).as_i64();
    if r < 0 || r as usize >= rows {
        return Err(DeviceError::Data(format!(
            "index {r} at position {i} is out of range for {rows} rows"
        )));
    }
    Ok(r as usize)
}

/// Accumulators of half types are f32.
fn wide(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        d => d,
    }
}

/// `op(a, b)`, rounded or wrapped to `dtype` (comparisons: of operands of `dtype`).
pub(crate) fn binary(op: BinaryOp, a: Scalar, b: Scalar, dtype: DType) -> Scalar {
    if dtype == DType::F32 && op == BinaryOp::NextAfter {
        return Scalar::Float(libm::nextafterf(a.as_f64() as f32, b.as_f64() as f32) as f64);
    }
    let out = if op.is_comparison() { DType::Bool } else { dtype };
    if dtype.is_float() {
        Scalar::Float(scalar::binary_f64(op, a.as_f64(), b.as_f64())).cast(out)
    } else {
        Scalar::Int(scalar::binary_i64(op, a.as_i64(), b.as_i64())).cast(out)
    }
}

fn inside(guards: &[Guard], index: &[usize]) -> bool {
    guards.iter().all(|g| (0..g.size).contains(&g.at.at(index)))
}

struct Frame<'a> {
    f: &'a Fused,
    ins: &'a [HostArray],
    args: &'a [Scalar],
    result: Option<&'a HostArray>,
}

impl Frame<'_> {
    fn value(&self, v: usize, index: &[usize], folds: &HashMap<usize, Scalar>) -> Scalar {
        let value = &self.f.values[v];
        let get = |a: usize| self.value(a, index, folds);
        match &value.instr {
            Instr::Load(l) => {
                let load = &self.f.loads[*l];
                if !inside(&load.guards, index) {
                    return Scalar::Int(0).cast(load.dtype);
                }
                let array = match load.source {
                    Source::Input(k) => &self.ins[k],
                    Source::Result => self.result.expect("epilogue"),
                };
                array.get(load.at.at(index) as usize)
            }
            Instr::Scalar(a) => self.args[*a].cast(value.dtype),
            Instr::Index(at) => Scalar::Int(at.at(index) as i64),
            Instr::Random { dist, seed, offset, at } => {
                let seed = self.args[*seed].as_i64() as u64;
                let i = (self.args[*offset].as_i64() as u64).wrapping_add(at.at(index) as u64);
                match dist {
                    Distribution::Uniform => {
                        Scalar::Float(philox::uniform(philox::bits(seed, i)) as f64)
                    }
                    Distribution::Normal => Scalar::Float(philox::normal(seed, i) as f64),
                    Distribution::Bits => Scalar::Int(philox::bits(seed, i) as i64),
                }
            }
            Instr::Inside(guards) => Scalar::Bool(inside(guards, index)),
            Instr::Unary(op, a) => {
                let x = get(*a);
                if value.dtype.is_float() {
                    Scalar::Float(scalar::unary_f64(*op, x.as_f64())).cast(value.dtype)
                } else {
                    Scalar::Int(scalar::unary_i64(*op, x.as_i64())).cast(value.dtype)
                }
            }
            Instr::Binary(op, a, b) => binary(*op, get(*a), get(*b), self.f.values[*a].dtype),
            Instr::Where(c, a, b) => {
                if get(*c).as_i64() != 0 {
                    get(*a)
                } else {
                    get(*b)
                }
            }
            Instr::Cast(a) => get(*a).cast(value.dtype),
            Instr::Reduce(..) => folds[&v],
        }
    }
}

fn each_index(dims: &[usize], mut f: impl FnMut(&[usize])) {
    if dims.contains(&0) {
        return;
    }
    let mut index = vec![0; dims.len()];
    loop {
        f(&index);
        let mut d = dims.len();
        loop {
            if d == 0 {
                return;
            }
            d -= 1;
            index[d] += 1;
            if index[d] < dims[d] {
                break;
            }
            index[d] = 0;
        }
    }
}

fn fused(
    f: &Fused,
    ins: &[HostArray],
    outs: &mut [HostArray],
    args: &[Scalar],
    result: Option<&HostArray>,
) {
    let frame = Frame { f, ins, args, result };
    let kept = &f.dims[..f.kept];
    let row = &f.dims[f.kept..];
    let mut writes: Vec<(usize, usize, Scalar)> = Vec::new();
    each_index(kept, |k| {
        let mut folds: HashMap<usize, Scalar> = HashMap::new();
        for (v, value) in f.values.iter().enumerate() {
            let Instr::Reduce(op, a) = &value.instr else { continue };
            let t = f.values[*a].dtype;
            let mut acc = if t.is_float() {
                Scalar::Float(scalar::reduce_start_f64(*op))
            } else {
                Scalar::Int(scalar::reduce_start_int(*op, t))
            };
            let (mut best, mut at) = (0i64, 0i64);
            each_index(row, |r| {
                let full: Vec<usize> = k.iter().chain(r).copied().collect();
                let x = frame.value(*a, &full, &folds);
                if op.is_arg() {
                    let order = compare(x, acc);
                    let better = at == 0
                        || if *op == ReduceOp::ArgMax {
                            order.is_gt()
                        } else {
                            !acc.as_f64().is_nan() && (x.as_f64().is_nan() || order.is_lt())
                        };
                    if better {
                        best = at;
                        acc = x;
                    }
                } else {
                    acc = binary(
                        scalar::reduce_binary(*op),
                        acc,
                        x,
                        if t.is_float() { DType::F64 } else { t },
                    );
                }
                at += 1;
            });
            folds.insert(v, if op.is_arg() { Scalar::Int(best) } else { acc.cast(value.dtype) });
        }
        for s in &f.stores {
            let mut write = |index: &[usize]| {
                writes.push((s.output, address(&s.at, index), frame.value(s.value, index, &folds)));
            };
            if s.level == Level::Full {
                each_index(row, |r| write(&k.iter().chain(r).copied().collect::<Vec<_>>()));
            } else {
                let mut full = k.to_vec();
                full.resize(f.dims.len(), 0);
                write(&full);
            }
        }
    });
    for (o, at, x) in writes {
        outs[o].set(at, x);
    }
}

fn address(at: &Affine, index: &[usize]) -> usize {
    usize::try_from(at.at(index)).expect("stores stay inside")
}

fn finish(
    epilogue: Option<&Fused>,
    result: HostArray,
    ins: &[HostArray],
    outs: &mut [HostArray],
    args: &[Scalar],
) {
    match epilogue {
        Some(f) => fused(f, ins, outs, args, Some(&result)),
        None => outs[0] = result,
    }
}

fn dot(d: &DotKernel, ins: &[HostArray]) -> HostArray {
    let batches: usize = d.batch.iter().product();
    let mut out = HostArray::zeros(d.dtype, &[batches * d.m * d.n]);
    let mut b = 0;
    each_index(&d.batch, |index| {
        let base = |o: &crate::kernel::Operand| {
            o.base as isize + o.batch.iter().zip(index).map(|(s, i)| s * *i as isize).sum::<isize>()
        };
        let (a0, b0) = (base(&d.a), base(&d.b));
        for i in 0..d.m {
            for j in 0..d.n {
                let mut acc = Scalar::Int(0);
                let wide = if d.dtype.is_float() { DType::F64 } else { d.dtype };
                for k in 0..d.k {
                    let x = ins[d.a.input]
                        .get((a0 + i as isize * d.a.row + k as isize * d.a.col) as usize);
                    let y = ins[d.b.input]
                        .get((b0 + k as isize * d.b.row + j as isize * d.b.col) as usize);
                    acc = binary(BinaryOp::Add, acc, binary(BinaryOp::Mul, x, y, wide), wide);
                }
                out.set((b * d.m + i) * d.n + j, acc);
            }
        }
        b += 1;
    });
    out
}

fn conv(c: &ConvKernel, a: &HostArray, b: &HostArray) -> HostArray {
    let spatial = c.x.len() - 2;
    let (cin, cout) = (c.w[1], c.w[0] / c.params.groups);
    let target = match c.mode {
        ConvMode::Forward => &c.y,
        ConvMode::InputGrad => &c.x,
        ConvMode::WeightGrad => &c.w,
    };
    let mut acc = vec![0.0f64; crate::shape::numel(target)];
    let flat =
        |shape: &[usize], index: &[usize]| index.iter().zip(shape).fold(0, |f, (i, s)| f * s + i);
    // Every (output position, group channel, kernel position) contributes one product.
    let mut dims: Vec<usize> = c.y.to_vec();
    dims.push(cin);
    dims.extend_from_slice(&c.w[2..]);
    each_index(&dims, |i| {
        let (n, o) = (i[0], i[1]);
        let group = o / cout;
        let ci = i[2 + spatial];
        let mut x = vec![n, group * cin + ci];
        let mut w = vec![o, ci];
        for d in 0..spatial {
            let k = i[3 + spatial + d];
            let p = (i[2 + d] * c.params.stride[d] + k * c.params.dilation[d]) as isize
                - c.params.padding[d] as isize;
            if p < 0 || p as usize >= c.x[2 + d] {
                return;
            }
            x.push(p as usize);
            w.push(k);
        }
        let (xi, wi, yi) = (flat(&c.x, &x), flat(&c.w, &w), flat(&c.y, &i[..2 + spatial]));
        match c.mode {
            ConvMode::Forward => acc[yi] += a.get(xi).as_f64() * b.get(wi).as_f64(),
            ConvMode::InputGrad => acc[xi] += a.get(yi).as_f64() * b.get(wi).as_f64(),
            ConvMode::WeightGrad => acc[wi] += a.get(xi).as_f64() * b.get(yi).as_f64(),
        }
    });
    let mut out = HostArray::zeros(c.dtype, &[acc.len()]);
    for (i, x) in acc.into_iter().enumerate() {
        out.set(i, Scalar::Float(x));
    }
    out
}
