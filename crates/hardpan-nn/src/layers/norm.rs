//! Normalization: batch, layer, group, instance, root mean square, local response.

use super::linear::value;
use crate::{Buffer, Forward, Mode, Module, Param, hooked};
use hardpan_engine::{Tensor, functional as f, no_grad};

/// Weight of ones and bias of zeros.
fn affine(n: usize) -> (Option<Param>, Option<Param>) {
    (Some(Param::new(Tensor::ones([n]))), Some(Param::new(Tensor::zeros([n]))))
}

/// Running statistics of a normalization: mean 0, variance 1, no batches seen.
fn running(n: usize) -> (Option<Buffer>, Option<Buffer>, Option<Buffer>) {
    (
        Some(Buffer::new(Tensor::zeros([n]))),
        Some(Buffer::new(Tensor::ones([n]))),
        Some(Buffer::new(Tensor::scalar(0i64))),
    )
}

/// The running statistics move: all of it lazy, part of the plan of the step, and without history.
fn track(
    output: &f::BatchNormOutput,
    mean: &Option<Buffer>,
    var: &Option<Buffer>,
    batches: &Option<Buffer>,
    momentum: Option<f64>,
) {
    no_grad(|| {
        let count = batches.as_ref().map(|b| {
            let count = b.value() + 1i64;
            b.set(count.clone());
            count
        });
        for (buffer, new) in [(mean, &output.running_mean), (var, &output.running_var)] {
            let (Some(buffer), Some(new)) = (buffer, new) else { continue };
            let new = new.detach();
            buffer.set(match (momentum, &count) {
                // The plain average of all batches; `new` is this batch's alone.
                (None, Some(count)) => {
                    let share = count.to_dtype(new.dtype()).reciprocal();
                    let old = buffer.value();
                    &old + (new - &old) * share
                }
                _ => new,
            });
        }
    });
}

