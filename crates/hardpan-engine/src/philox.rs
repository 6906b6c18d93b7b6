//! Philox4x32-10: random numbers as a pure function of (key, counter).
//!
//! Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Being stateless it gives the
//! same bits for any number of threads and any order of evaluation, and a dropout mask never has to be stored.

const M0: u32 = 0xD251_1F53;
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;

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

/// Standard normal of element `index`: Box-Muller on two words of the stream's second half (counter word 2 set to 1), so that
/// it shares no bits with the uniforms. Elements 2j and 2j+1 use words of one block: cosine and sine of one pair.
#[inline(always)]
pub fn normal(seed: u64, index: u64) -> f32 {
    let block = index / 4;
    let out =
        philox4x32([block as u32, (block >> 32) as u32, 1, 0], [seed as u32, (seed >> 32) as u32]);
    let pair = (index % 4 / 2) as usize;
    let u1 = ((out[2 * pair] >> 8) as f64 + 1.0) / 16_777_216.0;
    let u2 = (out[2 * pair + 1] >> 8) as f64 / 16_777_216.0;
    let radius = (-2.0 * libm::log(u1)).sqrt();
    let angle = std::f64::consts::TAU * u2;
    let turned = if index % 2 == 0 { libm::cos(angle) } else { libm::sin(angle) };
    (radius * turned) as f32
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
}
