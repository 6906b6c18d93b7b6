//! Random programs against a naive evaluator, and the same bits on every path.
use super::exec::{Buffers, Launch};
use super::lower::By;
use super::lower::lower;
use crate::dev::cpu::isa::{Isa, available, isa};
use crate::dev::cpu::pool;
use crate::dev::reference;
use crate::dtype::{DType, Scalar};
use crate::host::HostArray;
use crate::kernel::*;
use crate::op::{BinaryOp, Distribution, ReduceOp, UnaryOp};
use smallvec::SmallVec;

/// A small generator for the tests (splitmix64).
pub struct Rng(pub u64);
impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Aligned([u64; 8]);
// SAFETY: eight plain numbers, of the size of the alignment.
unsafe impl bytemuck::Zeroable for Aligned {}
// SAFETY: as above.
unsafe impl bytemuck::Pod for Aligned {}

/// Runs a program.
pub fn run(
    f: &Fused,
    isa: Isa,
    inputs: &[HostArray],
    args: &[Scalar],
    sizes: &[usize],
) -> Vec<HostArray> {
    let program = lower(f, isa, By::Whole);
    // Memory aligned to 64 bytes, as that of the device.
    let hold = |bytes: &[u8]| {
        let mut v = vec![Aligned::default(); bytes.len() / 64 + 1];
        bytemuck::cast_slice_mut(&mut v)[..bytes.len()].copy_from_slice(bytes);
        v
    };
    let ins: Vec<Vec<Aligned>> = inputs.iter().map(|a| hold(a.bytes())).collect();
    let mut outs: Vec<Vec<Aligned>> = f
        .stores
        .iter()
        .zip(sizes)
        .map(|(s, n)| hold(HostArray::zeros(s.dtype, &[*n]).bytes()))
        .collect();
    let in_pointers: Vec<*const u8> = ins.iter().map(|v| v.as_ptr().cast()).collect();
    let out_pointers: Vec<*mut u8> = outs.iter_mut().map(|v| v.as_mut_ptr().cast()).collect();
    let buffers =
        Buffers { inputs: &in_pointers, outputs: &out_pointers, result: std::ptr::null(), args };
    Launch::new(&program, buffers).run();
    f.stores
        .iter()
        .zip(sizes)
        .zip(&outs)
        .map(|((s, n), o)| {
            let bytes = bytemuck::cast_slice::<Aligned, u8>(o)[..n * s.dtype.size()].to_vec();
            HostArray::from_bytes(s.dtype, &[*n], bytes).unwrap()
        })
        .collect()
}

/// The outputs according to the reference device, one array per store.
fn expected(f: &Fused, inputs: &[HostArray], args: &[Scalar], sizes: &[usize]) -> Vec<HostArray> {
    let mut out: Vec<HostArray> =
        f.stores.iter().zip(sizes).map(|(s, n)| HostArray::zeros(s.dtype, &[*n])).collect();
    reference::run(&Body::Fused(f.clone()), inputs, &mut out, args).unwrap();
    out
}

/// Random bytes as values of a type, tame enough for arithmetic.
fn random_array(rng: &mut Rng, dtype: DType, n: usize) -> HostArray {
    let mut a = HostArray::zeros(dtype, &[n]);
    for i in 0..n {
        let s = if dtype.is_float() {
            match rng.below(60) {
                0 => Scalar::Float(f64::NAN),
                1 => Scalar::Float(0.0),
                2 => Scalar::Float(-1.0),
                _ => Scalar::Float((rng.below(4001) as f64 - 2000.0) / 700.0),
            }
        } else {
            Scalar::Int(rng.below(300) as i64 - 120)
        };
        a.set(i, s);
    }
    a
}

struct Build<'a> {
    rng: &'a mut Rng,
    /// Also operations whose results depend much on a rounding difference, such as divisions.
    wild: bool,
    f: Fused,
    inputs: Vec<HostArray>,
}

