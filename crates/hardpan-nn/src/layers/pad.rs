//! Padding as a layer.

use crate::{Forward, Module, hooked};
use hardpan_engine::{Tensor, functional as f};

/// How much padding: one number for all sides, or `[left, right]`, `[left, right, top, bottom]`, ... (last dimension first, as in
/// PyTorch). Negative numbers cut.
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
    ($($name:ident $n:literal $input:literal $what:literal $mode:expr;)*) => {$(
        #[doc = concat!("`", $input, "` (with or without N) surrounded by ", $what, ".")]
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`.")]
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
    ZeroPad1d 2 "[N, C, L]" "zeros" f::PadMode::Constant(0.0);
    ZeroPad2d 4 "[N, C, H, W]" "zeros" f::PadMode::Constant(0.0);
    ZeroPad3d 6 "[N, C, D, H, W]" "zeros" f::PadMode::Constant(0.0);
    ReflectionPad1d 2 "[N, C, L]" "its mirror image" f::PadMode::Reflect;
    ReflectionPad2d 4 "[N, C, H, W]" "its mirror image" f::PadMode::Reflect;
    ReflectionPad3d 6 "[N, C, D, H, W]" "its mirror image" f::PadMode::Reflect;
    ReplicationPad1d 2 "[N, C, L]" "its edge repeated" f::PadMode::Replicate;
    ReplicationPad2d 4 "[N, C, H, W]" "its edge repeated" f::PadMode::Replicate;
    ReplicationPad3d 6 "[N, C, D, H, W]" "its edge repeated" f::PadMode::Replicate;
    CircularPad1d 2 "[N, C, L]" "what follows on its other side" f::PadMode::Circular;
    CircularPad2d 4 "[N, C, H, W]" "what follows on its other side" f::PadMode::Circular;
    CircularPad3d 6 "[N, C, D, H, W]" "what follows on its other side" f::PadMode::Circular;
}

macro_rules! constant_pads {
    ($($name:ident $n:literal $input:literal;)*) => {$(
        #[doc = concat!("`", $input, "` (with or without N) surrounded by a value.")]
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`.")]
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
    ConstantPad1d 2 "[N, C, L]";
    ConstantPad2d 4 "[N, C, H, W]";
    ConstantPad3d 6 "[N, C, D, H, W]";
}
