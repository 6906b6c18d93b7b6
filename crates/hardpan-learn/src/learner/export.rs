//! A trained model as a file that is used without its training: [`Learner::export`], [`Exported`].

use super::Learner;
use crate::file::{FileError, Header, ModelFile};
use hardpan_engine::{DType, Tensor, no_grad};
use hardpan_nn::{Decode, Forward, Module, evaluating};
use std::path::Path;

impl<M, X, Y> Learner<M, X, Y>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    /// With what files of the model are to say about it: names of classes, architecture, how raw data becomes inputs. Used by
    /// [`export`](Learner::export) and, for the names, by [`show_results`](Learner::show_results).
    #[must_use]
    pub fn header(mut self, header: Header) -> Self {
        self.header = header;
        self
    }

    /// Writes the model to be used elsewhere: the weights, the [header](Learner::header), what type the model has, and what the last fit
    /// measured. [`Exported::load`] opens it. Models of pictures have a file of their own kind, which also knows how pictures become
    /// inputs (`hardpan_vision::predictor`). Counterpart: fastai's `export`; no code is in the file, so whoever loads it says how the model
    /// is built.
    ///
    /// ```
    /// # use hardpan_engine::Tensor;
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{Linear, MSELoss};
    /// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// use hardpan_learn::file::{Header, ModelFile};
    /// # let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("answers.hardpan");
    /// let classes = vec!["no".to_owned(), "yes".to_owned()];
    /// let learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
    ///     .header(Header { classes, ..Header::default() });
    /// learn.export(&path)?;
    /// let header = ModelFile::read(&path)?.header;
    /// assert_eq!((header.classes[1].as_str(), header.model.as_deref()), ("yes", Some("Linear")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be written; one that is there stays as it is then.
    pub fn export(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        let mut header = self.header.clone();
        header.model = Some(self.ctx.model.type_name().to_owned());
        let (from, history) = (&mut header.provenance, &self.ctx.history);
        from.epochs = from.epochs.or((!history.epochs.is_empty()).then_some(history.epochs.len()));
        if let (true, Some(last)) = (from.metrics.is_empty(), history.epochs.last()) {
            let known = last.columns().into_iter().filter_map(|(name, v)| Some((name, v?)));
            from.metrics = known.collect();
        }
        self.save_with(path, header)
    }
}

/// A model from a file, ready to be used. Counterpart: what fastai's `load_learner` gives.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::data::{DataLoaders, TensorDataset};
/// use hardpan_learn::file::Header;
/// use hardpan_learn::learner::{Exported, Learner};
/// use hardpan_nn::{CrossEntropyLoss, Linear, Sequential, seq};
///
/// fn build() -> Sequential {
///     seq![Linear::new(4, 2)]
/// }
///
/// # let dir = std::env::temp_dir().join(format!("hardpan-export-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// # let path = dir.join("side.hardpan");
/// # let x = Tensor::randn([64, 4]);
/// # let data = TensorDataset::new(x.clone(), x.narrow(1, 0, 1).squeeze(1).gt(0.0).to_dtype(hardpan_engine::DType::I64))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// let classes = vec!["left".to_owned(), "right".to_owned()];
/// let mut learn = Learner::with_loss(loaders, build(), CrossEntropyLoss::new())
///     .header(Header { classes, ..Header::default() })
///     .silent();
/// learn.fit(5, 0.1)?;
/// learn.export(&path)?;
///
/// // In another program:
/// let model = Exported::load(&path, |_| build())?.with_loss(CrossEntropyLoss::new());
/// let x = Tensor::from_vec(vec![2f32, 0.0, 0.0, 0.0], [1, 4]);
/// assert_eq!(model.labels(&x), ["right"]);
/// assert_eq!(model.predict(&x).shape(), [1, 2]); // probabilities
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Exported<M> {
    model: M,
    header: Header,
    loss: Option<Box<dyn Decode + Send + Sync>>,
}

impl<M: Module> Exported<M> {
    /// Opens a file. `build` makes the model, with whatever weights, from what the file says about it.
    ///
    /// # Errors
    /// If the file cannot be read, is an interrupted training, says that its model is of another type, or has weights of other names or
    /// shapes; the error lists the differences.
    pub fn load(
        path: impl AsRef<Path>,
        build: impl FnOnce(&Header) -> M,
    ) -> Result<Exported<M>, FileError> {
        let file = ModelFile::read(path)?;
        if file.training.is_some() {
            let problem = "it is an interrupted training, not a finished model; go on with \
                           Learner::resume, or take its weights with Learner::load";
            return Err(FileError::Lacks { path: file.path().to_owned(), problem: problem.into() });
        }
        let model = build(&file.header);
        file.check_model(&model)?;
        file.load_into(&model)?;
        model.eval();
        Ok(Exported { model, header: file.header, loss: None })
    }

    /// With the loss it was trained with, which says what outputs mean: probabilities and classes instead of logits.
    #[must_use]
    pub fn with_loss(mut self, loss: impl Decode + Send + Sync + 'static) -> Exported<M> {
        self.loss = Some(Box::new(loss));
        self
    }

    /// The model, in evaluation mode.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The model alone.
    pub fn into_model(self) -> M {
        self.model
    }

    /// What the file says about the model.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the model gives for a batch, in evaluation mode and without history; after the loss's activation, if the loss is known.
    pub fn predict<X>(&self, x: &X) -> Tensor
    where
        M: Forward<X, Output = Tensor>,
    {
        let raw = evaluating(&self.model, || no_grad(|| self.model.forward(x)));
        match &self.loss {
            Some(loss) => no_grad(|| loss.activation(&raw)),
            None => raw,
        }
    }

    /// The answers for a batch: classes, labels, or numbers, as the loss says.
    ///
    /// # Panics
    /// If the loss is not known: see [`with_loss`](Exported::with_loss).
    #[track_caller]
    pub fn answers<X>(&self, x: &X) -> Tensor
    where
        M: Forward<X, Output = Tensor>,
    {
        let Some(loss) = &self.loss else {
            panic!("answers: what outputs mean is not known; use with_loss(..) first")
        };
        no_grad(|| loss.decodes(&self.predict(x)))
    }

    /// The names of the classes of a batch; numbers where the file has no names.
    ///
    /// # Panics
    /// If the loss is not known, or its answers are not one class an item.
    #[track_caller]
    pub fn labels<X>(&self, x: &X) -> Vec<String>
    where
        M: Forward<X, Output = Tensor>,
    {
        let answers = self.answers(x);
        assert!(
            answers.rank() == 1 && answers.dtype() == DType::I64,
            "labels: the answers are {:?} of shape {:?}, not one class an item; use answers(..)",
            answers.dtype(),
            answers.shape()
        );
        let classes = answers.to_vec::<i64>();
        classes.into_iter().map(|c| super::show::label(&self.header.classes, c)).collect()
    }
}
