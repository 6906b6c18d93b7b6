//! Losses and distances.

use super::{Built, pair, size, triple, unsigned, with};
use crate::arg::{Arg, Args};
use hardpan_engine::functional as f;
use hardpan_nn::*;

/// `None`: not of this family.
pub fn build(name: &str, a: &Args) -> Option<Built> {
    // Positions of the options that PyTorch no longer uses.
    let _ = (a.named("size_average"), a.named("reduce"));
    let how = || {
        let name = a.str(usize::MAX, "reduction", "mean");
        f::Reduction::from_name(name).unwrap_or_default()
    };
    let float = |i: usize, key: &str, default: f64| a.float(i, key, default);
    let weight = |i: usize| a.opt_tensor(i, "weight");
    match name {
        "CrossEntropyLoss" => {
            let mut m = CrossEntropyLoss::new()
                .reduction(how())
                .ignore_index(a.int(2, "ignore_index", -100))
                .label_smoothing(float(5, "label_smoothing", 0.0));
            if let Some(w) = weight(0) {
                m = m.weight(w);
            }
            pair(m)
        }
        "NLLLoss" => {
            let mut m =
                NLLLoss::new().reduction(how()).ignore_index(a.int(2, "ignore_index", -100));
            if let Some(w) = weight(0) {
                m = m.weight(w);
            }
            pair(m)
        }
        "BCELoss" => {
            let mut m = BCELoss::new().reduction(how());
            if let Some(w) = weight(0) {
                m = m.weight(w);
            }
            pair(m)
        }
        "BCEWithLogitsLoss" => {
            let mut m = BCEWithLogitsLoss::new().reduction(how());
            if let Some(w) = weight(0) {
                m = m.weight(w);
            }
            if let Some(w) = a.opt_tensor(4, "pos_weight") {
                m = m.pos_weight(w);
            }
            pair(m)
        }
        "MultiLabelSoftMarginLoss" => {
            let mut m = MultiLabelSoftMarginLoss::new().reduction(how());
            if let Some(w) = weight(0) {
                m = m.weight(w);
            }
            pair(m)
        }
        "MultiMarginLoss" => {
            let mut m = MultiMarginLoss::new()
                .reduction(how())
                .p(a.int(0, "p", 1) as i32)
                .margin(float(1, "margin", 1.0));
            if let Some(w) = weight(2) {
                m = m.weight(w);
            }
            pair(m)
        }
        "MSELoss" => pair(MSELoss::new().reduction(how())),
        "L1Loss" => pair(L1Loss::new().reduction(how())),
        "SmoothL1Loss" => pair(SmoothL1Loss::new().reduction(how()).beta(float(3, "beta", 1.0))),
        "HuberLoss" => pair(HuberLoss::new().reduction(how()).delta(float(1, "delta", 1.0))),
        "SoftMarginLoss" => pair(SoftMarginLoss::new().reduction(how())),
        "HingeEmbeddingLoss" => {
            pair(HingeEmbeddingLoss::new().reduction(how()).margin(float(0, "margin", 1.0)))
        }
        "MultiLabelMarginLoss" => pair(MultiLabelMarginLoss::new().reduction(how())),
        "MarginRankingLoss" => {
            triple(MarginRankingLoss::new().reduction(how()).margin(float(0, "margin", 0.0)))
        }
        "CosineEmbeddingLoss" => {
            triple(CosineEmbeddingLoss::new().reduction(how()).margin(float(0, "margin", 0.0)))
        }
        "PoissonNLLLoss" => pair(
            PoissonNLLLoss::new()
                .reduction(how())
                .log_input(a.bool(0, "log_input", true))
                .full(a.bool(1, "full", false))
                .eps(float(3, "eps", 1e-8)),
        ),
        "GaussianNLLLoss" => triple(
            GaussianNLLLoss::new()
                .reduction(how())
                .full(a.bool(usize::MAX, "full", false))
                .eps(float(usize::MAX, "eps", 1e-6)),
        ),
        "TripletMarginLoss" => triple(
            TripletMarginLoss::new()
                .reduction(how())
                .margin(float(0, "margin", 1.0))
                .p(float(1, "p", 2.0))
                .eps(float(2, "eps", 1e-6))
                .swap(a.bool(3, "swap", false)),
        ),
        "TripletMarginWithDistanceLoss" => triple(
            TripletMarginWithDistanceLoss::default()
                .reduction(how())
                .margin(float(usize::MAX, "margin", 1.0))
                .swap(a.bool(usize::MAX, "swap", false)),
        ),
        "KLDivLoss" => {
            let how = match a.str(2, "reduction", "mean") {
                "batchmean" => f::KlReduction::BatchMean,
                name => f::Reduction::from_name(name).unwrap_or_default().into(),
            };
            pair(KLDivLoss::new(how).log_target(a.bool(3, "log_target", false)))
        }
        "CosineSimilarity" => {
            pair(CosineSimilarity::new(a.dim(0, "dim", 1)).eps(float(1, "eps", 1e-8)))
        }
        "PairwiseDistance" => pair(
            PairwiseDistance::new(float(0, "p", 2.0))
                .eps(float(1, "eps", 1e-6))
                .keepdim(a.bool(2, "keepdim", false)),
        ),
        "CTCLoss" => {
            let m = CTCLoss::new()
                .blank(a.int(0, "blank", 0) as usize)
                .reduction(
                    f::Reduction::from_name(a.str(1, "reduction", "mean")).unwrap_or_default(),
                )
                .zero_infinity(a.bool(2, "zero_infinity", false));
            with(m, |m, a| {
                let lengths = |i: usize, name: &str| -> Vec<usize> {
                    match a.arg(i, name) {
                        Arg::Tensor(t) => {
                            t.to_vec::<i64>().into_iter().map(|n| n as usize).collect()
                        }
                        _ => unsigned(a.ints(i, name)),
                    }
                };
                let (x, y) = (a.tensor(0, "log_probs"), a.tensor(1, "targets"));
                vec![m.of(&x, &y, &lengths(2, "input_lengths"), &lengths(3, "target_lengths"))]
            })
        }
        "AdaptiveLogSoftmaxWithLoss" => {
            let m = AdaptiveLogSoftmaxWithLoss::new(
                size(a, 0, "in_features"),
                size(a, 1, "n_classes"),
                &unsigned(a.ints(2, "cutoffs")),
                a.float(3, "div_value", 4.0),
            )
            .head_bias(a.bool(4, "head_bias", false));
            with(m, |m, a| {
                let (y, loss) = m.forward(&(a.tensor(0, "input"), a.tensor(1, "target")));
                vec![y, loss]
            })
        }
        _ => None,
    }
}
