//! Pictures of digits, and of anything else in the format of MNIST, which stay bytes in memory until they are a batch.
//!
//! [`idx`] reads the files of MNIST; [`pictures`] makes a data set of them, [`normalize`] and [`shift`] work on its batches; [`grey`] makes
//! of a scan or a drawing of a digit what a network trained on MNIST knows.
//!
//! ```
//! use hardpan_learn::data::DataLoader;
//! use hardpan_vision::digits::{mean_and_std, normalize, pictures, shift};
//! let (images, labels) = (vec![200u8; 6 * 28 * 28], [0, 1, 2, 3, 4, 5]);
//! let (mean, std) = mean_and_std(&images);
//! let loader = DataLoader::new(pictures(&images, &labels, (28, 28), 10)?, 3)?
//!     .map(move |x, y| (normalize(&shift(&x, 1), mean, std), y));
//! assert_eq!(loader.one_batch()?.0.shape(), [3, 1, 28, 28]);
//! # Ok::<(), hardpan_learn::data::DataError>(())
//! ```

pub mod grey;
pub mod idx;

use hardpan_engine::{DType, Tensor};
use hardpan_learn::data::{DataError, TensorDataset};
use idx::Labelled;

/// Labelled pictures as a data set: `x: [N, H, W]` u8 as in the file, `y: [N]` i64. They stay bytes in memory; see [`normalize`].
///
/// ```
/// use hardpan_vision::digits::pictures;
/// // Two pictures of 2x2 bytes, of two classes.
/// let data = pictures(&[0, 0, 9, 9, 5, 5, 0, 0], &[0, 1], (2, 2), 2)?;
/// assert_eq!((data.x().shape(), data.y().to_vec::<i64>()), (&[2, 2, 2][..], vec![0, 1]));
/// assert!(pictures(&[0; 4], &[7], (2, 2), 2).is_err()); // no class of two
/// # Ok::<(), hardpan_learn::data::DataError>(())
/// ```
///
/// # Errors
/// If a label is not below `classes`.
///
/// # Panics
/// If there are more or fewer pixels than `n` pictures have.
#[track_caller]
pub fn pictures(
    images: &[u8],
    labels: &[u8],
    (rows, cols): (usize, usize),
    classes: usize,
) -> Result<TensorDataset<Tensor, Tensor>, DataError> {
    let x = Tensor::from_slice(images, [labels.len(), rows, cols]);
    TensorDataset::labelled(x, labels, classes)
}

impl Labelled {
    /// As a data set: see [`pictures`].
    ///
    /// # Errors
    /// If a label is not below `classes`.
    pub fn dataset(&self, classes: usize) -> Result<TensorDataset<Tensor, Tensor>, DataError> {
        pictures(&self.images, &self.labels, (self.rows, self.cols), classes)
    }
}

/// `x: [N, H, W]` bytes as `[N, 1, H, W]` f32, on the scale 0 to 1, minus `mean`, divided by `std`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_vision::digits::normalize;
/// let bytes = Tensor::from_vec(vec![0u8, 255], [1, 1, 1, 2]);
/// assert_eq!(normalize(&bytes, 0.5, 0.5).to_vec::<f32>(), [-1.0, 1.0]);
/// ```
pub fn normalize(x: &Tensor, mean: f64, std: f64) -> Tensor {
    let x = x.unsqueeze(1).to_dtype(DType::F32);
    (x - 255.0 * mean) * (1.0 / (255.0 * std))
}

/// Mean and standard deviation of all bytes on the scale 0 to 1. Of no bytes: 0 and 1.
///
/// ```
/// use hardpan_vision::digits::mean_and_std;
/// // Bytes on the scale 0 to 1.
/// let (mean, std) = mean_and_std(&[0, 255, 0, 255]);
/// assert!((mean - 0.5).abs() < 1e-9 && (std - 0.5).abs() < 1e-9);
/// ```
pub fn mean_and_std(bytes: &[u8]) -> (f64, f64) {
    if bytes.is_empty() {
        return (0.0, 1.0);
    }
    let mut counts = [0u64; 256];
    bytes.iter().for_each(|&b| counts[b as usize] += 1);
    let n = bytes.len() as f64;
    let moment = |power: i32| -> f64 {
        let sum: f64 = counts
            .iter()
            .enumerate()
            .map(|(v, &c)| c as f64 * (v as f64 / 255.0).powi(power))
            .sum();
        sum / n
    };
    let (mean, square) = (moment(1), moment(2));
    let std = (square - mean * mean).max(0.0).sqrt();
    (mean, if std > 1e-6 { std } else { 1.0 })
}

