//! `torch.nn.functional` and its relatives.

use super::{Output, many, one, sizes};
use crate::arg::{Arg, Args};
use hardpan_engine::functional::{self as f, *};
use hardpan_engine::{DType, Tensor};

/// `None`: not of this family.
pub fn call(name: &str, a: &Args) -> Option<Vec<Output>> {
    if let Some(init) = name.strip_prefix("nn.init.") {
        return init_call(init, a);
    }
    let name = match name {
        "softmax" | "log_softmax" => name,
        _ => name.strip_prefix("nn.functional.")?,
    };
    activation(name, a)
        .or_else(|| linear(name, a))
        .or_else(|| pooling(name, a))
        .or_else(|| normalisation(name, a))
        .or_else(|| loss(name, a))
        .or_else(|| margin(name, a))
        .or_else(|| images(name, a))
        .or_else(|| tables(name, a))
}

fn init_call(name: &str, a: &Args) -> Option<Vec<Output>> {
    match name {
        "calculate_gain" => {
            let gain = f::calculate_gain(a.str(0, "nonlinearity", ""), a.opt_float(1, "param"));
            let gain = gain.expect("a known nonlinearity");
            if gain == gain.trunc() { one(gain as i64) } else { one(gain) }
        }
        "fan_in_and_fan_out" => {
            let shape = unsigned(a.ints(0, "shape"));
            let (i, o) = f::fan_in_and_fan_out(&shape);
            sizes([i, o])
        }
        _ => None,
    }
}

fn unsigned(list: Vec<isize>) -> Vec<usize> {
    list.into_iter().map(|n| usize::try_from(n).expect("not negative")).collect()
}

fn spatial(a: &Args, i: usize, name: &str) -> Option<Spatial> {
    let list = a.opt_ints(i, name)?;
    if list.is_empty() { None } else { Some(unsigned(list).into()) }
}

fn spatial_or(a: &Args, i: usize, name: &str, default: usize) -> Spatial {
    spatial(a, i, name).unwrap_or(default.into())
}

fn activation(name: &str, a: &Args) -> Option<Vec<Output>> {
    let x = || a.tensor(0, "input");
    one(match name {
        "relu" => f::relu(&x()),
        "relu6" => f::relu6(&x()),
        "leaky_relu" => f::leaky_relu(&x(), a.float(1, "negative_slope", 0.01)),
        "prelu" => f::prelu(&x(), &a.tensor(1, "weight")),
        "elu" => f::elu(&x(), a.float(1, "alpha", 1.0)),
        "selu" => f::selu(&x()),
        "celu" => f::celu(&x(), a.float(1, "alpha", 1.0)),
        "gelu" if a.str(1, "approximate", "none") == "tanh" => f::gelu_tanh(&x()),
        "gelu" => f::gelu(&x()),
        "silu" => f::silu(&x()),
        "mish" => f::mish(&x()),
        "hardswish" => f::hardswish(&x()),
        "hardsigmoid" => f::hardsigmoid(&x()),
        "hardtanh" => f::hardtanh(&x(), a.float(1, "min_val", -1.0), a.float(2, "max_val", 1.0)),
        "hardshrink" => f::hardshrink(&x(), a.float(1, "lambd", 0.5)),
        "softshrink" => f::softshrink(&x(), a.float(1, "lambd", 0.5)),
        "tanhshrink" => f::tanhshrink(&x()),
        "softsign" => f::softsign(&x()),
        "softplus" => f::softplus(&x(), a.float(1, "beta", 1.0), a.float(2, "threshold", 20.0)),
        "logsigmoid" => f::logsigmoid(&x()),
        "sigmoid" => f::sigmoid(&x()),
        "threshold" => f::threshold(&x(), a.float(1, "threshold", 0.0), a.float(2, "value", 0.0)),
        "glu" => f::glu(&x(), a.dim(1, "dim", -1)),
        "rrelu" => f::rrelu(
            &x(),
            a.float(1, "lower", 1.0 / 8.0),
            a.float(2, "upper", 1.0 / 3.0),
            a.bool(3, "training", false),
        ),
        "softmax" | "log_softmax" | "softmin" => {
            a.raw(3, "_stacklevel");
            let x = match a.dtype(2, "dtype") {
                Some(d) => x().to_dtype(d),
                None => x(),
            };
            // Without a dimension PyTorch's old rule holds.
            let dim = a.dim(1, "dim", if [0, 1, 3].contains(&x.rank()) { 0 } else { 1 });
            match name {
                "softmax" => f::softmax(&x, dim),
                "softmin" => f::softmin(&x, dim),
                _ => f::log_softmax(&x, dim),
            }
        }
        "dropout" => f::dropout(&x(), a.float(1, "p", 0.5), a.bool(2, "training", true)),
        "dropout1d" => f::dropout1d(&x(), a.float(1, "p", 0.5), a.bool(2, "training", true)),
        "dropout2d" => f::dropout2d(&x(), a.float(1, "p", 0.5), a.bool(2, "training", true)),
        "dropout3d" => f::dropout3d(&x(), a.float(1, "p", 0.5), a.bool(2, "training", true)),
        "feature_alpha_dropout" => {
            f::feature_alpha_dropout(&x(), a.float(1, "p", 0.5), a.bool(2, "training", false))
        }
        "alpha_dropout" => {
            f::alpha_dropout(&x(), a.float(1, "p", 0.5), a.bool(2, "training", false))
        }
        _ => return None,
    })
}

