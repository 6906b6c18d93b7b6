//! The learning rate finder (Smith, "Cyclical Learning Rates", 2015): [`LrFind`] is what it found.

use crate::callback::{Callback, Flow};
use crate::learner::{Context, Task};
use crate::lock::lock;
use crate::schedule::Anneal;
use hardpan_nn::optim::Hyper;
use hardpan_plot::{Figure, figures};
use std::sync::{Arc, Mutex};

type Points = Arc<Mutex<Vec<(f64, f64)>>>;

/// The callback behind [`Learner::lr_find`](crate::learner::Learner::lr_find): raises the rate with each batch until the
/// loss is four times its best. The learner puts the weights back. Counterpart: fastai's `LRFinder`.
pub(crate) struct LrFinder {
    start: f64,
    end: f64,
    steps: usize,
    stop_div: bool,
    best: f64,
    points: Points,
}

impl LrFinder {
    pub(crate) fn new(search: LrSearch, points: Points) -> LrFinder {
        let LrSearch { start_lr: start, end_lr: end, steps, stop_div } = search;
        LrFinder { start, end, steps, stop_div, best: f64::INFINITY, points }
    }
}

/// The settings of [`Learner::lr_find_with`](crate::learner::Learner::lr_find_with), with fastai's defaults.
///
/// ```
/// use hardpan_learn::lr_find::LrSearch;
/// let fine = LrSearch { steps: 300, ..LrSearch::default() };
/// assert_eq!((fine.start_lr, fine.end_lr, fine.stop_div), (1e-7, 10.0, true));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrSearch {
    /// The first rate. 1e-7.
    pub start_lr: f64,
    /// The last rate. 10.
    pub end_lr: f64,
    /// Steps from the first to the last, at least six. 100.
    pub steps: usize,
    /// Stops as soon as the loss is four times its best. Yes. If not, only a loss that is not a number ends the search early.
    pub stop_div: bool,
}

impl Default for LrSearch {
    fn default() -> LrSearch {
        LrSearch { start_lr: 1e-7, end_lr: 10.0, steps: 100, stop_div: true }
    }
}

impl<T: Task> Callback<T> for LrFinder {
    fn order(&self) -> i32 {
        60
    }

    fn before_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        if ctx.training {
            let pos = ctx.train_iter as f64 / self.steps as f64;
            ctx.opt.set_hyper(Hyper::Lr, Anneal::Exponential.at(self.start, self.end, pos));
        }
        Flow::Continue
    }

    fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        let (true, Some(&loss)) = (ctx.training, ctx.history.losses.last()) else {
            return Flow::Continue;
        };
        lock(&self.points).push((ctx.opt.lr(), loss));
        self.best = self.best.min(loss);
        // After a NaN nothing but NaN would follow.
        let diverged = self.stop_div && loss > 4.0 * self.best;
        if loss.is_nan() || diverged || ctx.train_iter >= self.steps {
            return Flow::CancelFit;
        }
        Flow::Continue
    }

    fn before_validate(&mut self, _: &mut Context<T>) -> Flow {
        Flow::CancelValid
    }
}

/// Rates that were tried with the smoothed loss at each, and what they suggest.
///
/// ```
/// use hardpan_learn::lr_find::LrFind;
/// // A loss that falls until the rate is 0.1, and rises after it.
/// let points = (0..60).map(|i| 1e-5 * 1.2f64.powi(i)).map(|lr| (lr, (lr.log10() + 1.0).powi(2)));
/// let found = LrFind::of(points.collect());
/// let lowest = found.minimum.unwrap() * 10.0;
/// assert!((0.08..0.12).contains(&lowest));
/// assert!(found.suggestion().unwrap() < lowest);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LrFind {
    /// Rate and smoothed loss of each step that counts: without the first tenth, when the smoothing has little to go by, and the last
    /// five, when the loss is on its way up. As in fastai. All losses are numbers; some may be infinite.
    pub points: Vec<(f64, f64)>,
    /// In the middle of the longest fall of the loss: see [`valley`].
    pub valley: Option<f64>,
    /// Where the loss falls steepest over the logarithm of the rate.
    pub steep: Option<f64>,
    /// A tenth of the rate with the lowest loss.
    pub minimum: Option<f64>,
    /// Where the slope before the rise is still even.
    pub slide: Option<f64>,
}

