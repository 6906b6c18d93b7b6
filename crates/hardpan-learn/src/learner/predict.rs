//! What a learner says about data: [`Learner::validate`], [`Learner::predict`], [`Learner::get_preds`], [`Learner::tta`].

use super::{EpochRecord, FitError, Learner};
use crate::callback::{Gather, GatherPreds, Gathered};
use crate::data::{DataLoader, Rows};
use hardpan_engine::{Tensor, no_grad};
use hardpan_nn::{Forward, Module, evaluating};

/// The settings of [`Learner::tta_with`], with fastai's defaults.
///
/// ```
/// use hardpan_learn::learner::Tta;
/// let more = Tta { passes: 8, ..Tta::default() };
/// assert_eq!((more.beta, more.use_max), (0.25, false));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tta {
    /// How many times the changed data is predicted. 4.
    pub passes: usize,
    /// Share of the prediction for the data as it is; the mean over the passes has the rest. 0.25.
    pub beta: f64,
    /// The largest of all predictions instead of their means. No.
    pub use_max: bool,
}

impl Default for Tta {
    fn default() -> Tta {
        Tta { passes: 4, beta: 0.25, use_max: false }
    }
}

impl<M, X, Y> Learner<M, X, Y>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    /// Mean loss and metrics over the validation data.
    ///
    /// # Errors
    /// If data cannot be read, or a callback fails.
    ///
    /// # Panics
    /// If there is no validation data; see [`validate_on`](Learner::validate_on).
    #[track_caller]
    pub fn validate(&mut self) -> Result<EpochRecord, FitError> {
        let valid = self.ctx.loaders.valid.clone();
        let valid = valid.expect("validate: this learner has no validation data; use validate_on");
        self.validate_on(&valid)
    }

    /// Mean loss and metrics over other data.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// # let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new()).silent();
    /// let train = learn.context().loaders.train.clone();
    /// let record = learn.validate_on(&train)?;
    /// assert!(record.valid_loss.unwrap() > 0.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If data cannot be read, or a callback fails.
    pub fn validate_on(&mut self, loader: &DataLoader<X, Y>) -> Result<EpochRecord, FitError> {
        let history = std::mem::take(&mut self.ctx.history);
        let aside = self.set_aside(super::stands_aside);
        let result = self.run_validation(loader, 0, Vec::new());
        self.bring_back(aside);
        let measured = std::mem::replace(&mut self.ctx.history, history);
        result?;
        Ok(measured.epochs.into_iter().next_back().unwrap_or_default())
    }

    /// What the model gives for a batch, in evaluation mode and without history: raw outputs, before the loss's activation.
    ///
    /// ```
    /// # use hardpan_engine::{DType, Tensor};
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{CrossEntropyLoss, Linear};
    /// # let x = Tensor::randn([64, 8]);
    /// # let y = x.select(1, 0).gt(0.0).to_dtype(DType::I64);
    /// # let data = TensorDataset::new(x, y)?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// let learn = Learner::with_loss(loaders, Linear::new(8, 2), CrossEntropyLoss::new());
    /// assert_eq!(learn.predict(&Tensor::zeros([3, 8])).shape(), [3, 2]); // logits
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn predict(&self, x: &X) -> M::Output {
        evaluating(&self.ctx.model, || no_grad(|| self.ctx.model.forward(x)))
    }

    /// What the model gives for all of `loader`, as it is, with the targets, in the order in which the loader has them.
    ///
    /// These are raw outputs: logits, where the loss has the softmax inside. [`get_preds_with`](Learner::get_preds_with) is what fastai calls
    /// `get_preds`: it applies the loss's activation, so that they are probabilities, and lets callbacks see the batches, as a model that
    /// carries a state or dropout that is to stay on needs it. Counterpart: `get_preds(act=noop)`.
    ///
    /// ```
    /// # use hardpan_engine::{DType, Tensor};
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{CrossEntropyLoss, Linear};
    /// # let x = Tensor::randn([64, 8]);
    /// # let y = x.select(1, 0).gt(0.0).to_dtype(DType::I64);
    /// # let data = TensorDataset::new(x, y)?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// let mut learn = Learner::with_loss(loaders, Linear::new(8, 2), CrossEntropyLoss::new()).silent();
    /// let valid = learn.context().loaders.valid.clone().unwrap();
    /// let (logits, targets) = learn.get_preds(&valid)?;
    /// assert_eq!((logits.shape(), targets.shape()), (&[64, 2][..], &[64][..]));
    /// let probabilities = learn.get_preds_with(&valid, Default::default())?.preds;
    /// assert!((probabilities.sum(1) - 1.0).abs().amax(..).item::<f32>() < 1e-5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If data cannot be read.
    pub fn get_preds(&self, loader: &DataLoader<X, Y>) -> Result<(M::Output, Y), FitError>
    where
        M::Output: Rows,
        Y: Rows,
    {
        let mut parts = (Vec::new(), Vec::new());
        for batch in loader.batches(0) {
            let (x, y) = batch?;
            parts.0.push(self.predict(&x));
            parts.1.push(y);
            hardpan_engine::flush_all();
        }
        Ok((M::Output::concat(parts.0), Y::concat(parts.1)))
    }

    /// What the model gives for all of `loader` in a pass with callbacks (all that do not only watch), after the learner's activation,
    /// with targets and, if asked for, inputs, the loss of each item, and answers. The order is that of the data set, also if the
    /// loader shuffles. Counterpart: fastai's `get_preds`.
    ///
    /// ```
    /// # use hardpan_engine::{DType, Tensor};
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{CrossEntropyLoss, Linear};
    /// # let x = Tensor::randn([64, 8]);
    /// # let y = x.select(1, 0).gt(0.0).to_dtype(DType::I64);
    /// # let data = TensorDataset::new(x, y)?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// use hardpan_learn::callback::Gather;
    /// let mut learn = Learner::with_loss(loaders, Linear::new(8, 2), CrossEntropyLoss::new()).silent();
    /// let valid = learn.context().loaders.valid.clone().unwrap();
    /// let all = learn.get_preds_with(&valid, Gather { losses: true, decoded: true, ..Gather::default() })?;
    /// let worst = all.losses.unwrap().argmax(0).item::<i64>(); // the item with the largest loss
    /// let answers = all.decoded.unwrap().to_vec::<i64>();
    /// assert_ne!(answers[worst as usize], all.targets.to_vec::<i64>()[worst as usize]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If data cannot be read, or a callback fails.
    ///
    /// # Panics
    /// If there are no batches, since every validation was cancelled.
    #[track_caller]
    pub fn get_preds_with(
        &mut self,
        loader: &DataLoader<X, Y>,
        what: Gather,
    ) -> Result<Gathered<X, Y, M::Output>, FitError>
    where
        X: Rows + Clone + Send,
        Y: Rows + Clone + Send,
        M::Output: Rows + Clone + Send,
    {
        self.gather(loader, what, 0)
    }

    fn gather(
        &mut self,
        loader: &DataLoader<X, Y>,
        what: Gather,
        round: usize,
    ) -> Result<Gathered<X, Y, M::Output>, FitError>
    where
        X: Rows + Clone + Send,
        Y: Rows + Clone + Send,
        M::Output: Rows + Clone + Send,
    {
        let (callback, parts) = GatherPreds::new(what);
        let history = self.ctx.history.clone();
        let aside = self.set_aside(|c| c.watches_only());
        let result = self.run_validation(loader, round, vec![Box::new(callback)]);
        self.bring_back(aside);
        self.ctx.history = history;
        result?;
        let mut all = parts.take().expect("get_preds: there were no batches to predict");
        if let Some(back) = positions(&loader.order(round), all.targets.rows()) {
            all.preds = all.preds.take_rows(&back);
            all.targets = all.targets.take_rows(&back);
            all.inputs = all.inputs.map(|x| x.take_rows(&back));
            all.losses = all.losses.map(|l| l.take_rows(&back));
        }
        if let Some(activation) = &self.ctx.activation {
            all.preds = no_grad(|| activation(all.preds));
        }
        if let (true, Some(decode)) = (what.decoded, &self.ctx.decode) {
            all.decoded = Some(no_grad(|| decode(&all.preds)));
        }
        hardpan_engine::flush_all();
        Ok(all)
    }

    /// The loss of each item of a batch, `[N]`, from what the model gave and the targets: by [`item_losses`](Learner::item_losses) where they
    /// are known, otherwise by asking for the loss of one item after the other. Counterpart: fastai's `loss_not_reduced`.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([96, 8]), Tensor::rand([96, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// let learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new());
    /// let pred = Tensor::from_vec(vec![1f32, 2.0, 3.0], [3, 1]);
    /// let losses = learn.loss_not_reduced(&pred, &Tensor::zeros([3, 1]));
    /// assert_eq!(losses.to_vec::<f32>(), [1.0, 4.0, 9.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn loss_not_reduced(&self, pred: &M::Output, y: &Y) -> Tensor
    where
        M::Output: Rows,
        Y: Rows,
    {
        self.ctx.losses_of(pred, y)
    }

    /// Takes out the callbacks that `which` says yes to, until [`bring_back`](Learner::bring_back).
    pub(super) fn set_aside(
        &mut self,
        which: impl Fn(&(dyn crate::callback::Callback<(M, X, Y)> + 'static)) -> bool,
    ) -> Vec<super::Entry<(M, X, Y)>> {
        let (aside, kept) =
            std::mem::take(&mut self.callbacks).into_iter().partition(|c| which(&*c.callback));
        self.callbacks = kept;
        aside
    }

    /// Puts callbacks back at the places they had.
    pub(super) fn bring_back(&mut self, aside: Vec<super::Entry<(M, X, Y)>>) {
        self.callbacks.extend(aside);
        self.callbacks.sort_by_key(|c| (c.callback.order(), c.id));
    }
}

impl<M, X, Y> Learner<M, X, Y>
where
    M: Module + Forward<X, Output = Tensor>,
    X: Rows + Clone + Send,
    Y: Rows + Clone + Send,
{
    /// Predicts the data as it is and four times as `augmented` changes it (at random), and mixes: a quarter of the first, three of the
    /// mean of the others. Both loaders must have the same items. Counterpart: fastai's `tta`.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Conv2d, Flatten, Linear, MSELoss, seq};
    /// # let data = TensorDataset::new(Tensor::rand([8, 3, 6, 6]), Tensor::rand([8, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 4, 42)?;
    /// # let model = seq![Conv2d::new(3, 4, 3), Flatten::new(), Linear::new(4 * 16, 1)];
    /// let mut learn = Learner::with_loss(loaders, model, MSELoss::new()).silent();
    /// let plain = learn.context().loaders.valid.clone().unwrap();
    /// // Images [N, C, H, W], each batch mirrored or not.
    /// let mirrored = plain.clone().map(|x: Tensor, y| {
    ///     let mirror = Tensor::rand([1]).lt(0.5);
    ///     (x.flip([3]).where_(&mirror, &x), y)
    /// });
    /// let (preds, targets) = learn.tta(&plain, &mirrored)?;
    /// assert_eq!((preds.shape(), targets.shape()), (&[8, 1][..], &[8, 1][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If data cannot be read, or a callback fails.
    #[track_caller]
    pub fn tta(
        &mut self,
        plain: &DataLoader<X, Y>,
        augmented: &DataLoader<X, Y>,
    ) -> Result<(Tensor, Y), FitError> {
        self.tta_with(plain, augmented, Tta::default())
    }

    /// As [`tta`](Learner::tta) with other settings.
    ///
    /// # Errors
    /// If data cannot be read, or a callback fails.
    ///
    /// # Panics
    /// If the loaders have different numbers of items.
    #[track_caller]
    pub fn tta_with(
        &mut self,
        plain: &DataLoader<X, Y>,
        augmented: &DataLoader<X, Y>,
        settings: Tta,
    ) -> Result<(Tensor, Y), FitError> {
        assert_eq!(
            plain.items(),
            augmented.items(),
            "tta: {} items as they are, but {} to be changed; both loaders must have the same ones",
            plain.items(),
            augmented.items()
        );
        let Tta { passes, beta, use_max } = settings;
        let mut changed: Option<Tensor> = None;
        for round in 0..passes {
            let preds = self.gather(augmented, Gather::default(), round)?.preds;
            changed = Some(match changed {
                None => preds,
                Some(so_far) if use_max => so_far.maximum(preds),
                Some(so_far) => so_far + preds,
            });
            hardpan_engine::flush_all();
        }
        let as_is = self.gather(plain, Gather::default(), 0)?;
        let preds = match changed {
            None => as_is.preds,
            Some(changed) if use_max => changed.maximum(&as_is.preds),
            Some(changed) => changed * ((1.0 - beta) / passes as f64) + as_is.preds * beta,
        };
        Ok((preds.eval().clone(), as_is.targets))
    }
}

/// Where to find each item, in ascending order, of those that came in `order` (the first `n` of them came). `None` if they came in
/// order already.
fn positions(order: &[usize], n: usize) -> Option<Vec<usize>> {
    let order = &order[..n.min(order.len())];
    if order.windows(2).all(|w| w[0] <= w[1]) || order.len() != n {
        return None;
    }
    let mut back: Vec<usize> = (0..n).collect();
    back.sort_by_key(|&i| order[i]);
    Some(back)
}
