//! What can be wrong with a model file.

use hardpan_nn::StateDictError;
use hardpan_nn::optim::OptimizerStateError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a model file could not be read or written. Nothing has been changed or lost then: a file that was to be replaced is
/// as it was, and so is a model that was to be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// There is no such file.
    #[error("{path}: there is no such file", path = path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// No room to write.
    #[error(
        "{path}: no space left on the disk; nothing was lost: a file that was there before is as it was. \
         Free some space, or save elsewhere",
        path = path.display()
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// The system said no.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another kind of file.
    #[error("{path}: not a Hardpan model: {problem}", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is, or lacks.
        problem: String,
    },
    /// The end is missing.
    #[error(
        "{path}: the file is cut short: it has {bytes} bytes and should have {expected}; copy or save it again",
        path = path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// What it should be, at least.
        expected: u64,
    },
    /// Written by a later version of this library.
    #[error(
        "{path}: format version {found}, but this is Hardpan {} and knows versions up to {known}; use a newer Hardpan",
        env!("CARGO_PKG_VERSION"),
        path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest known one.
        known: u32,
    },
    /// Right kind, wrong contents.
    #[error("{path}: damaged: {problem}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Right kind, but without what is asked for.
    #[error("{path}: {problem}", path = path.display())]
    Lacks {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        problem: String,
    },
    /// The model is another one.
    #[error(
        "{path}: this is a file of the model `{found}`, to be loaded into `{expected}`",
        path = path.display()
    )]
    OtherModel {
        /// The file.
        path: PathBuf,
        /// What the file says its model is.
        found: String,
        /// What it was to be loaded into.
        expected: String,
    },
    /// The weights are those of another model.
    #[error("{path}: {source}", path = path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// All differences.
        source: StateDictError,
    },
    /// The optimizer's state is that of another one.
    #[error("{path}: {source}", path = path.display())]
    Optimizer {
        /// The file.
        path: PathBuf,
        /// The difference.
        source: OptimizerStateError,
    },
}

impl FileError {
    /// What the system said about `path`.
    pub fn io(path: impl AsRef<Path>, source: io::Error) -> FileError {
        let path = path.as_ref().to_owned();
        match source.kind() {
            io::ErrorKind::NotFound if !path.exists() && parent_exists(&path) => {
                FileError::NotFound { path }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                FileError::DiskFull { path }
            }
            _ => FileError::Io { path, source },
        }
    }
}

fn parent_exists(path: &Path) -> bool {
    path.parent().is_none_or(|p| p.as_os_str().is_empty() || p.is_dir())
}
