//! Weights scaled by what really comes out: layer-sequential unit variance.

use crate::hook::{Hooks, Tensors};
use crate::{Forward, Module, Param};
use hardpan_engine::{DType, Tensor, no_grad};
use std::sync::{Arc, Mutex};

/// Settings of [`lsuv`].
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::init::{Lsuv, lsuv};
/// use hardpan_nn::Linear;
/// let options = Lsuv { tolerance: 0.01, ..Lsuv::default() };
/// let layers = lsuv(&Linear::new(8, 16), &(Tensor::randn([64, 8]) * 5.0), options);
/// assert!((layers[0].std - 1.0).abs() < 0.01);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lsuv {
    /// How near to 0 and 1 mean and deviation must come. Default 0.001.
    pub tolerance: f64,
    /// The most rounds for one layer. Default 10.
    pub rounds: usize,
    /// Whether to measure after the activation that follows a layer rather than at the layer itself. An activation must then be able to have a
    /// mean of 0, as [`GeneralRelu`](crate::GeneralRelu) with `sub`; plain ReLU cannot. An activation with a parameter `bias` of its own, added
    /// to what comes out, has that one shifted in place of the layer's (the course shifts `sub`). Default no.
    pub after_activation: bool,
}

impl Default for Lsuv {
    fn default() -> Lsuv {
        Lsuv { tolerance: 1e-3, rounds: 10, after_activation: false }
    }
}

/// What [`lsuv`] reached for one layer.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::init::{Lsuv, lsuv};
/// use hardpan_nn::{Linear, ReLU, seq};
/// let model = seq![Linear::new(8, 16), ReLU, Linear::new(16, 4)];
/// let layers = lsuv(&model, &Tensor::randn([64, 8]), Lsuv::default());
/// assert_eq!(layers.iter().map(|l| l.path.as_str()).collect::<Vec<_>>(), ["0", "2"]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LsuvLayer {
    /// The path of the layer.
    pub path: String,
    /// Mean of what comes out.
    pub mean: f64,
    /// Standard deviation of what comes out.
    pub std: f64,
}

struct Target {
    path: String,
    weight: Param,
    bias: Option<Param>,
    /// Where to measure.
    at: (String, &'static str),
}

/// Divides the weights of each linear and convolution layer, first to last, by the standard deviation of what comes out for `x`, and takes
/// the mean off its bias (if it has one), until they are 1 and 0. `x` should be a typical batch, normalized as in training.
///
/// Reaches the layers that [hooks](crate::hook) reach. Counterpart: `lsuv_module` of the fast.ai course, 07a_lsuv; Mishkin and Matas,
/// <https://arxiv.org/abs/1511.06422>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::init::{Lsuv, lsuv};
/// use hardpan_nn::{Linear, ReLU, seq};
/// let model = seq![Linear::new(8, 16), ReLU, Linear::new(16, 16)];
/// let layers = lsuv(&model, &(Tensor::randn([64, 8]) * 5.0), Lsuv::default());
/// assert!(layers.iter().all(|l| l.mean.abs() < 1e-3 && (l.std - 1.0).abs() < 1e-3));
/// ```
#[track_caller]
pub fn lsuv<M, X>(model: &M, x: &X, options: Lsuv) -> Vec<LsuvLayer>
where
    M: Forward<X, Output: Tensors> + Module,
    X: Tensors,
{
    no_grad(|| {
        let targets = targets(model, x, options.after_activation);
        targets.into_iter().map(|t| fit(model, x, &t, options)).collect()
    })
}

/// The layers in the order of their calls.
fn targets<M, X>(model: &M, x: &X, after_activation: bool) -> Vec<Target>
where
    M: Forward<X, Output: Tensors> + Module,
    X: Tensors,
{
    let found: Arc<Mutex<Vec<Target>>> = Arc::default();
    let into = found.clone();
    let hooks = Hooks::new();
    hooks.after(crate::hook::leaf, move |call| {
        let mut found = into.lock().unwrap_or_else(|e| e.into_inner());
        let own = call.module.named_parameters();
        let param = |name: &str| own.iter().find(|(n, _)| n == name).map(|(_, p)| p.clone());
        let kind = call.module.type_name();
        let at = (call.path.to_owned(), kind);
        let weighted = call.module.role().is_linear_or_conv();
        match param("weight") {
            // A shared layer counts where it is first called.
            Some(weight) if weighted && found.iter().all(|t| t.weight.id() != weight.id()) => {
                let path = call.path.to_owned();
                found.push(Target { path, weight, bias: param("bias"), at });
            }
            // The first layer without weights after one.
            None if after_activation => {
                if let Some(last) = found.last_mut()
                    && last.at.0 == last.path
                {
                    last.at = at;
                    // What comes after an activation can be shifted where ReLU's input cannot help.
                    if let Some(bias) = param("bias") {
                        last.bias = Some(bias);
                    }
                }
            }
            _ => {}
        }
    });
    hooks.run(model, x);
    hooks.clear();
    let mut found = found.lock().unwrap_or_else(|e| e.into_inner());
    std::mem::take(&mut *found)
}

fn fit<M, X>(model: &M, x: &X, target: &Target, options: Lsuv) -> LsuvLayer
where
    M: Forward<X, Output: Tensors> + Module,
    X: Tensors,
{
    let hooks = Hooks::new();
    let (path, kind) = target.at.clone();
    let seen = hooks.capture(move |p: &str, m: &dyn Module| p == path && m.type_name() == kind);
    let (mut mean, mut std) = (0.0, 0.0);
    for round in 0..=options.rounds {
        hooks.run(model, x);
        let Some(call) = seen.take().into_iter().next() else { break };
        (mean, std) = mean_and_std(&call.tensors[0]);
        let close = (std - 1.0).abs() < options.tolerance
            && (target.bias.is_none() || mean.abs() < options.tolerance);
        if close || round == options.rounds || std == 0.0 || !std.is_finite() {
            break;
        }
        let (weight, bias) = (&target.weight, target.bias.as_ref());
        weight.set(weight.value() * (1.0 / std));
        if let Some(bias) = bias {
            // The bias is scaled with what it shifts.
            bias.set((bias.value() - mean) * (1.0 / std));
        }
    }
    LsuvLayer { path: target.path.clone(), mean, std }
}

fn mean_and_std(t: &Tensor) -> (f64, f64) {
    let t = t.to_dtype(DType::F64);
    let mean = t.mean(..);
    let away = &t - &mean;
    let variance = (&away * &away).mean(..);
    (mean.item::<f64>(), variance.item::<f64>().sqrt())
}
