//! Small models and data for the tests of the learner.
#![allow(dead_code)]

use hardpan_engine::Tensor;
use hardpan_learn::callback::{Callback, Event, Flow};
use hardpan_learn::data::{DataLoader, DataLoaders, TensorDataset};
use hardpan_learn::learner::{Context, Learner, Task};
use hardpan_nn::{Forward, Module, Param};
use std::sync::{Arc, Mutex};

/// Numbers in [-1, 1) that depend on the seed alone.
pub fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f32) / (1u32 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

pub fn tensor(seed: u64, shape: &[usize]) -> Tensor {
    Tensor::from_slice(&numbers(seed, shape.iter().product()), shape)
}

/// `x @ weight + bias`
#[derive(Module)]
pub struct Linear {
    pub weight: Param,
    pub bias: Param,
}

impl Linear {
    pub fn new(seed: u64, inputs: usize, outputs: usize) -> Linear {
        let scale = 1.0 / (inputs as f64).sqrt();
        Linear {
            weight: Param::new((tensor(seed, &[inputs, outputs]) * scale).eval().clone()),
            bias: Param::new(Tensor::zeros([outputs])),
        }
    }
}

impl Forward for Linear {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        x.matmul(&self.weight.value()) + self.bias.value()
    }
}

pub fn mse(pred: &Tensor, y: &Tensor) -> Tensor {
    let d = pred - y;
    (&d * &d).mean(..)
}

/// `y = x @ w + 0.5` without noise: `n` items of 3 numbers.
pub fn line_data(seed: u64, n: usize) -> TensorDataset<Tensor, Tensor> {
    let x = tensor(seed, &[n, 3]);
    let w = Tensor::from_slice(&[1.0f32, -2.0, 0.5], [3, 1]);
    let y = x.matmul(&w) + 0.5;
    TensorDataset::new(x, y.eval().clone()).unwrap()
}

pub fn line_loaders(n: usize, bs: usize) -> DataLoaders<Tensor, Tensor> {
    DataLoaders::new(
        DataLoader::new(line_data(1, n), bs).unwrap().shuffle(7),
        DataLoader::new(line_data(2, n / 2), bs).unwrap(),
    )
}

pub fn line_learner(n: usize, bs: usize) -> Learner<Linear> {
    Learner::new(line_loaders(n, bs), Linear::new(3, 3, 1), mse).silent()
}

/// All weights as bits.
pub fn bits(model: &impl Module) -> Vec<u32> {
    model.state_dict().iter().flat_map(|(_, t)| t.to_vec::<f32>()).map(f32::to_bits).collect()
}

/// At which event to answer what.
pub type Cancel = (Event, fn() -> Flow);

/// Writes down every event; answers to some as told.
#[derive(Clone, Default)]
pub struct Spy {
    pub seen: Arc<Mutex<Vec<&'static str>>>,
    pub cancel: Arc<Mutex<Option<Cancel>>>,
}

impl Spy {
    pub fn cancelling(event: Event, flow: fn() -> Flow) -> Spy {
        Spy { cancel: Arc::new(Mutex::new(Some((event, flow)))), ..Spy::default() }
    }

    pub fn text(&self) -> String {
        self.seen.lock().unwrap().join(" ")
    }
}

impl<T: Task> Callback<T> for Spy {
    fn on(&mut self, event: Event, _: &mut Context<T>) -> Flow {
        self.seen.lock().unwrap().push(event.name());
        let mut cancel = self.cancel.lock().unwrap();
        if cancel.is_some_and(|(e, _)| e == event) {
            cancel.take().unwrap().1()
        } else {
            Flow::Continue
        }
    }
}
