//! Gated recurrent units.

use super::*;

/// Weights of one GRU layer, gates in the order r, z, n.
#[derive(Clone)]
pub struct GruWeights {
    /// `[3 hidden, input]`
    pub ih: Tensor,
    /// `[3 hidden, hidden]`
    pub hh: Tensor,
    /// Added to the shares of input and state, `[3 hidden]` each. The reset gate multiplies the last third of the second.
    pub bias: Option<(Tensor, Tensor)>,
}

/// Gated recurrent units over `x: [T, B, input]` from the state `h: [B, hidden]` (zeros if none is given): all outputs
/// `[T, B, hidden]` and the last one.
///
/// As [`lstm`](super::lstm), it has a gradient rule of its own. For weights that are computed; layers with weights of their own are in
/// `hardpan-nn`. Counterpart: `torch._VF.gru`; Cho et al., <https://arxiv.org/abs/1406.1078>, with the reset gate after the product.
///
/// ```
/// use hardpan_engine::{Tensor, functional as f};
/// let weights = f::GruWeights { ih: Tensor::ones([6, 3]), hh: Tensor::ones([6, 2]), bias: None };
/// let (y, last) = f::gru(&Tensor::ones([5, 4, 3]), None, &weights);
/// assert_eq!((y.shape(), last.shape()), (&[5, 4, 2][..], &[4, 2][..]));
/// ```
///
/// # Panics
/// When shapes do not fit.
#[track_caller]
pub fn gru(x: &Tensor, h: Option<&Tensor>, weights: &GruWeights) -> (Tensor, Tensor) {
    let w = weights;
    check("gru", "3 ", 3, x, &w.ih, &w.hh);
    let h = start("gru", x, h, w.hh.size(-1));
    let share = linear(x, &w.ih, w.bias.as_ref().map(|b| &b.0));
    let bias = match &w.bias {
        Some((_, bias)) => bias.clone(),
        None => beside(x, || Tensor::zeros_dtype([w.hh.size(0)], w.hh.dtype())),
    };
    if x.size(0) == 0 {
        return (share.narrow(-1, 0, h.size(-1)), h);
    }
    let sources = [&share, &h, &w.hh, &bias];
    if !learns(&sources) {
        let all = forward(&share, &h, &w.hh, &bias);
        return (Tensor::stack(&all.h, 0), all.h.last().expect("at least one step").clone());
    }
    let all = no_grad(|| forward(&share, &h, &w.hh, &bias));
    let y = no_grad(|| Tensor::stack(&all.h, 0));
    let kept: Vec<&Tensor> = all.z.iter().chain(&all.h).collect();
    let y = with_rule(&y, &sources, &kept, backward, |s| {
        Tensor::stack(&forward(&s[0], &s[1], &s[2], &s[3]).h, 0)
    });
    let last = y.select(0, -1);
    (y, last)
}

/// What the steps compute: the state's share of the gates, and the states.
struct Steps {
    z: Vec<Tensor>,
    h: Vec<Tensor>,
}

/// The definition.
fn forward(share: &Tensor, h: &Tensor, hh: &Tensor, bias: &Tensor) -> Steps {
    let (mut h, n, hh) = (h.clone(), h.size(-1), hh.t());
    let mut all = Steps { z: Vec::new(), h: Vec::new() };
    for t in 0..share.size(0) {
        let (share, z) = (share.select(0, t as isize), h.matmul(&hh) + bias);
        let gates = Gates::of(&share, &z, n);
        h = &gates.new + &gates.keep * (h - &gates.new);
        all.z.push(z);
        all.h.push(h.clone());
    }
    all
}

/// The gates of a step after their functions, and the part of the state's share that the reset gate multiplies.
struct Gates {
    reset: Tensor,
    keep: Tensor,
    new: Tensor,
    part: Tensor,
}

impl Gates {
    fn of(share: &Tensor, z: &Tensor, n: usize) -> Gates {
        let third = |t: &Tensor, k: usize| t.narrow(-1, k * n, n);
        let reset = sigmoid(&(third(share, 0) + third(z, 0)));
        let keep = sigmoid(&(third(share, 1) + third(z, 1)));
        let part = third(z, 2);
        let new = (third(share, 2) + &reset * &part).tanh();
        Gates { reset, keep, new, part }
    }
}

