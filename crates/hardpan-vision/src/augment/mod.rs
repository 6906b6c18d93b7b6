//! Random changes of training pictures.
//!
//! [`AugTransforms`] are fastai's `aug_transforms`: mirroring, turning, zooming, perspective, brightness, contrast, saturation, hue,
//! erasing. Every change of place of an item is one matrix (they multiply), so it costs one resampling; every change of brightness and
//! contrast is one table of 256 numbers. Masks, points and boxes move with their picture. [`TrivialAugment`] makes one strong
//! change each. Numbers are drawn by the item's [`Draw`](hardpan_learn::data::Draw): the same for any number of workers.
//!
//! Items are changed on the loader's workers, in bytes. [`Drawn::apply_batch`] is the same for a batch of tensors on the device, in
//! f32 and as part of the graph; it is the definition that the fast path is tested against.

mod batch;
mod drawn;
mod light;
mod trivial;

pub use drawn::{AugTransforms, Drawn, Erased};
pub use light::Lighting;
pub use trivial::TrivialAugment;
