//! [`Checkpoint`].

use super::{Callback, Flow};
use crate::learner::{Context, Task, are_finite};
use hardpan_nn::Module;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Keeps a file from which [`Learner::resume`](crate::learner::Learner::resume) goes on as if nothing had happened: written at the
/// start, after each epoch, every so often in between, when asked to stop, and when something breaks (a callback or the loader
/// panics, data cannot be read). Weights that are not finite are not written down: the file stays as it was before they went wrong.
/// Writing takes at most about a thirtieth of the time: where a large model is trained in short epochs, some of them go by without.
///
/// What a model carries from batch to batch is in it as far as [`Module::carried`](hardpan_nn::Module::carried) can save it: tensors, lists
/// and pairs of them, numbers.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::Checkpoint;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
/// use std::time::Duration;
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("run.checkpoint");
/// let stop = Arc::new(AtomicBool::new(false)); // a handler of Ctrl-C sets it
/// let learner = || {
///     let checkpoint =
///         Checkpoint::new(&path).every(Duration::from_secs(300)).stop_on(stop.clone());
///     Learner::with_loss(loaders.clone(), Linear::new(8, 1), MSELoss::new()).callback(checkpoint).silent()
/// };
/// stop.store(true, Relaxed);
/// let mut interrupted = learner();
/// interrupted.fit(2, 0.1)?;
/// assert_eq!(interrupted.history().losses.len(), 1); // after the first batch
///
/// stop.store(false, Relaxed);
/// let mut again = learner();
/// again.resume(&path)?;
/// again.fit(2, 0.1)?;
/// assert_eq!(again.history().losses.len(), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Checkpoint {
    path: PathBuf,
    every: Duration,
    every_steps: Option<usize>,
    stop: Option<Arc<AtomicBool>>,
    last: Instant,
    /// How long writing took; none while the last one is going on.
    took: Option<Duration>,
}

/// How many times as long as writing there is training in between.
const PATIENCE: u32 = 30;
/// Less than this is not felt.
const QUICK: Duration = Duration::from_millis(200);

impl Checkpoint {
    /// To this file, about every 30 seconds.
    pub fn new(path: impl Into<PathBuf>) -> Checkpoint {
        Checkpoint {
            path: path.into(),
            every: Duration::from_secs(30),
            every_steps: None,
            stop: None,
            last: Instant::now(),
            took: None,
        }
    }

    /// About this often, if writing is quick.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Checkpoint {
        self.every = every;
        self
    }

    /// Also after each so many steps.
    #[must_use]
    pub fn every_steps(mut self, steps: usize) -> Checkpoint {
        self.every_steps = Some(steps.max(1));
        self
    }

    /// When `flag` becomes true: writes the file after the batch and ends the fit. For Ctrl-C.
    #[must_use]
    pub fn stop_on(mut self, flag: Arc<AtomicBool>) -> Checkpoint {
        self.stop = Some(flag);
        self
    }

    fn write<T: Task>(&mut self, ctx: &mut Context<T>) {
        (self.last, self.took) = (Instant::now(), None);
        if are_finite(&ctx.model.state_dict()) {
            ctx.request_checkpoint(&self.path);
        }
    }

    /// Whether writing again would not hold up the training.
    fn has_time(&self) -> bool {
        let took = self.took.unwrap_or_default();
        took < QUICK || self.last.elapsed() >= took * PATIENCE
    }
}

impl<T: Task> Callback<T> for Checkpoint {
    fn order(&self) -> i32 {
        70
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        ctx.rescue_to(&self.path);
        self.write(ctx);
        Flow::Continue
    }

    fn before_batch(&mut self, _: &mut Context<T>) -> Flow {
        // The file was written after the event that asked for it.
        self.took.get_or_insert_with(|| self.last.elapsed());
        Flow::Continue
    }

    fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        if self.stop.as_ref().is_some_and(|s| s.load(Relaxed)) {
            self.write(ctx);
            ctx.asked.interrupted = true;
            return Flow::CancelFit;
        }
        let step_due = self.every_steps.is_some_and(|n| ctx.train_iter.is_multiple_of(n));
        if ctx.training && (step_due || self.last.elapsed() >= self.every && self.has_time()) {
            self.write(ctx);
        }
        Flow::Continue
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        if self.has_time() {
            self.write(ctx);
        }
        Flow::Continue
    }
}
