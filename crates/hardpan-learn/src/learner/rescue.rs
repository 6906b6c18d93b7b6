//! What is left of a run whose data could not be read, or in which something panicked: the last state that was whole is written to
//! the checkpoint, so that the run can go on from there.

use super::{FitError, Learner};
use hardpan_engine::{Tensor, rng_state, set_rng_state};
use hardpan_nn::{Forward, Module, StateDict};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Whose code is running.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Running {
    /// The loop's, and with it the model's and the loss's.
    #[default]
    Loop,
    /// The loader's.
    Loader,
    /// That of the callback at this place.
    Callback(usize),
}

/// How things were when a training batch began. Only taken while a checkpoint is being kept.
#[derive(Default)]
pub(crate) struct Mark(Option<Begun>);

struct Begun {
    rng: (u64, u64),
    steps: u64,
    pending_gradients: bool,
    buffers: Vec<Tensor>,
    carried: StateDict,
}

impl<M, X, Y> Learner<M, X, Y>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    /// A batch begins. Tensors never change, so holding on to the buffers (running statistics) is a snapshot of them.
    pub(crate) fn mark_batch(&mut self) {
        let ctx = &self.ctx;
        self.mark = match ctx.training && !ctx.asked.rescue.is_empty() {
            false => Mark::default(),
            true => Mark(Some(Begun {
                rng: rng_state(),
                steps: ctx.opt.steps_taken(),
                pending_gradients: ctx.position.pending_gradients,
                buffers: ctx.model.buffers().iter().map(|b| b.value()).collect(),
                carried: ctx.model.carried(),
            })),
        };
    }

    /// Writes the checkpoints with the last whole state: that before the present batch, or after it if its step has been taken. What
    /// cannot be made whole again (a batch that is part of a larger one by accumulation) leaves the file as it was.
    pub(crate) fn rescue(&mut self) {
        let paths = std::mem::take(&mut self.ctx.asked.rescue);
        if paths.is_empty() {
            return;
        }
        if let Some(begun) = std::mem::take(&mut self.mark).0 {
            let ctx = &mut self.ctx;
            if ctx.opt.steps_taken() > begun.steps {
                ctx.epoch_batches = ctx.iter + 1;
                ctx.opt.zero_grad();
            } else if ctx.position.pending_gradients && begun.pending_gradients {
                return;
            } else {
                if !begun.pending_gradients {
                    ctx.opt.zero_grad();
                }
                for (buffer, value) in ctx.model.buffers().iter().zip(begun.buffers) {
                    buffer.replace(value);
                }
                ctx.model.set_carried(&begun.carried);
                set_rng_state(begun.rng);
            }
        }
        for path in paths {
            // What panicked once may do so again when pending values are computed; the file is as it was then.
            let _ = catch_unwind(AssertUnwindSafe(|| self.save_checkpoint(&path)));
        }
    }

    /// A panic of a callback or of the loader becomes an error that says where it was. One of the model or the loss is given back, to
    /// go on: it is about code that is being written, and its own message has the place.
    pub(crate) fn after_panic(
        &mut self,
        panic: Box<dyn Any + Send>,
    ) -> Result<FitError, Box<dyn Any + Send>> {
        hardpan_engine::set_autocast(None);
        let culprit = match self.running {
            Running::Loop => None,
            Running::Loader => Some("the data loader".to_owned()),
            Running::Callback(i) => {
                self.callbacks.get(i).map(|c| format!("the callback {}", c.callback.name()))
            }
        };
        let (event, epoch, batch) = (self.ctx.position.event, self.ctx.epoch, self.ctx.iter);
        let ctx = &mut self.ctx;
        (ctx.x, ctx.y, ctx.pred, ctx.loss, ctx.loss_grad) = (None, None, None, None, None);
        self.rescue();
        let Some(culprit) = culprit else { return Err(panic) };
        let message = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_else(|| "a panic without a message".into());
        let during = match self.running {
            Running::Loader => "before_batch",
            _ => event.name(),
        };
        Ok(FitError::Panicked { culprit, during, epoch, batch, message })
    }
}
