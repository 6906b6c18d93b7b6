//! [`Predictor`]: a saved model in use. It knows how pictures become inputs and outputs become classes.
//!
//! [`export`] writes a model with everything that its use needs into one file; [`Predictor::load`] opens it, in this program or another,
//! and gives the very same numbers. Files of digit models open too.
//!
//! ```no_run
//! use hardpan_vision::image::Image;
//! use hardpan_vision::predictor::Predictor;
//! let predictor = Predictor::load("pets.hardpan")?;
//! for p in predictor.predict(&[Image::open("cat.jpg")?]) {
//!     println!("{}: {:.1} %", p.label, p.probability * 100.0);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod explain;
mod masks;
mod prepare;

pub use explain::HeatMap;
pub use masks::{MaskPrediction, MaskPredictor, export_masks, masks_header};
pub use prepare::{InputSpec, Tta};

use crate::image::Image;
use crate::models::{Model, ModelError, from_arch};
use crate::unet::UNET;
use hardpan_engine::{Tensor, flush_all, functional as f, no_grad};
use hardpan_learn::file::{FileError, Header, ImageInput, ModelFile};
use hardpan_nn::{Compiled, Module};
use std::path::{Path, PathBuf};

/// Why a file cannot be used to predict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// It cannot be read, or its weights do not fit.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its model cannot be built.
    #[error("{}: {source}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ModelError,
    },
    /// It does not say what is needed.
    #[error("{}: {problem}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is missing or makes no sense.
        problem: String,
    },
}

/// What a model says of one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The most probable class.
    pub class: usize,
    /// Its name.
    pub label: String,
    /// Its probability.
    pub probability: f64,
    /// The probabilities of all classes, in the order of [`Predictor::classes`].
    pub probabilities: Vec<f64>,
}

impl Prediction {
    /// The `k` most probable classes with their probabilities, best first.
    pub fn top(&self, k: usize) -> Vec<(usize, f64)> {
        let mut all: Vec<(usize, f64)> = self.probabilities.iter().copied().enumerate().collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(k);
        all
    }
}

/// A model with the names of its classes and the way pictures become its input.
pub struct Predictor {
    model: Compiled<Model>,
    classes: Vec<String>,
    input: InputSpec,
    header: Header,
    batch_size: usize,
}

/// Writes a model with everything its use needs. `header` may say more about where it comes from.
///
/// # Errors
/// If the file cannot be written; one that is there stays as it is then.
pub fn export(
    path: impl AsRef<Path>,
    model: &Model,
    classes: &[String],
    input: &InputSpec,
    header: Header,
) -> Result<(), FileError> {
    ModelFile::new(header_for(model, classes, input, header), &model.state_dict()).write(path)
}

/// The header that [`export`] writes.
pub fn header_for(model: &Model, classes: &[String], input: &InputSpec, header: Header) -> Header {
    Header {
        arch: Some(model.arch()),
        classes: classes.to_vec(),
        input: Some(input.image()),
        pipeline: serde_json::to_value(input).unwrap_or_default(),
        ..header
    }
}

impl Predictor {
    /// Opens the file of a model.
    ///
    /// # Errors
    /// If it cannot be read, or does not say how to build and use its model.
    pub fn load(path: impl AsRef<Path>) -> Result<Predictor, PredictError> {
        Predictor::from_file(ModelFile::read(path)?)
    }

    /// Of the contents of a file.
    ///
    /// # Errors
    /// As for [`load`](Predictor::load).
    pub fn from_file(file: ModelFile) -> Result<Predictor, PredictError> {
        let path = || file.path().to_owned();
        let lacks = |problem: &str| PredictError::Header { path: path(), problem: problem.into() };
        let header = &file.header;
        let arch = header.arch.as_ref();
        let arch =
            arch.ok_or_else(|| lacks("it does not say which network its weights are for"))?;
        let input = InputSpec::of_header(header).map_err(|problem| lacks(&problem))?;
        if arch.name == UNET {
            return Err(lacks("it finds masks, not classes: open it with MaskPredictor"));
        }
        let model =
            from_arch(arch).map_err(|source| PredictError::Model { path: path(), source })?;
        file.load_into(&model)?;
        let header = file.header.clone();
        let mut out = Predictor::new(model, header.classes.clone(), input);
        out.header = header;
        Ok(out)
    }

    /// Of a model in memory.
    pub fn new(model: Model, classes: Vec<String>, input: InputSpec) -> Predictor {
        model.eval();
        let header = header_for(&model, &classes, &input, Header::default());
        Predictor { model: Compiled::new(model), classes, input, header, batch_size: 32 }
    }

