//! What watches a column of the table: [`Tracker`], [`Patience`], [`EarlyStopping`], [`SaveModel`].

use super::{Callback, Flow};
use crate::file::{FileError, Header, ModelFile};
use crate::learner::{Context, FitError, Task};
use crate::metric::Better;
use hardpan_nn::Module;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The value of a column in the last epoch; an error if there is no such column.
pub(super) fn column_value<T: Task>(
    ctx: &Context<T>,
    column: &str,
) -> Result<Option<f64>, FitError> {
    let Some(record) = ctx.history.epochs.last() else { return Ok(None) };
    let columns = record.columns();
    if !columns.iter().any(|(n, _)| n == column) {
        let columns: Vec<&str> = columns.iter().map(|(n, _)| n.as_str()).collect();
        return Err(FitError::Callback {
            callback: "monitor".into(),
            source: format!("there is no column `{column}`; there are {columns:?}").into(),
        });
    }
    Ok(record.get(column))
}

/// The best value of a column so far: for callbacks of yours that act when something has, or has not, become better. Counterpart: fastai's
/// `TrackerCallback`.
///
/// ```
/// use hardpan_learn::callback::{Callback, Flow, Tracker};
/// use hardpan_learn::learner::{Context, Task};
///
/// /// Says when an epoch was the best so far.
/// struct Cheer(Tracker);
///
/// impl<T: Task> Callback<T> for Cheer {
///     // After the recorder (50), which writes the column.
///     fn order(&self) -> i32 {
///         60
///     }
///     fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
///         self.0.before_fit(ctx);
///         Flow::Continue
///     }
///     fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
///         match self.0.improved(ctx) {
///             Ok(true) => println!("best {} so far: {:?}", self.0.column(), self.0.best()),
///             Ok(false) => {}
///             Err(e) => return Flow::Fail(e),
///         }
///         Flow::Continue
///     }
/// }
/// let cheer = Cheer(Tracker::new("accuracy").min_delta(0.01));
/// assert_eq!((cheer.0.column(), cheer.0.best()), ("accuracy", None));
/// ```
#[derive(Clone, Debug)]
pub struct Tracker {
    column: String,
    better: Better,
    min_delta: f64,
    reset_on_fit: bool,
    best: f64,
}

impl Tracker {
    /// Watches `column`: a metric, `valid_loss` or `train_loss`. Which way is better follows from the name ([`Better::of`]).
    pub fn new(column: impl Into<String>) -> Tracker {
        let column = column.into();
        let better = Better::of(&column);
        Tracker { column, better, min_delta: 0.0, reset_on_fit: true, best: better.worst() }
    }

    /// Which way is better, where the name does not tell.
    #[must_use]
    pub fn better(mut self, better: Better) -> Tracker {
        (self.better, self.best) = (better, better.worst());
        self
    }

    /// Only counts as better what is better by more than this. Default 0.
    #[must_use]
    pub fn min_delta(mut self, delta: f64) -> Tracker {
        self.min_delta = delta;
        self
    }

    /// Whether each fit starts anew; if not, it has to beat the fits before it. Default: yes. Counterpart: `reset_on_fit`.
    #[must_use]
    pub fn reset_on_fit(mut self, reset: bool) -> Tracker {
        self.reset_on_fit = reset;
        self
    }

    /// The column's name.
    pub fn column(&self) -> &str {
        &self.column
    }

    /// The best value so far; `None` if there was none.
    pub fn best(&self) -> Option<f64> {
        Some(self.best).filter(|v| v.is_finite())
    }

    /// To be called in `before_fit`: forgets the best value, unless an interrupted fit goes on or fits are to be compared with each
    /// other. Whether it was forgotten.
    pub fn before_fit<T: Task>(&mut self, ctx: &Context<T>) -> bool {
        let reset = self.reset_on_fit && !ctx.resumed;
        if reset {
            self.best = self.better.worst();
        }
        reset
    }

