//! Layers: linear maps, convolutions, norms, activations, pools, pads, tables.

use super::{Built, layer, pair, size, spatial, unsigned, with};
use crate::arg::{Arg, Args};
use hardpan_engine::Tensor;
use hardpan_engine::functional as f;
use hardpan_nn::*;

/// `None`: not of these families.
pub fn build(name: &str, a: &Args) -> Option<Built> {
    linear(name, a)
        .or_else(|| convolution(name, a))
        .or_else(|| norm(name, a))
        .or_else(|| activation(name, a))
        .or_else(|| pool(name, a))
        .or_else(|| pad(name, a))
        .or_else(|| rest(name, a))
}

fn linear(name: &str, a: &Args) -> Option<Built> {
    match name {
        "Identity" => {
            // It takes any arguments.
            for i in 0..a.len() {
                let _ = a.raw(i, "");
            }
            for k in a.kw.keys() {
                let _ = a.raw(usize::MAX, k);
            }
            layer(Identity)
        }
        "Linear" => layer(
            Linear::new(size(a, 0, "in_features"), size(a, 1, "out_features"))
                .bias(a.bool(2, "bias", true)),
        ),
        "Bilinear" => pair(
            Bilinear::new(
                size(a, 0, "in1_features"),
                size(a, 1, "in2_features"),
                size(a, 2, "out_features"),
            )
            .bias(a.bool(3, "bias", true)),
        ),
        _ => None,
    }
}

fn convolution(name: &str, a: &Args) -> Option<Built> {
    macro_rules! conv {
        ($t:ident) => {{
            let kernel = spatial(a, 2, "kernel_size").expect("a kernel");
            let mut m = $t::new(size(a, 0, "in_channels"), size(a, 1, "out_channels"), kernel);
            if let Some(s) = spatial(a, 3, "stride") {
                m = m.stride(s);
            }
            m = match a.opt(4, "padding") {
                Some(Arg::Str(s)) if s == "same" => m.padding(f::Padding::Same),
                Some(Arg::Str(_)) | None => m,
                Some(_) => m.padding(spatial(a, 4, "padding").expect("sizes")),
            };
            if let Some(d) = spatial(a, 5, "dilation") {
                m = m.dilation(d);
            }
            let mode = match a.str(8, "padding_mode", "zeros") {
                "reflect" => PaddingMode::Reflect,
                "replicate" => PaddingMode::Replicate,
                "circular" => PaddingMode::Circular,
                _ => PaddingMode::Zeros,
            };
            let groups = a.int(6, "groups", 1) as usize;
            layer(m.padding_mode(mode).groups(groups).bias(a.bool(7, "bias", true)))
        }};
    }
    macro_rules! transposed {
        ($t:ident) => {{
            let kernel = spatial(a, 2, "kernel_size").expect("a kernel");
            let mut m = $t::new(size(a, 0, "in_channels"), size(a, 1, "out_channels"), kernel);
            if let Some(s) = spatial(a, 3, "stride") {
                m = m.stride(s);
            }
            if let Some(p) = spatial(a, 4, "padding") {
                m = m.padding(p);
            }
            if let Some(p) = spatial(a, 5, "output_padding") {
                m = m.output_padding(p);
            }
            if let Some(d) = spatial(a, 8, "dilation") {
                m = m.dilation(d);
            }
            let _ = a.opt_str(9, "padding_mode");
            let m = m.groups(a.int(6, "groups", 1) as usize).bias(a.bool(7, "bias", true));
            with(m, |m, a| {
                let x = a.tensor(0, "input");
                vec![match a.opt_ints(1, "output_size").map(unsigned) {
                    Some(size) => m.forward_to(&x, &size),
                    None => m.forward(&x),
                }]
            })
        }};
    }
    match name {
        "Conv1d" => conv!(Conv1d),
        "Conv2d" => conv!(Conv2d),
        "Conv3d" => conv!(Conv3d),
        "ConvTranspose1d" => transposed!(ConvTranspose1d),
        "ConvTranspose2d" => transposed!(ConvTranspose2d),
        "ConvTranspose3d" => transposed!(ConvTranspose3d),
        _ => None,
    }
}

