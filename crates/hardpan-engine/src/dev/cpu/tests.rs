//! Kernels other than fused programs against the reference device.
use super::memory::Memory;
use super::{Compiled, isa, pool};
use crate::dev::{DeviceError, reference};
use crate::dtype::{DType, Scalar};
use crate::host::HostArray;
use crate::kernel::*;
use crate::op::{
    BinaryOp, ConvMode, ConvParams, ScanOp, ScatterOp, UnaryOp, WindowOp, WindowParams,
};
use smallvec::SmallVec;

fn aligned(bytes: &[u8]) -> Vec<u64> {
    let mut v = vec![0u64; bytes.len() / 8 + 1];
    bytemuck::cast_slice_mut(&mut v)[..bytes.len()].copy_from_slice(bytes);
    v
}

/// Runs a kernel on the CPU.
fn cpu(
    body: &Body,
    inputs: &[HostArray],
    outputs: &[(DType, usize)],
    args: &[Scalar],
) -> Result<Vec<HostArray>, DeviceError> {
    let kernel = Kernel {
        body: body.clone(),
        inputs: inputs.iter().map(|a| (a.dtype(), a.len())).collect(),
        outputs: outputs.to_vec(),
    };
    let ins: Vec<Vec<u64>> = inputs.iter().map(|a| aligned(a.bytes())).collect();
    let mut outs: Vec<Vec<u64>> =
        outputs.iter().map(|(d, n)| vec![0x7777_7777_7777_7777; n * d.size() / 8 + 1]).collect();
    let in_pointers: Vec<*const u8> = ins.iter().map(|v| v.as_ptr().cast()).collect();
    let out_pointers: Vec<*mut u8> = outs.iter_mut().map(|v| v.as_mut_ptr().cast()).collect();
    Compiled::new(&kernel, isa::isa()).run(
        &Memory::default(),
        &in_pointers,
        &[],
        &out_pointers,
        args,
    )?;
    Ok(outputs
        .iter()
        .zip(&outs)
        .map(|((d, n), o)| {
            let bytes = bytemuck::cast_slice::<u64, u8>(o)[..n * d.size()].to_vec();
            HostArray::from_bytes(*d, &[*n], bytes).unwrap()
        })
        .collect())
}

fn compare(
    what: &str,
    body: Body,
    inputs: &[HostArray],
    outputs: &[(DType, usize)],
    args: &[Scalar],
    tolerance: f64,
) {
    let mut want: Vec<HostArray> =
        outputs.iter().map(|(d, n)| HostArray::zeros(*d, &[*n])).collect();
    reference::run(&body, inputs, &mut want, args).unwrap();
    let got = cpu(&body, inputs, outputs, args).unwrap();
    for (o, (g, w)) in got.iter().zip(&want).enumerate() {
        for i in 0..w.len() {
            let (x, y) = (g.get(i).as_f64(), w.get(i).as_f64());
            let close = x == y
                || (x.is_nan() && y.is_nan())
                || (x - y).abs() <= tolerance * (1.0 + y.abs());
            assert!(close, "{what}: output {o}, element {i}: got {x}, expected {y}");
        }
    }
}

/// Values in -4..4 with a NaN here and there, or small whole numbers.
fn array(dtype: DType, n: usize, seed: usize) -> HostArray {
    let mut a = HostArray::zeros(dtype, &[n]);
    for i in 0..n {
        let h = (i + seed).wrapping_mul(2_654_435_761) % 8191;
        let s = if dtype.is_float() {
            Scalar::Float(h as f64 / 1024.0 - 4.0)
        } else {
            Scalar::Int(h as i64 % 23 - 9)
        };
        a.set(i, s);
    }
    a
}

fn indices(n: usize, rows: usize, seed: usize) -> HostArray {
    let v: Vec<i64> =
        (0..n).map(|i| ((i + seed).wrapping_mul(2_246_822_519) % 65_521 % rows) as i64).collect();
    HostArray::new(&v, &[n])
}

fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 3e-3,
        DType::BF16 => 2e-2,
        DType::F32 => 2e-5,
        DType::F64 => 1e-12,
        _ => 0.0,
    }
}

