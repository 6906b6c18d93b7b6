//! Digits, and anything else in the four files of MNIST's format.

use super::{Ready, Settings, Suggested};
use crate::data;
use anyhow::{Result, bail};
use hardpan::learn::arch::Network;
use hardpan::learn::data::digits::{mean_and_std, normalize, shift};
use hardpan::learn::data::idx::Labelled;
use hardpan::learn::data::{DataLoader, DataLoaders, permutation};
use hardpan::learn::file::{Header, ImageInput};
use hardpan::prelude::*;
use hardpan::vision::models::{self, Model};

pub fn prepare(s: &mut Settings) -> Result<Ready<Model>> {
    let arch = s.arch.get_or_insert_with(|| "cnn".into()).clone();
    let by = *s.shift.get_or_insert(if arch == "cnn" { 1 } else { 0 });
    let batch_size = *s.batch_size.get_or_insert(64);
    for (given, option) in [
        (s.size.is_some(), "--size"),
        (s.pretrained.is_some(), "--pretrained"),
        (s.augment.is_some(), "--augment"),
        (s.corrections.is_some(), "--corrections"),
        (s.valid_folder.is_some(), "--valid FOLDER"),
    ] {
        if given {
            bail!("{option} is for pictures in files; {} has its digits in idx files", s.data);
        }
    }
    let (train, valid) = split(s)?;
    let classes =
        train.labels.iter().chain(&valid.labels).map(|&l| l as usize + 1).max().unwrap_or(1);
    let classes = classes.max(2);
    let (rows, cols) = (train.rows, train.cols);
    let network = match arch.as_str() {
        "cnn" => Network::cnn(classes),
        "mlp" => Network::mlp(rows * cols, classes),
        other => bail!("digits are learned by cnn or mlp, not by `{other}`"),
    };
    let (mean, std) = mean_and_std(&train.images);
    let loaders = DataLoaders::new(
        DataLoader::new(train.dataset(classes)?, batch_size)?
            .shuffle(s.seed)
            .map(move |x, y| (normalize(&shift(&x, by), mean, std), y)),
        DataLoader::new(valid.dataset(classes)?, batch_size.max(256))?
            .map(move |x, y| (normalize(&x, mean, std), y)),
    );
    manual_seed(s.seed);
    let model = models::from_arch(&network.to_arch())?;
    let learn = Learner::new(
        loaders,
        model,
        super::cross_entropy_smoothed(*s.label_smoothing.get_or_insert(0.0)),
    )
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
    Ok(Ready {
        learn,
        header,
        train_items: train.len(),
        valid_items: valid.len(),
        suggested: Suggested { epochs: 5, lr: 0.01 },
        metric: "accuracy",
        notes: Vec::new(),
        data: None,
    })
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
