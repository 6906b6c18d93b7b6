//! Can the model overfit? One batch, then some of the training set.

use super::data::Part;
use super::signals::some;
use super::{Coach, Diagnosis, Finding, Kind, Severity, tensor};
use crate::learner::{FitError, Learner, value_of};
use hardpan_engine::{DType, Tensor, flush_all};
use hardpan_nn::optim::{Adam, Recipe};
use hardpan_nn::{Forward, Module, StateDict};

/// Rates that one batch is tried with, by Adam, which is forgiving.
const RATES: [f64; 3] = [3e-3, 3e-2, 3e-4];

pub(super) fn check<M, X, Y>(
    coach: &Coach,
    learn: &Learner<M, X, Y>,
    train: &Part,
    out: &mut Diagnosis,
) -> Result<(), FitError>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    let start = learn.model().state_dict();
    let batch = learn.context().loaders.train.one_batch()?;
    let batches = [batch];
    let mut best: Option<(f64, Fitted)> = None;
    for rate in RATES {
        restore(learn.model(), &start);
        let fitted = fit(learn, &batches, coach.batch_steps, rate);
        let done = fitted.learned();
        let better = best.as_ref().is_none_or(|(_, b)| fitted.last < b.last || !b.last.is_finite());
        if better || done {
            best = Some((rate, fitted));
        }
        if done {
            break;
        }
    }
    let Some((rate, fitted)) = best else { return Ok(()) };
    untrained(&fitted, out);
    if !fitted.learned() {
        out.add(
            fitted
                .evidence(Finding::new(
                    Kind::CannotOverfitBatch,
                    Severity::Critical,
                    "the model cannot learn even one batch by heart: something is broken, and data or regularization will not help",
                ))
                .evidence("best learning rate (Adam)", rate)
                .evidence("steps", coach.batch_steps as f64)
                .advice("check that the loss fits outputs and targets: logits and not probabilities, same shapes")
                .advice("check that outputs depend on the parameters being trained, and that these are not frozen")
                .advice("check the initialization: outputs should differ between items before training")
                .advice("take dropout, weight decay and augmentation out, and try a larger model")
                .option("--augment none --mixup 0 --wd 0, --arch"),
        );
        restore(learn.model(), &start);
        return Ok(());
    }
    out.pass(fitted.sentence("one batch", coach.batch_steps));
    restore(learn.model(), &start);
    training_set(coach, learn, train, rate, out)
}

