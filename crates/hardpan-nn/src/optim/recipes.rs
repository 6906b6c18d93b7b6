//! The well-known optimizers: settings, and the list of steps they stand for.

use super::steps::*;
use super::{Hyper, Hypers, IntoGroups, Optimizer, Step, Update};
use std::sync::Arc;

/// Settings that stand for a list of steps and their hyperparameters.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, Recipe, Step, Update};
/// use hardpan_nn::optim::steps::sgd_step;
/// use hardpan_nn::Param;
/// use std::sync::Arc;
/// /// Steps of the gradient's sign.
/// struct SignSgd(f64);
///
/// impl Recipe for SignSgd {
///     fn steps(&self) -> Vec<Step> {
///         let sign = |u: &mut Update<'_>| u.grad = u.grad.sign();
///         vec![Arc::new(sign), Arc::new(sgd_step)]
///     }
///     fn hypers(&self) -> Hypers {
///         Hypers::new(&[(Hyper::Lr, self.0)])
///     }
/// }
///
/// let w = Param::new(Tensor::ones([1]));
/// w.set_grad(Some(Tensor::ones([1]) * 7.0));
/// SignSgd(0.1).build(vec![w.clone()]).step();
/// assert!((w.value().item::<f32>() - 0.9).abs() < 1e-6);
/// ```
pub trait Recipe {
    /// The step functions, in order.
    fn steps(&self) -> Vec<Step>;

    /// The hyperparameters and their values.
    fn hypers(&self) -> Hypers;

    /// The optimizer for these parameters: a `Vec<Param>`, `&model`, lists of parameters, or [`Group`](super::Group)s.
    #[track_caller]
    fn build(&self, params: impl IntoGroups) -> Optimizer
    where
        Self: Sized,
    {
        Optimizer::new(params, self.steps(), &self.hypers())
    }
}

pub(super) fn list(steps: &[Option<fn(&mut Update<'_>)>]) -> Vec<Step> {
    steps.iter().flatten().map(|f| Arc::new(*f) as Step).collect()
}

/// `Some(f)` if `condition`.
pub(super) fn when(condition: bool, f: fn(&mut Update<'_>)) -> Option<fn(&mut Update<'_>)> {
    condition.then_some(f)
}

/// True weight decay or an L2 term.
fn decay(decoupled: bool) -> fn(&mut Update<'_>) {
    if decoupled { weight_decay } else { l2_reg }
}

/// Settings as a struct with a setter for each, so that they can be written in a row.
macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $f:ident: $t:ty = $default:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[$fdoc])* pub $f: $t),* }

        impl Default for $name {
            fn default() -> $name {
                $name { $($f: $default),* }
            }
        }

        impl $name {
            /// With this learning rate, and the defaults otherwise.
            pub fn new(lr: f64) -> $name {
                $name { lr, ..$name::default() }
            }
            $(
                $(#[$fdoc])*
                #[must_use]
                pub fn $f(mut self, $f: $t) -> $name {
                    self.$f = $f;
                    self
                }
            )*
        }
    };
}

pub(super) use settings;

settings! {
    /// Stochastic gradient descent, with momentum if asked for. Counterpart: `torch.optim.SGD`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Recipe, SGD};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// SGD::new(0.1).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.9).abs() < 1e-4);
    /// ```
    SGD {
        /// Learning rate. Default 0.001.
        lr: f64 = 1e-3,
        /// Momentum. Default 0.
        momentum: f64 = 0.0,
        /// How much less of a new gradient enters the momentum. Default 0.
        dampening: f64 = 0.0,
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Nesterov's momentum. Default no.
        nesterov: bool = false,
        /// Whether the decay is decoupled from the gradient (true weight decay) rather than an L2 term. Default no.
        decoupled: bool = false,
        /// Ascend. Default no.
        maximize: bool = false,
    }
}

impl Recipe for SGD {
    #[track_caller]
    fn steps(&self) -> Vec<Step> {
        assert!(
            !self.nesterov || (self.momentum > 0.0 && self.dampening == 0.0),
            "SGD: Nesterov momentum needs a momentum above 0 and no dampening, got {} and {}",
            self.momentum,
            self.dampening
        );
        list(&[
            when(self.maximize, maximize),
            Some(decay(self.decoupled)),
            Some(if self.nesterov { nesterov_momentum } else { momentum }),
            Some(sgd_step),
        ])
    }
    fn hypers(&self) -> Hypers {
        Hypers::new(&[
            (Hyper::Lr, self.lr),
            (Hyper::Mom, self.momentum),
            (Hyper::Dampening, self.dampening),
            (Hyper::Wd, self.weight_decay),
        ])
    }
}

