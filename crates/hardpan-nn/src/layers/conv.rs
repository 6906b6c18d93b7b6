//! Convolutions over one, two and three dimensions, and their transposes.

use super::linear::value;
use crate::init::{Init, fan_in_and_fan_out};
use crate::{Forward, Module, Param, hooked};
use hardpan_engine::{Tensor, functional as f};

/// What a convolution sees around its input.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Conv1d, Forward, PaddingMode};
/// let conv = Conv1d::new(1, 1, 3).bias(false).padding(1).padding_mode(PaddingMode::Replicate);
/// conv.weight.set(Tensor::ones([1, 1, 3]));
/// let y = conv.forward(&Tensor::from_slice(&[1f32, 2.0, 3.0], [1, 1, 3]));
/// assert_eq!(y.to_vec::<f32>(), [4.0, 6.0, 8.0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The input mirrored at its edge.
    Reflect,
    /// The edge repeated.
    Replicate,
    /// The other side of the input.
    Circular,
}

/// How weights are made, to make them anew when an option changes their shape.
#[derive(Clone, Debug)]
struct Make {
    channels: (usize, usize),
    kernel: Vec<usize>,
    init: Init,
    bias: bool,
}

impl Make {
    /// `[out, in / groups, kernel..]`, or `[in, out / groups, kernel..]` for a transposed convolution.
    #[track_caller]
    fn params(&self, what: &str, groups: usize, transposed: bool) -> (Param, Option<Param>) {
        let (inputs, outputs) = self.channels;
        assert!(
            groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups),
            "{what}: {inputs} input and {outputs} output channels do not divide into {groups} groups"
        );
        let mut shape = if transposed {
            vec![inputs, outputs / groups]
        } else {
            vec![outputs, inputs / groups]
        };
        shape.extend(&self.kernel);
        let fan_in = fan_in_and_fan_out(&shape).0;
        let weight = Param::new(self.init.tensor(&shape));
        let bias = self.bias.then(|| Param::new(self.init.bias(outputs, fan_in)));
        (weight, bias)
    }
}

