//! Averages of weights, which often are better than the weights: [`Ema`], [`Swa`]; and going on from them: [`SlowWeights`].

use super::{Callback, Flow};
use crate::data::DataError;
use crate::learner::{Context, Task};
use crate::lock::lock;
use hardpan_engine::{Tensor, flush_all, no_grad};
use hardpan_nn::hook::Hooks;
use hardpan_nn::{BatchNorm1d, BatchNorm2d, BatchNorm3d, Buffer, Module, Param, StateDict};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The cells of a model that can be averaged: parameters, and buffers of floating point numbers.
#[derive(Default)]
struct Cells {
    params: Vec<Param>,
    buffers: Vec<Buffer>,
}

impl Cells {
    fn of(model: &dyn Module) -> Cells {
        let mut buffers = model.buffers();
        buffers.retain(|b| b.value().dtype().is_float());
        Cells { params: model.parameters(), buffers }
    }

    fn values(&self) -> Vec<Tensor> {
        let params = self.params.iter().map(|p| p.value().detach());
        params.chain(self.buffers.iter().map(Buffer::value)).collect()
    }

    fn set(&self, values: &[Tensor]) {
        let (params, buffers) = values.split_at(self.params.len());
        self.params.iter().zip(params).for_each(|(p, v)| p.set(v.clone()));
        self.buffers.iter().zip(buffers).for_each(|(b, v)| b.set(v.clone()));
    }
}

/// The average so far, in the order of [`Cells`].
#[derive(Default)]
struct Average(Vec<Tensor>);

impl Average {
    /// Moves `share` of the way to the present values; the first time all of it.
    fn follow(&mut self, cells: &Cells, share: f64) {
        let now = cells.values();
        if self.0.is_empty() {
            self.0 = now;
            return;
        }
        no_grad(|| {
            for (average, now) in self.0.iter_mut().zip(now) {
                *average = &*average * (1.0 - share) + now * share;
            }
        });
    }

    fn save(&self) -> StateDict {
        self.0.iter().enumerate().map(|(i, t)| (i.to_string(), t.clone())).collect()
    }

    fn load(state: &StateDict) -> Average {
        Average((0..state.len()).filter_map(|i| state.get(&i.to_string()).cloned()).collect())
    }
}

/// Keeps an exponential moving average of the weights (and of running statistics), which validations use, and which the model has
/// at the end of the fit. Polyak and Juditsky 1992. Counterparts: `torch.optim.swa_utils.AveragedModel` with `get_ema_avg_fn`, timm's
/// `ModelEma`.
///
/// [`SaveModel`](super::SaveModel) saves the averages, since those are what was measured, and a
/// [`Checkpoint`](super::Checkpoint) has both: see [who has which weights](super#who-has-which-weights). Order 65, so that callbacks that
/// look at a whole epoch see the averages.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::Ema;
/// let ema = Ema::new(0.5); // about the last two steps; 0.99 is about the last hundred
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(ema)
///     .silent();
/// learn.fit(3, 0.1)?;
/// // The model has the averages at the end, which the table showed.
/// let last = learn.history().epochs.last().unwrap().valid_loss;
/// assert_eq!(learn.validate()?.valid_loss, last);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Ema {
    decay: f64,
    validate: bool,
    cells: Cells,
    average: Average,
    steps: u64,
}

impl Default for Ema {
    fn default() -> Ema {
        Ema::new(0.999)
    }
}

impl Ema {
    /// With this share of the past after each step. Default 0.999: the average is over about the last thousand steps.
    ///
    /// # Panics
    /// If it is not between 0 and 1.
    #[track_caller]
    pub fn new(decay: f64) -> Ema {
        assert!((0.0..=1.0).contains(&decay), "Ema: the decay {decay} is not between 0 and 1");
        Ema {
            decay,
            validate: true,
            cells: Cells::default(),
            average: Average::default(),
            steps: 0,
        }
    }

    /// Validates with the weights as they are; only the end of the fit uses the averages.
    #[must_use]
    pub fn validate_with_weights(mut self) -> Ema {
        self.validate = false;
        self
    }
}

