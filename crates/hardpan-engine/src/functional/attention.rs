//! Scaled dot-product attention: one fused kernel each way, and its definition by parts.

use super::{DType, Tensor, iota_along, number, pick, widen};
use crate::autocast;
use crate::op::{AttentionParams, Distribution, Op};
use crate::shape::{Dims, numel};
use crate::tensor::arrange::broadcast_shapes;
use smallvec::SmallVec;
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
/// For f32 and half types it is one kernel that never stores the scores, forward and backward; weights are summed in f32. Second
/// derivatives, f64 and a mask that wants a gradient are composed of products and a softmax.
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
    if o.enable_gqa {
        assert!(
            query.rank() >= 3,
            "scaled_dot_product_attention: enable_gqa needs a head dimension"
        );
        let (heads, own) = (query.size(-3), key.size(-3));
        assert!(
            own > 0 && heads.is_multiple_of(own),
            "scaled_dot_product_attention: {heads} query heads are not a multiple of {own} key heads"
        );
    }
    let scale = o.scale.unwrap_or(1.0 / (query.size(-1) as f64).sqrt());
    let draw = &crate::random::advance;
    // Not in a closure: the kernel is to name the caller's line.
    let whole = match crate::graph::is_in_parts() {
        true => None,
        false => fused(query, key, value, &o, scale, draw),
    };
    match whole {
        Some(y) => y,
        None => by_parts(query, key, value, &o, scale, draw),
    }
}

/// Where so many random numbers come from: seed and position.
type Draw<'a> = &'a dyn Fn(u64) -> (u64, u64);

/// The kernel, where it applies.
#[track_caller]
fn fused(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    o: &AttentionOptions<'_>,
    scale: f64,
    draw: Draw<'_>,
) -> Option<Tensor> {
    let at = Location::caller();
    let dtype = query.dtype();
    let half_or_single = matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
    let rank = query.rank();
    let lead = &query.shape()[..rank - 2];
    let same_lead = |t: &Tensor| {
        let own = &t.shape()[..t.rank() - 2];
        own == lead
            || o.enable_gqa && own.len() == lead.len() && own[..rank - 3] == lead[..rank - 3]
    };
    let applies = half_or_single
        && key.dtype() == dtype
        && value.dtype() == dtype
        && same_lead(key)
        && same_lead(value)
        && key.shape()[..rank - 2] == value.shape()[..rank - 2]
        && [query, key, value].iter().all(|t| !t.shape().contains(&0))
        && (0.0..1.0).contains(&o.dropout)
        && o.mask.is_none_or(|m| !m.is_requires_grad());
    if !applies {
        return None;
    }
    // Mixed precision rounds the operands; the result has their type.
    let low = autocast::autocast_dtype().filter(|_| dtype == DType::F32).unwrap_or(dtype);
    let four = |t: &Tensor| {
        let t = t.prim_cast(low, at);
        let s = t.shape();
        let heads = if rank > 2 { s[rank - 3] } else { 1 };
        let batch = numel(&s[..rank - 2]) / heads;
        let shape = [batch, heads, s[rank - 2], s[rank - 1]];
        t.prim_reshape(&shape, at)
    };
    let (q, k, v) = (four(query), four(key), four(value));
    let (b, h, l, s) = (q.shape()[0], q.shape()[1], q.shape()[2], k.shape()[2]);
    let mask = match o.mask {
        None => None,
        Some(m) => {
            let mut full = Dims::from_slice(lead);
            full.extend([l, s]);
            // A mask with more dimensions makes the result larger.
            if m.rank() > rank || broadcast_shapes(&[m.shape(), &full]) != full {
                return None;
            }
            let added = if m.dtype() == DType::Bool {
                let zero = number(&q, 0.0).prim_cast(DType::F32, at);
                pick(&m.logical_not(), f64::NEG_INFINITY, &zero.broadcast_at(m.shape(), at))
            } else {
                m.prim_cast(DType::F32, at)
            };
            let wide = added.broadcast_at(&full, at);
            Some(wide.prim_reshape(&[b, h, l, s], at))
        }
    };
    let (seed, offset) = match o.dropout > 0.0 {
        true => draw((b * h * l * s) as u64),
        false => (0, 0),
    };
    let params = AttentionParams {
        scale: scale as f32,
        causal: o.is_causal,
        masked: mask.is_some(),
        dropout: o.dropout as f32,
        seed,
        offset,
    };
    let packed = Tensor::prim_attention(&params, &q, &k, &v, mask.as_ref(), at);
    let y = output_of(&packed, &q, &v, at);
    let mut shape = Dims::from_slice(lead);
    shape.extend([l, v.shape()[3]]);
    Some(y.prim_cast(dtype, at).prim_reshape(&shape, at))
}

