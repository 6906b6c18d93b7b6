//! Pictures with a mask each.

use super::{Ready, Settings, Suggested};
use crate::args::{Augment, Size};
use anyhow::{Context, Result, bail};
use hardpan::learn::data::block::{OnError, image_files};
use hardpan::learn::file::Header;
use hardpan::prelude::*;
use hardpan::vision::augment::{AugTransforms, RandAugment};
use hardpan::vision::data::{AugmentChoice, SegmentationData, SegmentationDataLoaders, Stats};
use hardpan::vision::image::{Mask, Padding};
use hardpan::vision::learner::{
    PixelAccuracy, RegionOverlap, SegmentOptions, normalization_of, unet_learner,
};
use hardpan::vision::predictor::{InputSpec, masks_header};
use hardpan::vision::unet::{DynamicUnet, UnetOptions};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Folders of pictures and of their masks, as they are often named: the second by one of the first with an ending, or side by side.
const MASK_ENDINGS: [&str; 5] = ["annot", "_annot", "_masks", "_labels", "masks"];
const PICTURES: [&str; 3] = ["images", "imgs", "pictures"];
const MASKS: [&str; 4] = ["masks", "labels", "annotations", "segmentations"];

/// A picture and its mask.
pub type Pair = (PathBuf, PathBuf);

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
        (s.label_smoothing.is_some(), "--label-smoothing"),
        (s.mixup > 0.0, "--mixup"),
    ] {
        if given {
            bail!("{option} is not for --task segment");
        }
    }
    let folder = crate::data::folder_of(&s.data)?;
    // Weights without the name of a network are taken for the same one as with classes.
    let own = if s.pretrained.is_some() { "efficientnet_lite0" } else { "xresnet18" };
    let arch = s.arch.get_or_insert_with(|| own.into()).clone();
    s.batch_size.get_or_insert(8);
    let codes = Codes::of(&folder, &layout_of(&folder)?, s.void)?;
    s.void = codes.void;
    let mut loaded = data(s, &codes)?;
    let items = loaded.loaders.train.items();
    let size = (loaded.pipeline.width, loaded.pipeline.height);
    let plan = plan_for(items, size, s.size.is_none());
    let mut notes = Vec::new();
    if plan.size != size {
        let ((w, h), (full_w, full_h)) = (plan.size, size);
        notes.push(format!(
            "pictures are trained on at {w}x{h} instead of {full_w}x{full_h}, to be done within an hour; --size and --epochs say otherwise"
        ));
        s.size = Some(Size::Exact(w, h));
        loaded = data(s, &codes)?;
    }
    let p = &loaded.pipeline;
    s.size = Some(Size::Exact(p.width, p.height));
    manual_seed(s.seed);
    let options = SegmentOptions {
        channels: p.channels,
        void: codes.void,
        pretrained: s.pretrained.clone(),
        unet: UnetOptions { narrow: true, ..UnetOptions::default() },
        ..SegmentOptions::new(codes.classes, (p.height, p.width))
    };
    let mut learn = s.decayed(unet_learner(loaded.loaders.clone(), &arch, &options)?);
    if s.pretrained.is_some() {
        learn.freeze();
    }
    let input = InputSpec::new(p.clone());
    let header = masks_header(learn.model(), &codes.names, &input, Header::default());
    Ok(Ready {
        train_items: items,
        valid_items: loaded.loaders.valid.as_ref().map_or(0, |v| v.items()),
        suggested: Suggested { epochs: plan.epochs, lr: 2e-3 },
        metric: "pixel_accuracy",
        notes,
        learn,
        header,
        data: None,
    })
}

/// Operations of training that the defaults may take, in plain sums: about half an hour on two cores.
const BUDGET: f64 = 4.5e14;
/// Of those, what the usual network takes for a pixel.
const PER_PIXEL: f64 = 4.1e5;

/// What to train with when nobody says.
#[derive(Debug, PartialEq)]
struct Plan {
    size: (usize, usize),
    epochs: usize,
}

