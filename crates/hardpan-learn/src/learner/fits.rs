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
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// # let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
    /// learn.fit(2, 0.01)?;
    /// assert_eq!(learn.history().lrs, [0.01; 8]); // two epochs of four batches
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// # let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
    /// use hardpan_learn::callback::{ParamScheduler, ShortEpoch};
    /// use hardpan_learn::schedule::Anneal;
    /// use hardpan_nn::optim::Hyper;
    /// let schedule = ParamScheduler::new().set(Hyper::Lr, Anneal::Linear.from_to(0.0, 0.4));
    /// learn.fit_with(1, vec![Box::new(schedule)])?;
    /// assert!(learn.history().lrs.iter().zip([0.0, 0.1, 0.2, 0.3]).all(|(a, b)| (a - b).abs() < 1e-9));
    /// learn.fit_with(1, vec![Box::new(ShortEpoch::new(0.5))])?;
    /// assert_eq!(learn.history().losses.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss, Module, ReLU, Sequential, seq};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// # let model = seq![Linear::new(8, 4), ReLU, Linear::new(4, 1)];
    /// # let mut learn = Learner::with_loss(loaders, model, MSELoss::new())
    /// #     .groups(|m: &Sequential| {
    /// #         let p = m.parameters();
    /// #         vec![p[..2].to_vec(), p[2..].to_vec()]
    /// #     })
    /// #     .silent();
    /// // Two groups of parameters.
    /// learn.set_rates((1e-5, 1e-3));
    /// assert_eq!(learn.optimizer().hypers(hardpan_nn::optim::Hyper::Lr), [1e-5, 1e-3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// # let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
    /// learn.fit_one_cycle(5, 0.1)?;
    /// let history = learn.history();
    /// // 20 steps: the rate is highest, and momentum lowest, after a quarter.
    /// assert!((history.lrs[5] - 0.1).abs() < 1e-9 && (history.moms[5] - 0.85).abs() < 1e-9);
    /// assert!(history.lrs[19] < 0.01 && history.moms[19] > 0.94);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// # let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
    /// use hardpan_learn::schedule::OneCycle;
    /// learn.fit_one_cycle_with(5, 0.1, OneCycle { pct_start: 0.5, ..OneCycle::default() })?;
    /// assert!((learn.history().lrs[10] - 0.1).abs() < 1e-9); // highest after half of 20 steps
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// # let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
    /// learn.fit_flat_cos(2, 0.1)?;
    /// let lrs = &learn.history().lrs;
    /// assert!(lrs[..6].iter().all(|lr| (lr - 0.1).abs() < 1e-9) && lrs[7] < 0.06, "{lrs:?}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`FitError`].
    pub fn fit_flat_cos(&mut self, epochs: usize, rates: impl Into<Rates>) -> Result<(), FitError> {
        self.fit_flat_cos_with(epochs, rates, FlatCos::default())
    }

    /// As [`fit_flat_cos`](Learner::fit_flat_cos) with other settings.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// # let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
    /// use hardpan_learn::schedule::FlatCos;
    /// learn.fit_flat_cos_with(2, 0.1, FlatCos { pct_start: 0.0, ..FlatCos::default() })?;
    /// let lrs = &learn.history().lrs;
    /// assert!(lrs.windows(2).all(|w| w[1] < w[0]), "{lrs:?}"); // falls all the time
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// # let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
    /// learn.fit_sgdr(2, 1, 0.1)?; // one epoch, then two
    /// let lrs = &learn.history().lrs;
    /// assert_eq!(lrs.len(), 3 * 4);
    /// assert!((lrs[0] - 0.1).abs() < 1e-9 && (lrs[4] - 0.1).abs() < 1e-9 && lrs[3] < 0.02, "{lrs:?}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// # let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
    /// learn.fit_sgdr_with(3, 1, 1, 0.1)?; // three epochs, a cycle each
    /// assert!([0, 4, 8].iter().all(|&i| (learn.history().lrs[i] - 0.1).abs() < 1e-9));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss, Module, ReLU, Sequential, seq};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// # let model = seq![Linear::new(8, 4), ReLU, Linear::new(4, 1)];
    /// # let mut learn = Learner::with_loss(loaders, model, MSELoss::new())
    /// #     .groups(|m: &Sequential| {
    /// #         let p = m.parameters();
    /// #         vec![p[..2].to_vec(), p[2..].to_vec()]
    /// #     })
    /// #     .silent();
    /// // Two groups of parameters, of which the first is frozen.
    /// learn.freeze_to(1);
    /// let before = learn.model().parameters()[0].value().to_vec::<f32>();
    /// learn.fit(1, 0.1)?;
    /// assert_eq!(learn.model().parameters()[0].value().to_vec::<f32>(), before);
    /// learn.unfreeze();
    /// learn.fit(1, 0.1)?;
    /// assert_ne!(learn.model().parameters()[0].value().to_vec::<f32>(), before);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss, Module, ReLU, Sequential, seq};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// # let model = seq![Linear::new(8, 4), ReLU, Linear::new(4, 1)];
    /// # let mut learn = Learner::with_loss(loaders, model, MSELoss::new())
    /// #     .groups(|m: &Sequential| {
    /// #         let p = m.parameters();
    /// #         vec![p[..2].to_vec(), p[2..].to_vec()]
    /// #     })
    /// #     .silent();
    /// // Two groups of parameters: the body, and the head.
    /// learn.fine_tune(2, 1e-2)?;
    /// assert!(learn.model().parameters().iter().all(|p| !p.is_frozen()));
    /// assert_eq!(learn.history().epochs.len(), 2); // of the second stage
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
