//! Trainings on the built-in digits.

use crate::Settings;
use crate::page::{Section, high, low, mean, seeds, spread};
use anyhow::{Context, Result};
use hardpan_engine::functional::cross_entropy;
use hardpan_engine::{Tensor, manual_seed};
use hardpan_learn::callback::{LabelSmoothing, LossScale, MixUp, MixedPrecision};
use hardpan_learn::data::{DataLoader, DataLoaders};
use hardpan_learn::learner::{FitError, Learner};
use hardpan_learn::metric::{Mean, accuracy};
use hardpan_nn::init::{self, Fan, Init, Lsuv, Nonlinearity, kaiming_normal};
use hardpan_nn::optim::SGD;
use hardpan_nn::{
    AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Forward, GeneralRelu, Linear, Module, Param,
    ReLU, RunningBatchNorm, Sequential, hooked, seq,
};
use hardpan_vision::digits::{normalize, pictures};

/// The first `train` digits to learn from, and the last `valid` of the 60,000 to judge by: 50,000 and 10,000 as in the course.
fn digits(
    train: usize,
    valid: usize,
    batch: usize,
    seed: u64,
) -> Result<DataLoaders<Tensor, Tensor>> {
    use hardpan_data_mnist::{COLS, MEAN, ROWS, STD, TRAIN_LEN};
    let all = hardpan_data_mnist::train();
    let size = ROWS * COLS;
    let part = |from: usize, n: usize| {
        pictures(
            &all.images[from * size..(from + n) * size],
            &all.labels[from..from + n],
            (ROWS, COLS),
            10,
        )
    };
    let train = DataLoader::new(part(0, train)?, batch)?.shuffle(seed);
    let valid = DataLoader::new(part(TRAIN_LEN - valid, valid)?, 500)?;
    Ok(DataLoaders::new(train, valid).map(|x, y| (normalize(&x, MEAN, STD), y)))
}

/// Convolutions of stride 2, the first of 5 x 5, each followed by what `after` gives for its channels; then a linear layer. Convolutions
/// start from Kaiming's normal numbers for activations with slope `leak` on the negative side, as the course's do.
fn cnn(
    channels: &[usize],
    bias: bool,
    leak: f64,
    after: impl Fn(usize) -> Sequential,
) -> Sequential {
    let mut model = Sequential::new();
    let mut inputs = 1;
    for (i, &outputs) in channels.iter().enumerate() {
        let kernel = if i == 0 { 5 } else { 3 };
        let conv = Conv2d::new(inputs, outputs, kernel).stride(2).padding(kernel / 2).bias(bias);
        let shape = [outputs, inputs, kernel, kernel];
        conv.weight.set(kaiming_normal(&shape, Fan::In, Nonlinearity::LeakyReLU(leak)));
        model = model.append(seq![conv].append(after(outputs)));
        inputs = outputs;
    }
    let last = Linear::new(inputs, 10).init(Init::PyTorch);
    model.append(AdaptiveAvgPool2d::new(1)).append(Flatten::new()).append(last)
}

/// Channels in notebook 06.
const SMALL: [usize; 4] = [8, 16, 32, 32];
/// Channels in notebooks 07 and 07a: five convolutions leave one pixel of 28 x 28.
const COURSE: [usize; 5] = [8, 16, 32, 64, 64];
/// The course's slope for the initialization of everything after notebook 06.
const LEAK: f64 = 0.1;

fn learner(loaders: DataLoaders<Tensor, Tensor>, model: Sequential) -> Learner<Sequential> {
    Learner::new(loaders, model, cross_entropy)
        .opt(SGD::new(0.1))
        .metric(Mean::new("accuracy", accuracy))
        .silent()
}

/// The accuracy of the last epoch; a fit that broke has that of a guess.
fn result(learn: &Learner<Sequential>, fit: Result<(), FitError>) -> Result<f64> {
    match fit {
        Ok(()) => learn.history().last_metric("accuracy").context("no accuracy was measured"),
        Err(FitError::NonFinite { .. }) => Ok(0.1),
        Err(e) => Err(e.into()),
    }
}

