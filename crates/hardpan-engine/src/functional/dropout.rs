//! Dropout and its variants. Masks are drawn inside the kernel that uses them and drawn again in the backward pass, so they
//! take no memory; the generator is the one that [`crate::manual_seed`] seeds.

use super::{Tensor, beside, number, pick};
use crate::shape::Dims;

#[track_caller]
fn check(op: &str, p: f64) {
    assert!((0.0..=1.0).contains(&p), "{op}: the probability must lie in 0..=1, got {p}");
}

/// True where an element is dropped, of the given shape.
fn dropped(x: &Tensor, shape: &[usize], p: f64) -> Tensor {
    beside(x, || Tensor::rand(shape)).lt(p)
}

/// In training each element becomes 0 with probability `p` and is divided by `1 - p` otherwise (PyTorch's default is 0.5); else
/// nothing happens. Counterpart: `torch.nn.functional.dropout`.
///
/// # Panics
/// When `p` lies outside 0..=1.
#[track_caller]
pub fn dropout(x: &Tensor, p: f64, training: bool) -> Tensor {
    check("dropout", p);
    with_mask_of(x, x.shape(), p, training)
}

fn with_mask_of(x: &Tensor, shape: &[usize], p: f64, training: bool) -> Tensor {
    if !training || p == 0.0 {
        return x.clone();
    }
    if p == 1.0 {
        return x * 0.0;
    }
    pick(&dropped(x, shape, p), number(x, 0.0), &(x * (1.0 / (1.0 - p))))
}

/// One entry for each item and channel of `[N, C, ..]`.
fn by_channel(x: &Tensor, batched: bool) -> Dims {
    let kept = if batched { 2 } else { 1 };
    x.shape().iter().enumerate().map(|(d, n)| if d < kept { *n } else { 1 }).collect()
}

macro_rules! feature_dropouts {
    ($($n:literal $name:ident $input:literal),*) => {$(
        #[doc = concat!("[`dropout`] of whole channels: `x: ", $input, "`, with or without N.")]
        #[doc = concat!("Counterpart: `torch.nn.functional.", stringify!($name), "`.")]
        #[track_caller]
        pub fn $name(x: &Tensor, p: f64, training: bool) -> Tensor {
            check(stringify!($name), p);
            super::spatial::check_rank(stringify!($name), x, $n);
            with_mask_of(x, &by_channel(x, x.rank() == $n + 2), p, training)
        }
    )*};
}
feature_dropouts! {
    1 dropout1d "[N, C, L]",
    2 dropout2d "[N, C, H, W]",
    3 dropout3d "[N, C, D, H, W]"
}

/// Dropout that keeps the mean and variance of inputs that went through [`super::selu`]. Counterpart:
/// `torch.nn.functional.alpha_dropout`.
#[track_caller]
pub fn alpha_dropout(x: &Tensor, p: f64, training: bool) -> Tensor {
    check("alpha_dropout", p);
    alpha(x, x.shape(), p, training)
}

/// [`alpha_dropout`] of whole channels (dimensions 0 and 1). Counterpart: `torch.nn.functional.feature_alpha_dropout`.
#[track_caller]
pub fn feature_alpha_dropout(x: &Tensor, p: f64, training: bool) -> Tensor {
    check("feature_alpha_dropout", p);
    alpha(x, &by_channel(x, true), p, training)
}

fn alpha(x: &Tensor, shape: &[usize], p: f64, training: bool) -> Tensor {
    if !training || p == 0.0 {
        return x.clone();
    }
    if p == 1.0 {
        return x * 0.0;
    }
    // Klambauer et al. 2017, section 3: dropped units get -scale * alpha, then an affine map restores the moments.
    const LOWEST: f64 = -1.758_099_340_847_376_6;
    let a = 1.0 / ((1.0 - p) * (1.0 + p * LOWEST * LOWEST)).sqrt();
    let b = -a * p * LOWEST;
    pick(&dropped(x, shape, p), number(x, LOWEST * a + b), &(x * a + b))
}