impl<T: Task> Callback<T> for Ema {
    fn order(&self) -> i32 {
        65
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn state_tensors(&self) -> StateDict {
        self.average.save()
    }

    fn load_state_tensors(&mut self, state: StateDict) {
        self.average = Average::load(&state);
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        self.cells = Cells::of(&ctx.model);
        self.steps = ctx.opt.steps_taken();
        if !ctx.resumed || self.average.0.is_empty() {
            self.average = Average(self.cells.values());
        }
        Flow::Continue
    }

    fn after_step(&mut self, ctx: &mut Context<T>) -> Flow {
        // A step that was left out changes nothing.
        if ctx.opt.steps_taken() > self.steps {
            self.steps = ctx.opt.steps_taken();
            self.average.follow(&self.cells, 1.0 - self.decay);
        }
        Flow::Continue
    }

    fn before_validate(&mut self, ctx: &mut Context<T>) -> Flow {
        if self.validate && !self.average.0.is_empty() {
            ctx.set_weights_aside();
            self.cells.set(&self.average.0);
        }
        Flow::Continue
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        ctx.put_weights_back();
        Flow::Continue
    }

    fn after_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        // Whoever stopped the fit may have come before `after_epoch` got here.
        ctx.put_weights_back();
        if !ctx.asked.best_restored && !ctx.asked.interrupted {
            self.cells.set(&self.average.0);
        }
        (self.cells, self.average) = (Cells::default(), Average::default());
        Flow::Continue
    }
}

/// Takes the weights (and running statistics) back to their moving average every few steps, so that training goes on from there. The
/// average has a longer memory the further the fit has come: after the share `t` of it, the past weighs `0.95^k t^3` at a meeting every
/// `k` steps. At the end the model has the average, which the last validation measures.
///
/// Source: Jordan 2024, <https://arxiv.org/abs/2404.00498>, section 3.4, after the Lookahead of Zhang et al.,
/// <https://arxiv.org/abs/1907.08610>, which is [`Lookahead`](hardpan_nn::optim::Lookahead). Order 64: [`Ema`] sees what it leaves.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 4, 42)?;
/// use hardpan_learn::callback::SlowWeights;
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(SlowWeights::default())
///     .silent();
/// learn.fit(2, 0.1)?;
/// let last = learn.history().epochs.last().unwrap().valid_loss;
/// assert_eq!(learn.validate()?.valid_loss, last);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SlowWeights {
    every: u64,
    cells: Cells,
    average: Average,
    /// Since the fit began, and the optimizer's count at the last of them.
    steps: u64,
    seen: u64,
}

impl Default for SlowWeights {
    fn default() -> SlowWeights {
        SlowWeights::every(5)
    }
}

impl SlowWeights {
    /// Meeting the average every so many steps. Default 5.
    ///
    /// # Panics
    /// If that is 0.
    #[track_caller]
    pub fn every(steps: u64) -> SlowWeights {
        assert!(steps > 0, "SlowWeights: they must meet every 1 or more steps, got 0");
        SlowWeights {
            every: steps,
            cells: Cells::default(),
            average: Average::default(),
            steps: 0,
            seen: 0,
        }
    }
}

impl<T: Task> Callback<T> for SlowWeights {
    fn order(&self) -> i32 {
        64
    }

    // The rate finder asks what single steps do; an average would hold them back.
    fn watches_only(&self) -> bool {
        true
    }

    fn state(&self) -> Value {
        json!(self.steps)
    }

    fn load_state(&mut self, state: Value) {
        self.steps = state.as_u64().unwrap_or(0);
    }

    fn state_tensors(&self) -> StateDict {
        self.average.save()
    }

    fn load_state_tensors(&mut self, state: StateDict) {
        self.average = Average::load(&state);
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        self.cells = Cells::of(&ctx.model);
        if !ctx.resumed || self.average.0.is_empty() {
            (self.average, self.steps) = (Average(self.cells.values()), 0);
        }
        self.seen = ctx.opt.steps_taken();
        Flow::Continue
    }

