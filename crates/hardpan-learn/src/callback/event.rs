//! The points of a training at which callbacks are called ([`Event`]), and what they may answer ([`Flow`]).

use crate::learner::FitError;
use std::fmt;

macro_rules! events {
    ($($(#[$doc:meta])* $v:ident = $text:literal),* $(,)?) => {
        /// A point of the training loop. The names are fastai's.
        ///
        /// ```
        /// use hardpan_learn::callback::Event;
        /// assert_eq!(Event::ALL.len(), 24);
        /// assert_eq!((Event::AfterLoss.name(), Event::ALL[1]), ("after_loss", Event::BeforeFit));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Event { $($(#[$doc])* $v),* }

        impl Event {
            /// All 24, in the order in which they come.
            pub const ALL: [Event; 24] = [$(Event::$v),*];

            /// As in fastai: `before_fit`, ...
            pub const fn name(self) -> &'static str {
                match self { $(Event::$v => $text),* }
            }
        }
    };
}

events! {
    /// The callback has been added to a learner.
    AfterCreate = "after_create",
    /// A fit begins.
    BeforeFit = "before_fit",
    /// An epoch begins.
    BeforeEpoch = "before_epoch",
    /// The training part of an epoch begins.
    BeforeTrain = "before_train",
    /// A batch is there: inputs and targets can be changed.
    BeforeBatch = "before_batch",
    /// The model has given its output.
    AfterPred = "after_pred",
    /// The loss is there.
    AfterLoss = "after_loss",
    /// Gradients are about to be computed (training only, as all up to `after_step`).
    BeforeBackward = "before_backward",
    /// [`Flow::CancelBackward`] was answered.
    AfterCancelBackward = "after_cancel_backward",
    /// Gradients are there.
    AfterBackward = "after_backward",
    /// The optimizer is about to step: gradients and hyperparameters can be changed.
    BeforeStep = "before_step",
    /// [`Flow::CancelStep`] was answered.
    AfterCancelStep = "after_cancel_step",
    /// The weights have changed; gradients are still there.
    AfterStep = "after_step",
    /// [`Flow::CancelBatch`] was answered.
    AfterCancelBatch = "after_cancel_batch",
    /// The batch is over.
    AfterBatch = "after_batch",
    /// [`Flow::CancelTrain`] was answered.
    AfterCancelTrain = "after_cancel_train",
    /// The training part of an epoch is over.
    AfterTrain = "after_train",
    /// The validation of an epoch begins.
    BeforeValidate = "before_validate",
    /// [`Flow::CancelValid`] was answered.
    AfterCancelValidate = "after_cancel_validate",
    /// The validation of an epoch is over.
    AfterValidate = "after_validate",
    /// [`Flow::CancelEpoch`] was answered.
    AfterCancelEpoch = "after_cancel_epoch",
    /// The epoch is over.
    AfterEpoch = "after_epoch",
    /// [`Flow::CancelFit`] was answered.
    AfterCancelFit = "after_cancel_fit",
    /// The fit is over.
    AfterFit = "after_fit",
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a callback answers to an event: go on, or leave something out.
///
/// After a cancel the callbacks that come later are not called for this event; the part that was cancelled ends with its
/// `after_cancel_..` and `after_..` events. Counterpart: fastai's `Cancel..Exception`s.
///
/// ```
/// use hardpan_learn::callback::{Callback, Flow};
/// use hardpan_learn::learner::{Context, Task};
///
/// /// Leaves out every other batch.
/// struct EveryOther;
///
/// impl<T: Task> Callback<T> for EveryOther {
///     fn before_batch(&mut self, ctx: &mut Context<T>) -> Flow {
///         if ctx.training && ctx.iter % 2 == 1 { Flow::CancelBatch } else { Flow::Continue }
///     }
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub enum Flow {
    /// Go on.
    Continue,
    /// Leave out the rest of this batch, also the step and the clearing of gradients.
    CancelBatch,
    /// Compute no gradients for this batch.
    CancelBackward,
    /// Do not change the weights; clear the gradients.
    CancelStep,
    /// Leave out the rest of the training part of this epoch; validate.
    CancelTrain,
    /// Leave out the rest of this validation.
    CancelValid,
    /// Leave out the rest of this epoch.
    CancelEpoch,
    /// Stop the fit. It ends well: this is no error.
    CancelFit,
    /// Stop the fit with an error, which `fit` returns.
    Fail(FitError),
}

/// Goes on.
impl From<()> for Flow {
    fn from((): ()) -> Flow {
        Flow::Continue
    }
}

/// `Ok` goes on, `Err` fails.
impl<E: Into<FitError>> From<Result<(), E>> for Flow {
    fn from(result: Result<(), E>) -> Flow {
        match result {
            Ok(()) => Flow::Continue,
            Err(e) => Flow::Fail(e.into()),
        }
    }
}

/// A part of the loop that callbacks surround and can cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    Fit,
    Epoch,
    Train,
    Validate,
    Batch,
    Backward,
    Step,
}

impl Span {
    pub(crate) fn events(self) -> (Event, Event, Event) {
        use Event::*;
        match self {
            Span::Fit => (BeforeFit, AfterCancelFit, AfterFit),
            Span::Epoch => (BeforeEpoch, AfterCancelEpoch, AfterEpoch),
            Span::Train => (BeforeTrain, AfterCancelTrain, AfterTrain),
            Span::Validate => (BeforeValidate, AfterCancelValidate, AfterValidate),
            Span::Batch => (BeforeBatch, AfterCancelBatch, AfterBatch),
            Span::Backward => (BeforeBackward, AfterCancelBackward, AfterBackward),
            Span::Step => (BeforeStep, AfterCancelStep, AfterStep),
        }
    }
}

/// Why the loop is being left.
pub(crate) enum Stop {
    Cancel(Span),
    Error(FitError),
}

impl Flow {
    pub(crate) fn stop(self) -> Result<(), Stop> {
        let span = match self {
            Flow::Continue => return Ok(()),
            Flow::Fail(e) => return Err(Stop::Error(e)),
            Flow::CancelBatch => Span::Batch,
            Flow::CancelBackward => Span::Backward,
            Flow::CancelStep => Span::Step,
            Flow::CancelTrain => Span::Train,
            Flow::CancelValid => Span::Validate,
            Flow::CancelEpoch => Span::Epoch,
            Flow::CancelFit => Span::Fit,
        };
        Err(Stop::Cancel(span))
    }
}
