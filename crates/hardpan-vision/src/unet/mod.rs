//! [`DynamicUnet`]: a U-Net around any body of [`models`].
//!
//! What the body gives at each size is kept; on the way up each is joined to what comes from below, enlarged by pixel shuffling.
//! Ronneberger et al., <https://arxiv.org/abs/1505.04597>. Counterpart: fastai's `DynamicUnet`.

mod layers;

pub use layers::{PixelShuffleIcnr, SelfAttention2d};

use crate::models::{self, Activation, Model, ModelError, Stages};
use hardpan_engine::{Tensor, functional as f, no_grad};
use hardpan_learn::file::Arch;
use hardpan_nn::{BatchNorm2d, Conv2d, Forward, Module, Param, Sequential, evaluating, seq};
use layers::{Merge, conv_layer};
use serde::{Deserialize, Serialize};

/// Settings of the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnetOptions {
    /// Few channels on the way up, whatever the encoder gives: 256 at the smallest maps, half as many with each step, 16 at least. The
    /// network takes a seventh of the work with xresnet18, a fourteenth with EfficientNet-Lite0: most was at full size. Default no (fastai: as many as come together).
    pub narrow: bool,
    /// Blurs what pixel shuffling gives, against checkerboards: Sugawara et al., <https://arxiv.org/abs/1806.02658>. Default no.
    pub blur: bool,
    /// Attention among all places of the block before the last two. Default no.
    pub self_attention: bool,
    /// Joins the picture itself at the end. Default yes.
    pub last_cross: bool,
    /// Batch norm in the way up. Default yes (fastai: no, which is for pretrained encoders).
    pub norm: bool,
    /// The nonlinearity of the way up.
    pub activation: Activation,
}

impl Default for UnetOptions {
    fn default() -> UnetOptions {
        UnetOptions {
            narrow: false,
            blur: false,
            self_attention: false,
            last_cross: true,
            norm: true,
            activation: Activation::Relu,
        }
    }
}

/// Channels at the smallest maps of a narrow way up.
const NARROW: usize = 256;
/// As few as they get.
const NARROWEST: usize = 16;

/// The name of the architecture in the header of a model's file.
pub const UNET: &str = "unet";

/// What a file says of a U-Net.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Config {
    encoder: Arch,
    channels: usize,
    outputs: usize,
    size: (usize, usize),
    #[serde(default)]
    options: UnetOptions,
}

/// Scores for every pixel: `[N, C, H, W]` to `[N, outputs, H, W]`.
#[derive(Module)]
pub struct DynamicUnet {
    encoder: Stages,
    norm: BatchNorm2d,
    middle: Sequential,
    blocks: Vec<UnetBlock>,
    shuffle: Option<PixelShuffleIcnr>,
    cross: Option<Merge>,
    last: Conv2d,
    /// Layers of the encoder whose output is kept, for each block.
    #[module(skip)]
    kept: Vec<usize>,
    #[module(skip)]
    config: Config,
}

impl DynamicUnet {
    /// Around the body of `model`, for pictures of `channels` channels and about this height and width.
    ///
    /// # Panics
    /// If the body gives no maps (`mlp`, vision transformers), or the pictures are too small for it.
    #[track_caller]
    pub fn new(
        model: Model,
        channels: usize,
        outputs: usize,
        size: (usize, usize),
        o: &UnetOptions,
    ) -> DynamicUnet {
        let config = Config { encoder: model.arch(), channels, outputs, size, options: *o };
        let encoder = model.into_body();
        // Only shapes are asked for: nothing of this is computed.
        let dummy = Tensor::zeros([1, channels, size.0, size.1]);
        let shapes: Vec<Vec<usize>> = no_grad(|| {
            evaluating(&encoder, || {
                encoder.forward_each(&dummy).iter().map(|y| y.shape().to_vec()).collect()
            })
        });
        assert!(
            shapes.iter().all(|s| s.len() == 4),
            "DynamicUnet: the body must give maps [N, C, h, w], this one gives {:?}",
            shapes.last()
        );
        // The last layers before the size changes, from the smallest maps up.
        let kept: Vec<usize> = (0..shapes.len().saturating_sub(1))
            .filter(|&i| shapes[i][2..] != shapes[i + 1][2..])
            .rev()
            .collect();
        let act = o.activation;
        let mut width = shapes.last().map_or(channels, |s| s[1]);
        let norm = BatchNorm2d::new(width);
        let (inner, out) = if o.narrow { (NARROW, NARROW) } else { (2 * width, width) };
        let middle = seq![
            conv_layer(width, inner, 3, Some(act), o.norm),
            conv_layer(inner, out, 3, Some(act), o.norm)
        ];
        width = out;
        let mut blocks = Vec::new();
        for (i, &layer) in kept.iter().enumerate() {
            let last = i + 1 == kept.len();
            let attention = o.self_attention && i + 3 == kept.len();
            let block = UnetBlock::new(width, shapes[layer][1], !last, attention, o);
            width = block.outputs();
            blocks.push(block);
        }
        let first = shapes.first().map_or([size.0, size.1], |s| [s[2], s[3]]);
        let shuffle = (first != [size.0, size.1])
            .then(|| PixelShuffleIcnr::new(width, width, act, o.norm, false));
        let cross = o.last_cross.then(|| Merge::new(width + channels, act, o.norm));
        if o.last_cross {
            width += channels;
        }
        let last = Conv2d::new(width, outputs, 1);
        DynamicUnet { encoder, norm, middle, blocks, shuffle, cross, last, kept, config }
    }

