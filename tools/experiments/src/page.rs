//! The page: sections between marks, so that one can be written anew and the rest stays.

use anyhow::{Context, Result};
use std::path::Path;

/// One experiment.
#[derive(Default)]
pub struct Section {
    pub title: String,
    /// What is asked, how it is measured, where it is from.
    pub about: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// Conditions, and whether they are met.
    pub gates: Vec<(String, bool)>,
    pub seconds: f64,
}

impl Section {
    pub fn new(title: &str, about: &str, columns: &[&str]) -> Section {
        Section {
            title: title.into(),
            about: about.into(),
            columns: columns.iter().map(|c| (*c).into()).collect(),
            ..Section::default()
        }
    }

    pub fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|c| (*c).into()).collect());
    }

    pub fn gate(&mut self, what: impl Into<String>, met: bool) {
        self.gates.push((what.into(), met));
    }

    /// As markdown.
    pub fn text(&self) -> String {
        let mut out = format!("## {}\n\n{}\n\n", self.title, self.about);
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        out += &line(&self.columns);
        out += &line(&vec!["---".to_owned(); self.columns.len()]);
        self.rows.iter().for_each(|r| out += &line(r));
        out.push('\n');
        for (what, met) in &self.gates {
            out += &format!("- {}: {what}\n", if *met { "met" } else { "**not met**" });
        }
        out + &format!("\nTook {:.0} s.\n", self.seconds)
    }
}

const HEAD: &str = "# Experiments

The measured experiments of fastai's course (part 2, 2019), run with Hardpan. `cargo run --release -p experiments` writes this file; names of
experiments after `--` write those sections only. Where several seeds are run the table gives their mean, and the lowest and the highest in
brackets. The course's own numbers stand beside ours; its data, sizes and seeds are the same only where it is said, so it is the order of things
that is to come out alike, not the last digit. Wall times are those of the machine that wrote the section, busy or not.
";

const MISSING: &str = "Not measured on this page yet:";

/// Puts `section` into its place in the file, which is made if it is not there.
pub fn write(path: &Path, name: &str, section: &Section, order: &[&str]) -> Result<()> {
    let old = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(e).with_context(|| path.display().to_string()),
    };
    let mut out = HEAD.to_owned();
    for &one in order {
        let (start, end) = marks(one);
        let body = if one == name {
            Some(section.text())
        } else {
            old.split_once(&start)
                .and_then(|(_, rest)| rest.split_once(&end))
                .map(|p| p.0.to_owned())
        };
        if let Some(body) = body {
            out += &format!("\n{start}\n{}\n{end}\n", body.trim());
        }
    }
    let missing: Vec<String> =
        order.iter().filter(|n| !out.contains(&marks(n).0)).map(|n| format!("`{n}`")).collect();
    if !missing.is_empty() {
        out += &format!("\n{} {}.\n", MISSING, missing.join(", "));
    }
    std::fs::write(path, out).with_context(|| path.display().to_string())
}

fn marks(name: &str) -> (String, String) {
    (format!("<!-- {name} -->"), format!("<!-- end of {name} -->"))
}

/// Mean with lowest and highest.
pub fn spread(values: &[f64]) -> String {
    let [mean, low, high] = [mean(values), low(values), high(values)].map(number);
    if values.len() == 1 { mean } else { format!("{mean} ({low} to {high})") }
}

/// Four digits after the point, or two and a power of ten.
fn number(v: f64) -> String {
    if v.abs() < 1e4 { format!("{v:.4}") } else { format!("{v:.1e}") }
}

/// `1 seed`, `3 seeds`.
pub fn seeds(n: u64) -> String {
    if n == 1 { "1 seed".into() } else { format!("{n} seeds") }
}

/// The lowest.
pub fn low(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The highest.
pub fn high(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// The mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_seeds_are_counted() {
        assert_eq!(spread(&[0.5]), "0.5000");
        assert_eq!(spread(&[0.5, 0.25, 0.75]), "0.5000 (0.2500 to 0.7500)");
        assert_eq!(spread(&[335.0, 85_082_507_619.0]), "4.3e10 (335.0000 to 8.5e10)");
        assert_eq!((seeds(1), seeds(3)), ("1 seed".to_owned(), "3 seeds".to_owned()));
    }

    #[test]
    fn sections_keep_their_order_and_each_other() {
        let dir = std::env::temp_dir().join(format!("experiments-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("page.md");
        let order = ["a", "b"];
        let section = |title: &str| Section::new(title, "about", &["x"]);
        write(&path, "b", &section("B"), &order).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("yet: `a`.\n"));
        write(&path, "a", &section("A"), &order).unwrap();
        write(&path, "b", &section("B2"), &order).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        let at = |what: &str| text.find(what).unwrap_or(usize::MAX);
        assert!(at("## A") < at("## B2") && at("## B2") < usize::MAX, "{text}");
        assert!(!text.contains("## B\n") && !text.contains(MISSING), "{text}");
    }
}
