//! Pictures in class folders.

use super::{Ready, Settings, Suggested};
use crate::args::Augment;
use anyhow::{Context, Result, bail};
use hardpan::learn::data::block::OnError;
use hardpan::learn::file::{Header, ImageInput};
use hardpan::prelude::*;
use hardpan::vision::augment::AugTransforms;
use hardpan::vision::data::{AugmentChoice, ImageData, ImageDataLoaders, Stats};
use hardpan::vision::learner::{
    Defaults, VisionOptions, defaults_for, normalization_of, vision_learner,
};
use hardpan::vision::models::Model;
use hardpan::vision::predictor::{InputSpec, header_for};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub fn prepare(s: &mut Settings) -> Result<Ready<Model>> {
    if s.shift.is_some() {
        bail!("--shift is for digits in idx files; --augment is for pictures");
    }
    let folder = crate::data::folder_of(&s.data)?;
    let mut loaders = ImageDataLoaders::from_folder(&folder).seed(s.seed);
    if let Some(valid) = &s.valid_folder {
        // Joined to the data's folder by the loaders; an absolute path stays what it is.
        let valid = valid.canonicalize().with_context(|| format!("--valid {}", valid.display()))?;
        loaders = loaders.valid_folder(valid.to_string_lossy());
    }
    if let Some(share) = s.valid {
        loaders = loaders.valid_fraction(share);
    }
    if let Some(file) = &s.corrections {
        loaders = loaders.corrections(Corrections::read(file)?.0);
    }
    if !s.strict {
        loaders = loaders.on_error(OnError::Skip);
    }
    if let Some(workers) = s.workers {
        loaders = loaders.workers(workers);
    }
    if let Some((w, h)) = s.size {
        loaders = loaders.size_2d(w, h);
    }
    // A first look: how many pictures there are, and how large.
    let seen = loaders.build()?;
    let d = defaults_for(&seen, s.pretrained.is_some());
    let arch = s.arch.get_or_insert_with(|| d.arch.clone()).clone();
    let (width, height) = *s.size.get_or_insert(d.size);
    let batch_size = *s.batch_size.get_or_insert(d.batch_size.min(seen.train_files.len()).max(1));
    let augment = augment(s, &d);
    loaders = loaders.size_2d(width, height).batch_size(batch_size).augment(augment);
    if s.pretrained.is_some() {
        let (mean, std) = normalization_of(&arch);
        let f32s = |v: [f64; 3]| v.iter().map(|&v| v as f32).collect();
        loaders = loaders.channels(3).stats(Stats { mean: f32s(mean), std: f32s(std) });
    }
    let data = loaders.build()?;
    manual_seed(s.seed);
    let options = VisionOptions {
        channels: data.pipeline.channels,
        image_size: height,
        pretrained: s.pretrained.clone(),
        label_smoothing: s.label_smoothing,
        ..VisionOptions::new(data.classes.len())
    };
    let mut learn = vision_learner(data.loaders.clone(), &arch, &options)?
        .opt(Adam::fastai(1e-3).weight_decay(s.weight_decay));
    if s.pretrained.is_some() {
        learn.freeze();
    }
    let header =
        header_for(learn.model(), &data.classes, &input(&data), Header::default());
    let mut notes = data.notes.clone();
    let counts = data.class_counts();
    let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
    if let (Some(least), Some(most)) = (least, most)
        && most > 10 * least.max(1)
    {
        notes.push(format!(
            "classes are of very different sizes: {least} to {most} pictures; look at the rare ones in `hardpan report`"
        ));
    }
    Ok(Ready {
        train_items: data.train_files.len(),
        valid_items: data.valid_files.len(),
        suggested: Suggested { epochs: d.epochs, lr: d.lr },
        metric: "accuracy",
        notes,
        learn,
        header,
        data: Some(data),
    })
}

fn input(data: &ImageData) -> InputSpec {
    InputSpec::of_pipeline(&data.pipeline)
}
