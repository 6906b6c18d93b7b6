//! Tables: fastai's tabular model and its dot product for collaborative filtering.

use crate::Workload;
use crate::contraction::random;
use crate::measure::{Bench, Rate};
use crate::mlp::labels;
use hardpan_engine::functional::{Reduction, cross_entropy, mse_loss, sigmoid};
use hardpan_engine::{DType, Tensor};
use hardpan_nn::init::Init;
use hardpan_nn::{BatchNorm1d, Embedding, Forward, Linear, Module, ReLU, Sequential};

/// Values of each categorical column (those of the Adult data set).
const CATEGORIES: [usize; 8] = [9, 16, 7, 15, 6, 5, 2, 42];
const CONTINUOUS: usize = 6;

/// Rows of small numbers.
fn table(count: usize, size: usize) -> Embedding {
    let normal = Init::Normal { mean: 0.0, std: 0.01 };
    Embedding::new(count, size).init(normal)
}

#[derive(Module)]
struct Tabular {
    embeds: Vec<Embedding>,
    bn_cont: BatchNorm1d,
    layers: Sequential,
}

impl Tabular {
    fn new(layers: &[usize], outputs: usize) -> Tabular {
        // fastai's rule for the size of an embedding.
        let size = |n: usize| ((1.6 * (n as f64).powf(0.56)).round() as usize).min(600);
        let embeds: Vec<Embedding> = CATEGORIES.iter().map(|n| table(n + 1, size(n + 1))).collect();
        let mut ni: usize = CONTINUOUS + CATEGORIES.iter().map(|n| size(n + 1)).sum::<usize>();
        let mut net = Sequential::new();
        for nf in layers {
            net = net
                .append(Linear::new(ni, *nf).bias(false))
                .append(ReLU)
                .append(BatchNorm1d::new(*nf));
            ni = *nf;
        }
        let layers = net.append(Linear::new(ni, outputs));
        Tabular { embeds, bn_cont: BatchNorm1d::new(CONTINUOUS), layers }
    }

    fn forward(&self, categories: &Tensor, numbers: &Tensor) -> Tensor {
        let column = |(i, e): (usize, &Embedding)| e.forward(&categories.select(1, i as isize));
        let mut parts: Vec<Tensor> = self.embeds.iter().enumerate().map(column).collect();
        parts.push(self.bn_cont.forward(numbers));
        self.layers.forward(&Tensor::cat(&parts, 1))
    }
}

#[derive(Module)]
struct DotBias {
    user_factors: Embedding,
    item_factors: Embedding,
    user_bias: Embedding,
    item_bias: Embedding,
}

impl DotBias {
    fn new(factors: usize, users: usize, items: usize) -> DotBias {
        DotBias {
            user_factors: table(users, factors),
            item_factors: table(items, factors),
            user_bias: table(users, 1),
            item_bias: table(items, 1),
        }
    }

    /// `[B, 2]` (user, item) to ratings `[B]` between 0 and 5.5.
    fn forward(&self, x: &Tensor) -> Tensor {
        let (user, item) = (x.select(1, 0), x.select(1, 1));
        let dot = (self.user_factors.forward(&user) * self.item_factors.forward(&item)).sum(1);
        let bias = |e: &Embedding, i: &Tensor| e.forward(i).squeeze(1);
        let y = dot + bias(&self.user_bias, &user) + bias(&self.item_bias, &item);
        sigmoid(&y) * 5.5
    }
}

pub(crate) fn add(all: &mut Vec<Workload>) {
    for bs in [64, 1024] {
        let about = format!("training on 8 categories and 6 numbers, layers 200-100, batch {bs}");
        all.push(Workload::new("tables", format!("tabular_b{bs}"), about, move |b| tabular(b, bs)));
    }
    for bs in [64, 512] {
        let about = format!("training 944 x 1683 ratings with 50 factors, batch {bs}");
        all.push(Workload::new("tables", format!("collab_b{bs}"), about, move |b| collab(b, bs)));
    }
}

fn tabular(b: &mut Bench<'_>, bs: usize) {
    let bs = b.size(bs, 4);
    let model = Tabular::new(&[200, 100], 2);
    let columns: Vec<Tensor> =
        CATEGORIES.iter().map(|n| Tensor::randint(0, *n as i64, [bs])).collect();
    let categories = Tensor::stack(&columns, 1).eval().clone();
    let (numbers, y) = (random(&[bs, CONTINUOUS], DType::F32), labels(bs, 2));
    b.train("f32+adam", Rate::of(bs, "samples/s"), &model, || {
        cross_entropy(&model.forward(&categories, &numbers), &y)
    });
}

fn collab(b: &mut Bench<'_>, bs: usize) {
    let bs = b.size(bs, 4);
    let (users, items) = (944, 1683);
    let model = DotBias::new(50, users, items);
    let draw = |n: usize| Tensor::randint(0, n as i64, [bs]);
    let x = Tensor::stack(&[draw(users), draw(items)], 1).eval().clone();
    let y = (Tensor::rand([bs]) * 5.0).eval().clone();
    b.train("f32+adam", Rate::of(bs, "samples/s"), &model, || {
        mse_loss(&model.forward(&x), &y, Reduction::Mean)
    });
}
