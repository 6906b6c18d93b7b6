//! Putting weights into a model that need not be quite the one they were trained in.

use hardpan_engine::{Tensor, functional as f};
use hardpan_nn::{Module, StateDict};
use std::collections::{BTreeSet, HashSet};
use std::fmt;

/// A weight of another shape: it was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Its name.
    pub name: String,
    /// The shape in the model.
    pub model: Vec<usize>,
    /// The shape in the file.
    pub file: Vec<usize>,
}

/// What became of each weight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the model now.
    pub loaded: Vec<String>,
    /// Of those, the ones that were changed to fit: to other channels, or another number of positions.
    pub adapted: Vec<String>,
    /// In the model only: these kept their values.
    pub missing: Vec<String>,
    /// In the file only.
    pub unexpected: Vec<String>,
    /// In both, in shapes that do not fit.
    pub mismatched: Vec<Mismatch>,
}

impl Report {
    /// Whether every weight of the model was set from the file, and none was left over.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} weights loaded", self.loaded.len())?;
        let mut list = |what: &str, names: Vec<String>| match names.len() {
            0 => Ok(()),
            n if n > 8 => {
                write!(out, "\n  {what} ({n}): {}, ...", names[..8].join(", "))
            }
            n => write!(out, "\n  {what} ({n}): {}", names.join(", ")),
        };
        list("adapted", self.adapted.clone())?;
        list("in the model only", self.missing.clone())?;
        list("in the file only", self.unexpected.clone())?;
        let shapes = self.mismatched.iter();
        let shapes = shapes
            .map(|m| format!("{}: {:?} in the model, {:?} in the file", m.name, m.model, m.file));
        list("of another shape", shapes.collect())
    }
}

/// Prefixes that wrappers put before every name.
const WRAPPERS: &[&str] =
    &["module.", "model.", "_orig_mod.", "backbone.", "encoder.", "0.model.", "0."];

