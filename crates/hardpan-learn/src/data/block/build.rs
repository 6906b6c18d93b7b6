//! [`DataBlock`], the questions, and [`Datasets`], the answers.

use super::items::Recipe;
use super::{BatchTransform, Block, BoxError, ItemDataset, ItemTransform, Shown, Splitter};
use crate::data::{DataError, DataLoader, DataLoaders};
use std::path::Path;
use std::sync::Arc;

/// What happens when an item cannot be read or changed.
///
/// ```
/// use hardpan_learn::data::block::{CategoryBlock, DataBlock, EndSplitter, OnError, RegressionBlock};
/// # let small = || {
/// #     DataBlock::new(RegressionBlock::new(), CategoryBlock::new())
/// #         .get_x(|n: &i32| if *n == 7 { Err("unlucky".into()) } else { Ok(vec![*n as f32]) })
/// #         .get_y(|n| Ok(if *n > 5 { "large" } else { "small" }.to_owned()))
/// #         .splitter(EndSplitter::last(0.2))
/// # };
/// // A block whose item 7 cannot be read.
/// let data = small().datasets_of((0..10).collect())?;
/// assert!(data.loaders(8)?.train.one_batch().is_err());
///
/// let data = small().on_error(OnError::Skip).datasets_of((0..10).collect())?;
/// assert_eq!(data.loaders(8)?.train.one_batch()?.0.shape(), [7, 1]);
/// assert_eq!(data.train().bad_items()[0].index, 7);
/// # Ok::<(), hardpan_learn::data::DataError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The epoch ends with an error that names it.
    #[default]
    Fail,
    /// It is left out, and listed in [`ItemDataset::bad_items`].
    Skip,
}

pub(super) type Getter<I, T> = Arc<dyn Fn(&I) -> Result<T, BoxError> + Send + Sync>;
type GetItems<I> = Box<dyn Fn(&Path) -> Result<Vec<I>, BoxError> + Send + Sync>;

/// How a data set is read: see the [module](super).
///
/// `I` is what an item is known by: a path, a row of a table, anything.
///
/// ```
/// use hardpan_learn::data::block::{CategoryBlock, DataBlock, EndSplitter, RegressionBlock};
/// let data = DataBlock::new(RegressionBlock::new(), CategoryBlock::new())
///     .get_x(|n: &u32| Ok(vec![*n as f32]))
///     .get_y(|n| Ok(if n % 2 == 0 { "even" } else { "odd" }.to_owned()))
///     .splitter(EndSplitter::last(0.25))
///     .datasets_of((0..40).collect())?;
/// let loaders = data.loaders(10)?;
/// assert_eq!(loaders.train.one_batch()?.0.shape(), [10, 1]);
/// assert_eq!(loaders.valid.unwrap().items(), 10);
/// # Ok::<(), hardpan_learn::data::DataError>(())
/// ```
pub struct DataBlock<I, X: Block, Y: Block> {
    pub(super) x: X,
    pub(super) y: Y,
    get_items: Option<GetItems<I>>,
    get_x: Option<Getter<I, X::Source>>,
    get_y: Option<Getter<I, Y::Source>>,
    name: Arc<dyn Fn(&I) -> String + Send + Sync>,
    splitter: Option<Box<dyn Splitter<I>>>,
    item_tfms: Vec<Arc<dyn ItemTransform<X::Item, Y::Item>>>,
    batch_tfms: Vec<Arc<dyn BatchTransform<X::Batch, Y::Batch>>>,
    on_error: OnError,
    cache: u64,
    seed: u64,
}

