//! Schedules: functions from the share of training done (0 to 1) to the value of a hyperparameter.
//!
//! [`Anneal`] goes from a start to an end along a curve; [`combine`] puts several one after the other; [`combined_cos`] is the
//! up-and-down of one-cycle training ([`OneCycle`]), [`FlatCos`], [`sgdr`] and [`staircase`] are others that are known to work. Any closure `Fn(f64) -> f64` is a schedule too. Counterpart: fastai's
//! `callback.schedule`.
//!
//! ```
//! use hardpan_learn::schedule::{Anneal, combined_cos};
//! let warm_up = Anneal::Linear.from_to(0.0, 1.0);
//! assert_eq!(warm_up(0.25), 0.25);
//! let one_cycle = combined_cos(0.25, 0.04, 1.0, 1e-5);
//! assert_eq!((one_cycle(0.0), one_cycle(0.25)), (0.04, 1.0));
//! ```

use std::f64::consts::PI;

/// The value at a share of training done.
///
/// ```
/// use hardpan_learn::schedule::{Schedule, combine};
/// // Any function will do: here a square root up, and then nothing.
/// let up: Schedule = Box::new(|pos| pos.sqrt());
/// let schedule = combine(vec![(0.5, up), (0.5, Box::new(|_| 0.0))]);
/// assert_eq!((schedule(0.125), schedule(0.75)), (0.5, 0.0));
/// ```
pub type Schedule = Box<dyn Fn(f64) -> f64 + Send>;

/// The curve from a start to an end.
///
/// ```
/// use hardpan_learn::schedule::Anneal;
/// let halfway = |a: Anneal| a.at(1.0, 0.01, 0.5);
/// assert_eq!(halfway(Anneal::Linear), 0.505);
/// assert!((halfway(Anneal::Cosine) - 0.505).abs() < 1e-12);
/// assert!((halfway(Anneal::Exponential) - 0.1).abs() < 1e-12);
/// assert_eq!(halfway(Anneal::No), 1.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Anneal {
    /// A straight line.
    Linear,
    /// Half a period of the cosine: slow, fast, slow.
    Cosine,
    /// The start all the time.
    No,
    /// A straight line on a logarithmic scale; start and end must have the same sign.
    Exponential,
    /// `pos ^ power`.
    Polynomial(f64),
}

impl Anneal {
    /// The value between `start` and `end` at `pos` (0 to 1).
    pub fn at(self, start: f64, end: f64, pos: f64) -> f64 {
        match self {
            Anneal::Linear => start + pos * (end - start),
            Anneal::Cosine => start + (1.0 + (PI * (1.0 - pos)).cos()) * (end - start) / 2.0,
            Anneal::No => start,
            Anneal::Exponential => start * (end / start).powf(pos),
            Anneal::Polynomial(power) => start + (end - start) * pos.powf(power),
        }
    }

    /// The schedule with this curve.
    pub fn from_to(self, start: f64, end: f64) -> Schedule {
        Box::new(move |pos| self.at(start, end, pos))
    }
}

/// The schedules one after the other, each for its share of the time.
///
/// ```
/// use hardpan_learn::schedule::{Anneal, combine};
/// // A tenth of the time up, then down to nothing.
/// let schedule = combine(vec![
///     (0.1, Anneal::Linear.from_to(0.0, 1.0)),
///     (0.9, Anneal::Cosine.from_to(1.0, 0.0)),
/// ]);
/// assert_eq!((schedule(0.05), schedule(1.0)), (0.5, 0.0));
/// ```
///
/// # Panics
/// If the shares are negative, do not add up to 1, or are not as many as the schedules.
#[track_caller]
pub fn combine(parts: Vec<(f64, Schedule)>) -> Schedule {
    let total: f64 = parts.iter().map(|p| p.0).sum();
    assert!(
        parts.iter().all(|p| p.0 >= 0.0) && (total - 1.0).abs() < 1e-9,
        "combine: shares must be from 0 on and add up to 1, got {:?}",
        parts.iter().map(|p| p.0).collect::<Vec<_>>()
    );
    Box::new(move |pos| {
        let mut start = 0.0;
        let last = parts.iter().rposition(|p| p.0 > 0.0).unwrap_or(0);
        for (i, (share, schedule)) in parts.iter().enumerate() {
            if *share > 0.0 && (pos < start + share || i == last) {
                return schedule(((pos - start) / share).min(1.0));
            }
            start += share;
        }
        f64::NAN
    })
}