impl Build<'_> {
    fn push(&mut self, instr: Instr, dtype: DType, level: Level) -> V {
        self.f.values.push(Value { instr, dtype, level });
        self.f.values.len() - 1
    }

    /// A random view of new memory: dense in some order of dimensions, broadcast, strided, reversed, or padded.
    fn affine(&mut self, row_only: bool) -> (Affine, Vec<Guard>, usize) {
        let rank = self.f.dims.len();
        let mut order: Vec<usize> = (0..rank).collect();
        if self.rng.chance(35) && rank > 1 {
            let (a, b) = (self.rng.below(rank), self.rng.below(rank));
            order.swap(a, b);
        }
        let mut at = Affine::constant(0, rank);
        let mut guards = Vec::new();
        let mut step = if self.rng.chance(15) { 2 } else { 1 };
        for &d in order.iter().rev() {
            if (row_only && d >= self.f.kept) || self.rng.chance(12) {
                continue;
            }
            let mut size = self.f.dims[d] as isize;
            let mut start = 0;
            let mut sign = 1;
            if self.rng.chance(12) && size > 2 {
                // Padded: positions 1..size-1 exist.
                size -= 2;
                start = -1;
                let mut g = Affine::constant(start, rank);
                g.coef[d] = 1;
                guards.push(Guard { at: g, size });
            } else if self.rng.chance(10) {
                sign = -1;
                start = size - 1;
            }
            at.coef[d] = step * sign;
            at.base += start * step;
            step *= size;
            if self.rng.chance(10) {
                step += 3;
            }
        }
        (at, guards, step as usize + 2)
    }

    fn load(&mut self, dtype: DType) -> V {
        let row_only = self.rng.chance(25);
        let (at, guards, n) = self.affine(row_only);
        self.inputs.push(random_array(self.rng, dtype, n));
        self.f.loads.push(Load { source: Source::Input(self.inputs.len() - 1), dtype, at, guards });
        let level =
            if row_only && self.f.kept < self.f.dims.len() { Level::Row } else { Level::Full };
        self.push(Instr::Load(self.f.loads.len() - 1), dtype, level)
    }

    fn of(&mut self, dtype: DType) -> V {
        let fitting: Vec<V> =
            (0..self.f.values.len()).filter(|v| self.f.values[*v].dtype == dtype).collect();
        if !fitting.is_empty() && self.rng.chance(75) {
            return self.rng.pick(&fitting);
        }
        if self.f.values.is_empty() || self.rng.chance(40) {
            return self.load(dtype);
        }
        let a = self.rng.below(self.f.values.len());
        let level = self.f.values[a].level;
        self.push(Instr::Cast(a), dtype, level)
    }

    fn grow(&mut self, dtypes: &[DType]) {
        use BinaryOp::*;
        let dtype = self.rng.pick(dtypes);
        let rank = self.f.dims.len();
        match self.rng.below(12) {
            0 => {
                self.load(dtype);
            }
            1 | 2 => {
                let a = self.of(dtype);
                let op = if dtype.is_float() && self.wild && self.rng.chance(40) {
                    self.rng.pick(&[UnaryOp::Sqrt, UnaryOp::Recip, UnaryOp::Log])
                } else if dtype.is_float() {
                    self.rng.pick(&[
                        UnaryOp::Neg,
                        UnaryOp::Abs,
                        UnaryOp::Exp,
                        UnaryOp::Tanh,
                        UnaryOp::Floor,
                        UnaryOp::Sin,
                        UnaryOp::Erf,
                        UnaryOp::Round,
                        UnaryOp::Not,
                        UnaryOp::Atan,
                    ])
                } else {
                    self.rng.pick(&[UnaryOp::Neg, UnaryOp::Abs, UnaryOp::Not, UnaryOp::Round])
                };
                let level = self.f.values[a].level;
                self.push(Instr::Unary(op, a), dtype, level);
            }
            3..=5 => {
                let (a, b) = (self.of(dtype), self.of(dtype));
                let op = if dtype.is_float() && self.wild && self.rng.chance(20) {
                    Div
                } else if dtype.is_float() {
                    self.rng.pick(&[Add, Sub, Mul, Max, Min, Lt, Le, Eq])
                } else {
                    self.rng
                        .pick(&[Add, Sub, Mul, Max, Min, Lt, Eq, And, Or, Xor, Div, Rem, Shl, Shr])
                };
                let out = if op.is_comparison() { DType::Bool } else { dtype };
                let level = self.f.values[a].level.max(self.f.values[b].level);
                self.push(Instr::Binary(op, a, b), out, level);
            }
            6 => {
                let (c, a, b) = (self.of(DType::Bool), self.of(dtype), self.of(dtype));
                let level = [c, a, b].iter().map(|v| self.f.values[*v].level).max().unwrap();
                self.push(Instr::Where(c, a, b), dtype, level);
            }
            7 => {
                let a = self.rng.below(self.f.values.len());
                let level = self.f.values[a].level;
                self.push(Instr::Cast(a), dtype, level);
            }
            8 => {
                self.push(Instr::Scalar(0), dtype, Level::Uniform);
            }
            9 => {
                let (at, guards, _) = self.affine(false);
                let pick = self.rng.below(3);
                match pick {
                    0 => self.push(Instr::Index(at), DType::I64, Level::Full),
                    1 => self.push(Instr::Inside(guards), DType::Bool, Level::Full),
                    _ => {
                        let (dist, dtype) = self.rng.pick(&[
                            (Distribution::Uniform, DType::F32),
                            (Distribution::Normal, DType::F32),
                            (Distribution::Bits, DType::I64),
                        ]);
                        self.push(
                            Instr::Random { dist, seed: 1, offset: 2, at },
                            dtype,
                            Level::Full,
                        )
                    }
                };
            }
            _ => {
                if self.f.kept == rank {
                    return;
                }
                let a = self.of(dtype);
                let op = self.rng.pick(ReduceOp::ALL);
                let out = if op.is_arg() { DType::I64 } else { dtype };
                self.push(Instr::Reduce(op, a), out, Level::Row);
            }
        }
    }
}

