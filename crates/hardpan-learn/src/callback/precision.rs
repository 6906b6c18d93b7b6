//! [`MixedPrecision`]: training with products and convolutions on halves.

use super::{Callback, Flow};
use crate::learner::{Context, Task};
use crate::lock::lock;
use hardpan_engine::{DType, Tensor, no_grad, set_autocast};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// The factor that keeps small gradients from becoming zero in f16: the loss is multiplied by it, gradients are divided by it
/// before the step. Found while training: a step whose gradients overflow is left out and the factor shrinks; after so many good steps it
/// grows. Counterpart: `torch.amp.GradScaler`; Micikevicius et al., <https://arxiv.org/abs/1710.03740>.
///
/// ```
/// use hardpan_learn::callback::LossScale;
/// assert_eq!(LossScale::default().start, 65_536.0);
/// let careful = LossScale { interval: 100, ..LossScale::default() };
/// assert_eq!(LossScale::fixed(512.0).growth, 1.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// The first factor. 65536.
    pub start: f64,
    /// What it is multiplied by after `interval` good steps in a row. 2.
    pub growth: f64,
    /// What it is multiplied by when gradients overflow. 0.5.
    pub back_off: f64,
    /// Number of good steps before it grows. 2000.
    pub interval: usize,
}

impl Default for LossScale {
    fn default() -> LossScale {
        LossScale { start: 65_536.0, growth: 2.0, back_off: 0.5, interval: 2000 }
    }
}

impl LossScale {
    /// fastai's own recipe, that of its course: starts at 2^24, halves on overflow, doubles after 500 good steps.
    pub fn course() -> LossScale {
        LossScale { start: 16_777_216.0, growth: 2.0, back_off: 0.5, interval: 500 }
    }

    /// A factor that stays as it is (512 in the course). Steps that overflow are left out all the same.
    pub fn fixed(scale: f64) -> LossScale {
        LossScale { start: scale, growth: 1.0, back_off: 1.0, interval: usize::MAX }
    }
}

/// Computes matrix products and convolutions on a half type, forward and backward, while weights, norms, losses and optimizer stay
/// f32. Counterpart: fastai's `MixedPrecision` (`to_fp16`, `to_bf16`); order 10.
///
/// bf16 has the range of f32, so nothing else is needed. f16 has not: small gradients would be lost, so the loss is scaled
/// ([`LossScale`]), and a step whose gradients overflow is left out ([`Flow::CancelStep`]); the clipping of gradients (order 11) sees
/// them unscaled.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::{LossScale, MixedPrecision};
/// let bf16 = MixedPrecision::bf16();
/// let f16 = MixedPrecision::f16().scale(LossScale::fixed(256.0)); // without `scale` as PyTorch: from 65536
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(bf16)
///     .silent();
/// learn.fit(1, 0.01)?;
/// assert_eq!(learn.model().weight.dtype(), hardpan_engine::DType::F32); // weights stay
/// learn.remove_callback::<MixedPrecision>();
/// learn.add_callback(f16);
/// learn.fit(1, 0.01)?;
/// assert!(learn.history().epochs[0].valid_loss.unwrap().is_finite());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MixedPrecision {
    dtype: DType,
    settings: Option<LossScale>,
    scale: Scale,
    shared: Arc<Mutex<Scale>>,
}

/// Where the scale is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Scale {
    factor: f64,
    good: usize,
    skipped: u64,
}

/// Shows the loss scale of a [`MixedPrecision`] while and after it is used.
///
/// ```
/// use hardpan_learn::callback::MixedPrecision;
/// let half = MixedPrecision::f16();
/// let watch = half.watch(); // goes on to work when `half` belongs to a learner
/// assert_eq!((watch.factor(), watch.skipped()), (65_536.0, 0));
/// ```
#[derive(Clone)]
pub struct ScaleWatch(Arc<Mutex<Scale>>);

impl ScaleWatch {
    /// The present factor.
    pub fn factor(&self) -> f64 {
        self.get().factor
    }

    /// How many steps have been left out because gradients overflowed.
    pub fn skipped(&self) -> u64 {
        self.get().skipped
    }

    fn get(&self) -> Scale {
        *lock(&self.0)
    }
}

