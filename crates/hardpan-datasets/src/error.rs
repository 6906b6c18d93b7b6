//! What can go wrong on the way to a data set.

use std::path::PathBuf;

/// Why a data set cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// No such name, path or address.
    #[error("{name:?} is neither a data set that is known nor a file or folder that exists{}", .similar.is_empty().then(String::new).unwrap_or_else(|| format!("; did you mean {}?", .similar.join(", "))))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names that look alike.
        similar: Vec<&'static str>,
    },
    /// It is not here, and nothing may be downloaded.
    #[error(
        "{name} is not in {}, and downloads are switched off; put its file there, or give the path of a folder that has it", .folder.display()
    )]
    Offline {
        /// The set.
        name: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// It has no address, and is not installed.
    #[error(
        "{name} cannot be downloaded; install it so that it is in {places}, or give the path of a folder that has it"
    )]
    NotInstalled {
        /// The set.
        name: String,
        /// Where it was looked for.
        places: String,
    },
    /// The server cannot be reached, or says no.
    #[error(
        "{url}: {reason}; what has arrived is kept, so that another try goes on from there; or give the path of a copy"
    )]
    Download {
        /// Where from.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The file is not the one that it should be.
    #[error("{}: its {what} is {found}, but {expected} was expected; it was removed", .path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// What was looked at.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The archive is damaged.
    #[error("{}: cannot be unpacked: {reason}", .path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The archive wants to write where it must not.
    #[error("{}: its entry {entry:?} lies outside of the archive, or is a link; nothing was unpacked", .path.display())]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// The entry.
        entry: String,
    },
    /// Reading or writing here failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no place to keep downloads.
    #[error("there is no cache directory; set HARDPAN_DATASETS to a folder")]
    NoCache,
}

/// An error of the system with the path it is about.
pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> DatasetError {
    let path = path.into();
    move |source| DatasetError::Io { path, source }
}
