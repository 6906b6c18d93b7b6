//! Plain recurrent layers.

use super::*;

/// Weights of one plain recurrent layer.
#[derive(Clone)]
pub struct RnnWeights {
    /// `[hidden, input]`
    pub ih: Tensor,
    /// `[hidden, hidden]`
    pub hh: Tensor,
    /// Added to the shares of input and state, `[hidden]` each.
    pub bias: Option<(Tensor, Tensor)>,
    /// `max(0, ..)` in place of tanh.
    pub relu: bool,
}

/// `h' = tanh(ih x + hh h + biases)` over `x: [T, B, input]` from the state `h: [B, hidden]` (zeros if none is given): all outputs
/// `[T, B, hidden]` and the last one.
///
/// As [`lstm`](super::lstm), it has a gradient rule of its own. For weights that are computed; layers with weights of their own are in
/// `hardpan-nn`. Counterpart: `torch._VF.rnn_tanh` and `rnn_relu`; Elman 1990.
///
/// ```
/// use hardpan_engine::{Tensor, functional as f};
/// let weights = f::RnnWeights { ih: Tensor::ones([2, 3]), hh: Tensor::ones([2, 2]), bias: None, relu: true };
/// let (y, last) = f::rnn(&Tensor::ones([2, 1, 3]), None, &weights);
/// assert_eq!(y.to_vec::<f32>(), [3.0, 3.0, 9.0, 9.0]);
/// assert_eq!(last.to_vec::<f32>(), [9.0, 9.0]);
/// ```
///
/// # Panics
/// When shapes do not fit.
#[track_caller]
pub fn rnn(x: &Tensor, h: Option<&Tensor>, weights: &RnnWeights) -> (Tensor, Tensor) {
    let (w, relu) = (weights, weights.relu);
    check("rnn", "", 1, x, &w.ih, &w.hh);
    let h = start("rnn", x, h, w.hh.size(-1));
    let bias = w.bias.as_ref().map(|(a, b)| a + b);
    let share = linear(x, &w.ih, bias.as_ref());
    if x.size(0) == 0 {
        return (share, h);
    }
    let sources = [&share, &h, &w.hh];
    if !learns(&sources) {
        let all = forward(&share, &h, &w.hh, relu);
        return (Tensor::stack(&all, 0), all.last().expect("at least one step").clone());
    }
    let all = no_grad(|| forward(&share, &h, &w.hh, relu));
    let y = no_grad(|| Tensor::stack(&all, 0));
    let kept: Vec<&Tensor> = all.iter().collect();
    let rule = if relu { backward_relu } else { backward_tanh };
    let y = with_rule(&y, &sources, &kept, rule, move |s| {
        Tensor::stack(&forward(&s[0], &s[1], &s[2], relu), 0)
    });
    let last = y.select(0, -1);
    (y, last)
}

/// The definition: the state after each step.
fn forward(share: &Tensor, h: &Tensor, hh: &Tensor, relu: bool) -> Vec<Tensor> {
    let (mut h, hh) = (h.clone(), hh.t());
    (0..share.size(0))
        .map(|t| {
            let z = share.select(0, t as isize) + h.matmul(&hh);
            h = if relu { super::super::relu(&z) } else { z.tanh() };
            h.clone()
        })
        .collect()
}

fn backward_tanh(sources: &[Tensor], outputs: &[Tensor], grad: &Tensor) -> Gradients {
    backward(sources, outputs, grad, |dy, h| dy * (1.0 - h * h))
}

fn backward_relu(sources: &[Tensor], outputs: &[Tensor], grad: &Tensor) -> Gradients {
    backward(sources, outputs, grad, |dy, h| dy.where_(&h.gt(0.0), 0.0))
}

/// Gradients of the input's share, the first state and the weight; `slope` takes a gradient back through the function, given its value.
fn backward(
    sources: &[Tensor],
    outputs: &[Tensor],
    grad: &Tensor,
    slope: fn(&Tensor, &Tensor) -> Tensor,
) -> Gradients {
    let [share, h0, hh] = sources else { unreachable!("three sources") };
    let steps = share.size(0);
    let mut dh: Option<Tensor> = None;
    let mut back = Vec::with_capacity(steps);
    for t in (0..steps).rev() {
        let dy = grad.select(0, t as isize);
        let dy = match dh {
            Some(dh) => dy + dh,
            None => dy,
        };
        let dz = slope(&dy, &outputs[t]);
        dh = Some(dz.matmul(hh).to_dtype(h0.dtype()));
        back.push(dz);
    }
    back.reverse();
    let back = Tensor::stack(&back, 0);
    vec![
        wanted(share, || back.to_dtype(share.dtype())),
        wanted(h0, || dh.expect("at least one step")),
        wanted(hh, || weight_gradient(hh, h0, outputs, &back)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{close, outcome, random};
    use super::*;
    use proptest::prelude::*;

    /// Outputs and all gradients, by the rule or by the definition.
    fn run(rule: bool, [steps, batch, input, n]: [usize; 4], relu: bool, seed: u64) -> Vec<f64> {
        let x = random(seed ^ 1, &[steps, batch, input]);
        let h = random(seed ^ 2, &[batch, n]);
        let (ih, hh) = (random(seed ^ 3, &[n, input]), random(seed ^ 4, &[n, n]));
        let (a, b) = (random(seed ^ 5, &[n]), random(seed ^ 6, &[n]));
        let weights =
            RnnWeights { ih: ih.clone(), hh: hh.clone(), bias: Some((a.clone(), b.clone())), relu };
        let (y, last) = if rule {
            rnn(&x, Some(&h), &weights)
        } else {
            let all = forward(&linear(&x, &ih, Some(&(&a + &b))), &h, &hh, relu);
            (Tensor::stack(&all, 0), all[steps - 1].clone())
        };
        outcome(seed, &[&y, &last], &[&x, &h, &ih, &hh, &a, &b])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn the_rule_gives_the_gradients_of_the_definition(
            sizes in [1..6usize, 1..4usize, 1..5usize, 1..6usize],
            relu in any::<bool>(),
            seed in any::<u64>(),
        ) {
            close(&run(true, sizes, relu, seed), &run(false, sizes, relu, seed));
        }
    }
}
