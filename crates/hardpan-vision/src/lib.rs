//! Pictures: image files, augmentation, architectures, pretrained weights, and the learners that bring them together.
//!
//! Counterpart: `fastai.vision`.

pub mod image;
