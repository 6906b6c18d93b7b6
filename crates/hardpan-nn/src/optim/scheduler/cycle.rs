//! Rates that rise and fall, with momentum the other way round.

use super::{Scheduler, base_rates};
use crate::optim::{Hyper, Optimizer};
use std::f64::consts::PI;

/// How one rate turns into the next. Counterpart: the `anneal_strategy` of PyTorch's `OneCycleLR`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Recipe, SGD};
/// use hardpan_nn::optim::scheduler::{AnnealStrategy, OneCycleLR, Scheduler};
/// use hardpan_nn::Param;
/// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
/// let mut schedule = OneCycleLR::new(1.0, 10).anneal_strategy(AnnealStrategy::Linear).start(&mut opt);
/// for rate in [0.04, 0.52, 1.0] {
///     assert!((opt.lr() - rate).abs() < 1e-12);
///     schedule.step(&mut opt);
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnnealStrategy {
    /// Along half a cosine.
    #[default]
    Cos,
    /// In a straight line.
    Linear,
}

impl AnnealStrategy {
    fn between(self, start: f64, end: f64, done: f64) -> f64 {
        match self {
            AnnealStrategy::Cos => end + (start - end) / 2.0 * (1.0 + (PI * done).cos()),
            AnnealStrategy::Linear => (end - start) * done + start,
        }
    }
}

/// The one-cycle policy: up to the largest rate, then down to almost nothing, momentum the other way round.
/// Counterpart: `OneCycleLR`; Smith and Topin, <https://arxiv.org/abs/1708.07120>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Recipe, SGD};
/// use hardpan_nn::optim::scheduler::{OneCycleLR, Scheduler};
/// use hardpan_nn::Param;
/// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
/// let mut schedule = OneCycleLR::new(1.0, 10).start(&mut opt);
/// for rate in [0.04, 0.52, 1.0] {
///     assert!((opt.lr() - rate).abs() < 1e-12);
///     schedule.step(&mut opt);
/// }
/// ```
pub struct OneCycleLR {
    max_lr: Vec<f64>,
    total: usize,
    pct_start: f64,
    anneal_strategy: AnnealStrategy,
    cycle_momentum: bool,
    momentums: (f64, f64),
    div: f64,
    final_div: f64,
    three_phase: bool,
    position: i64,
}

impl OneCycleLR {
    /// Up to `max_lr` within `total` steps, with PyTorch's defaults. It takes effect with [`start`](OneCycleLR::start).
    pub fn new(max_lr: f64, total: usize) -> OneCycleLR {
        OneCycleLR {
            max_lr: vec![max_lr],
            total,
            pct_start: 0.3,
            anneal_strategy: AnnealStrategy::Cos,
            cycle_momentum: true,
            momentums: (0.85, 0.95),
            div: 25.0,
            final_div: 1e4,
            three_phase: false,
            position: 0,
        }
    }

    /// A largest rate for each group.
    #[must_use]
    pub fn max_lrs(mut self, max: &[f64]) -> OneCycleLR {
        self.max_lr = max.to_vec();
        self
    }
    /// Share of the steps that go up. Default 0.3.
    #[must_use]
    pub fn pct_start(mut self, share: f64) -> OneCycleLR {
        self.pct_start = share;
        self
    }
    /// The shape of the way. Default: cosine.
    #[must_use]
    pub fn anneal_strategy(mut self, strategy: AnnealStrategy) -> OneCycleLR {
        self.anneal_strategy = strategy;
        self
    }
    /// Whether momentum moves too. Default yes.
    #[must_use]
    pub fn cycle_momentum(mut self, cycle: bool) -> OneCycleLR {
        self.cycle_momentum = cycle;
        self
    }
    /// Least and largest momentum. Default (0.85, 0.95).
    #[must_use]
    pub fn momentums(mut self, least: f64, largest: f64) -> OneCycleLR {
        self.momentums = (least, largest);
        self
    }
    /// The first rate is `max_lr / div_factor`. Default 25.
    #[must_use]
    pub fn div_factor(mut self, div: f64) -> OneCycleLR {
        self.div = div;
        self
    }
    /// The last rate is the first divided by this. Default 10000.
    #[must_use]
    pub fn final_div_factor(mut self, div: f64) -> OneCycleLR {
        self.final_div = div;
        self
    }
    /// Whether the way down first ends at the first rate, as far as it went up, and only then goes on. Default no.
    #[must_use]
    pub fn three_phase(mut self, three: bool) -> OneCycleLR {
        self.three_phase = three;
        self
    }