settings! {
    /// Adam, <https://arxiv.org/abs/1412.6980>. Counterpart: `torch.optim.Adam`.
    /// The first step is the learning rate, whatever the size of the gradient:
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Adam, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// Adam::new(0.1).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.9).abs() < 1e-4);
    /// ```
    Adam {
        /// Learning rate. Default 0.001.
        lr: f64 = 1e-3,
        /// Decays of the averages of the gradient and of its square. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the root of the second moment. Default 1e-8.
        eps: f64 = 1e-8,
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Whether the decay is decoupled from the gradient (as in AdamW) rather than an L2 term. Default no.
        decoupled: bool = false,
        /// Use the largest second moment so far. Default no.
        amsgrad: bool = false,
        /// Ascend. Default no.
        maximize: bool = false,
    }
}

impl Adam {
    /// fastai's Adam: betas (0.9, 0.99), eps 1e-5, decoupled weight decay 0.01.
    pub fn fastai(lr: f64) -> Adam {
        Adam::new(lr).betas((0.9, 0.99)).eps(1e-5).weight_decay(0.01).decoupled(true)
    }
}

fn adam_hypers(lr: f64, betas: (f64, f64), eps: f64, wd: f64) -> Hypers {
    Hypers::new(&[
        (Hyper::Lr, lr),
        (Hyper::Mom, betas.0),
        (Hyper::SqrMom, betas.1),
        (Hyper::Eps, eps),
        (Hyper::Wd, wd),
    ])
}

impl Recipe for Adam {
    fn steps(&self) -> Vec<Step> {
        list(&[
            when(self.maximize, maximize),
            Some(decay(self.decoupled)),
            Some(average_grad),
            Some(average_sqr_grad),
            when(self.amsgrad, max_sqr_grad),
            Some(adam_step),
        ])
    }
    fn hypers(&self) -> Hypers {
        adam_hypers(self.lr, self.betas, self.eps, self.weight_decay)
    }
}

settings! {
    /// Adam with true weight decay, <https://arxiv.org/abs/1711.05101>. Counterpart: `torch.optim.AdamW`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{AdamW, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// AdamW::new(0.1).weight_decay(0.5).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - (0.95 - 0.1)).abs() < 1e-4);
    /// ```
    AdamW {
        /// Learning rate. Default 0.001.
        lr: f64 = 1e-3,
        /// Decays of the averages of the gradient and of its square. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the root of the second moment. Default 1e-8.
        eps: f64 = 1e-8,
        /// Weight decay. Default 0.01.
        weight_decay: f64 = 1e-2,
        /// Use the largest second moment so far. Default no.
        amsgrad: bool = false,
        /// Ascend. Default no.
        maximize: bool = false,
    }
}

impl Recipe for AdamW {
    fn steps(&self) -> Vec<Step> {
        list(&[
            when(self.maximize, maximize),
            Some(weight_decay),
            Some(average_grad),
            Some(average_sqr_grad),
            when(self.amsgrad, max_sqr_grad),
            Some(adam_step),
        ])
    }
    fn hypers(&self) -> Hypers {
        adam_hypers(self.lr, self.betas, self.eps, self.weight_decay)
    }
}

