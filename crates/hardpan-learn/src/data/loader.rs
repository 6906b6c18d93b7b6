//! [`DataLoader`]: a data set as batches, in an order that depends on the seed and the epoch and on nothing else.

use super::rows::Rows;
use super::{DataError, Dataset, TensorDataset};
use hardpan_engine::philox::philox4x32;
use std::sync::Arc;

/// Gives a data set out in batches. Counterpart: `DataLoader`.
///
/// ```no_run
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoader, TensorDataset};
/// # let data = TensorDataset::new(Tensor::zeros([100, 8]), Tensor::zeros([100]))?;
/// let train = DataLoader::new(data, 64)?
///     .shuffle(42)
///     .map(|x, y| (x / 255.0, y)); // on whole batches: part of the step's graph, so it fuses
/// for batch in train.batches(0) {
///     let (x, y) = batch?;
/// }
/// # Ok::<(), hardpan_learn::data::DataError>(())
/// ```
pub struct DataLoader<X, Y> {
    data: Arc<dyn Dataset<X, Y>>,
    batch_size: usize,
    seed: Option<u64>,
    drop_last: bool,
}

impl<X, Y> Clone for DataLoader<X, Y> {
    fn clone(&self) -> Self {
        DataLoader { data: self.data.clone(), ..*self }
    }
}

impl<X: 'static, Y: 'static> DataLoader<X, Y> {
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
        Ok(DataLoader { data: Arc::new(data), batch_size, seed: None, drop_last: false })
    }

    /// In a new random order each epoch.
    #[must_use]
    pub fn shuffle(mut self, seed: u64) -> DataLoader<X, Y> {
        self.seed = Some(seed);
        self
    }

    /// Without the last batch if it is not full. For training: shapes stay the same, and batch norm never sees a
    /// batch of one.
    ///
    /// # Errors
    /// If no batch would be left.
    pub fn drop_last(mut self) -> Result<DataLoader<X, Y>, DataError> {
        if self.data.len() < self.batch_size {
            let (items, batch_size) = (self.data.len(), self.batch_size);
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
        let DataLoader { data, batch_size, seed, drop_last } = self;
        DataLoader { data: Arc::new(Mapped { data, f }), batch_size, seed, drop_last }
    }

    /// Number of items.
    pub fn items(&self) -> usize {
        self.data.len()
    }

    /// Items in a full batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Number of batches in an epoch.
    pub fn len(&self) -> usize {
        match self.drop_last {
            true => self.data.len() / self.batch_size,
            false => self.data.len().div_ceil(self.batch_size),
        }
    }

    /// Whether there are no batches; there always are.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item numbers of an epoch in the order in which they come.
    pub fn order(&self, epoch: usize) -> Vec<usize> {
        match self.seed {
            Some(seed) => permutation(self.data.len(), seed, epoch as u64),
            None => (0..self.data.len()).collect(),
        }
    }

    /// The batches of an epoch. Epochs count from 0.
    pub fn batches(&self, epoch: usize) -> Batches<'_, X, Y> {
        self.batches_from(epoch, 0)
    }

    /// The batches of an epoch without the first `skip`, which are not even read.
    pub fn batches_from(&self, epoch: usize, skip: usize) -> Batches<'_, X, Y> {
        Batches { loader: self, order: self.order(epoch), next: skip.min(self.len()) }
    }

    /// The first batch of epoch 0. Counterpart: fastai's `one_batch`.
    ///
    /// # Errors
    /// If an item cannot be read.
    pub fn one_batch(&self) -> Result<(X, Y), DataError> {
        let n = self.batch_size.min(self.data.len());
        self.data.batch(&self.order(0)[..n])
    }
}

/// The batches of one epoch.
pub struct Batches<'a, X, Y> {
    loader: &'a DataLoader<X, Y>,
    order: Vec<usize>,
    next: usize,
}

impl<X: 'static, Y: 'static> Batches<'_, X, Y> {
    /// Number of items in the batch that comes next.
    pub fn next_items(&self) -> usize {
        let bs = self.loader.batch_size;
        self.order.len().saturating_sub(self.next * bs).min(bs)
    }
}

impl<X: 'static, Y: 'static> Iterator for Batches<'_, X, Y> {
    type Item = Result<(X, Y), DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.loader.len() {
            return None;
        }
        let start = self.next * self.loader.batch_size;
        let items = &self.order[start..start + self.next_items()];
        self.next += 1;
        Some(self.loader.data.batch(items))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = self.loader.len() - self.next;
        (n, Some(n))
    }
}

/// What the batches of `data` become by `f`.
struct Mapped<D: ?Sized, F> {
    f: F,
    data: Arc<D>,
}

impl<X, Y, X2, Y2, F> Dataset<X2, Y2> for Mapped<dyn Dataset<X, Y>, F>
where
    F: Fn(X, Y) -> (X2, Y2) + Send + Sync,
{
    fn len(&self) -> usize {
        self.data.len()
    }
    fn batch(&self, items: &[usize]) -> Result<(X2, Y2), DataError> {
        self.data.batch(items).map(|(x, y)| (self.f)(x, y))
    }
}

/// `0..n` in an order drawn from `seed` and `round` alone (Fisher and Yates, with Philox).
pub fn permutation(n: usize, seed: u64, round: u64) -> Vec<usize> {
    let key = [seed as u32, (seed >> 32) as u32];
    let mut out: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        // Word 3 keeps this stream apart from that of random tensors, which leave it 0.
        let block = philox4x32([i as u32, round as u32, (round >> 32) as u32, 1], key);
        let random = u64::from(block[0]) << 32 | u64::from(block[1]);
        out.swap(i, ((u128::from(random) * (i as u128 + 1)) >> 64) as usize);
    }
    out
}

/// What a model is trained on and what it is judged by. Counterpart: `DataLoaders`.
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
