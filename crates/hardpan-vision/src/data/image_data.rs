//! [`ImageDataLoaders`]: pictures with a class each, with the usual choices made.

use super::folder::{self, Found, Labelled};
use super::{FolderError, ImageBlock, ImagePipeline, Normalize, Stats};
use crate::augment::{AugTransforms, RandAugment, TrivialAugment};
use crate::image::{DecodeOptions, Image};
use crate::plane::Spatial;
use crate::plane::crop::{
    Flip, FlipInTurns, Presize, RandomCrop, RandomResizedCrop, ResizeMethod, TrainOnly,
};
use hardpan_engine::Tensor;
use hardpan_learn::data::block::{
    BadItem, BoxError, CategoryBlock, DataBlock, Datasets, ItemDataset, ItemTransform,
    MaskSplitter, OnError, RegexLabeller, Shown, StratifiedSplitter,
};
use hardpan_learn::data::table::Table;
use hardpan_learn::data::{DataError, DataLoader, DataLoaders, Draw};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Pictures whose shorter side has up to so many pixels are small: they are moved, since they would lose by being cut and enlarged.
pub const SMALL: usize = 64;

/// How training pictures are changed at random.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum AugmentChoice {
    /// By what the pictures are. Up to 64 pixels: [`Moved`](AugmentChoice::Moved) by up to an eighth. Larger: a random part of at least half
    /// the area, then [`AugTransforms::default`] (fastai's). Grey ones are never mirrored: they are digits, letters, scans.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// Moved by up to so many pixels each way and, unless they are grey, mirrored in every second epoch.
    Moved(usize),
    /// In this way, after a random part of at least so much of the area was brought to size (1: the middle).
    Transforms(AugTransforms, f64),
    /// One random change of random strength each, after mirroring and shifting.
    Trivial(TrivialAugment),
    /// Some random changes of one strength each, after mirroring and, up to 64 pixels, shifting, else taking a random part of at least
    /// half the area. Grey pictures are not mirrored.
    Rand(RandAugment),
}

/// Where pictures and labels come from.
#[derive(Clone)]
enum Source {
    Folder { path: PathBuf, valid: Option<String> },
    Files { files: Vec<Labelled>, valid: Option<Vec<bool>> },
    Failed(String),
}

/// Makes loaders for pictures with one class each. Counterpart: fastai's `ImageDataLoaders`.
///
/// ```no_run
/// use hardpan_vision::data::ImageDataLoaders;
/// let data = ImageDataLoaders::from_folder("pets").size(128).batch_size(64).seed(42).build()?;
/// println!("{:?}", data.classes);
/// let (x, y) = data.loaders.train.one_batch()?; // [64, 3, 128, 128], [64]
/// # Ok::<(), hardpan_vision::data::FolderOrDataError>(())
/// ```
///
/// It is no more than a [`DataBlock`] of an [`ImageBlock`] and a [`CategoryBlock`] with the picture brought to size and changed at
/// random as item transforms and [`Normalize`] as batch transform.
#[derive(Clone)]
pub struct ImageDataLoaders {
    source: Source,
    valid_fraction: f64,
    size: Option<(usize, usize)>,
    method: ResizeMethod,
    margin: f64,
    channels: Option<usize>,
    batch_size: usize,
    seed: u64,
    workers: Option<usize>,
    augment: AugmentChoice,
    stats: Option<Stats>,
    stats_of_data: bool,
    on_error: OnError,
    cache: u64,
    corrections: BTreeMap<PathBuf, Option<String>>,
    item_tfms: Vec<Arc<dyn ItemTransform<Image, hardpan_learn::data::block::Category>>>,
}

