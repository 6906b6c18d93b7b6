//! Callbacks: everything a training does beyond its bare loop.
//!
//! A [`Callback`] is called at 24 points ([`Event`]). It sees and may change the whole state of the training
//! ([`Context`]): the batch, the output, the loss, gradients, hyperparameters, counters. It answers with a
//! [`Flow`], which can leave out a step, a batch, an epoch, or the rest. Counterpart: `fastai.callback`.
//!
//! ```
//! use hardpan_learn::callback::{Callback, Flow};
//! use hardpan_learn::learner::{Context, Task};
//!
//! /// Stops when the model is good enough.
//! struct GoodEnough(f64);
//!
//! impl<T: Task> Callback<T> for GoodEnough {
//!     fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
//!         match ctx.history.last_metric("accuracy") {
//!             Some(a) if a >= self.0 => Flow::CancelFit,
//!             _ => Flow::Continue,
//!         }
//!     }
//! }
//! ```
//!
//! At each event callbacks are called in ascending [`order`](Callback::order), those of equal order as they were added. The orders
//! are those of fastai 2.8.12 where it has the callback, but for [`TerminateOnNan`] (-9 there, so that its recorder does not see the
//! loss that ended the run; here it does).
//!
//! | order | callback |
//! |---|---|
//! | -20 | [`ActivationStats`](crate::insight::ActivationStats) |
//! | -10 | [`TrainEval`] |
//! | -9 | [`BnFreeze`] |
//! | 0 | yours, [`MixUp`], [`CutMix`], [`ModelResetter`], [`McDropout`], [`GatherPreds`], [`FetchPreds`], [`CollectData`] |
//! | 1 | [`LabelSmoothing`], [`RnnRegularizer`] |
//! | 6 | [`GradientAccumulation`] |
//! | 10 | [`MixedPrecision`] |
//! | 11 | [`GradientClip`], [`GradientClipValue`] |
//! | 50 | [`Recorder`] |
//! | 51 | [`TensorBoard`] |
//! | 55 | [`TerminateOnNan`] |
//! | 60 | [`ParamScheduler`], [`Progress`], [`CsvLogger`] |
//! | 61 | [`SaveModel`] |
//! | 62 | [`ReduceLrOnPlateau`], [`LrScheduler`] |
//! | 63 | [`EarlyStopping`] |
//! | 65 | [`ShowGraph`], [`Ema`] |
//! | 66 | [`Swa`] |
//! | 70 | [`Checkpoint`], [`SkipToEpoch`] |
//! | 71 | [`ShortEpoch`] (0 in fastai, whose recorder does not see the last batch) |
//!
//! # Who has which weights
//!
//! Five callbacks hold on to weights, and their orders decide who sees which:
//!
//! | event | order | what happens |
//! |---|---|---|
//! | `after_step` | 64 | [`SlowWeights`] now and then puts its averages in, for good; in the last `before_validate` and in `after_fit` too |
//! | `before_validate` | 65 | [`Ema`] sets the weights aside and puts its averages in: the table shows what the averages are worth |
//! | `after_epoch` | 61 | [`SaveModel`] saves what was measured: the averages, if there is an [`Ema`] |
//! | | 65 | [`Ema`] puts the weights back |
//! | | 66 | [`Swa`] adds the weights, not the averages, to its own average |
//! | | 70 | [`Checkpoint`] asks for a file. It is written when all callbacks have seen the event, and holds the weights themselves, with the averages of [`Ema`] and [`Swa`] beside them; in the middle of a validation too |
//! | `after_fit` | 61 | [`SaveModel`] puts the best weights back; then [`Ema`] and [`Swa`] leave them alone |
//! | | 65 | otherwise [`Ema`] puts its averages in |
//! | | 66 | and then [`Swa`] its own, so it has the last word, and estimates batch norms anew |
//!
//! A fit that is interrupted to go on later ends with the weights it has: none of them does anything at its end.
//!
//! A sampler that weighs items, fastai's `WeightedDL`, is no callback here: see
//! [`DataLoader::weighted`](crate::data::DataLoader::weighted).

mod average;
mod checkpoint;
mod csv;
mod event;
mod gradient;
mod graph;
mod guard;
mod mix;
mod on;
mod plateau;
mod precision;
mod preds;
mod progress;
mod recorder;
mod rnn;
mod scheduler;
mod tensorboard;
mod track;
mod train_eval;
mod training;

