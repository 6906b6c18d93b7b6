//! Devices.
pub mod cpu;
