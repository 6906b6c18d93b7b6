//! Classification losses: cross entropy in its forms.

use super::{DType, Reduction, Tensor, iota_along, logsigmoid, number, pick, softplus, widen};
use crate::shape::Dims;
use crate::tensor::index::check_known;

/// Options of [`cross_entropy_with`].
#[derive(Clone)]
pub struct CrossEntropyOptions<'a> {
    /// A factor for each class, `[C]`.
    pub weight: Option<&'a Tensor>,
    /// Targets of this value give no loss and do not count in the mean. Default -100.
    pub ignore_index: i64,
    /// Default: mean.
    pub reduction: Reduction,
    /// Share of the target that is spread evenly over all classes. Default 0.
    pub label_smoothing: f64,
}

impl Default for CrossEntropyOptions<'_> {
    fn default() -> Self {
        CrossEntropyOptions {
            weight: None,
            ignore_index: -100,
            reduction: Reduction::Mean,
            label_smoothing: 0.0,
        }
    }
}

/// The mean over all items of minus the log of the softmax of `logits` at `target`.
///
/// `logits: [N, C]` or `[N, C, ..]` or `[C]`; `target`: class numbers (any integer dtype) of the shape without `C`, or
/// probabilities of the shape of `logits`. Counterpart: `torch.nn.functional.cross_entropy`.
///
/// # Panics
/// When shapes do not fit, or a class number is outside `0..C` (where the numbers are many or not known yet, the loss is NaN instead).
#[track_caller]
pub fn cross_entropy(logits: &Tensor, target: &Tensor) -> Tensor {
    cross_entropy_with(logits, target, CrossEntropyOptions::default())
}

/// The axis of the classes: 1, or 0 when there is no batch.
fn class_axis(x: &Tensor) -> usize {
    usize::from(x.rank() > 1)
}

/// `[C]` shaped to broadcast along the class axis.
fn along_classes(t: &Tensor, axis: usize, rank: usize) -> Tensor {
    let mut shape = vec![1; rank];
    shape[axis] = t.numel();
    t.reshape(&shape[..])
}

/// Class numbers beside logits: where each sits, which count, and their weights (class axis kept with size 1).
struct Classes {
    /// True at the target's class.
    hit: Tensor,
    /// True where the target is not ignored.
    counts: Tensor,
    /// True where the target is no class.
    wrong: Tensor,
    /// Weight of the target's class, 0 where ignored.
    weight: Tensor,
}

#[track_caller]
fn classes(
    op: &str,
    x: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    ignore_index: i64,
) -> Classes {
    let axis = class_axis(x);
    assert!(x.rank() > 0, "{op}: expected [N, C, ..] or [C], got rank 0");
    let mut expected = Dims::from_slice(x.shape());
    expected.remove(axis);
    assert!(
        target.shape() == expected.as_slice(),
        "{op}: input {:?} needs class numbers of shape {:?}, got {:?}",
        x.shape(),
        expected.as_slice(),
        target.shape()
    );
    assert!(
        !target.dtype().is_float(),
        "{op}: class numbers must be integers, got {}; probabilities need the shape of the input",
        target.dtype()
    );
    let c = x.shape()[axis];
    if let Some(w) = weight {
        assert!(w.shape() == [c], "{op}: weight {:?} for {c} classes", w.shape());
    }
    // At the user's line where the numbers are known; otherwise the loss tells, by being NaN.
    check_known(op, "class", target, c, Some(ignore_index));
    let t = target.to_dtype(DType::I64).unsqueeze(axis as isize);
    let hit = iota_along(x, c, axis, x.rank()).eq(&t);
    let counts = t.ne(ignore_index);
    let wrong = (t.lt(0) + t.ge(c as i64)) * &counts;
    let weight = match weight {
        None => counts.to_dtype(x.dtype()),
        Some(w) => {
            let w = along_classes(&widen(w).to_dtype(x.dtype()), axis, x.rank());
            let own = pick(&hit, &w, &number(x, 0.0)).sum_keepdim(axis);
            pick(&counts, &own, &number(x, 0.0))
        }
    };
    Classes { hit, counts, wrong, weight }
}

