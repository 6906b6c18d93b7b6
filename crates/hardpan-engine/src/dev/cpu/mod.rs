//! The CPU device: threads, memory, the block interpreter, and the kernels for contractions.
pub mod conv;
pub mod gemm;
pub mod isa;
pub mod pool;

pub(crate) fn device() -> &'static dyn crate::dev::Device {
    unimplemented!()
}
