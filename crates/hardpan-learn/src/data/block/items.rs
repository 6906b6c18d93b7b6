//! [`ItemDataset`]: items that are opened, changed and put into batches on demand.

use super::build::Getter;
use super::{Block, BoxError, ItemTransform, OnError};
use crate::data::{Batch, DataError, Dataset, Draw};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How an item becomes input and target.
pub(super) struct Recipe<I, X: Block, Y: Block> {
    pub x: X,
    pub y: Y,
    pub get_x: Getter<I, X::Source>,
    pub get_y: Getter<I, Y::Source>,
    pub name: Arc<dyn Fn(&I) -> String + Send + Sync>,
    pub item_tfms: Vec<Arc<dyn ItemTransform<X::Item, Y::Item>>>,
    pub on_error: OnError,
    pub seed: u64,
}

/// What went wrong with an item, in which step.
#[derive(Debug, thiserror::Error)]
pub struct StepError {
    /// What the item is called.
    pub item: String,
    /// The block or transform that failed.
    pub step: String,
    /// Why.
    pub source: BoxError,
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (item, step, source) = (&self.item, &self.step, self.source.to_string());
        // Errors of files begin with the file, which is the item's name as a rule.
        match source.starts_with(item) {
            true => f.write_str(&source),
            false => write!(f, "{item}: {step}: {source}"),
        }
    }
}

/// An item that was left out.
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
/// let data = small().on_error(OnError::Skip).datasets_of((0..10).collect())?;
/// data.loaders(8)?.train.one_batch()?;
/// let bad = &data.train().bad_items()[0];
/// assert_eq!(bad.index, 7);
/// assert!(bad.reason.contains("unlucky"), "{}", bad.reason);
/// # Ok::<(), hardpan_learn::data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadItem {
    /// Its number among all items.
    pub index: usize,
    /// What was wrong, with its name.
    pub reason: String,
}

/// Input and target of one item.
type Pair<X, Y> = (<X as Block>::Item, <Y as Block>::Item);

/// Bytes that may be kept, and how many are.
pub(super) type Budget = (u64, AtomicU64);

/// The items of one part of the data as a [`Dataset`].
///
/// ```
/// use hardpan_learn::data::block::{CategoryBlock, DataBlock, EndSplitter, RegressionBlock, Values};
/// let data = DataBlock::new(RegressionBlock::new(), CategoryBlock::new())
///     .get_x(|n: &i32| Ok(vec![*n as f32]))
///     .get_y(|n| Ok(if *n > 5 { "large" } else { "small" }.to_owned()))
///     .splitter(EndSplitter::last(0.2))
///     .datasets_of((0..10).collect())?;
/// let valid = data.valid();
/// assert_eq!(valid.items(), [8, 9]); // numbers among all items
/// assert_eq!(valid.target(0)?.0, 0); // the class "large"
/// let (x, _) = valid.item(1, 0)?; // as it goes into a batch in epoch 0
/// assert_eq!(x, Values(vec![9.0]));
/// # Ok::<(), hardpan_learn::data::DataError>(())
/// ```
pub struct ItemDataset<I, X: Block, Y: Block> {
    recipe: Arc<Recipe<I, X, Y>>,
    all: Arc<Vec<I>>,
    index: Vec<usize>,
    valid: bool,
    blank_targets: bool,
    /// Number of leading transforms whose result is the same each time.
    fixed: usize,
    cache: Vec<OnceLock<Pair<X, Y>>>,
    budget: Option<Arc<Budget>>,
    bad: Mutex<BTreeMap<usize, BadItem>>,
}

