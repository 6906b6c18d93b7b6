//! Small layers that models are put together with.

use super::activation::ReLU;
use super::conv::Conv2d;
use super::conv_layer::{ConvLayer, NormType, batch_norm};
use super::dropout::Dropout;
use super::linear::Linear;
use super::pool::{AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d};
use super::resize::PixelShuffle;
use super::shape::Flatten;
use crate::init::Init;
use crate::{Forward, IntoLayer, Layer, Module, Sequential, hooked};
use hardpan_engine::{Tensor, functional as f};

macro_rules! concat_pools {
    ($($(#[$doc:meta])* $name:ident $max:ident $avg:ident $dim:literal $input:literal $output:literal),*) => {$(
        #[doc = concat!("The largest and the mean of each window, side by side in the channels: `", $input, "` to `", $output, "`.")]
        #[doc = concat!("Counterpart: fastai's `", stringify!($name), "`.")]
        $(#[$doc])*
        #[derive(Module, Clone, Debug)]
        pub struct $name {
            mp: $max,
            ap: $avg,
        }

        impl $name {
            /// With this many windows in each dimension (usually 1).
            pub fn new(size: usize) -> $name {
                $name { mp: $max::new(size), ap: $avg::new(size) }
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    Tensor::cat(&[self.mp.forward(x), self.ap.forward(x)], $dim)
                })
            }
        }
    )*};
}

concat_pools! {
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{AdaptiveConcatPool1d, Forward};
    /// let y = AdaptiveConcatPool1d::new(1).forward(&Tensor::ones([2, 8, 12]));
    /// assert_eq!(y.shape(), [2, 16, 1]);
    /// ```
    AdaptiveConcatPool1d AdaptiveMaxPool1d AdaptiveAvgPool1d -2 "[N, C, L]" "[N, 2 C, size]",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{AdaptiveConcatPool2d, Forward};
    /// let y = AdaptiveConcatPool2d::new(1).forward(&Tensor::from_slice(&[1f32, 2.0, 3.0, 6.0], [1, 1, 2, 2]));
    /// assert_eq!(y.to_vec::<f32>(), [6.0, 3.0]); // largest, then mean
    /// ```
    AdaptiveConcatPool2d AdaptiveMaxPool2d AdaptiveAvgPool2d -3 "[N, C, H, W]" "[N, 2 C, size, size]"
}

/// The mean of each channel: `[N, C, H, W]` to `[N, C]`. Counterpart: fastai's `PoolFlatten`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, PoolFlatten};
/// assert_eq!(PoolFlatten::new().forward(&Tensor::ones([2, 8, 5, 7])).shape(), &[2, 8]);
/// ```
#[derive(Module, Clone, Debug)]
pub struct PoolFlatten {
    pool: AdaptiveAvgPool2d,
}

impl PoolFlatten {
    /// Of images of any size.
    pub fn new() -> PoolFlatten {
        PoolFlatten::default()
    }
}

impl Default for PoolFlatten {
    fn default() -> PoolFlatten {
        PoolFlatten { pool: AdaptiveAvgPool2d::new(1) }
    }
}

impl Forward for PoolFlatten {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            self.pool.forward(x).flatten(1, -1)
        })
    }
}

/// The weights of a convolution `[out, in, kh, kw]` before a [`PixelShuffle`] by `scale`: the filters that make one pixel's neighbours
/// start equal, so that the result has no checkerboard. Counterpart: fastai's `icnr_init`; Aitken et al., <https://arxiv.org/abs/1707.02937>.
///
/// ```
/// use hardpan_nn::init::Init;
/// use hardpan_nn::icnr;
/// let w = icnr(&[8, 3, 1, 1], 2, Init::KaimingNormal).reshape([2, 4, 3]);
/// assert_eq!((w.narrow(1, 1, 3) - w.narrow(1, 0, 1)).abs().amax(..).item::<f32>(), 0.0);
/// ```
///
/// # Panics
/// If `out` does not divide by `scale^2`.
#[track_caller]
pub fn icnr(shape: &[usize], scale: usize, init: Init) -> Tensor {
    let n = scale * scale;
    assert!(
        shape.len() == 4 && n > 0 && shape[0].is_multiple_of(n),
        "icnr: a weight [out, in, kh, kw] with out a multiple of {n} was expected, got {shape:?}"
    );
    let few = init.tensor(&[shape[0] / n, shape[1], shape[2], shape[3]]);
    few.unsqueeze(1).expand([shape[0] / n, n, shape[1], shape[2], shape[3]]).reshape(shape)
}

