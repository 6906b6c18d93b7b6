//! What watches a column of the table: [`EarlyStopping`], [`SaveModel`].

use super::{Callback, Flow};
use crate::file::{Header, ModelFile};
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

/// The best value of a column so far. Counterpart: fastai's `TrackerCallback`.
#[derive(Clone, Debug)]
pub(super) struct Tracker {
    column: String,
    better: Better,
    pub(super) min_delta: f64,
    pub(super) best: f64,
}

impl Tracker {
    pub(super) fn new(column: String) -> Tracker {
        let better = Better::of(&column);
        Tracker { column, better, min_delta: 0.0, best: better.worst() }
    }

    fn better(&mut self, better: Better) {
        (self.better, self.best) = (better, better.worst());
    }

    /// Whether this epoch is the best so far.
    pub(super) fn improved<T: Task>(&mut self, ctx: &Context<T>) -> Result<bool, FitError> {
        match column_value(ctx, &self.column)? {
            Some(v) if self.better.is_better(v, self.best, self.min_delta) => {
                self.best = v;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    pub(super) fn reset(&mut self) {
        self.best = self.better.worst();
    }

    pub(super) fn load(&mut self, best: &Value) {
        self.best = best.as_f64().unwrap_or(self.better.worst());
    }
}

/// Stops the fit when a column has not become better for some epochs. Counterpart: fastai's `EarlyStoppingCallback`.
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    tracker: Tracker,
    patience: usize,
    wait: usize,
}

impl EarlyStopping {
    /// Watches `column` (a metric, `valid_loss` or `train_loss`; losses and errors should fall, others rise) and stops after
    /// `patience` epochs (fastai's default is 1) without a new best.
    pub fn new(column: impl Into<String>, patience: usize) -> EarlyStopping {
        EarlyStopping { tracker: Tracker::new(column.into()), patience, wait: 0 }
    }

    /// Only counts as better what is better by more than this. Default 0.
    #[must_use]
    pub fn min_delta(mut self, delta: f64) -> EarlyStopping {
        self.tracker.min_delta = delta;
        self
    }

    /// Which way is better, where the name does not tell. Default: lower for names with `loss` or `error` in them.
    #[must_use]
    pub fn better(mut self, better: Better) -> EarlyStopping {
        self.tracker.better(better);
        self
    }
}

impl<T: Task> Callback<T> for EarlyStopping {
    fn order(&self) -> i32 {
        63
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn state(&self) -> Value {
        json!({"best": self.tracker.best, "wait": self.wait})
    }

    fn load_state(&mut self, state: Value) {
        self.tracker.load(&state["best"]);
        self.wait = state["wait"].as_u64().unwrap_or(0) as usize;
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        if !ctx.resumed {
            self.tracker.reset();
            self.wait = 0;
        }
        Flow::Continue
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        match self.tracker.improved(ctx) {
            Err(e) => return Flow::Fail(e),
            Ok(true) => self.wait = 0,
            Ok(false) => self.wait += 1,
        }
        if self.wait >= self.patience.max(1) { Flow::CancelFit } else { Flow::Continue }
    }
}

/// Saves the model whenever a column has a new best, and puts the best weights back at the end of the fit. Counterpart:
/// fastai's `SaveModelCallback`.
#[derive(Clone, Debug)]
pub struct SaveModel {
    tracker: Tracker,
    path: PathBuf,
    header: Header,
    when: When,
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
            tracker: Tracker::new(column.into()),
            path: path.into(),
            header: Header::default(),
            when: When::Best,
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

    /// Only counts as better what is better by more than this. Default 0.
    #[must_use]
    pub fn min_delta(mut self, delta: f64) -> SaveModel {
        self.tracker.min_delta = delta;
        self
    }

    /// Which way is better, where the name does not tell. Default: lower for names with `loss` or `error` in them.
    #[must_use]
    pub fn better(mut self, better: Better) -> SaveModel {
        self.tracker.better(better);
        self
    }

    fn save<T: Task>(&self, ctx: &Context<T>, path: &std::path::Path) -> Flow {
        ModelFile::new(self.header.clone(), &ctx.model.state_dict()).write(path).into()
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
        self.tracker.load(&state["best"]);
        self.saved = state["saved"].as_bool().unwrap_or(false);
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        if !ctx.resumed {
            self.tracker.reset();
            self.saved = false;
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
            When::Best if self.saved && !ctx.interrupted => {
                ctx.put_weights_back();
                ctx.best_restored = true;
                ModelFile::read(&self.path).and_then(|f| f.load_into(&ctx.model)).into()
            }
            _ => Flow::Continue,
        }
    }
}
