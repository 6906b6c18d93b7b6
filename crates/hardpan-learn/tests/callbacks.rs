//! What callbacks do, not only that they run.

mod support;

use hardpan_engine::functional::Reduction;
use hardpan_engine::{DType, Tensor, flush_all, manual_seed};
use hardpan_learn::callback::{
    BnFreeze, Callback, CollectData, CutMix, EarlyStopping, Ema, FetchPreds, Flow, Gather,
    GradientAccumulation, GradientClip, GradientClipValue, LabelSmoothing, LossScale, LrScheduler,
    McDropout, MixUp, MixedPrecision, ReduceLrOnPlateau, RnnRegularizer, SaveModel, ShortEpoch,
    SkipToEpoch, Swa, TensorBoard, on_output,
};
use hardpan_learn::data::{DataLoader, DataLoaders, TensorDataset};
use hardpan_learn::learner::{Context, Learner, Task, Tta, loss};
use hardpan_learn::metric::{Mean, accuracy};
use hardpan_nn::optim::scheduler::{
    CosineAnnealingWarmRestarts, OneCycleLR, ReduceLROnPlateau, StepLR,
};
use hardpan_nn::optim::{Hyper, SGD};
use hardpan_nn::{BatchNorm1d, CrossEntropyLoss, Dropout, Forward, Module, Sequential, seq};
use std::sync::{Arc, Mutex};
use support::*;

/// The random generator is one for the process, so tests that compare runs take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> std::sync::MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}

fn lrs(learn: &Learner<Linear>) -> Vec<f64> {
    learn.history().lrs.clone()
}

fn near(a: &[f64], b: &[f64], tolerance: f64) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance * b.abs().max(1e-12))
}

/// Does something at an event.
struct At<F>(hardpan_learn::callback::Event, i32, F);

impl<T: Task, F: FnMut(&mut Context<T>) + Send + 'static> Callback<T> for At<F> {
    fn order(&self) -> i32 {
        self.1
    }
    fn on(&mut self, event: hardpan_learn::callback::Event, ctx: &mut Context<T>) -> Flow {
        if event == self.0 {
            (self.2)(ctx);
        }
        Flow::Continue
    }
}

use hardpan_learn::callback::Event;

/// Two classes of points in the plane, not quite apart.
fn points(n: usize) -> TensorDataset<Tensor, Tensor> {
    let noise = numbers(11, n * 2);
    let mut x = Vec::new();
    let mut y = Vec::new();
    for i in 0..n {
        let class = (i % 2) as i64;
        let centre = if class == 1 { 0.7 } else { -0.7 };
        x.extend([centre + noise[2 * i], centre - noise[2 * i + 1]]);
        y.push(class);
    }
    TensorDataset::new(Tensor::from_slice(&x, [n, 2]), Tensor::from_slice(&y, [n])).unwrap()
}

fn cross_entropy(pred: &Tensor, y: &Tensor) -> Tensor {
    CrossEntropyLoss::new().forward(&(pred.clone(), y.clone()))
}

fn classifier(bs: usize) -> Learner<Linear> {
    let (train, valid) = points(96).split_at(64);
    let loaders = DataLoaders::from_tensors(train, valid, bs, 3).unwrap();
    Learner::new(loaders, Linear::new(4, 2, 2), cross_entropy)
        .metric(Mean::new("accuracy", accuracy))
        .silent()
}

#[test]
fn plateaus_bring_the_rate_down() {
    // The validation loss cannot fall, because nothing is learned.
    let frozen = || line_learner(8, 4).opt(SGD::new(0.1));
    let mut learn =
        frozen().callback(ReduceLrOnPlateau::new("train_loss", 2).factor(4.0).min_lr(0.005));
    let stuck = At(Event::BeforeStep, 0, |ctx: &mut Context<(Linear, Tensor, Tensor)>| {
        ctx.opt.zero_grad();
    });
    learn.add_callback(stuck);
    learn.add_callback(At(Event::AfterEpoch, 55, |ctx: &mut Context<(Linear, Tensor, Tensor)>| {
        // The table says that epoch 1 was better than 0, and none after it.
        let epoch = ctx.epoch;
        let record = ctx.history.epochs.last_mut().unwrap();
        record.train_loss = Some(if epoch == 1 { 1.0 } else { 2.0 });
    }));
    learn.fit(9, 0.1).unwrap();
    let by_epoch: Vec<f64> = learn.history().epochs.iter().map(|e| e.lr).collect();
    let want = [0.1, 0.1, 0.1, 0.1, 0.025, 0.025, 0.00625, 0.00625, 0.005];
    assert!(near(&by_epoch, &want, 1e-12), "{by_epoch:?}");
}

/// Fits whose table says these validation losses, whatever was trained.
fn told(losses: &'static [f64]) -> Learner<Linear> {
    line_learner(8, 4).opt(SGD::new(0.1)).callback(At(
        Event::AfterEpoch,
        55,
        move |ctx: &mut Context<(Linear, Tensor, Tensor)>| {
            let loss = losses[ctx.epoch];
            // An epoch that was left out has none.
            let said = &mut ctx.history.epochs.last_mut().unwrap().valid_loss;
            *said = said.map(|_| loss);
        },
    ))
}

