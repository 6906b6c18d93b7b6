//! How good are published weights? Reads pictures whose names begin with a class (`n01440764_tench.jpg`, or a folder of that name),
//! and counts how often the model's first guess, or one of its first five, is right.
//!
//! ```text
//! cargo run --release -p hardpan-vision --example evaluate_weights -- ARCH WEIGHTS PICTURES CLASSES [LOGITS.npy]
//! ```
//!
//! CLASSES is a text file with the name of class `i` first on line `i`. Pictures are resized to 224x224 (middle part) and normalized as
//! the architecture's weights want. The last argument is where the scores are to be written, in the order of the sorted pictures.

use hardpan_engine::{Tensor, no_grad};
use hardpan_nn::{Forward, Module};
use hardpan_vision::data::{ImagePipeline, Stats};
use hardpan_vision::image::Image;
use hardpan_vision::learner::normalization_of;
use hardpan_vision::models::{ModelOptions, create};
use hardpan_vision::predictor::InputSpec;
use hardpan_vision::weights;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [arch, file, pictures, classes, rest @ ..] = args.as_slice() else {
        return Err("usage: evaluate_weights ARCH WEIGHTS PICTURES CLASSES [LOGITS.npy]".into());
    };
    let classes = std::fs::read_to_string(classes)?;
    let classes: Vec<&str> = classes.lines().filter_map(|l| l.split_whitespace().next()).collect();
    let model = create(arch, &ModelOptions { classes: classes.len(), ..Default::default() })?;
    println!("{}", weights::load_file(&model, weights::find(file)?)?);
    model.eval();

    let mut paths = Vec::new();
    find(Path::new(pictures), &mut paths)?;
    paths.sort();
    let (mean, std) = normalization_of(arch);
    let f32s = |v: [f64; 3]| v.iter().map(|&v| v as f32).collect();
    let stats = Stats { mean: f32s(mean), std: f32s(std) };
    let input = InputSpec::new(ImagePipeline { stats, ..ImagePipeline::new(224, 224, 3) });
    let (mut known, mut first, mut five, mut all) = (0, 0, 0, Vec::new());
    let start = Instant::now();
    for chunk in paths.chunks(20) {
        let images = chunk.iter().map(Image::open).collect::<Result<Vec<_>, _>>()?;
        let scores = no_grad(|| model.forward(&input.tensor(&images)));
        for (path, row) in chunk.iter().zip(scores.to_vec::<f32>().chunks(classes.len())) {
            let Some(class) = class_of(path, &classes) else { continue };
            let better = row.iter().filter(|s| **s > row[class]).count();
            known += 1;
            first += usize::from(better == 0);
            five += usize::from(better < 5);
        }
        all.push(scores);
    }
    let percent = |n: usize| 100.0 * n as f64 / f64::from(known.max(1));
    println!(
        "{known} pictures: {:.2} % right at first, {:.2} % within five; {:.1} s",
        percent(first),
        percent(five),
        start.elapsed().as_secs_f64()
    );
    if let [path] = rest {
        Tensor::cat(&all, 0).save_npy(path)?;
    }
    Ok(())
}

fn find(folder: &Path, out: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, out)?;
        } else {
            out.push(path);
        }
    }
    Ok(())
}

/// The class whose name begins the name of the file, or is that of its folder.
fn class_of(path: &Path, classes: &[&str]) -> Option<usize> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?.file_name()?.to_str()?;
    let begins = |c: &&&str| name.split(['_', '.']).next() == Some(**c) || folder == **c;
    classes.iter().enumerate().find(|(_, c)| begins(c)).map(|(i, _)| i)
}