impl<I: Send + Sync + 'static, X: Block, Y: Block> ItemDataset<I, X, Y> {
    pub(super) fn new(
        recipe: Arc<Recipe<I, X, Y>>,
        all: Arc<Vec<I>>,
        index: Vec<usize>,
        valid: bool,
        blank_targets: bool,
        budget: Option<&Arc<Budget>>,
    ) -> ItemDataset<I, X, Y> {
        // In validation nothing is random.
        let random = recipe.item_tfms.iter().position(|t| t.is_random() && !valid);
        let fixed = random.unwrap_or(recipe.item_tfms.len());
        let budget = budget.filter(|b| b.0 > 0).cloned();
        let slots = if budget.is_some() { index.len() } else { 0 };
        let cache = (0..slots).map(|_| OnceLock::new()).collect();
        let bad = Mutex::default();
        ItemDataset { recipe, all, index, valid, blank_targets, fixed, cache, budget, bad }
    }

    /// Numbers of this part's items among all.
    pub fn items(&self) -> &[usize] {
        &self.index
    }

    /// All items, of this part and others.
    pub fn all_items(&self) -> &Arc<Vec<I>> {
        &self.all
    }

    /// The items that were left out so far because they could not be read; see [`OnError::Skip`].
    pub fn bad_items(&self) -> Vec<BadItem> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The target of this part's `i`th item, without opening its input.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn target(&self, i: usize) -> Result<Y::Item, DataError> {
        let item = &self.all[self.index[i]];
        let y = (self.recipe.get_y)(item).and_then(|y| self.recipe.y.encode(y));
        y.map_err(|e| self.fail(i, self.recipe.y.name(), e))
    }

    /// Input and target of this part's `i`th item as they go into a batch in `epoch`.
    ///
    /// # Errors
    /// If it cannot be read or changed.
    pub fn item(&self, i: usize, epoch: usize) -> Result<Pair<X, Y>, DataError> {
        let mut draw = Draw::new(self.recipe.seed, epoch, self.index[i]);
        if self.valid {
            draw = draw.validation();
        }
        let kept = self.cache.get(i).and_then(OnceLock::get);
        let (x, y) = match kept {
            Some(pair) => pair.clone(),
            None => {
                let (x, y) = self.open(i)?;
                let pair = self.transform(i, x, y, 0..self.fixed, &mut draw)?;
                self.keep(i, &pair);
                pair
            }
        };
        // The random ones draw the same numbers whether what came before was cached or not.
        self.transform(i, x, y, self.fixed..self.recipe.item_tfms.len(), &mut draw)
    }

    fn open(&self, i: usize) -> Result<Pair<X, Y>, DataError> {
        let (recipe, item) = (&self.recipe, &self.all[self.index[i]]);
        let x = (recipe.get_x)(item).map_err(|e| self.fail(i, "get_x", e))?;
        let x = recipe.x.encode(x).map_err(|e| self.fail(i, recipe.x.name(), e))?;
        if self.blank_targets {
            let blank = recipe
                .y
                .blank()
                .ok_or_else(|| self.fail(i, recipe.y.name(), "there is no blank for it".into()))?;
            return Ok((x, blank));
        }
        let y = (recipe.get_y)(item).map_err(|e| self.fail(i, "get_y", e))?;
        let y = recipe.y.encode(y).map_err(|e| self.fail(i, recipe.y.name(), e))?;
        Ok((x, y))
    }

    fn transform(
        &self,
        i: usize,
        mut x: X::Item,
        mut y: Y::Item,
        range: std::ops::Range<usize>,
        draw: &mut Draw,
    ) -> Result<Pair<X, Y>, DataError> {
        for tfm in &self.recipe.item_tfms[range] {
            (x, y) = tfm.apply(x, y, draw).map_err(|e| self.fail(i, tfm.name(), e))?;
        }
        Ok((x, y))
    }

    fn keep(&self, i: usize, pair: &Pair<X, Y>) {
        let (Some(slot), Some(budget)) = (self.cache.get(i), &self.budget) else { return };
        let bytes = (self.recipe.x.bytes(&pair.0) + self.recipe.y.bytes(&pair.1)) as u64;
        let (limit, used) = &**budget;
        if used.fetch_add(bytes, Relaxed) + bytes > *limit {
            used.fetch_sub(bytes, Relaxed);
        } else if slot.set(pair.clone()).is_err() {
            // Another worker was faster.
            used.fetch_sub(bytes, Relaxed);
        }
    }

    fn fail(&self, i: usize, step: impl Into<String>, source: BoxError) -> DataError {
        let index = self.index[i];
        let item = (self.recipe.name)(&self.all[index]);
        DataError::Item { index, source: Box::new(StepError { item, step: step.into(), source }) }
    }

    fn collate(&self, pairs: Vec<Pair<X, Y>>) -> Result<(X::Batch, Y::Batch), DataError> {
        let (x, y): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let fail = |what: String, e: BoxError| {
            DataError::Setup(format!("items do not fit in one batch: {what}: {e}"))
        };
        let x = self.recipe.x.collate(x).map_err(|e| fail(self.recipe.x.name(), e))?;
        let y = self.recipe.y.collate(y).map_err(|e| fail(self.recipe.y.name(), e))?;
        Ok((x, y))
    }
}

