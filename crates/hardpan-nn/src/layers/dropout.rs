//! Dropout: parts of the input zeroed at random in training.

use crate::{Forward, Mode, Module, hooked};
use hardpan_engine::{Tensor, functional as f};

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
    Dropout = dropout;
    /// As [`Dropout`], whole channels of `[N, C, L]` or `[C, L]`. Counterpart: `torch.nn.Dropout1d`.
    Dropout1d = dropout1d;
    /// As [`Dropout`], whole channels of `[N, C, H, W]` or `[C, H, W]`. Counterpart: `torch.nn.Dropout2d`.
    Dropout2d = dropout2d;
    /// As [`Dropout`], whole channels of `[N, C, D, H, W]` or without N. Counterpart: `torch.nn.Dropout3d`.
    Dropout3d = dropout3d;
    /// Dropout for SELU networks: keeps mean and variance. Counterpart: `torch.nn.AlphaDropout`.
    AlphaDropout = alpha_dropout;
    /// As [`AlphaDropout`], whole channels. Counterpart: `torch.nn.FeatureAlphaDropout`.
    FeatureAlphaDropout = feature_alpha_dropout;
}
