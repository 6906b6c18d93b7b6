//! `hardpan info`: what this binary is and what it runs on, or what a model file says about itself.

use crate::memory;
use crate::output::Output;
use hardpan::datasets::find_weights;
use hardpan::engine::dev::cpu::{isa, pool};
use hardpan::learn::file::ModelFile;
use hardpan::vision::{models, weights};
use serde_json::json;
use std::path::Path;

pub fn run(args: &crate::args::Info, out: &Output) -> anyhow::Result<()> {
    match &args.model {
        Some(path) => model(path, out),
        None if args.networks => networks(out),
        None => machine(out),
    }
}

/// The architectures that `--arch` takes.
fn networks(out: &Output) -> anyhow::Result<()> {
    for (name, params) in models::list() {
        let published = find_weights(name);
        let here = weights::find(name).ok();
        out.event(&json!({
            "name": name, "params": params, "weights": here.as_ref().map(|p| p.display().to_string()),
            "published": published.map(|w| json!({"url": w.url, "top1": w.top1, "licence": w.licence})),
        }));
        let told = match (here, published) {
            (Some(path), _) => format!("weights {}", path.display()),
            (None, Some(w)) => format!(
                "published weights: {:.1} % of ImageNet right, {:.0} MB; {}",
                w.top1, w.megabytes, w.licence
            ),
            (None, None) => String::new(),
        };
        let millions = params as f64 / 1e6;
        out.line(format!("{name:24} {millions:7.2} M  {told}").trim_end());
    }
    out.line(
        "\nParameters are for 1,000 classes. Weights are used with --pretrained NAME, and downloaded the first time.",
    );
    Ok(())
}

/// What a model file says about itself.
fn model(path: &Path, out: &Output) -> anyhow::Result<()> {
    let file = ModelFile::read(path)?;
    let h = &file.header;
    let params: usize = file.weights.iter().map(|(_, t)| t.numel()).sum();
    let tensors: Vec<_> = file
        .weights
        .iter()
        .map(|(name, t)| json!({"name": name, "dtype": t.dtype().name(), "shape": t.shape()}))
        .collect();
    out.event(&json!({
        "model": path.display().to_string(),
        "arch": h.arch, "classes": h.classes, "input": h.input, "provenance": h.provenance,
        "elements": params, "tensors": tensors, "training": file.training.as_ref().map(|t| json!({
            "epoch": t.epoch, "batches": t.batches, "epochs": t.epochs,
        })),
    }));
    let arch =
        h.arch.as_ref().map_or("not said".to_owned(), |a| format!("{} {}", a.name, a.config));
    out.line(format!("model      {}", path.display()));
    out.line(format!("network    {arch}"));
    out.line(format!("weights    {} tensors, {params} numbers", file.weights.len()));
    if !h.classes.is_empty() {
        out.line(format!("classes    {}", h.classes.join(" ")));
    }
    if let Some(i) = &h.input {
        let (mean, std) = (&i.mean, &i.std);
        out.line(format!(
            "input      {} x {} x {}, mean {mean:.4?}, deviation {std:.4?}",
            i.channels, i.height, i.width
        ));
    }
    let p = &h.provenance;
    let mut from = vec![format!("hardpan {}", p.library)];
    from.extend(p.data.iter().map(|d| format!("data {d}")));
    from.extend(p.epochs.iter().map(|e| format!("{e} epochs")));
    from.extend(p.seed.iter().map(|s| format!("seed {s}")));
    out.line(format!("made by    {}", from.join(", ")));
    for (name, value) in &p.metrics {
        out.line(format!("{name:10} {value:.6}"));
    }
    if let Some(t) = &file.training {
        out.line(format!(
            "state      an interrupted training: epoch {} of {}, after batch {}",
            t.epoch + 1,
            t.epochs,
            t.batches
        ));
    }
    Ok(())
}

fn machine(out: &Output) -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let cpu = processor();
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = pool::threads();
    let kernels = isa::isa().name();
    let features = features();
    let memory = memory::total_bytes();
    let data: Vec<&str> = crate::data::NAMED.iter().map(|d| d.name).collect();

    out.event(&json!({
        "version": version,
        "target": target,
        "cpu": {"name": cpu, "cores": cores, "features": features, "kernels": kernels},
        "threads": threads,
        "memory_bytes": memory,
        "devices": ["cpu"],
        "data": data,
    }));
    out.line(format!("hardpan    {version} for {target}"));
    out.line(format!("processor  {}, {cores} cores", cpu.as_deref().unwrap_or("unknown")));
    out.line(format!("kernels    {kernels} (the processor has {})", features.join(" ")));
    out.line(format!("threads    {threads} (change with --threads or HARDPAN_THREADS)"));
    if let Some(bytes) = memory {
        out.line(format!("memory     {:.1} GB", bytes as f64 / 1e9));
    }
    out.line("devices    cpu");
    out.line(format!("data       {}", data.join(", ")));
    Ok(())
}

/// What the maker calls the processor, where Linux says it.
pub fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The instruction sets that kernels could use, of those the processor has.
fn features() -> Vec<&'static str> {
    let mut out = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! have {
            ($($name:tt),*) => {
                $(if std::is_x86_feature_detected!($name) { out.push($name); })*
            };
        }
        have!(
            "avx",
            "avx2",
            "fma",
            "f16c",
            "avx512f",
            "avx512bw",
            "avx512vl",
            "avx512vnni",
            "avx512bf16"
        );
    }
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! have {
            ($($name:tt),*) => {
                $(if std::arch::is_aarch64_feature_detected!($name) { out.push($name); })*
            };
        }
        have!("neon", "fp16", "dotprod", "bf16", "sve");
    }
    if out.is_empty() {
        out.push("none that matter");
    }
    out
}
