//! Where values live: registers by liveness, and outputs that a value can be computed into.
use super::{Action, Extent, Step, StoreStep, Val, Value};
use crate::kernel::Source;
use smallvec::SmallVec;

/// Finds the stores whose value can be computed in place in the output.
pub fn mark_direct(stores: &mut [StoreStep], steps: &[Step], values: &[Value]) {
    let stored: Vec<Val> = stores.iter().map(|s| s.value).collect();
    let mut taken: Vec<Val> = Vec::new();
    for store in stores {
        if store.convert.is_some() || taken.contains(&store.value) {
            continue;
        }
        let Some(made) = steps.iter().position(|s| s.out == store.value) else { continue };
        let computed =
            matches!(steps[made].action, Action::Map1(..) | Action::Map2(..) | Action::Select(..));
        if !computed || values[store.value].extent != Extent::Full {
            continue;
        }
        // Memory that is read once the value is written: loads from then on, and the operands of later steps and stores that
        // may be read in place.
        let mut conflicts: SmallVec<[Source; 4]> = SmallVec::new();
        for (i, step) in steps.iter().enumerate() {
            if let Action::Load { source, .. } = &step.action {
                let late = i > made
                    || stored.contains(&step.out)
                    || steps[made + 1..].iter().any(|s| s.operands().contains(&step.out));
                if late && !conflicts.contains(source) {
                    conflicts.push(*source);
                }
            }
        }
        taken.push(store.value);
        store.direct = Some(conflicts);
    }
}

/// Gives each full value a register, reusing those whose last reader has run: (register by value, number of 4-byte and of
/// 8-byte registers).
pub fn registers(
    steps: &[Step],
    stores: &[StoreStep],
    values: &[Value],
) -> (Vec<Option<usize>>, usize, usize) {
    let mut last = vec![0usize; values.len()];
    for (i, step) in steps.iter().enumerate() {
        last[step.out] = last[step.out].max(i);
        for a in step.operands() {
            last[a] = i;
        }
    }
    for s in stores {
        last[s.value] = usize::MAX;
    }
    let mut out = vec![None; values.len()];
    let mut free: [Vec<usize>; 2] = [Vec::new(), Vec::new()];
    let mut count = [0usize; 2];
    // Values that are kept from block to block have registers to themselves.
    for step in steps {
        if matches!(step.action, Action::Load { period, .. } | Action::Index(_, period) if period > 0)
        {
            let c = (values[step.out].size == 8) as usize;
            out[step.out] = Some(count[c]);
            count[c] += 1;
            last[step.out] = usize::MAX;
        }
    }
    for (i, step) in steps.iter().enumerate() {
        let class = |v: Val| (values[v].size == 8) as usize;
        // Loops may write over an operand, so it is given back before the result is placed.
        let mut operands = step.operands();
        operands.sort_unstable();
        operands.dedup();
        for a in operands {
            if last[a] == i
                && let Some(r) = out[a]
            {
                free[class(a)].push(r);
            }
        }
        if values[step.out].extent == Extent::Full && out[step.out].is_none() {
            let c = class(step.out);
            let r = free[c].pop().unwrap_or_else(|| {
                count[c] += 1;
                count[c] - 1
            });
            out[step.out] = Some(r);
        }
    }
    (out, count[0], count[1])
}
