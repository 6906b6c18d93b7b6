//! The MNIST digits, built in: no download, no files. Feature `mnist`, on unless turned off.

use hardpan_data_mnist::{CLASSES, COLS, MEAN, ROWS, STD, Split, load};
use hardpan_engine::Tensor;
use hardpan_learn::data::{DataLoaders, TensorDataset};
use hardpan_vision::digits::{normalize, pictures};

/// The 60,000 training and the 10,000 test digits: pictures `[N, 28, 28]` u8, labels `[N]` i64.
pub fn datasets() -> (TensorDataset<Tensor, Tensor>, TensorDataset<Tensor, Tensor>) {
    let set = |s: Split| {
        pictures(&s.images, &s.labels, (ROWS, COLS), CLASSES).expect("built-in labels are digits")
    };
    let (train, test) = load();
    (set(train), set(test))
}

/// Both as batches: `[bs, 1, 28, 28]` f32 with mean 0 and standard deviation 1, labels `[bs]` i64. The training digits are shuffled
/// with `seed`; the test digits are for validation.
pub fn loaders(batch_size: usize, seed: u64) -> DataLoaders<Tensor, Tensor> {
    let (train, test) = datasets();
    DataLoaders::from_tensors(train, test, batch_size, seed)
        .expect("neither part is empty")
        .map(|x, y| (normalize(&x, MEAN, STD), y))
}