    /// Name and settings, for the header of a model file.
    pub fn arch(&self) -> Arch {
        let config = serde_json::to_value(&self.config).unwrap_or_default();
        Arch { name: UNET.into(), config }
    }

    /// Builds the U-Net that the header of a model file describes, with new weights.
    ///
    /// # Errors
    /// If it describes none, or its settings make no sense.
    pub fn from_arch(arch: &Arch) -> Result<DynamicUnet, ModelError> {
        let wrong = |problem: String| ModelError::Settings { name: arch.name.clone(), problem };
        if arch.name != UNET {
            return Err(wrong("it is no U-Net".into()));
        }
        let c: Config =
            serde_json::from_value(arch.config.clone()).map_err(|e| wrong(e.to_string()))?;
        let sane = |n: usize, most: usize| (1..=most).contains(&n);
        if !sane(c.outputs, 1 << 12) || ![c.size.0, c.size.1].iter().all(|n| sane(*n, 1 << 13)) {
            let (h, w) = c.size;
            return Err(wrong(format!("{} classes and pictures of {h}x{w}", c.outputs)));
        }
        let encoder = models::from_arch(&c.encoder)?;
        let maps = !matches!(encoder.name(), "mlp") && !encoder.name().starts_with("vit_");
        if !maps || encoder.in_channels() != Some(c.channels) {
            return Err(wrong(format!(
                "`{}` is no encoder for {} channels",
                encoder.name(),
                c.channels
            )));
        }
        Ok(DynamicUnet::new(encoder, c.channels, c.outputs, c.size, &c.options))
    }

    /// Number of classes.
    pub fn outputs(&self) -> usize {
        self.config.outputs
    }

    /// The parameters in two groups: the encoder, the way up.
    pub fn groups(&self) -> Vec<Vec<Param>> {
        let encoder = self.encoder.parameters();
        let rest = self.parameters().split_off(encoder.len());
        vec![encoder, rest]
    }
}

impl Forward for DynamicUnet {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let maps = self.encoder.forward_each(x);
        let y = maps.last().unwrap_or(x);
        let mut y = self.middle.forward(&f::relu(&self.norm.forward(y)));
        for (block, &layer) in self.blocks.iter().zip(&self.kept) {
            y = block.forward(&y, &maps[layer]);
        }
        if let Some(shuffle) = &self.shuffle {
            y = shuffle.forward(&y);
        }
        y = layers::to_size(&y, x);
        if let Some(cross) = &self.cross {
            y = cross.forward(&Tensor::cat(&[&y, x], 1));
        }
        self.last.forward(&y)
    }
}

/// One step up: what comes from below is enlarged and joined to what the encoder gave at this size.
#[derive(Module)]
pub struct UnetBlock {
    shuf: PixelShuffleIcnr,
    bn: BatchNorm2d,
    conv1: Sequential,
    conv2: Sequential,
    attention: Option<SelfAttention2d>,
    act: Activation,
    width: usize,
}

impl UnetBlock {
    fn new(below: usize, beside: usize, full: bool, attention: bool, o: &UnetOptions) -> UnetBlock {
        let act = o.activation;
        let inputs = below / 2 + beside;
        let width = match o.narrow {
            true => (below / 2).max(NARROWEST),
            false if full => inputs,
            false => inputs / 2,
        };
        UnetBlock {
            shuf: PixelShuffleIcnr::new(below, below / 2, act, o.norm, o.blur),
            bn: BatchNorm2d::new(beside),
            conv1: conv_layer(inputs, width, 3, Some(act), o.norm),
            conv2: conv_layer(width, width, 3, Some(act), o.norm),
            attention: attention.then(|| SelfAttention2d::new(width)),
            act,
            width,
        }
    }

    fn outputs(&self) -> usize {
        self.width
    }

    #[track_caller]
    fn forward(&self, below: &Tensor, beside: &Tensor) -> Tensor {
        let up = layers::to_size(&self.shuf.forward(below), beside);
        let both = Tensor::cat(&[up, self.bn.forward(beside)], 1);
        let y = self.conv2.forward(&self.conv1.forward(&self.act.forward(&both)));
        match &self.attention {
            Some(a) => a.forward(&y),
            None => y,
        }
    }
}
