//! Recurrent layers: plain, LSTM and GRU, several layers deep, in one direction or both; and their single cells.
//!
//! The input's share of all time steps is one matrix product; each step then is one product with the state and one fused
//! kernel. State dict keys are PyTorch's: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, with `_reverse` for the other
//! direction and `weight_hr_l0` for projections. Weights start as in PyTorch, uniform within `1 / sqrt(hidden)`.

use crate::init::uniform;
use crate::{Forward, Mode, Module, Param, Visit, Visitor, hooked, visit_field};
use hardpan_engine::{DType, Tensor, functional as f};

/// What a recurrent layer computes in each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tanh,
    Relu,
    Lstm,
    Gru,
}

impl Kind {
    /// Rows of a weight for each hidden unit.
    fn gates(self) -> usize {
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
struct Weights {
    ih: Param,
    hh: Param,
    bias: Option<(Param, Param)>,
    /// Projection of the hidden state, `[proj, hidden]`.
    hr: Option<Param>,
}

impl Weights {
    fn new(kind: Kind, input: usize, hidden: usize, proj: usize, bias: bool) -> Weights {
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

    fn visit(&self, v: &mut dyn Visitor, suffix: &str) {
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
    fn step(&self, kind: Kind) -> Step {
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
    fn run(
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
    fn input_share(&self, kind: Kind, x: &Tensor) -> Tensor {
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
struct Outcome {
    y: Tensor,
    h: Tensor,
    c: Option<Tensor>,
}

/// Where sequences of different lengths, padded to one, end.
struct Ragged {
    /// `[1, B]`, i64, 0 to T.
    lengths: Tensor,
    /// `[T, B, 1]`: whether there is a step.
    alive: Tensor,
    steps: usize,
    batch: usize,
}

impl Ragged {
    fn new(lengths: &Tensor, steps: usize) -> Ragged {
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
struct Step {
    kind: Kind,
    hidden: usize,
    hh: Tensor,
    bias_hh: Option<Tensor>,
    hr: Option<Tensor>,
}

impl Step {
    /// From the input's share `[B, gates hidden]` and the state to the new state. `c` is the cell state of an LSTM.
    fn run(&self, share: &Tensor, h: &Tensor, c: Option<&Tensor>) -> (Tensor, Option<Tensor>) {
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

/// A stack of recurrent layers: what the three public types share.
struct Stack {
    kind: Kind,
    input: usize,
    hidden: usize,
    layers: usize,
    bias: bool,
    batch_first: bool,
    dropout: f64,
    bidirectional: bool,
    proj: usize,
    training: Mode,
    /// By layer, then direction.
    weights: Vec<Weights>,
}

impl Stack {
    fn new(kind: Kind, input: usize, hidden: usize) -> Stack {
        let mut out = Stack {
            kind,
            input,
            hidden,
            layers: 1,
            bias: true,
            batch_first: false,
            dropout: 0.0,
            bidirectional: false,
            proj: 0,
            training: Mode::new(),
            weights: Vec::new(),
        };
        out.remake();
        out
    }

    fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// Size of the hidden state that is handed on.
    fn state(&self) -> usize {
        if self.proj > 0 { self.proj } else { self.hidden }
    }

    fn remake(&mut self) {
        let d = self.directions();
        self.weights = (0..self.layers * d)
            .map(|i| {
                let input = if i < d { self.input } else { self.state() * d };
                Weights::new(self.kind, input, self.hidden, self.proj, self.bias)
            })
            .collect();
    }

    /// `x: [T, B, input]` (or as `batch_first` says, or without B) and the states `[layers directions, B, size]`.
    #[track_caller]
    fn run(
        &self,
        what: &str,
        x: &Tensor,
        h0: Option<&Tensor>,
        c0: Option<&Tensor>,
    ) -> (Tensor, Tensor, Option<Tensor>) {
        self.run_lengths(what, x, h0, c0, None)
    }

    /// As [`run`](Stack::run), where sequence `b` has `lengths[b]` steps: after them its state stays and its output is zero, and the other
    /// direction begins at its own end. The same as PyTorch's packed sequences.
    #[track_caller]
    fn run_lengths(
        &self,
        what: &str,
        x: &Tensor,
        h0: Option<&Tensor>,
        c0: Option<&Tensor>,
        lengths: Option<&Tensor>,
    ) -> (Tensor, Tensor, Option<Tensor>) {
        assert!(
            (x.rank() == 2 || x.rank() == 3) && x.size(-1) == self.input,
            "{what}({}, {}): expected {} or [T, {0}], got shape {:?}",
            self.input,
            self.hidden,
            if self.batch_first { "[B, T, input]" } else { "[T, B, input]" },
            x.shape()
        );
        let alone = x.rank() == 2;
        let mut x = match (alone, self.batch_first) {
            (true, _) => x.unsqueeze(1),
            (false, true) => x.transpose(0, 1),
            (false, false) => x.clone(),
        };
        let (steps, batch, d) = (x.size(0), x.size(1), self.directions());
        let count = self.layers * d;
        let ragged = lengths.map(|n| {
            assert!(
                !alone && n.shape() == [batch],
                "{what}: lengths of shape [{batch}], one for each sequence of a batch, were expected, got {:?}",
                n.shape()
            );
            Ragged::new(n, steps)
        });
        let start = |size: usize| [count, batch, size];
        let h0 = state_or_zeros(what, &x, h0, start(self.state()), alone);
        let c0 = match self.kind {
            Kind::Lstm => Some(state_or_zeros(what, &x, c0, start(self.hidden), alone)),
            _ => None,
        };
        let (mut last_h, mut last_c) = (Vec::new(), Vec::new());
        for layer in 0..self.layers {
            let mut sides = Vec::new();
            for side in 0..d {
                let k = layer * d + side;
                let h = h0.select(0, k as isize);
                let c = c0.as_ref().map(|c| c.select(0, k as isize));
                let weights = &self.weights[k];
                let out = weights.run(self.kind, &x, &h, c.as_ref(), ragged.as_ref(), side == 1);
                sides.push(out.y);
                last_h.push(out.h);
                last_c.extend(out.c);
            }
            x = if d == 1 { sides.remove(0) } else { Tensor::cat(&sides, -1) };
            if layer + 1 < self.layers {
                x = f::dropout(&x, self.dropout, self.training.is_training());
            }
        }
        let squeeze = |t: Tensor| if alone { t.squeeze(1) } else { t };
        let out = if !alone && self.batch_first { x.transpose(0, 1) } else { squeeze(x) };
        let c = (self.kind == Kind::Lstm).then(|| squeeze(Tensor::stack(&last_c, 0)));
        (out, squeeze(Tensor::stack(&last_h, 0)), c)
    }
}

/// The state given, with a batch of one if it has none and `alone`; zeros beside `x` if there is none.
#[track_caller]
fn state_or_zeros(
    what: &str,
    x: &Tensor,
    given: Option<&Tensor>,
    shape: [usize; 3],
    alone: bool,
) -> Tensor {
    let Some(t) = given else {
        return hardpan_engine::with_device(x.device(), || Tensor::zeros_dtype(shape, x.dtype()));
    };
    let t = if alone && t.rank() == 2 { t.unsqueeze(1) } else { t.clone() };
    assert!(
        t.shape() == shape,
        "{what}: a state of shape {shape:?} was expected ([layers * directions, batch, size]), got {:?}",
        t.shape()
    );
    t
}

impl Visit for Stack {
    fn visit(&self, v: &mut dyn Visitor) {
        v.mode(&self.training);
        let d = self.directions();
        for (i, w) in self.weights.iter().enumerate() {
            let reverse = if i % d == 1 { "_reverse" } else { "" };
            w.visit(v, &format!("_l{}{reverse}", i / d));
        }
    }
}

macro_rules! stacks {
    ($($(#[$doc:meta])* $name:ident = $kind:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Module)]
        pub struct $name {
            #[module(flatten)]
            stack: Stack,
        }

        impl $name {
            /// From `input` to `hidden` features: one layer, one direction, with biases, time first.
            pub fn new(input: usize, hidden: usize) -> $name {
                $name { stack: Stack::new($kind, input, hidden) }
            }

            /// Number of layers, each reading the one before. Default 1.
            #[must_use]
            pub fn layers(mut self, layers: usize) -> $name {
                self.stack.layers = layers;
                self.stack.remake();
                self
            }

            /// With biases or without. Default: with.
            #[must_use]
            pub fn bias(mut self, bias: bool) -> $name {
                self.stack.bias = bias;
                self.stack.remake();
                self
            }

            /// Whether input and output are `[B, T, features]` rather than `[T, B, features]`. Default no.
            #[must_use]
            pub fn batch_first(mut self, batch_first: bool) -> $name {
                self.stack.batch_first = batch_first;
                self
            }

            /// Probability of dropping an element between layers. Default 0.
            #[must_use]
            pub fn dropout(mut self, p: f64) -> $name {
                self.stack.dropout = p;
                self
            }

            /// Whether a second cell reads from the end; its outputs are appended. Default no.
            #[must_use]
            pub fn bidirectional(mut self, both: bool) -> $name {
                self.stack.bidirectional = both;
                self.stack.remake();
                self
            }

            /// Number of features of the hidden state.
            pub fn hidden_size(&self) -> usize {
                self.stack.hidden
            }
        }
    )*};
}

stacks! {
    /// A plain recurrent layer: `h' = tanh(W_ih x + b_ih + W_hh h + b_hh)`. Counterpart: `torch.nn.RNN`.
    ///
    /// `forward(&x)` or `forward(&(x, h))` with `x: [T, B, input]` and `h: [layers directions, B, hidden]` gives the output
    /// `[T, B, directions hidden]` and the last `h`.
    RNN = Kind::Tanh;
    /// Long short-term memory: gates in the order i, f, g, o. Counterpart: `torch.nn.LSTM`; Hochreiter and Schmidhuber 1997.
    ///
    /// `forward(&x)` or `forward(&(x, (h, c)))` with `x: [T, B, input]` and `h, c: [layers directions, B, hidden]` gives the output
    /// `[T, B, directions hidden]` and the last `(h, c)`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, LSTM};
    /// let lstm = LSTM::new(10, 20).layers(2).batch_first(true);
    /// let (y, (h, c)) = lstm.forward(&Tensor::ones([3, 7, 10]));
    /// assert_eq!((y.shape(), h.shape(), c.shape()), (&[3, 7, 20][..], &[2, 3, 20][..], &[2, 3, 20][..]));
    /// ```
    LSTM = Kind::Lstm;
    /// Gated recurrent unit: gates in the order r, z, n. Counterpart: `torch.nn.GRU`; Cho et al., <https://arxiv.org/abs/1406.1078>.
    ///
    /// `forward(&x)` or `forward(&(x, h))` with `x: [T, B, input]` and `h: [layers directions, B, hidden]` gives the output
    /// `[T, B, directions hidden]` and the last `h`.
    GRU = Kind::Gru;
}

impl RNN {
    /// With `max(0, ..)` in place of tanh. Default: tanh.
    #[must_use]
    pub fn relu(mut self, relu: bool) -> RNN {
        self.stack.kind = if relu { Kind::Relu } else { Kind::Tanh };
        self
    }
}

impl LSTM {
    /// Projects the hidden state to this size; 0 for no projection. Default 0.
    #[must_use]
    pub fn proj_size(mut self, size: usize) -> LSTM {
        self.stack.proj = size;
        self.stack.remake();
        self
    }
}

macro_rules! without_cell_state {
    ($($name:ident),*) => {$(
        impl Forward for $name {
            type Output = (Tensor, Tensor);
            #[track_caller]
            fn forward(&self, x: &Tensor) -> (Tensor, Tensor) {
                hooked!(self, x => {
                    let (y, h, _) = self.stack.run(stringify!($name), x, None, None);
                    (y, h)
                })
            }
        }

        impl Forward<(Tensor, Tensor)> for $name {
            type Output = (Tensor, Tensor);
            #[track_caller]
            fn forward(&self, x: &(Tensor, Tensor)) -> (Tensor, Tensor) {
                hooked!(self, x => {
                    let (x, h) = x;
                    let (y, h, _) = self.stack.run(stringify!($name), x, Some(h), None);
                    (y, h)
                })
            }
        }
    )*};
}
without_cell_state!(RNN, GRU);

macro_rules! lengths_without_cell_state {
    ($($name:ident),*) => {$(
        impl $name {
            /// As `forward` for sequences of different lengths, padded to one: `lengths: [B]`. Outputs past a sequence's end are zeros, the last
            /// state is that of its last step, and the other direction begins there. Counterpart: packed sequences.
            #[track_caller]
            pub fn forward_lengths(&self, x: &Tensor, lengths: &Tensor, h: Option<&Tensor>) -> (Tensor, Tensor) {
                let given = &(x.clone(), lengths.clone());
                hooked!(self, given => {
                    let (x, lengths) = given;
                    let (y, h, _) = self.stack.run_lengths(stringify!($name), x, h, None, Some(lengths));
                    (y, h)
                })
            }
        }
    )*};
}
lengths_without_cell_state!(RNN, GRU);

impl LSTM {
    /// As `forward` for sequences of different lengths, padded to one: `lengths: [B]`. Outputs past a sequence's end are zeros, the last
    /// state is that of its last step, and the other direction begins there. Counterpart: packed sequences.
    #[track_caller]
    pub fn forward_lengths(
        &self,
        x: &Tensor,
        lengths: &Tensor,
        state: Option<(&Tensor, &Tensor)>,
    ) -> (Tensor, (Tensor, Tensor)) {
        let given = &(x.clone(), lengths.clone());
        hooked!(self, given => {
            let (x, lengths) = given;
            let (h, c) = state.unzip();
            let (y, h, c) = self.stack.run_lengths("LSTM", x, h, c, Some(lengths));
            (y, (h, c.expect("an LSTM has a cell state")))
        })
    }
}

impl Forward for LSTM {
    type Output = (Tensor, (Tensor, Tensor));
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Self::Output {
        hooked!(self, x => {
            let (y, h, c) = self.stack.run("LSTM", x, None, None);
            (y, (h, c.expect("an LSTM has a cell state")))
        })
    }
}

impl Forward<(Tensor, (Tensor, Tensor))> for LSTM {
    type Output = (Tensor, (Tensor, Tensor));
    #[track_caller]
    fn forward(&self, x: &(Tensor, (Tensor, Tensor))) -> Self::Output {
        hooked!(self, x => {
            let (x, (h, c)) = x;
            let (y, h, c) = self.stack.run("LSTM", x, Some(h), Some(c));
            (y, (h, c.expect("an LSTM has a cell state")))
        })
    }
}

/// A single cell: what the cell types share.
struct Cell {
    kind: Kind,
    input: usize,
    hidden: usize,
    weights: Weights,
}

impl Cell {
    fn new(kind: Kind, input: usize, hidden: usize, bias: bool) -> Cell {
        Cell { kind, input, hidden, weights: Weights::new(kind, input, hidden, 0, bias) }
    }

    #[track_caller]
    fn run(
        &self,
        what: &str,
        x: &Tensor,
        state: Option<(&Tensor, Option<&Tensor>)>,
    ) -> (Tensor, Option<Tensor>) {
        assert!(
            (x.rank() == 1 || x.rank() == 2) && x.size(-1) == self.input,
            "{what}({}, {}): expected [B, input] or [input], got shape {:?}",
            self.input,
            self.hidden,
            x.shape()
        );
        let alone = x.rank() == 1;
        let rows = |t: &Tensor| if t.rank() == 1 { t.unsqueeze(0) } else { t.clone() };
        let x = rows(x);
        let zeros = || {
            hardpan_engine::with_device(x.device(), || {
                Tensor::zeros_dtype([x.size(0), self.hidden], x.dtype())
            })
        };
        let (h, c) = match state {
            Some((h, c)) => (rows(h), c.map(rows)),
            None => (zeros(), (self.kind == Kind::Lstm).then(zeros)),
        };
        let share = self.weights.input_share(self.kind, &x);
        let (h, c) = self.weights.step(self.kind).run(&share, &h, c.as_ref());
        let back = |t: Tensor| if alone { t.squeeze(0) } else { t };
        (back(h), c.map(back))
    }
}

impl Visit for Cell {
    fn visit(&self, v: &mut dyn Visitor) {
        self.weights.visit(v, "");
    }
}

macro_rules! cells {
    ($($(#[$doc:meta])* $name:ident = $kind:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Module)]
        pub struct $name {
            #[module(flatten)]
            cell: Cell,
        }

        impl $name {
            /// From `input` to `hidden` features, with biases.
            pub fn new(input: usize, hidden: usize) -> $name {
                $name { cell: Cell::new($kind, input, hidden, true) }
            }

            /// With biases or without. Default: with.
            #[must_use]
            pub fn bias(self, bias: bool) -> $name {
                let c = self.cell;
                $name { cell: Cell::new(c.kind, c.input, c.hidden, bias) }
            }
        }
    )*};
}

cells! {
    /// One step of [`RNN`]: `forward(&x)` or `forward(&(x, h))` gives the new `h`. Keys: `weight_ih`, `weight_hh`, `bias_ih`,
    /// `bias_hh`. Counterpart: `torch.nn.RNNCell`.
    RNNCell = Kind::Tanh;
    /// One step of [`LSTM`]: `forward(&x)` or `forward(&(x, (h, c)))` gives the new `(h, c)`. Keys: `weight_ih`, `weight_hh`,
    /// `bias_ih`, `bias_hh`. Counterpart: `torch.nn.LSTMCell`.
    LSTMCell = Kind::Lstm;
    /// One step of [`GRU`]: `forward(&x)` or `forward(&(x, h))` gives the new `h`. Keys: `weight_ih`, `weight_hh`, `bias_ih`,
    /// `bias_hh`. Counterpart: `torch.nn.GRUCell`.
    GRUCell = Kind::Gru;
}

impl RNNCell {
    /// With `max(0, ..)` in place of tanh. Default: tanh.
    #[must_use]
    pub fn relu(mut self, relu: bool) -> RNNCell {
        self.cell.kind = if relu { Kind::Relu } else { Kind::Tanh };
        self
    }
}

macro_rules! cells_without_cell_state {
    ($($name:ident),*) => {$(
        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    self.cell.run(stringify!($name), x, None).0
                })
            }
        }

        impl Forward<(Tensor, Tensor)> for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &(Tensor, Tensor)) -> Tensor {
                hooked!(self, x => {
                    let (x, h) = x;
                    self.cell.run(stringify!($name), x, Some((h, None))).0
                })
            }
        }
    )*};
}
cells_without_cell_state!(RNNCell, GRUCell);

impl Forward for LSTMCell {
    type Output = (Tensor, Tensor);
    #[track_caller]
    fn forward(&self, x: &Tensor) -> (Tensor, Tensor) {
        hooked!(self, x => {
            let (h, c) = self.cell.run("LSTMCell", x, None);
            (h, c.expect("an LSTM has a cell state"))
        })
    }
}

impl Forward<(Tensor, (Tensor, Tensor))> for LSTMCell {
    type Output = (Tensor, Tensor);
    #[track_caller]
    fn forward(&self, x: &(Tensor, (Tensor, Tensor))) -> (Tensor, Tensor) {
        hooked!(self, x => {
            let (x, (h, c)) = x;
            let (h, c) = self.cell.run("LSTMCell", x, Some((h, Some(c))));
            (h, c.expect("an LSTM has a cell state"))
        })
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
