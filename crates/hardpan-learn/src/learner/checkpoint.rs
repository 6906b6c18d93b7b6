//! Writing down a training so that it can go on, and going on.

use super::{FitError, Learner, Start};
use crate::file::{FileError, Header, ModelFile, Training};
use hardpan_engine::{DType, Tensor, no_grad, rng_state, set_rng_state};
use hardpan_nn::{Forward, Module, StateDict};
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
        let callbacks = (0..self.callbacks.len())
            .map(|i| (self.key(i), self.callbacks[i].callback.state()))
            .filter(|(_, state)| *state != Value::Null)
            .collect();
        // After an epoch the next one is to begin, not the end of this one to be repeated.
        let over = ctx.history.epochs.last().is_some_and(|e| e.epoch == ctx.epoch);
        let (epoch, batches) =
            match over && ctx.position.event == crate::callback::Event::AfterEpoch {
                true => (ctx.epoch + 1, 0),
                false => (ctx.epoch, ctx.epoch_batches),
            };
        let mut aside = ctx.aside.clone();
        if let Some(aside) = &mut aside {
            aside.swap();
        }
        let weights = ctx.model.state_dict();
        if let Some(aside) = &mut aside {
            aside.swap();
        }
        let mut file = ModelFile::new(Header::default(), &weights);
        for (i, entry) in self.callbacks.iter().enumerate() {
            for (name, value) in entry.callback.state_tensors() {
                file.callbacks.insert(format!("{}/{name}", self.key(i)), value);
            }
        }
        for (name, values) in ctx.history.by_batch() {
            file.history.insert(name, Tensor::from_slice(values, [values.len()]));
        }
        file.optimizer = ctx.opt.state_dict();
        file.carried = ctx.model.carried();
        let gradients = ctx.model.named_parameters().into_iter();
        file.gradients = gradients.filter_map(|(name, p)| Some((name, p.grad()?))).collect();
        file.training = Some(Training {
            epoch,
            batches,
            epochs: ctx.epochs,
            stage: ctx.position.stage,
            batches_per_epoch: ctx.loaders.train.len(),
            // An interrupted validation is repeated as a whole.
            rng: ctx.position.validation_rng.unwrap_or_else(rng_state),
            history: ctx.history.clone(),
            callbacks,
            user: ctx.user_state.clone(),
        });
        file.write(path)
    }

    /// Takes up an interrupted run: the next fit, called with the same arguments on a learner set up in the same way, goes on where
    /// the file was written and ends with the very same weights as a run without interruption.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// use hardpan_learn::callback::{Event, Flow};
    /// # let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("run.hardpan");
    /// let learner = || Learner::with_loss(loaders.clone(), Linear::new(8, 1), MSELoss::new()).silent();
    /// let file = path.clone();
    /// let mut first = learner().on(Event::AfterEpoch, move |ctx| {
    ///     ctx.request_checkpoint(&file);
    ///     if ctx.epoch == 0 { Flow::CancelFit } else { Flow::Continue }
    /// });
    /// first.fit_one_cycle(2, 0.1)?; // stops after the first of two epochs
    ///
    /// let mut second = learner();
    /// second.resume(&path)?;
    /// second.fit_one_cycle(2, 0.1)?; // the same call does the second
    /// assert_eq!(second.history().epochs.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        if !are_finite(&file.weights) {
            return Err(differs(
                "its weights are infinite or not numbers; start the run again, with a lower learning rate"
                    .into(),
            ));
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
        self.states = States { values: training.callbacks, tensors: file.callbacks.clone() };
        (0..self.callbacks.len()).for_each(|i| self.restore(i));
        self.ctx.position.carried = Some(file.carried.clone());
        set_rng_state(training.rng);
        self.ctx.history = training.history;
        self.ctx.history.set_by_batch(|name| file.history.get(name).map(Tensor::to_vec));
        self.ctx.user_state = training.user;
        self.start = Some(Start {
            epoch: training.epoch,
            batches: training.batches,
            epochs: training.epochs,
            stage: training.stage,
        });
        Ok(())
    }

    /// The name under which the state of the callback at this place is saved: that of its type, with a number from the second on.
    fn key(&self, at: usize) -> String {
        let name = self.callbacks[at].callback.name();
        match self.callbacks[..at].iter().filter(|c| c.callback.name() == name).count() {
            0 => name.to_owned(),
            n => format!("{name}#{n}"),
        }
    }

    /// Gives the callback at this place the state that was saved for it, if there is one.
    pub(crate) fn restore(&mut self, at: usize) {
        let key = self.key(at);
        if let Some(i) = self.states.values.iter().position(|(name, _)| *name == key) {
            self.callbacks[at].callback.load_state(self.states.values.remove(i).1);
        }
        let tensors = self.states.tensors.clone().strip_prefix(&format!("{key}/"));
        if !tensors.is_empty() {
            self.callbacks[at].callback.load_state_tensors(tensors);
        }
    }
}

/// Whether all of the numbers are finite.
pub(crate) fn are_finite(weights: &StateDict) -> bool {
    let floats = weights.iter().filter(|(_, w)| w.dtype().is_float() && w.numel() > 0);
    // Zero times infinity is not a number, and neither is a sum with one in it.
    no_grad(|| {
        let zeros: Vec<Tensor> =
            floats.map(|(_, w)| (w.to_dtype(DType::F32) * 0.0).sum(..)).collect();
        zeros.is_empty() || Tensor::stack(&zeros, 0).sum(..).item::<f32>() == 0.0
    })
}

/// What a checkpoint has of callbacks, until they take it: some come only with the fit.
#[derive(Default)]
pub(crate) struct States {
    values: Vec<(String, Value)>,
    tensors: StateDict,
}

impl States {
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.tensors.is_empty()
    }
}
