//! Factorizations as operations of the graph: host code for the value, tensor operations for the gradient.
//!
//! Results with several parts come packed in one vector per matrix; `super` takes them apart.

use super::dense::{self, Mat};
use crate::dtype::DType;
use crate::host::HostArray;
use crate::node::Tensor;
use crate::op::CustomOp;
use crate::shape::{Dims, numel};

/// All work on `f64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Routine {
    /// `(A, B)`: `X` with `A X = B`.
    Solve,
    /// `A`: the determinant.
    Det,
    /// `A`: the gradient of the determinant.
    Cofactors,
    /// `A`: sign and logarithm of the size of the determinant.
    SlogDet,
    /// `A`: lower factor.
    Cholesky,
    /// `A`: `Q` with `k` columns, then `R` with `k` rows.
    Qr { complete: bool },
    /// `A`: eigenvalues, then eigenvectors; reads one triangle.
    Eigh { upper: bool },
    /// `A`: `U`, `s`, `V^T`, reduced.
    Svd,
    /// `A`: `U` and `V^T` square, for their values only.
    SvdFull,
    /// `(A, tolerance)`: pseudoinverse.
    Pinv,
}

fn matrix(shape: &[usize]) -> (usize, usize) {
    (shape[shape.len() - 2], shape[shape.len() - 1])
}

impl Routine {
    /// The shape of the result for one matrix.
    fn tail(self, m: usize, n: usize, other: Option<&[usize]>) -> Dims {
        let k = m.min(n);
        let list: &[usize] = match self {
            Routine::Solve => &[m, matrix(other.expect("two inputs")).1],
            Routine::Det => &[],
            Routine::Cofactors | Routine::Cholesky => &[m, n],
            Routine::SlogDet => &[2],
            Routine::Qr { complete: false } => &[m * k + k * n],
            Routine::Qr { complete: true } => &[m * m + m * n],
            Routine::Eigh { .. } => &[n + n * n],
            Routine::Svd => &[m * k + k + k * n],
            Routine::SvdFull => &[m * m + n * n],
            Routine::Pinv => &[n, m],
        };
        Dims::from_slice(list)
    }

    fn one(self, a: &Mat, other: Option<Mat>) -> Vec<f64> {
        let k = a.rows.min(a.cols);
        match self {
            Routine::Solve => dense::solve(a, &other.expect("two inputs")).data,
            Routine::Det => vec![dense::det(a)],
            Routine::Cofactors => dense::cofactors(a).data,
            Routine::SlogDet => {
                let (s, l) = dense::slogdet(a);
                vec![s, l]
            }
            Routine::Cholesky => dense::cholesky(a).data,
            Routine::Qr { complete } => {
                let (q, r) = dense::qr(a);
                let keep = if complete { a.rows } else { k };
                let mut out = Vec::new();
                for row in 0..a.rows {
                    out.extend((0..keep).map(|c| q[(row, c)]));
                }
                out.extend_from_slice(&r.data[..keep * a.cols]);
                out
            }
            Routine::Eigh { upper } => {
                let mut s = a.clone();
                for r in 0..a.rows {
                    for c in 0..r {
                        let x = if upper { a[(c, r)] } else { a[(r, c)] };
                        s[(r, c)] = x;
                        s[(c, r)] = x;
                    }
                }
                let (mut w, v) = dense::eigh(&s);
                w.extend(v.data);
                w
            }
            Routine::Svd => {
                let (u, s, vt) = dense::svd(a);
                [u.data, s, vt.data].concat()
            }
            Routine::SvdFull => {
                let (u, s, vt) = dense::svd(a);
                let full_rank = s.last().is_some_and(|x| *x > s[0] * 1e-13);
                let square = |part: &Mat, whole: &Mat| {
                    let (m, k) = (part.rows, part.cols);
                    let mut full = Mat::zeros(m, m);
                    // What the columns of the matrix leave free is spanned by the last columns of its Q (those that LAPACK
                    // gives too, for long matrices).
                    let q = (m > k && full_rank).then(|| dense::qr(whole).0);
                    for r in 0..m {
                        for c in 0..m {
                            if c < k {
                                full[(r, c)] = part[(r, c)];
                            } else if let Some(q) = &q {
                                full[(r, c)] = q[(r, c)];
                            }
                        }
                    }
                    dense::complete(&mut full, if q.is_some() { m } else { k });
                    full
                };
                let v = square(&vt.transposed(), &a.transposed());
                [square(&u, a).data, v.transposed().data].concat()
            }
            Routine::Pinv => dense::pinv(a, other.expect("two inputs").data[0]).data,
        }
    }
}

