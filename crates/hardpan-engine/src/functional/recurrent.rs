//! Recurrent layers on given weights.

use super::{Tensor, beside, linear, sigmoid};

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
/// The input's share of all steps is one matrix product; each step then is one product with the state and one fused kernel.
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
    let (mut h, mut c) = (start(state.map(|s| s.0)), start(state.map(|s| s.1)));
    let bias = w.bias.as_ref().map(|(a, b)| a + b);
    let share = linear(x, &w.ih, bias.as_ref());
    let hh = w.hh.t();
    let mut outputs = Vec::with_capacity(steps);
    for t in 0..steps {
        let gates = share.select(0, t as isize) + h.matmul(&hh);
        let part = |k: usize| gates.narrow(-1, k * n, n);
        let (i, forget) = (sigmoid(&part(0)), sigmoid(&part(1)));
        c = forget * c + i * part(2).tanh();
        h = sigmoid(&part(3)) * c.tanh();
        outputs.push(h.clone());
    }
    if outputs.is_empty() {
        return (beside(x, || Tensor::zeros_dtype([0, batch, n], x.dtype())), h, c);
    }
    (Tensor::stack(&outputs, 0), h, c)
}
