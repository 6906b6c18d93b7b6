//! Figures in a terminal: curves in Braille dots, pictures in half blocks, tables in letters. Nothing is asked of the terminal.

use crate::axes::Kind;
use crate::scale::Span;
use crate::{Axes, BarChart, Color, Figure, ImageGrid, Matrix, Panel, Picture, scale::short};
use std::fmt::Write;

/// The figure as lines, `width` letters wide at most (but never less than 20).
pub(crate) fn draw(figure: &Figure, width: usize, color: bool) -> String {
    let pen = Pen { width: width.max(20), color };
    let mut out = String::new();
    if figure.shows_title() {
        pen.centered(&mut out, figure.title());
        out.push('\n');
    }
    for (i, panel) in figure.panels().iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        match panel {
            Panel::Axes(p) => pen.axes(&mut out, p),
            Panel::Bars(p) => pen.bars(&mut out, p),
            Panel::Matrix(p) => pen.matrix(&mut out, p),
            Panel::Images(p) => pen.images(&mut out, p),
        }
    }
    out
}

struct Pen {
    width: usize,
    color: bool,
}

/// Dots of Braille: two columns and four rows to a letter, each letter of one colour.
struct Canvas {
    columns: usize,
    rows: usize,
    cells: Vec<(u8, Option<Color>)>,
}

impl Canvas {
    fn new(columns: usize, rows: usize) -> Canvas {
        Canvas { columns, rows, cells: vec![(0, None); columns * rows] }
    }

    /// Dots across and down.
    fn dots(&self) -> (f64, f64) {
        ((self.columns * 2) as f64, (self.rows * 4) as f64)
    }

    fn dot(&mut self, x: f64, y: f64, color: Color) {
        let (w, h) = self.dots();
        if !(x >= 0.0 && y >= 0.0 && x < w && y < h) {
            return;
        }
        const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
        let (x, y) = (x as usize, y as usize);
        let cell = &mut self.cells[y / 4 * self.columns + x / 2];
        cell.0 |= BITS[x % 2][y % 4];
        cell.1 = Some(color);
    }

    fn line(&mut self, a: (f64, f64), b: (f64, f64), color: Color, dashed: bool) {
        let (w, h) = self.dots();
        let reach = (b.0 - a.0).abs().max((b.1 - a.1).abs());
        if !reach.is_finite() {
            return;
        }
        // What leaves the canvas by far is only walked as far as the canvas is large.
        let n = reach.min(8.0 * (w + h)).ceil().max(1.0) as usize;
        for i in 0..=n {
            if dashed && i % 6 >= 3 {
                continue;
            }
            let t = i as f64 / n as f64;
            self.dot(a.0 + (b.0 - a.0) * t, a.1 + (b.1 - a.1) * t, color);
        }
    }
}

impl Pen {
    fn centered(&self, out: &mut String, text: &str) {
        let text: String = text.chars().take(self.width).collect();
        let pad = (self.width - text.chars().count()) / 2;
        let _ = writeln!(out, "{}{}", " ".repeat(pad), self.bold(&text));
    }