fn linear(name: &str, a: &Args) -> Option<Vec<Output>> {
    if let Some(n) = name.strip_prefix("conv_transpose") {
        let (x, w) = (a.tensor(0, "input"), a.tensor(1, "weight"));
        let b = a.opt_tensor(2, "bias");
        let options = ConvTransposeOptions {
            stride: spatial_or(a, 3, "stride", 1),
            padding: spatial_or(a, 4, "padding", 0),
            output_padding: spatial_or(a, 5, "output_padding", 0),
            groups: a.int(6, "groups", 1) as usize,
            dilation: spatial_or(a, 7, "dilation", 1),
        };
        return one(match n {
            "1d" => f::conv_transpose1d(&x, &w, b.as_ref(), options),
            "2d" => f::conv_transpose2d(&x, &w, b.as_ref(), options),
            _ => f::conv_transpose3d(&x, &w, b.as_ref(), options),
        });
    }
    one(match name {
        "linear" => f::linear(
            &a.tensor(0, "input"),
            &a.tensor(1, "weight"),
            a.opt_tensor(2, "bias").as_ref(),
        ),
        "bilinear" => f::bilinear(
            &a.tensor(0, "input1"),
            &a.tensor(1, "input2"),
            &a.tensor(2, "weight"),
            a.opt_tensor(3, "bias").as_ref(),
        ),
        "conv1d" | "conv2d" | "conv3d" => {
            let (x, w) = (a.tensor(0, "input"), a.tensor(1, "weight"));
            let b = a.opt_tensor(2, "bias");
            let padding = match a.opt(4, "padding") {
                Some(Arg::Str(s)) if s == "same" => Padding::Same,
                Some(Arg::Str(_)) => Padding::Valid,
                _ => spatial_or(a, 4, "padding", 0).into(),
            };
            let options = ConvOptions {
                stride: spatial_or(a, 3, "stride", 1),
                padding,
                dilation: spatial_or(a, 5, "dilation", 1),
                groups: a.int(6, "groups", 1) as usize,
            };
            match name {
                "conv1d" => f::conv1d(&x, &w, b.as_ref(), options),
                "conv2d" => f::conv2d(&x, &w, b.as_ref(), options),
                _ => f::conv3d(&x, &w, b.as_ref(), options),
            }
        }
        "scaled_dot_product_attention" => f::scaled_dot_product_attention(
            &a.tensor(0, "query"),
            &a.tensor(1, "key"),
            &a.tensor(2, "value"),
            AttentionOptions {
                mask: a.opt_tensor(3, "attn_mask").as_ref(),
                dropout: a.float(4, "dropout_p", 0.0),
                is_causal: a.bool(5, "is_causal", false),
                scale: a.opt_float(6, "scale"),
                enable_gqa: a.bool(7, "enable_gqa", false),
            },
        ),
        _ => return None,
    })
}