/// Why there are no loaders.
#[derive(Debug, thiserror::Error)]
pub enum FolderOrDataError {
    /// The folder is not one to train on.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// What is in it cannot be made into batches.
    #[error(transparent)]
    Data(#[from] DataError),
}

type Kind = (PathBuf, String);
type Sets = Datasets<Kind, ImageBlock, CategoryBlock>;

/// Loaders, and what is known about the data.
#[derive(Clone)]
pub struct ImageData {
    /// Inputs `[N, C, H, W]` of f32, normalized; targets `[N]` of i64.
    pub loaders: DataLoaders<Tensor, Tensor>,
    /// Names of the classes, in the order of their numbers.
    pub classes: Vec<String>,
    /// What a saved model needs to treat new pictures alike.
    pub pipeline: ImagePipeline,
    /// Files to learn from, and the number of each one's class.
    pub train_files: Vec<(PathBuf, usize)>,
    /// Files to judge by, in the order of the validation loader.
    pub valid_files: Vec<(PathBuf, usize)>,
    /// Files with classes in a folder `test` that took no part.
    pub test_files: Vec<(PathBuf, String)>,
    /// What users should know: folders without pictures, a test folder that is used for validation.
    pub notes: Vec<String>,
    /// The data block's view of it all.
    pub datasets: Sets,
    batch_size: usize,
    workers: usize,
}

impl ImageDataLoaders {
    fn new(source: Source) -> ImageDataLoaders {
        ImageDataLoaders {
            source,
            valid_fraction: 0.2,
            size: None,
            method: ResizeMethod::Crop,
            margin: 0.0,
            channels: None,
            batch_size: 64,
            seed: 42,
            workers: None,
            augment: AugmentChoice::Auto,
            stats: None,
            stats_of_data: false,
            on_error: OnError::Fail,
            cache: 1 << 30,
            corrections: BTreeMap::new(),
            item_tfms: Vec::new(),
        }
    }

    /// Pictures in class folders, which may lie in `train` and `valid` (or `val`, `validation`, or else `test`). Without such a folder
    /// a random part of each class is for validation. Pictures may lie deeper; hidden files are left out; a picture with a strange
    /// name is known by its bytes. Counterpart: `from_folder`.
    pub fn from_folder(path: impl AsRef<Path>) -> ImageDataLoaders {
        let path = path.as_ref().to_owned();
        ImageDataLoaders::new(Source::Folder { path, valid: None })
    }

    /// These files, labelled by a function of their paths. Counterpart: `from_path_func`.
    pub fn from_path_func<E: Into<BoxError>>(
        files: impl IntoIterator<Item = PathBuf>,
        label: impl Fn(&Path) -> Result<String, E>,
    ) -> ImageDataLoaders {
        let labelled: Result<Vec<Labelled>, String> = files
            .into_iter()
            .map(|f| match label(&f) {
                Ok(l) => Ok((f, l)),
                Err(e) => Err(format!("label of {}: {}", f.display(), e.into())),
            })
            .collect();
        ImageDataLoaders::new(match labelled {
            Ok(files) => Source::Files { files, valid: None },
            Err(e) => Source::Failed(e),
        })
    }

    /// These files, labelled by the first group of a regular expression in their names, such as `^(.+)_\d+\.jpg$`. Counterpart:
    /// `from_name_re`.
    pub fn from_name_re(
        files: impl IntoIterator<Item = PathBuf>,
        pattern: &str,
    ) -> ImageDataLoaders {
        match RegexLabeller::new(pattern) {
            Ok(re) => ImageDataLoaders::from_path_func(files, |f| re.of_name(f)),
            Err(e) => ImageDataLoaders::new(Source::Failed(e.to_string())),
        }
    }

    /// As [`from_name_re`](ImageDataLoaders::from_name_re) with the expression sought in the whole path. Counterpart: `from_path_re`.
    pub fn from_path_re(
        files: impl IntoIterator<Item = PathBuf>,
        pattern: &str,
    ) -> ImageDataLoaders {
        match RegexLabeller::new(pattern) {
            Ok(re) => ImageDataLoaders::from_path_func(files, |f| re.of_path(f)),
            Err(e) => ImageDataLoaders::new(Source::Failed(e.to_string())),
        }
    }

    /// Files and their labels, equally many. Counterpart: `from_lists`.
    ///
    /// # Panics
    /// If they are not.
    #[track_caller]
    pub fn from_lists(files: Vec<PathBuf>, labels: Vec<String>) -> ImageDataLoaders {
        assert!(
            files.len() == labels.len(),
            "ImageDataLoaders::from_lists: {} files but {} labels",
            files.len(),
            labels.len()
        );
        let files = files.into_iter().zip(labels).collect();
        ImageDataLoaders::new(Source::Files { files, valid: None })
    }