fn random_program(rng: &mut Rng) -> (Fused, Vec<HostArray>, Vec<usize>) {
    let dtypes: Vec<DType> = if rng.chance(50) {
        vec![DType::F32]
    } else {
        (0..3).map(|_| rng.pick(&DType::ALL)).collect()
    };
    random_program_of(rng, &dtypes, false)
}

/// A program over values of some of the types, with its inputs and the sizes of its outputs.
pub fn random_program_of(
    rng: &mut Rng,
    dtypes: &[DType],
    wild: bool,
) -> (Fused, Vec<HostArray>, Vec<usize>) {
    let sizes = [1usize, 2, 3, 5, 8, 17, 33, 64, 70, 130, 300, 1100];
    let rank = 1 + rng.below(4);
    let mut dims: SmallVec<[usize; 6]>;
    loop {
        dims = (0..rank).map(|_| rng.pick(&sizes)).collect();
        if dims.iter().product::<usize>() <= 12_000 {
            break;
        }
    }
    let kept = rng.below(rank + 1);
    let f = Fused { dims, kept, ..Fused::default() };
    let mut b = Build { rng, wild, f, inputs: Vec::new() };
    for _ in 0..1 + b.rng.below(3) {
        let d = b.rng.pick(dtypes);
        b.load(d);
    }
    for _ in 0..3 + b.rng.below(12) {
        b.grow(dtypes);
    }
    let mut out_sizes = Vec::new();
    for _ in 0..1 + b.rng.below(3) {
        let back = b.rng.below(3.min(b.f.values.len()));
        let value = b.f.values.len() - 1 - back;
        let has_reduced = b.f.kept < b.f.dims.len();
        let level = if b.f.values[value].level < Level::Full && has_reduced && b.rng.chance(80) {
            Level::Row
        } else {
            Level::Full
        };
        let span = if level == Level::Full { b.f.dims.len() } else { b.f.kept };
        // Dense, transposed or with gaps.
        let mut order: Vec<usize> = (0..span).collect();
        if span > 1 && b.rng.chance(25) {
            order.swap(0, span - 1);
        }
        let mut at = Affine::constant(b.rng.below(2) as isize, b.f.dims.len());
        let mut step = if b.rng.chance(20) { 2 } else { 1 };
        for &d in order.iter().rev() {
            at.coef[d] = step;
            step *= b.f.dims[d] as isize;
        }
        out_sizes.push(step as usize + 2);
        let dtype = b.f.values[value].dtype;
        let output = b.f.stores.len();
        b.f.stores.push(Store { output, dtype, value, level, at });
    }
    (b.f, b.inputs, out_sizes)
}

/// How far two arrays may differ: exactly equal for whole numbers; floats by rounding, and not at all where `exact`.
fn assert_close(got: &HostArray, want: &HostArray, what: &str) {
    for i in 0..want.len() {
        let (g, w) = (got.get(i), want.get(i));
        let (x, y) = (g.as_f64(), w.as_f64());
        let tolerance = match want.dtype() {
            DType::F64 => 1e-5,
            DType::F32 => 2e-4,
            DType::F16 => 1e-2,
            DType::BF16 => 6e-2,
            _ => 0.0,
        };
        let close = x == y
            || (x.is_nan() && y.is_nan())
            || (tolerance > 0.0 && (x - y).abs() <= tolerance * (1.0 + y.abs()));
        assert!(close, "{what}: element {i}: got {g:?}, expected {w:?}");
    }
}

