//! Linear algebra on batches of small matrices: `[.., m, n]`.
//!
//! Factorizations run on the host in `f64`, whatever the dtype, and gradients are computed in `f64` as well. Counterpart:
//! `torch.linalg`.

mod dense;
mod routine;

use crate::dtype::DType;
use crate::node::Tensor;
use routine::{Routine, lower, upper};
use std::sync::Arc;

/// Which norm of a matrix. Counterpart: the `ord` of `torch.linalg.matrix_norm`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum MatrixNorm {
    /// Root of the sum of squares.
    Frobenius,
    /// Sum of the singular values.
    Nuclear,
    /// Largest sum of a column.
    One,
    /// Smallest sum of a column.
    MinusOne,
    /// Largest singular value.
    Two,
    /// Smallest singular value.
    MinusTwo,
    /// Largest sum of a row.
    Infinity,
    /// Smallest sum of a row.
    MinusInfinity,
}

#[track_caller]
fn apply(routine: Routine, inputs: &[&Tensor]) -> Tensor {
    Tensor::custom(Arc::new(routine), inputs)
}

#[track_caller]
fn square(op: &str, x: &Tensor) -> usize {
    assert!(
        x.rank() >= 2 && x.size(-1) == x.size(-2),
        "{op}: expected square matrices, got shape {:?}",
        x.shape()
    );
    x.size(-1)
}

#[track_caller]
fn matrices(op: &str, x: &Tensor) {
    assert!(x.rank() >= 2, "{op}: expected matrices, got shape {:?}", x.shape());
}

/// Consecutive stretches of the last dimension, each as matrices of a shape (`None`: as vectors).
fn pieces(x: &Tensor, parts: &[(usize, Option<[usize; 2]>)]) -> Vec<Tensor> {
    let lead = &x.shape()[..x.rank() - 1];
    let mut start = 0;
    parts
        .iter()
        .map(|(len, shape)| {
            let t = x.narrow(-1, start, *len);
            start += len;
            match shape {
                None => t,
                Some(s) => t.reshape([lead, s.as_slice()].concat()),
            }
        })
        .collect()
}

fn split_qr(x: &Tensor, m: usize, n: usize, k: usize) -> (Tensor, Tensor) {
    let mut p = pieces(x, &[(m * k, Some([m, k])), (k * n, Some([k, n]))]);
    let r = p.pop().expect("two");
    (p.pop().expect("two"), r)
}

fn split_eigh(x: &Tensor, n: usize) -> (Tensor, Tensor) {
    let mut p = pieces(x, &[(n, None), (n * n, Some([n, n]))]);
    let v = p.pop().expect("two");
    (p.pop().expect("two"), v)
}

fn split_svd(x: &Tensor, m: usize, n: usize) -> (Tensor, Tensor, Tensor) {
    let k = m.min(n);
    let mut p = pieces(x, &[(m * k, Some([m, k])), (k, None), (k * n, Some([k, n]))]);
    let vt = p.pop().expect("three");
    let s = p.pop().expect("three");
    (p.pop().expect("three"), s, vt)
}

fn f64_of(x: &Tensor) -> Tensor {
    x.to_dtype(DType::F64)
}

impl Tensor {
    /// `X` with `self X = b` for square matrices; `b` may be a vector (rank 1, or one rank less than `self` with matching
    /// sizes). Singular matrices give infinities or NaN. Counterpart: `torch.linalg.solve`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let a = Tensor::from_slice(&[2.0f32, 0.0, 0.0, 4.0], [2, 2]);
    /// let x = a.solve(&Tensor::ones([2]));
    /// assert_eq!(x.to_vec::<f32>(), vec![0.5, 0.25]);
    /// ```
    #[track_caller]
    pub fn solve(&self, b: &Tensor) -> Tensor {
        let n = square("solve", self);
        let lead = &self.shape()[..self.rank() - 2];
        let vector = b.rank() == 1
            || (b.rank() + 1 == self.rank() && b.shape() == &self.shape()[..self.rank() - 1]);
        let rhs = if vector { b.unsqueeze(-1) } else { b.clone() };
        assert_eq!(
            rhs.size(-2),
            n,
            "solve: matrices {:?} and right-hand sides {:?} do not fit",
            self.shape(),
            b.shape()
        );
        let Some(batch) = crate::shape::broadcast(lead, &rhs.shape()[..rhs.rank() - 2]) else {
            panic!(
                "solve: leading sizes of {:?} and {:?} do not broadcast",
                self.shape(),
                b.shape()
            )
        };
        let full = |t: &Tensor| {
            let tail = &t.shape()[t.rank() - 2..];
            f64_of(t).broadcast_to([batch.as_slice(), tail].concat())
        };
        let x =
            apply(Routine::Solve, &[&full(self), &full(&rhs)]).to_dtype(self.dtype().to_float());
        if vector { x.squeeze(-1) } else { x }
    }