/// From `start` to `middle` in the first `share` of the time, then to `end`, both along cosines.
///
/// ```
/// use hardpan_learn::schedule::combined_cos;
/// let schedule = combined_cos(0.25, 0.1, 1.0, 0.0);
/// assert_eq!((schedule(0.0), schedule(0.25)), (0.1, 1.0));
/// assert!((schedule(0.625) - 0.5).abs() < 1e-12);
/// ```
#[track_caller]
pub fn combined_cos(share: f64, start: f64, middle: f64, end: f64) -> Schedule {
    combine(vec![
        (share, Anneal::Cosine.from_to(start, middle)),
        (1.0 - share, Anneal::Cosine.from_to(middle, end)),
    ])
}

/// The settings of one-cycle training (Smith, "Super-Convergence", 2018), with fastai's defaults.
///
/// ```
/// use hardpan_learn::schedule::OneCycle;
/// let rates = OneCycle::default().rates(0.01);
/// assert!((rates(0.0) - 0.01 / 25.0).abs() < 1e-12); // starts low,
/// assert!((rates(0.25) - 0.01).abs() < 1e-12); // is highest after a quarter,
/// assert!((rates(1.0) - 0.01 / 1e5).abs() < 1e-12); // and ends near nothing
/// assert_eq!(OneCycle::default().momentum()(0.25), 0.85);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneCycle {
    /// Training starts at the highest rate divided by this: 25.
    pub div: f64,
    /// and ends at the highest rate divided by this: 1e5.
    pub div_final: f64,
    /// Share of the time in which the rate rises: 0.25.
    pub pct_start: f64,
    /// Momentum at the start, at the highest rate, at the end: 0.95, 0.85, 0.95.
    pub moms: (f64, f64, f64),
}

impl Default for OneCycle {
    fn default() -> OneCycle {
        OneCycle { div: 25.0, div_final: 1e5, pct_start: 0.25, moms: (0.95, 0.85, 0.95) }
    }
}

impl OneCycle {
    /// The schedule of the learning rate.
    pub fn rates(&self, highest: f64) -> Schedule {
        combined_cos(self.pct_start, highest / self.div, highest, highest / self.div_final)
    }

    /// The schedule of the momentum.
    pub fn momentum(&self) -> Schedule {
        let (start, middle, end) = self.moms;
        combined_cos(self.pct_start, start, middle, end)
    }
}

/// The settings of training at a constant rate that falls along a cosine at the end, with fastai's defaults (`fit_flat_cos`).
///
/// ```
/// use hardpan_learn::schedule::FlatCos;
/// let rates = FlatCos::default().rates(0.1);
/// assert!((rates(0.5) - 0.1).abs() < 1e-12);
/// assert!((rates(1.0) - 1e-6).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlatCos {
    /// Training ends at the rate divided by this: 1e5.
    pub div_final: f64,
    /// Share of the time in which the rate stays as it is: 0.75.
    pub pct_start: f64,
}

impl Default for FlatCos {
    fn default() -> FlatCos {
        FlatCos { div_final: 1e5, pct_start: 0.75 }
    }
}

impl FlatCos {
    /// The schedule of the learning rate.
    pub fn rates(&self, lr: f64) -> Schedule {
        combined_cos(self.pct_start, lr, lr, lr / self.div_final)
    }
}

/// Stochastic gradient descent with warm restarts (Loshchilov and Hutter, <https://arxiv.org/abs/1608.03983>): `cycles` cosines from
/// `lr` to 0, each `mult` times as long as the one before. Counterpart: the schedule of fastai's `fit_sgdr`.
///
/// ```
/// use hardpan_learn::schedule::sgdr;
/// // Two cycles, the second twice as long: it begins after a third of the time.
/// let rates = sgdr(2, 2, 0.1);
/// assert!((rates(0.0) - 0.1).abs() < 1e-12 && rates(0.333) < 1e-3);
/// assert!((rates(0.334) - 0.1).abs() < 1e-3);
/// ```
///
/// # Panics
/// If `cycles` or `mult` is 0.
#[track_caller]
pub fn sgdr(cycles: usize, mult: usize, lr: f64) -> Schedule {
    let total = sgdr_length(cycles, mult) as f64;
    let share = |i: usize| mult.pow(i as u32) as f64 / total;
    combine((0..cycles).map(|i| (share(i), Anneal::Cosine.from_to(lr, 0.0))).collect())
}

/// How many times the first cycle all cycles of [`sgdr`] are.
#[track_caller]
pub(crate) fn sgdr_length(cycles: usize, mult: usize) -> usize {
    assert!(
        cycles > 0 && mult > 0,
        "sgdr: {cycles} cycles, each {mult} times the one before; both must be above 0"
    );
    (0..cycles).map(|i| mult.pow(i as u32)).sum()
}

