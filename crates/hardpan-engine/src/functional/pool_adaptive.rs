//! Adaptive pooling: the size of the result is given, the windows follow from it.

use super::pool::{Divisor, first_max, mean_of_windows};
use super::pool_window::{is_small, max_of_small};
use super::spatial::{Window, check_rank, index_along, windows};
use super::{DType, Tensor, beside, int_div, number, pick, widen};
use crate::shape::Dims;

/// Sizes of an adaptive pooling's result: one for all spatial dimensions or one each; `None` keeps that of the input.
pub trait OutputSize {
    /// One entry for all dimensions, or one for each.
    fn sizes(&self) -> Vec<Option<usize>>;
}
impl OutputSize for usize {
    fn sizes(&self) -> Vec<Option<usize>> {
        vec![Some(*self)]
    }
}
impl<const N: usize> OutputSize for [usize; N] {
    fn sizes(&self) -> Vec<Option<usize>> {
        self.iter().map(|n| Some(*n)).collect()
    }
}
impl<const N: usize> OutputSize for [Option<usize>; N] {
    fn sizes(&self) -> Vec<Option<usize>> {
        self.to_vec()
    }
}
impl OutputSize for [Option<usize>] {
    fn sizes(&self) -> Vec<Option<usize>> {
        self.to_vec()
    }
}
impl OutputSize for Vec<Option<usize>> {
    fn sizes(&self) -> Vec<Option<usize>> {
        self.clone()
    }
}
impl<T: OutputSize + ?Sized> OutputSize for &T {
    fn sizes(&self) -> Vec<Option<usize>> {
        (**self).sizes()
    }
}

/// The windows along one dimension: window `i` covers `starts[i]..starts[i] + counts[i]`.
struct Spans {
    starts: Vec<usize>,
    counts: Vec<usize>,
    size: usize,
}

impl Spans {
    fn new(size: usize, out: usize) -> Spans {
        let starts: Vec<usize> = (0..out).map(|i| i * size / out).collect();
        let counts = (0..out).map(|i| ((i + 1) * size).div_ceil(out) - starts[i]).collect();
        Spans { starts, counts, size }
    }
    fn longest(&self) -> usize {
        self.counts.iter().copied().max().unwrap_or(0)
    }
    fn is_even(&self) -> bool {
        !self.starts.is_empty() && self.size.is_multiple_of(self.starts.len())
    }
}

#[track_caller]
fn spans(op: &str, n: usize, x: &Tensor, size: &impl OutputSize) -> Vec<Spans> {
    check_rank(op, x, n);
    let sizes = size.sizes();
    assert!(
        sizes.len() == 1 || sizes.len() == n,
        "{op}: output size {sizes:?} should be one number or {n} of them"
    );
    (0..n)
        .map(|i| {
            let input = x.shape()[x.rank() - n + i];
            let want = sizes[if sizes.len() == 1 { 0 } else { i }].unwrap_or(input);
            assert!(input > 0 || want == 0, "{op}: input {:?} has no elements to pool", x.shape());
            Spans::new(input, want)
        })
        .collect()
}

/// Windows of one size side by side, if that is what the spans are.
fn even_windows(spans: &[Spans]) -> Option<Vec<Window>> {
    if !spans.iter().all(Spans::is_even) {
        return None;
    }
    let window = |s: &Spans| {
        let (out, kernel) = (s.starts.len(), s.size / s.starts.len());
        Window { kernel, stride: kernel, dilation: 1, padding: 0, size: s.size, out }
    };
    Some(spans.iter().map(window).collect())
}

/// `[lead.., size..]` to `[lead.., out.., longest window..]`; what a shorter window does not have is `fill`.
fn span_windows(x: &Tensor, spans: &[Spans], fill: f64) -> Tensor {
    let n = spans.len();
    if let Some(geometry) = even_windows(spans) {
        return windows(x, &geometry, 0.0);
    }
    let first = x.rank() - n;
    let mut t = x.clone();
    for (i, s) in spans.iter().enumerate() {
        let (axis, m, out) = (first + i, s.longest(), s.starts.len());
        let index: Vec<usize> = (0..out * m)
            .map(|j| (s.starts[j / m] + j % m).min(s.starts[j / m] + s.counts[j / m] - 1))
            .collect();
        let picked = index_along(&t, axis, &index);
        let mut shape = picked.0.shape.clone();
        shape[axis] = out;
        shape.insert(axis + 1, m);
        let mut order: Dims = (0..shape.len()).filter(|d| *d != axis + 1).collect();
        order.push(axis + 1);
        t = picked.reshape(&shape).permute(&order);
        if s.counts.iter().any(|c| *c < m) {
            let beyond: Vec<bool> = (0..out * m).map(|j| j % m >= s.counts[j / m]).collect();
            let mut mask_shape: Dims = Dims::from_elem(1, t.rank());
            mask_shape[axis] = out;
            *mask_shape.last_mut().expect("has dimensions") = m;
            let beyond = beside(x, || Tensor::from_slice(&beyond, &mask_shape));
            t = pick(&beyond, number(&t, fill), &t);
        }
    }
    t
}

