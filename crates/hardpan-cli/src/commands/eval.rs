//! `hardpan eval`: how good is a model on labelled data?

use crate::args::Eval;
use crate::judge::{self, Judged};
use crate::output::Output;
use anyhow::Result;
use hardpan::vision::predictor::Predictor;
use serde_json::json;
use std::time::Instant;

pub fn run(args: &Eval, out: &Output) -> Result<()> {
    let predictor = Predictor::load(&args.model)?;
    let start = Instant::now();
    let data = args.data.clone().unwrap_or_else(|| judge::training_data(&predictor));
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
