//! What to train with when nobody says: [`defaults_for`].

use crate::models::{Model, airbench};
use hardpan_engine::Tensor;
use hardpan_learn::callback::SlowWeights;
use hardpan_learn::learner::Learner;
use hardpan_learn::schedule::OneCycle;
use hardpan_nn::optim::{Adam, SGD};

/// What is known of a folder of pictures before training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataFacts {
    /// Pictures to train on.
    pub items: usize,
    /// Number of classes.
    pub classes: usize,
    /// The shorter side of a typical picture in pixels (the median, say).
    pub pixels: usize,
    /// Whether there are weights to start from.
    pub pretrained: bool,
    /// The architecture, if that is settled: a name of [`models`](crate::models).
    pub arch: Option<&'static str>,
}

/// The optimizer of a plan, and the way its momentum goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// fastai's Adam with one-cycle momentum. Weight decay 0.01.
    Adam,
    /// Gradient descent with Nesterov momentum 0.85 all along, the rate from a fifth to its highest in 23 % of the time and back to 7 %,
    /// and [`SlowWeights`]. Weight decay 1.33e-3, of biases too. Source: Jordan 2024, <https://arxiv.org/abs/2404.00498>.
    Sgd,
}

impl Method {
    /// The one that an architecture was made for.
    pub fn of(arch: &str) -> Method {
        if airbench::includes(arch) { Method::Sgd } else { Method::Adam }
    }

    /// The learner with this optimizer. [`Learner::weight_decay`] after it puts another weight decay in place of its own.
    #[must_use]
    pub fn set(self, learn: Learner<Model, Tensor, Tensor>) -> Learner<Model, Tensor, Tensor> {
        match self {
            Method::Adam => learn.opt(Adam::fastai(1e-3)),
            Method::Sgd => learn
                .opt(SGD::new(0.1).momentum(0.85).nesterov(true).weight_decay(1.33e-3))
                .decay_norms_and_biases(true)
                .one_cycle(OneCycle {
                    div: 5.0,
                    div_final: 1.0 / 0.07,
                    pct_start: 0.23,
                    moms: (0.85, 0.85, 0.85),
                })
                .callback(SlowWeights::default()),
        }
    }
}

/// A way to train.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingPlan {
    /// The architecture: a name of [`models`](crate::models).
    pub arch: &'static str,
    /// Rows and columns that pictures are brought to.
    pub size: usize,
    /// Pictures in a batch.
    pub batch_size: usize,
    /// Epochs (with pretrained weights: after the one for the head alone).
    pub epochs: usize,
    /// The highest learning rate: of `fit_one_cycle`, or `base_lr` of `fine_tune`.
    pub lr: f64,
    /// Share of the target that is spread over all classes.
    pub label_smoothing: f64,
    /// The smallest share of a picture that a random crop may keep; 1 for none.
    pub min_crop: f64,
    /// How far small pictures are moved at most, as a share of their side.
    pub shift: f64,
}

/// Floating point operations that training from scratch may take with the defaults: some ten to twenty minutes on two cores,
const BUDGET: f64 = 1.8e14;
/// and where many small pictures are worth it, some forty.
const BUDGET_SMALL: f64 = 5.7e14;

/// What training an architecture takes for one picture of so many pixels a side, in operations of plain sums: those that go by tiles
/// (see `HARDPAN_CONV`) count less.
fn cost(arch: &str, size: usize) -> f64 {
    let at_32 = match arch {
        "resnet9_tiny" => 0.15e9,
        "resnet9_small" => 0.57e9,
        "airbench94" => 0.5e9,
        "airbench95" => 1.3e9,
        // Its start makes pictures small at once.
        _ => 0.25e9,
    };
    at_32 * (size as f64 / 32.0).powi(2)
}