/// Tries several batches together, and looks at what that does to validation.
fn training_set<M, X, Y>(
    coach: &Coach,
    learn: &Learner<M, X, Y>,
    train: &Part,
    rate: f64,
    out: &mut Diagnosis,
) -> Result<(), FitError>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    let start = learn.model().state_dict();
    let loaders = &learn.context().loaders;
    let batches: Vec<(X, Y)> =
        loaders.train.batches(0).take(coach.probe_batches).collect::<Result<_, _>>()?;
    let valid: Vec<(X, Y)> = match &loaders.valid {
        Some(v) => v.batches(0).take(coach.probe_batches).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    // Before the probe changes it: a training that is over may know more than the probe will.
    let before = answers(learn, &valid);
    let fitted = fit(learn, &batches, coach.probe_steps, rate);
    let (known, unknown) = (answers(learn, &batches), answers(learn, &valid));
    restore(learn.model(), &start);
    let known_accuracy = known.as_ref().map(|a| a.accuracy());
    // A loss also falls when only the frequencies of the classes are learned: half of what a guess gets wrong must be right.
    let knows = known.as_ref().is_none_or(|a| a.accuracy() >= 0.5 + 0.5 * a.majority());
    let learned =
        (fitted.last < 0.7 * fitted.first && knows) || known_accuracy.is_some_and(|a| a > 0.9);
    if !learned {
        out.add(
            fitted
                .evidence(Finding::new(
                    Kind::CannotOverfitTraining,
                    Severity::Warning,
                    format!(
                        "one batch can be learned, {} together cannot in {} steps",
                        batches.len(),
                        coach.probe_steps
                    ),
                ))
                .advice("try a larger model, or more steps")
                .option("--arch, --epochs")
                .advice("look at the data: inputs may say little about targets"),
        );
    } else {
        out.pass(
            fitted.sentence(&format!("{} batches together", batches.len()), coach.probe_steps),
        );
    }
    let (Some(known), Some(unknown)) = (known_accuracy, unknown) else { return Ok(()) };
    let majority =
        train.counts().values().copied().max().unwrap_or(0) as f64 / train.items.max(1) as f64;
    let chance = majority.max(unknown.majority());
    let n = unknown.pairs.len() as f64;
    let accuracy = before.map_or(0.0, |b| b.accuracy()).max(unknown.accuracy());
    let mapped = unknown.mapped_accuracy();
    // Two standard deviations of a guess.
    let noise = 2.0 * (chance * (1.0 - chance) / n).sqrt();
    if n < 50.0 || known < 0.8 || chance > 0.9 {
        return Ok(());
    }
    if accuracy + 0.3 < mapped && mapped > chance + 0.2 + noise {
        out.add(
            Finding::new(
                Kind::ShuffledClasses,
                Severity::Critical,
                "validation labels seem to mean other classes than training labels: predictions are right once classes are renamed",
            )
            .evidence("validation accuracy", accuracy)
            .evidence("validation accuracy after renaming classes", mapped)
            .evidence("items", n)
            .advice("number the classes by one list for training and validation"),
        );
    } else if accuracy <= chance + noise {
        out.add(
            Finding::new(
                Kind::RandomLabels,
                Severity::Critical,
                "the model learns training items by heart but nothing that helps on others: labels look random",
            )
            .evidence("training accuracy", known)
            .evidence("validation accuracy", accuracy)
            .evidence("accuracy of a guess", chance)
            .evidence("items", n)
            .advice("look at a batch with its labels: were inputs and labels shuffled apart, or sorted differently?")
            .advice("check that the inputs hold what the labels ask for")
            .advice("if both are right, the problem needs far more data than was looked at here"),
        );
    } else {
        out.pass(format!("labels: what is learned helps on other items (accuracy {accuracy:.2}, a guess {chance:.2})"));
    }
    Ok(())
}

fn restore<M: Module>(model: &M, weights: &StateDict) {
    model.load_state_dict(weights, true).expect("a model's own weights fit");
    model.zero_grad();
    model.reset();
}

/// How a small training went.
struct Fitted {
    /// Mean loss of the first and of the last round over the batches.
    first: f64,
    last: f64,
    /// Accuracy on the last round, where outputs are classes.
    accuracy: Option<f64>,
    /// Parameters that did not change although they are not frozen.
    unchanged: Vec<String>,
}

impl Fitted {
    fn learned(&self) -> bool {
        self.last.is_finite()
            && (self.last < 0.1 * self.first
                || self.accuracy.is_some_and(|a| a >= 0.95)
                || (self.accuracy.is_none() && self.last < 0.3 * self.first))
    }

    fn evidence(&self, finding: Finding) -> Finding {
        let finding = finding.evidence("loss before", self.first).evidence("loss after", self.last);
        match self.accuracy {
            Some(a) => finding.evidence("accuracy", a),
            None => finding,
        }
    }

    fn sentence(&self, what: &str, steps: usize) -> String {
        let (first, last) = (hardpan_plot::short(self.first), hardpan_plot::short(self.last));
        format!("the model can overfit {what}: loss {first} to {last} in {steps} steps")
    }
}

