//! Padding as a layer.

use crate::{Forward, Module, hooked};
use hardpan_engine::{Tensor, functional as f};

/// How much padding: one number for all sides, or `[left, right]`, `[left, right, top, bottom]`, ... (last dimension first, as in
/// PyTorch). Negative numbers cut.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, ZeroPad2d};
/// use hardpan_nn::IntoPads;
/// let pads: [isize; 4] = 2.into_pads();
/// assert_eq!(pads, [2; 4]);
/// assert_eq!(ZeroPad2d::new([1, 1, 0, 0]).forward(&Tensor::ones([1, 1, 3, 3])).shape(), [1, 1, 3, 5]);
/// ```
pub trait IntoPads<const N: usize> {
    /// Two numbers for each of `N / 2` dimensions.
    fn into_pads(self) -> [isize; N];
}
impl<const N: usize> IntoPads<N> for isize {
    fn into_pads(self) -> [isize; N] {
        [self; N]
    }
}
impl<const N: usize> IntoPads<N> for [isize; N] {
    fn into_pads(self) -> [isize; N] {
        self
    }
}

macro_rules! pads {
    ($($(#[$doc:meta])* $name:ident $n:literal $input:literal $what:literal $mode:expr;)*) => {$(
        #[doc = concat!("`", $input, "` (with or without N) surrounded by ", $what, ".")]
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`.")]
        $(#[$doc])*
        #[derive(Module, Clone, Debug)]
        pub struct $name {
            #[module(skip)]
            pads: [isize; $n],
        }

        impl $name {
            /// So much on every side, or on each: see [`IntoPads`].
            pub fn new(pads: impl IntoPads<$n>) -> $name {
                $name { pads: pads.into_pads() }
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    f::pad(x, &self.pads, $mode)
                })
            }
        }
    )*};
}

pads! {
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, ZeroPad1d};
    /// let y = ZeroPad1d::new([1, 2]).forward(&Tensor::from_slice(&[1f32, 2.0, 3.0], [1, 1, 3]));
    /// assert_eq!(y.to_vec::<f32>(), [0.0, 1.0, 2.0, 3.0, 0.0, 0.0]);
    /// ```
    ZeroPad1d 2 "[N, C, L]" "zeros" f::PadMode::Constant(0.0);
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, ZeroPad2d};
    /// let y = ZeroPad2d::new([1, 2, 0, 3]).forward(&Tensor::ones([1, 1, 4, 4]));
    /// assert_eq!(y.shape(), [1, 1, 7, 7]);
    /// ```
    ZeroPad2d 4 "[N, C, H, W]" "zeros" f::PadMode::Constant(0.0);
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, ZeroPad3d};
    /// let y = ZeroPad3d::new(1).forward(&Tensor::ones([1, 1, 2, 4, 4]));
    /// assert_eq!(y.shape(), [1, 1, 4, 6, 6]);
    /// ```
    ZeroPad3d 6 "[N, C, D, H, W]" "zeros" f::PadMode::Constant(0.0);
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, ReflectionPad1d};
    /// let y = ReflectionPad1d::new(2).forward(&Tensor::from_slice(&[1f32, 2.0, 3.0], [1, 1, 3]));
    /// assert_eq!(y.to_vec::<f32>(), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
    /// ```
    ReflectionPad1d 2 "[N, C, L]" "its mirror image" f::PadMode::Reflect;
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, ReflectionPad2d};
    /// let y = ReflectionPad2d::new(1).forward(&Tensor::ones([1, 1, 4, 4]));
    /// assert_eq!(y.shape(), [1, 1, 6, 6]);
    /// ```
    ReflectionPad2d 4 "[N, C, H, W]" "its mirror image" f::PadMode::Reflect;
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, ReflectionPad3d};
    /// let y = ReflectionPad3d::new(1).forward(&Tensor::ones([1, 1, 2, 4, 4]));
    /// assert_eq!(y.shape(), [1, 1, 4, 6, 6]);
    /// ```
    ReflectionPad3d 6 "[N, C, D, H, W]" "its mirror image" f::PadMode::Reflect;
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, ReplicationPad1d};
    /// let y = ReplicationPad1d::new(1).forward(&Tensor::from_slice(&[1f32, 2.0, 3.0], [1, 1, 3]));
    /// assert_eq!(y.to_vec::<f32>(), [1.0, 1.0, 2.0, 3.0, 3.0]);
    /// ```
    ReplicationPad1d 2 "[N, C, L]" "its edge repeated" f::PadMode::Replicate;
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, ReplicationPad2d};
    /// let y = ReplicationPad2d::new(1).forward(&Tensor::ones([1, 1, 4, 4]));
    /// assert_eq!(y.shape(), [1, 1, 6, 6]);
    /// ```
    ReplicationPad2d 4 "[N, C, H, W]" "its edge repeated" f::PadMode::Replicate;
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, ReplicationPad3d};
    /// let y = ReplicationPad3d::new(1).forward(&Tensor::ones([1, 1, 2, 4, 4]));
    /// assert_eq!(y.shape(), [1, 1, 4, 6, 6]);
    /// ```
    ReplicationPad3d 6 "[N, C, D, H, W]" "its edge repeated" f::PadMode::Replicate;
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{CircularPad1d, Forward};
    /// let y = CircularPad1d::new(1).forward(&Tensor::from_slice(&[1f32, 2.0, 3.0], [1, 1, 3]));
    /// assert_eq!(y.to_vec::<f32>(), [3.0, 1.0, 2.0, 3.0, 1.0]);
    /// ```
    CircularPad1d 2 "[N, C, L]" "what follows on its other side" f::PadMode::Circular;
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{CircularPad2d, Forward};
    /// let y = CircularPad2d::new(1).forward(&Tensor::ones([1, 1, 4, 4]));
    /// assert_eq!(y.shape(), [1, 1, 6, 6]);
    /// ```
    CircularPad2d 4 "[N, C, H, W]" "what follows on its other side" f::PadMode::Circular;
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{CircularPad3d, Forward};
    /// let y = CircularPad3d::new(1).forward(&Tensor::ones([1, 1, 2, 4, 4]));
    /// assert_eq!(y.shape(), [1, 1, 4, 6, 6]);
    /// ```
    CircularPad3d 6 "[N, C, D, H, W]" "what follows on its other side" f::PadMode::Circular;
}

