//! `torch.linalg`: decompositions and what rests on them.

use super::Output;
use crate::arg::Args;
use hardpan_engine::Tensor;

/// `None`: not of this family.
pub fn call(name: &str, a: &Args) -> Option<Vec<Output>> {
    let _ = (name, a);
    None
}

/// `torch.norm(x, "nuc")`
pub fn nuclear(a: &Args, x: &Tensor) -> Option<Vec<Output>> {
    let _ = (a, x);
    None
}
