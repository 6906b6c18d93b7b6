//! The small step functions that optimizers are lists of.
//!
//! Each does one thing to an [`Update`]; an optimizer is made by listing some. They follow fastai's `optimizer` module, and between them
//! the formulas of `torch.optim`.

use super::{Hyper, Update};
use hardpan_engine::{DType, Tensor};

/// `average + weight (x - average)`
pub(super) fn lerp(average: &Tensor, x: &Tensor, weight: f64) -> Tensor {
    average * (1.0 - weight) + x * weight
}

/// Ascends instead of descending.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::maximize;
/// let hypers = Hypers::default();
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// maximize(&mut u);
/// assert!((u.grad.item::<f32>() + 1.0).abs() < 1e-4);
/// ```
pub fn maximize(u: &mut Update<'_>) {
    u.grad = -&u.grad;
}

/// Adds `wd` times the value to the gradient: the decay of an L2 penalty in the loss.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::l2_reg;
/// let hypers = Hypers::new(&[(Hyper::Wd, 0.5)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// l2_reg(&mut u);
/// assert!((u.grad.item::<f32>() - 1.5).abs() < 1e-4);
/// ```
pub fn l2_reg(u: &mut Update<'_>) {
    let wd = u.wd();
    if wd != 0.0 {
        u.grad = &u.grad + &u.value * wd;
    }
}

/// Shrinks the value by `lr wd` of itself: true (decoupled) weight decay, <https://arxiv.org/abs/1711.05101>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::weight_decay;
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::Wd, 0.5)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// weight_decay(&mut u);
/// assert!((u.value.item::<f32>() - 0.95).abs() < 1e-4);
/// ```
pub fn weight_decay(u: &mut Update<'_>) {
    let wd = u.wd();
    if wd != 0.0 {
        u.value = &u.value * (1.0 - u.lr() * wd);
    }
}

/// Steps down the gradient.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::sgd_step;
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// sgd_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.9).abs() < 1e-4);
/// ```
pub fn sgd_step(u: &mut Update<'_>) {
    u.value = &u.value - &u.grad * u.lr();
}

/// Momentum of SGD: the gradient becomes `mom buffer + (1 - dampening) grad`; the first one enters whole.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::momentum;
/// let hypers = Hypers::new(&[(Hyper::Mom, 0.9), (Hyper::Dampening, 0.0)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// momentum(&mut u);
/// momentum(&mut u);
/// assert!((u.grad.item::<f32>() - 1.9).abs() < 1e-4);
/// ```
pub fn momentum(u: &mut Update<'_>) {
    let (mom, damp) = (u.hyper(Hyper::Mom), u.hyper(Hyper::Dampening));
    if mom == 0.0 {
        return;
    }
    u.grad = match u.state.take("momentum_buffer") {
        Some(buffer) => buffer * mom + &u.grad * (1.0 - damp),
        None => u.grad.clone(),
    };
    u.state.set("momentum_buffer", u.grad.clone());
}

/// Nesterov's momentum: looks ahead by one more step of the buffer.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::nesterov_momentum;
/// let hypers = Hypers::new(&[(Hyper::Mom, 0.9), (Hyper::Dampening, 0.0)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// nesterov_momentum(&mut u);
/// assert!((u.grad.item::<f32>() - 1.9).abs() < 1e-4);
/// ```
pub fn nesterov_momentum(u: &mut Update<'_>) {
    let (mom, damp) = (u.hyper(Hyper::Mom), u.hyper(Hyper::Dampening));
    let fresh = u.grad.clone();
    momentum(u);
    debug_assert!(mom > 0.0 && damp == 0.0);
    u.grad = fresh + &u.grad * mom;
}

/// Keeps the decaying average of gradients in the state as `exp_avg`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::average_grad;
/// let hypers = Hypers::new(&[(Hyper::Mom, 0.9)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// average_grad(&mut u);
/// assert!((state.get("exp_avg").unwrap().item::<f32>() - 0.1).abs() < 1e-4);
/// ```
pub fn average_grad(u: &mut Update<'_>) {
    average_grad_by(u, u.hyper(Hyper::Mom));
}

