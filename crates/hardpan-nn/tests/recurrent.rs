//! Recurrent layers whole against step by step: sequences that all have their full length go the slow way.

use hardpan_engine::{Tensor, manual_seed};
use hardpan_nn::{Forward, GRU, LSTM, Module, RNN};

const STEPS: usize = 5;
const BATCH: usize = 3;

/// Outputs, then the gradients of input, states and weights, of a loss that weighs every output by its own number.
fn numbers(
    model: &dyn Module,
    inputs: [&Tensor; 3],
    outputs: impl Fn(&Tensor, &Tensor, &Tensor) -> Vec<Tensor>,
) -> Vec<f64> {
    model.zero_grad();
    let own: Vec<Tensor> = inputs.iter().map(|t| t.detach().requires_grad()).collect();
    let outputs = outputs(&own[0], &own[1], &own[2]);
    let weigh = |t: &Tensor| {
        (t * (Tensor::iota(t.numel()).to_dtype(t.dtype()) * 0.37).sin().reshape_as(t)).sum(..)
    };
    outputs.iter().map(weigh).reduce(|a, b| a + b).unwrap().backward();
    let mut all: Vec<f64> = outputs.iter().flat_map(|t| t.to_vec::<f64>()).collect();
    for t in own.iter().filter_map(Tensor::grad) {
        all.extend(t.to_vec::<f64>());
    }
    for p in model.parameters() {
        all.extend(p.grad().expect("every weight takes part").to_vec::<f64>());
    }
    all
}

fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() < 1e-5 * (1.0 + b.abs()), "number {i}: {a} and {b}");
    }
}

fn inputs(states: usize, hidden: usize) -> [Tensor; 3] {
    manual_seed(5);
    let state = || Tensor::randn([states, BATCH, hidden]).eval().clone();
    [Tensor::randn([STEPS, BATCH, 4]).eval().clone(), state(), state()]
}

#[test]
fn an_lstm_is_the_same_whole_and_step_by_step() {
    let lengths = Tensor::from_vec(vec![STEPS as i64; BATCH], [BATCH]);
    for (layers, both, bias) in [(1, false, true), (1, true, false), (2, true, true)] {
        let lstm = LSTM::new(4, 6).layers(layers).bidirectional(both).bias(bias);
        let [x, h, c] = inputs(layers * (1 + usize::from(both)), 6);
        let whole = numbers(&lstm, [&x, &h, &c], |x, h, c| {
            let (y, (h, c)) = lstm.forward(&(x.clone(), (h.clone(), c.clone())));
            vec![y, h, c]
        });
        let steps = numbers(&lstm, [&x, &h, &c], |x, h, c| {
            let (y, (h, c)) = lstm.forward_lengths(x, &lengths, Some((h, c)));
            vec![y, h, c]
        });
        close(&whole, &steps);
    }
}

#[test]
fn a_gru_and_a_plain_layer_are_the_same_whole_and_step_by_step() {
    let lengths = Tensor::from_vec(vec![STEPS as i64; BATCH], [BATCH]);
    for (layers, both, bias) in [(1, false, true), (1, true, false), (2, true, true)] {
        let [x, h, c] = inputs(layers * (1 + usize::from(both)), 6);
        macro_rules! check {
            ($model:expr) => {
                let model = $model.layers(layers).bidirectional(both).bias(bias);
                let whole = numbers(&model, [&x, &h, &c], |x, h, _| {
                    let (y, h) = model.forward(&(x.clone(), h.clone()));
                    vec![y, h]
                });
                let steps = numbers(&model, [&x, &h, &c], |x, h, _| {
                    let (y, h) = model.forward_lengths(x, &lengths, Some(h));
                    vec![y, h]
                });
                close(&whole, &steps);
            };
        }
        check!(GRU::new(4, 6));
        check!(RNN::new(4, 6));
        check!(RNN::new(4, 6).relu(true));
    }
}
