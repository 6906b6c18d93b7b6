//! [`TrainEval`].

use super::{Callback, Flow};
use crate::learner::{Context, Task};
use hardpan_nn::Module;

/// Switches the model between training and evaluation, and counts how far the training is. A default callback.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::Event;
/// use hardpan_learn::learner::Learner;
/// use hardpan_nn::{Dropout, Forward, seq};
/// let model = seq![Linear::new(8, 64), Dropout::new(0.5), Linear::new(64, 1)];
/// let mut learn = Learner::with_loss(loaders, model, MSELoss::new())
///     .on(Event::BeforeBatch, |ctx| {
///         // Dropout is at work in training alone.
///         let (a, b) = (ctx.model.forward(ctx.x()), ctx.model.forward(ctx.x()));
///         assert_eq!(a.to_vec::<f32>() != b.to_vec::<f32>(), ctx.training);
///     })
///     .silent();
/// learn.fit(1, 0.1)?;
/// assert_eq!((learn.context().train_iter, learn.context().pct_train), (4, 1.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TrainEval(());

impl<T: Task> Callback<T> for TrainEval {
    fn order(&self) -> i32 {
        -10
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        count(ctx);
        Flow::Continue
    }

    fn before_train(&mut self, ctx: &mut Context<T>) -> Flow {
        ctx.training = true;
        ctx.model.train();
        Flow::Continue
    }

    fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        if ctx.training {
            ctx.epoch_batches = ctx.iter + 1;
            ctx.train_iter += 1;
            count(ctx);
        }
        Flow::Continue
    }

    fn after_train(&mut self, ctx: &mut Context<T>) -> Flow {
        ctx.training = false;
        Flow::Continue
    }

    fn before_validate(&mut self, ctx: &mut Context<T>) -> Flow {
        ctx.training = false;
        ctx.model.eval();
        Flow::Continue
    }

    fn after_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        ctx.training = false;
        Flow::Continue
    }
}

/// From the position, not by adding up, so that a resumed run has the very same numbers.
fn count<T: Task>(ctx: &mut Context<T>) {
    let per_epoch = ctx.loaders.train.len();
    let done = ctx.epoch * per_epoch + ctx.epoch_batches;
    ctx.pct_train = done as f64 / (per_epoch * ctx.epochs).max(1) as f64;
}
