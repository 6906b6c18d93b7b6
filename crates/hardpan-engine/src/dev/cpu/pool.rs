//! The thread pool behind every CPU kernel.
//!
//! [`parallel_for`] runs a closure for each task number, on the calling thread and on helper threads.
//! It is built for kernels of a few microseconds: helpers spin for a short while after a job, so the
//! next one starts in well under a microsecond, and then they park.
//!
//! Each thread has a *lane*: a fixed share of the tasks, neighbours in number, the same in every job of
//! as many tasks. So the thread that wrote a part of an array is the one that reads it in the next
//! kernel, and finds it in its own caches (a sum of 64 MiB, again and again, was read at 1.5 times the
//! speed of tasks handed out in turn). Whoever has finished its lane helps with the others'.
//!
//! Tasks are claimed one at a time from a lane's *ticket*, a word that holds the job's number (its
//! epoch) beside the next task's number. The caller claims too and waits only for tasks that some
//! helper has really claimed: a helper that the operating system has put aside costs nothing, because
//! the caller drains the whole job itself.
//!
//! Only one job runs at a time. A call while a job runs, from inside its tasks or from another thread,
//! runs its tasks in order on its own thread, which is always correct, since tasks may not depend on
//! each other. Kernels therefore choose their arithmetic by shape alone and never by thread count.
//!
//! # Why a late helper never touches a dead closure
//! A job's closure lives on the caller's stack, and the pool holds a bare pointer to it.
//! A helper reads a lane's ticket `(epoch, next)`, then the job's fields, then swaps the ticket for
//! `(epoch, next + 1)`, and calls the closure only if that swap succeeds.
//! - Success means that the ticket still held `(epoch, next)`, so task `next` had not been claimed.
//!   The caller leaves `parallel_for` only after all tasks are counted as finished, this one included,
//!   so the closure outlives the call.
//! - The fields it read belong to the same epoch. Before a caller writes any field it *closes* the
//!   tickets of all lanes that the job before had: the new epoch with a task number that no job
//!   reaches; those of the other lanes have been closed since a job before that one, so that no lane
//!   is ever open but by the job at hand. Fields are written with release and read with acquire, so a
//!   helper that saw a field of a later job also sees that closing, and its swap of the older ticket
//!   fails; and a helper that saw a ticket of this epoch open sees all of its fields, which were
//!   written before. A later job cannot write fields before this one has finished, hence not before
//!   the swap.
//! - The count of finished tasks, the panic slot and the wake-up lock are statics, so a helper that is
//!   delayed after finishing its task touches nothing that can be freed.
//! - Epochs have 40 bits: the swap could be fooled only by a helper stopped between two instructions
//!   for exactly 2^40 jobs, which is more than a week of back-to-back empty jobs.
use std::any::Any;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long an idle helper, or a caller waiting for the last task, spins before it sleeps. Longer than the gap of small kernels
/// and graph building between two parallel kernels of a training step: waking a parked thread costs more than such a kernel saves
/// (a step of a small network took 280 us with 40 us here, 137 us with 200).
const SPIN: Duration = Duration::from_micros(200);

/// How long such a thread spins before it begins to offer its core to others between looks. On a machine that has other work the
/// thread it waits for may be queued on this very core; on an idle one the offer returns in a fraction of a microsecond.
const GENEROUS: Duration = Duration::from_micros(5);

/// Low bits of the ticket that hold the next task's number.
const TASK_BITS: u32 = 24;
const TASK_MASK: u64 = (1 << TASK_BITS) - 1;

/// The most threads that a job may use.
const MAX_THREADS: usize = 256;

/// The number of threads that kernels run on, the calling thread included: the last
/// [`set_threads`], else `HARDPAN_THREADS`, else what the machine offers. At least 1.
///
/// # Panics
/// When `HARDPAN_THREADS` is set but is not a whole number of 1 or more.
pub fn threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let count = initial_threads();
            // A set_threads that came first wins.
            let _ = THREADS.compare_exchange(0, count, Ordering::Relaxed, Ordering::Relaxed);
            THREADS.load(Ordering::Relaxed)
        }
        count => count,
    }
}

fn initial_threads() -> usize {
    let count = match std::env::var("HARDPAN_THREADS") {
        Ok(text) if !text.trim().is_empty() => match text.trim().parse::<usize>() {
            Ok(count) if count >= 1 => count,
            _ => panic!("HARDPAN_THREADS: expected a whole number of 1 or more, got {text:?}"),
        },
        _ => std::thread::available_parallelism().map_or(1, |count| count.get()),
    };
    count.min(MAX_THREADS)
}

