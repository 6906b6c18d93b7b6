//! [`TrivialAugment`]: one change, of any strength.

use super::change::{Change, KINDS, Reach};
use crate::image::Padding;
use crate::plane::Spatial;
use crate::plane::crop::size_of;
use hardpan_learn::data::Draw;
use hardpan_learn::data::block::{BoxError, ItemTransform};

/// One of fourteen changes, of random strength, for each training picture. Nothing to tune. Counterpart: torchvision's
/// `TrivialAugmentWide`, whose ranges these are. Source: Müller and Hutter 2021.
#[derive(Clone, Debug, PartialEq)]
pub struct TrivialAugment {
    /// What is seen beyond the edge of moved pictures; default: black.
    pub padding: Padding,
}

impl Default for TrivialAugment {
    fn default() -> Self {
        TrivialAugment { padding: Padding::Zeros }
    }
}

const REACH: Reach =
    Reach { shear: 0.99, shift: (32.0, 32.0), turn: 135.0, light: 0.99, bits: 6.0 };

impl<X: Spatial, Y: Spatial> ItemTransform<X, Y> for TrivialAugment {
    fn name(&self) -> String {
        "TrivialAugment".to_owned()
    }
    fn apply(&self, x: X, y: Y, draw: &mut Draw) -> Result<(X, Y), BoxError> {
        if draw.is_valid() {
            return Ok((x, y));
        }
        let size = size_of(&x, &y)?;
        let kind = draw.below(KINDS);
        // 31 strengths, as the paper's code.
        let level = draw.below(31) as f64 / 30.0;
        Ok(Change::draw(kind, level, &REACH, size, draw).apply(x, y, size, self.padding))
    }
}