/// As [`average_grad`] with this decay.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::average_grad_by;
/// let hypers = Hypers::default();
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// average_grad_by(&mut u, 0.8);
/// assert!((state.get("exp_avg").unwrap().item::<f32>() - 0.2).abs() < 1e-4);
/// ```
pub fn average_grad_by(u: &mut Update<'_>, mom: f64) {
    let old = u.take_or_zeros("exp_avg");
    u.state.set("exp_avg", old * mom + &u.grad * (1.0 - mom));
}

/// Keeps the decaying average of squared gradients in the state as `exp_avg_sq`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::average_sqr_grad;
/// let hypers = Hypers::new(&[(Hyper::SqrMom, 0.99)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// average_sqr_grad(&mut u);
/// assert!((state.get("exp_avg_sq").unwrap().item::<f32>() - 0.01).abs() < 1e-4);
/// ```
pub fn average_sqr_grad(u: &mut Update<'_>) {
    let mom = u.hyper(Hyper::SqrMom);
    let old = u.take_or_zeros("exp_avg_sq");
    u.state.set("exp_avg_sq", old * mom + &u.grad * &u.grad * (1.0 - mom));
}

/// Keeps the largest `exp_avg_sq` so far as `max_exp_avg_sq`: <https://openreview.net/forum?id=ryQu7f-RZ>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::{average_sqr_grad, max_sqr_grad};
/// let hypers = Hypers::new(&[(Hyper::SqrMom, 0.99)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// average_sqr_grad(&mut u);
/// max_sqr_grad(&mut u);
/// assert!((state.get("max_exp_avg_sq").unwrap().item::<f32>() - 0.01).abs() < 1e-4);
/// ```
pub fn max_sqr_grad(u: &mut Update<'_>) {
    let old = u.take_or_zeros("max_exp_avg_sq");
    let new = old.maximum(state(u, "exp_avg_sq"));
    u.state.set("max_exp_avg_sq", new);
}

fn state<'u>(u: &'u Update<'_>, name: &str) -> &'u Tensor {
    u.state.get(name).unwrap_or_else(|| {
        panic!("the list of steps lacks the one that keeps {name} before the one that needs it")
    })
}

/// Adam's step from `exp_avg` and `exp_avg_sq` (or its maximum, if that is kept): <https://arxiv.org/abs/1412.6980>, algorithm 1.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::{adam_step, average_grad, average_sqr_grad};
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::Mom, 0.9), (Hyper::SqrMom, 0.99), (Hyper::Eps, 1e-8)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// average_grad(&mut u);
/// average_sqr_grad(&mut u);
/// adam_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.9).abs() < 1e-4);
/// ```
pub fn adam_step(u: &mut Update<'_>) {
    adam_step_by(u, u.hyper(Hyper::Mom));
}

/// As [`adam_step`] where `exp_avg` decays by `mom`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::{adam_step_by, average_grad_by, average_sqr_grad};
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::SqrMom, 0.99), (Hyper::Eps, 1e-8)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// average_grad_by(&mut u, 0.8);
/// average_sqr_grad(&mut u);
/// adam_step_by(&mut u, 0.8);
/// assert!((u.value.item::<f32>() - 0.9).abs() < 1e-4);
/// ```
pub fn adam_step_by(u: &mut Update<'_>, mom: f64) {
    let debias = 1.0 - u.power(mom);
    let denom = adam_denominator(u);
    u.value = &u.value - state(u, "exp_avg") / denom * (u.lr() / debias);
}

fn adam_denominator(u: &Update<'_>) -> Tensor {
    let debias = 1.0 - u.power(u.hyper(Hyper::SqrMom));
    let square = u.state.get("max_exp_avg_sq").unwrap_or_else(|| state(u, "exp_avg_sq"));
    square.sqrt() * (1.0 / debias.sqrt()) + u.hyper(Hyper::Eps)
}

