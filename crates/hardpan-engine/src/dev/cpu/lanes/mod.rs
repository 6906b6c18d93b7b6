//! Loops over blocks of elements: the only code that touches many values at once.
//!
//! Each loop is plain Rust over a trait's one-element function, written so that LLVM turns it into vector code, and stamped
//! once per instruction set by the `stamp!` macro; the only intrinsics are in `random`. Three rules keep that working (each was worth a
//! factor of five to ten when broken): results of a group go through a local array before they are stored, so that a
//! destination equal to a source needs no run-time alias check; floats become integers only by bit tricks or unchecked
//! conversions, since the saturating `as` is done lane by lane; and sums keep 64 separate accumulators, since the compiler
//! may not reorder float additions.
//!
//! A loop's result for one element never depends on where in the block the element is, nor on the instruction set.
// Loops by index over several arrays at once are what the vectorizer understands best.
#![allow(clippy::needless_range_loop)]

pub mod convert;
pub mod fold;
pub mod math;
pub mod ops;
pub mod random;
#[cfg(test)]
mod tests;

/// Elements that a loop handles at once.
pub const GROUP: usize = 64;

/// `(dst, a, n)`
pub type F1 = unsafe fn(*mut u8, *const u8, usize);
/// `(dst, a, b, n)`
pub type F2 = unsafe fn(*mut u8, *const u8, *const u8, usize);
/// `(dst, condition, a, b, n)`
pub type F3 = unsafe fn(*mut u8, *const u8, *const u8, *const u8, usize);

