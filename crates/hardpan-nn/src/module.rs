//! The walk over a model ([`Visit`], [`Visitor`]) and what is built on it ([`Module`]).
//!
//! A walk passes each parameter, buffer and flag of a model once per name it has, in declaration order. It takes `&self`: all that
//! changes in a model lives in cells ([`Param`], [`Buffer`], [`Mode`], [`State`](crate::State)), so a model can be shared by
//! `Arc` and trained all the same.

use crate::hook::Tensors;
use crate::state_dict::{self, Loaded, StateDict, StateDictError};
use crate::summary::{self, Summary};
use crate::{Buffer, Forward, Mode, Param, Reset};
use hardpan_engine::DType;
use std::any::Any;
use std::collections::HashSet;

/// What a walk can pass through: parameters, buffers, modules, containers of them, and plain data (which holds nothing for the
/// walk to see).
///
/// A field of a type that is none of these does not compile, so nothing is left out of a walk by accident:
///
/// ```compile_fail,E0277
/// #[derive(hardpan_nn::Module)]
/// struct Linear {
///     weight: hardpan_engine::Tensor, // a Param? a Buffer? a constant?
/// }
/// ```
/// ```compile_fail,E0277
/// struct Forgotten(hardpan_nn::Param); // no #[derive(Module)]
/// #[derive(hardpan_nn::Module)]
/// struct Net<T> {
///     layers: Vec<Forgotten>,
///     rest: T,
/// }
/// ```
/// With `#[module(skip)]` it does:
/// ```
/// #[derive(hardpan_nn::Module)]
/// struct Linear {
///     weight: hardpan_nn::Param,
///     #[module(skip)]
///     mask: hardpan_engine::Tensor,
/// }
/// ```
///
/// `#[derive(Module)]` implements this trait for models. By hand it is worth writing where names are made at run time, as
/// in `weight_ih_l0` of an LSTM: call [`visit_field`] with each name, between [`Visitor::begin`] and [`Visitor::end`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a field of a module",
    label = "neither a parameter, a buffer, a module, nor plain data",
    note = "a tensor: wrap it in `Param` (trained) or `Buffer` (saved, not trained)",
    note = "a struct or enum of yours: put `#[derive(Module)]` on it",
    note = "a constant, a closure or a foreign type with nothing to train: put `#[module(skip)]` on the field"
)]
pub trait Visit: Send + Sync {
    /// Shows `v` everything inside `self`.
    fn visit(&self, v: &mut dyn Visitor);
}

/// Receives what a walk meets. Every method does nothing unless overridden.
///
/// ```
/// use hardpan_nn::{Linear, Module, Param, Visitor, seq};
/// use hardpan_nn::Visit;
/// /// Counts what is frozen.
/// struct Frozen(usize);
///
/// impl Visitor for Frozen {
///     fn param(&mut self, param: &Param) {
///         self.0 += usize::from(param.is_frozen());
///     }
/// }
///
/// let model = seq![Linear::new(4, 8), Linear::new(8, 2)];
/// model.get(0).unwrap().freeze();
/// let mut frozen = Frozen(0);
/// model.visit(&mut frozen);
/// assert_eq!(frozen.0, 2);
/// ```
pub trait Visitor {
    /// The walk goes into a field or element: `name` is one part of a key such as `layers.1.bias`.
    fn enter(&mut self, name: &str) {
        let _ = name;
    }
    /// The walk comes out of the field or element last entered.
    fn leave(&mut self) {}
    /// The walk starts on the fields of `module`.
    fn begin(&mut self, module: &dyn Module) {
        let _ = module;
    }
    /// The walk is done with the module last begun.
    fn end(&mut self) {}
    /// A parameter.
    fn param(&mut self, param: &Param) {
        let _ = param;
    }
    /// A buffer.
    fn buffer(&mut self, buffer: &Buffer) {
        let _ = buffer;
    }
    /// A training flag.
    fn mode(&mut self, mode: &Mode) {
        let _ = mode;
    }
    /// State carried from one call to the next.
    fn state(&mut self, state: &dyn Reset) {
        let _ = state;
    }
}