impl LrFind {
    /// From all points of a search of `steps` steps.
    pub(crate) fn new(mut all: Vec<(f64, f64)>, steps: usize) -> LrFind {
        // fastai goes on after a NaN, so there the last five are NaN and the points before it all count.
        let nan = all.iter().position(|p| p.1.is_nan());
        let steps_made = if nan.is_some() { steps.max(all.len()) } else { all.len() };
        all.truncate(nan.unwrap_or(all.len()).min(steps_made.saturating_sub(5)));
        let points = all.split_off((steps / 10).min(all.len()));
        LrFind::of(points)
    }

    /// What these points (rate, loss) suggest, with rates that rise.
    pub fn of(points: Vec<(f64, f64)>) -> LrFind {
        LrFind {
            valley: valley(&points),
            steep: steep(&points),
            minimum: minimum(&points),
            slide: slide(&points),
            points,
        }
    }

    /// The rate to use: the valley's, or what else there is; `None` if too few steps were made.
    pub fn suggestion(&self) -> Option<f64> {
        self.valley.or(self.steep).or(self.minimum)
    }
}

impl LrFind {
    /// The loss over the rate, with the suggestions marked. Counterpart: the plot of fastai's `lr_find`.
    pub fn plot(&self) -> Figure {
        let named = [
            ("valley", self.valley),
            ("slide", self.slide),
            ("steep", self.steep),
            ("minimum", self.minimum),
        ];
        let known: Vec<(&str, f64)> =
            named.into_iter().filter_map(|(name, rate)| Some((name, rate?))).collect();
        figures::lr_find(&self.points, &known)
    }
}

/// Finds the longest falling subsequence of losses and goes into it by half its length (a third and a half of a third).
/// Counterpart: fastai's `valley`, the default suggestion.
///
/// ```
/// use hardpan_learn::lr_find::valley;
/// // A loss that falls between 1e-3 and 1e-1 and shoots up at the end.
/// let points: Vec<(f64, f64)> = (0..80)
///     .map(|i| {
///         let x = f64::from(i);
///         (1e-5 * 10f64.powf(x / 15.0), 2.0 / (1.0 + ((x - 45.0) / 4.0).exp()) + ((x - 75.0) / 2.0).exp())
///     })
///     .collect();
/// let rate = valley(&points).unwrap();
/// assert!(rate > 1e-4 && rate < 1e-1, "{rate:e}");
/// ```
pub fn valley(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len();
    if n == 0 {
        return None;
    }
    let mut length = vec![1isize; n];
    let (mut start, mut end) = (0isize, 0usize);
    for i in 1..n {
        for j in 0..i {
            if points[i].1 < points[j].1 && length[i] < length[j] + 1 {
                length[i] = length[j] + 1;
            }
            if length[end] < length[i] {
                end = i;
                start = end as isize - length[end];
            }
        }
    }
    let third = (end as isize - start) as f64 / 3.0;
    let at = start + third as isize + (third / 2.0) as isize;
    // As in Python a place before the first counts from the end.
    Some(points[at.rem_euclid(n as isize) as usize].0)
}

/// The rate at which the loss falls steepest over the logarithm of the rate. Counterpart: fastai's `steep`.
///
/// ```
/// use hardpan_learn::lr_find::steep;
/// // From 0.1 on the loss falls by most.
/// assert_eq!(steep(&[(0.01, 2.0), (0.1, 1.9), (1.0, 0.5)]), Some(0.1));
/// ```
pub fn steep(points: &[(f64, f64)]) -> Option<f64> {
    let slope = |w: &[(f64, f64)]| (w[1].1 - w[0].1) / (w[1].0.ln() - w[0].0.ln());
    let best = points.windows(2).min_by(|a, b| slope(a).total_cmp(&slope(b)))?;
    Some(best[0].0)
}

/// A tenth of the rate with the lowest loss. Counterpart: fastai's `minimum`.
///
/// ```
/// use hardpan_learn::lr_find::minimum;
/// assert_eq!(minimum(&[(0.01, 2.0), (0.1, 1.0), (1.0, 5.0)]), Some(0.01));
/// ```
pub fn minimum(points: &[(f64, f64)]) -> Option<f64> {
    points.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map(|p| p.0 / 10.0)
}

