//! From options to a learner that is ready to train.

pub mod digits;
mod images;
pub mod segment;

use crate::args::{Augment, Setup, Size, Task, Valid};
use anyhow::{Context, Result, bail};
use hardpan::learn::file::Header;
use hardpan::prelude::*;
use hardpan::vision::models::{Model, names};
use hardpan::vision::predictor::MaskPredictor;
use hardpan::vision::unet::DynamicUnet;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Classes of digits in the format of MNIST.
    Digits,
    /// Classes of pictures in files.
    Image,
    /// Classes of pixels.
    Segment,
}

impl Kind {
    /// The task's name in the command line's contract.
    pub fn task(self) -> &'static str {
        match self {
            Kind::Digits | Kind::Image => "image",
            Kind::Segment => "segment",
        }
    }
}

/// Everything that decides how a run turns out. It is kept in checkpoints, so that a run can be taken up again. What was left to the
/// data is filled in by [`prepare`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// As it was written.
    pub data: String,
    /// Where that is, if it is no name: the absolute path, so that the data is found from any folder.
    #[serde(default)]
    pub data_at: Option<PathBuf>,
    pub kind: Kind,
    pub arch: Option<String>,
    pub batch_size: Option<usize>,
    pub size: Option<Size>,
    pub seed: u64,
    pub valid: Option<f64>,
    pub valid_folder: Option<PathBuf>,
    pub pretrained: Option<String>,
    pub augment: Option<Augment>,
    pub corrections: Option<PathBuf>,
    /// The column of the classes in a table of pictures.
    #[serde(default)]
    pub target: Option<String>,
    pub strict: bool,
    pub shift: Option<usize>,
    /// The value of a mask's pixels that do not count.
    pub void: Option<i64>,
    pub weight_decay: Option<f64>,
    pub label_smoothing: Option<f64>,
    pub mixup: f64,
    pub bf16: bool,
    /// Number of threads that load; nothing but speed depends on it.
    pub workers: Option<usize>,
}

/// What to do where a model's data is not where it was.
pub const SAY_WHERE: &str = "say where it is now, after the model's file";

impl Settings {
    /// The learner with the weight decay that was asked for, if any was.
    fn decayed<M>(&self, learn: Learner<M>) -> Learner<M>
    where
        M: Module + Forward<Tensor, Output = Tensor>,
    {
        match self.weight_decay {
            Some(wd) => learn.weight_decay(wd),
            None => learn,
        }
    }

    /// Those of the training of a model that finds masks.
    pub fn of_masks(predictor: &MaskPredictor) -> Result<Settings> {
        Settings::deserialize(&predictor.header().provenance.settings)
            .context("the file does not say how its model was trained")
    }

    /// The word that finds the data of the training from here: as it was written, or its absolute path.
    ///
    /// # Errors
    /// If it is not there any more; `give` says what to do about it.
    pub fn training_data(&self, give: &str) -> Result<String> {
        match &self.data_at {
            Some(at) if self.data_is_at(at) => Ok(self.data.clone()),
            Some(at) if at.exists() => Ok(at.display().to_string()),
            Some(at) => bail!(
                "the model was trained on `{}`, which was {} and is not there; {give}",
                self.data,
                at.display()
            ),
            None if crate::data::is_known(&self.data) => Ok(self.data.clone()),
            // Files of earlier versions have the path as it was written alone.
            None => bail!(
                "the model was trained on `{}`, which is not in this folder; {give}",
                self.data
            ),
        }
    }

    /// Whether the data as it was written is at this place, seen from here.
    fn data_is_at(&self, at: &Path) -> bool {
        Path::new(&self.data).canonicalize().is_ok_and(|p| p == at)
    }

    /// Whether `word` means the data of the training.
    pub fn is_training_data(&self, word: &str) -> bool {
        match &self.data_at {
            Some(at) if at.exists() => Path::new(word).canonicalize().is_ok_and(|p| p == *at),
            // Moved along with its folder, perhaps.
            _ => self.data == word,
        }
    }

