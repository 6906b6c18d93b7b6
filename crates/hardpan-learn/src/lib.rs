//! Data, the Learner, callbacks, schedules and metrics.
pub mod data;
pub mod progress;
