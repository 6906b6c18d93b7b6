//! Pooling: fixed windows and windows that adapt to a wanted size.

use crate::{Forward, Module, hooked};
use hardpan_engine::{Tensor, functional as f};

macro_rules! fixed {
    ($($(#[$doc:meta])* $kind:ident $name:ident $function:ident $with:ident $options:ident $what:literal $input:literal),*) => {$(
        #[doc = concat!($what, " of each window of `", $input, "` (with or without N).")]
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`.")]
        $(#[$doc])*
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
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, MaxPool1d};
    /// let y = MaxPool1d::new(2).forward(&Tensor::from_slice(&[1f32, 4.0, 3.0, 2.0], [1, 1, 4]));
    /// assert_eq!(y.to_vec::<f32>(), [4.0, 3.0]);
    /// ```
    max MaxPool1d max_pool1d max_pool1d_with_indices MaxPoolOptions "The largest element" "[N, C, L]",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::MaxPool2d;
    /// let pool = MaxPool2d::new(2);
    /// let (y, places) = pool.forward_with_indices(&Tensor::from_slice(&[1f32, 4.0, 3.0, 2.0], [1, 1, 2, 2]));
    /// assert_eq!((y.item::<f32>(), places.item::<i64>()), (4.0, 1));
    /// ```
    max MaxPool2d max_pool2d max_pool2d_with_indices MaxPoolOptions "The largest element" "[N, C, H, W]",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, MaxPool3d};
    /// let y = MaxPool3d::new(3).stride(2).padding(1).forward(&Tensor::ones([1, 2, 5, 8, 8]));
    /// assert_eq!(y.shape(), [1, 2, 3, 4, 4]);
    /// ```
    max MaxPool3d max_pool3d max_pool3d_with_indices MaxPoolOptions "The largest element" "[N, C, D, H, W]",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{AvgPool1d, Forward};
    /// let y = AvgPool1d::new(2).forward(&Tensor::from_slice(&[1f32, 4.0, 3.0, 2.0], [1, 1, 4]));
    /// assert_eq!(y.to_vec::<f32>(), [2.5, 2.5]);
    /// ```
    avg AvgPool1d avg_pool1d avg_pool1d AvgPoolOptions "The mean" "[N, C, L]",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{AvgPool2d, Forward};
    /// // Padding counts, unless told otherwise.
    /// let y = AvgPool2d::new(2).padding(1).forward(&Tensor::ones([1, 1, 2, 2]));
    /// assert_eq!(y.to_vec::<f32>(), [0.25; 4]);
    /// ```
    avg AvgPool2d avg_pool2d avg_pool2d AvgPoolOptions "The mean" "[N, C, H, W]",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{AvgPool3d, Forward};
    /// let y = AvgPool3d::new(2).forward(&Tensor::ones([1, 2, 4, 8, 8]));
    /// assert_eq!(y.shape(), [1, 2, 2, 4, 4]);
    /// ```
    avg AvgPool3d avg_pool3d avg_pool3d AvgPoolOptions "The mean" "[N, C, D, H, W]"
}

macro_rules! lp {
    ($($(#[$doc:meta])* $name:ident $function:ident $input:literal),*) => {$(
        #[doc = concat!("`(sum of x^p)^(1/p)` over each window of `", $input, "` (with or without N).")]
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`.")]
        $(#[$doc])*
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
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, LPPool1d};
    /// let y = LPPool1d::new(2.0, 2).forward(&Tensor::from_slice(&[3f32, 4.0], [1, 1, 2]));
    /// assert!((y.item::<f32>() - 5.0).abs() < 1e-5);
    /// ```
    LPPool1d lp_pool1d "[N, C, L]",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, LPPool2d};
    /// let y = LPPool2d::new(1.0, 2).forward(&Tensor::ones([1, 1, 4, 4])); // the sum
    /// assert_eq!(y.to_vec::<f32>(), [4.0; 4]);
    /// ```
    LPPool2d lp_pool2d "[N, C, H, W]",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, LPPool3d};
    /// let y = LPPool3d::new(2.0, 2).forward(&Tensor::ones([1, 2, 4, 6, 6]));
    /// assert_eq!(y.shape(), [1, 2, 2, 3, 3]);
    /// ```
    LPPool3d lp_pool3d "[N, C, D, H, W]"
}

macro_rules! adaptive {
    ($($(#[$doc:meta])* $name:ident $function:ident $what:literal $input:literal),*) => {$(
        #[doc = concat!($what, " over windows that cut each spatial dimension of `", $input, "` into the given number of parts.")]
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`.")]
        $(#[$doc])*
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
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{AdaptiveAvgPool1d, Forward};
    /// let y = AdaptiveAvgPool1d::new(3).forward(&Tensor::ones([2, 4, 10]));
    /// assert_eq!(y.shape(), [2, 4, 3]);
    /// ```
    AdaptiveAvgPool1d adaptive_avg_pool1d "Means" "[N, C, L]",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{AdaptiveAvgPool2d, Forward};
    /// let y = AdaptiveAvgPool2d::new(1).forward(&Tensor::from_slice(&[1f32, 2.0, 3.0, 6.0], [1, 1, 2, 2]));
    /// assert_eq!(y.item::<f32>(), 3.0);
    /// ```
    AdaptiveAvgPool2d adaptive_avg_pool2d "Means" "[N, C, H, W]",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{AdaptiveAvgPool3d, Forward};
    /// let y = AdaptiveAvgPool3d::new([1, 2, 2]).forward(&Tensor::ones([1, 3, 4, 8, 6]));
    /// assert_eq!(y.shape(), [1, 3, 1, 2, 2]);
    /// ```
    AdaptiveAvgPool3d adaptive_avg_pool3d "Means" "[N, C, D, H, W]",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{AdaptiveMaxPool1d, Forward};
    /// let y = AdaptiveMaxPool1d::new(3).forward(&Tensor::ones([2, 4, 10]));
    /// assert_eq!(y.shape(), [2, 4, 3]);
    /// ```
    AdaptiveMaxPool1d adaptive_max_pool1d "Largest elements" "[N, C, L]",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{AdaptiveMaxPool2d, Forward};
    /// let y = AdaptiveMaxPool2d::new(1).forward(&Tensor::from_slice(&[1f32, 2.0, 3.0, 6.0], [1, 1, 2, 2]));
    /// assert_eq!(y.item::<f32>(), 6.0);
    /// ```
    AdaptiveMaxPool2d adaptive_max_pool2d "Largest elements" "[N, C, H, W]",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{AdaptiveMaxPool3d, Forward};
    /// let y = AdaptiveMaxPool3d::new(2).forward(&Tensor::ones([1, 3, 4, 8, 6]));
    /// assert_eq!(y.shape(), [1, 3, 2, 2, 2]);
    /// ```
    AdaptiveMaxPool3d adaptive_max_pool3d "Largest elements" "[N, C, D, H, W]"
}

macro_rules! unpool {
    ($($(#[$doc:meta])* $name:ident $function:ident $pool:literal),*) => {$(
        #[doc = concat!("Puts the values of a [`", $pool, "`] back where they came from, zeros elsewhere: takes the values and their positions.")]
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`.")]
        $(#[$doc])*
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
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, MaxPool1d, MaxUnpool1d};
    /// let pooled = MaxPool1d::new(2).forward_with_indices(&Tensor::from_slice(&[1f32, 4.0, 3.0, 2.0], [1, 1, 4]));
    /// assert_eq!(MaxUnpool1d::new(2).forward(&pooled).to_vec::<f32>(), [0.0, 4.0, 3.0, 0.0]);
    /// ```
    MaxUnpool1d max_unpool1d "MaxPool1d",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, MaxPool2d, MaxUnpool2d};
    /// let pooled = MaxPool2d::new(2).forward_with_indices(&Tensor::from_slice(&[1f32, 4.0, 3.0, 2.0], [1, 1, 2, 2]));
    /// assert_eq!(MaxUnpool2d::new(2).forward(&pooled).to_vec::<f32>(), [0.0, 4.0, 0.0, 0.0]);
    /// ```
    MaxUnpool2d max_unpool2d "MaxPool2d",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, MaxPool3d, MaxUnpool3d};
    /// let pooled = MaxPool3d::new(2).forward_with_indices(&Tensor::ones([1, 1, 4, 4, 4]));
    /// let y = MaxUnpool3d::new(2).forward(&pooled);
    /// assert_eq!((y.shape(), y.sum(..).item::<f32>()), (&[1, 1, 4, 4, 4][..], 8.0));
    /// ```
    MaxUnpool3d max_unpool3d "MaxPool3d"
}
