//! `hardpan predict`: what is on these pictures?

use crate::args::{Invert, Predict};
use crate::events::{Event, Prediction};
use crate::output::Output;
use anyhow::{Result, bail};
use hardpan::learn::arch::build;
use hardpan::learn::data::grey::Grey;
use hardpan::learn::file::{ImageInput, ModelFile};
use hardpan::prelude::*;
use std::io::{Cursor, Read};
use std::path::Path;

/// A model with what is needed to use it.
pub struct Loaded {
    pub model: Sequential,
    pub input: ImageInput,
    pub classes: Vec<String>,
}

/// Builds the model of a file. What the file lacks or says wrong is an error that names it.
pub fn load(path: &Path) -> Result<Loaded> {
    let file = ModelFile::read(path)?;
    let name = path.display();
    let Some(arch) = &file.header.arch else {
        bail!("{name}: it does not say which network its weights are for");
    };
    let Some(input) = file.header.input.clone() else {
        bail!("{name}: it does not say what pictures its network takes");
    };
    if input.channels != 1 || input.mean.len() != 1 || input.std.len() != 1 {
        bail!(
            "{name}: its network takes {} channels; this command reads grey pictures",
            input.channels
        );
    }
    let model = build(arch).map_err(|e| anyhow::anyhow!("{name}: {e}"))?;
    file.load_into(&model)?;
    model.eval();
    Ok(Loaded { model, input, classes: file.header.classes })
}

pub fn run(args: &Predict, out: &Output) -> Result<()> {
    let loaded = load(&args.model)?;
    let mut failed = 0;
    for path in &args.inputs {
        let name = path.display().to_string();
        let picture = match read(path) {
            Ok(picture) => picture,
            Err(e) => {
                // The others can still be read.
                failed += 1;
                out.event(&Event::Error { message: format!("{e:#}") });
                out.note(format!("error: {e:#}"));
                continue;
            }
        };
        let p = probabilities(&loaded, &fit(picture, &loaded.input, args.invert));
        let mut top: Vec<(String, f64)> = p
            .iter()
            .enumerate()
            .map(|(i, &p)| (loaded.classes.get(i).cloned().unwrap_or_else(|| i.to_string()), p))
            .collect();
        top.sort_by(|a, b| b.1.total_cmp(&a.1));
        top.truncate(args.top);
        let Some((class, probability)) = top.first().cloned() else {
            bail!("{}: its network has no classes", args.model.display());
        };
        let others: Vec<String> =
            top[1..].iter().map(|(c, p)| format!("{c} {:.1} %", p * 100.0)).collect();
        let others =
            if others.is_empty() { String::new() } else { format!("   ({})", others.join(", ")) };
        out.line(format!("{name}: {class}  {:.1} %{others}", probability * 100.0));
        out.event(&Prediction { input: name, class, probability, top });
    }
    if failed > 0 {
        bail!("{failed} of {} pictures could not be read", args.inputs.len());
    }
    Ok(())
}

fn read(path: &Path) -> Result<Grey> {
    if path != Path::new("-") {
        return Ok(Grey::read_png(path)?);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(Grey::decode_png(Cursor::new(bytes), "standard input")?)
}

/// The picture as the network knows pictures.
fn fit(picture: Grey, input: &ImageInput, invert: Invert) -> Grey {
    let dark = match invert {
        Invert::Auto => picture.is_dark_on_light(),
        Invert::Yes => true,
        Invert::No => false,
    };
    let picture = if dark { picture.invert() } else { picture };
    if (input.width, input.height) == (28, 28) {
        return picture.bright_to_digit();
    }
    if picture.width * picture.height == 0 {
        return Grey::new(input.width, input.height, vec![0.0; input.width * input.height]);
    }
    picture.resize(input.width, input.height)
}

fn probabilities(loaded: &Loaded, picture: &Grey) -> Vec<f64> {
    let input = &loaded.input;
    let x = Tensor::from_slice(&picture.pixels, [1, 1, input.height, input.width]);
    let x = (x - input.mean[0]) / input.std[0];
    let logits = no_grad(|| loaded.model.forward(&x)).to_vec::<f64>();
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = logits.iter().map(|l| (l - highest).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|e| e / sum).collect()
}
