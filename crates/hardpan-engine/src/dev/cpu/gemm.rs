//! gemm (being built).
