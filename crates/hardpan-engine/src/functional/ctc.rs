//! Connectionist temporal classification (Graves et al. 2006).

use super::{DType, Reduction, Tensor, beside, number, pick, widen};
use std::panic::Location;

/// Options of [`ctc_loss`].
#[derive(Clone, Copy, Debug)]
pub struct CtcOptions {
    /// The class that stands for nothing. Default 0.
    pub blank: usize,
    /// `Mean` divides each loss by its target's length first. Default: mean.
    pub reduction: Reduction,
    /// Infinite losses (targets too long for their input) and their gradients become 0. Default false.
    pub zero_infinity: bool,
}

impl Default for CtcOptions {
    fn default() -> Self {
        CtcOptions { blank: 0, reduction: Reduction::Mean, zero_infinity: false }
    }
}

/// Stands for the logarithm of 0; finite, so that no gradient becomes NaN.
const NEVER: f64 = -1e30;

/// Minus the log of the probability that a sequence of class scores spells its target.
///
/// `log_probabilities: [T, N, C]` (or `[T, C]`), from a log softmax. `targets: [N, S]`, or all targets one after another in one
/// dimension. Lengths: one for each item. As in PyTorch, the gradient is the one with respect to scores before the log
/// softmax, which is what a log softmax below passes on unchanged. Counterpart: `torch.nn.functional.ctc_loss`.
///
/// # Panics
/// When shapes or lengths do not fit.
#[track_caller]
pub fn ctc_loss(
    log_probabilities: &Tensor,
    targets: &Tensor,
    input_lengths: &[usize],
    target_lengths: &[usize],
    options: CtcOptions,
) -> Tensor {
    let at = Location::caller();
    let o = options;
    let single = log_probabilities.rank() == 2;
    let x = widen(log_probabilities);
    let x = if single { x.unsqueeze(1) } else { x };
    assert!(
        x.rank() == 3,
        "ctc_loss: expected [T, N, C] or [T, C], got shape {:?}",
        log_probabilities.shape()
    );
    let (steps, n, c) = (x.shape()[0], x.shape()[1], x.shape()[2]);
    assert!(
        input_lengths.len() == n && target_lengths.len() == n && o.blank < c,
        "ctc_loss: {n} items need {n} input and target lengths (got {} and {}), and blank {} one of {c} classes",
        input_lengths.len(),
        target_lengths.len(),
        o.blank
    );
    assert!(
        input_lengths.iter().all(|l| *l <= steps),
        "ctc_loss: input lengths {input_lengths:?} beyond {steps} steps"
    );
    let labels = labels(targets, target_lengths, n, single);
    let longest = target_lengths.iter().copied().max().unwrap_or(0);
    let width = 2 * longest + 1;
    // Blanks between, before and after the labels; which may be reached by skipping the blank before them; which end.
    let mut spelled = vec![o.blank as i64; n * width];
    let mut skip = vec![false; n * width];
    let mut end = vec![false; n * width];
    for (i, own) in labels.iter().enumerate() {
        for (j, label) in own.iter().enumerate() {
            assert!(
                (0..c as i64).contains(label),
                "ctc_loss: label {label} is none of {c} classes"
            );
            let p = i * width + 2 * j + 1;
            spelled[p] = *label;
            skip[p] = j > 0 && own[j - 1] != *label;
        }
        end[i * width + 2 * own.len()] = true;
        if !own.is_empty() {
            end[i * width + 2 * own.len() - 1] = true;
        }
    }
    let index: Vec<i64> = (0..steps)
        .flat_map(|t| (0..n * width).map(move |p| (t, p)))
        .map(|(t, p)| ((t * n + p / width) * c) as i64 + spelled[p])
        .collect();
    let (index, skip, end) = beside(&x, || {
        (
            Tensor::from_slice(&index, [steps, n, width]),
            Tensor::from_slice(&skip, [n, width]),
            Tensor::from_slice(&end, [n, width]),
        )
    });
    let scores = x.reshape([x.numel()]).prim_take(&index, at);
    // Minus infinity would give NaN in gradients.
    let scores = pick(&scores.lt(NEVER), NEVER, &scores);
    let lengths: Vec<i64> = input_lengths.iter().map(|l| *l as i64).collect();
    let lengths = beside(&x, || Tensor::from_slice(&lengths, [n, 1]));
    let position = super::iota_along(&x, width, 1, 2);
    let never = number(&scores, NEVER);
    // Before the first step: all probability sits before the first blank.
    let mut alpha: Option<Tensor> = None;
    for t in 0..steps {
        let score = scores.select(0, t as isize);
        let next = match &alpha {
            None => pick(&position.le(1), &score, &score.full_like(NEVER)),
            Some(a) => {
                let one = shifted(a, 1);
                let two = pick(&skip, shifted(a, 2), &a.full_like(NEVER));
                log_sum(&[a, &one, &two]) + score
            }
        };
        let next = pick(&next.lt(NEVER), &never, &next);
        let running = lengths.gt(t as i64);
        alpha = Some(match alpha {
            Some(a) => pick(&running, &next, &a),
            None => next,
        });
    }
    let nll = match alpha {
        None => (&x.sum([0, 2]) * 0.0) + f64::INFINITY,
        Some(a) => {
            let ends = pick(&end, &a, &a.full_like(NEVER));
            let top = ends.amax_keepdim(1).detach();
            -((&ends - &top).exp().sum_keepdim(1).log() + &top).squeeze(1)
        }
    };
    let impossible = nll.gt(1e20);
    let mut loss = nll;
    if loss.is_requires_grad() {
        // The part of the gradient that a log softmax would add: exp(log_probabilities), for steps that count.
        let step = super::iota_along(&x, steps, 0, 3);
        let counted = step.lt(lengths.reshape([1, n, 1]));
        let mass = pick(&counted, x.exp(), &number(&x, 0.0)).sum([0, 2]);
        loss += &mass - mass.detach();
    }
    let replaced = if o.zero_infinity { 0.0 } else { f64::INFINITY };
    let loss = pick(&impossible, number(&loss, replaced), &loss);
    let dtype = log_probabilities.dtype();
    match o.reduction {
        Reduction::None => if single { loss.squeeze(0) } else { loss }.to_dtype(dtype),
        Reduction::Sum => loss.sum(..).to_dtype(dtype),
        Reduction::Mean => {
            let each: Vec<f64> = target_lengths.iter().map(|l| (*l).max(1) as f64).collect();
            let each = beside(&x, || Tensor::from_slice(&each, [n])).to_dtype(loss.dtype());
            (loss / each).mean(..).to_dtype(dtype)
        }
    }
}

