//! Transformer layers and stacks: Vaswani et al., <https://arxiv.org/abs/1706.03762>.

use super::attention::{Attend, MultiheadAttention};
use super::dropout::Dropout;
use super::linear::Linear;
use super::norm::LayerNorm;
use crate::init::Init;
use crate::{Forward, Module, hooked};
use hardpan_engine::{Tensor, functional as f};

/// What lies between the two linear maps of a feed-forward part.
///
/// ```
/// use hardpan_nn::{FeedForwardActivation, TransformerConfig};
/// let config = TransformerConfig::new(8, 2).activation(FeedForwardActivation::GELU);
/// assert_eq!(config.activation, FeedForwardActivation::GELU);
/// assert_eq!(FeedForwardActivation::default(), FeedForwardActivation::ReLU);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeedForwardActivation {
    /// `max(x, 0)`, as in the paper and in PyTorch.
    #[default]
    ReLU,
    /// GELU, the exact one.
    GELU,
}

impl FeedForwardActivation {
    fn of(self, x: &Tensor) -> Tensor {
        match self {
            FeedForwardActivation::ReLU => f::relu(x),
            FeedForwardActivation::GELU => f::gelu(x),
        }
    }
}

/// The settings that encoder, decoder and whole transformers share.
///
/// ```
/// use hardpan_nn::TransformerConfig;
/// let config = TransformerConfig::new(64, 4).batch_first(true).norm_first(true).dropout(0.0);
/// assert_eq!((config.feedforward, config.eps, config.bias), (2048, 1e-5, true));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TransformerConfig {
    /// Features.
    pub d_model: usize,
    /// Heads.
    pub heads: usize,
    /// Features between the two linear maps. Default 2048.
    pub feedforward: usize,
    /// Probability of dropout, everywhere. Default 0.1.
    pub dropout: f64,
    /// Default: ReLU.
    pub activation: FeedForwardActivation,
    /// Added to variances. Default 1e-5.
    pub eps: f64,
    /// Whether tensors are `[N, L, E]` rather than `[L, N, E]`. Default no, as in PyTorch.
    pub batch_first: bool,
    /// Whether norms come before attention and feed-forward rather than after adding. Default no.
    pub norm_first: bool,
    /// Whether linear maps and norms have biases. Default yes.
    pub bias: bool,
}

impl TransformerConfig {
    /// PyTorch's defaults.
    pub fn new(d_model: usize, heads: usize) -> TransformerConfig {
        TransformerConfig {
            d_model,
            heads,
            feedforward: 2048,
            dropout: 0.1,
            activation: FeedForwardActivation::ReLU,
            eps: 1e-5,
            batch_first: false,
            norm_first: false,
            bias: true,
        }
    }

    /// Features between the two linear maps. Default 2048.
    #[must_use]
    pub fn feedforward(mut self, n: usize) -> TransformerConfig {
        self.feedforward = n;
        self
    }
    /// Probability of dropout. Default 0.1.
    #[must_use]
    pub fn dropout(mut self, p: f64) -> TransformerConfig {
        self.dropout = p;
        self
    }
    /// What lies between the linear maps. Default: ReLU.
    #[must_use]
    pub fn activation(mut self, activation: FeedForwardActivation) -> TransformerConfig {
        self.activation = activation;
        self
    }
    /// Whether tensors are `[N, L, E]`. Default no.
    #[must_use]
    pub fn batch_first(mut self, batch_first: bool) -> TransformerConfig {
        self.batch_first = batch_first;
        self
    }
    /// Whether norms come first. Default no.
    #[must_use]
    pub fn norm_first(mut self, norm_first: bool) -> TransformerConfig {
        self.norm_first = norm_first;
        self
    }
    /// Whether there are biases. Default yes.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> TransformerConfig {
        self.bias = bias;
        self
    }
    /// Added to variances. Default 1e-5.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> TransformerConfig {
        self.eps = eps;
        self
    }

    #[track_caller]
    fn attention(&self) -> MultiheadAttention {
        MultiheadAttention::new(self.d_model, self.heads)
            .bias(self.bias)
            .dropout(self.dropout)
            .batch_first(self.batch_first)
    }

    fn linear(&self, inputs: usize, outputs: usize) -> Linear {
        Linear::new(inputs, outputs).bias(self.bias).init(Init::XavierUniform(1.0))
    }

    fn norm(&self) -> LayerNorm {
        LayerNorm::new(self.d_model).eps(self.eps).bias(self.bias)
    }
}

