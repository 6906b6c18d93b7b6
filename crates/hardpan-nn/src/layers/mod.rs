//! Layers, with PyTorch's names and state dict keys.
//!
//! A layer is made by `new` with what it cannot do without; options are set in a row: `Conv2d::new(1, 8, 5).stride(2).padding(2)`.
//! Shapes are checked where a layer is applied.
//!
//! Weights of linear layers and convolutions start Kaiming-normal, where PyTorch's start smaller ([`crate::init`] says why), and biases at
//! zero; `.init(Init::PyTorch)` asks for PyTorch's start. Others start as in PyTorch: [`Embedding`] standard normal, recurrent layers
//! uniform within `1 / sqrt(hidden)`, biases too, [`MultiheadAttention`] Xavier-uniform with biases of zero (PyTorch leaves `out_proj` at
//! a linear layer's start), [`Bilinear`] uniform within
//! `1 / sqrt(in1)` (its bias, unlike PyTorch's, zero). Transformer layers start Xavier-uniform throughout, as `torch.nn.Transformer` does; a
//! single `torch.nn.TransformerEncoderLayer` leaves its two linear maps at PyTorch's start.
//!
//! One file a family: [`Linear`] and relatives, convolutions, normalization, activations, pooling, padding, reshaping, dropout,
//! embeddings, recurrent layers, attention and transformers; and fastai's: [`ConvLayer`], [`ResBlock`], [`SelfAttention`], ...

mod activation;
mod adaptive_softmax;
mod attention;
mod blocks;
mod compose;
mod conv;
mod conv_layer;
mod dropout;
mod embedding;
mod linear;
mod norm;
mod pad;
mod parametrize;
mod pool;
mod pool_fractional;
mod positions;
mod ragged;
mod resize;
mod rnn;
mod running_norm;
mod self_attention;
mod shape;
mod text_dropout;
mod transformer;

pub use activation::*;
pub use adaptive_softmax::*;
pub use attention::*;
pub use blocks::*;
pub use compose::*;
pub use conv::*;
pub use conv_layer::*;
pub use dropout::*;
pub use embedding::*;
pub use linear::*;
pub use norm::*;
pub use pad::*;
pub use parametrize::*;
pub use pool::*;
pub use pool_fractional::*;
pub use positions::*;
pub use ragged::*;
pub use resize::*;
pub use rnn::*;
pub use running_norm::*;
pub use self_attention::*;
pub use shape::*;
pub use text_dropout::*;
pub use transformer::*;

use crate::{Visit, Visitor};
use hardpan_engine::functional as f;

/// Settings of layers: plain data, nothing to see.
macro_rules! plain {
    ($($t:ty),* $(,)?) => {
        $(impl Visit for $t {
            fn visit(&self, _: &mut dyn Visitor) {}
        })*
    };
}

plain!(
    f::Spatial,
    f::Padding,
    f::ConvOptions,
    f::ConvTransposeOptions,
    f::MaxPoolOptions,
    f::AvgPoolOptions,
    crate::init::Init,
);