/// Adam with Nesterov's momentum: Dozat 2016, with the momentum schedule of Sutskever.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::{average_grad, average_sqr_grad, nadam_step};
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::Mom, 0.9), (Hyper::SqrMom, 0.99), (Hyper::Eps, 1e-8), (Hyper::MomDecay, 0.004)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// average_grad(&mut u);
/// average_sqr_grad(&mut u);
/// nadam_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.8944).abs() < 1e-4);
/// ```
pub fn nadam_step(u: &mut Update<'_>) {
    let (beta, decay) = (u.hyper(Hyper::Mom), u.hyper(Hyper::MomDecay));
    let t = u.step() as f64;
    let mu = beta * (1.0 - 0.5 * 0.96f64.powf(t * decay));
    let next = beta * (1.0 - 0.5 * 0.96f64.powf((t + 1.0) * decay));
    let product = u.state.number("mu_product").unwrap_or(1.0) * mu;
    u.state.set_number("mu_product", product);
    let denom = adam_denominator(u);
    let lr = u.lr();
    let step = &u.grad * (lr * (1.0 - mu) / (1.0 - product))
        + state(u, "exp_avg") * (lr * next / (1.0 - product * next));
    u.value = &u.value - step / denom;
}

/// Adam that trusts its second moment only once there is enough of it: <https://arxiv.org/abs/1908.03265>, algorithm 2.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::{average_grad, average_sqr_grad, radam_step};
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::Mom, 0.9), (Hyper::SqrMom, 0.99), (Hyper::Eps, 1e-8)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// average_grad(&mut u);
/// average_sqr_grad(&mut u);
/// radam_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.9).abs() < 1e-4);
/// ```
pub fn radam_step(u: &mut Update<'_>) {
    let beta2 = u.hyper(Hyper::SqrMom);
    let t = u.step() as f64;
    let debias1 = 1.0 - u.power(u.hyper(Hyper::Mom));
    let debias2 = 1.0 - u.power(beta2);
    let rho_max = 2.0 / (1.0 - beta2) - 1.0;
    let rho = rho_max - 2.0 * t * beta2.powf(t) / debias2;
    let lr = u.lr() / debias1;
    let average = state(u, "exp_avg");
    let step = if rho > 5.0 {
        let rectify = ((rho - 4.0) * (rho - 2.0) * rho_max
            / ((rho_max - 4.0) * (rho_max - 2.0) * rho))
            .sqrt();
        let denom = state(u, "exp_avg_sq").sqrt() + u.hyper(Hyper::Eps);
        average / denom * (lr * rectify * debias2.sqrt())
    } else {
        average * lr
    };
    u.value = &u.value - step;
}

/// Adam with the largest gradient in place of the mean square: <https://arxiv.org/abs/1412.6980>, algorithm 2.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::{adamax_step, average_grad};
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::Mom, 0.9), (Hyper::SqrMom, 0.99), (Hyper::Eps, 1e-8)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// average_grad(&mut u);
/// adamax_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.9).abs() < 1e-4);
/// ```
pub fn adamax_step(u: &mut Update<'_>) {
    let debias = 1.0 - u.power(u.hyper(Hyper::Mom));
    let old = u.take_or_zeros("exp_inf");
    let norm = (old * u.hyper(Hyper::SqrMom)).maximum(u.grad.abs() + u.hyper(Hyper::Eps));
    u.value = &u.value - state(u, "exp_avg") / &norm * (u.lr() / debias);
    u.state.set("exp_inf", norm);
}

/// Divides the gradient by the root of its mean square (Hinton's lecture 6e).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::rms_normalize;
/// let hypers = Hypers::new(&[(Hyper::SqrMom, 0.99), (Hyper::Eps, 0.0)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// rms_normalize(&mut u);
/// assert!((u.grad.item::<f32>() - 10.0).abs() < 1e-4);
/// ```
pub fn rms_normalize(u: &mut Update<'_>) {
    let mom = u.hyper(Hyper::SqrMom);
    let square = u.take_or_zeros("square_avg") * mom + &u.grad * &u.grad * (1.0 - mom);
    u.grad = &u.grad / (square.sqrt() + u.hyper(Hyper::Eps));
    u.state.set("square_avg", square);
}

