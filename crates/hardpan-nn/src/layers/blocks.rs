//! Blocks of image models: residual, squeeze and excitation, separable; and layers that see their input again.

use super::activation::{ReLU, Sigmoid};
use super::conv_layer::{ConvLayer, NormType};
use super::pool::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AvgPool1d, AvgPool2d, AvgPool3d,
};
use super::self_attention::SimpleSelfAttention;
use crate::{Forward, IntoLayer, Layer, Module, Sequential, Visit, Visitor, hook, hooked};
use hardpan_engine::Tensor;
use std::sync::Arc;

/// One part of a [`SequentialEx`].
enum Part {
    Layer(Box<dyn Layer>),
    Add,
    Cat,
    Product,
}

impl Visit for Part {
    fn visit(&self, v: &mut dyn Visitor) {
        if let Part::Layer(layer) = self {
            layer.visit(v);
        }
    }
}

/// Layers one after the other, with places where the input of the whole comes in again: added, appended to the channels, or multiplied.
/// Keys: `layers.{i}.*`. Counterpart: fastai's `SequentialEx` with `MergeLayer` and `ProdLayer`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, SequentialEx};
/// let block = SequentialEx::new().append(|x: &Tensor| x * 2.0).add();
/// assert_eq!(block.forward(&Tensor::ones([2])).to_vec::<f32>(), [3.0, 3.0]);
/// ```
#[derive(Module, Default)]
pub struct SequentialEx {
    layers: Vec<Part>,
}

impl SequentialEx {
    /// No layers yet.
    pub fn new() -> SequentialEx {
        SequentialEx::default()
    }

    /// With one more layer.
    #[must_use]
    pub fn append<K>(mut self, layer: impl IntoLayer<K>) -> SequentialEx {
        self.layers.push(Part::Layer(layer.into_layer()));
        self
    }

    /// The input of the whole is added here. Counterpart: `MergeLayer()`.
    #[must_use]
    pub fn add(mut self) -> SequentialEx {
        self.layers.push(Part::Add);
        self
    }

    /// The input of the whole is appended to the channels here. Counterpart: `MergeLayer(dense=True)`.
    #[must_use]
    pub fn cat(mut self) -> SequentialEx {
        self.layers.push(Part::Cat);
        self
    }

    /// The input of the whole is multiplied in here. Counterpart: `ProdLayer`.
    #[must_use]
    pub fn product(mut self) -> SequentialEx {
        self.layers.push(Part::Product);
        self
    }
}

impl Forward for SequentialEx {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let mut y = x.clone();
            for (i, part) in self.layers.iter().enumerate() {
                y = match part {
                    Part::Layer(layer) => {
                        let name = if hook::attached() { format!("layers.{i}") } else { String::new() };
                        let call = hook::child(self, &name, layer.as_ref(), &y);
                        let out = layer.forward(call.input(&y));
                        call.leave(out)
                    }
                    Part::Add => y + x,
                    Part::Cat => Tensor::cat(&[&y, x], 1),
                    Part::Product => y * x,
                };
            }
            y
        })
    }
}

/// The outputs of several layers of one input, side by side along a dimension. Keys: `layers.{i}.*`. Counterpart: fastai's `Cat`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Cat, Conv2d, Forward};
/// let both = Cat::new(vec![Box::new(Conv2d::new(3, 4, 1)), Box::new(Conv2d::new(3, 8, 1))]);
/// assert_eq!(both.forward(&Tensor::ones([2, 3, 5, 5])).shape(), [2, 12, 5, 5]);
/// ```
#[derive(Module)]
pub struct Cat {
    layers: Vec<Box<dyn Layer>>,
    dim: isize,
}

impl Cat {
    /// Of these layers, along dimension 1.
    pub fn new(layers: Vec<Box<dyn Layer>>) -> Cat {
        Cat { layers, dim: 1 }
    }