/// ReLU against the course's GeneralRelu.
pub fn general_relu(s: &Settings) -> Result<Section> {
    let mut out = Section::new(
        "GeneralRelu against ReLU",
        &format!(
            "The course's convolutional network without norms (8, 16, 32, 32 channels), Kaiming's initialization, plain SGD with rate 0.9, \
             batches of 512, one epoch of 50,000 digits (notebook 06). {}.",
            seeds(s.runs)
        ),
        &["activation", "accuracy", "course"],
    );
    let mut run = |name: &str, general: bool, course: &str| -> Result<f64> {
        let mut all = Vec::new();
        for seed in 1..=s.runs {
            manual_seed(seed);
            let act = move |_| match general {
                true => seq![GeneralRelu::new().leak(0.1).sub(0.4).max(6.0)],
                false => seq![ReLU],
            };
            let leak = if general { LEAK } else { 0.0 };
            let model = cnn(&SMALL, true, leak, act);
            let mut learn = learner(digits(50_000, 10_000, 512, seed)?, model);
            let fit = learn.fit(1, 0.9);
            all.push(result(&learn, fit)?);
        }
        out.row(&[name, &spread(&all), course]);
        Ok(mean(&all))
    };
    let relu = run("ReLU", false, ".9042")?;
    let general = run("GeneralRelu(leak 0.1, sub 0.4, max 6)", true, ".9572")?;
    out.gate("GeneralRelu is better", general > relu);
    Ok(out)
}

/// ReLU with a number taken off, which does not learn: what the course's `ConvLayer` gives LSUV to shift.
#[derive(Module)]
struct ShiftedRelu {
    bias: Param,
}

impl ShiftedRelu {
    fn new() -> ShiftedRelu {
        let bias = Param::new(Tensor::scalar(0f32));
        bias.set_frozen(true);
        ShiftedRelu { bias }
    }
}

impl Forward for ShiftedRelu {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => ReLU.forward(x) + self.bias.value())
    }
}

/// Layer-sequential unit-variance initialization.
pub fn lsuv(s: &Settings) -> Result<Section> {
    let mut out = Section::new(
        "LSUV",
        &format!(
            "A network without norms (8, 16, 32, 64, 64 channels), ReLU with a constant taken off, plain SGD with rate 0.6, batches of 512, two epochs \
             of 50,000 digits: from Kaiming's initialization (constant 0), and from weights scaled and constants shifted until each layer \
             gives mean 0 and standard deviation 1 for the first batch (notebook 07a). {}.",
            seeds(s.runs)
        ),
        &["initialization", "accuracy after 1", "after 2", "course, after 2"],
    );
    let mut run = |name: &str, scaled: bool, course: &str| -> Result<(f64, f64)> {
        let (mut first, mut all) = (Vec::new(), Vec::new());
        for seed in 1..=s.runs {
            manual_seed(seed);
            let model = cnn(&COURSE, true, LEAK, |_| seq![ShiftedRelu::new()]);
            let mut learn = learner(digits(50_000, 10_000, 512, seed)?, model);
            if scaled {
                let (x, _) = learn.context().loaders.train.one_batch()?;
                let options = Lsuv { after_activation: true, rounds: 20, ..Lsuv::default() };
                init::lsuv(learn.model(), &x, options);
            }
            let fit = learn.fit(2, 0.6);
            all.push(result(&learn, fit)?);
            first.push(
                learn.history().epochs.first().and_then(|e| e.get("accuracy")).unwrap_or(0.1),
            );
        }
        out.row(&[name, &spread(&first), &spread(&all), course]);
        Ok((mean(&first), mean(&all)))
    };
    let plain = run("Kaiming", false, ".9588")?;
    let scaled = run("LSUV", true, ".9733")?;
    out.gate("LSUV is better after one epoch", scaled.0 > plain.0);
    out.gate("LSUV is better after two", scaled.1 > plain.1);
    Ok(out)
}

