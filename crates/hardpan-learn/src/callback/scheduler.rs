//! [`ParamScheduler`].

use super::{Callback, Flow};
use crate::learner::{Context, Rates, Task};
use crate::schedule::{Anneal, FlatCos, OneCycle, Schedule, combine, sgdr};
use hardpan_nn::optim::{Group, Hyper};

/// Sets hyperparameters before each training batch, by schedules of the share of the fit that is done. Any hyperparameter of any
/// parameter group can have its own. Counterpart: fastai's `ParamScheduler`.
///
/// Where two schedules set the same hyperparameter of a group, the later one counts.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::ParamScheduler;
/// use hardpan_learn::schedule::Anneal;
/// use hardpan_nn::optim::Hyper;
/// let scheduler = ParamScheduler::new()
///     .set(Hyper::Lr, Anneal::Linear.from_to(0.4, 0.0))
///     .set_group(Hyper::Wd, 0, Anneal::No.from_to(0.02, 0.0));
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .silent();
/// learn.fit_with(1, vec![Box::new(scheduler)])?;
/// assert!(learn.history().lrs.iter().zip([0.4, 0.3, 0.2, 0.1]).all(|(a, b)| (a - b).abs() < 1e-9));
/// assert_eq!(learn.optimizer().hypers(Hyper::Wd), [0.02]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct ParamScheduler {
    schedules: Vec<(Hyper, Scheduled)>,
    /// Leave momentum alone where the optimizer has none.
    momentum_if_any: bool,
    has_momentum: bool,
}

enum Scheduled {
    /// The same for all groups.
    All(Schedule),
    /// Of one group.
    Group(usize, Schedule),
    /// A curve for each group's own rate, made when the number of groups is known.
    Rates { rates: Rates, curve: Box<dyn Fn(f64) -> Schedule + Send>, made: Vec<Schedule> },
}

impl ParamScheduler {
    /// Sets nothing yet.
    pub fn new() -> ParamScheduler {
        ParamScheduler::default()
    }

    /// Also sets `hyper` of all parameter groups.
    #[must_use]
    pub fn set(
        mut self,
        hyper: Hyper,
        schedule: impl Fn(f64) -> f64 + Send + 'static,
    ) -> ParamScheduler {
        self.schedules.push((hyper, Scheduled::All(Box::new(schedule))));
        self
    }

    /// Also sets `hyper` of one parameter group, counted from 0.
    #[must_use]
    pub fn set_group(
        mut self,
        hyper: Hyper,
        group: usize,
        schedule: impl Fn(f64) -> f64 + Send + 'static,
    ) -> ParamScheduler {
        self.schedules.push((hyper, Scheduled::Group(group, Box::new(schedule))));
        self
    }

    /// Also sets the learning rate: each group's by the schedule that `curve` makes of the group's own of the `rates`.
    ///
    /// ```
    /// use hardpan_learn::callback::ParamScheduler;
    /// use hardpan_learn::schedule::Anneal;
    /// // Every group's rate falls to zero, the first from 1e-5, the last from 1e-3.
    /// let scheduler =
    ///     ParamScheduler::new().set_rates((1e-5, 1e-3), |lr| Anneal::Cosine.from_to(lr, 0.0));
    /// ```
    #[must_use]
    pub fn set_rates(
        mut self,
        rates: impl Into<Rates>,
        curve: impl Fn(f64) -> Schedule + Send + 'static,
    ) -> ParamScheduler {
        let (rates, curve) = (rates.into(), Box::new(curve));
        self.schedules.push((Hyper::Lr, Scheduled::Rates { rates, curve, made: Vec::new() }));
        self
    }

    /// One-cycle training with these highest learning rates; the momentum only if the optimizer has one.
    pub fn one_cycle(rates: impl Into<Rates>, cycle: OneCycle) -> ParamScheduler {
        let mut out = ParamScheduler::new()
            .set_rates(rates, move |lr| cycle.rates(lr))
            .set(Hyper::Mom, cycle.momentum());
        out.momentum_if_any = true;
        out
    }

    /// Rates that stay as they are, then fall along a cosine.
    pub fn flat_cos(rates: impl Into<Rates>, flat: FlatCos) -> ParamScheduler {
        ParamScheduler::new().set_rates(rates, move |lr| flat.rates(lr))
    }

    /// Warm restarts: `cycles` cosines from the rates to zero, each `mult` times as long as the one before.
    pub fn sgdr(rates: impl Into<Rates>, cycles: usize, mult: usize) -> ParamScheduler {
        ParamScheduler::new().set_rates(rates, move |lr| sgdr(cycles, mult, lr))
    }

    /// Rises in a straight line from (almost) zero in the first `share` of the fit, then falls to zero along a cosine: the usual
    /// schedule of transformers.
    pub fn warm_up_cosine(rates: impl Into<Rates>, share: f64) -> ParamScheduler {
        ParamScheduler::new().set_rates(rates, move |lr| {
            combine(vec![
                (share, Anneal::Linear.from_to(lr * 1e-3, lr)),
                (1.0 - share, Anneal::Cosine.from_to(lr, 0.0)),
            ])
        })
    }
}

impl<T: Task> Callback<T> for ParamScheduler {
    fn order(&self) -> i32 {
        60
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        let groups = ctx.opt.groups();
        let momentum = |g: &Group| g.hypers().find(Hyper::Mom).is_some_and(|v| v != 0.0);
        self.has_momentum = groups.iter().any(momentum);
        for (hyper, scheduled) in &mut self.schedules {
            match scheduled {
                Scheduled::All(_) => {}
                Scheduled::Group(i, _) => assert!(
                    *i < groups.len(),
                    "ParamScheduler: a schedule of {hyper} for group {i}, but there are {} groups",
                    groups.len()
                ),
                Scheduled::Rates { rates, curve, made } => {
                    *made = rates.for_groups(groups.len()).into_iter().map(curve).collect();
                }
            }
        }
        Flow::Continue
    }

    fn before_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        if !ctx.training {
            return Flow::Continue;
        }
        let pos = ctx.pct_train;
        for (hyper, scheduled) in &self.schedules {
            if self.momentum_if_any && !self.has_momentum && *hyper == Hyper::Mom {
                continue;
            }
            match scheduled {
                Scheduled::All(f) => ctx.opt.set_hyper(*hyper, f(pos)),
                Scheduled::Group(i, f) => ctx.opt.groups_mut()[*i].set(*hyper, f(pos)),
                Scheduled::Rates { made, .. } => {
                    for (group, f) in ctx.opt.groups_mut().iter_mut().zip(made) {
                        group.set(*hyper, f(pos));
                    }
                }
            }
        }
        Flow::Continue
    }
}
