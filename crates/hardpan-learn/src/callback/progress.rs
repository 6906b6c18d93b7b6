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
/// use hardpan_learn::callback::Progress;
/// let table_and_bar = Progress::default();
/// let bar = Progress::bar_only();
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
