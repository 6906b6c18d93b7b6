//! Losses as modules, with PyTorch's names: thin shells around the functions in `hardpan_engine::functional`.
//!
//! Each takes a tuple: `loss.forward(&(prediction, target))`. All but a few have [`Reduction`]s: the mean (default), the sum, or
//! one value for each element. [`Decode`] says what a prediction means under a loss.

mod ctc;
mod decode;
mod focal;
mod linear;

pub use ctc::CTCLoss;
pub use decode::Decode;
use decode::class_dim;
pub use focal::{BinaryFocalLoss, DiceLoss, FocalLoss};
pub use linear::LinearCrossEntropyLoss;
pub use three::TripletMarginWithDistanceLoss;

use crate::{Buffer, Forward, Module};
use hardpan_engine::Tensor;
use hardpan_engine::functional::{self as f, Reduction};

/// The setter all losses with a plain reduction share.
macro_rules! reduction {
    ($name:ident) => {
        impl $name {
            /// Mean, sum, or neither. Default: the mean.
            #[must_use]
            pub fn reduction(mut self, reduction: Reduction) -> $name {
                self.reduction = reduction;
                self
            }
        }
    };
}

// After the macro, which it uses.
mod three;

/// `x` with its classes in dimension 1 (where the functions want them), and the target in the order that follows. With classes last,
/// every other place becomes an item, which moves nothing in memory.
#[track_caller]
fn by_class(what: &str, x: &Tensor, y: &Tensor, dim: isize) -> (Tensor, Tensor) {
    let at = class_dim(what, x, dim) as usize;
    if x.rank() <= 1 || at == 1 {
        return (x.clone(), y.clone());
    }
    let places: Vec<usize> =
        (0..x.rank()).filter(|d| *d != at).map(|d| x.size(d as isize)).collect();
    let soft = y.dtype().is_float();
    assert!(
        if soft { y.shape() == x.shape() } else { y.shape() == places },
        "{what}: for logits of shape {:?} with classes in dimension {at}, classes (i64) {places:?} or probabilities {:?} were expected, \
         got {} {:?}",
        x.shape(),
        x.shape(),
        y.dtype(),
        y.shape()
    );
    if at + 1 == x.rank() {
        let rows = |t: &Tensor| t.flatten(0, at as isize - 1);
        return (rows(x), rows(y));
    }
    let second = |t: &Tensor| t.movedim(at as isize, 1);
    (second(x), if soft { second(y) } else { y.clone() })
}

/// A loss of [`by_class`] for each place in the shape of the places again; one that was reduced stays.
fn as_places(loss: Tensor, x: &Tensor, dim: isize, reduction: Reduction) -> Tensor {
    if reduction != Reduction::None || x.rank() <= 1 {
        return loss;
    }
    let mut shape = x.shape().to_vec();
    shape.remove(class_dim("loss", x, dim) as usize);
    loss.reshape(shape)
}

/// Cross entropy of logits `[N, C, ..]` or `[C]` and classes (i64 `[N, ..]`) or probabilities (of the shape of the logits).
/// Counterpart: `torch.nn.CrossEntropyLoss`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{CrossEntropyLoss, Forward};
/// let (logits, classes) = (Tensor::zeros([4, 10]), Tensor::from_vec(vec![1i64, 2, 3, 4], [4]));
/// let loss = CrossEntropyLoss::new().forward(&(logits, classes));
/// assert!((loss.item::<f32>() - 10f32.ln()).abs() < 1e-6);
/// ```
#[derive(Module)]
pub struct CrossEntropyLoss {
    weight: Option<Buffer>,
    ignore_index: i64,
    #[module(skip)]
    reduction: Reduction,
    label_smoothing: f64,
    dim: isize,
}
reduction!(CrossEntropyLoss);

impl Default for CrossEntropyLoss {
    fn default() -> CrossEntropyLoss {
        CrossEntropyLoss {
            weight: None,
            ignore_index: -100,
            reduction: Reduction::Mean,
            label_smoothing: 0.0,
            dim: 1,
        }
    }
}

impl CrossEntropyLoss {
    /// The mean, all classes alike, no smoothing.
    pub fn new() -> CrossEntropyLoss {
        CrossEntropyLoss::default()
    }

