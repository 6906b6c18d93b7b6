//! What the coach has to say: [`Diagnosis`].

use serde::{Deserialize, Serialize};
use std::fmt;

/// What was found, what was looked at and is well, and what comes next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// What was found, worst first.
    pub findings: Vec<Finding>,
    /// What was looked at and is as it should be.
    pub passed: Vec<String>,
    /// Where the training stands.
    pub stage: Stage,
}

/// Where a training stands, in the course's order. Each has to be settled before the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Something is wrong with the data.
    MendData,
    /// The model cannot learn even little data: a bug, the initialization, or the learning rate.
    Overfit,
    /// It learns, but does not overfit yet: train more, or a larger model.
    TrainMore,
    /// It overfits.
    ReduceOverfitting,
    /// All is well: look at what it gets wrong.
    #[default]
    Understand,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing good can come of this training.
    Critical,
    /// It costs much, or the numbers cannot be trusted.
    Warning,
    /// Worth knowing.
    Notice,
}

/// What can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Inputs that are infinite or not numbers.
    NonFiniteInputs,
    /// Inputs far from mean 0 and standard deviation 1.
    UnnormalizedInputs,
    /// Labels that are not what the model's outputs are for.
    LabelEncoding,
    /// Validation items that are training items too.
    DuplicatesAcrossSplit,
    /// The same input with different labels.
    ContradictoryLabels,
    /// Some classes have far more items than others.
    ClassImbalance,
    /// Labels that have nothing to do with the inputs.
    RandomLabels,
    /// Validation labels that mean something else than training labels.
    ShuffledClasses,
    /// Weights that are infinite or not numbers.
    NonFiniteWeights,
    /// One batch cannot be learned.
    CannotOverfitBatch,
    /// One batch can be learned, several together cannot.
    CannotOverfitTraining,
    /// Parameters that training does not change.
    Untrained,
    /// Units that are 0 for every input.
    DeadUnits,
    /// Activations that grow from layer to layer, or are huge.
    ExplodingActivations,
    /// Activations that shrink from layer to layer until nothing is left.
    VanishingActivations,
    /// The learning rate is too high.
    LearningRateTooHigh,
    /// The learning rate is too low.
    LearningRateTooLow,
    /// Validation loss gets worse.
    Overfitting,
    /// Validation loss was still falling at the end.
    StillImproving,
}

/// Something found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// In a sentence.
    pub what: String,
    /// The numbers behind it.
    pub evidence: Vec<Evidence>,
    /// What to do, first things first.
    pub advice: Vec<String>,
}

/// A number behind a finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is.
    pub name: String,
    /// `None` for what is not a finite number.
    pub value: Option<f64>,
}

impl Finding {
    pub(super) fn new(kind: Kind, severity: Severity, what: impl Into<String>) -> Finding {
        Finding { kind, severity, what: what.into(), evidence: Vec::new(), advice: Vec::new() }
    }

    pub(super) fn evidence(mut self, name: impl Into<String>, value: f64) -> Finding {
        let value = Some(value).filter(|v| v.is_finite());
        self.evidence.push(Evidence { name: name.into(), value });
        self
    }

    pub(super) fn advice(mut self, advice: impl Into<String>) -> Finding {
        self.advice.push(advice.into());
        self
    }
}

impl Diagnosis {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(super) fn pass(&mut self, what: impl Into<String>) {
        self.passed.push(what.into());
    }

    /// Whether this was found.
    pub fn has(&self, kind: Kind) -> bool {
        self.get(kind).is_some()
    }

    /// The finding of this kind.
    pub fn get(&self, kind: Kind) -> Option<&Finding> {
        self.findings.iter().find(|f| f.kind == kind)
    }

    /// How bad the worst finding is.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|f| f.severity).min()
    }

    /// Sorts the findings and says where the training stands.
    pub(super) fn conclude(&mut self) {
        use Kind::*;
        self.findings.sort_by_key(|f| f.severity);
        let serious = |kinds: &[Kind]| {
            self.findings.iter().any(|f| f.severity < Severity::Notice && kinds.contains(&f.kind))
        };
        let data = [
            NonFiniteInputs,
            LabelEncoding,
            DuplicatesAcrossSplit,
            ContradictoryLabels,
            RandomLabels,
            ShuffledClasses,
        ];
        let learning = [
            NonFiniteWeights,
            CannotOverfitBatch,
            CannotOverfitTraining,
            Untrained,
            DeadUnits,
            ExplodingActivations,
            VanishingActivations,
            LearningRateTooHigh,
            LearningRateTooLow,
            UnnormalizedInputs,
        ];
        self.stage = if serious(&data) {
            Stage::MendData
        } else if serious(&learning) {
            Stage::Overfit
        } else if self.has(Overfitting) {
            Stage::ReduceOverfitting
        } else if self.has(StillImproving) {
            Stage::TrainMore
        } else {
            Stage::Understand
        };
    }
}

impl Stage {
    /// What comes next, in a sentence.
    pub fn advice(self) -> &'static str {
        match self {
            Stage::MendData => "mend the data first: no training can make up for it",
            Stage::Overfit => "make the model able to overfit before anything else",
            Stage::TrainMore => "the model still learns: train longer before changing anything",
            Stage::ReduceOverfitting => {
                "the model overfits, which is good: now reduce it, in the order of the advice"
            }
            Stage::Understand => {
                "nothing stands out: look at the largest losses and the most confused classes"
            }
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Critical => "CRITICAL",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        })
    }
}

/// A page for people.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Next: {}.", self.stage.advice())?;
        for finding in &self.findings {
            writeln!(f, "\n{}: {}", finding.severity, finding.what)?;
            let number = |e: &Evidence| {
                let value = e.value.map_or("not finite".into(), hardpan_plot::short);
                format!("{} {value}", e.name)
            };
            let numbers: Vec<String> = finding.evidence.iter().map(number).collect();
            if !numbers.is_empty() {
                writeln!(f, "  seen: {}", numbers.join(", "))?;
            }
            for (i, advice) in finding.advice.iter().enumerate() {
                writeln!(f, "  {}. {advice}", i + 1)?;
            }
        }
        if !self.passed.is_empty() {
            writeln!(f, "\nLooked at, and well:")?;
            self.passed.iter().try_for_each(|p| writeln!(f, "  - {p}"))?;
        }
        Ok(())
    }
}
