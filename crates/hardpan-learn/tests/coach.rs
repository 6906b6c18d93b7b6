//! The coach on trainings that are broken on purpose, each beside a healthy one.

use hardpan_engine::{DType, Tensor, functional::cross_entropy, manual_seed};
use hardpan_learn::coach::{Coach, Diagnosis, Kind, Severity, Stage};
use hardpan_learn::data::{DataLoader, DataLoaders, TensorDataset};
use hardpan_learn::learner::{EpochRecord, Learner};
use hardpan_nn::optim::SGD;
use hardpan_nn::{BatchNorm1d, Linear, Module, ReLU, Sequential, seq};

const WIDTH: usize = 10;
const CLASSES: usize = 4;

type Items = (Vec<f32>, Vec<i64>);

/// Numbers that depend on the seed alone, about normal.
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E3779B97F4A7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u32 << 24) as f32 - 0.5
    };
    (0..n).map(|_| (0..6).map(|_| next()).sum::<f32>() * 1.4).collect()
}

/// Items around four centers.
fn blobs(seed: u64, n: usize) -> Items {
    let centers = noise(77, CLASSES * WIDTH);
    let x = noise(seed, n * WIDTH)
        .iter()
        .enumerate()
        .map(|(i, v)| v * 0.6 + centers[i / WIDTH % CLASSES * WIDTH + i % WIDTH])
        .collect();
    (x, (0..n).map(|i| (i % CLASSES) as i64).collect())
}

fn dataset((x, y): Items) -> TensorDataset<Tensor, Tensor> {
    let n = y.len();
    TensorDataset::new(Tensor::from_slice(&x, [n, WIDTH]), Tensor::from_slice(&y, [n])).unwrap()
}

fn loaders(train: Items, valid: Items) -> DataLoaders<Tensor, Tensor> {
    DataLoaders::new(
        DataLoader::new(dataset(train), 40).unwrap().shuffle(1),
        DataLoader::new(dataset(valid), 80).unwrap(),
    )
}

fn mlp() -> Sequential {
    manual_seed(5);
    seq![Linear::new(WIDTH, 32), ReLU, Linear::new(32, 32), ReLU, Linear::new(32, CLASSES)]
}

fn learner(train: Items, valid: Items, model: Sequential) -> Learner<Sequential> {
    Learner::new(loaders(train, valid), model, cross_entropy).silent()
}

fn diagnose(learn: &mut Learner<Sequential>) -> Diagnosis {
    let coach = Coach { batch_steps: 60, probe_steps: 100, ..Coach::default() };
    let out = coach.examine(learn).unwrap();
    println!("{out}");
    out
}

fn is_severe(d: &Diagnosis, kind: Kind) -> bool {
    d.get(kind).is_some_and(|f| {
        assert!(!f.advice.is_empty() && !f.evidence.is_empty(), "{f:?}");
        f.severity < Severity::Notice
    })
}

#[test]
fn a_healthy_training_is_left_in_peace() {
    let mut learn = learner(blobs(1, 400), blobs(2, 160), mlp());
    learn.fit_one_cycle(6, 0.01).unwrap();
    let (weights, rng) = (learn.model().state_dict(), hardpan_engine::rng_state());
    let history = learn.history().clone();
    let diagnosis = diagnose(&mut learn);
    assert!(diagnosis.findings.iter().all(|f| f.severity == Severity::Notice), "{diagnosis}");
    assert!(diagnosis.stage >= Stage::TrainMore && diagnosis.passed.len() >= 7, "{diagnosis}");
    // And everything is as it was.
    for ((name, a), (_, b)) in weights.iter().zip(learn.model().state_dict().iter()) {
        assert!(a.equal(b), "{name}");
    }
    assert_eq!((rng, history), (hardpan_engine::rng_state(), learn.history().clone()));
    let json = serde_json::to_string(&diagnosis).unwrap();
    assert_eq!(serde_json::from_str::<Diagnosis>(&json).unwrap(), diagnosis);
}