    /// Files and labels in columns of a CSV file with a line of names at the top; names of files are relative to `folder`. With
    /// `valid_column`, rows where it says `true`, `1` or `valid` are for validation. Counterpart: `from_csv`.
    pub fn from_csv(
        csv: impl AsRef<Path>,
        folder: impl AsRef<Path>,
        file_column: &str,
        label_column: &str,
        valid_column: Option<&str>,
    ) -> ImageDataLoaders {
        let read = || -> Result<Source, BoxError> {
            let (mut files, mut valid) = (Vec::new(), Vec::new());
            for row in Table::read_csv(&csv, b',')?.rows() {
                let file = folder.as_ref().join(row.get(file_column)?);
                files.push((file, row.get(label_column)?.to_owned()));
                if let Some(column) = valid_column {
                    let yes = ["true", "1", "yes", "valid"];
                    valid.push(yes.contains(&&*row.get(column)?.to_lowercase()));
                }
            }
            Ok(Source::Files { files, valid: valid_column.map(|_| valid) })
        };
        ImageDataLoaders::new(read().unwrap_or_else(|e| Source::Failed(e.to_string())))
    }

    /// The name of the folder for validation, if it is not one of the usual ones.
    #[must_use]
    pub fn valid_folder(mut self, name: impl Into<String>) -> Self {
        if let Source::Folder { valid, .. } = &mut self.source {
            *valid = Some(name.into());
        }
        self
    }

    /// How much of each class is for validation where the data does not say; default 0.2.
    ///
    /// # Panics
    /// If it is not in [0, 1).
    #[must_use]
    #[track_caller]
    pub fn valid_fraction(mut self, fraction: f64) -> Self {
        assert!((0.0..1.0).contains(&fraction), "valid_fraction: {fraction} is not in [0, 1)");
        self.valid_fraction = fraction;
        self
    }

    /// Pictures become squares of so many pixels. Default: small pictures keep their size, large ones become 224.
    #[must_use]
    pub fn size(self, pixels: usize) -> Self {
        self.size_2d(pixels, pixels)
    }

    /// Pictures become so wide and so high.
    ///
    /// # Panics
    /// If that is no pixel.
    #[must_use]
    #[track_caller]
    pub fn size_2d(mut self, width: usize, height: usize) -> Self {
        assert!(width * height > 0, "size: {width}x{height} has no pixels");
        self.size = Some((width, height));
        self
    }

    /// How validation pictures of other proportions are brought to size; default: their middle is cut out.
    #[must_use]
    pub fn method(mut self, method: ResizeMethod) -> Self {
        self.method = method;
        self
    }

    /// See [`ImagePipeline::margin`]; default 0.
    #[must_use]
    pub fn margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }

    /// 1 or 3. Default: 1 if the pictures are grey.
    #[must_use]
    pub fn channels(mut self, channels: usize) -> Self {
        self.channels = Some(channels);
        self
    }

    /// Items in a training batch, default 64; validation batches are twice as large.
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

    /// Threads that load; default: as many as there are cores, at most 8. 0: the training thread loads.
    #[must_use]
    pub fn workers(mut self, threads: usize) -> Self {
        self.workers = Some(threads);
        self
    }

    /// Pictures whose shorter side has up to so many pixels are small: they are moved, since they would lose by being cut and enlarged.
    pub const SMALL: usize = 64;

    /// How training pictures are changed at random.
    #[must_use]
    pub fn augment(mut self, choice: AugmentChoice) -> Self {
        self.augment = choice;
        self
    }

    /// One more transform of items, before any of the random ones and after the validation pictures have their size.
    #[must_use]
    pub fn item_tfm(
        mut self,
        tfm: impl ItemTransform<Image, hardpan_learn::data::block::Category> + 'static,
    ) -> Self {
        self.item_tfms.push(Arc::new(tfm));
        self
    }

    /// Mean and standard deviation to normalize by; default: ImageNet's for colours, the data's own for grey.
    #[must_use]
    pub fn stats(mut self, stats: Stats) -> Self {
        self.stats = Some(stats);
        self
    }

    /// Normalizes by the data's own mean and standard deviation, from a sample of 256 pictures.
    #[must_use]
    pub fn stats_of_data(mut self) -> Self {
        self.stats_of_data = true;
        self
    }

    /// Whether a picture that cannot be read ends training (default) or is left out; see [`ImageData::bad_files`].
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