/// Images enlarged by `scale`: a 1x1 convolution to `scale^2` times the channels, started by [`icnr`], then [`PixelShuffle`]; with
/// [`blur`](PixelShuffleICNR::blur) a 2x2 mean after. Keys: `conv.0.*`. Counterpart: fastai's `PixelShuffle_ICNR`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, PixelShuffleICNR};
/// let up = PixelShuffleICNR::new(8, 4, 2);
/// assert_eq!(up.forward(&Tensor::ones([1, 8, 5, 5])).shape(), &[1, 4, 10, 10]);
/// ```
#[derive(Module)]
pub struct PixelShuffleICNR {
    conv: Sequential,
    shuffle: PixelShuffle,
    blur: bool,
}

impl PixelShuffleICNR {
    /// From `inputs` to `outputs` channels, `scale` times as large, with a ReLU between convolution and shuffle.
    #[track_caller]
    pub fn new(inputs: usize, outputs: usize, scale: usize) -> PixelShuffleICNR {
        PixelShuffleICNR::with(inputs, outputs, scale, NormType::None, Some(Box::new(ReLU)))
    }

    /// With this norm (fastai's default is [`NormType::Weight`]) and activation.
    #[track_caller]
    pub fn with(
        inputs: usize,
        outputs: usize,
        scale: usize,
        norm: NormType,
        activation: Option<Box<dyn Layer>>,
    ) -> PixelShuffleICNR {
        let channels = outputs * scale * scale;
        let weight = icnr(&[channels, inputs, 1, 1], scale, Init::default());
        let conv = Conv2d::new(inputs, channels, 1);
        conv.weight.set(weight);
        let normed = !matches!(norm, NormType::None | NormType::Weight | NormType::Spectral);
        let conv: Box<dyn Layer> = match norm {
            NormType::Weight => Box::new(super::WeightNorm::new(conv)),
            NormType::Spectral => Box::new(super::SpectralNorm::new(conv)),
            _ => Box::new(conv.bias(!normed)),
        };
        let mut layers = Sequential::new().append(conv);
        if normed {
            layers = layers.append(batch_norm(channels, 2, norm == NormType::BatchZero));
        }
        if let Some(activation) = activation {
            layers = layers.append(activation);
        }
        PixelShuffleICNR { conv: layers, shuffle: PixelShuffle::new(scale), blur: false }
    }

    /// With a mean over 2x2 pixels after: Sugawara et al., <https://arxiv.org/abs/1806.02658>. Default no.
    #[must_use]
    pub fn blur(mut self, blur: bool) -> PixelShuffleICNR {
        self.blur = blur;
        self
    }
}

impl Forward for PixelShuffleICNR {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let y = self.shuffle.forward(&self.conv.forward(x));
            if self.blur {
                let y = f::pad(&y, &[1, 0, 1, 0], f::PadMode::Replicate);
                f::avg_pool2d(&y, 2, f::AvgPoolOptions { stride: Some(1.into()), ..Default::default() })
            } else {
                y
            }
        })
    }
}

/// `sigmoid(x) (high - low) + low`: a number within bounds. Counterpart: fastai's `SigmoidRange`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, SigmoidRange};
/// let y = SigmoidRange::new(0.0, 5.5).forward(&Tensor::from_slice(&[0f32, 100.0], [2]));
/// assert_eq!(y.to_vec::<f32>(), [2.75, 5.5]);
/// ```
#[derive(Module, Clone, Copy, Debug)]
pub struct SigmoidRange {
    low: f64,
    high: f64,
}

impl SigmoidRange {
    /// Between these.
    pub fn new(low: f64, high: f64) -> SigmoidRange {
        SigmoidRange { low, high }
    }
}

impl Forward for SigmoidRange {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => f::sigmoid(x) * (self.high - self.low) + self.low)
    }
}

/// Batch norm, dropout, linear and perhaps an activation; or linear (and activation) first. Counterpart: fastai's `LinBnDrop`.
///
/// ```
/// use hardpan_nn::{Module, ReLU, lin_bn_drop};
/// let head = lin_bn_drop(512, 10, 0.5).tree();
/// assert!(head.contains("0: BatchNorm1d") && head.contains("1: Dropout") && head.contains("2: Linear"));
/// ```
pub fn lin_bn_drop(inputs: usize, outputs: usize, p: f64) -> Sequential {
    LinBnDrop::new(inputs, outputs).dropout(p).build()
}

/// Settings of [`lin_bn_drop`], all of them.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, LinBnDrop, Module, ReLU};
/// let head = LinBnDrop::new(512, 64).activation(ReLU).linear_first(true).dropout(0.1).build();
/// assert_eq!(head.len(), 4); // linear, ReLU, batch norm, dropout
/// head.eval();
/// assert_eq!(head.forward(&Tensor::ones([2, 512])).shape(), [2, 64]);
/// ```
#[must_use]
pub struct LinBnDrop {
    inputs: usize,
    outputs: usize,
    norm: bool,
    p: f64,
    activation: Option<Box<dyn Layer>>,
    linear_first: bool,
}

