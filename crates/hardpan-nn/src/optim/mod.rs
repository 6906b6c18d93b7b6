//! Optimizers: lists of small step functions over parameters in groups.
//!
//! An [`Optimizer`] holds [`Group`]s of parameters, each with its own hyperparameters ([`Hypers`], reached by name: [`Hyper`]), what it
//! remembers of each parameter ([`ParamState`]), and a list of [`Step`]s. A step function does one thing (decay, an average, the step
//! itself) to an [`Update`]; the well-known optimizers ([`SGD`], [`Adam`], ...) are lists of those in [`steps`].
//! [`scheduler`] has PyTorch's learning-rate schedules, [`clip_grad_norm`] and [`clip_grad_value`] tame gradients.
//!
//! Everything is lazy: forward, backward and the update of all parameters are one plan, run at the end of [`Optimizer::step`].
//! Numbers enter it as constants, so schedules and step counts do not change the plan, and parameters and averages that nobody
//! else holds are updated in the memory they have.
//!
//! ```
//! use hardpan_engine::Tensor;
//! use hardpan_nn::Param;
//! use hardpan_nn::optim::{Recipe, SGD};
//!
//! let w = Param::new(Tensor::from_vec(vec![1f32, -2.0], &[2]));
//! let mut opt = SGD::new(0.1).momentum(0.9).build(vec![w.clone()]);
//! for _ in 0..100 {
//!     (w.value() * w.value()).sum(..).backward();
//!     opt.step();
//!     opt.zero_grad();
//! }
//! assert!(w.value().to_vec::<f32>().iter().all(|x| x.abs() < 0.1));
//! ```

mod clip;
mod hyper;
mod lbfgs;
mod line_search;
mod newer;
mod recipes;
mod save;
pub mod scheduler;
mod sparse;
mod state;
pub mod steps;

pub use clip::{clip_grad_norm, clip_grad_norm_of, clip_grad_value, grad_norm};
pub use hyper::{Hyper, Hypers};
pub use lbfgs::{IntoParams, LBFGS, Lbfgs};
pub use newer::{Lion, Muon, Sam};
pub use recipes::{
    ASGD, Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, LARS, Lamb, Lookahead, NAdam, QHAdam,
    RAdam, RMSprop, Recipe, Rprop, SGD, ranger,
};
pub use save::OptimizerStateError;
pub use sparse::{SparseAdam, sparse_adam_step};
pub use state::{ParamState, Update};

use crate::{Module, Param};
use hardpan_engine::{flush_all, no_grad};
use std::collections::HashMap;
use std::sync::Arc;