    /// Along this dimension. Default 1.
    #[must_use]
    pub fn dim(mut self, dim: isize) -> Cat {
        self.dim = dim;
        self
    }
}

impl Forward for Cat {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let all: Vec<Tensor> = self.layers.iter().map(|l| l.forward(x)).collect();
            Tensor::cat(&all, self.dim)
        })
    }
}

/// Makes a fresh activation each time: a block needs several.
type Activation = Arc<dyn Fn() -> Box<dyn Layer> + Send + Sync>;

fn relu() -> Activation {
    Arc::new(|| Box::new(ReLU))
}

/// Squeeze and excitation: each channel of `x: [N, C, ..]` scaled by a number that follows from the means of all channels.
/// Keys: `layers.1.0.*`, `layers.2.0.*`. Counterpart: fastai's `SEModule`; Hu et al., <https://arxiv.org/abs/1709.01507>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, SEModule};
/// let y = SEModule::new(32, 16).forward(&Tensor::ones([2, 32, 7, 7]));
/// assert_eq!(y.shape(), [2, 32, 7, 7]);
/// ```
#[derive(Module)]
pub struct SEModule(SequentialEx);

impl SEModule {
    /// Of so many channels, squeezed to `channels / reduction` rounded up to eights.
    #[track_caller]
    pub fn new(channels: usize, reduction: usize) -> SEModule {
        SEModule::with(channels, reduction, 2, &relu())
    }

    #[track_caller]
    fn with(channels: usize, reduction: usize, dims: usize, activation: &Activation) -> SEModule {
        assert!(reduction > 0, "SEModule: a reduction of 0");
        let few = channels.div_ceil(reduction).div_ceil(8) * 8;
        let one = |inputs: usize, outputs: usize| {
            ConvLayer::new(inputs, outputs).kernel(1).dims(dims).norm(NormType::None)
        };
        let pool: Box<dyn Layer> = match dims {
            1 => Box::new(AdaptiveAvgPool1d::new(1)),
            2 => Box::new(AdaptiveAvgPool2d::new(1)),
            _ => Box::new(AdaptiveAvgPool3d::new(1)),
        };
        SEModule(
            SequentialEx::new()
                .append(pool)
                .append(one(channels, few).activation(activation()).build())
                .append(one(few, channels).activation(Sigmoid).build())
                .product(),
        )
    }
}

impl Forward for SEModule {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => self.0.forward(x))
    }
}

/// A residual block: `act(convpath(x) + idpath(x))`. Keys: `convpath.{i}.0.*` (convolutions), `convpath.{i}.1.*` (norms), `idpath.*`.
///
/// Expansion 1 is two 3x3 convolutions; otherwise 1x1, 3x3, 1x1 with that many times the channels outside. The last norm starts at zero, so
/// that the block starts as the identity. The identity path has a 1x1 convolution where channels change and, before it, an average
/// pool where the stride is not 1. Made by [`ResBlock::new`], with settings in a [`ResBlockConfig`].
/// Counterpart: fastai's `ResBlock`; He et al., <https://arxiv.org/abs/1603.05027> and <https://arxiv.org/abs/1812.01187>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, ResBlockConfig};
/// let block = ResBlockConfig::new(4, 16, 32).stride(2).build(); // 64 to 128 channels
/// assert_eq!(block.forward(&Tensor::ones([2, 64, 8, 8])).shape(), &[2, 128, 4, 4]);
/// ```
#[derive(Module)]
pub struct ResBlock {
    convpath: Sequential,
    idpath: Sequential,
    act: Box<dyn Layer>,
}

