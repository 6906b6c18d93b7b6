//! Storage types to lanes and back, casts between lanes, strided copies.
use super::{F1, Map1, Number, map1};
use crate::dev::cpu::isa::Isa;
use crate::dtype::{DType, Lane};

/// Bytes of one lane element.
pub const fn lane_size(lane: Lane) -> usize {
    match lane {
        Lane::I32 | Lane::F32 => 4,
        Lane::I64 | Lane::F64 => 8,
    }
}

/// bf16 bits of a float, rounded to nearest even.
#[inline(always)]
pub fn bf16_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    let out = if x.is_nan() { bits | 0x0040_0000 } else { rounded };
    (out >> 16) as u16
}

/// f16 bits of a float, rounded to nearest even, by float arithmetic so that a loop over it vectorizes.
#[inline(always)]
pub fn f16_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let a = bits & 0x7fff_ffff;
    // Subnormal halves: adding 2^-1 * 2^.. aligns the last kept bit with the last bit of the float.
    let magic = f32::from_bits((127 - 15 + (23 - 10) + 1) << 23);
    let small = (f32::from_bits(a) + magic).to_bits().wrapping_sub(magic.to_bits());
    // Normal halves: rebias the exponent and round.
    let odd = (a >> 13) & 1;
    let normal = a.wrapping_add(0xc800_0fff).wrapping_add(odd) >> 13;
    let out = if a < (113 << 23) { small } else { normal };
    let out = if a >= 0x4780_0000 { 0x7c00 } else { out };
    let out = if a > 0x7f80_0000 { 0x7e00 } else { out };
    (out | sign) as u16
}

/// The float of f16 bits.
#[inline(always)]
pub fn f16_value(h: u16) -> f32 {
    let h = h as u32;
    let a = (h & 0x7fff) << 13;
    let scaled = f32::from_bits(a) * f32::from_bits((254 - 15) << 23);
    let special = a >= 0x0f80_0000;
    let out = if special { a | 0x7f80_0000 } else { scaled.to_bits() };
    f32::from_bits(out | ((h & 0x8000) << 16))
}

/// The nearest f16.
#[inline(always)]
fn round_f16(x: f32) -> f32 {
    f16_value(f16_bits(x))
}

/// The nearest bf16.
#[inline(always)]
fn round_bf16(x: f32) -> f32 {
    f32::from_bits((bf16_bits(x) as u32) << 16)
}

macro_rules! maps {
    ($($name:ident : $a:ty => $r:ty, |$x:ident| $e:expr;)*) => {$(
        struct $name;
        impl Map1 for $name {
            type A = $a;
            type R = $r;
            #[inline(always)]
            fn f($x: $a) -> $r { $e }
        }
    )*};
}
maps! {
    LoadBool: u8 => i32, |x| (x != 0) as i32;
    LoadU8: u8 => i32, |x| x as i32;
    LoadI8: i8 => i32, |x| x as i32;
    LoadI16: i16 => i32, |x| x as i32;
    LoadU32: u32 => i64, |x| x as i64;
    LoadF16: u16 => f32, |x| f16_value(x);
    LoadBF16: u16 => f32, |x| f32::from_bits((x as u32) << 16);
    StoreByte: i32 => u8, |x| x as u8;
    StoreI16: i32 => i16, |x| x as i16;
    StoreU32: i64 => u32, |x| x as u32;
    StoreF16: f32 => u16, |x| f16_bits(x);
    StoreBF16: f32 => u16, |x| bf16_bits(x);
    WrapBool: i32 => i32, |x| (x != 0) as i32;
    WrapU8: i32 => i32, |x| x as u8 as i32;
    WrapI8: i32 => i32, |x| x as i8 as i32;
    WrapI16: i32 => i32, |x| x as i16 as i32;
    WrapU32: i64 => i64, |x| x as u32 as i64;
    RoundF16: f32 => f32, |x| round_f16(x);
    RoundBF16: f32 => f32, |x| round_bf16(x);
    BoolF: f32 => i32, |x| (x != 0.0) as i32;
    BoolD: f64 => i32, |x| (x != 0.0) as i32;
    BoolI: i32 => i32, |x| (x != 0) as i32;
    BoolL: i64 => i32, |x| (x != 0) as i32;
    IntToF: i32 => f32, |x| x as f32;
    IntToD: i32 => f64, |x| x as f64;
    IntToL: i32 => i64, |x| x as i64;
    LongToF: i64 => f32, |x| x as f32;
    LongToD: i64 => f64, |x| x as f64;
    LongToI: i64 => i32, |x| x as i32;
    FToD: f32 => f64, |x| x as f64;
    DToF: f64 => f32, |x| x as f32;
    DToF16: f64 => f32, |x| round_f16(x as f32);
    DToBF16: f64 => f32, |x| round_bf16(x as f32);
    LToF16: i64 => f32, |x| round_f16(x as f64 as f32);
    LToBF16: i64 => f32, |x| round_bf16(x as f64 as f32);
    IToF16: i32 => f32, |x| round_f16(x as f64 as f32);
    IToBF16: i32 => f32, |x| round_bf16(x as f64 as f32);
}