    /// With so many pictures at a time in the model. Default 32.
    ///
    /// # Panics
    /// If it is 0.
    #[must_use]
    #[track_caller]
    pub fn batch_size(mut self, batch_size: usize) -> Predictor {
        assert!(batch_size > 0, "Predictor: the batch size must be above 0");
        self.batch_size = batch_size;
        self
    }

    /// The model, in evaluation mode.
    pub fn model(&self) -> &Model {
        self.model.model()
    }

    /// The model alone; the rest is let go.
    pub fn into_model(self) -> Model {
        self.model.into_model()
    }

    /// The names of the classes. May be fewer than the model has outputs; the others go by their numbers.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// How pictures become inputs.
    pub fn input(&self) -> &InputSpec {
        &self.input
    }

    /// What the file says about the model.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The name of a class.
    pub fn label(&self, class: usize) -> String {
        self.classes.get(class).cloned().unwrap_or_else(|| class.to_string())
    }

    /// Classes and probabilities of pictures, in their order. Pictures may be of any size, grey or in colour.
    pub fn predict(&self, images: &[Image]) -> Vec<Prediction> {
        self.in_batches(images, |x| f::softmax(&self.model.forward(x), -1))
    }

    /// As [`predict`](Predictor::predict), averaged over several views of each picture: a quarter of the weight on the picture itself, the
    /// rest on the others. Slower and usually a little more accurate. Counterpart: fastai's `tta`.
    pub fn tta(&self, images: &[Image]) -> Vec<Prediction> {
        self.in_batches(images, |x| {
            let softmax = |x: &Tensor| f::softmax(&self.model.forward(x), -1);
            let views = self.input.views(x);
            if views.is_empty() {
                return softmax(x);
            }
            let n = views.len() as f64;
            let sum = views.iter().map(softmax).reduce(|a, b| a + b).expect("some views");
            softmax(x) * 0.25 + sum * (0.75 / n)
        })
    }

    /// What [`predict`](Predictor::predict) makes of inputs that are ready: `x: [N, C, H, W]`, normalized.
    pub fn predict_tensor(&self, x: &Tensor) -> Vec<Prediction> {
        let p = no_grad(|| f::softmax(&self.model.forward(x), -1));
        self.predictions(&p)
    }

    /// What the model's body finds in each picture, `[N, features]`: near ones look alike to the model.
    pub fn embed(&self, images: &[Image]) -> Tensor {
        let parts = images.chunks(self.batch_size).map(|chunk| {
            let y = no_grad(|| self.model().embed(&self.input.tensor(chunk)));
            y.eval();
            y
        });
        let parts: Vec<Tensor> = parts.collect();
        match parts.is_empty() {
            true => Tensor::zeros([0, self.model().num_features()]),
            false => Tensor::cat(&parts, 0),
        }
    }

    fn in_batches(
        &self,
        images: &[Image],
        probabilities: impl Fn(&Tensor) -> Tensor,
    ) -> Vec<Prediction> {
        let mut out = Vec::with_capacity(images.len());
        for chunk in images.chunks(self.batch_size) {
            let p = no_grad(|| probabilities(&self.input.tensor(chunk)));
            out.extend(self.predictions(&p));
            flush_all();
        }
        out
    }

    fn predictions(&self, p: &Tensor) -> Vec<Prediction> {
        let classes = p.size(-1);
        let of_row = |row: &[f64]| {
            let best = |a: usize, b: usize| if row[b] > row[a] { b } else { a };
            let class = (0..classes).reduce(best).unwrap_or(0);
            Prediction {
                class,
                label: self.label(class),
                probability: row.get(class).copied().unwrap_or(f64::NAN),
                probabilities: row.to_vec(),
            }
        };
        p.to_vec::<f64>().chunks(classes.max(1)).map(of_row).collect()
    }
}

/// A grey or coloured picture as some other program may give it.
pub(crate) fn checked(input: &ImageInput) -> Result<(), String> {
    let c = input.channels;
    if c != 1 && c != 3 {
        return Err(format!("its network takes {c} channels; pictures have 1 or 3"));
    }
    if input.mean.len() != c || input.std.len() != c || input.std.contains(&0.0) {
        return Err(format!("it has no mean and standard deviation for each of {c} channels"));
    }
    let side = 1..=1usize << 13;
    if !side.contains(&input.height) || !side.contains(&input.width) {
        let (h, w) = (input.height, input.width);
        return Err(format!("its network takes pictures of {h}x{w} pixels, which makes no sense"));
    }
    Ok(())
}
