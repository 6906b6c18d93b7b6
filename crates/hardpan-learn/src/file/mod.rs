//! The model file, `.hardpan`: a safetensors file with a JSON header, no code inside.
//!
//! Any safetensors reader can read the weights: they have the names of [`Module::state_dict`]. The header, under the key `hardpan` of
//! the file's metadata, has the version of the format, what is needed to rebuild the model and to use it (architecture, classes,
//! input), and where it comes from. A file from which a training can go on also has what the optimizer remembers (tensors whose
//! names begin with `optimizer/`), gradients that were being accumulated (`gradient/`), what callbacks keep (`callback/`), losses and
//! rates of each batch (`history/`), what the model carries from batch to batch (`carried/`) and the position of the run.
//!
//! ```
//! use hardpan_learn::file::{Header, ModelFile};
//! # let model = hardpan_nn::Linear::new(4, 2);
//! # use hardpan_nn::Module;
//! # let dir = tempfile::tempdir()?;
//! let path = dir.path().join("pets.hardpan");
//! let header = Header { classes: vec!["cat".into(), "dog".into()], ..Header::default() };
//! ModelFile::new(header, &model.state_dict()).write(&path)?;
//! let file = ModelFile::read(&path)?;
//! file.load_into(&model)?;
//! assert_eq!(file.header.classes, ["cat", "dog"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod atomic;
mod error;

pub use atomic::write_atomic;
pub use error::FileError;

use crate::learner::{EpochRecord, History};
use hardpan_engine::{DType, HostArray, Tensor};
use hardpan_nn::optim::Optimizer;
use hardpan_nn::{Module, StateDict};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The version of the format that this library writes, and the newest it can read.
///
/// ```
/// use hardpan_learn::file::{FORMAT_VERSION, FileError, ModelFile};
/// # let text = format!(r#"{{"version": {}}}"#, FORMAT_VERSION + 1);
/// # let header = serde_json::json!({"__metadata__": {"hardpan": text}}).to_string();
/// # let mut newer = (header.len() as u64).to_le_bytes().to_vec();
/// # newer.extend(header.as_bytes());
/// // The bytes of a file that a later version of the library has written.
/// let e = ModelFile::from_bytes(&newer, "model.hardpan").unwrap_err();
/// assert!(matches!(e, FileError::Newer { known: FORMAT_VERSION, .. }), "{e}");
/// ```
pub const FORMAT_VERSION: u32 = 1;

/// The key of the safetensors metadata that holds the header.
const KEY: &str = "hardpan";
const OPTIMIZER: &str = "optimizer/";
const GRADIENT: &str = "gradient/";
const CALLBACK: &str = "callback/";
const HISTORY: &str = "history/";
const CARRIED: &str = "carried/";

/// What a model file says about its model. Everything may be absent.
///
/// ```
/// use hardpan_learn::file::{Arch, Header};
/// let header = Header {
///     arch: Some(Arch { name: "mine".into(), config: serde_json::json!({"width": 64}) }),
///     classes: vec!["cat".into(), "dog".into()],
///     ..Header::default()
/// };
/// let text = serde_json::to_string(&header)?;
/// assert_eq!(serde_json::from_str::<Header>(&text)?, header);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    /// How to build the model that the weights fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// The type of the model, where it was exported by a learner: weights are loaded into no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The names of the outputs, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// What the model takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<ImageInput>,
    /// How raw data becomes what the model takes, in the terms of the crate that wrote it.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub pipeline: Value,
    /// Where the model comes from.
    pub provenance: Provenance,
}

/// An architecture by name, with its settings.
///
/// ```
/// use hardpan_learn::file::Arch;
/// let arch = Arch { name: "mlp".into(), config: serde_json::json!({"hidden": 50}) };
/// assert_eq!(serde_json::to_string(&arch)?, r#"{"name":"mlp","config":{"hidden":50}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Arch {
    /// Its name.
    pub name: String,
    /// Its settings.
    #[serde(default)]
    pub config: Value,
}

