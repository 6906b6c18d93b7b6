//! Dropout: parts of the input zeroed at random in training.

use crate::{Forward, Mode, Module, hooked};
use hardpan_engine::{DType, Tensor, functional as f};

macro_rules! dropouts {
    ($($(#[$doc:meta])* $name:ident = $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Module, Debug)]
        pub struct $name {
            p: f64,
            /// Whether anything is dropped.
            pub training: Mode,
        }

        impl $name {
            /// With this probability of dropping (PyTorch's default is 0.5).
            ///
            /// # Panics
            /// If `p` is not between 0 and 1.
            #[track_caller]
            pub fn new(p: f64) -> $name {
                assert!((0.0..=1.0).contains(&p), "{}: the probability {p} is not in 0..=1", stringify!($name));
                $name { p, training: Mode::for_dropout() }
            }
        }

        impl Forward for $name {
            type Output = Tensor;
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Tensor {
                hooked!(self, x => {
                    f::$function(x, self.p, self.training.is_training())
                })
            }
        }
    )*};
}

dropouts! {
    /// Zeroes elements with probability `p` and scales the rest by `1 / (1 - p)`; does nothing in evaluation.
    /// Counterpart: `torch.nn.Dropout`; Hinton et al., <https://arxiv.org/abs/1207.0580>.
    ///
    /// ```
    /// use hardpan_engine::{Tensor, manual_seed};
    /// use hardpan_nn::{Dropout, Forward, Module};
    /// manual_seed(1);
    /// let layer = Dropout::new(0.5);
    /// let y = layer.forward(&Tensor::ones([100])).to_vec::<f32>();
    /// assert!(y.iter().all(|v| *v == 0.0 || *v == 2.0));
    /// layer.eval();
    /// assert_eq!(layer.forward(&Tensor::ones([3])).to_vec::<f32>(), [1.0; 3]);
    /// ```
    Dropout = dropout;
    /// As [`Dropout`], whole channels of `[N, C, L]` or `[C, L]`. Counterpart: `torch.nn.Dropout1d`.
    ///
    /// ```
    /// use hardpan_engine::{Tensor, manual_seed};
    /// use hardpan_nn::{Dropout1d, Forward};
    /// manual_seed(1);
    /// let y = Dropout1d::new(0.5).forward(&Tensor::ones([20, 3, 5]));
    /// let (least, most) = (y.amin([2]), y.amax([2]));
    /// assert_eq!(least.to_vec::<f32>(), most.to_vec::<f32>()); // a channel is dropped whole
    /// assert!(least.to_vec::<f32>().contains(&0.0));
    /// ```
    Dropout1d = dropout1d;
    /// As [`Dropout`], whole channels of `[N, C, H, W]` or `[C, H, W]`. Counterpart: `torch.nn.Dropout2d`.
    ///
    /// ```
    /// use hardpan_engine::{Tensor, manual_seed};
    /// use hardpan_nn::{Dropout2d, Forward};
    /// manual_seed(1);
    /// let y = Dropout2d::new(0.5).forward(&Tensor::ones([20, 3, 4, 4]));
    /// let (least, most) = (y.amin([2, 3]), y.amax([2, 3]));
    /// assert_eq!(least.to_vec::<f32>(), most.to_vec::<f32>()); // a channel is dropped whole
    /// assert!(least.to_vec::<f32>().contains(&0.0));
    /// ```
    Dropout2d = dropout2d;
    /// As [`Dropout`], whole channels of `[N, C, D, H, W]` or without N. Counterpart: `torch.nn.Dropout3d`.
    ///
    /// ```
    /// use hardpan_engine::{Tensor, manual_seed};
    /// use hardpan_nn::{Dropout3d, Forward};
    /// manual_seed(1);
    /// let y = Dropout3d::new(0.5).forward(&Tensor::ones([20, 3, 2, 4, 4]));
    /// let (least, most) = (y.amin([2, 3, 4]), y.amax([2, 3, 4]));
    /// assert_eq!(least.to_vec::<f32>(), most.to_vec::<f32>()); // a channel is dropped whole
    /// assert!(least.to_vec::<f32>().contains(&0.0));
    /// ```
    Dropout3d = dropout3d;
    /// Dropout for SELU networks: keeps mean and variance. Counterpart: `torch.nn.AlphaDropout`.
    ///
    /// ```
    /// use hardpan_engine::{Tensor, manual_seed};
    /// use hardpan_nn::{AlphaDropout, Forward};
    /// manual_seed(1);
    /// let y = AlphaDropout::new(0.2).forward(&Tensor::randn([10_000]));
    /// assert!(y.mean(..).item::<f32>().abs() < 0.05);
    /// assert!(((&y * &y).mean(..).item::<f32>() - 1.0).abs() < 0.1);
    /// ```
    AlphaDropout = alpha_dropout;
    /// As [`AlphaDropout`], whole channels. Counterpart: `torch.nn.FeatureAlphaDropout`.
    ///
    /// ```
    /// use hardpan_engine::{Tensor, manual_seed};
    /// use hardpan_nn::{FeatureAlphaDropout, Forward};
    /// manual_seed(1);
    /// let y = FeatureAlphaDropout::new(0.5).forward(&Tensor::ones([20, 3, 4]));
    /// assert_eq!(y.amin(2).to_vec::<f32>(), y.amax(2).to_vec::<f32>()); // a channel is dropped whole
    /// ```
    FeatureAlphaDropout = feature_alpha_dropout;
}

/// Leaves out the branch of a residual block: whole items of `x: [N, ..]` become zero with probability `p` in training (or the whole batch,
/// with [`batch`](StochasticDepth::batch)), and the rest is scaled by `1 / (1 - p)`. Nothing happens in evaluation.
///
/// Counterpart: `torchvision.ops.StochasticDepth` (mode `row`), timm's `DropPath`; Huang et al., <https://arxiv.org/abs/1603.09382>.
///
/// ```
/// use hardpan_engine::{Tensor, manual_seed};
/// use hardpan_nn::{Forward, Module, StochasticDepth};
/// manual_seed(1);
/// let depth = StochasticDepth::new(0.5);
/// let sums = depth.forward(&Tensor::ones([8, 3])).sum(1).to_vec::<f32>();
/// assert!(sums.iter().all(|s| [0.0, 6.0].contains(s)) && sums.contains(&0.0) && sums.contains(&6.0));
/// depth.eval();
/// assert_eq!(depth.forward(&Tensor::ones([8, 3])).sum(..).item::<f32>(), 24.0);
/// ```
#[derive(Module, Debug)]
pub struct StochasticDepth {
    p: f64,
    batch: bool,
    /// Whether anything is left out.
    pub training: Mode,
}

/// Another name of [`StochasticDepth`], timm's.
pub use StochasticDepth as DropPath;

impl StochasticDepth {
    /// With this probability of leaving an item out.
    ///
    /// # Panics
    /// If `p` is not in `0..1`.
    #[track_caller]
    pub fn new(p: f64) -> StochasticDepth {
        assert!((0.0..1.0).contains(&p), "StochasticDepth: the probability {p} is not in 0..1");
        StochasticDepth { p, batch: false, training: Mode::for_dropout() }
    }

    /// Whether all items are left out together, torchvision's mode `batch`. Default no.
    #[must_use]
    pub fn batch(mut self, batch: bool) -> StochasticDepth {
        self.batch = batch;
        self
    }
}

impl Forward for StochasticDepth {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            if self.p == 0.0 || !self.training.is_training() {
                x.clone()
            } else {
                let mut shape = vec![1; x.rank()];
                if !self.batch && x.rank() > 0 {
                    shape[0] = x.size(0);
                }
                let kept = Tensor::rand(&shape[..]).ge(self.p).to_dtype(x.dtype());
                x * (kept / (1.0 - self.p))
            }
        })
    }
}

