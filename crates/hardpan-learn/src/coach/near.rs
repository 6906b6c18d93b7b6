//! Items that look alike without being copies: a picture saved again, cut a little, or brightened.

use super::{Diagnosis, Finding, Kind, Severity};
use std::collections::HashMap;

/// Pictures are looked at in this many rows of cells, and as many cells in a row; each is compared with the cell to its right.
const ROWS: usize = 8;
const CELLS: usize = ROWS + 1;
/// Bits of 64 that may differ.
const FAR: u32 = 3;
/// Numbers an item must have; fewer say too little.
const NUMBERS: usize = 144;
/// Bits of a part of a look by which candidates are found: of five parts one at least is the same in looks that differ in three or four bits.
const PARTS: [(u32, u32); 5] = [(0, 13), (13, 13), (26, 13), (39, 13), (52, 12)];

/// What an item looks like: where it gets lighter from left to right, coarsely. Re-encoding, brightening, and small changes of size
/// leave nearly all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look(u64);

impl Look {
    /// Of a picture `[C, H, W]` or `[H, W]`, or a row of numbers taken for a picture of few lines; `None` for what is small, not finite, or
    /// has hardly any structure.
    pub fn of(values: &[f32], shape: &[usize]) -> Option<Look> {
        let (h, w) = match shape {
            [.., h, w] if *h >= ROWS && *w >= CELLS => (*h, *w),
            [n] if *n >= NUMBERS => (ROWS, n / ROWS),
            _ => return None,
        };
        if h * w < NUMBERS {
            return None;
        }
        // Means of cells, over all channels.
        let (mut sums, mut counts) = ([0.0f64; ROWS * CELLS], [0u32; ROWS * CELLS]);
        for plane in values.chunks_exact(h * w) {
            for (y, line) in plane.chunks_exact(w).enumerate() {
                for (x, v) in line.iter().enumerate() {
                    let cell = y * ROWS / h * CELLS + x * CELLS / w;
                    sums[cell] += f64::from(*v);
                    counts[cell] += 1;
                }
            }
        }
        let cells: Vec<f64> =
            sums.iter().zip(counts).map(|(s, n)| s / f64::from(n.max(1))).collect();
        let (low, high) = cells
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
        if !(high - low).is_finite() || high - low < 1e-6 {
            return None;
        }
        // A rise must be one: what is flat (a white border) is 0 whatever the noise.
        let rise = (high - low) / 64.0;
        let mut bits = 0u64;
        for line in cells.chunks_exact(CELLS) {
            for pair in line.windows(2) {
                bits = bits << 1 | u64::from(pair[1] - pair[0] > rise);
            }
        }
        // A few bits are shared by many.
        (8..=56).contains(&bits.count_ones()).then_some(Look(bits))
    }

    fn parts(self) -> impl Iterator<Item = (usize, u64)> {
        PARTS
            .iter()
            .enumerate()
            .map(move |(k, (from, width))| (k, self.0 >> from & ((1 << width) - 1)))
    }

    fn is_like(self, other: Look) -> bool {
        (self.0 ^ other.0).count_ones() <= FAR
    }
}

/// Looks by their parts.
struct Index<'a> {
    looks: &'a [Look],
    places: HashMap<(usize, u64), Vec<u32>>,
}

