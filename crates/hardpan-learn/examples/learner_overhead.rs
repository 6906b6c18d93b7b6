//! What a [`Learner`] costs for each batch beyond the bare loop: the smallest of models, so that the loop is all there is.
//!
//! `cargo run --release -p hardpan-learn --example learner_overhead`

use hardpan_engine::{Tensor, manual_seed};
use hardpan_learn::data::{DataLoader, DataLoaders, TensorDataset};
use hardpan_learn::learner::Learner;
use hardpan_learn::metric::mse;
use hardpan_nn::optim::{Adam, Recipe};
use hardpan_nn::{Forward, Linear, Module};
use std::time::Instant;

const ITEMS: usize = 4000;
const BATCH: usize = 4;
const EPOCHS: usize = 4;

fn loader() -> DataLoader<Tensor, Tensor> {
    manual_seed(1);
    let x = Tensor::randn([ITEMS, 3]);
    let y = (&x * 2.0).sum(1).unsqueeze(1);
    let data = TensorDataset::new(x.eval().clone(), y.eval().clone()).expect("equally many");
    DataLoader::new(data, BATCH).expect("not empty").shuffle(1)
}

/// Microseconds for each batch of the loop without a learner. `read`: whether it looks at its losses, as a learner's recorder does.
fn bare(loader: &DataLoader<Tensor, Tensor>, read: bool) -> f64 {
    let model = Linear::new(3, 1);
    let mut opt = Adam::fastai(1e-3).build(model.parameters());
    let mut total = 0.0;
    let start = Instant::now();
    for epoch in 0..EPOCHS {
        for batch in loader.batches(epoch) {
            let (x, y) = batch.expect("in memory");
            let loss = mse(&model.forward(&x), &y);
            loss.backward();
            opt.step_and_zero_grad();
            if read {
                total += f64::from(loss.item::<f32>());
            }
        }
    }
    std::hint::black_box(total);
    per_batch(start)
}

/// Microseconds for each batch of a learner with its default callbacks, one-cycle training.
fn learner(loader: &DataLoader<Tensor, Tensor>) -> f64 {
    let loaders = DataLoaders::train_only(loader.clone());
    let mut learn = Learner::new(loaders, Linear::new(3, 1), mse).silent();
    let start = Instant::now();
    learn.fit_one_cycle(EPOCHS, 1e-3).expect("it trains");
    per_batch(start)
}

fn per_batch(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / (EPOCHS * ITEMS / BATCH) as f64
}

fn main() {
    let loader = loader();
    let mut best = [f64::INFINITY; 3];
    // By turns, so that a change of the machine's mood meets all of them; the smallest counts.
    for _ in 0..7 {
        let now = [bare(&loader, false), bare(&loader, true), learner(&loader)];
        best.iter_mut().zip(now).for_each(|(best, now)| *best = best.min(now));
    }
    let [bare, reading, learner] = best;
    println!("bare loop                    {bare:6.2} us a batch");
    println!("bare loop, reading its loss  {reading:6.2} us a batch");
    println!("Learner                      {learner:6.2} us a batch");
    println!("the Learner's own cost       {:6.2} us a batch", learner - bare);
}
