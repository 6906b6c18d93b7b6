//! Weights computed from other parameters in each forward pass: weight norm, spectral norm, dropped weights.
//!
//! A wrapper holds the layer, takes the layer's own weight out of the walk, shows what it is computed from in its stead, and lends the
//! layer the computed weight for the time of a call ([`Param::lend`]). Keys are those of `torch.nn.utils.parametrizations`.

use crate::{Buffer, Forward, Mode, Module, Param, Reset, Role, Visit, Visitor, visit_field};
use hardpan_engine::{Tensor, functional as f, no_grad};

/// The parameter of this name, and where it is.
#[track_caller]
fn named(what: &str, layer: &dyn Module, name: &str) -> Param {
    let params = layer.named_parameters();
    match params.iter().find(|(n, _)| n == name) {
        Some((_, p)) => p.clone(),
        None => {
            let names: Vec<&str> = params.iter().map(|(n, _)| n.as_str()).collect();
            panic!("{what}: the layer has no parameter {name:?}; it has {names:?}")
        }
    }
}

/// Passes everything on but one parameter.
struct Without<'a> {
    visitor: &'a mut dyn Visitor,
    id: u64,
}

impl Visitor for Without<'_> {
    fn enter(&mut self, name: &str) {
        self.visitor.enter(name);
    }
    fn leave(&mut self) {
        self.visitor.leave();
    }
    fn begin(&mut self, module: &dyn Module) {
        self.visitor.begin(module);
    }
    fn end(&mut self) {
        self.visitor.end();
    }
    fn param(&mut self, param: &Param) {
        if param.id() != self.id {
            self.visitor.param(param);
        }
    }
    fn buffer(&mut self, buffer: &Buffer) {
        self.visitor.buffer(buffer);
    }
    fn mode(&mut self, mode: &Mode) {
        self.visitor.mode(mode);
    }
    fn state(&mut self, state: &dyn Reset) {
        self.visitor.state(state);
    }
}

/// Dimension `dim` first, the rest flat: `[n, m]`.
fn rows(weight: &Tensor, dim: usize) -> Tensor {
    let first = if dim == 0 { weight.clone() } else { weight.transpose(0, dim as isize) };
    let n = first.size(0) as isize;
    first.reshape([n, -1])
}

/// A layer whose weight is `g v / |v|`: its length and its direction are trained apart.
///
/// The norm is that of each row (dimension 0), or of the whole with [`whole`](WeightNorm::whole). Keys: the layer's without the weight,
/// `parametrizations.weight.original0` (g) and `original1` (v).
/// Counterpart: `torch.nn.utils.parametrizations.weight_norm`; Salimans and Kingma, <https://arxiv.org/abs/1602.07868>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Linear, WeightNorm};
/// let layer = WeightNorm::new(Linear::new(4, 3));
/// assert_eq!(layer.forward(&Tensor::ones([2, 4])).shape(), &[2, 3]);
/// ```
pub struct WeightNorm<L> {
    layer: L,
    weight: Param,
    name: String,
    g: Param,
    v: Param,
    whole: bool,
}

impl<L: Module> WeightNorm<L> {
    /// Of the parameter `weight`, row by row. The layer computes the same as before.
    #[track_caller]
    pub fn new(layer: L) -> WeightNorm<L> {
        WeightNorm::of(layer, "weight")
    }

    /// Of the parameter of this name.
    #[track_caller]
    pub fn of(layer: L, name: &str) -> WeightNorm<L> {
        let weight = named("WeightNorm", &layer, name);
        let value = weight.value().detach();
        let g = Param::new(row_norms(&value));
        WeightNorm { layer, weight, name: name.to_owned(), g, v: Param::new(value), whole: false }
    }

    /// With one length for the whole weight rather than for each row.
    #[must_use]
    pub fn whole(mut self) -> WeightNorm<L> {
        let v = self.v.value().detach();
        self.g = Param::new((&v * &v).sum(..).sqrt());
        self.whole = true;
        self
    }

    /// The layer inside.
    pub fn layer(&self) -> &L {
        &self.layer
    }

    /// The weight as it is used.
    pub fn weight(&self) -> Tensor {
        let (g, v) = (self.g.value(), self.v.value());
        let norm = if self.whole { (&v * &v).sum(..).sqrt() } else { row_norms(&v) };
        &v * (g / norm)
    }
}

/// The norm of each row, in a shape that broadcasts: `[n, 1, ..]`.
fn row_norms(v: &Tensor) -> Tensor {
    let r = rows(v, 0);
    let mut shape = vec![1; v.rank()];
    shape[0] = v.size(0);
    (&r * &r).sum(1).sqrt().reshape(shape)
}

impl<L: Module> Visit for WeightNorm<L> {
    fn visit(&self, v: &mut dyn Visitor) {
        v.begin(self);
        self.layer.visit(&mut Without { visitor: v, id: self.weight.id() });
        v.enter("parametrizations");
        v.enter(&self.name);
        visit_field(v, "original0", &self.g);
        visit_field(v, "original1", &self.v);
        v.leave();
        v.leave();
        v.end();
    }
}

impl<L: Module> Module for WeightNorm<L> {}

impl<X: ?Sized, L: Forward<X> + Module> Forward<X> for WeightNorm<L> {
    type Output = L::Output;
    #[track_caller]
    fn forward(&self, x: &X) -> L::Output {
        let _lent = self.weight.lend(self.weight());
        self.layer.forward(x)
    }
}

