//! [`SegmentationDataLoaders`]: pictures with a mask each.

use super::image_data::{Prepare, Sample, ToSize};
use super::{
    AugmentChoice, FolderOrDataError, ImageBlock, ImagePipeline, MaskBlock, Normalize, Stats,
};
use crate::augment::AugTransforms;
use crate::plane::crop::{
    Flip, FlipInTurns, Presize, RandomCrop, RandomResizedCrop, ResizeMethod, TrainOnly,
};
use hardpan_engine::Tensor;
use hardpan_learn::data::block::{DataBlock, Datasets, MaskSplitter, OnError, RandomSplitter};
use hardpan_learn::data::{DataError, DataLoaders};
use std::path::{Path, PathBuf};

/// A picture and its mask.
type Pair = (PathBuf, PathBuf);

/// What was said of the size.
#[derive(Clone, Copy)]
enum Size {
    ByThePictures,
    Shorter(usize),
    Exact(usize, usize),
}

/// Makes loaders for pictures with a class for each pixel. Counterpart: fastai's `SegmentationDataLoaders`.
///
/// ```no_run
/// use hardpan_vision::data::SegmentationDataLoaders;
/// // train/1.png has its mask in trainannot/1.png, and so on for val.
/// let data = SegmentationDataLoaders::from_folders("camvid", "train", "trainannot", "val", "valannot")
///     .codes(["sky", "building", "pole", "road"])
///     .batch_size(8)
///     .build()?;
/// let (x, y) = data.loaders.train.one_batch()?; // [8, 3, H, W], [8, H, W]
/// # Ok::<(), hardpan_vision::data::FolderOrDataError>(())
/// ```
#[derive(Clone)]
pub struct SegmentationDataLoaders {
    pairs: Result<Vec<Pair>, String>,
    valid: Option<Vec<bool>>,
    valid_fraction: f64,
    codes: Vec<String>,
    size: Size,
    batch_size: usize,
    seed: u64,
    workers: Option<usize>,
    augment: AugmentChoice,
    stats: Option<Stats>,
    on_error: OnError,
    cache: u64,
}

/// Loaders, and what is known about the data.
#[derive(Clone)]
pub struct SegmentationData {
    /// Inputs `[N, 3, H, W]` of f32, normalized; targets `[N, H, W]` of i64.
    pub loaders: DataLoaders<Tensor, Tensor>,
    /// Names of the classes 0, 1, ..., if they were given.
    pub codes: Vec<String>,
    /// What a saved model needs to treat new pictures alike.
    pub pipeline: ImagePipeline,
    /// The data block's view of it all.
    pub datasets: Datasets<Pair, ImageBlock, MaskBlock>,
}

impl SegmentationDataLoaders {
    /// These pictures, with the mask's file for each by a function. Counterpart: `from_label_func`.
    pub fn from_label_func(
        files: impl IntoIterator<Item = PathBuf>,
        mask: impl Fn(&Path) -> PathBuf,
    ) -> SegmentationDataLoaders {
        let pairs = files.into_iter().map(|f| {
            let mask = mask(&f);
            (f, mask)
        });
        SegmentationDataLoaders::new(Ok(pairs.collect()), None)
    }

    /// Pictures of `train` and `valid` with masks of the same names (endings may differ) in other folders, all inside `path`.
    pub fn from_folders(
        path: impl AsRef<Path>,
        train: &str,
        train_masks: &str,
        valid: &str,
        valid_masks: &str,
    ) -> SegmentationDataLoaders {
        let path = path.as_ref();
        let both = || -> Result<(Vec<Pair>, Vec<bool>), String> {
            let mut pairs = matched(&path.join(train), &path.join(train_masks))?;
            let mut is_valid = vec![false; pairs.len()];
            pairs.extend(matched(&path.join(valid), &path.join(valid_masks))?);
            is_valid.resize(pairs.len(), true);
            Ok((pairs, is_valid))
        };
        match both() {
            Ok((pairs, valid)) => SegmentationDataLoaders::new(Ok(pairs), Some(valid)),
            Err(e) => SegmentationDataLoaders::new(Err(e), None),
        }
    }

