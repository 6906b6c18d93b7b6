//! Activations as modules. The functions themselves are in `hardpan_engine::functional`.

use crate::{Forward, Mode, Module, Param, hooked};
use hardpan_engine::{Tensor, functional as f};

macro_rules! plain_activations {
    ($($(#[$doc:meta])* $name:ident = $f:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Clone, Copy, Debug, Default)]
        pub struct $name;

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    $f(x)
                })
            }
        }
    )*};
}

plain_activations! {
    /// `max(x, 0)`. Counterpart: `torch.nn.ReLU`.
    ReLU = f::relu;
    /// `min(max(x, 0), 6)`. Counterpart: `torch.nn.ReLU6`.
    ReLU6 = f::relu6;
    /// `x` times the normal distribution function of `x`. Counterpart: `torch.nn.GELU`.
    GELU = f::gelu;
    /// The approximation of GELU by tanh. Counterpart: `torch.nn.GELU(approximate="tanh")`.
    GELUTanh = f::gelu_tanh;
    /// `x sigmoid(x)`, also called swish. Counterpart: `torch.nn.SiLU`.
    SiLU = f::silu;
    /// `x tanh(softplus(x))`. Counterpart: `torch.nn.Mish`.
    Mish = f::mish;
    /// `1 / (1 + e^-x)`. Counterpart: `torch.nn.Sigmoid`.
    Sigmoid = f::sigmoid;
    /// Hyperbolic tangent. Counterpart: `torch.nn.Tanh`.
    Tanh = Tensor::tanh;
    /// Scaled exponential unit. Counterpart: `torch.nn.SELU`.
    SELU = f::selu;
    /// `ln(sigmoid(x))`. Counterpart: `torch.nn.LogSigmoid`.
    LogSigmoid = f::logsigmoid;
    /// `x / (1 + |x|)`. Counterpart: `torch.nn.Softsign`.
    Softsign = f::softsign;
    /// `x - tanh(x)`. Counterpart: `torch.nn.Tanhshrink`.
    Tanhshrink = f::tanhshrink;
    /// `x relu6(x + 3) / 6`. Counterpart: `torch.nn.Hardswish`.
    Hardswish = f::hardswish;
    /// `relu6(x + 3) / 6`. Counterpart: `torch.nn.Hardsigmoid`.
    Hardsigmoid = f::hardsigmoid;
    /// Softmax over the channels of `[N, C, H, W]` or `[C, H, W]`. Counterpart: `torch.nn.Softmax2d`.
    Softmax2d = |x: &Tensor| f::softmax(x, -3);
}

/// Another name of [`SiLU`], fastai's.
pub use SiLU as Swish;

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident($($p:ident: $t:ty = $default:expr),*) = |$s:ident, $x:ident| $e:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Clone, Debug)]
        pub struct $name {
            $(
                #[allow(missing_docs, reason = "said at the type")]
                pub $p: $t,
            )*
        }

        impl $name {
            /// With these settings.
            pub fn new($($p: $t),*) -> $name {
                $name { $($p),* }
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($p: $default),* }
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, $x: &Tensor) -> Tensor {
                hooked!(self, $x => {
                    let $s = self;
                    $e
                })
            }
        }
    )*};
}

