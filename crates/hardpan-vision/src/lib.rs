//! Pictures: image files, augmentation, architectures, pretrained weights, and the learners that bring them together.
//!
//! Counterpart: `fastai.vision`.

pub mod image;
pub mod learner;
pub mod models;
pub mod predictor;
pub mod unet;
pub mod weights;
