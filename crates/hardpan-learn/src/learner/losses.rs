//! Losses of [`hardpan_nn`] in a learner: [`Learner::with_loss`], [`loss`].

use super::Learner;
use crate::data::DataLoaders;
use hardpan_engine::Tensor;
use hardpan_nn::{Decode, Forward, Module};
use std::sync::Arc;

/// A loss module as the function that [`Learner::new`], [`Learner::item_losses`] and metrics take.
///
/// ```
/// use hardpan_engine::{Tensor, functional::Reduction};
/// use hardpan_learn::learner::loss;
/// use hardpan_nn::CrossEntropyLoss;
/// let smoothed = loss(CrossEntropyLoss::new().label_smoothing(0.1));
/// let of_each_item = loss(CrossEntropyLoss::new().reduction(Reduction::None));
/// let (logits, classes) = (Tensor::zeros([4, 10]), Tensor::from_vec(vec![1i64, 2, 3, 4], [4]));
/// assert_eq!(smoothed(&logits, &classes).numel(), 1);
/// assert_eq!(of_each_item(&logits, &classes).shape(), [4]);
/// ```
pub fn loss<L>(loss: L) -> impl Fn(&Tensor, &Tensor) -> Tensor + Send + Sync + 'static
where
    L: Forward<(Tensor, Tensor), Output = Tensor> + Send + Sync + 'static,
{
    // Tensors are handles: cloning them copies nothing.
    move |pred, y| loss.forward(&(pred.clone(), y.clone()))
}

impl<M, X> Learner<M, X, Tensor>
where
    M: Module + Forward<X, Output = Tensor>,
    X: 'static,
{
    /// A learner as [`new`](Learner::new) makes it, with one of the losses of [`hardpan_nn`]. What the loss says of outputs holds for
    /// predictions: [`get_preds_with`](Learner::get_preds_with) and [`tta`](Learner::tta) give probabilities where it has a softmax or a
    /// sigmoid inside, and answers can be had. Counterpart: fastai's `Learner`, whose losses have `activation` and `decodes`.
    ///
    /// ```no_run
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::DataLoaders;
    /// # fn run(loaders: DataLoaders<Tensor, Tensor>) -> Result<(), hardpan_learn::learner::FitError> {
    /// use hardpan_learn::callback::Gather;
    /// use hardpan_learn::learner::Learner;
    /// use hardpan_nn::{CrossEntropyLoss, Linear};
    /// let mut learn = Learner::with_loss(loaders, Linear::new(784, 10), CrossEntropyLoss::new());
    /// learn.fit_one_cycle(1, 0.01)?;
    /// let valid = learn.context().loaders.valid.clone().unwrap();
    /// let all = learn.get_preds_with(&valid, Gather { decoded: true, ..Gather::default() })?;
    /// let (probabilities, classes) = (all.preds, all.decoded.unwrap());
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_loss<L>(loaders: DataLoaders<X, Tensor>, model: M, loss: L) -> Self
    where
        L: Forward<(Tensor, Tensor), Output = Tensor> + Decode + Send + Sync + 'static,
    {
        let loss = Arc::new(loss);
        let (shows, answers) = (loss.clone(), loss.clone());
        Learner::new(loaders, model, self::loss(loss))
            .activation(move |pred: Tensor| shows.activation(&pred))
            .decode(move |pred: &Tensor| answers.decodes(pred))
    }
}
