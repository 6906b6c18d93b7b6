//! What a learner can be told: settings of single fits, precision, quiet, files, what it shows.

mod support;

use hardpan_engine::{DType, Tensor, manual_seed};
use hardpan_learn::callback::{
    Callback, Event, Flow, MixedPrecision, OnEvent, Progress, Recorder, SaveModel, TerminateOnNan,
};
use hardpan_learn::data::{DataLoaders, TensorDataset};
use hardpan_learn::file::{FileError, Header};
use hardpan_learn::learner::{Context, Exported, FitOptions, Learner, Task};
use hardpan_learn::lr_find::LrSearch;
use hardpan_learn::metric::{LossMetric, Mean, ValueMetric, accuracy};
use hardpan_learn::progress::Live;
use hardpan_learn::schedule::{FlatCos, OneCycle};
use hardpan_nn::optim::{Adam, Hyper, SGD};
use hardpan_nn::{
    BCEWithLogitsLoss, BatchNorm1d, CrossEntropyLoss, MSELoss, Module, Sequential, seq,
};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use support::*;

/// The random generator is one for the process, so tests that compare runs take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}

/// Two classes by the sign of the first of three numbers.
fn sides(n: usize) -> DataLoaders<Tensor, Tensor> {
    let x = tensor(5, &[n, 3]);
    let y = x.narrow(1, 0, 1).squeeze(1).gt(0.0).to_dtype(DType::I64);
    let data = TensorDataset::new(x, y.eval().clone()).unwrap();
    let (train, valid) = data.split_at(n / 2);
    DataLoaders::from_tensors(train, valid, 8, 3).unwrap()
}

fn classifier() -> Learner<Sequential> {
    let names = vec!["left".to_owned(), "right".to_owned()];
    Learner::with_loss(sides(128), seq![hardpan_nn::Linear::new(3, 2)], CrossEntropyLoss::new())
        .metric(Mean::new("accuracy", accuracy))
        .header(Header { classes: names, ..Header::default() })
        .silent()
}

#[test]
fn settings_of_one_fit_are_gone_after_it() {
    let _turn = turn();
    let mut learn = line_learner(32, 4).opt(Adam::fastai(0.01));
    let decays = Arc::new(Mutex::new(Vec::new()));
    let seen = decays.clone();
    learn = learn.on(Event::AfterStep, move |ctx| {
        seen.lock().unwrap().push(ctx.opt.hypers(Hyper::Wd)[0]);
    });
    let options = FitOptions { weight_decay: Some(0.5), ..FitOptions::default() };
    learn.with_options(options, |l| l.fit(1, 0.01)).unwrap();
    learn.fit(1, 0.01).unwrap();
    assert_eq!(*decays.lock().unwrap(), [vec![0.5; 8], vec![0.01; 8]].concat());
    // Epochs before the start are left out, and schedules know it.
    let options = FitOptions { start_epoch: 2, ..FitOptions::default() };
    learn.with_options(options, |l| l.fit_one_cycle(4, 0.1)).unwrap();
    assert_eq!(learn.history().raw_losses.len(), 2 * 8);
    let trained = learn.history().epochs.iter().filter(|e| e.valid_loss.is_some());
    assert_eq!(trained.map(|e| e.epoch).collect::<Vec<_>>(), [2, 3]);
    let lrs = learn.history().lrs.clone();
    assert!(lrs.windows(2).all(|w| w[1] < w[0]), "past its highest: {lrs:?}");
    learn.fit(1, 0.01).unwrap();
    assert_eq!(learn.history().epochs.len(), 1, "nothing is left out any more");
    // What the optimizer remembers stays, unless it is to be made anew.
    let steps = learn.optimizer().steps_taken();
    assert!(steps > 8);
    learn.with_options(FitOptions::default(), |l| l.fit(1, 0.01)).unwrap();
    assert_eq!(learn.optimizer().steps_taken(), steps + 8);
    let options = FitOptions { reset_opt: true, ..FitOptions::default() };
    learn.with_options(options, |l| l.fit(1, 0.01)).unwrap();
    assert_eq!(learn.optimizer().steps_taken(), 8);
}

