//! Labels from names and from columns.

use super::BoxError;
use crate::data::table::Row;
use regex_lite::Regex;
use std::path::{Path, PathBuf};

/// The name of the directory that a file is in. Counterpart: fastai's `parent_label`.
///
/// ```
/// use hardpan_learn::data::block::parent_label;
/// assert_eq!(parent_label(&"pets/cat/1.png".into())?, "cat");
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
///
/// # Errors
/// If the path has no such part.
#[allow(clippy::ptr_arg)] // so that it fits `get_y` of items that are paths
pub fn parent_label(path: &PathBuf) -> Result<String, BoxError> {
    let parent = path.parent().and_then(Path::file_name);
    let parent = parent.ok_or_else(|| format!("{}: it is in no directory", path.display()))?;
    Ok(parent.to_string_lossy().into_owned())
}

/// Labels by a regular expression: the first group of the first place where it fits. Counterpart: fastai's `RegexLabeller`.
///
/// ```
/// use hardpan_learn::data::block::RegexLabeller;
/// let breed = RegexLabeller::new(r"(.+)_\d+.jpg$")?;
/// assert_eq!(breed.of("great_pyrenees_173.jpg")?, "great_pyrenees");
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RegexLabeller(Regex);

impl RegexLabeller {
    /// With this expression, which must have a group.
    ///
    /// # Errors
    /// If it is none, or has no group.
    pub fn new(pattern: &str) -> Result<RegexLabeller, BoxError> {
        let regex = Regex::new(pattern)
            .map_err(|e| format!("the pattern {pattern:?} is no regular expression: {e}"))?;
        if regex.captures_len() < 2 {
            let hint = "it needs parentheses around the part that is the label";
            return Err(format!("the pattern {pattern:?} has no group: {hint}").into());
        }
        Ok(RegexLabeller(regex))
    }

    /// The label in `text`.
    ///
    /// # Errors
    /// If the expression does not fit.
    pub fn of(&self, text: &str) -> Result<String, BoxError> {
        let found = self.0.captures(text).and_then(|c| c.get(1));
        let found =
            found.ok_or_else(|| format!("{:?} is not found in {text:?}", self.0.as_str()))?;
        Ok(found.as_str().to_owned())
    }

    /// The label in the name of a file.
    ///
    /// # Errors
    /// If the expression does not fit.
    pub fn of_name(&self, path: &Path) -> Result<String, BoxError> {
        self.of(&path.file_name().unwrap_or_default().to_string_lossy())
    }

    /// The label in a whole path, with `/` between its parts on every system.
    ///
    /// # Errors
    /// If the expression does not fit.
    pub fn of_path(&self, path: &Path) -> Result<String, BoxError> {
        self.of(&path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/"))
    }
}

/// The text in a column of a table, between `prefix` and `suffix`. Counterpart: fastai's `ColReader`.
///
/// ```
/// use hardpan_learn::data::block::column;
/// use hardpan_learn::data::table::Table;
/// # let cells = |row: &[&str]| row.iter().map(|c| c.to_string()).collect::<Vec<_>>();
/// let table = Table::new(cells(&["name", "label"]), vec![cells(&["1", "cat"])]);
/// let file = column("name", "pictures/", ".jpg");
/// assert_eq!(file(&table.rows()[0])?, "pictures/1.jpg");
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
pub fn column(
    name: impl Into<String>,
    prefix: impl Into<String>,
    suffix: impl Into<String>,
) -> impl Fn(&Row) -> Result<String, BoxError> + Send + Sync {
    let (name, prefix, suffix) = (name.into(), prefix.into(), suffix.into());
    move |row| Ok(format!("{prefix}{}{suffix}", row.get(&name)?))
}

/// The parts of the text in a column of a table, cut at `delimiter`. Counterpart: fastai's `ColReader(label_delim=..)`.
///
/// ```
/// use hardpan_learn::data::block::columns;
/// use hardpan_learn::data::table::Table;
/// # let cells = |row: &[&str]| row.iter().map(|c| c.to_string()).collect::<Vec<_>>();
/// let table = Table::new(cells(&["name", "tags"]), vec![cells(&["1", "clear water"])]);
/// assert_eq!(columns("tags", " ")(&table.rows()[0])?, ["clear", "water"]);
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
pub fn columns(
    name: impl Into<String>,
    delimiter: impl Into<String>,
) -> impl Fn(&Row) -> Result<Vec<String>, BoxError> + Send + Sync {
    let (name, delimiter) = (name.into(), delimiter.into());
    move |row| {
        let text = row.get(&name)?;
        let parts = text.split(&delimiter).map(str::trim).filter(|p| !p.is_empty());
        Ok(parts.map(str::to_owned).collect())
    }
}
