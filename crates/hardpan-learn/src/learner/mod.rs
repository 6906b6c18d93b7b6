//! The [`Learner`]: a model, data, a loss and an optimizer, and the loop that brings them together.
//!
//! The loop itself is in `fit.rs` and is short; what it does beyond going over batches is done by
//! [callbacks](crate::callback). [`Learner::show_training_loop`] prints both. Counterpart: fastai's `Learner`.
//!
//! `fit_one_cycle(n, lr)` is no more than
//! ```text
//! let cycle = OneCycle::default();
//! learn.fit_with(n, vec![Box::new(
//!     ParamScheduler::new().set_rates(lr, move |lr| cycle.rates(lr)).set(Hyper::Mom, cycle.momentum()),
//! )])
//! ```
//! and `fit(n, lr)` no more than `learn.set_rates(lr)` and `learn.fit_with(n, vec![])`.

mod checkpoint;
mod context;
mod error;
mod export;
mod fit;
mod fits;
mod history;
mod losses;
mod plots;
mod predict;
mod rates;
mod rescue;
mod scoped;
mod show;
mod summary;
mod task;

pub(crate) use checkpoint::are_finite;
pub use context::{Activation, Answer, Context, ItemLosses, Loss};
pub use error::FitError;
pub use export::Exported;
pub(crate) use fit::{Start, value_of};
pub use fits::FineTune;
pub use history::{EpochRecord, History, SmoothLoss};
pub use losses::loss;
pub use predict::Tta;
pub use rates::Rates;
pub use scoped::FitOptions;
pub use show::{ResultRow, Results};
pub use summary::{GroupSummary, LearnerSummary};
pub use task::Task;

use crate::callback::{
    Callback, Event, Flow, MixedPrecision, OnEvent, Progress, Recorder, TerminateOnNan, TrainEval,
};
use crate::data::DataLoaders;
use crate::file::{FileError, Header, ModelFile};
use crate::lock::lock;
use crate::lr_find::{LrFind, LrFinder, LrSearch};
use crate::metric::Metric;
use crate::schedule::OneCycle;
use checkpoint::States;
use context::{Asked, Position};
use hardpan_engine::Tensor;
use hardpan_nn::hook::Hooks;
use hardpan_nn::optim::{
    Adam, Hyper, IntoGroups, Optimizer, Recipe, norm_and_bias_params, norm_params,
};
use hardpan_nn::{Forward, Module, Param};
use rescue::{Mark, Running};
use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Trains a model. See the [module](self).
///
/// `M` is the model, `X` what it takes, `Y` the targets: tensors unless said otherwise, but any types will do, such as a pair of
/// tensors for a model with two inputs.
///
/// ```
/// use hardpan_engine::{DType, Tensor, manual_seed};
/// use hardpan_learn::callback::EarlyStopping;
/// use hardpan_learn::data::{DataLoaders, TensorDataset};
/// use hardpan_learn::learner::Learner;
/// use hardpan_learn::metric::{Mean, accuracy};
/// use hardpan_nn::{CrossEntropyLoss, Linear, ReLU, seq};
/// manual_seed(1);
/// // Is the first of four numbers above 0?
/// let x = Tensor::randn([192, 4]);
/// let y = x.select(1, 0).gt(0.0).to_dtype(DType::I64);
/// let (train, valid) = TensorDataset::new(x, y)?.split_at(128);
/// let loaders = DataLoaders::from_tensors(train, valid, 16, 42)?;
/// let model = seq![Linear::new(4, 16), ReLU, Linear::new(16, 2)];
/// let mut learn = Learner::with_loss(loaders, model, CrossEntropyLoss::new())
///     .metric(Mean::new("accuracy", accuracy))
///     .callback(EarlyStopping::new("valid_loss", 3))
///     .silent();
/// learn.fit_one_cycle(5, 0.05)?;
/// assert!(learn.history().last_metric("accuracy").unwrap() > 0.85);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Learner<M, X = Tensor, Y = Tensor>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    ctx: Context<(M, X, Y)>,
    callbacks: Vec<Entry<(M, X, Y)>>,
    next_id: u64,
    setup: OptimizerSetup<M>,
    cycle: OneCycle,
    header: Header,
    start: Option<Start>,
    states: States,
    running: Running,
    mark: Mark,
}

/// A callback with a number of its own.
struct Entry<T> {
    id: u64,
    callback: Box<dyn Callback<T>>,
}

