//! Losses of [`hardpan_nn`] in a learner: [`Learner::with_loss`], [`loss`].

use super::{Activation, Answer, Learner};
use crate::data::DataLoaders;
use hardpan_engine::Tensor;
use hardpan_nn::{Decode, Forward, Module};
use std::any::Any;
use std::sync::Arc;

/// A loss module as the function that [`Learner::new`], [`Learner::item_losses`] and metrics take: `P` is what the model gives, `Y` the
/// targets, tensors for most losses.
///
/// ```
/// use hardpan_engine::{Tensor, functional::Reduction};
/// use hardpan_learn::learner::loss;
/// use hardpan_nn::{CrossEntropyLoss, MarginRankingLoss};
/// let smoothed = loss(CrossEntropyLoss::new().label_smoothing(0.1));
/// let of_each_item = loss(CrossEntropyLoss::new().reduction(Reduction::None));
/// let (logits, classes) = (Tensor::zeros([4, 10]), Tensor::from_vec(vec![1i64, 2, 3, 4], [4]));
/// assert_eq!(smoothed(&logits, &classes).numel(), 1);
/// assert_eq!(of_each_item(&logits, &classes).shape(), [4]);
/// // A prediction of two tensors: the first should be the larger by 1, and is by 2.
/// let ranking = loss(MarginRankingLoss::new().margin(1.0));
/// let scores = (Tensor::full([4], 3.0), Tensor::ones([4]));
/// assert_eq!(ranking(&scores, &Tensor::ones([4])).item::<f32>(), 0.0);
/// ```
pub fn loss<L, P, Y>(loss: L) -> impl Fn(&P, &Y) -> Tensor + Send + Sync + 'static
where
    L: Forward<(P, Y), Output = Tensor> + Send + Sync + 'static,
    P: Clone,
    Y: Clone,
{
    // Tensors are handles: cloning them copies nothing.
    move |pred, y| loss.forward(&(pred.clone(), y.clone()))
}

/// The function, if these are the same type: what is known of predictions that are tensors, where `M::Output` may be anything.
fn same_type<A: 'static, B: 'static>(function: A) -> Option<B> {
    let any: Box<dyn Any> = Box::new(function);
    any.downcast().ok().map(|function| *function)
}

impl<M, X, Y> Learner<M, X, Y>
where
    M: Module + Forward<X, Output: Clone + 'static>,
    X: 'static,
    Y: Clone + 'static,
{
    /// A learner as [`new`](Learner::new) makes it, with one of the losses of [`hardpan_nn`], or one of yours that has
    /// `Forward<(Prediction, Target), Output = Tensor>` and [`Decode`]. A function of your own goes to [`new`](Learner::new).
    ///
    /// Where the prediction is a tensor, what the loss says of outputs holds for predictions: [`get_preds_with`](Learner::get_preds_with) and
    /// [`tta`](Learner::tta) give probabilities where it has a softmax or a sigmoid inside, and answers can be had. Other predictions, such as
    /// the pair of a Siamese network, are given as they are. Counterpart: fastai's `Learner`, whose losses have `activation` and `decodes`.
    ///
    /// ```
    /// # use hardpan_engine::{DType, Tensor};
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # let x = Tensor::randn([64, 8]);
    /// # let y = x.select(1, 0).gt(0.0).to_dtype(DType::I64);
    /// # let data = TensorDataset::new(x, y)?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// use hardpan_learn::callback::Gather;
    /// use hardpan_learn::learner::Learner;
    /// use hardpan_nn::{CrossEntropyLoss, Linear};
    /// let mut learn = Learner::with_loss(loaders, Linear::new(8, 2), CrossEntropyLoss::new()).silent();
    /// learn.fit_one_cycle(1, 0.01)?;
    /// let valid = learn.context().loaders.valid.clone().unwrap();
    /// let all = learn.get_preds_with(&valid, Gather { decoded: true, ..Gather::default() })?;
    /// let (probabilities, classes) = (all.preds, all.decoded.unwrap()); // [N, 2] and [N]
    /// assert_eq!(probabilities.argmax(1).to_vec::<i64>(), classes.to_vec::<i64>());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A Siamese network: two inputs, one body, and a loss that compares what it makes of them.
    ///
    /// ```
    /// use hardpan_engine::{Tensor, manual_seed};
    /// use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// use hardpan_learn::learner::Learner;
    /// use hardpan_nn::{CosineEmbeddingLoss, Forward, Linear, Module};
    ///
    /// #[derive(Module)]
    /// struct Siamese {
    ///     body: Linear,
    /// }
    ///
    /// impl Forward<(Tensor, Tensor)> for Siamese {
    ///     type Output = (Tensor, Tensor);
    ///     fn forward(&self, (a, b): &(Tensor, Tensor)) -> (Tensor, Tensor) {
    ///         (self.body.forward(a), self.body.forward(b))
    ///     }
    /// }
    ///
    /// manual_seed(1);
    /// // Alike (1) or not (-1): whether the first numbers have the same sign.
    /// let (a, b) = (Tensor::randn([96, 4]), Tensor::randn([96, 4]));
    /// let alike = (a.select(1, 0) * b.select(1, 0)).sign();
    /// let (train, valid) = TensorDataset::new((a, b), alike)?.split_at(64);
    /// let loaders = DataLoaders::from_tensors(train, valid, 16, 42)?;
    /// let model = Siamese { body: Linear::new(4, 2) };
    /// let mut learn = Learner::with_loss(loaders, model, CosineEmbeddingLoss::new()).silent();
    /// let before = learn.validate()?.valid_loss.unwrap();
    /// learn.fit(5, 0.05)?;
    /// assert!(learn.validate()?.valid_loss.unwrap() < 0.7 * before);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_loss<L>(loaders: DataLoaders<X, Y>, model: M, loss: L) -> Self
    where
        L: Forward<(M::Output, Y), Output = Tensor> + Decode + Send + Sync + 'static,
    {
        let loss = Arc::new(loss);
        let (shows, answers) = (loss.clone(), loss.clone());
        let activation: Activation<Tensor> = Box::new(move |pred| shows.activation(&pred));
        let decode: Answer<Tensor> = Box::new(move |pred| answers.decodes(pred));
        let mut learner = Learner::new(loaders, model, self::loss(loss));
        learner.ctx.activation = same_type(activation);
        learner.ctx.decode = same_type(decode);
        learner
    }
}
