//! Splitters: which items are to learn from, and which to judge by.

use super::BoxError;
use crate::data::permutation;
use crate::data::table::Row;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// Numbers of the items for training and for validation.
///
/// ```
/// use hardpan_learn::data::block::{RandomSplitter, Splitter};
/// let split = RandomSplitter::new(0.2, 42).split(&["a", "b", "c", "d", "e"]).unwrap();
/// assert_eq!((split.train.len(), split.valid.len()), (4, 1)); // numbers of items
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// To learn from.
    pub train: Vec<usize>,
    /// To judge by.
    pub valid: Vec<usize>,
}

impl Split {
    /// Those for which `is_valid` holds are to judge by.
    fn by(n: usize, is_valid: impl Fn(usize) -> bool) -> Split {
        let (valid, train) = (0..n).partition(|&i| is_valid(i));
        Split { train, valid }
    }
}

/// Says which items are for validation. A function that gives a [`Split`] is one too.
///
/// ```
/// use hardpan_learn::data::block::{BoxError, Split, Splitter};
/// // Every third item is to judge by.
/// let thirds = |items: &[&str]| -> Result<Split, BoxError> {
///     let (valid, train) = (0..items.len()).partition(|i| i % 3 == 2);
///     Ok(Split { train, valid })
/// };
/// let split = thirds.split(&["a", "b", "c", "d"])?;
/// assert_eq!((split.train, split.valid), (vec![0, 1, 3], vec![2]));
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
pub trait Splitter<I>: Send + Sync {
    /// The split of these items.
    ///
    /// # Errors
    /// If they do not allow it.
    fn split(&self, items: &[I]) -> Result<Split, BoxError>;
}

impl<I, F: Fn(&[I]) -> Result<Split, BoxError> + Send + Sync> Splitter<I> for F {
    fn split(&self, items: &[I]) -> Result<Split, BoxError> {
        self(items)
    }
}

fn fraction_of(n: usize, fraction: f64) -> usize {
    (fraction * n as f64) as usize
}

#[track_caller]
fn check_fraction(fraction: f64) {
    assert!((0.0..1.0).contains(&fraction), "a fraction of at least 0 and below 1, not {fraction}");
}

/// A random part, the same for the same seed. Counterpart: fastai's `RandomSplitter` (`valid_pct=0.2`).
///
/// ```
/// use hardpan_learn::data::block::{RandomSplitter, Splitter};
/// let items: Vec<usize> = (0..100).collect();
/// let split = RandomSplitter::new(0.2, 42).split(&items)?;
/// assert_eq!((split.train.len(), split.valid.len()), (80, 20));
/// assert_eq!(split.valid, RandomSplitter::new(0.2, 42).split(&items)?.valid);
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RandomSplitter {
    fraction: f64,
    seed: u64,
}

impl RandomSplitter {
    /// `fraction` of the items, rounded down, is for validation.
    ///
    /// # Panics
    /// If it is not in [0, 1).
    #[track_caller]
    pub fn new(fraction: f64, seed: u64) -> RandomSplitter {
        check_fraction(fraction);
        RandomSplitter { fraction, seed }
    }
}

impl<I> Splitter<I> for RandomSplitter {
    fn split(&self, items: &[I]) -> Result<Split, BoxError> {
        let mut train = permutation(items.len(), self.seed, u64::MAX);
        let valid = train.drain(..fraction_of(items.len(), self.fraction)).collect();
        Ok(Split { train, valid })
    }
}

/// A random part of each class, so that both parts have the classes in equal proportions; at least one item of each class stays
/// for training. Counterpart: fastai's `TrainTestSplitter(stratify=..)`.
///
/// ```
/// use hardpan_learn::data::block::{Splitter, StratifiedSplitter};
/// // 80 of one class, 20 of another.
/// let items: Vec<&str> = (0..100).map(|i| if i < 80 { "cat" } else { "dog" }).collect();
/// let splitter = StratifiedSplitter::new(0.2, 42, |item: &&str| Ok(item.to_string()));
/// let valid = splitter.split(&items)?.valid;
/// let cats = valid.iter().filter(|&&i| i < 80).count();
/// assert_eq!((cats, valid.len()), (16, 20));
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
pub struct StratifiedSplitter<I> {
    fraction: f64,
    seed: u64,
    label: Label<I>,
}

