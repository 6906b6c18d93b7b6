//! A perceptron learns to read digits: the whole program.
//!
//! `cargo run --release --example mlp_learner`

use hardpan::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    manual_seed(42);
    let digits = mnist::loaders(64, 42);
    let model = seq![Flatten::new(), Linear::new(784, 50), ReLU, Linear::new(50, 10)];

    let mut learn =
        Learner::new(digits, model, cross_entropy).metric(Mean::new("accuracy", accuracy));
    learn.fit_one_cycle(3, 0.005)?;

    let accuracy = learn.history().last_metric("accuracy").unwrap_or(0.0);
    println!("{:.2} % of the test digits are read right", accuracy * 100.0);
    assert!(accuracy > 0.96);
    learn.save("mlp.hardpan")?;
    Ok(())
}
