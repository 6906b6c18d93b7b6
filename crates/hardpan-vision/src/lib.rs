//! Pictures: image files, augmentation, architectures, pretrained weights, and the learners that bring them together.
//!
//! [`image`] reads pictures; [`plane`] moves pictures, masks, points and boxes together; [`augment`] changes them at random;
//! [`data`] makes loaders of folders, [`digits`] of the files of MNIST. [`models`] are architectures by name, [`weights`] what was trained elsewhere, [`unet`] a decoder for
//! segmentation; [`learner`] brings models and data together, [`predictor`] puts a saved model to use. Counterpart: `fastai.vision`.

pub mod augment;
pub mod data;
pub mod digits;
pub mod image;
pub mod learner;
pub mod models;
pub mod plane;
pub mod predictor;
pub mod unet;
pub mod weights;
