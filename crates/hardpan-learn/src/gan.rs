//! Generative adversarial networks: a generator that makes something, and a critic that tells it from the data, trained in turns.
//! Goodfellow et al. 2014, <https://arxiv.org/abs/1406.2661>. Counterpart: `fastai.vision.gan`.
//!
//! A [`GanLearner`] is a [`Learner`] whose model is a [`Gan`], a pair of which the generator is what goes forward; [`GanTrainer`], a
//! callback, makes the turns: it puts the right loss in the place of the learner's, and keeps gradients from the one whose turn it is not.
//! Everything else, schedules, checkpoints, mixed precision, is the learner's. Data are pairs of what the generator takes and what it
//! should make: [`noise_to`] makes such data of any other.
//!
//! ```
//! use hardpan_engine::{Tensor, manual_seed};
//! use hardpan_learn::data::{DataLoader, DataLoaders, TensorDataset};
//! use hardpan_learn::gan::{GanLearner, noise_to};
//! use hardpan_nn::{Forward, LeakyReLU, Linear, ReLU, seq};
//! manual_seed(1);
//! let data = Tensor::randn([256, 2]) * 0.5 + 3.0;
//! let data = TensorDataset::new(data.eval().clone(), Tensor::zeros([256]))?;
//! let loaders = noise_to(DataLoaders::train_only(DataLoader::new(data, 64)?.shuffle(1)), &[4]);
//! let generator = seq![Linear::new(4, 16), ReLU, Linear::new(16, 2)];
//! let critic = seq![Linear::new(2, 16), LeakyReLU::new(0.2), Linear::new(16, 1)];
//! let mut learn = GanLearner::wgan(loaders, generator, critic).silent();
//! learn.fit(2, 2e-4)?;
//! let made = learn.model().generator.forward(&Tensor::randn([10, 4]));
//! assert_eq!(made.shape(), [10, 2]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::callback::{Callback, Flow};
use crate::data::DataLoaders;
use crate::learner::{Context, Learner, value_of};
use crate::lock::lock;
use crate::metric::ValueMetric;
use hardpan_engine::functional::{BceOptions, binary_cross_entropy_with_logits};
use hardpan_engine::{Tensor, no_grad};
use hardpan_nn::optim::{Adam, RMSprop};
use hardpan_nn::{Forward, Module};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};

/// A generator and its critic. As a model it is the generator: what it takes, it takes, and what it makes, it gives. Counterpart:
/// fastai's `GANModule`.
#[derive(Module)]
pub struct Gan<G, C> {
    /// Makes something of what it is given.
    pub generator: G,
    /// Rates what it is given: `[N]`, or any other shape with a number for each item or part of it.
    pub critic: C,
}

impl<G, C> Forward for Gan<G, C>
where
    G: Forward<Tensor, Output = Tensor>,
{
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.generator.forward(x)
    }
}

/// Whose turn it is to learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// The critic's: it sees targets and what the generator makes.
    Critic,
    /// The generator's: the critic rates what it makes.
    Generator,
}

impl Turn {
    /// The other one's.
    #[must_use]
    pub fn other(self) -> Turn {
        match self {
            Turn::Critic => Turn::Generator,
            Turn::Generator => Turn::Critic,
        }
    }
}

/// When the turn goes to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Switcher {
    /// After so many batches. Counterpart: fastai's `FixedGANSwitcher`.
    Fixed {
        /// Batches of a critic's turn.
        critic: usize,
        /// Batches of a generator's turn.
        generator: usize,
    },
    /// After the first batch with a loss below this; `None`: after each batch. Counterpart: fastai's `AdaptiveGANSwitcher`.
    Adaptive {
        /// Of the critic.
        critic: Option<f64>,
        /// Of the generator.
        generator: Option<f64>,
    },
}

impl Switcher {
    /// Whether a turn of `batches` batches, the last of them with this loss, is over.
    fn is_over(self, turn: Turn, batches: usize, loss: f64) -> bool {
        match (self, turn) {
            (Switcher::Fixed { critic: n, .. }, Turn::Critic)
            | (Switcher::Fixed { generator: n, .. }, Turn::Generator) => batches >= n,
            (Switcher::Adaptive { critic: most, .. }, Turn::Critic)
            | (Switcher::Adaptive { generator: most, .. }, Turn::Generator) => {
                most.is_none_or(|most| loss < most)
            }
        }
    }
}

