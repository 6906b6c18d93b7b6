//! Optimizers that PyTorch's conformance cases do not reach, against their papers, PyTorch 2.15 and fastai 2.8.

use hardpan_engine::Tensor;
use hardpan_nn::Param;
use hardpan_nn::optim::{
    ASGD, Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, LARS, Lamb, Lion, Muon, NAdam, QHAdam,
    RAdam, RMSprop, Recipe, SGD, Sam, ranger,
};

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

/// A vector and a matrix after eight steps.
fn after_eight(recipe: impl Recipe) -> Vec<f64> {
    let p = Param::new(Tensor::from_vec(vec![0.5f64, -1.0, 2.0], [3]));
    let start: Vec<f64> = (0..6).map(|i| (i as f64 * 0.37).sin() * 1.5).collect();
    let q = Param::new(Tensor::from_vec(start, [3, 2]));
    let mut opt = recipe.build(vec![p.clone(), q.clone()]);
    for k in 0..8 {
        p.set_grad(Some(given_grad(3, k, &[3])));
        q.set_grad(Some(given_grad(6, k, &[3, 2])));
        opt.step();
    }
    [p.value().to_vec::<f64>(), q.value().to_vec::<f64>()].concat()
}

#[track_caller]
fn near(got: Vec<f64>, want: &[f64; 9], tolerance: f64) {
    for (a, b) in got.iter().zip(want) {
        assert!((a - b).abs() < tolerance, "got {got:?}, want {want:?}");
    }
}

#[test]
#[rustfmt::skip]
fn fastais_optimizers() {
    near(after_eight(Adam::fastai(0.02)), &[
        0.450_814_212_228_687_3, -1.054_132_177_383_043_4, 2.000_705_101_335_788, -0.048_386_347_547_368_78,
        0.485_824_820_350_777_06, 1.013_717_571_036_557, 1.409_445_804_250_076_2, 1.518_600_718_090_324,
        1.368_176_370_417_017_8,
    ], 1e-9);
    near(after_eight(SGD::new(0.02).momentum(0.9).weight_decay(0.1).decoupled(true)), &[
        0.409_824_662_825_577_8, -1.075_033_775_807_239_2, 2.001_811_043_839_428_5, -0.082_231_113_733_527_18,
        0.442_882_663_884_797_1, 1.028_949_723_544_820_4, 1.431_092_827_654_267, 1.494_755_628_729_692_4,
        1.323_309_142_097_499_8,
    ], 1e-9);
    near(after_eight(QHAdam::new(0.02).weight_decay(0.1)), &[
        0.448_187_871_667_393_7, -1.039_220_481_715_417_8, 1.969_319_024_744_367_5, -0.043_867_904_891_711_15,
        0.478_695_957_976_618_8, 0.996_457_704_449_760_2, 1.387_085_137_466_907_5, 1.499_263_584_061_146_3,
        1.352_394_770_394_459_7,
    ], 1e-9);
    near(after_eight(Lamb::new(0.02).betas((0.8, 0.95)).eps(1e-3)), &[
        0.451_073_042_279_843_5, -1.077_533_482_022_779, 1.984_523_780_381_764_1, -0.040_828_218_865_177_374,
        0.482_718_715_414_582_33, 1.003_185_362_347_97, 1.410_424_019_809_199_5, 1.532_466_745_522_944_8,
        1.373_784_944_687_711_3,
    ], 1e-9);
    // fastai adds eps to the debiased root, PyTorch (and RAdam here) to the root itself.
    near(after_eight(RAdam::new(0.02).betas((0.9, 0.9)).eps(1e-5).weight_decay(0.1).decoupled(true)), &[
        0.459_358_758_917_742_75, -1.029_883_919_721_264, 1.976_275_136_419_160_6, -0.032_697_017_641_362_2,
        0.488_032_519_970_772_4, 1.003_413_816_124_553, 1.372_437_707_672_276, 1.488_828_890_802_277_3,
        1.378_749_298_228_993_3,
    ], 1e-6);
    near(after_eight(ranger(0.02)), &[
        0.482_455_178_449_745_45, -1.023_144_861_318_121_8, 2.002_081_699_601_173, -0.017_045_111_438_282_66,
        0.517_736_757_741_383_4, 1.014_501_562_027_814_8, 1.368_574_559_981_251_8, 1.502_337_270_385_082,
        1.419_437_535_168_172_3,
    ], 1e-6);
}

/// Numbers of `torch.optim.Adafactor` in f64: the scale of a step is that of the weight before its decay.
#[test]
fn adafactor_decays_as_pytorch() {
    let adafactor = Adafactor::new(0.02).weight_decay(0.5).eps((1e-6, 1e-2)).d(2.0);
    #[rustfmt::skip]
    near(after_eight(adafactor), &[
        0.4404405485921466, -0.9647613846700619, 1.8349850568901738, -0.02011922689982232, 0.4587486185140302, 0.9238467039764086, 1.2801204142506133, 1.414851070322846, 1.3062458377875892,
    ], 1e-9);
}

