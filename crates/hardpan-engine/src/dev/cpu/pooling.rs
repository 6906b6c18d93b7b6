//! The largest elements of small windows, and what their gradient sends back.
//!
//! A task takes some planes. For the maximum a plane's rows are first split by the horizontal step, so that what one tap of the
//! windows of a row reads lies side by side; then each tap is one vector loop over the row of windows.
use super::isa::Isa;
use super::lanes::convert;
use super::pool::parallel_for;
use crate::dtype::DType;
use crate::kernel::WindowKernel;
use crate::op::{WindowOp, WindowParams};
use half::{bf16, f16};

/// Elements of image that a task should see.
const TASK: usize = 32 << 10;

/// Windows at a time.
const LANES: usize = 16;

/// What halves are widened to, and the rest is.
trait Float: Copy + PartialOrd + std::ops::AddAssign + 'static {
    const ZERO: Self;
    const LOWEST: Self;
}
impl Float for f32 {
    const ZERO: f32 = 0.0;
    const LOWEST: f32 = f32::NEG_INFINITY;
}
impl Float for f64 {
    const ZERO: f64 = 0.0;
    const LOWEST: f64 = f64::NEG_INFINITY;
}

/// Runs the kernel.
///
/// # Safety
/// Buffers as the kernel describes them; the output is disjoint from the inputs.
pub unsafe fn run(isa: Isa, k: &WindowKernel, inputs: &[*const u8], output: *mut u8) {
    // SAFETY: as promised.
    unsafe {
        match k.dtype {
            DType::F64 => run_in::<f64>(isa, k, inputs, output),
            _ => run_in::<f32>(isa, k, inputs, output),
        }
    }
}

unsafe fn run_in<F: Float>(isa: Isa, k: &WindowKernel, inputs: &[*const u8], output: *mut u8) {
    let p = &k.params;
    let (image, windows) = (p.size[0] * p.size[1], p.out[0] * p.out[1]);
    let planes = (TASK / image.max(1)).max(1);
    let first = inputs[0] as usize;
    let second = inputs.get(1).map_or(0, |i| *i as usize);
    let output = output as usize;
    let size = k.dtype.size();
    parallel_for(k.planes.div_ceil(planes), |task| {
        let mut work = Work::<F>::new(p);
        for plane in task * planes..((task + 1) * planes).min(k.planes) {
            // SAFETY: each task reads and writes its own planes.
            unsafe {
                match k.op {
                    WindowOp::Max | WindowOp::Place => {
                        let from = (first + plane * image * size) as *const u8;
                        load(isa, k.dtype, from, &mut work.image);
                        work.largest(isa, p);
                        if k.op == WindowOp::Max {
                            let to = (output + plane * windows * size) as *mut u8;
                            store(isa, k.dtype, &work.best, to);
                        } else {
                            let to = (output + plane * windows) as *mut u8;
                            for (at, place) in work.place.iter().enumerate() {
                                to.add(at).write(*place as u8);
                            }
                        }
                    }
                    WindowOp::Take => {
                        let from = (first + plane * image * size) as *const u8;
                        let places = (second + plane * windows) as *const u8;
                        let places = std::slice::from_raw_parts(places, windows);
                        let to = (output + plane * windows * size) as *mut u8;
                        match k.dtype {
                            DType::F64 => {
                                take(
                                    p,
                                    &work.offsets,
                                    from,
                                    places,
                                    to,
                                    f64::NEG_INFINITY.to_bits(),
                                );
                            }
                            DType::F32 => {
                                take(
                                    p,
                                    &work.offsets,
                                    from,
                                    places,
                                    to,
                                    f32::NEG_INFINITY.to_bits(),
                                );
                            }
                            DType::BF16 => {
                                take(
                                    p,
                                    &work.offsets,
                                    from,
                                    places,
                                    to,
                                    bf16::NEG_INFINITY.to_bits(),
                                );
                            }
                            _ => take(
                                p,
                                &work.offsets,
                                from,
                                places,
                                to,
                                f16::NEG_INFINITY.to_bits(),
                            ),
                        }
                    }
                    WindowOp::Back => {
                        let from = (first + plane * windows * size) as *const u8;
                        load(isa, k.dtype, from, &mut work.best);
                        let places = (second + plane * windows) as *const u8;
                        work.send_back(p, std::slice::from_raw_parts(places, windows));
                        let to = (output + plane * image * size) as *mut u8;
                        store(isa, k.dtype, &work.image, to);
                    }
                }
            }
        }
    });
}

