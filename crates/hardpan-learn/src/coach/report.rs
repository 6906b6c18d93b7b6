//! What the coach has to say: [`Diagnosis`].

use serde::{Deserialize, Serialize};
use std::fmt;

/// What was found, what was looked at and is well, and what comes next.
///
/// ```
/// use hardpan_learn::coach::{Diagnosis, Kind, Severity, Stage};
/// let saved = r#"{
///     "findings": [{
///         "kind": "learning_rate_too_high",
///         "severity": "warning",
///         "what": "the loss jumps about",
///         "evidence": [{"name": "rate", "value": 3.0}],
///         "advice": [{"what": "take a lower rate", "api": "learn.fit_one_cycle(n, 0.003)", "option": "--lr 0.003"}]
///     }],
///     "passed": ["labels are classes"],
///     "stage": "overfit"
/// }"#;
/// let diagnosis: Diagnosis = serde_json::from_str(saved)?;
/// assert_eq!((diagnosis.worst(), diagnosis.stage), (Some(Severity::Warning), Stage::Overfit));
/// let finding = diagnosis.get(Kind::LearningRateTooHigh).unwrap();
/// assert_eq!(finding.advice[0].option.as_deref(), Some("--lr 0.003"));
/// assert!(diagnosis.to_string().contains("learn.fit_one_cycle(n, 0.003)")); // for a program
/// assert!(diagnosis.for_command_line().to_string().contains("--lr 0.003"));
/// # Ok::<(), serde_json::Error>(())
/// ```
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
///
/// ```
/// use hardpan_learn::coach::Stage;
/// assert!(Stage::MendData < Stage::Overfit && Stage::Overfit < Stage::ReduceOverfitting);
/// println!("{}", Stage::Overfit.advice());
/// ```
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
///
/// ```
/// use hardpan_learn::coach::Severity;
/// assert!(Severity::Critical < Severity::Notice); // worst first
/// assert_eq!(Severity::Critical.to_string(), "CRITICAL");
/// ```
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
///
/// ```
/// use hardpan_learn::coach::Kind;
/// // As it is called in files.
/// assert_eq!(serde_json::to_string(&Kind::DeadUnits)?, "\"dead_units\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
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
    /// Gradients that grow on their way back through the layers, or are huge.
    ExplodingGradients,
    /// Gradients that shrink on their way back until the first layers get none.
    VanishingGradients,
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
///
/// ```
/// use hardpan_learn::coach::{Advice, Evidence, Finding, Kind, Severity};
/// let finding = Finding {
///     kind: Kind::ClassImbalance,
///     severity: Severity::Notice,
///     what: "class 0 has most of the items".into(),
///     evidence: vec![Evidence { name: "share of class 0".into(), value: Some(0.9) }],
///     advice: vec![Advice {
///         what: "draw the others more often".into(),
///         api: Some("DataLoader::weighted".into()),
///         ..Advice::default()
///     }],
/// };
/// let text = serde_json::to_string(&finding)?;
/// assert_eq!(serde_json::from_str::<Finding>(&text)?, finding);
/// # Ok::<(), serde_json::Error>(())
/// ```
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
    pub advice: Vec<Advice>,
}

/// One thing to do about a finding, with where it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// In words.
    pub what: String,
    /// In a program: the item of the library, as one would write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// On the command line: the option of `hardpan train`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
}

impl Advice {
    fn text(&self, place: Place) -> String {
        let Advice { what, api, option } = self;
        match (place, api, option) {
            (Place::CommandLine, _, Some(option)) => format!("{what}: {option}"),
            (Place::CommandLine, Some(api), None) => format!("{what} (in a program: {api})"),
            (Place::Program, Some(api), _) => format!("{what}: {api}"),
            _ => what.clone(),
        }
    }
}

/// Who is being talked to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Program,
    CommandLine,
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

    pub(super) fn advice(mut self, what: impl Into<String>) -> Finding {
        self.advice.push(Advice { what: what.into(), ..Advice::default() });
        self
    }

    /// Where the last advice is followed in a program.
    pub(super) fn api(mut self, item: impl Into<String>) -> Finding {
        let last = self.advice.last_mut().expect("an advice");
        last.api = Some(item.into());
        self
    }

    /// Where the last advice is followed on the command line.
    pub(super) fn option(mut self, option: impl Into<String>) -> Finding {
        let last = self.advice.last_mut().expect("an advice");
        last.option = Some(option.into());
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

    /// The same page for those who train on the command line: advice names the options of `hardpan train`.
    ///
    /// ```
    /// use hardpan_learn::coach::Diagnosis;
    /// println!("{}", Diagnosis::default().for_command_line());
    /// ```
    pub fn for_command_line(&self) -> impl fmt::Display {
        struct Page<'a>(&'a Diagnosis);
        impl fmt::Display for Page<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.write(Place::CommandLine, f)
            }
        }
        Page(self)
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
            ExplodingGradients,
            VanishingGradients,
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

/// A page for people; advice names the items of the library.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(Place::Program, f)
    }
}

impl Diagnosis {
    fn write(&self, place: Place, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
                writeln!(f, "  {}. {}", i + 1, advice.text(place))?;
            }
        }
        if !self.passed.is_empty() {
            writeln!(f, "\nLooked at, and well:")?;
            self.passed.iter().try_for_each(|p| writeln!(f, "  - {p}"))?;
        }
        Ok(())
    }
}
