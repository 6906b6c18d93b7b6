//! What a device keeps beside memory: something computed from its contents, such as weights packed for a kernel.

use super::Mem;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

/// The most that one block of memory has beside it.
const MOST: usize = 4;

/// Copies of a block's contents in other forms, each under a key that says which. They go when the block is written to.
///
/// Nothing is kept for contents that are read once: in training weights change after every step, and a copy would be memory
/// written for nobody.
#[derive(Default)]
pub struct Derived {
    any: AtomicBool,
    entries: Mutex<Vec<Entry>>,
}

struct Entry {
    key: u64,
    value: Option<Arc<Mem>>,
}

impl Derived {
    /// The form `key` of the contents, made by `make` when it is asked for the second time; `None` the first time, and when
    /// `make` has no memory for it.
    pub fn get(&self, key: u64, make: impl FnOnce() -> Option<Mem>) -> Option<Arc<Mem>> {
        let mut entries = self.lock();
        if let Some(entry) = entries.iter_mut().find(|e| e.key == key) {
            if entry.value.is_none() {
                entry.value = make().map(Arc::new);
            }
            return entry.value.clone();
        }
        if entries.len() == MOST {
            entries.remove(0);
        }
        entries.push(Entry { key, value: None });
        self.any.store(true, Relaxed);
        None
    }

    /// Forgets all forms: the contents are about to change.
    pub fn clear(&self) {
        if self.any.load(Relaxed) {
            self.lock().clear();
            self.any.store(false, Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::DeviceId;

    #[test]
    fn forms_are_made_at_the_second_reading_and_forgotten_at_a_change() {
        let derived = Derived::default();
        let make = || Mem::alloc(DeviceId::CPU, 64).ok();
        assert!(derived.get(1, || unreachable!()).is_none());
        assert!(derived.get(2, || unreachable!()).is_none());
        let first = derived.get(1, make).unwrap();
        let again = derived.get(1, || unreachable!()).unwrap();
        assert_eq!(first.handle(), again.handle());
        derived.clear();
        assert!(derived.get(1, || unreachable!()).is_none());
    }

    #[test]
    fn only_a_few_forms_are_kept() {
        let derived = Derived::default();
        for key in 0..10 {
            derived.get(key, || unreachable!());
        }
        assert!(derived.get(9, || Mem::alloc(DeviceId::CPU, 64).ok()).is_some());
        assert!(derived.get(0, || unreachable!()).is_none(), "the oldest went");
    }
}
