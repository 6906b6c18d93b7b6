//! [`Progress`].

use super::{Callback, Flow};
use crate::learner::{Context, Task};
use crate::progress::Live;
use std::time::Duration;

type MakeLive = Box<dyn FnMut(&[String], usize) -> Live + Send>;

/// Shows a table with a row for each epoch, and on a terminal a bar below it while an epoch runs. A default callback.
/// Counterpart: fastai's `ProgressCallback`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// # #[derive(Clone, Default)]
/// # struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
/// # impl std::io::Write for Shared {
/// #     fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
/// #         self.0.lock().unwrap().write(bytes)
/// #     }
/// #     fn flush(&mut self) -> std::io::Result<()> {
/// #         Ok(())
/// #     }
/// # }
/// use hardpan_learn::callback::Progress;
/// use hardpan_learn::progress::Live;
/// // By itself a learner shows table and bar on the terminal; this one writes the table elsewhere.
/// let out = Shared::default();
/// let to = out.clone();
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .silent()
///     .callback(Progress::new(move |columns, epochs| {
///         Live::new(columns.to_vec(), epochs, Some(Box::new(to.clone())), None)
///     }));
/// learn.fit(2, 0.1)?;
/// let table = String::from_utf8(out.0.lock().unwrap().clone())?;
/// assert!(table.starts_with("epoch") && table.lines().count() == 3, "{table}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Progress {
    make: MakeLive,
    live: Option<Live>,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new(|columns, epochs| Live::stdio(columns.iter().cloned(), epochs))
    }
}

impl Progress {
    /// Shows it where `make` says, which is given the columns between `epoch` and `time` and the number of epochs.
    pub fn new(make: impl FnMut(&[String], usize) -> Live + Send + 'static) -> Progress {
        Progress { make: Box::new(make), live: None }
    }

    /// Only the bar: for programs that report epochs in their own way.
    pub fn bar_only() -> Progress {
        Progress::new(|_, epochs| Live::bar_only(epochs))
    }

    fn start<T: Task>(&mut self, ctx: &Context<T>, label: &str, total: usize) {
        if let Some(live) = &mut self.live {
            live.start(ctx.epoch, label, total);
        }
    }
}

impl<T: Task> Callback<T> for Progress {
    fn order(&self) -> i32 {
        60
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        let columns = ctx.columns();
        self.live = Some((self.make)(&columns, ctx.epochs));
        Flow::Continue
    }

    fn before_train(&mut self, ctx: &mut Context<T>) -> Flow {
        self.start(ctx, "train", ctx.loaders.train.len());
        Flow::Continue
    }

    fn before_validate(&mut self, ctx: &mut Context<T>) -> Flow {
        self.start(ctx, "valid", ctx.loaders.valid.as_ref().map_or(0, |v| v.len()));
        Flow::Continue
    }

    fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        if let Some(live) = &mut self.live {
            let loss = ctx.history.losses.last().copied();
            let training = ctx.training;
            live.update(ctx.iter + 1, || match loss {
                Some(loss) if training => format!("loss {loss:.4}"),
                _ => String::new(),
            });
        }
        Flow::Continue
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        let Some(live) = &mut self.live else { return Flow::Continue };
        let Some(record) = ctx.history.epochs.last().filter(|r| r.epoch == ctx.epoch) else {
            return Flow::Continue;
        };
        let values: Vec<_> = record.columns().into_iter().map(|(_, v)| v).collect();
        live.row(record.epoch, &values, Duration::from_secs_f64(record.seconds));
        Flow::Continue
    }

    fn after_fit(&mut self, _: &mut Context<T>) -> Flow {
        self.live = None;
        Flow::Continue
    }
}