#[test]
fn what_counts_as_better() {
    let _turn = turn();
    // A little better is not enough, if that is said.
    const FALLING: &[f64] = &[1.0, 0.95, 0.9, 0.85, 0.4, 0.39];
    let epochs = |stop: EarlyStopping| {
        let mut learn = told(FALLING).callback(stop);
        learn.fit(6, 0.1).unwrap();
        learn.history().epochs.len()
    };
    assert_eq!(epochs(EarlyStopping::new("valid_loss", 2)), 6);
    assert_eq!(epochs(EarlyStopping::new("valid_loss", 2).min_delta(0.2)), 3);
    // The rate falls with a column that rises, if lower is better; it does for errors by their names.
    let rates = |plateau: ReduceLrOnPlateau, name: &'static str| {
        let mut learn = line_learner(8, 4)
            .opt(SGD::new(0.1))
            .metric(hardpan_learn::metric::ValueMetric::new(name, || Some(1.0)));
        learn.add_callback(At(
            Event::AfterEpoch,
            55,
            move |ctx: &mut Context<(Linear, Tensor, Tensor)>| {
                let epoch = ctx.epoch as f64;
                ctx.history.epochs.last_mut().unwrap().metrics[0].1 = Some(10.0 - epoch);
            },
        ));
        learn.add_callback(plateau);
        learn.fit(3, 0.1).unwrap();
        learn.history().epochs.last().unwrap().lr
    };
    use hardpan_learn::metric::Better;
    assert_eq!(rates(ReduceLrOnPlateau::new("rmse", 1), "rmse"), 0.1, "it falls, which is better");
    assert_eq!(rates(ReduceLrOnPlateau::new("perplexity", 1), "perplexity"), 0.1);
    let higher = ReduceLrOnPlateau::new("rmse", 1).better(Better::Higher);
    assert!((rates(higher, "rmse") - 0.01).abs() < 1e-12);
    assert!((rates(ReduceLrOnPlateau::new("hits", 1), "hits") - 0.01).abs() < 1e-12);
    let enough = ReduceLrOnPlateau::new("rmse", 1).min_delta(2.0);
    assert!((rates(enough, "rmse") - 0.01).abs() < 1e-12);
    for name in ["mse", "mae", "msle", "exp_rmspe", "error_rate", "train_loss", "Perplexity"] {
        assert_eq!(Better::of(name), Better::Lower, "{name}");
    }
    for name in ["accuracy", "f1_score", "r2_score", "bleu", "image_score", "dice"] {
        assert_eq!(Better::of(name), Better::Higher, "{name}");
    }
}

#[test]
fn a_later_fit_may_have_to_beat_the_earlier() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("best.hardpan");
    const FIRST: &[f64] = &[0.5, 0.3, 0.9, 0.8, 0.9];
    let saved = |reset: bool| {
        let mut learn =
            told(FIRST).callback(SaveModel::new("valid_loss", &path).reset_on_fit(reset));
        learn.fit(2, 0.1).unwrap();
        let best = bits(learn.model());
        // From here on everything is worse: SkipToEpoch makes the table go on at its third line.
        learn.fit_with(5, vec![Box::new(SkipToEpoch(2))]).unwrap();
        bits(learn.model()) == best
    };
    assert!(saved(false), "the first fit's weights are put back after the second, too");
    assert!(!saved(true), "each fit has its own best");
    // Every epoch a file of its own; a better one must be so by more than a delta.
    let mut learn = told(FIRST).callback(SaveModel::new("valid_loss", &path).every_epoch());
    learn.fit(2, 0.1).unwrap();
    assert!(
        dir.path().join("best_0.hardpan").exists() && dir.path().join("best_1.hardpan").exists()
    );
    let mut learn = told(FIRST).callback(SaveModel::new("valid_loss", &path).min_delta(0.5));
    let after_first = Arc::new(Mutex::new(Vec::new()));
    let into = after_first.clone();
    learn.add_callback(At(
        Event::AfterEpoch,
        0,
        move |ctx: &mut Context<(Linear, Tensor, Tensor)>| {
            into.lock().unwrap().push(bits(&ctx.model));
        },
    ));
    learn.fit(2, 0.1).unwrap();
    assert_eq!(bits(learn.model()), after_first.lock().unwrap()[0], "0.3 is not better by 0.5");
}

