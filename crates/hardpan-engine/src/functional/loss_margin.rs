//! Margin losses: rankings, hinges, embeddings, triplets.

use super::{
    DType, Reduction, Tensor, at_least, iota_along, number, pairwise_distance, pick, widen,
};
use crate::op::ScanOp;

/// `max(0, -target (x1 - x2) + margin)` with targets of -1 and 1. Counterpart: `torch.nn.functional.margin_ranking_loss`.
#[track_caller]
pub fn margin_ranking_loss(
    x1: &Tensor,
    x2: &Tensor,
    target: &Tensor,
    margin: f64,
    reduction: Reduction,
) -> Tensor {
    let dtype = crate::result_type(x1, x2).to_float();
    let loss = at_least(&(-widen(target) * (widen(x1) - widen(x2)) + margin), 0.0);
    reduction.apply(loss, dtype)
}

/// `x` where the target is 1, `max(0, margin - x)` where it is -1 (PyTorch's default margin is 1). Counterpart:
/// `torch.nn.functional.hinge_embedding_loss`.
#[track_caller]
pub fn hinge_embedding_loss(
    x: &Tensor,
    target: &Tensor,
    margin: f64,
    reduction: Reduction,
) -> Tensor {
    let wide = widen(x);
    let zero = number(&wide, 0.0);
    let far = at_least(&(margin - &wide), 0.0);
    let loss = pick(&target.ne(1), &far, &zero) + pick(&target.ne(-1), &wide, &zero);
    reduction.apply(loss, x.dtype().to_float())
}

/// `1 - cos(x1, x2)` where the target is 1, `max(0, cos(x1, x2) - margin)` where it is -1. `x1, x2: [N, D]` with `target: [N]`,
/// or `[D]` with a target of rank 0. Counterpart: `torch.nn.functional.cosine_embedding_loss`.
#[track_caller]
pub fn cosine_embedding_loss(
    x1: &Tensor,
    x2: &Tensor,
    target: &Tensor,
    margin: f64,
    reduction: Reduction,
) -> Tensor {
    assert!(
        target.rank() <= 1 && x1.rank() == target.rank() + 1 && x2.rank() == x1.rank(),
        "cosine_embedding_loss: expected [N, D], [N, D], [N] or [D], [D], []; got {:?}, {:?}, {:?}",
        x1.shape(),
        x2.shape(),
        target.shape()
    );
    let dtype = crate::result_type(x1, x2).to_float();
    let (a, b) = (widen(x1), widen(x2));
    let norms = ((&a * &a).sum(-1) + 1e-12) * ((&b * &b).sum(-1) + 1e-12);
    let cos = (&a * &b).sum(-1) / norms.sqrt();
    let zero = number(&cos, 0.0);
    let loss = pick(&target.eq(1), 1.0 - &cos, &zero)
        + pick(&target.eq(-1), at_least(&(&cos - margin), 0.0), &zero);
    reduction.apply(loss, dtype)
}

/// Options of [`multi_margin_loss`].
#[derive(Clone)]
pub struct MultiMarginOptions<'a> {
    /// Power, 1 or 2. Default 1.
    pub p: i32,
    /// Default 1.
    pub margin: f64,
    /// A factor for each class, `[C]`.
    pub weight: Option<&'a Tensor>,
    /// Default: mean.
    pub reduction: Reduction,
}

impl Default for MultiMarginOptions<'_> {
    fn default() -> Self {
        MultiMarginOptions { p: 1, margin: 1.0, weight: None, reduction: Reduction::Mean }
    }
}

/// The mean over classes of `max(0, margin - x[target] + x[class])^p` without the target's own: `x: [N, C]` with
/// `target: [N]`, or `[C]` with rank 0. Counterpart: `torch.nn.functional.multi_margin_loss`.
#[track_caller]
pub fn multi_margin_loss(x: &Tensor, target: &Tensor, options: MultiMarginOptions<'_>) -> Tensor {
    let o = options;
    assert!(o.p == 1 || o.p == 2, "multi_margin_loss: p must be 1 or 2, got {}", o.p);
    let wide = widen(x);
    let rows = if x.rank() < 2 { wide.reshape([1, x.numel()]) } else { wide };
    let (n, c) = (rows.shape()[0], rows.shape()[1]);
    assert!(
        target.numel() == n && target.rank() <= 1,
        "multi_margin_loss: input {:?} needs {n} class numbers, got {:?}",
        x.shape(),
        target.shape()
    );
    let hit = iota_along(&rows, c, 1, 2).eq(target.to_dtype(DType::I64).reshape([n, 1]));
    let zero = number(&rows, 0.0);
    let own = pick(&hit, &rows, &zero).sum_keepdim(1);
    let mut terms = at_least(&(o.margin - own + &rows), 0.0);
    if o.p == 2 {
        terms = &terms * &terms;
    }
    let mut loss = pick(&hit, &zero, &terms).sum(1) / c as f64;
    if let Some(w) = o.weight {
        loss *= pick(&hit, widen(w).reshape([1, c]), &zero).sum(1);
    }
    let loss = if target.rank() == 0 { loss.squeeze(0) } else { loss };
    o.reduction.apply(loss, x.dtype().to_float())
}

