//! Comparing what came out with what was recorded.

use hardpan_engine::HostArray;

/// How far floats may differ: `|actual - expected| <= atol + rtol * |expected|`.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub rtol: f64,
    pub atol: f64,
    /// Compare absolute values.
    pub abs: bool,
}

impl Tolerance {
    /// True when `actual` is close enough; NaN equals NaN, infinities must be equal.
    pub fn accepts(&self, actual: f64, expected: f64) -> bool {
        let (a, e) = if self.abs { (actual.abs(), expected.abs()) } else { (actual, expected) };
        if a.is_nan() || e.is_nan() {
            return a.is_nan() && e.is_nan();
        }
        a == e || (e.is_finite() && (a - e).abs() <= self.atol + self.rtol * e.abs())
    }
}

/// `Err` says what differs.
pub fn arrays(
    what: &str,
    actual: &HostArray,
    expected: &HostArray,
    tolerance: Tolerance,
) -> Result<(), String> {
    if actual.shape() != expected.shape() {
        return Err(format!(
            "{what}: shape: expected {:?}, actual {:?}",
            expected.shape(),
            actual.shape()
        ));
    }
    if actual.dtype() != expected.dtype() {
        return Err(format!(
            "{what}: dtype: expected {}, actual {}",
            expected.dtype(),
            actual.dtype()
        ));
    }
    let wrong = if expected.dtype().is_float() {
        let (a, e) = (actual.to_vec::<f64>(), expected.to_vec::<f64>());
        first_wrong(&a, &e, |a, e| tolerance.accepts(*a, *e))
    } else {
        let (a, e) = (actual.to_vec::<i64>(), expected.to_vec::<i64>());
        first_wrong(&a, &e, |a, e| a == e)
    };
    match wrong {
        None => Ok(()),
        Some((count, i, a, e)) => Err(format!(
            "{what}: {count} of {} elements of {}{:?} differ (rtol {:e}, atol {:e}), first at {}:\n  expected {e}\n  actual   {a}",
            expected.len(),
            expected.dtype(),
            expected.shape(),
            tolerance.rtol,
            tolerance.atol,
            position(i, expected.shape()),
        )),
    }
}

type Wrong = (usize, usize, String, String);

fn first_wrong<T: std::fmt::Debug>(
    actual: &[T],
    expected: &[T],
    good: impl Fn(&T, &T) -> bool,
) -> Option<Wrong> {
    let bad: Vec<usize> =
        (0..expected.len()).filter(|i| !good(&actual[*i], &expected[*i])).collect();
    let first = *bad.first()?;
    // A window around the first difference shows patterns (an axis swapped, a row shifted).
    let start = first.saturating_sub(2);
    let window = start..(start + 8).min(expected.len());
    let show = |x: &[T]| format!("{:?} = {:?}", window, &x[window.clone()]);
    Some((bad.len(), first, show(actual), show(expected)))
}

fn position(mut i: usize, shape: &[usize]) -> String {
    let mut index = vec![0; shape.len()];
    for d in (0..shape.len()).rev() {
        index[d] = i % shape[d];
        i /= shape[d];
    }
    format!("{index:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Tolerance = Tolerance { rtol: 1e-3, atol: 1e-5, abs: false };

    #[test]
    fn tolerance_rules() {
        assert!(T.accepts(1.0009, 1.0) && !T.accepts(1.002, 1.0));
        assert!(T.accepts(f64::NAN, f64::NAN) && !T.accepts(0.0, f64::NAN));
        assert!(!T.accepts(f64::NAN, 0.0));
        assert!(T.accepts(f64::INFINITY, f64::INFINITY));
        assert!(!T.accepts(f64::NEG_INFINITY, f64::INFINITY) && !T.accepts(1e300, f64::INFINITY));
        assert!(!T.accepts(f64::INFINITY, 1.0));
        assert!(Tolerance { abs: true, ..T }.accepts(-2.0, 2.0));
    }

    #[test]
    fn differences_are_named() {
        let a = HostArray::new(&[1.0f32, 2.0], &[2]);
        let b = HostArray::new(&[1.0f32, 3.0], &[2]);
        assert!(arrays("x", &a, &a, T).is_ok());
        assert!(arrays("x", &a, &b, T).unwrap_err().contains("first at [1]"));
        let c = HostArray::new(&[1i64, 2], &[2]);
        assert!(arrays("x", &c, &a, T).unwrap_err().contains("dtype"));
        let d = HostArray::new(&[1.0f32, 2.0], &[1, 2]);
        assert!(arrays("x", &d, &a, T).unwrap_err().contains("shape"));
    }
}