    fn bold(&self, text: &str) -> String {
        if self.color { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn paint(&self, text: &str, color: Color) -> String {
        match self.color {
            true => format!("\x1b[38;2;{};{};{}m{text}\x1b[0m", color.r, color.g, color.b),
            false => text.to_owned(),
        }
    }

    fn axes(&self, out: &mut String, axes: &Axes) {
        if !axes.title.is_empty() {
            self.centered(out, &axes.title);
        }
        let (x_span, y_span) = axes.spans();
        let rows = (self.width / 5).clamp(8, 18);
        let y_ticks = y_span.ticks(rows / 3);
        let margin = y_ticks.iter().map(|t| t.1.chars().count()).max().unwrap_or(0) + 1;
        let columns = self.width.saturating_sub(margin + 1).max(10);
        let (x_label, y_label) = axes.labels();
        if !y_label.is_empty() {
            let _ = writeln!(out, "{:>margin$} {y_label}", "");
        }
        let body = match axes.series.iter().find_map(|s| match &s.kind {
            Kind::HeatMap { picture, .. } => Some(picture),
            _ => None,
        }) {
            Some(picture) => self.blocks(picture, columns, rows),
            None => self.braille(&self.curves(axes, columns, rows, x_span, y_span)),
        };
        let rows = body.len();
        let mut labels = vec![String::new(); rows];
        for (v, label) in y_ticks {
            let row =
                ((1.0 - y_span.place(v)) * rows as f64 - 0.5).round().clamp(0.0, rows as f64 - 1.0);
            labels[row as usize] = label;
        }
        for (label, line) in labels.iter().zip(&body) {
            let tick = if label.is_empty() { '│' } else { '┤' };
            let _ = writeln!(out, "{label:>margin$}{tick}{line}");
        }
        let mut axis: Vec<char> = "─".repeat(columns).chars().collect();
        let mut text = vec![' '; columns + margin + 1];
        let mut free = 0;
        for (v, label) in x_span.ticks((columns / 12).max(2)) {
            let at = ((x_span.place(v) * columns as f64) as usize).min(columns - 1);
            axis[at] = '┬';
            let n = label.chars().count();
            let start = (at + margin + 1).saturating_sub(n / 2).min(text.len().saturating_sub(n));
            if start >= free {
                label.chars().enumerate().for_each(|(i, c)| text[start + i] = c);
                free = start + n + 1;
            }
        }
        let _ = writeln!(out, "{:>margin$}└{}", "", axis.iter().collect::<String>());
        let _ = writeln!(out, "{}", text.iter().collect::<String>().trim_end());
        if !x_label.is_empty() {
            let pad = margin + 1 + columns.saturating_sub(x_label.chars().count()) / 2;
            let _ = writeln!(out, "{}{x_label}", " ".repeat(pad));
        }
        let legend: Vec<String> = axes
            .series
            .iter()
            .zip(axes.colors())
            .filter_map(|(s, c)| {
                let sign = match s.kind {
                    Kind::Points(_) => "•",
                    Kind::Vertical(_) => "╎",
                    _ => "━",
                };
                s.label.as_ref().map(|l| format!("{} {l}", self.paint(sign, c)))
            })
            .collect();
        if !legend.is_empty() {
            let _ = writeln!(out, "{:>margin$} {}", "", legend.join("   "));
        }
    }

    fn curves(&self, axes: &Axes, columns: usize, rows: usize, x: Span, y: Span) -> Canvas {
        let mut canvas = Canvas::new(columns, rows);
        let (w, h) = canvas.dots();
        let at = |px: f64, py: f64| (x.place(px) * (w - 1.0), (1.0 - y.place(py)) * (h - 1.0));
        for (series, color) in axes.series.iter().zip(axes.colors()) {
            match &series.kind {
                Kind::Line(points) => {
                    for pair in points.windows(2) {
                        let (a, b) = (at(pair[0].0, pair[0].1), at(pair[1].0, pair[1].1));
                        canvas.line(a, b, color, false);
                    }
                }
                Kind::Points(points) => points.iter().for_each(|p| {
                    let (px, py) = at(p.0, p.1);
                    canvas.dot(px, py, color);
                }),
                Kind::Bars(bars) => {
                    let floor = at(0.0, 0.0).1;
                    let floor = if floor.is_nan() { h - 1.0 } else { floor.clamp(0.0, h - 1.0) };
                    for &(a, b, value) in bars {
                        let ((x0, top), (x1, _)) = (at(a, value), at(b, value));
                        // What is outside is not walked: it could be very far outside.
                        if !(x0 < w && x1 >= 0.0) {
                            continue;
                        }
                        let top = top.clamp(0.0, h - 1.0);
                        for px in x0.max(0.0) as usize..=x1.min(w - 1.0) as usize {
                            canvas.line((px as f64, floor), (px as f64, top), color, false);
                        }
                    }
                }
                Kind::Band(points) => {
                    // Only its edges: a filled band would hide the line in it.
                    for pair in points.windows(2) {
                        let (a, b) = (pair[0], pair[1]);
                        canvas.line(at(a.0, a.1), at(b.0, b.1), color, true);
                        canvas.line(at(a.0, a.2), at(b.0, b.2), color, true);
                    }
                }
                Kind::Vertical(v) => {
                    let px = x.place(*v) * (w - 1.0);
                    canvas.line((px, 0.0), (px, h - 1.0), color, true);
                }
                Kind::Horizontal(v) => {
                    let py = (1.0 - y.place(*v)) * (h - 1.0);
                    canvas.line((0.0, py), (w - 1.0, py), color, true);
                }
                Kind::HeatMap { .. } => {}
            }
        }
        canvas
    }

    fn braille(&self, canvas: &Canvas) -> Vec<String> {
        let letter = |bits: u8| char::from_u32(0x2800 + u32::from(bits)).unwrap_or(' ');
        canvas
            .cells
            .chunks(canvas.columns)
            .map(|row| {
                let mut line = String::new();
                for &(bits, color) in row {
                    match color {
                        Some(c) if self.color => line += &self.paint(&letter(bits).to_string(), c),
                        Some(_) => line.push(letter(bits)),
                        None => line.push(' '),
                    }
                }
                if self.color { line } else { line.trim_end().to_owned() }
            })
            .collect()
    }

    /// A picture stretched over letters: two pixels above each other in one.
    fn blocks(&self, picture: &Picture, columns: usize, rows: usize) -> Vec<String> {
        let small = picture.resize(columns, rows * 2);
        (0..rows)
            .map(|row| {
                let mut line = String::new();
                for x in 0..columns {
                    let (top, low) = (small.pixel(x, 2 * row), small.pixel(x, 2 * row + 1));
                    if self.color {
                        let _ = write!(
                            line,
                            "\x1b[38;2;{};{};{};48;2;{};{};{}m▀",
                            top[0], top[1], top[2], low[0], low[1], low[2]
                        );
                    } else {
                        let light = |p: [u8; 3]| {
                            0.299 * f32::from(p[0])
                                + 0.587 * f32::from(p[1])
                                + 0.114 * f32::from(p[2])
                        };
                        let level = (light(top) + light(low)) / 2.0 / 256.0 * 5.0;
                        line.push([' ', '░', '▒', '▓', '█'][level as usize]);
                    }
                }
                if self.color {
                    line += "\x1b[0m";
                }
                line
            })
            .collect()
    }

    fn bars(&self, out: &mut String, chart: &BarChart) {
        if !chart.title.is_empty() {
            self.centered(out, &chart.title);
        }
        let count = |s: &str| s.chars().count();
        let names = chart.bars.iter().map(|b| count(&b.0)).max().unwrap_or(0).min(self.width / 2);
        let values: Vec<String> = chart.bars.iter().map(|b| short(b.1)).collect();
        let tail = values.iter().map(|v| count(v)).max().unwrap_or(0);
        let room = self.width.saturating_sub(names + tail + 4).max(5);
        let (low, high) = chart.range();
        let longest = high.max(-low);
        for ((name, value, color), text) in chart.bars.iter().zip(&values) {
            let name: String = name.chars().take(names).collect();
            let share = if value.is_finite() { (value.abs() / longest).min(1.0) } else { 0.0 };
            let eighths = (share * room as f64 * 8.0).round() as usize;
            let mut bar = "█".repeat(eighths / 8);
            if !eighths.is_multiple_of(8) {
                bar.push(['▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8 - 1]);
            }
            let pad = " ".repeat(names - count(&name));
            let _ = writeln!(out, "{pad}{name} │{} {text}", self.paint(&bar, *color));
        }
    }

    fn matrix(&self, out: &mut String, matrix: &Matrix) {
        if !matrix.title.is_empty() {
            self.centered(out, &matrix.title);
        }
        let count = |s: &str| s.chars().count();
        let names = matrix.rows.iter().map(|r| count(r)).max().unwrap_or(0).min(self.width / 3);
        let n = matrix.columns.len();
        let texts = matrix.cells.iter().map(|c| count(&c.0)).max().unwrap_or(0);
        let heads = matrix.columns.iter().map(|c| count(c)).max().unwrap_or(0);
        let room = self.width.saturating_sub(names + 1) / n.max(1);
        // As wide as the column names if there is room, else as the numbers; columns that do not fit are left out, and it is said.
        let cell = (texts.max(heads) + 1).min(room.max(texts + 1));
        let shown = (self.width.saturating_sub(names + 1) / cell.max(1)).min(n);
        let cut = |s: &str, n: usize| s.chars().take(n).collect::<String>();
        if !matrix.column_label.is_empty() {
            let text = format!("{} across, {} down", matrix.column_label, matrix.row_label);
            let _ = writeln!(out, "{:>names$} {text}", "");
        }
        let _ = write!(out, "{:>names$} ", "");
        for column in &matrix.columns[..shown] {
            let _ = write!(out, "{:>cell$}", cut(column, cell - 1));
        }
        out.push('\n');
        for (i, row) in matrix.rows.iter().enumerate() {
            let _ = write!(out, "{:>names$} ", cut(row, names));
            for (text, shade) in &matrix.cells[i * n..i * n + shown] {
                let text = format!("{:>cell$}", cut(text, cell));
                match matrix.color(*shade) {
                    Some(c) if self.color => {
                        let ink = c.readable();
                        let _ = write!(
                            out,
                            "\x1b[38;2;{};{};{};48;2;{};{};{}m{text}\x1b[0m",
                            ink.r, ink.g, ink.b, c.r, c.g, c.b
                        );
                    }
                    _ => *out += &text,
                }
            }
            out.push('\n');
        }
        if shown < n {
            let _ = writeln!(out, "({} more columns do not fit here)", n - shown);
        }
    }

    fn images(&self, out: &mut String, grid: &ImageGrid) {
        if !grid.title.is_empty() {
            self.centered(out, &grid.title);
        }
        if grid.cells.is_empty() {
            return;
        }
        // A letter is about twice as high as wide, so a picture of n letters across is square with n / 2 lines.
        let columns = grid.per_row().min((self.width / 14).max(1));
        let side = (self.width / columns).saturating_sub(2).clamp(4, 36);
        for row in grid.cells.chunks(columns) {
            let lines = row.iter().map(|c| c.lines.len()).max().unwrap_or(0);
            for l in 0..lines {
                for cell in row {
                    let text = cell.lines.get(l).map_or("", String::as_str);
                    let text: String = text.chars().take(side).collect();
                    let pad = side + 2 - text.chars().count();
                    *out += &self.title(&text, cell.color);
                    *out += &" ".repeat(pad);
                }
                *out = out.trim_end().to_owned() + "\n";
            }
            let pictures: Vec<(usize, Vec<String>)> = row
                .iter()
                .map(|cell| {
                    let (w, h) = (cell.picture.width() as f64, cell.picture.height() as f64);
                    let by = side as f64 / w.max(h);
                    let across = ((w * by).round() as usize).max(1);
                    let down = ((h * by / 2.0).round() as usize).max(1);
                    (across, self.blocks(&cell.picture, across, down))
                })
                .collect();
            let high = pictures.iter().map(|p| p.1.len()).max().unwrap_or(0);
            for l in 0..high {
                for (across, lines) in &pictures {
                    match lines.get(l) {
                        Some(line) => {
                            *out += line;
                            *out += &" ".repeat(side + 2 - across);
                        }
                        None => *out += &" ".repeat(side + 2),
                    }
                }
                *out = out.trim_end().to_owned() + "\n";
            }
        }
    }

    /// A title in its colour, unless that is the colour of all text, which a terminal knows better.
    fn title(&self, text: &str, color: Color) -> String {
        if color == Color::INK { text.to_owned() } else { self.paint(text, color) }
    }
}