impl CustomOp for Routine {
    fn name(&self) -> &str {
        match self {
            Routine::Solve => "solve",
            Routine::Det => "det",
            Routine::Cofactors => "cofactors",
            Routine::SlogDet => "slogdet",
            Routine::Cholesky => "cholesky",
            Routine::Qr { .. } => "qr",
            Routine::Eigh { .. } => "eigh",
            Routine::Svd => "svd",
            Routine::SvdFull => "svd_full",
            Routine::Pinv => "pinv",
        }
    }

    fn key(&self) -> u64 {
        match self {
            Routine::Qr { complete: flag } | Routine::Eigh { upper: flag } => *flag as u64,
            _ => 0,
        }
    }

    fn output(&self, inputs: &[(DType, &[usize])]) -> (DType, Dims) {
        let shape = inputs[0].1;
        let (m, n) = matrix(shape);
        let mut out = Dims::from_slice(&shape[..shape.len() - 2]);
        out.extend(self.tail(m, n, inputs.get(1).map(|i| i.1)));
        (DType::F64, out)
    }

    fn run(&self, inputs: &[HostArray]) -> HostArray {
        let shape = inputs[0].shape();
        let (m, n) = matrix(shape);
        let lead = &shape[..shape.len() - 2];
        let a = inputs[0].to_vec::<f64>();
        let other = inputs.get(1).map(|b| (b.to_vec::<f64>(), b.shape().to_vec()));
        let mut out = Vec::new();
        for i in 0..numel(lead) {
            let x = Mat::new(m, n, a[i * m * n..(i + 1) * m * n].to_vec());
            let y = other.as_ref().map(|(data, shape)| {
                let (r, c) = if *self == Routine::Pinv { (1, 1) } else { matrix(shape) };
                Mat::new(r, c, data[i * r * c..(i + 1) * r * c].to_vec())
            });
            out.extend(self.one(&x, y));
        }
        let mut shape = lead.to_vec();
        shape.extend(self.tail(m, n, inputs.get(1).map(|b| b.shape())));
        HostArray::new(&out, &shape)
    }

    fn vjp(&self, inputs: &[Tensor], output: &Tensor, grad: &Tensor) -> Vec<Option<Tensor>> {
        let a = &inputs[0];
        let (m, n) = matrix(a.shape());
        match self {
            Routine::Solve => {
                let gb = a.mt().solve(grad);
                vec![Some(-gb.matmul(&output.mt())), Some(gb)]
            }
            Routine::Det => {
                let c = super::apply(Routine::Cofactors, &[a]);
                vec![Some(grad.unsqueeze(-1).unsqueeze(-1) * c)]
            }
            Routine::SlogDet => {
                let g = grad.select(-1, 1).unsqueeze(-1).unsqueeze(-1);
                vec![Some(g * a.inverse().mt())]
            }
            Routine::Cholesky => {
                let half = half_lower(&output.mt().matmul(&lower(grad)));
                let inner = output.mt().solve(&half);
                let full = output.mt().solve(&inner.mt()).mt();
                vec![Some((&full + full.mt()) * 0.5)]
            }
            Routine::Qr { complete: false } => vec![Some(qr_vjp(m, n, output, grad))],
            Routine::Eigh { .. } => {
                let (_, v) = super::split_eigh(output, n);
                let (gw, gv) = super::split_eigh(grad, n);
                let (w, _) = super::split_eigh(output, n);
                let gaps = w.unsqueeze(-2) - w.unsqueeze(-1);
                let none = gaps.eq(0.0);
                let weights =
                    gaps.zeros_like().where_(&none, 1.0 / gaps.ones_like().where_(&none, &gaps));
                let inner = v.mt().matmul(&gv) * weights + diagonal(&gw);
                let full = v.matmul(&inner).matmul(&v.mt());
                vec![Some((&full + full.mt()) * 0.5)]
            }
            Routine::Svd => vec![Some(svd_vjp(m, n, output, grad))],
            Routine::Pinv => {
                let (p, pt, gt) = (output, output.mt(), grad.mt());
                let g = if m <= n {
                    let k = gt.matmul(p);
                    let kp = k.matmul(&pt);
                    &kp - p.matmul(&k).mt() - a.matmul(p).matmul(&kp)
                        + pt.matmul(p).matmul(&(&gt - k.matmul(a)))
                } else {
                    let k = p.matmul(&gt);
                    let pk = pt.matmul(&k);
                    (&gt - a.matmul(&k)).matmul(p).matmul(&pt) + &pk
                        - k.matmul(p).mt()
                        - pk.matmul(p).matmul(a)
                };
                vec![Some(g), None]
            }
            Routine::Cofactors | Routine::Qr { complete: true } | Routine::SvdFull => panic!(
                "{} has no gradient; the reduced form (or a non-singular first derivative) has one",
                self.name()
            ),
        }
    }
}

