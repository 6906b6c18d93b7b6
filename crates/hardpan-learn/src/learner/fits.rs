//! The ways to train: [`Learner::fit`] and its relatives, freezing, [`Learner::fine_tune`]. Each is a schedule and a call of
//! `fit_with`; their defaults are fastai's.

use super::{FitError, Learner, Rates};
use crate::callback::{Callback, ParamScheduler};
use crate::schedule::{FlatCos, OneCycle, sgdr_length};
use hardpan_nn::optim::Hyper;
use hardpan_nn::{Forward, Module};

/// The settings of [`Learner::fine_tune_with`], with fastai's defaults.
///
/// ```
/// use hardpan_learn::learner::FineTune;
/// let settings = FineTune { base_lr: 3e-3, freeze_epochs: 2, ..FineTune::default() };
/// assert_eq!((settings.lr_mult, settings.pct_start, settings.div), (100.0, 0.3, 5.0));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FineTune {
    /// Learning rate of the first stage; the second has half of it. 2e-3.
    pub base_lr: f64,
    /// Epochs of the first stage, in which all groups but the last are frozen. 1.
    pub freeze_epochs: usize,
    /// How many times lower the rate of the first group is than that of the last in the second stage. 100.
    pub lr_mult: f64,
    /// Share of the second stage in which the rate rises. 0.3.
    pub pct_start: f64,
    /// The second stage starts at the highest rate divided by this. 5.
    pub div: f64,
}

impl Default for FineTune {
    fn default() -> FineTune {
        FineTune { base_lr: 2e-3, freeze_epochs: 1, lr_mult: 100.0, pct_start: 0.3, div: 5.0 }
    }
}

