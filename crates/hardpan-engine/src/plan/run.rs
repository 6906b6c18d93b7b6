//! Executes a plan: binds leaves, places outputs, launches in order, hands results to their nodes.

use super::build::{Place, Plan};
use super::cache::KERNELS;
use super::collect::Graph;
use super::lower::arg_value;
use super::trace;
use crate::dev::{Buffer, Mem, device};
use crate::dtype::Scalar;
use crate::op::Op;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(super) fn run(g: &Graph, plan: &Plan) {
    let dev = device(g.device);
    let n = g.nodes.len();
    let mut slots: Vec<Option<Arc<Mem>>> = Vec::with_capacity(plan.slots);
    for leaf in &g.leaves {
        slots.push(leaf.tensor.0.buffer.get().map(|b| b.0.clone()));
    }
    slots.resize(plan.slots, None);
    if let Some(slot) = plan.empty_slot {
        slots[slot] = Mem::alloc(g.device, 0).ok().map(Arc::new);
    }
    let tracing = trace::is_on();
    for step in &plan.steps {
        for (slot, place) in &step.outputs {
            match place {
                Place::New(bytes) => {
                    let mem = Mem::alloc(g.device, *bytes).unwrap_or_else(|e| {
                        panic!("{}: {e} (built at {})", step.name, g.node(step.node).at)
                    });
                    slots[*slot] = Some(Arc::new(mem));
                }
                Place::Reuse(from) => slots[*slot] = slots[*from].clone(),
                Place::Placed => {}
            }
        }
        let inputs: SmallVec<[&Mem; 8]> =
            step.inputs.iter().map(|s| &**slots[*s].as_ref().expect("placed")).collect();
        let outputs: SmallVec<[&Mem; 4]> =
            step.outputs.iter().map(|(s, _)| &**slots[*s].as_ref().expect("placed")).collect();
        let args: SmallVec<[Scalar; 8]> = step.args.iter().map(|a| arg_value(g, *a)).collect();
        let started = tracing.then(std::time::Instant::now);
        if let Err(e) = dev.launch(&*step.program, &inputs, &outputs, &args) {
            panic!("{}: {e} (built at {})", step.name, g.node(step.node).at);
        }
        if let Some(t) = started {
            dev.sync();
            let node = g.node(step.node);
            trace::record(
                &step.name,
                &node.shape,
                node.dtype,
                node.at,
                t.elapsed(),
                step.bytes,
                step.flops,
            );
        }
        drop((inputs, outputs));
        for s in &step.free {
            slots[*s] = None;
        }
    }
    KERNELS.fetch_add(plan.steps.len() as u64, Relaxed);
    for (node, slot) in &plan.outputs {
        let mem = slots[*slot].clone().expect("outputs are pinned");
        let _ = g.nodes[*node].0.buffer.set(Buffer(mem));
    }
    for node in &plan.empty {
        if let Ok(mem) = Mem::alloc(g.device, 0) {
            let _ = g.nodes[*node].0.buffer.set(Buffer(Arc::new(mem)));
        }
    }
    if tracing {
        trace::end_of_plan();
    }
    // History that no gradient can need any more goes now, so that chains do not pile up.
    for (i, t) in g.nodes.iter().enumerate() {
        let node = &t.0;
        // A leaf (an alias) cuts history: what it was made from is of no use once it is stored.
        let leaf = matches!(node.op, Op::Alias);
        let wanted = node.requires_grad && !leaf && !node.released.load(Relaxed);
        if !wanted && (node.buffer.get().is_some() || !g.external[i]) {
            let old = std::mem::take(&mut *node.src.lock().unwrap_or_else(|e| e.into_inner()));
            if node.buffer.get().is_none() && !old.is_empty() && g.keep[i] {
                // Kept for a later backward but not stored: its history is all there is.
                *node.src.lock().unwrap_or_else(|e| e.into_inner()) = old;
            }
        }
    }
    debug_assert_eq!(n, g.nodes.len());
}
