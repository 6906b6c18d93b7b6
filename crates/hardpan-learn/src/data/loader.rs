//! [`DataLoader`]: a data set as batches, in an order that depends on the seed and the epoch and on nothing else.

use super::order::Order;
use super::rows::Rows;
use super::worker::{Loaded, Workers};
use super::{Batch, DataError, Dataset, TensorDataset};
use std::sync::Arc;

/// Gives a data set out in batches. Counterpart: `DataLoader`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::data::{DataLoader, TensorDataset};
/// let data = TensorDataset::new(Tensor::full([100, 8], 255.0), Tensor::zeros([100]))?;
/// let train = DataLoader::new(data, 64)?
///     .shuffle(42)
///     .map(|x, y| (x / 255.0, y)); // on whole batches: part of the step's graph, so it fuses
/// assert_eq!((train.len(), train.items()), (2, 100));
/// for batch in train.batches(0) { // of epoch 0
///     let (x, y) = batch?;
///     assert!(x.size(0) == y.size(0) && x.mean(..).item::<f32>() == 1.0);
/// }
/// # Ok::<(), hardpan_learn::data::DataError>(())
/// ```
pub struct DataLoader<X, Y> {
    source: Arc<dyn Source<X, Y>>,
    batch_size: usize,
    order: Order,
    drop_last: bool,
    workers: usize,
    ahead: usize,
}

impl<X, Y> Clone for DataLoader<X, Y> {
    fn clone(&self) -> Self {
        DataLoader { source: self.source.clone(), order: self.order.clone(), ..*self }
    }
}

impl<X: Send + 'static, Y: Send + 'static> DataLoader<X, Y> {
    /// Batches of `batch_size` items in the order of the data; the last one may be smaller, and if there are fewer items than
    /// that it is the only one.
    ///
    /// # Errors
    /// If the data set is empty.
    ///
    /// # Panics
    /// If `batch_size` is 0.
    #[track_caller]
    pub fn new(
        data: impl Dataset<X, Y> + 'static,
        batch_size: usize,
    ) -> Result<DataLoader<X, Y>, DataError> {
        assert!(batch_size > 0, "DataLoader: the batch size must be above 0");
        if data.is_empty() {
            return Err(DataError::Empty);
        }
        Ok(DataLoader {
            source: Arc::new(Direct(Arc::new(data))),
            batch_size,
            order: Order::Given,
            drop_last: false,
            workers: 0,
            ahead: 0,
        })
    }
}

impl<X: 'static, Y: 'static> DataLoader<X, Y> {
    /// In a new random order each epoch.
    #[must_use]
    pub fn shuffle(mut self, seed: u64) -> DataLoader<X, Y> {
        self.order = Order::Shuffled(seed);
        self
    }

    /// Drawn with replacement, each item with a probability proportional to its weight; `items` of them an epoch.
    /// Counterpart: fastai's `WeightedDL`.
    ///
    /// # Errors
    /// If there is not one finite weight of at least 0 for each item, or all are 0.
    pub fn weighted(
        mut self,
        weights: &[f64],
        items: usize,
        seed: u64,
    ) -> Result<DataLoader<X, Y>, DataError> {
        self.order = Order::weighted(seed, weights, self.source.items(), items)?;
        Ok(self)
    }

    /// By size, largest first: for validation with items of many sizes. Counterpart: fastai's `SortedDL`.
    ///
    /// # Panics
    /// If there is not one size for each item.
    #[must_use]
    #[track_caller]
    pub fn sorted(mut self, sizes: Vec<usize>) -> DataLoader<X, Y> {
        self.check_sizes(&sizes);
        self.order = Order::Sorted(Arc::new(sizes));
        self
    }

