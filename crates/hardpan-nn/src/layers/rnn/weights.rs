//! What one direction of a recurrent layer computes: whole, with the engine's gradient rules, and step by step.

use crate::init::uniform;
use crate::{Param, Visitor, visit_field};
use hardpan_engine::{DType, Tensor, functional as f};

/// What a recurrent layer computes in each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tanh,
    Relu,
    Lstm,
    Gru,
}

impl Kind {
    /// Rows of a weight for each hidden unit.
    pub(super) fn gates(self) -> usize {
        match self {
            Kind::Tanh | Kind::Relu => 1,
            Kind::Lstm => 4,
            Kind::Gru => 3,
        }
    }
}

impl Kind {
    /// What is added to each gate after a sequence's end so that the state stays (LSTM, GRU) or is 0 (ReLU, which else could grow without
    /// bound). Large enough for a sigmoid to be 0 or 1, small enough for f16.
    fn when_ended(self) -> Option<&'static [f32]> {
        match self {
            Kind::Lstm => Some(&[-1e4, 1e4, 0.0, 0.0]),
            Kind::Gru => Some(&[0.0, 1e4, 0.0]),
            Kind::Relu => Some(&[-1e4]),
            Kind::Tanh => None,
        }
    }
}

/// The parameters of one cell.
pub(super) struct Weights {
    ih: Param,
    hh: Param,
    bias: Option<(Param, Param)>,
    /// Projection of the hidden state, `[proj, hidden]`.
    hr: Option<Param>,
}

impl Weights {
    pub(super) fn new(kind: Kind, input: usize, hidden: usize, proj: usize, bias: bool) -> Weights {
        let bound = 1.0 / (hidden.max(1) as f64).sqrt();
        let param = |shape: &[usize]| Param::new(uniform(shape, -bound, bound));
        let rows = kind.gates() * hidden;
        let state = if proj > 0 { proj } else { hidden };
        Weights {
            ih: param(&[rows, input]),
            hh: param(&[rows, state]),
            bias: bias.then(|| (param(&[rows]), param(&[rows]))),
            hr: (proj > 0).then(|| param(&[proj, hidden])),
        }
    }

    pub(super) fn visit(&self, v: &mut dyn Visitor, suffix: &str) {
        visit_field(v, &format!("weight_ih{suffix}"), &self.ih);
        visit_field(v, &format!("weight_hh{suffix}"), &self.hh);
        if let Some((ih, hh)) = &self.bias {
            visit_field(v, &format!("bias_ih{suffix}"), ih);
            visit_field(v, &format!("bias_hh{suffix}"), hh);
        }
        if let Some(hr) = &self.hr {
            visit_field(v, &format!("weight_hr{suffix}"), hr);
        }
    }

    /// The weights as used in every step, read once.
    pub(super) fn step(&self, kind: Kind) -> Step {
        Step {
            kind,
            hidden: self.hh.shape()[0] / kind.gates(),
            hh: self.hh.value().t(),
            bias_hh: self.bias.as_ref().filter(|_| kind == Kind::Gru).map(|b| b.1.value()),
            hr: self.hr.as_ref().map(|p| p.value().t()),
        }
    }

    /// All steps of one direction, with the engine's functions where they can and step by step where not (projections).
    #[track_caller]
    pub(super) fn run(
        &self,
        kind: Kind,
        x: &Tensor,
        h: &Tensor,
        c: Option<&Tensor>,
        ragged: Option<&Ragged>,
        backward: bool,
    ) -> Outcome {
        match (&self.hr, ragged) {
            (Some(_), _) => self.by_steps(kind, x, h, c, ragged, backward),
            (None, None) => {
                let turned = |t: &Tensor| if backward { t.flip(0) } else { t.clone() };
                let out = self.whole(kind, &turned(x), h, c, None);
                Outcome { y: turned(&out.y), ..out }
            }
            (None, Some(ragged)) => self.whole_ragged(kind, x, h, c, ragged, backward),
        }
    }