type Label<I> = Box<dyn Fn(&I) -> Result<String, BoxError> + Send + Sync>;

impl<I> StratifiedSplitter<I> {
    /// About `fraction` of the items of each label is for validation.
    ///
    /// # Panics
    /// If it is not in [0, 1).
    #[track_caller]
    pub fn new(
        fraction: f64,
        seed: u64,
        label: impl Fn(&I) -> Result<String, BoxError> + Send + Sync + 'static,
    ) -> StratifiedSplitter<I> {
        check_fraction(fraction);
        StratifiedSplitter { fraction, seed, label: Box::new(label) }
    }
}

impl<I> Splitter<I> for StratifiedSplitter<I> {
    fn split(&self, items: &[I]) -> Result<Split, BoxError> {
        let mut classes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for i in permutation(items.len(), self.seed, u64::MAX) {
            classes.entry((self.label)(&items[i])?).or_default().push(i);
        }
        let mut split = Split::default();
        // Rounding is carried over from class to class, so that the whole comes out right.
        let mut owed = 0.0;
        for members in classes.values() {
            owed += self.fraction * members.len() as f64;
            let n = (owed.round().max(0.0) as usize).min(members.len() - 1);
            owed -= n as f64;
            split.valid.extend(&members[..n]);
            split.train.extend(&members[n..]);
        }
        split.train.sort_unstable();
        split.valid.sort_unstable();
        Ok(split)
    }
}

/// The items with these numbers are for validation. Counterpart: fastai's `IndexSplitter`.
///
/// ```
/// use hardpan_learn::data::block::{IndexSplitter, Splitter};
/// let split = IndexSplitter(vec![1, 3]).split(&["a", "b", "c", "d"])?;
/// assert_eq!((split.train, split.valid), (vec![0, 2], vec![1, 3]));
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct IndexSplitter(pub Vec<usize>);

impl<I> Splitter<I> for IndexSplitter {
    fn split(&self, items: &[I]) -> Result<Split, BoxError> {
        if let Some(i) = self.0.iter().find(|&&i| i >= items.len()) {
            return Err(format!("item {i} of {} items", items.len()).into());
        }
        let chosen: HashSet<usize> = self.0.iter().copied().collect();
        let train = (0..items.len()).filter(|i| !chosen.contains(i)).collect();
        Ok(Split { train, valid: self.0.clone() })
    }
}

/// The last part (or the first) is for validation: for what has an order, such as time. Counterpart: fastai's `EndSplitter`.
///
/// ```
/// use hardpan_learn::data::block::{EndSplitter, Splitter};
/// // The last days are the ones to be foretold.
/// let split = EndSplitter::last(0.25).split(&["mon", "tue", "wed", "thu"])?;
/// assert_eq!((split.train, split.valid), (vec![0, 1, 2], vec![3]));
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EndSplitter {
    fraction: f64,
    last: bool,
}

impl EndSplitter {
    /// The last `fraction` of the items.
    ///
    /// # Panics
    /// If it is not in [0, 1).
    #[track_caller]
    pub fn last(fraction: f64) -> EndSplitter {
        check_fraction(fraction);
        EndSplitter { fraction, last: true }
    }

    /// The first `fraction` of the items.
    ///
    /// # Panics
    /// If it is not in [0, 1).
    #[track_caller]
    pub fn first(fraction: f64) -> EndSplitter {
        EndSplitter { last: false, ..EndSplitter::last(fraction) }
    }
}

