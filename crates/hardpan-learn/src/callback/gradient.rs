//! What is done to gradients: [`GradientClip`], [`GradientClipValue`], [`GradientAccumulation`].

use super::{Callback, Flow};
use crate::learner::{Context, Task};
use hardpan_nn::Param;
use hardpan_nn::optim::{clip_grad_norm_of, clip_grad_value};
use serde_json::{Value, json};

/// Scales gradients down so that their norm, of all of them together, is at most this. Default: a norm of order 2 of at most 1.
/// Counterpart: fastai's `GradientClip`, `clip_grad_norm_`; order 11.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::{Event, GradientClip};
/// use hardpan_nn::optim::grad_norm;
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(GradientClip::new(0.01)) // usual is 1
///     .on(Event::AfterStep, |ctx| {
///         let params: Vec<_> = ctx.opt.params().cloned().collect();
///         assert!(grad_norm(&params, 2.0).unwrap().item::<f32>() < 0.0101);
///     })
///     .silent();
/// learn.fit(1, 0.1)?;
/// // No element above 0.5: the norm of infinite order is the largest element.
/// let largest = GradientClip::new(0.5).norm(f64::INFINITY);
/// # learn.add_callback(largest);
/// # learn.fit(1, 0.1)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GradientClip {
    max_norm: f64,
    order: f64,
}

impl GradientClip {
    /// To at most this norm, of order 2.
    pub fn new(max_norm: f64) -> GradientClip {
        GradientClip { max_norm, order: 2.0 }
    }

    /// With the norm of this order; infinity is the largest element. Default 2. Counterpart: `norm_type`.
    ///
    /// # Panics
    /// If it is not above 0.
    #[must_use]
    #[track_caller]
    pub fn norm(mut self, order: f64) -> GradientClip {
        assert!(order > 0.0, "GradientClip: the order of the norm must be above 0, got {order}");
        self.order = order;
        self
    }
}

impl Default for GradientClip {
    fn default() -> GradientClip {
        GradientClip::new(1.0)
    }
}

impl<T: Task> Callback<T> for GradientClip {
    fn order(&self) -> i32 {
        11
    }

    fn before_step(&mut self, ctx: &mut Context<T>) -> Flow {
        let params: Vec<Param> = ctx.opt.params().cloned().collect();
        clip_grad_norm_of(&params, self.max_norm, self.order);
        Flow::Continue
    }
}

/// Limits every element of the gradients to between minus this and this. Counterpart: `clip_grad_value_`; order 11.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::{Event, GradientClipValue};
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(GradientClipValue(0.001)) // -0.001 to 0.001
///     .on(Event::AfterStep, |ctx| {
///         let gradient = ctx.model.weight.grad().unwrap();
///         assert!(gradient.abs().amax(..).item::<f32>() < 0.00101);
///     })
///     .silent();
/// learn.fit(1, 0.1)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GradientClipValue(pub f64);

impl<T: Task> Callback<T> for GradientClipValue {
    fn order(&self) -> i32 {
        11
    }

    fn before_step(&mut self, ctx: &mut Context<T>) -> Flow {
        let params: Vec<Param> = ctx.opt.params().cloned().collect();
        clip_grad_value(&params, self.0);
        Flow::Continue
    }
}

/// Steps only after so many items, with the mean of their gradients: a large batch in little memory. Counterpart: fastai's
/// `GradientAccumulation`; order 6.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::GradientAccumulation;
/// // With batches of 16 items: a step after every second batch, as if it were one of 32.
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(GradientAccumulation::new(32))
///     .silent();
/// learn.fit(1, 0.1)?;
/// assert_eq!(learn.optimizer().steps_taken(), 2); // of four batches
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GradientAccumulation {
    items: usize,
    seen: usize,
}

impl GradientAccumulation {
    /// Steps after every `items` items (or more, if batches do not add up to that).
    ///
    /// # Panics
    /// If `items` is 0.
    #[track_caller]
    pub fn new(items: usize) -> GradientAccumulation {
        assert!(items > 0, "GradientAccumulation: the number of items must be above 0");
        GradientAccumulation { items, seen: 0 }
    }
}

impl<T: Task> Callback<T> for GradientAccumulation {
    fn order(&self) -> i32 {
        6
    }

    fn state(&self) -> Value {
        json!(self.seen)
    }

    fn load_state(&mut self, state: Value) {
        self.seen = state.as_u64().unwrap_or(0) as usize;
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        if !ctx.resumed {
            self.seen = 0;
        }
        Flow::Continue
    }

    fn after_loss(&mut self, ctx: &mut Context<T>) -> Flow {
        if ctx.training {
            let share = ctx.items as f64 / self.items as f64;
            ctx.loss_grad = ctx.loss_grad.take().map(|l| l * share);
        }
        Flow::Continue
    }

    fn before_step(&mut self, ctx: &mut Context<T>) -> Flow {
        self.seen += ctx.items;
        if self.seen < self.items {
            // Leaves out the step and the clearing of gradients. What is pending is computed, so that the graphs of
            // the batches do not pile up.
            hardpan_engine::flush_all();
            return Flow::CancelBatch;
        }
        self.seen = 0;
        Flow::Continue
    }
}