impl MixedPrecision {
    /// On bf16.
    pub fn bf16() -> MixedPrecision {
        MixedPrecision::new(DType::BF16, None)
    }

    /// On f16, with a loss scale as PyTorch and fastai have it.
    pub fn f16() -> MixedPrecision {
        MixedPrecision::new(DType::F16, Some(LossScale::default()))
    }

    fn new(dtype: DType, settings: Option<LossScale>) -> MixedPrecision {
        let mut out =
            MixedPrecision { dtype, settings, scale: Scale::default(), shared: Arc::default() };
        out.restart();
        out
    }

    /// With another loss scale.
    #[must_use]
    pub fn scale(mut self, settings: LossScale) -> MixedPrecision {
        self.settings = Some(settings);
        self.restart();
        self
    }

    /// To look at the loss scale from outside of the learner.
    pub fn watch(&self) -> ScaleWatch {
        ScaleWatch(self.shared.clone())
    }

    fn restart(&mut self) {
        self.scale = Scale { factor: self.settings.map_or(1.0, |s| s.start), ..Scale::default() };
        self.publish();
    }

    fn publish(&self) {
        *lock(&self.shared) = self.scale;
    }

    /// After a step that was taken or, because of an overflow, was not.
    fn update(&mut self, settings: LossScale, good: bool) {
        let scale = &mut self.scale;
        if good {
            scale.good += 1;
            if scale.good >= settings.interval {
                scale.good = 0;
                scale.factor *= settings.growth;
            }
        } else {
            scale.good = 0;
            scale.skipped += 1;
            scale.factor *= settings.back_off;
        }
        self.publish();
    }
}

/// Divides all gradients by `factor`; whether all of them are finite. Reads, and so computes what is pending.
fn unscale<T: Task>(ctx: &mut Context<T>, factor: f64) -> bool {
    no_grad(|| {
        let mut finite: Option<Tensor> = None;
        for p in ctx.opt.params() {
            let Some(g) = p.grad() else { continue };
            let g = g * (1.0 / factor);
            // 0 where finite, NaN where not: one sum tells of all elements. f64, so that it does not overflow itself.
            let sum = (&g * 0.0).sum(..).to_dtype(DType::F64);
            finite = Some(match finite {
                Some(all) => all + sum,
                None => sum,
            });
            p.set_grad(Some(g));
        }
        finite.is_none_or(|f| f.item::<f64>() == 0.0)
    })
}

impl<T: Task> Callback<T> for MixedPrecision {
    fn order(&self) -> i32 {
        10
    }

    fn state(&self) -> Value {
        match self.settings {
            None => Value::Null,
            Some(_) => json!({
                "factor": self.scale.factor, "good": self.scale.good, "skipped": self.scale.skipped,
            }),
        }
    }

    fn load_state(&mut self, state: Value) {
        if let Some(factor) = state["factor"].as_f64() {
            let count = |key: &str| state[key].as_u64().unwrap_or(0);
            self.scale = Scale { factor, good: count("good") as usize, skipped: count("skipped") };
            self.publish();
        }
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        if !ctx.resumed {
            self.restart();
        }
        Flow::Continue
    }

    fn before_batch(&mut self, _: &mut Context<T>) -> Flow {
        set_autocast(Some(self.dtype));
        Flow::Continue
    }

    fn after_loss(&mut self, _: &mut Context<T>) -> Flow {
        set_autocast(None);
        Flow::Continue
    }

    fn before_backward(&mut self, ctx: &mut Context<T>) -> Flow {
        if self.settings.is_some() {
            let factor = self.scale.factor;
            ctx.loss_grad = ctx.loss_grad.take().map(|l| l * factor);
        }
        Flow::Continue
    }

    fn before_step(&mut self, ctx: &mut Context<T>) -> Flow {
        let Some(settings) = self.settings else { return Flow::Continue };
        let good = unscale(ctx, self.scale.factor);
        self.update(settings, good);
        if good { Flow::Continue } else { Flow::CancelStep }
    }

    fn after_batch(&mut self, _: &mut Context<T>) -> Flow {
        // Also when the batch was cancelled before its loss.
        set_autocast(None);
        Flow::Continue
    }
}
