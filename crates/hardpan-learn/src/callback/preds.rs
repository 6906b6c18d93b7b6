//! What gathers outputs: [`GatherPreds`], [`FetchPreds`], [`CollectData`].

use super::{Callback, Flow};
use crate::data::{DataLoader, Rows};
use crate::learner::{Context, Task};
use crate::lock::lock;
use hardpan_engine::{Tensor, no_grad};
use hardpan_nn::evaluating;
use std::sync::{Arc, Mutex};

/// What to gather beside outputs and targets.
///
/// ```
/// use hardpan_learn::callback::Gather;
/// let all = Gather { inputs: true, losses: true, decoded: true };
/// assert_eq!(Gather::default(), Gather { inputs: false, losses: false, decoded: false });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gather {
    /// The inputs.
    pub inputs: bool,
    /// The loss of each item.
    pub losses: bool,
    /// The answers behind the outputs, where the learner knows how to find them.
    pub decoded: bool,
}

/// Outputs of a model for all items, in the order of the items.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::{Gather, Gathered};
/// use hardpan_learn::learner::Learner;
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
/// let valid = learn.context().loaders.valid.clone().unwrap();
/// let what = Gather { losses: true, ..Gather::default() };
/// let Gathered { preds, targets, losses, inputs, .. } = learn.get_preds_with(&valid, what)?;
/// assert_eq!((preds.shape(), targets.shape()), (&[64, 1][..], &[64, 1][..]));
/// assert_eq!(losses.unwrap().shape(), [64]);
/// assert!(inputs.is_none()); // not asked for
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gathered<X, Y, P> {
    /// The outputs, after the learner's activation if it has one.
    pub preds: P,
    /// The targets.
    pub targets: Y,
    /// The inputs, if asked for.
    pub inputs: Option<X>,
    /// The loss of each item `[N]`, if asked for.
    pub losses: Option<Tensor>,
    /// The answers, if asked for and known.
    pub decoded: Option<Tensor>,
}

/// Batches gathered so far.
struct Parts<T: Task> {
    preds: Vec<T::Pred>,
    targets: Vec<T::Y>,
    inputs: Vec<T::X>,
    losses: Vec<Tensor>,
}

impl<T: Task> Default for Parts<T> {
    fn default() -> Parts<T> {
        Parts { preds: Vec::new(), targets: Vec::new(), inputs: Vec::new(), losses: Vec::new() }
    }
}

/// Keeps what the model gives in a validation: what [`get_preds_with`](crate::learner::Learner::get_preds_with) is made of. Starts anew
/// with each validation. Counterpart: fastai's `GatherPredsCallback`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::{Gather, GatherPreds};
/// use hardpan_learn::learner::Learner;
/// let (gather, parts) = GatherPreds::new(Gather::default());
/// let mut learn =
///     Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).callback(gather).silent();
/// learn.validate()?;
/// let gathered = parts.take().unwrap();
/// assert_eq!(gathered.preds.shape(), [64, 1]);
/// assert!(parts.take().is_none()); // taken already
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct GatherPreds<T: Task> {
    what: Gather,
    parts: Arc<Mutex<Parts<T>>>,
}

/// What a [`GatherPreds`] gathers, to be taken when the validation is over.
pub struct GatheredParts<T: Task>(Arc<Mutex<Parts<T>>>);

impl<T: Task> GatherPreds<T> {
    /// The callback, and where to find what it gathers.
    pub fn new(what: Gather) -> (GatherPreds<T>, GatheredParts<T>) {
        let parts = Arc::new(Mutex::new(Parts::default()));
        (GatherPreds { what, parts: parts.clone() }, GatheredParts(parts))
    }
}

impl<T> GatheredParts<T>
where
    T: Task<X: Rows, Y: Rows, Pred: Rows>,
{
    /// Everything put together, in the order in which it came; `None` if there was nothing.
    pub fn take(&self) -> Option<Gathered<T::X, T::Y, T::Pred>> {
        let parts = std::mem::take(&mut *lock(&self.0));
        if parts.preds.is_empty() {
            return None;
        }
        Some(Gathered {
            preds: Rows::concat(parts.preds),
            targets: Rows::concat(parts.targets),
            inputs: (!parts.inputs.is_empty()).then(|| Rows::concat(parts.inputs)),
            losses: (!parts.losses.is_empty()).then(|| Rows::concat(parts.losses)),
            decoded: None,
        })
    }
}

impl<T> Callback<T> for GatherPreds<T>
where
    T: Task<X: Rows + Clone + Send, Y: Rows + Clone + Send, Pred: Rows + Clone + Send>,
{
    fn before_validate(&mut self, _: &mut Context<T>) -> Flow {
        *lock(&self.parts) = Parts::default();
        Flow::Continue
    }

    fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        let (false, Some(x), Some(y), Some(pred)) = (ctx.training, &ctx.x, &ctx.y, &ctx.pred)
        else {
            return Flow::Continue;
        };
        let mut parts = lock(&self.parts);
        if self.what.losses {
            parts.losses.push(ctx.losses_of(pred, y));
        }
        if self.what.inputs {
            parts.inputs.push(x.clone());
        }
        parts.targets.push(y.clone());
        parts.preds.push(pred.clone());
        Flow::Continue
    }
}

