//! Architectures for pictures by name.
//!
//! [`create`] builds one with new weights; [`Model`] is a body that finds features and a head that makes classes of them, under the
//! weight names of fastai (xresnets), torchvision (ResNets, MobileNetV3, ConvNeXt) or timm (vision transformers), so that weights trained
//! there can be loaded. [`names`] lists them all. What a model file needs to build its model again is [`Model::arch`];
//! [`from_arch`] goes the other way.
//!
//! ```
//! use hardpan_engine::Tensor;
//! use hardpan_nn::{Forward, Module};
//! use hardpan_vision::models::{ModelOptions, create, from_arch};
//!
//! let model = create("resnet18", &ModelOptions { classes: 10, ..Default::default() })?;
//! assert_eq!(model.num_parameters(), 11_181_642);
//! let again = from_arch(&model.arch())?;
//! assert!(again.load_state_dict(&model.state_dict(), true).is_ok());
//! # Ok::<(), hardpan_vision::models::ModelError>(())
//! ```

pub(crate) mod airbench;
mod blocks;
mod convnext;
mod efficientnet;
mod gan;
mod head;
mod mobilenet;
mod resnet;
mod small;
mod stages;
mod vit;
mod xresnet;

pub use airbench::whiten;
pub use blocks::{Activation, ConcatPool2d, LayerNorm2d, SqueezeExcitation};
pub use gan::{basic_critic, basic_generator};
pub use head::HeadOptions;
pub use resnet::{BasicBlock, Bottleneck};
pub use stages::Stages;
pub use xresnet::ResBlock;

use hardpan_engine::Tensor;
use hardpan_learn::arch::{Cnn, Mlp, Network};
use hardpan_learn::file::Arch;
use hardpan_nn::{Forward, Module, Param, Visit, Visitor};
use serde::{Deserialize, Serialize};

/// Settings of a model. They are kept in the header of its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelOptions {
    /// Number of outputs. Default 1000.
    pub classes: usize,
    /// Channels of the pictures. Default 3.
    pub channels: usize,
    /// Rows and columns of the pictures, for those architectures that must know (vision transformers, `mlp`). Default 224.
    pub image_size: usize,
    /// The nonlinearity, if not the architecture's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// Dropout in the architecture's own head, if not its usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// fastai's head in place of the architecture's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadOptions>,
}

impl Default for ModelOptions {
    fn default() -> ModelOptions {
        ModelOptions {
            classes: 1000,
            channels: 3,
            image_size: 224,
            activation: None,
            dropout: None,
            head: None,
        }
    }
}

/// Why a model could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// There is no architecture of this name.
    #[error("no architecture is named `{name}`{}; there are: {}", near(.name), names().join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// Settings that make no sense.
    #[error("architecture `{name}`: {problem}")]
    Settings {
        /// The architecture.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

/// A known name that `name` may have meant, for the message.
fn near(name: &str) -> String {
    let plain = |s: &str| s.to_lowercase().replace(['-', '_', '.'], "");
    match names().into_iter().find(|n| plain(n) == plain(name)) {
        Some(n) => format!(" (did you mean `{n}`?)"),
        None => String::new(),
    }
}

/// An architecture in its two parts.
pub(crate) struct Parts {
    /// From pictures to features.
    body: Stages,
    /// From features to classes.
    head: Stages,
    /// Channels of the features.
    features: usize,
    /// The layer of the body with which the second parameter group begins.
    split: usize,
}

/// The names of all architectures.
pub fn names() -> Vec<&'static str> {
    let mut out = vec!["cnn", "mlp"];
    out.extend(small::VARIANTS.iter().map(|v| v.0));
    out.extend(airbench::VARIANTS.iter().map(|v| v.0));
    out.extend(xresnet::VARIANTS.iter().map(|v| v.0));
    out.extend(resnet::VARIANTS.iter().map(|v| v.0));
    out.extend(mobilenet::VARIANTS.iter().map(|v| v.0));
    out.extend(["efficientnet_lite0", "convnext_tiny"]);
    out.extend(vit::VARIANTS.iter().map(|v| v.0));
    out
}

