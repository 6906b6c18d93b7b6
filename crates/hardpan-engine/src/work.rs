//! How much arithmetic was asked for: the multiply-adds of the products and convolutions that a thread has built.
//!
//! Counted where an operation is built, from shapes alone, so a difference of two readings says what the code in between costs
//! whether or not it has run. Summaries of models are made of it.

use std::cell::Cell;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Multiply-adds of all matrix products and convolutions that this thread has built so far. Only differences mean something.
///
/// ```
/// use hardpan_engine::{Tensor, multiply_adds};
/// let before = multiply_adds();
/// let _ = Tensor::ones([4, 8]).matmul(&Tensor::ones([8, 2]));
/// assert_eq!(multiply_adds() - before, 4 * 8 * 2);
/// ```
pub fn multiply_adds() -> u64 {
    COUNT.with(Cell::get)
}

/// Adds to [`multiply_adds`]: for operations of one's own that are built of neither products nor convolutions.
pub fn add_multiply_adds(n: u64) {
    COUNT.with(|c| c.set(c.get().wrapping_add(n)));
}
