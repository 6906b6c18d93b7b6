//! A computation recorded once and run again on other inputs.

use super::build::{self, Plan};
use super::collect::{Graph, collect};
use super::lower::arg_value;
use super::run::{Binding, Origin, launch};
use super::{cache, flush_all, flushes, with_eager};
use crate::dev::{Buffer, DeviceId, Mem, default_device, with_device};
use crate::dtype::{DType, Scalar};
use crate::node::{Tensor, no_grad};
use crate::op::Op;
use crate::shape::Dims;
use smallvec::SmallVec;
use std::panic::Location;
use std::sync::Arc;

/// A computation recorded once, to be run on other inputs of the same shapes without recording it again.
///
/// What a model costs beside its arithmetic (a node for each operation, a key over all of them, the look-up of the plan) is paid when it
/// is captured; a run only binds memory and launches kernels. That matters for small inputs: one picture, one row of a table, one
/// token. The results have the same bits as those of the function itself. Counterparts: `torch.jit.trace`, CUDA graphs.
///
/// Parameters, buffers and numbers that the function uses are taken as they are when it is captured: training the model further changes
/// nothing here. Capture it in evaluation mode, and again after training.
///
/// A `Captured` can be shared: several threads may run it at once.
///
/// ```
/// use hardpan_engine::{Captured, Tensor};
/// let w = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2]);
/// let layer = Captured::new(&[Tensor::zeros([1, 2])], |x| vec![x[0].matmul(&w).relu()])?;
/// let y = layer.run(&[Tensor::from_slice(&[1.0f32, -1.0], [1, 2])]);
/// assert_eq!(y[0].to_vec::<f32>(), [0.0, 0.0]);
/// let y = layer.run(&[Tensor::from_slice(&[1.0f32, 1.0], [1, 2])]);
/// assert_eq!(y[0].to_vec::<f32>(), [4.0, 6.0]);
/// # Ok::<(), hardpan_engine::CaptureError>(())
/// ```
pub struct Captured {
    device: DeviceId,
    inputs: Vec<Signature>,
    /// Nothing when all outputs are inputs or values that were there.
    recorded: Option<Recorded>,
    outputs: Vec<(Source, Signature)>,
}

/// Why a function cannot be captured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// It looked at a value (`item`, `to_vec`, `eval`, printing): what it does may depend on it.
    #[error(
        "the function reads a value, so what it does may depend on it; nothing may be read while it is captured"
    )]
    ReadsAValue,
    /// It draws random numbers, which would be the same in every run.
    #[error(
        "the function draws random numbers ({at}), which would be the same in every run; is a model with dropout in training mode?"
    )]
    Random {
        /// Where.
        at: &'static Location<'static>,
    },
    /// It leaves a tensor beside what it returns, such as statistics of a norm in training mode.
    #[error(
        "the function also computes something that it does not return ({at}); is a model with running statistics in training mode?"
    )]
    SideEffect {
        /// Where.
        at: &'static Location<'static>,
    },
    /// Its work is on several devices.
    #[error("the function computes on more than one device")]
    Devices,
}

/// What a tensor must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    shape: Dims,
    dtype: DType,
}

impl Signature {
    fn of(t: &Tensor) -> Signature {
        Signature { shape: t.0.shape.clone(), dtype: t.0.dtype }
    }
}

/// Where an output, or a leaf of the plan, comes from.
enum Source {
    Input(usize),
    /// It was there: a parameter, a table.
    Held(Arc<Mem>),
    /// A slot of the plan.
    Slot(usize),
    /// Without memory: a constant that kernels take as an argument, or no elements.
    Nothing,
}

/// The plan and what is bound to it.
struct Recorded {
    plan: Arc<Plan>,
    leaves: Vec<Source>,
    steps: Vec<StepBinding>,
}

struct StepBinding {
    args: SmallVec<[Scalar; 8]>,
    shape: Dims,
    dtype: DType,
    at: &'static Location<'static>,
}

impl Binding for Recorded {
    fn args(&self, step: usize) -> SmallVec<[Scalar; 8]> {
        self.steps[step].args.clone()
    }
    fn origin(&self, step: usize) -> Origin<'_> {
        let StepBinding { shape, dtype, at, .. } = &self.steps[step];
        Origin { shape, dtype: *dtype, at }
    }
}

