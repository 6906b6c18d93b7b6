//! What of a network that has learned something else should be trained.

use crate::Settings;
use crate::page::{self, Section, seeds, spread};
use anyhow::{Context, Result};
use hardpan_engine::manual_seed;
use hardpan_learn::learner::Learner;
use hardpan_vision::data::{AugmentChoice, ImageDataLoaders, Stats};
use hardpan_vision::learner::{VisionOptions, normalization_of, vision_learner};
use hardpan_vision::models::Model;
use std::path::Path;

const ARCH: &str = "efficientnet_lite0";
const EPOCHS: usize = 5;
const SIZE: usize = 128;
const RATE: f64 = 2e-3;

/// How a training goes.
type Fit = fn(Learner<Model>) -> Result<Learner<Model>>;

/// In the order in which they should do better.
const WAYS: [(&str, Fit); 3] = [
    ("head alone", |learn| {
        let mut learn = learn.freeze_norms(true);
        learn.freeze();
        learn.fit_one_cycle(EPOCHS, RATE)?;
        Ok(learn)
    }),
    ("head, and batch norms everywhere", |mut learn| {
        learn.fit_one_cycle(EPOCHS, RATE)?;
        Ok(learn)
    }),
    ("that for one epoch, then all with discriminative rates", |mut learn| {
        learn.fine_tune(EPOCHS - 1, RATE)?;
        Ok(learn)
    }),
];

pub fn transfer(s: &Settings) -> Result<Section> {
    let folder = s.pictures.as_ref().context("name a folder of pictures by --pictures")?;
    let weights = s.weights.as_ref().context("name EfficientNet-Lite0's weights by --weights")?;
    let mut out = Section::new(
        "Transfer learning: what to train",
        &format!(
            "EfficientNet-Lite0 with ImageNet's weights and fastai's head on photos of objects (a folder for each class, 70 % to learn from, {SIZE} \
             px, mirrored, batches of 64), {EPOCHS} epochs, rate {RATE}, labels as they are; {}. Course, lesson 11a: a network adapted with its \
             batch norms frozen does worse than with them trained, and that worse than with all of it trained at rates that fall with depth.",
            seeds(s.runs)
        ),
        &["trained", "accuracy", "validation loss", "seconds an epoch"],
    );
    let mut means = Vec::new();
    for (name, fit) in WAYS {
        let (mut accuracy, mut loss, mut time) = (Vec::new(), Vec::new(), Vec::new());
        for seed in 1..=s.runs {
            manual_seed(seed);
            let learn = fit(learner(folder, weights, seed)?)?;
            let history = learn.history();
            let last = history.epochs.last().context("no epoch was trained")?;
            accuracy.push(history.last_metric("accuracy").context("no accuracy was measured")?);
            loss.push(last.valid_loss.context("nothing was validated")?);
            time.push(last.seconds);
        }
        let seconds = format!("{:.0}", page::mean(&time));
        out.row(&[name, &spread(&accuracy), &spread(&loss), &seconds]);
        means.push(page::mean(&accuracy));
    }
    out.gate("batch norms help", means[0] < means[1]);
    out.gate("discriminative rates help more", means[1] < means[2]);
    out.gate("at least .90 at the end", means[2] >= 0.9);
    Ok(out)
}

fn learner(folder: &Path, weights: &Path, seed: u64) -> Result<Learner<Model>> {
    let (mean, std) = normalization_of(ARCH);
    let floats = |v: [f64; 3]| v.map(|x| x as f32).to_vec();
    let data = ImageDataLoaders::from_folder(folder)
        .valid_fraction(0.3)
        .size(SIZE)
        .batch_size(64)
        .seed(seed)
        .augment(AugmentChoice::Off)
        .item_tfm(hardpan_vision::plane::crop::Flip::default())
        .stats(Stats { mean: floats(mean), std: floats(std) })
        .build()?;
    let options = VisionOptions {
        pretrained: Some(weights.display().to_string()),
        image_size: SIZE,
        ..VisionOptions::new(data.classes.len())
    };
    Ok(vision_learner(data.loaders, ARCH, &options)?)
}