/// A writer that others can look into.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn quiet_for_a_while() {
    let _turn = turn();
    let out = Shared::default();
    let to = out.clone();
    let mut learn = line_learner(16, 4).callback(Progress::new(move |columns, epochs| {
        Live::new(columns.to_vec(), epochs, Some(Box::new(to.clone())), None)
    }));
    let written = || out.0.lock().unwrap().len();
    let callbacks = learn.show_training_loop();
    learn.no_logging(|l| l.fit(2, 0.01)).unwrap();
    assert_eq!((written(), learn.history().epochs.len()), (0, 2));
    // Also when something breaks.
    learn.no_logging(|l| l.fit(1, f64::NAN)).unwrap_err();
    assert_eq!(learn.show_training_loop(), callbacks);
    learn.fit(1, 0.01).unwrap();
    assert!(written() > 0, "shown again");
}

#[test]
fn precision_by_a_word() {
    let _turn = turn();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = seen.clone();
    let with = |learn: Learner<Linear>| {
        let into = into.clone();
        learn.on(Event::AfterPred, move |ctx| into.lock().unwrap().push(ctx.pred().dtype()))
    };
    let last = || *seen.lock().unwrap().last().unwrap();
    let mut learn = with(line_learner(8, 4)).to_bf16();
    learn.fit(1, 0.01).unwrap();
    assert!(learn.get_callback::<MixedPrecision>().is_some());
    let mut learn = learn.to_f16();
    learn.fit(1, 0.01).unwrap();
    assert!(learn.get_callback::<MixedPrecision>().is_some());
    assert_eq!(learn.show_training_loop().matches("MixedPrecision").count(), 1);
    let mut learn = learn.to_f32();
    learn.fit(1, 0.01).unwrap();
    assert!(learn.get_callback::<MixedPrecision>().is_none());
    assert_eq!(last(), DType::F32);
}

#[test]
fn functions_as_callbacks() {
    let _turn = turn();
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let order = order.clone();
        move |_: &mut Context<(Linear, Tensor, Tensor)>| order.lock().unwrap().push(name)
    };
    let mut learn = line_learner(8, 4).on(Event::BeforeFit, note("0"));
    learn.add_callback(OnEvent::new(Event::BeforeFit, note("5")).order(5));
    learn.add_callback(OnEvent::new(Event::BeforeFit, note("-5")).order(-5));
    learn = learn.on(Event::AfterBatch, |ctx| match ctx.train_iter {
        3 => Flow::CancelFit,
        _ => Flow::Continue,
    });
    learn.fit(5, 0.01).unwrap();
    assert_eq!(*order.lock().unwrap(), ["-5", "0", "5"]);
    // The recorder comes later and does not see the batch after which the fit was cancelled.
    assert_eq!(learn.history().raw_losses.len(), 2);
    // An error of theirs is the fit's.
    let mut learn = line_learner(8, 4)
        .on(Event::AfterEpoch, |_| Err::<(), _>(FileError::NotFound { path: "nowhere".into() }));
    assert!(learn.fit(1, 0.01).unwrap_err().to_string().contains("nowhere"));
}

#[test]
fn callbacks_are_known_by_type() {
    // One whose name is that of another.
    struct Recorder2;
    impl<T: Task> Callback<T> for Recorder2 {
        fn name(&self) -> &'static str {
            "Progress"
        }
    }
    let mut learn = line_learner(8, 4).callback(Recorder2).silent();
    assert!(learn.get_callback::<Recorder2>().is_some());
    assert!(
        learn.get_callback::<Recorder>().is_some() && learn.get_callback::<Progress>().is_none()
    );
    learn.remove_callback::<TerminateOnNan>();
    assert!(learn.get_callback_mut::<TerminateOnNan>().is_none());
    learn.remove_callbacks("Progress");
    assert!(learn.get_callback::<Recorder2>().is_none());
}

