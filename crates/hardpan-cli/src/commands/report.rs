//! `hardpan report`: a page that shows what a model can do, what it gets wrong, and why.

use crate::args::Report;
use crate::judge;
use crate::loaded::Loaded;
use crate::output::Output;
use crate::pictures::Part;
use crate::report;
use crate::report::masks::{MasksJudged, page};
use crate::setup::{SAY_WHERE, Settings, segment};
use anyhow::{Context, Result, bail};
use hardpan::learn::file::write_atomic;
use hardpan::vision::predictor::MaskPredictor;
use serde_json::json;
use std::io::Write;

pub fn run(args: &Report, out: &Output) -> Result<()> {
    let predictor = match Loaded::read(&args.model)? {
        Loaded::Classes(predictor) => *predictor,
        Loaded::Masks(predictor) => return masks(args, &predictor, out),
    };
    let data = match &args.data {
        Some(data) => data.clone(),
        None => judge::training_data(&predictor)?,
    };
    std::fs::create_dir_all(&args.out).with_context(|| format!("making {}", args.out.display()))?;
    out.note(format!("showing {data} to the model"));
    let judged = judge::judge(&predictor, &data, args.part, args.bs, false, out)?;
    let model = args.model.display().to_string();
    let page = write(args, &report::page(&predictor, &judged, &model, &data, args.worst)?)?;
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

/// The same for classes of pixels: on the part of the data that was set aside in training.
fn masks(args: &Report, predictor: &MaskPredictor, out: &Output) -> Result<()> {
    if !matches!(args.part, Part::Auto | Part::Valid) {
        bail!(
            "--part: a model that finds masks is shown what was set aside in its training, `valid`"
        );
    }
    let mut settings = Settings::of_masks(predictor)?;
    settings.data = match &args.data {
        Some(data) => data.clone(),
        None => settings.training_data(SAY_WHERE)?,
    };
    let data = settings.data.clone();
    let (pairs, void) = segment::valid_pairs(&mut settings)?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("making {}", args.out.display()))?;
    out.note(format!("showing {data} to the model"));
    let judged = MasksJudged::new(predictor, &pairs, void)?;
    judged.bad.iter().for_each(|bad| out.note(format!("left out: {bad}")));
    let model = args.model.display().to_string();
    let page = write(args, &page(predictor, &judged, &pairs, &model, &data, args.worst, void)?)?;
    let (accuracy, iou) = (judged.seen.pixel_accuracy(), judged.seen.mean_iou());
    out.event(&json!({
        "report": page, "model": model, "data": data, "part": "valid", "items": judged.items(),
        "metrics": {"pixel_accuracy": accuracy, "iou": iou},
    }));
    out.line(format!(
        "{:.2} % of the pixels right, mean IoU {iou:.3}; open {page} in a browser",
        accuracy * 100.0
    ));
    Ok(())
}

/// Writes the page and says where it is.
fn write(args: &Report, html: &str) -> Result<String> {
    let file = args.out.join("index.html");
    write_atomic(&file, |f| f.write_all(html.as_bytes()))?;
    Ok(file.display().to_string())
}
