//! From tensors back to the host.

use crate::dtype::Element;
use crate::host::HostArray;
use crate::node::Tensor;

impl Tensor {
    /// The values as a host array; computes what is pending.
    #[track_caller]
    pub fn to_host(&self) -> HostArray {
        self.eval();
        let buffer = self.0.buffer.get().expect("evaluated");
        let mut bytes = vec![0u8; self.numel() * self.dtype().size()];
        if !bytes.is_empty() {
            crate::dev::device(self.device()).download(&buffer.0, &mut bytes);
        }
        HostArray::from_bytes(self.dtype(), self.shape(), bytes).expect("sizes agree")
    }

    /// All elements in row-major order, converted to `T`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// assert_eq!((Tensor::ones([2]) * 3.0).to_vec::<f32>(), vec![3.0, 3.0]);
    /// ```
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        self.eval();
        if T::DTYPE == self.dtype() && T::DTYPE != crate::DType::Bool {
            let n = self.numel();
            let buffer = self.0.buffer.get().expect("evaluated");
            let mut out: Vec<T> = vec![T::from_i64(0); n];
            if n > 0 {
                // SAFETY: an Element other than bool accepts any bytes and has no padding; the slice covers `out`.
                let bytes = unsafe {
                    std::slice::from_raw_parts_mut(
                        out.as_mut_ptr().cast::<u8>(),
                        n * std::mem::size_of::<T>(),
                    )
                };
                crate::dev::device(self.device()).download(&buffer.0, bytes);
            }
            return out;
        }
        self.to_host().to_vec()
    }

    /// The value of a tensor with one element. Counterpart: `Tensor.item`.
    ///
    /// # Panics
    /// When there is not exactly one element.
    #[track_caller]
    pub fn item<T: Element>(&self) -> T {
        assert_eq!(
            self.numel(),
            1,
            "item: a tensor of shape {:?} has {} elements, not one; use to_vec(), or reduce it first",
            self.shape(),
            self.numel()
        );
        self.to_vec::<T>()[0]
    }
}