fn pooling(name: &str, a: &Args) -> Option<Vec<Output>> {
    if let Some(n) = name.strip_prefix("max_pool") {
        let (n, always) = match n.strip_suffix("_with_indices") {
            Some(n) => (n, true),
            None => (n, false),
        };
        let x = a.tensor(0, "input");
        let kernel = spatial(a, 1, "kernel_size").expect("a kernel size");
        let options = MaxPoolOptions {
            stride: spatial(a, 2, "stride"),
            padding: spatial_or(a, 3, "padding", 0),
            dilation: spatial_or(a, 4, "dilation", 1),
            ceil_mode: a.bool(5, "ceil_mode", false),
        };
        if a.bool(6, "return_indices", false) || always {
            let (y, i) = match n {
                "1d" => f::max_pool1d_with_indices(&x, kernel, options),
                "2d" => f::max_pool2d_with_indices(&x, kernel, options),
                _ => f::max_pool3d_with_indices(&x, kernel, options),
            };
            return many([y, i]);
        }
        return one(match n {
            "1d" => f::max_pool1d(&x, kernel, options),
            "2d" => f::max_pool2d(&x, kernel, options),
            _ => f::max_pool3d(&x, kernel, options),
        });
    }
    if let Some(n) = name.strip_prefix("avg_pool") {
        let x = a.tensor(0, "input");
        let kernel = spatial(a, 1, "kernel_size").expect("a kernel size");
        let options = AvgPoolOptions {
            stride: spatial(a, 2, "stride"),
            padding: spatial_or(a, 3, "padding", 0),
            ceil_mode: a.bool(4, "ceil_mode", false),
            count_include_pad: a.bool(5, "count_include_pad", true),
            divisor_override: a.opt_int(6, "divisor_override"),
        };
        return one(match n {
            "1d" => f::avg_pool1d(&x, kernel, options),
            "2d" => f::avg_pool2d(&x, kernel, options),
            _ => f::avg_pool3d(&x, kernel, options),
        });
    }
    if let Some(n) = name.strip_prefix("lp_pool") {
        let x = a.tensor(0, "input");
        let p = a.float(1, "norm_type", 2.0);
        let kernel = spatial(a, 2, "kernel_size").expect("a kernel size");
        let (stride, ceil) = (spatial(a, 3, "stride"), a.bool(4, "ceil_mode", false));
        return one(match n {
            "1d" => f::lp_pool1d(&x, p, kernel, stride, ceil),
            "2d" => f::lp_pool2d(&x, p, kernel, stride, ceil),
            _ => f::lp_pool3d(&x, p, kernel, stride, ceil),
        });
    }
    if let Some(n) = name.strip_prefix("max_unpool") {
        let (x, i) = (a.tensor(0, "input"), a.tensor(1, "indices"));
        let kernel = spatial(a, 2, "kernel_size").expect("a kernel size");
        let options = MaxUnpoolOptions {
            stride: spatial(a, 3, "stride"),
            padding: spatial(a, 4, "padding"),
            output_size: a.opt_ints(5, "output_size").map(unsigned),
        };
        return one(match n {
            "1d" => f::max_unpool1d(&x, &i, kernel, options),
            "2d" => f::max_unpool2d(&x, &i, kernel, options),
            _ => f::max_unpool3d(&x, &i, kernel, options),
        });
    }
    if let Some(rest) = name.strip_prefix("adaptive_") {
        let x = a.tensor(0, "input");
        let size: Vec<Option<usize>> = match a.arg(1, "output_size") {
            Arg::List(l) => l.iter().map(|n| n.int().map(|n| n as usize)).collect(),
            n => vec![n.int().map(|n| n as usize)],
        };
        if rest.starts_with("max") && a.bool(2, "return_indices", false) {
            let (y, i) = match rest {
                "max_pool1d" => f::adaptive_max_pool1d_with_indices(&x, size),
                "max_pool2d" => f::adaptive_max_pool2d_with_indices(&x, size),
                _ => f::adaptive_max_pool3d_with_indices(&x, size),
            };
            return many([y, i]);
        }
        return one(match rest {
            "avg_pool1d" => f::adaptive_avg_pool1d(&x, size),
            "avg_pool2d" => f::adaptive_avg_pool2d(&x, size),
            "avg_pool3d" => f::adaptive_avg_pool3d(&x, size),
            "max_pool1d" => f::adaptive_max_pool1d(&x, size),
            "max_pool2d" => f::adaptive_max_pool2d(&x, size),
            "max_pool3d" => f::adaptive_max_pool3d(&x, size),
            _ => return None,
        });
    }
    None
}