impl<I: Send + Sync + 'static, X: Block, Y: Block> Dataset<X::Batch, Y::Batch>
    for ItemDataset<I, X, Y>
{
    fn len(&self) -> usize {
        self.index.len()
    }

    fn batch(&self, items: &[usize]) -> Result<(X::Batch, Y::Batch), DataError> {
        let pairs = items.iter().map(|&i| self.item(i, 0)).collect::<Result<_, _>>()?;
        self.collate(pairs)
    }

    fn load(
        &self,
        items: &[usize],
        epoch: usize,
    ) -> Result<Option<Batch<X::Batch, Y::Batch>>, DataError> {
        let mut pairs = Vec::with_capacity(items.len());
        for &i in items {
            let skip = self.recipe.on_error == OnError::Skip;
            let known = || self.bad.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&i);
            if skip && known() {
                continue;
            }
            match self.item(i, epoch) {
                Ok(pair) => pairs.push(pair),
                Err(e) if skip => {
                    let bad = BadItem { index: self.index[i], reason: e.to_string() };
                    self.bad.lock().unwrap_or_else(PoisonError::into_inner).insert(i, bad);
                }
                Err(e) => return Err(e),
            }
        }
        if pairs.is_empty() {
            return Ok(None);
        }
        let items = pairs.len();
        let (x, y) = self.collate(pairs)?;
        Ok(Some(Batch { x, y, items }))
    }
}

impl<I: Send + Sync + 'static, X: Block, Y: Block> ItemDataset<I, X, Y> {
    /// The first item's way through every step, for [`summary`](super::DataBlock::summary).
    pub(super) fn narrate(&self, out: &mut String) -> Result<(), DataError> {
        use std::fmt::Write;
        let recipe = &self.recipe;
        let _ =
            writeln!(out, "The first training item, {}", (recipe.name)(&self.all[self.index[0]]));
        let tell = |out: &mut String, step: &str, (x, y): &Pair<X, Y>| {
            let _ = writeln!(out, "  {step}: {}; {}", recipe.x.describe(x), recipe.y.describe(y));
        };
        let mut draw = Draw::new(recipe.seed, 0, self.index[0]);
        let mut pair = self.open(0)?;
        tell(out, "opened", &pair);
        for (t, tfm) in recipe.item_tfms.iter().enumerate() {
            pair = self.transform(0, pair.0, pair.1, t..t + 1, &mut draw)?;
            tell(out, &tfm.name(), &pair);
        }
        Ok(())
    }

    /// The first items, collated.
    pub(super) fn first_batch(&self, items: usize) -> Result<(X::Batch, Y::Batch), DataError> {
        let first: Vec<usize> = (0..items.min(self.index.len())).collect();
        self.batch(&first)
    }
}