/// As [`rms_normalize`] with the variance: the mean gradient is taken off (Graves, <https://arxiv.org/abs/1308.0850>).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::rms_normalize_centered;
/// let hypers = Hypers::new(&[(Hyper::SqrMom, 0.99), (Hyper::Eps, 0.0)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// rms_normalize_centered(&mut u);
/// assert!((u.grad.item::<f32>() - 10.0504).abs() < 1e-4);
/// ```
pub fn rms_normalize_centered(u: &mut Update<'_>) {
    let mom = u.hyper(Hyper::SqrMom);
    let square = u.take_or_zeros("square_avg") * mom + &u.grad * &u.grad * (1.0 - mom);
    let mean = lerp(&u.take_or_zeros("grad_avg"), &u.grad, 1.0 - mom);
    u.grad = &u.grad / ((&square - &mean * &mean).sqrt() + u.hyper(Hyper::Eps));
    u.state.set("square_avg", square);
    u.state.set("grad_avg", mean);
}

/// Divides the gradient by the root of the sum of all its squares, and decays the learning rate with the step: Duchi 2011.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::adagrad_step;
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::LrDecay, 0.0), (Hyper::InitialAccumulator, 0.0), (Hyper::Eps, 1e-10)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// adagrad_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.9).abs() < 1e-4);
/// ```
pub fn adagrad_step(u: &mut Update<'_>) {
    let start = u.hyper(Hyper::InitialAccumulator);
    let old = u.state.take("sum").unwrap_or_else(|| u.value.full_like(start));
    let sum = old + &u.grad * &u.grad;
    let lr = u.lr() / (1.0 + (u.step() as f64 - 1.0) * u.hyper(Hyper::LrDecay));
    u.value = &u.value - &u.grad / (sum.sqrt() + u.hyper(Hyper::Eps)) * lr;
    u.state.set("sum", sum);
}

/// Steps in units of earlier steps: <https://arxiv.org/abs/1212.5701>, algorithm 1.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::adadelta_step;
/// let hypers = Hypers::new(&[(Hyper::Lr, 1.0), (Hyper::SqrMom, 0.9), (Hyper::Eps, 1e-6)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// adadelta_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.9968).abs() < 1e-4);
/// ```
pub fn adadelta_step(u: &mut Update<'_>) {
    let (rho, eps) = (u.hyper(Hyper::SqrMom), u.hyper(Hyper::Eps));
    let square = u.take_or_zeros("square_avg") * rho + &u.grad * &u.grad * (1.0 - rho);
    let old = u.take_or_zeros("acc_delta");
    let delta = (&old + eps).sqrt() / (&square + eps).sqrt() * &u.grad;
    u.value = &u.value - &delta * u.lr();
    u.state.set("square_avg", square);
    u.state.set("acc_delta", old * rho + &delta * &delta * (1.0 - rho));
}

/// Averaged SGD: Polyak and Juditsky 1992. The average is kept in the state as `ax`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::asgd_step;
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::Lambda, 1e-4), (Hyper::Alpha, 0.75), (Hyper::T0, 1e6)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// asgd_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.9).abs() < 1e-4);
/// ```
pub fn asgd_step(u: &mut Update<'_>) {
    let (lr, lambda) = (u.lr(), u.hyper(Hyper::Lambda));
    let eta = u.state.number("eta").unwrap_or(lr);
    let mu = u.state.number("mu").unwrap_or(1.0);
    u.value = &u.value * (1.0 - lambda * eta) - &u.grad * eta;
    let old = u.take_or_zeros("ax");
    u.state.set("ax", lerp(&old, &u.value, mu));
    let t = u.step() as f64;
    u.state.set_number("eta", lr / (1.0 + lambda * lr * t).powf(u.hyper(Hyper::Alpha)));
    u.state.set_number("mu", 1.0 / (t - u.hyper(Hyper::T0)).max(1.0));
}

