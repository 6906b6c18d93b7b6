//! What a [`Learner`] costs for each batch beyond the bare loop.

use crate::Settings;
use crate::page::Section;
use anyhow::Result;
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
const ROUNDS: usize = 7;

type Loader = DataLoader<Tensor, Tensor>;

fn loader() -> Result<Loader> {
    manual_seed(1);
    let x = Tensor::randn([ITEMS, 3]);
    let y = (&x * 2.0).sum(1).unsqueeze(1);
    let data = TensorDataset::new(x.eval().clone(), y.eval().clone())?;
    Ok(DataLoader::new(data, BATCH)?.shuffle(1))
}

/// Microseconds for each batch of the loop without a learner. `read`: whether it looks at its losses, as a learner's recorder does.
fn bare(loader: &Loader, read: bool) -> Result<f64> {
    let model = Linear::new(3, 1);
    let mut opt = Adam::fastai(1e-3).build(model.parameters());
    let mut total = 0.0;
    let start = Instant::now();
    for epoch in 0..EPOCHS {
        for batch in loader.batches(epoch) {
            let (x, y) = batch?;
            let loss = mse(&model.forward(&x), &y);
            loss.backward();
            opt.step_and_zero_grad();
            if read {
                total += f64::from(loss.item::<f32>());
            }
        }
    }
    std::hint::black_box(total);
    Ok(per_batch(start))
}

/// Microseconds for each batch of a learner with its default callbacks, one-cycle training.
fn learner(loader: &Loader) -> Result<f64> {
    let loaders = DataLoaders::train_only(loader.clone());
    let mut learn = Learner::new(loaders, Linear::new(3, 1), mse).silent();
    let start = Instant::now();
    learn.fit_one_cycle(EPOCHS, 1e-3)?;
    Ok(per_batch(start))
}

fn per_batch(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / (EPOCHS * ITEMS / BATCH) as f64
}

/// The smallest of models, so that the loop is all there is.
pub fn overhead(_: &Settings) -> Result<Section> {
    let loader = loader()?;
    let mut best = [f64::INFINITY; 3];
    // By turns, so that a change of the machine's mood meets all of them; the smallest counts.
    for _ in 0..ROUNDS {
        let now = [bare(&loader, false)?, bare(&loader, true)?, learner(&loader)?];
        best.iter_mut().zip(now).for_each(|(best, now)| *best = best.min(now));
    }
    let mut section = Section::new(
        "What a Learner costs",
        &format!(
            "Microseconds a batch of `Linear(3, 1)`, {BATCH} items, Adam: a bare loop, and a `Learner` with its default callbacks and \
             `fit_one_cycle`. The smallest of {ROUNDS} rounds of {EPOCHS} epochs of {} batches; the machine should have nothing else to do.",
            ITEMS / BATCH
        ),
        &["loop", "us a batch"],
    );
    let names = ["bare loop", "bare loop that reads its losses", "Learner"];
    for (name, us) in names.iter().zip(best) {
        section.row(&[name, &format!("{us:.2}")]);
    }
    let own = best[2] - best[0].min(best[1]);
    section.row(&["the Learner's own share", &format!("{own:.2}")]);
    section.gate("the Learner adds less than 20 us", own < 20.0);
    Ok(section)
}
