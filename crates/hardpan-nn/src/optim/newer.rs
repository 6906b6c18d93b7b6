//! Recipes of optimizers younger than Adam's family, and of the ones that need more than one gradient.

use super::recipes::{Recipe, list, settings, when};
use super::steps::*;
use super::{Hyper, Hypers, Optimizer, Step};
use crate::Param;
use hardpan_engine::{Tensor, no_grad};
use std::sync::Arc;

settings! {
    /// The sign of a mix of momentum and gradient: one number of memory for each parameter. Chen et al., <https://arxiv.org/abs/2302.06675>.
    /// Needs a learning rate 3 to 10 times smaller than Adam's, and a weight decay as much larger.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Lion, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// Lion::new(0.1).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.9).abs() < 1e-4);
    /// ```
    Lion {
        /// Learning rate. Default 0.0001.
        lr: f64 = 1e-4,
        /// Share of the momentum in the step, and decay of the momentum. Default (0.9, 0.99).
        betas: (f64, f64) = (0.9, 0.99),
        /// Weight decay (decoupled). Default 0.
        weight_decay: f64 = 0.0,
        /// Ascend. Default no.
        maximize: bool = false,
    }
}

impl Recipe for Lion {
    fn steps(&self) -> Vec<Step> {
        list(&[when(self.maximize, maximize), Some(weight_decay), Some(lion_step)])
    }
    fn hypers(&self) -> Hypers {
        Hypers::new(&[
            (Hyper::Lr, self.lr),
            (Hyper::Mom, self.betas.0),
            (Hyper::SqrMom, self.betas.1),
            (Hyper::Wd, self.weight_decay),
        ])
    }
}

settings! {
    /// Momentum made orthogonal, for the matrices inside a network: <https://kellerjordan.github.io/posts/muon>. Parameters that are not matrices
    /// (biases, norms, convolutions) are stepped by Adam with `betas`; give embeddings and the last layer a group of another optimizer, as its
    /// author advises. Counterpart: `torch.optim.Muon` (which takes matrices only, and orthogonalizes in bf16 where this does in f32).
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Muon, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::zeros([2, 2]));
    /// w.set_grad(Some(Tensor::from_slice(&[3f32, 0.0, 0.0, 0.1], [2, 2])));
    /// Muon::new(0.1).build(vec![w.clone()]).step();
    /// let w = w.value().to_vec::<f32>();
    /// // Both directions move about as far, though one gradient is 30 times the other.
    /// assert!((0.05..0.15).contains(&-w[0]) && (0.05..0.15).contains(&-w[3]));
    /// ```
    Muon {
        /// Learning rate. Default 0.001.
        lr: f64 = 1e-3,
        /// Weight decay (decoupled). Default 0.1.
        weight_decay: f64 = 0.1,
        /// Momentum. Default 0.95.
        momentum: f64 = 0.95,
        /// Nesterov's momentum. Default yes.
        nesterov: bool = true,
        /// Coefficients of the iteration. Default (3.4445, -4.775, 2.0315).
        coefficients: (f64, f64, f64) = (3.4445, -4.775, 2.0315),
        /// Added to the norm. Default 1e-7.
        eps: f64 = 1e-7,
        /// Rounds of the iteration. Default 5.
        rounds: usize = 5,
        /// Scale steps to the size of Adam's, `0.2 sqrt(max(rows, columns))`, rather than by `sqrt(max(1, rows / columns))`. Default no.
        match_adam: bool = false,
        /// Decays of Adam's averages for what is not a matrix. Default (0.9, 0.95).
        betas: (f64, f64) = (0.9, 0.95),
    }
}

impl Recipe for Muon {
    fn steps(&self) -> Vec<Step> {
        let muon = self.clone();
        let mut out = list(&[Some(weight_decay)]);
        out.push(Arc::new(move |u| {
            if u.value.rank() == 2 {
                muon_step(u, &muon);
            } else {
                average_grad_by(u, muon.betas.0);
                average_sqr_grad(u);
                adam_step_by(u, muon.betas.0);
            }
        }));
        out
    }
    fn hypers(&self) -> Hypers {
        Hypers::new(&[
            (Hyper::Lr, self.lr),
            (Hyper::Mom, self.momentum),
            (Hyper::SqrMom, self.betas.1),
            (Hyper::Eps, self.eps),
            (Hyper::Wd, self.weight_decay),
        ])
    }
}

/// Sharpness-aware minimization around any optimizer: each step takes the gradient at the worst point within `rho` of the weights, so that
/// training prefers flat valleys. Foret et al., <https://arxiv.org/abs/2010.01412>.
///
/// Two passes for each step:
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::Param;
/// use hardpan_nn::optim::{Recipe, SGD, Sam};
///
/// let w = Param::new(Tensor::from_vec(vec![1f32, -2.0], [2]));
/// let mut opt = Sam::new(SGD::new(0.1).build(vec![w.clone()]), 0.05);
/// for _ in 0..50 {
///     let loss = || (w.value() * w.value()).sum(..).backward();
///     loss();
///     opt.ascend();
///     loss();
///     opt.step();
/// }
/// assert!(w.value().to_vec::<f32>().iter().all(|x| x.abs() < 0.1));
/// ```
pub struct Sam {
    optimizer: Optimizer,
    rho: f64,
    adaptive: bool,
    /// The weights as they were, while they are at the worst point.
    home: Vec<(Param, Tensor)>,
}

impl Sam {
    /// Around this optimizer; the paper's `rho` is 0.05.
    pub fn new(optimizer: Optimizer, rho: f64) -> Sam {
        Sam { optimizer, rho, adaptive: false, home: Vec::new() }
    }

    /// Measures distance in units of each weight: Kwon et al., <https://arxiv.org/abs/2102.11600>. Default no.
    #[must_use]
    pub fn adaptive(mut self, adaptive: bool) -> Sam {
        self.adaptive = adaptive;
        self
    }

    /// Moves the weights uphill, a distance `rho` along the gradient of all of them, and clears the gradients.
    pub fn ascend(&mut self) {
        no_grad(|| {
            let moved: Vec<(Param, Tensor, Tensor)> = self
                .optimizer
                .params()
                .filter(|p| !p.is_frozen())
                .filter_map(|p| Some((p.clone(), p.value().detach(), p.grad()?)))
                .collect();
            let scaled =
                |w: &Tensor, g: &Tensor| if self.adaptive { w.abs() * g } else { g.clone() };
            let squares = moved.iter().map(|(_, w, g)| {
                let s = scaled(w, g);
                (&s * &s).sum(..)
            });
            let Some(sum) = squares.reduce(|a, b| a + b) else { return };
            // The 1e-12 is the reference implementation's.
            let factor = (sum.sqrt() + 1e-12).reciprocal() * self.rho;
            for (p, w, g) in moved {
                let way = if self.adaptive { &w * &w * &g } else { g };
                p.set(&w + way * factor.to_dtype(w.dtype()));
                p.zero_grad();
                self.home.push((p, w));
            }
        });
    }

    /// Puts the weights back and steps with the gradients of the worst point, which are then cleared.
    pub fn step(&mut self) {
        for (p, w) in self.home.drain(..) {
            p.set(w);
        }
        self.optimizer.step_and_zero_grad();
    }

    /// The optimizer inside: for schedules and saving.
    pub fn optimizer(&mut self) -> &mut Optimizer {
        &mut self.optimizer
    }
}