fn normalisation(name: &str, a: &Args) -> Option<Vec<Output>> {
    let x = || a.tensor(0, "input");
    one(match name {
        "layer_norm" => f::layer_norm(
            &x(),
            &unsigned(a.ints(1, "normalized_shape")),
            a.opt_tensor(2, "weight").as_ref(),
            a.opt_tensor(3, "bias").as_ref(),
            a.float(4, "eps", 1e-5),
        ),
        "rms_norm" => f::rms_norm(
            &x(),
            &unsigned(a.ints(1, "normalized_shape")),
            a.opt_tensor(2, "weight").as_ref(),
            a.opt_float(3, "eps"),
        ),
        "group_norm" => f::group_norm(
            &x(),
            a.int(1, "num_groups", 1) as usize,
            a.opt_tensor(2, "weight").as_ref(),
            a.opt_tensor(3, "bias").as_ref(),
            a.float(4, "eps", 1e-5),
        ),
        "batch_norm" | "instance_norm" => {
            let mean = a.opt_tensor(1, "running_mean");
            let var = a.opt_tensor(2, "running_var");
            let (weight, bias) = (a.opt_tensor(3, "weight"), a.opt_tensor(4, "bias"));
            let batch = name == "batch_norm";
            let training = if batch {
                a.bool(5, "training", false)
            } else {
                a.bool(5, "use_input_stats", true)
            };
            let options = BatchNormOptions {
                running_mean: mean.as_ref(),
                running_var: var.as_ref(),
                weight: weight.as_ref(),
                bias: bias.as_ref(),
                training,
                momentum: a.float(6, "momentum", 0.1),
                eps: a.float(7, "eps", 1e-5),
            };
            let y =
                if batch { f::batch_norm(&x(), options) } else { f::instance_norm(&x(), options) };
            y.output
        }
        "local_response_norm" => f::local_response_norm(
            &x(),
            a.int(1, "size", 1) as usize,
            a.float(2, "alpha", 1e-4),
            a.float(3, "beta", 0.75),
            a.float(4, "k", 1.0),
        ),
        "normalize" => {
            f::normalize(&x(), a.float(1, "p", 2.0), a.dim(2, "dim", 1), a.float(3, "eps", 1e-12))
        }
        "cosine_similarity" => f::cosine_similarity(
            &a.tensor(0, "x1"),
            &a.tensor(1, "x2"),
            a.dim(2, "dim", 1),
            a.float(3, "eps", 1e-8),
        ),
        "pairwise_distance" => f::pairwise_distance(
            &a.tensor(0, "x1"),
            &a.tensor(1, "x2"),
            a.float(2, "p", 2.0),
            a.float(3, "eps", 1e-6),
            a.bool(4, "keepdim", false),
        ),
        "pdist" => f::pdist(&x(), a.float(1, "p", 2.0)),
        _ => return None,
    })
}

/// PyTorch's two old arguments and the new one.
fn reduction(a: &Args) -> Reduction {
    Reduction::from_name(a.str(usize::MAX, "reduction", "mean")).expect("a known reduction")
}