fn norm(name: &str, a: &Args) -> Option<Built> {
    macro_rules! batch {
        ($t:ident) => {{
            let momentum = match a.raw(2, "momentum") {
                Some(Arg::None) => None,
                _ => Some(a.float(2, "momentum", 0.1)),
            };
            let affine = a.bool(3, "affine", true);
            let m = $t::new(size(a, 0, "num_features"))
                .eps(a.float(1, "eps", 1e-5))
                .momentum(momentum)
                .affine(affine)
                .track_running_stats(a.bool(4, "track_running_stats", true));
            let bias = a.bool(7, "bias", true);
            layer(if affine { m.bias(bias) } else { m })
        }};
    }
    macro_rules! instance {
        ($t:ident) => {{
            let affine = a.bool(3, "affine", false);
            let m = $t::new(size(a, 0, "num_features"))
                .eps(a.float(1, "eps", 1e-5))
                .momentum(a.float(2, "momentum", 0.1))
                .affine(affine)
                .track_running_stats(a.bool(4, "track_running_stats", false));
            let bias = a.bool(7, "bias", true);
            layer(if affine { m.bias(bias) } else { m })
        }};
    }
    match name {
        "BatchNorm1d" => batch!(BatchNorm1d),
        "BatchNorm2d" => batch!(BatchNorm2d),
        "BatchNorm3d" => batch!(BatchNorm3d),
        "InstanceNorm1d" => instance!(InstanceNorm1d),
        "InstanceNorm2d" => instance!(InstanceNorm2d),
        "InstanceNorm3d" => instance!(InstanceNorm3d),
        "LayerNorm" => layer(layer_norm(a)),
        "RMSNorm" => {
            let mut m = RMSNorm::new(unsigned(a.ints(0, "normalized_shape")));
            if let Some(eps) = a.opt_float(1, "eps") {
                m = m.eps(eps);
            }
            layer(m.affine(a.bool(2, "elementwise_affine", true)))
        }
        "GroupNorm" => {
            let affine = a.bool(3, "affine", true);
            let m = GroupNorm::new(size(a, 0, "num_groups"), size(a, 1, "num_channels"))
                .eps(a.float(2, "eps", 1e-5))
                .affine(affine);
            let bias = a.bool(6, "bias", true);
            layer(if affine { m.bias(bias) } else { m })
        }
        "LocalResponseNorm" => layer(
            LocalResponseNorm::new(size(a, 0, "size"))
                .alpha(a.float(1, "alpha", 1e-4))
                .beta(a.float(2, "beta", 0.75))
                .k(a.float(3, "k", 1.0)),
        ),
        _ => None,
    }
}

pub fn layer_norm(a: &Args) -> LayerNorm {
    let affine = a.bool(2, "elementwise_affine", true);
    let m = LayerNorm::new(unsigned(a.ints(0, "normalized_shape")))
        .eps(a.float(1, "eps", 1e-5))
        .affine(affine);
    let bias = a.bool(3, "bias", true);
    if affine { m.bias(bias) } else { m }
}

