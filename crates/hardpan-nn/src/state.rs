//! Cells that are neither trained nor saved: the training flag ([`Mode`]) and what a model remembers between calls ([`State`]).

use crate::{Visit, Visitor};
use hardpan_engine::Tensor;
use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// Says to one module whether it is being trained or used. Those that behave differently (dropout, batch norm) hold one;
/// [`Module::train`](crate::Module::train) and [`Module::eval`](crate::Module::eval) set all of a model. Starts in training.
///
/// Clones share the flag. Counterpart: `Module.training`.
///
/// ```
/// use hardpan_nn::{Dropout, Module};
/// let layer = Dropout::new(0.5);
/// assert!(layer.training.is_training());
/// layer.eval();
/// assert!(!layer.training.is_training());
/// ```
#[derive(Clone)]
pub struct Mode {
    training: Arc<AtomicBool>,
    for_dropout: bool,
}

impl Mode {
    /// A flag in training mode.
    pub fn new() -> Mode {
        Mode { training: Arc::new(AtomicBool::new(true)), for_dropout: false }
    }

    /// A flag in training mode that switches nothing but dropout, so that [`Module::set_dropout`](crate::Module::set_dropout) may set
    /// it alone.
    pub fn for_dropout() -> Mode {
        Mode { for_dropout: true, ..Mode::new() }
    }

    /// Whether the module is being trained.
    pub fn is_training(&self) -> bool {
        self.training.load(Relaxed)
    }

    /// Whether it was made by [`for_dropout`](Mode::for_dropout).
    pub fn is_for_dropout(&self) -> bool {
        self.for_dropout
    }

    /// Sets the flag.
    pub fn set_training(&self, training: bool) {
        self.training.store(training, Relaxed);
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
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Module, State};
/// use hardpan_nn::Reset;
/// let hidden = State::new(Some(Tensor::ones([2])));
/// let saved = hidden.save().unwrap();
/// hidden.reset();
/// assert!(hidden.get().is_none());
/// hidden.load(saved);
/// assert_eq!(hidden.get().unwrap().to_vec::<f32>(), [1.0, 1.0]);
/// ```
pub trait Reset {
    /// Forgets everything.
    fn reset(&self);

    /// The tensors inside, for a training that is to go on later; `None` for what holds something else.
    fn save(&self) -> Option<Vec<Tensor>> {
        None
    }

    /// Takes up again what [`save`](Reset::save) gave.
    fn load(&self, tensors: Vec<Tensor>) {
        let _ = tensors;
    }
}

/// Something a model carries from one call to the next, such as the hidden state of a language model. Not trained, not saved;
/// [`Module::reset`](crate::Module::reset) gives it its default, and a checkpoint of a training has it if it is made of tensors or is a
/// number ([`Module::carried`](crate::Module::carried)). Detach tensors before putting them here, or the
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

impl<T: Default + 'static> Reset for State<T> {
    fn reset(&self) {
        self.set(T::default());
    }

    fn save(&self) -> Option<Vec<Tensor>> {
        to_tensors(&*self.0.lock().unwrap_or_else(|e| e.into_inner()))
    }

    fn load(&self, tensors: Vec<Tensor>) {
        from_tensors(&mut *self.0.lock().unwrap_or_else(|e| e.into_inner()), tensors);
    }
}

impl<T: Default + Send + 'static> Visit for State<T> {
    fn visit(&self, v: &mut dyn Visitor) {
        v.state(self);
    }
}

/// The types of state that can be saved, as lists of tensors and back.
macro_rules! saved {
    ($($t:ty: |$value:ident| $to:expr, |$tensors:ident| $from:expr;)*) => {
        fn to_tensors(value: &dyn Any) -> Option<Vec<Tensor>> {
            $(if let Some($value) = value.downcast_ref::<$t>() {
                return Some($to);
            })*
            None
        }

        fn from_tensors(value: &mut dyn Any, list: Vec<Tensor>) {
            $(if let Some(slot) = value.downcast_mut::<$t>() {
                let mut $tensors = list.into_iter();
                if let Some(value) = $from {
                    *slot = value;
                }
                return;
            })*
        }
    };
}

/// Two by two.
fn pairs(mut tensors: impl Iterator<Item = Tensor>) -> Vec<(Tensor, Tensor)> {
    std::iter::from_fn(|| Some((tensors.next()?, tensors.next()?))).collect()
}

fn flat<'a>(pairs: impl IntoIterator<Item = &'a (Tensor, Tensor)>) -> Vec<Tensor> {
    pairs.into_iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect()
}

saved! {
    Tensor: |t| vec![t.clone()], |list| list.next();
    Option<Tensor>: |t| t.iter().cloned().collect(), |list| Some(list.next());
    Vec<Tensor>: |t| t.clone(), |list| Some(list.by_ref().collect());
    Option<Vec<Tensor>>: |t| t.iter().flatten().cloned().collect(),
        |list| Some(Some(list.by_ref().collect()).filter(|l: &Vec<Tensor>| !l.is_empty()));
    Option<(Tensor, Tensor)>: |t| flat(t), |list| Some(pairs(list.by_ref()).pop());
    Vec<(Tensor, Tensor)>: |t| flat(t), |list| Some(pairs(list.by_ref()));
    Option<Vec<(Tensor, Tensor)>>: |t| flat(t.iter().flatten()),
        |list| Some(Some(pairs(list.by_ref())).filter(|l| !l.is_empty()));
    usize: |n| vec![Tensor::scalar(*n as i64)], |list| list.next().map(|t| t.item::<i64>() as usize);
    f64: |x| vec![Tensor::scalar(*x)], |list| list.next().map(|t| t.item::<f64>());
    bool: |b| vec![Tensor::scalar(i64::from(*b))], |list| list.next().map(|t| t.item::<i64>() != 0);
}

impl<T> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State<{}>", std::any::type_name::<T>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Module;

    #[derive(Module)]
    struct Carrier {
        one: State<Option<Tensor>>,
        layers: State<Vec<(Tensor, Tensor)>>,
        count: State<usize>,
        other: State<String>,
    }

    fn carrier() -> Carrier {
        Carrier {
            one: State::default(),
            layers: State::default(),
            count: State::default(),
            other: State::default(),
        }
    }

    #[test]
    fn what_is_carried_is_saved_and_taken_up() {
        let a = carrier();
        assert_eq!(a.carried().keys().collect::<Vec<_>>(), ["count/0"]);
        a.one.set(Some(Tensor::ones([2])));
        a.layers.set(vec![(Tensor::zeros([1]), Tensor::ones([3])); 2]);
        a.count.set(7);
        a.other.set("kept".into());
        let saved = a.carried();
        let keys: Vec<&str> = saved.keys().collect();
        assert_eq!(keys, ["one/0", "layers/0", "layers/1", "layers/2", "layers/3", "count/0"]);
        let b = carrier();
        b.other.set("mine".into());
        b.set_carried(&saved);
        assert_eq!(b.one.get().unwrap().to_vec::<f32>(), [1.0, 1.0]);
        let shapes: Vec<_> = b.layers.get().iter().map(|(h, c)| (h.numel(), c.numel())).collect();
        assert_eq!((shapes, b.count.get(), b.other.get()), (vec![(1, 3); 2], 7, "mine".into()));
        // What was not there takes its default.
        b.set_carried(&carrier().carried());
        assert!(b.one.get().is_none() && b.layers.get().is_empty() && b.count.get() == 0);
    }
}
