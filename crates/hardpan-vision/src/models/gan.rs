//! Generator and critic of pictures for a [`GanLearner`](hardpan_learn::gan::GanLearner): those of DCGAN.
//!
//! Radford et al. 2015, <https://arxiv.org/abs/1511.06434>. Counterparts: fastai's `basic_generator` and `basic_critic`.

use hardpan_engine::Tensor;
use hardpan_nn::init::Init;
use hardpan_nn::{
    Conv2d, ConvLayer, ConvTranspose2d, Flatten, LeakyReLU, NormType, Sequential, Tanh,
};

/// Weights start normal with a standard deviation of 0.02, as in the paper.
const START: Init = Init::Normal { mean: 0.0, std: 0.02 };

/// From noise `[N, noise]` to pictures `[N, channels, size, size]` with values from -1 to 1: a transposed convolution to 4x4, and one for
/// each doubling, with half as many channels. `features` are the channels at half the size (fastai: 64).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::Forward;
/// use hardpan_vision::models::{basic_critic, basic_generator};
/// let pictures = basic_generator(32, 1, 100, 8).forward(&Tensor::randn([2, 100]));
/// assert_eq!(pictures.shape(), [2, 1, 32, 32]);
/// assert_eq!(basic_critic(32, 1, 8).forward(&pictures).shape(), [2, 1]);
/// ```
///
/// # Panics
/// If `size` is not 8, 16, 32, ...
#[track_caller]
pub fn basic_generator(size: usize, channels: usize, noise: usize, features: usize) -> Sequential {
    check_size(size);
    let up = |inputs, outputs| {
        let layer = ConvLayer::new(inputs, outputs).kernel(4).stride(2).padding(1);
        layer.transpose(true).init(START).build()
    };
    let mut width = features * size / 8;
    let first = ConvLayer::new(noise, width).kernel(4).transpose(true).init(START).build();
    let mut out =
        Sequential::new().append(|x: &Tensor| x.unsqueeze(-1).unsqueeze(-1)).append(first);
    let mut now = 4;
    while now < size / 2 {
        out = out.append(up(width, width / 2));
        (width, now) = (width / 2, now * 2);
    }
    let last = ConvTranspose2d::new(width, channels, 4).stride(2).padding(1).bias(false);
    out.append(last.init(START)).append(Tanh)
}

/// From pictures `[N, channels, size, size]` to ratings `[N, 1]`: a convolution for each halving down to 4x4, with twice as many channels,
/// and one of all that is left. `features` are the channels at half the size (fastai: 64).
///
/// # Panics
/// If `size` is not 8, 16, 32, ...
#[track_caller]
pub fn basic_critic(size: usize, channels: usize, features: usize) -> Sequential {
    check_size(size);
    let down = |inputs, outputs, norm| {
        let layer = ConvLayer::new(inputs, outputs).kernel(4).stride(2).padding(1).norm(norm);
        layer.activation(LeakyReLU::new(0.2)).init(START).build()
    };
    let mut width = features;
    let mut out = Sequential::new().append(down(channels, width, NormType::None));
    let mut now = size / 2;
    while now > 4 {
        out = out.append(down(width, 2 * width, NormType::Batch));
        (width, now) = (2 * width, now / 2);
    }
    out.append(Conv2d::new(width, 1, 4).init(START)).append(Flatten::new())
}

#[track_caller]
fn check_size(size: usize) {
    assert!(
        size >= 8 && size.is_power_of_two(),
        "pictures of {size}x{size}: expected 8, 16, 32 or another power of two"
    );
}