    /// A factor for each class `[C]`.
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> CrossEntropyLoss {
        self.weight = Some(Buffer::new(weight));
        self
    }

    /// A class that does not count. Default -100.
    #[must_use]
    pub fn ignore_index(mut self, class: i64) -> CrossEntropyLoss {
        self.ignore_index = class;
        self
    }

    /// Share of the target that is spread evenly over all classes: Szegedy et al., <https://arxiv.org/abs/1512.00567>. Default 0.
    #[must_use]
    pub fn label_smoothing(mut self, share: f64) -> CrossEntropyLoss {
        self.label_smoothing = share;
        self
    }

    /// The dimension of classes; negative counts from the end, so -1 takes `[B, T, C]` and targets `[B, T]`. Default 1, as in PyTorch.
    /// Counterpart: `axis` of fastai's losses.
    #[must_use]
    pub fn dim(mut self, dim: isize) -> CrossEntropyLoss {
        self.dim = dim;
        self
    }
}

impl Forward<(Tensor, Tensor)> for CrossEntropyLoss {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (x, y): &(Tensor, Tensor)) -> Tensor {
        let weight = self.weight.as_ref().map(Buffer::value);
        let options = f::CrossEntropyOptions {
            weight: weight.as_ref(),
            ignore_index: self.ignore_index,
            reduction: self.reduction,
            label_smoothing: self.label_smoothing,
        };
        let (flat, target) = by_class("CrossEntropyLoss", x, y, self.dim);
        as_places(f::cross_entropy_with(&flat, &target, options), x, self.dim, self.reduction)
    }
}

/// Negative log-likelihood `-x[y]` of log-probabilities `[N, C, ..]` or `[C]` and classes (i64) `[N, ..]` or `[]`; the mean is weighted
/// by the classes' weights. Counterpart: `torch.nn.NLLLoss`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, NLLLoss};
/// let loss = NLLLoss::new();
/// let pair = (Tensor::zeros([2, 3]) - 2.0, Tensor::from_slice(&[0i64, 2], [2]));
/// assert!((loss.forward(&pair).item::<f32>() - 2.0).abs() < 1e-6);
/// ```
#[derive(Module)]
pub struct NLLLoss {
    weight: Option<Buffer>,
    ignore_index: i64,
    #[module(skip)]
    reduction: Reduction,
    dim: isize,
}
reduction!(NLLLoss);

impl Default for NLLLoss {
    fn default() -> NLLLoss {
        NLLLoss { weight: None, ignore_index: -100, reduction: Reduction::Mean, dim: 1 }
    }
}

impl NLLLoss {
    /// The mean, all classes alike.
    pub fn new() -> NLLLoss {
        NLLLoss::default()
    }

    /// A factor for each class `[C]`.
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> NLLLoss {
        self.weight = Some(Buffer::new(weight));
        self
    }

    /// A class that does not count. Default -100.
    #[must_use]
    pub fn ignore_index(mut self, class: i64) -> NLLLoss {
        self.ignore_index = class;
        self
    }

    /// The dimension of classes; negative counts from the end, so -1 takes `[B, T, C]` and targets `[B, T]`. Default 1, as in PyTorch.
    /// Counterpart: `axis` of fastai's losses.
    #[must_use]
    pub fn dim(mut self, dim: isize) -> NLLLoss {
        self.dim = dim;
        self
    }
}

impl Forward<(Tensor, Tensor)> for NLLLoss {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (x, y): &(Tensor, Tensor)) -> Tensor {
        let weight = self.weight.as_ref().map(Buffer::value);
        let options = f::CrossEntropyOptions {
            weight: weight.as_ref(),
            ignore_index: self.ignore_index,
            reduction: self.reduction,
            ..Default::default()
        };
        let (flat, target) = by_class("NLLLoss", x, y, self.dim);
        as_places(f::nll_loss(&flat, &target, options), x, self.dim, self.reduction)
    }
}

/// Binary cross entropy `-(y ln p + (1 - y) ln(1 - p))` of probabilities and targets of one shape. Counterpart: `torch.nn.BCELoss`.
/// Both are floating point; probabilities lie in 0..=1, and their logarithms count as at least -100.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{BCELoss, Forward};
/// let loss = BCELoss::new();
/// let pair = (Tensor::zeros([4]) + 0.5, Tensor::ones([4]));
/// assert!((loss.forward(&pair).item::<f32>() - 2f32.ln()).abs() < 1e-6);
/// ```
#[derive(Module, Default)]
pub struct BCELoss {
    weight: Option<Buffer>,
    #[module(skip)]
    reduction: Reduction,
}
reduction!(BCELoss);

