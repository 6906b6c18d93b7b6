//! The process-wide random generator: a seed and a position in its stream.
//!
//! Every draw takes the next stretch of the counter stream of Philox (see [`crate::philox`]), so equal seeds and equal
//! programs give equal bits for any number of threads. Loader threads that draw in no fixed order should use a generator of
//! their own, keyed by the item.

use std::sync::Mutex;

struct State {
    seed: u64,
    position: u64,
}

static STATE: Mutex<State> = Mutex::new(State { seed: 0, position: 0 });

/// Sets the seed of every random tensor from here on. The default seed is 0. Counterpart: `torch.manual_seed`.
///
/// ```
/// use hardpan_engine::{Tensor, manual_seed};
/// manual_seed(42);
/// let a = Tensor::rand([3]).to_vec::<f32>();
/// manual_seed(42);
/// assert_eq!(a, Tensor::rand([3]).to_vec::<f32>());
/// ```
pub fn manual_seed(seed: u64) {
    *STATE.lock().unwrap() = State { seed, position: 0 };
}

/// Seed and position now: store it to continue a run with the same random numbers.
pub fn rng_state() -> (u64, u64) {
    let s = STATE.lock().unwrap();
    (s.seed, s.position)
}

/// Continues from a state that [`rng_state`] gave.
pub fn set_rng_state((seed, position): (u64, u64)) {
    *STATE.lock().unwrap() = State { seed, position };
}

/// Takes the next `n` numbers: (seed, position of the first). Stretches start at multiples of 4, a Philox block.
pub(crate) fn advance(n: u64) -> (u64, u64) {
    let mut s = STATE.lock().unwrap();
    let at = s.position;
    s.position += n.div_ceil(4) * 4;
    (s.seed, at)
}

/// The next `n` random words of the stream, at once and on the host: for decisions of a program, such as which items to mix. A
/// tensor of random numbers would have to be computed first.
pub fn random_words(n: usize) -> Vec<u32> {
    let (seed, at) = advance(n as u64);
    (at..at + n as u64).map(|i| crate::philox::bits(seed, i)).collect()
}
