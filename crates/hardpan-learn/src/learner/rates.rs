//! [`Rates`]: one learning rate for each parameter group.

/// Learning rates of the parameter groups, from the first layers to the last. Counterpart: what fastai writes as a number, a
/// `slice`, or a list.
///
/// | written | the groups get |
/// |---|---|
/// | `1e-3` | all the same |
/// | `(1e-5, 1e-3)` | the first 1e-5, the last 1e-3, those between spread evenly on a logarithmic scale: `slice(1e-5, 1e-3)` |
/// | `..1e-3` | the last 1e-3, all before it a tenth of that: `slice(1e-3)` |
/// | `[1e-5, 1e-4, 1e-3]` (array, slice or `Vec`) | one each; there must be as many as groups |
///
/// ```
/// use hardpan_learn::learner::Rates;
/// assert_eq!(Rates::from(0.1).for_groups(3), [0.1, 0.1, 0.1]);
/// assert_eq!(Rates::from(..0.5).for_groups(3), [0.05, 0.05, 0.5]);
/// assert_eq!(Rates::from((1.0, 4.0)).for_groups(3), [1.0, 2.0, 4.0]);
/// assert_eq!(Rates::from([0.1, 0.2]).for_groups(2), [0.1, 0.2]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Rates {
    /// The same for all groups.
    All(f64),
    /// From the first group to the last with a constant factor from one to the next. A single group gets the second number.
    Spread(f64, f64),
    /// A tenth for all groups but the last.
    Last(f64),
    /// One for each group.
    Each(Vec<f64>),
}

impl Rates {
    /// The rates of `groups` groups.
    ///
    /// # Panics
    /// If there are rates for another number of groups, or a spread goes from or to a rate that is not above 0.
    #[track_caller]
    pub fn for_groups(&self, groups: usize) -> Vec<f64> {
        match self {
            Rates::All(lr) => vec![*lr; groups],
            Rates::Last(lr) => {
                let mut out = vec![lr / 10.0; groups.saturating_sub(1)];
                out.push(*lr);
                out
            }
            Rates::Spread(_, last) if groups == 1 => vec![*last],
            Rates::Spread(first, last) => {
                assert!(
                    *first > 0.0 && *last > 0.0,
                    "learning rates ({first}, {last}): rates are spread by a constant factor, so both must be above 0"
                );
                let step = (last / first).powf(1.0 / (groups.max(2) - 1) as f64);
                (0..groups).map(|i| first * step.powi(i as i32)).collect()
            }
            Rates::Each(rates) if rates.len() == groups => rates.clone(),
            Rates::Each(rates) => panic!(
                "{} learning rates for {groups} parameter groups: {rates:?}; give one for each group, \
                 or a range such as (1e-5, 1e-3), which is spread over however many there are",
                rates.len()
            ),
        }
    }

    /// The highest of them, which belongs to the last group unless a list says otherwise.
    pub fn last(&self) -> f64 {
        match self {
            Rates::All(lr) | Rates::Last(lr) | Rates::Spread(_, lr) => *lr,
            Rates::Each(rates) => rates.last().copied().unwrap_or(f64::NAN),
        }
    }
}

impl From<f64> for Rates {
    fn from(lr: f64) -> Rates {
        Rates::All(lr)
    }
}

impl From<(f64, f64)> for Rates {
    fn from((first, last): (f64, f64)) -> Rates {
        Rates::Spread(first, last)
    }
}

impl From<std::ops::Range<f64>> for Rates {
    fn from(range: std::ops::Range<f64>) -> Rates {
        Rates::Spread(range.start, range.end)
    }
}

impl From<std::ops::RangeTo<f64>> for Rates {
    fn from(range: std::ops::RangeTo<f64>) -> Rates {
        Rates::Last(range.end)
    }
}

impl From<Vec<f64>> for Rates {
    fn from(rates: Vec<f64>) -> Rates {
        Rates::Each(rates)
    }
}

impl From<&[f64]> for Rates {
    fn from(rates: &[f64]) -> Rates {
        Rates::Each(rates.to_vec())
    }
}

impl<const N: usize> From<[f64; N]> for Rates {
    fn from(rates: [f64; N]) -> Rates {
        Rates::Each(rates.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `even_mults(1e-5, 1e-3, 4)` of fastai 2.8.12, and `set_hyper('lr', slice(1e-3))`.
    #[test]
    fn spreads_are_fastai_s() {
        let want = [1e-5, 4.641588833612779e-05, 2.1544346900318846e-4, 1e-3];
        for (a, b) in Rates::from((1e-5, 1e-3)).for_groups(4).iter().zip(want) {
            assert!((a / b - 1.0).abs() < 1e-12, "{a} and {b}");
        }
        assert_eq!(Rates::from((1e-5, 1e-3)).for_groups(1), [1e-3]);
        assert_eq!(Rates::from(1e-5..1e-3), Rates::from((1e-5, 1e-3)));
        assert_eq!(Rates::from(..1e-3).for_groups(1), [1e-3]);
        assert_eq!(Rates::from(..1e-3).for_groups(2), [1e-4, 1e-3]);
        assert_eq!(Rates::from(vec![1.0, 3.0]).last(), 3.0);
    }

    #[test]
    #[should_panic(expected = "2 learning rates for 3 parameter groups: [0.1, 0.2]")]
    fn a_list_must_fit() {
        Rates::from([0.1, 0.2]).for_groups(3);
    }

    #[test]
    #[should_panic(expected = "both must be above 0")]
    fn a_spread_from_zero_is_refused() {
        Rates::from((0.0, 0.1)).for_groups(3);
    }
}
