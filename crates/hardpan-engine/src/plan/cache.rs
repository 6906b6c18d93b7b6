//! Plans by structural key, least recently used ones dropped.

use super::build::Plan;
use super::collect::Graph;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

struct Entry {
    key: Box<[u64]>,
    plan: Arc<Plan>,
    used: u64,
}

#[derive(Default)]
struct Cache {
    entries: HashMap<u64, Vec<Entry>>,
    count: usize,
    clock: u64,
    limit: Option<usize>,
}

/// Plans kept unless [`set_plan_cache_limit`] says otherwise.
const DEFAULT_LIMIT: usize = 1024;

static CACHE: Mutex<Option<Cache>> = Mutex::new(None);
static HITS: AtomicU64 = AtomicU64::new(0);
static MISSES: AtomicU64 = AtomicU64::new(0);
pub(super) static KERNELS: AtomicU64 = AtomicU64::new(0);

/// Counters of the planner since the start of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanStats {
    /// Flushes that found their plan.
    pub hits: u64,
    /// Flushes that had to plan.
    pub misses: u64,
    /// Kernels launched.
    pub kernels: u64,
    /// Plans in the cache.
    pub plans: usize,
}

/// The counters now. Plans hold no buffers, and scalars are not part of their key.
pub fn plan_stats() -> PlanStats {
    PlanStats {
        hits: HITS.load(Relaxed),
        misses: MISSES.load(Relaxed),
        kernels: KERNELS.load(Relaxed),
        plans: lock().as_ref().map_or(0, |c| c.count),
    }
}

/// Forgets every plan.
pub fn clear_plan_cache() {
    let mut guard = lock();
    if let Some(c) = guard.as_mut() {
        c.entries.clear();
        c.count = 0;
    }
}

/// Keeps at most `limit` plans (at least 1), the least recently used go first. Default 1024.
pub fn set_plan_cache_limit(limit: usize) {
    let mut guard = lock();
    let c = guard.get_or_insert_default();
    c.limit = Some(limit.max(1));
    while c.count > limit.max(1) {
        evict(c);
    }
}

fn lock() -> MutexGuard<'static, Option<Cache>> {
    CACHE.lock().unwrap_or_else(|e| e.into_inner())
}

fn hash(key: &[u64]) -> u64 {
    let mut h = 0x9E37_79B9_7F4A_7C15u64;
    for k in key {
        h = (h ^ k).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h ^= h >> 32;
    }
    h
}

/// The plan for a graph, from the cache or made by `make`.
pub(super) fn lookup(graph: &Graph, make: impl FnOnce() -> Plan) -> Arc<Plan> {
    let h = hash(&graph.key);
    {
        let mut guard = lock();
        let c = guard.get_or_insert_default();
        c.clock += 1;
        let clock = c.clock;
        if let Some(e) =
            c.entries.get_mut(&h).and_then(|list| list.iter_mut().find(|e| *e.key == *graph.key))
        {
            e.used = clock;
            HITS.fetch_add(1, Relaxed);
            return e.plan.clone();
        }
    }
    MISSES.fetch_add(1, Relaxed);
    let plan = Arc::new(make());
    let mut guard = lock();
    let c = guard.get_or_insert_default();
    let used = c.clock;
    c.entries.entry(h).or_default().push(Entry {
        key: graph.key.clone().into_boxed_slice(),
        plan: plan.clone(),
        used,
    });
    c.count += 1;
    while c.count > c.limit.unwrap_or(DEFAULT_LIMIT) {
        evict(c);
    }
    plan
}

fn evict(c: &mut Cache) {
    let oldest =
        c.entries.iter().flat_map(|(h, list)| list.iter().map(move |e| (e.used, *h))).min();
    let Some((used, h)) = oldest else { return };
    let list = c.entries.get_mut(&h).expect("just found");
    list.retain(|e| e.used != used);
    if list.is_empty() {
        c.entries.remove(&h);
    }
    c.count = c.entries.values().map(Vec::len).sum();
}
