//! Reading data from files. [`idx`] reads the format of the original MNIST files, [`grey`] reads grey pictures
//! from PNG and makes MNIST-like digits of them.
pub mod grey;
pub mod idx;