/// Visits `field` under `name`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Module, Param, Visit, Visitor, visit_field};
/// /// Two of one kind, named by a letter.
/// struct Pair(Param, Param);
///
/// impl Visit for Pair {
///     fn visit(&self, v: &mut dyn Visitor) {
///         v.begin(self);
///         visit_field(v, "a", &self.0);
///         visit_field(v, "b", &self.1);
///         v.end();
///     }
/// }
/// impl Module for Pair {}
///
/// let pair = Pair(Param::new(Tensor::ones([2])), Param::new(Tensor::ones([3])));
/// assert_eq!(pair.state_dict().keys().collect::<Vec<_>>(), ["a", "b"]);
/// ```
pub fn visit_field<T: Visit + ?Sized>(v: &mut dyn Visitor, name: &str, field: &T) {
    v.enter(name);
    field.visit(v);
    v.leave();
}

/// A part of a model, or a whole one. Derive it; all methods are provided.
///
/// Counterpart: `torch.nn.Module`, without its `forward` (that is [`Forward`](crate::Forward), which says the types).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Linear, Module, ReLU, seq};
/// let model = seq![Linear::new(4, 8), ReLU, Linear::new(8, 2)];
/// assert_eq!(model.num_parameters(), 4 * 8 + 8 + 8 * 2 + 2);
/// let saved = model.state_dict();
/// assert_eq!(saved.keys().collect::<Vec<_>>(), ["0.weight", "0.bias", "2.weight", "2.bias"]);
/// let other = seq![Linear::new(4, 8), ReLU, Linear::new(8, 2)];
/// other.load_state_dict(&saved, true).unwrap();
/// let x = Tensor::randn([3, 4]);
/// assert_eq!(model.forward(&x).to_vec::<f32>(), other.forward(&x).to_vec::<f32>());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module",
    note = "put `#[derive(Module)]` on it, or wrap a closure in `Lambda`"
)]
pub trait Module: Visit + Any {
    /// The Rust name of the type, without path and type parameters: `Linear`.
    fn type_name(&self) -> &'static str {
        let name = std::any::type_name::<Self>();
        let name = name.split('<').next().unwrap_or(name);
        name.rsplit("::").next().unwrap_or(name)
    }

    /// What the module is for, where that matters beyond its own computation: [`Role::Other`] unless
    /// `#[derive(Module)]` is told by `#[module(role = ...)]`.
    fn role(&self) -> Role {
        Role::Other
    }

    /// Every parameter with its name, in declaration order. One that is shared appears once, under its first name.
    /// Counterpart: `named_parameters`.
    fn named_parameters(&self) -> Vec<(String, Param)> {
        let mut seen = HashSet::new();
        let mut out = Vec::new();
        walk(self, |name, item| {
            if let Item::Param(p) = item
                && seen.insert(p.id())
            {
                out.push((name.to_owned(), p.clone()));
            }
        });
        out
    }

    /// Every parameter once, in declaration order. Frozen ones too: see [`Param::is_frozen`].
    fn parameters(&self) -> Vec<Param> {
        self.named_parameters().into_iter().map(|(_, p)| p).collect()
    }

    /// Every buffer with its name, in declaration order, each once. Counterpart: `named_buffers`.
    fn named_buffers(&self) -> Vec<(String, Buffer)> {
        let mut seen = HashSet::new();
        let mut out = Vec::new();
        walk(self, |name, item| {
            if let Item::Buffer(b) = item
                && seen.insert(b.id())
            {
                out.push((name.to_owned(), b.clone()));
            }
        });
        out
    }

    /// Every buffer once, in declaration order.
    fn buffers(&self) -> Vec<Buffer> {
        self.named_buffers().into_iter().map(|(_, b)| b).collect()
    }

    /// Calls `f` with the path of every module inside (the model itself has the path "") and the module, parents first.
    /// To find layers of one kind, see `downcast_ref` on `dyn Module`. Counterparts: `named_modules` and `apply`.
    fn for_each_module(&self, f: &mut dyn FnMut(&str, &dyn Module)) {
        struct Each<'a> {
            path: Path,
            f: &'a mut dyn FnMut(&str, &dyn Module),
        }
        impl Visitor for Each<'_> {
            fn enter(&mut self, name: &str) {
                self.path.push(name);
            }
            fn leave(&mut self) {
                self.path.pop();
            }
            fn begin(&mut self, module: &dyn Module) {
                (self.f)(&self.path.text, module);
            }
        }
        self.visit(&mut Each { path: Path::default(), f });
    }

    /// Number of trainable and frozen elements, shared parameters counted once.
    fn num_parameters(&self) -> usize {
        self.parameters().iter().map(Param::numel).sum()
    }

    /// Number of elements that are not frozen.
    fn num_trainable(&self) -> usize {
        self.parameters().iter().filter(|p| !p.is_frozen()).map(Param::numel).sum()
    }

    /// Switches to training: dropout drops, batch norm uses the batch's statistics. How modules are built.
    fn train(&self) {
        self.set_training(true);
    }

    /// Switches to evaluation. Gradients are another matter: see `hardpan_engine::no_grad`.
    fn eval(&self) {
        self.set_training(false);
    }

    /// [`train`](Module::train) or [`eval`](Module::eval), for every flag inside.
    fn set_training(&self, training: bool) {
        walk(self, |_, item| {
            if let Item::Mode(m) = item {
                m.set_training(training);
            }
        });
    }

    /// Switches dropout alone: that of dropout layers, and the one inside LSTM, GRU, `MultiheadAttention` and whatever else holds a
    /// [`Mode::for_dropout`]. Batch norms keep their mode. For predictions with dropout on: Gal and Ghahramani,
    /// <https://arxiv.org/abs/1506.02142>.
    ///
    /// ```
    /// use hardpan_engine::{Tensor, manual_seed};
    /// use hardpan_nn::{BatchNorm1d, Dropout, Forward, Module, seq};
    /// manual_seed(1);
    /// let model = seq![BatchNorm1d::new(50), Dropout::new(0.5)];
    /// model.eval();
    /// model.set_dropout(true);
    /// let y = model.forward(&Tensor::ones([1, 50])).to_vec::<f32>(); // one item: batch norm would refuse it in training
    /// assert!(y.contains(&0.0) && y.iter().any(|v| *v > 1.9));
    /// ```
    fn set_dropout(&self, on: bool) {
        walk(self, |_, item| {
            if let Item::Mode(m) = item
                && m.is_for_dropout()
            {
                m.set_training(on);
            }
        });
    }

    /// Clears every gradient. Counterpart: `zero_grad(set_to_none=True)`.
    fn zero_grad(&self) {
        walk(self, |_, item| {
            if let Item::Param(p) = item {
                p.zero_grad();
            }
        });
    }

    /// Keeps all parameters as they are: they ask for no gradients and optimizers pass them by.
    fn freeze(&self) {
        self.set_frozen(true);
    }

    /// Undoes [`freeze`](Module::freeze).
    fn unfreeze(&self) {
        self.set_frozen(false);
    }

    /// Freezes or unfreezes every parameter. Counterpart: `requires_grad_(!frozen)`.
    fn set_frozen(&self, frozen: bool) {
        walk(self, |_, item| {
            if let Item::Param(p) = item {
                p.set_frozen(frozen);
            }
        });
    }

    /// Converts floating point parameters and buffers; gradients are cleared. Counterpart: `Module.to(dtype)`.
    ///
    /// # Panics
    /// If `dtype` is not a float.
    #[track_caller]
    fn to_dtype(&self, dtype: DType) {
        assert!(dtype.is_float(), "to_dtype: parameters are floating point, got {dtype}");
        // Collected first: a parameter that is met under two names is converted once.
        for p in self.parameters() {
            p.replace(p.value().to_dtype(dtype));
        }
        for b in self.buffers() {
            let value = b.value();
            if value.dtype().is_float() {
                b.replace(value.to_dtype(dtype));
            }
        }
    }

    /// Forgets what was carried from earlier calls, such as the hidden state of a language model: every
    /// [`State`](crate::State) inside takes its default. Counterpart: fastai's `reset`.
    fn reset(&self) {
        walk(self, |_, item| {
            if let Item::State(s) = item {
                s.reset();
            }
        });
    }

    /// What was carried from earlier calls, as tensors by name: for a training that is to go on later. Not part of the state dict.
    fn carried(&self) -> StateDict {
        let mut out = StateDict::new();
        walk(self, |name, item| {
            if let Item::State(s) = item {
                for (i, t) in s.save().into_iter().flatten().enumerate() {
                    out.insert(format!("{name}/{i}"), t);
                }
            }
        });
        out
    }

    /// Takes up again what [`carried`](Module::carried) gave; what it lacks takes its default.
    fn set_carried(&self, carried: &StateDict) {
        walk(self, |name, item| {
            if let Item::State(s) = item
                && s.save().is_some()
            {
                let all = (0..).map_while(|i| carried.get(&format!("{name}/{i}")).cloned());
                s.reset();
                s.load(all.collect());
            }
        });
    }

    /// The values of all parameters and (persistent) buffers by name, in declaration order. A parameter that
    /// is shared appears under each of its names. Counterpart: `state_dict`.
    fn state_dict(&self) -> StateDict {
        let mut out = StateDict::new();
        walk(self, |name, item| match item {
            Item::Param(p) => out.insert(name, p.value().detach()),
            Item::Buffer(b) if b.is_persistent() => out.insert(name, b.value()),
            _ => {}
        });
        out
    }

    /// Sets parameters and buffers from `state`, converting to the dtypes they have. All or nothing: on an error no
    /// value has changed.
    ///
    /// # Errors
    /// Shapes that differ, always; with `strict`, also names that one side lacks. The error lists all of them.
    /// Counterpart: `load_state_dict`.
    fn load_state_dict(&self, state: &StateDict, strict: bool) -> Result<Loaded, StateDictError> {
        let mut slots = Vec::new();
        walk(self, |name, item| match item {
            Item::Param(p) => slots.push(state_dict::Slot::param(name, p)),
            Item::Buffer(b) if b.is_persistent() => slots.push(state_dict::Slot::buffer(name, b)),
            _ => {}
        });
        state_dict::load(slots, state, strict)
    }

    /// Applies the model to `x` in evaluation mode without gradients, and tells what it is made of: each module's output shape, parameters and
    /// multiply-adds, and the totals. Print it for a table. Counterparts: fastai's `Learner.summary`, `torchinfo.summary`.
    ///
    /// Modules that [hooks](crate::hook) do not see are listed without shapes.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Linear, Module, ReLU, seq};
    /// let model = seq![Linear::new(784, 50), ReLU, Linear::new(50, 10)];
    /// let summary = model.summary(&Tensor::zeros([64, 784]));
    /// assert_eq!(summary.rows[3].output_shapes, [[64, 10]]);
    /// assert_eq!(summary.parameters, 784 * 50 + 50 + 50 * 10 + 10);
    /// assert_eq!(summary.multiply_adds, 64 * (784 * 50 + 50 * 10));
    /// println!("{summary}");
    /// ```
    #[track_caller]
    fn summary<X>(&self, x: &X) -> Summary
    where
        Self: Forward<X, Output: Tensors> + Sized,
        X: Tensors,
    {
        summary::summarize(self, x)
    }

    /// A page that shows the modules, one a line, with the shapes of their own parameters and buffers.
    fn tree(&self) -> String {
        let mut tree = Tree::default();
        self.visit(&mut tree);
        tree.text
    }
}

