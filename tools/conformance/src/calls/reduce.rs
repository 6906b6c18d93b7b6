//! Folds, scans, sorting, statistics, matrix products.

use super::{Output, many, one};
use crate::arg::{Arg, Args};
use hardpan_engine::tensor::difference::Spacing;
use hardpan_engine::tensor::sort::Interpolation;
use hardpan_engine::{DType, Scalar, Tensor};

/// `None`: not of this family.
pub fn call(name: &str, a: &Args) -> Option<Vec<Output>> {
    folds(name, a)
        .or_else(|| extrema(name, a))
        .or_else(|| spread(name, a))
        .or_else(|| norms(name, a))
        .or_else(|| scans(name, a))
        .or_else(|| order(name, a))
        .or_else(|| products(name, a))
        .or_else(|| super::linalg::call(name, a))
}

/// The dimensions of a fold: all when absent or empty.
pub fn dims(a: &Args, i: usize, rank: usize) -> Vec<isize> {
    match a.opt_ints(i, "dim") {
        Some(d) if !d.is_empty() => d,
        _ => (0..rank as isize).collect(),
    }
}

/// A result with dropped dimensions brought to the shape with (`keepdim`) or without them.
pub fn keep(x: &Tensor, input: &Tensor, dims: &[isize], keepdim: bool) -> Tensor {
    if !keepdim || input.rank() == 0 {
        return x.clone();
    }
    let mut shape = input.shape().to_vec();
    for d in dims {
        shape[if *d < 0 { *d + input.rank() as isize } else { *d } as usize] = 1;
    }
    x.reshape(&shape)
}

fn folds(name: &str, a: &Args) -> Option<Vec<Output>> {
    let x = || a.tensor(0, "input");
    let cast = |x: Tensor| match a.dtype(usize::MAX, "dtype") {
        Some(d) => x.to_dtype(d),
        None => x,
    };
    let f: fn(&Tensor, &[isize]) -> Tensor = match name {
        "sum" => |x, d| x.sum(d),
        "mean" => |x, d| x.mean(d),
        "prod" => |x, d| x.prod(d),
        "all" => |x, d| x.all(d),
        "any" => |x, d| x.any(d),
        "amax" => |x, d| x.amax(d),
        "amin" => |x, d| x.amin(d),
        "nansum" => |x, d| x.nansum(d),
        "nanmean" => |x, d| x.nanmean(d),
        "logsumexp" => |x, d| x.logsumexp(d),
        "count_nonzero" => |x, d| x.count_nonzero(d),
        _ => return None,
    };
    let input = x();
    if ["all", "any"].contains(&name) && a.opt_ints(1, "dim").is_some_and(|d| d.is_empty()) {
        // These two, unlike the sums, take an empty list at its word.
        a.bool(2, "keepdim", false);
        let dtype = if input.dtype() == DType::U8 { DType::U8 } else { DType::Bool };
        return one(input.ne(0).to_dtype(dtype));
    }
    let dims = dims(a, 1, input.rank());
    let wanted = a.dtype(usize::MAX, "dtype");
    let out = f(&cast(input.clone()), &dims);
    let out = match wanted {
        Some(d) => out.to_dtype(d),
        None => out,
    };
    one(keep(&out, &input, &dims, a.bool(2, "keepdim", false)))
}

/// Values and positions with one dimension kept or not.
fn pair(x: &Tensor, dim: isize, keepdim: bool, out: (Tensor, Tensor)) -> Option<Vec<Output>> {
    many([keep(&out.0, x, &[dim], keepdim), keep(&out.1, x, &[dim], keepdim)])
}