macro_rules! batch_norms {
    ($($(#[$doc:meta])* $name:ident $input:literal $low:literal $high:literal),*) => {$(
        #[doc = concat!("Batch normalization of `", $input, "` over all dimensions but the channels:")]
        /// `(x - mean) / sqrt(var + eps) * weight + bias`. In training with the batch's own statistics, which the running ones follow
        /// (`running = (1 - momentum) running + momentum batch`); in evaluation with the running ones.
        ///
        /// Keys: `weight`, `bias`, `running_mean`, `running_var` (all `[C]`), `num_batches_tracked` (i64).
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`; Ioffe and Szegedy, <https://arxiv.org/abs/1502.03167>.")]
        $(#[$doc])*
        #[derive(Module)]
        #[module(role = BatchNorm)]
        pub struct $name {
            /// `[C]`, ones at first.
            pub weight: Option<Param>,
            /// `[C]`, zeros at first.
            pub bias: Option<Param>,
            /// `[C]`, zeros at first.
            pub running_mean: Option<Buffer>,
            /// `[C]`, ones at first.
            pub running_var: Option<Buffer>,
            /// Batches seen in training (i64, rank 0).
            pub num_batches_tracked: Option<Buffer>,
            /// Whether the batch's statistics are used.
            pub training: Mode,
            features: usize,
            eps: f64,
            momentum: Option<f64>,
        }

        impl $name {
            /// Of so many channels: eps 1e-5, momentum 0.1, with weight, bias and running statistics.
            pub fn new(features: usize) -> $name {
                let (weight, bias) = affine(features);
                let (running_mean, running_var, num_batches_tracked) = running(features);
                let training = Mode::new();
                let momentum = Some(0.1);
                $name {
                    weight, bias, running_mean, running_var, num_batches_tracked, training,
                    features, eps: 1e-5, momentum,
                }
            }

            /// Added to the variance. Default 1e-5.
            #[must_use]
            pub fn eps(mut self, eps: f64) -> $name {
                self.eps = eps;
                self
            }

            /// Share of a new batch in the running statistics; `None` for the plain average of all batches. Default 0.1.
            #[must_use]
            pub fn momentum(mut self, momentum: impl Into<Option<f64>>) -> $name {
                self.momentum = momentum.into();
                self
            }

            /// With weight and bias, or with neither. Default: with.
            #[must_use]
            pub fn affine(mut self, affine: bool) -> $name {
                (self.weight, self.bias) =
                    if affine { self::affine(self.features) } else { (None, None) };
                self
            }

            /// With a bias or without. Default: with.
            #[must_use]
            pub fn bias(mut self, bias: bool) -> $name {
                self.bias = if bias { self::affine(self.features).1 } else { None };
                self
            }

            /// With running statistics, or with those of the batch in evaluation too. Default: with.
            #[must_use]
            pub fn track_running_stats(mut self, track: bool) -> $name {
                (self.running_mean, self.running_var, self.num_batches_tracked) =
                    if track { running(self.features) } else { (None, None, None) };
                self
            }

            /// Number of channels.
            pub fn num_features(&self) -> usize {
                self.features
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    assert!(
                        ($low..=$high).contains(&x.rank()) && x.shape()[1] == self.features,
                        "{}({}): expected {}, got shape {:?}",
                        stringify!($name), self.features, $input, x.shape()
                    );
                    let training = self.training.is_training();
                    let batch_stats = training || self.running_mean.is_none();
                    assert!(
                        !training || x.numel() != self.features,
                        "{}: one value for each channel ({:?}) has no variance to train with; use a larger batch",
                        stringify!($name), x.shape()
                    );
                    let (weight, bias) = (value(&self.weight), value(&self.bias));
                    let mean = self.running_mean.as_ref().map(Buffer::value);
                    let var = self.running_var.as_ref().map(Buffer::value);
                    let out = f::batch_norm(x, f::BatchNormOptions {
                        running_mean: mean.as_ref(),
                        running_var: var.as_ref(),
                        weight: weight.as_ref(),
                        bias: bias.as_ref(),
                        training: batch_stats,
                        // 1: the new statistics alone, to be averaged in `track`.
                        momentum: self.momentum.unwrap_or(1.0),
                        eps: self.eps,
                    });
                    drop((mean, var));
                    if training {
                        track(
                            &out, &self.running_mean, &self.running_var, &self.num_batches_tracked,
                            self.momentum,
                        );
                    }
                    out.output
                })
            }
        }
    )*};
}

batch_norms! {
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{BatchNorm1d, Forward};
    /// let norm = BatchNorm1d::new(2);
    /// let y = norm.forward(&Tensor::from_slice(&[1f32, 10.0, 3.0, 30.0], [2, 2]));
    /// assert!((y.to_vec::<f32>()[3] - 1.0).abs() < 1e-4); // one deviation above the mean
    /// let mean = norm.running_mean.unwrap().value().to_vec::<f32>();
    /// assert!((mean[0] - 0.2).abs() < 1e-6 && (mean[1] - 2.0).abs() < 1e-6);
    /// ```
    BatchNorm1d "[N, C] or [N, C, L]" 2 3,
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{BatchNorm2d, Forward};
    /// let norm = BatchNorm2d::new(3);
    /// let y = norm.forward(&(Tensor::randn([4, 3, 8, 8]) * 5.0));
    /// assert!(y.mean([0, 2, 3]).abs().amax(..).item::<f32>() < 1e-5);
    /// assert_eq!(norm.num_batches_tracked.unwrap().value().item::<i64>(), 1);
    /// ```
    BatchNorm2d "[N, C, H, W]" 4 4,
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{BatchNorm3d, Forward, Module};
    /// let norm = BatchNorm3d::new(2);
    /// norm.eval(); // running statistics: mean 0, variance 1
    /// let y = norm.forward(&Tensor::ones([1, 2, 3, 4, 4]));
    /// assert!((y.mean(..).item::<f32>() - 1.0).abs() < 1e-4);
    /// ```
    BatchNorm3d "[N, C, D, H, W]" 5 5
}

macro_rules! instance_norms {
    ($($(#[$doc:meta])* $name:ident $input:literal $rank:literal),*) => {$(
        #[doc = concat!("Instance normalization: each channel of each item of `", $input, "` (with or without N) by itself.")]
        /// Without weight, bias and running statistics unless asked for.
        #[doc = concat!("Counterpart: `torch.nn.", stringify!($name), "`; Ulyanov et al., <https://arxiv.org/abs/1607.08022>.")]
        $(#[$doc])*
        #[derive(Module)]
        #[module(role = Norm)]
        pub struct $name {
            /// `[C]`, ones at first.
            pub weight: Option<Param>,
            /// `[C]`, zeros at first.
            pub bias: Option<Param>,
            /// `[C]`, zeros at first.
            pub running_mean: Option<Buffer>,
            /// `[C]`, ones at first.
            pub running_var: Option<Buffer>,
            /// Always 0 (i64, rank 0): saved for PyTorch's sake.
            pub num_batches_tracked: Option<Buffer>,
            /// Whether running statistics are followed rather than used.
            pub training: Mode,
            features: usize,
            eps: f64,
            momentum: f64,
        }

        impl $name {
            /// Of so many channels: eps 1e-5, momentum 0.1.
            pub fn new(features: usize) -> $name {
                $name {
                    weight: None, bias: None, running_mean: None, running_var: None,
                    num_batches_tracked: None, training: Mode::new(),
                    features, eps: 1e-5, momentum: 0.1,
                }
            }

            /// Added to the variance. Default 1e-5.
            #[must_use]
            pub fn eps(mut self, eps: f64) -> $name {
                self.eps = eps;
                self
            }

            /// Share of a new batch in the running statistics. Default 0.1.
            #[must_use]
            pub fn momentum(mut self, momentum: f64) -> $name {
                self.momentum = momentum;
                self
            }

            /// With weight and bias, or with neither. Default: neither.
            #[must_use]
            pub fn affine(mut self, affine: bool) -> $name {
                (self.weight, self.bias) =
                    if affine { self::affine(self.features) } else { (None, None) };
                self
            }

            /// With a bias or without, where there is a weight. Default: as [`affine`](Self::affine) says.
            #[must_use]
            pub fn bias(mut self, bias: bool) -> $name {
                self.bias = if bias { self::affine(self.features).1 } else { None };
                self
            }

            /// With running statistics or without. Default: without.
            #[must_use]
            pub fn track_running_stats(mut self, track: bool) -> $name {
                (self.running_mean, self.running_var, self.num_batches_tracked) =
                    if track { running(self.features) } else { (None, None, None) };
                self
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    let alone = x.rank() == $rank - 1;
                    let x = if alone { x.unsqueeze(0) } else { x.clone() };
                    assert!(
                        x.rank() == $rank && (self.weight.is_none() || x.shape()[1] == self.features),
                        "{}({}): expected {}, got shape {:?}",
                        stringify!($name), self.features, $input, x.shape()
                    );
                    let training = self.training.is_training();
                    let (weight, bias) = (value(&self.weight), value(&self.bias));
                    let mean = self.running_mean.as_ref().map(Buffer::value);
                    let var = self.running_var.as_ref().map(Buffer::value);
                    let out = f::instance_norm(&x, f::BatchNormOptions {
                        running_mean: mean.as_ref(),
                        running_var: var.as_ref(),
                        weight: weight.as_ref(),
                        bias: bias.as_ref(),
                        training: training || mean.is_none(),
                        momentum: self.momentum,
                        eps: self.eps,
                    });
                    drop((mean, var));
                    if training {
                        // As in PyTorch, instance norms do not count batches.
                        track(&out, &self.running_mean, &self.running_var, &None, Some(self.momentum));
                    }
                    if alone { out.output.squeeze(0) } else { out.output }
                })
            }
        }
    )*};
}

instance_norms! {
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, InstanceNorm1d};
    /// let y = InstanceNorm1d::new(1).forward(&Tensor::from_slice(&[1f32, 3.0], [1, 1, 2]));
    /// assert!((y.to_vec::<f32>()[1] - 1.0).abs() < 1e-4);
    /// ```
    InstanceNorm1d "[N, C, L]" 3,
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, InstanceNorm2d};
    /// let y = InstanceNorm2d::new(3).forward(&Tensor::randn([2, 3, 8, 8]));
    /// assert!(y.mean([2, 3]).abs().amax(..).item::<f32>() < 1e-5);
    /// ```
    InstanceNorm2d "[N, C, H, W]" 4,
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// use hardpan_nn::{Forward, InstanceNorm3d, Module};
    /// let norm = InstanceNorm3d::new(2).affine(true);
    /// assert_eq!(norm.forward(&Tensor::ones([1, 2, 3, 4, 4])).sum(..).item::<f32>(), 0.0);
    /// assert_eq!(norm.num_parameters(), 4);
    /// ```
    InstanceNorm3d "[N, C, D, H, W]" 5
}

/// The last dimensions of a tensor: one size, or several.
///
/// ```
/// use hardpan_nn::LayerNorm;
/// assert_eq!(LayerNorm::new(8).weight.unwrap().shape(), [8]);
/// assert_eq!(LayerNorm::new([4, 8]).weight.unwrap().shape(), [4, 8]);
/// ```
pub trait IntoShape {
    /// The sizes.
    fn into_shape(self) -> Vec<usize>;
}
impl IntoShape for usize {
    fn into_shape(self) -> Vec<usize> {
        vec![self]
    }
}
impl<const N: usize> IntoShape for [usize; N] {
    fn into_shape(self) -> Vec<usize> {
        self.to_vec()
    }
}
impl IntoShape for &[usize] {
    fn into_shape(self) -> Vec<usize> {
        self.to_vec()
    }
}
impl IntoShape for Vec<usize> {
    fn into_shape(self) -> Vec<usize> {
        self
    }
}

/// Layer normalization over the last dimensions: `(x - mean) / sqrt(var + eps) * weight + bias`, each row by itself.
/// Keys: `weight`, `bias` of the normalized shape. Counterpart: `torch.nn.LayerNorm`; Ba et al., <https://arxiv.org/abs/1607.06450>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, LayerNorm};
/// let y = LayerNorm::new(2).forward(&Tensor::from_slice(&[1f32, 3.0, 10.0, 30.0], [2, 2]));
/// assert!((y.to_vec::<f32>()[1] - 1.0).abs() < 1e-4 && (y.to_vec::<f32>()[3] - 1.0).abs() < 1e-4);
/// ```
#[derive(Module)]
#[module(role = Norm)]
pub struct LayerNorm {
    /// Of the normalized shape, ones at first.
    pub weight: Option<Param>,
    /// Of the normalized shape, zeros at first.
    pub bias: Option<Param>,
    shape: Vec<usize>,
    eps: f64,
}

impl LayerNorm {
    /// Over the last dimension, of this size, or over several; eps 1e-5, with weight and bias.
    pub fn new(shape: impl IntoShape) -> LayerNorm {
        let shape = shape.into_shape();
        let weight = Some(Param::new(Tensor::ones(&shape)));
        let bias = Some(Param::new(Tensor::zeros(&shape)));
        LayerNorm { weight, bias, shape, eps: 1e-5 }
    }

    /// Added to the variance. Default 1e-5.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> LayerNorm {
        self.eps = eps;
        self
    }

    /// With weight and bias, or with neither. Default: with.
    #[must_use]
    pub fn affine(self, affine: bool) -> LayerNorm {
        let fresh = LayerNorm::new(self.shape.clone());
        let (weight, bias) = if affine { (fresh.weight, fresh.bias) } else { (None, None) };
        LayerNorm { weight, bias, ..self }
    }

    /// With a bias or without. Default: with.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> LayerNorm {
        self.bias = bias.then(|| Param::new(Tensor::zeros(&self.shape)));
        self
    }
}

