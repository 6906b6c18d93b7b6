//! Every function on every lane against its definition, at every length of a rest, on every instruction set.
use super::{convert, ops};
use crate::dev::cpu::isa::available;
use crate::dtype::{DType, Lane, Scalar};
use crate::op::{BinaryOp, UnaryOp};
use crate::scalar;

/// One dtype for each lane.
const LANES: [DType; 4] = [DType::F32, DType::F64, DType::I32, DType::I64];

/// Special and everyday values of a lane, `n` of them.
fn values(dtype: DType, n: usize, seed: usize) -> Vec<Scalar> {
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        2.0,
        1.5,
        2.5,
        -2.5,
        1e-30,
        -1e-30,
        1e-40,
        1e30,
        -1e30,
        88.0,
        -88.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        3.0,
        1e6,
        4e6,
        -3e9,
        0.999,
        7.0,
    ];
    let whole = [0, 1, -1, 2, 5, -7, 31, 32, 63, 64, 100, i32::MAX as i64, i32::MIN as i64];
    (0..n)
        .map(|i| {
            let h = (i * 31 + seed).wrapping_mul(2_654_435_761) % 100_003;
            if dtype.is_float() {
                let x = match h % 3 {
                    0 => special[h / 3 % special.len()],
                    _ => (h as f64 - 50_000.0) / 9_000.0,
                };
                Scalar::Float(x).cast(dtype)
            } else {
                let x = if h.is_multiple_of(2) {
                    whole[h / 2 % whole.len()]
                } else {
                    h as i64 % 41 - 20
                };
                let wide = if dtype == DType::I64 && h.is_multiple_of(7) {
                    x.wrapping_mul(1 << 33)
                } else {
                    x
                };
                Scalar::Int(wide).cast(dtype)
            }
        })
        .collect()
}

fn pack(dtype: DType, values: &[Scalar]) -> Vec<u64> {
    let size = convert::lane_size(dtype.lane());
    let mut out = vec![0u64; values.len() + 1];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut out);
    for (v, c) in values.iter().zip(bytes.chunks_exact_mut(size)) {
        match dtype.lane() {
            Lane::F32 => c.copy_from_slice(&(v.as_f64() as f32).to_le_bytes()),
            Lane::F64 => c.copy_from_slice(&v.as_f64().to_le_bytes()),
            Lane::I32 => c.copy_from_slice(&(v.as_i64() as i32).to_le_bytes()),
            Lane::I64 => c.copy_from_slice(&v.as_i64().to_le_bytes()),
        }
    }
    out
}

fn unpack(dtype: DType, data: &[u64], n: usize) -> Vec<Scalar> {
    let size = convert::lane_size(dtype.lane());
    let bytes: &[u8] = bytemuck::cast_slice(data);
    bytes
        .chunks_exact(size)
        .take(n)
        .map(|c| match dtype.lane() {
            Lane::F32 => Scalar::Float(f32::from_le_bytes(c.try_into().unwrap()) as f64),
            Lane::F64 => Scalar::Float(f64::from_le_bytes(c.try_into().unwrap())),
            Lane::I32 => Scalar::Int(i32::from_le_bytes(c.try_into().unwrap()) as i64),
            Lane::I64 => Scalar::Int(i64::from_le_bytes(c.try_into().unwrap())),
        })
        .collect()
}

/// Equal, or for floats within `tolerance` of the larger.
fn agree(got: Scalar, want: Scalar, tolerance: f64) -> bool {
    let (g, w) = (got.as_f64(), want.as_f64());
    match (got, want) {
        (Scalar::Int(a), Scalar::Int(b)) => a == b,
        _ if g.is_nan() || w.is_nan() => g.is_nan() && w.is_nan(),
        _ if g == 0.0 && w == 0.0 => g.is_sign_negative() == w.is_sign_negative(),
        _ => g == w || (g - w).abs() <= tolerance * w.abs().max(f32::MIN_POSITIVE as f64),
    }
}

