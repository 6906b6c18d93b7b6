//! Single cells: one step of a recurrent layer.

use super::weights::{Kind, Weights};
use crate::{Forward, Module, Visit, Visitor, hooked};
use hardpan_engine::Tensor;

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
    /// One step of [`RNN`](super::RNN): `forward(&x)` or `forward(&(x, h))` gives the new `h`. Keys: `weight_ih`, `weight_hh`, `bias_ih`,
    /// `bias_hh`. Counterpart: `torch.nn.RNNCell`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, RNNCell};
    /// let cell = RNNCell::new(4, 8);
    /// let h = cell.forward(&Tensor::ones([2, 4]));
    /// assert_eq!(cell.forward(&(Tensor::ones([2, 4]), h)).shape(), [2, 8]);
    /// ```
    RNNCell = Kind::Tanh;
    /// One step of [`LSTM`](super::LSTM): `forward(&x)` or `forward(&(x, (h, c)))` gives the new `(h, c)`. Keys: `weight_ih`, `weight_hh`,
    /// `bias_ih`, `bias_hh`. Counterpart: `torch.nn.LSTMCell`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, LSTMCell};
    /// let cell = LSTMCell::new(4, 8);
    /// let state = cell.forward(&Tensor::ones([2, 4]));
    /// let (h, c) = cell.forward(&(Tensor::ones([2, 4]), state));
    /// assert_eq!((h.shape(), c.shape()), (&[2, 8][..], &[2, 8][..]));
    /// ```
    LSTMCell = Kind::Lstm;
    /// One step of [`GRU`](super::GRU): `forward(&x)` or `forward(&(x, h))` gives the new `h`. Keys: `weight_ih`, `weight_hh`, `bias_ih`,
    /// `bias_hh`. Counterpart: `torch.nn.GRUCell`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, GRUCell};
    /// let cell = GRUCell::new(4, 8);
    /// let h = cell.forward(&Tensor::ones([2, 4]));
    /// assert_eq!(cell.forward(&(Tensor::ones([2, 4]), h)).shape(), [2, 8]);
    /// ```
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
