//! Runs the measured experiments of fastai's course again and writes them down in `EXPERIMENTS.md`:
//!
//! ```text
//! cargo run --release -p experiments                      # all of them
//! cargo run --release -p experiments -- init batch_norm   # these only; the rest of the file stays
//! ```
//!
//! Each experiment is a function that gives a [`Section`]: a table of numbers and the conditions they should meet. What is random
//! depends on seeds that are written beside the numbers.

mod fashion;
mod mnist;
mod overhead;
mod page;
mod study;
mod transfer;

use anyhow::{Context, Result, bail};
use clap::Parser;
use page::Section;
use std::path::PathBuf;

/// Runs the course's experiments and writes EXPERIMENTS.md.
#[derive(Parser)]
struct Options {
    /// Which to run; all if none is named.
    names: Vec<String>,
    /// The file to write.
    #[arg(long, default_value = "EXPERIMENTS.md")]
    out: PathBuf,
    /// Folder of Fashion-MNIST's four idx files, packed or not.
    #[arg(long, default_value = "/usr/share/datasets/fashion-mnist")]
    fashion: PathBuf,
    /// A folder of photos, a folder for each class, for `transfer`, which is left out without.
    #[arg(long)]
    pictures: Option<PathBuf>,
    /// EfficientNet-Lite0's weights for `transfer`: a .pth or .safetensors file.
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Runs of each training, with seeds 1, 2, ...
    #[arg(long, default_value_t = 3)]
    runs: u64,
}

type Experiment = fn(&Settings) -> Result<Section>;

/// What experiments are told.
struct Settings {
    fashion: PathBuf,
    pictures: Option<PathBuf>,
    weights: Option<PathBuf>,
    runs: u64,
}

/// In the order of the page.
const ALL: [(&str, Experiment); 13] = [
    ("init", study::init),
    ("sqrt5", study::sqrt5),
    ("momentum", study::momentum),
    ("general_relu", mnist::general_relu),
    ("lsuv", mnist::lsuv),
    ("batch_norm", mnist::batch_norm),
    ("label_smoothing_mixup", mnist::label_smoothing_mixup),
    ("loss_scale", mnist::loss_scale),
    ("mnist", mnist::eight_epochs),
    ("fashion", fashion::five_epochs),
    ("fashion_long", fashion::long_run),
    ("transfer", transfer::transfer),
    ("overhead", overhead::overhead),
];

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(unknown) = options.names.iter().find(|n| ALL.iter().all(|e| e.0 != **n)) {
        let known: Vec<&str> = ALL.iter().map(|e| e.0).collect();
        bail!("no experiment `{unknown}`; there are: {}", known.join(", "));
    }
    let settings = Settings {
        fashion: options.fashion,
        pictures: options.pictures,
        weights: options.weights,
        runs: options.runs.max(1),
    };
    for (name, run) in ALL {
        if !options.names.is_empty() && !options.names.iter().any(|n| n == name) {
            continue;
        }
        if options.names.is_empty() && name == "transfer" && settings.pictures.is_none() {
            eprintln!("{name}: left out, for want of --pictures and --weights");
            continue;
        }
        eprintln!("{name} ...");
        let start = std::time::Instant::now();
        let mut section = run(&settings).with_context(|| format!("experiment `{name}`"))?;
        section.seconds = start.elapsed().as_secs_f64();
        println!("{}", section.text());
        // After each: what is done is not lost if a later one fails.
        page::write(&options.out, name, &section, &ALL.map(|e| e.0))?;
    }
    Ok(())
}