    /// To be called in `after_epoch`: whether this epoch is the best so far. An epoch without a value, or with NaN, is not.
    ///
    /// # Errors
    /// If there is no such column; the error lists those there are.
    pub fn improved<T: Task>(&mut self, ctx: &Context<T>) -> Result<bool, FitError> {
        match column_value(ctx, &self.column)? {
            Some(v) if self.better.is_better(v, self.best, self.min_delta) => {
                self.best = v;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// What a resumed run needs to know: for [`Callback::state`].
    pub fn state(&self) -> Value {
        json!({"best": self.best})
    }

    /// Goes on from what [`state`](Tracker::state) gave.
    pub fn load_state(&mut self, state: &Value) {
        self.best = state["best"].as_f64().unwrap_or(self.better.worst());
    }
}

/// Counts epochs without a new best: what [`EarlyStopping`] and [`ReduceLrOnPlateau`](super::ReduceLrOnPlateau) do their waiting with.
///
/// ```
/// use hardpan_learn::callback::{Patience, Tracker};
/// use hardpan_learn::metric::Better;
/// let patience = Patience::new(Tracker::new("hits").better(Better::Higher), 3);
/// assert_eq!((patience.epochs(), patience.waited()), (3, 0));
/// ```
#[derive(Clone, Debug)]
pub struct Patience {
    tracker: Tracker,
    epochs: usize,
    waited: usize,
}

impl Patience {
    /// With what this tracker watches, for so many epochs (at least one).
    pub fn new(tracker: Tracker, epochs: usize) -> Patience {
        Patience { tracker, epochs: epochs.max(1), waited: 0 }
    }

    /// What it watches.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// How long it waits.
    pub fn epochs(&self) -> usize {
        self.epochs
    }

    /// Epochs without a new best since the last one, or since patience ran out.
    pub fn waited(&self) -> usize {
        self.waited
    }

    /// To be called in `before_fit`.
    pub fn before_fit<T: Task>(&mut self, ctx: &Context<T>) {
        self.tracker.before_fit(ctx);
        if !ctx.resumed {
            self.waited = 0;
        }
    }

    /// To be called in `after_epoch`: whether patience has run out, after which it starts anew.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn ran_out<T: Task>(&mut self, ctx: &Context<T>) -> Result<bool, FitError> {
        self.waited = if self.tracker.improved(ctx)? { 0 } else { self.waited + 1 };
        let out = self.waited >= self.epochs;
        if out {
            self.waited = 0;
        }
        Ok(out)
    }

    /// What a resumed run needs to know: for [`Callback::state`].
    pub fn state(&self) -> Value {
        json!({"best": self.tracker.best, "wait": self.waited})
    }

    /// Goes on from what [`state`](Patience::state) gave.
    pub fn load_state(&mut self, state: &Value) {
        self.tracker.load_state(state);
        self.waited = state["wait"].as_u64().unwrap_or(0) as usize;
    }

    pub(super) fn with(self, change: impl FnOnce(Tracker) -> Tracker) -> Patience {
        Patience { tracker: change(self.tracker), ..self }
    }
}

/// What is common to all callbacks that watch a column.
macro_rules! watches {
    ($name:ident, $field:ident, |$self:ident, $change:ident| $with:expr) => {
        impl $name {
            /// Only counts as better what is better by more than this. Default 0.
            #[must_use]
            pub fn min_delta(self, delta: f64) -> $name {
                self.change(|t| t.min_delta(delta))
            }

            /// Which way is better, where the name does not tell. Default: see [`Better::of`](crate::metric::Better::of).
            #[must_use]
            pub fn better(self, better: $crate::metric::Better) -> $name {
                self.change(|t| t.better(better))
            }

            /// Whether each fit starts anew, or has to beat the best of the fits before it. Default: starts anew. Counterpart:
            /// fastai's `reset_on_fit`.
            #[must_use]
            pub fn reset_on_fit(self, reset: bool) -> $name {
                self.change(|t| t.reset_on_fit(reset))
            }

            fn change(
                mut $self,
                $change: impl FnOnce($crate::callback::Tracker) -> $crate::callback::Tracker,
            ) -> $name {
                $self.$field = $with;
                $self
            }
        }
    };
}
pub(super) use watches;

/// Stops the fit when a column has not become better for some epochs. Counterpart: fastai's `EarlyStoppingCallback`; order 63.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::EarlyStopping;
/// use hardpan_learn::metric::ValueMetric;
/// // After three epochs whose accuracy is not above the best so far by more than 0.001.
/// let stop = EarlyStopping::new("accuracy", 3).min_delta(0.001);
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .metric(ValueMetric::new("accuracy", || Some(0.5))) // never better than at first
///     .callback(stop)
///     .silent();
/// learn.fit(100, 0.1)?;
/// assert_eq!(learn.history().epochs.len(), 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    patience: Patience,
}

impl EarlyStopping {
    /// Watches `column` (a metric, `valid_loss` or `train_loss`; losses and errors should fall, others rise) and stops after
    /// `patience` epochs (fastai's default is 1) without a new best.
    pub fn new(column: impl Into<String>, patience: usize) -> EarlyStopping {
        EarlyStopping { patience: Patience::new(Tracker::new(column), patience) }
    }
}

watches!(EarlyStopping, patience, |self, change| self.patience.with(change));

impl<T: Task> Callback<T> for EarlyStopping {
    fn order(&self) -> i32 {
        63
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn state(&self) -> Value {
        self.patience.state()
    }

    fn load_state(&mut self, state: Value) {
        self.patience.load_state(&state);
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        self.patience.before_fit(ctx);
        Flow::Continue
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        match self.patience.ran_out(ctx) {
            Err(e) => Flow::Fail(e),
            Ok(true) => Flow::CancelFit,
            Ok(false) => Flow::Continue,
        }
    }
}

/// Saves the model whenever a column has a new best, and puts the best weights back at the end of the fit. Counterpart:
/// fastai's `SaveModelCallback`; order 61.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::SaveModel;
/// use hardpan_learn::file::ModelFile;
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path();
/// let best = SaveModel::new("valid_loss", dir.join("best.hardpan"));
/// // Files epoch_0.hardpan, epoch_2.hardpan, ..
/// let all = SaveModel::new("valid_loss", dir.join("epoch.hardpan")).every_epochs(2).with_opt(true);
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(best)
///     .callback(all)
///     .silent();
/// learn.fit(3, 0.1)?;
/// assert!(dir.join("epoch_2.hardpan").exists());
/// // The model is the best of the three epochs, which the file has.
/// let lowest = learn.history().epochs.iter().filter_map(|e| e.valid_loss).fold(f64::INFINITY, f64::min);
/// assert_eq!(learn.validate()?.valid_loss, Some(lowest));
/// assert!(ModelFile::read(dir.join("best.hardpan"))?.optimizer.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SaveModel {
    tracker: Tracker,
    path: PathBuf,
    header: Header,
    when: When,
    with_opt: bool,
    saved: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    Best,
    EveryEpochs(usize),
    AtEnd,
}

impl SaveModel {
    /// Watches `column` as [`EarlyStopping::new`] does, saves to `path`.
    pub fn new(column: impl Into<String>, path: impl Into<PathBuf>) -> SaveModel {
        SaveModel {
            tracker: Tracker::new(column),
            path: path.into(),
            header: Header::default(),
            when: When::Best,
            with_opt: false,
            saved: false,
        }
    }