/// Moves each picture of `x: [N, H, W]` by up to `by` pixels in each direction, each by its own amount; what comes in is 0.
/// Draws from the generator that `manual_seed` seeds.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_vision::digits::shift;
/// let x = Tensor::ones([4, 8, 8]);
/// let moved = shift(&x, 1);
/// assert_eq!(moved.shape(), [4, 8, 8]);
/// assert!(moved.sum([1, 2]).amin(..).item::<f32>() >= 49.0); // at most a row and a column are gone
/// ```
pub fn shift(x: &Tensor, by: usize) -> Tensor {
    let [n, h, w] = *x.shape() else { panic!("shift: expected [N, H, W], got {:?}", x.shape()) };
    if by == 0 || x.numel() == 0 {
        return x.clone();
    }
    let (high, wide) = (h + 2 * by, w + 2 * by);
    let padded = x.pad_zeros(&[(0, 0), (by, by), (by, by)]).reshape([n * high * wide]);
    let moves = (Tensor::rand([n, 2]) * (2 * by + 1) as f64).floor().to_dtype(DType::I64);
    let along = |i: isize, size: usize, shape: [usize; 3]| {
        moves.select(1, i).reshape([n, 1, 1]) + Tensor::iota(size).reshape(shape)
    };
    let (row, col) = (along(0, h, [1, h, 1]), along(1, w, [1, 1, w]));
    let first = Tensor::iota(n).reshape([n, 1, 1]) * (high * wide) as i64;
    let index = first + row * wide as i64 + col;
    padded.index_select(0, &index.reshape([n * h * w])).reshape([n, h, w])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifted_pictures_are_the_same_elsewhere() {
        hardpan_engine::manual_seed(3);
        // One bright pixel in the middle of each.
        let (n, side) = (400, 7);
        let mut bytes = vec![0u8; n * side * side];
        (0..n).for_each(|i| bytes[i * side * side + 3 * side + 3] = 9);
        let x = Tensor::from_slice(&bytes, [n, side, side]);
        let moved = shift(&x, 2);
        assert_eq!((moved.shape(), moved.dtype()), (&[n, side, side][..], DType::U8));
        let mut places = std::collections::BTreeMap::new();
        for picture in moved.to_vec::<u8>().chunks(side * side) {
            let at: Vec<usize> = (0..side * side).filter(|&i| picture[i] == 9).collect();
            assert_eq!(at.len(), 1);
            *places.entry((at[0] / side, at[0] % side)).or_insert(0) += 1;
        }
        assert_eq!(places.len(), 25, "all moves of up to 2: {places:?}");
        assert!(places.keys().all(|(r, c)| (1..=5).contains(r) && (1..=5).contains(c)));
        assert!(places.values().all(|&c| c < 40), "about 16 each: {places:?}");
    }

    #[test]
    fn normalized_pictures_have_mean_0_and_deviation_1() {
        let bytes: Vec<u8> = (0..=255).chain([0; 100]).collect();
        let (mean, std) = mean_and_std(&bytes);
        let x = normalize(&Tensor::from_slice(&bytes, [1, 4, 89]), mean, std);
        assert_eq!(x.shape(), [1, 1, 4, 89]);
        let v = x.to_vec::<f32>();
        let m = v.iter().sum::<f32>() / 356.0;
        let s = (v.iter().map(|x| x * x).sum::<f32>() / 356.0).sqrt();
        assert!(m.abs() < 1e-5 && (s - 1.0).abs() < 1e-5, "{m} {s}");
        assert_eq!(mean_and_std(&[7; 3]).1, 1.0, "a blank picture is not divided by nothing");
    }
}
