//! Factorizations of one small matrix of `f64` in host memory: plain, accurate, unhurried.
//!
//! Sources: Golub and Van Loan, "Matrix Computations" (4th ed.): LU with partial pivoting (3.4), Cholesky (4.2), Householder QR
//! (5.2), cyclic Jacobi for symmetric matrices (8.5), one-sided Jacobi for the singular values (8.6.3).

/// A row-major matrix.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mat {
    pub rows: usize,
    pub cols: usize,
    pub data: Vec<f64>,
}

impl std::ops::Index<(usize, usize)> for Mat {
    type Output = f64;
    fn index(&self, (r, c): (usize, usize)) -> &f64 {
        &self.data[r * self.cols + c]
    }
}
impl std::ops::IndexMut<(usize, usize)> for Mat {
    fn index_mut(&mut self, (r, c): (usize, usize)) -> &mut f64 {
        &mut self.data[r * self.cols + c]
    }
}

impl Mat {
    pub fn new(rows: usize, cols: usize, data: Vec<f64>) -> Mat {
        debug_assert_eq!(data.len(), rows * cols);
        Mat { rows, cols, data }
    }

    pub fn zeros(rows: usize, cols: usize) -> Mat {
        Mat::new(rows, cols, vec![0.0; rows * cols])
    }

    pub fn eye(n: usize) -> Mat {
        let mut m = Mat::zeros(n, n);
        for i in 0..n {
            m[(i, i)] = 1.0;
        }
        m
    }

    pub fn transposed(&self) -> Mat {
        let mut t = Mat::zeros(self.cols, self.rows);
        for r in 0..self.rows {
            for c in 0..self.cols {
                t[(c, r)] = self[(r, c)];
            }
        }
        t
    }

    pub fn times(&self, other: &Mat) -> Mat {
        let mut out = Mat::zeros(self.rows, other.cols);
        for r in 0..self.rows {
            for k in 0..self.cols {
                let x = self[(r, k)];
                for c in 0..other.cols {
                    out[(r, c)] += x * other[(k, c)];
                }
            }
        }
        out
    }

    fn column(&self, c: usize) -> Vec<f64> {
        (0..self.rows).map(|r| self[(r, c)]).collect()
    }
}

/// `P A = L U`: both factors in one matrix, the row order, and the sign of the permutation.
pub(crate) fn lu(a: &Mat) -> (Mat, Vec<usize>, f64) {
    let n = a.rows;
    let mut m = a.clone();
    let mut order: Vec<usize> = (0..n).collect();
    let mut sign = 1.0;
    for k in 0..n {
        let p = (k..n).max_by(|x, y| m[(*x, k)].abs().total_cmp(&m[(*y, k)].abs())).unwrap_or(k);
        if p != k {
            for c in 0..n {
                m.data.swap(p * n + c, k * n + c);
            }
            order.swap(p, k);
            sign = -sign;
        }
        let pivot = m[(k, k)];
        if pivot == 0.0 {
            continue;
        }
        for r in k + 1..n {
            let f = m[(r, k)] / pivot;
            m[(r, k)] = f;
            for c in k + 1..n {
                let x = m[(k, c)];
                m[(r, c)] -= f * x;
            }
        }
    }
    (m, order, sign)
}

/// `X` with `A X = B`; infinite or NaN where `A` is singular.
pub(crate) fn solve(a: &Mat, b: &Mat) -> Mat {
    let (f, order, _) = lu(a);
    let n = a.rows;
    let mut x = Mat::zeros(n, b.cols);
    for c in 0..b.cols {
        for r in 0..n {
            let mut v = b[(order[r], c)];
            for k in 0..r {
                v -= f[(r, k)] * x[(k, c)];
            }
            x[(r, c)] = v;
        }
        for r in (0..n).rev() {
            let mut v = x[(r, c)];
            for k in r + 1..n {
                v -= f[(r, k)] * x[(k, c)];
            }
            x[(r, c)] = v / f[(r, r)];
        }
    }
    x
}