settings! {
    /// Gradients divided by the root of their mean square. Counterpart: `torch.optim.RMSprop`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{RMSprop, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// RMSprop::new(0.01).alpha(0.99).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.9).abs() < 1e-4);
    /// ```
    RMSprop {
        /// Learning rate. Default 0.01.
        lr: f64 = 1e-2,
        /// Decay of the mean square. Default 0.99.
        alpha: f64 = 0.99,
        /// Added to the root. Default 1e-8.
        eps: f64 = 1e-8,
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Whether the decay is decoupled from the gradient (true weight decay, as fastai's) rather than an L2 term. Default no.
        decoupled: bool = false,
        /// Momentum. Default 0.
        momentum: f64 = 0.0,
        /// Take the mean off before squaring. Default no.
        centered: bool = false,
        /// Ascend. Default no.
        maximize: bool = false,
    }
}

impl Recipe for RMSprop {
    fn steps(&self) -> Vec<Step> {
        list(&[
            when(self.maximize, maximize),
            Some(decay(self.decoupled)),
            Some(if self.centered { rms_normalize_centered } else { rms_normalize }),
            Some(momentum),
            Some(sgd_step),
        ])
    }
    fn hypers(&self) -> Hypers {
        Hypers::new(&[
            (Hyper::Lr, self.lr),
            (Hyper::Mom, self.momentum),
            (Hyper::SqrMom, self.alpha),
            (Hyper::Eps, self.eps),
            (Hyper::Wd, self.weight_decay),
            (Hyper::Dampening, 0.0),
        ])
    }
}

settings! {
    /// Gradients divided by the root of the sum of their squares. Counterpart: `torch.optim.Adagrad`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Adagrad, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// Adagrad::new(0.1).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.9).abs() < 1e-4);
    /// ```
    Adagrad {
        /// Learning rate. Default 0.01.
        lr: f64 = 1e-2,
        /// Decay of the learning rate with the step. Default 0.
        lr_decay: f64 = 0.0,
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Whether the decay is decoupled from the gradient (true weight decay, as fastai's) rather than an L2 term. Default no.
        decoupled: bool = false,
        /// What the sum starts from. Default 0.
        initial_accumulator_value: f64 = 0.0,
        /// Added to the root. Default 1e-10.
        eps: f64 = 1e-10,
        /// Ascend. Default no.
        maximize: bool = false,
    }
}

impl Recipe for Adagrad {
    fn steps(&self) -> Vec<Step> {
        list(&[when(self.maximize, maximize), Some(decay(self.decoupled)), Some(adagrad_step)])
    }
    fn hypers(&self) -> Hypers {
        Hypers::new(&[
            (Hyper::Lr, self.lr),
            (Hyper::LrDecay, self.lr_decay),
            (Hyper::Wd, self.weight_decay),
            (Hyper::InitialAccumulator, self.initial_accumulator_value),
            (Hyper::Eps, self.eps),
        ])
    }
}

settings! {
    /// Steps in units of earlier steps, <https://arxiv.org/abs/1212.5701>. Counterpart: `torch.optim.Adadelta`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Adadelta, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// Adadelta::new(1.0).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.9968).abs() < 1e-4);
    /// ```
    Adadelta {
        /// Learning rate. Default 1.
        lr: f64 = 1.0,
        /// Decay of the averages. Default 0.9.
        rho: f64 = 0.9,
        /// Added inside the roots. Default 1e-6.
        eps: f64 = 1e-6,
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Whether the decay is decoupled from the gradient (true weight decay, as fastai's) rather than an L2 term. Default no.
        decoupled: bool = false,
        /// Ascend. Default no.
        maximize: bool = false,
    }
}

impl Recipe for Adadelta {
    fn steps(&self) -> Vec<Step> {
        list(&[when(self.maximize, maximize), Some(decay(self.decoupled)), Some(adadelta_step)])
    }
    fn hypers(&self) -> Hypers {
        Hypers::new(&[
            (Hyper::Lr, self.lr),
            (Hyper::SqrMom, self.rho),
            (Hyper::Eps, self.eps),
            (Hyper::Wd, self.weight_decay),
        ])
    }
}

settings! {
    /// Adam with the largest gradient in place of the mean square. Counterpart: `torch.optim.Adamax`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Adamax, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// Adamax::new(0.1).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.9).abs() < 1e-4);
    /// ```
    Adamax {
        /// Learning rate. Default 0.002.
        lr: f64 = 2e-3,
        /// Decays of the average gradient and of the largest one. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the size of a gradient. Default 1e-8.
        eps: f64 = 1e-8,
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Whether the decay is decoupled from the gradient (true weight decay, as fastai's) rather than an L2 term. Default no.
        decoupled: bool = false,
        /// Ascend. Default no.
        maximize: bool = false,
    }
}

impl Recipe for Adamax {
    fn steps(&self) -> Vec<Step> {
        list(&[
            when(self.maximize, maximize),
            Some(decay(self.decoupled)),
            Some(average_grad),
            Some(adamax_step),
        ])
    }
    fn hypers(&self) -> Hypers {
        adam_hypers(self.lr, self.betas, self.eps, self.weight_decay)
    }
}

settings! {
    /// Adam with Nesterov's momentum. Counterpart: `torch.optim.NAdam`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{NAdam, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// NAdam::new(0.1).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.8944).abs() < 1e-4);
    /// ```
    NAdam {
        /// Learning rate. Default 0.002.
        lr: f64 = 2e-3,
        /// Decays of the averages. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the root of the second moment. Default 1e-8.
        eps: f64 = 1e-8,
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Decay of the momentum schedule. Default 0.004.
        momentum_decay: f64 = 4e-3,
        /// Whether the decay is decoupled from the gradient. Default no.
        decoupled: bool = false,
        /// Ascend. Default no.
        maximize: bool = false,
    }
}

impl Recipe for NAdam {
    fn steps(&self) -> Vec<Step> {
        list(&[
            when(self.maximize, maximize),
            Some(decay(self.decoupled)),
            Some(average_grad),
            Some(average_sqr_grad),
            Some(nadam_step),
        ])
    }
    fn hypers(&self) -> Hypers {
        let mut h = adam_hypers(self.lr, self.betas, self.eps, self.weight_decay);
        h.set(Hyper::MomDecay, self.momentum_decay);
        h
    }
}

settings! {
    /// Rectified Adam, <https://arxiv.org/abs/1908.03265>. Counterpart: `torch.optim.RAdam`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{RAdam, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// RAdam::new(0.1).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.9).abs() < 1e-4);
    /// ```
    RAdam {
        /// Learning rate. Default 0.001.
        lr: f64 = 1e-3,
        /// Decays of the averages. Default (0.9, 0.999).
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the root of the second moment. Default 1e-8.
        eps: f64 = 1e-8,
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Whether the decay is decoupled from the gradient. Default no.
        decoupled: bool = false,
        /// Ascend. Default no.
        maximize: bool = false,
    }
}

impl Recipe for RAdam {
    fn steps(&self) -> Vec<Step> {
        list(&[
            when(self.maximize, maximize),
            Some(decay(self.decoupled)),
            Some(average_grad),
            Some(average_sqr_grad),
            Some(radam_step),
        ])
    }
    fn hypers(&self) -> Hypers {
        adam_hypers(self.lr, self.betas, self.eps, self.weight_decay)
    }
}

settings! {
    /// Averaged SGD. The average is `ax` in the [state](Optimizer::state). Counterpart: `torch.optim.ASGD`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{ASGD, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// ASGD::new(0.1).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.9).abs() < 1e-4);
    /// ```
    ASGD {
        /// Learning rate. Default 0.01.
        lr: f64 = 1e-2,
        /// Decay term. Default 1e-4.
        lambd: f64 = 1e-4,
        /// Power of the step-size schedule. Default 0.75.
        alpha: f64 = 0.75,
        /// Step at which averaging starts. Default 1e6.
        t0: f64 = 1e6,
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Whether the decay is decoupled from the gradient (true weight decay, as fastai's) rather than an L2 term. Default no.
        decoupled: bool = false,
        /// Ascend. Default no.
        maximize: bool = false,
    }
}

impl Recipe for ASGD {
    fn steps(&self) -> Vec<Step> {
        list(&[when(self.maximize, maximize), Some(decay(self.decoupled)), Some(asgd_step)])
    }
    fn hypers(&self) -> Hypers {
        Hypers::new(&[
            (Hyper::Lr, self.lr),
            (Hyper::Lambda, self.lambd),
            (Hyper::Alpha, self.alpha),
            (Hyper::T0, self.t0),
            (Hyper::Wd, self.weight_decay),
        ])
    }
}

settings! {
    /// Resilient backpropagation, for whole-set gradients. Counterpart: `torch.optim.Rprop`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Recipe, Rprop};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// Rprop::new(0.1).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.9).abs() < 1e-4);
    /// ```
    Rprop {
        /// The first step size. Default 0.01.
        lr: f64 = 1e-2,
        /// Factors for a step that went too far and for one in the right direction. Default (0.5, 1.2).
        etas: (f64, f64) = (0.5, 1.2),
        /// Smallest and largest step. Default (1e-6, 50).
        step_sizes: (f64, f64) = (1e-6, 50.0),
        /// Ascend. Default no.
        maximize: bool = false,
    }
}

impl Recipe for Rprop {
    fn steps(&self) -> Vec<Step> {
        list(&[when(self.maximize, maximize), Some(rprop_step)])
    }
    fn hypers(&self) -> Hypers {
        Hypers::new(&[
            (Hyper::Lr, self.lr),
            (Hyper::EtaMinus, self.etas.0),
            (Hyper::EtaPlus, self.etas.1),
            (Hyper::StepMin, self.step_sizes.0),
            (Hyper::StepMax, self.step_sizes.1),
        ])
    }
}

settings! {
    /// Adam in little memory, <https://arxiv.org/abs/1804.04235>. Counterpart: `torch.optim.Adafactor`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Adafactor, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// Adafactor::new(0.01).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.99).abs() < 1e-4);
    /// ```
    Adafactor {
        /// Largest relative learning rate. Default 0.01.
        lr: f64 = 1e-2,
        /// Exponent of the decay of the second moment. Default -0.8.
        beta2_decay: f64 = -0.8,
        /// Lower bounds of the second moment (0: the epsilon of the parameter's dtype) and of the parameter scale. Default (0, 0.001).
        eps: (f64, f64) = (0.0, 1e-3),
        /// Largest size of an update. Default 1.
        d: f64 = 1.0,
        /// Weight decay (decoupled). Default 0.
        weight_decay: f64 = 0.0,
        /// Ascend. Default no.
        maximize: bool = false,
    }
}

impl Recipe for Adafactor {
    fn steps(&self) -> Vec<Step> {
        list(&[when(self.maximize, maximize), Some(adafactor_step)])
    }
    fn hypers(&self) -> Hypers {
        Hypers::new(&[
            (Hyper::Lr, self.lr),
            (Hyper::Beta2Decay, self.beta2_decay),
            (Hyper::Eps, self.eps.0),
            (Hyper::Eps2, self.eps.1),
            (Hyper::Clip, self.d),
            (Hyper::Wd, self.weight_decay),
        ])
    }
}

settings! {
    /// Adam with steps scaled to the size of each parameter, for large batches: You et al., <https://arxiv.org/abs/1904.00962>.
    /// Counterpart: fastai's `Lamb`, whose decay comes first and is not rescaled (in the paper it is).
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Lamb, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// Lamb::new(0.1).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.9).abs() < 1e-4);
    /// ```
    Lamb {
        /// Learning rate. Default 0.001.
        lr: f64 = 1e-3,
        /// Decays of the averages. Default (0.9, 0.99).
        betas: (f64, f64) = (0.9, 0.99),
        /// Added to the root of the second moment. Default 1e-5.
        eps: f64 = 1e-5,
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Whether the decay is decoupled from the gradient (true weight decay, as fastai's) rather than an L2 term. Default yes.
        decoupled: bool = true,
    }
}

impl Recipe for Lamb {
    fn steps(&self) -> Vec<Step> {
        list(&[
            Some(decay(self.decoupled)),
            Some(average_grad),
            Some(average_sqr_grad),
            Some(lamb_step),
        ])
    }
    fn hypers(&self) -> Hypers {
        adam_hypers(self.lr, self.betas, self.eps, self.weight_decay)
    }
}

settings! {
    /// SGD with a rate for each parameter, in proportion to the ratio of its norm and its gradient's: LARS, You et al.,
    /// <https://arxiv.org/abs/1708.03888>, or with `clip` (the default) LARC. Counterpart: fastai's `Larc`, whose momentum averages gradients
    /// before they are rescaled. Parameters of zeros move as in SGD; fastai's would stay.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{LARS, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// LARS::new(0.1).trust_coeff(0.5).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.95).abs() < 1e-4);
    /// ```
    LARS {
        /// Learning rate. Default 0.001.
        lr: f64 = 1e-3,
        /// Momentum. Default 0.9.
        momentum: f64 = 0.9,
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Whether the decay is decoupled from the gradient (true weight decay, as fastai's) rather than an L2 term. Default yes.
        decoupled: bool = true,
        /// Trust coefficient. Default 0.02.
        trust_coeff: f64 = 0.02,
        /// Added to the norms. Default 1e-8.
        eps: f64 = 1e-8,
        /// Take no step larger than plain SGD would. Default yes.
        clip: bool = true,
    }
}

impl Recipe for LARS {
    fn steps(&self) -> Vec<Step> {
        list(&[Some(decay(self.decoupled)), Some(if self.clip { larc_step } else { lars_step })])
    }
    fn hypers(&self) -> Hypers {
        Hypers::new(&[
            (Hyper::Lr, self.lr),
            (Hyper::Mom, self.momentum),
            (Hyper::Dampening, 0.0),
            (Hyper::Wd, self.weight_decay),
            (Hyper::Trust, self.trust_coeff),
            (Hyper::Eps, self.eps),
        ])
    }
}

settings! {
    /// Quasi-hyperbolic Adam, <https://arxiv.org/abs/1810.06801>. Counterpart: fastai's `QHAdam`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{QHAdam, Recipe};
    /// use hardpan_nn::Param;
    /// let w = Param::new(Tensor::ones([1]));
    /// w.set_grad(Some(Tensor::ones([1])));
    /// QHAdam::new(0.1).build(vec![w.clone()]).step();
    /// assert!((w.value().item::<f32>() - 0.9).abs() < 1e-4);
    /// ```
    QHAdam {
        /// Learning rate. Default 0.001.
        lr: f64 = 1e-3,
        /// Decays of the averages. Default (0.999, 0.999).
        betas: (f64, f64) = (0.999, 0.999),
        /// Shares of the averages. Default (0.7, 1).
        nus: (f64, f64) = (0.7, 1.0),
        /// Added to the root of the second moment. Default 1e-8.
        eps: f64 = 1e-8,
        /// Weight decay. Default 0.
        weight_decay: f64 = 0.0,
        /// Whether the decay is decoupled from the gradient (true weight decay, as fastai's) rather than an L2 term. Default yes.
        decoupled: bool = true,
    }
}

impl Recipe for QHAdam {
    fn steps(&self) -> Vec<Step> {
        list(&[
            Some(decay(self.decoupled)),
            Some(average_grad),
            Some(average_sqr_grad),
            Some(qhadam_step),
        ])
    }
    fn hypers(&self) -> Hypers {
        let mut h = adam_hypers(self.lr, self.betas, self.eps, self.weight_decay);
        h.set(Hyper::Nu1, self.nus.0);
        h.set(Hyper::Nu2, self.nus.1);
        h
    }
}

/// Any optimizer with slow weights beside the fast ones, <https://arxiv.org/abs/1907.08610>. Counterpart: fastai's `Lookahead`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Lookahead, Recipe, SGD};
/// use hardpan_nn::Param;
/// let w = Param::new(Tensor::ones([1]));
/// let mut opt = Lookahead::new(SGD::new(0.1)).build(vec![w.clone()]);
/// for _ in 0..6 {
///     w.set_grad(Some(Tensor::ones([1])));
///     opt.step();
/// }
/// assert!((w.value().item::<f32>() - 0.7).abs() < 1e-6); // half way to 0.4
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Lookahead<R> {
    /// What moves the fast weights.
    pub inner: R,
    /// Steps between meetings. Default 6.
    pub k: u64,
    /// How far the slow weights move. Default 0.5.
    pub alpha: f64,
}

impl<R: Recipe> Lookahead<R> {
    /// Around this optimizer, with k 6 and alpha 0.5.
    pub fn new(inner: R) -> Lookahead<R> {
        Lookahead { inner, k: 6, alpha: 0.5 }
    }
}

/// [`RAdam`] with [`Lookahead`] and fastai's settings: betas (0.95, 0.99), eps 1e-6, decoupled weight decay 0.01.
/// Counterpart: fastai's `ranger`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Recipe, ranger};
/// use hardpan_nn::Param;
/// let w = Param::new(Tensor::ones([1]));
/// w.set_grad(Some(Tensor::ones([1])));
/// ranger(0.1).build(vec![w.clone()]).step();
/// assert!((w.value().item::<f32>() - 0.899).abs() < 1e-4);
/// ```
pub fn ranger(lr: f64) -> Lookahead<RAdam> {
    let inner = RAdam::new(lr).betas((0.95, 0.99)).eps(1e-6).weight_decay(0.01).decoupled(true);
    Lookahead::new(inner)
}

impl<R: Recipe> Recipe for Lookahead<R> {
    fn steps(&self) -> Vec<Step> {
        let mut out = list(&[Some(remember_slow)]);
        out.extend(self.inner.steps());
        out.push(Arc::new(lookahead(self.k, self.alpha)));
        out
    }
    fn hypers(&self) -> Hypers {
        self.inner.hypers()
    }
}
