//! Pictures of a training, as files.

use anyhow::Result;
use hardpan::learn::learner::History;
use hardpan::plot::{Figure, figures};
use std::path::Path;

/// Writes a figure as SVG and as PNG.
pub fn save(figure: &Figure, dir: &Path, name: &str) -> Result<()> {
    figure.save(dir.join(format!("{name}.svg")))?;
    figure.save(dir.join(format!("{name}.png")))?;
    Ok(())
}

/// Losses, metrics and rates of a training.
pub fn training(history: &History, dir: &Path) -> Result<()> {
    save(&losses(history), dir, "losses")?;
    save(&metrics(history), dir, "metrics")?;
    let rates = [
        ("learning rate".to_owned(), history.lrs.clone()),
        ("momentum".to_owned(), history.moms.clone()),
    ];
    save(&figures::schedules(&rates), dir, "rates")
}

/// The training loss of each batch and the validation loss of each epoch.
pub fn losses(history: &History) -> Figure {
    let steps = history.raw_losses.len().max(1) as f64;
    let epochs = history.epochs.len().max(1) as f64;
    let valid: Vec<(f64, f64)> = history
        .epochs
        .iter()
        .enumerate()
        .filter_map(|(i, e)| Some((steps * (i + 1) as f64 / epochs, e.valid_loss?)))
        .collect();
    figures::losses(&history.raw_losses, &history.losses, &valid)
}

/// Losses and metrics over the epochs, for a training of which no more is known.
pub fn by_epoch(history: &History) -> Figure {
    let of =
        |name: &str| (name.replace('_', " "), history.epochs.iter().map(|e| e.get(name)).collect());
    let mut curves = vec![of("train_loss"), of("valid_loss")];
    if let Some(first) = history.epochs.first() {
        curves.extend(first.metrics.iter().map(|m| of(&m.0)));
    }
    figures::metrics(&curves)
}

/// Each metric over the epochs.
pub fn metrics(history: &History) -> Figure {
    let names: Vec<String> = match history.epochs.first() {
        Some(e) => e.metrics.iter().map(|m| m.0.clone()).collect(),
        None => Vec::new(),
    };
    let curves: Vec<(String, Vec<Option<f64>>)> = names
        .into_iter()
        .map(|n| {
            let values = history.epochs.iter().map(|e| e.get(&n)).collect();
            (n, values)
        })
        .collect();
    figures::metrics(&curves)
}
