//! Blocks of random numbers; [`crate::philox`] defines them.
use crate::op::Distribution;
use crate::philox;

/// Writes elements `first..first + n` of the stream `seed`: f32, or i64 for `Bits`.
///
/// # Safety
/// Room for `n` elements at `dst`.
pub unsafe fn random(dist: Distribution, dst: *mut u8, seed: u64, first: u64, n: usize) {
    for i in 0..n {
        // SAFETY: within the n elements promised.
        unsafe { one(dist, dst, i, seed, first.wrapping_add(i as u64)) };
    }
}

/// Writes element `index` of the stream at position `i`.
///
/// # Safety
/// Room for it.
pub unsafe fn one(dist: Distribution, dst: *mut u8, i: usize, seed: u64, index: u64) {
    // SAFETY: as promised.
    unsafe {
        match dist {
            Distribution::Uniform => {
                dst.cast::<f32>().add(i).write_unaligned(philox::uniform(philox::bits(seed, index)))
            }
            Distribution::Normal => {
                dst.cast::<f32>().add(i).write_unaligned(philox::normal(seed, index))
            }
            Distribution::Bits => {
                dst.cast::<i64>().add(i).write_unaligned(philox::bits(seed, index) as i64)
            }
        }
    }
}
