//! Convolutions in one to three dimensions: forward, input gradient and weight gradient.
//!
//! Images are contiguous `[N, C, D, H, W]`, weights `[O, C / groups, KD, KH, KW]`; one- and
//! two-dimensional convolutions have leading dimensions of 1. As in PyTorch this is
//! cross-correlation:
//!
//! `y[n, o, p] = sum over c, k of w[o, c, k] * x[n, c, p * stride + k * dilation - padding]`
//!
//! [`conv_input_grad`] is the adjoint of that in `x`, and so is also the forward pass of a transposed
//! convolution. [`conv_weight_grad`] is the adjoint in `w`.
//!
//! Kernels of one tap over many points are matrix products (`pointwise`); where each channel is convolved by itself, vectors
//! hold channels of the image (`depthwise`). Otherwise nothing is unfolded into columns. A task copies the part of the image that it reads, once, with
//! its zero border (`window`); output points and kernel taps are then plain offsets into that copy,
//! and the microkernels of [`super::gemm`] read through tables of them. Forward and input gradient
//! are the same computation (`plan` shows how); vectors run along output channels when there are
//! enough, otherwise along pixels (`forward`). The weight gradient (`weight`) exchanges the roles of
//! the tables. `reference` has the definitions, in any arithmetic.
//!
//! 3x3 convolutions of stride 1 with many channels take a quarter of the products by way of tiles (`winograd`).
//!
//! Images of bf16 can be convolved as they are where the processor multiplies bf16 fast (`pairs`).
//!
//! Like products, results have the same bits on any number of threads.
mod depthwise;
mod forward;
mod pairs;
mod plan;
mod pointwise;
mod reference;
mod skip;
#[cfg(test)]
mod tests;
mod weight;
mod window;
mod winograd;

use super::gemm::kernel::Kernels;
use super::isa::isa;
use super::pool::SharedMut;
use crate::dev::Mem;
use forward::Weights;
pub use pairs::{PairConv, PairMode};
pub use reference::{
    conv_forward_reference, conv_input_grad_reference, conv_weight_grad_reference,
};

/// Sizes of a convolution. `[D, H, W]` order; 1 for dimensions that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Groups; divides both channel counts.
    pub groups: usize,
    /// Channels of `x`.
    pub in_channels: usize,
    /// Channels of `y`.
    pub out_channels: usize,
    /// Sizes of `x`.
    pub in_dims: [usize; 3],
    /// Sizes of `y`. Whatever they reach beyond `in_dims` is padding with zeros.
    pub out_dims: [usize; 3],
    /// Sizes of the kernel.
    pub kernel: [usize; 3],
    /// Steps between output points, at least 1.
    pub stride: [usize; 3],
    /// Zeros before the first element of each dimension.
    pub padding_lo: [usize; 3],
    /// Steps between kernel taps, at least 1.
    pub dilation: [usize; 3],
}

impl ConvShape {
    /// Elements of `x` and its gradient.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_channels * self.in_dims.iter().product::<usize>()
    }

    /// Elements of `y` and its gradient.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_channels * self.out_dims.iter().product::<usize>()
    }

    /// Elements of `w` and its gradient.
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.in_group() * self.kernel.iter().product::<usize>()
    }

    /// Multiplications and additions together, of each of the three computations.
    pub fn flops(&self) -> f64 {
        2.0 * self.output_len() as f64
            * self.in_group() as f64
            * self.kernel.iter().product::<usize>() as f64
    }

    fn in_group(&self) -> usize {
        self.in_channels / self.groups
    }

    fn out_group(&self) -> usize {
        self.out_channels / self.groups
    }

    #[track_caller]
    fn assert_valid(&self, input: usize, weight: usize, output: usize) {
        assert!(
            self.groups > 0
                && self.in_channels.is_multiple_of(self.groups)
                && self.out_channels.is_multiple_of(self.groups),
            "conv: {} groups do not divide {} input and {} output channels",
            self.groups,
            self.in_channels,
            self.out_channels
        );
        assert!(
            self.stride.iter().chain(&self.dilation).all(|step| *step > 0),
            "conv: stride {:?} and dilation {:?} must be 1 or more",
            self.stride,
            self.dilation
        );
        for (name, len, expected) in [
            ("input", input, self.input_len()),
            ("weight", weight, self.weight_len()),
            ("output", output, self.output_len()),
        ] {
            assert!(len >= expected, "conv: {name} has {len} elements, {self:?} needs {expected}");
        }
    }
}

