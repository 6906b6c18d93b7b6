//! Lengths of vectors and matrices, distances, and the clipping of gradients.

use super::arguments::Axes;
use super::elementwise::wide;
use super::stats::safe_sqrt;
use crate::node::Tensor;
use crate::op::ReduceOp;
use std::panic::Location;

impl Tensor {
    /// The `p`-norm over `dims`: `sum(|x|^p)^(1/p)`; `p` may be infinite (largest), minus infinite (smallest) or 0 (how many
    /// are not zero). The gradient is 0 where the norm is 0. Counterpart: `torch.linalg.vector_norm`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// assert_eq!(Tensor::from_slice(&[3.0f32, 4.0], [2]).norm(2.0, ..).item::<f32>(), 5.0);
    /// ```
    #[track_caller]
    pub fn norm(&self, p: f64, dims: impl Axes) -> Tensor {
        let axes = dims.axes("norm", self.rank());
        self.norm_at(p, &axes).drop_axes(&axes, Location::caller())
    }

    /// As [`Tensor::norm`], keeping the dimensions with size 1.
    #[track_caller]
    pub fn norm_keepdim(&self, p: f64, dims: impl Axes) -> Tensor {
        self.norm_at(p, &dims.axes("norm", self.rank()))
    }

    #[track_caller]
    fn norm_at(&self, p: f64, axes: &[usize]) -> Tensor {
        let at = Location::caller();
        let dtype = self.dtype().to_float();
        let x = wide(self);
        let total = |t: &Tensor| t.prim_reduce(ReduceOp::Sum, axes, at);
        let out = if p == 2.0 {
            safe_sqrt(&total(&(&x * &x)))
        } else if p == 1.0 {
            total(&x.abs())
        } else if p == 0.0 {
            // The factor of zero keeps the result part of the graph.
            total(&x.ne(0.0).to_dtype(x.dtype())) + total(&x.floor().where_(&x.eq(0.0), 0.0))
        } else if p.is_infinite() {
            let op = if p > 0.0 { ReduceOp::Max } else { ReduceOp::Min };
            if axes.iter().any(|a| x.shape()[*a] == 0) {
                assert!(p > 0.0, "norm: no elements to find the smallest of in {:?}", self.shape());
                total(&x)
            } else {
                x.abs().prim_reduce(op, axes, at)
            }
        } else {
            let size = x.abs();
            let zero = size.eq(0.0);
            let powers = size.ones_like().where_(&zero, &size).pow(p);
            // |0|^p is infinite for negative p, and so makes the norm 0.
            let at_zero = if p > 0.0 { 0.0 } else { f64::INFINITY };
            let sum = total(&powers.full_like(at_zero).where_(&zero, &powers));
            let none = sum.eq(0.0).logical_or(sum.eq(f64::INFINITY));
            let root = sum.ones_like().where_(&none, &sum).pow(1.0 / p);
            let rest = if p > 0.0 {
                sum.detach()
            } else {
                // sum 0: nothing there (infinite norm by the formula); infinite: an element is 0.
                sum.detach().reciprocal()
            };
            rest.where_(&none, &root)
        };
        out.to_dtype(dtype)
    }

    /// Pairwise distances of rows by the `p`-norm: `[.., P, M]` and `[.., R, M]` give `[.., P, R]`. Counterpart: `torch.cdist`.
    #[track_caller]
    pub fn cdist(&self, other: &Tensor, p: f64) -> Tensor {
        assert!(
            self.rank() >= 2 && other.rank() >= 2 && self.size(-1) == other.size(-1),
            "cdist: rows of {:?} and {:?} have different sizes or there are no rows",
            self.shape(),
            other.shape()
        );
        (self.unsqueeze(-2) - other.unsqueeze(-3)).norm(p, -1)
    }

    /// The `p`-norm of the difference of two tensors, broadcast. Counterpart: `torch.dist`.
    #[track_caller]
    pub fn dist(&self, other: &Tensor, p: f64) -> Tensor {
        (self - other).norm(p, ..)
    }

    /// Every slice along `dim` whose `p`-norm exceeds `maxnorm` scaled down to it. Counterpart: `torch.renorm`.
    #[track_caller]
    pub fn renorm(&self, p: f64, dim: isize, maxnorm: f64) -> Tensor {
        let keep = crate::shape::axis_of("renorm", dim, self.rank());
        let axes: Vec<usize> = (0..self.rank()).filter(|d| *d != keep).collect();
        let n = wide(self).norm_keepdim(p, &axes);
        let scale = (maxnorm / (&n + 1e-7)).where_(&n.gt(maxnorm), 1.0);
        (wide(self) * scale).to_dtype(self.dtype())
    }
}

/// Gradients scaled so that the `p`-norm of all of them together is at most `max_norm`; returns that norm (before) and the
/// scaled gradients. Nothing is read back. Counterpart: `torch.nn.utils.clip_grad_norm_`.
#[track_caller]
pub fn clip_grad_norm(gradients: &[Tensor], max_norm: f64, p: f64) -> (Tensor, Vec<Tensor>) {
    if gradients.is_empty() {
        return (Tensor::zeros([0usize; 0]), Vec::new());
    }
    let norms: Vec<Tensor> = gradients.iter().map(|g| g.norm(p, ..)).collect();
    let total = Tensor::stack(&norms, 0).norm(p, ..);
    let scale = (max_norm / (&total + 1e-6)).clamp_max(1.0);
    let clipped = gradients.iter().map(|g| g * scale.to_dtype(g.dtype())).collect();
    (total, clipped)
}

/// Gradients limited to `[-limit, limit]`. Counterpart: `torch.nn.utils.clip_grad_value_`.
#[track_caller]
pub fn clip_grad_value(gradients: &[Tensor], limit: f64) -> Vec<Tensor> {
    gradients.iter().map(|g| g.clamp(-limit, limit)).collect()
}
