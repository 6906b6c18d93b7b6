//! What can be wrong with an image file.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where the bytes of an image came from, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// Bytes in memory.
    Memory,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Memory => f.write_str("image in memory"),
        }
    }
}

/// Why an image could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Opening, reading or writing the file failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The bytes are no image of a kind that is known.
    #[error("{origin}: not an image that can be read: {reason}")]
    Unknown {
        /// Where the bytes came from.
        origin: Origin,
        /// What was found instead.
        reason: String,
    },
    /// The bytes begin as an image but are damaged or cut short.
    #[error("{origin}: damaged {format} image: {reason}")]
    Damaged {
        /// Where the bytes came from.
        origin: Origin,
        /// The kind of image.
        format: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// More pixels than will be read.
    #[error(
        "{origin}: the image claims {width}x{height} pixels; at most {limit} in all are read (a few bytes can claim \
         gigabytes); scale it down first"
    )]
    TooLarge {
        /// Where the bytes came from.
        origin: Origin,
        /// Pixels in a row.
        width: u64,
        /// Rows.
        height: u64,
        /// The most that is allowed.
        limit: u64,
    },
}

impl ImageError {
    /// The same error with the file it happened in.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<PathBuf>) -> ImageError {
        match &mut self {
            ImageError::Unknown { origin, .. }
            | ImageError::Damaged { origin, .. }
            | ImageError::TooLarge { origin, .. } => *origin = Origin::File(file.into()),
            ImageError::Io { .. } => {}
        }
        self
    }
}
