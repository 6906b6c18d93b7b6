//! Pooling over fixed windows: max (with indices and its inverse), average, power mean.

use super::pool_window::{is_small, max_of_small, sum_of_small};
use super::spatial::{Window, check_rank, windows};
use super::{DType, Spatial, Tensor, beside, int_div, iota_along, number, pick, widen};
use crate::op::{ReduceOp, ScatterOp};
use crate::shape::{Dims, numel};
use std::panic::Location;

/// The value that loses against every other: what padding holds when the largest wins.
fn lowest(dtype: DType) -> f64 {
    match dtype {
        DType::I8 => i8::MIN.into(),
        DType::I16 => i16::MIN.into(),
        DType::I32 => i32::MIN.into(),
        DType::I64 => i64::MIN as f64,
        DType::U8 | DType::Bool => 0.0,
        _ => f64::NEG_INFINITY,
    }
}

/// Options of the `max_pool` functions.
#[derive(Clone, Debug)]
pub struct MaxPoolOptions {
    /// Step of the window. Default: its size.
    pub stride: Option<Spatial>,
    /// Minus infinities around the input, at most half the kernel. Default 0.
    pub padding: Spatial,
    /// Distance between the elements of a window. Default 1.
    pub dilation: Spatial,
    /// Also windows that start inside and reach out. Default false.
    pub ceil_mode: bool,
}

impl Default for MaxPoolOptions {
    fn default() -> MaxPoolOptions {
        MaxPoolOptions {
            stride: None,
            padding: 0usize.into(),
            dilation: 1usize.into(),
            ceil_mode: false,
        }
    }
}

/// Options of the `avg_pool` functions.
#[derive(Clone, Debug)]
pub struct AvgPoolOptions {
    /// Step of the window. Default: its size.
    pub stride: Option<Spatial>,
    /// Zeros around the input, at most half the kernel. Default 0.
    pub padding: Spatial,
    /// Also windows that start inside and reach out. Default false.
    pub ceil_mode: bool,
    /// Padding counts as elements of the mean. Default true.
    pub count_include_pad: bool,
    /// Divide by this instead of the number of elements.
    pub divisor_override: Option<i64>,
}

impl Default for AvgPoolOptions {
    fn default() -> AvgPoolOptions {
        AvgPoolOptions {
            stride: None,
            padding: 0usize.into(),
            ceil_mode: false,
            count_include_pad: true,
            divisor_override: None,
        }
    }
}

/// The windows of a pooling over the last `n` dimensions of `x`.
#[track_caller]
fn geometry(
    op: &str,
    n: usize,
    x: &Tensor,
    kernel: &Spatial,
    stride: &Option<Spatial>,
    padding: &Spatial,
    dilation: &Spatial,
    ceil: bool,
) -> Vec<Window> {
    check_rank(op, x, n);
    let k = kernel.fit(op, "kernel size", n);
    let s = stride.as_ref().map_or_else(|| k.clone(), |s| s.fit(op, "stride", n));
    let p = padding.fit(op, "padding", n);
    let d = dilation.fit(op, "dilation", n);
    let sizes = &x.shape()[x.rank() - n..];
    let mut out = Vec::with_capacity(n);
    for i in 0..n {
        let extent = d[i] * (k[i].max(1) - 1) + 1;
        assert!(
            p[i] <= extent / 2,
            "{op}: padding {} is more than half of the kernel's extent {extent}",
            p[i]
        );
        out.push(Window::new(op, sizes[i], k[i], s[i], p[i], d[i], ceil));
    }
    out
}

/// The largest element of each window and its row-major position in it. `w: [.., k..]` with `n` window axes at the end.
///
/// The gradient goes to the first largest element only, as in PyTorch. Without a need for the position it is a plain maximum.
pub(super) fn first_max(w: &Tensor, n: usize, with_index: bool) -> (Tensor, Option<Tensor>) {
    let at = Location::caller();
    let rank = w.rank();
    let axes: Dims = (rank - n..rank).collect();
    if !with_index && !w.is_requires_grad() {
        return (w.reduce_at(ReduceOp::Max, &axes, false, at), None);
    }
    if axes.iter().all(|a| w.shape()[*a] == 1) {
        let value = w.drop_axes(&axes, at);
        let first = beside(w, || Tensor::zeros_dtype(value.shape(), DType::I64));
        return (value, Some(first));
    }
    let best = w.detach().prim_reduce(ReduceOp::ArgMax, &axes, at);
    let mut position: Option<Tensor> = None;
    for a in &axes {
        let size = w.shape()[*a];
        let i = iota_along(w, size, *a - (rank - n), n);
        position = Some(match position {
            Some(p) => p * size as i64 + i,
            None => i,
        });
    }
    let chosen = position.expect("at least one axis").eq(&best);
    let value = pick(&chosen, w, &number(w, 0));
    let value = value.reduce_at(ReduceOp::Sum, &axes, false, at);
    (value, Some(best.drop_axes(&axes, at)))
}

