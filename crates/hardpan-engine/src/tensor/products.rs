//! Products of vectors and matrices built on [`Tensor::matmul`] or on sums.

use super::arguments::result_type;
use crate::dtype::{DType, Scalar};
use crate::node::Tensor;
use crate::shape::axis_of;

impl Tensor {
    /// Matrix times matrix, both of rank 2. Counterpart: `torch.mm`.
    #[track_caller]
    pub fn mm(&self, other: &Tensor) -> Tensor {
        expect_ranks("mm", self, 2, other, 2);
        self.matmul(other)
    }

    /// Batches of matrices, both of rank 3. Counterpart: `torch.bmm`.
    #[track_caller]
    pub fn bmm(&self, other: &Tensor) -> Tensor {
        expect_ranks("bmm", self, 3, other, 3);
        self.matmul(other)
    }

    /// Matrix times vector. Counterpart: `torch.mv`.
    #[track_caller]
    pub fn mv(&self, vector: &Tensor) -> Tensor {
        expect_ranks("mv", self, 2, vector, 1);
        self.matmul(vector)
    }

    /// Sum of the products of two vectors. Counterparts: `torch.dot`, `torch.vdot`.
    #[track_caller]
    pub fn dot(&self, other: &Tensor) -> Tensor {
        expect_ranks("dot", self, 1, other, 1);
        self.matmul(other)
    }

    /// Sums of products over the last dimension of both, `[a.., k]` and `[b.., k]` give `[a.., b..]`; plain product if one has
    /// rank 0. Counterpart: `torch.inner`.
    #[track_caller]
    pub fn inner(&self, other: &Tensor) -> Tensor {
        if self.rank() == 0 || other.rank() == 0 {
            return self * other;
        }
        let k = self.size(-1);
        assert_eq!(
            k,
            other.size(-1),
            "inner: last sizes of {:?} and {:?} differ",
            self.shape(),
            other.shape()
        );
        let mut shape = self.shape()[..self.rank() - 1].to_vec();
        shape.extend_from_slice(&other.shape()[..other.rank() - 1]);
        let rows = |t: &Tensor| {
            let n: usize = t.shape()[..t.rank() - 1].iter().product();
            t.reshape([n, k])
        };
        rows(self).matmul(&rows(other).t()).reshape(&shape)
    }

    /// All products of the elements of two vectors; of bools, whether both are true. Counterpart: `torch.outer`.
    #[track_caller]
    pub fn outer(&self, other: &Tensor) -> Tensor {
        if self.dtype() == DType::Bool && other.dtype() == DType::Bool {
            assert!(
                self.rank() == 1 && other.rank() == 1,
                "outer: expected vectors, got shapes {:?} and {:?}",
                self.shape(),
                other.shape()
            );
            return self.unsqueeze(1).logical_and(other.unsqueeze(0));
        }
        expect_ranks("outer", self, 1, other, 1);
        let (column, row) = (self.unsqueeze(1), other.unsqueeze(0));
        column * row
    }

    /// `beta self + alpha (a @ b)`, `self` broadcast; with `beta` 0 nothing of `self` is used. Counterpart: `torch.addmm`.
    #[track_caller]
    pub fn addmm(
        &self,
        a: &Tensor,
        b: &Tensor,
        beta: impl Into<Scalar>,
        alpha: impl Into<Scalar>,
    ) -> Tensor {
        expect_ranks("addmm", a, 2, b, 2);
        self.blend(a.matmul(b), beta.into(), alpha.into())
    }

    /// `beta self + alpha (matrix @ vector)`. Counterpart: `torch.addmv`.
    #[track_caller]
    pub fn addmv(
        &self,
        matrix: &Tensor,
        vector: &Tensor,
        beta: impl Into<Scalar>,
        alpha: impl Into<Scalar>,
    ) -> Tensor {
        expect_ranks("addmv", matrix, 2, vector, 1);
        self.blend(matrix.matmul(vector), beta.into(), alpha.into())
    }

    /// `beta self + alpha outer(a, b)`. Counterpart: `torch.addr`.
    #[track_caller]
    pub fn addr(
        &self,
        a: &Tensor,
        b: &Tensor,
        beta: impl Into<Scalar>,
        alpha: impl Into<Scalar>,
    ) -> Tensor {
        self.blend(a.outer(b), beta.into(), alpha.into())
    }

