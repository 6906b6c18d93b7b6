//! Recurrent layers: plain, LSTM and GRU, several layers deep, in one direction or both; and their single cells.
//!
//! The input's share of all time steps is one matrix product; each step then is one product with the state and one fused
//! kernel. State dict keys are PyTorch's: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, with `_reverse` for the other
//! direction and `weight_hr_l0` for projections. Weights start as in PyTorch, uniform within `1 / sqrt(hidden)`.

mod cells;
mod weights;

pub use cells::{GRUCell, LSTMCell, RNNCell};

use crate::{Forward, Mode, Module, Visit, Visitor, hooked};
use hardpan_engine::{Tensor, functional as f};
use weights::{Kind, Ragged, Weights};

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
            training: Mode::for_dropout(),
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
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, RNN};
    /// let (y, h) = RNN::new(4, 8).relu(true).forward(&Tensor::ones([5, 2, 4]));
    /// assert_eq!((y.shape(), h.shape()), (&[5, 2, 8][..], &[1, 2, 8][..]));
    /// assert_eq!(y.select(0, -1).to_vec::<f32>(), h.select(0, 0).to_vec::<f32>());
    /// ```
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
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, GRU};
    /// let (y, h) = GRU::new(4, 8).bidirectional(true).layers(2).forward(&Tensor::ones([5, 2, 4]));
    /// assert_eq!((y.shape(), h.shape()), (&[5, 2, 16][..], &[4, 2, 8][..]));
    /// ```
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
            /// As `forward` for sequences of different lengths, padded to one ([`pad_sequence`](crate::pad_sequence)): `lengths: [B]`, whole
            /// numbers. Outputs past a sequence's end are zeros, the last state is that of its last step, and the other direction begins there;
            /// what the padding holds does not matter. Counterpart: packed sequences.
            ///
            /// # Panics
            /// If there is not one length for each sequence.
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
    /// As `forward` for sequences of different lengths, padded to one ([`pad_sequence`](crate::pad_sequence), with an example): `lengths: [B]`,
    /// whole numbers. Outputs past a sequence's end are zeros, the last state is that of its last step, and the other direction begins there;
    /// what the padding holds does not matter. Counterpart: packed sequences.
    ///
    /// # Panics
    /// If there is not one length for each sequence.
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
