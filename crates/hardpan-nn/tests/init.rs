//! Initial weights: the fills of `torch.nn.init`, the study of PyTorch's default, and weights scaled by what comes out.

use hardpan_engine::{DType, Tensor, manual_seed, no_grad};
use hardpan_nn::hook::{Hooks, is};
use hardpan_nn::init::*;
use hardpan_nn::*;

fn mean_std(t: &Tensor) -> (f64, f64) {
    let v: Vec<f64> = t.to_dtype(DType::F64).to_vec();
    let mean = v.iter().sum::<f64>() / v.len() as f64;
    (mean, (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64).sqrt())
}

#[test]
fn fills() {
    manual_seed(1);
    let near = |got: f64, want: f64| {
        assert!((got - want).abs() < 0.03 * want.abs().max(0.3), "{got}, want {want}")
    };
    // The deviation of a normal distribution cut at -1 and 2 deviations, by integration.
    let cut = truncated_normal_within(&[200, 200], 0.5, 2.0, -1.5, 4.5);
    let v = cut.to_vec::<f32>();
    assert!(v.iter().all(|x| (-1.5..=4.5).contains(x)));
    let (mean, std) = mean_std(&cut);
    near(mean, 0.5 + 2.0 * 0.229_637);
    near(std, 2.0 * 0.721_027);
    assert_eq!(eye(2, 3).to_vec::<f32>(), [1., 0., 0., 0., 1., 0.]);
    let s = sparse(50, 40, 0.3, 0.1);
    for column in 0..40 {
        let zeros = s.select(1, column).to_vec::<f32>().iter().filter(|x| **x == 0.0).count();
        assert_eq!(zeros, 15);
    }
    near(mean_std(&s).1, 0.1 * 0.7f64.sqrt());
    // Two groups of two outputs each pass the first inputs on.
    let d = dirac_groups(&[4, 2, 3], 2);
    let want = [0., 1., 0., 0., 0., 0., 0., 0., 0., 0., 1., 0.];
    assert_eq!(d.narrow(0, 0, 2).to_vec::<f32>(), want);
    assert_eq!(d.narrow(0, 2, 2).to_vec::<f32>(), want);
    near(
        mean_std(&kaiming_uniform(&[300, 200], Fan::Out, Nonlinearity::Tanh)).1,
        5.0 / 3.0 / 300f64.sqrt(),
    );
    near(mean_std(&Init::XavierUniform(1.0).tensor(&[300, 200])).1, (2.0f64 / 500.0).sqrt());
}

/// The course's 02a_why_sqrt5: PyTorch's default shrinks a signal to nothing in four layers, Kaiming's keeps it.
#[test]
fn why_sqrt_5() {
    manual_seed(5);
    let x = Tensor::randn([64, 1, 28, 28]);
    let run = |init: Init| {
        let first = Conv2d::new(1, 32, 5).init(init);
        let alone = mean_std(&first.forward(&x)).1;
        let model = seq![
            Conv2d::new(1, 8, 5).stride(2).padding(2).init(init),
            ReLU,
            Conv2d::new(8, 16, 3).stride(2).padding(1).init(init),
            ReLU,
            Conv2d::new(16, 32, 3).stride(2).padding(1).init(init),
            ReLU,
            Conv2d::new(32, 32, 3).stride(2).padding(1).init(init),
        ];
        let y = no_grad(|| model.forward(&x));
        // What differs between inputs: biases do not count.
        (alone, (&y - y.mean_keepdim(0)).to_dtype(DType::F64))
    };
    let (default, shrunk) = run(Init::PyTorch);
    let (kaiming, kept) = run(Init::KaimingNormal);
    // gain(sqrt 5) = sqrt(2 / 6) = 0.577 in place of sqrt 2.
    assert!((0.45..0.7).contains(&default), "{default}");
    assert!((1.2..1.6).contains(&kaiming), "{kaiming}");
    assert!((gain(Nonlinearity::LeakyReLU(5f64.sqrt())) - 0.577_35).abs() < 1e-5);
    let (shrunk, kept) = (mean_std(&shrunk).1, mean_std(&kept).1);
    assert!(shrunk < 0.05 && kept > 0.3 && kept / shrunk > 12.0, "{shrunk} {kept}");
}

#[test]
fn every_layer_has_mean_0_and_deviation_1_after_lsuv() {
    manual_seed(6);
    let model = seq![
        Conv2d::new(1, 8, 5).stride(2).padding(2).init(Init::PyTorch),
        GeneralRelu::new().leak(0.1).sub(0.4).max(6.0),
        Conv2d::new(8, 16, 3).stride(2).padding(1).init(Init::PyTorch),
        GeneralRelu::new().leak(0.1).sub(0.4).max(6.0),
        Flatten::new(),
        Linear::new(16 * 7 * 7, 10).init(Init::PyTorch),
    ];
    let x = Tensor::randn([32, 1, 28, 28]) * 3.0 + 1.0;
    let check = |select: fn(&str, &dyn Module) -> bool| {
        let hooks = Hooks::new();
        let seen = hooks.capture(select);
        no_grad(|| hooks.run(&model, &x));
        seen.take().iter().map(|c| mean_std(&c.tensors[0])).collect::<Vec<_>>()
    };
    let weighted = |_: &str, m: &dyn Module| is::<Conv2d>("", m) || is::<Linear>("", m);
    assert!(check(weighted).iter().any(|(_, std)| (std - 1.0).abs() > 0.2), "it was so before");
    let layers = lsuv(&model, &x, Lsuv::default());
    assert_eq!(layers.iter().map(|l| l.path.as_str()).collect::<Vec<_>>(), ["0", "2", "5"]);
    for (mean, std) in check(weighted) {
        assert!(mean.abs() < 1e-3 && (std - 1.0).abs() < 1e-3, "mean {mean}, std {std}");
    }
    // As in the course: measured after the activation, which can have a mean of 0.
    lsuv(&model, &x, Lsuv { after_activation: true, rounds: 30, ..Lsuv::default() });
    for (mean, std) in check(is::<GeneralRelu>) {
        assert!(mean.abs() < 1e-3 && (std - 1.0).abs() < 1e-3, "mean {mean}, std {std}");
    }
}

#[test]
fn single_fills() {
    manual_seed(2);
    let (mean, std) = mean_std(&xavier_normal(&[300, 200], 2.0));
    assert!(
        mean.abs() < 0.01 && (std - 2.0 * (2.0f64 / 500.0).sqrt()).abs() < 0.002,
        "{mean} {std}"
    );
    // A convolution that passes its input on.
    let conv = Conv2d::new(3, 3, 3).padding(1);
    conv.weight.set(dirac(&[3, 3, 3, 3]));
    let x = Tensor::randn([2, 3, 5, 4]);
    assert_eq!(conv.forward(&x).to_vec::<f32>(), x.to_vec::<f32>());
    // Each four filters of a shuffle by two start equal, and no others.
    let w = icnr(&[8, 3, 2, 2], 2, Init::KaimingNormal).reshape([8, 12]).to_vec::<f32>();
    let rows: Vec<&[f32]> = w.chunks(12).collect();
    assert!((0..8).all(|i| (0..8).all(|j| (rows[i] == rows[j]) == (i / 4 == j / 4))));
}

#[test]
#[should_panic(expected = "a multiple of 4")]
fn icnr_wants_whole_groups() {
    icnr(&[6, 3, 1, 1], 2, Init::KaimingNormal);
}
