//! [`TerminateOnNan`].

use super::{Callback, Flow};
use crate::learner::{Context, FitError, Task, are_finite, value_of};
use hardpan_nn::{Module, StateDict};

/// Stops the fit with an error when the loss is infinite or not a number, or an epoch ends with weights that are, and puts back the last
/// weights that were known to be good. A default callback. Counterpart: fastai's `TerminateOnNaNCallback`.
///
/// Every so many steps it holds on to the weights as they were before the step; once the loss of that step is known to be
/// finite, so are they. This costs memory for a second copy of the weights and no time. What the optimizer remembers (momentum, averages
/// of gradients) belongs to the weights that are gone and may be no numbers either: it is forgotten, so that the next fit starts anew
/// from the weights.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// use hardpan_learn::callback::TerminateOnNan;
/// use hardpan_learn::learner::{FitError, Learner};
/// use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
/// learn.remove_callback::<TerminateOnNan>(); // goes back 50 steps at most
/// learn.add_callback(TerminateOnNan::every(5));
/// let failed = learn.fit(1, f64::NAN).unwrap_err();
/// assert!(matches!(failed, FitError::NonFinite { .. }));
/// learn.fit(1, 0.01)?; // the weights are good, and it can go on
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TerminateOnNan {
    every: usize,
    good: Option<(usize, StateDict)>,
    candidate: Option<(usize, StateDict)>,
}

impl Default for TerminateOnNan {
    fn default() -> TerminateOnNan {
        TerminateOnNan::every(50)
    }
}

impl TerminateOnNan {
    /// Goes back at most this many steps (50).
    pub fn every(steps: usize) -> TerminateOnNan {
        TerminateOnNan { every: steps.max(1), good: None, candidate: None }
    }

    /// Puts the last good weights back and forgets what the optimizer made of the bad ones; the number of steps behind the weights.
    fn restore<T: Task>(&mut self, ctx: &mut Context<T>) -> usize {
        ctx.opt.clear_state();
        let Some((step, weights)) = self.good.take() else { return 0 };
        ctx.model.load_state_dict(&weights, true).expect("its own weights fit");
        step
    }
}

impl<T: Task> Callback<T> for TerminateOnNan {
    fn order(&self) -> i32 {
        55
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        self.good = Some((ctx.train_iter, ctx.model.state_dict()));
        self.candidate = None;
        Flow::Continue
    }

    fn before_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        if ctx.training && ctx.train_iter.is_multiple_of(self.every) {
            self.candidate = Some((ctx.train_iter, ctx.model.state_dict()));
        }
        Flow::Continue
    }

    fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        let (true, Some(loss)) = (ctx.training, &ctx.loss) else { return Flow::Continue };
        let loss = value_of(loss);
        if loss.is_finite() {
            if let Some(candidate) = self.candidate.take() {
                self.good = Some(candidate);
            }
            return Flow::Continue;
        }
        let restored = self.restore(ctx);
        // This batch has been counted already.
        let step = ctx.train_iter.saturating_sub(1);
        let (epoch, batch, lr) = (ctx.epoch, ctx.iter, ctx.opt.lr());
        Flow::Fail(FitError::NonFinite { loss, step, epoch, batch, lr, restored })
    }

    /// The last step's loss was that of the weights before it.
    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        if are_finite(&ctx.model.state_dict()) {
            return Flow::Continue;
        }
        let restored = self.restore(ctx);
        let (step, epoch, lr) = (ctx.train_iter, ctx.epoch, ctx.opt.lr());
        let batch = ctx.epoch_batches;
        Flow::Fail(FitError::NonFinite { loss: f64::NAN, step, epoch, batch, lr, restored })
    }

    fn after_fit(&mut self, _: &mut Context<T>) -> Flow {
        (self.good, self.candidate) = (None, None);
        Flow::Continue
    }
}
