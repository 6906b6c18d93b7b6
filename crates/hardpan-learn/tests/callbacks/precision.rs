//! `MixedPrecision`: halves, and the scale of the loss.

use super::*;
use hardpan_engine::{DType, manual_seed};
use hardpan_learn::callback::{GradientClip, LossScale, MixedPrecision};
use hardpan_nn::Module;
use hardpan_nn::optim::{SGD, grad_norm};
use std::sync::Arc;

#[test]
fn precision_of_halves() {
    let _turn = turn();
    let run = |callback: Option<MixedPrecision>| {
        manual_seed(1);
        let mut learn = classifier(16);
        if let Some(callback) = callback {
            learn.add_callback(callback);
        }
        learn.fit_one_cycle(6, 0.1).unwrap();
        assert!(learn.model().parameters().iter().all(|p| p.dtype() == DType::F32));
        let record = learn.history().epochs.last().unwrap().clone();
        (bits(learn.model()), record.valid_loss.unwrap(), record.get("accuracy").unwrap())
    };
    let exact = run(None);
    for half in [MixedPrecision::bf16(), MixedPrecision::f16()] {
        let got = run(Some(half));
        assert_ne!(got.0, exact.0, "products are not those of f32");
        assert!((got.1 - exact.1).abs() < 0.02 && (got.2 - exact.2).abs() < 0.05, "{got:?}");
    }
    // Outside of a fit nothing is rounded.
    let x = Tensor::from_slice(&[1.0f32 + 1e-4], [1, 1]);
    assert_eq!(x.matmul(&Tensor::ones([1, 1])).item::<f32>(), 1.0 + 1e-4);
}

#[test]
fn the_loss_scale_backs_off_and_grows() {
    // Gradients of about 1, times 2^24, are beyond the 65504 of f16.
    let precision = MixedPrecision::f16().scale(LossScale { interval: 3, ..LossScale::course() });
    let watch = precision.watch();
    assert_eq!(watch.factor(), 16_777_216.0);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (writes, reads) = (seen.clone(), watch.clone());
    let mut learn = classifier(64).opt(SGD::new(0.1)).callback(precision).callback(At(
        Event::AfterBatch,
        1,
        move |ctx: &mut Ctx| {
            if ctx.training {
                let weights = bits(&ctx.model);
                writes.lock().unwrap().push((reads.factor(), ctx.opt.steps_taken(), weights));
            }
        },
    ));
    let start = bits(learn.model());
    learn.fit(60, 0.1).unwrap();
    let seen = seen.lock().unwrap().clone();
    // It halves until gradients fit; the steps before that are left out.
    let skipped = seen.iter().take_while(|s| s.1 == 0).count();
    assert!(skipped >= 2, "{skipped}");
    for (i, (factor, steps, weights)) in seen[..skipped].iter().enumerate() {
        assert_eq!((*factor, *steps), (16_777_216.0 / 2f64.powi(i as i32 + 1), 0));
        assert_eq!(*weights, start, "a step that overflows changes nothing");
    }
    // Then it doubles after three good steps, until that is too much again.
    let settled = seen[skipped - 1].0;
    assert_eq!(seen[skipped].0, settled);
    assert_eq!(seen[skipped + 2].0, settled * 2.0, "three good steps");
    assert!(watch.skipped() as usize > skipped && watch.skipped() < 30, "{}", watch.skipped());
    assert!(seen.iter().all(|s| s.0 <= 16_777_216.0) && seen.last().unwrap().1 > 30);
    assert!(learn.validate().unwrap().valid_loss.unwrap().is_finite());
}

#[test]
fn clipping_sees_gradients_without_the_scale() {
    let norms = Arc::new(Mutex::new(Vec::new()));
    let writes = norms.clone();
    let mut learn = classifier(64)
        .callback(MixedPrecision::f16().scale(LossScale::fixed(1024.0)))
        .callback(GradientClip::new(0.01))
        .callback(At(Event::BeforeStep, 12, move |ctx: &mut Ctx| {
            let params: Vec<_> = ctx.opt.params().cloned().collect();
            let norm = grad_norm(&params, 2.0).unwrap();
            writes.lock().unwrap().push(norm.item::<f64>());
        }));
    learn.fit(2, 0.1).unwrap();
    let norms = norms.lock().unwrap();
    assert!(norms.len() == 2 && norms.iter().all(|n| (n - 0.01).abs() < 1e-5), "{norms:?}");
}
