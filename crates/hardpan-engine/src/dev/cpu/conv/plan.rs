//! Forward and input gradient as one computation.
//!
//! Along each axis, output point `p` of the forward pass reads the inputs `p * stride + e`, one for
//! each tap, with `e = k * dilation - padding`.
//!
//! The input gradient at point `i` sums the taps `k` for which `i + padding - k * dilation` is a
//! multiple of the stride, and reads the output gradient there. Points of equal `i % stride` use the
//! same taps: writing `i = q * stride + r`, they read `q + e`, one for each tap of that *phase* `r`,
//! with `e = (r + padding - k * dilation) / stride`. So the input gradient is a few small
//! convolutions of stride 1 whose results interleave.
//!
//! Both are thus: for each phase, result point `q * out_step + r` reads `q * step + e`.
use super::ConvShape;

/// One axis of one phase.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// Result points of this phase along the axis.
    pub count: usize,
    /// `(e, k)` of each tap: where it reads, and its number in the kernel.
    pub taps: Vec<(isize, usize)>,
}

/// One phase: result points that are `out_step` apart. The input gradient's phases are in the order
/// of their first points, `[z][y][x]`.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    pub axes: [Axis; 3],
}

impl Phase {
    /// Kernel taps.
    pub fn taps(&self) -> usize {
        self.axes.iter().map(|axis| axis.taps.len()).product()
    }

    /// Calls `visit(e, flat tap number)` for each tap.
    pub fn for_each_tap(&self, kernel: [usize; 3], mut visit: impl FnMut([isize; 3], usize)) {
        for &(ez, kz) in &self.axes[0].taps {
            for &(ey, ky) in &self.axes[1].taps {
                for &(ex, kx) in &self.axes[2].taps {
                    visit([ez, ey, ex], (kz * kernel[1] + ky) * kernel[2] + kx);
                }
            }
        }
    }
}

/// What to compute, for either direction.
#[derive(Debug)]
pub(super) struct Plan {
    pub batch: usize,
    pub groups: usize,
    /// Channels of a group, read and written.
    pub from_group: usize,
    pub to_group: usize,
    pub from_dims: [usize; 3],
    pub to_dims: [usize; 3],
    pub kernel: [usize; 3],
    /// Read steps between successive `q`.
    pub step: [usize; 3],
    /// Result steps between successive `q`.
    pub out_step: [usize; 3],
    pub phases: Vec<Phase>,
    /// Elements of `w` between written channels, and between read channels.
    pub weight_to: usize,
    pub weight_from: usize,
    pub flops: f64,
}

impl Plan {
    pub fn forward(shape: &ConvShape) -> Plan {
        let taps = shape.kernel.iter().product::<usize>();
        Plan {
            batch: shape.batch,
            groups: shape.groups,
            from_group: shape.in_group(),
            to_group: shape.out_group(),
            from_dims: shape.in_dims,
            to_dims: shape.out_dims,
            kernel: shape.kernel,
            step: shape.stride,
            out_step: [1; 3],
            phases: vec![Phase { axes: forward_axes(shape) }],
            weight_to: shape.in_group() * taps,
            weight_from: taps,
            flops: shape.flops(),
        }
    }

    pub fn input_grad(shape: &ConvShape) -> Plan {
        let taps = shape.kernel.iter().product::<usize>();
        let axis = |axis: usize, first: usize| {
            let (stride, padding) = (shape.stride[axis], shape.padding_lo[axis]);
            Axis {
                count: shape.in_dims[axis].saturating_sub(first).div_ceil(stride),
                taps: (0..shape.kernel[axis])
                    .filter_map(|k| {
                        let at = (first + padding) as isize - (k * shape.dilation[axis]) as isize;
                        let stride = stride as isize;
                        (at.rem_euclid(stride) == 0).then_some((at.div_euclid(stride), k))
                    })
                    .collect(),
            }
        };
        let mut phases = Vec::new();
        for z in 0..shape.stride[0].min(shape.in_dims[0]) {
            for y in 0..shape.stride[1].min(shape.in_dims[1]) {
                for x in 0..shape.stride[2].min(shape.in_dims[2]) {
                    phases.push(Phase { axes: [axis(0, z), axis(1, y), axis(2, x)] });
                }
            }
        }
        Plan {
            batch: shape.batch,
            groups: shape.groups,
            from_group: shape.out_group(),
            to_group: shape.in_group(),
            from_dims: shape.out_dims,
            to_dims: shape.in_dims,
            kernel: shape.kernel,
            step: [1; 3],
            out_step: shape.stride,
            phases,
            weight_to: taps,
            weight_from: shape.in_group() * taps,
            flops: shape.flops(),
        }
    }
}

/// The single phase of the forward pass; the weight gradient reads its inputs the same way.
pub(super) fn forward_axes(shape: &ConvShape) -> [Axis; 3] {
    std::array::from_fn(|axis| Axis {
        count: shape.out_dims[axis],
        taps: (0..shape.kernel[axis])
            .map(|k| ((k * shape.dilation[axis]) as isize - shape.padding_lo[axis] as isize, k))
            .collect(),
    })
}
