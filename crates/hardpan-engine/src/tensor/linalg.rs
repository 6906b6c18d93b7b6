//! Linear algebra on batches of small matrices.

use crate::node::Tensor;

impl Tensor {
    /// The inverse of square matrices. Counterpart: `torch.linalg.inv`.
    #[track_caller]
    pub fn inverse(&self) -> Tensor {
        todo!("inverse")
    }
}