#[test]
fn columns_of_values_and_parts_of_losses() {
    let _turn = turn();
    let (part, column) = LossMetric::new("size_loss");
    let both =
        move |pred: &Tensor, y: &Tensor| mse(pred, y) + part.keep((pred * pred).mean(..) * 0.5);
    let steps = Arc::new(AtomicUsize::new(0));
    let (counted, counts) = (steps.clone(), steps.clone());
    // Nine items in batches of four: the last batch weighs less.
    let data = line_data(2, 9);
    let y = data.y().clone();
    let loaders = DataLoaders::from_tensors(line_data(1, 8), data, 2, 1).unwrap();
    let mut learn = Learner::new(loaders, Linear::new(3, 3, 1), both)
        .metric(column)
        .metric(ValueMetric::new("steps", move || Some(counted.load(SeqCst) as f64)))
        .on(Event::AfterStep, move |_| {
            counts.fetch_add(1, SeqCst);
        })
        .silent();
    learn.fit(2, 0.01).unwrap();
    assert_eq!(learn.history().last_metric("steps"), Some(8.0));
    let valid = learn.context().loaders.valid.clone().unwrap();
    let (pred, _) = learn.get_preds(&valid).unwrap();
    let want = (&pred * &pred).mean(..).item::<f32>() * 0.5;
    let got = learn.history().last_metric("size_loss").unwrap();
    assert!((got - f64::from(want)).abs() < 1e-5, "{got}, not {want}");
    let whole = mse(&pred, &y).item::<f32>() + want;
    let valid_loss = learn.history().last_metric("valid_loss").unwrap();
    assert!((valid_loss - f64::from(whole)).abs() < 1e-5);
}

#[test]
fn the_search_can_go_on_after_the_loss_has_risen() {
    let _turn = turn();
    let steps = |stop_div| {
        let mut learn = line_learner(64, 4).opt(SGD::new(0.1));
        let search = LrSearch { start_lr: 1e-3, end_lr: 10.0, steps: 60, stop_div };
        let weights = bits(learn.model());
        let found = learn.lr_find_with(search).unwrap();
        assert_eq!(bits(learn.model()), weights, "as before");
        found.points.len()
    };
    let (stopped, whole) = (steps(true), steps(false));
    assert!(stopped < whole, "{stopped} steps, {whole} without stopping");
    // Without the first tenth and the last five.
    assert_eq!(whole, 60 - 6 - 5);
}

#[test]
fn other_settings_of_schedules() {
    let _turn = turn();
    let lrs = |learn: &Learner<Linear>| learn.history().lrs.clone();
    let mut learn = line_learner(16, 4).opt(SGD::new(0.1).momentum(0.9)).momenta(0.9, 0.7, 0.8);
    learn.fit_one_cycle(5, 0.1).unwrap();
    let moms = &learn.history().moms;
    assert!((moms[0] - 0.9).abs() < 1e-12 && moms.iter().any(|m| (m - 0.7).abs() < 1e-3));
    assert!((moms[19] - 0.8).abs() < 1e-2, "{moms:?}");
    let cycle = OneCycle { pct_start: 0.5, div: 2.0, ..OneCycle::default() };
    learn.fit_one_cycle_with(5, 0.1, cycle).unwrap();
    assert!((lrs(&learn)[0] - 0.05).abs() < 1e-12 && (lrs(&learn)[10] - 0.1).abs() < 1e-12);
    learn.fit_flat_cos_with(5, 0.1, FlatCos { pct_start: 0.5, div_final: 10.0 }).unwrap();
    let rates = lrs(&learn);
    assert!(rates[..10].iter().all(|r| (r - 0.1).abs() < 1e-12) && rates[12] < 0.1);
    assert!(rates[19] > 0.01 && rates[19] < 0.02, "{rates:?}");
    // Three cycles of the same length.
    learn.fit_sgdr_with(3, 1, 1, 0.1).unwrap();
    let rates = lrs(&learn);
    assert_eq!((rates.len(), rates[0], rates[4], rates[8]), (12, 0.1, 0.1, 0.1));
    assert!(rates[3] < 0.02);
}

