//! Blocks of random numbers; [`crate::philox`] defines them.
use super::{GROUP, Number, stamp};
use crate::dev::cpu::isa::Isa;
use crate::op::Distribution;
use crate::philox;

/// Blocks of the generator that are computed together: one group of elements.
const BLOCKS: usize = GROUP / 4;

/// What is made of the random words.
pub trait Draw {
    /// An element.
    type R: Number;
    /// Counter word 2.
    const STREAM: u32;
    /// The four elements of a block.
    fn four(words: [u32; 4]) -> [Self::R; 4];
    /// Element `index` of the stream `seed`.
    fn one(seed: u64, index: u64) -> Self::R;
}

struct Uniform;
impl Draw for Uniform {
    type R = f32;
    const STREAM: u32 = 0;
    #[inline(always)]
    fn four(words: [u32; 4]) -> [f32; 4] {
        words.map(philox::uniform)
    }
    fn one(seed: u64, index: u64) -> f32 {
        philox::uniform(philox::bits(seed, index))
    }
}
struct Normal;
impl Draw for Normal {
    type R = f32;
    const STREAM: u32 = philox::NORMAL_STREAM;
    #[inline(always)]
    fn four(words: [u32; 4]) -> [f32; 4] {
        let (a, b) = philox::normal_pair(words[0], words[1]);
        let (c, d) = philox::normal_pair(words[2], words[3]);
        [a, b, c, d]
    }
    fn one(seed: u64, index: u64) -> f32 {
        philox::normal(seed, index)
    }
}
struct Bits;
impl Draw for Bits {
    type R = i64;
    const STREAM: u32 = 0;
    #[inline(always)]
    fn four(words: [u32; 4]) -> [i64; 4] {
        words.map(|w| w as i64)
    }
    fn one(seed: u64, index: u64) -> i64 {
        philox::bits(seed, index) as i64
    }
}

/// The words of `BLOCKS` consecutive blocks.
#[cfg(not(target_arch = "aarch64"))]
#[inline(always)]
fn words(seed: u64, block: u64, stream: u32) -> [[u32; BLOCKS]; 4] {
    let key = [seed as u32, (seed >> 32) as u32];
    let mut words = [[0u32; BLOCKS]; 4];
    for j in 0..BLOCKS {
        let b = block.wrapping_add(j as u64);
        let w = philox::philox4x32([b as u32, (b >> 32) as u32, stream, 0], key);
        for (to, from) in words.iter_mut().zip(w) {
            to[j] = from;
        }
    }
    words
}

/// The same by hand, four blocks at a time: the compiler believes that NEON has no products of twice the width.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn words(seed: u64, block: u64, stream: u32) -> [[u32; BLOCKS]; 4] {
    use std::arch::aarch64::*;
    // High and low halves of the products.
    let wide = |a: uint32x4_t, m: u32| {
        // SAFETY: NEON is part of AArch64.
        unsafe {
            let first = vreinterpretq_u32_u64(vmull_n_u32(vget_low_u32(a), m));
            let last = vreinterpretq_u32_u64(vmull_high_n_u32(a, m));
            (vuzp2q_u32(first, last), vuzp1q_u32(first, last))
        }
    };
    let mut words = [[0u32; BLOCKS]; 4];
    for j in (0..BLOCKS).step_by(4) {
        let number: [u64; 4] = std::array::from_fn(|i| block.wrapping_add((j + i) as u64));
        let (low, high) = (number.map(|b| b as u32), number.map(|b| (b >> 32) as u32));
        // SAFETY: as above; loads and stores are of four words.
        unsafe {
            let (mut c0, mut c1) = (vld1q_u32(low.as_ptr()), vld1q_u32(high.as_ptr()));
            let (mut c2, mut c3) = (vdupq_n_u32(stream), vdupq_n_u32(0));
            let (mut k0, mut k1) = (seed as u32, (seed >> 32) as u32);
            for _ in 0..10 {
                let ((high0, low0), (high1, low1)) = (wide(c0, philox::M0), wide(c2, philox::M1));
                c0 = veorq_u32(veorq_u32(high1, c1), vdupq_n_u32(k0));
                c2 = veorq_u32(veorq_u32(high0, c3), vdupq_n_u32(k1));
                (c1, c3) = (low1, low0);
                (k0, k1) = (k0.wrapping_add(philox::W0), k1.wrapping_add(philox::W1));
            }
            for (to, from) in words.iter_mut().zip([c0, c1, c2, c3]) {
                vst1q_u32(to[j..j + 4].as_mut_ptr(), from);
            }
        }
    }
    words
}

