//! `hardpan lr-find`: which learning rate?

use crate::args::LrFind;
use crate::output::Output;
use crate::setup::{Prepared, Settings, prepare};
use anyhow::{Result, bail};
use hardpan::learn::lr_find::LrSearch;
use serde_json::json;
use std::io::IsTerminal;

pub fn run(args: &LrFind, out: &Output) -> Result<()> {
    let mut settings = Settings::new(&args.setup)?;
    let search = LrSearch { steps: args.steps, ..LrSearch::default() };
    let found = match prepare(&mut settings)? {
        Prepared::Classes(mut ready) => ready.learn.lr_find_with(search)?,
        Prepared::Pixels(mut ready) => ready.learn.lr_find_with(search)?,
    };
    let Some(suggestion) = found.suggestion() else {
        bail!("{} steps are too few to suggest a rate; try --steps 100", args.steps);
    };
    out.event(&json!({
        "event": "lr_find", "suggestion": suggestion, "valley": found.valley, "steep": found.steep,
        "minimum": found.minimum, "slide": found.slide, "points": found.points,
    }));
    let figure = found.plot();
    if let Some(file) = &args.plot {
        figure.save(file)?;
        out.note(format!("the curve is in {}", file.display()));
    }
    out.line(match std::io::stdout().is_terminal() {
        true => figure.to_terminal(80),
        false => figure.to_text(80),
    });
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
