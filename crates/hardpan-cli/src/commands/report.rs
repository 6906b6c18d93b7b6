//! `hardpan report`: a page that shows what a model can do, what it gets wrong, and why.

use crate::args::Report;
use crate::judge;
use crate::output::Output;
use crate::report;
use anyhow::{Context, Result};
use hardpan::learn::file::write_atomic;
use hardpan::vision::predictor::Predictor;
use serde_json::json;
use std::io::Write;

pub fn run(args: &Report, out: &Output) -> Result<()> {
    let predictor = Predictor::load(&args.model)?;
    let data = args.data.clone().unwrap_or_else(|| judge::training_data(&predictor));
    std::fs::create_dir_all(&args.out).with_context(|| format!("making {}", args.out.display()))?;
    out.note(format!("showing {data} to the model"));
    let judged = judge::judge(&predictor, &data, args.part, args.bs, false, out)?;
    let model = args.model.display().to_string();
    let html = report::page(&predictor, &judged, &model, &data, args.worst)?;
    let file = args.out.join("index.html");
    write_atomic(&file, |f| f.write_all(html.as_bytes()))
        .with_context(|| format!("writing {}", file.display()))?;
    let page = file.display().to_string();
    let wrong = judged.targets.len() - judged.right();
    out.event(&json!({
        "report": page, "model": model, "data": data, "part": judged.part, "items": judged.targets.len(),
        "metrics": {"accuracy": judged.accuracy()}, "valid_loss": judged.loss(), "wrong": wrong,
    }));
    out.line(format!(
        "{:.2} % right, {wrong} of {} wrong; open {page} in a browser",
        judged.accuracy() * 100.0,
        judged.targets.len()
    ));
    Ok(())
}
