//! All callbacks at once: nothing is left behind in ten thousand batches, and a run that was interrupted ends as one that was not.
//! Alone in its program, because the counters are the process's.

mod support;

use hardpan_engine::functional::cross_entropy;
use hardpan_engine::{Tensor, flush_all, live_bytes, live_nodes, manual_seed, plan_stats};
use hardpan_learn::callback::{
    BnFreeze, Callback, Checkpoint, CsvLogger, CutMix, EarlyStopping, Ema, FetchPreds, Flow,
    GradientAccumulation, GradientClip, GradientClipValue, LabelSmoothing, LrScheduler, McDropout,
    MixUp, MixedPrecision, ModelResetter, ParamScheduler, Progress, ReduceLrOnPlateau,
    RnnRegularizer, SaveModel, ShortEpoch, ShowGraph, SkipToEpoch, SlowWeights, Swa, TensorBoard,
    on_output,
};
use hardpan_learn::data::{DataLoader, DataLoaders, TensorDataset};
use hardpan_learn::insight::ActivationStats;
use hardpan_learn::learner::{Context, FitError, Learner, Task};
use hardpan_learn::metric::{Mean, accuracy};
use hardpan_learn::progress::Live;
use hardpan_learn::schedule::Anneal;
use hardpan_nn::optim::scheduler::StepLR;
use hardpan_nn::optim::{Adam, Hyper};
use hardpan_nn::{BatchNorm1d, Dropout, Forward, Linear, ReLU, Sequential, seq};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use support::bits;

static TURN: Mutex<()> = Mutex::new(());

fn data(n: usize) -> TensorDataset<Tensor, Tensor> {
    let x = support::tensor(5, &[n, 2]);
    let y = x.sum(1).gt(0.0).to_dtype(hardpan_engine::DType::I64);
    TensorDataset::new(x, y.eval().clone()).unwrap()
}

/// With every callback that can be used together with the others.
fn learner(items: usize, dir: &Path) -> Learner<Sequential> {
    let train = DataLoader::new(data(items), 4).unwrap().shuffle(7).map(|x: Tensor, y| {
        let noise = Tensor::rand(x.shape()) * 0.1;
        (x + noise, y)
    });
    let valid = DataLoader::new(data(24), 8).unwrap();
    let watched = valid.clone();
    let model =
        seq![Linear::new(2, 8), BatchNorm1d::new(8), ReLU, Dropout::new(0.1), Linear::new(8, 2)];
    let mut learn = Learner::new(DataLoaders::new(train, valid), model, cross_entropy)
        .opt(Adam::fastai(1e-3))
        .groups(|m: &Sequential| {
            let p = hardpan_nn::Module::parameters(m);
            vec![p[..4].to_vec(), p[4..].to_vec()]
        })
        .metric(Mean::new("accuracy", accuracy))
        .item_losses(|p: &Tensor, y: &Tensor| {
            -p.log_softmax(1).gather(1, &y.unsqueeze(1)).squeeze(1)
        })
        .silent();
    learn.add_callback(Progress::new(|columns, epochs| {
        Live::new(
            columns.to_vec(),
            epochs,
            Some(Box::new(std::io::sink())),
            Some(Box::new(std::io::sink())),
        )
    }));
    learn.add_callback(MixUp::default());
    learn.add_callback(LabelSmoothing::default());
    learn.add_callback(MixedPrecision::f16());
    learn.add_callback(GradientClip::new(1.0));
    learn.add_callback(GradientAccumulation::new(8));
    learn.add_callback(ModelResetter);
    learn.add_callback(BnFreeze);
    learn.add_callback(McDropout);
    learn.add_callback(TensorBoard::new(dir.join("events")).every(50));
    learn.add_callback(CsvLogger::new(dir.join("log.csv")));
    learn.add_callback(SaveModel::new("valid_loss", dir.join("best.hardpan")));
    learn.add_callback(EarlyStopping::new("valid_loss", 1000));
    learn.add_callback(ReduceLrOnPlateau::new("valid_loss", 1).factor(1.5));
    learn.add_callback(LrScheduler::per_step(|opt| StepLR::new(opt, 9, 0.98)));
    learn.add_callback(ParamScheduler::new().set(Hyper::Mom, Anneal::Cosine.from_to(0.8, 0.95)));
    learn.add_callback(SlowWeights::every(3));
    learn.add_callback(Ema::new(0.9));
    learn.add_callback(Swa::new(0.5));
    learn.add_callback(FetchPreds::new(watched, |_, _, _| {}));
    learn.add_callback(ShowGraph::to(Box::new(std::io::sink()), 60));
    learn
}

#[test]
fn ten_thousand_batches_leave_nothing_behind() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    // 500 batches an epoch.
    let mut learn = learner(2000, dir.path()).callback(
        Checkpoint::new(dir.path().join("run.checkpoint")).every(Duration::from_secs(3600)),
    );
    learn.fit(2, 0.01).unwrap();
    flush_all();
    let (plans, nodes, bytes) = (plan_stats(), live_nodes(), live_bytes());
    learn.fit(20, 0.01).unwrap();
    flush_all();
    let after = plan_stats();
    assert!(after.misses - plans.misses <= 8, "{} new plans", after.misses - plans.misses);
    assert!(live_nodes() <= nodes + 64, "{nodes} nodes before, {} after", live_nodes());
    assert!(live_bytes() <= bytes + 65_536, "{bytes} bytes before, {} after", live_bytes());
    assert_eq!(learn.history().raw_losses.len(), 10_000);
}

/// A model of pictures that also gives its states, so that the callbacks which the other set has no use for have theirs.
#[derive(hardpan_nn::Module)]
struct Pictures {
    body: Sequential,
    head: Linear,
}

