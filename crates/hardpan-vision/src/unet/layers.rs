//! Parts of the U-Net.

use crate::models::Activation;
use hardpan_engine::{Tensor, functional as f};
use hardpan_nn::init::Init;
use hardpan_nn::{BatchNorm2d, Conv2d, Forward, Linear, Module, Param, Sequential, seq};

/// A convolution that keeps the size, with batch norm (or a bias in its place) and an activation.
pub(super) fn conv_layer(
    inputs: usize,
    outputs: usize,
    kernel: usize,
    act: Option<Activation>,
    norm: bool,
) -> Sequential {
    let conv = Conv2d::new(inputs, outputs, kernel).padding(kernel / 2).bias(!norm);
    let mut out = seq![conv];
    if norm {
        out = out.append(BatchNorm2d::new(outputs));
    }
    match act {
        Some(a) => out.append(a),
        None => out,
    }
}

/// `x` with the rows and columns of `like`, by the nearest.
pub(super) fn to_size(x: &Tensor, like: &Tensor) -> Tensor {
    let size = like.shape()[2..].to_vec();
    if x.shape()[2..] == size[..] {
        return x.clone();
    }
    f::interpolate(x, f::InterpolateOptions { size: Some(size), ..Default::default() })
}

/// Twice the size: a 1x1 convolution to four times the channels, which pixel shuffling spreads over 2x2 places. The four start
/// alike (ICNR), so that at first it is the nearest neighbour: Aitken et al., <https://arxiv.org/abs/1707.02937>.
/// Counterpart: fastai's `PixelShuffle_ICNR`.
#[derive(Module)]
pub struct PixelShuffleIcnr {
    conv: Sequential,
    blur: bool,
}

impl PixelShuffleIcnr {
    /// From `inputs` to `outputs` channels; `blur` averages each 2x2 places of the result.
    pub fn new(
        inputs: usize,
        outputs: usize,
        act: Activation,
        norm: bool,
        blur: bool,
    ) -> PixelShuffleIcnr {
        let kernel = Init::default().tensor(&[outputs, inputs, 1, 1]);
        let conv = Conv2d::new(inputs, 4 * outputs, 1).bias(!norm);
        conv.weight.set(kernel.repeat_interleave(4, 0));
        let mut conv = seq![conv];
        if norm {
            conv = conv.append(BatchNorm2d::new(4 * outputs));
        }
        PixelShuffleIcnr { conv: conv.append(act), blur }
    }
}

impl Forward for PixelShuffleIcnr {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = f::pixel_shuffle(&self.conv.forward(x), 2);
        if !self.blur {
            return y;
        }
        let y = f::pad(&y, &[1, 0, 1, 0], f::PadMode::Replicate);
        f::avg_pool2d(&y, 2, f::AvgPoolOptions { stride: Some(1.into()), ..Default::default() })
    }
}

/// Each place of `[N, C, H, W]` looks at all others; what it finds is added with a learned weight that starts at 0.
/// Zhang et al., <https://arxiv.org/abs/1805.08318>. Counterpart: fastai's `SelfAttention`, without spectral norm.
#[derive(Module)]
pub struct SelfAttention2d {
    query: Linear,
    key: Linear,
    value: Linear,
    /// `[1]`, 0 at first.
    gamma: Param,
}

impl SelfAttention2d {
    /// Of so many channels, at least 8.
    pub fn new(channels: usize) -> SelfAttention2d {
        let linear = |outputs: usize| Linear::new(channels, outputs.max(1)).bias(false);
        SelfAttention2d {
            query: linear(channels / 8),
            key: linear(channels / 8),
            value: linear(channels),
            gamma: Param::new(Tensor::zeros([1])),
        }
    }
}

impl Forward for SelfAttention2d {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let &[n, c, h, w] = x.shape() else {
            panic!("SelfAttention2d: expected [N, C, H, W], got {:?}", x.shape())
        };
        let places = x.reshape([n, c, h * w]).transpose(1, 2);
        let (q, k, v) =
            (self.query.forward(&places), self.key.forward(&places), self.value.forward(&places));
        let options = f::AttentionOptions { scale: Some(1.0), ..Default::default() };
        let found = f::scaled_dot_product_attention(&q, &k, &v, options);
        x + found.transpose(1, 2).reshape([n, c, h, w]) * self.gamma.value()
    }
}

/// Two convolutions with a shortcut, over the joined maps at the end.
#[derive(Module)]
pub(super) struct Merge {
    path: Sequential,
    act: Activation,
}

impl Merge {
    pub fn new(width: usize, act: Activation, norm: bool) -> Merge {
        let path = seq![
            conv_layer(width, width, 3, Some(act), norm),
            conv_layer(width, width, 3, None, norm)
        ];
        Merge { path, act }
    }
}

impl Forward for Merge {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.act.forward(&(self.path.forward(x) + x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hardpan_engine::manual_seed;

    #[test]
    fn at_first_pixel_shuffling_is_the_nearest_neighbour() {
        manual_seed(4);
        let up = PixelShuffleIcnr::new(3, 2, Activation::Relu, true, false);
        let y = up.forward(&Tensor::randn([2, 3, 4, 5]));
        assert_eq!(y.shape(), [2, 2, 8, 10]);
        let one = y.reshape([2, 2, 4, 2, 5, 2]);
        let spread = one.amax([3, 5]) - one.amin([3, 5]);
        assert!(spread.to_vec::<f32>().iter().all(|d| *d < 1e-5));
        assert!(y.amax(..).item::<f32>() > 0.1);
    }

    #[test]
    fn attention_starts_as_the_identity() {
        manual_seed(5);
        let a = SelfAttention2d::new(16);
        let x = Tensor::randn([2, 16, 3, 4]);
        assert_eq!(a.forward(&x).to_vec::<f32>(), x.to_vec::<f32>());
        a.gamma.set(Tensor::ones([1]));
        let moved = (a.forward(&x) - &x).abs().mean(..).item::<f32>();
        assert!(moved > 0.01, "{moved}");
    }
}
