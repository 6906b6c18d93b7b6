//! Plain convolutional networks that learn small pictures fast.
//!
//! After Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", <https://arxiv.org/abs/2404.00498>: a first layer that whitens
//! patches of the data and is not trained, three groups of two convolutions that start as the identity as far as they can, batch norms
//! with a bias only, whose rate is 64 times that of the weights.

use super::blocks::{Activation, conv};
use super::{Model, ModelOptions, Parts, Stages};
use hardpan_engine::{Tensor, functional as f, no_grad};
use hardpan_nn::init::{Init, orthogonal};
use hardpan_nn::{
    AdaptiveMaxPool2d, BatchNorm2d, Buffer, Conv2d, Flatten, Forward, Linear, MaxPool2d, Module,
    Param,
};

/// Names with the channels of the three groups.
pub(super) const VARIANTS: &[(&str, [usize; 3])] =
    &[("airbench94", [64, 256, 256]), ("airbench95", [128, 384, 384])];

/// Whether an architecture is one of these.
pub(crate) fn includes(name: &str) -> bool {
    VARIANTS.iter().any(|v| v.0 == name)
}

/// Rows and columns of the patches that are whitened.
const PATCH: usize = 2;

/// The network, cut before its pooling.
pub(super) fn parts(widths: &[usize; 3], o: &ModelOptions) -> Parts {
    let act = o.activation.unwrap_or(Activation::Gelu);
    let whiten = Whitening::new(o.channels);
    let mut inputs = whiten.outputs();
    let mut body = Stages::new().with("whiten", whiten).with("act", act);
    for (i, &width) in widths.iter().enumerate() {
        body.push(format!("group{}", i + 1), Group::new(inputs, width, act));
        inputs = width;
    }
    let head = Stages::new()
        .with("pool", AdaptiveMaxPool2d::new(1))
        .with("flatten", Flatten::new())
        .with("fc", Scores::new(inputs, o.classes));
    Parts { body, head, features: inputs, split: 3 }
}

/// A convolution whose outputs are uncorrelated and of variance 1 on the data, each with both signs. Until [`whiten`] has seen data, it
/// is a random rotation of each patch. The weight is not trained, the bias is.
#[derive(Module)]
struct Whitening {
    /// `[2 k, C, 2, 2]` with `k = 4 C`
    weight: Buffer,
    /// `[2 k]`
    bias: Param,
}

impl Whitening {
    fn new(channels: usize) -> Whitening {
        let k = channels * PATCH * PATCH;
        let weight = both_signs(&orthogonal(&[k, k], 1.0), channels);
        Whitening { weight: Buffer::new(weight), bias: Param::new(Tensor::zeros([2 * k])) }
    }

    fn outputs(&self) -> usize {
        self.bias.numel()
    }
}

impl Forward for Whitening {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let (w, b) = (self.weight.value(), self.bias.value());
        f::conv2d(x, &w, Some(&b), f::ConvOptions::default())
    }
}

/// Rows of `[k, k]` as kernels, followed by their opposites.
fn both_signs(rows: &Tensor, channels: usize) -> Tensor {
    let k = rows.size(0);
    Tensor::cat(&[rows, &-rows], 0).reshape([2 * k, channels, PATCH, PATCH])
}

/// Sets the first layer of `model` from pictures `x: [N, C, H, W]` as it will get them, normalized, if its architecture has a layer that
/// whitens (`airbench94`, `airbench95`); says whether it has. A few hundred pictures are enough.
///
/// # Panics
/// If the pictures have another number of channels, or fewer than 2 rows or columns.
#[track_caller]
pub fn whiten(model: &Model, x: &Tensor) -> bool {
    let cells = model.named_buffers();
    let Some((_, weight)) = cells.iter().find(|(name, _)| name == "whiten.weight") else {
        return false;
    };
    let channels = weight.value().size(1);
    assert!(
        x.rank() == 4 && x.size(1) == channels && x.size(2) >= PATCH && x.size(3) >= PATCH,
        "whiten: expected pictures [N, {channels}, H, W] of at least {PATCH}x{PATCH}, got {:?}",
        x.shape()
    );
    no_grad(|| {
        let patches = x.unfold(2, PATCH, 1).unfold(3, PATCH, 1).permute([0, 2, 3, 1, 4, 5]);
        let patches = patches.reshape([-1, (channels * PATCH * PATCH) as isize]);
        let moments = patches.transpose(0, 1).matmul(&patches) / patches.size(0) as f64;
        let (values, vectors) = moments.eigh(true);
        // Directions with next to no variance would be noise made large.
        let scale = (values.clamp_min(0.0) + 5e-4).rsqrt();
        weight.set(both_signs(&(vectors * scale).transpose(0, 1), channels));
    });
    true
}

