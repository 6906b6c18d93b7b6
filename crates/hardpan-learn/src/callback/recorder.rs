//! [`Recorder`].

use super::{Callback, Flow};
use crate::learner::{Context, EpochRecord, Task, value_of};
use crate::metric::RunningMean;
use hardpan_engine::{flush_all, no_grad};
use std::time::{Duration, Instant};

/// Writes the [`History`](crate::learner::History): losses and rates of each step, and for each epoch the smoothed training loss,
/// the validation loss and the metrics. A default callback.
///
/// Losses of a training step are read after the step, when they have been computed with everything else; what is measured
/// in a validation is summed on the device and read at its end.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::Recorder;
/// use hardpan_learn::learner::Learner;
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
/// learn.fit(2, 0.1)?;
/// let history = learn.history();
/// assert_eq!((history.lrs.as_slice(), history.epochs.len()), (&[0.1; 8][..], 2));
/// assert!(history.epochs[1].valid_loss.is_some());
/// // Without it nothing is written.
/// learn.remove_callback::<Recorder>();
/// learn.fit(3, 0.1)?;
/// assert_eq!(learn.history().epochs.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Recorder {
    loss: RunningMean,
    epoch_start: Option<Instant>,
    train_start: Option<Instant>,
    train_time: Duration,
    items: usize,
    validated: bool,
    train_metrics: Measured,
}

/// Metrics by name.
type Measured = Vec<(String, Option<f64>)>;

fn measured<T: Task>(ctx: &Context<T>) -> Measured {
    ctx.metrics.iter().map(|m| (m.name().to_owned(), finite(m.value()))).collect()
}

fn accumulate<T: Task>(ctx: &mut Context<T>) {
    if let (Some(pred), Some(y)) = (&ctx.pred, &ctx.y) {
        no_grad(|| ctx.metrics.iter_mut().for_each(|m| m.accumulate(pred, y, ctx.items)));
    }
}

impl<T: Task> Callback<T> for Recorder {
    fn order(&self) -> i32 {
        50
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        // A resumed fit goes on with the history it had.
        if !ctx.resumed {
            ctx.history = Default::default();
        }
        Flow::Continue
    }

    fn before_epoch(&mut self, _: &mut Context<T>) -> Flow {
        *self = Recorder { epoch_start: Some(Instant::now()), ..Recorder::default() };
        Flow::Continue
    }

    fn before_train(&mut self, ctx: &mut Context<T>) -> Flow {
        self.train_start = Some(Instant::now());
        if ctx.train_metrics {
            ctx.metrics.iter_mut().for_each(|m| m.reset());
        }
        Flow::Continue
    }

    fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        let Some(loss) = &ctx.loss else { return Flow::Continue };
        if ctx.training {
            let value = value_of(loss);
            self.items += ctx.items;
            let history = &mut ctx.history;
            history.smooth.add(value);
            history.raw_losses.push(value);
            history.losses.push(history.smooth.value().unwrap_or(value));
            history.lrs.push(ctx.opt.lr());
            history.moms.push(ctx.opt.momentum());
            if ctx.train_metrics {
                accumulate(ctx);
                // Else the sums of all batches would be pending at the end.
                flush_all();
            }
        } else {
            self.loss.add(loss, ctx.items);
            accumulate(ctx);
        }
        Flow::Continue
    }

    fn after_train(&mut self, ctx: &mut Context<T>) -> Flow {
        if ctx.train_metrics {
            self.train_metrics = measured(ctx);
        }
        self.train_time = self.train_start.take().map(|t| t.elapsed()).unwrap_or_default();
        Flow::Continue
    }

    fn before_validate(&mut self, ctx: &mut Context<T>) -> Flow {
        self.loss = RunningMean::default();
        ctx.metrics.iter_mut().for_each(|m| m.reset());
        // A validation outside of a fit has no epoch.
        self.epoch_start.get_or_insert_with(Instant::now);
        Flow::Continue
    }

    fn after_validate(&mut self, ctx: &mut Context<T>) -> Flow {
        self.validated = true;
        let values = measured(ctx);
        let loss = finite(self.loss.value());
        self.record(ctx, loss, values);
        Flow::Continue
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        if !std::mem::take(&mut self.validated) {
            let values = ctx.metrics.iter().map(|m| (m.name().to_owned(), None)).collect();
            self.record(ctx, None, values);
        }
        self.epoch_start = None;
        Flow::Continue
    }
}

impl Recorder {
    fn record<T: Task>(
        &mut self,
        ctx: &mut Context<T>,
        valid_loss: Option<f64>,
        metrics: Vec<(String, Option<f64>)>,
    ) {
        let record = EpochRecord {
            epoch: ctx.epoch,
            train_loss: finite(ctx.history.smooth.value()),
            valid_loss,
            metrics,
            train_metrics: std::mem::take(&mut self.train_metrics),
            lr: ctx.opt.lr(),
            seconds: self.epoch_start.map_or(0.0, |t| t.elapsed().as_secs_f64()),
            train_seconds: self.train_time.as_secs_f64(),
            items: self.items,
            steps: ctx.train_iter,
        };
        ctx.history.epochs.push(record);
    }
}

fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|v| v.is_finite())
}
