//! [`Matrix`]: a table of numbers on colours, such as a confusion matrix, and plain tables.

use crate::mark::{Anchor, Mark, Text};
use crate::{Color, Colormap, font};

/// A table: a text in each cell and, if wanted, a colour behind it.
///
/// ```
/// use hardpan_plot::{Colormap, Figure, Matrix};
/// let names = || vec!["cat".to_owned(), "dog".to_owned()];
/// let cells = ["9", "1", "2", "8"].map(String::from).to_vec();
/// let table = Matrix::table("Confusion", names(), names(), cells)
///     .shades(&[0.9, 0.1, 0.2, 0.8], Colormap::Blues)
///     .axis_labels("actual", "predicted");
/// assert!(Figure::from(table).to_text(40).contains("predicted across, actual down"));
/// ```
#[derive(Clone, Debug)]
pub struct Matrix {
    pub(crate) title: String,
    pub(crate) rows: Vec<String>,
    pub(crate) columns: Vec<String>,
    pub(crate) row_label: String,
    pub(crate) column_label: String,
    /// Row by row: text, and how strong the colour is, 0 to 1.
    pub(crate) cells: Vec<(String, Option<f64>)>,
    map: Colormap,
}

impl Matrix {
    /// A table of these texts, row by row, without colours.
    ///
    /// # Panics
    /// If the cells are not rows times columns many.
    #[track_caller]
    pub fn table(
        title: impl Into<String>,
        rows: Vec<String>,
        columns: Vec<String>,
        cells: Vec<String>,
    ) -> Matrix {
        assert_eq!(cells.len(), rows.len() * columns.len(), "Matrix: cells for rows x columns");
        Matrix {
            title: title.into(),
            rows,
            columns,
            row_label: String::new(),
            column_label: String::new(),
            cells: cells.into_iter().map(|c| (c, None)).collect(),
            map: Colormap::Blues,
        }
    }

    /// With a colour behind each cell: 0 to 1, row by row.
    ///
    /// # Panics
    /// If there are not as many as cells.
    #[must_use]
    #[track_caller]
    pub fn shades(mut self, shades: &[f64], map: Colormap) -> Matrix {
        assert_eq!(shades.len(), self.cells.len(), "Matrix: a shade for each cell");
        self.cells.iter_mut().zip(shades).for_each(|(c, s)| c.1 = Some(*s));
        self.map = map;
        self
    }

    /// With names for what the rows and the columns are.
    #[must_use]
    pub fn axis_labels(mut self, rows: impl Into<String>, columns: impl Into<String>) -> Matrix {
        self.row_label = rows.into();
        self.column_label = columns.into();
        self
    }

    pub(crate) fn color(&self, shade: Option<f64>) -> Option<Color> {
        shade.map(|s| self.map.at(s))
    }

    /// Sizes: of a cell, of the names on the left, of the names on top.
    fn measures(&self) -> (f32, f32, f32, f32) {
        let plain = self.cells.iter().all(|c| c.1.is_none());
        let wide = |texts: &mut dyn Iterator<Item = &String>, size| {
            texts.map(|t| font::width(t, size, false)).fold(0.0, f32::max)
        };
        let cell_text = wide(&mut self.cells.iter().map(|c| &c.0), 11.5);
        let column_text = wide(&mut self.columns.iter(), 11.5);
        // Square cells suit a few classes; many must be small to fit a page.
        let n = self.columns.len().max(self.rows.len()) as f32;
        let small = (620.0 / n).clamp(14.0, 46.0);
        let h = if plain { 24.0 } else { small };
        let w = if plain {
            cell_text.max(column_text) + 20.0
        } else {
            small.max(if n <= 24.0 { cell_text + 8.0 } else { 0.0 })
        };
        let left = wide(&mut self.rows.iter(), 11.5).min(180.0)
            + 16.0
            + if self.row_label.is_empty() { 0.0 } else { 20.0 };
        let flat = column_text <= w - 4.0;
        let top = if self.columns.is_empty() {
            8.0
        } else if flat {
            24.0
        } else {
            column_text.min(140.0) + 12.0
        };
        (w, h, left, top)
    }

