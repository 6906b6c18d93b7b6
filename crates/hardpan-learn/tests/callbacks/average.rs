//! Averages of weights: `Ema`, `SlowWeights`, `Swa`.

use super::*;
use hardpan_engine::manual_seed;
use hardpan_learn::callback::{Ema, SaveModel, SlowWeights, Swa};
use hardpan_learn::data::DataLoader;
use hardpan_nn::optim::SGD;
use hardpan_nn::{BatchNorm1d, Module, seq};
use std::sync::Arc;

#[test]
fn validations_with_the_weights_themselves() {
    let _turn = turn();
    let run = |ema: Option<Ema>| {
        let mut learn = line_learner(16, 4).opt(SGD::new(0.05));
        if let Some(ema) = ema {
            learn.add_callback(ema);
        }
        learn.fit(2, 0.05).unwrap();
        let losses: Vec<f64> =
            learn.history().epochs.iter().map(|e| e.valid_loss.unwrap()).collect();
        (losses, bits(learn.model()))
    };
    let (plain, averages) = (run(None), run(Some(Ema::new(0.9))));
    let weights = run(Some(Ema::new(0.9).validate_with_weights()));
    assert_eq!(weights.0, plain.0, "the table is that of the weights");
    assert_ne!(averages.0, plain.0);
    assert_eq!(weights.1, averages.1, "and the end that of the averages");
}