impl<I> Splitter<I> for EndSplitter {
    fn split(&self, items: &[I]) -> Result<Split, BoxError> {
        let (n, cut) = (items.len(), fraction_of(items.len(), self.fraction));
        Ok(Split::by(n, |i| if self.last { i >= n - cut } else { i < cut }))
    }
}

/// By the name of the directory two levels above the file: `train/cat/1.jpg`. Items in neither are left out. Counterpart:
/// fastai's `GrandparentSplitter`.
///
/// ```
/// use hardpan_learn::data::block::{GrandparentSplitter, Splitter};
/// let split = GrandparentSplitter::default().split(&["train/cat/1.png", "valid/cat/2.png"])?;
/// assert_eq!((split.train, split.valid), (vec![0], vec![1]));
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct GrandparentSplitter {
    train: Vec<String>,
    valid: Vec<String>,
}

impl Default for GrandparentSplitter {
    fn default() -> Self {
        GrandparentSplitter::new(&["train"], &["valid"])
    }
}

impl GrandparentSplitter {
    /// Names of the directories for training and for validation.
    pub fn new(train: &[&str], valid: &[&str]) -> GrandparentSplitter {
        let own = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
        GrandparentSplitter { train: own(train), valid: own(valid) }
    }
}

impl<P: AsRef<Path>> Splitter<P> for GrandparentSplitter {
    fn split(&self, items: &[P]) -> Result<Split, BoxError> {
        let name = |p: &P| {
            let up = p.as_ref().parent().and_then(Path::parent).and_then(Path::file_name);
            up.unwrap_or_default().to_string_lossy().into_owned()
        };
        let mut split = Split::default();
        for (i, item) in items.iter().enumerate() {
            let name = name(item);
            if self.train.contains(&name) {
                split.train.push(i);
            } else if self.valid.contains(&name) {
                split.valid.push(i);
            }
        }
        Ok(split)
    }
}

/// Items for which a function says so are for validation. Counterpart: fastai's `FuncSplitter`.
///
/// ```
/// use hardpan_learn::data::block::{FunctionSplitter, Splitter};
/// let split = FunctionSplitter(|n: &i32| *n > 10).split(&[5, 50, 7])?;
/// assert_eq!((split.train, split.valid), (vec![0, 2], vec![1]));
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
pub struct FunctionSplitter<F>(pub F);

impl<I, F: Fn(&I) -> bool + Send + Sync> Splitter<I> for FunctionSplitter<F> {
    fn split(&self, items: &[I]) -> Result<Split, BoxError> {
        Ok(Split::by(items.len(), |i| (self.0)(&items[i])))
    }
}

/// Items whose place in a list is true are for validation. Counterpart: fastai's `MaskSplitter`.
///
/// ```
/// use hardpan_learn::data::block::{MaskSplitter, Splitter};
/// let split = MaskSplitter(vec![false, true, false]).split(&["a", "b", "c"])?;
/// assert_eq!((split.train, split.valid), (vec![0, 2], vec![1]));
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct MaskSplitter(pub Vec<bool>);

impl<I> Splitter<I> for MaskSplitter {
    fn split(&self, items: &[I]) -> Result<Split, BoxError> {
        if self.0.len() != items.len() {
            return Err(format!("a mask of {} for {} items", self.0.len(), items.len()).into());
        }
        Ok(Split::by(items.len(), |i| self.0[i]))
    }
}

/// Files whose names stand in a text file, one on a line, are for validation. Counterpart: fastai's `FileSplitter`.
///
/// ```
/// use hardpan_learn::data::block::{FileSplitter, Splitter};
/// use std::path::PathBuf;
/// # let dir = tempfile::tempdir()?;
/// let list = dir.path().join("valid.txt");
/// std::fs::write(&list, "2.jpg\n")?;
/// let items = ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg"].map(PathBuf::from);
/// assert_eq!(FileSplitter::new(&list)?.split(&items)?.valid, [1]);
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FileSplitter(HashSet<String>);