    fn new(pairs: Result<Vec<Pair>, String>, valid: Option<Vec<bool>>) -> SegmentationDataLoaders {
        SegmentationDataLoaders {
            pairs,
            valid,
            valid_fraction: 0.2,
            codes: Vec::new(),
            size: Size::ByThePictures,
            batch_size: 8,
            seed: 42,
            workers: None,
            augment: AugmentChoice::Auto,
            stats: None,
            on_error: OnError::Fail,
            cache: 1 << 30,
        }
    }

    /// Names of the classes 0, 1, ...
    #[must_use]
    pub fn codes<S: Into<String>>(mut self, codes: impl IntoIterator<Item = S>) -> Self {
        self.codes = codes.into_iter().map(Into::into).collect();
        self
    }

    /// How much is for validation where the data does not say; default 0.2.
    #[must_use]
    pub fn valid_fraction(mut self, fraction: f64) -> Self {
        self.valid_fraction = fraction;
        self
    }

    /// Width and height; default: as the pictures are, if they are alike and of up to 512 pixels a side, else in their proportions with a
    /// shorter side of at most 224.
    #[must_use]
    pub fn size(mut self, width: usize, height: usize) -> Self {
        self.size = Size::Exact(width, height);
        self
    }

    /// The shorter side; the other one is by the pictures' proportions. Both become multiples of 32, which networks halve most easily (of 4
    /// below 64), unless that is the pictures' own size.
    #[must_use]
    pub fn shorter_side(mut self, pixels: usize) -> Self {
        self.size = Size::Shorter(pixels);
        self
    }

    /// Items in a training batch, default 8.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Seed of the split, the order, and all random changes; default 42.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Threads that load; default: as many as there are cores, at most 8.
    #[must_use]
    pub fn workers(mut self, threads: usize) -> Self {
        self.workers = Some(threads);
        self
    }

    /// How training pictures are changed at random; masks move with them, each pixel the class of the nearest one. Default: fastai's
    /// transforms of the whole picture. What [`TrivialAugment`](crate::augment::TrivialAugment) and
    /// [`RandAugment`](crate::augment::RandAugment) show beyond an edge is black and of class 0 unless their `padding` says otherwise.
    #[must_use]
    pub fn augment(mut self, choice: AugmentChoice) -> Self {
        self.augment = choice;
        self
    }

    /// Mean and standard deviation to normalize by; default: ImageNet's.
    #[must_use]
    pub fn stats(mut self, stats: Stats) -> Self {
        self.stats = Some(stats);
        self
    }

    /// Whether a file that cannot be read ends training (default) or is left out.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Keeps decoded pictures in memory up to so many bytes in all; default 1 GiB.
    #[must_use]
    pub fn cache(mut self, bytes: u64) -> Self {
        self.cache = bytes;
        self
    }

