//! Sequences of different lengths: padded to one tensor and back, and masks of what is padding.

use hardpan_engine::{DType, Tensor};

/// Sequences `[T_i, ..]` (all alike but for their length) in one tensor `[T, B, ..]`, or `[B, T, ..]` with `batch_first`, with `value` after
/// the end of those shorter than the longest; and their lengths, `[B]` i64, as [`LSTM::forward_lengths`](crate::LSTM::forward_lengths)
/// wants them. Counterpart: `torch.nn.utils.rnn.pad_sequence`, and with the lengths `pack_sequence`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{LSTM, pad_sequence, unpad_sequence};
/// let sequences = [Tensor::ones([3, 4]), Tensor::ones([5, 4])];
/// let (x, lengths) = pad_sequence(&sequences, false, 0.0);
/// assert_eq!((x.shape(), lengths.to_vec::<i64>()), (&[5, 2, 4][..], vec![3, 5]));
/// let (y, (h, _)) = LSTM::new(4, 8).forward_lengths(&x, &lengths, None);
/// assert_eq!(h.shape(), [1, 2, 8]); // after each sequence's own last step
/// // Only the steps that there are: [3, 8] and [5, 8]; all eight in one: [8, 8].
/// let outputs = unpad_sequence(&y, &lengths, false);
/// assert_eq!(Tensor::cat(&outputs, 0).shape(), [8, 8]);
/// ```
///
/// # Panics
/// If there is no sequence, or they differ in more than their length.
#[track_caller]
pub fn pad_sequence(sequences: &[Tensor], batch_first: bool, value: f64) -> (Tensor, Tensor) {
    let Some(first) = sequences.first() else {
        panic!("pad_sequence: there is no sequence");
    };
    for (i, s) in sequences.iter().enumerate() {
        assert!(
            s.rank() > 0 && s.rank() == first.rank() && s.shape()[1..] == first.shape()[1..],
            "pad_sequence: sequences may differ in their length only: the first has shape {:?}, number {i} {:?}",
            first.shape(),
            s.shape()
        );
    }
    let steps = sequences.iter().map(|s| s.size(0)).max().unwrap_or(0);
    let padded: Vec<Tensor> = sequences
        .iter()
        .map(|s| {
            let mut pad = s.shape().to_vec();
            pad[0] = steps - s.size(0);
            if pad[0] == 0 {
                s.clone()
            } else {
                Tensor::cat(&[s, &s.new_full(pad, value, None)], 0)
            }
        })
        .collect();
    let lengths: Vec<i64> = sequences.iter().map(|s| s.size(0) as i64).collect();
    let n = lengths.len();
    (Tensor::stack(&padded, isize::from(!batch_first)), Tensor::from_vec(lengths, [n]))
}

/// The sequences of [`pad_sequence`] again: of `padded: [T, B, ..]` (or `[B, T, ..]` with `batch_first`) the first `lengths[b]` steps of each.
/// Reads the lengths. Counterpart: `torch.nn.utils.rnn.unpad_sequence`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::unpad_sequence;
/// let x = Tensor::from_slice(&[1f32, 2.0, 3.0, 0.0], [2, 2]); // [B, T]
/// let parts = unpad_sequence(&x, &Tensor::from_slice(&[2i64, 1], [2]), true);
/// assert_eq!(parts[1].to_vec::<f32>(), [3.0]);
/// ```
///
/// # Panics
/// If `lengths` is not `[B]`, or one of them not between 0 and T.
#[track_caller]
pub fn unpad_sequence(padded: &Tensor, lengths: &Tensor, batch_first: bool) -> Vec<Tensor> {
    let batch = usize::from(!batch_first);
    assert!(
        padded.rank() >= 2 && lengths.shape() == [padded.shape()[batch]],
        "unpad_sequence: expected {} and lengths [B], got {:?} and {:?}",
        if batch_first { "[B, T, ..]" } else { "[T, B, ..]" },
        padded.shape(),
        lengths.shape()
    );
    let steps = padded.shape()[1 - batch];
    let lengths = lengths.to_dtype(DType::I64).to_vec::<i64>();
    let of = |(b, n): (usize, i64)| {
        assert!(
            (0..=steps as i64).contains(&n),
            "unpad_sequence: sequence {b} cannot have {n} of {steps} steps"
        );
        padded.select(batch as isize, b as isize).narrow(0, 0, n as usize)
    };
    lengths.into_iter().enumerate().map(of).collect()
}

/// `[B, steps]` booleans, true after each sequence's end: what [`MultiheadAttention`](crate::MultiheadAttention) takes as
/// `key_padding_mask`. `lengths: [B]`.
///
/// ```
/// use hardpan_engine::Tensor;
/// let mask = hardpan_nn::padding_mask(&Tensor::from_vec(vec![1i64, 3], [2]), 3);
/// assert_eq!(mask.to_vec::<bool>(), [false, true, true, false, false, false]);
/// ```
///
/// # Panics
/// If `lengths` is not `[B]`.
#[track_caller]
pub fn padding_mask(lengths: &Tensor, steps: usize) -> Tensor {
    assert!(lengths.rank() == 1, "padding_mask: expected lengths [B], got {:?}", lengths.shape());
    Tensor::iota(steps).ge(lengths.to_dtype(DType::I64).unsqueeze(1))
}
