//! What is done to items and to batches.

use super::BoxError;
use crate::data::Draw;
use std::sync::Arc;

/// Changes an item, input and target together, on a loader's worker. All that is random comes from the [`Draw`].
/// Counterpart: fastai's item transforms.
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
pub fn item_transform<X, Y>(
    name: impl Into<String>,
    f: impl Fn(X, Y, &mut Draw) -> Result<(X, Y), BoxError> + Send + Sync,
) -> impl ItemTransform<X, Y> {
    FromFn { name: name.into(), f }
}

/// A batch transform of a function.
pub fn batch_transform<X, Y>(
    name: impl Into<String>,
    f: impl Fn(X, Y) -> (X, Y) + Send + Sync,
) -> impl BatchTransform<X, Y> {
    FromFn { name: name.into(), f }
}
