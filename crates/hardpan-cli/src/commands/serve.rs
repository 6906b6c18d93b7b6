//! `hardpan serve`: a model behind HTTP.

use super::predict::{named, shares};
use crate::args::Serve;
use crate::events::Prediction;
use crate::interrupt;
use crate::loaded::Loaded;
use crate::output::Output;
use crate::report::heat;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hardpan::plot::palette;
use hardpan::vision::image::{DecodeOptions, Image};
use hardpan::vision::predictor::{InputSpec, MaskPredictor, Predictor};
use hardpan_serve::{About, InputShape, Model, Options, Server};
use serde::Serialize;
use serde_json::json;
use std::time::Duration;

pub fn run(args: &Serve, out: &Output) -> Result<()> {
    let loaded = Loaded::read(&args.model)?;
    let options = Options {
        max_body: args.max_mb << 20,
        timeout: Duration::from_secs_f64(args.timeout),
        batch: args.batch,
        ..Options::default()
    };
    let server = Server::bind(&*args.addr, options).with_context(|| {
        format!("listening on {}: is it taken, or not this machine's?", args.addr)
    })?;
    let name = args.model.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let address = server.address();
    out.event(&json!({"event": "listening", "address": address.to_string(), "model": name}));
    out.line(format!("{name} listens on http://{address} (Ctrl-C ends it)"));
    let example = match &loaded {
        Loaded::Classes(_) => format!("'http://{address}/predict?top=3'"),
        Loaded::Masks(_) => format!("-H 'accept: image/png' http://{address}/predict -o mask.png"),
    };
    out.line(format!("try it in a browser, or: curl --data-binary @picture.jpg {example}"));
    let stop = server.stopper();
    interrupt::flag(move || stop.stop())?;
    match loaded {
        Loaded::Classes(predictor) => server.run(Classes { predictor: *predictor, name })?,
        Loaded::Masks(predictor) => server.run(Masks { predictor: *predictor, name })?,
    }
    Ok(())
}

/// Larger pictures than this are refused: they would take gigabytes.
const MOST_PIXELS: u64 = 100_000_000;

/// A picture as the model takes it, in its own size.
fn read(input: &InputSpec, bytes: &[u8]) -> Result<Image, String> {
    let options = DecodeOptions { max_pixels: MOST_PIXELS, ..input.pipeline.decode_options() };
    options.decode(bytes).map_err(|e| e.to_string())
}

fn shape(input: &InputSpec) -> InputShape {
    let p = &input.pipeline;
    InputShape { channels: p.channels, height: p.height, width: p.width }
}

/// A model that tells pictures apart, as the server wants it.
struct Classes {
    predictor: Predictor,
    name: String,
}

impl Model for Classes {
    type Input = Image;
    type Output = serde_json::Value;

    fn about(&self) -> About {
        About {
            name: self.name.clone(),
            task: "image".into(),
            arch: self.predictor.model().name().to_owned(),
            classes: self.predictor.classes().to_vec(),
            input: Some(shape(self.predictor.input())),
            explains: heat::can(&self.predictor),
            draws: self.predictor.input().digit,
            ..About::default()
        }
    }

    fn read(&self, bytes: &[u8]) -> Result<Image, String> {
        read(self.predictor.input(), bytes)
    }

    fn predict(&self, images: &[Image], top: usize) -> Vec<serde_json::Value> {
        let answers = self.predictor.predict(images);
        answers
            .iter()
            .map(|a| {
                let Prediction { class, probability, top, .. } =
                    named(&self.predictor, a, String::new(), top);
                json!({"class": class, "probability": probability, "top": top})
            })
            .collect()
    }

    fn explain(&self, image: &Image) -> Option<Vec<u8>> {
        heat::png(&self.predictor, image, None)
    }
}

/// A model that tells pixels apart.
struct Masks {
    predictor: MaskPredictor,
    name: String,
}

/// What is answered about one picture by [`Masks`].
#[derive(Serialize)]
struct MaskAnswer {
    width: usize,
    height: usize,
    shares: Vec<(String, f64)>,
    /// The file that `hardpan predict --masks` writes, as a `data:` URL.
    mask: String,
    #[serde(skip)]
    png: Vec<u8>,
}

impl Model for Masks {
    type Input = Image;
    type Output = MaskAnswer;

    fn about(&self) -> About {
        let classes = self.predictor.model().outputs();
        let colour = |c: usize| {
            let c = palette(c);
            format!("#{:02x}{:02x}{:02x}", c.r, c.g, c.b)
        };
        About {
            name: self.name.clone(),
            task: "segment".into(),
            arch: self.predictor.model().arch().name,
            classes: (0..classes).map(|c| self.predictor.label(c)).collect(),
            colours: (0..classes).map(colour).collect(),
            input: Some(shape(self.predictor.input())),
            ..About::default()
        }
    }

    fn read(&self, bytes: &[u8]) -> Result<Image, String> {
        read(self.predictor.input(), bytes)
    }

    /// All classes that are in a picture, however many of the likeliest are wanted.
    fn predict(&self, images: &[Image], _top: usize) -> Vec<MaskAnswer> {
        let answers = self.predictor.predict(images);
        answers
            .iter()
            .map(|p| {
                let png = p.mask.to_image().encode_png();
                MaskAnswer {
                    width: p.mask.width(),
                    height: p.mask.height(),
                    shares: shares(&self.predictor, p),
                    mask: format!("data:image/png;base64,{}", STANDARD.encode(&png)),
                    png,
                }
            })
            .collect()
    }

    fn picture(&self, answer: &MaskAnswer) -> Option<Vec<u8>> {
        Some(answer.png.clone())
    }
}