impl Forward for LayerNorm {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let (weight, bias) = (value(&self.weight), value(&self.bias));
            f::layer_norm(x, &self.shape, weight.as_ref(), bias.as_ref(), self.eps)
        })
    }
}

/// `x / sqrt(mean(x^2) + eps) * weight` over the last dimensions. Key: `weight` of the normalized shape.
/// Counterpart: `torch.nn.RMSNorm`; Zhang and Sennrich, <https://arxiv.org/abs/1910.07467>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, RMSNorm};
/// let y = RMSNorm::new(2).forward(&Tensor::from_slice(&[1f32, 7.0], [1, 2]));
/// assert!((y.to_vec::<f32>()[1] - 1.4).abs() < 1e-5); // the root of the mean of 1 and 49 is 5
/// ```
#[derive(Module)]
#[module(role = Norm)]
pub struct RMSNorm {
    /// Of the normalized shape, ones at first.
    pub weight: Option<Param>,
    shape: Vec<usize>,
    eps: Option<f64>,
}

impl RMSNorm {
    /// Over the last dimension, of this size, or over several; with a weight.
    pub fn new(shape: impl IntoShape) -> RMSNorm {
        let shape = shape.into_shape();
        RMSNorm { weight: Some(Param::new(Tensor::ones(&shape))), shape, eps: None }
    }