/// A loss of ratings: of what is real, and of what the generator made.
type CriticLoss = Box<dyn Fn(&Tensor, &Tensor) -> Tensor + Send>;
/// A loss of the critic's rating, of what was made, and of the targets.
type GeneratorLoss = Box<dyn Fn(&Tensor, &Tensor, &Tensor) -> Tensor + Send>;

/// The losses of both, one number each.
pub struct GanLoss {
    critic: CriticLoss,
    generator: GeneratorLoss,
}

impl GanLoss {
    /// `critic` is a loss of two ratings, that of the targets and that of what was made; `generator` one of the rating of what was made, of
    /// that itself, and of the targets: where there is a right answer (pictures to be coloured, enlarged) part of it may compare the two.
    ///
    /// ```
    /// use hardpan_learn::gan::GanLoss;
    /// // Least squares (Mao et al. 2016), with a pixel loss.
    /// let loss = GanLoss::new(
    ///     |real, fake| ((real - 1.0).square() + fake.square()).mean(..),
    ///     |rating, made, target| (rating - 1.0).square().mean(..) + (made - target).abs().mean(..) * 10.0,
    /// );
    /// ```
    pub fn new(
        critic: impl Fn(&Tensor, &Tensor) -> Tensor + Send + 'static,
        generator: impl Fn(&Tensor, &Tensor, &Tensor) -> Tensor + Send + 'static,
    ) -> GanLoss {
        GanLoss { critic: Box::new(critic), generator: Box::new(generator) }
    }

    /// Ratings are logits of being real: binary cross entropy for the critic, and for the generator that of being taken for real (the
    /// loss that does not saturate). Goodfellow et al. 2014.
    pub fn basic() -> GanLoss {
        GanLoss::new(
            |real, fake| (is_real(real, 1.0) + is_real(fake, 0.0)) / 2.0,
            |rating, _, _| is_real(rating, 1.0),
        )
    }

    /// Ratings are any numbers, low for what is real: the critic pushes them apart, the generator lowers its own. Needs a critic that is
    /// kept from being steep, see [`GanOptions::clip`]. Arjovsky et al. 2017, <https://arxiv.org/abs/1701.07875>.
    pub fn wasserstein() -> GanLoss {
        GanLoss::new(|real, fake| real.mean(..) - fake.mean(..), |rating, _, _| rating.mean(..))
    }
}

fn is_real(logits: &Tensor, target: f64) -> Tensor {
    let target = logits.detach().zeros_like() + target;
    binary_cross_entropy_with_logits(logits, &target, BceOptions::default())
}

/// Settings of a [`GanLearner`].
#[derive(Clone, Debug, PartialEq)]
pub struct GanOptions {
    /// When the turn goes to the other. Default: after each batch.
    pub switcher: Switcher,
    /// Who begins. Default: the critic.
    pub first: Turn,
    /// Whether the one whose turn it is not behaves as in evaluation: its norms use the statistics they have gathered. Default: no, as
    /// usual for networks with batch norm (fastai: yes, but for WGAN).
    pub switch_eval: bool,
    /// Largest absolute value of the critic's weights: they are clipped after each of its steps. Default: any.
    pub clip: Option<f64>,
}

impl Default for GanOptions {
    fn default() -> GanOptions {
        GanOptions {
            switcher: Switcher::Fixed { critic: 1, generator: 1 },
            first: Turn::Critic,
            switch_eval: false,
            clip: None,
        }
    }
}

/// Trains generator and critic in turns. The parameter groups are those of the generator and of the critic, so that `(1e-4, 4e-4)` are
/// learning rates of their own. Counterpart: fastai's `GANLearner`.
pub type GanLearner<G, C> = Learner<Gan<G, C>>;

