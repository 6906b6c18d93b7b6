//! [`Block`]: what a kind of input or target is, from its source to a batch and back; and the blocks that need no pictures.

use super::{BoxError, Shown};
use hardpan_engine::{DType, Tensor};

/// A kind of input or target. Implement it for your own. Counterpart: fastai's `TransformBlock`, with `encodes`, `decodes`, `show`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::data::block::{Block, BoxError, Shown};
///
/// /// A word as a tensor of its letters: batches are `[N, 8]` of i64.
/// struct WordBlock;
///
/// impl Block for WordBlock {
///     type Source = String;
///     type Item = Vec<i64>;
///     type Batch = Tensor;
///
///     fn name(&self) -> String {
///         "word".to_owned()
///     }
///     fn encode(&self, source: String) -> Result<Vec<i64>, BoxError> {
///         if source.len() > 8 {
///             return Err(format!("{source:?} has more than 8 letters").into());
///         }
///         Ok(format!("{source:8}").bytes().map(i64::from).collect())
///     }
///     fn collate(&self, items: Vec<Vec<i64>>) -> Result<Tensor, BoxError> {
///         Ok(Tensor::from_vec(items.concat(), [items.len(), 8]))
///     }
///     fn decode(&self, batch: &Tensor) -> Vec<Vec<i64>> {
///         batch.to_vec::<i64>().chunks(8).map(<[i64]>::to_vec).collect()
///     }
///     fn show(&self, item: &Vec<i64>) -> Shown {
///         let letters: String = item.iter().map(|&l| l as u8 as char).collect();
///         Shown::Text(letters.trim().to_owned())
///     }
///     fn describe_batch(&self, batch: &Tensor) -> String {
///         format!("{} words", batch.size(0))
///     }
/// }
///
/// let batch = WordBlock.collate(vec![WordBlock.encode("sand".to_owned())?])?;
/// assert_eq!(batch.shape(), [1, 8]);
/// assert_eq!(WordBlock.show(&WordBlock.decode(&batch)[0]).text(), "sand");
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
pub trait Block: Send + Sync + 'static {
    /// What `get_x` or `get_y` gives: a path, a label, numbers.
    type Source: Send + Sync + 'static;
    /// One of it, opened and ready for transforms.
    type Item: Clone + Send + Sync + 'static;
    /// Many of it, as a model or a loss takes them.
    type Batch: Send + 'static;

    /// What it is called in messages.
    fn name(&self) -> String;

    /// Whether [`setup`](Block::setup) wants to see the sources of the training items.
    fn wants_setup(&self) -> bool {
        false
    }

    /// Learns from the sources of the training items what it needs to know of all of them, such as the classes.
    ///
    /// # Errors
    /// If they do not fit.
    fn setup(&mut self, sources: &[Self::Source]) -> Result<(), BoxError> {
        let _ = sources;
        Ok(())
    }

    /// An item from its source: opens the file, looks up the class.
    ///
    /// # Errors
    /// If that cannot be done.
    fn encode(&self, source: Self::Source) -> Result<Self::Item, BoxError>;

    /// Items as a batch.
    ///
    /// # Errors
    /// If they do not fit together.
    fn collate(&self, items: Vec<Self::Item>) -> Result<Self::Batch, BoxError>;

    /// The items of a batch again, for looking at them.
    fn decode(&self, batch: &Self::Batch) -> Vec<Self::Item>;

    /// An item for people.
    fn show(&self, item: &Self::Item) -> Shown;

    /// An item in a few words, with sizes and types, for [`summary`](super::DataBlock::summary).
    fn describe(&self, item: &Self::Item) -> String {
        self.show(item).text()
    }

    /// A batch in a few words.
    fn describe_batch(&self, batch: &Self::Batch) -> String;

    /// Names of the classes, if there are any.
    fn vocab(&self) -> &[String] {
        &[]
    }

    /// What stands in for a target that is not known (items to predict); `None`: every item must have one.
    fn blank(&self) -> Option<Self::Item> {
        None
    }

    /// Roughly the memory that an item takes, for [caching](super::DataBlock::cache).
    fn bytes(&self, item: &Self::Item) -> usize {
        size_of_val(item)
    }
}

/// A tensor in a few words.
pub(super) fn describe_tensor(x: &Tensor) -> String {
    format!("tensor {:?} of {:?}", x.shape(), x.dtype())
}

