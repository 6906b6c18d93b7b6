//! Matrix products.

use super::arguments::promote_ranked;
use crate::node::Tensor;
use crate::shape::{Dims, broadcast};
use std::panic::Location;

impl Tensor {
    /// The matrix product, by PyTorch's rules: vectors are rows on the left and columns on the right, leading dimensions
    /// broadcast. Dtypes are promoted. Counterpart: `torch.matmul`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let a = Tensor::ones([10, 2, 3]);
    /// assert_eq!(a.matmul(&Tensor::ones([3, 4])).shape(), &[10, 2, 4]);
    /// assert_eq!(Tensor::ones([3]).matmul(&Tensor::ones([3])).item::<f32>(), 3.0);
    /// ```
    ///
    /// # Panics
    /// When inner sizes differ, leading sizes do not broadcast, or an operand has rank 0.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        let at = Location::caller();
        assert!(
            self.rank() > 0 && other.rank() > 0,
            "matmul: operands need at least one dimension, got {:?} @ {:?}; use * for numbers",
            self.shape(),
            other.shape()
        );
        let dtype = promote_ranked((self.dtype(), self.rank()), (other.dtype(), other.rank()));
        let (a, b) = (self.prim_cast(dtype, at), other.prim_cast(dtype, at));
        let left_vector = a.rank() == 1;
        let right_vector = b.rank() == 1;
        let a2 = if left_vector { a.prim_reshape(&[1, a.numel()], at) } else { a };
        let b2 = if right_vector { b.prim_reshape(&[b.numel(), 1], at) } else { b };
        let (ra, rb) = (a2.rank(), b2.rank());
        let (m, k) = (a2.shape()[ra - 2], a2.shape()[ra - 1]);
        let (k2, n) = (b2.shape()[rb - 2], b2.shape()[rb - 1]);
        if k != k2 {
            let hint = if !right_vector && k == n {
                "; did you mean .t() (or .mt()) on the right?"
            } else if !left_vector && m == k2 {
                "; did you mean .t() (or .mt()) on the left?"
            } else {
                ""
            };
            panic!(
                "matmul: inner sizes differ ({k} and {k2}): {:?} @ {:?}{hint}",
                self.shape(),
                other.shape()
            );
        }
        let Some(lead) = broadcast(&a2.shape()[..ra - 2], &b2.shape()[..rb - 2]) else {
            panic!(
                "matmul: leading dimensions do not broadcast: {:?} @ {:?}",
                self.shape(),
                other.shape()
            )
        };
        // One matrix on the right serves every row on the left: fold the leading dimensions into rows.
        let out = if rb == 2 && ra > 2 {
            let rows: usize = lead.iter().product::<usize>() * m;
            let flat = a2.prim_reshape(&[rows, k], at);
            let mut shape = lead.clone();
            shape.extend([m, n]);
            Tensor::prim_dot(&flat, &b2, at).prim_reshape(&shape, at)
        } else {
            let full = |x: &Tensor, r: usize, c: usize| {
                let mut s = lead.clone();
                s.extend([r, c]);
                x.broadcast_at(&s, at)
            };
            Tensor::prim_dot(&full(&a2, m, k), &full(&b2, k, n), at)
        };
        if !left_vector && !right_vector {
            return out;
        }
        let mut shape = Dims::from_slice(&lead);
        if !left_vector {
            shape.push(m);
        }
        if !right_vector {
            shape.push(n);
        }
        out.prim_reshape(&shape, at)
    }

    /// The last two dimensions swapped. Counterpart: `Tensor.mT`.
    #[track_caller]
    pub fn mt(&self) -> Tensor {
        assert!(self.rank() >= 2, "mt: needs at least 2 dimensions, got shape {:?}", self.shape());
        self.transpose(-2, -1)
    }
}
