//! What is done to gradients: [`GradientClip`], [`GradientClipValue`], [`GradientAccumulation`].

use super::{Callback, Flow};
use crate::learner::{Context, Task};
use hardpan_nn::Param;
use hardpan_nn::optim::{clip_grad_norm, clip_grad_value};
use serde_json::{Value, json};

/// Scales gradients down so that their norm (of order 2, of all of them together) is at most this. Default 1. Counterpart: fastai's
/// `GradientClip`; order 11.
#[derive(Clone, Copy, Debug)]
pub struct GradientClip(pub f64);

impl Default for GradientClip {
    fn default() -> GradientClip {
        GradientClip(1.0)
    }
}

impl<T: Task> Callback<T> for GradientClip {
    fn order(&self) -> i32 {
        11
    }

    fn before_step(&mut self, ctx: &mut Context<T>) -> Flow {
        let params: Vec<Param> = ctx.opt.params().cloned().collect();
        clip_grad_norm(&params, self.0);
        Flow::Continue
    }
}

/// Limits every element of the gradients to between minus this and this. Counterpart: `clip_grad_value_`; order 11.
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
/// `GradientAccumulation`.
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