#[test]
fn a_fresh_model_on_good_data_is_well_too() {
    let diagnosis = diagnose(&mut learner(blobs(1, 400), blobs(2, 160), mlp()));
    assert!(diagnosis.findings.is_empty(), "{diagnosis}");
}

#[test]
fn labels_from_one() {
    let shift = |(x, y): Items| (x, y.iter().map(|v| v + 1).collect());
    let mut learn = learner(shift(blobs(1, 400)), shift(blobs(2, 160)), mlp());
    let diagnosis = diagnose(&mut learn);
    let finding = diagnosis.get(Kind::LabelEncoding).unwrap();
    assert_eq!((finding.severity, diagnosis.stage), (Severity::Critical, Stage::MendData));
    assert_eq!(finding.evidence[1].value, Some(4.0));
    // With an output to spare it trains, but that is not meant.
    manual_seed(5);
    let wide = seq![Linear::new(WIDTH, 32), ReLU, Linear::new(32, 5)];
    let diagnosis = diagnose(&mut learner(shift(blobs(1, 400)), shift(blobs(2, 160)), wide));
    assert!(diagnosis.get(Kind::LabelEncoding).unwrap().what.contains("start at 1"));
}

#[test]
fn classes_named_otherwise_in_validation() {
    let (x, y) = blobs(2, 160);
    let renamed = y.iter().map(|v| (v + 1) % CLASSES as i64).collect();
    let diagnosis = diagnose(&mut learner(blobs(1, 400), (x, renamed), mlp()));
    assert!(is_severe(&diagnosis, Kind::ShuffledClasses), "{diagnosis}");
    assert!(!diagnosis.has(Kind::RandomLabels));
}

#[test]
fn labels_at_random() {
    let random = |(x, y): Items, seed| {
        let draws = noise(seed, y.len());
        (x, draws.iter().map(|v| (v.abs() * 1e4) as i64 % CLASSES as i64).collect())
    };
    let diagnosis = diagnose(&mut learner(random(blobs(1, 320), 8), random(blobs(2, 400), 9), {
        manual_seed(5);
        seq![Linear::new(WIDTH, 256), ReLU, Linear::new(256, 256), ReLU, Linear::new(256, CLASSES)]
    }));
    assert!(is_severe(&diagnosis, Kind::RandomLabels), "{diagnosis}");
}

#[test]
fn items_on_both_sides_of_the_split() {
    let (x, y) = blobs(1, 400);
    let (mut vx, mut vy) = blobs(2, 120);
    vx.extend_from_slice(&x[..40 * WIDTH]);
    vy.extend_from_slice(&y[..40]);
    let diagnosis = diagnose(&mut learner((x, y), (vx, vy), mlp()));
    assert!(is_severe(&diagnosis, Kind::DuplicatesAcrossSplit), "{diagnosis}");
    let share = diagnosis.get(Kind::DuplicatesAcrossSplit).unwrap().evidence[1].value;
    assert_eq!(share, Some(0.25));
}

#[test]
fn one_input_with_two_labels() {
    let (mut x, mut y) = blobs(1, 400);
    x.extend_from_within(..60 * WIDTH);
    y.extend((0..60).map(|i| (i as i64 + 1) % CLASSES as i64));
    let diagnosis = diagnose(&mut learner((x, y), blobs(2, 160), mlp()));
    assert!(is_severe(&diagnosis, Kind::ContradictoryLabels), "{diagnosis}");
}

#[test]
fn hardly_any_items_of_a_class() {
    let (x, y) = blobs(1, 1600);
    // Nearly all items of class 0.
    let keep: Vec<usize> = (0..1600).filter(|&i| y[i] == 0 || i % 100 < 4).collect();
    let train = (
        keep.iter().flat_map(|&i| x[i * WIDTH..(i + 1) * WIDTH].to_vec()).collect(),
        keep.iter().map(|&i| y[i]).collect(),
    );
    let diagnosis = diagnose(&mut learner(train, blobs(2, 160), mlp()));
    assert!(diagnosis.has(Kind::ClassImbalance), "{diagnosis}");
}

