//! `hardpan export`: a model for other programs.

use crate::args::Export;
use crate::loaded::Loaded;
use crate::output::Output;
use anyhow::Result;
use hardpan::learn::file::write_atomic;
use hardpan::onnx::{OPSET, Options, to_onnx};
use hardpan::prelude::*;
use serde_json::json;
use std::io::Write;

pub fn run(args: &Export, out: &Output) -> Result<()> {
    let loaded = Loaded::read(&args.model)?;
    let input = loaded.input().image();
    let shape = [input.channels, input.height, input.width];
    let metadata = vec![
        ("classes".to_owned(), serde_json::to_string(loaded.classes())?),
        ("mean".to_owned(), serde_json::to_string(&input.mean)?),
        ("std".to_owned(), serde_json::to_string(&input.std)?),
        ("pipeline".to_owned(), serde_json::to_string(&loaded.input().pipeline)?),
    ];
    let options = Options { metadata, ..Options::default() };
    let bytes = no_grad(|| match &loaded {
        Loaded::Classes(p) => to_onnx(|x| p.model().forward(x), &shape, &options),
        Loaded::Masks(p) => to_onnx(|x| p.model().forward(x), &shape, &options),
    })?;
    write_atomic(&args.out, |f| f.write_all(&bytes))?;
    let file = args.out.display().to_string();
    out.event(&json!({
        "onnx": file, "opset": OPSET, "bytes": bytes.len(), "input": shape, "classes": loaded.classes(),
        "mean": input.mean, "std": input.std,
    }));
    out.line(format!(
        "{file}: opset {OPSET}, input [N, {}, {}, {}], {} bytes",
        shape[0],
        shape[1],
        shape[2],
        bytes.len()
    ));
    Ok(())
}
