//! Microkernels of depthwise convolutions: vectors hold channels, and each tap is one product with a whole register.
use super::simd::Simd;

/// Points of as many images as there are lanes, each with its own kernel: `to[p] = sum over taps of from[p, tap] * w[tap]`,
/// where everything is a whole register.
pub(crate) struct PointTapArgs<'a> {
    /// Points computed.
    pub points: usize,
    /// Tap `(offset, _)` of point p reads at `from + p * from_step + offset`.
    pub from: *const f32,
    /// See `from`.
    pub from_step: usize,
    /// See `from` and `w`.
    pub taps: &'a [(isize, usize)],
    /// The weights of tap `(_, at)` are at `w + at`.
    pub w: *const f32,
    /// Point p is written at `to + p * to_step`.
    pub to: *mut f32,
    /// See `to`.
    pub to_step: usize,
}

/// The gradient of such weights: `sums[tap] += sum over rows and points of x[row, p, tap] * g[row, p]`.
pub(crate) struct PointGradArgs<'a> {
    /// Rows of points.
    pub rows: usize,
    /// Points of each row.
    pub points: usize,
    /// Tap `(offset, _)` of point p of row r reads at `x + r * x_row + p * x_step + offset`.
    pub x: *const f32,
    /// See `x`.
    pub x_row: usize,
    /// See `x`.
    pub x_step: usize,
    /// Point p of row r is at `g + r * g_row + p * LANES`.
    pub g: *const f32,
    /// See `g`.
    pub g_row: usize,
    /// See `x` and `sums`.
    pub taps: &'a [(isize, usize)],
    /// The sums of tap `(_, at)` are at `sums + at`.
    pub sums: *mut f32,
}

/// The most taps of a [`PointGradFn`].
pub(crate) const GRAD_TAPS_MAX: usize = 10;

pub(crate) type PointTapFn = unsafe fn(&PointTapArgs);
pub(crate) type PointGradFn = unsafe fn(&PointGradArgs);
/// # Safety
/// The instruction set of `S` is present, the caller is compiled for it, and the pointers cover what the arguments say: [`PointTapArgs`].
#[inline(always)]
pub(super) unsafe fn point_taps<S: Simd>(t: &PointTapArgs) {
    let mut point = 0;
    // SAFETY: the contract above.
    unsafe {
        while point + 8 <= t.points {
            some_points::<S, 8>(t, point);
            point += 8;
        }
        match t.points - point {
            1 => some_points::<S, 1>(t, point),
            2 => some_points::<S, 2>(t, point),
            3 => some_points::<S, 3>(t, point),
            4 => some_points::<S, 4>(t, point),
            5 => some_points::<S, 5>(t, point),
            6 => some_points::<S, 6>(t, point),
            7 => some_points::<S, 7>(t, point),
            _ => {}
        }
    }
}

/// # Safety
/// As for `point_taps`; `P` points exist from `point`.
#[inline(always)]
unsafe fn some_points<S: Simd, const P: usize>(t: &PointTapArgs, point: usize) {
    // SAFETY: the contract above.
    unsafe {
        let mut acc = [S::zero(); P];
        let from = t.from.wrapping_add(point * t.from_step);
        for (offset, at) in t.taps {
            let w = S::load(t.w.add(*at));
            let from = from.wrapping_offset(*offset);
            for (p, sum) in acc.iter_mut().enumerate() {
                *sum = S::fma(S::load(from.wrapping_add(p * t.from_step)), w, *sum);
            }
        }
        for (p, sum) in acc.iter().enumerate() {
            S::store(t.to.add((point + p) * t.to_step), *sum);
        }
    }
}

/// # Safety
/// As for `point_taps`, with [`PointGradArgs`] of `T` taps.
#[inline(always)]
pub(super) unsafe fn point_grad<S: Simd, const T: usize>(t: &PointGradArgs) {
    debug_assert_eq!(t.taps.len(), T);
    // SAFETY: the contract above.
    unsafe {
        let mut acc: [S::V; T] = std::array::from_fn(|tap| S::load(t.sums.add(t.taps[tap].1)));
        let offsets: [isize; T] = std::array::from_fn(|tap| t.taps[tap].0);
        for row in 0..t.rows {
            let mut x = t.x.wrapping_add(row * t.x_row);
            let mut g = t.g.wrapping_add(row * t.g_row);
            for _ in 0..t.points {
                let lanes = S::load(g);
                for (sum, offset) in acc.iter_mut().zip(offsets) {
                    *sum = S::fma(S::load(x.wrapping_offset(offset)), lanes, *sum);
                }
                x = x.wrapping_add(t.x_step);
                g = g.wrapping_add(S::LANES);
            }
        }
        for (tap, sum) in acc.iter().enumerate() {
            S::store(t.sums.add(t.taps[tap].1), *sum);
        }
    }
}
