//! When something breaks: what is said, and what is left.

mod support;

use hardpan_engine::{Tensor, manual_seed};
use hardpan_learn::callback::{Callback, Checkpoint, Event, Flow, GradientAccumulation};
use hardpan_learn::data::{DataError, DataLoader, DataLoaders, Dataset, TensorDataset};
use hardpan_learn::learner::{Context, FitError, Learner, Task};
use hardpan_nn::optim::SGD;
use hardpan_nn::{BatchNorm1d, Forward, Module};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::*;

/// The random generator is one for the process, so these tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A line behind a batch norm, whose running statistics must not see a batch twice.
#[derive(Module)]
struct Normed {
    norm: BatchNorm1d,
    line: Linear,
    fuse: Fuse,
}

/// Panics in the `n`th forward pass of a training, if there is an `n`.
#[derive(Clone, Default)]
struct Fuse(Arc<AtomicUsize>);

impl hardpan_nn::Visit for Fuse {
    fn visit(&self, _: &mut dyn hardpan_nn::Visitor) {}
}

impl Fuse {
    fn burn(&self) {
        if self.0.load(SeqCst) > 0 && self.0.fetch_sub(1, SeqCst) == 1 {
            panic!("the fuse has blown");
        }
    }
}

impl Forward for Normed {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.line.forward(&self.norm.forward(x));
        self.fuse.burn();
        y
    }
}

/// Random numbers in each batch, an optimizer with memory, running statistics; and a loader that panics when its fuse says so.
fn learner(file: Option<&Path>, fuse: &Fuse) -> Learner<Normed> {
    let in_loader = fuse.clone();
    let train =
        DataLoader::new(line_data(1, 26), 4).unwrap().shuffle(7).map(move |x: Tensor, y| {
            let x = &x + Tensor::rand(x.shape()) * 0.1;
            in_loader.burn();
            (x, y)
        });
    let valid = DataLoader::new(line_data(2, 8), 4).unwrap();
    let model =
        Normed { norm: BatchNorm1d::new(3), line: Linear::new(3, 3, 1), fuse: Fuse::default() };
    let mut learn = Learner::new(DataLoaders::new(train, valid), model, mse).silent();
    if let Some(file) = file {
        learn.add_callback(Checkpoint::new(file).every(Duration::from_secs(3600)));
    }
    learn
}

/// Panics at this event of this batch.
struct Boom(Event, usize);

impl<T: Task> Callback<T> for Boom {
    fn order(&self) -> i32 {
        75
    }
    fn on(&mut self, event: Event, ctx: &mut Context<T>) -> Flow {
        let now = ctx.train_iter == self.1 && (ctx.training || event == Event::BeforeValidate);
        assert!(!(event == self.0 && now), "boom at {event}");
        Flow::Continue
    }
}

fn outcome(learn: &Learner<Normed>) -> (Vec<u32>, Vec<u64>) {
    let losses = learn.history().epochs.iter().flat_map(|e| [e.train_loss, e.valid_loss]);
    (bits(learn.model()), losses.map(|v| v.unwrap().to_bits()).collect())
}

fn whole() -> (Vec<u32>, Vec<u64>) {
    manual_seed(5);
    let mut learn = learner(None, &Fuse::default());
    learn.fit_one_cycle(3, 0.05).unwrap();
    outcome(&learn)
}

/// What the run that broke comes to when it is taken up again.
fn resumed(file: &Path) -> (Vec<u32>, Vec<u64>) {
    manual_seed(99);
    let mut learn = learner(None, &Fuse::default());
    learn.resume(file).unwrap();
    learn.fit_one_cycle(3, 0.05).unwrap();
    outcome(&learn)
}

#[test]
fn a_callback_that_panics_ends_the_run_with_its_message_and_the_checkpoint_saved() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let want = whole();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.checkpoint");
    // 7 batches an epoch.
    for (event, step) in [
        (Event::BeforeBatch, 3),
        (Event::AfterPred, 9),
        (Event::AfterLoss, 0),
        (Event::AfterBackward, 9),
        (Event::BeforeStep, 13),
        (Event::BeforeValidate, 14),
    ] {
        manual_seed(5);
        let mut learn = learner(Some(&file), &Fuse::default()).callback(Boom(event, step));
        let e = learn.fit_one_cycle(3, 0.05).unwrap_err();
        let text = e.to_string();
        let epoch = (step - usize::from(event == Event::BeforeValidate)) / 7;
        let place = format!("the callback Boom panicked at {event} (epoch {epoch}, batch ");
        assert!(text.starts_with(&place), "{text}");
        assert!(text.ends_with(&format!("boom at {event}")), "{text}");
        assert!(matches!(e, FitError::Panicked { .. }));
        assert_eq!(resumed(&file), want, "{event} of step {step}");
        // The learner is not broken: it can be trained.
        learn.remove_callbacks("Boom");
        learn.fit(1, 0.01).unwrap();
    }
}

