//! [`Axes`]: numbers against numbers, as lines, points, bars, areas and heat maps.

use crate::mark::{Anchor, Mark, Text};
use crate::scale::{Scale, Span};
use crate::{Color, Colormap, Picture, font, palette};

/// A pair of axes and what is drawn between them.
///
/// ```
/// use hardpan_plot::{Axes, Figure, Series};
/// let points = (0..50).map(|i| (i as f64, 1.0 / (1.0 + i as f64)));
/// let axes = Axes::new("Loss").x_label("step").y_label("loss").log_y()
///     .with(Series::line(points).label("train"));
/// let svg = Figure::new("Loss").with(axes).to_svg()?;
/// assert!(svg.contains("<polyline"));
/// # Ok::<(), hardpan_plot::PlotError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Axes {
    pub(crate) title: String,
    x_label: String,
    y_label: String,
    x_scale: Scale,
    y_scale: Scale,
    x_range: Option<(f64, f64)>,
    y_range: Option<(f64, f64)>,
    pub(crate) series: Vec<Series>,
    pub(crate) size: (f32, f32),
}

/// Something drawn in [`Axes`].
///
/// ```
/// use hardpan_plot::{Axes, Color, Figure, Series};
/// let axes = Axes::new("Loss")
///     .log_x()
///     .with(Series::line([(1e-3, 2.0), (1e-2, 1.0)]).label("training"))
///     .with(Series::vertical(5e-3).color(Color::BAD).label("chosen"));
/// assert!(Figure::from(axes).to_text(60).contains("chosen"));
/// ```
#[derive(Clone, Debug)]
pub struct Series {
    pub(crate) kind: Kind,
    pub(crate) label: Option<String>,
    pub(crate) color: Option<Color>,
    width: f32,
    dashed: bool,
    background: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Line(Vec<(f64, f64)>),
    Points(Vec<(f64, f64)>),
    /// Left end, right end, height.
    Bars(Vec<(f64, f64, f64)>),
    /// x, low, high.
    Band(Vec<(f64, f64, f64)>),
    Vertical(f64),
    Horizontal(f64),
    HeatMap {
        picture: Picture,
        x: (f64, f64),
        y: (f64, f64),
    },
}

impl Series {
    fn new(kind: Kind) -> Series {
        Series { kind, label: None, color: None, width: 2.0, dashed: false, background: false }
    }

    /// Points joined by a line, in the order given. Where a number is not finite (or has no place on a logarithmic axis) the line
    /// has a gap.
    pub fn line(points: impl IntoIterator<Item = (f64, f64)>) -> Series {
        Series::new(Kind::Line(points.into_iter().collect()))
    }

    /// Points.
    pub fn points(points: impl IntoIterator<Item = (f64, f64)>) -> Series {
        let mut out = Series::new(Kind::Points(points.into_iter().collect()));
        out.width = 3.0;
        out
    }

    /// Bars that stand on 0: left end, right end, height.
    pub fn bars(bars: impl IntoIterator<Item = (f64, f64, f64)>) -> Series {
        Series::new(Kind::Bars(bars.into_iter().collect()))
    }

    /// How many of `values` lie in each of `bins` equal parts of their range. What is not finite is left out.
    pub fn histogram(values: &[f64], bins: usize) -> Series {
        let finite = values.iter().copied().filter(|v| v.is_finite());
        let (low, high) = finite
            .clone()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        let bins = bins.max(1);
        let (low, high) = match low.partial_cmp(&high) {
            Some(std::cmp::Ordering::Less) => (low, high),
            Some(std::cmp::Ordering::Equal) => (low - 0.5, high + 0.5),
            _ => (0.0, 1.0),
        };
        // Divided first: the difference of two huge numbers would be infinite.
        let step = high / bins as f64 - low / bins as f64;
        let mut counts = vec![0usize; bins];
        finite.for_each(|v| counts[((v / step - low / step) as usize).min(bins - 1)] += 1);
        let bar =
            |(i, n): (usize, usize)| (low + i as f64 * step, low + (i + 1) as f64 * step, n as f64);
        Series::bars(counts.into_iter().enumerate().map(bar))
    }

    /// The area between two curves: x, low, high.
    pub fn band(points: impl IntoIterator<Item = (f64, f64, f64)>) -> Series {
        Series::new(Kind::Band(points.into_iter().collect()))
    }

