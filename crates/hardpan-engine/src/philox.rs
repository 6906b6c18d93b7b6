//! Philox4x32-10: random numbers as a pure function of (key, counter).
//!
//! Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Being stateless it gives the
//! same bits for any number of threads and any order of evaluation, and a dropout mask never has to be stored.

use crate::dev::cpu::lanes::math;

pub(crate) const M0: u32 = 0xD251_1F53;
pub(crate) const M1: u32 = 0xCD9E_8D57;
pub(crate) const W0: u32 = 0x9E37_79B9;
pub(crate) const W1: u32 = 0xBB67_AE85;

/// Four random words for a 128-bit counter and a 64-bit key.
#[inline(always)]
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    let mut round = 0;
    loop {
        let p0 = M0 as u64 * c[0] as u64;
        let p1 = M1 as u64 * c[2] as u64;
        c = [
            (p1 >> 32) as u32 ^ c[1] ^ k[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ c[3] ^ k[1],
            p0 as u32,
        ];
        round += 1;
        if round == 10 {
            return c;
        }
        k = [k[0].wrapping_add(W0), k[1].wrapping_add(W1)];
    }
}

/// The 32 random bits of element `index` of the stream `seed`: word `index % 4` of block `index / 4`.
#[inline(always)]
pub fn bits(seed: u64, index: u64) -> u32 {
    let block = index / 4;
    let out =
        philox4x32([block as u32, (block >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32]);
    out[(index % 4) as usize]
}

/// Uniform in [0, 1) with 24 random bits.
#[inline(always)]
pub fn uniform(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Counter word 2 of the blocks that normals are drawn from, so that they share no bits with the uniforms.
pub const NORMAL_STREAM: u32 = 1;

/// Two independent standard normals from two random words: Box-Muller in f32, on 24 bits of each word, so at most 5.77 in size.
///
/// Written without branches, of IEEE steps and `mul_add` only: vector code and scalar code give the same bits.
#[inline(always)]
pub fn normal_pair(first: u32, second: u32) -> (f32, f32) {
    let u = ((first >> 8) as i32 as f32 + 1.0) * (1.0 / 16_777_216.0);
    let radius = (-2.0 * math::log(u)).sqrt();
    let (cos, sin) = math::turn((second >> 8) as i32 as f32 * (1.0 / 16_777_216.0));
    (radius * cos, radius * sin)
}

/// Standard normal of element `index`: words 0 and 1 of block `index / 4` of the normals' stream make elements 0 and 1 of the
/// four, words 2 and 3 the others.
#[inline(always)]
pub fn normal(seed: u64, index: u64) -> f32 {
    let block = index / 4;
    let out = philox4x32(
        [block as u32, (block >> 32) as u32, NORMAL_STREAM, 0],
        [seed as u32, (seed >> 32) as u32],
    );
    let pair = (index % 4 / 2) as usize;
    let (cos, sin) = normal_pair(out[2 * pair], out[2 * pair + 1]);
    if index.is_multiple_of(2) { cos } else { sin }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (kat_vectors, philox4x32-10).
    #[test]
    fn known_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn normals_are_normal() {
        let n = 400_000;
        let (mut moments, mut tail, mut pair) = ([0.0f64; 5], 0, 0.0f64);
        let mut last = 0.0;
        for i in 0..n {
            let x = normal(42, i) as f64;
            for (k, m) in moments.iter_mut().enumerate() {
                *m += x.powi(k as i32) / n as f64;
            }
            tail += (x.abs() > 3.0) as u32;
            pair += x * last / n as f64;
            last = x;
        }
        assert!(moments[1].abs() < 0.006 && (moments[2] - 1.0).abs() < 0.01, "{moments:?}");
        assert!(moments[3].abs() < 0.02 && (moments[4] - 3.0).abs() < 0.07, "{moments:?}");
        // P(|x| > 3) = 0.0027
        assert!((900..1260).contains(&tail), "{tail}");
        assert!(pair.abs() < 0.006, "{pair}");
    }
}
