//! The part of an image that a task reads, copied once with its border of zeros, or read in place
//! when there is no border.
use crate::dev::cpu::gemm::scratch::Scratch;
#[cfg(target_arch = "aarch64")]
use crate::dev::cpu::gemm::simd::NeonLanes;
#[cfg(target_arch = "x86_64")]
use crate::dev::cpu::gemm::simd::{Avx2Lanes, Avx512Lanes};
use crate::dev::cpu::gemm::simd::{ScalarLanes, Simd};
use crate::dev::cpu::isa::Isa;
use std::ops::Range;

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

    /// Whether some of the window lies outside an image of sizes `dims`; then the copy's memory must
    /// be zeroed before [`Window::copy`].
    pub fn has_border(&self, dims: [usize; 3]) -> bool {
        (0..3).any(|axis| {
            let end = self.start[axis] + self.len[axis] as isize;
            self.start[axis] < 0 || end > dims[axis] as isize
        })
    }

    /// Copies the part of one channel of sizes `dims` that lies in the window into `to`, and leaves
    /// alone what lies outside the image.
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
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => copy_body::<NeonLanes>(self, channel, dims, to),
                _ => copy_body::<ScalarLanes>(self, channel, dims, to),
            }
        }
    }
}

/// Contiguous images `[N, C, D, H, W]` that a task reads a window of.
#[derive(Clone, Copy)]
pub(super) struct Images<'a> {
    pub data: &'a [f32],
    pub channels: usize,
    pub dims: [usize; 3],
}

/// The window of some images and channels, ready to be read through offset tables.
pub(super) struct Source {
    /// The first point of the window in the first channel of the first image.
    pub start: *const f32,
    /// Floats between images.
    pub image_step: usize,
    /// Floats between channels.
    pub channel_step: usize,
    /// Gives the offsets of points.
    pub window: Window,
    /// Keeps the memory of a copy.
    _copy: Option<Scratch>,
}

impl Images<'_> {
    /// Makes `window` readable for `images` and `channels`, and `slack` floats beyond it. An
    /// unsplit window that lies inside the image is read where it is, if no slack is asked for.
    pub fn read(
        &self,
        isa: Isa,
        images: Range<usize>,
        channels: Range<usize>,
        window: Window,
        slack: usize,
    ) -> Source {
        let points = self.dims.iter().product::<usize>();
        let floats = window.floats();
        let border = window.has_border(self.dims);
        if floats > 0 && !border && slack == 0 && window.split == [1; 3] {
            let window = Window { plane: self.dims, ..window };
            let first = window.offset(window.start.map(|start| start as usize));
            let plane = images.start * self.channels + channels.start;
            return Source {
                start: self.data[plane * points + first..].as_ptr(),
                image_step: self.channels * points,
                channel_step: points,
                window,
                _copy: None,
            };
        }
        let image_step = channels.len() * floats;
        let mut copy = Scratch::take(images.len() * image_step + slack);
        let start = copy.as_mut_ptr();
        if floats > 0 {
            if border {
                copy.as_mut_slice()[..images.len() * image_step].fill(0.0);
            }
            let mut to = start;
            for image in images {
                for channel in channels.clone() {
                    let from = &self.data[(image * self.channels + channel) * points..][..points];
                    // SAFETY: the buffer has room for every channel's window.
                    unsafe {
                        window.copy(isa, from, self.dims, to);
                        to = to.add(floats);
                    }
                }
            }
        }
        Source { start, image_step, channel_step: floats, window, _copy: Some(copy) }
    }
}

impl Source {
    /// Offsets, image after image, of `counts` points that lie `step` apart.
    pub fn pixel_table(&self, counts: [usize; 3], step: [usize; 3], images: usize) -> Vec<u32> {
        let points = counts.iter().product::<usize>();
        let mut table = Vec::with_capacity(images * points);
        for image in 0..images {
            for z in 0..counts[0] {
                for y in 0..counts[1] {
                    let row = self.window.offset([z * step[0], y * step[1], 0]);
                    let row = image * self.image_step + row;
                    // The largest entry of the row fits, so all do.
                    offset_u32(row + counts[2] * step[2]);
                    table.extend((0..counts[2]).map(|x| (row + x * step[2]) as u32));
                }
            }
        }
        table
    }
}

/// Tables hold 32-bit offsets; a task's window is far smaller than 4 Gi floats.
pub(super) fn offset_u32(offset: usize) -> u32 {
    u32::try_from(offset).expect("conv: a window of more than 2^32 floats")
}

/// # Safety
/// As [`Window::copy`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn copy_avx512(window: &Window, channel: &[f32], dims: [usize; 3], to: *mut f32) {
    // SAFETY: forwarded.
    unsafe { copy_body::<Avx512Lanes>(window, channel, dims, to) }
}