#[test]
fn clipping_by_other_norms() {
    let _turn = turn();
    let gradients = |clip: Option<GradientClip>| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        let mut learn = line_learner(4, 4).opt(SGD::new(0.0)).callback(At(
            Event::BeforeStep,
            12,
            move |ctx: &mut Context<(Linear, Tensor, Tensor)>| {
                let all = ctx.opt.params().flat_map(|p| p.grad().unwrap().to_vec::<f64>());
                *into.lock().unwrap() = all.collect::<Vec<f64>>();
            },
        ));
        if let Some(clip) = clip {
            learn.add_callback(clip);
        }
        learn.fit(1, 0.0).unwrap();
        seen.lock().unwrap().clone()
    };
    let free = gradients(None);
    let largest = free.iter().fold(0f64, |a, b| a.max(b.abs()));
    let sum: f64 = free.iter().map(|g| g.abs()).sum();
    for (order, norm) in [(f64::INFINITY, largest), (1.0, sum)] {
        let clipped = gradients(Some(GradientClip::new(norm / 4.0).norm(order)));
        let want: Vec<f64> = free.iter().map(|g| g / 4.0).collect();
        assert!(near(&clipped, &want, 1e-4), "norm of order {order}: {clipped:?}, not {want:?}");
    }
}

#[test]
fn a_warm_up_and_a_cosine() {
    let _turn = turn();
    let mut learn = line_learner(40, 4).opt(SGD::new(0.1));
    let schedule = hardpan_learn::callback::ParamScheduler::warm_up_cosine(0.2, 0.25);
    learn.fit_with(2, vec![Box::new(schedule)]).unwrap();
    let rates = lrs(&learn);
    // 20 steps: up in a straight line in the first five, then down to (almost) nothing.
    assert!((rates[0] - 2e-4).abs() < 1e-9 && (rates[5] - 0.2).abs() < 1e-9, "{rates:?}");
    assert!((rates[2] - rates[1] - (rates[1] - rates[0])).abs() < 1e-9);
    assert!(rates[19] < 0.01, "{rates:?}");
    assert!(rates[5..].windows(2).all(|w| w[1] < w[0]));
}

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
fn pytorch_s_schedulers() {
    let fit = |callback: LrScheduler, epochs| {
        // 4 steps an epoch.
        let mut learn = line_learner(16, 4).opt(SGD::new(0.1).momentum(0.9));
        learn.fit(1, 0.3).unwrap();
        learn.add_callback(callback);
        learn.fit(epochs, 0.1).unwrap();
        lrs(&learn)
    };
    // After an earlier fit at another rate, the base rate is this fit's.
    let rates = fit(LrScheduler::per_epoch(|opt| StepLR::new(opt, 2, 0.1)), 5);
    let want: Vec<f64> = [0.1, 0.1, 0.01, 0.01, 0.001].iter().flat_map(|r| [*r; 4]).collect();
    assert!(near(&rates, &want, 1e-9), "{rates:?}");
    // Warm restarts each 2, 4, 8 steps.
    let rates =
        fit(LrScheduler::per_step(|opt| CosineAnnealingWarmRestarts::new(opt, 2, 2, 0.0)), 4);
    assert!([0, 2, 6, 14].iter().all(|&i| (rates[i] - 0.1).abs() < 1e-12), "{rates:?}");
    assert!((rates[4] - 0.05).abs() < 1e-12, "{rates:?}");
    let rates = fit(LrScheduler::per_step(|opt| OneCycleLR::new(1.0, 16).start(opt)), 4);
    assert!((rates[0] - 1.0 / 25.0).abs() < 1e-12 && rates.iter().any(|r| (r - 1.0).abs() < 0.02));
    // A plateau of PyTorch's kind: more than `patience` bad epochs.
    let rates = fit(
        LrScheduler::on(
            "valid_loss",
            ReduceLROnPlateau::new()
                .patience(0)
                .threshold(1e9, hardpan_nn::optim::scheduler::ThresholdMode::Absolute),
        ),
        4,
    );
    let want: Vec<f64> = [0.1, 0.1, 0.01, 0.001].iter().flat_map(|r| [*r; 4]).collect();
    assert!(near(&rates, &want, 1e-9), "{rates:?}");
}

#[test]
fn precision_of_halves() {
    let _turn = turn();
    let run = |callback: Option<MixedPrecision>| {
        manual_seed(1);
        let mut learn = classifier(16);
        if let Some(callback) = callback {
            learn.add_callback(callback);
        }
        learn.fit_one_cycle(6, 0.1).unwrap();
        assert!(learn.model().parameters().iter().all(|p| p.dtype() == DType::F32));
        let record = learn.history().epochs.last().unwrap().clone();
        (bits(learn.model()), record.valid_loss.unwrap(), record.get("accuracy").unwrap())
    };
    let exact = run(None);
    for half in [MixedPrecision::bf16(), MixedPrecision::f16()] {
        let got = run(Some(half));
        assert_ne!(got.0, exact.0, "products are not those of f32");
        assert!((got.1 - exact.1).abs() < 0.02 && (got.2 - exact.2).abs() < 0.05, "{got:?}");
    }
    // Outside of a fit nothing is rounded.
    let x = Tensor::from_slice(&[1.0f32 + 1e-4], [1, 1]);
    assert_eq!(x.matmul(&Tensor::ones([1, 1])).item::<f32>(), 1.0 + 1e-4);
}

