//! Recurrent layers on given weights.

use super::{Tensor, beside, linear, sigmoid};
use crate::{enable_grad, is_grad_enabled, no_grad};

/// Weights of one LSTM layer, gates in the order i, f, g, o.
#[derive(Clone)]
pub struct LstmWeights {
    /// `[4 hidden, input]`
    pub ih: Tensor,
    /// `[4 hidden, hidden]`
    pub hh: Tensor,
    /// Added to the shares of input and state, `[4 hidden]` each.
    pub bias: Option<(Tensor, Tensor)>,
}

/// Long short-term memory over `x: [T, B, input]` from the state `(h, c)`, `[B, hidden]` each (zeros where none is given):
/// all outputs `[T, B, hidden]`, and the last `h` and `c`.
///
/// The input's share of all steps is one matrix product; each step then is one product with the state and one fused kernel. The
/// gradient goes back through the steps with one product each, and the gradients of the weights are one product over all steps.
/// For weights that are computed, such as dropped ones; layers with weights of their own are in `hardpan-nn`.
/// Counterpart: `torch._VF.lstm`; Hochreiter and Schmidhuber 1997.
///
/// # Panics
/// When shapes do not fit.
#[track_caller]
pub fn lstm(
    x: &Tensor,
    state: Option<(&Tensor, &Tensor)>,
    weights: &LstmWeights,
) -> (Tensor, Tensor, Tensor) {
    let w = weights;
    let n = w.hh.size(-1);
    assert!(
        x.rank() == 3 && w.hh.shape() == [4 * n, n] && w.ih.shape() == [4 * n, x.size(-1)],
        "lstm: input {:?} and weights {:?}, {:?}; expected [T, B, input], [4 hidden, input] and [4 hidden, hidden]",
        x.shape(),
        w.ih.shape(),
        w.hh.shape()
    );
    let (steps, batch) = (x.size(0), x.size(1));
    let start = |given: Option<&Tensor>| match given {
        None => beside(x, || Tensor::zeros_dtype([batch, n], x.dtype())),
        Some(t) => {
            assert!(
                t.shape() == [batch, n],
                "lstm: a state of shape {:?} was expected, got {:?}",
                [batch, n],
                t.shape()
            );
            t.clone()
        }
    };
    let (h, c) = (start(state.map(|s| s.0)), start(state.map(|s| s.1)));
    let bias = w.bias.as_ref().map(|(a, b)| a + b);
    let share = linear(x, &w.ih, bias.as_ref());
    if steps == 0 {
        return (beside(x, || Tensor::zeros_dtype([0, batch, n], x.dtype())), h, c);
    }
    lstm_steps(&share, &h, &c, &w.hh)
}

/// The recurrence on the input's share `[T, B, 4 hidden]`: all outputs, and the last `h` and `c`.
#[track_caller]
fn lstm_steps(share: &Tensor, h: &Tensor, c: &Tensor, hh: &Tensor) -> (Tensor, Tensor, Tensor) {
    let sources = [share, h, c, hh];
    let learns = is_grad_enabled() && sources.iter().any(|t| t.is_requires_grad());
    if !learns {
        let all = forward(share, h, c, hh);
        let last = all.h.last().expect("at least one step").clone();
        return (Tensor::stack(&all.h, 0), last, all.c.last().expect("as many").clone());
    }
    // One node for outputs and last cell state together, with a gradient of its own.
    let all = no_grad(|| forward(share, h, c, hh));
    let packed = no_grad(|| pack(&all));
    let mut inputs = sources.to_vec();
    // What the gradient reads again: gates before their functions, cell states, outputs.
    let kept: Vec<&Tensor> = all.gates.iter().chain(&all.c).chain(&all.h).collect();
    inputs.extend(&kept);
    let low = crate::autocast::low();
    let packed = packed.with_gradient(&inputs, move |src, grad| {
        let (sources, kept) = src.split_at(4);
        let rule = || match is_grad_enabled() {
            true => by_parts(sources, grad),
            false => backward(sources, kept, grad),
        };
        // Products of the gradient are on halves where those of the value were.
        let mut grads = match low {
            Some(low) => crate::autocast(low, rule),
            None => rule(),
        };
        grads.extend(kept.iter().map(|_| None));
        grads
    });
    let steps = share.size(0);
    let y = packed.narrow(0, 0, steps);
    (y, packed.select(0, steps as isize - 1), packed.select(0, steps as isize))
}