const LENGTHS: [usize; 12] = [1, 2, 3, 7, 15, 16, 17, 63, 64, 65, 130, 1000];

#[test]
fn functions_of_one_element() {
    for isa in available() {
        for dtype in LANES {
            for op in UnaryOp::ALL {
                for n in LENGTHS {
                    let x = values(dtype, n, n + *op as usize);
                    let packed = pack(dtype, &x);
                    // In place, as registers are reused.
                    let mut got = packed.clone();
                    let p = got.as_mut_ptr().cast::<u8>();
                    // SAFETY: n elements, destination equal to source.
                    unsafe {
                        match ops::unary(isa, *op, dtype.lane()) {
                            Some(f) => f(p, p, n),
                            None => ops::slow_unary(*op, dtype, p, p, n),
                        }
                    }
                    for (i, g) in unpack(dtype, &got, n).into_iter().enumerate() {
                        let want = if dtype.is_float() {
                            Scalar::Float(scalar::unary_f64(*op, x[i].as_f64())).cast(dtype)
                        } else {
                            Scalar::Int(scalar::unary_i64(*op, x[i].as_i64())).cast(dtype)
                        };
                        // Two units in the last place of f32 where there is a vector version, else none.
                        let tolerance = if dtype == DType::F32 { 2.4e-7 } else { 0.0 };
                        assert!(
                            agree(g, want, tolerance),
                            "{isa} {} {dtype} {:?} of {n}: got {g:?}, expected {want:?}",
                            op.name(),
                            x[i]
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn functions_of_two_elements() {
    for isa in available() {
        for dtype in LANES {
            for op in BinaryOp::ALL {
                if dtype.is_float()
                    && matches!(
                        op,
                        BinaryOp::And
                            | BinaryOp::Or
                            | BinaryOp::Xor
                            | BinaryOp::Shl
                            | BinaryOp::Shr
                    )
                {
                    continue;
                }
                for n in LENGTHS {
                    let (x, y) = (values(dtype, n, n), values(dtype, n, 7 * n + *op as usize));
                    let (px, py) = (pack(dtype, &x), pack(dtype, &y));
                    for form in 0..3 {
                        let mut out = vec![0u64; n + 1];
                        let (a, b) = (px.as_ptr().cast::<u8>(), py.as_ptr().cast::<u8>());
                        let dst = out.as_mut_ptr().cast::<u8>();
                        let (sa, sb) = [(1, 1), (1, 0), (0, 1)][form];
                        // SAFETY: n elements, or one where the step is 0.
                        unsafe {
                            match ops::binary(isa, *op, dtype.lane()) {
                                Some(f) => [f.vv, f.vs, f.sv][form](dst, a, b, n),
                                None => ops::slow_binary(*op, dtype, dst, (a, sa), (b, sb), n),
                            }
                        }
                        let result = if op.is_comparison() { DType::I32 } else { dtype };
                        for (i, g) in unpack(result, &out, n).into_iter().enumerate() {
                            let (x, y) = (x[i * sa], y[i * sb]);
                            let want = if dtype.is_float() {
                                let z = scalar::binary_f64(*op, x.as_f64(), y.as_f64());
                                if *op == BinaryOp::NextAfter && dtype == DType::F32 {
                                    Scalar::Float(libm::nextafterf(
                                        x.as_f64() as f32,
                                        y.as_f64() as f32,
                                    ) as f64)
                                } else {
                                    Scalar::Float(z).cast(result)
                                }
                            } else {
                                Scalar::Int(scalar::binary_i64(*op, x.as_i64(), y.as_i64()))
                                    .cast(result)
                            };
                            assert!(
                                agree(g, want, 0.0),
                                "{isa} {} {dtype} ({x:?}, {y:?}) form {form}: got {g:?}, expected {want:?}",
                                op.name()
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn casts_between_all_types() {
    for isa in available() {
        for from in DType::ALL {
            for to in DType::ALL {
                let n = 200;
                let x: Vec<Scalar> =
                    values(if from.is_float() { DType::F64 } else { DType::I64 }, n, from as usize)
                        .into_iter()
                        .map(|v| v.cast(from))
                        .collect();
                let mut data = pack(from, &x);
                data.resize(n + 1, 0);
                let cast = convert::cast(isa, from, to);
                let mut out = vec![0u64; n + 1];
                let (src, dst) = (data.as_ptr().cast::<u8>(), out.as_mut_ptr().cast::<u8>());
                // SAFETY: n elements in lanes of up to eight bytes.
                unsafe {
                    match cast.first {
                        Some(f) => f(dst, src, n),
                        None => std::ptr::copy_nonoverlapping(
                            src,
                            dst,
                            n * convert::lane_size(from.lane()),
                        ),
                    }
                    if let Some(f) = cast.then {
                        f(dst, dst, n);
                    }
                }
                for (i, g) in unpack(to, &out, n).into_iter().enumerate() {
                    let want = match x[i].cast(to) {
                        Scalar::Bool(b) => Scalar::Int(b as i64),
                        other => other,
                    };
                    assert!(
                        agree(g, want, 0.0),
                        "{isa} {from} to {to}: {:?} gave {g:?}, expected {want:?}",
                        x[i]
                    );
                }
            }
        }
    }
}

#[test]
fn storage_round_trips() {
    for isa in available() {
        for dtype in DType::ALL {
            let (Some(load), Some(store)) = (convert::load(isa, dtype), convert::store(isa, dtype))
            else {
                continue;
            };
            for n in LENGTHS {
                let stored: Vec<u8> = (0..n * dtype.size())
                    .map(|i| (i * 37 % 251) as u8 & if dtype == DType::Bool { 1 } else { 255 })
                    .collect();
                let mut lanes = vec![0u64; n + 1];
                let mut back = vec![0u8; stored.len()];
                // SAFETY: n elements on each side.
                unsafe {
                    load(lanes.as_mut_ptr().cast(), stored.as_ptr(), n);
                    store(back.as_mut_ptr(), lanes.as_ptr().cast(), n);
                }
                let same =
                    stored.chunks(dtype.size()).zip(back.chunks(dtype.size())).all(|(a, b)| {
                        let nan = dtype.is_float() && {
                            let h = u16::from_le_bytes([a[0], a[1]]);
                            if dtype == DType::F16 {
                                half::f16::from_bits(h).is_nan()
                            } else {
                                half::bf16::from_bits(h).is_nan()
                            }
                        };
                        a == b || nan
                    });
                assert!(same, "{isa} {dtype} {n}");
            }
        }
    }
}

#[test]
fn usual_powers() {
    let n = 1000;
    let x = values(DType::F32, n, 3);
    let packed = pack(DType::F32, &x);
    for exponent in [1.0f32, 2.0, 3.0, -1.0, -2.0, 0.5, -0.5, 2.5, 0.0] {
        let e = pack(DType::F32, &[Scalar::Float(exponent as f64)]);
        let mut out = vec![0u64; n];
        // SAFETY: n elements and one exponent.
        unsafe {
            let (a, b) = (packed.as_ptr().cast(), e.as_ptr().cast());
            let dst = out.as_mut_ptr().cast();
            ops::slow_binary(BinaryOp::Pow, DType::F32, dst, (a, 1), (b, 0), n);
        }
        for (i, g) in unpack(DType::F32, &out, n).into_iter().enumerate() {
            let z = scalar::binary_f64(BinaryOp::Pow, x[i].as_f64(), exponent as f64);
            let want = Scalar::Float(z).cast(DType::F32);
            assert!(agree(g, want, 6e-8), "{:?}^{exponent}: got {g:?}, expected {want:?}", x[i]);
        }
    }
}
