//! The command line.

use crate::case::CaseFile;
use std::path::PathBuf;

/// Shown by `--help` and after a usage error.
pub const HELP: &str = "\
usage: conformance DIR... [options]
    --kind op|module|optimizer|scheduler|trajectory   only this kind
    --tier core|common|rare                           only this tier
    --only NAME                                       only this name (may be given several times, or NAME,NAME)
    --case ID                                         only cases with this id
    --device cpu|reference                            where to run (default cpu)
    --views                                           also replay op cases on non-contiguous inputs
    --json                                            print every case as a line of JSON
example: conformance cases/ --kind op --only softmax
A DIR holds index.json, or case files (NAME.json beside NAME.safetensors) at any depth; a case file may be named itself.";

/// What to run and how to report it.
pub struct Options {
    pub paths: Vec<PathBuf>,
    pub kind: Option<String>,
    pub tier: Option<String>,
    pub only: Vec<String>,
    pub case: Option<String>,
    pub device: String,
    pub views: bool,
    pub json: bool,
}

impl Options {
    /// True when the filters let this file through.
    pub fn wants(&self, file: &CaseFile) -> bool {
        self.kind.as_ref().is_none_or(|k| *k == file.kind)
            && self.tier.as_ref().is_none_or(|t| *t == file.tier)
            && (self.only.is_empty() || self.only.contains(&file.op))
    }
}

/// `Ok(None)`: help was asked for.
pub fn parse(args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut out = Options {
        paths: Vec::new(),
        kind: None,
        tier: None,
        only: Vec::new(),
        case: None,
        device: "cpu".into(),
        views: false,
        json: false,
    };
    let mut args = args;
    while let Some(arg) = args.next() {
        let (name, inline) = match arg.split_once('=') {
            Some((n, v)) if n.starts_with("--") => (n.to_string(), Some(v.to_string())),
            _ => (arg.clone(), None),
        };
        let mut value =
            || inline.clone().or_else(|| args.next()).ok_or(format!("{name} needs a value"));
        match name.as_str() {
            "-h" | "--help" => return Ok(None),
            "--kind" => out.kind = Some(value()?),
            "--tier" => out.tier = Some(value()?),
            "--only" => out.only.extend(value()?.split(',').map(str::to_string)),
            "--case" => out.case = Some(value()?),
            "--device" => out.device = value()?,
            "--views" => out.views = true,
            "--json" => out.json = true,
            _ if name.starts_with('-') => return Err(format!("unknown option {name}")),
            _ => out.paths.push(PathBuf::from(arg)),
        }
    }
    if out.paths.is_empty() {
        return Err("no directory of cases given".into());
    }
    if !["cpu", "reference"].contains(&out.device.as_str()) {
        return Err(format!("unknown device {}; expected cpu or reference", out.device));
    }
    Ok(Some(out))
}
