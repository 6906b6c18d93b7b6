//! Learning-rate schedules by the step, with PyTorch's names, defaults and curves.
//!
//! A schedule is built on an optimizer (which sets its learning rate for step 0) and moved on by [`Scheduler::step`] after each
//! [`Optimizer::step`]. Groups keep their own base rates. As in PyTorch most schedules work from the present rate, so that several
//! can be [chained](ChainedScheduler) or put [one after another](SequentialLR).
//!
//! ```
//! use hardpan_engine::Tensor;
//! use hardpan_nn::Param;
//! use hardpan_nn::optim::{Recipe, SGD, scheduler::{Scheduler, StepLR}};
//! let mut opt = SGD::new(0.1).build(vec![Param::new(Tensor::ones([1]))]);
//! let mut schedule = StepLR::new(&mut opt, 2, 0.1);
//! let rates: Vec<f64> = (0..4)
//!     .map(|_| {
//!         let lr = opt.lr();
//!         opt.step();
//!         schedule.step(&mut opt);
//!         lr
//!     })
//!     .collect();
//! assert_eq!(rates[..2], [0.1, 0.1]);
//! assert!((rates[2] - 0.01).abs() < 1e-15 && (rates[3] - 0.01).abs() < 1e-15);
//! ```

mod cycle;
mod plateau;

pub use cycle::{AnnealStrategy, CyclicLR, CyclicMode, OneCycleLR};
pub use plateau::{PlateauMode, ReduceLROnPlateau, ThresholdMode};

use super::{Hyper, Optimizer};
use std::f64::consts::PI;

/// Moves the hyperparameters of an optimizer as steps go by.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Optimizer, Recipe, SGD};
/// use hardpan_nn::optim::scheduler::Scheduler;
/// use hardpan_nn::Param;
/// /// Halves the rate at every step.
/// struct Halving(i64);
///
/// impl Scheduler for Halving {
///     fn apply(&mut self, opt: &mut Optimizer) {
///         let lr = opt.lr();
///         opt.set_hyper(Hyper::Lr, lr * 0.5);
///     }
///     fn advance(&mut self) {
///         self.0 += 1;
///     }
///     fn position(&self) -> i64 {
///         self.0
///     }
///     fn set_position(&mut self, position: i64) {
///         self.0 = position;
///     }
/// }
///
/// let mut opt = SGD::new(0.4).build(vec![Param::new(Tensor::ones([1]))]);
/// Halving(0).step(&mut opt);
/// assert_eq!(opt.lr(), 0.2);
/// ```
pub trait Scheduler: Send {
    /// After a step of the optimizer (or an epoch, if that is the measure).
    fn step(&mut self, opt: &mut Optimizer) {
        self.advance();
        self.apply(opt);
    }

    /// Sets the rates of the present position, given those before it.
    fn apply(&mut self, opt: &mut Optimizer);

    /// One position on.
    fn advance(&mut self);

    /// The position: how many steps since it was built.
    fn position(&self) -> i64;

    /// Puts the schedule at a position, without touching the optimizer.
    fn set_position(&mut self, position: i64);

    /// The rates of a position, if they can be told without those before it.
    fn closed_form(&self, opt: &Optimizer, position: i64) -> Option<Vec<f64>> {
        let _ = (opt, position);
        None
    }
}

/// Rates before any schedule: what the first one found.
pub(super) fn base_rates(opt: &mut Optimizer) -> Vec<f64> {
    opt.groups
        .iter_mut()
        .map(|g| {
            let lr = g.hypers.get(Hyper::Lr);
            *g.initial_lr.get_or_insert(lr)
        })
        .collect()
}

fn set_rates(opt: &mut Optimizer, f: impl Fn(usize, f64) -> f64) {
    for (i, g) in opt.groups.iter_mut().enumerate() {
        let lr = g.hypers.get(Hyper::Lr);
        g.hypers.set(Hyper::Lr, f(i, lr));
    }
}