#[test]
fn the_loss_scale_backs_off_and_grows() {
    // Gradients of about 1, times 2^24, are beyond the 65504 of f16.
    let precision = MixedPrecision::f16().scale(LossScale { interval: 3, ..LossScale::course() });
    let watch = precision.watch();
    assert_eq!(watch.factor(), 16_777_216.0);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (writes, reads) = (seen.clone(), watch.clone());
    let mut learn = classifier(64).opt(SGD::new(0.1)).callback(precision).callback(At(
        Event::AfterBatch,
        1,
        move |ctx: &mut Context<(Linear, Tensor, Tensor)>| {
            if ctx.training {
                let weights = bits(&ctx.model);
                writes.lock().unwrap().push((reads.factor(), ctx.opt.steps_taken(), weights));
            }
        },
    ));
    let start = bits(learn.model());
    learn.fit(60, 0.1).unwrap();
    let seen = seen.lock().unwrap().clone();
    // It halves until gradients fit; the steps before that are left out.
    let skipped = seen.iter().take_while(|s| s.1 == 0).count();
    assert!(skipped >= 2, "{skipped}");
    for (i, (factor, steps, weights)) in seen[..skipped].iter().enumerate() {
        assert_eq!((*factor, *steps), (16_777_216.0 / 2f64.powi(i as i32 + 1), 0));
        assert_eq!(*weights, start, "a step that overflows changes nothing");
    }
    // Then it doubles after three good steps, until that is too much again.
    let settled = seen[skipped - 1].0;
    assert_eq!(seen[skipped].0, settled);
    assert_eq!(seen[skipped + 2].0, settled * 2.0, "three good steps");
    assert!(watch.skipped() as usize > skipped && watch.skipped() < 30, "{}", watch.skipped());
    assert!(seen.iter().all(|s| s.0 <= 16_777_216.0) && seen.last().unwrap().1 > 30);
    assert!(learn.validate().unwrap().valid_loss.unwrap().is_finite());
}

#[test]
fn clipping_sees_gradients_without_the_scale() {
    let norms = Arc::new(Mutex::new(Vec::new()));
    let writes = norms.clone();
    let mut learn = classifier(64)
        .callback(MixedPrecision::f16().scale(LossScale::fixed(1024.0)))
        .callback(GradientClip::new(0.01))
        .callback(At(Event::BeforeStep, 12, move |ctx: &mut Context<(Linear, Tensor, Tensor)>| {
            let params: Vec<_> = ctx.opt.params().cloned().collect();
            let norm = hardpan_nn::optim::grad_norm(&params, 2.0).unwrap();
            writes.lock().unwrap().push(norm.item::<f64>());
        }));
    learn.fit(2, 0.1).unwrap();
    let norms = norms.lock().unwrap();
    assert!(norms.len() == 2 && norms.iter().all(|n| (n - 0.01).abs() < 1e-5), "{norms:?}");
}

#[test]
fn clipping_by_value() {
    let largest = Arc::new(Mutex::new(Vec::new()));
    let writes = largest.clone();
    let mut learn = classifier(64).callback(GradientClipValue(0.001)).callback(At(
        Event::BeforeStep,
        12,
        move |ctx: &mut Context<(Linear, Tensor, Tensor)>| {
            let params = ctx.opt.params().filter_map(|p| p.grad());
            let all: Vec<f64> = params.flat_map(|g| g.abs().to_vec::<f64>()).collect();
            writes.lock().unwrap().push(all.iter().cloned().fold(0.0, f64::max));
        },
    ));
    learn.fit(2, 0.1).unwrap();
    let largest = largest.lock().unwrap();
    assert!(largest.len() == 2 && largest.iter().all(|g| (g - 0.001).abs() < 1e-8), "{largest:?}");
}

#[test]
fn scale_and_accumulation_together() {
    let _turn = turn();
    let run = |bs: usize, half: bool| {
        let (train, _) = points(64).split_at(64);
        let loaders = DataLoaders::train_only(DataLoader::new(train, bs).unwrap());
        let mut learn =
            Learner::new(loaders, Linear::new(4, 2, 2), cross_entropy).opt(SGD::new(0.1)).silent();
        learn.add_callback(GradientAccumulation::new(32));
        if half {
            learn.add_callback(MixedPrecision::f16().scale(LossScale::fixed(256.0)));
        }
        learn.fit(3, 0.1).unwrap();
        assert_eq!(learn.optimizer().steps_taken(), 6);
        learn.model().weight.value().to_vec::<f64>()
    };
    let (exact, half) = (run(32, false), run(8, true));
    assert!(exact.iter().zip(&half).all(|(a, b)| (a - b).abs() < 2e-3), "{exact:?} {half:?}");
}

