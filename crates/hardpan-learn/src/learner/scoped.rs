//! What holds for one call only: [`Learner::no_logging`], [`Learner::with_options`].

use super::Learner;
use crate::callback::{Progress, SkipToEpoch};
use hardpan_nn::optim::Hyper;
use hardpan_nn::{Forward, Module};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Settings of single fits, for [`Learner::with_options`]. Counterparts: the arguments `wd`, `reset_opt` and `start_epoch` of fastai's `fit`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::learner::{FitOptions, Learner};
/// use hardpan_nn::optim::Hyper;
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
/// let options = FitOptions { weight_decay: Some(0.1), start_epoch: 2, ..FitOptions::default() };
/// learn.with_options(options, |learn| learn.fit(3, 0.01))?;
/// assert_eq!(learn.history().losses.len(), 4); // the batches of the last epoch
/// assert_eq!(learn.optimizer().hypers(Hyper::Wd), [0.01]); // as before
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FitOptions {
    /// Weight decay of all parameter groups. Default: as the optimizer has it. What it does is the optimizer's matter: see
    /// [`Learner::weight_decay`].
    pub weight_decay: Option<f64>,
    /// Begins with a new optimizer, which remembers nothing and has its own hyperparameters. Default: no. A fit that goes on after an
    /// interruption keeps what it has.
    pub reset_opt: bool,
    /// Leaves out the epochs before this one, while schedules go on as if they had been trained ([`SkipToEpoch`]). Default 0.
    pub start_epoch: usize,
}

impl<M, X, Y> Learner<M, X, Y>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    /// Does `f` without showing progress, and shows it again afterwards. Counterparts: fastai's `no_logging` and `no_bar`. To be quiet for
    /// good: [`silent`](Learner::silent).
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new());
    /// learn.no_logging(|learn| learn.fit_one_cycle(1, 1e-3))?; // nothing is printed
    /// assert!(learn.get_callback::<hardpan_learn::callback::Progress>().is_some()); // the next fit shows again
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn no_logging<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let aside = self.set_aside(super::is::<Progress, _>);
        let result = catch_unwind(AssertUnwindSafe(|| f(self)));
        self.bring_back(aside);
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Does `f`, a fit as a rule, with settings that hold for it alone.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// # let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
    /// use hardpan_learn::learner::FitOptions;
    /// let options = FitOptions { weight_decay: Some(0.1), reset_opt: true, ..FitOptions::default() };
    /// learn.with_options(options, |learn| learn.fit_one_cycle(5, 1e-3))?;
    /// // The last three of ten epochs.
    /// let options = FitOptions { start_epoch: 7, ..FitOptions::default() };
    /// learn.with_options(options, |learn| learn.fit_one_cycle(10, 1e-3))?;
    /// assert_eq!(learn.history().losses.len(), 3 * 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_options<R>(&mut self, options: FitOptions, f: impl FnOnce(&mut Self) -> R) -> R {
        let FitOptions { weight_decay, reset_opt, start_epoch } = options;
        if reset_opt && self.start.is_none() {
            self.ctx.opt = self.setup.build(&self.ctx.model);
        }
        let decays: Vec<Option<f64>> =
            self.ctx.opt.groups().iter().map(|g| g.hypers().find(Hyper::Wd)).collect();
        if let Some(wd) = weight_decay {
            self.ctx.opt.set_hyper(Hyper::Wd, wd);
        }
        let skip = self.next_id;
        if start_epoch > 0 {
            self.add_callback(SkipToEpoch(start_epoch));
        }
        let result = catch_unwind(AssertUnwindSafe(|| f(self)));
        if start_epoch > 0 {
            self.callbacks.retain(|c| c.id != skip);
        }
        // Not if it has been made anew meanwhile, with other groups.
        if weight_decay.is_some() && self.ctx.opt.groups().len() == decays.len() {
            for (group, wd) in self.ctx.opt.groups_mut().iter_mut().zip(decays) {
                if let Some(wd) = wd {
                    group.set(Hyper::Wd, wd);
                }
            }
        }
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }
}
