//! conv (being built).