/// Images as a model takes them: `[N, channels, height, width]`, each channel on the scale 0 to 1, minus its mean, divided by its
/// standard deviation.
///
/// ```
/// use hardpan_learn::file::{Header, ImageInput};
/// let input = ImageInput { channels: 1, height: 28, width: 28, mean: vec![0.1307], std: vec![0.3081] };
/// let header = Header { input: Some(input), ..Header::default() };
/// assert!(serde_json::to_string(&header)?.contains(r#""width":28"#));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageInput {
    /// Number of channels.
    pub channels: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Mean of each channel.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel.
    pub std: Vec<f64>,
}

/// Where a model comes from.
///
/// ```
/// use hardpan_learn::file::{Header, Provenance};
/// let provenance = Provenance {
///     data: Some("pets".into()),
///     seed: Some(42),
///     metrics: [("accuracy".to_owned(), 0.93)].into(),
///     ..Provenance::default()
/// };
/// let text = serde_json::to_string(&Header { provenance, ..Header::default() })?;
/// assert_eq!(serde_json::from_str::<Header>(&text)?.provenance.metrics["accuracy"], 0.93);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// Version of this library that wrote the file.
    pub library: String,
    /// The data it was trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Epochs trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Other settings of the training.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub settings: Value,
    /// What was measured after training: `valid_loss`, `accuracy`, ...
    pub metrics: BTreeMap<String, f64>,
    /// The course of the training, epoch by epoch; times may be left out (0), so that the same seed gives the same file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub epochs_seen: Vec<EpochRecord>,
}

/// The position of an interrupted run.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::Checkpoint;
/// use hardpan_learn::file::ModelFile;
/// use hardpan_learn::learner::Learner;
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("run.hardpan");
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(Checkpoint::new(&path))
///     .silent();
/// learn.fit(2, 0.1)?;
/// let training = ModelFile::read(&path)?.training.unwrap();
/// assert_eq!((training.epochs, training.batches_per_epoch), (2, 4));
/// assert_eq!(training.history.epochs.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Batches of it that are over.
    pub batches: usize,
    /// Number of epochs of the fit.
    pub epochs: usize,
    /// Which fit of several that belong together, as those of `fine_tune`.
    #[serde(default)]
    pub stage: usize,
    /// Batches in an epoch: the data must be the same.
    pub batches_per_epoch: usize,
    /// State of the random generator.
    pub rng: (u64, u64),
    /// What happened so far.
    pub history: History,
    /// State of each callback that has one, by name.
    pub callbacks: Vec<(String, Value)>,
    /// What the program wants to find again.
    #[serde(default)]
    pub user: Value,
}

/// The JSON in the file.
#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(flatten)]
    header: Header,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    training: Option<Training>,
}

/// Only the version: what else there is may have another form in a later one.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The contents of a model file.
///
/// ```
/// use hardpan_learn::file::{Header, ModelFile};
/// use hardpan_nn::{Linear, Module};
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("model.hardpan");
/// let model = Linear::new(4, 2);
/// let header = Header { classes: vec!["cat".into(), "dog".into()], ..Header::default() };
/// ModelFile::new(header, &model.state_dict()).write(&path)?;
///
/// let file = ModelFile::read(&path)?;
/// assert_eq!(file.header.classes, ["cat", "dog"]);
/// let other = Linear::new(4, 2);
/// file.load_into(&other)?;
/// assert_eq!(other.weight.value().to_vec::<f32>(), model.weight.value().to_vec::<f32>());
/// assert!(file.load_into(&Linear::new(5, 2)).is_err()); // another shape
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// What it says about the model.
    pub header: Header,
    /// The values of parameters and buffers by name.
    pub weights: StateDict,
    /// Where to go on, if the training was not over.
    pub training: Option<Training>,
    /// What the optimizer remembers, if the training was not over.
    pub optimizer: StateDict,
    /// Gradients that were being accumulated, by parameter, if the training was not over.
    pub gradients: StateDict,
    /// Tensors that callbacks keep, by callback, if the training was not over.
    pub callbacks: StateDict,
    /// Losses and rates of each batch, if the training was not over.
    pub history: StateDict,
    /// What the model carries from batch to batch, if the training was not over.
    pub carried: StateDict,
    path: PathBuf,
}

