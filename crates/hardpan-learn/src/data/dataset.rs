//! [`Dataset`]: items by number, given out as whole batches.

use super::rows::Rows;
use super::{DataError, labels};
use hardpan_engine::{Element, Tensor};
use std::sync::Arc;

/// Numbered items that can be had as batches. `X` is what the model takes, `Y` what the loss compares its output with.
///
/// One method makes a whole batch, so data in memory is copied once. Counterpart: `torch.utils.data.Dataset` together with
/// its collate function.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::data::{DataError, DataLoader, Dataset};
///
/// /// Numbers and their squares, made when they are asked for.
/// struct Squares(usize);
///
/// impl Dataset<Tensor, Tensor> for Squares {
///     fn len(&self) -> usize {
///         self.0
///     }
///     fn batch(&self, items: &[usize]) -> Result<(Tensor, Tensor), DataError> {
///         let x: Vec<f32> = items.iter().map(|&i| i as f32).collect();
///         let x = Tensor::from_slice(&x, [items.len(), 1]);
///         Ok((x.clone(), &x * &x))
///     }
/// }
///
/// let loader = DataLoader::new(Squares(100), 8)?.shuffle(42);
/// let (x, y) = loader.one_batch()?;
/// assert_eq!((x.shape(), y.shape(), loader.len()), (&[8, 1][..], &[8, 1][..], 13));
/// # Ok::<(), DataError>(())
/// ```
pub trait Dataset<X, Y>: Send + Sync {
    /// Number of items.
    fn len(&self) -> usize;

    /// Whether there are no items.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items with these numbers, as one batch.
    ///
    /// # Errors
    /// If an item cannot be read; the error names it.
    fn batch(&self, items: &[usize]) -> Result<(X, Y), DataError>;

    /// The same for an epoch, which is what loaders call: for data with random transforms, which draw anew each epoch, and for
    /// data that leaves out what it cannot read. `None`: nothing is left.
    ///
    /// # Errors
    /// As [`batch`](Dataset::batch).
    fn load(&self, items: &[usize], epoch: usize) -> Result<Option<Batch<X, Y>>, DataError> {
        let _ = epoch;
        self.batch(items).map(|(x, y)| Some(Batch { x, y, items: items.len() }))
    }
}

/// Inputs and targets of some items.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::data::{Dataset, TensorDataset};
/// let data = TensorDataset::new(Tensor::rand([10, 4]), Tensor::rand([10]))?;
/// let batch = data.load(&[2, 5, 7], 0)?.unwrap();
/// assert_eq!((batch.items, batch.x.shape(), batch.y.shape()), (3, &[3, 4][..], &[3][..]));
/// # Ok::<(), hardpan_learn::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Batch<X, Y> {
    /// What the model takes.
    pub x: X,
    /// What its output is compared with.
    pub y: Y,
    /// How many items they are of.
    pub items: usize,
}

/// Items in memory: row `i` of `x` and row `i` of `y`. Counterpart: `TensorDataset`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::data::{Dataset, TensorDataset};
/// let pairs = TensorDataset::new(
///     (Tensor::zeros([100, 8]), Tensor::zeros([100, 3])), // two inputs
///     Tensor::zeros([100]),
/// )?;
/// let (train, valid) = pairs.split_at(80);
/// assert_eq!((train.len(), valid.len()), (80, 20));
/// assert_eq!(valid.x().1.shape(), [20, 3]);
/// // Inputs and targets must be equally many.
/// assert!(TensorDataset::new(Tensor::zeros([100, 8]), Tensor::zeros([99])).is_err());
/// # Ok::<(), hardpan_learn::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TensorDataset<X, Y> {
    x: X,
    y: Y,
    len: usize,
}

impl<X: Rows, Y: Rows> TensorDataset<X, Y> {
    /// Inputs and targets, equally many.
    ///
    /// # Errors
    /// If they are not.
    pub fn new(x: X, y: Y) -> Result<TensorDataset<X, Y>, DataError> {
        let (x_rows, y_rows) = (x.rows(), y.rows());
        if x_rows != y_rows {
            return Err(DataError::Lengths { x_rows, y_rows, x: x.shapes(), y: y.shapes() });
        }
        Ok(TensorDataset { x, y, len: x_rows })
    }

    /// The first `n` items and the rest.
    ///
    /// # Panics
    /// If there are fewer than `n`.
    #[track_caller]
    pub fn split_at(&self, n: usize) -> (TensorDataset<X, Y>, TensorDataset<X, Y>) {
        assert!(n <= self.len, "split_at: {n} of {} items", self.len);
        let items: Vec<usize> = (0..self.len).collect();
        (self.select(&items[..n]), self.select(&items[n..]))
    }