impl<I, X, Y> DataBlock<I, X, Y>
where
    I: std::fmt::Debug + Send + Sync + 'static,
    X: Block,
    Y: Block,
{
    /// With these kinds of input and target.
    pub fn new(x: X, y: Y) -> DataBlock<I, X, Y> {
        DataBlock {
            x,
            y,
            get_items: None,
            get_x: None,
            get_y: None,
            name: Arc::new(|i| format!("{i:?}")),
            splitter: None,
            item_tfms: Vec::new(),
            batch_tfms: Vec::new(),
            on_error: OnError::Fail,
            cache: 0,
            seed: 0,
        }
    }

    /// How the items of a source (a directory, mostly) are found.
    #[must_use]
    pub fn get_items<E: Into<BoxError>>(
        mut self,
        f: impl Fn(&Path) -> Result<Vec<I>, E> + Send + Sync + 'static,
    ) -> Self {
        self.get_items = Some(Box::new(move |p| f(p).map_err(Into::into)));
        self
    }

    /// What of an item is the input's source.
    #[must_use]
    pub fn get_x(
        mut self,
        f: impl Fn(&I) -> Result<X::Source, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.get_x = Some(Arc::new(f));
        self
    }

    /// What of an item is the target's source.
    #[must_use]
    pub fn get_y(
        mut self,
        f: impl Fn(&I) -> Result<Y::Source, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.get_y = Some(Arc::new(f));
        self
    }

    /// What an item is called in messages; default: as `{:?}` prints it.
    #[must_use]
    pub fn name(mut self, f: impl Fn(&I) -> String + Send + Sync + 'static) -> Self {
        self.name = Arc::new(f);
        self
    }

    /// Which items are for validation; default: a random fifth by the [`seed`](DataBlock::seed).
    #[must_use]
    pub fn splitter(mut self, splitter: impl Splitter<I> + 'static) -> Self {
        self.splitter = Some(Box::new(splitter));
        self
    }

    /// One more transform of items, after those that are there.
    #[must_use]
    pub fn item_tfm(mut self, tfm: impl ItemTransform<X::Item, Y::Item> + 'static) -> Self {
        self.item_tfms.push(Arc::new(tfm));
        self
    }

    /// One more transform of batches, after those that are there.
    #[must_use]
    pub fn batch_tfm(mut self, tfm: impl BatchTransform<X::Batch, Y::Batch> + 'static) -> Self {
        self.batch_tfms.push(Arc::new(tfm));
        self
    }

    /// Whether an unreadable item ends the epoch (default) or is left out.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Keeps items in memory once they are read and have passed the transforms before the first random one, up to so many
    /// bytes in all; default 0.
    #[must_use]
    pub fn cache(mut self, bytes: u64) -> Self {
        self.cache = bytes;
        self
    }

    /// Seed of random transforms, of the default splitter, and of the order in training; default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Finds the items of a source, splits them, and sets up the blocks.
    ///
    /// # Errors
    /// If there are none, or a part of the description is missing or fails.
    pub fn datasets(self, source: impl AsRef<Path>) -> Result<Datasets<I, X, Y>, DataError> {
        let items = self.find(source.as_ref())?;
        self.datasets_of(items)
    }

    pub(super) fn find(&self, source: &Path) -> Result<Vec<I>, DataError> {
        let find = self.get_items.as_ref();
        let find = find.ok_or_else(|| missing("get_items", "finds the items of a source"))?;
        find(source).map_err(|e| setup(format!("get_items: {e}")))
    }

    /// Splits these items and sets up the blocks.
    ///
    /// # Errors
    /// If there are none, or a part of the description is missing or fails.
    pub fn datasets_of(self, items: Vec<I>) -> Result<Datasets<I, X, Y>, DataError> {
        if items.is_empty() {
            return Err(DataError::Empty);
        }
        let default = super::RandomSplitter::new(0.2, self.seed);
        let split = match &self.splitter {
            Some(splitter) => splitter.split(&items),
            None => default.split(&items),
        }
        .map_err(|e| setup(format!("splitter: {e}")))?;
        if split.train.is_empty() {
            return Err(setup(format!(
                "the splitter left none of {} items to train on",
                items.len()
            )));
        }
        let all = split.train.iter().chain(&split.valid);
        if let Some(i) = all.clone().find(|&&i| i >= items.len()) {
            return Err(setup(format!("the splitter named item {i} of {} items", items.len())));
        }
        let get_x = self.get_x.ok_or_else(|| missing("get_x", "says what of an item is input"))?;
        let get_y = self.get_y.ok_or_else(|| missing("get_y", "says what of an item is target"))?;
        let (mut x, mut y) = (self.x, self.y);
        let name = self.name;
        prepare(&mut x, "get_x", &*get_x, &items, &split.train, &*name)?;
        prepare(&mut y, "get_y", &*get_y, &items, &split.train, &*name)?;
        let recipe = Arc::new(Recipe {
            x,
            y,
            get_x,
            get_y,
            name,
            item_tfms: self.item_tfms,
            on_error: self.on_error,
            seed: self.seed,
        });
        let items = Arc::new(items);
        let budget = Arc::new((self.cache, Default::default()));
        let part = |index, valid| {
            ItemDataset::new(recipe.clone(), items.clone(), index, valid, false, Some(&budget))
        };
        Ok(Datasets {
            train: Arc::new(part(split.train, false)),
            valid: Arc::new(part(split.valid, true)),
            batch_tfms: self.batch_tfms,
            recipe,
        })
    }
}