    /// Nearly by size and still random: items of a batch are of like size, batches differ from epoch to epoch, the batch with the
    /// largest item comes first. For training with items of many sizes. Counterpart: fastai's `SortedDL(shuffle=True)`.
    ///
    /// # Panics
    /// If there is not one size for each item.
    #[must_use]
    #[track_caller]
    pub fn sortish(mut self, sizes: Vec<usize>, seed: u64) -> DataLoader<X, Y> {
        self.check_sizes(&sizes);
        let batch = self.batch_size;
        self.order = Order::Sortish { seed, sizes: Arc::new(sizes), batch };
        self
    }

    #[track_caller]
    fn check_sizes(&self, sizes: &[usize]) {
        let items = self.source.items();
        assert!(sizes.len() == items, "{} sizes for {items} items", sizes.len());
    }

    /// Only `items` items of each epoch's order: short epochs of large data. Counterpart: fastai's `PartialDL`.
    ///
    /// # Panics
    /// If `items` is 0.
    #[must_use]
    #[track_caller]
    pub fn partial(mut self, items: usize) -> DataLoader<X, Y> {
        assert!(items > 0, "DataLoader::partial: an epoch needs an item");
        self.order = Order::Partial(Box::new(self.order), items);
        self
    }

    /// With batches made by this many threads while earlier ones are in use (0: by the caller when asked for). The batches are
    /// the same for any number. At most twice as many batches wait as there are threads; see [`ahead`](DataLoader::ahead).
    ///
    /// What [`map`](DataLoader::map) does stays with the caller: it belongs to the graph of the step.
    #[must_use]
    pub fn workers(mut self, threads: usize) -> DataLoader<X, Y> {
        self.workers = threads;
        self
    }

    /// With at most this many batches made and waiting (0, the default: twice the number of threads).
    #[must_use]
    pub fn ahead(mut self, batches: usize) -> DataLoader<X, Y> {
        self.ahead = batches;
        self
    }

    /// Without the last batch if it is not full. For training: shapes stay the same, and batch norm never sees a
    /// batch of one.
    ///
    /// # Errors
    /// If no batch would be left.
    pub fn drop_last(mut self) -> Result<DataLoader<X, Y>, DataError> {
        let items = self.items();
        if items < self.batch_size {
            let batch_size = self.batch_size;
            return Err(DataError::NoBatches { items, batch_size });
        }
        self.drop_last = true;
        Ok(self)
    }

    /// With `f` applied to each batch: normalization, augmentation, rearrangement. Written with tensor operations it becomes
    /// part of the step's graph. Random draws come from the generator that `manual_seed` seeds.
    #[must_use]
    pub fn map<X2: 'static, Y2: 'static>(
        self,
        f: impl Fn(X, Y) -> (X2, Y2) + Send + Sync + 'static,
    ) -> DataLoader<X2, Y2> {
        let DataLoader { source, batch_size, order, drop_last, workers, ahead } = self;
        let source = Arc::new(Mapped { source, f: Arc::new(f) });
        DataLoader { source, batch_size, order, drop_last, workers, ahead }
    }

    /// Number of items in an epoch.
    pub fn items(&self) -> usize {
        self.order.len(self.source.items())
    }

    /// Items in a full batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Number of batches in an epoch.
    pub fn len(&self) -> usize {
        match self.drop_last {
            true => self.items() / self.batch_size,
            false => self.items().div_ceil(self.batch_size),
        }
    }

    /// Whether there are no batches; there always are.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item numbers of an epoch in the order in which they come.
    pub fn order(&self, epoch: usize) -> Vec<usize> {
        self.order.of(self.source.items(), epoch)
    }

    /// The batches of an epoch. Epochs count from 0.
    pub fn batches(&self, epoch: usize) -> Batches<X, Y> {
        self.batches_from(epoch, 0)
    }