/// Trains on these batches over and over.
fn fit<M, X, Y>(learn: &Learner<M, X, Y>, batches: &[(X, Y)], steps: usize, rate: f64) -> Fitted
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    let ctx = learn.context();
    let model = &ctx.model;
    model.train();
    let before: Vec<_> = model
        .named_parameters()
        .into_iter()
        .filter(|(_, p)| !p.is_frozen())
        .map(|(name, p)| (name, p.value().detach(), p))
        .collect();
    let params: Vec<_> = before.iter().map(|b| b.2.clone()).collect();
    let mut opt = Adam::fastai(rate).weight_decay(0.0).build(params);
    let mut losses = Vec::with_capacity(steps);
    let mut hits = Vec::new();
    for step in 0..steps.max(2) {
        let (x, y) = &batches[step % batches.len()];
        model.reset();
        let pred = model.forward(x);
        let loss = (ctx.loss_fn)(&pred, y);
        if step + batches.len() >= steps {
            hits.push(hit(tensor(&pred), tensor(y)));
        }
        let value = loss.detach();
        if loss.is_requires_grad() {
            loss.backward();
            opt.step();
        }
        opt.zero_grad();
        losses.push(value_of(&value.to_dtype(DType::F64)));
        flush_all();
        if !losses[step].is_finite() {
            break;
        }
    }
    let round = batches.len().min(losses.len());
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let hits: Option<Vec<(usize, usize)>> = hits.into_iter().collect();
    let accuracy = hits.filter(|h| !h.is_empty()).map(|h| {
        let (right, all) = h.iter().fold((0, 0), |s, h| (s.0 + h.0, s.1 + h.1));
        right as f64 / all.max(1) as f64
    });
    let unchanged = before
        .iter()
        .filter(|(_, old, p)| {
            old.to_dtype(DType::F32).equal(&p.value().detach().to_dtype(DType::F32))
        })
        .map(|(name, ..)| name.clone())
        .collect();
    Fitted {
        first: mean(&losses[..round]),
        last: mean(&losses[losses.len() - round..]),
        accuracy,
        unchanged,
    }
}

/// How many of a batch are right, and how many there are.
fn hit(pred: Option<&Tensor>, y: Option<&Tensor>) -> Option<(usize, usize)> {
    let pairs = pairs(pred?, y?)?;
    Some((pairs.iter().filter(|(p, a)| p == a).count(), pairs.len()))
}

/// Class said and class that is, for each item.
fn pairs(pred: &Tensor, y: &Tensor) -> Option<Vec<(i64, i64)>> {
    if pred.rank() != 2 || pred.shape()[1] < 2 || y.rank() != 1 || y.dtype().is_float() {
        return None;
    }
    let said = pred.detach().argmax(1).to_dtype(DType::I64).to_vec::<i64>();
    Some(said.into_iter().zip(y.to_dtype(DType::I64).to_vec::<i64>()).collect())
}

/// What a model says of some items.
struct Answers {
    pairs: Vec<(i64, i64)>,
}

impl Answers {
    fn accuracy(&self) -> f64 {
        self.pairs.iter().filter(|(p, a)| p == a).count() as f64 / self.pairs.len().max(1) as f64
    }

    /// Share of the commonest class.
    fn majority(&self) -> f64 {
        let mut counts = std::collections::HashMap::new();
        self.pairs.iter().for_each(|(_, a)| *counts.entry(a).or_insert(0usize) += 1);
        counts.values().copied().max().unwrap_or(0) as f64 / self.pairs.len().max(1) as f64
    }

    /// Accuracy if every class that was said is renamed to the one it is most often.
    fn mapped_accuracy(&self) -> f64 {
        let mut counts = std::collections::HashMap::new();
        self.pairs.iter().for_each(|pair| *counts.entry(*pair).or_insert(0usize) += 1);
        let mut best = std::collections::HashMap::new();
        for ((said, _), n) in counts {
            let top = best.entry(said).or_insert(0usize);
            *top = n.max(*top);
        }
        best.values().sum::<usize>() as f64 / self.pairs.len().max(1) as f64
    }
}

fn answers<M, X, Y>(learn: &Learner<M, X, Y>, batches: &[(X, Y)]) -> Option<Answers>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    let mut all = Vec::new();
    for (x, y) in batches {
        let pred = learn.predict(x);
        all.extend(pairs(tensor(&pred)?, tensor(y)?)?);
    }
    (!all.is_empty()).then_some(Answers { pairs: all })
}

fn untrained(fitted: &Fitted, out: &mut Diagnosis) {
    if fitted.unchanged.is_empty() {
        return;
    }
    out.add(
        Finding::new(
            Kind::Untrained,
            Severity::Warning,
            format!("no gradient reaches these parameters: {}", some(&fitted.unchanged)),
        )
        .evidence("such parameters", fitted.unchanged.len() as f64)
        .advice("check that forward uses them, and that nothing is detached on the way to the loss")
        .advice("check for units that are dead from the start, and weights that are all 0"),
    );
}