/// True when the program is exact whatever the order of evaluation: a rounding difference must not be able to flip a
/// comparison, a floor, a cast to an integer or an arg reduction.
fn is_stable(f: &Fused) -> bool {
    // The reference starts extremes of narrow integers from a wrapped i64.
    let narrow = |v: &Value| {
        matches!(v.instr, Instr::Reduce(ReduceOp::Max | ReduceOp::Min, _))
            && !v.dtype.is_float()
            && v.dtype != DType::I64
    };
    if f.values.iter().any(narrow) {
        return false;
    }
    let mut rough = vec![false; f.values.len()];
    for (v, value) in f.values.iter().enumerate() {
        let (operands, cliff): (SmallVec<[V; 3]>, bool) = match &value.instr {
            Instr::Unary(op, a) => (
                SmallVec::from_slice(&[*a]),
                matches!(op, UnaryOp::Floor | UnaryOp::Round | UnaryOp::Not),
            ),
            Instr::Binary(op, a, b) => {
                (SmallVec::from_slice(&[*a, *b]), op.is_comparison() || *op == BinaryOp::Rem)
            }
            Instr::Where(c, a, b) => (SmallVec::from_slice(&[*c, *a, *b]), false),
            Instr::Cast(a) => (
                SmallVec::from_slice(&[*a]),
                !value.dtype.is_float() || matches!(value.dtype, DType::F16 | DType::BF16),
            ),
            Instr::Reduce(op, a) => (SmallVec::from_slice(&[*a]), op.is_arg()),
            _ => (SmallVec::new(), false),
        };
        let any = operands.iter().any(|a| rough[*a]);
        if any && cliff {
            return false;
        }
        let own = match &value.instr {
            Instr::Unary(
                UnaryOp::Exp | UnaryOp::Tanh | UnaryOp::Sin | UnaryOp::Erf | UnaryOp::Atan,
                _,
            ) => true,
            Instr::Reduce(ReduceOp::Sum | ReduceOp::Prod, a) => f.values[*a].dtype.is_float(),
            // The reference rounds halves after every operation.
            Instr::Unary(..) | Instr::Binary(..) => {
                matches!(value.dtype, DType::F16 | DType::BF16)
            }
            _ => false,
        };
        rough[v] = any || own;
    }
    // Magnitudes that overflow make tolerances meaningless.
    let growth = f
        .values
        .iter()
        .filter(|v| {
            matches!(v.instr, Instr::Unary(UnaryOp::Exp, _) | Instr::Reduce(ReduceOp::Prod, _))
                && v.dtype.is_float()
        })
        .count();
    growth <= 1
}

#[test]
fn random_programs_match_the_definition() {
    let rounds = 1000;
    let mut compared = 0;
    for seed in 0..rounds {
        let mut rng = Rng(seed * 7919 + 1);
        let (f, inputs, sizes) = random_program(&mut rng);
        let args = [
            Scalar::Float(1.25),
            Scalar::Int(0x1234_5678_9abc_def0),
            Scalar::Int(rng.below(1000) as i64),
        ];
        let got = run(&f, isa(), &inputs, &args, &sizes);
        for other in available() {
            let again = run(&f, other, &inputs, &args, &sizes);
            for (a, b) in got.iter().zip(&again) {
                assert!(same_bits(a, b), "seed {seed}: {other} differs from {}\n{f:#?}", isa());
            }
        }
        if !is_stable(&f) {
            continue;
        }
        compared += 1;
        let want = expected(&f, &inputs, &args, &sizes);
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            assert_close(g, w, &format!("seed {seed}, store {i}, {f:#?}"));
        }
    }
    assert!(compared > rounds / 3, "only {compared} programs were compared");
}

/// Equal bytes, any two NaNs being equal.
pub fn same_bits(a: &HostArray, b: &HostArray) -> bool {
    a.bytes() == b.bytes()
        || (0..a.len()).all(|i| {
            let (x, y) = (a.get(i).as_f64(), b.get(i).as_f64());
            x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan())
        })
}