impl FileSplitter {
    /// Reads the names.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn new(path: impl AsRef<Path>) -> Result<FileSplitter, BoxError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(FileSplitter(text.lines().map(|l| l.trim().to_owned()).collect()))
    }
}

impl Splitter<PathBuf> for FileSplitter {
    fn split(&self, items: &[PathBuf]) -> Result<Split, BoxError> {
        let name = |p: &PathBuf| p.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Split::by(items.len(), |i| self.0.contains(&name(&items[i]))))
    }
}

/// Rows of a table whose text in a column is one of these are for validation. Counterpart: fastai's `ColSplitter`.
///
/// ```
/// use hardpan_learn::data::block::{ColumnSplitter, Splitter};
/// use hardpan_learn::data::table::Table;
/// # let cells = |row: &[&str]| row.iter().map(|c| c.to_string()).collect::<Vec<_>>();
/// let rows = vec![cells(&["1.jpg", "False"]), cells(&["2.jpg", "True"])];
/// let table = Table::new(cells(&["name", "is_valid"]), rows);
/// let split = ColumnSplitter::new("is_valid").split(table.rows())?;
/// assert_eq!((split.train, split.valid), (vec![0], vec![1]));
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ColumnSplitter {
    column: String,
    on: Vec<String>,
}

impl ColumnSplitter {
    /// Rows where `column` says yes: `true`, `True`, `1`, `yes` or `valid`.
    pub fn new(column: impl Into<String>) -> ColumnSplitter {
        let on = ["true", "True", "TRUE", "1", "yes", "valid"].map(str::to_owned).to_vec();
        ColumnSplitter { column: column.into(), on }
    }

    /// Rows where `column` has one of these texts.
    pub fn on(column: impl Into<String>, values: &[&str]) -> ColumnSplitter {
        let on = values.iter().map(|&v| v.to_owned()).collect();
        ColumnSplitter { column: column.into(), on }
    }
}

impl Splitter<Row> for ColumnSplitter {
    fn split(&self, items: &[Row]) -> Result<Split, BoxError> {
        let mut split = Split::default();
        for (i, row) in items.iter().enumerate() {
            let valid =
                self.on.iter().any(|v| Ok(v.as_str()) == row.get(&self.column).map_err(|_| ()));
            if i == 0 {
                row.get(&self.column)?;
            }
            if valid { &mut split.valid } else { &mut split.train }.push(i);
        }
        Ok(split)
    }
}

/// Random parts of these sizes; the rest is left out. Counterpart: fastai's `RandomSubsetSplitter`.
///
/// ```
/// use hardpan_learn::data::block::{RandomSubsetSplitter, Splitter};
/// let items: Vec<usize> = (0..1000).collect();
/// let split = RandomSubsetSplitter::new(0.1, 0.05, 42).split(&items)?;
/// assert_eq!((split.train.len(), split.valid.len()), (100, 50));
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RandomSubsetSplitter {
    train: f64,
    valid: f64,
    seed: u64,
}

impl RandomSubsetSplitter {
    /// `train` and `valid` of the whole.
    ///
    /// # Panics
    /// If they are not above 0, or more than 1 together.
    #[track_caller]
    pub fn new(train: f64, valid: f64, seed: u64) -> RandomSubsetSplitter {
        assert!(
            train > 0.0 && valid > 0.0 && train + valid <= 1.0,
            "RandomSubsetSplitter: fractions {train} and {valid} are not above 0 and at most 1 together"
        );
        RandomSubsetSplitter { train, valid, seed }
    }
}

impl<I> Splitter<I> for RandomSubsetSplitter {
    fn split(&self, items: &[I]) -> Result<Split, BoxError> {
        let n = items.len();
        let mut all = permutation(n, self.seed, u64::MAX);
        let (t, v) = (fraction_of(n, self.train), fraction_of(n, self.valid));
        all.truncate(t + v);
        let valid = all.split_off(t);
        Ok(Split { train: all, valid })
    }
}
