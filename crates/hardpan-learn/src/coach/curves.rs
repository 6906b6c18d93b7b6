//! What the curves of the last fit say.

use super::{Diagnosis, Finding, Kind, Severity};
use crate::learner::{FitError, History, Learner};
use hardpan_nn::{Forward, Module};

/// Reads training and validation losses epoch by epoch.
pub(super) fn check(history: &History, out: &mut Diagnosis) {
    let epochs: Vec<(f64, f64)> =
        history.epochs.iter().filter_map(|e| Some((e.train_loss?, e.valid_loss?))).collect();
    let Some(&(last_train, last_valid)) = epochs.last() else { return };
    let Some((at, &(best_train, best))) =
        epochs.iter().enumerate().min_by(|a, b| a.1.1.total_cmp(&b.1.1))
    else {
        return;
    };
    // Worse by more than a wiggle, for more than an epoch, while training loss went on falling.
    let worse = last_valid > best * 1.05 + 1e-9 && at + 2 < epochs.len() && last_train < best_train;
    if worse {
        let finding = Finding::new(
            Kind::Overfitting,
            Severity::Warning,
            format!(
                "the model overfits: validation loss was best in epoch {} of {} and has got worse since, while training loss went on falling",
                at + 1,
                epochs.len()
            ),
        )
        .evidence("best validation loss", best)
        .evidence("last validation loss", last_valid)
        .evidence("last training loss", last_train);
        out.add(reduce_overfitting(finding));
        return;
    }
    if last_train < last_valid {
        out.pass(
            "training loss is lower than validation loss, which is not overfitting: validation loss has not got worse",
        );
    }
    if epochs.len() >= 3 {
        let third = epochs.len() - epochs.len().div_ceil(3);
        let earlier = epochs[third.min(epochs.len() - 2)].1;
        let fall = (earlier - last_valid) / earlier.abs().max(1e-12);
        if at + 1 == epochs.len() && fall > 0.05 {
            out.add(
                Finding::new(
                    Kind::StillImproving,
                    Severity::Notice,
                    "validation loss was still falling at the end",
                )
                .evidence("last validation loss", last_valid)
                .evidence("fell over the last third by", fall)
                .advice("train longer, from new weights")
                .api("fit_one_cycle with more epochs")
                .option(format!("--epochs {}", 2 * epochs.len()))
                .advice("or use a higher learning rate, if the rate finder allows")
                .api("lr_find")
                .option("--lr auto"),
            );
        }
    }
}

/// The five steps, in the course's order.
fn reduce_overfitting(finding: Finding) -> Finding {
    finding
        .advice("more data: collect or label more, or start from a pretrained model")
        .api("vision_learner and fine_tune")
        .option("--pretrained NAME")
        .advice("augmentation: flips, crops and light for pictures, mixtures of items for anything")
        .api("ImageDataLoaders::augment; MixUp or CutMix")
        .option("--augment rand, --mixup 0.4")
        .advice("an architecture that generalizes: batch norm after each layer, skip connections, average pooling before the head")
        .api("xresnet18")
        .option("--arch xresnet18")
        .advice("regularization: weight decay, dropout 0.1 to 0.5 before the last layer, label smoothing")
        .api("Learner::weight_decay(0.1), Dropout, LabelSmoothing")
        .option("--wd 0.1, --label-smoothing 0.1")
        .advice("only last a smaller model; and keep the best epoch meanwhile")
        .api("SaveModel, EarlyStopping")
}

/// Judges the learning rate of the last fit by its training losses.
pub(super) fn learning_rate<M, X, Y>(
    learn: &mut Learner<M, X, Y>,
    out: &mut Diagnosis,
) -> Result<(), FitError>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    let history = learn.history();
    let used = history.lrs.iter().copied().fold(0.0, f64::max);
    let Some(course) = Course::of(history) else { return Ok(()) };
    let jumped = course.highest > 4.0 * course.first;
    let rising = !course.last.is_finite() || jumped || course.last > 1.5 * course.lowest + 1e-3;
    if out.has(Kind::NonFiniteInputs) || (out.has(Kind::CannotOverfitBatch) && !rising) {
        // No rate can help then.
        return Ok(());
    }
    let stuck = course.last > 0.97 * course.first;
    if !(rising || stuck || course.last > 0.7 * course.first) {
        out.pass(format!(
            "learning rate {}: training loss fell from {} to {}",
            hardpan_plot::short(used),
            hardpan_plot::short(course.first),
            hardpan_plot::short(course.last)
        ));
        return Ok(());
    }
    // From where the weights are now; only its order of magnitude is used.
    let found = match out.has(Kind::NonFiniteWeights) {
        true => None,
        false => learn.lr_find().ok().and_then(|f| f.suggestion()),
    };
    let numbers = |finding: Finding| {
        let finding = finding
            .evidence("learning rate", used)
            .evidence("training loss at the start", course.first)
            .evidence("lowest training loss", course.lowest)
            .evidence("highest training loss", course.highest)
            .evidence("training loss at the end", course.last);
        match found {
            Some(rate) => finding.evidence("the rate finder suggests", rate),
            None => finding,
        }
    };
    let rate = |fallback: f64| hardpan_plot::short(found.unwrap_or(fallback));
    let higher = found.is_some_and(|f| f >= 8.0 * used);
    if rising || (stuck && !higher) {
        out.add(
            numbers(Finding::new(
                Kind::LearningRateTooHigh,
                if stuck || !course.last.is_finite() { Severity::Critical } else { Severity::Warning },
                "the learning rate is too high: training loss rises, or does not fall although the model can learn",
            ))
            .advice("train from new weights with a lower learning rate")
            .api(format!("fit_one_cycle(.., {}) or lower", rate(used / 10.0)))
            .option(format!("--lr {}", rate(used / 10.0)))
            .advice("warm up")
            .api("fit_one_cycle instead of fit")
            .advice("clip gradients")
            .api("GradientClip::new(1.0)"),
        );
    } else if higher {
        out.add(
            numbers(Finding::new(
                Kind::LearningRateTooLow,
                Severity::Warning,
                "the learning rate is too low: training loss falls steadily but slowly",
            ))
            .advice("train with a higher learning rate")
            .api(format!("fit_one_cycle(.., {})", rate(used * 10.0)))
            .option(format!("--lr {}", rate(used * 10.0)))
            .advice("or let the rate finder choose")
            .api("lr_find")
            .option("--lr auto"),
        );
    }
    Ok(())
}

/// How the training loss went.
struct Course {
    first: f64,
    lowest: f64,
    highest: f64,
    last: f64,
}

impl Course {
    /// Means over twentieths of the run, at least one step each; `None` for less than ten steps that went well.
    fn of(history: &History) -> Option<Course> {
        let losses = &history.raw_losses;
        if losses.is_empty() || (losses.len() < 10 && losses.iter().all(|l| l.is_finite())) {
            return None;
        }
        let width = (losses.len() / 20).max(1);
        let means: Vec<f64> =
            losses.chunks(width).map(|c| c.iter().sum::<f64>() / c.len() as f64).collect();
        // The very first loss is that of the weights the fit began with.
        let first = losses[0];
        let lowest = means.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Course { first, lowest, highest, last: *means.last()? })
    }
}