/// Numbers of fastai's step functions. LARC's bound is reached by neither parameter at first, by both later.
#[test]
#[rustfmt::skip]
fn larc_and_lamb_are_fastais() {
    let larc = LARS::new(0.05).weight_decay(0.1);
    near(after_eight(larc.clone()), &[
        0.473_983_764_726_793_2, -0.967_892_696_673_941_8, 1.923_897_046_671_091_8, -0.005_437_816_831_556_335,
        0.515_023_219_302_237_4, 0.973_861_164_976_454_9, 1.297_985_464_336_254_7, 1.436_795_874_011_765_2,
        1.378_892_690_533_509_5,
    ], 1e-9);
    near(after_eight(larc.clone().decoupled(false)), &[
        0.490_914_165_490_522_97, -1.003_308_215_942_461_8, 1.993_470_182_549_527_6, -0.005_429_589_724_984_531,
        0.534_030_715_895_9, 1.009_547_278_918_358_6, 1.345_665_965_151_364_5, 1.489_843_464_831_003,
        1.429_888_840_420_418_4,
    ], 1e-9);
    // The bound is what plain SGD would do.
    let sgd = SGD::new(0.05).momentum(0.9).weight_decay(0.1).decoupled(true);
    near(after_eight(larc.trust_coeff(50.0)), &after_eight(sgd).try_into().unwrap(), 1e-12);
    near(after_eight(LARS::new(1.0).weight_decay(0.1).clip(false)), &[
        0.155_160_400_621_718_8, -0.498_414_959_670_583, 0.884_655_737_489_166, -0.050_881_592_549_902_54,
        0.176_780_968_630_237_23, 0.455_927_769_879_805_1, 0.646_056_374_676_505_8, 0.658_722_505_338_793_8,
        0.561_382_708_246_486_5,
    ], 1e-9);
    let lamb = Lamb::new(0.02).betas((0.8, 0.95)).eps(1e-3).weight_decay(0.1);
    near(after_eight(lamb.clone()), &[
        0.443_906_192_207_772_67, -1.060_413_148_530_309_7, 1.952_992_779_711_518_7, -0.040_179_521_878_459_88,
        0.475_049_064_745_871_66, 0.987_246_305_005_715, 1.388_014_572_689_66, 1.508_118_229_038_593_7,
        1.351_957_635_567_037_5,
    ], 1e-9);
    near(after_eight(lamb.decoupled(false)), &[
        0.377_647_215_059_812, -1.017_630_970_199_998_2, 1.897_058_652_570_822_6, -0.043_639_544_498_077_38,
        0.454_262_436_151_850_3, 0.949_877_348_994_085_7, 1.353_088_186_498_598_4, 1.459_416_765_382_198_1,
        1.305_828_319_573_062,
    ], 1e-9);
    near(after_eight(QHAdam::new(0.02).weight_decay(0.1).decoupled(false)), &[
        0.428_829_247_477_164_44, -1.039_846_263_257_740_5, 1.960_990_666_364_958_1, -0.043_914_631_102_470_965,
        0.479_373_651_443_190_1, 0.992_315_352_270_551_6, 1.389_047_764_362_985, 1.496_252_712_044_001_7,
        1.356_008_737_641_697_2,
    ], 1e-9);
}

/// Without a gradient a decoupled decay is all that moves a weight; an L2 term is a gradient like any other.
#[test]
fn true_weight_decay_shrinks_by_the_rate_alone() {
    fn three(recipe: impl Recipe) -> f64 {
        let p = Param::new(Tensor::from_vec(vec![2.0f64], [1]));
        let mut opt = recipe.build(vec![p.clone()]);
        for _ in 0..3 {
            p.set_grad(Some(Tensor::from_vec(vec![0.0f64], [1])));
            opt.step();
        }
        p.value().item::<f64>()
    }
    macro_rules! check {
        ($($recipe:expr),*) => {$(
            let shrunk = three($recipe.weight_decay(0.5).decoupled(true));
            assert!((shrunk - 2.0 * 0.95f64.powi(3)).abs() < 1e-9, "{}: {shrunk}", stringify!($recipe));
            let penalized = three($recipe.weight_decay(0.5).decoupled(false));
            assert!((penalized - shrunk).abs() > 1e-4, "{}: {penalized}", stringify!($recipe));
        )*};
    }
    check!(
        SGD::new(0.1).momentum(0.9),
        RMSprop::new(0.1),
        Adagrad::new(0.1),
        Adadelta::new(0.1),
        Adamax::new(0.1),
        Adam::new(0.1),
        NAdam::new(0.1),
        RAdam::new(0.1).betas((0.9, 0.5)),
        QHAdam::new(0.1),
        Lamb::new(0.1)
    );
    // Plain descent: one is the other, but for the schedule of the averaged one's rate.
    let averaged = three(ASGD::new(0.1).lambd(0.0).weight_decay(0.5).decoupled(true));
    assert!((averaged - 2.0 * 0.95f64.powi(3)).abs() < 1e-9, "{averaged}");
}
