//! `hardpan eval`: how good is a model on labelled data?

use super::predict::load;
use crate::args::Eval;
use crate::data;
use crate::output::Output;
use anyhow::{Result, bail};
use hardpan::learn::data::digits::normalize;
use hardpan::prelude::*;
use serde_json::json;
use std::time::Instant;

pub fn run(args: &Eval, out: &Output) -> Result<()> {
    let loaded = load(&args.model)?;
    let test = data::open(&args.data)?.test;
    let input = &loaded.input;
    if (test.rows, test.cols) != (input.height, input.width) {
        bail!(
            "{} has images of {}x{}, the model takes {}x{}",
            args.data,
            test.rows,
            test.cols,
            input.height,
            input.width
        );
    }
    let classes = loaded.classes.len();
    let (mean, std) = (input.mean[0], input.std[0]);
    let loader = DataLoader::new(test.dataset(classes)?, args.bs)?
        .map(move |x, y| (normalize(&x, mean, std), y));
    let start = Instant::now();
    let mut learn =
        Learner::new(DataLoaders::train_only(loader.clone()), loaded.model, cross_entropy)
            .metric(Mean::new("accuracy", accuracy))
            .silent();
    let v = learn.validate_on(&loader)?;
    let seconds = start.elapsed().as_secs_f64();
    let (loss, accuracy) =
        (v.valid_loss.unwrap_or(f64::NAN), v.get("accuracy").unwrap_or(f64::NAN));
    let model = args.model.display().to_string();
    out.event(&json!({
        "model": model, "data": args.data, "items": test.len(), "valid_loss": loss,
        "metrics": {"accuracy": accuracy}, "seconds": seconds,
    }));
    let wrong = ((1.0 - accuracy) * test.len() as f64).round();
    out.line(format!(
        "{model} on {}: {:.2} % right ({wrong} of {} wrong), loss {loss:.6}, {seconds:.1} s",
        args.data,
        accuracy * 100.0,
        test.len()
    ));
    Ok(())
}