#[track_caller]
fn max_pool(
    op: &str,
    n: usize,
    x: &Tensor,
    kernel: Spatial,
    options: &MaxPoolOptions,
    with_index: bool,
) -> (Tensor, Option<Tensor>) {
    let o = options;
    let g = geometry(op, n, x, &kernel, &o.stride, &o.padding, &o.dilation, o.ceil_mode);
    if !with_index && x.dtype().is_float() && is_small(&g) {
        return (max_of_small(x, &g), None);
    }
    let w = windows(x, &g, lowest(x.dtype()));
    let (value, best) = first_max(&w, n, with_index);
    if !with_index {
        return (value, None);
    }
    // Position in the window -> row-major position in the input.
    let mut rest = best.expect("asked for");
    let mut flat: Option<Tensor> = None;
    let mut scale = 1;
    for i in (0..n).rev() {
        let w = g[i];
        let quotient = int_div(&rest, w.kernel);
        let k = &rest - &quotient * w.kernel as i64;
        rest = quotient;
        let start = iota_along(x, w.out, i, n) * w.stride as i64 - w.padding as i64;
        let here = (k * w.dilation as i64 + start) * scale as i64;
        scale *= w.size;
        flat = Some(match flat {
            Some(f) => f + here,
            None => here,
        });
    }
    (value, flat)
}

macro_rules! max_pools {
    ($($n:literal $name:ident $with:ident $input:literal),*) => {$(
        #[doc = concat!("The largest element of each window: `x: ", $input, "`, with or without N.")]
        ///
        /// Ties send their gradient to the first. Counterpart:
        #[doc = concat!("`torch.nn.functional.", stringify!($name), "`.")]
        ///
        /// # Panics
        /// When the kernel does not fit or the padding is more than half of it.
        #[track_caller]
        pub fn $name(x: &Tensor, kernel: impl Into<Spatial>, options: MaxPoolOptions) -> Tensor {
            max_pool(stringify!($name), $n, x, kernel.into(), &options, false).0
        }

        #[doc = concat!("[`", stringify!($name), "`] and where each element came from: row-major positions (i64) in the spatial dimensions.")]
        #[track_caller]
        pub fn $with(
            x: &Tensor,
            kernel: impl Into<Spatial>,
            options: MaxPoolOptions,
        ) -> (Tensor, Tensor) {
            let (y, i) = max_pool(stringify!($name), $n, x, kernel.into(), &options, true);
            (y, i.expect("asked for"))
        }
    )*};
}
max_pools! {
    1 max_pool1d max_pool1d_with_indices "[N, C, L]",
    2 max_pool2d max_pool2d_with_indices "[N, C, H, W]",
    3 max_pool3d max_pool3d_with_indices "[N, C, D, H, W]"
}

#[track_caller]
fn avg_pool(op: &str, n: usize, x: &Tensor, kernel: Spatial, options: &AvgPoolOptions) -> Tensor {
    if !x.dtype().is_float() {
        // As in PyTorch, means of whole numbers are cut to whole numbers.
        let mean = avg_pool(op, n, &x.to_dtype(DType::F64), kernel, options);
        return mean.trunc().to_dtype(x.dtype());
    }
    let o = options;
    let g = geometry(op, n, x, &kernel, &o.stride, &o.padding, &1usize.into(), o.ceil_mode);
    let divisor = match o.divisor_override {
        Some(d) => {
            assert!(d != 0, "{op}: divisor_override must not be 0");
            Divisor::Number(d as f64)
        }
        // Elements of each window, by dimension.
        None => Divisor::new(
            g.iter()
                .map(|w| {
                    (0..w.out)
                        .map(|i| {
                            let start = (i * w.stride) as isize - w.padding as isize;
                            let end = start + w.kernel as isize;
                            if o.count_include_pad {
                                (end.min((w.size + w.padding) as isize) - start) as usize
                            } else {
                                (end.min(w.size as isize) - start.max(0)) as usize
                            }
                        })
                        .collect()
                })
                .collect(),
        ),
    };
    mean_of_windows(&widen(x), &g, divisor).to_dtype(x.dtype().to_float())
}

