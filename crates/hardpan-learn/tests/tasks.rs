//! The types of a training: two inputs, state carried from batch to batch, sequence to sequence. No casts anywhere.

mod support;

use hardpan_engine::{DType, Tensor};
use hardpan_learn::callback::{Callback, Flow, ModelResetter};
use hardpan_learn::data::{DataLoader, DataLoaders, TensorDataset, language_model};
use hardpan_learn::learner::{Context, Learner, Task, loss};
use hardpan_learn::metric::{Mean, Perplexity};
use hardpan_nn::optim::Adam;
use hardpan_nn::{CrossEntropyLoss, Forward, Module, Param, State};
use std::sync::{Arc, Mutex};
use support::*;

/// Price per square metre times size, plus a bonus by location: two inputs of different kinds.
#[derive(Module)]
struct Houses {
    price: Param,
    bonus: Param,
}

impl Forward<(Tensor, Tensor)> for Houses {
    type Output = Tensor;
    fn forward(&self, (size, place): &(Tensor, Tensor)) -> Tensor {
        size * self.price.value() + place.matmul(&self.bonus.value())
    }
}

#[test]
fn two_inputs() {
    let size = tensor(1, &[64, 1]);
    let place = Tensor::eye(4, 4);
    let places = Tensor::cat(&vec![place; 16], 0);
    let y = &size * 3.0 + places.matmul(&Tensor::from_slice(&[1.0f32, -1.0, 0.5, 2.0], [4, 1]));
    let data = TensorDataset::new((size, places), y).unwrap();
    let (train, valid) = data.split_at(48);
    let loaders = DataLoaders::from_tensors(train, valid, 8, 1).unwrap();
    let model =
        Houses { price: Param::new(Tensor::zeros([1])), bonus: Param::new(Tensor::zeros([4, 1])) };
    // A callback that knows the types sees the pair as a pair.
    struct Pairs(Arc<Mutex<Vec<usize>>>);
    impl Callback<(Houses, (Tensor, Tensor), Tensor)> for Pairs {
        fn before_batch(&mut self, ctx: &mut Context<(Houses, (Tensor, Tensor), Tensor)>) -> Flow {
            let (size, place) = ctx.x();
            self.0.lock().unwrap().push(size.shape()[1] + place.shape()[1]);
            Flow::Continue
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut learn = Learner::new(loaders, model, mse).callback(Pairs(seen.clone())).silent();
    learn.fit_one_cycle(30, 0.1).unwrap();
    assert!(learn.validate().unwrap().valid_loss.unwrap() < 0.01);
    assert!(seen.lock().unwrap().iter().all(|n| *n == 5));
    let price = learn.model().price.value().item::<f32>();
    assert!((price - 3.0).abs() < 0.1, "{price}");
}

fn one_hot(x: &Tensor, n: usize) -> Tensor {
    x.unsqueeze(-1).eq(Tensor::iota(n)).to_dtype(DType::F32)
}

/// A language model whose hidden state goes on from batch to batch. Each token is the sum of the two before it, modulo 5: to know the
/// first one of a batch it has to remember the batch before.
#[derive(Module)]
struct Rnn {
    input: Linear,
    hidden: Linear,
    output: Linear,
    state: State<Option<Tensor>>,
}

const VOCAB: usize = 5;
const WIDTH: usize = 32;

impl Forward for Rnn {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        let (rows, length) = (x.size(0), x.size(1));
        let mut h = self.state.take().unwrap_or_else(|| Tensor::zeros([rows, WIDTH]));
        let mut outputs = Vec::new();
        for t in 0..length {
            let token = one_hot(&x.select(1, t as isize), VOCAB);
            h = (self.input.forward(&token) + self.hidden.forward(&h)).tanh();
            outputs.push(self.output.forward(&h));
        }
        // Without history: the next batch's gradients end where it begins.
        self.state.set(Some(h.detach()));
        Tensor::stack(&outputs, 1)
    }
}

/// Writes down whether the model remembers anything when a pass begins and when it ends.
struct Memory(Arc<Mutex<Vec<(&'static str, bool)>>>);

impl Memory {
    fn note(&self, what: &'static str, ctx: &Context<(Rnn, Tensor, Tensor)>) -> Flow {
        let state = ctx.model.state.take();
        self.0.lock().unwrap().push((what, state.is_some()));
        ctx.model.state.set(state);
        Flow::Continue
    }
}

impl Callback<(Rnn, Tensor, Tensor)> for Memory {
    fn order(&self) -> i32 {
        1
    }
    fn before_train(&mut self, ctx: &mut Context<(Rnn, Tensor, Tensor)>) -> Flow {
        self.note("train", ctx)
    }
    fn before_batch(&mut self, ctx: &mut Context<(Rnn, Tensor, Tensor)>) -> Flow {
        if ctx.training && ctx.iter == 1 { self.note("second batch", ctx) } else { Flow::Continue }
    }
    fn before_validate(&mut self, ctx: &mut Context<(Rnn, Tensor, Tensor)>) -> Flow {
        self.note("valid", ctx)
    }
}

#[test]
fn a_language_model_with_state() {
    let mut tokens = vec![1i64, 1];
    for i in 2..401 {
        tokens.push((tokens[i - 1] + tokens[i - 2]) % VOCAB as i64);
    }
    let (bs, length) = (4, 5);
    let data = language_model(&tokens, bs, length).unwrap();
    // Row r of a batch goes on where row r of the batch before stopped.
    let (x, y) = (data.x().to_vec::<i64>(), data.y().to_vec::<i64>());
    for row in 0..bs {
        assert_eq!(y[row * length + length - 1], x[(bs + row) * length]);
    }
    let loader = DataLoader::new(data, bs).unwrap();
    let loaders = DataLoaders::new(loader.clone(), loader);
    let model = Rnn {
        input: Linear::new(1, VOCAB, WIDTH),
        hidden: Linear::new(2, WIDTH, WIDTH),
        output: Linear::new(3, WIDTH, VOCAB),
        state: State::default(),
    };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut learn = Learner::with_loss(loaders, model, CrossEntropyLoss::new().dim(-1))
        .opt(Adam::fastai(1e-3).weight_decay(0.0))
        .metric(Perplexity::new(loss(CrossEntropyLoss::new().dim(-1))))
        .callback(ModelResetter)
        .callback(Memory(seen.clone()))
        .silent();
    learn.fit_one_cycle(15, 0.02).unwrap();
    let v = learn.validate().unwrap();
    // Guessing gives ln 5 = 1.609; only one token in a stream cannot be known.
    assert!(v.valid_loss.unwrap() < 0.2, "{v:?}");
    let perplexity = v.get("perplexity").unwrap();
    assert!((perplexity - v.valid_loss.unwrap().exp()).abs() < 1e-6);
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|(what, some)| *some == (*what == "second batch")), "{seen:?}");
    assert!(seen.iter().any(|s| s.0 == "second batch"));
}

/// Reads the source, then writes the target with what it wrote before at hand. The task: the source in reverse.
#[derive(Module)]
struct Translate {
    encode: Linear,
    previous: Linear,
    decode: Linear,
    output: Linear,
}

const LETTERS: usize = 4;
const LENGTH: usize = 3;

impl Forward<(Tensor, Tensor)> for Translate {
    type Output = Tensor;
    fn forward(&self, (source, target_in): &(Tensor, Tensor)) -> Tensor {
        let rows = source.size(0);
        let meaning = one_hot(source, LETTERS).reshape([rows, LENGTH * LETTERS]);
        let meaning = self.encode.forward(&meaning).unsqueeze(1);
        let place = Tensor::eye(LENGTH, LENGTH).unsqueeze(0).expand([rows, LENGTH, LENGTH]);
        let before = self.previous.forward(&one_hot(target_in, LETTERS + 1));
        let h = (meaning + self.decode.forward(&place) + before).maximum(0.0);
        self.output.forward(&h)
    }
}

#[test]
fn sequence_to_sequence() {
    let n = 256;
    let source: Vec<i64> =
        numbers(5, n * LENGTH).iter().map(|v| ((v + 1.0) * 0.5 * LETTERS as f32) as i64).collect();
    let target: Vec<i64> =
        source.chunks(LENGTH).flat_map(|c| c.iter().rev().copied().collect::<Vec<_>>()).collect();
    // What the decoder sees of the target: shifted by one, after a start token.
    let target_in: Vec<i64> = target
        .chunks(LENGTH)
        .flat_map(|c| std::iter::once(LETTERS as i64).chain(c[..LENGTH - 1].iter().copied()))
        .collect();
    let t = |v: &[i64]| Tensor::from_slice(v, [n, LENGTH]);
    let data = TensorDataset::new((t(&source), t(&target_in)), t(&target)).unwrap();
    let (train, valid) = data.split_at(200);
    let loaders = DataLoaders::from_tensors(train, valid, 16, 3).unwrap();
    let model = Translate {
        encode: Linear::new(1, LENGTH * LETTERS, 64),
        previous: Linear::new(2, LETTERS + 1, 64),
        decode: Linear::new(3, LENGTH, 64),
        output: Linear::new(4, 64, LETTERS),
    };
    let accuracy = hardpan_learn::metric::accuracy;
    let mut learn = Learner::with_loss(loaders, model, CrossEntropyLoss::new().dim(-1))
        .metric(Mean::new("accuracy", accuracy))
        .silent();
    learn.fit_one_cycle(25, 0.03).unwrap();
    let reached = learn.history().last_metric("accuracy").unwrap();
    assert!(reached > 0.9, "{:?}", learn.history().epochs.last());
}

/// A struct of one's own as input, and targets of two kinds.
#[test]
fn any_types_will_do() {
    struct Point {
        x: Tensor,
    }
    #[derive(Module)]
    struct Twice(Param);
    impl Forward<Point> for Twice {
        type Output = (Tensor, Tensor);
        fn forward(&self, p: &Point) -> (Tensor, Tensor) {
            let y = &p.x * self.0.value();
            (y.clone(), y * 2.0)
        }
    }
    let x = tensor(1, &[16, 1]);
    let data = TensorDataset::new(x.clone(), (&x * 3.0, &x * 6.0)).unwrap();
    let loader = DataLoader::new(data, 4).unwrap().map(|x, y| (Point { x }, y));
    let mut learn = Learner::new(
        DataLoaders::train_only(loader),
        Twice(Param::new(Tensor::zeros([1]))),
        |p: &(Tensor, Tensor), y: &(Tensor, Tensor)| mse(&p.0, &y.0) + mse(&p.1, &y.1),
    )
    .silent();
    learn.fit(20, 0.1).unwrap();
    assert!((learn.model().0.value().item::<f32>() - 3.0).abs() < 0.1);
    let record = learn.history().epochs.last().unwrap();
    assert!(record.valid_loss.is_none() && record.train_loss.is_some(), "{record:?}");
    fn is_task<T: Task>() {}
    is_task::<(Twice, Point, (Tensor, Tensor))>();
}
