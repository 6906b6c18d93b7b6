//! From options to a learner that is ready to train.

use crate::args::{Arch, Setup};
use crate::data;
use anyhow::{Result, bail};
use hardpan::learn::arch::Network;
use hardpan::learn::data::digits::{mean_and_std, normalize, shift};
use hardpan::learn::data::idx::Labelled;
use hardpan::learn::data::{DataLoader, DataLoaders, permutation};
use hardpan::learn::file::{Header, ImageInput};
use hardpan::prelude::*;
use serde::{Deserialize, Serialize};

/// Everything that decides how a run turns out. It is kept in checkpoints, so that a run can be taken up again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub data: String,
    pub arch: String,
    pub batch_size: usize,
    pub seed: u64,
    pub valid: Option<f64>,
    pub shift: usize,
    pub weight_decay: f64,
    pub label_smoothing: f64,
}

impl Settings {
    pub fn new(setup: &Setup, weight_decay: f64, label_smoothing: f64) -> Settings {
        let default_shift = if setup.arch == Arch::Cnn { 1 } else { 0 };
        Settings {
            data: setup.data.clone(),
            arch: setup.arch.name().to_owned(),
            batch_size: setup.bs,
            seed: setup.seed,
            valid: setup.valid,
            shift: setup.shift.unwrap_or(default_shift) as usize,
            weight_decay,
            label_smoothing,
        }
    }
}

/// A learner with what is to be said about it.
pub struct Ready {
    pub learn: Learner<Sequential>,
    pub header: Header,
    pub train_items: usize,
    pub valid_items: usize,
}

/// Reads the data and builds the learner. Seeds the random generator.
pub fn prepare(s: &Settings) -> Result<Ready> {
    let (train, valid) = split(s)?;
    let classes =
        train.labels.iter().chain(&valid.labels).map(|&l| l as usize + 1).max().unwrap_or(1);
    let classes = classes.max(2);
    let (rows, cols) = (train.rows, train.cols);
    let network = match s.arch.as_str() {
        "cnn" => Network::cnn(classes),
        "mlp" => Network::mlp(rows * cols, classes),
        other => bail!("this build has no network named `{other}`"),
    };
    let (mean, std) = mean_and_std(&train.images);
    let by = s.shift;
    let loaders = DataLoaders::new(
        DataLoader::new(train.dataset(classes)?, s.batch_size)?
            .shuffle(s.seed)
            .map(move |x, y| (normalize(&shift(&x, by), mean, std), y)),
        DataLoader::new(valid.dataset(classes)?, s.batch_size.max(256))?
            .map(move |x, y| (normalize(&x, mean, std), y)),
    );
    manual_seed(s.seed);
    let model = network.build();
    let smoothing = s.label_smoothing;
    let loss = move |pred: &Tensor, y: &Tensor| {
        let label_smoothing = if is_training() { smoothing } else { 0.0 };
        functional::cross_entropy_with(
            pred,
            y,
            functional::CrossEntropyOptions { label_smoothing, ..Default::default() },
        )
    };
    let learn = Learner::new(loaders, model, loss)
        .opt(Adam::fastai(1e-3).weight_decay(s.weight_decay))
        .metric(Mean::new("accuracy", accuracy));
    let header = Header {
        arch: Some(network.to_arch()),
        classes: (0..classes).map(|c| c.to_string()).collect(),
        input: Some(ImageInput {
            channels: 1,
            height: rows,
            width: cols,
            mean: vec![mean],
            std: vec![std],
        }),
        ..Header::default()
    };
    Ok(Ready { learn, header, train_items: train.len(), valid_items: valid.len() })
}

/// Validation is done without gradients; there the plain loss is wanted.
fn is_training() -> bool {
    hardpan::engine::is_grad_enabled()
}

/// Training and validation data: a share of the training data if asked for, else the data's own test part.
fn split(s: &Settings) -> Result<(Labelled, Labelled)> {
    let digits = data::open(&s.data)?;
    let Some(share) = s.valid else { return Ok((digits.train, digits.test)) };
    let all = digits.train;
    let n = (all.len() as f64 * share).round() as usize;
    if n == 0 || n == all.len() {
        bail!("--valid {share} of {} images leaves nothing on one side", all.len());
    }
    // A round of its own: no epoch has this order.
    let order = permutation(all.len(), s.seed, u64::MAX);
    Ok((select(&all, &order[n..]), select(&all, &order[..n])))
}

fn select(all: &Labelled, items: &[usize]) -> Labelled {
    let size = all.rows * all.cols;
    Labelled {
        images: items
            .iter()
            .flat_map(|&i| &all.images[i * size..(i + 1) * size])
            .copied()
            .collect(),
        labels: items.iter().map(|&i| all.labels[i]).collect(),
        rows: all.rows,
        cols: all.cols,
    }
}