/// A softmax over the last dimension, or over the first when `columns`.
fn softmax(rows: usize, k: usize, columns: bool) -> Fused {
    let at = if columns {
        Affine { coef: SmallVec::from_slice(&[1, rows as isize]), base: 0 }
    } else {
        Affine { coef: SmallVec::from_slice(&[k as isize, 1]), base: 0 }
    };
    let value = |instr, level| Value { instr, dtype: DType::F32, level };
    Fused {
        dims: SmallVec::from_slice(&[rows, k]),
        kept: 1,
        loads: vec![Load {
            source: Source::Input(0),
            dtype: DType::F32,
            at: at.clone(),
            guards: vec![],
        }],
        values: vec![
            value(Instr::Load(0), Level::Full),
            value(Instr::Reduce(ReduceOp::Max, 0), Level::Row),
            value(Instr::Binary(BinaryOp::Sub, 0, 1), Level::Full),
            value(Instr::Unary(UnaryOp::Exp, 2), Level::Full),
            value(Instr::Reduce(ReduceOp::Sum, 3), Level::Row),
            value(Instr::Unary(UnaryOp::Recip, 4), Level::Row),
            value(Instr::Binary(BinaryOp::Mul, 3, 5), Level::Full),
        ],
        stores: vec![Store { output: 0, dtype: DType::F32, value: 6, level: Level::Full, at }],
    }
}

/// A plain reduction of `[rows, k]` (or `[k, rows]` for columns).
fn reduction(rows: usize, k: usize, columns: bool, op: ReduceOp) -> Fused {
    let mut f = softmax(rows, k, columns);
    let dtype = if op.is_arg() { DType::I64 } else { DType::F32 };
    f.values.truncate(1);
    f.values.push(Value { instr: Instr::Reduce(op, 0), dtype, level: Level::Row });
    let at = Affine { coef: SmallVec::from_slice(&[1, 0]), base: 0 };
    f.stores = vec![Store { output: 0, dtype, value: 1, level: Level::Row, at }];
    f
}

fn wave(n: usize) -> HostArray {
    let x: Vec<f32> = (0..n).map(|i| ((i * 2_654_435_761) % 10_007) as f32 / 997.0 - 5.0).collect();
    HostArray::new(&x, &[n])
}

#[test]
fn thread_count_and_instruction_set_change_no_bit() {
    let shapes = [(1, 300_000), (3, 70_001), (4096, 33), (37, 5000), (1000, 8), (2, 20_000)];
    for (rows, k) in shapes {
        for columns in [false, true] {
            let x = wave(rows * k);
            let mut programs = vec![reduction(rows, k, columns, ReduceOp::Sum)];
            programs.push(reduction(rows, k, columns, ReduceOp::ArgMax));
            programs.push(reduction(rows, k, columns, ReduceOp::Min));
            if k <= Fused::ROW_LIMIT {
                programs.push(softmax(rows, k, columns));
            }
            for f in programs {
                let sizes = [if f.stores[0].level == Level::Full { rows * k } else { rows }];
                let before = pool::threads();
                let inputs = [x.clone()];
                pool::set_threads(1);
                let want = run(&f, isa(), &inputs, &[], &sizes);
                for threads in [2, 3] {
                    pool::set_threads(threads);
                    let got = run(&f, isa(), &inputs, &[], &sizes);
                    assert!(same_bits(&got[0], &want[0]), "{rows}x{k} {columns} {threads} threads");
                }
                pool::set_threads(before);
                for other in available() {
                    let got = run(&f, other, &inputs, &[], &sizes);
                    assert!(same_bits(&got[0], &want[0]), "{rows}x{k} {columns} {other}");
                }
            }
        }
    }
}

#[test]
fn long_sums_are_right() {
    for (rows, k) in [(1, 1_000_000), (5, 40_000), (700, 1000), (3, 17)] {
        let x = wave(rows * k);
        let v: Vec<f32> = x.to_vec();
        for columns in [false, true] {
            let got = run(
                &reduction(rows, k, columns, ReduceOp::Sum),
                isa(),
                std::slice::from_ref(&x),
                &[],
                &[rows],
            );
            let best = run(
                &reduction(rows, k, columns, ReduceOp::ArgMax),
                isa(),
                std::slice::from_ref(&x),
                &[],
                &[rows],
            );
            for r in 0..rows {
                let at = |i: usize| v[if columns { i * rows + r } else { r * k + i }];
                let want: f64 = (0..k).map(|i| at(i) as f64).sum();
                let size: f64 = (0..k).map(|i| at(i).abs() as f64).sum();
                let error = (got[0].get(r).as_f64() - want).abs() / size;
                assert!(error < 2e-7, "{rows}x{k} columns {columns}: {error:e}");
                let mut top = 0;
                for i in 1..k {
                    if at(i) > at(top) {
                        top = i;
                    }
                }
                assert_eq!(best[0].get(r).as_i64(), top as i64);
            }
        }
    }
}

