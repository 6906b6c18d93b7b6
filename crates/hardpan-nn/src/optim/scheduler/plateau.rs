//! A rate that falls when a metric no longer improves.

use crate::optim::{Hyper, Optimizer};

/// Which way is better.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Recipe, SGD};
/// use hardpan_nn::optim::scheduler::{PlateauMode, ReduceLROnPlateau};
/// use hardpan_nn::Param;
/// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
/// let mut schedule = ReduceLROnPlateau::new().mode(PlateauMode::Max).patience(0);
/// assert!(!schedule.step(&mut opt, 0.7) && !schedule.step(&mut opt, 0.8)); // an accuracy that grows
/// assert!(schedule.step(&mut opt, 0.8));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlateauMode {
    /// Smaller, as for a loss.
    #[default]
    Min,
    /// Larger, as for an accuracy.
    Max,
}

/// What the threshold is measured in.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Recipe, SGD};
/// use hardpan_nn::optim::scheduler::{ReduceLROnPlateau, ThresholdMode};
/// use hardpan_nn::Param;
/// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
/// let mut schedule = ReduceLROnPlateau::new().threshold(0.5, ThresholdMode::Absolute).patience(0);
/// assert!(!schedule.step(&mut opt, 9.0) && !schedule.step(&mut opt, 8.4));
/// assert!(schedule.step(&mut opt, 8.0)); // less than 0.5 better
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThresholdMode {
    /// A share of the best value.
    #[default]
    Relative,
    /// The metric's own unit.
    Absolute,
}

/// Multiplies the rate by a factor when a metric has not improved for some steps. Counterpart: `ReduceLROnPlateau`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Recipe, SGD};
/// use hardpan_nn::optim::scheduler::ReduceLROnPlateau;
/// use hardpan_nn::Param;
/// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
/// let mut schedule = ReduceLROnPlateau::new().patience(1).factor(0.5);
/// assert!(!schedule.step(&mut opt, 2.0) && !schedule.step(&mut opt, 2.0));
/// assert!(schedule.step(&mut opt, 2.0));
/// assert_eq!(opt.lr(), 0.5);
/// ```
#[derive(Clone, Debug)]
pub struct ReduceLROnPlateau {
    mode: PlateauMode,
    factor: f64,
    patience: u32,
    threshold: f64,
    threshold_mode: ThresholdMode,
    cooldown: u32,
    min_lr: Vec<f64>,
    eps: f64,
    best: Option<f64>,
    bad: u32,
    cooling: u32,
}

impl Default for ReduceLROnPlateau {
    fn default() -> ReduceLROnPlateau {
        ReduceLROnPlateau {
            mode: PlateauMode::Min,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: ThresholdMode::Relative,
            cooldown: 0,
            min_lr: vec![0.0],
            eps: 1e-8,
            best: None,
            bad: 0,
            cooling: 0,
        }
    }
}

impl ReduceLROnPlateau {
    /// For a metric that should fall, with PyTorch's defaults.
    pub fn new() -> ReduceLROnPlateau {
        ReduceLROnPlateau::default()
    }
    /// Which way is better. Default: smaller.
    #[must_use]
    pub fn mode(mut self, mode: PlateauMode) -> ReduceLROnPlateau {
        self.mode = mode;
        self
    }
    /// What the rate is multiplied by. Default 0.1.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> ReduceLROnPlateau {
        self.factor = factor;
        self
    }
    /// How many steps without improvement are borne. Default 10.
    #[must_use]
    pub fn patience(mut self, steps: u32) -> ReduceLROnPlateau {
        self.patience = steps;
        self
    }
    /// How much better counts as better. Default 0.0001, relative.
    #[must_use]
    pub fn threshold(mut self, threshold: f64, mode: ThresholdMode) -> ReduceLROnPlateau {
        (self.threshold, self.threshold_mode) = (threshold, mode);
        self
    }
    /// How many steps after a fall do not count. Default 0.
    #[must_use]
    pub fn cooldown(mut self, steps: u32) -> ReduceLROnPlateau {
        self.cooldown = steps;
        self
    }
    /// Least rates: one, or one for each group. Default 0.
    #[must_use]
    pub fn min_lr(mut self, min: &[f64]) -> ReduceLROnPlateau {
        self.min_lr = min.to_vec();
        self
    }
    /// Smaller changes are not made. Default 1e-8.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> ReduceLROnPlateau {
        self.eps = eps;
        self
    }

    /// After a step (or epoch) with this metric. True if the rate fell.
    pub fn step(&mut self, opt: &mut Optimizer, metric: f64) -> bool {
        if self.best.is_none_or(|best| self.better(metric, best)) {
            self.best = Some(metric);
            self.bad = 0;
        } else {
            self.bad += 1;
        }
        if self.cooling > 0 {
            self.cooling -= 1;
            self.bad = 0;
        }
        if self.bad <= self.patience {
            return false;
        }
        let mut fell = false;
        for (i, g) in opt.groups_mut().iter_mut().enumerate() {
            let old = g.hypers().get(Hyper::Lr);
            let new = (old * self.factor).max(self.min_lr[i.min(self.min_lr.len() - 1)]);
            if old - new > self.eps {
                g.set(Hyper::Lr, new);
                fell = true;
            }
        }
        self.cooling = self.cooldown;
        self.bad = 0;
        fell
    }

    fn better(&self, metric: f64, best: f64) -> bool {
        match (self.mode, self.threshold_mode) {
            (PlateauMode::Min, ThresholdMode::Relative) => metric < best * (1.0 - self.threshold),
            (PlateauMode::Min, ThresholdMode::Absolute) => metric < best - self.threshold,
            (PlateauMode::Max, ThresholdMode::Relative) => metric > best * (1.0 + self.threshold),
            (PlateauMode::Max, ThresholdMode::Absolute) => metric > best + self.threshold,
        }
    }
}
