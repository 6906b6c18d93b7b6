//! [`lock`]: a mutex whatever has happened to it.

use std::sync::{Mutex, MutexGuard};

/// Locks, also after a panic of whoever held it: what is behind these mutexes is whole at every moment.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
