//! Generated code against the interpreter, bit for bit.
use super::{Use, with_use};
use crate::dev::cpu::isa::{Isa, isa, with_isa};
use crate::dev::cpu::vm::tests::{Rng, random_program_of, run, same_bits};
use crate::dtype::{DType, Scalar};
use crate::host::HostArray;
use crate::kernel::*;
use crate::op::{BinaryOp, ReduceOp, UnaryOp};
use smallvec::SmallVec;

/// The instruction sets that this machine has code for.
fn each_isa(test: impl Fn()) {
    for isa in [Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.is_available()) {
        with_isa(isa, &test);
    }
}

/// Runs a program by the interpreter alone and with generated code, on as many outputs as it has stores.
fn both(f: &Fused, inputs: &[HostArray], args: &[Scalar], sizes: &[usize], what: &str) {
    let plain = with_use(Use::Off, || run(f, isa(), inputs, args, sizes));
    let coded = with_use(Use::Always, || run(f, isa(), inputs, args, sizes));
    let streamed = with_use(Use::Streaming, || run(f, isa(), inputs, args, sizes));
    for (i, ((a, b), c)) in plain.iter().zip(&coded).zip(&streamed).enumerate() {
        assert!(b.bytes() == c.bytes(), "{what}: store {i} differs where it is streamed\n{f:#?}");
        if same_bits(a, b) {
            continue;
        }
        let at = (0..a.len())
            .find(|i| {
                let (x, y) = (a.get(*i).as_f64(), b.get(*i).as_f64());
                x.to_bits() != y.to_bits() && !(x.is_nan() && y.is_nan())
            })
            .unwrap();
        panic!(
            "{what}, {}: store {i}, element {at}: the interpreter gives {:?}, code {:?}\n{f:#?}",
            isa(),
            a.get(at),
            b.get(at)
        );
    }
}

#[test]
fn random_programs_have_the_same_bits() {
    for seed in 0..1500 {
        let mut rng = Rng(seed * 104_729 + 3);
        let dtypes: &[DType] = match seed % 4 {
            0 | 1 => &[DType::F32],
            2 => &[DType::F32, DType::BF16, DType::Bool],
            _ => &[DType::F32, DType::I32, DType::I64],
        };
        let (f, inputs, sizes) = random_program_of(&mut rng, dtypes, true);
        let args = [
            Scalar::Float(1.25),
            Scalar::Int(0x1234_5678_9abc_def0),
            Scalar::Int(rng.below(1000) as i64),
        ];
        each_isa(|| both(&f, &inputs, &args, &sizes, &format!("seed {seed}")));
    }
}

fn line() -> Affine {
    Affine { coef: SmallVec::from_slice(&[1]), base: 0 }
}

/// One elementwise operation over an array.
fn elementwise(n: usize, instr: Instr, loads: usize) -> Fused {
    let value = |instr, dtype| Value { instr, dtype, level: Level::Full };
    let dtype = match instr {
        Instr::Binary(op, ..) if op.is_comparison() => DType::Bool,
        _ => DType::F32,
    };
    let mut values: Vec<Value> = (0..loads).map(|i| value(Instr::Load(i), DType::F32)).collect();
    values.push(value(instr, dtype));
    Fused {
        dims: SmallVec::from_slice(&[n]),
        kept: 1,
        loads: (0..loads)
            .map(|i| Load {
                source: Source::Input(i),
                dtype: DType::F32,
                at: line(),
                guards: vec![],
            })
            .collect(),
        values,
        stores: vec![Store { output: 0, dtype, value: loads, level: Level::Full, at: line() }],
    }
}

/// Every exponent, both signs, subnormal numbers, infinities and NaN.
fn all_kinds(step: usize) -> HostArray {
    let x: Vec<f32> = (0..=u32::MAX).step_by(step).map(f32::from_bits).collect();
    HostArray::new(&x, &[x.len()])
}

