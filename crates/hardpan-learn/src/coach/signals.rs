//! What weights and activations say.

use super::{Diagnosis, Finding, Kind, Severity, tensor};
use crate::insight::moments;
use hardpan_engine::{DType, Tensor, no_grad};
use hardpan_nn::hook::{Hooks, leaf};
use hardpan_nn::{Forward, Module};

/// Whether all weights are finite; a finding if not.
pub(super) fn weights<M: Module>(model: &M, out: &mut Diagnosis) -> bool {
    let bad: Vec<String> = model
        .named_parameters()
        .into_iter()
        .filter(|(_, p)| {
            // The sum of finite numbers could overflow; the largest cannot.
            let top = p.value().detach().abs().amax(..).to_dtype(DType::F64).item::<f64>();
            !top.is_finite()
        })
        .map(|(name, _)| name)
        .collect();
    if bad.is_empty() {
        return true;
    }
    out.add(
        Finding::new(
            Kind::NonFiniteWeights,
            Severity::Critical,
            format!("weights are infinite or not numbers: {}", some(&bad)),
        )
        .evidence("such parameters", bad.len() as f64)
        .advice("start again from new weights with a learning rate ten times lower")
        .option("--lr")
        .advice("clip gradients")
        .api("GradientClip::new(1.0)"),
    );
    false
}

/// The first few names.
pub(super) fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(4);
    let first = names[..names.len().min(4)].join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}

/// What a layer gives for a batch.
struct Layer {
    path: String,
    type_name: &'static str,
    mean: f64,
    std: f64,
    /// Share of units (channels) that are 0 for every input; `None` if it has none.
    dead: Option<f64>,
}

/// Looks at what each layer gives for a batch.
pub(super) fn activations<M, X>(model: &M, x: &X, out: &mut Diagnosis)
where
    M: Module + Forward<X, Output: 'static>,
{
    let hooks = Hooks::new();
    let seen = hooks.capture(leaf);
    let prediction = {
        let _attached = hooks.attach(model);
        no_grad(|| model.forward(x))
    };
    let layers: Vec<Layer> = seen
        .take()
        .into_iter()
        .filter_map(|c| {
            let t = c.tensors.into_iter().next().filter(|t| t.dtype().is_float())?;
            Some(layer(c.path, c.type_name, &t))
        })
        .collect();
    broken(&layers, tensor(&prediction), out);
    dead(&layers, out);
}

fn layer(path: String, type_name: &'static str, t: &Tensor) -> Layer {
    let t = t.to_dtype(DType::F32);
    let values = t.to_vec::<f32>();
    let (mean, squares) = moments(&values);
    let std = (squares / values.len().max(1) as f64).sqrt();
    let dead = (t.rank() >= 2 && t.shape()[0] >= 8).then(|| {
        let (rows, units) = (t.shape()[0], t.shape()[1]);
        let inner = values.len() / (rows * units).max(1);
        let zero = |u: usize| {
            (0..rows).all(|r| {
                let at = (r * units + u) * inner;
                values[at..at + inner].iter().all(|v| v.abs() < 1e-6)
            })
        };
        (0..units).filter(|&u| zero(u)).count() as f64 / units.max(1) as f64
    });
    Layer { path, type_name, mean, std, dead }
}