#[test]
fn averages_of_weights() {
    // By hand: the average follows the weights after each step.
    let decay = 0.8;
    let track = Arc::new(Mutex::new(Vec::<Vec<f64>>::new()));
    let writes = track.clone();
    let spy = At(Event::AfterStep, 0, move |ctx: &mut Ctx| {
        writes.lock().unwrap().push(ctx.model.weight.value().to_vec::<f64>());
    });
    let validated = Arc::new(Mutex::new(Vec::<Vec<f64>>::new()));
    let writes = validated.clone();
    let in_validation = At(Event::AfterPred, 0, move |ctx: &mut Ctx| {
        if !ctx.training {
            writes.lock().unwrap().push(ctx.model.weight.value().to_vec::<f64>());
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let best = dir.path().join("best.hardpan");
    let mut learn = line_learner(16, 4).opt(SGD::new(0.05)).callback(spy).callback(in_validation);
    let mut average = learn.model().weight.value().to_vec::<f64>();
    learn.add_callback(Ema::new(decay));
    learn.fit(3, 0.05).unwrap();
    let steps = track.lock().unwrap().clone();
    let mut by_epoch = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        average.iter_mut().zip(step).for_each(|(a, s)| *a = *a * decay + s * (1.0 - decay));
        if i % 4 == 3 {
            by_epoch.push(average.clone());
        }
    }
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    let validated = validated.lock().unwrap();
    // 2 batches in each validation.
    assert!((0..6).all(|i| close(&validated[i], &by_epoch[i / 2])), "validated with averages");
    assert!(close(&learn.model().weight.value().to_vec::<f64>(), &average), "and ended with them");
    assert!(!close(&steps[11], &average));
    // With the best model: its file has the averages, and the end of the fit is its weights.
    let mut learn = line_learner(16, 4)
        .opt(SGD::new(0.05))
        .callback(Ema::new(decay))
        .callback(SaveModel::new("valid_loss", &best));
    learn.fit(3, 0.05).unwrap();
    let lowest =
        learn.history().epochs.iter().filter_map(|e| e.valid_loss).fold(f64::INFINITY, f64::min);
    assert_eq!(learn.validate().unwrap().valid_loss.unwrap(), lowest);

    // SWA: the mean of the weights at the ends of the last two of four epochs.
    let ends = Arc::new(Mutex::new(Vec::<Vec<f64>>::new()));
    let writes = ends.clone();
    let spy = At(Event::AfterEpoch, 0, move |ctx: &mut Ctx| {
        writes.lock().unwrap().push(ctx.model.weight.value().to_vec::<f64>());
    });
    let mut learn =
        line_learner(16, 4).opt(SGD::new(0.05)).callback(spy).callback(Swa::new(0.5).lr(0.02));
    learn.fit(4, 0.05).unwrap();
    let ends = ends.lock().unwrap();
    let mean: Vec<f64> = ends[2].iter().zip(&ends[3]).map(|(a, b)| (a + b) / 2.0).collect();
    assert!(close(&learn.model().weight.value().to_vec::<f64>(), &mean));
    assert_eq!(lrs(&learn)[7..9], [0.05, 0.02]);
}

#[test]
fn slow_weights_meet_their_average() {
    let _turn = turn();
    // What each step made of the weights, before and after the callback saw them.
    let seen = |order: i32| {
        let track = Arc::new(Mutex::new(Vec::<Vec<f64>>::new()));
        let writes = track.clone();
        let spy = At(Event::AfterStep, order, move |ctx: &mut Ctx| {
            writes.lock().unwrap().push(ctx.model.weight.value().to_vec::<f64>());
        });
        (track, spy)
    };
    let ((before, first), (after, last)) = (seen(0), seen(70));
    let mut learn = line_learner(16, 4).opt(SGD::new(0.05)).callback(first).callback(last);
    let mut average = learn.model().weight.value().to_vec::<f64>();
    learn.add_callback(SlowWeights::every(2));
    learn.fit(3, 0.05).unwrap();
    let (before, after) = (before.lock().unwrap(), after.lock().unwrap());
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    for (i, (before, after)) in before.iter().zip(after.iter()).enumerate() {
        if i % 2 == 0 {
            assert!(close(before, after), "step {i}: left alone");
            continue;
        }
        let past = 0.95 * 0.95 * (i as f64 / 12.0).powi(3);
        average.iter_mut().zip(before).for_each(|(a, b)| *a = *a * past + b * (1.0 - past));
        assert!(close(after, &average), "step {i}");
        assert!(i < 4 || !close(before, after), "step {i}: taken back");
    }
    assert!(close(&learn.model().weight.value().to_vec::<f64>(), &average));
    let told = learn.history().epochs.last().unwrap().valid_loss;
    assert_eq!(learn.validate().unwrap().valid_loss, told, "the last validation is the model's");
}

#[test]
fn swa_brings_norms_up_to_date() {
    let model = || seq![BatchNorm1d::new(3), hardpan_nn::Linear::new(3, 1)];
    let run = |swa: Swa| {
        let mut learn = Learner::new(line_loaders(64, 16), model(), mse).callback(swa).silent();
        learn.fit(2, 0.01).unwrap();
        let buffers = learn.model().named_buffers();
        let mean = buffers.iter().find(|b| b.0.ends_with("running_mean")).unwrap();
        mean.1.value().to_vec::<f64>()
    };
    assert_ne!(run(Swa::new(0.5)), run(Swa::new(0.5).keep_norms()));
}

/// `update_bn` of PyTorch: the means over all batches of their means and (unbiased) variances, whatever the momentum.
#[test]
fn swa_estimates_batch_norms_anew() {
    let _turn = turn();
    manual_seed(4);
    let model = || {
        seq![
            BatchNorm1d::new(3).momentum(0.01),
            hardpan_nn::Linear::new(3, 4),
            BatchNorm1d::new(4),
            hardpan_nn::Linear::new(4, 1)
        ]
    };
    let (n, bs) = (28, 8);
    let data = line_data(1, n);
    let x = data.x().to_vec::<f32>();
    // In the order of the data set; the last batch has four items and counts as much as the others.
    let loaders = DataLoaders::train_only(DataLoader::new(data, bs).unwrap());
    let mut learn = Learner::new(loaders, model(), mse).callback(Swa::new(0.5)).silent();
    learn.fit(2, 0.01).unwrap();
    let buffers = learn.model().named_buffers();
    let values =
        |name: &str| buffers.iter().find(|b| b.0 == name).unwrap().1.value().to_vec::<f64>();
    let (mut means, mut vars) = ([0.0; 3], [0.0; 3]);
    let batches = n.div_ceil(bs) as f64;
    for batch in x.chunks(bs * 3) {
        let rows = (batch.len() / 3) as f64;
        for c in 0..3 {
            let column = || batch.iter().skip(c).step_by(3).map(|v| f64::from(*v));
            let mean = column().sum::<f64>() / rows;
            means[c] += mean / batches;
            vars[c] += column().map(|v| (v - mean).powi(2)).sum::<f64>() / (rows - 1.0) / batches;
        }
    }
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close(&values("0.running_mean"), &means), "{:?} {means:?}", values("0.running_mean"));
    assert!(close(&values("0.running_var"), &vars), "{:?} {vars:?}", values("0.running_var"));
    assert_eq!(values("0.num_batches_tracked"), [batches]);
    assert_eq!(values("2.num_batches_tracked"), [batches]);
    assert!(values("2.running_mean").iter().any(|m| m.abs() > 1e-3));
}
