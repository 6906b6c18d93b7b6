//! `hardpan eval`: how good is a model on labelled data?

use crate::args::Eval;
use crate::judge::{self, Judged};
use crate::loaded::Loaded;
use crate::output::Output;
use crate::setup::{SAY_WHERE, Settings, segment};
use anyhow::Result;
use hardpan::vision::predictor::MaskPredictor;
use serde_json::json;
use std::time::Instant;

pub fn run(args: &Eval, out: &Output) -> Result<()> {
    let predictor = match Loaded::read(&args.model)? {
        Loaded::Classes(predictor) => predictor,
        Loaded::Masks(predictor) => return masks(args, *predictor, out),
    };
    let start = Instant::now();
    let data = match &args.data {
        Some(data) => data.clone(),
        None => judge::training_data(&predictor)?,
    };
    let judged = judge::judge(&predictor, &data, args.part, args.bs, args.tta, out)?;
    let seconds = start.elapsed().as_secs_f64();
    let Judged { targets, bad, part, .. } = &judged;
    let (loss, accuracy) = (judged.loss(), judged.accuracy());
    let model = args.model.display().to_string();
    out.event(&json!({
        "model": model, "data": data, "part": part, "items": targets.len(), "valid_loss": loss,
        "metrics": {"accuracy": accuracy}, "unreadable": bad.len(), "seconds": seconds,
    }));
    let wrong = targets.len() - judged.right();
    out.line(format!(
        "{model} on {data} ({part}): {:.2} % right ({wrong} of {} wrong), loss {loss:.6}, {seconds:.1} s",
        accuracy * 100.0,
        targets.len()
    ));
    Ok(())
}

/// The same for classes of pixels: on the part of the data that was set aside in training.
fn masks(args: &Eval, predictor: MaskPredictor, out: &Output) -> Result<()> {
    let start = Instant::now();
    let mut settings = Settings::of_masks(&predictor)?;
    settings.data = match &args.data {
        Some(data) => data.clone(),
        None => settings.training_data(SAY_WHERE)?,
    };
    let data = settings.data.clone();
    let mut learn = segment::judge(&mut settings, predictor.into_model())?;
    let v = learn.validate()?;
    let items = learn.context().loaders.valid.as_ref().map_or(0, |l| l.items());
    let seconds = start.elapsed().as_secs_f64();
    let model = args.model.display().to_string();
    let metrics: serde_json::Map<_, _> =
        v.metrics.iter().map(|(n, m)| (n.clone(), json!(m))).collect();
    out.event(&json!({
        "model": model, "data": data, "part": "valid", "items": items, "valid_loss": v.valid_loss,
        "metrics": metrics, "seconds": seconds,
    }));
    let of = |name: &str| v.get(name).unwrap_or(f64::NAN);
    out.line(format!(
        "{model} on {data} (valid): {:.2} % of the pixels right, mean IoU {:.3}, loss {:.6}, {seconds:.1} s",
        of("pixel_accuracy") * 100.0,
        of("iou"),
        of("valid_loss")
    ));
    Ok(())
}
