//! Cells that are neither trained nor saved: the training flag ([`Mode`]) and what a model remembers between calls ([`State`]).

use crate::{Visit, Visitor};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// Says to one module whether it is being trained or used. Those that behave differently (dropout, batch norm) hold one;
/// [`Module::train`](crate::Module::train) and [`Module::eval`](crate::Module::eval) set all of a model. Starts in training.
///
/// Clones share the flag. Counterpart: `Module.training`.
#[derive(Clone)]
pub struct Mode(Arc<AtomicBool>);

impl Mode {
    /// A flag in training mode.
    pub fn new() -> Mode {
        Mode(Arc::new(AtomicBool::new(true)))
    }

    /// Whether the module is being trained.
    pub fn is_training(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Sets the flag.
    pub fn set_training(&self, training: bool) {
        self.0.store(training, Relaxed);
    }
}

impl Default for Mode {
    fn default() -> Mode {
        Mode::new()
    }
}

impl Visit for Mode {
    fn visit(&self, v: &mut dyn Visitor) {
        v.mode(self);
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_training() { "Mode(train)" } else { "Mode(eval)" })
    }
}

/// What can be put back to its beginning.
pub trait Reset {
    /// Forgets everything.
    fn reset(&self);
}

/// Something a model carries from one call to the next, such as the hidden state of a language model. Not trained, not saved;
/// [`Module::reset`](crate::Module::reset) gives it its default. Detach tensors before putting them here, or the
/// history of all batches stays alive.
///
/// ```
/// use hardpan_nn::State;
/// let calls: State<usize> = State::default();
/// calls.set(calls.get() + 1);
/// assert_eq!(calls.get(), 1);
/// ```
pub struct State<T>(Mutex<T>);

impl<T> State<T> {
    /// A cell that holds `value` now (and `T::default()` after a reset).
    pub fn new(value: T) -> State<T> {
        State(Mutex::new(value))
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        *self.0.lock().unwrap_or_else(|e| e.into_inner()) = value;
    }

    /// A copy of the value.
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Takes the value out and leaves the default.
    pub fn take(&self) -> T
    where
        T: Default,
    {
        std::mem::take(&mut self.0.lock().unwrap_or_else(|e| e.into_inner()))
    }
}

impl<T: Default> Default for State<T> {
    fn default() -> State<T> {
        State::new(T::default())
    }
}

impl<T: Default> Reset for State<T> {
    fn reset(&self) {
        self.set(T::default());
    }
}

impl<T: Default + Send> Visit for State<T> {
    fn visit(&self, v: &mut dyn Visitor) {
        v.state(self);
    }
}

impl<T> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State<{}>", std::any::type_name::<T>())
    }
}