impl Captured {
    /// Records what `f` does with tensors of the shapes, dtypes and device of `examples`. It runs once, without gradients, and must
    /// neither read values, draw random numbers nor change anything.
    #[track_caller]
    pub fn new(
        examples: &[Tensor],
        f: impl FnOnce(&[Tensor]) -> Vec<Tensor>,
    ) -> Result<Captured, CaptureError> {
        let inputs: Vec<Tensor> = examples.iter().map(stand_in).collect();
        flush_all();
        let before = flushes();
        let outputs = with_eager(false, || no_grad(|| f(&inputs)));
        if flushes() != before {
            return Err(CaptureError::ReadsAValue);
        }
        let mut pending = collect(None);
        // Held once more while the plan is made, so that it takes the memory of no table for a result.
        let nodes = pending.iter().flat_map(|p| p.nodes());
        let mut held: Vec<Tensor> = nodes.flat_map(|t| t.sources()).collect();
        held.retain(|t| t.0.buffer.get().is_some());
        let graph = pending.as_mut().and_then(|p| p.next_device());
        drop(held);
        if pending.is_some_and(|p| !p.nodes().is_empty()) {
            return Err(CaptureError::Devices);
        }
        let recorded = match &graph {
            Some(graph) => {
                check(graph, &outputs)?;
                Some(record(graph, &inputs))
            }
            None => None,
        };
        let source = |t: &Tensor| {
            let plan = &recorded.as_ref()?.plan;
            let node = graph.as_ref()?.nodes.iter().position(|n| n.is_same(t))?;
            let slot = plan.outputs.iter().find(|(id, _)| *id == node);
            debug_assert!(slot.is_some() || plan.empty.contains(&node));
            Some(slot.map_or(Source::Nothing, |(_, slot)| Source::Slot(*slot)))
        };
        let outputs = outputs
            .iter()
            .map(|t| (source(t).unwrap_or_else(|| there(t, &inputs)), Signature::of(t)))
            .collect();
        let device = match (&graph, inputs.first()) {
            (Some(g), _) => g.device,
            (None, Some(t)) => t.0.device,
            (None, None) => default_device(),
        };
        Ok(Captured {
            device,
            inputs: inputs.iter().map(Signature::of).collect(),
            recorded,
            outputs,
        })
    }

    /// The outputs for other inputs. They must have the shapes and dtypes of the examples, else this panics.
    #[track_caller]
    pub fn run(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let at = Location::caller();
        assert!(
            inputs.len() == self.inputs.len(),
            "Captured::run: {} inputs, captured with {}",
            inputs.len(),
            self.inputs.len()
        );
        for (i, (t, want)) in inputs.iter().zip(&self.inputs).enumerate() {
            assert!(
                t.0.shape == want.shape && t.0.dtype == want.dtype && t.0.device == self.device,
                "Captured::run: input {i} is {} {:?} on {:?}, captured with {} {:?} on {:?}",
                t.0.dtype,
                t.shape(),
                t.0.device,
                want.dtype,
                &want.shape[..],
                self.device
            );
        }
        let memory = |i: usize| -> Arc<Mem> {
            inputs[i].eval().0.buffer.get().expect("evaluated").0.clone()
        };
        let mut slots: Vec<Option<Arc<Mem>>> = Vec::new();
        if let Some(r) = &self.recorded {
            slots.reserve(r.plan.slots);
            slots.extend(r.leaves.iter().map(|l| match l {
                Source::Input(i) => Some(memory(*i)),
                Source::Held(mem) => Some(mem.clone()),
                Source::Slot(_) | Source::Nothing => None,
            }));
            launch(self.device, &r.plan, &mut slots, r);
        }
        self.outputs
            .iter()
            .map(|(source, Signature { shape, dtype })| {
                let mem = match source {
                    Source::Input(i) => memory(*i),
                    Source::Held(mem) => mem.clone(),
                    Source::Slot(slot) => slots[*slot].clone().expect("outputs are pinned"),
                    Source::Nothing => {
                        Arc::new(Mem::alloc(self.device, 0).expect("nothing always fits"))
                    }
                };
                Tensor::from_buffer(Buffer(mem), *dtype, shape.clone(), at)
            })
            .collect()
    }
}

/// A tensor of the same kind with memory of its own, by which what `f` made of it without computing (`detach`) is known too.
fn stand_in(t: &Tensor) -> Tensor {
    with_device(t.0.device, || Tensor::zeros(t.shape()).to_dtype(t.0.dtype).eval().clone())
}

/// The source of a tensor that `f` did not compute.
fn there(t: &Tensor, inputs: &[Tensor]) -> Source {
    let memory = |t: &Tensor| t.eval().0.buffer.get().expect("evaluated").0.clone();
    let mem = memory(t);
    match inputs.iter().position(|x| Arc::ptr_eq(&memory(x), &mem)) {
        Some(i) => Source::Input(i),
        None => Source::Held(mem),
    }
}

fn check(graph: &Graph, outputs: &[Tensor]) -> Result<(), CaptureError> {
    for (i, t) in graph.nodes.iter().enumerate() {
        let draws = match &t.0.op {
            Op::Random(..) => true,
            Op::Attention(p) | Op::AttentionGrad(p) => p.dropout > 0.0,
            _ => false,
        };
        if draws {
            return Err(CaptureError::Random { at: t.0.at });
        }
        if graph.external[i] && !outputs.iter().any(|o| o.is_same(t)) {
            return Err(CaptureError::SideEffect { at: t.0.at });
        }
    }
    Ok(())
}

fn record(graph: &Graph, inputs: &[Tensor]) -> Recorded {
    let plan = cache::lookup(graph, || build::plan(graph));
    let leaves = graph
        .leaves
        .iter()
        .map(|l| if l.constant { Source::Nothing } else { there(&l.tensor, inputs) })
        .collect();
    let steps = plan
        .steps
        .iter()
        .map(|s| {
            let node = graph.node(s.node);
            StepBinding {
                args: s.args.iter().map(|a| arg_value(graph, *a)).collect(),
                shape: node.shape.clone(),
                dtype: node.dtype,
                at: node.at,
            }
        })
        .collect();
    Recorded { plan, leaves, steps }
}