fn setup(message: String) -> DataError {
    DataError::Setup(message)
}

fn missing(what: &str, does: &str) -> DataError {
    setup(format!("the data block has no `{what}`, which {does}: call .{what}(..)"))
}

/// Shows a block the sources of the training items, if it wants to see them.
fn prepare<I, B: Block>(
    block: &mut B,
    getter: &str,
    get: &(dyn Fn(&I) -> Result<B::Source, BoxError> + Send + Sync),
    items: &[I],
    train: &[usize],
    name: &dyn Fn(&I) -> String,
) -> Result<(), DataError> {
    if !block.wants_setup() {
        return Ok(());
    }
    let source = |&i: &usize| {
        get(&items[i])
            .map_err(|e| setup(format!("{getter} of item {i} ({}): {e}", name(&items[i]))))
    };
    let sources = train.iter().map(source).collect::<Result<Vec<_>, _>>()?;
    block.setup(&sources).map_err(|e| setup(format!("block {}: {e}", block.name())))
}

/// A data set, split, with its blocks set up. Counterpart: fastai's `Datasets`.
///
/// ```
/// use hardpan_learn::data::block::{Block, CategoryBlock, DataBlock, EndSplitter, RegressionBlock};
/// let data = DataBlock::new(RegressionBlock::new(), CategoryBlock::new())
///     .get_x(|n: &i32| Ok(vec![*n as f32]))
///     .get_y(|n| Ok(if *n > 5 { "large" } else { "small" }.to_owned()))
///     .splitter(EndSplitter::last(0.2))
///     .datasets_of((0..10).collect())?;
/// assert_eq!((data.train().items().len(), data.valid().items().len()), (8, 2));
/// assert_eq!(data.y().vocab(), ["large", "small"]);
/// // Other items, treated as those of validation are.
/// let others = data.test_loader(vec![100, -100], 8, false)?;
/// assert_eq!(others.one_batch()?.0.to_vec::<f32>(), [100.0, -100.0]);
/// let shown = data.show_batch(3)?;
/// assert_eq!(shown.len(), 3);
/// # Ok::<(), hardpan_learn::data::DataError>(())
/// ```
pub struct Datasets<I, X: Block, Y: Block> {
    train: Arc<ItemDataset<I, X, Y>>,
    valid: Arc<ItemDataset<I, X, Y>>,
    batch_tfms: Vec<Arc<dyn BatchTransform<X::Batch, Y::Batch>>>,
    recipe: Arc<Recipe<I, X, Y>>,
}

impl<I, X: Block, Y: Block> Clone for Datasets<I, X, Y> {
    fn clone(&self) -> Self {
        Datasets {
            train: self.train.clone(),
            valid: self.valid.clone(),
            batch_tfms: self.batch_tfms.clone(),
            recipe: self.recipe.clone(),
        }
    }
}