/// Zeroes squares of `block x block` pixels of `x: [N, C, H, W]` in training, about a share `p` of all pixels, and scales the rest so that
/// the mean stays; nothing happens in evaluation. A block larger than the picture is cut to it.
///
/// Counterpart: `torchvision.ops.DropBlock2d` (whose even blocks change the size; ours do not); Ghiasi et al.,
/// <https://arxiv.org/abs/1810.12890>.
///
/// ```
/// use hardpan_engine::{Tensor, manual_seed};
/// use hardpan_nn::{DropBlock2d, Forward};
/// manual_seed(1);
/// let y = DropBlock2d::new(0.2, 3).forward(&Tensor::ones([8, 16, 20, 20]));
/// let zeros = y.eq(0.0).to_dtype(hardpan_engine::DType::F32).mean(..).item::<f32>();
/// assert!((zeros - 0.2).abs() < 0.03); // blocks may lie over each other
/// assert!((y.mean(..).item::<f32>() - 1.0).abs() < 1e-5);
/// ```
#[derive(Module, Debug)]
pub struct DropBlock2d {
    p: f64,
    block: usize,
    eps: f64,
    /// Whether anything is dropped.
    pub training: Mode,
}

impl DropBlock2d {
    /// With this share of dropped pixels and this side of a block, in pixels (7 in the paper).
    ///
    /// # Panics
    /// If `p` is not between 0 and 1, or the block is 0.
    #[track_caller]
    pub fn new(p: f64, block: usize) -> DropBlock2d {
        assert!(
            (0.0..=1.0).contains(&p) && block > 0,
            "DropBlock2d: a probability in 0..=1 and a block of at least 1 were expected, got {p} and {block}"
        );
        DropBlock2d { p, block, eps: 1e-6, training: Mode::for_dropout() }
    }

    /// Added to the number of pixels that are kept, which is divided by. Default 1e-6.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> DropBlock2d {
        self.eps = eps;
        self
    }
}

impl Forward for DropBlock2d {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            assert!(x.rank() == 4, "DropBlock2d: expected [N, C, H, W], got shape {:?}", x.shape());
            if self.p == 0.0 || !self.training.is_training() || x.numel() == 0 {
                x.clone()
            } else {
                let (h, w) = (x.size(2), x.size(3));
                let block = self.block.min(h).min(w);
                let (rows, columns) = (h - block + 1, w - block + 1);
                // The share of corners that drops a share p of the pixels if no blocks meet: the paper's equation 1.
                let corners = self.p * (h * w) as f64 / ((block * block) * (rows * columns)) as f64;
                let drawn = Tensor::rand([x.size(0), x.size(1), rows, columns]).lt(corners).to_dtype(DType::F32);
                // A pixel is dropped if one of the corners up and left of it was drawn.
                let edge = block as isize - 1;
                let around = f::pad(&drawn, &[edge; 4], f::PadMode::Constant(0.0));
                let options = f::MaxPoolOptions { stride: Some(1.into()), ..Default::default() };
                let kept = 1.0f64 - f::max_pool2d(&around, block, options);
                let scale = (kept.sum(..) + self.eps).reciprocal() * kept.numel() as f64;
                x * (kept * scale).to_dtype(x.dtype())
            }
        })
    }
}
