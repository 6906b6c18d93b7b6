//! Optimizers as a user meets them: what they compute, what they remember, and what a step costs the planner.

use hardpan_engine::{
    Tensor, flush_all, live_bytes, manual_seed, peak_bytes, plan_stats, reset_peak_bytes,
};
use hardpan_nn::optim::{
    Adam, AdamW, Group, Hyper, LARS, Lamb, Lookahead, Optimizer, QHAdam, Recipe, SGD,
    clip_grad_norm, clip_grad_norm_of, clip_grad_value, ranger,
    scheduler::{CyclicLR, LambdaLR, MultiplicativeLR, Scheduler},
};
use hardpan_nn::{Forward, Module, Param};
use std::sync::Mutex;

/// Counters are of the whole process, so tests take turns.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

#[derive(Module)]
struct Net {
    w1: Param,
    b1: Param,
    w2: Param,
}

impl Net {
    fn new() -> Net {
        Net {
            w1: Param::new((Tensor::randn([32, 512]) * 0.2).eval().clone()),
            b1: Param::new(Tensor::zeros([512]).eval().clone()),
            w2: Param::new((Tensor::randn([512, 1]) * 0.05).eval().clone()),
        }
    }
}

impl Forward for Net {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        (x.matmul(&self.w1.value()) + self.b1.value()).maximum(0.0).matmul(&self.w2.value())
    }
}

fn data() -> (Tensor, Tensor) {
    let x = Tensor::randn([4, 32]).eval().clone();
    let y = x.narrow(1, 0, 1).eval().clone();
    (x, y)
}

fn run(net: &Net, opt: &mut Optimizer, (x, y): &(Tensor, Tensor)) -> Tensor {
    let e = net.forward(x) - y;
    let loss = (&e * &e).mean(..);
    loss.backward();
    opt.step();
    opt.zero_grad();
    loss
}

#[test]
fn a_changing_learning_rate_finds_its_plan_and_updates_happen_in_place() {
    let _alone = alone();
    manual_seed(1);
    for recipe in 0..3 {
        let (net, data) = (Net::new(), data());
        let mut opt = match recipe {
            0 => SGD::new(0.01).momentum(0.9).weight_decay(1e-4).build(&net),
            1 => Adam::new(0.01).build(&net),
            _ => AdamW::new(0.01).amsgrad(true).build(&net),
        };
        let first = run(&net, &mut opt, &data).item::<f32>();
        for _ in 0..4 {
            run(&net, &mut opt, &data);
        }
        let (bytes, before) = (live_bytes(), plan_stats());
        for k in 0..100 {
            opt.set_hyper(Hyper::Lr, 0.01 / (1.0 + k as f64 * 0.01));
            run(&net, &mut opt, &data);
        }
        let after = plan_stats();
        assert_eq!(after.misses, before.misses, "recipe {recipe}");
        assert_eq!(after.hits, before.hits + 100);
        assert_eq!(live_bytes(), bytes);
        // With gradients at hand, the update needs no memory but theirs: weights and averages keep the place they have.
        let e = net.forward(&data.0) - &data.1;
        (&e * &e).mean(..).backward();
        drop(e);
        flush_all();
        let before = live_bytes();
        reset_peak_bytes();
        opt.step();
        assert_eq!(live_bytes(), before, "recipe {recipe}");
        let extra = peak_bytes() - before;
        assert!(extra < 100, "recipe {recipe}: {extra} bytes more while updating");
        opt.zero_grad();
        let last = run(&net, &mut opt, &data).item::<f32>();
        assert!(last < first * 0.5, "{first} -> {last}");
    }
}

fn quadratic(opt: impl Recipe, steps: usize) -> Vec<f64> {
    let p = Param::new(Tensor::from_vec(vec![1.0f64, -2.0], [2]));
    let mut opt = opt.build(vec![p.clone()]);
    for _ in 0..steps {
        (p.value() * p.value()).sum(..).backward();
        opt.step();
        opt.zero_grad();
    }
    p.value().to_vec()
}

