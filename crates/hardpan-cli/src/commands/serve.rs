//! `hardpan serve`: a model behind HTTP.

use super::predict::named;
use crate::args::Serve;
use crate::events::Prediction;
use crate::interrupt;
use crate::loaded::Loaded;
use crate::output::Output;
use crate::report::heat;
use anyhow::{Context, Result, bail};
use hardpan::vision::image::{DecodeOptions, Image};
use hardpan::vision::predictor::Predictor;
use hardpan_serve::{About, InputShape, Model, Options, Server};
use serde_json::json;
use std::time::Duration;

pub fn run(args: &Serve, out: &Output) -> Result<()> {
    let Loaded::Classes(predictor) = Loaded::read(&args.model)? else {
        bail!(
            "{}: it finds masks; only models that tell pictures apart are served so far. Use `hardpan predict {} PICTURE --masks DIR`",
            args.model.display(),
            args.model.display()
        );
    };
    let predictor = *predictor;
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
    out.line(format!(
        "try it in a browser, or: curl --data-binary @picture.jpg 'http://{address}/predict?top=3'"
    ));
    let stop = server.stopper();
    interrupt::flag(move || stop.stop())?;
    server.run(Served { predictor, name })?;
    Ok(())
}

/// A predictor as the server wants it.
struct Served {
    predictor: Predictor,
    name: String,
}

/// Larger pictures than this are refused: they would take gigabytes.
const MOST_PIXELS: u64 = 100_000_000;

impl Model for Served {
    type Input = Image;
    type Output = serde_json::Value;

    fn about(&self) -> About {
        let input = &self.predictor.input().pipeline;
        About {
            name: self.name.clone(),
            task: "image".into(),
            arch: self.predictor.model().name().to_owned(),
            classes: self.predictor.classes().to_vec(),
            input: Some(InputShape {
                channels: input.channels,
                height: input.height,
                width: input.width,
            }),
            explains: heat::can(&self.predictor),
            draws: self.predictor.input().digit,
        }
    }

    fn read(&self, bytes: &[u8]) -> Result<Image, String> {
        let options = self.predictor.input().pipeline.decode_options();
        let options = DecodeOptions { max_pixels: MOST_PIXELS, ..options };
        options.decode(bytes).map_err(|e| e.to_string())
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
