//! The dropouts of AWD-LSTM: Merity et al., <https://arxiv.org/abs/1708.02182>, section 4.

use super::embedding::Embedding;
use crate::{Forward, Mode, Module, hooked};
use hardpan_engine::{Tensor, functional as f};

#[track_caller]
fn probability(what: &str, p: f64) -> f64 {
    assert!((0.0..=1.0).contains(&p), "{what}: the probability {p} is not in 0..=1");
    p
}

/// Drops the same features at every time step: `x: [B, T, F]`, one mask for each sequence. Counterpart: fastai's `RNNDropout`.
///
/// ```
/// use hardpan_engine::{Tensor, manual_seed};
/// use hardpan_nn::{Forward, RNNDropout};
/// manual_seed(1);
/// let y = RNNDropout::new(0.5).forward(&Tensor::ones([4, 7, 10]));
/// assert_eq!(y.amin(1).to_vec::<f32>(), y.amax(1).to_vec::<f32>()); // alike at every step
/// ```
#[derive(Module, Debug)]
pub struct RNNDropout {
    p: f64,
    /// Whether anything is dropped.
    pub training: Mode,
}

impl RNNDropout {
    /// With this probability (fastai's default is 0.5).
    #[track_caller]
    pub fn new(p: f64) -> RNNDropout {
        RNNDropout { p: probability("RNNDropout", p), training: Mode::for_dropout() }
    }
}

impl Forward for RNNDropout {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            assert!(x.rank() == 3, "RNNDropout: expected [B, T, F], got shape {:?}", x.shape());
            if self.p == 0.0 || !self.training.is_training() {
                x.clone()
            } else {
                let ones = x.detach().narrow(1, 0, x.size(1).min(1)).ones_like();
                x * f::dropout(&ones, self.p, true)
            }
        })
    }
}

/// A table some of whose rows are dropped in training: whole words, everywhere they occur in the batch. Keys: those of the table under `emb`.
/// Counterpart: fastai's `EmbeddingDropout`.
///
/// ```
/// use hardpan_engine::{DType, Tensor, manual_seed};
/// use hardpan_nn::{Embedding, EmbeddingDropout, Forward};
/// manual_seed(1);
/// let layer = EmbeddingDropout::new(Embedding::new(50, 4), 0.5);
/// let y = layer.forward(&Tensor::iota(50)).eq(0.0).to_dtype(DType::F32).mean(1);
/// assert!(y.to_vec::<f32>().iter().all(|v| *v == 0.0 || *v == 1.0)); // words are dropped whole
/// ```
#[derive(Module)]
pub struct EmbeddingDropout {
    /// The table.
    pub emb: Embedding,
    p: f64,
    /// Whether anything is dropped.
    pub training: Mode,
}

impl EmbeddingDropout {
    /// Of this table, with this probability.
    #[track_caller]
    pub fn new(emb: Embedding, p: f64) -> EmbeddingDropout {
        EmbeddingDropout {
            emb,
            p: probability("EmbeddingDropout", p),
            training: Mode::for_dropout(),
        }
    }
}

impl Forward for EmbeddingDropout {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let _lent = (self.p > 0.0 && self.training.is_training()).then(|| {
                let weight = self.emb.weight.value();
                let rows = weight.detach().narrow(1, 0, 1).ones_like();
                self.emb.weight.lend(&weight * f::dropout(&rows, self.p, true))
            });
            self.emb.forward(x)
        })
    }
}
