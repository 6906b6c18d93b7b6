//! [`History`]: what happened in a fit, step by step and epoch by epoch.

use serde::{Deserialize, Serialize};

/// What the [`Recorder`](crate::callback::Recorder) writes down. Counterpart: fastai's `Recorder` (`losses`, `lrs`,
/// `values`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// One entry for each epoch that is over.
    pub epochs: Vec<EpochRecord>,
    /// Smoothed training loss after each batch.
    #[serde(skip)]
    pub losses: Vec<f64>,
    /// Training loss of each batch.
    #[serde(skip)]
    pub raw_losses: Vec<f64>,
    /// Learning rate of the last parameter group for each batch.
    #[serde(skip)]
    pub lrs: Vec<f64>,
    /// Momentum (the first beta of the Adam family) of the last parameter group for each batch; 0 where the optimizer has none.
    #[serde(skip)]
    pub moms: Vec<f64>,
    /// The smoothing of the training loss.
    pub smooth: SmoothLoss,
}

/// An epoch that is over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Its number, from 0.
    pub epoch: usize,
    /// Smoothed training loss at its end. `None` for what was cancelled (or is not a number: files keep none of those).
    pub train_loss: Option<f64>,
    /// Mean loss over the items of the validation.
    pub valid_loss: Option<f64>,
    /// Metrics over the items of the validation, in the order of the columns.
    pub metrics: Vec<(String, Option<f64>)>,
    /// The same metrics over the training batches, where asked for
    /// ([`train_metrics`](super::Learner::train_metrics)); in the columns of the table their names begin with `train_`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub train_metrics: Vec<(String, Option<f64>)>,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Wall time of training and validation.
    pub seconds: f64,
    /// Wall time of the training part.
    pub train_seconds: f64,
    /// Items trained on.
    pub items: usize,
    /// Training batches of the fit that were over at its end: where it is on the axis of [`History::losses`].
    #[serde(default)]
    pub steps: usize,
}

impl EpochRecord {
    /// A column by name: `train_loss`, `valid_loss`, or a metric (`train_` and its name for that of the training batches).
    pub fn get(&self, name: &str) -> Option<f64> {
        self.columns().into_iter().find(|(n, _)| n == name).and_then(|(_, v)| v)
    }

    /// What was measured, in the order of the table's columns: `train_loss`, metrics of training batches, `valid_loss`, metrics.
    pub fn columns(&self) -> Vec<(String, Option<f64>)> {
        let train = self.train_metrics.iter().map(|(n, v)| (format!("train_{n}"), *v));
        let mut out = vec![("train_loss".to_owned(), self.train_loss)];
        out.extend(train);
        out.push(("valid_loss".to_owned(), self.valid_loss));
        out.extend(self.metrics.iter().cloned());
        out
    }
}

impl History {
    /// What there is for each batch, by name: for a checkpoint, where they are tensors.
    pub(crate) fn by_batch(&self) -> [(&'static str, &Vec<f64>); 3] {
        [("raw_losses", &self.raw_losses), ("lrs", &self.lrs), ("moms", &self.moms)]
    }

    /// Takes up again what [`by_batch`](History::by_batch) gave.
    pub(crate) fn set_by_batch(&mut self, values: impl Fn(&str) -> Option<Vec<f64>>) {
        let Some(raw) = values("raw_losses") else { return };
        let mut smooth = SmoothLoss { beta: self.smooth.beta, ..SmoothLoss::default() };
        self.losses = raw
            .iter()
            .map(|loss| {
                smooth.add(*loss);
                smooth.value().unwrap_or(*loss)
            })
            .collect();
        self.raw_losses = raw;
        self.lrs = values("lrs").unwrap_or_default();
        self.moms = values("moms").unwrap_or_default();
    }

    /// The last epoch's value of a metric, `train_loss` or `valid_loss`.
    pub fn last_metric(&self, name: &str) -> Option<f64> {
        self.epochs.last()?.get(name)
    }
}

/// Exponentially smoothed loss, corrected for its start at zero. Counterpart: fastai's `AvgSmoothLoss`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SmoothLoss {
    /// Weight of the past: 0.98.
    pub beta: f64,
    /// The sum so far, and how many losses are in it.
    sum: f64,
    count: i32,
}

impl Default for SmoothLoss {
    fn default() -> SmoothLoss {
        SmoothLoss { beta: 0.98, sum: 0.0, count: 0 }
    }
}

impl SmoothLoss {
    /// Adds a loss.
    pub fn add(&mut self, loss: f64) {
        self.sum = self.beta * self.sum + (1.0 - self.beta) * loss;
        self.count += 1;
    }

    /// The smoothed loss; `None` before the first.
    pub fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / (1.0 - self.beta.powi(self.count)))
    }

    /// Starts anew.
    pub fn reset(&mut self) {
        (self.sum, self.count) = (0.0, 0);
    }
}
