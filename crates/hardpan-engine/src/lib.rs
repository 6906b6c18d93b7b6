//! The engine.
pub mod dev;
pub mod dtype;
pub mod host;
pub mod kernel;
pub mod op;
pub mod philox;
pub mod scalar;
pub mod shape;
pub mod special;

pub use dtype::{DType, Element, Lane, Scalar};
pub use host::HostArray;
/// Placeholder.
pub struct Tensor;