    /// Saves after each epoch, each to a file of its own: `model.hardpan` becomes `model_0.hardpan` and so on. Nothing is put back at
    /// the end. Counterpart: `every_epoch`.
    #[must_use]
    pub fn every_epoch(self) -> SaveModel {
        self.every_epochs(1)
    }

    /// As [`every_epoch`](SaveModel::every_epoch), but only epochs whose number is a multiple of `n`.
    #[must_use]
    pub fn every_epochs(mut self, n: usize) -> SaveModel {
        self.when = When::EveryEpochs(n.max(1));
        self
    }

    /// Saves once, at the end of the fit. Counterpart: `at_end`.
    #[must_use]
    pub fn at_end(mut self) -> SaveModel {
        self.when = When::AtEnd;
        self
    }

    /// With this header in the file.
    #[must_use]
    pub fn header(mut self, header: Header) -> SaveModel {
        self.header = header;
        self
    }

    /// Also saves what the optimizer remembers, and puts that back, too, at the end of the fit: for
    /// [`load_with_opt`](crate::learner::Learner::load_with_opt). Default: no. Counterpart: `with_opt`.
    #[must_use]
    pub fn with_opt(mut self, with_opt: bool) -> SaveModel {
        self.with_opt = with_opt;
        self
    }

    fn save<T: Task>(&self, ctx: &Context<T>, path: &std::path::Path) -> Flow {
        let mut file = ModelFile::new(self.header.clone(), &ctx.model.state_dict());
        if self.with_opt {
            file.optimizer = ctx.opt.state_dict();
        }
        file.write(path).into()
    }

    fn put_back<T: Task>(&self, ctx: &mut Context<T>) -> Result<(), FileError> {
        let file = ModelFile::read(&self.path)?;
        file.load_into(&ctx.model)?;
        if self.with_opt { file.load_optimizer(&mut ctx.opt) } else { Ok(()) }
    }

    fn path_of(&self, epoch: usize) -> PathBuf {
        let part =
            |p: Option<&std::ffi::OsStr>| p.unwrap_or_default().to_string_lossy().into_owned();
        let (stem, extension) = (part(self.path.file_stem()), part(self.path.extension()));
        let name = match extension.is_empty() {
            true => format!("{stem}_{epoch}"),
            false => format!("{stem}_{epoch}.{extension}"),
        };
        self.path.with_file_name(name)
    }
}

watches!(SaveModel, tracker, |self, change| change(self.tracker));

impl<T: Task> Callback<T> for SaveModel {
    fn order(&self) -> i32 {
        61
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn state(&self) -> Value {
        json!({"best": self.tracker.best, "saved": self.saved})
    }

    fn load_state(&mut self, state: Value) {
        self.tracker.load_state(&state);
        self.saved = state["saved"].as_bool().unwrap_or(false);
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        self.tracker.before_fit(ctx);
        if !ctx.resumed {
            // What an earlier fit saved stays the best only if that fit is to be beaten.
            self.saved = self.saved && self.tracker.best().is_some();
        }
        Flow::Continue
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        match self.when {
            When::AtEnd => Flow::Continue,
            When::EveryEpochs(n) if ctx.epoch.is_multiple_of(n) => {
                self.save(ctx, &self.path_of(ctx.epoch))
            }
            When::EveryEpochs(_) => Flow::Continue,
            When::Best => match self.tracker.improved(ctx) {
                Err(e) => Flow::Fail(e),
                Ok(false) => Flow::Continue,
                Ok(true) => {
                    self.saved = true;
                    self.save(ctx, &self.path)
                }
            },
        }
    }

    fn after_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        match self.when {
            When::AtEnd => self.save(ctx, &self.path),
            // A run that is to go on later goes on with the weights it has.
            When::Best if self.saved && !ctx.asked.interrupted => {
                ctx.put_weights_back();
                ctx.asked.best_restored = true;
                self.put_back(ctx).into()
            }
            _ => Flow::Continue,
        }
    }
}
