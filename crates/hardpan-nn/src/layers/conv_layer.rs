//! [`ConvLayer`]: a convolution with its norm and its activation, as one line.

use super::activation::ReLU;
use super::conv::{Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d};
use super::norm::{
    BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d,
};
use super::parametrize::{SpectralNorm, WeightNorm};
use crate::init::Init;
use crate::{Forward, IntoLayer, Layer, Module, Param, Sequential};
use hardpan_engine::Tensor;

/// What normalizes a [`ConvLayer`]. Counterpart: fastai's `NormType`.
///
/// ```
/// use hardpan_nn::{ConvLayer, Module, NormType};
/// let keys = |norm| ConvLayer::new(3, 8).norm(norm).build().state_dict().keys().count();
/// assert_eq!(keys(NormType::None), 2); // weight, bias
/// assert_eq!(keys(NormType::Batch), 6); // weight; weight, bias and statistics of the norm
/// assert_eq!(keys(NormType::Weight), 3); // bias, length and direction of the weight
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormType {
    /// Batch norm with weights of one.
    #[default]
    Batch,
    /// Batch norm with weights of zero: a branch that starts as nothing.
    BatchZero,
    /// [`WeightNorm`] of the convolution.
    Weight,
    /// [`SpectralNorm`] of the convolution.
    Spectral,
    /// Instance norm with weights of one.
    Instance,
    /// Instance norm with weights of zero.
    InstanceZero,
    /// Nothing.
    None,
}

/// A batch norm as fastai starts it: weights of one (or zero) and biases of 0.001. Counterpart: fastai's `BatchNorm`.
///
/// ```
/// use hardpan_nn::{Module, batch_norm};
/// let norm = batch_norm(8, 2, true).state_dict();
/// assert_eq!(norm.get("weight").unwrap().to_vec::<f32>(), [0.0; 8]);
/// assert_eq!(norm.get("bias").unwrap().to_vec::<f32>(), [0.001; 8]);
/// ```
pub fn batch_norm(features: usize, dims: usize, zero: bool) -> Box<dyn Layer> {
    macro_rules! started {
        ($norm:expr) => {{
            let norm = $norm;
            start(&norm.weight, &norm.bias, zero);
            Box::new(norm)
        }};
    }
    match dims {
        1 => started!(BatchNorm1d::new(features)),
        2 => started!(BatchNorm2d::new(features)),
        _ => started!(BatchNorm3d::new(features)),
    }
}

/// As [`batch_norm`], an instance norm with weight and bias. Counterpart: fastai's `InstanceNorm`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Module, instance_norm};
/// let norm = instance_norm(8, 1, false);
/// assert_eq!(norm.forward(&Tensor::ones([2, 8, 5])).shape(), [2, 8, 5]);
/// assert_eq!(norm.num_parameters(), 16);
/// ```
pub fn instance_norm(features: usize, dims: usize, zero: bool) -> Box<dyn Layer> {
    macro_rules! started {
        ($norm:expr) => {{
            let norm = $norm.affine(true);
            start(&norm.weight, &norm.bias, zero);
            Box::new(norm)
        }};
    }
    match dims {
        1 => started!(InstanceNorm1d::new(features)),
        2 => started!(InstanceNorm2d::new(features)),
        _ => started!(InstanceNorm3d::new(features)),
    }
}

fn start(weight: &Option<Param>, bias: &Option<Param>, zero: bool) {
    if let (Some(w), Some(b)) = (weight, bias) {
        w.set(w.value().full_like(if zero { 0.0 } else { 1.0 }));
        b.set(b.value().full_like(1e-3));
    }
}

/// Settings of a convolution with norm and activation; [`build`](ConvLayer::build) makes the [`Sequential`] of them.
///
/// Keys: `0.*` the convolution, `1.*` the norm. Counterpart: fastai's `ConvLayer`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{ConvLayer, Forward, Module};
/// let layer = ConvLayer::new(3, 16).stride(2).build();
/// assert_eq!(layer.forward(&Tensor::ones([2, 3, 8, 8])).shape(), &[2, 16, 4, 4]);
/// let keys: Vec<String> = layer.named_parameters().into_iter().map(|(k, _)| k).collect();
/// assert_eq!(keys, ["0.weight", "1.weight", "1.bias"]);
/// ```
#[must_use]
pub struct ConvLayer {
    channels: (usize, usize),
    kernel: usize,
    stride: usize,
    padding: Option<usize>,
    groups: usize,
    dims: usize,
    bias: Option<bool>,
    norm: NormType,
    norm_first: bool,
    transpose: bool,
    activation: Option<Box<dyn Layer>>,
    init: Init,
}

