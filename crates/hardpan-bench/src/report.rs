//! Tables: for people on a terminal, and the file BENCHMARKS.md.

use crate::{Record, Workload, workloads};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Results of both sides, joined by workload, threads and class (precision, optimizer, dropout).
#[derive(Default)]
pub struct Report {
    records: Vec<Record>,
}

/// The two sides of one comparison.
pub struct Pair<'a> {
    /// What was measured.
    pub workload: &'static Workload,
    /// See [`Record::class`].
    pub class: String,
    /// Threads of both.
    pub threads: usize,
    /// This library.
    pub ours: &'a Record,
    /// The peer's fastest variant of the same class.
    pub peer: Option<&'a Record>,
}

impl Pair<'_> {
    /// How many times as good this library is: above 1 it is ahead.
    pub fn ratio(&self) -> Option<f64> {
        let peer = self.peer?;
        let (a, b) = (self.ours.value, peer.value);
        let (a, b) = if self.ours.smaller_is_better() { (b, a) } else { (a, b) };
        (a > 0.0 && b > 0.0).then(|| a / b)
    }

    /// Whether it is a training workload of a whole model.
    pub fn is_training(&self) -> bool {
        let inference =
            self.workload.name.contains("infer") || self.workload.name.contains("generate");
        !inference
            && matches!(self.workload.group, "mlp" | "cnn" | "residual" | "language" | "tables")
    }
}

impl Report {
    /// Adds a result of either side.
    pub fn add(&mut self, record: Record) {
        self.records.push(record);
    }

    /// All results of this library beside the peer's best, in the order of the workloads.
    pub fn pairs(&self) -> Vec<Pair<'_>> {
        let mut out = Vec::new();
        for workload in workloads() {
            let mine = |r: &&Record| r.workload == workload.name && r.error.is_none();
            for ours in self.records.iter().filter(mine).filter(|r| r.system == "hardpan") {
                let class = ours.class();
                let same = |r: &&Record| {
                    r.system != "hardpan" && r.metric == ours.metric && r.threads == ours.threads
                };
                // Where a side has one optimizer or precision only, its variant does not say which.
                let fits = |r: &&Record| {
                    r.class() == class || workload.group == "process" || workload.group == "images"
                };
                let better = |a: &&Record, b: &&Record| {
                    let order = a.value.total_cmp(&b.value);
                    if ours.smaller_is_better() { order.reverse() } else { order }
                };
                let peer =
                    self.records.iter().filter(mine).filter(same).filter(fits).max_by(better);
                out.push(Pair { workload, class, threads: ours.threads, ours, peer });
            }
        }
        out
    }

    /// The geometric mean of the ratios that `choose` picks, and how many there are.
    pub fn mean(&self, choose: impl Fn(&Pair<'_>) -> bool) -> Option<(f64, usize)> {
        let ratios: Vec<f64> =
            self.pairs().iter().filter(|p| choose(p)).filter_map(Pair::ratio).collect();
        let n = ratios.len();
        (n > 0).then(|| ((ratios.iter().map(|r| r.ln()).sum::<f64>() / n as f64).exp(), n))
    }

    /// A Markdown page: `facts` are (name, value) lines on machine, versions and how it was measured; `command` makes it anew.
    pub fn markdown(&self, facts: &[(String, String)], command: &str) -> String {
        let mut out = String::from(
            "# Benchmarks\n\nWritten by a program; do not edit. Each value is the median over blocks of calls, in brackets the \
             lowest and the highest\nblock. Both sides ran in turns in the same run. The ratio says how many times as fast Hardpan \
             is (or as small, for memory):\nabove 1 it is ahead of the fastest variant that PyTorch was tried with (eager, \
             channels_last, fused or loop optimizer, and what\nthe peer column names) at the same precision. `hardpan bench --list` tells what each workload is.\n\n",
        );
        for (name, value) in facts {
            let _ = writeln!(out, "- {name}: {value}");
        }
        let _ = writeln!(out, "\nMade with:\n\n```\n{command}\n```\n");
        let pairs = self.pairs();
        let _ = writeln!(out, "| geometric mean of ratios | ratio | of |\n|---|---|---|");
        let of = |name: &str, choose: &dyn Fn(&Pair<'_>) -> bool, out: &mut String| {
            if let Some((mean, n)) = self.mean(choose) {
                let _ = writeln!(out, "| {name} | **{mean:.2}** | {n} |");
            }
        };
        of("all training workloads", &|p| p.is_training(), &mut out);
        of("training, f32", &|p| p.is_training() && p.class.starts_with("f32"), &mut out);
        of("training, bf16", &|p| p.is_training() && p.class.starts_with("bf16"), &mut out);
        let speed = |p: &Pair<'_>| p.workload.group != "process";
        of("everything but process", &speed, &mut out);
        let mut groups: BTreeMap<usize, Vec<&Pair<'_>>> = BTreeMap::new();
        let order: Vec<&str> = workloads().iter().map(|w| w.group).collect();
        for p in &pairs {
            let at = order.iter().position(|g| *g == p.workload.group).expect("its own group");
            groups.entry(at).or_default().push(p);
        }
        for list in groups.values() {
            let _ = writeln!(out, "\n## {}\n", list[0].workload.group);
            out += "| workload | variant | threads | unit | Hardpan | peer | peer's variant | ratio |\n|---|---|---|---|---|---|---|---|\n";
            for p in list {
                let (peer, variant) = p.peer.map_or(("-".to_owned(), "-".to_owned()), |r| {
                    (spread(r), format!("{} {}", r.system, r.variant))
                });
                let ratio = p.ratio().map_or("-".to_owned(), |r| format!("**{r:.2}**"));
                let (name, o) = (&p.workload.name, p.ours);
                let _ = writeln!(
                    out,
                    "| {name} | {} | {} | {} | {} | {peer} | {variant} | {ratio} |",
                    o.variant,
                    o.threads,
                    o.unit,
                    spread(o)
                );
            }
        }
        out
    }

    /// The comparisons, worst first, as lines of text.
    pub fn worst_first(&self) -> String {
        let mut pairs: Vec<Pair<'_>> = self.pairs();
        pairs.retain(|p| p.ratio().is_some());
        pairs.sort_by(|a, b| a.ratio().unwrap_or(0.0).total_cmp(&b.ratio().unwrap_or(0.0)));
        let mut out = String::new();
        for p in pairs {
            let (ratio, peer) = (p.ratio().unwrap_or(0.0), p.peer.expect("there is a ratio"));
            let _ = writeln!(
                out,
                "{ratio:>7.2}  {:<34} {:<16} {} thr  {:>12} {:>12} {:<10} {}",
                p.workload.name,
                p.ours.variant,
                p.threads,
                number(p.ours.value),
                number(peer.value),
                p.ours.unit,
                peer.variant
            );
        }
        out
    }
}