#[test]
fn inputs_that_are_not_normalized() {
    let bytes = |(x, y): Items| (x.iter().map(|v| v * 60.0 + 120.0).collect(), y);
    let diagnosis = diagnose(&mut learner(bytes(blobs(1, 400)), bytes(blobs(2, 160)), mlp()));
    assert!(is_severe(&diagnosis, Kind::UnnormalizedInputs), "{diagnosis}");
    assert!(diagnosis.to_string().contains("subtract"), "{diagnosis}");
}

#[test]
fn inputs_that_are_not_numbers() {
    let (mut x, y) = blobs(1, 400);
    x[123] = f32::NAN;
    let diagnosis = diagnose(&mut learner((x, y), blobs(2, 160), mlp()));
    assert!(is_severe(&diagnosis, Kind::NonFiniteInputs), "{diagnosis}");
    assert_eq!(diagnosis.stage, Stage::MendData);
}

#[test]
fn a_model_that_cannot_learn() {
    // Outputs do not depend on the first layers, and the rest is one bias.
    manual_seed(5);
    let broken = seq![Linear::new(WIDTH, 32), |x: &Tensor| x * 0.0, Linear::new(32, CLASSES)];
    let diagnosis = diagnose(&mut learner(blobs(1, 400), blobs(2, 160), broken));
    assert!(is_severe(&diagnosis, Kind::CannotOverfitBatch), "{diagnosis}");
    assert!(is_severe(&diagnosis, Kind::Untrained), "{diagnosis}");
    assert!(is_severe(&diagnosis, Kind::VanishingActivations), "{diagnosis}");
    assert_eq!(diagnosis.stage, Stage::Overfit);
}

/// Multiplies weights of layers by a number.
fn scaled(by: f64) -> Sequential {
    let model = mlp();
    for (name, p) in model.named_parameters() {
        if name.ends_with("weight") {
            p.set((p.value().detach() * by).eval().clone());
        }
    }
    model
}

#[test]
fn weights_too_large_and_too_small() {
    let large = diagnose(&mut learner(blobs(1, 400), blobs(2, 160), scaled(100.0)));
    assert!(is_severe(&large, Kind::ExplodingActivations), "{large}");
    let small = diagnose(&mut learner(blobs(1, 400), blobs(2, 160), scaled(1e-3)));
    assert!(is_severe(&small, Kind::VanishingActivations), "{small}");
    let none = diagnose(&mut learner(blobs(1, 400), blobs(2, 160), scaled(f64::INFINITY)));
    assert!(is_severe(&none, Kind::NonFiniteWeights), "{none}");
}

/// Layers with an activation between them that lets hardly any gradient through, or far too much.
fn deep(layers: usize, between: fn(&Tensor) -> Tensor) -> Sequential {
    manual_seed(5);
    let mut model = seq![Linear::new(WIDTH, 32)];
    for _ in 0..layers {
        model = model.append(between).append(Linear::new(32, 32));
    }
    model.append(between).append(Linear::new(32, CLASSES))
}

#[test]
fn gradients_that_vanish_or_explode_on_their_way_back() {
    // A sigmoid has a slope of a quarter at most.
    let vanishing = deep(10, |x| x.sigmoid());
    let diagnosis = diagnose(&mut learner(blobs(1, 400), blobs(2, 160), vanishing));
    assert!(is_severe(&diagnosis, Kind::VanishingGradients), "{diagnosis}");
    let finding = diagnosis.get(Kind::VanishingGradients).unwrap();
    let (first, last) = (finding.evidence[0].value.unwrap(), finding.evidence[1].value.unwrap());
    assert!(last > 1e4 * first && finding.what.contains("`0.weight`"), "{finding:?}");
    // A steep sine: what comes out is between -1 and 1, but its slope is up to 30.
    let exploding = deep(6, |x| (x * 30.0).sin());
    let diagnosis = diagnose(&mut learner(blobs(1, 400), blobs(2, 160), exploding));
    assert!(is_severe(&diagnosis, Kind::ExplodingGradients), "{diagnosis}");
    assert!(!diagnosis.has(Kind::ExplodingActivations), "{diagnosis}");
    // As deep, but with an activation that lets gradients through, and with norms.
    manual_seed(5);
    let mut sound = seq![Linear::new(WIDTH, 32)];
    for _ in 0..6 {
        sound = sound.append(BatchNorm1d::new(32)).append(ReLU).append(Linear::new(32, 32));
    }
    let sound = sound.append(ReLU).append(Linear::new(32, CLASSES));
    let diagnosis = diagnose(&mut learner(blobs(1, 400), blobs(2, 160), sound));
    let gradients = [Kind::VanishingGradients, Kind::ExplodingGradients];
    assert!(!gradients.iter().any(|k| diagnosis.has(*k)), "{diagnosis}");
    assert!(diagnosis.passed.iter().any(|p| p.starts_with("gradients:")), "{diagnosis}");
}

