//! Special functions of one real number in f64 that no library of ours has: inverse error function, digamma, Bessel, ...
//!
//! Formulas are those of the NIST Digital Library of Mathematical Functions (DLMF), cited by number. Relative errors are a few
//! 1e-15 except close to zeros of the function.

use std::f64::consts::{FRAC_2_SQRT_PI, PI, SQRT_2};

/// Inverse of the error function on (-1, 1); infinite at the ends, NaN outside.
pub fn erfinv(x: f64) -> f64 {
    let a = x.abs();
    if a > 1.0 || x.is_nan() {
        return f64::NAN;
    }
    if a > 0.5 {
        return erfc_inverse(1.0 - a).copysign(x);
    }
    // Start of Winitzki ("A handy approximation for the error function and its inverse", 2008), then Halley's steps on
    // erf(z) = x, whose second derivative is -2 z times the first.
    let log = libm::log1p(-a * a);
    let c = 2.0 / (PI * 0.147) + 0.5 * log;
    let mut z = ((c * c - log / 0.147).sqrt() - c).sqrt();
    if a < 1e-3 {
        z = a / FRAC_2_SQRT_PI;
    }
    for _ in 0..3 {
        let u = (libm::erf(z) - a) / (FRAC_2_SQRT_PI * libm::exp(-z * z));
        z -= u / (1.0 + z * u);
    }
    z.copysign(x)
}

/// The `z >= 0` with `erfc(z) = y`, for `y` in 0..=1.
fn erfc_inverse(y: f64) -> f64 {
    if y == 0.0 {
        return f64::INFINITY;
    }
    if y > 0.5 {
        return erfinv(1.0 - y);
    }
    // Newton on ln erfc(z) = ln y: the left side is almost a parabola, and both sides stay in range for every y.
    let log = libm::log(y);
    let mut z = (-log).sqrt() * 0.9;
    for _ in 0..12 {
        let e = erfcx(z);
        let step = (libm::log(e) - z * z - log) * e / FRAC_2_SQRT_PI;
        z += step;
        if step.abs() <= 1e-16 * z {
            break;
        }
    }
    z
}

/// Derivative of the logarithm of the gamma function.
///
/// Minus infinity at 0 (plus infinity at -0), NaN at the negative integers.
pub fn digamma(x: f64) -> f64 {
    if x == 0.0 {
        return f64::NEG_INFINITY.copysign(-x);
    }
    if x < 0.0 {
        if x == x.floor() {
            return f64::NAN;
        }
        // Reflection, DLMF 5.5.4; the tangent's period is 1.
        let turn = x - x.floor();
        return digamma(1.0 - x) - PI / libm::tan(PI * turn);
    }
    // Recurrence, DLMF 5.5.2, up to where the asymptotic series, DLMF 5.11.2, is exact to rounding.
    let (mut x, mut sum) = (x, 0.0);
    while x < 12.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let z = 1.0 / (x * x);
    // B(2k) / 2k
    let series = z
        * (1.0 / 12.0
            - z * (1.0 / 120.0
                - z * (1.0 / 252.0
                    - z * (1.0 / 240.0
                        - z * (1.0 / 132.0 - z * (691.0 / 32_760.0 - z * (1.0 / 12.0)))))));
    sum + libm::log(x) - 0.5 / x - series
}

/// Derivative of digamma; infinite at 0 and the negative integers.
pub fn trigamma(x: f64) -> f64 {
    if x <= 0.0 {
        if x == x.floor() {
            return f64::INFINITY;
        }
        // Reflection, DLMF 5.15.6 for n = 1.
        let s = libm::sin(PI * (x - x.floor()));
        return PI * PI / (s * s) - trigamma(1.0 - x);
    }
    // DLMF 5.15.5 and 5.15.8.
    let (mut x, mut sum) = (x, 0.0);
    while x < 12.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let z = 1.0 / (x * x);
    // B(2k)
    let series = z
        * (1.0 / 6.0
            - z * (1.0 / 30.0
                - z * (1.0 / 42.0
                    - z * (1.0 / 30.0
                        - z * (5.0 / 66.0 - z * (691.0 / 2_730.0 - z * (7.0 / 6.0)))))));
    sum + 1.0 / x + 0.5 * z + series / x
}

/// Where the power series of the Bessel functions hands over to the asymptotic one.
const BESSEL_FAR: f64 = 25.0;

/// `sum_k (x^2 / 4)^k / (k! (k + order)!)`, all terms positive: DLMF 10.25.2.
fn bessel_series(x: f64, order: u32) -> f64 {
    let q = x * x / 4.0;
    let (mut term, mut sum, mut k) = (1.0, 1.0, 1.0);
    loop {
        term *= q / (k * (k + order as f64));
        if term <= sum * 1e-17 {
            return sum;
        }
        sum += term;
        k += 1.0;
    }
}