impl Forward for Pictures {
    type Output = (Tensor, Tensor, Tensor);
    fn forward(&self, x: &Tensor) -> Self::Output {
        // [N, 8]
        let features = self.body.forward(x);
        let states = features.reshape([features.size(0), 2, 4]);
        (self.head.forward(&features), states.clone(), states)
    }
}

/// The callbacks that change what a batch or an epoch is, and a loader with workers.
#[test]
fn nothing_is_left_behind_by_the_others_either() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let stats = ActivationStats::new().every(8);
    let pictures = |n: usize| {
        let x = support::tensor(6, &[n, 1, 4, 4]);
        let y = x.sum([1, 2, 3]).gt(0.0).to_dtype(hardpan_engine::DType::I64);
        TensorDataset::new(x, y.eval().clone()).unwrap()
    };
    // 600 batches an epoch, of which a half is trained on.
    let train = DataLoader::new(pictures(2400), 4).unwrap().shuffle(7).workers(2);
    let valid = DataLoader::new(pictures(24), 8).unwrap().workers(1);
    let model = Pictures {
        body: seq![hardpan_nn::Flatten::new(), Linear::new(16, 8), ReLU],
        head: Linear::new(8, 2),
    };
    let mut learn =
        Learner::new(DataLoaders::new(train, valid), model, on_output(cross_entropy)).silent();
    learn.add_callback(CutMix::default());
    learn.add_callback(stats.clone());
    learn.add_callback(GradientClipValue(0.1));
    learn.add_callback(RnnRegularizer::new(0.1, 0.1));
    learn.add_callback(ShortEpoch::new(0.5));
    learn.add_callback(SkipToEpoch(1));
    learn.fit(3, 0.01).unwrap();
    flush_all();
    let (plans, nodes, bytes) = (plan_stats(), live_nodes(), live_bytes());
    learn.fit(35, 0.01).unwrap();
    flush_all();
    let after = plan_stats();
    // A rectangle that is cut to nothing, or to everything, is a plan of its own, or not; its place is not.
    assert!(after.misses - plans.misses <= 24, "{} new plans", after.misses - plans.misses);
    assert!(live_nodes() <= nodes + 64, "{nodes} nodes before, {} after", live_nodes());
    assert!(live_bytes() <= bytes + 65_536, "{bytes} bytes before, {} after", live_bytes());
    assert_eq!(learn.history().raw_losses.len(), 34 * 300);
    assert_eq!(stats.layers()[0].means.len(), 34 * 300usize.div_ceil(8));
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

fn outcome(learn: &Learner<Sequential>) -> (Vec<u32>, Vec<u64>, Vec<u64>) {
    let history = learn.history();
    let epochs = history.epochs.iter();
    let numbers = epochs.flat_map(|e| [e.train_loss, e.valid_loss, e.get("accuracy"), Some(e.lr)]);
    let to_bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let numbers: Vec<f64> = numbers.map(|v| v.unwrap()).collect();
    (bits(learn.model()), to_bits(&numbers), to_bits(&history.raw_losses))
}

#[test]
fn interrupted_anywhere_it_ends_the_same() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.checkpoint");
    let start = || {
        manual_seed(5);
        learner(26, dir.path())
    };
    // The same seed, the same bits.
    let mut whole = start();
    whole.fit(5, 0.02).unwrap();
    let want = outcome(&whole);
    let mut again = start();
    again.fit(5, 0.02).unwrap();
    assert_eq!(outcome(&again), want);
    // 7 batches an epoch, so accumulation goes across the ends of epochs; written after every third batch.
    let checkpoint = || Checkpoint::new(&file).every(Duration::from_secs(3600)).every_steps(3);
    for kills in [&[2usize][..], &[8], &[14], &[20, 26], &[31]] {
        let mut learn = start().callback(checkpoint());
        for &at in kills {
            learn.add_callback(Kill(at));
            let e = learn.fit(5, 0.02).unwrap_err();
            assert!(e.to_string().contains("killed"), "{e}");
            manual_seed(99);
            learn = learner(26, dir.path()).callback(checkpoint());
            learn.resume(&file).unwrap();
        }
        learn.fit(5, 0.02).unwrap();
        assert_eq!(outcome(&learn), want, "killed after {kills:?}");
    }
}

#[test]
fn both_stages_of_fine_tuning_go_on() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.checkpoint");
    let start = || {
        manual_seed(5);
        learner(26, dir.path())
    };
    let settings = hardpan_learn::learner::FineTune { freeze_epochs: 2, ..Default::default() };
    let mut whole = start();
    whole.fine_tune_with(3, settings.clone()).unwrap();
    let want = outcome(&whole);

    struct KillStage(usize, usize);
    impl<T: Task> Callback<T> for KillStage {
        fn order(&self) -> i32 {
            1000
        }
        fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
            if ctx.training && ctx.epochs == self.0 && ctx.train_iter == self.1 {
                return Flow::Fail(FitError::Callback {
                    callback: "Kill".into(),
                    source: "killed".into(),
                });
            }
            Flow::Continue
        }
    }
    // In the frozen stage (2 epochs), at the very beginning of the second one (3 epochs), and later in it.
    for (epochs, step) in [(2, 5), (2, 13), (3, 1), (3, 10)] {
        let mut learn = start()
            .callback(Checkpoint::new(&file).every(Duration::from_secs(3600)).every_steps(2))
            .callback(KillStage(epochs, step));
        learn.fine_tune_with(3, settings.clone()).unwrap_err();
        manual_seed(99);
        let mut learn = learner(26, dir.path());
        learn.resume(&file).unwrap();
        learn.fine_tune_with(3, settings.clone()).unwrap();
        assert_eq!(outcome(&learn), want, "killed at step {step} of the stage of {epochs} epochs");
    }
}