fn extrema(name: &str, a: &Args) -> Option<Vec<Output>> {
    match name {
        "max" | "min" => {
            let x = a.tensor(0, "input");
            if a.is_tensor(1, "other") {
                let other = a.tensor(1, "other");
                return one(if name == "max" { x.maximum(&other) } else { x.minimum(&other) });
            }
            match a.opt_int(1, "dim") {
                None => one(if name == "max" { x.max() } else { x.min() }),
                Some(d) => {
                    let d = d as isize;
                    let out = if name == "max" { x.max_dim(d) } else { x.min_dim(d) };
                    pair(&x, d, a.bool(2, "keepdim", false), out)
                }
            }
        }
        "argmax" | "argmin" => {
            let x = a.tensor(0, "input");
            let keepdim = a.bool(2, "keepdim", false);
            one(match a.opt_int(1, "dim") {
                None => {
                    let out = if name == "argmax" { x.argmax_all() } else { x.argmin_all() };
                    keep(&out, &x, &(0..x.rank() as isize).collect::<Vec<_>>(), keepdim)
                }
                Some(d) => {
                    let d = d as isize;
                    let out = if name == "argmax" { x.argmax(d) } else { x.argmin(d) };
                    keep(&out, &x, &[d], keepdim)
                }
            })
        }
        "aminmax" => {
            let x = a.tensor(0, "input");
            let dims = dims(a, usize::MAX, x.rank());
            let (low, high) = x.aminmax(dims.as_slice());
            let keepdim = a.bool(usize::MAX, "keepdim", false);
            many([keep(&low, &x, &dims, keepdim), keep(&high, &x, &dims, keepdim)])
        }
        "median" | "nanmedian" => {
            let x = a.tensor(0, "input");
            match a.opt_int(1, "dim") {
                None => one(if name == "median" { x.median() } else { x.nanmedian() }),
                Some(d) => {
                    let d = d as isize;
                    let out = if name == "median" { x.median_dim(d) } else { x.nanmedian_dim(d) };
                    pair(&x, d, a.bool(2, "keepdim", false), out)
                }
            }
        }
        "mode" => {
            let x = a.tensor(0, "input");
            let d = a.dim(1, "dim", -1);
            pair(&x, d, a.bool(2, "keepdim", false), x.mode(d))
        }
        "kthvalue" => {
            let x = a.tensor(0, "input");
            let d = a.dim(2, "dim", -1);
            let k = a.int(1, "k", 1) as usize;
            pair(&x, d, a.bool(3, "keepdim", false), x.kthvalue(k, d))
        }
        _ => None,
    }
}

fn spread(name: &str, a: &Args) -> Option<Vec<Output>> {
    match name {
        "var" | "std" | "var_mean" | "std_mean" => {
            let x = a.tensor(0, "input");
            let mut correction = a.float(usize::MAX, "correction", 1.0);
            // var(x, unbiased) and var(x, dim, unbiased, keepdim) beside var(x, dim, correction=, keepdim=).
            let mut dim = None;
            let mut keepdim = a.bool(usize::MAX, "keepdim", false);
            let mut flags = Vec::new();
            for i in 1..a.len() {
                match a.raw(i, "") {
                    Some(Arg::Bool(b)) => flags.push(*b),
                    Some(d @ (Arg::Int(_) | Arg::List(_))) => dim = d.ints(),
                    _ => {}
                }
            }
            if let Some(unbiased) = flags.first() {
                correction = *unbiased as u8 as f64;
            }
            if let Some(k) = flags.get(1) {
                keepdim = *k;
            }
            if a.has(usize::MAX, "unbiased") {
                correction = a.bool(usize::MAX, "unbiased", true) as u8 as f64;
            }
            let dim = dim.or(a.opt_ints(usize::MAX, "dim")).filter(|d| !d.is_empty());
            let dims = dim.unwrap_or_else(|| (0..x.rank() as isize).collect());
            let end = |t: &Tensor| keep(t, &x, &dims, keepdim);
            match name {
                "var" => one(end(&x.var(&dims, correction))),
                "std" => one(end(&x.std(&dims, correction))),
                "var_mean" => {
                    let (v, m) = x.var_mean(&dims, correction);
                    many([end(&v), end(&m)])
                }
                _ => {
                    let (s, m) = x.std_mean(&dims, correction);
                    many([end(&s), end(&m)])
                }
            }
        }
        "cov" => one(a.tensor(0, "input").cov(
            a.float(usize::MAX, "correction", 1.0),
            a.opt_tensor(usize::MAX, "fweights").as_ref(),
            a.opt_tensor(usize::MAX, "aweights").as_ref(),
        )),
        "corrcoef" => one(a.tensor(0, "input").corrcoef()),
        "histc" => one(a.tensor(0, "input").histc(
            a.int(1, "bins", 100) as usize,
            a.float(2, "min", 0.0),
            a.float(3, "max", 0.0),
        )),
        "bincount" => one(a
            .tensor(0, "input")
            .bincount(a.opt_tensor(1, "weights").as_ref(), a.int(2, "minlength", 0) as usize)),
        "quantile" | "nanquantile" => {
            let x = a.tensor(0, "input");
            let q = match a.arg(1, "q") {
                Arg::Tensor(t) => t.clone(),
                number => Tensor::full([0usize; 0], number.scalar().expect("a number").as_f64())
                    .to_dtype(x.dtype()),
            };
            let q = match a.arg(1, "q") {
                Arg::Float(f) => Tensor::scalar(*f),
                _ => q,
            };
            let interpolation = match a.str(usize::MAX, "interpolation", "linear") {
                "linear" => Interpolation::Linear,
                "lower" => Interpolation::Lower,
                "higher" => Interpolation::Higher,
                "midpoint" => Interpolation::Midpoint,
                "nearest" => Interpolation::Nearest,
                other => panic!("quantile: unknown interpolation {other}"),
            };
            one(x.quantile(
                &q,
                a.opt_int(2, "dim").map(|d| d as isize),
                a.bool(3, "keepdim", false),
                interpolation,
                name == "nanquantile",
            ))
        }
        "trapezoid" | "cumulative_trapezoid" => {
            let y = a.tensor(0, "y");
            let x = if a.is_tensor(1, "x") { a.opt_tensor(1, "x") } else { None };
            let dx = a.float(usize::MAX, "dx", 1.0);
            let dim = a.dim(usize::MAX, "dim", -1);
            one(if name == "trapezoid" {
                y.trapezoid(x.as_ref(), dx, dim)
            } else {
                y.cumulative_trapezoid(x.as_ref(), dx, dim)
            })
        }
        "gradient" => {
            let x = a.tensor(0, "input");
            let dims = dims(a, usize::MAX, x.rank());
            let edge = a.int(usize::MAX, "edge_order", 1) as usize;
            let one_number = Arg::Float(1.0);
            let spacing = a.named("spacing").unwrap_or(&one_number);
            many(dims.iter().enumerate().map(|(i, d)| {
                let own = match spacing {
                    Arg::List(l) => &l[i],
                    other => other,
                };
                match own {
                    Arg::Tensor(t) => x.gradient(Spacing::At(t), *d, edge),
                    number => {
                        let h = number.scalar().expect("a number").as_f64();
                        x.gradient(Spacing::Equal(h), *d, edge)
                    }
                }
            }))
        }
        "diff" => {
            let x = a.tensor(0, "input");
            let dim = a.dim(2, "dim", -1);
            let n = a.int(1, "n", 1) as usize;
            if n == 0 {
                let _ = (a.opt(3, "prepend"), a.opt(4, "append"));
                return one(x);
            }
            let mut parts = Vec::new();
            parts.extend(a.opt_tensor(3, "prepend"));
            parts.push(x);
            parts.extend(a.opt_tensor(4, "append"));
            let x = if parts.len() == 1 { parts[0].clone() } else { Tensor::cat(&parts, dim) };
            one(x.diff(n, dim))
        }
        _ => None,
    }
}

