//! Runs recorded PyTorch cases (JSON plus safetensors) against Hardpan and reports what differs.
//!
//! `conformance DIR... [--kind K] [--tier T] [--only NAME] [--device cpu|reference] [--views] [--json]`

mod arg;
mod calls;
mod case;
mod compare;
mod kinds;
mod options;
mod report;

use case::CaseFile;
use hardpan_engine::dev::reference::ReferenceDevice;
use hardpan_engine::dev::register_device;
use hardpan_engine::{DeviceId, with_device};
use report::{Outcome, Report};
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(Some(o)) => o,
        Ok(None) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("{message}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    let files = match case::list(&options.paths) {
        Ok(files) => files,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let device = if options.device == "reference" {
        register_device(Box::new(ReferenceDevice::new()))
    } else {
        DeviceId::CPU
    };
    report::catch_panics_silently();
    let mut report = Report::new(options.json);
    for path in files {
        let file = match CaseFile::load(&path) {
            Ok(Some(file)) => file,
            Ok(None) => continue,
            Err(message) => {
                eprintln!("{}: {message}", path.display());
                return ExitCode::FAILURE;
            }
        };
        if !options.wants(&file) {
            continue;
        }
        report.begin(&file);
        for case in &file.cases {
            if options.case.as_ref().is_some_and(|want| *want != case["id"]) {
                continue;
            }
            for (variant, outcome) in with_device(device, || kinds::run(&file, case, options.views))
            {
                let id = case["id"].as_str().unwrap_or("?");
                let id =
                    if variant.is_empty() { id.to_string() } else { format!("{id}+{variant}") };
                report.add(&file, &id, outcome);
            }
        }
        report.end(&file);
    }
    let failed = report.finish();
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs `f`; a panic becomes a failure with its message and place.
fn guarded(f: impl FnOnce() -> Outcome) -> Outcome {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Failed(format!("panic: {}", report::take_panic())),
    }
}
