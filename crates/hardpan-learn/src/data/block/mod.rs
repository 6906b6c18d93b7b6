//! From files (or any items) to loaders: the [`DataBlock`] answers the questions that every data set asks.
//!
//! *What are inputs and targets?* two [`Block`]s. *Where are the items?* `get_items`. *What of an item is the input, what the
//! target?* `get_x`, `get_y`, for which there are [labellers](parent_label). *Which are to judge by?* a [`Splitter`].
//! *What is done to each item, what to each batch?* transforms. [`DataBlock::summary`] tells what happens to one item, step by
//! step, and is the tool to find out why something does not work. Counterpart: fastai's `data.block` and `data.transforms`.
//!
//! ```
//! use hardpan_learn::data::block::{Block, CategoryBlock, DataBlock, RandomSplitter, RegressionBlock};
//!
//! // Tell numbers above 5 from the others.
//! let block = DataBlock::new(RegressionBlock::new(), CategoryBlock::new())
//!     .get_x(|i: &i32| Ok(vec![*i as f32]))
//!     .get_y(|i| Ok(if *i > 5 { "large" } else { "small" }.to_owned()))
//!     .splitter(RandomSplitter::new(0.2, 42));
//! let data = block.datasets_of((0..20).collect())?;
//! assert_eq!(data.y().vocab(), ["large", "small"]);
//! let loaders = data.loaders(4)?;
//! let (x, y) = loaders.train.one_batch()?;
//! assert_eq!((x.shape(), y.shape()), (&[4, 1][..], &[4][..]));
//! # Ok::<(), hardpan_learn::data::DataError>(())
//! ```

mod blocks;
mod build;
mod figure;
mod files;
mod items;
mod label;
mod show;
mod split;
mod summary;
mod transform;

pub use blocks::{
    Block, Category, CategoryBlock, MultiCategory, MultiCategoryBlock, RegressionBlock, Values,
};
pub use build::{DataBlock, Datasets, OnError};
pub use files::{Descent, files_in, image_extensions, image_files, text_files};
pub use items::{BadItem, ItemDataset, StepError};
pub use label::{RegexLabeller, column, columns, parent_label};
pub use show::{Mark, Shown};
pub use split::{
    ColumnSplitter, EndSplitter, FileSplitter, FunctionSplitter, GrandparentSplitter,
    IndexSplitter, MaskSplitter, RandomSplitter, RandomSubsetSplitter, Split, Splitter,
    StratifiedSplitter,
};
pub use transform::{BatchTransform, ItemTransform, batch_transform, item_transform};

/// Any error of the user's own functions.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