    /// `beta self + alpha (a @ b)` for batches of matrices. Counterpart: `torch.baddbmm`.
    #[track_caller]
    pub fn baddbmm(
        &self,
        a: &Tensor,
        b: &Tensor,
        beta: impl Into<Scalar>,
        alpha: impl Into<Scalar>,
    ) -> Tensor {
        expect_ranks("baddbmm", a, 3, b, 3);
        self.blend(a.matmul(b), beta.into(), alpha.into())
    }

    /// `beta self + alpha sum_i(a_i @ b_i)`: the batch is summed. Counterpart: `torch.addbmm`.
    #[track_caller]
    pub fn addbmm(
        &self,
        a: &Tensor,
        b: &Tensor,
        beta: impl Into<Scalar>,
        alpha: impl Into<Scalar>,
    ) -> Tensor {
        expect_ranks("addbmm", a, 3, b, 3);
        let (n, m, k) = (a.shape()[0], a.shape()[1], a.shape()[2]);
        let wide = a.transpose(0, 1).reshape([m, n * k]);
        let tall = b.reshape([n * k, b.shape()[2]]);
        self.blend(wide.matmul(&tall), beta.into(), alpha.into())
    }

    /// `beta self + alpha product`
    #[track_caller]
    fn blend(&self, product: Tensor, beta: Scalar, alpha: Scalar) -> Tensor {
        let dtype = product.dtype();
        if dtype == DType::Bool {
            // Of truth values a factor keeps all or nothing, and a sum is true where either is.
            let kept = |t: &Tensor, s: Scalar| {
                if s.as_f64() == 0.0 { t.zeros_like() } else { t.to_dtype(dtype) }
            };
            return kept(self, beta).logical_or(kept(&product, alpha));
        }
        let times = |t: Tensor, s: Scalar| {
            if s.as_f64() == 1.0 { t } else { t * s.cast(dtype) }
        };
        let product = times(product, alpha);
        if beta.as_f64() == 0.0 {
            return product;
        }
        times(self.to_dtype(dtype), beta) + product
    }

    /// Square matrices to a whole power, by squaring; 0 gives the identity, negative powers those of the inverse. Counterpart:
    /// `torch.linalg.matrix_power`.
    #[track_caller]
    pub fn matrix_power(&self, n: i64) -> Tensor {
        let r = self.rank();
        assert!(
            r >= 2 && self.size(-1) == self.size(-2),
            "matrix_power: expected square matrices, got shape {:?}",
            self.shape()
        );
        if n == 0 {
            let one = Tensor::eye(self.size(-1), self.size(-1)).to_dtype(self.dtype());
            return one.broadcast_to(self.shape());
        }
        let mut base = if n < 0 { self.inverse() } else { self.clone() };
        let mut rest = n.unsigned_abs();
        let mut out: Option<Tensor> = None;
        while rest > 0 {
            if rest & 1 == 1 {
                out = Some(match out {
                    Some(o) => o.matmul(&base),
                    None => base.clone(),
                });
            }
            rest >>= 1;
            if rest > 0 {
                base = base.matmul(&base);
            }
        }
        out.expect("n is not 0")
    }

    /// The product of several matrices in the cheapest order; the first and last may be vectors. Counterpart:
    /// `torch.linalg.multi_dot`.
    #[track_caller]
    pub fn multi_dot(list: &[Tensor]) -> Tensor {
        assert!(list.len() >= 2, "multi_dot: expected at least 2 tensors, got {}", list.len());
        let last = list.len() - 1;
        let row = list[0].rank() == 1;
        let column = list[last].rank() == 1;
        let mut m: Vec<Tensor> = list.to_vec();
        if row {
            m[0] = m[0].unsqueeze(0);
        }
        if column {
            m[last] = m[last].unsqueeze(1);
        }
        for t in &m {
            assert_eq!(t.rank(), 2, "multi_dot: expected matrices, got shape {:?}", t.shape());
        }
        let out = Tensor::chain(&m);
        match (row, column) {
            (true, true) => out.reshape([0usize; 0]),
            (true, false) => out.squeeze(0),
            (false, true) => out.squeeze(1),
            (false, false) => out,
        }
    }

