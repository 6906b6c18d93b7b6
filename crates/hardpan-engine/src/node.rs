//! Nodes of the lazy graph, the tensor handle, and the list of pending work.
//!
//! A [`Tensor`] is a counted reference to an immutable [`Node`]. Building an op appends a node and remembers it, weakly, in a
//! list of the thread; [`crate::plan::flush`] turns what is still alive in that list into kernels and runs them. Sources always
//! have smaller ids than their consumers, so creation order is a topological order everywhere.

use crate::dev::{Buffer, DeviceId};
use crate::dtype::DType;
use crate::op::Op;
use crate::shape::{Dims, numel};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// Sources of a node; up to three without an allocation.
pub(crate) type Sources = SmallVec<[Tensor; 3]>;

/// A gradient hook: sees the gradient of a tensor and may replace it.
pub(crate) type Hook = Arc<dyn Fn(&Tensor) -> Option<Tensor> + Send + Sync>;

/// Rarely used attachments of a node.
#[derive(Default)]
pub(crate) struct Extra {
    /// Where `backward` adds the gradient of this leaf.
    pub grad: Option<GradCell>,
    /// Called with the finished gradient, in order of registration.
    pub hooks: Mutex<Vec<(u64, Hook)>>,
}

/// A shared cell that collects the gradient of a leaf (`.grad` in PyTorch).
#[derive(Clone, Default)]
pub struct GradCell(Arc<Mutex<Option<Tensor>>>);

impl GradCell {
    /// An empty cell.
    pub fn new() -> GradCell {
        GradCell::default()
    }
    /// The gradient collected so far.
    pub fn get(&self) -> Option<Tensor> {
        self.0.lock().unwrap().clone()
    }
    /// Replaces (or, with `None`, clears) the gradient.
    pub fn set(&self, grad: Option<Tensor>) {
        *self.0.lock().unwrap() = grad;
    }
    /// Adds `grad` to what is there.
    pub fn accumulate(&self, grad: Tensor) {
        let mut cell = self.0.lock().unwrap();
        *cell = Some(match cell.take() {
            Some(old) => &old + &grad,
            None => grad,
        });
    }
}

pub(crate) struct Node {
    pub id: u64,
    pub op: Op,
    pub dtype: DType,
    pub device: DeviceId,
    pub requires_grad: bool,
    pub shape: Dims,
    pub at: &'static Location<'static>,
    pub src: Mutex<Sources>,
    pub buffer: OnceLock<Buffer>,
    pub extra: OnceLock<Box<Extra>>,
    /// Set by `backward`: the history below has been used and may be dropped.
    pub released: AtomicBool,
    /// Scratch of the planner: (flush number << 32) | index in that flush.
    pub stamp: AtomicU64,
}

/// An n-dimensional array of one dtype, perhaps not computed yet.
///
/// Cloning is cheap (a counted reference). Operations record themselves and run when a value is read (`item`, `to_vec`,
/// printing), on [`Tensor::eval`], or when much work is pending. Counterpart: `torch.Tensor`.
#[derive(Clone)]
pub struct Tensor(pub(crate) Arc<Node>);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);
static LIVE_NODES: AtomicUsize = AtomicUsize::new(0);

/// Number of graph nodes alive in the process: what tests watch for leaks.
pub fn live_nodes() -> usize {
    LIVE_NODES.load(Relaxed)
}

/// Pending nodes of a thread are flushed by themselves at this count.
const PENDING_LIMIT: usize = 16_384;

thread_local! {
    static PENDING: RefCell<Vec<Weak<Node>>> = const { RefCell::new(Vec::new()) };
    static NO_GRAD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Takes the thread's list of pending nodes.
pub(crate) fn take_pending() -> Vec<Weak<Node>> {
    PENDING.with(|p| std::mem::take(&mut *p.borrow_mut()))
}

/// Gives back an emptied list so that its memory is used again.
pub(crate) fn recycle_pending(mut list: Vec<Weak<Node>>) {
    list.clear();
    PENDING.with(|p| {
        let mut p = p.borrow_mut();
        if p.is_empty() {
            *p = list;
        }
    });
}

/// Runs `f` with gradient recording off on this thread: results do not require gradients and keep no history.
///
/// Counterpart: `torch.no_grad`.
///
/// ```
/// use hardpan_engine::{Tensor, no_grad};
/// let w = Tensor::ones(&[2]).requires_grad();
/// assert!(!no_grad(|| &w * 2.0).is_requires_grad());
/// ```
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            NO_GRAD.with(|n| n.set(n.get() - 1));
        }
    }
    NO_GRAD.with(|n| n.set(n.get() + 1));
    let _guard = Guard;
    f()
}

/// Runs `f` with gradient recording on, even inside [`no_grad`]. Counterpart: `torch.enable_grad`.
pub fn enable_grad<R>(f: impl FnOnce() -> R) -> R {
    struct Guard(usize);
    impl Drop for Guard {
        fn drop(&mut self) {
            NO_GRAD.with(|n| n.set(self.0));
        }
    }
    let _guard = Guard(NO_GRAD.with(|n| n.replace(0)));
    f()
}

/// True unless inside [`no_grad`].
pub fn is_grad_enabled() -> bool {
    NO_GRAD.with(|n| n.get() == 0)
}

