//! Devices: memory and kernels. A device sees kernel descriptions, never tensors.
//!
//! [`Device`] is the whole seam: allocate, copy in and out, compile a [`Kernel`], launch it. Devices live for ever and are
//! named by a [`DeviceId`]; the CPU is number 0. [`mod@reference`] is the second implementation: it runs every kernel one element
//! at a time, straight from its description, and is the oracle of the tests.

pub mod cpu;
mod derived;
pub mod reference;

pub use derived::Derived;

use crate::dtype::Scalar;
use crate::kernel::Kernel;
use std::any::Any;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, RwLock};

/// Names a device of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct DeviceId(pub(crate) u8);

impl DeviceId {
    /// The CPU.
    pub const CPU: DeviceId = DeviceId(0);
}

/// Why a device could not do something.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// Not enough memory.
    #[error("out of memory on {device}: {bytes} bytes wanted")]
    OutOfMemory {
        /// Its name.
        device: String,
        /// Size of the request.
        bytes: usize,
    },
    /// The device has no such kernel; the planner uses the composite instead where there is one.
    #[error("{0} is not supported on this device")]
    Unsupported(String),
    /// A kernel met data it cannot work on (such as an index out of range).
    #[error("{0}")]
    Data(String),
}

/// A compiled kernel; only the device that made it can read it.
pub trait Program: Send + Sync {
    /// For the device's own downcast.
    fn as_any(&self) -> &dyn Any;
}

/// What a device can do. All memory handles come from this device's `alloc`.
pub trait Device: Send + Sync + 'static {
    /// Short name: `cpu`, `reference`, `cuda:0`.
    fn name(&self) -> String;
    /// Memory for `bytes` (at least 64-byte aligned where that means something); contents undefined.
    fn alloc(&self, bytes: usize) -> Result<usize, DeviceError>;
    /// Gives memory back (to the device's cache).
    fn free(&self, handle: usize, bytes: usize);
    /// Host to device; waits.
    fn upload(&self, dst: &Mem, src: &[u8]);
    /// Device to host; waits for the work before it.
    fn download(&self, src: &Mem, dst: &mut [u8]);
    /// Prepares a kernel. Pure: equal kernels give equal programs.
    fn compile(&self, kernel: &Kernel) -> Result<Arc<dyn Program>, DeviceError>;
    /// Runs a kernel: ordered after all work before it, may be asynchronous. An output may be the same memory as an input
    /// only where the planner knows that every element is read at the index where it is written.
    fn launch(
        &self,
        program: &dyn Program,
        inputs: &[&Mem],
        outputs: &[&Mem],
        args: &[Scalar],
    ) -> Result<(), DeviceError>;
    /// Waits for all work.
    fn sync(&self);
}

static DEVICES: RwLock<Vec<&'static dyn Device>> = RwLock::new(Vec::new());

thread_local! {
    static DEFAULT: Cell<DeviceId> = const { Cell::new(DeviceId::CPU) };
}

fn cpu_device() -> &'static dyn Device {
    static CPU: OnceLock<&'static dyn Device> = OnceLock::new();
    *CPU.get_or_init(|| cpu::device())
}

/// The device of that name.
pub fn device(id: DeviceId) -> &'static dyn Device {
    if id == DeviceId::CPU {
        return cpu_device();
    }
    DEVICES.read().unwrap()[id.0 as usize - 1]
}

/// Adds a device to the process; it is never removed.
pub fn register_device(device: Box<dyn Device>) -> DeviceId {
    let mut all = DEVICES.write().unwrap();
    all.push(Box::leak(device));
    DeviceId(u8::try_from(all.len()).expect("at most 255 devices"))
}

/// Where new tensors of this thread are made.
pub fn default_device() -> DeviceId {
    DEFAULT.with(|d| d.get())
}

/// Runs `f` with new tensors of this thread made on `id`.
pub fn with_device<R>(id: DeviceId, f: impl FnOnce() -> R) -> R {
    struct Guard(DeviceId);
    impl Drop for Guard {
        fn drop(&mut self) {
            DEFAULT.with(|d| d.set(self.0));
        }
    }
    let _guard = Guard(DEFAULT.with(|d| d.replace(id)));
    f()
}

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes held by tensors and intermediate results now, over all devices.
pub fn live_bytes() -> usize {
    LIVE_BYTES.load(Relaxed)
}

/// Largest value of [`live_bytes`] since the start or [`reset_peak_bytes`].
pub fn peak_bytes() -> usize {
    PEAK_BYTES.load(Relaxed)
}

/// Starts the peak anew from what is live.
pub fn reset_peak_bytes() {
    PEAK_BYTES.store(live_bytes(), Relaxed);
}

/// Memory on a device; given back when dropped.
pub struct Mem {
    handle: usize,
    bytes: usize,
    device: DeviceId,
    derived: Derived,
}

impl Mem {
    /// New memory with undefined contents.
    pub fn alloc(id: DeviceId, bytes: usize) -> Result<Mem, DeviceError> {
        let handle = device(id).alloc(bytes)?;
        let live = LIVE_BYTES.fetch_add(bytes, Relaxed) + bytes;
        PEAK_BYTES.fetch_max(live, Relaxed);
        Ok(Mem { handle, bytes, device: id, derived: Derived::default() })
    }
    /// The device's own name of the memory (an address on the CPU).
    pub fn handle(&self) -> usize {
        self.handle
    }
    /// Size as asked for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// Where it is.
    pub fn device(&self) -> DeviceId {
        self.device
    }
    /// What its device keeps beside it. Whoever writes to the memory clears that.
    pub fn derived(&self) -> &Derived {
        &self.derived
    }
}

impl Drop for Mem {
    fn drop(&mut self) {
        LIVE_BYTES.fetch_sub(self.bytes, Relaxed);
        device(self.device).free(self.handle, self.bytes);
    }
}

/// Shared memory of a realised tensor.
#[derive(Clone)]
pub(crate) struct Buffer(pub(crate) Arc<Mem>);

impl Buffer {
    pub(crate) fn device(&self) -> DeviceId {
        self.0.device
    }

    /// New memory on `id` holding `bytes`.
    pub(crate) fn upload(id: DeviceId, bytes: &[u8]) -> Buffer {
        let mem = Mem::alloc(id, bytes.len()).unwrap_or_else(|e| panic!("{e}"));
        device(id).upload(&mem, bytes);
        Buffer(Arc::new(mem))
    }
}
