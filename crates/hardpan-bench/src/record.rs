//! One result, in the form that programs read.

use serde::{Deserialize, Serialize};

/// A measured variant of a workload: a line of `--json`. The peer writes the same fields.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Record {
    /// The workload's name.
    pub workload: String,
    /// Who ran it: `hardpan`, `torch`, `onnxruntime`.
    pub system: String,
    /// Precision, optimizer and other choices, joined by `+`.
    pub variant: String,
    /// Threads it was allowed.
    pub threads: usize,
    /// `throughput`, `latency`, `time` or `peak_rss`.
    pub metric: String,
    /// Median over the blocks.
    pub value: f64,
    /// Of value, min and max.
    pub unit: String,
    /// Lowest value of the blocks.
    #[serde(default)]
    pub min: f64,
    /// Highest value of the blocks.
    #[serde(default)]
    pub max: f64,
    /// Milliseconds a call, median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<f64>,
    /// Number of blocks.
    #[serde(default)]
    pub n: usize,
    /// Calls in a block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<usize>,
    /// Processor time over wall time: 2 means two cores busy all along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_util: Option<f64>,
    /// Seconds of the first step, planning and compiling included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_step_s: Option<f64>,
    /// Why there is no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Record {
    /// Whether a smaller value is a better one.
    pub fn smaller_is_better(&self) -> bool {
        matches!(self.metric.as_str(), "latency" | "time" | "peak_rss")
    }

    /// What must agree for two systems' values to be compared: precision, optimizer, dropout. How a system gets its speed
    /// (memory layout, compiler, fused optimizer) is its own choice.
    pub fn class(&self) -> String {
        let words: Vec<&str> = self.variant.split('+').collect();
        let bf16 = words.iter().any(|w| w.starts_with("bf16"));
        let mut class = vec![if bf16 { "bf16" } else { "f32" }];
        class.extend(["sgd", "adam", "adamw", "drop"].into_iter().filter(|w| words.contains(w)));
        class.join("+")
    }
}

/// So many significant digits.
pub(crate) fn digits(value: f64, n: i32) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(n - 1 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

/// Several runs of the same thing as one record: the median of their medians, the extremes of all.
pub fn merge(runs: &[Record]) -> Option<Record> {
    let good: Vec<&Record> = runs.iter().filter(|r| r.error.is_none()).collect();
    let Some(first) = good.first() else { return runs.first().cloned() };
    let median = |f: &dyn Fn(&Record) -> Option<f64>| {
        let mut v: Vec<f64> = good.iter().filter_map(|r| f(r)).collect();
        v.sort_by(f64::total_cmp);
        match v.len() {
            0 => None,
            n if n % 2 == 1 => Some(v[n / 2]),
            n => Some((v[n / 2 - 1] + v[n / 2]) / 2.0),
        }
    };
    let mut out = (*first).clone();
    out.value = digits(median(&|r| Some(r.value))?, 5);
    out.min = good.iter().map(|r| r.min).fold(f64::INFINITY, f64::min);
    out.max = good.iter().map(|r| r.max).fold(0.0, f64::max);
    out.ms = median(&|r| r.ms).map(|v| digits(v, 4));
    out.cpu_util = median(&|r| r.cpu_util).map(|v| digits(v, 4));
    out.n = good.iter().map(|r| r.n).sum();
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(variant: &str, value: f64) -> Record {
        let line = format!(
            r#"{{"workload":"w","system":"hardpan","variant":"{variant}","threads":1,"metric":"throughput",
               "value":{value},"unit":"GB/s","min":{},"max":{},"n":3}}"#,
            value - 1.0,
            value + 1.0
        );
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn variants_of_one_class_are_compared() {
        assert_eq!(record("eager+cl+bf16+sgd", 1.0).class(), record("bf16+sgd", 1.0).class());
        assert_eq!(record("compile+adamw+drop", 1.0).class(), "f32+adamw+drop");
        assert_ne!(record("eager+adam", 1.0).class(), record("f32+sgd", 1.0).class());
    }

    #[test]
    fn runs_merge_to_the_median_and_the_extremes() {
        let m = merge(&[record("f32", 10.0), record("f32", 30.0), record("f32", 11.0)]).unwrap();
        assert_eq!((m.value, m.min, m.max, m.n), (11.0, 9.0, 31.0, 9));
        assert_eq!(merge(&[]), None);
    }

    #[test]
    fn digits_are_significant_ones() {
        assert_eq!(digits(123.4567, 4), 123.5);
        assert_eq!(digits(0.000123456, 3), 0.000123);
        assert_eq!(digits(0.0, 3), 0.0);
    }
}