impl<I: Send + Sync + 'static, X: Block, Y: Block> Datasets<I, X, Y> {
    /// The items to learn from.
    pub fn train(&self) -> &Arc<ItemDataset<I, X, Y>> {
        &self.train
    }

    /// The items to judge by; there may be none.
    pub fn valid(&self) -> &Arc<ItemDataset<I, X, Y>> {
        &self.valid
    }

    /// The inputs' block, set up.
    pub fn x(&self) -> &X {
        &self.recipe.x
    }

    /// The targets' block, set up: it knows the classes.
    pub fn y(&self) -> &Y {
        &self.recipe.y
    }

    /// The usual loaders: training items shuffled, without a last batch that is not full (unless it is the only one);
    /// validation items in order, twice as many a batch.
    ///
    /// # Errors
    /// If there is nothing to learn from.
    pub fn loaders(&self, batch_size: usize) -> Result<DataLoaders<X::Batch, Y::Batch>, DataError> {
        let mut train = DataLoader::new(self.train.clone(), batch_size)?.shuffle(self.recipe.seed);
        if train.items() >= batch_size {
            train = train.drop_last()?;
        }
        let train = self.finish(train);
        if self.valid.items().is_empty() {
            return Ok(DataLoaders::train_only(train));
        }
        Ok(DataLoaders::new(
            train,
            self.finish(DataLoader::new(self.valid.clone(), 2 * batch_size)?),
        ))
    }

    /// A loader over other items with the same treatment as validation items. With `labelled` their targets are read; without,
    /// blanks stand in for them. Counterpart: fastai's `test_dl`.
    ///
    /// # Errors
    /// If there are no items, or the targets' block has no blank.
    pub fn test_loader(
        &self,
        items: Vec<I>,
        batch_size: usize,
        labelled: bool,
    ) -> Result<DataLoader<X::Batch, Y::Batch>, DataError> {
        if !labelled && self.recipe.y.blank().is_none() {
            let name = self.recipe.y.name();
            return Err(setup(format!("items without targets: the block {name} has no blank")));
        }
        let index = (0..items.len()).collect();
        let data =
            ItemDataset::new(self.recipe.clone(), Arc::new(items), index, true, !labelled, None);
        Ok(self.finish(DataLoader::new(data, batch_size)?))
    }

    /// A loader over the validation items, changed at random as training items are, drawn anew for each epoch: for averaging
    /// predictions over several views. Counterpart: the data of fastai's `tta`.
    ///
    /// # Errors
    /// If there are no validation items.
    pub fn tta_loader(
        &self,
        batch_size: usize,
    ) -> Result<DataLoader<X::Batch, Y::Batch>, DataError> {
        let data = ItemDataset::new(
            self.recipe.clone(),
            self.valid.all_items().clone(),
            self.valid.items().to_vec(),
            false,
            false,
            None,
        );
        Ok(self.finish(DataLoader::new(data, batch_size)?))
    }

    /// With the batch transforms.
    fn finish(&self, loader: DataLoader<X::Batch, Y::Batch>) -> DataLoader<X::Batch, Y::Batch> {
        self.batch_tfms.iter().fold(loader, |loader, tfm| {
            let tfm = tfm.clone();
            loader.map(move |x, y| tfm.encode(x, y))
        })
    }

    /// The batch transforms, in order.
    pub fn batch_tfms(&self) -> &[Arc<dyn BatchTransform<X::Batch, Y::Batch>>] {
        &self.batch_tfms
    }

    /// The items of a batch that came out of a loader, for people: input and target of each.
    pub fn show(&self, x: X::Batch, y: Y::Batch) -> Vec<(Shown, Shown)> {
        let (x, y) = self.batch_tfms.iter().rev().fold((x, y), |(x, y), t| t.decode(x, y));
        let (x, y) = (self.recipe.x.decode(&x), self.recipe.y.decode(&y));
        x.iter().zip(&y).map(|(x, y)| (self.recipe.x.show(x), self.recipe.y.show(y))).collect()
    }

    /// The first items of a training batch, for people: as the model sees them. Counterpart: fastai's `show_batch`.
    ///
    /// # Errors
    /// If an item cannot be read.
    pub fn show_batch(&self, items: usize) -> Result<Vec<(Shown, Shown)>, DataError> {
        let (x, y) = self.loaders(items.min(self.train.items().len()))?.train.one_batch()?;
        Ok(self.show(x, y))
    }
}
