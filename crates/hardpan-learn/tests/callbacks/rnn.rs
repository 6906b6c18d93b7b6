//! `RnnRegularizer`.

use super::*;
use hardpan_learn::callback::{CollectData, RnnRegularizer, on_output};
use hardpan_learn::data::DataLoader;
use hardpan_nn::{Forward, Module};

/// A recurrent model that gives its hidden states as well.
#[derive(Module)]
struct Rnn {
    input: Linear,
    hidden: Linear,
    output: Linear,
}

impl Forward for Rnn {
    type Output = (Tensor, Tensor, Tensor);
    fn forward(&self, x: &Tensor) -> Self::Output {
        let mut h = Tensor::zeros([x.size(0), 8]);
        let mut states = Vec::new();
        for t in 0..x.size(1) {
            let now = x.select(1, t as isize);
            h = (self.input.forward(&now) + self.hidden.forward(&h)).tanh();
            states.push(h.clone());
        }
        let states = Tensor::stack(&states, 1);
        (self.output.forward(&h), states.clone(), states)
    }
}

#[test]
fn recurrent_states_are_kept_small_and_slow() {
    let x = tensor(8, &[32, 6, 2]) * 3.0;
    let y = x.sum([1, 2]).unsqueeze(1) * 0.1;
    let data = TensorDataset::new(x.eval().clone(), y.eval().clone()).unwrap();
    let run = |alpha: f64, beta: f64| {
        let loaders = DataLoaders::train_only(DataLoader::new(data.clone(), 8).unwrap());
        let model = Rnn {
            input: Linear::new(1, 2, 8),
            hidden: Linear::new(2, 8, 8),
            output: Linear::new(3, 8, 1),
        };
        let (collect, seen) = CollectData::new();
        let mut learn = Learner::new(loaders, model, on_output(mse))
            .callback(RnnRegularizer::new(alpha, beta))
            .callback(collect)
            .silent();
        learn.fit(20, 0.02).unwrap();
        // The penalty is in the gradients, not in the loss.
        let last = seen.take().pop().unwrap();
        let (out, states, _) = last.pred.unwrap();
        assert!((mse(&out, &last.y).item::<f64>() - last.loss.unwrap().item::<f64>()).abs() < 1e-6);
        let change = states.narrow(1, 1, 5) - states.narrow(1, 0, 5);
        ((&states * &states).mean(..).item::<f64>(), (&change * &change).mean(..).item::<f64>())
    };
    let (free, small, slow) = (run(0.0, 0.0), run(2.0, 0.0), run(0.0, 2.0));
    assert!(small.0 < 0.5 * free.0, "{free:?} {small:?}");
    assert!(slow.1 < 0.5 * free.1, "{free:?} {slow:?}");
}