/// Everything that the steps compute, one entry for each.
struct Steps {
    gates: Vec<Tensor>,
    c: Vec<Tensor>,
    h: Vec<Tensor>,
}

/// The definition.
fn forward(share: &Tensor, h: &Tensor, c: &Tensor, hh: &Tensor) -> Steps {
    let (mut h, mut c, n) = (h.clone(), c.clone(), h.size(-1));
    let hh = hh.t();
    let mut all = Steps { gates: Vec::new(), c: Vec::new(), h: Vec::new() };
    for t in 0..share.size(0) {
        let gates = share.select(0, t as isize) + h.matmul(&hh);
        let part = |k: usize| gates.narrow(-1, k * n, n);
        let (i, forget) = (sigmoid(&part(0)), sigmoid(&part(1)));
        c = forget * c + i * part(2).tanh();
        h = sigmoid(&part(3)) * c.tanh();
        all.gates.push(gates);
        all.c.push(c.clone());
        all.h.push(h.clone());
    }
    all
}

/// Outputs and last cell state in one tensor, `[T + 1, B, hidden]`.
fn pack(all: &Steps) -> Tensor {
    let mut rows = all.h.clone();
    rows.extend(all.c.last().cloned());
    Tensor::stack(&rows, 0)
}

/// Gradients of share, h, c and the weight, through the definition's own history: they can be differentiated again.
fn by_parts(sources: &[Tensor], grad: &Tensor) -> Vec<Option<Tensor>> {
    // Nodes of their own: one source may be computed from another.
    let own: Vec<Tensor> = sources.iter().map(|t| enable_grad(|| t * 1.0)).collect();
    let y = enable_grad(|| pack(&forward(&own[0], &own[1], &own[2], &own[3])));
    let wanted: Vec<&Tensor> = own.iter().filter(|t| t.is_requires_grad()).collect();
    let mut grads = crate::grad_with(&[&y], &[grad], &wanted).into_iter();
    own.iter().map(|t| t.is_requires_grad().then(|| grads.next().expect("one each"))).collect()
}

