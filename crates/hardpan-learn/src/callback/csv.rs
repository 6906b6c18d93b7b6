//! [`CsvLogger`].

use super::{Callback, Flow};
use crate::file::FileError;
use crate::learner::{Context, Task};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// Writes the table to a CSV file, a row at a time. Counterpart: fastai's `CSVLogger`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::callback::CsvLogger;
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("history.csv");
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(CsvLogger::new(&path).append())
///     .silent();
/// learn.fit(2, 0.1)?;
/// let text = std::fs::read_to_string(&path)?;
/// assert!(text.starts_with("epoch,train_loss,valid_loss"), "{text}");
/// assert_eq!(text.lines().count(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CsvLogger {
    path: PathBuf,
    append: bool,
}

impl CsvLogger {
    /// To this file, which is written anew by each fit.
    pub fn new(path: impl Into<PathBuf>) -> CsvLogger {
        CsvLogger { path: path.into(), append: false }
    }

    /// At the end of what is there.
    #[must_use]
    pub fn append(mut self) -> CsvLogger {
        self.append = true;
        self
    }

    fn write(&self, line: &str, append: bool) -> Result<(), FileError> {
        let mut options = OpenOptions::new();
        options.create(true).write(true).append(append).truncate(!append);
        options
            .open(&self.path)
            .and_then(|mut f| writeln!(f, "{line}"))
            .map_err(|e| FileError::io(&self.path, e))
    }
}

impl<T: Task> Callback<T> for CsvLogger {
    fn order(&self) -> i32 {
        60
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        if ctx.resumed {
            return Flow::Continue;
        }
        let mut columns = vec!["epoch".to_owned()];
        columns.extend(ctx.columns());
        columns.push("seconds".into());
        self.write(&columns.join(","), self.append).into()
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        let Some(r) = ctx.history.epochs.last() else { return Flow::Continue };
        let cell = |v: Option<f64>| v.map(|v| v.to_string()).unwrap_or_default();
        let mut cells = vec![r.epoch.to_string()];
        cells.extend(r.columns().into_iter().map(|(_, v)| cell(v)));
        cells.push(r.seconds.to_string());
        self.write(&cells.join(","), true).into()
    }
}
