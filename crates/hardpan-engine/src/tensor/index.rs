//! Rows, gathers and scatters.