    /// A line from bottom to top at `x`, dashed.
    pub fn vertical(x: f64) -> Series {
        Series { dashed: true, width: 1.5, ..Series::new(Kind::Vertical(x)) }
    }

    /// A line from left to right at `y`, dashed.
    pub fn horizontal(y: f64) -> Series {
        Series { dashed: true, width: 1.5, ..Series::new(Kind::Horizontal(y)) }
    }

    /// A picture stretched over the given ranges, its first row on top. Made of numbers by [`Picture::heat_map`].
    pub fn picture(picture: Picture, x: (f64, f64), y: (f64, f64)) -> Series {
        Series::new(Kind::HeatMap { picture, x, y })
    }

    /// With a name for the legend.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Series {
        self.label = Some(label.into());
        self
    }

    /// With this colour instead of the next of the palette.
    #[must_use]
    pub fn color(mut self, color: Color) -> Series {
        self.color = Some(color);
        self
    }

    /// With lines this wide, or points of this radius, in pixels.
    #[must_use]
    pub fn width(mut self, width: f32) -> Series {
        self.width = width;
        self
    }

    /// With a dashed line.
    #[must_use]
    pub fn dashed(mut self) -> Series {
        self.dashed = true;
        self
    }

    /// Does not decide how far the axes reach, so that a few wild values do not flatten the rest; what lies beyond is cut off.
    #[must_use]
    pub fn background(mut self) -> Series {
        self.background = true;
        self
    }

    /// Lowest and highest of what it shows: x, then y.
    fn extent(&self, x_scale: Scale, y_scale: Scale) -> ((f64, f64), (f64, f64)) {
        let mut out = ((f64::INFINITY, f64::NEG_INFINITY), (f64::INFINITY, f64::NEG_INFINITY));
        let mut add = |x: f64, y: f64| {
            let placed = |v: f64, scale| v.is_finite() && (scale == Scale::Linear || v > 0.0);
            if placed(x, x_scale) {
                out.0 = (out.0.0.min(x), out.0.1.max(x));
            }
            if placed(y, y_scale) {
                out.1 = (out.1.0.min(y), out.1.1.max(y));
            }
        };
        match &self.kind {
            Kind::Line(points) | Kind::Points(points) => points.iter().for_each(|p| add(p.0, p.1)),
            Kind::Bars(bars) => bars.iter().for_each(|&(a, b, h)| {
                add(a, h);
                add(b, 0.0);
            }),
            Kind::Band(points) => points.iter().for_each(|&(x, low, high)| {
                add(x, low);
                add(x, high);
            }),
            Kind::Vertical(x) => add(*x, f64::NAN),
            Kind::Horizontal(y) => add(f64::NAN, *y),
            Kind::HeatMap { x, y, .. } => {
                add(x.0, y.0);
                add(x.1, y.1);
            }
        }
        out
    }
}

impl Axes {
    /// Empty axes with this title, which may be "".
    pub fn new(title: impl Into<String>) -> Axes {
        Axes {
            title: title.into(),
            x_label: String::new(),
            y_label: String::new(),
            x_scale: Scale::Linear,
            y_scale: Scale::Linear,
            x_range: None,
            y_range: None,
            series: Vec::new(),
            size: (560.0, 360.0),
        }
    }

    /// What the horizontal axis counts.
    #[must_use]
    pub fn x_label(mut self, label: impl Into<String>) -> Axes {
        self.x_label = label.into();
        self
    }

    /// What the vertical axis counts.
    #[must_use]
    pub fn y_label(mut self, label: impl Into<String>) -> Axes {
        self.y_label = label.into();
        self
    }

    /// With a logarithmic horizontal axis.
    #[must_use]
    pub fn log_x(mut self) -> Axes {
        self.x_scale = Scale::Log;
        self
    }

    /// With a logarithmic vertical axis.
    #[must_use]
    pub fn log_y(mut self) -> Axes {
        self.y_scale = Scale::Log;
        self
    }

    /// With a horizontal axis from `low` to `high`, whatever is drawn.
    #[must_use]
    pub fn x_range(mut self, low: f64, high: f64) -> Axes {
        self.x_range = Some((low, high));
        self
    }

    /// With a vertical axis from `low` to `high`, whatever is drawn.
    #[must_use]
    pub fn y_range(mut self, low: f64, high: f64) -> Axes {
        self.y_range = Some((low, high));
        self
    }