#[test]
fn mixup_mixes_numbers_item_by_item() {
    let _turn = turn();
    manual_seed(3);
    let (collect, data) = CollectData::new();
    let mut learn = line_learner(64, 32).callback(MixUp::default()).callback(collect);
    learn.fit(1, 0.0).unwrap();
    let plain: Vec<Vec<f64>> = rows(learn.context().loaders.train.one_batch().unwrap().0);
    let mut shares = std::collections::BTreeSet::new();
    for batch in data.take() {
        let (x, y) = (rows(batch.x), batch.y.to_vec::<f64>());
        for (x, y) in x.iter().zip(y) {
            // The targets are a linear function of the inputs, so mixtures are on it, too.
            let want = x[0] - 2.0 * x[1] + 0.5 * x[2] + 0.5;
            assert!((y - want).abs() < 1e-5, "{x:?} {y}");
            if batch.training {
                shares.insert((x[0] * 1e6) as i64);
            }
        }
        if !batch.training {
            let (valid, _) = learn.context().loaders.valid.clone().unwrap().one_batch().unwrap();
            assert_eq!(rows(valid), x, "validation is not mixed");
        }
    }
    let untouched = plain.iter().filter(|x| shares.contains(&((x[0] * 1e6) as i64))).count();
    assert!(untouched < 16, "{untouched} of 32 are as they were");
}

fn rows(x: Tensor) -> Vec<Vec<f64>> {
    let width = x.numel() / x.size(0);
    x.to_vec::<f64>().chunks(width).map(<[f64]>::to_vec).collect()
}

/// A model that gives the mixed input back as logits lets the loss be computed by hand.
#[test]
fn the_loss_of_mixed_classes_is_mixed() {
    let _turn = turn();
    let item_losses =
        |pred: &Tensor, y: &Tensor| -pred.log_softmax(1).gather(1, &y.unsqueeze(1)).squeeze(1);
    for items_known in [false, true] {
        manual_seed(4);
        let (collect, data) = CollectData::new();
        let mut model = Linear::new(4, 2, 2);
        model.weight = hardpan_nn::Param::new(Tensor::eye(2, 2));
        let (train, _) = points(8).split_at(8);
        let loaders = DataLoaders::train_only(DataLoader::new(train.clone(), 8).unwrap());
        let mut learn = Learner::new(loaders, model, cross_entropy)
            .callback(MixUp::default())
            .callback(collect)
            .silent();
        if items_known {
            learn = learn.item_losses(item_losses);
        }
        learn.fit(1, 0.0).unwrap();
        let batch = data.take().remove(0);
        let (plain, mixed) = (rows(train.x().clone()), rows(batch.x.clone()));
        let labels = train.y().to_vec::<i64>();
        let log_p = rows(batch.pred.unwrap().log_softmax(1));
        // Find for each item its partner and share.
        let mut loss = 0.0;
        let mut shares = Vec::new();
        for i in 0..8 {
            let found = (0..8).filter_map(|j| {
                let (a, b) = (&plain[i], &plain[j]);
                let share = if i == j { 1.0 } else { (mixed[i][0] - b[0]) / (a[0] - b[0]) };
                let other = b[1] + share * (a[1] - b[1]);
                let fits = (other - mixed[i][1]).abs() < 1e-5 && (0.499..=1.001).contains(&share);
                fits.then_some((j, share))
            });
            let (j, share) = found.min_by(|a, b| a.1.total_cmp(&b.1)).expect("a partner");
            if share < 0.9999 {
                shares.push(share);
            }
            loss -=
                share * log_p[i][labels[i] as usize] + (1.0 - share) * log_p[i][labels[j] as usize];
        }
        let got = batch.loss.unwrap().item::<f64>();
        assert!((got - loss / 8.0).abs() < 1e-4, "{got} and {}", loss / 8.0);
        let spread = shares.iter().cloned().fold(f64::NEG_INFINITY, f64::max)
            - shares.iter().cloned().fold(f64::INFINITY, f64::min);
        assert_eq!(spread > 1e-3, items_known, "{shares:?}");
    }
}

#[test]
fn cutmix_pastes_a_rectangle() {
    let _turn = turn();
    manual_seed(6);
    // Image i is all i, and so is its target.
    let n = 8;
    let values: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let y = Tensor::from_slice(&values, [n, 1]);
    let x = y.reshape([n, 1, 1, 1]).expand([n, 2, 6, 9]).eval().clone();
    let data = TensorDataset::new(x, y).unwrap();
    #[derive(Module)]
    struct Average(hardpan_nn::Param);
    impl Forward for Average {
        type Output = Tensor;
        fn forward(&self, x: &Tensor) -> Tensor {
            x.mean([1, 2, 3]).unsqueeze(1) * self.0.value()
        }
    }
    let (collect, seen) = CollectData::new();
    let loader = DataLoader::new(data, n).unwrap();
    let model = Average(hardpan_nn::Param::new(Tensor::ones([1])));
    let mut learn = Learner::new(DataLoaders::train_only(loader), model, mse)
        .callback(CutMix::default())
        .callback(collect)
        .silent();
    learn.fit(6, 0.0).unwrap();
    let mut pasted = 0;
    for batch in seen.take() {
        let images = rows(batch.x);
        for (i, (image, y)) in images.iter().zip(batch.y.to_vec::<f64>()).enumerate() {
            let other: Vec<f64> = image.iter().copied().filter(|v| *v != i as f64).collect();
            assert!(other.windows(2).all(|w| w[0] == w[1]), "from one other image");
            // Both channels alike, and the target by area.
            assert_eq!(image[..54], image[54..]);
            let mean = image.iter().sum::<f64>() / image.len() as f64;
            assert!((mean - y).abs() < 1e-5, "{mean} {y}");
            pasted += usize::from(!other.is_empty());
        }
        // A prediction of the mean is then right.
        assert!(batch.loss.unwrap().item::<f64>() < 1e-8);
    }
    assert!(pasted > 12, "{pasted} of 48");
}

