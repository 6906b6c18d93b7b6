//! The CPU device: threads, memory, the block interpreter, and the kernels for contractions.
//!
//! Kernels run on the calling thread and the [`pool`]; a launch returns when its work is done. Handles are addresses.
pub mod conv;
pub mod gemm;
pub mod isa;
pub(crate) mod limits;
pub mod pool;

mod attention;
mod contract;
mod element;
mod index;
mod jit;
pub(crate) mod lanes;
mod memory;
mod pooling;
mod scan;
mod sort;
#[cfg(test)]
mod tests;
mod vm;

use crate::dev::{Device, DeviceError, Mem, Program};
use crate::dtype::Scalar;
use crate::host::HostArray;
use crate::kernel::{Body, Kernel};
use contract::Contraction;
use isa::Isa;
use memory::Memory;
use smallvec::SmallVec;
use std::any::Any;
use std::sync::Arc;
use std::sync::OnceLock;
use vm::exec::{Buffers, Launch};
use vm::lower::By;

/// The CPU of this process.
pub(crate) fn device() -> &'static dyn Device {
    static CPU: OnceLock<Cpu> = OnceLock::new();
    CPU.get_or_init(Cpu::default)
}

#[derive(Default)]
struct Cpu {
    memory: Memory,
}

/// A kernel prepared for this machine.
struct Compiled {
    isa: Isa,
    body: Body,
    fused: Option<vm::Program>,
    contraction: Option<Contraction>,
    /// Elements of each input buffer.
    lens: Vec<usize>,
}

impl Program for Compiled {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

type Inputs = SmallVec<[*const u8; 8]>;
type Outputs = SmallVec<[*mut u8; 4]>;

impl Device for Cpu {
    fn name(&self) -> String {
        "cpu".into()
    }

    fn alloc(&self, bytes: usize) -> Result<usize, DeviceError> {
        self.memory.alloc(bytes)
    }

    fn free(&self, handle: usize, bytes: usize) {
        self.memory.free(handle, bytes);
    }

    fn upload(&self, dst: &Mem, src: &[u8]) {
        assert!(src.len() <= dst.bytes(), "upload: {} bytes into {}", src.len(), dst.bytes());
        dst.derived().clear();
        // SAFETY: the block holds that many bytes, and no launch is running, since launches are synchronous.
        unsafe {
            std::ptr::copy_nonoverlapping(src.as_ptr(), dst.handle() as *mut u8, src.len());
        }
    }

    fn download(&self, src: &Mem, dst: &mut [u8]) {
        assert!(dst.len() <= src.bytes(), "download: {} bytes from {}", dst.len(), src.bytes());
        // SAFETY: as in `upload`.
        unsafe {
            std::ptr::copy_nonoverlapping(src.handle() as *const u8, dst.as_mut_ptr(), dst.len());
        }
    }

    fn compile(&self, kernel: &Kernel) -> Result<Arc<dyn Program>, DeviceError> {
        Ok(Arc::new(Compiled::new(kernel, isa::isa())))
    }

    fn launch(
        &self,
        program: &dyn Program,
        inputs: &[&Mem],
        outputs: &[&Mem],
        args: &[Scalar],
    ) -> Result<(), DeviceError> {
        let compiled: &Compiled =
            program.as_any().downcast_ref().expect("the program was compiled by this device");
        for written in outputs {
            written.derived().clear();
        }
        let pointers: Inputs = inputs.iter().map(|m| m.handle() as *const u8).collect();
        let outputs: Outputs = outputs.iter().map(|m| m.handle() as *mut u8).collect();
        compiled.run(&self.memory, &pointers, inputs, &outputs, args)
    }

    fn sync(&self) {}
}

impl Compiled {
    fn new(kernel: &Kernel, isa: Isa) -> Compiled {
        let fused = match &kernel.body {
            Body::Fused(f) => Some(vm::lower::lower(f, isa, By::Whole)),
            _ => None,
        };
        let contraction = Contraction::new(kernel, isa);
        let lens = kernel.inputs.iter().map(|(_, n)| *n).collect();
        Compiled { isa, body: kernel.body.clone(), fused, contraction, lens }
    }

