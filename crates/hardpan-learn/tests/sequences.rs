//! Models of sequences made of the library's own layers, trained by a learner: a recurrent one, and one from sequence to sequence.

use hardpan_engine::{DType, Tensor, manual_seed};
use hardpan_learn::data::{DataLoaders, TensorDataset, permutation};
use hardpan_learn::learner::Learner;
use hardpan_learn::metric::{Mean, accuracy};
use hardpan_nn::{
    Attend, CrossEntropyLoss, Embedding, Forward, LSTM, Linear, Module, Param, Transformer,
    TransformerConfig, TransformerMasks,
};
use std::sync::{Mutex, MutexGuard};

/// The random generator is one for the process.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}

/// Reads a sequence and says what it was about.
#[derive(Module)]
struct Reader {
    embedding: Embedding,
    lstm: LSTM,
    head: Linear,
}

impl Forward for Reader {
    type Output = Tensor;
    /// Tokens `[N, T]` to logits `[N, 2]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        let (states, _) = self.lstm.forward(&self.embedding.forward(x));
        self.head.forward(&states.select(1, -1))
    }
}

#[test]
fn an_lstm_remembers_how_a_sequence_began() {
    let _turn = turn();
    manual_seed(1);
    // The class is the first token; what follows it says nothing.
    let (n, length) = (256, 5);
    let first: Vec<i64> = (0..n).map(|i| (i % 2) as i64).collect();
    let tokens: Vec<i64> = (0..n * length)
        .map(|i| if i % length == 0 { first[i / length] } else { (i * 7919 / 13 % 4) as i64 })
        .collect();
    let x = Tensor::from_slice(&tokens, [n, length]);
    let (train, valid) =
        TensorDataset::new(x, Tensor::from_slice(&first, [n])).unwrap().split_at(192);
    let loaders = DataLoaders::from_tensors(train, valid, 16, 2).unwrap();
    let model = Reader {
        embedding: Embedding::new(4, 8),
        lstm: LSTM::new(8, 16).batch_first(true),
        head: Linear::new(16, 2),
    };
    let mut learn = Learner::with_loss(loaders, model, CrossEntropyLoss::new())
        .metric(Mean::new("accuracy", accuracy))
        .silent();
    let before = learn.validate().unwrap().get("accuracy").unwrap();
    learn.fit_one_cycle(10, 0.03).unwrap();
    let after = learn.history().last_metric("accuracy").unwrap();
    assert!(before < 0.8 && after > 0.95, "{before} before, {after} after");
}

/// Writes a sequence from another one.
#[derive(Module)]
struct Writer {
    source: Embedding,
    target: Embedding,
    places: Param,
    transformer: Transformer,
    head: Linear,
}

impl Forward<(Tensor, Tensor)> for Writer {
    type Output = Tensor;
    /// Source `[N, S]` and what has been written so far `[N, T]` to logits `[N, V, T]` of what comes next.
    fn forward(&self, (source, written): &(Tensor, Tensor)) -> Tensor {
        let placed = |x: Tensor| {
            let n = x.size(1);
            x + self.places.value().narrow(0, 0, n)
        };
        let masks = TransformerMasks { target: Attend::causal(), ..TransformerMasks::default() };
        let (source, written) =
            (placed(self.source.forward(source)), placed(self.target.forward(written)));
        let y = self.transformer.apply(&source, &written, &masks);
        self.head.forward(&y).transpose(1, 2)
    }
}

#[test]
fn a_transformer_learns_to_write_backwards() {
    let _turn = turn();
    manual_seed(2);
    // Words of four letters out of six, no letter twice; token 0 begins.
    const LETTERS: usize = 6;
    const LENGTH: usize = 4;
    let n = 360;
    let words: Vec<Vec<i64>> = (0..n)
        .map(|i| {
            permutation(LETTERS, 5, i).into_iter().take(LENGTH).map(|l| l as i64 + 1).collect()
        })
        .collect();
    let backwards = |w: &Vec<i64>| w.iter().rev().copied().collect::<Vec<i64>>();
    let begun = |w: &Vec<i64>| [vec![0], backwards(w)[..LENGTH - 1].to_vec()].concat();
    let tensor = |f: &dyn Fn(&Vec<i64>) -> Vec<i64>| {
        let all: Vec<i64> = words.iter().flat_map(f).collect();
        Tensor::from_slice(&all, [n as usize, LENGTH])
    };
    let data = TensorDataset::new((tensor(&|w| w.clone()), tensor(&begun)), tensor(&backwards));
    let (train, valid) = data.unwrap().split_at(300);
    let loaders = DataLoaders::from_tensors(train, valid, 30, 2).unwrap();
    let config = TransformerConfig::new(24, 2).feedforward(48).dropout(0.0).batch_first(true);
    let model = Writer {
        source: Embedding::new(LETTERS + 1, 24),
        target: Embedding::new(LETTERS + 1, 24),
        places: Param::new(Tensor::randn([LENGTH, 24])),
        transformer: Transformer::new(&config, 1, 1),
        head: Linear::new(24, LETTERS + 1),
    };
    let letters = |pred: &Tensor, y: &Tensor| pred.argmax(1).eq(y).to_dtype(DType::F32).mean(..);
    let mut learn = Learner::with_loss(loaders, model, CrossEntropyLoss::new())
        .metric(Mean::new("letters", letters))
        .silent();
    let before = learn.validate().unwrap().get("letters").unwrap();
    learn.fit_one_cycle(30, 0.01).unwrap();
    let after = learn.history().last_metric("letters").unwrap();
    assert!(before < 0.4 && after > 0.9, "{before} before, {after} after");
    // Letter by letter, from words it has not seen.
    let (x, y) = learn.context().loaders.valid.as_ref().unwrap().one_batch().unwrap();
    let mut written = Tensor::zeros([x.0.size(0), 1]).to_dtype(DType::I64);
    for _ in 0..LENGTH {
        let next = learn.predict(&(x.0.clone(), written.clone())).argmax(1).narrow(
            1,
            written.size(1) - 1,
            1,
        );
        written = Tensor::cat(&[written, next], 1);
    }
    let right = written.narrow(1, 1, LENGTH).eq(&y).to_dtype(DType::F32).mean(..).item::<f32>();
    assert!(right > 0.8, "{right} of the letters written alone");
}