    /// `X` with `self X = b` (or `X self = b` unless `left`), for triangular matrices; only the named triangle is read, and
    /// with `unit` not the diagonal either. Counterpart: `torch.linalg.solve_triangular`.
    #[track_caller]
    pub fn solve_triangular(&self, b: &Tensor, is_upper: bool, left: bool, unit: bool) -> Tensor {
        let n = square("solve_triangular", self);
        let mut a = if is_upper { upper(self) } else { lower(self) };
        if unit {
            let on = Tensor::eye(n, n).to_dtype(DType::Bool);
            a = a.ones_like().where_(&on, &a);
        }
        // The right-hand side always holds matrices here.
        let solve = |a: &Tensor, b: &Tensor| {
            if b.rank() + 1 == a.rank() { a.solve(&b.unsqueeze(0)) } else { a.solve(b) }
        };
        if left { solve(&a, b) } else { solve(&a.mt(), &b.mt()).mt() }
    }

    /// The inverse of square matrices; infinities or NaN for singular ones. Counterpart: `torch.linalg.inv`.
    #[track_caller]
    pub fn inverse(&self) -> Tensor {
        let n = square("inverse", self);
        self.solve(&Tensor::eye(n, n).to_dtype(self.dtype().to_float()).broadcast_to(self.shape()))
    }

    /// The determinant of square matrices. Counterpart: `torch.linalg.det`.
    #[track_caller]
    pub fn det(&self) -> Tensor {
        square("det", self);
        apply(Routine::Det, &[&f64_of(self)]).to_dtype(self.dtype().to_float())
    }

    /// Sign and logarithm of the absolute value of the determinant. Counterpart: `torch.linalg.slogdet`.
    #[track_caller]
    pub fn slogdet(&self) -> (Tensor, Tensor) {
        square("slogdet", self);
        let out = apply(Routine::SlogDet, &[&f64_of(self)]);
        let dtype = self.dtype().to_float();
        (out.select(-1, 0).to_dtype(dtype), out.select(-1, 1).to_dtype(dtype))
    }

    /// Logarithm of the determinant; NaN where it is negative. Counterpart: `torch.logdet`.
    #[track_caller]
    pub fn logdet(&self) -> Tensor {
        let (sign, log) = self.slogdet();
        log.where_(&sign.ge(0.0), f64::NAN)
    }

    /// Lower `L` with `L L^T = self` for symmetric positive definite matrices (`is_upper`: its transpose); NaN where there is
    /// none. Counterpart: `torch.linalg.cholesky`.
    #[track_caller]
    pub fn cholesky(&self, is_upper: bool) -> Tensor {
        square("cholesky", self);
        let a = if is_upper { self.mt() } else { self.clone() };
        let l = apply(Routine::Cholesky, &[&f64_of(&a)]).to_dtype(self.dtype().to_float());
        if is_upper { l.mt() } else { l }
    }

    /// The inverse of the matrix whose Cholesky factor this is. Counterpart: `torch.cholesky_inverse`.
    #[track_caller]
    pub fn cholesky_inverse(&self, is_upper: bool) -> Tensor {
        square("cholesky_inverse", self);
        product_of_factor(&f64_of(self), is_upper).inverse().to_dtype(self.dtype().to_float())
    }

    /// `X` with `A X = self`, where `factor` is the Cholesky factor of `A`. Counterpart: `torch.cholesky_solve`.
    #[track_caller]
    pub fn cholesky_solve(&self, factor: &Tensor, is_upper: bool) -> Tensor {
        square("cholesky_solve", factor);
        let a = product_of_factor(&f64_of(factor), is_upper);
        a.solve(&f64_of(self)).to_dtype(self.dtype().to_float())
    }

    /// `self = Q R` with orthonormal columns in `Q` and upper triangular `R`; `complete` makes `Q` square (no gradient then).
    /// Counterpart: `torch.linalg.qr`.
    #[track_caller]
    pub fn qr(&self, complete: bool) -> (Tensor, Tensor) {
        matrices("qr", self);
        let (m, n) = (self.size(-2), self.size(-1));
        let routine = Routine::Qr { complete: complete && m > n };
        let k = if complete { m } else { m.min(n) };
        let (q, r) = split_qr(&apply(routine, &[&f64_of(self)]), m, n, k);
        let dtype = self.dtype().to_float();
        (q.to_dtype(dtype), r.to_dtype(dtype))
    }