/// The elements of `BLOCKS` consecutive blocks.
#[inline(always)]
fn group<D: Draw>(seed: u64, block: u64) -> [D::R; GROUP] {
    let words = words(seed, block, D::STREAM);
    // Arithmetic on whole vectors first, then the interleaving.
    let mut parts = [[D::R::default(); BLOCKS]; 4];
    for j in 0..BLOCKS {
        let four = D::four([words[0][j], words[1][j], words[2][j], words[3][j]]);
        for (to, from) in parts.iter_mut().zip(four) {
            to[j] = from;
        }
    }
    let mut out = [D::R::default(); GROUP];
    for j in 0..BLOCKS {
        for (w, part) in parts.iter().enumerate() {
            out[4 * j + w] = part[j];
        }
    }
    out
}

#[inline(always)]
unsafe fn run_body<D: Draw>(dst: *mut u8, seed: u64, first: u64, n: usize) {
    let dst = dst.cast::<D::R>();
    // The first group starts at a whole block, up to three elements early.
    let skip = (first % 4) as usize;
    let mut block = first / 4;
    let mut done = 0;
    // SAFETY: the caller gives room for n elements.
    unsafe {
        while done < n {
            let early = if done == 0 { skip } else { 0 };
            let count = (GROUP - early).min(n - done);
            let out = group::<D>(seed, block);
            if count == GROUP {
                dst.add(done).cast::<[D::R; GROUP]>().write_unaligned(out);
            } else {
                for (i, x) in out[early..early + count].iter().enumerate() {
                    dst.add(done + i).write_unaligned(*x);
                }
            }
            done += count;
            block = block.wrapping_add(BLOCKS as u64);
        }
    }
}
stamp!(
    /// `(dst, seed, first, n)`: elements `first..first + n` of the stream `seed`; the range does not wrap around.
    run<D: Draw> = run_body(dst: *mut u8, seed: u64, first: u64, n: usize)
);

unsafe fn single<D: Draw>(dst: *mut u8, i: usize, seed: u64, index: u64) {
    // SAFETY: the caller gives room for element i.
    unsafe { dst.cast::<D::R>().add(i).write_unaligned(D::one(seed, index)) }
}

/// The loops of a distribution: f32, or i64 for `Bits`.
#[derive(Clone, Copy)]
pub struct Drawing {
    /// `(dst, seed, first, n)`: a run of elements that does not wrap around.
    pub run: unsafe fn(*mut u8, u64, u64, usize),
    /// `(dst, i, seed, index)`: one element at position i.
    pub one: unsafe fn(*mut u8, usize, u64, u64),
}

/// How to draw from a distribution.
pub fn drawing(isa: Isa, dist: Distribution) -> Drawing {
    match dist {
        Distribution::Uniform => Drawing { run: run::<Uniform>(isa), one: single::<Uniform> },
        Distribution::Normal => Drawing { run: run::<Normal>(isa), one: single::<Normal> },
        Distribution::Bits => Drawing { run: run::<Bits>(isa), one: single::<Bits> },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::cpu::isa::available;

    #[test]
    fn runs_are_the_elements() {
        for isa in available() {
            for dist in Distribution::ALL {
                let d = drawing(isa, *dist);
                for (first, n) in [
                    (0u64, 200),
                    (1, 64),
                    (63, 3),
                    (4_294_967_290 * 4 + 3, 150),
                    (u64::MAX - 80, 81),
                ] {
                    let (mut got, mut want) = ([0u64; 200], [0u64; 200]);
                    // SAFETY: both arrays hold 200 elements of up to 8 bytes.
                    unsafe {
                        (d.run)(got.as_mut_ptr().cast(), 77 << 33 | 5, first, n);
                        for i in 0..n {
                            (d.one)(want.as_mut_ptr().cast(), i, 77 << 33 | 5, first + i as u64);
                        }
                    }
                    assert_eq!(got, want, "{isa} {} {first}", dist.name());
                }
            }
        }
    }
}