fn order_of(a: &Args, i: usize, name: &str, default: f64) -> f64 {
    match a.opt(i, name) {
        Some(Arg::Str(s)) if s == "fro" => 2.0,
        Some(Arg::Str(s)) => panic!("norm of order {s} is not a vector norm"),
        _ => a.float(i, name, default),
    }
}

fn norms(name: &str, a: &Args) -> Option<Vec<Output>> {
    match name {
        "norm" | "linalg.vector_norm" => {
            let x = a.tensor(0, "input");
            if matches!(a.opt(1, "p"), Some(Arg::Str(s)) if s == "nuc") {
                return super::linalg::nuclear(a, &x);
            }
            let p = order_of(a, 1, if name == "norm" { "p" } else { "ord" }, 2.0);
            let dims = dims(a, 2, x.rank());
            let keepdim = a.bool(3, "keepdim", false);
            let y = match a.dtype(usize::MAX, "dtype") {
                Some(d) => x.to_dtype(d),
                None => x.clone(),
            };
            one(keep(&y.norm(p, &dims), &x, &dims, keepdim))
        }
        "cdist" => {
            let _ = a.opt(3, "compute_mode");
            one(a.tensor(0, "x1").cdist(&a.tensor(1, "x2"), a.float(2, "p", 2.0)))
        }
        "dist" => one(a.tensor(0, "input").dist(&a.tensor(1, "other"), a.float(2, "p", 2.0))),
        "renorm" => one(a.tensor(0, "input").renorm(
            a.float(1, "p", 2.0),
            a.dim(2, "dim", 0),
            a.float(3, "maxnorm", 1.0),
        )),
        _ => None,
    }
}

fn scans(name: &str, a: &Args) -> Option<Vec<Output>> {
    let f: fn(&Tensor, isize) -> Tensor = match name {
        "cumsum" => Tensor::cumsum,
        "cumprod" => Tensor::cumprod,
        "logcumsumexp" => Tensor::logcumsumexp,
        "cummax" | "cummin" => {
            let x = a.tensor(0, "input");
            let d = a.dim(1, "dim", 0);
            let (v, i) = if name == "cummax" { x.cummax(d) } else { x.cummin(d) };
            return many([v, i]);
        }
        _ => return None,
    };
    let x = a.tensor(0, "input");
    let dtype = a.dtype(usize::MAX, "dtype");
    let y = f(&dtype.map_or(x.clone(), |d| x.to_dtype(d)), a.dim(1, "dim", 0));
    one(dtype.map_or(y.clone(), |d| y.to_dtype(d)))
}