/// # Safety
/// As [`Window::copy`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn copy_avx2(window: &Window, channel: &[f32], dims: [usize; 3], to: *mut f32) {
    // SAFETY: forwarded.
    unsafe { copy_body::<Avx2Lanes>(window, channel, dims, to) }
}

/// # Safety
/// As [`Window::copy`], where the instruction set of `S` is.
#[inline(always)]
unsafe fn copy_body<S: Simd>(window: &Window, channel: &[f32], dims: [usize; 3], to: *mut f32) {
    let Window { start, len, split, plane } = *window;
    // Points of the window before the image and up to its end, along each axis.
    let before: [usize; 3] =
        std::array::from_fn(|axis| (-start[axis]).clamp(0, len[axis] as isize) as usize);
    let end: [usize; 3] = std::array::from_fn(|axis| {
        (dims[axis] as isize - start[axis]).clamp(before[axis] as isize, len[axis] as isize)
            as usize
    });
    if (0..3).any(|axis| before[axis] == end[axis]) {
        return;
    }
    let at = |axis: usize, point: usize| (start[axis] + point as isize) as usize;
    let count = end[2] - before[2];
    let plane_points = plane.iter().product::<usize>();
    for z in before[0]..end[0] {
        for y in before[1]..end[1] {
            let from = (at(0, z) * dims[1] + at(1, y)) * dims[2] + at(2, before[2]);
            // SAFETY: window points `before..end` lie in the image and have a place in the copy:
            // column x in subsampled plane `x % split` at `x / split`.
            unsafe {
                let from = channel.as_ptr().add(from);
                let row = to.add(window.offset([z, y, 0]));
                match split[2] {
                    1 => copy_row::<S>(from, count, row.add(before[2])),
                    2 => {
                        let even = row.add(before[2] % 2 * plane_points + before[2] / 2);
                        let odd =
                            row.add((before[2] + 1) % 2 * plane_points + before[2].div_ceil(2));
                        unzip_row::<S>(from, count, even, odd);
                    }
                    split => {
                        for x in 0..count {
                            let column = before[2] + x;
                            *row.add(column % split * plane_points + column / split) = *from.add(x);
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// Both rows hold `count` floats and do not overlap; the instruction set of `S` is present.
#[inline(always)]
unsafe fn copy_row<S: Simd>(from: *const f32, count: usize, to: *mut f32) {
    let mut x = 0;
    // SAFETY: below `count`.
    unsafe {
        while x + S::LANES <= count {
            S::store(to.add(x), S::load(from.add(x)));
            x += S::LANES;
        }
        if x < count {
            S::store_partial(to.add(x), S::load_partial(from.add(x), count - x), count - x);
        }
    }
}

/// Writes the floats of even numbers to `even` and the others to `odd`.
///
/// # Safety
/// `from` holds `count` floats, `even` has room for half of them rounded up, `odd` rounded down;
/// nothing overlaps; the instruction set of `S` is present.
#[inline(always)]
unsafe fn unzip_row<S: Simd>(from: *const f32, count: usize, even: *mut f32, odd: *mut f32) {
    let mut x = 0;
    // SAFETY: reads stay below `count`, writes below its halves.
    unsafe {
        while x + 2 * S::LANES <= count {
            let (a, b) = S::unzip(S::load(from.add(x)), S::load(from.add(x + S::LANES)));
            S::store(even.add(x / 2), a);
            S::store(odd.add(x / 2), b);
            x += 2 * S::LANES;
        }
        let left = count - x;
        if left > 0 {
            let low = S::load_partial(from.add(x), left.min(S::LANES));
            let high = match left.saturating_sub(S::LANES) {
                0 => S::zero(),
                more => S::load_partial(from.add(x + S::LANES), more),
            };
            let (a, b) = S::unzip(low, high);
            S::store_partial(even.add(x / 2), a, left.div_ceil(2));
            S::store_partial(odd.add(x / 2), b, left / 2);
        }
    }
}

/// Rows to be copied.
pub(super) struct Copy {
    pub rows: usize,
    pub width: usize,
    /// First float, and floats between rows.
    pub from: (*const f32, usize),
    /// The result.
    pub to: (*mut f32, usize),
}

impl Copy {
    /// Copies the rows.
    ///
    /// # Safety
    /// All rows exist and do not overlap; `isa` is available.
    pub unsafe fn run(&self, isa: Isa) {
        // SAFETY: forwarded.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => copy_rows_avx512(self),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => copy_rows_avx2(self),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => copy_rows_body::<NeonLanes>(self),
                _ => copy_rows_body::<ScalarLanes>(self),
            }
        }
    }
}

/// # Safety
/// As [`Copy::run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn copy_rows_avx512(copy: &Copy) {
    // SAFETY: forwarded.
    unsafe { copy_rows_body::<Avx512Lanes>(copy) }
}

/// # Safety
/// As [`Copy::run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn copy_rows_avx2(copy: &Copy) {
    // SAFETY: forwarded.
    unsafe { copy_rows_body::<Avx2Lanes>(copy) }
}

/// # Safety
/// As [`Copy::run`], where the instruction set of `S` is.
#[inline(always)]
unsafe fn copy_rows_body<S: Simd>(copy: &Copy) {
    for row in 0..copy.rows {
        // SAFETY: forwarded.
        unsafe {
            let from = copy.from.0.add(row * copy.from.1);
            copy_row::<S>(from, copy.width, copy.to.0.add(row * copy.to.1));
        }
    }
}

/// Rows that take turns, column by column, in the rows of a result.
pub(super) struct Zip {
    /// Rows of the result, and floats in each.
    pub rows: usize,
    pub width: usize,
    /// The even columns: first float, and floats between rows.
    pub even: (*const f32, usize),
    /// The odd columns.
    pub odd: (*const f32, usize),
    /// The result.
    pub to: (*mut f32, usize),
}

impl Zip {
    /// Writes the result's rows.
    ///
    /// # Safety
    /// Rows of `even` hold half of `width` rounded up, those of `odd` rounded down; nothing overlaps;
    /// `isa` is available.
    pub unsafe fn run(&self, isa: Isa) {
        // SAFETY: forwarded.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => zip_avx512(self),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => zip_avx2(self),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => zip_body::<NeonLanes>(self),
                _ => zip_body::<ScalarLanes>(self),
            }
        }
    }
}

/// # Safety
/// As [`Zip::run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn zip_avx512(zip: &Zip) {
    // SAFETY: forwarded.
    unsafe { zip_body::<Avx512Lanes>(zip) }
}

