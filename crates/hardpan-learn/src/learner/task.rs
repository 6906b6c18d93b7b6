//! [`Task`]: the four types of a training, under one name.

use hardpan_nn::{Forward, Module};

/// What is trained: a model, what it takes, what it gives, what that is compared with.
///
/// The triple `(Model, X, Y)` is a task whenever the model is a [`Module`] with [`Forward<X>`]; nobody has to implement this
/// trait. It exists so that a callback can be written for all tasks at once: `impl<T: Task> Callback<T> for Mine`.
///
/// ```
/// use hardpan_learn::callback::{Callback, Flow};
/// use hardpan_learn::learner::{Context, Task};
///
/// /// Counts batches, whatever is trained.
/// #[derive(Default)]
/// struct Count(usize);
///
/// impl<T: Task> Callback<T> for Count {
///     fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
///         self.0 += usize::from(ctx.training);
///         Flow::Continue
///     }
/// }
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// # let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
/// learn.add_callback(Count::default());
/// learn.fit(2, 0.1)?;
/// assert_eq!(learn.get_callback::<Count>().unwrap().0, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Task: 'static {
    /// The model.
    type Model: Module;
    /// What the model takes: a tensor, a pair, a struct of yours.
    type X: 'static;
    /// The targets.
    type Y: 'static;
    /// What the model gives.
    type Pred: 'static;

    /// Applies the model.
    fn forward(model: &Self::Model, x: &Self::X) -> Self::Pred;
}

impl<M, X, Y> Task for (M, X, Y)
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    type Model = M;
    type X = X;
    type Y = Y;
    type Pred = M::Output;

    fn forward(model: &M, x: &X) -> M::Output {
        model.forward(x)
    }
}