/// Hinges between each target class and each other class: `x: [N, C]` and `target: [N, C]` of class numbers ended by -1, or
/// both `[C]`. Counterpart: `torch.nn.functional.multilabel_margin_loss`.
#[track_caller]
pub fn multilabel_margin_loss(x: &Tensor, target: &Tensor, reduction: Reduction) -> Tensor {
    assert!(
        x.shape() == target.shape() && x.rank() <= 2,
        "multilabel_margin_loss: input {:?} and target {:?} must both be [N, C] or [C]",
        x.shape(),
        target.shape()
    );
    let c = if x.rank() == 0 { 1 } else { x.size(-1) };
    let n = if x.rank() == 2 { x.shape()[0] } else { 1 };
    let rows = widen(x).reshape([n, c]);
    let zero = number(&rows, 0.0);
    let t = target.to_dtype(DType::I64).reshape([n, c]);
    // Classes count up to the first negative number.
    let ended = t.lt(0).to_dtype(DType::I64).prim_scan(ScanOp::Sum, 1, t.0.at);
    let listed = ended.eq(0);
    let hit = t.reshape([n, c, 1]).eq(iota_along(&rows, c, 2, 3)) * listed.reshape([n, c, 1]);
    let is_target = hit.to_dtype(DType::I64).sum(1).gt(0);
    let own = pick(&hit, rows.reshape([n, 1, c]), &zero).sum_keepdim(2);
    let terms = at_least(&(1.0 - own + rows.reshape([n, 1, c])), 0.0);
    let apart = is_target.logical_not().reshape([n, 1, c]) * listed.reshape([n, c, 1]);
    let loss = pick(&apart, &terms, &zero).sum([1, 2]) / c as f64;
    let loss = if x.rank() == 2 { loss } else { loss.squeeze(0) };
    reduction.apply(loss, x.dtype().to_float())
}

/// Options of [`triplet_margin_loss`].
#[derive(Clone, Copy, Debug)]
pub struct TripletOptions {
    /// Default 1.
    pub margin: f64,
    /// Which norm. Default 2.
    pub p: f64,
    /// Added to differences. Default 1e-6.
    pub eps: f64,
    /// Use the nearer of anchor-negative and positive-negative. Default false.
    pub swap: bool,
    /// Default: mean.
    pub reduction: Reduction,
}

impl Default for TripletOptions {
    fn default() -> Self {
        TripletOptions { margin: 1.0, p: 2.0, eps: 1e-6, swap: false, reduction: Reduction::Mean }
    }
}

/// `max(0, d(anchor, positive) - d(anchor, negative) + margin)` with vectors in the last dimension. Counterpart:
/// `torch.nn.functional.triplet_margin_loss`.
#[track_caller]
pub fn triplet_margin_loss(
    anchor: &Tensor,
    positive: &Tensor,
    negative: &Tensor,
    options: TripletOptions,
) -> Tensor {
    let o = options;
    triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        |a, b| pairwise_distance(a, b, o.p, o.eps, false),
        o.margin,
        o.swap,
        o.reduction,
    )
}

/// [`triplet_margin_loss`] with any distance. Counterpart: `torch.nn.functional.triplet_margin_with_distance_loss`.
#[track_caller]
pub fn triplet_margin_with_distance_loss(
    anchor: &Tensor,
    positive: &Tensor,
    negative: &Tensor,
    distance: impl Fn(&Tensor, &Tensor) -> Tensor,
    margin: f64,
    swap: bool,
    reduction: Reduction,
) -> Tensor {
    let dtype = crate::result_type(anchor, positive).to_float();
    let (a, p, n) = (widen(anchor), widen(positive), widen(negative));
    let near = distance(&a, &p);
    let mut far = distance(&a, &n);
    if swap {
        far = far.minimum(distance(&p, &n));
    }
    reduction.apply(at_least(&(near - far + margin), 0.0), dtype)
}
