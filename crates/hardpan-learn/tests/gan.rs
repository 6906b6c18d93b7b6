//! Generators and critics that learn in turns.

use hardpan_engine::{Tensor, manual_seed};
use hardpan_learn::callback::Event;
use hardpan_learn::data::{DataLoader, DataLoaders, TensorDataset};
use hardpan_learn::gan::{GanLearner, GanLoss, GanOptions, GanTrainer, Switcher, Turn, noise_to};
use hardpan_nn::{BatchNorm1d, Forward, LeakyReLU, Linear, Module, ReLU, Sequential, seq};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All tests draw from one generator.
static TURN: Mutex<()> = Mutex::new(());

fn my_turn(seed: u64) -> MutexGuard<'static, ()> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    manual_seed(seed);
    turn
}

const MEAN: [f32; 2] = [2.0, -1.0];
const STD: [f32; 2] = [0.5, 1.5];

/// Pairs of noise and of points around `MEAN`, spread by `STD`.
fn points(n: usize, batch_size: usize) -> DataLoaders<Tensor, Tensor> {
    let points =
        Tensor::randn([n, 2]) * Tensor::from_slice(&STD, [2]) + Tensor::from_slice(&MEAN, [2]);
    let data = TensorDataset::new(points.eval().clone(), Tensor::zeros([n])).unwrap();
    let train = DataLoader::new(data.clone(), batch_size).unwrap().shuffle(1);
    noise_to(DataLoaders::new(train, DataLoader::new(data, n).unwrap()), &[4])
}

fn generator() -> Sequential {
    seq![Linear::new(4, 32), ReLU, Linear::new(32, 2)]
}

fn critic() -> Sequential {
    seq![
        Linear::new(2, 32),
        LeakyReLU::new(0.2),
        Linear::new(32, 32),
        LeakyReLU::new(0.2),
        Linear::new(32, 1)
    ]
}

fn weights(model: &impl Module) -> Vec<f32> {
    model.parameters().iter().flat_map(|p| p.value().to_vec::<f32>()).collect()
}

/// Mean and standard deviation of each coordinate of what is made.
fn made(learn: &GanLearner<Sequential, Sequential>) -> ([f32; 2], [f32; 2]) {
    let y = learn.model().generator.forward(&Tensor::randn([4000, 4])).to_vec::<f32>();
    let of = |k: usize, f: &dyn Fn(f32) -> f32| {
        y.iter().skip(k).step_by(2).map(|&v| f(v)).sum::<f32>() / 4000.0
    };
    let mean = [0, 1].map(|k| of(k, &|v| v));
    (mean, [0, 1].map(|k| of(k, &|v| (v - mean[k]).powi(2)).sqrt()))
}

fn is_near(learn: &GanLearner<Sequential, Sequential>) {
    let (mean, std) = made(learn);
    for k in 0..2 {
        assert!((mean[k] - MEAN[k]).abs() < 0.3, "mean {mean:?} of {MEAN:?}");
        assert!((0.65..1.5).contains(&(std[k] / STD[k])), "spread {std:?} of {STD:?}");
    }
}

#[test]
fn a_generator_learns_a_distribution() {
    let _turn = my_turn(5);
    let options = GanOptions::default();
    let mut learn =
        GanLearner::gan(points(1024, 128), generator(), critic(), GanLoss::basic(), options)
            .silent();
    let (mean, _) = made(&learn);
    assert!((mean[0] - MEAN[0]).abs() > 1.0, "it starts elsewhere: {mean:?}");
    learn.fit(300, 2e-3).unwrap();
    learn.fit(50, 2e-4).unwrap();
    is_near(&learn);
    // An even fight: the critic is little better than a coin (ln 2), and so the generator's loss is near it, too.
    for name in ["gen_loss", "critic_loss"] {
        let loss = learn.history().last_metric(name).unwrap();
        assert!((0.4..1.2).contains(&loss), "{name} {loss}");
    }
}

