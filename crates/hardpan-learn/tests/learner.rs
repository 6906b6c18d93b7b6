//! The loop, its events, and what callbacks can do with them.

mod support;

use hardpan_engine::{Tensor, flush_all, live_nodes};
use hardpan_learn::callback::{
    Callback, Checkpoint, CsvLogger, EarlyStopping, Event, Flow, GradientAccumulation,
    GradientClip, ParamScheduler, SaveModel,
};
use hardpan_learn::data::{DataLoader, DataLoaders, TensorDataset};
use hardpan_learn::file::ModelFile;
use hardpan_learn::learner::{Context, FineTune, FitError, Learner, Task};
use hardpan_learn::metric::Mean;
use hardpan_learn::schedule::Anneal;
use hardpan_nn::Module;
use hardpan_nn::optim::{Adam, Hyper, SGD};
use std::sync::{Arc, Mutex};
use support::*;

const BATCH: &str = "before_batch after_pred after_loss before_backward after_backward before_step \
                     after_step after_batch";

#[test]
fn events_come_in_order() {
    let spy = Spy::default();
    let mut learn = line_learner(8, 4).callback(spy.clone());
    learn.fit(1, 0.1).unwrap();
    assert_eq!(
        spy.text(),
        format!(
            "after_create before_fit before_epoch before_train {BATCH} {BATCH} after_train \
             before_validate before_batch after_pred after_loss after_batch after_validate \
             after_epoch after_fit"
        )
    );
    assert_eq!(Event::ALL.len(), 24);
}

/// What follows the event at which something was cancelled, to the end of the fit.
fn after_cancel(event: Event, flow: fn() -> Flow) -> String {
    let spy = Spy::cancelling(event, flow);
    let mut learn = line_learner(4, 4).callback(spy.clone());
    learn.fit(1, 0.1).unwrap();
    let text = spy.text();
    let at = text.find(event.name()).unwrap();
    text[at..].to_owned()
}

const VALIDATE: &str =
    "before_validate before_batch after_pred after_loss after_batch after_validate";

#[test]
fn each_cancel_leaves_out_its_part_and_no_more() {
    assert_eq!(
        after_cancel(Event::AfterPred, || Flow::CancelBatch),
        format!(
            "after_pred after_cancel_batch after_batch after_train {VALIDATE} after_epoch after_fit"
        )
    );
    assert_eq!(
        after_cancel(Event::BeforeBackward, || Flow::CancelBackward),
        format!(
            "before_backward after_cancel_backward after_backward before_step after_step after_batch \
             after_train {VALIDATE} after_epoch after_fit"
        )
    );
    assert_eq!(
        after_cancel(Event::BeforeStep, || Flow::CancelStep),
        format!(
            "before_step after_cancel_step after_step after_batch after_train {VALIDATE} \
             after_epoch after_fit"
        )
    );
    assert_eq!(
        after_cancel(Event::BeforeBatch, || Flow::CancelTrain),
        format!("before_batch after_cancel_train after_train {VALIDATE} after_epoch after_fit")
    );
    assert_eq!(
        after_cancel(Event::BeforeValidate, || Flow::CancelValid),
        "before_validate after_cancel_validate after_validate after_epoch after_fit"
    );
    assert_eq!(
        after_cancel(Event::AfterTrain, || Flow::CancelEpoch),
        "after_train after_cancel_epoch after_epoch after_fit"
    );
    assert_eq!(
        after_cancel(Event::AfterLoss, || Flow::CancelFit),
        "after_loss after_cancel_fit after_fit"
    );
}

#[test]
fn a_cancelled_step_changes_nothing_and_clears_gradients() {
    struct NoSteps;
    impl<T: Task> Callback<T> for NoSteps {
        fn before_step(&mut self, _: &mut Context<T>) -> Flow {
            Flow::CancelStep
        }
    }
    let mut learn = line_learner(8, 4).callback(NoSteps);
    let before = bits(learn.model());
    learn.fit(2, 0.1).unwrap();
    assert_eq!(bits(learn.model()), before);
    assert!(learn.model().parameters().iter().all(|p| p.grad().is_none()));
}

