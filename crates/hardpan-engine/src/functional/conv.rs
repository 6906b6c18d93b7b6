//! Linear maps: fully connected layers, convolutions and their transposes, and the bilinear form.

use super::{Padding, Spatial, Tensor};
use crate::op::{ConvMode, ConvParams};
use crate::shape::Dims;
use crate::tensor::arguments::promote_ranked;
use smallvec::SmallVec;
use std::panic::Location;

/// What may have been forgotten before a linear layer.
fn flatten_hint(shape: &[usize], inputs: usize) -> String {
    let fits = |from: usize| shape[from..].iter().product::<usize>() == inputs;
    match (1..shape.len().saturating_sub(1)).find(|from| fits(*from)) {
        Some(from) => format!("; .flatten({from}, -1) gives the input that size ({inputs})"),
        None => String::new(),
    }
}

/// `x @ weight^T + bias`: `x: [.., in]`, `weight: [out, in]` (or `[in]`), `bias: [out]` gives `[.., out]`.
///
/// Counterpart: `torch.nn.functional.linear`.
#[track_caller]
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    assert!(
        x.rank() > 0 && x.size(-1) == weight.size(-1),
        "linear: input {:?} and weight {:?} ([out, in]) differ in the last size{}",
        x.shape(),
        weight.shape(),
        flatten_hint(x.shape(), weight.size(-1))
    );
    let y = x.matmul(&weight.t());
    match bias {
        Some(b) => y + b,
        None => y,
    }
}

/// `y[.., o] = sum over i, j of x1[.., i] * weight[o, i, j] * x2[.., j]`, plus `bias[o]`. `weight: [out, in1, in2]`.
///
/// Counterpart: `torch.nn.functional.bilinear`.
#[track_caller]
pub fn bilinear(x1: &Tensor, x2: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    assert!(
        weight.rank() == 3
            && x1.rank() > 0
            && x2.rank() == x1.rank()
            && x1.shape()[..x1.rank() - 1] == x2.shape()[..x2.rank() - 1]
            && x1.size(-1) == weight.shape()[1]
            && x2.size(-1) == weight.shape()[2],
        "bilinear: {:?} and {:?} do not fit a weight {:?}; expected [.., in1], [.., in2] and [out, in1, in2]",
        x1.shape(),
        x2.shape(),
        weight.shape()
    );
    let (out, in1, in2) = (weight.shape()[0], weight.shape()[1], weight.shape()[2]);
    let flat = weight.permute([1, 0, 2]).reshape([in1, out * in2]);
    let rows = x1.numel() / in1.max(1);
    let left = x1.reshape([rows, in1]).matmul(&flat).reshape([rows, out, in2]);
    let y = (left * x2.reshape([rows, 1, in2])).sum(-1);
    let mut shape = Dims::from_slice(&x1.shape()[..x1.rank() - 1]);
    shape.push(out);
    let y = y.reshape(&shape);
    match bias {
        Some(b) => y + b,
        None => y,
    }
}

/// Options of [`conv1d`], [`conv2d`] and [`conv3d`].
#[derive(Clone, Debug)]
pub struct ConvOptions {
    /// Step of the window. Default 1.
    pub stride: Spatial,
    /// Zeros around the input. Default none.
    pub padding: Padding,
    /// Distance between kernel elements. Default 1.
    pub dilation: Spatial,
    /// Channel groups: each sees its own share of the input channels. Default 1.
    pub groups: usize,
}

impl Default for ConvOptions {
    fn default() -> ConvOptions {
        ConvOptions {
            stride: 1usize.into(),
            padding: Padding::Valid,
            dilation: 1usize.into(),
            groups: 1,
        }
    }
}

/// Options of [`conv_transpose1d`], [`conv_transpose2d`] and [`conv_transpose3d`].
#[derive(Clone, Debug)]
pub struct ConvTransposeOptions {
    /// Step between the places where input elements go. Default 1.
    pub stride: Spatial,
    /// Elements cut off around the full result. Default 0.
    pub padding: Spatial,
    /// Elements added after, to choose among the sizes that a strided convolution maps to the same one. Default 0.
    pub output_padding: Spatial,
    /// Channel groups. Default 1.
    pub groups: usize,
    /// Distance between kernel elements. Default 1.
    pub dilation: Spatial,
}

impl Default for ConvTransposeOptions {
    fn default() -> ConvTransposeOptions {
        ConvTransposeOptions {
            stride: 1usize.into(),
            padding: 0usize.into(),
            output_padding: 0usize.into(),
            groups: 1,
            dilation: 1usize.into(),
        }
    }
}

