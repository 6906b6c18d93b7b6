//! L-BFGS: steps that know the curvature of the loss from the last few gradients.

use super::line_search::{Point, search};
use super::recipes::settings;
use crate::{Module, Param};
use hardpan_engine::{DType, Tensor, no_grad};
use std::cell::Cell;
use std::collections::VecDeque;

settings! {
    /// Limited-memory BFGS, for smooth losses that are the same at every call (whole data sets, style transfer, fits of a few numbers).
    /// Counterpart: `torch.optim.LBFGS`; Nocedal and Wright, *Numerical Optimization*, algorithms 7.4, 7.5 and 3.5.
    ///
    /// A step asks for the loss many times, so it takes a function:
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::Param;
    /// use hardpan_nn::optim::LBFGS;
    /// // Rosenbrock's valley, whose lowest point is (1, 1).
    /// let w = Param::new(Tensor::from_vec(vec![-1.5f64, 2.0], [2]));
    /// let mut opt = LBFGS::new(1.0).strong_wolfe(true).build(vec![w.clone()]);
    /// for _ in 0..3 {
    ///     opt.step(|| {
    ///         let (x, y) = (w.value().select(0, 0), w.value().select(0, 1));
    ///         (&x - 1.0).square() + (y - x.square()).square() * 100.0
    ///     });
    /// }
    /// assert!(w.value().to_vec::<f64>().iter().all(|v| (v - 1.0).abs() < 1e-4));
    /// ```
    LBFGS {
        /// Factor of each step; with [`strong_wolfe`](LBFGS::strong_wolfe) only where its search begins. Default 1.
        lr: f64 = 1.0,
        /// Most iterations of a step. Default 20.
        max_iter: usize = 20,
        /// Most evaluations of the loss in a step; 0 for `max_iter * 5 / 4`. Default 0.
        max_eval: usize = 0,
        /// A step ends where no gradient is larger than this. Default 1e-7.
        tolerance_grad: f64 = 1e-7,
        /// A step ends where neither loss nor parameters change by more than this. Default 1e-9.
        tolerance_change: f64 = 1e-9,
        /// Number of changes that are remembered. Default 100.
        history_size: usize = 100,
        /// Searches along each direction until the strong Wolfe conditions hold. Default no.
        strong_wolfe: bool = false,
    }
}

impl LBFGS {
    /// The optimizer of all parameters of a model. Those that are frozen when [`Lbfgs::step`] is called stay as they are.
    pub fn build(&self, params: impl IntoParams) -> Lbfgs {
        let settings = self.clone();
        Lbfgs { settings, params: params.into_params(), memory: Memory::default(), evaluations: 0 }
    }
}

/// What has parameters: a list of them, or a model.
pub trait IntoParams {
    /// The parameters, each once.
    fn into_params(self) -> Vec<Param>;
}

impl IntoParams for Vec<Param> {
    fn into_params(self) -> Vec<Param> {
        self
    }
}

impl<M: Module> IntoParams for &M {
    fn into_params(self) -> Vec<Param> {
        self.parameters()
    }
}

/// What is known of the curvature.
#[derive(Default)]
struct Memory {
    iterations: u64,
    /// Changes of the parameters, of the gradient, and one over their product.
    pairs: VecDeque<(Tensor, Tensor, Tensor)>,
    /// Scale of the first guess of the inverse Hessian.
    scale: Option<Tensor>,
    /// Direction, length and gradient of the step before.
    last: Option<(Tensor, f64, Tensor)>,
}

impl Memory {
    /// Learns from the change that the last step made, given the gradient after it.
    fn learn(&mut self, grad: &Tensor, size: usize) {
        let Some((direction, length, before)) = self.last.take() else { return };
        let (dy, ds) = (grad - before, direction * length);
        let product = dot(&dy, &ds);
        // Only where the loss curves upward.
        if product.item::<f64>() > 1e-10 {
            if self.pairs.len() == size {
                self.pairs.pop_front();
            }
            self.scale = Some(&product / dot(&dy, &dy));
            self.pairs.push_back((ds, dy, product.reciprocal()));
        }
    }

    /// Minus the inverse Hessian times the gradient, by the two loops of algorithm 7.4.
    fn direction(&self, grad: &Tensor) -> Tensor {
        let mut q = -grad;
        let mut shares = Vec::with_capacity(self.pairs.len());
        for (ds, dy, rho) in self.pairs.iter().rev() {
            let share = dot(ds, &q) * rho;
            q -= dy * &share;
            shares.push(share);
        }
        if let Some(scale) = &self.scale {
            q *= scale;
        }
        for ((ds, dy, rho), share) in self.pairs.iter().zip(shares.iter().rev()) {
            q = &q + ds * (share - dot(dy, &q) * rho);
        }
        q
    }
}

fn dot(a: &Tensor, b: &Tensor) -> Tensor {
    (a * b).sum(..)
}

fn number(t: &Tensor) -> f64 {
    t.to_dtype(DType::F64).item::<f64>()
}

/// The optimizer that [`LBFGS`] builds. It keeps up to `2 * history_size` copies of the parameters.
pub struct Lbfgs {
    settings: LBFGS,
    params: Vec<Param>,
    memory: Memory,
    evaluations: u64,
}

