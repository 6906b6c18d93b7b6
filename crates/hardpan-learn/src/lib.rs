//! Data, the [`Learner`](learner::Learner), callbacks, schedules and metrics.
//!
//! [`data`] makes typed batches of items; a [`Learner`](learner::Learner) trains a model on them with a loss and an optimizer; everything
//! beyond the bare loop is a [`callback`]; [`schedule`] and [`metric`] have what goes into them; [`file`](mod@file) is how models are
//! saved; [`progress`] is what is seen meanwhile; [`insight`], [`interpret`] and the [`coach`] are there to understand what was trained.
//! Counterparts: `fastai.learner`, `fastai.callback`, `fastai.data.load`, `fastai.interpret`.
//!
//! ```
//! use hardpan_engine::Tensor;
//! use hardpan_learn::data::{DataLoaders, TensorDataset};
//! use hardpan_learn::learner::Learner;
//! use hardpan_learn::metric::mse;
//! use hardpan_nn::{Forward, Module, Param};
//!
//! #[derive(Module)]
//! struct Line(Param, Param);
//!
//! impl Forward for Line {
//!     type Output = Tensor;
//!     fn forward(&self, x: &Tensor) -> Tensor {
//!         x * self.0.value() + self.1.value()
//!     }
//! }
//!
//! let x = Tensor::rand([256]);
//! let data = TensorDataset::new(x.clone(), &x * 3.0 + 1.0)?;
//! let (train, valid) = data.split_at(200);
//! let loaders = DataLoaders::from_tensors(train, valid, 16, 42)?;
//! let model = Line(Param::new(Tensor::zeros([1])), Param::new(Tensor::zeros([1])));
//! let mut learn = Learner::new(loaders, model, mse).silent();
//! learn.fit_one_cycle(8, 0.3)?;
//! assert!(learn.history().epochs.last().unwrap().valid_loss.unwrap() < 0.1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod arch;
pub mod callback;
pub mod coach;
pub mod data;
pub mod file;
pub mod gan;
pub mod insight;
pub mod interpret;
pub mod learner;
mod lock;
pub mod lr_find;
pub mod metric;
pub mod progress;
pub mod schedule;
pub mod tensorboard;
