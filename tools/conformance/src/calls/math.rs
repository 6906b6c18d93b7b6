//! Elementwise functions, arithmetic, comparison, casts, creation.

use super::{Output, many, one};
use crate::arg::{Arg, Args};
use hardpan_engine::tensor::norms::{clip_grad_norm, clip_grad_value};
use hardpan_engine::{DType, Operand, Scalar, Tensor, result_type};
use std::panic::Location;

/// `None`: not of this family.
pub fn call(name: &str, a: &Args) -> Option<Vec<Output>> {
    unary(name, a)
        .or_else(|| binary(name, a))
        .or_else(|| several(name, a))
        .or_else(|| casts(name, a))
        .or_else(|| creation(name, a))
}

fn unary(name: &str, a: &Args) -> Option<Vec<Output>> {
    let f: fn(&Tensor) -> Tensor = match name {
        "abs" => Tensor::abs,
        "acos" => Tensor::acos,
        "acosh" => Tensor::acosh,
        "asin" => Tensor::asin,
        "asinh" => Tensor::asinh,
        "atan" => Tensor::atan,
        "atanh" => Tensor::atanh,
        "bitwise_not" => Tensor::bitwise_not,
        "ceil" => Tensor::ceil,
        "cos" => Tensor::cos,
        "cosh" => Tensor::cosh,
        "deg2rad" => Tensor::deg2rad,
        "digamma" => Tensor::digamma,
        "erf" => Tensor::erf,
        "erfc" => Tensor::erfc,
        "erfinv" => Tensor::erfinv,
        "exp" => Tensor::exp,
        "exp2" => Tensor::exp2,
        "expm1" => Tensor::expm1,
        "floor" => Tensor::floor,
        "frac" => Tensor::frac,
        "i0" => Tensor::i0,
        "isfinite" => Tensor::isfinite,
        "isinf" => Tensor::isinf,
        "isnan" => Tensor::isnan,
        "isneginf" => Tensor::isneginf,
        "isposinf" => Tensor::isposinf,
        "lgamma" => Tensor::lgamma,
        "log" => Tensor::log,
        "log10" => Tensor::log10,
        "log1p" => Tensor::log1p,
        "log2" => Tensor::log2,
        "logical_not" => Tensor::logical_not,
        "neg" => Tensor::neg,
        "positive" | "clone" | "contiguous" => Tensor::clone,
        "rad2deg" => Tensor::rad2deg,
        "reciprocal" => Tensor::reciprocal,
        "rsqrt" => Tensor::rsqrt,
        "sgn" | "sign" => Tensor::sign,
        "sigmoid" => Tensor::sigmoid,
        "signbit" => Tensor::signbit,
        "sin" => Tensor::sin,
        "sinc" => Tensor::sinc,
        "sinh" => Tensor::sinh,
        "special.entr" => Tensor::entr,
        "special.erfcx" => Tensor::erfcx,
        "special.i0e" => Tensor::i0e,
        "special.i1" => Tensor::i1,
        "special.i1e" => Tensor::i1e,
        "special.log_ndtr" => Tensor::log_ndtr,
        "special.ndtr" => Tensor::ndtr,
        "special.ndtri" => Tensor::ndtri,
        "sqrt" => Tensor::sqrt,
        "square" => Tensor::square,
        "tan" => Tensor::tan,
        "tanh" => Tensor::tanh,
        "trunc" => Tensor::trunc,
        _ => return None,
    };
    one(f(&a.tensor(0, "input")))
}

/// Two operands, of which the first may be a number too.
fn operands<'a>(name: &str, a: &'a Args) -> (Tensor, &'a Arg) {
    let to_float = ["xlogy", "special.xlog1py", "float_power"].contains(&name);
    let other = a.arg(1, "other");
    let first = match (a.arg(0, "input"), other) {
        (Arg::Tensor(t), _) => t.clone(),
        // Not in the dtype of the tensor, which may be too small for it, where the result is a float.
        (Arg::Int(_), Arg::Tensor(t)) if to_float && t.dtype().is_int() => a.tensor(0, "input"),
        (number, Arg::Tensor(t)) => number.tensor_like(t, Location::caller()),
        _ => a.tensor(0, "input"),
    };
    (first, other)
}

