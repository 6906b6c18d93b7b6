//! Random changes of training pictures.
//!
//! [`AugTransforms`] are fastai's `aug_transforms`: mirroring, turning, zooming, perspective, brightness, contrast, saturation, hue,
//! erasing. Every change of place of an item is one matrix (they multiply), so it costs one resampling; every change of brightness and
//! contrast is one table of 256 numbers. Masks, points and boxes move with their picture. [`TrivialAugment`] makes one strong
//! change each, [`RandAugment`] several of one strength. Numbers are drawn by the item's [`Draw`](hardpan_learn::data::Draw): the same for any number of workers.
//!
//! Items are changed on the loader's workers, in bytes. [`Drawn::apply_batch`] is the same for a batch of tensors on the device, in
//! f32 and as part of the graph; it is the definition that the fast path is tested against. [`Drawn::apply_masks`],
//! [`Drawn::apply_points`] and [`Drawn::apply_boxes`] move what lies on the pictures.

mod batch;
mod change;
mod drawn;
mod light;
mod rand_augment;
mod trivial;

pub use drawn::{AugTransforms, Drawn, Erased};
pub use light::Lighting;
pub use rand_augment::RandAugment;
pub use trivial::TrivialAugment;
