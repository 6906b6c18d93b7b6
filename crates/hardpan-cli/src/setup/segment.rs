//! Pictures with a mask each.

use super::{Ready, Settings, Suggested};
use anyhow::{Result, bail};
use hardpan::learn::data::block::OnError;
use hardpan::learn::file::{Header, ImageInput};
use hardpan::prelude::*;
use hardpan::vision::augment::AugTransforms;
use hardpan::vision::data::{SegmentationDataLoaders, Stats};
use hardpan::vision::image::Mask;
use hardpan::vision::learner::{SegmentOptions, normalization_of, unet_learner};
use hardpan::vision::unet::DynamicUnet;
use std::path::{Path, PathBuf};

/// Folders of pictures and of their masks, as they are often named: the second by one of the first with an ending, or side by side.
const MASK_ENDINGS: [&str; 5] = ["annot", "_annot", "_masks", "_labels", "masks"];
const PICTURES: [&str; 3] = ["images", "imgs", "pictures"];
const MASKS: [&str; 4] = ["masks", "labels", "annotations", "segmentations"];

/// The pairs of folders (pictures, masks) for training and, if there is one, for validation.
struct Layout {
    train: (String, String),
    valid: Option<(String, String)>,
}

fn layout(folder: &Path) -> Option<Layout> {
    let is_dir = |name: &str| folder.join(name).is_dir();
    let pair = |name: &str| {
        let masks = MASK_ENDINGS.iter().map(|e| format!("{name}{e}")).find(|m| is_dir(m));
        masks.filter(|_| is_dir(name)).map(|m| (name.to_owned(), m))
    };
    if let Some(train) = ["train", "training"].into_iter().find_map(pair) {
        let valid = ["valid", "val", "validation", "test"].into_iter().find_map(pair);
        return Some(Layout { train, valid });
    }
    let pictures = PICTURES.into_iter().find(|n| is_dir(n))?;
    let masks = MASKS.into_iter().find(|n| is_dir(n))?;
    let inside = |part: &str| {
        let (p, m) = (format!("{pictures}/{part}"), format!("{masks}/{part}"));
        (is_dir(&p) && is_dir(&m)).then_some((p, m))
    };
    let train = inside("train").unwrap_or((pictures.into(), masks.into()));
    let valid = ["valid", "val", "validation", "test"].into_iter().find_map(inside);
    Some(Layout { train, valid })
}

/// Whether the folder is laid out as pictures with masks.
pub fn looks_like(folder: &Path) -> bool {
    layout(folder).is_some()
}

pub fn prepare(s: &mut Settings) -> Result<Ready<DynamicUnet>> {
    for (given, option) in [
        (s.shift.is_some(), "--shift"),
        (s.corrections.is_some(), "--corrections"),
        (s.valid_folder.is_some(), "--valid FOLDER"),
        (s.label_smoothing > 0.0, "--label-smoothing"),
        (s.mixup > 0.0, "--mixup"),
    ] {
        if given {
            bail!("{option} is not for --task segment");
        }
    }
    let folder = crate::data::folder_of(&s.data)?;
    let Some(layout) = layout(&folder) else {
        bail!(
            "{}: expected pictures and masks of the same names, in `images` and `masks`, or in `train` and `trainannot` \
             (and `val` and `valannot`)",
            folder.display()
        );
    };
    let codes = codes(&folder)?;
    let loaders = |s: &Settings| {
        let (train, masks) = (&layout.train.0, &layout.train.1);
        let mut loaders = match &layout.valid {
            Some((v, vm)) => SegmentationDataLoaders::from_folders(&folder, train, masks, v, vm),
            None => SegmentationDataLoaders::from_pairs(&folder, train, masks)
                .valid_fraction(s.valid.unwrap_or(0.2)),
        };
        loaders = loaders.seed(s.seed).batch_size(s.batch_size.unwrap_or(8)).codes(codes.names.clone());
        if let Some((w, h)) = s.size {
            loaders = loaders.size(w, h);
        }
        if let Some(workers) = s.workers {
            loaders = loaders.workers(workers);
        }
        if !s.strict {
            loaders = loaders.on_error(OnError::Skip);
        }
        loaders
    };
    let arch = s.arch.get_or_insert_with(|| "xresnet18".into()).clone();
    s.batch_size.get_or_insert(8);
    let mut loaders = loaders(s);
    if s.pretrained.is_some() {
        let (mean, std) = normalization_of(&arch);
        let f32s = |v: [f64; 3]| v.iter().map(|&v| v as f32).collect();
        loaders = loaders.stats(Stats { mean: f32s(mean), std: f32s(std) });
    }
    let data = loaders.build()?;
    let p = &data.pipeline;
    s.size = Some((p.width, p.height));
    manual_seed(s.seed);
    let options = SegmentOptions {
        channels: p.channels,
        void: codes.void,
        pretrained: s.pretrained.clone(),
        ..SegmentOptions::new(codes.classes, (p.height, p.width))
    };
    let learn = unet_learner(data.loaders.clone(), &arch, &options)?
        .opt(Adam::fastai(1e-3).weight_decay(s.weight_decay));
    todo_header()
}