type Receive<P, Y> = Box<dyn FnMut(usize, P, Y) + Send>;

/// After each validation of a fit, applies the model to all of a loader and hands the outputs to a function: to watch certain items
/// while training goes on. Counterpart: fastai's `FetchPredsCallback`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::FetchPreds;
/// use hardpan_learn::learner::Learner;
/// use std::sync::{Arc, Mutex};
/// let seen = Arc::new(Mutex::new(Vec::new()));
/// let write = seen.clone();
/// let watched = loaders.valid.clone().unwrap();
/// let fetch = FetchPreds::new(watched, move |epoch, preds: Tensor, _targets: Tensor| {
///     write.lock().unwrap().push((epoch, preds.size(0)));
/// });
/// let mut learn =
///     Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).callback(fetch).silent();
/// learn.fit(2, 0.1)?;
/// assert_eq!(*seen.lock().unwrap(), [(0, 64), (1, 64)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FetchPreds<T: Task> {
    loader: DataLoader<T::X, T::Y>,
    receive: Receive<T::Pred, T::Y>,
}

impl<T: Task> FetchPreds<T> {
    /// Of this loader. `receive` gets the epoch, the outputs and the targets.
    pub fn new(
        loader: DataLoader<T::X, T::Y>,
        receive: impl FnMut(usize, T::Pred, T::Y) + Send + 'static,
    ) -> FetchPreds<T> {
        FetchPreds { loader, receive: Box::new(receive) }
    }
}

impl<T: Task<Y: Rows, Pred: Rows>> Callback<T> for FetchPreds<T> {
    fn watches_only(&self) -> bool {
        true
    }

    fn after_validate(&mut self, ctx: &mut Context<T>) -> Flow {
        let mut parts = (Vec::new(), Vec::new());
        for batch in self.loader.batches(0) {
            let (x, y) = match batch {
                Ok(batch) => batch,
                Err(e) => return Flow::Fail(e.into()),
            };
            let model = &ctx.model;
            parts.0.push(no_grad(|| evaluating(model, || T::forward(model, &x))));
            parts.1.push(y);
            hardpan_engine::flush_all();
        }
        (self.receive)(ctx.epoch, Rows::concat(parts.0), Rows::concat(parts.1));
        Flow::Continue
    }
}

/// A batch as [`CollectData`] keeps it.
#[derive(Clone, Debug)]
pub struct CollectedBatch<X, Y, P> {
    /// Whether it was a training batch.
    pub training: bool,
    /// The inputs, as the model got them.
    pub x: X,
    /// The targets.
    pub y: Y,
    /// The outputs; `None` if the batch was cancelled before.
    pub pred: Option<P>,
    /// The loss; `None` if the batch was cancelled before.
    pub loss: Option<Tensor>,
}

type Batches<T> = Vec<CollectedBatch<<T as Task>::X, <T as Task>::Y, <T as Task>::Pred>>;

/// Keeps every batch of a fit with outputs and losses, for tests and for looking at what a model really gets. It keeps *all* of
/// them, so use it for short runs. Counterpart: fastai's `CollectDataCallback`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::CollectData;
/// use hardpan_learn::learner::Learner;
/// let (collect, data) = CollectData::new();
/// let mut learn =
///     Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).callback(collect).silent();
/// learn.fit(1, 0.1)?;
/// let batches = data.take(); // four of training, two (twice as large) of validation
/// assert_eq!(batches.iter().filter(|b| b.training).count(), 4);
/// let first = &batches[0];
/// assert_eq!((first.x.shape(), first.pred.as_ref().unwrap().shape()), (&[16, 8][..], &[16, 1][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CollectData<T: Task>(Arc<Mutex<Batches<T>>>);

/// What a [`CollectData`] has kept.
pub struct CollectedData<T: Task>(Arc<Mutex<Batches<T>>>);

impl<T: Task> CollectData<T> {
    /// The callback, and where to find what it keeps.
    pub fn new() -> (CollectData<T>, CollectedData<T>) {
        let data = Arc::new(Mutex::new(Vec::new()));
        (CollectData(data.clone()), CollectedData(data))
    }
}

impl<T: Task> CollectedData<T> {
    /// The batches of the present or last fit, which are gone from here then.
    pub fn take(&self) -> Batches<T> {
        std::mem::take(&mut *lock(&self.0))
    }
}

impl<T> Callback<T> for CollectData<T>
where
    T: Task<X: Clone + Send, Y: Clone + Send, Pred: Clone + Send>,
{
    fn watches_only(&self) -> bool {
        true
    }

    fn before_fit(&mut self, _: &mut Context<T>) -> Flow {
        lock(&self.0).clear();
        Flow::Continue
    }

    fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        if let (Some(x), Some(y)) = (&ctx.x, &ctx.y) {
            lock(&self.0).push(CollectedBatch {
                training: ctx.training,
                x: x.clone(),
                y: y.clone(),
                pred: ctx.pred.clone(),
                loss: ctx.loss.clone(),
            });
        }
        Flow::Continue
    }
}