/// Cuts the fraction; NaN and what is out of the lane's range give its smallest number, as the processor's own conversion does.
macro_rules! cut {
    ($($name:ident : $a:ty => $r:ty, $limit:literal;)*) => {$(
        struct $name;
        impl Map1 for $name {
            type A = $a;
            type R = $r;
            const HEAVY: bool = true;
            const HAS_RARE: bool = true;
            #[inline(always)]
            fn f(x: $a) -> $r {
                let x = if x.abs() < $limit { x } else { 0.0 };
                // SAFETY: finite and within the integer's range.
                unsafe { x.to_int_unchecked::<$r>() }
            }
            #[inline(always)]
            fn is_rare(x: $a) -> bool { x.is_nan() | (x.abs() >= $limit) }
            fn rare(_: $a) -> $r { <$r>::MIN }
        }
    )*};
}
cut! {
    FToI: f32 => i32, 2147483648.0;
    DToI: f64 => i32, 2147483648.0;
    FToL: f32 => i64, 9223372036854775808.0;
    DToL: f64 => i64, 9223372036854775808.0;
}

/// Storage to lane, `None` when they are the same.
pub fn load(isa: Isa, dtype: DType) -> Option<F1> {
    Some(match dtype {
        DType::Bool => map1::<LoadBool>(isa),
        DType::U8 => map1::<LoadU8>(isa),
        DType::I8 => map1::<LoadI8>(isa),
        DType::I16 => map1::<LoadI16>(isa),
        DType::U32 => map1::<LoadU32>(isa),
        DType::F16 => map1::<LoadF16>(isa),
        DType::BF16 => map1::<LoadBF16>(isa),
        DType::I32 | DType::I64 | DType::F32 | DType::F64 => return None,
    })
}

/// Lane to storage, `None` when they are the same.
pub fn store(isa: Isa, dtype: DType) -> Option<F1> {
    Some(match dtype {
        DType::Bool | DType::U8 | DType::I8 => map1::<StoreByte>(isa),
        DType::I16 => map1::<StoreI16>(isa),
        DType::U32 => map1::<StoreU32>(isa),
        DType::F16 => map1::<StoreF16>(isa),
        DType::BF16 => map1::<StoreBF16>(isa),
        DType::I32 | DType::I64 | DType::F32 | DType::F64 => return None,
    })
}

/// Brings a lane back into the range of a narrow integer, in place.
pub fn wrap(isa: Isa, dtype: DType) -> Option<F1> {
    Some(match dtype {
        DType::Bool => map1::<WrapBool>(isa),
        DType::U8 => map1::<WrapU8>(isa),
        DType::I8 => map1::<WrapI8>(isa),
        DType::I16 => map1::<WrapI16>(isa),
        DType::U32 => map1::<WrapU32>(isa),
        _ => return None,
    })
}

/// A cast as up to two loops, the second in place on the first's result.
pub struct Cast {
    /// Lane to lane, `None` when the lane stays.
    pub first: Option<F1>,
    /// Narrowing within the lane.
    pub then: Option<F1>,
}