impl Lbfgs {
    /// Minimizes `loss` for up to `max_iter` iterations, and gives its value before the first. `loss` computes one number from the
    /// parameters as they are; gradients are cleared and `backward` is called here. Counterpart: `LBFGS.step(closure)`, whose closure
    /// does both itself.
    ///
    /// # Panics
    /// If the loss is not one number, or does not depend on the parameters.
    #[track_caller]
    pub fn step(&mut self, mut loss: impl FnMut() -> Tensor) -> f64 {
        let s = self.settings.clone();
        let params: Vec<Param> = self.params.iter().filter(|p| !p.is_frozen()).cloned().collect();
        let most = if s.max_eval == 0 { s.max_iter * 5 / 4 } else { s.max_eval };
        let evaluations = Cell::new(0u64);
        let mut evaluate = || {
            evaluations.set(evaluations.get() + 1);
            params.iter().for_each(Param::zero_grad);
            let value = loss();
            assert!(
                value.numel() == 1,
                "LBFGS: the loss must be one number, got shape {:?}; reduce it with .mean(..) or .sum(..)",
                value.shape()
            );
            value.backward();
            (number(&value.detach()), no_grad(|| gradient(&params)))
        };
        let (first, grad) = evaluate();
        let (mut value, mut grad) = (first, grad);
        let largest = |g: &Tensor| number(&g.abs().amax(..));
        let mut taken = 0;
        while taken < s.max_iter && largest(&grad) > s.tolerance_grad {
            taken += 1;
            self.memory.iterations += 1;
            let (direction, slope) = no_grad(|| {
                self.memory.learn(&grad, s.history_size);
                let d = self.memory.direction(&grad).eval().clone();
                let slope = number(&dot(&grad, &d));
                (d, slope)
            });
            // Nothing is known of the scale at first, so that one is short.
            let start = match self.memory.iterations {
                1 => (1.0 / number(&grad.abs().sum(..))).min(1.0) * s.lr,
                _ => s.lr,
            };
            if slope > -s.tolerance_change {
                self.memory.last = Some((direction, start, grad));
                break;
            }
            let before = Point { at: 0.0, value, grad: grad.clone(), slope };
            let home: Vec<Tensor> = params.iter().map(|p| p.value().detach()).collect();
            let length = if s.strong_wolfe {
                let top = number(&direction.abs().amax(..));
                let found = search(&before, start, s.tolerance_change / top, |at| {
                    no_grad(|| moved(&params, &home, &direction, at));
                    let (value, grad) = evaluate();
                    let slope = number(&dot(&grad, &direction));
                    Point { at, value, grad, slope }
                });
                no_grad(|| moved(&params, &home, &direction, found.at));
                (value, grad) = (found.value, found.grad);
                found.at
            } else {
                no_grad(|| moved(&params, &home, &direction, start));
                // The loss after the last iteration is for the next step to find.
                if taken < s.max_iter {
                    (value, grad) = evaluate();
                }
                start
            };
            let change = number(&direction.abs().amax(..)) * length;
            self.memory.last = Some((direction, length, before.grad));
            if evaluations.get() >= most as u64
                || change <= s.tolerance_change
                || (value - before.value).abs() < s.tolerance_change
            {
                break;
            }
        }
        self.evaluations += evaluations.get();
        first
    }

    /// Clears the gradients. [`step`](Lbfgs::step) does so before each evaluation.
    pub fn zero_grad(&self) {
        self.params.iter().for_each(Param::zero_grad);
    }

    /// Times that the loss was asked for.
    pub fn evaluations(&self) -> u64 {
        self.evaluations
    }

    /// Iterations taken.
    pub fn iterations(&self) -> u64 {
        self.memory.iterations
    }

    /// Sets the learning rate.
    pub fn set_lr(&mut self, lr: f64) {
        self.settings.lr = lr;
    }

    /// Forgets the curvature: for when the loss has become another.
    pub fn clear_state(&mut self) {
        self.memory = Memory::default();
    }
}

/// All gradients in one vector; zeros for a parameter that has none.
fn gradient(params: &[Param]) -> Tensor {
    let wide = if params.iter().any(|p| p.dtype() == DType::F64) { DType::F64 } else { DType::F32 };
    let parts: Vec<Tensor> = params
        .iter()
        .map(|p| p.grad().unwrap_or_else(|| p.value().detach().zeros_like()))
        .map(|g| g.reshape([-1]).to_dtype(wide))
        .collect();
    assert!(!parts.is_empty(), "LBFGS: there is no parameter to train (all are frozen)");
    Tensor::cat(&parts, 0).eval().clone()
}

/// Sets the parameters to `home + at * direction`.
fn moved(params: &[Param], home: &[Tensor], direction: &Tensor, at: f64) {
    let mut from = 0;
    for (p, home) in params.iter().zip(home) {
        let n = home.numel();
        let part = direction.narrow(0, from, n).reshape_as(home).to_dtype(home.dtype());
        p.set(home + part * at);
        from += n;
    }
}
