//! The public face of [`Tensor`]: one file per family of operations.
//!
//! - `create`: from data, constants, ranges, random numbers; `read`: back to the host
//! - `math`: operators and elementwise functions; `reduce`: sums and the like; `movement`: views
//! - `contract`: matrix products and convolutions; `index`: rows, gathers, scatters, slices that are replaced
//! - `elementwise`, `round`, `compare`, `bits`, `specials`: functions of elements composed of the primitive ones
//! - `fold`, `extrema`, `stats`, `norms`, `scan`, `difference`: folds and running folds; `sort`, `distinct`: order
//! - `products`, `linalg`: what rests on matrix products, and factorizations; `sequence`, `windows`: more ways to create
//! - `arguments`: what methods accept; `primitive`: the nodes themselves

pub mod arguments;
pub mod arrange;
pub mod bits;
pub mod compare;
pub mod contract;
pub mod create;
pub mod diagonal;
pub mod difference;
pub mod distinct;
pub mod einops;
pub mod einsum;
pub mod elementwise;
pub mod extrema;
mod fmt;
pub mod fold;
pub mod grid;
pub mod index;
pub mod linalg;
pub mod math;
pub mod movement;
pub mod norms;
pub(crate) mod primitive;
pub mod products;
pub mod read;
pub mod reduce;
pub mod round;
pub mod sample;
pub mod scan;
pub mod sequence;
pub mod sort;
pub mod specials;
pub mod split;
pub mod stats;
pub mod windows;

use crate::dev::DeviceId;
use crate::dtype::DType;
use crate::node::{GradCell, Hook, Tensor};
use std::panic::Location;
use std::sync::Arc;

impl Tensor {
    /// Sizes by dimension.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }
    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.shape.len()
    }
    /// Size of one dimension; negative counts from the end.
    #[track_caller]
    pub fn size(&self, dim: isize) -> usize {
        self.0.shape[crate::shape::axis_of("size", dim, self.rank())]
    }
    /// The element type.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }
    /// Where the values are.
    pub fn device(&self) -> DeviceId {
        self.0.device
    }
    /// True when gradients flow to or through this tensor.
    pub fn is_requires_grad(&self) -> bool {
        self.0.requires_grad
    }

    /// A new leaf with the same values that collects a gradient in [`Tensor::grad`] when `backward` runs above it.
    ///
    /// Counterpart: `Tensor.requires_grad_()` (a new handle here, since tensors never change).
    ///
    /// # Panics
    /// When the dtype is not a float.
    #[track_caller]
    pub fn requires_grad(&self) -> Tensor {
        self.leaf(Some(GradCell::new()), Location::caller())
    }

    /// A leaf like [`Tensor::requires_grad`] that collects into an existing cell.
    #[track_caller]
    pub fn requires_grad_into(&self, cell: &GradCell) -> Tensor {
        self.leaf(Some(cell.clone()), Location::caller())
    }

    /// The same values without history: no gradient flows through. Counterpart: `Tensor.detach`.
    #[track_caller]
    pub fn detach(&self) -> Tensor {
        if !self.0.requires_grad {
            return self.clone();
        }
        self.leaf(None, Location::caller())
    }

    /// The gradient collected by this leaf; `None` before `backward` or for tensors that are not leaves.
    pub fn grad(&self) -> Option<Tensor> {
        self.0.extra.get().and_then(|e| e.grad.as_ref()).and_then(|c| c.get())
    }

    /// The cell `backward` adds this leaf's gradient to.
    pub fn grad_cell(&self) -> Option<GradCell> {
        self.0.extra.get().and_then(|e| e.grad.clone())
    }

    /// Clears the gradient of this leaf.
    pub fn zero_grad(&self) {
        if let Some(cell) = self.grad_cell() {
            cell.set(None);
        }
    }

    /// Calls `hook` with the gradient of this tensor when `backward` reaches it; what it returns replaces the gradient.
    ///
    /// Returns a number for [`Tensor::remove_hook`]. Counterpart: `Tensor.register_hook`.
    ///
    /// # Panics
    /// When no gradient flows through this tensor.
    #[track_caller]
    pub fn register_hook(
        &self,
        hook: impl Fn(&Tensor) -> Option<Tensor> + Send + Sync + 'static,
    ) -> u64 {
        assert!(self.0.requires_grad, "register_hook: this tensor does not require grad");
        let mut hooks = self.extra().hooks.lock().unwrap();
        let id = hooks.last().map_or(0, |h| h.0 + 1);
        hooks.push((id, Arc::new(hook) as Hook));
        id
    }

    /// Removes a hook by the number [`Tensor::register_hook`] gave.
    pub fn remove_hook(&self, id: u64) {
        if let Some(extra) = self.0.extra.get() {
            extra.hooks.lock().unwrap().retain(|h| h.0 != id);
        }
    }

    /// Computes the value (and everything else pending) now.
    #[track_caller]
    pub fn eval(&self) -> &Tensor {
        if self.0.buffer.get().is_none() {
            crate::plan::flush(Some(self));
        }
        self
    }

    /// True once the value has been computed.
    pub fn is_realised(&self) -> bool {
        self.0.buffer.get().is_some()
    }

    /// The same values with storage of their own: a fence that fusion does not cross. Values never change, so this is only
    /// of use to shape the plan. Counterpart: `Tensor.contiguous`.
    #[track_caller]
    pub fn contiguous(&self) -> Tensor {
        if self.is_realised() { self.clone() } else { self.prim_barrier(Location::caller()) }
    }

    /// A copy on another device; gradients do not cross (detach first or move leaves).
    #[track_caller]
    pub fn to_device(&self, device: DeviceId) -> Tensor {
        if self.device() == device {
            return self.clone();
        }
        let host = self.to_host();
        crate::dev::with_device(device, || Tensor::from_host(&host))
    }
}
