//! L-BFGS and sparse Adam against numbers of PyTorch 2.15 in f64.

use hardpan_engine::Tensor;
use hardpan_nn::optim::{LBFGS, Recipe, SparseAdam};
use hardpan_nn::{Forward, Linear, Module, Param};

fn valley(w: &Param) -> Tensor {
    let (x, y) = (w.value().select(0, 0), w.value().select(0, 1));
    (&x - 1.0).square() + (y - x.square()).square() * 100.0
}

/// Value before each step, the place after it, and how often the loss was asked for and stepped from.
type Step = (f64, [f64; 2], u64, u64);

fn check(settings: &LBFGS, expected: &[Step]) {
    let w = Param::new(Tensor::from_vec(vec![-1.5f64, 2.0], [2]));
    let mut opt = settings.build(vec![w.clone()]);
    for (i, (value, place, evaluations, iterations)) in expected.iter().enumerate() {
        let before = opt.step(|| valley(&w));
        assert!((before - value).abs() <= 1e-9 * (1.0 + value.abs()), "step {i}: {before} {value}");
        for (got, want) in w.value().to_vec::<f64>().iter().zip(place) {
            assert!((got - want).abs() < 1e-8, "step {i}: {got} {want}");
        }
        assert_eq!((opt.evaluations(), opt.iterations()), (*evaluations, *iterations), "step {i}");
    }
}

#[test]
fn line_searches_go_where_pytorchs_go() {
    check(
        &LBFGS::new(1.0).strong_wolfe(true).max_iter(5),
        &[
            (12.5, [-1.4190151739012853, 2.015228881713949], 6, 4),
            (5.851898414902332, [-1.2050322831643026, 1.3935585763354525], 12, 9),
            (5.204910022853519, [-0.741182959696463, 0.512356777959665], 18, 13),
        ],
    );
    check(
        &LBFGS::new(1.0).strong_wolfe(true).history_size(3),
        &[
            (12.5, [0.23287223611859975, 0.030081315956096602], 25, 20),
            (0.6467983808414639, [1.0000006898305547, 1.0000015458306801], 49, 39),
            (3.2370830051004957e-12, [1.0000006898305547, 1.0000015458306801], 50, 40),
        ],
    );
}

#[test]
fn fixed_steps_go_where_pytorchs_go() {
    check(
        &LBFGS::new(0.1).max_iter(4),
        &[
            (12.5, [-1.423156809660145, 2.024258365262721], 4, 4),
            (5.871813679613652, [-1.4211667260968082, 2.022723080348671], 8, 8),
            (5.8629532525005885, [-1.4183210800696051, 2.0188340299125658], 12, 12),
        ],
    );
    check(
        &LBFGS::new(1.0).max_iter(3),
        &[
            (12.5, [-1.314377565452805, 2.020336070035731], 3, 2),
            (13.92646425028063, [-1.3978609639575563, 2.0067671025646203], 6, 4),
            (6.0280127382928885, [-1.412497087238126, 2.0030627986189082], 9, 6),
        ],
    );
}

/// Weights and biases of a regression in one step, and none of a frozen one.
#[test]
fn a_line_is_found_in_one_step_and_a_frozen_bias_stays() {
    let x = Tensor::from_vec((0..12).map(|i| (i as f32 * 0.9).sin()).collect(), [4, 3]);
    let y = (&x * Tensor::from_vec(vec![1f32, -2.0, 3.0], [3])).sum_keepdim(-1) + 0.5;
    let fit = |model: &Linear| {
        let mut opt = LBFGS::new(1.0).max_iter(60).strong_wolfe(true).build(model);
        opt.step(|| (model.forward(&x) - &y).square().mean(..));
        (model.forward(&x) - &y).square().mean(..).item::<f32>()
    };
    let model = Linear::new(3, 1);
    assert!(fit(&model) < 1e-8);
    let frozen = Linear::new(3, 1);
    frozen
        .named_parameters()
        .iter()
        .filter(|(n, _)| n == "bias")
        .for_each(|(_, p)| p.set_frozen(true));
    let bias = frozen.state_dict().get("bias").unwrap().to_vec::<f32>();
    fit(&frozen);
    assert_eq!(frozen.state_dict().get("bias").unwrap().to_vec::<f32>(), bias);
}

