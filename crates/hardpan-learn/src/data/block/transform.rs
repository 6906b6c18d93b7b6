//! What is done to items and to batches.

use super::BoxError;
use crate::data::Draw;
use std::sync::Arc;

/// Changes an item, input and target together, on a loader's worker. All that is random comes from the [`Draw`].
/// Counterpart: fastai's item transforms.
///
/// ```
/// use hardpan_learn::data::Draw;
/// use hardpan_learn::data::block::{BoxError, Category, ItemTransform, Values};
///
/// /// Adds the same random number, up to this, to all numbers.
/// struct Shift(f64);
///
/// impl ItemTransform<Values, Category> for Shift {
///     fn name(&self) -> String {
///         format!("Shift({})", self.0)
///     }
///     fn apply(&self, x: Values, y: Category, draw: &mut Draw) -> Result<(Values, Category), BoxError> {
///         let by = draw.between(-self.0, self.0) as f32;
///         Ok((Values(x.0.iter().map(|v| v + by).collect()), y))
///     }
/// }
///
/// let mut draw = Draw::new(42, 0, 7); // seed, epoch, item
/// let (x, y) = Shift(0.5).apply(Values(vec![1.0, 2.0]), Category(3), &mut draw)?;
/// assert!((x.0[1] - x.0[0] - 1.0).abs() < 1e-6 && (x.0[0] - 1.0).abs() <= 0.5);
/// assert_eq!(y, Category(3));
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
pub trait ItemTransform<X, Y>: Send + Sync {
    /// What it is called in messages, with its settings.
    fn name(&self) -> String;

    /// Whether the result differs from epoch to epoch. What comes before the first random transform can be
    /// [cached](super::DataBlock::cache).
    fn is_random(&self) -> bool {
        true
    }

    /// The changed item.
    ///
    /// # Errors
    /// If the item does not allow it; the item is named by the caller.
    fn apply(&self, x: X, y: Y, draw: &mut Draw) -> Result<(X, Y), BoxError>;
}

impl<X, Y, T: ItemTransform<X, Y> + ?Sized> ItemTransform<X, Y> for Arc<T> {
    fn name(&self) -> String {
        (**self).name()
    }
    fn is_random(&self) -> bool {
        (**self).is_random()
    }
    fn apply(&self, x: X, y: Y, draw: &mut Draw) -> Result<(X, Y), BoxError> {
        (**self).apply(x, y, draw)
    }
}

/// Changes a batch, in the thread that trains: what is written with tensor operations is part of the step's graph.
/// Counterpart: fastai's batch transforms.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::data::block::BatchTransform;
///
/// /// Divides inputs by this.
/// struct Scale(f64);
///
/// impl BatchTransform<Tensor, Tensor> for Scale {
///     fn name(&self) -> String {
///         format!("Scale({})", self.0)
///     }
///     fn encode(&self, x: Tensor, y: Tensor) -> (Tensor, Tensor) {
///         (x / self.0, y)
///     }
///     fn decode(&self, x: Tensor, y: Tensor) -> (Tensor, Tensor) {
///         (x * self.0, y)
///     }
/// }
///
/// let (x, y) = Scale(4.0).encode(Tensor::ones([2]), Tensor::zeros([2]));
/// assert_eq!(x.to_vec::<f32>(), [0.25, 0.25]);
/// assert_eq!(Scale(4.0).decode(x, y).0.to_vec::<f32>(), [1.0, 1.0]);
/// ```
pub trait BatchTransform<X, Y>: Send + Sync {
    /// What it is called in messages, with its settings.
    fn name(&self) -> String;

    /// The changed batch.
    fn encode(&self, x: X, y: Y) -> (X, Y);

    /// The batch as it can be looked at: normalization undone.
    fn decode(&self, x: X, y: Y) -> (X, Y) {
        (x, y)
    }
}

struct FromFn<F> {
    name: String,
    f: F,
}

impl<X, Y, F> ItemTransform<X, Y> for FromFn<F>
where
    F: Fn(X, Y, &mut Draw) -> Result<(X, Y), BoxError> + Send + Sync,
{
    fn name(&self) -> String {
        self.name.clone()
    }
    fn apply(&self, x: X, y: Y, draw: &mut Draw) -> Result<(X, Y), BoxError> {
        (self.f)(x, y, draw)
    }
}

impl<X, Y, F> BatchTransform<X, Y> for FromFn<F>
where
    F: Fn(X, Y) -> (X, Y) + Send + Sync,
{
    fn name(&self) -> String {
        self.name.clone()
    }
    fn encode(&self, x: X, y: Y) -> (X, Y) {
        (self.f)(x, y)
    }
}

/// An item transform of a function.
///
/// ```
/// use hardpan_learn::data::Draw;
/// use hardpan_learn::data::block::{Category, ItemTransform, Values, item_transform};
/// let double = item_transform("double", |x: Values, y: Category, _: &mut Draw| {
///     Ok((Values(x.0.iter().map(|v| v * 2.0).collect()), y))
/// });
/// let (x, _) = double.apply(Values(vec![3.0]), Category(0), &mut Draw::new(42, 0, 0))?;
/// assert_eq!(x, Values(vec![6.0]));
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
pub fn item_transform<X, Y>(
    name: impl Into<String>,
    f: impl Fn(X, Y, &mut Draw) -> Result<(X, Y), BoxError> + Send + Sync,
) -> impl ItemTransform<X, Y> {
    FromFn { name: name.into(), f }
}

/// A batch transform of a function.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::data::block::{BatchTransform, batch_transform};
/// let halve = batch_transform("halve", |x: Tensor, y: Tensor| (x / 2.0, y));
/// let (x, _) = halve.encode(Tensor::ones([2]), Tensor::zeros([2]));
/// assert_eq!(x.to_vec::<f32>(), [0.5, 0.5]);
/// ```
pub fn batch_transform<X, Y>(
    name: impl Into<String>,
    f: impl Fn(X, Y) -> (X, Y) + Send + Sync,
) -> impl BatchTransform<X, Y> {
    FromFn { name: name.into(), f }
}
