//! Cells that hold tensors: [`Param`] is trained, [`Buffer`] is not.

use crate::{Visit, Visitor};
use hardpan_engine::{DType, GradCell, Tensor};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock};

/// Ids of cells, never reused: what optimizers key their state by, and how shared parameters are known.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// A trainable tensor: a cell with a value, the gradient that `backward` collects for it, and a frozen flag.
///
/// Cloning gives another handle to the same cell, so two modules that hold clones share (tie) the parameter: it
/// is trained once, and saved under both names. Counterpart: `torch.nn.Parameter`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::Param;
/// let w = Param::new(Tensor::from_slice(&[1f32, 2.0], [2]));
/// (w.value() * 3.0).sum(..).backward();
/// assert_eq!(w.grad().unwrap().to_vec::<f32>(), [3.0, 3.0]);
/// w.set(w.value() - w.grad().unwrap());
/// assert_eq!(w.value().to_vec::<f32>(), [-2.0, -1.0]);
/// ```
#[derive(Clone)]
pub struct Param(Arc<ParamCell>);

struct ParamCell {
    id: u64,
    grad: GradCell,
    state: RwLock<ParamState>,
}

struct ParamState {
    /// A leaf that sends its gradient to the cell, or a plain tensor while frozen.
    leaf: Tensor,
    frozen: bool,
    /// What is shown in place of it, the newest last.
    lent: Vec<(u64, Tensor)>,
}

impl Param {
    /// A parameter with this initial value, of a floating point dtype. The value's history is dropped.
    ///
    /// # Panics
    /// If the dtype is not a float.
    #[track_caller]
    pub fn new(value: Tensor) -> Param {
        assert!(
            value.dtype().is_float(),
            "Param: only floating point tensors can be trained, got {} {:?}; \
             use Buffer for what is saved but not trained",
            value.dtype(),
            value.shape()
        );
        let grad = GradCell::new();
        let leaf = value.requires_grad_into(&grad);
        Param(Arc::new(ParamCell {
            id: next_id(),
            grad,
            state: RwLock::new(ParamState { leaf, frozen: false, lent: Vec::new() }),
        }))
    }

    /// The value, for use in a forward pass: `backward` will find its way from results to this parameter
    /// (unless it is frozen).
    pub fn value(&self) -> Tensor {
        self.read(|s| s.lent.last().map_or(&s.leaf, |(_, t)| t).clone())
    }

    /// Shows `value` in place of the parameter's own until the guard is dropped: a weight computed from other parameters, which gradients
    /// flow through. Everyone who holds the parameter sees it; it is not saved by keeping it, and not trained.
    ///
    /// Counterpart: what `torch.nn.utils.parametrize` does on access.
    ///
    /// # Panics
    /// If the shape is not that of the parameter.
    #[track_caller]
    #[must_use = "the value is shown as long as this guard lives"]
    pub fn lend(&self, value: Tensor) -> Lent {
        let mut s = self.0.state.write().unwrap_or_else(|e| e.into_inner());
        assert!(
            value.shape() == s.leaf.shape(),
            "Param::lend: the parameter has shape {:?}, the value {:?}",
            s.leaf.shape(),
            value.shape()
        );
        let id = next_id();
        s.lent.push((id, value));
        Lent { param: self.clone(), id }
    }

    /// Replaces the value. Its history is dropped; a gradient already collected stays.
    ///
    /// # Panics
    /// If shape or dtype differ from the present ones; see [`replace`](Param::replace).
    #[track_caller]
    pub fn set(&self, value: Tensor) {
        let old = self.value();
        assert!(
            value.shape() == old.shape() && value.dtype() == old.dtype(),
            "Param::set: the parameter is {} {:?}, the new value {} {:?}; \
             to change shape or dtype use .replace()",
            old.dtype(),
            old.shape(),
            value.dtype(),
            value.shape()
        );
        self.put(value);
    }

    /// Replaces the value by one of any shape and float dtype, and clears the gradient.
    /// An optimizer that holds state for this parameter must be made anew.
    ///
    /// # Panics
    /// If the dtype is not a float.
    #[track_caller]
    pub fn replace(&self, value: Tensor) {
        assert!(
            value.dtype().is_float(),
            "Param::replace: only floating point tensors can be trained, got {}",
            value.dtype()
        );
        self.zero_grad();
        self.put(value);
    }

    /// The gradient collected since it was last cleared, of the shape of the value.
    pub fn grad(&self) -> Option<Tensor> {
        self.0.grad.get()
    }

    /// Sets or, with `None`, clears the gradient. For clipping, scaling, averaging over machines.
    ///
    /// # Panics
    /// If the shape is not that of the value.
    #[track_caller]
    pub fn set_grad(&self, grad: Option<Tensor>) {
        if let Some(g) = &grad {
            let value = self.value();
            assert!(
                g.shape() == value.shape(),
                "Param::set_grad: the parameter has shape {:?}, the gradient {:?}",
                value.shape(),
                g.shape()
            );
        }
        self.0.grad.set(grad);
    }

    /// Clears the gradient.
    pub fn zero_grad(&self) {
        self.0.grad.set(None);
    }