#[test]
fn cancelling_what_is_not_going_on_is_an_error() {
    let spy = Spy::cancelling(Event::BeforeEpoch, || Flow::CancelBatch);
    let e = line_learner(4, 4).callback(spy).fit(1, 0.1).unwrap_err();
    let text = e.to_string();
    assert!(text.contains("before_epoch") && text.contains("batch"), "{text}");
}

#[test]
fn callbacks_are_called_by_order_then_age() {
    struct Named(&'static str, i32, Arc<Mutex<Vec<&'static str>>>);
    impl<T: Task> Callback<T> for Named {
        fn order(&self) -> i32 {
            self.1
        }
        fn before_fit(&mut self, _: &mut Context<T>) -> Flow {
            self.2.lock().unwrap().push(self.0);
            Flow::Continue
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut learn = line_learner(4, 4);
    for (name, order) in [("a", 5), ("b", 0), ("c", 5), ("d", -20)] {
        learn.add_callback(Named(name, order, seen.clone()));
    }
    let extra = Named("e", 1, seen.clone());
    learn.fit_with(1, vec![Box::new(extra)]).unwrap();
    assert_eq!(*seen.lock().unwrap(), ["d", "b", "e", "a", "c"]);
    // Those of one fit are gone after it.
    seen.lock().unwrap().clear();
    learn.fit(1, 0.0).unwrap();
    assert_eq!(*seen.lock().unwrap(), ["d", "b", "a", "c"]);
    let page = learn.show_training_loop();
    assert!(page.contains(" -10  TrainEval") && page.contains("after_cancel_backward"), "{page}");
}

#[test]
fn it_learns() {
    let mae = Mean::new("mae", |p: &Tensor, y: &Tensor| (p - y).abs().mean(..));
    let mut learn = line_learner(64, 8).metric(mae);
    learn.fit_one_cycle(20, 0.1).unwrap();
    let last = learn.history().epochs.last().unwrap();
    assert!(last.valid_loss.unwrap() < 1e-3 && last.get("mae").unwrap() < 0.03, "{last:?}");
    let w = learn.model().weight.value().to_vec::<f32>();
    assert!((w[0] - 1.0).abs() < 0.05 && (w[1] + 2.0).abs() < 0.05, "{w:?}");
    assert_eq!(learn.history().epochs.len(), 20);
    assert_eq!(learn.history().losses.len(), 160);
    // A validation afterwards gives the same, and leaves the history alone.
    let again = learn.validate().unwrap();
    assert_eq!((again.valid_loss, &again.metrics), (last_loss(&learn), &last_metrics(&learn)));
    assert_eq!(learn.history().epochs.len(), 20);
}

fn last_loss(l: &Learner<Linear>) -> Option<f64> {
    l.history().epochs.last().unwrap().valid_loss
}

fn last_metrics(l: &Learner<Linear>) -> Vec<(String, Option<f64>)> {
    l.history().epochs.last().unwrap().metrics.clone()
}

#[test]
fn one_cycle_sets_rate_and_momentum() {
    let mut learn = line_learner(40, 4).opt(SGD::new(0.1).momentum(0.9));
    learn.fit_one_cycle(2, 0.1).unwrap();
    let lrs = &learn.history().lrs;
    assert!((lrs[0] - 0.1 / 25.0).abs() < 1e-12);
    assert!((lrs[5] - 0.1).abs() < 1e-12, "a quarter of 20 steps: {}", lrs[5]);
    assert!(lrs[19] < lrs[18] && lrs[19] > 0.1 / 1e5);
    assert!(learn.optimizer().hypers(Hyper::Mom)[0] > 0.94);
    // An optimizer without momentum does not get one.
    let mut learn = line_learner(8, 4).opt(SGD::new(0.1));
    learn.fit_one_cycle(1, 0.1).unwrap();
    assert_eq!(learn.optimizer().hypers(Hyper::Mom), [0.0]);
}

#[test]
fn a_small_last_batch_weighs_what_it_should() {
    // 5 items in batches of 4: targets are the predictions plus 0, 0, 0, 0, 10.
    let x = Tensor::zeros([5, 3]);
    let y = Tensor::from_slice(&[0.0f32, 0.0, 0.0, 0.0, 10.0], [5, 1]);
    let data = TensorDataset::new(x, y).unwrap();
    let loader = DataLoader::new(data, 4).unwrap();
    let loaders = DataLoaders::new(loader.clone(), loader);
    let mae = Mean::new("mae", |p: &Tensor, y: &Tensor| (p - y).abs().mean(..));
    let mut learn = Learner::new(loaders, Linear::new(1, 3, 1), mse).metric(mae).silent();
    let v = learn.validate().unwrap();
    assert_eq!((v.valid_loss, v.get("mae")), (Some(20.0), Some(2.0)));
    let (pred, y) = learn.get_preds(learn.context().loaders.valid.as_ref().unwrap()).unwrap();
    assert_eq!((pred.shape(), y.shape()), (&[5, 1][..], &[5, 1][..]));
}

#[test]
fn accumulating_gradients_is_a_larger_batch() {
    let run = |bs: usize, accumulate: bool| {
        let loader = DataLoader::new(line_data(1, 12), bs).unwrap();
        let mut learn =
            Learner::new(DataLoaders::train_only(loader), Linear::new(3, 3, 1), mse).silent();
        learn = learn.opt(SGD::new(0.1));
        if accumulate {
            learn.add_callback(GradientAccumulation::new(6));
        }
        learn.fit(3, 0.1).unwrap();
        (learn.optimizer().steps_taken(), learn.model().weight.value().to_vec::<f32>())
    };
    let (large, small) = (run(6, false), run(2, true));
    assert_eq!((large.0, small.0), (6, 6));
    assert!(large.1.iter().zip(&small.1).all(|(a, b)| (a - b).abs() < 1e-5), "{large:?} {small:?}");
    assert_ne!(large.1, run(2, false).1);
}

#[test]
fn clipped_gradients_make_short_steps() {
    let run = |clip: f64| {
        let mut learn = line_learner(4, 4).opt(SGD::new(1.0)).callback(GradientClip::new(clip));
        let before = learn.model().state_dict();
        learn.fit(1, 1.0).unwrap();
        let after = learn.model().state_dict();
        let moved = before.iter().zip(after.iter()).map(|((_, a), (_, b))| {
            a.to_vec::<f64>()
                .iter()
                .zip(b.to_vec::<f64>())
                .map(|(a, b)| (a - b).powi(2))
                .sum::<f64>()
        });
        moved.sum::<f64>().sqrt()
    };
    assert!((run(0.1) - 0.1).abs() < 1e-4, "{}", run(0.1));
    assert!(run(1e6) > 0.2);
}

#[test]
fn a_loss_that_is_not_finite_stops_the_fit_and_keeps_good_weights() {
    // Steps of 1000 times the gradient blow up after a few.
    let mut learn = line_learner(64, 1).opt(SGD::new(0.1));
    let e = learn.fit(5, 1000.0).unwrap_err();
    let FitError::NonFinite { step, restored, lr, epoch, .. } = &e else { panic!("{e}") };
    assert!(*step > 0 && restored <= step && *lr == 1000.0 && *epoch == 0, "{e}");
    let text = e.to_string();
    assert!(text.contains("try a learning rate of 1e2"), "{text}");
    assert!(
        learn
            .model()
            .state_dict()
            .iter()
            .all(|(_, t)| t.to_vec::<f32>().iter().all(|v| v.is_finite()))
    );
    // It can go on from there.
    learn.model().load_state_dict(&Linear::new(3, 3, 1).state_dict(), true).unwrap();
    learn.fit(2, 0.05).unwrap();
}

/// Adam's averages of such gradients are no numbers for ever, and would spoil every step of every later fit.
#[test]
fn what_the_optimizer_remembers_of_a_failed_fit_is_forgotten() {
    let mut learn = line_learner(64, 4).opt(Adam::new(0.01));
    learn.fit(2, 0.01).unwrap();
    let before = learn.validate().unwrap().valid_loss.unwrap();
    let weight = learn.model().weight.clone();
    let failed = learn.fit(1, f64::NAN).unwrap_err();
    assert!(matches!(failed, FitError::NonFinite { .. }), "{failed}");
    assert!(failed.to_string().contains("the optimizer has forgotten the steps"), "{failed}");
    assert!(learn.optimizer().state(&weight).is_none());
    assert!(weight.value().to_vec::<f32>().iter().all(|v| v.is_finite()));
    learn.fit(4, 0.05).unwrap();
    let after = learn.history().epochs.last().unwrap().valid_loss.unwrap();
    assert!(after < 0.5 * before, "{before} {after}");
    let state = learn.optimizer().state(&weight).unwrap();
    assert_eq!(state.steps(), 4 * 16, "averages of the new steps alone");
    assert!(state.get("exp_avg").unwrap().to_vec::<f32>().iter().all(|v| v.is_finite()));
}

/// A step whose own loss is fine, and after which the weights are not numbers.
fn breaks_at(step: usize) -> Learner<Linear> {
    line_learner(64, 8).opt(SGD::new(0.1)).on(Event::AfterStep, move |ctx| {
        if ctx.train_iter == step {
            for p in ctx.model.parameters() {
                p.set(p.value() * f64::NAN);
            }
        }
    })
}

#[test]
fn weights_that_are_no_numbers_are_neither_kept_nor_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    // In the last step of an epoch, which no loss would tell: there are 8.
    let keeps = |step| breaks_at(step).callback(Checkpoint::new(&path).every_steps(1));
    for step in [5, 7] {
        let e = keeps(step).fit(1, 0.01).unwrap_err();
        assert!(matches!(e, FitError::NonFinite { .. }), "{e}");
        let file = ModelFile::read(&path).unwrap();
        let values: Vec<f32> = file.weights.iter().flat_map(|(_, w)| w.to_vec::<f32>()).collect();
        assert!(values.iter().all(|v| v.is_finite()), "{values:?}");
        assert_eq!(file.training.unwrap().batches, step);
    }
    // One that was written all the same is not gone on with.
    let mut learn = line_learner(64, 8);
    let p = &learn.model().parameters()[0];
    p.set(p.value() * f64::INFINITY);
    learn.save_checkpoint(&path).unwrap();
    let e = line_learner(64, 8).resume(&path).unwrap_err().to_string();
    assert!(e.contains("cannot go on from here") && e.contains("not numbers"), "{e}");
    learn.fit(1, 0.01).unwrap_err();
}

#[test]
fn the_rate_finder_suggests_and_leaves_no_trace() {
    let mut learn = line_learner(256, 8).opt(SGD::new(0.01).momentum(0.9));
    learn.fit(1, 0.001).unwrap();
    let (before, state) = (bits(learn.model()), learn.optimizer().state_dict());
    let history = learn.history().clone();
    let rng = hardpan_engine::rng_state();
    let found = learn.lr_find().unwrap();
    let rate = found.suggestion().unwrap();
    assert!(rate > 1e-6 && rate < 1.0, "{rate:e} of {:?}", found.points);
    assert_eq!(bits(learn.model()), before);
    assert_eq!(hardpan_engine::rng_state(), rng);
    assert_eq!(*learn.history(), history);
    let after = learn.optimizer().state_dict();
    let values = |s: &hardpan_nn::StateDict| -> Vec<(String, Vec<f64>)> {
        s.iter().map(|(k, t)| (k.to_owned(), t.to_vec::<f64>())).collect()
    };
    assert_eq!(values(&after), values(&state));
    assert_eq!(learn.optimizer().lr(), 0.001);
    // The rates rise to where the loss explodes.
    assert!(found.points.windows(2).all(|w| w[0].0 < w[1].0));
}

#[test]
fn early_stopping_and_the_best_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("best.hardpan");
    let csv = dir.path().join("log.csv");
    // Rates that get too high after the third epoch, so the model gets worse.
    struct Worse;
    impl<T: Task> Callback<T> for Worse {
        fn before_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
            ctx.opt.set_hyper(Hyper::Lr, if ctx.epoch < 3 { 0.05 } else { -0.05 });
            Flow::Continue
        }
    }
    let mut learn = line_learner(32, 8)
        .opt(SGD::new(0.05))
        .callback(Worse)
        .callback(EarlyStopping::new("valid_loss", 2))
        .callback(SaveModel::new("valid_loss", &path))
        .callback(CsvLogger::new(&csv));
    learn.fit_with(20, vec![]).unwrap();
    let epochs = learn.history().epochs.clone();
    assert_eq!(epochs.len(), 5, "3 good ones and 2 of patience");
    // The best weights are back.
    let best = epochs.iter().map(|e| e.valid_loss.unwrap()).fold(f64::INFINITY, f64::min);
    assert_eq!(best, epochs[2].valid_loss.unwrap());
    assert_eq!(learn.validate().unwrap().valid_loss, Some(best));
    let log = std::fs::read_to_string(csv).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[0], "epoch,train_loss,valid_loss,seconds");
    assert!(lines.len() == 6 && lines[3].starts_with("2,"), "{log}");
    // A column that is not there is an error that lists those that are.
    let e = line_learner(8, 4).callback(EarlyStopping::new("acuracy", 1)).fit(1, 0.1).unwrap_err();
    assert!(
        e.to_string().contains("no column `acuracy`; there are [\"train_loss\", \"valid_loss\"]")
    );
}