activations! {
    /// `x` where positive, else `slope x`. Default slope 0.01. Counterpart: `torch.nn.LeakyReLU`.
    LeakyReLU(slope: f64 = 0.01) = |s, x| f::leaky_relu(x, s.slope);
    /// `x` where positive, else `alpha (e^x - 1)`. Default alpha 1. Counterpart: `torch.nn.ELU`.
    ELU(alpha: f64 = 1.0) = |s, x| f::elu(x, s.alpha);
    /// `max(x, 0) + min(0, alpha (e^(x / alpha) - 1))`. Default alpha 1. Counterpart: `torch.nn.CELU`.
    CELU(alpha: f64 = 1.0) = |s, x| f::celu(x, s.alpha);
    /// `ln(1 + e^(beta x)) / beta`, and `x` where `beta x > threshold`. Defaults 1 and 20. Counterpart: `torch.nn.Softplus`.
    Softplus(beta: f64 = 1.0, threshold: f64 = 20.0) = |s, x| f::softplus(x, s.beta, s.threshold);
    /// `x` cut to `low..=high`. Defaults -1 and 1. Counterpart: `torch.nn.Hardtanh`.
    Hardtanh(low: f64 = -1.0, high: f64 = 1.0) = |s, x| f::hardtanh(x, s.low, s.high);
    /// 0 within `lambda` of 0, else `x`. Default 0.5. Counterpart: `torch.nn.Hardshrink`.
    Hardshrink(lambda: f64 = 0.5) = |s, x| f::hardshrink(x, s.lambda);
    /// `x` moved toward 0 by `lambda` and not past it. Default 0.5. Counterpart: `torch.nn.Softshrink`.
    Softshrink(lambda: f64 = 0.5) = |s, x| f::softshrink(x, s.lambda);
    /// `x` where above `threshold`, else `value`. Counterpart: `torch.nn.Threshold`.
    Threshold(threshold: f64 = 0.0, value: f64 = 0.0) = |s, x| f::threshold(x, s.threshold, s.value);
    /// The first half of dimension `dim` times the sigmoid of the second. Default: the last. Counterpart: `torch.nn.GLU`.
    GLU(dim: isize = -1) = |s, x| f::glu(x, s.dim);
    /// Softmax along `dim`. Default: the last. Counterpart: `torch.nn.Softmax`.
    Softmax(dim: isize = -1) = |s, x| f::softmax(x, s.dim);
    /// Softmax of `-x` along `dim`. Default: the last. Counterpart: `torch.nn.Softmin`.
    Softmin(dim: isize = -1) = |s, x| f::softmin(x, s.dim);
    /// Logarithm of softmax along `dim`. Default: the last. Counterpart: `torch.nn.LogSoftmax`.
    LogSoftmax(dim: isize = -1) = |s, x| f::log_softmax(x, s.dim);
}

/// ReLU with a leak, shifted down and cut off above: `min(leaky_relu(x, leak) - sub, max)`, so that activations keep a mean near 0.
/// Counterpart: `GeneralRelu` of the fast.ai course.
#[derive(Module, Clone, Debug, Default)]
pub struct GeneralRelu {
    leak: f64,
    sub: f64,
    max: Option<f64>,
}

impl GeneralRelu {
    /// A plain ReLU.
    pub fn new() -> GeneralRelu {
        GeneralRelu::default()
    }
    /// Slope on the negative side. Default 0.
    #[must_use]
    pub fn leak(mut self, leak: f64) -> GeneralRelu {
        self.leak = leak;
        self
    }
    /// What is taken off. Default 0.
    #[must_use]
    #[allow(clippy::should_implement_trait, reason = "the course's name")]
    pub fn sub(mut self, sub: f64) -> GeneralRelu {
        self.sub = sub;
        self
    }
    /// The largest value. Default none.
    #[must_use]
    pub fn max(mut self, max: f64) -> GeneralRelu {
        self.max = Some(max);
        self
    }
}

impl Forward for GeneralRelu {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let mut y = if self.leak == 0.0 { f::relu(x) } else { f::leaky_relu(x, self.leak) };
            if self.sub != 0.0 {
                y -= self.sub;
            }
            match self.max {
                Some(max) => y.minimum(max),
                None => y,
            }
        })
    }
}

/// As [`LeakyReLU`] with learned slopes, one or one for each channel. Key: `weight [n]`. Counterpart: `torch.nn.PReLU`.
#[derive(Module)]
pub struct PReLU {
    /// `[n]`, 0.25 at first.
    pub weight: Param,
}

impl PReLU {
    /// With `n` slopes: 1, or the number of channels.
    pub fn new(n: usize) -> PReLU {
        PReLU { weight: Param::new(Tensor::zeros([n]) + 0.25) }
    }
}

impl Forward for PReLU {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            f::prelu(x, &self.weight.value())
        })
    }
}

/// Leaky ReLU whose slopes are drawn from `lower..upper` in training, and are their mean in evaluation. Counterpart: `torch.nn.RReLU`.
#[derive(Module)]
pub struct RReLU {
    lower: f64,
    upper: f64,
    /// Whether slopes are drawn.
    pub training: Mode,
}

impl RReLU {
    /// With slopes between these (PyTorch's defaults are 1/8 and 1/3).
    pub fn new(lower: f64, upper: f64) -> RReLU {
        RReLU { lower, upper, training: Mode::new() }
    }
}

impl Forward for RReLU {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            f::rrelu(x, self.lower, self.upper, self.training.is_training())
        })
    }
}