    /// Whether the parameter is kept as it is: no gradient, no update.
    pub fn is_frozen(&self) -> bool {
        self.read(|s| s.frozen)
    }

    /// Freezes or unfreezes. Freezing clears the gradient. Counterpart: `requires_grad_(!frozen)`.
    pub fn set_frozen(&self, frozen: bool) {
        let mut s = self.0.state.write().unwrap_or_else(|e| e.into_inner());
        if s.frozen != frozen {
            s.frozen = frozen;
            if frozen {
                self.0.grad.set(None);
            }
            s.leaf = self.as_leaf(&s.leaf, frozen);
        }
    }

    /// Shape of the value.
    pub fn shape(&self) -> Vec<usize> {
        self.read(|s| s.leaf.shape().to_vec())
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.read(|s| s.leaf.numel())
    }

    /// Element type of the value.
    pub fn dtype(&self) -> DType {
        self.read(|s| s.leaf.dtype())
    }

    /// The identity of the cell, the same for all clones and never used again in the process.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    fn put(&self, value: Tensor) {
        let mut s = self.0.state.write().unwrap_or_else(|e| e.into_inner());
        s.leaf = self.as_leaf(&value, s.frozen);
    }

    fn as_leaf(&self, value: &Tensor, frozen: bool) -> Tensor {
        if frozen { value.detach() } else { value.requires_grad_into(&self.0.grad) }
    }

    fn read<R>(&self, f: impl FnOnce(&ParamState) -> R) -> R {
        f(&self.0.state.read().unwrap_or_else(|e| e.into_inner()))
    }
}

/// A value shown in place of a parameter's own; see [`Param::lend`].
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::Param;
/// let w = Param::new(Tensor::ones([2]));
/// let lent = w.lend(w.value() * 5.0);
/// assert_eq!(w.value().to_vec::<f32>(), [5.0, 5.0]);
/// drop(lent);
/// assert_eq!(w.value().to_vec::<f32>(), [1.0, 1.0]);
/// ```
pub struct Lent {
    param: Param,
    id: u64,
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut s = self.param.0.state.write().unwrap_or_else(|e| e.into_inner());
        s.lent.retain(|(id, _)| *id != self.id);
    }
}

impl Visit for Param {
    fn visit(&self, v: &mut dyn Visitor) {
        v.param(self);
    }
}

impl From<Tensor> for Param {
    #[track_caller]
    fn from(value: Tensor) -> Param {
        Param::new(value)
    }
}

impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frozen = if self.is_frozen() { ", frozen" } else { "" };
        write!(f, "Param({} {:?}{frozen})", self.dtype(), self.shape())
    }
}

/// A tensor that a module keeps and saves but does not train: running statistics, position tables, masks.
///
/// A cell as [`Param`] is: clones share it. Counterpart: `register_buffer`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::Buffer;
/// let mean = Buffer::new(Tensor::zeros([2]));
/// mean.set(mean.value() * 0.9 + 0.1);
/// assert!((mean.value().to_vec::<f32>()[0] - 0.1).abs() < 1e-6);
/// assert!(mean.is_persistent() && !Buffer::transient(Tensor::zeros([2])).is_persistent());
/// ```
#[derive(Clone)]
pub struct Buffer(Arc<BufferCell>);

struct BufferCell {
    id: u64,
    persistent: bool,
    value: RwLock<Tensor>,
}

impl Buffer {
    /// A buffer that is part of the state dict.
    pub fn new(value: Tensor) -> Buffer {
        Buffer::with(value, true)
    }

    /// A buffer that is not saved, because it can be computed anew. Counterpart: `persistent=False`.
    pub fn transient(value: Tensor) -> Buffer {
        Buffer::with(value, false)
    }

    fn with(value: Tensor, persistent: bool) -> Buffer {
        let value = RwLock::new(value.detach());
        Buffer(Arc::new(BufferCell { id: next_id(), persistent, value }))
    }

    /// The value. It carries no gradient.
    pub fn value(&self) -> Tensor {
        self.0.value.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Replaces the value; its history is dropped.
    ///
    /// # Panics
    /// If shape or dtype differ from the present ones; see [`replace`](Buffer::replace).
    #[track_caller]
    pub fn set(&self, value: Tensor) {
        let old = self.value();
        assert!(
            value.shape() == old.shape() && value.dtype() == old.dtype(),
            "Buffer::set: the buffer is {} {:?}, the new value {} {:?}; \
             to change shape or dtype use .replace()",
            old.dtype(),
            old.shape(),
            value.dtype(),
            value.shape()
        );
        self.replace(value);
    }

    /// Replaces the value by one of any shape and dtype; its history is dropped.
    pub fn replace(&self, value: Tensor) {
        *self.0.value.write().unwrap_or_else(|e| e.into_inner()) = value.detach();
    }

    /// Whether the buffer is part of the state dict.
    pub fn is_persistent(&self) -> bool {
        self.0.persistent
    }

    /// The identity of the cell, the same for all clones and never used again in the process.
    pub fn id(&self) -> u64 {
        self.0.id
    }
}

impl Visit for Buffer {
    fn visit(&self, v: &mut dyn Visitor) {
        v.buffer(self);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value();
        write!(f, "Buffer({} {:?})", value.dtype(), value.shape())
    }
}