impl<'a> Index<'a> {
    fn new(looks: &'a [Look]) -> Index<'a> {
        let mut places: HashMap<(usize, u64), Vec<u32>> = HashMap::new();
        for (i, look) in looks.iter().enumerate() {
            for part in look.parts() {
                places.entry(part).or_default().push(i as u32);
            }
        }
        Index { looks, places }
    }

    /// Whether one of them, but for number `except`, is like this one.
    fn has_like(&self, look: Look, except: Option<usize>) -> bool {
        look.parts().any(|part| {
            self.places.get(&part).is_some_and(|at| {
                at.iter()
                    .any(|i| Some(*i as usize) != except && self.looks[*i as usize].is_like(look))
            })
        })
    }
}

/// Whether many validation items look like training items: more than training items look like one another.
pub(super) fn duplicates(train: &[Look], valid: &[Look], out: &mut Diagnosis) -> bool {
    if train.is_empty() || valid.is_empty() {
        return false;
    }
    let index = Index::new(train);
    let alike = valid.iter().filter(|l| index.has_like(**l, None)).count();
    let share = alike as f64 / valid.len() as f64;
    let own = train.iter().enumerate().filter(|(i, l)| index.has_like(**l, Some(*i))).count();
    let own = own as f64 / train.len() as f64;
    if share <= 0.02 || share <= 2.0 * own {
        return false;
    }
    out.add(
        Finding::new(
            Kind::DuplicatesAcrossSplit,
            if share > 0.1 { Severity::Warning } else { Severity::Notice },
            "validation items look nearly like training items: copies that were saved again, cut or brightened, or neighbouring frames",
        )
        .evidence("validation items that look like a training item", alike as f64)
        .evidence("share", share)
        .evidence("share of training items that look like another one", own)
        .advice("look at some of these pairs; if they are the same thing, keep them on one side")
        .advice("split by what belongs together: person, video, day, place")
        .option("--valid DIR"),
    );
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of a few soft spots.
    fn picture(seed: u64, size: usize) -> Vec<f32> {
        let place = |k: u64| {
            let bits = hardpan_engine::philox::normal(seed, k);
            0.5 + 0.25 * bits
        };
        let spots: Vec<(f32, f32, f32)> =
            (0..6).map(|k| (place(3 * k), place(3 * k + 1), place(3 * k + 2))).collect();
        (0..size * size)
            .map(|i| {
                let at = |n: usize| (n as f32 + 0.5) / size as f32;
                let (x, y) = (at(i % size), at(i / size));
                let spot = |s: &(f32, f32, f32)| {
                    s.2 * (-((x - s.0).powi(2) + (y - s.1).powi(2)) * 30.0).exp()
                };
                spots.iter().map(spot).sum()
            })
            .collect()
    }

    fn look(values: &[f32], size: usize) -> Look {
        Look::of(values, &[1, size, size]).expect("it has structure")
    }

    #[test]
    fn a_picture_saved_again_looks_the_same_and_others_do_not() {
        let mut alike = 0;
        for seed in 0..20 {
            let original = picture(seed, 32);
            let first = look(&original, 32);
            let noisy: Vec<f32> = original
                .iter()
                .enumerate()
                .map(|(i, v)| {
                    (v * 1.2 + 0.1 + 0.01 * hardpan_engine::philox::normal(seed + 99, i as u64))
                        * 255.0
                })
                .map(f32::round)
                .collect();
            alike += usize::from(first.is_like(look(&noisy, 32)));
            alike += usize::from(first.is_like(look(&picture(seed, 40), 40)));
            for other in seed + 1..20 {
                assert!(!first.is_like(look(&picture(other, 32), 32)), "{seed} {other}");
            }
        }
        assert!(alike >= 36, "{alike} of 40");
    }

    #[test]
    fn what_is_small_flat_or_broken_has_no_look() {
        assert_eq!(Look::of(&[1.0; 1024], &[32, 32]), None);
        assert_eq!(Look::of(&[f32::NAN; 1024], &[32, 32]), None);
        assert_eq!(Look::of(&[1.0, 2.0, 3.0, 4.0], &[4]), None);
        assert_eq!(Look::of(&[], &[]), None);
    }

    /// The parts find every pair that differs in few bits.
    #[test]
    fn candidates_are_complete() {
        let base = Look(0x0123_4567_89ab_cdef);
        let looks: Vec<Look> = (0..62).map(|k| Look(base.0 ^ (0b111 << k))).collect();
        for (i, l) in looks.iter().enumerate() {
            assert!(Index::new(&looks[i..=i]).has_like(base, None), "{l:?}");
            assert!(!Index::new(&looks[i..=i]).has_like(base, Some(0)));
        }
        assert!(!Index::new(&[Look(base.0 ^ 0b1111)]).has_like(base, None));
    }
}