impl ConvLayer {
    /// From `inputs` to `outputs` channels of images: kernel 3, stride 1, padding that keeps the size, batch norm, ReLU.
    pub fn new(inputs: usize, outputs: usize) -> ConvLayer {
        ConvLayer {
            channels: (inputs, outputs),
            kernel: 3,
            stride: 1,
            padding: None,
            groups: 1,
            dims: 2,
            bias: None,
            norm: NormType::Batch,
            norm_first: true,
            transpose: false,
            activation: Some(Box::new(ReLU)),
            init: Init::default(),
        }
    }

    /// Size of the kernel. Default 3.
    pub fn kernel(mut self, kernel: usize) -> ConvLayer {
        self.kernel = kernel;
        self
    }
    /// Step of the window. Default 1.
    pub fn stride(mut self, stride: usize) -> ConvLayer {
        self.stride = stride;
        self
    }
    /// Zeros on each side. Default `(kernel - 1) / 2`, none if transposed.
    pub fn padding(mut self, padding: usize) -> ConvLayer {
        self.padding = Some(padding);
        self
    }
    /// Channel groups. Default 1.
    pub fn groups(mut self, groups: usize) -> ConvLayer {
        self.groups = groups;
        self
    }
    /// Spatial dimensions, 1 to 3. Default 2.
    #[track_caller]
    pub fn dims(mut self, dims: usize) -> ConvLayer {
        assert!((1..=3).contains(&dims), "ConvLayer: {dims} spatial dimensions; there are 1 to 3");
        self.dims = dims;
        self
    }
    /// With a bias or without. Default: without where a batch or instance norm follows.
    pub fn bias(mut self, bias: bool) -> ConvLayer {
        self.bias = Some(bias);
        self
    }
    /// What normalizes. Default: batch norm.
    pub fn norm(mut self, norm: NormType) -> ConvLayer {
        self.norm = norm;
        self
    }
    /// Whether the norm comes before the activation. Default yes.
    pub fn norm_first(mut self, first: bool) -> ConvLayer {
        self.norm_first = first;
        self
    }
    /// A transposed convolution. Default no.
    pub fn transpose(mut self, transpose: bool) -> ConvLayer {
        self.transpose = transpose;
        self
    }
    /// What follows. Default: ReLU.
    pub fn activation<K>(mut self, activation: impl IntoLayer<K>) -> ConvLayer {
        self.activation = Some(activation.into_layer());
        self
    }
    /// With nothing after the norm.
    pub fn no_activation(mut self) -> ConvLayer {
        self.activation = None;
        self
    }
    /// How the weights start. Default: Kaiming normal; biases are zeros.
    pub fn init(mut self, init: Init) -> ConvLayer {
        self.init = init;
        self
    }

    /// The layers.
    #[track_caller]
    pub fn build(self) -> Sequential {
        let normed = matches!(
            self.norm,
            NormType::Batch | NormType::BatchZero | NormType::Instance | NormType::InstanceZero
        );
        let (inputs, outputs) = self.channels;
        let bias = self.bias.unwrap_or(!normed);
        let padding =
            self.padding.unwrap_or(if self.transpose { 0 } else { (self.kernel - 1) / 2 });
        macro_rules! conv {
            ($conv:ident) => {
                self.parametrized(
                    $conv::new(inputs, outputs, self.kernel)
                        .stride(self.stride)
                        .padding(padding)
                        .groups(self.groups)
                        .bias(bias)
                        .init(self.init),
                )
            };
        }
        let conv: Box<dyn Layer> = match (self.dims, self.transpose) {
            (1, false) => conv!(Conv1d),
            (2, false) => conv!(Conv2d),
            (_, false) => conv!(Conv3d),
            (1, true) => conv!(ConvTranspose1d),
            (2, true) => conv!(ConvTranspose2d),
            (_, true) => conv!(ConvTranspose3d),
        };
        let norm = match self.norm {
            NormType::Batch => Some(batch_norm(outputs, self.dims, false)),
            NormType::BatchZero => Some(batch_norm(outputs, self.dims, true)),
            NormType::Instance => Some(instance_norm(outputs, self.dims, false)),
            NormType::InstanceZero => Some(instance_norm(outputs, self.dims, true)),
            NormType::Weight | NormType::Spectral | NormType::None => None,
        };
        let rest = if self.norm_first { [norm, self.activation] } else { [self.activation, norm] };
        let mut out = Sequential::new().append(conv);
        for layer in rest.into_iter().flatten() {
            out = out.append(layer);
        }
        out
    }

    fn parametrized<C: Module + Forward<Tensor, Output = Tensor>>(
        &self,
        conv: C,
    ) -> Box<dyn Layer> {
        match self.norm {
            NormType::Weight => Box::new(WeightNorm::new(conv)),
            NormType::Spectral => Box::new(SpectralNorm::new(conv)),
            _ => Box::new(conv),
        }
    }
}
