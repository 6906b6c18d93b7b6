//! `hardpan lr-find`: which learning rate?

use crate::args::LrFind;
use crate::output::Output;
use crate::setup::{Ready, Settings, prepare};
use anyhow::{Result, bail};
use serde_json::json;

pub fn run(args: &LrFind, out: &Output) -> Result<()> {
    let mut settings = Settings::new(&args.setup)?;
    let Ready { mut learn, .. } = prepare(&mut settings)?;
    let found = learn.lr_find_with(1e-7, 10.0, args.steps)?;
    let Some(suggestion) = found.suggestion() else {
        bail!("{} steps are too few to suggest a rate; try --steps 100", args.steps);
    };
    out.event(&json!({
        "event": "lr_find", "suggestion": suggestion, "valley": found.valley, "steep": found.steep,
        "minimum": found.minimum, "slide": found.slide, "points": found.points,
    }));
    draw(&found.points, out);
    let show = |name: &str, v: Option<f64>, about: &str| {
        if let Some(v) = v {
            out.line(format!("{name:8} {v:8.2e}  {about}"));
        }
    };
    show("valley", found.valley, "in the longest fall of the loss: the suggestion");
    show("steep", found.steep, "where it falls fastest");
    show("minimum", found.minimum, "a tenth of the rate with the lowest loss");
    show("slide", found.slide, "before the slope changes");
    out.line(format!("\nTry: hardpan train {} --lr {suggestion:.1e}", settings.data));
    Ok(())
}

/// The curve, the rate from left to right on a logarithmic scale.
fn draw(points: &[(f64, f64)], out: &Output) {
    const HEIGHT: usize = 12;
    let width = points.len().min(72);
    if width < 2 {
        return;
    }
    let column = |i: usize| points[i * (points.len() - 1) / (width - 1)];
    let low = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let level = |loss: f64| {
        let share = (loss - low) / (high - low).max(1e-12);
        ((1.0 - share) * (HEIGHT - 1) as f64).round() as usize
    };
    for row in 0..HEIGHT {
        let line: String =
            (0..width).map(|i| if level(column(i).1) == row { '•' } else { ' ' }).collect();
        let label = match row {
            0 => format!("{high:8.3}"),
            r if r == HEIGHT - 1 => format!("{low:8.3}"),
            _ => " ".repeat(8),
        };
        out.line(format!("{label} │{line}"));
    }
    out.line(format!("         └{}", "─".repeat(width)));
    let (first, last) = (points[0].0, points[points.len() - 1].0);
    out.line(format!("          {first:<8.1e}{:>1$.1e}\n", last, width.saturating_sub(8)));
}
