//! [`Context`]: the whole state of a training, as callbacks see and change it.

use super::{History, Task};
use crate::callback::Event;
use crate::data::DataLoaders;
use crate::metric::Metric;
use hardpan_engine::Tensor;
use hardpan_nn::optim::Optimizer;
use std::path::PathBuf;

/// A loss: one number (a tensor of one element) from what the model gives and the targets.
pub type Loss<P, Y> = Box<dyn Fn(&P, &Y) -> Tensor + Send>;

/// The state of a training. Callbacks get it mutably at every event; outside of a fit a
/// [`Learner`](super::Learner) shows it with [`context`](super::Learner::context).
pub struct Context<T: Task> {
    /// The model.
    pub model: T::Model,
    /// The optimizer, with its hyperparameters.
    pub opt: Optimizer,
    /// The loss.
    pub loss_fn: Loss<T::Pred, T::Y>,
    /// Training and validation data.
    pub loaders: DataLoaders<T::X, T::Y>,
    /// What is measured in validations.
    pub metrics: Vec<Box<dyn Metric<T::Pred, T::Y>>>,
    /// What happened so far.
    pub history: History,

    /// Number of epochs of this fit.
    pub epochs: usize,
    /// The epoch, from 0.
    pub epoch: usize,
    /// Number of batches of this pass over training or validation data.
    pub iters: usize,
    /// The batch of this pass, from 0.
    pub iter: usize,
    /// Number of training batches that are over in this epoch.
    pub epoch_batches: usize,
    /// Number of training batches that are over in this fit.
    pub train_iter: usize,
    /// Share of the training batches of this fit that are over.
    pub pct_train: f64,
    /// Whether this is the training part of an epoch.
    pub training: bool,

    /// Number of items of the batch.
    pub items: usize,
    /// The batch's inputs.
    pub x: Option<T::X>,
    /// The batch's targets.
    pub y: Option<T::Y>,
    /// What the model gave for them.
    pub pred: Option<T::Pred>,
    /// The loss that is reported; without history.
    pub loss: Option<Tensor>,
    /// The loss that gradients are computed of.
    pub loss_grad: Option<Tensor>,

    /// Which fit of several that belong together: see [`Learner::fine_tune`](super::Learner::fine_tune).
    pub(crate) stage: usize,
    /// Whether the whole run is to stop and go on later, not only this fit: Ctrl-C.
    pub(crate) interrupted: bool,

    /// Files that a resumable state is to be written to as soon as all callbacks have seen the present event.
    pub(crate) checkpoints: Vec<PathBuf>,
    /// Anything a resumed run should find again; see [`Learner::resume`](super::Learner::resume).
    pub user_state: serde_json::Value,
    /// The event that callbacks are being called for.
    pub(crate) event: Event,
}

impl<T: Task> Context<T> {
    /// The batch's inputs.
    ///
    /// # Panics
    /// Outside of a batch.
    #[track_caller]
    pub fn x(&self) -> &T::X {
        self.x.as_ref().unwrap_or_else(|| self.absent("batch"))
    }

    /// The batch's targets.
    ///
    /// # Panics
    /// Outside of a batch.
    #[track_caller]
    pub fn y(&self) -> &T::Y {
        self.y.as_ref().unwrap_or_else(|| self.absent("batch"))
    }

    /// What the model gave.
    ///
    /// # Panics
    /// Before `after_pred` and outside of a batch.
    #[track_caller]
    pub fn pred(&self) -> &T::Pred {
        self.pred.as_ref().unwrap_or_else(|| self.absent("prediction"))
    }

    /// The loss.
    ///
    /// # Panics
    /// Before `after_loss` and outside of a batch.
    #[track_caller]
    pub fn loss(&self) -> &Tensor {
        self.loss.as_ref().unwrap_or_else(|| self.absent("loss"))
    }

    #[track_caller]
    fn absent(&self, what: &str) -> ! {
        panic!("there is no {what} at {}", self.event)
    }

    /// Asks for the whole training to be written to `path`, resumable from here, when all callbacks have seen this event.
    pub fn request_checkpoint(&mut self, path: impl Into<PathBuf>) {
        self.checkpoints.push(path.into());
    }
}
