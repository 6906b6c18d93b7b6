//! The definitions of the three computations, in any arithmetic: the tests' oracle, and what f64 and
//! integer convolutions run on.
use super::ConvShape;
use crate::dev::cpu::gemm::Number;
use crate::dev::cpu::pool::{SharedMut, parallel_for};

impl ConvShape {
    /// Calls `visit(output point, tap, input point)`, flat indices within one channel, for every
    /// output point and every tap that lies inside the input.
    fn for_each_tap(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let [od, oh, ow] = self.out_dims;
        let [kd, kh, kw] = self.kernel;
        let [_, ih, iw] = self.in_dims;
        let at = |axis: usize, out: usize, tap: usize| {
            (out * self.stride[axis] + tap * self.dilation[axis])
                .checked_sub(self.padding_lo[axis])
                .filter(|input| *input < self.in_dims[axis])
        };
        for (oz, kz) in pairs(od, kd) {
            let Some(iz) = at(0, oz, kz) else { continue };
            for (oy, ky) in pairs(oh, kh) {
                let Some(iy) = at(1, oy, ky) else { continue };
                for (ox, kx) in pairs(ow, kw) {
                    let Some(ix) = at(2, ox, kx) else { continue };
                    visit(
                        (oz * oh + oy) * ow + ox,
                        (kz * kh + ky) * kw + kx,
                        (iz * ih + iy) * iw + ix,
                    );
                }
            }
        }
    }

    fn pixels(&self) -> (usize, usize, usize) {
        let count = |dims: [usize; 3]| dims.iter().product();
        (count(self.in_dims), count(self.out_dims), count(self.kernel))
    }
}

fn pairs(outer: usize, inner: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..outer).flat_map(move |o| (0..inner).map(move |i| (o, i)))
}

/// [`super::conv_forward`] by its definition, in the arithmetic of `T`.
///
/// # Panics
/// As [`super::conv_forward`].
#[track_caller]
pub fn conv_forward_reference<T: Number>(shape: &ConvShape, x: &[T], w: &[T], y: &mut [T]) {
    shape.assert_valid(x.len(), w.len(), y.len());
    let (inputs, outputs, taps) = shape.pixels();
    let (in_group, out_group) = (shape.in_group(), shape.out_group());
    let y = SharedMut::new(&mut y[..shape.output_len()]);
    parallel_for(shape.batch * shape.out_channels, |plane| {
        let (image, o) = (plane / shape.out_channels, plane % shape.out_channels);
        // SAFETY: each task has its own plane.
        let y = unsafe { y.slice(plane * outputs, outputs) };
        y.fill(T::ZERO);
        for c in 0..in_group {
            let channel = image * shape.in_channels + o / out_group * in_group + c;
            let x = &x[channel * inputs..][..inputs];
            let w = &w[(o * in_group + c) * taps..][..taps];
            shape.for_each_tap(|out, tap, input| y[out] = y[out].add_product(w[tap], x[input]));
        }
    });
}

/// [`super::conv_input_grad`] by its definition, in the arithmetic of `T`.
///
/// # Panics
/// As [`super::conv_forward`].
#[track_caller]
pub fn conv_input_grad_reference<T: Number>(shape: &ConvShape, g: &[T], w: &[T], dx: &mut [T]) {
    shape.assert_valid(dx.len(), w.len(), g.len());
    let (inputs, outputs, taps) = shape.pixels();
    let (in_group, out_group) = (shape.in_group(), shape.out_group());
    let dx = SharedMut::new(&mut dx[..shape.input_len()]);
    parallel_for(shape.batch * shape.in_channels, |plane| {
        let (image, channel) = (plane / shape.in_channels, plane % shape.in_channels);
        let (group, c) = (channel / in_group, channel % in_group);
        // SAFETY: each task has its own plane.
        let dx = unsafe { dx.slice(plane * inputs, inputs) };
        dx.fill(T::ZERO);
        for o in group * out_group..(group + 1) * out_group {
            let g = &g[(image * shape.out_channels + o) * outputs..][..outputs];
            let w = &w[(o * in_group + c) * taps..][..taps];
            shape.for_each_tap(|out, tap, input| dx[input] = dx[input].add_product(w[tap], g[out]));
        }
    });
}

/// [`super::conv_weight_grad`] by its definition, in the arithmetic of `T`.
///
/// # Panics
/// As [`super::conv_forward`].
#[track_caller]
pub fn conv_weight_grad_reference<T: Number>(shape: &ConvShape, x: &[T], g: &[T], dw: &mut [T]) {
    shape.assert_valid(x.len(), dw.len(), g.len());
    let (inputs, outputs, taps) = shape.pixels();
    let (in_group, out_group) = (shape.in_group(), shape.out_group());
    let dw = SharedMut::new(&mut dw[..shape.weight_len()]);
    parallel_for(shape.out_channels * in_group, |plane| {
        let (o, c) = (plane / in_group, plane % in_group);
        // SAFETY: each task has its own plane.
        let dw = unsafe { dw.slice(plane * taps, taps) };
        dw.fill(T::ZERO);
        for image in 0..shape.batch {
            let channel = image * shape.in_channels + o / out_group * in_group + c;
            let x = &x[channel * inputs..][..inputs];
            let g = &g[(image * shape.out_channels + o) * outputs..][..outputs];
            shape.for_each_tap(|out, tap, input| dw[tap] = dw[tap].add_product(g[out], x[input]));
        }
    });
}
