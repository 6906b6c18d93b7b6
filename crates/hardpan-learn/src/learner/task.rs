//! [`Task`]: the four types of a training, under one name.

use hardpan_nn::{Forward, Module};

/// What is trained: a model, what it takes, what it gives, what that is compared with.
///
/// The triple `(Model, X, Y)` is a task whenever the model is a [`Module`] with [`Forward<X>`]; nobody has to implement this
/// trait. It exists so that a callback can be written for all tasks at once: `impl<T: Task> Callback<T> for Mine`.
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