/// Settings of a [`ResBlock`].
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, NormType, ResBlockConfig};
/// let block = ResBlockConfig::new(1, 16, 16).norm(NormType::None).reduction(4).build();
/// assert_eq!(block.forward(&Tensor::ones([1, 16, 8, 8])).shape(), [1, 16, 8, 8]);
/// ```
#[derive(Clone)]
#[must_use]
pub struct ResBlockConfig {
    expansion: usize,
    inputs: usize,
    outputs: usize,
    stride: usize,
    groups: usize,
    reduction: Option<usize>,
    middle: Option<(usize, usize)>,
    depthwise: bool,
    groups2: usize,
    self_attention: bool,
    symmetric: bool,
    norm: NormType,
    activation: Activation,
    dims: usize,
    kernel: usize,
    pool_first: bool,
}

impl ResBlockConfig {
    /// From `inputs * expansion` to `outputs * expansion` channels: stride 1, batch norm, ReLU, kernel 3.
    pub fn new(expansion: usize, inputs: usize, outputs: usize) -> ResBlockConfig {
        ResBlockConfig {
            expansion,
            inputs,
            outputs,
            stride: 1,
            groups: 1,
            reduction: None,
            middle: None,
            depthwise: false,
            groups2: 1,
            self_attention: false,
            symmetric: false,
            norm: NormType::Batch,
            activation: relu(),
            dims: 2,
            kernel: 3,
            pool_first: true,
        }
    }

    /// fastai's `SEBlock`: an [`SEModule`] and twice the channels inside.
    pub fn squeeze_excite(
        expansion: usize,
        inputs: usize,
        outputs: usize,
        groups: usize,
        reduction: usize,
    ) -> ResBlockConfig {
        ResBlockConfig::new(expansion, inputs, outputs)
            .groups(groups)
            .reduction(reduction)
            .middle(outputs * 2, outputs * expansion)
    }

    /// fastai's `SEResNeXtBlock`: groups of `base_width` channels (32 and 4 in the paper), and an [`SEModule`].
    pub fn se_resnext(
        expansion: usize,
        inputs: usize,
        outputs: usize,
        groups: usize,
        reduction: usize,
        base_width: usize,
    ) -> ResBlockConfig {
        let width = (outputs * base_width / 64) * groups;
        ResBlockConfig::new(expansion, inputs, outputs)
            .groups(groups)
            .reduction(reduction)
            .middle(width, width)
    }

    /// fastai's `SeparableBlock`: depthwise convolutions and twice the channels inside.
    pub fn separable(expansion: usize, inputs: usize, outputs: usize) -> ResBlockConfig {
        ResBlockConfig::new(expansion, inputs, outputs)
            .middle(outputs * 2, outputs * 2)
            .depthwise(true)
    }

    /// Step of the window. Default 1.
    pub fn stride(mut self, stride: usize) -> ResBlockConfig {
        self.stride = stride;
        self
    }
    /// Channel groups of the strided convolution. Default 1.
    pub fn groups(mut self, groups: usize) -> ResBlockConfig {
        self.groups = groups;
        self
    }
    /// Channel groups of the last convolution. Default 1.
    pub fn last_groups(mut self, groups: usize) -> ResBlockConfig {
        self.groups2 = groups;
        self
    }
    /// With an [`SEModule`] of this reduction. Default: without.
    pub fn reduction(mut self, reduction: impl Into<Option<usize>>) -> ResBlockConfig {
        self.reduction = reduction.into();
        self
    }
    /// Channels after the first and the second convolution. Default: `outputs`.
    pub fn middle(mut self, first: usize, second: usize) -> ResBlockConfig {
        self.middle = Some((first, second));
        self
    }
    /// Each channel of the strided convolution by itself. Default no.
    pub fn depthwise(mut self, depthwise: bool) -> ResBlockConfig {
        self.depthwise = depthwise;
        self
    }
    /// With a [`SimpleSelfAttention`] at the end, symmetric or not. Default: without.
    pub fn self_attention(mut self, with: bool, symmetric: bool) -> ResBlockConfig {
        (self.self_attention, self.symmetric) = (with, symmetric);
        self
    }
    /// What normalizes. Default: batch norm.
    pub fn norm(mut self, norm: NormType) -> ResBlockConfig {
        self.norm = norm;
        self
    }
    /// Makes the activations. Default: ReLU.
    pub fn activation<L: Layer>(
        mut self,
        make: impl Fn() -> L + Send + Sync + 'static,
    ) -> ResBlockConfig {
        self.activation = Arc::new(move || Box::new(make()));
        self
    }
    /// Spatial dimensions, 1 to 3. Default 2.
    pub fn dims(mut self, dims: usize) -> ResBlockConfig {
        self.dims = dims;
        self
    }
    /// Size of the kernels that are not 1. Default 3.
    pub fn kernel(mut self, kernel: usize) -> ResBlockConfig {
        self.kernel = kernel;
        self
    }
    /// Whether the identity path pools before its convolution. Default yes.
    pub fn pool_first(mut self, first: bool) -> ResBlockConfig {
        self.pool_first = first;
        self
    }

