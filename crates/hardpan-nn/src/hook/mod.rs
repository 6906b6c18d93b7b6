//! Hooks: functions of yours that see, and may replace, what goes into a module, what comes out of it, and the gradients of both.
//!
//! A [`Hooks`] is a list of such functions, each with a choice of modules: by path (`"body.0.conv1"`, with `*` for any text) or by a
//! predicate ([`is::<Conv2d>`](is), or a closure over path and module). It does nothing until it is attached to a model, for as long
//! as the guard lives:
//!
//! ```
//! use hardpan_engine::Tensor;
//! use hardpan_nn::hook::{Hooks, is};
//! use hardpan_nn::{Forward, Linear, ReLU, seq};
//!
//! let model = seq![Linear::new(4, 8), ReLU, Linear::new(8, 2)];
//! let hooks = Hooks::new();
//! let seen = hooks.capture(is::<Linear>);
//! // Replaces what comes out of layer 1.
//! let handle = hooks.after("1", |call| call.outputs[0] = &call.outputs[0] * 0.0);
//!
//! let attached = hooks.attach(&model);
//! let y = model.forward(&Tensor::ones([3, 4]));
//! assert_eq!(y.to_vec::<f32>(), [0.0; 6]); // zeros, times a weight, plus a bias of zeros
//! let paths: Vec<_> = seen.take().into_iter().map(|c| c.path).collect();
//! assert_eq!(paths, ["0", "2"]);
//! handle.remove();
//! drop(attached); // the model is as it was
//! ```
//!
//! # What they reach
//! On the thread that attached, while the guard lives:
//! - every layer of this crate, wherever and however it is called (but [`Identity`](crate::Identity) and
//!   [`Lambda`](crate::Lambda), which take any type, only as below);
//! - every module, also one of yours, that a [`Sequential`](crate::Sequential) applies, and the model itself under
//!   [`Hooks::run`] (its path is "");
//! - a module of yours that your own code calls, if the body of its `forward` is inside [`hooked!`](crate::hooked).
//!
//! A module is known by its type and by where it lies in memory, which cannot change while the guard borrows the model; nothing is
//! stored in modules, and layers look at one number of the thread when no hooks are attached. The one thing this cannot tell
//! apart are several layers of one type that hold no data (such as [`ReLU`](crate::ReLU)) and are fields of one struct: their calls
//! are given to the paths in turn, in the order of the fields, which is right when each is called as often as the others. The same holds for one module shared under several paths.
//!
//! Functions of a model that is called by other means than `forward` are reached where documented
//! (as [`MultiheadAttention::attend`](crate::MultiheadAttention::attend)). Panics in a hook are the caller's panics.

mod attach;
mod call;
mod tensors;

pub use attach::{Attached, attached};
pub(crate) use call::child;
pub use call::{Call, enter};
pub use tensors::Tensors;

use crate::{Forward, Module};
use hardpan_engine::Tensor;
use std::fmt;
use std::sync::{Arc, Mutex, RwLock, Weak};

/// Which modules a hook is for.
///
/// A path, where `*` stands for any text (also none, also with dots): `"layers.0"`, `"*.conv1"`; or a predicate over path and module: [`is::<Linear>`](is), or a closure such as `|path: &str, m: &dyn Module| m.parameters().is_empty()`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::hook::Hooks;
/// use hardpan_nn::{Linear, Module, ReLU, seq};
/// let model = seq![Linear::new(4, 8), ReLU, Linear::new(8, 2)];
/// let hooks = Hooks::new();
/// let by_path = hooks.capture("1");
/// let by_predicate = hooks.capture(|_: &str, m: &dyn Module| m.num_parameters() == 18);
/// hooks.run(&model, &Tensor::ones([3, 4]));
/// assert_eq!((by_path.take()[0].type_name, by_predicate.take()[0].path.as_str()), ("ReLU", "2"));
/// ```
pub trait Select: Send + Sync + 'static {
    /// Whether the module at this path is chosen.
    fn selects(&self, path: &str, module: &dyn Module) -> bool;
}

impl<F: Fn(&str, &dyn Module) -> bool + Send + Sync + 'static> Select for F {
    fn selects(&self, path: &str, module: &dyn Module) -> bool {
        self(path, module)
    }
}

impl Select for &'static str {
    fn selects(&self, path: &str, _: &dyn Module) -> bool {
        glob(self, path)
    }
}

