//! What a pass is like: `ShortEpoch`, `SkipToEpoch`, `BnFreeze`, `McDropout`, and the rate finder with callbacks.

use super::*;
use hardpan_engine::manual_seed;
use hardpan_learn::callback::{
    BnFreeze, Gather, GradientClip, McDropout, ParamScheduler, SaveModel, ShortEpoch, SkipToEpoch,
};
use hardpan_learn::schedule::Anneal;
use hardpan_nn::optim::Hyper;
use hardpan_nn::{BatchNorm1d, Dropout, Module, Sequential, seq};
use std::sync::Arc;

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
        let count = At(Event::AfterPred, 0, move |ctx: &mut Ctx| {
            *into.lock().unwrap() += usize::from(!ctx.training);
        });
        line_learner(80, 4).callback(short).callback(count).fit(1, 0.1).unwrap();
        *seen.lock().unwrap()
    };
    assert_eq!(batches(ShortEpoch::new(0.25)), 3, "of 10");
    assert_eq!(batches(ShortEpoch::new(0.25).whole_validations()), 10);

    // The schedule of skipped epochs is skipped with them.
    let mut learn = line_learner(16, 4);
    let schedule = ParamScheduler::new().set(Hyper::Lr, Anneal::Linear.from_to(0.0, 1.6));
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
fn lr_find_sees_what_changes_training_only() {
    let mut learn = line_learner(256, 8).callback(GradientClip::new(0.1));
    let count = Arc::new(Mutex::new(0));
    let writes = count.clone();
    learn.add_callback(At(Event::AfterStep, 0, move |_: &mut Ctx| {
        *writes.lock().unwrap() += 1;
    }));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("best.hardpan");
    learn.add_callback(SaveModel::new("train_loss", &path));
    learn.lr_find().unwrap();
    assert!(*count.lock().unwrap() > 50, "a callback of one's own takes part");
    assert!(!path.exists(), "one that saves does not");
}
