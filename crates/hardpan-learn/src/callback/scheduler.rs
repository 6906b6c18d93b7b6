//! [`ParamScheduler`].

use super::{Callback, Flow};
use crate::learner::{Context, Task};
use crate::schedule::{OneCycle, Schedule};
use hardpan_nn::optim::Hyper;

/// Sets hyperparameters before each training batch, by schedules of the share of the fit that is done.
///
/// ```
/// use hardpan_learn::callback::ParamScheduler;
/// use hardpan_learn::schedule::Anneal;
/// use hardpan_nn::optim::Hyper;
/// let scheduler = ParamScheduler::new().set(Hyper::Lr, Anneal::Cosine.from_to(0.1, 0.0));
/// ```
#[derive(Default)]
pub struct ParamScheduler {
    schedules: Vec<(Hyper, Scheduled)>,
    /// Leave momentum alone where the optimizer has none.
    momentum_if_any: bool,
}

enum Scheduled {
    All(Schedule),
    /// One value for the first group, another for the last, those between spaced evenly on a logarithmic scale.
    Spread(Schedule, Schedule),
}

impl ParamScheduler {
    /// Sets nothing yet.
    pub fn new() -> ParamScheduler {
        ParamScheduler::default()
    }

    /// Also sets `hyper`, of all parameter groups.
    #[must_use]
    pub fn set(
        mut self,
        hyper: Hyper,
        schedule: impl Fn(f64) -> f64 + Send + 'static,
    ) -> ParamScheduler {
        self.schedules.push((hyper, Scheduled::All(Box::new(schedule))));
        self
    }

    /// One-cycle training with the highest learning rate `lr`; the momentum only if the optimizer has one.
    pub fn one_cycle(lr: f64, cycle: OneCycle) -> ParamScheduler {
        let mut out =
            ParamScheduler::new().set(Hyper::Lr, cycle.rates(lr)).set(Hyper::Mom, cycle.momentum());
        out.momentum_if_any = true;
        out
    }

    /// As [`one_cycle`](ParamScheduler::one_cycle) with highest rates from `first` for the first parameter group to
    /// `last` for the last. Counterpart: fastai's `slice(first, last)`.
    pub fn one_cycle_spread(first: f64, last: f64, cycle: OneCycle) -> ParamScheduler {
        let spread = Scheduled::Spread(cycle.rates(first), cycle.rates(last));
        let mut out = ParamScheduler::new().set(Hyper::Mom, cycle.momentum());
        out.schedules.push((Hyper::Lr, spread));
        out.momentum_if_any = true;
        out
    }
}

impl<T: Task> Callback<T> for ParamScheduler {
    fn order(&self) -> i32 {
        60
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        let has = |h| ctx.opt.groups().iter().any(|g| g.hypers().find(h).is_some_and(|v| v != 0.0));
        if self.momentum_if_any && !has(Hyper::Mom) {
            self.schedules.retain(|(h, _)| *h != Hyper::Mom);
        }
        Flow::Continue
    }

    fn before_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        if !ctx.training {
            return Flow::Continue;
        }
        let n = ctx.opt.groups().len();
        for (hyper, schedule) in &self.schedules {
            match schedule {
                Scheduled::All(f) => ctx.opt.set_hyper(*hyper, f(ctx.pct_train)),
                Scheduled::Spread(first, last) => {
                    let (a, b) = (first(ctx.pct_train), last(ctx.pct_train));
                    let at = |i: usize| match n {
                        1 => b,
                        _ => a * (b / a).powf(i as f64 / (n - 1) as f64),
                    };
                    let values: Vec<f64> = (0..n).map(at).collect();
                    ctx.opt.set_hypers(*hyper, &values);
                }
            }
        }
        Flow::Continue
    }
}