fn loss(name: &str, a: &Args) -> Option<Vec<Output>> {
    let (x, t) = (|| a.tensor(0, "input"), || a.tensor(1, "target"));
    one(match name {
        "cross_entropy" | "nll_loss" => {
            let weight = a.opt_tensor(2, "weight");
            let options = CrossEntropyOptions {
                weight: weight.as_ref(),
                ignore_index: a.int(4, "ignore_index", -100),
                reduction: reduction(a),
                label_smoothing: a.float(7, "label_smoothing", 0.0),
            };
            if name == "nll_loss" {
                f::nll_loss(&x(), &t(), options)
            } else {
                f::cross_entropy_with(&x(), &t(), options)
            }
        }
        "binary_cross_entropy" => {
            f::binary_cross_entropy(&x(), &t(), a.opt_tensor(2, "weight").as_ref(), reduction(a))
        }
        "binary_cross_entropy_with_logits" => f::binary_cross_entropy_with_logits(
            &x(),
            &t(),
            BceOptions {
                weight: a.opt_tensor(2, "weight").as_ref(),
                reduction: reduction(a),
                pos_weight: a.opt_tensor(6, "pos_weight").as_ref(),
            },
        ),
        "mse_loss" => weighted(f::mse_loss, &x(), &t(), a),
        "l1_loss" => weighted(f::l1_loss, &x(), &t(), a),
        "smooth_l1_loss" => f::smooth_l1_loss(&x(), &t(), reduction(a), a.float(5, "beta", 1.0)),
        "huber_loss" => f::huber_loss(&x(), &t(), reduction(a), a.float(3, "delta", 1.0)),
        "kl_div" => {
            let how = a.str(usize::MAX, "reduction", "mean").to_string();
            let reduction = match how.as_str() {
                "batchmean" => KlReduction::BatchMean,
                _ => KlReduction::Elements(Reduction::from_name(&how).expect("known")),
            };
            f::kl_div(&x(), &t(), reduction, a.bool(5, "log_target", false))
        }
        "gaussian_nll_loss" => f::gaussian_nll_loss(
            &x(),
            &t(),
            &a.tensor(2, "var"),
            GaussianNllOptions {
                full: a.bool(3, "full", false),
                eps: a.float(4, "eps", 1e-6),
                reduction: reduction(a),
            },
        ),
        "poisson_nll_loss" => f::poisson_nll_loss(
            &x(),
            &t(),
            PoissonNllOptions {
                log_input: a.bool(2, "log_input", true),
                full: a.bool(3, "full", false),
                eps: a.float(5, "eps", 1e-8),
                reduction: reduction(a),
            },
        ),
        "soft_margin_loss" => f::soft_margin_loss(&x(), &t(), reduction(a)),
        "multilabel_soft_margin_loss" => f::multilabel_soft_margin_loss(
            &x(),
            &t(),
            a.opt_tensor(2, "weight").as_ref(),
            reduction(a),
        ),
        "ctc_loss" => {
            let lengths = |i: usize, name: &str| -> Vec<usize> {
                match a.arg(i, name) {
                    Arg::Tensor(t) => t.to_vec::<i64>().into_iter().map(|n| n as usize).collect(),
                    _ => unsigned(a.ints(i, name)),
                }
            };
            f::ctc_loss(
                &a.tensor(0, "log_probs"),
                &a.tensor(1, "targets"),
                &lengths(2, "input_lengths"),
                &lengths(3, "target_lengths"),
                CtcOptions {
                    blank: a.int(4, "blank", 0) as usize,
                    reduction: reduction(a),
                    zero_infinity: a.bool(6, "zero_infinity", false),
                },
            )
        }
        _ => return None,
    })
}

/// Losses that newer PyTorch versions give an optional weight.
fn weighted(
    loss: impl Fn(&Tensor, &Tensor, Reduction) -> Tensor,
    x: &Tensor,
    t: &Tensor,
    a: &Args,
) -> Tensor {
    match a.opt_tensor(5, "weight") {
        None => loss(x, t, reduction(a)),
        Some(w) => {
            let each = loss(x, t, Reduction::None) * &w;
            match reduction(a) {
                Reduction::None => each,
                Reduction::Sum => each.sum(..),
                Reduction::Mean => each.sum(..) / w.broadcast_to(each.shape()).sum(..),
            }
        }
    }
}

