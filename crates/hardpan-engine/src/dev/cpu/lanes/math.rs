//! Elementary functions on one `f32`, written without branches so that a loop over them becomes vector code.
//!
//! Every step is an IEEE operation or a `mul_add`, so the bits are the same on every instruction set and at every position of
//! a block; where the machine has no fused multiply-add the library function stands in, slow but equal. The polynomials are
//! minimax fits (Remez) of the stated functions on the stated ranges; errors are below 1.5 ulp except where noted.

use std::f32::consts::{LN_2, LOG2_E};

/// `1.5 * 2^23`: adding it leaves the nearest whole number in the low bits of the sum (`as i32` would not vectorize).
const MAGIC: f32 = 12_582_912.0;
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;

/// `c[0] + x * (c[1] + x * (...))`.
#[inline(always)]
fn poly<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut out = c[N - 1];
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        out = out.mul_add(x, c[i]);
    }
    out
}

/// `2^n * p` for whole `n` in -254..=254, in two steps so that subnormal and infinite results come out right.
#[inline(always)]
fn scale(p: f32, n: i32) -> f32 {
    let half = n >> 1;
    let a = f32::from_bits((half.wrapping_add(127) << 23) as u32);
    let b = f32::from_bits((n.wrapping_sub(half).wrapping_add(127) << 23) as u32);
    p * a * b
}

/// Splits `x` (within ±104) into `n * ln 2 + r`, and gives `(n, r, (e^r - 1 - r) / r^2)`.
#[inline(always)]
fn exp_parts(x: f32) -> (i32, f32, f32) {
    let t = x.mul_add(LOG2_E, MAGIC);
    let n = (t.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    let whole = t - MAGIC;
    let r = whole.mul_add(-LN2_HI, x);
    let r = whole.mul_add(-LN2_LO, r);
    (n, r, poly(r, [0.5, 0.166_665_12, 0.041_666_187, 0.008_369_599, 0.001_395_172]))
}

#[inline(always)]
fn clamp_exp(x: f32) -> f32 {
    // Selects, not clamp: NaN fails both tests and passes through.
    let x = if x > 89.0 { 89.0 } else { x };
    if x < -104.0 { -104.0 } else { x }
}

/// `e^x`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let (n, r, q) = exp_parts(clamp_exp(x));
    scale((r * r).mul_add(q, r) + 1.0, n)
}

/// `e^x - 1`.
#[inline(always)]
pub fn expm1(x: f32) -> f32 {
    let (n, r, q) = exp_parts(clamp_exp(x));
    let p = (r * r).mul_add(q, r);
    // 2^n (1 + p) - 1 = 2^n p + (2^n - 1); for n = 0 that is p itself. From 2^25 on the -1 is lost anyway.
    let small_n = if n > 25 { 25 } else { n };
    let two_n = scale(1.0, small_n);
    let near = p.mul_add(two_n, two_n - 1.0);
    let far = scale(1.0 + p, n);
    let out = if n > 25 { far } else { near };
    // Keeps -0.0, and subnormal inputs exact.
    if x.abs() < 1e-30 { x } else { out }
}

/// `(e, f, P)` with `x = 2^e (1 + f)`, `f` in `[sqrt(1/2) - 1, sqrt(2) - 1)`, for finite `x > 0`; `P` is
/// `(ln(1 + f) - f + f^2 / 2) / f^3`.
#[inline(always)]
fn log_parts(x: f32) -> (f32, f32, f32) {
    let subnormal = x < f32::MIN_POSITIVE;
    let x = if subnormal { x * 8_388_608.0 } else { x };
    let shift = if subnormal { -23.0 } else { 0.0 };
    let bits = x.to_bits() as i32;
    let above = bits.wrapping_sub(0x3f35_04f3);
    let e = (above >> 23) as f32 + shift;
    let f = f32::from_bits((bits.wrapping_sub((above >> 23) << 23)) as u32) - 1.0;
    let p = poly(
        f,
        [
            0.333_333_1,
            -0.249_999_87,
            0.200_022_25,
            -0.166_692_51,
            0.142_186_78,
            -0.123_843_47,
            0.118_728_45,
            -0.117_897_74,
            0.069_156_03,
        ],
    );
    (e, f, p)
}

/// Natural logarithm.
#[inline(always)]
pub fn log(x: f32) -> f32 {
    let (e, f, p) = log_parts(x);
    let square = f * f;
    let small = (f * square).mul_add(p, e * LN2_LO);
    let small = square.mul_add(-0.5, small);
    let out = e.mul_add(LN2_HI, f + small);
    log_edges(x, out)
}

#[inline(always)]
fn log_edges(x: f32, out: f32) -> f32 {
    let out = if x == f32::INFINITY { x } else { out };
    let out = if x == 0.0 { f32::NEG_INFINITY } else { out };
    // Negative or NaN.
    if x >= 0.0 { out } else { f32::NAN }
}