/// The labels of each item, read from either form.
#[track_caller]
fn labels(targets: &Tensor, lengths: &[usize], n: usize, single: bool) -> Vec<Vec<i64>> {
    let all = targets.to_dtype(DType::I64).to_vec::<i64>();
    let rows = targets.rank() == 2;
    let total: usize = lengths.iter().sum();
    let fits = if rows {
        targets.shape()[0] == n && lengths.iter().all(|l| *l <= targets.shape()[1])
    } else {
        targets.rank() == 1 && if single { total <= all.len() } else { total == all.len() }
    };
    assert!(
        fits,
        "ctc_loss: targets {:?} do not hold {n} targets of lengths {lengths:?}",
        targets.shape()
    );
    let mut start = 0;
    (0..n)
        .map(|i| {
            let from = if rows { i * targets.shape()[1] } else { start };
            start += lengths[i];
            all[from..from + lengths[i]].to_vec()
        })
        .collect()
}

/// Columns moved right by `by`, with nothing possible in the gap.
fn shifted(a: &Tensor, by: usize) -> Tensor {
    super::spatial::surround(a, &[(0, 0), (by as isize, -(by as isize))], NEVER)
}

/// Logarithm of the sum of exponentials, elementwise.
fn log_sum(parts: &[&Tensor]) -> Tensor {
    let top = parts[1..].iter().fold(parts[0].detach(), |m, p| m.maximum(p.detach()));
    let total = parts[1..].iter().fold((parts[0] - &top).exp(), |sum, p| sum + (*p - &top).exp());
    total.log() + top
}
