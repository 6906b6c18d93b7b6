//! Images made larger, and patches taken apart and put together.

use crate::{Forward, Module, hooked};
use hardpan_engine::{Tensor, functional as f};

/// `[N, C, ..]` resized to a size or by a factor. Counterpart: `torch.nn.Upsample`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Upsample};
/// let y = Upsample::scale(2.0).forward(&Tensor::ones([1, 3, 4, 4]));
/// assert_eq!(y.shape(), &[1, 3, 8, 8]);
/// ```
#[derive(Module, Clone, Debug)]
pub struct Upsample {
    #[module(skip)]
    size: Option<Vec<usize>>,
    #[module(skip)]
    factor: Option<Vec<f64>>,
    #[module(skip)]
    mode: f::InterpolateMode,
    align_corners: bool,
    recompute_scale_factor: bool,
}

impl Upsample {
    /// To this size: one number for all spatial dimensions, or one for each. Nearest neighbours.
    pub fn size(size: &[usize]) -> Upsample {
        Upsample {
            size: Some(size.to_vec()),
            factor: None,
            mode: f::InterpolateMode::Nearest,
            align_corners: false,
            recompute_scale_factor: false,
        }
    }

    /// By this factor. Nearest neighbours.
    pub fn scale(factor: f64) -> Upsample {
        Upsample { size: None, factor: Some(vec![factor]), ..Upsample::size(&[]) }
    }

    /// By a factor for each spatial dimension. Nearest neighbours.
    pub fn scales(factors: &[f64]) -> Upsample {
        Upsample { size: None, factor: Some(factors.to_vec()), ..Upsample::size(&[]) }
    }

    /// How values between are found. Default: the nearest.
    #[must_use]
    pub fn mode(mut self, mode: f::InterpolateMode) -> Upsample {
        self.mode = mode;
        self
    }

    /// Whether corners keep their values in linear and cubic modes. Default no.
    #[must_use]
    pub fn align_corners(mut self, align: bool) -> Upsample {
        self.align_corners = align;
        self
    }

    /// Whether the step between places comes from the sizes, which are whole, and not from the factor. Default no.
    #[must_use]
    pub fn recompute_scale_factor(mut self, recompute: bool) -> Upsample {
        self.recompute_scale_factor = recompute;
        self
    }
}

impl Forward for Upsample {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let options = f::InterpolateOptions {
                size: self.size.clone(),
                scale_factor: self.factor.clone(),
                mode: self.mode,
                align_corners: self.align_corners,
                recompute_scale_factor: self.recompute_scale_factor,
                ..Default::default()
            };
            f::interpolate(x, options)
        })
    }
}

macro_rules! by_number {
    ($($(#[$doc:meta])* $name:ident = $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Clone, Copy, Debug)]
        pub struct $name(pub usize);

        impl $name {
            /// With this number.
            pub fn new(n: usize) -> $name {
                $name(n)
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    f::$function(x, self.0)
                })
            }
        }
    )*};
}

by_number! {
    /// `[.., C r r, H, W]` to `[.., C, H r, W r]` for the factor `r`. Counterpart: `torch.nn.PixelShuffle`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, PixelShuffle};
    /// let y = PixelShuffle::new(2).forward(&Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0], [1, 4, 1, 1]));
    /// assert_eq!((y.shape(), y.to_vec::<f32>()), (&[1, 1, 2, 2][..], vec![1.0, 2.0, 3.0, 4.0]));
    /// ```
    PixelShuffle = pixel_shuffle;
    /// `[.., C, H r, W r]` to `[.., C r r, H, W]` for the factor `r`. Counterpart: `torch.nn.PixelUnshuffle`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, PixelUnshuffle};
    /// let y = PixelUnshuffle::new(2).forward(&Tensor::ones([1, 3, 8, 8]));
    /// assert_eq!(y.shape(), [1, 12, 4, 4]);
    /// ```
    PixelUnshuffle = pixel_unshuffle;
    /// Channels of `[N, C, ..]` dealt out over so many groups. Counterpart: `torch.nn.ChannelShuffle`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{ChannelShuffle, Forward};
    /// let y = ChannelShuffle::new(2).forward(&Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0], [1, 4, 1, 1]));
    /// assert_eq!(y.to_vec::<f32>(), [1.0, 3.0, 2.0, 4.0]);
    /// ```
    ChannelShuffle = channel_shuffle;
}