impl<G, C> Learner<Gan<G, C>>
where
    G: Module + Forward<Tensor, Output = Tensor>,
    C: Module + Forward<Tensor, Output = Tensor>,
{
    /// A learner of these two, with Adam (betas 0.5 and 0.999, after Radford et al. 2015) for both. `loaders` give what the generator takes
    /// and what it should make. The columns `gen_loss` and `critic_loss` (`train_gen_loss` and `train_critic_loss` where there is no
    /// validation) are means over the epoch's training.
    pub fn gan(
        loaders: DataLoaders<Tensor, Tensor>,
        generator: G,
        critic: C,
        loss: GanLoss,
        options: GanOptions,
    ) -> GanLearner<G, C> {
        let trainer = GanTrainer::new(loss, options);
        let column = |turn: Turn| {
            let losses = trainer.losses.clone();
            move || lock(&losses).mean(turn)
        };
        // The trainer puts the losses of the turns in the place of this one.
        let none = |_: &Tensor, _: &Tensor| Tensor::zeros([1]);
        let validates = loaders.valid.is_some();
        let learner = Learner::new(loaders, Gan { generator, critic }, none)
            .groups(|gan| vec![gan.generator.parameters(), gan.critic.parameters()])
            .opt(Adam::new(2e-4).betas((0.5, 0.999)))
            .metric(ValueMetric::new("gen_loss", column(Turn::Generator)))
            .metric(ValueMetric::new("critic_loss", column(Turn::Critic)))
            .callback(trainer);
        if validates { learner } else { learner.train_metrics() }
    }

    /// As in the paper on WGAN: five batches of the critic for one of the generator, weights of the critic clipped to 0.01, RMSprop.
    /// Counterpart: fastai's `GANLearner.wgan`.
    pub fn wgan(loaders: DataLoaders<Tensor, Tensor>, generator: G, critic: C) -> GanLearner<G, C> {
        let switcher = Switcher::Fixed { critic: 5, generator: 1 };
        let options = GanOptions { switcher, clip: Some(0.01), ..GanOptions::default() };
        Learner::gan(loaders, generator, critic, GanLoss::wasserstein(), options)
            .opt(RMSprop::new(5e-5))
    }
}

/// Data for a generator that makes the inputs of `loaders` out of noise: pairs of standard normal numbers `[N, noise..]` and inputs. Targets
/// are left out.
pub fn noise_to<Y: 'static>(
    loaders: DataLoaders<Tensor, Y>,
    noise: &[usize],
) -> DataLoaders<Tensor, Tensor> {
    let noise = noise.to_vec();
    loaders.map(move |x, _| {
        let shape: Vec<usize> = x.shape()[..1].iter().chain(&noise).copied().collect();
        (Tensor::randn(shape), x)
    })
}

/// The losses of the turns since the epoch began.
#[derive(Default)]
struct Losses {
    critic: Vec<f64>,
    generator: Vec<f64>,
}

impl Losses {
    fn of(&mut self, turn: Turn) -> &mut Vec<f64> {
        match turn {
            Turn::Critic => &mut self.critic,
            Turn::Generator => &mut self.generator,
        }
    }

    fn mean(&mut self, turn: Turn) -> Option<f64> {
        let all = self.of(turn);
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }
}

/// Makes a [`Learner`] of a [`Gan`] train generator and critic in turns; [`Learner::gan`] adds it. Validations show the generator's
/// loss. Counterpart: fastai's `GANTrainer`.
pub struct GanTrainer {
    loss: GanLoss,
    options: GanOptions,
    place: Place,
    losses: Arc<Mutex<Losses>>,
}

/// Where in the turns a training is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    turn: Turn,
    /// Batches of this turn so far.
    batches: usize,
}

impl GanTrainer {
    /// With these losses and settings.
    pub fn new(loss: GanLoss, options: GanOptions) -> GanTrainer {
        let place = Place { turn: options.first, batches: 0 };
        GanTrainer { loss, options, place, losses: Arc::default() }
    }

    /// Whose turn it is.
    pub fn turn(&self) -> Turn {
        self.place.turn
    }
}

