//! [`MixUp`] and [`CutMix`]: training on mixtures of items, and the [`MixHandler`] that they are made of.

use super::{Callback, Flow};
use crate::data::{Draw, Rows};
use crate::learner::{Context, Task};
use hardpan_engine::Tensor;

/// What can be mixed, item by item: a tensor whose first dimension counts items, or several side by side.
///
/// A struct of yours can be mixed as well once it has this method (and is [`Rows`]).
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::callback::Blend;
/// let (a, b) = (Tensor::ones([2, 3]), Tensor::zeros([2, 3]));
/// let weight = Tensor::from_vec(vec![0.75f32, 0.5], [2]);
/// let mixed = a.blend(&b, &weight).unwrap();
/// assert_eq!(mixed.to_vec::<f32>(), [0.75, 0.75, 0.75, 0.5, 0.5, 0.5]);
/// let classes = Tensor::from_vec(vec![0i64, 1], [2]);
/// assert!(classes.blend(&classes, &weight).is_none());
/// ```
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

/// What mixing callbacks have in common: the targets of a mixture, and its loss. Targets that are numbers are mixed; for classes, which
/// have nothing in between, the loss is the mixture of the losses for both. Counterpart: fastai's `MixHandler`.
///
/// [`MixUp`] and [`CutMix`] are made of it, and a mixture of yours can be:
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::callback::{Callback, Flow, MixHandler};
/// use hardpan_learn::data::Rows;
/// use hardpan_learn::learner::{Context, Task};
///
/// /// Half of the features are those of the next item.
/// struct HalfAndHalf(MixHandler<Tensor>);
///
/// impl<T: Task<X = Tensor, Y = Tensor, Pred = Tensor>> Callback<T> for HalfAndHalf {
///     fn before_batch(&mut self, ctx: &mut Context<T>) -> Flow {
///         self.0.clear();
///         if ctx.training {
///             let x = ctx.x().clone(); // [N, F]
///             let (n, half) = (x.size(0), x.size(1) / 2);
///             let partners: Vec<usize> = (0..n).map(|i| (i + 1) % n).collect();
///             let other = x.take_rows(&partners);
///             ctx.x = Some(Tensor::cat(&[x.narrow(1, 0, half), other.narrow(1, half, x.size(1) - half)], 1));
///             self.0.mix_targets(ctx, &partners, &vec![0.5; n]);
///         }
///         Flow::Continue
///     }
///     fn after_loss(&mut self, ctx: &mut Context<T>) -> Flow {
///         self.0.mix_loss(ctx);
///         Flow::Continue
///     }
/// }
/// ```
pub struct MixHandler<Y = Tensor> {
    mixed: Option<Mixed<Y>>,
}

/// What the targets were mixed with, for the loss.
struct Mixed<Y> {
    /// The targets of the items mixed in.
    other: Y,
    /// How much of each item is its own.
    weights: Vec<f64>,
}

impl<Y> Default for MixHandler<Y> {
    fn default() -> MixHandler<Y> {
        MixHandler::new()
    }
}

impl<Y> MixHandler<Y> {
    /// Nothing is mixed yet.
    pub fn new() -> MixHandler<Y> {
        MixHandler { mixed: None }
    }

    /// To be called at the start of `before_batch`: what was mixed before is over.
    pub fn clear(&mut self) {
        self.mixed = None;
    }
}

impl<Y: Blend> MixHandler<Y> {
    /// Whether each item may have a share of its own: where targets can be mixed, or the learner knows the
    /// [losses of single items](crate::learner::Learner::item_losses). Otherwise all items of a batch have to have the same.
    pub fn shares_may_differ<T: Task<Y = Y>>(ctx: &Context<T>) -> bool {
        let mixable = |y: &Y| {
            y.rows() > 0 && {
                let one = y.take_rows(&[0]);
                one.blend(&one, &tensor(&[1.0])).is_some()
            }
        };
        ctx.item_losses.is_some() || ctx.y.as_ref().is_some_and(mixable)
    }