#[test]
fn take_and_scatter() {
    for dtype in DType::ALL {
        for (rows, inner, count) in
            [(7, 1, 50), (40, 300, 90), (1, 5, 3), (9, 0, 2), (5000, 3, 40_000)]
        {
            if dtype != DType::F32 && rows == 5000 {
                continue;
            }
            let x = array(dtype, rows * inner, 1);
            let index = indices(count, rows, 5);
            let body = Body::Take { rows, inner, count, dtype };
            let out = [(dtype, count * inner)];
            compare("take", body, &[x.clone(), index.clone()], &out, &[], 0.0);
            let src = array(dtype, count * inner, 77);
            for op in ScatterOp::ALL {
                // Halves are rounded after each step on both sides; f32 sums are in source order on both.
                let body = Body::Scatter { op: *op, rows, inner, count, dtype };
                let inputs = [x.clone(), index.clone(), src.clone()];
                compare(op.name(), body, &inputs, &[(dtype, rows * inner)], &[], 0.0);
            }
        }
    }
}

#[test]
fn a_bad_index_is_reported() {
    for bad in [-1i64, 4] {
        let index = HostArray::new(&[0i64, 3, bad, 1], &[4]);
        let body = Body::Take { rows: 4, inner: 2, count: 4, dtype: DType::F32 };
        let error = cpu(&body, &[array(DType::F32, 8, 0), index], &[(DType::F32, 8)], &[]);
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains(&format!("index {bad} at position 2")) && text.contains("4 rows"),
            "{text}"
        );
    }
}

#[test]
fn scans() {
    for dtype in DType::ALL {
        for op in ScanOp::ALL {
            if *op == ScanOp::LogSumExp && !dtype.is_float() {
                continue;
            }
            for (outer, len, inner) in [(3, 17, 1), (2, 5, 9), (1, 3000, 1)] {
                if *op == ScanOp::Prod && len > 100 && dtype.is_float() {
                    continue;
                }
                let n = outer * len * inner;
                let mut x = array(dtype, n, 3);
                if dtype.is_float() && n < 100 {
                    x.set(n / 2, Scalar::Float(f64::NAN));
                    x.set(1, Scalar::Float(f64::INFINITY));
                }
                let body = Body::Scan { op: *op, outer, len, inner, dtype };
                compare(op.name(), body, &[x], &[(dtype, n)], &[], 40.0 * tolerance(dtype));
            }
        }
    }
}

#[test]
fn sorting_is_stable_with_nan_largest() {
    for dtype in DType::ALL {
        for descending in [false, true] {
            for (outer, len, inner) in [(3, 50, 1), (2, 9, 7), (1, 4000, 1)] {
                let n = outer * len * inner;
                let mut x = array(dtype, n, 3);
                if dtype.is_float() {
                    x.set(n / 2, Scalar::Float(f64::NAN));
                    x.set(0, Scalar::Float(-0.0));
                    x.set(1, Scalar::Float(0.0));
                }
                let body = Body::ArgSort { descending, outer, len, inner, dtype };
                compare("argsort", body, &[x], &[(DType::I64, n)], &[], 0.0);
            }
        }
    }
}

/// `relu(result + bias) `, with the plain result as a second output when `both`.
fn epilogue(dims: &[usize], dtype: DType, bias_dim: usize, both: bool) -> Fused {
    let rank = dims.len();
    let strides = crate::shape::strides_of(dims);
    let at = Affine { coef: SmallVec::from_slice(&strides), base: 0 };
    let mut bias = Affine::constant(0, rank);
    bias.coef[bias_dim] = 1;
    let value = |instr| Value { instr, dtype, level: Level::Full };
    let load = |source, at: &Affine| Load { source, dtype, at: at.clone(), guards: vec![] };
    let mut stores = vec![Store { output: 0, dtype, value: 4, level: Level::Full, at: at.clone() }];
    if both {
        stores.push(Store { output: 1, dtype, value: 0, level: Level::Full, at: at.clone() });
    }
    Fused {
        dims: SmallVec::from_slice(dims),
        kept: rank,
        loads: vec![load(Source::Result, &at), load(Source::Input(2), &bias)],
        values: vec![
            value(Instr::Load(0)),
            value(Instr::Load(1)),
            value(Instr::Binary(BinaryOp::Add, 0, 1)),
            value(Instr::Scalar(0)),
            value(Instr::Binary(BinaryOp::Max, 2, 3)),
        ],
        stores,
    }
}

