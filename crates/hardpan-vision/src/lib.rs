//! Pictures: image files, augmentation, architectures, pretrained weights, and the learners that bring them together.
//!
//! [`image`] reads pictures; [`plane`] moves pictures, masks, points and boxes together; [`augment`] changes them at random;
//! [`data`] makes loaders of folders. Counterpart: `fastai.vision`.

pub mod augment;
pub mod data;
pub mod image;
pub mod plane;
