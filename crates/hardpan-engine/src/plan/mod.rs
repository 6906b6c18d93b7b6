//! From pending nodes to executed kernels.
//!
//! 1. `collect`: what is pending and alive, in creation order, with a structural key;
//! 2. `cache`: a plan for that key, if one was made before (scalars are slots, so a changed learning rate hits);
//! 3. otherwise `group` decides which nodes share a kernel, with `lower` turning views into addresses, and `build` lays out
//!    buffers, donations and launch order;
//! 4. `run` binds buffers and scalars and launches.
//!
//! `capture` keeps what step 2 found and runs step 4 alone, on other inputs.

mod build;
mod cache;
mod capture;
mod collect;
mod dump;
mod group;
mod lower;
mod run;
pub mod trace;

pub use cache::{PlanStats, clear_plan_cache, plan_stats, set_plan_cache_limit};
pub use capture::{CaptureError, Captured};
pub use dump::pending_dot;

use crate::node::Tensor;
use std::cell::Cell;
use std::sync::OnceLock;

thread_local! {
    static EAGER: Cell<Option<bool>> = const { Cell::new(None) };
    static FLUSHING: Cell<bool> = const { Cell::new(false) };
    static FLUSHES: Cell<u64> = const { Cell::new(0) };
}

/// True when every operation runs by itself: `HARDPAN_EAGER=1` or inside [`with_eager`].
pub(crate) fn is_eager() -> bool {
    static ENV: OnceLock<bool> = OnceLock::new();
    EAGER.with(|e| e.get()).unwrap_or_else(|| {
        *ENV.get_or_init(|| std::env::var("HARDPAN_EAGER").is_ok_and(|v| v != "0" && !v.is_empty()))
    })
}

/// How often this thread has computed something.
fn flushes() -> u64 {
    FLUSHES.get()
}

/// Runs `f` with (or without) eager execution on this thread, whatever `HARDPAN_EAGER` says.
pub fn with_eager<R>(eager: bool, f: impl FnOnce() -> R) -> R {
    struct Guard(Option<bool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            EAGER.with(|e| e.set(self.0));
        }
    }
    let _guard = Guard(EAGER.with(|e| e.replace(Some(eager))));
    f()
}

/// Computes every pending tensor of this thread that is still alive. A training step calls it once, after the optimizer.
pub fn flush_all() {
    flush(None);
}

/// Computes what is pending on this thread, and `wanted` wherever it was built.
#[track_caller]
pub(crate) fn flush(wanted: Option<&Tensor>) {
    if FLUSHING.with(|f| f.replace(true)) {
        // A custom op that builds tensors while it runs: compute just what it wants, with its own list.
        return flush_inner(wanted);
    }
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            FLUSHING.with(|f| f.set(false));
        }
    }
    let _guard = Guard;
    flush_inner(wanted);
}

fn flush_inner(wanted: Option<&Tensor>) {
    let Some(mut graph) = collect::collect(wanted) else { return };
    FLUSHES.set(FLUSHES.get() + 1);
    // Nodes of several devices may wait together; each device gets its own plan.
    while let Some(part) = graph.next_device() {
        let plan = cache::lookup(&part, || build::plan(&part));
        run::run(&part, &plan);
    }
}
