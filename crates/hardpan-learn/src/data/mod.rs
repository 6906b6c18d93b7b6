//! From items to batches.
//!
//! A [`Dataset`] gives out items as typed batches `(X, Y)`; a [`DataLoader`] says how many at a time and in what order;
//! [`DataLoaders`] are one for training and one for validation. What is in memory is a [`TensorDataset`] of anything that
//! has [`Rows`].
//!
//! Files: [`idx`] reads the format of the original MNIST files, [`grey`] reads grey pictures from PNG and makes MNIST-like digits
//! of them, [`digits`] makes batches of either.
mod dataset;
pub mod digits;
mod error;
pub mod grey;
pub mod idx;
mod loader;
mod rows;

pub use dataset::{Dataset, TensorDataset, language_model};
pub use error::DataError;
pub use loader::{Batches, DataLoader, DataLoaders, permutation};
pub use rows::{Rows, labels};
