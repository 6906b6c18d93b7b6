//! Matrix products and convolutions with their epilogues.
use super::element::{Stored, with_stored};
use super::pool::parallel_for;
use crate::dtype::DType;
use crate::kernel::{ConvKernel, DotKernel};
use crate::op::ConvMode;

/// Elements of a convolution map's result.
pub fn conv_len(kernel: &ConvKernel) -> usize {
    match kernel.mode {
        ConvMode::Forward => kernel.y.iter().product(),
        ConvMode::InputGrad => kernel.x.iter().product(),
        ConvMode::WeightGrad => kernel.w.iter().product(),
    }
}

/// The plain product, for dtypes without a fast kernel: f64 accumulation for floats, wrapping for whole numbers.
///
/// # Safety
/// Buffers as the kernel describes them; `c` is disjoint from the inputs.
pub unsafe fn dot(kernel: &DotKernel, inputs: &[*const u8], c: *mut u8, result: DType) {
    with_stored!(kernel.dtype, T => {
        let a = inputs[kernel.a.input] as usize;
        let b = inputs[kernel.b.input] as usize;
        let c = c as usize;
        let (m, n, k) = (kernel.m, kernel.n, kernel.k);
        let batches: usize = kernel.batch.iter().product();
        parallel_for(batches * m, |t| {
            let (batch, i) = (t / m, t % m);
            let mut rest = batch;
            let (mut at_a, mut at_b) = (kernel.a.base as isize, kernel.b.base as isize);
            for d in (0..kernel.batch.len()).rev() {
                let index = (rest % kernel.batch[d]) as isize;
                rest /= kernel.batch[d];
                at_a += index * kernel.a.batch[d];
                at_b += index * kernel.b.batch[d];
            }
            at_a += i as isize * kernel.a.row;
            for j in 0..n {
                let (mut real, mut whole) = (0.0f64, 0i64);
                // SAFETY: addresses as the kernel describes; each output row belongs to one task.
                unsafe {
                    for l in 0..k as isize {
                        let x = (a as *const T).offset(at_a + l * kernel.a.col).read();
                        let y = (b as *const T).offset(at_b + j as isize * kernel.b.col + l * kernel.b.row).read();
                        if T::FLOAT {
                            real += x.real() * y.real();
                        } else {
                            whole = whole.wrapping_add(x.whole().wrapping_mul(y.whole()));
                        }
                    }
                    let at = t * n + j;
                    if result != kernel.dtype {
                        (c as *mut f32).add(at).write(real as f32);
                    } else {
                        let out = if T::FLOAT { T::from_real(real) } else { T::from_whole(whole) };
                        (c as *mut T).add(at).write(out);
                    }
                }
            }
        });
    });
}

/// The plain convolution maps, one output element at a time.
///
/// # Safety
/// Buffers as the kernel describes them; `out` is disjoint from the inputs.
pub unsafe fn conv(kernel: &ConvKernel, inputs: &[*const u8], out: *mut u8, result: DType) {
    let spatial = kernel.x.len() - 2;
    let (batch, channels) = (kernel.x[0], kernel.x[1]);
    let features = kernel.w[0];
    let groups = kernel.params.groups;
    let (per_in, per_out) = (channels / groups, features / groups);
    let windows: usize = kernel.w[2..].iter().product();
    let ys: usize = kernel.y[2..].iter().product();
    let xs: usize = kernel.x[2..].iter().product();
    // Position in x that window element `w` of output position `y` reads.
    let source = |y: usize, w: usize| -> Option<usize> {
        let (mut y, mut w, mut at, mut scale) = (y, w, 0usize, 1usize);
        for d in (0..spatial).rev() {
            let (yi, wi) = (y % kernel.y[2 + d], w % kernel.w[2 + d]);
            (y, w) = (y / kernel.y[2 + d], w / kernel.w[2 + d]);
            let p = (yi * kernel.params.stride[d] + wi * kernel.params.dilation[d])
                .checked_sub(kernel.params.padding[d])?;
            if p >= kernel.x[2 + d] {
                return None;
            }
            at += p * scale;
            scale *= kernel.x[2 + d];
        }
        Some(at)
    };
    let mut sums = vec![0.0f64; conv_len(kernel)];
    with_stored!(kernel.dtype, T => {
        let first = inputs[kernel.inputs[0]].cast::<T>();
        let second = inputs[kernel.inputs[1]].cast::<T>();
        for n in 0..batch {
            for o in 0..features {
                let group = o / per_out;
                for i in 0..per_in {
                    let c = group * per_in + i;
                    for y in 0..ys {
                        for w in 0..windows {
                            let Some(x) = source(y, w) else { continue };
                            let at_x = (n * channels + c) * xs + x;
                            let at_w = (o * per_in + i) * windows + w;
                            let at_y = (n * features + o) * ys + y;
                            let (target, a, b) = match kernel.mode {
                                ConvMode::Forward => (at_y, at_x, at_w),
                                ConvMode::InputGrad => (at_x, at_y, at_w),
                                ConvMode::WeightGrad => (at_w, at_x, at_y),
                            };
                            // SAFETY: positions inside the shapes that the kernel states.
                            unsafe { sums[target] += first.add(a).read().real() * second.add(b).read().real() };
                        }
                    }
                }
            }
        }
        for (i, s) in sums.iter().enumerate() {
            // SAFETY: the output has that many elements.
            unsafe {
                if result != kernel.dtype {
                    out.cast::<f32>().add(i).write(*s as f32);
                } else {
                    out.cast::<T>().add(i).write(T::from_real(*s));
                }
            }
        }
    });
}

/// The element type of a contraction's result as its epilogue reads it: f32 for half types, which are rounded only when the
/// epilogue stores them.
pub fn result_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}
