//! `torch.linalg`: decompositions and what rests on them.

use super::{Output, many, one};
use crate::arg::{Arg, Args};
use hardpan_engine::Tensor;
use hardpan_engine::tensor::linalg::MatrixNorm;

/// `None`: not of this family.
pub fn call(name: &str, a: &Args) -> Option<Vec<Output>> {
    let upper = || a.bool(usize::MAX, "upper", false);
    let upper_triangle = || a.str(1, "UPLO", "L") == "U";
    let x = || a.tensor(0, "A");
    match name {
        "linalg.det" => one(x().det()),
        "logdet" => one(x().logdet()),
        "linalg.slogdet" => {
            let (s, l) = x().slogdet();
            many([s, l])
        }
        "linalg.inv" => one(x().inverse()),
        "linalg.solve" => {
            let b = a.tensor(1, "B");
            one(if a.bool(usize::MAX, "left", true) {
                x().solve(&b)
            } else {
                x().mt().solve(&b.mt()).mt()
            })
        }
        "linalg.solve_triangular" => one(x().solve_triangular(
            &a.tensor(1, "B"),
            upper(),
            a.bool(usize::MAX, "left", true),
            a.bool(usize::MAX, "unitriangular", false),
        )),
        "linalg.cholesky" => one(x().cholesky(upper())),
        "cholesky_inverse" => one(x().cholesky_inverse(a.bool(1, "upper", false))),
        "cholesky_solve" => one(x().cholesky_solve(&a.tensor(1, "L"), a.bool(2, "upper", false))),
        "linalg.qr" => {
            let mode = a.str(1, "mode", "reduced");
            let (q, r) = x().qr(mode == "complete");
            many(if mode == "r" { [Tensor::zeros([0]).to_dtype(r.dtype()), r] } else { [q, r] })
        }
        "linalg.eigh" => {
            let (w, v) = x().eigh(upper_triangle());
            many([w, v])
        }
        "linalg.eigvalsh" => one(x().eigh(upper_triangle()).0),
        "linalg.svd" => {
            let (u, s, vt) =
                if a.bool(1, "full_matrices", true) { x().svd_full() } else { x().svd() };
            many([u, s, vt])
        }
        "linalg.svdvals" => one(x().svdvals()),
        "linalg.pinv" | "linalg.matrix_rank" => {
            let tolerance = |i: usize, name: &str| {
                Some(match a.opt(i, name)? {
                    Arg::Tensor(t) => t.clone(),
                    number => Tensor::scalar(number.scalar()?.as_f64()),
                })
            };
            // By position comes the relative one, under an older name.
            let first = if name == "linalg.pinv" { "rcond" } else { "tol" };
            let rtol = tolerance(1, first).or_else(|| tolerance(usize::MAX, "rtol"));
            let atol = tolerance(usize::MAX, "atol");
            let mut x = x();
            if a.bool(usize::MAX, "hermitian", false) {
                // Only the lower triangle is read.
                x = x.tril(0) + x.tril(-1).mt();
            }
            one(if name == "linalg.pinv" {
                x.pinv(atol.as_ref(), rtol.as_ref())
            } else {
                x.matrix_rank(atol.as_ref(), rtol.as_ref())
            })
        }
        "linalg.matrix_norm" => {
            let x = cast(a, x());
            let ord = a.opt(1, "ord").map_or(MatrixNorm::Frobenius, matrix_order);
            let dims = a.opt_ints(2, "dim").unwrap_or(vec![-2, -1]);
            one(matrix_norm(&x, ord, &dims, a.bool(3, "keepdim", false)))
        }
        "linalg.norm" => {
            let x = cast(a, x());
            let ord = a.opt(1, "ord");
            let dims = a.opt_ints(2, "dim");
            let keepdim = a.bool(3, "keepdim", false);
            let all: Vec<isize> = (0..x.rank() as isize).collect();
            // Two dimensions and an order: matrices. Everything else: vectors.
            match (ord, dims) {
                (Some(o), Some(d)) if d.len() == 2 => {
                    one(matrix_norm(&x, matrix_order(o), &d, keepdim))
                }
                (Some(o), None) if x.rank() == 2 => {
                    one(matrix_norm(&x, matrix_order(o), &all, keepdim))
                }
                (o, d) => {
                    let p = o.map_or(2.0, |o| o.scalar().expect("a number").as_f64());
                    let d = d.unwrap_or(all);
                    one(super::reduce::keep(&x.norm(p, &d), &x, &d, keepdim))
                }
            }
        }
        "linalg.cond" => one(x().cond(a.opt(1, "p").map_or(MatrixNorm::Two, matrix_order))),
        "matrix_exp" | "linalg.matrix_exp" => one(x().matrix_exp()),
        _ => None,
    }
}

fn cast(a: &Args, x: Tensor) -> Tensor {
    match a.dtype(usize::MAX, "dtype") {
        Some(d) => x.to_dtype(d),
        None => x,
    }
}

fn matrix_order(a: &Arg) -> MatrixNorm {
    match a {
        Arg::Str(s) if s == "fro" => MatrixNorm::Frobenius,
        Arg::Str(s) if s == "nuc" => MatrixNorm::Nuclear,
        other => match other.scalar().map(|s| s.as_f64()) {
            Some(1.0) => MatrixNorm::One,
            Some(-1.0) => MatrixNorm::MinusOne,
            Some(2.0) => MatrixNorm::Two,
            Some(-2.0) => MatrixNorm::MinusTwo,
            Some(f64::INFINITY) => MatrixNorm::Infinity,
            Some(f64::NEG_INFINITY) => MatrixNorm::MinusInfinity,
            other => panic!("unknown order of a matrix norm: {other:?}"),
        },
    }
}

fn matrix_norm(x: &Tensor, ord: MatrixNorm, dims: &[isize], keepdim: bool) -> Tensor {
    super::reduce::keep(&x.matrix_norm(ord, [dims[0], dims[1]]), x, dims, keepdim)
}

/// `torch.norm(x, "nuc")`
pub fn nuclear(a: &Args, x: &Tensor) -> Option<Vec<Output>> {
    let dims = a.opt_ints(2, "dim").unwrap_or(vec![-2, -1]);
    one(matrix_norm(&cast(a, x.clone()), MatrixNorm::Nuclear, &dims, a.bool(3, "keepdim", false)))
}
