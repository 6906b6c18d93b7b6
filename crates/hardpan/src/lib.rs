//! Hardpan: deep learning from the foundations.
//!
//! This crate is the door to the house: it re-exports the rooms and has almost no code of its own. [`engine`] has tensors with
//! automatic differentiation, [`nn`] modules, layers and optimizers, [`learn`] data, the
//! [`Learner`](learn::learner::Learner), callbacks and metrics. [`prelude`] has what most programs need:
//!
//! ```
//! use hardpan::prelude::*;
//!
//! manual_seed(42);
//! let x = Tensor::rand([64, 2]);
//! let y = x.sum(1).gt(1.0).to_dtype(DType::I64); // is the sum above 1?
//! let data = TensorDataset::new(x, y)?;
//! let loader = DataLoader::new(data, 16)?.shuffle(42);
//! let model = seq![Linear::new(2, 16), ReLU, Linear::new(16, 2)];
//! let mut learn = Learner::new(DataLoaders::new(loader.clone(), loader), model, cross_entropy)
//!     .metric(Mean::new("accuracy", accuracy))
//!     .silent();
//! learn.fit_one_cycle(20, 0.05)?;
//! assert!(learn.history().last_metric("accuracy").unwrap() > 0.9);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use hardpan_datasets as datasets;
pub use hardpan_engine as engine;
pub use hardpan_learn as learn;
pub use hardpan_nn as nn;
pub use hardpan_onnx as onnx;
pub use hardpan_plot as plot;
pub use hardpan_vision as vision;

#[cfg(feature = "mnist")]
pub mod mnist;

/// What most programs need: `use hardpan::prelude::*;`
pub mod prelude {
    #[cfg(feature = "mnist")]
    pub use crate::mnist;
    pub use hardpan_engine::functional::{self, cross_entropy, mse_loss};
    pub use hardpan_engine::{DType, Tensor, grad, manual_seed, no_grad};
    pub use hardpan_learn::callback::{
        Callback, Checkpoint, CsvLogger, CutMix, EarlyStopping, Ema, Flow, Gather,
        GradientAccumulation, GradientClip, LabelSmoothing, LrScheduler, MixUp, MixedPrecision,
        ModelResetter, ParamScheduler, ReduceLrOnPlateau, SaveModel, ShowGraph, Swa, TensorBoard,
    };
    pub use hardpan_learn::data::{DataLoader, DataLoaders, Dataset, TensorDataset};
    pub use hardpan_learn::learner::{Context, FineTune, FitError, Learner, Rates, Task};
    pub use hardpan_learn::metric::{Mean, Metric, accuracy, error_rate};
    pub use hardpan_learn::schedule::{Anneal, OneCycle};
    pub use hardpan_nn::optim::{Adam, AdamW, Hyper, Optimizer, Recipe, SGD};
    pub use hardpan_nn::*;
}
