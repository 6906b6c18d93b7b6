//! Writes a model as an ONNX file: one that was trained here, or an architecture with published weights.
//!
//! ```text
//! cargo run --release -p hardpan-vision --example export_onnx -- MODEL.hardpan OUT.onnx
//! cargo run --release -p hardpan-vision --example export_onnx -- ARCH WEIGHTS OUT.onnx [SIZE]
//! ```
//!
//! Of a model that was trained here the file takes pictures as they are, `[N, C, H, W]` from 0 to 1, and gives probabilities; with
//! published weights it takes normalized pictures and gives scores.

use hardpan_engine::{Tensor, functional as f};
use hardpan_nn::{Forward, Module};
use hardpan_onnx::Options;
use hardpan_vision::models::{ModelOptions, create};
use hardpan_vision::predictor::Predictor;
use hardpan_vision::weights;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [model, out] => {
            let p = Predictor::load(model)?;
            let input = p.input().image();
            let row = |v: &[f64]| {
                let v: Vec<f32> = v.iter().map(|x| *x as f32).collect();
                Tensor::from_slice(&v, [1, v.len(), 1, 1])
            };
            let (mean, std) = (row(&input.mean), row(&input.std));
            let metadata = vec![("classes".to_owned(), p.classes().join(","))];
            let options = Options { metadata, ..Options::default() };
            let shape = [input.channels, input.height, input.width];
            let run = |x: &Tensor| f::softmax(&p.model().forward(&((x - &mean) / &std)), -1);
            hardpan_onnx::write(out, run, &shape, &options)?;
        }
        [arch, file, out] | [arch, file, out, _] => {
            let size = args.get(3).map_or(Ok(224), |s| s.parse())?;
            let state = weights::read(weights::find(file)?)?;
            let mut o = ModelOptions { image_size: size, ..Default::default() };
            // The last weight of a classifier has a row for each class.
            let names = create(arch, &o)?.named_parameters();
            let last = names.iter().rfind(|(_, p)| p.shape().len() == 2);
            if let Some(weight) = last.and_then(|(name, _)| state.get(name)) {
                o.classes = weight.size(0);
            }
            let model = create(arch, &o)?;
            println!("{}", weights::load_into(&model, &state));
            model.eval();
            let run = |x: &Tensor| model.forward(x);
            hardpan_onnx::write(out, run, &[3, size, size], &Options::default())?;
        }
        _ => {
            return Err(
                "usage: export_onnx MODEL.hardpan OUT.onnx | ARCH WEIGHTS OUT.onnx [SIZE]".into()
            );
        }
    }
    Ok(())
}