#[test]
fn freezing_and_groups() {
    let mut learn =
        line_learner(8, 4).groups(|m: &Linear| vec![vec![m.weight.clone()], vec![m.bias.clone()]]);
    learn.freeze();
    let before = learn.model().weight.value().to_vec::<f32>();
    learn.fit(1, 0.1).unwrap();
    assert_eq!(learn.model().weight.value().to_vec::<f32>(), before);
    assert_ne!(learn.model().bias.value().to_vec::<f32>(), [0.0]);
    learn.unfreeze();
    learn.fit(1, 0.1).unwrap();
    assert_ne!(learn.model().weight.value().to_vec::<f32>(), before);
    learn.fine_tune(2, 0.01).unwrap();
    let lrs = learn.optimizer().hypers(Hyper::Lr);
    assert!((lrs[1] / lrs[0] - 100.0).abs() < 1e-6, "{lrs:?}");
}

#[test]
fn saving_and_loading_gives_the_same_predictions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("line.hardpan");
    let mut learn = line_learner(16, 4);
    learn.fit(2, 0.1).unwrap();
    learn.save(&path).unwrap();
    let x = tensor(9, &[5, 3]);
    let want = learn.predict(&x).to_vec::<f32>();
    let mut other = line_learner(16, 4);
    assert_ne!(other.predict(&x).to_vec::<f32>(), want);
    other.load(&path).unwrap();
    assert_eq!(other.predict(&x).to_vec::<f32>(), want);
    assert!(!other.predict(&x).is_requires_grad());
    // Weights of another model are refused, and change nothing.
    let mut wide = Learner::new(line_loaders(8, 4), Linear::new(1, 3, 2), mse).silent();
    let before = bits(wide.model());
    let e = wide.load(&path).unwrap_err().to_string();
    assert!(e.contains("weight: [3, 2] in the model, [3, 1]"), "{e}");
    assert_eq!(bits(wide.model()), before);
}