    /// Added to the mean square. Default: the machine epsilon of the dtype.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> RMSNorm {
        self.eps = Some(eps);
        self
    }

    /// With a weight or without. Default: with.
    #[must_use]
    pub fn affine(mut self, affine: bool) -> RMSNorm {
        self.weight = affine.then(|| Param::new(Tensor::ones(&self.shape)));
        self
    }
}

impl Forward for RMSNorm {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            f::rms_norm(x, &self.shape, value(&self.weight).as_ref(), self.eps)
        })
    }
}

/// Normalization of groups of channels: `x: [N, C, ..]`, each group of each item by itself. Keys: `weight`, `bias`, both `[C]`.
/// Counterpart: `torch.nn.GroupNorm`; Wu and He, <https://arxiv.org/abs/1803.08494>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, GroupNorm};
/// let y = GroupNorm::new(2, 4).forward(&Tensor::randn([3, 4, 5, 5]));
/// let groups = y.reshape([3, 2, 50]);
/// assert!(groups.mean(2).abs().amax(..).item::<f32>() < 1e-5);
/// ```
#[derive(Module)]
#[module(role = Norm)]
pub struct GroupNorm {
    /// `[C]`, ones at first.
    pub weight: Option<Param>,
    /// `[C]`, zeros at first.
    pub bias: Option<Param>,
    groups: usize,
    channels: usize,
    eps: f64,
}

