//! Long short-term memory.

use super::*;

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
    check("lstm", "4 ", 4, x, &w.ih, &w.hh);
    let (steps, n) = (x.size(0), w.hh.size(-1));
    let (h, c) = (start("lstm", x, state.map(|s| s.0), n), start("lstm", x, state.map(|s| s.1), n));
    let bias = w.bias.as_ref().map(|(a, b)| a + b);
    let share = linear(x, &w.ih, bias.as_ref());
    if steps == 0 {
        return (share.narrow(-1, 0, n), h, c);
    }
    lstm_steps(&share, &h, &c, &w.hh)
}

/// The recurrence on the input's share `[T, B, 4 hidden]`: all outputs, and the last `h` and `c`.
#[track_caller]
fn lstm_steps(share: &Tensor, h: &Tensor, c: &Tensor, hh: &Tensor) -> (Tensor, Tensor, Tensor) {
    let sources = [share, h, c, hh];
    if !learns(&sources) {
        let all = forward(share, h, c, hh);
        let last = all.h.last().expect("at least one step").clone();
        return (Tensor::stack(&all.h, 0), last, all.c.last().expect("as many").clone());
    }
    // One node for outputs and last cell state together, with a gradient of its own.
    let all = no_grad(|| forward(share, h, c, hh));
    let packed = no_grad(|| pack(&all));
    // What the gradient reads again: gates before their functions, cell states, outputs.
    let kept: Vec<&Tensor> = all.gates.iter().chain(&all.c).chain(&all.h).collect();
    let packed = with_rule(&packed, &sources, &kept, backward, |s| {
        pack(&forward(&s[0], &s[1], &s[2], &s[3]))
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

/// Gradients of share, h, c and the weight: one product and one fused kernel a step, then one product for the weight.
fn backward(sources: &[Tensor], kept: &[Tensor], grad: &Tensor) -> Gradients {
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
    vec![
        wanted(share, || dshare.to_dtype(share.dtype())),
        wanted(h0, || dh.expect("at least one step")),
        wanted(c0, || dc.to_dtype(c0.dtype())),
        wanted(hh, || weight_gradient(hh, h0, outputs, &dshare)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{close, outcome, random};
    use super::*;
    use crate::grad;
    use proptest::prelude::*;

    /// Outputs and all gradients, by the rule or by the definition.
    fn run(rule: bool, [steps, batch, input, n]: [usize; 4], seed: u64) -> Vec<f64> {
        let x = random(seed ^ 1, &[steps, batch, input]);
        let (h, c) = (random(seed ^ 2, &[batch, n]), random(seed ^ 3, &[batch, n]));
        let (ih, hh) = (random(seed ^ 4, &[4 * n, input]), random(seed ^ 5, &[4 * n, n]));
        let (a, b) = (random(seed ^ 6, &[4 * n]), random(seed ^ 7, &[4 * n]));
        let weights =
            LstmWeights { ih: ih.clone(), hh: hh.clone(), bias: Some((a.clone(), b.clone())) };
        let (y, last_h, last_c) = if rule {
            lstm(&x, Some((&h, &c)), &weights)
        } else {
            let share = linear(&x, &ih, Some(&(&a + &b)));
            let all = forward(&share, &h, &c, &hh);
            let last = |v: &[Tensor]| v[v.len() - 1].clone();
            (Tensor::stack(&all.h, 0), last(&all.h), last(&all.c))
        };
        outcome(seed, &[&y, &last_h, &last_c], &[&x, &h, &c, &ih, &hh, &a, &b])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn the_rule_gives_the_gradients_of_the_definition(
            sizes in [1..6usize, 1..4usize, 1..5usize, 1..6usize],
            seed in any::<u64>(),
        ) {
            close(&run(true, sizes, seed), &run(false, sizes, seed));
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
        close(&second(true), &second(false));
    }
}