/// Makes `$pick(isa)`, which gives the copy of the generic loop `$body` for an instruction set.
macro_rules! stamp {
    ($(#[$meta:meta])* $pick:ident <$O:ident : $bound:path> = $body:ident ($($arg:ident : $ty:ty),*)) => {
        $(#[$meta])*
        pub fn $pick<$O: $bound>(isa: $crate::dev::cpu::isa::Isa) -> unsafe fn($($ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            unsafe fn avx512<$O: $bound>($($arg: $ty),*) {
                // SAFETY: the caller's promises are those of the body.
                unsafe { $body::<$O>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2<$O: $bound>($($arg: $ty),*) {
                // SAFETY: the caller's promises are those of the body.
                unsafe { $body::<$O>($($arg),*) }
            }
            unsafe fn plain<$O: $bound>($($arg: $ty),*) {
                // SAFETY: the caller's promises are those of the body.
                unsafe { $body::<$O>($($arg),*) }
            }
            match isa {
                #[cfg(target_arch = "x86_64")]
                $crate::dev::cpu::isa::Isa::Avx512 => avx512::<$O>,
                #[cfg(target_arch = "x86_64")]
                $crate::dev::cpu::isa::Isa::Avx2 => avx2::<$O>,
                _ => plain::<$O>,
            }
        }
    };
}
pub(crate) use stamp;

/// A number that fits a lane or a storage slot.
pub trait Number: Copy + Default + Send + Sync + 'static {}
impl Number for u8 {}
impl Number for i8 {}
impl Number for u16 {}
impl Number for i16 {}
impl Number for i32 {}
impl Number for u32 {}
impl Number for i64 {}
impl Number for f32 {}
impl Number for f64 {}

/// A function of one element.
pub trait Map1 {
    /// Operand.
    type A: Number;
    /// Result.
    type R: Number;
    /// Costs more than a copy: a short rest is padded to a whole vector.
    const HEAVY: bool = false;
    /// Some operands need [`Map1::rare`].
    const HAS_RARE: bool = false;
    /// The function.
    fn f(a: Self::A) -> Self::R;
    /// True where `f` does not hold.
    #[inline(always)]
    fn is_rare(_a: Self::A) -> bool {
        false
    }
    /// The function there.
    fn rare(a: Self::A) -> Self::R {
        Self::f(a)
    }
}

/// A function of two elements.
pub trait Map2 {
    /// Operands.
    type A: Number;
    /// Result.
    type R: Number;
    /// The function.
    fn f(a: Self::A, b: Self::A) -> Self::R;
}

#[inline(always)]
unsafe fn group1<O: Map1, const N: usize>(dst: *mut O::R, a: *const O::A) {
    let mut out = [O::R::default(); N];
    // SAFETY: the caller gives N elements on both sides.
    unsafe {
        for (j, o) in out.iter_mut().enumerate() {
            *o = O::f(a.add(j).read_unaligned());
        }
        if O::HAS_RARE {
            let mut any = false;
            for j in 0..N {
                any |= O::is_rare(a.add(j).read_unaligned());
            }
            if any {
                for (j, o) in out.iter_mut().enumerate() {
                    let x = a.add(j).read_unaligned();
                    if O::is_rare(x) {
                        *o = O::rare(x);
                    }
                }
            }
        }
        dst.cast::<[O::R; N]>().write_unaligned(out);
    }
}

#[inline(always)]
unsafe fn loop1<O: Map1>(dst: *mut u8, a: *const u8, n: usize) {
    let (dst, a) = (dst.cast::<O::R>(), a.cast::<O::A>());
    let mut i = 0;
    // SAFETY: the caller gives n elements on both sides; dst and a are disjoint or equal.
    unsafe {
        while i + GROUP <= n {
            group1::<O, GROUP>(dst.add(i), a.add(i));
            i += GROUP;
        }
        while i + 16 <= n {
            group1::<O, 16>(dst.add(i), a.add(i));
            i += 16;
        }
        if i == n {
            return;
        }
        if O::HEAVY && n - i > 2 {
            let mut pad = [O::A::default(); 16];
            let mut out = [O::R::default(); 16];
            for (j, p) in pad.iter_mut().enumerate().take(n - i) {
                *p = a.add(i + j).read_unaligned();
            }
            group1::<O, 16>(out.as_mut_ptr(), pad.as_ptr());
            for (j, o) in out.iter().enumerate().take(n - i) {
                dst.add(i + j).write_unaligned(*o);
            }
        } else {
            while i < n {
                group1::<O, 1>(dst.add(i), a.add(i));
                i += 1;
            }
        }
    }
}
stamp!(
    /// The loop over a function of one element.
    map1<O: Map1> = loop1(dst: *mut u8, a: *const u8, n: usize)
);

#[inline(always)]
unsafe fn group2<O: Map2, const N: usize, const A: usize, const B: usize>(
    dst: *mut O::R,
    a: *const O::A,
    b: *const O::A,
) {
    let mut out = [O::R::default(); N];
    // SAFETY: the caller gives N elements, or one where the step A or B is 0.
    unsafe {
        for (j, o) in out.iter_mut().enumerate() {
            *o = O::f(a.add(j * A).read_unaligned(), b.add(j * B).read_unaligned());
        }
        dst.cast::<[O::R; N]>().write_unaligned(out);
    }
}

#[inline(always)]
unsafe fn loop2<O: Map2, const A: usize, const B: usize>(
    dst: *mut u8,
    a: *const u8,
    b: *const u8,
    n: usize,
) {
    let (dst, a, b) = (dst.cast::<O::R>(), a.cast::<O::A>(), b.cast::<O::A>());
    if n == 0 {
        return;
    }
    // SAFETY: the caller gives n elements, or one where the step A or B is 0; dst is disjoint from or equal to each source,
    // and one-element sources are read before anything is written.
    unsafe {
        let (a0, b0) = (a.read_unaligned(), b.read_unaligned());
        let (a, b) =
            (if A == 0 { &raw const a0 } else { a }, if B == 0 { &raw const b0 } else { b });
        let mut i = 0;
        while i + GROUP <= n {
            group2::<O, GROUP, A, B>(dst.add(i), a.add(i * A), b.add(i * B));
            i += GROUP;
        }
        while i + 16 <= n {
            group2::<O, 16, A, B>(dst.add(i), a.add(i * A), b.add(i * B));
            i += 16;
        }
        while i < n {
            group2::<O, 1, A, B>(dst.add(i), a.add(i * A), b.add(i * B));
            i += 1;
        }
    }
}
#[inline(always)]
unsafe fn loop_vv<O: Map2>(dst: *mut u8, a: *const u8, b: *const u8, n: usize) {
    // SAFETY: as promised by the caller.
    unsafe { loop2::<O, 1, 1>(dst, a, b, n) }
}
#[inline(always)]
unsafe fn loop_vs<O: Map2>(dst: *mut u8, a: *const u8, b: *const u8, n: usize) {
    // SAFETY: as promised by the caller.
    unsafe { loop2::<O, 1, 0>(dst, a, b, n) }
}
#[inline(always)]
unsafe fn loop_sv<O: Map2>(dst: *mut u8, a: *const u8, b: *const u8, n: usize) {
    // SAFETY: as promised by the caller.
    unsafe { loop2::<O, 0, 1>(dst, a, b, n) }
}
stamp!(
    /// Both operands are vectors.
    map2_vv<O: Map2> = loop_vv(dst: *mut u8, a: *const u8, b: *const u8, n: usize)
);
stamp!(
    /// The second operand is one element.
    map2_vs<O: Map2> = loop_vs(dst: *mut u8, a: *const u8, b: *const u8, n: usize)
);
stamp!(
    /// The first operand is one element.
    map2_sv<O: Map2> = loop_sv(dst: *mut u8, a: *const u8, b: *const u8, n: usize)
);

#[inline(always)]
unsafe fn select_loop<T: Number, const A: usize, const B: usize>(
    dst: *mut u8,
    c: *const u8,
    a: *const u8,
    b: *const u8,
    n: usize,
) {
    let (dst, c, a, b) = (dst.cast::<T>(), c.cast::<i32>(), a.cast::<T>(), b.cast::<T>());
    // SAFETY: as in `loop2`, with n conditions.
    unsafe {
        let mut i = 0;
        while i < n {
            let m = (n - i).min(GROUP);
            let mut out = [T::default(); GROUP];
            if m == GROUP {
                for (j, o) in out.iter_mut().enumerate() {
                    let (x, y) =
                        (a.add((i + j) * A).read_unaligned(), b.add((i + j) * B).read_unaligned());
                    *o = if c.add(i + j).read_unaligned() != 0 { x } else { y };
                }
                dst.add(i).cast::<[T; GROUP]>().write_unaligned(out);
            } else {
                for (j, o) in out.iter_mut().enumerate().take(m) {
                    let (x, y) =
                        (a.add((i + j) * A).read_unaligned(), b.add((i + j) * B).read_unaligned());
                    *o = if c.add(i + j).read_unaligned() != 0 { x } else { y };
                }
                for (j, o) in out.iter().enumerate().take(m) {
                    dst.add(i + j).write_unaligned(*o);
                }
            }
            i += m;
        }
    }
}
macro_rules! select_forms {
    ($($name:ident $body:ident $a:literal $b:literal $doc:literal;)*) => {$(
        #[inline(always)]
        unsafe fn $body<T: Number>(d: *mut u8, c: *const u8, a: *const u8, b: *const u8, n: usize) {
            // SAFETY: as promised by the caller.
            unsafe { select_loop::<T, $a, $b>(d, c, a, b, n) }
        }
        stamp!(
            #[doc = $doc]
            $name<T: Number> = $body(d: *mut u8, c: *const u8, a: *const u8, b: *const u8, n: usize)
        );
    )*};
}
select_forms! {
    select_vv body_vv 1 1 "`c ? a : b`, both vectors.";
    select_vs body_vs 1 0 "`c ? a : b` with one `b`.";
    select_sv body_sv 0 1 "`c ? a : b` with one `a`.";
    select_ss body_ss 0 0 "`c ? a : b` with one of each.";
}