/// `e^x / sqrt(2 pi x) * sum_k (-1)^k a_k / x^k`: DLMF 10.40.1 with 10.17.1.
fn bessel_far(x: f64, order: f64) -> f64 {
    let m = 4.0 * order * order;
    let (mut term, mut sum) = (1.0f64, 1.0);
    for k in 1..60 {
        let odd = (2 * k - 1) as f64;
        let next = -term * (m - odd * odd) / (8.0 * k as f64 * x);
        if next.abs() >= term.abs() || next.abs() < 1e-18 {
            break;
        }
        term = next;
        sum += term;
    }
    // In two halves: e^x alone overflows before the result does.
    let half = libm::exp(x / 2.0);
    half * (sum / (2.0 * PI * x).sqrt()) * half
}

/// Modified Bessel function of the first kind, order 0.
pub fn i0(x: f64) -> f64 {
    let a = x.abs();
    if !a.is_finite() {
        // PyTorch has no limit at infinity here either.
        f64::NAN
    } else if a <= BESSEL_FAR {
        bessel_series(a, 0)
    } else {
        bessel_far(a, 0.0)
    }
}

/// Modified Bessel function of the first kind, order 1.
pub fn i1(x: f64) -> f64 {
    let a = x.abs();
    if a.is_infinite() || x.is_nan() {
        x
    } else if a <= BESSEL_FAR {
        x / 2.0 * bessel_series(a, 1)
    } else {
        bessel_far(a, 1.0).copysign(x)
    }
}

/// Inverse of the standard normal distribution function on (0, 1); infinite at the ends, NaN outside.
pub fn ndtri(p: f64) -> f64 {
    if p.is_nan() || !(0.0..=1.0).contains(&p) {
        f64::NAN
    } else if p <= 0.5 {
        -SQRT_2 * erfc_inverse(2.0 * p)
    } else {
        SQRT_2 * erfc_inverse(2.0 * (1.0 - p))
    }
}

/// Logarithm of the standard normal distribution function.
pub fn log_ndtr(x: f64) -> f64 {
    let t = x / SQRT_2;
    if x < -1.0 {
        libm::log(erfcx(-t) / 2.0) - x * x / 2.0
    } else if x <= 0.0 {
        libm::log(libm::erfc(-t) / 2.0)
    } else {
        libm::log1p(-libm::erfc(t) / 2.0)
    }
}