impl LinBnDrop {
    /// From `inputs` to `outputs` features: batch norm, no dropout, no activation, linear last.
    pub fn new(inputs: usize, outputs: usize) -> LinBnDrop {
        LinBnDrop { inputs, outputs, norm: true, p: 0.0, activation: None, linear_first: false }
    }
    /// With batch norm or without. Default: with.
    pub fn norm(mut self, norm: bool) -> LinBnDrop {
        self.norm = norm;
        self
    }
    /// Probability of dropout. Default 0.
    pub fn dropout(mut self, p: f64) -> LinBnDrop {
        self.p = p;
        self
    }
    /// What follows the linear map. Default: nothing.
    pub fn activation<K>(mut self, activation: impl IntoLayer<K>) -> LinBnDrop {
        self.activation = Some(activation.into_layer());
        self
    }
    /// Whether the linear map (and activation) comes first. Default no.
    pub fn linear_first(mut self, first: bool) -> LinBnDrop {
        self.linear_first = first;
        self
    }
    /// The layers. The linear map has a bias where there is no batch norm.
    pub fn build(self) -> Sequential {
        let mut linear: Vec<Box<dyn Layer>> =
            vec![Box::new(Linear::new(self.inputs, self.outputs).bias(!self.norm))];
        linear.extend(self.activation);
        let mut rest: Vec<Box<dyn Layer>> = Vec::new();
        if self.norm {
            rest.push(batch_norm(
                if self.linear_first { self.outputs } else { self.inputs },
                1,
                false,
            ));
        }
        if self.p != 0.0 {
            rest.push(Box::new(Dropout::new(self.p)));
        }
        let (first, second) = if self.linear_first { (linear, rest) } else { (rest, linear) };
        first.into_iter().chain(second).fold(Sequential::new(), |s, l| s.append(l))
    }
}

/// A plain convolutional model: a [`ConvLayer`] of stride 2 (kernel 3) for each step of `channels`, the mean over the image, flattened.
/// Counterpart: fastai's `SimpleCNN`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, simple_cnn};
/// assert_eq!(simple_cnn(&[1, 8, 16], true).forward(&Tensor::ones([2, 1, 28, 28])).shape(), &[2, 16]);
/// ```
#[track_caller]
pub fn simple_cnn(channels: &[usize], norm: bool) -> Sequential {
    assert!(channels.len() >= 2, "simple_cnn: channels in and out were expected, got {channels:?}");
    let kind = if norm { NormType::Batch } else { NormType::None };
    let mut out = Sequential::new();
    for (i, pair) in channels.windows(2).enumerate() {
        let layer = ConvLayer::new(pair[0], pair[1]).stride(2).norm(kind);
        let last = i + 2 == channels.len();
        out = out.append(if last { layer.no_activation().build() } else { layer.build() });
    }
    out.append(AdaptiveAvgPool2d::new(1)).append(Flatten::new())
}

/// Applies a layer to each time step: `[N, T, ..]` as `[N T, ..]` and back. Keys: the layer's. Counterpart: fastai's `TimeDistributed`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Conv2d, Forward, TimeDistributed};
/// let y = TimeDistributed(Conv2d::new(3, 8, 3)).forward(&Tensor::ones([2, 5, 3, 10, 10]));
/// assert_eq!(y.shape(), [2, 5, 8, 8, 8]);
/// ```
#[derive(Module)]
pub struct TimeDistributed<L>(pub L);

impl<L: Layer> Forward for TimeDistributed<L> {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            assert!(x.rank() >= 2, "TimeDistributed: expected [N, T, ..], got shape {:?}", x.shape());
            let y = self.0.forward(&x.flatten(0, 1));
            let mut shape = vec![x.size(0), x.size(1)];
            shape.extend(&y.shape()[1..]);
            y.reshape(shape)
        })
    }
}

/// Gives its input back and tells `f` about it: a place to look from. Counterpart: fastai's `Debugger`; see also [`hook`](crate::hook).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Debugger, Forward};
/// use std::sync::{Arc, atomic::{AtomicUsize, Ordering::Relaxed}};
/// let seen = Arc::new(AtomicUsize::new(0));
/// let counts = seen.clone();
/// let look = Debugger::new(move |x: &Tensor| counts.store(x.numel(), Relaxed));
/// look.forward(&Tensor::ones([2, 3]));
/// assert_eq!(seen.load(Relaxed), 6);
/// ```
#[derive(Module)]
pub struct Debugger<F> {
    #[module(skip)]
    f: F,
}

impl<F: Fn(&Tensor) + Send + Sync + 'static> Debugger<F> {
    /// Calls `f` with every input: `Debugger::new(|x| println!("{:?}", x.shape()))`.
    pub fn new(f: F) -> Debugger<F> {
        Debugger { f }
    }
}

impl<F: Fn(&Tensor) + Send + Sync + 'static> Forward for Debugger<F> {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            (self.f)(x);
            x.clone()
        })
    }
}
