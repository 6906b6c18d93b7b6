//! Scaled dot-product attention.

use super::{DType, Tensor, dropout, iota_along, number, pick, widen};
use std::panic::Location;

/// Options of [`scaled_dot_product_attention`].
#[derive(Clone, Default)]
pub struct AttentionOptions<'a> {
    /// Bool (true: may attend) or float (added to the scores); broadcasts to `[.., L, S]`.
    pub mask: Option<&'a Tensor>,
    /// Probability of dropping an attention weight. Default 0.
    pub dropout: f64,
    /// Position `i` of the queries attends to keys `0..=i` only. Excludes `mask`. Default false.
    pub is_causal: bool,
    /// Factor of the scores. Default `1 / sqrt(E)`.
    pub scale: Option<f64>,
    /// Keys and values may have fewer heads than the queries, each serving several. Default false.
    pub enable_gqa: bool,
}

/// `softmax(query key^T * scale + mask) value`: `query: [.., H, L, E]`, `key: [.., H, S, E]`, `value: [.., H, S, V]` give
/// `[.., H, L, V]`. A query that may attend to nothing gives zeros.
///
/// Counterpart: `torch.nn.functional.scaled_dot_product_attention`.
///
/// # Panics
/// When shapes do not fit, or both a mask and `is_causal` are given.
#[track_caller]
pub fn scaled_dot_product_attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    options: AttentionOptions<'_>,
) -> Tensor {
    let o = options;
    let fits = query.rank() >= 2
        && key.rank() >= 2
        && value.rank() >= 2
        && query.size(-1) == key.size(-1)
        && key.size(-2) == value.size(-2);
    assert!(
        fits,
        "scaled_dot_product_attention: expected [.., L, E], [.., S, E] and [.., S, V], got {:?}, {:?} and {:?}",
        query.shape(),
        key.shape(),
        value.shape()
    );
    assert!(
        !(o.is_causal && o.mask.is_some()),
        "scaled_dot_product_attention: give a mask or is_causal, not both"
    );
    let (l, s, e) = (query.size(-2), key.size(-2), query.size(-1));
    let (mut k, mut v) = (widen(key), widen(value));
    if o.enable_gqa {
        assert!(
            query.rank() >= 3,
            "scaled_dot_product_attention: enable_gqa needs a head dimension"
        );
        let heads = query.size(-3);
        k = repeat_heads(&k, heads);
        v = repeat_heads(&v, heads);
    }
    let scale = o.scale.unwrap_or(1.0 / (e as f64).sqrt());
    let scores = (widen(query) * scale).matmul(&k.mt());
    let rank = scores.rank();
    let floor = f64::NEG_INFINITY;
    let scores = match o.mask {
        _ if o.is_causal => {
            let later =
                iota_along(&scores, l, rank - 2, rank).lt(iota_along(&scores, s, rank - 1, rank));
            pick(&later, number(&scores, floor), &scores)
        }
        Some(m) if m.dtype() == DType::Bool => {
            pick(&m.logical_not(), number(&scores, floor), &scores)
        }
        Some(m) => scores + widen(m),
        None => scores,
    };
    let out = if s == 0 || scores.numel() == 0 {
        scores.matmul(&v)
    } else {
        let weights = match o.mask {
            None => super::softmax(&scores, -1),
            Some(_) => safe_softmax(&scores),
        };
        dropout(&weights, o.dropout, o.dropout > 0.0).matmul(&v)
    };
    out.to_dtype(query.dtype())
}

/// Softmax over the last dimension; a row of minus infinities gives zeros.
fn safe_softmax(x: &Tensor) -> Tensor {
    let top = x.amax_keepdim(-1).detach();
    let none = top.eq(f64::NEG_INFINITY);
    let e = (x - pick(&none, 0.0, &top)).exp();
    let total = e.sum_keepdim(-1);
    &e / pick(&none, 1.0, &total)
}

/// `[.., h, S, E]` as `[.., heads, S, E]`, each head repeated in place.
#[track_caller]
fn repeat_heads(x: &Tensor, heads: usize) -> Tensor {
    let at = Location::caller();
    let axis = x.rank() - 3;
    let own = x.shape()[axis];
    assert!(
        own > 0 && heads.is_multiple_of(own),
        "scaled_dot_product_attention: {heads} query heads are not a multiple of {own} key heads"
    );
    if heads == own {
        return x.clone();
    }
    let mut shape = x.0.shape.clone();
    shape.insert(axis + 1, 1);
    let open = x.prim_reshape(&shape, at);
    shape[axis + 1] = heads / own;
    let open = open.prim_expand(&shape, at);
    shape.remove(axis + 1);
    shape[axis] = heads;
    open.prim_reshape(&shape, at)
}
