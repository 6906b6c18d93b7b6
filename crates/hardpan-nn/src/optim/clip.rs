//! Gradients kept in bounds.

use crate::Param;
use hardpan_engine::{Tensor, no_grad};

/// The norm of order `p` of all gradients together, a number still to be computed; `None` if there are no gradients.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::grad_norm;
/// use hardpan_nn::Param;
/// let w = Param::new(Tensor::zeros([2]));
/// w.set_grad(Some(Tensor::from_slice(&[3f32, 4.0], [2])));
/// let norm = |p: f64| grad_norm(&[w.clone()], p).unwrap().item::<f32>();
/// assert_eq!((norm(2.0), norm(1.0), norm(f64::INFINITY)), (5.0, 7.0, 4.0));
/// ```
pub fn grad_norm(params: &[Param], p: f64) -> Option<Tensor> {
    let grads: Vec<Tensor> = params.iter().filter_map(Param::grad).collect();
    if grads.is_empty() {
        return None;
    }
    Some(no_grad(|| total_norm(&grads, p)))
}

fn total_norm(grads: &[Tensor], p: f64) -> Tensor {
    if p == f64::INFINITY {
        let each = grads.iter().filter(|g| g.numel() > 0).map(|g| g.abs().amax(..));
        return each.reduce(|a, b| a.maximum(b)).unwrap_or_else(|| Tensor::scalar(0f32));
    }
    let power = |x: &Tensor| if p == 2.0 { x * x } else { x.abs().pow(p) };
    let each = grads.iter().map(|g| power(g).sum(..));
    let sum = each.reduce(|a, b| a + b).expect("not empty");
    if p == 2.0 { sum.sqrt() } else { sum.pow(1.0 / p) }
}

/// Scales all gradients by one number so that their norm is at most `max_norm`; gives the norm before.
///
/// Lazy: part of the plan of the step. Counterpart: `torch.nn.utils.clip_grad_norm_` (norm of order 2).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::clip_grad_norm;
/// use hardpan_nn::Param;
/// let w = Param::new(Tensor::zeros([2]));
/// w.set_grad(Some(Tensor::from_slice(&[3f32, 4.0], [2])));
/// let before = clip_grad_norm(&[w.clone()], 1.0).unwrap();
/// assert_eq!(before.item::<f32>(), 5.0);
/// assert!((w.grad().unwrap().to_vec::<f32>()[0] - 0.6).abs() < 1e-6);
/// ```
pub fn clip_grad_norm(params: &[Param], max_norm: f64) -> Option<Tensor> {
    clip_grad_norm_of(params, max_norm, 2.0)
}

/// As [`clip_grad_norm`] with the norm of order `p` (infinity: the largest element).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::clip_grad_norm_of;
/// use hardpan_nn::Param;
/// let w = Param::new(Tensor::zeros([2]));
/// w.set_grad(Some(Tensor::from_slice(&[3f32, 4.0], [2])));
/// clip_grad_norm_of(&[w.clone()], 2.0, f64::INFINITY);
/// assert!((w.grad().unwrap().to_vec::<f32>()[1] - 2.0).abs() < 1e-6);
/// ```
pub fn clip_grad_norm_of(params: &[Param], max_norm: f64, p: f64) -> Option<Tensor> {
    let total = grad_norm(params, p)?;
    no_grad(|| {
        // The 1e-6 is PyTorch's, against a norm of zero.
        let factor = ((&total + 1e-6).reciprocal() * max_norm).minimum(1.0);
        for param in params {
            if let Some(g) = param.grad() {
                let scaled = &g * factor.to_dtype(g.dtype());
                param.set_grad(Some(scaled));
            }
        }
    });
    Some(total)
}

/// Limits every element of the gradients to `-limit..=limit`. Counterpart: `torch.nn.utils.clip_grad_value_`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::clip_grad_value;
/// use hardpan_nn::Param;
/// let w = Param::new(Tensor::zeros([2]));
/// w.set_grad(Some(Tensor::from_slice(&[3f32, 4.0], [2])));
/// clip_grad_value(&[w.clone()], 3.5);
/// assert_eq!(w.grad().unwrap().to_vec::<f32>(), [3.0, 3.5]);
/// ```
pub fn clip_grad_value(params: &[Param], limit: f64) {
    no_grad(|| {
        for param in params {
            if let Some(g) = param.grad() {
                param.set_grad(Some(g.maximum(-limit).minimum(limit)));
            }
        }
    });
}
