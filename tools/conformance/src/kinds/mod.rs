//! What a case of each kind means.

mod modules;
mod op;
mod optimizers;
mod schedulers;
mod trajectories;
mod views;

use crate::case::CaseFile;
use crate::guarded;
use crate::report::Outcome;
use serde_json::Value;

/// Runs one case; several outcomes (with the name of the variant) when it is replayed on non-contiguous inputs.
pub fn run(file: &CaseFile, case: &Value, views: bool) -> Vec<(&'static str, Outcome)> {
    let run: fn(&CaseFile, &Value) -> Outcome = match file.kind.as_str() {
        "op" => |file, case| op::run(file, case, None),
        "module" => modules::run,
        "optimizer" => optimizers::run,
        "scheduler" => schedulers::run,
        "trajectory" => trajectories::run,
        _ => |_, _| Outcome::Unsupported,
    };
    let mut out = vec![("", guarded(|| run(file, case)))];
    if views && file.kind == "op" && !["view", "view_as"].contains(&file.op.as_str()) {
        for v in views::ALL {
            out.push((v.name(), guarded(|| op::run(file, case, Some(v)))));
        }
    }
    out
}