pub use average::{Ema, SlowWeights, Swa};
pub use checkpoint::Checkpoint;
pub use csv::CsvLogger;
pub use event::{Event, Flow};
pub(crate) use event::{Span, Stop};
pub use gradient::{GradientAccumulation, GradientClip, GradientClipValue};
pub use graph::ShowGraph;
pub use guard::TerminateOnNan;
pub use mix::{Blend, CutMix, LabelSmoothing, MixHandler, MixUp};
pub use on::OnEvent;
pub use plateau::{LrScheduler, ReduceLrOnPlateau};
pub use precision::{LossScale, MixedPrecision, ScaleWatch};
pub use preds::{
    CollectData, CollectedBatch, CollectedData, FetchPreds, Gather, GatherPreds, Gathered,
    GatheredParts,
};
pub use progress::Progress;
pub use recorder::Recorder;
pub use rnn::{HiddenStates, ModelResetter, RnnRegularizer, on_output};
pub use scheduler::ParamScheduler;
pub use tensorboard::TensorBoard;
pub use track::{EarlyStopping, Patience, SaveModel, Tracker};
pub use train_eval::TrainEval;
pub use training::{BnFreeze, McDropout, ShortEpoch, SkipToEpoch};

use crate::learner::{Context, Task};
use hardpan_nn::StateDict;
use serde_json::Value;
use std::any::Any;

macro_rules! methods {
    ($($method:ident $event:ident),* $(,)?) => {
        /// A feature of a training. All methods do nothing unless overridden.
        ///
        /// `T` is what is trained ([`Task`]): write `impl<T: Task> Callback<T> for Mine` for a callback that
        /// serves all, `impl Callback<(MyModel, Tensor, Tensor)> for Mine` for one that knows the types of model, input
        /// and target.
        ///
        /// ```
        /// # use hardpan_engine::Tensor;
        /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
        /// # use hardpan_learn::learner::Learner;
        /// # use hardpan_nn::{Linear, MSELoss};
        /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
        /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
        /// use hardpan_learn::callback::{Callback, Flow};
        /// use hardpan_learn::learner::{Context, Task};
        ///
        /// /// Ends a fit after so many batches.
        /// struct StopAfter(usize);
        ///
        /// impl<T: Task> Callback<T> for StopAfter {
        ///     fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        ///         if ctx.train_iter >= self.0 { Flow::CancelFit } else { Flow::Continue }
        ///     }
        /// }
        /// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
        ///     .callback(StopAfter(6))
        ///     .silent();
        /// learn.fit(10, 0.1)?;
        /// assert_eq!((learn.context().epoch, learn.context().train_iter), (1, 6));
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[allow(unused_variables)]
        pub trait Callback<T: Task>: Send + Any {
            /// Lower numbers are called earlier.
            fn order(&self) -> i32 {
                0
            }

            /// The name of the type, for people.
            fn name(&self) -> &'static str {
                let name = std::any::type_name::<Self>();
                let name = name.split('<').next().unwrap_or(name);
                name.rsplit("::").next().unwrap_or(name)
            }

            /// What a resumed run needs to know of this callback.
            fn state(&self) -> Value {
                Value::Null
            }

            /// Goes on from what [`state`](Callback::state) gave.
            fn load_state(&mut self, state: Value) {}

            /// Tensors that a resumed run needs, such as averages of weights.
            fn state_tensors(&self) -> StateDict {
                StateDict::new()
            }

            /// Goes on from what [`state_tensors`](Callback::state_tensors) gave.
            fn load_state_tensors(&mut self, state: StateDict) {}

            /// Whether it only watches, saves or decides about whole epochs, and so stays out of
            /// [`lr_find`](crate::learner::Learner::lr_find), predictions and other passes that are no training. A callback that changes how
            /// a model computes or learns says no, which is the default. Counterpart: fastai's `remove_on_fetch`.
            fn watches_only(&self) -> bool {
                false
            }

            /// Passes the event on to the method of its name. Override it to see every event.
            fn on(&mut self, event: Event, ctx: &mut Context<T>) -> Flow {
                match event {
                    $(Event::$event => self.$method(ctx),)*
                }
            }

            $(
                #[doc = concat!("See [`Event::", stringify!($event), "`].")]
                fn $method(&mut self, ctx: &mut Context<T>) -> Flow {
                    Flow::Continue
                }
            )*
        }
    };
}

methods! {
    after_create AfterCreate,
    before_fit BeforeFit,
    before_epoch BeforeEpoch,
    before_train BeforeTrain,
    before_batch BeforeBatch,
    after_pred AfterPred,
    after_loss AfterLoss,
    before_backward BeforeBackward,
    after_cancel_backward AfterCancelBackward,
    after_backward AfterBackward,
    before_step BeforeStep,
    after_cancel_step AfterCancelStep,
    after_step AfterStep,
    after_cancel_batch AfterCancelBatch,
    after_batch AfterBatch,
    after_cancel_train AfterCancelTrain,
    after_train AfterTrain,
    before_validate BeforeValidate,
    after_cancel_validate AfterCancelValidate,
    after_validate AfterValidate,
    after_cancel_epoch AfterCancelEpoch,
    after_epoch AfterEpoch,
    after_cancel_fit AfterCancelFit,
    after_fit AfterFit,
}
