//! In which order steps run, so that as many as possible share a loop.
//!
//! Steps are sorted into *phases* that alternate between the interpreter and generated code, and within generated code into
//! *passes* over a row: a full value that needs a finished fold belongs to the pass after that fold's. The order stays one in
//! which the interpreter can run the steps too.

use crate::dev::cpu::vm::{Action, Extent, Step, Value};
use std::ops::Range;

/// Steps that run one after the other in the same way.
pub struct Phase {
    /// Which steps.
    pub steps: Range<usize>,
    /// Generated code can run them: by step, the pass that it belongs to (row steps: that it comes before).
    pub passes: Option<Vec<usize>>,
}

/// Sorts the steps and finds the phases. With `may_fold` code may also fold.
pub fn arrange(steps: Vec<Step>, values: &[Value], may_fold: bool) -> (Vec<Step>, Vec<Phase>) {
    let n = steps.len();
    let mut made_by: Vec<Option<usize>> = vec![None; values.len()];
    for (i, s) in steps.iter().enumerate() {
        made_by[s.out] = Some(i);
    }
    let is_fold = |s: &Step| matches!(s.action, Action::Fold(..) | Action::ArgFold(..));
    let known = |s: &Step| {
        s.task.is_known()
            && values[s.out].size == 4
            && s.operands().iter().all(|a| values[*a].size == 4)
            && (may_fold || !is_fold(s))
    };
    let extent = |s: &Step| values[s.out].extent;
    let mut phase = vec![0usize; n];
    // Full steps: their pass. Row steps and folds: the first pass that can use them.
    let mut pass = vec![0usize; n];
    for (i, s) in steps.iter().enumerate() {
        let code = known(s) as usize;
        let operands = s.operands();
        let makers = || operands.iter().filter_map(|a| made_by[*a]);
        phase[i] = makers()
            .map(|m| phase[m] + (phase[m] % 2 != code) as usize)
            .max()
            .unwrap_or(0)
            .max(code);
        pass[i] = makers().filter(|m| phase[*m] == phase[i]).map(|m| pass[m]).max().unwrap_or(0)
            + is_fold(s) as usize;
    }
    // Full steps move down to the first pass that needs them: what is made earlier must be kept in memory.
    for i in (0..n).rev() {
        if is_fold(&steps[i]) || extent(&steps[i]) != Extent::Full {
            continue;
        }
        let users = (i + 1..n)
            .filter(|u| phase[*u] == phase[i] && steps[*u].operands().contains(&steps[i].out));
        if let Some(first) = users.map(|u| pass[u] - is_fold(&steps[u]) as usize).min() {
            pass[i] = pass[i].max(first);
        }
    }
    // Within a pass: what the row needs first, then the loop. A fold stands at the end of its loop.
    let key = |i: usize| {
        let s = &steps[i];
        if phase[i].is_multiple_of(2) {
            return (phase[i], 0, false);
        }
        let fold = is_fold(s);
        (phase[i], pass[i] - fold as usize, fold || extent(s) == Extent::Full)
    };
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|i| key(*i));
    let mut phases: Vec<Phase> = Vec::new();
    for (at, &i) in order.iter().enumerate() {
        let code = phase[i] % 2 == 1;
        let begins = at == 0 || phase[order[at - 1]] != phase[i];
        if begins {
            phases.push(Phase { steps: at..at, passes: code.then(Vec::new) });
        }
        let last = phases.last_mut().expect("just made");
        last.steps.end = at + 1;
        if let Some(passes) = &mut last.passes {
            passes.push(key(i).1);
        }
    }
    let mut slots: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let sorted = order.iter().map(|i| slots[*i].take().expect("each once")).collect();
    (sorted, phases)
}
