//! [`MaskPredictor`]: a saved segmentation model in use.

use super::{InputSpec, PredictError};
use crate::data::ImagePipeline;
use crate::image::{Image, Mask};
use crate::plane::crop::ResizeMethod;
use crate::unet::DynamicUnet;
use hardpan_engine::{Tensor, flush_all, no_grad};
use hardpan_learn::file::{FileError, Header, ModelFile};
use hardpan_nn::{Forward, Module};
use std::path::Path;

/// What a model says of one picture, pixel by pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskPrediction {
    /// The most probable class of each pixel, in the size of the picture.
    pub mask: Mask,
    /// The share of pixels of each class.
    pub shares: Vec<f64>,
}

/// A segmentation model with the names of its classes and the way pictures become its input.
pub struct MaskPredictor {
    unet: DynamicUnet,
    classes: Vec<String>,
    input: InputSpec,
    header: Header,
}

/// Writes a segmentation model with everything its use needs. Pictures are squeezed to the size of the input, so that every pixel gets
/// a class; at most 256 classes have room in a mask.
///
/// # Errors
/// If the file cannot be written; one that is there stays as it is then.
pub fn export_masks(
    path: impl AsRef<Path>,
    unet: &DynamicUnet,
    classes: &[String],
    input: &InputSpec,
    header: Header,
) -> Result<(), FileError> {
    ModelFile::new(masks_header(unet, classes, input, header), &unet.state_dict()).write(path)
}

/// The header that [`export_masks`] writes.
pub fn masks_header(
    unet: &DynamicUnet,
    classes: &[String],
    input: &InputSpec,
    header: Header,
) -> Header {
    let input = squished(input.clone());
    Header {
        arch: Some(unet.arch()),
        classes: classes.to_vec(),
        input: Some(input.image()),
        pipeline: serde_json::to_value(&input).unwrap_or_default(),
        ..header
    }
}

/// Without cutting anything off: every pixel gets a class.
fn squished(input: InputSpec) -> InputSpec {
    let pipeline =
        ImagePipeline { method: ResizeMethod::Squish, margin: 0.0, ..input.pipeline.clone() };
    InputSpec { pipeline, digit: false, ..input }
}

impl MaskPredictor {
    /// Opens the file of a segmentation model.
    ///
    /// # Errors
    /// If it cannot be read, or does not say how to build and use its model.
    pub fn load(path: impl AsRef<Path>) -> Result<MaskPredictor, PredictError> {
        MaskPredictor::from_file(ModelFile::read(path)?)
    }

    /// Of the contents of a file.
    ///
    /// # Errors
    /// As for [`load`](MaskPredictor::load).
    pub fn from_file(file: ModelFile) -> Result<MaskPredictor, PredictError> {
        let path = || file.path().to_owned();
        let lacks = |problem: String| PredictError::Header { path: path(), problem };
        let Some(arch) = &file.header.arch else {
            return Err(lacks("it does not say which network its weights are for".into()));
        };
        let input = InputSpec::of_header(&file.header).map_err(lacks)?;
        let unet = DynamicUnet::from_arch(arch)
            .map_err(|source| PredictError::Model { path: path(), source })?;
        if unet.outputs() > 256 {
            return Err(lacks(format!("{} classes; a mask has room for 256", unet.outputs())));
        }
        file.load_into(&unet)?;
        unet.eval();
        let header = file.header.clone();
        let input = squished(input);
        Ok(MaskPredictor { unet, classes: header.classes.clone(), input, header })
    }

    /// The model alone; the rest is let go.
    pub fn into_model(self) -> DynamicUnet {
        self.unet
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The name of a class.
    pub fn label(&self, class: usize) -> String {
        self.classes.get(class).cloned().unwrap_or_else(|| class.to_string())
    }

    /// The model, in evaluation mode.
    pub fn model(&self) -> &DynamicUnet {
        &self.unet
    }

    /// How pictures become inputs.
    pub fn input(&self) -> &InputSpec {
        &self.input
    }

    /// What the file says about the model.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// A mask for each picture, of its size.
    pub fn predict(&self, images: &[Image]) -> Vec<MaskPrediction> {
        let mut out = Vec::with_capacity(images.len());
        for chunk in images.chunks(4) {
            let scores = no_grad(|| self.unet.forward(&self.input.tensor(chunk)));
            let (h, w) = (scores.size(2), scores.size(3));
            let labels: Vec<i64> = scores.argmax(1).to_vec();
            for (image, labels) in chunk.iter().zip(labels.chunks_exact(h * w)) {
                let small = Mask::new(w, h, labels.iter().map(|l| *l as u8).collect());
                out.push(self.finished(small.resize(image.width(), image.height())));
            }
            flush_all();
        }
        out
    }

    /// Scores `[N, classes, H, W]` of inputs that are ready.
    pub fn scores(&self, x: &Tensor) -> Tensor {
        no_grad(|| self.unet.forward(x))
    }

    fn finished(&self, mask: Mask) -> MaskPrediction {
        let mut counts = vec![0usize; self.unet.outputs()];
        for &p in mask.pixels() {
            if let Some(n) = counts.get_mut(usize::from(p)) {
                *n += 1;
            }
        }
        let all = mask.pixels().len().max(1) as f64;
        MaskPrediction { mask, shares: counts.into_iter().map(|n| n as f64 / all).collect() }
    }
}