    /// All steps at once by the engine's functions, which have gradient rules of their own but know no projections. `ended: [T, B, 1]` is
    /// 1 where the state should stay as it is.
    #[track_caller]
    fn whole(
        &self,
        kind: Kind,
        x: &Tensor,
        h: &Tensor,
        c: Option<&Tensor>,
        ended: Option<&Tensor>,
    ) -> Outcome {
        let (ih, hh) = (self.ih.value(), self.hh.value());
        let bias = self.bias.as_ref().map(|(ih, hh)| (ih.value(), hh.value()));
        // One more input feature, which closes gates.
        let (x, ih) = match (ended, kind.when_ended()) {
            (Some(ended), Some(gates)) => {
                let rows = gates.len();
                let column = Tensor::from_slice(gates, [rows, 1]).to_dtype(ih.dtype());
                let column = column.repeat_interleave(ih.size(0) / rows, 0).to_device(ih.device());
                let x = Tensor::cat(&[x.clone(), ended.to_dtype(x.dtype())], -1);
                (x, Tensor::cat(&[ih, column], -1))
            }
            _ => (x.clone(), ih),
        };
        match (kind, c) {
            (Kind::Lstm, c) => {
                let c = c.expect("an LSTM has a cell state");
                let (y, h, c) = f::lstm(&x, Some((h, c)), &f::LstmWeights { ih, hh, bias });
                Outcome { y, h, c: Some(c) }
            }
            (Kind::Gru, _) => {
                let (y, h) = f::gru(&x, Some(h), &f::GruWeights { ih, hh, bias });
                Outcome { y, h, c: None }
            }
            (Kind::Tanh | Kind::Relu, _) => {
                let relu = kind == Kind::Relu;
                let (y, h) = f::rnn(&x, Some(h), &f::RnnWeights { ih, hh, bias, relu });
                Outcome { y, h, c: None }
            }
        }
    }

    /// [`whole`](Weights::whole) for sequences that end at different steps. Each runs on to the last step, where what comes out is not used;
    /// the other direction reads each sequence turned round in its own length, so that padding comes last there too.
    #[track_caller]
    fn whole_ragged(
        &self,
        kind: Kind,
        x: &Tensor,
        h: &Tensor,
        c: Option<&Tensor>,
        ragged: &Ragged,
        backward: bool,
    ) -> Outcome {
        let turned = |t: &Tensor| if backward { ragged.turned(t) } else { t.clone() };
        // Whatever the padding holds: its gradient is zero only if it is a number.
        let x = turned(&x.where_(&ragged.alive, 0.0));
        let out = self.whole(kind, &x, h, c, Some(&ragged.alive.logical_not()));
        let y = out.y.where_(&ragged.alive, 0.0);
        Outcome { h: ragged.last(&y, h), y: turned(&y), c: out.c }
    }

    /// Step by step: the definition.
    fn by_steps(
        &self,
        kind: Kind,
        x: &Tensor,
        h: &Tensor,
        c: Option<&Tensor>,
        ragged: Option<&Ragged>,
        backward: bool,
    ) -> Outcome {
        let (steps, mut h, mut c) = (x.size(0), h.clone(), c.cloned());
        let share = self.input_share(kind, x);
        let step = self.step(kind);
        let mut out = Vec::with_capacity(steps);
        for i in 0..steps {
            let t = if backward { steps - 1 - i } else { i };
            let (mut h1, mut c1) = step.run(&share.select(0, t as isize), &h, c.as_ref());
            match ragged {
                None => out.push(h1.clone()),
                Some(ragged) => {
                    let alive = ragged.alive.select(0, t as isize);
                    out.push(h1.where_(&alive, 0.0));
                    h1 = h1.where_(&alive, &h);
                    c1 = c1.map(|c1| c1.where_(&alive, c.as_ref().expect("a cell state")));
                }
            }
            (h, c) = (h1, c1);
        }
        if backward {
            out.reverse();
        }
        Outcome { y: Tensor::stack(&out, 0), h, c }
    }

