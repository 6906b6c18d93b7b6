//! Tables of text: the rows of a CSV file, with columns by name.

use super::block::BoxError;
use std::path::Path;
use std::sync::Arc;

/// A table in memory.
///
/// ```
/// use hardpan_learn::data::table::Table;
/// let cells = |row: &[&str]| row.iter().map(|c| c.to_string()).collect::<Vec<_>>();
/// let table = Table::new(cells(&["file", "label"]), vec![cells(&["a.png", "cat"])]);
/// assert_eq!(table.rows()[0].get("label")?, "cat");
/// assert!(table.rows()[0].get("colour").is_err()); // the error lists the columns
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    columns: Arc<Vec<String>>,
    rows: Vec<Row>,
}

/// A row of a [`Table`].
///
/// ```
/// use hardpan_learn::data::table::Table;
/// # let cells = |row: &[&str]| row.iter().map(|c| c.to_string()).collect::<Vec<_>>();
/// let table = Table::new(cells(&["file", "label"]), vec![cells(&["a.png", "cat"])]);
/// let row = &table.rows()[0];
/// assert_eq!((row.get("label")?, row.get("0")?), ("cat", "a.png")); // by name, or by number
/// assert_eq!(row.cells(), ["a.png", "cat"]);
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Row {
    columns: Arc<Vec<String>>,
    cells: Vec<String>,
}

impl Row {
    /// The text in a column, by its name or by its number (from 0).
    ///
    /// # Errors
    /// If there is no such column.
    pub fn get(&self, column: &str) -> Result<&str, BoxError> {
        let by_name = self.columns.iter().position(|c| c == column);
        let by_number = || column.parse::<usize>().ok().filter(|&i| i < self.columns.len());
        let i = by_name.or_else(by_number).ok_or_else(|| {
            format!("there is no column {column:?}; there are {}", self.columns.join(", "))
        })?;
        Ok(self.cells.get(i).map_or("", String::as_str))
    }

    /// The texts of all columns.
    pub fn cells(&self) -> &[String] {
        &self.cells
    }
}

impl Table {
    /// Reads a CSV file with a line of names at the top. `delimiter` is `b','` or `b'\t'` or whatever stands between.
    ///
    /// # Errors
    /// If it cannot be read, or a row has another number of columns.
    pub fn read_csv(path: impl AsRef<Path>, delimiter: u8) -> Result<Table, BoxError> {
        let path = path.as_ref();
        let fail = |e: csv::Error| format!("{}: {e}", path.display());
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).from_path(path).map_err(fail)?;
        let names = reader.headers().map_err(fail)?;
        let columns: Vec<String> = names.iter().map(str::to_owned).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            rows.push(record.map_err(fail)?.iter().map(str::to_owned).collect());
        }
        Ok(Table::new(columns, rows))
    }

    /// A table of these columns and rows.
    pub fn new(columns: Vec<String>, rows: Vec<Vec<String>>) -> Table {
        let columns = Arc::new(columns);
        let row = |cells| Row { columns: columns.clone(), cells };
        Table { rows: rows.into_iter().map(row).collect(), columns }
    }

    /// Names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rows alone.
    pub fn into_rows(self) -> Vec<Row> {
        self.rows
    }
}
