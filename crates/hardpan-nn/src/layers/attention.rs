//! Multi-head attention.

use super::linear::{Linear, value};
use crate::init::Init;
use crate::{Forward, Mode, Module, Param, hook};
use hardpan_engine::{DType, Tensor, functional as f};

/// What attention may look at, and what it gives back.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Attend, MultiheadAttention};
/// let attention = MultiheadAttention::new(8, 2).batch_first(true);
/// let x = Tensor::randn([1, 3, 8]);
/// let (_, weights) = attention.attend(&x, &x, &x, &Attend::causal().weights());
/// assert_eq!(weights.unwrap().to_vec::<f32>()[..3], [1.0, 0.0, 0.0]); // the first sees itself alone
/// ```
#[derive(Clone, Default)]
pub struct Attend {
    /// `[N, S]` (or `[S]`): bool, true where a key is padding and is left out; or float, added to the scores.
    pub key_padding_mask: Option<Tensor>,
    /// `[L, S]` or `[N heads, L, S]`: bool, true where attention is not allowed; or float, added to the scores.
    pub attn_mask: Option<Tensor>,
    /// Query `i` looks at keys `0..=i` only.
    pub is_causal: bool,
    /// Also give the weights back, averaged over heads.
    pub need_weights: bool,
    /// Give the weights back for each head: `[N, heads, L, S]`. Only with `need_weights`.
    pub weights_by_head: bool,
}

impl Attend {
    /// To everything.
    pub fn new() -> Attend {
        Attend::default()
    }

    /// To nothing later.
    pub fn causal() -> Attend {
        Attend { is_causal: true, ..Attend::default() }
    }

    /// With this mask on pairs of query and key.
    #[must_use]
    pub fn mask(mut self, mask: impl Into<Option<Tensor>>) -> Attend {
        self.attn_mask = mask.into();
        self
    }

    /// With this mask on keys.
    #[must_use]
    pub fn padding(mut self, mask: impl Into<Option<Tensor>>) -> Attend {
        self.key_padding_mask = mask.into();
        self
    }

    /// With the weights given back.
    #[must_use]
    pub fn weights(mut self) -> Attend {
        self.need_weights = true;
        self
    }
}

/// Attention with several heads: Vaswani et al., <https://arxiv.org/abs/1706.03762>, section 3.2.2.
///
/// Keys: `in_proj_weight [3 E, E]` and `in_proj_bias` in the order query, key, value (or `q_proj_weight`, `k_proj_weight`,
/// `v_proj_weight` where sizes differ), `bias_k`, `bias_v`, `out_proj.weight`, `out_proj.bias`.
/// Counterpart: `torch.nn.MultiheadAttention`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Attend, Forward, MultiheadAttention};
/// let attention = MultiheadAttention::new(16, 4).batch_first(true);
/// let x = Tensor::ones([2, 5, 16]);
/// assert_eq!(attention.forward(&x).shape(), &[2, 5, 16]);
/// let (y, weights) = attention.attend(&x, &x, &x, &Attend::causal().weights());
/// assert_eq!((y.shape(), weights.unwrap().shape()), (&[2, 5, 16][..], &[2, 5, 5][..]));
/// ```
#[derive(Module)]
pub struct MultiheadAttention {
    /// `[3 E, E]`
    pub in_proj_weight: Option<Param>,
    /// `[E, E]`, where keys or values have another size.
    pub q_proj_weight: Option<Param>,
    /// `[E, key size]`
    pub k_proj_weight: Option<Param>,
    /// `[E, value size]`
    pub v_proj_weight: Option<Param>,
    /// `[3 E]`
    pub in_proj_bias: Option<Param>,
    /// `[1, 1, E]`: a learned key beside those given.
    pub bias_k: Option<Param>,
    /// `[1, 1, E]`: its value.
    pub bias_v: Option<Param>,
    /// From the heads together to the result.
    pub out_proj: Linear,
    /// Whether weights are dropped.
    pub training: Mode,
    embed: usize,
    heads: usize,
    dropout: f64,
    batch_first: bool,
    zero_attn: bool,
}

