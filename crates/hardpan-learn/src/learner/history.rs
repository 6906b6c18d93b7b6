//! [`History`]: what happened in a fit, step by step and epoch by epoch.

use hardpan_plot::{Figure, Series, figures, palette};
use serde::{Deserialize, Serialize};

/// What the [`Recorder`](crate::callback::Recorder) writes down. Counterpart: fastai's `Recorder` (`losses`, `lrs`,
/// `values`).
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
/// learn.fit_one_cycle(3, 0.01)?;
/// let history = learn.history();
/// assert_eq!((history.epochs.len(), history.losses.len()), (3, 3 * 4));
/// assert!(history.last_metric("valid_loss").unwrap().is_finite());
/// assert!(history.plot_losses().to_svg()?.contains("<svg"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// use hardpan_learn::learner::EpochRecord;
/// let metrics = vec![("accuracy".to_owned(), Some(0.9))];
/// let record = EpochRecord { valid_loss: Some(0.3), metrics, ..EpochRecord::default() };
/// assert_eq!((record.get("accuracy"), record.get("valid_loss")), (Some(0.9), Some(0.3)));
/// ```
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

impl History {
    /// Training loss step by step and validation loss after each epoch. Counterpart: fastai's `recorder.plot_loss`.
    pub fn plot_losses(&self) -> Figure {
        let valid = |at: fn(&(usize, &EpochRecord)) -> f64| -> Vec<(f64, f64)> {
            let known = self.epochs.iter().enumerate();
            known.filter_map(|e| Some((at(&e), e.1.valid_loss?))).collect()
        };
        // A history read from a file has epochs only.
        if self.losses.is_empty() {
            let train = self.epochs.iter().enumerate();
            let train: Vec<(f64, f64)> =
                train.filter_map(|(i, e)| Some(((i + 1) as f64, e.train_loss?))).collect();
            return hardpan_plot::Axes::new("Loss")
                .x_label("epoch")
                .y_label("loss")
                .with(Series::line(train).color(palette(0)).label("training"))
                .with(
                    Series::line(valid(|e| e.0 as f64 + 1.0)).color(palette(1)).label("validation"),
                )
                .into();
        }
        figures::losses(&self.raw_losses, &self.losses, &valid(|e| e.1.steps as f64))
    }

    /// Metrics epoch by epoch. Counterpart: fastai's `ShowGraphCallback`.
    pub fn plot_metrics(&self) -> Figure {
        let names = self.epochs.first().map(|e| e.metrics.iter().map(|m| m.0.clone()));
        let column = |name: String| {
            let values = self.epochs.iter().map(|e| e.get(&name)).collect();
            (name, values)
        };
        figures::metrics(&names.into_iter().flatten().map(column).collect::<Vec<_>>())
    }

    /// The learning rate, and the momentum where there is one, step by step. Counterpart: fastai's `recorder.plot_sched`.
    pub fn plot_schedule(&self) -> Figure {
        let mut curves = vec![("learning rate".to_owned(), self.lrs.clone())];
        if self.moms.iter().any(|m| *m != 0.0) {
            curves.push(("momentum".into(), self.moms.clone()));
        }
        figures::schedules(&curves)
    }
}

/// Exponentially smoothed loss, corrected for its start at zero. Counterpart: fastai's `AvgSmoothLoss`.
///
/// ```
/// use hardpan_learn::learner::SmoothLoss;
/// let mut smooth = SmoothLoss::default();
/// assert_eq!(smooth.value(), None);
/// smooth.add(2.0);
/// smooth.add(2.0);
/// assert!((smooth.value().unwrap() - 2.0).abs() < 1e-12); // not pulled to its start at 0
/// ```
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