/// A region of a convolution's result whose values are final: some images, some channels, and a
/// range of pixels (counted along the flattened spatial dimensions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTile {
    /// First image.
    pub image0: usize,
    /// Number of images.
    pub images: usize,
    /// First channel.
    pub channel0: usize,
    /// Number of channels.
    pub channels: usize,
    /// First pixel.
    pub pixel0: usize,
    /// Number of pixels.
    pub pixels: usize,
}

/// Called by the computing thread, exactly once for each region of the result, when its values are
/// final. It may read and write that region (through a [`SharedMut::share`] of the result).
pub type ConvDone<'a> = &'a (dyn Fn(ConvTile) + Sync);

/// `y = conv(x, w)`, overwriting `y`. `done` is told of every region of `y` once it is final.
///
/// `torch.nn.functional.conv1d`, `conv2d` and `conv3d` without bias.
///
/// # Panics
/// When a slice is shorter than `shape` says, the groups do not divide the channels, or a stride or
/// dilation is 0.
#[track_caller]
pub fn conv_forward(
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    y: SharedMut<'_, f32>,
    done: Option<ConvDone<'_>>,
) {
    conv_forward_with(shape, x, w, None, y, done);
}

/// [`conv_forward`], with the memory that the weights lie in: what is packed for the kernel may be kept beside it.
#[track_caller]
pub(super) fn conv_forward_with(
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    memory: Option<&Mem>,
    y: SharedMut<'_, f32>,
    done: Option<ConvDone<'_>>,
) {
    shape.assert_valid(x.len(), w.len(), y.len());
    if pointwise::forward_fits(shape) {
        return pointwise::forward(shape, x, w, y, done);
    }
    let plan = plan::Plan::forward(shape);
    if depthwise::fits(shape) {
        return depthwise::run(&plan, x, w, y, done);
    }
    let (kernels, w) = (Kernels::of(isa()), Weights { memory, form: "plain", data: &|| w });
    if winograd::fits(&plan, kernels.lanes) {
        return winograd::run(&plan, kernels, x, w, y, done);
    }
    forward::run(&plan, kernels, x, w, y, done);
}

/// `dx`, the gradient in `x` for the gradient `g` in `y`, overwriting `dx`. `done` is told of every
/// region of `dx` once it is final.
///
/// Also `torch.nn.functional.conv_transpose*d` forward: there `g` is the input, `dx` the output, and
/// `w` has its `[in, out / groups, ...]` weights; any output padding is a larger `in_dims`.
///
/// # Panics
/// As [`conv_forward`].
#[track_caller]
pub fn conv_input_grad(
    shape: &ConvShape,
    g: &[f32],
    w: &[f32],
    dx: SharedMut<'_, f32>,
    done: Option<ConvDone<'_>>,
) {
    conv_input_grad_with(shape, g, w, None, dx, done);
}

/// [`conv_input_grad`], with the memory that the weights lie in, as [`conv_forward_with`].
#[track_caller]
pub(super) fn conv_input_grad_with(
    shape: &ConvShape,
    g: &[f32],
    w: &[f32],
    memory: Option<&Mem>,
    dx: SharedMut<'_, f32>,
    done: Option<ConvDone<'_>>,
) {
    shape.assert_valid(dx.len(), w.len(), g.len());
    if pointwise::input_grad_fits(shape) {
        return pointwise::input_grad(shape, g, w, dx, done);
    }
    let plan = plan::Plan::input_grad(shape);
    if depthwise::fits(shape) {
        return depthwise::run(&plan, g, w, dx, done);
    }
    let (kernels, w) = (Kernels::of(isa()), Weights { memory, form: "plain", data: &|| w });
    if winograd::fits(&plan, kernels.lanes) {
        return winograd::run(&plan, kernels, g, w, dx, done);
    }
    forward::run(&plan, kernels, g, w, dx, done);
}

/// `dw`, the gradient in `w` for the gradient `g` in `y`, overwriting `dw`.
///
/// # Panics
/// As [`conv_forward`].
#[track_caller]
pub fn conv_weight_grad(shape: &ConvShape, x: &[f32], g: &[f32], dw: SharedMut<'_, f32>) {
    shape.assert_valid(x.len(), dw.len(), g.len());
    if depthwise::fits(shape) {
        return depthwise::weight_grad(shape, x, g, dw);
    }
    let kernels = Kernels::of(isa());
    if winograd::weight_grad_fits(shape, kernels.lanes) {
        return winograd::weight_grad(shape, kernels, x, g, dw);
    }
    weight::run(shape, kernels, x, g, dw);
}
