//! A run that is interrupted and taken up again ends with the same bits as one that was not.

mod support;

use hardpan_engine::{Tensor, manual_seed};
use hardpan_learn::callback::{Callback, Checkpoint, EarlyStopping, Flow, GradientAccumulation};
use hardpan_learn::data::{DataLoader, DataLoaders};
use hardpan_learn::learner::{Context, FitError, Learner, Task};
use hardpan_learn::metric::Mean;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::*;

/// The random generator is one for the process, so these tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// With everything that a resumed run has to get right: shuffling, random numbers in each batch, an optimizer with memory,
/// a schedule, a callback with a counter.
fn learner(file: Option<&Path>, steps: usize) -> Learner<Linear> {
    let train = DataLoader::new(line_data(1, 26), 4)
        .unwrap()
        .shuffle(7)
        .map(|x: Tensor, y| (&x + Tensor::rand(x.shape()) * 0.1, y));
    let valid = DataLoader::new(line_data(2, 8), 4).unwrap();
    let mut learn = Learner::new(DataLoaders::new(train, valid), Linear::new(3, 3, 1), mse)
        .metric(Mean::new("mae", |p: &Tensor, y: &Tensor| (p - y).abs().mean(..)))
        .callback(GradientAccumulation::new(8))
        .callback(EarlyStopping::new("valid_loss", 100))
        .silent();
    if let Some(file) = file {
        learn.add_callback(
            Checkpoint::new(file).every(Duration::from_secs(3600)).every_steps(steps),
        );
    }
    learn
}

/// Fails the fit after this many batches: what was not written down is lost, as by a kill.
struct Kill(usize);

impl<T: Task> Callback<T> for Kill {
    fn order(&self) -> i32 {
        1000
    }
    fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        if ctx.training && ctx.train_iter >= self.0 {
            return Flow::Fail(FitError::Callback {
                callback: "Kill".into(),
                source: "killed".into(),
            });
        }
        Flow::Continue
    }
}

fn outcome(learn: &Learner<Linear>) -> (Vec<u32>, Vec<u64>) {
    let history = learn.history();
    let losses = history.epochs.iter().flat_map(|e| [e.train_loss, e.valid_loss, e.get("mae")]);
    (bits(learn.model()), losses.map(|v| v.unwrap().to_bits()).collect())
}

#[test]
fn killed_anywhere_it_ends_the_same() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    manual_seed(5);
    let mut whole = learner(None, 1);
    whole.fit_one_cycle(4, 0.05).unwrap();
    let want = outcome(&whole);
    assert_eq!(want.1.len(), 12);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.checkpoint");
    // 7 batches an epoch. Written after every third, at the start and after epochs; killed in between, on a border, twice.
    for kills in [&[1usize][..], &[5], &[7], &[8], &[20, 26], &[27], &[28]] {
        manual_seed(5);
        let mut learn = learner(Some(&file), 3);
        for &at in kills {
            let e = learn.fit_with(4, vec![one_cycle(), Box::new(Kill(at))]).unwrap_err();
            assert!(e.to_string().contains("killed"), "{e}");
            manual_seed(99);
            learn = learner(Some(&file), 3);
            learn.resume(&file).unwrap();
        }
        learn.fit_one_cycle(4, 0.05).unwrap();
        assert_eq!(outcome(&learn), want, "killed after {kills:?}");
    }
}

fn one_cycle() -> Box<dyn Callback<(Linear, Tensor, Tensor)>> {
    let cycle = hardpan_learn::schedule::OneCycle::default();
    Box::new(hardpan_learn::callback::ParamScheduler::one_cycle(0.05, cycle))
}

