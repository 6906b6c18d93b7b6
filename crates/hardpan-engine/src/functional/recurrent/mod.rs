//! Recurrent layers on given weights: a plain one, LSTM and GRU.
//!
//! Each has its definition, step by step, and a gradient rule that goes back through the steps with one product each and finds the
//! gradients of the weights by one product over all steps, where the definition's own history would have one for every step.

mod gru;
mod lstm;
mod plain;

pub use gru::{GruWeights, gru};
pub use lstm::{LstmWeights, lstm};
pub use plain::{RnnWeights, rnn};

use super::{Tensor, beside, linear, sigmoid};
use crate::{enable_grad, is_grad_enabled, no_grad};

type Gradients = Vec<Option<Tensor>>;

/// Whether a gradient will be asked for.
fn learns(sources: &[&Tensor]) -> bool {
    is_grad_enabled() && sources.iter().any(|t| t.is_requires_grad())
}

/// `value` (computed without history) with the gradient `backward(sources, kept, grad)`, or that of `definition` where it is to be
/// differentiated again.
fn with_rule(
    value: &Tensor,
    sources: &[&Tensor],
    kept: &[&Tensor],
    backward: fn(&[Tensor], &[Tensor], &Tensor) -> Gradients,
    definition: impl Fn(&[Tensor]) -> Tensor + Send + Sync + 'static,
) -> Tensor {
    let mut inputs = sources.to_vec();
    inputs.extend(kept);
    let (count, low) = (sources.len(), crate::autocast::autocast_dtype());
    value.with_gradient(&inputs, move |src, grad| {
        let (sources, kept) = src.split_at(count);
        let rule = || match is_grad_enabled() {
            true => by_parts(sources, grad, &definition),
            false => backward(sources, kept, grad),
        };
        // Products of the gradient are on halves where those of the value were.
        let mut grads = match low {
            Some(low) => crate::autocast(low, rule),
            None => rule(),
        };
        grads.extend(kept.iter().map(|_| None));
        grads
    })
}

/// Gradients of the sources through the definition's own history: they can be differentiated again.
fn by_parts(
    sources: &[Tensor],
    grad: &Tensor,
    definition: impl Fn(&[Tensor]) -> Tensor,
) -> Gradients {
    // Nodes of their own: one source may be computed from another.
    let own: Vec<Tensor> = sources.iter().map(|t| enable_grad(|| t * 1.0)).collect();
    let y = enable_grad(|| definition(&own));
    let wanted: Vec<&Tensor> = own.iter().filter(|t| t.is_requires_grad()).collect();
    let mut grads = crate::grad_with(&[&y], &[grad], &wanted).into_iter();
    own.iter().map(|t| t.is_requires_grad().then(|| grads.next().expect("one each"))).collect()
}

/// The gradient of a weight `[rows, n]`, by one product of what each step gave back, `[T, B, rows]`, and the states that they saw.
fn weight_gradient(weight: &Tensor, start: &Tensor, outputs: &[Tensor], back: &Tensor) -> Tensor {
    let mut seen: Vec<Tensor> = vec![start.clone()];
    seen.extend(outputs[..outputs.len() - 1].iter().cloned());
    let seen = Tensor::stack(&seen, 0).reshape([-1, start.size(-1) as isize]);
    let flat = back.reshape([-1, back.size(-1) as isize]);
    flat.t().matmul(&seen).to_dtype(weight.dtype())
}

/// `g`, if `t` asks for it.
fn wanted(t: &Tensor, g: impl FnOnce() -> Tensor) -> Option<Tensor> {
    t.is_requires_grad().then(g)
}

/// The state given, or zeros beside `x: [T, B, ..]`.
#[track_caller]
fn start(op: &str, x: &Tensor, given: Option<&Tensor>, n: usize) -> Tensor {
    let shape = [x.size(1), n];
    match given {
        None => beside(x, || Tensor::zeros_dtype(shape, x.dtype())),
        Some(t) => {
            assert!(
                t.shape() == shape,
                "{op}: a state of shape {shape:?} was expected, got {:?}",
                t.shape()
            );
            t.clone()
        }
    }
}

/// Checks input and weights.
#[track_caller]
fn check(op: &str, gates: &str, rows: usize, x: &Tensor, ih: &Tensor, hh: &Tensor) {
    let n = hh.size(-1);
    assert!(
        x.rank() == 3 && hh.shape() == [rows * n, n] && ih.shape() == [rows * n, x.size(-1)],
        "{op}: input {:?} and weights {:?}, {:?}; expected [T, B, input], [{gates}hidden, input] and [{gates}hidden, hidden]",
        x.shape(),
        ih.shape(),
        hh.shape()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of a test alone: others draw from the generator of the process at the same time.
    pub fn numbers(seed: u64, shape: &[usize]) -> Tensor {
        let n = shape.iter().product::<usize>() as u64;
        let data: Vec<f64> = (0..n).map(|i| crate::philox::normal(seed, i).into()).collect();
        Tensor::from_vec(data, shape)
    }

    pub fn random(seed: u64, shape: &[usize]) -> Tensor {
        numbers(seed, shape).requires_grad()
    }

    /// The tensors' numbers, and the gradients of all sources of a loss that weighs them.
    pub fn outcome(seed: u64, outputs: &[&Tensor], sources: &[&Tensor]) -> Vec<f64> {
        let weigh =
            |(k, t): (usize, &&Tensor)| (*t * numbers(seed ^ (90 + k as u64), t.shape())).sum(..);
        outputs.iter().enumerate().map(weigh).reduce(|a, b| a + b).unwrap().backward();
        let mut all: Vec<f64> = outputs.iter().flat_map(|t| t.to_vec::<f64>()).collect();
        all.extend(sources.iter().flat_map(|t| t.grad().expect("a gradient").to_vec::<f64>()));
        all
    }

    pub fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            assert!((g - w).abs() < 1e-9 * (1.0 + w.abs()), "number {i}: {g} and {w}");
        }
    }
}
