//! Pooling over small windows without reductions.
//!
//! A window of a few elements is no row to fold: it is as many strided views of the input, combined element by element, so
//! that kernels run along the image's rows. The gradient goes the other way: each input element adds up what the few windows
//! over it send back, all in one expression.

use super::spatial::{Window, surround, windows};
use super::{DType, Tensor, beside, number, pick};
use crate::op::{WindowOp, WindowParams};
use crate::shape::Dims;
use smallvec::SmallVec;
use std::panic::Location;

/// Windows of more elements are folded instead.
const LIMIT: usize = 16;

/// True when the functions of this file serve these windows.
pub(super) fn is_small(geometry: &[Window]) -> bool {
    let size: usize = geometry.iter().map(|w| w.kernel).product();
    size <= LIMIT && geometry.iter().all(|w| w.dilation == 1 && w.out > 0)
}

/// The elements of all windows by their place in it: row-major, each `[lead.., out..]`.
fn places(x: &Tensor, geometry: &[Window], fill: f64) -> Vec<Tensor> {
    let at = Location::caller();
    let w = windows(x, geometry, fill);
    let n = geometry.len();
    let first = w.rank() - n;
    let count: usize = geometry.iter().map(|g| g.kernel).product();
    (0..count)
        .map(|place| {
            let mut region: SmallVec<[(usize, isize); 6]> = SmallVec::from_elem((0, 1), w.rank());
            let mut shape = w.0.shape.clone();
            let mut rest = place;
            for d in (0..n).rev() {
                region[first + d].0 = rest % geometry[d].kernel;
                shape[first + d] = 1;
                rest /= geometry[d].kernel;
            }
            w.prim_slice(&region, &shape, at).prim_reshape(&w.shape()[..first], at)
        })
        .collect()
}

/// The largest element of each window; the gradient goes to the first largest.
pub(super) fn max_of_small(x: &Tensor, geometry: &[Window]) -> Tensor {
    if let Some(params) = params_of(geometry)
        && !crate::graph::is_in_parts()
    {
        return max_by_kernel(x, &params, geometry);
    }
    let parts = places(&x.detach(), geometry, f64::NEG_INFINITY);
    let value = parts[1..].iter().fold(parts[0].clone(), |top, p| top.maximum(p));
    if !x.is_requires_grad() {
        return value;
    }
    let place = |k: usize| beside(x, || Tensor::full_dtype([0usize; 0], k as i64, DType::U8));
    // From the last to the first, so that the first of equal ones stays. NaN equals nothing and counts as the first.
    let mut best = pick(&parts[0].eq(&value), place(0), &place(0));
    for (k, part) in parts.iter().enumerate().rev() {
        best = pick(&part.eq(&value), place(k), &best);
    }
    let geometry = geometry.to_vec();
    value.with_gradient(&[x], move |_, g| vec![Some(send_back(g, Some(&best), &geometry))])
}

/// Windows over one or two dimensions as the kernel for them takes them; of one dimension as images of one row.
fn params_of(geometry: &[Window]) -> Option<WindowParams> {
    let of = |f: &dyn Fn(&Window) -> usize, fill: usize| match geometry {
        [x] => Some([fill, f(x)]),
        [y, x] => Some([f(y), f(x)]),
        _ => None,
    };
    Some(WindowParams {
        size: of(&|w| w.size, 1)?,
        out: of(&|w| w.out, 1)?,
        kernel: of(&|w| w.kernel, 1)?,
        stride: of(&|w| w.stride, 1)?,
        padding: of(&|w| w.padding, 0)?,
    })
}

/// [`max_of_small`] by the kernel for windows.
fn max_by_kernel(x: &Tensor, params: &WindowParams, geometry: &[Window]) -> Tensor {
    let at = Location::caller();
    let lead = x.rank() - geometry.len();
    let shaped = move |t: &Tensor, dims: &[usize]| {
        let mut shape = Dims::from_slice(&t.shape()[..lead]);
        shape.extend_from_slice(dims);
        t.prim_reshape(&shape, at)
    };
    let plain = x.detach();
    let images = shaped(&plain, &params.size);
    let out: Dims = geometry.iter().map(|w| w.out).collect();
    if !x.is_requires_grad() {
        return shaped(&images.prim_window(WindowOp::Max, params, at), &out);
    }
    // The gradient will ask where they were, and to look there is less work than to search twice.
    let place = images.prim_window(WindowOp::Place, params, at);
    let value = shaped(&images.prim_window_take(&place, params, at), &out);
    let (params, geometry) = (*params, geometry.to_vec());
    let size: Dims = geometry.iter().map(|w| w.size).collect();
    value.with_gradient(&[x], move |_, g| {
        let windows = shaped(&g.detach(), &params.out);
        let back = shaped(&windows.prim_window_back(&place, &params, at), &size);
        // Linear in `g`: its own gradient is what lies at the places.
        let (place, geometry) = (shaped(&place, &out), geometry.clone());
        vec![Some(back.with_gradient(&[g], move |_, gg| {
            let zero = number(gg, 0.0);
            let parts = places(gg, &geometry, 0.0);
            let at_place = |(k, part): (usize, &Tensor)| {
                let k = beside(gg, || Tensor::full_dtype([0usize; 0], k as i64, DType::U8));
                pick(&place.eq(&k), part, &zero)
            };
            parts
                .iter()
                .enumerate()
                .map(at_place)
                .reduce(|a, b| a + b)
                .into_iter()
                .map(Some)
                .collect()
        }))]
    })
}