    /// Makes the loaders.
    ///
    /// # Errors
    /// If there is nothing to learn from.
    pub fn build(&self) -> Result<SegmentationData, FolderOrDataError> {
        let pairs = self.pairs.clone().map_err(DataError::Setup)?;
        let labelled: Vec<(PathBuf, String)> =
            pairs.iter().map(|(x, _)| (x.clone(), String::new())).collect();
        let (w, h) = match self.size {
            Size::Exact(w, h) => (w, h),
            Size::Shorter(side) => Sample::of(&labelled).in_proportion(side),
            Size::ByThePictures => whole(&Sample::of(&labelled)),
        };
        let mut pipeline =
            ImagePipeline { method: ResizeMethod::Squish, ..ImagePipeline::new(w, h, 3) };
        pipeline.stats = self.stats.clone().unwrap_or_else(|| Stats::imagenet(3));
        pipeline.check().map_err(|e| DataError::Setup(e.to_string()))?;
        let mut block = DataBlock::new(ImageBlock::new(3), MaskBlock::new(self.codes.clone()))
            .get_x(|(x, _): &Pair| Ok(x.clone()))
            .get_y(|(_, y)| Ok(y.clone()))
            .name(|(x, _)| x.display().to_string())
            .item_tfm(Prepare(pipeline.clone()));
        let to_size = TrainOnly(ToSize(pipeline.clone()));
        block = match &self.augment {
            AugmentChoice::Off => block.item_tfm(to_size),
            AugmentChoice::Auto => {
                let transforms = AugTransforms::default().fill(&pipeline.stats);
                block.item_tfm(to_size).item_tfm(transforms)
            }
            AugmentChoice::Transforms(transforms, least) => {
                let block = match *least < 1.0 {
                    true => {
                        let presize = (w.min(h) as f64 * 1.15 / least.sqrt()).ceil() as usize;
                        let proportions = w as f64 / h as f64;
                        let part = RandomResizedCrop {
                            ratio: (proportions * 0.75, proportions / 0.75),
                            ..RandomResizedCrop::new(w, h).min_scale(*least)
                        };
                        block.item_tfm(Presize::new(presize)).item_tfm(TrainOnly(part))
                    }
                    false => block.item_tfm(to_size),
                };
                block.item_tfm(transforms.clone().fill(&pipeline.stats))
            }
            AugmentChoice::Moved(pixels) => block
                .item_tfm(to_size)
                .item_tfm(TrainOnly(RandomCrop::new(w, h).pad(*pixels)))
                .item_tfm(FlipInTurns),
            AugmentChoice::Trivial(trivial) => {
                block.item_tfm(to_size).item_tfm(Flip::default()).item_tfm(trivial.clone())
            }
            AugmentChoice::Rand(rand) => {
                block.item_tfm(to_size).item_tfm(Flip::default()).item_tfm(rand.clone())
            }
        };
        block = block
            .batch_tfm(Normalize(pipeline.stats.clone()))
            .on_error(self.on_error)
            .cache(self.cache)
            .seed(self.seed);
        block = match &self.valid {
            Some(valid) => block.splitter(MaskSplitter(valid.clone())),
            None => block.splitter(RandomSplitter::new(self.valid_fraction, self.seed)),
        };
        let datasets = block.datasets_of(pairs)?;
        let workers = self
            .workers
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from).min(8));
        let mut loaders = datasets.loaders(self.batch_size)?;
        loaders.train = loaders.train.workers(workers);
        loaders.valid = loaders.valid.map(|v| v.workers(workers));
        Ok(SegmentationData { loaders, codes: self.codes.clone(), pipeline, datasets })
    }
}

/// Pictures that are all alike keep their size up to 512 pixels, for masks lose by resizing; others keep their proportions.
fn whole(pictures: &Sample) -> (usize, usize) {
    match pictures.size_up_to(512) {
        (w, h) if w == h => pictures.in_proportion(w),
        size => size,
    }
}

/// Pictures of one folder and masks of the same names in another.
fn matched(pictures: &Path, masks: &Path) -> Result<Vec<Pair>, String> {
    let list = |p: &Path| hardpan_learn::data::block::image_files(p).map_err(|e| e.to_string());
    let stem = |root: &Path, p: &Path| p.strip_prefix(root).unwrap_or(p).with_extension("");
    let by_stem: std::collections::HashMap<PathBuf, PathBuf> =
        list(masks)?.into_iter().map(|m| (stem(masks, &m), m)).collect();
    let pair = |x: PathBuf| {
        let mask = by_stem.get(&stem(pictures, &x)).cloned();
        mask.map(|m| (x.clone(), m)).ok_or_else(|| {
            format!("{}: there is no mask for it in {}", x.display(), masks.display())
        })
    };
    list(pictures)?.into_iter().map(pair).collect()
}