    /// Labels to use instead of what the data says; `None` leaves the file out. A key means the file of that path, or all files whose
    /// path ends with it (whole parts: `cat/1.jpg` is no end of `bobcat/1.jpg`). Keys that fit no file are told in
    /// [`ImageData::notes`].
    #[must_use]
    pub fn corrections(mut self, labels: BTreeMap<PathBuf, Option<String>>) -> Self {
        self.corrections = labels;
        self
    }

    /// Width, height and channels that are typical of the pictures (medians over a sample), to choose settings by before building.
    ///
    /// # Errors
    /// If there is nothing to learn from, or none of the sample can be read.
    pub fn typical_size(&self) -> Result<(usize, usize, usize), FolderOrDataError> {
        let sample = Sample::of(&self.find()?.train);
        let none = || DataError::Setup("none of the pictures that were tried can be read".into());
        Ok(sample.typical().ok_or_else(none)?)
    }

    /// Applies the corrections.
    fn correct(&self, found: &mut Found) {
        if self.corrections.is_empty() {
            return;
        }
        let mut used = BTreeSet::new();
        let mut correct = |files: Vec<Labelled>| -> Vec<Labelled> {
            let one = |(path, label): Labelled| {
                // The whole path, then ever shorter ends of it.
                let mut end = path.as_path();
                let mut key = self.corrections.get_key_value(end);
                while key.is_none() {
                    let mut parts = end.components();
                    parts.next()?;
                    end = parts.as_path();
                    if end.as_os_str().is_empty() {
                        return Some((path, label));
                    }
                    key = self.corrections.get_key_value(end);
                }
                let (key, new) = key?;
                used.insert(key.clone());
                new.clone().map(|label| (path, label))
            };
            files.into_iter().filter_map(one).collect()
        };
        found.train = correct(std::mem::take(&mut found.train));
        found.valid = found.valid.take().map(&mut correct);
        found.test = correct(std::mem::take(&mut found.test));
        for key in self.corrections.keys().filter(|k| !used.contains(*k)) {
            found.notes.push(format!("correction of {}: there is no such file", key.display()));
        }
    }