/// The weights of an EfficientNet of timm under the names of the port whose names the model has: blocks are counted through, norms are
/// numbered by place in the block. `None` for other files.
fn from_timm(weights: &StateDict) -> Option<StateDict> {
    weights.get("conv_stem.weight")?;
    let block = |name: &str| -> Option<(usize, usize)> {
        let mut parts = name.strip_prefix("blocks.")?.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    let blocks: BTreeSet<(usize, usize)> = weights.keys().filter_map(block).collect();
    let rename = |name: &str| -> String {
        let renamed = |table: &[(&str, &str)], layer: &str, rest: &str| {
            let new = table.iter().find(|(old, _)| *old == layer).map(|(_, new)| *new);
            format!("{}.{rest}", new.unwrap_or(layer))
        };
        if let Some(at) = block(name) {
            let inside = name.splitn(4, '.').nth(3).unwrap_or("");
            let (layer, rest) = inside.split_once('.').unwrap_or((inside, ""));
            // The first block does not widen its input, so its pointwise convolution is the last.
            let table: &[(&str, &str)] =
                match weights.get(&format!("blocks.{}.{}.conv_pwl.weight", at.0, at.1)) {
                    None => &[
                        ("conv_dw", "_depthwise_conv"),
                        ("bn1", "_bn1"),
                        ("conv_pw", "_project_conv"),
                        ("bn2", "_bn2"),
                    ],
                    Some(_) => &[
                        ("conv_pw", "_expand_conv"),
                        ("bn1", "_bn0"),
                        ("conv_dw", "_depthwise_conv"),
                        ("bn2", "_bn1"),
                        ("conv_pwl", "_project_conv"),
                        ("bn3", "_bn2"),
                    ],
                };
            let place = blocks.range(..at).count();
            return format!("_blocks.{place}.{}", renamed(table, layer, rest));
        }
        let (layer, rest) = name.split_once('.').unwrap_or((name, ""));
        let outside = [
            ("conv_stem", "_conv_stem"),
            ("bn1", "_bn0"),
            ("conv_head", "_conv_head"),
            ("bn2", "_bn1"),
            ("classifier", "_fc"),
        ];
        renamed(&outside, layer, rest)
    };
    Some(weights.iter().map(|(name, t)| (rename(name), t.clone())).collect())
}

/// Sets every weight of `model` that `weights` has, and says what happened to the others.
///
/// Names may all begin with what a wrapper put there (`module.`). A first convolution for three channels is made to fit others as
/// fastai does: one channel gets the sum, two get the first two times 1.5, more get zeros after the third. Position tables of
/// vision transformers are resized to another number of patches. Counters of batches (`num_batches_tracked`) may be absent. An
/// EfficientNet's file may have timm's names.
pub fn load_into(model: &dyn Module, weights: &StateDict) -> Report {
    let have = model.state_dict();
    let count = |prefix: &str| {
        weights
            .keys()
            .filter(|k| k.strip_prefix(prefix).is_some_and(|k| have.get(k).is_some()))
            .count()
    };
    let plain = count("");
    let prefix = WRAPPERS.iter().copied().find(|p| count(p) > plain).unwrap_or("");
    let weights: StateDict =
        if prefix.is_empty() { weights.clone() } else { weights.clone().strip_prefix(prefix) };
    let timm = have.get("_conv_stem.weight").and_then(|_| from_timm(&weights));
    let weights = timm.unwrap_or(weights);

    let mut report = Report::default();
    let mut fitting = StateDict::new();
    for (name, old) in have.iter() {
        let Some(new) = weights.get(name) else {
            if !name.ends_with("num_batches_tracked") {
                report.missing.push(name.to_owned());
            }
            continue;
        };
        if old.shape() == new.shape() {
            fitting.insert(name, new.clone());
        } else if old.numel() == 1 && new.numel() == 1 {
            fitting.insert(name, new.reshape(old.shape()));
        } else if let Some(adapted) = adapt(name, old.shape(), new) {
            fitting.insert(name, adapted);
            report.adapted.push(name.to_owned());
        } else {
            let (model, file) = (old.shape().to_vec(), new.shape().to_vec());
            report.mismatched.push(Mismatch { name: name.to_owned(), model, file });
        }
    }
    let known: HashSet<&str> = have.keys().collect();
    report.unexpected = weights.keys().filter(|k| !known.contains(k)).map(str::to_owned).collect();
    report.loaded = fitting.keys().map(str::to_owned).collect();
    model.load_state_dict(&fitting, false).expect("shapes were compared above");
    report
}

/// `new` in the shape `want`, if there is a sensible way.
fn adapt(name: &str, want: &[usize], new: &Tensor) -> Option<Tensor> {
    match (want, new.shape()) {
        (&[o, n, h, w], &[o2, 3, h2, w2]) if (o, h, w) == (o2, h2, w2) => {
            let new = new.to_dtype(hardpan_engine::DType::F32);
            Some(match n {
                1 => new.sum_keepdim(1),
                2 => new.narrow(1, 0, 2) * 1.5,
                _ => {
                    let none = Tensor::zeros([o, n - 3, h, w]);
                    Tensor::cat(&[new, none], 1)
                }
            })
        }
        (&[1, to, width], &[1, from, width2]) if name.ends_with("pos_embed") && width == width2 => {
            let side = |n: usize| (1..=n).find(|s| s * s == n);
            let (a, b) = (side(from - 1)?, side(to - 1)?);
            let new = new.to_dtype(hardpan_engine::DType::F32);
            let grid = new.narrow(1, 1, from - 1).reshape([1, a, a, width]).permute([0, 3, 1, 2]);
            let options = f::InterpolateOptions {
                size: Some(vec![b, b]),
                mode: f::InterpolateMode::Bicubic,
                antialias: true,
                ..Default::default()
            };
            let grid = f::interpolate(&grid, options);
            let places = grid.permute([0, 2, 3, 1]).reshape([1, b * b, width]);
            Some(Tensor::cat(&[new.narrow(1, 0, 1), places], 1))
        }
        _ => None,
    }
}
