//! What a case of each kind means.

mod op;
mod views;

use crate::case::CaseFile;
use crate::guarded;
use crate::report::Outcome;
use serde_json::Value;

/// Runs one case; several outcomes (with the name of the variant) when it is replayed on non-contiguous inputs.
pub fn run(file: &CaseFile, case: &Value, views: bool) -> Vec<(&'static str, Outcome)> {
    if file.kind != "op" {
        return vec![("", Outcome::Unsupported)];
    }
    let mut out = vec![("", guarded(|| op::run(file, case, None)))];
    if views && !["view", "view_as"].contains(&file.op.as_str()) {
        for v in views::ALL {
            out.push((v.name(), guarded(|| op::run(file, case, Some(v)))));
        }
    }
    out
}