/// Sorted, each once.
fn classes(labels: impl Iterator<Item = impl AsRef<str>>) -> Vec<String> {
    let set: std::collections::BTreeSet<String> = labels.map(|l| l.as_ref().to_owned()).collect();
    set.into_iter().collect()
}

fn position(vocab: &[String], label: &str) -> Option<usize> {
    vocab.iter().position(|v| v == label)
}

/// A list for messages that does not grow without bound.
pub(super) fn listing(names: &[String]) -> String {
    match names.len() {
        0..=10 => names.join(", "),
        n => format!("{}, ... ({n} in all)", names[..10].join(", ")),
    }
}

/// The number of a class.
///
/// ```
/// use hardpan_learn::data::block::{Block, Category, CategoryBlock};
/// let block = CategoryBlock::with_vocab(["cat", "dog"]);
/// assert_eq!(block.show(&Category(1)).text(), "dog");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Category(pub usize);

/// One of several classes, given by its name. Batches are `[N]` of i64. Counterpart: fastai's `CategoryBlock`.
///
/// ```
/// use hardpan_learn::data::block::{Block, Category, CategoryBlock};
/// let block = CategoryBlock::with_vocab(["cat", "dog"]);
/// assert_eq!(block.encode("dog".to_owned())?, Category(1));
/// assert!(block.encode("cow".to_owned()).is_err());
/// let y = block.collate(vec![Category(1), Category(0)])?;
/// assert_eq!(y.to_vec::<i64>(), [1, 0]);
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CategoryBlock {
    vocab: Vec<String>,
    lookup: std::collections::HashMap<String, usize>,
    given: bool,
    unknown: bool,
}

impl CategoryBlock {
    /// The names of the training items' labels, sorted, are the classes.
    pub fn new() -> CategoryBlock {
        CategoryBlock::default()
    }

    /// These classes, in this order.
    pub fn with_vocab<S: Into<String>>(vocab: impl IntoIterator<Item = S>) -> CategoryBlock {
        let mut block = CategoryBlock { given: true, ..Default::default() };
        block.set_vocab(vocab.into_iter().map(Into::into).collect());
        block
    }

    /// With class 0, `#na#`, for all labels that no training item has. Counterpart: `add_na=True`.
    #[must_use]
    pub fn unknown_allowed(mut self) -> CategoryBlock {
        self.unknown = true;
        self
    }

    fn set_vocab(&mut self, vocab: Vec<String>) {
        self.lookup = vocab.iter().cloned().enumerate().map(|(i, v)| (v, i)).collect();
        self.vocab = vocab;
    }
}

impl Block for CategoryBlock {
    type Source = String;
    type Item = Category;
    type Batch = Tensor;

    fn name(&self) -> String {
        "category".to_owned()
    }
    fn wants_setup(&self) -> bool {
        !self.given
    }
    fn setup(&mut self, sources: &[String]) -> Result<(), BoxError> {
        let mut vocab = classes(sources.iter());
        if self.unknown {
            vocab.insert(0, "#na#".to_owned());
        }
        self.set_vocab(vocab);
        Ok(())
    }
    fn encode(&self, source: String) -> Result<Category, BoxError> {
        match self.lookup.get(&source) {
            Some(&i) => Ok(Category(i)),
            None if self.unknown => Ok(Category(0)),
            None => Err(format!(
                "the label {source:?} is not among the classes of the training items ({})",
                listing(&self.vocab)
            )
            .into()),
        }
    }
    fn collate(&self, items: Vec<Category>) -> Result<Tensor, BoxError> {
        let labels: Vec<i64> = items.iter().map(|c| c.0 as i64).collect();
        Ok(Tensor::from_slice(&labels, [labels.len()]))
    }
    fn decode(&self, batch: &Tensor) -> Vec<Category> {
        batch.to_vec::<i64>().into_iter().map(|i| Category(i.max(0) as usize)).collect()
    }
    fn show(&self, item: &Category) -> Shown {
        Shown::Text(self.vocab.get(item.0).cloned().unwrap_or_else(|| format!("class {}", item.0)))
    }
    fn describe(&self, item: &Category) -> String {
        format!("class {} ({:?})", item.0, self.show(item).text())
    }
    fn describe_batch(&self, batch: &Tensor) -> String {
        describe_tensor(batch)
    }
    fn vocab(&self) -> &[String] {
        &self.vocab
    }
    fn blank(&self) -> Option<Category> {
        Some(Category(0))
    }
}