/// Sign and logarithm of the absolute value of the determinant.
pub(crate) fn slogdet(a: &Mat) -> (f64, f64) {
    let (f, _, mut sign) = lu(a);
    let mut log = 0.0;
    for i in 0..a.rows {
        let d = f[(i, i)];
        if d == 0.0 {
            return (0.0, f64::NEG_INFINITY);
        }
        if d < 0.0 {
            sign = -sign;
        }
        log += d.abs().ln();
    }
    (sign, log)
}

/// The determinant.
pub(crate) fn det(a: &Mat) -> f64 {
    let (f, _, sign) = lu(a);
    (0..a.rows).map(|i| f[(i, i)]).product::<f64>() * sign
}

/// The matrix of cofactors, also of singular matrices: the gradient of the determinant.
pub(crate) fn cofactors(a: &Mat) -> Mat {
    let n = a.rows;
    let (u, s, vt) = svd(a);
    let sign = det(&u) * det(&vt);
    let mut scaled = Mat::zeros(n, n);
    for j in 0..n {
        let others: f64 = (0..n).filter(|k| *k != j).map(|k| s[k]).product();
        for r in 0..n {
            scaled[(r, j)] = u[(r, j)] * others * sign;
        }
    }
    scaled.times(&vt)
}

/// Lower `L` with `L L^T = A`; NaN where `A` is not positive definite. Only the lower triangle is read.
pub(crate) fn cholesky(a: &Mat) -> Mat {
    let n = a.rows;
    let mut l = Mat::zeros(n, n);
    for r in 0..n {
        for c in 0..=r {
            let mut v = a[(r, c)];
            for k in 0..c {
                v -= l[(r, k)] * l[(c, k)];
            }
            l[(r, c)] = if r == c { v.sqrt() } else { v / l[(c, c)] };
        }
    }
    l
}

/// `A = Q R` by Householder reflections, `Q` square; rows of `R` below its columns are zero.
pub(crate) fn qr(a: &Mat) -> (Mat, Mat) {
    let (m, n) = (a.rows, a.cols);
    let mut r = a.clone();
    let mut q = Mat::eye(m);
    for k in 0..n.min(m.saturating_sub(1)) {
        let norm = (k..m).map(|i| r[(i, k)] * r[(i, k)]).sum::<f64>().sqrt();
        if norm == 0.0 {
            continue;
        }
        let alpha = if r[(k, k)] > 0.0 { -norm } else { norm };
        let mut v: Vec<f64> = (k..m).map(|i| r[(i, k)]).collect();
        v[0] -= alpha;
        let size: f64 = v.iter().map(|x| x * x).sum();
        if size == 0.0 {
            continue;
        }
        for c in 0..n {
            let d: f64 = (k..m).map(|i| v[i - k] * r[(i, c)]).sum::<f64>() * 2.0 / size;
            for i in k..m {
                r[(i, c)] -= d * v[i - k];
            }
        }
        for row in 0..m {
            let d: f64 = (k..m).map(|i| v[i - k] * q[(row, i)]).sum::<f64>() * 2.0 / size;
            for i in k..m {
                q[(row, i)] -= d * v[i - k];
            }
        }
    }
    for c in 0..n {
        for i in c + 1..m {
            r[(i, c)] = 0.0;
        }
    }
    (q, r)
}

