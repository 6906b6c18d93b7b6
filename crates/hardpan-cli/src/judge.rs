//! A model held against labelled pictures: for `eval` and `report`.

use crate::data;
use crate::output::Output;
use crate::pictures::{self, Part, Split};
use crate::setup::digits::Scale;
use crate::setup::{SAY_WHERE, Settings};
use anyhow::{Result, bail};
use hardpan::engine::flush_all;
use hardpan::prelude::*;
use hardpan::vision::image::Image;
use hardpan::vision::predictor::Predictor;
use serde::Deserialize;
use std::path::PathBuf;

/// What a model said of labelled pictures.
pub struct Judged {
    /// Where the pictures are: a file, or the number of a digit.
    pub items: Vec<Item>,
    /// The number of each one's class.
    pub targets: Vec<usize>,
    /// The probabilities of all classes, picture by picture.
    pub probabilities: Vec<f64>,
    /// Number of classes.
    pub classes: usize,
    /// What part of the data it is.
    pub part: String,
    /// Pictures that could not be read, and why.
    pub bad: Vec<String>,
}

/// A picture of the data.
#[derive(Clone)]
pub enum Item {
    File(PathBuf),
    Digit { number: usize, image: Image },
}

impl Item {
    /// As users know it.
    pub fn name(&self) -> String {
        match self {
            Item::File(path) => path.display().to_string(),
            Item::Digit { number, .. } => format!("test digit {number}"),
        }
    }

    /// The picture.
    pub fn image(&self) -> Option<Image> {
        match self {
            Item::File(path) => Image::open(path).ok(),
            Item::Digit { image, .. } => Some(image.clone()),
        }
    }
}

impl Judged {
    /// The probabilities for one picture.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.probabilities[i * self.classes..(i + 1) * self.classes]
    }

    /// The likeliest class of a picture; of equals the first.
    pub fn predicted(&self, i: usize) -> usize {
        let row = self.row(i);
        (1..self.classes).fold(0, |best, c| if row[c] > row[best] { c } else { best })
    }

    /// How many are right.
    pub fn right(&self) -> usize {
        (0..self.targets.len()).filter(|&i| self.predicted(i) == self.targets[i]).count()
    }

    /// The share that is right.
    pub fn accuracy(&self) -> f64 {
        self.right() as f64 / self.targets.len().max(1) as f64
    }

    /// Mean cross entropy.
    pub fn loss(&self) -> f64 {
        let of = |(i, &t): (usize, &usize)| -self.row(i)[t].max(f64::MIN_POSITIVE).ln();
        let sum: f64 = self.targets.iter().enumerate().map(of).sum();
        sum / self.targets.len().max(1) as f64
    }
}

/// The data that the model's file says it was trained on.
///
/// # Errors
/// If it is not there any more.
pub fn training_data(predictor: &Predictor) -> Result<String> {
    let p = &predictor.header().provenance;
    match Settings::deserialize(&p.settings) {
        Ok(settings) => settings.training_data(SAY_WHERE),
        Err(_) => Ok(p.data.clone().unwrap_or_else(|| "mnist".into())),
    }
}

/// Shows all labelled pictures of `word` to the model.
pub fn judge(
    predictor: &Predictor,
    word: &str,
    part: Part,
    batch: usize,
    tta: bool,
    out: &Output,
) -> Result<Judged> {
    if data::is_digits(word) {
        return digits(predictor, word, batch);
    }
    let folder = data::folder_of(word)?;
    let split = training_split(predictor, word);
    let labelled = pictures::labelled(&folder, predictor.classes(), part, split.as_ref())?;
    let mut judged = Judged {
        items: Vec::new(),
        targets: Vec::new(),
        probabilities: Vec::new(),
        classes: predictor.classes().len(),
        part: labelled.part.to_owned(),
        bad: Vec::new(),
    };
    for (files, targets) in labelled.files.chunks(batch).zip(labelled.targets.chunks(batch)) {
        let mut images = Vec::new();
        for ((file, &target), read) in files.iter().zip(targets).zip(pictures::read_all(files)) {
            match read {
                Ok(image) => {
                    images.push(image);
                    judged.items.push(Item::File(file.clone()));
                    judged.targets.push(target);
                }
                Err(e) => {
                    out.note(format!("left out: {e}"));
                    judged.bad.push(e.to_string());
                }
            }
        }
        let answers = if tta { predictor.tta(&images) } else { predictor.predict(&images) };
        judged.probabilities.extend(answers.into_iter().flat_map(|a| a.probabilities));
    }
    if judged.items.is_empty() {
        bail!("{word}: none of its {} pictures could be read", labelled.files.len());
    }
    Ok(judged)
}

/// If the model was trained on this very data, how that was divided and labelled, so that a model is never judged by what it learned from.
fn training_split(predictor: &Predictor, word: &str) -> Option<Split> {
    let p = &predictor.header().provenance;
    let settings = Settings::deserialize(&p.settings).ok();
    let same = match &settings {
        Some(settings) => settings.is_training_data(word),
        None => p.data.as_deref() == Some(word),
    };
    if !same {
        return None;
    }
    let of = |f: fn(Settings) -> Option<PathBuf>| settings.clone().and_then(f);
    Some(Split {
        fraction: p.settings.get("valid").and_then(|v| v.as_f64()),
        folder: of(|s| s.valid_folder),
        corrections: of(|s| s.corrections),
        target: settings.as_ref().and_then(|s| s.target.clone()),
        seed: p.seed?,
    })
}

fn digits(predictor: &Predictor, word: &str, batch: usize) -> Result<Judged> {
    let test = data::open(word)?.test;
    // As the training computed with them, to the last bit.
    let input = predictor.header().input.clone().unwrap_or_else(|| predictor.input().image());
    if input.channels != 1 {
        bail!("{word} has grey digits, the model takes pictures in colour");
    }
    if (test.rows, test.cols) != (input.height, input.width) {
        bail!(
            "{word} has images of {}x{}, the model takes {}x{}",
            test.rows,
            test.cols,
            input.height,
            input.width
        );
    }
    let classes = predictor.classes().len();
    let scale = match predictor.input().digit {
        true => Scale::Digits(input.mean[0], input.std[0]),
        false => Scale::Pictures(predictor.input().pipeline.stats.clone()),
    };
    let loader =
        DataLoader::new(test.dataset(classes)?, batch)?.map(move |x, y| (scale.apply(&x), y));
    let mut probabilities = Vec::new();
    for x in loader.batches(0) {
        let answers = predictor.predict_tensor(&x?.0);
        probabilities.extend(answers.into_iter().flat_map(|a| a.probabilities));
        flush_all();
    }
    let size = test.rows * test.cols;
    let image = |number: usize| {
        let pixels = test.images[number * size..(number + 1) * size].to_vec();
        Item::Digit { number, image: Image::new(test.cols, test.rows, 1, pixels) }
    };
    Ok(Judged {
        items: (0..test.len()).map(image).collect(),
        targets: test.labels.iter().map(|&l| usize::from(l)).collect(),
        probabilities,
        classes,
        part: "test".into(),
        bad: Vec::new(),
    })
}