impl Select for String {
    fn selects(&self, path: &str, _: &dyn Module) -> bool {
        glob(self, path)
    }
}

/// Chooses modules of one type: `hooks.after(is::<Conv2d>, ...)`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::hook::{Hooks, is};
/// use hardpan_nn::{Linear, ReLU, seq};
/// let model = seq![Linear::new(4, 8), ReLU, Linear::new(8, 2)];
/// let hooks = Hooks::new();
/// let seen = hooks.capture(is::<ReLU>);
/// hooks.run(&model, &Tensor::ones([3, 4]));
/// assert_eq!(seen.take()[0].tensors[0].shape(), [3, 8]);
/// ```
pub fn is<M: Module>(_: &str, module: &dyn Module) -> bool {
    module.downcast_ref::<M>().is_some()
}

/// Chooses every module that has no modules inside.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::hook::{Hooks, leaf};
/// use hardpan_nn::{Linear, ReLU, seq};
/// let model = seq![Linear::new(4, 8), ReLU, Linear::new(8, 2)];
/// let hooks = Hooks::new();
/// let seen = hooks.capture(leaf);
/// hooks.run(&model, &Tensor::ones([3, 4]));
/// assert_eq!(seen.take().len(), 3);
/// ```
pub fn leaf(_: &str, module: &dyn Module) -> bool {
    let mut count = 0;
    module.for_each_module(&mut |_, _| count += 1);
    count == 1
}

/// Whether `text` fits `pattern`, where `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// A call of a module that is about to happen.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::hook::Hooks;
/// use hardpan_nn::{Linear, ReLU, seq};
/// let model = seq![Linear::new(4, 8), ReLU, Linear::new(8, 2)];
/// let hooks = Hooks::new();
/// hooks.before("0", |call| call.inputs[0] = &call.inputs[0] * 0.0);
/// let y = hooks.run(&model, &Tensor::ones([3, 4]));
/// assert_eq!(y.sum(..).item::<f32>(), 0.0); // biases are zero at first
/// ```
#[non_exhaustive]
pub struct Before<'a> {
    /// Where the module is in the model.
    pub path: &'a str,
    /// The module.
    pub module: &'a dyn Module,
    /// The tensors that go in, in order; those put here go in instead.
    pub inputs: &'a mut [Tensor],
}

/// A call of a module that has happened.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::hook::Hooks;
/// use hardpan_nn::{Linear, ReLU, seq};
/// let model = seq![Linear::new(4, 8), ReLU, Linear::new(8, 2)];
/// let hooks = Hooks::new();
/// hooks.after("2", |call| {
///     assert_eq!((call.inputs[0].shape(), call.multiply_adds), (&[3, 8][..], 3 * 8 * 2));
///     call.outputs[0] = &call.outputs[0] * 0.0 + 1.0;
/// });
/// assert_eq!(hooks.run(&model, &Tensor::ones([3, 4])).sum(..).item::<f32>(), 6.0);
/// ```
#[non_exhaustive]
pub struct After<'a> {
    /// Where the module is in the model.
    pub path: &'a str,
    /// The module.
    pub module: &'a dyn Module,
    /// The tensors that went in, in order.
    pub inputs: &'a [Tensor],
    /// The tensors that came out, in order; those put here come out instead.
    pub outputs: &'a mut [Tensor],
    /// Multiply-adds of the matrix products and convolutions inside.
    pub multiply_adds: u64,
}

/// A gradient on its way back through a call of a module.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::hook::Hooks;
/// use hardpan_nn::{Linear, Module, ReLU, seq};
/// let model = seq![Linear::new(4, 8), ReLU, Linear::new(8, 2)];
/// let hooks = Hooks::new();
/// hooks.grad_output("2", |g| *g.grad = &*g.grad * 0.0);
/// hooks.run(&model, &Tensor::ones([3, 4])).sum(..).backward();
/// let bias = &model.parameters()[3];
/// assert_eq!(bias.grad().unwrap().to_vec::<f32>(), [0.0, 0.0]); // without the hook 3 each
/// ```
#[non_exhaustive]
pub struct Gradient<'a> {
    /// Where the module is in the model.
    pub path: &'a str,
    /// The name of the module's type.
    pub type_name: &'static str,
    /// Which of the outputs (or inputs) this is the gradient of.
    pub index: usize,
    /// The gradient; one of the same shape put here goes on instead.
    pub grad: &'a mut Tensor,
}

