//! `hardpan predict`: what is on these pictures?

use crate::args::{Invert, Predict};
use crate::events::{Event, Prediction};
use crate::loaded::Loaded;
use crate::output::Output;
use crate::pictures;
use anyhow::{Context, Result, bail};
use hardpan::plot::palette;
use hardpan::prelude::*;
use hardpan::vision::digits::grey::Grey;
use hardpan::vision::image::{Image, Mask};
use hardpan::vision::predictor::{MaskPrediction, MaskPredictor, Predictor};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Pictures read and predicted together.
const BATCH: usize = 32;

pub fn run(args: &Predict, out: &Output) -> Result<()> {
    let loaded = Loaded::read(&args.model)?;
    let inputs = pictures::expand(&args.inputs)?;
    if let Some(dir) = &args.masks {
        if matches!(loaded, Loaded::Classes(_)) {
            bail!("--masks: {} tells pictures apart, not pixels", args.model.display());
        }
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let mut failed = 0;
    for chunk in inputs.chunks(BATCH) {
        let (mut paths, mut images) = (Vec::new(), Vec::new());
        for (path, read) in chunk.iter().zip(pictures::read_all(chunk)) {
            match read {
                Ok(image) => {
                    paths.push(path);
                    images.push(image);
                }
                Err(e) => {
                    // The others can still be read.
                    failed += 1;
                    out.event(&Event::Error { message: e.to_string() });
                    out.note(format!("error: {e}"));
                }
            }
        }
        match &loaded {
            Loaded::Classes(predictor) => classes(args, predictor, &paths, &images, out),
            Loaded::Masks(predictor) => {
                masks(predictor, &paths, &images, args.masks.as_deref(), out)?;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} pictures could not be read", inputs.len());
    }
    Ok(())
}

/// What is on each picture.
fn classes(
    args: &Predict,
    predictor: &Predictor,
    paths: &[&PathBuf],
    images: &[Image],
    out: &Output,
) {
    let answers = match args.invert {
        _ if !predictor.input().digit => predict(predictor, images, args.tta),
        Invert::Auto => predict(predictor, images, args.tta),
        Invert::Yes | Invert::No => {
            images.iter().map(|i| digit(predictor, i, args.invert == Invert::Yes)).collect()
        }
    };
    for (path, p) in paths.iter().zip(answers) {
        let prediction = named(predictor, &p, path.display().to_string(), args.top);
        let others: Vec<String> =
            prediction.top[1..].iter().map(|(c, p)| format!("{c} {:.1} %", p * 100.0)).collect();
        let others = match others.is_empty() {
            true => String::new(),
            false => format!("   ({})", others.join(", ")),
        };
        out.line(format!(
            "{}: {}  {:.1} %{others}",
            prediction.input,
            prediction.class,
            prediction.probability * 100.0
        ));
        out.event(&prediction);
    }
}

/// What share of each picture is what, and the masks as files.
fn masks(
    predictor: &MaskPredictor,
    paths: &[&PathBuf],
    images: &[Image],
    dir: Option<&Path>,
    out: &Output,
) -> Result<()> {
    for ((path, image), p) in paths.iter().zip(images).zip(predictor.predict(images)) {
        let shares = shares(predictor, &p);
        let mut file = None;
        if let Some(dir) = dir {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let mask = dir.join(format!("{stem}.png"));
            p.mask.to_image().save_png(&mask)?;
            overlay(image, &p.mask).save_png(dir.join(format!("{stem}.overlay.png")))?;
            file = Some(mask.display().to_string());
        }
        let text: Vec<String> =
            shares.iter().take(5).map(|(c, s)| format!("{c} {:.1} %", s * 100.0)).collect();
        out.line(format!("{}: {}", path.display(), text.join(", ")));
        out.event(&json!({"input": path.display().to_string(), "shares": shares, "mask": file}));
    }
    Ok(())
}

/// The classes that are in a mask, with their shares of it, largest first.
pub fn shares(predictor: &MaskPredictor, p: &MaskPrediction) -> Vec<(String, f64)> {
    let mut shares: Vec<(String, f64)> =
        p.shares.iter().enumerate().map(|(c, &s)| (predictor.label(c), s)).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares.retain(|s| s.1 > 0.0);
    shares
}

/// The picture with each class in a colour of its own.
pub fn overlay(image: &Image, mask: &Mask) -> Image {
    let mut out = image.clone().with_channels(3);
    for (pixel, &class) in out.pixels_mut().chunks_exact_mut(3).zip(mask.pixels()) {
        let c = palette(usize::from(class));
        for (p, colour) in pixel.iter_mut().zip([c.r, c.g, c.b]) {
            *p = ((u16::from(*p) + u16::from(colour)) / 2) as u8;
        }
    }
    out
}

type Answer = hardpan::vision::predictor::Prediction;

fn predict(predictor: &Predictor, images: &[Image], tta: bool) -> Vec<Answer> {
    if tta { predictor.tta(images) } else { predictor.predict(images) }
}

/// An answer with names, as the command line and the server give it.
pub fn named(predictor: &Predictor, p: &Answer, input: String, top: usize) -> Prediction {
    let top = p.top(top).into_iter().map(|(c, p)| (predictor.label(c), p)).collect();
    Prediction { input, class: p.label.clone(), probability: p.probability, top }
}

/// A digit of which the user says whether it is dark on light.
fn digit(predictor: &Predictor, image: &Image, dark: bool) -> Answer {
    let input = predictor.input().image();
    let grey = image.clone().with_channels(1);
    let pixels = grey.pixels().iter().map(|&p| f32::from(p) / 255.0).collect();
    let grey = Grey::new(grey.width(), grey.height(), pixels);
    let grey = if dark { grey.invert() } else { grey };
    let grey = match (input.width, input.height) {
        (28, 28) => grey.bright_to_digit(),
        (w, h) => grey.resize(w, h),
    };
    let x = Tensor::from_slice(&grey.pixels, [1, 1, input.height, input.width]);
    predictor.predict_tensor(&((x - input.mean[0]) / input.std[0])).remove(0)
}