/// A reduction inside a row kernel has the bits of the reduction alone.
#[test]
fn a_fused_sum_is_the_plain_sum() {
    for (rows, k) in [(7, 10), (40, 100), (9, 1000), (5, 3000), (3, 8192)] {
        let x = wave(rows * k);
        let plain = run(
            &reduction(rows, k, false, ReduceOp::Sum),
            isa(),
            std::slice::from_ref(&x),
            &[],
            &[rows],
        );
        // The sum again, beside a full value that depends on it.
        let mut f = reduction(rows, k, false, ReduceOp::Sum);
        f.values.push(Value {
            instr: Instr::Binary(BinaryOp::Sub, 0, 1),
            dtype: DType::F32,
            level: Level::Full,
        });
        f.stores.push(Store {
            output: 1,
            dtype: DType::F32,
            value: 2,
            level: Level::Full,
            at: f.loads[0].at.clone(),
        });
        let fused = run(&f, isa(), &[x], &[], &[rows, rows * k]);
        assert!(same_bits(&plain[0], &fused[0]), "{rows}x{k}");
    }
}

#[test]
fn empty_reductions_give_the_neutral_value() {
    for (op, want) in
        [(ReduceOp::Sum, 0.0), (ReduceOp::Prod, 1.0), (ReduceOp::Max, f64::NEG_INFINITY)]
    {
        let f = reduction(3, 0, false, op);
        let got = run(&f, isa(), &[wave(0)], &[], &[3]);
        for i in 0..3 {
            assert_eq!(got[0].get(i).as_f64(), want);
        }
    }
}

/// `x = x + 1; y = x_before * 2` with the first output in the memory of the input.
#[test]
fn an_output_may_be_its_input() {
    let n = 5000;
    let value = |instr| Value { instr, dtype: DType::F32, level: Level::Full };
    let at = Affine { coef: SmallVec::from_slice(&[1]), base: 0 };
    let store = |output, value| Store {
        output,
        dtype: DType::F32,
        value,
        level: Level::Full,
        at: at.clone(),
    };
    let f = Fused {
        dims: SmallVec::from_slice(&[n]),
        kept: 1,
        loads: vec![Load {
            source: Source::Input(0),
            dtype: DType::F32,
            at: at.clone(),
            guards: vec![],
        }],
        values: vec![
            value(Instr::Load(0)),
            value(Instr::Scalar(0)),
            value(Instr::Binary(BinaryOp::Add, 0, 1)),
            value(Instr::Binary(BinaryOp::Add, 0, 0)),
        ],
        stores: vec![store(0, 2), store(1, 3), store(2, 0)],
    };
    let mut x: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let (mut y, mut z) = (vec![0f32; n], vec![0f32; n]);
    let p = x.as_mut_ptr().cast::<u8>();
    let program = lower(&f, isa(), By::Whole);
    let buffers = Buffers {
        inputs: &[p.cast_const()],
        outputs: &[p, y.as_mut_ptr().cast(), z.as_mut_ptr().cast()],
        result: std::ptr::null(),
        args: &[Scalar::Float(1.0)],
    };
    Launch::new(&program, buffers).run();
    for i in 0..n {
        assert_eq!((x[i], y[i], z[i]), (i as f32 + 1.0, 2.0 * i as f32, i as f32));
    }
}

