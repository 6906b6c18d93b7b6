//! The loop. Everything beyond it is a callback.

use super::checkpoint::States;
use super::rescue::{Mark, Running};
use super::{Entry, FitError, Learner, Task};
use crate::callback::{Callback, Event, Flow, Span, Stop};
use crate::data::DataLoader;
use hardpan_engine::{DType, Tensor, flush_all, no_grad, rng_state, set_autocast};
use hardpan_nn::{Forward, Module};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Where a fit starts: at the beginning, or where another was interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Start {
    pub epoch: usize,
    pub batches: usize,
    /// Number of epochs of the interrupted fit; 0 if there was none.
    pub epochs: usize,
    /// Which fit of several that belong together.
    pub stage: usize,
}

impl<M, X, Y> Learner<M, X, Y>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    /// Calls every callback, lowest order first, until one says something else than to go on.
    fn fire(&mut self, event: Event) -> Result<(), Stop> {
        self.ctx.position.event = event;
        let mut answer = Flow::Continue;
        for (i, entry) in self.callbacks.iter_mut().enumerate() {
            self.running = Running::Callback(i);
            answer = entry.callback.on(event, &mut self.ctx);
            if !matches!(answer, Flow::Continue) {
                break;
            }
        }
        self.running = Running::Loop;
        if !self.ctx.asked.checkpoints.is_empty() {
            for path in std::mem::take(&mut self.ctx.asked.checkpoints) {
                self.save_checkpoint(&path).map_err(|e| Stop::Error(e.into()))?;
            }
        }
        answer.stop()
    }

    /// `before_..`, the body, `after_cancel_..` if it was cancelled, `after_..`.
    fn with_events(
        &mut self,
        span: Span,
        body: impl FnOnce(&mut Self) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let (before, after_cancel, after) = span.events();
        match self.fire(before).and_then(|()| body(self)) {
            Err(Stop::Cancel(cancelled)) if cancelled == span => self.fire(after_cancel)?,
            result => result?,
        }
        self.fire(after)
    }

    /// Runs a fit of `epochs` epochs with `extra` callbacks beside the learner's own.
    pub(crate) fn run_fit(
        &mut self,
        epochs: usize,
        extra: Vec<Box<dyn Callback<(M, X, Y)>>>,
    ) -> Result<(), FitError> {
        let start = self.start.take().unwrap_or_default();
        if start.epochs != 0 && start.epochs != epochs {
            return Err(FitError::Resume {
                path: Default::default(),
                problem: format!(
                    "the interrupted fit had {} epochs, this one has {epochs}",
                    start.epochs
                ),
            });
        }
        self.with_callbacks(extra, |learner| {
            let per_epoch = learner.ctx.loaders.train.len();
            let ctx = &mut learner.ctx;
            ctx.asked.interrupted = false;
            ctx.asked.best_restored = false;
            ctx.resumed = start.epochs != 0;
            ctx.epochs = epochs;
            ctx.epoch = start.epoch;
            ctx.epoch_batches = start.batches;
            ctx.train_iter = start.epoch * per_epoch + start.batches;
            ctx.position.pending_gradients = ctx.opt.params().any(|p| p.grad().is_some());
            learner.states = States::default();
            learner.with_events(Span::Fit, |l| l.all_epochs(start))
        })
    }

    fn all_epochs(&mut self, start: Start) -> Result<(), Stop> {
        for epoch in start.epoch..self.ctx.epochs {
            let skip = if epoch == start.epoch { start.batches } else { 0 };
            self.ctx.epoch = epoch;
            self.ctx.epoch_batches = skip;
            self.with_events(Span::Epoch, |l| {
                let train = l.ctx.loaders.train.clone();
                l.with_events(Span::Train, |l| l.all_batches(&train, epoch, skip))?;
                match l.ctx.loaders.valid.clone() {
                    Some(valid) => l.validation_pass(&valid, 0),
                    None => Ok(()),
                }
            })?;
        }
        Ok(())
    }

    /// `round` is what the loader takes for the epoch, should it shuffle.
    pub(crate) fn validation_pass(
        &mut self,
        loader: &DataLoader<X, Y>,
        round: usize,
    ) -> Result<(), Stop> {
        self.ctx.position.validation_rng = Some(rng_state());
        let result =
            no_grad(|| self.with_events(Span::Validate, |l| l.all_batches(loader, round, 0)));
        self.ctx.position.validation_rng = None;
        result
    }

    /// One pass over a loader, in training or not as the context says.
    fn all_batches(
        &mut self,
        loader: &DataLoader<X, Y>,
        epoch: usize,
        skip: usize,
    ) -> Result<(), Stop> {
        self.ctx.iters = loader.len();
        if self.ctx.training
            && let Some(carried) = self.ctx.position.carried.take()
            && skip > 0
        {
            // A resumed epoch goes on with what the model carried, whatever has been reset since.
            self.ctx.model.set_carried(&carried);
        }
        self.mark_batch();
        self.running = Running::Loader;
        let mut batches = loader.batches_from(epoch, skip);
        for iter in skip.min(loader.len())..loader.len() {
            self.mark_batch();
            self.running = Running::Loader;
            self.ctx.iter = iter;
            let items = batches.next_items();
            let Some(batch) = batches.next() else { break };
            let (x, y) = batch.map_err(|e| Stop::Error(e.into()))?;
            self.running = Running::Loop;
            let ctx = &mut self.ctx;
            ctx.items = items;
            (ctx.x, ctx.y) = (Some(x), Some(y));
            let result = self.with_events(Span::Batch, Self::one_batch);
            self.mark = Mark::default();
            let ctx = &mut self.ctx;
            // What the batch needed is let go before the next one is made, also when all is to stop.
            (ctx.x, ctx.y, ctx.pred, ctx.loss, ctx.loss_grad) = (None, None, None, None, None);
            result?;
            if !self.ctx.training {
                // No optimizer step computes what is pending here; batch by batch the graph stays small.
                flush_all();
            }
        }
        self.running = Running::Loop;
        Ok(())
    }

    fn one_batch(&mut self) -> Result<(), Stop> {
        let ctx = &mut self.ctx;
        let pred = {
            let _attached = (!ctx.hooks.is_empty()).then(|| ctx.hooks.attach(&ctx.model));
            <(M, X, Y)>::forward(&ctx.model, ctx.x())
        };
        ctx.pred = Some(pred);
        self.fire(Event::AfterPred)?;
        let ctx = &mut self.ctx;
        let loss = (ctx.loss_fn)(ctx.pred(), ctx.y());
        ctx.set_loss(loss);
        self.fire(Event::AfterLoss)?;
        if !self.ctx.training {
            return Ok(());
        }
        self.with_events(Span::Backward, |l| {
            l.ctx.position.pending_gradients = true;
            l.ctx.loss_grad.as_ref().expect("a loss").backward();
            Ok(())
        })?;
        self.with_events(Span::Step, |l| {
            l.ctx.opt.step();
            Ok(())
        })?;
        self.ctx.opt.zero_grad();
        self.ctx.position.pending_gradients = false;
        Ok(())
    }

    /// Mean loss and metrics over a loader, as the record of an epoch.
    pub(crate) fn run_validation(
        &mut self,
        loader: &DataLoader<X, Y>,
        round: usize,
        extra: Vec<Box<dyn Callback<(M, X, Y)>>>,
    ) -> Result<(), FitError> {
        self.with_callbacks(extra, |l| {
            (l.ctx.epochs, l.ctx.epoch) = (1, 0);
            l.validation_pass(loader, round)
        })
    }

    /// Runs `f` with `extra` callbacks, which are gone afterwards whatever happens.
    fn with_callbacks(
        &mut self,
        extra: Vec<Box<dyn Callback<(M, X, Y)>>>,
        f: impl FnOnce(&mut Self) -> Result<(), Stop>,
    ) -> Result<(), FitError> {
        let first = self.next_id;
        self.ctx.asked.rescue.clear();
        // What a panic leaves half done is mended in `rescue.rs`.
        let result = catch_unwind(AssertUnwindSafe(|| {
            extra.into_iter().try_for_each(|c| self.insert(c)).and_then(|()| f(self))
        }));
        let mut goes_on = None;
        let outcome = match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Stop::Error(e))) => {
                if matches!(e, FitError::Data(_)) {
                    self.rescue();
                }
                Err(e)
            }
            Ok(Err(Stop::Cancel(span))) => Err(FitError::Misplaced {
                event: self.ctx.position.event,
                cancelled: format!("{span:?}").to_lowercase(),
            }),
            Err(panic) => self.after_panic(panic).map_or_else(
                |panic| {
                    goes_on = Some(panic);
                    Ok(())
                },
                Err,
            ),
        };
        self.callbacks.retain(|c| c.id < first);
        self.ctx.put_weights_back();
        self.ctx.position.validation_rng = None;
        self.running = Running::Loop;
        self.mark = Mark::default();
        set_autocast(None);
        if let Some(panic) = goes_on {
            resume_unwind(panic);
        }
        outcome
    }

    /// Adds a callback at the place of its order, and tells it so.
    pub(crate) fn insert(
        &mut self,
        mut callback: Box<dyn Callback<(M, X, Y)>>,
    ) -> Result<(), Stop> {
        let order = callback.order();
        let at = self.callbacks.partition_point(|c| c.callback.order() <= order);
        self.ctx.position.event = Event::AfterCreate;
        let answer = callback.on(Event::AfterCreate, &mut self.ctx);
        let id = self.next_id;
        self.next_id += 1;
        self.callbacks.insert(at, Entry { id, callback });
        if !self.states.is_empty() {
            self.restore(at);
        }
        answer.stop()
    }
}

/// The value of a loss that has been computed.
pub(crate) fn value_of(loss: &Tensor) -> f64 {
    match loss.dtype() {
        DType::F32 => f64::from(loss.item::<f32>()),
        _ => loss.item::<f64>(),
    }
}