#[test]
fn advice_names_the_item_or_the_option() {
    let worse = [(1.0, 1.0), (0.6, 0.7), (0.4, 0.6), (0.2, 0.7), (0.1, 0.9), (0.05, 1.2)];
    let diagnosis = diagnose(&mut with_curves(&worse));
    let (program, command) = (diagnosis.to_string(), diagnosis.for_command_line().to_string());
    assert!(program.contains("weight_decay(0.1)") && !program.contains("--wd"), "{program}");
    assert!(command.contains("--wd 0.1") && !command.contains("weight_decay("), "{command}");
    // What has no option names the item all the same.
    assert!(command.contains("(in a program: SaveModel, EarlyStopping)"), "{command}");
}

#[test]
fn units_that_are_dead() {
    let model = mlp();
    let (_, bias) = model.named_parameters().into_iter().find(|(n, _)| n == "2.bias").unwrap();
    let dead: Vec<f32> = (0..32).map(|i| if i < 24 { -100.0 } else { 0.0 }).collect();
    bias.set(Tensor::from_slice(&dead, [32]));
    let diagnosis = diagnose(&mut learner(blobs(1, 400), blobs(2, 160), model));
    assert!(is_severe(&diagnosis, Kind::DeadUnits), "{diagnosis}");
    let finding = diagnosis.get(Kind::DeadUnits).unwrap();
    assert!(finding.what.contains("`3`"), "{}", finding.what);
    assert!(finding.evidence[0].value.unwrap() >= 0.75);
}

#[test]
fn a_learning_rate_that_is_too_high_or_too_low() {
    let fitted = |lr: f64| {
        let mut learn = learner(blobs(1, 400), blobs(2, 160), mlp()).opt(SGD::new(lr));
        // A rate may be so high that the fit fails; that is what is to be seen.
        let _ = learn.fit(3, lr);
        diagnose(&mut learn)
    };
    let high = fitted(30.0);
    assert!(is_severe(&high, Kind::LearningRateTooHigh), "{high}");
    let low = fitted(1e-5);
    assert!(is_severe(&low, Kind::LearningRateTooLow), "{low}");
    let right = fitted(0.2);
    assert!(
        !right.has(Kind::LearningRateTooHigh) && !right.has(Kind::LearningRateTooLow),
        "{right}"
    );
}

/// A learner whose last fit had these losses.
fn with_curves(curves: &[(f64, f64)]) -> Learner<Sequential> {
    let mut learn = learner(blobs(1, 400), blobs(2, 160), mlp());
    learn.context_mut().history.epochs = curves
        .iter()
        .map(|&(train, valid)| EpochRecord {
            train_loss: Some(train),
            valid_loss: Some(valid),
            ..EpochRecord::default()
        })
        .collect();
    learn
}