fn activation(name: &str, a: &Args) -> Option<Built> {
    // Without a dimension PyTorch picks one by rank.
    let softmax = |f: fn(&Tensor, isize) -> Tensor| {
        let dim = a.opt_int(0, "dim").map(|d| d as isize);
        with(Identity, move |_, a| {
            let x = a.tensor(0, "input");
            let implicit = if matches!(x.rank(), 0 | 1 | 3) { 0 } else { 1 };
            vec![f(&x, dim.unwrap_or(implicit))]
        })
    };
    match name {
        "ReLU" => layer(ReLU),
        "ReLU6" => layer(ReLU6),
        "GELU" if a.str(0, "approximate", "none") == "tanh" => layer(GELUTanh),
        "GELU" => layer(GELU),
        "SiLU" => layer(SiLU),
        "Mish" => layer(Mish),
        "Sigmoid" => layer(Sigmoid),
        "Tanh" => layer(Tanh),
        "SELU" => layer(SELU),
        "LogSigmoid" => layer(LogSigmoid),
        "Softsign" => layer(Softsign),
        "Tanhshrink" => layer(Tanhshrink),
        "Hardswish" => layer(Hardswish),
        "Hardsigmoid" => layer(Hardsigmoid),
        "Softmax2d" => layer(Softmax2d),
        "LeakyReLU" => layer(LeakyReLU::new(a.float(0, "negative_slope", 0.01))),
        "ELU" => layer(ELU::new(a.float(0, "alpha", 1.0))),
        "CELU" => layer(CELU::new(a.float(0, "alpha", 1.0))),
        "Softplus" => layer(Softplus::new(a.float(0, "beta", 1.0), a.float(1, "threshold", 20.0))),
        "Hardtanh" => layer(Hardtanh::new(a.float(0, "min_val", -1.0), a.float(1, "max_val", 1.0))),
        "Hardshrink" => layer(Hardshrink::new(a.float(0, "lambd", 0.5))),
        "Softshrink" => layer(Softshrink::new(a.float(0, "lambd", 0.5))),
        "Threshold" => {
            layer(Threshold::new(a.float(0, "threshold", 0.0), a.float(1, "value", 0.0)))
        }
        "GLU" => layer(GLU::new(a.dim(0, "dim", -1))),
        "Softmax" if a.has(0, "dim") => layer(Softmax::new(a.dim(0, "dim", -1))),
        "Softmin" if a.has(0, "dim") => layer(Softmin::new(a.dim(0, "dim", -1))),
        "LogSoftmax" if a.has(0, "dim") => layer(LogSoftmax::new(a.dim(0, "dim", -1))),
        "Softmax" => softmax(f::softmax),
        "Softmin" => softmax(f::softmin),
        "LogSoftmax" => softmax(f::log_softmax),
        "PReLU" => {
            let init = a.opt_float(1, "init");
            let m = PReLU::new(a.int(0, "num_parameters", 1) as usize);
            if let Some(v) = init {
                m.weight.set(m.weight.value().full_like(v));
            }
            layer(m)
        }
        "RReLU" => layer(RReLU::new(a.float(0, "lower", 0.125), a.float(1, "upper", 1.0 / 3.0))),
        "Dropout" => layer(Dropout::new(a.float(0, "p", 0.5))),
        "Dropout1d" => layer(Dropout1d::new(a.float(0, "p", 0.5))),
        "Dropout2d" => layer(Dropout2d::new(a.float(0, "p", 0.5))),
        "Dropout3d" => layer(Dropout3d::new(a.float(0, "p", 0.5))),
        "AlphaDropout" => layer(AlphaDropout::new(a.float(0, "p", 0.5))),
        "FeatureAlphaDropout" => layer(FeatureAlphaDropout::new(a.float(0, "p", 0.5))),
        _ => None,
    }
}

