//! What follows a column of the table: `EarlyStopping`, `SaveModel`, `ReduceLrOnPlateau`.

use super::*;
use hardpan_learn::callback::{EarlyStopping, ReduceLrOnPlateau, SaveModel, SkipToEpoch};
use hardpan_learn::metric::{Better, ValueMetric};
use hardpan_nn::optim::SGD;
use std::sync::Arc;

/// Fits whose table says these validation losses, whatever was trained.
fn told(losses: &'static [f64]) -> Learner<Linear> {
    line_learner(8, 4).opt(SGD::new(0.1)).callback(At(
        Event::AfterEpoch,
        55,
        move |ctx: &mut Ctx| {
            let loss = losses[ctx.epoch];
            // An epoch that was left out has none.
            let said = &mut ctx.history.epochs.last_mut().unwrap().valid_loss;
            *said = said.map(|_| loss);
        },
    ))
}

#[test]
fn plateaus_bring_the_rate_down() {
    // The validation loss cannot fall, because nothing is learned.
    let frozen = || line_learner(8, 4).opt(SGD::new(0.1));
    let mut learn =
        frozen().callback(ReduceLrOnPlateau::new("train_loss", 2).factor(4.0).min_lr(0.005));
    let stuck = At(Event::BeforeStep, 0, |ctx: &mut Ctx| {
        ctx.opt.zero_grad();
    });
    learn.add_callback(stuck);
    learn.add_callback(At(Event::AfterEpoch, 55, |ctx: &mut Ctx| {
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
        let mut learn =
            line_learner(8, 4).opt(SGD::new(0.1)).metric(ValueMetric::new(name, || Some(1.0)));
        learn.add_callback(At(Event::AfterEpoch, 55, move |ctx: &mut Ctx| {
            let epoch = ctx.epoch as f64;
            ctx.history.epochs.last_mut().unwrap().metrics[0].1 = Some(10.0 - epoch);
        }));
        learn.add_callback(plateau);
        learn.fit(3, 0.1).unwrap();
        learn.history().epochs.last().unwrap().lr
    };
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
    learn.add_callback(At(Event::AfterEpoch, 0, move |ctx: &mut Ctx| {
        into.lock().unwrap().push(bits(&ctx.model));
    }));
    learn.fit(2, 0.1).unwrap();
    assert_eq!(bits(learn.model()), after_first.lock().unwrap()[0], "0.3 is not better by 0.5");
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
    let mut learn = line_learner(32, 8)
        .opt(SGD::new(0.01))
        .callback(EarlyStopping::new("valid_loss", 2).better(Better::Higher));
    learn.fit(10, 0.01).unwrap();
    assert_eq!(learn.history().epochs.len(), 3, "a falling loss is no improvement then");
}