    /// The classic dynamic program over where to split a chain.
    fn chain(m: &[Tensor]) -> Tensor {
        let n = m.len();
        let size = |i: usize| if i < n { m[i].shape()[0] } else { m[n - 1].shape()[1] };
        let mut cost = vec![vec![0u128; n]; n];
        let mut split = vec![vec![0usize; n]; n];
        for len in 1..n {
            for i in 0..n - len {
                let j = i + len;
                let price = |k: usize| {
                    cost[i][k]
                        + cost[k + 1][j]
                        + size(i) as u128 * size(k + 1) as u128 * size(j + 1) as u128
                };
                let best = (i..j).min_by_key(|k| price(*k)).expect("not empty");
                cost[i][j] = price(best);
                split[i][j] = best;
            }
        }
        fn product(m: &[Tensor], split: &[Vec<usize>], i: usize, j: usize) -> Tensor {
            if i == j {
                return m[i].clone();
            }
            let k = split[i][j];
            product(m, split, i, k).matmul(&product(m, split, k + 1, j))
        }
        product(m, &split, 0, n - 1)
    }

    /// Sum of products along `dim`, the rest broadcast. Counterpart: `torch.linalg.vecdot`.
    #[track_caller]
    pub fn vecdot(&self, other: &Tensor, dim: isize) -> Tensor {
        let product = self * other;
        let dtype = product.dtype();
        product.sum(dim).to_dtype(dtype)
    }

    /// The cross product of 3-vectors along `dim`, the rest broadcast. Counterpart: `torch.linalg.cross`.
    #[track_caller]
    pub fn cross(&self, other: &Tensor, dim: isize) -> Tensor {
        let shape = crate::shape::broadcast(self.shape(), other.shape()).unwrap_or_else(|| {
            panic!("cross: shapes {:?} and {:?} do not broadcast", self.shape(), other.shape())
        });
        let d = axis_of("cross", dim, shape.len()) as isize;
        assert_eq!(shape[d as usize], 3, "cross: dimension {d} of {shape:?} must have size 3");
        let (a, b) = (self.broadcast_to(&shape), other.broadcast_to(&shape));
        // Components moved round: (1, 2, 0).
        let turned = |t: &Tensor| Tensor::cat(&[t.narrow(d, 1, 2), t.narrow(d, 0, 1)], d);
        turned(&(&a * turned(&b) - turned(&a) * &b))
    }

    /// The Kronecker product: every element of `self` times the whole of `other`. Counterpart: `torch.kron`.
    #[track_caller]
    pub fn kron(&self, other: &Tensor) -> Tensor {
        let rank = self.rank().max(other.rank());
        let full = |t: &Tensor| {
            let mut s = vec![1usize; rank - t.rank()];
            s.extend_from_slice(t.shape());
            s
        };
        let (a, b) = (full(self), full(other));
        let apart = |s: &[usize], first: bool| -> Vec<usize> {
            s.iter().flat_map(|n| if first { [*n, 1] } else { [1, *n] }).collect()
        };
        let product = self.reshape(apart(&a, true)) * other.reshape(apart(&b, false));
        let shape: Vec<usize> = a.iter().zip(&b).map(|(x, y)| x * y).collect();
        product.reshape(&shape)
    }

    /// Sum of the diagonal of a matrix; integers give i64. Counterpart: `torch.trace`.
    #[track_caller]
    pub fn trace(&self) -> Tensor {
        assert_eq!(self.rank(), 2, "trace: expected a matrix, got shape {:?}", self.shape());
        let on = Tensor::iota(self.shape()[0]).unsqueeze(1).eq(Tensor::iota(self.shape()[1]));
        self.where_(&on, self.zeros_like()).sum(..)
    }
}

#[track_caller]
fn expect_ranks(op: &str, a: &Tensor, ra: usize, b: &Tensor, rb: usize) {
    assert!(
        a.rank() == ra && b.rank() == rb,
        "{op}: expected ranks {ra} and {rb}, got shapes {:?} and {:?}; matmul takes other ranks",
        a.shape(),
        b.shape()
    );
    let (x, y) = (result_type(a, b), DType::Bool);
    assert!(x != y, "{op}: bool has no product; convert with to_dtype first");
}
