//! Threads that make batches while the consumer is busy with earlier ones.
//!
//! Each worker takes the number of the next batch, makes it, and puts it on a shelf; the consumer takes batches from the shelf in
//! their order. Workers stop taking numbers when they are `ahead` batches ahead. What a batch holds depends on its number alone, so
//! the number of workers changes nothing but time.

use super::{Batch, DataError};
use hardpan_engine::dev::default_device;
use hardpan_engine::{flush_all, with_device};
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A batch, no batch because all its items were left out, or why there is none.
pub(super) type Loaded<X, Y> = Result<Option<Batch<X, Y>>, DataError>;

struct Shelf<T> {
    state: Mutex<State<T>>,
    /// There may be room for another batch.
    room: Condvar,
    /// There may be the batch that the consumer waits for.
    ready: Condvar,
}

struct State<T> {
    /// The batch that the next free worker takes.
    next: usize,
    /// Batches that the consumer has had.
    taken: usize,
    done: BTreeMap<usize, T>,
    stop: bool,
}

impl<T> Shelf<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        crate::lock::lock(&self.state)
    }
}

/// The batches that workers make, in their order.
pub(super) struct Workers<X, Y> {
    shelf: Arc<Shelf<Loaded<X, Y>>>,
    total: usize,
    threads: Vec<JoinHandle<()>>,
}

impl<X: Send + 'static, Y: Send + 'static> Workers<X, Y> {
    /// `workers` threads make the batches `0..total` by `make`, at most `ahead` before they are asked for.
    pub fn start(
        total: usize,
        workers: usize,
        ahead: usize,
        make: impl Fn(usize) -> Loaded<X, Y> + Send + Sync + 'static,
    ) -> Workers<X, Y> {
        let state = State { next: 0, taken: 0, done: BTreeMap::new(), stop: false };
        let shelf = Arc::new(Shelf {
            state: Mutex::new(state),
            room: Condvar::new(),
            ready: Condvar::new(),
        });
        let make = Arc::new(make);
        let device = default_device();
        let start = |_| {
            let (shelf, make) = (shelf.clone(), make.clone());
            let work = move || with_device(device, || work(&shelf, total, ahead, &*make));
            // Named, so that a panic's message says where it came from.
            std::thread::Builder::new()
                .name("hardpan-loader".to_owned())
                .spawn(work)
                .expect("the system has a thread left for loading data")
        };
        let threads = (0..workers.min(total)).map(start).collect();
        Workers { shelf, total, threads }
    }
}

fn work<X, Y>(
    shelf: &Shelf<Loaded<X, Y>>,
    total: usize,
    ahead: usize,
    make: &(impl Fn(usize) -> Loaded<X, Y> + ?Sized),
) {
    loop {
        let mut state = shelf.lock();
        while !state.stop && state.next < total && state.next >= state.taken + ahead {
            state = shelf.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stop || state.next >= total {
            return;
        }
        let batch = state.next;
        state.next += 1;
        drop(state);
        let made = catch_unwind(AssertUnwindSafe(|| {
            let made = make(batch);
            // Another thread cannot compute what is pending here.
            flush_all();
            made
        }));
        let made = made
            .unwrap_or_else(|panic| Err(DataError::Panicked { batch, message: words(&*panic) }));
        let mut state = shelf.lock();
        if made.is_err() {
            // The consumer ends there; what comes after would be for nobody.
            state.next = total;
        }
        state.done.insert(batch, made);
        shelf.ready.notify_one();
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}

impl<X, Y> Iterator for Workers<X, Y> {
    type Item = Loaded<X, Y>;

    fn next(&mut self) -> Option<Loaded<X, Y>> {
        let mut state = self.shelf.lock();
        loop {
            let wanted = state.taken;
            if let Some(made) = state.done.remove(&wanted) {
                state.taken += 1;
                if made.is_err() {
                    state.taken = self.total;
                }
                self.shelf.room.notify_all();
                return Some(made);
            }
            if wanted >= self.total {
                return None;
            }
            state = self.shelf.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<X, Y> Drop for Workers<X, Y> {
    fn drop(&mut self) {
        self.shelf.lock().stop = true;
        self.shelf.room.notify_all();
        for thread in self.threads.drain(..) {
            // Its panics were caught and delivered.
            let _ = thread.join();
        }
    }
}