#[test]
fn overfitting_is_validation_loss_getting_worse() {
    let worse = [(1.0, 1.0), (0.6, 0.7), (0.4, 0.6), (0.2, 0.7), (0.1, 0.9), (0.05, 1.2)];
    let diagnosis = diagnose(&mut with_curves(&worse));
    assert!(is_severe(&diagnosis, Kind::Overfitting), "{diagnosis}");
    assert_eq!(diagnosis.stage, Stage::ReduceOverfitting);
    let advice = &diagnosis.get(Kind::Overfitting).unwrap().advice;
    let order = ["more data", "augmentation", "architecture", "regularization", "only last"];
    assert!(
        advice.len() == 5 && advice.iter().zip(order).all(|(a, o)| a.what.contains(o)),
        "{advice:?}"
    );
    // Training loss far below validation loss, which has not got worse: no overfitting.
    let apart = [(1.0, 1.0), (0.5, 0.8), (0.2, 0.7), (0.1, 0.66), (0.05, 0.65), (0.02, 0.65)];
    let diagnosis = diagnose(&mut with_curves(&apart));
    assert!(!diagnosis.has(Kind::Overfitting), "{diagnosis}");
    assert!(diagnosis.passed.iter().any(|p| p.contains("not overfitting")), "{diagnosis}");
}

#[test]
fn still_improving() {
    let falling = [(2.0, 2.0), (1.6, 1.6), (1.3, 1.3), (1.0, 1.0)];
    let diagnosis = diagnose(&mut with_curves(&falling));
    assert!(diagnosis.has(Kind::StillImproving), "{diagnosis}");
    assert_eq!(diagnosis.stage, Stage::TrainMore);
}

#[test]
fn numbers_as_targets_can_be_examined_too() {
    let (x, y) = blobs(1, 400);
    let target: Vec<f32> = y.iter().map(|&v| v as f32).collect();
    let part = |from: usize, to: usize| {
        let n = to - from;
        TensorDataset::new(
            Tensor::from_slice(&x[from * WIDTH..to * WIDTH], [n, WIDTH]),
            Tensor::from_slice(&target[from..to], [n, 1]),
        )
        .unwrap()
    };
    let loaders = DataLoaders::new(
        DataLoader::new(part(0, 300), 50).unwrap().shuffle(1),
        DataLoader::new(part(300, 400), 100).unwrap(),
    );
    manual_seed(5);
    let model = seq![Linear::new(WIDTH, 32), ReLU, Linear::new(32, 1)];
    let mse = |p: &Tensor, y: &Tensor| (p - y).square().mean(..).to_dtype(DType::F32);
    let mut learn = Learner::new(loaders, model, mse).silent();
    learn.fit_one_cycle(8, 0.02).unwrap();
    let diagnosis = learn.diagnose().unwrap();
    assert!(diagnosis.findings.iter().all(|f| f.severity == Severity::Notice), "{diagnosis}");
}

/// Labels at random: a linear model in ten dimensions can tell the eight items of a batch apart, but not 320.
#[test]
fn a_training_set_that_is_too_much_for_the_model() {
    let items = |seed: u64, n: usize| -> Items {
        let y = noise(seed + 50, n).iter().map(|v| (v.abs() * 1e4) as i64 % 2).collect();
        (noise(seed, n * WIDTH), y)
    };
    let small = |train: Items, model: Sequential| {
        let loaders = DataLoaders::new(
            DataLoader::new(dataset(train), 8).unwrap(),
            DataLoader::new(dataset(items(2, 80)), 80).unwrap(),
        );
        let mut learn = Learner::new(loaders, model, cross_entropy).silent();
        let coach = Coach { probe_batches: 40, probe_steps: 400, ..Coach::default() };
        let out = coach.examine(&mut learn).unwrap();
        println!("{out}");
        out
    };
    manual_seed(5);
    let diagnosis = small(items(1, 320), seq![Linear::new(WIDTH, 2)]);
    assert!(!diagnosis.has(Kind::CannotOverfitBatch), "{diagnosis}");
    assert!(is_severe(&diagnosis, Kind::CannotOverfitTraining), "{diagnosis}");
    assert_eq!(diagnosis.stage, Stage::Overfit);
    assert!(diagnosis.get(Kind::CannotOverfitTraining).unwrap().what.contains("40 together"));
    // With enough units the same data can be learned.
    manual_seed(5);
    let large =
        seq![Linear::new(WIDTH, 256), ReLU, Linear::new(256, 256), ReLU, Linear::new(256, 2)];
    let diagnosis = small(items(1, 320), large);
    assert!(!diagnosis.has(Kind::CannotOverfitTraining), "{diagnosis}");
}

