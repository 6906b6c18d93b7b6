//! Images resized: nearest, linear, cubic, by area, with or without smoothing.
//!
//! Every mode works one dimension at a time: a result element is a weighted sum of a few source elements ("taps") whose places
//! and weights are found on the host.

use super::spatial::index_along;
use super::{Tensor, adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, beside, widen};
use crate::shape::Dims;
use std::panic::Location;

/// How [`interpolate`] finds a value between the given ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum InterpolateMode {
    /// The source element below (PyTorch's "nearest").
    #[default]
    Nearest,
    /// The source element whose centre is nearest ("nearest-exact").
    NearestExact,
    /// Linear, bilinear or trilinear by the number of dimensions.
    Linear,
    /// Cubic convolution with a = -3/4 (images only).
    Bicubic,
    /// Means over areas ([`super::adaptive_avg_pool2d`]).
    Area,
}

impl InterpolateMode {
    /// From PyTorch's name.
    pub fn from_name(name: &str) -> Option<InterpolateMode> {
        Some(match name {
            "nearest" => InterpolateMode::Nearest,
            "nearest-exact" => InterpolateMode::NearestExact,
            "linear" | "bilinear" | "trilinear" => InterpolateMode::Linear,
            "bicubic" => InterpolateMode::Bicubic,
            "area" => InterpolateMode::Area,
            _ => return None,
        })
    }
}

/// Options of [`interpolate`]: give `size` or `scale_factor`.
#[derive(Clone, Debug, Default)]
pub struct InterpolateOptions {
    /// Sizes of the result: one for all spatial dimensions or one each.
    pub size: Option<Vec<usize>>,
    /// Factors: one for all spatial dimensions or one each. The result's sizes are rounded down.
    pub scale_factor: Option<Vec<f64>>,
    /// Default: nearest.
    pub mode: InterpolateMode,
    /// Corner elements keep their places (linear and cubic). Default false.
    pub align_corners: bool,
    /// Find the factor anew from the sizes. Default false.
    pub recompute_scale_factor: bool,
    /// Widen the filter when shrinking (linear and cubic, images). Default false.
    pub antialias: bool,
}

/// `x: [N, C, L]`, `[N, C, H, W]` or `[N, C, D, H, W]` resized. Counterpart: `torch.nn.functional.interpolate`.
///
/// # Panics
/// When not exactly one of size and factor is given, their number does not fit, or the mode does not fit the dimensions.
#[track_caller]
pub fn interpolate(x: &Tensor, options: InterpolateOptions) -> Tensor {
    let o = options;
    assert!(
        (3..=5).contains(&x.rank()),
        "interpolate: expected [N, C, L], [N, C, H, W] or [N, C, D, H, W], got shape {:?}",
        x.shape()
    );
    assert!(
        o.size.is_some() != o.scale_factor.is_some(),
        "interpolate: give either size or scale_factor"
    );
    let n = x.rank() - 2;
    let given = o.size.as_ref().map_or_else(|| o.scale_factor.as_ref().unwrap().len(), |s| s.len());
    assert!(given == 1 || given == n, "interpolate: {given} sizes or factors for {n} dimensions");
    assert!(
        o.mode != InterpolateMode::Bicubic || n == 2,
        "interpolate: bicubic needs [N, C, H, W], got shape {:?}",
        x.shape()
    );
    let place = |i: usize| if given == 1 { 0 } else { i };
    let input = &x.shape()[2..];
    let out: Vec<usize> = (0..n)
        .map(|i| match (&o.size, &o.scale_factor) {
            (Some(s), _) => s[place(i)],
            (_, Some(f)) => (input[i] as f64 * f[place(i)]).floor() as usize,
            _ => unreachable!("one of them is given"),
        })
        .collect();
    assert!(
        out.iter().chain(input).all(|s| *s > 0),
        "interpolate: sizes must be at least 1, got {input:?} to {out:?}"
    );
    let factors: Vec<Option<f64>> = (0..n)
        .map(|i| match &o.scale_factor {
            Some(f) if !o.recompute_scale_factor => Some(f[place(i)]),
            _ => None,
        })
        .collect();
    match o.mode {
        InterpolateMode::Area => match n {
            1 => adaptive_avg_pool1d(x, out[0]),
            2 => adaptive_avg_pool2d(x, [out[0], out[1]]),
            _ => adaptive_avg_pool3d(x, [out[0], out[1], out[2]]),
        },
        InterpolateMode::Nearest | InterpolateMode::NearestExact => {
            let mut t = x.clone();
            for i in 0..n {
                let exact = o.mode == InterpolateMode::NearestExact;
                t = pick_nearest(&t, i + 2, &nearest(input[i], out[i], factors[i], exact, n));
            }
            t
        }
        InterpolateMode::Linear | InterpolateMode::Bicubic => {
            let cubic = o.mode == InterpolateMode::Bicubic;
            let mut t = widen(x);
            for i in 0..n {
                if input[i] == out[i] && !cubic && !o.antialias {
                    // PyTorch leaves it alone, though a factor such as 1.1 would move it.
                    continue;
                }
                let taps = if o.antialias {
                    smooth_taps(input[i], out[i], factors[i], o.align_corners, cubic)
                } else {
                    taps(input[i], out[i], factors[i], o.align_corners, cubic)
                };
                t = resample(&t, i + 2, &taps);
            }
            t.to_dtype(x.dtype().to_float())
        }
    }
}