/// A layer whose weight is divided by its largest singular value, which power iteration follows, one round for each training call.
///
/// Keys: the layer's without the weight, `parametrizations.weight.original`, and the buffers `parametrizations.weight.0._u` and `._v`.
/// Counterpart: `torch.nn.utils.parametrizations.spectral_norm`; Miyato et al., <https://arxiv.org/abs/1802.05957>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Linear, Module, SpectralNorm};
/// let layer = SpectralNorm::new(Linear::new(6, 6));
/// layer.eval();
/// let w = layer.weight();
/// let x = Tensor::randn([100, 6]);
/// let gain = w.matmul(&x.t()).square().sum(0) / x.square().sum(1);
/// assert!(gain.amax(..).item::<f32>() < 1.1); // no input grows
/// ```
pub struct SpectralNorm<L> {
    layer: L,
    weight: Param,
    name: String,
    original: Param,
    u: Buffer,
    v: Buffer,
    training: Mode,
    rounds: usize,
    eps: f64,
    dim: usize,
}

impl<L: Module> SpectralNorm<L> {
    /// Of the parameter `weight` as a matrix of rows (dimension 0); one round, eps 1e-12; 15 rounds to begin with.
    #[track_caller]
    pub fn new(layer: L) -> SpectralNorm<L> {
        let weight = named("SpectralNorm", &layer, "weight");
        let value = weight.value().detach();
        let dim = usize::from(layer.role() == Role::ConvTranspose);
        let matrix = rows(&value, dim);
        let unit = |n: usize| f::normalize(&Tensor::randn([n]), 2.0, 0, 1e-12);
        let out = SpectralNorm {
            layer,
            weight,
            name: "weight".to_owned(),
            u: Buffer::new(unit(matrix.size(0))),
            v: Buffer::new(unit(matrix.size(1))),
            original: Param::new(value),
            training: Mode::new(),
            rounds: 1,
            eps: 1e-12,
            dim,
        };
        out.iterate(&matrix, 15);
        out
    }

    /// Rounds of power iteration in each training call. Default 1.
    #[must_use]
    pub fn rounds(mut self, rounds: usize) -> SpectralNorm<L> {
        self.rounds = rounds;
        self
    }

    /// The layer inside.
    pub fn layer(&self) -> &L {
        &self.layer
    }

    fn iterate(&self, matrix: &Tensor, rounds: usize) {
        no_grad(|| {
            let (mut u, mut v) = (self.u.value(), self.v.value());
            for _ in 0..rounds {
                u = f::normalize(&matrix.matmul(&v), 2.0, 0, self.eps);
                v = f::normalize(&matrix.t().matmul(&u), 2.0, 0, self.eps);
            }
            self.u.set(u);
            self.v.set(v);
        });
    }

    /// The weight as it is used; in training, after the next round of power iteration.
    pub fn weight(&self) -> Tensor {
        let weight = self.original.value();
        let matrix = rows(&weight, self.dim);
        if self.training.is_training() {
            self.iterate(&matrix.detach(), self.rounds);
        }
        let sigma = (self.u.value() * matrix.matmul(&self.v.value())).sum(..);
        weight / sigma
    }
}

impl<L: Module> Visit for SpectralNorm<L> {
    fn visit(&self, v: &mut dyn Visitor) {
        v.begin(self);
        self.layer.visit(&mut Without { visitor: v, id: self.weight.id() });
        v.mode(&self.training);
        v.enter("parametrizations");
        v.enter(&self.name);
        visit_field(v, "original", &self.original);
        v.enter("0");
        visit_field(v, "_u", &self.u);
        visit_field(v, "_v", &self.v);
        v.leave();
        v.leave();
        v.leave();
        v.end();
    }
}

impl<L: Module> Module for SpectralNorm<L> {}

impl<X: ?Sized, L: Forward<X> + Module> Forward<X> for SpectralNorm<L> {
    type Output = L::Output;
    #[track_caller]
    fn forward(&self, x: &X) -> L::Output {
        let _lent = self.weight.lend(self.weight());
        self.layer.forward(x)
    }
}

/// A layer some of whose weights are dropped out, anew in each training call: the connections from one time step to the next in AWD-LSTM.
///
/// Keys: the layer's under `module`. Counterpart: fastai's `WeightDropout`; Merity et al., <https://arxiv.org/abs/1708.02182>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, LSTM, WeightDropout};
/// let lstm = WeightDropout::new(LSTM::new(8, 16), 0.5, &["weight_hh_l0"]);
/// let (y, _) = lstm.forward(&Tensor::ones([5, 2, 8]));
/// assert_eq!(y.shape(), &[5, 2, 16]);
/// ```
#[derive(Module)]
pub struct WeightDropout<L> {
    module: L,
    p: f64,
    #[module(skip)]
    weights: Vec<Param>,
    /// Whether anything is dropped.
    pub training: Mode,
}

impl<L: Module> WeightDropout<L> {
    /// Drops elements of the parameters of these names with probability `p`.
    ///
    /// # Panics
    /// If `p` is not between 0 and 1 or the layer has no such parameters.
    #[track_caller]
    pub fn new(module: L, p: f64, names: &[&str]) -> WeightDropout<L> {
        assert!((0.0..=1.0).contains(&p), "WeightDropout: the probability {p} is not in 0..=1");
        let weights = names.iter().map(|n| named("WeightDropout", &module, n)).collect();
        WeightDropout { module, p, weights, training: Mode::for_dropout() }
    }

    /// The layer inside.
    pub fn layer(&self) -> &L {
        &self.module
    }
}

impl<X: ?Sized, L: Forward<X> + Module> Forward<X> for WeightDropout<L> {
    type Output = L::Output;
    #[track_caller]
    fn forward(&self, x: &X) -> L::Output {
        let training = self.training.is_training();
        let dropped = |w: &Param| w.lend(f::dropout(&w.value(), self.p, training));
        let _lent: Vec<_> =
            if training { self.weights.iter().map(dropped).collect() } else { Vec::new() };
        self.module.forward(x)
    }
}
