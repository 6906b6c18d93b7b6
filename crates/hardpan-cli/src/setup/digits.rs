//! Digits, and anything else in the four files of MNIST's format.

use super::{Ready, Settings, Suggested};
use crate::data;
use anyhow::{Result, bail};
use hardpan::learn::arch::Network;
use hardpan::learn::data::{DataLoader, DataLoaders, permutation};
use hardpan::learn::file::{Header, ImageInput};
use hardpan::prelude::*;
use hardpan::vision::data::{ImagePipeline, Stats};
use hardpan::vision::digits::idx::Labelled;
use hardpan::vision::digits::{mean_and_std, normalize, shift};
use hardpan::vision::models::{self, Model};
use hardpan::vision::plane::crop::ResizeMethod;
use hardpan::vision::predictor::InputSpec;

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
    if std == 0.0 {
        bail!("{}: all pixels of its training images are the same", s.data);
    }
    let digit = are_digits(&train);
    let stats = Stats { mean: vec![mean as f32], std: vec![std as f32] };
    let scale = if digit { Scale::Digits(mean, std) } else { Scale::Pictures(stats.clone()) };
    let of_train = scale.clone();
    let loaders = DataLoaders::new(
        DataLoader::new(train.dataset(classes)?, batch_size)?
            .shuffle(s.seed)
            .map(move |x, y| (of_train.apply(&shift(&x, by)), y)),
        DataLoader::new(valid.dataset(classes)?, batch_size.max(256))?
            .map(move |x, y| (scale.apply(&x), y)),
    );
    manual_seed(s.seed);
    let model = models::from_arch(&network.to_arch())?;
    let loss = super::cross_entropy_smoothed(*s.label_smoothing.get_or_insert(0.0));
    let learn =
        s.decayed(Learner::new(loaders, model, loss)).metric(Mean::new("accuracy", accuracy));
    let mut names = data::class_names(&s.data);
    names.truncate(classes);
    names.extend((names.len()..classes).map(|c| c.to_string()));
    let pipeline =
        ImagePipeline { method: ResizeMethod::Squish, stats, ..ImagePipeline::new(cols, rows, 1) };
    let input = InputSpec { digit, ..InputSpec::new(pipeline) };
    let header = Header {
        arch: Some(network.to_arch()),
        classes: names,
        input: Some(ImageInput {
            channels: 1,
            height: rows,
            width: cols,
            mean: vec![mean],
            std: vec![std],
        }),
        pipeline: serde_json::to_value(&input)?,
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

/// From the bytes of a batch `[N, H, W]` to the model's input.
#[derive(Clone)]
pub enum Scale {
    /// With mean and standard deviation in double precision.
    Digits(f64, f64),
    /// As pictures in files.
    Pictures(Stats),
}

impl Scale {
    /// `[N, 1, H, W]`, normalized.
    pub fn apply(&self, x: &Tensor) -> Tensor {
        match self {
            Scale::Digits(mean, std) => normalize(x, *mean, *std),
            Scale::Pictures(stats) => stats.normalize(&x.unsqueeze(1)),
        }
    }
}

/// Whether the pictures are made as MNIST's digits are: ink in the middle of something empty. Only then is a picture of a user brought
/// into that form before it is predicted.
fn are_digits(train: &Labelled) -> bool {
    let (h, w) = (train.rows, train.cols);
    let empty = |p: &[u8]| {
        let side = |column: usize| column == 0 || column == w - 1;
        let edge = |i: usize| i < w || i >= (h - 1) * w || side(i % w);
        (0..h * w).all(|i| !edge(i) || p[i] == 0)
    };
    let all = train.images.chunks_exact((h * w).max(1));
    let with_edges = all.filter(|p| !empty(p)).count();
    (h, w) == (28, 28) && with_edges * 100 <= train.len()
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
