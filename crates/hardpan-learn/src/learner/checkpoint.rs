//! Writing down a training so that it can go on, and going on.

use super::{FitError, Learner, Start};
use crate::file::{FileError, Header, ModelFile, Training};
use hardpan_engine::{rng_state, set_rng_state};
use hardpan_nn::{Forward, Module};
use serde_json::Value;
use std::path::Path;

impl<M, X, Y> Learner<M, X, Y>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    /// Writes everything a run needs to go on from here: weights, optimizer, position, random generator, callbacks. In a fit, use
    /// the callback [`Checkpoint`](crate::callback::Checkpoint).
    ///
    /// # Errors
    /// If the file cannot be written; one that is there stays as it is then.
    pub fn save_checkpoint(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        let ctx = &self.ctx;
        let callbacks = self
            .callbacks
            .iter()
            .map(|c| (c.callback.name().to_owned(), c.callback.state()))
            .filter(|(_, state)| *state != Value::Null)
            .collect();
        // After an epoch the next one is to begin, not the end of this one to be repeated.
        let over = ctx.history.epochs.last().is_some_and(|e| e.epoch == ctx.epoch);
        let (epoch, batches) = match over && ctx.event == crate::callback::Event::AfterEpoch {
            true => (ctx.epoch + 1, 0),
            false => (ctx.epoch, ctx.epoch_batches),
        };
        let mut file = ModelFile::new(Header::default(), &ctx.model.state_dict());
        file.optimizer = ctx.opt.state_dict();
        let gradients = ctx.model.named_parameters().into_iter();
        file.gradients = gradients.filter_map(|(name, p)| Some((name, p.grad()?))).collect();
        file.training = Some(Training {
            epoch,
            batches,
            epochs: ctx.epochs,
            stage: ctx.stage,
            batches_per_epoch: ctx.loaders.train.len(),
            rng: rng_state(),
            history: ctx.history.clone(),
            callbacks,
            user: ctx.user_state.clone(),
        });
        file.write(path)
    }

    /// Takes up an interrupted run: the next fit, called with the same arguments on a learner set up in the same way, goes on where
    /// the file was written and ends with the very same weights as a run without interruption.
    ///
    /// # Errors
    /// If the file cannot be read, holds a finished model, or does not fit this learner. The learner is as before then.
    pub fn resume(&mut self, path: impl AsRef<Path>) -> Result<(), FitError> {
        let path = path.as_ref();
        let file = ModelFile::read(path)?;
        let differs = |problem: String| FitError::Resume { path: path.to_owned(), problem };
        let Some(training) = file.training.clone() else {
            return Err(differs("it is a finished model, not an interrupted training".into()));
        };
        let have = self.ctx.loaders.train.len();
        if training.batches_per_epoch != have {
            return Err(differs(format!(
                "it was training on {} batches an epoch, here there are {have}; \
                 data and batch size must be the same",
                training.batches_per_epoch
            )));
        }
        // The optimizer first: it checks everything before it changes anything, and so does the model after it.
        let old = self.ctx.opt.state_dict();
        let loaded = self.ctx.opt.load_state_dict(&file.optimizer);
        loaded.map_err(|source| FileError::Optimizer { path: path.to_owned(), source })?;
        if let Err(e) = file.load_into(&self.ctx.model) {
            self.ctx.opt.clear_state();
            self.ctx.opt.load_state_dict(&old).expect("its own state fits");
            return Err(e.into());
        }
        // Names and shapes are those of the weights, which fit; others are of no use.
        for (name, p) in self.ctx.model.named_parameters() {
            let gradient = file.gradients.get(&name);
            p.set_grad(gradient.filter(|g| g.shape() == p.shape()).cloned());
        }
        for (name, state) in training.callbacks {
            if let Some(c) = self.callbacks.iter_mut().find(|c| c.callback.name() == name) {
                c.callback.load_state(state);
            }
        }
        set_rng_state(training.rng);
        self.ctx.history = training.history;
        self.ctx.user_state = training.user;
        self.start = Some(Start {
            epoch: training.epoch,
            batches: training.batches,
            epochs: training.epochs,
            stage: training.stage,
        });
        Ok(())
    }
}