    fn title_height(&self) -> f32 {
        let label = if self.column_label.is_empty() { 0.0 } else { 20.0 };
        label + if self.title.is_empty() { 4.0 } else { 34.0 }
    }

    pub(crate) fn size(&self) -> (f32, f32) {
        let (w, h, left, top) = self.measures();
        let title = font::width(&self.title, 14.0, true) + 16.0;
        (
            (left + w * self.columns.len() as f32 + 12.0).max(title),
            self.title_height() + top + h * self.rows.len() as f32 + 10.0,
        )
    }

    pub(crate) fn draw(&self, _: (f32, f32)) -> Vec<Mark> {
        let mut marks = Vec::new();
        let (w, h, left, top) = self.measures();
        let (width, _) = self.size();
        let start = self.title_height() + top;
        let middle = left + w * self.columns.len() as f32 / 2.0;
        if !self.title.is_empty() {
            let half = font::width(&self.title, 14.0, true) / 2.0;
            let x = middle.min(width - half - 4.0).max(half + 4.0);
            marks.push(Mark::Text(
                Text::new(x, 20.0, 14.0, &self.title).anchor(Anchor::Middle).bold(),
            ));
        }
        if !self.column_label.is_empty() {
            let y = self.title_height() - 4.0;
            marks.push(Mark::Text(
                Text::new(middle, y, 12.0, &self.column_label).anchor(Anchor::Middle),
            ));
        }
        if !self.row_label.is_empty() {
            let y = start + h * self.rows.len() as f32 / 2.0;
            let text = Text::new(13.0, y, 12.0, &self.row_label).anchor(Anchor::Middle);
            marks.push(Mark::Text(text.upward()));
        }
        let small = 11.5f32.min(h - 2.0);
        let flat = self.columns.iter().all(|c| font::width(c, 11.5, false) <= w - 4.0);
        for (j, name) in self.columns.iter().enumerate() {
            let x = left + (j as f32 + 0.5) * w;
            let text = match flat {
                true => Text::new(x, start - 8.0, small, name).anchor(Anchor::Middle),
                false => {
                    let name = font::fit(name, small, false, top - 8.0);
                    Text::new(x + 4.0, start - 6.0, small, name).upward()
                }
            };
            marks.push(Mark::Text(text.color(Color::SOFT)));
        }
        let plain = self.cells.iter().all(|c| c.1.is_none());
        for (i, name) in self.rows.iter().enumerate() {
            let y = start + i as f32 * h;
            let name = font::fit(name, small, false, left - 14.0);
            marks.push(Mark::Text(
                Text::new(left - 8.0, y + h / 2.0 + 4.0, small, name)
                    .anchor(Anchor::End)
                    .color(if plain { Color::INK } else { Color::SOFT }),
            ));
            if plain {
                let end = left + w * self.columns.len() as f32;
                marks.push(Mark::segment((8.0, y), (end, y), Color::GRID, 1.0));
            }
            for j in 0..self.columns.len() {
                let (text, shade) = &self.cells[i * self.columns.len() + j];
                let x = left + j as f32 * w;
                let mut ink = Color::INK;
                if let Some(color) = self.color(*shade) {
                    marks.push(Mark::Rect {
                        x,
                        y,
                        w,
                        h,
                        fill: Some(color),
                        stroke: Some(Color::PAPER),
                    });
                    ink = color.readable();
                }
                if font::width(text, small, false) <= w {
                    marks.push(Mark::Text(
                        Text::new(x + w / 2.0, y + h / 2.0 + 4.0, small, text)
                            .anchor(Anchor::Middle)
                            .color(ink),
                    ));
                }
            }
        }
        marks
    }
}
