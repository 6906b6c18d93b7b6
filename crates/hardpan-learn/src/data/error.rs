//! What can be wrong with data.

/// Why data could not be made into batches.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// There is nothing to learn from.
    #[error("the data set is empty: there are no items to make batches of")]
    Empty,
    /// The last batch was to be dropped, and it is the only one.
    #[error(
        "no batches: {items} items do not fill one batch of {batch_size}, and drop_last drops what is not full; \
         use a batch size of at most {items}, or keep the last batch"
    )]
    NoBatches {
        /// Number of items.
        items: usize,
        /// Wanted number of items in a batch.
        batch_size: usize,
    },
    /// Inputs and targets are not equally many.
    #[error(
        "{x_rows} inputs but {y_rows} targets (shapes {x} and {y}): each input needs one target"
    )]
    Lengths {
        /// Number of inputs.
        x_rows: usize,
        /// Number of targets.
        y_rows: usize,
        /// Shapes of the inputs.
        x: String,
        /// Shapes of the targets.
        y: String,
    },
    /// A label that is no class.
    #[error(
        "label {label} of item {index} is out of range: there are {classes} classes, so labels go from 0 to {}",
        classes - 1
    )]
    Label {
        /// The item.
        index: usize,
        /// Its label.
        label: i64,
        /// Number of classes.
        classes: usize,
    },
    /// An item could not be read or changed.
    #[error("item {index}: {source}")]
    Item {
        /// The item.
        index: usize,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A loader's worker panicked: a mistake in a transform or in the data set's code.
    #[error("loading batch {batch} panicked: {message}")]
    Panicked {
        /// Number of the batch in its epoch.
        batch: usize,
        /// What the panic said.
        message: String,
    },
    /// Weights of items that cannot be drawn by.
    #[error("weights must be finite, not negative, not all 0, and one for each item: {0}")]
    Weights(String),
    /// A data block, or what it was applied to, is incomplete or does not fit.
    #[error("{0}")]
    Setup(String),
    /// Too short for what is to be made of it.
    #[error("{0}")]
    TooShort(String),
}