    fn after_step(&mut self, ctx: &mut Context<T>) -> Flow {
        // A step that was left out changes nothing.
        if ctx.opt.steps_taken() == self.seen {
            return Flow::Continue;
        }
        self.seen = ctx.opt.steps_taken();
        self.steps += 1;
        if self.steps.is_multiple_of(self.every) {
            let past = 0.95f64.powi(self.every as i32) * ctx.pct_train.powi(3);
            self.average.follow(&self.cells, 1.0 - past);
            self.cells.set(&self.average.0);
        }
        Flow::Continue
    }

    fn before_validate(&mut self, ctx: &mut Context<T>) -> Flow {
        if ctx.epoch + 1 == ctx.epochs && !self.average.0.is_empty() {
            self.cells.set(&self.average.0);
        }
        Flow::Continue
    }

    fn after_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        if !ctx.asked.best_restored && !ctx.asked.interrupted {
            self.cells.set(&self.average.0);
        }
        (self.cells, self.average) = (Cells::default(), Average::default());
        Flow::Continue
    }
}

/// Stochastic weight averaging: from some point on the weights at the end of each epoch are averaged, which the model has at the end of
/// the fit. Izmailov et al., <https://arxiv.org/abs/1803.05407>. Counterpart: `torch.optim.swa_utils`.
///
/// At the end one more pass over the training data estimates the running statistics of batch norms anew, for the averaged weights: they
/// become the means over all batches, whatever the layer's momentum. Counterpart: `update_bn`. Other norms that keep statistics follow
/// that pass as they follow any.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::Swa;
/// // Averages the weights of the last half of the epochs, trained at a constant 0.05.
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(Swa::new(0.5).lr(0.05))
///     .silent();
/// learn.fit(4, 0.1)?;
/// assert_eq!(learn.history().lrs[7..9], [0.1, 0.05]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Swa {
    start: f64,
    lr: Option<f64>,
    update_norms: bool,
    cells: Cells,
    average: Average,
    count: u64,
}

impl Default for Swa {
    fn default() -> Swa {
        Swa::new(0.75)
    }
}

impl Swa {
    /// From this share of the epochs on. Default 0.75.
    ///
    /// # Panics
    /// If it is not between 0 and 1.
    #[track_caller]
    pub fn new(start: f64) -> Swa {
        assert!((0.0..=1.0).contains(&start), "Swa: the start {start} is not between 0 and 1");
        Swa {
            start,
            lr: None,
            update_norms: true,
            cells: Cells::default(),
            average: Average::default(),
            count: 0,
        }
    }

    /// With this constant learning rate from the start of averaging on, whatever a schedule says. Counterpart: `SWALR`.
    #[must_use]
    pub fn lr(mut self, lr: f64) -> Swa {
        self.lr = Some(lr);
        self
    }

    /// Without the pass that brings norms up to date.
    #[must_use]
    pub fn keep_norms(mut self) -> Swa {
        self.update_norms = false;
        self
    }

    fn averaging<T: Task>(&self, ctx: &Context<T>) -> bool {
        ctx.epoch as f64 >= self.start * ctx.epochs as f64 || ctx.epoch + 1 == ctx.epochs
    }
}

impl<T: Task> Callback<T> for Swa {
    fn order(&self) -> i32 {
        66
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn state(&self) -> Value {
        json!(self.count)
    }

    fn load_state(&mut self, state: Value) {
        self.count = state.as_u64().unwrap_or(0);
    }

    fn state_tensors(&self) -> StateDict {
        self.average.save()
    }

    fn load_state_tensors(&mut self, state: StateDict) {
        self.average = Average::load(&state);
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        self.cells = Cells::of(&ctx.model);
        if !ctx.resumed {
            (self.average, self.count) = (Average::default(), 0);
        }
        Flow::Continue
    }

    fn before_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        if let (true, Some(lr)) = (ctx.training && self.averaging(ctx), self.lr) {
            ctx.opt.set_hyper(hardpan_nn::optim::Hyper::Lr, lr);
        }
        Flow::Continue
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        if self.averaging(ctx) {
            self.count += 1;
            self.average.follow(&self.cells, 1.0 / self.count as f64);
            flush_all();
        }
        Flow::Continue
    }