#[test]
fn two_steps_by_hand() {
    let _alone = alone();
    // g = 2p. SGD with momentum 0.5: p1 = p - 0.1 * 2p; buffer = 0.5 * 2p + 2 * 0.8p = 2.6p; p2 = 0.8p - 0.26p.
    let p = quadratic(SGD::new(0.1).momentum(0.5), 2);
    assert!((p[0] - 0.54).abs() < 1e-12 && (p[1] + 1.08).abs() < 1e-12, "{p:?}");
    // Adam's first step is the learning rate, whatever the gradient.
    let p = quadratic(Adam::new(0.1).eps(0.0), 1);
    assert!((p[0] - 0.9).abs() < 1e-12 && (p[1] + 1.9).abs() < 1e-12, "{p:?}");
    // Decoupled decay shrinks by lr wd first.
    let p = quadratic(AdamW::new(0.1).eps(0.0).weight_decay(0.5), 1);
    assert!((p[0] - 0.85).abs() < 1e-12 && (p[1] + 1.8).abs() < 1e-12, "{p:?}");
}

#[test]
fn lookahead_meets_half_way() {
    let _alone = alone();
    let p = Param::new(Tensor::from_vec(vec![1.0f64], [1]));
    let mut recipe = Lookahead::new(SGD::new(0.1));
    recipe.k = 2;
    let mut opt = recipe.build(vec![p.clone()]);
    let one = Tensor::from_vec(vec![1.0f64], [1]);
    let mut values = Vec::new();
    for _ in 0..4 {
        p.set_grad(Some(one.clone()));
        opt.step();
        values.push((p.value().item::<f64>() * 1e6).round() / 1e6);
    }
    // Fast: 0.9, 0.8, then half way back to 1; again from there.
    assert_eq!(values, [0.9, 0.9, 0.8, 0.8]);
    let p = quadratic(ranger(0.05), 300);
    assert!(p.iter().all(|x| x.abs() < 0.3), "{p:?}");
    let p = quadratic(QHAdam::new(0.1).betas((0.9, 0.99)), 300);
    assert!(p.iter().all(|x| x.abs() < 0.1), "{p:?}");
    let p = quadratic(Lamb::new(0.02), 300);
    assert!(p.iter().all(|x| x.abs() < 0.2), "{p:?}");
    let p = quadratic(LARS::new(0.1).trust_coeff(0.1), 300);
    assert!(p.iter().all(|x| x.abs() < 0.2), "{p:?}");
}

#[test]
fn groups_freezing_and_exemptions() {
    let _alone = alone();
    let p = |v: f64| Param::new(Tensor::from_vec(vec![v], [1]));
    let (a, b, c) = (p(1.0), p(1.0), p(1.0));
    let mut opt = SGD::new(0.1).weight_decay(1.0).build(vec![
        Group::new([a.clone(), b.clone()]).with(Hyper::Lr, 0.01),
        Group::new([c.clone()]),
    ]);
    assert_eq!(opt.hypers(Hyper::Lr), [0.01, 0.1]);
    opt.exempt_from_decay(std::slice::from_ref(&b));
    let value = |p: &Param| p.value().item::<f64>();
    let zero = Tensor::from_vec(vec![0.0f64], [1]);
    let grads = |opt: &Optimizer| opt.params().for_each(|p| p.set_grad(Some(zero.clone())));
    grads(&opt);
    opt.step();
    assert_eq!((value(&a), value(&b), value(&c)), (0.99, 1.0, 0.9));
    opt.always_train(std::slice::from_ref(&b));
    opt.freeze_to(-1);
    assert!(a.is_frozen() && !b.is_frozen() && !c.is_frozen());
    grads(&opt);
    opt.step();
    assert_eq!(value(&a), 0.99);
    opt.unfreeze();
    assert!(!a.is_frozen());
    c.set_grad(None);
    opt.step();
    assert!((value(&c) - 0.81).abs() < 1e-12, "no gradient, no step");
}