fn pool(name: &str, a: &Args) -> Option<Built> {
    let kernel = |i: usize| spatial(a, i, "kernel_size").expect("a kernel");
    macro_rules! max {
        ($t:ident) => {{
            let mut m = $t::new(kernel(0)).ceil_mode(a.bool(5, "ceil_mode", false));
            if let Some(s) = spatial(a, 1, "stride") {
                m = m.stride(s);
            }
            if let Some(p) = spatial(a, 2, "padding") {
                m = m.padding(p);
            }
            if let Some(d) = spatial(a, 3, "dilation") {
                m = m.dilation(d);
            }
            if a.bool(4, "return_indices", false) {
                with(m, |m, a| {
                    let (y, i) = m.forward_with_indices(&a.tensor(0, "input"));
                    vec![y, i]
                })
            } else {
                layer(m)
            }
        }};
    }
    macro_rules! avg {
        ($t:ident) => {{
            let mut m = $t::new(kernel(0))
                .ceil_mode(a.bool(3, "ceil_mode", false))
                .count_include_pad(a.bool(4, "count_include_pad", true));
            if let Some(s) = spatial(a, 1, "stride") {
                m = m.stride(s);
            }
            if let Some(p) = spatial(a, 2, "padding") {
                m = m.padding(p);
            }
            if let Some(d) = a.opt_int(5, "divisor_override") {
                m = m.divisor_override(d);
            }
            layer(m)
        }};
    }
    macro_rules! lp {
        ($t:ident) => {{
            let mut m = $t::new(a.float(0, "norm_type", 2.0), kernel(1)).ceil_mode(a.bool(
                3,
                "ceil_mode",
                false,
            ));
            if let Some(s) = spatial(a, 2, "stride") {
                m = m.stride(s);
            }
            layer(m)
        }};
    }
    let sizes = || -> Vec<Option<usize>> {
        match a.raw(0, "output_size").expect("a size") {
            Arg::List(l) => l.iter().map(|x| x.int().map(|n| n as usize)).collect(),
            x => vec![x.int().map(|n| n as usize)],
        }
    };
    macro_rules! adaptive_max {
        ($t:ident $with:ident) => {{
            let size = sizes();
            if a.bool(1, "return_indices", false) {
                with(Identity, move |_, a| {
                    let (y, i) = f::$with(&a.tensor(0, "input"), &size);
                    vec![y, i]
                })
            } else {
                layer($t::new(size))
            }
        }};
    }
    macro_rules! unpool {
        ($t:ident) => {{
            let mut m = $t::new(kernel(0));
            if let Some(s) = spatial(a, 1, "stride") {
                m = m.stride(s);
            }
            if let Some(p) = spatial(a, 2, "padding") {
                m = m.padding(p);
            }
            with(m, |m, a| {
                let m = match a.opt_ints(2, "output_size") {
                    Some(s) => m.clone().output_size(&unsigned(s)),
                    None => m.clone(),
                };
                vec![m.forward(&(a.tensor(0, "input"), a.tensor(1, "indices")))]
            })
        }};
    }
    match name {
        "MaxPool1d" => max!(MaxPool1d),
        "MaxPool2d" => max!(MaxPool2d),
        "MaxPool3d" => max!(MaxPool3d),
        "AvgPool1d" => avg!(AvgPool1d),
        "AvgPool2d" => avg!(AvgPool2d),
        "AvgPool3d" => avg!(AvgPool3d),
        "LPPool1d" => lp!(LPPool1d),
        "LPPool2d" => lp!(LPPool2d),
        "LPPool3d" => lp!(LPPool3d),
        "AdaptiveAvgPool1d" => layer(AdaptiveAvgPool1d::new(sizes())),
        "AdaptiveAvgPool2d" => layer(AdaptiveAvgPool2d::new(sizes())),
        "AdaptiveAvgPool3d" => layer(AdaptiveAvgPool3d::new(sizes())),
        "AdaptiveMaxPool1d" => adaptive_max!(AdaptiveMaxPool1d adaptive_max_pool1d_with_indices),
        "AdaptiveMaxPool2d" => adaptive_max!(AdaptiveMaxPool2d adaptive_max_pool2d_with_indices),
        "AdaptiveMaxPool3d" => adaptive_max!(AdaptiveMaxPool3d adaptive_max_pool3d_with_indices),
        "MaxUnpool1d" => unpool!(MaxUnpool1d),
        "MaxUnpool2d" => unpool!(MaxUnpool2d),
        "MaxUnpool3d" => unpool!(MaxUnpool3d),
        _ => None,
    }
}

fn pads<const N: usize>(a: &Args) -> [isize; N] {
    let list = a.ints(0, "padding");
    if list.len() == 1 { [list[0]; N] } else { list.try_into().expect("two numbers a dimension") }
}

fn pad(name: &str, a: &Args) -> Option<Built> {
    let value = || a.float(1, "value", 0.0);
    match name {
        "ZeroPad1d" => layer(ZeroPad1d::new(pads(a))),
        "ZeroPad2d" => layer(ZeroPad2d::new(pads(a))),
        "ZeroPad3d" => layer(ZeroPad3d::new(pads(a))),
        "ReflectionPad1d" => layer(ReflectionPad1d::new(pads(a))),
        "ReflectionPad2d" => layer(ReflectionPad2d::new(pads(a))),
        "ReflectionPad3d" => layer(ReflectionPad3d::new(pads(a))),
        "ReplicationPad1d" => layer(ReplicationPad1d::new(pads(a))),
        "ReplicationPad2d" => layer(ReplicationPad2d::new(pads(a))),
        "ReplicationPad3d" => layer(ReplicationPad3d::new(pads(a))),
        "CircularPad1d" => layer(CircularPad1d::new(pads(a))),
        "CircularPad2d" => layer(CircularPad2d::new(pads(a))),
        "CircularPad3d" => layer(CircularPad3d::new(pads(a))),
        "ConstantPad1d" => layer(ConstantPad1d::new(pads(a), value())),
        "ConstantPad2d" => layer(ConstantPad2d::new(pads(a), value())),
        "ConstantPad3d" => layer(ConstantPad3d::new(pads(a), value())),
        _ => None,
    }
}

fn factors(a: &Args) -> Option<Vec<f64>> {
    Some(match a.opt(1, "scale_factor")? {
        Arg::List(l) => l.iter().filter_map(|x| x.scalar()).map(|s| s.as_f64()).collect(),
        x => vec![x.scalar().expect("a number").as_f64()],
    })
}