/// Self attention and a feed-forward part, each added to what comes in and normalized.
///
/// Keys: `self_attn.*`, `linear1.*`, `linear2.*`, `norm1.*`, `norm2.*`. Counterpart: `torch.nn.TransformerEncoderLayer`, whose linear maps start
/// as single ones do; here they start Xavier-uniform with biases of zero, as in a whole `torch.nn.Transformer`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, TransformerConfig, TransformerEncoderLayer};
/// let y = TransformerEncoderLayer::new(&TransformerConfig::new(8, 2).feedforward(16)).forward(&Tensor::ones([5, 3, 8]));
/// assert_eq!(y.shape(), [5, 3, 8]);
/// ```
#[derive(Module)]
pub struct TransformerEncoderLayer {
    /// The attention.
    pub self_attn: MultiheadAttention,
    /// To the wide features.
    pub linear1: Linear,
    /// And back.
    pub linear2: Linear,
    /// Of the attention.
    pub norm1: LayerNorm,
    /// Of the feed-forward part.
    pub norm2: LayerNorm,
    dropout: Dropout,
    #[module(skip)]
    activation: FeedForwardActivation,
    norm_first: bool,
}

impl TransformerEncoderLayer {
    /// With these settings.
    #[track_caller]
    pub fn new(config: &TransformerConfig) -> TransformerEncoderLayer {
        let c = config;
        TransformerEncoderLayer {
            self_attn: c.attention(),
            linear1: c.linear(c.d_model, c.feedforward),
            linear2: c.linear(c.feedforward, c.d_model),
            norm1: c.norm(),
            norm2: c.norm(),
            dropout: Dropout::new(c.dropout),
            activation: c.activation,
            norm_first: c.norm_first,
        }
    }

    /// `[L, N, E]` (or batch first) to the same shape, with masks on the attention.
    #[track_caller]
    pub fn apply(&self, x: &Tensor, masks: &Attend) -> Tensor {
        hooked!(self, x => {
            let attend = |x: &Tensor| self.dropout.forward(&self.self_attn.attend(x, x, x, masks).0);
            let ff = |x: &Tensor| {
                let wide = self.dropout.forward(&self.activation.of(&self.linear1.forward(x)));
                self.dropout.forward(&self.linear2.forward(&wide))
            };
            if self.norm_first {
                let x = x + attend(&self.norm1.forward(x));
                &x + ff(&self.norm2.forward(&x))
            } else {
                let x = self.norm1.forward(&(x + attend(x)));
                self.norm2.forward(&(&x + ff(&x)))
            }
        })
    }
}

impl Forward for TransformerEncoderLayer {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.apply(x, &Attend::new())
    }
}

/// A stack of encoder layers, with a norm at the end if asked for. Keys: `layers.{i}.*`, `norm.*`.
/// Counterpart: `torch.nn.TransformerEncoder`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Attend, TransformerConfig, TransformerEncoder};
/// let config = TransformerConfig::new(8, 2).feedforward(16).batch_first(true);
/// let encoder = TransformerEncoder::new(&config, 3);
/// assert_eq!(encoder.layers.len(), 3);
/// assert_eq!(encoder.apply(&Tensor::ones([2, 5, 8]), &Attend::causal()).shape(), [2, 5, 8]);
/// ```
#[derive(Module)]
pub struct TransformerEncoder {
    /// The layers.
    pub layers: Vec<TransformerEncoderLayer>,
    /// At the end.
    pub norm: Option<LayerNorm>,
}

impl TransformerEncoder {
    /// So many layers with these settings, without a norm at the end.
    #[track_caller]
    pub fn new(config: &TransformerConfig, layers: usize) -> TransformerEncoder {
        let layers = (0..layers).map(|_| TransformerEncoderLayer::new(config)).collect();
        TransformerEncoder { layers, norm: None }
    }

    /// With this norm at the end.
    #[must_use]
    pub fn norm(mut self, norm: impl Into<Option<LayerNorm>>) -> TransformerEncoder {
        self.norm = norm.into();
        self
    }