macro_rules! convolutions {
    ($($(#[$doc:meta])* $n:literal $name:ident $function:ident $input:literal $kernel:literal),*) => {$(
        #[doc = concat!("A convolution: `x: ", $input, "`, with or without N. Keys: `weight [out, in / groups, ", $kernel, "]`, `bias [out]`.")]
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`.")]
        $(#[$doc])*
        $(#[$doc])*
        #[derive(Module)]
        #[module(role = Conv)]
        pub struct $name {
            #[doc = concat!("`[out, in / groups, ", $kernel, "]`")]
            pub weight: Param,
            /// `[out]`
            pub bias: Option<Param>,
            options: f::ConvOptions,
            #[module(skip)]
            mode: PaddingMode,
            #[module(skip)]
            make: Make,
        }

        impl $name {
            /// From `inputs` to `outputs` channels with a kernel of this size (one number, or one for each dimension);
            /// stride 1, no padding, with a bias.
            #[track_caller]
            pub fn new(inputs: usize, outputs: usize, kernel: impl Into<f::Spatial>) -> $name {
                let make = Make {
                    channels: (inputs, outputs),
                    kernel: kernel.into().fit(stringify!($name), "kernel size", $n).to_vec(),
                    init: Init::default(),
                    bias: true,
                };
                let (weight, bias) = make.params(stringify!($name), 1, false);
                $name { weight, bias, options: Default::default(), mode: PaddingMode::Zeros, make }
            }

            /// Step of the window. Default 1.
            #[must_use]
            pub fn stride(mut self, stride: impl Into<f::Spatial>) -> $name {
                self.options.stride = stride.into();
                self
            }

            /// How much padding: so many on each side, or `Padding::Same`. Default none.
            #[must_use]
            pub fn padding(mut self, padding: impl Into<f::Padding>) -> $name {
                self.options.padding = padding.into();
                self
            }

            /// What the padding is. Default zeros.
            #[must_use]
            pub fn padding_mode(mut self, mode: PaddingMode) -> $name {
                self.mode = mode;
                self
            }

            /// Distance between kernel elements. Default 1.
            #[must_use]
            pub fn dilation(mut self, dilation: impl Into<f::Spatial>) -> $name {
                self.options.dilation = dilation.into();
                self
            }

            /// Channel groups: each sees its own share of the input channels. The weights are made anew. Default 1.
            #[must_use]
            #[track_caller]
            pub fn groups(mut self, groups: usize) -> $name {
                self.options.groups = groups;
                self.remake()
            }

            /// With a bias or without. Default: with.
            #[must_use]
            pub fn bias(mut self, bias: bool) -> $name {
                self.make.bias = bias;
                let out = self.make.channels.1;
                self.bias = bias.then(|| Param::new(Tensor::zeros([out])));
                self
            }

            /// With weights (and bias) filled this way.
            #[must_use]
            pub fn init(mut self, init: Init) -> $name {
                self.make.init = init;
                self.remake()
            }

            #[track_caller]
            fn remake(mut self) -> $name {
                let groups = self.options.groups;
                (self.weight, self.bias) = self.make.params(stringify!($name), groups, false);
                self
            }

            /// Number of input channels.
            pub fn in_channels(&self) -> usize {
                self.make.channels.0
            }

            /// Number of output channels.
            pub fn out_channels(&self) -> usize {
                self.make.channels.1
            }

            /// Size of the kernel.
            pub fn kernel_size(&self) -> &[usize] {
                &self.make.kernel
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    let (weight, bias) = (self.weight.value(), value(&self.bias));
                    if self.mode == PaddingMode::Zeros {
                        f::$function(x, &weight, bias.as_ref(), self.options.clone())
                    } else {
                        let x = around(x, &self.make.kernel, &self.options, self.mode);
                        let options = f::ConvOptions { padding: f::Padding::Valid, ..self.options.clone() };
                        f::$function(&x, &weight, bias.as_ref(), options)
                    }
                })
            }
        }
    )*};
}

convolutions! {
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Conv1d, Forward};
    /// let y = Conv1d::new(3, 8, 5).stride(2).forward(&Tensor::ones([2, 3, 21]));
    /// assert_eq!(y.shape(), [2, 8, 9]);
    /// ```
    1 Conv1d conv1d "[N, in, L]" "k",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Conv2d, Forward};
    /// let y = Conv2d::new(3, 8, 3).stride(2).padding(1).forward(&Tensor::ones([2, 3, 28, 28]));
    /// assert_eq!(y.shape(), [2, 8, 14, 14]);
    /// ```
    2 Conv2d conv2d "[N, in, H, W]" "kh, kw",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Conv3d, Forward};
    /// let y = Conv3d::new(1, 4, [1, 3, 3]).forward(&Tensor::ones([2, 1, 5, 8, 8]));
    /// assert_eq!(y.shape(), [2, 4, 5, 6, 6]);
    /// ```
    3 Conv3d conv3d "[N, in, D, H, W]" "kd, kh, kw"
}

/// `x` with the padding of a convolution that is not zeros.
#[track_caller]
fn around(x: &Tensor, kernel: &[usize], options: &f::ConvOptions, mode: PaddingMode) -> Tensor {
    let n = kernel.len();
    let dilation = options.dilation.fit("convolution", "dilation", n);
    let pads: Vec<(usize, usize)> = match &options.padding {
        f::Padding::Valid => return x.clone(),
        f::Padding::Around(p) => {
            p.fit("convolution", "padding", n).iter().map(|p| (*p, *p)).collect()
        }
        f::Padding::Same => kernel
            .iter()
            .zip(&dilation)
            .map(|(k, d)| {
                let total = (k - 1) * d;
                (total / 2, total - total / 2)
            })
            .collect(),
    };
    // PyTorch's order: the last dimension first.
    let flat: Vec<isize> =
        pads.iter().rev().flat_map(|(lo, hi)| [*lo as isize, *hi as isize]).collect();
    let mode = match mode {
        PaddingMode::Zeros => f::PadMode::Constant(0.0),
        PaddingMode::Reflect => f::PadMode::Reflect,
        PaddingMode::Replicate => f::PadMode::Replicate,
        PaddingMode::Circular => f::PadMode::Circular,
    };
    f::pad(x, &flat, mode)
}

macro_rules! transposed {
    ($($(#[$doc:meta])* $n:literal $name:ident $function:ident $input:literal $kernel:literal),*) => {$(
        #[doc = concat!("A transposed convolution: `x: ", $input, "`, with or without N. Keys: `weight [in, out / groups, ", $kernel, "]`, `bias [out]`.")]
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`.")]
        #[derive(Module)]
        #[module(role = ConvTranspose)]
        pub struct $name {
            #[doc = concat!("`[in, out / groups, ", $kernel, "]`")]
            pub weight: Param,
            /// `[out]`
            pub bias: Option<Param>,
            options: f::ConvTransposeOptions,
            #[module(skip)]
            make: Make,
        }

        impl $name {
            /// From `inputs` to `outputs` channels with a kernel of this size (one number, or one for each dimension);
            /// stride 1, no padding, with a bias.
            #[track_caller]
            pub fn new(inputs: usize, outputs: usize, kernel: impl Into<f::Spatial>) -> $name {
                let make = Make {
                    channels: (inputs, outputs),
                    kernel: kernel.into().fit(stringify!($name), "kernel size", $n).to_vec(),
                    init: Init::default(),
                    bias: true,
                };
                let (weight, bias) = make.params(stringify!($name), 1, true);
                $name { weight, bias, options: Default::default(), make }
            }

            /// Step between the places where input elements go. Default 1.
            #[must_use]
            pub fn stride(mut self, stride: impl Into<f::Spatial>) -> $name {
                self.options.stride = stride.into();
                self
            }

            /// Elements cut off around the full result. Default 0.
            #[must_use]
            pub fn padding(mut self, padding: impl Into<f::Spatial>) -> $name {
                self.options.padding = padding.into();
                self
            }

            /// Elements added after, to choose among the sizes that a strided convolution maps to the same one. Default 0.
            #[must_use]
            pub fn output_padding(mut self, padding: impl Into<f::Spatial>) -> $name {
                self.options.output_padding = padding.into();
                self
            }

            /// Distance between kernel elements. Default 1.
            #[must_use]
            pub fn dilation(mut self, dilation: impl Into<f::Spatial>) -> $name {
                self.options.dilation = dilation.into();
                self
            }

            /// Channel groups. The weights are made anew. Default 1.
            #[must_use]
            #[track_caller]
            pub fn groups(mut self, groups: usize) -> $name {
                self.options.groups = groups;
                self.remake()
            }

            /// With a bias or without. Default: with.
            #[must_use]
            pub fn bias(mut self, bias: bool) -> $name {
                self.make.bias = bias;
                let out = self.make.channels.1;
                self.bias = bias.then(|| Param::new(Tensor::zeros([out])));
                self
            }

            /// With weights (and bias) filled this way.
            #[must_use]
            pub fn init(mut self, init: Init) -> $name {
                self.make.init = init;
                self.remake()
            }

            /// As `forward`, with the spatial size of the result given (all sizes of the result, or these alone); the output
            /// padding is chosen for it. Counterpart: the argument `output_size`.
            ///
            /// # Panics
            /// When no output padding smaller than the stride gives that size.
            #[track_caller]
            pub fn forward_to(&self, x: &Tensor, size: &[usize]) -> Tensor {
                let (name, o) = (stringify!($name), &self.options);
                assert!(
                    size.len() >= $n && x.rank() > $n,
                    "{name}: an output size of {size:?} for an input of shape {:?}",
                    x.shape()
                );
                let stride = o.stride.fit(name, "stride", $n);
                let padding = o.padding.fit(name, "padding", $n);
                let dilation = o.dilation.fit(name, "dilation", $n);
                let (from, to) = (&x.shape()[x.rank() - $n..], &size[size.len() - $n..]);
                let extra: Vec<usize> = (0..$n)
                    .map(|d| {
                        let reach = dilation[d] * (self.make.kernel[d] - 1) + 1;
                        let full = (from[d] - 1) * stride[d] + reach;
                        let fits = (to[d] + 2 * padding[d]).checked_sub(full);
                        fits.filter(|e| *e < stride[d]).unwrap_or_else(|| {
                            panic!(
                                "{name}: an input of size {} becomes {} to {}, not {}",
                                from[d],
                                full as isize - 2 * padding[d] as isize,
                                (full + stride[d] - 1) as isize - 2 * padding[d] as isize,
                                to[d]
                            )
                        })
                    })
                    .collect();
                let options = f::ConvTransposeOptions { output_padding: extra.into(), ..o.clone() };
                hooked!(self, x => {
                    let (weight, bias) = (self.weight.value(), value(&self.bias));
                    f::$function(x, &weight, bias.as_ref(), options)
                })
            }

            #[track_caller]
            fn remake(mut self) -> $name {
                let groups = self.options.groups;
                (self.weight, self.bias) = self.make.params(stringify!($name), groups, true);
                self
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    let (weight, bias) = (self.weight.value(), value(&self.bias));
                    f::$function(x, &weight, bias.as_ref(), self.options.clone())
                })
            }
        }
    )*};
}

transposed! {
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{ConvTranspose1d, Forward};
    /// let y = ConvTranspose1d::new(8, 3, 4).stride(2).padding(1).forward(&Tensor::ones([2, 8, 10]));
    /// assert_eq!(y.shape(), [2, 3, 20]);
    /// ```
    1 ConvTranspose1d conv_transpose1d "[N, in, L]" "k",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{ConvTranspose2d, Forward};
    /// let y = ConvTranspose2d::new(8, 3, 2).stride(2).forward(&Tensor::ones([2, 8, 7, 7]));
    /// assert_eq!(y.shape(), [2, 3, 14, 14]);
    /// ```
    2 ConvTranspose2d conv_transpose2d "[N, in, H, W]" "kh, kw",
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{ConvTranspose3d, Forward};
    /// let y = ConvTranspose3d::new(4, 1, 3).forward(&Tensor::ones([1, 4, 2, 5, 5]));
    /// assert_eq!(y.shape(), [1, 1, 4, 7, 7]);
    /// ```
    3 ConvTranspose3d conv_transpose3d "[N, in, D, H, W]" "kd, kh, kw"
}