/// Numbers of the classes that apply.
///
/// ```
/// use hardpan_learn::data::block::{Block, MultiCategory, MultiCategoryBlock};
/// let block = MultiCategoryBlock::with_vocab(["clear", "road", "water"]);
/// assert_eq!(block.show(&MultiCategory(vec![0, 2])).text(), "clear; water");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiCategory(pub Vec<usize>);

/// Any number of several classes. Batches are `[N, classes]` of f32, 1 where a class applies. Counterpart: fastai's
/// `MultiCategoryBlock`.
///
/// ```
/// use hardpan_learn::data::block::{Block, MultiCategoryBlock};
/// let block = MultiCategoryBlock::with_vocab(["clear", "road", "water"]);
/// let item = block.encode(vec!["water".to_owned(), "clear".to_owned()])?;
/// let y = block.collate(vec![item])?;
/// assert_eq!((y.shape(), y.to_vec::<f32>()), (&[1, 3][..], vec![1.0, 0.0, 1.0]));
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MultiCategoryBlock {
    vocab: Vec<String>,
    given: bool,
}

impl MultiCategoryBlock {
    /// The names of the training items' labels, sorted, are the classes.
    pub fn new() -> MultiCategoryBlock {
        MultiCategoryBlock::default()
    }

    /// These classes, in this order.
    pub fn with_vocab<S: Into<String>>(vocab: impl IntoIterator<Item = S>) -> MultiCategoryBlock {
        let vocab = vocab.into_iter().map(Into::into).collect();
        MultiCategoryBlock { vocab, given: true }
    }
}

impl Block for MultiCategoryBlock {
    type Source = Vec<String>;
    type Item = MultiCategory;
    type Batch = Tensor;

    fn name(&self) -> String {
        "several categories".to_owned()
    }
    fn wants_setup(&self) -> bool {
        !self.given
    }
    fn setup(&mut self, sources: &[Vec<String>]) -> Result<(), BoxError> {
        self.vocab = classes(sources.iter().flatten());
        Ok(())
    }
    fn encode(&self, source: Vec<String>) -> Result<MultiCategory, BoxError> {
        let find = |label: &String| {
            position(&self.vocab, label).ok_or_else(|| {
                let known = listing(&self.vocab);
                format!(
                    "the label {label:?} is not among the classes of the training items ({known})"
                )
            })
        };
        let mut found = source.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        found.sort_unstable();
        found.dedup();
        Ok(MultiCategory(found))
    }
    fn collate(&self, items: Vec<MultiCategory>) -> Result<Tensor, BoxError> {
        let c = self.vocab.len();
        let mut values = vec![0f32; items.len() * c];
        for (row, item) in values.chunks_mut(c.max(1)).zip(&items) {
            item.0.iter().for_each(|&i| row[i] = 1.0);
        }
        Ok(Tensor::from_slice(&values, [items.len(), c]))
    }
    fn decode(&self, batch: &Tensor) -> Vec<MultiCategory> {
        let values = batch.to_vec::<f32>();
        let row = |row: &[f32]| MultiCategory((0..row.len()).filter(|&i| row[i] > 0.5).collect());
        values.chunks(self.vocab.len().max(1)).map(row).collect()
    }
    fn show(&self, item: &MultiCategory) -> Shown {
        let names: Vec<&str> = item.0.iter().map(|&i| self.vocab[i].as_str()).collect();
        Shown::Text(names.join("; "))
    }
    fn describe(&self, item: &MultiCategory) -> String {
        format!("classes {:?} ({:?})", item.0, self.show(item).text())
    }
    fn describe_batch(&self, batch: &Tensor) -> String {
        describe_tensor(batch)
    }
    fn vocab(&self) -> &[String] {
        &self.vocab
    }
    fn blank(&self) -> Option<MultiCategory> {
        Some(MultiCategory(Vec::new()))
    }
    fn bytes(&self, item: &MultiCategory) -> usize {
        size_of_val(item) + size_of_val(&item.0[..])
    }
}

/// Numbers.
///
/// ```
/// use hardpan_learn::data::block::{Block, RegressionBlock, Values};
/// assert_eq!(RegressionBlock.encode(vec![0.5, 2.0])?, Values(vec![0.5, 2.0]));
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Values(pub Vec<f32>);