    /// Through all layers, with masks on the attention.
    #[track_caller]
    pub fn apply(&self, x: &Tensor, masks: &Attend) -> Tensor {
        hooked!(self, x => {
            let x = self.layers.iter().fold(x.clone(), |x, layer| layer.apply(&x, masks));
            match &self.norm {
                Some(norm) => norm.forward(&x),
                None => x,
            }
        })
    }
}

impl Forward for TransformerEncoder {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.apply(x, &Attend::new())
    }
}

/// Self attention, attention to a memory, and a feed-forward part, each added to what comes in and normalized.
///
/// Keys: `self_attn.*`, `multihead_attn.*`, `linear1.*`, `linear2.*`, `norm1.*`, `norm2.*`, `norm3.*`.
/// Counterpart: `torch.nn.TransformerDecoderLayer`; for the start see [`TransformerEncoderLayer`].
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, TransformerConfig, TransformerDecoderLayer};
/// let layer = TransformerDecoderLayer::new(&TransformerConfig::new(8, 2).feedforward(16));
/// let (target, memory) = (Tensor::ones([4, 3, 8]), Tensor::ones([6, 3, 8]));
/// assert_eq!(layer.forward(&(target, memory)).shape(), [4, 3, 8]);
/// ```
#[derive(Module)]
pub struct TransformerDecoderLayer {
    /// Attention to the target itself.
    pub self_attn: MultiheadAttention,
    /// Attention to the memory.
    pub multihead_attn: MultiheadAttention,
    /// To the wide features.
    pub linear1: Linear,
    /// And back.
    pub linear2: Linear,
    /// Of the self attention.
    pub norm1: LayerNorm,
    /// Of the attention to the memory.
    pub norm2: LayerNorm,
    /// Of the feed-forward part.
    pub norm3: LayerNorm,
    dropout: Dropout,
    #[module(skip)]
    activation: FeedForwardActivation,
    norm_first: bool,
}

impl TransformerDecoderLayer {
    /// With these settings.
    #[track_caller]
    pub fn new(config: &TransformerConfig) -> TransformerDecoderLayer {
        let c = config;
        TransformerDecoderLayer {
            self_attn: c.attention(),
            multihead_attn: c.attention(),
            linear1: c.linear(c.d_model, c.feedforward),
            linear2: c.linear(c.feedforward, c.d_model),
            norm1: c.norm(),
            norm2: c.norm(),
            norm3: c.norm(),
            dropout: Dropout::new(c.dropout),
            activation: c.activation,
            norm_first: c.norm_first,
        }
    }

    /// The target through the layer: masks on its attention to itself (`own`) and to the memory.
    #[track_caller]
    pub fn apply(&self, x: &Tensor, memory: &Tensor, own: &Attend, to_memory: &Attend) -> Tensor {
        let given = &(x.clone(), memory.clone());
        hooked!(self, given => {
            let (x, memory) = given;
            let attend = |x: &Tensor| self.dropout.forward(&self.self_attn.attend(x, x, x, own).0);
            let look = |x: &Tensor| {
                let y = self.multihead_attn.attend(x, memory, memory, to_memory).0;
                self.dropout.forward(&y)
            };
            let ff = |x: &Tensor| {
                let wide = self.dropout.forward(&self.activation.of(&self.linear1.forward(x)));
                self.dropout.forward(&self.linear2.forward(&wide))
            };
            if self.norm_first {
                let x = x + attend(&self.norm1.forward(x));
                let x = &x + look(&self.norm2.forward(&x));
                &x + ff(&self.norm3.forward(&x))
            } else {
                let x = self.norm1.forward(&(x + attend(x)));
                let x = self.norm2.forward(&(&x + look(&x)));
                self.norm3.forward(&(&x + ff(&x)))
            }
        })
    }
}

/// Target and memory, without masks.
impl Forward<(Tensor, Tensor)> for TransformerDecoderLayer {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (x, memory): &(Tensor, Tensor)) -> Tensor {
        self.apply(x, memory, &Attend::new(), &Attend::new())
    }
}

/// A stack of decoder layers, with a norm at the end if asked for. Keys: `layers.{i}.*`, `norm.*`.
/// Counterpart: `torch.nn.TransformerDecoder`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Attend, TransformerConfig, TransformerDecoder};
/// let decoder = TransformerDecoder::new(&TransformerConfig::new(8, 2).feedforward(16), 2);
/// let (target, memory) = (Tensor::ones([4, 3, 8]), Tensor::ones([6, 3, 8]));
/// let y = decoder.apply(&target, &memory, &Attend::causal(), &Attend::new());
/// assert_eq!(y.shape(), [4, 3, 8]);
/// ```
#[derive(Module)]
pub struct TransformerDecoder {
    /// The layers.
    pub layers: Vec<TransformerDecoderLayer>,
    /// At the end.
    pub norm: Option<LayerNorm>,
}