fn binary(name: &str, a: &Args) -> Option<Vec<Output>> {
    let f: fn(&Tensor, &Arg) -> Tensor = match name {
        "atan2" => |x, y| x.atan2(y),
        "bitwise_and" => |x, y| x.bitwise_and(y),
        "bitwise_or" => |x, y| x.bitwise_or(y),
        "bitwise_xor" => |x, y| x.bitwise_xor(y),
        "bitwise_left_shift" => |x, y| x.bitwise_left_shift(y),
        "bitwise_right_shift" => |x, y| x.bitwise_right_shift(y),
        "copysign" => |x, y| x.copysign(y),
        "eq" => |x, y| x.eq(y),
        "float_power" => |x, y| x.float_power(y),
        "floor_divide" => |x, y| x.floor_divide(y),
        "fmax" => |x, y| x.fmax(y),
        "fmin" => |x, y| x.fmin(y),
        "fmod" => |x, y| x.fmod(y),
        "gcd" => |x, y| x.gcd(y),
        "ge" => |x, y| x.ge(y),
        "gt" => |x, y| x.gt(y),
        "heaviside" => |x, y| x.heaviside(y),
        "hypot" => |x, y| x.hypot(y),
        "lcm" => |x, y| x.lcm(y),
        "le" => |x, y| x.le(y),
        "logaddexp" => |x, y| x.logaddexp(y),
        "logaddexp2" => |x, y| x.logaddexp2(y),
        "logical_and" => |x, y| x.logical_and(y),
        "logical_or" => |x, y| x.logical_or(y),
        "logical_xor" => |x, y| x.logical_xor(y),
        "lt" => |x, y| x.lt(y),
        "maximum" => |x, y| x.maximum(y),
        "minimum" => |x, y| x.minimum(y),
        "mul" => |x, y| x * y,
        "ne" => |x, y| x.ne(y),
        "nextafter" => |x, y| x.nextafter(y),
        "pow" => |x, y| x.pow(y),
        "remainder" => |x, y| x.remainder(y),
        "special.xlog1py" => |x, y| x.xlog1py(y),
        "xlogy" => |x, y| x.xlogy(y),
        _ => return None,
    };
    let (x, y) = operands(name, a);
    one(f(&x, y))
}

