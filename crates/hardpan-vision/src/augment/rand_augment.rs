//! [`RandAugment`]: some changes, all of one strength.

use super::change::{Change, KINDS, Reach};
use crate::image::Padding;
use crate::plane::Spatial;
use crate::plane::crop::size_of;
use hardpan_learn::data::Draw;
use hardpan_learn::data::block::{BoxError, ItemTransform};

/// A few of fourteen changes one after the other, each of the same strength, for each training picture: two numbers to tune.
/// Counterpart: torchvision's `RandAugment`, whose ranges and defaults these are. Source: Cubuk et al. 2019,
/// <https://arxiv.org/abs/1909.13719>, where they are N and M.
///
/// ```
/// use hardpan_vision::augment::RandAugment;
/// let strong = RandAugment::new(3, 15);
/// assert_eq!((RandAugment::default().changes, strong.magnitude), (2, 15));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RandAugment {
    /// How many changes; default 2.
    pub changes: usize,
    /// How strong they are, from 0 (nothing moves) to 30; default 9.
    pub magnitude: usize,
    /// What is seen beyond the edge of moved pictures; default: black.
    pub padding: Padding,
}

/// The largest magnitude.
const MOST: usize = 30;

impl Default for RandAugment {
    fn default() -> Self {
        RandAugment::new(2, 9)
    }
}

impl RandAugment {
    /// So many changes of this magnitude.
    ///
    /// # Panics
    /// If the magnitude is above 30.
    #[track_caller]
    pub fn new(changes: usize, magnitude: usize) -> RandAugment {
        assert!(magnitude <= MOST, "RandAugment: a magnitude of {magnitude}; at most {MOST}");
        RandAugment { changes, magnitude, padding: Padding::Zeros }
    }
}

impl<X: Spatial, Y: Spatial> ItemTransform<X, Y> for RandAugment {
    fn name(&self) -> String {
        format!("RandAugment({}, {})", self.changes, self.magnitude)
    }
    fn apply(&self, mut x: X, mut y: Y, draw: &mut Draw) -> Result<(X, Y), BoxError> {
        if draw.is_valid() {
            return Ok((x, y));
        }
        let size = size_of(&x, &y)?;
        // Shifts are 150 pixels of 331, the size that the paper's strengths were found at.
        let share = |n: usize| n as f64 * 150.0 / 331.0;
        let shift = (share(size.0), share(size.1));
        let reach = Reach { shear: 0.3, shift, turn: 30.0, light: 0.9, bits: 4.0 };
        let level = self.magnitude.min(MOST) as f64 / MOST as f64;
        for _ in 0..self.changes {
            let change = Change::draw(draw.below(KINDS), level, &reach, size, draw);
            (x, y) = change.apply(x, y, size, self.padding);
        }
        Ok((x, y))
    }
}