/// More outputs than classes is worth a notice when enough items were looked at, and is no reason to stop.
#[test]
fn outputs_that_no_label_uses() {
    let wide = || {
        manual_seed(5);
        seq![Linear::new(WIDTH, 32), ReLU, Linear::new(32, CLASSES + 3)]
    };
    let diagnosis = diagnose(&mut learner(blobs(1, 400), blobs(2, 160), wide()));
    let finding = diagnosis.get(Kind::LabelEncoding).unwrap();
    assert_eq!(finding.severity, Severity::Notice);
    assert_eq!(finding.what, "the model has 7 outputs, but no label is above 3");
    assert!(diagnosis.stage > Stage::Overfit, "{diagnosis}");
    // Too few items to say.
    let diagnosis = diagnose(&mut learner(blobs(1, 120), blobs(2, 80), wide()));
    assert!(!diagnosis.has(Kind::LabelEncoding), "{diagnosis}");
}

/// Pictures of 16 x 16 around a class's own pattern.
fn pictures(seed: u64, n: usize) -> (Vec<f32>, Vec<i64>) {
    let soft = |seed: u64| -> Vec<f32> {
        let coarse = noise(seed, 64);
        (0..256).map(|i| coarse[i / 32 * 8 + i % 16 / 2]).collect()
    };
    let y: Vec<i64> = (0..n).map(|i| (i % CLASSES) as i64).collect();
    let x = (0..n)
        .flat_map(|i| {
            let own = soft(seed * 10_000 + i as u64);
            let class = soft(y[i] as u64 + 7_000_000);
            own.into_iter().zip(class).map(|(a, b)| a + 0.5 * b).collect::<Vec<f32>>()
        })
        .collect();
    (x, y)
}

#[test]
fn pictures_that_were_saved_again_on_the_other_side() {
    let examine = |train: Items, valid: Items| {
        let part = |(x, y): Items| {
            let n = y.len();
            let x = Tensor::from_slice(&x, [n, 1, 16, 16]);
            TensorDataset::new(x, Tensor::from_slice(&y, [n])).unwrap()
        };
        let loaders = DataLoaders::new(
            DataLoader::new(part(train), 40).unwrap(),
            DataLoader::new(part(valid), 80).unwrap(),
        );
        manual_seed(5);
        let model = seq![
            hardpan_nn::Flatten::default(),
            Linear::new(256, 32),
            ReLU,
            Linear::new(32, CLASSES)
        ];
        diagnose(&mut Learner::new(loaders, model, cross_entropy).silent())
    };
    let (x, y) = pictures(1, 240);
    let (vx, vy) = pictures(2, 80);
    let diagnosis = examine((x.clone(), y.clone()), (vx.clone(), vy.clone()));
    assert!(!diagnosis.has(Kind::DuplicatesAcrossSplit), "{diagnosis}");
    assert!(diagnosis.passed.iter().any(|p| p.contains("nor do more look alike")), "{diagnosis}");
    // Twenty training pictures again, brighter and not quite the same.
    let jitter = noise(99, 20 * 256);
    let again = x[..20 * 256].iter().zip(jitter).map(|(v, j)| v * 1.1 + 0.05 + 0.01 * j);
    let vx: Vec<f32> = vx.into_iter().chain(again).collect();
    let vy: Vec<i64> = vy.into_iter().chain(y[..20].iter().copied()).collect();
    let diagnosis = examine((x, y), (vx, vy));
    assert!(is_severe(&diagnosis, Kind::DuplicatesAcrossSplit), "{diagnosis}");
    let seen = diagnosis.get(Kind::DuplicatesAcrossSplit).unwrap().evidence[0].value.unwrap();
    assert!((16.0..=22.0).contains(&seen), "{seen}");
}