fn margin(name: &str, a: &Args) -> Option<Vec<Output>> {
    one(match name {
        "margin_ranking_loss" => f::margin_ranking_loss(
            &a.tensor(0, "input1"),
            &a.tensor(1, "input2"),
            &a.tensor(2, "target"),
            a.float(3, "margin", 0.0),
            reduction(a),
        ),
        "hinge_embedding_loss" => f::hinge_embedding_loss(
            &a.tensor(0, "input"),
            &a.tensor(1, "target"),
            a.float(2, "margin", 1.0),
            reduction(a),
        ),
        "cosine_embedding_loss" => f::cosine_embedding_loss(
            &a.tensor(0, "input1"),
            &a.tensor(1, "input2"),
            &a.tensor(2, "target"),
            a.float(3, "margin", 0.0),
            reduction(a),
        ),
        "multi_margin_loss" => f::multi_margin_loss(
            &a.tensor(0, "input"),
            &a.tensor(1, "target"),
            MultiMarginOptions {
                p: a.int(2, "p", 1) as i32,
                margin: a.float(3, "margin", 1.0),
                weight: a.opt_tensor(4, "weight").as_ref(),
                reduction: reduction(a),
            },
        ),
        "multilabel_margin_loss" => {
            f::multilabel_margin_loss(&a.tensor(0, "input"), &a.tensor(1, "target"), reduction(a))
        }
        "triplet_margin_loss" => f::triplet_margin_loss(
            &a.tensor(0, "anchor"),
            &a.tensor(1, "positive"),
            &a.tensor(2, "negative"),
            TripletOptions {
                margin: a.float(3, "margin", 1.0),
                p: a.float(4, "p", 2.0),
                eps: a.float(5, "eps", 1e-6),
                swap: a.bool(6, "swap", false),
                reduction: reduction(a),
            },
        ),
        "triplet_margin_with_distance_loss" => f::triplet_margin_with_distance_loss(
            &a.tensor(0, "anchor"),
            &a.tensor(1, "positive"),
            &a.tensor(2, "negative"),
            |x, y| f::pairwise_distance(x, y, 2.0, 1e-6, false),
            a.float(4, "margin", 1.0),
            a.bool(5, "swap", false),
            reduction(a),
        ),
        _ => return None,
    })
}

/// A number or a list of them.
fn floats(a: &Args, i: usize, name: &str) -> Option<Vec<f64>> {
    match a.opt(i, name)? {
        Arg::List(l) => Some(l.iter().map(|n| n.scalar().expect("a number").as_f64()).collect()),
        n => Some(vec![n.scalar().expect("a number").as_f64()]),
    }
}

