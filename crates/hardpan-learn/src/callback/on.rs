//! [`OnEvent`]: a function as a callback.

use super::{Callback, Event, Flow};
use crate::learner::{Context, Task};

type Function<T> = Box<dyn FnMut(&mut Context<T>) -> Flow + Send>;

/// Calls a function at one event: what [`Learner::on`](crate::learner::Learner::on) adds. Counterpart: fastai's
/// `Callback(after_batch=..)`, `before_batch_cb`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::{Event, OnEvent};
/// use hardpan_learn::learner::Context;
/// use std::sync::{Arc, Mutex};
/// type Mine = (Linear, Tensor, Tensor);
/// let seen = Arc::new(Mutex::new(Vec::new()));
/// let write = seen.clone();
/// // After the recorder (50), when the loss has been written down.
/// let losses = OnEvent::new(Event::AfterBatch, move |ctx: &mut Context<Mine>| {
///     write.lock().unwrap().push(ctx.history.losses.len());
/// })
/// .order(51);
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(losses)
///     .silent();
/// learn.fit(1, 0.1)?;
/// assert_eq!(seen.lock().unwrap()[..4], [1, 2, 3, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
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
