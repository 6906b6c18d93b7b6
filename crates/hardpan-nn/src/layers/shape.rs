//! Layers that only rearrange.

use crate::{Forward, Module, hooked};
use hardpan_engine::Tensor;

/// Gives its input back. Counterpart: `torch.nn.Identity`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Identity};
/// assert_eq!(Identity.forward(&Tensor::ones([2])).to_vec::<f32>(), [1.0, 1.0]);
/// ```
#[derive(Module, Clone, Copy, Debug, Default)]
pub struct Identity;

impl<X: Clone> Forward<X> for Identity {
    type Output = X;
    fn forward(&self, x: &X) -> X {
        x.clone()
    }
}

/// Dimensions merged into one: by default all but the first, `[N, ..]` to `[N, n]`. Counterpart: `torch.nn.Flatten`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Flatten, Forward};
/// let y = Flatten::new().forward(&Tensor::ones([2, 8, 3, 3]));
/// assert_eq!(y.shape(), [2, 72]);
/// ```
#[derive(Module, Clone, Copy, Debug)]
pub struct Flatten {
    start: isize,
    end: isize,
}

/// The plain [`Flatten`]; also usable as a value: `seq![Conv2d::new(1, 8, 3), Flatten::new(), ..]`.
impl Flatten {
    /// All dimensions but the first.
    pub fn new() -> Flatten {
        Flatten { start: 1, end: -1 }
    }

    /// Dimensions `start` to `end`, both included; negative counts from the end.
    pub fn dims(start: isize, end: isize) -> Flatten {
        Flatten { start, end }
    }
}

impl Default for Flatten {
    fn default() -> Flatten {
        Flatten::new()
    }
}

impl Forward for Flatten {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            x.flatten(self.start, self.end)
        })
    }
}

/// One dimension cut into several, of which one size may be -1. Counterpart: `torch.nn.Unflatten`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Unflatten};
/// let y = Unflatten::new(1, &[8, -1, 3]).forward(&Tensor::ones([2, 72]));
/// assert_eq!(y.shape(), [2, 8, 3, 3]);
/// ```
#[derive(Module, Clone, Debug)]
pub struct Unflatten {
    dim: isize,
    sizes: Vec<isize>,
}

impl Unflatten {
    /// Dimension `dim` into these sizes.
    pub fn new(dim: isize, sizes: &[isize]) -> Unflatten {
        Unflatten { dim, sizes: sizes.to_vec() }
    }
}

impl Forward for Unflatten {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let d = hardpan_engine::shape::axis_of("Unflatten", self.dim, x.rank());
            let mut shape: Vec<isize> = x.shape().iter().map(|n| *n as isize).collect();
            shape.splice(d..=d, self.sizes.iter().copied());
            x.reshape(shape)
        })
    }
}

/// The input in another shape, batch dimension kept; one size may be -1. Counterpart: fastai's `View`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, View};
/// let y = View::new(&[8, -1]).forward(&Tensor::ones([2, 72]));
/// assert_eq!(y.shape(), [2, 8, 9]);
/// ```
#[derive(Module, Clone, Debug)]
pub struct View {
    sizes: Vec<isize>,
}

impl View {
    /// `[N, ..]` to `[N, sizes..]`.
    pub fn new(sizes: &[isize]) -> View {
        View { sizes: sizes.to_vec() }
    }
}

impl Forward for View {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let mut shape = vec![x.size(0) as isize];
            shape.extend(&self.sizes);
            x.reshape(shape)
        })
    }
}