    /// With one more line, row of bars, ...; later ones are drawn over earlier ones.
    #[must_use]
    pub fn with(mut self, series: Series) -> Axes {
        self.series.push(series);
        self
    }

    /// With this size in pixels instead of 560 by 360.
    #[must_use]
    pub fn size(mut self, width: f32, height: f32) -> Axes {
        self.size = (width, height);
        self
    }

    pub(crate) fn labels(&self) -> (&str, &str) {
        (&self.x_label, &self.y_label)
    }

    /// The colour of each series: its own, or the next of the palette.
    pub(crate) fn colors(&self) -> Vec<Color> {
        let mut next = 0;
        let color = |s: &Series| {
            s.color.unwrap_or_else(|| {
                next += 1;
                palette(next - 1)
            })
        };
        self.series.iter().map(color).collect()
    }

    /// The ranges of both axes.
    pub(crate) fn spans(&self) -> (Span, Span) {
        let mut x = (f64::INFINITY, f64::NEG_INFINITY);
        let mut y = x;
        let front = self
            .series
            .iter()
            .any(|s| !s.background && !matches!(s.kind, Kind::Vertical(_) | Kind::Horizontal(_)));
        let mut filled = false;
        for s in &self.series {
            let (sx, sy) = s.extent(self.x_scale, self.y_scale);
            x = (x.0.min(sx.0), x.1.max(sx.1));
            if !(s.background && front) {
                y = (y.0.min(sy.0), y.1.max(sy.1));
            }
            filled |= matches!(s.kind, Kind::HeatMap { .. });
        }
        let air = if filled { 0.0 } else { 0.03 };
        let bars = self.series.iter().any(|s| matches!(s.kind, Kind::Bars(_)));
        let span = |scale, own: Option<(f64, f64)>, (low, high): (f64, f64), air| match own {
            Some((a, b)) => Span::new(scale, a, b),
            None => Span::new(scale, low, high).padded(air),
        };
        let x_span = span(self.x_scale, self.x_range, x, air);
        let y_span = match self.y_range {
            // Bars stand on the axis.
            None if bars && y.0 >= 0.0 => Span::new(self.y_scale, y.0, y.1 * 1.06),
            own => span(self.y_scale, own, y, air * 1.5),
        };
        (x_span, y_span)
    }

    pub(crate) fn draw(&self, (width, height): (f32, f32)) -> Vec<Mark> {
        let mut marks = Vec::new();
        let (x_span, y_span) = self.spans();
        let top = if self.title.is_empty() { 12.0 } else { 34.0 };
        let bottom = if self.x_label.is_empty() { 28.0 } else { 46.0 };
        let y_ticks = y_span.ticks((((height - top - bottom) / 45.0) as usize).clamp(2, 10));
        let widest = y_ticks.iter().map(|t| font::width(&t.1, 11.0, false)).fold(0.0, f32::max);
        let left = widest + 14.0 + if self.y_label.is_empty() { 0.0 } else { 20.0 };
        let right = 14.0;
        let (w, h) = ((width - left - right).max(10.0), (height - top - bottom).max(10.0));
        let x_ticks = x_span.ticks(((w / 70.0) as usize).clamp(2, 12));
        let frame = Frame { left, top, w, h, x: x_span, y: y_span };

        if !self.title.is_empty() {
            let text = font::fit(&self.title, 14.0, true, width - 8.0);
            let x = (left + w / 2.0).min(width - font::width(&text, 14.0, true) / 2.0 - 2.0);
            marks.push(Mark::Text(Text::new(x, 20.0, 14.0, text).anchor(Anchor::Middle).bold()));
        }
        for (v, label) in &x_ticks {
            let x = frame.x_at(*v);
            marks.push(Mark::segment((x, top), (x, top + h), Color::GRID, 1.0));
            marks.push(Mark::Text(
                Text::new(x, top + h + 17.0, 11.0, label).color(Color::SOFT).anchor(Anchor::Middle),
            ));
        }
        for (v, label) in &y_ticks {
            let y = frame.y_at(*v);
            marks.push(Mark::segment((left, y), (left + w, y), Color::GRID, 1.0));
            marks.push(Mark::Text(
                Text::new(left - 7.0, y + 4.0, 11.0, label).color(Color::SOFT).anchor(Anchor::End),
            ));
        }
        let colors = self.colors();
        for (series, &color) in self.series.iter().zip(&colors) {
            frame.draw(series, color, &mut marks);
        }
        let axis = Color::rgb(0x9a, 0xa0, 0xa6);
        marks.push(Mark::segment((left, top + h), (left + w, top + h), axis, 1.0));
        marks.push(Mark::segment((left, top), (left, top + h), axis, 1.0));
        let label = |x, y, text: &str| Text::new(x, y, 12.0, text).anchor(Anchor::Middle);
        if !self.x_label.is_empty() {
            marks.push(Mark::Text(label(left + w / 2.0, top + h + 37.0, &self.x_label)));
        }
        if !self.y_label.is_empty() {
            marks.push(Mark::Text(label(14.0, top + h / 2.0, &self.y_label).upward()));
        }
        self.legend(&frame, &colors, &mut marks);
        marks
    }