    /// Eigenvalues (ascending) and eigenvectors (columns, each up to its sign) of symmetric matrices; only one triangle is
    /// read. Counterpart: `torch.linalg.eigh`.
    #[track_caller]
    pub fn eigh(&self, is_upper: bool) -> (Tensor, Tensor) {
        let n = square("eigh", self);
        let (w, v) = split_eigh(&apply(Routine::Eigh { upper: is_upper }, &[&f64_of(self)]), n);
        let dtype = self.dtype().to_float();
        (w.to_dtype(dtype), v.to_dtype(dtype))
    }

    /// `self = U diag(s) V^T`: `U`, `s` (descending) and `V^T`, with as many columns and rows as the shorter side has.
    /// Counterpart: `torch.linalg.svd(full_matrices=False)`.
    #[track_caller]
    pub fn svd(&self) -> (Tensor, Tensor, Tensor) {
        matrices("svd", self);
        let (m, n) = (self.size(-2), self.size(-1));
        let (u, s, vt) = split_svd(&apply(Routine::Svd, &[&f64_of(self)]), m, n);
        let dtype = self.dtype().to_float();
        (u.to_dtype(dtype), s.to_dtype(dtype), vt.to_dtype(dtype))
    }

    /// As [`Tensor::svd`] with `U` and `V^T` square; only `s` has a gradient. Counterpart:
    /// `torch.linalg.svd(full_matrices=True)`.
    #[track_caller]
    pub fn svd_full(&self) -> (Tensor, Tensor, Tensor) {
        matrices("svd_full", self);
        let (m, n) = (self.size(-2), self.size(-1));
        let s = self.svd().1;
        let out = apply(Routine::SvdFull, &[&f64_of(&self.detach())]);
        let p = pieces(&out, &[(m * m, Some([m, m])), (n * n, Some([n, n]))]);
        let dtype = self.dtype().to_float();
        (p[0].to_dtype(dtype), s, p[1].to_dtype(dtype))
    }

    /// Singular values, descending. Counterpart: `torch.linalg.svdvals`.
    #[track_caller]
    pub fn svdvals(&self) -> Tensor {
        self.svd().1
    }

    /// The largest singular value that counts as zero: the larger of `atol` and `rtol` times the largest one. Unless given,
    /// `atol` is 0 and `rtol` is the dtype's precision times the longer side (0 if `atol` is given).
    #[track_caller]
    fn tolerance(&self, atol: Option<&Tensor>, rtol: Option<&Tensor>) -> Tensor {
        let largest = if self.size(-1).min(self.size(-2)) == 0 {
            let lead = &self.shape()[..self.rank() - 2];
            Tensor::zeros_dtype(lead, DType::F64)
        } else {
            f64_of(&self.detach()).svdvals().amax(-1)
        };
        let eps = match self.dtype() {
            DType::F64 => f64::EPSILON,
            _ => f32::EPSILON as f64,
        };
        let side = self.size(-1).max(self.size(-2)) as f64;
        let relative = match (rtol, atol) {
            (Some(r), _) => largest * f64_of(r),
            (None, None) => largest * (eps * side),
            // PyTorch falls back to the default precision where the absolute tolerance given is not positive.
            (None, Some(a)) => {
                let a = f64_of(a);
                (largest * (eps * side)).where_(&a.le(0.0), 0.0)
            }
        };
        match atol {
            Some(a) => relative.maximum(f64_of(a)),
            None => relative,
        }
    }

    /// Number (i64) of singular values above the tolerance. Counterpart: `torch.linalg.matrix_rank`.
    #[track_caller]
    pub fn matrix_rank(&self, atol: Option<&Tensor>, rtol: Option<&Tensor>) -> Tensor {
        matrices("matrix_rank", self);
        let limit = self.tolerance(atol, rtol);
        f64_of(&self.detach()).svdvals().gt(limit.unsqueeze(-1)).count_nonzero(-1)
    }

    /// The pseudoinverse. Counterpart: `torch.linalg.pinv`.
    #[track_caller]
    pub fn pinv(&self, atol: Option<&Tensor>, rtol: Option<&Tensor>) -> Tensor {
        matrices("pinv", self);
        let lead = self.shape()[..self.rank() - 2].to_vec();
        let limit = self.tolerance(atol, rtol);
        let batch = crate::shape::broadcast(&lead, limit.shape()).unwrap_or_else(|| {
            panic!("pinv: a tolerance of shape {:?} does not fit {:?}", limit.shape(), self.shape())
        });
        let tail = &self.shape()[self.rank() - 2..];
        let a = f64_of(self).broadcast_to([batch.as_slice(), tail].concat());
        let limit = limit.broadcast_to(&batch);
        apply(Routine::Pinv, &[&a, &limit]).to_dtype(self.dtype().to_float())
    }