#[test]
fn after_the_step_the_batch_counts() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let want = whole();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.checkpoint");
    for event in [Event::AfterStep, Event::AfterBatch] {
        manual_seed(5);
        let at = if event == Event::AfterStep { 9 } else { 10 };
        let mut learn = learner(Some(&file), &Fuse::default()).callback(Boom(event, at));
        learn.fit_one_cycle(3, 0.05).unwrap_err();
        let got = resumed(&file);
        assert_eq!(got.0, want.0, "the same weights after {event}");
    }
}

#[test]
fn a_loader_that_panics_ends_the_run_likewise() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let want = whole();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.checkpoint");
    manual_seed(5);
    let fuse = Fuse::default();
    let mut learn = learner(Some(&file), &fuse);
    // `fit` reads nothing before its first batch.
    fuse.0.store(10, SeqCst);
    let text = learn.fit_one_cycle(3, 0.05).unwrap_err().to_string();
    assert_eq!(
        text,
        "the data loader panicked at before_batch (epoch 1, batch 2): the fuse has blown"
    );
    assert_eq!(resumed(&file), want);
}

/// A line that learns from these batches; with a checkpoint where something may break.
fn learner_of(loader: DataLoader<Tensor, Tensor>, checkpoint: Option<&Path>) -> Learner<Linear> {
    let loaders = DataLoaders::train_only(loader.shuffle(7));
    let mut learn = Learner::new(loaders, Linear::new(3, 3, 1), mse).silent();
    if let Some(file) = checkpoint {
        learn.add_callback(Checkpoint::new(file).every(Duration::from_secs(3600)));
    }
    learn
}

#[test]
fn a_worker_that_panics_ends_the_run_with_its_message_and_the_checkpoint_saved() {
    struct Cursed(TensorDataset<Tensor, Tensor>, Arc<AtomicUsize>);
    impl Dataset<Tensor, Tensor> for Cursed {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn batch(&self, items: &[usize]) -> Result<(Tensor, Tensor), DataError> {
            // In whichever thread makes this batch.
            assert!(self.1.fetch_sub(1, SeqCst) != 1, "item {} is cursed", items[0]);
            self.0.batch(items)
        }
    }
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.checkpoint");
    let make = |fuse: usize, checkpoint: bool| {
        let data = Cursed(line_data(1, 24), Arc::new(AtomicUsize::new(fuse)));
        learner_of(
            DataLoader::new(data, 4).unwrap().workers(2),
            checkpoint.then_some(file.as_path()),
        )
    };
    let mut whole = make(0, false);
    whole.fit(3, 0.1).unwrap();
    // Six batches an epoch: the eleventh that is made belongs to the second epoch.
    let mut broken = make(11, true);
    let text = broken.fit(3, 0.1).unwrap_err().to_string();
    assert!(text.contains("is cursed"), "{text}");
    let done = broken.history().epochs.len();
    assert!(done >= 1, "the first epoch was over");
    let mut learn = make(0, false);
    learn.resume(&file).unwrap();
    learn.fit(3, 0.1).unwrap();
    assert_eq!(bits(learn.model()), bits(whole.model()), "it goes on as if nothing had been");
}

#[test]
fn data_that_cannot_be_read_leaves_a_checkpoint_too() {
    struct Broken(TensorDataset<Tensor, Tensor>, Arc<AtomicUsize>);
    impl Dataset<Tensor, Tensor> for Broken {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn batch(&self, items: &[usize]) -> Result<(Tensor, Tensor), DataError> {
            if self.1.fetch_sub(1, SeqCst) == 1 {
                return Err(DataError::Item { index: items[0], source: "the cable is out".into() });
            }
            self.0.batch(items)
        }
    }
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.checkpoint");
    let make = |fuse: usize, checkpoint: bool| {
        let data = Broken(line_data(1, 24), Arc::new(AtomicUsize::new(fuse)));
        learner_of(DataLoader::new(data, 4).unwrap(), checkpoint.then_some(file.as_path()))
    };
    let mut whole = make(0, false);
    whole.fit(2, 0.1).unwrap();
    let mut broken = make(9, true);
    let text = broken.fit(2, 0.1).unwrap_err().to_string();
    assert!(text.contains("the cable is out"), "{text}");
    let mut learn = make(0, false);
    learn.resume(&file).unwrap();
    learn.fit(2, 0.1).unwrap();
    assert_eq!(bits(learn.model()), bits(whole.model()));
}

