//! What a whole process costs: time from its start to the first training step, and the most memory it ever has.
//!
//! Each is measured on a process of its own: the binary called again with `bench --child NAME`, which runs [`child`].

use crate::Workload;
use crate::cnn::course_cnn;
use crate::contraction::random;
use crate::gpt::{Gpt, Shape};
use crate::measure::{Bench, Scale, Settings, Step};
use crate::mlp::{labels, mlp};
use crate::residual::{resnet50, xresnet18};
use hardpan_engine::functional::cross_entropy;
use hardpan_engine::{DType, Tensor};
use hardpan_nn::{Forward, Module, Param, Sequential};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const FIRST_STEP: &str = "first_step_cnn_b64";
const MEMORY: [&str; 7] = [
    "rss_mlp_50_b64",
    "rss_mlp_512_b512",
    "rss_cnn_b64",
    "rss_cnn_b512",
    "rss_xresnet18_128px_b32",
    "rss_resnet50_128px_b32",
    "rss_gpt_6x384_b16_t256",
];

pub(crate) fn add(all: &mut Vec<Workload>) {
    let about = "from the start of the process to the end of the first training step";
    all.push(Workload::new("process", FIRST_STEP, about, |b| measure(b, FIRST_STEP)));
    for name in MEMORY {
        let about = "most resident memory of a process that takes five training steps";
        all.push(Workload::new("process", name, about, move |b| measure(b, name)));
    }
}

fn measure(b: &mut Bench<'_>, name: &'static str) {
    let variant = "f32+adam";
    if !b.wants(variant) {
        return;
    }
    if b.settings.scale == Scale::Tiny {
        // In this very process: that it runs is all there is to see.
        child(name, b.settings);
        return;
    }
    let Some(binary) = b.settings.binary.clone() else { return };
    let runs = if name == FIRST_STEP { 5 } else { 1 };
    let results: Vec<(f64, f64)> =
        (0..runs).filter_map(|_| spawn(&binary, name, b.settings.threads)).collect();
    let seconds: Vec<f64> = results.iter().map(|r| r.0).collect();
    let mebibytes: Vec<f64> = results.iter().map(|r| r.1).collect();
    if name == FIRST_STEP {
        b.record(variant, "time", &seconds, "s", |_| {});
    } else {
        b.record(variant, "peak_rss", &mebibytes, "MiB", |_| {});
    }
}

/// Seconds until the child says that it is done, and the memory it says it has had.
fn spawn(binary: &Path, name: &str, threads: usize) -> Option<(f64, f64)> {
    let start = Instant::now();
    let mut process = Command::new(binary)
        .args(["bench", "--child", name, "--threads", &threads.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut line = String::new();
    BufReader::new(process.stdout.take()?).read_line(&mut line).ok()?;
    let seconds = start.elapsed().as_secs_f64();
    process.wait().ok()?;
    Some((seconds, line.trim().parse().ok()?))
}

/// What a child process does: one training step, or five for memory. Gives the most resident memory of the process in MiB (0
/// where the system does not say), or nothing for a name it does not know.
pub fn child(name: &str, settings: &Settings) -> Option<f64> {
    let mut nothing = |_| {};
    let b = Bench::new(name, settings, &mut nothing);
    let images = |count: usize, px: usize| {
        let (n, px) = (b.size(count, 2), b.size(px, 32));
        random(&[n, 3, px, px], DType::F32)
    };
    let digits = |count: usize, shape: &[usize]| {
        let mut full = vec![b.size(count, 2)];
        full.extend(shape);
        random(&full, DType::F32)
    };
    let steps = if name == FIRST_STEP { 1 } else { 5 };
    match name {
        FIRST_STEP => classify(course_cnn(), digits(64, &[1, 28, 28]), steps),
        "rss_mlp_50_b64" => classify(mlp(&[784, 50, 10]), digits(64, &[784]), steps),
        "rss_mlp_512_b512" => classify(mlp(&[784, 512, 512, 10]), digits(512, &[784]), steps),
        "rss_cnn_b64" => classify(course_cnn(), digits(64, &[1, 28, 28]), steps),
        "rss_cnn_b512" => classify(course_cnn(), digits(512, &[1, 28, 28]), steps),
        "rss_xresnet18_128px_b32" => classify(xresnet18(10), images(32, 128), steps),
        "rss_resnet50_128px_b32" => classify(resnet50(10), images(32, 128), steps),
        "rss_gpt_6x384_b16_t256" => {
            let shape = Shape::of(&b);
            let model = Gpt::new(shape, 0.0);
            let bs = b.size(16, 2);
            let x = Tensor::randint(0, 65, [bs, shape.context]).eval().clone();
            let y = Tensor::zeros_dtype([bs * shape.context], DType::I64);
            train(model.parameters(), steps, || {
                let scores = model.forward(&x);
                cross_entropy(&scores.reshape([y.numel(), shape.vocab]), &y)
            });
        }
        _ => return None,
    }
    Some(peak_mebibytes().unwrap_or(0.0))
}

fn classify(model: Sequential, x: Tensor, steps: usize) {
    let y = labels(x.size(0), 10);
    train(model.parameters(), steps, || cross_entropy(&model.forward(&x), &y));
}

fn train(parameters: Vec<Param>, steps: usize, loss: impl Fn() -> Tensor) {
    let mut step = Step::new("f32+adam", parameters, loss);
    (0..steps).for_each(|_| step.run());
}

/// Linux keeps the high-water mark in a line like `VmHWM:    5120 kB`.
fn peak_mebibytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes / 1024.0)
}