#[test]
fn functions_have_the_same_bits_everywhere() {
    use UnaryOp::*;
    let x = all_kinds(10_007);
    for op in [Neg, Abs, Sqrt, Recip, Floor, Round, Not, Exp, Log, Tanh, Erf] {
        let f = elementwise(x.len(), Instr::Unary(op, 0), 1);
        each_isa(|| both(&f, std::slice::from_ref(&x), &[], &[x.len()], op.name()));
    }
    let x = all_kinds(1_000_003);
    let n = x.len();
    let y: Vec<f32> = {
        let v: Vec<f32> = x.to_vec();
        (0..n).map(|i| if i % 5 == 0 { v[i] } else { v[(i * 7919 + 13) % n] }).collect()
    };
    let y = HostArray::new(&y, &[n]);
    use BinaryOp as B;
    for op in [B::Add, B::Sub, B::Mul, B::Div, B::Max, B::Min, B::Lt, B::Le, B::Eq] {
        let f = elementwise(n, Instr::Binary(op, 0, 1), 2);
        each_isa(|| both(&f, &[x.clone(), y.clone()], &[], &[n], op.name()));
    }
}

/// Normalised rows: `(x - mean) * w + b` beside the row's sum of squares, along the last dimension or down the first.
fn norm(rows: usize, k: usize, columns: bool) -> (Fused, [usize; 2]) {
    let of = |r: isize, c: isize| Affine { coef: SmallVec::from_slice(&[r, c]), base: 0 };
    let at = if columns { of(1, rows as isize) } else { of(k as isize, 1) };
    let value = |instr, level| Value { instr, dtype: DType::F32, level };
    let load = |i, at| Load { source: Source::Input(i), dtype: DType::F32, at, guards: vec![] };
    let values = vec![
        value(Instr::Load(0), Level::Full),
        value(Instr::Load(1), Level::Full),
        value(Instr::Load(2), Level::Row),
        value(Instr::Scalar(0), Level::Uniform),
        value(Instr::Reduce(ReduceOp::Sum, 0), Level::Row),
        value(Instr::Binary(BinaryOp::Mul, 4, 3), Level::Row),
        value(Instr::Binary(BinaryOp::Sub, 0, 5), Level::Full),
        value(Instr::Binary(BinaryOp::Mul, 6, 6), Level::Full),
        value(Instr::Reduce(ReduceOp::Sum, 7), Level::Row),
        value(Instr::Reduce(ReduceOp::Max, 6), Level::Row),
        value(Instr::Binary(BinaryOp::Mul, 6, 1), Level::Full),
        value(Instr::Binary(BinaryOp::Add, 10, 2), Level::Full),
        value(Instr::Binary(BinaryOp::Div, 11, 8), Level::Full),
        value(Instr::Binary(BinaryOp::Min, 12, 9), Level::Full),
    ];
    let store = |output, value, level, at| Store { output, dtype: DType::F32, value, level, at };
    let f = Fused {
        dims: SmallVec::from_slice(&[rows, k]),
        kept: 1,
        loads: vec![load(0, at.clone()), load(1, of(0, 1)), load(2, of(1, 0))],
        values,
        stores: vec![store(0, 13, Level::Full, at), store(1, 8, Level::Row, of(1, 0))],
    };
    (f, [rows * k, rows])
}

#[test]
fn rows_and_columns_of_all_lengths_have_the_same_bits() {
    let mut rng = Rng(11);
    let mut array = |n: usize| {
        let x: Vec<f32> = (0..n).map(|_| (rng.below(2001) as f32 - 1000.0) / 313.0).collect();
        HostArray::new(&x, &[n])
    };
    for k in [2, 7, 16, 17, 31, 32, 47, 48, 63, 64, 65, 79, 80, 127, 128, 130, 600, 1024] {
        for rows in [1, 2, 15, 16, 17, 70] {
            for columns in [false, true] {
                let (f, sizes) = norm(rows, k, columns);
                let inputs = [array(rows * k), array(k), array(rows)];
                let args = [Scalar::Float(1.0 / k as f64)];
                let what = format!("{rows}x{k}, columns {columns}");
                each_isa(|| both(&f, &inputs, &args, &sizes, &what));
            }
        }
    }
}

