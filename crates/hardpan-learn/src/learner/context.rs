//! [`Context`]: the whole state of a training, as callbacks see and change it.

use super::{History, Task};
use crate::callback::Event;
use crate::data::{DataLoaders, Rows};
use crate::metric::Metric;
use hardpan_engine::Tensor;
use hardpan_nn::hook::Hooks;
use hardpan_nn::optim::Optimizer;
use hardpan_nn::{Buffer, Module, Param, StateDict};
use std::path::PathBuf;

/// A loss: one number (a tensor of one element) from what the model gives and the targets.
pub type Loss<P, Y> = Box<dyn Fn(&P, &Y) -> Tensor + Send>;

/// The losses of the items of a batch `[N]`, where [`Loss`] gives their mean.
pub type ItemLosses<P, Y> = Box<dyn Fn(&P, &Y) -> Tensor + Send>;

/// What is done to the model's output before people see it: the softmax that the loss has inside, for example.
pub type Activation<P> = Box<dyn Fn(P) -> P + Send>;

/// The answer behind an output after its [`Activation`]: the class, for example.
pub type Answer<P> = Box<dyn Fn(&P) -> Tensor + Send>;

/// The state of a training. Callbacks get it mutably at every event; outside of a fit a
/// [`Learner`](super::Learner) shows it with [`context`](super::Learner::context).
///
/// Its fields are what a training is made of (the model to the hooks), how far it is (`epochs` to `resumed`), and the batch (`items` to
/// `loss_grad`), side by side as the attributes of fastai's `Learner` are, so that a callback reads `ctx.epoch` and `ctx.training`.
///
/// ```
/// use hardpan_learn::callback::{Callback, Flow};
/// use hardpan_learn::learner::{Context, Task};
///
/// /// Adds noise to the inputs, less and less of it.
/// struct Noise(f64);
///
/// impl<T: Task<X = hardpan_engine::Tensor>> Callback<T> for Noise {
///     fn before_batch(&mut self, ctx: &mut Context<T>) -> Flow {
///         if ctx.training {
///             let noise = hardpan_engine::Tensor::randn(ctx.x().shape()) * (self.0 * (1.0 - ctx.pct_train));
///             ctx.x = Some(ctx.x() + noise);
///         }
///         Flow::Continue
///     }
/// }
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(Noise(0.1))
///     .silent();
/// learn.fit(2, 0.01)?;
/// assert_eq!((learn.context().train_iter, learn.context().pct_train), (8, 1.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Context<T: Task> {
    /// The model.
    pub model: T::Model,
    /// The optimizer, with its hyperparameters.
    pub opt: Optimizer,
    /// The loss.
    pub loss_fn: Loss<T::Pred, T::Y>,
    /// The loss of each item, if it is known.
    pub item_losses: Option<ItemLosses<T::Pred, T::Y>>,
    /// From outputs to probabilities, if they are not the same.
    pub activation: Option<Activation<T::Pred>>,
    /// From probabilities to answers, if it is known.
    pub decode: Option<Answer<T::Pred>>,
    /// Training and validation data.
    pub loaders: DataLoaders<T::X, T::Y>,
    /// What is measured in validations.
    pub metrics: Vec<Box<dyn Metric<T::Pred, T::Y>>>,
    /// Whether it is measured in training, too.
    pub train_metrics: bool,
    /// What happened so far.
    pub history: History,
    /// Functions that see, and may replace, what goes through the modules of the model, in training and validation batches: for
    /// callbacks to add to and to take from.
    pub hooks: Hooks,

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
    /// Whether this fit is one that was interrupted and goes on: callbacks keep what they counted.
    pub resumed: bool,

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

    /// Anything a resumed run should find again; see [`Learner::resume`](super::Learner::resume).
    pub user_state: serde_json::Value,

    /// The model's own weights while others are in it.
    pub(crate) aside: Option<Aside>,
    pub(crate) asked: Asked,
    pub(crate) position: Position,
}

/// What callbacks have asked for in this fit.
#[derive(Default)]
pub(crate) struct Asked {
    /// Files that a resumable state is to be written to as soon as all callbacks have seen the present event.
    pub checkpoints: Vec<PathBuf>,
    /// Files to write a resumable state to if the run breaks.
    pub rescue: Vec<PathBuf>,
    /// Whether the whole run is to stop and go on later, not only this fit: Ctrl-C.
    pub interrupted: bool,
    /// Whether the best weights of the fit have been put back at its end, where they are to stay.
    pub best_restored: bool,
}

/// Where the loop is, beyond the counts that everybody sees: what a checkpoint needs to know.
pub(crate) struct Position {
    /// The event that callbacks are being called for.
    pub event: Event,
    /// Which fit of several that belong together: see [`Learner::fine_tune`](super::Learner::fine_tune).
    pub stage: usize,
    /// Whether gradients have been collected that no step has used.
    pub pending_gradients: bool,
    /// State of the random generator when the present validation began.
    pub validation_rng: Option<(u64, u64)>,
    /// What the model carried where an interrupted run goes on.
    pub carried: Option<StateDict>,
}

impl Default for Position {
    fn default() -> Position {
        Position {
            event: Event::AfterCreate,
            stage: 0,
            pending_gradients: false,
            validation_rng: None,
            carried: None,
        }
    }
}

/// Values of a model's parameters and buffers that are not in it.
#[derive(Clone)]
pub(crate) struct Aside {
    params: Vec<(Param, Tensor)>,
    buffers: Vec<(Buffer, Tensor)>,
}

