//! Softmax over many classes, the rare ones in clusters with fewer features.

use super::linear::Linear;
use crate::{Forward, Module, hooked};
use hardpan_engine::{Tensor, functional as f};

/// Log-softmax with classes sorted by frequency: the frequent ones in a head, the rest in clusters that the head chooses
/// among. Keys: `head.*`, `tail.{i}.{0, 1}.weight`. Counterpart: `torch.nn.AdaptiveLogSoftmaxWithLoss`; Grave et al.,
/// <https://arxiv.org/abs/1609.04309>.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{AdaptiveLogSoftmaxWithLoss, Forward};
/// let words = AdaptiveLogSoftmaxWithLoss::new(16, 1000, &[10, 100], 4.0);
/// let (x, y) = (Tensor::ones([3, 16]), Tensor::from_slice(&[0i64, 50, 999], [3]));
/// assert_eq!(words.log_prob(&x).shape(), [3, 1000]);
/// let (own, loss) = words.forward(&(x, y));
/// assert!((own.mean(..) + loss).abs().item::<f32>() < 1e-6);
/// ```
#[derive(Module)]
pub struct AdaptiveLogSoftmaxWithLoss {
    /// Frequent classes, then one score for each cluster.
    pub head: Linear,
    /// For each cluster a map to fewer features and one to its classes.
    pub tail: Vec<(Linear, Linear)>,
    frequent: usize,
}

impl AdaptiveLogSoftmaxWithLoss {
    /// From `inputs` features to `classes`, cut into clusters at these (ascending) class numbers. Cluster `i` has
    /// `inputs / div_value^(i + 1)` features (PyTorch's default is 4).
    ///
    /// # Panics
    /// If the cuts are not ascending and within the classes.
    #[track_caller]
    pub fn new(inputs: usize, classes: usize, cutoffs: &[usize], div_value: f64) -> Self {
        let mut cuts = cutoffs.to_vec();
        cuts.push(classes);
        assert!(
            cuts.len() > 1 && cuts[0] > 0 && cuts.windows(2).all(|w| w[0] < w[1]),
            "AdaptiveLogSoftmaxWithLoss: cutoffs {cutoffs:?} are not ascending within 1..{classes}"
        );
        let tail = cuts
            .windows(2)
            .enumerate()
            .map(|(i, w)| {
                let size = (inputs as f64 / div_value.powi(i as i32 + 1)).floor() as usize;
                let narrow = Linear::new(inputs, size).bias(false);
                (narrow, Linear::new(size, w[1] - w[0]).bias(false))
            })
            .collect();
        let head = Linear::new(inputs, cuts[0] + cuts.len() - 1).bias(false);
        AdaptiveLogSoftmaxWithLoss { head, tail, frequent: cuts[0] }
    }

    /// With a bias in the head or without. Default: without.
    #[must_use]
    pub fn head_bias(mut self, bias: bool) -> Self {
        self.head = self.head.bias(bias);
        self
    }

    /// Log-probabilities of all classes: `[N, inputs]` to `[N, classes]`.
    #[track_caller]
    pub fn log_prob(&self, x: &Tensor) -> Tensor {
        let head = f::log_softmax(&self.head.forward(x), -1);
        let mut parts = vec![head.narrow(-1, 0, self.frequent)];
        for (i, (narrow, wide)) in self.tail.iter().enumerate() {
            let inside = f::log_softmax(&wide.forward(&narrow.forward(x)), -1);
            parts.push(inside + head.narrow(-1, self.frequent + i, 1));
        }
        Tensor::cat(&parts, -1)
    }
}

/// Of features `[N, inputs]` and classes `[N]` (i64): the log-probability of each class given `[N]`, and the mean loss.
impl Forward<(Tensor, Tensor)> for AdaptiveLogSoftmaxWithLoss {
    type Output = (Tensor, Tensor);
    #[track_caller]
    fn forward(&self, x: &(Tensor, Tensor)) -> (Tensor, Tensor) {
        hooked!(self, x => {
            let (x, y) = x;
            let options =
                f::CrossEntropyOptions { reduction: f::Reduction::None, ..Default::default() };
            let loss = f::nll_loss(&self.log_prob(x), y, options);
            (-&loss, loss.mean(..))
        })
    }
}