    /// Looks through the data and makes the loaders.
    ///
    /// # Errors
    /// If there is nothing to learn from, or files cannot be read. Pictures are opened when loaded, not here (save for a few, to see
    /// how large they are).
    pub fn build(&self) -> Result<ImageData, FolderOrDataError> {
        let mut found = self.find()?;
        self.correct(&mut found);
        folder::check_classes(Path::new("labels"), &found)?;
        let sample = Sample::of(&found.train);
        let (width, height) = self.size.unwrap_or_else(|| sample.size());
        let channels = self.channels.unwrap_or_else(|| sample.channels());
        let mut pipeline = ImagePipeline {
            width,
            height,
            method: self.method,
            margin: self.margin,
            ..ImagePipeline::new(1, 1, channels)
        };
        pipeline.check().map_err(|e| DataError::Setup(e.to_string()))?;
        pipeline.stats = match &self.stats {
            Some(stats) => stats.clone(),
            None if self.stats_of_data || channels == 1 => measure(&found.train, &pipeline),
            None => Stats::imagenet(channels),
        };
        pipeline.check().map_err(|e| DataError::Setup(e.to_string()))?;

        let mut items = found.train;
        let mut is_valid = vec![false; items.len()];
        let mut block = DataBlock::new(ImageBlock::new(channels), CategoryBlock::new())
            .get_x(|(path, _): &Kind| Ok(path.clone()))
            .get_y(|(_, label)| Ok(label.clone()))
            .name(|(path, _)| path.display().to_string())
            .item_tfm(Prepare(pipeline.clone()));
        for tfm in &self.item_tfms {
            block = block.item_tfm(tfm.clone());
        }
        block = self
            .random(block, &pipeline)
            .batch_tfm(Normalize(pipeline.stats.clone()))
            .on_error(self.on_error)
            .cache(self.cache)
            .seed(self.seed);
        block = match found.valid {
            Some(valid) => {
                is_valid.resize(items.len() + valid.len(), true);
                items.extend(valid);
                block.splitter(MaskSplitter(is_valid))
            }
            None => {
                let label = |(_, label): &Kind| Ok(label.clone());
                block.splitter(StratifiedSplitter::new(self.valid_fraction, self.seed, label))
            }
        };
        let datasets = block.datasets_of(items)?;
        let workers = self
            .workers
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from).min(8));
        let mut loaders = datasets.loaders(self.batch_size)?;
        loaders.train = loaders.train.workers(workers);
        loaders.valid = loaders.valid.map(|v| v.workers(workers));
        let classes = hardpan_learn::data::block::Block::vocab(datasets.y()).to_vec();
        let files = |set: &ItemDataset<Kind, ImageBlock, CategoryBlock>| {
            let one =
                |(i, &at): (usize, &usize)| Ok((set.all_items()[at].0.clone(), set.target(i)?.0));
            set.items().iter().enumerate().map(one).collect::<Result<Vec<_>, DataError>>()
        };
        Ok(ImageData {
            train_files: files(datasets.train())?,
            valid_files: files(datasets.valid())?,
            loaders,
            classes,
            pipeline,
            test_files: found.test,
            notes: found.notes,
            datasets,
            batch_size: self.batch_size,
            workers,
        })
    }

    fn find(&self) -> Result<Found, FolderOrDataError> {
        match &self.source {
            Source::Folder { path, valid } => Ok(folder::look(path, valid.as_deref())?),
            Source::Failed(why) => Err(DataError::Setup(why.clone()).into()),
            Source::Files { files, valid } => {
                let mut found = Found { train: files.clone(), ..Default::default() };
                if let Some(valid) = valid {
                    let mut each = valid.iter();
                    let (v, t) = found.train.into_iter().partition(|_| each.next() == Some(&true));
                    (found.train, found.valid) = (t, Some(v));
                }
                if found.train.is_empty() {
                    return Err(DataError::Empty.into());
                }
                if folder::count(&found.train).len() < 2 {
                    let (path, class) = found.train[0].clone();
                    let count = found.train.len();
                    return Err(FolderError::OneClass { path, class, count }.into());
                }
                Ok(found)
            }
        }
    }

    fn random(
        &self,
        block: DataBlock<Kind, ImageBlock, CategoryBlock>,
        pipeline: &ImagePipeline,
    ) -> DataBlock<Kind, ImageBlock, CategoryBlock> {
        let (w, h) = (pipeline.width, pipeline.height);
        let (shorter, grey) = (w.min(h), pipeline.channels == 1);
        let same = ImagePipeline { margin: 0.0, ..pipeline.clone() };
        let to_size = TrainOnly(ToSize(same));
        let shifted = |pad: usize| TrainOnly(RandomCrop::new(w, h).pad(pad));
        let part = |least: f64| TrainOnly(RandomResizedCrop::new(w, h).min_scale(least));
        // Parts of large pictures are cut out of something not much larger than needed.
        let presize =
            |least: f64| Presize::new((shorter as f64 * 1.15 / least.sqrt()).ceil() as usize);
        match &self.augment {
            AugmentChoice::Off => block.item_tfm(to_size),
            AugmentChoice::Trivial(trivial) => block
                .item_tfm(to_size)
                .item_tfm(shifted(shorter / 8))
                .item_tfm(Flip { p: if grey { 0.0 } else { 0.5 } })
                .item_tfm(trivial.clone()),
            AugmentChoice::Rand(rand) => {
                let block = match shorter <= SMALL {
                    true => block.item_tfm(to_size).item_tfm(shifted(shorter / 8)),
                    false => block.item_tfm(presize(0.5)).item_tfm(part(0.5)),
                };
                block.item_tfm(Flip { p: if grey { 0.0 } else { 0.5 } }).item_tfm(rand.clone())
            }
            AugmentChoice::Transforms(transforms, least) if *least < 1.0 => block
                .item_tfm(presize(*least))
                .item_tfm(part(*least))
                .item_tfm(transforms.clone().fill(&pipeline.stats)),
            AugmentChoice::Transforms(transforms, _) => {
                block.item_tfm(to_size).item_tfm(transforms.clone().fill(&pipeline.stats))
            }
            AugmentChoice::Auto if grey && shorter <= SMALL => {
                block.item_tfm(to_size).item_tfm(AugTransforms::default().flip(0.0))
            }
            AugmentChoice::Auto if shorter <= SMALL => {
                block.item_tfm(to_size).item_tfm(shifted(shorter / 8)).item_tfm(FlipInTurns)
            }
            AugmentChoice::Moved(pixels) => {
                let block = block.item_tfm(to_size).item_tfm(shifted(*pixels));
                if grey { block } else { block.item_tfm(FlipInTurns) }
            }
            AugmentChoice::Auto => {
                let flip = if grey { 0.0 } else { 0.5 };
                let transforms = AugTransforms::default().zoom(1.0, 1.0).flip(flip);
                block.item_tfm(presize(0.5)).item_tfm(part(0.5)).item_tfm(transforms)
            }
        }
    }
}