impl Aside {
    /// Puts these values into the model and keeps those that were in it.
    pub(crate) fn swap(&mut self) {
        for (p, value) in &mut self.params {
            let old = p.value().detach();
            p.set(std::mem::replace(value, old));
        }
        for (b, value) in &mut self.buffers {
            let old = b.value();
            b.replace(std::mem::replace(value, old));
        }
    }
}

impl<T: Task> Context<T> {
    /// Which fit of several that belong together this is: 0, or 1 when [`fine_tune`](super::Learner::fine_tune) trains everything.
    pub fn stage(&self) -> usize {
        self.position.stage
    }

    /// The names of the table's columns between `epoch` and `time`.
    pub fn columns(&self) -> Vec<String> {
        let names = self.metrics.iter().map(|m| m.name().to_owned());
        let mut out = vec!["train_loss".to_owned()];
        if self.train_metrics {
            out.extend(names.clone().map(|n| format!("train_{n}")));
        }
        out.push("valid_loss".to_owned());
        out.extend(names);
        out
    }

    /// Keeps the model's weights, so that others can be in it for a while: for a validation with averages, say. A checkpoint that is
    /// written meanwhile has the model's own.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// use hardpan_learn::callback::Event;
    /// use hardpan_nn::Module;
    /// // Validates with all weights 0, and trains on.
    /// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
    ///     .on(Event::BeforeValidate, |ctx| {
    ///         ctx.set_weights_aside();
    ///         ctx.model.parameters().iter().for_each(|p| p.set(p.value().zeros_like()));
    ///     })
    ///     .on(Event::AfterValidate, |ctx| ctx.put_weights_back())
    ///     .silent();
    /// learn.fit(1, 0.1)?;
    /// assert!(learn.model().weight.value().abs().sum(..).item::<f32>() > 0.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_weights_aside(&mut self) {
        let params = self.model.parameters().into_iter().map(|p| (p.clone(), p.value().detach()));
        let buffers = self.model.buffers().into_iter().map(|b| (b.clone(), b.value()));
        self.aside = Some(Aside { params: params.collect(), buffers: buffers.collect() });
    }

    /// Puts the weights back that were [set aside](Context::set_weights_aside), if there are any.
    pub fn put_weights_back(&mut self) {
        if let Some(mut aside) = self.aside.take() {
            aside.swap();
        }
    }

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

    /// Sets the loss: what is reported, and what gradients are computed of.
    ///
    /// # Panics
    /// If it is not one number.
    #[track_caller]
    pub fn set_loss(&mut self, loss: Tensor) {
        assert!(
            loss.numel() == 1,
            "the loss has shape {:?}, but must be one number: use the mean, .mean(..)",
            loss.shape()
        );
        self.loss = Some(loss.detach());
        self.loss_grad = Some(loss);
    }

    /// Adds a penalty to what gradients are computed of, not to what is reported.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// use hardpan_learn::callback::Event;
    /// let size = |penalty: f64| -> Result<f32, Box<dyn std::error::Error>> {
    ///     let model = Linear::new(8, 1);
    ///     model.weight.set(Tensor::ones([1, 8]));
    ///     let mut learn = Learner::with_loss(loaders.clone(), model, MSELoss::new())
    ///         .on(Event::AfterLoss, move |ctx| {
    ///             if ctx.training {
    ///                 ctx.add_penalty(ctx.model.weight.value().abs().sum(..) * penalty); // L1
    ///             }
    ///         })
    ///         .silent();
    ///     learn.fit(5, 0.05)?;
    ///     Ok(learn.model().weight.value().abs().sum(..).item::<f32>())
    /// };
    /// assert!(size(1.0)? < size(0.0)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// Before `after_loss` and outside of a batch, or if it is not one number.
    #[track_caller]
    pub fn add_penalty(&mut self, penalty: Tensor) {
        assert!(
            penalty.numel() == 1,
            "the penalty has shape {:?}, but must be one number: use the mean, .mean(..)",
            penalty.shape()
        );
        let Some(loss) = self.loss_grad.take() else { self.absent("loss") };
        self.loss_grad = Some(loss + penalty.reshape(&[] as &[usize]));
    }

    /// The losses of the items of a batch, `[N]`: by [`item_losses`](Context::item_losses) where it is known, otherwise by asking for
    /// the loss of one item after the other, which is right for every loss that is a mean over items. Counterpart: fastai's
    /// `loss_not_reduced`.
    #[track_caller]
    pub fn losses_of(&self, pred: &T::Pred, y: &T::Y) -> Tensor
    where
        T::Pred: Rows,
        T::Y: Rows,
    {
        let n = y.rows();
        if let Some(f) = &self.item_losses {
            let losses = f(pred, y);
            assert!(
                losses.rank() > 0 && losses.shape()[0] == n,
                "item_losses: {n} items, but losses of shape {:?}; the first dimension must be the items'",
                losses.shape()
            );
            let rest = losses.numel() / n.max(1);
            return losses.reshape([n, rest]).mean(1);
        }
        let one = |i| (self.loss_fn)(&pred.take_rows(&[i]), &y.take_rows(&[i])).reshape([1]);
        Tensor::cat(&(0..n).map(one).collect::<Vec<_>>(), 0)
    }

    #[track_caller]
    fn absent(&self, what: &str) -> ! {
        panic!("there is no {what} at {}", self.position.event)
    }

    /// Should the run break (its data cannot be read, something panics), a state from which it can go on is written to `path`. For this
    /// fit.
    pub fn rescue_to(&mut self, path: impl Into<PathBuf>) {
        self.asked.rescue.push(path.into());
    }

    /// Asks for the whole training to be written to `path`, resumable from here, when all callbacks have seen this event.
    pub fn request_checkpoint(&mut self, path: impl Into<PathBuf>) {
        self.asked.checkpoints.push(path.into());
    }
}