/// Every architecture with its number of parameters for 1,000 classes and three channels (`cnn`, `mlp`: 10 classes of 28x28 grey
/// pictures).
pub fn list() -> Vec<(&'static str, usize)> {
    let digits = ModelOptions { classes: 10, channels: 1, image_size: 28, ..Default::default() };
    let count = |name| {
        let options =
            if matches!(name, "cnn" | "mlp") { &digits } else { &ModelOptions::default() };
        create(name, options).map_or(0, |m| m.num_parameters())
    };
    names().into_iter().map(|name| (name, count(name))).collect()
}

/// Builds an architecture with new weights, drawn from the generator that `manual_seed` seeds.
///
/// # Errors
/// If there is no architecture of that name, or the options make no sense.
pub fn create(name: &str, options: &ModelOptions) -> Result<Model, ModelError> {
    let wrong = |problem: String| ModelError::Settings { name: name.to_owned(), problem };
    check(options).map_err(wrong)?;
    if let Some(network) = digits(name, options) {
        return Ok(Model::of_network(network));
    }
    let transformer = vit::VARIANTS.iter().find(|v| v.0 == name);
    let parts = if let Some(v) = xresnet::variant(name) {
        xresnet::parts(v, options)
    } else if let Some((_, layers, bottleneck)) = resnet::VARIANTS.iter().find(|v| v.0 == name) {
        resnet::parts(*layers, *bottleneck, options)
    } else if let Some((_, rows, hidden)) = mobilenet::VARIANTS.iter().find(|v| v.0 == name) {
        mobilenet::parts(rows, *hidden, options)
    } else if let Some((_, width)) = small::VARIANTS.iter().find(|v| v.0 == name) {
        small::parts(*width, options)
    } else if let Some((_, widths)) = airbench::VARIANTS.iter().find(|v| v.0 == name) {
        airbench::parts(widths, options)
    } else if let Some((_, width, heads)) = transformer {
        let size = options.image_size;
        if !size.is_multiple_of(16) {
            return Err(wrong(format!(
                "pictures of {size} pixels do not divide into patches of 16"
            )));
        }
        vit::parts(*width, *heads, options)
    } else {
        match name {
            "efficientnet_lite0" => efficientnet::parts(options),
            "convnext_tiny" => convnext::tiny(options),
            _ => return Err(ModelError::Unknown { name: name.to_owned() }),
        }
    };
    let Parts { body, mut head, features, split } = parts;
    if let Some(o) = &options.head {
        let tokens = transformer.map(|_| Stages::new().with("pool", vit::ClassToken));
        head = head::create_head(features, options.classes, tokens, o);
    }
    let config = serde_json::to_value(options).unwrap_or_default();
    let arch = Arch { name: name.to_owned(), config };
    Ok(Model { arch, body, head, features, split })
}

/// Builds the model that the header of a model file describes, with new weights.
///
/// # Errors
/// If there is no such architecture, or its settings make no sense.
pub fn from_arch(arch: &Arch) -> Result<Model, ModelError> {
    let name = arch.name.clone();
    if matches!(arch.name.as_str(), "cnn" | "mlp") {
        let network = Network::from_arch(arch);
        let wrong =
            |e: hardpan_learn::arch::ArchError| ModelError::Settings { name, problem: e.problem };
        return network.map(Model::of_network).map_err(wrong);
    }
    if !names().contains(&arch.name.as_str()) {
        return Err(ModelError::Unknown { name });
    }
    let options: ModelOptions = serde_json::from_value(arch.config.clone())
        .map_err(|e| ModelError::Settings { name: arch.name.clone(), problem: e.to_string() })?;
    create(&arch.name, &options)
}

/// A file can claim anything; sizes that no one means would take all memory.
fn check(o: &ModelOptions) -> Result<(), String> {
    let within = |what: &str, n: usize, most: usize| match (1..=most).contains(&n) {
        true => Ok(()),
        false => Err(format!("{n} {what}; there must be 1 to {most}")),
    };
    within("classes", o.classes, 1 << 20)?;
    within("channels", o.channels, 1 << 12)?;
    within("pixels a side", o.image_size, 1 << 13)?;
    let probability = |p: f64| match (0.0..1.0).contains(&p) {
        true => Ok(()),
        false => Err(format!("a dropout of {p}; it must be from 0 to below 1")),
    };
    probability(o.dropout.unwrap_or(0.0))?;
    if let Some(head) = &o.head {
        probability(head.dropout)?;
        within("layers in the head", head.hidden.len() + 1, 64)?;
        for &width in &head.hidden {
            within("units in a layer of the head", width, 1 << 16)?;
        }
    }
    Ok(())
}