    /// Mixes the batch's targets with those of its items number `partners` (one for each item); `weights` says how much of each is its
    /// own, from 0 to 1. Does nothing outside of a batch.
    ///
    /// # Panics
    /// If there are not as many partners and weights as items.
    #[track_caller]
    pub fn mix_targets<T: Task<Y = Y>>(
        &mut self,
        ctx: &mut Context<T>,
        partners: &[usize],
        weights: &[f64],
    ) {
        let Some(y) = &ctx.y else { return };
        let n = y.rows();
        assert!(
            partners.len() == n && weights.len() == n,
            "mix_targets: {n} items, but {} partners and {} weights",
            partners.len(),
            weights.len()
        );
        let other = y.take_rows(partners);
        match y.blend(&other, &tensor(weights)) {
            Some(y) => ctx.y = Some(y),
            None => self.mixed = Some(Mixed { other, weights: weights.to_vec() }),
        }
    }

    /// To be called in `after_loss`: where targets could not be mixed, the loss becomes the mixture of the losses for both.
    pub fn mix_loss<T: Task<Y = Y, Pred: Rows>>(&mut self, ctx: &mut Context<T>) {
        let (true, Some(mixed)) = (ctx.training, self.mixed.take()) else { return };
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
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::{CollectData, MixUp};
/// let (collect, batches) = CollectData::new();
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(MixUp::default()) // alpha 0.4; `MixUp::new(0.2)` mixes less
///     .callback(collect)
///     .silent();
/// let plain = learn.context().loaders.train.one_batch()?.0; // of the first epoch
/// learn.fit(1, 0.1)?;
/// let first = &batches.take()[0];
/// assert_eq!(first.x.shape(), plain.shape());
/// assert_ne!(first.x.to_vec::<f32>(), plain.to_vec::<f32>());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MixUp<Y = Tensor> {
    alpha: f64,
    mix: MixHandler<Y>,
}

impl<Y> Default for MixUp<Y> {
    fn default() -> MixUp<Y> {
        MixUp { alpha: 0.4, mix: MixHandler::new() }
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
        MixUp { alpha, mix: MixHandler::new() }
    }
}

impl<Y, T> Callback<T> for MixUp<Y>
where
    Y: Blend + Send,
    T: Task<Y = Y, X: Blend, Pred: Rows>,
{
    fn before_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        self.mix.clear();
        let (true, Some(x), Some(y)) = (ctx.training, &ctx.x, &ctx.y) else {
            return Flow::Continue;
        };
        let n = y.rows();
        let mut draw = Draw::of_process();
        let order = draw.order(n);
        let mut share = || {
            let share = draw.beta(self.alpha);
            share.max(1.0 - share)
        };
        // Numbers are mixed item by item; so are losses where they are known item by item.
        let weights: Vec<f64> = match MixHandler::shares_may_differ(ctx) {
            true => (0..n).map(|_| share()).collect(),
            false => vec![share(); n],
        };
        let x = x.blend(&x.take_rows(&order), &tensor(&weights));
        let x =
            x.expect("MixUp: inputs must be floating point numbers; whole numbers cannot be mixed");
        ctx.x = Some(x);
        self.mix.mix_targets(ctx, &order, &weights);
        Flow::Continue
    }

    fn after_loss(&mut self, ctx: &mut Context<T>) -> Flow {
        self.mix.mix_loss(ctx);
        Flow::Continue
    }
}

/// Trains on images with a rectangle of another image pasted in, and targets mixed by area: Yun et al.,
/// <https://arxiv.org/abs/1905.04899>. Counterpart: fastai's `CutMix`.
///
/// Images are `[N, C, H, W]`. The area that is left of an image is drawn from Beta(alpha, alpha) (default alpha 1, as fastai's), one
/// rectangle for each batch, its centre anywhere. Targets as in [`MixUp`]. Only training batches are mixed.
///
/// ```
/// # use hardpan_engine::{Tensor, manual_seed};
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Flatten, Linear, MSELoss, seq};
/// use hardpan_learn::callback::{CollectData, CutMix};
/// # manual_seed(1);
/// # // Each image is all one number.
/// # let values = Tensor::rand([32, 1]);
/// # let x = values.reshape([32, 1, 1, 1]).expand([32, 1, 8, 8]).eval().clone();
/// # let data = TensorDataset::new(x, values)?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 8, 42)?;
/// let (collect, batches) = CollectData::new();
/// let model = seq![Flatten::new(), Linear::new(64, 1)];
/// let mut learn = Learner::with_loss(loaders, model, MSELoss::new())
///     .callback(CutMix::default()) // alpha 1
///     .callback(collect)
///     .silent();
/// learn.fit(1, 0.1)?;
/// // Images of one number each: their means are now those of the mixed targets.
/// for batch in batches.take().iter().filter(|b| b.training) {
///     let means = batch.x.mean([1, 2, 3]).unsqueeze(1);
///     assert!((means - &batch.y).abs().amax(..).item::<f32>() < 1e-5);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CutMix<Y = Tensor> {
    alpha: f64,
    mix: MixHandler<Y>,
}

