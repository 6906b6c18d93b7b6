//! Convolutions of a single tap: each image is a matrix product `[out, in] @ [in, points]`, read and written in place.
use super::{ConvDone, ConvShape, ConvTile};
use crate::dev::cpu::gemm::{Batch, Element, GemmShape, Operand, Tile, gemm};
use crate::dev::cpu::pool::SharedMut;

/// With fewer points, vectors along channels do better.
const POINTS_MIN: usize = 128;

/// Whether the result of `to` channels from `from` channels is such a product, with enough points to fill vectors. The product
/// packs what it reads, the general kernel transposes what it writes: the smaller of the two decides.
fn fits(shape: &ConvShape, from: usize, to: usize) -> bool {
    let points = shape.out_dims.iter().product::<usize>();
    shape.kernel == [1; 3]
        && shape.stride == [1; 3]
        && shape.padding_lo == [0; 3]
        && shape.in_dims == shape.out_dims
        && points >= POINTS_MIN
        && from <= to
        && to > 1
}

/// Whether [`forward`] is the way to compute the convolution.
pub(super) fn forward_fits(shape: &ConvShape) -> bool {
    fits(shape, shape.in_group(), shape.out_group())
}

/// Whether [`input_grad`] is the way to compute the input gradient.
pub(super) fn input_grad_fits(shape: &ConvShape) -> bool {
    fits(shape, shape.out_group(), shape.in_group())
}

/// `y[n, o, p] = sum over c of w[o, c] * x[n, c, p]`.
pub(super) fn forward<T: Element>(
    shape: &ConvShape,
    x: &[T],
    w: &[T],
    y: SharedMut<'_, f32>,
    done: Option<ConvDone<'_>>,
) {
    let (rows, depth) = (shape.out_group(), shape.in_group());
    product(shape, rows, depth, (depth, 1), w, x, y, done);
}

/// `dx[n, c, p] = sum over o of w[o, c] * g[n, o, p]`.
pub(super) fn input_grad<T: Element>(
    shape: &ConvShape,
    g: &[T],
    w: &[T],
    dx: SharedMut<'_, f32>,
    done: Option<ConvDone<'_>>,
) {
    let (rows, depth) = (shape.in_group(), shape.out_group());
    product(shape, rows, depth, (1, rows), w, g, dx, done);
}

/// For each image and group, `[rows, depth] @ [depth, points]`, with the strides of `w` given.
fn product<T: Element>(
    shape: &ConvShape,
    rows: usize,
    depth: usize,
    strides: (usize, usize),
    w: &[T],
    from: &[T],
    to: SharedMut<'_, f32>,
    done: Option<ConvDone<'_>>,
) {
    let points = shape.in_dims.iter().product::<usize>();
    let groups = shape.groups;
    let product = GemmShape { batch: shape.batch * groups, m: rows, n: points, k: depth };
    let starts: Vec<usize> = (0..product.batch).map(|at| at % groups * rows * depth).collect();
    let a = Operand {
        data: w,
        base: 0,
        batch: if groups == 1 { Batch::Stride(0) } else { Batch::Offsets(&starts) },
        row_stride: strides.0,
        col_stride: strides.1,
    };
    let b = Operand::row_major(from, depth, points);
    let hook = |tile: Tile| {
        if let Some(done) = done {
            done(ConvTile {
                image0: tile.batch / groups,
                images: 1,
                channel0: tile.batch % groups * rows + tile.row0,
                channels: tile.rows,
                pixel0: tile.col0,
                pixels: tile.cols,
            });
        }
    };
    gemm(product, a, b, to, false, if done.is_some() { Some(&hook) } else { None });
}
