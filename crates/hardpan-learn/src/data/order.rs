//! In which order a loader gives items out: [`Order`], and [`permutation`] that all random ones are made of.

use super::DataError;
use hardpan_engine::philox::philox4x32;
use std::sync::Arc;

/// The order of the items of an epoch: a function of the epoch and of nothing else.
#[derive(Clone, Default)]
pub(super) enum Order {
    /// As the data set has them.
    #[default]
    Given,
    /// Each once, in a new random order each epoch.
    Shuffled(u64),
    /// Drawn with replacement, each with the probability of its weight; so many an epoch.
    Weighted { seed: u64, cumulative: Arc<Vec<f64>>, n: usize },
    /// By size, largest first; ties as given.
    Sorted(Arc<Vec<usize>>),
    /// Nearly by size: random stretches of the data, each sorted, so that items of a batch are of like size and batches still
    /// differ from epoch to epoch.
    Sortish { seed: u64, sizes: Arc<Vec<usize>>, batch: usize },
    /// The first `n` of another order.
    Partial(Box<Order>, usize),
}

impl Order {
    /// How many of `items` items an epoch has.
    pub fn len(&self, items: usize) -> usize {
        match self {
            Order::Weighted { n, .. } => *n,
            Order::Partial(inner, n) => inner.len(items).min(*n),
            _ => items,
        }
    }

    pub fn of(&self, items: usize, epoch: usize) -> Vec<usize> {
        match self {
            Order::Given => (0..items).collect(),
            Order::Shuffled(seed) => permutation(items, *seed, epoch as u64),
            Order::Weighted { seed, cumulative, n } => {
                let total = cumulative.last().copied().unwrap_or(0.0);
                let draw = |i: usize| {
                    let at = uniform(*seed, epoch as u64, i as u32) * total;
                    cumulative.partition_point(|&c| c <= at).min(items - 1)
                };
                (0..*n).map(draw).collect()
            }
            Order::Sorted(sizes) => {
                let mut order: Vec<usize> = (0..items).collect();
                order.sort_by_key(|&i| std::cmp::Reverse(sizes[i]));
                order
            }
            Order::Sortish { seed, sizes, batch } => sortish(sizes, *batch, *seed, epoch as u64),
            Order::Partial(inner, n) => {
                let mut order = inner.of(items, epoch);
                order.truncate(*n);
                order
            }
        }
    }

    /// Weights as running sums, checked.
    pub fn weighted(
        seed: u64,
        weights: &[f64],
        items: usize,
        n: usize,
    ) -> Result<Order, DataError> {
        if weights.len() != items {
            return Err(DataError::Weights(format!("{} weights for {items} items", weights.len())));
        }
        if let Some(i) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
            return Err(DataError::Weights(format!("weight {} of item {i}", weights[i])));
        }
        let mut sum = 0.0;
        let cumulative: Vec<f64> = weights
            .iter()
            .map(|w| {
                sum += w;
                sum
            })
            .collect();
        if sum <= 0.0 {
            return Err(DataError::Weights("all weights are 0".to_owned()));
        }
        Ok(Order::Weighted { seed, cumulative: Arc::new(cumulative), n })
    }
}

/// Shuffles, sorts stretches of 50 batches by size, cuts them into batches, and shuffles those; the batch with the largest item
/// comes first, so that memory runs out at once or never. Source: fastai's `SortedDL`, course-v3 `SortishSampler`.
fn sortish(sizes: &[usize], batch: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order = permutation(sizes.len(), seed, epoch);
    for stretch in order.chunks_mut(batch * 50) {
        stretch.sort_by_key(|&i| std::cmp::Reverse(sizes[i]));
    }
    let batches: Vec<&[usize]> = order.chunks(batch).collect();
    let Some(largest) = (0..batches.len()).max_by_key(|&b| sizes[batches[b][0]]) else {
        return order;
    };
    // A batch that is not full stays last.
    let full = sizes.len() / batch;
    let mut rest: Vec<usize> = (0..full).filter(|&b| b != largest).collect();
    let places = permutation(rest.len(), seed ^ 0x5348_5546, epoch);
    rest = places.into_iter().map(|p| rest[p]).collect();
    let mut all = Vec::new();
    if largest < full {
        all.push(largest);
    }
    all.extend(rest);
    all.extend(full..batches.len());
    all.into_iter().flat_map(|b| batches[b].iter().copied()).collect()
}

/// Uniform in [0, 1), with 53 bits, for the `i`th draw of a round.
fn uniform(seed: u64, round: u64, i: u32) -> f64 {
    let key = [seed as u32, (seed >> 32) as u32];
    // Word 3 keeps this stream apart from the others: 0 random tensors, 1 permutations, 2 items.
    let block = philox4x32([i, round as u32, (round >> 32) as u32, 3], key);
    let bits = u64::from(block[0]) << 32 | u64::from(block[1]);
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// `0..n` in an order drawn from `seed` and `round` alone (Fisher and Yates, with Philox).
///
/// ```
/// use hardpan_learn::data::permutation;
/// let order = permutation(5, 42, 0);
/// assert_eq!(order, permutation(5, 42, 0)); // the same seed and round, the same order
/// let mut sorted = order;
/// sorted.sort();
/// assert_eq!(sorted, [0, 1, 2, 3, 4]);
/// ```
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
