//! Translation: the Transformer of <https://arxiv.org/abs/1706.03762>, three layers each way.

use crate::Workload;
use crate::contraction::random;
use crate::measure::{Bench, Rate};
use hardpan_engine::functional::{CrossEntropyOptions, cross_entropy_with};
use hardpan_engine::{DType, Tensor};
use hardpan_nn::{
    Attend, Buffer, Embedding, Forward, Linear, Module, Transformer, TransformerConfig,
    TransformerMasks,
};

#[derive(Module)]
struct Seq2Seq {
    source: Embedding,
    target: Embedding,
    transformer: Transformer,
    out: Linear,
    positions: Buffer,
}

impl Seq2Seq {
    fn new(vocab: usize, width: usize, heads: usize, layers: usize) -> Seq2Seq {
        let config = TransformerConfig::new(width, heads)
            .feedforward(4 * width)
            .dropout(0.1)
            .batch_first(true);
        Seq2Seq {
            source: Embedding::new(vocab, width),
            target: Embedding::new(vocab, width),
            transformer: Transformer::new(&config, layers, layers),
            out: Linear::new(width, vocab),
            positions: Buffer::new((random(&[64, width], DType::F32) * 0.02).eval().clone()),
        }
    }

    /// Source and target `[B, T]` to scores `[B, T, vocab]`.
    fn forward(&self, source: &Tensor, target: &Tensor) -> Tensor {
        let embed = |table: &Embedding, tokens: &Tensor| {
            table.forward(tokens) + self.positions.value().narrow(0, 0, tokens.size(1))
        };
        let masks = TransformerMasks { target: Attend::causal(), ..Default::default() };
        let (s, t) = (embed(&self.source, source), embed(&self.target, target));
        self.out.forward(&self.transformer.apply(&s, &t, &masks))
    }
}

pub(crate) fn add(all: &mut Vec<Workload>) {
    let about = "training a Transformer (256 wide, 3 + 3 layers, 8,000 words), batch 64, 40 words";
    all.push(Workload::new("language", "seq2seq_256x3x3_b64_t40", about, train));
}

fn train(b: &mut Bench<'_>) {
    let (bs, t, vocab) = (b.size(64, 2), b.size(40, 5), b.size(8000, 30));
    for variant in ["f32+adam", "bf16+adam"] {
        if !b.wants(variant) {
            continue;
        }
        let model = Seq2Seq::new(vocab, b.size(256, 8), 4, b.size(3, 1));
        let tokens = || Tensor::randint(0, vocab as i64, [bs, t]).eval().clone();
        let (source, target, y) = (tokens(), tokens(), tokens().reshape([bs * t]));
        b.train(variant, Rate::of(bs * t, "tokens/s"), &model, || {
            let scores = model.forward(&source, &target).reshape([bs * t, vocab]);
            let options = CrossEntropyOptions { label_smoothing: 0.1, ..Default::default() };
            cross_entropy_with(&scores, &y, options)
        });
    }
}