    /// The batches of an epoch without the first `skip`, which are not even read.
    pub fn batches_from(&self, epoch: usize, skip: usize) -> Batches<X, Y> {
        let order = self.order(epoch);
        let all = order.chunks(self.batch_size).take(self.len());
        let batches: Vec<Vec<usize>> = all.skip(skip).map(<[usize]>::to_vec).collect();
        let left = batches.len();
        let ahead = if self.ahead == 0 { 2 * self.workers } else { self.ahead };
        let job = Job { batches, epoch, workers: self.workers, ahead };
        Batches { stream: self.source.stream(job), left, waiting: None }
    }

    /// The first batch of epoch 0. Counterpart: fastai's `one_batch`.
    ///
    /// # Errors
    /// If an item cannot be read, or there is no item left that can be.
    pub fn one_batch(&self) -> Result<(X, Y), DataError> {
        let mut first = self.order(0);
        first.truncate(self.batch_size);
        let job = Job { batches: vec![first], epoch: 0, workers: 0, ahead: 0 };
        match self.source.stream(job).next() {
            Some(made) => made?.map(|b| (b.x, b.y)).ok_or(DataError::Empty),
            None => Err(DataError::Empty),
        }
    }
}

/// The batches of one epoch. Batches all of whose items were left out as unreadable do not appear.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoader, TensorDataset};
/// # let data = TensorDataset::new(Tensor::rand([10, 3]), Tensor::rand([10, 1]))?;
/// let loader = DataLoader::new(data, 4)?;
/// let mut batches = loader.batches(0); // of epoch 0
/// let mut sizes = Vec::new();
/// while batches.next_items() > 0 {
///     let (x, _) = batches.next().unwrap()?;
///     sizes.push(x.size(0));
/// }
/// assert_eq!(sizes, [4, 4, 2]);
/// # Ok::<(), hardpan_learn::data::DataError>(())
/// ```
pub struct Batches<X, Y> {
    stream: Stream<X, Y>,
    /// Batches that the stream can still give at most.
    left: usize,
    /// A batch that was looked at and not given out yet.
    waiting: Option<Result<Batch<X, Y>, DataError>>,
}

impl<X: 'static, Y: 'static> Batches<X, Y> {
    /// Number of items in the batch that comes next, which is made for that; 0 if there is none.
    pub fn next_items(&mut self) -> usize {
        if self.waiting.is_none() {
            self.waiting = self.next_batch();
        }
        match &self.waiting {
            Some(Ok(batch)) => batch.items,
            _ => 0,
        }
    }

    fn next_batch(&mut self) -> Option<Result<Batch<X, Y>, DataError>> {
        loop {
            self.left = self.left.saturating_sub(1);
            match self.stream.next()? {
                Ok(Some(batch)) => return Some(Ok(batch)),
                Ok(None) => {}
                Err(e) => {
                    self.stream = Box::new(std::iter::empty());
                    return Some(Err(e));
                }
            }
        }
    }
}

impl<X: 'static, Y: 'static> Iterator for Batches<X, Y> {
    type Item = Result<(X, Y), DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.waiting.take().or_else(|| self.next_batch())?;
        Some(batch.map(|b| (b.x, b.y)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let waiting = usize::from(self.waiting.is_some());
        (waiting, Some(self.left + waiting))
    }
}

/// What is to be made: batches of these items.
struct Job {
    batches: Vec<Vec<usize>>,
    epoch: usize,
    workers: usize,
    ahead: usize,
}

type Stream<X, Y> = Box<dyn Iterator<Item = Loaded<X, Y>>>;

/// Where batches come from: a data set, or another source with a function on top.
trait Source<X, Y>: Send + Sync {
    fn items(&self) -> usize;
    fn stream(&self, job: Job) -> Stream<X, Y>;
}

/// Batches from a data set, made by workers if there are any.
struct Direct<X, Y>(Arc<dyn Dataset<X, Y>>);

impl<X: Send + 'static, Y: Send + 'static> Source<X, Y> for Direct<X, Y> {
    fn items(&self) -> usize {
        self.0.len()
    }

