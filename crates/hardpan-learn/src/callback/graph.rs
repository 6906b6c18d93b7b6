//! [`ShowGraph`].

use super::{Callback, Flow};
use crate::learner::{Context, Task};
use std::io::{self, IsTerminal, Write};

/// Lines of the plot itself.
const HEIGHT: usize = 10;

/// Draws the losses in the terminal after each epoch: the smoothed training loss of each batch and the validation loss of each epoch.
/// Each graph takes the place of the one before. Counterpart: fastai's `ShowGraphCallback`; order 65.
///
/// ```text
/// 2.31 ⡇                                          train
///      ⣇                                          valid o
///      ⠸⡄
///       ⠙⢦⡀          o
///         ⠉⠙⠒⠒⠤⠤⠤⢄⣀⣀⣀⣀⣀⣀⣀⣀⡀  o
/// 0.00                       ⠈⠉⠉
///      0                                     400 steps
/// ```
pub struct ShowGraph {
    out: Option<Box<dyn Write + Send>>,
    columns: usize,
    colours: bool,
    drawn: usize,
    valid: Vec<(usize, f64)>,
}

impl Default for ShowGraph {
    fn default() -> ShowGraph {
        ShowGraph::new()
    }
}

impl ShowGraph {
    /// On standard error if that is a terminal, otherwise nowhere.
    pub fn new() -> ShowGraph {
        let dumb = std::env::var("TERM").is_ok_and(|t| t == "dumb");
        let seen = io::stderr().is_terminal() && !dumb;
        ShowGraph {
            out: seen.then(|| Box::new(io::stderr()) as Box<dyn Write + Send>),
            columns: terminal_size::terminal_size().map_or(80, |(w, _)| w.0 as usize).min(100),
            colours: std::env::var_os("NO_COLOR").is_none(),
            drawn: 0,
            valid: Vec::new(),
        }
    }

    /// On this writer, that many characters wide, without colours.
    pub fn to(out: Box<dyn Write + Send>, columns: usize) -> ShowGraph {
        ShowGraph { out: Some(out), columns, colours: false, drawn: 0, valid: Vec::new() }
    }