/// Eigenvalues (ascending) and eigenvectors (columns) of a symmetric matrix.
pub(crate) fn eigh(a: &Mat) -> (Vec<f64>, Mat) {
    let n = a.rows;
    let mut m = a.clone();
    let mut v = Mat::eye(n);
    for _ in 0..60 {
        let off: f64 = (0..n)
            .flat_map(|r| (0..n).filter(move |c| *c != r).map(move |c| (r, c)))
            .map(|p| m[p] * m[p])
            .sum();
        let all: f64 = m.data.iter().map(|x| x * x).sum();
        if off <= all * 1e-32 || !all.is_finite() {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let x = m[(p, q)];
                if x == 0.0 {
                    continue;
                }
                let theta = (m[(q, q)] - m[(p, p)]) / (2.0 * x);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..n {
                    let (y, z) = (m[(k, p)], m[(k, q)]);
                    m[(k, p)] = c * y - s * z;
                    m[(k, q)] = s * y + c * z;
                }
                for k in 0..n {
                    let (y, z) = (m[(p, k)], m[(q, k)]);
                    m[(p, k)] = c * y - s * z;
                    m[(q, k)] = s * y + c * z;
                }
                for k in 0..n {
                    let (y, z) = (v[(k, p)], v[(k, q)]);
                    v[(k, p)] = c * y - s * z;
                    v[(k, q)] = s * y + c * z;
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|x, y| m[(*x, *x)].total_cmp(&m[(*y, *y)]));
    let mut vectors = Mat::zeros(n, n);
    for (to, from) in order.iter().enumerate() {
        for r in 0..n {
            vectors[(r, to)] = v[(r, *from)];
        }
    }
    (order.iter().map(|i| m[(*i, *i)]).collect(), vectors)
}

/// `A = U diag(s) V^T` with as many columns in `U` and rows in `V^T` as the shorter side; `s` descending.
pub(crate) fn svd(a: &Mat) -> (Mat, Vec<f64>, Mat) {
    if a.rows < a.cols {
        let (u, s, vt) = svd(&a.transposed());
        return (vt.transposed(), s, u.transposed());
    }
    let (m, n) = (a.rows, a.cols);
    // Columns of `w` are rotated in pairs until all are orthogonal; the same rotations collect in `v`.
    let mut w = a.clone();
    let mut v = Mat::eye(n);
    for _ in 0..60 {
        let mut turned = false;
        for p in 0..n {
            for q in p + 1..n {
                let (mut alpha, mut beta, mut gamma) = (0.0, 0.0, 0.0);
                for r in 0..m {
                    let (x, y) = (w[(r, p)], w[(r, q)]);
                    alpha += x * x;
                    beta += y * y;
                    gamma += x * y;
                }
                let limit = 1e-16 * (alpha * beta).sqrt();
                if gamma.is_nan() || gamma.abs() <= limit {
                    continue;
                }
                turned = true;
                let zeta = (beta - alpha) / (2.0 * gamma);
                let t = if zeta == 0.0 {
                    1.0
                } else {
                    zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt())
                };
                let c = 1.0 / (1.0 + t * t).sqrt();
                let s = c * t;
                for (x, rows) in [(&mut w, m), (&mut v, n)] {
                    for r in 0..rows {
                        let (y, z) = (x[(r, p)], x[(r, q)]);
                        x[(r, p)] = c * y - s * z;
                        x[(r, q)] = s * y + c * z;
                    }
                }
            }
        }
        if !turned {
            break;
        }
    }
    let norms: Vec<f64> =
        (0..n).map(|c| w.column(c).iter().map(|x| x * x).sum::<f64>().sqrt()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|x, y| norms[*y].total_cmp(&norms[*x]));
    let largest = order.first().map_or(0.0, |i| norms[*i]);
    let mut u = Mat::zeros(m, n);
    let mut vt = Mat::zeros(n, n);
    let mut s = Vec::with_capacity(n);
    let mut filled = 0;
    for (to, from) in order.iter().enumerate() {
        let size = norms[*from];
        s.push(size);
        for r in 0..n {
            vt[(to, r)] = v[(r, *from)];
        }
        // Directions of (numerically) zero columns are free: found below.
        if size > largest * 1e-15 {
            for r in 0..m {
                u[(r, to)] = w[(r, *from)] / size;
            }
            filled = to + 1;
        }
    }
    complete(&mut u, filled);
    (u, s, vt)
}

/// Fills columns from `have` on so that all are orthonormal.
pub(crate) fn complete(u: &mut Mat, have: usize) {
    let m = u.rows;
    for c in have..u.cols {
        // Of all axes, the one farthest from the space so far.
        let axis = (0..m)
            .min_by(|x, y| {
                let inside = |r: usize| (0..c).map(|k| u[(r, k)] * u[(r, k)]).sum::<f64>();
                inside(*x).total_cmp(&inside(*y))
            })
            .unwrap_or(0);
        let mut e = vec![0.0; m];
        e[axis] = 1.0;
        for _ in 0..2 {
            for k in 0..c {
                let d: f64 = (0..m).map(|r| u[(r, k)] * e[r]).sum();
                for r in 0..m {
                    e[r] -= d * u[(r, k)];
                }
            }
        }
        let norm = e.iter().map(|x| x * x).sum::<f64>().sqrt();
        for r in 0..m {
            u[(r, c)] = e[r] / norm;
        }
    }
}

/// The pseudoinverse, singular values up to `tolerance` counted as zero.
pub(crate) fn pinv(a: &Mat, tolerance: f64) -> Mat {
    let (u, s, vt) = svd(a);
    let mut v = vt.transposed();
    for c in 0..v.cols {
        let f = if s[c] > tolerance { 1.0 / s[c] } else { 0.0 };
        for r in 0..v.rows {
            v[(r, c)] *= f;
        }
    }
    v.times(&u.transposed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rows: usize, cols: usize) -> Mat {
        let number = |i: usize| ((i * i) as f64 * 0.7 + i as f64 * 1.3 + 0.4).sin();
        let data = (0..rows * cols).map(number).collect();
        Mat::new(rows, cols, data)
    }

    fn close(a: &Mat, b: &Mat) {
        assert_eq!((a.rows, a.cols), (b.rows, b.cols));
        for (x, y) in a.data.iter().zip(&b.data) {
            assert!((x - y).abs() < 1e-10, "{a:?}\n{b:?}");
        }
    }

    #[test]
    fn factors_give_the_matrix_back() {
        let a = sample(5, 5);
        close(&a.times(&solve(&a, &Mat::eye(5))), &Mat::eye(5));
        let (sign, log) = slogdet(&a);
        assert!((sign * log.exp() - det(&a)).abs() < 1e-8 * det(&a).abs());
        let spd = a.times(&a.transposed());
        let l = cholesky(&spd);
        close(&l.times(&l.transposed()), &spd);
        let (w, v) = eigh(&spd);
        let mut scaled = v.clone();
        for c in 0..5 {
            for r in 0..5 {
                scaled[(r, c)] *= w[c];
            }
        }
        close(&scaled.times(&v.transposed()), &spd);
        assert!(w.windows(2).all(|p| p[0] <= p[1]));
        for (m, n) in [(6, 3), (3, 6), (4, 4), (1, 3)] {
            let a = sample(m, n);
            let (q, r) = qr(&a);
            close(&q.times(&r), &a);
            close(&q.transposed().times(&q), &Mat::eye(m));
            let (u, s, vt) = svd(&a);
            let mut us = u.clone();
            for c in 0..s.len() {
                for r in 0..m {
                    us[(r, c)] *= s[c];
                }
            }
            close(&us.times(&vt), &a);
            let p = pinv(&a, 1e-12);
            close(&a.times(&p).times(&a), &a);
        }
    }

    #[test]
    fn singular_matrices() {
        let a = Mat::new(2, 2, vec![1.0, 2.0, 2.0, 4.0]);
        assert_eq!(det(&a), 0.0);
        close(&cofactors(&a), &Mat::new(2, 2, vec![4.0, -2.0, -2.0, 1.0]));
        let zero = Mat::zeros(3, 3);
        let (u, s, _) = svd(&zero);
        assert_eq!(s, vec![0.0; 3]);
        close(&u.transposed().times(&u), &Mat::eye(3));
    }
}
