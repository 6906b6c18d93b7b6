//! `hardpan info`: what this binary is and what it runs on.

use crate::memory;
use crate::output::Output;
use hardpan::engine::dev::cpu::{isa, pool};
use serde_json::json;

pub fn run(out: &Output) -> anyhow::Result<()> {
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
fn processor() -> Option<String> {
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