/// Batches of two.
pub fn batch_norm(s: &Settings) -> Result<Section> {
    let runs = s.runs;
    let mut out = Section::new(
        "Batch norm with batches of 2, and RunningBatchNorm",
        &format!(
            "The course's network (8, 16, 32, 64, 64 channels: the last norm sees one value of each picture), a norm after each ReLU, plain SGD with \
             rate 0.4, one epoch of 50,000 digits in batches of 2, judged by 10,000 (notebook 07). {}.",
            seeds(runs)
        ),
        &["norm", "accuracy", "validation loss", "course: accuracy, loss"],
    );
    let mut run = |name: &str, running: bool, course: &str| -> Result<f64> {
        let (mut all, mut losses) = (Vec::new(), Vec::new());
        for seed in 1..=runs {
            manual_seed(seed);
            let norm = move |n| match running {
                true => seq![ReLU, RunningBatchNorm::new(n)],
                false => seq![ReLU, BatchNorm2d::new(n)],
            };
            let model = cnn(&COURSE, false, LEAK, norm);
            let mut learn = learner(digits(50_000, 10_000, 2, seed)?, model);
            let fit = learn.fit(1, 0.4);
            all.push(result(&learn, fit)?);
            losses.push(learn.history().last_metric("valid_loss").unwrap_or(f64::NAN));
        }
        out.row(&[name, &spread(&all), &spread(&losses), course]);
        Ok(mean(&all))
    };
    let batch = run("batch norm", false, ".2604, 2867")?;
    let running = run("RunningBatchNorm", true, ".9730")?;
    out.gate("RunningBatchNorm is far better (by .2 at least)", running > batch + 0.2);
    Ok(out)
}

/// Accuracy and validation loss after one cycle of `epochs` up to `rate`, with soft labels or without.
fn soft_labels(
    data: DataLoaders<Tensor, Tensor>,
    (smoothing, mix): (f64, bool),
    (channels, epochs, rate): (&[usize], usize, f64),
) -> Result<(f64, f64)> {
    let valid = data.valid.clone().context("no validation data")?;
    let model = cnn(channels, false, LEAK, |n| seq![BatchNorm2d::new(n), ReLU]);
    let mut learn =
        learner(DataLoaders::train_only(data.train), model).opt(SGD::new(0.1).momentum(0.9));
    if smoothing > 0.0 {
        learn.add_callback(LabelSmoothing::new(smoothing));
    }
    if mix {
        learn.add_callback(MixUp::<Tensor>::new(0.4));
    }
    learn.fit_one_cycle(epochs, rate)?;
    let measured = learn.validate_on(&valid)?;
    let accuracy = measured.get("accuracy").context("no accuracy was measured")?;
    Ok((accuracy, measured.get("valid_loss").unwrap_or(f64::NAN)))
}

/// Soft labels.
pub fn label_smoothing_mixup(s: &Settings) -> Result<Section> {
    const CHANNELS: &[usize] = &[16, 32, 64, 64];
    let items = 2_000;
    let mut out = Section::new(
        "Label smoothing and mixup",
        &format!(
            "The network with batch norm (16, 32, 64, 64 channels), one cycle up to rate 0.1, batches of 100, judged by 10,000 digits: one epoch of \
             50,000, as the course trains one of Imagenette (notebooks 10b and 10c), and {items} digits for 20 and 80 epochs, since soft labels are \
             for training longer on too little data. (The course's Swift notebook 10 has label smoothing, .9394, above mixup, .926.) \
             Label smoothing 0.1; mixup with alpha 0.4. {}.",
            seeds(s.runs)
        ),
        &[
            "training",
            "course, 1 epoch",
            "1 epoch",
            &format!("{items} digits, 20 epochs"),
            "80 epochs",
            "validation loss, 80 epochs",
        ],
    );
    let settings = [(50_000, 1), (items, 20), (items, 80)];
    let mut run = |name: &str, soft: (f64, bool), course: &str| -> Result<[Vec<f64>; 3]> {
        let mut all: [Vec<f64>; 3] = Default::default();
        let mut losses = Vec::new();
        for seed in 1..=s.runs {
            let mut longest = f64::NAN;
            for ((items, epochs), all) in settings.into_iter().zip(&mut all) {
                manual_seed(seed);
                let data = digits(items, 10_000, 100, seed)?;
                let (accuracy, loss) = soft_labels(data, soft, (CHANNELS, epochs, 0.1))?;
                all.push(accuracy);
                longest = loss;
            }
            losses.push(longest);
        }
        let [one, short, long] = [&all[0], &all[1], &all[2]].map(|v| spread(v));
        out.row(&[name, course, &one, &short, &long, &spread(&losses)]);
        Ok(all)
    };
    let plain = run("plain", (0.0, false), ".496")?;
    let smooth = run("label smoothing", (0.1, false), ".404")?;
    let mixup = run("mixup", (0.0, true), ".470")?;
    let better = |a: &[f64], b: &[f64]| mean(a) > mean(b);
    out.gate(
        "in one epoch both cost accuracy, label smoothing more than mixup, as in the course",
        better(&plain[0], &mixup[0]) && better(&mixup[0], &smooth[0]),
    );
    for (name, all) in [("label smoothing", &smooth), ("mixup", &mixup)] {
        out.gate(
            format!("{name} in 20 epochs of {items} digits is not worse by more than .003"),
            mean(&all[1]) > mean(&plain[1]) - 0.003,
        );
        let apart = low(&all[2]) > high(&plain[2]);
        let how = if apart { "by more" } else { "by less" };
        out.gate(
            format!("{name} helps in 80 epochs of {items} digits ({how} than seeds differ)"),
            better(&all[2], &plain[2]),
        );
    }
    Ok(out)
}

