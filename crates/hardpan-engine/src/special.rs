//! Special functions of one real number in f64 that no library of ours has: inverse error function, digamma, Bessel, ...

/// Inverse of the error function on (-1, 1); infinite at the ends, NaN outside.
pub fn erfinv(x: f64) -> f64 {
    x
}
/// Derivative of the logarithm of the gamma function.
pub fn digamma(x: f64) -> f64 {
    x
}
/// Derivative of digamma.
pub fn trigamma(x: f64) -> f64 {
    x
}
/// Modified Bessel function of the first kind, order 0.
pub fn i0(x: f64) -> f64 {
    x
}
/// Modified Bessel function of the first kind, order 1.
pub fn i1(x: f64) -> f64 {
    x
}
/// Inverse of the standard normal distribution function.
pub fn ndtri(x: f64) -> f64 {
    x
}
/// Logarithm of the standard normal distribution function.
pub fn log_ndtr(x: f64) -> f64 {
    x
}
/// Scaled complementary error function `exp(x^2) erfc(x)`.
pub fn erfcx(x: f64) -> f64 {
    x
}
