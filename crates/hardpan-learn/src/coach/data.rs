//! What the data alone says.

use super::near::{self, Look};
use super::{Diagnosis, Finding, Kind, Severity, tensor};
use crate::data::{DataError, DataLoader};
use hardpan_engine::{DType, Tensor};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Numbers of inputs that are looked at, at most.
const NUMBERS: usize = 20_000_000;

/// What is known of some items.
#[derive(Default)]
pub(super) struct Part {
    pub items: usize,
    /// Mean and standard deviation of all numbers; `None` if inputs are no tensors of floats.
    pub moments: Option<(f64, f64)>,
    pub not_finite: usize,
    /// One for each item.
    pub hashes: Vec<u64>,
    /// One for each item that is large enough to have one: what pictures (or rows) look like.
    pub looks: Vec<Look>,
    /// If targets are integers, one an item.
    pub labels: Option<Vec<i64>>,
}

impl Part {
    /// Reads up to `limit` items.
    pub fn read<X: 'static, Y: 'static>(
        loader: &DataLoader<X, Y>,
        limit: usize,
    ) -> Result<Part, DataError> {
        let mut out = Part { labels: Some(Vec::new()), ..Part::default() };
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0usize);
        for batch in loader.batches(0) {
            let (x, y) = batch?;
            if let Some(x) = tensor(&x).filter(|x| x.rank() > 0) {
                let rows = x.shape()[0];
                let values = x.detach().to_dtype(DType::F32).to_vec::<f32>();
                for row in values.chunks((values.len() / rows.max(1)).max(1)) {
                    let mut hasher = DefaultHasher::new();
                    row.iter().for_each(|v| v.to_bits().hash(&mut hasher));
                    out.hashes.push(hasher.finish());
                    if x.dtype().is_float() || x.dtype() == DType::U8 {
                        out.looks.extend(Look::of(row, &x.shape()[1..]));
                    }
                }
                if x.dtype().is_float() {
                    for &v in &values {
                        if v.is_finite() {
                            sum += f64::from(v);
                            squares += f64::from(v) * f64::from(v);
                            count += 1;
                        } else {
                            out.not_finite += 1;
                        }
                    }
                }
            }
            match tensor(&y) {
                Some(y) if y.rank() == 1 && is_label(y) => {
                    out.items += y.shape()[0];
                    let labels = y.to_dtype(DType::I64).to_vec::<i64>();
                    if let Some(all) = &mut out.labels {
                        all.extend(labels);
                    }
                }
                _ => out.labels = None,
            }
            if out.items.max(out.hashes.len()) >= limit || count >= NUMBERS {
                break;
            }
        }
        out.items = out.items.max(out.hashes.len());
        if count > 0 {
            let mean = sum / count as f64;
            out.moments = Some((mean, (squares / count as f64 - mean * mean).max(0.0).sqrt()));
        }
        Ok(out)
    }

    /// Number of items of each class.
    pub fn counts(&self) -> BTreeMap<i64, usize> {
        let mut out = BTreeMap::new();
        for &label in self.labels.iter().flatten() {
            *out.entry(label).or_insert(0) += 1;
        }
        out
    }
}

fn is_label(y: &Tensor) -> bool {
    !y.dtype().is_float() && y.dtype() != DType::Bool
}

pub(super) fn check(
    train: &Part,
    valid: Option<&Part>,
    classes: Option<usize>,
    out: &mut Diagnosis,
) {
    inputs(train, valid, out);
    labels(train, valid, classes, out);
    balance(train, out);
    duplicates(train, valid, out);
}

fn inputs(train: &Part, valid: Option<&Part>, out: &mut Diagnosis) {
    let bad = train.not_finite + valid.map_or(0, |v| v.not_finite);
    if bad > 0 {
        out.add(
            Finding::new(
                Kind::NonFiniteInputs,
                Severity::Critical,
                "some inputs are infinite or not numbers: they spread to every weight in one step",
            )
            .evidence("such numbers", bad as f64)
            .advice("find and mend or drop the items they come from")
            .advice("look for a division by a standard deviation of 0 in the normalization"),
        );
    }
    let Some((mean, std)) = train.moments else { return };
    // An input of ones and zeros, or one scaled to 0..=1, trains; one that is tens away from 0 or varies by tens does not well.
    if mean.abs() > 3.0 || std > 5.0 || (std < 0.05 && std > 0.0) {
        let severity = if mean.abs() > 20.0 || !(0.005..=20.0).contains(&std) {
            Severity::Warning
        } else {
            Severity::Notice
        };
        out.add(
            Finding::new(
                Kind::UnnormalizedInputs,
                severity,
                "inputs are far from mean 0 and standard deviation 1, which initializations count on",
            )
            .evidence("mean", mean)
            .evidence("standard deviation", std)
            .advice(format!(
                "normalize with the training set's own numbers: subtract {}, divide by {} (both parts alike)",
                hardpan_plot::short(mean),
                hardpan_plot::short(std)
            )),
        );
    } else {
        out.pass(format!("inputs: mean {mean:.3}, standard deviation {std:.3}"));
    }
}