impl TransformerDecoder {
    /// So many layers with these settings, without a norm at the end.
    #[track_caller]
    pub fn new(config: &TransformerConfig, layers: usize) -> TransformerDecoder {
        let layers = (0..layers).map(|_| TransformerDecoderLayer::new(config)).collect();
        TransformerDecoder { layers, norm: None }
    }

    /// With this norm at the end.
    #[must_use]
    pub fn norm(mut self, norm: impl Into<Option<LayerNorm>>) -> TransformerDecoder {
        self.norm = norm.into();
        self
    }

    /// The target through all layers, with masks on its attention to itself (`own`) and to the memory.
    #[track_caller]
    pub fn apply(&self, x: &Tensor, memory: &Tensor, own: &Attend, to_memory: &Attend) -> Tensor {
        let given = &(x.clone(), memory.clone());
        hooked!(self, given => {
            let (x, memory) = given;
            let layers = self.layers.iter();
            let x = layers.fold(x.clone(), |x, layer| layer.apply(&x, memory, own, to_memory));
            match &self.norm {
                Some(norm) => norm.forward(&x),
                None => x,
            }
        })
    }
}

/// Target and memory, without masks.
impl Forward<(Tensor, Tensor)> for TransformerDecoder {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (x, memory): &(Tensor, Tensor)) -> Tensor {
        self.apply(x, memory, &Attend::new(), &Attend::new())
    }
}

/// Masks of a whole [`Transformer`].
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Attend, Transformer, TransformerConfig, TransformerMasks};
/// let model = Transformer::new(&TransformerConfig::new(8, 2).feedforward(16), 1, 1);
/// let (source, target) = (Tensor::ones([6, 3, 8]), Tensor::ones([4, 3, 8]));
/// let masks = TransformerMasks { target: Attend::causal(), ..TransformerMasks::default() };
/// assert_eq!(model.apply(&source, &target, &masks).shape(), [4, 3, 8]);
/// ```
#[derive(Clone, Default)]
pub struct TransformerMasks {
    /// On the source's attention to itself.
    pub source: Attend,
    /// On the target's attention to itself.
    pub target: Attend,
    /// On the target's attention to the encoded source.
    pub memory: Attend,
}

/// Encoder and decoder, each with a norm at the end. Keys: `encoder.*`, `decoder.*`. Counterpart: `torch.nn.Transformer`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Transformer, TransformerConfig};
/// let model = Transformer::new(&TransformerConfig::new(8, 2).feedforward(16), 1, 1);
/// let (source, target) = (Tensor::ones([6, 3, 8]), Tensor::ones([4, 3, 8]));
/// assert_eq!(model.forward(&(source, target)).shape(), [4, 3, 8]);
/// ```
#[derive(Module)]
pub struct Transformer {
    /// Reads the source.
    pub encoder: TransformerEncoder,
    /// Writes the target.
    pub decoder: TransformerDecoder,
}

impl Transformer {
    /// So many encoder and decoder layers with these settings.
    #[track_caller]
    pub fn new(config: &TransformerConfig, encoders: usize, decoders: usize) -> Transformer {
        Transformer {
            encoder: TransformerEncoder::new(config, encoders).norm(config.norm()),
            decoder: TransformerDecoder::new(config, decoders).norm(config.norm()),
        }
    }

    /// Source and target through the whole.
    #[track_caller]
    pub fn apply(&self, source: &Tensor, target: &Tensor, masks: &TransformerMasks) -> Tensor {
        let given = &(source.clone(), target.clone());
        hooked!(self, given => {
            let (source, target) = given;
            let memory = self.encoder.apply(source, &masks.source);
            self.decoder.apply(target, &memory, &masks.target, &masks.memory)
        })
    }
}

/// Source and target, without masks.
impl Forward<(Tensor, Tensor)> for Transformer {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (source, target): &(Tensor, Tensor)) -> Tensor {
        self.apply(source, target, &TransformerMasks::default())
    }
}