    /// A norm of the matrices in two dimensions, which disappear. Counterpart: `torch.linalg.matrix_norm`.
    #[track_caller]
    pub fn matrix_norm(&self, ord: MatrixNorm, dims: [isize; 2]) -> Tensor {
        matrices("matrix_norm", self);
        let rank = self.rank();
        let row = crate::shape::axis_of("matrix_norm", dims[0], rank);
        let column = crate::shape::axis_of("matrix_norm", dims[1], rank);
        assert!(row != column, "matrix_norm: the two dimensions must differ, got {dims:?}");
        let mut order: Vec<usize> = (0..rank).filter(|d| *d != row && *d != column).collect();
        order.extend([row, column]);
        let x = self.permute(&order);
        let smallest =
            matches!(ord, MatrixNorm::MinusOne | MatrixNorm::MinusTwo | MatrixNorm::MinusInfinity);
        if !smallest && x.shape()[rank - 2] * x.shape()[rank - 1] == 0 {
            // The largest of nothing is 0 here, as a norm.
            return x.norm(2.0, [-2, -1]);
        }
        match ord {
            MatrixNorm::Frobenius => x.norm(2.0, [-2, -1]),
            MatrixNorm::Nuclear => x.svdvals().sum(-1),
            MatrixNorm::Two => x.svdvals().amax(-1),
            MatrixNorm::MinusTwo => x.svdvals().amin(-1),
            MatrixNorm::One => x.abs().sum(-2).amax(-1),
            MatrixNorm::MinusOne => x.abs().sum(-2).amin(-1),
            MatrixNorm::Infinity => x.abs().sum(-1).amax(-1),
            MatrixNorm::MinusInfinity => x.abs().sum(-1).amin(-1),
        }
    }

    /// The condition number in a norm: that of the matrix times that of its inverse. Counterpart: `torch.linalg.cond`.
    #[track_caller]
    pub fn cond(&self, ord: MatrixNorm) -> Tensor {
        matrices("cond", self);
        match ord {
            MatrixNorm::Two | MatrixNorm::MinusTwo => {
                let s = f64_of(self).svdvals();
                let (high, low) = (s.amax(-1), s.amin(-1));
                let ratio = if ord == MatrixNorm::Two { high / low } else { low / high };
                ratio.to_dtype(self.dtype().to_float())
            }
            _ => {
                let x = f64_of(self);
                (x.matrix_norm(ord, [-2, -1]) * x.inverse().matrix_norm(ord, [-2, -1]))
                    .to_dtype(self.dtype().to_float())
            }
        }
    }

    /// The exponential of square matrices, by Taylor's series on the matrix halved until small, then squared back (Golub and
    /// Van Loan, 9.3). Reads the size of the matrices. Counterpart: `torch.matrix_exp`.
    #[track_caller]
    pub fn matrix_exp(&self) -> Tensor {
        let n = square("matrix_exp", self);
        let x = f64_of(self);
        if x.numel() == 0 {
            return self.clone();
        }
        let size = x.detach().matrix_norm(MatrixNorm::One, [-2, -1]).amax(..).item::<f64>();
        let halvings = if size > 0.5 { (size / 0.5).log2().ceil().min(60.0) as i32 } else { 0 };
        let x = x * 0.5f64.powi(halvings);
        let one = Tensor::eye(n, n).to_dtype(DType::F64);
        // Horner: 1 + x (1 + x/2 (1 + x/3 (..)))
        let mut sum = one.clone() + x.zeros_like();
        for k in (1..=16).rev() {
            sum = &one + x.matmul(&sum) / k as f64;
        }
        for _ in 0..halvings {
            sum = sum.matmul(&sum);
        }
        sum.to_dtype(self.dtype().to_float())
    }
}

/// `L L^T` or `U^T U`. Only the named triangle counts for the value; the gradient is that of the whole factor, as in PyTorch.
fn product_of_factor(factor: &Tensor, is_upper: bool) -> Tensor {
    let d = factor.detach();
    let outside = if is_upper { upper(&d) } else { lower(&d) } - &d;
    let f = factor + outside;
    if is_upper { f.mt().matmul(&f) } else { f.matmul(&f.mt()) }
}
