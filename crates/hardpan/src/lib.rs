//! Hardpan: deep learning from the foundations.
pub use hardpan_engine as engine;
