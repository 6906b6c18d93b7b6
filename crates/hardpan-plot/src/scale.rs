//! Scales: from the numbers of an axis to places on it, and where its ticks are.

/// How an axis is divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    #[default]
    Linear,
    /// Evenly in the logarithm: each decade is as long as the others. What is not above 0 is left out.
    Log,
}

/// A range of numbers on an axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Span {
    /// From `low` to `high`, made wider if there is nothing between.
    pub(crate) fn new(scale: Scale, low: f64, high: f64) -> Span {
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        // Beyond this the length of the range would be infinite.
        let (low, high) = (low.clamp(-1e300, 1e300), high.clamp(-1e300, 1e300));
        let (low, high) = match scale {
            Scale::Linear if high - low <= f64::EPSILON * high.abs().max(low.abs()) => {
                let by = if low == 0.0 { 0.5 } else { low.abs() * 0.1 };
                (low - by, high + by)
            }
            Scale::Log if low <= 0.0 => (1e-3, 1.0),
            Scale::Log if low == high => (low / 2.0, high * 2.0),
            _ => (low, high),
        };
        Span { scale, low, high }
    }

    /// With some air at both ends.
    pub(crate) fn padded(self, share: f64) -> Span {
        let (a, b) = (self.inner(self.low), self.inner(self.high));
        let by = (b - a) * share;
        Span { low: self.outer(a - by), high: self.outer(b + by), ..self }
    }

    fn inner(&self, v: f64) -> f64 {
        match self.scale {
            Scale::Linear => v,
            Scale::Log => v.log10(),
        }
    }

    fn outer(&self, v: f64) -> f64 {
        match self.scale {
            Scale::Linear => v,
            Scale::Log => 10f64.powf(v.clamp(-305.0, 305.0)),
        }
    }

    /// Where `v` is: 0 at the low end, 1 at the high end. Not a number for what has no place.
    pub(crate) fn place(&self, v: f64) -> f64 {
        let (a, b) = (self.inner(self.low), self.inner(self.high));
        let p = (self.inner(v) - a) / (b - a);
        if p.is_finite() { p } else { f64::NAN }
    }

    /// About `count` round numbers in the range, with their labels.
    pub(crate) fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        let count = count.max(2);
        match self.scale {
            Scale::Linear => self.linear_ticks(count),
            Scale::Log => self.log_ticks(count),
        }
    }

    fn linear_ticks(&self, count: usize) -> Vec<(f64, String)> {
        let step = nice_step((self.high - self.low) / count as f64);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        // A range far from zero would give numbers that all look alike.
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let digits = if (step * 10f64.powi(digits as i32)).fract().abs() > 1e-6 {
            digits + 1
        } else {
            digits
        };
        (first..=last)
            .map(|i| {
                let v = i as f64 * step;
                (v, label(v, step, digits))
            })
            .collect()
    }

    fn log_ticks(&self, count: usize) -> Vec<(f64, String)> {
        let (a, b) = (self.low.log10(), self.high.log10());
        let (first, last) = ((a - 1e-9).ceil() as i32, (b + 1e-9).floor() as i32);
        if last - first >= 1 {
            let every = ((last - first) as usize / count + 1) as i32;
            return (first..=last)
                .filter(|e| e.rem_euclid(every) == 0)
                .map(|e| (10f64.powi(e), short(10f64.powi(e))))
                .collect();
        }
        // Less than two decades: also 2 and 5 times the powers.
        let mut out = Vec::new();
        for e in first - 1..=last {
            for m in [1.0, 2.0, 5.0] {
                let v = m * 10f64.powi(e);
                if v >= self.low * (1.0 - 1e-9) && v <= self.high * (1.0 + 1e-9) {
                    out.push((v, short(v)));
                }
            }
        }
        if out.len() >= 2 { out } else { self.linear_ticks(count) }
    }
}

/// 1, 2 or 5 times a power of ten, not below `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let by = rough / power;
    let nice = [1.0, 2.0, 5.0, 10.0].into_iter().find(|n| by <= n * (1.0 + 1e-9)).unwrap_or(10.0);
    nice * power
}

fn label(v: f64, step: f64, digits: usize) -> String {
    if v.abs() < step * 1e-6 {
        return "0".into();
    }
    if v.abs() >= 1e6 || step < 1e-4 {
        return short(v);
    }
    format!("{v:.digits$}").replace('-', "−")
}

/// A number in few letters, for people: `0.001`, `2.5e-5`, `12000`, `1.2e6`.
///
/// ```
/// use hardpan_plot::short;
/// assert_eq!(short(0.25), "0.25");
/// println!("{} {}", short(1_234_567.0), short(0.000_012_3));
/// ```
pub fn short(v: f64) -> String {
    if v == 0.0 {
        return "0".into();
    }
    if !v.is_finite() {
        return if v.is_nan() { "nan".into() } else { format!("{v}").replace('-', "−") };
    }
    let text = if (1e-3..1e5).contains(&v.abs()) {
        let digits = (3 - v.abs().log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{v:.digits$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    } else {
        let text = format!("{v:.1e}");
        text.replace(".0e", "e")
    };
    match text.strip_prefix('-') {
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(span: Span, n: usize) -> Vec<String> {
        span.ticks(n).into_iter().map(|t| t.1).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            labels(Span::new(Scale::Linear, 0.0, 1.0), 5),
            ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(labels(Span::new(Scale::Linear, -3.0, 12.0), 4), ["0", "5", "10"]);
        assert_eq!(labels(Span::new(Scale::Log, 1e-7, 10.0), 10).len(), 9);
        assert_eq!(labels(Span::new(Scale::Log, 1e-4, 1e-2), 5), ["1e-4", "0.001", "0.01"]);
        assert_eq!(labels(Span::new(Scale::Log, 0.15, 0.9), 5), ["0.2", "0.5"]);
    }

    #[test]
    fn every_range_has_ticks() {
        for (a, b) in
            [(0.0, 0.0), (5.0, 5.0), (-1e-9, 1e-9), (1e8, 1.1e8), (f64::NAN, 1.0), (3.0, 1.0)]
        {
            for scale in [Scale::Linear, Scale::Log] {
                let span = Span::new(scale, a, b);
                let ticks = span.ticks(5);
                assert!(!ticks.is_empty() && ticks.len() < 20, "{scale:?} {a} {b}: {ticks:?}");
                assert!(ticks.iter().all(|t| (-1e-6..=1.000001).contains(&span.place(t.0))));
            }
        }
    }

    #[test]
    fn places() {
        let span = Span::new(Scale::Log, 1.0, 100.0);
        assert!((span.place(10.0) - 0.5).abs() < 1e-12);
        assert!(span.place(0.0).is_nan() && span.place(-1.0).is_nan());
        let padded = Span::new(Scale::Linear, 0.0, 10.0).padded(0.1);
        assert!((padded.place(-1.0)).abs() < 1e-12 && (padded.place(11.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.001, "0.001"),
            (2.5e-5, "2.5e-5"),
            (12000.0, "12000"),
            (1.25e6, "1.2e6"),
            (-0.5, "−0.5"),
            (0.98765, "0.9877"),
            (1e-7, "1e-7"),
            (3.0, "3"),
            (100.0, "100"),
        ];
        for (v, text) in cases {
            assert_eq!(short(v), text);
        }
    }
}
