//! [`create_head`]: from the features of a body to classes, as fastai does it.

use super::Stages;
use super::blocks::{Activation, ConcatPool2d};
use hardpan_nn::{AdaptiveAvgPool2d, BatchNorm1d, Dropout, Flatten, Linear};
use serde::{Deserialize, Serialize};

/// What follows a body. Counterpart: the arguments of fastai's `create_head`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeadOptions {
    /// Maxima beside means in the pooling. Default yes.
    pub concat_pool: bool,
    /// Widths of hidden layers. Default one of 512.
    pub hidden: Vec<usize>,
    /// Dropout before the last layer; those before it have half of it. Default 0.5.
    pub dropout: f64,
    /// Batch norm over the pooled features. Default yes.
    pub first_norm: bool,
}

impl Default for HeadOptions {
    fn default() -> HeadOptions {
        HeadOptions { concat_pool: true, hidden: vec![512], dropout: 0.5, first_norm: true }
    }
}

/// Pooling, then for each layer: batch norm, dropout, linear (ReLU between them). Keys `head.N.*`.
///
/// `pooled` says that the body's output is `[N, features]` already.
///
/// ```text
/// concat pool, flatten, BN, dropout 0.25, linear to 512, ReLU, BN, dropout 0.5, linear to classes
/// ```
pub(super) fn create_head(
    features: usize,
    classes: usize,
    pool: Option<Stages>,
    o: &HeadOptions,
) -> Stages {
    let mut place = 0;
    let mut next = || {
        place += 1;
        format!("head.{}", place - 1)
    };
    let mut inputs = features;
    let mut head = match pool {
        Some(pool) => pool,
        None if o.concat_pool => {
            inputs *= 2;
            Stages::new().with(next(), ConcatPool2d).with(next(), Flatten::new())
        }
        None => Stages::new().with(next(), AdaptiveAvgPool2d::new(1)).with(next(), Flatten::new()),
    };
    let layers = o.hidden.len() + 1;
    for (i, &outputs) in o.hidden.iter().chain([&classes]).enumerate() {
        let last = i + 1 == layers;
        let norm = i > 0 || o.first_norm;
        if norm {
            head.push(next(), BatchNorm1d::new(inputs));
        }
        let p = if last { o.dropout } else { o.dropout / 2.0 };
        if p > 0.0 {
            head.push(next(), Dropout::new(p));
        }
        head.push(next(), Linear::new(inputs, outputs).bias(!norm));
        if !last {
            head.push(next(), Activation::Relu);
        }
        inputs = outputs;
    }
    head
}