/// Convolution, 2x2 pooling, convolution, each with batch norm.
#[derive(Module)]
struct Group {
    conv1: Conv2d,
    norm1: ShiftNorm,
    conv2: Conv2d,
    norm2: ShiftNorm,
    act: Activation,
    pool: MaxPool2d,
}

impl Group {
    fn new(inputs: usize, width: usize, act: Activation) -> Group {
        let conv = |inputs: usize| {
            let conv = conv(inputs, width, 3, 1);
            conv.weight.set(identity_first(&[width, inputs, 3, 3]));
            conv
        };
        Group {
            conv1: conv(inputs),
            norm1: ShiftNorm::new(width),
            conv2: conv(width),
            norm2: ShiftNorm::new(width),
            act,
            pool: MaxPool2d::new(2),
        }
    }
}

/// The first outputs hand the inputs on, the others start as PyTorch's.
fn identity_first(shape: &[usize; 4]) -> Tensor {
    let random = Init::PyTorch.tensor(shape);
    let same = shape[0].min(shape[1]);
    let identity = Init::Dirac.tensor(&[same, shape[1], shape[2], shape[3]]);
    if same == shape[0] {
        return identity;
    }
    Tensor::cat(&[identity, random.narrow(0, same, shape[0] - same)], 0)
}

impl Forward for Group {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        // A picture of one row is as small as it gets.
        let y = self.conv1.forward(x);
        let y = if y.size(2) > 1 && y.size(3) > 1 { self.pool.forward(&y) } else { y };
        let y = self.act.forward(&self.norm1.forward(&y));
        self.act.forward(&self.norm2.forward(&self.conv2.forward(&y)))
    }
}

/// How much more a bias moves a norm than a parameter would. With plain gradient descent its square is the factor on the rate.
const BIAS_GAIN: f64 = 8.0;

/// Batch norm with a bias in place of weight and bias.
#[derive(Module)]
#[module(role = BatchNorm)]
struct ShiftNorm {
    norm: BatchNorm2d,
    /// `[C, 1, 1]`, an eighth of what is added
    bias: Param,
}

impl ShiftNorm {
    fn new(channels: usize) -> ShiftNorm {
        ShiftNorm {
            norm: BatchNorm2d::new(channels).affine(false).momentum(0.4),
            bias: Param::new(Tensor::zeros([channels, 1, 1])),
        }
    }
}

impl Forward for ShiftNorm {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.norm.forward(x) + self.bias.value() * BIAS_GAIN
    }
}

/// A linear layer without bias, divided by 9: scores that begin small.
#[derive(Module)]
struct Scores {
    #[module(flatten)]
    linear: Linear,
}

impl Scores {
    fn new(features: usize, classes: usize) -> Scores {
        Scores { linear: Linear::new(features, classes).bias(false).init(Init::PyTorch) }
    }
}

impl Forward for Scores {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.linear.forward(x) / 9.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::create;
    use hardpan_engine::manual_seed;

    #[test]
    fn whitened_patches_are_uncorrelated() {
        manual_seed(6);
        let options = ModelOptions { classes: 5, ..Default::default() };
        let model = create("airbench94", &options).unwrap();
        // Smooth pictures: neighbours are much alike.
        let smooth = || {
            let options = f::AvgPoolOptions { stride: Some(1.into()), ..Default::default() };
            f::avg_pool2d(&Tensor::randn([40, 3, 34, 34]), 3, options) * 3.0
        };
        assert!(whiten(&model, &smooth()));
        let y = model.body().iter().next().unwrap().1.forward(&smooth());
        assert_eq!(y.shape(), [40, 24, 31, 31]);
        let rows = y.narrow(1, 0, 12).permute([0, 2, 3, 1]).reshape([-1, 12]);
        let moments = rows.transpose(0, 1).matmul(&rows) / rows.size(0) as f64;
        let off = (&moments - Tensor::eye(12, 12)).abs().amax(..).item::<f32>();
        assert!(off < 0.15, "{:?}", moments.to_vec::<f32>());
        let sum = (y.narrow(1, 0, 12) + y.narrow(1, 12, 12)).abs().amax(..).item::<f32>();
        assert_eq!(sum, 0.0, "each direction has both signs");

        assert!(!whiten(&create("resnet9_tiny", &options).unwrap(), &Tensor::zeros([1, 3, 8, 8])));
    }

    #[test]
    fn groups_hand_their_inputs_on_at_first() {
        manual_seed(7);
        let group = Group::new(4, 6, Activation::Relu);
        let x = Tensor::randn([2, 4, 8, 8]);
        let y = group.conv1.forward(&x).narrow(1, 0, 4);
        assert_eq!(y.to_vec::<f32>(), x.to_vec::<f32>());
    }
}