    fn stream(&self, job: Job) -> Stream<X, Y> {
        let data = self.0.clone();
        let Job { batches, epoch, workers, ahead } = job;
        if workers == 0 {
            return Box::new(batches.into_iter().map(move |items| data.load(&items, epoch)));
        }
        let total = batches.len();
        Box::new(Workers::start(total, workers, ahead, move |b| data.load(&batches[b], epoch)))
    }
}

/// What the batches of `source` become by `f`, which the consumer's thread runs.
struct Mapped<X, Y, F> {
    source: Arc<dyn Source<X, Y>>,
    f: Arc<F>,
}

impl<X: 'static, Y: 'static, X2, Y2, F> Source<X2, Y2> for Mapped<X, Y, F>
where
    F: Fn(X, Y) -> (X2, Y2) + Send + Sync + 'static,
{
    fn items(&self) -> usize {
        self.source.items()
    }

    fn stream(&self, job: Job) -> Stream<X2, Y2> {
        let f = self.f.clone();
        Box::new(self.source.stream(job).map(move |made| {
            Ok(made?.map(|Batch { x, y, items }| {
                let (x, y) = f(x, y);
                Batch { x, y, items }
            }))
        }))
    }
}

/// What a model is trained on and what it is judged by. Counterpart: `DataLoaders`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::data::{DataLoaders, TensorDataset};
/// let data = TensorDataset::new(Tensor::rand([100, 3]), Tensor::rand([100, 1]))?;
/// let (train, valid) = data.split_at(80);
/// let loaders = DataLoaders::from_tensors(train, valid, 16, 42)?;
/// assert_eq!(loaders.train.len(), 5);
/// // Twice the batch size where no gradients are kept.
/// assert_eq!(loaders.valid.as_ref().unwrap().batch_size(), 32);
/// # Ok::<(), hardpan_learn::data::DataError>(())
/// ```
pub struct DataLoaders<X, Y> {
    /// To learn from.
    pub train: DataLoader<X, Y>,
    /// To judge by; without it there is no validation.
    pub valid: Option<DataLoader<X, Y>>,
}

impl<X, Y> Clone for DataLoaders<X, Y> {
    fn clone(&self) -> Self {
        DataLoaders { train: self.train.clone(), valid: self.valid.clone() }
    }
}

impl<X: 'static, Y: 'static> DataLoaders<X, Y> {
    /// Both parts.
    pub fn new(train: DataLoader<X, Y>, valid: DataLoader<X, Y>) -> DataLoaders<X, Y> {
        DataLoaders { train, valid: Some(valid) }
    }

    /// Nothing to judge by.
    pub fn train_only(train: DataLoader<X, Y>) -> DataLoaders<X, Y> {
        DataLoaders { train, valid: None }
    }

    /// With `f` applied to each batch of both parts: see [`DataLoader::map`].
    #[must_use]
    pub fn map<X2: 'static, Y2: 'static>(
        self,
        f: impl Fn(X, Y) -> (X2, Y2) + Send + Sync + 'static,
    ) -> DataLoaders<X2, Y2> {
        let f = Arc::new(f);
        let g = f.clone();
        DataLoaders {
            train: self.train.map(move |x, y| f(x, y)),
            valid: self.valid.map(|v| v.map(move |x, y| g(x, y))),
        }
    }
}

impl<X: Rows + Send + Sync, Y: Rows + Send + Sync> DataLoaders<X, Y> {
    /// The usual pair: training data shuffled, validation data in order with twice the batch size (no gradients to keep).
    ///
    /// # Errors
    /// If one of them is empty.
    pub fn from_tensors(
        train: TensorDataset<X, Y>,
        valid: TensorDataset<X, Y>,
        batch_size: usize,
        seed: u64,
    ) -> Result<DataLoaders<X, Y>, DataError> {
        Ok(DataLoaders::new(
            DataLoader::new(train, batch_size)?.shuffle(seed),
            DataLoader::new(valid, batch_size * 2)?,
        ))
    }
}