#[test]
fn training_leaves_nothing_behind() {
    let mut learn = line_learner(64, 4);
    let count = |learn: &mut Learner<Linear>| {
        learn.fit(2, 0.01).unwrap();
        flush_all();
        live_nodes_here()
    };
    let first = count(&mut learn);
    let mut last = 0;
    for _ in 0..5 {
        last = count(&mut learn);
    }
    assert!(last <= first + 64, "{first} nodes, then {last}");
}

/// Other tests run beside this one, so the smallest of some looks counts.
fn live_nodes_here() -> usize {
    (0..20)
        .map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(2));
            live_nodes()
        })
        .min()
        .unwrap()
}

/// Weight and bias in groups of their own.
fn grouped() -> Learner<Linear> {
    line_learner(8, 4).groups(|m: &Linear| vec![vec![m.weight.clone()], vec![m.bias.clone()]])
}

/// Learning rates of both groups before each step.
#[derive(Clone, Default)]
struct GroupRates(Arc<Mutex<Vec<HyperOfGroups>>>, Option<Hyper>);

type HyperOfGroups = (Hyper, Vec<f64>);

impl<T: Task> Callback<T> for GroupRates {
    fn order(&self) -> i32 {
        100
    }
    fn before_step(&mut self, ctx: &mut Context<T>) -> Flow {
        let hyper = self.1.unwrap_or(Hyper::Lr);
        self.0.lock().unwrap().push((hyper, ctx.opt.hypers(hyper)));
        Flow::Continue
    }
}