/// How to turn values of `from` into values of `to`.
pub fn cast(isa: Isa, from: DType, to: DType) -> Cast {
    use DType::*;
    let lane = from.lane();
    let one = |f: F1| Cast { first: Some(f), then: None };
    if from == to {
        return Cast { first: None, then: None };
    }
    match (to, lane) {
        (Bool, Lane::F32) => one(map1::<BoolF>(isa)),
        (Bool, Lane::F64) => one(map1::<BoolD>(isa)),
        (Bool, Lane::I32) => one(map1::<BoolI>(isa)),
        (Bool, Lane::I64) => one(map1::<BoolL>(isa)),
        (F16, Lane::F64) => one(map1::<DToF16>(isa)),
        (BF16, Lane::F64) => one(map1::<DToBF16>(isa)),
        (F16, Lane::I64) => one(map1::<LToF16>(isa)),
        (BF16, Lane::I64) => one(map1::<LToBF16>(isa)),
        (F16, Lane::I32) => one(map1::<IToF16>(isa)),
        (BF16, Lane::I32) => one(map1::<IToBF16>(isa)),
        (F16, Lane::F32) => one(map1::<RoundF16>(isa)),
        (BF16, Lane::F32) => one(map1::<RoundBF16>(isa)),
        _ => {
            let first = match (lane, to.lane()) {
                (Lane::F32, Lane::I32) => Some(map1::<FToI>(isa)),
                (Lane::F32, Lane::I64) => Some(map1::<FToL>(isa)),
                (Lane::F32, Lane::F64) => Some(map1::<FToD>(isa)),
                (Lane::F64, Lane::I32) => Some(map1::<DToI>(isa)),
                (Lane::F64, Lane::I64) => Some(map1::<DToL>(isa)),
                (Lane::F64, Lane::F32) => Some(map1::<DToF>(isa)),
                (Lane::I32, Lane::F32) => Some(map1::<IntToF>(isa)),
                (Lane::I32, Lane::F64) => Some(map1::<IntToD>(isa)),
                (Lane::I32, Lane::I64) => Some(map1::<IntToL>(isa)),
                (Lane::I64, Lane::F32) => Some(map1::<LongToF>(isa)),
                (Lane::I64, Lane::F64) => Some(map1::<LongToD>(isa)),
                (Lane::I64, Lane::I32) => Some(map1::<LongToI>(isa)),
                _ => None,
            };
            // Widening needs no narrowing: bool and u8 fit i16 and i32, i8 fits i16.
            let fits = matches!(
                (from, to),
                (Bool, _) | (U8, I16 | I32 | U32) | (I8, I16 | I32) | (I16, I32)
            );
            Cast { first, then: if fits { None } else { wrap(isa, to) } }
        }
    }
}

unsafe fn gather_of<T: Number>(dst: *mut u8, src: *const u8, step: isize, n: usize) {
    let (dst, src) = (dst.cast::<T>(), src.cast::<T>());
    for i in 0..n {
        // SAFETY: the caller gives n elements at that step.
        unsafe { dst.add(i).write_unaligned(src.offset(i as isize * step).read_unaligned()) };
    }
}

unsafe fn scatter_of<T: Number>(dst: *mut u8, step: isize, src: *const u8, n: usize) {
    let (dst, src) = (dst.cast::<T>(), src.cast::<T>());
    for i in 0..n {
        // SAFETY: the caller gives n elements at that step.
        unsafe { dst.offset(i as isize * step).write_unaligned(src.add(i).read_unaligned()) };
    }
}

unsafe fn fill_of<T: Number>(dst: *mut u8, value: *const u8, n: usize) {
    // SAFETY: the caller gives room for n elements, and one value.
    unsafe {
        let x = value.cast::<T>().read_unaligned();
        let dst = dst.cast::<T>();
        for i in 0..n {
            dst.add(i).write_unaligned(x);
        }
    }
}

/// Copies `n` elements of `size` bytes that lie `step` elements apart into a row.
///
/// # Safety
/// All of them must be valid; `dst` is elsewhere.
pub unsafe fn gather(size: usize, dst: *mut u8, src: *const u8, step: isize, n: usize) {
    // SAFETY: as promised.
    unsafe {
        match size {
            1 => gather_of::<u8>(dst, src, step, n),
            2 => gather_of::<u16>(dst, src, step, n),
            4 => gather_of::<u32>(dst, src, step, n),
            _ => gather_of::<i64>(dst, src, step, n),
        }
    }
}

/// The reverse of [`gather`].
///
/// # Safety
/// All of them must be valid; `src` is elsewhere.
pub unsafe fn scatter(size: usize, dst: *mut u8, step: isize, src: *const u8, n: usize) {
    // SAFETY: as promised.
    unsafe {
        match size {
            1 => scatter_of::<u8>(dst, step, src, n),
            2 => scatter_of::<u16>(dst, step, src, n),
            4 => scatter_of::<u32>(dst, step, src, n),
            _ => scatter_of::<i64>(dst, step, src, n),
        }
    }
}

