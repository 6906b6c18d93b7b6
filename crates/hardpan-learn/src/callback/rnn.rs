//! For models of sequences: [`ModelResetter`], [`RnnRegularizer`].

use super::{Callback, Flow};
use crate::learner::{Context, Task};
use hardpan_engine::Tensor;
use hardpan_nn::Module;

/// Makes the model forget what it carries from batch to batch before each pass over the data: for language models that keep a
/// hidden state. Counterpart: fastai's `ModelResetter`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Forward, Linear, MSELoss, Module, State};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::{Event, ModelResetter};
/// use hardpan_learn::learner::Learner;
///
/// /// Gives the mean of its output and what it gave before.
/// #[derive(Module)]
/// struct Carries {
///     linear: Linear,
///     before: State<Option<Tensor>>,
/// }
/// impl Forward for Carries {
///     type Output = Tensor;
///     fn forward(&self, x: &Tensor) -> Tensor {
///         let y = self.linear.forward(x);
///         let y = match self.before.get() {
///             Some(before) => (y + before) / 2.0,
///             None => y,
///         };
///         self.before.set(Some(y.detach()));
///         y
///     }
/// }
/// let model = Carries { linear: Linear::new(8, 1), before: State::default() };
/// let mut learn = Learner::with_loss(loaders, model, MSELoss::new())
///     .callback(ModelResetter)
///     .on(Event::AfterTrain, |ctx| assert!(ctx.model.before.get().is_some()))
///     .silent();
/// learn.fit(1, 0.1)?;
/// assert!(learn.model().before.get().is_none()); // forgotten at the end
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelResetter;

impl<T: Task> Callback<T> for ModelResetter {
    fn before_train(&mut self, ctx: &mut Context<T>) -> Flow {
        ctx.model.reset();
        Flow::Continue
    }
    fn before_validate(&mut self, ctx: &mut Context<T>) -> Flow {
        ctx.model.reset();
        Flow::Continue
    }
    fn after_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        ctx.model.reset();
        Flow::Continue
    }
}

/// What a recurrent model gives beside its output, for [`RnnRegularizer`]: the hidden states of its last layer `[N, L, H]`.
///
/// Implemented for the triple (output, states, states after dropout); a struct of yours works as well once it has these two
/// methods. With [`on_output`] a loss or metric of the output alone can be used for the triple.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::callback::HiddenStates;
/// struct Output {
///     logits: Tensor,
///     states: Tensor,
/// }
/// impl HiddenStates for Output {
///     fn raw(&self) -> &Tensor {
///         &self.states
///     }
///     /// Without dropout they are the same.
///     fn dropped(&self) -> &Tensor {
///         &self.states
///     }
/// }
/// let output = Output { logits: Tensor::zeros([2, 5]), states: Tensor::ones([2, 7, 16]) };
/// assert_eq!(output.raw().shape(), output.dropped().shape());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not give the hidden states that RnnRegularizer needs",
    note = "let the model give `(output, states, dropped_states)`, or implement `HiddenStates` for its output"
)]
pub trait HiddenStates {
    /// The hidden states of the last layer, `[N, L, H]`.
    fn raw(&self) -> &Tensor;
    /// The same after dropout.
    fn dropped(&self) -> &Tensor;
}

impl<A> HiddenStates for (A, Tensor, Tensor) {
    fn raw(&self) -> &Tensor {
        &self.1
    }
    fn dropped(&self) -> &Tensor {
        &self.2
    }
}

/// A loss or metric of the output alone, for a model that gives (output, states, states after dropout).
///
/// ```
/// use hardpan_learn::callback::on_output;
/// use hardpan_engine::Tensor;
/// let mse = |p: &Tensor, y: &Tensor| ((p - y) * (p - y)).mean(..);
/// let loss = on_output(mse);
/// let x = Tensor::ones([2]);
/// assert_eq!(loss(&(x.clone(), x.clone(), x.clone()), &x).item::<f32>(), 0.0);
/// ```
pub fn on_output<A, Y>(
    f: impl Fn(&A, &Y) -> Tensor + Send,
) -> impl Fn(&(A, Tensor, Tensor), &Y) -> Tensor + Send {
    move |pred, y| f(&pred.0, y)
}

/// Regularizes a recurrent model: hidden states should be small (`alpha` times their mean square, after dropout) and change
/// slowly (`beta` times the mean square of their differences from one step to the next, before dropout). Merity et al.,
/// <https://arxiv.org/abs/1708.02182>, section 4.3. Counterpart: fastai's `RNNRegularizer`; both are 0 there by default, 2 and 1 for
/// AWD-LSTM language models.
///
/// The penalty goes into the gradients, not into the loss that is reported.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_learn::metric::mse;
/// # use hardpan_nn::{Forward, Linear, Module, RNN};
/// # let data = TensorDataset::new(Tensor::rand([32, 5, 2]), Tensor::rand([32, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::{RnnRegularizer, on_output};
/// # #[derive(Module)]
/// # struct Recurrent(RNN, Linear);
/// # impl Forward for Recurrent {
/// #     type Output = (Tensor, Tensor, Tensor);
/// #     fn forward(&self, x: &Tensor) -> Self::Output {
/// #         let (states, _) = self.0.forward(x);
/// #         (self.1.forward(&states.select(1, -1)), states.clone(), states)
/// #     }
/// # }
/// # let model = Recurrent(RNN::new(2, 4).batch_first(true), Linear::new(4, 1));
/// // A model that gives (output, states, states after dropout).
/// let mut learn = Learner::new(loaders, model, on_output(mse))
///     .callback(RnnRegularizer::new(2.0, 1.0)) // as for AWD-LSTM
///     .silent();
/// learn.fit(1, 0.01)?;
/// assert!(learn.history().epochs[0].train_loss.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RnnRegularizer {
    alpha: f64,
    beta: f64,
}

impl RnnRegularizer {
    /// With these weights.
    pub fn new(alpha: f64, beta: f64) -> RnnRegularizer {
        RnnRegularizer { alpha, beta }
    }
}

impl<T: Task<Pred: HiddenStates>> Callback<T> for RnnRegularizer {
    fn order(&self) -> i32 {
        1
    }

    fn after_loss(&mut self, ctx: &mut Context<T>) -> Flow {
        let (true, Some(pred)) = (ctx.training, &ctx.pred) else { return Flow::Continue };
        let mut penalty: Option<Tensor> = None;
        let mut add = |term: Tensor| {
            penalty = Some(match penalty.take() {
                Some(p) => p + term,
                None => term,
            });
        };
        if self.alpha != 0.0 {
            let h = pred.dropped();
            add((h * h).mean(..) * self.alpha);
        }
        let h = pred.raw();
        let length = if h.rank() > 1 { h.size(1) } else { 0 };
        if self.beta != 0.0 && length > 1 {
            let change = h.narrow(1, 1, length - 1) - h.narrow(1, 0, length - 1);
            add((&change * &change).mean(..) * self.beta);
        }
        if let Some(penalty) = penalty {
            ctx.add_penalty(penalty);
        }
        Flow::Continue
    }
}
