//! Small architectures by name: what a model file needs to say so that its model can be built again.
//!
//! ```
//! use hardpan_learn::arch::{Network, build};
//! use hardpan_nn::Module;
//! let network = Network::cnn(10);
//! let model = build(&network.to_arch()).unwrap();
//! assert_eq!(model.num_parameters(), network.build().num_parameters());
//! ```

use crate::file::Arch;
use hardpan_nn::{AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, ReLU, Sequential, seq};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A network for images, with its settings.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::arch::{Mlp, Network};
/// use hardpan_nn::Forward;
/// let network = Network::Mlp(Mlp { inputs: 784, hidden: 20, classes: 10 });
/// let logits = network.build().forward(&Tensor::zeros([2, 1, 28, 28]));
/// assert_eq!(logits.shape(), [2, 10]);
/// // Its settings go into a model file, and come back from it.
/// assert_eq!(Network::from_arch(&network.to_arch())?, network);
/// # Ok::<(), hardpan_learn::arch::ArchError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", content = "config", rename_all = "snake_case")]
pub enum Network {
    /// The course's convolutional network.
    Cnn(Cnn),
    /// One hidden layer.
    Mlp(Mlp),
}

/// Convolutions of stride 2, each followed by batch norm and ReLU: the first with a window of 5x5, the rest with 3x3. Then the
/// mean over what is left of the picture, and a linear layer.
///
/// ```
/// use hardpan_learn::arch::{Cnn, Network};
/// use hardpan_nn::Module;
/// // Two convolutions (without bias) with batch norm, and a linear layer.
/// let cnn = Network::Cnn(Cnn { inputs: 3, channels: vec![8, 16], classes: 2 });
/// let parameters = 3 * 8 * 25 + 16 + 8 * 16 * 9 + 32 + 16 * 2 + 2;
/// assert_eq!(cnn.build().num_parameters(), parameters);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cnn {
    /// Channels of the pictures.
    pub inputs: usize,
    /// Channels after each convolution.
    pub channels: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
}

/// A linear layer, ReLU, a linear layer.
///
/// ```
/// use hardpan_learn::arch::{Mlp, Network};
/// use hardpan_nn::Module;
/// let mlp = Network::Mlp(Mlp { inputs: 784, hidden: 50, classes: 10 });
/// assert_eq!(mlp, Network::mlp(784, 10));
/// assert_eq!(mlp.build().num_parameters(), 784 * 50 + 50 + 50 * 10 + 10);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mlp {
    /// Numbers in a picture.
    pub inputs: usize,
    /// Width of the hidden layer.
    pub hidden: usize,
    /// Number of classes.
    pub classes: usize,
}

/// A file that names an architecture this program does not have, or has with other settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown architecture `{name}`: {problem}")]
pub struct ArchError {
    /// The name in the file.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

impl Network {
    /// The convolutional network for grey pictures.
    pub fn cnn(classes: usize) -> Network {
        Network::Cnn(Cnn { inputs: 1, channels: vec![16, 32, 64, 128], classes })
    }

    /// The perceptron with 50 hidden units for so many numbers.
    pub fn mlp(inputs: usize, classes: usize) -> Network {
        Network::Mlp(Mlp { inputs, hidden: 50, classes })
    }

    /// The network with new weights, drawn from the generator that `manual_seed` seeds. It takes `[N, C, H, W]` and
    /// gives `[N, classes]`.
    pub fn build(&self) -> Sequential {
        match self {
            Network::Cnn(cnn) => cnn.build(),
            Network::Mlp(m) => {
                seq![
                    Flatten::new(),
                    Linear::new(m.inputs, m.hidden),
                    ReLU,
                    Linear::new(m.hidden, m.classes)
                ]
            }
        }
    }

    /// For the header of a model file.
    pub fn to_arch(&self) -> Arch {
        let value = json!(self);
        let name = value["name"].as_str().unwrap_or_default().to_owned();
        Arch { name, config: value["config"].clone() }
    }