#[test]
fn transposes_of_every_element_size() {
    for dtype in [DType::U8, DType::F16, DType::F32, DType::F64, DType::Bool] {
        for (a, b, c) in [(1usize, 40usize, 33usize), (3, 70, 129), (2, 8, 100), (1, 100, 8)] {
            // out[i, j, k] = x[i, k, j] + y[i, j, k], and the other way round.
            for swapped in [false, true] {
                let plain = Affine {
                    coef: SmallVec::from_slice(&[(b * c) as isize, c as isize, 1]),
                    base: 0,
                };
                let turned = Affine {
                    coef: SmallVec::from_slice(&[(b * c) as isize, 1, b as isize]),
                    base: 0,
                };
                let value = |instr| Value { instr, dtype, level: Level::Full };
                let load = |i, at: &Affine| Load {
                    source: Source::Input(i),
                    dtype,
                    at: at.clone(),
                    guards: vec![],
                };
                let (x, out) = if swapped { (&plain, &turned) } else { (&turned, &plain) };
                let f = Fused {
                    dims: SmallVec::from_slice(&[a, b, c]),
                    kept: 3,
                    loads: vec![load(0, x), load(1, &plain)],
                    values: vec![
                        value(Instr::Load(0)),
                        value(Instr::Load(1)),
                        value(Instr::Binary(BinaryOp::Max, 0, 1)),
                    ],
                    stores: vec![Store {
                        output: 0,
                        dtype,
                        value: 2,
                        level: Level::Full,
                        at: out.clone(),
                    }],
                };
                let mut rng = Rng(5);
                let n = a * b * c;
                let inputs = [random_array(&mut rng, dtype, n), random_array(&mut rng, dtype, n)];
                let got = run(&f, isa(), &inputs, &[], &[n]);
                assert!(
                    same_bits(&got[0], &expected(&f, &inputs, &[], &[n])[0]),
                    "{dtype} {a} {b} {c}"
                );
            }
        }
    }
}

/// Rows and columns broadcast over short rows, with and without padding, over several blocks.
#[test]
fn short_broadcasts() {
    for (rows, cols) in [(500, 10), (3000, 3), (97, 100), (40, 700)] {
        for dtype in [DType::F32, DType::I8] {
            let at = |r: usize, c: usize| Affine {
                coef: SmallVec::from_slice(&[r as isize, c as isize]),
                base: 0,
            };
            let value = |instr| Value { instr, dtype, level: Level::Full };
            let guard = Guard { at: Affine { base: -1, ..at(0, 1) }, size: cols as isize - 2 };
            let load = |i, at, guards| Load { source: Source::Input(i), dtype, at, guards };
            let f = Fused {
                dims: SmallVec::from_slice(&[rows, cols]),
                kept: 2,
                loads: vec![
                    load(0, at(cols, 1), vec![]),
                    load(1, at(0, 1), vec![]),
                    load(2, at(1, 0), vec![]),
                    load(1, at(0, 1), vec![guard]),
                ],
                values: vec![
                    value(Instr::Load(0)),
                    value(Instr::Load(1)),
                    value(Instr::Load(2)),
                    value(Instr::Load(3)),
                    value(Instr::Binary(BinaryOp::Add, 0, 1)),
                    value(Instr::Binary(BinaryOp::Max, 4, 2)),
                    value(Instr::Binary(BinaryOp::Sub, 5, 3)),
                ],
                stores: vec![Store {
                    output: 0,
                    dtype,
                    value: 6,
                    level: Level::Full,
                    at: at(cols, 1),
                }],
            };
            let mut rng = Rng(9);
            let sizes = [rows * cols, cols, rows];
            let inputs = sizes.map(|n| random_array(&mut rng, dtype, n));
            let got = run(&f, isa(), &inputs, &[], &[rows * cols]);
            let want = expected(&f, &inputs, &[], &[rows * cols]);
            assert!(same_bits(&got[0], &want[0]), "{dtype} {rows} {cols}");
        }
    }
}

/// Reductions over one element, or none, are constants or their operand: what follows must not count on a whole row.
#[test]
fn trivial_reductions_in_a_chain() {
    for k in [0, 1] {
        let mut f = reduction(70, k, false, ReduceOp::ArgMax);
        let value = |instr, level| Value { instr, dtype: DType::F32, level };
        f.values.push(value(Instr::Cast(1), Level::Row));
        f.values.push(value(Instr::Scalar(0), Level::Uniform));
        f.values.push(value(Instr::Reduce(ReduceOp::Sum, 3), Level::Row));
        f.values.push(value(Instr::Unary(UnaryOp::Neg, 4), Level::Row));
        f.values.push(value(Instr::Binary(BinaryOp::Sub, 2, 5), Level::Row));
        f.stores[0].value = 6;
        f.stores[0].dtype = DType::F32;
        let got = run(&f, isa(), &[wave(70 * k)], &[Scalar::Float(2.0)], &[70]);
        for i in 0..70 {
            assert_eq!(got[0].get(i).as_f64(), 2.0 * k as f64);
        }
    }
}
