//! Interpretation: what a trained model gets right and wrong, and on which items.
//!
//! Each kind of task has its type: [`ClassificationInterpretation`], [`MultiLabelInterpretation`], [`RegressionInterpretation`],
//! [`SegmentationInterpretation`]. All are made of what the model gave for some items and what was right, with
//! [`Learner::get_preds`](crate::learner::Learner::get_preds) or the `of` constructors; all give numbers and [`Figure`](hardpan_plot::Figure)s.
//! Counterpart: fastai's `Interpretation` and `ClassificationInterpretation`.
//!
//! ```
//! use hardpan_engine::Tensor;
//! use hardpan_learn::interpret::ClassificationInterpretation;
//! let logits = Tensor::from_slice(&[2f32, 0., 0., 3., 1., 0.], [3, 2]);
//! let labels = Tensor::from_slice(&[0i64, 1, 1], [3]);
//! let seen = ClassificationInterpretation::new(&logits, &labels, ["cat", "dog"]);
//! assert_eq!(seen.confusion_matrix(), [1, 0, 1, 1]);
//! assert_eq!(seen.top_losses(1)[0].item, 2);
//! println!("{}", seen.report());
//! ```

mod classification;
mod multi_label;
mod regression;
mod report;
mod segmentation;

pub use classification::{Calibration, ClassificationInterpretation, TopLoss};
pub use multi_label::MultiLabelInterpretation;
pub use regression::RegressionInterpretation;
pub use report::{ClassReport, ClassRow};
pub use segmentation::SegmentationInterpretation;

use hardpan_engine::{DType, Tensor};

/// The numbers of a tensor, whatever its type.
fn numbers(t: &Tensor) -> Vec<f64> {
    t.detach().to_dtype(DType::F64).to_vec::<f64>()
}

/// The labels of a tensor, whatever its integer type.
fn labels(t: &Tensor) -> Vec<i64> {
    t.detach().to_dtype(DType::I64).to_vec::<i64>()
}

/// The places of the `k` largest numbers, largest first; those that are equal in their order. What is not a number comes first: it
/// is what one wants to see.
fn largest(values: &[f64], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let key = |i: usize| if values[i].is_nan() { f64::INFINITY } else { values[i] };
    order.sort_by(|&a, &b| key(b).total_cmp(&key(a)));
    order.truncate(k);
    order
}

/// Log-softmax of a row.
fn log_softmax(row: &[f64]) -> Vec<f64> {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|v| (v - top).exp()).sum();
    row.iter().map(|v| v - top - sum.ln()).collect()
}
