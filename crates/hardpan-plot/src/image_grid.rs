//! [`ImageGrid`]: pictures with titles, side by side.

use crate::mark::{Anchor, Mark, Text};
use crate::{Color, Picture, font};

/// Pictures with titles: a batch, the worst predictions, filters.
///
/// ```
/// use hardpan_plot::{Figure, ImageGrid, Picture};
/// let grey = Picture::new(2, 2, 1, &[0, 80, 160, 255]);
/// let grid = ImageGrid::new("Digits").columns(2).image(grey.clone(), "a").image(grey, "b");
/// assert!(Figure::from(grid).to_svg()?.contains("<image"));
/// # Ok::<(), hardpan_plot::PlotError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageGrid {
    pub(crate) title: String,
    pub(crate) cells: Vec<Cell>,
    pub(crate) columns: Option<usize>,
    side: f32,
}

/// A picture of a grid.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub picture: Picture,
    /// Each line of the title.
    pub lines: Vec<String>,
    pub color: Color,
}

const GAP: f32 = 12.0;
const LINE: f32 = 15.0;

impl ImageGrid {
    /// Without pictures yet.
    pub fn new(title: impl Into<String>) -> ImageGrid {
        ImageGrid { title: title.into(), cells: Vec::new(), columns: None, side: 120.0 }
    }

    /// With one more picture; its title may have several lines.
    #[must_use]
    pub fn image(self, picture: Picture, title: impl AsRef<str>) -> ImageGrid {
        self.colored_image(picture, title, Color::INK)
    }

    /// With one more picture whose title has this colour: [`Color::GOOD`], [`Color::BAD`].
    #[must_use]
    pub fn colored_image(
        mut self,
        picture: Picture,
        title: impl AsRef<str>,
        color: Color,
    ) -> ImageGrid {
        let lines = title.as_ref().lines().map(str::to_owned).collect();
        self.cells.push(Cell { picture, lines, color });
        self
    }

    /// With so many pictures in a row; otherwise about as many as rows, at most 8.
    ///
    /// # Panics
    /// If that is none.
    #[must_use]
    #[track_caller]
    pub fn columns(mut self, columns: usize) -> ImageGrid {
        assert!(columns > 0, "ImageGrid: no columns");
        self.columns = Some(columns);
        self
    }

    /// With pictures so many pixels wide and high at most, instead of 120.
    #[must_use]
    pub fn side(mut self, side: f32) -> ImageGrid {
        self.side = side.max(8.0);
        self
    }

    /// Pictures in a row.
    pub(crate) fn per_row(&self) -> usize {
        let n = self.cells.len().max(1);
        self.columns.unwrap_or(((n as f64).sqrt().ceil() as usize).clamp(1, 8)).min(n)
    }

    fn lines(&self) -> usize {
        self.cells.iter().map(|c| c.lines.len()).max().unwrap_or(0)
    }

    fn top(&self) -> f32 {
        if self.title.is_empty() { GAP } else { 38.0 }
    }

    /// Height of the highest picture when it fits into the side.
    fn image_height(&self) -> f32 {
        let height = |p: &Picture| fit(p, self.side).1;
        self.cells.iter().map(|c| height(&c.picture)).fold(1.0, f32::max)
    }

    pub(crate) fn size(&self) -> (f32, f32) {
        let columns = self.per_row();
        let rows = self.cells.len().div_ceil(columns);
        let row = self.image_height() + LINE * self.lines() as f32 + GAP;
        let title = font::width(&self.title, 14.0, true) + 2.0 * GAP;
        let width = columns as f32 * (self.side + GAP) + GAP;
        (width.max(title), self.top() + rows as f32 * row + 4.0)
    }

    pub(crate) fn draw(&self, _: (f32, f32)) -> Vec<Mark> {
        let mut marks = Vec::new();
        let (width, _) = self.size();
        if !self.title.is_empty() {
            marks.push(Mark::Text(
                Text::new(width / 2.0, 21.0, 14.0, &self.title).anchor(Anchor::Middle).bold(),
            ));
        }
        let (columns, high) = (self.per_row(), self.image_height());
        let lines = self.lines() as f32 * LINE;
        let left = (width - (columns as f32 * (self.side + GAP) - GAP)) / 2.0;
        for (i, cell) in self.cells.iter().enumerate() {
            let x = left + (i % columns) as f32 * (self.side + GAP);
            let y = self.top() + (i / columns) as f32 * (high + lines + GAP);
            for (l, line) in cell.lines.iter().enumerate() {
                let text = font::fit(line, 11.5, false, self.side + GAP - 2.0);
                let y = y + LINE * (l as f32 + 1.0) - 4.0;
                marks.push(Mark::Text(
                    Text::new(x + self.side / 2.0, y, 11.5, text)
                        .anchor(Anchor::Middle)
                        .color(cell.color),
                ));
            }
            let (w, h) = fit(&cell.picture, self.side);
            marks.push(Mark::Image {
                x: (x + (self.side - w) / 2.0).round(),
                y: (y + lines + (high - h) / 2.0).round(),
                w,
                h,
                picture: cell.picture.clone(),
            });
        }
        marks
    }
}

/// Width and height of a picture made as large as fits into a square.
fn fit(picture: &Picture, side: f32) -> (f32, f32) {
    let (w, h) = (picture.width() as f32, picture.height() as f32);
    let by = side / w.max(h);
    ((w * by).max(1.0), (h * by).max(1.0))
}
