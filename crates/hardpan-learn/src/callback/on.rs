//! [`OnEvent`]: a function as a callback.

use super::{Callback, Event, Flow};
use crate::learner::{Context, Task};

type Function<T> = Box<dyn FnMut(&mut Context<T>) -> Flow + Send>;

/// Calls a function at one event: what [`Learner::on`](crate::learner::Learner::on) adds. Counterpart: fastai's
/// `Callback(after_batch=..)`, `before_batch_cb`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::callback::{Event, OnEvent};
/// use hardpan_learn::learner::Context;
/// use hardpan_nn::Sequential;
/// type Mine = (Sequential, Tensor, Tensor);
/// // After the recorder (50), when the loss has been written down.
/// let shown = OnEvent::new(Event::AfterBatch, |ctx: &mut Context<Mine>| {
///     println!("{:?}", ctx.history.losses.last());
/// })
/// .order(51);
/// ```
pub struct OnEvent<T: Task> {
    event: Event,
    order: i32,
    function: Function<T>,
}

impl<T: Task> OnEvent<T> {
    /// At this event, in order 0. What `function` gives is a [`Flow`], or what can be made into one: nothing, or a `Result`.
    pub fn new<R: Into<Flow>>(
        event: Event,
        mut function: impl FnMut(&mut Context<T>) -> R + Send + 'static,
    ) -> OnEvent<T> {
        OnEvent { event, order: 0, function: Box::new(move |ctx| function(ctx).into()) }
    }

    /// In this order: see the [table](super).
    #[must_use]
    pub fn order(mut self, order: i32) -> OnEvent<T> {
        self.order = order;
        self
    }
}

impl<T: Task> Callback<T> for OnEvent<T> {
    fn order(&self) -> i32 {
        self.order
    }

    fn on(&mut self, event: Event, ctx: &mut Context<T>) -> Flow {
        if event == self.event { (self.function)(ctx) } else { Flow::Continue }
    }
}