/// The sum of each window, through `scale` (which must be linear and elementwise).
pub(super) fn sum_of_small(
    x: &Tensor,
    geometry: &[Window],
    scale: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static,
) -> Tensor {
    let parts = places(&x.detach(), geometry, 0.0);
    let total = parts[1..].iter().fold(parts[0].clone(), |sum, p| sum + p);
    let value = scale(&total);
    if !x.is_requires_grad() {
        return value;
    }
    let geometry = geometry.to_vec();
    value.with_gradient(&[x], move |_, g| vec![Some(send_back(&scale(g), None, &geometry))])
}

/// `g: [lead.., out..]` added into the input's elements, `[lead.., size..]`: for each window into the element at place `best`, or
/// into all.
///
/// Padded input position `P = q * stride + r` lies in the windows `q - j` at place `r + stride * j`, for all j that leave this
/// below the kernel's size. The remainders r of the last dimension are separate kernels that write every stride-th element; the
/// others are axes of their own.
fn send_back(g: &Tensor, best: Option<&Tensor>, geometry: &[Window]) -> Tensor {
    let at = Location::caller();
    let n = geometry.len();
    let lead = g.rank() - n;
    let overlaps: SmallVec<[usize; 3]> =
        geometry.iter().map(|w| w.kernel.div_ceil(w.stride)).collect();
    let combinations: usize = overlaps.iter().product();
    let last = geometry[n - 1];
    // [lead.., q0, r0, q1, r1, .., q]
    let mut full = Dims::from_slice(&g.shape()[..lead]);
    for (w, j) in geometry.iter().zip(&overlaps) {
        full.extend([w.out + j - 1, w.stride]);
    }
    full.pop();
    let spread = |t: &Tensor, j: &[usize]| {
        let mut pads: SmallVec<[(usize, usize); 6]> = SmallVec::from_elem((0, 0), g.rank());
        let mut shape = Dims::from_slice(&g.shape()[..lead]);
        for d in 0..n {
            pads[lead + d] = (j[d], overlaps[d] - 1 - j[d]);
            shape.extend([geometry[d].out + overlaps[d] - 1, 1]);
        }
        shape.pop();
        t.prim_pad(&pads, at).prim_reshape(&shape, at)
    };
    let mut pieces = Vec::with_capacity(last.stride);
    for r in 0..last.stride {
        let mut total: Option<Tensor> = None;
        for combination in 0..combinations {
            let mut j: SmallVec<[usize; 3]> = SmallVec::from_elem(0, n);
            let mut rest = combination;
            for d in (0..n).rev() {
                j[d] = rest % overlaps[d];
                rest /= overlaps[d];
            }
            let in_last = r + last.stride * j[n - 1];
            if in_last >= last.kernel {
                continue;
            }
            let term = spread(g, &j);
            let (place, inside, all) = remainders(geometry, &j, in_last);
            let zero = number(g, 0.0);
            let term = match best {
                Some(b) => {
                    let place = beside(g, || Tensor::from_slice(&place.0, &place.1));
                    pick(&spread(b, &j).eq(&place), &term, &zero)
                }
                None if all => term,
                None => {
                    let inside = beside(g, || Tensor::from_slice(&inside, &place.1));
                    pick(&inside, &term, &zero)
                }
            };
            total = Some(match total {
                Some(t) => t + term,
                None => term,
            });
        }
        let piece = match total {
            Some(t) => t.broadcast_at(&full, at),
            None => beside(g, || Tensor::zeros_dtype(&full, g.dtype())),
        };
        pieces.push(piece.unsqueeze(-1));
    }
    let joined = Tensor::cat(&pieces, -1);
    let mut shape = Dims::from_slice(&g.shape()[..lead]);
    let mut cut: SmallVec<[(isize, isize); 6]> = SmallVec::from_elem((0, 0), lead);
    for (w, j) in geometry.iter().zip(&overlaps) {
        let covered = (w.out + j - 1) * w.stride;
        shape.push(covered);
        cut.push((-(w.padding as isize), (w.size + w.padding) as isize - covered as isize));
    }
    surround(&joined.prim_reshape(&shape, at), &cut, 0.0)
}

/// For each combination of remainders (of all dimensions but the last) the row-major place in the window with its shape for
/// broadcasting, whether that is in the window, and whether all are.
#[allow(clippy::type_complexity)]
fn remainders(
    geometry: &[Window],
    j: &[usize],
    in_last: usize,
) -> ((Vec<u8>, Dims), Vec<bool>, bool) {
    let n = geometry.len();
    let (mut place, mut inside) = (vec![0usize], vec![true]);
    let mut shape = Dims::new();
    for d in 0..n - 1 {
        let w = geometry[d];
        let at = |r: usize| r + w.stride * j[d];
        place =
            place.iter().flat_map(|p| (0..w.stride).map(move |r| p * w.kernel + at(r))).collect();
        inside = inside
            .iter()
            .flat_map(|ok| (0..w.stride).map(move |r| *ok && at(r) < w.kernel))
            .collect();
        shape.extend([1, w.stride]);
    }
    // A place outside the window must match none.
    let numbers = place
        .iter()
        .zip(&inside)
        .map(|(p, ok)| if *ok { (p * geometry[n - 1].kernel + in_last) as u8 } else { u8::MAX })
        .collect();
    shape.push(1);
    let all = inside.iter().all(|ok| *ok);
    ((numbers, shape), inside, all)
}
