//! [`MixUp`] and [`CutMix`]: training on mixtures of items.

use super::{Callback, Flow};
use crate::data::Rows;
use crate::learner::{Context, Task};
use hardpan_engine::{Tensor, random_words};

/// What can be mixed, item by item: a tensor whose first dimension counts items, or several side by side.
///
/// A struct of yours can be mixed as well once it has this method (and is [`Rows`]).
#[diagnostic::on_unimplemented(
    message = "items of type `{Self}` cannot be mixed",
    note = "MixUp and CutMix mix tensors and tuples of them; implement `Blend` (and `Rows`) for your own type"
)]
pub trait Blend: Rows + Clone {
    /// `other + weight (self - other)` item by item, `weight: [N]` (f32); `None` for what has nothing in between, such as classes.
    fn blend(&self, other: &Self, weight: &Tensor) -> Option<Self>;
}

impl Blend for Tensor {
    fn blend(&self, other: &Tensor, weight: &Tensor) -> Option<Tensor> {
        if !self.dtype().is_float() {
            return None;
        }
        let mut shape = vec![1; self.rank()];
        shape[0] = self.size(0);
        let weight = weight.reshape(&shape).to_dtype(self.dtype());
        Some(other + (self - other) * weight)
    }
}

macro_rules! tuples {
    ($(($($t:ident $i:tt),+))*) => {$(
        impl<$($t: Blend),+> Blend for ($($t,)+) {
            fn blend(&self, other: &Self, weight: &Tensor) -> Option<Self> {
                Some(($(self.$i.blend(&other.$i, weight)?,)+))
            }
        }
    )*};
}

tuples! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
}

/// Numbers from the process's random generator, at once.
struct Draw;