    /// Sets rates and momentum for step 0.
    #[must_use]
    pub fn start(mut self, opt: &mut Optimizer) -> OneCycleLR {
        base_rates(opt);
        self.apply(opt);
        self
    }
}

impl Scheduler for OneCycleLR {
    /// # Panics
    /// After `total` steps.
    #[track_caller]
    fn apply(&mut self, opt: &mut Optimizer) {
        let t = self.position as f64;
        assert!(
            self.position <= self.total as i64,
            "OneCycleLR: step {} of a cycle of {}",
            self.position,
            self.total
        );
        let total = self.total as f64;
        let (low, high) = self.momentums;
        let up = self.pct_start * total - 1.0;
        // (end of the phase, what rate and momentum go from and to), as shares of the largest rate.
        let (first, last) = (1.0 / self.div, 1.0 / self.div / self.final_div);
        let mut phases = vec![(up, first, 1.0, high, low)];
        if self.three_phase {
            phases.push((2.0 * self.pct_start * total - 2.0, 1.0, first, low, high));
            phases.push((total - 1.0, first, last, high, high));
        } else {
            phases.push((total - 1.0, 1.0, last, low, high));
        }
        let mut start = 0.0;
        let mut found = None;
        for (i, (end, from, to, m_from, m_to)) in phases.iter().enumerate() {
            if t <= *end || i + 1 == phases.len() {
                let done = (t - start) / (end - start);
                found = Some((done, *from, *to, *m_from, *m_to));
                break;
            }
            start = *end;
        }
        let (done, from, to, m_from, m_to) = found.expect("the last phase is taken if no other");
        let many = opt.groups().len();
        for i in 0..many {
            let max = self.max_lr[i.min(self.max_lr.len() - 1)];
            let group = &mut opt.groups_mut()[i];
            group.set(Hyper::Lr, self.anneal_strategy.between(from * max, to * max, done));
            if self.cycle_momentum && group.hypers().find(Hyper::Mom).is_some() {
                group.set(Hyper::Mom, self.anneal_strategy.between(m_from, m_to, done));
            }
        }
    }
    fn advance(&mut self) {
        self.position += 1;
    }
    fn position(&self) -> i64 {
        self.position
    }
    fn set_position(&mut self, position: i64) {
        self.position = position;
    }
}

/// How the height of a [`CyclicLR`] changes.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Recipe, SGD};
/// use hardpan_nn::optim::scheduler::{CyclicLR, CyclicMode, Scheduler};
/// use hardpan_nn::Param;
/// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
/// let mut schedule = CyclicLR::new(0.0, 1.0).steps(1, 1).mode(CyclicMode::Triangular2).start(&mut opt);
/// for rate in [0.0, 1.0, 0.0, 0.5] {
///     assert!((opt.lr() - rate).abs() < 1e-12);
///     schedule.step(&mut opt);
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum CyclicMode {
    /// Stays.
    #[default]
    Triangular,
    /// Halves with each cycle.
    Triangular2,
    /// Times this factor at each step.
    ExpRange(f64),
}

/// Up and down between two rates in straight lines, momentum the other way round. Counterpart: `CyclicLR`;
/// Smith, <https://arxiv.org/abs/1506.01186>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::{Recipe, SGD};
/// use hardpan_nn::optim::scheduler::{CyclicLR, Scheduler};
/// use hardpan_nn::Param;
/// let mut opt = SGD::new(1.0).build(vec![Param::new(Tensor::ones([1]))]);
/// let mut schedule = CyclicLR::new(0.25, 1.25).steps(2, 2).start(&mut opt);
/// for rate in [0.25, 0.75, 1.25, 0.75] {
///     assert!((opt.lr() - rate).abs() < 1e-12);
///     schedule.step(&mut opt);
/// }
/// ```
pub struct CyclicLR {
    base: Vec<f64>,
    max: Vec<f64>,
    up: f64,
    down: f64,
    mode: CyclicMode,
    cycle_momentum: bool,
    momentums: (f64, f64),
    position: i64,
}

