//! Adam for tables of which each batch uses a few rows.

use super::recipes::{Recipe, list, settings, when};
use super::steps::{lerp, maximize};
use super::{Hyper, Hypers, Step, Update};

settings! {
    /// Adam that leaves rows without a gradient alone, averages included, for embeddings of which a batch uses few rows: a rare word
    /// keeps its momentum until it is met again, and is not moved by it meanwhile. Counterpart: `torch.optim.SparseAdam`.
    ///
    /// Gradients here are dense, so a row counts as unused where its gradient is all zeros; PyTorch goes by the indices that were looked up.
    /// A row is an entry of dimension 0. Neither has weight decay.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Recipe, SparseAdam};
    /// use hardpan_nn::{Embedding, Forward};
    /// let words = Embedding::new(3, 2);
    /// let before = words.weight.value().to_vec::<f32>();
    /// let mut opt = SparseAdam::new(0.1).build(&words);
    /// words.forward(&Tensor::from_vec(vec![1i64], [1])).sum(..).backward();
    /// opt.step();
    /// let after = words.weight.value().to_vec::<f32>();
    /// assert_eq!((&after[..2], &after[4..]), (&before[..2], &before[4..]));
    /// assert!(after[2] < before[2] && after[3] < before[3]);
    /// ```
    SparseAdam {
        /// Learning rate. Default 0.001.
        lr: f64 = 1e-3,
        /// Decay of the averages of gradient and squared gradient. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the root of the squared average, which is not corrected for its start before. Default 1e-8.
        eps: f64 = 1e-8,
        /// Ascend. Default no.
        maximize: bool = false,
    }
}

impl Recipe for SparseAdam {
    fn steps(&self) -> Vec<Step> {
        list(&[when(self.maximize, maximize), Some(sparse_adam_step)])
    }
    fn hypers(&self) -> Hypers {
        Hypers::new(&[
            (Hyper::Lr, self.lr),
            (Hyper::Mom, self.betas.0),
            (Hyper::SqrMom, self.betas.1),
            (Hyper::Eps, self.eps),
        ])
    }
}

/// Adam's step in the rows whose gradient is not all zeros. See [`SparseAdam`].
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update, sparse_adam_step};
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::Mom, 0.9), (Hyper::SqrMom, 0.99), (Hyper::Eps, 1e-8)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// sparse_adam_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.9).abs() < 1e-4);
/// ```
pub fn sparse_adam_step(u: &mut Update<'_>) {
    let (beta1, beta2) = (u.hyper(Hyper::Mom), u.hyper(Hyper::SqrMom));
    let inner: Vec<isize> = (1..u.grad.rank() as isize).collect();
    let size = u.grad.abs();
    let used = match inner.is_empty() {
        true => size.gt(0.0),
        false => size.amax_keepdim(&inner[..]).gt(0.0),
    };
    let (average, square) = (u.take_or_zeros("exp_avg"), u.take_or_zeros("exp_avg_sq"));
    let average = lerp(&average, &u.grad, 1.0 - beta1).where_(&used, &average);
    let square = lerp(&square, &(&u.grad * &u.grad), 1.0 - beta2).where_(&used, &square);
    let rate = u.lr() * (1.0 - u.power(beta2)).sqrt() / (1.0 - u.power(beta1));
    let moved = &u.value - &average / (square.sqrt() + u.hyper(Hyper::Eps)) * rate;
    u.value = moved.where_(&used, &u.value);
    u.state.set("exp_avg", average);
    u.state.set("exp_avg_sq", square);
}