#[test]
fn products_with_and_without_epilogue() {
    for dtype in
        [DType::F32, DType::F16, DType::BF16, DType::F64, DType::I32, DType::I64, DType::U8]
    {
        for (batch, m, n, k) in
            [(1, 33, 40, 17), (3, 5, 70, 64), (1, 1, 9, 1), (2, 4, 3, 0), (1, 130, 513, 20)]
        {
            for form in 0..4 {
                let mut a = Operand {
                    input: 0,
                    dtype,
                    base: 0,
                    batch: SmallVec::from_slice(&[(m * k) as isize]),
                    row: k as isize,
                    col: 1,
                };
                let mut b = Operand {
                    input: 1,
                    row: n as isize,
                    batch: SmallVec::from_slice(&[(k * n) as isize]),
                    ..a.clone()
                };
                match form {
                    // A repeated for the whole batch, B transposed.
                    1 => {
                        a.batch[0] = 0;
                        (b.row, b.col) = (1, k as isize);
                    }
                    // A with its rows reversed.
                    2 if m * k > 0 => {
                        a.base = (m - 1) * k;
                        a.row = -a.row;
                    }
                    _ => {}
                }
                let kernel =
                    DotKernel { batch: SmallVec::from_slice(&[batch]), m, n, k, a, b, dtype };
                let inputs = [
                    array(dtype, batch * m * k, 1),
                    array(dtype, batch * k * n, 9),
                    array(dtype, n, 3),
                ];
                let count = batch * m * n;
                let tolerance = tolerance(dtype) * 20.0;
                if form == 3 {
                    for both in [false, true] {
                        let f = epilogue(&[batch, m, n], dtype, 2, both);
                        let body = Body::Dot(kernel.clone(), Some(f));
                        let outs = &[(dtype, count), (dtype, count)][..1 + both as usize];
                        let args = [Scalar::Float(1.0)];
                        compare("dot+epilogue", body, &inputs, outs, &args, tolerance);
                    }
                } else {
                    let body = Body::Dot(kernel, None);
                    compare("dot", body, &inputs[..2], &[(dtype, count)], &[], tolerance);
                }
            }
        }
    }
}

#[test]
fn convolutions_with_and_without_epilogue() {
    for dtype in [DType::F32, DType::F16, DType::F64] {
        for mode in ConvMode::ALL {
            let kernel = ConvKernel {
                mode: *mode,
                params: ConvParams {
                    stride: SmallVec::from_slice(&[2, 1]),
                    padding: SmallVec::from_slice(&[1, 2]),
                    dilation: SmallVec::from_slice(&[1, 2]),
                    groups: 2,
                },
                x: SmallVec::from_slice(&[3, 4, 9, 8]),
                w: SmallVec::from_slice(&[6, 2, 3, 3]),
                y: SmallVec::from_slice(&[3, 6, 5, 8]),
                inputs: [0, 1],
                dtype,
            };
            let n = |s: &[usize]| s.iter().product::<usize>();
            let (first, second, out) = match mode {
                ConvMode::Forward => (&kernel.x, &kernel.w, &kernel.y),
                ConvMode::InputGrad => (&kernel.y, &kernel.w, &kernel.x),
                ConvMode::WeightGrad => (&kernel.x, &kernel.y, &kernel.w),
            };
            let out = out.clone();
            let inputs =
                [array(dtype, n(first), 1), array(dtype, n(second), 2), array(dtype, out[1], 3)];
            let tolerance = tolerance(dtype) * 50.0;
            let body = Body::Conv(kernel.clone(), None);
            compare(mode.name(), body, &inputs[..2], &[(dtype, n(&out))], &[], tolerance);
            let f = epilogue(&out, dtype, 1, true);
            let body = Body::Conv(kernel, Some(f));
            let outs = [(dtype, n(&out)), (dtype, n(&out))];
            compare(mode.name(), body, &inputs, &outs, &[Scalar::Float(0.5)], tolerance);
        }
    }
}

