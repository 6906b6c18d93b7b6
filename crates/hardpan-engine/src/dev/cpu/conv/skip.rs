//! Taps that read nothing but padding.
//!
//! A 3 x 3 convolution of a 4 x 4 image with a border of one reads zeros in 31 % of its products, one of a 32 x 32 image in 4 %.
//! Along each axis, points that have the same taps inside the image form a *span*; a *class* is a box of three spans, one for
//! each axis, and is computed with its own list of taps. Leaving out a product with zero changes no bit of a sum of finite
//! numbers. An axis is cut into spans only where that pays: each class rounds its pixels up to whole tiles.
use super::plan::{Phase, Plan};
use smallvec::{SmallVec, smallvec};
use std::ops::Range;

/// At least the rows of every row kernel: how far lists run on past their last pixel.
const TILE_ROWS_MAX: usize = 16;

/// Which axes are cut into spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Skips([bool; 3]);

/// Points that share their taps, and those of their pixels that a chunk has.
#[derive(Debug)]
pub(super) struct Class {
    /// The points along each axis, from the part's first.
    pub span: [Range<usize>; 3],
    /// Window offset of each tap.
    pub offsets: Vec<u32>,
    /// Number of each tap in the phase.
    pub numbers: Vec<u32>,
    /// Pixels of the chunk.
    pub pixels: usize,
    /// Where each pixel is read, and some repeated to fill a tile.
    pub rows: Vec<u32>,
    /// Where each pixel is written in the buffer.
    pub to_rows: Vec<u32>,
}

impl Class {
    /// Ends the lists of a chunk; what a tile computes past the last pixel goes to `spare`.
    pub fn finish(&mut self, spare: u32) {
        self.pixels = self.rows.len();
        if let Some(&last) = self.rows.last() {
            self.rows.extend([last; TILE_ROWS_MAX]);
            self.to_rows.extend([spare; TILE_ROWS_MAX]);
        }
    }
}

/// Points of one axis and the taps (numbered along the axis) that read inside the image for them: neighbours, since taps read one
/// after the other.
type Span = (Range<usize>, Range<usize>);
/// The spans of an axis. A convolution of one small image takes less time than memory for lists would.
type Spans = SmallVec<[Span; 8]>;

fn spans(plan: &Plan, phase: &Phase, axis: usize, count: usize, shift: isize, cut: bool) -> Spans {
    let taps = &phase.axes[axis].taps;
    if !cut {
        return smallvec![(0..count, 0..taps.len())];
    }
    let mut spans = Spans::new();
    for point in 0..count {
        let inside = |&tap: &usize| {
            let at = (point * plan.step[axis]) as isize + shift + taps[tap].0;
            (0..plan.from_dims[axis] as isize).contains(&at)
        };
        let first = (0..taps.len()).find(inside).unwrap_or(0);
        let inside = first..first + (first..taps.len()).take_while(inside).count();
        match spans.last_mut() {
            Some((points, taps)) if *taps == inside => points.end = point + 1,
            _ => spans.push((point..point + 1, inside)),
        }
    }
    spans
}

impl Skips {
    /// Every tap for every point.
    pub fn none() -> Skips {
        Skips([false; 3])
    }

    /// No tap that reads padding.
    pub fn all() -> Skips {
        Skips([true; 3])
    }

    /// The cheapest cut for tiles of `rows` pixels and chunks of `chunk` pixels. It depends on the shape alone.
    pub fn choose(plan: &Plan, phase: &Phase, rows: usize, chunk: usize) -> Skips {
        let counts = [0, 1, 2].map(|axis: usize| phase.axes[axis].count);
        let points = counts.iter().product::<usize>();
        if points == 0 || phase.taps() == 0 {
            return Skips::none();
        }
        // Pixels of a chunk for each point of an image; below 1 where an image has several chunks.
        let images = if points <= chunk {
            (chunk / points).min(plan.batch) as f64
        } else {
            chunk as f64 / points as f64
        };
        // By axis: not cut, and cut.
        let axes = [0, 1, 2]
            .map(|axis| [false, true].map(|cut| spans(plan, phase, axis, counts[axis], 0, cut)));
        let cost = |cuts: [bool; 3]| {
            let [zs, ys, xs] = [0, 1, 2].map(|axis: usize| &axes[axis][cuts[axis] as usize]);
            let mut cost = 0.0;
            for z in zs {
                for y in ys {
                    for x in xs {
                        let pixels = (z.0.len() * y.0.len() * x.0.len()) as f64 * images;
                        let tiles = (pixels / rows as f64).ceil();
                        // Starting and ending a tile costs about as much as a few products.
                        let products =
                            (z.1.len() * y.1.len() * x.1.len() * plan.from_group) as f64 + 4.0;
                        cost += tiles * products;
                    }
                }
            }
            cost
        };
        let choices = (0..8).map(|bits| [bits & 4 != 0, bits & 2 != 0, bits & 1 != 0]);
        let best = choices.map(|cuts| (cost(cuts), cuts)).min_by(|a, b| a.0.total_cmp(&b.0));
        Skips(best.map_or([false; 3], |(_, cuts)| cuts))
    }

    /// The classes of `counts` points that start to read at `shift`, with the window offsets of the phase's taps.
    pub fn classes(
        self,
        plan: &Plan,
        phase: &Phase,
        counts: [usize; 3],
        shift: [isize; 3],
        offsets: &[u32],
    ) -> Vec<Class> {
        let [zs, ys, xs] =
            [0, 1, 2].map(|axis| spans(plan, phase, axis, counts[axis], shift[axis], self.0[axis]));
        let [_, rows, columns] = [0, 1, 2].map(|axis: usize| phase.axes[axis].taps.len());
        let mut classes = Vec::with_capacity(zs.len() * ys.len() * xs.len());
        for z in &zs {
            for y in &ys {
                for x in &xs {
                    let mut numbers = Vec::with_capacity(offsets.len());
                    for tz in z.1.clone() {
                        for ty in y.1.clone() {
                            numbers.extend(
                                x.1.clone().map(|tx| ((tz * rows + ty) * columns + tx) as u32),
                            );
                        }
                    }
                    classes.push(Class {
                        span: [z.0.clone(), y.0.clone(), x.0.clone()],
                        offsets: numbers.iter().map(|tap| offsets[*tap as usize]).collect(),
                        numbers,
                        pixels: 0,
                        rows: Vec::new(),
                        to_rows: Vec::new(),
                    });
                }
            }
        }
        classes
    }
}
