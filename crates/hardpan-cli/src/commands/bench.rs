//! `hardpan bench`: how fast this machine does the work of the bench page, alone or beside PyTorch.

use crate::args::{Bench, Cli};
use crate::output::Output;
use anyhow::{Context, Result, bail};
use clap::CommandFactory;
use clap::error::ErrorKind;
use hardpan::engine::dev::cpu::{isa, pool};
use hardpan_bench::{
    Peer, Record, Report, Settings, Workload, merge, run as measure, select, workloads,
};

pub fn run(args: &Bench, out: &Output) -> Result<()> {
    let mut settings = Settings::new(args.secs, pool::threads());
    if let Some(name) = &args.child {
        let Some(mebibytes) = hardpan_bench::child(name, &settings) else {
            bail!("no child process is named {name}");
        };
        println!("{mebibytes}");
        return Ok(());
    }
    if args.list {
        return list(out);
    }
    let chosen = match select(&args.workloads) {
        Ok(chosen) => chosen,
        Err(e) => {
            out.event(&crate::events::Event::Error { message: e.to_string() });
            Cli::command().error(ErrorKind::InvalidValue, e).exit()
        }
    };
    settings.words = args.variant.clone();
    settings.binary = std::env::current_exe().ok();
    let mut peer = match &args.peer_python {
        Some(python) => {
            out.note(format!("starting the peer in {}", python.display()));
            Some(Peer::start(python, args.peer_script.as_deref())?)
        }
        None => None,
    };
    let thread_counts = if args.thread_counts.is_empty() {
        vec![settings.threads]
    } else {
        args.thread_counts.clone()
    };
    let mut report = Report::default();
    let rounds = args.rounds.unwrap_or(if peer.is_some() { 2 } else { 1 });
    settings.secs = args.secs / rounds as f64;
    for threads in &thread_counts {
        pool::set_threads(*threads);
        settings.threads = *threads;
        for (i, workload) in chosen.iter().enumerate() {
            out.note(format!("[{}/{}] {} ({threads} threads)", i + 1, chosen.len(), workload.name));
            for record in both(workload, &settings, rounds, peer.as_mut(), args)? {
                out.event(&record);
                out.line(record.line());
                report.add(record);
            }
        }
    }
    if peer.is_some() {
        out.line(format!(
            "\nratios, worst first (above 1: ahead of the peer)\n{}",
            report.worst_first()
        ));
        if let Some((mean, n)) = report.mean(|p| p.is_training()) {
            out.line(format!("geometric mean of {n} training workloads: {mean:.2}"));
        }
    }
    if let Some(file) = &args.write {
        let facts = facts(args, rounds, &thread_counts, peer.as_ref());
        let page = report.markdown(&facts, &command_line());
        std::fs::write(file, page).with_context(|| format!("cannot write {}", file.display()))?;
        out.note(format!("wrote {}", file.display()));
    }
    Ok(())
}

/// The rounds of both sides in turns, each variant's merged.
fn both(
    workload: &Workload,
    settings: &Settings,
    rounds: usize,
    mut peer: Option<&mut Peer>,
    args: &Bench,
) -> Result<Vec<Record>> {
    let mut all: Vec<Record> = Vec::new();
    for _ in 0..rounds {
        measure(workload, settings, &mut |r| all.push(r));
        if let Some(peer) = &mut peer {
            all.extend(peer.run(
                &workload.name,
                settings.threads,
                settings.secs,
                &settings.words,
                args.peer_compile,
            )?);
        }
    }
    let mut merged: Vec<Record> = Vec::new();
    for r in &all {
        let same =
            |o: &&Record| o.system == r.system && o.variant == r.variant && o.metric == r.metric;
        if !merged.iter().any(|m| same(&m)) {
            let runs: Vec<Record> = all.iter().filter(same).cloned().collect();
            merged.extend(merge(&runs));
        }
    }
    Ok(merged)
}

fn list(out: &Output) -> Result<()> {
    let mut group = "";
    for w in workloads() {
        if w.group != group {
            group = w.group;
            out.line(format!("{group}:"));
        }
        out.line(format!("  {:<34} {}", w.name, w.about));
        out.event(&serde_json::json!({"workload": w.name, "group": w.group, "about": w.about}));
    }
    Ok(())
}

/// The command that this is, for whoever wants to run it again; Python is elsewhere there.
fn command_line() -> String {
    let quoted = |a: String| if a.contains([' ', '*']) { format!("'{a}'") } else { a };
    let mut before = String::new();
    let args = std::env::args().skip(1).map(move |a| {
        let python = std::mem::replace(&mut before, a.clone()) == "--peer-python";
        if python { "PYTHON".to_owned() } else { quoted(a) }
    });
    std::iter::once("hardpan".to_owned()).chain(args).collect::<Vec<_>>().join(" ")
}

fn facts(
    args: &Bench,
    rounds: usize,
    threads: &[usize],
    peer: Option<&Peer>,
) -> Vec<(String, String)> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let processor = super::info::processor().unwrap_or_else(|| "unknown processor".to_owned());
    let counts: Vec<String> = threads.iter().map(|t| t.to_string()).collect();
    let mut facts = vec![
        ("machine".to_owned(), format!("{processor}, {cores} cores, {}", std::env::consts::OS)),
        (
            "Hardpan".to_owned(),
            format!("{}, kernels {}", env!("CARGO_PKG_VERSION"), isa::isa().name()),
        ),
    ];
    facts.extend(peer.map(|p| ("peer".to_owned(), p.versions.clone())));
    facts.push((
        "measured".to_owned(),
        format!(
            "{rounds} rounds in turns, together {} s a variant, up to 9 blocks a round; threads {}; seed 0",
            args.secs,
            counts.join(" and ")
        ),
    ));
    facts
}