#[test]
fn a_wasserstein_critic_is_kept_from_being_steep() {
    let _turn = my_turn(6);
    let turns: Arc<Mutex<Vec<f32>>> = Arc::default();
    let seen = turns.clone();
    let mut learn = GanLearner::wgan(points(1024, 128), generator(), critic()).silent().on(
        Event::BeforeBatch,
        move |ctx| {
            // What the generator makes of the same noise changes in its turns only.
            let x = Tensor::ones([1, 4]);
            let y = ctx.model.generator.forward(&x).to_vec::<f32>();
            if ctx.training {
                seen.lock().unwrap().push(y[0]);
            }
        },
    );
    learn.fit(150, (2e-3, 2e-4)).unwrap();
    let weights = learn.model().critic.parameters();
    let largest = |p: &hardpan_nn::Param| p.value().abs().max().item::<f32>();
    let largest = weights.iter().map(largest).fold(0.0, f32::max);
    assert!(largest > 0.005 && largest <= 0.01, "{largest}");
    let seen = turns.lock().unwrap();
    let changed: Vec<usize> = (1..25).filter(|&i| seen[i] != seen[i - 1]).collect();
    assert_eq!(changed, [6, 12, 18, 24], "five turns of the critic, one of the generator");
    let (mean, _) = made(&learn);
    assert!((mean[0] - MEAN[0]).abs() < 0.5 && (mean[1] - MEAN[1]).abs() < 0.5, "{mean:?}");
}

#[test]
fn only_the_one_whose_turn_it_is_learns() {
    let _turn = my_turn(7);
    let switcher = Switcher::Fixed { critic: 2, generator: 3 };
    let options = GanOptions { switcher, first: Turn::Generator, ..GanOptions::default() };
    let log: Arc<Mutex<Vec<[Vec<f32>; 2]>>> = Arc::default();
    let seen = log.clone();
    let mut learn =
        GanLearner::gan(points(160, 16), generator(), critic(), GanLoss::basic(), options)
            .silent()
            .on(Event::BeforeBatch, move |ctx| {
                let now = [weights(&ctx.model.generator), weights(&ctx.model.critic)];
                if ctx.training {
                    seen.lock().unwrap().push(now);
                }
            });
    learn.fit(1, 1e-3).unwrap();
    let log = log.lock().unwrap();
    let turns: Vec<(bool, bool)> =
        log.windows(2).map(|w| (w[0][0] != w[1][0], w[0][1] != w[1][1])).collect();
    let (g, c) = ((true, false), (false, true));
    assert_eq!(turns, [g, g, g, c, c, g, g, g, c]);
}

#[test]
fn an_adaptive_turn_goes_on_until_it_is_good_enough() {
    let _turn = my_turn(8);
    // Never: all turns are the critic's.
    let switcher = Switcher::Adaptive { critic: Some(-1.0), generator: None };
    let options = GanOptions { switcher, ..GanOptions::default() };
    let mut learn =
        GanLearner::gan(points(160, 16), generator(), critic(), GanLoss::basic(), options).silent();
    learn.fit(2, 1e-3).unwrap();
    assert_eq!(learn.history().last_metric("gen_loss"), None);
    assert!(learn.history().last_metric("critic_loss").is_some());
    assert_eq!(learn.get_callback::<GanTrainer>().unwrap().turn(), Turn::Critic);
}

#[test]
fn in_evaluation_the_other_s_statistics_stand_still() {
    let _turn = my_turn(9);
    let statistics = |switch_eval: bool| {
        let generator = seq![Linear::new(4, 8), BatchNorm1d::new(8), ReLU, Linear::new(8, 2)];
        // The first epoch is the critic's.
        let switcher = Switcher::Fixed { critic: 100, generator: 1 };
        let options = GanOptions { switcher, switch_eval, ..GanOptions::default() };
        let mut learn =
            GanLearner::gan(points(160, 16), generator, critic(), GanLoss::basic(), options)
                .silent();
        learn.fit(1, 1e-3).unwrap();
        learn.model().generator.state_dict().get("1.running_mean").unwrap().to_vec::<f32>()
    };
    assert_eq!(statistics(true), [0.0; 8]);
    assert_ne!(statistics(false), [0.0; 8]);
}

#[test]
fn a_run_goes_on_in_the_middle_of_a_turn() {
    let _turn = my_turn(10);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let learner = || {
        manual_seed(10);
        let switcher = Switcher::Fixed { critic: 3, generator: 2 };
        let options = GanOptions { switcher, ..GanOptions::default() };
        GanLearner::gan(points(160, 16), generator(), critic(), GanLoss::basic(), options).silent()
    };
    let to = path.clone();
    let mut whole = learner().on(Event::AfterBatch, move |ctx| {
        if ctx.training && ctx.train_iter == 14 {
            ctx.request_checkpoint(&to);
        }
    });
    whole.fit(3, 1e-3).unwrap();
    let mut resumed = learner();
    resumed.resume(&path).unwrap();
    resumed.fit(3, 1e-3).unwrap();
    assert_eq!(weights(whole.model()), weights(resumed.model()));
}
