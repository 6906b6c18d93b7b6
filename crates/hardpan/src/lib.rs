//! Hardpan: deep learning from the foundations.
pub use hardpan_engine as engine;
pub use hardpan_learn as learn;
pub use hardpan_nn as nn;
