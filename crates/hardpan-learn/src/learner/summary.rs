//! [`LearnerSummary`]: what a learner is made of.

use super::{FitError, Learner};
use hardpan_nn::hook::Tensors;
use hardpan_nn::optim::Hyper;
use hardpan_nn::{Forward, Module, Param, Summary};
use std::fmt;

/// A model's layers with a learner's parameter groups and callbacks; made by [`Learner::summary`]. Printing it gives tables.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::learner::Learner;
/// use hardpan_nn::{Module, ReLU, Sequential, seq};
/// let model = seq![Linear::new(8, 4), ReLU, Linear::new(4, 1)];
/// let mut learn = Learner::with_loss(loaders, model, MSELoss::new())
///     .groups(|m: &Sequential| {
///         let p = m.parameters();
///         vec![p[..2].to_vec(), p[2..].to_vec()]
///     });
/// learn.freeze();
/// let summary = learn.summary()?;
/// assert_eq!((summary.model.input_shapes.len(), summary.groups.len()), (1, 2));
/// assert!(summary.callbacks.iter().any(|(_, name)| *name == "Recorder"));
/// assert!(summary.to_string().contains("Parameter groups:"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LearnerSummary {
    /// The model, layer by layer, for a batch of the training data.
    pub model: Summary,
    /// The optimizer's groups of parameters, from the first layers to the last.
    pub groups: Vec<GroupSummary>,
    /// Callbacks with their orders, as every event calls them.
    pub callbacks: Vec<(i32, &'static str)>,
}

/// A group of parameters in a [`LearnerSummary`].
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::learner::Learner;
/// use hardpan_nn::{Module, ReLU, Sequential, seq};
/// let model = seq![Linear::new(8, 4), ReLU, Linear::new(4, 1)];
/// let mut learn = Learner::with_loss(loaders, model, MSELoss::new())
///     .groups(|m: &Sequential| {
///         let p = m.parameters();
///         vec![p[..2].to_vec(), p[2..].to_vec()]
///     });
/// learn.freeze();
/// let groups = learn.summary()?.groups;
/// assert_eq!((groups[0].parameters, groups[0].trainable), (8 * 4 + 4, 0)); // frozen
/// assert_eq!((groups[1].parameters, groups[1].trainable), (4 + 1, 4 + 1));
/// assert_eq!(groups[1].weight_decay, Some(0.01));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GroupSummary {
    /// Elements of its parameters.
    pub parameters: usize,
    /// Those that are not frozen.
    pub trainable: usize,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay; `None` if the optimizer has none.
    pub weight_decay: Option<f64>,
}

impl<M, X, Y> Learner<M, X, Y>
where
    M: Module + Forward<X, Output: Tensors + 'static>,
    X: Tensors + 'static,
    Y: 'static,
{
    /// What the learner is made of: every layer with what it gives for the first batch of the training data, parameters and
    /// multiply-adds; the groups of parameters, with what is frozen; the callbacks. Counterpart: fastai's `learn.summary()`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// use hardpan_learn::learner::Learner;
    /// use hardpan_nn::{Linear, MSELoss, ReLU, seq};
    /// let data = TensorDataset::new(Tensor::rand([96, 8]), Tensor::rand([96, 1]))?;
    /// let (train, valid) = data.split_at(64);
    /// let loaders = DataLoaders::from_tensors(train, valid, 16, 42)?;
    /// let model = seq![Linear::new(8, 32), ReLU, Linear::new(32, 1)];
    /// let summary = Learner::with_loss(loaders, model, MSELoss::new()).summary()?;
    /// assert_eq!(summary.model.input_shapes, [[16, 8]]);
    /// assert_eq!(summary.groups[0].parameters, 8 * 32 + 32 + 32 + 1);
    /// println!("{summary}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the batch cannot be read.
    pub fn summary(&self) -> Result<LearnerSummary, FitError> {
        let (x, _) = self.ctx.loaders.train.one_batch()?;
        let model = self.ctx.model.summary(&x);
        let groups = self.ctx.opt.groups().iter().map(|g| {
            let free = g.params().filter(|p| !p.is_frozen()).map(Param::numel);
            GroupSummary {
                parameters: g.params().map(Param::numel).sum(),
                trainable: free.sum(),
                lr: g.hypers().get(Hyper::Lr),
                weight_decay: g.hypers().find(Hyper::Wd),
            }
        });
        let callbacks = self.callbacks.iter().map(|c| (c.callback.order(), c.callback.name()));
        Ok(LearnerSummary { model, groups: groups.collect(), callbacks: callbacks.collect() })
    }
}

impl fmt::Display for LearnerSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.model.to_string().trim_end())?;
        writeln!(f, "\nParameter groups:")?;
        for (i, g) in self.groups.iter().enumerate() {
            let state = match g.trainable {
                0 => "frozen".to_owned(),
                t if t == g.parameters => "trained".to_owned(),
                t => format!("{t} of them trained"),
            };
            let decay = g.weight_decay.map(|wd| format!(", weight decay {wd}")).unwrap_or_default();
            writeln!(f, "  {i}: {} parameters, {state}, lr {}{decay}", g.parameters, g.lr)?;
        }
        let names: Vec<&str> = self.callbacks.iter().map(|c| c.1).collect();
        writeln!(f, "Callbacks: {}", names.join(", "))
    }
}