    /// `held` is the memory of the inputs, beside which something may be kept; empty where nothing is to be.
    fn run(
        &self,
        memory: &Memory,
        inputs: &[*const u8],
        held: &[&Mem],
        outputs: &[*mut u8],
        args: &[Scalar],
    ) -> Result<(), DeviceError> {
        match &self.body {
            Body::Fused(_) => {
                let program = self.fused.as_ref().expect("lowered at compilation");
                let buffers = Buffers { inputs, outputs, result: std::ptr::null(), args };
                Launch::new(program, buffers).run();
            }
            Body::Dot(..) | Body::Conv(..) => {
                let contraction = self.contraction.as_ref().expect("prepared at compilation");
                contraction.run(memory, inputs, held, outputs, args)?;
            }
            Body::Attention(k) => {
                // SAFETY: buffers as the kernel describes them.
                unsafe { attention::run(self.isa, k, inputs, &self.lens, outputs[0], args) }
            }
            Body::Window(k) => {
                // SAFETY: buffers as the kernel describes them.
                unsafe { pooling::run(self.isa, k, inputs, outputs[0]) }
            }
            Body::Take { rows, inner, count, dtype } => {
                // SAFETY: buffers as the kernel describes them.
                unsafe {
                    let index = indices(inputs[1], *count);
                    index::take(inputs[0], index, outputs[0], *rows, inner * dtype.size())?;
                }
            }
            Body::Scatter { op, rows, inner, count, dtype } => {
                // SAFETY: buffers as the kernel describes them; the base is copied unless it is the output.
                unsafe {
                    let index = indices(inputs[1], *count);
                    if inputs[0] != outputs[0].cast_const() {
                        copy(inputs[0], outputs[0], rows * inner * dtype.size());
                    }
                    let sizes = (*rows, *inner);
                    index::scatter(self.isa, *op, index, inputs[2], outputs[0], sizes, *dtype)?;
                }
            }
            Body::Scan { op, outer, len, inner, dtype } => {
                // SAFETY: buffers as the kernel describes them.
                unsafe { scan::scan(*op, inputs[0], outputs[0], (*outer, *len, *inner), *dtype) }
            }
            Body::ArgSort { descending, outer, len, inner, dtype } => {
                let sizes = (*outer, *len, *inner);
                // SAFETY: buffers as the kernel describes them.
                unsafe {
                    sort::argsort(*descending, inputs[0], outputs[0].cast(), sizes, *dtype);
                }
            }
            Body::Copy { bytes } => {
                // SAFETY: buffers as the kernel describes them.
                unsafe { copy(inputs[0], outputs[0], *bytes) }
            }
            Body::Custom { op, inputs: kinds } => {
                let arrays: Vec<HostArray> = kinds
                    .iter()
                    .zip(inputs)
                    .map(|((dtype, shape), at)| {
                        let len = shape.iter().product::<usize>() * dtype.size();
                        // SAFETY: the buffer holds that many bytes.
                        let bytes = unsafe { std::slice::from_raw_parts(*at, len) }.to_vec();
                        HostArray::from_bytes(*dtype, shape, bytes).expect("sizes agree")
                    })
                    .collect();
                let out = op.run(&arrays);
                // SAFETY: the planner made the output as large as `CustomOp::output` says, which is checked here.
                unsafe {
                    let kinds: Vec<(crate::DType, &[usize])> =
                        kinds.iter().map(|(d, s)| (*d, s.as_slice())).collect();
                    let (dtype, shape) = op.output(&kinds);
                    if out.dtype() != dtype || out.shape() != shape.as_slice() {
                        return Err(DeviceError::Data(format!(
                            "custom op '{}' returned {} {:?}, but CustomOp::output promised {dtype} {shape:?}",
                            op.name(),
                            out.dtype(),
                            out.shape(),
                        )));
                    }
                    copy(out.bytes().as_ptr(), outputs[0], out.bytes().len());
                }
            }
        }
        Ok(())
    }
}

/// # Safety
/// `at` points to `count` i64.
unsafe fn indices<'a>(at: *const u8, count: usize) -> &'a [i64] {
    // SAFETY: as promised; blocks are aligned to 64.
    unsafe { std::slice::from_raw_parts(at.cast(), count) }
}

/// # Safety
/// Both sides hold that many bytes.
unsafe fn copy(src: *const u8, dst: *mut u8, bytes: usize) {
    const PIECE: usize = 1 << 20;
    let (src, dst) = (src as usize, dst as usize);
    pool::parallel_for(bytes.div_ceil(PIECE), |t| {
        let n = PIECE.min(bytes - t * PIECE);
        // SAFETY: each task copies its own piece.
        unsafe {
            std::ptr::copy((src + t * PIECE) as *const u8, (dst + t * PIECE) as *mut u8, n);
        }
    });
}
