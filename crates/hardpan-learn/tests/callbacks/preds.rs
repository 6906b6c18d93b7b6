//! Predictions that callbacks collect.

use super::*;
use hardpan_engine::functional::Reduction;
use hardpan_learn::callback::{FetchPreds, Gather};
use hardpan_learn::learner::{Tta, loss};
use hardpan_nn::{CrossEntropyLoss, Module};
use std::sync::Arc;

#[test]
fn predictions_with_everything() {
    let _turn = turn();
    let mut learn = classifier(16)
        .item_losses(|p: &Tensor, y: &Tensor| {
            -p.log_softmax(1).gather(1, &y.unsqueeze(1)).squeeze(1)
        })
        .activation(|p: Tensor| p.softmax(1))
        .decode(|p: &Tensor| p.argmax(1));
    learn.fit(2, 0.1).unwrap();
    let history = learn.history().clone();
    // A loader that shuffles: results are in the order of the items all the same.
    let train = learn.context().loaders.train.clone();
    let what = Gather { inputs: true, losses: true, decoded: true };
    let all = learn.get_preds_with(&train, what).unwrap();
    let data = points(96).split_at(64).0;
    assert_eq!(all.targets.to_vec::<i64>(), data.y().to_vec::<i64>());
    assert_eq!(all.inputs.unwrap().to_vec::<f32>(), data.x().to_vec::<f32>());
    let raw = learn.predict(data.x());
    let want = raw.softmax(1).to_vec::<f64>();
    assert!(all.preds.to_vec::<f64>().iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-6));
    assert_eq!(all.decoded.unwrap().to_vec::<i64>(), raw.argmax(1).to_vec::<i64>());
    let losses = all.losses.unwrap();
    assert_eq!(losses.shape(), [64]);
    assert!(
        (losses.mean(..).item::<f64>() - cross_entropy(&raw, data.y()).item::<f64>()).abs() < 1e-6
    );
    assert_eq!(*learn.history(), history);
    // A loss of the library brings its own activation and answers.
    let loaders = learn.context().loaders.clone();
    let mut with_loss = Learner::with_loss(loaders, Linear::new(4, 2, 2), CrossEntropyLoss::new())
        .item_losses(loss(CrossEntropyLoss::new().reduction(Reduction::None)))
        .silent();
    with_loss.model().load_state_dict(&learn.model().state_dict(), true).unwrap();
    let same = with_loss.get_preds_with(&train, what).unwrap();
    assert_eq!(same.preds.to_vec::<f32>(), all.preds.to_vec::<f32>());
    assert_eq!(same.decoded.unwrap().to_vec::<i64>(), raw.argmax(1).to_vec::<i64>());
    let (a, b) = (same.losses.unwrap().to_vec::<f64>(), losses.to_vec::<f64>());
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6));
    // Without a loss for each item: the same, one by one.
    let mut plain = classifier(16);
    plain.model().load_state_dict(&learn.model().state_dict(), true).unwrap();
    let one_by_one = plain.get_preds_with(&train, what).unwrap();
    assert!(one_by_one.decoded.is_none());
    let one_by_one = one_by_one.losses.unwrap().to_vec::<f64>();
    assert!(losses.to_vec::<f64>().iter().zip(&one_by_one).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn test_time_augmentation() {
    let mut learn = line_learner(16, 4);
    let plain = learn.context().loaders.valid.clone().unwrap();
    // What is predicted for inputs plus 1 is the prediction plus the sum of the weights.
    let moved = plain.clone().map(|x: Tensor, y| (x + 1.0, y));
    let (as_is, y) = learn.get_preds(&plain).unwrap();
    let shift = learn.model().weight.value().sum(..).item::<f64>();
    let (tta, targets) = learn.tta(&plain, &moved).unwrap();
    let want: Vec<f64> = as_is.to_vec::<f64>().iter().map(|p| p + 0.75 * shift).collect();
    assert!(tta.to_vec::<f64>().iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5));
    assert_eq!(targets.to_vec::<f32>(), y.to_vec::<f32>());
    let (most, _) =
        learn.tta_with(&plain, &moved, Tta { use_max: true, ..Tta::default() }).unwrap();
    let want: Vec<f64> = as_is.to_vec::<f64>().iter().map(|p| p + shift.max(0.0)).collect();
    assert!(most.to_vec::<f64>().iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn fetched_predictions() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let writes = seen.clone();
    let mut learn = line_learner(16, 4);
    let loader = learn.context().loaders.valid.clone().unwrap();
    learn.add_callback(FetchPreds::new(loader.clone(), move |epoch, preds: Tensor, y: Tensor| {
        writes.lock().unwrap().push((epoch, preds.to_vec::<f32>(), y.size(0)));
    }));
    learn.fit(3, 0.1).unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().map(|s| (s.0, s.2)).collect::<Vec<_>>(), [(0, 8), (1, 8), (2, 8)]);
    assert_eq!(seen[2].1, learn.get_preds(&loader).unwrap().0.to_vec::<f32>());
    assert_ne!(seen[0].1, seen[2].1);
}
