//! Pictures as training data: blocks for a [`DataBlock`](hardpan_learn::data::block::DataBlock), [`ImageDataLoaders`] and
//! [`SegmentationDataLoaders`] that make the usual choices, and [`ImagePipeline`], which a saved model keeps to treat new
//! pictures as it was trained.

mod blocks;
mod boxes;
mod folder;
mod image_data;
mod normalize;
mod pipeline;
mod segmentation;
pub mod verify;

pub use blocks::{ImageBlock, MaskBlock};
pub use boxes::{BoxBatch, BoxBlock, PointBlock};
pub use folder::FolderError;
pub use image_data::{AugmentChoice, FolderOrDataError, ImageData, ImageDataLoaders, SMALL};
pub use normalize::{CIFAR_STATS, IMAGENET_STATS, MNIST_STATS, Normalize, Stats};
pub use pipeline::{ImagePipeline, PipelineError};
pub use segmentation::{SegmentationData, SegmentationDataLoaders};