impl BCELoss {
    /// The mean.
    pub fn new() -> BCELoss {
        BCELoss::default()
    }

    /// A factor for each element (broadcast).
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> BCELoss {
        self.weight = Some(Buffer::new(weight));
        self
    }
}

impl Forward<(Tensor, Tensor)> for BCELoss {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (x, y): &(Tensor, Tensor)) -> Tensor {
        let weight = self.weight.as_ref().map(Buffer::value);
        f::binary_cross_entropy(x, y, weight.as_ref(), self.reduction)
    }
}

/// Binary cross entropy of logits and targets of one shape. Counterpart: `torch.nn.BCEWithLogitsLoss`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{BCEWithLogitsLoss, Forward};
/// let loss = BCEWithLogitsLoss::new().pos_weight(Tensor::ones([4]) * 3.0);
/// let pair = (Tensor::zeros([4]), Tensor::ones([4]));
/// assert!((loss.forward(&pair).item::<f32>() - 3.0 * 2f32.ln()).abs() < 1e-6);
/// ```
#[derive(Module, Default)]
pub struct BCEWithLogitsLoss {
    weight: Option<Buffer>,
    #[module(skip)]
    reduction: Reduction,
    pos_weight: Option<Buffer>,
}
reduction!(BCEWithLogitsLoss);

impl BCEWithLogitsLoss {
    /// The mean.
    pub fn new() -> BCEWithLogitsLoss {
        BCEWithLogitsLoss::default()
    }

    /// A factor for each element (broadcast).
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> BCEWithLogitsLoss {
        self.weight = Some(Buffer::new(weight));
        self
    }

    /// A factor for positive targets (broadcast).
    #[must_use]
    pub fn pos_weight(mut self, weight: Tensor) -> BCEWithLogitsLoss {
        self.pos_weight = Some(Buffer::new(weight));
        self
    }
}

impl Forward<(Tensor, Tensor)> for BCEWithLogitsLoss {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (x, y): &(Tensor, Tensor)) -> Tensor {
        let weight = self.weight.as_ref().map(Buffer::value);
        let pos_weight = self.pos_weight.as_ref().map(Buffer::value);
        let options = f::BceOptions {
            weight: weight.as_ref(),
            reduction: self.reduction,
            pos_weight: pos_weight.as_ref(),
        };
        f::binary_cross_entropy_with_logits(x, y, options)
    }
}

/// Losses of two or three tensors with numbers as settings.
macro_rules! losses {
    ($($(#[$doc:meta])* $name:ident { $($(#[$pdoc:meta])* $p:ident: $t:ty = $default:expr),* } = |$s:ident, $($x:ident),+| $e:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Clone, Debug)]
        pub struct $name {
            #[module(skip)]
            reduction: Reduction,
            $($p: $t,)*
        }
        reduction!($name);

        impl Default for $name {
            fn default() -> $name {
                $name { reduction: Reduction::Mean, $($p: $default),* }
            }
        }

        impl $name {
            /// The mean, with PyTorch's defaults.
            pub fn new() -> $name {
                $name::default()
            }
            $(
                $(#[$pdoc])*
                #[must_use]
                pub fn $p(mut self, $p: $t) -> $name {
                    self.$p = $p;
                    self
                }
            )*
        }

        impl Forward<($(losses!(@tensor $x),)+)> for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, ($($x,)+): &($(losses!(@tensor $x),)+)) -> Tensor {
                let $s = self;
                $e
            }
        }
    )*};
    (@tensor $x:ident) => { Tensor };
}

