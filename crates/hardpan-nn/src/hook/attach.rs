//! Which models have hooks on this thread, and where their modules lie.

use super::{Entry, Hooks};
use crate::Module;
use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::rc::Rc;

/// What tells one module from another while its model is borrowed: where it lies, and its type (a struct and its first field
/// lie at the same place).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(usize, TypeId);

impl Key {
    pub(super) fn of(module: &dyn Module) -> Key {
        Key(std::ptr::from_ref(module).cast::<()>() as usize, (module as &dyn Any).type_id())
    }
}

/// One attachment of one list of hooks to one model.
pub(super) struct Active {
    id: u64,
    pub(super) hooks: Hooks,
    places: HashMap<Key, Places>,
}

/// The paths of the modules that share a key, and which of them is called next.
#[derive(Default)]
struct Places {
    paths: Vec<Rc<str>>,
    next: Cell<usize>,
}

impl Active {
    /// The path of a module; of several, each in turn.
    pub(super) fn path(&self, key: Key) -> Option<Rc<str>> {
        let places = self.places.get(&key)?;
        let i = places.next.get();
        places.next.set((i + 1) % places.paths.len());
        Some(places.paths[i].clone())
    }

    /// As [`path`](Active::path) without moving on.
    pub(super) fn peek(&self, key: Key) -> Option<Rc<str>> {
        let places = self.places.get(&key)?;
        Some(places.paths[places.next.get()].clone())
    }

    /// Whether the walk met this module.
    pub(super) fn has(&self, key: Key) -> bool {
        self.places.contains_key(&key)
    }

    /// The hooks for this module.
    pub(super) fn entries(&self, path: &str, module: &dyn Module) -> Vec<Entry> {
        let mut entries = self.hooks.entries();
        entries.retain(|e| e.at.selects(path, module));
        entries
    }
}

thread_local! {
    /// Length of `ACTIVE`: all that a layer looks at when there are no hooks.
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static ACTIVE: RefCell<Vec<Rc<Active>>> = const { RefCell::new(Vec::new()) };
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

/// Whether any hooks are attached on this thread.
///
/// ```
/// use hardpan_nn::hook::{Hooks, attached};
/// use hardpan_nn::Linear;
/// let (model, hooks) = (Linear::new(2, 2), Hooks::new());
/// let guard = hooks.attach(&model);
/// assert!(attached());
/// drop(guard);
/// assert!(!attached());
/// ```
#[inline]
pub fn attached() -> bool {
    COUNT.with(Cell::get) > 0
}

/// All attachments of this thread, oldest first.
pub(super) fn all() -> Vec<Rc<Active>> {
    ACTIVE.with(|a| a.borrow().clone())
}

pub(super) fn attach<'m, M: Module + ?Sized>(hooks: &Hooks, model: &'m M) -> Attached<'m> {
    let mut places: HashMap<Key, Places> = HashMap::new();
    model.for_each_module(&mut |path, module| {
        places.entry(Key::of(module)).or_default().paths.push(path.into());
    });
    let id = NEXT.with(|n| n.replace(n.get() + 1));
    let active = Rc::new(Active { id, hooks: hooks.clone(), places });
    let count = ACTIVE.with(|a| {
        a.borrow_mut().push(active);
        a.borrow().len()
    });
    COUNT.with(|c| c.set(count));
    Attached { id, borrows: PhantomData }
}

/// Hooks at work on a model. It borrows the model, so that its modules stay where they are; training goes through a shared
/// borrow as well, so it can go on meanwhile.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::hook::Hooks;
/// use hardpan_nn::{Forward, Linear};
/// let (model, hooks) = (Linear::new(2, 2), Hooks::new());
/// let seen = hooks.capture("");
/// let guard = hooks.attach(&model);
/// model.forward(&Tensor::ones([1, 2]));
/// drop(guard);
/// model.forward(&Tensor::ones([1, 2]));
/// assert_eq!(seen.take().len(), 1);
/// ```
pub struct Attached<'m> {
    id: u64,
    /// Not `Send`: the attachment is this thread's.
    borrows: PhantomData<(&'m (), *const ())>,
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        // A thread that is ending may have dropped its lists already.
        let _ = ACTIVE.try_with(|a| {
            let mut a = a.borrow_mut();
            a.retain(|x| x.id != self.id);
            let _ = COUNT.try_with(|c| c.set(a.len()));
        });
    }
}