/// Sums, maxima and sums of squares down columns, with an operand of each row and one that all rows share.
fn column_folds(rows: usize, k: usize, folds: usize) -> Fused {
    let of = |r: isize, c: isize| Affine { coef: SmallVec::from_slice(&[r, c]), base: 0 };
    let value = |instr, level| Value { instr, dtype: DType::F32, level };
    let load = |i, at| Load { source: Source::Input(i), dtype: DType::F32, at, guards: vec![] };
    let mut values = vec![
        value(Instr::Load(0), Level::Full),
        value(Instr::Load(1), Level::Row),
        value(Instr::Load(2), Level::Full),
        value(Instr::Binary(BinaryOp::Mul, 0, 1), Level::Full),
        value(Instr::Binary(BinaryOp::Add, 3, 2), Level::Full),
        value(Instr::Binary(BinaryOp::Mul, 4, 4), Level::Full),
    ];
    let kinds = [(ReduceOp::Sum, 4), (ReduceOp::Max, 4), (ReduceOp::Sum, 5)];
    values.extend(kinds[..folds].iter().map(|(op, v)| value(Instr::Reduce(*op, *v), Level::Row)));
    let store =
        |i| Store { output: i, dtype: DType::F32, value: 6 + i, level: Level::Row, at: of(1, 0) };
    Fused {
        dims: SmallVec::from_slice(&[rows, k]),
        kept: 1,
        loads: vec![load(0, of(1, rows as isize)), load(1, of(1, 0)), load(2, of(0, 1))],
        values,
        stores: (0..folds).map(store).collect(),
    }
}

#[test]
fn folds_down_columns_have_the_same_bits() {
    let mut rng = Rng(13);
    let mut array = |n: usize| {
        let x: Vec<f32> = (0..n).map(|_| (rng.below(2001) as f32 - 1000.0) / 313.0).collect();
        HostArray::new(&x, &[n])
    };
    for k in [17, 64, 65, 300, 600] {
        for rows in [1, 7, 8, 15, 33, 63, 64, 65, 100, 200] {
            let inputs = [array(rows * k), array(rows), array(k)];
            for folds in 1..=3 {
                let f = column_folds(rows, k, folds);
                let what = format!("{rows}x{k}, {folds} folds");
                each_isa(|| both(&f, &inputs, &[], &vec![rows; folds], &what));
            }
        }
    }
}

/// Elementwise work with factors for each channel (the last dimension) and for each item, and more of them than there are registers
/// for addresses.
#[test]
fn factors_of_channels_have_the_same_bits() {
    let of = |r: isize, c: isize| Affine { coef: SmallVec::from_slice(&[r, c]), base: 0 };
    let value = |instr| Value { instr, dtype: DType::F32, level: Level::Full };
    let mut rng = Rng(17);
    let mut array = |n: usize| {
        let x: Vec<f32> = (0..n).map(|_| (rng.below(2001) as f32 - 1000.0) / 313.0).collect();
        HostArray::new(&x, &[n])
    };
    for k in [31, 32, 48, 100, 513, 4096, 4097] {
        for rows in [7, 8, 70] {
            let channels = 9;
            let at = |i| match i {
                0 => of(k as isize, 1),
                1 => of(1, 0),
                _ => of(0, 1),
            };
            let loads = (0..2 + channels)
                .map(|i| Load {
                    source: Source::Input(i),
                    dtype: DType::F32,
                    at: at(i),
                    guards: vec![],
                })
                .collect();
            let mut values: Vec<Value> = (0..2 + channels).map(|i| value(Instr::Load(i))).collect();
            let mut last = 0;
            for i in 1..2 + channels {
                let op = [BinaryOp::Mul, BinaryOp::Sub, BinaryOp::Add][i % 3];
                values.push(value(Instr::Binary(op, last, i)));
                last = values.len() - 1;
            }
            let store = |output, value| Store {
                output,
                dtype: DType::F32,
                value,
                level: Level::Full,
                at: of(k as isize, 1),
            };
            let f = Fused {
                dims: SmallVec::from_slice(&[rows, k]),
                kept: 2,
                loads,
                values,
                // The result, and a factor of the channels as it is.
                stores: vec![store(0, last), store(1, 4)],
            };
            let mut inputs = vec![array(rows * k), array(rows)];
            inputs.extend((0..channels).map(|_| array(k)));
            let sizes = [rows * k, rows * k];
            each_isa(|| both(&f, &inputs, &[], &sizes, &format!("{rows}x{k}")));
        }
    }
}