impl CyclicLR {
    /// Between `base` and `max`, with 2000 steps up and as many down. It takes effect with [`start`](CyclicLR::start).
    pub fn new(base: f64, max: f64) -> CyclicLR {
        CyclicLR {
            base: vec![base],
            max: vec![max],
            up: 2000.0,
            down: 2000.0,
            mode: CyclicMode::Triangular,
            cycle_momentum: true,
            momentums: (0.8, 0.9),
            position: 0,
        }
    }

    /// A least and a largest rate for each group; the last ones serve the groups beyond.
    ///
    /// # Panics
    /// When a list is empty.
    #[must_use]
    #[track_caller]
    pub fn lrs(mut self, base: &[f64], max: &[f64]) -> CyclicLR {
        assert!(!base.is_empty() && !max.is_empty(), "CyclicLR: no rates given");
        (self.base, self.max) = (base.to_vec(), max.to_vec());
        self
    }

    /// Steps up and steps down. Default 2000 each.
    #[must_use]
    pub fn steps(mut self, up: usize, down: usize) -> CyclicLR {
        (self.up, self.down) = (up as f64, down as f64);
        self
    }
    /// How the height changes. Default: it stays.
    #[must_use]
    pub fn mode(mut self, mode: CyclicMode) -> CyclicLR {
        self.mode = mode;
        self
    }
    /// Whether momentum moves too. Default yes.
    #[must_use]
    pub fn cycle_momentum(mut self, cycle: bool) -> CyclicLR {
        self.cycle_momentum = cycle;
        self
    }
    /// Least and largest momentum. Default (0.8, 0.9).
    #[must_use]
    pub fn momentums(mut self, least: f64, largest: f64) -> CyclicLR {
        self.momentums = (least, largest);
        self
    }

    /// Sets rates and momentum for step 0.
    #[must_use]
    pub fn start(mut self, opt: &mut Optimizer) -> CyclicLR {
        for (i, g) in opt.groups.iter_mut().enumerate() {
            g.initial_lr = Some(of_group(&self.base, i));
        }
        self.apply(opt);
        self
    }
}

/// The number of group `i`: its own, or the last.
fn of_group(list: &[f64], i: usize) -> f64 {
    list[i.min(list.len() - 1)]
}

impl Scheduler for CyclicLR {
    fn apply(&mut self, opt: &mut Optimizer) {
        let t = self.position as f64;
        let length = self.up + self.down;
        let ratio = self.up / length;
        let cycle = (1.0 + t / length).floor();
        let x = 1.0 + t / length - cycle;
        let height = if x <= ratio { x / ratio } else { (x - 1.0) / (ratio - 1.0) };
        let scale = match self.mode {
            CyclicMode::Triangular => 1.0,
            CyclicMode::Triangular2 => 1.0 / 2f64.powf(cycle - 1.0),
            CyclicMode::ExpRange(gamma) => gamma.powf(t),
        };
        for (i, g) in opt.groups_mut().iter_mut().enumerate() {
            let (base, max) = (of_group(&self.base, i), of_group(&self.max, i));
            g.set(Hyper::Lr, base + (max - base) * height * scale);
            if self.cycle_momentum && g.hypers().find(Hyper::Mom).is_some() {
                let (low, high) = self.momentums;
                g.set(Hyper::Mom, high - (high - low) * height * scale);
            }
        }
    }
    fn advance(&mut self) {
        self.position += 1;
    }
    fn position(&self) -> i64 {
        self.position
    }
    fn set_position(&mut self, position: i64) {
        self.position = position;
    }
}