#[derive(Clone)]
enum Action {
    Before(Arc<dyn Fn(&mut Before<'_>) + Send + Sync>),
    After(Arc<dyn Fn(&mut After<'_>) + Send + Sync>),
    GradOutput(Arc<dyn Fn(&mut Gradient<'_>) + Send + Sync>),
    GradInput(Arc<dyn Fn(&mut Gradient<'_>) + Send + Sync>),
}

#[derive(Clone)]
struct Entry {
    id: u64,
    at: Arc<dyn Select>,
    action: Action,
}

#[derive(Default)]
struct List {
    next: u64,
    entries: Vec<Entry>,
}

/// A list of hooks, to be [attached](Hooks::attach) to models. Clones share the list. See the [module](self).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::hook::Hooks;
/// use hardpan_nn::{Linear, ReLU, seq};
/// let model = seq![Linear::new(4, 8), ReLU, Linear::new(8, 2)];
/// let hooks = Hooks::new();
/// let handle = hooks.after("*", |call| assert!(call.outputs[0].to_vec::<f32>().iter().all(|v| v.is_finite())));
/// hooks.run(&model, &Tensor::ones([3, 4]));
/// handle.remove();
/// assert!(hooks.is_empty());
/// ```
#[derive(Clone, Default)]
pub struct Hooks(Arc<RwLock<List>>);

impl Hooks {
    /// No hooks yet.
    pub fn new() -> Hooks {
        Hooks::default()
    }

    /// Calls `f` before each call of the chosen modules. Counterpart: `register_forward_pre_hook`.
    pub fn before(
        &self,
        at: impl Select,
        f: impl Fn(&mut Before<'_>) + Send + Sync + 'static,
    ) -> HookHandle {
        self.add(at, Action::Before(Arc::new(f)))
    }

    /// Calls `f` after each call of the chosen modules. Counterpart: `register_forward_hook`.
    pub fn after(
        &self,
        at: impl Select,
        f: impl Fn(&mut After<'_>) + Send + Sync + 'static,
    ) -> HookHandle {
        self.add(at, Action::After(Arc::new(f)))
    }

    /// Calls `f` with the gradient of each output of the chosen modules, when `backward` reaches it (also after the guard is gone, if
    /// the call was made under it). Counterpart: `register_full_backward_pre_hook`.
    pub fn grad_output(
        &self,
        at: impl Select,
        f: impl Fn(&mut Gradient<'_>) + Send + Sync + 'static,
    ) -> HookHandle {
        self.add(at, Action::GradOutput(Arc::new(f)))
    }

    /// Calls `f` with the gradient that a call of the chosen modules gives for each of its inputs, before it flows on. Inputs that
    /// no gradient flows to (a batch of data) have none. Counterpart: `register_full_backward_hook`.
    pub fn grad_input(
        &self,
        at: impl Select,
        f: impl Fn(&mut Gradient<'_>) + Send + Sync + 'static,
    ) -> HookHandle {
        self.add(at, Action::GradInput(Arc::new(f)))
    }

    /// Keeps what comes out of the chosen modules, detached, until it is taken. Counterpart: fastai's `hook_outputs`.
    pub fn capture(&self, at: impl Select) -> Captured {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let into = kept.clone();
        let handle = self.after(at, move |call| {
            let outputs = call.outputs.iter().map(Tensor::detach).collect();
            let type_name = call.module.type_name();
            let path = call.path.to_owned();
            lock(&into).push(Capture { path, type_name, tensors: outputs });
        });
        Captured { kept, handle }
    }

    /// As [`capture`](Hooks::capture), the gradients of what comes out; in the order of the backward pass.
    /// Counterpart: fastai's `hook_outputs(grad=True)`.
    pub fn capture_grads(&self, at: impl Select) -> Captured {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let into = kept.clone();
        let handle = self.grad_output(at, move |g| {
            let (path, type_name) = (g.path.to_owned(), g.type_name);
            lock(&into).push(Capture { path, type_name, tensors: vec![g.grad.detach()] });
        });
        Captured { kept, handle }
    }

    fn add(&self, at: impl Select, action: Action) -> HookHandle {
        let mut list = self.0.write().unwrap_or_else(|e| e.into_inner());
        let id = list.next;
        list.next += 1;
        list.entries.push(Entry { id, at: Arc::new(at), action });
        HookHandle { list: Arc::downgrade(&self.0), id }
    }

    /// Takes all hooks away.
    pub fn clear(&self) {
        self.0.write().unwrap_or_else(|e| e.into_inner()).entries.clear();
    }

    /// Number of hooks.
    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(|e| e.into_inner()).entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the hooks work on this model's calls on this thread until the guard is dropped. Hooks may be added and removed meanwhile.
    /// Costs a walk over the model.
    #[must_use = "hooks work as long as this guard lives"]
    pub fn attach<'m, M: Module + ?Sized>(&self, model: &'m M) -> Attached<'m> {
        attach::attach(self, model)
    }

    /// Applies `model` to `x` with the hooks attached, those for the model itself (path "") included.
    #[track_caller]
    pub fn run<M, X>(&self, model: &M, x: &X) -> M::Output
    where
        M: Forward<X, Output: Tensors> + Module,
        X: Tensors,
    {
        let _attached = self.attach(model);
        crate::hooked!(model, x => model.forward(x))
    }

    fn entries(&self) -> Vec<Entry> {
        self.0.read().unwrap_or_else(|e| e.into_inner()).entries.clone()
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hooks({})", self.len())
    }
}

/// Takes one hook away again. Dropping it leaves the hook in place.
///
/// ```
/// use hardpan_nn::hook::Hooks;
/// let hooks = Hooks::new();
/// let handle = hooks.before("*.conv1", |call| println!("{:?}", call.inputs[0].shape()));
/// assert_eq!(hooks.len(), 1);
/// handle.remove();
/// assert_eq!(hooks.len(), 0);
/// ```
#[derive(Clone)]
pub struct HookHandle {
    list: Weak<RwLock<List>>,
    id: u64,
}

impl HookHandle {
    /// Takes the hook away. Gradients of calls made before are still seen.
    pub fn remove(&self) {
        if let Some(list) = self.list.upgrade() {
            let mut list = list.write().unwrap_or_else(|e| e.into_inner());
            list.entries.retain(|e| e.id != self.id);
        }
    }
}

/// What a [`Hooks::capture`] has kept.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::hook::Hooks;
/// use hardpan_nn::{Linear, ReLU, seq};
/// let model = seq![Linear::new(4, 8), ReLU, Linear::new(8, 2)];
/// let hooks = Hooks::new();
/// let seen = hooks.capture("1");
/// hooks.run(&model, &Tensor::ones([3, 4]));
/// assert_eq!((seen.take().len(), seen.take().len()), (1, 0));
/// ```
pub struct Captured {
    kept: Arc<Mutex<Vec<Capture>>>,
    handle: HookHandle,
}

/// The tensors of one call of one module.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::hook::Hooks;
/// use hardpan_nn::{Linear, ReLU, seq};
/// let model = seq![Linear::new(4, 8), ReLU, Linear::new(8, 2)];
/// let hooks = Hooks::new();
/// let seen = hooks.capture_grads("2");
/// hooks.run(&model, &Tensor::ones([3, 4])).sum(..).backward();
/// let call = &seen.take()[0];
/// assert_eq!((call.path.as_str(), call.tensors[0].to_vec::<f32>()), ("2", vec![1.0; 6]));
/// ```
#[derive(Clone)]
pub struct Capture {
    /// Where the module is in the model.
    pub path: String,
    /// The name of the module's type.
    pub type_name: &'static str,
    /// The tensors, without history.
    pub tensors: Vec<Tensor>,
}

impl Captured {
    /// Takes out what was kept since the last time, in the order of the calls.
    pub fn take(&self) -> Vec<Capture> {
        std::mem::take(&mut *lock(&self.kept))
    }

    /// Keeps nothing more. Counterpart: `Hook.remove`.
    pub fn remove(&self) {
        self.handle.remove();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, fits) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b.c", true),
            ("*", "", true),
            ("*.conv1", "layer1.0.conv1", true),
            ("*.conv1", "conv1", false),
            ("layer*.0.*", "layer2.0.bn1", true),
            ("layer*.0.*", "layer2.1.bn1", false),
            ("*a*a", "aa", true),
            ("*a*a", "a", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }
}
