//! Learning rates that follow what is measured, and PyTorch's schedulers: [`ReduceLrOnPlateau`], [`LrScheduler`].

use super::track::watches;
use super::{Callback, Flow, Patience, Tracker};
use crate::learner::{Context, Task};
use hardpan_nn::optim::scheduler::{self, Scheduler};
use hardpan_nn::optim::{Hyper, Optimizer};
use serde_json::{Value, json};

/// Divides the learning rates when a column of the table has not become better for some epochs. Counterpart: fastai's callback
/// `ReduceLROnPlateau` (and its defaults); order 62.
///
/// For fits without another schedule of the rate, such as [`fit`](crate::learner::Learner::fit). It waits as
/// [`EarlyStopping`](super::EarlyStopping) does ([`Patience`]). PyTorch's scheduler of nearly the same name, with its relative threshold
/// and its cooldown, is `hardpan_nn::optim::scheduler::ReduceLROnPlateau`, used in a fit by [`LrScheduler::on`].
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::ReduceLrOnPlateau;
/// use hardpan_learn::metric::{Better, ValueMetric};
/// // Halves the rates after two epochs without a better value, down to 0.04.
/// let plateau = ReduceLrOnPlateau::new("steady", 2).better(Better::Lower).factor(2.0).min_lr(0.04);
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .metric(ValueMetric::new("steady", || Some(1.0))) // never better
///     .callback(plateau)
///     .silent();
/// learn.fit(6, 0.1)?;
/// let rates: Vec<f64> = learn.history().epochs.iter().map(|e| e.lr).collect();
/// assert_eq!(rates, [0.1, 0.1, 0.1, 0.05, 0.05, 0.04]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "ReduceLROnPlateau")]
pub struct ReduceLrOnPlateau {
    patience: Patience,
    factor: f64,
    min_lr: f64,
}

impl ReduceLrOnPlateau {
    /// Watches `column` as [`EarlyStopping::new`](super::EarlyStopping::new) does. After `patience` epochs (fastai's default is 1) without
    /// a new best the rates are divided by 10.
    pub fn new(column: impl Into<String>, patience: usize) -> ReduceLrOnPlateau {
        let patience = Patience::new(Tracker::new(column), patience);
        ReduceLrOnPlateau { patience, factor: 10.0, min_lr: 0.0 }
    }

    /// What the rates are divided by. Default 10.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> ReduceLrOnPlateau {
        self.factor = factor;
        self
    }

    /// The lowest rate. Default 0.
    #[must_use]
    pub fn min_lr(mut self, lr: f64) -> ReduceLrOnPlateau {
        self.min_lr = lr;
        self
    }
}

watches!(ReduceLrOnPlateau, patience, |self, change| self.patience.with(change));

impl<T: Task> Callback<T> for ReduceLrOnPlateau {
    fn order(&self) -> i32 {
        62
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn state(&self) -> Value {
        self.patience.state()
    }

    fn load_state(&mut self, state: Value) {
        self.patience.load_state(&state);
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        self.patience.before_fit(ctx);
        Flow::Continue
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        match self.patience.ran_out(ctx) {
            Err(e) => return Flow::Fail(e),
            Ok(false) => {}
            Ok(true) => {
                for group in ctx.opt.groups_mut() {
                    let lr = group.hypers().get(Hyper::Lr);
                    group.set(Hyper::Lr, (lr / self.factor).max(self.min_lr.min(lr)));
                }
            }
        }
        Flow::Continue
    }
}

type Plateau = scheduler::ReduceLROnPlateau;
type Make = Box<dyn Fn(&mut Optimizer) -> Box<dyn Scheduler> + Send>;

/// Uses one of PyTorch's schedulers ([`hardpan_nn::optim::scheduler`]) in a fit: built on the optimizer when the fit begins, moved on
/// after each step or each epoch.
///
/// Its base rates are those of the fit: `learn.fit(90, 0.1)` with the first one trains at 0.1, 0.01 and 0.001.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::LrScheduler;
/// use hardpan_nn::optim::scheduler::{CosineAnnealingWarmRestarts, ReduceLROnPlateau, StepLR};
/// let restarts = LrScheduler::per_step(|opt| CosineAnnealingWarmRestarts::new(opt, 100, 2, 0.0));
/// let plateau = LrScheduler::on("valid_loss", ReduceLROnPlateau::new().patience(3));
/// let every_two_epochs = LrScheduler::per_epoch(|opt| StepLR::new(opt, 2, 0.1));
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(every_two_epochs)
///     .silent();
/// learn.fit(4, 0.1)?;
/// let rates = learn.history().epochs.iter().map(|e| e.lr);
/// assert!(rates.zip([0.1, 0.1, 0.01, 0.01]).all(|(a, b)| (a - b).abs() < 1e-12));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LrScheduler {
    kind: Kind,
}