macro_rules! constant_pads {
    ($($(#[$doc:meta])* $name:ident $n:literal $input:literal;)*) => {$(
        #[doc = concat!("`", $input, "` (with or without N) surrounded by a value.")]
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`.")]
        $(#[$doc])*
        #[derive(Module, Clone, Debug)]
        pub struct $name {
            #[module(skip)]
            pads: [isize; $n],
            value: f64,
        }

        impl $name {
            /// So much of `value` on every side, or on each: see [`IntoPads`].
            pub fn new(pads: impl IntoPads<$n>, value: f64) -> $name {
                $name { pads: pads.into_pads(), value }
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    f::pad(x, &self.pads, f::PadMode::Constant(self.value))
                })
            }
        }
    )*};
}

constant_pads! {
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{ConstantPad1d, Forward};
    /// let y = ConstantPad1d::new([0, 1], 9.0).forward(&Tensor::from_slice(&[1f32, 2.0, 3.0], [1, 1, 3]));
    /// assert_eq!(y.to_vec::<f32>(), [1.0, 2.0, 3.0, 9.0]);
    /// ```
    ConstantPad1d 2 "[N, C, L]";
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{ConstantPad2d, Forward};
    /// let y = ConstantPad2d::new(1, 0.5).forward(&Tensor::ones([1, 1, 1, 1]));
    /// assert_eq!(y.sum(..).item::<f32>(), 5.0); // eight halves around a one
    /// ```
    ConstantPad2d 4 "[N, C, H, W]";
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{ConstantPad3d, Forward};
    /// let y = ConstantPad3d::new(-1, 0.0).forward(&Tensor::ones([1, 1, 4, 5, 6]));
    /// assert_eq!(y.shape(), [1, 1, 2, 3, 4]);
    /// ```
    ConstantPad3d 6 "[N, C, D, H, W]";
}