    /// Only the items with these numbers.
    #[track_caller]
    pub fn select(&self, items: &[usize]) -> TensorDataset<X, Y> {
        TensorDataset { x: self.x.take_rows(items), y: self.y.take_rows(items), len: items.len() }
    }

    /// The inputs.
    pub fn x(&self) -> &X {
        &self.x
    }

    /// The targets.
    pub fn y(&self) -> &Y {
        &self.y
    }
}

impl<X: Rows> TensorDataset<X, Tensor> {
    /// Inputs with labels, each one of `0..classes`.
    ///
    /// # Errors
    /// If there are not equally many, or a label is out of range.
    pub fn labelled<T: Element>(
        x: X,
        y: &[T],
        classes: usize,
    ) -> Result<TensorDataset<X, Tensor>, DataError> {
        TensorDataset::new(x, labels(y, classes)?)
    }
}

impl<X, Y> Dataset<X, Y> for TensorDataset<X, Y>
where
    X: Rows + Send + Sync,
    Y: Rows + Send + Sync,
{
    fn len(&self) -> usize {
        self.len
    }

    fn batch(&self, items: &[usize]) -> Result<(X, Y), DataError> {
        Ok((self.x.take_rows(items), self.y.take_rows(items)))
    }
}

impl<X, Y, D: Dataset<X, Y> + ?Sized> Dataset<X, Y> for Arc<D> {
    fn len(&self) -> usize {
        (**self).len()
    }
    fn batch(&self, items: &[usize]) -> Result<(X, Y), DataError> {
        (**self).batch(items)
    }
    fn load(&self, items: &[usize], epoch: usize) -> Result<Option<Batch<X, Y>>, DataError> {
        (**self).load(items, epoch)
    }
}

impl<X, Y, D: Dataset<X, Y> + ?Sized> Dataset<X, Y> for Box<D> {
    fn len(&self) -> usize {
        (**self).len()
    }
    fn batch(&self, items: &[usize]) -> Result<(X, Y), DataError> {
        (**self).batch(items)
    }
    fn load(&self, items: &[usize], epoch: usize) -> Result<Option<Batch<X, Y>>, DataError> {
        (**self).load(items, epoch)
    }
}

/// Tokens of a text as a language model reads them: `[rows, length]` inputs and the same shifted by one as targets, so laid out
/// that row `r` of a batch goes on where row `r` of the batch before it stopped. To be loaded in order, `batch_size` rows a batch.
///
/// The text is cut into `batch_size` streams; what does not fill all streams evenly is left out. Counterpart: fastai's
/// `LMDataLoader`.
///
/// ```
/// use hardpan_learn::data::{Dataset, language_model};
/// let tokens: Vec<i64> = (0..13).collect();
/// // Two streams of six tokens, read three at a time: two batches of two rows.
/// let data = language_model(&tokens, 2, 3)?;
/// let (x, y) = data.batch(&[0, 1])?;
/// assert_eq!(x.to_vec::<i64>(), [0, 1, 2, 6, 7, 8]);
/// assert_eq!(y.to_vec::<i64>(), [1, 2, 3, 7, 8, 9]);
/// let (x, _) = data.batch(&[2, 3])?;
/// assert_eq!(x.to_vec::<i64>(), [3, 4, 5, 9, 10, 11]); // each row goes on
/// # Ok::<(), hardpan_learn::data::DataError>(())
/// ```
///
/// # Errors
/// If there are not even tokens for one step.
pub fn language_model(
    tokens: &[i64],
    batch_size: usize,
    length: usize,
) -> Result<TensorDataset<Tensor, Tensor>, DataError> {
    assert!(batch_size > 0 && length > 0, "language_model: batch size and length must be above 0");
    let stream = tokens.len().saturating_sub(1) / batch_size;
    let batches = stream / length;
    if batches == 0 {
        return Err(DataError::TooShort(format!(
            "{} tokens are too few for {batch_size} rows of {length}: at least {} are needed",
            tokens.len(),
            batch_size * length + 1
        )));
    }
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for b in 0..batches {
        for row in 0..batch_size {
            let start = row * stream + b * length;
            x.extend_from_slice(&tokens[start..start + length]);
            y.extend_from_slice(&tokens[start + 1..start + 1 + length]);
        }
    }
    let shape = [batches * batch_size, length];
    TensorDataset::new(Tensor::from_slice(&x, shape), Tensor::from_slice(&y, shape))
}
