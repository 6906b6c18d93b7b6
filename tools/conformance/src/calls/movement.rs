//! Views, joins, splits, tilings, `einsum`.

use super::Output;
use crate::arg::Args;

/// `None`: not of this family.
pub fn call(name: &str, a: &Args) -> Option<Vec<Output>> {
    let _ = (name, a);
    None
}