/// Resilient backpropagation: the sign of the gradient only, with a step size for each element. Riedmiller and Braun 1993.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::rprop_step;
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::EtaMinus, 0.5), (Hyper::EtaPlus, 1.2), (Hyper::StepMin, 1e-6), (Hyper::StepMax, 50.0)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// rprop_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.9).abs() < 1e-4);
/// ```
pub fn rprop_step(u: &mut Update<'_>) {
    let lr = u.lr();
    let previous = u.take_or_zeros("prev");
    let size = u.state.take("step_size").unwrap_or_else(|| u.value.full_like(lr));
    let product = &u.grad * previous;
    let one = product.ones_like();
    let (same, turned) = (product.gt(0.0), product.lt(0.0));
    let factor = (&one * u.hyper(Hyper::EtaPlus))
        .where_(&same, (&one * u.hyper(Hyper::EtaMinus)).where_(&turned, &one));
    let size = (size * factor).maximum(u.hyper(Hyper::StepMin)).minimum(u.hyper(Hyper::StepMax));
    // After a turn no step is taken, and the next one is not compared with this gradient.
    let grad = u.grad.zeros_like().where_(&turned, &u.grad);
    let sign = grad.gt(0.0).to_dtype(grad.dtype()) - grad.lt(0.0).to_dtype(grad.dtype());
    u.value = &u.value - sign * &size;
    u.state.set("prev", grad);
    u.state.set("step_size", size);
}

/// Adam in little memory, the second moment as a product of row and column means: <https://arxiv.org/abs/1804.04235>. Decays the weight too.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::adafactor_step;
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.01), (Hyper::Beta2Decay, -0.8), (Hyper::Eps, 0.0), (Hyper::Eps2, 1e-3), (Hyper::Clip, 1.0)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// adafactor_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.99).abs() < 1e-4);
/// ```
pub fn adafactor_step(u: &mut Update<'_>) {
    let t = u.step() as f64;
    let fresh = t.powf(u.hyper(Hyper::Beta2Decay));
    let eps1 = match (u.hyper(Hyper::Eps), u.value.dtype()) {
        (0.0, DType::F64) => f64::EPSILON,
        (0.0, DType::BF16) => 2f64.powi(-7),
        (0.0, DType::F16) => 2f64.powi(-10),
        (0.0, _) => f32::EPSILON as f64,
        (eps, _) => eps,
    };
    let n = (u.value.numel() as f64).sqrt();
    let norm = |x: &Tensor| (x * x).sum(..).sqrt();
    let scale = (norm(&u.value) * (1.0 / n)).maximum(u.hyper(Hyper::Eps2));
    let alpha = scale * u.lr().min(1.0 / t.sqrt());
    // The decay comes after the parameter's scale is taken, as in PyTorch.
    weight_decay(u);
    let square = &u.grad * &u.grad;
    let variance = if u.grad.rank() > 1 {
        let (rows, columns) = (square.mean_keepdim(-1), square.mean_keepdim(-2));
        let old = u.state.take("row_var").unwrap_or_else(|| rows.zeros_like());
        let row = lerp(&old, &rows, fresh);
        let old = u.state.take("col_var").unwrap_or_else(|| columns.zeros_like());
        let col = lerp(&old, &columns, fresh);
        let variance = &row * &col / row.mean_keepdim(-2).maximum(eps1);
        u.state.set("row_var", row);
        u.state.set("col_var", col);
        variance
    } else {
        let variance = lerp(&u.take_or_zeros("variance"), &square, fresh);
        u.state.set("variance", variance.clone());
        variance
    };
    let update = &u.grad / variance.maximum(eps1 * eps1).sqrt();
    let denom = (norm(&update) * (1.0 / (n * u.hyper(Hyper::Clip)))).maximum(1.0);
    u.value = &u.value - update * (alpha / denom);
}