/// As [`cross_entropy`] with all options.
///
/// # Panics
/// When shapes do not fit.
#[track_caller]
pub fn cross_entropy_with(
    logits: &Tensor,
    target: &Tensor,
    options: CrossEntropyOptions<'_>,
) -> Tensor {
    let o = options;
    let dtype = logits.dtype().to_float();
    let x = widen(logits);
    let axis = class_axis(&x);
    if target.dtype().is_float() {
        return with_probabilities(&x, target, &o, axis).to_dtype(dtype);
    }
    let k = classes("cross_entropy", &x, target, o.weight, o.ignore_index);
    if x.numel() == 0 {
        return nothing(&x, target, o.reduction).to_dtype(dtype);
    }
    let zero = number(&x, 0.0);
    let z = &x - x.amax_keepdim(axis).detach();
    let lse = z.exp().sum_keepdim(axis).log();
    let own = pick(&k.hit, &z, &zero).sum_keepdim(axis);
    let mut loss = (&lse - own) * &k.weight;
    if o.label_smoothing > 0.0 {
        let c = x.shape()[axis] as f64;
        let spread = match o.weight {
            None => &lse * c - z.sum_keepdim(axis),
            Some(w) => {
                let w = along_classes(&widen(w), axis, x.rank());
                ((&lse - &z) * w).sum_keepdim(axis)
            }
        };
        let spread = pick(&k.counts, &spread, &zero);
        loss = loss * (1.0 - o.label_smoothing) + spread * (o.label_smoothing / c);
    }
    finish(loss, &k, o.reduction, target, dtype)
}

/// Ignored items to 0, wrong ones to NaN, then the reduction; the mean is weighted.
fn finish(
    loss: Tensor,
    k: &Classes,
    reduction: Reduction,
    target: &Tensor,
    dtype: DType,
) -> Tensor {
    let loss = pick(&k.counts, &loss, &number(&loss, 0.0));
    let loss = pick(&k.wrong, f64::NAN, &loss);
    match reduction {
        Reduction::None => loss.reshape(target.shape()),
        Reduction::Sum => loss.sum(..),
        Reduction::Mean => loss.sum(..) / k.weight.sum(..),
    }
    .to_dtype(dtype)
}

/// The loss of no items.
fn nothing(x: &Tensor, target: &Tensor, reduction: Reduction) -> Tensor {
    match reduction {
        Reduction::None => x.sum(class_axis(x)).reshape(target.shape()),
        Reduction::Sum => x.sum(..),
        Reduction::Mean => x.sum(..) / 0.0,
    }
}

#[track_caller]
fn with_probabilities(
    x: &Tensor,
    target: &Tensor,
    o: &CrossEntropyOptions<'_>,
    axis: usize,
) -> Tensor {
    assert!(
        x.rank() > 0 && target.shape() == x.shape(),
        "cross_entropy: a target of {} is taken for probabilities, and its shape {:?} would have to be the input's {:?}; class numbers \
         are integers: .to_dtype(DType::I64)",
        target.dtype(),
        target.shape(),
        x.shape()
    );
    let c = x.shape()[axis] as f64;
    let mut p = widen(target).to_dtype(x.dtype());
    if o.label_smoothing > 0.0 {
        p = p * (1.0 - o.label_smoothing) + o.label_smoothing / c;
    }
    let mut terms = super::log_softmax(x, axis as isize) * p;
    if let Some(w) = o.weight {
        terms *= along_classes(&widen(w), axis, x.rank());
    }
    let loss = -terms.sum(axis);
    match o.reduction {
        Reduction::None => loss,
        Reduction::Sum => loss.sum(..),
        Reduction::Mean => {
            let items = x.numel() as f64 / c;
            loss.sum(..) / items
        }
    }
}

/// Minus `log_probabilities` at the target: `[N, C]`, `[N, C, ..]` or `[C]` with class numbers of the shape without `C`.
///
/// `label_smoothing` must be 0. Counterpart: `torch.nn.functional.nll_loss`.
#[track_caller]
pub fn nll_loss(
    log_probabilities: &Tensor,
    target: &Tensor,
    options: CrossEntropyOptions<'_>,
) -> Tensor {
    let o = options;
    assert!(o.label_smoothing == 0.0, "nll_loss: has no label smoothing; use cross_entropy_with");
    let x = widen(log_probabilities);
    let k = classes("nll_loss", &x, target, o.weight, o.ignore_index);
    let axis = class_axis(&x);
    let own = pick(&k.hit, &x, &number(&x, 0.0)).sum_keepdim(axis);
    finish(-own * &k.weight, &k, o.reduction, target, log_probabilities.dtype().to_float())
}

