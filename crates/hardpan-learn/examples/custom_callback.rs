//! A callback of one's own: a feature in ten lines that any training can use.
//!
//! `cargo run -p hardpan-learn --example custom_callback`

use hardpan_engine::Tensor;
use hardpan_learn::callback::{Callback, Flow};
use hardpan_learn::data::{DataLoaders, TensorDataset};
use hardpan_learn::learner::{Context, FitError, Learner, Task};
use hardpan_learn::metric::mse;
use hardpan_nn::Linear;

// begin
/// Gaussian noise on the gradients, which helps some deep models: Neelakantan et al., <https://arxiv.org/abs/1511.06807>.
struct GradientNoise(f64);

impl<T: Task> Callback<T> for GradientNoise {
    fn before_step(&mut self, ctx: &mut Context<T>) -> Flow {
        for p in ctx.opt.params() {
            p.set_grad(p.grad().map(|g| &g + Tensor::randn(g.shape()) * self.0));
        }
        Flow::Continue
    }
}
// end

/// The validation loss after training with the callback.
pub fn run() -> Result<f64, FitError> {
    let x = Tensor::randn([256, 3]);
    let y = (&x * 2.0).sum(1).unsqueeze(1);
    let (train, valid) = TensorDataset::new(x.eval().clone(), y.eval().clone())?.split_at(200);
    let loaders = DataLoaders::from_tensors(train, valid, 16, 42)?;
    let mut learn =
        Learner::new(loaders, Linear::new(3, 1), mse).callback(GradientNoise(0.01)).silent();
    learn.fit_one_cycle(20, 0.1)?;
    Ok(learn.validate()?.valid_loss.unwrap_or(f64::NAN))
}

#[allow(dead_code)]
fn main() -> Result<(), FitError> {
    println!("validation loss {:.6}", run()?);
    Ok(())
}