impl GroupNorm {
    /// So many groups of so many channels in all; eps 1e-5, with weight and bias.
    ///
    /// # Panics
    /// If the channels do not divide into the groups.
    #[track_caller]
    pub fn new(groups: usize, channels: usize) -> GroupNorm {
        assert!(
            groups > 0 && channels.is_multiple_of(groups),
            "GroupNorm: {channels} channels do not divide into {groups} groups"
        );
        let (weight, bias) = affine(channels);
        GroupNorm { weight, bias, groups, channels, eps: 1e-5 }
    }

    /// Added to the variance. Default 1e-5.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> GroupNorm {
        self.eps = eps;
        self
    }

    /// With weight and bias, or with neither. Default: with.
    #[must_use]
    pub fn affine(mut self, affine: bool) -> GroupNorm {
        (self.weight, self.bias) = if affine { self::affine(self.channels) } else { (None, None) };
        self
    }

    /// With a bias or without. Default: with.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> GroupNorm {
        self.bias = if bias { self::affine(self.channels).1 } else { None };
        self
    }
}

impl Forward for GroupNorm {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let (weight, bias) = (value(&self.weight), value(&self.bias));
            f::group_norm(x, self.groups, weight.as_ref(), bias.as_ref(), self.eps)
        })
    }
}

/// Each element divided by a power of the mean square over neighbouring channels of `[N, C, ..]`.
/// Counterpart: `torch.nn.LocalResponseNorm`; Krizhevsky et al. 2012, section 3.3.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, LocalResponseNorm};
/// let norm = LocalResponseNorm::new(1).alpha(3.0).beta(0.5); // x / sqrt(1 + 3 x^2)
/// let y = norm.forward(&Tensor::ones([1, 4, 2, 2]));
/// assert!((y - 0.5).abs().amax(..).item::<f32>() < 1e-6);
/// ```
#[derive(Module, Clone, Debug)]
#[module(role = Norm)]
pub struct LocalResponseNorm {
    size: usize,
    alpha: f64,
    beta: f64,
    k: f64,
}