/// The networks for digits.
fn digits(name: &str, o: &ModelOptions) -> Option<Network> {
    match name {
        "cnn" => Some(Network::Cnn(Cnn {
            inputs: o.channels,
            channels: vec![16, 32, 64, 128],
            classes: o.classes,
        })),
        "mlp" => {
            let inputs = o.channels * o.image_size * o.image_size;
            Some(Network::Mlp(Mlp { inputs, hidden: 50, classes: o.classes }))
        }
        _ => None,
    }
}

/// A network for pictures: a body that finds features, a head that makes classes of them. `[N, C, H, W]` to `[N, classes]`.
pub struct Model {
    arch: Arch,
    body: Stages,
    head: Stages,
    features: usize,
    split: usize,
}

impl Model {
    fn of_network(network: Network) -> Model {
        let (cut, features) = match &network {
            Network::Cnn(c) => (c.channels.len(), c.channels.last().copied().unwrap_or(c.inputs)),
            Network::Mlp(m) => (3, m.hidden),
        };
        let mut body = Stages::new();
        for (name, layer) in network.build().into_layers() {
            body.push(name, layer);
        }
        let head = body.split_off(cut);
        Model { arch: network.to_arch(), body, head, features, split: cut / 2 }
    }

    /// Name and settings, for the header of a model file.
    pub fn arch(&self) -> Arch {
        self.arch.clone()
    }

    /// The name of the architecture.
    pub fn name(&self) -> &str {
        &self.arch.name
    }

    /// From pictures to features `[N, features, h, w]` (vision transformers: `[N, tokens, features]`; `mlp`: `[N, features]`).
    pub fn body(&self) -> &Stages {
        &self.body
    }

    /// Channels of the pictures, if the architecture's settings say.
    pub fn in_channels(&self) -> Option<usize> {
        let config = &self.arch.config;
        let n = config.get("channels").filter(|c| c.is_u64()).or_else(|| config.get("inputs"))?;
        usize::try_from(n.as_u64()?).ok()
    }

    /// The body alone.
    pub fn into_body(self) -> Stages {
        self.body
    }

    /// From features to classes.
    pub fn head(&self) -> &Stages {
        &self.head
    }

    /// Channels of the body's output.
    pub fn num_features(&self) -> usize {
        self.features
    }

    /// What the body finds in pictures, averaged over places: `[N, features]`. Near vectors mean pictures that look alike to the model.
    #[track_caller]
    pub fn embed(&self, x: &Tensor) -> Tensor {
        let y = self.body.forward(x);
        match y.rank() {
            4 => y.mean([2, 3]),
            3 => y.select(1, 0),
            _ => y,
        }
    }

    /// The parameters in three groups: the first layers of the body, its last layers, the head. Counterpart: `splitter` in fastai's
    /// `model_meta`.
    pub fn groups(&self) -> Vec<Vec<Param>> {
        let of = |layers: &mut dyn Iterator<Item = (&str, &dyn hardpan_nn::Layer)>| -> Vec<Param> {
            layers.flat_map(|(_, l)| l.parameters()).collect()
        };
        let first = of(&mut self.body.iter().take(self.split));
        let rest = of(&mut self.body.iter().skip(self.split));
        vec![first, rest, of(&mut self.head.iter())].into_iter().filter(|g| !g.is_empty()).collect()
    }
}

impl Visit for Model {
    fn visit(&self, v: &mut dyn Visitor) {
        v.begin(self);
        self.body.visit_layers(v);
        self.head.visit_layers(v);
        v.end();
    }
}

impl Module for Model {}

impl Forward for Model {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.head.forward(&self.body.forward(x))
    }
}
