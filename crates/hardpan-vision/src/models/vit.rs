//! Vision transformers with patches of 16x16, as timm has them: Dosovitskiy et al., <https://arxiv.org/abs/2010.11929>.

use super::blocks::Activation;
use super::{ModelOptions, Parts, Stages};
use hardpan_engine::{Tensor, functional as f};
use hardpan_nn::{Conv2d, Dropout, Forward, LayerNorm, Linear, Module, Param, init::Init};

const START: Init = Init::TruncatedNormal { std: 0.02 };
const PATCH: usize = 16;

/// Names with their widths and numbers of attention heads.
pub(super) const VARIANTS: &[(&str, usize, usize)] =
    &[("vit_tiny_patch16_224", 192, 3), ("vit_small_patch16_224", 384, 6)];

/// The network for pictures of `o.image_size`: the body gives tokens `[N, 1 + patches, width]`, the class token first.
pub(super) fn parts(width: usize, heads: usize, o: &ModelOptions) -> Parts {
    let act = o.activation.unwrap_or(Activation::Gelu);
    let mut body = Stages::new().with("", Embedding::new(o.channels, o.image_size, width));
    for i in 0..12 {
        body.push(format!("blocks.{i}"), Encoder::new(width, heads, act));
    }
    let body = body.with("norm", LayerNorm::new([width]).eps(1e-6));
    let head = Stages::new()
        .with("pool", ClassToken)
        .with("head_drop", Dropout::new(o.dropout.unwrap_or(0.0)))
        .with("head", Linear::new(width, o.classes).init(START));
    Parts { body, head, features: width, split: 7 }
}

/// Patches as tokens, the class token before them, positions added to all.
#[derive(Module)]
pub struct Embedding {
    /// `[1, 1, width]`
    cls_token: Param,
    /// `[1, 1 + patches, width]`
    pos_embed: Param,
    patch_embed: Patches,
}

#[derive(Module)]
struct Patches {
    proj: Conv2d,
}

impl Embedding {
    fn new(channels: usize, size: usize, width: usize) -> Embedding {
        let patches = (size / PATCH) * (size / PATCH);
        Embedding {
            cls_token: Param::new(Init::Normal { mean: 0.0, std: 1e-6 }.tensor(&[1, 1, width])),
            pos_embed: Param::new(START.tensor(&[1, 1 + patches, width])),
            patch_embed: Patches {
                proj: Conv2d::new(channels, width, PATCH).stride(PATCH).init(START),
            },
        }
    }
}

impl Forward for Embedding {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.patch_embed.proj.forward(x);
        let (n, c, patches) = (y.size(0), y.size(1), y.size(2) * y.size(3));
        let positions = self.pos_embed.value();
        assert!(
            positions.size(1) == patches + 1,
            "vision transformer: pictures of {:?} have {patches} patches, the model is for {}",
            &x.shape()[2..],
            positions.size(1) - 1
        );
        let tokens = y.reshape([n, c, patches]).transpose(1, 2);
        let class = self.cls_token.value().broadcast_to([n, 1, c]);
        Tensor::cat(&[class, tokens], 1) + positions
    }
}

/// Attention and a perceptron, each over normalized tokens and added to them.
#[derive(Module)]
pub struct Encoder {
    norm1: LayerNorm,
    attn: SelfAttention,
    norm2: LayerNorm,
    mlp: Mlp,
}

#[derive(Module)]
struct SelfAttention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
}

#[derive(Module)]
struct Mlp {
    fc1: Linear,
    act: Activation,
    fc2: Linear,
}

impl Encoder {
    fn new(width: usize, heads: usize, act: Activation) -> Encoder {
        let linear = |i, o| Linear::new(i, o).init(START);
        Encoder {
            norm1: LayerNorm::new([width]).eps(1e-6),
            attn: SelfAttention {
                qkv: linear(width, 3 * width),
                proj: linear(width, width),
                heads,
            },
            norm2: LayerNorm::new([width]).eps(1e-6),
            mlp: Mlp { fc1: linear(width, 4 * width), act, fc2: linear(4 * width, width) },
        }
    }
}

impl Forward for Encoder {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = x + self.attn.forward(&self.norm1.forward(x));
        let m = &self.mlp;
        let y = m.fc2.forward(&m.act.forward(&m.fc1.forward(&self.norm2.forward(&x))));
        x + y
    }
}

impl Forward for SelfAttention {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let (n, l, width) = (x.size(0), x.size(1), x.size(2));
        let each = width / self.heads;
        let qkv = self.qkv.forward(x).reshape([n, l, 3, self.heads, each]).permute([2, 0, 3, 1, 4]);
        let part = |i| qkv.select(0, i);
        let y = f::scaled_dot_product_attention(&part(0), &part(1), &part(2), Default::default());
        self.proj.forward(&y.transpose(1, 2).reshape([n, l, width]))
    }
}

/// The first of the tokens `[N, L, width]`: `[N, width]`.
#[derive(Module, Clone, Copy, Debug, Default)]
pub struct ClassToken;

impl Forward for ClassToken {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.select(1, 0)
    }
}
