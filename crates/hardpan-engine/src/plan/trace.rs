//! Where the time goes: `HARDPAN_TRACE=1` times every kernel and prints a table, by kernel and source line.

use crate::dev::cpu::limits::Limits;
use crate::dtype::DType;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::panic::Location;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, Once};
use std::time::Duration;

#[derive(Default)]
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
    if LEVEL.load(Relaxed) > 1 {
        let mut plan = PLAN.lock().unwrap_or_else(|e| e.into_inner());
        line(&mut plan, &key, &Row { calls: 1, time, bytes, flops }, None);
    }
    let mut rows = ROWS.lock().unwrap_or_else(|e| e.into_inner());
    let row = rows.get_or_insert_default().entry(key).or_default();
    row.calls += 1;
    row.time += time;
    row.bytes += bytes;
    row.flops += flops;
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
        "{:<44} {:<20} {:>7} {:>10} {:>6} {:>8} {:>8} {:>10}  line\n",
        "kernel", "result", "calls", "time", "share", "GB/s", "GFLOP/s", "of peak"
    )
}

/// A row of the table; in the table of everything with its share of the time, and of what the machine can do.
fn line(out: &mut String, key: &Key, row: &Row, whole: Option<(f64, &Limits)>) {
    let (name, shape, dtype, at) = key;
    let s = row.time.as_secs_f64().max(1e-12);
    let mut short: String = name.chars().take(43).collect();
    if short.len() < name.len() {
        short.pop();
        short.push('…');
    }
    let result = format!("{dtype}{shape:?}");
    let file = at.file().rsplit_once("src/").map_or(at.file(), |(_, f)| f);
    let (share, peak) = match whole {
        Some((total, limits)) => {
            let (limit, near) = limits.share(row.bytes, row.flops, s);
            let share = format!("{:.1}%", s / total.max(1e-12) * 100.0);
            (share, format!("{:.0}% {limit:<4}", near * 100.0))
        }
        None => Default::default(),
    };
    let _ = writeln!(
        out,
        "{short:<44} {result:<20} {:>7} {:>10} {share:>6} {:>8.1} {:>8.1} {peak:>10}  {file}:{}",
        row.calls,
        format!("{:.1?}", row.time),
        row.bytes as f64 / s / 1e9,
        row.flops as f64 / s / 1e9,
        at.line()
    );
}

/// The table of everything recorded since the start (or the last [`reset`]), slowest first; empty when tracing is off. `of peak` is how near
/// a kernel came to what this machine's processor (`flop`) or memory (`mem`) can do, whichever is nearer; both are measured for the
/// table, which takes a tenth of a second. More than 100 % of memory means that a cache had the data.
pub fn report() -> String {
    let rows = ROWS.lock().unwrap_or_else(|e| e.into_inner());
    let Some(rows) = rows.as_ref() else { return String::new() };
    let limits = Limits::measure();
    let total: f64 = rows.values().map(|r| r.time.as_secs_f64()).sum();
    let mut list: Vec<(&Key, &Row)> = rows.iter().collect();
    list.sort_by_key(|(_, row)| std::cmp::Reverse(row.time));
    let mut out = header();
    for (key, row) in list {
        line(&mut out, key, row, Some((total, &limits)));
    }
    let Limits { threads, gflops, gbs } = limits;
    let _ = writeln!(
        out,
        "total in kernels: {total:.3} s; peaks on {threads} threads: {gflops:.0} GFLOP/s, {gbs:.0} GB/s of memory"
    );
    out
}

/// Forgets what was recorded.
pub fn reset() {
    *ROWS.lock().unwrap_or_else(|e| e.into_inner()) = None;
}
