//! Fully connected layers.

use crate::init::Init;
use crate::{Forward, Module, Param, hooked};
use hardpan_engine::{Tensor, functional as f};

/// `x @ weight^T + bias`: `[.., in]` to `[.., out]`. Keys: `weight [out, in]`, `bias [out]`. Counterpart: `torch.nn.Linear`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Linear};
/// let layer = Linear::new(784, 50);
/// assert_eq!(layer.forward(&Tensor::ones([64, 784])).shape(), &[64, 50]);
/// ```
#[derive(Module)]
#[module(role = Linear)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Param,
    /// `[out]`
    pub bias: Option<Param>,
}

impl Linear {
    /// From `inputs` to `outputs` features, with a bias.
    pub fn new(inputs: usize, outputs: usize) -> Linear {
        let weight = Param::new(Init::default().tensor(&[outputs, inputs]));
        Linear { weight, bias: Some(Param::new(Tensor::zeros([outputs]))) }
    }

    /// With a bias or without. Default: with.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Linear {
        let out = self.weight.shape()[0];
        self.bias = bias.then(|| Param::new(Tensor::zeros([out])));
        self
    }

    /// With weights (and bias) filled this way.
    #[must_use]
    pub fn init(self, init: Init) -> Linear {
        init.fill(&self.weight);
        if let Some(b) = &self.bias {
            b.set(init.bias(b.numel(), self.weight.shape()[1]));
        }
        self
    }

    /// Number of input features.
    pub fn in_features(&self) -> usize {
        self.weight.shape()[1]
    }

    /// Number of output features.
    pub fn out_features(&self) -> usize {
        self.weight.shape()[0]
    }
}

/// The value of an optional parameter.
pub(super) fn value(p: &Option<Param>) -> Option<Tensor> {
    p.as_ref().map(Param::value)
}

impl Forward for Linear {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            f::linear(x, &self.weight.value(), value(&self.bias).as_ref())
        })
    }
}

/// `y_o = x1 @ weight_o @ x2 + bias_o` of a pair `([.., in1], [.., in2])`. Keys: `weight [out, in1, in2]`, `bias [out]`.
/// Counterpart: `torch.nn.Bilinear`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Bilinear, Forward};
/// let layer = Bilinear::new(3, 4, 5);
/// let y = layer.forward(&(Tensor::ones([2, 3]), Tensor::ones([2, 4])));
/// assert_eq!(y.shape(), [2, 5]);
/// ```
#[derive(Module)]
pub struct Bilinear {
    /// `[out, in1, in2]`
    pub weight: Param,
    /// `[out]`
    pub bias: Option<Param>,
}

impl Bilinear {
    /// From `in1` and `in2` to `outputs` features, with a bias.
    pub fn new(in1: usize, in2: usize, outputs: usize) -> Bilinear {
        let bound = 1.0 / (in1.max(1) as f64).sqrt();
        let weight = Init::Uniform(-bound, bound).tensor(&[outputs, in1, in2]);
        Bilinear { weight: Param::new(weight), bias: Some(Param::new(Tensor::zeros([outputs]))) }
    }

    /// With a bias or without. Default: with.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Bilinear {
        let out = self.weight.shape()[0];
        self.bias = bias.then(|| Param::new(Tensor::zeros([out])));
        self
    }
}

impl Forward<(Tensor, Tensor)> for Bilinear {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &(Tensor, Tensor)) -> Tensor {
        hooked!(self, x => {
            let (a, b) = x;
            f::bilinear(a, b, &self.weight.value(), value(&self.bias).as_ref())
        })
    }
}