fn several(name: &str, a: &Args) -> Option<Vec<Output>> {
    let alpha = || a.scalar(usize::MAX, "alpha").unwrap_or(Scalar::Int(1));
    match name {
        "add" => {
            let (x, y) = operands(name, a);
            one(x.add_scaled(y, alpha()))
        }
        "sub" => {
            let (x, y) = operands(name, a);
            one(x.sub_scaled(y, alpha()))
        }
        "rsub" => {
            let (x, y) = operands(name, a);
            one(x.rsub(y, alpha()))
        }
        "div" | "true_divide" => {
            let (x, y) = operands(name, a);
            one(match a.opt_str(usize::MAX, "rounding_mode") {
                None => x.div(y),
                Some("floor") => x.floor_divide(y),
                Some("trunc") => x.trunc_divide(y),
                Some(other) => panic!("div: unknown rounding_mode {other}"),
            })
        }
        "clamp" => {
            let x = a.tensor(0, "input");
            let (min, max) = (a.opt(1, "min"), a.opt(2, "max"));
            // The bounds take part in the promotion together.
            let mut dtype = x.dtype();
            for b in [min, max].into_iter().flatten() {
                let b = b.tensor_like(&x, Location::caller());
                dtype = dtype.promote(result_type(&x, &b));
            }
            let mut x = x.to_dtype(dtype);
            if let Some(m) = min {
                x = x.clamp_min(m);
            }
            if let Some(m) = max {
                x = x.clamp_max(m);
            }
            one(x)
        }
        "clamp_min" => one(a.tensor(0, "input").clamp_min(a.arg(1, "min"))),
        "clamp_max" => one(a.tensor(0, "input").clamp_max(a.arg(1, "max"))),
        "round" => {
            let d = a.int(usize::MAX, "decimals", 0);
            one(a.tensor(0, "input").round_decimals(d as i32))
        }
        "logit" => one(a.tensor(0, "input").logit(a.opt_float(1, "eps"))),
        "nan_to_num" => one(a.tensor(0, "input").nan_to_num(
            a.float(1, "nan", 0.0),
            a.opt_float(2, "posinf"),
            a.opt_float(3, "neginf"),
        )),
        "lerp" => one(a.tensor(0, "input").lerp(&a.tensor(1, "end"), a.arg(2, "weight"))),
        "addcmul" | "addcdiv" => {
            let (x, p, q) = (a.tensor(0, "input"), a.tensor(1, "tensor1"), a.tensor(2, "tensor2"));
            let value = a.scalar(usize::MAX, "value").unwrap_or(Scalar::Int(1));
            one(if name == "addcmul" { x.addcmul(&p, &q, value) } else { x.addcdiv(&p, &q, value) })
        }
        "isclose" | "allclose" => {
            let (x, y) = operands(name, a);
            let rtol = a.float(2, "rtol", 1e-5);
            let atol = a.float(3, "atol", 1e-8);
            let nan = a.bool(4, "equal_nan", false);
            if name == "isclose" {
                one(x.isclose(y, rtol, atol, nan))
            } else {
                one(x.allclose(&a.tensor(1, "other"), rtol, atol, nan))
            }
        }
        "equal" => one(a.tensor(0, "input").equal(&a.tensor(1, "other"))),
        "where" if a.len() == 3 => {
            one(Tensor::choose(&a.tensor(0, "condition"), a.arg(1, "input"), a.arg(2, "other")))
        }
        "fill" => one(a.tensor(0, "input").fill(a.arg(1, "value"))),
        "item" => {
            let x = a.tensor(0, "input");
            Some(vec![match x.dtype() {
                DType::Bool => Output::Bool(x.item::<bool>()),
                d if d.is_float() => Output::Float(x.item::<f64>()),
                _ => Output::Int(x.item::<i64>()),
            }])
        }
        "frexp" => {
            let (m, e) = a.tensor(0, "input").frexp();
            many([m, e])
        }
        "ldexp" => one(a.tensor(0, "input").ldexp(&a.tensor(1, "other"))),
        "polygamma" => {
            one(a.tensor(1, "input").polygamma(a.int(0, "n", 0).try_into().expect("n >= 0")))
        }
        "mvlgamma" | "special.multigammaln" => {
            one(a.tensor(0, "input").multigammaln(a.int(1, "p", 1) as usize))
        }
        "result_type" => {
            let pick = |i: usize, name: &str| match a.arg(i, name) {
                Arg::Tensor(t) => Ok(t.clone()),
                number => Err(number.scalar().expect("a number").dtype()),
            };
            one(match (pick(0, "tensor1"), pick(1, "tensor2")) {
                (Ok(x), Ok(y)) => result_type(&x, &y),
                (Ok(x), Err(d)) | (Err(d), Ok(x)) => x.dtype().promote_scalar(d),
                (Err(p), Err(q)) => p.promote(q),
            })
        }
        "nn.utils.clip_grad_norm_" => {
            let (total, clipped) = clip_grad_norm(
                &a.tensors(0, "parameters"),
                a.float(1, "max_norm", 0.0),
                a.float(2, "norm_type", 2.0),
            );
            many(std::iter::once(total).chain(clipped))
        }
        "nn.utils.clip_grad_value_" => {
            many(clip_grad_value(&a.tensors(0, "parameters"), a.float(1, "clip_value", 0.0)))
        }
        _ => None,
    }
}

fn casts(name: &str, a: &Args) -> Option<Vec<Output>> {
    let dtype = match name {
        "bfloat16" => DType::BF16,
        "bool" => DType::Bool,
        "byte" => DType::U8,
        "char" => DType::I8,
        "double" => DType::F64,
        "float" => DType::F32,
        "half" => DType::F16,
        "int" => DType::I32,
        "long" => DType::I64,
        "short" => DType::I16,
        "to" => {
            let x = a.tensor(0, "self");
            let mut dtype = x.dtype();
            // `to(dtype)`, `to(device, dtype)` and `to(other)`, followed by flags without effect here.
            for i in 1..a.len() {
                match a.raw(i, "") {
                    Some(Arg::DType(d)) => dtype = *d,
                    Some(Arg::Tensor(t)) => dtype = t.dtype(),
                    _ => {}
                }
            }
            if let Some(d) = a.dtype(usize::MAX, "dtype") {
                dtype = d;
            }
            if let Some(t) = a.opt_tensor(usize::MAX, "other") {
                dtype = t.dtype();
            }
            return one(x.to_dtype(dtype));
        }
        _ => return None,
    };
    one(a.tensor(0, "self").to_dtype(dtype))
}

