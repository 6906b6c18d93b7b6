//! The engine.
pub mod dev;
