//! isa (being built).