/// One of the functions an optimizer applies to each parameter in turn.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hypers, Optimizer, Step, Update};
/// use hardpan_nn::Param;
/// use std::sync::Arc;
/// let half: Step = Arc::new(|u: &mut Update<'_>| u.value = &u.value * 0.5);
/// let w = Param::new(Tensor::ones([1]));
/// w.set_grad(Some(Tensor::zeros([1])));
/// Optimizer::new(vec![w.clone()], vec![half], &Hypers::default()).step();
/// assert_eq!(w.value().item::<f32>(), 0.5);
/// ```
pub type Step = Arc<dyn Fn(&mut Update<'_>) + Send + Sync>;

/// Parameters that share hyperparameters. Counterpart: a parameter group of PyTorch or fastai.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::Param;
/// use hardpan_nn::optim::{AdamW, Group, Hyper, Recipe};
/// let (body, head) = (Param::new(Tensor::ones([2])), Param::new(Tensor::ones([2])));
/// let opt = AdamW::new(1e-3)
///     .build(vec![Group::new([body]).with(Hyper::Lr, 1e-5), Group::new([head])]);
/// assert_eq!(opt.hypers(Hyper::Lr), [1e-5, 1e-3]);
/// ```
#[derive(Clone)]
pub struct Group {
    params: Vec<Member>,
    hypers: Hypers,
    /// Learning rate before any schedule touched it.
    initial_lr: Option<f64>,
}

#[derive(Clone)]
struct Member {
    param: Param,
    decay: bool,
    always_trained: bool,
}

impl Group {
    /// These parameters, with the optimizer's hyperparameters.
    pub fn new(params: impl IntoIterator<Item = Param>) -> Group {
        let member = |param| Member { param, decay: true, always_trained: false };
        Group {
            params: params.into_iter().map(member).collect(),
            hypers: Hypers::default(),
            initial_lr: None,
        }
    }

    /// With a hyperparameter of its own.
    #[must_use]
    pub fn with(mut self, hyper: Hyper, value: f64) -> Group {
        self.hypers.set(hyper, value);
        self
    }

    /// The parameters.
    pub fn params(&self) -> impl ExactSizeIterator<Item = &Param> {
        self.params.iter().map(|m| &m.param)
    }

    /// The hyperparameters.
    pub fn hypers(&self) -> &Hypers {
        &self.hypers
    }

    /// Sets a hyperparameter.
    pub fn set(&mut self, hyper: Hyper, value: f64) {
        self.hypers.set(hyper, value);
    }
}

/// What can be made into parameter groups: parameters (one group), lists of parameters (a group each), groups.
///
/// ```
/// use hardpan_nn::optim::IntoGroups;
/// use hardpan_nn::{Linear, Module};
/// let (body, head) = (Linear::new(4, 3), Linear::new(3, 2));
/// assert_eq!((&body).into_groups().len(), 1);
/// assert_eq!(vec![body.parameters(), head.parameters()].into_groups().len(), 2);
/// ```
pub trait IntoGroups {
    /// The groups.
    fn into_groups(self) -> Vec<Group>;
}

impl IntoGroups for Vec<Param> {
    fn into_groups(self) -> Vec<Group> {
        vec![Group::new(self)]
    }
}
impl IntoGroups for &[Param] {
    fn into_groups(self) -> Vec<Group> {
        vec![Group::new(self.iter().cloned())]
    }
}
impl IntoGroups for Vec<Vec<Param>> {
    fn into_groups(self) -> Vec<Group> {
        self.into_iter().map(Group::new).collect()
    }
}
impl IntoGroups for Vec<Group> {
    fn into_groups(self) -> Vec<Group> {
        self
    }
}
impl<M: Module> IntoGroups for &M {
    fn into_groups(self) -> Vec<Group> {
        self.parameters().into_groups()
    }
}

/// Updates parameters from their gradients. See the [module](self).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Recipe, SGD};
/// use hardpan_nn::Param;
/// let w = Param::new(Tensor::ones([1]));
/// let mut opt = SGD::new(0.1).build(vec![w.clone()]);
/// opt.set_hyper(Hyper::Lr, 0.5);
/// (w.value() * w.value()).sum(..).backward();
/// opt.step_and_zero_grad();
/// assert_eq!((w.value().item::<f32>(), opt.lr(), opt.steps_taken()), (0.0, 0.5, 1));
/// assert!(w.grad().is_none());
/// ```
pub struct Optimizer {
    groups: Vec<Group>,
    steps: Vec<Step>,
    states: HashMap<u64, ParamState>,
    taken: u64,
}

impl Optimizer {
    /// An optimizer that applies `steps` in order to each parameter; `hypers` fill in what the groups do not say themselves.
    /// Ready-made lists are the [`Recipe`]s.
    ///
    /// # Panics
    /// If a parameter is in two groups (or twice in one).
    #[track_caller]
    pub fn new(groups: impl IntoGroups, steps: Vec<Step>, hypers: &Hypers) -> Optimizer {
        let mut groups = groups.into_groups();
        let mut seen = std::collections::HashSet::new();
        for group in &mut groups {
            for (h, v) in hypers.iter() {
                if group.hypers.find(h).is_none() {
                    group.hypers.set(h, v);
                }
            }
            for m in &group.params {
                assert!(
                    seen.insert(m.param.id()),
                    "Optimizer: the parameter {:?} is there twice; it would be updated twice",
                    m.param
                );
            }
        }
        Optimizer { groups, steps, states: HashMap::new(), taken: 0 }
    }

    /// Updates every parameter that has a gradient and is not frozen, and runs all that is pending: the whole training step, as
    /// one plan. Gradients stay until [`zero_grad`](Optimizer::zero_grad). Counterpart: `Optimizer.step`.
    pub fn step(&mut self) {
        self.update(false);
        flush_all();
    }

    /// [`step`](Optimizer::step) and [`zero_grad`](Optimizer::zero_grad) at once: gradients need not be stored for a reader
    /// after the step, which saves memory and time.
    pub fn step_and_zero_grad(&mut self) {
        self.update(true);
        flush_all();
    }

    fn update(&mut self, consume: bool) {
        self.taken += 1;
        no_grad(|| {
            for group in &self.groups {
                for member in &group.params {
                    let param = &member.param;
                    let Some(grad) = param.grad() else { continue };
                    if consume {
                        param.zero_grad();
                    }
                    if param.is_frozen() {
                        continue;
                    }
                    let state = self.states.entry(param.id()).or_default();
                    let mut update = Update::new(param.value(), grad, state, &group.hypers);
                    update.decay = member.decay;
                    for step in &self.steps {
                        step(&mut update);
                    }
                    param.set(update.value);
                }
            }
        });
    }

    /// Clears the gradients of all parameters. Counterpart: `zero_grad(set_to_none=True)`.
    pub fn zero_grad(&self) {
        self.params().for_each(Param::zero_grad);
    }

    /// Number of steps taken.
    pub fn steps_taken(&self) -> u64 {
        self.taken
    }

    /// The parameter groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The parameter groups, to change their hyperparameters.
    pub fn groups_mut(&mut self) -> &mut [Group] {
        &mut self.groups
    }

    /// Adds a group; what it does not say itself it takes from `hypers` of the first group. Counterpart: `add_param_group`.
    ///
    /// # Panics
    /// If one of its parameters is in a group already.
    #[track_caller]
    pub fn add_group(&mut self, mut group: Group) {
        for p in group.params() {
            assert!(
                self.params().all(|old| old.id() != p.id()),
                "Optimizer: the parameter {p:?} is in a group already; it would be updated twice"
            );
        }
        if let Some(first) = self.groups.first() {
            for (h, v) in first.hypers.iter() {
                if group.hypers.find(h).is_none() {
                    group.hypers.set(h, v);
                }
            }
        }
        self.groups.push(group);
    }

    /// All parameters in order.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        self.groups.iter().flat_map(|g| g.params())
    }

    /// A hyperparameter of each group.
    ///
    /// # Panics
    /// If the optimizer has no such hyperparameter.
    #[track_caller]
    pub fn hypers(&self, hyper: Hyper) -> Vec<f64> {
        self.groups.iter().map(|g| g.hypers.get(hyper)).collect()
    }

    /// The learning rate of the last group, the one reports show.
    pub fn lr(&self) -> f64 {
        self.groups.last().map_or(0.0, |g| g.hypers.get(Hyper::Lr))
    }

    /// The momentum of the last group, the one reports show; 0 if there is none.
    pub fn momentum(&self) -> f64 {
        self.groups.last().and_then(|g| g.hypers.find(Hyper::Mom)).unwrap_or(0.0)
    }

    /// Makes the present rates the ones that schedulers built from now on start from, whatever earlier ones found.
    pub fn forget_initial_rates(&mut self) {
        self.groups.iter_mut().for_each(|g| g.initial_lr = None);
    }

    /// Sets the rates back to those that the first scheduler found.
    pub fn restore_initial_rates(&mut self) {
        for group in &mut self.groups {
            if let Some(lr) = group.initial_lr {
                group.hypers.set(Hyper::Lr, lr);
            }
        }
    }

    /// Sets a hyperparameter of all groups.
    pub fn set_hyper(&mut self, hyper: Hyper, value: f64) {
        self.groups.iter_mut().for_each(|g| g.hypers.set(hyper, value));
    }

    /// Sets a hyperparameter of each group.
    ///
    /// # Panics
    /// If there are not as many values as groups.
    #[track_caller]
    pub fn set_hypers(&mut self, hyper: Hyper, values: &[f64]) {
        assert_eq!(
            values.len(),
            self.groups.len(),
            "set_hypers: {} values of {hyper} for {} groups",
            values.len(),
            self.groups.len()
        );
        for (g, v) in self.groups.iter_mut().zip(values) {
            g.hypers.set(hyper, *v);
        }
    }

    /// Freezes groups before `n` (negative counts from the end) and unfreezes the rest. Parameters that are
    /// [always trained](Optimizer::always_train) stay trained. Counterpart: fastai's `freeze_to`.
    ///
    /// # Panics
    /// If `n` is out of range.
    #[track_caller]
    pub fn freeze_to(&mut self, n: isize) {
        let count = self.groups.len() as isize;
        assert!((-count..=count).contains(&n), "freeze_to: {n}, but there are {count} groups");
        let n = if n < 0 { n + count } else { n } as usize;
        for (i, group) in self.groups.iter().enumerate() {
            for m in &group.params {
                m.param.set_frozen(i < n && !m.always_trained);
            }
        }
    }

    /// Trains all groups.
    pub fn unfreeze(&mut self) {
        self.freeze_to(0);
    }

    /// Keeps these parameters out of weight decay (and of the gradient's L2 term).
    pub fn exempt_from_decay(&mut self, params: &[Param]) {
        self.mark(params, |m| m.decay = false);
    }

    /// Keeps these parameters trained when their group is frozen; fastai does so with batch norms.
    pub fn always_train(&mut self, params: &[Param]) {
        self.mark(params, |m| m.always_trained = true);
    }

    fn mark(&mut self, params: &[Param], f: impl Fn(&mut Member)) {
        let ids: std::collections::HashSet<u64> = params.iter().map(Param::id).collect();
        for m in self.groups.iter_mut().flat_map(|g| &mut g.params) {
            if ids.contains(&m.param.id()) {
                f(m);
            }
        }
    }

    /// What is remembered of a parameter; `None` before its first step.
    pub fn state(&self, param: &Param) -> Option<&ParamState> {
        self.states.get(&param.id())
    }

    /// Forgets everything remembered. Counterpart: fastai's `clear_state`.
    pub fn clear_state(&mut self) {
        self.states.clear();
    }
}

