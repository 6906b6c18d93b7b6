//! The same without a `Learner`: a model and a training loop of one's own.
//!
//! `cargo run --release --example own_loop`

use hardpan::prelude::*;

#[derive(Module)]
struct Mlp {
    hidden: Linear,
    output: Linear,
}

impl Forward for Mlp {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        let h = self.hidden.forward(&x.flatten(1, -1)).relu();
        self.output.forward(&h)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    manual_seed(42);
    let digits = mnist::loaders(64, 42);
    let valid = digits.valid.as_ref().expect("the test digits");
    let model = Mlp { hidden: Linear::new(784, 50), output: Linear::new(50, 10) };
    let mut opt = SGD::new(0.02).momentum(0.9).build(&model);

    for epoch in 0..3 {
        for batch in digits.train.batches(epoch) {
            let (x, y) = batch?;
            let loss = cross_entropy(&model.forward(&x), &y);
            loss.backward();
            opt.step();
            opt.zero_grad();
        }
        let mut right = 0.0;
        for batch in valid.batches(0) {
            let (x, y) = batch?;
            right += no_grad(|| accuracy(&model.forward(&x), &y)).item::<f64>() * y.numel() as f64;
        }
        println!("epoch {epoch}: accuracy {:.4}", right / valid.items() as f64);
    }
    Ok(())
}
