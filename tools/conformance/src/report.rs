//! Counting outcomes and printing them.

use crate::case::CaseFile;
use serde_json::json;
use std::cell::RefCell;

/// What became of one case.
#[derive(Debug)]
pub enum Outcome {
    Passed,
    /// With expected and actual, or the message of a panic.
    Failed(String),
    /// The library has no function of that name (or not with these arguments).
    Unsupported,
}

/// Counts, for one name and in all.
#[derive(Default)]
pub struct Report {
    json: bool,
    passed: usize,
    failed: usize,
    unsupported: usize,
    name_passed: usize,
    name_total: usize,
    name_unsupported: usize,
    first_failure: Option<(String, String)>,
}

impl Report {
    pub fn new(json: bool) -> Report {
        Report { json, ..Report::default() }
    }

    pub fn begin(&mut self, _file: &CaseFile) {
        (self.name_passed, self.name_total, self.name_unsupported) = (0, 0, 0);
        self.first_failure = None;
    }

    pub fn add(&mut self, file: &CaseFile, id: &str, outcome: Outcome) {
        self.name_total += 1;
        let (word, detail) = match outcome {
            Outcome::Passed => {
                self.passed += 1;
                self.name_passed += 1;
                ("passed", None)
            }
            Outcome::Unsupported => {
                self.unsupported += 1;
                self.name_unsupported += 1;
                ("unsupported", None)
            }
            Outcome::Failed(detail) => {
                self.failed += 1;
                if self.first_failure.is_none() {
                    self.first_failure = Some((id.to_string(), detail.clone()));
                }
                ("failed", Some(detail))
            }
        };
        if self.json {
            let mut line = json!({
                "op": file.op, "kind": file.kind, "tier": file.tier, "id": id, "outcome": word,
            });
            if let Some(d) = detail {
                line["detail"] = d.into();
            }
            println!("{line}");
        }
    }

    pub fn end(&mut self, file: &CaseFile) {
        if self.json || self.name_total == 0 {
            return;
        }
        let mut line = format!(
            "{:10} {:6} {:44} {}/{}",
            file.kind, file.tier, file.op, self.name_passed, self.name_total
        );
        if self.name_unsupported > 0 {
            line += &format!("  ({} unsupported)", self.name_unsupported);
        }
        println!("{line}");
        if let Some((id, detail)) = &self.first_failure {
            println!("    {id}: {}", detail.replace('\n', "\n    "));
        }
    }

    /// Prints the totals; returns how many failed.
    pub fn finish(&self) -> usize {
        let (p, f, u) = (self.passed, self.failed, self.unsupported);
        println!("{{\"passed\":{p},\"failed\":{f},\"unsupported\":{u}}}");
        f
    }
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics of cases are remembered instead of printed.
pub fn catch_panics_silently() {
    std::panic::set_hook(Box::new(|info| {
        let text = if let Some(s) = info.payload().downcast_ref::<&str>() {
            s.to_string()
        } else if let Some(s) = info.payload().downcast_ref::<String>() {
            s.clone()
        } else {
            "a panic without a message".into()
        };
        let place = info.location().map(|l| format!(" (at {l})")).unwrap_or_default();
        LAST_PANIC.with(|p| *p.borrow_mut() = text + &place);
    }));
}

/// The message of the last panic of this thread.
pub fn take_panic() -> String {
    LAST_PANIC.with(|p| std::mem::take(&mut *p.borrow_mut()))
}
