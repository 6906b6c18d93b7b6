//! L-BFGS: steps that know the curvature of the loss from the last few gradients.

use super::line_search::{Point, search};
use super::recipes::settings;
use super::save::{OptimizerStateError, one_number};
use crate::{Module, Param, StateDict};
use hardpan_engine::{DType, Tensor, no_grad};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};

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
///
/// ```
/// use hardpan_nn::optim::IntoParams;
/// use hardpan_nn::Linear;
/// let layer = Linear::new(3, 2);
/// assert_eq!((&layer).into_params().len(), 2);
/// assert_eq!(vec![layer.weight.clone()].into_params().len(), 1);
/// ```
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
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::LBFGS;
/// use hardpan_nn::Param;
/// let w = Param::new(Tensor::from_slice(&[2f64], [1]));
/// let mut opt = LBFGS::new(1.0).strong_wolfe(true).build(vec![w.clone()]);
/// let before = opt.step(|| (w.value() * w.value()).sum(..));
/// assert_eq!(before, 4.0);
/// assert!(w.value().item::<f64>().abs() < 1e-6);
/// ```
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

    /// The learning rate.
    pub fn lr(&self) -> f64 {
        self.settings.lr
    }

    /// Everything remembered, as tensors with the names of PyTorch's `LBFGS.state_dict`: `state.0.n_iter`, `func_evals`, the last direction
    /// `d`, its length `t` and the gradient before it `prev_flat_grad`, the changes of gradient and place `old_dirs.{i}` and `old_stps.{i}` with
    /// `ro.{i}`, oldest first, `H_diag`, and `group.0.lr`. With the parameters themselves it continues a run bit for bit. In a file it can be kept as weights
    /// are, by `hardpan_learn::file::ModelFile`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_nn::optim::LBFGS;
    /// # use hardpan_nn::Param;
    /// let w = Param::new(Tensor::from_vec(vec![3f64, 4.0], [2]));
    /// let loss = || w.value().square().sum(..);
    /// let mut opt = LBFGS::new(0.1).max_iter(3).build(vec![w.clone()]);
    /// opt.step(loss);
    /// let saved = opt.state_dict();
    /// let mut again = LBFGS::new(0.1).max_iter(3).build(vec![w.clone()]);
    /// again.load_state_dict(&saved)?;
    /// assert_eq!(again.iterations(), opt.iterations());
    /// # Ok(())
    /// # }
    /// ```
    pub fn state_dict(&self) -> StateDict {
        let mut out = StateDict::new();
        let m = &self.memory;
        out.insert("group.0.lr", Tensor::scalar(self.settings.lr));
        out.insert("state.0.n_iter", Tensor::scalar(m.iterations as i64));
        out.insert("state.0.func_evals", Tensor::scalar(self.evaluations as i64));
        if let Some((direction, length, grad)) = &m.last {
            out.insert("state.0.d", direction.clone());
            out.insert("state.0.t", Tensor::scalar(*length));
            out.insert("state.0.prev_flat_grad", grad.clone());
        }
        if let Some(scale) = &m.scale {
            out.insert("state.0.H_diag", scale.clone());
        }
        for (i, (ds, dy, rho)) in m.pairs.iter().enumerate() {
            out.insert(format!("state.0.old_stps.{i}"), ds.clone());
            out.insert(format!("state.0.old_dirs.{i}"), dy.clone());
            out.insert(format!("state.0.ro.{i}"), rho.clone());
        }
        out
    }

    /// Continues from a state that [`state_dict`](Lbfgs::state_dict) gave for an optimizer of the same parameters. All or nothing.
    ///
    /// # Errors
    /// A name that is none of this optimizer's, or a value whose size cannot be.
    pub fn load_state_dict(&mut self, saved: &StateDict) -> Result<(), OptimizerStateError> {
        let total: usize = self.params.iter().map(Param::numel).sum();
        let wrong = OptimizerStateError::entry;
        // The direction and its gradient, by iteration the changes.
        let (mut d, mut grad, mut length) = (None, None, None);
        let mut changes: BTreeMap<usize, [Option<Tensor>; 3]> = BTreeMap::new();
        let (mut memory, mut lr, mut evaluations) = (Memory::default(), self.settings.lr, 0);
        for (name, value) in saved.iter() {
            let one = || Ok(one_number(name, value)?.reshape([0usize; 0]));
            let vector = || match value.rank() == 1 && value.numel() <= total {
                true => Ok(Some(value.clone())),
                false => {
                    let shape = value.shape();
                    let problem =
                        format!("up to {total} numbers were expected, it has shape {shape:?}");
                    Err(wrong(name, &problem))
                }
            };
            match name {
                "group.0.lr" => lr = one()?.item::<f64>(),
                "state.0.n_iter" => memory.iterations = one()?.item::<i64>() as u64,
                "state.0.func_evals" => evaluations = one()?.item::<i64>() as u64,
                "state.0.t" => length = Some(one()?.item::<f64>()),
                "state.0.H_diag" => memory.scale = Some(one()?),
                "state.0.d" => d = vector()?,
                "state.0.prev_flat_grad" => grad = vector()?,
                _ => {
                    let place = name.strip_prefix("state.0.").and_then(|n| n.split_once('.'));
                    let place = place.and_then(|(kind, i)| Some((kind, i.parse::<usize>().ok()?)));
                    let (k, i, value) = match place {
                        Some(("old_stps", i)) => (0, i, vector()?),
                        Some(("old_dirs", i)) => (1, i, vector()?),
                        Some(("ro", i)) => (2, i, Some(one()?)),
                        _ => {
                            return Err(wrong(name, "LBFGS remembers nothing of this name"));
                        }
                    };
                    changes.entry(i).or_default()[k] = value;
                }
            }
        }
        memory.last = match (d, length, grad) {
            (Some(d), Some(t), Some(grad)) => Some((d, t, grad)),
            (None, None, None) => None,
            _ => return Err(wrong("state.0.d", "d, t and prev_flat_grad belong together")),
        };
        for (expected, (i, change)) in changes.into_iter().enumerate() {
            let [Some(ds), Some(dy), Some(rho)] = change else {
                let problem = "old_stps, old_dirs and ro belong together";
                return Err(wrong(&format!("state.0.ro.{i}"), problem));
            };
            if i != expected {
                return Err(wrong(
                    &format!("state.0.ro.{i}"),
                    &format!("number {expected} is missing"),
                ));
            }
            memory.pairs.push_back((ds, dy, rho));
        }
        while memory.pairs.len() > self.settings.history_size {
            memory.pairs.pop_front();
        }
        let vectors = memory.pairs.iter().flat_map(|(s, y, _)| [s, y]);
        let vectors = vectors.chain(memory.last.iter().flat_map(|(d, _, g)| [d, g]));
        let sizes: Vec<usize> = vectors.map(Tensor::numel).collect();
        if let Some(two) = sizes.windows(2).find(|two| two[0] != two[1]) {
            return Err(wrong(
                "state.0",
                &format!("vectors of {} and of {} numbers", two[0], two[1]),
            ));
        }
        self.memory = memory;
        self.settings.lr = lr;
        self.evaluations = evaluations;
        Ok(())
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
