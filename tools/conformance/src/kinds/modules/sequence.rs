//! Recurrent layers, attention and transformers.

use super::{Built, build::layer_norm, size, two, with};
use crate::arg::{Arg, Args, ModuleArg};
use hardpan_nn::*;

/// `None`: not of this family.
pub fn build(name: &str, a: &Args) -> Option<Built> {
    match name {
        "RNN" | "LSTM" | "GRU" => stack(name, a),
        "RNNCell" | "LSTMCell" | "GRUCell" => cell(name, a),
        "MultiheadAttention" => attention(a),
        "TransformerEncoderLayer" => {
            with(TransformerEncoderLayer::new(&config(a, 0, 2)), |m, a| {
                vec![m.apply(&a.tensor(0, "src"), &source_masks(a, "src_mask"))]
            })
        }
        "TransformerEncoder" => {
            let m = TransformerEncoder::new(&inner(a, "encoder_layer"), size(a, 1, "num_layers"))
                .norm(end_norm(a));
            let _ = (a.opt(3, "enable_nested_tensor"), a.opt(4, "mask_check"));
            with(m, |m, a| vec![m.apply(&a.tensor(0, "src"), &source_masks(a, "mask"))])
        }
        "TransformerDecoderLayer" => {
            with(TransformerDecoderLayer::new(&config(a, 0, 2)), |m, a| {
                let (own, memory) = target_masks(a);
                vec![m.apply(&a.tensor(0, "tgt"), &a.tensor(1, "memory"), &own, &memory)]
            })
        }
        "TransformerDecoder" => {
            let m = TransformerDecoder::new(&inner(a, "decoder_layer"), size(a, 1, "num_layers"))
                .norm(end_norm(a));
            with(m, |m, a| {
                let (own, memory) = target_masks(a);
                vec![m.apply(&a.tensor(0, "tgt"), &a.tensor(1, "memory"), &own, &memory)]
            })
        }
        "Transformer" => {
            let (e, d) = (a.int(2, "num_encoder_layers", 6), a.int(3, "num_decoder_layers", 6));
            let m = Transformer::new(&config(a, 0, 4), e as usize, d as usize);
            with(m, |m, a| {
                let masks = TransformerMasks {
                    source: masks(a, (2, "src_mask"), (5, "src_key_padding_mask")),
                    target: masks(a, (3, "tgt_mask"), (6, "tgt_key_padding_mask")),
                    memory: masks(a, (4, "memory_mask"), (7, "memory_key_padding_mask")),
                };
                let _ = (a.opt(8, "src_is_causal"), a.opt(9, "tgt_is_causal"));
                let _ = a.opt(10, "memory_is_causal");
                vec![m.apply(&a.tensor(0, "src"), &a.tensor(1, "tgt"), &masks)]
            })
        }
        _ => None,
    }
}

fn stack(name: &str, a: &Args) -> Option<Built> {
    // RNN has its nonlinearity as fourth argument.
    let at = if name == "RNN" { 4 } else { 3 };
    let (input, hidden) = (size(a, 0, "input_size"), size(a, 1, "hidden_size"));
    let relu = name == "RNN" && a.str(3, "nonlinearity", "tanh") == "relu";
    macro_rules! make {
        ($t:ident) => {
            $t::new(input, hidden)
                .layers(a.int(2, "num_layers", 1) as usize)
                .bias(a.bool(at, "bias", true))
                .batch_first(a.bool(at + 1, "batch_first", false))
                .dropout(a.float(at + 2, "dropout", 0.0))
                .bidirectional(a.bool(at + 3, "bidirectional", false))
        };
    }
    macro_rules! plain {
        ($m:expr) => {
            with($m, |m, a| {
                let x = a.tensor(0, "input");
                let (y, h) = match a.opt_tensor(1, "hx") {
                    Some(h) => m.forward(&(x, h)),
                    None => m.forward(&x),
                };
                vec![y, h]
            })
        };
    }
    match name {
        "RNN" => plain!(make!(RNN).relu(relu)),
        "GRU" => plain!(make!(GRU)),
        _ => {
            let m = make!(LSTM).proj_size(a.int(at + 4, "proj_size", 0) as usize);
            with(m, |m, a| {
                let x = a.tensor(0, "input");
                let (y, (h, c)) = match a.opt(1, "hx") {
                    Some(state) => m.forward(&(x, two(state))),
                    None => m.forward(&x),
                };
                vec![y, h, c]
            })
        }
    }
}