#[test]
fn rates_of_groups() {
    let seen = GroupRates::default();
    let rates = || std::mem::take(&mut *seen.0.lock().unwrap());
    let mut learn = grouped().callback(seen.clone());
    learn.fit(1, (0.001, 0.1)).unwrap();
    assert!(rates().iter().all(|(_, r)| *r == [0.001, 0.1]));
    learn.fit(1, ..0.1).unwrap();
    assert!(rates().iter().all(|(_, r)| (r[0] - 0.01).abs() < 1e-15 && r[1] == 0.1));
    learn.fit(1, [0.3, 0.2]).unwrap();
    assert!(rates().iter().all(|(_, r)| *r == [0.3, 0.2]));
    // One cycle: each group has its own highest rate.
    learn.fit_one_cycle(4, (0.001, 0.1)).unwrap();
    let all = rates();
    assert_eq!(all.len(), 8);
    assert!((all[2].1[0] - 0.001).abs() < 1e-12 && (all[2].1[1] - 0.1).abs() < 1e-12, "{all:?}");
    assert!(all.iter().all(|(_, r)| (r[1] / r[0] - 100.0).abs() < 1e-6));
    // Flat, then a cosine from three quarters on.
    learn.fit_flat_cos(4, 0.1).unwrap();
    let flat: Vec<f64> = rates().iter().map(|(_, r)| r[1]).collect();
    assert!(flat[..7].iter().all(|r| *r == 0.1) && flat[7] < 0.1, "{flat:?}");
    // Warm restarts: 1, 2 and 4 epochs of 2 steps each.
    learn.fit_sgdr(3, 1, 0.1).unwrap();
    let sgdr: Vec<f64> = rates().iter().map(|(_, r)| r[1]).collect();
    assert_eq!(sgdr.len(), 14);
    let highest: Vec<usize> = (0..14).filter(|&i| (sgdr[i] - 0.1).abs() < 1e-9).collect();
    assert_eq!(highest, [0, 2, 6], "{sgdr:?}");
    assert_eq!(learn.history().epochs.len(), 7);
}