/// Twelve thousand pictures shown in all, or as many as the budget allows, and five times each at least. Where `may_shrink`, pictures
/// become smaller, down to half a side, until ten times each are allowed.
fn plan_for(items: usize, (width, height): (usize, usize), may_shrink: bool) -> Plan {
    // Halved five times on the way down the network.
    let scaled = |by: f64| {
        let side = |n: usize| ((n as f64 * by / 32.0).round() as usize * 32).max(32);
        (side(width), side(height))
    };
    let allowed = |(w, h): (usize, usize)| BUDGET / (items.max(1) * w * h) as f64 / PER_PIXEL;
    let small = [0.75, 0.5].map(scaled).into_iter().filter(|s| s.0 <= width && s.1 <= height);
    let sizes: Vec<_> = [(width, height)].into_iter().chain(small).collect();
    let fits = sizes.iter().find(|size| !may_shrink || allowed(**size) >= 10.0);
    let size = *fits.unwrap_or(&sizes[sizes.len() - 1]);
    let shown = (12_000 / items.max(1)).clamp(5, 40);
    Plan { size, epochs: shown.min(allowed(size) as usize).max(5) }
}

/// A learner of a saved model, over the data that `s` means, to measure it.
pub fn judge(s: &mut Settings, model: DynamicUnet) -> Result<Learner<DynamicUnet>> {
    let folder = crate::data::folder_of(&s.data)?;
    let codes = Codes::of(&folder, &layout_of(&folder)?, s.void)?;
    if codes.classes > model.outputs() {
        bail!(
            "{}: masks of {} classes, the model knows {}",
            s.data,
            codes.classes,
            model.outputs()
        );
    }
    let (data, void, classes) = (data(s, &codes)?, codes.void, model.outputs());
    let loss = move |pred: &Tensor, y: &Tensor| {
        let ignore_index = void.unwrap_or(-100);
        let options = functional::CrossEntropyOptions { ignore_index, ..Default::default() };
        functional::cross_entropy_with(pred, y, options)
    };
    Ok(Learner::new(data.loaders, model, loss)
        .metric(PixelAccuracy::new(void))
        .metric(RegionOverlap::iou(classes, void))
        .metric(RegionOverlap::dice(classes, void))
        .silent())
}

/// The pictures that were set aside in training with their masks, and the label of pixels that do not count.
pub fn valid_pairs(s: &mut Settings) -> Result<(Vec<Pair>, Option<i64>)> {
    let folder = crate::data::folder_of(&s.data)?;
    let codes = Codes::of(&folder, &layout_of(&folder)?, s.void)?;
    let data = data(s, &codes)?;
    let set = data.datasets.valid();
    let pairs = set.items().iter().map(|&i| set.all_items()[i].clone()).collect();
    Ok((pairs, codes.void))
}

fn layout_of(folder: &Path) -> Result<Layout> {
    match layout(folder) {
        Some(layout) => Ok(layout),
        None => bail!(
            "{}: expected pictures and masks of the same names, in `images` and `masks`, or in `train` and `trainannot` \
             (and `val` and `valannot`)",
            folder.display()
        ),
    }
}

fn data(s: &Settings, codes: &Codes) -> Result<SegmentationData> {
    let folder = crate::data::folder_of(&s.data)?;
    let layout = layout_of(&folder)?;
    let (train, masks) = (&layout.train.0, &layout.train.1);
    let mut loaders = match &layout.valid {
        Some((v, vm)) => SegmentationDataLoaders::from_folders(&folder, train, masks, v, vm),
        None => {
            let masks = by_stem(&folder.join(masks))?;
            let pictures = image_files(folder.join(train)).map_err(anyhow::Error::from_boxed)?;
            let of = move |p: &Path| masks.get(&stem(p)).cloned().unwrap_or_else(|| stem(p));
            SegmentationDataLoaders::from_label_func(pictures, of)
                .valid_fraction(s.valid.unwrap_or(0.2))
        }
    };
    loaders = loaders.seed(s.seed).batch_size(s.batch_size.unwrap_or(8)).codes(codes.names.clone());
    loaders = loaders.augment(augmentation(s.augment));
    loaders = match s.size {
        Some(Size::Exact(w, h)) => loaders.size(w, h),
        Some(Size::Side(side)) => loaders.shorter_side(side),
        None => loaders,
    };
    if let Some(workers) = s.workers {
        loaders = loaders.workers(workers);
    }
    if !s.strict {
        loaders = loaders.on_error(OnError::Skip);
    }
    if s.pretrained.is_some() {
        let (mean, std) = normalization_of(s.arch.as_deref().unwrap_or_default());
        let f32s = |v: [f64; 3]| v.iter().map(|&v| v as f32).collect();
        loaders = loaders.stats(Stats { mean: f32s(mean), std: f32s(std) });
    }
    Ok(loaders.build()?)
}

