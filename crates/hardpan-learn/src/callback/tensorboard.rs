//! [`TensorBoard`].

use super::{Callback, Flow};
use crate::file::FileError;
use crate::learner::{Context, Task};
use crate::tensorboard::EventWriter;
use hardpan_nn::Module;
use std::path::PathBuf;

/// Writes losses, hyperparameters and metrics to an event file for TensorBoard. Counterpart: fastai's `TensorBoardCallback`; order 51.
///
/// After each training batch the smoothed loss (`train_loss`) and each hyperparameter of each group (`lr_0`, `mom_0`, ...), after each
/// epoch what was measured (`valid_loss`, `accuracy`, ...), and if asked for the distribution of each parameter.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::TensorBoard;
/// # let dir = tempfile::tempdir()?;
/// let run = dir.path().join("runs/1");
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(TensorBoard::new(&run).every(2).histograms())
///     .silent();
/// learn.fit(1, 0.1)?; // and then: tensorboard --logdir runs
/// let file = std::fs::read_dir(&run)?.next().unwrap()?.path();
/// let bytes = std::fs::read(file)?;
/// assert!(["train_loss", "lr_0", "weight"].iter().all(|name| {
///     bytes.windows(name.len()).any(|w| w == name.as_bytes())
/// }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TensorBoard {
    dir: PathBuf,
    every: usize,
    histograms: bool,
    writer: Option<EventWriter>,
}

impl TensorBoard {
    /// To a new event file in `dir`: one directory for each run.
    pub fn new(dir: impl Into<PathBuf>) -> TensorBoard {
        TensorBoard { dir: dir.into(), every: 1, histograms: false, writer: None }
    }

    /// Writes only each `n`th training batch. Default 1.
    #[must_use]
    pub fn every(mut self, n: usize) -> TensorBoard {
        self.every = n.max(1);
        self
    }

    /// Writes the distribution of each parameter after each epoch, too. Default: no.
    #[must_use]
    pub fn histograms(mut self) -> TensorBoard {
        self.histograms = true;
        self
    }

    fn batch<T: Task>(&mut self, ctx: &Context<T>) -> Result<(), FileError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let step = ctx.train_iter;
        if let Some(loss) = ctx.history.losses.last() {
            writer.scalar("train_loss", step, *loss)?;
        }
        for (i, group) in ctx.opt.groups().iter().enumerate() {
            for (hyper, value) in group.hypers().iter() {
                writer.scalar(&format!("{hyper}_{i}"), step, value)?;
            }
        }
        Ok(())
    }

    fn epoch<T: Task>(&mut self, ctx: &Context<T>) -> Result<(), FileError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let step = ctx.train_iter;
        if let Some(record) = ctx.history.epochs.last().filter(|r| r.epoch == ctx.epoch) {
            // The training loss has been written batch by batch.
            for (name, value) in record.columns().into_iter().skip(1) {
                if let Some(value) = value {
                    writer.scalar(&name, step, value)?;
                }
            }
        }
        if self.histograms {
            for (name, p) in ctx.model.named_parameters() {
                writer.histogram(&name, step, p.value().to_vec::<f64>())?;
            }
        }
        writer.flush()
    }
}

impl<T: Task> Callback<T> for TensorBoard {
    fn order(&self) -> i32 {
        51
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn before_fit(&mut self, _: &mut Context<T>) -> Flow {
        match EventWriter::create(&self.dir) {
            Ok(writer) => self.writer = Some(writer),
            Err(e) => return Flow::Fail(e.into()),
        }
        Flow::Continue
    }

    fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        match ctx.training && ctx.train_iter.is_multiple_of(self.every) {
            true => self.batch(ctx).into(),
            false => Flow::Continue,
        }
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        self.epoch(ctx).into()
    }

    fn after_fit(&mut self, _: &mut Context<T>) -> Flow {
        match self.writer.take() {
            Some(mut writer) => writer.flush().into(),
            None => Flow::Continue,
        }
    }
}
