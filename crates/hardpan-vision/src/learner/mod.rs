//! Learners for pictures: a model by name, made ready for the data.
//!
//! [`vision_learner`] trains any architecture of [`models`](crate::models) from scratch, or from weights that were trained elsewhere:
//! then the body keeps its weights, a new head is put on it, and the parameters are in three groups, so that
//! [`fine_tune`](Learner::fine_tune) first trains the head and then everything, lower layers more slowly. [`unet_learner`] does the
//! same for segmentation. Counterpart: `fastai.vision.learner`.

mod defaults;
mod segment;

pub use defaults::{DataFacts, Method, TrainingPlan, defaults_for};
pub use segment::{PixelAccuracy, RegionOverlap, SegmentOptions, unet_learner};

use crate::models::{HeadOptions, Model, ModelError, ModelOptions, airbench, create, whiten};
use crate::weights::{self, Report, WeightsError};
use hardpan_engine::{Tensor, functional as f, is_grad_enabled};
use hardpan_learn::data::{DataError, DataLoaders};
use hardpan_learn::learner::Learner;
use hardpan_learn::metric::{Mean, accuracy};

/// Settings of [`vision_learner`].
#[derive(Clone, Debug, PartialEq)]
pub struct VisionOptions {
    /// Number of classes.
    pub classes: usize,
    /// Channels of the pictures. Default 3.
    pub channels: usize,
    /// Rows and columns of the pictures, for architectures that must know. Default 224.
    pub image_size: usize,
    /// Weights to start from: a file, or a name in the cache (see [`weights::find`]). Default none: from scratch.
    pub pretrained: Option<String>,
    /// The head. Default: fastai's with pretrained weights, the architecture's own without.
    pub head: Option<HeadOptions>,
    /// Share of the target that is spread over all classes in training. Default 0.
    pub label_smoothing: f64,
}

impl VisionOptions {
    /// The defaults for so many classes.
    pub fn new(classes: usize) -> VisionOptions {
        VisionOptions {
            classes,
            channels: 3,
            image_size: 224,
            pretrained: None,
            head: None,
            label_smoothing: 0.0,
        }
    }
}

/// Why a learner could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnerError {
    /// The model cannot be built.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The pretrained weights cannot be read or do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The model looks at pictures before it is trained, and they cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// Mean and standard deviation of each channel, on the scale 0 to 1, that the published weights of an architecture were trained with.
/// Inputs must be normalized so for them to be of use.
///
/// EfficientNet-Lite has `(byte - 127) / 128`; the others ImageNet's statistics, vision transformers 0.5.
pub fn normalization_of(arch: &str) -> ([f64; 3], [f64; 3]) {
    match arch {
        "efficientnet_lite0" => ([127.0 / 255.0; 3], [128.0 / 255.0; 3]),
        _ if arch.starts_with("vit_") => ([0.5; 3], [0.5; 3]),
        _ => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    }
}

/// The model that [`vision_learner`] trains, with a report of its pretrained weights if there are any.
///
/// # Errors
/// If there is no such architecture, or its weights cannot be read or do not fit.
pub fn vision_model(
    arch: &str,
    options: &VisionOptions,
) -> Result<(Model, Option<Report>), LearnerError> {
    let head = options.head.clone();
    let o = ModelOptions {
        classes: options.classes,
        channels: options.channels,
        image_size: options.image_size,
        head: head.or_else(|| options.pretrained.is_some().then(HeadOptions::default)),
        ..ModelOptions::default()
    };
    let model = create(arch, &o)?;
    let report = match &options.pretrained {
        Some(word) => Some(weights::load_file(&model, weights::find(word)?)?),
        None => None,
    };
    Ok((model, report))
}

/// A learner for classes of pictures: `x: [N, C, H, W]` normalized, `y: [N]` labels. It measures accuracy; with pretrained weights it is
/// frozen up to its head, as fastai's. Batch norms are trained all the same. An architecture whose first layer whitens
/// ([`whiten`]) sees a batch for it.
///
/// ```text
/// let (model, _) = vision_model(arch, options)?;
/// Learner::new(loaders, model, cross_entropy).groups(Model::groups).metric(Mean::new("accuracy", accuracy))
/// ```
///
/// # Errors
/// As for [`vision_model`], or if that batch cannot be read.
pub fn vision_learner(
    loaders: DataLoaders<Tensor, Tensor>,
    arch: &str,
    options: &VisionOptions,
) -> Result<Learner<Model>, LearnerError> {
    let (model, report) = vision_model(arch, options)?;
    if report.is_none() && airbench::includes(arch) {
        whiten(&model, &loaders.train.one_batch()?.0);
    }
    let smoothing = options.label_smoothing;
    let loss = move |pred: &Tensor, y: &Tensor| {
        // Validation is done without gradients; there the plain loss is wanted.
        let label_smoothing = if is_grad_enabled() { smoothing } else { 0.0 };
        let options = f::CrossEntropyOptions { label_smoothing, ..Default::default() };
        f::cross_entropy_with(pred, y, options)
    };
    let mut learn = Learner::new(loaders, model, loss)
        .groups(Model::groups)
        .metric(Mean::new("accuracy", accuracy));
    if report.is_some() {
        learn.freeze();
    }
    Ok(learn)
}
