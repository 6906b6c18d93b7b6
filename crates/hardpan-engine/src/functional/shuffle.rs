//! Moving elements between channels and space.

use super::Tensor;
use crate::shape::Dims;

/// Channels into space: `[.., C * r * r, H, W]` gives `[.., C, H * r, W * r]` (Shi et al. 2016). Counterpart:
/// `torch.nn.functional.pixel_shuffle`.
///
/// # Panics
/// When the channels do not divide by the square of `upscale`.
#[track_caller]
pub fn pixel_shuffle(x: &Tensor, upscale: usize) -> Tensor {
    let (r, n) = (upscale, x.rank());
    assert!(
        n >= 3 && r > 0 && x.shape()[n - 3].is_multiple_of(r * r),
        "pixel_shuffle: expected [.., C * {r} * {r}, H, W], got shape {:?}",
        x.shape()
    );
    let (c, h, w) = (x.shape()[n - 3] / (r * r), x.shape()[n - 2], x.shape()[n - 1]);
    let lead: usize = x.shape()[..n - 3].iter().product();
    let mut shape = Dims::from_slice(&x.shape()[..n - 3]);
    shape.extend([c, h * r, w * r]);
    x.reshape([lead, c, r, r, h, w]).permute([0, 1, 4, 2, 5, 3]).reshape(&shape)
}

/// Space into channels, the inverse of [`pixel_shuffle`]: `[.., C, H * r, W * r]` gives `[.., C * r * r, H, W]`. Counterpart:
/// `torch.nn.functional.pixel_unshuffle`.
///
/// # Panics
/// When height or width do not divide by `downscale`.
#[track_caller]
pub fn pixel_unshuffle(x: &Tensor, downscale: usize) -> Tensor {
    let (r, n) = (downscale, x.rank());
    assert!(
        n >= 3 && r > 0 && x.shape()[n - 2].is_multiple_of(r) && x.shape()[n - 1].is_multiple_of(r),
        "pixel_unshuffle: expected [.., C, H * {r}, W * {r}], got shape {:?}",
        x.shape()
    );
    let (c, h, w) = (x.shape()[n - 3], x.shape()[n - 2] / r, x.shape()[n - 1] / r);
    let lead: usize = x.shape()[..n - 3].iter().product();
    let mut shape = Dims::from_slice(&x.shape()[..n - 3]);
    shape.extend([c * r * r, h, w]);
    x.reshape([lead, c, h, r, w, r]).permute([0, 1, 3, 5, 2, 4]).reshape(&shape)
}

/// Channels dealt out anew: those of `[N, C, ..]` taken as `groups` rows, read by columns (Zhang et al. 2017). Counterpart:
/// `torch.nn.functional.channel_shuffle`.
///
/// # Panics
/// When the channels do not divide by `groups`.
#[track_caller]
pub fn channel_shuffle(x: &Tensor, groups: usize) -> Tensor {
    assert!(
        x.rank() >= 3 && groups > 0 && x.shape()[1].is_multiple_of(groups),
        "channel_shuffle: the channels of {:?} ([N, C, ..]) do not divide into {groups} groups",
        x.shape()
    );
    let (n, c) = (x.shape()[0], x.shape()[1]);
    let rest: usize = x.shape()[2..].iter().product();
    x.reshape([n, groups, c / groups, rest]).transpose(1, 2).reshape(x.shape())
}