#[test]
fn fine_tuning_is_fastai_s() {
    let seen = GroupRates::default();
    let mut learn = grouped().callback(seen.clone());
    let before = learn.model().weight.value().to_vec::<f32>();
    learn.fine_tune(5, 0.02).unwrap();
    let all = std::mem::take(&mut *seen.0.lock().unwrap());
    assert_eq!(all.len(), 2 + 10);
    // The frozen stage begins at `slice(lr)` over 25; the second at a fifth of (lr / 200, lr / 2).
    assert!(
        (all[0].1[0] - 0.002 / 25.0).abs() < 1e-12 && (all[0].1[1] - 0.02 / 25.0).abs() < 1e-12
    );
    assert!((all[2].1[0] - 0.0001 / 5.0).abs() < 1e-12 && (all[2].1[1] - 0.01 / 5.0).abs() < 1e-12);
    // 30 % of 10 steps.
    assert!((all[5].1[1] - 0.01).abs() < 1e-9, "{all:?}");
    assert_ne!(learn.model().weight.value().to_vec::<f32>(), before);
    // Only the head is trained in the frozen stage.
    let mut learn = grouped();
    let settings = FineTune { freeze_epochs: 3, ..FineTune::default() };
    learn.fine_tune_with(0, settings).unwrap();
    assert_eq!(learn.model().weight.value().to_vec::<f32>(), before);
    assert_ne!(learn.model().bias.value().to_vec::<f32>(), [0.0]);
    assert!(learn.model().parameters().iter().all(|p| !p.is_frozen()));
}

