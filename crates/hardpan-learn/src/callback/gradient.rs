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
/// use hardpan_learn::callback::GradientClip;
/// let usual = GradientClip::new(1.0);
/// // No element above 0.5: the norm of infinite order is the largest element.
/// let largest = GradientClip::new(0.5).norm(f64::INFINITY);
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
/// use hardpan_learn::callback::GradientClipValue;
/// let clip = GradientClipValue(0.5); // -0.5 to 0.5
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
/// use hardpan_learn::callback::GradientAccumulation;
/// // With batches of 8 items: a step after every fourth batch, as if it were one of 32.
/// let accumulate = GradientAccumulation::new(32);
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
