//! Values with a gradient of their own making: recomputation in place of storage, and user-given rules.

use crate::node::{Sources, Tensor};
use crate::op::{GradientRule, Op};
use std::panic::Location;
use std::sync::Arc;

type Function = Arc<dyn Fn(&[Tensor]) -> Tensor + Send + Sync>;

/// The gradient that runs the function again on all sources but the first (its value) and the last (a flag).
struct Recompute {
    f: Function,
    rng: (u64, u64),
}

impl GradientRule for Recompute {
    fn vjp(&self, sources: &[Tensor], grad: &Tensor) -> Vec<Option<Tensor>> {
        let rest: Vec<Tensor> =
            sources[1..sources.len() - 1].iter().map(Tensor::requires_grad_if_float).collect();
        let now = crate::random::rng_state();
        crate::random::set_rng_state(self.rng);
        let value = crate::node::enable_grad(|| (self.f)(&rest));
        crate::random::set_rng_state(now);
        // Leaves of our own collect what reaches the inputs; parameters that `f` captured get theirs directly.
        value.backward_with(grad);
        let mut out: Vec<Option<Tensor>> = vec![None];
        for t in &rest {
            let zeros = || t.detach().zeros_like();
            out.push(t.is_requires_grad().then(|| t.grad().unwrap_or_else(zeros)));
        }
        out.push(None);
        out
    }
}

/// A user's rule.
struct Rule<F>(F);

impl<F: Fn(&[Tensor], &Tensor) -> Vec<Option<Tensor>> + Send + Sync> GradientRule for Rule<F> {
    fn vjp(&self, sources: &[Tensor], grad: &Tensor) -> Vec<Option<Tensor>> {
        let mut out = vec![None];
        out.extend((self.0)(&sources[1..], grad));
        out
    }
}

impl Tensor {
    /// This value, with `rule` in place of its own history: `rule(inputs, grad)` gives the gradient of each input.
    ///
    /// For functions whose derivative is known better than the composition's, or is to be another on purpose (a
    /// straight-through estimator). Counterpart: `torch.autograd.Function`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let x = Tensor::from_slice(&[0.2f32, 0.7], [2]).requires_grad();
    /// // Rounded forward, identity backward.
    /// let y = x.round().with_gradient(&[&x], |_, g| vec![Some(g.clone())]);
    /// y.sum(..).backward();
    /// assert_eq!(x.grad().unwrap().to_vec::<f32>(), vec![1.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn with_gradient(
        &self,
        inputs: &[&Tensor],
        rule: impl Fn(&[Tensor], &Tensor) -> Vec<Option<Tensor>> + Send + Sync + 'static,
    ) -> Tensor {
        let mut src: Sources = Sources::new();
        src.push(self.detach());
        src.extend(inputs.iter().map(|t| (*t).clone()));
        attach(src, Arc::new(Rule(rule)), Location::caller())
    }

    fn requires_grad_if_float(&self) -> Tensor {
        if self.dtype().is_float() { self.detach().requires_grad() } else { self.clone() }
    }
}

fn attach(src: Sources, rule: Arc<dyn GradientRule>, at: &'static Location<'static>) -> Tensor {
    let (dtype, shape) = (src[0].dtype(), src[0].0.shape.clone());
    Tensor::new(Op::WithGradient(rule), dtype, shape, src, at)
}

/// The value of `f`, with a gradient that runs `f` again.
#[track_caller]
pub(crate) fn recompute(inputs: Vec<Tensor>, f: Function) -> Tensor {
    let rng = crate::random::rng_state();
    // Built with history to learn whether a gradient flows, then cut off from it: nothing of the inside is kept.
    let inside = f(&inputs);
    if !inside.is_requires_grad() {
        return inside;
    }
    let mut src: Sources = Sources::new();
    src.push(inside.detach());
    drop(inside);
    src.extend(inputs);
    // A captured parameter may be all that asks for a gradient; then this leaf stands in for it.
    src.push(Tensor::scalar(0.0f32).requires_grad());
    attach(src, Arc::new(Recompute { f, rng }), Location::caller())
}