/// Binary cross entropy of probabilities: `-(t ln p + (1 - t) ln(1 - p))`, logarithms cut at -100; `weight` broadcasts.
///
/// Counterpart: `torch.nn.functional.binary_cross_entropy`.
///
/// # Panics
/// When `probabilities` and `target` differ in shape.
#[track_caller]
pub fn binary_cross_entropy(
    probabilities: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    reduction: Reduction,
) -> Tensor {
    assert!(
        probabilities.shape() == target.shape(),
        "binary_cross_entropy: probabilities {:?} and target {:?} must have one shape",
        probabilities.shape(),
        target.shape()
    );
    let dtype = crate::result_type(probabilities, target);
    let (p, t) = (widen(probabilities), widen(target));
    // At 0 and 1 the slope of the logarithm is infinite: PyTorch's gradient there is (p - t) / 1e-12.
    let edge = (&p * (1.0 - &p)).lt(1e-12);
    let inner = pick(&edge, 0.5, &p);
    let fixed = p.detach();
    let log_p = pick(&edge, fixed.log().maximum(-100.0), &inner.log().maximum(-100.0));
    let log_q = pick(
        &edge,
        (1.0f64 - &fixed).log().maximum(-100.0),
        &(1.0f64 - &inner).log().maximum(-100.0),
    );
    let mut loss = (&t - 1.0) * &log_q - &t * &log_p;
    if p.is_requires_grad() {
        let slope = (&fixed - t.detach()) * 1e12;
        loss += pick(&edge, (&p - &fixed) * slope, &number(&p, 0.0));
    }
    if let Some(w) = weight {
        loss *= widen(w);
    }
    reduction.apply(loss, dtype)
}

/// Options of [`binary_cross_entropy_with_logits`].
#[derive(Clone, Default)]
pub struct BceOptions<'a> {
    /// Factors; broadcast to the input.
    pub weight: Option<&'a Tensor>,
    /// Default: mean.
    pub reduction: Reduction,
    /// Factors of the positive part; broadcast to the input.
    pub pos_weight: Option<&'a Tensor>,
}

/// Binary cross entropy of the sigmoid of `logits`, computed without overflow. Counterpart:
/// `torch.nn.functional.binary_cross_entropy_with_logits`.
///
/// # Panics
/// When `logits` and `target` differ in shape.
#[track_caller]
pub fn binary_cross_entropy_with_logits(
    logits: &Tensor,
    target: &Tensor,
    options: BceOptions<'_>,
) -> Tensor {
    assert!(
        logits.shape() == target.shape(),
        "binary_cross_entropy_with_logits: logits {:?} and target {:?} must have one shape",
        logits.shape(),
        target.shape()
    );
    let dtype = crate::result_type(logits, target);
    let (x, t) = (widen(logits), widen(target));
    let log = logsigmoid(&x);
    let mut loss = match options.pos_weight {
        None => (1.0 - &t) * &x - log,
        Some(p) => (1.0 - &t) * &x - log * ((widen(p) - 1.0) * &t + 1.0),
    };
    if let Some(w) = options.weight {
        loss *= widen(w);
    }
    options.reduction.apply(loss, dtype)
}

/// `ln(1 + e^(-target * x))` with targets of -1 and 1. Counterpart: `torch.nn.functional.soft_margin_loss`.
#[track_caller]
pub fn soft_margin_loss(x: &Tensor, target: &Tensor, reduction: Reduction) -> Tensor {
    let dtype = crate::result_type(x, target).to_float();
    reduction.apply(softplus(&-(widen(x) * widen(target)), 1.0, 80.0), dtype)
}

/// The mean over classes of the binary cross entropy of logits: `x, target: [N, C]` or `[C]`; `weight` broadcasts.
///
/// Counterpart: `torch.nn.functional.multilabel_soft_margin_loss`.
#[track_caller]
pub fn multilabel_soft_margin_loss(
    x: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    reduction: Reduction,
) -> Tensor {
    let dtype = crate::result_type(x, target).to_float();
    let (x, t) = (widen(x), widen(target));
    let mut loss = -(&t * logsigmoid(&x) + (1.0 - &t) * logsigmoid(&-&x));
    if let Some(w) = weight {
        loss *= widen(w);
    }
    let loss = if loss.rank() == 0 { loss } else { loss.mean(-1) };
    reduction.apply(loss, dtype)
}