#[test]
fn a_model_that_panics_is_not_hidden() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let want = whole();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.checkpoint");
    manual_seed(5);
    let mut learn = learner(Some(&file), &Fuse::default());
    learn.model().fuse.0.store(4, SeqCst);
    let callbacks = learn.show_training_loop();
    let panic = catch_unwind(AssertUnwindSafe(|| learn.fit_one_cycle(3, 0.05))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the fuse has blown"));
    assert_eq!(learn.show_training_loop(), callbacks, "callbacks of the fit are gone");
    assert_eq!(resumed(&file), want);
}

#[test]
fn part_of_an_accumulated_batch_leaves_the_file_as_it_was() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.checkpoint");
    let make = || learner(None, &Fuse::default()).callback(GradientAccumulation::new(12));
    manual_seed(5);
    let mut whole = make();
    whole.fit_one_cycle(3, 0.05).unwrap();
    for (event, step) in [(Event::AfterBackward, 10), (Event::AfterPred, 10)] {
        manual_seed(5);
        let mut learn = make()
            .callback(Checkpoint::new(&file).every(Duration::from_secs(3600)))
            .callback(Boom(event, step));
        learn.fit_one_cycle(3, 0.05).unwrap_err();
        manual_seed(99);
        let mut learn = make();
        learn.resume(&file).unwrap();
        learn.fit_one_cycle(3, 0.05).unwrap();
        assert_eq!(outcome(&learn), outcome(&whole), "{event}");
    }
}

fn message(f: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap()
}

#[test]
fn messages_say_what_was_wrong_and_what_to_do() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    // A loss that is not reduced.
    let text = message(|| {
        let mut learn =
            Learner::new(line_loaders(8, 4), Linear::new(3, 3, 1), |p: &Tensor, y: &Tensor| p - y)
                .silent();
        let _ = learn.fit(1, 0.1);
    });
    assert_eq!(text, "the loss has shape [4, 1], but must be one number: use the mean, .mean(..)");
    // Inputs that do not fit the model: the engine's own words.
    let text = message(|| {
        let mut learn = Learner::new(line_loaders(8, 4), Linear::new(3, 5, 1), mse).silent();
        let _ = learn.fit(1, 0.1);
    });
    assert!(text.contains("[4, 3]") && text.contains("[5, 1]"), "{text}");
    // No validation data.
    let text = message(|| {
        let loader = DataLoader::new(line_data(1, 8), 4).unwrap();
        let mut learn =
            Learner::new(DataLoaders::train_only(loader), Linear::new(3, 3, 1), mse).silent();
        let _ = learn.validate();
    });
    assert!(text.contains("no validation data; use validate_on"), "{text}");
    // A parameter in two groups.
    let text = message(|| {
        let _ = line_learner(8, 4)
            .groups(|m: &Linear| vec![vec![m.weight.clone()], vec![m.weight.clone()]]);
    });
    assert!(text.contains("is there twice"), "{text}");
    // Groups that are not there.
    let text = message(|| line_learner(8, 4).freeze_to(3));
    assert_eq!(text, "freeze_to: 3, but there are 1 groups");
    // What is asked for at the wrong time.
    struct TooEarly;
    impl<T: Task> Callback<T> for TooEarly {
        fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
            let _ = ctx.pred();
            Flow::Continue
        }
    }
    let text = line_learner(8, 4).callback(TooEarly).fit(1, 0.1).unwrap_err().to_string();
    assert!(
        text.contains("TooEarly") && text.contains("there is no prediction at before_fit"),
        "{text}"
    );
    // A loss that is NaN names its place.
    let mut learn = line_learner(64, 1).opt(SGD::new(0.1));
    let text = learn.fit(5, 1000.0).unwrap_err().to_string();
    assert!(text.contains("(epoch 0, batch ") && text.contains("the loss became"), "{text}");
}