/// # Safety
/// `from` holds as many elements of `dtype` as `to` has.
unsafe fn load<F: Float>(isa: Isa, dtype: DType, from: *const u8, to: &mut [F]) {
    let dst = to.as_mut_ptr().cast::<u8>();
    // SAFETY: as promised; without a conversion the types are the same.
    unsafe {
        match convert::load(isa, dtype) {
            Some(widen) => widen(dst, from, to.len()),
            None => std::ptr::copy_nonoverlapping(from, dst, size_of_val(to)),
        }
    }
}

/// # Safety
/// `to` has room for as many elements of `dtype` as `from` has.
unsafe fn store<F: Float>(isa: Isa, dtype: DType, from: &[F], to: *mut u8) {
    let src = from.as_ptr().cast::<u8>();
    // SAFETY: as promised; without a conversion the types are the same.
    unsafe {
        match convert::store(isa, dtype) {
            Some(narrow) => narrow(to, src, from.len()),
            None => std::ptr::copy_nonoverlapping(src, to, size_of_val(from)),
        }
    }
}

/// The element of one plane at each place; `none` for a place in the padding.
///
/// # Safety
/// `from` holds the image, `to` has room for a value of each window, both aligned to their elements.
unsafe fn take<T: Copy>(
    p: &WindowParams,
    offsets: &[(usize, usize)],
    from: *const u8,
    places: &[u8],
    to: *mut u8,
    none: T,
) {
    let ([height, width], columns) = (p.size, p.out[1]);
    // SAFETY: as promised.
    let (image, out) = unsafe {
        (
            std::slice::from_raw_parts(from.cast::<T>(), height * width),
            std::slice::from_raw_parts_mut(to.cast::<T>(), places.len()),
        )
    };
    let rows = out.chunks_exact_mut(columns).zip(places.chunks_exact(columns));
    for (y, (out, places)) in rows.enumerate() {
        for (x, (out, place)) in out.iter_mut().zip(places).enumerate() {
            let (down, right) = offsets[usize::from(*place)];
            let row = (y * p.stride[0] + down).wrapping_sub(p.padding[0]);
            let column = (x * p.stride[1] + right).wrapping_sub(p.padding[1]);
            let inside = row < height && column < width;
            *out = if inside { image[row * width + column] } else { none };
        }
    }
}

/// Padded positions of a row by their remainder by two, one half of `split` for each.
#[inline(always)]
fn split_in_two<F: Float>(row: &[F], split: &mut [F], padding: usize) {
    let (zero, one) = split.split_at_mut(split.len() / 2);
    // Element `2 i` of the row is padded position `2 i + padding`.
    let (even, odd) = if padding.is_multiple_of(2) { (zero, one) } else { (one, zero) };
    let (even, odd) = (&mut even[padding / 2..], &mut odd[padding.div_ceil(2)..]);
    let pairs = row.chunks_exact(2);
    if let Some((last, even)) = pairs.remainder().first().zip(even.get_mut(row.len() / 2)) {
        *even = *last;
    }
    for ((pair, even), odd) in pairs.zip(even).zip(odd) {
        (*even, *odd) = (pair[0], pair[1]);
    }
}

/// One plane at work.
struct Work<F> {
    image: Vec<F>,
    /// By window: the largest element, or the gradient.
    best: Vec<F>,
    place: Vec<i32>,
    /// Rows with their padding: `[row][x % step][x / step]`.
    split: Vec<F>,
    /// Elements of a row of one remainder.
    run: usize,
    /// By place: how far down and right of the window's corner.
    offsets: Vec<(usize, usize)>,
}

impl<F: Float> Work<F> {
    fn new(p: &WindowParams) -> Work<F> {
        let run = p.out[1] + (p.kernel[1] - 1) / p.stride[1];
        Work {
            image: vec![F::ZERO; p.size[0] * p.size[1]],
            best: vec![F::ZERO; p.out[0] * p.out[1]],
            place: vec![0; p.out[0] * p.out[1]],
            // Padding stays what it is.
            split: vec![F::LOWEST; p.size[0] * p.stride[1] * run + LANES],
            run,
            offsets: (0..p.kernel[0] * p.kernel[1])
                .map(|k| (k / p.kernel[1], k % p.kernel[1]))
                .collect(),
        }
    }