/// Numbers, equally many for each item. Batches are `[N, numbers]` of f32. Counterpart: fastai's `RegressionBlock`.
///
/// ```
/// use hardpan_learn::data::block::{Block, RegressionBlock};
/// let block = RegressionBlock::new();
/// let items = vec![block.encode(vec![1.0, 2.0])?, block.encode(vec![3.0, 4.0])?];
/// assert_eq!(block.collate(items)?.shape(), [2, 2]);
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RegressionBlock;

impl RegressionBlock {
    /// Numbers as they are.
    pub fn new() -> RegressionBlock {
        RegressionBlock
    }
}

impl Block for RegressionBlock {
    type Source = Vec<f32>;
    type Item = Values;
    type Batch = Tensor;

    fn name(&self) -> String {
        "numbers".to_owned()
    }
    fn encode(&self, source: Vec<f32>) -> Result<Values, BoxError> {
        match source.iter().find(|v| !v.is_finite()) {
            Some(v) => Err(format!("{v} is not a number to learn").into()),
            None => Ok(Values(source)),
        }
    }
    fn collate(&self, items: Vec<Values>) -> Result<Tensor, BoxError> {
        let n = items.first().map_or(0, |v| v.0.len());
        if let Some(other) = items.iter().find(|v| v.0.len() != n) {
            return Err(format!("items with {n} and with {} numbers", other.0.len()).into());
        }
        let rows = items.len();
        let values: Vec<f32> = items.into_iter().flat_map(|v| v.0).collect();
        Ok(Tensor::from_slice(&values, [rows, n]))
    }
    fn decode(&self, batch: &Tensor) -> Vec<Values> {
        let n = batch.numel() / batch.shape()[0].max(1);
        let values = batch.to_dtype(DType::F32).to_vec::<f32>();
        values.chunks(n.max(1)).map(|v| Values(v.to_vec())).collect()
    }
    fn show(&self, item: &Values) -> Shown {
        let numbers: Vec<String> = item.0.iter().map(|v| format!("{v}")).collect();
        Shown::Text(numbers.join(", "))
    }
    fn describe_batch(&self, batch: &Tensor) -> String {
        describe_tensor(batch)
    }
    fn bytes(&self, item: &Values) -> usize {
        size_of_val(item) + size_of_val(&item.0[..])
    }
}

/// Two blocks side by side: models with two inputs, or with two targets.
impl<A: Block, B: Block> Block for (A, B) {
    type Source = (A::Source, B::Source);
    type Item = (A::Item, B::Item);
    type Batch = (A::Batch, B::Batch);

    fn name(&self) -> String {
        format!("{} and {}", self.0.name(), self.1.name())
    }
    fn encode(&self, source: Self::Source) -> Result<Self::Item, BoxError> {
        Ok((self.0.encode(source.0)?, self.1.encode(source.1)?))
    }
    fn collate(&self, items: Vec<Self::Item>) -> Result<Self::Batch, BoxError> {
        let (a, b) = items.into_iter().unzip();
        Ok((self.0.collate(a)?, self.1.collate(b)?))
    }
    fn decode(&self, batch: &Self::Batch) -> Vec<Self::Item> {
        self.0.decode(&batch.0).into_iter().zip(self.1.decode(&batch.1)).collect()
    }
    fn show(&self, item: &Self::Item) -> Shown {
        match (self.0.show(&item.0), self.1.show(&item.1)) {
            (picture @ Shown::Picture { .. }, _) | (_, picture @ Shown::Picture { .. }) => picture,
            (a, b) => Shown::Text(format!("{}; {}", a.text(), b.text())),
        }
    }
    fn describe(&self, item: &Self::Item) -> String {
        format!("({}, {})", self.0.describe(&item.0), self.1.describe(&item.1))
    }
    fn describe_batch(&self, batch: &Self::Batch) -> String {
        format!("({}, {})", self.0.describe_batch(&batch.0), self.1.describe_batch(&batch.1))
    }
    fn blank(&self) -> Option<Self::Item> {
        Some((self.0.blank()?, self.1.blank()?))
    }
    fn bytes(&self, item: &Self::Item) -> usize {
        self.0.bytes(&item.0) + self.1.bytes(&item.1)
    }
}
