//! Executes a plan: binds leaves, places outputs, launches in order, hands results to their nodes.

use super::build::{Place, Plan};
use super::cache::KERNELS;
use super::collect::Graph;
use super::lower::arg_value;
use super::trace;
use crate::dev::{Buffer, DeviceId, Mem, device};
use crate::dtype::{DType, Scalar};
use crate::op::Op;
use smallvec::SmallVec;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What a run has beside the plan.
pub(super) trait Binding {
    /// The scalar arguments of a step.
    fn args(&self, step: usize) -> SmallVec<[Scalar; 8]>;
    /// What a step computes, for messages and the trace.
    fn origin(&self, step: usize) -> Origin<'_>;
}

/// The node whose source line stands for a step.
pub(super) struct Origin<'a> {
    pub shape: &'a [usize],
    pub dtype: DType,
    pub at: &'static Location<'static>,
}

impl Binding for (&Graph, &Plan) {
    fn args(&self, step: usize) -> SmallVec<[Scalar; 8]> {
        self.1.steps[step].args.iter().map(|a| arg_value(self.0, *a)).collect()
    }
    fn origin(&self, step: usize) -> Origin<'_> {
        let node = self.0.node(self.1.steps[step].node);
        Origin { shape: &node.shape, dtype: node.dtype, at: node.at }
    }
}

/// Launches the steps of a plan. `slots` has the memory of the leaves on entry, and of the outputs afterwards.
pub(super) fn launch(
    id: DeviceId,
    plan: &Plan,
    slots: &mut Vec<Option<Arc<Mem>>>,
    binding: &impl Binding,
) {
    let dev = device(id);
    slots.resize(plan.slots, None);
    if let Some(slot) = plan.empty_slot {
        slots[slot] = Mem::alloc(id, 0).ok().map(Arc::new);
    }
    let tracing = trace::is_on();
    for (number, step) in plan.steps.iter().enumerate() {
        for (slot, place) in &step.outputs {
            match place {
                Place::New(bytes) => {
                    let mem = Mem::alloc(id, *bytes).unwrap_or_else(|e| {
                        panic!("{}: {e} (built at {})", step.name, binding.origin(number).at)
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
        let args = binding.args(number);
        let started = tracing.then(std::time::Instant::now);
        if let Err(e) = dev.launch(&*step.program, &inputs, &outputs, &args) {
            panic!("{}: {e} (built at {})", step.name, binding.origin(number).at);
        }
        if let Some(t) = started {
            dev.sync();
            let Origin { shape, dtype, at } = binding.origin(number);
            trace::record(&step.name, shape, dtype, at, t.elapsed(), step.bytes, step.flops);
        }
        drop((inputs, outputs));
        for s in &step.free {
            slots[*s] = None;
        }
    }
    KERNELS.fetch_add(plan.steps.len() as u64, Relaxed);
    if tracing {
        trace::end_of_plan();
    }
}

pub(super) fn run(g: &Graph, plan: &Plan) {
    let n = g.nodes.len();
    let mut slots: Vec<Option<Arc<Mem>>> = Vec::with_capacity(plan.slots);
    slots.extend(g.leaves.iter().map(|l| l.tensor.0.buffer.get().map(|b| b.0.clone())));
    launch(g.device, plan, &mut slots, &(g, plan));
    for (node, slot) in &plan.outputs {
        let mem = slots[*slot].clone().expect("outputs are pinned");
        let _ = g.nodes[*node].0.buffer.set(Buffer(mem));
    }
    for node in &plan.empty {
        if let Ok(mem) = Mem::alloc(g.device, 0) {
            let _ = g.nodes[*node].0.buffer.set(Buffer(Arc::new(mem)));
        }
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
