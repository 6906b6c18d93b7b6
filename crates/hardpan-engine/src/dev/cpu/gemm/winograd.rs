//! Transforms of Winograd's minimal filtering F(4x4, 3x3): vectors hold channels, each function takes a grid of them to another.
//!
//! A tile of 4x4 results of a 3x3 convolution reads 6x6 inputs. Seen as polynomials along each axis, input and kernel are evaluated
//! at five points and at infinity ([`Input`], [`Weight`]), multiplied there, 36 products in place of 144, and the results found from
//! the products ([`Output`]). The weights' gradient is the adjoint: [`Spread`] of the results' gradient, products with the
//! transformed inputs, then [`WeightGrad`].
//!
//! The points are 0, ±3/4, ±3/2: with them rounding errors are about half those of the usual 0, ±1, ±2, some four times those of
//! the plain sum. Source of the algorithm: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
//! <https://arxiv.org/abs/1509.09308>; of the choice of points: Barabasz et al., "Error Analysis and Improving the Accuracy of
//! Winograd Convolution for Deep Neural Networks", <https://arxiv.org/abs/1803.10986>.
use super::simd::Simd;
use std::ops::Range;

/// All rows or columns of a tile are there.
pub(crate) const WHOLE: [Range<usize>; 2] = [0..SIDE, 0..SIDE];

/// Results of a tile along each axis.
pub(crate) const TILE: usize = 4;
/// Inputs of a tile along each axis, which is also the number of points.
pub(crate) const SIDE: usize = 6;
/// Products of a tile.
pub(crate) const POINTS: usize = SIDE * SIDE;

/// The points 0, ±A, ±B and infinity.
const A: f32 = 0.75;
const B: f32 = 1.5;

/// A grid of runs of floats: run (y, x) starts at `start + y * step[0] + x * step[1]`.
#[derive(Clone, Copy)]
pub(crate) struct Grid<P> {
    pub start: P,
    pub step: [usize; 2],
}

impl<P> Grid<P> {
    pub fn new(start: P, step: [usize; 2]) -> Self {
        Self { start, step }
    }
}

/// What a transform reads and writes.
pub(crate) struct TransformArgs {
    /// Floats in each run; the last register may be partial only as far as there is memory: whole registers are read and written.
    pub channels: usize,
    pub from: Grid<*const f32>,
    /// Rows and columns that are there to read; the others are zeros, and `from` counts them nevertheless.
    pub there: [Range<usize>; 2],
    pub to: Grid<*mut f32>,
    /// Rows and columns of the result that are written.
    pub keep: [usize; 2],
}

pub(crate) type TransformFn = unsafe fn(&TransformArgs);

/// The transforms for one instruction set.
pub(crate) struct Transforms {
    /// 6x6 inputs to 36 points.
    pub input: TransformFn,
    /// 36 points to 4x4 results.
    pub output: TransformFn,
    /// 4x4 gradients of results to 36 points.
    pub spread: TransformFn,
    /// 3x3 weights to 36 points.
    pub weight: TransformFn,
    /// 36 points to 3x3 gradients of weights.
    pub weight_grad: TransformFn,
}

/// A transform along one axis, of `IN` vectors to `OUT`; every one is linear.
pub(crate) trait Side<const IN: usize, const OUT: usize> {
    /// # Safety
    /// As for [`Simd`].
    unsafe fn apply<S: Simd>(x: [S::V; IN]) -> [S::V; OUT];
}

/// Coefficients in memory, where they are broadcast from.
macro_rules! k {
    ($value:expr) => {{
        static VALUE: f32 = $value;
        S::splat(&VALUE)
    }};
}

/// Values of the inputs' polynomials.
pub(crate) struct Input;
/// From products to results.
pub(crate) struct Output;
/// The adjoint of [`Output`].
pub(crate) struct Spread;
/// Values of the kernel's polynomials, divided by what makes [`Output`] come out right.
pub(crate) struct Weight;
/// The adjoint of [`Weight`].
pub(crate) struct WeightGrad;

// SAFETY (all impls): the trait's contract is that of `Simd`; the pointers are to statics.
impl Side<6, 6> for Input {
    #[inline(always)]
    unsafe fn apply<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
        // SAFETY: see above.
        unsafe {
            // x (x^2 - A^2) (x^2 - B^2), without the factor that belongs to each point.
            let (sum, product) = (k!(-(A * A + B * B)), k!(A * A * B * B));
            let (even_a, odd_a) = (S::fma(k!(-B * B), d[2], d[4]), S::fma(k!(-B * B), d[1], d[3]));
            let (even_b, odd_b) = (S::fma(k!(-A * A), d[2], d[4]), S::fma(k!(-A * A), d[1], d[3]));
            [
                S::fma(product, d[0], S::fma(sum, d[2], d[4])),
                S::fma(k!(A), odd_a, even_a),
                S::fma(k!(-A), odd_a, even_a),
                S::fma(k!(B), odd_b, even_b),
                S::fma(k!(-B), odd_b, even_b),
                S::fma(product, d[1], S::fma(sum, d[3], d[5])),
            ]
        }
    }
}