#[test]
fn decay_of_norms_and_biases_is_asked_for() {
    let _turn = turn();
    let after = |decay: bool| {
        let model = seq![BatchNorm1d::new(3), hardpan_nn::Linear::new(3, 1)];
        let mut learn = Learner::with_loss(line_loaders(16, 4), model, MSELoss::new())
            .opt(SGD::new(0.1).decoupled(true))
            .weight_decay(0.5)
            .decay_norms_and_biases(decay)
            .silent()
            // The decay alone, without gradients.
            .on(Event::BeforeStep, |ctx| {
                for p in ctx.opt.params() {
                    p.set_grad(p.grad().map(|g| g * 0.0));
                }
            });
        let start =
            learn.model().named_parameters()[2].1.value().detach().abs().sum(..).item::<f32>();
        learn.fit(1, 0.1).unwrap();
        let end = learn.model().named_parameters()[2].1.value().abs().sum(..).item::<f32>();
        let scale = learn.model().named_parameters()[0].1.value().to_vec::<f32>()[0];
        (scale, end / start)
    };
    let kept = 0.95f32.powi(4);
    let (scale, weights) = after(false);
    assert!(scale == 1.0 && (weights - kept).abs() < 1e-4, "{scale} {weights}");
    let (scale, weights) = after(true);
    assert!((scale - kept).abs() < 1e-5 && (weights - kept).abs() < 1e-4, "{scale} {weights}");
}

#[test]
fn a_changed_model_is_the_one_that_is_trained() {
    let _turn = turn();
    let mut learn = line_learner(16, 4);
    learn.model_mut().bias.set(Tensor::full([1], 7.0f32));
    learn.fit(1, 0.0).unwrap();
    assert_eq!(learn.model().bias.value().to_vec::<f32>(), [7.0]);
}