#[test]
fn saved_and_continued() {
    let _alone = alone();
    manual_seed(3);
    let data = data();
    let (one, two) = (Net::new(), Net::new());
    let mut a = Adam::new(0.01).build(&one);
    (0..3).for_each(|_| drop(run(&one, &mut a, &data)));
    two.load_state_dict(&one.state_dict(), true).unwrap();
    let saved = a.state_dict();
    let mut b = Adam::new(0.5).build(&two);
    b.load_state_dict(&saved).unwrap();
    assert_eq!((b.lr(), b.steps_taken()), (0.01, 3));
    for _ in 0..3 {
        run(&one, &mut a, &data);
        run(&two, &mut b, &data);
    }
    assert_eq!(one.w1.value().to_vec::<f32>(), two.w1.value().to_vec::<f32>());
    let small = Param::new(Tensor::zeros([1]));
    let e = Adam::new(0.1).build(vec![small]).load_state_dict(&saved).unwrap_err();
    assert!(e.to_string().contains("state."), "{e}");
}

#[test]
fn clipping() {
    let _alone = alone();
    let p = Param::new(Tensor::zeros([2]));
    p.set_grad(Some(Tensor::from_vec(vec![3f32, 4.0], [2])));
    let norm = clip_grad_norm(std::slice::from_ref(&p), 1.0).unwrap();
    assert_eq!(norm.item::<f32>(), 5.0);
    let g = p.grad().unwrap().to_vec::<f32>();
    assert!((g[0] - 0.6).abs() < 1e-6 && (g[1] - 0.8).abs() < 1e-6);
    clip_grad_norm(std::slice::from_ref(&p), 2.0);
    assert_eq!(p.grad().unwrap().to_vec::<f32>(), g, "smaller gradients stay");
    clip_grad_value(std::slice::from_ref(&p), 0.7);
    assert_eq!(p.grad().unwrap().to_vec::<f32>()[1], 0.7);
}

#[test]
#[should_panic(expected = "is there twice")]
fn a_parameter_twice_is_refused() {
    let _alone = alone();
    let p = Param::new(Tensor::zeros([2]));
    SGD::new(0.1).build(vec![p.clone(), p]);
}

#[test]
fn a_cycle_with_rates_for_each_group() {
    let _alone = alone();
    let group = || Group::new([Param::new(Tensor::ones([1]))]);
    let mut opt = SGD::new(0.1).build(vec![group(), group(), group()]);
    let cycle = CyclicLR::new(0.0, 0.0).lrs(&[0.0, 1.0], &[1.0, 3.0]).steps(2, 2);
    let mut cycle = cycle.cycle_momentum(false).start(&mut opt);
    let mut seen = vec![opt.hypers(Hyper::Lr)];
    for _ in 0..3 {
        cycle.step(&mut opt);
        seen.push(opt.hypers(Hyper::Lr));
    }
    // The last rates serve the groups beyond.
    assert_eq!(seen, [[0.0, 1.0, 1.0], [0.5, 2.0, 2.0], [1.0, 3.0, 3.0], [0.5, 2.0, 2.0]]);
}

/// Averages, decay and step of a parameter are one pass over it.
#[test]
fn the_update_of_a_parameter_is_one_kernel() {
    let _alone = alone();
    manual_seed(4);
    for recipe in 0..3 {
        let (net, data) = (Net::new(), data());
        let mut opt = match recipe {
            0 => SGD::new(0.01).momentum(0.9).weight_decay(1e-4).build(&net),
            1 => Adam::new(0.01).weight_decay(0.1).build(&net),
            _ => AdamW::new(0.01).amsgrad(true).build(&net),
        };
        run(&net, &mut opt, &data);
        let e = net.forward(&data.0) - &data.1;
        (&e * &e).mean(..).backward();
        drop(e);
        flush_all();
        let before = plan_stats().kernels;
        opt.step();
        let kernels = plan_stats().kernels - before;
        assert!(kernels <= 3, "recipe {recipe}: {kernels} kernels for 3 parameters");
    }
}

