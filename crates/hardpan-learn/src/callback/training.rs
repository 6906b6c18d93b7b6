//! What changes how much is trained, or which parts of a model behave as in training: [`ShortEpoch`], [`SkipToEpoch`], [`BnFreeze`],
//! [`McDropout`].

use super::{Callback, Flow};
use crate::learner::{Context, Task};
use hardpan_nn::{Mode, Module, Role, Visitor};

/// Only a part of each epoch: to see whether everything works before it takes long. Counterpart: fastai's `ShortEpochCallback`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::ShortEpoch;
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(ShortEpoch::new(0.5).whole_validations())
///     .silent();
/// learn.fit(3, 0.1)?;
/// assert_eq!(learn.history().losses.len(), 3 * 2); // two of four batches
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ShortEpoch {
    share: f64,
    short_valid: bool,
}

impl Default for ShortEpoch {
    fn default() -> ShortEpoch {
        ShortEpoch::new(0.01)
    }
}

impl ShortEpoch {
    /// This share of the batches (fastai's default is 0.01), one at least, of validations too.
    pub fn new(share: f64) -> ShortEpoch {
        ShortEpoch { share, short_valid: true }
    }

    /// Whole validations.
    #[must_use]
    pub fn whole_validations(mut self) -> ShortEpoch {
        self.short_valid = false;
        self
    }
}

impl<T: Task> Callback<T> for ShortEpoch {
    /// After all others have seen the batch.
    fn order(&self) -> i32 {
        71
    }

    fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        let done = (ctx.iter + 1) as f64;
        if done < self.share * ctx.iters as f64 {
            return Flow::Continue;
        }
        match ctx.training {
            true => Flow::CancelTrain,
            false if self.short_valid => Flow::CancelValid,
            false => Flow::Continue,
        }
    }
}

/// Leaves out the epochs before this one; schedules behave as if they had been trained. Counterpart: fastai's `SkipToEpoch`, its
/// `start_epoch`. To go on with an interrupted run use [`resume`](crate::learner::Learner::resume).
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::SkipToEpoch;
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .silent();
/// // Of a fit of three epochs the last, with the rates that it would have had.
/// learn.fit_with(3, vec![Box::new(SkipToEpoch(2))])?;
/// assert_eq!(learn.history().losses.len(), 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SkipToEpoch(pub usize);

impl<T: Task> Callback<T> for SkipToEpoch {
    fn order(&self) -> i32 {
        70
    }

    fn before_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        if ctx.epoch < self.0 {
            return Flow::CancelEpoch;
        }
        // What the left out epochs would have counted.
        ctx.train_iter = ctx.epoch * ctx.loaders.train.len() + ctx.epoch_batches;
        ctx.pct_train = ctx.epoch as f64 / ctx.epochs.max(1) as f64;
        Flow::Continue
    }
}

/// Switches the modules that `which` says yes to.
fn switch(model: &dyn Module, training: bool, which: impl Fn(&dyn Module) -> bool) {
    struct Set(bool);
    impl Visitor for Set {
        fn mode(&mut self, mode: &Mode) {
            mode.set_training(self.0);
        }
    }
    model.for_each_module(&mut |_, module| {
        if which(module) {
            module.visit(&mut Set(training));
        }
    });
}

/// Keeps the statistics of batch norms that are frozen: in training they use their running statistics and do not change them.
/// Counterpart: fastai's `BnFreeze`. Norms are frozen with their group only if asked for
/// ([`freeze_norms`](crate::learner::Learner::freeze_norms)).
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::BnFreeze;
/// use hardpan_learn::learner::Learner;
/// use hardpan_nn::{BatchNorm1d, Module, Sequential, seq};
/// let model = seq![BatchNorm1d::new(8), Linear::new(8, 1)];
/// let mut learn = Learner::with_loss(loaders, model, MSELoss::new())
///     .groups(|m: &Sequential| {
///         let p = m.parameters();
///         vec![p[..2].to_vec(), p[2..].to_vec()]
///     })
///     .freeze_norms(true)
///     .callback(BnFreeze)
///     .silent();
/// learn.freeze();
/// learn.fit(1, 0.1)?;
/// let buffers = learn.model().named_buffers();
/// let mean = buffers.iter().find(|b| b.0 == "0.running_mean").unwrap();
/// assert_eq!(mean.1.value().to_vec::<f32>(), [0.0; 8]); // as it was
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct BnFreeze;

impl<T: Task> Callback<T> for BnFreeze {
    /// After [`TrainEval`](super::TrainEval).
    fn order(&self) -> i32 {
        -9
    }

    fn before_train(&mut self, ctx: &mut Context<T>) -> Flow {
        switch(&ctx.model, false, |m| {
            let params = m.parameters();
            m.role() == Role::BatchNorm
                && !params.is_empty()
                && params.iter().all(|p| p.is_frozen())
        });
        Flow::Continue
    }
}

/// Leaves dropout on in validations and predictions, so that repeated predictions show how sure the model is. Gal and
/// Ghahramani, <https://arxiv.org/abs/1506.02142>. Counterpart: fastai's `MCDropoutCallback`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::{Gather, McDropout};
/// use hardpan_learn::learner::Learner;
/// use hardpan_nn::{Dropout, seq};
/// let model = seq![Linear::new(8, 64), Dropout::new(0.5), Linear::new(64, 1)];
/// let mut learn = Learner::with_loss(loaders, model, MSELoss::new()).callback(McDropout).silent();
/// let valid = learn.context().loaders.valid.clone().unwrap();
/// let mut passes = Vec::new();
/// for _ in 0..10 {
///     passes.push(learn.get_preds_with(&valid, Gather::default())?.preds);
/// }
/// let uncertainty = Tensor::stack(&passes, 0).std(0, 1.0); // of each item
/// assert!(uncertainty.amin(..).item::<f32>() > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct McDropout;

impl<T: Task> Callback<T> for McDropout {
    fn before_validate(&mut self, ctx: &mut Context<T>) -> Flow {
        ctx.model.set_dropout(true);
        Flow::Continue
    }

    fn after_validate(&mut self, ctx: &mut Context<T>) -> Flow {
        ctx.model.set_dropout(false);
        Flow::Continue
    }
}