/// Goes back from the end over windows of 15 steps until the slopes at both ends are alike. Counterpart: fastai's `slide`
/// (the "interval slide rule").
///
/// ```
/// use hardpan_learn::lr_find::slide;
/// // A loss that falls between 1e-3 and 1e-1 and shoots up at the end.
/// let points: Vec<(f64, f64)> = (0..80)
///     .map(|i| {
///         let x = f64::from(i);
///         (1e-5 * 10f64.powf(x / 15.0), 2.0 / (1.0 + ((x - 45.0) / 4.0).exp()) + ((x - 75.0) / 2.0).exp())
///     })
///     .collect();
/// let rate = slide(&points).unwrap();
/// assert!(rate < 1.0, "{rate:e}");
/// assert_eq!(slide(&points[..15]), None); // too few to go back over
/// ```
pub fn slide(points: &[(f64, f64)]) -> Option<f64> {
    const WIDTH: usize = 15;
    const ALIKE: f64 = 0.005;
    let n = points.len();
    if n <= WIDTH {
        return None;
    }
    // numpy's gradient: central differences, one-sided at the ends.
    let gradient = |i: usize| {
        let (a, b) = (i.saturating_sub(1), (i + 1).min(n - 1));
        (points[b].1 - points[a].1) / (b - a) as f64
    };
    let (mut right, mut left) = (n - 1, n - 1 - WIDTH);
    let mut rate = points[left].0;
    while (gradient(right) - gradient(left)).abs() > ALIKE {
        rate = points[left].0;
        if left == 0 {
            break;
        }
        right -= 1;
        left -= 1;
    }
    Some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(i: usize) -> f64 {
        1e-7 * 1e8f64.powf(i as f64 / 100.0)
    }

    /// A loss that is flat, falls, is at its lowest, and shoots up.
    fn fall_and_rise(i: usize) -> f64 {
        let x = i as f64;
        0.3 + 2.0 / (1.0 + ((x - 60.0) / 4.0).exp()) + ((x - 92.0) / 2.0).exp() - x * 1e-4
    }

    fn noisy(i: usize) -> f64 {
        let x = i as f64;
        let wave = 0.15 * (x * 1.7).sin() * (x * 0.9).cos();
        2.3 - 1.2 / (1.0 + ((55.0 - x) / 6.0).exp()) + wave + ((x - 88.0) / 3.0).exp()
    }

    fn falling(i: usize) -> f64 {
        3.0 - 0.02 * i as f64 - 0.0001 * (i * i) as f64
    }

    fn wavy(i: usize) -> f64 {
        let x = i as f64;
        1.0 + 0.5 * (x / 7.0).cos() + x * x * 2e-4
    }

    fn curve(n: usize, f: fn(usize) -> f64) -> Vec<(f64, f64)> {
        (0..n).map(|i| (rate(i), f(i))).collect()
    }

    /// Valley, slide, steep and minimum of fastai 2.8.12 for the same curves: a search of 100 steps that ended after so many, in one case
    /// by a NaN.
    #[test]
    fn suggestions_are_fastai_s() {
        let mut nan = curve(71, noisy);
        nan[70].1 = f64::NAN;
        let cases = [
            (
                "fall and rise",
                curve(100, fall_and_rise),
                85,
                [3.98107164e-4, 1.44543974e-5, 5.24807442e-3, 3.01995158e-2],
            ),
            (
                "noisy",
                curve(97, noisy),
                82,
                [9.12010856e-3, 6.91830996e-4, 1.90546066e-2, 1.44543976e-2],
            ),
            (
                "falling",
                curve(100, falling),
                85,
                [1.20226445e-3, 2.08929613e-1, 2.75422859, 3.31131124e-1],
            ),
            (
                "wavy",
                curve(80, wavy),
                65,
                [2.08929623e-3, 6.91830996e-4, 6.30957345e-7, 4.78630090e-7],
            ),
            ("NaN", nan, 60, [3.01995175e-3, 6.91830996e-4, 1.90546066e-2, 3.31131108e-3]),
        ];
        for (name, all, points, want) in cases {
            let found = LrFind::new(all, 100);
            assert_eq!(found.points.len(), points, "{name}");
            let got = [found.valley, found.slide, found.steep, found.minimum];
            for (got, want) in got.iter().zip(want) {
                let got = got.unwrap();
                assert!((got / want - 1.0).abs() < 1e-6, "{name}: {found:?}, not {want:e}");
            }
            assert_eq!(found.suggestion(), found.valley);
        }
        // 13 points are too few for the slide, which fastai has no answer to either.
        let found = LrFind::new(curve(28, fall_and_rise), 100);
        assert_eq!((found.points.len(), found.slide), (13, None));
        assert!((found.valley.unwrap() / 1.58489320e-6 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn too_few_points_suggest_nothing() {
        let found = LrFind::new(curve(8, fall_and_rise), 100);
        assert_eq!(found.suggestion(), None);
        assert!(found.points.is_empty() && found.slide.is_none());
    }
}