impl Draw {
    /// Uniform in (0, 1).
    fn uniform() -> f64 {
        let w = random_words(2);
        let bits = (u64::from(w[0]) << 32 | u64::from(w[1])) >> 11;
        (bits as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal() -> f64 {
        let (u, v) = (Draw::uniform(), Draw::uniform());
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }

    /// By Marsaglia and Tsang, "A simple method for generating gamma variables" (2000).
    fn gamma(shape: f64) -> f64 {
        if shape < 1.0 {
            return Draw::gamma(shape + 1.0) * Draw::uniform().powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = Draw::normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && Draw::uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Beta(`alpha`, `alpha`).
    fn beta(alpha: f64) -> f64 {
        let (a, b) = (Draw::gamma(alpha), Draw::gamma(alpha));
        // Both can underflow for a tiny alpha; the distribution is then all at its ends.
        if a + b > 0.0 { a / (a + b) } else { (Draw::uniform() < 0.5) as u8 as f64 }
    }

    /// `0..n` in a random order.
    fn order(n: usize) -> Vec<usize> {
        let words = random_words(2 * n);
        let mut out: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            let random = u64::from(words[2 * i]) << 32 | u64::from(words[2 * i + 1]);
            out.swap(i, ((u128::from(random) * (i as u128 + 1)) >> 64) as usize);
        }
        out
    }

    fn below(n: usize) -> usize {
        ((Draw::uniform() * n as f64) as usize).min(n - 1)
    }
}

/// What the targets were mixed with, for the loss.
struct Mixed<Y> {
    /// The targets of the items mixed in.
    other: Y,
    /// How much of each item is its own.
    weights: Vec<f64>,
}

/// The loss of a mixture whose targets have nothing in between: the mixture of the losses for both targets.
fn mix_loss<T: Task<Y: Blend, Pred: Rows>>(ctx: &mut Context<T>, mixed: &Mixed<T::Y>) {
    let first = mixed.weights.first().copied().unwrap_or(1.0);
    let loss = if mixed.weights.iter().all(|w| *w == first) {
        let own = ctx.loss_grad.take().expect("a loss");
        own * first + (ctx.loss_fn)(ctx.pred(), &mixed.other) * (1.0 - first)
    } else {
        let weight = tensor(&mixed.weights);
        let own = ctx.losses_of(ctx.pred(), ctx.y());
        let other = ctx.losses_of(ctx.pred(), &mixed.other);
        let weight = weight.to_dtype(own.dtype());
        (&other + (own - &other) * weight).mean(..)
    };
    ctx.set_loss(loss);
}

fn tensor(values: &[f64]) -> Tensor {
    let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
    Tensor::from_slice(&values, [values.len()])
}

/// Trains on mixtures of two items with the same mixture of their targets: Zhang et al., <https://arxiv.org/abs/1710.09412>. Counterpart:
/// fastai's `MixUp`.
///
/// The share of each item is drawn from Beta(alpha, alpha) (default alpha 0.4, as fastai's) and is at least a half, so that an item and
/// its partner are not mixed to the same thing twice. Targets that are numbers are mixed; for classes the loss is the mixture of the losses
/// for both. Where the learner knows the losses of single items ([`Learner::item_losses`](crate::learner::Learner::item_losses)) each
/// item has a share of its own, otherwise there is one share for each batch, as in the paper. Only training batches are mixed.
pub struct MixUp<Y = Tensor> {
    alpha: f64,
    mixed: Option<Mixed<Y>>,
}

impl<Y> Default for MixUp<Y> {
    fn default() -> MixUp<Y> {
        MixUp { alpha: 0.4, mixed: None }
    }
}

impl<Y> MixUp<Y> {
    /// With this alpha: the larger, the more even the mixtures.
    ///
    /// # Panics
    /// If it is not above 0.
    #[track_caller]
    pub fn new(alpha: f64) -> MixUp<Y> {
        assert!(alpha > 0.0, "MixUp: alpha must be above 0, got {alpha}");
        MixUp { alpha, mixed: None }
    }
}

impl<Y, T> Callback<T> for MixUp<Y>
where
    Y: Blend + Send,
    T: Task<Y = Y, X: Blend, Pred: Rows>,
{
    fn before_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        self.mixed = None;
        let (true, Some(x), Some(y)) = (ctx.training, &ctx.x, &ctx.y) else {
            return Flow::Continue;
        };
        let n = y.rows();
        let order = Draw::order(n);
        let share = || {
            let share = Draw::beta(self.alpha);
            share.max(1.0 - share)
        };
        let other = y.take_rows(&order);
        // Numbers are mixed item by item; so are losses where they are known item by item.
        let weights: Vec<f64> = (0..n).map(|_| share()).collect();
        let blended = y.blend(&other, &tensor(&weights));
        let weights = match blended.is_some() || ctx.item_losses.is_some() {
            true => weights,
            false => vec![weights.first().copied().unwrap_or(1.0); n],
        };
        let x = x.blend(&x.take_rows(&order), &tensor(&weights));
        let x =
            x.expect("MixUp: inputs must be floating point numbers; whole numbers cannot be mixed");
        ctx.x = Some(x);
        match blended {
            Some(y) => ctx.y = Some(y),
            None => self.mixed = Some(Mixed { other, weights }),
        }
        Flow::Continue
    }

    fn after_loss(&mut self, ctx: &mut Context<T>) -> Flow {
        if let (true, Some(mixed)) = (ctx.training, self.mixed.take()) {
            mix_loss(ctx, &mixed);
        }
        Flow::Continue
    }
}

/// Trains on images with a rectangle of another image pasted in, and targets mixed by area: Yun et al.,
/// <https://arxiv.org/abs/1905.04899>. Counterpart: fastai's `CutMix`.
///
/// Images are `[N, C, H, W]`. The area that is left of an image is drawn from Beta(alpha, alpha) (default alpha 1, as fastai's), one
/// rectangle for each batch, its centre anywhere. Targets as in [`MixUp`]. Only training batches are mixed.
pub struct CutMix<Y = Tensor> {
    alpha: f64,
    mixed: Option<Mixed<Y>>,
}

impl<Y> Default for CutMix<Y> {
    fn default() -> CutMix<Y> {
        CutMix { alpha: 1.0, mixed: None }
    }
}

impl<Y> CutMix<Y> {
    /// With this alpha: the larger, the nearer to half and half.
    ///
    /// # Panics
    /// If it is not above 0.
    #[track_caller]
    pub fn new(alpha: f64) -> CutMix<Y> {
        assert!(alpha > 0.0, "CutMix: alpha must be above 0, got {alpha}");
        CutMix { alpha, mixed: None }
    }
}

/// Where a rectangle of about `1 - share` of the area is: rows and columns, cut off at the edges.
fn rectangle(
    height: usize,
    width: usize,
    share: f64,
) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let ratio = (1.0 - share).sqrt();
    let side = |length: usize| {
        let cut = (length as f64 * ratio).round() as usize;
        let centre = Draw::below(length);
        centre.saturating_sub(cut / 2)..(centre + cut / 2).min(length)
    };
    let columns = side(width);
    (side(height), columns)
}

impl<Y, T> Callback<T> for CutMix<Y>
where
    Y: Blend + Send,
    T: Task<X = Tensor, Y = Y, Pred: Rows>,
{
    fn before_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        self.mixed = None;
        let (true, Some(x), Some(y)) = (ctx.training, &ctx.x, &ctx.y) else {
            return Flow::Continue;
        };
        assert!(
            x.rank() == 4,
            "CutMix: images must be [N, C, H, W], the inputs have shape {:?}",
            x.shape()
        );
        let (n, height, width) = (x.size(0), x.size(2), x.size(3));
        let order = Draw::order(n);
        let (rows, columns) = rectangle(height, width, Draw::beta(self.alpha));
        let inside = |length: usize, range: &std::ops::Range<usize>| {
            let flags: Vec<bool> = (0..length).map(|i| range.contains(&i)).collect();
            Tensor::from_slice(&flags, [length])
        };
        let mask = inside(height, &rows)
            .reshape([height, 1])
            .logical_and(inside(width, &columns).reshape([1, width]));
        ctx.x = Some(x.take_rows(&order).where_(&mask, x));
        let own = 1.0 - (rows.len() * columns.len()) as f64 / (height * width) as f64;
        let (other, weights) = (y.take_rows(&order), vec![own; n]);
        match y.blend(&other, &tensor(&weights)) {
            Some(y) => ctx.y = Some(y),
            None => self.mixed = Some(Mixed { other, weights }),
        }
        Flow::Continue
    }

