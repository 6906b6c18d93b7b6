//! What can be wrong with a file of weights.

use std::path::{Path, PathBuf};

/// Why weights could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is of none of the formats that are known here.
    #[error(
        "{}: neither a safetensors file nor one of torch.save ({problem})",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What shows it.
        problem: String,
    },
    /// The file contradicts itself or ends too early.
    #[error("{}: damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
    /// The file asks for a Python function or class that is not needed for weights. Such files can run any code when Python opens them;
    /// here nothing is ever run.
    #[error(
        "{}: it asks for `{module}.{name}`, which weights do not need; nothing was run. If you trust the file, \
         save only its weights: torch.save(model.state_dict(), path)",
        path.display()
    )]
    Forbidden {
        /// The file.
        path: PathBuf,
        /// The Python module.
        module: String,
        /// The function or class in it.
        name: String,
    },
    /// A sound file with contents that have no counterpart here.
    #[error("{}: not supported: {problem}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What they are.
        problem: String,
    },
    /// Neither a file nor a name in the cache.
    #[error("no weights `{word}`: there is no such file, nor one of that name in {}", cache.display())]
    NotFound {
        /// What was asked for.
        word: String,
        /// Where names were looked for.
        cache: PathBuf,
    },
    /// No weight of the file fits the model.
    #[error("{}: none of its {given} tensors fit the model, whose names begin with {expected}; the file's with {found}: they are of another architecture", path.display())]
    NothingFits {
        /// The file.
        path: PathBuf,
        /// Number of tensors in it.
        given: usize,
        /// Some names of the model.
        expected: String,
        /// Some names of the file.
        found: String,
    },
}

/// What a reader found wrong, before it is known of which file.
#[derive(Debug, PartialEq)]
pub(super) enum Problem {
    Foreign(String),
    Damaged(String),
    Forbidden(String, String),
    Unsupported(String),
}

impl Problem {
    pub fn at(self, path: &Path) -> WeightsError {
        let path = path.to_owned();
        match self {
            Problem::Foreign(problem) => WeightsError::Foreign { path, problem },
            Problem::Damaged(problem) => WeightsError::Damaged { path, problem },
            Problem::Unsupported(problem) => WeightsError::Unsupported { path, problem },
            Problem::Forbidden(module, name) => WeightsError::Forbidden { path, module, name },
        }
    }
}