    /// What was asked for. Looks at the data to see what kind it is.
    pub fn new(setup: &Setup) -> Result<Settings> {
        let (valid, valid_folder) = match setup.valid.clone() {
            Some(Valid::Fraction(f)) => (Some(f), None),
            Some(Valid::Folder(path)) => (None, Some(path)),
            None => (None, None),
        };
        Ok(Settings {
            data: setup.data.clone(),
            data_at: crate::data::place_of(&setup.data),
            kind: kind(setup.task, &setup.data, setup.target.as_deref())?,
            arch: setup.arch.clone(),
            batch_size: setup.bs,
            size: setup.size,
            seed: setup.seed,
            valid,
            valid_folder: valid_folder.map(absolute),
            // A name stays one.
            pretrained: setup.pretrained.clone().map(|word| match Path::new(&word).is_file() {
                true => absolute(word.into()).display().to_string(),
                false => word,
            }),
            augment: setup.augment,
            corrections: setup.corrections.clone().map(absolute),
            target: setup.target.clone(),
            strict: setup.strict,
            shift: setup.shift.map(|s| s as usize),
            void: setup.void.map(i64::from),
            weight_decay: None,
            label_smoothing: None,
            mixup: 0.0,
            bf16: false,
            workers: setup.workers.map(usize::from),
        })
    }
}

/// The path as it is from whatever folder the model is judged, or its training goes on, later.
pub fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// What the data is, as it looks or as was said.
fn kind(task: Task, word: &str, target: Option<&str>) -> Result<Kind> {
    let path = Path::new(word);
    match task {
        Task::Auto | Task::Image if crate::data::is_digits(word) => Ok(Kind::Digits),
        Task::Image => Ok(Kind::Image),
        Task::Segment => Ok(Kind::Segment),
        Task::Auto if path.is_dir() || crate::data::find(word).is_some() => {
            let folder = crate::data::folder_of(word)?;
            Ok(if segment::looks_like(&folder) { Kind::Segment } else { Kind::Image })
        }
        Task::Auto if path.is_file() => {
            let is_table = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
            if is_table && crate::pictures::Columns::of(path, target)?.is_some() {
                return Ok(Kind::Image);
            }
            bail!(
                "{word}: a file; this version trains on pictures: a folder with a folder for each class, or a CSV table with a \
                 column of picture files and one of classes. Other tables and texts come in a later version"
            )
        }
        Task::Auto => Err(crate::data::unknown(word)),
        Task::Tabular | Task::Collab | Task::Lm | Task::TextClass | Task::Seq2seq => bail!(
            "this version trains on pictures only (--task image or segment); tables and texts come in a later one"
        ),
    }
}

/// How long and how fast to train where nothing was said.
#[derive(Clone, Copy, Debug)]
pub struct Suggested {
    pub epochs: usize,
    pub lr: f64,
}

/// A learner with what is to be said about it.
pub struct Ready<M: Module + Forward<Tensor, Output = Tensor>> {
    pub learn: Learner<M>,
    /// All but where the model comes from.
    pub header: Header,
    pub train_items: usize,
    pub valid_items: usize,
    pub suggested: Suggested,
    /// What is best when it is highest.
    pub metric: &'static str,
    /// Remarks about the data.
    pub notes: Vec<String>,
    /// The data, if it is pictures in files.
    pub data: Option<hardpan::vision::data::ImageData>,
}

/// Cross entropy of classes `[N]`; with smoothing in training only.
fn cross_entropy_smoothed(
    label_smoothing: f64,
) -> impl Fn(&Tensor, &Tensor) -> Tensor + Send + 'static {
    move |pred, y| {
        // Validation is done without gradients; there the plain loss is wanted.
        let training = hardpan::engine::is_grad_enabled();
        let label_smoothing = if training { label_smoothing } else { 0.0 };
        let options = functional::CrossEntropyOptions { label_smoothing, ..Default::default() };
        functional::cross_entropy_with(pred, y, options)
    }
}

/// A learner of one kind or the other.
pub enum Prepared {
    Classes(Box<Ready<Model>>),
    Pixels(Box<Ready<DynamicUnet>>),
}

/// Reads the data, fills in what was left to it, and builds the learner. Seeds the random generator.
pub fn prepare(s: &mut Settings) -> Result<Prepared> {
    if let Some(word) = s.pretrained.take() {
        let word = s.pretrained.insert(crate::data::weights_of(&word)?);
        // The name of published weights is their architecture's.
        if s.arch.is_none() && names().contains(&word.as_str()) {
            s.arch = Some(word.clone());
        }
    }
    let on = format!("training on {}", s.data);
    Ok(match s.kind {
        Kind::Digits => Prepared::Classes(Box::new(digits::prepare(s)?)),
        Kind::Image => Prepared::Classes(Box::new(images::prepare(s).context(on)?)),
        Kind::Segment => Prepared::Pixels(Box::new(segment::prepare(s).context(on)?)),
    })
}