enum Kind {
    Steps {
        make: Make,
        scheduler: Option<Box<dyn Scheduler>>,
        /// Per epoch rather than per step.
        epochs: bool,
        /// Where a resumed fit is.
        position: u64,
        /// Steps of the optimizer that have been followed.
        followed: u64,
    },
    Plateau {
        column: String,
        start: Box<Plateau>,
        now: Box<Plateau>,
        seen: Vec<f64>,
    },
}

impl LrScheduler {
    /// Moved on after each step of the optimizer.
    pub fn per_step<S: Scheduler + 'static>(
        make: impl Fn(&mut Optimizer) -> S + Send + 'static,
    ) -> LrScheduler {
        LrScheduler::new(make, false)
    }

    /// Moved on after each epoch.
    pub fn per_epoch<S: Scheduler + 'static>(
        make: impl Fn(&mut Optimizer) -> S + Send + 'static,
    ) -> LrScheduler {
        LrScheduler::new(make, true)
    }

    fn new<S: Scheduler + 'static>(
        make: impl Fn(&mut Optimizer) -> S + Send + 'static,
        epochs: bool,
    ) -> LrScheduler {
        let make: Make = Box::new(move |opt| Box::new(make(opt)));
        LrScheduler {
            kind: Kind::Steps { make, scheduler: None, epochs, position: 0, followed: 0 },
        }
    }

    /// Moved on after each epoch with the value of a column: `train_loss`, `valid_loss` or a metric. An epoch without a value does not
    /// count.
    pub fn on(column: impl Into<String>, scheduler: scheduler::ReduceLROnPlateau) -> LrScheduler {
        let start = Box::new(scheduler);
        let now = start.clone();
        LrScheduler { kind: Kind::Plateau { column: column.into(), start, now, seen: Vec::new() } }
    }
}

impl<T: Task> Callback<T> for LrScheduler {
    fn order(&self) -> i32 {
        62
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn state(&self) -> Value {
        match &self.kind {
            Kind::Steps { scheduler, .. } => json!(scheduler.as_ref().map_or(0, |s| s.position())),
            Kind::Plateau { seen, .. } => json!(seen),
        }
    }

    fn load_state(&mut self, state: Value) {
        match &mut self.kind {
            Kind::Steps { position, .. } => *position = state.as_u64().unwrap_or(0),
            Kind::Plateau { seen, .. } => {
                let values = state.as_array().cloned().unwrap_or_default();
                *seen = values.iter().filter_map(Value::as_f64).collect();
            }
        }
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        match &mut self.kind {
            Kind::Steps { make, scheduler, position, followed, .. } => {
                *followed = ctx.opt.steps_taken();
                let done = if ctx.resumed { std::mem::take(position) } else { 0 };
                // A resumed fit begins where it once began, and goes quickly through what has been.
                let saved: Vec<_> = ctx.opt.groups().iter().map(|g| g.hypers().clone()).collect();
                match ctx.resumed {
                    true => ctx.opt.restore_initial_rates(),
                    false => ctx.opt.forget_initial_rates(),
                }
                let mut made = make(&mut ctx.opt);
                (0..done).for_each(|_| made.step(&mut ctx.opt));
                *scheduler = Some(made);
                if ctx.resumed {
                    // Others may have changed them as well.
                    for (group, saved) in ctx.opt.groups_mut().iter_mut().zip(saved) {
                        saved.iter().for_each(|(h, v)| group.set(h, v));
                    }
                }
            }
            Kind::Plateau { start, now, seen, .. } => {
                *now = start.clone();
                if !ctx.resumed {
                    seen.clear();
                }
                // Rates are as they were saved; only the scheduler has to see again what it saw.
                let rates = ctx.opt.hypers(Hyper::Lr);
                for value in seen.iter() {
                    now.step(&mut ctx.opt, *value);
                }
                ctx.opt.set_hypers(Hyper::Lr, &rates);
            }
        }
        Flow::Continue
    }

    /// After the recorder has written down the rate of this step.
    fn after_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        if let Kind::Steps { scheduler: Some(scheduler), epochs: false, followed, .. } =
            &mut self.kind
            && ctx.opt.steps_taken() > *followed
        {
            *followed = ctx.opt.steps_taken();
            scheduler.step(&mut ctx.opt);
        }
        Flow::Continue
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        match &mut self.kind {
            Kind::Steps { scheduler: Some(scheduler), epochs: true, .. } => {
                scheduler.step(&mut ctx.opt);
            }
            Kind::Plateau { column, now, seen, .. } => {
                let value = match super::track::column_value(ctx, column) {
                    Ok(value) => value,
                    Err(e) => return Flow::Fail(e),
                };
                if let Some(value) = value {
                    seen.push(value);
                    now.step(&mut ctx.opt, value);
                }
            }
            _ => {}
        }
        Flow::Continue
    }

    fn after_fit(&mut self, _: &mut Context<T>) -> Flow {
        if let Kind::Steps { scheduler, .. } = &mut self.kind {
            *scheduler = None;
        }
        Flow::Continue
    }
}