/// The output `[B, H, L, V]` in the row that the kernel writes (or the gradient of it, in the gradient of that row).
fn output_of(packed: &Tensor, q: &Tensor, v: &Tensor, at: &'static Location<'static>) -> Tensor {
    let (b, h, l, size) = (q.shape()[0], q.shape()[1], q.shape()[2], v.shape()[3]);
    let first: SmallVec<[(usize, isize); 6]> = SmallVec::from_iter([(0, 1)]);
    let flat = packed.prim_slice(&first, &[b * l * h * size], at);
    flat.prim_reshape(&[b, l, h, size], at).prim_permute(&[0, 2, 1, 3], at)
}

/// The gradients of an attention node's sources by its definition, which can be differentiated again.
pub(crate) fn attention_vjp_by_parts(
    p: &AttentionParams,
    src: &[Tensor],
    g: &Tensor,
) -> Vec<Option<Tensor>> {
    let at = g.0.at;
    let dy = output_of(g, &src[0], &src[2], at);
    // Nodes of their own: one source may be computed from another.
    let own: Vec<Tensor> = src.iter().map(|t| crate::enable_grad(|| t * 1.0)).collect();
    let wanted: Vec<&Tensor> = own.iter().filter(|t| t.is_requires_grad()).collect();
    let y = crate::enable_grad(|| {
        let scores = (widen(&own[0]) * p.scale as f64).matmul(&repeated(&own[1], src).mt());
        let scores = match own.get(3) {
            Some(m) => scores + m,
            None => scores,
        };
        let weights = weights_of(&scores, p.causal, p.masked);
        let weights = thinned(&weights, p.dropout as f64, (p.seed, p.offset));
        weights.matmul(&repeated(&own[2], src))
    });
    let mut grads = crate::grad::grad_with(&[&y], &[&dy], &wanted).into_iter();
    own.iter().map(|t| t.is_requires_grad().then(|| grads.next().expect("one each"))).collect()
}

/// Dropout decided by this stretch of random numbers.
fn thinned(weights: &Tensor, p: f64, (seed, offset): (u64, u64)) -> Tensor {
    if p == 0.0 {
        return weights.clone();
    }
    let draw = Op::Random(Distribution::Uniform, seed, offset);
    let (shape, at) = (weights.0.shape.clone(), weights.0.at);
    let random =
        super::beside(weights, || Tensor::new(draw, DType::F32, shape, Default::default(), at));
    pick(&random.lt(p), number(weights, 0.0), &(weights * (1.0 / (1.0 - p))))
}

/// Keys or values with as many heads as the queries, in f32.
fn repeated(t: &Tensor, src: &[Tensor]) -> Tensor {
    repeat_heads(&widen(t), src[0].shape()[1])
}

/// Scores to weights.
fn weights_of(scores: &Tensor, causal: bool, masked: bool) -> Tensor {
    let rank = scores.rank();
    let scores = if causal {
        let (l, s) = (scores.size(-2), scores.size(-1));
        let later = iota_along(scores, l, rank - 2, rank).lt(iota_along(scores, s, rank - 1, rank));
        &pick(&later, number(scores, f64::NEG_INFINITY), scores)
    } else {
        scores
    };
    if masked { safe_softmax(scores) } else { super::softmax(scores, -1) }
}