#[test]
fn smoothed_labels() {
    let (collect, data) = CollectData::new();
    let mut learn = classifier(16).callback(LabelSmoothing::new(0.2)).callback(collect);
    learn.fit(1, 0.1).unwrap();
    for batch in data.take() {
        let share = if batch.training { 0.2 } else { 0.0 };
        let loss = CrossEntropyLoss::new().label_smoothing(share);
        let want = loss.forward(&(batch.pred.unwrap(), batch.y)).item::<f64>();
        assert!((batch.loss.unwrap().item::<f64>() - want).abs() < 1e-6);
    }
    // And it keeps the weights smaller than they would be.
    let size = |smooth: bool| {
        let mut learn = classifier(16).opt(SGD::new(0.5));
        if smooth {
            learn.add_callback(LabelSmoothing::new(0.3));
        }
        learn.fit(20, 0.5).unwrap();
        learn.model().weight.value().abs().sum(..).item::<f64>()
    };
    assert!(size(true) < 0.8 * size(false));
}

#[test]
fn averages_of_weights() {
    // By hand: the average follows the weights after each step.
    let decay = 0.8;
    let track = Arc::new(Mutex::new(Vec::<Vec<f64>>::new()));
    let writes = track.clone();
    let spy = At(Event::AfterStep, 0, move |ctx: &mut Context<(Linear, Tensor, Tensor)>| {
        writes.lock().unwrap().push(ctx.model.weight.value().to_vec::<f64>());
    });
    let validated = Arc::new(Mutex::new(Vec::<Vec<f64>>::new()));
    let writes = validated.clone();
    let in_validation =
        At(Event::AfterPred, 0, move |ctx: &mut Context<(Linear, Tensor, Tensor)>| {
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
    let spy = At(Event::AfterEpoch, 0, move |ctx: &mut Context<(Linear, Tensor, Tensor)>| {
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

#[test]
fn frozen_norms_keep_their_statistics() {
    let run = |freeze: bool| {
        let model = seq![BatchNorm1d::new(3), hardpan_nn::Linear::new(3, 1)];
        let mut learn = Learner::new(line_loaders(16, 4), model, mse)
            .groups(|m: &Sequential| {
                let p = m.parameters();
                vec![p[..2].to_vec(), p[2..].to_vec()]
            })
            .freeze_norms(true)
            .silent();
        if freeze {
            learn.add_callback(BnFreeze);
        }
        learn.freeze();
        learn.fit(1, 0.1).unwrap();
        let buffers = learn.model().named_buffers();
        buffers.iter().find(|b| b.0.ends_with("running_mean")).unwrap().1.value().to_vec::<f32>()
    };
    assert_eq!(run(true), [0.0; 3]);
    assert_ne!(run(false), [0.0; 3]);
}

#[test]
fn short_and_skipped_epochs() {
    let mut learn = line_learner(80, 4).callback(ShortEpoch::new(0.25));
    learn.fit(2, 0.1).unwrap();
    assert_eq!(learn.history().losses.len(), 10, "5 of 20 batches");
    let mut learn = line_learner(80, 4).callback(ShortEpoch::new(0.0));
    learn.fit(2, 0.1).unwrap();
    assert_eq!(learn.history().losses.len(), 2, "one at least");

    // Validations can be whole all the same.
    let batches = |short: ShortEpoch| {
        let seen = Arc::new(Mutex::new(0));
        let into = seen.clone();
        let count = At(Event::AfterPred, 0, move |ctx: &mut Context<(Linear, Tensor, Tensor)>| {
            *into.lock().unwrap() += usize::from(!ctx.training);
        });
        line_learner(80, 4).callback(short).callback(count).fit(1, 0.1).unwrap();
        *seen.lock().unwrap()
    };
    assert_eq!(batches(ShortEpoch::new(0.25)), 3, "of 10");
    assert_eq!(batches(ShortEpoch::new(0.25).whole_validations()), 10);

    // The schedule of skipped epochs is skipped with them.
    let mut learn = line_learner(16, 4);
    let schedule = hardpan_learn::callback::ParamScheduler::new()
        .set(Hyper::Lr, hardpan_learn::schedule::Anneal::Linear.from_to(0.0, 1.6));
    learn.fit_with(4, vec![Box::new(schedule), Box::new(SkipToEpoch(2))]).unwrap();
    let rates = lrs(&learn);
    assert!(near(&rates, &[0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5], 1e-9), "{rates:?}");
}

#[test]
fn dropout_stays_on_when_asked() {
    let _turn = turn();
    manual_seed(2);
    let mut learn = Learner::new(
        line_loaders(16, 4),
        seq![hardpan_nn::Linear::new(3, 64), Dropout::new(0.5), hardpan_nn::Linear::new(64, 1)],
        mse,
    )
    .silent();
    let loader = learn.context().loaders.valid.clone().unwrap();
    let preds = |learn: &mut Learner<Sequential>| {
        learn.get_preds_with(&loader, Gather::default()).unwrap().preds.to_vec::<f32>()
    };
    assert_eq!(preds(&mut learn), preds(&mut learn));
    learn.add_callback(McDropout);
    assert_ne!(preds(&mut learn), preds(&mut learn));
    learn.remove_callbacks("McDropout");
    assert_eq!(preds(&mut learn), preds(&mut learn));
}

#[test]
fn predictions_with_everything() {
    let _turn = turn();
    let mut learn = classifier(16)
        .item_losses(|p: &Tensor, y: &Tensor| {
            -p.log_softmax(1).gather(1, &y.unsqueeze(1)).squeeze(1)
        })
        .activation(|p: Tensor| p.softmax(1))
        .decode(|p: &Tensor| p.argmax(1));
    learn.fit(2, 0.1).unwrap();
    let history = learn.history().clone();
    // A loader that shuffles: results are in the order of the items all the same.
    let train = learn.context().loaders.train.clone();
    let what = Gather { inputs: true, losses: true, decoded: true };
    let all = learn.get_preds_with(&train, what).unwrap();
    let data = points(96).split_at(64).0;
    assert_eq!(all.targets.to_vec::<i64>(), data.y().to_vec::<i64>());
    assert_eq!(all.inputs.unwrap().to_vec::<f32>(), data.x().to_vec::<f32>());
    let raw = learn.predict(data.x());
    let want = raw.softmax(1).to_vec::<f64>();
    assert!(all.preds.to_vec::<f64>().iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-6));
    assert_eq!(all.decoded.unwrap().to_vec::<i64>(), raw.argmax(1).to_vec::<i64>());
    let losses = all.losses.unwrap();
    assert_eq!(losses.shape(), [64]);
    assert!(
        (losses.mean(..).item::<f64>() - cross_entropy(&raw, data.y()).item::<f64>()).abs() < 1e-6
    );
    assert_eq!(*learn.history(), history);
    // A loss of the library brings its own activation and answers.
    let loaders = learn.context().loaders.clone();
    let mut with_loss = Learner::with_loss(loaders, Linear::new(4, 2, 2), CrossEntropyLoss::new())
        .item_losses(loss(CrossEntropyLoss::new().reduction(Reduction::None)))
        .silent();
    with_loss.model().load_state_dict(&learn.model().state_dict(), true).unwrap();
    let same = with_loss.get_preds_with(&train, what).unwrap();
    assert_eq!(same.preds.to_vec::<f32>(), all.preds.to_vec::<f32>());
    assert_eq!(same.decoded.unwrap().to_vec::<i64>(), raw.argmax(1).to_vec::<i64>());
    let (a, b) = (same.losses.unwrap().to_vec::<f64>(), losses.to_vec::<f64>());
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6));
    // Without a loss for each item: the same, one by one.
    let mut plain = classifier(16);
    plain.model().load_state_dict(&learn.model().state_dict(), true).unwrap();
    let one_by_one = plain.get_preds_with(&train, what).unwrap();
    assert!(one_by_one.decoded.is_none());
    let one_by_one = one_by_one.losses.unwrap().to_vec::<f64>();
    assert!(losses.to_vec::<f64>().iter().zip(&one_by_one).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn test_time_augmentation() {
    let mut learn = line_learner(16, 4);
    let plain = learn.context().loaders.valid.clone().unwrap();
    // What is predicted for inputs plus 1 is the prediction plus the sum of the weights.
    let moved = plain.clone().map(|x: Tensor, y| (x + 1.0, y));
    let (as_is, y) = learn.get_preds(&plain).unwrap();
    let shift = learn.model().weight.value().sum(..).item::<f64>();
    let (tta, targets) = learn.tta(&plain, &moved).unwrap();
    let want: Vec<f64> = as_is.to_vec::<f64>().iter().map(|p| p + 0.75 * shift).collect();
    assert!(tta.to_vec::<f64>().iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5));
    assert_eq!(targets.to_vec::<f32>(), y.to_vec::<f32>());
    let (most, _) =
        learn.tta_with(&plain, &moved, Tta { use_max: true, ..Tta::default() }).unwrap();
    let want: Vec<f64> = as_is.to_vec::<f64>().iter().map(|p| p + shift.max(0.0)).collect();
    assert!(most.to_vec::<f64>().iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn fetched_predictions() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let writes = seen.clone();
    let mut learn = line_learner(16, 4);
    let loader = learn.context().loaders.valid.clone().unwrap();
    learn.add_callback(FetchPreds::new(loader.clone(), move |epoch, preds: Tensor, y: Tensor| {
        writes.lock().unwrap().push((epoch, preds.to_vec::<f32>(), y.size(0)));
    }));
    learn.fit(3, 0.1).unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().map(|s| (s.0, s.2)).collect::<Vec<_>>(), [(0, 8), (1, 8), (2, 8)]);
    assert_eq!(seen[2].1, learn.get_preds(&loader).unwrap().0.to_vec::<f32>());
    assert_ne!(seen[0].1, seen[2].1);
}

/// A recurrent model that gives its hidden states as well.
#[derive(Module)]
struct Rnn {
    input: Linear,
    hidden: Linear,
    output: Linear,
}

impl Forward for Rnn {
    type Output = (Tensor, Tensor, Tensor);
    fn forward(&self, x: &Tensor) -> Self::Output {
        let mut h = Tensor::zeros([x.size(0), 8]);
        let mut states = Vec::new();
        for t in 0..x.size(1) {
            let now = x.select(1, t as isize);
            h = (self.input.forward(&now) + self.hidden.forward(&h)).tanh();
            states.push(h.clone());
        }
        let states = Tensor::stack(&states, 1);
        (self.output.forward(&h), states.clone(), states)
    }
}

#[test]
fn recurrent_states_are_kept_small_and_slow() {
    let x = tensor(8, &[32, 6, 2]) * 3.0;
    let y = x.sum([1, 2]).unsqueeze(1) * 0.1;
    let data = TensorDataset::new(x.eval().clone(), y.eval().clone()).unwrap();
    let run = |alpha: f64, beta: f64| {
        let loaders = DataLoaders::train_only(DataLoader::new(data.clone(), 8).unwrap());
        let model = Rnn {
            input: Linear::new(1, 2, 8),
            hidden: Linear::new(2, 8, 8),
            output: Linear::new(3, 8, 1),
        };
        let (collect, seen) = CollectData::new();
        let mut learn = Learner::new(loaders, model, on_output(mse))
            .callback(RnnRegularizer::new(alpha, beta))
            .callback(collect)
            .silent();
        learn.fit(20, 0.02).unwrap();
        // The penalty is in the gradients, not in the loss.
        let last = seen.take().pop().unwrap();
        let (out, states, _) = last.pred.unwrap();
        assert!((mse(&out, &last.y).item::<f64>() - last.loss.unwrap().item::<f64>()).abs() < 1e-6);
        let change = states.narrow(1, 1, 5) - states.narrow(1, 0, 5);
        ((&states * &states).mean(..).item::<f64>(), (&change * &change).mean(..).item::<f64>())
    };
    let (free, small, slow) = (run(0.0, 0.0), run(2.0, 0.0), run(0.0, 2.0));
    assert!(small.0 < 0.5 * free.0, "{free:?} {small:?}");
    assert!(slow.1 < 0.5 * free.1, "{free:?} {slow:?}");
}

#[test]
fn saved_models() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.hardpan");
    let mut learn =
        line_learner(16, 4).callback(SaveModel::new("valid_loss", &path).every_epochs(2));
    learn.fit(4, 0.1).unwrap();
    assert!(
        dir.path().join("model_0.hardpan").exists() && dir.path().join("model_2.hardpan").exists()
    );
    assert!(!dir.path().join("model_1.hardpan").exists() && !path.exists());
    let mut learn = line_learner(16, 4).callback(SaveModel::new("valid_loss", &path).at_end());
    learn.fit(2, 0.1).unwrap();
    let mut other = line_learner(16, 4);
    other.load(&path).unwrap();
    assert_eq!(bits(other.model()), bits(learn.model()));
    // Which way is better can be said.
    let mut learn = line_learner(32, 8).opt(SGD::new(0.01)).callback(
        EarlyStopping::new("valid_loss", 2).better(hardpan_learn::metric::Better::Higher),
    );
    learn.fit(10, 0.01).unwrap();
    assert_eq!(learn.history().epochs.len(), 3, "a falling loss is no improvement then");
}

#[test]
fn event_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut learn = classifier(16).callback(TensorBoard::new(dir.path()).histograms());
    learn.fit_one_cycle(2, 0.1).unwrap();
    let file = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(file).unwrap();
    // Walk over the records; what is in them is for TensorBoard's own reader to judge.
    let (mut at, mut records) = (0, 0);
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        at += 16 + length;
        records += 1;
    }
    assert_eq!(at, bytes.len());
    // The version; 8 steps of a loss and 5 hyperparameters; 2 epochs of loss, accuracy and 2 distributions.
    assert_eq!(records, 1 + 8 * 6 + 2 * 4);
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        ["brain.Event:2", "train_loss", "lr_0", "mom_0", "valid_loss", "accuracy", "weight"]
            .iter()
            .all(|t| text.contains(t))
    );
    flush_all();
}

#[test]
fn lr_find_sees_what_changes_training_only() {
    let mut learn = line_learner(256, 8).callback(GradientClip::new(0.1));
    let count = Arc::new(Mutex::new(0));
    let writes = count.clone();
    learn.add_callback(At(
        Event::AfterStep,
        0,
        move |_: &mut Context<(Linear, Tensor, Tensor)>| {
            *writes.lock().unwrap() += 1;
        },
    ));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("best.hardpan");
    learn.add_callback(SaveModel::new("train_loss", &path));
    learn.lr_find().unwrap();
    assert!(*count.lock().unwrap() > 50, "a callback of one's own takes part");
    assert!(!path.exists(), "one that saves does not");
}