/// `factor` times as much after each of `steps` equal parts: a staircase from `start`. The last step is at `start * factor^(steps - 1)`.
///
/// ```
/// use hardpan_learn::schedule::staircase;
/// let rates = staircase(0.8, 0.5, 3);
/// assert_eq!([0.0, 0.5, 1.0].map(|at| rates(at)), [0.8, 0.4, 0.2]);
/// ```
///
/// # Panics
/// If `steps` is 0.
#[track_caller]
pub fn staircase(start: f64, factor: f64, steps: usize) -> Schedule {
    assert!(steps > 0, "staircase: the number of steps must be above 0");
    Box::new(move |pos| {
        let step = ((pos * steps as f64) as usize).min(steps - 1);
        start * factor.powi(step as i32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} and {b}");
    }

    #[test]
    fn curves_go_from_start_to_end() {
        for a in [Anneal::Linear, Anneal::Cosine, Anneal::Exponential, Anneal::Polynomial(2.0)] {
            let s = a.from_to(2.0, 32.0);
            near(s(0.0), 2.0);
            near(s(1.0), 32.0);
        }
        near(Anneal::Linear.at(2.0, 4.0, 0.5), 3.0);
        near(Anneal::Cosine.at(0.0, 1.0, 0.25), (1.0 - (PI / 4.0).cos()) / 2.0);
        near(Anneal::Exponential.at(1e-7, 10.0, 0.5), 1e-3);
        near(Anneal::Polynomial(2.0).at(0.0, 1.0, 0.5), 0.25);
        near(Anneal::No.at(3.0, 4.0, 0.9), 3.0);
    }

    /// Values of fastai's `combined_cos(0.25, 0.5, 1., 0.)`, from its documentation.
    #[test]
    fn one_cycle_is_fastai_s() {
        let f = combined_cos(0.25, 0.5, 1.0, 0.0);
        let want = [
            (0.0, 0.5),
            (0.05, 0.5 + 0.25 * (1.0 - (0.2 * PI).cos())),
            (0.25, 1.0),
            (0.625, 0.5),
            (1.0, 0.0),
        ];
        for (pos, value) in want {
            near(f(pos), value);
        }
        let c = OneCycle::default();
        near(c.rates(0.01)(0.0), 4e-4);
        near(c.rates(0.01)(0.25), 0.01);
        near(c.rates(0.01)(1.0), 1e-7);
        near(c.momentum()(0.0), 0.95);
        near(c.momentum()(0.25), 0.85);
        near(c.momentum()(1.0), 0.95);
    }

    /// Values of fastai 2.8.12.
    #[test]
    fn flat_cos_and_sgdr_are_fastai_s() {
        // fastai works out the position in f32.
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-7, "{a} and {b}");
        let f = FlatCos::default().rates(0.1);
        let want = [
            (0.0, 0.1),
            (0.5, 0.1),
            (0.75, 0.1),
            (0.8, 0.0904509408),
            (0.9, 0.0345498190),
            (1.0, 1e-6),
        ];
        want.into_iter().for_each(|(pos, want)| close(f(pos), want));
        // `fit_sgdr(3, 1, 0.1)`: 7 epochs.
        let f = sgdr(3, 2, 0.1);
        let want = [
            (0.0, 0.1),
            (0.1, 0.0206107389),
            (0.2, 0.0904508535),
            (0.4, 0.0024471840),
            (0.5, 0.0961939797),
            (0.9, 0.0073679976),
            (1.0, 0.0),
        ];
        want.into_iter().for_each(|(pos, want)| close(f(pos), want));
        assert_eq!((sgdr_length(3, 2), sgdr_length(4, 1), sgdr_length(2, 3)), (7, 4, 4));
    }

    #[test]
    fn a_staircase_keeps_its_steps() {
        let f = staircase(0.8, 0.5, 3);
        assert_eq!([0.0, 0.3, 0.34, 0.6, 0.7, 1.0].map(&f), [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]);
    }

    #[test]
    fn parts_of_no_length_are_skipped() {
        let f = combined_cos(0.0, 5.0, 1.0, 0.0);
        near(f(0.0), 1.0);
        near(f(1.0), 0.0);
        let f = combined_cos(1.0, 5.0, 1.0, 0.0);
        near(f(1.0), 1.0);
    }

    #[test]
    #[should_panic(expected = "add up to 1, got [0.5, 0.6]")]
    fn shares_must_add_up() {
        let _ = combine(vec![(0.5, Anneal::No.from_to(0., 0.)), (0.6, Anneal::No.from_to(0., 0.))]);
    }
}