/// The definition: products, softmax, dropout.
#[track_caller]
fn by_parts(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    o: &AttentionOptions<'_>,
    scale: f64,
    draw: Draw<'_>,
) -> Tensor {
    let (mut k, mut v) = (widen(key), widen(value));
    if o.enable_gqa {
        let heads = query.size(-3);
        k = repeat_heads(&k, heads);
        v = repeat_heads(&v, heads);
    }
    let s = key.size(-2);
    let scores = (widen(query) * scale).matmul(&k.mt());
    let scores = match o.mask {
        Some(m) if m.dtype() == DType::Bool => {
            pick(&m.logical_not(), number(&scores, f64::NEG_INFINITY), &scores)
        }
        Some(m) => scores + widen(m),
        None => scores,
    };
    let out = if s == 0 || scores.numel() == 0 {
        scores.matmul(&v)
    } else {
        let weights = weights_of(&scores, o.is_causal, o.mask.is_some());
        let weights = match o.dropout > 0.0 && o.dropout < 1.0 {
            true => thinned(&weights, o.dropout, draw(weights.numel() as u64)),
            false => super::dropout(&weights, o.dropout, o.dropout > 0.0),
        };
        weights.matmul(&v)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{grad, with_device};
    use proptest::prelude::*;

    /// Sizes and options of a case.
    #[derive(Clone, Debug)]
    struct Case {
        batch: usize,
        groups: usize,
        each: usize,
        l: usize,
        s: usize,
        e: usize,
        v: usize,
        causal: bool,
        mask: u8,
        dropout: f64,
        dtype: DType,
        seed: u64,
    }

    fn cases() -> impl Strategy<Value = Case> {
        let sizes = (1..3usize, 1..3usize, 1..3usize, 1..90usize, 1..140usize);
        let rest = (1..20usize, 1..20usize, any::<bool>(), 0..3u8, 0..3u8, 0..3u8, any::<u64>());
        (sizes, rest).prop_map(|((batch, groups, each, l, s), (e, v, causal, mask, d, t, seed))| {
            let dropout = if d == 0 { 0.3 } else { 0.0 };
            let dtype = [DType::F32, DType::BF16, DType::F16][t as usize];
            Case { batch, groups, each, l, s, e, v, causal, mask, dropout, dtype, seed }
        })
    }

    impl Case {
        /// Numbers of this case alone: other tests draw from the generator of the process at the same time.
        fn numbers(&self, which: u64, shape: &[usize]) -> Tensor {
            let key = self.seed ^ which;
            let n = numel(shape) as u64;
            let data: Vec<f32> = (0..n).map(|i| crate::philox::normal(key, i)).collect();
            Tensor::from_vec(data, shape)
        }

        /// Query, key and value, the first laid out as a projection of all heads leaves it; and the mask.
        fn data(&self) -> (Vec<Tensor>, Option<Tensor>) {
            let c = self;
            let heads = c.groups * c.each;
            let q = c.numbers(1, &[c.batch, c.l, heads, c.e]);
            let k = c.numbers(2, &[c.batch, c.groups, c.s, c.e]);
            let v = c.numbers(3, &[c.batch, c.groups, c.s, c.v]);
            let leaf = |t: &Tensor| t.to_dtype(c.dtype).eval().detach().requires_grad();
            let all = [q, k, v].iter().map(leaf).collect();
            let mask = match (c.causal, c.mask) {
                (true, _) | (_, 0) => None,
                (_, 1) => Some(c.numbers(4, &[c.l, c.s]).lt(0.3)),
                _ => Some(c.numbers(4, &[c.batch, 1, c.l, c.s])),
            };
            (all, mask.map(|m| m.eval().clone()))
        }

        /// Output and gradients, by the kernel or by parts.
        fn run(&self, kernel: bool) -> Vec<Vec<f64>> {
            let (t, mask) = self.data();
            let o = AttentionOptions {
                mask: mask.as_ref(),
                dropout: self.dropout,
                is_causal: self.causal,
                enable_gqa: true,
                ..Default::default()
            };
            let q = t[0].transpose(1, 2);
            let draw = |_| (self.seed, 40);
            let y = if kernel {
                fused(&q, &t[1], &t[2], &o, 0.4, &draw).expect("it applies")
            } else {
                by_parts(&q, &t[1], &t[2], &o, 0.4, &draw)
            };
            let g = self.numbers(5, y.shape()).to_dtype(y.dtype());
            y.backward_with(&g);
            let mut out = vec![y.to_vec::<f64>()];
            out.extend(t.iter().map(|t| t.grad().expect("it has one").to_vec::<f64>()));
            out
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn the_kernel_agrees_with_its_definition(case in cases()) {
            let tolerance = match case.dtype {
                DType::F32 => 1e-4,
                DType::F16 => 1e-2,
                _ => 6e-2,
            };
            for (got, want) in case.run(true).iter().zip(case.run(false)) {
                for (g, w) in got.iter().zip(&want) {
                    prop_assert!((g - w).abs() <= tolerance * (1.0 + w.abs()), "{g} {w} {case:?}");
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        use crate::dev::cpu::pool;
        let case = Case {
            batch: 2,
            groups: 2,
            each: 2,
            l: 150,
            s: 150,
            e: 16,
            v: 16,
            causal: true,
            mask: 0,
            dropout: 0.1,
            dtype: DType::F32,
            seed: 5,
        };
        let before = pool::threads();
        let results: Vec<_> = [1, 2, 3]
            .map(|n| {
                pool::set_threads(n);
                case.run(true)
            })
            .into();
        pool::set_threads(before);
        assert!(results[0] == results[1] && results[1] == results[2]);
    }

    #[test]
    fn the_reference_device_agrees() {
        let id =
            crate::dev::register_device(Box::new(crate::dev::reference::ReferenceDevice::new()));
        let case = Case {
            batch: 2,
            groups: 2,
            each: 2,
            l: 5,
            s: 7,
            e: 3,
            v: 4,
            causal: false,
            mask: 2,
            dropout: 0.2,
            dtype: DType::F32,
            seed: 9,
        };
        let (here, there) = (case.run(true), with_device(id, || case.run(true)));
        for (a, b) in here.iter().zip(&there) {
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

    #[test]
    fn a_query_that_sees_nothing_gives_zeros_and_takes_no_gradient() {
        let t = Tensor::rand([1, 2, 3]).requires_grad();
        let mask = Tensor::from_slice(&[false, false, true, true], [2, 2]);
        let o = AttentionOptions { mask: Some(&mask), ..Default::default() };
        let y = scaled_dot_product_attention(&t, &t, &t, o);
        assert_eq!(y.narrow(1, 0, 1).to_vec::<f32>(), [0.0; 3]);
        y.narrow(1, 0, 1).sum(..).backward();
        assert_eq!(t.grad().unwrap().to_vec::<f32>(), [0.0; 6]);
    }

    #[test]
    fn gradients_can_be_differentiated_again() {
        // Second derivatives by the kernel's rule and by the definition in f64.
        let x = Tensor::from_slice(&[0.3f64, -0.7, 1.1, 0.2, 0.9, -0.4], [1, 3, 2]);
        let second = |x: &Tensor| {
            let x = x.requires_grad();
            let o = AttentionOptions { is_causal: true, ..Default::default() };
            let k = &x * 0.5;
            let y = scaled_dot_product_attention(&x, &k, &x.square(), o);
            let g = grad(&y.square().sum(..), &[&x]).remove(0);
            grad(&g.square().sum(..), &[&x]).remove(0).to_vec::<f64>()
        };
        for (a, b) in second(&x.to_dtype(DType::F32)).iter().zip(second(&x)) {
            assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{a} {b}");
        }
    }
}