/// # Safety
/// As [`Zip::run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn zip_avx2(zip: &Zip) {
    // SAFETY: forwarded.
    unsafe { zip_body::<Avx2Lanes>(zip) }
}

/// # Safety
/// As [`Zip::run`], where the instruction set of `S` is.
#[inline(always)]
unsafe fn zip_body<S: Simd>(zip: &Zip) {
    for row in 0..zip.rows {
        // SAFETY: forwarded.
        unsafe {
            zip_row::<S>(
                zip.even.0.add(row * zip.even.1),
                zip.odd.0.add(row * zip.odd.1),
                zip.to.0.add(row * zip.to.1),
                zip.width,
            );
        }
    }
}

/// `to = even[0], odd[0], even[1], ...`, `count` floats in all.
///
/// # Safety
/// `even` holds half of `count` rounded up, `odd` rounded down, `to` has room for `count`; nothing
/// overlaps; the instruction set of `S` is present.
#[inline(always)]
unsafe fn zip_row<S: Simd>(even: *const f32, odd: *const f32, to: *mut f32, count: usize) {
    let mut x = 0;
    // SAFETY: writes stay below `count`, reads below its halves.
    unsafe {
        while x + 2 * S::LANES <= count {
            let (low, high) = S::zip(S::load(even.add(x / 2)), S::load(odd.add(x / 2)));
            S::store(to.add(x), low);
            S::store(to.add(x + S::LANES), high);
            x += 2 * S::LANES;
        }
        let left = count - x;
        if left > 0 {
            let a = S::load_partial(even.add(x / 2), left.div_ceil(2));
            let b = S::load_partial(odd.add(x / 2), left / 2);
            let (low, high) = S::zip(a, b);
            S::store_partial(to.add(x), low, left.min(S::LANES));
            if left > S::LANES {
                S::store_partial(to.add(x + S::LANES), high, left - S::LANES);
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
                if window.has_border(dims) {
                    copy[..window.floats()].fill(0.0);
                }
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

        #[test]
        fn zipping_takes_turns(count in 0usize..80) {
            let even: Vec<f32> = (0..count.div_ceil(2)).map(|v| 2.0 * v as f32).collect();
            let odd: Vec<f32> = (0..count / 2).map(|v| 2.0 * v as f32 + 1.0).collect();
            for isa in available() {
                let mut to = vec![f32::NAN; 2 * (count + 1)];
                let zip = Zip {
                    rows: 2,
                    width: count,
                    even: (even.as_ptr(), 0),
                    odd: (odd.as_ptr(), 0),
                    to: (to.as_mut_ptr(), count + 1),
                };
                // SAFETY: the sizes are as asked.
                unsafe { zip.run(isa) };
                for row in to.chunks(count + 1) {
                    prop_assert!(row[count].is_nan());
                    prop_assert!(row[..count].iter().enumerate().all(|(at, v)| *v == at as f32));
                }
            }
        }
    }
}
