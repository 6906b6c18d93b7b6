//! Pictures in class folders.

use super::{Ready, Settings, Suggested};
use crate::args::{Augment, Size};
use crate::pictures::{self, Split};
use anyhow::{Result, bail};
use hardpan::learn::data::block::OnError;
use hardpan::learn::file::Header;
use hardpan::prelude::*;
use hardpan::vision::augment::{AugTransforms, RandAugment, TrivialAugment};
use hardpan::vision::data::{AugmentChoice, SMALL, Stats};
use hardpan::vision::learner::{
    DataFacts, Method, TrainingPlan, VisionOptions, defaults_for, normalization_of, vision_learner,
};
use hardpan::vision::models::{Model, names};
use hardpan::vision::predictor::{InputSpec, header_for};

/// With fewer photos than this, published weights help much.
const FEW: usize = 5000;

pub fn prepare(s: &mut Settings) -> Result<Ready<Model>> {
    if s.shift.is_some() {
        bail!("--shift is for digits in idx files; --augment is for pictures");
    }
    let folder = crate::data::folder_of(&s.data)?;
    let split = Split {
        fraction: s.valid,
        folder: s.valid_folder.clone(),
        corrections: s.corrections.clone(),
        target: s.target.clone(),
        seed: s.seed,
    };
    let mut loaders = split.apply(pictures::loaders(&folder, s.target.as_deref())?)?;
    if !s.strict {
        loaders = loaders.on_error(OnError::Skip);
    }
    if let Some(workers) = s.workers {
        loaders = loaders.workers(workers);
    }
    if let Some((w, h)) = s.size.map(Size::square) {
        loaders = loaders.size_2d(w, h);
    }
    // A first look: how many pictures there are, and how large.
    let (seen, (w, h, channels)) = (loaders.build()?, loaders.typical_size()?);
    let plan = defaults_for(&DataFacts {
        items: seen.train_files.len(),
        classes: seen.classes.len(),
        pixels: w.min(h),
        pretrained: s.pretrained.is_some(),
        arch: s.arch.as_deref().and_then(|a| names().into_iter().find(|n| *n == a)),
    });
    let arch = s.arch.get_or_insert_with(|| plan.arch.into()).clone();
    let (width, height) = s.size.get_or_insert(Size::Side(plan.size)).square();
    // A batch that is not full would be the only one.
    let items = seen.train_files.len().max(1);
    let batch_size = *s.batch_size.get_or_insert(plan.batch_size.min(items));
    let label_smoothing = *s.label_smoothing.get_or_insert(plan.label_smoothing);
    let augment = augmentation(s.augment, &plan, width.min(height), channels == 1);
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
        label_smoothing,
        ..VisionOptions::new(data.classes.len())
    };
    let method = if s.pretrained.is_some() { Method::Adam } else { Method::of(&arch) };
    let learn = vision_learner(data.loaders.clone(), &arch, &options)?;
    let mut learn = s.decayed(method.set(learn));
    if s.pretrained.is_some() {
        learn.freeze();
    }
    let input = InputSpec::new(data.pipeline.clone());
    let header = header_for(learn.model(), &data.classes, &input, Header::default());
    let mut notes = data.notes.clone();
    let photos = data.pipeline.channels == 3 && width.min(height) > SMALL;
    if s.pretrained.is_none() && photos && data.train_files.len() < FEW {
        notes.push(
            "few pictures to learn from scratch with; `--pretrained efficientnet_lite0` starts from a network that knows \
             photos (`hardpan info --networks` lists more)"
                .into(),
        );
    }
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
        suggested: Suggested { epochs: plan.epochs, lr: plan.lr },
        metric: "accuracy",
        notes,
        learn,
        header,
        data: Some(data),
    })
}

/// What an option means for pictures of so many pixels a side.
fn augmentation(
    choice: Option<Augment>,
    plan: &TrainingPlan,
    pixels: usize,
    grey: bool,
) -> AugmentChoice {
    let (small, min_crop) = (pixels <= SMALL, plan.min_crop);
    match choice {
        Some(Augment::None) => AugmentChoice::Off,
        Some(Augment::Light) if small => AugmentChoice::Auto,
        Some(Augment::Light) => {
            AugmentChoice::Transforms(AugTransforms::none().flip(0.5), min_crop.max(0.5))
        }
        Some(Augment::Full) if small => AugmentChoice::Trivial(TrivialAugment::default()),
        Some(Augment::Full) => {
            // The random part is a zoom already.
            AugmentChoice::Transforms(AugTransforms::default().zoom(1.0, 1.0), min_crop)
        }
        Some(Augment::Rand) => AugmentChoice::Rand(RandAugment::default()),
        None if small && !grey => AugmentChoice::Moved((pixels as f64 * plan.shift) as usize),
        None => AugmentChoice::Auto,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_are_moved_by_a_share_of_the_size_that_was_asked_for() {
        let facts = |pixels, pretrained| DataFacts {
            items: 3000,
            classes: 10,
            pixels,
            pretrained,
            arch: None,
        };
        let at = |plan: &TrainingPlan, pixels| augmentation(None, plan, pixels, false);
        // Large pictures, brought to 64 pixels by `--size`.
        for pretrained in [false, true] {
            let plan = defaults_for(&facts(300, pretrained));
            assert!(plan.size > SMALL);
            assert_eq!(at(&plan, 64), AugmentChoice::Moved(8));
            assert_eq!(at(&plan, 96), AugmentChoice::Auto);
        }
        assert_eq!(at(&defaults_for(&facts(32, false)), 32), AugmentChoice::Moved(2));
    }
}