impl Tensor {
    /// Appends a node. Gradients are recorded when a source asks for them and the dtype can carry them.
    pub(crate) fn new(
        op: Op,
        dtype: DType,
        shape: Dims,
        src: Sources,
        at: &'static Location<'static>,
    ) -> Tensor {
        let requires_grad =
            dtype.is_float() && is_grad_enabled() && src.iter().any(|s| s.0.requires_grad);
        let device = match src.first() {
            Some(s) => s.0.device,
            None => crate::dev::default_device(),
        };
        for s in src.iter().skip(1) {
            if s.0.device != device && s.0.shape.is_empty() && matches!(s.0.op, Op::Const(_)) {
                continue;
            }
            if s.0.device != device {
                device_mismatch(&op, device, s.0.device, at);
            }
        }
        let node = Node {
            id: NEXT_ID.fetch_add(1, Relaxed),
            op,
            dtype,
            device,
            requires_grad,
            shape,
            at,
            src: Mutex::new(src),
            buffer: OnceLock::new(),
            extra: OnceLock::new(),
            released: AtomicBool::new(false),
            stamp: AtomicU64::new(0),
        };
        LIVE_NODES.fetch_add(1, Relaxed);
        let t = Tensor(Arc::new(node));
        t.enlist();
        t
    }

    /// A constant is not listed as pending: kernels take it as a scalar argument, and it gets memory only where it is asked for.
    pub(crate) fn new_constant(
        value: crate::Scalar,
        dtype: DType,
        at: &'static Location<'static>,
    ) -> Tensor {
        LIVE_NODES.fetch_add(1, Relaxed);
        Tensor(Arc::new(Node {
            id: NEXT_ID.fetch_add(1, Relaxed),
            op: Op::Const(value),
            dtype,
            device: crate::dev::default_device(),
            requires_grad: false,
            shape: Dims::new(),
            at,
            src: Mutex::new(Sources::new()),
            buffer: OnceLock::new(),
            extra: OnceLock::new(),
            released: AtomicBool::new(false),
            stamp: AtomicU64::new(0),
        }))
    }

    /// A node that is realised from the start.
    pub(crate) fn from_buffer(
        buffer: Buffer,
        dtype: DType,
        shape: Dims,
        at: &'static Location<'static>,
    ) -> Tensor {
        let node = Node {
            id: NEXT_ID.fetch_add(1, Relaxed),
            op: Op::Buffer,
            dtype,
            device: buffer.device(),
            requires_grad: false,
            shape,
            at,
            src: Mutex::new(Sources::new()),
            buffer: OnceLock::from(buffer),
            extra: OnceLock::new(),
            released: AtomicBool::new(false),
            stamp: AtomicU64::new(0),
        };
        LIVE_NODES.fetch_add(1, Relaxed);
        Tensor(Arc::new(node))
    }

    /// A new leaf with the value of `self`, no history, and a place for its gradient (`None`: plain detach).
    pub(crate) fn leaf(&self, grad: Option<GradCell>, at: &'static Location<'static>) -> Tensor {
        let want = grad.is_some();
        assert!(
            !want || self.0.dtype.is_float(),
            "requires_grad: only floating point tensors can have gradients, got {}",
            self.0.dtype
        );
        let extra = OnceLock::new();
        if let Some(cell) = grad {
            let _ = extra.set(Box::new(Extra { grad: Some(cell), hooks: Mutex::default() }));
        }
        let buffer = self.0.buffer.get().cloned();
        let pending = buffer.is_none();
        let node = Node {
            id: NEXT_ID.fetch_add(1, Relaxed),
            op: if pending { Op::Alias } else { Op::Buffer },
            dtype: self.0.dtype,
            device: self.0.device,
            requires_grad: want,
            shape: self.0.shape.clone(),
            at,
            src: Mutex::new(if pending {
                SmallVec::from_iter([self.clone()])
            } else {
                Sources::new()
            }),
            buffer: buffer.map(OnceLock::from).unwrap_or_default(),
            extra,
            released: AtomicBool::new(false),
            stamp: AtomicU64::new(0),
        };
        LIVE_NODES.fetch_add(1, Relaxed);
        let t = Tensor(Arc::new(node));
        if pending {
            t.enlist();
        }
        t
    }

    fn enlist(&self) {
        let full = PENDING.with(|p| {
            let mut p = p.borrow_mut();
            p.push(Arc::downgrade(&self.0));
            if p.len() >= PENDING_LIMIT {
                p.retain(|w| w.strong_count() > 0);
                p.len() >= PENDING_LIMIT
            } else {
                false
            }
        });
        if full || crate::plan::is_eager() {
            crate::plan::flush(Some(self));
        }
    }

    /// Makes sure this node is known to the thread that wants its value (it may have been built on another one).
    pub(crate) fn sources(&self) -> Sources {
        self.0.src.lock().unwrap().clone()
    }

    pub(crate) fn extra(&self) -> &Extra {
        self.0.extra.get_or_init(Default::default)
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        numel(&self.0.shape)
    }
}

#[cold]
fn device_mismatch(op: &Op, a: DeviceId, b: DeviceId, at: &Location<'_>) -> ! {
    panic!(
        "{}: tensors on different devices, {a:?} and {b:?} (at {at}); move one with .to_device()",
        op.name()
    )
}

impl Drop for Node {
    /// Frees chains of any length without recursion.
    fn drop(&mut self) {
        LIVE_NODES.fetch_sub(1, Relaxed);
        let mut stack = std::mem::take(self.src.get_mut().unwrap_or_else(|e| e.into_inner()));
        while let Some(t) = stack.pop() {
            if let Some(mut node) = Arc::into_inner(t.0) {
                let src = node.src.get_mut().unwrap_or_else(|e| e.into_inner());
                stack.extend(src.drain(..));
            }
        }
    }
}
