//! What gradients say: how large those of each layer are beside its weights.

use super::{Diagnosis, Finding, Kind, Severity};
use crate::learner::Learner;
use hardpan_engine::{DType, Tensor, flush_all};
use hardpan_nn::{Forward, Module};

/// Layers at one end have gradients so many times those at the other: something is lost, or blows up, on the way.
const UNEVEN: f64 = 1e4;
/// A gradient so many times its weights: a step at any usual rate throws them away.
const HUGE: f64 = 1e3;

/// The weights of a layer (what has two dimensions at least; biases and norms say little).
struct Layer {
    name: String,
    /// Norm of the gradient over the norm of the weights.
    ratio: f64,
}

/// One batch forward and backward, without a step, and a look at every layer's gradient. The model is as before afterwards, but for
/// what it carries from call to call.
pub(super) fn check<M, X, Y>(learn: &Learner<M, X, Y>, x: &X, y: &Y, out: &mut Diagnosis)
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    let ctx = learn.context();
    let model = &ctx.model;
    let before = model.state_dict();
    model.train();
    model.zero_grad();
    model.reset();
    let loss = (ctx.loss_fn)(&model.forward(x), y);
    if loss.is_requires_grad() {
        loss.backward();
        flush_all();
        judge(&layers(model), out);
    }
    model.zero_grad();
    model.load_state_dict(&before, true).expect("a model's own weights fit");
    model.reset();
}

fn layers<M: Module>(model: &M) -> Vec<Layer> {
    let norm = |t: &Tensor| {
        // In f64, where squares neither overflow nor vanish.
        let t = t.detach().to_dtype(DType::F64);
        (&t * &t).sum(..).item::<f64>().sqrt()
    };
    let weights = model.named_parameters().into_iter().filter(|(_, p)| p.shape().len() >= 2);
    weights
        .filter_map(|(name, p)| {
            let (weights, gradient) = (norm(&p.value()), norm(&p.grad()?));
            // A layer without any gradient, or of zeros (as some are on purpose), is no measure of what comes through.
            let counts = weights > 0.0 && gradient != 0.0;
            counts.then(|| Layer { name, ratio: gradient / weights })
        })
        .collect()
}

fn median(layers: &[Layer]) -> f64 {
    let mut ratios: Vec<f64> = layers.iter().map(|l| l.ratio).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn judge(layers: &[Layer], out: &mut Diagnosis) {
    if layers.is_empty() {
        return;
    }
    let third = layers.len().div_ceil(3);
    let (first, last) = (median(&layers[..third]), median(&layers[layers.len() - third..]));
    let numbers = |finding: Finding| {
        finding
            .evidence("gradient over weights in the first layers", first)
            .evidence("in the last layers", last)
            .evidence("layers", layers.len() as f64)
    };
    let huge = layers.iter().find(|l| !l.ratio.is_finite() || l.ratio > HUGE);
    if let Some(layer) = huge.or((first > UNEVEN * last).then(|| &layers[0])) {
        let finite = layer.ratio.is_finite();
        out.add(
            numbers(Finding::new(
                Kind::ExplodingGradients,
                if finite { Severity::Warning } else { Severity::Critical },
                format!(
                    "gradients explode on their way back: those of `{}` are out of all proportion to its weights",
                    layer.name
                ),
            ))
            .evidence("gradient over weights there", layer.ratio)
            .advice("initialize with Kaiming's scale, or layer by layer")
            .api("init::kaiming_normal, LSUV")
            .advice("put norms between the layers, and skip connections around them")
            .api("BatchNorm2d, LayerNorm, ResBlock")
            .option("--arch xresnet18")
            .advice("clip gradients: this bounds the damage, and mends nothing")
            .api("GradientClip::new(1.0)"),
        );
    } else if last > UNEVEN * first {
        out.add(
            numbers(Finding::new(
                Kind::VanishingGradients,
                Severity::Warning,
                format!(
                    "gradients vanish on their way back: `{}` gets {} times less of its weights than the last layers, and learns nothing",
                    layers[0].name,
                    hardpan_plot::short(last / layers[0].ratio)
                ),
            ))
            .advice("use activations that let gradients through, not sigmoid or tanh in every layer")
            .api("ReLU, GELU")
            .advice("initialize with Kaiming's scale, or layer by layer")
            .api("init::kaiming_normal, LSUV")
            .advice("put norms between the layers, and skip connections around them")
            .api("BatchNorm2d, LayerNorm, ResBlock")
            .option("--arch xresnet18"),
        );
    } else {
        out.pass(format!(
            "gradients: {} of the weights in the first layers, {} in the last of {}",
            hardpan_plot::short(first),
            hardpan_plot::short(last),
            layers.len()
        ));
    }
}
