//! One call of a module with hooks attached.

use super::attach::{self, Active, Key};
use super::{Action, After, Before, Entry, Gradient, Tensors};
use crate::Module;
use hardpan_engine::{Tensor, multiply_adds};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

thread_local! {
    /// Modules whose calls are under way, outermost first.
    static OPEN: RefCell<Vec<Key>> = const { RefCell::new(Vec::new()) };
}

/// Makes a module of yours known to [hooks](crate::hook): the body of `forward` goes inside.
///
/// `self` must be a [`Module`](crate::Module), the input and the result [`Tensors`](crate::hook::Tensors). The body must not
/// `return`, or hooks miss the result. Without hooks it costs a look at one number.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Linear, Module, hooked};
///
/// #[derive(Module)]
/// struct Residual {
///     inner: Linear,
/// }
///
/// impl Forward for Residual {
///     type Output = Tensor;
///     fn forward(&self, x: &Tensor) -> Tensor {
///         hooked!(self, x => x + self.inner.forward(x))
///     }
/// }
/// # let _ = Residual { inner: Linear::new(2, 2) }.forward(&Tensor::ones([1, 2]));
/// ```
// A macro rather than a function of a closure: closures do not pass the caller's line on to panics.
#[macro_export]
macro_rules! hooked {
    ($self:expr, $x:ident => $body:expr) => {{
        let call = $crate::hook::enter($self, $x);
        let $x = call.input($x);
        let y = $body;
        call.leave(y)
    }};
}

/// A call under way; made by [`enter`], whose example shows it. Usually by way of [`hooked!`](crate::hooked).
#[must_use]
pub struct Call<'m, X>(Option<Box<Open<'m, X>>>);

struct Open<'m, X> {
    module: &'m dyn Module,
    /// What goes in, if it is not what was given.
    input: Option<X>,
    inputs: Vec<Tensor>,
    seen: Vec<(Rc<str>, Vec<Entry>)>,
    before: u64,
}

/// Begins a call of `module` with `x`: runs the hooks that come before.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::hook::{Hooks, enter, is};
/// use hardpan_nn::{Forward, Module};
/// #[derive(Module)]
/// struct Double;
///
/// impl Forward for Double {
///     type Output = Tensor;
///     fn forward(&self, x: &Tensor) -> Tensor {
///         let call = enter(self, x);
///         let y = call.input(x) * 2.0;
///         call.leave(y)
///     }
/// }
///
/// let hooks = Hooks::new();
/// let seen = hooks.capture(is::<Double>);
/// let model = (Double, Double);
/// let guard = hooks.attach(&model);
/// model.forward(&Tensor::ones([1]));
/// assert_eq!(seen.take()[1].tensors[0].item::<f32>(), 4.0);
/// ```
#[inline]
pub fn enter<'m, M: Module, X: Tensors>(module: &'m M, x: &X) -> Call<'m, X> {
    if attach::attached() { open(module, x, &|a, key| a.path(key)) } else { Call(None) }
}

/// As [`enter`] for the part called `name` of `parent`, which applies it: parts without data are told apart by their names.
#[inline]
pub(crate) fn child<'m, X: Tensors>(
    parent: &dyn Module,
    name: &str,
    module: &'m dyn Module,
    x: &X,
) -> Call<'m, X> {
    if !attach::attached() {
        return Call(None);
    }
    let parent = Key::of(parent);
    open(module, x, &|a, key| {
        // A box in a box is no module of its own: what is inside announces itself.
        if !a.has(key) {
            return None;
        }
        match a.peek(parent) {
            Some(path) if path.is_empty() => Some(name.into()),
            Some(path) => Some(format!("{path}.{name}").into()),
            // Attached to a part of the model only.
            None => a.path(key),
        }
    })
}

type PathOf<'a> = &'a dyn Fn(&Active, Key) -> Option<Rc<str>>;