    /// The legend, in the corner where it hides least.
    fn legend(&self, frame: &Frame, colors: &[Color], marks: &mut Vec<Mark>) {
        let entries: Vec<(&Series, Color, &str)> = self
            .series
            .iter()
            .zip(colors)
            .filter_map(|(s, &c)| s.label.as_deref().map(|l| (s, c, l)))
            .collect();
        if entries.is_empty() {
            return;
        }
        let (size, line) = (11.5, 18.0);
        let text = entries.iter().map(|e| font::width(e.2, size, false)).fold(0.0, f32::max);
        let (w, h) = (text + 42.0, entries.len() as f32 * line + 8.0);
        let gap = 8.0;
        let corners = [
            (frame.left + frame.w - w - gap, frame.top + gap),
            (frame.left + gap, frame.top + gap),
            (frame.left + frame.w - w - gap, frame.top + frame.h - h - gap),
            (frame.left + gap, frame.top + frame.h - h - gap),
        ];
        let hidden = |&(x, y): &(f32, f32)| {
            let inside = |p: &(f32, f32)| {
                p.0 >= x - 4.0 && p.0 <= x + w + 4.0 && p.1 >= y - 4.0 && p.1 <= y + h + 4.0
            };
            self.series
                .iter()
                .map(|s| frame.places(s).iter().filter(|p| inside(p)).count())
                .sum::<usize>()
        };
        let Some(&(x, y)) = corners.iter().min_by_key(|c| hidden(c)) else { return };
        marks.push(Mark::Rect {
            x,
            y,
            w,
            h,
            fill: Some(Color::PAPER.alpha(0.88)),
            stroke: Some(Color::GRID),
        });
        for (i, (series, color, label)) in entries.into_iter().enumerate() {
            let middle = y + 4.0 + (i as f32 + 0.5) * line;
            let (a, b) = (x + 9.0, x + 29.0);
            marks.push(match series.kind {
                Kind::Points(_) => {
                    Mark::Dots { at: vec![((a + b) / 2.0, middle)], radius: 3.5, fill: color }
                }
                Kind::Bars(_) | Kind::Band(_) => Mark::fill(a, middle - 5.0, b - a, 10.0, color),
                _ => Mark::Line {
                    points: vec![(a, middle), (b, middle)],
                    color,
                    width: series.width,
                    dashed: series.dashed,
                },
            });
            marks.push(Mark::Text(Text::new(x + 35.0, middle + 4.0, size, label)));
        }
    }
}

/// Where the axes are in the picture.
struct Frame {
    left: f32,
    top: f32,
    w: f32,
    h: f32,
    x: Span,
    y: Span,
}

impl Frame {
    fn x_at(&self, v: f64) -> f32 {
        self.left + self.w * self.x.place(v) as f32
    }
    fn y_at(&self, v: f64) -> f32 {
        self.top + self.h * (1.0 - self.y.place(v) as f32)
    }