/// Quasi-hyperbolic Adam: a mix of plain and averaged gradients: <https://arxiv.org/abs/1810.06801>, with the shares `nu` of the averages.
/// Counterpart: fastai's `qhadam_step`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::{average_grad, average_sqr_grad, qhadam_step};
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::Mom, 0.9), (Hyper::SqrMom, 0.99), (Hyper::Eps, 1e-8), (Hyper::Nu1, 0.7), (Hyper::Nu2, 1.0)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// average_grad(&mut u);
/// average_sqr_grad(&mut u);
/// qhadam_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.9).abs() < 1e-4);
/// ```
pub fn qhadam_step(u: &mut Update<'_>) {
    let (nu1, nu2) = (u.hyper(Hyper::Nu1), u.hyper(Hyper::Nu2));
    let debias1 = 1.0 - u.power(u.hyper(Hyper::Mom));
    let debias2 = 1.0 - u.power(u.hyper(Hyper::SqrMom));
    let g = &u.grad;
    let mean = g * (1.0 - nu1) + state(u, "exp_avg") * (nu1 / debias1);
    let square = g * g * (1.0 - nu2) + state(u, "exp_avg_sq") * (nu2 / debias2);
    u.value = &u.value - mean / (square.sqrt() + u.hyper(Hyper::Eps)) * u.lr();
}

/// The first half of Lookahead, before all other steps: keeps the value as `slow`, once.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::{remember_slow, sgd_step};
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// remember_slow(&mut u);
/// sgd_step(&mut u);
/// assert!((state.get("slow").unwrap().item::<f32>() - 1.0).abs() < 1e-4);
/// ```
pub fn remember_slow(u: &mut Update<'_>) {
    if u.state.get("slow").is_none() {
        u.state.set("slow", u.value.clone());
    }
}

/// The second half of Lookahead, after all other steps: every `k` of them the slow value moves a share `alpha` of the way to the
/// fast one, which starts over from there. <https://arxiv.org/abs/1907.08610>, algorithm 1.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::{lookahead, remember_slow, sgd_step};
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// remember_slow(&mut u);
/// sgd_step(&mut u);
/// lookahead(1, 0.5)(&mut u);
/// assert!((u.value.item::<f32>() - 0.95).abs() < 1e-4);
/// ```
pub fn lookahead(k: u64, alpha: f64) -> impl Fn(&mut Update<'_>) + Send + Sync {
    move |u| {
        if u.step().is_multiple_of(k.max(1)) {
            let slow = u.state.take("slow").expect("remember_slow comes first");
            u.value = lerp(&slow, &u.value, alpha);
            u.state.set("slow", u.value.clone());
        }
    }
}

/// LAMB: Adam's step, rescaled for each parameter by the ratio of the root mean squares of value and step, at most 10:
/// <https://arxiv.org/abs/1904.00962>, algorithm 2. The decay is a step of its own, as in fastai; in the paper it is part of what is rescaled.
/// Counterpart: fastai's `lamb_step`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::{average_grad, average_sqr_grad, lamb_step};
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::Mom, 0.9), (Hyper::SqrMom, 0.99), (Hyper::Eps, 1e-8)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// average_grad(&mut u);
/// average_sqr_grad(&mut u);
/// lamb_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.9).abs() < 1e-4);
/// ```
pub fn lamb_step(u: &mut Update<'_>) {
    let debias = 1.0 - u.power(u.hyper(Hyper::Mom));
    let step = state(u, "exp_avg") / adam_denominator(u) * (1.0 / debias);
    let (r1, r2) = ((&u.value * &u.value).mean(..).sqrt(), (&step * &step).mean(..).sqrt());
    let both = r1.gt(0.0).to_dtype(step.dtype()) * r2.gt(0.0).to_dtype(step.dtype());
    let ratio = (&r1 / &r2).minimum(10.0).where_(&both.gt(0.0), r1.ones_like());
    u.value = &u.value - step * (ratio * u.lr());
}

/// Lion: a step of the sign of `mom exp_avg + (1 - mom) grad`, then `exp_avg` follows by `sqr_mom`: <https://arxiv.org/abs/2302.06675>,
/// algorithm 2.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::lion_step;
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::Mom, 0.9), (Hyper::SqrMom, 0.99)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// lion_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.9).abs() < 1e-4);
/// ```
pub fn lion_step(u: &mut Update<'_>) {
    let (mix, mom) = (u.hyper(Hyper::Mom), u.hyper(Hyper::SqrMom));
    let average = u.take_or_zeros("exp_avg");
    let sign = (&average * mix + &u.grad * (1.0 - mix)).sign();
    u.value = &u.value - sign * u.lr();
    u.state.set("exp_avg", average * mom + &u.grad * (1.0 - mom));
}