fn rest(name: &str, a: &Args) -> Option<Built> {
    macro_rules! resize {
        ($t:ident) => {{
            let size = a.opt_ints(0, "size").map(unsigned);
            match (size, factors(a)) {
                (Some(s), _) => $t::size(&s),
                (None, Some(k)) => $t::scales(&k),
                _ => panic!("neither size nor scale_factor"),
            }
        }};
    }
    macro_rules! windows {
        ($m:expr, $at:literal) => {{
            let mut m = $m;
            if let Some(d) = spatial(a, $at, "dilation") {
                m = m.dilation(d);
            }
            if let Some(p) = spatial(a, $at + 1, "padding") {
                m = m.padding(p);
            }
            if let Some(s) = spatial(a, $at + 2, "stride") {
                m = m.stride(s);
            }
            layer(m)
        }};
    }
    match name {
        "Flatten" => layer(Flatten::dims(a.dim(0, "start_dim", 1), a.dim(1, "end_dim", -1))),
        "Unflatten" => layer(Unflatten::new(a.dim(0, "dim", 0), &a.ints(1, "unflattened_size"))),
        "PixelShuffle" => layer(PixelShuffle::new(size(a, 0, "upscale_factor"))),
        "PixelUnshuffle" => layer(PixelUnshuffle::new(size(a, 0, "downscale_factor"))),
        "ChannelShuffle" => layer(ChannelShuffle::new(size(a, 0, "groups"))),
        "Upsample" => {
            let mode = a.str(2, "mode", "nearest");
            let mode = f::InterpolateMode::from_name(mode).expect("a known mode");
            let m = resize!(Upsample).mode(mode).align_corners(a.bool(3, "align_corners", false));
            layer(m.recompute_scale_factor(a.bool(4, "recompute_scale_factor", false)))
        }
        "UpsamplingNearest2d" => layer(resize!(UpsamplingNearest2d)),
        "UpsamplingBilinear2d" => layer(resize!(UpsamplingBilinear2d)),
        "Unfold" => windows!(Unfold::new(spatial(a, 0, "kernel_size").expect("a kernel")), 1),
        "Fold" => {
            let (s, k) = (spatial(a, 0, "output_size"), spatial(a, 1, "kernel_size"));
            windows!(Fold::new(s.expect("a size"), k.expect("a kernel")), 2)
        }
        "Embedding" => {
            let mut m = Embedding::new(size(a, 0, "num_embeddings"), size(a, 1, "embedding_dim"));
            if let Some(row) = a.opt_int(2, "padding_idx") {
                m = m.padding_idx(row as isize);
            }
            if let Some(norm) = a.opt_float(3, "max_norm") {
                m = m.max_norm(norm);
            }
            layer(m.norm_type(a.float(4, "norm_type", 2.0)).scale_grad_by_freq(a.bool(
                5,
                "scale_grad_by_freq",
                false,
            )))
        }
        "EmbeddingBag" => {
            let mode = match a.str(5, "mode", "mean") {
                "sum" => f::BagMode::Sum,
                "max" => f::BagMode::Max,
                _ => f::BagMode::Mean,
            };
            let mut m =
                EmbeddingBag::new(size(a, 0, "num_embeddings"), size(a, 1, "embedding_dim"))
                    .mode(mode)
                    .norm_type(a.float(3, "norm_type", 2.0))
                    .scale_grad_by_freq(a.bool(4, "scale_grad_by_freq", false))
                    .include_last_offset(a.bool(8, "include_last_offset", false));
            if let Some(norm) = a.opt_float(2, "max_norm") {
                m = m.max_norm(norm);
            }
            if let Some(row) = a.opt_int(9, "padding_idx") {
                m = m.padding_idx(row as isize);
            }
            with(m, |m, a| {
                let (x, offsets) = (a.tensor(0, "input"), a.opt_tensor(1, "offsets"));
                vec![match (a.opt_tensor(2, "per_sample_weights"), &offsets) {
                    (Some(factors), _) => m.forward_weighted(&x, offsets.as_ref(), &factors),
                    (None, Some(offsets)) => m.forward_offsets(&x, offsets),
                    (None, None) => m.forward(&x),
                }]
            })
        }
        _ => None,
    }
}