impl Side<6, 4> for Output {
    #[inline(always)]
    unsafe fn apply<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
        // SAFETY: see above.
        unsafe {
            let (even_a, odd_a) = (S::add(m[1], m[2]), S::fma(k!(-1.0), m[2], m[1]));
            let (even_b, odd_b) = (S::add(m[3], m[4]), S::fma(k!(-1.0), m[4], m[3]));
            let zero = S::zero();
            [
                S::add(S::add(even_a, even_b), m[0]),
                S::fma(k!(B), odd_b, S::fma(k!(A), odd_a, zero)),
                S::fma(k!(B * B), even_b, S::fma(k!(A * A), even_a, zero)),
                S::fma(k!(B * B * B), odd_b, S::fma(k!(A * A * A), odd_a, m[5])),
            ]
        }
    }
}

impl Side<4, 6> for Spread {
    #[inline(always)]
    unsafe fn apply<S: Simd>(g: [S::V; 4]) -> [S::V; 6] {
        // SAFETY: see above.
        unsafe {
            let (even_a, odd_a) = (S::fma(k!(A * A), g[2], g[0]), S::fma(k!(A * A), g[3], g[1]));
            let (even_b, odd_b) = (S::fma(k!(B * B), g[2], g[0]), S::fma(k!(B * B), g[3], g[1]));
            [
                g[0],
                S::fma(k!(A), odd_a, even_a),
                S::fma(k!(-A), odd_a, even_a),
                S::fma(k!(B), odd_b, even_b),
                S::fma(k!(-B), odd_b, even_b),
                g[3],
            ]
        }
    }
}

/// Products of the differences of each point from the others: 0, A and -A, B and -B.
const AT_ZERO: f32 = A * A * B * B;
const AT_A: f32 = 2.0 * A * A * (A * A - B * B);
const AT_B: f32 = 2.0 * B * B * (B * B - A * A);

impl Side<3, 6> for Weight {
    #[inline(always)]
    unsafe fn apply<S: Simd>(w: [S::V; 3]) -> [S::V; 6] {
        // SAFETY: see above.
        unsafe {
            let zero = S::zero();
            let even_a = S::fma(k!(A * A / AT_A), w[2], S::fma(k!(1.0 / AT_A), w[0], zero));
            let even_b = S::fma(k!(B * B / AT_B), w[2], S::fma(k!(1.0 / AT_B), w[0], zero));
            [
                S::fma(k!(1.0 / AT_ZERO), w[0], zero),
                S::fma(k!(A / AT_A), w[1], even_a),
                S::fma(k!(-A / AT_A), w[1], even_a),
                S::fma(k!(B / AT_B), w[1], even_b),
                S::fma(k!(-B / AT_B), w[1], even_b),
                w[2],
            ]
        }
    }
}

impl Side<6, 3> for WeightGrad {
    #[inline(always)]
    unsafe fn apply<S: Simd>(u: [S::V; 6]) -> [S::V; 3] {
        // SAFETY: see above.
        unsafe {
            let (even_a, odd_a) = (S::add(u[1], u[2]), S::fma(k!(-1.0), u[2], u[1]));
            let (even_b, odd_b) = (S::add(u[3], u[4]), S::fma(k!(-1.0), u[4], u[3]));
            let zero = S::zero();
            let first = S::fma(k!(1.0 / AT_ZERO), u[0], zero);
            [
                S::fma(k!(1.0 / AT_B), even_b, S::fma(k!(1.0 / AT_A), even_a, first)),
                S::fma(k!(B / AT_B), odd_b, S::fma(k!(A / AT_A), odd_a, zero)),
                S::fma(k!(B * B / AT_B), even_b, S::fma(k!(A * A / AT_A), even_a, u[5])),
            ]
        }
    }
}

/// Applies `T` along columns, then along rows.
///
/// # Safety
/// The instruction set of `S` is present, the caller is compiled for it, and the grids cover the runs that are `there` and
/// that are kept, of `channels` floats rounded up to whole registers; they do not overlap.
#[inline(always)]
pub(super) unsafe fn transform<S: Simd, T: Side<IN, OUT>, const IN: usize, const OUT: usize>(
    t: &TransformArgs,
) {
    let (from, to) = (t.from, t.to);
    let (rows, columns) = (t.keep[0].min(OUT), t.keep[1].min(OUT));
    for channel in (0..t.channels).step_by(S::LANES) {
        // SAFETY: the contract above.
        unsafe {
            let mut half = [[S::zero(); IN]; OUT];
            for x in t.there[1].start..t.there[1].end.min(IN) {
                let column = from.start.wrapping_add(x * from.step[1] + channel);
                let column = std::array::from_fn(|y| match t.there[0].contains(&y) {
                    true => S::load(column.wrapping_add(y * from.step[0])),
                    false => S::zero(),
                });
                let column: [S::V; OUT] = T::apply::<S>(column);
                for (row, value) in half.iter_mut().zip(column) {
                    row[x] = value;
                }
            }
            for (y, row) in half.into_iter().enumerate().take(rows) {
                let to = to.start.add(y * to.step[0] + channel);
                let row = T::apply::<S>(row);
                for (x, value) in row.into_iter().enumerate().take(columns) {
                    S::store(to.add(x * t.to.step[1]), value);
                }
            }
        }
    }
}
