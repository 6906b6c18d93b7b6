//! Max pooling with windows at places drawn by chance.

use crate::{Buffer, Forward, Module, hooked};
use hardpan_engine::{Tensor, functional as f};

/// How many windows.
#[derive(Clone, Debug)]
enum Output {
    Size(f::Spatial),
    /// Of the input's size, rounded down.
    Ratio(Vec<f64>),
}

macro_rules! fractional {
    ($($(#[$doc:meta])* $n:literal $name:ident $function:ident $input:literal),*) => {$(
        #[doc = concat!("The largest element of each of a given number of windows of `", $input, "` (with or without N), whose places are drawn anew each")]
        /// time, in training or not, from the generator that `manual_seed` seeds: sizes may shrink by a factor such as 0.7.
        ///
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`; Graham, <https://arxiv.org/abs/1412.6071>.")]
        $(#[$doc])*
        #[derive(Module)]
        pub struct $name {
            #[module(skip)]
            kernel: f::Spatial,
            #[module(skip)]
            output: Output,
            samples: Option<Buffer>,
        }

        impl $name {
            /// With windows of size `kernel`, to the spatial size `output_size`.
            pub fn new(kernel: impl Into<f::Spatial>, output_size: impl Into<f::Spatial>) -> $name {
                $name { kernel: kernel.into(), output: Output::Size(output_size.into()), samples: None }
            }

            /// To this share of the input's size, between 0 and 1 (one, or one for each dimension), rounded down. PyTorch's `output_ratio`.
            ///
            /// # Panics
            /// If a ratio is not between 0 and 1, or there are neither one nor as many as dimensions.
            #[track_caller]
            pub fn with_ratio(kernel: impl Into<f::Spatial>, ratio: &[f64]) -> $name {
                assert!(
                    (ratio.len() == 1 || ratio.len() == $n) && ratio.iter().all(|r| *r > 0.0 && *r < 1.0),
                    "{}: ratios between 0 and 1 were expected, one or {}, got {ratio:?}",
                    stringify!($name), $n
                );
                $name { kernel: kernel.into(), output: Output::Ratio(ratio.to_vec()), samples: None }
            }

            #[doc = concat!("Always these places: `[N, C, ", stringify!($n), "]`, numbers within `0..1`. PyTorch's `_random_samples`.")]
            #[must_use]
            pub fn samples(mut self, samples: Tensor) -> $name {
                self.samples = Some(Buffer::transient(samples));
                self
            }

            /// The result, and the row-major places (i64) of its elements in the spatial dimensions, for `MaxUnpool`.
            #[track_caller]
            pub fn forward_with_indices(&self, x: &Tensor) -> (Tensor, Tensor) {
                let samples = self.samples.as_ref().map(Buffer::value);
                let out = match &self.output {
                    Output::Size(size) => size.clone(),
                    Output::Ratio(ratio) => {
                        let size = &x.shape()[x.rank().saturating_sub($n)..];
                        let share = |(d, n): (usize, &usize)| (ratio[d % ratio.len()] * *n as f64) as usize;
                        let sizes: Vec<usize> = size.iter().enumerate().map(share).collect();
                        sizes.as_slice().into()
                    }
                };
                f::$function(x, self.kernel.clone(), out, samples.as_ref())
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    self.forward_with_indices(x).0
                })
            }
        }
    )*};
}

fractional! {
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, FractionalMaxPool2d};
    /// let y = FractionalMaxPool2d::new(2, [7, 5]).forward(&Tensor::ones([1, 3, 10, 8]));
    /// assert_eq!(y.shape(), [1, 3, 7, 5]);
    /// ```
    2 FractionalMaxPool2d fractional_max_pool2d_with_indices "[N, C, H, W]",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, FractionalMaxPool3d};
    /// let y = FractionalMaxPool3d::with_ratio(2, &[0.5]).forward(&Tensor::ones([1, 3, 10, 8, 8]));
    /// assert_eq!(y.shape(), [1, 3, 5, 4, 4]);
    /// ```
    3 FractionalMaxPool3d fractional_max_pool3d_with_indices "[N, C, D, H, W]"
}
