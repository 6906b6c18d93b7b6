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
//! are fastai's but for the last three:
//!
//! | order | callback |
//! |---|---|
//! | -10 | [`TrainEval`] |
//! | 0 | yours, [`ModelResetter`] |
//! | 6 | [`GradientAccumulation`] |
//! | 11 | [`GradientClip`] |
//! | 50 | [`Recorder`] |
//! | 55 | [`TerminateOnNan`] |
//! | 60 | [`ParamScheduler`], [`Progress`], [`CsvLogger`] |
//! | 61 | [`SaveModel`] |
//! | 63 | [`EarlyStopping`] |
//! | 70 | [`Checkpoint`] |
//!
//! (fastai's [`SaveModel`] and [`EarlyStopping`] come before its recorder; here they come after the table, so that the epoch that is
//! the last has its row too.)

mod checkpoint;
mod csv;
mod event;
mod gradient;
mod guard;
mod progress;
mod recorder;
mod reset;
mod scheduler;
mod track;
mod train_eval;

pub use checkpoint::Checkpoint;
pub use csv::CsvLogger;
pub use event::{Event, Flow};
pub(crate) use event::{Span, Stop};
pub use gradient::{GradientAccumulation, GradientClip};
pub use guard::TerminateOnNan;
pub use progress::Progress;
pub use recorder::Recorder;
pub use reset::ModelResetter;
pub use scheduler::ParamScheduler;
pub use track::{EarlyStopping, SaveModel};
pub use train_eval::TrainEval;

use crate::learner::{Context, Task};
use serde_json::Value;

macro_rules! methods {
    ($($method:ident $event:ident),* $(,)?) => {
        /// A feature of a training. All methods do nothing unless overridden.
        ///
        /// `T` is what is trained ([`Task`]): write `impl<T: Task> Callback<T> for Mine` for a callback that
        /// serves all, `impl Callback<(MyModel, Tensor, Tensor)> for Mine` for one that knows the types of model, input
        /// and target.
        #[allow(unused_variables)]
        pub trait Callback<T: Task>: Send {
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