/// A residual that gives its memory to the output: the product may not be written over it before it is read.
#[test]
fn an_epilogue_operand_may_be_the_output() {
    let (m, n, k) = (64, 96, 32);
    let dtype = DType::F32;
    let at = Affine { coef: SmallVec::from_slice(&[n as isize, 1]), base: 0 };
    let value = |instr| Value { instr, dtype, level: Level::Full };
    let load = |source| Load { source, dtype, at: at.clone(), guards: vec![] };
    let f = Fused {
        dims: SmallVec::from_slice(&[m, n]),
        kept: 2,
        loads: vec![load(Source::Result), load(Source::Input(2))],
        values: vec![
            value(Instr::Load(0)),
            value(Instr::Load(1)),
            value(Instr::Unary(UnaryOp::Neg, 0)),
            value(Instr::Binary(BinaryOp::Add, 2, 1)),
        ],
        stores: vec![Store { output: 0, dtype, value: 3, level: Level::Full, at: at.clone() }],
    };
    let a = Operand { input: 0, dtype, base: 0, batch: SmallVec::new(), row: k as isize, col: 1 };
    let b = Operand { input: 1, row: n as isize, ..a.clone() };
    let body = Body::Dot(DotKernel { batch: SmallVec::new(), m, n, k, a, b, dtype }, Some(f));
    let inputs = [array(dtype, m * k, 1), array(dtype, k * n, 2), array(dtype, m * n, 3)];
    let want = cpu(&body, &inputs, &[(dtype, m * n)], &[]).unwrap().remove(0);
    let kernel = Kernel {
        body,
        inputs: inputs.iter().map(|x| (dtype, x.len())).collect(),
        outputs: vec![(dtype, m * n)],
    };
    let held: Vec<Vec<u64>> = inputs[..2].iter().map(|x| aligned(x.bytes())).collect();
    let mut shared = aligned(inputs[2].bytes());
    let p = shared.as_mut_ptr().cast::<u8>();
    Compiled::new(&kernel, isa::isa())
        .run(
            &Memory::default(),
            &[held[0].as_ptr().cast(), held[1].as_ptr().cast(), p.cast_const()],
            &[],
            &[p],
            &[],
        )
        .unwrap();
    assert_eq!(&bytemuck::cast_slice::<u64, u8>(&shared)[..m * n * 4], want.bytes());
}

#[test]
fn scatter_has_the_same_bits_on_any_number_of_threads() {
    let (rows, inner, count) = (300, 200, 2000);
    let dtype = DType::F32;
    let inputs =
        [array(dtype, rows * inner, 1), indices(count, rows, 2), array(dtype, count * inner, 3)];
    let body = Body::Scatter { op: ScatterOp::Add, rows, inner, count, dtype };
    let before = pool::threads();
    let runs: Vec<HostArray> = [1, 2, 3]
        .iter()
        .map(|t| {
            pool::set_threads(*t);
            cpu(&body, &inputs, &[(dtype, rows * inner)], &[]).unwrap().remove(0)
        })
        .collect();
    pool::set_threads(before);
    assert_eq!(runs[0], runs[1]);
    assert_eq!(runs[0], runs[2]);
}

#[test]
fn windows_of_images() {
    let geometries: [[[usize; 2]; 4]; 5] = [
        // size, kernel, stride, padding
        [[9, 8], [3, 3], [2, 2], [1, 1]],
        [[1, 40], [1, 3], [1, 2], [0, 1]],
        [[7, 35], [2, 4], [1, 3], [1, 2]],
        [[5, 5], [2, 2], [2, 2], [0, 0]],
        [[6, 9], [3, 2], [4, 3], [0, 1]],
    ];
    for dtype in [DType::F32, DType::BF16, DType::F16, DType::F64] {
        for [size, kernel, stride, padding] in geometries {
            let out = [0, 1].map(|d| (size[d] + 2 * padding[d] - kernel[d]) / stride[d] + 1);
            let params = WindowParams { size, out, kernel, stride, padding };
            let planes = 5;
            let (image, windows) = (size[0] * size[1], out[0] * out[1]);
            let mut x = array(dtype, planes * image, 1);
            // Equal ones, nothing but the lowest, and what is no number.
            for i in 0..image {
                x.set(i, Scalar::Float((i % 3) as f64));
                x.set(image + i, Scalar::Float(f64::NEG_INFINITY));
            }
            (0..3).for_each(|i| x.set(2 * image + 2 * i, Scalar::Float(f64::NAN)));
            let body = |op| Body::Window(WindowKernel { op, planes, params, dtype });
            let n = planes * windows;
            let place = cpu(&body(WindowOp::Place), &[x.clone()], &[(DType::U8, n)], &[]);
            let place = place.unwrap().remove(0);
            let inputs = [x.clone(), place.clone()];
            compare("window_take", body(WindowOp::Take), &inputs, &[(dtype, n)], &[], 0.0);
            for (op, to) in [(WindowOp::Max, dtype), (WindowOp::Place, DType::U8)] {
                compare(op.name(), body(op), &[x.clone()], &[(to, n)], &[], 0.0);
            }
            let inputs = [array(dtype, n, 2), place];
            let outputs = [(dtype, planes * image)];
            // Halves are added in f32 and rounded once.
            let tolerance = tolerance(dtype) * 4.0;
            compare("window_back", body(WindowOp::Back), &inputs, &outputs, &[], tolerance);
        }
    }
}