/// The sum of each window divided as told.
pub(super) fn mean_of_windows(x: &Tensor, g: &[Window], divisor: Divisor) -> Tensor {
    if is_small(g) {
        return sum_of_small(x, g, move |total| divisor.divide(total));
    }
    let w = windows(x, g, 0.0);
    let axes: Dims = (w.rank() - g.len()..w.rank()).collect();
    divisor.divide(&w.sum(&axes))
}

/// What the sums of windows are divided by.
pub(super) enum Divisor {
    /// One number for all.
    Number(f64),
    /// A number for each window: the product of those of its positions along each dimension.
    Counts(Vec<Vec<usize>>),
}

impl Divisor {
    /// From the elements of each window by dimension.
    pub fn new(counts: Vec<Vec<usize>>) -> Divisor {
        if counts.iter().all(|c| c.iter().all(|n| *n == c[0])) {
            let n: usize = counts.iter().map(|c| c.first().copied().unwrap_or(1)).product();
            return Divisor::Number(n as f64);
        }
        Divisor::Counts(counts)
    }

    /// `total: [.., o..]` divided.
    pub fn divide(&self, total: &Tensor) -> Tensor {
        let counts = match self {
            Divisor::Number(n) if *n == 1.0 => return total.clone(),
            Divisor::Number(n) => return total / *n,
            Divisor::Counts(counts) => counts,
        };
        let mut all = vec![1f64];
        for c in counts {
            all = all.iter().flat_map(|a| c.iter().map(move |n| a * *n as f64)).collect();
        }
        let shape: Dims = counts.iter().map(|c| c.len()).collect();
        let divisor = beside(total, || Tensor::from_slice(&all, &shape)).to_dtype(total.dtype());
        total / divisor
    }
}

macro_rules! avg_pools {
    ($($n:literal $name:ident $input:literal),*) => {$(
        #[doc = concat!("The mean of each window: `x: ", $input, "`, with or without N. Counterpart: `torch.nn.functional.", stringify!($name), "`.")]
        ///
        /// # Panics
        /// When the kernel does not fit or the padding is more than half of it.
        #[track_caller]
        pub fn $name(x: &Tensor, kernel: impl Into<Spatial>, options: AvgPoolOptions) -> Tensor {
            avg_pool(stringify!($name), $n, x, kernel.into(), &options)
        }
    )*};
}
avg_pools! {
    1 avg_pool1d "[N, C, L]",
    2 avg_pool2d "[N, C, H, W]",
    3 avg_pool3d "[N, C, D, H, W]"
}

#[track_caller]
fn lp_pool(
    op: &str,
    n: usize,
    x: &Tensor,
    norm_type: f64,
    kernel: Spatial,
    stride: Option<Spatial>,
    ceil_mode: bool,
) -> Tensor {
    let size: usize = kernel.fit(op, "kernel size", n).iter().product();
    let options = AvgPoolOptions { stride, ceil_mode, ..Default::default() };
    super::in_compute_dtype(x, |x| {
        let mean = avg_pool(op, n, &x.pow(norm_type), kernel, &options);
        let zero = mean.eq(0.0);
        let root = (pick(&zero, 1.0, &mean) * size as f64).pow(1.0 / norm_type);
        pick(&zero, 0.0, &root)
    })
}