losses! {
    /// `(x - y)^2`. Counterpart: `torch.nn.MSELoss`.
    /// Prediction and target of any one shape.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, MSELoss};
    /// let loss = MSELoss::new();
    /// let pair = (Tensor::from_slice(&[1f32, 3.0], [2]), Tensor::zeros([2]));
    /// assert!((loss.forward(&pair).item::<f32>() - 5.0).abs() < 1e-6);
    /// ```
    MSELoss {} = |s, x, y| f::mse_loss(x, y, s.reduction);
    /// `|x - y|`. Counterpart: `torch.nn.L1Loss`.
    /// Prediction and target of any one shape.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, L1Loss};
    /// let loss = L1Loss::new();
    /// let pair = (Tensor::from_slice(&[1f32, 3.0], [2]), Tensor::zeros([2]));
    /// assert!((loss.forward(&pair).item::<f32>() - 2.0).abs() < 1e-6);
    /// ```
    L1Loss {} = |s, x, y| f::l1_loss(x, y, s.reduction);
    /// Quadratic within `beta` (default 1), then linear with slope 1. Counterpart: `torch.nn.SmoothL1Loss`.
    /// Prediction and target of any one shape.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, SmoothL1Loss};
    /// let loss = SmoothL1Loss::new();
    /// let pair = (Tensor::from_slice(&[1f32, 3.0], [2]), Tensor::zeros([2]));
    /// assert!((loss.forward(&pair).item::<f32>() - 1.5).abs() < 1e-6);
    /// ```
    SmoothL1Loss {
        /// Distance up to which the loss is quadratic. Default 1.
        beta: f64 = 1.0
    } = |s, x, y| f::smooth_l1_loss(x, y, s.reduction, s.beta);
    /// Quadratic within `delta` (default 1), then linear with slope `delta`. Counterpart: `torch.nn.HuberLoss`.
    /// Prediction and target of any one shape.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, HuberLoss};
    /// let loss = HuberLoss::new().delta(2.0);
    /// let pair = (Tensor::from_slice(&[1f32, 3.0], [2]), Tensor::zeros([2]));
    /// assert!((loss.forward(&pair).item::<f32>() - 2.25).abs() < 1e-6);
    /// ```
    HuberLoss {
        /// Distance up to which the loss is quadratic, and the slope from there on. Default 1.
        delta: f64 = 1.0
    } = |s, x, y| f::huber_loss(x, y, s.reduction, s.delta);
    /// `ln(1 + e^(-x y))` for targets of -1 and 1. Counterpart: `torch.nn.SoftMarginLoss`.
    /// Prediction and target of any one shape.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, SoftMarginLoss};
    /// let loss = SoftMarginLoss::new();
    /// let pair = (Tensor::zeros([3]), Tensor::ones([3]));
    /// assert!((loss.forward(&pair).item::<f32>() - 2f32.ln()).abs() < 1e-6);
    /// ```
    SoftMarginLoss {} = |s, x, y| f::soft_margin_loss(x, y, s.reduction);
    /// `x` where the target is 1, `max(0, margin - x)` where it is -1; margin 1. Counterpart: `torch.nn.HingeEmbeddingLoss`.
    /// Prediction and target of any one shape.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, HingeEmbeddingLoss};
    /// let loss = HingeEmbeddingLoss::new();
    /// let pair = (Tensor::zeros([2]) + 0.25, Tensor::from_slice(&[1f32, -1.0], [2]));
    /// assert!((loss.forward(&pair).item::<f32>() - 0.5).abs() < 1e-6);
    /// ```
    HingeEmbeddingLoss {
        /// Distance from which on what is different costs nothing. Default 1.
        margin: f64 = 1.0
    } = |s, x, y| f::hinge_embedding_loss(x, y, s.margin, s.reduction);
    /// Hinge of several classes for each row, listed first and ended by -1. Counterpart: `torch.nn.MultiLabelMarginLoss`.
    /// Scores and classes (i64), both `[N, C]` or `[C]`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, MultiLabelMarginLoss};
    /// let x = Tensor::from_slice(&[0.1f32, 0.2, 0.4, 0.8], [1, 4]);
    /// let classes = Tensor::from_slice(&[3i64, 0, -1, 1], [1, 4]); // 3 and 0; what follows -1 does not count
    /// let loss = MultiLabelMarginLoss::new().forward(&(x, classes));
    /// assert!((loss.item::<f32>() - 0.85).abs() < 1e-6);
    /// ```
    MultiLabelMarginLoss {} = |s, x, y| f::multilabel_margin_loss(x, y, s.reduction);
    /// `max(0, -y (x1 - x2) + margin)`; margin 0. Takes `(x1, x2, y)`. Counterpart: `torch.nn.MarginRankingLoss`.
    /// All of one shape, or broadcast.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, MarginRankingLoss};
    /// let loss = MarginRankingLoss::new();
    /// let pair = (Tensor::from_slice(&[1f32], [1]), Tensor::from_slice(&[3f32], [1]), Tensor::from_slice(&[1f32], [1]));
    /// assert!((loss.forward(&pair).item::<f32>() - 2.0).abs() < 1e-6);
    /// ```
    MarginRankingLoss {
        /// How far ahead the one ranked higher must be. Default 0.
        margin: f64 = 0.0
    } = |s, a, b, y| f::margin_ranking_loss(a, b, y, s.margin, s.reduction);
    /// `1 - cos` where the target is 1, `max(0, cos - margin)` where it is -1; margin 0. Takes `(x1, x2, y)`.
    /// Counterpart: `torch.nn.CosineEmbeddingLoss`.
    /// `x1, x2: [N, D]`, `y: [N]`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{CosineEmbeddingLoss, Forward};
    /// let loss = CosineEmbeddingLoss::new();
    /// let pair = (Tensor::from_slice(&[1f32, 0.0], [1, 2]), Tensor::from_slice(&[0f32, 1.0], [1, 2]), Tensor::from_slice(&[1f32], [1]));
    /// assert!((loss.forward(&pair).item::<f32>() - 1.0).abs() < 1e-6);
    /// ```
    CosineEmbeddingLoss {
        /// Cosine up to which what is different costs nothing, -1 to 1. Default 0.
        margin: f64 = 0.0
    } = |s, a, b, y| f::cosine_embedding_loss(a, b, y, s.margin, s.reduction);
    /// Poisson: `e^x - y x`, or `x - y ln(x + eps)` without `log_input`; `full` adds Stirling's term.
    /// Counterpart: `torch.nn.PoissonNLLLoss`.
    /// Prediction and target of any one shape.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, PoissonNLLLoss};
    /// let loss = PoissonNLLLoss::new();
    /// let pair = (Tensor::zeros([1]), Tensor::ones([1]));
    /// assert!((loss.forward(&pair).item::<f32>() - 1.0).abs() < 1e-6);
    /// ```
    PoissonNLLLoss {
        /// Whether the prediction is the logarithm of the rate. Default yes.
        log_input: bool = true,
        /// Whether Stirling's approximation of `ln y!` is added where `y > 1`. Default no.
        full: bool = false,
        /// Added to the rate inside the logarithm, without `log_input`. Default 1e-8.
        eps: f64 = 1e-8
    } = |s, x, y| f::poisson_nll_loss(
        x, y, f::PoissonNllOptions { log_input: s.log_input, full: s.full, eps: s.eps, reduction: s.reduction }
    );
    /// Gaussian: takes `(mean, y, variance)`; `full` adds the constant. Counterpart: `torch.nn.GaussianNLLLoss`.
    /// All of one shape, or a variance that broadcasts; it counts as at least `eps` (default 1e-6).
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, GaussianNLLLoss};
    /// let loss = GaussianNLLLoss::new();
    /// let pair = (Tensor::zeros([1]), Tensor::from_slice(&[2f32], [1]), Tensor::ones([1]));
    /// assert!((loss.forward(&pair).item::<f32>() - 2.0).abs() < 1e-6);
    /// ```
    GaussianNLLLoss {
        /// Whether the constant `ln(2 pi) / 2` is added. Default no.
        full: bool = false,
        /// The least variance. Default 1e-6.
        eps: f64 = 1e-6
    } = |s, x, y, var| f::gaussian_nll_loss(
        x, y, var, f::GaussianNllOptions { full: s.full, eps: s.eps, reduction: s.reduction }
    );
    /// `max(0, d(a, p) - d(a, n) + margin)` of `(anchor, positive, negative)`, with p-norm distances; margin 1, p 2, eps 1e-6. With `swap`
    /// the negative may be compared with the positive instead. Counterpart: `torch.nn.TripletMarginLoss`.
    /// All `[N, D]` or `[D]`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, TripletMarginLoss};
    /// let loss = TripletMarginLoss::new().margin(3.0);
    /// let pair = (Tensor::from_slice(&[0f32, 0.0], [1, 2]), Tensor::from_slice(&[0f32, 1.0], [1, 2]), Tensor::from_slice(&[3f32, 0.0], [1, 2]));
    /// assert!((loss.forward(&pair).item::<f32>() - 1.0).abs() < 1e-4);
    /// ```
    TripletMarginLoss {
        /// How much farther than the positive the negative must be. Default 1.
        margin: f64 = 1.0,
        /// Which norm of a difference is its distance. Default 2.
        p: f64 = 2.0,
        /// Added to differences, for the gradient where there is none. Default 1e-6.
        eps: f64 = 1e-6,
        /// Whether the negative may be compared with the positive instead, where that is nearer. Default no.
        swap: bool = false
    } = |s, a, pos, neg| f::triplet_margin_loss(
        a, pos, neg,
        f::TripletOptions { margin: s.margin, p: s.p, eps: s.eps, swap: s.swap, reduction: s.reduction }
    );
}