/// What an option means for pictures with masks. Beyond the edge is a reflection, so that every pixel has its class.
fn augmentation(choice: Option<Augment>) -> AugmentChoice {
    let parts = |transforms, least| AugmentChoice::Transforms(transforms, least);
    match choice {
        None => AugmentChoice::Auto,
        Some(Augment::None) => AugmentChoice::Off,
        Some(Augment::Light) => parts(AugTransforms::none().flip(0.5), 0.75),
        // The random part is a zoom already.
        Some(Augment::Full) => parts(AugTransforms::default().zoom(1.0, 1.0), 0.5),
        Some(Augment::Rand) => {
            let padding = Padding::Reflection;
            AugmentChoice::Rand(RandAugment { padding, ..RandAugment::default() })
        }
    }
}

fn stem(path: &Path) -> PathBuf {
    PathBuf::from(path.file_stem().unwrap_or_default())
}

fn by_stem(folder: &Path) -> Result<HashMap<PathBuf, PathBuf>> {
    let files = image_files(folder).map_err(anyhow::Error::from_boxed)?;
    Ok(files.into_iter().map(|f| (stem(&f), f)).collect())
}

/// The classes of masks.
struct Codes {
    /// As `codes.txt` names them, else their numbers.
    names: Vec<String>,
    /// Number of classes without the void one, if that is the last.
    classes: usize,
    /// The label of pixels that do not count.
    void: Option<i64>,
}

/// Masks looked at to see what classes there are.
const SAMPLED: usize = 200;

impl Codes {
    fn of(folder: &Path, layout: &Layout, void: Option<i64>) -> Result<Codes> {
        let masks = folder.join(&layout.train.1);
        let files = image_files(&masks).map_err(anyhow::Error::from_boxed)?;
        let step = files.len().div_ceil(SAMPLED).max(1);
        let mut seen = BTreeSet::new();
        for file in files.iter().step_by(step) {
            let mask = Mask::open(file).with_context(|| format!("reading {}", file.display()))?;
            seen.extend(mask.pixels().iter().map(|&p| i64::from(p)));
        }
        let text = std::fs::read_to_string(folder.join("codes.txt")).unwrap_or_default();
        let mut names: Vec<String> =
            text.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect();
        let named = |n: &String| {
            ["void", "unlabelled", "unlabeled", "ignore"].contains(&&*n.to_lowercase())
        };
        let void = void
            .or_else(|| names.iter().position(named).map(|i| i as i64))
            .or_else(|| seen.contains(&255).then_some(255));
        let largest = seen.iter().filter(|&&c| Some(c) != void).max();
        let Some(&largest) = largest else {
            bail!("{}: there are no masks with classes in it", masks.display());
        };
        let classes = (largest as usize + 1).max(2);
        for i in names.len()..classes {
            names.push(i.to_string());
        }
        names.truncate(classes);
        Ok(Codes { names, classes, void })
    }
}

#[cfg(test)]
mod tests {
    use super::plan_for;

    #[test]
    fn large_pictures_are_made_smaller_within_reason() {
        let few = plan_for(20, (320, 240), true);
        assert_eq!((few.size, few.epochs), ((320, 240), 40));
        let street = plan_for(367, (320, 240), true);
        assert_eq!((street.size, street.epochs), ((320, 240), 32));
        let many = plan_for(20_000, (500, 400), true);
        assert_eq!((many.size, many.epochs), ((256, 192), 5));
        assert_eq!(plan_for(367, (320, 240), false).size, (320, 240));
        assert_eq!(plan_for(100_000, (20, 20), true).size, (20, 20), "no larger than they are");
    }
}