/// Brings validation pictures to size, exactly as the pipeline does.
#[derive(Clone, Debug)]
pub(super) struct Prepare(pub ImagePipeline);

impl<X: Spatial, Y: Spatial> ItemTransform<X, Y> for Prepare {
    fn name(&self) -> String {
        format!("to {}x{} for validation", self.0.width, self.0.height)
    }
    fn is_random(&self) -> bool {
        false
    }
    fn apply(&self, x: X, y: Y, draw: &mut Draw) -> Result<(X, Y), BoxError> {
        Ok(if draw.is_valid() { (self.0.place(x), self.0.place(y)) } else { (x, y) })
    }
}

/// Brings pictures to size, always the same way.
#[derive(Clone, Debug)]
pub(super) struct ToSize(pub ImagePipeline);

impl<X: Spatial, Y: Spatial> ItemTransform<X, Y> for ToSize {
    fn name(&self) -> String {
        format!("to {}x{}", self.0.width, self.0.height)
    }
    fn is_random(&self) -> bool {
        false
    }
    fn apply(&self, x: X, y: Y, _: &mut Draw) -> Result<(X, Y), BoxError> {
        Ok((self.0.place(x), self.0.place(y)))
    }
}

/// The sizes and channels of some of the pictures.
pub(super) struct Sample(Vec<(usize, usize, usize)>);

impl Sample {
    /// Of at most 64, evenly spread; those that cannot be read are for later.
    pub fn of(files: &[Labelled]) -> Sample {
        let step = files.len().div_ceil(64).max(1);
        let probe = |(path, _): &Labelled| DecodeOptions::default().probe(path).ok();
        Sample(files.iter().step_by(step).filter_map(probe).collect())
    }

    pub fn channels(&self) -> usize {
        if !self.0.is_empty() && self.0.iter().all(|s| s.2 == 1) { 1 } else { 3 }
    }

    /// Median width, height and channels.
    pub fn typical(&self) -> Option<(usize, usize, usize)> {
        let median = |f: &dyn Fn(&(usize, usize, usize)) -> usize| {
            let mut all: Vec<usize> = self.0.iter().map(f).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied()
        };
        Some((median(&|s| s.0)?, median(&|s| s.1)?, self.channels()))
    }

    /// Small pictures that are all alike keep their size. Else: squares of about the median shorter side, at most 224.
    pub fn size(&self) -> (usize, usize) {
        self.size_up_to(256)
    }

    /// Whether all have the same width and height.
    fn are_alike(&self) -> bool {
        self.0.windows(2).all(|s| (s[0].0, s[0].1) == (s[1].0, s[1].1))
    }

    /// Width and height in the typical proportions with about this shorter side: multiples of 32 (of 4 below 64), unless it is the own
    /// size of all pictures.
    pub fn in_proportion(&self, side: usize) -> (usize, usize) {
        let Some((w, h, _)) = self.typical() else { return (side, side) };
        if w.min(h) == side && self.are_alike() {
            return (w, h);
        }
        let step = if side < 64 { 4 } else { 32 };
        let steps = |n: usize| (n * side) as f64 / (w.min(h) * step) as f64;
        let rounded = |n: usize| (steps(n).round() as usize * step).max(step);
        (rounded(w), rounded(h))
    }

    /// As [`size`](Sample::size), where pictures that are alike and no larger than this are small.
    pub fn size_up_to(&self, small: usize) -> (usize, usize) {
        let Some(&(w, h, _)) = self.0.first() else { return (224, 224) };
        if w.max(h) <= small && self.are_alike() {
            return (w, h);
        }
        let mut shorter: Vec<usize> = self.0.iter().map(|s| s.0.min(s.1)).collect();
        shorter.sort_unstable();
        let median = shorter[shorter.len() / 2];
        let step = if median < 64 { 4 } else { 32 };
        let side = if median >= 200 { 224 } else { (median + step / 2) / step * step };
        (side.max(step), side.max(step))
    }
}