/// One-versus-all binary cross entropy of logits `[N, C]`, mean over classes. Counterpart: `torch.nn.MultiLabelSoftMarginLoss`.
/// Targets are 0 and 1, of the shape of the logits.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, MultiLabelSoftMarginLoss};
/// let loss = MultiLabelSoftMarginLoss::new();
/// let pair = (Tensor::zeros([1, 3]), Tensor::ones([1, 3]));
/// assert!((loss.forward(&pair).item::<f32>() - 2f32.ln()).abs() < 1e-6);
/// ```
#[derive(Module, Default)]
pub struct MultiLabelSoftMarginLoss {
    weight: Option<Buffer>,
    #[module(skip)]
    reduction: Reduction,
}
reduction!(MultiLabelSoftMarginLoss);

impl MultiLabelSoftMarginLoss {
    /// The mean.
    pub fn new() -> MultiLabelSoftMarginLoss {
        MultiLabelSoftMarginLoss::default()
    }

    /// A factor for each class.
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> MultiLabelSoftMarginLoss {
        self.weight = Some(Buffer::new(weight));
        self
    }
}

impl Forward<(Tensor, Tensor)> for MultiLabelSoftMarginLoss {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (x, y): &(Tensor, Tensor)) -> Tensor {
        let weight = self.weight.as_ref().map(Buffer::value);
        f::multilabel_soft_margin_loss(x, y, weight.as_ref(), self.reduction)
    }
}