/// Muon: momentum, then the nearest orthogonal matrix by Newton-Schulz iterations of degree five, `x <- a x + (b x x^T + c (x x^T)^2) x`.
pub(super) fn muon_step(u: &mut Update<'_>, settings: &super::Muon) {
    let mom = u.hyper(Hyper::Mom);
    let average = lerp(&u.take_or_zeros("momentum_buffer"), &u.grad, 1.0 - mom);
    let step = if settings.nesterov { lerp(&u.grad, &average, mom) } else { average.clone() };
    u.state.set("momentum_buffer", average);
    let (rows, columns) = (step.size(0), step.size(1));
    let tall = rows > columns;
    let mut x = if tall { step.t() } else { step };
    let norm = (&x * &x).sum(..).sqrt().maximum(u.hyper(Hyper::Eps));
    x /= norm;
    let (a, b, c) = settings.coefficients;
    for _ in 0..settings.rounds {
        let gram = x.matmul(&x.t());
        let square = gram.matmul(&gram);
        x = &x * a + (gram * b + square * c).matmul(&x);
    }
    let x = if tall { x.t() } else { x };
    let ratio = if settings.match_adam {
        0.2 * (rows.max(columns) as f64).sqrt()
    } else {
        (rows as f64 / columns.max(1) as f64).max(1.0).sqrt()
    };
    u.value = &u.value - x * (u.lr() * ratio);
}

/// LARS: the step of SGD with [`momentum`], rescaled for each parameter by `trust_coeff |p| / (|g| + wd |p| + eps)`:
/// <https://arxiv.org/abs/1708.03888>, algorithm 1. Where value or gradient are all zeros the factor is 1, so that biases leave 0.
/// Counterpart: fastai's `larc_layer_lr` without its clip, and `larc_step`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::lars_step;
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::Mom, 0.0), (Hyper::Dampening, 0.0), (Hyper::Eps, 0.0), (Hyper::Trust, 5.0)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// lars_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.5).abs() < 1e-4);
/// ```
pub fn lars_step(u: &mut Update<'_>) {
    step_by_layer(u, |ratio| ratio);
}

/// LARC: [`lars_step`] with factors of at most 1, so that no parameter takes a step larger than SGD would.
/// Counterpart: fastai's `larc_layer_lr` and `larc_step`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Hyper, Hypers, ParamState, Update};
/// use hardpan_nn::optim::steps::larc_step;
/// let hypers = Hypers::new(&[(Hyper::Lr, 0.1), (Hyper::Mom, 0.0), (Hyper::Dampening, 0.0), (Hyper::Eps, 0.0), (Hyper::Trust, 5.0)]);
/// let mut state = ParamState::default();
/// let mut u = Update::new(Tensor::ones([1]), Tensor::ones([1]), &mut state, &hypers);
/// larc_step(&mut u);
/// assert!((u.value.item::<f32>() - 0.9).abs() < 1e-4);
/// ```
pub fn larc_step(u: &mut Update<'_>) {
    step_by_layer(u, |ratio| ratio.minimum(1.0));
}

fn step_by_layer(u: &mut Update<'_>, bound: impl Fn(Tensor) -> Tensor) {
    let norm = |x: &Tensor| (x * x).sum(..).sqrt();
    let (p, g) = (norm(&u.value), norm(&u.grad));
    let ratio = &p * u.hyper(Hyper::Trust) / (&g + &p * u.wd() + u.hyper(Hyper::Eps));
    let both = p.gt(0.0).to_dtype(p.dtype()) * g.gt(0.0).to_dtype(p.dtype());
    let ratio = bound(ratio).where_(&both.gt(0.0), p.ones_like());
    momentum(u);
    u.value = &u.value - &u.grad * (ratio * u.lr());
}