impl ModelFile {
    /// A file of a finished model.
    pub fn new(header: Header, weights: &StateDict) -> ModelFile {
        ModelFile {
            header,
            weights: weights.clone(),
            training: None,
            optimizer: StateDict::new(),
            gradients: StateDict::new(),
            callbacks: StateDict::new(),
            history: StateDict::new(),
            carried: StateDict::new(),
            path: PathBuf::new(),
        }
    }

    /// Writes the file, whole or not at all. The version of this library is put in.
    ///
    /// # Errors
    /// If it cannot be written; a file that is there stays as it is then.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        let path = path.as_ref();
        let bytes = self.to_bytes(path)?;
        write_atomic(path, |f| f.write_all(&bytes))
    }

    fn to_bytes(&self, path: &Path) -> Result<Vec<u8>, FileError> {
        let damaged = |problem: String| FileError::Damaged { path: path.to_owned(), problem };
        let mut header = self.header.clone();
        header.provenance.library = env!("CARGO_PKG_VERSION").to_owned();
        let document =
            Document { version: FORMAT_VERSION, header, training: self.training.clone() };
        let text = serde_json::to_string(&document).map_err(|e| damaged(e.to_string()))?;
        let weights = self.weights.iter().map(|(n, t)| (n.to_owned(), t.to_host()));
        let prefixed = |prefix: &'static str, state: &StateDict| -> Vec<(String, HostArray)> {
            state.iter().map(|(n, t)| (format!("{prefix}{n}"), t.to_host())).collect()
        };
        let arrays: Vec<(String, HostArray)> = weights
            .chain(prefixed(OPTIMIZER, &self.optimizer))
            .chain(prefixed(GRADIENT, &self.gradients))
            .chain(prefixed(CALLBACK, &self.callbacks))
            .chain(prefixed(HISTORY, &self.history))
            .chain(prefixed(CARRIED, &self.carried))
            .collect();
        let views = arrays
            .iter()
            .map(|(name, a)| {
                let view = TensorView::new(dtype(a.dtype()), a.shape().to_vec(), a.bytes());
                view.map(|v| (name.as_str(), v)).map_err(|e| damaged(format!("{name}: {e}")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        // One key only: a map of several would be written in no fixed order.
        let metadata = HashMap::from([(KEY.to_owned(), text)]);
        serialize(views, Some(metadata)).map_err(|e| damaged(e.to_string()))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If there is none, it is another kind of file, cut short, damaged, or of a later version.
    pub fn read(path: impl AsRef<Path>) -> Result<ModelFile, FileError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| FileError::io(path, e))?;
        ModelFile::from_bytes(&bytes, path)
    }

    /// Reads the contents of a file; `path` is for messages.
    ///
    /// # Errors
    /// As for [`read`](ModelFile::read).
    pub fn from_bytes(bytes: &[u8], path: impl AsRef<Path>) -> Result<ModelFile, FileError> {
        let path = path.as_ref().to_owned();
        let text = header_text(bytes, &path)?;
        let damaged = |problem: String| FileError::Damaged { path: path.clone(), problem };
        let json = |e: serde_json::Error| damaged(format!("its header: {e}"));
        let Versioned { version: found } = serde_json::from_str(&text).map_err(json)?;
        if found > FORMAT_VERSION {
            return Err(FileError::Newer { path, found, known: FORMAT_VERSION });
        }
        let document: Document = serde_json::from_str(&text).map_err(json)?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(e.to_string()))?;
        // By the prefix of the names; what has none are the weights.
        let prefixes = [OPTIMIZER, GRADIENT, CALLBACK, HISTORY, CARRIED];
        let mut parts: [StateDict; 6] = Default::default();
        let mut views = file.tensors();
        views.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, view) in views {
            let Some(dtype) = known_dtype(view.dtype()) else {
                return Err(damaged(format!("{name} has the element type {:?}", view.dtype())));
            };
            let array = HostArray::from_bytes(dtype, view.shape(), view.data().to_vec());
            let array = array.ok_or_else(|| damaged(format!("{name} has a wrong size")))?;
            let value = Tensor::from_host(&array);
            let prefix = prefixes.iter().position(|p| name.starts_with(p));
            let name = name.strip_prefix(prefix.map_or("", |i| prefixes[i])).unwrap_or(&name);
            parts[prefix.unwrap_or(prefixes.len())].insert(name, value);
        }
        let [optimizer, gradients, callbacks, history, carried, weights] = parts;
        let Document { header, training, .. } = document;
        Ok(ModelFile {
            header,
            weights,
            training,
            optimizer,
            gradients,
            callbacks,
            history,
            carried,
            path,
        })
    }

    /// Whether the model is of the type that the file names; also if it names none.
    ///
    /// # Errors
    /// If it is another.
    pub fn check_model(&self, model: &impl Module) -> Result<(), FileError> {
        match &self.header.model {
            Some(found) if found != model.type_name() => Err(FileError::OtherModel {
                path: self.path.clone(),
                found: found.clone(),
                expected: model.type_name().to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Sets the model's weights to those of the file. All or nothing.
    ///
    /// # Errors
    /// If names or shapes differ.
    pub fn load_into(&self, model: &impl Module) -> Result<(), FileError> {
        match model.load_state_dict(&self.weights, true) {
            Ok(_) => Ok(()),
            Err(source) => Err(FileError::Weights { path: self.path.clone(), source }),
        }
    }

    /// Sets what the optimizer remembers, and its hyperparameters, to what the file has. All or nothing.
    ///
    /// # Errors
    /// If the file has nothing of an optimizer, or of one with other parameters.
    pub fn load_optimizer(&self, opt: &mut Optimizer) -> Result<(), FileError> {
        if self.optimizer.is_empty() {
            let problem = "it has weights only; save it with what the optimizer remembers \
                           (save_with_opt, or SaveModel::with_opt)";
            return Err(FileError::Lacks { path: self.path.clone(), problem: problem.into() });
        }
        let loaded = opt.load_state_dict(&self.optimizer);
        loaded.map_err(|source| FileError::Optimizer { path: self.path.clone(), source })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The header of a safetensors file whose size is right: it is checked here, before anything else, to tell a file that
/// is cut short from one that is something else.
fn header_text(bytes: &[u8], path: &Path) -> Result<String, FileError> {
    let path = path.to_owned();
    let foreign = |path, problem: &str| Err(FileError::Foreign { path, problem: problem.into() });
    if bytes.is_empty() {
        return foreign(path, "the file is empty");
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return foreign(
            path,
            "it is a zip archive, as torch.save writes; convert it to safetensors first",
        );
    }
    if bytes.starts_with(b"\x89PNG") {
        return foreign(path, "it is a PNG picture");
    }
    let have = bytes.len() as u64;
    // safetensors: the length of the JSON in 8 bytes, the JSON, the data. Its own limit for the JSON is 100 MB.
    let length = bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b));
    let opens = bytes.get(8).is_none_or(|b| *b == b'{');
    let Some(length) = length.filter(|n| *n <= 100_000_000 && opens) else {
        return foreign(path, "it is not a safetensors file");
    };
    if have < 8 + length {
        return Err(FileError::Truncated { path, bytes: have, expected: 8 + length });
    }
    #[derive(Deserialize)]
    struct Entry {
        data_offsets: (u64, u64),
    }
    let json: HashMap<String, Value> = match serde_json::from_slice(&bytes[8..8 + length as usize])
    {
        Ok(json) => json,
        Err(_) => return foreign(path, "it is not a safetensors file"),
    };
    let end = json
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .filter_map(|(_, v)| Entry::deserialize(v).ok())
        .map(|e| e.data_offsets.1)
        .max()
        .unwrap_or(0);
    let expected = end.saturating_add(8 + length);
    if have < expected {
        return Err(FileError::Truncated { path, bytes: have, expected });
    }
    match json.get("__metadata__").and_then(|m| m.get(KEY)).and_then(Value::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => foreign(
            path,
            "it is a safetensors file of another program: it has weights, but says nothing about their model",
        ),
    }
}

fn dtype(d: DType) -> Dtype {
    match d {
        DType::Bool => Dtype::BOOL,
        DType::U8 => Dtype::U8,
        DType::I8 => Dtype::I8,
        DType::I16 => Dtype::I16,
        DType::I32 => Dtype::I32,
        DType::I64 => Dtype::I64,
        DType::U32 => Dtype::U32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
    }
}

fn known_dtype(d: Dtype) -> Option<DType> {
    DType::ALL.into_iter().find(|known| dtype(*known) == d)
}
