//! Padding with a value, a mirror, the edge, or the other end.

use super::Tensor;
use super::spatial::{index_along, surround};
use smallvec::SmallVec;

/// What [`pad`] puts outside.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum PadMode {
    /// A number.
    Constant(f64),
    /// The mirror image, without the edge itself.
    Reflect,
    /// The edge.
    Replicate,
    /// The other end.
    Circular,
}

/// `x` with elements added (or, for negative numbers, cut) at both ends of its last dimensions.
///
/// `pads` holds (before, after) of the last dimension, then of the one before it, and so on. Modes other than constant pad
/// 1 to 3 last dimensions. Counterpart: `torch.nn.functional.pad`.
///
/// ```
/// use hardpan_engine::{Tensor, functional as f, functional::PadMode};
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [1, 3]);
/// assert_eq!(f::pad(&x, &[2, 1], PadMode::Reflect).to_vec::<f32>(), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
/// ```
///
/// # Panics
/// When there are too many numbers or an odd count, a size becomes negative, or a mirror is wider than the dimension allows.
#[track_caller]
pub fn pad(x: &Tensor, pads: &[isize], mode: PadMode) -> Tensor {
    assert!(
        pads.len().is_multiple_of(2) && pads.len() <= 2 * x.rank(),
        "pad: expected up to {} pairs of numbers for shape {:?}, got {pads:?}",
        x.rank(),
        x.shape()
    );
    let mut by_dim: SmallVec<[(isize, isize); 6]> = SmallVec::from_elem((0, 0), x.rank());
    for (i, p) in pads.chunks(2).enumerate() {
        by_dim[x.rank() - 1 - i] = (p[0], p[1]);
    }
    if let PadMode::Constant(value) = mode {
        return surround(x, &by_dim, value);
    }
    let mut t = x.clone();
    for (axis, (lo, hi)) in by_dim.iter().enumerate() {
        if (*lo, *hi) != (0, 0) {
            t = extend(&t, axis, *lo, *hi, mode);
        }
    }
    t
}

#[track_caller]
fn extend(x: &Tensor, axis: usize, lo: isize, hi: isize, mode: PadMode) -> Tensor {
    let n = x.shape()[axis] as isize;
    let total = n + lo + hi;
    assert!(
        n > 0 && total >= 0,
        "pad: {lo} and {hi} do not fit dimension {axis} of shape {:?}",
        x.shape()
    );
    // What is cut is gone before the rest wraps around; mirrors and edges look at the whole.
    let (first, last) = ((-lo).max(0), n + hi.min(0));
    let index: Vec<usize> = (0..total)
        .map(|j| {
            let i = j - lo;
            let at = match mode {
                PadMode::Reflect => {
                    assert!(
                        -n < i && i < 2 * n - 1,
                        "pad: reflecting by {lo} and {hi} needs them below size {n} of dimension {axis} of shape {:?}",
                        x.shape()
                    );
                    let i = i.abs();
                    if i >= n { 2 * (n - 1) - i } else { i }
                }
                PadMode::Replicate => i.clamp(0, n - 1),
                _ => {
                    let kept = last - first;
                    assert!(
                        kept > 0 && -kept <= i - first && i - first < 2 * kept,
                        "pad: wrapping {lo} and {hi} around goes past size {n} of dimension {axis} of shape {:?}",
                        x.shape()
                    );
                    first + (i - first).rem_euclid(kept)
                }
            };
            at as usize
        })
        .collect();
    index_along(x, axis, &index)
}
