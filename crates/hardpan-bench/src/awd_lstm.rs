//! The AWD-LSTM language model: Merity et al., <https://arxiv.org/abs/1708.02182>, with fastai's sizes and dropouts.

use crate::Workload;
use crate::contraction::random;
use crate::measure::{Bench, Rate};
use hardpan_engine::functional::{
    EmbeddingOptions, LstmWeights, cross_entropy, dropout, embedding, linear, lstm,
};
use hardpan_engine::{DType, Tensor};
use hardpan_nn::init::Init;
use hardpan_nn::{Mode, Module, Param, State};

/// Dropout probabilities: of embedding rows, of the input, between layers, of recurrent weights, of the output.
const EMBED_P: f64 = 0.02;
const INPUT_P: f64 = 0.25;
const HIDDEN_P: f64 = 0.15;
const WEIGHT_P: f64 = 0.2;
const OUTPUT_P: f64 = 0.1;

/// One layer whose recurrent weights are dropped.
#[derive(Module)]
struct Layer {
    weight_ih: Param,
    weight_hh: Param,
    bias_ih: Param,
    bias_hh: Param,
}

impl Layer {
    fn new(input: usize, hidden: usize) -> Layer {
        let bound = 1.0 / (hidden as f64).sqrt();
        let param = |shape: &[usize]| Param::new(Init::Uniform(-bound, bound).tensor(shape));
        Layer {
            weight_ih: param(&[4 * hidden, input]),
            weight_hh: param(&[4 * hidden, hidden]),
            bias_ih: param(&[4 * hidden]),
            bias_hh: param(&[4 * hidden]),
        }
    }
}

#[derive(Module)]
struct AwdLstm {
    encoder: Param,
    layers: Vec<Layer>,
    decoder_bias: Param,
    /// Hidden and cell state of each layer between batches.
    states: State<Vec<(Tensor, Tensor)>>,
    training: Mode,
}

/// Dropout with one decision for all time steps of `[B, T, C]`.
fn same_over_time(x: &Tensor, p: f64, training: bool) -> Tensor {
    if !training {
        return x.clone();
    }
    x * dropout(&Tensor::ones([x.size(0), 1, x.size(2)]), p, true)
}

impl AwdLstm {
    fn new(vocab: usize, embed: usize, hidden: usize, layers: usize) -> AwdLstm {
        let size = |l: usize| if l == layers - 1 { embed } else { hidden };
        let input = |l: usize| if l == 0 { embed } else { hidden };
        AwdLstm {
            encoder: Param::new(Init::Uniform(-0.1, 0.1).tensor(&[vocab, embed])),
            layers: (0..layers).map(|l| Layer::new(input(l), size(l))).collect(),
            decoder_bias: Param::new(Tensor::zeros([vocab])),
            states: State::default(),
            training: Mode::new(),
        }
    }

    /// `[B, T]` to scores `[B, T, vocab]`, the last layer's output, and the same dropped.
    fn forward(&self, tokens: &Tensor) -> (Tensor, Tensor, Tensor) {
        let training = self.training.is_training();
        let table = self.encoder.value();
        let rows = if training {
            &table * dropout(&Tensor::ones([table.size(0), 1]), EMBED_P, true)
        } else {
            table.clone()
        };
        // Row 1 stands for padding and gets no gradient.
        let options = EmbeddingOptions { padding_idx: Some(1), ..Default::default() };
        let mut x = same_over_time(&embedding(tokens, &rows, options), INPUT_P, training);
        let before = self.states.take();
        let mut after = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            let hh = dropout(&layer.weight_hh.value(), WEIGHT_P, training);
            let weights = LstmWeights {
                ih: layer.weight_ih.value(),
                hh,
                bias: Some((layer.bias_ih.value(), layer.bias_hh.value())),
            };
            let state = before.get(i).map(|s| (&s.0, &s.1));
            let (y, h, c) = lstm(&x.transpose(0, 1), state, &weights);
            after.push((h.detach(), c.detach()));
            x = y.transpose(0, 1);
            if i + 1 < self.layers.len() {
                x = same_over_time(&x, HIDDEN_P, training);
            }
        }
        self.states.set(after);
        let dropped = same_over_time(&x, OUTPUT_P, training);
        let scores = linear(&dropped, &table, Some(&self.decoder_bias.value()));
        (scores, x, dropped)
    }
}

pub(crate) fn add(all: &mut Vec<Workload>) {
    let about = "training AWD-LSTM (400-1152-1152-400, 10,000 words) with its dropouts and activation losses";
    all.push(Workload::new("language", "awdlstm_b32_t70", about, train));
    let about = "AWD-LSTM, the next word of one text";
    all.push(Workload::new("language", "awdlstm_generate_b1", about, generate));
}

fn model(b: &Bench<'_>) -> (AwdLstm, usize) {
    let vocab = b.size(10_000, 30);
    (AwdLstm::new(vocab, b.size(400, 8), b.size(1152, 12), 3), vocab)
}

fn train(b: &mut Bench<'_>) {
    let (bs, steps) = (b.size(32, 2), b.size(70, 3));
    for variant in ["f32+adam", "bf16+adam"] {
        if !b.wants(variant) {
            continue;
        }
        let (model, vocab) = model(b);
        let tokens = || Tensor::randint(0, vocab as i64, [bs, steps]).eval().clone();
        let (x, y) = (tokens(), tokens().reshape([bs * steps]));
        b.train(variant, Rate::of(bs * steps, "tokens/s"), &model, || {
            let (scores, raw, dropped) = model.forward(&x);
            let loss = cross_entropy(&scores.reshape([bs * steps, vocab]), &y);
            // Activation regularization 2, temporal activation regularization 1.
            let change = raw.narrow(1, 1, steps - 1) - raw.narrow(1, 0, steps - 1);
            loss + dropped.square().mean(..) * 2.0 + change.square().mean(..)
        });
    }
}

fn generate(b: &mut Bench<'_>) {
    let (model, _) = model(b);
    model.eval();
    let x = random(&[1, 1], DType::F32).abs().to_dtype(DType::I64);
    b.infer("f32", Rate::of(1, "tokens/s"), || model.forward(&x).0);
}