/// What a module is for, as optimizers, [`init`](crate::init) and callbacks need to know it: its type says how it computes, this what kind
/// of layer it is. A type of yours says so in its derive.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::optim::norm_params;
/// use hardpan_nn::{Conv2d, Module, Param, Role, WeightNorm};
///
/// #[derive(Module)]
/// #[module(role = Norm)]
/// struct Rescale {
///     gain: Param,
/// }
///
/// let rescale = Rescale { gain: Param::new(Tensor::ones([3])) };
/// assert_eq!(rescale.role(), Role::Norm);
/// assert_eq!(norm_params(&rescale).len(), 1);
/// // Weight norm is a way to write a weight, and no normalization layer.
/// assert_eq!(norm_params(&WeightNorm::new(Conv2d::new(3, 8, 3))).len(), 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// None of the others: activations, containers, whole models.
    #[default]
    Other,
    /// A linear map with `weight [out, in]` and perhaps `bias [out]`, which [`init`](crate::init) may fill.
    Linear,
    /// A convolution with `weight [out, in / groups, window..]` and perhaps `bias [out]`, which [`init`](crate::init) may fill.
    Conv,
    /// A transposed convolution, whose weight is `[in, out / groups, window..]`.
    ConvTranspose,
    /// Normalization of activations, each item by itself: usually without weight decay, and trained while its group is frozen.
    Norm,
    /// As [`Norm`](Role::Norm), by statistics of batches, which are followed in training.
    BatchNorm,
}