/// Mean and standard deviation of each channel over at most 256 pictures, as the model would see them.
fn measure(files: &[Labelled], pipeline: &ImagePipeline) -> Stats {
    let c = pipeline.channels;
    let (mut sum, mut squares, mut n) = (vec![0f64; c], vec![0f64; c], 0f64);
    for (path, _) in files.iter().step_by(files.len().div_ceil(256).max(1)) {
        let Ok(image) = pipeline.open(path) else { continue };
        for pixel in image.pixels().chunks_exact(c) {
            for (k, &p) in pixel.iter().enumerate() {
                let v = f64::from(p) / 255.0;
                sum[k] += v;
                squares[k] += v * v;
            }
        }
        n += (image.width() * image.height()) as f64;
    }
    if n == 0.0 {
        return Stats::imagenet(c);
    }
    let mean: Vec<f64> = sum.iter().map(|s| s / n).collect();
    let std = squares.iter().zip(&mean).map(|(s, m)| (s / n - m * m).max(1e-4).sqrt() as f32);
    Stats { std: std.collect(), mean: mean.iter().map(|&m| m as f32).collect() }
}

impl ImageData {
    /// A loader over other files, treated as validation pictures are, without targets (zeros stand in for them).
    ///
    /// # Errors
    /// If there are none.
    pub fn test_loader(
        &self,
        files: impl IntoIterator<Item = PathBuf>,
    ) -> Result<DataLoader<Tensor, Tensor>, DataError> {
        let items = files.into_iter().map(|f| (f, String::new())).collect();
        let loader = self.datasets.test_loader(items, 2 * self.batch_size, false)?;
        Ok(loader.workers(self.workers))
    }

    /// A loader over other files with their classes, treated as validation pictures are.
    ///
    /// # Errors
    /// If there are none.
    pub fn labelled_loader(
        &self,
        files: Vec<(PathBuf, String)>,
    ) -> Result<DataLoader<Tensor, Tensor>, DataError> {
        let loader = self.datasets.test_loader(files, 2 * self.batch_size, true)?;
        Ok(loader.workers(self.workers))
    }

    /// A loader over the validation pictures changed at random as training pictures are, differently in each epoch.
    ///
    /// # Errors
    /// If there are none.
    pub fn tta_loader(&self) -> Result<DataLoader<Tensor, Tensor>, DataError> {
        Ok(self.datasets.tta_loader(2 * self.batch_size)?.workers(self.workers))
    }

    /// Pictures that were left out so far because they could not be read.
    pub fn bad_files(&self) -> Vec<BadItem> {
        let mut bad = self.datasets.train().bad_items();
        bad.extend(self.datasets.valid().bad_items());
        bad
    }

    /// Number of training pictures of each class, in the order of [`classes`](ImageData::classes).
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.train_files.iter().for_each(|(_, c)| counts[*c] += 1);
        counts
    }

    /// A weight for each training item such that all classes are drawn equally often by [`DataLoader::weighted`].
    pub fn balancing_weights(&self) -> Vec<f64> {
        let counts = self.class_counts();
        self.train_files.iter().map(|(_, c)| 1.0 / counts[*c] as f64).collect()
    }

    /// The first pictures of a training batch with their classes as a figure.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn batch_figure(&self, n: usize) -> Result<hardpan_plot::Figure, DataError> {
        Ok(Shown::figure("a training batch", &self.datasets.show_batch(n)?))
    }

    /// The first pictures of a training batch with their classes, as the model sees them. Counterpart: `show_batch`.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn show_batch(&self, n: usize) -> Result<Vec<(Image, String)>, DataError> {
        let shown = self.datasets.show_batch(n)?;
        let picture = |(x, y): (Shown, Shown)| match x {
            Shown::Picture { width, height, channels, pixels } => {
                Some((Image::new(width, height, channels, pixels), y.text()))
            }
            _ => None,
        };
        Ok(shown.into_iter().filter_map(picture).collect())
    }
}