/// Far more products and conditions alive at once than there are registers, over positions, or over rows with four folds.
fn crowded(rows: usize, k: usize, columns: bool, loads: usize, folds: bool) -> Fused {
    let of = |r: isize, c: isize| Affine { coef: SmallVec::from_slice(&[r, c]), base: 0 };
    let at = if columns { of(1, rows as isize) } else { of(k as isize, 1) };
    let mut values: Vec<Value> = Vec::new();
    let mut push = |instr, dtype, level| {
        values.push(Value { instr, dtype, level });
        values.len() - 1
    };
    let mut full = |instr| push(instr, DType::F32, Level::Full);
    let x: Vec<V> = (0..loads).map(|i| full(Instr::Load(i))).collect();
    let next = |i: usize| x[(i + 1) % loads];
    let products: Vec<V> =
        (0..loads).map(|i| full(Instr::Binary(BinaryOp::Mul, x[i], next(i)))).collect();
    let conditions: Vec<V> = (0..loads)
        .map(|i| push(Instr::Binary(BinaryOp::Lt, x[i], next(i)), DType::Bool, Level::Full))
        .collect();
    let mut last = x[0];
    for i in (0..loads).rev() {
        let mut full = |instr| push(instr, DType::F32, Level::Full);
        let chosen = full(Instr::Where(conditions[i], products[i], x[i]));
        let chosen = if i % 3 == 0 { full(Instr::Unary(UnaryOp::Erf, chosen)) } else { chosen };
        last = full(Instr::Binary(BinaryOp::Add, last, chosen));
    }
    if folds {
        for (i, op) in
            [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min, ReduceOp::Sum].into_iter().enumerate()
        {
            let row = push(Instr::Reduce(op, products[i]), DType::F32, Level::Row);
            last = push(Instr::Binary(BinaryOp::Mul, last, row), DType::F32, Level::Full);
        }
    }
    let load =
        |i| Load { source: Source::Input(i), dtype: DType::F32, at: at.clone(), guards: vec![] };
    let level = Level::Full;
    Fused {
        dims: SmallVec::from_slice(&[rows, k]),
        kept: if folds { 1 } else { 2 },
        loads: (0..loads).map(load).collect(),
        stores: vec![Store { output: 0, dtype: DType::F32, value: last, level, at }],
        values,
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn what_does_not_fit_into_registers_is_coded_too() {
    let mut rng = Rng(23);
    for (rows, k) in [(1, 9), (3, 33), (9, 64), (17, 100), (70, 61)] {
        for (folds, columns) in [(false, false), (true, false), (true, true)] {
            for loads in [6, 13, 40] {
                let f = crowded(rows, k, columns, loads, folds);
                let inputs: Vec<HostArray> = (0..loads)
                    .map(|_| {
                        let next = |_| (rng.below(2001) as f32 - 1000.0) / 613.0;
                        let x: Vec<f32> = (0..rows * k).map(next).collect();
                        HostArray::new(&x, &[rows * k])
                    })
                    .collect();
                let what = format!("{rows}x{k}, {loads} loads, columns {columns}");
                each_isa(|| {
                    both(&f, &inputs, &[], &[rows * k], &what);
                    // Short rows are not folded by code.
                    if !folds || k > 16 {
                        assert!(is_all_coded(&f), "{what}, {}", isa());
                    }
                });
            }
        }
    }
}

/// Whether every step that code may take over became code.
#[cfg(target_arch = "x86_64")]
fn is_all_coded(f: &Fused) -> bool {
    let program = crate::dev::cpu::vm::lower::lower(f, isa(), crate::dev::cpu::By::Whole);
    with_use(Use::Always, || {
        program.code.get(&program).is_some_and(|code| {
            let phases = program.phases.iter().enumerate();
            phases.filter(|(_, p)| p.passes.is_some()).all(|(i, _)| code.entry(i, false).is_some())
        })
    })
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_assembler_writes_known_bytes() {
    use super::encode::*;
    // As a common assembler and disassembler agree.
    let at = |base, index, disp| Mem::At { base, index, disp };
    type Emit<'a> = &'a dyn Fn(&mut Assembler);
    let cases: &[(Emit, &[u8])] = &[
        (
            // vaddps zmm1, zmm2, zmm3
            &|a| a.op(Op::ADD, Z(1), Z(2), Src::Reg(Z(3))),
            &[0x62, 0xf1, 0x6c, 0x48, 0x58, 0xcb],
        ),
        (
            // vmulps zmm17, zmm30, [rbx + r10]
            &|a| a.op(Op::MUL, Z(17), Z(30), Src::Vector(at(RBX, Some(R10), 0))),
            &[0x62, 0xa1, 0x0c, 0x40, 0x59, 0x0c, 0x13],
        ),
        (
            // vsubps zmm9{k1}, zmm9, [rdx + r9 + 0x44]{1to16}
            &|a| a.op_where(Op::SUB, Mask::K(1), Z(9), Z(9), Src::Each(at(RDX, Some(R9), 0x44))),
            &[0x62, 0x31, 0x34, 0x59, 0x5c, 0x8c, 0x0a, 0x44, 0, 0, 0],
        ),
        (
            // vmovups zmm31{k1}{z}, [r13 + r10 + 0x40]
            &|a| a.load(Mask::K(1), Z(31), Src::Vector(at(R13, Some(R10), 0x40))),
            &[0x62, 0x01, 0x7c, 0xc9, 0x10, 0xbc, 0x15, 0x40, 0, 0, 0],
        ),
        (
            // vfmadd213ps zmm8, zmm24, zmm16
            &|a| a.op(Op::FMA213, Z(8), Z(24), Src::Reg(Z(16))),
            &[0x62, 0x32, 0x3d, 0x40, 0xa8, 0xc0],
        ),
        (
            // vcmpps k3, zmm18, zmm4, 17
            &|a| a.compare(Op::COMPARE, Mask::K(3), ALL, Z(18), Src::Reg(Z(4)), LT),
            &[0x62, 0xf1, 0x6c, 0x40, 0xc2, 0xdc, 0x11],
        ),
        (
            // vshuff32x4 zmm2, zmm21, zmm21, 14
            &|a| a.bring_down(Z(2), Z(21), 8),
            &[0x62, 0xb3, 0x55, 0x40, 0x23, 0xd5, 0x0e],
        ),
        (
            // vpsrad zmm19, zmm11, 23
            &|a| a.shift(4, Z(19), Z(11), 23),
            &[0x62, 0xd1, 0x65, 0x40, 0x72, 0xe3, 0x17],
        ),
        (
            // mov eax, -1; bzhi eax, eax, r11d; kmovw k1, eax
            &|a| a.first_lanes(Mask::K(1), R11),
            &[0xb8, 0xff, 0xff, 0xff, 0xff, 0xc4, 0xe2, 0x20, 0xf5, 0xc0, 0xc5, 0xf8, 0x92, 0xc8],
        ),
        (&|a| a.cmp(R10, R11), &[0x4d, 0x39, 0xda]),
        (&|a| a.shl(RCX, 2), &[0x48, 0xc1, 0xe1, 0x02]),
    ];
    let narrow: &[(Emit, &[u8])] = &[
        (
            // vmulps ymm9, ymm14, [rbx + r10]
            &|a| a.op(Op::MUL, Z(9), Z(14), Src::Vector(at(RBX, Some(R10), 0))),
            &[0xc4, 0x21, 0x0c, 0x59, 0x0c, 0x13],
        ),
        (
            // vfmadd213ps ymm8, ymm4, ymm11
            &|a| a.op(Op::FMA213, Z(8), Z(4), Src::Reg(Z(11))),
            &[0xc4, 0x42, 0x5d, 0xa8, 0xc3],
        ),
        (
            // vbroadcastss ymm15, [rdx + r9 + 0x44]; vaddps ymm3, ymm12, ymm15
            &|a| a.op(Op::ADD, Z(3), Z(12), Src::Each(at(RDX, Some(R9), 0x44))),
            &[0xc4, 0x22, 0x7d, 0x18, 0xbc, 0x0a, 0x44, 0, 0, 0, 0xc4, 0xc1, 0x1c, 0x58, 0xdf],
        ),
        (
            // vaddps ymm15, ymm2, ymm13; vblendvps ymm9, ymm9, ymm15, ymm10
            &|a| a.op_where(Op::ADD, Mask::Lanes(Z(10)), Z(9), Z(2), Src::Reg(Z(13))),
            &[0xc4, 0x41, 0x6c, 0x58, 0xfd, 0xc4, 0x43, 0x35, 0x4a, 0xcf, 0xa0],
        ),
        (
            // vmaskmovps ymm6, ymm11, [rsi + r10 + 0x80]
            &|a| a.load(Mask::Lanes(Z(11)), Z(6), Src::Vector(at(RSI, Some(R10), 0x80))),
            &[0xc4, 0xa2, 0x25, 0x2c, 0xb4, 0x16, 0x80, 0, 0, 0],
        ),
        (
            // vmaskmovps [rsi + r10 + 0x80], ymm11, ymm6
            &|a| a.store(Mask::Lanes(Z(11)), at(RSI, Some(R10), 0x80), Z(6)),
            &[0xc4, 0xa2, 0x25, 0x2e, 0xb4, 0x16, 0x80, 0, 0, 0],
        ),
        (
            // vpsrad ymm9, ymm11, 23
            &|a| a.shift(4, Z(9), Z(11), 23),
            &[0xc4, 0xc1, 0x35, 0x72, 0xe3, 0x17],
        ),
        (
            // vmovd xmm5, r11d; vpbroadcastd ymm5, xmm5; vpcmpgtd ymm5, ymm5, [rip + ...]
            &|a| a.first_lanes(Mask::Lanes(Z(5)), R11),
            &[0xc4, 0xc1, 0x79, 0x6e, 0xeb, 0xc4, 0xe2, 0x7d, 0x58, 0xed, 0xc4, 0xe1, 0x55, 0x66],
        ),
        (
            // vperm2f128 ymm4, ymm9, ymm9, 1
            &|a| a.bring_down(Z(4), Z(9), 4),
            &[0xc4, 0xc3, 0x35, 0x06, 0xe1, 0x01],
        ),
    ];
    for (width, cases) in [(Width::Zmm, cases), (Width::Ymm, narrow)] {
        for (emit, want) in cases {
            let mut a = Assembler::new(width);
            emit(&mut a);
            assert_eq!(&a.finish()[..want.len()], *want);
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_softmax_becomes_one_function() {
    each_isa(|| {
        let (f, _) = norm(64, 256, false);
        assert!(is_all_coded(&f));
        let program = crate::dev::cpu::vm::lower::lower(&f, isa(), crate::dev::cpu::By::Whole);
        // Loads, then everything else.
        assert_eq!(program.phases.len(), 2);
        assert!(with_use(Use::Off, || program.code.get(&program).is_none()));
    });
}
