//! From items to batches.
//!
//! A [`Dataset`] gives out items as typed batches `(X, Y)`; a [`DataLoader`] says how many at a time and in what order;
//! [`DataLoaders`] are one for training and one for validation. What is in memory is a [`TensorDataset`] of anything that
//! has [`Rows`]; what lies in files is described by a [`DataBlock`](block::DataBlock). Loaders can have
//! [workers](DataLoader::workers); whatever is random draws from a [`Draw`], so their number changes nothing but time.
//!
//! [`table`] reads rows of a CSV file; files of pictures are read by the crate above, `hardpan-vision`.
pub mod block;
mod dataset;
mod draw;
mod error;
mod loader;
mod order;
mod rows;
pub mod table;
mod worker;

pub use dataset::{Batch, Dataset, TensorDataset, language_model};
pub use draw::Draw;
pub use error::DataError;
pub use loader::{Batches, DataLoader, DataLoaders};
pub use order::permutation;
pub use rows::{Rows, labels};