#[test]
fn sparse_adam_steps_the_rows_that_were_looked_up() {
    let w = Param::new(Tensor::from_vec((1..9).map(f64::from).collect(), [4, 2]));
    let mut opt = SparseAdam::new(0.1).build(vec![w.clone()]);
    for rows in [[0i64, 2], [2, 1], [2, 0], [1, 1]] {
        let rows = w.value().index_select(0, &Tensor::from_vec(rows.to_vec(), [2]));
        rows.square().sum(..).backward();
        opt.step_and_zero_grad();
    }
    let expected = [
        0.8145076522268718,
        1.8142966788912864,
        2.850004200327179,
        3.8500559759448354,
        4.700213298305011,
        5.700174575833423,
        7.0,
        8.0,
    ];
    for (got, want) in w.value().to_vec::<f64>().iter().zip(expected) {
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }
}

#[test]
fn a_resumed_run_goes_on_bit_for_bit() {
    for settings in [
        LBFGS::new(0.5).max_iter(3).history_size(4),
        LBFGS::new(1.0).strong_wolfe(true).max_iter(3).history_size(4),
    ] {
        let start = || Param::new(Tensor::from_vec(vec![-1.5f64, 2.0], [2]));
        let w = start();
        let mut opt = settings.build(vec![w.clone()]);
        for _ in 0..3 {
            opt.step(|| valley(&w));
        }
        let (saved, place) = (opt.state_dict(), w.value().detach());

        let v = start();
        v.set(place);
        let mut again = settings.build(vec![v.clone()]);
        again.load_state_dict(&saved).unwrap();
        assert_eq!(
            (again.iterations(), again.evaluations()),
            (opt.iterations(), opt.evaluations())
        );
        for _ in 0..3 {
            assert_eq!(opt.step(|| valley(&w)), again.step(|| valley(&v)));
        }
        assert_eq!(w.value().to_vec::<f64>(), v.value().to_vec::<f64>());

        // Without the memory the way is another.
        let u = start();
        u.set(v.value().detach());
        let mut fresh = settings.build(vec![u.clone()]);
        fresh.step(|| valley(&u));
        again.step(|| valley(&v));
        assert_ne!(u.value().to_vec::<f64>(), v.value().to_vec::<f64>());
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused_whole() {
    let w = Param::new(Tensor::from_vec(vec![-1.5f64, 2.0], [2]));
    let mut opt = LBFGS::new(0.5).max_iter(3).build(vec![w.clone()]);
    opt.step(|| valley(&w));
    let good = opt.state_dict();
    let refused = |name: &str, value: Tensor, says: &str| {
        let mut bad = good.clone();
        bad.insert(name.to_owned(), value);
        let mut other = LBFGS::new(0.5).build(vec![w.clone()]);
        let message = other.load_state_dict(&bad).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
        assert_eq!(other.iterations(), 0);
    };
    refused("state.0.old_dirs.0", Tensor::zeros([3]), "up to 2 numbers");
    refused("state.0.t", Tensor::zeros([2]), "one number");
    refused("state.0.ro.9", Tensor::scalar(1.0), "belong together");
    refused("state.0.exp_avg", Tensor::zeros([2]), "nothing of this name");
    refused("state.0.d", Tensor::zeros([1]), "of 2 and of 1 numbers");
}

#[test]
fn the_rate_can_be_changed() {
    let moved = |lr: f64| {
        let w = Param::new(Tensor::from_vec(vec![1.0f64, -3.0], [2]));
        let mut opt = LBFGS::new(1.0).max_iter(1).build(vec![w.clone()]);
        opt.set_lr(lr);
        assert_eq!(opt.lr(), lr);
        opt.step(|| (w.value() * w.value()).sum(..));
        w.value().to_vec::<f64>()
    };
    // The first step is the gradient (2, -6), divided by the sum of its sizes, times the rate.
    let (half, whole) = (moved(0.5), moved(1.0));
    for (got, want) in half.iter().chain(&whole).zip([0.875, -2.625, 0.75, -2.25]) {
        assert!((got - want).abs() < 1e-12, "{half:?} {whole:?}");
    }
}