/// [`interpolate`] with the nearest element. Counterpart: `torch.nn.functional.upsample_nearest`.
#[track_caller]
pub fn upsample_nearest(
    x: &Tensor,
    size: Option<Vec<usize>>,
    scale_factor: Option<Vec<f64>>,
) -> Tensor {
    interpolate(x, InterpolateOptions { size, scale_factor, ..Default::default() })
}

/// [`interpolate`] bilinearly with aligned corners. Counterpart: `torch.nn.functional.upsample_bilinear`.
#[track_caller]
pub fn upsample_bilinear(
    x: &Tensor,
    size: Option<Vec<usize>>,
    scale_factor: Option<Vec<f64>>,
) -> Tensor {
    interpolate(
        x,
        InterpolateOptions {
            size,
            scale_factor,
            mode: InterpolateMode::Linear,
            align_corners: true,
            ..Default::default()
        },
    )
}

/// Source places by PyTorch's rule, in its single precision. With two of `dims` it leaves equal and doubled sizes to
/// themselves, whatever the factor was; with one or three the factor decides there too.
fn nearest(size: usize, out: usize, factor: Option<f64>, exact: bool, dims: usize) -> Vec<usize> {
    let scale = match factor {
        Some(f) if f > 0.0 => (1.0 / f) as f32,
        _ => size as f32 / out as f32,
    };
    (0..out)
        .map(|i| {
            let at = if exact { (i as f32 + 0.5) * scale } else { i as f32 * scale };
            match !exact && dims == 2 {
                true if size == out => i,
                true if out == 2 * size => i / 2,
                _ => (at.floor() as usize).min(size - 1),
            }
        })
        .collect()
}

/// Elements at `index`; whole multiples repeat each element as a view.
fn pick_nearest(x: &Tensor, axis: usize, index: &[usize]) -> Tensor {
    let at = Location::caller();
    let (size, out) = (x.shape()[axis], index.len());
    let times = out / size;
    if times > 0 && out == times * size && (0..out).all(|i| index[i] == i / times) {
        if times == 1 {
            return x.clone();
        }
        let mut shape = x.0.shape.clone();
        shape.insert(axis + 1, 1);
        let open = x.prim_reshape(&shape, at);
        shape[axis + 1] = times;
        let open = open.prim_expand(&shape, at);
        shape.remove(axis + 1);
        shape[axis] = out;
        return open.prim_reshape(&shape, at);
    }
    index_along(x, axis, index)
}

/// For each tap: a source place and a weight for every result element.
struct Taps {
    index: Vec<Vec<usize>>,
    weight: Vec<Vec<f64>>,
}

