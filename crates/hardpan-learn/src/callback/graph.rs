//! [`ShowGraph`].

use super::{Callback, Flow};
use crate::learner::{Context, Task};
use hardpan_plot::{Axes, Figure, Series, palette};
use std::io::{self, IsTerminal, Write};

/// Draws the losses in the terminal after each epoch: the smoothed training loss of each batch and the validation loss of each epoch.
/// Each graph takes the place of the one before. Counterpart: fastai's `ShowGraphCallback`; order 65.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_learn::learner::Learner;
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// # #[derive(Clone, Default)]
/// # struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
/// # impl std::io::Write for Shared {
/// #     fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
/// #         self.0.lock().unwrap().write(bytes)
/// #     }
/// #     fn flush(&mut self) -> std::io::Result<()> {
/// #         Ok(())
/// #     }
/// # }
/// use hardpan_learn::callback::ShowGraph;
/// let out = Shared::default(); // a writer that others can look into; `ShowGraph::new()` draws in the terminal
/// let mut learn = Learner::with_loss(loaders, Linear::new(8, 1), MSELoss::new())
///     .callback(ShowGraph::to(Box::new(out.clone()), 60))
///     .silent();
/// learn.fit(2, 0.1)?;
/// let drawn = String::from_utf8(out.0.lock().unwrap().clone())?;
/// assert!(drawn.contains("train") && drawn.contains("valid"), "{drawn}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
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
            let figure = graph(&ctx.history.losses, &self.valid, total);
            let text = figure.map_or(String::new(), |f| match self.colours {
                true => f.to_terminal(self.columns),
                false => f.to_text(self.columns),
            });
            self.drawn = text.lines().count();
            self.write(&text);
        }
        Flow::Continue
    }
}

/// The graph: training losses of all steps so far, validation losses with their steps, `total` steps from left to right. `None` if there
/// is nothing to see.
fn graph(train: &[f64], valid: &[(usize, f64)], total: usize) -> Option<Figure> {
    let points: Vec<(f64, f64)> =
        train.iter().enumerate().map(|(i, loss)| ((i + 1) as f64, *loss)).collect();
    let circles: Vec<(f64, f64)> = valid.iter().map(|(step, loss)| (*step as f64, *loss)).collect();
    let all = points.iter().chain(&circles).map(|p| p.1).filter(|v| v.is_finite());
    let (low, high) = all.fold((0f64, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    if !high.is_finite() {
        return None;
    }
    let high = if high > low { high } else { low + 1.0 };
    let axes = Axes::new("")
        .x_range(0.0, total.max(train.len()).max(1) as f64)
        .y_range(low, high)
        .with(Series::line(points).color(palette(0)).label("train loss"));
    Some(match circles.is_empty() {
        true => axes.into(),
        // Joined, as single dots are hard to see.
        false => axes.with(Series::line(circles).color(palette(1)).label("valid loss")).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_loss_falls_from_left_to_right() {
        let train: Vec<f64> = (0..100).map(|i| 2.0 - i as f64 * 0.02).collect();
        let text = graph(&train, &[(50, 1.5), (100, 0.5)], 100).unwrap().to_text(60);
        let rows: Vec<&str> = text.lines().filter(|l| l.contains(['│', '┤'])).collect();
        assert!(rows.len() >= 8, "{text}");
        let start = |line: &str| {
            let inside = line.split(['│', '┤']).nth(1).unwrap();
            inside.chars().position(|c| c != ' ').unwrap()
        };
        assert!(start(rows[0]) < 3 && start(rows[rows.len() - 1]) > 40, "{text}");
        assert!(text.contains("train loss") && text.contains("valid loss"), "{text}");
        assert!(text.lines().all(|l| l.chars().count() <= 60), "{text}");
    }

    #[test]
    fn half_a_fit_takes_half_the_width() {
        let text = graph(&[1.0; 50], &[], 100).unwrap().to_text(66);
        let first = text.lines().find(|l| l.contains(['│', '┤'])).unwrap();
        let drawn = first.split(['│', '┤']).nth(1).unwrap().chars().count();
        assert!((27..=33).contains(&drawn), "{text}");
        assert!(!text.contains("valid loss"), "{text}");
    }

    #[test]
    fn nothing_to_see() {
        assert!(graph(&[], &[], 10).is_none());
        assert!(graph(&[f64::NAN], &[], 10).is_none());
        assert!(graph(&[0.5], &[], 10).is_some());
    }
}