    /// The block.
    #[track_caller]
    pub fn build(&self) -> ResBlock {
        ResBlock::new(self)
    }
}

impl ResBlock {
    /// With these settings.
    #[track_caller]
    pub fn new(config: &ResBlockConfig) -> ResBlock {
        let c = config;
        let last = match c.norm {
            NormType::Batch => NormType::BatchZero,
            NormType::Instance => NormType::InstanceZero,
            other => other,
        };
        let (first, second) = c.middle.unwrap_or((c.outputs, c.outputs));
        let (inputs, outputs) = (c.inputs * c.expansion, c.outputs * c.expansion);
        let layer = |i: usize, o: usize, kernel: usize| {
            ConvLayer::new(i, o)
                .kernel(kernel)
                .dims(c.dims)
                .norm(c.norm)
                .activation((c.activation)())
        };
        let end = |i: usize, kernel: usize| {
            layer(i, outputs, kernel).groups(c.groups2).norm(last).no_activation().build()
        };
        let strided = |i: usize, kernel: usize| {
            let groups = if c.depthwise { i } else { c.groups };
            layer(i, second, kernel).stride(c.stride).groups(groups).build()
        };
        let mut convpath = if c.expansion == 1 {
            Sequential::new().append(strided(inputs, c.kernel)).append(end(second, c.kernel))
        } else {
            Sequential::new()
                .append(layer(inputs, first, 1).build())
                .append(strided(first, c.kernel))
                .append(end(second, 1))
        };
        if let Some(reduction) = c.reduction {
            convpath = convpath.append(SEModule::with(outputs, reduction, c.dims, &c.activation));
        }
        if c.self_attention {
            convpath = convpath.append(SimpleSelfAttention::new(outputs).symmetric(c.symmetric));
        }
        let match_channels = (inputs != outputs).then(|| -> Box<dyn Layer> {
            let conv = ConvLayer::new(inputs, outputs).kernel(1).dims(c.dims).norm(c.norm);
            Box::new(conv.no_activation().build())
        });
        let pool = (c.stride != 1).then(|| -> Box<dyn Layer> {
            match c.dims {
                1 => Box::new(AvgPool1d::new(c.stride).ceil_mode(true)),
                2 => Box::new(AvgPool2d::new(c.stride).ceil_mode(true)),
                _ => Box::new(AvgPool3d::new(c.stride).ceil_mode(true)),
            }
        });
        let parts = if c.pool_first { [pool, match_channels] } else { [match_channels, pool] };
        let idpath = parts.into_iter().flatten().fold(Sequential::new(), |s, l| s.append(l));
        ResBlock { convpath, idpath, act: (c.activation)() }
    }
}

impl Forward for ResBlock {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let sum = self.convpath.forward(x) + self.idpath.forward(x);
            let call = hook::child(self, "act", self.act.as_ref(), &sum);
            let y = self.act.forward(call.input(&sum));
            call.leave(y)
        })
    }
}
