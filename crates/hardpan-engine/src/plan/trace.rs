//! Where the time goes: `HARDPAN_TRACE=1` times every kernel and prints a table, by kernel and source line.

use crate::dtype::DType;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::panic::Location;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, Once};
use std::time::Duration;

struct Row {
    calls: u64,
    time: Duration,
    bytes: u64,
    flops: u64,
}

/// Kernel, shape, dtype, source line.
type Key = (String, Vec<usize>, DType, &'static Location<'static>);

static ROWS: Mutex<Option<HashMap<Key, Row>>> = Mutex::new(None);
/// 0 off, 1 table at the end, 2 also every plan as it runs.
static LEVEL: AtomicU8 = AtomicU8::new(0);
static READ_ENV: Once = Once::new();
static PLAN: Mutex<String> = Mutex::new(String::new());

pub(super) fn is_on() -> bool {
    READ_ENV.call_once(|| {
        if let Ok(v) = std::env::var("HARDPAN_TRACE")
            && let Ok(level) = v.parse::<u8>()
        {
            LEVEL.store(level, Relaxed);
        }
    });
    LEVEL.load(Relaxed) > 0
}

/// True when kernels are being timed.
pub fn enabled() -> bool {
    is_on()
}

/// Switches tracing: 0 off, 1 collect for [`report`], 2 also print each plan as it runs.
pub fn set_level(level: u8) {
    READ_ENV.call_once(|| {});
    LEVEL.store(level, Relaxed);
}

pub(super) fn record(
    name: &str,
    shape: &[usize],
    dtype: DType,
    at: &'static Location<'static>,
    time: Duration,
    bytes: u64,
    flops: u64,
) {
    let key = (name.to_string(), shape.to_vec(), dtype, at);
    let mut rows = ROWS.lock().unwrap_or_else(|e| e.into_inner());
    let row = rows.get_or_insert_default().entry(key).or_insert(Row {
        calls: 0,
        time: Duration::ZERO,
        bytes: 0,
        flops: 0,
    });
    row.calls += 1;
    row.time += time;
    row.bytes += bytes;
    row.flops += flops;
    if LEVEL.load(Relaxed) > 1 {
        let mut plan = PLAN.lock().unwrap_or_else(|e| e.into_inner());
        line(&mut plan, name, shape, dtype, at, 1, time, bytes, flops, None);
    }
}

pub(super) fn end_of_plan() {
    if LEVEL.load(Relaxed) > 1 {
        let mut plan = PLAN.lock().unwrap_or_else(|e| e.into_inner());
        eprintln!("{}{plan}", header());
        plan.clear();
    }
}

fn header() -> String {
    format!(
        "{:<44} {:<20} {:>7} {:>10} {:>6} {:>8} {:>8}  line\n",
        "kernel", "result", "calls", "time", "share", "GB/s", "GFLOP/s"
    )
}

#[allow(clippy::too_many_arguments)]
fn line(
    out: &mut String,
    name: &str,
    shape: &[usize],
    dtype: DType,
    at: &Location<'_>,
    calls: u64,
    time: Duration,
    bytes: u64,
    flops: u64,
    share: Option<f64>,
) {
    let s = time.as_secs_f64().max(1e-12);
    let mut short: String = name.chars().take(43).collect();
    if short.len() < name.len() {
        short.pop();
        short.push('…');
    }
    let result = format!("{dtype}{shape:?}");
    let file = at.file().rsplit_once("src/").map_or(at.file(), |(_, f)| f);
    let share = share.map_or(String::new(), |x| format!("{:.1}%", x * 100.0));
    let _ = writeln!(
        out,
        "{short:<44} {result:<20} {calls:>7} {:>10} {share:>6} {:>8.1} {:>8.1}  {file}:{}",
        format!("{:.1?}", time),
        bytes as f64 / s / 1e9,
        flops as f64 / s / 1e9,
        at.line()
    );
}

/// The table of everything recorded since the start (or the last [`reset`]), slowest first; empty when tracing is off.
pub fn report() -> String {
    let rows = ROWS.lock().unwrap_or_else(|e| e.into_inner());
    let Some(rows) = rows.as_ref() else { return String::new() };
    let total: f64 = rows.values().map(|r| r.time.as_secs_f64()).sum();
    let mut list: Vec<(&Key, &Row)> = rows.iter().collect();
    list.sort_by_key(|(_, row)| std::cmp::Reverse(row.time));
    let mut out = header();
    for ((name, shape, dtype, at), r) in list {
        let share = r.time.as_secs_f64() / total.max(1e-12);
        line(&mut out, name, shape, *dtype, at, r.calls, r.time, r.bytes, r.flops, Some(share));
    }
    let _ = writeln!(out, "total in kernels: {:.3} s", total);
    out
}

/// Forgets what was recorded.
pub fn reset() {
    *ROWS.lock().unwrap_or_else(|e| e.into_inner()) = None;
}
