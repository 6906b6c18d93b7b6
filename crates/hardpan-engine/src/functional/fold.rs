//! Sliding blocks of images as columns, and columns added back into images.

use super::spatial::{Window, windows};
use super::{Spatial, Tensor};
use crate::node::{enable_grad, is_grad_enabled};
use std::panic::Location;

/// Options of [`unfold`] and [`fold`].
#[derive(Clone, Debug)]
pub struct FoldOptions {
    /// Distance between elements of a block. Default 1.
    pub dilation: Spatial,
    /// Zeros around the image. Default 0.
    pub padding: Spatial,
    /// Step of the block. Default 1.
    pub stride: Spatial,
}

impl Default for FoldOptions {
    fn default() -> Self {
        FoldOptions { dilation: 1usize.into(), padding: 0usize.into(), stride: 1usize.into() }
    }
}

#[track_caller]
fn geometry(op: &str, size: &[usize], kernel: &Spatial, o: &FoldOptions) -> Vec<Window> {
    let k = kernel.fit(op, "kernel size", 2);
    let (d, p) = (o.dilation.fit(op, "dilation", 2), o.padding.fit(op, "padding", 2));
    let s = o.stride.fit(op, "stride", 2);
    (0..2).map(|i| Window::new(op, size[i], k[i], s[i], p[i], d[i], false)).collect()
}

fn columns(x: &Tensor, g: &[Window]) -> Tensor {
    let w = windows(x, g, 0.0);
    let (n, c) = (x.shape()[0], x.shape()[1]);
    w.permute([0, 1, 4, 5, 2, 3]).reshape([n, c * g[0].kernel * g[1].kernel, g[0].out * g[1].out])
}

/// Blocks as columns: `x: [N, C, H, W]` gives `[N, C * kh * kw, blocks]`; without N likewise. Counterpart:
/// `torch.nn.functional.unfold`.
#[track_caller]
pub fn unfold(x: &Tensor, kernel: impl Into<Spatial>, options: FoldOptions) -> Tensor {
    super::spatial::check_rank("unfold", x, 2);
    let single = x.rank() == 3;
    let x = if single { x.unsqueeze(0) } else { x.clone() };
    let g = geometry("unfold", &x.shape()[2..], &kernel.into(), &options);
    let y = columns(&x, &g);
    if single { y.squeeze(0) } else { y }
}

/// Columns added up into an image of `output_size`: `x: [N, C * kh * kw, blocks]` gives `[N, C, H, W]`; without N likewise. The
/// transpose of [`unfold`]. Counterpart: `torch.nn.functional.fold`.
///
/// # Panics
/// When the number of blocks or rows does not fit.
#[track_caller]
pub fn fold(
    x: &Tensor,
    output_size: impl Into<Spatial>,
    kernel: impl Into<Spatial>,
    options: FoldOptions,
) -> Tensor {
    let at = Location::caller();
    let kernel = kernel.into();
    let size = output_size.into().fit("fold", "output size", 2);
    let area: usize = kernel.fit("fold", "kernel size", 2).iter().product();
    let g = geometry("fold", &size, &kernel, &options);
    let single = x.rank() == 2;
    let x = if single { x.unsqueeze(0) } else { x.clone() };
    let blocks = g[0].out * g[1].out;
    assert!(
        x.rank() == 3 && x.shape()[1].is_multiple_of(area) && x.shape()[2] == blocks,
        "fold: expected [N, C * {area}, {blocks}] for blocks {:?} in an image {:?}, got {:?}",
        kernel,
        size.as_slice(),
        x.shape()
    );
    // The gradient of `unfold` is this function; its argument's value does not matter.
    let image = super::beside(&x, || {
        Tensor::zeros_dtype([x.shape()[0], x.shape()[1] / area, size[0], size[1]], x.dtype())
    });
    let y = enable_grad(|| {
        let image = image.leaf(Some(crate::GradCell::new()), at);
        let cols = columns(&image, &g);
        crate::grad_with(&[&cols], &[&x], &[&image]).remove(0)
    });
    let y = if is_grad_enabled() { y } else { y.detach() };
    if single { y.squeeze(0) } else { y }
}
