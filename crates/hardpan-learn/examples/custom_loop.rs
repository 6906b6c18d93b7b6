//! A training loop of one's own, without a learner: thirty lines with a schedule, validation and the best weights kept.
//!
//! `cargo run -p hardpan-learn --example custom_loop`

use hardpan_engine::{Tensor, no_grad};
use hardpan_learn::data::{DataError, DataLoaders, TensorDataset};
use hardpan_learn::metric::{RunningMean, mse};
use hardpan_learn::schedule::OneCycle;
use hardpan_nn::optim::{Adam, Hyper, Recipe, clip_grad_norm};
use hardpan_nn::{Forward, Linear, Module, evaluating};

// begin
fn train(
    model: &Linear,
    data: &DataLoaders<Tensor, Tensor>,
    epochs: usize,
) -> Result<f64, DataError> {
    let mut opt = Adam::fastai(1e-3).build(model.parameters());
    let rates = OneCycle::default().rates(0.1);
    let steps = (epochs * data.train.len()) as f64;
    let (mut best, mut weights) = (f64::INFINITY, model.state_dict());
    for epoch in 0..epochs {
        for batch in data.train.batches(epoch) {
            let (x, y) = batch?;
            opt.set_hyper(Hyper::Lr, rates(opt.steps_taken() as f64 / steps));
            mse(&model.forward(&x), &y).backward();
            clip_grad_norm(&model.parameters(), 1.0);
            opt.step_and_zero_grad();
        }
        let mut mean = RunningMean::default();
        for batch in data.valid.as_ref().expect("validation data").batches(0) {
            let (x, y) = batch?;
            let pred = evaluating(model, || no_grad(|| model.forward(&x)));
            mean.add(&mse(&pred, &y), y.size(0));
        }
        if let Some(loss) = mean.value().filter(|loss| *loss < best) {
            (best, weights) = (loss, model.state_dict());
        }
    }
    model.load_state_dict(&weights, true).expect("its own weights fit");
    Ok(best)
}
// end

/// The best validation loss.
pub fn run() -> Result<f64, DataError> {
    let x = Tensor::randn([256, 3]);
    let y = (&x * 2.0).sum(1).unsqueeze(1);
    let (train_data, valid) = TensorDataset::new(x.eval().clone(), y.eval().clone())?.split_at(200);
    train(&Linear::new(3, 1), &DataLoaders::from_tensors(train_data, valid, 16, 42)?, 20)
}

#[allow(dead_code)]
fn main() -> Result<(), DataError> {
    println!("best validation loss {:.6}", run()?);
    Ok(())
}
