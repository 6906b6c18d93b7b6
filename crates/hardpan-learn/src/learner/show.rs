//! [`Results`]: some items with what they are and what the model says.

use super::{FitError, Learner};
use crate::data::{DataLoader, Rows};
use hardpan_engine::{DType, Tensor, no_grad};
use hardpan_nn::{Forward, Module};
use std::fmt;

/// Items with targets and predictions; made by [`Learner::show_results`]. Printing it gives a table.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{CrossEntropyLoss, Linear};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::zeros([64]).to_dtype(hardpan_engine::DType::I64))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::learner::Learner;
/// let learn = Learner::with_loss(loaders, Linear::new(8, 2), CrossEntropyLoss::new());
/// let results = learn.show_results(3)?;
/// let table = results.to_string();
/// assert!(table.starts_with("target  prediction  probability  loss"), "{table}");
/// assert_eq!(table.lines().count(), 4);
/// assert_eq!(table.matches('*').count(), 3 - results.right()); // wrong ones have a star
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Results {
    /// One for each item.
    pub rows: Vec<ResultRow>,
}

/// An item of [`Results`].
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{CrossEntropyLoss, Linear};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::zeros([64]).to_dtype(hardpan_engine::DType::I64))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::learner::Learner;
/// let learn = Learner::with_loss(loaders, Linear::new(8, 2), CrossEntropyLoss::new());
/// let row = &learn.show_results(3)?.rows[0];
/// assert_eq!(row.target, "0"); // without names: the number of the class
/// assert!(row.probability.unwrap() >= 0.5 && row.loss > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ResultRow {
    /// What it is: the name of a class, names of labels, numbers.
    pub target: String,
    /// What the model says.
    pub prediction: String,
    /// How sure it is, where it says one of some classes.
    pub probability: Option<f64>,
    /// Its loss.
    pub loss: f64,
}

impl Results {
    /// How many predictions are what the targets are, to the digits shown.
    pub fn right(&self) -> usize {
        self.rows.iter().filter(|r| r.target == r.prediction).count()
    }
}

/// The name of a class, or its number.
pub(super) fn label(classes: &[String], class: i64) -> String {
    let known = usize::try_from(class).ok().and_then(|c| classes.get(c));
    known.cloned().unwrap_or_else(|| class.to_string())
}

/// Each item of a batch of answers or targets in words.
fn words(values: &Tensor, classes: &[String]) -> Vec<String> {
    let n = values.shape().first().copied().unwrap_or(0);
    let each = values.numel() / n.max(1);
    if values.rank() == 1 && !values.dtype().is_float() && values.dtype() != DType::Bool {
        let numbers = values.to_dtype(DType::I64).to_vec::<i64>();
        return numbers.into_iter().map(|c| label(classes, c)).collect();
    }
    if each > 16 {
        return vec![format!("{:?} of shape {:?}", values.dtype(), &values.shape()[1..]); n];
    }
    let numbers = values.to_dtype(DType::F64).to_vec::<f64>();
    let rows = numbers.chunks(each.max(1));
    match values.dtype() {
        DType::Bool => rows
            .map(|row| {
                let on = row.iter().enumerate().filter(|(_, v)| **v != 0.0);
                let names: Vec<String> = on.map(|(c, _)| label(classes, c as i64)).collect();
                names.join(";")
            })
            .collect(),
        _ => rows
            .map(|row| row.iter().map(|v| hardpan_plot::short(*v)).collect::<Vec<_>>().join(" "))
            .collect(),
    }
}

impl<M, X> Learner<M, X, Tensor>
where
    M: Module + Forward<X, Output = Tensor>,
    X: Rows,
{
    /// The first `n` items (of the first batch) of the validation data with targets, predictions and losses; of the training data if
    /// there is no other. Classes have the names of the [header](Learner::header). Counterpart: fastai's `show_results`.
    ///
    /// ```
    /// # use hardpan_engine::{DType, Tensor};
    /// # use hardpan_learn::data::{DataLoaders, TensorDataset};
    /// # use hardpan_learn::learner::Learner;
    /// # use hardpan_nn::{CrossEntropyLoss, Linear};
    /// # let x = Tensor::randn([64, 4]);
    /// # let y = x.narrow(1, 0, 1).squeeze(1).gt(0.0).to_dtype(DType::I64);
    /// # let data = TensorDataset::new(x, y)?;
    /// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
    /// let mut learn = Learner::with_loss(loaders, Linear::new(4, 2), CrossEntropyLoss::new()).silent();
    /// learn.fit(5, 0.1)?;
    /// let results = learn.show_results(9)?;
    /// assert_eq!(results.rows.len(), 9);
    /// assert!(results.right() >= 6, "{results}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the batch cannot be read.
    pub fn show_results(&self, n: usize) -> Result<Results, FitError> {
        let loaders = &self.ctx.loaders;
        self.show_results_of(loaders.valid.as_ref().unwrap_or(&loaders.train), n)
    }

    /// As [`show_results`](Learner::show_results) of other data.
    ///
    /// # Errors
    /// If the batch cannot be read.
    pub fn show_results_of(
        &self,
        loader: &DataLoader<X, Tensor>,
        n: usize,
    ) -> Result<Results, FitError> {
        let (x, y) = loader.one_batch()?;
        let some: Vec<usize> = (0..n.min(y.rows())).collect();
        let (x, y) = (x.take_rows(&some), y.take_rows(&some));
        let raw = self.predict(&x);
        let losses = no_grad(|| self.ctx.losses_of(&raw, &y)).to_dtype(DType::F64).to_vec::<f64>();
        let shown = match &self.ctx.activation {
            Some(activation) => no_grad(|| activation(raw)),
            None => raw,
        };
        let answers = match &self.ctx.decode {
            Some(decode) => no_grad(|| decode(&shown)),
            None => shown.clone(),
        };
        let classes = &self.header.classes;
        // Labels of an item are yes or no, also where the loss wants them as numbers.
        let y = if answers.dtype() == DType::Bool { y.ne(0.0) } else { y };
        let (targets, said) = (words(&y, classes), words(&answers, classes));
        let of_classes = shown.rank() == 2 && answers.rank() == 1 && !answers.dtype().is_float();
        let probabilities = of_classes.then(|| {
            let picked = shown.gather(1, &answers.to_dtype(DType::I64).unsqueeze(1));
            picked.to_dtype(DType::F64).to_vec::<f64>()
        });
        let rows = targets.into_iter().zip(said).zip(losses).enumerate();
        let rows = rows.map(|(i, ((target, prediction), loss))| ResultRow {
            target,
            prediction,
            probability: probabilities.as_ref().map(|p| p[i]),
            loss,
        });
        Ok(Results { rows: rows.collect() })
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table: Vec<[String; 5]> =
            vec![["target", "prediction", "probability", "loss", ""].map(String::from)];
        for row in &self.rows {
            table.push([
                row.target.clone(),
                row.prediction.clone(),
                row.probability.map(|p| format!("{p:.3}")).unwrap_or_default(),
                format!("{:.3}", row.loss),
                if row.target == row.prediction { String::new() } else { "*".into() },
            ]);
        }
        let width = |c: usize| table.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..5).map(width).collect();
        for row in &table {
            let cells = row.iter().zip(&widths).map(|(cell, &w)| format!("{cell:w$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}
