//! What needs no training: how numbers grow and shrink through layers, and what averages of gradients are.

use crate::Settings;
use crate::page::Section;
use anyhow::Result;
use hardpan_engine::{Tensor, manual_seed};
use hardpan_nn::init::Init;
use hardpan_nn::{Conv2d, Forward, ReLU};

fn moments(t: &Tensor) -> (f64, f64) {
    let v = t.to_vec::<f32>();
    let n = v.len() as f64;
    let mean = v.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let square = v.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    (mean, square.sqrt())
}

/// 100 matrix products in a row.
pub fn init(_: &Settings) -> Result<Section> {
    let mut out = Section::new(
        "Why initialization matters",
        "`x` of 512 normal numbers is multiplied by 100 random matrices of 512 x 512 in a row (notebook 02b). Seed 1.",
        &[
            "weights",
            "after 100 layers: mean",
            "standard deviation",
            "first layer that is not finite",
            "course",
        ],
    );
    let mut run = |name: &str, scale: f64, relu: bool, course: &str| {
        manual_seed(1);
        let mut x = Tensor::randn([512]);
        let mut broke = None;
        for layer in 1..=100 {
            x = x.unsqueeze(0).matmul(&(Tensor::randn([512, 512]) * scale)).squeeze(0);
            if relu {
                x = x.maximum(0.0);
            }
            x.eval();
            if broke.is_none() && !moments(&x).1.is_finite() {
                broke = Some(layer);
            }
        }
        let (mean, std) = moments(&x);
        let layer = broke.map_or("none".into(), |l: i32| l.to_string());
        out.row(&[name, &format!("{mean:.3e}"), &format!("{std:.3e}"), &layer, course]);
        (std, broke)
    };
    let wild = run("normal", 1.0, false, "NaN at layer 28 or 29");
    let tiny = run("normal x 0.01", 0.01, false, "0");
    let right = run("normal / sqrt(512)", (1.0 / 512f64).sqrt(), false, "std .927");
    let relu = run("normal x sqrt(2 / 512), ReLU", (2.0 / 512f64).sqrt(), true, "stays near 1");
    out.gate("plain normal weights overflow before layer 50", wild.1.is_some_and(|l| l < 50));
    out.gate("0.01 leaves nothing", tiny.0 < 1e-30);
    out.gate("1 / sqrt(n) keeps the scale within 0.1 to 10", (0.1..10.0).contains(&right.0));
    out.gate("with ReLU sqrt(2 / n) does", (0.05..20.0).contains(&relu.0));
    Ok(out)
}

/// PyTorch's default initialization of convolutions.
pub fn sqrt5(_: &Settings) -> Result<Section> {
    let mut out = Section::new(
        "Why sqrt(5)?",
        "Standard deviation after one convolution of 5 x 5 (1 to 32 channels) on normal numbers and ReLU, and after four convolutions \
         of stride 2 (notebook 02a), for PyTorch's default (Kaiming uniform with a = sqrt(5)) and Kaiming's normal. Seed 1.",
        &["initialization", "after conv", "after ReLU", "after four", "course: conv, four"],
    );
    let mut run = |name: &str, init: Init, course: &str| {
        manual_seed(1);
        let x = Tensor::randn([100, 1, 28, 28]);
        let one = Conv2d::new(1, 32, 5).padding(2).init(init).forward(&x);
        let (_, conv) = moments(&one);
        let (_, relu) = moments(&ReLU.forward(&one));
        let mut y = x;
        for (i, o) in [(1, 8), (8, 16), (16, 32), (32, 64)] {
            let kernel = if i == 1 { 5 } else { 3 };
            let conv = Conv2d::new(i, o, kernel).stride(2).padding(kernel / 2).init(init);
            y = ReLU.forward(&conv.forward(&y));
        }
        let (_, four) = moments(&y);
        let numbers = [conv, relu, four].map(|v| format!("{v:.4}"));
        out.row(&[name, &numbers[0], &numbers[1], &numbers[2], course]);
        (conv, four)
    };
    let torch = run("PyTorch's default", Init::PyTorch, ".598, .0065");
    let kaiming = run("Kaiming normal (ours)", Init::KaimingNormal, "1.41 (1.02 for leak 1), .404");
    out.gate("the default loses scale in one convolution", torch.0 < 0.75);
    out.gate(
        "four such convolutions leave less than a tenth of Kaiming's",
        torch.1 * 10.0 < kaiming.1,
    );
    Ok(out)
}

/// Averages of noisy numbers, as optimizers take them of gradients.
pub fn momentum(_: &Settings) -> Result<Section> {
    let mut out = Section::new(
        "Momentum, dampening, debiasing",
        "200 numbers around 3 (standard deviation 0.3) are averaged with momentum 0.9 in three ways (notebook 09): the plain sum of the \
         optimizer SGD, the dampened average, and the dampened average corrected for its start at 0. Seed 1.",
        &["average", "after 1", "after 5", "after 200", "course"],
    );
    manual_seed(1);
    let values = (Tensor::randn([200]) * 0.3 + 3.0).to_vec::<f32>();
    let mut run = |name: &str, new: f64, debias: bool, course: &str| {
        let (mut average, mut at) = (0.0, Vec::new());
        for (i, &v) in values.iter().enumerate() {
            average = 0.9 * average + new * f64::from(v);
            let seen = if debias { average / (1.0 - 0.9f64.powi(i as i32 + 1)) } else { average };
            if [0, 4, 199].contains(&i) {
                at.push(seen);
            }
        }
        let numbers: Vec<String> = at.iter().map(|v| format!("{v:.3}")).collect();
        out.row(&[name, &numbers[0], &numbers[1], &numbers[2], course]);
        at
    };
    let plain = run("momentum", 1.0, false, "grows to ten times the numbers");
    let dampened = run("dampened", 0.1, false, "starts at a tenth, then follows");
    let debiased = run("dampened, debiased", 0.1, true, "follows from the first step");
    out.gate("the plain sum ends near 30", (plain[2] - 30.0).abs() < 3.0);
    out.gate(
        "the dampened average starts too low and ends near 3",
        dampened[0] < 0.5 && (dampened[2] - 3.0).abs() < 0.3,
    );
    out.gate(
        "debiased it is near 3 from the start",
        debiased.iter().all(|v| (v - 3.0).abs() < 0.9),
    );
    Ok(out)
}