fn images(name: &str, a: &Args) -> Option<Vec<Output>> {
    let x = || a.tensor(0, "input");
    let fold_options = |at: usize| FoldOptions {
        dilation: spatial_or(a, at, "dilation", 1),
        padding: spatial_or(a, at + 1, "padding", 0),
        stride: spatial_or(a, at + 2, "stride", 1),
    };
    one(match name {
        "interpolate" | "upsample" => f::interpolate(
            &x(),
            InterpolateOptions {
                size: a.opt_ints(1, "size").map(unsigned),
                scale_factor: floats(a, 2, "scale_factor"),
                mode: InterpolateMode::from_name(a.str(3, "mode", "nearest")).expect("a mode"),
                align_corners: a.bool(4, "align_corners", false),
                recompute_scale_factor: a.bool(5, "recompute_scale_factor", false),
                antialias: a.bool(6, "antialias", false),
            },
        ),
        "upsample_nearest" => f::upsample_nearest(
            &x(),
            a.opt_ints(1, "size").map(unsigned),
            floats(a, 2, "scale_factor"),
        ),
        "upsample_bilinear" => f::upsample_bilinear(
            &x(),
            a.opt_ints(1, "size").map(unsigned),
            floats(a, 2, "scale_factor"),
        ),
        "grid_sample" => f::grid_sample(
            &x(),
            &a.tensor(1, "grid"),
            match a.str(2, "mode", "bilinear") {
                "nearest" => GridSampleMode::Nearest,
                "bicubic" => GridSampleMode::Bicubic,
                _ => GridSampleMode::Bilinear,
            },
            match a.str(3, "padding_mode", "zeros") {
                "border" => GridPadding::Border,
                "reflection" => GridPadding::Reflection,
                _ => GridPadding::Zeros,
            },
            a.bool(4, "align_corners", false),
        ),
        "affine_grid" => f::affine_grid(
            &a.tensor(0, "theta"),
            &unsigned(a.ints(1, "size")),
            a.bool(2, "align_corners", false),
        ),
        "pad" => {
            let value = a.float(3, "value", 0.0);
            let mode = match a.str(2, "mode", "constant") {
                "reflect" => PadMode::Reflect,
                "replicate" => PadMode::Replicate,
                "circular" => PadMode::Circular,
                _ => PadMode::Constant(value),
            };
            f::pad(&x(), &a.ints(1, "pad"), mode)
        }
        "unfold" => {
            let kernel = spatial(a, 1, "kernel_size").expect("a kernel size");
            f::unfold(&x(), kernel, fold_options(2))
        }
        "fold" => {
            let size = spatial(a, 1, "output_size").expect("an output size");
            let kernel = spatial(a, 2, "kernel_size").expect("a kernel size");
            f::fold(&x(), size, kernel, fold_options(3))
        }
        "pixel_shuffle" => f::pixel_shuffle(&x(), a.int(1, "upscale_factor", 1) as usize),
        "pixel_unshuffle" => f::pixel_unshuffle(&x(), a.int(1, "downscale_factor", 1) as usize),
        "channel_shuffle" => f::channel_shuffle(&x(), a.int(1, "groups", 1) as usize),
        _ => return None,
    })
}

fn tables(name: &str, a: &Args) -> Option<Vec<Output>> {
    one(match name {
        "embedding" => {
            a.bool(6, "sparse", false);
            f::embedding(
                &a.tensor(0, "input"),
                &a.tensor(1, "weight"),
                EmbeddingOptions {
                    padding_idx: a.opt_int(2, "padding_idx").map(|i| i as isize),
                    max_norm: a.opt_float(3, "max_norm"),
                    norm_type: a.float(4, "norm_type", 2.0),
                    scale_grad_by_freq: a.bool(5, "scale_grad_by_freq", false),
                },
            )
        }
        "embedding_bag" => {
            a.bool(7, "sparse", false);
            f::embedding_bag(
                &a.tensor(0, "input"),
                &a.tensor(1, "weight"),
                EmbeddingBagOptions {
                    offsets: a.opt_tensor(2, "offsets").as_ref(),
                    include_last_offset: a.bool(9, "include_last_offset", false),
                    mode: match a.str(6, "mode", "mean") {
                        "sum" => BagMode::Sum,
                        "max" => BagMode::Max,
                        _ => BagMode::Mean,
                    },
                    per_sample_weights: a.opt_tensor(8, "per_sample_weights").as_ref(),
                    padding_idx: a.opt_int(10, "padding_idx").map(|i| i as isize),
                    max_norm: a.opt_float(3, "max_norm"),
                    norm_type: a.opt_float(4, "norm_type"),
                    scale_grad_by_freq: a.bool(5, "scale_grad_by_freq", false),
                },
            )
        }
        "one_hot" => {
            let classes = a.int(1, "num_classes", -1);
            let x = a.tensor(0, "tensor");
            let x = if x.rank() == 0 && !matches!(x.dtype(), DType::I64) {
                x.to_dtype(DType::I64)
            } else {
                x
            };
            f::one_hot(&x, usize::try_from(classes).ok())
        }
        _ => return None,
    })
}