/// `value (min to max)`
fn spread(r: &Record) -> String {
    format!("{} ({} to {})", number(r.value), number(r.min), number(r.max))
}

/// Four digits, with thousands apart.
pub(crate) fn number(v: f64) -> String {
    let v = crate::record::digits(v, 4);
    if v.abs() < 1000.0 {
        return format!("{v}");
    }
    let whole = format!("{v:.0}");
    let mut out = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

impl Record {
    /// One line for people.
    pub fn line(&self) -> String {
        if let Some(e) = &self.error {
            return format!("{:<34} {:<18} failed: {e}", self.workload, self.variant);
        }
        format!(
            "{:<34} {:<10} {:<18} {:>12} {:<10} {:>12} to {}",
            self.workload,
            self.system,
            self.variant,
            number(self.value),
            self.unit,
            number(self.min),
            number(self.max)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(workload: &str, system: &str, variant: &str, metric: &str, value: f64) -> Record {
        Record {
            workload: workload.into(),
            system: system.into(),
            variant: variant.into(),
            threads: 2,
            metric: metric.into(),
            value,
            unit: "x".into(),
            min: value,
            max: value,
            ms: None,
            n: 1,
            calls: None,
            cpu_util: None,
            first_step_s: None,
            error: None,
        }
    }

    #[test]
    fn the_peer_s_best_of_the_same_class_counts() {
        let mut r = Report::default();
        r.add(record("cnn_b64", "hardpan", "f32+sgd", "throughput", 30.0));
        r.add(record("cnn_b64", "torch", "eager+sgd", "throughput", 10.0));
        r.add(record("cnn_b64", "torch", "eager+cl+sgd", "throughput", 15.0));
        r.add(record("cnn_b64", "torch", "eager+adam", "throughput", 90.0));
        r.add(record("op_overhead_add", "hardpan", "f32", "latency", 100.0));
        r.add(record("op_overhead_add", "torch", "eager", "latency", 800.0));
        let ratios: Vec<f64> = r.pairs().iter().filter_map(Pair::ratio).collect();
        assert_eq!(ratios, [8.0, 2.0], "in the order of the workloads");
        let (mean, n) = r.mean(|_| true).unwrap();
        assert!((mean - 4.0).abs() < 1e-12 && n == 2);
        let page = r.markdown(&[("machine".into(), "one".into())], "hardpan bench");
        assert!(page.contains("| cnn_b64 | f32+sgd | 2 | x | 30 (30 to 30) | 15 (15 to 15) | torch eager+cl+sgd | **2.00** |"));
        assert!(r.worst_first().lines().next().unwrap().contains("cnn_b64"));
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(number(1234567.0), "1,235,000");
        assert_eq!(number(0.123456), "0.1235");
        assert_eq!(number(999.0), "999");
    }
}