#[cold]
fn open<'m, X: Tensors>(module: &'m dyn Module, x: &X, path: PathOf<'_>) -> Call<'m, X> {
    let key = Key::of(module);
    // The call that a container has announced already.
    if OPEN.with(|o| o.borrow().last() == Some(&key)) {
        return Call(None);
    }
    let mut seen = Vec::new();
    for active in attach::all() {
        if let Some(path) = path(&active, key) {
            let entries = active.entries(&path, module);
            seen.push((path, entries));
        }
    }
    if seen.is_empty() {
        return Call(None);
    }
    let mut inputs = x.tensors();
    let mut changed = false;
    for (path, entries) in &seen {
        for e in entries {
            if let Action::Before(f) = &e.action {
                f(&mut Before { path, module, inputs: &mut inputs });
                changed = true;
            }
        }
        let hooks = grad_hooks(entries, |a| match a {
            Action::GradInput(f) => Some(f.clone()),
            _ => None,
        });
        changed |= watch(&mut inputs, path, module, hooks);
    }
    let input = changed.then(|| x.with(&mut inputs.iter().cloned()));
    OPEN.with(|o| o.borrow_mut().push(key));
    Call(Some(Box::new(Open { module, input, inputs, seen, before: multiply_adds() })))
}

type GradHook = Arc<dyn Fn(&mut Gradient<'_>) + Send + Sync>;

fn grad_hooks(entries: &[Entry], pick: impl Fn(&Action) -> Option<GradHook>) -> Vec<GradHook> {
    entries.iter().filter_map(|e| pick(&e.action)).collect()
}

/// Puts a stage into the history of each tensor that shows its gradient to `hooks`.
fn watch(tensors: &mut [Tensor], path: &str, module: &dyn Module, hooks: Vec<GradHook>) -> bool {
    if hooks.is_empty() {
        return false;
    }
    let hooks: Arc<[GradHook]> = hooks.into();
    let type_name = module.type_name();
    for (index, t) in tensors.iter_mut().enumerate() {
        if !t.is_requires_grad() {
            continue;
        }
        let (hooks, path) = (hooks.clone(), path.to_owned());
        *t = t.with_gradient(&[t], move |_, g| {
            let mut grad = g.clone();
            for f in hooks.iter() {
                f(&mut Gradient { path: &path, type_name, index, grad: &mut grad });
                assert!(
                    grad.shape() == g.shape(),
                    "a hook on {path} replaced a gradient of shape {:?} by one of shape {:?}",
                    g.shape(),
                    grad.shape()
                );
            }
            vec![Some(grad)]
        });
    }
    true
}

impl<X: Tensors> Call<'_, X> {
    /// What the module is to compute with: `given`, or what hooks put in its place.
    #[inline]
    pub fn input<'a>(&'a self, given: &'a X) -> &'a X {
        self.0.as_ref().and_then(|open| open.input.as_ref()).unwrap_or(given)
    }

    /// Ends the call with this result: runs the hooks that come after, and gives what they made of it.
    #[inline]
    pub fn leave<Y: Tensors>(mut self, y: Y) -> Y {
        match self.0.take() {
            None => y,
            Some(open) => {
                close();
                finish(&open, y)
            }
        }
    }
}

#[cold]
fn finish<X, Y: Tensors>(open: &Open<'_, X>, y: Y) -> Y {
    let multiply_adds = multiply_adds().wrapping_sub(open.before);
    let mut outputs = y.tensors();
    let mut changed = false;
    for (path, entries) in &open.seen {
        for e in entries {
            if let Action::After(f) = &e.action {
                let (module, inputs) = (open.module, &open.inputs);
                f(&mut After { path, module, inputs, outputs: &mut outputs, multiply_adds });
                changed = true;
            }
        }
        let hooks = grad_hooks(entries, |a| match a {
            Action::GradOutput(f) => Some(f.clone()),
            _ => None,
        });
        changed |= watch(&mut outputs, path, open.module, hooks);
    }
    if changed { y.with(&mut outputs.into_iter()) } else { y }
}

fn close() {
    let _ = OPEN.try_with(|o| o.borrow_mut().pop());
}

/// The call ended by a panic.
impl<X> Drop for Call<'_, X> {
    fn drop(&mut self) {
        if self.0.is_some() {
            close();
        }
    }
}