impl Role {
    /// [`Norm`](Role::Norm) or [`BatchNorm`](Role::BatchNorm).
    pub fn is_norm(self) -> bool {
        matches!(self, Role::Norm | Role::BatchNorm)
    }

    /// [`Linear`](Role::Linear), [`Conv`](Role::Conv) or [`ConvTranspose`](Role::ConvTranspose).
    pub fn is_linear_or_conv(self) -> bool {
        matches!(self, Role::Linear | Role::Conv | Role::ConvTranspose)
    }
}

impl dyn Module {
    /// This module as a `T`, if it is one.
    pub fn downcast_ref<T: Module>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// Runs `f` with `model` in evaluation mode, then puts every flag back as it was (also if `f` panics).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Dropout, Forward, evaluating};
/// let layer = Dropout::new(0.5);
/// let y = evaluating(&layer, || layer.forward(&Tensor::ones([3])));
/// assert_eq!(y.to_vec::<f32>(), [1.0; 3]);
/// assert!(layer.training.is_training());
/// ```
pub fn evaluating<M: Module + ?Sized, R>(model: &M, f: impl FnOnce() -> R) -> R {
    struct Back(Vec<(Mode, bool)>);
    impl Drop for Back {
        fn drop(&mut self) {
            self.0.iter().for_each(|(mode, was)| mode.set_training(*was));
        }
    }
    let mut modes = Back(Vec::new());
    walk(model, |_, item| {
        if let Item::Mode(m) = item {
            modes.0.push((m.clone(), m.is_training()));
        }
    });
    modes.0.iter().for_each(|(mode, _)| mode.set_training(false));
    f()
}

/// The key made of the names entered so far.
#[derive(Default)]
struct Path {
    text: String,
    lengths: Vec<usize>,
}

impl Path {
    fn push(&mut self, name: &str) {
        self.lengths.push(self.text.len());
        if !self.text.is_empty() {
            self.text.push('.');
        }
        self.text.push_str(name);
    }