fn order(name: &str, a: &Args) -> Option<Vec<Output>> {
    match name {
        "sort" | "argsort" | "msort" => {
            let x = a.tensor(0, "input");
            let _ = a.opt(3, "stable");
            if name == "msort" {
                return one(x.sort(0, false).0);
            }
            // The overload with `stable` has it first by position.
            let (dim, descending) = (a.dim(1, "dim", -1), a.bool(2, "descending", false));
            if name == "sort" {
                let (v, i) = x.sort(dim, descending);
                many([v, i])
            } else {
                one(x.argsort(dim, descending))
            }
        }
        "topk" => {
            let x = a.tensor(0, "input");
            let _ = a.opt(4, "sorted");
            let (v, i) =
                x.topk(a.int(1, "k", 1) as usize, a.dim(2, "dim", -1), a.bool(3, "largest", true));
            many([v, i])
        }
        "searchsorted" | "bucketize" => {
            let (values, rows) = if name == "bucketize" {
                (a.tensor(0, "input"), a.tensor(1, "boundaries"))
            } else {
                (a.tensor(1, "input"), a.tensor(0, "sorted_sequence"))
            };
            let mut right = a.bool(usize::MAX, "right", false);
            if let Some(side) = a.opt_str(usize::MAX, "side") {
                right = side == "right";
            }
            let out =
                rows.searchsorted_by(&values, right, a.opt_tensor(usize::MAX, "sorter").as_ref());
            one(if a.bool(usize::MAX, "out_int32", false) { out.to_dtype(DType::I32) } else { out })
        }
        "unique" | "unique_consecutive" => {
            let x = a.tensor(0, "input");
            let consecutive = name == "unique_consecutive";
            let shift = if consecutive { 0 } else { 1 };
            if !consecutive {
                let _ = a.opt(1, "sorted");
            }
            let inverse = a.bool(1 + shift, "return_inverse", false);
            let counts = a.bool(2 + shift, "return_counts", false);
            let dim = a.opt_int(3 + shift, "dim").map(|d| d as isize);
            let u = if consecutive { x.unique_consecutive(dim) } else { x.unique(dim) };
            let mut out = vec![u.values];
            if inverse {
                out.push(u.inverse);
            }
            if counts {
                out.push(u.counts);
            }
            many(out)
        }
        "isin" => {
            let tensor = |i: usize, name: &str| a.tensor(i, name);
            let _ = a.opt(usize::MAX, "assume_unique");
            let hit = tensor(0, "elements").isin(&tensor(1, "test_elements"));
            one(if a.bool(usize::MAX, "invert", false) { hit.logical_not() } else { hit })
        }
        _ => None,
    }
}

fn products(name: &str, a: &Args) -> Option<Vec<Output>> {
    let f: fn(&Tensor, &Tensor) -> Tensor = match name {
        "mm" => Tensor::mm,
        "bmm" => Tensor::bmm,
        "mv" => Tensor::mv,
        "dot" | "vdot" => Tensor::dot,
        "matmul" => Tensor::matmul,
        "inner" => Tensor::inner,
        "outer" => Tensor::outer,
        "kron" => Tensor::kron,
        "addmm" | "addmv" | "addr" | "baddbmm" | "addbmm" => {
            let (x, p, q) = (a.tensor(0, "input"), a.tensor(1, "mat1"), a.tensor(2, "mat2"));
            let factor = |name: &str| a.scalar(usize::MAX, name).unwrap_or(Scalar::Int(1));
            let f: fn(&Tensor, &Tensor, &Tensor, Scalar, Scalar) -> Tensor = match name {
                "addmm" => Tensor::addmm,
                "addmv" => Tensor::addmv,
                "addr" => Tensor::addr,
                "baddbmm" => Tensor::baddbmm,
                _ => Tensor::addbmm,
            };
            return one(f(&x, &p, &q, factor("beta"), factor("alpha")));
        }
        "linalg.matrix_power" => {
            return one(a.tensor(0, "A").matrix_power(a.int(1, "n", 1)));
        }
        "linalg.multi_dot" => return one(Tensor::multi_dot(&a.tensors(0, "tensors"))),
        "linalg.vecdot" => {
            return one(a.tensor(0, "x").vecdot(&a.tensor(1, "y"), a.dim(usize::MAX, "dim", -1)));
        }
        "linalg.cross" => {
            return one(a
                .tensor(0, "input")
                .cross(&a.tensor(1, "other"), a.dim(usize::MAX, "dim", -1)));
        }
        "linalg.vander" => {
            let x = a.tensor(0, "x").atleast_1d();
            let n = a.opt_int(usize::MAX, "N").map_or(x.size(-1), |n| n as usize);
            return one(x.vander(n));
        }
        "trace" => return one(a.tensor(0, "input").trace()),
        _ => return None,
    };
    one(f(&a.tensor(0, "input"), &a.tensor(1, "other")))
}