fn creation(name: &str, a: &Args) -> Option<Vec<Output>> {
    let dtype = || a.dtype(usize::MAX, "dtype");
    match name {
        "zeros" => one(Tensor::zeros_dtype(a.sizes(0, "size"), dtype().unwrap_or(DType::F32))),
        "ones" => one(Tensor::full_dtype(a.sizes(0, "size"), 1.0, dtype().unwrap_or(DType::F32))),
        "full" => {
            let value = a.scalar(1, "fill_value").expect("a number");
            one(Tensor::full_dtype(a.ints(0, "size"), value, dtype().unwrap_or(value.dtype())))
        }
        "zeros_like" | "ones_like" | "full_like" => {
            let x = a.tensor(0, "input");
            let value = match name {
                "zeros_like" => Scalar::Int(0),
                "ones_like" => Scalar::Int(1),
                _ => a.scalar(1, "fill_value").expect("a number"),
            };
            one(x.to_dtype(dtype().unwrap_or(x.dtype())).full_like(value))
        }
        "new_zeros" => one(a.tensor(0, "self").new_full(a.sizes(1, "size"), 0, dtype())),
        "new_ones" => one(a.tensor(0, "self").new_full(a.sizes(1, "size"), 1, dtype())),
        "new_full" => {
            let value = a.scalar(2, "fill_value").expect("a number");
            one(a.tensor(0, "self").new_full(a.ints(1, "size"), value, dtype()))
        }
        "arange" => {
            let zero = Scalar::Int(0);
            let at = |i: usize, name: &str| a.scalar(i, name);
            let (start, end) = match (a.len(), a.has(usize::MAX, "end")) {
                (0, _) | (_, true) => {
                    (at(0, "start").unwrap_or(zero), at(usize::MAX, "end").expect("end"))
                }
                (1, _) => (zero, at(0, "end").expect("end")),
                _ => (at(0, "start").expect("start"), at(1, "end").expect("end")),
            };
            let step = at(2, "step").unwrap_or(Scalar::Int(1));
            one(match dtype() {
                Some(d) => Tensor::arange_dtype(start, end, step, d),
                None => Tensor::arange(start, end, step),
            })
        }
        "linspace" => one(Tensor::linspace_dtype(
            a.float(0, "start", 0.0),
            a.float(1, "end", 0.0),
            a.int(2, "steps", 0) as usize,
            dtype().unwrap_or(DType::F32),
        )),
        "logspace" => one(Tensor::logspace(
            a.float(0, "start", 0.0),
            a.float(1, "end", 0.0),
            a.int(2, "steps", 0) as usize,
            a.float(3, "base", 10.0),
            dtype().unwrap_or(DType::F32),
        )),
        "eye" => {
            let n = a.int(0, "n", 0) as usize;
            let m = a.opt_int(1, "m").map_or(n, |m| m as usize);
            one(Tensor::eye(n, m).to_dtype(dtype().unwrap_or(DType::F32)))
        }
        "signal.windows.hann"
        | "signal.windows.hamming"
        | "signal.windows.blackman"
        | "signal.windows.gaussian" => {
            let n = a.int(0, "M", 0) as usize;
            let symmetric = a.bool(usize::MAX, "sym", true);
            let dtype = dtype().unwrap_or(DType::F32);
            one(match name.rsplit('.').next() {
                Some("hann") => Tensor::hann_window(n, symmetric, dtype),
                Some("hamming") => Tensor::hamming_window(n, symmetric, dtype),
                Some("blackman") => Tensor::blackman_window(n, symmetric, dtype),
                _ => {
                    let std = a.float(usize::MAX, "std", 1.0);
                    Tensor::gaussian_window(n, std, symmetric, dtype)
                }
            })
        }
        "tril_indices" | "triu_indices" => {
            let rows = a.int(0, "row", 0) as usize;
            let columns = a.int(1, "col", 0) as usize;
            let offset = a.dim(2, "offset", 0);
            let f =
                if name == "tril_indices" { Tensor::tril_indices } else { Tensor::triu_indices };
            one(f(rows, columns, offset).to_dtype(dtype().unwrap_or(DType::I64)))
        }
        _ => None,
    }
}