    /// The input's share: `[.., input]` to `[.., gates hidden]`, with all biases that can be added at once.
    pub(super) fn input_share(&self, kind: Kind, x: &Tensor) -> Tensor {
        let y = f::linear(x, &self.ih.value(), None);
        match &self.bias {
            None => y,
            // GRU multiplies part of the state's share, bias included, so that one stays apart.
            Some((ih, _)) if kind == Kind::Gru => y + ih.value(),
            Some((ih, hh)) => y + (ih.value() + hh.value()),
        }
    }
}

/// What one direction of a layer gives: outputs `[T, B, ..]`, last state and last cell state.
pub(super) struct Outcome {
    pub y: Tensor,
    pub h: Tensor,
    pub c: Option<Tensor>,
}

/// Where sequences of different lengths, padded to one, end.
pub(super) struct Ragged {
    /// `[1, B]`, i64, 0 to T.
    lengths: Tensor,
    /// `[T, B, 1]`: whether there is a step.
    alive: Tensor,
    steps: usize,
    batch: usize,
}

impl Ragged {
    pub(super) fn new(lengths: &Tensor, steps: usize) -> Ragged {
        let batch = lengths.numel();
        let lengths = lengths.to_dtype(DType::I64).reshape([1, batch]).clamp(0, steps as i64);
        let alive = Tensor::iota(steps).reshape([steps, 1]).lt(&lengths).unsqueeze(-1);
        Ragged { lengths, alive, steps, batch }
    }

    /// `t: [T, B, n]`, each sequence turned round in its own length.
    fn turned(&self, t: &Tensor) -> Tensor {
        let step = Tensor::iota(self.steps).reshape([self.steps, 1]);
        let from = (&self.lengths - &step - 1i64).where_(&self.alive.squeeze(-1), step);
        self.rows(t, &from).reshape_as(t)
    }

    /// `y: [T, B, n]` at each sequence's last step, or `h: [B, n]` if it has none.
    fn last(&self, y: &Tensor, h: &Tensor) -> Tensor {
        if self.steps == 0 {
            return h.clone();
        }
        let last = self.rows(y, &(&self.lengths - 1i64).maximum(0i64));
        last.where_(&self.lengths.gt(0i64).reshape([self.batch, 1]), h)
    }

    /// Of `t: [T, B, n]` the steps `step: [k, B]` of each sequence: `[k B, n]`.
    fn rows(&self, t: &Tensor, step: &Tensor) -> Tensor {
        let row = step * self.batch as i64 + Tensor::iota(self.batch);
        let n = t.size(-1);
        t.reshape([self.steps * self.batch, n]).index_select(0, &row.reshape([row.numel()]))
    }
}

/// One step of a cell.
pub(super) struct Step {
    kind: Kind,
    hidden: usize,
    hh: Tensor,
    bias_hh: Option<Tensor>,
    hr: Option<Tensor>,
}

