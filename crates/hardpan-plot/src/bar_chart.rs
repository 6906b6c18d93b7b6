//! [`BarChart`]: one number for each of some names.

use crate::mark::{Anchor, Mark, Text};
use crate::scale::short;
use crate::{Color, font, palette};

/// Names with numbers, as bars that lie, so that long names can be read.
///
/// ```
/// use hardpan_plot::{BarChart, Figure};
/// let chart = BarChart::new("Accuracy").bar("cats", 0.9).bar("dogs", 0.7).limit(1.0);
/// let text = Figure::from(chart).to_text(40);
/// assert!(text.contains("cats") && text.contains("0.7"));
/// ```
#[derive(Clone, Debug)]
pub struct BarChart {
    pub(crate) title: String,
    pub(crate) bars: Vec<(String, f64, Color)>,
    pub(crate) limit: Option<f64>,
}

const ROW: f32 = 24.0;

impl BarChart {
    /// Without bars yet.
    pub fn new(title: impl Into<String>) -> BarChart {
        BarChart { title: title.into(), bars: Vec::new(), limit: None }
    }

    /// With one more bar.
    #[must_use]
    pub fn bar(self, name: impl Into<String>, value: f64) -> BarChart {
        self.colored_bar(name, value, palette(0))
    }

    /// With one more bar of this colour.
    #[must_use]
    pub fn colored_bar(mut self, name: impl Into<String>, value: f64, color: Color) -> BarChart {
        self.bars.push((name.into(), value, color));
        self
    }

    /// With one bar for each.
    #[must_use]
    pub fn bars<S: Into<String>>(self, bars: impl IntoIterator<Item = (S, f64)>) -> BarChart {
        bars.into_iter().fold(self, |c, (name, value)| c.bar(name, value))
    }

    /// With `limit` as the end of the scale, such as 1 for shares; without it the longest bar is as long as there is room.
    #[must_use]
    pub fn limit(mut self, limit: f64) -> BarChart {
        self.limit = Some(limit);
        self
    }

    /// The lowest (at most 0) and the highest (at least 0) of the scale.
    pub(crate) fn range(&self) -> (f64, f64) {
        let finite = self.bars.iter().map(|b| b.1).filter(|v| v.is_finite());
        let (low, high) = finite.fold((0f64, 0f64), |(a, b), v| (a.min(v), b.max(v)));
        // Beyond this the length of the scale would be infinite.
        let (low, high) = (low.max(-1e300), self.limit.unwrap_or(high).min(1e300));
        if high > low { (low, high) } else { (low, low + 1.0) }
    }

    fn top(&self) -> f32 {
        if self.title.is_empty() { 6.0 } else { 34.0 }
    }

    pub(crate) fn size(&self) -> (f32, f32) {
        (560.0, self.top() + self.bars.len() as f32 * ROW + 8.0)
    }

    pub(crate) fn draw(&self, (width, _): (f32, f32)) -> Vec<Mark> {
        let mut marks = Vec::new();
        if !self.title.is_empty() {
            let text = font::fit(&self.title, 14.0, true, width - 8.0);
            marks.push(Mark::Text(
                Text::new(width / 2.0, 20.0, 14.0, text).anchor(Anchor::Middle).bold(),
            ));
        }
        let widest = self.bars.iter().map(|b| font::width(&b.0, 12.0, false)).fold(0.0, f32::max);
        let names = widest.min(width * 0.4) + 16.0;
        let (low, high) = self.range();
        let room = width - names - 64.0;
        let at = |v: f64| names + room * ((v.clamp(low, high) - low) / (high - low)) as f32;
        for (i, (name, value, color)) in self.bars.iter().enumerate() {
            let y = self.top() + i as f32 * ROW;
            let text = font::fit(name, 12.0, false, names - 14.0);
            marks
                .push(Mark::Text(Text::new(names - 8.0, y + 16.0, 12.0, text).anchor(Anchor::End)));
            let end = if value.is_finite() { at(*value) } else { at(0.0) };
            let (a, b) = (end.min(at(0.0)), end.max(at(0.0)));
            marks.push(Mark::fill(a, y + 3.0, (b - a).max(0.75), ROW - 6.0, *color));
            marks.push(Mark::Text(
                Text::new(b + 6.0, y + 16.0, 11.5, short(*value)).color(Color::SOFT),
            ));
        }
        marks
    }
}
