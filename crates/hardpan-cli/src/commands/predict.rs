//! `hardpan predict`: what is on these pictures?

use crate::args::{Invert, Predict};
use crate::events::{Event, Prediction};
use crate::output::Output;
use crate::pictures;
use anyhow::{Result, bail};
use hardpan::learn::data::grey::Grey;
use hardpan::prelude::*;
use hardpan::vision::image::Image;
use hardpan::vision::predictor::{Fit, Predictor};

/// Pictures read and predicted together.
const BATCH: usize = 32;

pub fn run(args: &Predict, out: &Output) -> Result<()> {
    let predictor = Predictor::load(&args.model)?;
    let inputs = pictures::expand(&args.inputs)?;
    let mut failed = 0;
    for chunk in inputs.chunks(BATCH) {
        let (mut names, mut images) = (Vec::new(), Vec::new());
        for (path, read) in chunk.iter().zip(pictures::read_all(chunk)) {
            match read {
                Ok(image) => {
                    names.push(path.display().to_string());
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
        let answers = match args.invert {
            _ if predictor.input().fit != Fit::Digit => predict(&predictor, &images, args.tta),
            Invert::Auto => predict(&predictor, &images, args.tta),
            Invert::Yes | Invert::No => {
                images.iter().map(|i| digit(&predictor, i, args.invert == Invert::Yes)).collect()
            }
        };
        for (input, p) in names.into_iter().zip(answers) {
            let prediction = named(&predictor, &p, input, args.top);
            let others: Vec<String> = prediction.top[1..]
                .iter()
                .map(|(c, p)| format!("{c} {:.1} %", p * 100.0))
                .collect();
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
    if failed > 0 {
        bail!("{failed} of {} pictures could not be read", inputs.len());
    }
    Ok(())
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
    let input = &predictor.input().image;
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