/// Defaults for training on such data, on a machine of a few cores: from scratch, a small network whose size, picture size and number of
/// epochs keep within a budget of some minutes; with pretrained weights, fastai's `fine_tune`.
///
/// | pictures | from scratch |
/// |---|---|
/// | up to 48 pixels, 2,000 or more | `airbench94`, by gradient descent in large batches |
/// | up to 48 pixels, fewer | `resnet9_small` |
/// | larger | `xresnet18` at 64 to 128 pixels: the largest size that leaves at least 12 epochs |
///
/// Epochs are what the budget allows, 4 to 40. Few pictures get small batches, so that an epoch has some steps to learn in.
pub fn defaults_for(data: &DataFacts) -> TrainingPlan {
    let items = data.items.max(1) as f64;
    let batch_size = match data.items {
        0..=256 => 16,
        257..=1500 => 32,
        1501..=20_000 => 64,
        _ => 128,
    };
    let label_smoothing = if data.classes > 2 { 0.1 } else { 0.0 };
    if data.pretrained {
        // Published weights know pictures of about 224; much smaller ones cost them more than the time they save.
        let size = data.pixels.next_multiple_of(32).clamp(192, 224);
        return TrainingPlan {
            arch: data.arch.unwrap_or("efficientnet_lite0"),
            size,
            batch_size: batch_size.min(64),
            epochs: 4,
            lr: 2e-3,
            label_smoothing: 0.0,
            min_crop: 0.35,
            shift: 1.0 / 8.0,
        };
    }
    let budget = |arch: &str| match Method::of(arch) {
        Method::Adam => BUDGET,
        Method::Sgd => BUDGET_SMALL,
    };
    let epochs = |arch: &str, size: usize| budget(arch) / (items * cost(arch, size));
    let small = data.pixels <= 48;
    let own = match small {
        true if data.items < 2000 => "resnet9_small",
        true => "airbench94",
        false => "xresnet18",
    };
    let arch = data.arch.unwrap_or(own);
    let size = if small {
        data.pixels.next_multiple_of(4).clamp(24, 48)
    } else {
        let largest = data.pixels.next_multiple_of(16).clamp(64, 128);
        let sizes = [128, 112, 96, 80, 64].into_iter().filter(|s| *s <= largest);
        sizes.clone().find(|s| epochs(arch, *s) >= 12.0).unwrap_or(64)
    };
    let plan = TrainingPlan {
        arch,
        size,
        batch_size,
        epochs: (epochs(arch, size) as usize).clamp(4, 40),
        lr: if small { 8e-3 } else { 5e-3 },
        label_smoothing,
        min_crop: if small { 0.7 } else { 0.35 },
        shift: 1.0 / 8.0,
    };
    match Method::of(arch) {
        Method::Adam => plan,
        Method::Sgd => {
            let batch_size = (data.items / 100).next_power_of_two().clamp(16, 512);
            TrainingPlan {
                batch_size,
                // The paper's 11.5 for 1024 pictures, written for the mean of a batch instead of sums.
                lr: 1.5 * batch_size as f64 / 1024.0,
                label_smoothing: 2.0 * label_smoothing,
                shift: 1.0 / 16.0,
                ..plan
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::names;

    fn facts(items: usize, pixels: usize) -> DataFacts {
        DataFacts { items, classes: 10, pixels, pretrained: false, arch: None }
    }

    #[test]
    fn plans_stay_within_reason() {
        for items in [1, 30, 500, 5_000, 50_000, 1_000_000] {
            for pixels in [1, 28, 32, 64, 100, 500, 5000] {
                for pretrained in [false, true] {
                    let p = defaults_for(&DataFacts { pretrained, ..facts(items, pixels) });
                    assert!(names().contains(&p.arch), "{p:?}");
                    assert!((1..=40).contains(&p.epochs) && (24..=224).contains(&p.size), "{p:?}");
                    assert!(p.batch_size >= 16 && p.lr > 0.0 && p.min_crop > 0.0, "{p:?}");
                }
            }
        }
    }

    #[test]
    fn more_pictures_mean_fewer_epochs_or_smaller_ones() {
        let (few, many) = (defaults_for(&facts(2_000, 300)), defaults_for(&facts(20_000, 300)));
        assert!((few.arch, few.size) == ("xresnet18", 128) && many.size < 128, "{few:?} {many:?}");
        assert!(few.epochs >= 12);
        let cifar = defaults_for(&facts(50_000, 32));
        assert_eq!((cifar.arch, cifar.epochs, cifar.batch_size), ("airbench94", 22, 512));
        assert_eq!(defaults_for(&facts(1_000, 32)).arch, "resnet9_small");
        assert_eq!(defaults_for(&facts(60_000, 28)).size, 28);
    }
}