fn cell(name: &str, a: &Args) -> Option<Built> {
    let (input, hidden) = (size(a, 0, "input_size"), size(a, 1, "hidden_size"));
    let bias = a.bool(2, "bias", true);
    macro_rules! plain {
        ($m:expr) => {
            with($m, |m, a| {
                let x = a.tensor(0, "input");
                vec![match a.opt_tensor(1, "hx") {
                    Some(h) => m.forward(&(x, h)),
                    None => m.forward(&x),
                }]
            })
        };
    }
    match name {
        "RNNCell" => {
            let relu = a.str(3, "nonlinearity", "tanh") == "relu";
            plain!(RNNCell::new(input, hidden).bias(bias).relu(relu))
        }
        "GRUCell" => plain!(GRUCell::new(input, hidden).bias(bias)),
        _ => with(LSTMCell::new(input, hidden).bias(bias), |m, a| {
            let x = a.tensor(0, "input");
            let (h, c) = match a.opt(1, "hx") {
                Some(state) => m.forward(&(x, two(state))),
                None => m.forward(&x),
            };
            vec![h, c]
        }),
    }
}

fn attention(a: &Args) -> Option<Built> {
    let embed = size(a, 0, "embed_dim");
    let m = MultiheadAttention::new(embed, size(a, 1, "num_heads"))
        .dropout(a.float(2, "dropout", 0.0))
        .bias(a.bool(3, "bias", true))
        .bias_kv(a.bool(4, "add_bias_kv", false))
        .zero_attn(a.bool(5, "add_zero_attn", false))
        .sizes(a.int(6, "kdim", embed as i64) as usize, a.int(7, "vdim", embed as i64) as usize)
        .batch_first(a.bool(8, "batch_first", false));
    with(m, |m, a| {
        let (q, k, v) = (a.tensor(0, "query"), a.tensor(1, "key"), a.tensor(2, "value"));
        let options = Attend {
            key_padding_mask: a.opt_tensor(3, "key_padding_mask"),
            need_weights: a.bool(4, "need_weights", true),
            attn_mask: a.opt_tensor(5, "attn_mask"),
            weights_by_head: !a.bool(6, "average_attn_weights", true),
            is_causal: a.bool(7, "is_causal", false),
        };
        let (y, w) = m.attend(&q, &k, &v, &options);
        std::iter::once(y).chain(w).collect()
    })
}

/// The settings of a transformer, the feed-forward size being argument `at` (with custom parts before the rest in `Transformer`).
fn config(a: &Args, first: usize, at: usize) -> TransformerConfig {
    // Transformer: d_model, nhead, encoders, decoders, ff, dropout, activation, custom encoder, custom decoder, eps, ...
    let whole = at == 4;
    let rest = if whole { at + 5 } else { at + 3 };
    let activation = match a.str(at + 2, "activation", "relu") {
        "gelu" => FeedForwardActivation::GELU,
        _ => FeedForwardActivation::ReLU,
    };
    let d_model = a.int(first, "d_model", 512) as usize;
    TransformerConfig::new(d_model, a.int(first + 1, "nhead", 8) as usize)
        .feedforward(a.int(at, "dim_feedforward", 2048) as usize)
        .dropout(a.float(at + 1, "dropout", 0.1))
        .activation(activation)
        .eps(a.float(rest, "layer_norm_eps", 1e-5))
        .batch_first(a.bool(rest + 1, "batch_first", false))
        .norm_first(a.bool(rest + 2, "norm_first", false))
        .bias(a.bool(rest + 3, "bias", true))
}

fn module<'a>(a: &'a Args, i: usize, name: &str) -> Option<&'a ModuleArg> {
    match a.opt(i, name)? {
        Arg::Module(m) => Some(m),
        _ => panic!("{name}: expected a module"),
    }
}

fn inner(a: &Args, name: &str) -> TransformerConfig {
    config(&module(a, 0, name).expect("a layer").args, 0, 2)
}

fn end_norm(a: &Args) -> Option<LayerNorm> {
    let m = module(a, 2, "norm")?;
    assert_eq!(m.name, "nn.LayerNorm", "the norm at the end");
    Some(layer_norm(&m.args))
}

fn masks(a: &Args, pairs: (usize, &str), keys: (usize, &str)) -> Attend {
    Attend::new().mask(a.opt_tensor(pairs.0, pairs.1)).padding(a.opt_tensor(keys.0, keys.1))
}

fn source_masks(a: &Args, name: &str) -> Attend {
    let _ = a.opt(3, "is_causal");
    masks(a, (1, name), (2, "src_key_padding_mask"))
}

fn target_masks(a: &Args) -> (Attend, Attend) {
    let _ = (a.opt(6, "tgt_is_causal"), a.opt(7, "memory_is_causal"));
    (
        masks(a, (2, "tgt_mask"), (4, "tgt_key_padding_mask")),
        masks(a, (3, "memory_mask"), (5, "memory_key_padding_mask")),
    )
}