    /// Where the legend should not be.
    fn places(&self, series: &Series) -> Vec<(f32, f32)> {
        match &series.kind {
            Kind::Line(points) => {
                // Between points too: a line of few points is long.
                let dots: Vec<(f32, f32)> =
                    points.iter().map(|p| (self.x_at(p.0), self.y_at(p.1))).collect();
                dots.windows(2)
                    .flat_map(|w| {
                        let ((ax, ay), (bx, by)) = (w[0], w[1]);
                        (0..4).map(move |i| {
                            let t = i as f32 / 4.0;
                            (ax + (bx - ax) * t, ay + (by - ay) * t)
                        })
                    })
                    .collect()
            }
            Kind::Points(points) => {
                points.iter().map(|p| (self.x_at(p.0), self.y_at(p.1))).collect()
            }
            Kind::Bars(bars) => bars
                .iter()
                .flat_map(|&(a, b, h)| {
                    let x = self.x_at((a + b) / 2.0);
                    (0..5).map(move |i| (x, self.y_at(h * f64::from(i) / 4.0)))
                })
                .collect(),
            Kind::Band(points) => {
                points.iter().map(|p| (self.x_at(p.0), self.y_at((p.1 + p.2) / 2.0))).collect()
            }
            _ => Vec::new(),
        }
    }

    fn draw(&self, series: &Series, color: Color, marks: &mut Vec<Mark>) {
        let (right, bottom) = (self.left + self.w, self.top + self.h);
        match &series.kind {
            Kind::Line(points) => {
                let points: Vec<(f32, f32)> =
                    points.iter().map(|p| (self.x_at(p.0), self.y_at(p.1))).collect();
                for part in self.pieces(&points) {
                    marks.push(Mark::Line {
                        points: part,
                        color,
                        width: series.width,
                        dashed: series.dashed,
                    });
                }
            }
            Kind::Points(points) => {
                let at: Vec<(f32, f32)> = points
                    .iter()
                    .map(|p| (self.x_at(p.0), self.y_at(p.1)))
                    .filter(|&(x, y)| {
                        x >= self.left - 0.5
                            && x <= right + 0.5
                            && y >= self.top - 0.5
                            && y <= bottom + 0.5
                    })
                    .collect();
                marks.push(Mark::Dots { at, radius: series.width, fill: color });
            }
            Kind::Bars(bars) => {
                let floor = self.y_at(0.0);
                let floor = if floor.is_nan() { bottom } else { floor.clamp(self.top, bottom) };
                for &(a, b, h) in bars {
                    let (x0, x1) = (self.x_at(a).max(self.left), self.x_at(b).min(right));
                    let y = self.y_at(h).clamp(self.top, bottom);
                    if x1 > x0 && y.is_finite() {
                        // A hair of paper between bars.
                        let hair = if x1 - x0 > 4.0 { 0.5 } else { 0.0 };
                        let (y0, y1) = (y.min(floor), y.max(floor));
                        marks.push(Mark::fill(x0 + hair, y0, x1 - x0 - 2.0 * hair, y1 - y0, color));
                    }
                }
            }
            Kind::Band(points) => {
                let clip = |v: f32, a: f32, b: f32| v.clamp(a, b);
                let at = |x: f64, y: f64| {
                    (clip(self.x_at(x), self.left, right), clip(self.y_at(y), self.top, bottom))
                };
                let points: Vec<_> =
                    points.iter().filter(|p| p.1.is_finite() && p.2.is_finite()).collect();
                let mut outline: Vec<(f32, f32)> = points.iter().map(|p| at(p.0, p.2)).collect();
                outline.extend(points.iter().rev().map(|p| at(p.0, p.1)));
                marks.push(Mark::Area { points: outline, fill: color.alpha(0.22) });
            }
            Kind::Vertical(x) => {
                let x = self.x_at(*x);
                if x >= self.left && x <= right {
                    marks.push(Mark::Line {
                        points: vec![(x, self.top), (x, bottom)],
                        color,
                        width: series.width,
                        dashed: series.dashed,
                    });
                }
            }
            Kind::Horizontal(y) => {
                let y = self.y_at(*y);
                if y >= self.top && y <= bottom {
                    marks.push(Mark::Line {
                        points: vec![(self.left, y), (right, y)],
                        color,
                        width: series.width,
                        dashed: series.dashed,
                    });
                }
            }
            Kind::HeatMap { picture, x, y } => {
                let (x0, x1) = (self.x_at(x.0), self.x_at(x.1));
                let (y0, y1) = (self.y_at(y.1), self.y_at(y.0));
                marks.push(Mark::Image {
                    x: x0,
                    y: y0,
                    w: x1 - x0,
                    h: y1 - y0,
                    picture: picture.clone(),
                });
            }
        }
    }

