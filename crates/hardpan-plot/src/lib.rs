//! Pictures of trainings and models: a scene of lines, bars, images and text, drawn as SVG, as PNG, or in a terminal.
//!
//! A [`Figure`] is made of panels: [`Axes`] with [`Series`] in them, a [`BarChart`], a [`Matrix`] (tables, confusion matrices), an
//! [`ImageGrid`] of [`Picture`]s. [`figures`] has the ready-made ones of a training: loss curves, schedules, the search for a learning
//! rate, activation statistics, confusion matrices, calibration. It knows nothing of tensors: it takes numbers. No display and no system
//! fonts are needed: the letters of PNGs come from an embedded Roboto.
//!
//! A figure becomes marks (lines, areas, rectangles, texts, images), and those become SVG (written here) or pixels (filled by
//! `tiny-skia`). In a terminal each panel draws itself with letters, as marks of a pixel's precision would be lost there.
//!
//! ```
//! use hardpan_plot::{Axes, Figure, Series};
//! let curve = (1..=100).map(|i| (i as f64, (i as f64).ln()));
//! let figure = Figure::from(Axes::new("ln").x_label("x").with(Series::line(curve)));
//! let (svg, png) = (figure.to_svg()?, figure.to_png()?);
//! assert!(svg.contains("<title>ln</title>") && png.starts_with(b"\x89PNG"));
//! print!("{}", figure.to_text(60));
//! # Ok::<(), hardpan_plot::PlotError>(())
//! ```

mod axes;
mod bar_chart;
mod color;
mod error;
mod figure;
pub mod figures;
mod font;
mod image_grid;
mod mark;
mod matrix;
mod picture;
mod raster;
mod scale;
mod svg;
mod terminal;

pub use axes::{Axes, Series};
pub use bar_chart::BarChart;
pub use color::{Color, Colormap, PALETTE, palette};
pub use error::PlotError;
pub use figure::{Figure, Panel};
pub use image_grid::ImageGrid;
pub use matrix::Matrix;
pub use picture::Picture;
pub use scale::short;
