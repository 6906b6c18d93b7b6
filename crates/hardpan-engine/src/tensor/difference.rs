//! Differences, integrals and derivatives along one dimension.

use crate::dtype::DType;
use crate::node::Tensor;
use crate::shape::axis_of;

/// Where the samples of a function lie. Counterpart: the `spacing` of `torch.gradient`.
#[derive(Clone, Copy)]
pub enum Spacing<'a> {
    /// At equal distances.
    Equal(f64),
    /// At these positions (rank 1).
    At(&'a Tensor),
}

impl Tensor {
    /// Differences of neighbours along `dim`, `n` times. Bool gives the exclusive or. Counterpart: `torch.diff` (concatenate
    /// `prepend` and `append` with [`Tensor::cat`] first).
    #[track_caller]
    pub fn diff(&self, n: usize, dim: isize) -> Tensor {
        let axis = axis_of("diff", dim, self.rank()) as isize;
        assert!(self.rank() > 0, "diff: needs at least one dimension");
        let mut x = self.clone();
        for _ in 0..n {
            let size = x.size(axis);
            if size == 0 {
                break;
            }
            let (high, low) = (x.narrow(axis, 1, size - 1), x.narrow(axis, 0, size - 1));
            x = if x.dtype() == DType::Bool { high.logical_xor(&low) } else { high - low };
        }
        x
    }

    /// Areas of the trapezoids between neighbours along `dim`, with positions `x` (broadcast) or distance `dx`.
    #[track_caller]
    fn trapezoids(&self, x: Option<&Tensor>, dx: f64, dim: isize) -> Tensor {
        let axis = axis_of("trapezoid", dim, self.rank()) as isize;
        let n = self.size(axis);
        let sums = if n == 0 {
            self.clone()
        } else {
            self.narrow(axis, 0, n - 1) + self.narrow(axis, 1, n - 1)
        };
        match x {
            None => sums * (dx * 0.5),
            Some(x) => {
                // One-dimensional positions lie along `dim`.
                let x = if x.rank() == 1 && self.rank() > 1 {
                    let mut shape = vec![1usize; self.rank()];
                    shape[axis as usize] = x.numel();
                    x.reshape(&shape)
                } else {
                    x.clone()
                };
                let d = x.diff(1, axis - self.rank() as isize);
                d * sums * 0.5
            }
        }
    }

    /// Integral by the trapezoidal rule along `dim`: with positions `x`, or equal distances `dx`. Counterpart:
    /// `torch.trapezoid`.
    #[track_caller]
    pub fn trapezoid(&self, x: Option<&Tensor>, dx: f64, dim: isize) -> Tensor {
        let back = axis_of("trapezoid", dim, self.rank()) as isize - self.rank() as isize;
        let areas = self.trapezoids(x, dx, dim);
        areas.to_dtype(areas.dtype().to_float()).sum(back)
    }

    /// Running integral by the trapezoidal rule along `dim`. Counterpart: `torch.cumulative_trapezoid`.
    #[track_caller]
    pub fn cumulative_trapezoid(&self, x: Option<&Tensor>, dx: f64, dim: isize) -> Tensor {
        let back =
            axis_of("cumulative_trapezoid", dim, self.rank()) as isize - self.rank() as isize;
        self.trapezoids(x, dx, dim).cumsum(back)
    }

    /// The derivative along `dim` of a function sampled at equal distances or given positions: second-order differences
    /// inside, and at the ends differences of order `edge_order` (1 or 2). Counterpart: `torch.gradient` for one dimension.
    ///
    /// # Panics
    /// When there are fewer than `edge_order + 1` samples.
    #[track_caller]
    pub fn gradient(&self, spacing: Spacing<'_>, dim: isize, edge_order: usize) -> Tensor {
        let axis = axis_of("gradient", dim, self.rank()) as isize;
        let n = self.size(axis);
        assert!(
            (1..=2).contains(&edge_order) && n > edge_order,
            "gradient: {n} samples along dimension {axis} of shape {:?} are too few for edges of order {edge_order}",
            self.shape()
        );
        let dtype = self.dtype().to_float();
        let f = self.to_dtype(dtype);
        // Distances of neighbours, shaped to lie along the dimension.
        let steps = match spacing {
            Spacing::Equal(h) => Tensor::full_dtype([n - 1], h, DType::F64),
            Spacing::At(x) => {
                assert_eq!(x.shape(), [n], "gradient: one position for each of {n} samples");
                x.to_dtype(DType::F64).diff(1, 0)
            }
        };
        let mut shape = vec![1usize; self.rank()];
        let mut along = |t: Tensor| {
            shape[axis as usize] = t.numel();
            t.reshape(&shape).to_dtype(dtype)
        };
        let at = |i: usize, len: usize| f.narrow(axis, i, len);
        let step = |i: usize, len: usize| steps.narrow(0, i, len);
        let mut parts = Vec::new();
        if edge_order == 1 {
            parts.push((at(1, 1) - at(0, 1)) / along(step(0, 1)));
        } else {
            let (p, q) = (step(0, 1), step(1, 1));
            let s = &p + &q;
            parts.push(
                at(0, 1) * along(-(&p + &s) / (&p * &s)) + at(1, 1) * along(&s / (&p * &q))
                    - at(2, 1) * along(&p / (&q * &s)),
            );
        }
        if n > 2 {
            let m = n - 2;
            let (p, q) = (step(0, m), step(1, m));
            let s = &p + &q;
            parts.push(
                at(0, m) * along(-(&q / (&p * &s)))
                    + at(1, m) * along((&q - &p) / (&p * &q))
                    + at(2, m) * along(&p / (&q * &s)),
            );
        }
        if edge_order == 1 {
            parts.push((at(n - 1, 1) - at(n - 2, 1)) / along(step(n - 2, 1)));
        } else {
            let (p, q) = (step(n - 3, 1), step(n - 2, 1));
            let s = &p + &q;
            parts.push(
                at(n - 3, 1) * along(&q / (&p * &s)) - at(n - 2, 1) * along(&s / (&p * &q))
                    + at(n - 1, 1) * along((&q + &s) / (&q * &s)),
            );
        }
        Tensor::cat(&parts, axis)
    }
}
