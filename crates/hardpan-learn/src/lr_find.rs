//! The learning rate finder (Smith, "Cyclical Learning Rates", 2015): [`LrFind`] is what it found.

use crate::callback::{Callback, Flow};
use crate::learner::{Context, Task};
use crate::schedule::Anneal;
use hardpan_nn::optim::Hyper;
use std::sync::{Arc, Mutex};

type Points = Arc<Mutex<Vec<(f64, f64)>>>;

/// The callback behind [`Learner::lr_find`](crate::learner::Learner::lr_find): raises the rate with each batch until the
/// loss is four times its best. The learner puts the weights back. Counterpart: fastai's `LRFinder`.
pub(crate) struct LrFinder {
    start: f64,
    end: f64,
    steps: usize,
    best: f64,
    points: Points,
}

impl LrFinder {
    pub(crate) fn new(start: f64, end: f64, steps: usize, points: Points) -> LrFinder {
        LrFinder { start, end, steps, best: f64::INFINITY, points }
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
        self.points.lock().unwrap_or_else(|e| e.into_inner()).push((ctx.opt.lr(), loss));
        self.best = self.best.min(loss);
        if !loss.is_finite() || loss > 4.0 * self.best || ctx.train_iter >= self.steps {
            return Flow::CancelFit;
        }
        Flow::Continue
    }

    fn before_validate(&mut self, _: &mut Context<T>) -> Flow {
        Flow::CancelValid
    }
}

/// Rates that were tried with the smoothed loss at each, and what they suggest.
#[derive(Clone, Debug, PartialEq)]
pub struct LrFind {
    /// Rate and loss of each step that counts: without the first tenth, when the smoothing has little to go by, and the last
    /// five, when the loss is on its way up. As in fastai.
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
    pub(crate) fn new(all: Vec<(f64, f64)>, steps: usize) -> LrFind {
        let from = (steps / 10).min(all.len());
        let to = all.len().saturating_sub(5).max(from);
        let mut points: Vec<(f64, f64)> = all[from..to].to_vec();
        points.retain(|p| p.1.is_finite());
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

/// Finds the longest falling subsequence of losses and goes into it by half its length (a third and a half of a third).
/// Counterpart: fastai's `valley`, the default suggestion.
pub fn valley(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len();
    if n < 2 {
        return None;
    }
    let mut length = vec![1usize; n];
    let (mut start, mut end) = (0usize, 0usize);
    for i in 1..n {
        for j in 0..i {
            if points[i].1 < points[j].1 && length[i] < length[j] + 1 {
                length[i] = length[j] + 1;
            }
            if length[end] < length[i] {
                end = i;
                start = (end as isize - length[end] as isize).max(0) as usize;
            }
        }
    }
    let third = (end - start) as f64 / 3.0;
    let at = start + third as usize + (third / 2.0) as usize;
    (end > start).then(|| points[at].0)
}

/// The rate at which the loss falls steepest over the logarithm of the rate. Counterpart: fastai's `steep`.
pub fn steep(points: &[(f64, f64)]) -> Option<f64> {
    let slope = |w: &[(f64, f64)]| (w[1].1 - w[0].1) / (w[1].0.ln() - w[0].0.ln());
    let best = points.windows(2).min_by(|a, b| slope(a).total_cmp(&slope(b)))?;
    Some(best[0].0)
}

/// A tenth of the rate with the lowest loss. Counterpart: fastai's `minimum`.
pub fn minimum(points: &[(f64, f64)]) -> Option<f64> {
    points.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map(|p| p.0 / 10.0)
}

/// Goes back from the end over windows of 15 steps until the slopes at both ends are alike. Counterpart: fastai's `slide`
/// (the "interval slide rule").
pub fn slide(points: &[(f64, f64)]) -> Option<f64> {
    const WIDTH: usize = 15;
    const ALIKE: f64 = 0.005;
    let n = points.len();
    if n <= WIDTH + 1 {
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

    /// A loss that is flat, falls, is at its lowest, and shoots up.
    fn curve() -> Vec<(f64, f64)> {
        (0..100)
            .map(|i| {
                let lr = 1e-7 * 1e8f64.powf(i as f64 / 100.0);
                let x = i as f64;
                let fall = 2.0 / (1.0 + ((x - 60.0) / 4.0).exp());
                (lr, 0.3 + fall + ((x - 92.0) / 2.0).exp() - x * 1e-4)
            })
            .collect()
    }

    #[test]
    fn suggestions_are_in_order() {
        let found = LrFind::new(curve(), 100);
        assert_eq!(found.points.len(), 85);
        let (valley, steep, minimum) =
            (found.valley.unwrap(), found.steep.unwrap(), found.minimum.unwrap());
        let at = |i: i32| 1e-7 * 1e8f64.powf(i as f64 / 100.0);
        assert!(valley > at(40) && valley < at(62), "{valley:e}");
        assert!(steep > at(55) && steep < at(65), "{steep:e}");
        assert!(minimum > at(75) / 10.0 && minimum < at(90) / 10.0, "{minimum:e}");
        assert!(found.slide.is_some());
        assert_eq!(found.suggestion(), Some(valley));
    }

    #[test]
    fn too_few_points_suggest_nothing() {
        let found = LrFind::new(curve()[..8].to_vec(), 100);
        assert_eq!(found.suggestion(), None);
        assert!(found.points.is_empty() && found.slide.is_none());
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let mut points = curve();
        points[50].1 = f64::NAN;
        assert_eq!(LrFind::new(points, 100).points.len(), 84);
    }
}