/// Repeats one element of `size` bytes.
///
/// # Safety
/// Room for `n` elements and one valid value.
pub unsafe fn fill(size: usize, dst: *mut u8, value: *const u8, n: usize) {
    // SAFETY: as promised.
    unsafe {
        match size {
            1 => fill_of::<u8>(dst, value, n),
            2 => fill_of::<u16>(dst, value, n),
            4 => fill_of::<u32>(dst, value, n),
            _ => fill_of::<i64>(dst, value, n),
        }
    }
}

unsafe fn repeat_of<T: Number>(dst: *mut T, src: *const T, count: usize, each: usize) {
    const N: usize = 8;
    // SAFETY: the caller gives count elements and room for count * each.
    unsafe {
        for i in 0..count {
            let x = src.add(i).read_unaligned();
            let at = dst.add(i * each);
            // Whole vectors may run on into the next elements' room, which is written after.
            if (i + 1) * each + N <= count * each {
                let mut j = 0;
                while j < each {
                    at.add(j).cast::<[T; N]>().write_unaligned([x; N]);
                    j += N;
                }
            } else {
                for j in 0..each {
                    at.add(j).write_unaligned(x);
                }
            }
        }
    }
}

/// Each of `count` elements of 4 or 8 bytes, `each` times.
///
/// # Safety
/// Room for `count * each` elements and as many values; the two sides are disjoint.
pub unsafe fn repeat(size: usize, dst: *mut u8, src: *const u8, count: usize, each: usize) {
    // SAFETY: as promised.
    unsafe {
        match size {
            4 => repeat_of::<u32>(dst.cast(), src.cast(), count, each),
            _ => repeat_of::<i64>(dst.cast(), src.cast(), count, each),
        }
    }
}

unsafe fn transpose_of<T: Number>(
    dst: *mut T,
    dst_step: isize,
    src: *const T,
    src_step: isize,
    rows: usize,
    cols: usize,
) {
    const N: usize = 8;
    let (mut r, whole_rows, whole_cols) = (0, rows / N * N, cols / N * N);
    // SAFETY: the caller gives rows * cols elements on both sides.
    unsafe {
        while r < whole_rows {
            let mut c = 0;
            while c < whole_cols {
                let mut block = [[T::default(); N]; N];
                for (j, line) in block.iter_mut().enumerate() {
                    *line = src
                        .offset((c + j) as isize * src_step + r as isize)
                        .cast::<[T; N]>()
                        .read_unaligned();
                }
                for i in 0..N {
                    let mut line = [T::default(); N];
                    for j in 0..N {
                        line[j] = block[j][i];
                    }
                    dst.offset((r + i) as isize * dst_step + c as isize)
                        .cast::<[T; N]>()
                        .write_unaligned(line);
                }
                c += N;
            }
            r += N;
        }
        for r in 0..rows {
            let from = if r < whole_rows { whole_cols } else { 0 };
            for c in from..cols {
                let x = src.offset(c as isize * src_step + r as isize).read_unaligned();
                dst.offset(r as isize * dst_step + c as isize).write_unaligned(x);
            }
        }
    }
}

/// `dst[r * dst_step + c] = src[c * src_step + r]` for elements of `size` bytes.
///
/// # Safety
/// All of them must be valid; the two sides are disjoint.
pub unsafe fn transpose(
    size: usize,
    dst: *mut u8,
    dst_step: isize,
    src: *const u8,
    src_step: isize,
    rows: usize,
    cols: usize,
) {
    // SAFETY: as promised.
    unsafe {
        match size {
            1 => transpose_of::<u8>(dst, dst_step, src, src_step, rows, cols),
            2 => transpose_of::<u16>(dst.cast(), dst_step, src.cast(), src_step, rows, cols),
            4 => transpose_of::<u32>(dst.cast(), dst_step, src.cast(), src_step, rows, cols),
            _ => transpose_of::<i64>(dst.cast(), dst_step, src.cast(), src_step, rows, cols),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn halves_agree_with_the_half_crate() {
        for h in 0..=u16::MAX {
            let (a, b) = (f16_value(h), f16::from_bits(h).to_f32());
            assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()), "{h:x}");
        }
        let mut bits = 0u32;
        while let Some(next) = bits.checked_add(1_013) {
            let x = f32::from_bits(bits);
            if x.is_nan() {
                assert!(
                    f16::from_bits(f16_bits(x)).is_nan() && bf16::from_bits(bf16_bits(x)).is_nan()
                );
            } else {
                assert_eq!(f16_bits(x), f16::from_f32(x).to_bits(), "{x:e}");
                assert_eq!(bf16_bits(x), bf16::from_f32(x).to_bits(), "{x:e}");
            }
            bits = next;
        }
    }
}
