//! A gradient penalty: the critic of a WGAN whose gradients with respect to its inputs are kept at norm 1. Gulrajani et al.,
//! <https://arxiv.org/abs/1704.00028>. The penalty is a function of a gradient, so training it takes gradients of gradients.
//!
//! `cargo run -p hardpan-learn --example gradient_penalty`

use hardpan_engine::{Tensor, grad, manual_seed};
use hardpan_learn::callback::{Callback, Flow};
use hardpan_learn::data::{DataLoader, DataLoaders, TensorDataset};
use hardpan_learn::learner::{Context, FitError, Learner};
use hardpan_nn::{Forward, Linear, Module, Sequential, seq};

/// Adds `weight` times the mean of (norm of the gradient of the output with respect to the input - 1) squared.
struct GradientPenalty(f64);

impl<M> Callback<(M, Tensor, Tensor)> for GradientPenalty
where
    M: Module + Forward<Tensor, Output = Tensor>,
{
    fn before_batch(&mut self, ctx: &mut Context<(M, Tensor, Tensor)>) -> Flow {
        if ctx.training {
            ctx.x = ctx.x.take().map(|x| x.requires_grad());
        }
        Flow::Continue
    }

    fn after_loss(&mut self, ctx: &mut Context<(M, Tensor, Tensor)>) -> Flow {
        if ctx.training {
            let gradient = grad(&ctx.pred().sum(..), &[ctx.x()]).remove(0);
            let norm = ((&gradient * &gradient).sum(1) + 1e-12).sqrt();
            let off = norm - 1.0;
            ctx.add_penalty((&off * &off).mean(..) * self.0);
        }
        Flow::Continue
    }
}

/// How much higher the critic rates what is real: signs are 1 for real items and -1 for others.
fn wasserstein(rating: &Tensor, sign: &Tensor) -> Tensor {
    -(rating.squeeze(1) * sign).mean(..)
}

/// The mean norm of the critic's gradients after training with a penalty of this weight.
pub fn run(weight: f64) -> Result<f64, FitError> {
    manual_seed(3);
    let n = 256;
    let real = Tensor::randn([n, 2]) * 0.5 + 2.0;
    let other = Tensor::randn([n, 2]) * 0.5;
    let x = Tensor::cat(&[real, other], 0);
    let sign = Tensor::cat(&[Tensor::ones([n]), -Tensor::ones([n])], 0);
    let data = TensorDataset::new(x.eval().clone(), sign.eval().clone())?;
    let loaders = DataLoaders::train_only(DataLoader::new(data, 64)?.shuffle(1));
    let critic = seq![Linear::new(2, 32), |x: &Tensor| x.tanh(), Linear::new(32, 1)];
    let mut learn: Learner<Sequential> =
        Learner::new(loaders, critic, wasserstein).callback(GradientPenalty(weight)).silent();
    learn.fit(40, 0.01)?;
    let x = x.requires_grad();
    let rating = learn.model().forward(&x).sum(..);
    let gradient = grad(&rating, &[&x]).remove(0);
    Ok((&gradient * &gradient).sum(1).sqrt().mean(..).item::<f64>())
}

#[allow(dead_code)]
fn main() -> Result<(), FitError> {
    println!("mean norm of gradients without penalty {:.3}, with it {:.3}", run(0.0)?, run(10.0)?);
    Ok(())
}