/// Gradients of the input's share, the first state, the weight and the state's bias.
fn backward(sources: &[Tensor], kept: &[Tensor], grad: &Tensor) -> Gradients {
    let [share, h0, hh, bias] = sources else { unreachable!("four sources") };
    let (steps, n) = (share.size(0), h0.size(-1));
    let (z, outputs) = kept.split_at(steps);
    let mut dh: Option<Tensor> = None;
    let (mut dshare, mut dz) = (Vec::with_capacity(steps), Vec::with_capacity(steps));
    for t in (0..steps).rev() {
        let before = if t == 0 { h0 } else { &outputs[t - 1] };
        let g = Gates::of(&share.select(0, t as isize), &z[t], n);
        let dy = grad.select(0, t as isize);
        let dy = match dh {
            Some(dh) => dy + dh,
            None => dy,
        };
        let dnew = &dy * (1.0 - &g.keep) * (1.0 - &g.new * &g.new);
        let dkeep = &dy * (before - &g.new) * &g.keep * (1.0 - &g.keep);
        let dreset = &dnew * &g.part * &g.reset * (1.0 - &g.reset);
        let dpart = &dnew * &g.reset;
        let back = Tensor::cat(&[&dreset, &dkeep, &dpart], -1);
        dh = Some((dy * &g.keep + back.matmul(hh)).to_dtype(h0.dtype()));
        dshare.push(Tensor::cat(&[dreset, dkeep, dnew], -1));
        dz.push(back);
    }
    dshare.reverse();
    dz.reverse();
    let dz = Tensor::stack(&dz, 0);
    vec![
        wanted(share, || Tensor::stack(&dshare, 0).to_dtype(share.dtype())),
        wanted(h0, || dh.expect("at least one step")),
        wanted(hh, || weight_gradient(hh, h0, outputs, &dz)),
        wanted(bias, || dz.sum([0, 1]).to_dtype(bias.dtype())),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{close, outcome, random};
    use super::*;
    use crate::grad;
    use proptest::prelude::*;

    /// Outputs and all gradients, by the rule or by the definition.
    fn run(rule: bool, [steps, batch, input, n]: [usize; 4], bias: bool, seed: u64) -> Vec<f64> {
        let x = random(seed ^ 1, &[steps, batch, input]);
        let h = random(seed ^ 2, &[batch, n]);
        let (ih, hh) = (random(seed ^ 3, &[3 * n, input]), random(seed ^ 4, &[3 * n, n]));
        let (a, b) = (random(seed ^ 5, &[3 * n]), random(seed ^ 6, &[3 * n]));
        let weights = GruWeights {
            ih: ih.clone(),
            hh: hh.clone(),
            bias: bias.then(|| (a.clone(), b.clone())),
        };
        let (y, last) = if rule {
            gru(&x, Some(&h), &weights)
        } else {
            let zero = Tensor::zeros_dtype([3 * n], x.dtype());
            let (a, b) = if bias { (&a, &b) } else { (&zero, &zero) };
            let all = forward(&linear(&x, &ih, Some(a)), &h, &hh, b);
            (Tensor::stack(&all.h, 0), all.h[steps - 1].clone())
        };
        let mut sources = vec![&x, &h, &ih, &hh];
        if bias {
            sources.extend([&a, &b]);
        }
        outcome(seed, &[&y, &last], &sources)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn the_rule_gives_the_gradients_of_the_definition(
            sizes in [1..6usize, 1..4usize, 1..5usize, 1..6usize],
            bias in any::<bool>(),
            seed in any::<u64>(),
        ) {
            close(&run(true, sizes, bias, seed), &run(false, sizes, bias, seed));
        }
    }

    #[test]
    fn second_derivatives_are_those_of_the_definition() {
        let second = |rule: bool| {
            let (x, h, hh) = (random(1, &[3, 2, 6]), random(2, &[2, 2]), random(3, &[6, 2]));
            let ih = Tensor::eye(6, 6).to_dtype(x.dtype());
            let zero = Tensor::zeros_dtype([6], x.dtype());
            let y = match rule {
                true => gru(&x, Some(&h), &GruWeights { ih, hh: hh.clone(), bias: None }).0,
                false => Tensor::stack(&forward(&x, &h, &hh, &zero).h, 0),
            };
            let g = grad(&y.square().sum(..), &[&hh]).remove(0);
            grad(&g.square().sum(..), &[&x]).remove(0).to_vec::<f64>()
        };
        close(&second(true), &second(false));
    }
}
