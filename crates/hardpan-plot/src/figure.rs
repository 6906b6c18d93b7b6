//! [`Figure`]: panels side by side, and how they leave the program.

use crate::mark::{Anchor, Mark, Text};
use crate::{Axes, BarChart, ImageGrid, Matrix, Picture, PlotError, font, raster, svg, terminal};
use std::path::Path;

/// A part of a figure.
///
/// ```
/// use hardpan_plot::{Axes, BarChart, Figure, Panel};
/// let panels: Vec<Panel> = vec![Axes::new("loss").into(), BarChart::new("accuracy").into()];
/// let figure = panels.into_iter().fold(Figure::new("both"), Figure::with);
/// assert!(matches!(figure.panels(), [Panel::Axes(_), Panel::Bars(_)]));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Panel {
    /// Numbers against numbers.
    Axes(Axes),
    /// One number for each name.
    Bars(BarChart),
    /// A table.
    Matrix(Matrix),
    /// Pictures with titles.
    Images(ImageGrid),
}

macro_rules! panels {
    ($($variant:ident $t:ty),*) => {$(
        impl From<$t> for Panel {
            fn from(panel: $t) -> Panel {
                Panel::$variant(panel)
            }
        }
        impl From<$t> for Figure {
            /// A figure of this panel alone, with its title.
            fn from(panel: $t) -> Figure {
                Figure::new(panel.title.clone()).with(panel)
            }
        }
    )*};
}

panels!(Axes Axes, Bars BarChart, Matrix Matrix, Images ImageGrid);

impl Panel {
    fn size(&self) -> (f32, f32) {
        match self {
            Panel::Axes(p) => p.size,
            Panel::Bars(p) => p.size(),
            Panel::Matrix(p) => p.size(),
            Panel::Images(p) => p.size(),
        }
    }

    fn draw(&self, size: (f32, f32)) -> Vec<Mark> {
        match self {
            Panel::Axes(p) => p.draw(size),
            Panel::Bars(p) => p.draw(size),
            Panel::Matrix(p) => p.draw(size),
            Panel::Images(p) => p.draw(size),
        }
    }

    pub(crate) fn title(&self) -> &str {
        match self {
            Panel::Axes(p) => &p.title,
            Panel::Bars(p) => &p.title,
            Panel::Matrix(p) => &p.title,
            Panel::Images(p) => &p.title,
        }
    }
}

/// A figure of one or more panels. See the [crate](crate) for an example.
///
/// ```
/// use hardpan_plot::{Axes, BarChart, Figure, Series};
/// let figure = Figure::new("Two panels")
///     .columns(2)
///     .with(Axes::new("loss").with(Series::line([(0.0, 1.0), (1.0, 0.3)])))
///     .with(BarChart::new("accuracy").bar("cats", 0.9));
/// assert_eq!((figure.title(), figure.panels().len()), ("Two panels", 2));
/// assert!(figure.to_svg()?.starts_with("<svg"));
/// # Ok::<(), hardpan_plot::PlotError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Figure {
    title: String,
    panels: Vec<Panel>,
    columns: usize,
    heading: bool,
}

impl Figure {
    /// An empty figure. The title says what is to be seen, to those who cannot see it too; it is also written on top if there is more
    /// than one panel.
    pub fn new(title: impl Into<String>) -> Figure {
        Figure { title: title.into(), panels: Vec::new(), columns: 1, heading: true }
    }

    /// With one more panel: [`Axes`], [`BarChart`], [`Matrix`], [`ImageGrid`].
    #[must_use]
    pub fn with(mut self, panel: impl Into<Panel>) -> Figure {
        self.panels.push(panel.into());
        self
    }

    /// With so many panels side by side instead of one below the other.
    ///
    /// # Panics
    /// If that is none.
    #[must_use]
    #[track_caller]
    pub fn columns(mut self, columns: usize) -> Figure {
        assert!(columns > 0, "Figure: no columns");
        self.columns = columns;
        self
    }

    /// Without the title on top, where something else says it; it stays the description.
    #[must_use]
    pub fn without_heading(mut self) -> Figure {
        self.heading = false;
        self
    }

    /// What it shows.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Its panels in order.
    pub fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// Whether the title is written above the panels.
    pub(crate) fn shows_title(&self) -> bool {
        let only = self.panels.len() == 1 && self.panels[0].title() == self.title;
        self.heading && !self.title.is_empty() && !only
    }

