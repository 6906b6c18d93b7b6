//! Why a fit stopped before its end.

use crate::callback::Event;
use crate::data::DataError;
use crate::file::FileError;
use std::path::PathBuf;

/// What `fit` and its relatives return when they could not do their work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file that was to be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The loss became infinite or not a number: see [`TerminateOnNan`](crate::callback::TerminateOnNan), which says so.
    #[error(
        "the loss became {loss} at step {step} (epoch {epoch}, batch {batch}) with learning rate {lr:e}; \
         the weights are those of step {restored}, the last that were known to be good, and the optimizer has forgotten the steps; \
         try a learning rate of {:e} or lower (lr_find suggests one), clip gradients, \
         or look for bad values in the data",
        round(lr / 10.0)
    )]
    NonFinite {
        /// What it became.
        loss: f64,
        /// Number of steps taken in this fit before this one.
        step: usize,
        /// The epoch, from 0.
        epoch: usize,
        /// The batch in the epoch, from 0.
        batch: usize,
        /// The learning rate of this step.
        lr: f64,
        /// Number of steps behind the weights that were put back.
        restored: usize,
    },
    /// A callback cancelled something that was not going on.
    #[error("a callback answered {event} by cancelling the {cancelled}, but none is going on then")]
    Misplaced {
        /// The event.
        event: Event,
        /// What it cancelled.
        cancelled: String,
    },
    /// A resumed run that is not set up as the interrupted one was.
    #[error("{path}: cannot go on from here: {problem}", path = path.display())]
    Resume {
        /// The file.
        path: PathBuf,
        /// What differs.
        problem: String,
    },
    /// A callback or the data loader panicked. If the run keeps a [`Checkpoint`](crate::callback::Checkpoint), it has been written.
    #[error("{culprit} panicked at {during} (epoch {epoch}, batch {batch}): {message}")]
    Panicked {
        /// Which.
        culprit: String,
        /// At which event.
        during: &'static str,
        /// The epoch, from 0.
        epoch: usize,
        /// The batch in the epoch, from 0.
        batch: usize,
        /// What it said.
        message: String,
    },
    /// A callback failed.
    #[error("{callback}: {source}")]
    Callback {
        /// Its name.
        callback: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// To two digits, for advice.
fn round(x: f64) -> f64 {
    format!("{x:.1e}").parse().unwrap_or(x)
}
