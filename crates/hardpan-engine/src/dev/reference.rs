//! The reference device (being built).
