//! Younger optimizers, against their papers and PyTorch 2.15.

use hardpan_engine::Tensor;
use hardpan_nn::Param;
use hardpan_nn::optim::{AdamW, Lion, Muon, Recipe, SGD, Sam};

/// The same gradients as in the scripts the numbers come from: `sin(1.3 i + k)` in step k.
fn given_grad(n: usize, k: usize, shape: &[usize]) -> Tensor {
    let v: Vec<f64> = (0..n).map(|i| (i as f64 * 1.3 + k as f64).sin()).collect();
    Tensor::from_vec(v, shape)
}

fn close(got: &[f64], want: &[f64]) {
    for (a, b) in got.iter().zip(want) {
        assert!((a - b).abs() < 1e-9, "got {got:?}, want {want:?}");
    }
}

#[test]
fn lion_follows_the_paper() {
    let p = Param::new(Tensor::from_vec(vec![0.5f64, -1.0, 2.0], [3]));
    let mut opt = Lion::new(0.01).weight_decay(0.1).build(vec![p.clone()]);
    for k in 0..5 {
        p.set_grad(Some(given_grad(3, k, &[3])));
        opt.step();
    }
    let want = [0.477_564_955_012_499_46, -0.984_970_069_955_008_7, 1.999_999_960_039_987_6];
    close(&p.value().to_vec::<f64>(), &want);
}

/// Numbers of `torch.optim.Muon` with its iteration run in f64 in place of bf16.
#[test]
fn muon_is_pytorchs() {
    let start: Vec<f64> = (0..6).map(|i| (i as f64 * 0.37).sin() * 1.5).collect();
    let run = |muon: Muon| {
        let p = Param::new(Tensor::from_vec(start.clone(), [3, 2]));
        let mut opt = muon.build(vec![p.clone()]);
        for k in 0..4 {
            p.set_grad(Some(given_grad(6, k, &[3, 2])));
            opt.step();
        }
        p.value().to_vec::<f64>()
    };
    #[rustfmt::skip]
    close(&run(Muon::new(0.02)), &[
        -0.054_967_262_590_823_68, 0.533_453_506_994_541, 1.012_772_824_720_087_6, 1.366_880_684_862_175_3,
        1.520_750_252_722_719_7, 1.376_703_185_029_740_7,
    ]);
    #[rustfmt::skip]
    close(&run(Muon::new(0.02).nesterov(false).match_adam(true).weight_decay(0.0)), &[
        -0.016_759_311_431_121_68, 0.536_487_284_152_518_1, 1.011_930_446_822_777_8, 1.355_095_111_311_431_3,
        1.509_726_124_109_853_9, 1.428_059_537_501_601_9,
    ]);
}

/// Beside matrices Muon steps as Adam does.
#[test]
fn muon_steps_biases_by_adam() {
    let make = || Param::new(Tensor::from_vec(vec![0.5f64, -1.0, 2.0], [3]));
    let (a, b) = (make(), make());
    let mut muon = Muon::new(0.01).weight_decay(0.2).build(vec![a.clone()]);
    let adam = AdamW::new(0.01).betas((0.9, 0.95)).eps(1e-7).weight_decay(0.2);
    let mut adam = adam.build(vec![b.clone()]);
    for k in 0..4 {
        a.set_grad(Some(given_grad(3, k, &[3])));
        b.set_grad(Some(given_grad(3, k, &[3])));
        muon.step();
        adam.step();
    }
    close(&a.value().to_vec::<f64>(), &b.value().to_vec::<f64>());
}

/// By hand for the loss `w^2 / 2`, whose gradient is the weight itself.
#[test]
fn sam_steps_with_the_gradient_of_the_worst_point() {
    let w = Param::new(Tensor::from_vec(vec![3f64, -4.0], [2]));
    let still = Param::new(Tensor::from_vec(vec![1f64], [1]));
    let mut opt = Sam::new(SGD::new(0.1).build(vec![w.clone(), still.clone()]), 0.5);
    let backward = || (w.value() * w.value() * 0.5).sum(..).backward();
    backward();
    opt.ascend();
    // The gradient (3, -4) has length 5: half a unit along it.
    close(&w.value().to_vec::<f64>(), &[3.3, -4.4]);
    assert!(w.grad().is_none());
    backward();
    opt.step();
    close(&w.value().to_vec::<f64>(), &[3.0 - 0.33, -4.0 + 0.44]);
    assert_eq!(still.value().to_vec::<f64>(), [1.0]);
    // Adaptive: the gradient times |w| is (9, 16) long for (3, 4), and moves by w^2 g.
    let w = Param::new(Tensor::from_vec(vec![3f64, -4.0], [2]));
    let mut opt = Sam::new(SGD::new(0.1).build(vec![w.clone()]), 0.5).adaptive(true);
    w.set_grad(Some(w.value().detach()));
    opt.ascend();
    let norm = (81f64 + 256.0).sqrt();
    close(&w.value().to_vec::<f64>(), &[3.0 + 0.5 * 27.0 / norm, -4.0 - 0.5 * 64.0 / norm]);
}
