//! What callbacks do, not only that they run. A file for each kind.

mod average;
mod gradient;
mod mix;
mod precision;
mod preds;
mod rnn;
mod schedule;
#[path = "../support/mod.rs"]
mod support;
mod tensorboard;
mod track;
mod training;

use hardpan_engine::Tensor;
use hardpan_engine::functional::cross_entropy;
use hardpan_learn::callback::{Callback, Event, Flow};
use hardpan_learn::data::{DataLoaders, TensorDataset};
use hardpan_learn::learner::{Context, Learner, Task};
use hardpan_learn::metric::{Mean, accuracy};
use std::sync::{Mutex, MutexGuard};
use support::*;

/// The random generator is one for the process, so tests that compare runs take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}

fn lrs(learn: &Learner<Linear>) -> Vec<f64> {
    learn.history().lrs.clone()
}

fn near(a: &[f64], b: &[f64], tolerance: f64) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance * b.abs().max(1e-12))
}

/// The state of most trainings here.
type Ctx = Context<(Linear, Tensor, Tensor)>;

/// Does something at an event.
struct At<F>(Event, i32, F);

impl<T: Task, F: FnMut(&mut Context<T>) + Send + 'static> Callback<T> for At<F> {
    fn order(&self) -> i32 {
        self.1
    }
    fn on(&mut self, event: Event, ctx: &mut Context<T>) -> Flow {
        if event == self.0 {
            (self.2)(ctx);
        }
        Flow::Continue
    }
}

/// Two classes of points in the plane, not quite apart.
fn points(n: usize) -> TensorDataset<Tensor, Tensor> {
    let noise = numbers(11, n * 2);
    let mut x = Vec::new();
    let mut y = Vec::new();
    for i in 0..n {
        let class = (i % 2) as i64;
        let centre = if class == 1 { 0.7 } else { -0.7 };
        x.extend([centre + noise[2 * i], centre - noise[2 * i + 1]]);
        y.push(class);
    }
    TensorDataset::new(Tensor::from_slice(&x, [n, 2]), Tensor::from_slice(&y, [n])).unwrap()
}

fn classifier(bs: usize) -> Learner<Linear> {
    let (train, valid) = points(96).split_at(64);
    let loaders = DataLoaders::from_tensors(train, valid, bs, 3).unwrap();
    Learner::new(loaders, Linear::new(4, 2, 2), cross_entropy)
        .metric(Mean::new("accuracy", accuracy))
        .silent()
}