impl LocalResponseNorm {
    /// Over `size` channels; alpha 1e-4, beta 0.75, k 1.
    pub fn new(size: usize) -> LocalResponseNorm {
        LocalResponseNorm { size, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }

    /// Factor of the mean square. Default 1e-4.
    #[must_use]
    pub fn alpha(mut self, alpha: f64) -> LocalResponseNorm {
        self.alpha = alpha;
        self
    }

    /// The power. Default 0.75.
    #[must_use]
    pub fn beta(mut self, beta: f64) -> LocalResponseNorm {
        self.beta = beta;
        self
    }

    /// Added to the mean square. Default 1.
    #[must_use]
    pub fn k(mut self, k: f64) -> LocalResponseNorm {
        self.k = k;
        self
    }
}

impl Forward for LocalResponseNorm {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            f::local_response_norm(x, self.size, self.alpha, self.beta, self.k)
        })
    }
}

/// As [`LocalResponseNorm`], with the window of Torch7's layer: the channel itself and as many on each side, an even `size` counting as the
/// odd number below it (the sum is divided by `size` all the same). `x: [N, C, H, W]`. Counterpart: `torch.nn.CrossMapLRN2d`, whose sums
/// never let go of the first channel (seen in 2.15); ours do, as Torch7's did.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{CrossMapLRN2d, Forward};
/// let y = CrossMapLRN2d::new(5).alpha(1e-3).forward(&Tensor::ones([2, 8, 4, 4]));
/// assert_eq!(y.shape(), [2, 8, 4, 4]);
/// ```
#[derive(Module, Clone, Debug)]
#[module(role = Norm)]
pub struct CrossMapLRN2d {
    norm: LocalResponseNorm,
}

impl CrossMapLRN2d {
    /// Over `size` channels; alpha 1e-4, beta 0.75, k 1.
    pub fn new(size: usize) -> CrossMapLRN2d {
        CrossMapLRN2d { norm: LocalResponseNorm::new(size) }
    }

    /// Factor of the sum over `size`. Default 1e-4.
    #[must_use]
    pub fn alpha(mut self, alpha: f64) -> CrossMapLRN2d {
        self.norm.alpha = alpha;
        self
    }

    /// The power. Default 0.75.
    #[must_use]
    pub fn beta(mut self, beta: f64) -> CrossMapLRN2d {
        self.norm.beta = beta;
        self
    }

    /// Added to what is raised to the power. Default 1.
    #[must_use]
    pub fn k(mut self, k: f64) -> CrossMapLRN2d {
        self.norm.k = k;
        self
    }
}

impl Forward for CrossMapLRN2d {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let LocalResponseNorm { size, alpha, beta, k } = self.norm;
            assert!(
                x.rank() == 4 && size > 0,
                "CrossMapLRN2d: expected [N, C, H, W] and a size of at least 1, got {:?} and {size}",
                x.shape()
            );
            let window = if size % 2 == 0 { size - 1 } else { size };
            f::local_response_norm(x, window, alpha * window as f64 / size as f64, beta, k)
        })
    }
}

/// [`BatchNorm1d`] over the last dimension of `[.., C]`, every place of the others counting as an item. Its keys. Counterpart: fastai's
/// `BatchNorm1dFlat`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{BatchNorm1dFlat, Forward};
/// assert_eq!(BatchNorm1dFlat::new(4).forward(&Tensor::randn([2, 7, 4])).shape(), &[2, 7, 4]);
/// ```
#[derive(Module)]
#[module(role = BatchNorm)]
pub struct BatchNorm1dFlat {
    #[module(flatten)]
    norm: BatchNorm1d,
}

impl BatchNorm1dFlat {
    /// Of so many features, as [`BatchNorm1d::new`].
    pub fn new(features: usize) -> BatchNorm1dFlat {
        BatchNorm1dFlat { norm: BatchNorm1d::new(features) }
    }
}

impl Forward for BatchNorm1dFlat {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let features = self.norm.num_features();
            assert!(
                x.rank() >= 1 && x.size(-1) == features,
                "BatchNorm1dFlat({features}): expected [.., {features}], got shape {:?}",
                x.shape()
            );
            self.norm.forward(&x.reshape([-1, features as isize])).reshape_as(x)
        })
    }
}