/// Distance of result elements in the source.
fn source_step(size: usize, out: usize, factor: Option<f64>, align_corners: bool) -> f64 {
    if align_corners {
        if out > 1 { (size - 1) as f64 / (out - 1) as f64 } else { 0.0 }
    } else {
        match factor {
            Some(f) if f > 0.0 => 1.0 / f,
            _ => size as f64 / out as f64,
        }
    }
}

/// Weights of cubic convolution (Keys 1981) for a distance `t` in 0..=1 from the second of four elements.
pub(super) const CUBIC: f64 = -0.75;

fn cubic_weight(d: f64, a: f64) -> f64 {
    let d = d.abs();
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}

fn taps(size: usize, out: usize, factor: Option<f64>, align_corners: bool, cubic: bool) -> Taps {
    let step = source_step(size, out, factor, align_corners);
    let count = if cubic { 4 } else { 2 };
    let mut t = Taps { index: vec![Vec::new(); count], weight: vec![Vec::new(); count] };
    for i in 0..out {
        let mut at = if align_corners { i as f64 * step } else { (i as f64 + 0.5) * step - 0.5 };
        if !cubic {
            at = at.max(0.0);
        }
        let base = at.floor();
        let rest = at - base;
        for k in 0..count {
            let offset = k as isize - cubic as isize;
            let place = (base as isize + offset).clamp(0, size as isize - 1) as usize;
            t.index[k].push(place);
            t.weight[k].push(if cubic {
                cubic_weight(rest - offset as f64, CUBIC)
            } else if k == 0 {
                1.0 - rest
            } else {
                rest
            });
        }
    }
    t
}

/// Taps of a filter as wide as the shrinking asks for, as Pillow does it.
fn smooth_taps(
    size: usize,
    out: usize,
    factor: Option<f64>,
    align_corners: bool,
    cubic: bool,
) -> Taps {
    let step = source_step(size, out, factor, align_corners);
    let radius = if cubic { 2.0 } else { 1.0 };
    let widening = step.max(1.0);
    let support = radius * widening;
    let rows: Vec<(usize, Vec<f64>)> = (0..out)
        .map(|i| {
            let centre = step * (i as f64 + 0.5);
            let first = ((centre - support + 0.5) as isize).max(0) as usize;
            let end = ((centre + support + 0.5) as usize).min(size);
            let mut weights: Vec<f64> = (first..end)
                .map(|j| {
                    let d = (j as f64 - centre + 0.5) / widening;
                    if cubic { cubic_weight(d, -0.5) } else { (1.0 - d.abs()).max(0.0) }
                })
                .collect();
            let total: f64 = weights.iter().sum();
            if total != 0.0 {
                weights.iter_mut().for_each(|w| *w /= total);
            }
            (first, weights)
        })
        .collect();
    let count = rows.iter().map(|r| r.1.len()).max().unwrap_or(1).max(1);
    let mut t = Taps { index: vec![Vec::new(); count], weight: vec![Vec::new(); count] };
    for (first, weights) in rows {
        for k in 0..count {
            t.index[k].push((first + k).min(size - 1));
            t.weight[k].push(weights.get(k).copied().unwrap_or(0.0));
        }
    }
    t
}

/// The weighted sum of the taps along an axis.
fn resample(x: &Tensor, axis: usize, taps: &Taps) -> Tensor {
    let out = taps.index[0].len();
    if x.shape()[axis] == out
        && taps.index[0].iter().enumerate().all(|(i, j)| i == *j)
        && taps.weight[0].iter().all(|w| *w == 1.0)
    {
        return x.clone();
    }
    let count = taps.index.len();
    let index: Vec<usize> = taps.index.concat();
    let weights: Vec<f64> = taps.weight.concat();
    let picked = index_along(x, axis, &index);
    let mut shape = Dims::from_slice(x.shape());
    shape[axis] = count;
    shape.insert(axis + 1, out);
    let mut weight_shape: Dims = Dims::from_elem(1, shape.len());
    weight_shape[axis] = count;
    weight_shape[axis + 1] = out;
    let weights = beside(x, || Tensor::from_slice(&weights, &weight_shape)).to_dtype(x.dtype());
    (picked.reshape(&shape) * weights).sum(axis)
}
