//! Pooling: fixed windows and windows that adapt to a wanted size.

use crate::{Forward, Module, hooked};
use hardpan_engine::{Tensor, functional as f};

macro_rules! fixed {
    ($($kind:tt $name:ident $function:ident $with:ident $options:ident $what:literal $input:literal),*) => {$(
        #[doc = concat!($what, " of each window of `", $input, "` (with or without N).")]
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`.")]
        #[derive(Module, Clone, Debug)]
        pub struct $name {
            kernel: f::Spatial,
            options: f::$options,
        }

        impl $name {
            /// With windows of this size (one number, or one for each dimension), side by side.
            pub fn new(kernel: impl Into<f::Spatial>) -> $name {
                $name { kernel: kernel.into(), options: Default::default() }
            }

            /// Step of the window. Default: its size.
            #[must_use]
            pub fn stride(mut self, stride: impl Into<f::Spatial>) -> $name {
                self.options.stride = Some(stride.into());
                self
            }

            /// Padding around the input. Default 0.
            #[must_use]
            pub fn padding(mut self, padding: impl Into<f::Spatial>) -> $name {
                self.options.padding = padding.into();
                self
            }

            /// Whether windows may start inside and reach out. Default no.
            #[must_use]
            pub fn ceil_mode(mut self, ceil_mode: bool) -> $name {
                self.options.ceil_mode = ceil_mode;
                self
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    f::$function(x, self.kernel.clone(), self.options.clone())
                })
            }
        }
        fixed!(@$kind $name $with);
    )*};
    (@max $name:ident $with:ident) => {
        impl $name {
            /// Distance between the elements of a window. Default 1.
            #[must_use]
            pub fn dilation(mut self, dilation: impl Into<f::Spatial>) -> $name {
                self.options.dilation = dilation.into();
                self
            }

            /// The result, and the row-major positions (i64) of its elements in the spatial dimensions.
            #[track_caller]
            pub fn forward_with_indices(&self, x: &Tensor) -> (Tensor, Tensor) {
                f::$with(x, self.kernel.clone(), self.options.clone())
            }
        }
    };
    (@avg $name:ident $with:ident) => {
        impl $name {
            /// Whether padding counts as elements of the mean. Default yes.
            #[must_use]
            pub fn count_include_pad(mut self, count: bool) -> $name {
                self.options.count_include_pad = count;
                self
            }

            /// Divide by this instead of the number of elements.
            #[must_use]
            pub fn divisor_override(mut self, divisor: i64) -> $name {
                self.options.divisor_override = Some(divisor);
                self
            }
        }
    };
}

fixed! {
    max MaxPool1d max_pool1d max_pool1d_with_indices MaxPoolOptions "The largest element" "[N, C, L]",
    max MaxPool2d max_pool2d max_pool2d_with_indices MaxPoolOptions "The largest element" "[N, C, H, W]",
    max MaxPool3d max_pool3d max_pool3d_with_indices MaxPoolOptions "The largest element" "[N, C, D, H, W]",
    avg AvgPool1d avg_pool1d avg_pool1d AvgPoolOptions "The mean" "[N, C, L]",
    avg AvgPool2d avg_pool2d avg_pool2d AvgPoolOptions "The mean" "[N, C, H, W]",
    avg AvgPool3d avg_pool3d avg_pool3d AvgPoolOptions "The mean" "[N, C, D, H, W]"
}

macro_rules! lp {
    ($($name:ident $function:ident $input:literal),*) => {$(
        #[doc = concat!("`(sum of x^p)^(1/p)` over each window of `", $input, "` (with or without N).")]
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`.")]
        #[derive(Module, Clone, Debug)]
        pub struct $name {
            norm_type: f64,
            kernel: f::Spatial,
            stride: Option<f::Spatial>,
            ceil_mode: bool,
        }

        impl $name {
            /// With the power `norm_type` and windows of this size, side by side.
            pub fn new(norm_type: f64, kernel: impl Into<f::Spatial>) -> $name {
                $name { norm_type, kernel: kernel.into(), stride: None, ceil_mode: false }
            }

            /// Step of the window. Default: its size.
            #[must_use]
            pub fn stride(mut self, stride: impl Into<f::Spatial>) -> $name {
                self.stride = Some(stride.into());
                self
            }

            /// Whether windows may start inside and reach out. Default no.
            #[must_use]
            pub fn ceil_mode(mut self, ceil_mode: bool) -> $name {
                self.ceil_mode = ceil_mode;
                self
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    f::$function(x, self.norm_type, self.kernel.clone(), self.stride.clone(), self.ceil_mode)
                })
            }
        }
    )*};
}

