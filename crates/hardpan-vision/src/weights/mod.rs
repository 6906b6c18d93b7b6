//! Weights that were trained elsewhere: `.safetensors`, PyTorch's `.pth` and `.pt`, and this library's own files.
//!
//! [`read`] gives the tensors by name; [`load_into`] puts those that fit into a model and reports the rest. PyTorch's files are
//! pickles, which are programs: the reader here knows the dozen functions that weights need, makes data of them, and refuses the rest
//! ([`WeightsError::Forbidden`]). No code runs.
//!
//! ```no_run
//! use hardpan_vision::models::{ModelOptions, create};
//! use hardpan_vision::weights;
//! let model = create("resnet18", &ModelOptions { channels: 1, ..Default::default() })?;
//! let report = weights::load_file(&model, "resnet18.pth")?; // the first layer is adapted to one channel
//! println!("{report}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod fit;
mod global;
mod pickle;
mod torch;

pub use error::WeightsError;
pub use fit::{Mismatch, Report, load_into};

use error::Problem;
use hardpan_engine::Tensor;
use hardpan_nn::{Module, StateDict};
use std::path::{Path, PathBuf};

/// The tensors of a file by name. The format is told from its first bytes.
///
/// # Errors
/// See [`WeightsError`].
pub fn read(path: impl AsRef<Path>) -> Result<StateDict, WeightsError> {
    let path = path.as_ref();
    let bytes = std::fs::read(path)
        .map_err(|source| WeightsError::Read { path: path.to_owned(), source })?;
    from_bytes(&bytes, path)
}

/// The tensors in the contents of a file; `path` is for messages.
///
/// # Errors
/// As for [`read`].
pub fn from_bytes(bytes: &[u8], path: impl AsRef<Path>) -> Result<StateDict, WeightsError> {
    decode(bytes).map_err(|problem| problem.at(path.as_ref()))
}

fn decode(bytes: &[u8]) -> Result<StateDict, Problem> {
    if bytes.starts_with(b"PK\x03\x04") {
        return torch::read_zip(bytes);
    }
    if bytes.starts_with(torch::LEGACY) {
        return torch::read_legacy(bytes);
    }
    if bytes.get(8) == Some(&b'{') {
        let (arrays, _) = hardpan_engine::io::safetensors::decode(bytes)
            .map_err(|e| Problem::Damaged(e.to_string()))?;
        // Those of an interrupted training have other things beside the weights.
        let weights = arrays.iter().filter(|(n, _)| !n.contains('/'));
        return Ok(weights.map(|(n, a)| (n.clone(), Tensor::from_host(a))).collect());
    }
    Err(Problem::Foreign(match bytes {
        [] => "the file is empty".into(),
        [0x80, ..] => "a pickle, but not one of torch.save".into(),
        _ => "its first bytes are of another format".into(),
    }))
}

/// Reads a file and puts what fits into `model`: [`read`] and [`load_into`].
///
/// # Errors
/// If the file cannot be read, or nothing in it fits.
pub fn load_file(model: &dyn Module, path: impl AsRef<Path>) -> Result<Report, WeightsError> {
    let path = path.as_ref();
    let weights = read(path)?;
    let report = load_into(model, &weights);
    if report.loaded.is_empty() {
        let some = |names: Vec<&str>| names.into_iter().take(3).collect::<Vec<_>>().join(", ");
        return Err(WeightsError::NothingFits {
            path: path.to_owned(),
            given: weights.len(),
            expected: some(model.state_dict().keys().collect()),
            found: some(weights.keys().collect()),
        });
    }
    Ok(report)
}

/// The folder in which weights are looked for by name: `hardpan/weights` in the user's cache directory (`HARDPAN_CACHE` or
/// `XDG_CACHE_HOME` may say where that is).
pub fn cache_dir() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = from("HARDPAN_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|p| p.join("hardpan")))
        .or_else(|| from("HOME").map(|p| p.join(".cache/hardpan")))
        .unwrap_or_else(|| PathBuf::from(".hardpan"));
    base.join("weights")
}

/// The file that `word` means: a path, or a name in [`cache_dir`] with the ending `.safetensors`, `.pth`, `.pt` or `.hardpan`.
///
/// # Errors
/// If there is neither.
pub fn find(word: &str) -> Result<PathBuf, WeightsError> {
    let path = PathBuf::from(word);
    if path.is_file() {
        return Ok(path);
    }
    let cache = cache_dir();
    let plain = !word.is_empty() && !word.contains(['/', '\\']) && !word.starts_with('.');
    let endings = ["", ".safetensors", ".pth", ".pt", ".hardpan"];
    let found = endings.iter().map(|e| cache.join(format!("{word}{e}"))).find(|p| p.is_file());
    match found.filter(|_| plain) {
        Some(path) => Ok(path),
        None => Err(WeightsError::NotFound { word: word.to_owned(), cache }),
    }
}
