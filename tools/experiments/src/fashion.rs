//! Fashion-MNIST with a residual network.

use crate::Settings;
use crate::page::Section;
use anyhow::{Context, Result, ensure};
use hardpan_engine::functional::cross_entropy;
use hardpan_engine::{Tensor, manual_seed};
use hardpan_learn::callback::{Ema, LabelSmoothing};
use hardpan_learn::data::{DataLoader, DataLoaders};
use hardpan_learn::learner::{Learner, Tta};
use hardpan_learn::metric::{Mean, accuracy};
use hardpan_nn::optim::AdamW;
use hardpan_nn::{
    AdaptiveAvgPool2d, AvgPool2d, BatchNorm2d, Conv2d, Flatten, Forward, Linear, Module, ReLU,
    Sequential, hooked, seq,
};
use hardpan_vision::digits::idx::Labelled;
use hardpan_vision::digits::{mean_and_std, normalize, shift};

/// Two convolutions beside a shortcut. The last norm starts at 0, so that the block starts as its shortcut.
#[derive(Module)]
struct Block {
    convs: Sequential,
    shortcut: Sequential,
}

impl Block {
    fn new(inputs: usize, outputs: usize) -> Block {
        let last = BatchNorm2d::new(outputs);
        if let Some(weight) = &last.weight {
            weight.set(Tensor::zeros([outputs]));
        }
        Block {
            convs: seq![
                Conv2d::new(inputs, outputs, 3).stride(2).padding(1).bias(false),
                BatchNorm2d::new(outputs),
                ReLU,
                Conv2d::new(outputs, outputs, 3).padding(1).bias(false),
                last
            ],
            shortcut: seq![
                AvgPool2d::new(2).ceil_mode(true),
                Conv2d::new(inputs, outputs, 1).bias(false),
                BatchNorm2d::new(outputs)
            ],
        }
    }
}

impl Forward for Block {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => ReLU.forward(&(self.convs.forward(x) + self.shortcut.forward(x))))
    }
}

/// `[N, 1, 28, 28]` to ten classes: 16, 32, 64 and 128 times `width` channels.
fn resnet(width: usize) -> Sequential {
    let c = [16, 32, 64, 128].map(|n| n * width);
    seq![
        Conv2d::new(1, c[0], 3).padding(1).bias(false),
        BatchNorm2d::new(c[0]),
        ReLU,
        Block::new(c[0], c[1]),
        Block::new(c[1], c[2]),
        Block::new(c[2], c[3]),
        AdaptiveAvgPool2d::new(1),
        Flatten::new(),
        Linear::new(c[3], 10)
    ]
}

/// Half of the pictures mirrored.
fn flip(x: &Tensor) -> Tensor {
    let n = x.shape()[0];
    let mirrored = Tensor::rand([n, 1, 1, 1]).lt(0.5);
    x.flip(-1).where_(&mirrored, x)
}

/// What both trainings share.
struct Fashion {
    train: Labelled,
    valid: Labelled,
    mean: f64,
    std: f64,
}

impl Fashion {
    fn read(s: &Settings) -> Result<Fashion> {
        let folder = &s.fashion;
        ensure!(
            folder.is_dir(),
            "{}: there is no such folder; name one with Fashion-MNIST's four idx files by --fashion \
             (Debian: apt-get install dataset-fashion-mnist)",
            folder.display()
        );
        let (train, valid) =
            Labelled::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
        let (mean, std) = mean_and_std(&train.images);
        Ok(Fashion { train, valid, mean, std })
    }

    /// Batches of 128, mirrored at random, and moved by up to `moved` pixels.
    fn loaders(&self, seed: u64, moved: usize) -> Result<DataLoaders<Tensor, Tensor>> {
        let (mean, std) = (self.mean, self.std);
        let norm = move |x: Tensor, y: Tensor| (normalize(&x, mean, std), y);
        Ok(DataLoaders::new(
            DataLoader::new(self.train.dataset(10)?, 128)?
                .shuffle(seed)
                .drop_last()?
                .map(move |x: Tensor, y| (shift(&x, moved), y))
                .map(norm)
                .map(|x, y| (flip(&x), y)),
            DataLoader::new(self.valid.dataset(10)?, 500)?.map(norm),
        ))
    }
}

fn learner(loaders: DataLoaders<Tensor, Tensor>) -> Learner<Sequential> {
    Learner::new(loaders, resnet(1), cross_entropy)
        .opt(AdamW::new(0.01).weight_decay(0.05))
        .callback(LabelSmoothing::new(0.1))
        .metric(Mean::new("accuracy", accuracy))
}

pub fn five_epochs(s: &Settings) -> Result<Section> {
    let data = Fashion::read(s)?;
    let mut out = Section::new(
        "Fashion-MNIST in five epochs",
        "A residual network of three blocks (16, then 32, 64 and 128 channels), AdamW (weight decay 0.05), one cycle up to rate 0.01, batches of 128, labels \
         smoothed by 0.1, half of the pictures mirrored, five epochs of the 60,000 training pictures, judged by the 10,000 test pictures. Seed 1.",
        &["training", "accuracy", "seconds an epoch", "course (2022, with a larger network)"],
    );
    manual_seed(1);
    let mut learn = learner(data.loaders(1, 0)?);
    learn.fit_one_cycle(5, 0.01)?;
    let reached = last_accuracy(&learn)?;
    out.row(&["one cycle", &format!("{reached:.4}"), &seconds(&learn), ".918 to .929"]);
    out.gate("at least .93", reached >= 0.93);
    Ok(out)
}

/// As long as 30 minutes of one core allow.
pub fn long_run(s: &Settings) -> Result<Section> {
    const EPOCHS: usize = 30;
    let data = Fashion::read(s)?;
    let mut out = Section::new(
        "Fashion-MNIST in a long run",
        &format!(
            "The network and the settings of the five epochs, for {EPOCHS} epochs, with pictures also moved by up to a pixel and an exponential average \
             of the weights (decay 0.999). The second row averages the predictions for each picture and for its mirror image. Seed 1."
        ),
        &["prediction", "accuracy", "seconds an epoch", "course (2022, with a larger network)"],
    );
    manual_seed(1);
    let mut learn = learner(data.loaders(1, 1)?).callback(Ema::new(0.999));
    learn.fit_one_cycle(EPOCHS, 0.01)?;
    let plain = last_accuracy(&learn)?;
    let loader = learn.context().loaders.valid.clone().context("no validation data")?;
    let mirrored = loader.clone().map(|x: Tensor, y| (x.flip(-1), y));
    let (preds, targets) =
        learn.tta_with(&loader, &mirrored, Tta { passes: 1, beta: 0.5, use_max: false })?;
    let both = f64::from(accuracy(&preds, &targets).item::<f32>());
    let course = ".944 to .945 (25 epochs), .947 (50)";
    out.row(&["one cycle", &format!("{plain:.4}"), &seconds(&learn), course]);
    out.row(&["with mirror images", &format!("{both:.4}"), "", ".937 to .944 (20 epochs)"]);
    out.gate("at least .945, of the predictions as they are", plain >= 0.945);
    out.gate("at least .945, with mirror images", both >= 0.945);
    Ok(out)
}

fn last_accuracy(learn: &Learner<Sequential>) -> Result<f64> {
    learn.history().last_metric("accuracy").context("no accuracy was measured")
}

fn seconds(learn: &Learner<Sequential>) -> String {
    let epochs = &learn.history().epochs;
    format!("{:.0}", epochs.iter().map(|e| e.seconds).sum::<f64>() / epochs.len() as f64)
}