    fn pop(&mut self) {
        self.text.truncate(self.lengths.pop().unwrap_or(0));
    }
}

/// A leaf of the walk.
pub(crate) enum Item<'a> {
    Param(&'a Param),
    Buffer(&'a Buffer),
    Mode(&'a Mode),
    State(&'a dyn Reset),
}

/// Calls `f` with the name of every leaf.
pub(crate) fn walk<M: Visit + ?Sized>(model: &M, f: impl FnMut(&str, Item<'_>)) {
    struct Leaves<F> {
        path: Path,
        f: F,
    }
    impl<F: FnMut(&str, Item<'_>)> Visitor for Leaves<F> {
        fn enter(&mut self, name: &str) {
            self.path.push(name);
        }
        fn leave(&mut self) {
            self.path.pop();
        }
        fn param(&mut self, param: &Param) {
            (self.f)(&self.path.text, Item::Param(param));
        }
        fn buffer(&mut self, buffer: &Buffer) {
            (self.f)(&self.path.text, Item::Buffer(buffer));
        }
        fn mode(&mut self, mode: &Mode) {
            (self.f)(&self.path.text, Item::Mode(mode));
        }
        fn state(&mut self, state: &dyn Reset) {
            (self.f)(&self.path.text, Item::State(state));
        }
    }
    model.visit(&mut Leaves { path: Path::default(), f });
}

/// Writes [`Module::tree`].
#[derive(Default)]
struct Tree {
    text: String,
    /// Names entered since the last module began.
    names: Vec<String>,
    /// How many of `names` each open module used for its own line.
    open: Vec<Vec<String>>,
}

impl Visitor for Tree {
    fn enter(&mut self, name: &str) {
        self.names.push(name.to_owned());
    }
    fn leave(&mut self) {
        self.names.pop();
    }
    fn begin(&mut self, module: &dyn Module) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.extend(std::iter::repeat_n("  ", self.open.len()));
        if !self.names.is_empty() {
            self.text.push_str(&self.names.join("."));
            self.text.push_str(": ");
        }
        self.text.push_str(module.type_name());
        self.open.push(std::mem::take(&mut self.names));
    }
    fn end(&mut self) {
        self.names = self.open.pop().unwrap_or_default();
    }
    fn param(&mut self, param: &Param) {
        let value = param.value();
        self.text += &format!("  {} {:?}", self.names.join("."), value.shape());
        if param.is_frozen() {
            self.text += " frozen";
        }
    }
    fn buffer(&mut self, buffer: &Buffer) {
        self.text += &format!("  {} {:?}", self.names.join("."), buffer.value().shape());
    }
}