/// Layers that give too much or too little.
fn broken(layers: &[Layer], prediction: Option<&Tensor>, out: &mut Diagnosis) {
    let huge = |l: &&Layer| {
        !(l.std.is_finite() && l.mean.is_finite()) || l.std > 1e3 || l.mean.abs() > 1e3
    };
    if let Some(first) = layers.iter().find(huge) {
        let last = layers.last().map_or(first.std, |l| l.std);
        out.add(
            Finding::new(
                Kind::ExplodingActivations,
                if last.is_finite() { Severity::Warning } else { Severity::Critical },
                format!(
                    "activations are huge from layer `{}` ({}) on",
                    first.path, first.type_name
                ),
            )
            .evidence("its standard deviation", first.std)
            .evidence("its mean", first.mean)
            .evidence("standard deviation of the last layer", last)
            .advice("initialize with Kaiming's scale, or layer by layer")
            .api("init::kaiming_normal, LSUV")
            .advice("normalize inputs; put batch norm after convolutions and linear layers")
            .api("BatchNorm2d")
            .option("--arch xresnet18")
            .advice("lower the learning rate if the weights have been trained")
            .option("--lr"),
        );
        return;
    }
    // Outputs that are the same for every item.
    let flat = prediction
        .filter(|p| p.rank() == 2 && p.shape()[0] >= 8 && p.dtype().is_float())
        .map(|p| {
            let (rows, width) = (p.shape()[0], p.shape()[1]);
            let v = p.detach().to_dtype(DType::F64).to_vec::<f64>();
            let spread = |c: usize| {
                let column = (0..rows).map(|r| v[r * width + c]);
                let (low, high) = column
                    .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
                high - low
            };
            (0..width).map(spread).fold(0.0, f64::max)
        });
    let tiny = |l: &&Layer| l.std < 1e-3;
    let small = layers.iter().filter(tiny).count();
    if flat.is_some_and(|f| f < 1e-3) || (layers.len() >= 3 && 2 * small >= layers.len()) {
        let first = layers.iter().find(tiny);
        let place =
            first.map_or("the last".into(), |l| format!("layer `{}` ({})", l.path, l.type_name));
        let mut finding = Finding::new(
            Kind::VanishingActivations,
            Severity::Warning,
            format!("activations vanish from {place} on: outputs hardly depend on inputs"),
        )
        .evidence("layers with a standard deviation below 0.001", small as f64)
        .evidence("layers", layers.len() as f64);
        if let Some(flat) = flat {
            finding = finding.evidence("largest difference of an output between items", flat);
        }
        out.add(
            finding
                .advice("initialize with Kaiming's scale, or layer by layer")
                .api("init::kaiming_normal, LSUV")
                .advice(
                    "put batch norm after convolutions and linear layers, or add skip connections",
                )
                .api("BatchNorm2d, ResBlock")
                .option("--arch xresnet18"),
        );
        return;
    }
    if let (Some(first), Some(last)) = (layers.first(), layers.last()) {
        out.pass(format!(
            "activations: standard deviation {} in the first layer, {} in the last of {}",
            hardpan_plot::short(first.std),
            hardpan_plot::short(last.std),
            layers.len()
        ));
    }
}

fn dead(layers: &[Layer], out: &mut Diagnosis) {
    let rectified = |l: &&Layer| l.type_name.to_lowercase().contains("relu");
    let all: Vec<&Layer> = layers.iter().filter(rectified).filter(|l| l.dead.is_some()).collect();
    let Some(worst) =
        all.iter().max_by(|a, b| a.dead.partial_cmp(&b.dead).unwrap_or(std::cmp::Ordering::Equal))
    else {
        return;
    };
    let share = worst.dead.unwrap_or(0.0);
    if share >= 0.4 {
        out.add(
            Finding::new(
                Kind::DeadUnits,
                if share >= 0.9 { Severity::Critical } else { Severity::Warning },
                format!(
                    "units of layer `{}` ({}) are 0 for every item of a batch",
                    worst.path, worst.type_name
                ),
            )
            .evidence("share of its units", share)
            .advice("lower the learning rate, or warm it up: large steps kill units for good")
            .api("fit_one_cycle")
            .option("--lr")
            .advice("use an activation with a slope below 0")
            .api("LeakyReLU, or GeneralRelu with leak 0.1")
            .advice("check biases and initialization: large negative biases leave nothing above 0"),
        );
    } else {
        out.pass(format!(
            "no dead layers: at most {:.0} % of the units of one are always 0",
            share * 100.0
        ));
    }
}
