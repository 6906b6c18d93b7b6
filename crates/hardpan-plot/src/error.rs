//! What can go wrong with a figure.

use std::path::PathBuf;

/// Why a figure could not be drawn or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// More pixels than can be drawn.
    #[error(
        "a figure of {width} x {height} pixels is too large to draw; fewer panels or cells would fit"
    )]
    TooLarge {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The encoder failed.
    #[error("cannot encode a PNG: {0}")]
    Png(#[from] png::EncodingError),
    /// A file of a kind that is not written.
    #[error("{}: cannot tell what kind of picture to write; use .svg, .png or .txt", path.display())]
    Ending {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