    /// A terminal that has gone away is no reason to stop a training.
    fn write(&mut self, text: &str) {
        if let Some(out) = &mut self.out {
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }

    fn erase(&mut self) {
        let lines = std::mem::take(&mut self.drawn);
        if lines > 0 {
            self.write(&format!("\r\x1b[{lines}A\x1b[J"));
        }
    }
}

impl<T: Task> Callback<T> for ShowGraph {
    fn order(&self) -> i32 {
        65
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn before_fit(&mut self, ctx: &mut Context<T>) -> Flow {
        self.drawn = 0;
        let records = ctx.history.epochs.iter();
        self.valid = records.filter_map(|r| Some((r.steps, r.valid_loss?))).collect();
        Flow::Continue
    }

    fn after_train(&mut self, _: &mut Context<T>) -> Flow {
        // Before the row of this epoch is written below it.
        self.erase();
        Flow::Continue
    }

    fn after_epoch(&mut self, ctx: &mut Context<T>) -> Flow {
        let record = ctx.history.epochs.last().filter(|r| r.epoch == ctx.epoch);
        if let Some((steps, loss)) = record.and_then(|r| Some((r.steps, r.valid_loss?))) {
            self.valid.push((steps, loss));
        }
        if self.out.is_some() {
            let total = ctx.loaders.train.len() * ctx.epochs;
            let text = graph(&ctx.history.losses, &self.valid, total, self.columns, self.colours);
            self.drawn = text.lines().count();
            self.write(&text);
        }
        Flow::Continue
    }
}

/// The graph as text: training losses of all steps so far, validation losses with their steps, `total` steps from left to right.
fn graph(
    train: &[f64],
    valid: &[(usize, f64)],
    total: usize,
    columns: usize,
    colours: bool,
) -> String {
    let all = || train.iter().copied().chain(valid.iter().map(|v| v.1)).filter(|v| v.is_finite());
    let highest = all().fold(f64::NEG_INFINITY, f64::max);
    let lowest = all().fold(f64::INFINITY, f64::min).min(0.0);
    if !highest.is_finite() {
        return String::new();
    }
    let span = if highest > lowest { highest - lowest } else { 1.0 };
    let labels = [format!("{highest:.3}"), format!("{lowest:.3}")];
    let margin = labels.iter().map(String::len).max().unwrap_or(0) + 1;
    let width = columns.saturating_sub(margin).clamp(8, 400);
    let total = total.max(train.len()).max(1);
    // A braille cell has 2 by 4 dots.
    let mut dots = vec![0u8; width * HEIGHT];
    let mut circles = vec![false; width * HEIGHT];
    let place = |step: usize, loss: f64, across: usize, down: usize| {
        let x = (step * across / total).min(across - 1);
        let y = ((highest - loss) / span * (down - 1) as f64).round() as usize;
        (x, y.min(down - 1))
    };
    let mut before: Option<(usize, usize)> = None;
    for (step, loss) in train.iter().enumerate().filter(|(_, l)| l.is_finite()) {
        let (x, y) = place(step, *loss, width * 2, HEIGHT * 4);
        // Joined to the point before, so that steep parts have no gaps.
        let from = before.map_or(y, |(_, y)| y);
        for y in from.min(y)..=from.max(y) {
            const BITS: [[u8; 2]; 4] = [[1, 8], [2, 16], [4, 32], [64, 128]];
            dots[y / 4 * width + x / 2] |= BITS[y % 4][x % 2];
        }
        before = Some((x, y));
    }
    for (step, loss) in valid.iter().filter(|v| v.1.is_finite()) {
        let (x, y) = place(step.saturating_sub(1), *loss, width, HEIGHT);
        circles[y * width + x] = true;
    }
    let paint = |text: &str, code: &str| match colours {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut out = String::new();
    for row in 0..HEIGHT {
        let label = match row {
            0 => labels[0].as_str(),
            r if r + 1 == HEIGHT => labels[1].as_str(),
            _ => "",
        };
        out += &format!("{label:>w$} ", w = margin - 1);
        let cells = row * width..(row + 1) * width;
        let blank = |i: usize| dots[i] == 0 && !circles[i];
        let end = cells.clone().rev().find(|&i| !blank(i)).map_or(cells.start, |i| i + 1);
        for i in cells.start..end {
            out += &match (circles[i], dots[i]) {
                (true, _) => paint("o", "33"),
                (false, 0) => " ".to_owned(),
                (false, bits) => {
                    let c = char::from_u32(0x2800 + u32::from(bits)).unwrap_or(' ');
                    paint(&c.to_string(), "36")
                }
            };
        }
        out.push('\n');
    }
    let legend = if valid.is_empty() { "train loss" } else { "train loss, o valid loss" };
    let right = format!("{total} steps");
    let space = width.saturating_sub(legend.len() + right.len());
    out + &format!("{:margin$}{legend}{:space$}{right}\n", "", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_loss_falls_from_left_to_right() {
        let train: Vec<f64> = (0..100).map(|i| 2.0 - i as f64 * 0.02).collect();
        let text = graph(&train, &[(50, 1.5), (100, 0.5)], 100, 60, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), HEIGHT + 1);
        assert!(lines[0].starts_with("2.000 ⡀") || lines[0].starts_with("2.000 ⠉"), "{text}");
        assert!(lines[HEIGHT - 1].starts_with("0.000 "), "{text}");
        let start = |line: &str| line.chars().skip(6).position(|c| c != ' ').unwrap();
        assert!(start(lines[HEIGHT - 1]) > 40 && start(lines[0]) == 0, "{text}");
        let circles = lines[..HEIGHT].iter().map(|l| l.matches('o').count()).sum::<usize>();
        assert_eq!(circles, 2, "{text}");
        assert!(
            lines[HEIGHT].contains("train loss, o valid loss") && text.ends_with("100 steps\n")
        );
        assert!(lines.iter().all(|l| l.chars().count() <= 60), "{text}");
    }

    #[test]
    fn half_a_fit_takes_half_the_width() {
        let train = vec![1.0; 50];
        let text = graph(&train, &[], 100, 66, false);
        let first = text.lines().next().unwrap();
        assert_eq!(first.chars().count(), 6 + 30, "{text}");
    }

    #[test]
    fn nothing_to_see() {
        assert_eq!(graph(&[], &[], 10, 60, false), "");
        assert_eq!(graph(&[f64::NAN], &[], 10, 60, false), "");
        assert!(graph(&[0.5], &[], 10, 3, true).lines().count() == HEIGHT + 1);
    }
}