    /// Fills `best` and `place` from `image`.
    fn largest(&mut self, isa: Isa, p: &WindowParams) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the instruction set is available.
            Isa::Avx512 => unsafe { self.largest_avx512(p) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the instruction set is available.
            Isa::Avx2 => unsafe { self.largest_avx2(p) },
            _ => self.largest_plain(p),
        }
    }

    /// # Safety
    /// AVX-512 is available.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    unsafe fn largest_avx512(&mut self, p: &WindowParams) {
        self.largest_plain(p);
    }

    /// # Safety
    /// AVX2 is available.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn largest_avx2(&mut self, p: &WindowParams) {
        self.largest_plain(p);
    }

    #[inline(always)]
    fn largest_plain(&mut self, p: &WindowParams) {
        let ([height, width], [rows, columns]) = (p.size, p.out);
        let ([step_y, step_x], [pad_y, pad_x]) = (p.stride, p.padding);
        let run = self.run;
        for (row, split) in
            self.image.chunks_exact(width).zip(self.split.chunks_exact_mut(step_x * run))
        {
            match step_x {
                1 => split[pad_x..][..width.min(run - pad_x)]
                    .copy_from_slice(&row[..width.min(run - pad_x)]),
                2 => split_in_two(row, split, pad_x),
                _ => {
                    for (x, v) in row.iter().enumerate() {
                        let (q, remainder) = ((x + pad_x) / step_x, (x + pad_x) % step_x);
                        if q < run {
                            split[remainder * run + q] = *v;
                        }
                    }
                }
            }
        }
        for y in 0..rows {
            let best = &mut self.best[y * columns..][..columns];
            let place = &mut self.place[y * columns..][..columns];
            let top = (y * step_y) as isize - pad_y as isize;
            let first = (-top).max(0) as usize;
            let last = p.kernel[0].min((height as isize - top).max(0) as usize);
            for (start, (best, place)) in
                (0..).step_by(LANES).zip(best.chunks_mut(LANES).zip(place.chunks_mut(LANES)))
            {
                let mut most = [F::LOWEST; LANES];
                // Should all be the lowest, the first place that is no padding.
                let mut at: [i32; LANES] = std::array::from_fn(|i| {
                    (first * p.kernel[1] + pad_x.saturating_sub((start + i) * step_x)) as i32
                });
                for ky in first..last {
                    let row = (top + ky as isize) as usize;
                    for kx in 0..p.kernel[1] {
                        let from = (row * step_x + kx % step_x) * run + kx / step_x + start;
                        let number = (ky * p.kernel[1] + kx) as i32;
                        let taps: &[F; LANES] =
                            self.split[from..][..LANES].try_into().expect("as many");
                        for i in 0..LANES {
                            // NaN is larger than all else. Without branches, or it is not vectorized everywhere.
                            #[allow(clippy::eq_op, clippy::neg_cmp_op_on_partial_ord)]
                            let larger = !(taps[i] <= most[i]) & (most[i] == most[i]);
                            most[i] = if larger { taps[i] } else { most[i] };
                            at[i] = if larger { number } else { at[i] };
                        }
                    }
                }
                best.copy_from_slice(&most[..best.len()]);
                place.copy_from_slice(&at[..place.len()]);
            }
        }
    }

    /// Adds the gradients in `best` into `image`, window by window.
    fn send_back(&mut self, p: &WindowParams, places: &[u8]) {
        self.image.fill(F::ZERO);
        let ([height, width], [rows, columns]) = (p.size, p.out);
        for y in 0..rows {
            for x in 0..columns {
                let (down, right) = self.offsets[usize::from(places[y * columns + x])];
                let row = (y * p.stride[0] + down).wrapping_sub(p.padding[0]);
                let column = (x * p.stride[1] + right).wrapping_sub(p.padding[1]);
                if row < height && column < width {
                    self.image[row * width + column] += self.best[y * columns + x];
                }
            }
        }
    }
}