/// All parameters of normalization layers, and every bias: what usually gets no weight decay.
/// Counterpart: fastai's `norm_bias_params`.
///
/// ```
/// use hardpan_nn::optim::{AdamW, Recipe, norm_and_bias_params};
/// use hardpan_nn::{BatchNorm1d, Linear, seq};
/// let model = seq![Linear::new(4, 3), BatchNorm1d::new(3)];
/// let exempt = norm_and_bias_params(&model);
/// assert_eq!(exempt.len(), 3); // weight and bias of the norm, bias of the linear layer
/// let mut opt = AdamW::new(1e-3).build(&model);
/// opt.exempt_from_decay(&exempt);
/// ```
pub fn norm_and_bias_params(model: &dyn Module) -> Vec<Param> {
    let mut out = norm_params(model);
    let mut seen: std::collections::HashSet<u64> = out.iter().map(Param::id).collect();
    for (name, p) in model.named_parameters() {
        let last = name.rsplit('.').next().unwrap_or(&name);
        if (last.starts_with("bias") || last.ends_with("bias")) && seen.insert(p.id()) {
            out.push(p);
        }
    }
    out
}

/// All parameters of normalization layers: modules whose [role](Module::role) is a norm's.
///
/// ```
/// use hardpan_nn::optim::norm_params;
/// use hardpan_nn::{LayerNorm, Linear, seq};
/// let model = seq![Linear::new(4, 3), LayerNorm::new(3)];
/// assert_eq!(norm_params(&model).len(), 2);
/// ```
pub fn norm_params(model: &dyn Module) -> Vec<Param> {
    let mut out = Vec::new();
    let mut seen = std::collections::HashSet::new();
    model.for_each_module(&mut |_, m| {
        if m.role().is_norm() {
            out.extend(m.parameters().into_iter().filter(|p| seen.insert(p.id())));
        }
    });
    out
}
