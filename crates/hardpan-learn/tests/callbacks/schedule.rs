//! Schedules of rates in a fit, ours and PyTorch's.

use super::*;
use hardpan_learn::callback::{LrScheduler, ParamScheduler};
use hardpan_nn::optim::SGD;
use hardpan_nn::optim::scheduler::{
    CosineAnnealingWarmRestarts, OneCycleLR, ReduceLROnPlateau, StepLR, ThresholdMode,
};

#[test]
fn a_warm_up_and_a_cosine() {
    let _turn = turn();
    let mut learn = line_learner(40, 4).opt(SGD::new(0.1));
    let schedule = ParamScheduler::warm_up_cosine(0.2, 0.25);
    learn.fit_with(2, vec![Box::new(schedule)]).unwrap();
    let rates = lrs(&learn);
    // 20 steps: up in a straight line in the first five, then down to (almost) nothing.
    assert!((rates[0] - 2e-4).abs() < 1e-9 && (rates[5] - 0.2).abs() < 1e-9, "{rates:?}");
    assert!((rates[2] - rates[1] - (rates[1] - rates[0])).abs() < 1e-9);
    assert!(rates[19] < 0.01, "{rates:?}");
    assert!(rates[5..].windows(2).all(|w| w[1] < w[0]));
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
            ReduceLROnPlateau::new().patience(0).threshold(1e9, ThresholdMode::Absolute),
        ),
        4,
    );
    let want: Vec<f64> = [0.1, 0.1, 0.01, 0.001].iter().flat_map(|r| [*r; 4]).collect();
    assert!(near(&rates, &want, 1e-9), "{rates:?}");
}
