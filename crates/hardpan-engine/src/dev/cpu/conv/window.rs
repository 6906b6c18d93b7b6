//! The part of an image that a task reads, copied once with its border of zeros.
use crate::dev::cpu::isa::Isa;

/// A box of an image, which may reach outside it, and how its copy is laid out.
///
/// With `split` 1 on every axis the copy is plain `[D, H, W]`. Otherwise points whose coordinates
/// have equal remainders modulo `split` are brought together: `split` planes, each a subsampled
/// image, so that a vector of neighbours in the copy is a vector of points `split` apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// First coordinate along each axis, in the image.
    pub start: [isize; 3],
    /// Points along each axis.
    pub len: [usize; 3],
    /// Remainders along each axis.
    pub split: [usize; 3],
    /// Points along each axis of a subsampled plane.
    pub plane: [usize; 3],
}

impl Window {
    pub fn new(start: [isize; 3], len: [usize; 3], split: [usize; 3]) -> Self {
        let plane = std::array::from_fn(|axis| len[axis].div_ceil(split[axis]));
        Self { start, len, split, plane }
    }

    /// Floats that the copy of one channel takes.
    pub fn floats(&self) -> usize {
        self.split.iter().chain(&self.plane).product()
    }

    /// Where the copy has the point `at`, given from the start of the window. For points that all
    /// axes step over by `split`, offsets add up: `offset(a + split * b) = offset(a) + offset(split * b)`.
    pub fn offset(&self, at: [usize; 3]) -> usize {
        let part: [usize; 3] = std::array::from_fn(|axis| at[axis] % self.split[axis]);
        let whole: [usize; 3] = std::array::from_fn(|axis| at[axis] / self.split[axis]);
        let part = (part[0] * self.split[1] + part[1]) * self.split[2] + part[2];
        let [depth, height, width] = self.plane;
        ((part * depth + whole[0]) * height + whole[1]) * width + whole[2]
    }

    /// Copies one channel of sizes `dims` into `to`, with zeros outside the image.
    ///
    /// # Safety
    /// `to` holds [`Window::floats`] floats and `isa` is available.
    pub unsafe fn copy(&self, isa: Isa, channel: &[f32], dims: [usize; 3], to: *mut f32) {
        debug_assert_eq!(channel.len(), dims.iter().product::<usize>());
        // SAFETY: forwarded.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => copy_avx512(self, channel, dims, to),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => copy_avx2(self, channel, dims, to),
                _ => copy_body(self, channel, dims, to),
            }
        }
    }
}

/// # Safety
/// As [`Window::copy`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn copy_avx512(window: &Window, channel: &[f32], dims: [usize; 3], to: *mut f32) {
    // SAFETY: forwarded.
    unsafe { copy_body(window, channel, dims, to) }
}

/// # Safety
/// As [`Window::copy`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn copy_avx2(window: &Window, channel: &[f32], dims: [usize; 3], to: *mut f32) {
    // SAFETY: forwarded.
    unsafe { copy_body(window, channel, dims, to) }
}

/// # Safety
/// As [`Window::copy`].
#[inline(always)]
unsafe fn copy_body(window: &Window, channel: &[f32], dims: [usize; 3], to: *mut f32) {
    let Window { start, len, split, plane } = *window;
    let inside = |axis: usize, at: usize| {
        let at = start[axis] + at as isize;
        usize::try_from(at).ok().filter(|at| *at < dims[axis])
    };
    // Points of a row before the image, inside it, and where the inside starts in the image.
    let before = (-start[2]).clamp(0, len[2] as isize) as usize;
    let end = (dims[2] as isize - start[2]).clamp(before as isize, len[2] as isize) as usize;
    let first = (start[2] + before as isize) as usize;
    let parts = split[2];
    let part_step = plane.iter().product::<usize>();
    // Every float of the copy belongs to some row below, but for the last columns of planes whose
    // width the split does not fill, which only pad.
    for z in 0..plane[0] * split[0] {
        for y in 0..plane[1] * split[1] {
            // SAFETY: rows lie inside the copy: `z` and `y` are below `plane * split`.
            let row = unsafe { to.add(window.offset([z, y, 0])) };
            let source = match (inside(0, z), inside(1, y)) {
                (Some(z), Some(y)) if end > before => {
                    &channel[(z * dims[1] + y) * dims[2] + first..][..end - before]
                }
                _ => &[],
            };
            // SAFETY: each branch writes the `plane[2]` floats of each part's row.
            unsafe {
                if source.is_empty() {
                    for part in 0..parts {
                        row.add(part * part_step).write_bytes(0, plane[2]);
                    }
                } else if parts == 1 {
                    row.write_bytes(0, before);
                    for (x, value) in source.iter().enumerate() {
                        *row.add(before + x) = *value;
                    }
                    row.add(end).write_bytes(0, len[2] - end);
                } else {
                    for part in 0..parts {
                        let row = row.add(part * part_step);
                        // Column x of this part is window column x * parts + part.
                        let from = before.saturating_sub(part).div_ceil(parts);
                        let until = end.saturating_sub(part).div_ceil(parts).max(from);
                        row.write_bytes(0, from);
                        let skip = from * parts + part - before;
                        if parts == 2 {
                            for x in 0..until - from {
                                *row.add(from + x) = *source.get_unchecked(skip + 2 * x);
                            }
                        } else {
                            for x in 0..until - from {
                                *row.add(from + x) = *source.get_unchecked(skip + parts * x);
                            }
                        }
                        row.add(until).write_bytes(0, plane[2] - until);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::cpu::isa::available;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn the_copy_has_every_point_of_the_box(
            dims in [1usize..4, 1usize..6, 1usize..30], start in [-4isize..4, -4isize..5, -9isize..20],
            len in [1usize..5, 1usize..8, 1usize..40], split in [1usize..3, 1usize..4, 1usize..4],
        ) {
            let image: Vec<f32> = (1..=dims.iter().product::<usize>()).map(|v| v as f32).collect();
            let window = Window::new(start, len, split);
            for isa in available() {
                let mut copy = vec![f32::NAN; window.floats() + 1];
                // SAFETY: the copy has room.
                unsafe { window.copy(isa, &image, dims, copy.as_mut_ptr()) };
                prop_assert!(copy[window.floats()].is_nan());
                for z in 0..len[0] {
                    for y in 0..len[1] {
                        for x in 0..len[2] {
                            let at = [z, y, x];
                            let point: [isize; 3] =
                                std::array::from_fn(|axis| start[axis] + at[axis] as isize);
                            let inside = (0..3).all(|a| (0..dims[a] as isize).contains(&point[a]));
                            let expected = if inside {
                                let [z, y, x] = point.map(|p| p as usize);
                                image[(z * dims[1] + y) * dims[2] + x]
                            } else {
                                0.0
                            };
                            prop_assert_eq!(copy[window.offset(at)], expected);
                        }
                    }
                }
            }
        }
    }
}