/// Halves with a dynamic loss scale.
pub fn loss_scale(_: &Settings) -> Result<Section> {
    let items = 10_000;
    let mut out = Section::new(
        "Loss scale settling",
        &format!(
            "The network with batch norm, SGD with momentum, four epochs of {items} digits in batches of 100 (400 steps), in f32, in bf16, and in f16 \
             with the course's dynamic loss scale: 2^24 at first, halved when gradients overflow, doubled after 500 good steps (notebook 10c). Seed 1."
        ),
        &["numbers", "accuracy", "scale at the end", "steps left out", "course: accuracy, scale"],
    );
    let mut run = |name: &str, mixed: Option<MixedPrecision>, course: &str| -> Result<(f64, f64)> {
        manual_seed(1);
        let norm = |n| seq![BatchNorm2d::new(n), ReLU];
        let mut learn =
            learner(digits(items, 10_000, 100, 1)?, cnn(&[16, 32, 64, 64], false, LEAK, norm))
                .opt(SGD::new(0.1).momentum(0.9));
        let watch = mixed.as_ref().map(MixedPrecision::watch);
        if let Some(mixed) = mixed {
            learn.add_callback(mixed);
        }
        let fit = learn.fit_one_cycle(4, 0.1);
        let accuracy = result(&learn, fit)?;
        let (scale, skipped) = watch.map_or(("".into(), "".into()), |w| {
            (format!("{}", w.factor()), w.skipped().to_string())
        });
        let factor = scale.parse().unwrap_or(1.0);
        out.row(&[name, &format!("{accuracy:.4}"), &scale, &skipped, course]);
        Ok((accuracy, factor))
    };
    let full = run("f32", None, ".496 (Imagenette, 1 epoch)")?;
    let bf16 = run("bf16", Some(MixedPrecision::bf16()), "")?;
    let half = run("f16", Some(MixedPrecision::f16().scale(LossScale::course())), ".496, 65536")?;
    out.gate("bf16 is within .005 of f32", (bf16.0 - full.0).abs() < 0.005);
    out.gate("f16 is within .005 of f32", (half.0 - full.0).abs() < 0.005);
    out.gate(
        "the scale has come down from 2^24 and stays above 1",
        half.1 < 16_777_216.0 && half.1 > 1.0,
    );
    Ok(out)
}

/// The course's best network of lesson 10.
pub fn eight_epochs(s: &Settings) -> Result<Section> {
    let runs = s.runs.min(2);
    let mut out = Section::new(
        "Eight epochs of MNIST",
        &format!(
            "A network with batch norm (16, 32, 64, 64, 128 channels), SGD with momentum and weight decay 0.0001, one cycle up to rate 0.2, batches \
             of 256, eight epochs of 50,000 digits, judged by 10,000 (notebook 07). {}.",
            seeds(runs)
        ),
        &["training", "accuracy", "course"],
    );
    let mut all = Vec::new();
    for seed in 1..=runs {
        manual_seed(seed);
        let norm = |n| seq![BatchNorm2d::new(n), ReLU];
        let model = cnn(&[16, 32, 64, 64, 128], false, LEAK, norm);
        let mut learn = learner(digits(50_000, 10_000, 256, seed)?, model)
            .opt(SGD::new(0.1).momentum(0.9).weight_decay(1e-4));
        let fit = learn.fit_one_cycle(8, 0.2);
        all.push(result(&learn, fit)?);
    }
    out.row(&["one cycle", &spread(&all), ".9877 to .9882"]);
    out.gate("at least .988", mean(&all) >= 0.988);
    Ok(out)
}