impl<G, C> Callback<(Gan<G, C>, Tensor, Tensor)> for GanTrainer
where
    G: Module + Forward<Tensor, Output = Tensor>,
    C: Module + Forward<Tensor, Output = Tensor>,
{
    fn state(&self) -> serde_json::Value {
        serde_json::to_value(self.place).unwrap_or_default()
    }

    fn load_state(&mut self, state: serde_json::Value) {
        if let Ok(place) = serde_json::from_value(state) {
            self.place = place;
        }
    }

    fn before_fit(&mut self, ctx: &mut Context<(Gan<G, C>, Tensor, Tensor)>) -> Flow {
        if !ctx.resumed {
            self.place = Place { turn: self.options.first, batches: 0 };
        }
        Flow::Continue
    }

    fn before_epoch(&mut self, _: &mut Context<(Gan<G, C>, Tensor, Tensor)>) -> Flow {
        *lock(&self.losses) = Losses::default();
        Flow::Continue
    }

    fn before_batch(&mut self, ctx: &mut Context<(Gan<G, C>, Tensor, Tensor)>) -> Flow {
        if ctx.training && self.options.switch_eval {
            let Gan { generator, critic } = &ctx.model;
            match self.place.turn {
                Turn::Critic => (critic.train(), generator.eval()),
                Turn::Generator => (generator.train(), critic.eval()),
            };
        }
        Flow::Continue
    }

    fn after_pred(&mut self, ctx: &mut Context<(Gan<G, C>, Tensor, Tensor)>) -> Flow {
        if ctx.training && self.place.turn == Turn::Critic {
            // What the generator computed on its way is not needed again.
            ctx.pred = ctx.pred.take().map(|made| made.detach());
        }
        Flow::Continue
    }

    fn after_loss(&mut self, ctx: &mut Context<(Gan<G, C>, Tensor, Tensor)>) -> Flow {
        let (critic, made, target) = (&ctx.model.critic, ctx.pred(), ctx.y());
        let loss = match self.place.turn {
            Turn::Critic if ctx.training => {
                (self.loss.critic)(&critic.forward(target), &critic.forward(made))
            }
            _ => (self.loss.generator)(&critic.forward(made), made, target),
        };
        ctx.set_loss(loss);
        Flow::Continue
    }

    /// The generator learns through the critic, which has got gradients then, too.
    fn after_backward(&mut self, ctx: &mut Context<(Gan<G, C>, Tensor, Tensor)>) -> Flow {
        if self.place.turn == Turn::Generator {
            ctx.model.critic.parameters().iter().for_each(|p| p.zero_grad());
        }
        Flow::Continue
    }

    fn after_step(&mut self, ctx: &mut Context<(Gan<G, C>, Tensor, Tensor)>) -> Flow {
        if let (Some(most), Turn::Critic) = (self.options.clip, self.place.turn) {
            no_grad(|| {
                for p in ctx.model.critic.parameters() {
                    p.set(p.value().clamp(-most, most));
                }
            });
        }
        Flow::Continue
    }

    fn after_batch(&mut self, ctx: &mut Context<(Gan<G, C>, Tensor, Tensor)>) -> Flow {
        let (true, Some(loss)) = (ctx.training, &ctx.loss) else { return Flow::Continue };
        let loss = value_of(loss);
        let Place { turn, batches } = &mut self.place;
        lock(&self.losses).of(*turn).push(loss);
        *batches += 1;
        if self.options.switcher.is_over(*turn, *batches, loss) {
            self.place = Place { turn: turn.other(), batches: 0 };
        }
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_end_as_said() {
        let (c, g) = (Turn::Critic, Turn::Generator);
        let fixed = Switcher::Fixed { critic: 5, generator: 1 };
        assert!(!fixed.is_over(c, 4, 0.0) && fixed.is_over(c, 5, 9.0) && fixed.is_over(g, 1, 9.0));
        let adaptive = Switcher::Adaptive { critic: Some(0.65), generator: None };
        assert!(!adaptive.is_over(c, 9, 0.7) && adaptive.is_over(c, 1, 0.6));
        assert!(adaptive.is_over(g, 1, 9.0));
    }
}
