//! Tensors in files: numpy's `.npy` ([`Tensor::save_npy`]) and `.safetensors` ([`save_safetensors`]).
//!
//! Files are written beside their final name and then renamed, so that what was there before stays whole when writing fails. Readers
//! trust nothing: sizes are checked against the length of the file before memory is taken, and every refusal names the
//! file and says what is wrong with it.
//!
//! [`Tensor::save_npy`]: crate::Tensor::save_npy

pub mod npy;
pub mod safetensors;

pub use safetensors::{Archive, load_safetensors, save_safetensors};

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why bytes could not be read as a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes are something else.
    #[error("not a {format} file: {reason}")]
    Foreign {
        /// `npy` or `safetensors`.
        format: &'static str,
        /// What shows it.
        reason: String,
    },
    /// The format is right, but the contents contradict themselves or end too early.
    #[error("damaged {format} file: {reason}")]
    Damaged {
        /// `npy` or `safetensors`.
        format: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// A sound file with contents that have no counterpart here.
    #[error("{format} file with contents that are not supported: {reason}")]
    Unsupported {
        /// `npy` or `safetensors`.
        format: &'static str,
        /// What they are.
        reason: String,
    },
}

/// Why a file of tensors could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system could not read it.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system could not write it; what was there before is untouched.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// What is in it cannot be read.
    #[error("{path}: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The given names cannot be stored.
    #[error("cannot write {path}: {reason}")]
    Names {
        /// The file.
        path: PathBuf,
        /// Which and why.
        reason: String,
    },
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError::Read { path: path.to_path_buf(), source })
}

/// Calls `write` with a file beside `path`, which takes that name when all went well.
fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let fail = |source| FileError::Write { path: path.to_path_buf(), source };
    let name = path.file_name().ok_or_else(|| {
        fail(io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a file name"))
    })?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{}.part", std::process::id(), COUNT.fetch_add(1, Relaxed)));
    let temporary = path.with_file_name(temporary);
    let attempt = || -> io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create_new(&temporary)?);
        write(&mut file)?;
        file.into_inner().map_err(|e| e.into_error())?.sync_all()?;
        fs::rename(&temporary, path)
    };
    attempt().map_err(|e| {
        let _ = fs::remove_file(&temporary);
        fail(e)
    })
}

/// Truth values are 0 or 1 in memory; files may hold any byte.
fn clean_bools(bytes: &mut [u8]) {
    for b in bytes {
        *b = u8::from(*b != 0);
    }
}
