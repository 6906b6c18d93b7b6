//! Bytes to numbers a network likes.

use hardpan_engine::{DType, Tensor};
use hardpan_learn::data::block::BatchTransform;
use serde::{Deserialize, Serialize};

/// Mean and standard deviation of each channel of pictures with values from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Of each channel.
    pub mean: Vec<f32>,
    /// Of each channel.
    pub std: Vec<f32>,
}

/// Of ImageNet: what pretrained models expect. Counterpart: fastai's `imagenet_stats`.
pub const IMAGENET_STATS: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// Of CIFAR-10. Counterpart: fastai's `cifar_stats`.
pub const CIFAR_STATS: ([f32; 3], [f32; 3]) = ([0.491, 0.482, 0.447], [0.247, 0.243, 0.261]);
/// Of MNIST. Counterpart: fastai's `mnist_stats`.
pub const MNIST_STATS: ([f32; 1], [f32; 1]) = ([0.131], [0.308]);

impl Stats {
    /// Those of ImageNet; for one channel their means.
    pub fn imagenet(channels: usize) -> Stats {
        match channels {
            3 => Stats { mean: IMAGENET_STATS.0.to_vec(), std: IMAGENET_STATS.1.to_vec() },
            n => Stats { mean: vec![0.449; n], std: vec![0.226; n] },
        }
    }

    /// Bytes `[N, C, H, W]` as normalized f32: `(x / 255 - mean) / std`.
    ///
    /// # Panics
    /// If there are more or fewer channels than numbers here.
    #[track_caller]
    pub fn normalize(&self, bytes: &Tensor) -> Tensor {
        let c = bytes.size(-3);
        assert!(
            c == self.mean.len() && c == self.std.len(),
            "normalize: {c} channels in {:?}, but {} means and {} standard deviations",
            bytes.shape(),
            self.mean.len(),
            self.std.len()
        );
        let scale: Vec<f32> = self.std.iter().map(|s| 1.0 / (255.0 * s)).collect();
        let shift: Vec<f32> = self.mean.iter().zip(&self.std).map(|(m, s)| -m / s).collect();
        let column = |v: Vec<f32>| Tensor::from_slice(&v, [c, 1, 1]);
        bytes.to_dtype(DType::F32) * column(scale) + column(shift)
    }

    /// Normalized pictures `[N, C, H, W]` as values from 0 to 255 again, clipped.
    pub fn denormalize(&self, x: &Tensor) -> Tensor {
        let c = self.mean.len();
        let column = |v: &[f32]| {
            let v: Vec<f32> = v.iter().map(|v| v * 255.0).collect();
            Tensor::from_slice(&v, [c, 1, 1])
        };
        (x * column(&self.std) + column(&self.mean)).clamp(0.0, 255.0)
    }
}

/// Normalizes batches of bytes `[N, C, H, W]`; the targets stay. Counterpart: fastai's `IntToFloatTensor` and `Normalize`.
#[derive(Clone, Debug)]
pub struct Normalize(pub Stats);

impl<Y> BatchTransform<Tensor, Y> for Normalize {
    fn name(&self) -> String {
        format!("Normalize(mean {:?}, std {:?})", self.0.mean, self.0.std)
    }
    fn encode(&self, x: Tensor, y: Y) -> (Tensor, Y) {
        (self.0.normalize(&x), y)
    }
    fn decode(&self, x: Tensor, y: Y) -> (Tensor, Y) {
        (self.0.denormalize(&x), y)
    }
}