/// Convolution over one dimension: `x: [N, in, L]` or `[in, L]`, `weight: [out, in / groups, k]`, `bias: [out]`.
///
/// Counterpart: `torch.nn.functional.conv1d`.
///
/// # Panics
/// When channels, groups or sizes do not fit.
#[track_caller]
pub fn conv1d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, options: ConvOptions) -> Tensor {
    conv("conv1d", 1, x, weight, bias, &options)
}

/// Convolution over two dimensions: `x: [N, in, H, W]` or `[in, H, W]`, `weight: [out, in / groups, kh, kw]`, `bias: [out]`.
///
/// Counterpart: `torch.nn.functional.conv2d`.
///
/// ```
/// use hardpan_engine::{Tensor, functional as f, functional::ConvOptions};
/// let x = Tensor::ones([1, 3, 8, 8]);
/// let w = Tensor::ones([16, 3, 3, 3]);
/// let y = f::conv2d(&x, &w, None, ConvOptions { stride: 2.into(), padding: 1.into(), ..Default::default() });
/// assert_eq!(y.shape(), &[1, 16, 4, 4]);
/// ```
///
/// # Panics
/// When channels, groups or sizes do not fit.
#[track_caller]
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, options: ConvOptions) -> Tensor {
    conv("conv2d", 2, x, weight, bias, &options)
}

/// Convolution over three dimensions: `x: [N, in, D, H, W]` or without `N`, `weight: [out, in / groups, kd, kh, kw]`.
///
/// Counterpart: `torch.nn.functional.conv3d`.
///
/// # Panics
/// When channels, groups or sizes do not fit.
#[track_caller]
pub fn conv3d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, options: ConvOptions) -> Tensor {
    conv("conv3d", 3, x, weight, bias, &options)
}

/// `[C, ..]` as `[1, C, ..]`, and whether that was needed.
fn with_batch(x: &Tensor, spatial: usize) -> (Tensor, bool) {
    if x.rank() == spatial + 1 { (x.unsqueeze(0), true) } else { (x.clone(), false) }
}

#[track_caller]
fn conv(
    op: &str,
    n: usize,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvOptions,
) -> Tensor {
    let at = Location::caller();
    super::spatial::check_rank(op, x, n);
    let (x, single) = with_batch(x, n);
    let groups = options.groups;
    assert!(
        weight.rank() == n + 2 && groups > 0,
        "{op}: expected a weight [out, in / groups, k..] with {} dimensions, got {:?} with groups {groups}",
        n + 2,
        weight.shape()
    );
    assert!(
        x.shape()[1] == weight.shape()[1] * groups && weight.shape()[0].is_multiple_of(groups),
        "{op}: input {:?} has {} channels, weight {:?} with groups {groups} expects {}; and the {} outputs must divide by groups",
        x.shape(),
        x.shape()[1],
        weight.shape(),
        weight.shape()[1] * groups,
        weight.shape()[0]
    );
    let dtype = promote_ranked((x.dtype(), x.rank()), (weight.dtype(), weight.rank()));
    let (x, weight) = (x.prim_cast(dtype, at), weight.prim_cast(dtype, at));
    let stride = options.stride.fit(op, "stride", n);
    let dilation = options.dilation.fit(op, "dilation", n);
    let (mut before, mut out): (SmallVec<[usize; 3]>, Dims) =
        (SmallVec::new(), Dims::from_slice(&[x.shape()[0], weight.shape()[0]]));
    for d in 0..n {
        let (size, kernel) = (x.shape()[d + 2], weight.shape()[d + 2]);
        let reach = dilation[d] * (kernel.max(1) - 1);
        let (lo, hi) = match &options.padding {
            Padding::Valid => (0, 0),
            Padding::Around(p) => {
                let p = p.fit(op, "padding", n)[d];
                (p, p)
            }
            Padding::Same => {
                assert!(stride[d] == 1, "{op}: padding 'same' needs stride 1, got {}", stride[d]);
                (reach / 2, reach - reach / 2)
            }
        };
        assert!(
            kernel > 0 && stride[d] > 0 && size + lo + hi > reach,
            "{op}: kernel {:?} (dilation {:?}) does not fit into input {:?} with padding {:?}",
            &weight.shape()[2..],
            dilation.as_slice(),
            x.shape(),
            options.padding
        );
        before.push(lo);
        out.push((size + lo + hi - reach - 1) / stride[d] + 1);
    }
    let params = ConvParams { stride, padding: before, dilation, groups };
    let y = Tensor::prim_conv(ConvMode::Forward, &params, &x, &weight, &out, at);
    finish(op, y, bias, n, single)
}

