//! `hardpan data`: the data sets that have a name.

use crate::args::Data;
use crate::data::{self, NAMED, Named};
use crate::output::Output;
use anyhow::{Context, Result, bail};
use hardpan::datasets::DATA_SETS;
use hardpan::learn::file::write_atomic;
use hardpan::vision::data::verify::verify_folder;
use hardpan::vision::digits::idx::Labelled;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

pub fn run(args: &Data, out: &Output) -> Result<()> {
    match args {
        Data::List => list(out),
        Data::Verify { folder } => verify(folder, out),
        Data::Get { name } if NAMED.iter().all(|n| n.name != *name) => {
            let folder = data::folder_of(name)?;
            say(name, &folder, out);
            Ok(())
        }
        Data::Path { name } if NAMED.iter().all(|n| n.name != *name) => {
            let Some(set) = data::find(name) else { return Err(data::unknown(name)) };
            let Some(folder) = data::present(set) else {
                bail!("{name} is not on this machine; to have it: hardpan data get {name}");
            };
            say(name, &folder, out);
            Ok(())
        }
        Data::Get { name } => {
            let named = find(name)?;
            let digits = data::open(named.name)?;
            let dir = folder(named)?;
            std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
            write(&dir, "train", &digits.train)?;
            write(&dir, "t10k", &digits.test)?;
            say(named.name, &dir, out);
            Ok(())
        }
        Data::Path { name } => {
            let named = find(name)?;
            let dir = folder(named)?;
            if !dir.join("t10k-labels-idx1-ubyte").exists() {
                bail!(
                    "{name} is {} and needs no files; to have them all the same: hardpan data get {name}",
                    named.place
                );
            }
            say(named.name, &dir, out);
            Ok(())
        }
    }
}

fn list(out: &Output) -> Result<()> {
    for d in NAMED {
        out.event(&json!({
            "name": d.name, "about": d.about, "terms": d.terms, "place": d.place, "bytes": d.bytes,
        }));
        let mb = d.bytes as f64 / 1e6;
        out.line(format!("{:22}  {}", d.name, d.about));
        out.line(format!("{:22}  {}, {mb:.1} MB; {}", "", d.place, d.terms));
    }
    for d in DATA_SETS {
        let here = data::present(d);
        let place = match &here {
            Some(folder) => folder.display().to_string(),
            None if d.urls.is_empty() => format!("install it to {}", d.installed.join(" or ")),
            None => format!("hardpan data get {}", d.name),
        };
        out.event(&json!({
            "name": d.name, "about": d.about, "terms": d.licence, "place": place, "here": here.is_some(),
            "urls": d.urls, "bytes": d.published.map(|p| p.bytes),
        }));
        let size =
            d.published.map_or(String::new(), |p| format!(", {:.1} MB", p.bytes as f64 / 1e6));
        out.line(format!("{:22}  {}", d.name, d.about));
        out.line(format!("{:22}  {place}{size}; {}", "", d.licence));
    }
    Ok(())
}

/// Reads every picture of a folder.
fn verify(folder: &Path, out: &Output) -> Result<()> {
    if !folder.is_dir() {
        bail!("{}: there is no such folder", folder.display());
    }
    let report = verify_folder(folder, 0, |done, all| {
        if done % 1000 == 0 {
            out.note(format!("{done} of {all}"));
        }
    })
    .map_err(|e| anyhow::anyhow!("{}: {e}", folder.display()))?;
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|p| json!({"file": p.path.display().to_string(), "error": p.error.to_string()}))
        .collect();
    out.event(&json!({
        "folder": folder.display().to_string(), "checked": report.checked, "formats": report.formats,
        "grey": report.grey, "smallest": report.smallest, "largest": report.largest,
        "other_files": report.other_files, "problems": problems,
    }));
    out.line(report.to_string().trim_end());
    match report.problems.len() {
        0 => Ok(()),
        n => bail!("{n} of {} pictures cannot be read; training leaves them out", report.checked),
    }
}

fn say(name: &str, dir: &Path, out: &Output) {
    let path = dir.display().to_string();
    out.event(&json!({"name": name, "path": path}));
    out.line(path);
}

fn find(name: &str) -> Result<&'static Named> {
    match NAMED.iter().find(|n| n.name == name) {
        Some(named) => Ok(named),
        None => {
            let names: Vec<&str> = NAMED.iter().map(|n| n.name).collect();
            bail!("no data set is named `{name}`; names: {}", names.join(", "))
        }
    }
}

/// `$HARDPAN_CACHE`, or `hardpan` in the user's cache folder.
fn folder(named: &Named) -> Result<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let root = given("HARDPAN_CACHE")
        .or_else(|| Some(given("XDG_CACHE_HOME")?.join("hardpan")))
        .or_else(|| Some(given("LOCALAPPDATA")?.join("hardpan")))
        .or_else(|| Some(given("HOME")?.join(".cache").join("hardpan")));
    match root {
        Some(root) => Ok(root.join(named.name)),
        None => bail!("no home folder is known; set HARDPAN_CACHE to the folder for data"),
    }
}

/// Images and labels as idx files, under the names of the original ones.
fn write(dir: &Path, part: &str, data: &Labelled) -> Result<()> {
    let size = |n: usize| u32::try_from(n).expect("data sets are small").to_be_bytes();
    let (n, h, w) = (size(data.len()), size(data.rows), size(data.cols));
    write_atomic(dir.join(format!("{part}-images-idx3-ubyte")), |f| {
        f.write_all(&[[0, 0, 8, 3], n, h, w].concat())?;
        f.write_all(&data.images)
    })?;
    write_atomic(dir.join(format!("{part}-labels-idx1-ubyte")), |f| {
        f.write_all(&[[0, 0, 8, 1], n].concat())?;
        f.write_all(&data.labels)
    })?;
    Ok(())
}
