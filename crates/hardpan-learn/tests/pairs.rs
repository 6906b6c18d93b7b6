//! Models that compare their inputs, trained with losses of three tensors: pairs that are alike or not, triplets, rankings.

use hardpan_engine::functional::Reduction;
use hardpan_engine::{DType, Tensor, functional as f, manual_seed};
use hardpan_learn::callback::Gather;
use hardpan_learn::data::{DataLoaders, Rows, TensorDataset};
use hardpan_learn::learner::{Learner, loss};
use hardpan_learn::metric::Mean;
use hardpan_nn::{
    CTCLoss, CosineEmbeddingLoss, Decode, Forward, Linear, MarginRankingLoss, Module, ReLU,
    Sequential, TripletMarginLoss, seq,
};
use std::sync::{Mutex, MutexGuard};

/// The random generator is one for the process.
static TURN: Mutex<()> = Mutex::new(());

fn turn(seed: u64) -> MutexGuard<'static, ()> {
    let turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    manual_seed(seed);
    turn
}

type Pair = (Tensor, Tensor);
type Triplet = (Tensor, Tensor, Tensor);

/// One body for all inputs.
#[derive(Module)]
struct Shared {
    body: Sequential,
}

impl Shared {
    fn new(inputs: usize, outputs: usize) -> Shared {
        Shared { body: seq![Linear::new(inputs, 16), ReLU, Linear::new(16, outputs)] }
    }
}

impl Forward<Pair> for Shared {
    type Output = Pair;
    fn forward(&self, (a, b): &Pair) -> Pair {
        (self.body.forward(a), self.body.forward(b))
    }
}

impl Forward<Triplet> for Shared {
    type Output = Triplet;
    fn forward(&self, (anchor, positive, negative): &Triplet) -> Triplet {
        let through = |x: &Tensor| self.body.forward(x);
        (through(anchor), through(positive), through(negative))
    }
}

/// `[classes.len(), 6]`: two numbers say the class (0 to 3), much louder noise fills the rest.
fn items(classes: &Tensor) -> Tensor {
    let n = classes.size(0);
    let bits = [signs(&classes.ge(2)), signs(&classes.remainder(2))];
    let said = Tensor::stack(&bits, 1) + Tensor::randn([n, 2]) * 0.2;
    Tensor::cat(&[said, Tensor::randn([n, 4]) * 2.0], 1).eval().clone()
}

fn classes(n: usize) -> Tensor {
    Tensor::randint(0, 4, [n]).eval().clone()
}

fn loaders<X: Rows + Clone + Send + Sync, Y: Rows + Clone + Send + Sync>(
    x: X,
    y: Y,
) -> DataLoaders<X, Y> {
    let data = TensorDataset::new(x, y).unwrap();
    let (train, valid) = data.split_at(384);
    DataLoaders::from_tensors(train, valid, 32, 7).unwrap()
}

/// 1 for true, -1 for false.
fn signs(yes: &Tensor) -> Tensor {
    (yes.to_dtype(DType::F32) * 2.0 - 1.0).eval().clone()
}

/// Share of true ones.
fn share(right: Tensor) -> Tensor {
    right.to_dtype(DType::F32).mean(..)
}

#[test]
fn siamese() {
    let _turn = turn(1);
    let (a, b) = (classes(512), classes(512));
    let alike = signs(&a.eq(&b));
    let data = loaders((items(&a), items(&b)), alike);
    let right = |(a, b): &Pair, y: &Tensor| {
        share(f::cosine_similarity(a, b, 1, 1e-8).gt(0.5).eq(y.gt(0.0)))
    };
    let criterion = || CosineEmbeddingLoss::new().margin(0.2);
    let mut learn = Learner::with_loss(data, Shared::new(6, 4), criterion())
        .item_losses(loss(criterion().reduction(Reduction::None)))
        .metric(Mean::new("right", right))
        .silent();
    let before = learn.validate().unwrap();
    learn.fit_one_cycle(12, 0.02).unwrap();
    let after = learn.history().epochs.last().unwrap().clone();
    assert!(after.valid_loss < before.valid_loss.map(|l| 0.4 * l), "{before:?} {after:?}");
    assert!(after.get("right").unwrap() > 0.92, "{before:?} {after:?}");
    // A pair is given as it is: what the loss says of one embedding is not asked.
    let valid = learn.context().loaders.valid.clone().unwrap();
    let what = Gather { losses: true, decoded: true, ..Gather::default() };
    let all = learn.get_preds_with(&valid, what).unwrap();
    let (raw, y) = learn.get_preds(&valid).unwrap();
    assert_eq!(all.preds.0.to_vec::<f32>(), raw.0.to_vec::<f32>());
    assert!(all.decoded.is_none());
    let mean = all.losses.unwrap().mean(..).item::<f64>();
    let whole = criterion().forward(&(raw, y)).item::<f64>();
    assert!((mean - whole).abs() < 1e-5, "{mean} {whole}");
}

