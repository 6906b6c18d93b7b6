//! Hooks at work in a training.

mod support;

use hardpan_learn::learner::Learner;
use hardpan_nn::hook::is;
use hardpan_nn::{Linear, ReLU, Sequential, seq};
use support::{bits, line_loaders, mse};

fn learner() -> Learner<Sequential> {
    hardpan_engine::manual_seed(3);
    let model = seq![Linear::new(3, 4), ReLU, Linear::new(4, 1)];
    Learner::new(line_loaders(8, 4), model, mse).silent()
}

#[test]
fn hooks_see_every_batch_and_change_nothing() {
    let mut plain = learner();
    plain.fit(1, 0.01).unwrap();

    let mut learn = learner();
    let hooks = learn.context().hooks.clone();
    let (outputs, grads) = (hooks.capture(is::<Linear>), hooks.capture_grads(is::<Linear>));
    learn.fit(1, 0.01).unwrap();
    // Two batches of training and one of validation, two layers each; gradients flow in training only.
    let seen = outputs.take();
    let paths: Vec<&str> = seen.iter().map(|c| c.path.as_str()).collect();
    assert_eq!(paths, ["0", "2", "0", "2", "0", "2"]);
    assert!(seen.iter().all(|c| c.tensors[0].shape()[0] == 4));
    assert_eq!(grads.take().len(), 4);
    assert_eq!(bits(&learn.context().model), bits(&plain.context().model));

    outputs.remove();
    grads.remove();
    learn.fit(1, 0.01).unwrap();
    assert!(outputs.take().is_empty() && grads.take().is_empty());
}
