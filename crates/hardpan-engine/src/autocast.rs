//! Automatic mixed precision: matrix products and convolutions of f32 tensors computed on halves.
//!
//! Inside an [`autocast`] scope every matrix product and convolution of f32 operands rounds them to the half type, is computed on that
//! with sums in f32, and gives f32 again (which the planner takes from the sums: nothing is rounded in between). All else stays f32: sums, norms, losses, and the weights that an optimizer updates.
//! Gradients pass through the same roundings, so the products of the backward pass are on halves too, also when `backward` is
//! called after the scope. Counterpart: `torch.autocast`, which in addition leaves results in the half type.

use crate::dtype::DType;
use crate::node::Tensor;
use std::cell::Cell;
use std::panic::Location;

type At = &'static Location<'static>;

thread_local! {
    static LOW: Cell<Option<DType>> = const { Cell::new(None) };
}

/// Runs `f` with matrix products and convolutions on the half type `dtype` (`F16` or `BF16`) in this thread.
///
/// ```
/// use hardpan_engine::{DType, Tensor, autocast};
/// let x = Tensor::from_vec(vec![1.0f32 + 1e-4], [1, 1]);
/// let y = autocast(DType::BF16, || x.matmul(&Tensor::ones([1, 1])));
/// // bf16 has 8 bits, so the small part is lost; the result is f32 all the same.
/// assert_eq!((y.item::<f32>(), y.dtype()), (1.0, DType::F32));
/// ```
///
/// # Panics
/// If `dtype` is not a half type.
#[track_caller]
pub fn autocast<R>(dtype: DType, f: impl FnOnce() -> R) -> R {
    struct Back(Option<DType>);
    impl Drop for Back {
        fn drop(&mut self) {
            set_autocast(self.0);
        }
    }
    let _back = Back(set_autocast(Some(dtype)));
    f()
}

/// Begins (`Some`) or ends (`None`) a scope as [`autocast`] has, where begin and end are in different functions. Gives what was set
/// before, to be set again.
///
/// # Panics
/// If `dtype` is not a half type.
#[track_caller]
pub fn set_autocast(dtype: Option<DType>) -> Option<DType> {
    assert!(
        dtype.is_none_or(|d| matches!(d, DType::F16 | DType::BF16)),
        "autocast: computes on f16 or bf16, not on {}",
        dtype.map_or("", DType::name)
    );
    LOW.replace(dtype)
}

/// The half type that products are computed on here, if any.
/// The dtype that [`autocast`] lowers products to on this thread at the moment. Counterpart: `torch.get_autocast_dtype`.
///
/// ```
/// use hardpan_engine::{DType, autocast, autocast_dtype};
/// assert_eq!(autocast_dtype(), None);
/// assert_eq!(autocast(DType::BF16, autocast_dtype), Some(DType::BF16));
/// ```
pub fn autocast_dtype() -> Option<DType> {
    LOW.get()
}

/// The operands of a product or convolution, rounded if they are to be.
pub(crate) fn lowered(a: &Tensor, b: &Tensor, at: At) -> Option<(Tensor, Tensor)> {
    let low = LOW.get()?;
    (a.dtype() == DType::F32 && b.dtype() == DType::F32)
        .then(|| (a.prim_cast(low, at), b.prim_cast(low, at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functional::{ConvOptions, conv2d};

    fn numbers(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * 1.001).collect()
    }

    /// What a product on halves is, said with casts.
    #[test]
    fn products_and_convolutions_are_those_of_halves() {
        for low in [DType::F16, DType::BF16] {
            let (a, b) =
                (Tensor::from_vec(numbers(12), [3, 4]), Tensor::from_vec(numbers(20), [4, 5]));
            let want = a.to_dtype(low).matmul(&b.to_dtype(low)).to_dtype(DType::F32);
            let got = autocast(low, || a.matmul(&b));
            assert_eq!(got.to_vec::<f32>(), want.to_vec::<f32>());
            assert_ne!(got.to_vec::<f32>(), a.matmul(&b).to_vec::<f32>());
            let got = autocast(low, || Tensor::einsum("ij,jk->ik", &[&a, &b]));
            assert_eq!(got.to_vec::<f32>(), want.to_vec::<f32>());

            let (x, w) = (
                Tensor::from_vec(numbers(50), [1, 2, 5, 5]),
                Tensor::from_vec(numbers(36), [2, 2, 3, 3]),
            );
            let conv = |x: &Tensor, w: &Tensor| conv2d(x, w, None, ConvOptions::default());
            let want = conv(&x.to_dtype(low), &w.to_dtype(low)).to_dtype(DType::F32);
            let got = autocast(low, || conv(&x, &w));
            assert_eq!(got.to_vec::<f32>(), want.to_vec::<f32>());
            assert_eq!(got.dtype(), DType::F32);
        }
    }

    #[test]
    fn gradients_are_f32_and_pass_through_halves() {
        let x = Tensor::from_vec(vec![1.0f32], [1, 1]);
        let w = Tensor::from_vec(vec![2.0f32], [1, 1]).requires_grad();
        // 2^-30 is no f16: a gradient this small is lost, and scaled up it is not.
        for (scale, want) in [(1.0f64, 0.0f32), (65536.0, 2f32.powi(-14))] {
            w.zero_grad();
            let y = autocast(DType::F16, || x.matmul(&w)).sum(..);
            (y * 2f64.powi(-30) * scale).backward();
            let g = w.grad().unwrap();
            assert_eq!((g.dtype(), g.item::<f32>()), (DType::F32, want));
        }
    }

    #[test]
    fn other_dtypes_and_the_time_after_are_left_alone() {
        let x = Tensor::from_vec(vec![1.0f64 + 1e-9], [1, 1]);
        let one = Tensor::from_vec(vec![1.0f64], [1, 1]);
        assert_eq!(autocast(DType::BF16, || x.matmul(&one)).item::<f64>(), 1.0 + 1e-9);
        let caught = std::panic::catch_unwind(|| autocast(DType::BF16, || panic!("inside")));
        assert!(caught.is_err());
        assert_eq!(set_autocast(None), None);
    }

    #[test]
    #[should_panic(expected = "computes on f16 or bf16, not on f64")]
    fn only_halves() {
        autocast(DType::F64, || ());
    }
}
