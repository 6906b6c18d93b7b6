//! [`CTCLoss`]: labels of a sequence without their places.

use crate::{Forward, Module};
use hardpan_engine::functional::{self as f, Reduction};
use hardpan_engine::{DType, Tensor};

/// Connectionist temporal classification. `loss.of(log_probabilities [T, N, C], targets, input_lengths, target_lengths)`.
/// Counterpart: `torch.nn.CTCLoss`; Graves et al. 2006.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{CTCLoss, Forward};
/// // One step, two classes as likely: label 1 has probability 1/2.
/// let log_probabilities = Tensor::zeros([1, 1, 2]) - 2f32.ln();
/// let labels = Tensor::from_slice(&[1i64], [1, 1]);
/// let loss = CTCLoss::new().forward(&(log_probabilities.clone(), labels.clone()));
/// assert!((loss.item::<f32>() - 2f32.ln()).abs() < 1e-6);
/// let same = CTCLoss::new().of(&log_probabilities, &labels, &[1], &[1]);
/// assert_eq!(same.item::<f32>(), loss.item::<f32>());
/// ```
#[derive(Module, Clone, Debug, Default)]
pub struct CTCLoss {
    #[module(skip)]
    pub(super) options: f::CtcOptions,
}

impl CTCLoss {
    /// The mean, class 0 for nothing.
    pub fn new() -> CTCLoss {
        CTCLoss::default()
    }

    /// The class that stands for nothing. Default 0.
    #[must_use]
    pub fn blank(mut self, class: usize) -> CTCLoss {
        self.options.blank = class;
        self
    }

    /// Mean, sum, or neither. Default: the mean.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> CTCLoss {
        self.options.reduction = reduction;
        self
    }

    /// Whether infinite losses count as 0. Default no.
    #[must_use]
    pub fn zero_infinity(mut self, zero: bool) -> CTCLoss {
        self.options.zero_infinity = zero;
        self
    }

    /// The loss; see `functional::ctc_loss`.
    #[track_caller]
    pub fn of(
        &self,
        log_probabilities: &Tensor,
        targets: &Tensor,
        input_lengths: &[usize],
        target_lengths: &[usize],
    ) -> Tensor {
        f::ctc_loss(log_probabilities, targets, input_lengths, target_lengths, self.options)
    }
}

/// Log-probabilities `[T, N, C]` (or `[T, C]`) and labels (i64) `[N, S]` (or `[S]`), those shorter than S filled up with -1 as
/// [`decodes`](super::Decode::decodes) gives them; every input has all T steps. Reads the labels. What a learner's loss takes.
impl Forward<(Tensor, Tensor)> for CTCLoss {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, (log_probabilities, labels): &(Tensor, Tensor)) -> Tensor {
        let items = if log_probabilities.rank() == 3 { log_probabilities.size(1) } else { 1 };
        assert!(
            labels.rank() + 1 == log_probabilities.rank()
                && (labels.rank() < 2 || labels.size(0) == items),
            "CTCLoss: log-probabilities [T, N, C] and labels [N, S], or both without N, were expected, got shapes {:?} and {:?}",
            log_probabilities.shape(),
            labels.shape()
        );
        let longest = labels.size(-1);
        let all = labels.to_dtype(DType::I64).to_vec::<i64>();
        let length = |n: usize| {
            let own = &all[n * longest..(n + 1) * longest];
            let length = own.iter().position(|l| *l < 0).unwrap_or(longest);
            assert!(
                own[length..].iter().all(|l| *l < 0),
                "CTCLoss: the labels of item {n} go on after -1, which ends them: {own:?}"
            );
            length
        };
        let target_lengths: Vec<usize> = (0..items).map(length).collect();
        // What fills up is not read.
        let inputs = vec![log_probabilities.size(0); items];
        self.of(log_probabilities, &labels.maximum(0), &inputs, &target_lengths)
    }
}

/// As [`of`](CTCLoss::of), with the lengths as tensors (i64, `[N]`): `(targets, input_lengths, target_lengths)` is the target. Reads them.
impl Forward<(Tensor, (Tensor, Tensor, Tensor))> for CTCLoss {
    type Output = Tensor;
    #[track_caller]
    fn forward(
        &self,
        (x, (targets, inputs, lengths)): &(Tensor, (Tensor, Tensor, Tensor)),
    ) -> Tensor {
        let numbers = |t: &Tensor| -> Vec<usize> {
            let read = t.to_dtype(DType::I64).to_vec::<i64>();
            read.into_iter().map(|n| usize::try_from(n).unwrap_or(usize::MAX)).collect()
        };
        self.of(x, targets, &numbers(inputs), &numbers(lengths))
    }
}
