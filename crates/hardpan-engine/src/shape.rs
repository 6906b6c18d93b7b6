//! Shapes: sizes by dimension, row-major strides, broadcasting, and axis arithmetic.

use smallvec::SmallVec;

/// Sizes (or axes) of a tensor; up to six dimensions without an allocation.
pub type Dims = SmallVec<[usize; 6]>;

/// Number of elements; 1 for a shape of rank 0.
pub fn numel(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Row-major strides in elements.
pub fn strides_of(shape: &[usize]) -> SmallVec<[isize; 6]> {
    let mut out: SmallVec<[isize; 6]> = SmallVec::from_elem(0, shape.len());
    let mut step = 1isize;
    for d in (0..shape.len()).rev() {
        out[d] = step;
        step *= shape[d].max(1) as isize;
    }
    out
}

/// The shape two shapes broadcast to (sizes aligned at the right; 1 stretches), or `None`.
///
/// ```
/// use hardpan_engine::shape::broadcast;
/// assert_eq!(broadcast(&[5, 1, 3], &[4, 1]).unwrap().as_slice(), &[5, 4, 3]);
/// assert!(broadcast(&[2], &[3]).is_none());
/// ```
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Dims> {
    let rank = a.len().max(b.len());
    let mut out: Dims = SmallVec::from_elem(1, rank);
    for i in 0..rank {
        let x = if i + a.len() >= rank { a[i + a.len() - rank] } else { 1 };
        let y = if i + b.len() >= rank { b[i + b.len() - rank] } else { 1 };
        out[i] = match (x, y) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => return None,
        };
    }
    Some(out)
}

/// A possibly negative axis as an index below `rank`.
///
/// # Panics
/// At the caller's line when the axis is out of range. Rank 0 accepts 0 and -1, as PyTorch does.
#[track_caller]
pub fn axis_of(op: &str, dim: isize, rank: usize) -> usize {
    let r = rank.max(1) as isize;
    if dim < -r || dim >= r {
        panic!(
            "{op}: dimension {dim} is out of range for rank {rank}; expected {}..={}",
            -r,
            r - 1
        );
    }
    if dim < 0 { (dim + r) as usize } else { dim as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_major_strides() {
        assert_eq!(strides_of(&[2, 3, 4]).as_slice(), &[12, 4, 1]);
        assert_eq!(numel(&[]), 1);
    }

    #[test]
    #[should_panic(expected = "out of range for rank 2")]
    fn bad_axis() {
        axis_of("sum", 2, 2);
    }
}
