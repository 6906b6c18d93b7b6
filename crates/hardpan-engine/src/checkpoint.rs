//! Recomputation in place of storage: the machinery behind [`crate::checkpoint()`].

use crate::dtype::DType;
use crate::host::HostArray;
use crate::node::Tensor;
use crate::op::CustomOp;
use crate::shape::Dims;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

type Function = Arc<dyn Fn(&[Tensor]) -> Tensor + Send + Sync>;

/// Identity on its first source; its gradient runs the function again on the remaining ones.
struct Recompute {
    f: Function,
    rng: (u64, u64),
    key: u64,
}

impl CustomOp for Recompute {
    fn name(&self) -> &str {
        "checkpoint"
    }
    fn key(&self) -> u64 {
        self.key
    }
    fn output(&self, inputs: &[(DType, &[usize])]) -> (DType, Dims) {
        (inputs[0].0, Dims::from_slice(inputs[0].1))
    }
    fn run(&self, inputs: &[HostArray]) -> HostArray {
        inputs[0].clone()
    }
    fn vjp(&self, inputs: &[Tensor], _output: &Tensor, grad: &Tensor) -> Vec<Option<Tensor>> {
        let rest: Vec<Tensor> =
            inputs[1..inputs.len() - 1].iter().map(Tensor::requires_grad_if_float).collect();
        let now = crate::random::rng_state();
        crate::random::set_rng_state(self.rng);
        let value = crate::node::enable_grad(|| (self.f)(&rest));
        crate::random::set_rng_state(now);
        // Leaves of our own collect what reaches the inputs; parameters that `f` captured get theirs directly.
        value.backward_with(grad);
        let mut out: Vec<Option<Tensor>> = vec![None];
        for t in &rest {
            out.push(
                t.is_requires_grad().then(|| t.grad().unwrap_or_else(|| t.detach().zeros_like())),
            );
        }
        out.push(None);
        out
    }
}

impl Tensor {
    fn requires_grad_if_float(&self) -> Tensor {
        if self.dtype().is_float() { self.detach().requires_grad() } else { self.clone() }
    }
}

static KEYS: AtomicU64 = AtomicU64::new(0);

/// The value of `f`, with a gradient that runs `f` again.
pub(crate) fn attach(inputs: Vec<Tensor>, f: Function) -> Tensor {
    let rng = crate::random::rng_state();
    // Built with history to learn whether a gradient flows, then cut off from it: nothing of the inside is kept.
    let inside = f(&inputs);
    if !inside.is_requires_grad() {
        return inside;
    }
    let value = inside.detach();
    drop(inside);
    // A captured parameter may be all that asks for a gradient; then this leaf stands in for it.
    let flag = Tensor::scalar(0.0f32).requires_grad();
    let op = Recompute { f, rng, key: KEYS.fetch_add(1, Relaxed) };
    let mut all: Vec<&Tensor> = vec![&value];
    all.extend(inputs.iter());
    all.push(&flag);
    Tensor::custom(Arc::new(op), &all)
}