#[test]
fn a_summary_of_all_parts() {
    let _turn = turn();
    let model =
        seq![hardpan_nn::Linear::new(3, 8), hardpan_nn::ReLU, hardpan_nn::Linear::new(8, 1)];
    let mut learn = Learner::with_loss(line_loaders(16, 4), model, MSELoss::new())
        .groups(|m: &Sequential| {
            let p = m.parameters();
            vec![p[..2].to_vec(), p[2..].to_vec()]
        })
        .silent();
    learn.freeze();
    let summary = learn.summary().unwrap();
    assert_eq!(summary.model.input_shapes, [[4, 3]]);
    let counts: Vec<(usize, usize)> =
        summary.groups.iter().map(|g| (g.parameters, g.trainable)).collect();
    assert_eq!(counts, [(32, 0), (9, 9)]);
    let text = summary.to_string();
    for part in ["0: 32 parameters, frozen", "1: 9 parameters, trained", "Recorder", "[4, 8]"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn results_of_single_items() {
    let _turn = turn();
    manual_seed(3);
    let mut learn = classifier();
    learn.fit(10, 0.1).unwrap();
    let results = learn.show_results(12).unwrap();
    let (x, y) = learn.context().loaders.valid.as_ref().unwrap().one_batch().unwrap();
    assert_eq!(results.rows.len(), 12);
    for (row, class) in results.rows.iter().zip(y.to_vec::<i64>()) {
        assert_eq!(row.target, ["left", "right"][class as usize]);
        let right = row.target == row.prediction;
        let p = row.probability.unwrap();
        let of_truth = if right { p } else { 1.0 - p };
        assert!((row.loss + of_truth.ln()).abs() < 1e-4, "{row:?}");
    }
    let text = results.to_string();
    assert!(text.starts_with("target") && text.lines().count() == 13, "{text}");
    assert_eq!(text.matches('*').count(), 12 - results.right(), "{text}");
    let losses = learn.loss_not_reduced(&learn.predict(&x), &y).to_vec::<f64>();
    assert!(losses.len() == 16 && (losses[3] - results.rows[3].loss).abs() < 1e-5);
    // Numbers and several labels.
    let learn = Learner::with_loss(line_loaders(16, 4), Linear::new(3, 3, 1), MSELoss::new());
    let results = learn.show_results(2).unwrap();
    assert!(
        results
            .rows
            .iter()
            .all(|r| r.probability.is_none() && r.target.replace('−', "-").parse::<f64>().is_ok())
    );
    let x = tensor(5, &[8, 3]);
    let data =
        TensorDataset::new(x.clone(), x.gt(0.0).to_dtype(DType::F32).eval().clone()).unwrap();
    let loaders = DataLoaders::from_tensors(data.clone(), data, 4, 1).unwrap();
    let model =
        Linear { weight: hardpan_nn::Param::new(Tensor::eye(3, 3) * 9.0), ..Linear::new(1, 3, 3) };
    let learn = Learner::with_loss(loaders, model, BCEWithLogitsLoss::new()).silent();
    let results = learn.show_results(8).unwrap();
    assert_eq!(results.right(), results.rows.len(), "{results}");
}

#[test]
fn exported_models_are_checked_when_they_are_loaded() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sides.hardpan");
    let mut learn = classifier();
    learn.fit(5, 0.1).unwrap();
    learn.export(&path).unwrap();
    let build = || seq![hardpan_nn::Linear::new(3, 2)];
    let model = Exported::load(&path, |header| {
        assert_eq!(header.classes, ["left", "right"]);
        build()
    })
    .unwrap();
    let from = &model.header().provenance;
    assert_eq!(
        (from.epochs, from.metrics["accuracy"]),
        (Some(5), learn.history().last_metric("accuracy").unwrap())
    );
    let x = tensor(9, &[6, 3]);
    assert!(model.predict(&x).equal(&learn.predict(&x)), "the same numbers to the last bit");
    let model = model.with_loss(CrossEntropyLoss::new());
    assert!((model.predict(&x).sum(..).item::<f32>() - 6.0).abs() < 1e-5);
    let sure = Tensor::from_slice(&[3f32, 0., 0., -3., 0., 0.], [2, 3]);
    assert_eq!(model.labels(&sure), ["right", "left"]);
    // Another type, other shapes, a training that is not over: each is refused, with the reason.
    let other = Exported::load(&path, |_| Linear::new(1, 3, 2)).err().unwrap().to_string();
    assert!(
        other.contains("a file of the model `Sequential`, to be loaded into `Linear`"),
        "{other}"
    );
    let shapes = Exported::load(&path, |_| seq![hardpan_nn::Linear::new(3, 4)]).err().unwrap();
    assert!(matches!(shapes, FileError::Weights { .. }), "{shapes}");
    let mut line = line_learner(8, 4);
    assert!(matches!(line.load(&path), Err(FileError::OtherModel { .. })));
    learn.save_checkpoint(&path).unwrap();
    let running = Exported::load(&path, |_| build()).err().unwrap().to_string();
    assert!(running.contains("interrupted training"), "{running}");
    assert!(learn.load(&path).is_ok(), "its weights can be taken all the same");
}

#[test]
fn what_the_optimizer_remembers_can_be_saved() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("line.hardpan");
    let start = || line_learner(16, 4).opt(Adam::fastai(0.01));
    let mut learn = start();
    learn.fit(2, 0.05).unwrap();
    learn.save_with_opt(&path).unwrap();
    learn.fit(2, 0.05).unwrap();
    let mut again = start();
    again.load_with_opt(&path).unwrap();
    again.fit(2, 0.05).unwrap();
    assert_eq!(bits(again.model()), bits(learn.model()), "as if it had gone on");
    let mut without = start();
    without.load(&path).unwrap();
    without.fit(2, 0.05).unwrap();
    assert_ne!(bits(without.model()), bits(learn.model()));
    // Weights alone have no optimizer.
    learn.save(&path).unwrap();
    let weights = bits(again.model());
    let e = again.load_with_opt(&path).unwrap_err().to_string();
    assert!(e.contains("weights only"), "{e}");
    assert_eq!(bits(again.model()), weights);
    // By the callback: the best epoch's, both.
    let best = dir.path().join("best.hardpan");
    let mut learn = start().callback(SaveModel::new("train_loss", &best).with_opt(true));
    learn.fit(3, 0.05).unwrap();
    assert!(again.load_with_opt(&best).is_ok());
    assert_eq!(bits(again.model()), bits(learn.model()));
}