    /// The parts of a line that are inside the axes.
    fn pieces(&self, points: &[(f32, f32)]) -> Vec<Vec<(f32, f32)>> {
        let (x0, x1) = (self.left - 0.5, self.left + self.w + 0.5);
        let (y0, y1) = (self.top - 0.5, self.top + self.h + 0.5);
        let mut out: Vec<Vec<(f32, f32)>> = Vec::new();
        let mut open = false;
        for pair in points.windows(2) {
            let Some((a, b, to_end)) = clip(pair[0], pair[1], (x0, y0, x1, y1)) else {
                open = false;
                continue;
            };
            match out.last_mut() {
                Some(part) if open && part.last() == Some(&a) => part.push(b),
                _ => out.push(vec![a, b]),
            }
            open = to_end;
        }
        out
    }
}

/// Both ends of what is inside, and whether the second is the segment's own end.
type Clipped = ((f32, f32), (f32, f32), bool);

/// The part of a segment inside a rectangle, and whether it reaches the segment's end (Liang and Barsky 1984).
fn clip(a: (f32, f32), b: (f32, f32), (x0, y0, x1, y1): (f32, f32, f32, f32)) -> Option<Clipped> {
    if !(a.0.is_finite() && a.1.is_finite() && b.0.is_finite() && b.1.is_finite()) {
        return None;
    }
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let (mut from, mut to) = (0f32, 1f32);
    for (p, q) in [(-dx, a.0 - x0), (dx, x1 - a.0), (-dy, a.1 - y0), (dy, y1 - a.1)] {
        if p == 0.0 {
            if q < 0.0 {
                return None;
            }
        } else if p < 0.0 {
            from = from.max(q / p);
        } else {
            to = to.min(q / p);
        }
    }
    let at = |t: f32| {
        if t == 0.0 {
            a
        } else if t == 1.0 {
            b
        } else {
            (a.0 + t * dx, a.1 + t * dy)
        }
    };
    (from <= to).then(|| (at(from), at(to), to == 1.0))
}

/// A picture of numbers in columns, as the histograms of a layer step by step: `columns` of equally many numbers each, the first of
/// each at the bottom. `highest` of the numbers is the brightest.
pub(crate) fn columns(columns: &[Vec<f64>], map: Colormap) -> Option<Picture> {
    let rows = columns.first()?.len();
    if rows == 0 {
        return None;
    }
    let at = |row: usize, column: &Vec<f64>| column.get(rows - 1 - row).copied().unwrap_or(0.0);
    let values: Vec<f64> = (0..rows).flat_map(|r| columns.iter().map(move |c| at(r, c))).collect();
    let high = values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    Some(Picture::heat_map(rows, columns.len(), &values, (0.0, high), map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_the_frame_and_at_gaps() {
        let axes = Axes::new("").x_range(0.0, 10.0).y_range(0.0, 1.0);
        let (x, y) = axes.spans();
        let frame = Frame { left: 0.0, top: 0.0, w: 100.0, h: 100.0, x, y };
        let at = |p: &[(f64, f64)]| -> Vec<(f32, f32)> {
            p.iter().map(|p| (frame.x_at(p.0), frame.y_at(p.1))).collect()
        };
        let parts = frame.pieces(&at(&[(0.0, 0.5), (5.0, 3.0), (10.0, 0.5)]));
        assert_eq!(parts.len(), 2, "out at the top and back: {parts:?}");
        let parts = frame.pieces(&at(&[(0.0, 0.5), (3.0, f64::NAN), (5.0, 0.5), (7.0, 0.5)]));
        assert_eq!(parts, [vec![(50.0, 50.0), (70.0, 50.0)]]);
    }

    #[test]
    fn histograms_count() {
        let s = Series::histogram(&[0.0, 0.1, 0.9, 1.0, f64::NAN], 2);
        let Kind::Bars(bars) = s.kind else { panic!() };
        assert_eq!(bars, [(0.0, 0.5, 2.0), (0.5, 1.0, 2.0)]);
    }

    #[test]
    fn background_does_not_stretch_the_axis() {
        let axes = Axes::new("")
            .with(Series::line([(0.0, 1e6), (1.0, 0.2)]).background())
            .with(Series::line([(0.0, 0.5), (1.0, 0.2)]));
        assert!(axes.spans().1.place(0.6) > 1.0);
        let alone = Axes::new("").with(Series::line([(0.0, 1e6), (1.0, 0.2)]).background());
        assert!(alone.spans().1.place(0.9e6) < 1.0, "alone it does");
    }
}