/// A schedule that works from the present rate: its settings, the base rates, and its position.
macro_rules! schedules {
    ($($(#[$doc:meta])* $name:ident($($(#[$pdoc:meta])* $p:ident: $t:ty),*) {
        next: |$s:ident, $t0:ident, $base:ident, $lr:ident| $next:expr,
        closed: |$s2:ident, $t2:ident, $base2:ident| $closed:expr $(,)?
    })*) => {$(
        $(#[$doc])*
        pub struct $name {
            $($p: $t,)*
            base: Vec<f64>,
            position: i64,
        }

        impl $name {
            /// On this optimizer, whose rate for step 0 it sets.
            pub fn new(opt: &mut Optimizer, $($p: $t),*) -> $name {
                let mut out = $name { $($p,)* base: base_rates(opt), position: 0 };
                out.apply(opt);
                out
            }
        }

        impl Scheduler for $name {
            fn apply(&mut self, opt: &mut Optimizer) {
                let ($s, $t0) = (&*self, self.position);
                set_rates(opt, |i, $lr| {
                    let $base = $s.base[i];
                    let _ = $base;
                    $next
                });
            }
            fn advance(&mut self) {
                self.position += 1;
            }
            fn position(&self) -> i64 {
                self.position
            }
            fn set_position(&mut self, position: i64) {
                self.position = position;
            }
            fn closed_form(&self, _: &Optimizer, position: i64) -> Option<Vec<f64>> {
                let ($s2, $t2) = (self, position);
                let of = |$base2: f64| -> Option<f64> { $closed };
                self.base.iter().map(|b| of(*b)).collect()
            }
        }
    )*};
}

fn floor_div(a: i64, b: usize) -> i64 {
    a.div_euclid(b.max(1) as i64)
}

schedules! {
    /// Multiplies the rate by `gamma` every `step_size` steps (PyTorch's default gamma is 0.1). Counterpart: `StepLR`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Recipe, SGD};
    /// use hardpan_nn::optim::scheduler::{Scheduler, StepLR};
    /// use hardpan_nn::Param;
    /// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
    /// let mut schedule = StepLR::new(&mut opt, 2, 0.5);
    /// for rate in [1.0, 1.0, 0.5, 0.5] {
    ///     assert!((opt.lr() - rate).abs() < 1e-12);
    ///     schedule.step(&mut opt);
    /// }
    /// ```
    StepLR(step_size: usize, gamma: f64) {
        next: |s, t, base, lr| if t != 0 && t % s.step_size.max(1) as i64 == 0 { lr * s.gamma } else { lr },
        closed: |s, t, base| Some(base * s.gamma.powi(floor_div(t, s.step_size) as i32)),
    }
    /// Multiplies the rate by `gamma` at each milestone (PyTorch's default gamma is 0.1). Counterpart: `MultiStepLR`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Recipe, SGD};
    /// use hardpan_nn::optim::scheduler::{MultiStepLR, Scheduler};
    /// use hardpan_nn::Param;
    /// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
    /// let mut schedule = MultiStepLR::new(&mut opt, vec![1, 3], 0.5);
    /// for rate in [1.0, 0.5, 0.5, 0.25] {
    ///     assert!((opt.lr() - rate).abs() < 1e-12);
    ///     schedule.step(&mut opt);
    /// }
    /// ```
    MultiStepLR(milestones: Vec<usize>, gamma: f64) {
        next: |s, t, base, lr| {
            let hits = s.milestones.iter().filter(|m| **m as i64 == t).count();
            lr * s.gamma.powi(hits as i32)
        },
        closed: |s, t, base| {
            let past = s.milestones.iter().filter(|m| **m as i64 <= t).count();
            Some(base * s.gamma.powi(past as i32))
        },
    }
    /// A fraction of the rate for the first `total` steps (PyTorch's defaults: 1/3, 5). Counterpart: `ConstantLR`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Recipe, SGD};
    /// use hardpan_nn::optim::scheduler::{ConstantLR, Scheduler};
    /// use hardpan_nn::Param;
    /// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
    /// let mut schedule = ConstantLR::new(&mut opt, 0.5, 2);
    /// for rate in [0.5, 0.5, 1.0, 1.0] {
    ///     assert!((opt.lr() - rate).abs() < 1e-12);
    ///     schedule.step(&mut opt);
    /// }
    /// ```
    ConstantLR(factor: f64, total: usize) {
        next: |s, t, base, lr| {
            if t == 0 {
                lr * s.factor
            } else if t == s.total as i64 {
                lr * (1.0 / s.factor)
            } else {
                lr
            }
        },
        closed: |s, t, base| Some(base * if t >= s.total as i64 { 1.0 } else { s.factor }),
    }
    /// From a fraction of the rate to another over `total` steps (PyTorch's defaults: 1/3, 1, 5). Counterpart: `LinearLR`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Recipe, SGD};
    /// use hardpan_nn::optim::scheduler::{LinearLR, Scheduler};
    /// use hardpan_nn::Param;
    /// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
    /// let mut schedule = LinearLR::new(&mut opt, 0.5, 1.0, 2);
    /// for rate in [0.5, 0.75, 1.0, 1.0] {
    ///     assert!((opt.lr() - rate).abs() < 1e-12);
    ///     schedule.step(&mut opt);
    /// }
    /// ```
    LinearLR(start: f64, end: f64, total: usize) {
        next: |s, t, base, lr| {
            let total = s.total as f64;
            if t == 0 {
                lr * s.start
            } else if t > s.total as i64 {
                lr
            } else {
                lr * (1.0 + (s.end - s.start) / (total * s.start + (t - 1) as f64 * (s.end - s.start)))
            }
        },
        closed: |s, t, base| {
            let done = (t.min(s.total as i64) as f64) / s.total as f64;
            Some(base * (s.start + (s.end - s.start) * done))
        },
    }
    /// Multiplies the rate by `gamma` at every step. Counterpart: `ExponentialLR`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Recipe, SGD};
    /// use hardpan_nn::optim::scheduler::{ExponentialLR, Scheduler};
    /// use hardpan_nn::Param;
    /// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
    /// let mut schedule = ExponentialLR::new(&mut opt, 0.5);
    /// for rate in [1.0, 0.5, 0.25, 0.125] {
    ///     assert!((opt.lr() - rate).abs() < 1e-12);
    ///     schedule.step(&mut opt);
    /// }
    /// ```
    ExponentialLR(gamma: f64) {
        next: |s, t, base, lr| if t == 0 { lr } else { lr * s.gamma },
        closed: |s, t, base| Some(base * s.gamma.powi(t as i32)),
    }
    /// `(1 - t / total)^power` of the rate (PyTorch's defaults: 5, 1). Counterpart: `PolynomialLR`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Recipe, SGD};
    /// use hardpan_nn::optim::scheduler::{PolynomialLR, Scheduler};
    /// use hardpan_nn::Param;
    /// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
    /// let mut schedule = PolynomialLR::new(&mut opt, 4, 1.0);
    /// for rate in [1.0, 0.75, 0.5, 0.25] {
    ///     assert!((opt.lr() - rate).abs() < 1e-12);
    ///     schedule.step(&mut opt);
    /// }
    /// ```
    PolynomialLR(total: usize, power: f64) {
        next: |s, t, base, lr| {
            if t == 0 || t > s.total as i64 {
                lr
            } else {
                let left = |t: i64| 1.0 - t as f64 / s.total as f64;
                lr * (left(t) / left(t - 1)).powf(s.power)
            }
        },
        closed: |s, t, base| {
            let done = t.min(s.total as i64) as f64 / s.total as f64;
            Some(base * (1.0 - done).powf(s.power))
        },
    }
    /// Half a cosine from the rate down to `eta_min` over `t_max` steps, and up again. Counterpart: `CosineAnnealingLR`;
    /// <https://arxiv.org/abs/1608.03983> without its restarts.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Recipe, SGD};
    /// use hardpan_nn::optim::scheduler::{CosineAnnealingLR, Scheduler};
    /// use hardpan_nn::Param;
    /// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
    /// let mut schedule = CosineAnnealingLR::new(&mut opt, 2, 0.0);
    /// for rate in [1.0, 0.5, 0.0, 0.5] {
    ///     assert!((opt.lr() - rate).abs() < 1e-12);
    ///     schedule.step(&mut opt);
    /// }
    /// ```
    CosineAnnealingLR(t_max: usize, eta_min: f64) {
        next: |s, t, base, lr| {
            let n = s.t_max as f64;
            if t == 0 {
                lr
            } else if (t - 1 - s.t_max as i64) % (2 * s.t_max as i64) == 0 {
                lr + (base - s.eta_min) * (1.0 - (PI / n).cos()) / 2.0
            } else {
                let at = |t: i64| 1.0 + (PI * t as f64 / n).cos();
                at(t) / at(t - 1) * (lr - s.eta_min) + s.eta_min
            }
        },
        closed: |s, t, base| {
            let cos = (PI * t as f64 / s.t_max as f64).cos();
            Some(s.eta_min + (base - s.eta_min) * (1.0 + cos) / 2.0)
        },
    }
    /// Cosines from the rate down to `eta_min`, each starting over: the first of `t_0` steps, every next one `t_mult` times as long
    /// (PyTorch's defaults: t_mult 1, eta_min 0). Counterpart: `CosineAnnealingWarmRestarts`; <https://arxiv.org/abs/1608.03983>, eq. 5.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::optim::{Recipe, SGD};
    /// use hardpan_nn::optim::scheduler::{CosineAnnealingWarmRestarts, Scheduler};
    /// use hardpan_nn::Param;
    /// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
    /// let mut schedule = CosineAnnealingWarmRestarts::new(&mut opt, 2, 1, 0.0);
    /// for rate in [1.0, 0.5, 1.0, 0.5] {
    ///     assert!((opt.lr() - rate).abs() < 1e-12);
    ///     schedule.step(&mut opt);
    /// }
    /// ```
    CosineAnnealingWarmRestarts(t_0: usize, t_mult: usize, eta_min: f64) {
        next: |s, t, base, _lr| {
            let (mut at, mut length) = (t as f64, s.t_0.max(1) as f64);
            while at >= length {
                at -= length;
                length *= s.t_mult.max(1) as f64;
            }
            s.eta_min + (base - s.eta_min) * (1.0 + (PI * at / length).cos()) / 2.0
        },
        closed: |_s, _t, _base| None,
    }
}

/// The rate times a function of the step. Counterpart: `LambdaLR`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Recipe, SGD};
/// use hardpan_nn::optim::scheduler::{LambdaLR, Scheduler};
/// use hardpan_nn::Param;
/// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
/// let mut schedule = LambdaLR::new(&mut opt, |step| 1.0 / (1 + step) as f64);
/// for rate in [1.0, 1.0 / 2.0, 1.0 / 3.0] {
///     assert!((opt.lr() - rate).abs() < 1e-12);
///     schedule.step(&mut opt);
/// }
/// ```
pub struct LambdaLR {
    f: Box<dyn Fn(i64) -> f64 + Send>,
    base: Vec<f64>,
    position: i64,
}

impl LambdaLR {
    /// On this optimizer, with the factor for each step.
    pub fn new(opt: &mut Optimizer, f: impl Fn(i64) -> f64 + Send + 'static) -> LambdaLR {
        let mut out = LambdaLR { f: Box::new(f), base: base_rates(opt), position: 0 };
        out.apply(opt);
        out
    }
}

impl Scheduler for LambdaLR {
    fn apply(&mut self, opt: &mut Optimizer) {
        let factor = (self.f)(self.position);
        set_rates(opt, |i, _| self.base[i] * factor);
    }
    fn advance(&mut self) {
        self.position += 1;
    }
    fn position(&self) -> i64 {
        self.position
    }
    fn set_position(&mut self, position: i64) {
        self.position = position;
    }
}

/// The present rate times a function of the step. Counterpart: `MultiplicativeLR`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Recipe, SGD};
/// use hardpan_nn::optim::scheduler::{MultiplicativeLR, Scheduler};
/// use hardpan_nn::Param;
/// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
/// let mut schedule = MultiplicativeLR::new(&mut opt, |_| 0.5);
/// for rate in [1.0, 0.5, 0.25] {
///     assert!((opt.lr() - rate).abs() < 1e-12);
///     schedule.step(&mut opt);
/// }
/// ```
pub struct MultiplicativeLR {
    f: Box<dyn Fn(i64) -> f64 + Send>,
    position: i64,
}

impl MultiplicativeLR {
    /// On this optimizer, with the factor for each step after the first.
    pub fn new(opt: &mut Optimizer, f: impl Fn(i64) -> f64 + Send + 'static) -> MultiplicativeLR {
        base_rates(opt);
        MultiplicativeLR { f: Box::new(f), position: 0 }
    }
}

impl Scheduler for MultiplicativeLR {
    fn apply(&mut self, opt: &mut Optimizer) {
        if self.position > 0 {
            let factor = (self.f)(self.position);
            set_rates(opt, |_, lr| lr * factor);
        }
    }
    fn advance(&mut self) {
        self.position += 1;
    }
    fn position(&self) -> i64 {
        self.position
    }
    fn set_position(&mut self, position: i64) {
        self.position = position;
    }
}

/// Several schedules at once, each on the result of the one before. Counterpart: `ChainedScheduler`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Recipe, SGD};
/// use hardpan_nn::optim::scheduler::{ChainedScheduler, ConstantLR, ExponentialLR, Scheduler};
/// use hardpan_nn::Param;
/// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
/// let warm: Box<dyn Scheduler> = Box::new(ConstantLR::new(&mut opt, 0.5, 2));
/// let falling = Box::new(ExponentialLR::new(&mut opt, 0.5));
/// let mut schedule = ChainedScheduler::new(vec![warm, falling]);
/// for rate in [0.5, 0.25, 0.25, 0.125] {
///     assert_eq!(opt.lr(), rate);
///     schedule.step(&mut opt);
/// }
/// ```
pub struct ChainedScheduler {
    schedulers: Vec<Box<dyn Scheduler>>,
}

impl ChainedScheduler {
    /// These, built on the same optimizer.
    pub fn new(schedulers: Vec<Box<dyn Scheduler>>) -> ChainedScheduler {
        ChainedScheduler { schedulers }
    }
}

impl Scheduler for ChainedScheduler {
    fn apply(&mut self, opt: &mut Optimizer) {
        self.schedulers.iter_mut().for_each(|s| s.apply(opt));
    }
    fn advance(&mut self) {
        self.schedulers.iter_mut().for_each(|s| s.advance());
    }
    fn position(&self) -> i64 {
        self.schedulers.first().map_or(0, |s| s.position())
    }
    fn set_position(&mut self, position: i64) {
        self.schedulers.iter_mut().for_each(|s| s.set_position(position));
    }
}

/// One schedule after another, each from its milestone on. Counterpart: `SequentialLR`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Recipe, SGD};
/// use hardpan_nn::optim::scheduler::{ConstantLR, ExponentialLR, Scheduler, SequentialLR};
/// use hardpan_nn::Param;
/// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
/// let warm: Box<dyn Scheduler> = Box::new(ConstantLR::new(&mut opt, 0.5, 9));
/// let falling = Box::new(ExponentialLR::new(&mut opt, 0.5));
/// let mut schedule = SequentialLR::new(&mut opt, vec![warm, falling], vec![2]);
/// for rate in [0.5, 0.5, 1.0, 0.5] {
///     assert_eq!(opt.lr(), rate);
///     schedule.step(&mut opt);
/// }
/// ```
pub struct SequentialLR {
    schedulers: Vec<Box<dyn Scheduler>>,
    milestones: Vec<usize>,
    position: i64,
}

impl SequentialLR {
    /// These, built on the same optimizer; schedule `k + 1` starts at `milestones[k]`.
    ///
    /// # Panics
    /// If there is not one milestone less than schedules.
    #[track_caller]
    pub fn new(
        opt: &mut Optimizer,
        schedulers: Vec<Box<dyn Scheduler>>,
        milestones: Vec<usize>,
    ) -> SequentialLR {
        assert_eq!(
            milestones.len() + 1,
            schedulers.len(),
            "SequentialLR: {} schedules need one milestone less, got {milestones:?}",
            schedulers.len()
        );
        let mut out = SequentialLR { schedulers, milestones, position: 0 };
        // Building them has moved the rates; only the first is to have an effect yet.
        let base = base_rates(opt);
        set_rates(opt, |i, _| base[i]);
        for s in &mut out.schedulers {
            let back = s.position() - 1;
            s.set_position(back);
        }
        out.schedulers[0].step(opt);
        out
    }
}

impl Scheduler for SequentialLR {
    fn apply(&mut self, opt: &mut Optimizer) {
        let k = self.milestones.iter().filter(|m| **m as i64 <= self.position).count();
        let s = &mut self.schedulers[k];
        if k > 0 && self.milestones[k - 1] as i64 == self.position {
            s.set_position(0);
            match s.closed_form(opt, 0) {
                Some(rates) => set_rates(opt, |i, _| rates[i]),
                None => s.apply(opt),
            }
        } else {
            s.step(opt);
        }
    }
    fn advance(&mut self) {
        self.position += 1;
    }
    fn position(&self) -> i64 {
        self.position
    }
    fn set_position(&mut self, position: i64) {
        self.position = position;
    }
}
