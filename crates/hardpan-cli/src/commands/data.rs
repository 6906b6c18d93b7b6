//! `hardpan data`: the data sets that have a name.

use crate::args::Data;
use crate::data::{self, NAMED, Named};
use crate::output::Output;
use anyhow::{Context, Result, bail};
use hardpan::learn::data::idx::Labelled;
use hardpan::learn::file::write_atomic;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

pub fn run(args: &Data, out: &Output) -> Result<()> {
    match args {
        Data::List => list(out),
        Data::Get { name } => {
            let named = find(name)?;
            let digits = data::open(named.name)?;
            let dir = folder(named)?;
            std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
            write(&dir, "train", &digits.train)?;
            write(&dir, "t10k", &digits.test)?;
            say(named, &dir, out);
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
            say(named, &dir, out);
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
        out.line(format!("{:10}  {}", d.name, d.about));
        out.line(format!("{:10}  {}, {mb:.1} MB; {}", "", d.place, d.terms));
    }
    if NAMED.is_empty() {
        out.note("no data sets in this build (feature `mnist` is off); give a folder instead");
    }
    Ok(())
}

fn say(named: &Named, dir: &Path, out: &Output) {
    let path = dir.display().to_string();
    out.event(&json!({"name": named.name, "path": path}));
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