/// The same by hand: one product and one fused kernel a step, then one product for the weight.
fn backward(sources: &[Tensor], kept: &[Tensor], grad: &Tensor) -> Vec<Option<Tensor>> {
    let [share, h0, c0, hh] = sources else { unreachable!("four sources") };
    let (steps, n) = (share.size(0), h0.size(-1));
    let (gates, rest) = kept.split_at(steps);
    let (cells, outputs) = rest.split_at(steps);
    let mut dc = grad.select(0, steps as isize);
    let mut dh: Option<Tensor> = None;
    let mut dgates: Vec<Tensor> = Vec::with_capacity(steps);
    for t in (0..steps).rev() {
        let part = |k: usize| gates[t].narrow(-1, k * n, n);
        let before = if t == 0 { c0 } else { &cells[t - 1] };
        let (i, f, g, o) =
            (sigmoid(&part(0)), sigmoid(&part(1)), part(2).tanh(), sigmoid(&part(3)));
        let dy = grad.select(0, t as isize);
        let dy = match dh {
            Some(dh) => dy + dh,
            None => dy,
        };
        let bent = cells[t].tanh();
        let dcell = &dc + &dy * &o * (1.0 - &bent * &bent);
        let di = &dcell * &g * &i * (1.0 - &i);
        let df = &dcell * before * &f * (1.0 - &f);
        let dg = &dcell * &i * (1.0 - &g * &g);
        let d_o = &dy * &bent * &o * (1.0 - &o);
        dc = &dcell * &f;
        let all = Tensor::cat(&[di, df, dg, d_o], -1);
        dh = Some(all.matmul(hh).to_dtype(h0.dtype()));
        dgates.push(all);
    }
    dgates.reverse();
    let dshare = Tensor::stack(&dgates, 0);
    // The states that the steps saw, and the gradients of what they gave, each as one matrix.
    let mut seen: Vec<Tensor> = vec![h0.clone()];
    seen.extend(outputs[..steps - 1].iter().cloned());
    let seen = Tensor::stack(&seen, 0).reshape([-1, n as isize]);
    let flat = dshare.reshape([-1, 4 * n as isize]);
    let dhh = flat.t().matmul(&seen).to_dtype(hh.dtype());
    let of = |t: &Tensor, g: Tensor| t.is_requires_grad().then_some(g);
    vec![
        of(share, dshare.to_dtype(share.dtype())),
        of(h0, dh.expect("at least one step")),
        of(c0, dc.to_dtype(c0.dtype())),
        of(hh, dhh),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grad;
    use proptest::prelude::*;

    /// Numbers of a test alone: others draw from the generator of the process at the same time.
    fn numbers(seed: u64, shape: &[usize]) -> Tensor {
        let n = shape.iter().product::<usize>() as u64;
        let data: Vec<f64> = (0..n).map(|i| crate::philox::normal(seed, i).into()).collect();
        Tensor::from_vec(data, shape)
    }

    fn random(seed: u64, shape: &[usize]) -> Tensor {
        numbers(seed, shape).requires_grad()
    }

    /// Outputs and all gradients, by the rule or by the definition.
    fn run(rule: bool, sizes: [usize; 4], seed: u64) -> Vec<Vec<f64>> {
        let [steps, batch, input, n] = sizes;
        let x = random(seed ^ 1, &[steps, batch, input]);
        let (h, c) = (random(seed ^ 2, &[batch, n]), random(seed ^ 3, &[batch, n]));
        let (ih, hh) = (random(seed ^ 4, &[4 * n, input]), random(seed ^ 5, &[4 * n, n]));
        let (a, b) = (random(seed ^ 6, &[4 * n]), random(seed ^ 7, &[4 * n]));
        let weights = LstmWeights { ih: ih.clone(), hh: hh.clone(), bias: Some((a.clone(), b)) };
        let (y, last_h, last_c) = if rule {
            lstm(&x, Some((&h, &c)), &weights)
        } else {
            let (a, b) = weights.bias.as_ref().unwrap();
            let share = linear(&x, &ih, Some(&(a + b)));
            let all = forward(&share, &h, &c, &hh);
            let last = |v: &[Tensor]| v[v.len() - 1].clone();
            (Tensor::stack(&all.h, 0), last(&all.h), last(&all.c))
        };
        let weigh = |k: u64, t: &Tensor| (t * numbers(seed ^ k, t.shape())).sum(..);
        let loss = weigh(8, &y) + weigh(9, &last_h) + weigh(10, &last_c);
        loss.backward();
        let mut out = vec![y.to_vec::<f64>(), last_h.to_vec(), last_c.to_vec()];
        out.extend([&x, &h, &c, &ih, &hh, &a].map(|t| t.grad().unwrap().to_vec::<f64>()));
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn the_rule_gives_the_gradients_of_the_definition(
            sizes in [1..6usize, 1..4usize, 1..5usize, 1..6usize],
            seed in any::<u64>(),
        ) {
            for (got, want) in run(true, sizes, seed).iter().zip(run(false, sizes, seed)) {
                prop_assert_eq!(got.len(), want.len());
                for (g, w) in got.iter().zip(&want) {
                    prop_assert!((g - w).abs() < 1e-9 * (1.0 + w.abs()), "{} {}", g, w);
                }
            }
        }
    }

    #[test]
    fn second_derivatives_are_those_of_the_definition() {
        let second = |rule: bool| {
            let x = random(1, &[3, 2, 8]);
            let (h, hh) = (random(2, &[2, 2]), random(3, &[8, 2]));
            let y = if rule {
                lstm_steps(&x, &h, &h, &hh).0
            } else {
                Tensor::stack(&forward(&x, &h, &h, &hh).h, 0)
            };
            let g = grad(&y.square().sum(..), &[&hh]).remove(0);
            grad(&g.square().sum(..), &[&x]).remove(0).to_vec::<f64>()
        };
        for (a, b) in second(true).iter().zip(second(false)) {
            assert!((a - b).abs() < 1e-9 * (1.0 + b.abs()), "{a} {b}");
        }
    }
}