#[test]
fn clipping_by_other_norms() {
    let _alone = alone();
    let (a, b) = (Param::new(Tensor::zeros([2])), Param::new(Tensor::zeros([1])));
    let both = [a.clone(), b.clone()];
    let clip = |max: f64, p: f64| {
        a.set_grad(Some(Tensor::from_vec(vec![1f32, -2.0], [2])));
        b.set_grad(Some(Tensor::from_vec(vec![2f32], [1])));
        let norm = clip_grad_norm_of(&both, max, p).unwrap().item::<f32>();
        let mut grads = a.grad().unwrap().to_vec::<f32>();
        grads.extend(b.grad().unwrap().to_vec::<f32>());
        (norm, grads)
    };
    let near = |(norm, grads): (f32, Vec<f32>), want: f32, factor: f32| {
        assert!((norm - want).abs() < 1e-5, "{norm}, want {want}");
        for (g, w) in grads.iter().zip([1.0, -2.0, 2.0]) {
            assert!((g - w * factor).abs() < 1e-5, "{grads:?}");
        }
    };
    near(clip(1.0, 1.0), 5.0, 0.2);
    near(clip(1.0, f64::INFINITY), 2.0, 0.5);
    near(clip(1.0, 3.0), 17f32.powf(1.0 / 3.0), 17f32.powf(-1.0 / 3.0));
    near(clip(6.0, 1.0), 5.0, 1.0);
    both.iter().for_each(Param::zero_grad);
    assert!(clip_grad_norm_of(&both, 1.0, 1.0).is_none());
}

#[test]
fn a_group_more() {
    let _alone = alone();
    let p = |v: f64| Param::new(Tensor::from_vec(vec![v], [1]));
    let (a, b) = (p(1.0), p(1.0));
    let mut opt = SGD::new(0.1).momentum(0.9).build(vec![a.clone()]);
    opt.add_group(Group::new([b.clone()]).with(Hyper::Lr, 0.5));
    assert_eq!((opt.hypers(Hyper::Lr), opt.hypers(Hyper::Mom)), (vec![0.1, 0.5], vec![0.9, 0.9]));
    for x in [&a, &b] {
        x.set_grad(Some(Tensor::from_vec(vec![1.0f64], [1])));
    }
    opt.step();
    assert_eq!((a.value().item::<f64>(), b.value().item::<f64>()), (0.9, 0.5));
    let twice = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        opt.add_group(Group::new([a.clone()]));
    }));
    assert!(twice.unwrap_err().downcast_ref::<String>().unwrap().contains("in a group already"));
}

#[test]
fn rates_by_functions() {
    let _alone = alone();
    let rates = |make: &dyn Fn(&mut Optimizer) -> Box<dyn Scheduler>| {
        let group = |lr: f64| Group::new([Param::new(Tensor::ones([1]))]).with(Hyper::Lr, lr);
        let mut opt = SGD::new(0.1).build(vec![group(0.5), group(2.0)]);
        let mut schedule = make(&mut opt);
        (0..4)
            .map(|_| {
                let now = opt.hypers(Hyper::Lr);
                schedule.step(&mut opt);
                now
            })
            .collect::<Vec<_>>()
    };
    // Of the base rate; of the present one, and not in step 0.
    let lambda = rates(&|opt| Box::new(LambdaLR::new(opt, |t| 1.0 / (1 + t) as f64)));
    assert_eq!(lambda, [[0.5, 2.0], [0.25, 1.0], [0.5 / 3.0, 2.0 / 3.0], [0.125, 0.5]]);
    let product =
        rates(&|opt| Box::new(MultiplicativeLR::new(opt, |t| if t == 2 { 4.0 } else { 0.5 })));
    assert_eq!(product, [[0.5, 2.0], [0.25, 1.0], [1.0, 4.0], [0.5, 2.0]]);
}
