//! [`TerminateOnNan`].

use super::{Callback, Flow};
use crate::learner::{Context, FitError, Task, value_of};
use hardpan_nn::{Module, StateDict};

/// Stops the fit with an error when the loss is infinite or not a number, and puts back the last weights that were known to be
/// good. A default callback. Counterpart: fastai's `TerminateOnNaNCallback`.
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
        let mut restored = 0;
        if let Some((step, weights)) = self.good.take() {
            restored = step;
            ctx.model.load_state_dict(&weights, true).expect("its own weights fit");
        }
        ctx.opt.clear_state();
        Flow::Fail(FitError::NonFinite {
            loss,
            // This batch has been counted already.
            step: ctx.train_iter.saturating_sub(1),
            epoch: ctx.epoch,
            batch: ctx.iter,
            lr: ctx.opt.lr(),
            restored,
        })
    }

    fn after_fit(&mut self, _: &mut Context<T>) -> Flow {
        (self.good, self.candidate) = (None, None);
        Flow::Continue
    }
}