impl<Y> Default for CutMix<Y> {
    fn default() -> CutMix<Y> {
        CutMix { alpha: 1.0, mix: MixHandler::new() }
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
        CutMix { alpha, mix: MixHandler::new() }
    }
}

/// Where a rectangle of about `1 - share` of the area is: rows and columns, cut off at the edges.
fn rectangle(
    height: usize,
    width: usize,
    share: f64,
    draw: &mut Draw,
) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let ratio = (1.0 - share).sqrt();
    let mut side = |length: usize| {
        let cut = (length as f64 * ratio).round() as usize;
        let centre = draw.below(length);
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
        self.mix.clear();
        let (true, Some(x), true) = (ctx.training, &ctx.x, ctx.y.is_some()) else {
            return Flow::Continue;
        };
        assert!(
            x.rank() == 4,
            "CutMix: images must be [N, C, H, W], the inputs have shape {:?}",
            x.shape()
        );
        let (n, height, width) = (x.size(0), x.size(2), x.size(3));
        let mut draw = Draw::of_process();
        let order = draw.order(n);
        let share = draw.beta(self.alpha);
        let (rows, columns) = rectangle(height, width, share, &mut draw);
        let inside = |length: usize, range: &std::ops::Range<usize>| {
            let flags: Vec<bool> = (0..length).map(|i| range.contains(&i)).collect();
            Tensor::from_slice(&flags, [length])
        };
        let mask = inside(height, &rows)
            .reshape([height, 1])
            .logical_and(inside(width, &columns).reshape([1, width]));
        ctx.x = Some(x.take_rows(&order).where_(&mask, x));
        let own = 1.0 - (rows.len() * columns.len()) as f64 / (height * width) as f64;
        self.mix.mix_targets(ctx, &order, &vec![own; n]);
        Flow::Continue
    }

    fn after_loss(&mut self, ctx: &mut Context<T>) -> Flow {
        self.mix.mix_loss(ctx);
        Flow::Continue
    }
}

/// Tells the model that the truth is not quite so sure: a share of each target is spread evenly over all classes. Szegedy et al.,
/// <https://arxiv.org/abs/1512.00567>, section 7. Counterpart: fastai's `LabelSmoothingCrossEntropy` (share 0.1).
///
/// For outputs that are logits and a loss that is the mean of their cross entropy. Only the loss of training is smoothed, so
/// validation losses can be compared with those of other runs; to smooth both use `CrossEntropyLoss::label_smoothing`. Works together
/// with [`MixUp`] and [`CutMix`].
///
/// ```
/// # use hardpan_engine::{DType, Tensor};
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{CrossEntropyLoss, Forward, Linear};
/// # let x = Tensor::randn([64, 8]);
/// # let y = x.select(1, 0).gt(0.0).to_dtype(DType::I64);
/// # let data = TensorDataset::new(x, y)?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::{CollectData, LabelSmoothing};
/// let (collect, batches) = CollectData::new();
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 2), CrossEntropyLoss::new())
///     .callback(LabelSmoothing::default()) // 0.1; for logits [B, T, V]: `.dim(2)`
///     .callback(collect)
///     .silent();
/// learn.fit(1, 0.1)?;
/// let batch = batches.take().remove(0);
/// let smoothed = CrossEntropyLoss::new().label_smoothing(0.1).forward(&(batch.pred.unwrap(), batch.y));
/// assert!((batch.loss.unwrap() - smoothed).abs().item::<f32>() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

    #[test]
    fn rectangles_stay_inside() {
        let mut draw = Draw::new(1, 2, 3);
        for i in 0..200 {
            let (rows, columns) = rectangle(7, 11, i as f64 / 200.0, &mut draw);
            assert!(rows.end <= 7 && columns.end <= 11);
        }
        let (rows, columns) = rectangle(8, 8, 1.0, &mut draw);
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