#[test]
fn any_hyper_of_any_group_has_a_schedule() {
    let wd = GroupRates(Default::default(), Some(Hyper::Wd));
    let scheduler = ParamScheduler::new()
        .set(Hyper::Wd, Anneal::Linear.from_to(0.0, 1.0))
        .set_group(Hyper::Wd, 1, Anneal::No.from_to(0.25, 0.0));
    let mut learn = grouped().callback(wd.clone());
    learn.fit_with(2, vec![Box::new(scheduler)]).unwrap();
    let all: Vec<Vec<f64>> = wd.0.lock().unwrap().iter().map(|(_, v)| v.clone()).collect();
    assert_eq!(all, [[0.0, 0.25], [0.25, 0.25], [0.5, 0.25], [0.75, 0.25]]);
}

#[test]
#[should_panic(
    expected = "3 learning rates for 2 parameter groups: [0.1, 0.2, 0.3]; give one for each group"
)]
fn rates_must_fit_the_groups() {
    let _ = grouped().fit(1, [0.1, 0.2, 0.3]);
}

#[test]
fn metrics_of_training_batches() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("log.csv");
    let mae = || Mean::new("mae", |p: &Tensor, y: &Tensor| (p - y).abs().mean(..));
    let mut learn =
        line_learner(24, 4).metric(mae()).train_metrics().callback(CsvLogger::new(&csv));
    // At rate 0 nothing changes, so both see the same model.
    learn.fit(1, 0.0).unwrap();
    let record = learn.history().epochs[0].clone();
    let train = learn.context().loaders.train.clone();
    let (pred, y) = learn.get_preds(&train).unwrap();
    let want = (pred - y).abs().mean(..).item::<f64>();
    assert!((record.get("train_mae").unwrap() - want).abs() < 1e-6, "{record:?} {want}");
    assert_eq!(record.get("mae"), learn.validate().unwrap().get("mae"));
    let log = std::fs::read_to_string(csv).unwrap();
    assert!(log.starts_with("epoch,train_loss,train_mae,valid_loss,mae,seconds\n"), "{log}");
}

#[test]
fn the_history_has_every_batch() {
    let mut learn = line_learner(16, 4).opt(SGD::new(0.1).momentum(0.9));
    learn.fit_one_cycle(3, 0.1).unwrap();
    let h = learn.history();
    let lengths = [h.losses.len(), h.raw_losses.len(), h.lrs.len(), h.moms.len()];
    assert_eq!(lengths, [12; 4]);
    assert_eq!(h.epochs.iter().map(|e| e.steps).collect::<Vec<_>>(), [4, 8, 12]);
    assert!((h.moms[0] - 0.95).abs() < 1e-12 && (h.moms[3] - 0.85).abs() < 1e-12);
}
