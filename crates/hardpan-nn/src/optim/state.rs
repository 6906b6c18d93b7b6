//! What an optimizer remembers of one parameter, and what a step function works on.

use super::{Hyper, Hypers};
use hardpan_engine::Tensor;
use std::borrow::Cow;

/// What an optimizer remembers of one parameter between steps: averages (tensors), counters and products (numbers).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Recipe, SGD};
/// use hardpan_nn::Param;
/// let w = Param::new(Tensor::ones([2]));
/// w.set_grad(Some(Tensor::ones([2])));
/// let mut opt = SGD::new(0.1).momentum(0.9).build(vec![w.clone()]);
/// opt.step();
/// let state = opt.state(&w).unwrap();
/// assert_eq!(state.steps(), 1);
/// assert_eq!(state.get("momentum_buffer").unwrap().to_vec::<f32>(), [1.0, 1.0]);
/// ```
#[derive(Clone, Default)]
pub struct ParamState {
    steps: u64,
    tensors: Vec<(Cow<'static, str>, Tensor)>,
    numbers: Vec<(Cow<'static, str>, f64)>,
}

impl ParamState {
    /// How many steps this parameter has taken, the present one included.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }

    /// Sets the tensor of this name.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: Tensor) {
        let name = name.into();
        match self.tensors.iter_mut().find(|(n, _)| *n == name) {
            Some(entry) => entry.1 = value,
            None => self.tensors.push((name, value)),
        }
    }

    /// Takes the tensor of this name out (the caller is then its only holder, so that its memory can be used again).
    pub fn take(&mut self, name: &str) -> Option<Tensor> {
        let i = self.tensors.iter().position(|(n, _)| n == name)?;
        Some(self.tensors.remove(i).1)
    }

    /// The number of this name.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.numbers.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    /// Sets the number of this name.
    pub fn set_number(&mut self, name: impl Into<Cow<'static, str>>, value: f64) {
        let name = name.into();
        match self.numbers.iter_mut().find(|(n, _)| *n == name) {
            Some(entry) => entry.1 = value,
            None => self.numbers.push((name, value)),
        }
    }

    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(n, t)| (n.as_ref(), t))
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = (&str, f64)> {
        self.numbers.iter().map(|(n, v)| (n.as_ref(), *v))
    }
}

/// One parameter in one step, as it goes through the step functions: each may change the value, the gradient and the state.
///
/// Everything is lazy: the functions of all parameters together become one plan. Numbers (learning rate, step count) enter it as
/// constants, so that a schedule never makes a new plan.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::steps::{l2_reg, sgd_step};
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::Wd, 0.5)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// l2_reg(&mut u);
/// assert_eq!(u.grad.item::<f32>(), 1.5);
/// sgd_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.85).abs() < 1e-6);
/// ```
pub struct Update<'a> {
    /// The value so far.
    pub value: Tensor,
    /// The gradient so far; [`average_grad`](super::steps::average_grad) and others replace it.
    pub grad: Tensor,
    /// What is remembered of this parameter.
    pub state: &'a mut ParamState,
    pub(super) hypers: &'a Hypers,
    pub(super) decay: bool,
}

impl<'a> Update<'a> {
    /// The next step of a parameter of this value and gradient, with what is remembered of it: for trying step functions on one parameter.
    /// In training [`Optimizer`](super::Optimizer) makes them.
    pub fn new(
        value: Tensor,
        grad: Tensor,
        state: &'a mut ParamState,
        hypers: &'a Hypers,
    ) -> Update<'a> {
        state.steps += 1;
        Update { value, grad, state, hypers, decay: true }
    }

    /// The hyperparameter of this parameter's group.
    ///
    /// # Panics
    /// If the optimizer has no such hyperparameter.
    #[track_caller]
    pub fn hyper(&self, hyper: Hyper) -> f64 {
        self.hypers.get(hyper)
    }

    /// The learning rate.
    pub fn lr(&self) -> f64 {
        self.hypers.get(Hyper::Lr)
    }

    /// The weight decay: 0 for parameters exempt from it.
    pub fn wd(&self) -> f64 {
        if self.decay { self.hypers.find(Hyper::Wd).unwrap_or(0.0) } else { 0.0 }
    }

    /// The number of this step, 1 for the first.
    pub fn step(&self) -> u64 {
        self.state.steps
    }

    /// `base` to the power of the step count: what is still missing from an average that started at zero.
    pub(super) fn power(&self, base: f64) -> f64 {
        base.powf(self.state.steps as f64)
    }

    /// Takes a tensor out of the state, or zeros like the value.
    pub(super) fn take_or_zeros(&mut self, name: &str) -> Tensor {
        self.state.take(name).unwrap_or_else(|| self.value.zeros_like())
    }
}