macro_rules! lp_pools {
    ($($n:literal $name:ident $input:literal),*) => {$(
        #[doc = concat!("`(sum of x^p)^(1/p)` over each window, p being `norm_type`: `x: ", $input, "`, with or without N.")]
        #[doc = concat!("Counterpart: `torch.nn.functional.", stringify!($name), "`.")]
        #[track_caller]
        pub fn $name(
            x: &Tensor,
            norm_type: f64,
            kernel: impl Into<Spatial>,
            stride: Option<Spatial>,
            ceil_mode: bool,
        ) -> Tensor {
            lp_pool(stringify!($name), $n, x, norm_type, kernel.into(), stride, ceil_mode)
        }
    )*};
}
lp_pools! {
    1 lp_pool1d "[N, C, L]",
    2 lp_pool2d "[N, C, H, W]",
    3 lp_pool3d "[N, C, D, H, W]"
}

/// Options of the `max_unpool` functions.
#[derive(Clone, Debug, Default)]
pub struct MaxUnpoolOptions {
    /// Step of the window that was used. Default: its size.
    pub stride: Option<Spatial>,
    /// Padding that was used. Default 0.
    pub padding: Option<Spatial>,
    /// Size of the result: the spatial sizes, or a whole shape. Default `(size - 1) * stride - 2 * padding + kernel`.
    pub output_size: Option<Vec<usize>>,
}

#[track_caller]
fn max_unpool(
    op: &str,
    n: usize,
    x: &Tensor,
    indices: &Tensor,
    kernel: Spatial,
    options: &MaxUnpoolOptions,
) -> Tensor {
    let at = Location::caller();
    check_rank(op, x, n);
    assert!(
        x.shape() == indices.shape(),
        "{op}: values {:?} and indices {:?} must have one shape",
        x.shape(),
        indices.shape()
    );
    let lead = x.rank() - n;
    let out: Vec<usize> = match &options.output_size {
        Some(size) => {
            assert!(
                size.len() == n || size.len() == x.rank(),
                "{op}: output_size {size:?} needs {n} sizes or a whole shape"
            );
            size[size.len() - n..].to_vec()
        }
        None => {
            let k = kernel.fit(op, "kernel size", n);
            let s = options.stride.as_ref().map_or_else(|| k.clone(), |s| s.fit(op, "stride", n));
            let p = options.padding.clone().unwrap_or(0usize.into()).fit(op, "padding", n);
            (0..n).map(|i| (x.shape()[lead + i] - 1) * s[i] + k[i] - 2 * p[i]).collect()
        }
    };
    let rows: usize = x.shape()[..lead].iter().product();
    let each = numel(&out);
    let per_row = x.numel().checked_div(rows).unwrap_or(0);
    let offset = iota_along(x, rows, 0, 2) * each as i64;
    let index =
        (indices.to_dtype(DType::I64).reshape([rows, per_row]) + offset).reshape([rows * per_row]);
    let base = beside(x, || Tensor::zeros_dtype([rows * each], x.dtype()));
    let flat = x.reshape([rows * per_row]);
    let y = Tensor::prim_scatter(ScatterOp::Set, &base, &index, &flat, at);
    let mut shape = Dims::from_slice(&x.shape()[..lead]);
    shape.extend_from_slice(&out);
    y.reshape(&shape)
}

macro_rules! max_unpools {
    ($($n:literal $name:ident $pool:ident),*) => {$(
        #[doc = concat!("Puts pooled values back where `", stringify!($pool), "_with_indices` found them, zeros elsewhere.")]
        #[doc = concat!("Counterpart: `torch.nn.functional.", stringify!($name), "`.")]
        #[track_caller]
        pub fn $name(
            x: &Tensor,
            indices: &Tensor,
            kernel: impl Into<Spatial>,
            options: MaxUnpoolOptions,
        ) -> Tensor {
            max_unpool(stringify!($name), $n, x, indices, kernel.into(), &options)
        }
    )*};
}
max_unpools! {
    1 max_unpool1d max_pool1d,
    2 max_unpool2d max_pool2d,
    3 max_unpool3d max_pool3d
}

impl Tensor {
    /// [`max_pool2d`] with stride equal to the kernel and no padding.
    #[track_caller]
    pub fn max_pool2d(&self, kernel: impl Into<Spatial>) -> Tensor {
        max_pool2d(self, kernel, MaxPoolOptions::default())
    }
    /// [`avg_pool2d`] with stride equal to the kernel and no padding.
    #[track_caller]
    pub fn avg_pool2d(&self, kernel: impl Into<Spatial>) -> Tensor {
        avg_pool2d(self, kernel, AvgPoolOptions::default())
    }
}