/// `ln(1 + x)`.
#[inline(always)]
pub fn log1p(x: f32) -> f32 {
    let u = 1.0 + x;
    // What the sum lost: exact for both sizes of x (Knuth's two-sum).
    let back = u - x;
    let lost = (1.0 - back) + (x - (u - back));
    let (e, f, p) = log_parts(u);
    // ln(u + lost) = ln(u) + lost / u; when u lies in the middle octave, f + lost is 1 + x - 1 itself.
    let correction = if u < 3e38 { lost / u } else { 0.0 };
    let square = f * f;
    let small = (f * square).mul_add(p, e.mul_add(LN2_LO, correction));
    let small = square.mul_add(-0.5, small);
    let out = e.mul_add(LN2_HI, f + small);
    let out = log_edges(u, out);
    if x.abs() < 1e-10 { x } else { out }
}

/// Largest argument that [`sin_near`] and [`cos_near`] take.
pub const TRIG_LIMIT: f32 = 1_000_000.0;

/// The quarter turn `x` lies nearest to, and the rest in -pi/4..=pi/4, reduced in f64.
#[inline(always)]
fn quarter(x: f32) -> (i32, f32) {
    const MAGIC64: f64 = 6_755_399_441_055_744.0;
    let x = x as f64;
    let t = x * std::f64::consts::FRAC_2_PI + MAGIC64;
    let n = t.to_bits() as i32;
    let whole = t - MAGIC64;
    let r = whole.mul_add(-std::f64::consts::FRAC_PI_2, x);
    // pi/2 minus its f64 neighbour.
    let r = whole.mul_add(-6.123_233_995_736_766e-17, r);
    (n, r as f32)
}

/// Cosine and sine of `u` turns, `u` in 0..=1.
#[inline(always)]
pub fn turn(u: f32) -> (f32, f32) {
    let t = u * 4.0;
    let magic = t + MAGIC;
    let n = magic.to_bits() as i32;
    let r = (t - (magic - MAGIC)) * std::f32::consts::FRAC_PI_2;
    (sin_or_cos(n.wrapping_add(1), r), sin_or_cos(n, r))
}

#[inline(always)]
fn sin_or_cos(n: i32, r: f32) -> f32 {
    let z = r * r;
    let s = (r * z)
        .mul_add(poly(z, [-0.166_666_67, 0.008_333_329, -1.983_933_5e-4, 2.718_304_4e-6]), r);
    let c = poly(z, [0.041_666_668, -0.001_388_888_3, 2.479_952e-5, -2.721_017_2e-7]);
    let c = (z * z).mul_add(c, z.mul_add(-0.5, 1.0));
    let out = if n & 1 == 0 { s } else { c };
    if n & 2 == 0 { out } else { -out }
}

/// Sine for `|x| <= TRIG_LIMIT`.
#[inline(always)]
pub fn sin_near(x: f32) -> f32 {
    let (n, r) = quarter(x);
    let out = sin_or_cos(n, r);
    if x == 0.0 { x } else { out }
}

/// Cosine for `|x| <= TRIG_LIMIT`.
#[inline(always)]
pub fn cos_near(x: f32) -> f32 {
    let (n, r) = quarter(x);
    sin_or_cos(n.wrapping_add(1), r)
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let near = (x * z).mul_add(
        poly(
            z,
            [
                -0.333_333_3,
                0.133_332_1,
                -0.053_947_207,
                0.021_702_98,
                -0.008_182_703_5,
                0.002_147_561_2,
            ],
        ),
        x,
    );
    let capped = if a > 10.0 { 10.0 } else { a };
    let far = 1.0 - 2.0 / (exp_mid(capped + capped) + 1.0);
    let far = far.copysign(x);
    let out = if a < 0.625 { near } else { far };
    // NaN, and zero with its sign.
    if a > 0.0 { out } else { x }
}

/// `e^x` for `|x| <= 80`.
#[inline(always)]
fn exp_mid(x: f32) -> f32 {
    let (n, r, q) = exp_parts(x);
    let p = (r * r).mul_add(q, r) + 1.0;
    p * f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// Error function.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let near = x.mul_add(
        poly(
            z,
            [
                0.128_379_17,
                -0.376_126_38,
                0.112_837_83,
                -0.026_865_445,
                0.005_221_075,
                -8.484_712e-4,
                1.127_054_6e-4,
                -9.680_14e-6,
            ],
        ),
        x,
    );
    // 1 - e^Q(t) with Q the logarithm of erfc on 0.98..=4.05; beyond it erf rounds to 1.
    let t = if a > 4.05 { 4.05 } else { a };
    let q = poly(
        t,
        [
            1.884_682_6e-4,
            -1.129_580_3,
            -0.633_216_4,
            -0.108_422_1,
            0.025_210_341,
            -0.004_205_285,
            4.414_727_2e-4,
            -2.169_761_9e-5,
        ],
    );
    let far = (1.0 - exp_mid(q)).copysign(x);
    let out = if a < 1.0 { near } else { far };
    if x.is_nan() { x } else { out }
}