impl MultiheadAttention {
    /// Of `embed` features shared out over so many heads; with biases, no dropout, time first.
    ///
    /// # Panics
    /// If the features do not divide by the heads.
    #[track_caller]
    pub fn new(embed: usize, heads: usize) -> MultiheadAttention {
        assert!(
            heads > 0 && embed.is_multiple_of(heads),
            "MultiheadAttention: {embed} features do not divide into {heads} heads"
        );
        MultiheadAttention {
            in_proj_weight: Some(Param::new(Init::XavierUniform(1.0).tensor(&[3 * embed, embed]))),
            q_proj_weight: None,
            k_proj_weight: None,
            v_proj_weight: None,
            in_proj_bias: Some(Param::new(Tensor::zeros([3 * embed]))),
            bias_k: None,
            bias_v: None,
            out_proj: Linear::new(embed, embed).init(Init::XavierUniform(1.0)),
            training: Mode::for_dropout(),
            embed,
            heads,
            dropout: 0.0,
            batch_first: false,
            zero_attn: false,
        }
    }

    /// With biases or without. Default: with.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> MultiheadAttention {
        self.in_proj_bias = bias.then(|| Param::new(Tensor::zeros([3 * self.embed])));
        self.out_proj = self.out_proj.bias(bias);
        self
    }

    /// Whether tensors are `[N, L, E]` rather than `[L, N, E]`. Default no.
    #[must_use]
    pub fn batch_first(mut self, batch_first: bool) -> MultiheadAttention {
        self.batch_first = batch_first;
        self
    }

    /// Probability of dropping an attention weight. Default 0.
    #[must_use]
    pub fn dropout(mut self, p: f64) -> MultiheadAttention {
        self.dropout = p;
        self
    }

    /// Sizes of keys and values where they differ from the queries'.
    #[must_use]
    pub fn sizes(mut self, key: usize, value: usize) -> MultiheadAttention {
        let e = self.embed;
        if key == e && value == e {
            return self;
        }
        let make = |n: usize| Some(Param::new(Init::XavierUniform(1.0).tensor(&[e, n])));
        self.in_proj_weight = None;
        (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight) =
            (make(e), make(key), make(value));
        self
    }

    /// With a learned key and value beside those given. Default no.
    #[must_use]
    pub fn bias_kv(mut self, add: bool) -> MultiheadAttention {
        let e = self.embed;
        let std = (1.0 / e.max(1) as f64).sqrt();
        let make = || Param::new(Init::Normal { mean: 0.0, std }.tensor(&[1, 1, e]));
        (self.bias_k, self.bias_v) = (add.then(make), add.then(make));
        self
    }

    /// With a key and value of zeros beside those given. Default no.
    #[must_use]
    pub fn zero_attn(mut self, add: bool) -> MultiheadAttention {
        self.zero_attn = add;
        self
    }

    /// Queries `[L, N, E]` look at keys `[S, N, E]` and take values `[S, N, E]` (batch first, or without N, as said):
    /// the result `[L, N, E]`, and the weights `[N, L, S]` if asked for.
    ///
    /// # Panics
    /// When shapes do not fit.
    #[track_caller]
    pub fn attend(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        options: &Attend,
    ) -> (Tensor, Option<Tensor>) {
        if !hook::attached() {
            return self.attend_to(query, key, value, options);
        }
        let given = (query.clone(), key.clone(), value.clone());
        let call = hook::enter(self, &given);
        let x = call.input(&given);
        // Unchanged, what is one tensor stays one: then the three projections are one product, hooks or not.
        let y = if std::ptr::eq(x, &given) {
            self.attend_to(query, key, value, options)
        } else {
            self.attend_to(&x.0, &x.1, &x.2, options)
        };
        call.leave(y)
    }

    #[track_caller]
    fn attend_to(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        options: &Attend,
    ) -> (Tensor, Option<Tensor>) {
        let fits = (query.rank() == 2 || query.rank() == 3)
            && key.rank() == query.rank()
            && value.rank() == query.rank()
            && query.size(-1) == self.embed;
        assert!(
            fits,
            "MultiheadAttention({}, {}): expected {} or the same without N, got query {:?}, key {:?}, value {:?}",
            self.embed,
            self.heads,
            if self.batch_first { "[N, L, E]" } else { "[L, N, E]" },
            query.shape(),
            key.shape(),
            value.shape()
        );
        let alone = query.rank() == 2;
        // To [N, L, E].
        let batched = |t: &Tensor| match (alone, self.batch_first) {
            (true, _) => t.unsqueeze(0),
            (false, true) => t.clone(),
            (false, false) => t.transpose(0, 1),
        };
        let same = std::ptr::eq(query, key) && std::ptr::eq(key, value);
        let (q, k, v) = if same {
            self.project_one(&batched(query))
        } else {
            self.project(&batched(query), &batched(key), &batched(value))
        };
        let (n, l) = (q.size(0), q.size(1));
        let (k, v, extra) = self.with_extra_keys(k, v, n);
        let s = k.size(1);
        let size = self.embed / self.heads;
        let split = |t: &Tensor, len: usize| t.reshape([n, len, self.heads, size]).transpose(1, 2);
        let (q, k, v) = (split(&q, l), split(&k, s), split(&v, s));
        // Where causality is the only mask, the kernel skips what is later rather than add minus infinity to it.
        let plain = options.attn_mask.is_none() && options.key_padding_mask.is_none() && extra == 0;
        let is_causal = options.is_causal && plain && !options.need_weights;
        let mask = match is_causal {
            true => None,
            false => self.mask(options, n, l, s, extra, q.dtype()),
        };
        let p = if self.training.is_training() { self.dropout } else { 0.0 };
        let (heads, weights) = if options.need_weights {
            let scores = (q * (1.0 / (size as f64).sqrt())).matmul(&k.mt());
            let scores = match &mask {
                Some(m) => scores + m,
                None => scores,
            };
            let weights = f::dropout(&f::softmax(&scores, -1), p, p > 0.0);
            (weights.matmul(&v), Some(weights))
        } else {
            let mask = mask.as_ref();
            let attention =
                f::AttentionOptions { mask, dropout: p, is_causal, ..Default::default() };
            (f::scaled_dot_product_attention(&q, &k, &v, attention), None)
        };
        let joined = heads.transpose(1, 2).reshape([n, l, self.embed]);
        let y = self.out_proj.forward(&joined);
        let y = match (alone, self.batch_first) {
            (true, _) => y.squeeze(0),
            (false, true) => y,
            (false, false) => y.transpose(0, 1),
        };
        let weights = weights.map(|w| {
            let w = if options.weights_by_head { w } else { w.mean(1) };
            if alone { w.squeeze(0) } else { w }
        });
        (y, weights)
    }

    /// Rows `k E..(k + 1) E` of the projections.
    fn part(&self, k: usize) -> (Tensor, Option<Tensor>) {
        let e = self.embed;
        let bias = self.in_proj_bias.as_ref().map(|b| b.value().narrow(0, k * e, e));
        let weight = match &self.in_proj_weight {
            Some(w) => w.value().narrow(0, k * e, e),
            None => {
                let own = [&self.q_proj_weight, &self.k_proj_weight, &self.v_proj_weight];
                own[k].as_ref().expect("made together").value()
            }
        };
        (weight, bias)
    }

    #[track_caller]
    fn project(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> (Tensor, Tensor, Tensor) {
        let one = |x: &Tensor, i: usize| {
            let (w, b) = self.part(i);
            f::linear(x, &w, b.as_ref())
        };
        (one(q, 0), one(k, 1), one(v, 2))
    }

    /// Self attention: all three projections are one product.
    #[track_caller]
    fn project_one(&self, x: &Tensor) -> (Tensor, Tensor, Tensor) {
        let Some(w) = &self.in_proj_weight else { return self.project(x, x, x) };
        let e = self.embed;
        let y = f::linear(x, &w.value(), value(&self.in_proj_bias).as_ref());
        (y.narrow(-1, 0, e), y.narrow(-1, e, e), y.narrow(-1, 2 * e, e))
    }

    /// Keys and values `[N, S, E]` with the learned and the zero one, and how many were added.
    fn with_extra_keys(&self, k: Tensor, v: Tensor, n: usize) -> (Tensor, Tensor, usize) {
        let (mut k, mut v, mut extra) = (k, v, 0);
        if let (Some(bk), Some(bv)) = (&self.bias_k, &self.bias_v) {
            let row = |p: &Param| p.value().broadcast_to([n, 1, self.embed]);
            k = Tensor::cat(&[k, row(bk)], 1);
            v = Tensor::cat(&[v, row(bv)], 1);
            extra += 1;
        }
        if self.zero_attn {
            let zero = k.narrow(1, 0, 1).zeros_like();
            k = Tensor::cat(&[&k, &zero], 1);
            v = Tensor::cat(&[&v, &zero], 1);
            extra += 1;
        }
        (k, v, extra)
    }

    /// All masks as one float mask that broadcasts to `[N, heads, L, S]`.
    #[track_caller]
    fn mask(
        &self,
        options: &Attend,
        n: usize,
        l: usize,
        s: usize,
        extra: usize,
        dtype: DType,
    ) -> Option<Tensor> {
        let float = |m: &Tensor| {
            if m.dtype() == DType::Bool {
                m.to_dtype(dtype).zeros_like().where_(&m.logical_not(), f64::NEG_INFINITY)
            } else {
                m.to_dtype(dtype)
            }
        };
        let given = s - extra;
        let mut total: Option<Tensor> = None;
        let mut add = |m: Tensor| {
            total = Some(match total.take() {
                Some(t) => t + m,
                None => m,
            });
        };
        if options.is_causal && options.attn_mask.is_none() {
            let (rows, columns) = (Tensor::iota(l).reshape([l, 1]), Tensor::iota(given));
            add(float(&rows.lt(&columns)).reshape([1, 1, l, given]));
        }
        if let Some(m) = &options.attn_mask {
            let shape = match m.rank() {
                2 => [1, 1, l, given],
                _ => [n, self.heads, l, given],
            };
            assert!(
                m.numel() == shape.iter().product::<usize>() && m.size(-1) == given,
                "MultiheadAttention: the mask has shape {:?}; [{l}, {given}] or [{}, {l}, {given}] was expected",
                m.shape(),
                n * self.heads
            );
            add(float(m).reshape(shape));
        }
        if let Some(m) = &options.key_padding_mask {
            assert!(
                m.numel() == n * given && m.size(-1) == given,
                "MultiheadAttention: the key padding mask has shape {:?}; [{n}, {given}] was expected",
                m.shape()
            );
            add(float(m).reshape([n, 1, 1, given]));
        }
        let total = total?;
        if extra == 0 {
            return Some(total);
        }
        // What was added may always be looked at.
        Some(total.pad_zeros(&[(0, 0), (0, 0), (0, 0), (0, extra)]))
    }
}

/// Attention of a sequence to itself, without masks.
impl Forward for MultiheadAttention {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.attend(x, x, x, &Attend::new()).0
    }
}

/// Query, key and value, without masks.
impl Forward<(Tensor, Tensor, Tensor)> for MultiheadAttention {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (q, k, v): &(Tensor, Tensor, Tensor)) -> Tensor {
        self.attend(q, k, v, &Attend::new()).0
    }
}
