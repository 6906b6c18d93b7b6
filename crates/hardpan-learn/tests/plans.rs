//! What a training costs beside the arithmetic: plans, nodes, memory. Alone in its program, because the counters are the process's.

mod support;

use hardpan_engine::{flush_all, live_bytes, live_nodes, plan_stats};
use support::*;

#[test]
fn a_step_is_one_flush_with_a_known_plan_and_leaves_nothing_behind() {
    let steps = 10_000;
    // 16 steps an epoch, so 625 epochs; the schedule changes rate and momentum in each step.
    let mut learn = line_learner(64, 4);
    learn.fit_one_cycle(5, 0.01).unwrap();
    flush_all();
    let (plans, nodes, bytes) = (plan_stats(), live_nodes(), live_bytes());
    learn.fit_one_cycle(steps / 16, 0.01).unwrap();
    flush_all();
    let after = plan_stats();
    assert_eq!(after.misses, plans.misses, "no new plans");
    // One flush for each step, one for each of the 8 batches of a validation, and a few to read what it measured.
    let flushes = (after.hits - plans.hits) as usize;
    assert!(flushes <= steps + (8 + 4) * (steps / 16) + 16, "{flushes} flushes");
    assert!(live_nodes() <= nodes + 16, "{nodes} nodes before, {} after", live_nodes());
    assert!(live_bytes() <= bytes + 4096, "{bytes} bytes before, {} after", live_bytes());
}
