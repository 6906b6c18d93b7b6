//! What watches a column of the table: [`EarlyStopping`], [`SaveModel`].

use super::{Callback, Flow};
use crate::file::{Header, ModelFile};
use crate::learner::{Context, FitError, Task};
use crate::metric::Better;
use hardpan_nn::Module;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The best value of a column so far.
#[derive(Clone, Debug)]
struct Tracker {
    column: String,
    better: Better,
    min_delta: f64,
    best: f64,
}

impl Tracker {
    fn new(column: String) -> Tracker {
        let better = Better::of(&column);
        Tracker { column, better, min_delta: 0.0, best: better.worst() }
    }

    /// Whether this epoch is the best so far; an error if there is no such column.
    fn improved<T: Task>(&mut self, ctx: &Context<T>) -> Result<bool, FitError> {
        let Some(record) = ctx.history.epochs.last() else { return Ok(false) };
        let known = ["train_loss", "valid_loss"];
        let is_metric = record.metrics.iter().any(|(n, _)| *n == self.column);
        if !is_metric && !known.contains(&self.column.as_str()) {
            let metrics = record.metrics.iter().map(|(n, _)| n.as_str());
            let columns: Vec<&str> = known.into_iter().chain(metrics).collect();
            return Err(FitError::Callback {
                callback: "monitor".into(),
                source: format!("there is no column `{}`; there are {columns:?}", self.column)
                    .into(),
            });
        }
        match record.get(&self.column) {
            Some(v) if self.better.is_better(v, self.best, self.min_delta) => {
                self.best = v;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn reset(&mut self) {
        self.best = self.better.worst();
    }

    fn load(&mut self, best: &Value) {
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
    /// `patience` epochs without a new best.
    pub fn new(column: impl Into<String>, patience: usize) -> EarlyStopping {
        EarlyStopping { tracker: Tracker::new(column.into()), patience, wait: 0 }
    }

    /// Only counts as better what is better by more than this. Default 0.
    #[must_use]
    pub fn min_delta(mut self, delta: f64) -> EarlyStopping {
        self.tracker.min_delta = delta;
        self
    }
}

impl<T: Task> Callback<T> for EarlyStopping {
    fn order(&self) -> i32 {
        63
    }

    fn state(&self) -> Value {
        json!({"best": self.tracker.best, "wait": self.wait})
    }

    fn load_state(&mut self, state: Value) {
        self.tracker.load(&state["best"]);
        self.wait = state["wait"].as_u64().unwrap_or(0) as usize;
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        if ctx.train_iter == 0 {
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
    saved: bool,
}

impl SaveModel {
    /// Watches `column` as [`EarlyStopping::new`] does, saves to `path`.
    pub fn new(column: impl Into<String>, path: impl Into<PathBuf>) -> SaveModel {
        let tracker = Tracker::new(column.into());
        SaveModel { tracker, path: path.into(), header: Header::default(), saved: false }
    }

    /// With this header in the file.
    #[must_use]
    pub fn header(mut self, header: Header) -> SaveModel {
        self.header = header;
        self
    }
}

impl<T: Task> Callback<T> for SaveModel {
    fn order(&self) -> i32 {
        61
    }

    fn state(&self) -> Value {
        json!({"best": self.tracker.best, "saved": self.saved})
    }

    fn load_state(&mut self, state: Value) {
        self.tracker.load(&state["best"]);
        self.saved = state["saved"].as_bool().unwrap_or(false);
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        if ctx.train_iter == 0 {
            self.tracker.reset();
            self.saved = false;
        }
        Flow::Continue
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        match self.tracker.improved(ctx) {
            Err(e) => Flow::Fail(e),
            Ok(false) => Flow::Continue,
            Ok(true) => {
                self.saved = true;
                let file = ModelFile::new(self.header.clone(), &ctx.model.state_dict());
                file.write(&self.path).into()
            }
        }
    }

    fn after_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        if !self.saved {
            return Flow::Continue;
        }
        ModelFile::read(&self.path).and_then(|f| f.load_into(&ctx.model)).into()
    }
}