#[test]
fn asked_to_stop_it_writes_down_where_it_is() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    manual_seed(5);
    let mut whole = learner(None, 1);
    whole.fit_one_cycle(3, 0.05).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.checkpoint");
    for (validation, at) in [(false, 9), (true, 14)] {
        struct Press(Arc<AtomicBool>, bool, usize);
        impl<T: Task> Callback<T> for Press {
            fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
                if ctx.train_iter == self.2 && ctx.training != self.1 {
                    self.0.store(true, SeqCst);
                }
                Flow::Continue
            }
        }
        let flag = Arc::new(AtomicBool::new(false));
        manual_seed(5);
        let mut learn = learner(None, 1)
            .callback(Checkpoint::new(&file).stop_on(flag.clone()))
            .callback(Press(flag.clone(), validation, at));
        // Stopping is no error.
        learn.fit_one_cycle(3, 0.05).unwrap();
        assert!(flag.load(SeqCst) && learn.history().epochs.len() < 3);
        let mut learn = learner(None, 1);
        learn.resume(&file).unwrap();
        learn.fit_one_cycle(3, 0.05).unwrap();
        assert_eq!(outcome(&learn), outcome(&whole), "in validation: {validation}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.checkpoint");
    let mut learn = learner(Some(&file), 1);
    learn.fit_with(2, vec![Box::new(Kill(3))]).unwrap_err();

    // Another number of batches.
    let mut other = line_learner(8, 4);
    let before = bits(other.model());
    let e = other.resume(&file).unwrap_err().to_string();
    assert!(e.contains("7 batches an epoch, here there are 2"), "{e}");
    // Another model.
    let loaders = DataLoaders::train_only(DataLoader::new(line_data(1, 26), 4).unwrap());
    let mut wide = Learner::new(loaders.clone(), Linear::new(3, 3, 2), mse).silent();
    let wide_before = bits(wide.model());
    let e = wide.resume(&file).unwrap_err().to_string();
    assert!(e.contains("[3, 1]") && e.contains("[3, 2]"), "{e}");
    assert_eq!((bits(other.model()), bits(wide.model())), (before, wide_before));
    // Another number of epochs.
    let mut longer = learner(None, 1);
    longer.resume(&file).unwrap();
    let e = longer.fit_one_cycle(9, 0.05).unwrap_err().to_string();
    assert!(e.contains("had 2 epochs, this one has 9"), "{e}");
    // A finished model.
    let done = dir.path().join("done.hardpan");
    learn.save(&done).unwrap();
    let e = learner(None, 1).resume(&done).unwrap_err().to_string();
    assert!(e.contains("a finished model"), "{e}");
    // Nothing at all.
    let e = learner(None, 1).resume(dir.path().join("no")).unwrap_err().to_string();
    assert!(e.contains("there is no such file"), "{e}");
}

/// A model whose output depends on what it saw in the batch before.
#[derive(hardpan_nn::Module)]
struct Carrying {
    line: Linear,
    hidden: hardpan_nn::State<Option<Tensor>>,
    calls: hardpan_nn::State<usize>,
}

impl hardpan_nn::Forward for Carrying {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        let before = self.hidden.take().unwrap_or_else(|| Tensor::zeros([1, 1]));
        let y = self.line.forward(x) + before * 0.5;
        self.hidden.set(Some(y.detach().mean(..).reshape([1, 1])));
        self.calls.set(self.calls.get() + 1);
        y
    }
}

#[test]
fn what_a_model_carries_goes_on_too() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.checkpoint");
    let make = || {
        let loaders = DataLoaders::train_only(DataLoader::new(line_data(1, 26), 4).unwrap());
        let model = Carrying {
            line: Linear::new(3, 3, 1),
            hidden: Default::default(),
            calls: Default::default(),
        };
        Learner::new(loaders, model, mse).callback(hardpan_learn::callback::ModelResetter).silent()
    };
    let mut whole = make();
    whole.fit(2, 0.05).unwrap();
    for at in [3, 7, 10] {
        let checkpoint = Checkpoint::new(&file).every(Duration::from_secs(3600)).every_steps(1);
        let mut learn = make().callback(checkpoint).callback(Kill(at));
        learn.fit(2, 0.05).unwrap_err();
        let mut learn = make();
        learn.resume(&file).unwrap();
        learn.fit(2, 0.05).unwrap();
        assert_eq!(bits(learn.model()), bits(whole.model()), "killed after {at}");
    }
}