lp! {
    LPPool1d lp_pool1d "[N, C, L]",
    LPPool2d lp_pool2d "[N, C, H, W]",
    LPPool3d lp_pool3d "[N, C, D, H, W]"
}

macro_rules! adaptive {
    ($($name:ident $function:ident $what:literal $input:literal),*) => {$(
        #[doc = concat!($what, " over windows that cut each spatial dimension of `", $input, "` into the given number of parts.")]
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`.")]
        #[derive(Module, Clone, Debug)]
        pub struct $name {
            #[module(skip)]
            size: Vec<Option<usize>>,
        }

        impl $name {
            /// To this size: one number, or one for each dimension, where `None` keeps the input's.
            pub fn new(size: impl f::OutputSize) -> $name {
                $name { size: size.sizes() }
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    f::$function(x, &self.size)
                })
            }
        }
    )*};
}

adaptive! {
    AdaptiveAvgPool1d adaptive_avg_pool1d "Means" "[N, C, L]",
    AdaptiveAvgPool2d adaptive_avg_pool2d "Means" "[N, C, H, W]",
    AdaptiveAvgPool3d adaptive_avg_pool3d "Means" "[N, C, D, H, W]",
    AdaptiveMaxPool1d adaptive_max_pool1d "Largest elements" "[N, C, L]",
    AdaptiveMaxPool2d adaptive_max_pool2d "Largest elements" "[N, C, H, W]",
    AdaptiveMaxPool3d adaptive_max_pool3d "Largest elements" "[N, C, D, H, W]"
}

macro_rules! unpool {
    ($($name:ident $function:ident $pool:literal),*) => {$(
        #[doc = concat!("Puts the values of a [`", $pool, "`] back where they came from, zeros elsewhere: takes the values and their positions.")]
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`.")]
        #[derive(Module, Clone, Debug)]
        pub struct $name {
            kernel: f::Spatial,
            #[module(skip)]
            options: f::MaxUnpoolOptions,
        }

        impl $name {
            /// Of windows of this size, side by side.
            pub fn new(kernel: impl Into<f::Spatial>) -> $name {
                $name { kernel: kernel.into(), options: Default::default() }
            }

            /// Step of the window. Default: its size.
            #[must_use]
            pub fn stride(mut self, stride: impl Into<f::Spatial>) -> $name {
                self.options.stride = Some(stride.into());
                self
            }

            /// Padding that was used. Default 0.
            #[must_use]
            pub fn padding(mut self, padding: impl Into<f::Spatial>) -> $name {
                self.options.padding = Some(padding.into());
                self
            }

            /// Size of the result, where several fit.
            #[must_use]
            pub fn output_size(mut self, size: &[usize]) -> $name {
                self.options.output_size = Some(size.to_vec());
                self
            }
        }

        impl Forward<(Tensor, Tensor)> for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &(Tensor, Tensor)) -> Tensor {
                hooked!(self, x => {
                    let (x, positions) = x;
                    f::$function(x, positions, self.kernel.clone(), self.options.clone())
                })
            }
        }
    )*};
}

unpool! {
    MaxUnpool1d max_unpool1d "MaxPool1d",
    MaxUnpool2d max_unpool2d "MaxPool2d",
    MaxUnpool3d max_unpool3d "MaxPool3d"
}