/// Sets the number of threads for the jobs that start from now on, for the whole process.
///
/// # Panics
/// When `count` is 0.
#[track_caller]
pub fn set_threads(count: usize) {
    assert!(count >= 1, "set_threads: expected 1 or more threads, got 0");
    THREADS.store(count.min(MAX_THREADS), Ordering::Relaxed);
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Runs `f(0)`, `f(1)`, ... `f(tasks - 1)`, in any order, on this thread and the pool's helpers, and
/// returns when all have finished.
///
/// With one task or one thread, or when the pool is already at work (a call from inside a task or
/// from another thread), the tasks run here in order.
///
/// # Panics
/// When a task panics, with that task's panic; the other tasks still run (those run in order after
/// it do not).
pub fn parallel_for(tasks: usize, f: impl Fn(usize) + Sync) {
    if tasks <= 1 || threads() <= 1 || !claim_pool() {
        for task in 0..tasks {
            f(task);
        }
        return;
    }
    let _release = ReleasePool;
    if tasks <= TASK_MASK as usize {
        run_job(tasks, &f);
    } else {
        // More tasks than the ticket can count: hand them out in runs.
        let run = tasks.div_ceil(TASK_MASK as usize);
        run_job(tasks.div_ceil(run), &|group: usize| {
            for task in group * run..((group + 1) * run).min(tasks) {
                f(task);
            }
        });
    }
}

/// A writable slice that the tasks of one job share, each writing its own part.
///
/// Building one is safe and borrows the slice; [`SharedMut::share`] hands out the copies that need a
/// promise.
pub struct SharedMut<'a, T> {
    start: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: a `SharedMut` is a `&mut [T]` that has not been split yet; whoever splits it promises (see
// `share` and `slice`) that no element is reached from two threads at once.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above; every method that reaches elements through `&self` is unsafe.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    /// Borrows `slice` for sharing.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), borrow: PhantomData }
    }

    /// Wraps memory that is reached through a bare pointer.
    ///
    /// # Safety
    /// `start` must be valid for reads and writes of `len` elements for `'a`, and nothing else may
    /// reach them in that time, but for copies made by [`SharedMut::share`].
    pub unsafe fn from_raw(start: *mut T, len: usize) -> Self {
        Self { start, len, borrow: PhantomData }
    }

    /// A second handle to the same elements.
    ///
    /// # Safety
    /// The holders must never reach the same element at the same time. Between a kernel and its hook
    /// that holds when the hook touches only the tile it is handed.
    pub unsafe fn share(&self) -> Self {
        Self { start: self.start, len: self.len, borrow: PhantomData }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of the first element.
    pub fn as_ptr(&self) -> *mut T {
        self.start
    }

    /// The elements `start..start + len`.
    ///
    /// # Safety
    /// No other live reference may cover any of these elements.
    ///
    /// # Panics
    /// When the range does not lie inside the slice.
    #[allow(clippy::mut_from_ref)]
    #[track_caller]
    pub unsafe fn slice(&self, start: usize, len: usize) -> &mut [T] {
        assert!(
            start <= self.len && len <= self.len - start,
            "SharedMut::slice: {start}..{start}+{len} of {}",
            self.len
        );
        // SAFETY: in bounds by the check above; exclusive by this method's contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

type Call = unsafe fn(*const (), usize);

/// The current job's fields. Written with release after the ticket is closed, read with acquire.
static CALL: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
static CLOSURE: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
static TASKS: AtomicUsize = AtomicUsize::new(0);
/// How many lanes the current job has, and the one before had until their tickets are closed.
static LANES: AtomicUsize = AtomicUsize::new(0);

/// A ticket with a cache line (and its neighbour, which processors fetch with it) of its own.
#[repr(align(128))]
struct Ticket(AtomicU64);

/// By lane: `(epoch << TASK_BITS) | next task`.
static TICKETS: [Ticket; MAX_THREADS] = [const { Ticket(AtomicU64::new(TASK_MASK)) }; MAX_THREADS];
static FINISHED: AtomicUsize = AtomicUsize::new(0);

/// Where a lane's tasks begin, and the one's before end.
fn lane_start(lane: usize, lanes: usize, tasks: usize) -> usize {
    lane * tasks / lanes
}

/// Whether a job is running; taken by the one caller that owns the ticket and the job's fields.
static BUSY: AtomicBool = AtomicBool::new(false);

/// A sleeping caller waits here for the last task.
static CALLER_WAITS: AtomicBool = AtomicBool::new(false);
static ALL_FINISHED: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

static PANICKED: AtomicBool = AtomicBool::new(false);
static PANIC: Mutex<Option<Box<dyn Any + Send>>> = Mutex::new(None);

/// A helper thread as the caller sees it.
struct Helper {
    thread: Thread,
    asleep: Arc<AtomicBool>,
}
static HELPER_LIST: Mutex<Vec<Helper>> = Mutex::new(Vec::new());

/// No pool lock is held while foreign code runs, so a poisoned one still holds sound data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn claim_pool() -> bool {
    BUSY.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

struct ReleasePool;
impl Drop for ReleasePool {
    fn drop(&mut self) {
        BUSY.store(false, Ordering::Release);
    }
}

/// Runs a job of 1 to `TASK_MASK` tasks. The caller must hold `BUSY`.
fn run_job<F: Fn(usize) + Sync>(tasks: usize, f: &F) {
    /// # Safety
    /// `closure` must point to a live `F`.
    unsafe fn call<F: Fn(usize) + Sync>(closure: *const (), task: usize) {
        // SAFETY: the contract of `call`.
        unsafe { (*closure.cast::<F>())(task) }
    }
    let helpers = (threads() - 1).min(tasks - 1);
    let lanes = helpers + 1;
    let epoch = ((TICKETS[0].0.load(Ordering::Relaxed) >> TASK_BITS) + 1) << TASK_BITS;
    // Closed: `TASK_MASK` is at or past the end of every job.
    for ticket in &TICKETS[..LANES.load(Ordering::Relaxed).max(1)] {
        ticket.0.store(epoch | TASK_MASK, Ordering::Relaxed);
    }
    CALL.store(call::<F> as Call as *mut (), Ordering::Release);
    CLOSURE.store(std::ptr::from_ref(f).cast_mut().cast(), Ordering::Release);
    TASKS.store(tasks, Ordering::Release);
    LANES.store(lanes, Ordering::Release);
    FINISHED.store(0, Ordering::Relaxed);
    for (lane, ticket) in TICKETS[..lanes].iter().enumerate() {
        ticket.0.store(epoch | lane_start(lane, lanes, tasks) as u64, Ordering::Release);
    }
    wake(helpers);

    work(0);

    if FINISHED.load(Ordering::Acquire) != tasks {
        wait_for_last_task(tasks);
    }
    if PANICKED.swap(false, Ordering::Relaxed)
        && let Some(payload) = lock(&PANIC).take()
    {
        resume_unwind(payload);
    }
}

/// Wakes those of the first `helpers` helpers that sleep, starting threads that do not exist yet.
fn wake(helpers: usize) {
    let mut list = lock(&HELPER_LIST);
    while list.len() < helpers {
        let lane = list.len() + 1;
        let asleep = Arc::new(AtomicBool::new(false));
        let flag = asleep.clone();
        let started = std::thread::Builder::new()
            .name(format!("hardpan-{lane}"))
            .spawn(move || helper_main(lane, &flag));
        match started {
            Ok(handle) => list.push(Helper { thread: handle.thread().clone(), asleep }),
            // No more threads to be had: the job runs on those there are.
            Err(_) => break,
        }
    }
    // Pairs with the fence in `helper_main`: either the helper sees the new ticket, or its flag is
    // seen here.
    fence(Ordering::SeqCst);
    for helper in list.iter().take(helpers) {
        if helper.asleep.load(Ordering::Relaxed) && helper.asleep.swap(false, Ordering::AcqRel) {
            helper.thread.unpark();
        }
    }
}

fn helper_main(own: usize, asleep: &AtomicBool) {
    let mut idle_since = Instant::now();
    // Every job that this thread takes part in changes the ticket of its lane.
    let mut seen = TASK_MASK;
    loop {
        let ticket = TICKETS[own].0.load(Ordering::Acquire);
        if ticket != seen {
            seen = ticket;
            if work(own) {
                idle_since = Instant::now();
            }
        }
        for _ in 0..32 {
            std::hint::spin_loop();
        }
        let idle = idle_since.elapsed();
        if idle < SPIN {
            if idle > GENEROUS {
                std::thread::yield_now();
            }
            continue;
        }
        asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if has_work(own) {
            asleep.store(false, Ordering::Relaxed);
            continue;
        }
        while asleep.load(Ordering::Acquire) {
            std::thread::park();
        }
        idle_since = Instant::now();
    }
}

/// Whether tasks are left that the thread of lane `own` may take.
fn has_work(own: usize) -> bool {
    let lanes = LANES.load(Ordering::Acquire);
    own < lanes && (0..lanes).any(|lane| next_task(lane).is_some())
}

/// The ticket of a lane with a task left, and that task; both belong to one job if the ticket is still the same later.
fn next_task(lane: usize) -> Option<(u64, usize)> {
    let ticket = TICKETS[lane].0.load(Ordering::Acquire);
    let task = (ticket & TASK_MASK) as usize;
    let (tasks, lanes) = (TASKS.load(Ordering::Acquire), LANES.load(Ordering::Acquire));
    (lane < lanes && task < lane_start(lane + 1, lanes, tasks)).then_some((ticket, task))
}

/// Claims and runs tasks of the current job, those of lane `own` first, until none is left; returns whether it ran any. The
/// caller's lane is 0, which every job has.
fn work(own: usize) -> bool {
    let mut worked = false;
    let lanes = LANES.load(Ordering::Acquire);
    if own < lanes {
        for lane in (own..lanes).chain(0..own) {
            while let Some((ticket, task)) = next_task(lane) {
                worked |= claim(lane, ticket, task);
            }
        }
    }
    worked
}

/// Runs a task unless somebody else has claimed it.
fn claim(lane: usize, ticket: u64, task: usize) -> bool {
    let tasks = TASKS.load(Ordering::Acquire);
    let closure = CLOSURE.load(Ordering::Acquire);
    let call = CALL.load(Ordering::Acquire);
    let (word, order) = (&TICKETS[lane].0, Ordering::AcqRel);
    if word.compare_exchange(ticket, ticket + 1, order, Ordering::Relaxed).is_err() {
        return false;
    }
    // SAFETY: the exchange succeeded, so (module text) both pointers belong to this task's job:
    // `call` was stored from a `Call`, `closure` points to the closure that it expects, and the
    // job's caller keeps that closure alive until `FINISHED` counts this task.
    let result = catch_unwind(AssertUnwindSafe(|| unsafe {
        std::mem::transmute::<*mut (), Call>(call)(closure, task)
    }));
    if let Err(payload) = result {
        *lock(&PANIC) = Some(payload);
        PANICKED.store(true, Ordering::Relaxed);
    }
    // SeqCst pairs with `wait_for_last_task`: either the caller sees this count, or this thread
    // sees that the caller sleeps.
    if FINISHED.fetch_add(1, Ordering::SeqCst) + 1 == tasks && CALLER_WAITS.load(Ordering::SeqCst) {
        drop(lock(&ALL_FINISHED.0));
        ALL_FINISHED.1.notify_all();
    }
    true
}

#[cold]
fn wait_for_last_task(tasks: usize) {
    let start = Instant::now();
    loop {
        for _ in 0..32 {
            if FINISHED.load(Ordering::Acquire) == tasks {
                return;
            }
            std::hint::spin_loop();
        }
        let waited = start.elapsed();
        if waited > SPIN {
            break;
        }
        if waited > GENEROUS {
            std::thread::yield_now();
        }
    }
    CALLER_WAITS.store(true, Ordering::SeqCst);
    let mut guard = lock(&ALL_FINISHED.0);
    while FINISHED.load(Ordering::SeqCst) != tasks {
        guard = ALL_FINISHED.1.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
    drop(guard);
    CALLER_WAITS.store(false, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn counts(tasks: usize) -> Vec<u32> {
        let counts: Vec<AtomicU32> = (0..tasks).map(|_| AtomicU32::new(0)).collect();
        parallel_for(tasks, |task| {
            counts[task].fetch_add(1, Ordering::Relaxed);
        });
        counts.into_iter().map(AtomicU32::into_inner).collect()
    }

    #[test]
    fn every_task_runs_exactly_once() {
        for threads in [1, 2, 3, 5] {
            set_threads(threads);
            for tasks in [0, 1, 2, 3, 7, 100, 1000] {
                assert_eq!(counts(tasks), vec![1; tasks], "{threads} threads");
            }
        }
    }

    #[test]
    fn many_small_jobs_back_to_back_and_after_sleep() {
        set_threads(3);
        for round in 0..3000 {
            // The closure borrows from this stack frame, which changes each round: a helper that is
            // late would write into the wrong round's counters.
            let sum = AtomicUsize::new(0);
            parallel_for(5, |task| {
                sum.fetch_add(round + task, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 5 * round + 10);
            if round % 500 == 0 {
                std::thread::sleep(2 * SPIN);
            }
        }
    }

    #[test]
    fn jobs_finish_beside_neighbours_that_never_rest() {
        set_threads(3);
        let rest = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !rest.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            for tasks in 0..100 {
                assert_eq!(counts(tasks), vec![1; tasks]);
            }
            rest.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn helpers_take_part() {
        // The two tasks wait for each other, so they meet only if two threads run them. Another test
        // may hold the pool, which makes a call run inline; then try again.
        let met = (0..1000).any(|_| {
            set_threads(2);
            let arrived = AtomicUsize::new(0);
            let met = AtomicBool::new(true);
            parallel_for(2, |_| {
                arrived.fetch_add(1, Ordering::SeqCst);
                let start = Instant::now();
                while arrived.load(Ordering::SeqCst) < 2 {
                    if start.elapsed() > Duration::from_millis(50) {
                        met.store(false, Ordering::SeqCst);
                        break;
                    }
                    std::thread::yield_now();
                }
            });
            met.into_inner()
        });
        assert!(met, "no helper ever took a task");
    }

    #[test]
    fn threads_begin_with_their_own_tasks() {
        // Both tasks wait for each other, so each thread runs one: the caller the first.
        set_threads(2);
        let caller = std::thread::current().id();
        let met = (0..1000).any(|_| {
            let (arrived, first) = (AtomicUsize::new(0), Mutex::new(None));
            parallel_for(2, |task| {
                if task == 0 {
                    *lock(&first) = Some(std::thread::current().id());
                }
                arrived.fetch_add(1, Ordering::SeqCst);
                let start = Instant::now();
                while arrived.load(Ordering::SeqCst) < 2
                    && start.elapsed() < Duration::from_millis(50)
                {
                    std::thread::yield_now();
                }
            });
            assert_eq!(*lock(&first), Some(caller));
            arrived.into_inner() == 2
        });
        assert!(met, "no helper ever took a task");
    }

    #[test]
    fn lanes_share_out_all_tasks() {
        for tasks in [1, 2, 3, 7, 100, TASK_MASK as usize] {
            for lanes in 1..=MAX_THREADS.min(tasks) {
                assert_eq!(
                    (lane_start(0, lanes, tasks), lane_start(lanes, lanes, tasks)),
                    (0, tasks)
                );
                assert!(
                    (0..lanes)
                        .all(|l| lane_start(l, lanes, tasks) < lane_start(l + 1, lanes, tasks))
                );
            }
        }
    }

    #[test]
    fn jobs_of_changing_width_leave_no_lane_open() {
        // Helpers of wide jobs are late for narrow ones, whose lanes are fewer and longer.
        for round in 0..2000 {
            set_threads([8, 2, 5, 1, 3][round % 5]);
            let tasks = [64, 3, 17, 9, 200][round % 5];
            assert_eq!(counts(tasks), vec![1; tasks]);
        }
        set_threads(3);
    }

    #[test]
    fn nested_and_concurrent_calls_run_inline() {
        set_threads(3);
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let caller = std::thread::current().id();
                    for _ in 0..100 {
                        parallel_for(4, |_| {
                            let here = std::thread::current().id();
                            parallel_for(3, |_| {
                                // A helper is at work, so the pool is taken. The caller may have found it taken and be running
                                // its tasks in line, and the pool may be free by now.
                                if here != caller {
                                    assert_eq!(std::thread::current().id(), here);
                                }
                                total.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 3 * 100 * 12);
    }

    #[test]
    fn a_task_panic_reaches_the_caller_and_the_pool_survives() {
        set_threads(3);
        for _ in 0..20 {
            let caught = catch_unwind(|| {
                parallel_for(8, |task| assert!(task != 5, "task five"));
            });
            let payload = caught.unwrap_err();
            let text = payload.downcast_ref::<&str>().expect("the task's own message");
            assert_eq!(*text, "task five");
            assert_eq!(counts(50), vec![1; 50]);
        }
    }

    #[test]
    fn more_tasks_than_the_ticket_counts() {
        set_threads(2);
        let tasks = TASK_MASK as usize + 3;
        let sum = AtomicUsize::new(0);
        parallel_for(tasks, |task| {
            sum.fetch_add(task, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), tasks * (tasks - 1) / 2);
    }
}
