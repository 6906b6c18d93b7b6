//! What happens to gradients before the step: clipping, accumulation.

use super::*;
use hardpan_learn::callback::{
    GradientAccumulation, GradientClip, GradientClipValue, LossScale, MixedPrecision,
};
use hardpan_learn::data::DataLoader;
use hardpan_nn::optim::SGD;
use std::sync::Arc;

#[test]
fn clipping_by_other_norms() {
    let _turn = turn();
    let gradients = |clip: Option<GradientClip>| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        let mut learn = line_learner(4, 4).opt(SGD::new(0.0)).callback(At(
            Event::BeforeStep,
            12,
            move |ctx: &mut Ctx| {
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
fn clipping_by_value() {
    let largest = Arc::new(Mutex::new(Vec::new()));
    let writes = largest.clone();
    let mut learn = classifier(64).callback(GradientClipValue(0.001)).callback(At(
        Event::BeforeStep,
        12,
        move |ctx: &mut Ctx| {
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