/// Settings shared by [`Unfold`] and [`Fold`].
macro_rules! windows {
    ($name:ident) => {
        impl $name {
            /// Step of the window. Default 1.
            #[must_use]
            pub fn stride(mut self, stride: impl Into<f::Spatial>) -> $name {
                self.options.stride = stride.into();
                self
            }
            /// Zeros around the image. Default 0.
            #[must_use]
            pub fn padding(mut self, padding: impl Into<f::Spatial>) -> $name {
                self.options.padding = padding.into();
                self
            }
            /// Distance between the elements of a window. Default 1.
            #[must_use]
            pub fn dilation(mut self, dilation: impl Into<f::Spatial>) -> $name {
                self.options.dilation = dilation.into();
                self
            }
        }
    };
}

/// The windows of `[N, C, H, W]` as columns `[N, C kh kw, windows]`. Counterpart: `torch.nn.Unfold`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Unfold};
/// let y = Unfold::new(3).padding(1).forward(&Tensor::ones([1, 2, 4, 4]));
/// assert_eq!(y.shape(), [1, 18, 16]);
/// ```
#[derive(Module, Clone, Debug)]
pub struct Unfold {
    kernel: f::Spatial,
    #[module(skip)]
    options: f::FoldOptions,
}

impl Unfold {
    /// Windows of this size.
    pub fn new(kernel: impl Into<f::Spatial>) -> Unfold {
        Unfold { kernel: kernel.into(), options: Default::default() }
    }
}
windows!(Unfold);

impl Forward for Unfold {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            f::unfold(x, self.kernel.clone(), self.options.clone())
        })
    }
}

/// Columns `[N, C kh kw, windows]` added up where they come from: `[N, C, H, W]`. Counterpart: `torch.nn.Fold`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Fold, Forward, Unfold};
/// let windows = Unfold::new(2).forward(&Tensor::ones([1, 1, 3, 3]));
/// let y = Fold::new(3, 2).forward(&windows);
/// assert_eq!(y.to_vec::<f32>(), [1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0]); // how many windows see each pixel
/// ```
#[derive(Module, Clone, Debug)]
pub struct Fold {
    size: f::Spatial,
    kernel: f::Spatial,
    #[module(skip)]
    options: f::FoldOptions,
}

impl Fold {
    /// To images of this size from windows of this size.
    pub fn new(size: impl Into<f::Spatial>, kernel: impl Into<f::Spatial>) -> Fold {
        Fold { size: size.into(), kernel: kernel.into(), options: Default::default() }
    }
}
windows!(Fold);

impl Forward for Fold {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            f::fold(x, self.size.clone(), self.kernel.clone(), self.options.clone())
        })
    }
}

/// [`Upsample`] of images by nearest neighbours. Counterpart: `torch.nn.UpsamplingNearest2d`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, UpsamplingNearest2d};
/// let y = UpsamplingNearest2d::scale(2.0).forward(&Tensor::from_slice(&[1f32, 2.0], [1, 1, 1, 2]));
/// assert_eq!(y.to_vec::<f32>(), [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
/// ```
#[derive(Module, Clone, Debug)]
pub struct UpsamplingNearest2d(pub Upsample);

/// [`Upsample`] of images by linear interpolation with corners that keep their values. Counterpart: `torch.nn.UpsamplingBilinear2d`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, UpsamplingBilinear2d};
/// let y = UpsamplingBilinear2d::size(&[1, 3]).forward(&Tensor::from_slice(&[1f32, 2.0], [1, 1, 1, 2]));
/// assert_eq!(y.to_vec::<f32>(), [1.0, 1.5, 2.0]);
/// ```
#[derive(Module, Clone, Debug)]
pub struct UpsamplingBilinear2d(pub Upsample);

macro_rules! upsampling {
    ($($name:ident $mode:expr, $align:literal;)*) => {$(
        impl $name {
            /// To this size.
            pub fn size(size: &[usize]) -> $name {
                $name(Upsample::size(size).mode($mode).align_corners($align))
            }

            /// By this factor.
            pub fn scale(factor: f64) -> $name {
                $name::scales(&[factor])
            }

            /// By a factor for each dimension.
            pub fn scales(factors: &[f64]) -> $name {
                $name(Upsample::scales(factors).mode($mode).align_corners($align))
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    self.0.forward(x)
                })
            }
        }
    )*};
}

upsampling! {
    UpsamplingNearest2d f::InterpolateMode::Nearest, false;
    UpsamplingBilinear2d f::InterpolateMode::Linear, true;
}