#[track_caller]
fn adaptive_avg_pool(op: &str, n: usize, x: &Tensor, size: impl OutputSize) -> Tensor {
    let spans = spans(op, n, x, &size);
    let dtype = x.dtype().to_float();
    let x = widen(x);
    let even = even_windows(&spans);
    let divisor = Divisor::new(spans.iter().map(|s| s.counts.clone()).collect());
    if let Some(geometry) = even {
        return mean_of_windows(&x, &geometry, divisor).to_dtype(dtype);
    }
    let w = span_windows(&x, &spans, 0.0);
    let axes: Dims = (w.rank() - n..w.rank()).collect();
    divisor.divide(&w.sum(&axes)).to_dtype(dtype)
}

#[track_caller]
fn adaptive_max_pool(
    op: &str,
    n: usize,
    x: &Tensor,
    size: impl OutputSize,
    with_index: bool,
) -> (Tensor, Option<Tensor>) {
    let spans = spans(op, n, x, &size);
    if !with_index
        && let Some(geometry) = even_windows(&spans)
        && is_small(&geometry)
    {
        return (max_of_small(x, &geometry), None);
    }
    let w = span_windows(x, &spans, f64::NEG_INFINITY);
    let (value, best) = first_max(&w, n, with_index);
    if !with_index {
        return (value, None);
    }
    let mut rest = best.expect("asked for");
    let mut flat: Option<Tensor> = None;
    let mut scale = 1;
    for i in (0..n).rev() {
        let s = &spans[i];
        let quotient = int_div(&rest, s.longest().max(1));
        let k = &rest - &quotient * s.longest() as i64;
        rest = quotient;
        let starts: Vec<i64> = s.starts.iter().map(|n| *n as i64).collect();
        let mut shape = vec![1; n];
        shape[i] = starts.len();
        let starts = beside(x, || Tensor::from_slice(&starts, &shape[..]));
        let here = (k + starts) * scale as i64;
        scale *= s.size;
        flat = Some(match flat {
            Some(f) => f + here,
            None => here,
        });
    }
    (value, flat.map(|f| f.to_dtype(DType::I64)))
}

macro_rules! adaptive_pools {
    ($($n:literal $avg:ident $max:ident $with:ident $input:literal),*) => {$(
        #[doc = concat!("Means over windows that cut each spatial dimension into the given number of parts: `x: ", $input, "`, with or without N.")]
        #[doc = concat!("Counterpart: `torch.nn.functional.", stringify!($avg), "`.")]
        #[track_caller]
        pub fn $avg(x: &Tensor, size: impl OutputSize) -> Tensor {
            adaptive_avg_pool(stringify!($avg), $n, x, size)
        }

        #[doc = concat!("As [`", stringify!($avg), "`] with the largest element. Counterpart: `torch.nn.functional.", stringify!($max), "`.")]
        #[track_caller]
        pub fn $max(x: &Tensor, size: impl OutputSize) -> Tensor {
            adaptive_max_pool(stringify!($max), $n, x, size, false).0
        }

        #[doc = concat!("[`", stringify!($max), "`] and the row-major positions (i64) of the elements in the spatial dimensions.")]
        #[track_caller]
        pub fn $with(x: &Tensor, size: impl OutputSize) -> (Tensor, Tensor) {
            let (y, i) = adaptive_max_pool(stringify!($max), $n, x, size, true);
            (y, i.expect("asked for"))
        }
    )*};
}
adaptive_pools! {
    1 adaptive_avg_pool1d adaptive_max_pool1d adaptive_max_pool1d_with_indices "[N, C, L]",
    2 adaptive_avg_pool2d adaptive_max_pool2d adaptive_max_pool2d_with_indices "[N, C, H, W]",
    3 adaptive_avg_pool3d adaptive_max_pool3d adaptive_max_pool3d_with_indices "[N, C, D, H, W]"
}
