//! A small GPT on characters: nanoGPT's shape, without biases, with the embedding as output layer.

use crate::Workload;
use crate::measure::{Bench, Rate};
use hardpan_engine::functional::{
    AttentionOptions, cross_entropy, dropout, gelu, linear, scaled_dot_product_attention,
};
use hardpan_engine::{DType, Tensor, no_grad};
use hardpan_nn::init::Init;
use hardpan_nn::{Embedding, Forward, LayerNorm, Linear, Mode, Module};

/// Sizes of a model.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub vocab: usize,
    pub layers: usize,
    pub heads: usize,
    pub width: usize,
    pub context: usize,
}

impl Shape {
    pub(crate) fn of(b: &Bench<'_>) -> Shape {
        let (width, context) = (b.size(384, 12), b.size(256, 9));
        Shape { vocab: 65, layers: b.size(6, 2), heads: b.size(6, 3), width, context }
    }
}

#[derive(Module)]
struct Block {
    ln1: LayerNorm,
    qkv: Linear,
    o: Linear,
    ln2: LayerNorm,
    up: Linear,
    down: Linear,
}

#[derive(Module)]
pub(crate) struct Gpt {
    wte: Embedding,
    wpe: Embedding,
    blocks: Vec<Block>,
    lnf: LayerNorm,
    training: Mode,
    heads: usize,
    dropout: f64,
}

/// Keys and values of each block so far, `[B, heads, context, size]`.
type Cache = Vec<(Tensor, Tensor)>;

impl Gpt {
    pub(crate) fn new(s: Shape, dropout: f64) -> Gpt {
        let init = Init::Normal { mean: 0.0, std: 0.02 };
        let linear = |i, o| Linear::new(i, o).bias(false).init(init);
        let d = s.width;
        let block = |_| Block {
            ln1: LayerNorm::new(d),
            qkv: linear(d, 3 * d),
            o: linear(d, d),
            ln2: LayerNorm::new(d),
            up: linear(d, 4 * d),
            down: linear(4 * d, d),
        };
        Gpt {
            wte: Embedding::new(s.vocab, d).init(init),
            wpe: Embedding::new(s.context, d).init(init),
            blocks: (0..s.layers).map(block).collect(),
            lnf: LayerNorm::new(d),
            training: Mode::new(),
            heads: s.heads,
            dropout,
        }
    }

    /// `[B, T]` to scores `[B, T, vocab]`.
    pub(crate) fn forward(&self, tokens: &Tensor) -> Tensor {
        let (b, t) = (tokens.size(0), tokens.size(1));
        let p = if self.training.is_training() { self.dropout } else { 0.0 };
        let drop = |x: Tensor| dropout(&x, p, p > 0.0);
        let mut x = drop(self.wte.forward(tokens) + self.wpe.weight.value().narrow(0, 0, t));
        let d = x.size(-1);
        for block in &self.blocks {
            let qkv = block.qkv.forward(&block.ln1.forward(&x));
            let head = |i: usize| {
                let part = qkv.narrow(-1, i * d, d);
                part.reshape([b, t, self.heads, d / self.heads]).transpose(1, 2)
            };
            let options = AttentionOptions { is_causal: true, dropout: p, ..Default::default() };
            let y = scaled_dot_product_attention(&head(0), &head(1), &head(2), options);
            let y = y.transpose(1, 2).reshape([b, t, d]);
            x += drop(block.o.forward(&y));
            let wide = gelu(&block.up.forward(&block.ln2.forward(&x)));
            x += drop(block.down.forward(&wide));
        }
        linear(&self.lnf.forward(&x), &self.wte.weight.value(), None)
    }

    fn cache(&self, b: usize, dtype: DType) -> Cache {
        let (context, d) = (self.wpe.weight.shape()[0], self.wpe.weight.shape()[1]);
        let empty = || Tensor::zeros_dtype([b, self.heads, context, d / self.heads], dtype);
        self.blocks.iter().map(|_| (empty().eval().clone(), empty().eval().clone())).collect()
    }

    /// The likeliest next token after token number `t` of each text, `[B]`.
    fn step(&self, tokens: &Tensor, t: usize, cache: &mut Cache) -> Tensor {
        let b = tokens.size(0);
        let mut x = self.wte.forward(tokens) + self.wpe.weight.value().narrow(0, t, 1);
        let d = x.size(-1);
        for (block, (keys, values)) in self.blocks.iter().zip(cache) {
            let qkv = block.qkv.forward(&block.ln1.forward(&x));
            let head =
                |i: usize| qkv.narrow(-1, i * d, d).reshape([b, self.heads, 1, d / self.heads]);
            let at = Some(t as isize);
            let next = Some(t as isize + 1);
            *keys = keys.slice_scatter(&head(1), 2, at, next, 1);
            *values = values.slice_scatter(&head(2), 2, at, next, 1);
            let so_far = |c: &Tensor| c.narrow(2, 0, t + 1);
            let y = scaled_dot_product_attention(
                &head(0),
                &so_far(keys),
                &so_far(values),
                AttentionOptions::default(),
            );
            x += block.o.forward(&y.reshape([b, d]));
            x += block.down.forward(&gelu(&block.up.forward(&block.ln2.forward(&x))));
        }
        linear(&self.lnf.forward(&x), &self.wte.weight.value(), None).argmax(-1)
    }

    /// Generates until the context is full.
    fn generate(&self, b: usize, cache: &mut Cache) {
        let mut tokens = Tensor::zeros_dtype([b], DType::I64);
        for t in 0..self.wpe.weight.shape()[0] - 1 {
            tokens = self.step(&tokens, t, cache);
            hardpan_engine::flush_all();
        }
    }
}

pub(crate) fn add(all: &mut Vec<Workload>) {
    let about = "training GPT (6 layers, 6 heads, 384 wide, 256 characters), batch 16";
    all.push(Workload::new("language", "gpt_6x384_b16_t256", about, train));
    for bs in [1, 16] {
        let about =
            format!("GPT writing 255 characters of {bs} texts, with a cache of keys and values");
        all.push(Workload::new("language", format!("gpt_generate_b{bs}"), about, move |b| {
            generate(b, bs);
        }));
    }
}

fn train(b: &mut Bench<'_>) {
    let bs = b.size(16, 2);
    for variant in ["f32+adamw", "f32+adamw+drop", "bf16+adamw", "bf16+adamw+drop"] {
        if !b.wants(variant) {
            continue;
        }
        let shape = Shape::of(b);
        let model = Gpt::new(shape, if variant.ends_with("drop") { 0.2 } else { 0.0 });
        let count = bs * shape.context;
        let tokens = || Tensor::randint(0, 65, [bs, shape.context]).eval().clone();
        let (x, y) = (tokens(), tokens().reshape([count]));
        b.train(variant, Rate::of(count, "tokens/s"), &model, || {
            cross_entropy(&model.forward(&x).reshape([count, shape.vocab]), &y)
        });
    }
}

fn generate(b: &mut Bench<'_>, bs: usize) {
    let bs = b.size(bs, 2);
    for (variant, dtype) in [("f32", DType::F32), ("bf16", DType::BF16)] {
        if !b.wants(variant) {
            continue;
        }
        let shape = Shape::of(b);
        let model = Gpt::new(shape, 0.0);
        model.eval();
        model.to_dtype(dtype);
        let mut cache = model.cache(bs, dtype);
        let rate = Rate::of((shape.context - 1) * bs, "tokens/s");
        b.time(variant, rate, 1.0, || no_grad(|| model.generate(bs, &mut cache)));
    }
}