/// Scaled complementary error function `exp(x^2) erfc(x)`.
pub fn erfcx(x: f64) -> f64 {
    // e^(x^2) with the rounding error of the square put back.
    let exp_square = |x: f64| {
        let square = x * x;
        let lost = x.mul_add(x, -square);
        libm::exp(square) * (1.0 + lost)
    };
    if x < -26.7 {
        f64::INFINITY
    } else if x < 10.0 {
        exp_square(x) * libm::erfc(x)
    } else if x > 1e8 {
        FRAC_2_SQRT_PI / (2.0 * x)
    } else if x.is_nan() {
        x
    } else {
        // DLMF 7.12.1.
        let z = 1.0 / (2.0 * x * x);
        let (mut term, mut sum) = (1.0f64, 1.0);
        for k in 0..60 {
            term *= -((2 * k + 1) as f64) * z;
            sum += term;
            if term.abs() < 1e-17 {
                break;
            }
        }
        sum * FRAC_2_SQRT_PI / (2.0 * x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Known = (&'static str, fn(f64) -> f64, &'static [(f64, f64)]);

    /// Computed with mpmath at 60 digits.
    const KNOWN: &[Known] = &[
        (
            "erfinv",
            erfinv as fn(f64) -> f64,
            &[
                (1e-300, 8.86226925452758e-301),
                (1e-10, 8.862269254527581e-11),
                (0.001, 0.0008862271574665521),
                (0.1, 0.08885599049425769),
                (0.5, 0.4769362762044699),
                (-0.7, -0.7328690779592167),
                (0.9, 1.1630871536766743),
                (0.99, 1.8213863677184494),
                (-0.9999, -2.75106390571208),
                (0.999999999, 4.320005388105362),
                (0.9999999999999999, 5.8635847487551676),
            ],
        ),
        (
            "digamma",
            digamma as fn(f64) -> f64,
            &[
                (1e-05, -100000.57719921567),
                (0.1, -10.423754940411076),
                (0.5, -1.9635100260214235),
                (1.0, -0.5772156649015329),
                (1.5, 0.03648997397857652),
                (2.5, 0.7031566406452432),
                (6.0, 1.7061176684318005),
                (30.0, 3.384438132685525),
                (1000000.0, 13.815510057964191),
                (-0.3, 2.113309779635399),
                (-1.7, -1.4857174995110567),
                (-10.5, 2.3982391295357814),
            ],
        ),
        (
            "trigamma",
            trigamma as fn(f64) -> f64,
            &[
                (1e-05, 10000000001.644909),
                (0.1, 101.43329915079275),
                (0.5, 4.934802200544679),
                (1.0, 1.6449340668482264),
                (2.5, 0.49035775610023485),
                (9.0, 0.11751201469403143),
                (100.0, 0.010050166663333571),
                (100000000.0, 1.000000005e-08),
                (-0.3, 13.945160267805722),
                (-5.25, 19.565729569019783),
            ],
        ),
        (
            "i0",
            i0 as fn(f64) -> f64,
            &[
                (0.0, 1.0),
                (0.1, 1.0025015629340956),
                (1.0, 1.2660658777520084),
                (-2.5, 3.289839144050123),
                (7.0, 168.5939085102897),
                (15.0, 339649.3732979139),
                (24.0, 2168619088.2413764),
                (30.0, 781672297823.9775),
                (100.0, 1.0737517071310738e+42),
                (700.0, 1.5295933476718737e+302),
            ],
        ),
        (
            "i1",
            i1 as fn(f64) -> f64,
            &[
                (1e-08, 5e-09),
                (0.1, 0.050062526047092694),
                (1.0, 0.565159103992485),
                (-2.5, -2.5167162452886984),
                (7.0, 156.03909286995545),
                (15.0, 328124.9219702064),
                (24.0, 2122947893.2873137),
                (30.0, 768532038938.957),
                (-100.0, -1.0683693903381625e+42),
                (700.0, 1.5285003902339006e+302),
            ],
        ),
        (
            "ndtri",
            ndtri as fn(f64) -> f64,
            &[
                (1e-300, -37.0470962993612),
                (1e-100, -21.273453560965326),
                (1e-20, -9.262340089798407),
                (1e-05, -4.264890793922825),
                (0.01, -2.326347874040841),
                (0.3, -0.5244005127080408),
                (0.4999, -0.00025066283008800747),
                (0.6, 0.2533471031357997),
                (0.99, 2.3263478740408408),
                (0.9999999999, 6.361340889697422),
            ],
        ),
        (
            "log_ndtr",
            log_ndtr as fn(f64) -> f64,
            &[
                (-100.0, -5005.524208694205),
                (-20.0, -203.91715537109727),
                (-5.0, -15.064998393988725),
                (-1.0, -1.8410216450092636),
                (-0.3, -0.9621028181688507),
                (0.0, -std::f64::consts::LN_2),
                (0.5, -0.3689464152886564),
                (2.0, -0.02301290932896349),
                (6.0, -9.865876455243758e-10),
                (9.0, -1.1285884059538405e-19),
            ],
        ),
        (
            "erfcx",
            erfcx as fn(f64) -> f64,
            &[
                (-20.0, 1.0442939379528289e+174),
                (-3.0, 16205.988853999586),
                (-0.5, 1.952360489182557),
                (0.0, 1.0),
                (0.3, 0.7345993345676551),
                (1.0, 0.427583576155807),
                (4.0, 0.13699945762506138),
                (9.9, 0.05670245693883227),
                (10.5, 0.05349189974656412),
                (26.0, 0.021683584850562907),
                (1000.0, 0.0005641893014533876),
                (1e+20, 5.6418958354775626e-21),
            ],
        ),
    ];

    #[test]
    fn known_values() {
        for (name, f, values) in KNOWN {
            for (x, want) in *values {
                let got = f(*x);
                let error = (got - want).abs() / want.abs().max(1e-300);
                assert!(
                    error < 2e-13 || got == *want,
                    "{name}({x:e}) = {got:e}, expected {want:e}, error {error:e}"
                );
            }
        }
    }

    #[test]
    fn ends_and_outside() {
        assert_eq!(erfinv(1.0), f64::INFINITY);
        assert_eq!(erfinv(-1.0), f64::NEG_INFINITY);
        assert!(erfinv(1.1).is_nan() && ndtri(-0.1).is_nan() && digamma(-2.0).is_nan());
        assert_eq!(ndtri(0.0), f64::NEG_INFINITY);
        assert_eq!(ndtri(0.5), 0.0);
        assert_eq!(digamma(0.0), f64::NEG_INFINITY);
        assert_eq!(trigamma(-3.0), f64::INFINITY);
        assert!(i0(f64::INFINITY).is_nan());
        assert_eq!(i1(f64::NEG_INFINITY), f64::NEG_INFINITY);
        for f in [erfinv, digamma, trigamma, i0, i1, ndtri, log_ndtr, erfcx] {
            assert!(f(f64::NAN).is_nan());
        }
        assert_eq!(log_ndtr(f64::INFINITY), 0.0);
        assert_eq!(log_ndtr(f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert_eq!(erfcx(f64::INFINITY), 0.0);
    }
}
