//! Ctrl-C. The first asks the work to stop at the next safe point, where it saves what it has; the second stops at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// A flag that becomes true at the first Ctrl-C (or SIGTERM). To be called once; `on_first` runs at that moment, on
/// another thread, and may print.
pub fn flag(on_first: impl Fn() + Send + 'static) -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = flag.clone();
    ctrlc::set_handler(move || {
        if seen.swap(true, SeqCst) {
            // The status that shells give to what SIGINT ended.
            std::process::exit(130);
        }
        on_first();
    })?;
    Ok(flag)
}
