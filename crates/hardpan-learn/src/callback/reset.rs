//! [`ModelResetter`].

use super::{Callback, Flow};
use crate::learner::{Context, Task};
use hardpan_nn::Module;

/// Makes the model forget what it carries from batch to batch before each pass over the data: for language models that keep a
/// hidden state. Counterpart: fastai's `ModelResetter`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelResetter;

impl<T: Task> Callback<T> for ModelResetter {
    fn before_train(&mut self, ctx: &mut Context<T>) -> Flow {
        ctx.model.reset();
        Flow::Continue
    }
    fn before_validate(&mut self, ctx: &mut Context<T>) -> Flow {
        ctx.model.reset();
        Flow::Continue
    }
    fn after_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        ctx.model.reset();
        Flow::Continue
    }
}