/// Multi-class hinge: `sum over other classes of max(0, margin - x_y + x_c)^p / C`; p 1, margin 1. Counterpart: `torch.nn.MultiMarginLoss`.
/// Scores `[N, C]` or `[C]`, classes (i64) `[N]` or `[]`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, MultiMarginLoss};
/// let loss = MultiMarginLoss::new();
/// let pair = (Tensor::from_slice(&[1f32, 2.0, 4.0], [1, 3]), Tensor::from_slice(&[1i64], [1]));
/// assert!((loss.forward(&pair).item::<f32>() - 1.0).abs() < 1e-6);
/// ```
#[derive(Module)]
pub struct MultiMarginLoss {
    p: i32,
    margin: f64,
    weight: Option<Buffer>,
    #[module(skip)]
    reduction: Reduction,
}
reduction!(MultiMarginLoss);

impl Default for MultiMarginLoss {
    fn default() -> MultiMarginLoss {
        MultiMarginLoss { p: 1, margin: 1.0, weight: None, reduction: Reduction::Mean }
    }
}

impl MultiMarginLoss {
    /// The mean, p 1, margin 1.
    pub fn new() -> MultiMarginLoss {
        MultiMarginLoss::default()
    }

    /// The power, 1 or 2. Default 1.
    #[must_use]
    pub fn p(mut self, p: i32) -> MultiMarginLoss {
        self.p = p;
        self
    }

    /// How far the right class must be ahead. Default 1.
    #[must_use]
    pub fn margin(mut self, margin: f64) -> MultiMarginLoss {
        self.margin = margin;
        self
    }

    /// A factor for each class.
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> MultiMarginLoss {
        self.weight = Some(Buffer::new(weight));
        self
    }
}

impl Forward<(Tensor, Tensor)> for MultiMarginLoss {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (x, y): &(Tensor, Tensor)) -> Tensor {
        let weight = self.weight.as_ref().map(Buffer::value);
        let options = f::MultiMarginOptions {
            p: self.p,
            margin: self.margin,
            weight: weight.as_ref(),
            reduction: self.reduction,
        };
        f::multi_margin_loss(x, y, options)
    }
}