    /// From the header of a model file.
    ///
    /// # Errors
    /// If there is no such architecture, or its settings make no sense.
    pub fn from_arch(arch: &Arch) -> Result<Network, ArchError> {
        let wrong = |problem: String| ArchError { name: arch.name.clone(), problem };
        let network: Network =
            serde_json::from_value(json!({"name": arch.name, "config": arch.config}))
                .map_err(|e| wrong(e.to_string()))?;
        // A file can claim anything; sizes that no one means would take all memory.
        let sane = |n: &usize| (1..=1 << 16).contains(n);
        let fits = match &network {
            Network::Cnn(c) => {
                c.channels.len() <= 64 && [c.inputs, c.classes].iter().chain(&c.channels).all(sane)
            }
            Network::Mlp(m) => [m.hidden, m.classes].iter().all(sane) && m.inputs <= 1 << 24,
        };
        if fits { Ok(network) } else { Err(wrong(format!("its sizes make no sense: {network:?}"))) }
    }
}

impl Cnn {
    fn build(&self) -> Sequential {
        let mut model = Sequential::new();
        let mut inputs = self.inputs;
        for (i, &outputs) in self.channels.iter().enumerate() {
            let kernel = if i == 0 { 5 } else { 3 };
            let conv =
                Conv2d::new(inputs, outputs, kernel).stride(2).padding(kernel / 2).bias(false);
            model = model.append(seq![conv, BatchNorm2d::new(outputs), ReLU]);
            inputs = outputs;
        }
        let head = Linear::new(inputs, self.classes);
        model.append(AdaptiveAvgPool2d::new(1)).append(Flatten::new()).append(head)
    }
}

/// Builds the model of a file, with new weights.
///
/// ```
/// use hardpan_learn::arch::{Network, build};
/// use hardpan_learn::file::Arch;
/// use hardpan_nn::Module;
/// let model = build(&Network::mlp(4, 3).to_arch())?;
/// assert_eq!(model.num_parameters(), 4 * 50 + 50 + 50 * 3 + 3);
/// assert!(build(&Arch { name: "none".into(), ..Arch::default() }).is_err());
/// # Ok::<(), hardpan_learn::arch::ArchError>(())
/// ```
///
/// # Errors
/// See [`Network::from_arch`].
pub fn build(arch: &Arch) -> Result<Sequential, ArchError> {
    Network::from_arch(arch).map(|n| n.build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hardpan_engine::Tensor;
    use hardpan_nn::{Forward, Module};

    #[test]
    fn headers_say_how_to_build() {
        let arch = Network::cnn(10).to_arch();
        assert_eq!(arch.name, "cnn");
        assert_eq!(arch.config["channels"][3], 128);
        let model = build(&arch).unwrap();
        assert_eq!(model.forward(&Tensor::zeros([2, 1, 28, 28])).shape(), [2, 10]);
        let keys: Vec<String> = model.state_dict().keys().map(str::to_owned).collect();
        assert!(keys.contains(&"0.0.weight".into()) && keys.contains(&"6.bias".into()), "{keys:?}");
        let mlp = Network::mlp(784, 10);
        assert_eq!(Network::from_arch(&mlp.to_arch()), Ok(mlp.clone()));
        assert_eq!(mlp.build().forward(&Tensor::zeros([2, 1, 28, 28])).shape(), [2, 10]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let arch = |name: &str, config| Arch { name: name.into(), config };
        let e = build(&arch("resnet999", json!({}))).err().unwrap();
        assert!(e.to_string().contains("resnet999"), "{e}");
        assert!(build(&arch("mlp", json!({"inputs": 784}))).is_err());
        let huge = json!({"inputs": 1, "channels": [1u64 << 40], "classes": 10});
        assert!(build(&arch("cnn", huge)).is_err());
    }
}