/// Adds the bias of the channels and removes the batch dimension that was added.
#[track_caller]
fn finish(op: &str, y: Tensor, bias: Option<&Tensor>, n: usize, single: bool) -> Tensor {
    let y = match bias {
        None => y,
        Some(b) => {
            let channels = y.shape()[1];
            assert!(
                b.shape() == [channels],
                "{op}: bias {:?} for {channels} output channels",
                b.shape()
            );
            let mut shape = vec![1; n + 1];
            shape[0] = channels;
            y + b.reshape(&shape[..])
        }
    };
    if single { y.squeeze(0) } else { y }
}

/// Transposed convolution over one dimension: `x: [N, in, L]` or `[in, L]`, `weight: [in, out / groups, k]`.
///
/// Counterpart: `torch.nn.functional.conv_transpose1d`.
///
/// # Panics
/// When channels, groups or sizes do not fit.
#[track_caller]
pub fn conv_transpose1d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: ConvTransposeOptions,
) -> Tensor {
    conv_transpose("conv_transpose1d", 1, x, weight, bias, &options)
}

/// Transposed convolution over two dimensions: `x: [N, in, H, W]` or `[in, H, W]`, `weight: [in, out / groups, kh, kw]`.
///
/// The size of the result is `(H - 1) * stride - 2 * padding + dilation * (kh - 1) + output_padding + 1`. Counterpart:
/// `torch.nn.functional.conv_transpose2d`.
///
/// # Panics
/// When channels, groups or sizes do not fit.
#[track_caller]
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: ConvTransposeOptions,
) -> Tensor {
    conv_transpose("conv_transpose2d", 2, x, weight, bias, &options)
}

/// Transposed convolution over three dimensions: `x: [N, in, D, H, W]` or without `N`, `weight: [in, out / groups, k..]`.
///
/// Counterpart: `torch.nn.functional.conv_transpose3d`.
///
/// # Panics
/// When channels, groups or sizes do not fit.
#[track_caller]
pub fn conv_transpose3d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: ConvTransposeOptions,
) -> Tensor {
    conv_transpose("conv_transpose3d", 3, x, weight, bias, &options)
}

#[track_caller]
fn conv_transpose(
    op: &str,
    n: usize,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvTransposeOptions,
) -> Tensor {
    let at = Location::caller();
    super::spatial::check_rank(op, x, n);
    let (x, single) = with_batch(x, n);
    let groups = options.groups;
    assert!(
        weight.rank() == n + 2
            && groups > 0
            && x.shape()[1] == weight.shape()[0]
            && x.shape()[1].is_multiple_of(groups),
        "{op}: input {:?} does not fit weight {:?} ([in, out / groups, k..]) with groups {groups}",
        x.shape(),
        weight.shape()
    );
    let dtype = promote_ranked((x.dtype(), x.rank()), (weight.dtype(), weight.rank()));
    let (x, weight) = (x.prim_cast(dtype, at), weight.prim_cast(dtype, at));
    let stride = options.stride.fit(op, "stride", n);
    let dilation = options.dilation.fit(op, "dilation", n);
    let padding = options.padding.fit(op, "padding", n);
    let extra = options.output_padding.fit(op, "output_padding", n);
    let mut out = Dims::from_slice(&[x.shape()[0], weight.shape()[1] * groups]);
    for d in 0..n {
        assert!(
            extra[d] < stride[d].max(dilation[d]),
            "{op}: output_padding {} must be smaller than stride {} or dilation {}",
            extra[d],
            stride[d],
            dilation[d]
        );
        let full = (x.shape()[d + 2].max(1) - 1) * stride[d]
            + dilation[d] * (weight.shape()[d + 2].max(1) - 1)
            + extra[d]
            + 1;
        assert!(
            full > 2 * padding[d],
            "{op}: padding {} leaves nothing of size {full} (input {:?}, weight {:?})",
            padding[d],
            x.shape(),
            weight.shape()
        );
        out.push(full - 2 * padding[d]);
    }
    let params = ConvParams { stride, padding, dilation, groups };
    let y = Tensor::prim_conv(ConvMode::InputGrad, &params, &x, &weight, &out, at);
    finish(op, y, bias, n, single)
}