/// Larger of two; NaN if either is.
#[inline(always)]
pub fn max(a: f32, b: f32) -> f32 {
    let m = if a > b { a } else { b };
    if a.is_nan() { a } else { m }
}

/// Smaller of two; NaN if either is.
#[inline(always)]
pub fn min(a: f32, b: f32) -> f32 {
    let m = if a < b { a } else { b };
    if a.is_nan() { a } else { m }
}

/// Next f32 after `a` toward `b`.
#[inline(always)]
pub fn next_after(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() {
        return f32::NAN;
    }
    if a == b {
        return b;
    }
    if a == 0.0 {
        return f32::from_bits(1).copysign(b);
    }
    let up = (a < b) == (a > 0.0);
    f32::from_bits(if up { a.to_bits() + 1 } else { a.to_bits() - 1 })
}

const _: () = assert!(LN2_HI + LN2_LO == LN_2);

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance of `got` from the true value `want` in units of the last place of `want`.
    fn ulp(got: f32, want: f64) -> f64 {
        let rounded = want as f32;
        if got.is_nan() || want.is_nan() {
            return if got.is_nan() && want.is_nan() { 0.0 } else { f64::INFINITY };
        }
        if rounded.is_infinite() || got.is_infinite() {
            return if got == rounded { 0.0 } else { f64::INFINITY };
        }
        let exponent = want.abs().max(f32::MIN_POSITIVE as f64).log2().floor();
        (got as f64 - want).abs() / (exponent - 23.0).exp2()
    }

    fn worst(name: &str, f: fn(f32) -> f32, truth: fn(f64) -> f64, limit: f64, range: Option<f32>) {
        let mut worst = (0.0, 0.0);
        let mut check = |x: f32| {
            let u = ulp(f(x), truth(x as f64));
            if u > worst.0 {
                worst = (u, x);
            }
        };
        // Every exponent and sign, with a stride through the mantissas that is no power of two.
        let mut bits = 0u32;
        loop {
            let x = f32::from_bits(bits);
            if range.is_none_or(|r| x.abs() <= r) {
                check(x);
            }
            match bits.checked_add(9_973) {
                Some(b) => bits = b,
                None => break,
            }
        }
        // The everyday range densely.
        for i in -100_000..100_000 {
            check(i as f32 * 1.234e-4);
            check(i as f32 * 9.87e-4);
        }
        for x in [
            0.0,
            -0.0,
            1.0,
            -1.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            88.72,
            88.73,
            -87.4,
            -103.9,
        ] {
            if range.is_none_or(|r| x.abs() <= r) {
                check(x);
                if f(x) == 0.0 {
                    assert_eq!(
                        f(x).is_sign_negative(),
                        (truth(x as f64) as f32).is_sign_negative(),
                        "{name}({x})"
                    );
                }
            }
        }
        assert!(worst.0 <= limit, "{name}: {} ulp at {:e}", worst.0, worst.1);
    }

    #[test]
    fn within_stated_ulps() {
        worst("exp", exp, libm::exp, 1.3, None);
        worst("log", log, libm::log, 1.0, None);
        worst("expm1", expm1, libm::expm1, 2.0, None);
        worst("log1p", log1p, libm::log1p, 2.0, None);
        worst("tanh", tanh, libm::tanh, 1.6, None);
        worst("erf", erf, libm::erf, 1.5, None);
        worst("sin", sin_near, libm::sin, 1.5, Some(TRIG_LIMIT));
        worst("cos", cos_near, libm::cos, 1.5, Some(TRIG_LIMIT));
    }

    #[test]
    fn turns() {
        for i in 0..10_000 {
            let u = i as f32 / 9_999.0;
            let (c, s) = turn(u);
            let angle = u as f64 * std::f64::consts::TAU;
            assert!((c as f64 - angle.cos()).abs() < 1.5e-7, "{u}");
            assert!((s as f64 - angle.sin()).abs() < 1.5e-7, "{u}");
        }
    }

    #[test]
    fn steps_to_the_next_number() {
        assert_eq!(next_after(1.0, 2.0), 1.0 + f32::EPSILON);
        assert_eq!(next_after(1.0, 0.0), 1.0 - f32::EPSILON / 2.0);
        assert_eq!(next_after(0.0, -1.0), -f32::from_bits(1));
        assert_eq!(next_after(-1.0, -2.0), -1.0 - f32::EPSILON);
        assert_eq!(next_after(f32::MAX, f32::INFINITY), f32::INFINITY);
    }
}