    fn after_loss(&mut self, ctx: &mut Context<T>) -> Flow {
        if let (true, Some(mixed)) = (ctx.training, self.mixed.take()) {
            mix_loss(ctx, &mixed);
        }
        Flow::Continue
    }
}

/// Tells the model that the truth is not quite so sure: a share of each target is spread evenly over all classes. Szegedy et al.,
/// <https://arxiv.org/abs/1512.00567>, section 7. Counterpart: fastai's `LabelSmoothingCrossEntropy` (share 0.1).
///
/// For outputs that are logits and a loss that is the mean of their cross entropy. Only the loss of training is smoothed, so
/// validation losses can be compared with those of other runs; to smooth both use `CrossEntropyLoss::label_smoothing`. Works together
/// with [`MixUp`] and [`CutMix`].
#[derive(Clone, Copy, Debug)]
pub struct LabelSmoothing {
    share: f64,
    dim: isize,
}

impl Default for LabelSmoothing {
    fn default() -> LabelSmoothing {
        LabelSmoothing { share: 0.1, dim: 1 }
    }
}

impl LabelSmoothing {
    /// With this share spread over all classes.
    ///
    /// # Panics
    /// If it is not between 0 and 1.
    #[track_caller]
    pub fn new(share: f64) -> LabelSmoothing {
        assert!((0.0..=1.0).contains(&share), "LabelSmoothing: {share} is not between 0 and 1");
        LabelSmoothing { share, ..LabelSmoothing::default() }
    }

    /// The dimension of the outputs that counts classes. Default 1, as in `[N, C]` and `[N, C, H, W]`.
    #[must_use]
    pub fn dim(mut self, dim: isize) -> LabelSmoothing {
        self.dim = dim;
        self
    }
}

impl<T: Task<Pred = Tensor>> Callback<T> for LabelSmoothing {
    /// After [`MixUp`].
    fn order(&self) -> i32 {
        1
    }

    fn after_loss(&mut self, ctx: &mut Context<T>) -> Flow {
        let (true, Some(pred), Some(loss)) = (ctx.training, &ctx.pred, &ctx.loss_grad) else {
            return Flow::Continue;
        };
        // Cross entropy with evenly spread targets.
        let even = -pred.log_softmax(self.dim).mean(..);
        let smoothed = loss * (1.0 - self.share) + even * self.share;
        ctx.set_loss(smoothed);
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance of Beta(a, a): 1/2 and 1 / (4 (2a + 1)).
    #[test]
    fn shares_are_beta() {
        for alpha in [0.1, 0.4, 1.0, 3.0] {
            let draws: Vec<f64> = (0..4000).map(|_| Draw::beta(alpha)).collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let var = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / draws.len() as f64;
            let want = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 0.04, "alpha {alpha}: mean {mean}");
            assert!((var / want - 1.0).abs() < 0.12, "alpha {alpha}: variance {var}, not {want}");
            assert!(draws.iter().all(|d| (0.0..=1.0).contains(d)));
        }
    }

    #[test]
    fn orders_are_permutations() {
        for n in 1..20 {
            let mut order = Draw::order(n);
            order.sort_unstable();
            assert_eq!(order, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn rectangles_stay_inside() {
        for i in 0..200 {
            let (rows, columns) = rectangle(7, 11, i as f64 / 200.0);
            assert!(rows.end <= 7 && columns.end <= 11);
        }
        let (rows, columns) = rectangle(8, 8, 1.0);
        assert!(rows.is_empty() && columns.is_empty(), "nothing is cut when all is kept");
    }

    #[test]
    fn classes_have_nothing_in_between() {
        let weight = Tensor::from_slice(&[0.75f32, 1.0], [2]);
        let x = Tensor::from_slice(&[4.0f32, 8.0], [2, 1]);
        let other = Tensor::from_slice(&[0.0f32, 0.0], [2, 1]);
        assert_eq!(x.blend(&other, &weight).unwrap().to_vec::<f32>(), [3.0, 8.0]);
        let y = Tensor::from_slice(&[1i64, 2], [2]);
        assert!(y.blend(&y, &weight).is_none());
        assert!((x.clone(), y.clone()).blend(&(x, y), &weight).is_none());
    }
}
