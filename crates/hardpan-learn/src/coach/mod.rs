//! The coach: looks at a training as an experienced colleague would, in the course's order, and says what to do next.
//!
//! 1. *Look at the data.* Are inputs normalized and finite, labels what the model expects, classes balanced, and does anything lie on both
//!    sides of the split?
//! 2. *Can the model overfit?* First one batch, then some of the training set. What cannot is broken, and nothing else matters until it
//!    can. Here activations, gradients (of each layer, relative to its weights) and the learning rate are looked at too.
//! 3. *Does it overfit?* Only if validation loss gets worse: a training loss that is lower than the validation loss is no overfitting.
//! 4. *Reduce overfitting*, in this order: more data, augmentation, an architecture that generalizes, regularization, and only last a
//!    smaller model.
//!
//! [`Learner::diagnose`] does all of it and leaves the learner as it was. What is found are [`Finding`]s with numbers and advice in a
//! [`Diagnosis`], which can be printed and serialized. Source: lessons 8 to 12 of fastai's course ("How to train a good model").
//!
//! ```
//! # use hardpan_engine::Tensor;
//! # use hardpan_learn::data::{DataLoaders, TensorDataset};
//! # use hardpan_learn::learner::Learner;
//! # use hardpan_nn::{Linear, MSELoss};
//! # let data = TensorDataset::new(Tensor::rand([64, 8]) * 255.0, Tensor::rand([64, 1]))?;
//! # let (train, valid) = data.split_at(48);
//! # let loaders = DataLoaders::from_tensors(train, valid, 16, 42)?;
//! // Inputs from 0 to 255, which somebody forgot to normalize.
//! let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
//! learn.fit_one_cycle(1, 1e-4)?;
//! let diagnosis = learn.diagnose()?;
//! assert!(diagnosis.to_string().contains("normalize"), "{diagnosis}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod curves;
mod data;
mod gradients;
mod near;
mod overfit;
mod report;
mod signals;

pub use report::{Advice, Diagnosis, Evidence, Finding, Kind, Severity, Stage};

use crate::learner::{FitError, Learner};
use data::Part;
use hardpan_engine::Tensor;
use hardpan_nn::{Forward, Module};
use std::any::Any;

/// How far the coach looks. [`Learner::diagnose`] uses the defaults.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::coach::{Coach, Kind};
/// use hardpan_learn::learner::Learner;
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
/// let hasty = Coach { items: 64, batch_steps: 10, probe_batches: 2, probe_steps: 10 };
/// let diagnosis = hasty.examine(&mut learn)?;
/// // The two parts are the same items here.
/// assert!(diagnosis.has(Kind::DuplicatesAcrossSplit), "{diagnosis}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Coach {
    /// Items of each part of the data that are looked at: 4096 (fewer if they are large).
    pub items: usize,
    /// Steps in which one batch should be learned: 100, tried with up to three learning rates.
    pub batch_steps: usize,
    /// Batches that are to be learned together: 8.
    pub probe_batches: usize,
    /// Steps in which they should be: 240.
    pub probe_steps: usize,
}

impl Default for Coach {
    fn default() -> Coach {
        Coach { items: 4096, batch_steps: 100, probe_batches: 8, probe_steps: 240 }
    }
}

impl Coach {
    /// Examines a training. The learner is left as it was: weights, optimizer, history and random numbers (only what a model carries
    /// from call to call is forgotten).
    ///
    /// # Errors
    /// If data cannot be read.
    pub fn examine<M, X, Y>(&self, learn: &mut Learner<M, X, Y>) -> Result<Diagnosis, FitError>
    where
        M: Module + Forward<X, Output: 'static>,
        X: 'static,
        Y: 'static,
    {
        let rng = hardpan_engine::rng_state();
        let weights = learn.model().state_dict();
        let mut out = Diagnosis::default();
        let result = self.steps(learn, &mut out);
        let model = learn.model();
        model.load_state_dict(&weights, true).expect("a model's own weights fit");
        model.zero_grad();
        model.train();
        model.reset();
        hardpan_engine::set_rng_state(rng);
        result?;
        out.conclude();
        Ok(out)
    }

    fn steps<M, X, Y>(
        &self,
        learn: &mut Learner<M, X, Y>,
        out: &mut Diagnosis,
    ) -> Result<(), FitError>
    where
        M: Module + Forward<X, Output: 'static>,
        X: 'static,
        Y: 'static,
    {
        let loaders = learn.context().loaders.clone();
        let train = Part::read(&loaders.train, self.items)?;
        let valid = loaders.valid.as_ref().map(|v| Part::read(v, self.items)).transpose()?;
        // Outputs first: a label that is no class would make the loss itself panic.
        let (x, y) = loaders.train.one_batch()?;
        let outputs = learn.predict(&x);
        let classes = tensor(&outputs).filter(|t| t.rank() == 2).map(|t| t.shape()[1]);
        data::check(&train, valid.as_ref(), classes, out);
        let weights_finite = signals::weights(learn.model(), out);
        if out.has(Kind::LabelEncoding) && out.worst() == Some(Severity::Critical) {
            // With such labels nothing can be learned, and trying might panic.
            return Ok(());
        }
        curves::check(learn.history(), out);
        if weights_finite && !out.has(Kind::NonFiniteInputs) {
            signals::activations(learn.model(), &x, out);
            gradients::check(learn, &x, &y, out);
            overfit::check(self, learn, &train, out)?;
        }
        curves::learning_rate(learn, out)?;
        Ok(())
    }
}

impl<M, X, Y> Learner<M, X, Y>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    /// Examines this training as the [coach](crate::coach) does: looks at the data, tries whether the model can overfit, reads the curves of
    /// the last fit, and says what to do next. The learner is left as it was. Takes a few hundred steps.
    ///
    /// # Errors
    /// If data cannot be read.
    pub fn diagnose(&mut self) -> Result<Diagnosis, FitError> {
        Coach::default().examine(self)
    }
}

/// `value` as a tensor, if it is one.
fn tensor<T: Any>(value: &T) -> Option<&Tensor> {
    (value as &dyn Any).downcast_ref()
}