impl<M, X, Y> Learner<M, X, Y>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    /// Trains for `epochs` epochs at these learning rates: a number for all parameter groups, or what else [`Rates`] can be made of.
    ///
    /// # Errors
    /// See [`FitError`].
    ///
    /// # Panics
    /// If there are rates for another number of groups.
    #[track_caller]
    pub fn fit(&mut self, epochs: usize, rates: impl Into<Rates>) -> Result<(), FitError> {
        // A resumed fit has its rates, which may have changed since it began.
        if self.start.is_none() {
            self.set_rates(rates);
        }
        self.run_fit(epochs, Vec::new())
    }

    /// Trains for `epochs` epochs with these callbacks beside the learner's own; learning rates are as the optimizer
    /// has them, or as a [`ParamScheduler`] sets them.
    ///
    /// # Errors
    /// See [`FitError`].
    pub fn fit_with(
        &mut self,
        epochs: usize,
        callbacks: Vec<Box<dyn Callback<(M, X, Y)>>>,
    ) -> Result<(), FitError> {
        self.run_fit(epochs, callbacks)
    }

    /// Sets the learning rates of the parameter groups, for fits that have no schedule for them.
    ///
    /// # Panics
    /// If there are rates for another number of groups.
    #[track_caller]
    pub fn set_rates(&mut self, rates: impl Into<Rates>) {
        let rates = rates.into().for_groups(self.ctx.opt.groups().len());
        self.ctx.opt.set_hypers(Hyper::Lr, &rates);
    }

    /// Trains with fastai's one-cycle schedule: the learning rates rise to these in the first quarter and fall to almost nothing,
    /// while momentum does the opposite.
    ///
    /// # Errors
    /// See [`FitError`].
    ///
    /// # Panics
    /// If there are rates for another number of groups.
    pub fn fit_one_cycle(
        &mut self,
        epochs: usize,
        rates: impl Into<Rates>,
    ) -> Result<(), FitError> {
        self.fit_one_cycle_with(epochs, rates, self.cycle)
    }

    /// As [`fit_one_cycle`](Learner::fit_one_cycle) with other settings.
    ///
    /// # Errors
    /// See [`FitError`].
    pub fn fit_one_cycle_with(
        &mut self,
        epochs: usize,
        rates: impl Into<Rates>,
        cycle: OneCycle,
    ) -> Result<(), FitError> {
        self.run_fit(epochs, vec![Box::new(ParamScheduler::one_cycle(rates, cycle))])
    }

    /// Trains at constant rates for three quarters of the time, then with rates that fall along a cosine. Counterpart: fastai's
    /// `fit_flat_cos`.
    ///
    /// # Errors
    /// See [`FitError`].
    pub fn fit_flat_cos(&mut self, epochs: usize, rates: impl Into<Rates>) -> Result<(), FitError> {
        self.fit_flat_cos_with(epochs, rates, FlatCos::default())
    }

    /// As [`fit_flat_cos`](Learner::fit_flat_cos) with other settings.
    ///
    /// # Errors
    /// See [`FitError`].
    pub fn fit_flat_cos_with(
        &mut self,
        epochs: usize,
        rates: impl Into<Rates>,
        flat: FlatCos,
    ) -> Result<(), FitError> {
        self.run_fit(epochs, vec![Box::new(ParamScheduler::flat_cos(rates, flat))])
    }

    /// Trains with warm restarts: `cycles` cosines, the first over `cycle_epochs` epochs, every next one twice as long.
    /// Counterpart: fastai's `fit_sgdr`.
    ///
    /// # Errors
    /// See [`FitError`].
    ///
    /// # Panics
    /// If `cycles` is 0.
    #[track_caller]
    pub fn fit_sgdr(
        &mut self,
        cycles: usize,
        cycle_epochs: usize,
        rates: impl Into<Rates>,
    ) -> Result<(), FitError> {
        self.fit_sgdr_with(cycles, cycle_epochs, 2, rates)
    }

    /// As [`fit_sgdr`](Learner::fit_sgdr), each cycle `mult` times as long as the one before.
    ///
    /// # Errors
    /// See [`FitError`].
    ///
    /// # Panics
    /// If `cycles` or `mult` is 0.
    #[track_caller]
    pub fn fit_sgdr_with(
        &mut self,
        cycles: usize,
        cycle_epochs: usize,
        mult: usize,
        rates: impl Into<Rates>,
    ) -> Result<(), FitError> {
        let epochs = cycle_epochs * sgdr_length(cycles, mult);
        self.run_fit(epochs, vec![Box::new(ParamScheduler::sgdr(rates, cycles, mult))])
    }

    /// Trains the last parameter group only (and norms). Counterpart: fastai's `freeze`.
    pub fn freeze(&mut self) {
        self.freeze_to(-1);
    }

    /// Trains the parameter groups from `n` on (negative counts from the end). What the optimizer remembers is forgotten, as in
    /// fastai.
    ///
    /// # Panics
    /// If there are not so many groups.
    #[track_caller]
    pub fn freeze_to(&mut self, n: isize) {
        self.ctx.opt.freeze_to(n);
        self.ctx.opt.clear_state();
    }

    /// Trains everything.
    pub fn unfreeze(&mut self) {
        self.freeze_to(0);
    }

    /// fastai's recipe for a model that has learned something else: an epoch of one-cycle training of the last group while the rest is
    /// frozen, then `epochs` epochs of everything at half the rate, a hundred times lower for the first group than for the last.
    ///
    /// It is no more than `freeze`, `fit_one_cycle_with(1, ..base_lr, ..)`, `unfreeze` and
    /// `fit_one_cycle_with(epochs, (base_lr / 200, base_lr / 2), ..)`.
    ///
    /// # Errors
    /// See [`FitError`].
    pub fn fine_tune(&mut self, epochs: usize, base_lr: f64) -> Result<(), FitError> {
        self.fine_tune_with(epochs, FineTune { base_lr, ..FineTune::default() })
    }

    /// As [`fine_tune`](Learner::fine_tune) with other settings.
    ///
    /// # Errors
    /// See [`FitError`].
    pub fn fine_tune_with(&mut self, epochs: usize, settings: FineTune) -> Result<(), FitError> {
        let FineTune { base_lr, freeze_epochs, lr_mult, pct_start, div } = settings;
        // A run that was interrupted in one of the two stages goes on in it, with what the optimizer remembers.
        let resumed = self.start.map(|s| s.stage);
        if resumed.unwrap_or(0) == 0 {
            self.ctx.opt.freeze_to(-1);
            if resumed.is_none() {
                self.ctx.opt.clear_state();
            }
            self.ctx.position.stage = 0;
            let cycle = OneCycle { pct_start: 0.99, ..self.cycle };
            self.fit_one_cycle_with(freeze_epochs, ..base_lr, cycle)?;
            if self.ctx.asked.interrupted {
                return Ok(());
            }
        }
        self.ctx.opt.freeze_to(0);
        if resumed.unwrap_or(0) == 0 {
            self.ctx.opt.clear_state();
        }
        self.ctx.position.stage = 1;
        let cycle = OneCycle { pct_start, div, ..self.cycle };
        let rates = (base_lr / 2.0 / lr_mult, base_lr / 2.0);
        let result = self.fit_one_cycle_with(epochs, rates, cycle);
        self.ctx.position.stage = 0;
        result
    }
}