fn labels(train: &Part, valid: Option<&Part>, classes: Option<usize>, out: &mut Diagnosis) {
    let counts = train.counts();
    let (Some((&low, _)), Some((&high, _)), Some(outputs)) =
        (counts.first_key_value(), counts.last_key_value(), classes)
    else {
        return;
    };
    let valid_counts = valid.map(Part::counts).unwrap_or_default();
    let lowest = valid_counts.keys().next().map_or(low, |v| low.min(*v));
    let highest = valid_counts.keys().next_back().map_or(high, |v| high.max(*v));
    let finding = |severity, what: String| {
        Finding::new(Kind::LabelEncoding, severity, what)
            .evidence("lowest label", lowest as f64)
            .evidence("highest label", highest as f64)
            .evidence("outputs", outputs as f64)
    };
    if lowest < 0 || highest >= outputs as i64 {
        out.add(
            finding(
                Severity::Critical,
                format!(
                    "labels go from {lowest} to {highest}, but the model has outputs for 0 to {}",
                    outputs - 1
                ),
            )
            .advice("number the classes from 0, by one list for training and validation")
            .advice(format!("or give the model {} outputs", highest + 1)),
        );
        return;
    }
    let unseen: Vec<String> =
        valid_counts.keys().filter(|k| !counts.contains_key(k)).map(|k| k.to_string()).collect();
    if !unseen.is_empty() && train.items >= 200 {
        out.add(
            finding(
                Severity::Warning,
                format!(
                    "validation has classes that were not met in training: {}",
                    unseen.join(", ")
                ),
            )
            .evidence("training items looked at", train.items as f64)
            .advice("number classes by one list for both parts")
            .advice("split at random, or by class")
            .option("--valid 0.2"),
        );
        return;
    }
    if low == 1 && counts.len() > 1 && high as usize == counts.len() && outputs > counts.len() {
        out.add(
            finding(Severity::Warning, "labels start at 1: output 0 is for no class".into())
                .advice("subtract 1 from the labels and give the model one output less"),
        );
        return;
    }
    if outputs as i64 > highest + 1 && train.items >= 200 {
        out.add(
            finding(
                Severity::Notice,
                format!("the model has {outputs} outputs, but no label is above {highest}"),
            )
            .advice("check that the number of classes is meant"),
        );
        return;
    }
    out.pass(format!("labels: 0 to {highest} for {outputs} outputs"));
}

fn balance(train: &Part, out: &mut Diagnosis) {
    let counts = train.counts();
    let (Some((&rare, &few)), Some((&common, &many))) =
        (counts.iter().min_by_key(|c| c.1), counts.iter().max_by_key(|c| c.1))
    else {
        return;
    };
    let total: usize = counts.values().sum();
    if counts.len() == 1 && total > 20 {
        out.add(
            Finding::new(
                Kind::ClassImbalance,
                Severity::Critical,
                format!("all {total} training items that were looked at have the label {common}"),
            )
            .evidence("items", total as f64)
            .advice("check how labels are made; shuffle the training data"),
        );
    } else if many >= 8 * few && many - few >= 30 {
        let share = many as f64 / total as f64;
        out.add(
            Finding::new(
                Kind::ClassImbalance,
                if share > 0.9 { Severity::Warning } else { Severity::Notice },
                format!(
                    "class {common} has {:.0} times as many items as class {rare}",
                    many as f64 / few as f64
                ),
            )
            .evidence("most items", many as f64)
            .evidence("fewest items", few as f64)
            .evidence("accuracy of always saying the commonest", share)
            .advice("judge by recall of each class, F1 or balanced accuracy, not by accuracy")
            .advice("collect more of the rare classes")
            .advice("draw rare classes more often, or weigh them in the loss")
            .api("DataLoader::weighted, CrossEntropyLoss::weight"),
        );
    } else if counts.len() > 1 {
        out.pass(format!("classes: {few} to {many} items each among {total}"));
    }
}

fn duplicates(train: &Part, valid: Option<&Part>, out: &mut Diagnosis) {
    if train.hashes.is_empty() {
        return;
    }
    if let Some(labels) = train.labels.as_ref().filter(|l| l.len() == train.hashes.len()) {
        let mut first: HashMap<u64, i64> = HashMap::new();
        let mut against = 0;
        for (&hash, &label) in train.hashes.iter().zip(labels) {
            against += usize::from(*first.entry(hash).or_insert(label) != label);
        }
        // A few are in every large collection.
        if against * 100 > train.items {
            out.add(
                Finding::new(
                    Kind::ContradictoryLabels,
                    Severity::Warning,
                    "the same input has different labels in the training set",
                )
                .evidence("such items", against as f64)
                .evidence("share", against as f64 / train.items as f64)
                .advice("look at them and decide; nothing can fit both"),
            );
        }
    }
    let Some(valid) = valid.filter(|v| !v.hashes.is_empty()) else { return };
    let known: HashSet<u64> = train.hashes.iter().copied().collect();
    // Inputs of few values (counts, flags) repeat by chance; then they do so within the training set as well.
    let own = 1.0 - known.len() as f64 / train.hashes.len() as f64;
    let both = valid.hashes.iter().filter(|h| known.contains(h)).count();
    let share = both as f64 / valid.hashes.len() as f64;
    if share > 0.01 && share > 2.0 * own {
        out.add(
            Finding::new(
                Kind::DuplicatesAcrossSplit,
                if share > 0.05 { Severity::Critical } else { Severity::Warning },
                "validation items are in the training set too: the validation is easier than the world",
            )
            .evidence("validation items that are training items", both as f64)
            .evidence("share", share)
            .evidence("training items looked at", train.hashes.len() as f64)
            .advice("remove duplicates before splitting")
            .advice("split by what belongs together: person, video, day, place")
            .option("--valid DIR"),
        );
    } else if !near::duplicates(&train.looks, &valid.looks, out) {
        let sight = if valid.looks.is_empty() { "" } else { ", nor do more look alike" };
        out.pass(format!(
            "no leak: {both} of {} validation items are exact copies of training items{sight}",
            valid.hashes.len()
        ));
    }
}