/// Kullback-Leibler divergence `y (ln y - x)` of log-probabilities `x` and probabilities `y` (or, with `log_target`, their logarithms) of
/// one shape.
/// Counterpart: `torch.nn.KLDivLoss`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, KLDivLoss};
/// use hardpan_engine::functional::KlReduction;
/// let loss = KLDivLoss::new(KlReduction::BatchMean);
/// let (x, y) = (Tensor::zeros([1, 2]) - 2f32.ln(), Tensor::from_slice(&[1f32, 0.0], [1, 2]));
/// assert!((loss.forward(&(x, y)).item::<f32>() - 2f32.ln()).abs() < 1e-6);
/// ```
#[derive(Module, Clone, Debug)]
pub struct KLDivLoss {
    #[module(skip)]
    reduction: f::KlReduction,
    log_target: bool,
}

impl KLDivLoss {
    /// With this reduction; `batchmean` is the mathematical one.
    pub fn new(reduction: impl Into<f::KlReduction>) -> KLDivLoss {
        KLDivLoss { reduction: reduction.into(), log_target: false }
    }

    /// Whether targets are logarithms. Default no.
    #[must_use]
    pub fn log_target(mut self, log: bool) -> KLDivLoss {
        self.log_target = log;
        self
    }
}

impl Forward<(Tensor, Tensor)> for KLDivLoss {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (x, y): &(Tensor, Tensor)) -> Tensor {
        f::kl_div(x, y, self.reduction, self.log_target)
    }
}

/// Cosine of the angle between vectors along a dimension: takes a pair. Counterpart: `torch.nn.CosineSimilarity`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{CosineSimilarity, Forward};
/// let pair = (Tensor::from_slice(&[1f32, 0.0], [1, 2]), Tensor::from_slice(&[1f32, 1.0], [1, 2]));
/// let cos = CosineSimilarity::new(1).forward(&pair);
/// assert!((cos.to_vec::<f32>()[0] - 0.5f32.sqrt()).abs() < 1e-6);
/// ```
#[derive(Module, Clone, Debug)]
pub struct CosineSimilarity {
    dim: isize,
    eps: f64,
}

impl CosineSimilarity {
    /// Along `dim` (PyTorch's default is 1), with norms of at least 1e-8.
    pub fn new(dim: isize) -> CosineSimilarity {
        CosineSimilarity { dim, eps: 1e-8 }
    }

    /// Least product of norms. Default 1e-8.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> CosineSimilarity {
        self.eps = eps;
        self
    }
}

impl Forward<(Tensor, Tensor)> for CosineSimilarity {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (a, b): &(Tensor, Tensor)) -> Tensor {
        f::cosine_similarity(a, b, self.dim, self.eps)
    }
}

/// The p-norm of the difference of vectors `[N, D]`: takes a pair. Counterpart: `torch.nn.PairwiseDistance`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, PairwiseDistance};
/// let pair = (Tensor::from_slice(&[0f32, 0.0], [1, 2]), Tensor::from_slice(&[3f32, 4.0], [1, 2]));
/// let distance = PairwiseDistance::new(2.0).forward(&pair);
/// assert!((distance.to_vec::<f32>()[0] - 5.0).abs() < 1e-4);
/// ```
#[derive(Module, Clone, Debug)]
pub struct PairwiseDistance {
    p: f64,
    eps: f64,
    keepdim: bool,
}

impl PairwiseDistance {
    /// With this norm (PyTorch's default is 2); eps 1e-6.
    pub fn new(p: f64) -> PairwiseDistance {
        PairwiseDistance { p, eps: 1e-6, keepdim: false }
    }

    /// Added to the difference. Default 1e-6.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> PairwiseDistance {
        self.eps = eps;
        self
    }

    /// Whether the last dimension stays, with size 1. Default no.
    #[must_use]
    pub fn keepdim(mut self, keepdim: bool) -> PairwiseDistance {
        self.keepdim = keepdim;
        self
    }
}

impl Forward<(Tensor, Tensor)> for PairwiseDistance {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (a, b): &(Tensor, Tensor)) -> Tensor {
        f::pairwise_distance(a, b, self.p, self.eps, self.keepdim)
    }
}
