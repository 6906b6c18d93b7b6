//! The workloads of `hardpan bench`: from one matrix product to a training step of a language model, each with a name, a
//! size, and the same work on PyTorch's side (`peer/torch_peer.py`).
//!
//! [`workloads`] lists them, [`select`] finds those that a user asked for by name, group or pattern, and [`run`] measures one,
//! handing out a [`Record`] for each variant (precision, optimizer). [`Peer`] runs the other side, [`Report`] joins the two into
//! tables. One file holds one group of workloads; models that the library does not have yet are written there with its public API.
//!
//! ```
//! use hardpan_bench::{Settings, run, select};
//! let chosen = select(&["softmax_*_fwd"]).unwrap();
//! let mut records = Vec::new();
//! run(chosen[0], &Settings::tiny(), &mut |r| records.push(r));
//! assert_eq!(records[0].workload, "softmax_4096x1024_fwd");
//! ```

mod awd_lstm;
mod cnn;
mod contraction;
mod gpt;
mod images;
mod measure;
mod memory_bound;
mod mlp;
mod overhead;
mod peer;
mod process;
mod record;
mod report;
mod residual;
mod seq2seq;
mod tables;

pub use measure::{Bench, Scale, Settings};
pub use peer::{Peer, PeerError};
pub use process::child;
pub use record::{Record, merge};
pub use report::Report;

/// Something to measure: one name of the bench page.
pub struct Workload {
    /// The same as on the peer's side.
    pub name: String,
    /// The family it is listed with.
    pub group: &'static str,
    /// One line on what is computed.
    pub about: String,
    work: Box<dyn Fn(&mut Bench<'_>) + Send + Sync>,
}

impl Workload {
    fn new(
        group: &'static str,
        name: impl Into<String>,
        about: impl Into<String>,
        work: impl Fn(&mut Bench<'_>) + Send + Sync + 'static,
    ) -> Workload {
        Workload { name: name.into(), group, about: about.into(), work: Box::new(work) }
    }
}

/// All workloads, in the order they are run and reported.
pub fn workloads() -> &'static [Workload] {
    static ALL: std::sync::OnceLock<Vec<Workload>> = std::sync::OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = Vec::new();
        contraction::add(&mut all);
        memory_bound::add(&mut all);
        overhead::add(&mut all);
        mlp::add(&mut all);
        cnn::add(&mut all);
        residual::add(&mut all);
        awd_lstm::add(&mut all);
        gpt::add(&mut all);
        seq2seq::add(&mut all);
        tables::add(&mut all);
        images::add(&mut all);
        process::add(&mut all);
        all
    })
}

/// A name that fits no workload.
#[derive(Debug, thiserror::Error)]
#[error("no workload is named {name:?}{}; `hardpan bench --list` names all", hint(near))]
pub struct UnknownWorkload {
    /// What was asked for.
    pub name: String,
    /// What may have been meant.
    pub near: Vec<String>,
}

fn hint(near: &[String]) -> String {
    if near.is_empty() {
        return String::new();
    }
    format!("; near it are {}", near.join(", "))
}

/// The workloads that the patterns name: whole names, groups, prefixes, or globs with `*`. No pattern at all means every
/// workload. Each comes once, in the order of [`workloads`].
///
/// # Errors
/// For the first pattern that fits nothing, with the nearest names.
pub fn select(patterns: &[impl AsRef<str>]) -> Result<Vec<&'static Workload>, UnknownWorkload> {
    let all = workloads();
    if patterns.is_empty() {
        return Ok(all.iter().collect());
    }
    let mut chosen = vec![false; all.len()];
    for pattern in patterns {
        let pattern = pattern.as_ref();
        // A whole name means that one alone, even where it begins another.
        let exact = |w: &Workload| w.name == pattern || w.group == pattern;
        let wide = |w: &Workload| {
            if pattern.contains('*') { glob(pattern, &w.name) } else { w.name.starts_with(pattern) }
        };
        let any = all.iter().any(exact);
        let fits = |w: &Workload| if any { exact(w) } else { !pattern.is_empty() && wide(w) };
        let mut found = false;
        for (w, c) in all.iter().zip(&mut chosen) {
            if fits(w) {
                (*c, found) = (true, true);
            }
        }
        if !found {
            return Err(UnknownWorkload { name: pattern.to_owned(), near: near(pattern) });
        }
    }
    Ok(all.iter().zip(chosen).filter(|(_, c)| *c).map(|(w, _)| w).collect())
}

/// Measures a workload; each variant's result is handed to `emit` as it comes.
pub fn run(workload: &Workload, settings: &Settings, emit: &mut dyn FnMut(Record)) {
    hardpan_engine::manual_seed(0);
    (workload.work)(&mut Bench::new(&workload.name, settings, emit));
}

/// Whether `*` in a pattern can be replaced by texts so that it becomes `name`.
fn glob(pattern: &str, name: &str) -> bool {
    let parts: Vec<&str> = pattern.split('*').collect();
    let Some(rest) = name.strip_prefix(parts[0]) else { return false };
    let (last, middle) = parts[1..].split_last().expect("there is a *");
    let mut rest = rest;
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Names and groups that may have been meant: those that contain it, then those a few letters away.
fn near(wanted: &str) -> Vec<String> {
    let wanted = wanted.replace('*', "").to_lowercase();
    let mut names: Vec<&str> = workloads().iter().map(|w| w.name.as_str()).collect();
    names.extend(workloads().iter().map(|w| w.group));
    names.dedup();
    let mut scored: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|n| {
            let inside = !wanted.is_empty() && n.contains(&wanted);
            let d = if inside { 0 } else { distance(&wanted, n) };
            (d * 2 <= wanted.len().max(4)).then_some((d, n))
        })
        .collect();
    scored.sort();
    scored.dedup();
    scored.into_iter().take(5).map(|(_, n)| n.to_owned()).collect()
}

/// Letters to insert, remove or change to make one text of the other (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_name_group_prefix_and_pattern() {
        let names = |p: &str| -> Vec<&str> {
            select(&[p]).unwrap().iter().map(|w| w.name.as_str()).collect()
        };
        assert_eq!(names("matmul_64"), ["matmul_64"], "not matmul_64x784x50");
        assert_eq!(names("copy_16M"), ["copy_16M"]);
        assert!(names("matmul").len() >= 7);
        assert!(names("language").contains(&"gpt_generate_b1"));
        assert_eq!(names("conv_*k5s2_fwd"), ["conv_b64_1x28_8_k5s2_fwd"]);
        assert_eq!(select(&[] as &[&str]).unwrap().len(), workloads().len());
    }

    #[test]
    fn a_wrong_name_says_what_is_near() {
        let near = |p: &str| select(&[p]).err().expect("there is none").near;
        assert!(near("matmull_1024").contains(&"matmul_1024".to_owned()));
        assert!(near("_infer_b64").contains(&"cnn_infer_b64".to_owned()));
        assert!(near("zzzzzzzzzz").is_empty());
        assert!(near("").len() <= 5);
    }
}