    /// Size and all marks.
    fn layout(&self) -> ((f32, f32), Vec<Mark>) {
        const GAP: f32 = 16.0;
        const EDGE: f32 = 10.0;
        let sizes: Vec<(f32, f32)> = self.panels.iter().map(Panel::size).collect();
        let columns = self.columns.min(sizes.len().max(1));
        let widths: Vec<f32> = (0..columns)
            .map(|c| sizes.iter().skip(c).step_by(columns).map(|s| s.0).fold(0.0, f32::max))
            .collect();
        let heights: Vec<f32> =
            sizes.chunks(columns).map(|row| row.iter().map(|s| s.1).fold(0.0, f32::max)).collect();
        let inner = widths.iter().sum::<f32>() + GAP * (columns - 1) as f32;
        let head = if self.shows_title() { 34.0 } else { 0.0 };
        let title = if self.shows_title() { font::width(&self.title, 16.0, true) } else { 0.0 };
        let width = inner.max(title.min(1600.0)) + 2.0 * EDGE;
        let below = heights.iter().sum::<f32>() + GAP * heights.len().saturating_sub(1) as f32;
        let height = head + below + 2.0 * EDGE;
        let mut marks = Vec::new();
        if self.shows_title() {
            let text = font::fit(&self.title, 16.0, true, width - 8.0);
            marks.push(Mark::Text(
                Text::new(width / 2.0, EDGE + 18.0, 16.0, text).anchor(Anchor::Middle).bold(),
            ));
        }
        let mut y = head + EDGE;
        for (row, panels) in self.panels.chunks(columns).enumerate() {
            let mut x = EDGE + (width - 2.0 * EDGE - inner) / 2.0;
            for (c, panel) in panels.iter().enumerate() {
                let own = sizes[row * columns + c];
                // Axes and bars fill their place; tables and pictures have the size they have and stand in its middle.
                let size = match panel {
                    Panel::Axes(_) | Panel::Bars(_) => (widths[c], heights[row]),
                    _ => own,
                };
                for mut mark in panel.draw(size) {
                    mark.shift(x + (widths[c] - size.0) / 2.0, y);
                    marks.push(mark);
                }
                x += widths[c] + GAP;
            }
            y += heights[row] + GAP;
        }
        ((width.ceil(), height.ceil()), marks)
    }

    /// As an SVG document: self-contained, pictures included; its texts are texts, in Roboto or what the reader has instead.
    ///
    /// # Errors
    /// If a picture inside cannot be encoded.
    pub fn to_svg(&self) -> Result<String, PlotError> {
        let (size, marks) = self.layout();
        svg::write(&self.title, size, &marks)
    }

    /// As pixels, two for each unit of SVG.
    ///
    /// # Errors
    /// If it would be too large.
    pub fn to_picture(&self) -> Result<Picture, PlotError> {
        let (size, marks) = self.layout();
        raster::draw(size, 2.0, &marks)
    }

    /// As a PNG file, two pixels for each unit of SVG.
    ///
    /// # Errors
    /// If it would be too large.
    pub fn to_png(&self) -> Result<Vec<u8>, PlotError> {
        self.to_picture()?.to_png()
    }

    /// As lines of text for a terminal of 24-bit colours, `width` letters wide: curves in Braille dots, pictures in half blocks.
    pub fn to_terminal(&self, width: usize) -> String {
        terminal::draw(self, width, true)
    }

    /// As [`to_terminal`](Figure::to_terminal), without colours: for logs and files. Pictures are shades of grey made of blocks.
    pub fn to_text(&self, width: usize) -> String {
        terminal::draw(self, width, false)
    }

    /// Writes it to a file, whose ending says how: `.svg`, `.png`, or `.txt`.
    ///
    /// # Errors
    /// If the ending is another, or the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PlotError> {
        let path = path.as_ref();
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_lowercase();
        let bytes = match ending.as_str() {
            "svg" => self.to_svg()?.into_bytes(),
            "png" => self.to_png()?,
            "txt" => self.to_text(100).into_bytes(),
            _ => return Err(PlotError::Ending { path: path.to_owned() }),
        };
        std::fs::write(path, bytes)
            .map_err(|source| PlotError::Write { path: path.to_owned(), source })
    }

    /// Shows it on standard output: as wide as the terminal (at most 120 letters), with colours if it is one and `NO_COLOR` is not set.
    pub fn show(&self) {
        use std::io::{IsTerminal, Write};
        let mut out = std::io::stdout().lock();
        let width = terminal_size::terminal_size().map_or(100, |(w, _)| usize::from(w.0)).min(120);
        let color = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        // A closed pipe is no reason to stop a training.
        let _ = out.write_all(terminal::draw(self, width, color).as_bytes());
    }
}