/// A vector as the diagonal of a matrix.
fn diagonal(d: &Tensor) -> Tensor {
    let n = d.size(-1);
    d.unsqueeze(-1) * Tensor::eye(n, n).to_dtype(d.dtype())
}

fn triangle(x: &Tensor, keep: impl Fn(&Tensor, &Tensor) -> Tensor) -> Tensor {
    let rows = Tensor::iota(x.size(-2)).unsqueeze(1);
    let columns = Tensor::iota(x.size(-1));
    x.where_(&keep(&rows, &columns), 0.0)
}

/// The lower triangle with the diagonal.
pub(super) fn lower(x: &Tensor) -> Tensor {
    triangle(x, |r, c| r.ge(c))
}

/// The upper triangle with the diagonal.
pub(super) fn upper(x: &Tensor) -> Tensor {
    triangle(x, |r, c| r.le(c))
}

/// The lower triangle with half the diagonal.
fn half_lower(x: &Tensor) -> Tensor {
    (lower(x) + triangle(x, |r, c| r.gt(c))) * 0.5
}

/// `M` with its lower triangle copied to the upper one.
fn symmetric_from_lower(x: &Tensor) -> Tensor {
    lower(x) + triangle(x, |r, c| r.gt(c)).mt()
}

fn qr_vjp(m: usize, n: usize, output: &Tensor, grad: &Tensor) -> Tensor {
    let k = m.min(n);
    let (q, r) = super::split_qr(output, m, n, k);
    let (gq, gr) = super::split_qr(grad, m, n, k);
    // For a wide matrix the square left part decides Q, and the rest of R is Q^T times the rest of A.
    let (r, gr, gq, rest) = if m < n {
        let rest = gr.narrow(-1, k, n - k);
        let y = q.matmul(&r.narrow(-1, k, n - k));
        (r.narrow(-1, 0, k), gr.narrow(-1, 0, k), gq + y.matmul(&rest.mt()), Some(rest))
    } else {
        (r, gr, gq, None)
    };
    let inner = r.matmul(&gr.mt()) - gq.mt().matmul(&q);
    let right = gq + q.matmul(&symmetric_from_lower(&inner));
    let left = r.solve(&right.mt()).mt();
    match rest {
        Some(rest) => Tensor::cat(&[left, q.matmul(&rest)], -1),
        None => left,
    }
}

fn svd_vjp(m: usize, n: usize, output: &Tensor, grad: &Tensor) -> Tensor {
    let (u, s, vt) = super::split_svd(output, m, n);
    let (gu, gs, gvt) = super::split_svd(grad, m, n);
    let (v, gv) = (vt.mt(), gvt.mt());
    let square = &s * &s;
    let gaps = square.unsqueeze(-2) - square.unsqueeze(-1);
    let none = gaps.eq(0.0);
    let weights = gaps.zeros_like().where_(&none, 1.0 / gaps.ones_like().where_(&none, &gaps));
    let zero = s.eq(0.0);
    let inverse = s.zeros_like().where_(&zero, 1.0 / s.ones_like().where_(&zero, &s));
    let skew = |x: Tensor| &x - x.mt();
    let (row, column) = (s.unsqueeze(-2), s.unsqueeze(-1));
    let inner = skew(u.mt().matmul(&gu)) * &weights * row
        + skew(v.mt().matmul(&gv)) * &weights * column
        + diagonal(&gs);
    let mut out = u.matmul(&inner).matmul(&vt);
    let over = inverse.unsqueeze(-2);
    if m > n {
        let free = &gu - u.matmul(&u.mt().matmul(&gu));
        out += (free * &over).matmul(&vt);
    }
    if n > m {
        let free = &gv - v.matmul(&v.mt().matmul(&gv));
        out += u.matmul(&(free * &over).mt());
    }
    out
}
