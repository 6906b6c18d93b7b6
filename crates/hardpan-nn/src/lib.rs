//! Modules, layers, losses and optimizers: what a model is made of, how its parts are named and joined, and how they learn.
//!
//! ```
//! use hardpan_engine::{Tensor, manual_seed};
//! use hardpan_nn::optim::{Adam, Recipe};
//! use hardpan_nn::{CrossEntropyLoss, Forward, Linear, ReLU, seq};
//!
//! manual_seed(1);
//! let model = seq![Linear::new(2, 16), ReLU, Linear::new(16, 2)];
//! let mut opt = Adam::new(0.05).build(&model);
//! let x = Tensor::from_vec(vec![0f32, 0., 0., 1., 1., 0., 1., 1.], [4, 2]);
//! let y = Tensor::from_vec(vec![0i64, 1, 1, 0], [4]); // exclusive or
//! let loss = CrossEntropyLoss::new();
//! for _ in 0..100 {
//!     loss.forward(&(model.forward(&x), y.clone())).backward();
//!     opt.step_and_zero_grad();
//! }
//! assert_eq!(model.forward(&x).argmax(-1).to_vec::<i64>(), [0, 1, 1, 0]);
//! ```
//!
//! Layers ([`Linear`], [`Conv2d`], [`BatchNorm2d`], [`LSTM`], [`TransformerEncoder`], ...) and losses ([`CrossEntropyLoss`], ...) have
//! PyTorch's names and state dict keys; [`init`] says how weights start, [`optim`] how they are trained.
//!
//! [`hook`]s look into a model at work, [`Module::summary`] tells what it is made of.
//!
//! # Modules
//!
//! A model is plain data: a struct whose fields are [`Param`]s, other modules, and settings. `#[derive(Module)]` walks the
//! fields by name ([`Visit`]); everything a framework needs to know of a model ([`Module::parameters`],
//! [`Module::state_dict`], [`Module::train`], ...) is a small visitor of that walk. How data flows is [`Forward`].
//!
//! ```
//! use hardpan_engine::Tensor;
//! use hardpan_nn::{Forward, Module, Param};
//!
//! #[derive(Module)]
//! struct Scale {
//!     weight: Param,
//!     power: i32, // plain data: neither trained nor saved
//! }
//!
//! impl Forward for Scale {
//!     type Output = Tensor;
//!     fn forward(&self, x: &Tensor) -> Tensor {
//!         (0..self.power).fold(x.clone(), |x, _| x * self.weight.value())
//!     }
//! }
//!
//! let model = Scale { weight: Param::new(Tensor::from_vec(vec![2f32, 3.], &[2])), power: 2 };
//! let y = model.forward(&Tensor::from_vec(vec![1f32, 1.], &[2]));
//! assert_eq!(y.to_vec::<f32>(), [4., 9.]);
//! assert_eq!(model.num_parameters(), 2);
//! assert_eq!(model.state_dict().keys().collect::<Vec<_>>(), ["weight"]);
//! ```

// The derive writes `::hardpan_nn::...`, in this crate too.
extern crate self as hardpan_nn;

mod compiled;
mod forward;
pub mod hook;
pub mod init;
mod layers;
mod losses;
mod module;
pub mod optim;
mod param;
mod param_vector;
mod plain;
mod sequential;
mod state;
mod state_dict;
mod summary;

pub use compiled::Compiled;
pub use forward::{Forward, IntoLayer, Lambda, Layer, kind};
/// Derives [`Module`] (with its walk, [`Visit`]) for a struct or an enum.
pub use hardpan_derive::Module;
pub use layers::*;
pub use losses::*;
pub use module::{Module, Role, Visit, Visitor, evaluating, visit_field};
pub use param::{Buffer, Lent, Param};
pub use param_vector::{parameters_to_vector, vector_to_parameters};
pub use sequential::Sequential;
pub use state::{Mode, Reset, State};
pub use state_dict::{Loaded, StateDict, StateDictError};
pub use summary::{Summary, SummaryRow};