#[test]
fn triplets() {
    let _turn = turn(2);
    let anchor = classes(512);
    let other = (&anchor + Tensor::randint(1, 4, [512])).remainder(4).eval().clone();
    let x = (items(&anchor), items(&anchor), items(&other));
    // The target is not looked at; here it is the class, for metrics.
    let data = loaders(x, anchor);
    let closer = |(a, p, n): &Triplet, _: &Tensor| {
        let to = |x: &Tensor| f::pairwise_distance(a, x, 2.0, 1e-6, false);
        share(to(p).lt(to(n)))
    };
    let mut learn = Learner::with_loss(data, Shared::new(6, 2), TripletMarginLoss::new())
        .metric(Mean::new("closer", closer))
        .silent();
    let before = learn.validate().unwrap().get("closer").unwrap();
    learn.fit_one_cycle(12, 0.02).unwrap();
    let after = learn.history().last_metric("closer").unwrap();
    assert!(before < 0.8 && after > 0.95, "{before} {after}");
}

#[test]
fn rankings() {
    let _turn = turn(3);
    let (a, b) = (Tensor::randn([512, 6]), Tensor::randn([512, 6]));
    let worth = |x: &Tensor| x.select(1, 0) - x.select(1, 1) * 2.0;
    let first_wins = signs(&worth(&a).gt(worth(&b))).unsqueeze(1).eval().clone();
    let data = loaders((a.eval().clone(), b.eval().clone()), first_wins);
    let right = |(a, b): &Pair, y: &Tensor| share(a.gt(b).eq(y.gt(0.0)));
    let criterion = MarginRankingLoss::new().margin(0.5);
    let mut learn = Learner::with_loss(data, Shared::new(6, 1), criterion)
        .metric(Mean::new("right", right))
        .silent();
    let before = learn.validate().unwrap().get("right").unwrap();
    learn.fit_one_cycle(8, 0.02).unwrap();
    let after = learn.history().last_metric("right").unwrap();
    assert!(before < 0.75 && after > 0.92, "{before} {after}");
}

/// A loss of one's own, of types of one's own.
#[test]
fn any_prediction_and_target() {
    #[derive(Clone)]
    struct Box2d {
        middle: Tensor,
        size: Tensor,
    }
    #[derive(Module)]
    struct Boxes {
        body: Linear,
    }
    impl Forward for Boxes {
        type Output = Box2d;
        fn forward(&self, x: &Tensor) -> Box2d {
            let y = self.body.forward(x);
            Box2d { middle: y.narrow(1, 0, 2), size: y.narrow(1, 2, 2).exp() }
        }
    }
    #[derive(Module)]
    struct BoxLoss {
        of_size: f64,
    }
    impl Decode for BoxLoss {}
    impl Forward<(Box2d, (Tensor, Tensor))> for BoxLoss {
        type Output = Tensor;
        fn forward(&self, (p, (middle, size)): &(Box2d, (Tensor, Tensor))) -> Tensor {
            (&p.middle - middle).square().mean(..) + (&p.size - size).abs().mean(..) * self.of_size
        }
    }
    let _turn = turn(4);
    let x = Tensor::randn([512, 4]);
    let targets = (x.narrow(1, 1, 2).eval().clone(), x.narrow(1, 0, 2).exp().eval().clone());
    let data = loaders(x, targets);
    let model = Boxes { body: Linear::new(4, 4) };
    let mut learn = Learner::with_loss(data, model, BoxLoss { of_size: 0.5 }).silent();
    let before = learn.validate().unwrap().valid_loss.unwrap();
    learn.fit_one_cycle(12, 0.05).unwrap();
    let after = learn.validate().unwrap().valid_loss.unwrap();
    assert!(after < 0.1 * before, "{before} {after}");
}

/// Targets of another type than a tensor, predictions that are one: these have an activation and answers all the same.
#[test]
fn labels_with_their_lengths() {
    #[derive(Module)]
    struct Steps {
        body: Linear,
    }
    impl Forward for Steps {
        type Output = Tensor;
        /// `[N, T, 3]` to log-probabilities `[T, N, 3]`.
        fn forward(&self, x: &Tensor) -> Tensor {
            self.body.forward(x).transpose(0, 1).log_softmax(-1)
        }
    }
    let _turn = turn(5);
    // Two labels, each for two steps: 1 1 2 2 or 2 2 1 1.
    let first = Tensor::randint(1, 3, [512]);
    let labels = Tensor::stack(&[first.clone(), 3 - &first], 1).eval().clone();
    let steps = Tensor::stack(&[first.clone(), first.clone(), 3 - &first, 3 - &first], 1);
    let x = f::one_hot(&steps, Some(3)).to_dtype(DType::F32) + Tensor::randn([512, 4, 3]) * 0.1;
    let (inputs, lengths) = (Tensor::full([512], 4i64), Tensor::full([512], 2i64));
    let data = loaders(x.eval().clone(), (labels, inputs, lengths));
    let model = Steps { body: Linear::new(3, 3) };
    let mut learn = Learner::with_loss(data, model, CTCLoss::new()).silent();
    let before = learn.validate().unwrap().valid_loss.unwrap();
    learn.fit_one_cycle(8, 0.1).unwrap();
    let after = learn.validate().unwrap().valid_loss.unwrap();
    assert!(after < 0.3 * before, "{before} {after}");
    let valid = learn.context().loaders.valid.clone().unwrap();
    let (x, (labels, ..)) = valid.batches(0).next().unwrap().unwrap();
    let ctx = learn.context();
    let shown = ctx.activation.as_ref().unwrap()(learn.predict(&x));
    assert!(shown.sum(-1).to_vec::<f32>().iter().all(|p| (p - 1.0).abs() < 1e-5));
    assert_eq!(ctx.decode.as_ref().unwrap()(&shown).to_vec::<i64>(), labels.to_vec::<i64>());
}