impl Step {
    /// From the input's share `[B, gates hidden]` and the state to the new state. `c` is the cell state of an LSTM.
    pub(super) fn run(
        &self,
        share: &Tensor,
        h: &Tensor,
        c: Option<&Tensor>,
    ) -> (Tensor, Option<Tensor>) {
        let mut z = h.matmul(&self.hh);
        if let Some(b) = &self.bias_hh {
            z += b;
        }
        let n = self.hidden;
        let part = |t: &Tensor, k: usize| t.narrow(-1, k * n, n);
        match self.kind {
            Kind::Tanh => ((share + z).tanh(), None),
            Kind::Relu => (f::relu(&(share + z)), None),
            Kind::Lstm => {
                let gates = share + z;
                let (i, forget) = (f::sigmoid(&part(&gates, 0)), f::sigmoid(&part(&gates, 1)));
                let (g, o) = (part(&gates, 2).tanh(), f::sigmoid(&part(&gates, 3)));
                let c = forget * c.expect("an LSTM has a cell state") + i * g;
                let mut h = o * c.tanh();
                if let Some(hr) = &self.hr {
                    h = h.matmul(hr);
                }
                (h, Some(c))
            }
            Kind::Gru => {
                let r = f::sigmoid(&(part(share, 0) + part(&z, 0)));
                let u = f::sigmoid(&(part(share, 1) + part(&z, 1)));
                let new = (part(share, 2) + r * part(&z, 2)).tanh();
                (&new + u * (h - &new), None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hardpan_engine::{grad, manual_seed};

    /// Outputs, states, and gradients of input, first states and weights.
    fn numbers(w: &Weights, x: &Tensor, states: [&Tensor; 2], out: &Outcome) -> Vec<f64> {
        let mut outputs = vec![out.y.clone(), out.h.clone()];
        outputs.extend(out.c.clone());
        let weigh = |t: &Tensor| {
            (t * (Tensor::iota(t.numel()).to_dtype(t.dtype()) * 0.37).sin().reshape_as(t)).sum(..)
        };
        let loss = outputs.iter().map(weigh).reduce(|a, b| a + b).unwrap();
        let params = [w.ih.value(), w.hh.value()];
        let mut sources = vec![x, states[0], &params[0], &params[1]];
        let biases = w.bias.as_ref().map(|(a, b)| [a.value(), b.value()]);
        sources.extend(biases.iter().flatten());
        if out.c.is_some() {
            sources.push(states[1]);
        }
        let grads = grad(&loss, &sources);
        outputs.iter().chain(&grads).flat_map(|t| t.to_dtype(DType::F64).to_vec::<f64>()).collect()
    }

    #[test]
    fn sequences_of_different_lengths_are_the_same_whole_and_step_by_step() {
        let (steps, batch, input, hidden) = (6, 5, 3, 4);
        for kind in [Kind::Tanh, Kind::Relu, Kind::Lstm, Kind::Gru] {
            for (backward, bias) in [(false, true), (true, true), (true, false)] {
                manual_seed(3);
                let w = Weights::new(kind, input, hidden, 0, bias);
                let x = Tensor::randn([steps, batch, input]).requires_grad();
                let h = Tensor::randn([batch, hidden]).requires_grad();
                let c = Tensor::randn([batch, hidden]).requires_grad();
                let cell = (kind == Kind::Lstm).then_some(&c);
                let lengths = Tensor::from_vec(vec![6i64, 1, 0, 4, 3], [batch]);
                let ragged = Ragged::new(&lengths, steps);
                let whole = w.run(kind, &x, &h, cell, Some(&ragged), backward);
                let slow = w.by_steps(kind, &x, &h, cell, Some(&ragged), backward);
                let whole = numbers(&w, &x, [&h, &c], &whole);
                let slow = numbers(&w, &x, [&h, &c], &slow);
                assert_eq!(whole.len(), slow.len());
                for (i, (a, b)) in whole.iter().zip(&slow).enumerate() {
                    assert!(
                        (a - b).abs() < 1e-5 * (1.0 + b.abs()),
                        "{kind:?}, backward {backward}, number {i}: {a} and {b}"
                    );
                }
            }
        }
    }

    #[test]
    fn padding_may_hold_anything() {
        manual_seed(3);
        for kind in [Kind::Tanh, Kind::Relu, Kind::Lstm, Kind::Gru] {
            let w = Weights::new(kind, 2, 3, 0, true);
            let x = Tensor::randn([4, 2, 2]);
            let ragged = Ragged::new(&Tensor::from_vec(vec![4i64, 2], [2]), 4);
            let wild = x.where_(&ragged.alive, f64::NAN).requires_grad();
            let (h, c) =
                (Tensor::zeros([2, 3]).requires_grad(), Tensor::zeros([2, 3]).requires_grad());
            let cell = (kind == Kind::Lstm).then_some(&c);
            let out = w.run(kind, &wild, &h, cell, Some(&ragged), true);
            let all = numbers(&w, &wild, [&h, &c], &out);
            assert!(all.iter().all(|v| v.is_finite()), "{kind:?}: {all:?}");
        }
    }
}