    fn after_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        if !self.average.0.is_empty() && !ctx.asked.best_restored && !ctx.asked.interrupted {
            self.cells.set(&self.average.0);
            if self.update_norms
                && !self.cells.buffers.is_empty()
                && let Err(e) = update_batch_norms(ctx)
            {
                return Flow::Fail(e.into());
            }
        }
        (self.cells, self.average) = (Cells::default(), Average::default());
        Flow::Continue
    }
}

/// What one batch norm saw: the sums over batches of its batches' means and variances.
struct Seen {
    mean: Tensor,
    var: Tensor,
    batches: u64,
}

/// The running statistics of a batch norm: mean, variance, number of batches.
fn statistics(module: &dyn Module) -> Option<(&Buffer, &Buffer, Option<&Buffer>)> {
    macro_rules! any_of {
        ($($t:ty),*) => {$(
            if let Some(m) = module.downcast_ref::<$t>() {
                let (mean, var) = (m.running_mean.as_ref()?, m.running_var.as_ref()?);
                return Some((mean, var, m.num_batches_tracked.as_ref()));
            }
        )*};
    }
    any_of!(BatchNorm1d, BatchNorm2d, BatchNorm3d);
    None
}

/// Applies the model to all training data, without training it, and sets the running statistics of its batch norms to the means over
/// the batches. Counterpart: `torch.optim.swa_utils.update_bn`.
fn update_batch_norms<T: Task>(ctx: &mut Context<T>) -> Result<(), DataError> {
    let seen: Arc<Mutex<HashMap<u64, Seen>>> = Arc::default();
    let hooks = Hooks::new();
    let into = seen.clone();
    hooks.before(
        |_: &str, m: &dyn Module| statistics(m).is_some(),
        move |call| {
            let (Some((mean, ..)), Some(x)) = (statistics(call.module), call.inputs.first()) else {
                return;
            };
            let key = mean.id();
            let x = x.detach().to_dtype(mean.value().dtype());
            // All dimensions but the channels.
            let rest: Vec<usize> = (0..x.rank()).filter(|d| *d != 1).collect();
            let n = (x.numel() / x.size(1).max(1)) as f64;
            let mean = x.mean(rest.clone());
            let mut kept = vec![1; x.rank()];
            kept[1] = x.size(1);
            let off = &x - mean.reshape(&kept);
            // Unbiased, as running variances are.
            let var = (&off * &off).sum(rest) / (n - 1.0).max(1.0);
            let mut seen = lock(&into);
            match seen.get_mut(&key) {
                Some(s) => {
                    (s.mean, s.var, s.batches) = (&s.mean + mean, &s.var + var, s.batches + 1)
                }
                None => drop(seen.insert(key, Seen { mean, var, batches: 1 })),
            }
        },
    );
    ctx.model.train();
    let loader = ctx.loaders.train.clone();
    let result = loader.batches(ctx.epochs).try_for_each(|batch| {
        let (x, _) = batch?;
        let _attached = hooks.attach(&ctx.model);
        drop(no_grad(|| T::forward(&ctx.model, &x)));
        // The sums, too, which are still held.
        flush_all();
        Ok(())
    });
    ctx.model.eval();
    let seen = lock(&seen);
    ctx.model.for_each_module(&mut |_, module| {
        let Some((mean, var, batches)) = statistics(module) else { return };
        let Some(s) = seen.get(&mean.id()) else { return };
        let share = 1.0 / s.batches as f64;
        mean.set(&s.mean * share);
        var.set(&s.var * share);
        if let Some(batches) = batches {
            batches.set(Tensor::scalar(s.batches as i64));
        }
    });
    flush_all();
    result
}