/// Whether a callback is of this type.
fn is<C: 'static, T: Task>(callback: &(dyn Callback<T> + 'static)) -> bool {
    (callback as &dyn Any).is::<C>()
}

/// What stays out of passes that are no training: all that only watches, but for the recorder, whose numbers are the result.
fn stands_aside<T: Task>(callback: &(dyn Callback<T> + 'static)) -> bool {
    callback.watches_only() && !is::<Recorder, T>(callback)
}

type Splitter<M> = Box<dyn Fn(&M) -> Vec<Vec<Param>> + Send>;

/// How the optimizer is made.
struct OptimizerSetup<M> {
    recipe: Box<dyn Recipe + Send>,
    groups: Splitter<M>,
    weight_decay: Option<f64>,
    decay_norms_and_biases: bool,
    freeze_norms: bool,
}

impl<M: Module> OptimizerSetup<M> {
    fn build(&self, model: &M) -> Optimizer {
        let (recipe, groups) = (&self.recipe, (self.groups)(model).into_groups());
        let mut opt = Optimizer::new(groups, recipe.steps(), &recipe.hypers());
        if let Some(wd) = self.weight_decay {
            opt.set_hyper(Hyper::Wd, wd);
        }
        if !self.decay_norms_and_biases {
            opt.exempt_from_decay(&norm_and_bias_params(model));
        }
        if !self.freeze_norms {
            opt.always_train(&norm_params(model));
        }
        opt
    }
}

impl<M, X, Y> Learner<M, X, Y>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    /// A learner with fastai's defaults: its Adam (betas 0.9 and 0.99, eps 1e-5, decoupled weight decay 0.01, none for biases and
    /// norms), and the callbacks [`TrainEval`], [`Recorder`], [`Progress`] and [`TerminateOnNan`].
    ///
    /// `loss` gives one number, a tensor of one element, from what the model gives and the targets.
    pub fn new(
        loaders: DataLoaders<X, Y>,
        model: M,
        loss: impl Fn(&M::Output, &Y) -> Tensor + Send + 'static,
    ) -> Learner<M, X, Y> {
        let setup = OptimizerSetup {
            recipe: Box::new(Adam::fastai(1e-3)),
            groups: Box::new(|m: &M| vec![m.parameters()]),
            weight_decay: None,
            decay_norms_and_biases: false,
            freeze_norms: false,
        };
        let ctx = Context {
            opt: setup.build(&model),
            model,
            loss_fn: Box::new(loss),
            item_losses: None,
            activation: None,
            decode: None,
            loaders,
            metrics: Vec::new(),
            train_metrics: false,
            history: History::default(),
            hooks: Hooks::new(),
            epochs: 0,
            epoch: 0,
            iters: 0,
            iter: 0,
            epoch_batches: 0,
            train_iter: 0,
            pct_train: 0.0,
            training: false,
            resumed: false,
            items: 0,
            x: None,
            y: None,
            pred: None,
            loss: None,
            loss_grad: None,
            user_state: serde_json::Value::Null,
            aside: None,
            asked: Asked::default(),
            position: Position::default(),
        };
        let learner = Learner {
            ctx,
            callbacks: Vec::new(),
            next_id: 0,
            setup,
            cycle: OneCycle::default(),
            header: Header::default(),
            start: None,
            states: States::default(),
            running: Running::default(),
            mark: Mark::default(),
        };
        learner
            .callback(TrainEval::default())
            .callback(Recorder::default())
            .callback(TerminateOnNan::default())
            .callback(Progress::default())
    }

    /// With this optimizer. What the present one remembers is forgotten.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// use hardpan_nn::optim::SGD;
    /// let learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
    ///     .opt(SGD::new(0.1).momentum(0.9));
    /// assert_eq!(learn.optimizer().momentum(), 0.9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn opt(mut self, recipe: impl Recipe + Send + 'static) -> Self {
        self.setup.recipe = Box::new(recipe);
        self.rebuild()
    }

    /// With the parameters in groups, for [`freeze`](Learner::freeze) and for learning rates that differ: from the first
    /// layers to the last. Counterpart: fastai's `splitter`.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// use hardpan_nn::{Module, ReLU, Sequential, seq};
    /// let model = seq![Linear::new(8, 4), ReLU, Linear::new(4, 1)];
    /// let learn = Learner::with_loss(loaders, model, MSELoss::new()).groups(|m: &Sequential| {
    ///     let p = m.parameters();
    ///     vec![p[..2].to_vec(), p[2..].to_vec()]
    /// });
    /// assert_eq!(learn.optimizer().groups().len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If a parameter is in two groups.
    #[must_use]
    #[track_caller]
    pub fn groups(mut self, split: impl Fn(&M) -> Vec<Vec<Param>> + Send + 'static) -> Self {
        self.setup.groups = Box::new(split);
        self.rebuild()
    }

    /// With this weight decay, whatever the optimizer's own: sets [`Hyper::Wd`] of all parameter groups. Counterpart: fastai's `wd`.
    ///
    /// What a decay does is the optimizer's matter, and the recipes are PyTorch's. It is decoupled, so that each step takes `lr wd` off the
    /// weights themselves, in [`Adam::fastai`] (the default), `AdamW`, `QHAdam`, `Lamb`, `LARS`, `Lion` and `Muon`, and with `.decoupled(true)`
    /// in the others; else it is a term `wd w` of the gradient (L2). fastai's optimizers are all decoupled: for its `SGD` write
    /// `SGD::new(lr).decoupled(true)`.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// use hardpan_nn::optim::{Hyper, SGD};
    /// let learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
    ///     .opt(SGD::new(0.1).momentum(0.9).decoupled(true))
    ///     .weight_decay(0.01);
    /// assert_eq!(learn.optimizer().hypers(Hyper::Wd), [0.01]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn weight_decay(mut self, wd: f64) -> Self {
        self.setup.weight_decay = Some(wd);
        self.rebuild()
    }

    /// Whether norms and biases get weight decay too. Default: no. Counterpart: fastai's `wd_bn_bias`.
    #[must_use]
    pub fn decay_norms_and_biases(mut self, decay: bool) -> Self {
        self.setup.decay_norms_and_biases = decay;
        self.rebuild()
    }

    /// Whether norms are frozen along with their group. Default: no, they go on being trained. Counterpart: the opposite of fastai's
    /// `train_bn`.
    #[must_use]
    pub fn freeze_norms(mut self, freeze: bool) -> Self {
        self.setup.freeze_norms = freeze;
        self.rebuild()
    }

    /// With these momenta at the start, at the highest rate and at the end of one-cycle training. Default: 0.95, 0.85, 0.95.
    #[must_use]
    pub fn momenta(mut self, start: f64, middle: f64, end: f64) -> Self {
        self.cycle.moms = (start, middle, end);
        self
    }

    /// With this schedule in [`fit_one_cycle`](Learner::fit_one_cycle). Default: fastai's, [`OneCycle::default`].
    #[must_use]
    pub fn one_cycle(mut self, cycle: OneCycle) -> Self {
        self.cycle = cycle;
        self
    }

    /// Makes the optimizer anew; what it remembered is forgotten.
    #[track_caller]
    fn rebuild(mut self) -> Self {
        self.ctx.opt = self.setup.build(&self.ctx.model);
        self
    }

    /// With the loss of each item `[N]` (or `[N, ..]`), of which the loss is the mean: [`MixUp`](crate::callback::MixUp) mixes each item by
    /// itself then, and [`get_preds_with`](Learner::get_preds_with) need not ask for the loss of one item after the other.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// use hardpan_engine::functional::Reduction;
    /// use hardpan_learn::learner::loss;
    /// let learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
    ///     .item_losses(loss(MSELoss::new().reduction(Reduction::None)));
    /// let losses = learn.loss_not_reduced(&Tensor::ones([3, 1]), &Tensor::zeros([3, 1]));
    /// assert_eq!(losses.to_vec::<f32>(), [1.0, 1.0, 1.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn item_losses(
        mut self,
        losses: impl Fn(&M::Output, &Y) -> Tensor + Send + 'static,
    ) -> Self {
        self.ctx.item_losses = Some(Box::new(losses));
        self
    }

    /// With what is to be done to outputs before people see them, such as the softmax that is part of the loss. Counterpart: a fastai
    /// loss's `activation`.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// use hardpan_learn::callback::Gather;
    /// use hardpan_learn::metric::mse;
    /// // The model gives logarithms, people see the numbers, and whether they are above 1.
    /// let mut learn = Learner::new(loaders, Linear::new(8, 1), mse)
    ///     .activation(|pred: Tensor| pred.exp())
    ///     .decode(|shown: &Tensor| shown.gt(1.0))
    ///     .silent();
    /// let valid = learn.context().loaders.valid.clone().unwrap();
    /// let all = learn.get_preds_with(&valid, Gather { decoded: true, ..Gather::default() })?;
    /// assert!(all.preds.amin(..).item::<f32>() > 0.0);
    /// assert_eq!(all.decoded.unwrap().to_vec::<bool>(), all.preds.gt(1.0).to_vec::<bool>());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn activation(
        mut self,
        activation: impl Fn(M::Output) -> M::Output + Send + 'static,
    ) -> Self {
        self.ctx.activation = Some(Box::new(activation));
        self
    }

    /// With the way from an output (after the activation) to an answer, such as the class with the highest probability. Counterpart: a
    /// fastai loss's `decodes`.
    #[must_use]
    pub fn decode(mut self, decode: impl Fn(&M::Output) -> Tensor + Send + 'static) -> Self {
        self.ctx.decode = Some(Box::new(decode));
        self
    }

    /// Also measures this in validations.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// use hardpan_learn::metric::{Mean, mae};
    /// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
    ///     .metric(Mean::new("mae", mae))
    ///     .silent();
    /// let record = learn.validate()?;
    /// assert!(record.get("mae").unwrap() > 0.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn metric(mut self, metric: impl Metric<M::Output, Y> + 'static) -> Self {
        self.ctx.metrics.push(Box::new(metric));
        self
    }

    /// Measures metrics over the training batches, too, as the model was when each was trained on. Counterpart: fastai's
    /// `Recorder(train_metrics=True)`.
    #[must_use]
    pub fn train_metrics(mut self) -> Self {
        self.ctx.train_metrics = true;
        self
    }

    /// With one more callback.
    #[must_use]
    pub fn callback(mut self, callback: impl Callback<(M, X, Y)> + 'static) -> Self {
        self.add_callback(callback);
        self
    }

    /// With a function that is called at one event: a callback without a type of its own. What it gives is a [`Flow`], or what can be made
    /// into one: nothing, or a `Result`. To be called in another order than 0: [`OnEvent::order`].
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// use hardpan_learn::callback::{Event, Flow};
    /// # let data = TensorDataset::new(Tensor::rand([96, 8]), Tensor::rand([96, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
    ///     .silent()
    ///     .on(Event::BeforeBatch, |ctx| ctx.x = Some(ctx.x() * 2.0))
    ///     .on(Event::AfterEpoch, |ctx| if ctx.epoch == 1 { Flow::CancelFit } else { Flow::Continue });
    /// learn.fit(10, 0.01)?;
    /// assert_eq!(learn.history().raw_losses.len(), 2 * 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn on<R: Into<Flow> + 'static>(
        self,
        event: Event,
        function: impl FnMut(&mut Context<(M, X, Y)>) -> R + Send + 'static,
    ) -> Self {
        self.callback(OnEvent::new(event, function))
    }

    /// Adds a callback for all fits to come.
    pub fn add_callback(&mut self, callback: impl Callback<(M, X, Y)> + 'static) {
        // Nothing is going on that its answer could cancel.
        let _ = self.insert(Box::new(callback));
    }

    /// Removes the callbacks of this name (the name of the type).
    pub fn remove_callbacks(&mut self, name: &str) {
        self.callbacks.retain(|c| c.callback.name() != name);
    }

    /// Removes the callbacks of this type.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// use hardpan_learn::callback::TerminateOnNan;
    /// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new());
    /// assert!(learn.get_callback::<TerminateOnNan>().is_some()); // a default one
    /// learn.remove_callback::<TerminateOnNan>();
    /// assert!(learn.get_callback::<TerminateOnNan>().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove_callback<C: Callback<(M, X, Y)>>(&mut self) {
        self.callbacks.retain(|c| !is::<C, _>(&*c.callback));
    }

    /// The first callback of this type.
    pub fn get_callback<C: Callback<(M, X, Y)>>(&self) -> Option<&C> {
        self.callbacks.iter().find_map(|c| (&*c.callback as &dyn Any).downcast_ref())
    }

    /// The first callback of this type, to change it.
    pub fn get_callback_mut<C: Callback<(M, X, Y)>>(&mut self) -> Option<&mut C> {
        self.callbacks.iter_mut().find_map(|c| (&mut *c.callback as &mut dyn Any).downcast_mut())
    }

    /// Without showing progress. For a while only: [`no_logging`](Learner::no_logging).
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.remove_callback::<Progress>();
        self
    }

    /// With matrix products and convolutions on bf16: see [`MixedPrecision::bf16`]. Counterpart: fastai's `to_bf16`.
    #[must_use]
    pub fn to_bf16(mut self) -> Self {
        self.remove_callback::<MixedPrecision>();
        self.callback(MixedPrecision::bf16())
    }

    /// With matrix products and convolutions on f16, and a loss scale: see [`MixedPrecision::f16`]. Counterpart: fastai's `to_fp16`.
    #[must_use]
    pub fn to_f16(mut self) -> Self {
        self.remove_callback::<MixedPrecision>();
        self.callback(MixedPrecision::f16())
    }

    /// With everything in f32 again, as it is at first. Counterpart: fastai's `to_fp32`.
    #[must_use]
    pub fn to_f32(mut self) -> Self {
        self.remove_callback::<MixedPrecision>();
        self
    }

    /// Writes the weights to a file of the format of [`crate::file`]. To be used without this program it needs more of a header:
    /// see [`save_with`](Learner::save_with).
    ///
    /// # Errors
    /// If the file cannot be written; one that is there stays as it is then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        self.save_with(path, Header::default())
    }

    /// Writes the weights with a header that says how to rebuild the model and use it.
    ///
    /// # Errors
    /// If the file cannot be written; one that is there stays as it is then.
    pub fn save_with(&self, path: impl AsRef<Path>, header: Header) -> Result<(), FileError> {
        ModelFile::new(header, &self.ctx.model.state_dict()).write(path)
    }

    /// Writes the weights and what the optimizer remembers. Counterpart: fastai's `save(with_opt=True)`.
    ///
    /// # Errors
    /// If the file cannot be written; one that is there stays as it is then.
    pub fn save_with_opt(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        let mut file = ModelFile::new(self.header.clone(), &self.ctx.model.state_dict());
        file.optimizer = self.ctx.opt.state_dict();
        file.write(path)
    }

    /// Sets the weights to those of a file. All or nothing.
    ///
    /// # Errors
    /// If the file cannot be read, is of a model of another type (where it says so), or its weights do not fit the model; the error lists
    /// the differences.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<Header, FileError> {
        let file = ModelFile::read(&path)?;
        file.check_model(&self.ctx.model)?;
        file.load_into(&self.ctx.model)?;
        Ok(file.header)
    }

    /// Sets the weights, what the optimizer remembers and its hyperparameters to those of a file of [`save_with_opt`](Learner::save_with_opt)
    /// or [`SaveModel::with_opt`](crate::callback::SaveModel::with_opt). All or nothing. Counterpart: fastai's `load(with_opt=True)`.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// # let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
    /// # let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("model.hardpan");
    /// learn.fit(1, 0.1)?;
    /// learn.save_with_opt(&path)?;
    /// learn.fit(1, 0.1)?;
    /// learn.load_with_opt(&path)?; // as after the first
    /// let weight = &learn.model().weight;
    /// assert_eq!(learn.optimizer().state(weight).unwrap().steps(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`load`](Learner::load), or if the file has no state of this optimizer.
    pub fn load_with_opt(&mut self, path: impl AsRef<Path>) -> Result<Header, FileError> {
        let file = ModelFile::read(&path)?;
        file.check_model(&self.ctx.model)?;
        let old = self.ctx.opt.state_dict();
        file.load_optimizer(&mut self.ctx.opt)?;
        if let Err(e) = file.load_into(&self.ctx.model) {
            self.ctx.opt.clear_state();
            self.ctx.opt.load_state_dict(&old).expect("its own state fits");
            return Err(e);
        }
        Ok(file.header)
    }

    /// Tries learning rates from 1e-7 to 10 in 100 steps and says what the loss did. The model is as before afterwards. Callbacks that only
    /// watch ([`Callback::watches_only`]) do not see it.
    /// Counterpart: fastai's `lr_find`.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
    /// let found = learn.lr_find()?;
    /// let rate = found.suggestion().unwrap();
    /// assert!(rate > 1e-7 && rate < 10.0, "{rate:e}");
    /// learn.fit_one_cycle(1, rate)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`FitError`].
    pub fn lr_find(&mut self) -> Result<LrFind, FitError> {
        self.lr_find_with(LrSearch::default())
    }

    /// As [`lr_find`](Learner::lr_find) with other settings.
    ///
    /// # Errors
    /// See [`FitError`].
    pub fn lr_find_with(&mut self, search: LrSearch) -> Result<LrFind, FitError> {
        // fastai does at least six, too.
        let steps = search.steps.max(6);
        let epochs = steps / self.ctx.loaders.train.len() + 1;
        let history = std::mem::take(&mut self.ctx.history);
        let hypers: Vec<_> = self.ctx.opt.groups().iter().map(|g| g.hypers().clone()).collect();
        let saved = (self.ctx.model.state_dict(), self.ctx.opt.state_dict());
        let rng = hardpan_engine::rng_state();
        let start = self.start.take();
        // What only watches would report on an experiment as if it were a training.
        let aside = self.set_aside(stands_aside);
        let states: Vec<_> = self.callbacks.iter().map(|c| c.callback.state()).collect();
        let found = Arc::new(Mutex::new(Vec::new()));
        let finder = LrFinder::new(LrSearch { steps, ..search }, found.clone());
        let result = self.run_fit(epochs, vec![Box::new(finder)]);
        for (entry, state) in self.callbacks.iter_mut().zip(states) {
            entry.callback.load_state(state);
        }
        self.bring_back(aside);
        self.start = start;
        self.ctx.history = history;
        self.ctx.model.load_state_dict(&saved.0, true).expect("its own weights fit");
        self.ctx.model.zero_grad();
        self.ctx.opt.clear_state();
        self.ctx.opt.load_state_dict(&saved.1).expect("its own state fits");
        for (group, old) in self.ctx.opt.groups_mut().iter_mut().zip(hypers) {
            old.iter().for_each(|(h, v)| group.set(h, v));
        }
        hardpan_engine::set_rng_state(rng);
        result?;
        let points = std::mem::take(&mut *lock(&found));
        Ok(LrFind::new(points, steps))
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.ctx.model
    }

    /// The model, to change it. Parameters added now are not known to the optimizer.
    pub fn model_mut(&mut self) -> &mut M {
        &mut self.ctx.model
    }

    /// The model alone; the rest is let go.
    pub fn into_model(self) -> M {
        self.ctx.model
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &Optimizer {
        &self.ctx.opt
    }

    /// The optimizer, to change hyperparameters.
    pub fn optimizer_mut(&mut self) -> &mut Optimizer {
        &mut self.ctx.opt
    }

    /// What happened in the last fit.
    pub fn history(&self) -> &History {
        &self.ctx.history
    }

    /// The whole state.
    pub fn context(&self) -> &Context<(M, X, Y)> {
        &self.ctx
    }

    /// The whole state, to change it.
    pub fn context_mut(&mut self) -> &mut Context<(M, X, Y)> {
        &mut self.ctx
    }

    /// The loop as text: the events in their order, and the callbacks in the order in which each event calls them.
    /// Counterpart: fastai's `show_training_loop`.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// let learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new());
    /// let text = learn.show_training_loop();
    /// assert!(text.contains("Recorder") && text.contains("loss.backward()"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn show_training_loop(&self) -> String {
        let mut out = String::from("callbacks, in the order in which every event calls them:\n");
        for Entry { callback, .. } in &self.callbacks {
            out += &format!("  {:>4}  {}\n", callback.order(), callback.name());
        }
        out + LOOP
    }
}

/// The loop of `fit.rs` for people.
const LOOP: &str = "\
before_fit
for each epoch
    before_epoch
    before_train
    for each training batch
        before_batch
        pred = model(x)                     after_pred
        loss = loss_fn(pred, y)             after_loss
        before_backward
        loss.backward()                     after_backward     (after_cancel_backward)
        before_step
        opt.step()                          after_step         (after_cancel_step)
        opt.zero_grad()
        after_batch                                            (after_cancel_batch)
    after_train                                                (after_cancel_train)
    before_validate
    for each validation batch, without gradients
        before_batch
        pred = model(x)                     after_pred
        loss = loss_fn(pred, y)             after_loss
        after_batch                                            (after_cancel_batch)
    after_validate                                             (after_cancel_validate)
    after_epoch                                                (after_cancel_epoch)
after_fit                                                      (after_cancel_fit)
";
